/*
 * Validity: 24 bits on the chip, two times in the certificate. Only dates that come back as they were may be stored, so everything else is refused here, by name.
 *
 * Calendar fields are taken from and put into the ISO text of base/clock.h; there is no calendar of our own.
 */
#include "base/der.h"
#include "certificate_int.h"

#define FIRST_YEAR 2000u
#define LAST_YEAR 2031u

struct fields {
	unsigned year, month, day, hour, minute, second;
};

static unsigned digits(nh_slice text, size_t from, size_t count)
{
	unsigned value = 0;
	for (size_t i = from; i < from + count; i++)
		value = value * 10 + (unsigned)(text.ptr[i] - '0');
	return value;
}

/* false: outside of years 1970 to 9999 */
static bool fields_of(int64_t at_s, struct fields *out)
{
	if (at_s < 0 || at_s > NH_NERVESKEY_NEVER)
		return false;
	NH_AUTO_BUF struct nh_buf iso = NH_BUF_INIT;
	nh_time_put_iso(&iso, at_s * NH_US_PER_S);
	nh_slice t = nh_buf_slice(&iso);
	*out = (struct fields){digits(t, 0, 4), digits(t, 5, 2), digits(t, 8, 2), digits(t, 11, 2), digits(t, 14, 2), digits(t, 17, 2)};
	return true;
}

static nh_rc from_fields(const struct fields *f, int64_t *out_s)
{
	NH_AUTO_BUF struct nh_buf iso = NH_BUF_INIT;
	int64_t at_us = 0;
	nh_buf_printf(&iso, "%04u-%02u-%02uT%02u:%02u:%02uZ", f->year, f->month, f->day, f->hour, f->minute, f->second);
	NH_TRY(nh_time_parse_iso(nh_buf_slice(&iso), &at_us));
	*out_s = at_us / NH_US_PER_S;
	return NH_OK;
}

nh_rc nh_nerveskey_years_later(int64_t at_s, unsigned years, int64_t *out_s)
{
	struct fields f;
	if (years == 0) {
		*out_s = NH_NERVESKEY_NEVER;
		return NH_OK;
	}
	if (!fields_of(at_s, &f))
		return NH_EINVAL;
	f.year += years;
	return f.year <= 9999 && from_fields(&f, out_s) == NH_OK ? NH_OK : NH_EINVAL;
}

void nh_nerveskey_time_put(struct nh_buf *out, int64_t at_s, bool generalized)
{
	struct fields f = {0};
	NH_AUTO_BUF struct nh_buf text = NH_BUF_INIT;
	bool known = fields_of(at_s, &f);
	NH_ASSERT(known); /* callers have decoded it */
	generalized |= f.year >= 2050;
	nh_buf_printf(&text, generalized ? "%04u" : "%02u", generalized ? f.year : f.year % 100);
	nh_buf_printf(&text, "%02u%02u%02u%02u%02uZ", f.month, f.day, f.hour, f.minute, f.second);
	nh_der_put(out, generalized ? NH_DER_GENERALIZED_TIME : NH_DER_UTC_TIME, nh_buf_slice(&text));
}

nh_rc nh_nerveskey_dates_encode(int64_t not_before_s, int64_t not_after_s, uint8_t out[3], struct nh_err *err)
{
	struct fields from, to;
	unsigned years = 0;
	if (!fields_of(not_before_s, &from) || from.year < FIRST_YEAR || from.year > LAST_YEAR)
		return NH_FAIL(err, NH_EINVAL, "the certificate is valid from a year outside %u to %u, which the chip's format cannot say", FIRST_YEAR, LAST_YEAR);
	if (from.minute || from.second)
		return NH_FAIL(err, NH_EINVAL, "the certificate is valid from %02u:%02u:%02u, but the chip stores whole hours", from.hour, from.minute, from.second);
	if (not_after_s != NH_NERVESKEY_NEVER) {
		if (!fields_of(not_after_s, &to) || to.year < from.year + 1 || to.year > from.year + NH_NERVESKEY_YEARS_MAX)
			return NH_FAIL(err, NH_EINVAL, "the certificate's validity is not 1 to %u whole years (nor without end, 9999-12-31T23:59:59Z)", NH_NERVESKEY_YEARS_MAX);
		years = to.year - from.year;
		to.year = from.year;
		if (memcmp(&to, &from, sizeof to) != 0)
			return NH_FAIL(err, NH_EINVAL, "the certificate does not end on the day and hour of the year on which it begins; the chip stores whole years only");
	}
	uint32_t bits = (uint32_t)(from.year - FIRST_YEAR) << 19 | from.month << 15 | from.day << 10 | from.hour << 5 | years;
	for (unsigned i = 0; i < 3; i++)
		out[i] = (uint8_t)(bits >> (16 - 8 * i));
	return NH_OK;
}

nh_rc nh_nerveskey_dates_decode(const uint8_t dates[3], int64_t *not_before_s, int64_t *not_after_s)
{
	uint32_t bits = (uint32_t)dates[0] << 16 | (uint32_t)dates[1] << 8 | dates[2];
	struct fields from = {.year = FIRST_YEAR + (bits >> 19), .month = bits >> 15 & 15, .day = bits >> 10 & 31, .hour = bits >> 5 & 31};
	int64_t begin = 0, end = 0;
	if (from_fields(&from, &begin) != NH_OK || nh_nerveskey_years_later(begin, bits & 31, &end) != NH_OK)
		return NH_EFORMAT;
	*not_before_s = begin;
	*not_after_s = end;
	return NH_OK;
}

int64_t nh_nerveskey_not_before(const struct nh_clock *clock)
{
	int64_t now_s = nh_clock_now(clock) / NH_US_PER_S, at_s = now_s - ((now_s % 3600) + 3600) % 3600;
	struct fields f;
	/* 29 February plus n years would be no day as a rule. */
	return fields_of(at_s, &f) && f.month == 2 && f.day == 29 ? at_s - 86400 : at_s;
}

nh_rc nh_nerveskey_clock_check(const struct nh_clock *clock, struct nh_err *err)
{
	struct fields f;
	if (!fields_of(nh_clock_now(clock) / NH_US_PER_S, &f) || f.year < NH_NERVESKEY_CLOCK_YEAR)
		return NH_FAIL(err, NH_EINVAL, "this machine's clock is before %u: certificates made now would carry a wrong date for ever; set the clock and try again", NH_NERVESKEY_CLOCK_YEAR);
	if (f.year > LAST_YEAR)
		return NH_FAIL(err, NH_EINVAL, "this machine's clock is after %u, which the chip's certificates cannot say; set the clock and try again", LAST_YEAR);
	return NH_OK;
}
