/*
 * Maintenance windows: days of the week with a beginning and an end on the wall clock of wherever the device stands.
 *
 * What counts is what the clock on that wall shows: an hour that is shown twice in autumn is open twice, one that is left out in spring is not open on that day. Pure.
 *
 * thread: any.
 */
#pragma once

#include "base/json.h"
#include "base/zone.h"

#define NH_WINDOWS_MAX 14
#define NH_WINDOW_DAY_MIN 1440

struct nh_window {
	uint8_t days;              /* bit 0: Monday … bit 6: Sunday; the day on which it begins */
	uint16_t from_min, to_min; /* minutes since midnight, 0 to 1439; to_min <= from_min: it ends on the next day, so equal ones are a whole day */
};

/* nh_windows_open - is any of them open at that moment? Without windows: always. */
bool nh_windows_open(const struct nh_window *windows, size_t count, const struct nh_zone *zone, int64_t at_us);
/* nh_windows_next - the first moment from at_us on, on the minute unless it is at_us itself, at which one is open; 0: not within the next nine days. */
int64_t nh_windows_next(const struct nh_window *windows, size_t count, const struct nh_zone *zone, int64_t at_us);

/*
 * nh_windows_read - a JSON array of {"days":["mon", …], "from":"22:00", "to":"04:00"}; absent days: every day. At most NH_WINDOWS_MAX. *count 0 for an empty one or NULL.
 * Returns NULL where it is right, else a literal that says what is wrong.
 */
const char *nh_windows_read(const json_t *list, struct nh_window windows[NH_WINDOWS_MAX], size_t *count);
