/*
 * Connections: two ends that hear of each other late. What a device says arrives in order unless a fault has it otherwise; an end that nobody announced is noticed a minute later; a
 * connection of a server's earlier life is nobody's.
 *
 * The server's end does what device_api's socket, device_channel, presence and polling do around the same hub functions.
 */
#include <stdlib.h>

#include "connection_int.h"
#include "hub/polling.h"

#define LATENCY_US (400 * NH_US_PER_MS)
#define OVERTAKEN_US (30 * SIM_S)
#define JOIN_WITHIN_US SIM_S /* then the beginning is written without one. source: device_api/presence.c */
#define JSON_MAX ((size_t)1 << 16)

static int64_t now_at_end(void *ctx) { return *(int64_t *)ctx; }

static struct sim_node *node_of(struct sim *s, const struct sim_conn *c) { return &s->nodes[c->node]; }

/* Does the server that accepted it still live, and hold it? */
static bool held(struct sim *s, const struct sim_conn *c) { return c->server_end && node_of(s, c)->alive && node_of(s, c)->epoch == c->epoch; }

static int64_t latency(struct sim *s) { return sim_span(s, 2 * NH_US_PER_MS, LATENCY_US); }

/* When a message that is sent now arrives: after those before it. */
static int64_t arrival(struct sim *s, int64_t *last_us)
{
	int64_t at = s->now_us + latency(s);
	if (sim_fault(s, NH_SIM_REORDER))
		return at + sim_span(s, 0, OVERTAKEN_US);
	*last_us = at > *last_us ? at : *last_us + 1;
	return *last_us;
}

/* ---- the server's end -------------------------------------------------------------------------------------------------------- */

struct end {
	struct sim_conn *c;
	int64_t at_us;
	bool newer; /* the device is here again */
};

static nh_rc end_tx(struct nh_ctx *ctx, struct sim *s, void *arg, struct nh_err *err)
{
	struct end *end = arg;
	struct sim_conn *c = end->c;
	struct nh_clock clock = {now_at_end, &end->at_us};
	struct nh_ctx at = *ctx;
	bool written;
	at.clock = &clock;
	if (c->written || end->newer)
		return nh_session_disconnect(&at, c->session.device_id, c->session.connection_id, NH_SLICE_EMPTY, err);
	nh_rc rc = nh_session_connect_late(&at, &c->opening, end->at_us, &written, err);
	return rc == NH_ENOTFOUND ? NH_OK : rc;
}

static nh_rc on_end(struct sim *s, const struct sim_event *e, struct nh_err *err)
{
	struct sim_conn *c = s->conns[e->who];
	struct sim_node *node = node_of(s, c);
	if (!node->alive || node->epoch != c->epoch)
		return NH_OK;
	struct end end = {c, e->number, node->registry[c->device] != 0};
	nh_rc rc = sim_write(s, node, end_tx, &end, err);
	sim_note(s, "end of connection %zu of device %zu: %s", e->who, c->device, nh_rc_name(rc));
	return rc;
}

static void let_go(struct sim *s, struct sim_conn *c)
{
	struct sim_node *node = node_of(s, c);
	c->server_end = false;
	if (node->registry[c->device] == c->index + 1)
		node->registry[c->device] = 0;
	sim_at(s, s->now_us + sim_span(s, 0, 2 * SIM_S), on_end, c->index, 0, s->now_us + node->skew_us, NH_SLICE_EMPTY);
}

static nh_rc on_cut(struct sim *s, const struct sim_event *e, struct nh_err *err)
{
	struct sim_conn *c = s->conns[e->who];
	if (c->device_end) {
		c->device_end = false;
		sim_device_cut(s, c);
	}
	return NH_OK;
}

void sim_server_close(struct sim *s, struct sim_conn *c)
{
	if (!held(s, c))
		return;
	let_go(s, c);
	sim_at(s, arrival(s, &c->server_last_us), on_cut, c->index, 0, 0, NH_SLICE_EMPTY);
}

void sim_server_gone(struct sim *s, struct sim_conn *c)
{
	c->server_end = false;
	sim_at(s, s->now_us + sim_span(s, NH_US_PER_MS, SIM_MINUTE), on_cut, c->index, 0, 0, NH_SLICE_EMPTY);
}

static nh_rc late_tx(struct nh_ctx *ctx, struct sim *s, void *arg, struct nh_err *err)
{
	struct sim_conn *c = arg;
	return nh_session_connect_late(ctx, &c->opening, 0, &c->written, err);
}

/* It has not joined for a second: its beginning is written without. */
static nh_rc on_no_join(struct sim *s, const struct sim_event *e, struct nh_err *err)
{
	struct sim_conn *c = s->conns[e->who];
	if (!held(s, c) || c->written || node_of(s, c)->registry[c->device] != e->who + 1)
		return NH_OK;
	nh_rc rc = sim_write(s, node_of(s, c), late_tx, c, err);
	if (rc != NH_OK)
		c->written = false;
	sim_note(s, "connection %zu of device %zu does not join: %s", e->who, c->device, nh_rc_name(rc));
	if (rc == NH_ENOTFOUND)
		sim_server_close(s, c);
	return rc;
}

struct join {
	struct sim_conn *c;
	json_t *payload;
	struct nh_session session;
	struct nh_join_result result;
};

static nh_rc join_tx(struct nh_ctx *ctx, struct sim *s, void *arg, struct nh_err *err)
{
	struct join *j = arg;
	j->session = j->c->session;
	return nh_session_join(ctx, &j->session, j->c->written ? NULL : &j->c->opening, j->payload, &j->result, err);
}

static nh_rc hear_join(struct sim *s, struct sim_conn *c, json_t *payload, struct nh_err *err)
{
	struct join j = {.c = c, .payload = payload};
	struct sim_node *node = node_of(s, c);
	if (node->registry[c->device] != c->index + 1) { /* a newer one registered here */
		sim_server_close(s, c);
		return NH_OK;
	}
	/* From the commit on, what is pushed reaches the connection; it is held until the join is answered, which is at once here. */
	bool joined = c->joined;
	c->joined = true;
	nh_rc rc = sim_write(s, node, join_tx, &j, err);
	c->joined = rc == NH_OK || joined;
	if (rc == NH_OK) {
		c->written = true;
		c->session = j.session;
	}
	sim_note(s, "device %zu joins server %zu by connection %zu: %s, group %lld%s", c->device, c->node, c->index, nh_rc_name(rc), (long long)j.result.group_id,
		 j.result.firmware_changed ? ", with another firmware" : "");
	s->result->succeeded += rc == NH_OK && j.result.firmware_changed;
	if (rc != NH_OK)
		sim_server_close(s, c);
	return rc;
}

struct said {
	struct sim_conn *c;
	const struct nh_session_event *event;
	json_t *payload;
	nh_slice update;
};

static nh_rc event_tx(struct nh_ctx *ctx, struct sim *s, void *arg, struct nh_err *err)
{
	struct said *said = arg;
	if (said->event)
		return said->event->handle(ctx, &said->c->session, said->payload, err);
	NH_TRY(nh_session_ask_update(ctx, &said->c->session, &said->update, err));
	if (!said->update.len)
		return NH_OK;
	NH_TRY(sim_judge_update(s, ctx, said->c->session.device_id, said->update, true, err));
	nh_effect_add(ctx, NH_EFFECT_DEVICE_PUSH, said->c->session.device_id, NH_LIT("update"), said->update); /* the answer */
	return NH_OK;
}

static nh_rc on_hear(struct sim *s, const struct sim_event *e, struct nh_err *err)
{
	struct sim_conn *c = s->conns[e->who];
	nh_slice name, text;
	NH_AUTO_JSON json_t *payload = NULL;
	if (!held(s, c))
		return NH_OK;
	nh_slice_cut(nh_slice_str(e->text), '\n', &name, &text);
	NH_TRY(nh_json_parse(text, JSON_MAX, &payload, err));
	if (nh_slice_eq_str(name, "phx_join"))
		return hear_join(s, c, payload, err);
	struct said said = {.c = c, .event = nh_session_event_find(name), .payload = payload};
	bool asks = nh_slice_eq_str(name, "check_update_available");
	if (!c->joined || (!asks && (!said.event || !said.event->handle)))
		return NH_OK;
	nh_rc rc = sim_write(s, node_of(s, c), event_tx, &said, err);
	sim_note(s, "device %zu says %.*s %.*s: %s", c->device, NH_ARG(name), NH_ARG(text), nh_rc_name(rc));
	return rc;
}

/* The server hears that the device's end is gone. */
static nh_rc on_server_eof(struct sim *s, const struct sim_event *e, struct nh_err *err)
{
	struct sim_conn *c = s->conns[e->who];
	if (held(s, c))
		let_go(s, c);
	return NH_OK;
}

static nh_rc on_device_hear(struct sim *s, const struct sim_event *e, struct nh_err *err)
{
	struct sim_conn *c = s->conns[e->who];
	nh_slice name, payload;
	if (!c->device_end)
		return NH_OK;
	nh_slice_cut(nh_slice_str(e->text), '\n', &name, &payload);
	return sim_device_hear(s, c, name, payload, err);
}

static nh_slice message(struct nh_buf *text, nh_slice event, nh_slice payload)
{
	nh_buf_put_slice(text, event);
	nh_buf_put_str(text, "\n");
	nh_buf_put_slice(text, payload);
	return nh_buf_slice(text);
}

void sim_server_push(struct sim *s, struct sim_conn *c, nh_slice event, nh_slice payload)
{
	NH_AUTO_BUF struct nh_buf text = NH_BUF_INIT;
	if (!held(s, c) || !c->joined)
		return;
	nh_slice m = message(&text, event, payload);
	sim_at(s, arrival(s, &c->server_last_us), on_device_hear, c->index, 0, 0, m);
	if (sim_fault(s, NH_SIM_TWICE))
		sim_at(s, arrival(s, &c->server_last_us), on_device_hear, c->index, 0, 0, m);
}

/* ---- accepting ------------------------------------------------------------------------------------------------------------------ */

static nh_rc on_accept(struct sim *s, const struct sim_event *e, struct nh_err *err)
{
	struct sim_conn *c = s->conns[e->who];
	struct sim_node *node = node_of(s, c);
	if (!node->alive) {
		sim_at(s, s->now_us + latency(s), on_cut, e->who, 0, 0, NH_SLICE_EMPTY);
		return NH_OK;
	}
	if (!c->device_end)
		return NH_OK;
	c->server_end = true;
	c->epoch = node->epoch;
	nh_opening_make(&c->opening, s->devices[c->device].id, NH_SLICE_EMPTY, &node->clock, &s->hub_rng);
	c->session = nh_session_of(&c->opening);
	size_t older = node->registry[c->device];
	node->registry[c->device] = e->who + 1;
	if (older)
		sim_server_close(s, s->conns[older - 1]);
	sim_at(s, s->now_us + JOIN_WITHIN_US, on_no_join, e->who, 0, 0, NH_SLICE_EMPTY);
	sim_device_accepted(s, c);
	return NH_OK;
}

/* ---- the device's end -------------------------------------------------------------------------------------------------------------- */

bool sim_conn_open(struct sim *s, struct sim_device *d)
{
	struct sim_node *node = sim_node_any(s);
	if (!node)
		return false;
	if (s->conn_count == s->conn_cap) {
		s->conn_cap = s->conn_cap ? 2 * s->conn_cap : 256;
		s->conns = realloc(s->conns, s->conn_cap * sizeof(struct sim_conn *));
		NH_ASSERT(s->conns);
	}
	struct sim_conn *c = nh_xcalloc(1, sizeof *c);
	*c = (struct sim_conn){.index = s->conn_count, .device = d->index, .node = node->index, .device_end = true};
	s->conns[s->conn_count++] = c;
	d->conn = s->conn_count;
	sim_at(s, s->now_us + latency(s), on_accept, s->conn_count - 1, 0, 0, NH_SLICE_EMPTY);
	return true;
}

void sim_conn_say(struct sim *s, struct sim_conn *c, nh_slice event, json_t *take_payload)
{
	NH_AUTO_JSON json_t *payload = take_payload;
	NH_AUTO_BUF struct nh_buf json = NH_BUF_INIT, text = NH_BUF_INIT;
	if (!c->device_end)
		return;
	nh_json_put(&json, payload);
	nh_slice m = message(&text, event, nh_buf_slice(&json));
	sim_at(s, arrival(s, &c->device_last_us), on_hear, c->index, 0, 0, m);
	if (!nh_slice_eq_str(event, "phx_join") && sim_fault(s, NH_SIM_TWICE))
		sim_at(s, arrival(s, &c->device_last_us), on_hear, c->index, 0, 0, m);
}

void sim_conn_close(struct sim *s, struct sim_conn *c, bool noticed)
{
	if (!c->device_end)
		return;
	c->device_end = false;
	int64_t at = noticed ? s->now_us + latency(s) : s->now_us + sim_span(s, 30 * SIM_S, 90 * SIM_S);
	sim_at(s, at > c->device_last_us ? at : c->device_last_us + 1, on_server_eof, c->index, 0, 0, NH_SLICE_EMPTY);
}

/* ---- asking ---------------------------------------------------------------------------------------------------------------------- */

struct poll {
	struct nh_opening opening;
	json_t *payload;
	nh_slice update;
	struct nh_arena *arena;
};

static nh_rc poll_tx(struct nh_ctx *ctx, struct sim *s, void *arg, struct nh_err *err)
{
	struct poll *poll = arg;
	NH_TRY(nh_poll(ctx, &poll->opening, poll->payload, &poll->update, err));
	if (poll->update.len)
		NH_TRY(sim_judge_update(s, ctx, poll->opening.device_id, poll->update, true, err));
	poll->update = nh_arena_copy(poll->arena, poll->update);
	return NH_OK;
}

nh_rc sim_poll(struct sim *s, struct sim_device *d, json_t *take_payload, struct nh_arena *arena, nh_slice *update, struct nh_err *err)
{
	NH_AUTO_JSON json_t *payload = take_payload;
	struct sim_node *node = sim_node_any(s);
	*update = NH_SLICE_EMPTY;
	if (!node)
		return NH_ECLOSED;
	struct poll poll = {.payload = payload, .arena = arena};
	uint64_t epoch = node->epoch;
	nh_opening_make(&poll.opening, d->id, NH_SLICE_EMPTY, &node->clock, &s->hub_rng);
	nh_rc rc = sim_write(s, node, poll_tx, &poll, err);
	sim_note(s, "device %zu asks server %zu: %s, %s", d->index, node->index, nh_rc_name(rc), poll.update.len ? "an update" : "nothing");
	if (rc != NH_OK || !node->alive || node->epoch != epoch)
		return rc == NH_OK ? NH_ECLOSED : rc;
	*update = poll.update;
	return NH_OK;
}
