/*
 * Canonical JSON: one text for one value, so that two parties can hash a document and mean the same. Members stand in the order of their names'
 * UTF-16 units, nothing is escaped that need not be, numbers are written as ECMAScript writes them.
 *
 * source: RFC 8785 3.2; ECMA-262 "Number::toString"
 */
#include "base/json.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define DEPTH_MAX 64
#define EXACT_MAX (INT64_C(1) << 53) /* beyond it two integers are one double */

/* ---- names ------------------------------------------------------------------------------------------------------------- */

struct member {
	const char *name;
	size_t len;
	const json_t *value;
};

/*
 * UTF-8 compares as the characters do, UTF-16 as its units do: the two differ only between what needs a pair of surrogates (from F0) and what lies above the surrogates (EE, EF), where
 * UTF-16 has the pair first.
 */
static unsigned utf16_rank(uint8_t lead) { return lead >= 0xf0 ? lead - 2u : lead >= 0xee ? lead + 10u : lead; }

static int by_utf16(const void *a, const void *b)
{
	const struct member *x = a, *y = b;
	size_t both = x->len < y->len ? x->len : y->len;
	for (size_t i = 0; i < both; i++) {
		uint8_t p = (uint8_t)x->name[i], q = (uint8_t)y->name[i];
		if (p != q)
			return utf16_rank(p) < utf16_rank(q) ? -1 : 1;
	}
	return (x->len > y->len) - (x->len < y->len);
}

/* ---- values ------------------------------------------------------------------------------------------------------------ */

static void put_text(struct nh_buf *out, const char *text, size_t len)
{
	static const char escapes[] = {['\b'] = 'b', ['\t'] = 't', ['\n'] = 'n', ['\f'] = 'f', ['\r'] = 'r'};
	nh_buf_put_u8(out, '"');
	for (size_t i = 0, plain = 0; i <= len; i++) {
		uint8_t c = i < len ? (uint8_t)text[i] : 0;
		if (i < len && c >= 0x20 && c != '"' && c != '\\')
			continue;
		nh_buf_put(out, text + plain, i - plain);
		plain = i + 1;
		if (i == len)
			break;
		if (c >= 0x20)
			nh_buf_printf(out, "\\%c", c);
		else if (c < sizeof(escapes) && escapes[c])
			nh_buf_printf(out, "\\%c", escapes[c]);
		else
			nh_buf_printf(out, "\\u%04x", c);
	}
	nh_buf_put_u8(out, '"');
}

/* Digits and exponent of the shortest decimal that is read back as v: v = 0.d1d2… × 10^exponent. */
static int shortest(double v, char digits[24], int *exponent)
{
	char text[40];
	int precision = 0;
	do {
		snprintf(text, sizeof(text), "%.*e", precision, v);
	} while (strtod(text, NULL) != v && ++precision < 17);
	int count = 0;
	const char *p = text;
	for (; *p != 'e'; p++) {
		if (*p != '.')
			digits[count++] = *p;
	}
	*exponent = (int)strtol(p + 1, NULL, 10) + 1;
	while (count > 1 && digits[count - 1] == '0')
		count--;
	digits[count] = 0;
	return count;
}

static void put_real(struct nh_buf *out, double v)
{
	char digits[24];
	int n, k;
	if (v == 0) { /* also -0 */
		nh_buf_put_u8(out, '0');
		return;
	}
	if (v < 0)
		nh_buf_put_u8(out, '-');
	k = shortest(fabs(v), digits, &n);
	if (n > 21 || n <= -6) {
		nh_buf_printf(out, "%c%s%se%+d", digits[0], k > 1 ? "." : "", digits + 1, n - 1);
	} else if (n <= 0) {
		nh_buf_printf(out, "0.%.*s%s", -n, "00000", digits);
	} else if (n >= k) {
		nh_buf_printf(out, "%s%.*s", digits, n - k, "00000000000000000000");
	} else {
		nh_buf_printf(out, "%.*s.%s", n, digits, digits + n);
	}
}

static nh_rc put(struct nh_buf *out, const json_t *value, unsigned depth, struct nh_err *err);

static nh_rc put_members(struct nh_buf *out, const json_t *object, unsigned depth, struct nh_err *err)
{
	struct member few[24], *members = few;
	size_t count = json_object_size(object), n = 0;
	const char *name;
	json_t *value;
	nh_rc rc = NH_OK;
	if (count > NH_ARRAY_LEN(few)) {
		members = calloc(count, sizeof(*members));
		if (!members)
			return NH_FAIL(err, NH_ENOMEM, "no memory for the %zu members of an object", count);
	}
	json_object_foreach((json_t *)(uintptr_t)object, name, value) members[n++] = (struct member){name, strlen(name), value};
	qsort(members, n, sizeof(*members), by_utf16);
	nh_buf_put_u8(out, '{');
	for (size_t i = 0; i < n && rc == NH_OK; i++) {
		if (i > 0)
			nh_buf_put_u8(out, ',');
		put_text(out, members[i].name, members[i].len);
		nh_buf_put_u8(out, ':');
		rc = put(out, members[i].value, depth, err);
	}
	nh_buf_put_u8(out, '}');
	if (members != few)
		free(members);
	return rc;
}

static nh_rc put(struct nh_buf *out, const json_t *value, unsigned depth, struct nh_err *err)
{
	size_t i;
	const json_t *item;
	if (depth >= DEPTH_MAX)
		return NH_FAIL(err, NH_EFORMAT, "JSON nested deeper than %d levels", DEPTH_MAX);
	switch (json_typeof(value)) {
	case JSON_OBJECT:
		return put_members(out, value, depth + 1, err);
	case JSON_ARRAY:
		nh_buf_put_u8(out, '[');
		json_array_foreach(value, i, item)
		{
			if (i > 0)
				nh_buf_put_u8(out, ',');
			NH_TRY(put(out, item, depth + 1, err));
		}
		nh_buf_put_u8(out, ']');
		return NH_OK;
	case JSON_STRING:
		put_text(out, json_string_value(value), json_string_length(value));
		return NH_OK;
	case JSON_INTEGER:
		if (json_integer_value(value) > EXACT_MAX || json_integer_value(value) < -EXACT_MAX)
			return NH_FAIL(err, NH_EFORMAT, "the integer %lld has no canonical form: it is no exact double", (long long)json_integer_value(value));
		nh_buf_printf(out, "%lld", (long long)json_integer_value(value));
		return NH_OK;
	case JSON_REAL:
		put_real(out, json_real_value(value));
		return NH_OK;
	default:
		nh_buf_put_str(out, json_is_true(value) ? "true" : json_is_false(value) ? "false" : "null");
		return NH_OK;
	}
}

nh_rc nh_json_put_canonical(struct nh_buf *out, const json_t *value, struct nh_err *err) { return put(out, value, 0, err); }
