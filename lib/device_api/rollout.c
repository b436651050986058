/*
 * Runs the orchestrator for groups that were woken: one timer on one loop looks at them, runs each at most once in NH_ORCHESTRATOR_DEBOUNCE_MS and never twice at once. A timer of each process,
 * since who is woken here is told here, and a run costs little where another server was first. What comes by the clock is jobs of the scheduler. The decisions are hub/orchestrator.h's.
 *
 * source: reference/server-behaviour "3.8"
 */
#include <semaphore.h>
#include <stdlib.h>

#include "base/log.h"
#include "device_api_int.h"

#define TICK_MS 100
#define LOOKS_APART 20

/* ---- jobs -------------------------------------------------------------------------------------------------------------- */

struct job {
	struct nh_work work;
	struct rollout *rollout;
	int64_t group_id;
	bool going_on; /* at the cursor */
	struct nh_orchestrator_cursor cursor;
	struct nh_orchestrator_result result; /* zero: it failed */
};

struct call {
	struct nh_device_api *api;
	struct job *job;
	struct nh_arena *arena;
	struct nh_effects *effects;
	struct nh_orchestrator_result result;
};

static nh_rc run_group_tx(struct nh_tx *tx, void *arg, struct nh_err *err)
{
	struct call *call = arg;
	*call->effects = (struct nh_effects){0};
	struct nh_ctx ctx = device_api_ctx(call->api, tx, call->arena, call->effects);
	return nh_orchestrator_go_on(&ctx, call->job->group_id, &call->job->cursor, &call->result, err);
}

static void job_ran(struct call *call)
{
	const struct nh_orchestrator_result *r = &call->result;
	call->job->result = *r;
	if (r->sent || r->penalized)
		NH_LOG(NH_LOG_INFO, "rollout.run", NH_I("group", call->job->group_id), NH_I("release", r->release_id), NH_I("rollout", r->rollout_id), NH_I("sent", r->sent),
		       NH_I("penalized", r->penalized), NH_I("inflight", r->inflight));
	nh_device_api_effects(call->api, call->effects);
}

static void job_run(void *worker, struct nh_work *work)
{
	struct job *job = (struct job *)(void *)work;
	struct nh_device_api *api = job->rollout->api;
	struct nh_err err = NH_ERR_INIT;
	struct nh_effects effects = {0};
	NH_AUTO_ARENA struct nh_arena arena = NH_ARENA_INIT;
	struct call call = {.api = api, .job = job, .arena = &arena, .effects = &effects};
	struct nh_log_scope scope = NH_LOG_SCOPE_I("group", job->group_id);
	nh_log_enter(&scope);
	if (nh_db_write(api->config.db, run_group_tx, &call, &err) == NH_OK)
		job_ran(&call);
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
	uint64_t now = nh_loop_now_ms(r->loop);
	group->running = false;
	group->full = job->result.sent >= NH_ORCHESTRATOR_BATCH;
	group->cursor = job->result.cursor;
	group->wanted = group->wanted || (job->result.more && !group->full);
	/* With very many in flight a look from the beginning takes long: while there is enough to send, a twentieth of the time is spent on those. */
	if (group->full && !job->going_on && now + LOOKS_APART * (now - group->begun_ms) > group->not_before_ms)
		group->not_before_ms = now + LOOKS_APART * (now - group->begun_ms);
	free(job);
}

/* False: the queue is full; the next tick tries again. */
static bool submit(struct rollout *r, const struct rollout_group *group, bool going_on)
{
	struct job *job = nh_xcalloc(1, sizeof *job);
	*job = (struct job){.work = {.run = job_run, .done = job_done}, .rollout = r, .group_id = group->id, .going_on = going_on};
	if (going_on)
		job->cursor = group->cursor;
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
		bool anew = group->wanted && now >= group->not_before_ms;
		if (group->running || (!anew && !group->full))
			continue;
		group->running = submit(r, group, !anew);
		if (!anew || !group->running)
			continue;
		group->wanted = false;
		group->begun_ms = now;
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
