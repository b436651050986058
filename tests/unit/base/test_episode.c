/*
 * Episodes of failure are one line and not thousands; a clock that is set is told from one that runs.
 */
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/episode.h"
#include "base/log.h"
#include "test_base.h"

static size_t lines;
static char last[1024];

static void count(void *ctx, nh_log_level level, nh_slice line)
{
	lines++;
	snprintf(last, sizeof(last), "%.*s", NH_ARG(line));
}

static void test_one_line(void **state)
{
	struct nh_episode e = {.event = "thing.write"};
	lines = 0;
	nh_log_set_sink(count, NULL);
	nh_episode_fine(&e);
	assert_int_equal(lines, 0);
	for (int i = 0; i < 1000; i++) {
		nh_episode_failed(&e, NH_ENOSPC, "full");
		assert_true(nh_episode_going(&e));
	}
	assert_int_equal(lines, 1);
	assert_non_null(strstr(last, "thing.write state=failing code=ENOSPC failures=1 why=full"));
	nh_episode_fine(&e); /* unsteady: the episode goes on, though the latest went well */
	assert_false(nh_episode_going(&e));
	nh_episode_failed(&e, NH_EIO, "again");
	assert_int_equal(lines, 1);
	assert_int_equal(nh_episode_total(&e), 1001);
	nh_log_set_sink(NULL, NULL);
}

static void test_clock_steps(void **state)
{
	static const struct {
		int64_t wall_s;
		uint64_t mono_s;
		int64_t step_s;
	} table[] = {
		{1000, 5, 0}, {1001, 6, 0}, {1004, 7, 0} /* slewed */, {4605, 8, 3600}, {4606, 9, 0}, {1007, 10, -3600}, {1008, 11, 0}, {1607, 610, 0} /* a slow look */,
	};
	struct nh_clock_watch w = {0};
	for (size_t i = 0; i < NH_ARRAY_LEN(table); i++) {
		int64_t step = nh_clock_look(&w, table[i].wall_s * NH_US_PER_S, table[i].mono_s * 1000);
		if (step != table[i].step_s * NH_US_PER_S)
			fail_msg("look %zu: %lld us", i, (long long)step);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_one_line), cmocka_unit_test(test_clock_steps)};
	return cmocka_run_group_tests_name("base_episode", tests, NULL, NULL);
}
