/*
 * When an update may be installed: the built-in policies, as the device's owner writes them.
 *
 *	now                          at once
 *	ignore                       never: for devices that somebody else updates
 *	postpone 6h                  so long after it was offered
 *	window 23:00-04:30,sat,sun   while the clock on the wall shows a time in the window; without days, every day
 *
 * A window is what a clock on the device's wall shows: start inclusive, end exclusive, past midnight where the end is not after the start (equal: a whole day), and
 * then it belongs to the day it began on. Where the clock is set forward over a window there is none that day; where it is set back there are two.
 *
 * Pure: the caller gives the time; the zone is the process's (TZ, /etc/localtime). thread: any.
 */
#pragma once

#include "base/err.h"
#include "base/slice.h"

typedef enum nh_policy_kind { NH_POLICY_NOW, NH_POLICY_IGNORE, NH_POLICY_POSTPONE, NH_POLICY_WINDOW } nh_policy_kind;

struct nh_policy {
	nh_policy_kind kind;
	uint64_t postpone_ms;
	unsigned start_min, end_min; /* of the day */
	unsigned days;               /* bit 0 = Sunday … bit 6 = Saturday */
};

/* nh_policy_parse - NH_EINVAL: one clear line. */
nh_rc nh_policy_parse(nh_slice text, struct nh_policy *out, struct nh_err *err);
/*
 * nh_policy_window_wait - ms from now_us until the window is open; 0 where it is. *room_ms: how long it is open from then on, so that a fleet can spread within it. UINT64_MAX: not within
 * fifteen days (a window that never is: an hour that no clock shows).
 */
uint64_t nh_policy_window_wait(const struct nh_policy *p, int64_t now_us, uint64_t *room_ms);
