/*
 * The judge: what must hold after every transaction, and in the end. It asks the rows, and the devices' own view of themselves; it calls nothing that decided.
 */
#include <stdio.h>
#include <string.h>

#include "base/encode.h"
#include "hub/rollouts.h"
#include "simulate_int.h"
#include "store/simulate.h"

#define PAYLOAD_MAX ((size_t)1 << 20)

/* Each statement answers with what breaks the rule. */
static const struct {
	const char *name;
	const struct nh_stmt *stmt;
} invariants[] = {
	{"one update in flight a device", &nh_q_check_one_update},
	{"a group's device_count is its members' number", &nh_q_check_group_count},
	{"a product's device_count is its live devices' number", &nh_q_check_product_count},
	{"a member is of its group's product, and alive", &nh_q_check_member},
	{"connected in one table is connected in the other", &nh_q_check_online},
	{"no update in flight to a deleted device", &nh_q_check_inflight_live},
	{"no firmware of another organization or product in flight", &nh_q_check_inflight_own},
	{"every update in flight is in the audit log", &nh_q_check_inflight_told},
};

/* As the trace counts them. */
static size_t no(struct sim *s, int64_t device_id)
{
	const struct sim_device *d = sim_device_by_id(s, device_id);
	return d ? d->index : SIZE_MAX;
}

static struct sim_counts *counts_of(struct sim *s, int64_t group_id)
{
	for (size_t i = 0; i < s->count_count; i++)
		if (s->counts[i].group_id == group_id)
			return &s->counts[i];
	NH_ASSERT(s->count_count < NH_ARRAY_LEN(s->counts));
	s->counts[s->count_count] = (struct sim_counts){.group_id = group_id};
	return &s->counts[s->count_count++];
}

/* More than the limit may only be in flight where it was so before (the limit was lowered since), or where a person sent one. */
static nh_rc judge_limit(int64_t group_id, const char *queue, int64_t limit, int64_t *before, int64_t now, bool by_hand, struct nh_err *err)
{
	int64_t most = *before + by_hand > limit ? *before + by_hand : limit;
	*before = now;
	return now <= most ? NH_OK : sim_broken(err, "group %lld has %lld updates of its %s queue in flight; its limit is %lld", (long long)group_id, (long long)now, queue, (long long)limit);
}

static nh_rc judge_limits(struct sim *s, struct nh_ctx *ctx, struct nh_err *err)
{
	struct nh_rows *rows = NULL;
	nh_rc rc;
	NH_TRY(nh_sql_query(ctx->tx, &nh_q_check_limits, NH_NO_PARAMS, &rows, err));
	while ((rc = nh_sql_next(rows, err)) == NH_OK) {
		struct sim_counts *c = counts_of(s, nh_col_int(rows, 0));
		rc = judge_limit(c->group_id, "normal", nh_col_int(rows, 1), &c->normal, nh_col_int(rows, 3), s->by_hand, err);
		if (rc == NH_OK)
			rc = judge_limit(c->group_id, "priority", nh_col_int(rows, 2), &c->priority, nh_col_int(rows, 4), false, err);
		if (rc != NH_OK)
			break;
	}
	nh_sql_end(rows);
	return rc == NH_ENOTFOUND ? NH_OK : rc;
}

nh_rc sim_judge(struct sim *s, struct nh_ctx *ctx, struct nh_err *err)
{
	for (size_t i = 0; i < NH_ARRAY_LEN(invariants); i++) {
		struct nh_rows *rows = NULL;
		nh_rc rc = nh_sql_one(ctx->tx, invariants[i].stmt, NH_NO_PARAMS, &rows, err);
		if (rc == NH_ENOTFOUND)
			continue;
		NH_TRY(rc);
		long long id = (long long)nh_col_int(rows, 0);
		nh_sql_end(rows);
		return sim_broken(err, "not so: %s (%lld)", invariants[i].name, id);
	}
	return judge_limits(s, ctx, err);
}

/* ---- what is sent ------------------------------------------------------------------------------------------------------------ */

static nh_rc judge_group_update(struct sim *s, struct nh_ctx *ctx, const struct nh_device_facts *d, const struct nh_inflight *row, bool asked, struct nh_err *err)
{
	struct nh_group group;
	if (!asked && !d->connected)
		return sim_broken(err, "device %zu is sent an update and is not connected", no(s, d->id));
	if (!d->updates_enabled)
		return sim_broken(err, "device %zu is sent an update, and its updates are disabled", no(s, d->id));
	if (d->blocked_until_us > nh_ctx_now(ctx))
		return sim_broken(err, "device %zu is sent an update in the penalty box", no(s, d->id));
	if (d->group_id == 0 || d->group_id != d->inflight_group_id)
		return sim_broken(err, "device %zu is sent an update of group %lld and is in group %lld", no(s, d->id), (long long)d->inflight_group_id, (long long)d->group_id);
	NH_TRY(nh_group_get_by_id(ctx, d->group_id, &group, err));
	if (group.rollout.release_id && (group.rollout.state == NH_ROLLOUT_PAUSED || group.rollout.state == NH_ROLLOUT_STOPPED))
		return sim_broken(err, "device %zu is sent an update by group %lld, whose rollout is halted", no(s, d->id), (long long)group.id);
	if (!group.is_active || group.status != NH_GROUP_READY)
		return sim_broken(err, "device %zu is sent an update by group %lld, which is not active", no(s, d->id), (long long)group.id);
	const struct nh_rollout *r = &group.rollout;
	bool again = row->inserted_at_us != nh_ctx_now(ctx); /* a reminder of what it was sent when it was let in, whatever people have planned since */
	bool begun = r->release_id == 0 || r->wave > r->waves || (r->named && d->named_release_id == r->release_id) || nh_rollout_rank(r->release_id, d->id) < r->share;
	if (!begun && !again && !s->by_hand)
		return sim_broken(err, "device %zu is sent an update by group %lld, and its wave has not begun", no(s, d->id), (long long)group.id);
	const struct sim_firmware *f = sim_firmware_find(s, row->firmware_uuid);
	if (!f || !nh_slice_eq_str(d->platform, f->platform))
		return sim_broken(err, "device %zu runs %.*s and is sent a firmware for %s", no(s, d->id), NH_ARG(d->platform), f ? f->platform : "nobody");
	return NH_OK;
}

nh_rc sim_judge_update(struct sim *s, struct nh_ctx *ctx, int64_t device_id, nh_slice text, bool asked, struct nh_err *err)
{
	struct nh_device_facts d;
	struct nh_inflight row;
	NH_AUTO_JSON json_t *payload = NULL;
	NH_TRY(nh_json_parse(text, PAYLOAD_MAX, &payload, err));
	nh_slice uuid = nh_json_text(json_object_get(payload, "firmware_meta"), "uuid");
	NH_TRY(nh_device_facts_load(ctx, device_id, &d, err));
	if (d.deleted)
		return sim_broken(err, "device %zu is sent an update and is deleted", no(s, device_id));
	if (!d.inflight)
		return sim_broken(err, "device %zu is sent an update, and no row says so", no(s, device_id));
	NH_TRY(nh_inflight_get(ctx, device_id, &row, err));
	if (!nh_slice_eq(row.firmware_uuid, uuid))
		return sim_broken(err, "device %zu is sent %.*s, and its row says %.*s", no(s, device_id), NH_ARG(uuid), NH_ARG(row.firmware_uuid));
	if (row.group_id && nh_slice_eq(uuid, d.firmware_uuid))
		return sim_broken(err, "device %zu is sent what it runs", no(s, device_id));
	struct nh_rows *wrong = NULL;
	nh_rc fits = nh_sql_one(ctx->tx, &nh_q_check_delta_fits, NH_PARAMS(nh_p_int(device_id), nh_p_int(nh_ctx_now(ctx))), &wrong, err);
	if (fits == NH_OK) {
		nh_sql_end(wrong);
		return sim_broken(err, "device %zu is sent a delta that it cannot use, or again one after that failed", no(s, device_id));
	}
	if (fits != NH_ENOTFOUND)
		return fits;
	s->result->sent++;
	return row.group_id ? judge_group_update(s, ctx, &d, &row, asked, err) : NH_OK;
}

/* ---- servers and devices ------------------------------------------------------------------------------------------------------- */

struct question {
	const struct nh_stmt *stmt;
	struct nh_param params[2];
	size_t count;
};

static nh_rc ask_tx(struct nh_ctx *ctx, struct sim *s, void *arg, struct nh_err *err)
{
	const struct question *q = arg;
	struct nh_rows *rows = NULL;
	NH_TRY(nh_sql_one(ctx->tx, q->stmt, q->params, q->count, &rows, err));
	nh_sql_end(rows);
	return NH_OK;
}

/* NH_OK: there is such a row; NH_ENOTFOUND: none. */
static nh_rc ask(struct sim *s, struct sim_node *node, struct question q, struct nh_err *err)
{
	NH_AUTO_ARENA struct nh_arena arena = NH_ARENA_INIT;
	struct nh_effects effects = {0};
	return sim_read(s, node, ask_tx, &q, &effects, &arena, err);
}

/* "…/firmware/deltas/ID/…" */
static bool delta_of(nh_slice url, int64_t *id)
{
	static const char mark[] = "/firmware/deltas/";
	const char *at = memmem(url.ptr, url.len, mark, sizeof mark - 1);
	nh_slice number, rest = at ? nh_slice_of(at + sizeof mark - 1, url.len - (size_t)(at - (const char *)url.ptr) - (sizeof mark - 1)) : NH_SLICE_EMPTY;
	nh_slice_cut(rest, '/', &number, &rest);
	return at && nh_parse_i64(number, 1, INT64_MAX, id) == NH_OK;
}

/* The update may be over by now, since a message takes its time; but that it was begun is in the log for ever. */
nh_rc sim_judge_heard(struct sim *s, const struct sim_device *d, nh_slice uuid, nh_slice url, struct nh_err *err)
{
	int64_t delta_id;
	if (s->lean)
		return NH_OK;
	if (delta_of(url, &delta_id)) {
		nh_rc fits = ask(s, &s->nodes[0], (struct question){&nh_q_check_delta_source, {nh_p_int(delta_id), nh_p_str(d->running)}, 2}, err);
		if (fits != NH_ENOTFOUND)
			return fits == NH_OK ? sim_broken(err, "device %zu runs %s and hears of a delta from another firmware", d->index, d->running) : fits;
	}
	nh_rc rc = ask(s, &s->nodes[0], (struct question){&nh_q_check_started, {nh_p_int(d->id), nh_p_text(uuid)}, 2}, err);
	return rc == NH_ENOTFOUND ? sim_broken(err, "device %zu hears of %.*s, and nobody committed that", d->index, NH_ARG(uuid)) : rc;
}

nh_rc sim_judge_start(struct sim *s, struct sim_node *node, struct nh_err *err)
{
	nh_rc rc = ask(s, node, (struct question){&nh_q_check_node_clean, {nh_p_text(node->config.node)}, 1}, err);
	return rc == NH_OK ? sim_broken(err, "server %zu starts, and connections of its last life are still there", node->index) : rc == NH_ENOTFOUND ? NH_OK : rc;
}

/* ---- the end ------------------------------------------------------------------------------------------------------------------ */

static nh_rc judge_groupless(struct sim *s, struct nh_ctx *ctx, const struct nh_device_facts *d, struct nh_err *err)
{
	struct nh_group *groups;
	size_t count;
	struct nh_match_device match = {d->firmware_version, d->platform, d->architecture, d->tags, d->tag_count};
	NH_TRY(nh_group_list(ctx, d->product_id, &groups, &count, err));
	/* It is looked for at the join; who stayed connected may wait for that. */
	if (no(s, d->id) % 2)
		return NH_OK;
	ptrdiff_t found = d->firmware_uuid.len ? nh_group_choose(groups, count, &match, NULL) : -1;
	return found < 0 ? NH_OK : sim_broken(err, "device %zu is in no group, and group %lld would have it", no(s, d->id), (long long)groups[found].id);
}

/* Whoever is connected is so by a connection that the server it names holds. */
static nh_rc judge_connection(struct sim *s, struct nh_ctx *ctx, const struct sim_device *v, struct nh_err *err)
{
	struct nh_rows *rows = NULL;
	bool held = false;
	NH_TRY(nh_sql_one(ctx->tx, &nh_q_check_connection, NH_PARAMS(nh_p_int(v->id)), &rows, err));
	nh_slice id = nh_col_text(rows, 0, ctx->arena), name = nh_col_text(rows, 1, ctx->arena);
	nh_sql_end(rows);
	for (size_t i = 0; i < s->node_count; i++) {
		const struct sim_node *node = &s->nodes[i];
		const struct sim_conn *c = node->alive && node->registry[v->index] ? s->conns[node->registry[v->index] - 1] : NULL;
		held = held || (c && nh_slice_eq(name, node->config.node) && nh_slice_eq_str(id, c->session.connection_id));
	}
	return held ? NH_OK : sim_broken(err, "device %zu is connected to %.*s, which does not hold that connection", v->index, NH_ARG(name));
}

/* Every device runs its group's firmware, or the rules say why not; that it could be sent now, is about to be, or is under way are no reasons any more. */
static nh_rc judge_device(struct sim *s, struct nh_ctx *ctx, const struct sim_device *v, struct nh_err *err)
{
	struct nh_device_facts d;
	struct nh_group group;
	NH_TRY(nh_device_facts_load(ctx, v->id, &d, err));
	if (d.deleted || v->gone)
		return NH_OK;
	if (d.firmware_uuid.len && !nh_slice_eq_str(d.firmware_uuid, v->running))
		return sim_broken(err, "device %zu runs %s, and the server believes %.*s", no(s, d.id), v->running, NH_ARG(d.firmware_uuid));
	if (!v->polls && !d.connected)
		return sim_broken(err, "device %zu is connected, and the server does not know", no(s, d.id));
	if (d.connected)
		NH_TRY(judge_connection(s, ctx, v, err));
	if (d.inflight)
		return sim_broken(err, "device %zu still has an update in flight", no(s, d.id));
	if (d.group_id == 0)
		return judge_groupless(s, ctx, &d, err);
	NH_TRY(nh_group_get_by_id(ctx, d.group_id, &group, err));
	struct nh_update_decision decision = nh_update_decide(&d, &group, v->polls ? NH_UPDATE_POLL : NH_UPDATE_QUEUE, nh_ctx_now(ctx));
	if (decision.verdict != NH_UPDATE_WAIT)
		return sim_broken(err, "device %zu was forgotten: it runs %s, its group wants %.*s, and nothing speaks against it", no(s, d.id), v->running, NH_ARG(group.release.firmware_uuid));
	return NH_OK;
}

static nh_rc end_tx(struct nh_ctx *ctx, struct sim *s, void *arg, struct nh_err *err)
{
	for (size_t i = 0; i < s->device_count; i++)
		NH_TRY(judge_device(s, ctx, &s->devices[i], err));
	return NH_OK;
}

nh_rc sim_judge_end(struct sim *s, struct nh_err *err)
{
	NH_AUTO_ARENA struct nh_arena arena = {.cap_bytes = (size_t)1 << 30};
	struct nh_effects effects = {0};
	return sim_read(s, &s->nodes[0], end_tx, NULL, &effects, &arena, err);
}
