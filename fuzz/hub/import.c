/*
 * Files that are imported. The first byte chooses the format, the second the size of the pieces in which the rest comes: however it is cut, the entries are the same.
 */
#include "fuzz.h"

#include "base/arena.h"
#include "base/buf.h"
#include "hub/import.h"

struct run {
	struct nh_import_reader reader;
	struct nh_arena arena;
	struct nh_buf said; /* what was read, to be compared */
	unsigned entries;
};

static nh_rc each(void *ctx, const struct nh_record *record, struct nh_err *err)
{
	struct run *r = ctx;
	struct nh_import_device d;
	FUZZ_CHECK(record->line > 0 && record->text.len <= NH_IMPORT_ENTRY_MAX && (!record->too_long || record->text.len == 0), "line %llu", (unsigned long long)record->line);
	nh_rc rc = nh_import_read(&r->reader, &r->arena, record, &d, err);
	if (rc == NH_ENOTFOUND && r->reader.format == NH_IMPORT_CSV && r->entries++ == 0)
		return NH_OK;
	FUZZ_CHECK(rc == NH_OK || (rc == NH_EINVAL && r->reader.format == NH_IMPORT_CSV), "code %d", (int)rc);
	if (rc != NH_OK)
		return rc;
	FUZZ_CHECK(d.problem ? d.problem[0] : d.identifier.len > 0 && d.identifier.len <= NH_DEVICE_IDENTIFIER_MAX && nh_utf8_valid(d.identifier), "an entry without a name");
	nh_buf_printf(&r->said, "%llu %.*s %s\n", (unsigned long long)d.line, NH_ARG(d.identifier), d.problem ? d.problem : "");
	r->entries++;
	return NH_OK;
}

static nh_rc play(struct run *r, nh_import_format format, nh_slice in, size_t piece)
{
	struct nh_records records = {.form = nh_import_format_form(format), .each = each, .ctx = r};
	nh_rc rc = NH_OK;
	r->reader = (struct nh_import_reader){.format = format};
	while (in.len > 0 && rc == NH_OK) {
		rc = nh_records_feed(&records, nh_slice_sub(in, 0, piece), NULL);
		in = nh_slice_skip(in, piece);
	}
	if (rc == NH_OK)
		rc = nh_records_end(&records, NULL);
	FUZZ_CHECK(rc == NH_OK || rc == NH_EFORMAT || rc == NH_EINVAL, "code %d", (int)rc);
	nh_records_fini(&records);
	return rc;
}

static void run_fini(struct run *r)
{
	nh_buf_fini(&r->said);
	nh_arena_fini(&r->arena);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	nh_slice in = nh_slice_of(data, size);
	nh_import_format format = (nh_import_format)(fuzz_byte(&in) % NH_IMPORT_FORMATS);
	size_t piece = fuzz_byte(&in) + 1u;
	struct run whole = {0}, cut = {0};
	nh_rc a = play(&whole, format, in, in.len + 1), b = play(&cut, format, in, piece);
	FUZZ_CHECK(a == b && nh_slice_eq(nh_buf_slice(&whole.said), nh_buf_slice(&cut.said)), "%s---\n%s", nh_buf_cstr(&whole.said), nh_buf_cstr(&cut.said));
	run_fini(&whole);
	run_fini(&cut);
	return 0;
}
