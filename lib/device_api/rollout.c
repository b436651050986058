/*
 * Runs the orchestrator for groups that were woken: one timer on one loop looks at them, runs each at most once in NH_ORCHESTRATOR_DEBOUNCE_MS and never twice at once. A timer of each process,
 * since who is woken here is told here, and a run costs little where another server was first. What comes by the clock is jobs of the scheduler. The decisions are hub/orchestrator.h's.
 *
 * source: reference/server-behaviour "3.8"
 */
#include "hub/orchestrator.h"

#include <semaphore.h>
#include <stdlib.h>

#include "base/log.h"
#include "device_api_int.h"

#define TICK_MS 100

/* ---- jobs -------------------------------------------------------------------------------------------------------------- */

struct job {
	struct nh_work work;
	struct rollout *rollout;
	int64_t group_id;
	bool again; /* some time: the debounce passes first */
	bool full;  /* at once: the run ended because it had sent all that one may send */
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
	call->job->full = result.sent >= NH_ORCHESTRATOR_BATCH;
	if (result.sent || result.penalized)
		NH_LOG(NH_LOG_INFO, "rollout.run", NH_I("group", call->job->group_id), NH_I("sent", result.sent), NH_I("penalized", result.penalized), NH_I("inflight", result.inflight));
	return NH_OK;
}

static void job_run(void *worker, struct nh_work *work)
{
	struct job *job = (struct job *)(void *)work;
	struct nh_device_api *api = job->rollout->api;
	struct nh_err err = NH_ERR_INIT;
	struct nh_effects effects = {0};
	NH_AUTO_ARENA struct nh_arena arena = NH_ARENA_INIT;
	struct call call = {api, job, &arena, &effects};
	struct nh_log_scope scope = NH_LOG_SCOPE_I("group", job->group_id);
	nh_log_enter(&scope);
	if (nh_db_write(api->config.db, run_group_tx, &call, &err) == NH_OK)
		nh_device_api_effects(api, &effects);
	else
		NH_LOG(NH_LOG_WARN, "rollout.failed", NH_I("group", job->group_id), NH_STR("why", err.msg));
	nh_log_leave(&scope);
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
	struct rollout_group *group = group_of(r, job->group_id);
	group->running = false;
	group->wanted = group->wanted || job->again;
	if (job->full)
		group->not_before_ms = 0;
	free(job);
}

/* False: the queue is full; the next tick tries again. */
static bool submit(struct rollout *r, int64_t group_id)
{
	struct job *job = nh_xcalloc(1, sizeof *job);
	*job = (struct job){.work = {.run = job_run, .done = job_done}, .rollout = r, .group_id = group_id};
	if (nh_work_submit(r->api->config.pool, r->loop, &job->work) == NH_OK)
		return true;
	free(job);
	return false;
}

/* ---- the timer --------------------------------------------------------------------------------------------------------- */

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
		group->running = submit(r, group->id);
		group->wanted = !group->running;
		group->not_before_ms = now + NH_ORCHESTRATOR_DEBOUNCE_MS;
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
	/* A full mailbox loses nothing for good: the next round (a job of the scheduler) wakes every active group. */
	if (nh_loop_post(r->loop, on_wake, wake) != NH_OK)
		free(wake);
}

/* ---- start and stop ---------------------------------------------------------------------------------------------------- */

static void start_on_loop(void *arg)
{
	struct rollout *r = arg;
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
