/*
 * Questions to a manifest: look-ups by name, the listings that tools print, and whether it can be updated by deltas.
 * source: reference/fwup-format "1.2", "6", "14.5"
 */
#include "firmware/metadata.h"

#include <stdlib.h>

#define FIND(m, items, count, want)                                      \
	do {                                                             \
		for (size_t i_ = 0; i_ < (m)->count; i_++)               \
			if (nh_slice_eq((m)->items[i_].name, (want)))    \
				return &(m)->items[i_];                  \
		return NULL;                                             \
	} while (0)

const struct nh_fw_resource *nh_fw_manifest_resource(const struct nh_fw_manifest *m, nh_slice name)
{
	FIND(m, resources, resource_count, name);
}

const struct nh_fw_mbr *nh_fw_manifest_mbr(const struct nh_fw_manifest *m, nh_slice name)
{
	FIND(m, mbrs, mbr_count, name);
}

const struct nh_fw_gpt *nh_fw_manifest_gpt(const struct nh_fw_manifest *m, nh_slice name)
{
	FIND(m, gpts, gpt_count, name);
}

const struct nh_fw_uboot_area *nh_fw_manifest_uboot_area(const struct nh_fw_manifest *m, nh_slice name)
{
	FIND(m, uboot_areas, uboot_area_count, name);
}

const struct nh_fw_on_resource *nh_fw_task_on_resource(const struct nh_fw_task *t, nh_slice resource)
{
	FIND(t, on_resources, on_resource_count, resource);
}

void nh_fw_metadata_put(struct nh_buf *out, const struct nh_fw_metadata *meta)
{
	const struct {
		const char *name;
		nh_slice value;
	} rows[] = {
		{"product", meta->product}, {"description", meta->description}, {"version", meta->version}, {"author", meta->author},
		{"platform", meta->platform}, {"architecture", meta->architecture}, {"creation-date", meta->creation_date},
		{"fwup-version", meta->fwup_version}, {"misc", meta->misc}, {"vcs-identifier", meta->vcs_identifier}, {"uuid", meta->uuid},
		{"nickname", meta->nickname},
	};
	for (size_t i = 0; i < NH_ARRAY_LEN(rows); i++) {
		if (rows[i].value.len == 0)
			continue;
		nh_buf_printf(out, "meta-%s=", rows[i].name);
		nh_fw_config_put_string(out, rows[i].value);
		nh_buf_put_u8(out, '\n');
	}
}

static int by_name(const void *a, const void *b)
{
	const struct nh_fw_task *const *x = a, *const *y = b;
	return nh_slice_cmp((*x)->name, (*y)->name);
}

void nh_fw_tasks_put(struct nh_buf *out, const struct nh_fw_manifest *m)
{
	const struct nh_fw_task **sorted = nh_xcalloc(m->task_count + 1, sizeof(const struct nh_fw_task *));
	for (size_t i = 0; i < m->task_count; i++)
		sorted[i] = &m->tasks[i];
	qsort(sorted, m->task_count, sizeof sorted[0], by_name);
	for (size_t i = 0; i < m->task_count; i++)
		nh_buf_printf(out, "%.*s\n", NH_ARG(sorted[i]->name));
	free(sorted);
}

nh_rc nh_fw_member_resource(nh_slice member, struct nh_buf *name, struct nh_err *err)
{
	nh_buf_clear(name);
	if (nh_slice_starts(member, NH_LIT("data/"))) {
		nh_buf_put_slice(name, nh_slice_skip(member, 5));
	} else {
		nh_buf_put_u8(name, '/');
		nh_buf_put_slice(name, member);
	}
	if (name->len > NH_FW_RESOURCE_NAME_MAX)
		return NH_FAIL(err, NH_ETOOBIG, "Name of resource '%.*s' is too long", NH_ARG(member));
	return NH_OK;
}
