/*
 * What people see of a release's rollout: its state, its waves with their figures, the evidence, and what happens next and when.
 */
#include "hub/permissions.h"
#include "rollout_int.h"
#include "rows_int.h"
#include "staged_int.h"
#include "store/staged_rollout.h"

#define PLAN_JSON_MAX ((size_t)256 << 10)

struct detail {
	nh_slice by, why, evidence, plan;
	int64_t at_us;
};

static void read_detail(const struct nh_rows *rows, struct nh_arena *arena, void *item)
{
	*(struct detail *)item = (struct detail){
		.by = nh_col_text(rows, 0, arena), .why = nh_col_text(rows, 1, arena), .at_us = nh_col_int(rows, 2), .evidence = nh_col_text(rows, 3, arena), .plan = nh_col_text(rows, 4, arena)};
}

static json_t *moment(int64_t at_us)
{
	NH_AUTO_BUF struct nh_buf text = NH_BUF_INIT;
	if (at_us == 0)
		return json_null();
	nh_time_put_iso(&text, at_us);
	return nh_json_new_text(nh_buf_slice(&text));
}

static json_t *parsed(nh_slice text)
{
	json_t *value = NULL;
	return text.ptr && nh_json_parse(text, PLAN_JSON_MAX, &value, NULL) == NH_OK ? value : json_null();
}

static json_t *wave_json(const struct nh_wave *w, const json_t *planned)
{
	json_t *tags = json_object_get(planned, "tags");
	json_t *gate = json_pack("{s:s, s:I, s:f}", "type", nh_gate_name(w->gate), "seconds", (json_int_t)w->gate_seconds, "share", (double)w->gate_share / 1000000);
	json_t *wave = json_pack("{s:I, s:o, s:o, s:o}", "number", (json_int_t)w->number, "state", nh_json_new_text(w->state), "percent",
	                         w->share ? json_real((double)w->share * 100 / (double)NH_ROLLOUT_WHOLE) : json_null(), "query", w->query.len ? nh_json_new_text(w->query) : json_null());
	int64_t left = w->size - w->updated - w->failed;
	json_object_set(wave, "tags", tags ? tags : json_null());
	json_object_set_new(wave, "gate", gate);
	json_object_set_new(wave, "size", w->counted ? json_integer(w->size) : json_null());
	json_object_set_new(wave, "updated", json_integer(w->updated));
	json_object_set_new(wave, "failed", json_integer(w->failed));
	json_object_set_new(wave, "waiting", w->counted ? json_integer(left > 0 ? left : 0) : json_null());
	json_object_set_new(wave, "began_at", moment(w->began_us));
	json_object_set_new(wave, "waiting_since", moment(w->waiting_us));
	json_object_set_new(wave, "done_at", moment(w->done_us));
	json_object_set_new(wave, "done_by", w->done_by.len ? nh_json_new_text(w->done_by) : json_null());
	return wave;
}

static void next(json_t *list, const char *what, int64_t at_us)
{
	json_array_append_new(list, json_pack("{s:s, s:o}", "what", what, "at", moment(at_us)));
}

/* What the rollout waits for. at null: nobody knows when. */
static json_t *next_json(const struct nh_group *g, const struct nh_wave *w, int64_t now_us)
{
	const struct nh_rollout *r = &g->rollout;
	json_t *list = json_array();
	if (r->state == NH_ROLLOUT_PAUSED || r->state == NH_ROLLOUT_STOPPED)
		next(list, r->state == NH_ROLLOUT_PAUSED ? "resume" : "resume_or_rollback", 0);
	if (r->state != NH_ROLLOUT_RUNNING)
		return list;
	if (!g->is_active)
		next(list, "activation", 0);
	if (now_us < r->not_before_us)
		next(list, "not_before", r->not_before_us);
	if (!nh_windows_open(r->windows, r->window_count, r->zone, now_us))
		next(list, "window", nh_windows_next(r->windows, r->window_count, r->zone, now_us));
	if (!w)
		return list;
	if (!w->counted)
		next(list, "counting", 0);
	else if (w->gate == NH_GATE_TIME)
		next(list, "gate", w->began_us + w->gate_seconds * NH_US_PER_S);
	else if (w->waiting_us == 0)
		next(list, "updates", 0);
	else if (w->gate == NH_GATE_MANUAL)
		next(list, "approval", 0);
	else
		next(list, "gate", w->waiting_us + w->gate_seconds * NH_US_PER_S);
	return list;
}

static nh_rc show_waves(struct nh_ctx *ctx, const struct nh_group *g, const json_t *plan, json_t *out, struct nh_err *err)
{
	struct nh_list list = NH_LIST_OF(ctx->arena, struct nh_wave);
	const struct nh_wave *current = NULL;
	json_t *waves = json_array();
	json_object_set_new(out, "waves", waves);
	NH_TRY(nh_list_rows(ctx->tx, &list, &nh_q_wave_list, NH_PARAMS(nh_p_int(g->rollout.release_id)), nh_wave_read, err));
	const struct nh_wave *w = list.items;
	for (size_t i = 0; i < list.count; i++) {
		json_array_append_new(waves, wave_json(&w[i], json_array_get(json_object_get(plan, "waves"), i)));
		current = w[i].number == g->rollout.wave ? &w[i] : current;
	}
	json_object_set_new(out, "next", next_json(g, current, nh_ctx_now(ctx)));
	return NH_OK;
}

static nh_rc show_row(struct nh_ctx *ctx, const struct nh_group *g, json_t *out, struct nh_err *err)
{
	struct detail d;
	struct nh_plan plan;
	struct nh_evidence e;
	NH_TRY(nh_one_row(ctx->tx, ctx->arena, &nh_q_rollout_get, NH_PARAMS(nh_p_int(g->rollout.release_id)), read_detail, &d, "rollout", err));
	json_t *stored = parsed(d.plan);
	json_object_set_new(out, "plan", stored);
	json_object_set_new(out, "by", d.by.len ? nh_json_new_text(d.by) : json_null());
	json_object_set_new(out, "why", d.why.len ? nh_json_new_text(d.why) : json_null());
	json_object_set_new(out, "since", moment(d.at_us));
	json_object_set_new(out, "stopped_by", parsed(d.evidence));
	NH_TRY(nh_plan_stored(ctx, d.plan, &plan, err));
	NH_TRY(nh_evidence_load(ctx, g->rollout.release_id, g->rollout.epoch, &plan, &e, err));
	json_object_set_new(out, "evidence", nh_evidence_json(&e, &plan, g->rollout.epoch));
	return show_waves(ctx, g, stored, out, err);
}

nh_rc nh_rollout_show(struct nh_ctx *ctx, const struct nh_group *g, json_t **out, struct nh_err *err)
{
	struct nh_rows *rows = NULL;
	bool staged = g->rollout.release_id != 0;
	NH_AUTO_JSON json_t *shown = json_pack("{s:s, s:o, s:I, s:{s:o, s:o}, s:I}", "state", staged ? nh_rollout_state_name(g->rollout.state) : "none", "deployment_group",
	                                       nh_json_new_text(g->name), "release", (json_int_t)g->release.number, "firmware", "version", nh_json_new_text(g->release.firmware_version), "uuid",
	                                       nh_json_new_text(g->release.firmware_uuid), "wave", (json_int_t)(staged ? g->rollout.wave : 1));
	static const char *const absent[] = {"plan", "by", "why", "since", "stopped_by", "evidence"};
	*out = NULL;
	for (size_t i = 0; i < NH_ARRAY_LEN(absent); i++)
		json_object_set_new(shown, absent[i], json_null());
	json_object_set_new(shown, "waves", json_array());
	json_object_set_new(shown, "next", json_array());
	if (staged)
		NH_TRY(show_row(ctx, g, shown, err));
	NH_TRY(nh_sql_one(ctx->tx, &nh_q_group_plan, NH_PARAMS(nh_p_int(g->id)), &rows, err));
	json_object_set_new(shown, "default_plan", parsed(nh_col_text(rows, 0, ctx->arena)));
	nh_sql_end(rows);
	*out = json_incref(shown);
	return NH_OK;
}
