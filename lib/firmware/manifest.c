/*
 * From the tree of a meta.conf to types. Numbers are converted and bounded here once, so that what runs tasks never parses text; anything that
 * cannot mean something (a partition without offset, an environment of 2 GB) refuses the archive.
 *
 * Nothing is executed and nothing but FWUP_META_UUID, FWUP_META_NICKNAME and the caller's variables is expanded.
 * source: reference/fwup-format "2.4", "2.5", "3.2", "3.3", "7.2"
 */
#include <stdlib.h>

#include "base/encode.h"
#include "firmware/metadata.h"
#include "firmware/uuid.h"

#define CALLS(section) calls_of(arena, nh_fw_section_get((section), "funlist"))

static struct nh_fw_calls calls_of(struct nh_arena *arena, const struct nh_fw_setting *list)
{
	struct nh_fw_calls out = {0};
	struct nh_fw_call *items = NH_NEW_ARRAY(arena, list->count / 2 + 1, struct nh_fw_call);
	for (size_t i = 0; i < list->count;) {
		uint64_t n;
		if (nh_fw_parse_u64(list->values[i].text, &n) != NH_OK || n < 1 || n > NH_FW_CALL_ARGS_MAX || n > list->count - i - 1) {
			out.malformed = true;
			break;
		}
		struct nh_fw_call *c = &items[out.count++];
		c->name = list->values[i + 1].text;
		c->arg_count = (unsigned)n - 1;
		for (unsigned a = 0; a < c->arg_count; a++)
			c->args[a] = list->values[i + 2 + a].text;
		i += (size_t)n + 1;
	}
	out.items = items;
	return out;
}

static nh_rc resource_of(struct nh_arena *arena, const struct nh_fw_section *s, struct nh_fw_resource *r, struct nh_err *err)
{
	r->name = s->title;
	const struct nh_fw_setting *length = nh_fw_section_get(s, "length");
	r->run_count = length->count ? length->count : 1;
	uint64_t *runs = NH_NEW_ARRAY(arena, r->run_count, uint64_t);
	for (size_t i = 0; i < length->count; i++) {
		if (length->values[i].number < 0)
			return NH_FAIL(err, NH_EFORMAT, "file-resource '%.*s': a length is negative", NH_ARG(r->name));
		runs[i] = (uint64_t)length->values[i].number;
		/* 2^62 in all leaves room for offsets to be added without overflow */
		r->size_bytes += runs[i];
		if (r->size_bytes > UINT64_C(1) << 62)
			return NH_FAIL(err, NH_EFORMAT, "file-resource '%.*s' is too large", NH_ARG(r->name));
		if (i % 2 == 0)
			r->stored_bytes += runs[i];
	}
	r->runs = runs;
	r->hash_ok = nh_hex_decode_fixed(nh_fw_section_text(s, "blake2b-256"), r->blake2b, sizeof r->blake2b) == NH_OK;
	return NH_OK;
}

static nh_rc partition_of(const struct nh_fw_section *s, nh_slice table, unsigned max, bool gpt, struct nh_fw_partition *p, struct nh_err *err)
{
	uint64_t number;
	if (nh_fw_parse_u64(s->title, &number) != NH_OK || number > max)
		return NH_FAIL(err, NH_EFORMAT, "'%.*s': partition '%.*s' isn't a number from 0 to %u", NH_ARG(table), NH_ARG(s->title), max);
	p->number = (unsigned)number;
	if (nh_fw_parse_u64(nh_fw_section_text(s, "block-offset"), &p->block_offset) != NH_OK || p->block_offset > INT64_MAX / 512)
		return NH_FAIL(err, NH_EFORMAT, "'%.*s': partition %u has no valid block-offset", NH_ARG(table), p->number);
	int64_t count = nh_fw_section_number(s, "block-count");
	if (count < 0 || count > INT64_MAX / 512)
		return NH_FAIL(err, NH_EFORMAT, "'%.*s': partition %u has no valid block-count", NH_ARG(table), p->number);
	p->block_count = (uint64_t)count;
	p->boot = nh_fw_section_number(s, "boot") != 0;
	p->expand = nh_fw_section_number(s, "expand") != 0;
	if (gpt) {
		p->type_text = nh_fw_section_text(s, "type");
		p->guid = nh_fw_section_text(s, "guid");
		p->name = nh_fw_section_text(s, "name");
		p->flags = nh_fw_section_text(s, "flags");
		return NH_OK;
	}
	p->type = nh_fw_section_number(s, "type");
	if (p->type < 0 || p->type > 255)
		return NH_FAIL(err, NH_EFORMAT, "'%.*s': partition %u has no type from 0 to 255", NH_ARG(table), p->number);
	/* an MBR entry holds 32 bits of each */
	if (p->block_offset > UINT32_MAX || p->block_count > UINT32_MAX)
		return NH_FAIL(err, NH_EFORMAT, "'%.*s': partition %u doesn't fit in an MBR", NH_ARG(table), p->number);
	return NH_OK;
}

static nh_rc partitions_of(struct nh_arena *arena, const struct nh_fw_section *s, unsigned max, bool gpt, const struct nh_fw_partition **out,
			   size_t *count, struct nh_err *err)
{
	const struct nh_fw_setting *list = nh_fw_section_get(s, "partition");
	struct nh_fw_partition *items = NH_NEW_ARRAY(arena, list->count, struct nh_fw_partition);
	for (size_t i = 0; i < list->count; i++) {
		NH_TRY(partition_of(list->sections[i], s->title, max, gpt, &items[i], err));
		for (size_t k = 0; k < i; k++) /* "1" and "0x1" are different titles */
			if (items[k].number == items[i].number)
				return NH_FAIL(err, NH_EFORMAT, "'%.*s': partition %u appears twice", NH_ARG(s->title), items[i].number);
	}
	*out = items;
	*count = list->count;
	return NH_OK;
}

static nh_rc osii_of(struct nh_arena *arena, const struct nh_fw_section *s, struct nh_fw_mbr *m, struct nh_err *err)
{
	const struct nh_fw_setting *list = nh_fw_section_get(s, "osii");
	struct nh_fw_osii *items = NH_NEW_ARRAY(arena, list->count, struct nh_fw_osii);
	for (size_t i = 0; i < list->count; i++) {
		const struct nh_fw_section *o = list->sections[i];
		uint64_t number;
		if (nh_fw_parse_u64(o->title, &number) != NH_OK || number > 14)
			return NH_FAIL(err, NH_EFORMAT, "mbr '%.*s': osii '%.*s' isn't a number from 0 to 14", NH_ARG(s->title), NH_ARG(o->title));
		items[i] = (struct nh_fw_osii){
			.number = (unsigned)number,
			.os_major = (uint16_t)nh_fw_section_number(o, "os-major"),
			.os_minor = (uint16_t)nh_fw_section_number(o, "os-minor"),
			.start_block = (uint32_t)nh_fw_section_number(o, "start-block-offset"),
			.load_address = (uint32_t)nh_fw_section_number(o, "ddr-load-address"),
			.entry_point = (uint32_t)nh_fw_section_number(o, "entry-point"),
			.size_blocks = (uint32_t)nh_fw_section_number(o, "image-size-blocks"),
			.attribute = (uint8_t)nh_fw_section_number(o, "attribute"),
		};
	}
	m->osii = items;
	m->osii_count = list->count;
	return NH_OK;
}

static nh_rc mbr_of(struct nh_arena *arena, const struct nh_fw_section *s, struct nh_fw_mbr *m, struct nh_err *err)
{
	m->name = s->title;
	nh_slice text = nh_fw_section_text(s, "signature");
	uint64_t signature = 0;
	if (text.len > 0 && (nh_fw_parse_u64(text, &signature) != NH_OK || signature > UINT32_MAX))
		return NH_FAIL(err, NH_EFORMAT, "mbr '%.*s': signature '%.*s' isn't a 32-bit number", NH_ARG(s->title), NH_ARG(text));
	m->signature = (uint32_t)signature;
	text = nh_fw_section_text(s, "bootstrap-code");
	m->has_bootstrap = text.len > 0;
	if (m->has_bootstrap && nh_hex_decode_fixed(text, m->bootstrap, sizeof m->bootstrap) != NH_OK)
		return NH_FAIL(err, NH_EFORMAT, "mbr '%.*s': bootstrap-code must be 880 hex digits", NH_ARG(s->title));
	m->include_osip = nh_fw_section_number(s, "include-osip") != 0;
	m->osip_major = (uint8_t)nh_fw_section_number(s, "osip-major");
	m->osip_minor = (uint8_t)nh_fw_section_number(s, "osip-minor");
	m->osip_pointers = (uint8_t)nh_fw_section_number(s, "osip-num-pointers");
	NH_TRY(osii_of(arena, s, m, err));
	return partitions_of(arena, s, 11, false, &m->partitions, &m->partition_count, err);
}

static nh_rc gpt_of(struct nh_arena *arena, const struct nh_fw_section *s, struct nh_fw_gpt *g, struct nh_err *err)
{
	g->name = s->title;
	g->guid = nh_fw_section_text(s, "guid");
	return partitions_of(arena, s, 15, true, &g->partitions, &g->partition_count, err);
}

static nh_rc uboot_of(const struct nh_fw_section *s, struct nh_fw_uboot_area *u, struct nh_err *err)
{
	u->name = s->title;
	int64_t count = nh_fw_section_number(s, "block-count");
	if (count < 1 || count > 65534)
		return NH_FAIL(err, NH_EFORMAT, "uboot-environment '%.*s': block-count must be 1 to 65534", NH_ARG(s->title));
	u->block_count = (uint64_t)count;
	nh_slice redund = nh_fw_section_text(s, "block-offset-redund");
	u->redundant = redund.len > 0;
	if (nh_fw_parse_u64(nh_fw_section_text(s, "block-offset"), &u->block_offset) != NH_OK || u->block_offset > INT64_MAX / 1024 ||
	    (u->redundant && (nh_fw_parse_u64(redund, &u->block_offset_redund) != NH_OK || u->block_offset_redund > INT64_MAX / 1024)))
		return NH_FAIL(err, NH_EFORMAT, "uboot-environment '%.*s': invalid block-offset", NH_ARG(s->title));
	uint64_t distance = u->block_offset > u->block_offset_redund ? u->block_offset - u->block_offset_redund :
								       u->block_offset_redund - u->block_offset;
	if (u->redundant && distance < u->block_count)
		return NH_FAIL(err, NH_EFORMAT, "uboot-environment '%.*s': the two copies overlap", NH_ARG(s->title));
	return NH_OK;
}

static nh_rc on_resource_of(struct nh_arena *arena, const struct nh_fw_manifest *m, const struct nh_fw_section *s, struct nh_fw_on_resource *o,
			    struct nh_err *err)
{
	o->name = s->title;
	o->resource = nh_fw_manifest_resource(m, s->title);
	o->calls = CALLS(s);
	nh_slice raw = nh_fw_section_text(s, "delta-source-raw-offset"), fat = nh_fw_section_text(s, "delta-source-fat-offset");
	int64_t count = nh_fw_section_number(s, "delta-source-raw-count");
	o->raw_options = nh_fw_section_text(s, "delta-source-raw-options");
	o->fat_path = nh_fw_section_text(s, "delta-source-fat-path");
	if ((raw.len > 0 && (nh_fw_parse_u64(raw, &o->raw_offset) != NH_OK || o->raw_offset > INT64_MAX / 1024)) || count > INT64_MAX / 1024 ||
	    (fat.len > 0 && (nh_fw_parse_u64(fat, &o->fat_offset) != NH_OK || o->fat_offset > INT64_MAX / 1024)))
		return NH_FAIL(err, NH_EFORMAT, "on-resource '%.*s': invalid delta source", NH_ARG(s->title));
	o->raw_count = count > 0 ? (uint64_t)count : 0;
	o->has_raw_source = raw.len > 0 && count > 0;
	o->has_fat_source = fat.len > 0 && o->fat_path.len > 0;
	return NH_OK;
}

static struct nh_fw_calls event_of(struct nh_arena *arena, const struct nh_fw_section *task, const char *event)
{
	const struct nh_fw_setting *s = nh_fw_section_get(task, event);
	return s->count ? CALLS(s->sections[0]) : (struct nh_fw_calls){0};
}

static nh_rc task_of(struct nh_arena *arena, const struct nh_fw_manifest *m, const struct nh_fw_section *s, struct nh_fw_task *t, struct nh_err *err)
{
	t->name = s->title;
	t->require_partition1_offset = nh_fw_section_number(s, "require-partition1-offset");
	t->requirements = calls_of(arena, nh_fw_section_get(s, "reqlist"));
	t->on_init = event_of(arena, s, "on-init");
	t->on_finish = event_of(arena, s, "on-finish");
	t->on_error = event_of(arena, s, "on-error");
	const struct nh_fw_setting *list = nh_fw_section_get(s, "on-resource");
	struct nh_fw_on_resource *items = NH_NEW_ARRAY(arena, list->count, struct nh_fw_on_resource);
	for (size_t i = 0; i < list->count; i++)
		NH_TRY(on_resource_of(arena, m, list->sections[i], &items[i], err));
	t->on_resources = items;
	t->on_resource_count = list->count;
	return NH_OK;
}

/* NAME_of for every section of a kind into m->FIELDs. */
#define BUILD(m, option, field, type, build)                                                                    \
	do {                                                                                                    \
		const struct nh_fw_setting *list_ = nh_fw_section_get((m)->tree, (option));                     \
		struct type *items_ = NH_NEW_ARRAY(arena, list_->count, struct type);                           \
		for (size_t i_ = 0; i_ < list_->count; i_++) {                                                  \
			const struct nh_fw_section *section = list_->sections[i_];                              \
			struct type *item = &items_[i_];                                                        \
			NH_TRY(build);                                                                          \
		}                                                                                               \
		(m)->field##s = items_;                                                                         \
		(m)->field##_count = list_->count;                                                              \
	} while (0)

static nh_rc sections_of(struct nh_arena *arena, struct nh_fw_manifest *m, struct nh_err *err)
{
	BUILD(m, "file-resource", resource, nh_fw_resource, (item->index = i_, resource_of(arena, section, item, err)));
	BUILD(m, "mbr", mbr, nh_fw_mbr, mbr_of(arena, section, item, err));
	BUILD(m, "gpt", gpt, nh_fw_gpt, gpt_of(arena, section, item, err));
	BUILD(m, "uboot-environment", uboot_area, nh_fw_uboot_area, uboot_of(section, item, err));
	BUILD(m, "task", task, nh_fw_task, task_of(arena, m, section, item, err));
	return NH_OK;
}

nh_rc nh_fw_version_check(nh_slice required, struct nh_err *err)
{
	uint64_t need[3] = {0}, have[3] = {0};
	nh_slice texts[] = {required, nh_slice_str(NH_FW_COMPAT_VERSION)};
	uint64_t *numbers[] = {need, have};
	for (size_t v = 0; v < 2; v++) {
		nh_slice rest = texts[v], part;
		for (size_t i = 0; i < 3 && rest.len > 0; i++) {
			nh_slice_cut(rest, '.', &part, &rest);
			if (nh_parse_u64(part, 0, INT32_MAX, &numbers[v][i]) != NH_OK)
				return NH_FAIL(err, NH_EFORMAT, "'%.*s' isn't a version like 1.2.3", NH_ARG(required));
		}
		if (rest.len > 0)
			return NH_FAIL(err, NH_EFORMAT, "'%.*s' isn't a version like 1.2.3", NH_ARG(required));
	}
	for (size_t i = 0; i < 3; i++)
		if (need[i] != have[i])
			return need[i] < have[i] ? NH_OK :
						   NH_FAIL(err, NH_EUNSUPPORTED, "fwup version '%.*s' required. This is fwup version '%s'.",
							   NH_ARG(required), NH_FW_COMPAT_VERSION);
	return NH_OK;
}

static nh_rc metadata_of(struct nh_arena *arena, struct nh_fw_manifest *m, const struct nh_fw_identity *id, nh_slice creation_date, struct nh_err *err)
{
	const struct nh_fw_section *t = m->tree;
	nh_slice uuid = nh_fw_section_text(t, "meta-uuid"), nickname = nh_fw_section_text(t, "meta-nickname");
	if ((uuid.len > 0 && !nh_slice_eq_str(uuid, id->uuid)) || (nickname.len > 0 && !nh_slice_eq_str(nickname, id->nickname)))
		return NH_FAIL(err, NH_EFORMAT,
			       "meta.conf isn't allowed to change 'meta-uuid', 'meta-nickname', '$FWUP_META_UUID' or '$FWUP_META_NICKNAME'");
	nh_slice date = nh_fw_section_text(t, "meta-creation-date");
	m->meta = (struct nh_fw_metadata){
		.product = nh_fw_section_text(t, "meta-product"),
		.description = nh_fw_section_text(t, "meta-description"),
		.version = nh_fw_section_text(t, "meta-version"),
		.author = nh_fw_section_text(t, "meta-author"),
		.platform = nh_fw_section_text(t, "meta-platform"),
		.architecture = nh_fw_section_text(t, "meta-architecture"),
		.creation_date = nh_arena_copy(arena, date.len ? date : creation_date),
		.fwup_version = nh_fw_section_text(t, "meta-fwup-version"),
		.misc = nh_fw_section_text(t, "meta-misc"),
		.vcs_identifier = nh_fw_section_text(t, "meta-vcs-identifier"),
		.uuid = nh_arena_copy(arena, nh_slice_str(id->uuid)),
		.nickname = nh_arena_copy(arena, nh_slice_str(id->nickname)),
	};
	m->require_fwup_version = nh_fw_section_text(t, "require-fwup-version");
	NH_TRY(nh_fw_version_check(m->require_fwup_version, err));
	int64_t cache = nh_fw_section_number(t, "block-cache-size-mb");
	/* A hint about memory, so out-of-range values are bounded rather than refused: the archive is as good as before. */
	m->block_cache_size_mb = (uint32_t)(cache < 1 ? 1 : cache > 1024 ? 1024 : cache);
	return NH_OK;
}

nh_rc nh_fw_manifest_parse(nh_slice text, struct nh_fw_vars *vars, nh_slice creation_date, struct nh_arena *arena, struct nh_fw_manifest **out,
			   struct nh_err *err)
{
	*out = NULL;
	if (text.len < NH_FW_META_MIN || text.len > NH_FW_META_MAX)
		return NH_FAIL(err, NH_EFORMAT, "Unexpected meta.conf size: %zu", text.len);
	struct nh_fw_manifest *m = NH_NEW(arena, struct nh_fw_manifest);
	m->text = nh_arena_copy(arena, text);
	struct nh_fw_identity id;
	nh_fw_identity_of(m->text, &id);
	struct nh_fw_vars *own = vars ? NULL : nh_fw_vars_new(NULL, NULL);
	struct nh_fw_vars *v = vars ? vars : own;
	nh_fw_vars_set(v, NH_LIT("FWUP_META_UUID"), nh_slice_str(id.uuid));
	nh_fw_vars_set(v, NH_LIT("FWUP_META_NICKNAME"), nh_slice_str(id.nickname));
	struct nh_fw_section *tree;
	nh_rc rc = nh_fw_config_parse(m->text, "[buf]", v, NULL, arena, &tree, err);
	nh_fw_vars_free(own);
	NH_TRY(rc);
	m->tree = tree;
	NH_TRY(metadata_of(arena, m, &id, creation_date, err));
	NH_TRY(sections_of(arena, m, err));
	*out = m;
	return NH_OK;
}
