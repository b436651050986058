/*
 * WebSocket connections of the server: decoding into callbacks, sending, closing, and work on behalf of a connection. While a job is out nothing is
 * delivered, so that one device's messages stay in order.
 */
#include <stdlib.h>

#include "server_int.h"

#define OUTPUT_MAX ((size_t)4 << 20)

void ws_start(struct nh_conn *c, const struct nh_ws_handler *handler, void *session)
{
	c->ws = handler;
	c->session = session;
	free(c->peer);
	c->peer = NULL;
	nh_ws_decoder_init(&c->decoder, NH_WS_SERVER, handler->max_message_bytes);
	COUNT(c->shard, websockets, 1);
	conn_enter(c, CONN_WEBSOCKET, shard_idle_class(c->shard, handler->idle_ms));
	handler->on_open(c, session);
	if (c->state == CONN_WEBSOCKET)
		conn_resume(c);
}

void ws_gone(struct nh_conn *c)
{
	const struct nh_ws_handler *handler = c->ws;
	c->ws = NULL;
	UNCOUNT(c->shard, websockets, 1);
	handler->on_close(c, c->session, c->close_code ? c->close_code : NH_WS_CLOSE_ABNORMAL);
	c->session = NULL;
}

/* Queues the close frame; the connection ends when it is written. */
static void start_close(struct nh_conn *c, uint16_t code, nh_slice reason)
{
	if (c->close_sent || c->state == CONN_CLOSED)
		return;
	c->close_sent = true;
	if (!c->close_code)
		c->close_code = code;
	conn_enter(c, CONN_CLOSING, CLASS_BODY);
	NH_AUTO_BUF struct nh_buf frame = NH_BUF_INIT;
	nh_ws_put_close(&frame, code, reason, NULL);
	if (conn_write(c, nh_buf_slice(&frame)) != NH_OK)
		return;
	/* Even an empty output ends through an event, never inside a callback of the application. */
	conn_rewatch(c);
}

static void deliver(struct nh_conn *c, const struct nh_ws_event *ev)
{
	switch (ev->kind) {
	case NH_WS_EV_MESSAGE:
		COUNT(c->shard, messages_in, 1);
		c->ws->on_message(c, c->session, ev->opcode, ev->data);
		break;
	case NH_WS_EV_PING:
		nh_ws_send(c, NH_WS_PONG, ev->data); /* under the cap of all output: who pings and never reads must not fill our memory */
		break;
	case NH_WS_EV_CLOSE:
		/* source: reference/device-protocol "4": 1000 answers a valid code, and an empty close frame */
		c->close_code = ev->code;
		start_close(c, NH_WS_CLOSE_NORMAL, NH_SLICE_EMPTY);
		break;
	case NH_WS_EV_PONG:
	case NH_WS_EV_NONE: break;
	}
}

void ws_input(struct nh_conn *c, uint8_t *bytes, size_t len)
{
	struct nh_ws_input in = {bytes, len};
	struct nh_err err = NH_ERR_INIT;
	if (c->class >= CLASS_WEBSOCKET)
		conn_enter(c, CONN_WEBSOCKET, (conn_class)c->class);
	while (c->state == CONN_WEBSOCKET && !c->work_open) {
		struct nh_ws_event ev = {0};
		nh_rc rc = nh_ws_decode(&c->decoder, &in, &ev, &err);
		if (rc == NH_ECLOSED)
			break;
		if (rc != NH_OK) {
			start_close(c, c->decoder.close_code, NH_SLICE_EMPTY);
			break;
		}
		if (ev.kind == NH_WS_EV_NONE)
			break;
		deliver(c, &ev);
	}
	if (c->state == CONN_WEBSOCKET && in.len)
		nh_buf_put(&c->in, in.ptr, in.len);
}

/* May so many bytes more be sent? Otherwise the connection ends: a peer that does not read reconnects when it can. */
static bool may_send(struct nh_conn *conn, size_t len)
{
	size_t cap = conn->shard->server->config.output_max;
	if (conn->state != CONN_WEBSOCKET)
		return false;
	if (conn->out_bytes + len <= (cap ? cap : OUTPUT_MAX)) {
		COUNT(conn->shard, messages_out, 1);
		return true;
	}
	COUNT(conn->shard, unread_ended, 1);
	conn->close_sent = true;
	conn_enter(conn, CONN_CLOSING, CLASS_BODY);
	NH_IGNORE(conn_break(conn)); /* says NH_ECLOSED, which it is */
	return false;
}

void nh_ws_send_frame(struct nh_conn *conn, struct nh_ws_frame *frame)
{
	bool waiting = conn_has_output(conn);
	if (may_send(conn, ws_frame_bytes(frame).len) && conn_write_frame(conn, frame) == NH_OK && !waiting && conn_has_output(conn))
		conn_rewatch(conn);
}

void nh_ws_send(struct nh_conn *conn, nh_ws_opcode opcode, nh_slice data)
{
	NH_AUTO_BUF struct nh_buf frame = NH_BUF_INIT;
	bool waiting = conn_has_output(conn);
	nh_ws_put_frame(&frame, opcode, data, NULL);
	if (may_send(conn, frame.len) && conn_write(conn, nh_buf_slice(&frame)) == NH_OK && !waiting && conn_has_output(conn))
		conn_rewatch(conn);
}

size_t nh_ws_unsent(const struct nh_conn *conn) { return conn->out_bytes; }

void nh_ws_close(struct nh_conn *conn, uint16_t code, nh_slice reason)
{
	if (conn->state == CONN_WEBSOCKET)
		start_close(conn, code, reason);
}

/* ---- work -------------------------------------------------------------------------------------------------------------- */

struct conn_job {
	struct nh_work work;
	struct nh_conn *conn;
	struct nh_timer *timer; /* of a rest */
	void (*run)(void *worker, void *arg);
	void (*done)(struct nh_conn *conn, void *arg);
	void *arg;
};

static void job_run(void *worker, struct nh_work *work)
{
	struct conn_job *job = (struct conn_job *)(void *)work;
	job->run(worker, job->arg);
}

/* Work or rest is over. */
static void job_back(struct conn_job *job)
{
	struct nh_conn *c = job->conn;
	bool gone = c->state == CONN_CLOSED;
	c->shard->released++;
	c->work_open = false;
	job->done(gone || c->state != CONN_WEBSOCKET ? NULL : c, job->arg);
	free(job);
	if (c->ws && (gone || c->state == CONN_LINGER))
		ws_gone(c);
	if (gone)
		conn_work_back(c);
	else if (c->state == CONN_WEBSOCKET && !c->work_open)
		conn_resume(c);
}

static void job_done(struct nh_work *work) { job_back((struct conn_job *)(void *)work); }

static void rest_over(void *arg)
{
	struct conn_job *job = arg;
	nh_timer_close(job->timer);
	job_back(job);
}

void nh_conn_rest(struct nh_conn *conn, uint64_t ms, void (*done)(struct nh_conn *conn, void *arg), void *arg)
{
	NH_ASSERT(!conn->work_open && conn->state != CONN_CLOSED);
	struct conn_job *job = nh_xcalloc(1, sizeof *job);
	*job = (struct conn_job){.conn = conn, .timer = nh_timer_new(conn->shard->loop, rest_over, job), .done = done, .arg = arg};
	conn->work_open = true;
	conn_rewatch(conn);
	nh_timer_start(job->timer, ms, 0);
}

void nh_conn_work(struct nh_conn *conn, void (*run)(void *worker, void *arg), void (*done)(struct nh_conn *conn, void *arg), void *arg)
{
	NH_ASSERT(!conn->work_open && conn->state != CONN_CLOSED);
	struct conn_job *job = nh_xcalloc(1, sizeof *job);
	*job = (struct conn_job){.work = {.run = job_run, .done = job_done}, .conn = conn, .run = run, .done = done, .arg = arg};
	conn->work_open = true;
	conn_rewatch(conn);
	nh_work_queue(conn->shard->server->config.pool, conn->shard->loop, &job->work);
}
