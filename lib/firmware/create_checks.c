/*
 * Checks of finished sections: what a partition table, an environment or a resource must say so that it can work on a device, and the values that
 * are computed for the author (bootstrap code from a file, the boot flag of GPT).
 * source: reference/fwup-format "8.4", "12.1", "12.2", "12.3"
 */
#include <errno.h>
#include <string.h>

#include "base/encode.h"
#include "base/file.h"
#include "create_int.h"

#define COUNT_DEFAULT 2147483647
#define BOOTSTRAP_LEN 440

struct span {
	unsigned number;
	uint64_t first, count;
	int64_t type;
	bool expand;
};

static nh_rc check_resource(const struct nh_fw_section *root, struct nh_fw_section *s, struct nh_arena *arena, struct nh_err *err)
{
	bool path = nh_fw_section_text(s, "host-path").len > 0, contents = nh_fw_section_get(s, "contents")->count > 0;
	nh_slice name = s->title;
	if (name.len == 0 || nh_slice_ends(name, NH_LIT("/")) || nh_slice_eq_str(name, "/meta.conf") || nh_slice_eq_str(name, "/data") ||
	    nh_slice_starts(name, NH_LIT("/data/")))
		return NH_FAIL(err, NH_EFORMAT, "a file-resource can't be named '%.*s'", NH_ARG(name));
	if (name.len > 506)
		return NH_FAIL(err, NH_EFORMAT, "the name of file-resource '%.*s' is longer than 506 bytes", NH_ARG(name));
	if (path == contents)
		return NH_FAIL(err, NH_EFORMAT, "file-resource '%.*s' needs either host-path or contents", NH_ARG(name));
	return NH_OK;
}

static nh_rc check_on_resource(const struct nh_fw_section *root, struct nh_fw_section *s, struct nh_arena *arena, struct nh_err *err)
{
	if (!nh_fw_section_find(root, "file-resource", s->title))
		return NH_FAIL(err, NH_EFORMAT, "unknown resource: %.*s", NH_ARG(s->title));
	return NH_OK;
}

static nh_rc read_span(const struct nh_fw_section *table, const struct nh_fw_section *p, uint64_t max_number, bool mbr, struct span *out,
		       struct nh_err *err)
{
	uint64_t number;
	if (nh_fw_parse_u64(p->title, &number) != NH_OK || number > max_number)
		return NH_FAIL(err, NH_EFORMAT, "'%.*s': partition '%.*s' isn't a number from 0 to %llu", NH_ARG(table->title), NH_ARG(p->title),
			       (unsigned long long)max_number);
	out->number = (unsigned)number;
	if (nh_fw_parse_u64(nh_fw_section_text(p, "block-offset"), &out->first) != NH_OK || out->first > INT64_MAX / 512 ||
	    (mbr && out->first >= UINT32_MAX))
		return NH_FAIL(err, NH_EFORMAT, "'%.*s': partition %u needs a valid block-offset", NH_ARG(table->title), out->number);
	int64_t count = nh_fw_section_number(p, "block-count");
	out->type = mbr ? nh_fw_section_number(p, "type") : 1;
	bool extended = mbr && (out->type == 5 || out->type == 15);
	if (count == COUNT_DEFAULT && extended)
		count = 0;
	if (count < 0 || (count >= COUNT_DEFAULT && mbr) || (count == COUNT_DEFAULT && !mbr))
		return NH_FAIL(err, NH_EFORMAT, "'%.*s': partition %u needs a block-count", NH_ARG(table->title), out->number);
	out->count = (uint64_t)count;
	if (out->type < 0 || out->type > 255)
		return NH_FAIL(err, NH_EFORMAT, "'%.*s': partition %u needs a type from 0 to 255", NH_ARG(table->title), out->number);
	out->expand = nh_fw_section_number(p, "expand") != 0;
	return NH_OK;
}

static nh_rc check_spans(const struct nh_fw_section *table, const struct span *spans, size_t count, struct nh_err *err)
{
	unsigned last = 0;
	for (size_t i = 0; i < count; i++)
		if (spans[i].type > 0 && spans[i].number > last)
			last = spans[i].number;
	for (size_t i = 0; i < count; i++) {
		const struct span *a = &spans[i];
		bool a_extended = a->type == 5 || a->type == 15;
		if (a->expand && a->number != last && !a_extended)
			return NH_FAIL(err, NH_EFORMAT, "'%.*s': only the last partition can expand, %u isn't", NH_ARG(table->title), a->number);
		for (size_t k = 0; k < i; k++) {
			const struct span *b = &spans[k];
			bool used = a->type > 0 && b->type > 0;
			bool extended = a_extended || b->type == 5 || b->type == 15; /* logical partitions lie inside on purpose */
			if (a->number == b->number)
				return NH_FAIL(err, NH_EFORMAT, "'%.*s': partition %u appears twice", NH_ARG(table->title), a->number);
			if (used && !extended && a->first < b->first + b->count && b->first < a->first + a->count)
				return NH_FAIL(err, NH_EFORMAT, "'%.*s': partitions %u and %u overlap", NH_ARG(table->title), b->number, a->number);
		}
	}
	return NH_OK;
}

/* Boot records of logical partitions lie one behind the other where the extended partition begins; the partitions come behind all of them. */
static nh_rc check_logical(const struct nh_fw_section *table, const struct span *spans, size_t count, const struct span *extended, unsigned last,
			   struct nh_err *err)
{
	uint64_t end = extended->first + extended->count;
	unsigned seen = 0;
	for (size_t i = 0; i < count; i++) {
		const struct span *s = &spans[i];
		if (s->number < 4)
			continue;
		if (s->type == 0 || s->first < extended->first + (last - 3))
			return NH_FAIL(err, NH_EFORMAT, "mbr '%.*s': partition %u must be in use and begin at block %llu or later, behind the boot records of "
				       "the extended partition", NH_ARG(table->title), s->number, (unsigned long long)(extended->first + (last - 3)));
		seen++;
		end = s->first + s->count > end ? s->first + s->count : end;
	}
	if (seen != last - 3)
		return NH_FAIL(err, NH_EFORMAT, "mbr '%.*s': the logical partitions 4 to %u must all be given", NH_ARG(table->title), last);
	for (size_t i = 0; i < count; i++)
		if (spans[i].number < 3 && spans[i].type > 0 && spans[i].first < end && extended->first < spans[i].first + spans[i].count)
			return NH_FAIL(err, NH_EFORMAT, "mbr '%.*s': partitions %u and 3 overlap", NH_ARG(table->title), spans[i].number);
	return NH_OK;
}

static nh_rc check_extended(const struct nh_fw_section *table, const struct span *spans, size_t count, struct nh_err *err)
{
	const struct span *extended = NULL;
	unsigned last = 3;
	for (size_t i = 0; i < count; i++) {
		bool is = spans[i].type == 5 || spans[i].type == 15;
		if (is && spans[i].number != 3)
			return NH_FAIL(err, NH_EFORMAT, "mbr '%.*s': only partition 3 can be an extended partition", NH_ARG(table->title));
		if (is)
			extended = &spans[i];
		last = spans[i].number > last ? spans[i].number : last;
	}
	if (last > 3 && !extended)
		return NH_FAIL(err, NH_EFORMAT, "mbr '%.*s': partitions from 4 on need partition 3 to be an extended partition", NH_ARG(table->title));
	return extended ? check_logical(table, spans, count, extended, last, err) : NH_OK;
}

static nh_rc load_bootstrap(struct nh_fw_section *s, struct nh_arena *arena, struct nh_err *err)
{
	nh_slice path = nh_fw_section_text(s, "bootstrap-code-host-path");
	NH_AUTO_BUF struct nh_buf code = NH_BUF_INIT;
	if (path.len > 0) {
		NH_TRY_CTX(nh_file_read((const char *)path.ptr, 1u << 20, &code, err), err, "mbr '%.*s': bootstrap-code-host-path", NH_ARG(s->title));
		if (code.len < BOOTSTRAP_LEN)
			return NH_FAIL(err, NH_EFORMAT, "mbr '%.*s': bootstrap code in '%.*s' must have at least %d bytes", NH_ARG(s->title),
				       NH_ARG(path), BOOTSTRAP_LEN);
		NH_AUTO_BUF struct nh_buf hex = NH_BUF_INIT;
		nh_hex_put(&hex, nh_slice_sub(nh_buf_slice(&code), 0, BOOTSTRAP_LEN));
		nh_fw_section_set_text(s, arena, "bootstrap-code", nh_buf_slice(&hex));
	}
	nh_slice text = nh_fw_section_text(s, "bootstrap-code");
	uint8_t bytes[BOOTSTRAP_LEN];
	if (text.len > 0 && nh_hex_decode_fixed(text, bytes, sizeof bytes) != NH_OK)
		return NH_FAIL(err, NH_EFORMAT, "mbr '%.*s': bootstrap-code must be exactly %d bytes as hex digits", NH_ARG(s->title), BOOTSTRAP_LEN);
	if (text.len > 0 && nh_fw_section_number(s, "include-osip"))
		return NH_FAIL(err, NH_EFORMAT, "mbr '%.*s': bootstrap code and include-osip exclude each other", NH_ARG(s->title));
	return NH_OK;
}

static nh_rc check_mbr(const struct nh_fw_section *root, struct nh_fw_section *s, struct nh_arena *arena, struct nh_err *err)
{
	const struct nh_fw_setting *list = nh_fw_section_get(s, "partition");
	struct span *spans = NH_NEW_ARRAY(arena, list->count, struct span);
	for (size_t i = 0; i < list->count; i++)
		NH_TRY(read_span(s, list->sections[i], 11, true, &spans[i], err));
	NH_TRY(check_spans(s, spans, list->count, err));
	NH_TRY(check_extended(s, spans, list->count, err));
	nh_slice signature = nh_fw_section_text(s, "signature");
	uint64_t v;
	if (signature.len > 0 && (nh_fw_parse_u64(signature, &v) != NH_OK || v > UINT32_MAX))
		return NH_FAIL(err, NH_EFORMAT, "mbr '%.*s': signature '%.*s' isn't a 32-bit number", NH_ARG(s->title), NH_ARG(signature));
	return load_bootstrap(s, arena, err);
}

static bool is_guid(nh_slice text)
{
	for (size_t i = 0; i < text.len; i++) {
		uint8_t c = text.ptr[i];
		bool dash = i == 8 || i == 13 || i == 18 || i == 23;
		if (dash ? c != '-' : !((c >= '0' && c <= '9') || ((c | 0x20) >= 'a' && (c | 0x20) <= 'f')))
			return false;
	}
	return text.len == 36;
}

/* boot = true becomes bit 2 of the flags, and is not written itself. */
static nh_rc fold_boot_flag(const struct nh_fw_section *table, struct nh_fw_section *p, struct nh_arena *arena, struct nh_err *err)
{
	uint64_t flags;
	if (nh_fw_parse_u64(nh_fw_section_text(p, "flags"), &flags) != NH_OK)
		return NH_FAIL(err, NH_EFORMAT, "gpt '%.*s': partition '%.*s' has invalid flags", NH_ARG(table->title), NH_ARG(p->title));
	if (nh_fw_section_number(p, "boot")) {
		nh_fw_section_set_text(p, arena, "flags", nh_slice_str(nh_arena_printf(arena, "0x%llx", (unsigned long long)(flags | 4))));
		nh_fw_section_set_number(p, arena, "boot", 0);
	}
	return NH_OK;
}

static nh_rc check_gpt(const struct nh_fw_section *root, struct nh_fw_section *s, struct nh_arena *arena, struct nh_err *err)
{
	const struct nh_fw_setting *list = nh_fw_section_get(s, "partition");
	if (!is_guid(nh_fw_section_text(s, "guid")))
		return NH_FAIL(err, NH_EFORMAT, "gpt '%.*s' needs a guid", NH_ARG(s->title));
	if (list->count == 0)
		return NH_FAIL(err, NH_EFORMAT, "gpt '%.*s' needs at least one partition", NH_ARG(s->title));
	struct span *spans = NH_NEW_ARRAY(arena, list->count, struct span);
	for (size_t i = 0; i < list->count; i++) {
		struct nh_fw_section *p = list->sections[i];
		NH_TRY(read_span(s, p, 15, false, &spans[i], err));
		if (!is_guid(nh_fw_section_text(p, "type")) || !is_guid(nh_fw_section_text(p, "guid")))
			return NH_FAIL(err, NH_EFORMAT, "gpt '%.*s': partition %u needs a type and a guid", NH_ARG(s->title), spans[i].number);
		if (nh_fw_section_text(p, "name").len > 36)
			return NH_FAIL(err, NH_EFORMAT, "gpt '%.*s': name of partition %u is longer than 36 bytes", NH_ARG(s->title), spans[i].number);
		NH_TRY(fold_boot_flag(s, p, arena, err));
	}
	return check_spans(s, spans, list->count, err);
}

static nh_rc check_uboot(const struct nh_fw_section *root, struct nh_fw_section *s, struct nh_arena *arena, struct nh_err *err)
{
	uint64_t first, second = 0;
	int64_t count = nh_fw_section_number(s, "block-count");
	nh_slice redund = nh_fw_section_text(s, "block-offset-redund");
	if (nh_fw_parse_u64(nh_fw_section_text(s, "block-offset"), &first) != NH_OK || first > INT64_MAX / 1024)
		return NH_FAIL(err, NH_EFORMAT, "uboot-environment '%.*s' needs a valid block-offset", NH_ARG(s->title));
	if (count < 1 || count > 65534)
		return NH_FAIL(err, NH_EFORMAT, "uboot-environment '%.*s' needs a block-count from 1 to 65534", NH_ARG(s->title));
	if (redund.len > 0 && (nh_fw_parse_u64(redund, &second) != NH_OK || second > INT64_MAX / 1024))
		return NH_FAIL(err, NH_EFORMAT, "uboot-environment '%.*s': invalid block-offset-redund", NH_ARG(s->title));
	uint64_t distance = first > second ? first - second : second - first;
	if (redund.len > 0 && distance < (uint64_t)count)
		return NH_FAIL(err, NH_EFORMAT, "uboot-environment '%.*s': the two copies overlap", NH_ARG(s->title));
	return NH_OK;
}

nh_rc fw_create_check_section(const struct nh_fw_section *root, const struct nh_fw_option *row, struct nh_fw_section *section,
			      struct nh_arena *arena, struct nh_err *err)
{
	static const struct {
		const char *name;
		nh_rc (*check)(const struct nh_fw_section *root, struct nh_fw_section *s, struct nh_arena *arena, struct nh_err *err);
	} checks[] = {{"file-resource", check_resource}, {"on-resource", check_on_resource}, {"mbr", check_mbr}, {"gpt", check_gpt},
		      {"uboot-environment", check_uboot}};
	for (size_t i = 0; i < NH_ARRAY_LEN(checks); i++)
		if (nh_slice_eq_str(nh_slice_str(row->name), checks[i].name))
			return checks[i].check(root, section, arena, err);
	return NH_OK;
}
