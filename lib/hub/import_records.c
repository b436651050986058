/*
 * Cuts a file into entries as its bytes come. Only as much is understood as that takes: where a JSON object or a CSV line ends. What is in them is read elsewhere.
 *
 * Invariant: at most one entry is held, and never more than NH_IMPORT_ENTRY_MAX bytes of it.
 */
#include "hub/import.h"

static void begin(struct nh_records *r)
{
	nh_buf_clear(&r->entry);
	r->open = true;
	r->too_long = r->quoted = r->escaped = false;
	r->depth = 0;
	r->began = r->line;
}

static void keep(struct nh_records *r, uint8_t c)
{
	if (r->entry.len >= NH_IMPORT_ENTRY_MAX)
		r->too_long = true;
	else
		nh_buf_put_u8(&r->entry, c);
}

static nh_rc give(struct nh_records *r, struct nh_err *err)
{
	const struct nh_record record = {.text = r->too_long ? NH_SLICE_EMPTY : nh_buf_slice(&r->entry), .line = r->began, .too_long = r->too_long};
	r->open = false;
	return r->each(r->ctx, &record, err);
}

/* ---- JSON: objects, in an array or one after the other --------------------------------------------------------------------- */

static nh_rc between_objects(struct nh_records *r, uint8_t c, struct nh_err *err)
{
	if (c == ' ' || c == '\t' || c == '\r' || c == '\n')
		return NH_OK;
	if (r->ended)
		return NH_FAIL(err, NH_EFORMAT, "line %llu: there is more behind the end of the list", (unsigned long long)r->line);
	if (c == '{') {
		begin(r);
		keep(r, c);
		r->depth = 1;
	} else if (c == '[' && !r->in_array && r->began == 0) {
		r->in_array = true;
	} else if (c == ']' && r->in_array) {
		r->ended = true;
	} else if (c != ',' || !r->in_array) {
		return NH_FAIL(err, NH_EFORMAT, "line %llu: expected a JSON object", (unsigned long long)r->line);
	}
	return NH_OK;
}

static nh_rc in_object(struct nh_records *r, uint8_t c, struct nh_err *err)
{
	keep(r, c);
	if (r->escaped)
		r->escaped = false;
	else if (r->quoted && c == '\\')
		r->escaped = true;
	else if (c == '"')
		r->quoted = !r->quoted;
	else if (!r->quoted && (c == '{' || c == '['))
		r->depth++;
	else if (!r->quoted && (c == '}' || c == ']') && --r->depth == 0)
		return give(r, err);
	return NH_OK;
}

static nh_rc json_byte(struct nh_records *r, uint8_t c, struct nh_err *err)
{
	return r->open ? in_object(r, c, err) : between_objects(r, c, err);
}

/* ---- CSV: lines, but for those that end within quotation marks ----------------------------------------------------------------- */

static bool blank(const struct nh_records *r)
{
	return !r->too_long && nh_slice_trim(nh_buf_slice(&r->entry)).len == 0;
}

static nh_rc csv_byte(struct nh_records *r, uint8_t c, struct nh_err *err)
{
	if (!r->open)
		begin(r);
	if (c == '"')
		r->quoted = !r->quoted; /* a doubled one does it twice */
	if (c != '\n' || r->quoted) {
		keep(r, c);
		return NH_OK;
	}
	if (r->entry.len > 0 && r->entry.ptr[r->entry.len - 1] == '\r')
		nh_buf_truncate(&r->entry, r->entry.len - 1);
	if (!blank(r))
		return give(r, err);
	r->open = false;
	return NH_OK;
}

/* ---- both -------------------------------------------------------------------------------------------------------------------- */

nh_rc nh_records_feed(struct nh_records *r, nh_slice bytes, struct nh_err *err)
{
	if (r->line == 0)
		r->line = 1;
	for (size_t i = 0; i < bytes.len; i++) {
		NH_TRY(r->form == NH_RECORDS_JSON ? json_byte(r, bytes.ptr[i], err) : csv_byte(r, bytes.ptr[i], err));
		r->line += bytes.ptr[i] == '\n';
	}
	return NH_OK;
}

nh_rc nh_records_end(struct nh_records *r, struct nh_err *err)
{
	if (r->open && (r->form == NH_RECORDS_JSON || r->quoted))
		return NH_FAIL(err, NH_EFORMAT, "line %llu: the file ends in the middle of an entry", (unsigned long long)r->began);
	if (r->in_array && !r->ended)
		return NH_FAIL(err, NH_EFORMAT, "the list does not end");
	return r->open && !blank(r) ? give(r, err) : NH_OK;
}

void nh_records_fini(struct nh_records *r)
{
	nh_buf_fini(&r->entry);
}
