/*
 * Text encodings of bytes (hex, Base64, percent) and strict numbers. Decoders accept only what the encoder would have written.
 */
#include "base/encode.h"

static void hex_put(struct nh_buf *out, nh_slice bytes, const char *digits)
{
	for (size_t i = 0; i < bytes.len; i++) {
		nh_buf_put_u8(out, (uint8_t)digits[bytes.ptr[i] >> 4]);
		nh_buf_put_u8(out, (uint8_t)digits[bytes.ptr[i] & 15]);
	}
}

void nh_hex_put(struct nh_buf *out, nh_slice bytes) { hex_put(out, bytes, "0123456789abcdef"); }
void nh_hex_put_upper(struct nh_buf *out, nh_slice bytes) { hex_put(out, bytes, "0123456789ABCDEF"); }

static int hex_value(uint8_t c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	c |= 0x20;
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* The byte that two hex digits spell, or -1. */
static int hex_pair(const uint8_t *p)
{
	int high = hex_value(p[0]), low = hex_value(p[1]);
	return high < 0 || low < 0 ? -1 : high << 4 | low;
}

nh_rc nh_hex_decode(nh_slice text, struct nh_buf *out)
{
	if (text.len % 2)
		return NH_EFORMAT;
	for (size_t i = 0; i < text.len; i += 2)
		if (hex_pair(text.ptr + i) < 0)
			return NH_EFORMAT;
	for (size_t i = 0; i < text.len; i += 2)
		nh_buf_put_u8(out, (uint8_t)hex_pair(text.ptr + i));
	return nh_buf_check(out, "hex", NULL);
}

nh_rc nh_hex_decode_fixed(nh_slice text, uint8_t *out, size_t out_len)
{
	if (text.len % 2 || text.len / 2 != out_len)
		return NH_EFORMAT;
	for (size_t i = 0; i < text.len; i += 2)
		if (hex_pair(text.ptr + i) < 0)
			return NH_EFORMAT;
	for (size_t i = 0; i < out_len; i++)
		out[i] = (uint8_t)hex_pair(text.ptr + 2 * i);
	return NH_OK;
}

static bool b64_is_url(nh_b64 form) { return form == NH_B64_URL || form == NH_B64_URL_NOPAD; }
static bool b64_is_padded(nh_b64 form) { return form == NH_B64_STD || form == NH_B64_URL; }

void nh_b64_put(struct nh_buf *out, nh_slice bytes, nh_b64 form)
{
	static const char std[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
	static const char url[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
	const char *digits = b64_is_url(form) ? url : std;
	for (size_t i = 0; i < bytes.len; i += 3) {
		size_t n = bytes.len - i < 3 ? bytes.len - i : 3;
		uint32_t v = (uint32_t)bytes.ptr[i] << 16 | (n > 1 ? (uint32_t)bytes.ptr[i + 1] << 8 : 0) | (n > 2 ? bytes.ptr[i + 2] : 0);
		uint8_t quad[4];
		for (size_t k = 0; k < 4; k++)
			quad[k] = k <= n ? (uint8_t)digits[v >> (18 - 6 * k) & 63] : '=';
		nh_buf_put(out, quad, b64_is_padded(form) ? 4 : n + 1);
	}
}

static int b64_value(uint8_t c, bool url)
{
	if (c >= 'A' && c <= 'Z')
		return c - 'A';
	if (c >= 'a' && c <= 'z')
		return c - 'a' + 26;
	if (c >= '0' && c <= '9')
		return c - '0' + 52;
	if (c == (url ? '-' : '+'))
		return 62;
	return c == (url ? '_' : '/') ? 63 : -1;
}

nh_rc nh_b64_decode(nh_slice text, nh_b64 form, struct nh_buf *out)
{
	size_t before = out->len;
	if (b64_is_padded(form)) {
		if (text.len % 4)
			return NH_EFORMAT;
		for (int i = 0; i < 2 && text.len && text.ptr[text.len - 1] == '='; i++)
			text.len--;
	}
	if (text.len % 4 == 1)
		return NH_EFORMAT;
	uint32_t bits = 0;
	unsigned held = 0;
	for (size_t i = 0; i < text.len; i++) {
		int v = b64_value(text.ptr[i], b64_is_url(form));
		if (v < 0)
			goto broken;
		bits = (bits << 6 | (uint32_t)v) & 0xFFFFFF;
		held += 6;
		if (held >= 8) {
			held -= 8;
			nh_buf_put_u8(out, (uint8_t)(bits >> held));
		}
	}
	/* Bits that belong to no byte must be zero, or two texts would mean the same bytes. */
	if (bits & ((1u << held) - 1))
		goto broken;
	return nh_buf_check(out, "base64", NULL);
broken:
	nh_buf_truncate(out, before);
	return NH_EFORMAT;
}

static bool unreserved(uint8_t c)
{
	return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' || c == '.' || c == '_' || c == '~';
}

void nh_uri_put(struct nh_buf *out, nh_slice text)
{
	for (size_t i = 0; i < text.len; i++) {
		uint8_t c = text.ptr[i];
		if (unreserved(c)) {
			nh_buf_put_u8(out, c);
		} else {
			nh_buf_put_u8(out, '%');
			nh_hex_put_upper(out, nh_slice_of(&c, 1));
		}
	}
}

nh_rc nh_uri_decode(nh_slice text, bool plus_is_space, struct nh_buf *out)
{
	size_t before = out->len;
	for (size_t i = 0; i < text.len; i++) {
		uint8_t c = text.ptr[i];
		if (c == '%') {
			int v = text.len - i > 2 ? hex_pair(text.ptr + i + 1) : -1;
			if (v <= 0) {
				nh_buf_truncate(out, before);
				return NH_EFORMAT;
			}
			c = (uint8_t)v;
			i += 2;
		} else if (c == '+' && plus_is_space) {
			c = ' ';
		} else if (c == 0) {
			nh_buf_truncate(out, before);
			return NH_EFORMAT;
		}
		nh_buf_put_u8(out, c);
	}
	return nh_buf_check(out, "percent-encoded text", NULL);
}

nh_rc nh_parse_u64(nh_slice text, uint64_t min, uint64_t max, uint64_t *out)
{
	if (text.len == 0)
		return NH_EFORMAT;
	uint64_t v = 0;
	bool over = false;
	for (size_t i = 0; i < text.len; i++) {
		if (text.ptr[i] < '0' || text.ptr[i] > '9')
			return NH_EFORMAT;
		over |= __builtin_mul_overflow(v, 10u, &v) || __builtin_add_overflow(v, (uint64_t)(text.ptr[i] - '0'), &v);
	}
	if (over || v < min || v > max)
		return NH_EINVAL;
	*out = v;
	return NH_OK;
}

nh_rc nh_parse_i64(nh_slice text, int64_t min, int64_t max, int64_t *out)
{
	bool negative = text.len && text.ptr[0] == '-';
	uint64_t magnitude = 0;
	NH_TRY(nh_parse_u64(nh_slice_skip(text, negative), 0, (uint64_t)INT64_MAX + negative, &magnitude));
	int64_t v = negative ? (int64_t)(0 - magnitude) : (int64_t)magnitude;
	if (v < min || v > max)
		return NH_EINVAL;
	*out = v;
	return NH_OK;
}

struct unit {
	const char *name;
	uint64_t factor;
};

/* number + one of the units (table ends with a NULL name; "" is the plain number), at most max */
static nh_rc parse_with_unit(nh_slice text, const struct unit *units, uint64_t max, uint64_t *out)
{
	size_t digits = 0;
	while (digits < text.len && text.ptr[digits] >= '0' && text.ptr[digits] <= '9')
		digits++;
	nh_slice suffix = nh_slice_skip(text, digits);
	for (; units->name; units++)
		if (nh_slice_ieq(suffix, nh_slice_str(units->name)))
			break;
	if (!units->name)
		return NH_EFORMAT;
	uint64_t v = 0;
	NH_TRY(nh_parse_u64(nh_slice_sub(text, 0, digits), 0, UINT64_MAX, &v));
	if (__builtin_mul_overflow(v, units->factor, &v) || v > max)
		return NH_EINVAL;
	*out = v;
	return NH_OK;
}

nh_rc nh_parse_size(nh_slice text, uint64_t max, uint64_t *out_bytes)
{
	static const struct unit units[] = {
		{"", 1},	       {"b", 1},	    {"k", 1u << 10},	{"kb", 1u << 10},	 {"kib", 1u << 10},	{"m", 1u << 20},
		{"mb", 1u << 20},      {"mib", 1u << 20},   {"g", 1u << 30},	{"gb", 1u << 30},	 {"gib", 1u << 30},	{"t", (uint64_t)1 << 40},
		{"tb", (uint64_t)1 << 40}, {"tib", (uint64_t)1 << 40}, {NULL, 0},
	};
	return parse_with_unit(text, units, max, out_bytes);
}

nh_rc nh_parse_duration_ms(nh_slice text, uint64_t max_ms, uint64_t *out_ms)
{
	static const struct unit units[] = {
		{"", 1000}, {"ms", 1}, {"s", 1000}, {"m", 60000}, {"h", 3600000}, {"d", 86400000}, {NULL, 0},
	};
	return parse_with_unit(text, units, max_ms, out_ms);
}
