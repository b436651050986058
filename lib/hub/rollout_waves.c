/*
 * How a rollout goes on by itself: waves begin, are counted and named, gates pass.
 */
#include <stdio.h>

#include "hub/device_query.h"
#include "hub/jobs.h"
#include "hub/orchestrator.h"
#include "hub/overview.h"
#include "hub/rollouts.h"
#include "input_int.h"
#include "rollout_int.h"
#include "rows_int.h"
#include "staged_int.h"
#include "store/device_query.h"
#include "store/staged_rollout.h"

#define COUNT_PAGE 5000
#define NAME_PAGE 500
#define MILLION 1000000

void nh_wave_read(const struct nh_rows *rows, struct nh_arena *arena, void *item)
{
	struct nh_wave *w = item;
	nh_slice gate = nh_col_text(rows, 3, arena);
	*w = (struct nh_wave){
		.number = nh_col_int(rows, 0),
		.share = (uint64_t)nh_col_int(rows, 1),
		.query = nh_col_text(rows, 2, arena),
		.gate_seconds = nh_col_int(rows, 4),
		.gate_share = nh_col_int(rows, 5),
		.state = nh_col_text(rows, 6, arena),
		.counted = !nh_col_null(rows, 7),
		.size = nh_col_int(rows, 7),
		.updated = nh_col_int(rows, 8),
		.failed = nh_col_int(rows, 9),
		.began_us = nh_col_int(rows, 10),
		.waiting_us = nh_col_int(rows, 11),
		.done_us = nh_col_int(rows, 12),
		.done_by = nh_col_text(rows, 13, arena),
	};
	while (w->gate + 1 < NH_GATE_COUNT && !nh_slice_eq_str(gate, nh_gate_name(w->gate)))
		w->gate++;
}

static nh_rc wave_load(struct nh_ctx *ctx, int64_t release_id, int64_t number, struct nh_wave *out, struct nh_err *err)
{
	return nh_one_row(ctx->tx, ctx->arena, &nh_q_wave_get, NH_PARAMS(nh_p_int(release_id), nh_p_int(number)), nh_wave_read, out, "wave", err);
}

/* ---- from wave to wave ------------------------------------------------------------------------------------------------------- */

nh_rc nh_rollout_put_wave(struct nh_ctx *ctx, struct nh_rollout *r, int64_t wave, uint64_t share, bool named, struct nh_err *err)
{
	r->wave = wave;
	r->share = share > r->share ? share : r->share;
	r->named = r->named || named;
	return nh_sql_exec(ctx->tx, &nh_q_rollout_set_wave, NH_PARAMS(nh_p_int(wave), nh_p_int((int64_t)r->share), nh_p_bool(r->named), nh_p_int(r->release_id)), NULL, err);
}

/* Its devices are counted, and those of a query named, by a job: there may be a million. */
static nh_rc begin(struct nh_ctx *ctx, struct nh_group *group, int64_t number, struct nh_err *err)
{
	struct nh_wave w;
	if (number > group->rollout.waves)
		return nh_rollout_put_wave(ctx, &group->rollout, number, NH_ROLLOUT_WHOLE, false, err);
	NH_TRY(wave_load(ctx, group->rollout.release_id, number, &w, err));
	NH_TRY(nh_sql_exec(ctx->tx, &nh_q_wave_begin, NH_PARAMS(nh_p_int(nh_ctx_now(ctx)), nh_p_int(group->rollout.release_id), nh_p_int(number)), NULL, err));
	NH_TRY(nh_job_add(ctx, "rollout-wave", nh_slice_str(nh_arena_printf(ctx->arena, "%lld/%lld", (long long)group->rollout.release_id, (long long)number)), NH_SLICE_EMPTY, 0, err));
	return nh_rollout_put_wave(ctx, &group->rollout, number, w.share, w.query.len > 0, err);
}

nh_rc nh_rollout_pass(struct nh_ctx *ctx, struct nh_group *group, nh_slice by, struct nh_err *err)
{
	struct nh_event_subject subject = nh_group_subject(group);
	int64_t wave = group->rollout.wave;
	NH_TRY(nh_sql_exec(ctx->tx, &nh_q_wave_done, NH_PARAMS(nh_p_int(nh_ctx_now(ctx)), nh_p_text(by), nh_p_int(group->rollout.release_id), nh_p_int(wave)), NULL, err));
	NH_TRY(nh_event_add(ctx, NH_EVENT_ROLLOUT_WAVE_FINISHED, &subject, json_pack("{s:I, s:I}", "wave", (json_int_t)wave, "waves", (json_int_t)group->rollout.waves), err));
	return begin(ctx, group, wave + 1, err);
}

/* Not later than a wave's last device can a share of it be updated. */
static bool share_is_updated(const struct nh_wave *w)
{
	return w->counted && w->updated >= (w->size * w->gate_share + MILLION - 1) / MILLION;
}

/* Does the wave wait at its gate, and may it pass? */
static bool at_gate(const struct nh_wave *w)
{
	return w->gate == NH_GATE_TIME ? w->counted : share_is_updated(w);
}

static bool may_pass(const struct nh_wave *w, int64_t now_us)
{
	int64_t waits_us = w->gate_seconds * NH_US_PER_S;
	switch (w->gate) {
	case NH_GATE_TIME:
		return now_us - w->began_us >= waits_us;
	case NH_GATE_HEALTH: /* it would have been stopped otherwise; nobody learns anything of a wave without devices */
		return w->size == 0 || now_us - w->waiting_us >= waits_us;
	case NH_GATE_MANUAL:
		return false;
	default:
		return true;
	}
}

/* Somebody has to come. */
static nh_rc ask_for_approval(struct nh_ctx *ctx, const struct nh_group *g, const struct nh_wave *w, struct nh_err *err)
{
	NH_AUTO_JSON json_t *metadata = json_pack("{s:o, s:I, s:I}", "deployment_group", nh_json_new_text(g->name), "release", (json_int_t)g->release.number, "wave", (json_int_t)w->number);
	return nh_notification_add(ctx, g->product_id, NH_NOTIFY_INFO, nh_arena_printf(ctx->arena, "rollout_waiting-%lld-%lld", (long long)g->rollout.release_id, (long long)w->number),
	                           NH_LIT("Rollout waits for approval"),
	                           nh_slice_str(nh_arena_printf(ctx->arena, "Wave %lld of release %lld to deployment group %.*s is done. The next one waits until somebody approves it.",
	                                                        (long long)w->number, (long long)g->release.number, NH_ARG(g->name))),
	                           metadata, err);
}

static nh_rc wait_at_gate(struct nh_ctx *ctx, const struct nh_group *g, struct nh_wave *w, struct nh_err *err)
{
	struct nh_event_subject subject = nh_group_subject(g);
	w->state = NH_LIT("waiting");
	w->waiting_us = nh_ctx_now(ctx);
	NH_TRY(nh_sql_exec(ctx->tx, &nh_q_wave_wait, NH_PARAMS(nh_p_int(w->waiting_us), nh_p_int(g->rollout.release_id), nh_p_int(w->number)), NULL, err));
	NH_TRY(nh_event_add(ctx, NH_EVENT_ROLLOUT_WAITING, &subject, json_pack("{s:I, s:s}", "wave", (json_int_t)w->number, "gate", nh_gate_name(w->gate)), err));
	return w->gate == NH_GATE_MANUAL ? ask_for_approval(ctx, g, w, err) : NH_OK;
}

nh_rc nh_rollout_advance(struct nh_ctx *ctx, struct nh_group *group, struct nh_err *err)
{
	struct nh_rollout *r = &group->rollout;
	int64_t now = nh_ctx_now(ctx);
	if (r->release_id == 0 || r->state != NH_ROLLOUT_RUNNING || now < r->not_before_us || r->wave > r->waves)
		return NH_OK;
	if (r->wave == 0) {
		struct nh_event_subject subject = nh_group_subject(group);
		NH_TRY(nh_event_add(ctx, NH_EVENT_ROLLOUT_STARTED, &subject, json_pack("{s:I, s:I}", "release", (json_int_t)group->release.number, "waves", (json_int_t)r->waves), err));
		return begin(ctx, group, 1, err);
	}
	struct nh_wave w;
	NH_TRY(wave_load(ctx, r->release_id, r->wave, &w, err));
	if (!at_gate(&w))
		return NH_OK;
	if (!nh_slice_eq_str(w.state, "waiting"))
		NH_TRY(wait_at_gate(ctx, group, &w, err));
	return may_pass(&w, now) ? nh_rollout_pass(ctx, group, NH_LIT(""), err) : NH_OK;
}

/* ---- who belongs to a wave ------------------------------------------------------------------------------------------------------ */

static nh_rc count_page(struct nh_ctx *ctx, const struct nh_group *g, uint64_t from, uint64_t below, struct nh_rollout_prepare *state, struct nh_err *err)
{
	struct nh_rows *rows = NULL;
	NH_TRY(nh_sql_one(ctx->tx, &nh_q_wave_page,
	                  NH_PARAMS(nh_p_text(g->release.firmware_uuid), nh_p_int((int64_t)nh_rollout_start(g->release.id)), nh_p_int((int64_t)from), nh_p_int((int64_t)below),
	                            nh_p_int(g->release.id), nh_p_int(g->id), nh_p_int(state->after_id), nh_p_int(COUNT_PAGE)),
	                  &rows, err));
	state->done = nh_col_null(rows, 0);
	if (!state->done) {
		state->after_id = nh_col_int(rows, 0);
		state->size += nh_col_int(rows, 1);
	}
	nh_sql_end(rows);
	return NH_OK;
}

static void read_id(const struct nh_rows *rows, struct nh_arena *arena, void *item)
{
	*(int64_t *)item = nh_col_int(rows, 0);
}

/* What the query finds now, page after page in the order of identifiers. */
static nh_rc find_page(struct nh_ctx *ctx, const struct nh_group *g, nh_slice query, struct nh_rollout_prepare *state, struct nh_list *ids, struct nh_err *err)
{
	char id[24];
	snprintf(id, sizeof id, "%lld", (long long)g->id);
	const struct nh_filter in_group = {NH_LIT("deployment_id"), nh_slice_str(id)};
	const struct nh_device_cursor after = {.rank = state->cursor_rank, .is_text = true, .text = nh_slice_str(state->cursor), .identifier = nh_slice_str(state->cursor)};
	struct nh_device_search search = {.product_id = g->product_id, .now_us = nh_ctx_now(ctx), .filters = &in_group, .filter_count = 1, .limit = NAME_PAGE};
	struct nh_device_cursor last = {0};
	struct nh_rows *rows = NULL;
	NH_TRY(nh_device_query_parse(ctx->arena, query, search.now_us, &search.expression, &(struct nh_query_fault){0}, err));
	search.after = state->cursor[0] ? &after : NULL;
	NH_TRY(nh_device_search_rows(ctx->tx, ctx->arena, &search, &rows, err));
	nh_rc rc;
	while ((rc = nh_sql_next(rows, err)) == NH_OK) {
		read_id(rows, ctx->arena, nh_list_add(ids));
		nh_device_cursor_read(rows, ctx->arena, &search, &last);
	}
	nh_sql_end(rows);
	state->done = ids->count < NAME_PAGE;
	state->cursor_rank = last.rank;
	snprintf(state->cursor, sizeof state->cursor, "%.*s", NH_ARG(last.identifier));
	return rc == NH_ENOTFOUND ? NH_OK : rc;
}

/* Those that a begun share has already are none of this wave's. */
static nh_rc name_page(struct nh_ctx *ctx, const struct nh_group *g, const struct nh_wave *w, uint64_t begun, struct nh_rollout_prepare *state, struct nh_err *err)
{
	struct nh_list list = NH_LIST_OF(ctx->arena, int64_t);
	NH_TRY(find_page(ctx, g, w->query, state, &list, err));
	const int64_t *ids = list.items;
	for (size_t i = 0; i < list.count; i++) {
		int64_t changed = 0;
		if (nh_rollout_rank(g->release.id, ids[i]) < begun)
			continue;
		NH_TRY(nh_sql_exec(ctx->tx, &nh_q_wave_name,
		                   NH_PARAMS(nh_p_int(g->release.id), nh_p_int(w->number), nh_p_int(ids[i]), nh_p_int(g->id), nh_p_text(g->release.firmware_uuid)), &changed, err));
		state->size += changed;
	}
	return NH_OK;
}

/* The largest share of the waves before. */
static nh_rc begun_before(struct nh_ctx *ctx, const struct nh_wave *wave, int64_t release_id, uint64_t *share, struct nh_err *err)
{
	struct nh_list list = NH_LIST_OF(ctx->arena, struct nh_wave);
	*share = 0;
	NH_TRY(nh_list_rows(ctx->tx, &list, &nh_q_wave_list, NH_PARAMS(nh_p_int(release_id)), nh_wave_read, err));
	const struct nh_wave *waves = list.items;
	for (size_t i = 0; i < list.count; i++) {
		if (waves[i].number < wave->number && waves[i].share > *share)
			*share = waves[i].share;
	}
	return NH_OK;
}

nh_rc nh_rollout_prepare(struct nh_ctx *ctx, struct nh_rollout_prepare *state, struct nh_err *err)
{
	struct nh_group g;
	struct nh_wave w;
	uint64_t begun;
	int64_t group_id;
	nh_rc rc = nh_query_id(ctx->tx, &nh_q_group_of_release, NH_PARAMS(nh_p_int(state->release_id)), &group_id, err);
	if (rc == NH_OK)
		rc = nh_group_get_by_id(ctx, group_id, &g, err);
	if (rc == NH_OK)
		rc = wave_load(ctx, state->release_id, state->wave, &w, err);
	if (rc == NH_ENOTFOUND) { /* another release has taken its place, or the plan was replaced */
		state->done = true;
		return NH_OK;
	}
	NH_TRY(rc);
	NH_TRY(begun_before(ctx, &w, state->release_id, &begun, err));
	if (w.query.len > 0)
		NH_TRY(name_page(ctx, &g, &w, begun, state, err));
	else
		NH_TRY(count_page(ctx, &g, begun, w.share, state, err));
	if (!state->done)
		return NH_OK;
	nh_wake_group(ctx, g.id);
	return nh_sql_exec(ctx->tx, &nh_q_wave_size, NH_PARAMS(nh_p_int(state->size), nh_p_int(state->release_id), nh_p_int(state->wave)), NULL, err);
}
