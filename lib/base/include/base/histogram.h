/*
 * How long something takes, counted into fixed buckets: for figures that are read by others while they grow. thread: any; an observation is three relaxed additions.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#define NH_HISTOGRAM_BUCKETS 14

/* Upper ends in microseconds, ascending, from 500 µs to 10 s; what takes longer is in none of them, and in count. */
extern const uint64_t nh_histogram_ends_us[NH_HISTOGRAM_BUCKETS];

struct nh_histogram {
	uint64_t buckets[NH_HISTOGRAM_BUCKETS]; /* not cumulative; relaxed atomics, as the two below */
	uint64_t count, sum_us;
};

/* nh_histogram_add - one observation: it took us microseconds. */
void nh_histogram_add(struct nh_histogram *h, uint64_t us);
/* nh_histogram_read - adds what h holds to out, which nobody else uses: so several become one. */
void nh_histogram_read(const struct nh_histogram *h, struct nh_histogram *out);
