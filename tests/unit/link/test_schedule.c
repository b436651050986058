/*
 * Policies: what their text may say, and the arithmetic of windows on the days when clocks are set. Zones are given by their rules, so that no list of zones need be
 * installed: Berlin, New York, and Lord Howe, which moves by half an hour.
 */
#include "test_base.h"

#include <stdlib.h>
#include <time.h>

#include "base/clock.h"
#include "link/schedule.h"

static void texts(void **state)
{
	static const struct {
		const char *text;
		nh_rc rc;
		struct nh_policy is;
		const char *says;
	} rows[] = {
		{"now", NH_OK, {.kind = NH_POLICY_NOW}, NULL},
		{" ignore ", NH_OK, {.kind = NH_POLICY_IGNORE}, NULL},
		{"postpone 6h", NH_OK, {.kind = NH_POLICY_POSTPONE, .postpone_ms = 21600000}, NULL},
		{"window 23:00-04:30", NH_OK, {.kind = NH_POLICY_WINDOW, .start_min = 1380, .end_min = 270, .days = 0x7f}, NULL},
		{"window 00:00-00:00,mon, Sun", NH_OK, {.kind = NH_POLICY_WINDOW, .days = 3}, NULL},
		{"", NH_EINVAL, {0}, "a policy is"},
		{"later", NH_EINVAL, {0}, "not 'later'"},
		{"now please", NH_EINVAL, {0}, "'please' is too much"},
		{"postpone", NH_EINVAL, {0}, "by how long"},
		{"postpone 0s", NH_EINVAL, {0}, "by how long"},
		{"postpone 31d", NH_EINVAL, {0}, "at most 30d"},
		{"window 24:00-01:00", NH_EINVAL, {0}, "HH:MM-HH:MM"},
		{"window 1:00-2:00", NH_EINVAL, {0}, "HH:MM-HH:MM"},
		{"window 10:60-11:00", NH_EINVAL, {0}, "HH:MM-HH:MM"},
		{"window 10:00", NH_EINVAL, {0}, "HH:MM-HH:MM"},
		{"window 10:00-11:00,", NH_EINVAL, {0}, "'' is no day"},
		{"window 10:00-11:00,monday", NH_EINVAL, {0}, "'monday' is no day"},
	};
	for (size_t i = 0; i < NH_ARRAY_LEN(rows); i++) {
		struct nh_policy p;
		struct nh_err err = NH_ERR_INIT;
		nh_rc rc = nh_policy_parse(nh_slice_str(rows[i].text), &p, &err);
		if (rc != rows[i].rc || (rows[i].says && !strstr(err.msg, rows[i].says)))
			fail_msg("'%s': %s '%s'", rows[i].text, nh_rc_name(rc), err.msg);
		const struct nh_policy *is = &rows[i].is;
		if (rc == NH_OK && (p.kind != is->kind || p.postpone_ms != is->postpone_ms || p.start_min != is->start_min || p.end_min != is->end_min || p.days != is->days))
			fail_msg("'%s' was read as %d %llu %u-%u %x", rows[i].text, (int)p.kind, (unsigned long long)p.postpone_ms, p.start_min, p.end_min, p.days);
	}
}

#define BERLIN "CET-1CEST,M3.5.0,M10.5.0/3"
#define NEW_YORK "EST5EDT,M3.2.0,M11.1.0"
#define LORD_HOWE "<+1030>-10:30<+11>-11,M10.1.0,M4.1.0"

static void windows(void **state)
{
	static const struct {
		const char *zone, *policy, *now;
		uint64_t wait_s, room_s;
	} rows[] = {
		/* ordinary days */
		{"UTC0", "window 10:00-11:00", "2026-01-10T09:59:30Z", 30, 3600},
		{"UTC0", "window 10:00-11:00", "2026-01-10T10:00:00Z", 0, 3600},
		{"UTC0", "window 10:00-11:00", "2026-01-10T10:59:59Z", 0, 1},
		{"UTC0", "window 10:00-11:00", "2026-01-10T11:00:00Z", 23 * 3600, 3600},
		{BERLIN, "window 10:00-11:00", "2026-07-10T09:00:00Z", 23 * 3600, 3600},
		/* past midnight: the window is part of the day it began on (the 10th of January 2026 is a Saturday) */
		{BERLIN, "window 23:00-04:30,sat", "2026-01-10T21:30:00Z", 30 * 60, 330 * 60},
		{BERLIN, "window 23:00-04:30,sat", "2026-01-11T02:00:00Z", 0, 90 * 60},
		{BERLIN, "window 23:00-04:30,sat", "2026-01-10T02:00:00Z", 20 * 3600, 330 * 60},
		{BERLIN, "window 23:00-04:30,sat", "2026-01-11T22:30:00Z", 8610 * 60, 330 * 60},
		{BERLIN, "window 23:00-04:30,sun", "2026-01-12T02:00:00Z", 0, 90 * 60},
		{BERLIN, "window 12:00-12:00,mon", "2026-01-13T10:00:00Z", 0, 3600},
		{BERLIN, "window 00:00-00:00,sun", "2026-01-10T22:00:00Z", 3600, 24 * 3600},
		/* forward: 02:00 becomes 03:00 on the 29th of March */
		{BERLIN, "window 02:15-02:45", "2026-03-29T00:30:00Z", 1425 * 60, 30 * 60},
		{BERLIN, "window 02:15-02:45,sun", "2026-03-29T00:30:00Z", 10065 * 60, 30 * 60},
		{BERLIN, "window 01:30-03:30", "2026-03-29T00:30:00Z", 0, 3600},
		{BERLIN, "window 02:30-03:30", "2026-03-29T00:30:00Z", 30 * 60, 30 * 60},
		{NEW_YORK, "window 02:00-03:00", "2026-03-08T06:59:00Z", 1381 * 60, 3600},
		{LORD_HOWE, "window 02:00-02:40", "2026-10-03T15:00:00Z", 30 * 60, 10 * 60},
		/* back: 03:00 becomes 02:00 on the 25th of October, so there are two windows, or one that is an hour longer */
		{BERLIN, "window 02:15-02:45", "2026-10-25T00:10:00Z", 5 * 60, 30 * 60},
		{BERLIN, "window 02:15-02:45", "2026-10-25T00:50:00Z", 25 * 60, 30 * 60},
		{BERLIN, "window 02:15-02:45", "2026-10-25T01:50:00Z", 1405 * 60, 30 * 60},
		{BERLIN, "window 01:00-03:00", "2026-10-24T23:00:00Z", 0, 3 * 3600},
		{NEW_YORK, "window 01:30-02:00,sun", "2026-11-01T05:00:00Z", 30 * 60, 30 * 60},
		{NEW_YORK, "window 01:30-02:00,sun", "2026-11-01T06:00:00Z", 30 * 60, 30 * 60},
		{LORD_HOWE, "window 01:45-02:00", "2026-04-04T15:00:00Z", 15 * 60, 15 * 60},
	};
	for (size_t i = 0; i < NH_ARRAY_LEN(rows); i++) {
		struct nh_policy p;
		int64_t now;
		uint64_t room = 0;
		setenv("TZ", rows[i].zone, 1);
		assert_int_equal(nh_policy_parse(nh_slice_str(rows[i].policy), &p, NULL), NH_OK);
		assert_int_equal(nh_time_parse_iso(nh_slice_str(rows[i].now), &now), NH_OK);
		uint64_t wait = nh_policy_window_wait(&p, now, &room);
		if (wait != rows[i].wait_s * 1000 || room != rows[i].room_s * 1000)
			fail_msg("row %zu, %s at %s: waits %llu s for %llu s", i, rows[i].policy, rows[i].now, (unsigned long long)(wait / 1000), (unsigned long long)(room / 1000));
		/* When the wait is over it is open, and a moment before it is not. */
		if (wait > 0) {
			assert_int_equal(nh_policy_window_wait(&p, now + (int64_t)wait * NH_US_PER_MS, &room), 0);
			assert_int_equal(nh_policy_window_wait(&p, now + (int64_t)wait * NH_US_PER_MS - 1, &room), 1);
		}
	}
	unsetenv("TZ");
	/* A window of no day never opens; the text cannot say that, but memory can. */
	uint64_t room;
	assert_true(nh_policy_window_wait(&(struct nh_policy){.kind = NH_POLICY_WINDOW, .end_min = 60}, 0, &room) == UINT64_MAX);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(texts), cmocka_unit_test(windows)};
	return cmocka_run_group_tests_name("schedule", tests, NULL, NULL);
}
