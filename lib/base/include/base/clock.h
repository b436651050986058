/*
 * Time. Wall clock: int64 microseconds since 1970-01-01 UTC (`_us`). Monotonic: uint64 milliseconds (`mono_ms`). thread: any.
 * Rules take a `struct nh_clock` so that tests own time.
 */
#pragma once

#include "base/buf.h"

struct nh_clock {
	int64_t (*now_us)(void *ctx);
	void *ctx;
};

extern const struct nh_clock nh_clock_system;
/* The clock's time, µs since 1970 UTC. */
static inline int64_t nh_clock_now(const struct nh_clock *c) { return c->now_us(c->ctx); }

/* The system's clocks. Wall time may jump; the other two only go forward, count from boot, and measure spans and deadlines. */
int64_t nh_now_us(void);
uint64_t nh_mono_ms(void);
uint64_t nh_mono_us(void);

/* "2026-01-02T03:04:05Z" (seconds), with 6 fractional digits in the _us form. */
void nh_time_put_iso(struct nh_buf *out, int64_t at_us);
void nh_time_put_iso_us(struct nh_buf *out, int64_t at_us);
/* "Fri, 02 Jan 2026 03:04:05 GMT" (RFC 9110 5.6.7) */
void nh_time_put_http(struct nh_buf *out, int64_t at_us);
/* RFC 3339 with optional fraction and Z or offset; a missing zone means UTC. NH_EFORMAT, *out_us untouched. */
nh_rc nh_time_parse_iso(nh_slice text, int64_t *out_us);
/* The form nh_time_put_http writes, and no other of RFC 9110's. NH_EFORMAT, *out_us untouched. */
nh_rc nh_time_parse_http(nh_slice text, int64_t *out_us);

/*
 * Steps of the wall clock, noticed by whoever looks at both clocks regularly. Deadlines are stored as wall-clock times, since they outlive the process; a clock
 * that is set an hour ahead makes them all overdue at once, and who acts on what is overdue asks here first.
 */
struct nh_clock_watch {
	int64_t offset_us; /* wall minus monotonic at the last look */
	bool started;
};
#define NH_CLOCK_STEP_US INT64_C(10000000)
/* nh_clock_look - by how much the wall clock was set since the last look (forward is positive); 0 for less than ten seconds, which slewing and slow looks explain. */
int64_t nh_clock_look(struct nh_clock_watch *w, int64_t wall_us, uint64_t mono_ms);

#define NH_US_PER_S INT64_C(1000000)
#define NH_US_PER_MS INT64_C(1000)
