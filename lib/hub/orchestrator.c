/*
 * The orchestrator: which waiting devices of a group get its free slots. Selection walks the distinct firmwares of the group's connected devices
 * and takes the first few of each in the group's order, so its cost follows the number of slots and firmwares and not the size of the fleet
 * (unless release tags or interfaces exclude many). Every pick is decided again by nh_update_decide before anything is sent.
 *
 * source: reference/server-behaviour "3.8"
 */
#include <stdlib.h>

#include "hub/archives.h"
#include "hub/audit.h"
#include "hub/deltas.h"
#include "hub/orchestrator.h"
#include "hub/rollouts.h"
#include "events_int.h"
#include "input_int.h"
#include "rollout_int.h"
#include "rows_int.h"
#include "staged_int.h"
#include "store/rollout.h"
#include "store/staged_rollout.h"

#define PAGE 200
#define EXPIRE_MAX 500
#define REMIND_MAX 500

enum order { ORDER_FIFO, ORDER_LIFO, ORDER_WAVES };

/* Parts of the order of a rollout whose waves have not all begun: the begun share from its start to the end of all places, the rest of it from the first place, and whom a wave named. */
enum part { PART_SHARE, PART_AROUND, PART_NAMED };

struct candidate {
	int64_t device_id;
	int64_t key; /* connected at, first seen, or its place */
	int64_t part;
};

struct selection {
	struct nh_ctx *ctx;
	const struct nh_group *group;
	nh_update_how how;
	size_t want;
	enum order order;
	const struct candidate *after; /* NULL: from the beginning */
	int64_t delta_until_us; /* of the source being walked */
	struct nh_list list; /* of struct candidate */
};

/* ---- selection ------------------------------------------------------------------------------------------------------------- */

/* The part of the decision that a row of the walk can answer. */
static struct nh_update_decision decide_row(const struct selection *s, const struct nh_rows *rows)
{
	const struct nh_group *g = s->group;
	struct nh_device_facts d = {.firmware_version = nh_col_text(rows, 2, s->ctx->arena), .delta_until_us = s->delta_until_us};
	if (g->release_tag_count)
		nh_text_list_read(s->ctx->arena, nh_col_text(rows, 3, s->ctx->arena), &d.tags, &d.tag_count);
	if (g->release_interface_count)
		d.network_interface = nh_col_text(rows, 4, s->ctx->arena);
	if (g->rollout.release_id) {
		d.id = nh_col_int(rows, 0);
		d.timezone = nh_col_text(rows, 5, s->ctx->arena);
		d.named_release_id = nh_col_int(rows, 6);
		if (d.timezone.len > 0)
			(void)!nh_zone_find(d.timezone, &d.zone, NULL);
	}
	return nh_update_decide(&d, g, s->how, nh_ctx_now(s->ctx));
}

/* A walk over the devices of one firmware: all of them in the group's order, those of a range of places, or those that a wave named. */
struct walk {
	enum { WALK_ALL, WALK_SHARE, WALK_NAMED } over;
	nh_slice source;
	struct candidate position; /* where it stands, and its part */
	uint64_t below;            /* of WALK_SHARE: where it ends */
};

static nh_rc open_page(struct selection *s, const struct walk *walk, struct nh_rows **rows, struct nh_err *err)
{
	const struct nh_group *g = s->group;
	int64_t now = nh_ctx_now(s->ctx), key = walk->position.key, id = walk->position.device_id;
	if (walk->over == WALK_SHARE)
		return nh_sql_query(s->ctx->tx, &nh_q_waiting_share,
		                    NH_PARAMS(nh_p_int(g->id), nh_p_text(walk->source), nh_p_int(now), nh_p_int(key), nh_p_int((int64_t)walk->below), nh_p_int(PAGE)), rows, err);
	if (walk->over == WALK_NAMED)
		return nh_sql_query(s->ctx->tx, &nh_q_waiting_named,
		                    NH_PARAMS(nh_p_int(g->rollout.release_id), nh_p_text(walk->source), nh_p_int(now), nh_p_int(key), nh_p_int(id), nh_p_int(g->id), nh_p_int(PAGE)), rows, err);
	return nh_sql_query(s->ctx->tx, g->lifo ? &nh_q_waiting_lifo : &nh_q_waiting_fifo,
	                    NH_PARAMS(nh_p_int(g->id), nh_p_text(walk->source), nh_p_int(now), nh_p_int(key), nh_p_int(id), nh_p_int(PAGE)), rows, err);
}

static bool passes_by(const struct nh_update_decision *decision)
{
	static const nh_update_reason reasons[] = {NH_UPDATE_RELEASE_TAGS, NH_UPDATE_NETWORK_INTERFACE, NH_UPDATE_WAVE_NOT_BEGUN, NH_UPDATE_OUTSIDE_WINDOW};
	for (size_t i = 0; i < NH_ARRAY_LEN(reasons); i++) {
		if (nh_update_has_reason(decision, reasons[i]))
			return true;
	}
	return false;
}

static void stand_behind(struct walk *walk, const struct candidate *found)
{
	walk->position = *found;
	walk->position.key += walk->over == WALK_SHARE; /* no two devices have one place */
}

/* One page. *end: no further one is needed. */
static nh_rc select_page(struct selection *s, struct walk *walk, size_t *taken, bool *end, struct nh_err *err)
{
	struct nh_rows *rows = NULL;
	size_t seen = 0;
	NH_TRY(open_page(s, walk, &rows, err));
	nh_rc rc = NH_OK;
	bool above = false;
	while (*taken < s->want && !above && (rc = nh_sql_next(rows, err)) == NH_OK) {
		seen++;
		struct candidate found = {nh_col_int(rows, 0), nh_col_int(rows, 1), walk->position.part};
		stand_behind(walk, &found);
		struct nh_update_decision decision = decide_row(s, rows);
		above = nh_update_has_reason(&decision, NH_UPDATE_ABOVE_THRESHOLD) || nh_update_has_reason(&decision, NH_UPDATE_DELTA); /* as are all of the same firmware */
		if (above || passes_by(&decision))
			continue;
		*(struct candidate *)nh_list_add(&s->list) = found;
		(*taken)++;
	}
	nh_sql_end(rows);
	*end = above || seen < PAGE || *taken == s->want;
	return rc == NH_ENOTFOUND ? NH_OK : rc;
}

static nh_rc select_walk(struct selection *s, struct walk walk, struct nh_err *err)
{
	size_t taken = 0;
	bool end = s->after && walk.position.part < s->after->part;
	if (s->after && walk.position.part == s->after->part)
		stand_behind(&walk, s->after);
	while (!end)
		NH_TRY(select_page(s, &walk, &taken, &end, err));
	return NH_OK;
}

/* Of a rollout under way: the begun share, which may reach around the end of all places, then whom a wave named. Both are read from indexes alone, whatever the fleet. */
static nh_rc select_begun(struct selection *s, nh_slice source, struct nh_err *err)
{
	const struct nh_rollout *r = &s->group->rollout;
	uint64_t start = nh_rollout_start(r->release_id), stop = start + r->share;
	if (r->share > 0)
		NH_TRY(select_walk(s, (struct walk){WALK_SHARE, source, {0, (int64_t)start, PART_SHARE}, stop < NH_ROLLOUT_WHOLE ? stop : NH_ROLLOUT_WHOLE}, err));
	if (stop > NH_ROLLOUT_WHOLE)
		NH_TRY(select_walk(s, (struct walk){WALK_SHARE, source, {0, 0, PART_AROUND}, stop - NH_ROLLOUT_WHOLE}, err));
	return r->named ? select_walk(s, (struct walk){WALK_NAMED, source, {0, INT64_MIN, PART_NAMED}, 0}, err) : NH_OK;
}

static nh_rc select_source(struct selection *s, nh_slice source, struct nh_err *err)
{
	NH_TRY(nh_delta_wait(s->ctx, s->group, source, true, &s->delta_until_us, err));
	if (s->order == ORDER_WAVES)
		return select_begun(s, source, err);
	return select_walk(s, (struct walk){WALK_ALL, source, s->order == ORDER_LIFO ? (struct candidate){INT64_MAX, INT64_MAX, 0} : (struct candidate){0, INT64_MIN, 0}, 0}, err);
}

static nh_rc next_source(struct selection *s, nh_slice *source, struct nh_err *err)
{
	struct nh_rows *rows = NULL;
	NH_TRY(nh_sql_one(s->ctx->tx, &nh_q_waiting_source, NH_PARAMS(nh_p_int(s->group->id), nh_p_text(*source)), &rows, err));
	*source = nh_col_text(rows, 0, s->ctx->arena);
	nh_sql_end(rows);
	return NH_OK;
}

static int by_key(const void *left, const void *right)
{
	const struct candidate *a = left, *b = right;
	if (a->part != b->part)
		return a->part < b->part ? -1 : 1;
	if (a->key != b->key)
		return a->key < b->key ? -1 : 1;
	return a->device_id < b->device_id ? -1 : a->device_id > b->device_id;
}

static int by_key_descending(const void *left, const void *right)
{
	return by_key(right, left);
}

/* Up to s->want devices in the group's order. */
static nh_rc select_devices(struct selection *s, struct candidate **out, size_t *count, struct nh_err *err)
{
	nh_slice source = NH_LIT("");
	s->list = NH_LIST_OF(s->ctx->arena, struct candidate);
	for (;;) {
		NH_TRY(next_source(s, &source, err));
		if (!source.ptr)
			break;
		if (!nh_slice_eq(source, s->group->release.firmware_uuid))
			NH_TRY(select_source(s, source, err));
	}
	if (s->list.count > 1)
		qsort(s->list.items, s->list.count, sizeof(struct candidate), s->order == ORDER_LIFO ? by_key_descending : by_key);
	*out = s->list.items;
	*count = s->list.count < s->want ? s->list.count : s->want;
	return NH_OK;
}

/* ---- one run ---------------------------------------------------------------------------------------------------------------- */

static nh_rc count_inflight(struct nh_ctx *ctx, int64_t group_id, bool priority, int64_t *out, struct nh_err *err)
{
	return nh_query_id(ctx->tx, &nh_q_inflight_count, NH_PARAMS(nh_p_int(group_id), nh_p_bool(priority)), out, err);
}

static nh_rc schedule(struct nh_ctx *ctx, const struct nh_group *group, int64_t device_id, nh_update_how how, struct nh_orchestrator_result *out,
                      struct nh_err *err)
{
	struct nh_device_facts d;
	struct nh_actor actor = nh_group_actor(group);
	NH_TRY(nh_device_facts_load(ctx, device_id, &d, err));
	struct nh_update_decision decision = nh_update_decide(&d, group, how, nh_ctx_now(ctx));
	if (decision.verdict == NH_UPDATE_PENALIZE) {
		out->penalized++;
		return nh_penalty_box(ctx, &d, group, err);
	}
	if (decision.verdict != NH_UPDATE_SEND)
		return NH_OK;
	out->sent++;
	return nh_update_send(ctx, &actor, &d, group, group->release.firmware_id, how == NH_UPDATE_PRIORITY, err);
}

static enum order order_of(const struct nh_group *group)
{
	if (group->rollout.release_id && group->rollout.wave <= group->rollout.waves)
		return ORDER_WAVES;
	return group->lifo ? ORDER_LIFO : ORDER_FIFO;
}

/* From where the queue stands in out's cursor, which moves on. */
static nh_rc run_queue(struct nh_ctx *ctx, const struct nh_group *group, nh_update_how how, struct nh_orchestrator_result *out, struct nh_err *err)
{
	bool priority = how == NH_UPDATE_PRIORITY;
	struct nh_orchestrator_queue *queue = &out->cursor.queues[priority];
	int64_t limit = priority ? group->priority_queue_concurrent_updates : group->concurrent_updates, free = limit - queue->inflight;
	size_t handled = out->sent + out->penalized, before = out->sent;
	if (free <= 0 || handled >= NH_ORCHESTRATOR_BATCH || queue->ended)
		return NH_OK;

	struct candidate after = {queue->device_id, queue->key, queue->part}, *picks;
	struct selection s = {.ctx = ctx, .group = group, .how = how, .want = NH_ORCHESTRATOR_BATCH - handled, .order = order_of(group), .after = queue->begun ? &after : NULL};
	if (free < (int64_t)s.want)
		s.want = (size_t)free;
	size_t count;
	NH_TRY(select_devices(&s, &picks, &count, err));
	out->waiting += count;
	for (size_t i = 0; i < count; i++)
		NH_TRY(schedule(ctx, group, picks[i].device_id, how, out, err));
	queue->inflight += (int64_t)(out->sent - before);
	queue->ended = count < s.want;
	if (count > 0) {
		const struct candidate *last = &picks[count - 1];
		queue->begun = true;
		queue->part = last->part;
		queue->key = last->key;
		queue->device_id = last->device_id;
	}
	return NH_OK;
}

/* Is a maintenance window open for any of the group's devices? Where the group's own is closed, those in zones of their own may have one. */
static nh_rc any_window_open(struct nh_ctx *ctx, const struct nh_group *g, bool *open, struct nh_err *err)
{
	const struct nh_rollout *r = &g->rollout;
	nh_slice name = NH_LIT("");
	*open = nh_windows_open(r->windows, r->window_count, r->zone, nh_ctx_now(ctx));
	while (!*open) {
		const struct nh_zone *zone = NULL;
		struct nh_rows *rows = NULL;
		NH_TRY(nh_sql_one(ctx->tx, &nh_q_zone_next, NH_PARAMS(nh_p_int(g->id), nh_p_text(name)), &rows, err));
		name = nh_col_text(rows, 0, ctx->arena);
		nh_sql_end(rows);
		if (!name.ptr)
			break;
		(void)!nh_zone_find(name, &zone, NULL);
		*open = nh_windows_open(r->windows, r->window_count, zone, nh_ctx_now(ctx));
	}
	return NH_OK;
}

/* May anything be sent at all, as far as the rollout goes? Lets it go on before. */
static nh_rc rollout_sends(struct nh_ctx *ctx, struct nh_group *g, bool *sends, struct nh_err *err)
{
	struct nh_rollout *r = &g->rollout;
	*sends = true;
	if (r->release_id == 0)
		return NH_OK;
	NH_TRY(nh_rollout_advance(ctx, g, err));
	*sends = (r->state == NH_ROLLOUT_RUNNING || r->state == NH_ROLLOUT_FINISHED) && nh_ctx_now(ctx) >= r->not_before_us;
	return *sends ? any_window_open(ctx, g, sends, err) : NH_OK;
}

/* Everybody was let in, and nobody who could be updated is left. Who comes later still gets it. */
static nh_rc finish(struct nh_ctx *ctx, struct nh_group *g, const struct nh_orchestrator_result *result, struct nh_err *err)
{
	struct nh_event_subject subject = nh_group_subject(g);
	if (g->rollout.state != NH_ROLLOUT_RUNNING || g->rollout.wave <= g->rollout.waves || result->waiting || result->inflight)
		return NH_OK;
	return nh_rollout_move(ctx, &subject, &g->rollout, NH_ROLLOUT_FINISHED, NH_LIT(""), NH_LIT(""), NH_SLICE_EMPTY, err);
}

/*
 * Takes the group's turn: the write locks the row on PostgreSQL, so two nodes that hand out slots of one group go one after the other and see each other's rows. *before: the turn taken last, *turn: this one;
 * 0: there is no such group.
 */
static nh_rc take_turn(struct nh_ctx *ctx, int64_t group_id, int64_t *before, int64_t *turn, struct nh_err *err)
{
	int64_t now = nh_ctx_now(ctx);
	*turn = 0;
	nh_rc rc = nh_query_id(ctx->tx, &nh_q_group_turn, NH_PARAMS(nh_p_int(group_id)), before, err);
	if (rc != NH_OK)
		return rc == NH_ENOTFOUND ? NH_OK : rc;
	*turn = now > *before ? now : *before + 1;
	return nh_sql_exec(ctx->tx, &nh_q_group_lock, NH_PARAMS(nh_p_int(*turn), nh_p_int(group_id)), NULL, err);
}

nh_rc nh_group_take_turn(struct nh_ctx *ctx, int64_t group_id, struct nh_err *err)
{
	int64_t before, turn;
	return take_turn(ctx, group_id, &before, &turn, err);
}

/* The cursor that a run works with: the given one as far as it still holds, with this turn. */
static nh_rc set_out(struct nh_ctx *ctx, const struct nh_group *g, const struct nh_orchestrator_cursor *given, int64_t before, int64_t turn, struct nh_orchestrator_cursor *c, struct nh_err *err)
{
	bool counted = given && given->release_id && given->turn == before;
	*c = (struct nh_orchestrator_cursor){.order = (int)order_of(g)};
	if (given && given->release_id == g->release.id && given->order == c->order)
		*c = *given;
	c->turn = turn;
	c->release_id = g->release.id;
	for (size_t i = 0; i < NH_ARRAY_LEN(c->queues); i++) {
		if (counted)
			c->queues[i].inflight = given->queues[i].inflight;
		else
			NH_TRY(count_inflight(ctx, g->id, i == 1, &c->queues[i].inflight, err));
	}
	return NH_OK;
}

static nh_rc run_queues(struct nh_ctx *ctx, struct nh_group *g, struct nh_orchestrator_result *out, struct nh_err *err)
{
	if (g->priority_queue_enabled)
		NH_TRY(run_queue(ctx, g, NH_UPDATE_PRIORITY, out, err));
	return run_queue(ctx, g, NH_UPDATE_QUEUE, out, err);
}

nh_rc nh_orchestrator_go_on(struct nh_ctx *ctx, int64_t group_id, const struct nh_orchestrator_cursor *cursor, struct nh_orchestrator_result *out, struct nh_err *err)
{
	struct nh_group group;
	int64_t before = 0, turn = 0;
	*out = (struct nh_orchestrator_result){0};
	NH_TRY(take_turn(ctx, group_id, &before, &turn, err));
	if (!turn)
		return NH_OK;
	NH_TRY(nh_group_get_by_id(ctx, group_id, &group, err));
	out->release_id = group.release.id;
	out->rollout_id = group.rollout.release_id;
	bool sends = false;
	if (group.is_active && group.status == NH_GROUP_READY && group.release.firmware_id)
		NH_TRY(rollout_sends(ctx, &group, &sends, err));
	NH_TRY(set_out(ctx, &group, cursor, before, turn, &out->cursor, err));
	bool midway = out->cursor.queues[0].begun || out->cursor.queues[1].begun;
	if (sends)
		NH_TRY(run_queues(ctx, &group, out, err));
	out->inflight = (size_t)(out->cursor.queues[0].inflight + out->cursor.queues[1].inflight);
	if (sends && group.rollout.release_id && !midway)
		NH_TRY(finish(ctx, &group, out, err));
	bool full = out->sent + out->penalized >= NH_ORCHESTRATOR_BATCH;
	out->more = out->penalized > 0 || full || midway;
	if (!full)
		out->cursor = (struct nh_orchestrator_cursor){0};
	if (!group.release.archive_id)
		return NH_OK;
	/* Of its archive the members of an inactive group hear, too. */
	bool untold = false;
	NH_TRY(nh_archive_tell_members(ctx, group_id, NH_ORCHESTRATOR_BATCH, &untold, err));
	out->more = out->more || untold;
	return NH_OK;
}

nh_rc nh_orchestrator_run(struct nh_ctx *ctx, int64_t group_id, struct nh_orchestrator_result *out, struct nh_err *err)
{
	return nh_orchestrator_go_on(ctx, group_id, NULL, out, err);
}

nh_rc nh_orchestrator_ask(struct nh_ctx *ctx, const struct nh_device_facts *d, nh_slice *payload, struct nh_err *err)
{
	struct nh_group group;
	int64_t inflight = 0;
	*payload = NH_SLICE_EMPTY;
	if (d->group_id == 0)
		return NH_OK;
	NH_TRY(nh_group_take_turn(ctx, d->group_id, err));
	NH_TRY(nh_group_get_by_id(ctx, d->group_id, &group, err));
	struct nh_device_facts known = *d;
	NH_TRY(nh_delta_wait(ctx, &group, d->firmware_uuid, true, &known.delta_until_us, err));
	struct nh_update_decision decision = nh_update_decide(&known, &group, NH_UPDATE_POLL, nh_ctx_now(ctx));
	if (decision.verdict == NH_UPDATE_PENALIZE)
		return nh_penalty_box(ctx, d, &group, err);
	if (decision.verdict != NH_UPDATE_SEND || !group.release.firmware_id)
		return NH_OK;
	NH_TRY(count_inflight(ctx, group.id, false, &inflight, err));
	return inflight < group.concurrent_updates ? nh_update_offer(ctx, d, &group, payload, err) : NH_OK;
}

nh_rc nh_orchestrator_groups(struct nh_ctx *ctx, int64_t after_id, int64_t *ids, size_t max, size_t *count, struct nh_err *err)
{
	struct nh_rows *rows = NULL;
	*count = 0;
	NH_TRY(nh_sql_query(ctx->tx, &nh_q_group_ids_active, NH_PARAMS(nh_p_int(after_id), nh_p_int((int64_t)max)), &rows, err));
	nh_rc rc;
	while ((rc = nh_sql_next(rows, err)) == NH_OK && *count < max)
		ids[(*count)++] = nh_col_int(rows, 0);
	nh_sql_end(rows);
	return rc == NH_OK || rc == NH_ENOTFOUND ? NH_OK : rc;
}

/* ---- expiry ------------------------------------------------------------------------------------------------------------------ */

static void read_id(const struct nh_rows *rows, struct nh_arena *arena, void *item)
{
	*(int64_t *)item = nh_col_int(rows, 0);
}

static nh_rc expire_one(struct nh_ctx *ctx, int64_t device_id, struct nh_err *err)
{
	static const char text[] = "no report about the update for 30 minutes";
	struct nh_device_facts d;
	struct nh_inflight row;
	NH_TRY(nh_device_facts_load(ctx, device_id, &d, err));
	NH_TRY(nh_inflight_get(ctx, device_id, &row, err));
	if (row.stage >= NH_STAGE_STARTED)
		NH_TRY(nh_delta_blame(ctx, device_id, err));
	struct nh_actor actor = nh_device_actor(&d);
	NH_TRY(nh_sql_exec(ctx->tx, &nh_q_inflight_delete, NH_PARAMS(nh_p_int(device_id)), NULL, err));
	NH_TRY(nh_sql_exec(ctx->tx, &nh_q_device_set_failure, NH_PARAMS(nh_p_str(text), nh_p_int(nh_ctx_now(ctx)), nh_p_int(device_id)), NULL, err));
	NH_TRY(nh_rollout_failed(ctx, &d, NH_SIGNAL_INSTALL, err));
	nh_wake_group(ctx, d.inflight_group_id);
	nh_device_topic(ctx, device_id);
	NH_TRY(nh_event_of_update(ctx, NH_EVENT_UPDATE_EXPIRED, &d, row.group_id, row.firmware_uuid, NH_SLICE_EMPTY, nh_slice_str(text), err));
	return nh_audit_add(ctx, &actor, d.org_id, NH_AUDIT_DEVICE, device_id, err, "Update of device %.*s expired: %s", NH_ARG(d.identifier), text);
}

/*
 * Since its update was sent, all that speaks for it may have changed: the device was switched off or moved to another group, the group was switched off, its rollout paused or stopped, its release replaced. Waves
 * and windows were open then. What a person pushed to it (no group) is theirs to take back.
 */
static nh_rc may_hear_again(struct nh_ctx *ctx, int64_t device_id, bool *yes, struct nh_err *err)
{
	struct nh_device_facts d;
	struct nh_group group;
	struct nh_inflight row;
	NH_TRY(nh_device_facts_load(ctx, device_id, &d, err));
	*yes = d.inflight_group_id == 0;
	if (*yes || d.inflight_group_id != d.group_id)
		return NH_OK;
	NH_TRY(nh_group_get_by_id(ctx, d.group_id, &group, err));
	NH_TRY(nh_inflight_get(ctx, device_id, &row, err));
	d.inflight = false; /* this very one */
	*yes = row.firmware_id == group.release.firmware_id && nh_update_decide(&d, &group, NH_UPDATE_BY_HAND, nh_ctx_now(ctx)).verdict == NH_UPDATE_SEND;
	return NH_OK;
}

nh_rc nh_orchestrator_remind(struct nh_ctx *ctx, size_t *reminded, struct nh_err *err)
{
	struct nh_list list = NH_LIST_OF(ctx->arena, int64_t);
	int64_t now = nh_ctx_now(ctx), after = now - NH_REMIND_UNTIL_S * NH_US_PER_S, until = now - NH_REMIND_AFTER_S * NH_US_PER_S;
	*reminded = 0;
	NH_TRY(nh_list_rows(ctx->tx, &list, &nh_q_inflight_unheard, NH_PARAMS(nh_p_int(after), nh_p_int(until), nh_p_int(REMIND_MAX)), read_id, err));
	const int64_t *ids = list.items;
	for (size_t i = 0; i < list.count; i++) {
		bool again = false;
		NH_TRY(may_hear_again(ctx, ids[i], &again, err));
		if (again)
			NH_TRY(nh_update_send_again(ctx, ids[i], err));
		*reminded += again;
	}
	return NH_OK;
}

nh_rc nh_orchestrator_expire(struct nh_ctx *ctx, size_t *expired, struct nh_err *err)
{
	struct nh_list list = NH_LIST_OF(ctx->arena, int64_t);
	int64_t now = nh_ctx_now(ctx), before = now - NH_INFLIGHT_EXPIRY_S * NH_US_PER_S;
	/* A report from that far ahead was dated by a clock that was set back since; its update would keep the device from others for as long. */
	int64_t ahead = now + NH_INFLIGHT_EXPIRY_S * NH_US_PER_S;
	*expired = 0;
	NH_TRY(nh_list_rows(ctx->tx, &list, &nh_q_inflight_expired, NH_PARAMS(nh_p_int(before), nh_p_int(ahead), nh_p_int(EXPIRE_MAX)), read_id, err));
	const int64_t *ids = list.items;
	for (size_t i = 0; i < list.count; i++)
		NH_TRY(expire_one(ctx, ids[i], err));
	*expired = list.count;
	return NH_OK;
}
