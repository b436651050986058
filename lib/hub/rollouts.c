/*
 * Staged rollouts in people's hands: plans, pause, resume, approval, roll back, and what is shown of them.
 *
 * A pause has to work for releases without a plan as well; they get a row then that has no waves and watches nothing.
 */
#include "hub/rollouts.h"

#include <math.h>

#include "hub/audit.h"
#include "hub/permissions.h"
#include "input_int.h"
#include "rollout_int.h"
#include "rows_int.h"
#include "staged_int.h"
#include "store/staged_rollout.h"

#define WHY_MAX 500
#define PLAN_JSON_MAX ((size_t)256 << 10)
#define EMPTY_PLAN NH_LIT("{\"waves\":[],\"windows\":[],\"zone\":\"UTC\",\"not_before\":null,\"stop\":null}")

nh_rc nh_plan_stored(struct nh_ctx *ctx, nh_slice json, struct nh_plan *out, struct nh_err *err)
{
	NH_AUTO_JSON json_t *fields = NULL;
	NH_AUTO_JSON json_t *errors = json_object();
	if (nh_json_parse(json, PLAN_JSON_MAX, &fields, NULL) != NH_OK || nh_plan_read(ctx->arena, fields, nh_ctx_now(ctx), out, errors, NULL) != NH_OK)
		return NH_FAIL(err, NH_EINTERNAL, "the database holds a rollout plan that is none");
	return NH_OK;
}

/* ---- beginning -------------------------------------------------------------------------------------------------------------- */

static nh_slice windows_json(struct nh_arena *arena, nh_slice plan)
{
	NH_AUTO_JSON json_t *fields = NULL;
	const json_t *windows = nh_json_parse(plan, PLAN_JSON_MAX, &fields, NULL) == NH_OK ? json_object_get(fields, "windows") : NULL;
	return windows ? nh_json_arena(arena, windows) : NH_LIT("[]");
}

static nh_rc insert(struct nh_ctx *ctx, int64_t release_id, int64_t group_id, nh_rollout_state state, nh_slice by, nh_slice why, const struct nh_plan *p, struct nh_err *err)
{
	NH_TRY(nh_sql_exec(ctx->tx, &nh_q_rollout_insert,
	                   NH_PARAMS(nh_p_int(release_id), nh_p_int(group_id), nh_p_str(nh_rollout_state_name(state)), nh_p_text(by), nh_p_text(why), nh_p_int(nh_ctx_now(ctx)),
	                             nh_p_text(p->json), nh_p_int((int64_t)p->wave_count), nh_p_int(p->not_before_us), nh_p_text(windows_json(ctx->arena, p->json)), nh_p_text(p->zone)),
	                   NULL, err));
	for (size_t i = 0; i < p->wave_count; i++) {
		const struct nh_plan_wave *w = &p->waves[i];
		NH_TRY(nh_sql_exec(ctx->tx, &nh_q_wave_insert,
		                   NH_PARAMS(nh_p_int(release_id), nh_p_int((int64_t)i + 1), nh_p_int((int64_t)w->share), nh_p_text(w->query.ptr ? w->query : NH_LIT("")),
		                             nh_p_str(nh_gate_name(w->gate)), nh_p_int(w->gate_seconds), nh_p_int(w->gate_share)),
		                   NULL, err));
	}
	return NH_OK;
}

static nh_rc plan_of_group(struct nh_ctx *ctx, int64_t group_id, nh_slice *out, struct nh_err *err)
{
	struct nh_rows *rows = NULL;
	NH_TRY(nh_sql_one(ctx->tx, &nh_q_group_plan, NH_PARAMS(nh_p_int(group_id)), &rows, err));
	*out = nh_col_text(rows, 0, ctx->arena);
	nh_sql_end(rows);
	return NH_OK;
}

nh_rc nh_rollout_begin(struct nh_ctx *ctx, const struct nh_actor *actor, int64_t group_id, struct nh_err *err)
{
	struct nh_group group;
	struct nh_plan plan;
	nh_slice json;
	NH_TRY(plan_of_group(ctx, group_id, &json, err));
	if (!json.ptr)
		return NH_OK;
	NH_TRY(nh_group_get_by_id(ctx, group_id, &group, err));
	NH_TRY(nh_plan_stored(ctx, json, &plan, err));
	return insert(ctx, group.release.id, group_id, NH_ROLLOUT_RUNNING, actor->name, NH_SLICE_EMPTY, &plan, err);
}

nh_rc nh_rollout_plan_set(struct nh_ctx *ctx, const struct nh_actor *actor, const struct nh_group *group, const json_t *fields, bool now, json_t **errors, struct nh_err *err)
{
	NH_AUTO_JSON json_t *refusals = json_object();
	struct nh_plan plan = {.json = NH_SLICE_EMPTY};
	bool none = !fields || json_is_null(fields);
	NH_TRY(nh_may(ctx, actor, group->org_id, NH_MAY_ROLLOUT_PLAN, err));
	if (!none && nh_plan_read(ctx->arena, fields, nh_ctx_now(ctx), &plan, refusals, err) != NH_OK) {
		if (errors)
			*errors = json_incref(refusals);
		return NH_EINVAL;
	}
	NH_TRY(nh_sql_exec(ctx->tx, &nh_q_group_plan_set, NH_PARAMS(nh_p_text_or_null(plan.json), nh_p_int(nh_ctx_now(ctx)), nh_p_int(group->id)), NULL, err));
	if (now) {
		NH_TRY(nh_sql_exec(ctx->tx, &nh_q_rollout_delete, NH_PARAMS(nh_p_int(group->release.id)), NULL, err));
		if (!none)
			NH_TRY(insert(ctx, group->release.id, group->id, NH_ROLLOUT_RUNNING, actor->name, NH_SLICE_EMPTY, &plan, err));
		nh_wake_group(ctx, group->id);
	}
	return nh_audit_add(ctx, actor, group->org_id, NH_AUDIT_GROUP, group->id, err, "%.*s %s the rollout plan of deployment group %.*s%s", NH_ARG(actor->name),
	                    none ? "removed" : "set", NH_ARG(group->name), now ? ", also for the current release" : "");
}

/* ---- moving ----------------------------------------------------------------------------------------------------------------- */

nh_rc nh_rollout_move(struct nh_ctx *ctx, const struct nh_event_subject *subject, struct nh_rollout *r, nh_rollout_state to, nh_slice by, nh_slice why, nh_slice evidence, struct nh_err *err)
{
	static const int events[] = {
		[NH_ROLLOUT_RUNNING] = NH_EVENT_ROLLOUT_RESUMED,   [NH_ROLLOUT_PAUSED] = NH_EVENT_ROLLOUT_PAUSED,           [NH_ROLLOUT_STOPPED] = NH_EVENT_ROLLOUT_STOPPED,
		[NH_ROLLOUT_FINISHED] = NH_EVENT_ROLLOUT_FINISHED, [NH_ROLLOUT_ROLLED_BACK] = NH_EVENT_ROLLOUT_ROLLED_BACK,
	};
	NH_AUTO_JSON json_t *known = NULL;
	NH_TRY(nh_sql_exec(ctx->tx, &nh_q_rollout_set_state,
	                   NH_PARAMS(nh_p_str(nh_rollout_state_name(to)), nh_p_text(by.ptr ? by : NH_LIT("")), nh_p_text(why.ptr ? why : NH_LIT("")), nh_p_int(nh_ctx_now(ctx)),
	                             nh_p_text_or_null(evidence), nh_p_int(r->epoch), nh_p_int(r->release_id)),
	                   NULL, err));
	r->state = to;
	json_t *data = json_pack("{s:o, s:o}", "by", nh_json_new_text(by), "why", nh_json_new_text(why));
	if (evidence.ptr && nh_json_parse(evidence, PLAN_JSON_MAX, &known, NULL) == NH_OK)
		json_object_set(data, "evidence", known);
	nh_effect_add(ctx, NH_EFFECT_TOPIC, subject->group_id, NH_LIT("deployment"), NH_SLICE_EMPTY);
	return nh_event_add(ctx, (nh_event_kind)events[to], subject, data, err);
}

/* The group as it is now, since the caller may have read it before others wrote; its row is locked, as in an orchestrator's run. */
static nh_rc fresh(struct nh_ctx *ctx, const struct nh_actor *actor, const struct nh_group *given, struct nh_group *out, struct nh_err *err)
{
	NH_TRY(nh_may(ctx, actor, given->org_id, NH_MAY_ROLLOUT_CONTROL, err));
	return nh_group_get_by_id(ctx, given->id, out, err);
}

static nh_slice reason_of(struct nh_ctx *ctx, nh_slice why)
{
	return why.len ? nh_text_cut(ctx->arena, nh_audit_reason(ctx->arena, why), WHY_MAX) : NH_LIT("");
}

static nh_rc audit(struct nh_ctx *ctx, const struct nh_actor *actor, const struct nh_group *g, const char *what, nh_slice why, struct nh_err *err)
{
	return nh_audit_add(ctx, actor, g->org_id, NH_AUDIT_GROUP, g->id, err, "%.*s %s the rollout of release %lld (%.*s) to deployment group %.*s%s%.*s", NH_ARG(actor->name), what,
	                    (long long)g->release.number, NH_ARG(g->release.firmware_version), NH_ARG(g->name), why.len ? ": " : "", NH_ARG(why));
}

static nh_rc not_in_state(const struct nh_group *g, const char *what, struct nh_err *err)
{
	return NH_FAIL(err, NH_ECONFLICT, "the rollout of deployment group %.*s cannot be %s: it is %s", NH_ARG(g->name), what,
	               g->rollout.release_id ? nh_rollout_state_name(g->rollout.state) : "without a plan");
}

nh_rc nh_rollout_pause(struct nh_ctx *ctx, const struct nh_actor *actor, const struct nh_group *group, nh_slice why, struct nh_err *err)
{
	struct nh_group g;
	struct nh_event_subject subject;
	why = reason_of(ctx, why);
	NH_TRY(fresh(ctx, actor, group, &g, err));
	subject = nh_group_subject(&g);
	if (g.rollout.release_id == 0) {
		struct nh_plan plan;
		NH_TRY(nh_plan_stored(ctx, EMPTY_PLAN, &plan, err));
		NH_TRY(insert(ctx, g.release.id, g.id, NH_ROLLOUT_RUNNING, NH_LIT(""), NH_SLICE_EMPTY, &plan, err));
		NH_TRY(nh_group_get_by_id(ctx, g.id, &g, err));
	}
	if (g.rollout.state != NH_ROLLOUT_RUNNING && g.rollout.state != NH_ROLLOUT_FINISHED)
		return not_in_state(&g, "paused", err);
	NH_TRY(nh_rollout_move(ctx, &subject, &g.rollout, NH_ROLLOUT_PAUSED, actor->name, why, NH_SLICE_EMPTY, err));
	return audit(ctx, actor, &g, "paused", why, err);
}

nh_rc nh_rollout_resume(struct nh_ctx *ctx, const struct nh_actor *actor, const struct nh_group *group, nh_slice why, struct nh_err *err)
{
	struct nh_group g;
	why = reason_of(ctx, why);
	NH_TRY(fresh(ctx, actor, group, &g, err));
	struct nh_event_subject subject = nh_group_subject(&g);
	bool stopped = g.rollout.state == NH_ROLLOUT_STOPPED;
	if (g.rollout.release_id == 0 || (g.rollout.state != NH_ROLLOUT_PAUSED && !stopped))
		return not_in_state(&g, "resumed", err);
	g.rollout.epoch += stopped; /* what was counted until then has had its say */
	NH_TRY(nh_rollout_move(ctx, &subject, &g.rollout, NH_ROLLOUT_RUNNING, actor->name, why, NH_SLICE_EMPTY, err));
	nh_wake_group(ctx, g.id);
	return audit(ctx, actor, &g, stopped ? "resumed, counting anew," : "resumed", why, err);
}

nh_rc nh_rollout_approve(struct nh_ctx *ctx, const struct nh_actor *actor, const struct nh_group *group, nh_slice why, struct nh_err *err)
{
	struct nh_group g;
	why = reason_of(ctx, why);
	NH_TRY(fresh(ctx, actor, group, &g, err));
	if (g.rollout.release_id == 0 || g.rollout.state != NH_ROLLOUT_RUNNING || g.rollout.wave < 1 || g.rollout.wave > g.rollout.waves)
		return NH_FAIL(err, NH_ECONFLICT, "no wave of deployment group %.*s is under way whose gate could be opened", NH_ARG(g.name));
	int64_t wave = g.rollout.wave;
	NH_TRY(nh_rollout_pass(ctx, &g, actor->name, err));
	nh_wake_group(ctx, g.id);
	return audit(ctx, actor, &g, nh_arena_printf(ctx->arena, "opened the gate behind wave %lld of", (long long)wave), why, err);
}

nh_rc nh_rollout_skip(struct nh_ctx *ctx, const struct nh_actor *actor, const struct nh_group *group, nh_slice why, struct nh_err *err)
{
	struct nh_group g;
	why = reason_of(ctx, why);
	NH_TRY(fresh(ctx, actor, group, &g, err));
	if (g.rollout.release_id == 0 || g.rollout.wave > g.rollout.waves || g.rollout.state == NH_ROLLOUT_ROLLED_BACK)
		return NH_FAIL(err, NH_ECONFLICT, "the rollout of deployment group %.*s has no waves left", NH_ARG(g.name));
	NH_TRY(nh_rollout_put_wave(ctx, &g.rollout, g.rollout.waves + 1, NH_ROLLOUT_WHOLE, g.rollout.named, err));
	nh_wake_group(ctx, g.id);
	return audit(ctx, actor, &g, "let everybody into", why, err);
}

/* ---- back ------------------------------------------------------------------------------------------------------------------- */

struct rollback {
	int64_t firmware_id, archive_id;
	nh_slice uuid, version;
};

static void read_rollback(const struct nh_rows *rows, struct nh_arena *arena, void *item)
{
	*(struct rollback *)item = (struct rollback){nh_col_int(rows, 0), nh_col_int(rows, 1), nh_col_text(rows, 2, arena), nh_col_text(rows, 3, arena)};
}

nh_rc nh_rollout_roll_back(struct nh_ctx *ctx, const struct nh_actor *actor, const struct nh_group *group, bool staged, nh_slice why, struct nh_err *err)
{
	struct nh_group g;
	struct rollback to;
	why = reason_of(ctx, why);
	NH_TRY(fresh(ctx, actor, group, &g, err));
	struct nh_event_subject subject = nh_group_subject(&g);
	nh_rc rc = nh_one_row(ctx->tx, ctx->arena, &nh_q_rollback_target, NH_PARAMS(nh_p_int(g.id), nh_p_int(g.release.number), nh_p_int(g.release.firmware_id)), read_rollback, &to,
	                      "earlier release", err);
	if (rc == NH_ENOTFOUND)
		return NH_FAIL(err, NH_ECONFLICT, "deployment group %.*s has no earlier release with another firmware to go back to", NH_ARG(g.name));
	NH_TRY(rc);
	if (g.rollout.release_id == 0) { /* so that nobody goes back to it */
		struct nh_plan plan;
		NH_TRY(nh_plan_stored(ctx, EMPTY_PLAN, &plan, err));
		NH_TRY(insert(ctx, g.release.id, g.id, NH_ROLLOUT_RUNNING, NH_LIT(""), NH_SLICE_EMPTY, &plan, err));
		g.rollout = (struct nh_rollout){.release_id = g.release.id, .epoch = 1};
	}
	NH_TRY(nh_rollout_move(ctx, &subject, &g.rollout, NH_ROLLOUT_ROLLED_BACK, actor->name, why, NH_SLICE_EMPTY, err));
	nh_slice description = nh_slice_str(nh_arena_printf(ctx->arena, "roll back of release %lld", (long long)g.release.number));
	NH_TRY(nh_release_add(ctx, actor, g.id, g.release.number + 1, to.firmware_id, to.archive_id, description, why.len ? why : NH_SLICE_EMPTY, staged, err));
	nh_wake_group(ctx, g.id);
	nh_effect_add(ctx, NH_EFFECT_TOPIC, g.id, NH_LIT("deployment"), NH_SLICE_EMPTY);
	return audit(ctx, actor, &g, nh_arena_printf(ctx->arena, "rolled back to %.*s (%.*s)", NH_ARG(to.version), NH_ARG(to.uuid)), why, err);
}
