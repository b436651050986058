/*
 * JSON through jansson: bounded reading, compact writing. jansson's own nesting cap (2048) is too deep for what peers send, so depth is
 * counted before it parses.
 */
#include "base/json.h"

#include <stdio.h>

#define DEPTH_MAX 64

/* Counts brackets outside strings. Malformed text is left for the parser to name. */
static bool too_deep(nh_slice text)
{
	unsigned depth = 0;
	bool in_string = false;
	for (size_t i = 0; i < text.len; i++) {
		uint8_t c = text.ptr[i];
		if (in_string) {
			if (c == '\\')
				i++;
			else if (c == '"')
				in_string = false;
		} else if (c == '"') {
			in_string = true;
		} else if (c == '[' || c == '{') {
			if (++depth > DEPTH_MAX)
				return true;
		} else if ((c == ']' || c == '}') && depth > 0) {
			depth--;
		}
	}
	return false;
}

nh_rc nh_json_parse(nh_slice text, size_t max_bytes, json_t **out, struct nh_err *err)
{
	*out = NULL;
	if (text.len > max_bytes)
		return NH_FAIL(err, NH_ETOOBIG, "JSON text of %zu bytes is over the limit of %zu", text.len, max_bytes);
	if (too_deep(text))
		return NH_FAIL(err, NH_EFORMAT, "JSON nested deeper than %d levels", DEPTH_MAX);
	json_error_t e = {0};
	*out = json_loadb(text.ptr ? (const char *)text.ptr : "", text.len, JSON_DECODE_ANY | JSON_ALLOW_NUL, &e);
	if (!*out)
		return NH_FAIL(err, NH_EFORMAT, "not valid JSON at line %d, column %d: %.160s", e.line, e.column, e.text);
	return NH_OK;
}

static int append(const char *bytes, size_t len, void *ctx)
{
	struct nh_buf *out = ctx;
	nh_buf_put(out, bytes, len);
	return out->failed ? -1 : 0;
}

void nh_json_put(struct nh_buf *out, const json_t *value)
{
	if (json_dump_callback(value, append, out, JSON_COMPACT | JSON_ENCODE_ANY | JSON_PRESERVE_ORDER) != 0)
		out->failed = true;
}

void nh_json_put_pretty(struct nh_buf *out, const json_t *value)
{
	if (json_dump_callback(value, append, out, JSON_INDENT(2) | JSON_ENCODE_ANY | JSON_PRESERVE_ORDER) != 0)
		out->failed = true;
	nh_buf_put_u8(out, '\n');
}

/* Appends text with every byte that starts no well-formed sequence replaced by U+FFFD. */
static void put_repaired(struct nh_buf *out, nh_slice text)
{
	while (text.len) {
		size_t step = 1;
		while (step < 4 && step <= text.len && !nh_utf8_valid(nh_slice_sub(text, 0, step)))
			step++;
		bool good = step <= text.len && nh_utf8_valid(nh_slice_sub(text, 0, step));
		if (good)
			nh_buf_put(out, text.ptr, step);
		else
			nh_buf_put_str(out, "\xEF\xBF\xBD");
		text = nh_slice_skip(text, good ? step : 1);
	}
}

json_t *nh_json_new_text(nh_slice text)
{
	if (!text.ptr)
		return json_null();
	if (nh_utf8_valid(text))
		return json_stringn_nocheck((const char *)text.ptr, text.len);
	NH_AUTO_BUF struct nh_buf fixed = NH_BUF_INIT;
	put_repaired(&fixed, text);
	return json_stringn_nocheck(nh_buf_cstr(&fixed), fixed.len);
}

void nh_json_put_string(struct nh_buf *out, nh_slice text)
{
	NH_AUTO_JSON json_t *v = nh_json_new_text(text.ptr ? text : NH_LIT(""));
	nh_json_put(out, v);
}

nh_slice nh_json_text(const json_t *object, const char *key)
{
	const json_t *v = json_object_get(object, key);
	return json_is_string(v) ? nh_slice_of(json_string_value(v), json_string_length(v)) : NH_SLICE_EMPTY;
}

int64_t nh_json_int(const json_t *object, const char *key, int64_t fallback)
{
	const json_t *v = json_object_get(object, key);
	return json_is_integer(v) ? (int64_t)json_integer_value(v) : fallback;
}

bool nh_json_bool(const json_t *object, const char *key, bool fallback)
{
	const json_t *v = json_object_get(object, key);
	return json_is_boolean(v) ? json_is_true(v) : fallback;
}
