/*
 * Maintenance windows on the wall clock of a zone. The next opening is found by asking minute after minute, so it cannot say anything else than the question whether one is open.
 */
#include "hub/windows.h"

#include "base/clock.h"

#define MINUTE_US (60 * NH_US_PER_S)
#define SEARCH_MIN (9 * NH_WINDOW_DAY_MIN) /* every weekday once, and one more in case the first falls into an hour that is left out */

struct wall {
	unsigned weekday; /* 0: Monday */
	unsigned minute;
};

static int64_t floor_div(int64_t value, int64_t by)
{
	return value / by - (value % by < 0);
}

static struct wall wall_at(const struct nh_zone *zone, int64_t at_us)
{
	int64_t utc_s = floor_div(at_us, NH_US_PER_S), minutes = floor_div(utc_s + nh_zone_offset_s(zone, utc_s), 60), days = floor_div(minutes, NH_WINDOW_DAY_MIN);
	return (struct wall){(unsigned)((days % 7 + 10) % 7), (unsigned)(minutes - days * NH_WINDOW_DAY_MIN)}; /* 1970-01-01 was a Thursday, 3 */
}

static bool on(const struct nh_window *w, unsigned weekday)
{
	return (w->days >> (weekday % 7) & 1u) != 0;
}

static bool is_open(const struct nh_window *w, struct wall now)
{
	if (w->from_min < w->to_min)
		return on(w, now.weekday) && now.minute >= w->from_min && now.minute < w->to_min;
	return (on(w, now.weekday) && now.minute >= w->from_min) || (on(w, now.weekday + 6) && now.minute < w->to_min);
}

bool nh_windows_open(const struct nh_window *windows, size_t count, const struct nh_zone *zone, int64_t at_us)
{
	if (count == 0)
		return true;
	struct wall now = wall_at(zone, at_us);
	for (size_t i = 0; i < count; i++) {
		if (is_open(&windows[i], now))
			return true;
	}
	return false;
}

int64_t nh_windows_next(const struct nh_window *windows, size_t count, const struct nh_zone *zone, int64_t at_us)
{
	if (nh_windows_open(windows, count, zone, at_us))
		return at_us;
	int64_t minute = (floor_div(at_us, MINUTE_US) + 1) * MINUTE_US;
	for (int i = 0; i < SEARCH_MIN; i++, minute += MINUTE_US) {
		if (nh_windows_open(windows, count, zone, minute))
			return minute;
	}
	return 0;
}

/* ---- reading --------------------------------------------------------------------------------------------------------------- */

static const char *const day_names[] = {"mon", "tue", "wed", "thu", "fri", "sat", "sun"};

/* "22:00" */
static bool read_minute(const json_t *value, uint16_t *out)
{
	const char *t = json_is_string(value) && json_string_length(value) == 5 ? json_string_value(value) : "99:99";
	unsigned digits[4] = {(unsigned)(t[0] - '0'), (unsigned)(t[1] - '0'), (unsigned)(t[3] - '0'), (unsigned)(t[4] - '0')};
	for (size_t i = 0; i < NH_ARRAY_LEN(digits); i++) {
		if (digits[i] > 9)
			return false;
	}
	unsigned hour = digits[0] * 10 + digits[1], minute = digits[2] * 10 + digits[3];
	*out = (uint16_t)(hour * 60 + minute);
	return t[2] == ':' && hour < 24 && minute < 60;
}

static bool read_days(const json_t *list, uint8_t *out)
{
	*out = list ? 0 : 0x7f;
	if (!list)
		return true;
	for (size_t i = 0; i < json_array_size(list); i++) {
		const char *name = json_string_value(json_array_get(list, i));
		uint8_t bit = 0;
		for (size_t d = 0; name && d < NH_ARRAY_LEN(day_names); d++)
			bit |= (uint8_t)(nh_slice_ieq(nh_slice_str(name), nh_slice_str(day_names[d])) << d);
		if (!bit)
			return false;
		*out |= bit;
	}
	return *out != 0;
}

const char *nh_windows_read(const json_t *list, struct nh_window windows[NH_WINDOWS_MAX], size_t *count)
{
	*count = 0;
	if (!list || json_is_null(list))
		return NULL;
	if (!json_is_array(list))
		return "is a list of windows";
	if (json_array_size(list) > NH_WINDOWS_MAX)
		return "has at most 14 windows";
	for (size_t i = 0; i < json_array_size(list); i++) {
		const json_t *item = json_array_get(list, i);
		struct nh_window *w = &windows[i];
		if (!read_days(json_object_get(item, "days"), &w->days))
			return "days are mon, tue, wed, thu, fri, sat and sun";
		if (!read_minute(json_object_get(item, "from"), &w->from_min) || !read_minute(json_object_get(item, "to"), &w->to_min))
			return "a window goes from HH:MM to HH:MM";
	}
	*count = json_array_size(list);
	return NULL;
}
