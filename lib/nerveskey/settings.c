/*
 * Settings: a tree of Erlang terms on one side, a tree of JSON values on the other; the forms that JSON cannot say are a table, read and written by one function each. Everything
 * that is read is written back the same, which is why a map of odd keys becomes {"$map": …} and not something prettier.
 *
 * Invariant: JSON nesting is at most three times the terms', so that what is written here can be read here (terms 16 levels, JSON 64).
 * source: reference/nerveskey "10"
 */
#include "nerveskey/settings.h"

#include "base/encode.h"
#include "base/etf.h"
#include "base/json.h"

#define JSON_MAX 65536u      /* bytes of a text: far over what fits a chip */
#define BIG_MAX 1024u        /* bytes of an integer */
#define DIGITS_MAX 2500u     /* decimal digits of an integer: over BIG_MAX bytes of them */

/* Same term, to the type: 1 and 1.0 are two keys of a map. */
static bool same(const struct nh_etf *a, const struct nh_etf *b)
{
	if (a->kind != b->kind || a->number != b->number || a->count != b->count || !nh_slice_eq(a->bytes, b->bytes) || !a->tail != !b->tail)
		return false;
	if (a->kind == NH_ETF_FLOAT && a->real != b->real)
		return false;
	for (size_t i = 0; i < (a->kind == NH_ETF_MAP ? 2 * a->count : a->count); i++)
		if (!same(&a->items[i], &b->items[i]))
			return false;
	return !a->tail || same(a->tail, b->tail);
}

static bool has_duplicate_key(const struct nh_etf *map)
{
	for (size_t i = 0; i < map->count; i++)
		for (size_t k = 0; k < i; k++)
			if (same(&map->items[2 * i], &map->items[2 * k]))
				return true;
	return false;
}

/* ---- terms to JSON: every function gives a new reference, or NULL with err set */

static json_t *json_of(const struct nh_etf *t, struct nh_err *err);

static json_t *form(const char *name, json_t *take_value)
{
	json_t *object = take_value ? json_object() : NULL;
	if (object && json_object_set_new_nocheck(object, name, take_value) != 0) {
		json_decref(object);
		return NULL;
	}
	return object;
}

/* The first `count` items of a list or tuple. */
static json_t *array_of(const struct nh_etf *items, size_t count, struct nh_err *err)
{
	json_t *array = json_array();
	for (size_t i = 0; i < count; i++) {
		json_t *item = json_of(&items[i], err);
		if (!item || json_array_append_new(array, item) != 0) {
			json_decref(array);
			return NULL;
		}
	}
	return array;
}

static json_t *base64_of(nh_slice bytes)
{
	NH_AUTO_BUF struct nh_buf text = NH_BUF_INIT;
	nh_b64_put(&text, bytes, NH_B64_STD);
	return json_stringn_nocheck(nh_buf_cstr(&text), text.len);
}

/* What a string or key is in JSON: atoms with ':' in front, binaries that would look like one with '\'. False: bytes that JSON has no text for. */
static bool put_text(struct nh_buf *out, const struct nh_etf *t)
{
	if (t->kind != NH_ETF_ATOM && (t->kind != NH_ETF_BINARY || !nh_utf8_valid(t->bytes)))
		return false;
	if (t->kind == NH_ETF_ATOM)
		nh_buf_put_u8(out, ':');
	else if (t->bytes.len && (t->bytes.ptr[0] == ':' || t->bytes.ptr[0] == '\\'))
		nh_buf_put_u8(out, '\\');
	nh_buf_put_slice(out, t->bytes);
	return true;
}

static json_t *string_of(const struct nh_etf *t)
{
	NH_AUTO_BUF struct nh_buf text = NH_BUF_INIT;
	return put_text(&text, t) ? json_stringn_nocheck(nh_buf_cstr(&text), text.len) : form("$bytes", base64_of(t->bytes));
}

static json_t *atom_of(const struct nh_etf *t)
{
	return nh_slice_eq_str(t->bytes, "true") ? json_true() : nh_slice_eq_str(t->bytes, "false") ? json_false() : nh_slice_eq_str(t->bytes, "nil") ? json_null() : string_of(t);
}

/* Division by ten, digit for digit from the top: these integers are short. */
static json_t *big_of(const struct nh_etf *t, struct nh_err *err)
{
	uint8_t rest[BIG_MAX];
	char digits[DIGITS_MAX];
	size_t len = t->bytes.len, at = sizeof digits;
	if (len > sizeof rest) {
		(void)NH_FAIL(err, NH_EUNSUPPORTED, "the settings hold an integer of %zu bytes", len);
		return NULL;
	}
	for (size_t i = 0; i < len; i++)
		rest[i] = t->bytes.ptr[i];
	while (len) {
		unsigned carry = 0;
		for (size_t i = len; i > 0; i--) {
			carry = carry << 8 | rest[i - 1];
			rest[i - 1] = (uint8_t)(carry / 10);
			carry %= 10;
		}
		digits[--at] = (char)('0' + carry);
		while (len && rest[len - 1] == 0)
			len--;
	}
	if (t->number)
		digits[--at] = '-';
	return form("$integer", json_stringn_nocheck(digits + at, sizeof digits - at));
}

static json_t *bits_of(const struct nh_etf *t)
{
	json_t *pair = json_array();
	if (json_array_append_new(pair, base64_of(t->bytes)) != 0 || json_array_append_new(pair, json_integer(t->number)) != 0) {
		json_decref(pair);
		return NULL;
	}
	return form("$bits", pair);
}

/* Can all keys be keys of a JSON object that is none of the forms? */
static bool plain_keys(const struct nh_etf *map)
{
	for (size_t i = 0; i < map->count; i++) {
		const struct nh_etf *key = &map->items[2 * i];
		bool text = key->kind == NH_ETF_ATOM || (key->kind == NH_ETF_BINARY && nh_utf8_valid(key->bytes) && !nh_slice_starts(key->bytes, NH_LIT("$")));
		if (!text || nh_slice_chr(key->bytes, 0) >= 0)
			return false;
	}
	return true;
}

static json_t *object_of(const struct nh_etf *map, struct nh_err *err)
{
	json_t *object = json_object();
	for (size_t i = 0; i < map->count; i++) {
		NH_AUTO_BUF struct nh_buf key = NH_BUF_INIT;
		json_t *value = json_of(&map->items[2 * i + 1], err);
		(void)put_text(&key, &map->items[2 * i]); /* plain_keys has seen that it can */
		if (!value || json_object_set_new_nocheck(object, nh_buf_cstr(&key), value) != 0) {
			json_decref(object);
			return NULL;
		}
	}
	return object;
}

static json_t *map_of(const struct nh_etf *map, struct nh_err *err)
{
	if (has_duplicate_key(map)) {
		(void)NH_FAIL(err, NH_EFORMAT, "the settings hold a map with the same key twice");
		return NULL;
	}
	if (plain_keys(map))
		return object_of(map, err);
	json_t *pairs = json_array();
	for (size_t i = 0; i < map->count; i++) {
		json_t *pair = array_of(&map->items[2 * i], 2, err);
		if (!pair || json_array_append_new(pairs, pair) != 0) {
			json_decref(pairs);
			return NULL;
		}
	}
	return form("$map", pairs);
}

static json_t *list_of(const struct nh_etf *t, struct nh_err *err)
{
	json_t *array = array_of(t->items, t->count, err);
	if (!array || !t->tail)
		return array;
	json_t *tail = json_of(t->tail, err);
	if (!tail || json_array_append_new(array, tail) != 0) {
		json_decref(array);
		return NULL;
	}
	return form("$list", array);
}

static json_t *json_of(const struct nh_etf *t, struct nh_err *err)
{
	switch (t->kind) {
	case NH_ETF_INT: return json_integer(t->number);
	case NH_ETF_BIG: return big_of(t, err);
	case NH_ETF_FLOAT: return json_real(t->real);
	case NH_ETF_BINARY: return string_of(t);
	case NH_ETF_BITS: return bits_of(t);
	case NH_ETF_ATOM: return atom_of(t);
	case NH_ETF_TUPLE: return form("$tuple", array_of(t->items, t->count, err));
	case NH_ETF_LIST: return list_of(t, err);
	case NH_ETF_MAP: return map_of(t, err);
	}
	return NULL;
}

nh_rc nh_nerveskey_settings_to_json(nh_slice bytes, bool pretty, struct nh_buf *out, struct nh_err *err)
{
	NH_AUTO_ARENA struct nh_arena arena = NH_ARENA_INIT;
	struct nh_etf *term = NULL;
	struct nh_err why = NH_ERR_INIT;
	size_t used = 0, zeros = 0;
	while (zeros < bytes.len && bytes.ptr[zeros] == 0)
		zeros++;
	if (zeros == bytes.len)
		return NH_FAIL(err, NH_ENOTFOUND, "no settings are stored");
	nh_rc rc = nh_etf_parse_first(&arena, bytes, &term, &used, &why);
	if (rc == NH_EUNSUPPORTED)
		return NH_FAIL(err, rc, "the settings cannot be shown: %s", why.msg);
	if (rc != NH_OK)
		return NH_FAIL(err, NH_EFORMAT, "the settings are not readable (%s): something else wrote them, or writing them was interrupted; write them again", why.msg);
	NH_AUTO_JSON json_t *value = json_of(term, &why);
	if (!value)
		return NH_FAIL(err, why.rc ? why.rc : NH_ENOMEM, "%s", why.rc ? why.msg : "no memory for the settings");
	if (pretty)
		nh_json_put_pretty(out, value);
	else
		nh_json_put(out, value);
	return nh_buf_check(out, "settings", err);
}

/* ---- JSON to terms */

struct reader {
	struct nh_arena *arena;
	struct nh_buf path; /* where the value stands, for messages: .network.dns[2] */
	struct nh_err *err;
};

static nh_rc term_of(struct reader *r, const json_t *v, struct nh_etf *out);

static nh_rc wrong(struct reader *r, const char *what)
{
	return NH_FAIL(r->err, NH_EINVAL, "settings%.*s: %s", NH_ARG(nh_slice_sub(nh_buf_slice(&r->path), 0, 200)), what);
}

/* One level down and back. */
static nh_rc term_at(struct reader *r, const json_t *v, struct nh_etf *out, const char *key, size_t index)
{
	size_t len = r->path.len;
	if (key)
		nh_buf_printf(&r->path, ".%.60s", key);
	else
		nh_buf_printf(&r->path, "[%zu]", index);
	NH_TRY(term_of(r, v, out));
	nh_buf_truncate(&r->path, len);
	return NH_OK;
}

static nh_rc read_items(struct reader *r, const json_t *array, struct nh_etf *out, nh_etf_kind kind)
{
	*out = (struct nh_etf){.kind = kind, .count = json_array_size(array)};
	out->items = NH_NEW_ARRAY(r->arena, out->count, struct nh_etf);
	for (size_t i = 0; i < out->count; i++)
		NH_TRY(term_at(r, json_array_get(array, i), &out->items[i], NULL, i));
	return NH_OK;
}

static void read_text(struct reader *r, nh_slice text, struct nh_etf *out)
{
	*out = (struct nh_etf){.kind = NH_ETF_BINARY};
	if (nh_slice_starts(text, NH_LIT(":")))
		out->kind = NH_ETF_ATOM;
	if (nh_slice_starts(text, NH_LIT(":")) || nh_slice_starts(text, NH_LIT("\\")))
		text = nh_slice_skip(text, 1);
	out->bytes = nh_arena_copy(r->arena, text);
}

/* Erlang's own limit is 255 characters; no character takes more than four bytes. */
static nh_rc check_atom(struct reader *r, const struct nh_etf *t)
{
	size_t characters = 0;
	for (size_t i = 0; t->kind == NH_ETF_ATOM && i < t->bytes.len; i++)
		characters += (t->bytes.ptr[i] & 0xC0) != 0x80;
	return characters <= NH_ETF_ATOM_MAX ? NH_OK : wrong(r, "an atom has at most 255 characters");
}

static nh_slice text_of(const json_t *v) { return json_is_string(v) ? nh_slice_of(json_string_value(v), json_string_length(v)) : NH_SLICE_EMPTY; }

static nh_rc read_base64(struct reader *r, const json_t *v, nh_slice *out)
{
	NH_AUTO_BUF struct nh_buf bytes = NH_BUF_INIT;
	if (!json_is_string(v) || nh_b64_decode(text_of(v), NH_B64_STD, &bytes) != NH_OK)
		return wrong(r, "bytes are written as base64 text");
	*out = nh_arena_copy(r->arena, nh_buf_slice(&bytes));
	return NH_OK;
}

static nh_rc read_bytes_form(struct reader *r, const json_t *v, struct nh_etf *out)
{
	*out = (struct nh_etf){.kind = NH_ETF_BINARY};
	return read_base64(r, v, &out->bytes);
}

static nh_rc read_bits_form(struct reader *r, const json_t *v, struct nh_etf *out)
{
	const json_t *count = json_array_get(v, 1);
	*out = (struct nh_etf){.kind = NH_ETF_BITS, .number = json_integer_value(count)};
	if (json_array_size(v) != 2 || !json_is_integer(count) || out->number < 1 || out->number > 8)
		return wrong(r, "$bits is [base64, bits of the last byte (1 to 8)]");
	NH_TRY(read_base64(r, json_array_get(v, 0), &out->bytes));
	return out->bytes.len ? NH_OK : wrong(r, "$bits without a byte");
}

static nh_rc read_tuple_form(struct reader *r, const json_t *v, struct nh_etf *out)
{
	return json_is_array(v) ? read_items(r, v, out, NH_ETF_TUPLE) : wrong(r, "$tuple is an array");
}

static nh_rc read_list_form(struct reader *r, const json_t *v, struct nh_etf *out)
{
	if (json_array_size(v) < 2)
		return wrong(r, "$list is an array of at least one element and the tail");
	NH_TRY(read_items(r, v, out, NH_ETF_LIST));
	out->tail = &out->items[--out->count];
	return out->tail->kind != NH_ETF_LIST ? NH_OK : wrong(r, "$list is for lists whose tail is no list");
}

/* Decimal digits into bytes, least significant first: out->bytes as BIG has them; an INT where it fits. */
static nh_rc read_integer_form(struct reader *r, const json_t *v, struct nh_etf *out)
{
	nh_slice digits = text_of(v);
	bool negative = nh_slice_starts(digits, NH_LIT("-"));
	digits = nh_slice_skip(digits, negative);
	if (digits.len == 0 || digits.len > DIGITS_MAX)
		return wrong(r, "$integer is a text of up to 2500 decimal digits");
	uint8_t *bytes = NH_NEW_ARRAY(r->arena, digits.len, uint8_t);
	size_t len = 0;
	for (size_t i = 0; i < digits.len; i++) {
		if (digits.ptr[i] < '0' || digits.ptr[i] > '9')
			return wrong(r, "$integer is a text of decimal digits");
		unsigned carry = digits.ptr[i] - '0';
		for (size_t k = 0; k < len; k++) {
			carry += bytes[k] * 10u;
			bytes[k] = (uint8_t)carry;
			carry >>= 8;
		}
		if (carry)
			bytes[len++] = (uint8_t)carry;
	}
	uint64_t low = 0;
	for (size_t i = len < 8 ? len : 8; i > 0; i--)
		low = low << 8 | bytes[i - 1];
	if (len <= 8 && low <= (uint64_t)INT64_MAX + negative)
		*out = (struct nh_etf){.kind = NH_ETF_INT, .number = negative ? (int64_t)(0 - low) : (int64_t)low};
	else
		*out = (struct nh_etf){.kind = NH_ETF_BIG, .number = negative, .bytes = nh_slice_of(bytes, len)};
	return len <= BIG_MAX ? NH_OK : wrong(r, "$integer is over 1024 bytes");
}

static nh_rc read_map_form(struct reader *r, const json_t *v, struct nh_etf *out)
{
	*out = (struct nh_etf){.kind = NH_ETF_MAP, .count = json_array_size(v)};
	if (!json_is_array(v))
		return wrong(r, "$map is an array of [key, value] pairs");
	out->items = NH_NEW_ARRAY(r->arena, 2 * out->count, struct nh_etf);
	for (size_t i = 0; i < out->count; i++) {
		const json_t *pair = json_array_get(v, i);
		if (json_array_size(pair) != 2)
			return wrong(r, "$map is an array of [key, value] pairs");
		NH_TRY(term_at(r, json_array_get(pair, 0), &out->items[2 * i], NULL, i));
		NH_TRY(term_at(r, json_array_get(pair, 1), &out->items[2 * i + 1], NULL, i));
	}
	return has_duplicate_key(out) ? wrong(r, "$map has the same key twice") : NH_OK;
}

static nh_rc read_object(struct reader *r, const json_t *v, struct nh_etf *out)
{
	static const struct {
		const char *name;
		nh_rc (*read)(struct reader *r, const json_t *v, struct nh_etf *out);
	} forms[] = {{"$tuple", read_tuple_form}, {"$integer", read_integer_form}, {"$bytes", read_bytes_form}, {"$map", read_map_form}, {"$list", read_list_form}, {"$bits", read_bits_form}};
	*out = (struct nh_etf){.kind = NH_ETF_MAP, .count = json_object_size(v)};
	out->items = NH_NEW_ARRAY(r->arena, 2 * out->count, struct nh_etf);
	const char *key = NULL;
	json_t *value = NULL;
	size_t at = 0;
	json_object_foreach((json_t *)(uintptr_t)v, key, value) {
		if (key[0] == '$') {
			for (size_t i = 0; out->count == 1 && i < NH_ARRAY_LEN(forms); i++)
				if (nh_slice_eq_str(nh_slice_str(forms[i].name), key))
					return forms[i].read(r, value, out);
			return wrong(r, "a key that begins with '$' is one of the forms $tuple, $integer, $bytes, $map, $list, $bits and stands alone; as a key of its own it is written in a $map");
		}
		read_text(r, nh_slice_str(key), &out->items[2 * at]);
		NH_TRY(check_atom(r, &out->items[2 * at]));
		NH_TRY(term_at(r, value, &out->items[2 * at + 1], key, 0));
		at++;
	}
	/* "\\x" and "x" are the same text: the escape is only for what begins with ':' or '\'. */
	return has_duplicate_key(out) ? wrong(r, "the same key stands there twice, once with a '\\'") : NH_OK;
}

static nh_rc term_of(struct reader *r, const json_t *v, struct nh_etf *out)
{
	static const char *const constants[] = {[JSON_TRUE] = "true", [JSON_FALSE] = "false", [JSON_NULL] = "nil"};
	switch (json_typeof(v)) {
	case JSON_OBJECT: return read_object(r, v, out);
	case JSON_ARRAY: return read_items(r, v, out, NH_ETF_LIST);
	case JSON_STRING: read_text(r, text_of(v), out); return check_atom(r, out);
	case JSON_INTEGER: *out = (struct nh_etf){.kind = NH_ETF_INT, .number = json_integer_value(v)}; return NH_OK;
	case JSON_REAL: *out = (struct nh_etf){.kind = NH_ETF_FLOAT, .real = json_real_value(v)}; return NH_OK;
	case JSON_TRUE:
	case JSON_FALSE:
	case JSON_NULL: *out = (struct nh_etf){.kind = NH_ETF_ATOM, .bytes = nh_slice_str(constants[json_typeof(v)])}; return NH_OK;
	}
	return wrong(r, "a value of no known type");
}

nh_rc nh_nerveskey_settings_from_json(nh_slice json, struct nh_buf *out, struct nh_err *err)
{
	NH_AUTO_JSON json_t *value = NULL;
	NH_AUTO_ARENA struct nh_arena arena = NH_ARENA_INIT;
	NH_AUTO_BUF struct nh_buf bytes = NH_BUF_INIT;
	struct nh_err why = NH_ERR_INIT;
	struct reader r = {.arena = &arena, .err = err};
	struct nh_etf term = {0}, *again = NULL;
	NH_TRY(nh_json_parse(json, JSON_MAX, &value, err));
	if (!json_is_object(value))
		return NH_FAIL(err, NH_EINVAL, "settings are a JSON object");
	nh_rc rc = term_of(&r, value, &term);
	nh_buf_fini(&r.path);
	NH_TRY(rc);
	if (term.kind != NH_ETF_MAP)
		return NH_FAIL(err, NH_EINVAL, "settings are a map, not one of the forms for other terms");
	nh_etf_put(&bytes, &term);
	/* Depth and number of parts have the reader's limits: nothing is written that cannot be read. */
	if (nh_etf_parse(&arena, nh_buf_slice(&bytes), &again, &why) != NH_OK)
		return NH_FAIL(err, NH_EINVAL, "the settings could not be read again: %s", why.msg);
	nh_buf_put_slice(out, nh_buf_slice(&bytes));
	return nh_buf_check(out, "settings", err);
}
