/*
 * Why is this device not updated, and what would change that? Loads what the rules look at, asks them, and puts their answers together: the reasons of nh_update_decide, the slots that the
 * orchestrator counts, the groups as nh_group_match and nh_group_keep see them, and what became of the updates so far. What is said of each reason: update_reasons.c.
 *
 * Nothing is decided here, and looking changes nothing (elsewhere it does).
 * source: reference/server-behaviour "3.3", "3.4", "3.8" to "3.10"
 */
#include "explain_int.h"
#include "hub/deltas.h"
#include "rollout_int.h"
#include "rows_int.h"
#include "input_int.h"
#include "store/plan.h"
#include "store/rollout.h"

/* ---- loading ---------------------------------------------------------------------------------------------------------------- */

static nh_rc count_slots(struct nh_ctx *ctx, const struct nh_group *group, struct nh_explained *out, struct nh_err *err)
{
	out->normal.limit = group->concurrent_updates;
	out->prioritized.limit = group->priority_queue_enabled ? group->priority_queue_concurrent_updates : 0;
	NH_TRY(nh_query_id(ctx->tx, &nh_q_inflight_count, NH_PARAMS(nh_p_int(group->id), nh_p_bool(false)), &out->normal.used, err));
	return nh_query_id(ctx->tx, &nh_q_inflight_count, NH_PARAMS(nh_p_int(group->id), nh_p_bool(true)), &out->prioritized.used, err);
}

nh_rc nh_update_explain(struct nh_ctx *ctx, int64_t org_id, int64_t device_id, struct nh_explained *out, struct nh_err *err)
{
	int64_t now = nh_ctx_now(ctx);
	*out = (struct nh_explained){0};
	NH_TRY(nh_device_facts_load(ctx, device_id, &out->facts, err));
	if (out->facts.org_id != org_id)
		return NH_FAIL(err, NH_ENOTFOUND, "no such device");
	out->has_group = out->facts.group_id != 0;
	if (out->has_group) {
		NH_TRY(nh_group_get_by_id(ctx, out->facts.group_id, &out->group, err));
		NH_TRY(count_slots(ctx, &out->group, out, err));
		NH_TRY(nh_delta_wait(ctx, &out->group, out->facts.firmware_uuid, false, &out->facts.delta_until_us, err));
	}
	const struct nh_group *group = out->has_group ? &out->group : NULL;
	out->decision = nh_update_decide(&out->facts, group, NH_UPDATE_QUEUE, now);
	out->priority = group && nh_update_decide(&out->facts, group, NH_UPDATE_PRIORITY, now).verdict == NH_UPDATE_SEND;
	return NH_OK;
}

/* ---- the answer: verdict, reasons, slots -------------------------------------------------------------------------------------- */

static bool has_slot(const struct nh_explained *x)
{
	return nh_slots_free(x->normal) > 0 || (x->priority && nh_slots_free(x->prioritized) > 0);
}

static bool up_to_date(const struct nh_explained *x) { return nh_update_has_reason(&x->decision, NH_UPDATE_SAME_FIRMWARE); }

static const char *verdict_of(const struct nh_explained *x)
{
	if (up_to_date(x))
		return "up_to_date";
	if (x->decision.verdict == NH_UPDATE_SEND)
		return has_slot(x) ? "update" : "wait";
	return x->decision.verdict == NH_UPDATE_PENALIZE ? "penalize" : "wait";
}

static json_t *summary_of(const struct question *q)
{
	const struct nh_explained *x = &q->x;
	NH_AUTO_BUF struct nh_buf text = NH_BUF_INIT;
	if (up_to_date(x)) {
		nh_buf_printf(&text, "Device %.*s runs firmware %.*s, which its deployment group %.*s wants.", NH_ARG(q->device->identifier), NH_ARG(x->facts.firmware_version),
		              NH_ARG(x->group.name));
	} else if (x->decision.verdict == NH_UPDATE_SEND) {
		nh_buf_printf(&text, "Device %.*s gets firmware %.*s %s.", NH_ARG(q->device->identifier), NH_ARG(x->group.release.firmware_version),
		              has_slot(x) ? "at the next run of its deployment group" : "when it is its turn: as many devices update already as may at once");
	} else {
		nh_buf_printf(&text, "Device %.*s gets no update now: ", NH_ARG(q->device->identifier));
		for (size_t i = 0; i < x->decision.count; i++)
			nh_buf_printf(&text, "%s%s", i ? "; " : "", nh_update_reason_text(x->decision.reasons[i]));
		nh_buf_put_u8(&text, '.');
	}
	return nh_json_new_text(nh_buf_slice(&text));
}

static json_t *reasons_json(const struct question *q)
{
	const struct nh_explained *x = &q->x;
	json_t *list = json_array();
	for (size_t i = 0; i < x->decision.count; i++)
		json_array_append_new(list, reason_json(q, x->decision.reasons[i]));
	if (x->decision.verdict == NH_UPDATE_SEND && !has_slot(x))
		json_array_append_new(list, reason_json(q, NH_UPDATE_REASON_COUNT));
	return list;
}

static json_t *queue_json(struct nh_slots slots, bool takes)
{
	return json_pack("{s:I, s:I, s:I, s:b}", "limit", (json_int_t)slots.limit, "in_flight", (json_int_t)slots.used, "free", (json_int_t)nh_slots_free(slots), "takes_device", takes);
}

static json_t *group_json(const struct nh_explained *x)
{
	if (!x->has_group)
		return json_null();
	const struct nh_group *g = &x->group;
	return json_pack("{s:o, s:b, s:I, s:o, s:o, s:{s:o, s:o}}", "name", nh_json_new_text(g->name), "is_active", g->is_active, "release", (json_int_t)g->release.number, "firmware_uuid",
	                 nh_json_new_text(g->release.firmware_uuid), "firmware_version", nh_json_new_text(g->release.firmware_version), "queues", "normal",
	                 queue_json(x->normal, x->decision.verdict == NH_UPDATE_SEND), "priority", queue_json(x->prioritized, x->priority));
}

/* ---- the answer: membership --------------------------------------------------------------------------------------------------- */

static struct nh_match_device match_of(const struct nh_device_facts *d)
{
	return (struct nh_match_device){d->firmware_version, d->platform, d->architecture, d->tags, d->tag_count};
}

static json_t *one_group_json(struct question *q, const struct nh_group *group, bool chosen)
{
	struct nh_match_device device = match_of(&q->x.facts);
	json_t *out = json_pack("{s:o, s:b, s:b}", "deployment_group", nh_json_new_text(group->name), "member", group->id == q->x.facts.group_id, "chosen", chosen);
	q->about = group;
	mismatch_json(q, nh_group_match(group, &device), out);
	return out;
}

/* What happens to its membership at its next join, as things are now. */
static void put_next(struct question *q, const struct nh_group *groups, ptrdiff_t best, json_t *out)
{
	struct nh_match_device device = match_of(&q->x.facts);
	nh_mismatch why = q->x.has_group ? nh_group_keep(&q->x.group, &device) : NH_MATCH_OK;
	bool known = q->x.facts.firmware_uuid.len > 0, leaves = known && why != NH_MATCH_OK, joins = known && best >= 0 && (leaves || !q->x.has_group);
	json_object_set_new(out, "leaves_because", leaves ? json_string(nh_mismatch_code(why)) : json_null());
	json_object_set_new(out, "would_join", joins ? nh_json_new_text(groups[best].name) : json_null());
}

static nh_rc membership_json(struct question *q, json_t **out, struct nh_err *err)
{
	struct nh_group *groups;
	size_t count = 0, matches = 0;
	struct nh_match_device device = match_of(&q->x.facts);
	NH_TRY(nh_group_list(q->ctx, q->device->product_id, &groups, &count, err));
	ptrdiff_t best = nh_group_choose(groups, count, &device, &matches);
	json_t *list = json_array();
	for (size_t i = 0; i < count && i < NH_EXPLAIN_GROUPS_MAX; i++)
		json_array_append_new(list, one_group_json(q, &groups[i], (ptrdiff_t)i == best));
	*out = json_pack("{s:o, s:I, s:o}", "deployment_group", q->x.has_group ? nh_json_new_text(q->x.group.name) : json_null(), "matching", (json_int_t)matches, "groups", list);
	put_next(q, groups, best, *out);
	return NH_OK;
}

/* ---- the answer: history ------------------------------------------------------------------------------------------------------ */

static void read_latest(const struct nh_rows *rows, struct nh_arena *arena, void *item)
{
	int64_t at = nh_col_int(rows, 5), began = nh_col_int(rows, 6);
	*(json_t **)item = json_pack("{s:o, s:o, s:o, s:I, s:I, s:o, s:o, s:o}", "type", nh_json_new_text(nh_col_text(rows, 0, arena)), "from_firmware_uuid",
	                             nh_json_new_text(nh_col_text(rows, 1, arena)), "firmware_uuid", nh_json_new_text(nh_col_text(rows, 2, arena)), "bytes", (json_int_t)nh_col_int(rows, 3),
	                             "saved_bytes", (json_int_t)nh_col_int(rows, 4), "at", moment_json(at), "sent_at", moment_json(began), "seconds",
	                             began ? json_integer((at - began) / NH_US_PER_S) : json_null());
}

static json_t *inflight_json(const struct nh_inflight *row)
{
	return json_pack("{s:o, s:o, s:s, s:o, s:b, s:o, s:o}", "firmware_uuid", nh_json_new_text(row->firmware_uuid), "sent_by",
	                 json_string(row->group_id ? "deployment_group" : "person"), "stage", nh_update_stage_name(row->stage), "progress",
	                 row->progress < 0 ? json_null() : json_integer(row->progress), "priority", row->priority, "sent_at", moment_json(row->inserted_at_us), "updated_at",
	                 moment_json(row->updated_at_us));
}

static nh_rc history_json(const struct question *q, json_t **out, struct nh_err *err)
{
	static const char *const validation[] = {"unknown", "validated", "not_validated"};
	const struct nh_device_facts *d = &q->x.facts;
	json_t *latest = NULL, *attempts = json_array();
	nh_rc rc = nh_one_row(q->ctx->tx, q->ctx->arena, &nh_q_update_stat_latest, NH_PARAMS(nh_p_int(d->id)), read_latest, &latest, "update", err);
	if (rc != NH_OK && rc != NH_ENOTFOUND) {
		json_decref(attempts);
		return rc;
	}
	for (size_t i = 0; i < d->attempt_count; i++)
		json_array_append_new(attempts, moment_json(d->attempts[i]));
	json_t *running = d->firmware_uuid.len == 0 ? json_null()
	                                            : json_pack("{s:o, s:o, s:s, s:b}", "firmware_uuid", nh_json_new_text(d->firmware_uuid), "firmware_version",
	                                                        nh_json_new_text(d->firmware_version), "validation", validation[d->validation], "auto_reverted", d->auto_reverted);
	json_t *failure = d->last_failure.len == 0 ? json_null() : json_pack("{s:o, s:o}", "reason", nh_json_new_text(d->last_failure), "at", moment_json(d->last_failure_at_us));
	*out = json_pack("{s:o, s:o, s:o, s:o, s:o, s:o}", "running", running, "in_flight", q->inflight_known ? inflight_json(&q->inflight) : json_null(), "last_update",
	                 latest ? latest : json_null(), "last_failure", failure, "attempts", attempts, "blocked_until", moment_json(d->blocked_until_us));
	return NH_OK;
}

nh_rc nh_device_explain(struct nh_ctx *ctx, const struct nh_device *device, json_t **out, struct nh_err *err)
{
	struct question q = {.ctx = ctx, .device = device};
	json_t *membership = NULL, *history = NULL;
	*out = NULL;
	NH_TRY(nh_update_explain(ctx, device->org_id, device->id, &q.x, err));
	if (q.x.facts.inflight) {
		nh_rc rc = nh_inflight_get(ctx, device->id, &q.inflight, err);
		if (rc != NH_OK && rc != NH_ENOTFOUND)
			return rc;
		q.inflight_known = rc == NH_OK;
	}
	q.about = q.x.has_group ? &q.x.group : NULL;
	json_t *reasons = reasons_json(&q);
	nh_rc rc = membership_json(&q, &membership, err);
	if (rc == NH_OK)
		rc = history_json(&q, &history, err);
	if (rc != NH_OK) {
		json_decref(reasons);
		json_decref(membership);
		return rc;
	}
	*out = json_pack("{s:o, s:s, s:o, s:o, s:o, s:o, s:o}", "identifier", nh_json_new_text(device->identifier), "verdict", verdict_of(&q.x), "summary", summary_of(&q), "reasons", reasons,
	                 "deployment_group", group_json(&q.x), "membership", membership, "history", history);
	return NH_OK;
}
