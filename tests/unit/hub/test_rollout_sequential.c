/*
 * The sequential test: its formula, that it raises no more false alarms than it may over whole rollouts looked at after every device, and after how many devices it stops a bad firmware. Random numbers
 * are seeded, so every figure here is the same at each run; those of docs/guides/rollouts.md come from here.
 */
#include "test_base.h"

#include <math.h>
#include <stdlib.h>

#include "base/rng.h"
#include "hub/sequential.h"

#define HEALTHY_ROLLOUTS 10000
#define DEVICES 500
#define SIGNALS 4

static bool fails(const struct nh_rng *rng, double rate)
{
	return (double)nh_rng_below(rng, UINT64_C(1) << 32) < rate * 4294967296.0;
}

/* After how many of at most `devices` it stops, every outcome looked at; 0: never. What another failure does not raise no success raises either, so only failures are computed. */
static int64_t stopped_after(const struct nh_rng *rng, double rate, double tolerated, double alpha, int64_t devices, unsigned quiet_signals)
{
	double log_e[SIGNALS];
	int64_t failures = 0;
	for (int64_t n = 1; n <= devices; n++) {
		if (!fails(rng, rate))
			continue;
		log_e[0] = nh_sequential_log_e(++failures, n, tolerated);
		for (unsigned i = 1; i <= quiet_signals; i++)
			log_e[i] = nh_sequential_log_e(0, n, tolerated);
		if (nh_sequential_log_mean(log_e, 1 + quiet_signals) >= -log(alpha))
			return n;
	}
	return 0;
}

static void formula(void **state)
{
	assert_true(nh_sequential_log_e(0, 0, 0.02) == 0);
	assert_true(nh_sequential_log_e(5, 4, 0.02) == 0 && nh_sequential_log_e(-1, 4, 0.02) == 0);
	assert_true(nh_sequential_log_e(1, 4, 0) == 0 && nh_sequential_log_e(1, 4, 1) == 0 && nh_sequential_log_e(1, 4, NAN) == 0);
	for (int64_t n = 1; n < 200; n++) {
		assert_true(nh_sequential_log_e(0, n, 0.02) < nh_sequential_log_e(0, n - 1, 0.02) || n == 1);
		for (int64_t k = 1; k <= n; k++)
			assert_true(nh_sequential_log_e(k, n, 0.02) > nh_sequential_log_e(k - 1, n, 0.02));
	}
	/* A supermartingale: at the tolerated rate the expectation of the next value is the present one. */
	static const double tolerated[] = {0.001, 0.01, 0.02, 0.2, 0.5};
	for (size_t i = 0; i < NH_ARRAY_LEN(tolerated); i++) {
		for (int64_t n = 1; n < 60; n++) {
			double now = exp(nh_sequential_log_e(n / 3, n, tolerated[i])), p = tolerated[i];
			double next = p * exp(nh_sequential_log_e(n / 3 + 1, n + 1, p)) + (1 - p) * exp(nh_sequential_log_e(n / 3, n + 1, p));
			assert_true(fabs(next / now - 1) < 1e-9);
		}
	}
	/* No overflow, nor any NaN, however many. */
	assert_true(isfinite(nh_sequential_log_e(1000000, 1000000, 0.001)) && isfinite(nh_sequential_log_e(0, 1000000000, 0.001)));
	double two[] = {log(3), log(5)};
	assert_true(fabs(nh_sequential_log_mean(two, 2) - log(4)) < 1e-12);
	assert_true(nh_sequential_log_mean(two, 0) == 0);
}

static void false_alarms(void **state)
{
	static const struct {
		double tolerated, alpha;
	} table[] = {{0.01, 0.01}, {0.02, 0.01}, {0.02, 0.05}, {0.5, 0.05}};
	for (size_t i = 0; i < NH_ARRAY_LEN(table); i++) {
		struct nh_rng_seeded seed;
		struct nh_rng rng = nh_rng_seeded_init(&seed, 1000 + i);
		unsigned alarms = 0;
		for (unsigned rollout = 0; rollout < HEALTHY_ROLLOUTS; rollout++)
			alarms += stopped_after(&rng, table[i].tolerated, table[i].tolerated, table[i].alpha, table[i].tolerated > 0.1 ? 100 : DEVICES, 0) > 0;
		/* Three standard deviations of a count whose mean were exactly alpha. */
		double expected = HEALTHY_ROLLOUTS * table[i].alpha, most = expected + 3 * sqrt(expected * (1 - table[i].alpha));
		print_message("# tolerated %.3f, alpha %.3f: %u false alarms in %u healthy rollouts (fewer than %.0f are allowed)\n", table[i].tolerated, table[i].alpha, alarms, HEALTHY_ROLLOUTS, most);
		assert_true(alarms < most);
	}
}

/* Failures are counted at once, successes of devices that began long ago only later: what is open counts as not failed, which must never raise the alarm rate. */
static void late_outcomes(void **state)
{
	struct nh_rng_seeded seed;
	struct nh_rng rng = nh_rng_seeded_init(&seed, 77);
	unsigned alarms = 0;
	for (unsigned rollout = 0; rollout < 2000; rollout++) {
		/* A hundred begin at once; those that fail say so first. */
		int64_t trials = 0, failures = 0;
		bool alarm = false;
		while (trials < DEVICES) {
			trials += 100;
			for (unsigned i = 0; i < 100; i++) {
				if (fails(&rng, 0.02))
					alarm = nh_sequential_log_e(++failures, trials, 0.02) >= log(100) || alarm;
			}
		}
		alarms += alarm;
	}
	assert_true(alarms <= 20);
}

static int by_number(const void *a, const void *b)
{
	int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
	return (x > y) - (x < y);
}

static void power(void **state)
{
#define RUNS 1001
	static const struct {
		double rate, tolerated;
		int64_t most; /* the median of devices after which a rollout is stopped, at most */
	} table[] = {{0.05, 0.01, 250}, {0.10, 0.01, 75}, {0.20, 0.01, 30}, {0.50, 0.01, 9}, {0.05, 0.02, 700}, {0.10, 0.02, 140}, {0.20, 0.02, 45}, {0.50, 0.02, 12}, {1.0, 0.02, 6}};
	static int64_t after[RUNS];
	for (size_t i = 0; i < NH_ARRAY_LEN(table); i++) {
		struct nh_rng_seeded seed;
		struct nh_rng rng = nh_rng_seeded_init(&seed, 2000 + i);
		for (unsigned run = 0; run < RUNS; run++) {
			after[run] = stopped_after(&rng, table[i].rate, table[i].tolerated, 0.01, 100000, SIGNALS - 1);
			assert_true(after[run] > 0);
		}
		qsort(after, RUNS, sizeof after[0], by_number);
		print_message("# %2.0f %% fail, %.0f %% tolerated, alpha 0.01, four signals: stopped after %lld devices (median), %lld (nine of ten)\n", table[i].rate * 100, table[i].tolerated * 100,
		              (long long)after[RUNS / 2], (long long)after[RUNS * 9 / 10]);
		if (after[RUNS / 2] > table[i].most)
			fail_msg("row %zu: %lld", i, (long long)after[RUNS / 2]);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(formula), cmocka_unit_test(false_alarms), cmocka_unit_test(late_outcomes), cmocka_unit_test(power)};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
