/*
 * One request from its complete head to its written response: route, body (collected or streamed to a sink), handler on a worker or on the loop. Nothing of
 * an exchange is shared between threads at the same time: while its job is out, the loop leaves it alone.
 */
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <linux/sockios.h>
#include <sys/ioctl.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/rng.h"
#include "server_int.h"

void exchange_free(struct exchange *ex)
{
	if (ex->file_counted)
		ex->conn->shard->files--;
	later_free(ex->early);
	response_fini(&ex->response);
	nh_arena_fini(&ex->arena);
	nh_buf_fini(&ex->head);
	nh_buf_fini(&ex->body_bytes);
	nh_buf_fini(&ex->piece);
	free(ex);
}

/* ---- jobs -------------------------------------------------------------------------------------------------------------- */

/* What is logged meanwhile bears the request's name. */
static void run_named(struct exchange *ex, void (*run)(struct exchange *))
{
	struct nh_log_scope scope = NH_LOG_SCOPE("request", ex->request.id);
	nh_log_enter(&scope);
	run(ex);
	nh_log_leave(&scope);
}

static void job_run(void *worker, struct nh_work *work)
{
	struct exchange *ex = (struct exchange *)(void *)((char *)work - offsetof(struct exchange, work));
	ex->request.worker = worker;
	run_named(ex, ex->run);
	ex->request.worker = NULL;
}

static void abort_run(struct exchange *ex)
{
	if (ex->sink_open && ex->request.route->sink->abort)
		ex->request.route->sink->abort(ex->request.worker, ex->request.stream);
	ex->sink_open = false;
}

static void abort_then(struct exchange *ex);

/* The connection closed while the job was out: the sink must still let go, on a worker, then all memory goes. */
static void orphaned(struct exchange *ex)
{
	if (ex->sink_open)
		exchange_submit(ex, abort_run, abort_then);
	else
		abort_then(ex);
}

static void abort_then(struct exchange *ex)
{
	struct nh_conn *c = ex->conn;
	/* An upgrade that never happened still owns its session. */
	if (ex->response.upgrade) {
		ex->response.upgrade->on_close(NULL, ex->response.session, NH_WS_CLOSE_ABNORMAL);
		ex->response.upgrade = NULL;
	}
	exchange_free(ex);
	c->exchange = NULL;
	conn_work_back(c);
}

static void job_done(struct nh_work *work)
{
	struct exchange *ex = (struct exchange *)(void *)((char *)work - offsetof(struct exchange, work));
	struct nh_conn *c = ex->conn;
	if (c->state == CONN_CLOSED && ex->then != abort_then) {
		orphaned(ex);
		return;
	}
	if (ex->then != abort_then) {
		uint64_t since_ms = ex->work_since_ms > c->active_ms ? ex->work_since_ms : c->active_ms;
		ex->window_own_ms += nh_loop_now_ms(c->shard->loop) - since_ms;
		c->work_open = false;
	}
	ex->then(ex);
}

void exchange_submit(struct exchange *ex, void (*run)(struct exchange *), void (*then)(struct exchange *))
{
	ex->run = run;
	ex->then = then;
	ex->work = (struct nh_work){.run = job_run, .done = job_done};
	ex->conn->work_open = true;
	ex->work_since_ms = nh_loop_now_ms(ex->conn->shard->loop);
	if (ex->conn->state != CONN_CLOSED) {
		/* In the midst of a body or of a response the window goes on: a peer must not get a new one with each piece. */
		if (ex->conn->class == CLASS_BODY)
			ex->conn->state = CONN_WORKING;
		else
			conn_enter(ex->conn, CONN_WORKING, CLASS_WORKING);
		conn_rewatch(ex->conn);
	}
	nh_work_queue(ex->conn->shard->server->config.pool, ex->conn->shard->loop, &ex->work);
}

void exchange_gone(struct exchange *ex)
{
	struct nh_conn *c = ex->conn;
	if (c->work_open)
		return; /* job_done finds the connection closed */
	if (ex->sink_open) {
		exchange_submit(ex, abort_run, abort_then);
		return;
	}
	if (ex->response.upgrade) {
		ex->response.upgrade->on_close(NULL, ex->response.session, NH_WS_CLOSE_ABNORMAL);
		ex->response.upgrade = NULL;
	}
	c->exchange = NULL;
	exchange_free(ex);
}

/* ---- minimum rates ----------------------------------------------------------------------------------------------------- */

/* A body that is read, or a response that is written, is watched in windows of body_ms. The clock of a window is the connection's place in CLASS_BODY. */
void exchange_window_begin(struct exchange *ex, conn_state state)
{
	ex->window_moved = 0;
	ex->window_own_ms = 0;
	conn_enter(ex->conn, state, CLASS_BODY);
}

/* What the peer has taken: the kernel may hold megabytes for one that takes a byte a minute, and reports room only after it has sent a third of them. */
static uint64_t delivered(const struct exchange *ex)
{
	int queued = 0;
	if (ioctl(ex->conn->fd, SIOCOUTQ, &queued) != 0 || queued < 0)
		queued = 0;
	return ex->sent > (uint64_t)queued ? ex->sent - (uint64_t)queued : 0;
}

bool exchange_window_over(struct nh_conn *c)
{
	struct exchange *ex = c->exchange;
	const struct nh_server_config *config = &c->shard->server->config;
	if (!ex)
		return false; /* the last bytes of a connection: one window must do */
	if (c->state == CONN_RESPONDING) {
		uint64_t taken = delivered(ex);
		ex->window_moved = taken - ex->window_taken;
		ex->window_taken = taken;
	}
	uint64_t peers_ms = config->body_ms > ex->window_own_ms ? config->body_ms - ex->window_own_ms : 0;
	if (c->state != CONN_WORKING && ex->window_moved * 1000 < config->body_rate * peers_ms) {
		COUNT(c->shard, slow_ended, 1);
		return false;
	}
	exchange_window_begin(ex, (conn_state)c->state);
	return true;
}

/* ---- from head to handler ---------------------------------------------------------------------------------------------- */

/* Only for those who might look: it costs a system call and some text. */
static void remote_text(struct nh_conn *c, struct exchange *ex)
{
	if (ex->request.remote.len == 0 && getnameinfo((const struct sockaddr *)conn_peer(c), sizeof *c->peer, ex->remote, sizeof ex->remote, NULL, 0, NI_NUMERICHOST) == 0)
		ex->request.remote = nh_slice_str(ex->remote);
}

static struct exchange *exchange_new(struct nh_conn *c)
{
	struct exchange *ex = nh_xcalloc(1, sizeof *ex);
	ex->conn = c;
	ex->request.arena = &ex->arena;
	ex->request.headers = &ex->headers;
	ex->request.tls = c->tls != NULL;
	ex->request.fingerprint = c->tls ? nh_tls_peer_fingerprint(c->tls) : NULL;
	ex->request.peer_tag = c->peer_tag;
	response_init(&ex->response);
	c->exchange = ex;
	return ex;
}

void exchange_fault(struct nh_conn *c, struct exchange *ex, unsigned status, const char *text)
{
	if (!ex)
		ex = exchange_new(c);
	const struct nh_mount *mount = ex->mount ? ex->mount : c->listener->mounts;
	remote_text(c, ex);
	ex->request.app = mount->app;
	if (mount->fault)
		mount->fault(&ex->request, &ex->response, status, text);
	if (ex->response.status == 0)
		nh_response_send(&ex->response, status, "text/plain; charset=utf-8", nh_slice_str(text));
	respond(ex);
}

static void handler_run(struct exchange *ex)
{
	/* From here the stream is the handler's. */
	ex->sink_open = false;
	ex->request.stream_rc = ex->sink_rc;
	ex->request.route->handle(&ex->request, &ex->response);
}

static void handled(struct exchange *ex)
{
	if (ex->response.later)
		later_wait(ex);
	else
		respond(ex);
}

static void handle(struct exchange *ex)
{
	const struct nh_route *route = ex->request.route;
	ex->request.body = nh_buf_slice(&ex->body_bytes);
	if (route->at_once && route->at_once(&ex->request, &ex->response)) {
		handled(ex);
		return;
	}
	remote_text(ex->conn, ex);
	if (route->where == NH_ON_WORKER) {
		exchange_submit(ex, handler_run, handled);
		return;
	}
	run_named(ex, handler_run);
	handled(ex);
}

static uint64_t body_cap(const struct nh_route *route) { return route->body_max ? route->body_max : NH_BODY_DEFAULT_MAX; }

static void send_continue(struct exchange *ex)
{
	if (ex->parsed.expect_continue)
		NH_IGNORE(conn_write(ex->conn, NH_LIT("HTTP/1.1 100 Continue\r\n\r\n"))); /* a dead peer shows at the next read */
}

/* Takes bytes of the body until it is over or the socket has no more. */
static void read_body(struct exchange *ex)
{
	if (ex->conn->class == CLASS_BODY)
		ex->conn->state = CONN_BODY;
	else
		exchange_window_begin(ex, CONN_BODY);
}

static void begin_run(struct exchange *ex)
{
	ex->sink_rc = ex->request.route->sink->begin(&ex->request, &ex->response, &ex->request.stream);
	ex->sink_open = ex->sink_rc == NH_OK;
}

static void begin_then(struct exchange *ex)
{
	if (ex->sink_rc != NH_OK) {
		ex->conn->keep_alive = false;
		respond(ex);
		return;
	}
	send_continue(ex);
	read_body(ex);
	conn_resume(ex->conn);
}

static void start_body(struct exchange *ex)
{
	const struct nh_route *route = ex->request.route;
	struct nh_conn *c = ex->conn;
	if (ex->parsed.framing == NH_HTTP_LENGTH && ex->parsed.content_length > body_cap(route)) {
		ex->conn->keep_alive = false;
		exchange_fault(c, ex, 413, "Request Entity Too Large");
		return;
	}
	nh_http_body_init(&ex->body, ex->parsed.framing, ex->parsed.content_length, body_cap(route));
	if (route->body == NH_BODY_STREAM) {
		remote_text(c, ex);
		exchange_submit(ex, begin_run, begin_then);
		return;
	}
	if (ex->parsed.framing == NH_HTTP_NO_BODY) {
		handle(ex);
		return;
	}
	send_continue(ex);
	read_body(ex);
}

/* Views of the parsed head point into the bytes that were read; the exchange keeps a copy of those and parses again into it. */
static nh_rc keep_head(struct exchange *ex, nh_slice bytes, struct nh_err *err)
{
	struct nh_http_scan scan = {0};
	nh_buf_put_slice(&ex->head, bytes);
	NH_TRY(nh_http_request_parse(NULL, nh_buf_slice(&ex->head), &scan, &ex->parsed, err));
	ex->headers = ex->parsed.headers;
	ex->request.method = ex->parsed.method;
	ex->request.path = ex->parsed.path;
	ex->request.query = ex->parsed.query;
	ex->request.host = ex->parsed.host;
	return NH_OK;
}

/* A name that the client, or a proxy before us, gave is kept, so that one search finds all of them. source: reference/user-api-and-cli "1" */
static void name_request(struct exchange *ex)
{
	ex->request.id = nh_http_header_get(&ex->headers, "X-Request-Id");
	if (ex->request.id.len >= NH_REQUEST_ID_MIN && ex->request.id.len <= NH_REQUEST_ID_MAX)
		return;
	uint8_t chance[sizeof ex->request_id / 2];
	nh_rng_fill(&nh_rng_system, chance, sizeof chance);
	for (size_t i = 0; i < sizeof chance; i++)
		snprintf(ex->request_id + 2 * i, 3, "%02x", chance[i]);
	ex->request.id = nh_slice_str(ex->request_id);
}

/* 0: the request has its route. */
static unsigned route_or_status(struct exchange *ex, struct nh_buf *allow)
{
	if (ex->parsed.expect_unknown)
		return 417;
	if (ex->parsed.method == NH_HTTP_OTHER)
		return 501;
	switch (route_find(ex->conn->listener, &ex->parsed, ex, allow)) {
	case NH_OK: return 0;
	case NH_EPERM: return 405;
	case NH_EFORMAT: return 400;
	default: return 404;
	}
}

void exchange_head(struct nh_conn *c, nh_slice bytes, size_t *used)
{
	struct nh_http_request_head head;
	struct nh_err err = NH_ERR_INIT;
	*used = 0;
	nh_rc rc = nh_http_request_parse(NULL, bytes, &c->scan, &head, &err);
	if (rc == NH_EAGAIN) {
		/* The clock of a head runs from its first byte, however slowly the rest drips in. */
		if (c->class == CLASS_KEEP_ALIVE)
			conn_enter(c, CONN_HEAD, CLASS_HEAD);
		return;
	}
	unsigned status = c->scan.status;
	c->scan = (struct nh_http_scan){0};
	if (rc != NH_OK) {
		*used = bytes.len;
		c->keep_alive = false;
		exchange_fault(c, NULL, status ? status : 400, err.msg);
		return;
	}
	*used = head.head_len;
	c->keep_alive = head.keep_alive && !c->shard->draining;
	COUNT(c->shard, requests, 1);
	struct exchange *ex = exchange_new(c);
	ex->begun_us = nh_mono_us();
	if (keep_head(ex, nh_slice_sub(bytes, 0, head.head_len), &err) != NH_OK) {
		exchange_fault(c, ex, 400, err.msg);
		return;
	}
	name_request(ex);
	NH_AUTO_BUF struct nh_buf allow = NH_BUF_INIT;
	status = route_or_status(ex, &allow);
	if (status == 0) {
		start_body(ex);
		return;
	}
	/* Without a route the body is not wanted: say so and end, unless there is none. */
	c->keep_alive = c->keep_alive && ex->parsed.framing == NH_HTTP_NO_BODY;
	if (status == 405)
		nh_response_header(&ex->response, "Allow", nh_buf_slice(&allow));
	exchange_fault(c, ex, status, nh_http_reason(status));
}

/* ---- bodies ------------------------------------------------------------------------------------------------------------ */

static void data_run(struct exchange *ex)
{
	ex->sink_rc = ex->request.route->sink->data(ex->request.worker, ex->request.stream, nh_buf_slice(&ex->piece));
}

static void data_then(struct exchange *ex)
{
	nh_buf_fini(&ex->piece);
	if (ex->sink_rc != NH_OK)
		ex->conn->keep_alive = false;
	if (ex->sink_rc != NH_OK || ex->body_done) {
		handle(ex);
		return;
	}
	read_body(ex);
	conn_resume(ex->conn);
}

static void body_failed(struct exchange *ex, nh_rc rc)
{
	ex->conn->keep_alive = false;
	if (ex->sink_open) {
		/* The handler hears of it and words the answer. */
		ex->sink_rc = rc;
		handle(ex);
		return;
	}
	exchange_fault(ex->conn, ex, rc == NH_ETOOBIG ? 413 : 400, rc == NH_ETOOBIG ? "Request Entity Too Large" : "Bad Request");
}

void exchange_body(struct nh_conn *c, nh_slice bytes, size_t *used)
{
	struct exchange *ex = c->exchange;
	struct nh_err err = NH_ERR_INIT;
	bool done = false;
	*used = 0;
	struct nh_buf *into = ex->request.route->body == NH_BODY_STREAM ? &ex->piece : &ex->body_bytes;
	do {
		size_t consumed = 0;
		nh_slice data = NH_SLICE_EMPTY;
		nh_rc rc = nh_http_body_feed(&ex->body, nh_slice_skip(bytes, *used), &consumed, &data, &done, &err);
		*used += consumed;
		if (rc != NH_OK) {
			body_failed(ex, rc);
			return;
		}
		nh_buf_put_slice(into, data);
		if (consumed == 0)
			break;
	} while (!done && *used < bytes.len);
	ex->body_done = done;
	ex->window_moved += *used;
	if (ex->request.route->body == NH_BODY_STREAM && (ex->piece.len || done))
		exchange_submit(ex, data_run, data_then);
	else if (done)
		handle(ex);
}

void exchange_finished(struct nh_conn *c)
{
	struct exchange *ex = c->exchange;
	bool close = !c->keep_alive || c->shard->draining;
	c->exchange = NULL;
	exchange_free(ex);
	if (close) {
		conn_enter(c, CONN_CLOSING, CLASS_BODY);
		nh_rc rc = conn_flush(c);
		if (rc == NH_OK)
			conn_end(c);
		else if (rc == NH_EAGAIN)
			conn_rewatch(c);
		return;
	}
	conn_enter(c, CONN_HEAD, CLASS_KEEP_ALIVE);
	/* Not from inside the reader's own loop: that one goes on by itself. */
	conn_rewatch(c);
}
