/*
 * Drives the orchestrator: one timer on one loop looks at the groups that were woken, runs each at most once in NH_ORCHESTRATOR_DEBOUNCE_MS and
 * never twice at once, wakes all active groups from time to time, and lets overdue updates expire. The decisions are hub/orchestrator.h's.
 *
 * source: reference/server-behaviour "3.8"
 */
#include "hub/orchestrator.h"

#include <semaphore.h>
#include <stdlib.h>

#include "base/log.h"
#include "device_api_int.h"

#define TICK_MS 100
#define EXPIRY_EVERY_MS 300000
#define EXPIRY_EVEN_MS (35 * 60 * 1000) /* the updates' own half hour, and a round */
#define GROUPS_PER_ROUND 256

/* ---- jobs -------------------------------------------------------------------------------------------------------------- */

typedef enum job_kind { RUN_GROUP, ROUND, REMIND, EXPIRE, JOB_KINDS } job_kind;

_Static_assert(JOB_KINDS <= NH_ARRAY_LEN(((struct rollout *)0)->next_ms), "a place for each kind of job");

struct job {
	struct nh_work work;
	struct rollout *rollout;
	job_kind kind;
	int64_t group_id;
	bool again;
	int64_t ids[GROUPS_PER_ROUND];
	size_t count;
};

struct call {
	struct nh_device_api *api;
	struct job *job;
	struct nh_arena *arena;
	struct nh_effects *effects;
};

static nh_rc run_group_tx(struct nh_tx *tx, void *arg, struct nh_err *err)
{
	struct call *call = arg;
	struct nh_orchestrator_result result = {0};
	*call->effects = (struct nh_effects){0};
	struct nh_ctx ctx = device_api_ctx(call->api, tx, call->arena, call->effects);
	NH_TRY(nh_orchestrator_run(&ctx, call->job->group_id, &result, err));
	call->job->again = result.more;
	if (result.sent || result.penalized)
		NH_LOG(NH_LOG_INFO, "rollout.run", NH_I("group", call->job->group_id), NH_I("sent", result.sent), NH_I("penalized", result.penalized), NH_I("inflight", result.inflight));
	return NH_OK;
}

static nh_rc expire_tx(struct nh_tx *tx, void *arg, struct nh_err *err)
{
	struct call *call = arg;
	*call->effects = (struct nh_effects){0};
	/* After the clock was set forward all that is under way looks overdue; what really is will be so in half an hour too. */
	if (!presence_clock_even(&call->api->presence, EXPIRY_EVEN_MS))
		return NH_OK;
	struct nh_ctx ctx = device_api_ctx(call->api, tx, call->arena, call->effects);
	return nh_orchestrator_expire(&ctx, &call->job->count, err);
}

static nh_rc remind_tx(struct nh_tx *tx, void *arg, struct nh_err *err)
{
	struct call *call = arg;
	*call->effects = (struct nh_effects){0};
	struct nh_ctx ctx = device_api_ctx(call->api, tx, call->arena, call->effects);
	return nh_orchestrator_remind(&ctx, &call->job->count, err);
}

/* All active groups, however many: page after page. */
static nh_rc round_tx(struct nh_tx *tx, void *arg, struct nh_err *err)
{
	struct call *call = arg;
	struct nh_ctx ctx = device_api_ctx(call->api, tx, call->arena, NULL);
	return nh_orchestrator_groups(&ctx, call->job->group_id, call->job->ids, GROUPS_PER_ROUND, &call->job->count, err);
}

static void round_all(struct nh_device_api *api, struct call *call)
{
	struct nh_err err = NH_ERR_INIT;
	do {
		if (nh_db_read(api->config.db, round_tx, call, &err) != NH_OK) {
			NH_LOG(NH_LOG_WARN, "rollout.round_failed", NH_STR("why", err.msg));
			return;
		}
		for (size_t i = 0; i < call->job->count; i++) {
			rollout_wake(&api->rollout, call->job->ids[i]);
			call->job->group_id = call->job->ids[i];
		}
	} while (call->job->count == GROUPS_PER_ROUND);
}

static void job_run(void *worker, struct nh_work *work)
{
	struct job *job = (struct job *)(void *)work;
	struct nh_device_api *api = job->rollout->api;
	struct nh_err err = NH_ERR_INIT;
	struct nh_effects effects = {0};
	NH_AUTO_ARENA struct nh_arena arena = NH_ARENA_INIT;
	struct call call = {api, job, &arena, &effects};
	if (job->kind == ROUND) {
		round_all(api, &call);
		return;
	}
	nh_rc rc;
	if (job->kind == REMIND)
		rc = nh_db_read(api->config.db, remind_tx, &call, &err);
	else
		rc = nh_db_write(api->config.db, job->kind == RUN_GROUP ? run_group_tx : expire_tx, &call, &err);
	if (rc == NH_OK && job->kind == REMIND && job->count)
		NH_LOG(NH_LOG_INFO, "rollout.reminded", NH_I("devices", job->count));
	if (rc == NH_OK)
		nh_device_api_effects(api, &effects);
	else
		NH_LOG(NH_LOG_WARN, "rollout.failed", NH_I("group", job->group_id), NH_STR("why", err.msg));
}

static struct rollout_group *group_of(struct rollout *r, int64_t id)
{
	for (size_t i = 0; i < r->count; i++)
		if (r->groups[i].id == id)
			return &r->groups[i];
	if (r->count == r->cap) {
		r->cap = r->cap ? r->cap * 2 : 16;
		r->groups = realloc(r->groups, r->cap * sizeof *r->groups);
		NH_ASSERT(r->groups);
	}
	r->groups[r->count] = (struct rollout_group){.id = id};
	return &r->groups[r->count++];
}

static void job_done(struct nh_work *work)
{
	struct job *job = (struct job *)(void *)work;
	struct rollout *r = job->rollout;
	if (job->kind == RUN_GROUP) {
		struct rollout_group *group = group_of(r, job->group_id);
		group->running = false;
		group->wanted = group->wanted || job->again;
	} else {
		r->running[job->kind] = false;
	}
	free(job);
}

/* False: the queue is full; the next tick tries again. */
static bool submit(struct rollout *r, job_kind kind, int64_t group_id)
{
	struct job *job = nh_xcalloc(1, sizeof *job);
	*job = (struct job){.work = {.run = job_run, .done = job_done}, .rollout = r, .kind = kind, .group_id = group_id};
	if (nh_work_submit(r->api->config.pool, r->loop, &job->work) == NH_OK)
		return true;
	free(job);
	return false;
}

/* ---- the timer --------------------------------------------------------------------------------------------------------- */

static uint64_t interval(const struct rollout *r)
{
	uint64_t ms = r->api->config.orchestrator_interval_ms;
	return (ms ? ms : NH_ORCHESTRATOR_INTERVAL_MS) + nh_rng_below(&nh_rng_system, NH_ORCHESTRATOR_JITTER_MS / 20);
}

static uint64_t every_ms(const struct rollout *r, job_kind kind)
{
	return kind == ROUND ? interval(r) : kind == REMIND ? NH_REMIND_EVERY_MS : EXPIRY_EVERY_MS;
}

static void on_tick(void *arg)
{
	struct rollout *r = arg;
	uint64_t now = nh_loop_now_ms(r->loop);
	if (__atomic_load_n(&r->stopping, __ATOMIC_ACQUIRE))
		return;
	for (size_t i = 0; i < r->count; i++) {
		struct rollout_group *group = &r->groups[i];
		if (!group->wanted || group->running || now < group->not_before_ms)
			continue;
		group->wanted = false;
		group->running = submit(r, RUN_GROUP, group->id);
		group->wanted = !group->running;
		group->not_before_ms = now + NH_ORCHESTRATOR_DEBOUNCE_MS;
	}
	for (job_kind kind = ROUND; kind < JOB_KINDS; kind++) {
		if (now >= r->next_ms[kind] && !r->running[kind] && (r->running[kind] = submit(r, kind, 0)))
			r->next_ms[kind] = now + every_ms(r, kind);
	}
}

struct wake {
	struct rollout *rollout;
	int64_t group_id;
};

static void on_wake(void *arg)
{
	struct wake *wake = arg;
	if (wake->rollout->timer)
		group_of(wake->rollout, wake->group_id)->wanted = true;
	free(wake);
}

void rollout_wake(struct rollout *r, int64_t group_id)
{
	if (!r->loop)
		return;
	struct wake *wake = nh_xcalloc(1, sizeof *wake);
	*wake = (struct wake){r, group_id};
	/* A full mailbox loses nothing for good: the next round wakes every active group. */
	if (nh_loop_post(r->loop, on_wake, wake) != NH_OK)
		free(wake);
}

/* ---- start and stop ---------------------------------------------------------------------------------------------------- */

static void start_on_loop(void *arg)
{
	struct rollout *r = arg;
	for (job_kind kind = REMIND; kind < JOB_KINDS; kind++)
		r->next_ms[kind] = nh_loop_now_ms(r->loop) + every_ms(r, kind);
	r->timer = nh_timer_new(r->loop, on_tick, r);
	nh_timer_start(r->timer, TICK_MS, TICK_MS);
}

nh_rc rollout_start(struct rollout *r, struct nh_device_api *api, struct nh_loop *loop, struct nh_err *err)
{
	*r = (struct rollout){.api = api, .loop = loop};
	nh_rc rc = nh_loop_post(loop, start_on_loop, r);
	return rc == NH_OK ? NH_OK : NH_FAIL(err, rc, "cannot start the orchestrator's timer");
}

struct stop {
	struct rollout *rollout;
	sem_t done;
};

static void stop_on_loop(void *arg)
{
	struct stop *stop = arg;
	nh_timer_close(stop->rollout->timer);
	stop->rollout->timer = NULL;
	sem_post(&stop->done);
}

void rollout_stop(struct rollout *r)
{
	if (!r->loop)
		return;
	struct stop stop = {.rollout = r};
	sem_init(&stop.done, 0, 0);
	__atomic_store_n(&r->stopping, true, __ATOMIC_RELEASE);
	struct nh_message message = {.fn = stop_on_loop, .arg = &stop};
	nh_loop_send(r->loop, &message);
	while (sem_wait(&stop.done) != 0)
		continue;
	sem_destroy(&stop.done);
}
