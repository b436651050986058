/*
 * WebSocket client: connect, upgrade, messages, keepalive, close handshake. Reconnecting is the caller's; a refused upgrade is reported with
 * everything the caller needs to decide (status, Date, Location).
 */
#include <stdlib.h>

#include "base/arena.h"
#include "base/clock.h"
#include "base/encode.h"
#include "base/rng.h"
#include "client_int.h"

#define HEAD_MAX 16384
#define REASON_MAX 512
#define CLOSE_WAIT_MS 5000

enum phase { WS_CONNECTING, WS_UPGRADING, WS_REFUSED, WS_OPEN, WS_CLOSING, WS_DONE };

struct nh_ws_client {
	struct nh_loop *loop;
	struct nh_ws_client_events events;
	void (*handshake)(void *ctx, struct nh_handshake *h);
	struct stream stream;
	struct nh_ws_decoder decoder;
	struct nh_timer *deadline;   /* upgrade, refusal's body, close handshake */
	struct nh_timer *keepalive;  /* only where pings or an idle time-out are wanted */
	struct nh_arena arena;       /* URL */
	struct nh_http_url url;
	struct nh_buf head;          /* request until sent, then response head, then a refusal's body */
	struct nh_buf location;
	struct nh_http_body body;    /* of a refusal */
	struct nh_ws_client_closed closed_info;
	char key[25];
	size_t max_output;
	uint64_t connect_timeout_ms, idle_ms, ping_ms, opened_ms;
	uint64_t last_data_ms;
	struct nh_http_scan scan;
	enum phase phase;
	bool closed;                 /* nh_ws_client_close was called */
};

static const struct stream_events stream_events;

static void fresh_mask(uint8_t mask[4]) { nh_rng_fill(&nh_rng_system, mask, 4); }

static void finish(struct nh_ws_client *c, nh_rc rc, const struct nh_err *err)
{
	if (c->phase == WS_DONE || c->closed)
		return;
	c->phase = WS_DONE;
	stream_close(&c->stream);
	nh_timer_stop(c->deadline);
	if (c->keepalive)
		nh_timer_stop(c->keepalive);
	c->closed_info.rc = rc;
	if (err)
		c->closed_info.err = *err;
	if (c->closed_info.code == 0)
		c->closed_info.code = NH_WS_CLOSE_ABNORMAL;
	c->events.on_close(c->events.ctx, &c->closed_info);
}

/* The response is complete enough to tell the caller why there will be no socket. */
static void refused(struct nh_ws_client *c)
{
	struct nh_err err = NH_ERR_INIT;
	c->closed_info.reason = nh_buf_slice(&c->head);
	nh_rc rc = NH_FAIL(&err, NH_EPERM, "the server refused the connection: HTTP %u %s", c->closed_info.status, nh_http_reason(c->closed_info.status));
	finish(c, rc, &err);
}

static void on_deadline(void *arg)
{
	struct nh_ws_client *c = arg;
	struct nh_err err = NH_ERR_INIT;
	if (c->phase == WS_REFUSED) {
		refused(c);
		return;
	}
	if (c->phase == WS_CLOSING) {
		finish(c, NH_OK, NULL);
		return;
	}
	nh_rc rc = c->phase == WS_CONNECTING ? NH_FAIL(&err, NH_ECLOSED, "given up before the connection was open")
					     : NH_FAIL(&err, NH_ETIMEOUT, "the server did not answer the upgrade");
	finish(c, rc, &err);
}

static void send_frame(struct nh_ws_client *c, nh_ws_opcode opcode, nh_slice data)
{
	NH_AUTO_BUF struct nh_buf frame = NH_BUF_INIT;
	uint8_t mask[4];
	fresh_mask(mask);
	nh_ws_put_frame(&frame, opcode, data, mask);
	stream_write(&c->stream, nh_buf_slice(&frame));
}

static void send_close(struct nh_ws_client *c, uint16_t code, nh_slice reason)
{
	NH_AUTO_BUF struct nh_buf frame = NH_BUF_INIT;
	uint8_t mask[4];
	fresh_mask(mask);
	nh_ws_put_close(&frame, code, reason, mask);
	stream_write(&c->stream, nh_buf_slice(&frame));
}

static void on_keepalive(void *arg)
{
	struct nh_ws_client *c = arg;
	struct nh_err err = NH_ERR_INIT;
	uint64_t now = nh_loop_now_ms(c->loop);
	if (c->idle_ms && now - c->last_data_ms >= c->idle_ms) {
		nh_rc rc = NH_FAIL(&err, NH_ETIMEOUT, "nothing received for %llu s", (unsigned long long)(c->idle_ms / 1000));
		finish(c, rc, &err);
	} else if (c->phase == WS_OPEN && c->ping_ms) {
		send_frame(c, NH_WS_PING, NH_SLICE_EMPTY);
	}
}

/* ---- messages */

/* The peer closed: answer with its code, then end. */
static void on_peer_close(struct nh_ws_client *c, const struct nh_ws_event *ev)
{
	c->closed_info.code = ev->code;
	c->closed_info.reason = ev->data;
	if (c->phase == WS_OPEN)
		send_close(c, ev->code, NH_SLICE_EMPTY);
	stream_bye(&c->stream);
	finish(c, NH_OK, NULL);
}

static void on_frame(struct nh_ws_client *c, const struct nh_ws_event *ev)
{
	if (ev->kind == NH_WS_EV_MESSAGE && c->phase == WS_OPEN)
		c->events.on_message(c->events.ctx, ev->opcode, ev->data);
	else if (ev->kind == NH_WS_EV_PING && c->phase == WS_OPEN)
		send_frame(c, NH_WS_PONG, ev->data);
	else if (ev->kind == NH_WS_EV_CLOSE)
		on_peer_close(c, ev);
}

static void take_frames(struct nh_ws_client *c, uint8_t *bytes, size_t len)
{
	struct nh_ws_input in = {bytes, len};
	struct nh_err err = NH_ERR_INIT;
	for (;;) {
		struct nh_ws_event ev;
		nh_rc rc = nh_ws_decode(&c->decoder, &in, &ev, &err);
		if (rc != NH_OK) {
			send_close(c, c->decoder.close_code, NH_SLICE_EMPTY);
			c->closed_info.code = c->decoder.close_code;
			finish(c, rc, &err);
			return;
		}
		if (ev.kind == NH_WS_EV_NONE)
			return;
		on_frame(c, &ev);
		if (c->closed || c->phase == WS_DONE)
			return;
	}
}

/* ---- upgrade */

static void note_refusal(struct nh_ws_client *c, const struct nh_http_response_head *head)
{
	NH_AUTO_ARENA struct nh_arena arena = NH_ARENA_INIT;
	nh_slice location = nh_http_header_get(&head->headers, "location"), url;
	c->closed_info.status = head->status;
	c->closed_info.retry_after_s = nh_http_retry_after_s(&head->headers);
	if (head->status < 300 || head->status > 399 || location.len == 0)
		return;
	struct nh_http_url base = c->url;
	base.websocket = false; /* so that a relative one becomes http(s), as an absolute one is */
	if (nh_http_url_resolve(&base, location, &arena, &url, NULL) != NH_OK)
		return;
	if (nh_slice_starts(url, NH_LIT("http"))) {
		nh_buf_put_str(&c->location, "ws");
		url = nh_slice_skip(url, 4);
	}
	nh_buf_put_slice(&c->location, url);
	c->closed_info.location = nh_buf_slice(&c->location);
}

/* Up to REASON_MAX bytes of the refusal's body, then the end. */
static void take_refusal(struct nh_ws_client *c, nh_slice in)
{
	bool complete = false;
	do {
		size_t consumed;
		nh_slice data;
		if (nh_http_body_feed(&c->body, in, &consumed, &data, &complete, NULL) != NH_OK)
			complete = true;
		nh_buf_put_slice(&c->head, nh_slice_sub(data, 0, REASON_MAX - c->head.len));
		in = nh_slice_skip(in, consumed);
	} while (!complete && in.len > 0 && c->head.len < REASON_MAX);
	if (complete || c->head.len >= REASON_MAX)
		refused(c);
}

static void upgraded(struct nh_ws_client *c, const struct nh_http_response_head *head, struct nh_buf *rest)
{
	c->phase = WS_OPEN;
	nh_timer_stop(c->deadline);
	c->last_data_ms = nh_loop_now_ms(c->loop);
	if (c->ping_ms || c->idle_ms) {
		uint64_t every = c->ping_ms && (!c->idle_ms || c->ping_ms < c->idle_ms) ? c->ping_ms : c->idle_ms;
		c->keepalive = nh_timer_new(c->loop, on_keepalive, c);
		nh_timer_start(c->keepalive, every, every);
	}
	c->events.on_open(c->events.ctx, head);
	if (!c->closed && c->phase != WS_DONE && rest->len > head->head_len)
		take_frames(c, rest->ptr + head->head_len, rest->len - head->head_len);
}

static void take_head(struct nh_ws_client *c, nh_slice bytes)
{
	struct nh_http_response_head head;
	struct nh_err err = NH_ERR_INIT;
	nh_buf_put_slice(&c->head, bytes);
	nh_rc rc = nh_buf_check(&c->head, "response head", &err);
	if (rc == NH_OK)
		rc = nh_http_response_parse(&(struct nh_http_limits){.head_bytes = HEAD_MAX}, nh_buf_slice(&c->head), &c->scan, NH_HTTP_GET, &head, &err);
	if (rc == NH_EAGAIN)
		return;
	if (rc != NH_OK) {
		finish(c, rc == NH_ETOOBIG ? rc : NH_EFORMAT, &err);
		return;
	}
	/* The views of `head` live in here from now on. */
	NH_AUTO_BUF struct nh_buf keep = nh_steal_buf(&c->head);
	if (nh_time_parse_http(nh_http_header_get(&head.headers, "date"), &c->closed_info.date_us) != NH_OK)
		c->closed_info.date_us = 0;
	if (head.status == 101) {
		rc = nh_ws_client_check(&head, nh_slice_str(c->key), &err);
		if (rc != NH_OK)
			finish(c, rc, &err);
		else
			upgraded(c, &head, &keep);
		return;
	}
	c->phase = WS_REFUSED;
	note_refusal(c, &head);
	nh_http_body_init(&c->body, head.framing, head.content_length, 0);
	take_refusal(c, nh_slice_skip(nh_buf_slice(&keep), head.head_len));
}

static void on_data(void *ctx, uint8_t *bytes, size_t len)
{
	struct nh_ws_client *c = ctx;
	c->last_data_ms = nh_loop_now_ms(c->loop);
	if (c->phase == WS_UPGRADING)
		take_head(c, nh_slice_of(bytes, len));
	else if (c->phase == WS_REFUSED)
		take_refusal(c, nh_slice_of(bytes, len));
	else
		take_frames(c, bytes, len);
}

static void on_end(void *ctx, nh_rc rc, const struct nh_err *err)
{
	struct nh_ws_client *c = ctx;
	struct nh_err text = *err;
	if (c->phase == WS_REFUSED) {
		refused(c);
		return;
	}
	/* TLS 1.3 servers refuse a client certificate only after our side of the handshake is done. */
	if (c->phase == WS_UPGRADING)
		rc = NH_FAIL(&text, rc == NH_EFORMAT ? NH_ECLOSED : rc, "the server ended the connection before answering%s",
			     c->url.tls ? "; it may not accept this device's certificate" : "");
	finish(c, c->phase == WS_CLOSING && rc == NH_ECLOSED ? NH_OK : rc == NH_EFORMAT && c->phase != WS_CONNECTING ? NH_ECLOSED : rc, &text);
}

static void on_ready(void *ctx)
{
	struct nh_ws_client *c = ctx;
	uint64_t spent = nh_loop_now_ms(c->loop) - c->opened_ms;
	c->phase = WS_UPGRADING;
	nh_timer_start(c->deadline, spent < c->connect_timeout_ms ? c->connect_timeout_ms - spent : 1, 0);
	NH_AUTO_BUF struct nh_buf request = nh_steal_buf(&c->head);
	c->head.max = HEAD_MAX;
	stream_write(&c->stream, nh_buf_slice(&request));
	nh_buf_wipe(&request); /* may carry a signature */
}

static void on_handshake(void *ctx, struct nh_handshake *h)
{
	struct nh_ws_client *c = ctx;
	NH_ASSERT(c->handshake);
	c->handshake(c->events.ctx, h);
}

static const struct stream_events stream_events = {on_ready, on_data, on_end, on_handshake};

/* ---- public */

static void put_request(struct nh_ws_client *c, const struct nh_ws_client_config *config)
{
	NH_AUTO_BUF struct nh_buf key = NH_BUF_INIT;
	uint8_t nonce[16];
	nh_rng_fill(&nh_rng_system, nonce, sizeof nonce);
	nh_b64_put(&key, nh_slice_of(nonce, sizeof nonce), NH_B64_STD);
	NH_ASSERT(key.len == sizeof c->key - 1);
	for (size_t i = 0; i < key.len; i++)
		c->key[i] = (char)key.ptr[i];
	client_put_request_head(&c->head, &c->url);
	nh_buf_printf(&c->head, "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: %s\r\n", c->key);
	client_put_headers(&c->head, config->headers, config->header_count);
	nh_buf_put_str(&c->head, "\r\n");
}

nh_rc nh_ws_client_open(struct nh_loop *loop, const struct nh_ws_client_config *config, const struct nh_ws_client_events *events, struct nh_ws_client **out, struct nh_err *err)
{
	*out = NULL;
	NH_TRY(client_check_headers(config->headers, config->header_count, err));
	struct nh_ws_client *c = nh_xcalloc(1, sizeof *c);
	c->loop = loop;
	c->events = *events;
	c->max_output = config->max_output_bytes ? config->max_output_bytes : (size_t)4 << 20;
	c->connect_timeout_ms = config->connect_timeout_ms ? config->connect_timeout_ms : 15000;
	c->idle_ms = config->idle_timeout_ms;
	c->handshake = config->handshake;
	c->ping_ms = config->ping_interval_ms;
	c->opened_ms = nh_loop_now_ms(loop);
	c->deadline = nh_timer_new(loop, on_deadline, c);
	nh_ws_decoder_init(&c->decoder, NH_WS_CLIENT, config->max_message_bytes ? config->max_message_bytes : (size_t)1 << 20);
	nh_rc rc = nh_http_url_parse(nh_arena_copy(&c->arena, config->url), &c->url, err);
	if (rc == NH_OK) {
		const struct stream_config stream = {
			.url = &c->url, .tls = config->tls, .server_name = config->server_name, .proxy = config->proxy, .timeout_ms = c->connect_timeout_ms};
		put_request(c, config);
		rc = stream_open(&c->stream, loop, &stream, &stream_events, c, err);
	}
	if (rc != NH_OK) {
		nh_ws_client_close(c);
		return rc == NH_EFORMAT ? NH_EINVAL : rc;
	}
	*out = c;
	return NH_OK;
}

nh_rc nh_ws_client_send(struct nh_ws_client *c, nh_ws_opcode opcode, nh_slice data)
{
	if (c->phase != WS_OPEN || c->closed)
		return NH_ECLOSED;
	if (c->stream.out.len + data.len > c->max_output) {
		c->phase = WS_CLOSING;
		nh_timer_start(c->deadline, 0, 0);
		return NH_ETOOBIG;
	}
	send_frame(c, opcode, data);
	return NH_OK;
}

void nh_ws_client_shutdown(struct nh_ws_client *c, uint16_t code, nh_slice reason)
{
	if (c->phase == WS_OPEN) {
		send_close(c, code, reason);
		c->phase = WS_CLOSING;
		nh_timer_start(c->deadline, CLOSE_WAIT_MS, 0);
	} else if (c->phase < WS_OPEN) {
		nh_timer_start(c->deadline, 0, 0);
	}
}

size_t nh_ws_client_pending(const struct nh_ws_client *c) { return c->stream.out.len; }

void nh_ws_client_pause(struct nh_ws_client *c, bool paused) { stream_pause(&c->stream, paused); }

int nh_ws_client_descriptor(const struct nh_ws_client *c) { return c->stream.fd; }

static void ws_free(void *arg)
{
	struct nh_ws_client *c = arg;
	nh_ws_decoder_fini(&c->decoder);
	nh_buf_wipe(&c->head);
	nh_buf_fini(&c->location);
	nh_arena_fini(&c->arena);
	free(c);
}

void nh_ws_client_close(struct nh_ws_client *c)
{
	if (!c)
		return;
	c->closed = true;
	stream_close(&c->stream);
	nh_timer_close(c->deadline);
	nh_timer_close(c->keepalive);
	nh_loop_defer(c->loop, ws_free, c);
}
