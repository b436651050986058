/*
 * Builders of deltas in simulated servers: one build at a time, which takes its time under a lease, fails, takes too long, or dies with its server. What is built is a row; nobody reads a byte of it.
 *
 * source: src/nerveshubd/delta_jobs.c, src/nerveshubd/scheduler.c
 */
#include "hub/deltas.h"

#include <stdio.h>

#include "base/encode.h"
#include "hub/jobs.h"
#include "simulate_int.h"

#define KINDS " " NH_DELTA_JOB " "
#define LEASE_US SIM_MINUTE
#define STEP_US (20 * SIM_S)
#define LOOK_US (30 * SIM_S)
#define ATTEMPTS 3
#define TIMEOUT_US (960 * SIM_S) /* of a build, as a server has it where nobody sets it */

typedef enum outcome { BUILT, PASSING, HOPELESS, TOO_SLOW } outcome;

/* A build under way, or what comes of it. */
struct build {
	struct sim *s;
	struct nh_job job;
	struct nh_delta delta; /* its texts: below */
	char key[32], source[NH_UUID_TEXT_LEN + 1], target[NH_UUID_TEXT_LEN + 1];
	outcome outcome;
	nh_delta_status status;
	bool given_up;
};

static nh_rc on_builder(struct sim *s, const struct sim_event *e, struct nh_err *err);
static nh_rc on_build(struct sim *s, const struct sim_event *e, struct nh_err *err);

static bool lives(const struct sim_node *node, uint64_t epoch) { return node->alive && node->epoch == epoch; }

/* ---- transactions -------------------------------------------------------------------------------------------------------------- */

static nh_rc claim_tx(struct nh_ctx *ctx, struct sim *s, void *arg, struct nh_err *err)
{
	struct build *b = arg;
	NH_TRY(nh_job_claim(ctx, KINDS, LEASE_US, &b->job, err));
	snprintf(b->key, sizeof b->key, "%.*s", NH_ARG(b->job.key));
	return NH_OK;
}

static nh_rc begin_tx(struct nh_ctx *ctx, struct sim *s, void *arg, struct nh_err *err)
{
	struct build *b = arg;
	int64_t id = 0;
	NH_TRY(nh_parse_i64(nh_slice_str(b->key), 1, INT64_MAX, &id));
	NH_TRY(nh_delta_begin(ctx, id, &b->delta, err));
	snprintf(b->source, sizeof b->source, "%.*s", NH_ARG(b->delta.source_uuid));
	snprintf(b->target, sizeof b->target, "%.*s", NH_ARG(b->delta.target_uuid));
	b->delta = (struct nh_delta){.id = id, .org_id = b->delta.org_id, .product_id = b->delta.product_id, .source_id = b->delta.source_id, .target_id = b->delta.target_id,
				     .source_file_bytes = b->delta.source_file_bytes, .target_file_bytes = b->delta.target_file_bytes};
	return NH_OK;
}

static nh_rc renew_tx(struct nh_ctx *ctx, struct sim *s, void *arg, struct nh_err *err)
{
	const struct build *b = arg;
	return nh_job_renew(ctx, b->job.id, b->job.claims, LEASE_US, err);
}

/* The claim of the object and the row that makes it a delta: two transactions in a server, and the death in between leaves a loose object, which is swept up. */
static nh_rc publish_tx(struct nh_ctx *ctx, struct sim *s, void *arg, struct nh_err *err)
{
	struct build *b = arg;
	struct nh_delta_built built = {.checksum = NH_LIT("FEDCBA"), .partials = NH_LIT("[]"), .tool_metadata = NH_LIT("{}"), .required_version = NH_LIT("1.13.0"), .size_bytes = 100000};
	NH_TRY(nh_delta_claim(ctx, &b->delta, &built.object_key, err));
	return nh_delta_publish(ctx, &b->delta, &built, err);
}

static nh_rc give_up_tx(struct nh_ctx *ctx, struct sim *s, void *arg, struct nh_err *err)
{
	const struct build *b = arg;
	return nh_delta_give_up(ctx, b->delta.id, b->status, NH_LIT("because"), err);
}

static nh_rc done_tx(struct nh_ctx *ctx, struct sim *s, void *arg, struct nh_err *err) { return nh_job_done(ctx, &((struct build *)arg)->job, 0, err); }

static nh_rc failed_tx(struct nh_ctx *ctx, struct sim *s, void *arg, struct nh_err *err)
{
	static const struct nh_job_retry retry = {.attempts = ATTEMPTS, .pause_us = 10 * SIM_S, .pause_max_us = 5 * SIM_MINUTE};
	struct build *b = arg;
	return nh_job_failed(ctx, &b->job, &retry, NH_LIT("because"), &b->given_up, err);
}

/* ---- a build ------------------------------------------------------------------------------------------------------------------ */

static void plan(struct sim *s, struct sim_node *node, int64_t at_us)
{
	if (!node->alive || s->lean || node->builds || (node->builder_due_us && node->builder_due_us <= at_us))
		return;
	node->builder_due_us = at_us;
	sim_at(s, at_us, on_builder, node->index, node->epoch, at_us, NH_SLICE_EMPTY);
}

void sim_builder_wake(struct sim *s, struct sim_node *node) { plan(s, node, s->now_us + 10 * NH_US_PER_MS); }

/* What a build will come to, and when. */
static outcome fate(struct sim *s, int64_t *takes_us)
{
	*takes_us = sim_span(s, 5 * SIM_S, 3 * SIM_MINUTE);
	if (sim_fault(s, NH_SIM_DELTA_SLOW)) {
		*takes_us = sim_span(s, 5 * SIM_MINUTE, 2 * TIMEOUT_US);
		if (*takes_us >= TIMEOUT_US) {
			*takes_us = TIMEOUT_US;
			return TOO_SLOW;
		}
	}
	if (sim_fault(s, NH_SIM_DELTA_FAIL))
		return sim_pick(s, 2) ? PASSING : HOPELESS;
	return BUILT;
}

static void free_build(struct sim_node *node)
{
	node->builds = NULL;
	node->build_row = 0;
}

/* How it ends: the delta's row, then the job's. */
static nh_rc finish(struct sim *s, struct sim_node *node, uint64_t epoch, struct build *b, struct nh_err *err)
{
	nh_rc rc = NH_OK;
	bool again = b->outcome == PASSING && b->job.attempts < ATTEMPTS;
	b->status = b->outcome == TOO_SLOW ? NH_DELTA_TIMED_OUT : NH_DELTA_FAILED;
	if (!again)
		rc = sim_write(s, node, b->outcome == BUILT ? publish_tx : give_up_tx, b, err);
	sim_note(s, "server %zu ends the build of delta %s (%s to %s), attempt %lld: %d, %s", node->index, b->key, b->source, b->target, (long long)b->job.attempts, (int)b->outcome, nh_rc_name(rc));
	NH_TRY(sim_answer(rc));
	if (!lives(node, epoch))
		return NH_OK;
	rc = sim_write(s, node, again ? failed_tx : done_tx, b, err);
	return sim_answer(rc);
}

/* Renews until the time has come. */
static nh_rc on_build(struct sim *s, const struct sim_event *e, struct nh_err *err)
{
	struct sim_node *node = &s->nodes[e->who];
	if (!lives(node, e->serial) || !node->builds)
		return NH_OK;
	struct build *b = node->builds;
	nh_rc rc = NH_OK;
	if (s->now_us >= e->number)
		rc = finish(s, node, e->serial, b, err);
	else
		rc = sim_write(s, node, renew_tx, b, err);
	NH_TRY(sim_answer(rc));
	if (!lives(node, e->serial))
		return NH_OK;
	if (s->now_us < e->number && rc == NH_OK) {
		int64_t next = s->now_us + STEP_US < e->number ? s->now_us + STEP_US : e->number;
		sim_at(s, next, on_build, e->who, e->serial, e->number, NH_SLICE_EMPTY);
		return NH_OK;
	}
	free_build(node); /* ended, or another server has it */
	sim_builder_wake(s, node);
	return NH_OK;
}

/* One of a row at a time, as long as leases are measured by clocks that nobody sets. */
static nh_rc judge_alone(struct sim *s, const struct sim_node *node, int64_t row, struct nh_err *err)
{
	for (size_t i = 0; i < s->node_count; i++)
		if (&s->nodes[i] != node && s->nodes[i].alive && s->nodes[i].build_row == row && s->result->happened[NH_SIM_CLOCK] == 0)
			return sim_broken(err, "servers %zu and %zu run job %lld at once", i, node->index, (long long)row);
	return NH_OK;
}

static nh_rc begin(struct sim *s, struct sim_node *node, uint64_t epoch, struct nh_err *err)
{
	struct build *b = nh_arena_alloc(&s->arena, sizeof *b);
	int64_t takes_us = 0;
	*b = (struct build){.s = s};
	NH_TRY(sim_write(s, node, claim_tx, b, err));
	if (!lives(node, epoch))
		return NH_ECLOSED;
	NH_TRY(judge_alone(s, node, b->job.id, err));
	b->job.kind = NH_LIT(NH_DELTA_JOB);
	b->job.key = nh_slice_str(b->key);
	b->job.payload = NH_LIT("");
	nh_rc rc = sim_write(s, node, begin_tx, b, err);
	sim_note(s, "server %zu begins delta %s (%s to %s), attempt %lld: %s", node->index, b->key, b->source, b->target, (long long)b->job.attempts, nh_rc_name(rc));
	if (!lives(node, epoch))
		return NH_ECLOSED;
	if (rc == NH_ENOTFOUND) /* nobody wants it any more */
		return sim_write(s, node, done_tx, b, err);
	NH_TRY(rc);
	b->delta.source_uuid = nh_slice_str(b->source);
	b->delta.target_uuid = nh_slice_str(b->target);
	b->outcome = fate(s, &takes_us);
	node->builds = b;
	node->build_row = b->job.id;
	sim_at(s, s->now_us + (takes_us < STEP_US ? takes_us : STEP_US), on_build, node->index, epoch, s->now_us + takes_us, NH_SLICE_EMPTY);
	return NH_OK;
}

static nh_rc next_tx(struct nh_ctx *ctx, struct sim *s, void *arg, struct nh_err *err) { return nh_job_next(ctx, KINDS, arg, err); }

static nh_rc on_builder(struct sim *s, const struct sim_event *e, struct nh_err *err)
{
	struct sim_node *node = &s->nodes[e->who];
	NH_AUTO_ARENA struct nh_arena arena = NH_ARENA_INIT;
	struct nh_effects effects = {0};
	int64_t ready_us = 0;
	nh_rc rc = NH_OK;
	if (!lives(node, e->serial) || node->builder_due_us != e->number || node->builds)
		return NH_OK;
	node->builder_due_us = 0;
	rc = sim_read(s, node, next_tx, &ready_us, &effects, &arena, err);
	NH_TRY(sim_answer(rc));
	int64_t latest = s->now_us + LOOK_US, at = rc == NH_OK ? ready_us - node->skew_us : latest;
	if (rc == NH_OK && at <= s->now_us) {
		NH_TRY(sim_answer(begin(s, node, e->serial, err)));
		at = s->now_us + 10 * NH_US_PER_MS;
	}
	if (lives(node, e->serial))
		plan(s, node, at > latest ? latest : at > s->now_us ? at : s->now_us + 10 * NH_US_PER_MS);
	return NH_OK;
}

void sim_builder_start(struct sim *s, struct sim_node *node)
{
	free_build(node);
	node->builder_due_us = 0;
	sim_builder_wake(s, node);
}
