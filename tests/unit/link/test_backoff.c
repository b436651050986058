/* When a device tries again: the list, the range each delay is drawn from, what a server may ask for, and when the list starts anew. */
#include "test_base.h"

#include "base/rng.h"
#include "link_int.h"

#define DRAWS 2000

struct range {
	uint64_t lowest, highest;
};

static struct nh_link link_with(struct nh_rng_seeded *seeded, struct nh_link_backoff backoff)
{
	return (struct nh_link){.rng = nh_rng_seeded_init(seeded, 7), .config = {.backoff = backoff}};
}

/* DRAWS devices at the given position of the list. */
static struct range draw(struct nh_link_backoff backoff, unsigned position, uint64_t retry_after_s)
{
	struct nh_rng_seeded seeded;
	struct nh_link l = link_with(&seeded, backoff);
	struct range r = {UINT64_MAX, 0};
	for (unsigned i = 0; i < DRAWS; i++) {
		l.attempt = position;
		uint64_t delay = link_backoff_next(&l, retry_after_s);
		r.lowest = delay < r.lowest ? delay : r.lowest;
		r.highest = delay > r.highest ? delay : r.highest;
		assert_int_equal(l.attempt, position + 1);
	}
	return r;
}

/* Bounds are never left, and the whole range is used: within 2 % of either end among DRAWS devices. */
static void ranges(void **state)
{
	static const uint32_t own[] = {10, 500}, none[] = {0};
	static const struct {
		struct nh_link_backoff backoff;
		unsigned position;
		uint64_t retry_after_s, lowest, highest;
	} rows[] = {
		{{0}, 0, 0, 500, 1500},
		{{0}, 1, 0, 1000, 3000},
		{{0}, 5, 0, 16000, 48000},
		{{0}, 6, 0, 30000, 90000},
		{{0}, 7, 0, 30000, 90000},
		{{0}, 4000000000, 0, 30000, 90000},
		{{.jitter_percent = 50}, 0, 0, 750, 1250},
		{{.jitter_percent = 200}, 0, 0, 0, 2000},
		{{.jitter_percent = 100000}, 0, 0, 0, 2000},
		{{.delays_ms = own, .count = 2}, 0, 0, 5, 15},
		{{.delays_ms = own, .count = 2}, 9, 0, 250, 750},
		{{.delays_ms = none, .count = 1}, 0, 0, 0, 0},
		{{0}, 0, 5, 5000, 7500},
		{{0}, 0, 600, 600000, 900000},
		{{0}, 0, 900, 900000, 1350000},
		{{0}, 0, UINT64_MAX, 900000, 1350000}, /* nobody is sent away for ever */
		{{0}, 6, 1, 30000, 90000},             /* nor back sooner than it would have come anyway */
	};
	for (size_t i = 0; i < NH_ARRAY_LEN(rows); i++) {
		struct range r = draw(rows[i].backoff, rows[i].position, rows[i].retry_after_s);
		uint64_t slack = (rows[i].highest - rows[i].lowest) / 50;
		if (r.lowest < rows[i].lowest || r.highest > rows[i].highest || r.lowest > rows[i].lowest + slack || r.highest + slack < rows[i].highest)
			fail_msg("row %zu: drew %llu to %llu, expected %llu to %llu", i, (unsigned long long)r.lowest, (unsigned long long)r.highest,
				 (unsigned long long)rows[i].lowest, (unsigned long long)rows[i].highest);
	}
}

/* A fleet that lost its server at one moment: no tenth of the time sees more than its share of them come back, give or take. */
static void spread_evenly(void **state)
{
	struct nh_rng_seeded seeded;
	struct nh_link l = link_with(&seeded, (struct nh_link_backoff){0});
	unsigned tenth[10] = {0};
	for (unsigned i = 0; i < DRAWS; i++) {
		l.attempt = 0;
		uint64_t at = (link_backoff_next(&l, 0) - 500) / 100;
		tenth[at < 10 ? at : 9]++;
	}
	for (unsigned i = 0; i < 10; i++)
		assert_in_range(tenth[i], DRAWS / 10 * 3 / 4, DRAWS / 10 * 5 / 4);
}

static void list_and_reset(void **state)
{
	static const uint32_t list[] = {100, 200, 400};
	static const uint64_t expected[] = {100, 200, 400, 400, 400};
	struct nh_rng_seeded seeded;
	struct nh_link l = link_with(&seeded, (struct nh_link_backoff){.delays_ms = list, .count = 3, .jitter_percent = 1});
	for (unsigned round = 0; round < 2; round++) {
		for (size_t i = 0; i < NH_ARRAY_LEN(expected); i++)
			assert_in_range(link_backoff_next(&l, 0), expected[i] * 99 / 100, expected[i] * 101 / 100);
		link_backoff_reset(&l);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(ranges), cmocka_unit_test(spread_evenly), cmocka_unit_test(list_and_reset)};
	return cmocka_run_group_tests_name("link_backoff", tests, NULL, NULL);
}
