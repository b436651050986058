/*
 * The scheduler of a simulated server: claims what is due, runs it, says how it went, and dies in between like everything else. The kinds that concern rollouts; the hub's functions do
 * what they do in a server.
 *
 * source: src/nerveshubd/scheduler.c
 */
#include "hub/jobs.h"

#include "base/encode.h"
#include "hub/deltas.h"
#include "hub/extensions.h"
#include "hub/rollouts.h"
#include "simulate_int.h"

#define LEASE_US SIM_MINUTE
#define LOOK_US (30 * SIM_S) /* at least: another server may have added some, the clock may have been set */
#define DELTA_OVERDUE_US ((960 + 300) * SIM_S)
#define EXPIRY_EVEN_US (35 * SIM_MINUTE)

struct job_call {
	struct sim *s;
	struct sim_node *node;
	struct nh_job job;
	char key[256], kind[64];
	bool more;
	const struct kind *which;
	struct nh_rollout_prepare prepare;
};

struct kind {
	const char *name;
	int64_t period_us; /* 0: on demand */
	bool at_start, forecast; /* forecast: of use where nobody judges */
	nh_rc (*run)(struct nh_ctx *ctx, struct job_call *call, struct nh_err *err); /* one transaction; sets more where another is needed */
};

static nh_rc run_rounds(struct nh_ctx *ctx, struct job_call *call, struct nh_err *err)
{
	int64_t ids[64];
	size_t count = 0;
	NH_TRY(nh_orchestrator_groups(ctx, 0, ids, NH_ARRAY_LEN(ids), &count, err));
	for (size_t i = 0; i < count; i++)
		nh_effect_add(ctx, NH_EFFECT_GROUP_WAKE, ids[i], NH_SLICE_EMPTY, NH_SLICE_EMPTY);
	return NH_OK;
}

static nh_rc run_reminders(struct nh_ctx *ctx, struct job_call *call, struct nh_err *err)
{
	size_t reminded = 0;
	return nh_orchestrator_remind(ctx, &reminded, err);
}

/* After its clock was set all that is under way may look overdue; what really is will be so in half an hour, too. */
static nh_rc run_expiry(struct nh_ctx *ctx, struct job_call *call, struct nh_err *err)
{
	size_t expired = 0;
	if (call->node->stepped_us && call->s->now_us - call->node->stepped_us < EXPIRY_EVEN_US)
		return NH_OK;
	NH_TRY(nh_orchestrator_expire(ctx, &expired, err));
	call->s->result->expired += expired;
	return NH_OK;
}

static nh_rc run_telemetry(struct nh_ctx *ctx, struct job_call *call, struct nh_err *err)
{
	static const struct nh_retention keep = {.health_days = 7, .log_days = 3, .connection_days = 30};
	size_t trimmed = 0;
	NH_TRY(nh_telemetry_trim(ctx, &keep, &trimmed, err));
	call->more = trimmed > 0;
	return NH_OK;
}

static nh_rc run_due(struct nh_ctx *ctx, struct job_call *call, struct nh_err *err)
{
	size_t count = 0;
	NH_TRY(nh_rollout_due(ctx, &count, err));
	call->more = count >= 200;
	return NH_OK;
}

static nh_rc run_wave(struct nh_ctx *ctx, struct job_call *call, struct nh_err *err)
{
	NH_TRY(nh_rollout_prepare(ctx, &call->prepare, err));
	call->more = !call->prepare.done;
	return NH_OK;
}

static nh_rc run_delta_expiry(struct nh_ctx *ctx, struct job_call *call, struct nh_err *err)
{
	size_t count = 0;
	NH_TRY(nh_deltas_expire(ctx, nh_ctx_now(ctx) - DELTA_OVERDUE_US, &count, err));
	call->more = count > 0;
	return NH_OK;
}

static nh_rc run_audit_log(struct nh_ctx *ctx, struct job_call *call, struct nh_err *err) { return sim_chain_seal(ctx, &call->more, err); }

static const struct kind kinds[] = {
	{"rounds", NH_ORCHESTRATOR_INTERVAL_MS * NH_US_PER_MS, true, true, run_rounds},
	{"reminders", NH_REMIND_EVERY_MS * NH_US_PER_MS, false, true, run_reminders},
	{"expiry", 5 * SIM_MINUTE, false, true, run_expiry},
	{"telemetry", 10 * SIM_MINUTE, true, true, run_telemetry},
	{"rollout-due", SIM_MINUTE, true, true, run_due},
	{"delta-expiry", 5 * SIM_MINUTE, true, false, run_delta_expiry},
	{"audit-log", 3 * SIM_MINUTE, true, false, run_audit_log},
	{"rollout-wave", 0, false, true, run_wave},
};
#define ALL " rounds reminders expiry telemetry rollout-due rollout-wave delta-expiry audit-log "

static void copy(char *to, size_t size, nh_slice from)
{
	size_t n = from.len < size - 1 ? from.len : size - 1;
	for (size_t i = 0; i < n; i++)
		to[i] = (char)from.ptr[i];
	to[n] = 0;
}

static nh_rc claim_tx(struct nh_ctx *ctx, struct sim *s, void *arg, struct nh_err *err)
{
	struct job_call *call = arg;
	NH_TRY(nh_job_claim(ctx, ALL, LEASE_US, &call->job, err));
	copy(call->key, sizeof call->key, call->job.key);
	copy(call->kind, sizeof call->kind, call->job.kind);
	call->job.kind = nh_slice_str(call->kind);
	call->job.key = nh_slice_str(call->key);
	call->job.payload = NH_LIT("");
	return NH_OK;
}

static nh_rc run_tx(struct nh_ctx *ctx, struct sim *s, void *arg, struct nh_err *err)
{
	struct job_call *call = arg;
	return call->which->run(ctx, call, err);
}

static nh_rc done_tx(struct nh_ctx *ctx, struct sim *s, void *arg, struct nh_err *err)
{
	struct job_call *call = arg;
	return nh_job_done(ctx, &call->job, call->which->period_us, err);
}

/* "RELEASE/WAVE" */
static void read_key(struct job_call *call)
{
	nh_slice release, wave;
	nh_slice_cut(nh_slice_str(call->key), '/', &release, &wave);
	NH_IGNORE(nh_parse_i64(release, 0, INT64_MAX, &call->prepare.release_id)); /* another kind's */
	NH_IGNORE(nh_parse_i64(wave, 0, INT64_MAX, &call->prepare.wave));
}

/* One job to its end. NH_ENOTFOUND: there was none. */
static nh_rc run_one(struct sim *s, struct sim_node *node, struct nh_err *err)
{
	struct job_call call = {.s = s, .node = node};
	uint64_t epoch = node->epoch;
	NH_TRY(sim_write(s, node, claim_tx, &call, err));
	for (size_t i = 0; i < NH_ARRAY_LEN(kinds); i++)
		if (nh_slice_eq_str(call.job.kind, kinds[i].name))
			call.which = &kinds[i];
	NH_ASSERT(call.which);
	read_key(&call);
	nh_rc rc = NH_OK;
	do {
		if (!node->alive || node->epoch != epoch)
			return NH_ECLOSED;
		rc = sim_write(s, node, run_tx, &call, err);
	} while (rc == NH_OK && call.more);
	sim_note(s, "server %zu runs job %s %s: %s", node->index, call.kind, call.key, nh_rc_name(rc));
	if (rc != NH_OK || !node->alive || node->epoch != epoch)
		return rc;
	if (call.which->run == run_audit_log)
		NH_TRY(sim_judge_chains(s, node, false, err));
	return sim_write(s, node, done_tx, &call, err);
}

static nh_rc next_tx(struct nh_ctx *ctx, struct sim *s, void *arg, struct nh_err *err) { return nh_job_next(ctx, ALL, arg, err); }

static nh_rc on_jobs(struct sim *s, const struct sim_event *e, struct nh_err *err);

static void plan(struct sim *s, struct sim_node *node, int64_t at_us)
{
	if (!node->alive || (node->jobs_due_us && node->jobs_due_us <= at_us))
		return;
	node->jobs_due_us = at_us;
	sim_at(s, at_us, on_jobs, node->index, node->epoch, at_us, NH_SLICE_EMPTY);
}

/* All that may run now, then again when the next one may. */
static nh_rc on_jobs(struct sim *s, const struct sim_event *e, struct nh_err *err)
{
	struct sim_node *node = &s->nodes[e->who];
	NH_AUTO_ARENA struct nh_arena arena = NH_ARENA_INIT;
	struct nh_effects effects = {0};
	int64_t ready_us = 0;
	nh_rc rc = NH_OK;
	if (!node->alive || node->epoch != e->serial || node->jobs_due_us != e->number)
		return NH_OK;
	node->jobs_due_us = 0;
	while (rc == NH_OK && node->alive && node->epoch == e->serial)
		rc = run_one(s, node, err);
	NH_TRY(sim_answer(rc));
	if (!node->alive || node->epoch != e->serial)
		return NH_OK;
	rc = sim_read(s, node, next_tx, &ready_us, &effects, &arena, err);
	NH_TRY(sim_answer(rc));
	int64_t at = rc == NH_OK ? ready_us - node->skew_us : INT64_MAX, latest = s->now_us + LOOK_US;
	plan(s, node, at > latest ? latest : at > s->now_us ? at : s->now_us + 10 * NH_US_PER_MS);
	return NH_OK;
}

void sim_jobs_wake(struct sim *s, struct sim_node *node) { plan(s, node, s->now_us + 10 * NH_US_PER_MS); }

struct ensure {
	bool start;
};

static nh_rc ensure_tx(struct nh_ctx *ctx, struct sim *s, void *arg, struct nh_err *err)
{
	const struct ensure *e = arg;
	int64_t now = nh_ctx_now(ctx);
	for (size_t i = 0; i < NH_ARRAY_LEN(kinds); i++) {
		int64_t latest = e->start && kinds[i].at_start ? now : now + kinds[i].period_us;
		if (kinds[i].period_us && (kinds[i].forecast || !s->lean))
			NH_TRY(nh_job_ensure(ctx, kinds[i].name, now, latest, err));
	}
	return NH_OK;
}

nh_rc sim_jobs_round(struct sim *s, struct sim_node *node, struct nh_err *err)
{
	struct ensure e = {0};
	NH_TRY(sim_write(s, node, ensure_tx, &e, err));
	sim_jobs_wake(s, node);
	return NH_OK;
}

static nh_rc recover_tx(struct nh_ctx *ctx, struct sim *s, void *arg, struct nh_err *err) { return nh_job_recover(ctx, arg, err); }

nh_rc sim_jobs_start(struct sim *s, struct sim_node *node, struct nh_err *err)
{
	size_t count = 0;
	struct ensure e = {true};
	node->jobs_due_us = 0;
	NH_TRY(sim_write(s, node, recover_tx, &count, err));
	NH_TRY(sim_write(s, node, ensure_tx, &e, err));
	sim_jobs_wake(s, node);
	return NH_OK;
}
