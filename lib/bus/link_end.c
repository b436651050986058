/*
 * The devices' end of links (bus/links.h): what another server's people want of this server's devices. Each of their viewers is a guest of the relay here, with the relay's bounds; what they say and the
 * device does not take yet waits here, as much as its window lets be under way, and is acknowledged once the device has it.
 */
#include <stdlib.h>

#include "base/arena.h"
#include "base/log.h"
#include "base/map.h"
#include "bus/links.h"
#include "links_int.h"

#define HELD_AGAIN_MS 20
#define CONGESTED ((size_t)256 << 10) /* bytes that the link has not sent: from here on devices' output is lost rather than kept */
#define OUTPUT_MAX ((size_t)3 << 20)  /* and nothing is added any more; the server ends a socket at 4 MiB */
#define SILENCE_MS 60000              /* the other side pings every 15 s */

struct link;

struct held {
	struct held *next;
	struct nh_buf event, payload;
};

struct stream {
	struct link *link;
	uint64_t id, lost;
	struct nh_relay_viewer *viewer;
	struct held *held, **held_tail; /* said, and not taken by the device */
};

/* Lives as long as its connection and the questions that came over it. [loop] */
struct link {
	struct nh_relay *relay;
	struct nh_conn *conn; /* NULL: gone */
	struct nh_loop *loop;
	struct nh_map *streams;
	struct nh_timer *timer; /* runs while something is held */
	size_t questions;
	bool congested;
};

struct question {
	struct link *link;
	uint64_t number;
};

static nh_slice key_of(const uint64_t *id) { return nh_slice_of(id, sizeof *id); }

static void link_free_if_unused(struct link *l)
{
	if (l->conn || l->questions > 0)
		return;
	nh_map_free(l->streams);
	free(l);
}

static void send_frame(struct link *l, const struct link_frame *f)
{
	NH_AUTO_BUF struct nh_buf bytes = NH_BUF_INIT;
	nh_link_put(&bytes, f);
	nh_ws_send(l->conn, NH_WS_BINARY, nh_buf_slice(&bytes));
}

static void set_waiting(struct link *l, size_t bytes)
{
	size_t it = 0;
	nh_slice key;
	void *value;
	while (nh_map_next(l->streams, &it, &key, &value))
		nh_relay_viewer_waiting(((struct stream *)value)->viewer, bytes);
}

/* ---- from the device ---------------------------------------------------------------------------------------------------------- */

static void held_drop(struct stream *s)
{
	for (struct held *h = s->held, *next; h; h = next) {
		next = h->next;
		nh_buf_fini(&h->event);
		nh_buf_fini(&h->payload);
		free(h);
	}
	s->held = NULL;
	s->held_tail = &s->held;
}

static void on_news(void *ctx, nh_relay_news news, nh_slice event, nh_slice payload, uint64_t lost)
{
	struct stream *s = ctx;
	struct link *l = s->link;
	s->lost += lost;
	if (news == NH_RELAY_CLOSED)
		held_drop(s);
	if (news == NH_RELAY_MESSAGE && nh_ws_unsent(l->conn) + payload.len > OUTPUT_MAX) {
		s->lost++;
		return;
	}
	send_frame(l, &(struct link_frame){.kind = LINK_NEWS, .a = s->id, .b = s->lost, .c = (uint8_t)news, .event = event, .payload = payload});
	s->lost = 0;
	if (!l->congested && nh_ws_unsent(l->conn) > CONGESTED) {
		l->congested = true;
		set_waiting(l, NH_RELAY_PENDING_MAX);
	}
}

static void on_drained(struct nh_conn *conn, void *session)
{
	struct link *l = session;
	if (!l->congested)
		return;
	l->congested = false;
	set_waiting(l, 0);
}

/* ---- to the device ------------------------------------------------------------------------------------------------------------ */

static void taken(struct stream *s, size_t bytes) { send_frame(s->link, &(struct link_frame){.kind = LINK_TAKEN, .a = s->id, .b = bytes}); }

/* False: not yet. A device that went away takes everything: that it went was told. */
static bool say(struct stream *s, nh_slice event, nh_slice payload)
{
	if (nh_relay_viewer_say(s->viewer, event, payload) == NH_EAGAIN)
		return false;
	taken(s, event.len + payload.len);
	return true;
}

static void say_held(struct stream *s)
{
	struct held *h;
	while ((h = s->held) != NULL && say(s, nh_buf_slice(&h->event), nh_buf_slice(&h->payload))) {
		s->held = h->next;
		if (!s->held)
			s->held_tail = &s->held;
		nh_buf_fini(&h->event);
		nh_buf_fini(&h->payload);
		free(h);
	}
}

static void on_timer(void *arg)
{
	struct link *l = arg;
	size_t it = 0;
	nh_slice key;
	void *value;
	bool more = false;
	while (nh_map_next(l->streams, &it, &key, &value)) {
		struct stream *s = value;
		say_held(s);
		more = more || s->held;
	}
	if (more)
		nh_timer_start(l->timer, HELD_AGAIN_MS, 0);
}

static void hold(struct stream *s, nh_slice event, nh_slice payload)
{
	struct held *h = nh_xcalloc(1, sizeof *h);
	nh_buf_put_slice(&h->event, event);
	nh_buf_put_slice(&h->payload, payload);
	*s->held_tail = h;
	s->held_tail = &h->next;
	if (!nh_timer_active(s->link->timer))
		nh_timer_start(s->link->timer, HELD_AGAIN_MS, 0);
}

/* ---- what the other server wants ------------------------------------------------------------------------------------------------ */

static void stream_free(struct stream *s)
{
	nh_relay_viewer_leave(s->viewer);
	held_drop(s);
	free(s);
}

static void do_watch(struct link *l, const struct link_frame *f)
{
	if (f->c >= NH_RELAY_CHANNELS || nh_map_get(l->streams, key_of(&f->a)) || nh_map_count(l->streams) >= NH_LINK_STREAMS_MAX)
		return;
	struct stream *s = nh_xcalloc(1, sizeof *s);
	*s = (struct stream){.link = l, .id = f->a};
	s->held_tail = &s->held;
	nh_map_put(l->streams, key_of(&s->id), s);
	s->viewer = nh_relay_guest_join(l->relay, (int64_t)f->b, (nh_relay_channel)f->c, l->loop, on_news, s);
}

static void do_again(struct link *l, const struct link_frame *f)
{
	struct stream *s = nh_map_get(l->streams, key_of(&f->a));
	if (s)
		nh_relay_guest_again(s->viewer);
}

static void do_unwatch(struct link *l, const struct link_frame *f)
{
	struct stream *s = nh_map_del(l->streams, key_of(&f->a));
	if (s)
		stream_free(s);
}

static void do_say(struct link *l, const struct link_frame *f)
{
	struct stream *s = nh_map_get(l->streams, key_of(&f->a));
	if (s && (s->held || !say(s, f->event, f->payload)))
		hold(s, f->event, f->payload);
}

static void do_chat(struct link *l, const struct link_frame *f)
{
	if (f->c < NH_RELAY_CHANNELS)
		nh_relay_remote_chat(l->relay, (int64_t)f->a, (nh_relay_channel)f->c, f->event, f->payload);
}

static void on_answer(void *ctx, nh_rc rc, nh_slice payload)
{
	struct question *q = ctx;
	struct link *l = q->link;
	if (l->conn)
		send_frame(l, &(struct link_frame){.kind = LINK_ANSWER, .a = q->number, .c = nh_link_code(rc), .payload = payload});
	l->questions--;
	link_free_if_unused(l);
	free(q);
}

static void do_ask(struct link *l, const struct link_frame *f)
{
	if (l->questions >= NH_LINK_STREAMS_MAX || f->d == 0 || f->d > 600000) {
		send_frame(l, &(struct link_frame){.kind = LINK_ANSWER, .a = f->a, .c = nh_link_code(NH_EAGAIN)});
		return;
	}
	struct question *q = nh_xcalloc(1, sizeof *q);
	*q = (struct question){l, f->a};
	l->questions++;
	nh_relay_guest_ask(l->relay, (int64_t)f->b, f->event, f->payload, f->d, l->loop, on_answer, q);
}

static void (*const orders[LINK_KINDS])(struct link *l, const struct link_frame *f) = {
	[LINK_WATCH] = do_watch, [LINK_AGAIN] = do_again, [LINK_UNWATCH] = do_unwatch, [LINK_SAY] = do_say, [LINK_CHAT] = do_chat, [LINK_ASK] = do_ask,
};

static void on_message(struct nh_conn *conn, void *session, nh_ws_opcode opcode, nh_slice data)
{
	struct link_frame f;
	if (nh_link_read(data, &f) && orders[f.kind])
		orders[f.kind](session, &f);
}

/* ---- the socket ---------------------------------------------------------------------------------------------------------------- */

static void on_open(struct nh_conn *conn, void *session)
{
	struct link *l = session;
	l->conn = conn;
	l->loop = nh_conn_loop(conn);
	l->timer = nh_timer_new(l->loop, on_timer, l);
}

static void on_close(struct nh_conn *conn, void *session, uint16_t code)
{
	struct link *l = session;
	size_t it = 0;
	nh_slice key;
	void *value;
	l->conn = NULL;
	nh_timer_close(l->timer);
	l->timer = NULL;
	while (nh_map_next(l->streams, &it, &key, &value))
		stream_free(value);
	link_free_if_unused(l);
}

static const struct nh_ws_handler handler = {.max_message_bytes = LINK_MESSAGE_MAX, .idle_ms = SILENCE_MS, .on_open = on_open, .on_message = on_message, .on_drained = on_drained, .on_close = on_close};

/* Who comes this far has the certificate of a server: the listener's TLS saw to it. */
static void upgrade(struct nh_request *req, struct nh_response *res)
{
	struct nh_link_end *end = req->app;
	if (!req->fingerprint) {
		nh_response_send(res, 401, NULL, NH_SLICE_EMPTY);
		return;
	}
	struct link *l = nh_xcalloc(1, sizeof *l);
	*l = (struct link){.relay = end->relay, .streams = nh_map_new()};
	nh_response_upgrade(res, &handler, l);
}

const struct nh_route nh_link_routes[] = {
	{.method = NH_HTTP_GET, .path = LINK_PATH, .handle = upgrade, .where = NH_ON_LOOP, .summary = "People at other servers"},
	{0},
};
