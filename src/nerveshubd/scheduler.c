/*
 * The scheduler: the table of kinds, and the threads that claim jobs and run them. Of a lane's idle threads one watches: it claims what is due, or sleeps until something is or somebody wakes it;
 * with a job in hand it leaves the watch to the next. One more thread keeps the leases of what runs, and the rows of the periodic kinds.
 *
 * What a job may do, when it is due again and when it is given up are rules of hub/jobs.h.
 */
#include "scheduler.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <time.h>

#include "base/file.h"
#include "base/log.h"
#include "base/thread.h"
#include "delta_jobs.h"
#include "hub/deltas.h"
#include "hub/orchestrator.h"
#include "hubd.h"

/* ---- kinds ------------------------------------------------------------------------------------------------------------------ */

#define SECOND_MS UINT64_C(1000)
#define MINUTE_MS (60 * SECOND_MS)
#define HOUR_MS (60 * MINUTE_MS)
#define DAY_MS (24 * HOUR_MS)

struct job_kind {
	const char *name;     /* [a-z-]+, for ever: it is in databases */
	job_lane lane;
	uint64_t period_ms;   /* 0: on demand */
	unsigned attempts;    /* of a job on demand, then it is given up and stays to be seen; 0 = tried for ever. A periodic one comes again with its next period anyway */
	uint64_t pause_ms;    /* after the first failure, doubled with each further one … */
	uint64_t pause_max_ms;/* … up to this */
	bool at_start;        /* a periodic one: also whenever a server starts, for a crash may have lost what it looks for */
	job_run run;
	uint64_t (*period_of)(const struct settings *s); /* where a setting says the period; else NULL */
};

static uint64_t rounds_ms(const struct settings *s) { return s->orchestrator_interval_ms ? s->orchestrator_interval_ms : NH_ORCHESTRATOR_INTERVAL_MS; }

/*
 * All of them. "telemetry, a minute" reads: one server of those that share the database looks each minute for telemetry that is too old.
 * source: reference/server-behaviour "11"
 */
static const struct job_kind kinds[] = {
	/* name          lane          period                  attempts  pause           longest pause    at start */
	{"rounds",       LANE_SHORT,   0,                      0,        5 * SECOND_MS,  MINUTE_MS,       true,  job_rounds, rounds_ms},
	{"reminders",    LANE_SHORT,   NH_REMIND_EVERY_MS,     0,        5 * SECOND_MS,  MINUTE_MS,       false, job_reminders},
	{"expiry",       LANE_SHORT,   5 * MINUTE_MS,          0,        5 * SECOND_MS,  MINUTE_MS,       false, job_expiry},
	{"telemetry",    LANE_SHORT,   MINUTE_MS,              0,        10 * SECOND_MS, 10 * MINUTE_MS,  true,  job_telemetry},
	{"files",        LANE_SHORT,   MINUTE_MS,              0,        10 * SECOND_MS, 10 * MINUTE_MS,  true,  job_files},
	{"links",        LANE_SHORT,   MINUTE_MS,              0,        10 * SECOND_MS, 10 * MINUTE_MS,  true,  job_links},
	{"webhooks",     LANE_SHORT,   MINUTE_MS,              0,        10 * SECOND_MS, 10 * MINUTE_MS,  true,  job_webhooks},
	{"objects",      LANE_OUTSIDE, MINUTE_MS,              0,        10 * SECOND_MS, 10 * MINUTE_MS,  true,  job_sweep},
	{"deleted-devices", LANE_SHORT, 15 * MINUTE_MS,        0,        10 * SECOND_MS, 10 * MINUTE_MS,  true,  job_deleted_devices},
	{"rollout-wave", LANE_LONG,    0,                      0,        5 * SECOND_MS,  MINUTE_MS,       false, job_rollout_wave},
	{"rollout-due",  LANE_SHORT,   30 * SECOND_MS,         0,        5 * SECOND_MS,  MINUTE_MS,       false, job_rollout_due},
	{"membership",   LANE_SHORT,   0,                      5,        5 * SECOND_MS,  MINUTE_MS,       false, job_membership},
	{NH_DELTA_JOB,   LANE_DELTAS,   0,                      DELTA_ATTEMPTS, 10 * SECOND_MS, 5 * MINUTE_MS, false, job_delta_build},
	{"delta-expiry", LANE_SHORT,   MINUTE_MS,              0,        10 * SECOND_MS, 10 * MINUTE_MS,  true,  job_delta_expiry},
	{"audit-log",    LANE_SHORT,   5 * SECOND_MS,          0,        5 * SECOND_MS,  MINUTE_MS,       true,  job_audit_log},
	{"audit-retention", LANE_SHORT, HOUR_MS,               0,        MINUTE_MS,      HOUR_MS,         false, job_audit_retention},
	{"certificates", LANE_SHORT,   DAY_MS,                 0,        MINUTE_MS,      HOUR_MS,         true,  job_certificates},
};

#define KINDS NH_ARRAY_LEN(kinds)

/* How many jobs of a lane one server runs at a time. */
static const struct {
	const char *thread;
	unsigned threads;
} lanes[LANE_COUNT] = {
	[LANE_SHORT] = {"jobs", 2},
	[LANE_LONG] = {"jobs-long", 1},
	[LANE_DELTAS] = {"jobs-deltas", 0}, /* a setting says how many */
	[LANE_OUTSIDE] = {"jobs-outside", 4},
};

#define THREADS_MAX SCHEDULER_THREADS
#define POLL_US (5 * NH_US_PER_S)     /* another server of the database may have added some */
#define POLL_ALONE_US (30 * NH_US_PER_S) /* nobody else can; the clock may have been set */
#define OUTAGE_SLEEP_US NH_US_PER_S
#define ENSURE_EVERY_MS MINUTE_MS
#define PERIOD_MIN_MS 10
#define LEASE_MIN_MS SECOND_MS

/* ---- the scheduler ---------------------------------------------------------------------------------------------------------- */

/* One job under way: on its thread's stack, in the list while it runs. */
struct running {
	struct running *next;
	int64_t id, claims;
	bool stopping; /* atomic */
};

struct lane {
	struct scheduler *s;
	char names[1024];       /* " kind kind … " of this lane */
	pthread_cond_t changed;
	bool watched, woken;    /* under the lock: a thread waits for what is due; there may be something */
};

struct scheduler {
	struct hubd *h;
	pthread_mutex_t lock;
	pthread_cond_t keeper_changed;
	struct lane lanes[LANE_COUNT];
	struct running *running; /* under the lock */
	pthread_t threads[THREADS_MAX];
	size_t thread_count;
	bool stopping;           /* atomic; set under the lock */
	struct job_stats stats[KINDS]; /* relaxed atomics */
};

static bool stopping(const struct scheduler *s) { return __atomic_load_n(&s->stopping, __ATOMIC_ACQUIRE); }

static size_t kind_of(nh_slice name)
{
	size_t i = 0;
	while (i < KINDS && !nh_slice_eq_str(name, kinds[i].name))
		i++;
	return i;
}

/* Periods and pauses of a test's server pass faster. */
static int64_t scaled_us(const struct hubd *h, uint64_t ms)
{
	uint64_t scaled = ms / h->settings->job_speed;
	return (int64_t)(ms && scaled < PERIOD_MIN_MS ? PERIOD_MIN_MS : scaled) * NH_US_PER_MS;
}

static int64_t period_us(const struct hubd *h, const struct job_kind *kind)
{
	return kind->period_of ? (int64_t)kind->period_of(h->settings) * NH_US_PER_MS : scaled_us(h, kind->period_ms);
}

static uint64_t lease_ms(const struct hubd *h) { return h->settings->job_lease_ms > LEASE_MIN_MS ? h->settings->job_lease_ms : LEASE_MIN_MS; }
static int64_t lease_us(const struct hubd *h) { return (int64_t)lease_ms(h) * NH_US_PER_MS; }

/* ---- transactions ----------------------------------------------------------------------------------------------------------- */

struct call {
	struct hubd *h;
	nh_rc (*fn)(struct nh_ctx *ctx, void *arg, struct nh_err *err);
	void *arg;
	struct nh_arena *arena;
	struct nh_effects effects;
};

static nh_rc call_tx(struct nh_tx *tx, void *arg, struct nh_err *err)
{
	struct call *call = arg;
	call->effects = (struct nh_effects){0};
	struct nh_ctx ctx = {.tx = tx, .arena = call->arena, .clock = &nh_clock_system, .rng = &nh_rng_system, .config = &call->h->hub, .effects = &call->effects};
	return call->fn(&ctx, call->arg, err);
}

static nh_rc call_db(struct hubd *h, bool write, struct nh_arena *arena, nh_rc (*fn)(struct nh_ctx *ctx, void *arg, struct nh_err *err), void *arg, struct nh_err *err)
{
	struct call call = {.h = h, .fn = fn, .arg = arg, .arena = arena};
	NH_TRY((write ? nh_db_write : nh_db_read)(h->db, call_tx, &call, err));
	hubd_carry_out(h, &call.effects);
	return NH_OK;
}

nh_rc job_write(struct hubd *h, nh_rc (*fn)(struct nh_ctx *ctx, void *arg, struct nh_err *err), void *arg, struct nh_err *err)
{
	NH_AUTO_ARENA struct nh_arena arena = NH_ARENA_INIT;
	return call_db(h, true, &arena, fn, arg, err);
}

nh_rc job_read(struct hubd *h, nh_rc (*fn)(struct nh_ctx *ctx, void *arg, struct nh_err *err), void *arg, struct nh_err *err)
{
	NH_AUTO_ARENA struct nh_arena arena = NH_ARENA_INIT;
	return call_db(h, false, &arena, fn, arg, err);
}

/* ---- one job ---------------------------------------------------------------------------------------------------------------- */

/* A claimed job, and what its transactions share. */
struct turn {
	struct scheduler *s;
	struct lane *lane;
	const struct job_kind *kind;
	struct nh_arena arena;
	struct nh_job job;
	int64_t next_us;
	const char *why;
	bool given_up;
};

static nh_rc next_fn(struct nh_ctx *ctx, void *arg, struct nh_err *err)
{
	struct turn *t = arg;
	return nh_job_next(ctx, t->lane->names, &t->next_us, err);
}

static nh_rc claim_fn(struct nh_ctx *ctx, void *arg, struct nh_err *err)
{
	struct turn *t = arg;
	return nh_job_claim(ctx, t->lane->names, lease_us(t->s->h), &t->job, err);
}

static nh_rc done_fn(struct nh_ctx *ctx, void *arg, struct nh_err *err)
{
	struct turn *t = arg;
	return nh_job_done(ctx, &t->job, period_us(t->s->h, t->kind), err);
}

static nh_rc failed_fn(struct nh_ctx *ctx, void *arg, struct nh_err *err)
{
	struct turn *t = arg;
	const struct hubd *h = t->s->h;
	const struct nh_job_retry retry = {.period_us = period_us(h, t->kind), .attempts = t->kind->attempts, .pause_us = scaled_us(h, t->kind->pause_ms), .pause_max_us = scaled_us(h, t->kind->pause_max_ms)};
	return nh_job_failed(ctx, &t->job, &retry, nh_slice_str(t->why), &t->given_up, err);
}

static nh_rc release_fn(struct nh_ctx *ctx, void *arg, struct nh_err *err)
{
	struct turn *t = arg;
	return nh_job_release(ctx, &t->job, err);
}

static void running_add(struct scheduler *s, struct running *r, const struct nh_job *job)
{
	*r = (struct running){.id = job->id, .claims = job->claims};
	pthread_mutex_lock(&s->lock);
	r->stopping = stopping(s);
	r->next = s->running;
	s->running = r;
	pthread_mutex_unlock(&s->lock);
}

static void running_remove(struct scheduler *s, struct running *r)
{
	pthread_mutex_lock(&s->lock);
	struct running **at = &s->running;
	while (*at != r)
		at = &(*at)->next;
	*at = r->next;
	pthread_mutex_unlock(&s->lock);
}

#define STAT(t, field, n) __atomic_fetch_add(&(t)->s->stats[(t)->kind - kinds].field, (n), __ATOMIC_RELAXED)

/* What became of it, written down. Where the database is away the lease ends some time, and the job is done again. */
static void settle(struct turn *t, nh_rc rc, const struct nh_err *why)
{
	struct nh_err err = NH_ERR_INIT;
	struct hubd *h = t->s->h;
	if (rc == NH_OK) {
		STAT(t, done, 1);
		rc = call_db(h, true, &t->arena, done_fn, t, &err);
	} else if (stopping(t->s)) {
		rc = call_db(h, true, &t->arena, release_fn, t, &err);
	} else {
		STAT(t, failed, 1);
		t->why = *why->msg ? why->msg : "it did not say why";
		rc = call_db(h, true, &t->arena, failed_fn, t, &err);
		if (rc == NH_OK && t->given_up)
			STAT(t, given_up, 1);
		NH_LOG(t->given_up ? NH_LOG_ERROR : NH_LOG_WARN, t->given_up ? "job.given_up" : "job.failed", NH_S("kind", t->job.kind), NH_S("key", t->job.key), NH_I("attempts", t->job.attempts),
		       NH_STR("why", t->why));
	}
	if (rc != NH_OK)
		NH_LOG(NH_LOG_WARN, "job.not_noted", NH_S("kind", t->job.kind), NH_S("key", t->job.key), NH_STR("why", err.msg));
}

static void run_claimed(struct turn *t)
{
	struct running running;
	struct nh_err err = NH_ERR_INIT;
	uint64_t from_us = nh_mono_us();
	t->kind = &kinds[kind_of(t->job.kind)];
	running_add(t->s, &running, &t->job);
	t->job.stopping = &running.stopping;
	STAT(t, running, 1);
	nh_rc rc = t->kind->run(t->s->h, &t->job, &err);
	__atomic_fetch_sub(&t->s->stats[t->kind - kinds].running, 1, __ATOMIC_RELAXED);
	STAT(t, busy_us, nh_mono_us() - from_us);
	running_remove(t->s, &running);
	t->job.stopping = NULL;
	NH_LOG(NH_LOG_DEBUG, "job.ran", NH_S("kind", t->job.kind), NH_S("key", t->job.key), NH_I("claim", t->job.claims), NH_I("us", nh_mono_us() - from_us), NH_I("ok", rc == NH_OK));
	settle(t, rc, &err);
}

/* ---- a lane's threads ------------------------------------------------------------------------------------------------------- */

static void until(struct timespec *at, int64_t us)
{
	clock_gettime(CLOCK_MONOTONIC, at);
	at->tv_sec += us / NH_US_PER_S;
	at->tv_nsec += us % NH_US_PER_S * 1000;
	at->tv_sec += at->tv_nsec / 1000000000;
	at->tv_nsec %= 1000000000;
}

/* Claims what is due: 0 with a job in *t; else how long there is nothing to do. Looks before it claims, since looking is no write. */
static int64_t claim(struct turn *t)
{
	struct hubd *h = t->s->h;
	struct nh_err err = NH_ERR_INIT;
	int64_t poll = nh_db_is_postgres(h->db) ? POLL_US : POLL_ALONE_US;
	nh_rc rc = call_db(h, false, &t->arena, next_fn, t, &err);
	if (rc == NH_OK && t->next_us <= nh_now_us()) {
		rc = call_db(h, true, &t->arena, claim_fn, t, &err);
		if (rc == NH_OK)
			return 0;
		if (rc == NH_ENOTFOUND)
			return 1; /* another server was faster: look again */
	}
	if (rc == NH_OK || rc == NH_ENOTFOUND) {
		int64_t wait = rc == NH_OK ? t->next_us - nh_now_us() : poll;
		return wait < NH_US_PER_MS ? NH_US_PER_MS : wait > poll ? poll : wait;
	}
	if (!nh_rc_outage(rc) && rc != NH_EAGAIN)
		NH_LOG(NH_LOG_ERROR, "job.claim_failed", NH_STR("why", err.msg));
	return OUTAGE_SLEEP_US;
}

/* As the lane's watch until there is a job in hand, which then is left to the next. False: the server stops. */
static bool next_job(struct lane *lane, struct turn *t)
{
	struct scheduler *s = lane->s;
	bool got = false;
	pthread_mutex_lock(&s->lock);
	while (lane->watched && !stopping(s))
		pthread_cond_wait(&lane->changed, &s->lock);
	lane->watched = true;
	while (!got && !stopping(s)) {
		struct timespec at;
		lane->woken = false;
		pthread_mutex_unlock(&s->lock);
		int64_t sleep = claim(t);
		got = sleep == 0;
		until(&at, sleep);
		pthread_mutex_lock(&s->lock);
		while (!got && !lane->woken && !stopping(s) && pthread_cond_timedwait(&lane->changed, &s->lock, &at) != ETIMEDOUT)
			;
	}
	lane->watched = false;
	pthread_cond_broadcast(&lane->changed);
	pthread_mutex_unlock(&s->lock);
	return got;
}

static void lane_wake(struct lane *lane)
{
	pthread_mutex_lock(&lane->s->lock);
	lane->woken = true;
	pthread_cond_broadcast(&lane->changed);
	pthread_mutex_unlock(&lane->s->lock);
}

static void *lane_main(void *arg)
{
	struct lane *lane = arg;
	struct scheduler *s = lane->s;
	nh_thread_background(lanes[lane - s->lanes].thread);
	bool more = true;
	while (more) {
		struct turn t = {.s = s, .lane = lane};
		more = next_job(lane, &t);
		if (more) {
			run_claimed(&t);
			lane_wake(lane); /* it may be due before what the watch waits for */
		}
		nh_arena_fini(&t.arena);
	}
	return NULL;
}

void scheduler_wake(struct hubd *h, nh_slice kind)
{
	struct scheduler *s = __atomic_load_n(&h->scheduler, __ATOMIC_ACQUIRE);
	size_t i = kind_of(kind);
	if (s && i < KINDS)
		lane_wake(&s->lanes[kinds[i].lane]);
}

/* ---- the keeper ------------------------------------------------------------------------------------------------------------- */

static nh_rc ensure(struct nh_ctx *ctx, const struct hubd *h, bool start, struct nh_err *err)
{
	int64_t now = nh_ctx_now(ctx);
	for (size_t i = 0; i < KINDS; i++) {
		int64_t period = period_us(h, &kinds[i]);
		if (period > 0)
			NH_TRY(nh_job_ensure(ctx, kinds[i].name, now, start && kinds[i].at_start ? now : now + period, err));
	}
	return NH_OK;
}

static nh_rc ensure_fn(struct nh_ctx *ctx, void *arg, struct nh_err *err) { return ensure(ctx, arg, false, err); }

struct beginning {
	const struct hubd *h;
	size_t recovered;
};

static nh_rc begin_fn(struct nh_ctx *ctx, void *arg, struct nh_err *err)
{
	struct beginning *beginning = arg;
	NH_TRY(nh_job_recover(ctx, &beginning->recovered, err));
	return ensure(ctx, beginning->h, true, err);
}

struct lease {
	struct hubd *h;
	int64_t id, claims;
};

static nh_rc renew_fn(struct nh_ctx *ctx, void *arg, struct nh_err *err)
{
	const struct lease *lease = arg;
	return nh_job_renew(ctx, lease->id, lease->claims, lease_us(lease->h), err);
}

static void lost(struct scheduler *s, const struct lease *lease)
{
	bool found = false;
	pthread_mutex_lock(&s->lock);
	for (struct running *r = s->running; r; r = r->next) {
		if (r->id == lease->id && r->claims == lease->claims) {
			found = true;
			__atomic_store_n(&r->stopping, true, __ATOMIC_RELEASE);
		}
	}
	pthread_mutex_unlock(&s->lock);
	if (found)
		NH_LOG(NH_LOG_WARN, "job.lost", NH_I("job", lease->id), NH_STR("what", "its lease ended before it was renewed, and another server has it"));
}

static void renew_all(struct scheduler *s)
{
	struct lease leases[THREADS_MAX];
	size_t count = 0;
	pthread_mutex_lock(&s->lock);
	for (struct running *r = s->running; r && count < THREADS_MAX; r = r->next)
		leases[count++] = (struct lease){s->h, r->id, r->claims};
	pthread_mutex_unlock(&s->lock);
	for (size_t i = 0; i < count; i++) {
		if (job_write(s->h, renew_fn, &leases[i], NULL) == NH_ENOTFOUND)
			lost(s, &leases[i]);
	}
}

static void *keeper_main(void *arg)
{
	struct scheduler *s = arg;
	uint64_t every_ms = lease_ms(s->h) / 3, renewed_ms = nh_mono_ms(), ensured_ms = renewed_ms;
	nh_thread_background("jobs-keeper");
	pthread_mutex_lock(&s->lock);
	while (!stopping(s)) {
		struct timespec at;
		until(&at, (int64_t)(every_ms < ENSURE_EVERY_MS ? every_ms : ENSURE_EVERY_MS) * NH_US_PER_MS);
		while (!stopping(s) && pthread_cond_timedwait(&s->keeper_changed, &s->lock, &at) != ETIMEDOUT)
			;
		pthread_mutex_unlock(&s->lock);
		if (nh_mono_ms() - renewed_ms >= every_ms) {
			renewed_ms = nh_mono_ms();
			renew_all(s);
		}
		if (nh_mono_ms() - ensured_ms >= ENSURE_EVERY_MS && !stopping(s)) {
			ensured_ms = nh_mono_ms();
			(void)job_write(s->h, ensure_fn, s->h, NULL); /* an outage is told where it is noticed; the next round comes in a minute */
		}
		pthread_mutex_lock(&s->lock);
	}
	pthread_mutex_unlock(&s->lock);
	return NULL;
}

/* ---- start and stop --------------------------------------------------------------------------------------------------------- */

static void name_lanes(struct scheduler *s)
{
	for (size_t l = 0; l < LANE_COUNT; l++) {
		struct nh_buf names = NH_BUF_INIT;
		s->lanes[l].s = s;
		for (size_t i = 0; i < KINDS; i++) {
			if (kinds[i].lane == (job_lane)l)
				nh_buf_printf(&names, " %s", kinds[i].name);
		}
		nh_buf_put_str(&names, " ");
		NH_ASSERT(names.len < sizeof s->lanes[l].names);
		memcpy(s->lanes[l].names, nh_buf_cstr(&names), names.len + 1);
		nh_buf_fini(&names);
	}
}

static struct scheduler *new(struct hubd *h)
{
	struct scheduler *s = nh_xcalloc(1, sizeof *s);
	pthread_condattr_t monotonic;
	s->h = h;
	name_lanes(s);
	for (size_t i = 0; i < KINDS; i++)
		s->stats[i].kind = kinds[i].name;
	pthread_mutex_init(&s->lock, NULL);
	pthread_condattr_init(&monotonic);
	pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
	pthread_cond_init(&s->keeper_changed, &monotonic);
	for (size_t l = 0; l < LANE_COUNT; l++)
		pthread_cond_init(&s->lanes[l].changed, &monotonic);
	pthread_condattr_destroy(&monotonic);
	return s;
}

static nh_rc start_thread(struct scheduler *s, void *(*run)(void *), void *arg, struct nh_err *err)
{
	NH_ASSERT(s->thread_count < THREADS_MAX);
	int failed = pthread_create(&s->threads[s->thread_count], NULL, run, arg);
	if (failed)
		return NH_FAIL(err, nh_rc_from_errno(failed), "cannot start a thread of the scheduler");
	s->thread_count++;
	return NH_OK;
}

nh_rc scheduler_start(struct hubd *h, struct nh_err *err)
{
	struct beginning beginning = {.h = h};
	struct scheduler *s = new(h);
	__atomic_store_n(&h->scheduler, s, __ATOMIC_RELEASE);
	NH_TRY(job_write(h, begin_fn, &beginning, err));
	if (beginning.recovered > 0)
		NH_LOG(NH_LOG_INFO, "job.recovered", NH_I("jobs", beginning.recovered));
	NH_TRY(start_thread(s, keeper_main, s, err));
	for (size_t l = 0; l < LANE_COUNT; l++) {
		for (uint64_t i = 0; i < (lanes[l].threads ? lanes[l].threads : h->settings->delta_workers); i++)
			NH_TRY(start_thread(s, lane_main, &s->lanes[l], err));
	}
	return NH_OK;
}

void scheduler_stop(struct hubd *h)
{
	struct scheduler *s = h->scheduler;
	if (!s)
		return;
	pthread_mutex_lock(&s->lock);
	__atomic_store_n(&s->stopping, true, __ATOMIC_RELEASE);
	for (struct running *r = s->running; r; r = r->next)
		__atomic_store_n(&r->stopping, true, __ATOMIC_RELEASE);
	for (size_t l = 0; l < LANE_COUNT; l++)
		pthread_cond_broadcast(&s->lanes[l].changed);
	pthread_cond_broadcast(&s->keeper_changed);
	pthread_mutex_unlock(&s->lock);
	for (size_t i = 0; i < s->thread_count; i++)
		pthread_join(s->threads[i], NULL);
	s->thread_count = 0;
}

/* After everything that wakes it is gone. */
void scheduler_free(struct hubd *h)
{
	struct scheduler *s = h->scheduler;
	if (!s)
		return;
	scheduler_stop(h);
	h->scheduler = NULL;
	pthread_cond_destroy(&s->keeper_changed);
	for (size_t l = 0; l < LANE_COUNT; l++)
		pthread_cond_destroy(&s->lanes[l].changed);
	pthread_mutex_destroy(&s->lock);
	free(s);
}

/* ---- figures ---------------------------------------------------------------------------------------------------------------- */

_Static_assert(KINDS <= JOB_KINDS_MAX, "a place for the figures of each kind");

size_t scheduler_kinds(void) { return KINDS; }

static nh_rc count_fn(struct nh_ctx *ctx, void *arg, struct nh_err *err)
{
	struct hubd *h = arg;
	struct nh_job_counts *counts = NULL;
	struct job_figures found[KINDS] = {0};
	size_t count = 0;
	NH_TRY(nh_job_counts(ctx, &counts, &count, err));
	for (size_t i = 0; i < count; i++) {
		size_t kind = kind_of(counts[i].kind);
		if (kind < KINDS)
			found[kind] = (struct job_figures){counts[i].waiting, counts[i].running, counts[i].given_up, counts[i].late_us};
	}
	for (size_t i = 0; i < KINDS; i++) {
		__atomic_store_n(&h->figures.jobs[i].waiting, found[i].waiting, __ATOMIC_RELAXED);
		__atomic_store_n(&h->figures.jobs[i].running, found[i].running, __ATOMIC_RELAXED);
		__atomic_store_n(&h->figures.jobs[i].given_up, found[i].given_up, __ATOMIC_RELAXED);
		__atomic_store_n(&h->figures.jobs[i].late_us, found[i].late_us, __ATOMIC_RELAXED);
	}
	return NH_OK;
}

void count_jobs(struct hubd *h) { NH_IGNORE(job_read(h, count_fn, h, NULL)); } /* an outage is told where it is noticed; the figures stay as they were */

void scheduler_stats(const struct hubd *h, size_t kind, struct job_stats *out)
{
	const struct scheduler *s = __atomic_load_n(&h->scheduler, __ATOMIC_ACQUIRE);
	*out = (struct job_stats){.kind = kinds[kind].name};
	if (!s)
		return;
	const struct job_stats *from = &s->stats[kind];
	out->done = __atomic_load_n(&from->done, __ATOMIC_RELAXED);
	out->failed = __atomic_load_n(&from->failed, __ATOMIC_RELAXED);
	out->given_up = __atomic_load_n(&from->given_up, __ATOMIC_RELAXED);
	out->busy_us = __atomic_load_n(&from->busy_us, __ATOMIC_RELAXED);
	out->running = __atomic_load_n(&from->running, __ATOMIC_RELAXED);
}
