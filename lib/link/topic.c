/*
 * The channels of one connection, a row each: what to join and when, whose message this is, and what the end of a channel leads to. A channel that the server refuses, breaks or closes is joined
 * again: `device` after the same pause each time, since nothing works without it; the others ever more rarely, since the server may simply not have them.
 *
 * Invariant: a message reaches its row only while that topic is joined and the message belongs to this join. source: reference/device-protocol "3.5", "3.7", "18.2"
 */
#include "base/encode.h"
#include "extras_int.h"

#include <stdio.h>

#define JOIN_TIMEOUT_MS 30000
#define REJOIN_MAX_MS 300000

static const struct {
	const char *name;
	void (*begin)(struct nh_link *l);                             /* leads to topic_join, now or later */
	void (*joined)(struct nh_link *l, const json_t *response);
	void (*left)(struct nh_link *l);                              /* was joined, and is no more */
	void (*event)(struct nh_link *l, nh_slice event, const json_t *payload);
	void (*reply)(struct nh_link *l, uint64_t ref, bool ok, const json_t *response); /* to a push; NULL = of no interest */
} rows[LINK_TOPICS] = {
	[LINK_DEVICE] = {"device", channel_rejoin, channel_joined, channel_left, channel_event, NULL},
	[LINK_CONSOLE] = {"console", console_begin, console_joined, console_left, console_event, NULL},
	[LINK_EXTENSIONS] = {"extensions", extensions_begin, extensions_joined, extensions_left, extensions_event, extensions_reply},
};

static nh_slice ref_text(char out[24], uint64_t ref)
{
	snprintf(out, 24, "%llu", (unsigned long long)ref);
	return nh_slice_str(out);
}

/* ---- out */

uint64_t topic_push(struct nh_link *l, link_topic_id id, const char *event, const json_t *payload, const char *text)
{
	char join[24], ref[24];
	const struct link_topic *t = &l->topics[id];
	if (!t->joined || !l->ws)
		return 0;
	struct nh_phoenix_message m = {
		.join_ref = nh_phoenix_ref_text(ref_text(join, t->join_ref)),
		.ref = nh_phoenix_ref_text(ref_text(ref, ++l->next_ref)),
		.topic = nh_slice_str(rows[id].name),
		.event = nh_slice_str(event),
		.payload = (json_t *)(uintptr_t)payload,
		.payload_text = nh_slice_str(text),
	};
	return connection_send(l, &m) ? l->next_ref : 0;
}

uint64_t topic_push_json(struct nh_link *l, link_topic_id id, const char *event, json_t *take_payload)
{
	uint64_t ref = topic_push(l, id, event, take_payload, NULL);
	json_decref(take_payload);
	return ref;
}

void topic_join(struct nh_link *l, link_topic_id id, const json_t *payload)
{
	char ref[24];
	struct link_topic *t = &l->topics[id];
	if (t->joined)
		rows[id].left(l);
	t->joined = false;
	t->join_ref = ++l->next_ref;
	ref_text(ref, t->join_ref);
	struct nh_phoenix_message m = {
		.join_ref = nh_phoenix_ref_text(nh_slice_str(ref)),
		.ref = nh_phoenix_ref_text(nh_slice_str(ref)),
		.topic = nh_slice_str(rows[id].name),
		.event = NH_LIT("phx_join"),
		.payload = (json_t *)(uintptr_t)payload,
	};
	nh_timer_start(t->timer, JOIN_TIMEOUT_MS, 0);
	connection_send(l, &m);
}

/* ---- life */

static void on_timer(void *arg)
{
	struct link_topic *t = arg;
	struct nh_link *l = t->link;
	if (l->ws && (l->phase == LINK_OPEN || l->phase == LINK_JOINED))
		rows[t->id].begin(l);
}

void topics_init(struct nh_link *l)
{
	for (unsigned id = 0; id < LINK_TOPICS; id++) {
		l->topics[id] = (struct link_topic){.link = l, .id = id};
		l->topics[id].timer = nh_timer_new(l->loop, on_timer, &l->topics[id]);
	}
}

static void reset(struct nh_link *l, struct link_topic *t)
{
	bool was = t->joined;
	t->joined = false;
	t->join_ref = 0;
	if (!l->closing)
		nh_timer_stop(t->timer);
	if (was)
		rows[t->id].left(l);
}

void topics_closed(struct nh_link *l)
{
	for (unsigned id = 0; id < LINK_TOPICS; id++) {
		reset(l, &l->topics[id]);
		l->topics[id].failures = 0;
	}
}

void topics_close(struct nh_link *l)
{
	for (unsigned id = 0; id < LINK_TOPICS; id++) {
		nh_timer_close(l->topics[id].timer);
		l->topics[id].timer = NULL;
		reset(l, &l->topics[id]);
	}
}

void topic_start(struct nh_link *l, link_topic_id id)
{
	struct link_topic *t = &l->topics[id];
	if (!t->joined && !t->join_ref)
		rows[id].begin(l);
}

void topic_rejoin_later(struct nh_link *l, link_topic_id id)
{
	struct link_topic *t = &l->topics[id];
	uint64_t delay_ms = l->config.rejoin_ms;
	for (unsigned i = 0; id != LINK_DEVICE && i < t->failures && delay_ms < REJOIN_MAX_MS; i++)
		delay_ms *= 2;
	t->failures++;
	reset(l, t);
	if (!l->closing)
		nh_timer_start(t->timer, link_jitter(l, delay_ms), 0);
}

/* ---- in */

static void on_join_reply(struct nh_link *l, struct link_topic *t, bool ok, const json_t *response)
{
	if (ok) {
		nh_timer_stop(t->timer);
		t->joined = true;
		t->failures = 0;
		rows[t->id].joined(l, response);
		return;
	}
	NH_AUTO_BUF struct nh_buf why = NH_BUF_INIT;
	nh_buf_printf(&why, "the server refused the join%s%s: ", t->id == LINK_DEVICE ? "" : " of ", t->id == LINK_DEVICE ? "" : rows[t->id].name);
	if (response)
		nh_json_put(&why, response);
	topic_rejoin_later(l, t->id);
	link_event_text(l, NH_LINK_ERROR, nh_buf_cstr(&why));
}

static void on_reply(struct nh_link *l, struct link_topic *t, const struct nh_phoenix_message *m)
{
	char text[24];
	bool ok;
	uint64_t ref;
	const json_t *response;
	if (!nh_phoenix_reply(m, &ok, &response))
		return;
	if (t->join_ref && !t->joined && nh_slice_eq(m->ref.text, ref_text(text, t->join_ref)))
		on_join_reply(l, t, ok, response);
	else if (t->joined && rows[t->id].reply && nh_parse_u64(m->ref.text, 1, UINT64_MAX, &ref) == NH_OK)
		rows[t->id].reply(l, ref, ok, response);
}

static void on_heartbeat_reply(struct nh_link *l, const struct nh_phoenix_message *m)
{
	char text[24];
	if (!l->heartbeat_ref || !nh_slice_eq(m->ref.text, ref_text(text, l->heartbeat_ref)))
		return;
	l->heartbeat_ref = 0;
	if (l->phase == LINK_JOINED)
		link_backoff_reset(l);
}

static void dispatch(struct nh_link *l, struct link_topic *t, nh_phoenix_kind kind, const struct nh_phoenix_message *m)
{
	char text[24];
	struct nh_phoenix_ref join = nh_phoenix_ref_text(ref_text(text, t->join_ref));
	if (kind == NH_PHOENIX_REPLY)
		on_reply(l, t, m);
	else if (kind == NH_PHOENIX_EVENT && t->joined && nh_phoenix_join_ref_current(join, m))
		rows[t->id].event(l, m->event, m->payload);
	else if (kind != NH_PHOENIX_EVENT && t->join_ref && nh_slice_eq(m->ref.text, join.text))
		topic_rejoin_later(l, t->id); /* phx_error, and phx_close too: nobody here asked to leave */
}

void topics_message(struct nh_link *l, nh_slice frame)
{
	NH_AUTO_ARENA struct nh_arena arena = NH_ARENA_INIT;
	struct nh_phoenix_message m;
	struct nh_err err = NH_ERR_INIT;
	if (l->phase == LINK_REBOOTING)
		return;
	if (l->codec->decode(&arena, frame, LINK_MESSAGE_MAX, &m, &err) != NH_OK) {
		link_event_text(l, NH_LINK_ERROR, err.msg);
		return;
	}
	nh_phoenix_kind kind = nh_phoenix_kind_of(&m);
	if (kind == NH_PHOENIX_REPLY && nh_slice_eq_str(m.topic, "phoenix"))
		on_heartbeat_reply(l, &m);
	for (unsigned id = 0; id < LINK_TOPICS; id++)
		if (nh_slice_eq_str(m.topic, rows[id].name)) {
			dispatch(l, &l->topics[id], kind, &m);
			break;
		}
	nh_phoenix_message_fini(&m);
}
