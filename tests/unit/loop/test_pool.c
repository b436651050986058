/* The pool: contexts of its threads, results on the submitting loop, the bound and the wait for room, drain and the end. */
#include <pthread.h>
#include <semaphore.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/arena.h"
#include "loop/pool.h"

static int inits, finis; /* atomic */

static nh_rc thread_init(void *ctx, void **worker, struct nh_err *err)
{
	int limit = *(int *)ctx;
	if (__atomic_add_fetch(&inits, 1, __ATOMIC_SEQ_CST) > limit)
		return NH_FAIL(err, NH_EIO, "no more contexts");
	*worker = nh_xcalloc(1, sizeof(int));
	return NH_OK;
}

static void thread_fini(void *ctx, void *worker)
{
	free(worker);
	__atomic_add_fetch(&finis, 1, __ATOMIC_SEQ_CST);
}

static struct nh_pool *pool_new(unsigned threads, size_t queue_max)
{
	static int limit = 100;
	struct nh_pool *pool = NULL;
	struct nh_err err = NH_ERR_INIT;
	inits = finis = 0;
	struct nh_pool_config config = {.threads = threads, .queue_max = queue_max, .thread_init = thread_init, .thread_fini = thread_fini, .ctx = &limit};
	assert_int_equal(nh_pool_new(&config, &pool, &err), NH_OK);
	return pool;
}

static struct nh_loop *loop_new(void)
{
	struct nh_loop *loop = NULL;
	struct nh_err err = NH_ERR_INIT;
	assert_int_equal(nh_loop_new(NULL, &loop, &err), NH_OK);
	return loop;
}

/* ---- results ----------------------------------------------------------------------------------------------------------- */

struct sum {
	struct nh_loop *loop;
	int done, wanted, wrong;
	long total;
};

struct addend {
	struct nh_work work;
	struct sum *sum;
	long value, square;
};

static void addend_run(void *worker, struct nh_work *work)
{
	struct addend *a = (struct addend *)(void *)work;
	++*(int *)worker;
	a->square = a->value * a->value;
}

static void addend_done(struct nh_work *work)
{
	struct addend *a = (struct addend *)(void *)work;
	a->sum->wrong += !nh_loop_here(a->sum->loop);
	a->sum->total += a->square;
	if (++a->sum->done == a->sum->wanted)
		nh_loop_stop(a->sum->loop);
}

static void test_results_come_back_to_the_loop(void **state)
{
	enum { COUNT = 500 };
	struct sum sum = {.loop = loop_new(), .wanted = COUNT};
	struct nh_pool *pool = pool_new(3, COUNT);
	struct addend *list = nh_xcalloc(COUNT, sizeof *list);
	long expected = 0;
	for (long i = 0; i < COUNT; i++) {
		list[i] = (struct addend){.work = {.run = addend_run, .done = addend_done}, .sum = &sum, .value = i};
		expected += i * i;
		assert_int_equal(nh_work_submit(pool, sum.loop, &list[i].work), NH_OK);
	}
	nh_loop_run(sum.loop);
	assert_int_equal(sum.total, expected);
	assert_int_equal(sum.wrong, 0);
	struct nh_pool_stats stats;
	nh_pool_stats(pool, &stats);
	assert_int_equal(stats.submitted, COUNT);
	assert_int_equal(stats.queued, 0);
	assert_int_equal(stats.threads, 3);
	nh_pool_free(pool);
	assert_int_equal(inits, 3);
	assert_int_equal(finis, 3);
	nh_loop_free(sum.loop);
	free(list);
}

/* ---- the bound ----------------------------------------------------------------------------------------------------------- */

struct gate {
	struct nh_work work;
	sem_t started, open;
};

static void gate_run(void *worker, struct nh_work *work)
{
	struct gate *g = (struct gate *)(void *)work;
	sem_post(&g->started);
	while (sem_wait(&g->open) != 0)
		continue;
}

static void hold(struct nh_pool *pool, struct gate *gate)
{
	*gate = (struct gate){.work = {.run = gate_run}};
	sem_init(&gate->started, 0, 0);
	sem_init(&gate->open, 0, 0);
	assert_int_equal(nh_work_submit(pool, NULL, &gate->work), NH_OK);
	while (sem_wait(&gate->started) != 0)
		continue;
}

static void let_go(struct gate *gate)
{
	sem_post(&gate->open);
}

struct numbered {
	struct nh_work work;
	int number;
};

static int run_order[64], run_count; /* one worker writes, read after the drain */

static void numbered_run(void *worker, struct nh_work *work) { run_order[run_count++] = ((struct numbered *)(void *)work)->number; }

/* Jobs wait before a queue of two; none is refused, all run in order of arrival, also those without a loop; a submit cannot overtake them. */
static void test_queued_jobs_wait_in_order(void **state)
{
	enum { COUNT = 40 };
	struct nh_pool *pool = pool_new(1, 2);
	struct gate gate;
	struct numbered list[COUNT], late = {.work = {.run = numbered_run}, .number = -1};
	struct nh_pool_stats stats;
	run_count = 0;
	hold(pool, &gate);
	for (int i = 0; i < COUNT; i++) {
		list[i] = (struct numbered){.work = {.run = numbered_run}, .number = i};
		nh_work_queue(pool, NULL, &list[i].work);
	}
	assert_int_equal(nh_work_submit(pool, NULL, &late.work), NH_EAGAIN);
	nh_pool_stats(pool, &stats);
	assert_int_equal(stats.queued, 2);
	assert_int_equal(stats.waiting, COUNT - 2);
	assert_int_equal(stats.refused, COUNT - 2 + 1);
	let_go(&gate);
	nh_pool_drain(pool);
	assert_int_equal(run_count, COUNT);
	for (int i = 0; i < COUNT; i++)
		assert_int_equal(run_order[i], i);
	nh_pool_stats(pool, &stats);
	assert_int_equal(stats.waiting, 0);
	assert_int_equal(nh_work_submit(pool, NULL, &late.work), NH_OK);
	nh_pool_free(pool);
	assert_int_equal(run_order[COUNT], -1);
	sem_destroy(&gate.started);
	sem_destroy(&gate.open);
}

/* A job that waited completes as any other. */
static void test_waiting_jobs_come_back_to_their_loop(void **state)
{
	enum { COUNT = 12 };
	struct sum sum = {.loop = loop_new(), .wanted = COUNT};
	struct nh_pool *pool = pool_new(2, 1);
	struct gate gates[2];
	struct addend list[COUNT];
	hold(pool, &gates[0]);
	hold(pool, &gates[1]);
	for (long i = 0; i < COUNT; i++) {
		list[i] = (struct addend){.work = {.run = addend_run, .done = addend_done}, .sum = &sum, .value = i};
		nh_work_queue(pool, sum.loop, &list[i].work);
	}
	let_go(&gates[0]);
	let_go(&gates[1]);
	nh_loop_run(sum.loop);
	nh_pool_drain(pool);
	nh_pool_free(pool);
	assert_int_equal(sum.total, 11 * 12 * 23 / 6);
	nh_loop_free(sum.loop);
	for (size_t i = 0; i < 2; i++) {
		sem_destroy(&gates[i].started);
		sem_destroy(&gates[i].open);
	}
}

/* ---- drain and the end --------------------------------------------------------------------------------------------------- */

struct chain {
	struct nh_work work;
	struct nh_pool *pool;
	struct nh_loop *loop;
	int left;
};

static void chain_run(void *worker, struct nh_work *work) { ((struct chain *)(void *)work)->left--; }

static void chain_done(struct nh_work *work)
{
	struct chain *c = (struct chain *)(void *)work;
	if (c->left)
		assert_int_equal(nh_work_submit(c->pool, c->loop, work), NH_OK);
}

static void test_drain_waits_for_what_done_submits(void **state)
{
	struct nh_loop *loop = loop_new();
	struct nh_err err = NH_ERR_INIT;
	struct chain c = {.work = {.run = chain_run, .done = chain_done}, .pool = pool_new(2, 2), .loop = loop, .left = 200};
	assert_int_equal(nh_loop_start(loop, &err), NH_OK);
	assert_int_equal(nh_work_submit(c.pool, loop, &c.work), NH_OK);
	nh_pool_drain(c.pool);
	assert_int_equal(c.left, 0);
	nh_pool_free(c.pool);
	nh_loop_stop(loop);
	nh_loop_join(loop);
	nh_loop_free(loop);
}

static int freed; /* atomic */

static void free_run(void *worker, struct nh_work *work)
{
	free(work);
	__atomic_add_fetch(&freed, 1, __ATOMIC_SEQ_CST);
}

static void test_free_runs_what_is_queued(void **state)
{
	struct nh_pool *pool = pool_new(2, 200);
	for (int i = 0; i < 100; i++) {
		struct nh_work *work = nh_xcalloc(1, sizeof *work);
		work->run = free_run;
		assert_int_equal(nh_work_submit(pool, NULL, work), NH_OK);
	}
	nh_pool_free(pool);
	assert_int_equal(freed, 100);
	nh_pool_free(NULL);
}

static void test_a_failing_context_fails_the_pool(void **state)
{
	struct nh_err err = NH_ERR_INIT;
	struct nh_pool *pool = NULL;
	int limit = 2;
	inits = finis = 0;
	struct nh_pool_config config = {.threads = 3, .thread_init = thread_init, .thread_fini = thread_fini, .ctx = &limit};
	assert_int_equal(nh_pool_new(&config, &pool, &err), NH_EIO);
	assert_null(pool);
	assert_string_equal(err.msg, "no more contexts");
	assert_int_equal(finis, 2);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_results_come_back_to_the_loop),
		cmocka_unit_test(test_queued_jobs_wait_in_order),
		cmocka_unit_test(test_waiting_jobs_come_back_to_their_loop),
		cmocka_unit_test(test_drain_waits_for_what_done_submits),
		cmocka_unit_test(test_free_runs_what_is_queued),
		cmocka_unit_test(test_a_failing_context_fails_the_pool),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
