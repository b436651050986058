/*
 * Jobs: adding, claiming, ending. When one is due again is decided here; who runs it, and on which thread, is the scheduler's.
 *
 * source: design/architecture "6"
 */
#include "hub/jobs.h"

#include "input_int.h"
#include "rows_int.h"
#include "store/jobs.h"

#define WHY_MAX 2000

nh_rc nh_job_add(struct nh_ctx *ctx, const char *kind, nh_slice key, nh_slice payload, int64_t due_us, struct nh_err *err)
{
	int64_t now = nh_ctx_now(ctx);
	if (key.len > NH_NAME_MAX_BYTES || payload.len > NH_JOB_PAYLOAD_MAX)
		return NH_FAIL(err, NH_ETOOBIG, "a job of kind %s with a key of %zu and a payload of %zu bytes", kind, key.len, payload.len);
	NH_TRY(nh_sql_exec(ctx->tx, &nh_q_job_add, NH_PARAMS(nh_p_str(kind), nh_p_text(key), nh_p_text(payload), nh_p_int(due_us ? due_us : now), nh_p_int(now)), NULL, err));
	if (ctx->effects)
		nh_effect_add(ctx, NH_EFFECT_JOB, 0, nh_slice_str(kind), NH_SLICE_EMPTY);
	return NH_OK;
}

nh_rc nh_job_ensure(struct nh_ctx *ctx, const char *kind, int64_t first_us, int64_t latest_us, struct nh_err *err)
{
	return nh_sql_exec(ctx->tx, &nh_q_job_ensure, NH_PARAMS(nh_p_str(kind), nh_p_int(first_us), nh_p_int(nh_ctx_now(ctx)), nh_p_int(latest_us)), NULL, err);
}

nh_rc nh_job_recover(struct nh_ctx *ctx, size_t *count, struct nh_err *err)
{
	int64_t changed = 0;
	nh_slice node = nh_ctx_node(ctx);
	if (node.len > 0)
		NH_TRY(nh_sql_exec(ctx->tx, &nh_q_job_recover, NH_PARAMS(nh_p_int(nh_ctx_now(ctx)), nh_p_text(node)), &changed, err));
	*count = (size_t)changed;
	return NH_OK;
}

/* ---- claims ---------------------------------------------------------------------------------------------------------------- */

static void read_job(const struct nh_rows *rows, struct nh_arena *arena, void *item)
{
	*(struct nh_job *)item = (struct nh_job){
		.id = nh_col_int(rows, 0),
		.kind = nh_col_text(rows, 1, arena),
		.key = nh_col_text(rows, 2, arena),
		.payload = nh_col_text(rows, 3, arena),
		.due_us = nh_col_int(rows, 4),
		.attempts = nh_col_int(rows, 5),
		.claims = nh_col_int(rows, 6),
	};
}

/* A node without a name is the only one; the column's '' means that nobody runs it. */
static nh_slice claimant(const struct nh_ctx *ctx)
{
	nh_slice node = nh_ctx_node(ctx);
	return node.len > 0 ? node : NH_LIT("-");
}

nh_rc nh_job_next(struct nh_ctx *ctx, const char *kinds, int64_t *ready_us, struct nh_err *err)
{
	return nh_query_id(ctx->tx, &nh_q_job_next, NH_PARAMS(nh_p_str(kinds)), ready_us, err);
}

nh_rc nh_job_claim(struct nh_ctx *ctx, const char *kinds, int64_t lease_us, struct nh_job *out, struct nh_err *err)
{
	int64_t now = nh_ctx_now(ctx);
	return nh_one_row(ctx->tx, ctx->arena, &nh_q_job_claim, NH_PARAMS(nh_p_text(claimant(ctx)), nh_p_int(now + lease_us), nh_p_int(now), nh_p_str(kinds)), read_job, out, "job", err);
}

nh_rc nh_job_renew(struct nh_ctx *ctx, int64_t id, int64_t claims, int64_t lease_us, struct nh_err *err)
{
	int64_t changed = 0;
	NH_TRY(nh_sql_exec(ctx->tx, &nh_q_job_renew, NH_PARAMS(nh_p_int(nh_ctx_now(ctx) + lease_us), nh_p_int(id), nh_p_int(claims)), &changed, err));
	return changed ? NH_OK : NH_FAIL(err, NH_ENOTFOUND, "another server has the job");
}

/* ---- ends ------------------------------------------------------------------------------------------------------------------ */

static int64_t next_due(int64_t due_us, int64_t period_us, int64_t now)
{
	if (due_us > now) /* the clock was set back meanwhile */
		return now + period_us;
	return due_us + ((now - due_us) / period_us + 1) * period_us;
}

/* Was it added while it ran? Then it waits again. */
static nh_rc again(struct nh_ctx *ctx, const struct nh_job *job, bool *yes, struct nh_err *err)
{
	int64_t changed = 0;
	NH_TRY(nh_sql_exec(ctx->tx, &nh_q_job_again, NH_PARAMS(nh_p_int(job->id), nh_p_int(job->claims)), &changed, err));
	*yes = changed > 0;
	if (*yes && ctx->effects)
		nh_effect_add(ctx, NH_EFFECT_JOB, 0, job->kind, NH_SLICE_EMPTY);
	return NH_OK;
}

nh_rc nh_job_done(struct nh_ctx *ctx, const struct nh_job *job, int64_t period_us, struct nh_err *err)
{
	bool waits = false;
	NH_TRY(again(ctx, job, &waits, err));
	if (waits)
		return NH_OK;
	if (period_us == 0)
		return nh_sql_exec(ctx->tx, &nh_q_job_delete, NH_PARAMS(nh_p_int(job->id), nh_p_int(job->claims)), NULL, err);
	int64_t due = next_due(job->due_us, period_us, nh_ctx_now(ctx));
	return nh_sql_exec(ctx->tx, &nh_q_job_schedule, NH_PARAMS(nh_p_int(due), nh_p_int(job->id), nh_p_int(job->claims)), NULL, err);
}

/* A quarter more or less, so that what failed together is not tried together. */
static int64_t pause_of(const struct nh_ctx *ctx, const struct nh_job *job, const struct nh_job_retry *retry)
{
	int64_t pause = retry->pause_us;
	for (int64_t i = 1; i < job->attempts && pause < retry->pause_max_us; i++)
		pause *= 2;
	if (pause > retry->pause_max_us)
		pause = retry->pause_max_us;
	return pause - pause / 4 + (int64_t)nh_rng_below(ctx->rng, (uint64_t)(pause / 2) + 1);
}

nh_rc nh_job_failed(struct nh_ctx *ctx, const struct nh_job *job, const struct nh_job_retry *retry, nh_slice why, bool *given_up, struct nh_err *err)
{
	int64_t now = nh_ctx_now(ctx);
	struct nh_param error = nh_p_text(nh_text_cut(ctx->arena, why, WHY_MAX));
	bool waits = false;
	*given_up = retry->period_us == 0 && retry->attempts > 0 && job->attempts >= (int64_t)retry->attempts;
	if (*given_up)
		NH_TRY(again(ctx, job, &waits, err));
	*given_up = *given_up && !waits;
	if (waits)
		return NH_OK;
	if (*given_up)
		return nh_sql_exec(ctx->tx, &nh_q_job_give_up, NH_PARAMS(nh_p_int(now), error, nh_p_int(job->id), nh_p_int(job->claims)), NULL, err);
	int64_t ready = now + pause_of(ctx, job, retry);
	if (retry->period_us > 0 && ready > next_due(job->due_us, retry->period_us, now))
		ready = next_due(job->due_us, retry->period_us, now);
	return nh_sql_exec(ctx->tx, &nh_q_job_pause, NH_PARAMS(nh_p_int(ready), error, nh_p_int(job->id), nh_p_int(job->claims)), NULL, err);
}

nh_rc nh_job_release(struct nh_ctx *ctx, const struct nh_job *job, struct nh_err *err)
{
	return nh_sql_exec(ctx->tx, &nh_q_job_release, NH_PARAMS(nh_p_int(nh_ctx_now(ctx)), nh_p_int(job->id), nh_p_int(job->claims)), NULL, err);
}

/* ---- figures --------------------------------------------------------------------------------------------------------------- */

static void read_counts(const struct nh_rows *rows, struct nh_arena *arena, void *item)
{
	struct nh_job_counts *c = item;
	*c = (struct nh_job_counts){.kind = nh_col_text(rows, 0, arena), .waiting = nh_col_int(rows, 1), .running = nh_col_int(rows, 2), .given_up = nh_col_int(rows, 3),
				    .late_us = nh_col_int(rows, 4)};
}

nh_rc nh_job_counts(struct nh_ctx *ctx, struct nh_job_counts **out, size_t *count, struct nh_err *err)
{
	struct nh_list list = NH_LIST_OF(ctx->arena, struct nh_job_counts);
	int64_t now = nh_ctx_now(ctx);
	NH_TRY(nh_list_rows(ctx->tx, &list, &nh_q_job_counts, NH_PARAMS(nh_p_int(now)), read_counts, err));
	*out = list.items;
	*count = list.count;
	for (size_t i = 0; i < list.count; i++)
		(*out)[i].late_us = (*out)[i].late_us ? now - (*out)[i].late_us : 0;
	return NH_OK;
}
