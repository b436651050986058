/*
 * Jobs: what is claimed, by whom, and when it comes again; each on a fresh database of each engine with a clock that stands where it is put. Claims at the same time, from threads of two
 * connections, end with one winner for each job.
 */
#include "hub_world.h"

#include <pthread.h>
#include <string.h>

#include "base/encode.h"
#include "hub/jobs.h"

#define S NH_US_PER_S
#define LEASE (60 * S)
#define KINDS " deliver tidy "

static const struct nh_job_retry thrice = {.attempts = 3, .pause_us = 10 * S, .pause_max_us = 30 * S};

static nh_rc add(struct world *w, const char *key, const char *payload, int64_t due_us)
{
	return nh_job_add(&w->ctx, "deliver", nh_slice_str(key), nh_slice_str(payload), due_us, E(w));
}

static nh_rc claim(struct world *w, struct nh_job *job) { return nh_job_claim(&w->ctx, KINDS, LEASE, job, E(w)); }

/* The next claim is that of key with that payload. */
static bool next_is(struct world *w, struct nh_job *job, const char *key, const char *payload)
{
	return claim(w, job) == NH_OK && nh_slice_eq_str(job->key, key) && nh_slice_eq_str(job->payload, payload);
}

static bool none(struct world *w)
{
	struct nh_job job;
	return claim(w, &job) == NH_ENOTFOUND;
}

static int64_t ready(struct world *w)
{
	int64_t at = 0;
	return nh_job_next(&w->ctx, KINDS, &at, E(w)) == NH_OK ? at - w->now_us : -1;
}

/* ---- one after the other ------------------------------------------------------------------------------------------------- */

static nh_rc in_order(struct world *w, struct nh_err *err)
{
	struct nh_job job;
	CHECK(none(w) && ready(w) == -1);
	OK(add(w, "b", "1", w->now_us + 2 * S));
	OK(add(w, "a", "2", w->now_us + S));
	OK(add(w, "c", "3", 0));
	CHECK(effects_of(w, NH_EFFECT_JOB) == 3);
	OK(nh_job_add(&w->ctx, "of-another-version", NH_LIT("x"), NH_LIT(""), 0, E(w)));
	CHECK(next_is(w, &job, "c", "3") && job.attempts == 1 && nh_slice_eq_str(job.kind, "deliver"));
	OK(nh_job_done(&w->ctx, &job, 0, E(w)));
	CHECK(none(w) && ready(w) == S);
	world_pass(w, 3 * S);
	CHECK(next_is(w, &job, "a", "2"));
	CHECK(next_is(w, &job, "b", "1"));
	CHECK(none(w) && ready(w) == LEASE);
	return NH_OK;
}

static nh_rc adding_again(struct world *w, struct nh_err *err)
{
	struct nh_job job;
	OK(add(w, "k", "first", w->now_us + 10 * S));
	OK(add(w, "k", "later", w->now_us + 20 * S));
	CHECK(ready(w) == 10 * S);
	OK(add(w, "k", "earlier", w->now_us + 5 * S));
	CHECK(ready(w) == 5 * S);
	world_pass(w, 5 * S);
	CHECK(next_is(w, &job, "k", "earlier"));
	CHECK(none(w));

	/* While it runs: once more afterwards, at the earliest of the times that were asked for. */
	OK(add(w, "k", "meanwhile", w->now_us + 9 * S));
	OK(add(w, "k", "meanwhile too", w->now_us + 7 * S));
	OK(add(w, "k", "last", w->now_us + 8 * S));
	CHECK(none(w));
	OK(nh_job_done(&w->ctx, &job, 0, E(w)));
	CHECK(ready(w) == 7 * S);
	world_pass(w, 7 * S);
	CHECK(next_is(w, &job, "k", "last") && job.attempts == 1);
	OK(nh_job_done(&w->ctx, &job, 0, E(w)));
	CHECK(ready(w) == -1);

	char *long_key = nh_arena_alloc(&w->arena, 300);
	memset(long_key, 'k', 256);
	CHECK_RC(NH_ETOOBIG, nh_job_add(&w->ctx, "deliver", nh_slice_of(long_key, 256), NH_LIT(""), 0, E(w)));
	OK(nh_job_add(&w->ctx, "deliver", nh_slice_of(long_key, 255), NH_LIT(""), 0, E(w)));
	return NH_OK;
}

/* ---- failures -------------------------------------------------------------------------------------------------------------- */

static nh_rc attempt_fails(struct world *w, const struct nh_job *job, const struct nh_job_retry *retry, bool *given_up)
{
	return nh_job_failed(&w->ctx, job, retry, NH_LIT("the other side is away"), given_up, E(w));
}

static nh_rc failures(struct world *w, struct nh_err *err)
{
	struct nh_job job;
	bool given_up = true;
	struct nh_job_counts *counts;
	size_t count;
	OK(add(w, "k", "p", 0));
	static const int64_t pauses[] = {10 * S, 20 * S};
	for (int i = 0; i < 2; i++) {
		CHECK(claim(w, &job) == NH_OK && job.attempts == i + 1);
		OK(attempt_fails(w, &job, &thrice, &given_up));
		CHECK(!given_up && ready(w) >= pauses[i] * 3 / 4 && ready(w) <= pauses[i] * 5 / 4);
		OK(add(w, "k", "newer", 0)); /* does not shorten the pause */
		CHECK(ready(w) >= pauses[i] * 3 / 4);
		world_pass(w, ready(w));
	}
	CHECK(next_is(w, &job, "k", "newer") && job.attempts == 3);
	OK(attempt_fails(w, &job, &thrice, &given_up));
	CHECK(given_up && none(w) && ready(w) == -1);
	OK(nh_job_counts(&w->ctx, &counts, &count, E(w)));
	CHECK(count == 1 && counts[0].given_up == 1 && counts[0].waiting == 0 && counts[0].running == 0 && counts[0].late_us == 0);
	world_pass(w, 1000 * LEASE);
	CHECK(none(w));

	/* Added again it begins anew. */
	OK(add(w, "k", "again", 0));
	CHECK(next_is(w, &job, "k", "again") && job.attempts == 1);
	OK(nh_job_counts(&w->ctx, &counts, &count, E(w)));
	CHECK(count == 1 && counts[0].given_up == 0 && counts[0].running == 1);
	return NH_OK;
}

/* What was added while the last attempt failed is not given up with it. */
static nh_rc added_during_the_last_attempt(struct world *w, struct nh_err *err)
{
	const struct nh_job_retry once = {.attempts = 1, .pause_us = S, .pause_max_us = S};
	struct nh_job job;
	bool given_up = true;
	OK(add(w, "k", "old", 0));
	CHECK(next_is(w, &job, "k", "old"));
	OK(add(w, "k", "new", 0));
	OK(attempt_fails(w, &job, &once, &given_up));
	CHECK(!given_up && next_is(w, &job, "k", "new") && job.attempts == 1);
	OK(attempt_fails(w, &job, &once, &given_up));
	CHECK(given_up);
	return NH_OK;
}

static nh_rc pauses_have_a_limit(struct world *w, struct nh_err *err)
{
	const struct nh_job_retry for_ever = {.attempts = 0, .pause_us = 10 * S, .pause_max_us = 30 * S};
	struct nh_job job;
	bool given_up = true;
	OK(add(w, "k", "", 0));
	for (int i = 0; i < 40; i++) {
		CHECK(claim(w, &job) == NH_OK);
		OK(attempt_fails(w, &job, &for_ever, &given_up));
		CHECK(!given_up && ready(w) <= 30 * S * 5 / 4);
		world_pass(w, ready(w));
	}
	return NH_OK;
}

/* ---- leases ---------------------------------------------------------------------------------------------------------------- */

static nh_rc leases(struct world *w, struct nh_err *err)
{
	struct nh_job dead, heir;
	bool given_up = false;
	OK(add(w, "k", "", 0));
	CHECK(claim(w, &dead) == NH_OK);
	world_pass(w, LEASE - S);
	OK(nh_job_renew(&w->ctx, dead.id, dead.claims, LEASE, E(w)));
	world_pass(w, LEASE - S);
	CHECK(none(w));
	world_pass(w, S);
	CHECK(claim(w, &heir) == NH_OK && heir.id == dead.id && heir.attempts == 2);

	/* Whoever lost it changes nothing any more. */
	CHECK_RC(NH_ENOTFOUND, nh_job_renew(&w->ctx, dead.id, dead.claims, LEASE, E(w)));
	OK(nh_job_done(&w->ctx, &dead, 0, E(w)));
	OK(nh_job_done(&w->ctx, &dead, 5 * S, E(w)));
	OK(attempt_fails(w, &dead, &thrice, &given_up));
	OK(nh_job_release(&w->ctx, &dead, E(w)));
	CHECK(none(w) && ready(w) == LEASE);
	OK(nh_job_renew(&w->ctx, heir.id, heir.claims, LEASE, E(w)));

	/* Given back, it is as if it had never been claimed. */
	OK(nh_job_release(&w->ctx, &heir, E(w)));
	CHECK(claim(w, &heir) == NH_OK && heir.attempts == 2);
	OK(nh_job_done(&w->ctx, &heir, 0, E(w)));
	CHECK_RC(NH_ENOTFOUND, nh_job_renew(&w->ctx, heir.id, heir.claims, LEASE, E(w)));
	return NH_OK;
}

/* A server that starts takes back what its last run held, and nobody else's. */
static nh_rc recovery(struct world *w, struct nh_err *err)
{
	struct nh_job job;
	size_t count = 9;
	OK(add(w, "mine", "", 0));
	OK(add(w, "another's", "", w->now_us + 1));
	w->config.node = NH_LIT("one");
	CHECK(next_is(w, &job, "mine", ""));
	world_pass(w, 1);
	w->config.node = NH_LIT("two");
	CHECK(next_is(w, &job, "another's", ""));
	w->config.node = NH_LIT("one");
	CHECK(none(w));
	OK(nh_job_recover(&w->ctx, &count, E(w)));
	CHECK(count == 1);
	CHECK(next_is(w, &job, "mine", "") && none(w));
	w->config.node = NH_SLICE_EMPTY;
	OK(nh_job_recover(&w->ctx, &count, E(w)));
	CHECK(count == 0);
	return NH_OK;
}

/* ---- periodic ---------------------------------------------------------------------------------------------------------------- */

#define PERIOD (60 * S)

static nh_rc ensure(struct world *w, int64_t latest_us) { return nh_job_ensure(&w->ctx, "tidy", w->now_us, latest_us, E(w)); }

static nh_rc periods(struct world *w, struct nh_err *err)
{
	struct nh_job job;
	bool given_up = true;
	OK(ensure(w, w->now_us + PERIOD));
	OK(ensure(w, w->now_us + PERIOD));
	CHECK(next_is(w, &job, "", "") && nh_slice_eq_str(job.kind, "tidy") && none(w));
	world_pass(w, 7 * S);
	OK(nh_job_done(&w->ctx, &job, PERIOD, E(w)));
	CHECK(ready(w) == PERIOD - 7 * S); /* no drift */

	/* Ten periods of silence are one run, and the beat stays. */
	world_pass(w, ready(w) + 10 * PERIOD + 3 * S);
	CHECK(claim(w, &job) == NH_OK);
	OK(nh_job_done(&w->ctx, &job, PERIOD, E(w)));
	CHECK(none(w) && ready(w) == PERIOD - 3 * S);

	/* A failure comes again after its pause, but never later than with the next period, however often it fails. */
	world_pass(w, ready(w));
	for (int i = 0; i < 10; i++) {
		CHECK(claim(w, &job) == NH_OK && job.attempts == i + 1);
		OK(attempt_fails(w, &job, &(struct nh_job_retry){.period_us = PERIOD, .attempts = 3, .pause_us = 10 * S, .pause_max_us = 1000 * S}, &given_up));
		CHECK(!given_up && ready(w) > 0 && ready(w) <= PERIOD);
		world_pass(w, ready(w));
	}
	CHECK(claim(w, &job) == NH_OK);
	OK(nh_job_done(&w->ctx, &job, PERIOD, E(w)));
	CHECK(ready(w) > 0 && ready(w) <= PERIOD);

	/* A shorter period takes effect, a longer one with the next run. */
	OK(ensure(w, w->now_us + S));
	CHECK(ready(w) == S);
	OK(ensure(w, w->now_us + 100 * PERIOD));
	CHECK(ready(w) == S);

	/* The clock was set back by a day: it does not rest for a day. */
	world_pass(w, S);
	CHECK(claim(w, &job) == NH_OK);
	world_pass(w, -86400 * S);
	OK(nh_job_done(&w->ctx, &job, PERIOD, E(w)));
	CHECK(ready(w) == PERIOD);
	return NH_OK;
}

/* A periodic one that was also asked for while it ran comes at once, and then with its period. */
static nh_rc asked_for(struct world *w, struct nh_err *err)
{
	struct nh_job job;
	OK(ensure(w, w->now_us + PERIOD));
	CHECK(claim(w, &job) == NH_OK);
	OK(nh_job_add(&w->ctx, "tidy", NH_LIT(""), NH_LIT(""), 0, E(w)));
	OK(nh_job_done(&w->ctx, &job, PERIOD, E(w)));
	CHECK(claim(w, &job) == NH_OK);
	OK(nh_job_done(&w->ctx, &job, PERIOD, E(w)));
	CHECK(none(w) && ready(w) == PERIOD);
	OK(nh_job_add(&w->ctx, "tidy", NH_LIT(""), NH_LIT(""), 0, E(w)));
	CHECK(claim(w, &job) == NH_OK);
	return NH_OK;
}

#define TEST(name) \
	static void test_##name(void **state) { on_each_engine(name, NULL); }
TEST(in_order)
TEST(adding_again)
TEST(failures)
TEST(added_during_the_last_attempt)
TEST(pauses_have_a_limit)
TEST(leases)
TEST(recovery)
TEST(periods)
TEST(asked_for)

/* ---- at the same time ------------------------------------------------------------------------------------------------------- */

#define JOBS 40
#define CLAIMERS 4

struct race {
	struct nh_db *db;
	pthread_barrier_t start;
	unsigned seen[JOBS]; /* atomic: claims of each */
	unsigned failures;   /* atomic */
};

static struct nh_ctx context(struct nh_tx *tx, struct nh_arena *arena)
{
	static const struct nh_hub_config config;
	return (struct nh_ctx){.tx = tx, .arena = arena, .clock = &nh_clock_system, .rng = &nh_rng_system, .config = &config};
}

static nh_rc add_all(struct nh_tx *tx, void *arg, struct nh_err *err)
{
	NH_AUTO_ARENA struct nh_arena arena = NH_ARENA_INIT;
	struct nh_ctx ctx = context(tx, &arena);
	for (int i = 0; i < JOBS; i++)
		NH_TRY(nh_job_add(&ctx, "deliver", nh_slice_str(nh_arena_printf(&arena, "%d", i)), NH_LIT(""), 0, err));
	return NH_OK;
}

static nh_rc claim_one(struct nh_tx *tx, void *arg, struct nh_err *err)
{
	NH_AUTO_ARENA struct nh_arena arena = NH_ARENA_INIT;
	struct nh_ctx ctx = context(tx, &arena);
	struct nh_job job;
	uint64_t number = 0;
	NH_TRY(nh_job_claim(&ctx, KINDS, LEASE, &job, err));
	NH_TRY(nh_parse_u64(job.key, 0, JOBS - 1, &number));
	*(int64_t *)arg = (int64_t)number;
	return NH_OK;
}

static nh_rc any_left(struct nh_tx *tx, void *arg, struct nh_err *err)
{
	NH_AUTO_ARENA struct nh_arena arena = NH_ARENA_INIT;
	struct nh_ctx ctx = context(tx, &arena);
	int64_t ready_us = 0;
	nh_rc rc = nh_job_next(&ctx, KINDS, &ready_us, err);
	*(bool *)arg = rc == NH_OK && ready_us <= nh_now_us();
	return rc == NH_ENOTFOUND ? NH_OK : rc;
}

static void *claimer(void *arg)
{
	struct race *race = arg;
	bool left = true;
	pthread_barrier_wait(&race->start);
	while (left) {
		int64_t number = -1;
		nh_rc rc = nh_db_write(race->db, claim_one, &number, NULL);
		if (rc == NH_OK)
			__atomic_fetch_add(&race->seen[number], 1, __ATOMIC_RELAXED);
		else if (rc != NH_ENOTFOUND && rc != NH_EAGAIN)
			__atomic_fetch_add(&race->failures, 1, __ATOMIC_RELAXED);
		left = nh_db_read(race->db, any_left, &left, NULL) == NH_OK && left;
	}
	return NULL;
}

static void test_claims_at_once(void **state)
{
	FOR_EACH_ENGINE(db) {
		struct race race = {.db = db};
		pthread_t threads[CLAIMERS];
		assert_int_equal(nh_db_write(db, add_all, NULL, NULL), NH_OK);
		pthread_barrier_init(&race.start, NULL, CLAIMERS);
		for (int i = 0; i < CLAIMERS; i++)
			assert_int_equal(pthread_create(&threads[i], NULL, claimer, &race), 0);
		for (int i = 0; i < CLAIMERS; i++)
			pthread_join(threads[i], NULL);
		pthread_barrier_destroy(&race.start);
		assert_int_equal(race.failures, 0);
		for (int i = 0; i < JOBS; i++)
			assert_int_equal(race.seen[i], 1);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_in_order), cmocka_unit_test(test_adding_again), cmocka_unit_test(test_failures), cmocka_unit_test(test_added_during_the_last_attempt),
		cmocka_unit_test(test_pauses_have_a_limit), cmocka_unit_test(test_leases), cmocka_unit_test(test_recovery), cmocka_unit_test(test_periods), cmocka_unit_test(test_asked_for),
		cmocka_unit_test(test_claims_at_once),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
