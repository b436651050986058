/*
 * Policies: their text, and the window's arithmetic. A window is asked minute by minute what the clock on the wall shows, since all the rules about zones are in
 * localtime_r and none should be here. source: POSIX.1-2017 localtime_r, tzset
 */
#include "link/schedule.h"

#include <time.h>

#include "base/clock.h"
#include "base/encode.h"

#define MINUTE_US (60 * NH_US_PER_S)
#define SEARCH_MINUTES (15 * 24 * 60) /* a weekly window that falls out once is there a week later */
#define POSTPONE_MAX_MS ((uint64_t)30 * 24 * 3600 * 1000)
#define EVERY_DAY 0x7fu

/* ---- text */

static const char *const day_names[] = {"sun", "mon", "tue", "wed", "thu", "fri", "sat"};

static nh_rc parse_days(nh_slice rest, unsigned *out, struct nh_err *err)
{
	*out = 0;
	do {
		nh_slice name;
		size_t day = 0;
		nh_slice_cut(rest, ',', &name, &rest);
		name = nh_slice_trim(name);
		while (day < NH_ARRAY_LEN(day_names) && !nh_slice_ieq(name, nh_slice_str(day_names[day])))
			day++;
		if (day == NH_ARRAY_LEN(day_names))
			return NH_FAIL(err, NH_EINVAL, "'%.*s' is no day: sun, mon, tue, wed, thu, fri or sat", NH_ARG(name));
		*out |= 1u << day;
	} while (rest.len > 0);
	return NH_OK;
}

/* "23:05" */
static bool parse_time(nh_slice text, unsigned *out)
{
	nh_slice hours, minutes;
	uint64_t h, m;
	if (!nh_slice_cut(nh_slice_trim(text), ':', &hours, &minutes) || hours.len != 2 || minutes.len != 2)
		return false;
	if (nh_parse_u64(hours, 0, 23, &h) != NH_OK || nh_parse_u64(minutes, 0, 59, &m) != NH_OK)
		return false;
	*out = (unsigned)(h * 60 + m);
	return true;
}

static nh_rc parse_window(nh_slice text, struct nh_policy *p, struct nh_err *err)
{
	nh_slice times, days, start, end;
	bool has_days = nh_slice_cut(text, ',', &times, &days);
	if (!nh_slice_cut(times, '-', &start, &end) || !parse_time(start, &p->start_min) || !parse_time(end, &p->end_min))
		return NH_FAIL(err, NH_EINVAL, "a window is HH:MM-HH:MM[,day...], not '%.*s'", NH_ARG(text));
	p->days = EVERY_DAY;
	return has_days ? parse_days(days, &p->days, err) : NH_OK;
}

static nh_rc parse_postpone(nh_slice text, struct nh_policy *p, struct nh_err *err)
{
	if (nh_parse_duration_ms(text, POSTPONE_MAX_MS, &p->postpone_ms) != NH_OK || p->postpone_ms == 0)
		return NH_FAIL(err, NH_EINVAL, "postpone by how long? A span of at most 30d, as in 'postpone 6h', not '%.*s'", NH_ARG(text));
	return NH_OK;
}

static nh_rc parse_nothing(nh_slice text, struct nh_policy *p, struct nh_err *err)
{
	return text.len == 0 ? NH_OK : NH_FAIL(err, NH_EINVAL, "'%.*s' is too much", NH_ARG(text));
}

nh_rc nh_policy_parse(nh_slice text, struct nh_policy *out, struct nh_err *err)
{
	static const struct {
		const char *name;
		nh_rc (*parse)(nh_slice text, struct nh_policy *p, struct nh_err *err);
	} kinds[] = {
		[NH_POLICY_NOW] = {"now", parse_nothing},
		[NH_POLICY_IGNORE] = {"ignore", parse_nothing},
		[NH_POLICY_POSTPONE] = {"postpone", parse_postpone},
		[NH_POLICY_WINDOW] = {"window", parse_window},
	};
	nh_slice word, rest;
	nh_slice_cut(nh_slice_trim(text), ' ', &word, &rest);
	*out = (struct nh_policy){0};
	for (size_t i = 0; i < NH_ARRAY_LEN(kinds); i++)
		if (nh_slice_eq_str(word, kinds[i].name)) {
			out->kind = (nh_policy_kind)i;
			return kinds[i].parse(nh_slice_trim(rest), out, err);
		}
	return NH_FAIL(err, NH_EINVAL, "a policy is now, ignore, postpone TIME or window HH:MM-HH:MM[,day...], not '%.*s'", NH_ARG(nh_slice_trim(text)));
}

/* ---- arithmetic */

static bool open_at(const struct nh_policy *p, int64_t at_us)
{
	struct tm tm;
	time_t at = (time_t)(at_us / NH_US_PER_S);
	if (!localtime_r(&at, &tm))
		return false;
	unsigned minute = (unsigned)(tm.tm_hour * 60 + tm.tm_min), today = (unsigned)tm.tm_wday, yesterday = (today + 6) % 7;
	if (p->start_min < p->end_min)
		return minute >= p->start_min && minute < p->end_min && (p->days >> today & 1);
	return (minute >= p->start_min && (p->days >> today & 1)) || (minute < p->end_min && (p->days >> yesterday & 1));
}

/* Full minutes from then on, until the window is open, or not open; at most `most`. Zones differ by whole minutes. */
static unsigned minutes_until(const struct nh_policy *p, bool open, int64_t from_us, unsigned most)
{
	unsigned n = 0;
	while (n < most && open_at(p, from_us + n * MINUTE_US) != open)
		n++;
	return n;
}

uint64_t nh_policy_window_wait(const struct nh_policy *p, int64_t now_us, uint64_t *room_ms)
{
	int64_t minute_us = now_us - now_us % MINUTE_US;
	tzset(); /* the zone may have been changed since the last question */
	unsigned wait = minutes_until(p, true, minute_us, SEARCH_MINUTES);
	*room_ms = 0;
	if (wait == SEARCH_MINUTES)
		return UINT64_MAX;
	int64_t begin_us = wait ? minute_us + wait * MINUTE_US : now_us;
	int64_t end_us = minute_us + (int64_t)(wait + minutes_until(p, false, minute_us + wait * MINUTE_US, SEARCH_MINUTES)) * MINUTE_US;
	*room_ms = (uint64_t)((end_us - begin_us) / NH_US_PER_MS);
	return (uint64_t)((begin_us - now_us + NH_US_PER_MS - 1) / NH_US_PER_MS); /* not a moment too early */
}
