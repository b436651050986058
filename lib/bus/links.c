/*
 * The people's end of links (bus/links.h): hooks of the relay note what is wanted, and the loop does it. All state is the loop's.
 */
#include "bus/links.h"

#include <semaphore.h>
#include <stdlib.h>

#include "base/arena.h"
#include "base/cursor.h"
#include "base/log.h"
#include "base/map.h"
#include "base/rng.h"
#include "links_int.h"
#include "net/client.h"

#define RETRY_FIRST_MS 100
#define RETRY_MAX_MS 5000
#define REST_MS 30000 /* a link that nobody needs lasts so long */
#define PING_MS 15000
#define SILENCE_MS 45000
#define OUTPUT_MAX ((size_t)64 << 20) /* what viewers say is bounded one by one; this is the end of a link that does not move at all */
#define FIRST_PEER 2u /* 1 is here (relay.h) */

/* ---- frames ------------------------------------------------------------------------------------------------------------------- */

void nh_link_put(struct nh_buf *out, const struct link_frame *f)
{
	nh_buf_put_u8(out, (uint8_t)f->kind);
	nh_buf_put_u8(out, f->c);
	nh_wr_u64be(out, f->a);
	nh_wr_u64be(out, f->b);
	nh_wr_u32be(out, f->d);
	nh_wr_u16be(out, (uint16_t)f->event.len);
	nh_buf_put_slice(out, f->event);
	nh_buf_put_slice(out, f->payload);
}

bool nh_link_read(nh_slice bytes, struct link_frame *out)
{
	struct nh_rd r = nh_rd_of(bytes);
	uint8_t kind = nh_rd_u8(&r);
	*out = (struct link_frame){.kind = (link_kind)kind, .c = nh_rd_u8(&r)};
	out->a = nh_rd_u64be(&r);
	out->b = nh_rd_u64be(&r);
	out->d = nh_rd_u32be(&r);
	out->event = nh_rd_bytes(&r, nh_rd_u16be(&r));
	out->payload = nh_rd_bytes(&r, nh_rd_left(&r));
	return nh_rd_ok(&r) && kind > 0 && kind < LINK_KINDS;
}

static const nh_rc codes[] = {NH_OK, NH_ECLOSED, NH_ETIMEOUT, NH_EAGAIN, NH_ETOOBIG};

uint8_t nh_link_code(nh_rc rc)
{
	uint8_t i = 0;
	while (i < NH_ARRAY_LEN(codes) && codes[i] != rc)
		i++;
	return i;
}

nh_rc nh_link_rc(uint8_t code) { return code < NH_ARRAY_LEN(codes) ? codes[code] : NH_ECLOSED; }

/* ---- state -------------------------------------------------------------------------------------------------------------------- */

struct peer {
	struct nh_links *links;
	unsigned number;
	char *name, *url;
	struct nh_buf certificate;
	struct nh_tls *tls;
	struct nh_ws_client *client; /* NULL: none, and maybe one soon (timer) */
	struct nh_timer *timer;
	uint64_t pause_ms;
	bool open, listed;
};

struct stream {
	uint64_t id;
	int64_t device_id;
	nh_relay_channel channel;
};

struct inquiry {
	uint64_t number, waiting; /* peers that have not answered, as bits */
	struct nh_buf frame;
};

struct nh_links {
	struct nh_relay *relay;
	struct nh_loop *loop;
	struct nh_buf cert, key;
	struct peer *peers[NH_RELAY_PEERS_END];
	struct nh_map *streams, *inquiries;
	struct nh_timer *rest;
};

static nh_slice key_of(const uint64_t *id) { return nh_slice_of(id, sizeof *id); }

static bool needed(const struct nh_links *l) { return nh_map_count(l->streams) > 0 || nh_map_count(l->inquiries) > 0; }

static void send_frame(struct peer *p, const struct link_frame *f)
{
	NH_AUTO_BUF struct nh_buf bytes = NH_BUF_INIT;
	if (!p || !p->open)
		return;
	nh_link_put(&bytes, f);
	/* A link that takes nothing for so long that it is full closes itself, and what hangs on it is told. */
	NH_IGNORE(nh_ws_client_send(p->client, NH_WS_BINARY, nh_buf_slice(&bytes)));
}

/* ---- questions ------------------------------------------------------------------------------------------------------------------ */

static void inquiry_end(struct nh_links *l, struct inquiry *q, nh_rc rc, nh_slice payload)
{
	nh_map_del(l->inquiries, key_of(&q->number));
	nh_relay_remote_answer(l->relay, q->number, rc, payload);
	nh_buf_fini(&q->frame);
	free(q);
}

/* Who has not the device says NH_ECLOSED; where all do, it is nowhere. */
static void inquiry_answer(struct nh_links *l, struct inquiry *q, unsigned peer, nh_rc rc, nh_slice payload)
{
	q->waiting &= ~(UINT64_C(1) << peer);
	if (rc != NH_ECLOSED || q->waiting == 0)
		inquiry_end(l, q, rc, payload);
}

static void inquiries_without(struct nh_links *l, unsigned peer)
{
	for (bool again = true; again;) {
		size_t it = 0;
		nh_slice key;
		void *value;
		again = false;
		while (!again && nh_map_next(l->inquiries, &it, &key, &value)) {
			struct inquiry *q = value;
			again = (q->waiting >> peer & 1) != 0; /* the map may change: from its beginning */
			if (again)
				inquiry_answer(l, q, peer, NH_ECLOSED, NH_SLICE_EMPTY);
		}
	}
}

/* ---- a link ------------------------------------------------------------------------------------------------------------------- */

static void peer_connect(struct peer *p);

static void watch_at(struct peer *p, const struct stream *s)
{
	send_frame(p, &(struct link_frame){.kind = LINK_WATCH, .a = s->id, .b = (uint64_t)s->device_id, .c = (uint8_t)s->channel});
}

static void on_open(void *ctx, const struct nh_http_response_head *head)
{
	struct peer *p = ctx;
	size_t it = 0;
	nh_slice key;
	void *value;
	p->open = true;
	p->pause_ms = 0;
	NH_LOG(NH_LOG_INFO, "link.open", NH_STR("node", p->name));
	while (nh_map_next(p->links->streams, &it, &key, &value))
		watch_at(p, value);
	for (it = 0; nh_map_next(p->links->inquiries, &it, &key, &value);) {
		struct inquiry *q = value;
		if (q->waiting >> p->number & 1)
			NH_IGNORE(nh_ws_client_send(p->client, NH_WS_BINARY, nh_buf_slice(&q->frame)));
	}
}

static void on_message(void *ctx, nh_ws_opcode opcode, nh_slice data)
{
	struct peer *p = ctx;
	struct link_frame f;
	if (!nh_link_read(data, &f))
		return; /* of a newer server */
	struct inquiry *q = f.kind == LINK_ANSWER ? nh_map_get(p->links->inquiries, key_of(&f.a)) : NULL;
	if (f.kind == LINK_NEWS && f.c <= NH_RELAY_CLOSED)
		nh_relay_remote_news(p->links->relay, f.a, p->number, (nh_relay_news)f.c, f.event, f.payload, f.b);
	else if (f.kind == LINK_TAKEN)
		nh_relay_remote_taken(p->links->relay, f.a, p->number, (size_t)f.b);
	else if (q)
		inquiry_answer(p->links, q, p->number, nh_link_rc(f.c), f.payload);
}

/* Nobody's device is there any more, as far as is known. */
static void peer_lost(struct peer *p)
{
	size_t it = 0;
	nh_slice key;
	void *value;
	p->open = false;
	nh_ws_client_close(p->client);
	p->client = NULL;
	while (nh_map_next(p->links->streams, &it, &key, &value))
		nh_relay_remote_news(p->links->relay, ((struct stream *)value)->id, p->number, NH_RELAY_CLOSED, NH_SLICE_EMPTY, NH_SLICE_EMPTY, 0);
	inquiries_without(p->links, p->number);
}

static void peer_again(struct peer *p)
{
	p->pause_ms = p->pause_ms == 0 ? RETRY_FIRST_MS : p->pause_ms * 2 < RETRY_MAX_MS ? p->pause_ms * 2 : RETRY_MAX_MS;
	if (needed(p->links))
		nh_timer_start(p->timer, p->pause_ms + nh_rng_below(&nh_rng_system, p->pause_ms), 0);
}

static void on_close(void *ctx, const struct nh_ws_client_closed *closed)
{
	struct peer *p = ctx;
	NH_LOG(NH_LOG_INFO, "link.closed", NH_STR("node", p->name), NH_I("code", closed->code), NH_STR("why", closed->err.msg));
	peer_lost(p);
	peer_again(p);
}

static void peer_connect(struct peer *p)
{
	struct nh_err err = NH_ERR_INIT;
	NH_AUTO_BUF struct nh_buf url = NH_BUF_INIT;
	if (p->client)
		return;
	nh_timer_stop(p->timer);
	nh_buf_printf(&url, "%s" LINK_PATH, p->url);
	struct nh_ws_client_config config = {.url = nh_buf_slice(&url), .tls = p->tls, .server_name = NH_LINK_NAME, .max_message_bytes = LINK_MESSAGE_MAX, .max_output_bytes = OUTPUT_MAX, .connect_timeout_ms = 5000,
					     .idle_timeout_ms = SILENCE_MS, .ping_interval_ms = PING_MS};
	const struct nh_ws_client_events events = {.on_open = on_open, .on_message = on_message, .on_close = on_close, .ctx = p};
	if (nh_ws_client_open(p->links->loop, &config, &events, &p->client, &err) == NH_OK)
		return;
	NH_LOG(NH_LOG_WARN, "link.failed", NH_STR("node", p->name), NH_STR("why", err.msg));
	inquiries_without(p->links, p->number);
	peer_again(p);
}

static void on_timer(void *arg)
{
	struct peer *p = arg;
	if (needed(p->links))
		peer_connect(p);
}

static void connect_all(struct nh_links *l)
{
	nh_timer_stop(l->rest);
	for (unsigned i = FIRST_PEER; i < NH_RELAY_PEERS_END; i++) {
		if (l->peers[i] && !nh_timer_active(l->peers[i]->timer))
			peer_connect(l->peers[i]);
	}
}

static void rest(void *arg)
{
	struct nh_links *l = arg;
	if (needed(l))
		return;
	for (unsigned i = FIRST_PEER; i < NH_RELAY_PEERS_END; i++) {
		if (l->peers[i])
			peer_lost(l->peers[i]);
	}
}

static void rest_soon(struct nh_links *l)
{
	if (!needed(l))
		nh_timer_start(l->rest, REST_MS, 0);
}

/* ---- peers -------------------------------------------------------------------------------------------------------------------- */

static void peer_free(struct peer *p)
{
	peer_lost(p);
	p->links->peers[p->number] = NULL;
	nh_timer_close(p->timer);
	nh_tls_unref(p->tls);
	nh_buf_fini(&p->certificate);
	free(p->name);
	free(p->url);
	free(p);
}

static void peer_new(struct nh_links *l, const struct nh_link_peer *from)
{
	struct nh_err err = NH_ERR_INIT;
	unsigned number = FIRST_PEER;
	while (number < NH_RELAY_PEERS_END && l->peers[number])
		number++;
	if (number == NH_RELAY_PEERS_END)
		return;
	struct nh_tls_client_config config = {.ca_pem = from->certificate, .cert_pem = nh_buf_slice(&l->cert), .key_pem = nh_buf_slice(&l->key)};
	struct nh_tls *tls = NULL;
	if (nh_tls_client_new(&config, &tls, &err) != NH_OK) {
		NH_LOG(NH_LOG_WARN, "link.certificate", NH_S("node", from->name), NH_STR("why", err.msg));
		return;
	}
	struct peer *p = nh_xcalloc(1, sizeof *p);
	*p = (struct peer){.links = l, .number = number, .name = nh_xstrdup(from->name), .url = nh_xstrdup(from->url), .tls = tls, .listed = true};
	nh_buf_put_slice(&p->certificate, from->certificate);
	p->timer = nh_timer_new(l->loop, on_timer, p);
	l->peers[number] = p;
	if (needed(l))
		peer_connect(p);
}

static struct peer *peer_same(struct nh_links *l, const struct nh_link_peer *as)
{
	for (unsigned i = FIRST_PEER; i < NH_RELAY_PEERS_END; i++) {
		struct peer *p = l->peers[i];
		if (p && nh_slice_eq_str(as->name, p->name) && nh_slice_eq_str(as->url, p->url) && nh_slice_eq(as->certificate, nh_buf_slice(&p->certificate)))
			return p;
	}
	return NULL;
}

/* ---- orders: what other threads want of the loop ---------------------------------------------------------------------------------- */

struct order {
	struct nh_message message;
	struct nh_links *links;
	void (*fn)(struct nh_links *l, struct order *o);
	struct link_frame f; /* slices into bytes */
	unsigned peer;
	struct nh_link_peer *peers; /* in the arena */
	size_t count;
	struct nh_arena arena;
};

static void order_run(void *arg)
{
	struct order *o = arg;
	o->fn(o->links, o);
	nh_arena_fini(&o->arena);
	free(o);
}

static struct order *order_new(struct nh_links *l, void (*fn)(struct nh_links *l, struct order *o))
{
	struct order *o = nh_xcalloc(1, sizeof *o);
	*o = (struct order){.links = l, .fn = fn, .arena = NH_ARENA_INIT, .message = {.fn = order_run, .arg = o}};
	return o;
}

static void order_send(struct nh_links *l, void (*fn)(struct nh_links *l, struct order *o), unsigned peer, const struct link_frame *f)
{
	struct order *o = order_new(l, fn);
	o->peer = peer;
	o->f = *f;
	o->f.event = nh_arena_copy(&o->arena, f->event);
	o->f.payload = nh_arena_copy(&o->arena, f->payload);
	nh_loop_send(l->loop, &o->message);
}

static void do_watch(struct nh_links *l, struct order *o)
{
	struct stream *s = nh_xcalloc(1, sizeof *s);
	*s = (struct stream){.id = o->f.a, .device_id = (int64_t)o->f.b, .channel = (nh_relay_channel)o->f.c};
	nh_map_put(l->streams, key_of(&s->id), s);
	connect_all(l);
	for (unsigned i = FIRST_PEER; i < NH_RELAY_PEERS_END; i++)
		send_frame(l->peers[i], &o->f);
}

static void do_unwatch(struct nh_links *l, struct order *o)
{
	free(nh_map_del(l->streams, key_of(&o->f.a)));
	for (unsigned i = FIRST_PEER; i < NH_RELAY_PEERS_END; i++)
		send_frame(l->peers[i], &o->f);
	rest_soon(l);
}

static void do_send(struct nh_links *l, struct order *o) { send_frame(l->peers[o->peer], &o->f); }

/* What nobody waits for; who does not read it is spared the rest. */
static void do_chat(struct nh_links *l, struct order *o)
{
	for (unsigned i = FIRST_PEER; i < NH_RELAY_PEERS_END; i++) {
		if (l->peers[i] && l->peers[i]->open && nh_ws_client_pending(l->peers[i]->client) < NH_RELAY_PENDING_MAX)
			send_frame(l->peers[i], &o->f);
	}
}

static void do_ask(struct nh_links *l, struct order *o)
{
	struct inquiry *q = nh_xcalloc(1, sizeof *q);
	q->number = o->f.a;
	nh_link_put(&q->frame, &o->f);
	for (unsigned i = FIRST_PEER; i < NH_RELAY_PEERS_END; i++)
		q->waiting |= l->peers[i] ? UINT64_C(1) << i : 0;
	nh_map_put(l->inquiries, key_of(&q->number), q);
	if (q->waiting == 0) {
		inquiry_end(l, q, NH_ECLOSED, NH_SLICE_EMPTY);
		return;
	}
	for (unsigned i = FIRST_PEER; i < NH_RELAY_PEERS_END; i++)
		send_frame(l->peers[i], &o->f);
	connect_all(l); /* who is not reached answers with that; q may be gone */
	rest_soon(l);
}

static void do_peers(struct nh_links *l, struct order *o)
{
	for (unsigned i = FIRST_PEER; i < NH_RELAY_PEERS_END; i++) {
		if (l->peers[i])
			l->peers[i]->listed = false;
	}
	for (size_t i = 0; i < o->count; i++) {
		struct peer *p = peer_same(l, &o->peers[i]);
		if (p)
			p->listed = true;
	}
	for (unsigned i = FIRST_PEER; i < NH_RELAY_PEERS_END; i++) {
		if (l->peers[i] && !l->peers[i]->listed)
			peer_free(l->peers[i]);
	}
	for (size_t i = 0; i < o->count; i++) {
		if (!peer_same(l, &o->peers[i]))
			peer_new(l, &o->peers[i]);
	}
}

void nh_links_set_peers(struct nh_links *l, const struct nh_link_peer *peers, size_t count)
{
	struct order *o = order_new(l, do_peers);
	o->peers = NH_NEW_ARRAY(&o->arena, count ? count : 1, struct nh_link_peer);
	for (size_t i = 0; i < count; i++) {
		if (peers[i].url.len == 0 || peers[i].certificate.len == 0)
			continue;
		o->peers[o->count++] = (struct nh_link_peer){nh_arena_copy(&o->arena, peers[i].name), nh_arena_copy(&o->arena, peers[i].url), nh_arena_copy(&o->arena, peers[i].certificate)};
	}
	nh_loop_send(l->loop, &o->message);
}

/* ---- hooks: under the relay's lock ------------------------------------------------------------------------------------------------- */

static void hook_watch(void *ctx, uint64_t viewer, int64_t device_id, nh_relay_channel channel)
{
	order_send(ctx, do_watch, 0, &(struct link_frame){.kind = LINK_WATCH, .a = viewer, .b = (uint64_t)device_id, .c = (uint8_t)channel});
}

static void hook_again(void *ctx, uint64_t viewer, unsigned peer) { order_send(ctx, do_send, peer, &(struct link_frame){.kind = LINK_AGAIN, .a = viewer}); }
static void hook_unwatch(void *ctx, uint64_t viewer) { order_send(ctx, do_unwatch, 0, &(struct link_frame){.kind = LINK_UNWATCH, .a = viewer}); }

static void hook_say(void *ctx, uint64_t viewer, unsigned peer, nh_slice event, nh_slice payload)
{
	order_send(ctx, do_send, peer, &(struct link_frame){.kind = LINK_SAY, .a = viewer, .event = event, .payload = payload});
}

static void hook_chat(void *ctx, int64_t device_id, nh_relay_channel channel, nh_slice event, nh_slice payload)
{
	order_send(ctx, do_chat, 0, &(struct link_frame){.kind = LINK_CHAT, .a = (uint64_t)device_id, .c = (uint8_t)channel, .event = event, .payload = payload});
}

static void hook_ask(void *ctx, uint64_t question, int64_t device_id, nh_slice event, nh_slice payload, uint64_t timeout_ms)
{
	order_send(ctx, do_ask, 0, &(struct link_frame){.kind = LINK_ASK, .a = question, .b = (uint64_t)device_id, .d = (uint32_t)timeout_ms, .event = event, .payload = payload});
}

/* ---- open and close ----------------------------------------------------------------------------------------------------------------- */

struct nh_links *nh_links_new(const struct nh_links_config *config)
{
	struct nh_links *l = nh_xcalloc(1, sizeof *l);
	l->relay = config->relay;
	l->loop = config->loop;
	nh_buf_put_slice(&l->cert, config->cert_pem);
	nh_buf_put_slice(&l->key, config->key_pem);
	l->streams = nh_map_new();
	l->inquiries = nh_map_new();
	l->rest = nh_timer_new(l->loop, rest, l);
	const struct nh_relay_hooks hooks = {l, hook_watch, hook_again, hook_unwatch, hook_say, hook_chat, hook_ask};
	nh_relay_set_hooks(l->relay, &hooks);
	return l;
}

struct closing {
	struct nh_message message;
	struct nh_links *links;
	sem_t done;
};

static void close_on_loop(void *arg)
{
	struct closing *c = arg;
	struct nh_links *l = c->links;
	for (unsigned i = FIRST_PEER; i < NH_RELAY_PEERS_END; i++) {
		if (l->peers[i])
			peer_free(l->peers[i]);
	}
	nh_timer_close(l->rest);
	sem_post(&c->done);
}

void nh_links_close(struct nh_links *l)
{
	if (!l)
		return;
	struct closing c = {.links = l, .message = {.fn = close_on_loop, .arg = &c}};
	size_t it = 0;
	nh_slice key;
	void *value;
	nh_relay_set_hooks(l->relay, NULL);
	sem_init(&c.done, 0, 0);
	nh_loop_send(l->loop, &c.message);
	while (sem_wait(&c.done) != 0)
		continue;
	sem_destroy(&c.done);
	while (nh_map_next(l->streams, &it, &key, &value))
		free(value);
	NH_ASSERT(nh_map_count(l->inquiries) == 0); /* with the last peer the last question ended */
	nh_map_free(l->streams);
	nh_map_free(l->inquiries);
	nh_buf_fini(&l->cert);
	nh_buf_wipe(&l->key);
	free(l);
}
