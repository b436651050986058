/*
 * Lines of a production order. A line that begins with '{' is JSON; otherwise it is CSV (RFC 4180, one line a record), whose first line names the columns. Known fields are serial, board,
 * user_data (hexadecimal) and again; everything else goes through to the receipt for whoever prints labels.
 */
#include "batch_line.h"

#include "base/encode.h"

#define FIELD_MAX 4096u

static nh_rc set_field(struct nh_arena *arena, struct batch_line *line, nh_slice name, const json_t *value, struct nh_err *err)
{
	const struct {
		const char *name;
		nh_slice *target;
		bool hex;
	} known[] = {{"serial", &line->serial, false}, {"board", &line->board, false}, {"user_data", &line->user_data, true}};
	for (size_t i = 0; i < NH_ARRAY_LEN(known); i++) {
		if (!nh_slice_eq_str(name, known[i].name))
			continue;
		NH_AUTO_BUF struct nh_buf bytes = NH_BUF_INIT;
		if (!json_is_string(value))
			return NH_FAIL(err, NH_EINVAL, "%s must be text", known[i].name);
		nh_slice text = nh_slice_of(json_string_value(value), json_string_length(value));
		if (known[i].hex && nh_hex_decode(text, &bytes) != NH_OK)
			return NH_FAIL(err, NH_EINVAL, "%s must be hexadecimal digits", known[i].name);
		*known[i].target = nh_arena_copy(arena, known[i].hex ? nh_buf_slice(&bytes) : text);
		return NH_OK;
	}
	if (nh_slice_eq(name, NH_LIT("again")))
		line->again = json_is_true(value) || (json_is_string(value) && nh_slice_ieq(nh_slice_str(json_string_value(value)), NH_LIT("true")));
	else
		json_object_setn(line->label, (const char *)name.ptr, name.len, (json_t *)(uintptr_t)value);
	return NH_OK;
}

static nh_rc parse_json(nh_slice text, struct nh_arena *arena, struct batch_line *out, struct nh_err *err)
{
	NH_AUTO_JSON json_t *object = NULL;
	const char *name;
	json_t *value;
	if (nh_json_parse(text, FIELD_MAX * 4, &object, err) != NH_OK)
		return NH_EINVAL;
	json_object_foreach(object, name, value)
		NH_TRY(set_field(arena, out, nh_slice_str(name), value, err));
	return NH_OK;
}

/* Takes one field off; *more: a comma followed. */
static nh_rc csv_field(nh_slice *rest, struct nh_arena *arena, nh_slice *out, bool *more, struct nh_err *err)
{
	NH_AUTO_BUF struct nh_buf field = NH_BUF_MAX(FIELD_MAX);
	size_t i = 0;
	if (rest->len && rest->ptr[0] == '"') {
		bool closed = false;
		for (i = 1; i < rest->len && !closed; i++) {
			if (rest->ptr[i] != '"')
				nh_buf_put_u8(&field, rest->ptr[i]);
			else if (i + 1 < rest->len && rest->ptr[i + 1] == '"')
				nh_buf_put_u8(&field, rest->ptr[i++]);
			else
				closed = true;
		}
		if (!closed || (i < rest->len && rest->ptr[i] != ','))
			return NH_FAIL(err, NH_EINVAL, "a quoted field does not end with a quote and a comma");
	} else {
		while (i < rest->len && rest->ptr[i] != ',')
			nh_buf_put_u8(&field, rest->ptr[i++]);
	}
	*more = i < rest->len;
	*rest = nh_slice_skip(*rest, i + 1);
	*out = nh_arena_copy(arena, nh_buf_slice(&field));
	return nh_buf_ok(&field) ? NH_OK : NH_FAIL(err, NH_EINVAL, "a field is longer than %u bytes", FIELD_MAX);
}

static nh_rc parse_names(nh_slice text, struct nh_arena *arena, struct batch_columns *columns, struct nh_err *err)
{
	bool more = true, known = false;
	nh_arena_reset(arena); /* what a refused line left there */
	columns->count = 0;
	while (more) {
		nh_slice name;
		if (columns->count == NH_ARRAY_LEN(columns->names))
			break;
		nh_rc rc = csv_field(&text, arena, &name, &more, err);
		if (rc != NH_OK) {
			columns->count = 0;
			return rc;
		}
		name = nh_slice_trim(name);
		known |= nh_slice_eq(name, NH_LIT("serial"));
		columns->names[columns->count++] = name;
	}
	if (known && !more)
		return NH_ECLOSED;
	columns->count = 0;
	if (more)
		return NH_FAIL(err, NH_EINVAL, "more than %zu columns", NH_ARRAY_LEN(columns->names));
	return NH_FAIL(err, NH_EINVAL, "the first line of CSV names the columns, and one of them is serial");
}

static nh_rc parse_csv(nh_slice text, struct nh_arena *arena, const struct batch_columns *columns, struct batch_line *out, struct nh_err *err)
{
	bool more = true;
	size_t i = 0;
	for (; more; i++) {
		nh_slice field;
		if (i == columns->count)
			return NH_FAIL(err, NH_EINVAL, "more fields than the %zu columns", columns->count);
		NH_TRY(csv_field(&text, arena, &field, &more, err));
		if (!nh_utf8_valid(field))
			return NH_FAIL(err, NH_EINVAL, "field %zu is not UTF-8", i + 1);
		if (field.len == 0)
			continue; /* the default */
		NH_AUTO_JSON json_t *value = nh_json_new_text(field);
		NH_TRY(set_field(arena, out, columns->names[i], value, err));
	}
	return i == columns->count ? NH_OK : NH_FAIL(err, NH_EINVAL, "%zu fields instead of %zu", i, columns->count);
}

nh_rc batch_line_parse(nh_slice text, struct nh_arena *arena, struct nh_arena *columns_arena, struct batch_columns *columns, struct batch_line *out, struct nh_err *err)
{
	*out = (struct batch_line){0};
	if (text.len && text.ptr[0] != '{' && columns->count == 0)
		return parse_names(text, columns_arena, columns, err);
	out->label = json_object();
	nh_rc rc = text.len && text.ptr[0] == '{' ? parse_json(text, arena, out, err) : parse_csv(text, arena, columns, out, err);
	if (rc != NH_OK) {
		json_decref(out->label);
		out->label = NULL;
	}
	return rc;
}
