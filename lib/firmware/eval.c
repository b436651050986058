/*
 * Integers as the configuration language writes them, and the expressions of define-eval: 64-bit, wrapping, with size suffixes.
 *
 * Recursive descent, one function per level; depth is bounded so that a hostile expression cannot exhaust the stack.
 * source: reference/fwup-format "8.2"
 */
#include "firmware/vars.h"

#define DEPTH_MAX 16

static int digit_value(uint8_t c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	if (c >= 'A' && c <= 'F')
		return c - 'A' + 10;
	return 99;
}

/* Takes the longest number at the start of *s. False: none there, or over 64 bits. */
static bool take_number(nh_slice *s, uint64_t *out)
{
	unsigned base = 10;
	size_t pos = 0;
	if (s->len > 2 && s->ptr[0] == '0' && (s->ptr[1] | 0x20) == 'x' && digit_value(s->ptr[2]) < 16) {
		base = 16;
		pos = 2;
	} else if (s->len > 0 && s->ptr[0] == '0') {
		base = 8;
	}
	uint64_t v = 0;
	size_t first = pos;
	for (; pos < s->len && digit_value(s->ptr[pos]) < (int)base; pos++)
		if (__builtin_mul_overflow(v, base, &v) || __builtin_add_overflow(v, (uint64_t)digit_value(s->ptr[pos]), &v))
			return false;
	if (pos == first)
		return false;
	*s = nh_slice_skip(*s, pos);
	*out = v;
	return true;
}

nh_rc nh_fw_parse_u64(nh_slice text, uint64_t *out)
{
	return take_number(&text, out) && text.len == 0 ? NH_OK : NH_EFORMAT;
}

nh_rc nh_fw_parse_int(nh_slice text, int64_t *out)
{
	bool negative = text.len > 0 && text.ptr[0] == '-';
	if (text.len > 0 && (text.ptr[0] == '-' || text.ptr[0] == '+'))
		text = nh_slice_skip(text, 1);
	uint64_t v;
	if (!take_number(&text, &v) || text.len != 0 || v > (uint64_t)INT64_MAX + (negative ? 1 : 0))
		return NH_EFORMAT;
	*out = negative ? (int64_t)(0 - v) : (int64_t)v;
	return NH_OK;
}

struct eval {
	nh_slice rest;
	nh_slice whole;
	unsigned depth;
	struct nh_err *err;
};

static nh_rc bad(struct eval *e, const char *why)
{
	return NH_FAIL(e->err, NH_EFORMAT, "'%.*s' isn't an expression: %s", NH_ARG(e->whole), why);
}

static uint8_t next(struct eval *e)
{
	while (e->rest.len > 0 && (e->rest.ptr[0] == ' ' || e->rest.ptr[0] == '\t' || e->rest.ptr[0] == '\n' || e->rest.ptr[0] == '\r'))
		e->rest = nh_slice_skip(e->rest, 1);
	return e->rest.len ? e->rest.ptr[0] : 0;
}

static bool take(struct eval *e, uint8_t c)
{
	if (next(e) != c)
		return false;
	e->rest = nh_slice_skip(e->rest, 1);
	return true;
}

static nh_rc sum(struct eval *e, int64_t *out);

static nh_rc number(struct eval *e, int64_t *out)
{
	/* Two-letter suffixes first: "MB" must not be read as "M" and a stray "B". */
	static const struct {
		const char *suffix;
		uint64_t factor;
	} suffixes[] = {{"kB", 1000}, {"MB", 1000000}, {"GB", 1000000000}, {"c", 1}, {"w", 2}, {"b", 512}, {"K", 1024}, {"M", 1u << 20}, {"G", 1u << 30}};
	uint64_t v;
	next(e);
	if (!take_number(&e->rest, &v) || v > INT64_MAX)
		return bad(e, "a number was expected");
	for (size_t i = 0; i < NH_ARRAY_LEN(suffixes); i++) {
		nh_slice suffix = nh_slice_str(suffixes[i].suffix);
		if (nh_slice_starts(e->rest, suffix)) {
			v *= suffixes[i].factor;
			e->rest = nh_slice_skip(e->rest, suffix.len);
			i = (size_t)-1; /* suffixes may repeat */
		}
	}
	*out = (int64_t)v;
	return NH_OK;
}

static nh_rc primary(struct eval *e, int64_t *out)
{
	if (!take(e, '('))
		return number(e, out);
	NH_TRY(sum(e, out));
	return take(e, ')') ? NH_OK : bad(e, "')' is missing");
}

/* unary minus and power share the highest level: -2^2 = -(2^2), 2^-1 is refused by the range of exponents. */
static nh_rc power(struct eval *e, int64_t *out)
{
	if (++e->depth > DEPTH_MAX)
		return bad(e, "too deeply nested");
	nh_rc rc;
	if (take(e, '-')) {
		rc = power(e, out);
		*out = (int64_t)(0 - (uint64_t)*out);
	} else if ((rc = primary(e, out)) == NH_OK && take(e, '^')) {
		int64_t exponent = 0;
		rc = power(e, &exponent);
		if (rc == NH_OK && (exponent < 0 || exponent > 63))
			rc = bad(e, "exponents go from 0 to 63");
		uint64_t v = 1;
		for (int64_t i = 0; rc == NH_OK && i < exponent; i++)
			v *= (uint64_t)*out;
		*out = (int64_t)v;
	}
	e->depth--;
	return rc;
}

static nh_rc product(struct eval *e, int64_t *out)
{
	NH_TRY(power(e, out));
	for (;;) {
		bool divide = next(e) == '/';
		if (!divide && next(e) != '*')
			return NH_OK;
		e->rest = nh_slice_skip(e->rest, 1);
		int64_t right = 0;
		NH_TRY(power(e, &right));
		if (divide && right == 0)
			return bad(e, "division by zero");
		if (!divide)
			*out = (int64_t)((uint64_t)*out * (uint64_t)right);
		else
			*out = right == -1 ? (int64_t)(0 - (uint64_t)*out) : *out / right;
	}
}

static nh_rc sum(struct eval *e, int64_t *out)
{
	*out = 0;
	NH_TRY(product(e, out));
	for (;;) {
		bool minus = next(e) == '-';
		if (!minus && next(e) != '+')
			return NH_OK;
		e->rest = nh_slice_skip(e->rest, 1);
		int64_t right = 0;
		NH_TRY(product(e, &right));
		*out = (int64_t)(minus ? (uint64_t)*out - (uint64_t)right : (uint64_t)*out + (uint64_t)right);
	}
}

nh_rc nh_fw_eval(nh_slice expression, int64_t *out, struct nh_err *err)
{
	struct eval e = {.rest = expression, .whole = expression, .err = err};
	NH_TRY(sum(&e, out));
	return next(&e) == 0 && e.rest.len == 0 ? NH_OK : bad(&e, "something is left over at its end");
}
