/*
 * The judge who waits: every two minutes, for each connected device that its group would have updated, since when nothing or only its delta speaks against that. A device that is ready while its group has
 * room is sent the update within a few rounds; one that waits for a delta does so no longer than its group says, whatever becomes of the build.
 *
 * Where clocks are set, what is early and late is not ours to say; then this judge keeps silent until the end.
 */
#include "hub/deltas.h"
#include "simulate_int.h"
#include "store/simulate.h"

#define EVERY_US (2 * SIM_MINUTE)
#define ROUNDS_US (10 * SIM_MINUTE) /* some rounds, each NH_ORCHESTRATOR_INTERVAL_MS after the last, and what debounces them */

static struct sim_counts *in_flight_of(struct sim *s, int64_t group_id)
{
	for (size_t i = 0; i < s->count_count; i++)
		if (s->counts[i].group_id == group_id)
			return &s->counts[i];
	return NULL;
}

/* One sample of a device. Any other state, release or firmware begins its time anew. */
static nh_rc sample(struct sim *s, struct nh_ctx *ctx, int64_t device_id, struct nh_err *err)
{
	struct sim_device *v = sim_device_by_id(s, device_id);
	struct nh_device_facts d;
	struct nh_group group;
	NH_TRY(nh_device_facts_load(ctx, device_id, &d, err));
	NH_TRY(nh_group_get_by_id(ctx, d.group_id, &group, err));
	NH_TRY(nh_delta_wait(ctx, &group, d.firmware_uuid, false, &d.delta_until_us, err));
	struct nh_update_decision decision = nh_update_decide(&d, &group, NH_UPDATE_QUEUE, nh_ctx_now(ctx));
	const struct sim_counts *c = in_flight_of(s, group.id);
	bool room = !c || c->normal < group.concurrent_updates;
	bool delta = decision.verdict == NH_UPDATE_WAIT && decision.count == 1 && decision.reasons[0] == NH_UPDATE_DELTA;
	if (!room || (!delta && decision.verdict == NH_UPDATE_WAIT)) /* without room it waits for that, whatever else there is to wait for */
		return NH_OK;
	struct sim_wait now = {s->now_us, s->now_us, group.id, group.release.id, delta};
	struct sim_wait *w = &v->wait;
	bool same = w->seen_us + EVERY_US == s->now_us && w->since_us >= s->calm_us && w->group_id == now.group_id && w->release_id == now.release_id && w->delta == now.delta;
	if (!same)
		*w = now;
	w->seen_us = s->now_us;
	int64_t may_us = ROUNDS_US + (delta ? (int64_t)group.delta_wait_minutes * SIM_MINUTE : 0);
	if (s->now_us - w->since_us <= may_us)
		return NH_OK;
	return sim_broken(err, "device %zu has waited for %lld s %s", v->index, (long long)((s->now_us - w->since_us) / SIM_S), delta ? "for its delta" : "while its group had room");
}

static nh_rc watch_tx(struct nh_ctx *ctx, struct sim *s, void *arg, struct nh_err *err)
{
	struct nh_rows *rows = NULL;
	int64_t *ids = nh_arena_alloc(ctx->arena, s->device_count * sizeof *ids);
	size_t count = 0;
	nh_rc rc;
	NH_TRY(nh_sql_query(ctx->tx, &nh_q_check_outdated, NH_NO_PARAMS, &rows, err));
	while ((rc = nh_sql_next(rows, err)) == NH_OK && count < s->device_count)
		ids[count++] = nh_col_int(rows, 0);
	nh_sql_end(rows);
	if (rc != NH_ENOTFOUND && rc != NH_OK)
		return rc;
	for (size_t i = 0; i < count; i++)
		NH_TRY(sample(s, ctx, ids[i], err));
	return NH_OK;
}

static nh_rc on_watch(struct sim *s, const struct sim_event *e, struct nh_err *err)
{
	NH_AUTO_ARENA struct nh_arena arena = {.cap_bytes = (size_t)1 << 26};
	struct nh_effects effects = {0};
	sim_at(s, s->now_us + EVERY_US, on_watch, 0, 0, 0, NH_SLICE_EMPTY);
	return sim_read(s, &s->nodes[0], watch_tx, NULL, &effects, &arena, err);
}

void sim_watch_start(struct sim *s)
{
	if (s->scenario->chance[NH_SIM_CLOCK] == 0)
		sim_at(s, s->now_us + EVERY_US, on_watch, 0, 0, 0, NH_SLICE_EMPTY);
}
