/*
 * A server as the rules see it: what wakes groups and when they run, what is looked at from time to time, effects carried out after the commit, death and a new start. It does what
 * device_api does around the same hub functions, without its sockets and threads; where that changes, this has to.
 *
 * source: device_api/rollout.c, device_api/api.c, src/nerveshubd/nodes.c, src/nerveshubd/scheduler.c
 */
#include <stdio.h>

#include "connection_int.h"
#include "hub/nodes.h"

#define TICK_US (100 * NH_US_PER_MS)
#define STALE_AFTER_US (45 * SIM_MINUTE)
#define SEEN_EVERY_US (15 * SIM_MINUTE)
#define SEEN_MAX 500

static int64_t node_now(void *ctx)
{
	const struct sim_node *node = ctx;
	return node->sim->now_us + node->skew_us;
}

struct sim_node *sim_node_any(struct sim *s)
{
	size_t first = s->node_count > 1 ? sim_pick(s, s->node_count) : 0;
	for (size_t i = 0; i < s->node_count; i++) {
		struct sim_node *node = &s->nodes[(first + i) % s->node_count];
		if (node->alive)
			return node;
	}
	return NULL;
}

/* ---- runs of groups ---------------------------------------------------------------------------------------------------------- */

static nh_rc run_group_tx(struct nh_ctx *ctx, struct sim *s, void *arg, struct nh_err *err)
{
	struct nh_orchestrator_result *result = arg;
	int64_t group_id = (int64_t)result->inflight;
	return nh_orchestrator_run(ctx, group_id, result, err);
}

static struct sim_wanted *wanted_of(struct sim_node *node, int64_t group_id)
{
	for (size_t i = 0; i < node->wanted_count; i++)
		if (node->wanted[i].group_id == group_id)
			return &node->wanted[i];
	NH_ASSERT(node->wanted_count < NH_ARRAY_LEN(node->wanted));
	node->wanted[node->wanted_count] = (struct sim_wanted){.group_id = group_id};
	return &node->wanted[node->wanted_count++];
}

static void wake(struct sim *s, struct sim_node *node, int64_t group_id);

static nh_rc on_run_group(struct sim *s, const struct sim_event *e, struct nh_err *err)
{
	struct sim_node *node = &s->nodes[e->who];
	if (!node->alive || node->epoch != e->serial)
		return NH_OK;
	struct sim_wanted *w = wanted_of(node, e->number);
	w->planned = false;
	w->not_before_us = s->now_us + NH_ORCHESTRATOR_DEBOUNCE_MS * NH_US_PER_MS;
	struct nh_orchestrator_result result = {.inflight = (size_t)e->number};
	nh_rc rc = sim_write(s, node, run_group_tx, &result, err);
	sim_note(s, "server %zu runs group %lld: %s, sent %zu, boxed %zu, in flight %zu", node->index, (long long)e->number, nh_rc_name(rc), result.sent, result.penalized, result.inflight);
	if (rc == NH_OK && result.inflight > s->in_flight_peak)
		s->in_flight_peak = result.inflight;
	if (rc == NH_OK && result.more && node->alive && node->epoch == e->serial)
		wake(s, node, e->number);
	return rc;
}

static void wake(struct sim *s, struct sim_node *node, int64_t group_id)
{
	struct sim_wanted *w = wanted_of(node, group_id);
	if (!node->alive || w->planned || group_id == 0)
		return;
	w->planned = true;
	int64_t at = s->now_us + TICK_US;
	sim_at(s, at > w->not_before_us ? at : w->not_before_us, on_run_group, node->index, node->epoch, group_id, NH_SLICE_EMPTY);
}

/* ---- what comes round ------------------------------------------------------------------------------------------------------------ */

/* Looks at its clock as it does each second; a step is noticed, and what is overdue by it is left alone for a while. */
static void watch_clock(struct sim *s, struct sim_node *node)
{
	if (nh_clock_look(&node->watch, node_now(node), (uint64_t)((s->now_us - s->start_us) / NH_US_PER_MS)) != 0)
		node->stepped_us = s->now_us;
}

static void set_clock(struct sim *s, struct sim_node *node, int64_t skew_us)
{
	node->skew_us = skew_us;
	watch_clock(s, node);
	sim_note(s, "server %zu: its clock is off by %lld s", node->index, (long long)(skew_us / SIM_S));
}

/* Whether somebody sets its clock. */
static nh_rc do_clock(struct sim *s, struct sim_node *node, struct nh_err *err)
{
	static const int64_t skews[] = {0, 0, 2 * SIM_HOUR, -2 * SIM_HOUR, 72 * SIM_HOUR, -72 * SIM_HOUR, 90 * SIM_S};
	if (sim_fault(s, NH_SIM_CLOCK))
		set_clock(s, node, skews[sim_pick(s, NH_ARRAY_LEN(skews))]);
	return NH_OK;
}

struct seen {
	struct nh_seen items[SEEN_MAX];
	size_t count;
};

static nh_rc seen_tx(struct nh_ctx *ctx, struct sim *s, void *arg, struct nh_err *err)
{
	const struct seen *seen = arg;
	return nh_session_seen(ctx, seen->items, seen->count, err);
}

static nh_rc do_seen(struct sim *s, struct sim_node *node, struct nh_err *err)
{
	NH_AUTO_ARENA struct nh_arena arena = {.cap_bytes = (size_t)1 << 26};
	struct seen *seen = NH_NEW(&arena, struct seen);
	for (size_t i = 0; i < s->device_count && node->alive; i++) {
		const struct sim_conn *c = node->registry[i] ? s->conns[node->registry[i] - 1] : NULL;
		if (!c || !c->joined)
			continue;
		struct nh_seen *item = &seen->items[seen->count++];
		*item = (struct nh_seen){.device_id = c->session.device_id, .at_us = node_now(node)};
		for (size_t k = 0; k < sizeof item->connection_id; k++)
			item->connection_id[k] = c->session.connection_id[k];
		if (seen->count < SEEN_MAX)
			continue;
		NH_TRY(sim_write(s, node, seen_tx, seen, err));
		seen->count = 0;
	}
	return seen->count && node->alive ? sim_write(s, node, seen_tx, seen, err) : NH_OK;
}

/* ---- other servers ---------------------------------------------------------------------------------------------------------------- */

static bool is_here(void *ctx, int64_t device_id)
{
	const struct sim_node *node = ctx;
	const struct sim_device *d = sim_device_by_id(node->sim, device_id);
	return d && node->registry[d->index];
}

static nh_rc tell(void *ctx, struct nh_tx *tx, nh_slice name, struct nh_err *err)
{
	struct sim *s = ((struct sim_node *)ctx)->sim;
	for (size_t i = 0; i < s->node_count; i++)
		if (&s->nodes[i] != ctx && (nh_slice_eq_str(name, "*") || nh_slice_eq(name, s->nodes[i].config.node)))
			s->nodes[i].told = true;
	return NH_OK;
}

static struct nh_node row_of(const struct sim_node *node)
{
	return (struct nh_node){.name = node->config.node, .life = nh_slice_str(node->life), .url = NH_LIT(""), .certificate = NH_LIT(""), .version = NH_LIT("simulated")};
}

struct node_call {
	struct nh_node row;
	size_t count;
	struct nh_node *list;
};

static nh_rc enter_tx(struct nh_ctx *ctx, struct sim *s, void *arg, struct nh_err *err) { return nh_node_enter(ctx, &((struct node_call *)arg)->row, err); }
static nh_rc beat_tx(struct nh_ctx *ctx, struct sim *s, void *arg, struct nh_err *err) { return nh_node_beat(ctx, &((struct node_call *)arg)->row, err); }
static nh_rc take_tx(struct nh_ctx *ctx, struct sim *s, void *arg, struct nh_err *err) { return nh_node_take(ctx, &((struct node_call *)arg)->count, err); }
static nh_rc bury_tx(struct nh_ctx *ctx, struct sim *s, void *arg, struct nh_err *err) { return nh_node_bury(ctx, &((struct node_call *)arg)->row, &((struct node_call *)arg)->count, err); }

static nh_rc list_tx(struct nh_ctx *ctx, struct sim *s, void *arg, struct nh_err *err)
{
	struct node_call *call = arg;
	return nh_node_list(ctx, &call->list, &call->count, err);
}

static nh_rc take_messages(struct sim *s, struct sim_node *node, struct nh_err *err)
{
	struct node_call call = {0};
	s->relays = true;
	nh_rc rc = sim_write(s, node, take_tx, &call, err);
	if (call.count)
		sim_note(s, "server %zu takes %zu messages", node->index, call.count);
	return rc;
}

static nh_rc on_take(struct sim *s, const struct sim_event *e, struct nh_err *err) { return s->nodes[e->who].alive ? take_messages(s, &s->nodes[e->who], err) : NH_OK; }

/* It was taken for dead: what it holds is nobody's. */
static nh_rc begin_anew(struct sim *s, struct sim_node *node, struct nh_err *err)
{
	struct node_call call = {.row = row_of(node)};
	sim_note(s, "server %zu was buried alive", node->index);
	nh_rc rc = sim_write(s, node, enter_tx, &call, err);
	for (size_t i = 0; rc == NH_OK && node->alive && i < s->device_count; i++)
		if (node->registry[i])
			sim_server_close(s, s->conns[node->registry[i] - 1]);
	return rc;
}

static nh_rc look(struct sim *s, struct sim_node *node, struct nh_err *err)
{
	NH_AUTO_ARENA struct nh_arena arena = NH_ARENA_INIT;
	struct nh_effects effects = {0};
	struct node_call call = {0};
	bool dead[NH_NODES_MAX] = {0};
	NH_TRY(sim_read(s, node, list_tx, &call, &effects, &arena, err));
	nh_node_look(&node->lives, node->config.node, call.list, call.count, (uint64_t)((s->now_us - s->start_us) / NH_US_PER_MS) + 1, NH_NODE_LEASE_MS, dead);
	node->nodes.others = call.count > 1;
	for (size_t i = 0; i < call.count && node->alive; i++) {
		struct node_call bury = {.row = call.list[i], .count = 1};
		nh_rc rc = NH_OK;
		while (dead[i] && rc == NH_OK && bury.count && node->alive) {
			rc = sim_write(s, node, bury_tx, &bury, err);
			sim_note(s, "server %zu buries %.*s: %s, %zu", node->index, NH_ARG(bury.row.name), nh_rc_name(rc), bury.count);
			bury.row.life = NH_LIT("");
		}
		NH_TRY(sim_answer(rc));
	}
	return NH_OK;
}

static nh_rc do_beat(struct sim *s, struct sim_node *node, struct nh_err *err)
{
	struct node_call call = {.row = row_of(node)};
	nh_rc rc = sim_write(s, node, beat_tx, &call, err);
	if (rc == NH_ENOTFOUND && node->alive)
		rc = begin_anew(s, node, err);
	NH_TRY(rc);
	if (node->alive)
		NH_TRY(take_messages(s, node, err));
	return node->alive ? look(s, node, err) : NH_OK;
}

/* ---- rounds ----------------------------------------------------------------------------------------------------------------------- */

static const struct {
	nh_rc (*run)(struct sim *s, struct sim_node *node, struct nh_err *err);
	int64_t every_us, first_us;
} rounds[] = {
	{do_beat, NH_NODE_BEAT_MS * NH_US_PER_MS, NH_NODE_BEAT_MS * NH_US_PER_MS},
	{sim_jobs_round, SIM_MINUTE, 30 * SIM_S},
	{do_clock, 2 * SIM_MINUTE, 2 * SIM_MINUTE},
	{do_seen, SEEN_EVERY_US, SEEN_EVERY_US},
};

static nh_rc on_round(struct sim *s, const struct sim_event *e, struct nh_err *err)
{
	struct sim_node *node = &s->nodes[e->who];
	if (!node->alive || node->epoch != e->serial || (s->node_count < 2 && rounds[e->number].run == do_beat))
		return NH_OK;
	sim_at(s, s->now_us + rounds[e->number].every_us, on_round, e->who, e->serial, e->number, NH_SLICE_EMPTY);
	if (s->honest && node->skew_us)
		set_clock(s, node, 0);
	watch_clock(s, node);
	return rounds[e->number].run(s, node, err);
}

/* ---- effects ---------------------------------------------------------------------------------------------------------------------- */

static nh_rc on_wake_there(struct sim *s, const struct sim_event *e, struct nh_err *err)
{
	wake(s, &s->nodes[e->who], e->number);
	return NH_OK;
}

/* What travels with a commit goes out with it, whatever becomes of the server. */
void sim_node_told(struct sim *s)
{
	for (size_t i = 0; i < s->node_count; i++) {
		if (s->nodes[i].told && !sim_fault(s, NH_SIM_BUS))
			sim_at(s, s->now_us + sim_span(s, 500, 50 * NH_US_PER_MS), on_take, i, 0, 0, NH_SLICE_EMPTY);
		s->nodes[i].told = false;
	}
}

static nh_rc carry_out(struct sim *s, struct sim_node *node, const struct nh_effect *e)
{
	if (e->kind == NH_EFFECT_GROUP_WAKE) {
		wake(s, node, e->id);
		for (size_t i = 0; i < s->node_count; i++)
			if (i != node->index && sim_fault(s, NH_SIM_WAKE_TWICE))
				sim_at(s, s->now_us + sim_span(s, 500, 50 * NH_US_PER_MS), on_wake_there, i, 0, e->id, NH_SLICE_EMPTY);
	}
	if (e->kind == NH_EFFECT_JOB) {
		sim_jobs_wake(s, node);
		sim_builder_wake(s, node);
	}
	const struct sim_device *d = e->kind == NH_EFFECT_DEVICE_PUSH || e->kind == NH_EFFECT_DEVICE_CLOSE ? sim_device_by_id(s, e->id) : NULL;
	if (!d || !node->registry[d->index])
		return NH_OK;
	struct sim_conn *c = s->conns[node->registry[d->index] - 1];
	if (e->kind == NH_EFFECT_DEVICE_PUSH)
		sim_server_push(s, c, e->name, e->payload);
	else if (e->payload.len == 0 || nh_slice_eq_str(e->payload, c->session.connection_id))
		sim_server_close(s, c);
	return NH_OK;
}

nh_rc sim_node_effects(struct sim *s, struct sim_node *node, const struct nh_effects *effects, struct nh_err *err)
{
	for (size_t i = 0; i < effects->count; i++)
		NH_TRY(carry_out(s, node, &effects->items[i]));
	return NH_OK;
}

/* ---- start and death --------------------------------------------------------------------------------------------------------------- */

static nh_rc clean_tx(struct nh_ctx *ctx, struct sim *s, void *arg, struct nh_err *err) { return nh_session_clean_node(ctx, nh_ctx_node(ctx), arg, err); }

static nh_rc stale_tx(struct nh_ctx *ctx, struct sim *s, void *arg, struct nh_err *err) { return nh_session_clean_stale(ctx, nh_ctx_now(ctx) - STALE_AFTER_US, arg, err); }

nh_rc sim_node_start(struct sim *s, struct sim_node *node, struct nh_err *err)
{
	bool lull = s->lull;
	size_t cleaned = 1;
	node->alive = true;
	s->calm_us = s->now_us;
	node->epoch++;
	node->clock = (struct nh_clock){node_now, node};
	node->watch = (struct nh_clock_watch){0};
	node->stepped_us = 0;
	node->wanted_count = 0;
	if (!node->registry)
		node->registry = nh_xcalloc(s->device_count, sizeof *node->registry);
	watch_clock(s, node);
	node->lives = (struct nh_node_watch){0};
	node->nodes = (struct nh_nodes){.here = is_here, .tell = tell, .ctx = node, .others = s->node_count > 1};
	node->config.nodes = s->node_count > 1 ? &node->nodes : NULL;
	snprintf(node->life, sizeof node->life, "life-%llu", (unsigned long long)node->epoch);
	s->lull = true; /* it dies again soon enough */
	nh_rc rc = NH_OK;
	while (rc == NH_OK && cleaned > 0)
		rc = sim_write(s, node, clean_tx, &cleaned, err);
	for (cleaned = 1; rc == NH_OK && cleaned > 0;)
		rc = sim_write(s, node, stale_tx, &cleaned, err);
	if (rc == NH_OK)
		rc = sim_judge_start(s, node, err);
	struct node_call enter = {.row = row_of(node)};
	if (rc == NH_OK && s->node_count > 1)
		rc = sim_write(s, node, enter_tx, &enter, err);
	if (rc == NH_OK)
		rc = sim_jobs_start(s, node, err);
	sim_builder_start(s, node);
	s->lull = lull;
	for (size_t i = 0; i < NH_ARRAY_LEN(rounds); i++)
		sim_at(s, s->now_us + rounds[i].first_us, on_round, node->index, node->epoch, (int64_t)i, NH_SLICE_EMPTY);
	sim_note(s, "server %zu starts", node->index);
	return rc;
}

static nh_rc on_restart(struct sim *s, const struct sim_event *e, struct nh_err *err)
{
	struct sim_node *node = &s->nodes[e->who];
	return node->alive ? NH_OK : sim_node_start(s, node, err);
}

void sim_node_kill(struct sim *s, struct sim_node *node)
{
	if (!node->alive)
		return;
	node->alive = false;
	s->calm_us = s->now_us;
	s->result->kills++;
	sim_note(s, "server %zu dies", node->index);
	for (size_t i = 0; i < s->device_count; i++) {
		if (node->registry[i])
			sim_server_gone(s, s->conns[node->registry[i] - 1]);
		node->registry[i] = 0;
	}
	sim_at(s, s->now_us + sim_span(s, SIM_S, 4 * SIM_MINUTE), on_restart, node->index, node->epoch, 0, NH_SLICE_EMPTY);
}
