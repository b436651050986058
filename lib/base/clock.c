/*
 * Clocks, and the two date texts that go over wires: ISO 8601 (RFC 3339) and the HTTP date. Calendar arithmetic is proleptic Gregorian, UTC
 * only, years 0000 to 9999; no time zone database, no locale.
 */
#include "base/clock.h"

#include <time.h>

#include "base/encode.h"

static uint64_t clock_us(clockid_t id)
{
	struct timespec ts;
	clock_gettime(id, &ts);
	return (uint64_t)ts.tv_sec * 1000000 + (uint64_t)ts.tv_nsec / 1000;
}

int64_t nh_now_us(void) { return (int64_t)clock_us(CLOCK_REALTIME); }
uint64_t nh_mono_us(void) { return clock_us(CLOCK_MONOTONIC); }
uint64_t nh_mono_ms(void) { return nh_mono_us() / 1000; }

static int64_t system_now(void *ctx) { return nh_now_us(); }
const struct nh_clock nh_clock_system = {.now_us = system_now};

int64_t nh_clock_look(struct nh_clock_watch *w, int64_t wall_us, uint64_t mono_ms)
{
	int64_t offset_us = wall_us - (int64_t)mono_ms * NH_US_PER_MS;
	int64_t step_us = w->started ? offset_us - w->offset_us : 0;
	*w = (struct nh_clock_watch){.offset_us = offset_us, .started = true};
	return step_us > -NH_CLOCK_STEP_US && step_us < NH_CLOCK_STEP_US ? 0 : step_us;
}

struct civil {
	int64_t year;
	unsigned month, day; /* 1.. */
	unsigned hour, minute, second, micro;
	unsigned weekday; /* 0 = Sunday */
};

#define US_PER_DAY (INT64_C(86400) * 1000000)
/* Days are counted from 0000-03-01, so that the leap day ends a year. */
#define DAYS_TO_EPOCH INT64_C(719468)

static int64_t days_from_civil(int64_t year, unsigned month, unsigned day)
{
	if (month <= 2)
		year--;
	int64_t era = (year >= 0 ? year : year - 399) / 400;
	int64_t of_era = year - era * 400;
	int64_t of_year = (153 * (int64_t)(month > 2 ? month - 3 : month + 9) + 2) / 5 + day - 1;
	return era * 146097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - DAYS_TO_EPOCH;
}

static struct civil civil_from_us(int64_t at_us)
{
	/* Years outside 0000-9999 have no text form here; clamp rather than print five digits. */
	int64_t low = days_from_civil(0, 1, 1) * US_PER_DAY, high = days_from_civil(10000, 1, 1) * US_PER_DAY - 1;
	at_us = at_us < low ? low : at_us > high ? high : at_us;
	int64_t days = at_us / US_PER_DAY, rest = at_us % US_PER_DAY;
	if (rest < 0) {
		rest += US_PER_DAY;
		days--;
	}
	int64_t z = days + DAYS_TO_EPOCH;
	int64_t era = (z >= 0 ? z : z - 146096) / 146097;
	int64_t doe = z - era * 146097;
	int64_t yoe = (doe - doe / 1460 + doe / 36524 - doe / 146096) / 365;
	int64_t doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
	int64_t mp = (5 * doy + 2) / 153;
	struct civil c = {.day = (unsigned)(doy - (153 * mp + 2) / 5 + 1), .month = (unsigned)(mp < 10 ? mp + 3 : mp - 9)};
	c.year = yoe + era * 400 + (c.month <= 2);
	c.micro = (unsigned)(rest % 1000000);
	rest /= 1000000;
	c.hour = (unsigned)(rest / 3600);
	c.minute = (unsigned)(rest / 60 % 60);
	c.second = (unsigned)(rest % 60);
	c.weekday = (unsigned)(((days + 4) % 7 + 7) % 7);
	return c;
}

static bool leap(int64_t y) { return (y % 4 == 0 && y % 100 != 0) || y % 400 == 0; }

/* false where a field is out of its range; second 60 is read as 59 (a leap second has no number of its own). */
static bool civil_to_us(const struct civil *c, int64_t *out)
{
	static const uint8_t lengths[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
	if (c->month < 1 || c->month > 12 || c->day < 1 || c->hour > 23 || c->minute > 59 || c->second > 60)
		return false;
	if (c->day > lengths[c->month - 1] + (unsigned)(c->month == 2 && leap(c->year)))
		return false;
	int64_t seconds = (int64_t)c->hour * 3600 + c->minute * 60 + (c->second > 59 ? 59 : c->second);
	*out = days_from_civil(c->year, c->month, c->day) * US_PER_DAY + seconds * 1000000 + c->micro;
	return true;
}

static void put_iso(struct nh_buf *out, int64_t at_us, bool micro)
{
	struct civil c = civil_from_us(at_us);
	nh_buf_printf(out, "%04d-%02u-%02uT%02u:%02u:%02u", (int)c.year, c.month, c.day, c.hour, c.minute, c.second);
	if (micro)
		nh_buf_printf(out, ".%06u", c.micro);
	nh_buf_put_u8(out, 'Z');
}

void nh_time_put_iso(struct nh_buf *out, int64_t at_us) { put_iso(out, at_us, false); }
void nh_time_put_iso_us(struct nh_buf *out, int64_t at_us) { put_iso(out, at_us, true); }

static const char weekdays[] = "SunMonTueWedThuFriSat";
static const char months[] = "JanFebMarAprMayJunJulAugSepOctNovDec";

void nh_time_put_http(struct nh_buf *out, int64_t at_us)
{
	struct civil c = civil_from_us(at_us);
	nh_buf_printf(out, "%.3s, %02u %.3s %04d %02u:%02u:%02u GMT", weekdays + (size_t)3 * c.weekday, c.day, months + (size_t)3 * (c.month - 1),
		      (int)c.year, c.hour, c.minute, c.second);
}

/* Takes a fixed count of digits off the front of *s. */
static bool take_digits(nh_slice *s, size_t count, unsigned *out)
{
	uint64_t v = 0;
	if (s->len < count || nh_parse_u64(nh_slice_sub(*s, 0, count), 0, 9999, &v) != NH_OK)
		return false;
	*s = nh_slice_skip(*s, count);
	*out = (unsigned)v;
	return true;
}

static bool take_text(nh_slice *s, const char *text)
{
	if (!nh_slice_starts(*s, nh_slice_str(text)))
		return false;
	*s = nh_slice_skip(*s, strlen(text));
	return true;
}

static bool take_fraction(nh_slice *s, unsigned *micro)
{
	unsigned scale = 100000, digits = 0;
	for (*micro = 0; s->len && s->ptr[0] >= '0' && s->ptr[0] <= '9'; *s = nh_slice_skip(*s, 1), digits++) {
		*micro += (unsigned)(s->ptr[0] - '0') * scale;
		scale /= 10;
	}
	return digits > 0;
}

/* "", "Z" or "+hh:mm": minutes east of UTC */
static bool take_zone(nh_slice *s, int *minutes)
{
	*minutes = 0;
	if (s->len == 0 || take_text(s, "Z") || take_text(s, "z"))
		return true;
	int sign = take_text(s, "+") ? 1 : take_text(s, "-") ? -1 : 0;
	unsigned hour = 0, minute = 0;
	if (sign == 0 || !take_digits(s, 2, &hour) || !take_text(s, ":") || !take_digits(s, 2, &minute) || hour > 23 || minute > 59)
		return false;
	*minutes = sign * (int)(hour * 60 + minute);
	return true;
}

nh_rc nh_time_parse_iso(nh_slice text, int64_t *out_us)
{
	struct civil c = {0};
	unsigned year = 0;
	int zone = 0;
	int64_t at = 0;
	bool ok = take_digits(&text, 4, &year) && take_text(&text, "-") && take_digits(&text, 2, &c.month) && take_text(&text, "-") &&
		  take_digits(&text, 2, &c.day) && (take_text(&text, "T") || take_text(&text, "t") || take_text(&text, " ")) &&
		  take_digits(&text, 2, &c.hour) && take_text(&text, ":") && take_digits(&text, 2, &c.minute) && take_text(&text, ":") &&
		  take_digits(&text, 2, &c.second) && (!take_text(&text, ".") || take_fraction(&text, &c.micro)) && take_zone(&text, &zone) &&
		  text.len == 0;
	c.year = year;
	if (!ok || !civil_to_us(&c, &at))
		return NH_EFORMAT;
	*out_us = at - (int64_t)zone * 60 * 1000000;
	return NH_OK;
}

/* Index of the three-letter name in a list of such names, or -1. */
static int take_name(nh_slice *s, const char *names)
{
	for (int i = 0; names[3 * i]; i++)
		if (nh_slice_eq(nh_slice_sub(*s, 0, 3), nh_slice_of(names + 3 * i, 3))) {
			*s = nh_slice_skip(*s, 3);
			return i;
		}
	return -1;
}

nh_rc nh_time_parse_http(nh_slice text, int64_t *out_us)
{
	struct civil c = {0};
	unsigned year = 0;
	int month = -1;
	int64_t at = 0;
	bool ok = take_name(&text, weekdays) >= 0 && take_text(&text, ", ") && take_digits(&text, 2, &c.day) && take_text(&text, " ") &&
		  (month = take_name(&text, months)) >= 0 && take_text(&text, " ") && take_digits(&text, 4, &year) && take_text(&text, " ") &&
		  take_digits(&text, 2, &c.hour) && take_text(&text, ":") && take_digits(&text, 2, &c.minute) && take_text(&text, ":") &&
		  take_digits(&text, 2, &c.second) && take_text(&text, " GMT") && text.len == 0;
	c.month = (unsigned)month + 1;
	c.year = year;
	if (!ok || !civil_to_us(&c, &at))
		return NH_EFORMAT;
	*out_us = at;
	return NH_OK;
}
