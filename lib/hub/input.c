/*
 * Reading of people's input and wording of refusals, shared by the rules on accounts, products, keys, devices and certificates.
 */
#include <stdio.h>

#include "base/encode.h"
#include "crypto/x509.h"
#include "input_int.h"

#define PEM_MAX ((size_t)64 << 10)

nh_rc nh_refuse(json_t **errors, struct nh_err *err, nh_rc rc, const char *field, const char *fmt, ...)
{
	NH_AUTO_BUF struct nh_buf text = NH_BUF_INIT;
	va_list ap;
	va_start(ap, fmt);
	nh_buf_vprintf(&text, fmt, ap);
	va_end(ap);

	if (errors) {
		if (!*errors)
			*errors = json_object();
		if (!field) {
			json_object_set_new(*errors, "detail", nh_json_new_text(nh_buf_slice(&text)));
		} else {
			json_t *list = json_object_get(*errors, field);
			if (!list) {
				list = json_array();
				json_object_set_new(*errors, field, list);
			}
			json_array_append_new(list, nh_json_new_text(nh_buf_slice(&text)));
		}
	}
	return NH_FAIL(err, rc, "%s%s%s", field ? field : "", field ? " " : "", nh_buf_cstr(&text));
}

nh_slice nh_input_name(struct nh_arena *arena, nh_slice text)
{
	NH_AUTO_BUF struct nh_buf out = NH_BUF_INIT;
	nh_slice word, rest = nh_slice_trim(text);
	while (rest.len > 0) {
		nh_slice_cut(rest, ' ', &word, &rest);
		if (word.len == 0)
			continue;
		if (out.len > 0)
			nh_buf_put_u8(&out, ' ');
		nh_buf_put_slice(&out, word);
	}
	return nh_arena_copy(arena, nh_buf_slice(&out));
}

bool nh_input_text_ok(nh_slice text, size_t max_bytes)
{
	return text.len <= max_bytes && nh_utf8_valid(text) && nh_slice_chr(text, 0) < 0;
}

bool nh_input_name_ok(nh_slice text, size_t max_bytes)
{
	if (!nh_input_text_ok(text, max_bytes))
		return false;
	for (size_t i = 0; i < text.len; i++) {
		if (text.ptr[i] < 0x20 || text.ptr[i] == 0x7f || text.ptr[i] == '/')
			return false;
	}
	return true;
}

size_t nh_input_characters(nh_slice text)
{
	size_t n = 0;
	for (size_t i = 0; i < text.len; i++)
		n += (text.ptr[i] & 0xc0) != 0x80;
	return n;
}

nh_slice nh_input_lower(struct nh_arena *arena, nh_slice text)
{
	uint8_t *out = nh_arena_alloc(arena, text.len + 1);
	for (size_t i = 0; i < text.len; i++)
		out[i] = text.ptr[i] >= 'A' && text.ptr[i] <= 'Z' ? (uint8_t)(text.ptr[i] + 32) : text.ptr[i];
	return nh_slice_of(out, text.len);
}

nh_slice nh_text_cut(struct nh_arena *arena, nh_slice text, size_t max_bytes)
{
	if (text.len <= max_bytes)
		return text;
	size_t len = max_bytes - 3; /* the bytes of "…" */
	while (len > 0 && (text.ptr[len] & 0xc0) == 0x80)
		len--;
	return nh_slice_str(nh_arena_printf(arena, "%.*s…", (int)len, (const char *)text.ptr));
}

nh_rc nh_input_optional_text(struct nh_arena *arena, const json_t *fields, const char *key, size_t max_bytes, bool *present, nh_slice *out,
                             json_t **errors, struct nh_err *err)
{
	const json_t *value = json_object_get(fields, key);
	*present = value != NULL;
	*out = NH_SLICE_EMPTY;
	if (!value || json_is_null(value))
		return NH_OK;
	nh_slice text = nh_slice_of(json_string_value(value), json_string_length(value));
	if (!json_is_string(value) || !nh_input_text_ok(text, max_bytes))
		return nh_refuse(errors, err, NH_EINVAL, key, "is invalid");
	*out = nh_arena_copy(arena, text);
	return NH_OK;
}

nh_rc nh_input_certificate(nh_slice base64_pem, struct nh_cert **out, json_t **errors, struct nh_err *err)
{
	*out = NULL;
	NH_AUTO_BUF struct nh_buf pem = NH_BUF_MAX(PEM_MAX);
	if (nh_b64_decode(base64_pem, NH_B64_STD, &pem) != NH_OK || !nh_buf_ok(&pem))
		return NH_FAIL(err, NH_EFORMAT, "certificate is not base64");
	if (nh_cert_parse_pem(nh_buf_slice(&pem), out, NULL) != NH_OK)
		return nh_refuse(errors, err, NH_EINVAL, NULL, "Error decoding certificate");
	return NH_OK;
}

nh_rc nh_query_id(struct nh_tx *tx, const struct nh_stmt *stmt, const struct nh_param *params, size_t count, int64_t *out, struct nh_err *err)
{
	struct nh_rows *rows = NULL;
	NH_TRY(nh_sql_one(tx, stmt, params, count, &rows, err));
	*out = nh_col_int(rows, 0);
	nh_sql_end(rows);
	return NH_OK;
}

bool nh_input_bool(const json_t *value, bool *out)
{
	static const struct {
		const char *text;
		bool value;
	} words[] = {{"true", true}, {"1", true}, {"false", false}, {"0", false}};
	if (json_is_boolean(value)) {
		*out = json_is_true(value);
		return true;
	}
	for (size_t i = 0; json_is_string(value) && i < NH_ARRAY_LEN(words); i++) {
		if (strcmp(json_string_value(value), words[i].text) == 0) {
			*out = words[i].value;
			return true;
		}
	}
	return false;
}

bool nh_input_integer(const json_t *value, int64_t *out)
{
	if (json_is_string(value))
		return nh_parse_i64(nh_slice_of(json_string_value(value), json_string_length(value)), INT64_MIN, INT64_MAX, out) == NH_OK;
	if (json_is_integer(value))
		*out = json_integer_value(value);
	return json_is_integer(value);
}
