/*
 * Output of a connection: written at once while the socket takes it, else queued in pieces: bytes of its own, or references to frames that many connections
 * share, so that a message to ten thousand full sockets lies in memory once. A queue exists only while a socket is full.
 */
#include <errno.h>
#include <stdlib.h>
#include <sys/socket.h>

#include "server_int.h"

#define OWN_MAX ((size_t)65536) /* bytes gathered in one piece: what was sent of a long queue is released on the way */

struct nh_ws_frame {
	unsigned refs; /* atomic */
	struct nh_buf bytes;
};

struct out_piece {
	struct out_piece *next;
	struct nh_ws_frame *frame; /* NULL: own */
	struct nh_buf own;
	size_t at;                 /* sent of it */
};

/* ---- frames ------------------------------------------------------------------------------------------------------------ */

struct nh_ws_frame *nh_ws_frame_new(nh_ws_opcode opcode, nh_slice data)
{
	struct nh_ws_frame *frame = nh_xcalloc(1, sizeof *frame);
	frame->refs = 1;
	nh_ws_put_frame(&frame->bytes, opcode, data, NULL);
	return frame;
}

struct nh_ws_frame *nh_ws_frame_ref(struct nh_ws_frame *frame)
{
	__atomic_add_fetch(&frame->refs, 1, __ATOMIC_RELAXED);
	return frame;
}

void nh_ws_frame_unref(struct nh_ws_frame *frame)
{
	if (!frame || __atomic_sub_fetch(&frame->refs, 1, __ATOMIC_ACQ_REL) > 0)
		return;
	nh_buf_fini(&frame->bytes);
	free(frame);
}

nh_slice ws_frame_bytes(const struct nh_ws_frame *frame) { return nh_buf_slice(&frame->bytes); }

/* ---- the queue --------------------------------------------------------------------------------------------------------- */

static nh_slice piece_rest(const struct out_piece *p)
{
	return nh_slice_skip(p->frame ? nh_buf_slice(&p->frame->bytes) : nh_buf_slice(&p->own), p->at);
}

static struct out_piece *piece_append(struct nh_conn *c)
{
	struct out_piece *p = nh_xcalloc(1, sizeof *p);
	if (c->out_last)
		c->out_last->next = p;
	else
		c->out = p;
	c->out_last = p;
	c->out_bytes += sizeof *p;
	return p;
}

static void piece_drop(struct nh_conn *c)
{
	struct out_piece *p = c->out;
	c->out_bytes -= piece_rest(p).len + sizeof *p;
	c->out = p->next;
	if (!c->out)
		c->out_last = NULL;
	nh_ws_frame_unref(p->frame);
	nh_buf_fini(&p->own);
	free(p);
}

void conn_drop_output(struct nh_conn *c)
{
	while (c->out)
		piece_drop(c);
}

static void queue_bytes(struct nh_conn *c, nh_slice bytes)
{
	struct out_piece *p = c->out_last;
	if (!p || p->frame || p->own.len > OWN_MAX)
		p = piece_append(c);
	nh_buf_put_slice(&p->own, bytes);
	c->out_bytes += bytes.len;
}

static void queue_frame(struct nh_conn *c, struct nh_ws_frame *frame, nh_slice rest)
{
	struct out_piece *p = piece_append(c);
	p->frame = nh_ws_frame_ref(frame);
	p->at = frame->bytes.len - rest.len;
	c->out_bytes += rest.len;
}

/* ---- writing ----------------------------------------------------------------------------------------------------------- */

nh_rc conn_raw_write(struct nh_conn *c, nh_slice bytes, size_t *put)
{
	*put = 0;
	if (c->tls)
		return nh_tls_write(c->tls, bytes, put);
	ssize_t n;
	do
		n = send(c->fd, bytes.ptr, bytes.len, MSG_NOSIGNAL);
	while (n < 0 && errno == EINTR);
	if (n >= 0) {
		*put = (size_t)n;
		return NH_OK;
	}
	return errno == EAGAIN || errno == EWOULDBLOCK ? NH_EAGAIN : NH_ECLOSED;
}

void conn_count_out(struct nh_conn *c, size_t put)
{
	COUNT(c->shard, bytes_out, put);
	if (c->exchange)
		c->exchange->sent += put;
}

nh_rc conn_flush(struct nh_conn *c)
{
	while (c->out) {
		nh_slice rest = piece_rest(c->out);
		size_t put = 0;
		nh_rc rc = rest.len ? conn_raw_write(c, nh_slice_sub(rest, 0, NH_TLS_RECORD_MAX), &put) : NH_OK;
		if (rc == NH_EAGAIN)
			return NH_EAGAIN;
		if (rc != NH_OK) {
			conn_close(c);
			return NH_ECLOSED;
		}
		c->out->at += put;
		c->out_bytes -= put;
		conn_count_out(c, put);
		if (put == rest.len)
			piece_drop(c);
	}
	return NH_OK;
}

static void close_broken(void *arg) { conn_close(arg); }

/* Callers of conn_write stand in the middle of an exchange or of an application's callback: nothing may vanish under them, so the end is deferred. */
nh_rc conn_break(struct nh_conn *c)
{
	c->broken = true;
	conn_drop_output(c);
	nh_loop_defer(c->shard->loop, close_broken, c);
	return NH_ECLOSED;
}

/* As much as the socket takes now; *rest is what it did not. */
static nh_rc write_now(struct nh_conn *c, nh_slice bytes, nh_slice *rest)
{
	if (c->state == CONN_CLOSED || c->broken)
		return NH_ECLOSED;
	while (bytes.len && !c->out) {
		size_t put = 0;
		nh_rc rc = conn_raw_write(c, nh_slice_sub(bytes, 0, NH_TLS_RECORD_MAX), &put);
		if (rc == NH_EAGAIN)
			break;
		if (rc != NH_OK)
			return conn_break(c);
		bytes = nh_slice_skip(bytes, put);
		conn_count_out(c, put);
	}
	*rest = bytes;
	return NH_OK;
}

nh_rc conn_write(struct nh_conn *c, nh_slice bytes)
{
	nh_slice rest = NH_SLICE_EMPTY;
	nh_rc rc = write_now(c, bytes, &rest);
	if (rc == NH_OK && rest.len)
		queue_bytes(c, rest);
	return rc;
}

nh_rc conn_write_frame(struct nh_conn *c, struct nh_ws_frame *frame)
{
	nh_slice rest = NH_SLICE_EMPTY;
	nh_rc rc = write_now(c, nh_buf_slice(&frame->bytes), &rest);
	if (rc == NH_OK && rest.len)
		queue_frame(c, frame, rest);
	return rc;
}
