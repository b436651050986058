/*
 * What becomes of the devices of a staged rollout, and when that stops it.
 *
 *	installing --completed--> returning --came back--> settling --time--> well
 *	     |                        |                       |                 |
 *	     +-- said it failed       +-- did not come back   +-- reverted      +-- reverted      ==> failed
 *
 * A device is one trial of each signal, counted when it begins to be at risk, and one failure at most: a device that fails again and again, or that takes the update in the end, says nothing new. So no
 * single broken device stops a rollout. Trials under way count as not failed, which the test allows (hub/sequential.h).
 */
#include "hub/audit.h"
#include "hub/overview.h"
#include "hub/rollouts.h"
#include "hub/sequential.h"
#include "rollout_int.h"
#include "rows_int.h"
#include "staged_int.h"
#include "store/rollout.h"
#include "store/staged_rollout.h"

#include <math.h>

#define DUE_MAX 200
#define SOURCES_MAX 8 /* firmwares among which a device to compare with is looked for */
#define HEALTH_TOLERATED 0.5

typedef enum trial_state { INSTALLING, RETURNING, SETTLING, WELL, FAILED, TRIAL_STATES } trial_state;
static const char *const trial_names[TRIAL_STATES] = {"installing", "returning", "settling", "well", "failed"};

/* A device's newest trial, if its release is still its group's. */
struct trial {
	int64_t device_id, release_id, epoch, wave;
	trial_state state;
	int64_t rollout_epoch; /* now */
	nh_rollout_state rollout_state;
	nh_slice plan_json, group_name, firmware_uuid, firmware_version;
	int64_t group_id, org_id, product_id;
};

static trial_state state_of(nh_slice name)
{
	for (size_t i = 0; i < TRIAL_STATES; i++) {
		if (nh_slice_eq_str(name, trial_names[i]))
			return (trial_state)i;
	}
	return FAILED;
}

static void read_trial(const struct nh_rows *rows, struct nh_arena *arena, void *item)
{
	*(struct trial *)item = (struct trial){
		.release_id = nh_col_int(rows, 0),
		.epoch = nh_col_int(rows, 1),
		.wave = nh_col_int(rows, 2),
		.state = state_of(nh_col_text(rows, 3, arena)),
		.rollout_epoch = nh_col_int(rows, 4),
		.rollout_state = nh_rollout_state_parse(nh_col_text(rows, 5, arena)),
		.plan_json = nh_col_text(rows, 6, arena),
		.group_id = nh_col_int(rows, 7),
		.org_id = nh_col_int(rows, 8),
		.product_id = nh_col_int(rows, 9),
		.group_name = nh_col_text(rows, 10, arena),
		.firmware_uuid = nh_col_text(rows, 11, arena),
		.firmware_version = nh_col_text(rows, 12, arena),
	};
}

static nh_rc load(struct nh_ctx *ctx, int64_t device_id, struct trial *t, bool *found, struct nh_err *err)
{
	nh_rc rc = nh_one_row(ctx->tx, ctx->arena, &nh_q_trial_get, NH_PARAMS(nh_p_int(device_id)), read_trial, t, "trial", err);
	t->device_id = device_id;
	*found = rc == NH_OK;
	return rc == NH_ENOTFOUND ? NH_OK : rc;
}

static nh_rc put(struct nh_ctx *ctx, struct trial *t, trial_state state, int64_t due_us, struct nh_err *err)
{
	t->state = state;
	return nh_sql_exec(ctx->tx, &nh_q_trial_set, NH_PARAMS(nh_p_str(trial_names[state]), due_us ? nh_p_int(due_us) : nh_p_null(), nh_p_int(t->release_id), nh_p_int(t->device_id)), NULL,
	                   err);
}

static nh_rc count_wave(struct nh_ctx *ctx, const struct trial *t, int updated, int failed, struct nh_err *err)
{
	return nh_sql_exec(ctx->tx, &nh_q_wave_count, NH_PARAMS(nh_p_int(updated), nh_p_int(failed), nh_p_int(t->release_id), nh_p_int(t->wave)), NULL, err);
}

/* Of an earlier epoch nothing counts any more. */
static nh_rc count_signal(struct nh_ctx *ctx, const struct trial *t, nh_signal signal, int trials, int failures, struct nh_err *err)
{
	if (t->epoch != t->rollout_epoch)
		return NH_OK;
	return nh_sql_exec(ctx->tx, &nh_q_signal_add,
	                   NH_PARAMS(nh_p_int(t->release_id), nh_p_int(t->epoch), nh_p_str(nh_signal_name(signal)), nh_p_int(trials), nh_p_int(failures)), NULL, err);
}

/* ---- evidence --------------------------------------------------------------------------------------------------------------- */

static double tolerated_of(const struct nh_plan *plan, nh_signal signal)
{
	return signal == NH_SIGNAL_HEALTH ? HEALTH_TOLERATED : plan->tolerated;
}

nh_rc nh_evidence_load(struct nh_ctx *ctx, int64_t release_id, int64_t epoch, const struct nh_plan *plan, struct nh_evidence *out, struct nh_err *err)
{
	struct nh_rows *rows = NULL;
	double watched[NH_SIGNAL_COUNT];
	size_t count = 0;
	nh_rc rc;
	*out = (struct nh_evidence){.log_limit = -log(plan->alpha)};
	NH_TRY(nh_sql_query(ctx->tx, &nh_q_signal_list, NH_PARAMS(nh_p_int(release_id), nh_p_int(epoch)), &rows, err));
	while ((rc = nh_sql_next(rows, err)) == NH_OK) {
		nh_slice name = nh_col_text(rows, 0, ctx->arena);
		for (size_t s = 0; s < NH_SIGNAL_COUNT; s++) {
			if (nh_slice_eq_str(name, nh_signal_name((nh_signal)s))) {
				out->signals[s].trials = nh_col_int(rows, 1);
				out->signals[s].failures = nh_col_int(rows, 2);
			}
		}
	}
	nh_sql_end(rows);
	for (size_t s = 0; s < NH_SIGNAL_COUNT; s++) {
		out->signals[s].log_e = nh_sequential_log_e(out->signals[s].failures, out->signals[s].trials, tolerated_of(plan, (nh_signal)s));
		if (plan->signals[s])
			watched[count++] = out->signals[s].log_e;
	}
	out->log_e = nh_sequential_log_mean(watched, count);
	out->stop = plan->stops && count > 0 && out->log_e >= out->log_limit;
	return rc == NH_ENOTFOUND ? NH_OK : rc;
}

/* E as a number for people and machines; beyond what a double holds it says no more. */
static json_t *e_json(double log_e)
{
	return json_real(exp(fmin(log_e, 700)));
}

json_t *nh_evidence_json(const struct nh_evidence *e, const struct nh_plan *plan, int64_t epoch)
{
	json_t *signals = json_array();
	for (size_t s = 0; s < NH_SIGNAL_COUNT; s++) {
		if (plan->signals[s])
			json_array_append_new(signals, json_pack("{s:s, s:I, s:I, s:f, s:o}", "signal", nh_signal_name((nh_signal)s), "trials", (json_int_t)e->signals[s].trials, "failures",
			                                         (json_int_t)e->signals[s].failures, "tolerated", tolerated_of(plan, (nh_signal)s), "e", e_json(e->signals[s].log_e)));
	}
	return json_pack("{s:b, s:f, s:o, s:o, s:I, s:o}", "stops", plan->stops, "alpha", plan->alpha, "e", e_json(e->log_e), "limit", e_json(e->log_limit), "epoch", (json_int_t)epoch, "signals",
	                 signals);
}

/* The signal that speaks loudest, for people. */
static nh_signal loudest(const struct nh_evidence *e, const struct nh_plan *plan)
{
	nh_signal best = 0;
	for (size_t s = 0; s < NH_SIGNAL_COUNT; s++) {
		if (plan->signals[s] && (!plan->signals[best] || e->signals[s].log_e > e->signals[best].log_e))
			best = (nh_signal)s;
	}
	return best;
}

static nh_slice in_words(struct nh_arena *arena, const struct nh_evidence *e, nh_signal s)
{
	static const char *const words[NH_SIGNAL_COUNT] = {
		[NH_SIGNAL_INSTALL] = "devices could not install it",
		[NH_SIGNAL_RETURN] = "devices did not come back with it",
		[NH_SIGNAL_REVERT] = "devices went back to what they ran before",
		[NH_SIGNAL_HEALTH] = "comparisons found the updated device in worse health than another",
	};
	return nh_slice_str(nh_arena_printf(arena, "%lld of %lld %s", (long long)e->signals[s].failures, (long long)e->signals[s].trials, words[s]));
}

static nh_rc stop(struct nh_ctx *ctx, const struct trial *t, const struct nh_plan *plan, const struct nh_evidence *e, struct nh_err *err)
{
	const struct nh_event_subject subject = {t->org_id, t->product_id, 0, t->group_id};
	struct nh_rollout r = {.release_id = t->release_id, .epoch = t->rollout_epoch};
	const struct nh_actor actor = {NH_ACTOR_SYSTEM, t->group_id, t->group_name};
	nh_slice why = in_words(ctx->arena, e, loudest(e, plan));
	NH_AUTO_JSON json_t *evidence = nh_evidence_json(e, plan, t->rollout_epoch);
	NH_TRY(nh_rollout_move(ctx, &subject, &r, NH_ROLLOUT_STOPPED, t->group_name, why, nh_json_arena(ctx->arena, evidence), err));
	NH_TRY(nh_notification_add(ctx, t->product_id, NH_NOTIFY_ERROR, nh_arena_printf(ctx->arena, "rollout_stopped-%lld-%lld", (long long)t->release_id, (long long)t->rollout_epoch),
	                           NH_LIT("Rollout stopped"),
	                           nh_slice_str(nh_arena_printf(ctx->arena, "The rollout of firmware %.*s to deployment group %.*s was stopped: %.*s. Nothing more is sent until somebody resumes it or rolls it back.",
	                                                        NH_ARG(t->firmware_version), NH_ARG(t->group_name), NH_ARG(why))),
	                           evidence, err));
	return nh_audit_add(ctx, &actor, t->org_id, NH_AUDIT_GROUP, t->group_id, err,
	                    "Rollout of firmware %.*s (%.*s) to deployment group %.*s was stopped: %.*s; the odds against chance are %.3g to 1, %.3g to 1 were allowed", NH_ARG(t->firmware_version),
	                    NH_ARG(t->firmware_uuid), NH_ARG(t->group_name), NH_ARG(why), exp(fmin(e->log_e, 700)), exp(e->log_limit));
}

/* A failure was counted. */
static nh_rc weigh(struct nh_ctx *ctx, const struct trial *t, const struct nh_plan *plan, struct nh_err *err)
{
	struct nh_evidence e;
	if (t->epoch != t->rollout_epoch || !plan->stops || t->rollout_state == NH_ROLLOUT_STOPPED || t->rollout_state == NH_ROLLOUT_ROLLED_BACK)
		return NH_OK;
	NH_TRY(nh_evidence_load(ctx, t->release_id, t->epoch, plan, &e, err));
	return e.stop ? stop(ctx, t, plan, &e, err) : NH_OK;
}

/* ---- what becomes of a device ------------------------------------------------------------------------------------------------- */

/* Which wave it belongs to: the first that has it. */
static nh_rc wave_of(struct nh_ctx *ctx, const struct nh_device_facts *d, int64_t release_id, int64_t waves, int64_t *out, struct nh_err *err)
{
	struct nh_rows *rows = NULL;
	NH_TRY(nh_sql_one(ctx->tx, &nh_q_wave_of_rank, NH_PARAMS(nh_p_int(release_id), nh_p_int((int64_t)nh_rollout_rank(release_id, d->id))), &rows, err));
	*out = nh_col_null(rows, 0) ? waves + 1 : nh_col_int(rows, 0);
	nh_sql_end(rows);
	if (d->named_release_id == release_id && d->named_wave < *out)
		*out = d->named_wave;
	return NH_OK;
}

struct live {
	int64_t release_id, epoch, waves, firmware_id;
};

static void read_live(const struct nh_rows *rows, struct nh_arena *arena, void *item)
{
	*(struct live *)item = (struct live){nh_col_int(rows, 0), nh_col_int(rows, 1), nh_col_int(rows, 2), nh_col_int(rows, 3)};
}

nh_rc nh_rollout_began(struct nh_ctx *ctx, const struct nh_device_facts *d, int64_t group_id, int64_t firmware_id, struct nh_err *err)
{
	struct live live;
	int64_t wave = 0, changed = 0;
	nh_rc rc = group_id ? nh_one_row(ctx->tx, ctx->arena, &nh_q_live_rollout, NH_PARAMS(nh_p_int(group_id)), read_live, &live, "rollout", err) : NH_ENOTFOUND;
	if (rc == NH_ENOTFOUND || (rc == NH_OK && live.firmware_id != firmware_id))
		return NH_OK;
	NH_TRY(rc);
	NH_TRY(wave_of(ctx, d, live.release_id, live.waves, &wave, err));
	NH_TRY(nh_sql_exec(ctx->tx, &nh_q_trial_begin, NH_PARAMS(nh_p_int(live.release_id), nh_p_int(d->id), nh_p_int(live.epoch), nh_p_int(wave)), &changed, err));
	const struct trial t = {.release_id = live.release_id, .epoch = live.epoch, .rollout_epoch = live.epoch};
	return changed ? count_signal(ctx, &t, NH_SIGNAL_INSTALL, 1, 0, err) : NH_OK;
}

nh_rc nh_rollout_installed(struct nh_ctx *ctx, const struct nh_device_facts *d, struct nh_err *err)
{
	struct trial t;
	struct nh_plan plan;
	bool found;
	NH_TRY(load(ctx, d->id, &t, &found, err));
	if (!found || t.state != INSTALLING)
		return NH_OK;
	NH_TRY(nh_plan_stored(ctx, t.plan_json, &plan, err));
	NH_TRY(count_signal(ctx, &t, NH_SIGNAL_RETURN, 1, 0, err));
	return put(ctx, &t, RETURNING, nh_ctx_now(ctx) + plan.return_seconds * NH_US_PER_S, err);
}

nh_rc nh_rollout_returned(struct nh_ctx *ctx, const struct nh_device_facts *d, nh_slice firmware_uuid, struct nh_err *err)
{
	struct trial t;
	struct nh_plan plan;
	bool found;
	NH_TRY(load(ctx, d->id, &t, &found, err));
	if (!found || !nh_slice_eq(t.firmware_uuid, firmware_uuid) || t.state == SETTLING || t.state == WELL)
		return NH_OK;
	nh_wake_group(ctx, t.group_id);
	if (t.state == FAILED) { /* in the end it did */
		NH_TRY(count_wave(ctx, &t, 1, -1, err));
		return put(ctx, &t, WELL, 0, err);
	}
	NH_TRY(nh_plan_stored(ctx, t.plan_json, &plan, err));
	if (t.state == INSTALLING)
		NH_TRY(count_signal(ctx, &t, NH_SIGNAL_RETURN, 1, 0, err));
	NH_TRY(count_signal(ctx, &t, NH_SIGNAL_REVERT, 1, 0, err));
	NH_TRY(count_wave(ctx, &t, 1, 0, err));
	return put(ctx, &t, SETTLING, nh_ctx_now(ctx) + plan.settle_seconds * NH_US_PER_S, err);
}

static nh_rc fail(struct nh_ctx *ctx, struct trial *t, nh_signal signal, struct nh_err *err)
{
	struct nh_plan plan;
	bool was_updated = t->state == SETTLING || t->state == WELL;
	NH_TRY(nh_plan_stored(ctx, t->plan_json, &plan, err));
	/* Who reverted without having come back before was at that risk all the same. */
	NH_TRY(count_signal(ctx, t, signal, signal == NH_SIGNAL_REVERT && !was_updated, 1, err));
	NH_TRY(count_wave(ctx, t, was_updated ? -1 : 0, 1, err));
	NH_TRY(put(ctx, t, FAILED, 0, err));
	return weigh(ctx, t, &plan, err);
}

nh_rc nh_rollout_failed(struct nh_ctx *ctx, const struct nh_device_facts *d, nh_signal signal, struct nh_err *err)
{
	struct trial t;
	bool found;
	NH_TRY(load(ctx, d->id, &t, &found, err));
	if (!found || t.state == FAILED || (signal == NH_SIGNAL_INSTALL && t.state != INSTALLING && t.state != RETURNING))
		return NH_OK;
	return fail(ctx, &t, signal, err);
}

/* ---- when time is up ----------------------------------------------------------------------------------------------------------- */

/* 0: nothing known. */
static int severity(nh_slice status)
{
	static const char *const statuses[] = {"healthy", "warning", "unhealthy"};
	for (size_t i = 0; i < NH_ARRAY_LEN(statuses); i++) {
		if (nh_slice_eq_str(status, statuses[i]))
			return (int)i + 1;
	}
	return 0;
}

static nh_rc health_of(struct nh_ctx *ctx, int64_t device_id, int *out, struct nh_err *err)
{
	struct nh_rows *rows = NULL;
	*out = 0;
	nh_rc rc = nh_sql_one(ctx->tx, &nh_q_health_status, NH_PARAMS(nh_p_int(device_id)), &rows, err);
	if (rc != NH_OK)
		return rc == NH_ENOTFOUND ? NH_OK : rc;
	*out = severity(nh_col_text(rows, 0, ctx->arena));
	nh_sql_end(rows);
	return NH_OK;
}

static nh_rc control_at(struct nh_ctx *ctx, const struct trial *t, nh_slice source, uint64_t place, int *out, struct nh_err *err)
{
	struct nh_rows *rows = NULL;
	nh_rc rc = nh_sql_one(ctx->tx, &nh_q_control_device, NH_PARAMS(nh_p_int(t->group_id), nh_p_text(source), nh_p_int((int64_t)place)), &rows, err);
	if (rc != NH_OK)
		return rc == NH_ENOTFOUND ? NH_OK : rc;
	*out = severity(nh_col_text(rows, 1, ctx->arena));
	nh_sql_end(rows);
	return NH_OK;
}

/* The health of a connected device that was not updated, picked by place: as good as by chance. 0: there is none to compare with. */
static nh_rc health_of_another(struct nh_ctx *ctx, const struct trial *t, int *out, struct nh_err *err)
{
	nh_slice source = NH_LIT("");
	uint64_t place = (nh_rollout_place(t->device_id) + UINT64_C(2654435769)) % NH_ROLLOUT_WHOLE;
	*out = 0;
	for (int i = 0; i < SOURCES_MAX && *out == 0; i++) {
		struct nh_rows *rows = NULL;
		NH_TRY(nh_sql_one(ctx->tx, &nh_q_waiting_source, NH_PARAMS(nh_p_int(t->group_id), nh_p_text(source)), &rows, err));
		source = nh_col_text(rows, 0, ctx->arena);
		nh_sql_end(rows);
		if (!source.ptr)
			break;
		if (nh_slice_eq(source, t->firmware_uuid))
			continue;
		NH_TRY(control_at(ctx, t, source, place, out, err));
		if (*out == 0)
			NH_TRY(control_at(ctx, t, source, 0, out, err));
	}
	return NH_OK;
}

/* Pairs that agree say nothing; of those that differ as many should differ the one way as the other. */
static nh_rc settle(struct nh_ctx *ctx, struct trial *t, struct nh_err *err)
{
	struct nh_plan plan;
	int own = 0, other = 0;
	NH_TRY(put(ctx, t, WELL, 0, err));
	NH_TRY(nh_plan_stored(ctx, t->plan_json, &plan, err));
	if (plan.signals[NH_SIGNAL_HEALTH])
		NH_TRY(health_of(ctx, t->device_id, &own, err));
	if (own)
		NH_TRY(health_of_another(ctx, t, &other, err));
	if (!other || own == other)
		return NH_OK;
	NH_TRY(count_signal(ctx, t, NH_SIGNAL_HEALTH, 1, own > other, err));
	return own > other ? weigh(ctx, t, &plan, err) : NH_OK;
}

static void read_id(const struct nh_rows *rows, struct nh_arena *arena, void *item)
{
	*(int64_t *)item = nh_col_int(rows, 0);
}

nh_rc nh_rollout_due(struct nh_ctx *ctx, size_t *count, struct nh_err *err)
{
	struct nh_list list = NH_LIST_OF(ctx->arena, int64_t);
	NH_TRY(nh_list_rows(ctx->tx, &list, &nh_q_trial_due, NH_PARAMS(nh_p_int(nh_ctx_now(ctx)), nh_p_int(DUE_MAX)), read_id, err));
	const int64_t *ids = list.items;
	for (size_t i = 0; i < list.count; i++) {
		struct trial t;
		bool found;
		NH_TRY(load(ctx, ids[i], &t, &found, err));
		if (found && t.state == RETURNING)
			NH_TRY(fail(ctx, &t, NH_SIGNAL_RETURN, err));
		else if (found && t.state == SETTLING)
			NH_TRY(settle(ctx, &t, err));
		/* What is due of releases that are not current any more. */
		NH_TRY(nh_sql_exec(ctx->tx, &nh_q_trial_forget, NH_PARAMS(nh_p_int(ids[i]), nh_p_int(nh_ctx_now(ctx))), NULL, err));
	}
	*count = list.count;
	return NH_OK;
}
