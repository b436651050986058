/*
 * What an archive's tasks say about deltas, resource by resource over all tasks.  source: reference/fwup-format "14.5", "14.6", appendix C
 */
#include "delta_int.h"

#include <stdlib.h>

#include "base/semver.h"

/* ---- flags of a resource ---------------------------------------------------------------------------------------------------------- */

static struct nh_fw_delta_flags *flags_of(struct nh_fw_delta_scan *s, nh_slice resource)
{
	for (size_t i = 0; i < s->count; i++)
		if (nh_slice_eq(s->items[i].resource, resource))
			return &s->items[i];
	s->items[s->count] = (struct nh_fw_delta_flags){.resource = resource};
	return &s->items[s->count++];
}

static bool mentions(nh_slice text, const char *what) { return nh_slice_find(text, nh_slice_str(what)) >= 0; }

/* Only the first function counts, and fat_write only where it is alone: what the field's tools look at. */
static void writes_of(struct nh_fw_delta_flags *f, const struct nh_fw_calls *calls)
{
	if (calls->count == 0)
		return;
	const struct nh_fw_call *first = &calls->items[0];
	if (nh_slice_eq_str(first->name, "fat_write"))
		f->fat_write = f->fat_write || (calls->count == 1 && first->arg_count == 2);
	if (!nh_slice_eq_str(first->name, "raw_write"))
		return;
	f->raw_write = true;
	f->write_cipher = f->write_secret = false; /* a later task's word replaces an earlier one's */
	for (unsigned i = 1; i < first->arg_count; i++) {
		f->write_cipher |= mentions(first->args[i], "cipher=");
		f->write_secret |= mentions(first->args[i], "secret=");
	}
}

void nh_fw_delta_scan_init(struct nh_fw_delta_scan *s, const struct nh_fw_manifest *m)
{
	size_t most = 1;
	for (size_t i = 0; i < m->task_count; i++)
		most += m->tasks[i].on_resource_count;
	*s = (struct nh_fw_delta_scan){.items = nh_xcalloc(most, sizeof *s->items)};
	for (size_t i = 0; i < m->task_count; i++) {
		const struct nh_fw_task *t = &m->tasks[i];
		for (size_t k = 0; k < t->on_resource_count; k++) {
			const struct nh_fw_on_resource *o = &t->on_resources[k];
			struct nh_fw_delta_flags *f = flags_of(s, o->name);
			f->raw_source |= o->has_raw_source;
			f->fat_source |= o->has_fat_source;
			f->source_cipher |= mentions(o->raw_options, "cipher=");
			f->source_secret |= mentions(o->raw_options, "secret=");
			f->in_upgrade |= nh_slice_starts(t->name, NH_LIT("upgrade"));
			writes_of(f, &o->calls);
		}
	}
}

void nh_fw_delta_scan_fini(struct nh_fw_delta_scan *s)
{
	free(s->items);
	s->items = NULL;
}

const struct nh_fw_delta_flags *nh_fw_delta_scan_find(const struct nh_fw_delta_scan *s, nh_slice resource)
{
	for (size_t i = 0; i < s->count; i++)
		if (nh_slice_eq(s->items[i].resource, resource))
			return &s->items[i];
	return NULL;
}

static bool raw_valid(const struct nh_fw_delta_flags *f)
{
	return f->raw_write && f->raw_source && (!f->write_cipher || (f->write_secret && f->source_cipher && f->source_secret));
}

static bool fat_valid(const struct nh_fw_delta_flags *f) { return f->fat_write && f->fat_source; }

/* ---- the archive -------------------------------------------------------------------------------------------------------------------- */

static const char *higher(const char *a, const char *b)
{
	struct nh_semver x, y;
	if (nh_semver_parse(nh_slice_str(a), &x) != NH_OK)
		return b;
	if (nh_semver_parse(nh_slice_str(b), &y) != NH_OK)
		return a;
	return nh_semver_cmp(&x, &y) >= 0 ? a : b;
}

/* "1.6" as "1.6.0": versions are compared, and shown, with all three numbers. */
static const char *three_numbers(nh_slice version, struct nh_arena *arena)
{
	unsigned dots = 0;
	for (size_t i = 0; i < version.len; i++)
		dots += version.ptr[i] == '.';
	return nh_arena_printf(arena, "%.*s%s", NH_ARG(version), dots == 0 ? ".0.0" : dots == 1 ? ".0" : "");
}

#define OLDEST "0.2.0"

void nh_fw_features_scan(const struct nh_fw_manifest *m, struct nh_arena *arena, struct nh_fw_features *out)
{
	struct nh_fw_delta_scan s;
	nh_fw_delta_scan_init(&s, m);
	*out = (struct nh_fw_features){0};
	for (size_t i = 0; i < s.count; i++) {
		const struct nh_fw_delta_flags *f = &s.items[i];
		out->raw_deltas |= raw_valid(f);
		out->fat_deltas |= fat_valid(f);
		out->encryption |= f->write_cipher && f->write_secret;
		out->encrypted_deltas |= f->write_cipher && raw_valid(f);
	}
	nh_fw_delta_scan_fini(&s);

	bool required = m->require_fwup_version.len > 0 && !nh_slice_eq_str(m->require_fwup_version, "0");
	const char *wanted = required ? three_numbers(m->require_fwup_version, arena) : OLDEST;
	const struct {
		bool used;
		const char *since;
	} rows[] = {{out->raw_deltas, "1.6.0"}, {out->fat_deltas, "1.10.0"}, {out->encryption, "1.5.0"}, {out->encrypted_deltas, "1.13.0"}};
	const char *needed = NULL;
	for (size_t i = 0; i < NH_ARRAY_LEN(rows); i++)
		if (rows[i].used)
			needed = needed ? higher(needed, rows[i].since) : rows[i].since;
	out->complete_version = out->encryption ? "1.5.0" : wanted;
	out->delta_version = needed ? needed : higher("1.6.0", wanted);
}

bool nh_fw_manifest_delta_updatable(const struct nh_fw_manifest *m)
{
	struct nh_fw_delta_scan s;
	bool any = false;
	nh_fw_delta_scan_init(&s, m);
	for (size_t i = 0; i < s.count; i++)
		any |= raw_valid(&s.items[i]) || fat_valid(&s.items[i]);
	nh_fw_delta_scan_fini(&s);
	return any;
}

/* ---- two archives ----------------------------------------------------------------------------------------------------------------------- */

static nh_rc pair_check(const struct nh_fw_delta_flags *source, const struct nh_fw_delta_flags *target, struct nh_err *err)
{
	nh_slice name = source->resource;
	if (raw_valid(target) && !source->raw_write)
		return NH_FAIL(err, NH_EUNSUPPORTED, "%.*s: Target uses raw deltas but source has no raw writes.", NH_ARG(name));
	if (fat_valid(target) && !source->fat_write)
		return NH_FAIL(err, NH_EUNSUPPORTED, "%.*s: Target uses FAT deltas but source has no FAT writes.", NH_ARG(name));
	if (raw_valid(target) && source->write_cipher && source->write_secret && !(target->source_cipher && target->source_secret))
		return NH_FAIL(err, NH_EUNSUPPORTED,
			       "%.*s: Target uses raw deltas and source firmware uses encryption for the same resource but target firmware has no cipher or secret "
			       "options to decrypt it with.",
			       NH_ARG(name));
	return NH_OK;
}

nh_rc nh_fw_delta_compatible(const struct nh_fw_manifest *source, const struct nh_fw_manifest *target, struct nh_err *err)
{
	struct nh_fw_delta_scan old, new;
	nh_rc rc = NH_OK;
	nh_fw_delta_scan_init(&old, source);
	nh_fw_delta_scan_init(&new, target);
	for (size_t i = 0; i < old.count && rc == NH_OK; i++) {
		const struct nh_fw_delta_flags *f = nh_fw_delta_scan_find(&new, old.items[i].resource);
		if (f)
			rc = pair_check(&old.items[i], f, err);
	}
	nh_fw_delta_scan_fini(&old);
	nh_fw_delta_scan_fini(&new);
	return rc;
}
