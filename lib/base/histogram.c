/*
 * Durations in buckets.
 */
#include "base/histogram.h"

const uint64_t nh_histogram_ends_us[NH_HISTOGRAM_BUCKETS] = {500, 1000, 2500, 5000, 10000, 25000, 50000, 100000, 250000, 500000, 1000000, 2500000, 5000000, 10000000};

void nh_histogram_add(struct nh_histogram *h, uint64_t us)
{
	size_t i = 0;
	while (i < NH_HISTOGRAM_BUCKETS && us > nh_histogram_ends_us[i])
		i++;
	if (i < NH_HISTOGRAM_BUCKETS)
		__atomic_fetch_add(&h->buckets[i], 1, __ATOMIC_RELAXED);
	__atomic_fetch_add(&h->sum_us, us, __ATOMIC_RELAXED);
	__atomic_fetch_add(&h->count, 1, __ATOMIC_RELAXED);
}

void nh_histogram_read(const struct nh_histogram *h, struct nh_histogram *out)
{
	/* The count first: it is then never more than what the buckets and it are made of, but for what is in no bucket. */
	out->count += __atomic_load_n(&h->count, __ATOMIC_RELAXED);
	out->sum_us += __atomic_load_n(&h->sum_us, __ATOMIC_RELAXED);
	for (size_t i = 0; i < NH_HISTOGRAM_BUCKETS; i++)
		out->buckets[i] += __atomic_load_n(&h->buckets[i], __ATOMIC_RELAXED);
}
