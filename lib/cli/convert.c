/*
 * Small languages: validity of certificates, serial numbers, the server's times.
 *
 * source: reference/user-api-and-cli "18.6" "5"
 */
#include "base/clock.h"
#include "base/encode.h"
#include "cli_int.h"

#define DAY_US (INT64_C(86400) * NH_US_PER_S)
#define VALIDITY_MAX_US (INT64_C(1000) * 365 * DAY_US)

/* Takes "12" or "1.5" off the front: in millionths, so that fractions stay exact. */
static bool take_millionths(nh_slice *s, int64_t *out)
{
	size_t whole = 0;
	while (whole < s->len && s->ptr[whole] >= '0' && s->ptr[whole] <= '9')
		whole++;
	uint64_t v = 0;
	bool any = whole > 0;
	if (any && nh_parse_u64(nh_slice_sub(*s, 0, whole), 0, INT64_C(1000000000000), &v) != NH_OK)
		return false;
	*s = nh_slice_skip(*s, whole);
	int64_t total = (int64_t)v * 1000000, scale = 100000;
	if (s->len && s->ptr[0] == '.') {
		*s = nh_slice_skip(*s, 1);
		for (; s->len && s->ptr[0] >= '0' && s->ptr[0] <= '9'; *s = nh_slice_skip(*s, 1), any = true) {
			total += (s->ptr[0] - '0') * scale;
			scale /= 10;
		}
	}
	*out = total;
	return any;
}

static int64_t take_unit(nh_slice *s, bool first)
{
	static const struct {
		const char *text;
		int64_t us;
		bool alone; /* must be the only part */
	} units[] = {{"ms", 1000, false}, {"us", 1, false}, {"h", INT64_C(3600000000), false}, {"m", 60000000, false}, {"s", 1000000, false},
		     {"y", 365 * DAY_US, true}, {"d", DAY_US, true}};
	for (size_t i = 0; i < NH_ARRAY_LEN(units); i++)
		if (nh_slice_starts(*s, nh_slice_str(units[i].text))) {
			*s = nh_slice_skip(*s, strlen(units[i].text));
			return units[i].alone && (!first || s->len) ? 0 : units[i].us;
		}
	return 0;
}

nh_rc cli_parse_validity(const char *text, int64_t *out_us, struct nh_err *err)
{
	nh_slice rest = nh_slice_str(text);
	int64_t total = 0;
	bool ok = rest.len > 0;
	for (bool first = true; ok && rest.len; first = false) {
		int64_t millionths = 0;
		ok = take_millionths(&rest, &millionths);
		int64_t unit = ok ? take_unit(&rest, first) : 0;
		__int128 sum = total + (__int128)millionths * unit / 1000000;
		ok = unit > 0 && sum <= VALIDITY_MAX_US;
		total = ok ? (int64_t)sum : 0;
	}
	if (!ok || total <= 0)
		return NH_FAIL(err, NH_EINVAL, "invalid --valid-for \"%.60s\": use a number with y or d, or a duration such as 12h", text);
	*out_us = total;
	return NH_OK;
}

/* Digits of one base to those of another, most significant first; at most SERIAL_DIGITS digits. */
#define SERIAL_DIGITS 128

static size_t rebase(const uint8_t *in, size_t count, unsigned from, unsigned to, uint8_t out[4 * SERIAL_DIGITS])
{
	uint8_t work[SERIAL_DIGITS];
	size_t produced = 0;
	bool more = true;
	for (size_t i = 0; i < count; i++)
		work[i] = in[i];
	while (more) {
		unsigned rest = 0;
		more = false;
		for (size_t i = 0; i < count; i++) {
			unsigned v = rest * from + work[i];
			work[i] = (uint8_t)(v / to);
			rest = v % to;
			more |= work[i] != 0;
		}
		out[produced++] = (uint8_t)rest;
	}
	for (size_t i = 0; i < produced / 2; i++) {
		uint8_t swap = out[i];
		out[i] = out[produced - 1 - i];
		out[produced - 1 - i] = swap;
	}
	return produced;
}

static int digit_value(uint8_t c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	c |= 0x20;
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

char *cli_serial_decimal(struct nh_cli *c, const char *argument)
{
	nh_slice s = nh_slice_str(argument);
	bool hex = nh_slice_starts(s, NH_LIT("0x")) || nh_slice_starts(s, NH_LIT("0X"));
	if (hex)
		s = nh_slice_skip(s, 2);
	uint8_t digits[SERIAL_DIGITS], decimal[4 * SERIAL_DIGITS];
	size_t count = 0;
	for (size_t i = 0; i < s.len; i++) {
		int v = digit_value(s.ptr[i]);
		if ((v < 0 && s.ptr[i] != ':') || count == SERIAL_DIGITS)
			return nh_arena_str(&c->arena, nh_slice_str(argument));
		hex |= v < 0 || v > 9;
		if (v >= 0)
			digits[count++] = (uint8_t)v;
	}
	if (!hex || count == 0)
		return nh_arena_str(&c->arena, nh_slice_str(argument));
	size_t n = rebase(digits, count, 16, 10, decimal);
	char *out = nh_arena_alloc(&c->arena, n + 1);
	for (size_t i = 0; i < n; i++)
		out[i] = (char)('0' + decimal[i]);
	return out;
}

char *cli_serial_hex(struct nh_cli *c, nh_slice decimal)
{
	uint8_t digits[SERIAL_DIGITS], bytes[4 * SERIAL_DIGITS];
	bool ok = decimal.len > 0 && decimal.len <= SERIAL_DIGITS;
	for (size_t i = 0; ok && i < decimal.len; i++) {
		ok = decimal.ptr[i] >= '0' && decimal.ptr[i] <= '9';
		digits[i] = (uint8_t)(decimal.ptr[i] - '0');
	}
	if (!ok)
		return nh_arena_str(&c->arena, decimal);
	size_t n = rebase(digits, decimal.len, 10, 256, bytes);
	NH_AUTO_BUF struct nh_buf b = NH_BUF_INIT;
	for (size_t i = 0; i < n; i++)
		nh_buf_printf(&b, i ? ":%02X" : "%02X", bytes[i]);
	return nh_arena_str(&c->arena, nh_buf_slice(&b));
}

bool cli_parse_time(nh_slice text, int64_t *out_us) { return nh_time_parse_iso(text, out_us) == NH_OK; }

char *cli_time_cell(struct nh_cli *c, const json_t *value, bool date_only)
{
	int64_t at = 0;
	NH_AUTO_BUF struct nh_buf b = NH_BUF_INIT;
	nh_slice text = nh_slice_of(json_string_value(value), json_string_length(value));
	/* The zero time stands for none. */
	if (!cli_parse_time(text, &at) || nh_slice_starts(text, NH_LIT("0001-")))
		return nh_arena_str(&c->arena, NH_LIT(""));
	nh_time_put_iso(&b, at);
	nh_slice iso = nh_buf_slice(&b);
	if (date_only)
		return nh_arena_str(&c->arena, nh_slice_sub(iso, 0, 10));
	return nh_arena_printf(&c->arena, "%.10s %.*s UTC", (const char *)iso.ptr, NH_ARG(nh_slice_sub(iso, 11, 8)));
}
