/*
 * A connection on its loop: handshake, reading into the loop's shared buffer, buffered writing, time-outs, the end. What the bytes mean is said in
 * exchange (HTTP) and ws (WebSocket). Between requests and frames a connection keeps nothing but this struct.
 *
 * Invariant: a connection's memory goes at the end of an iteration, and only when no job of it is out.
 */
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/log.h"
#include "server_int.h"

/* ---- class lists ------------------------------------------------------------------------------------------------------- */

static void list_remove(struct nh_conn *c)
{
	struct conn_list *list = &c->shard->lists[c->class];
	if (c->prev)
		c->prev->next = c->next;
	else
		list->first = c->next;
	if (c->next)
		c->next->prev = c->prev;
	else
		list->last = c->prev;
	c->prev = c->next = NULL;
}

static void list_append(struct nh_conn *c, conn_class class)
{
	struct conn_list *list = &c->shard->lists[class];
	c->class = (uint8_t)class;
	c->prev = list->last;
	if (c->prev)
		c->prev->next = c;
	else
		list->first = c;
	list->last = c;
}

void conn_enter(struct nh_conn *c, conn_state state, conn_class class)
{
	c->state = (uint8_t)state;
	list_remove(c);
	list_append(c, class);
	c->active_ms = nh_loop_now_ms(c->shard->loop);
}

void conn_shift(struct nh_conn *c, conn_class class)
{
	list_remove(c);
	list_append(c, class);
}

struct nh_loop *nh_conn_loop(const struct nh_conn *conn) { return conn->shard->loop; }
void *nh_conn_session(const struct nh_conn *conn) { return conn->ws ? conn->session : NULL; }

/* ---- raw input --------------------------------------------------------------------------------------------------------- */

static nh_rc raw_read(struct nh_conn *c, uint8_t *out, size_t len, size_t *got)
{
	*got = 0;
	if (c->tls)
		return nh_tls_read(c->tls, out, len, got);
	ssize_t n;
	do
		n = recv(c->fd, out, len, 0);
	while (n < 0 && errno == EINTR);
	if (n > 0) {
		*got = (size_t)n;
		return NH_OK;
	}
	return n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK) ? NH_EAGAIN : NH_ECLOSED;
}

int conn_fd(const struct nh_conn *c) { return c->fd; }

/* ---- opening and the handshake ----------------------------------------------------------------------------------------- */

static void on_event(void *arg, unsigned events);

/* A job is out: not read. Most peers wait for the answer, so the descriptor is watched on, and only rests when something comes: that spares two system calls a job. */
static bool busy(const struct nh_conn *c) { return c->state == CONN_VERIFYING || c->state == CONN_WORKING || (c->state == CONN_WEBSOCKET && c->work_open); }

void conn_rewatch(struct nh_conn *c)
{
	if (c->state == CONN_CLOSED)
		return;
	unsigned events = 0;
	if (!busy(c))
		c->resting = false;
	switch ((conn_state)c->state) {
	case CONN_HANDSHAKE: events = nh_tls_wants_write(c->tls) ? NH_WRITABLE : NH_READABLE; break;
	case CONN_HEAD:
	case CONN_BODY:
	case CONN_LINGER: events = NH_READABLE; break;
	case CONN_RESPONDING:
	case CONN_CLOSING: events = NH_WRITABLE; break;
	case CONN_WEBSOCKET:
	case CONN_VERIFYING:
	case CONN_WORKING: events = c->resting ? 0 : NH_READABLE; break;
	case CONN_LATER: events = c->in.len < HEAD_MAX ? NH_READABLE : 0; break;
	case CONN_CLOSED: break;
	}
	if (conn_has_output(c))
		events |= NH_WRITABLE;
	nh_watch_set(c->watch, events);
}

struct verification {
	struct nh_work work;
	struct nh_conn *conn;
	struct nh_buf der;
	uint8_t fingerprint[NH_TLS_FINGERPRINT_LEN];
	nh_tls_verdict verdict;
	int64_t tag;
};

static void handshake(struct nh_conn *c);

static void verification_run(void *worker, struct nh_work *work)
{
	struct verification *v = (struct verification *)(void *)work;
	const struct nh_listener *l = v->conn->listener;
	v->verdict = l->verify_slow(worker, l->verify_app, nh_buf_slice(&v->der), v->fingerprint, &v->tag);
}

static void verification_done(struct nh_work *work)
{
	struct verification *v = (struct verification *)(void *)work;
	struct nh_conn *c = v->conn;
	nh_tls_verdict verdict = v->verdict == NH_TLS_ACCEPT ? NH_TLS_ACCEPT : NH_TLS_REFUSE;
	int64_t tag = v->tag;
	nh_buf_fini(&v->der);
	free(v);
	c->work_open = false;
	if (c->state == CONN_CLOSED) {
		conn_work_back(c);
		return;
	}
	c->peer_tag = tag;
	conn_enter(c, CONN_HANDSHAKE, admit_class(c));
	nh_tls_decide(c->tls, verdict);
	handshake(c);
}

/* Inside the handshake: known certificates are decided at once, others suspend it until a worker has looked. */
nh_tls_verdict nh_server_verify(void *conn, struct nh_tls_session *session, nh_slice leaf_der, const uint8_t fingerprint[NH_TLS_FINGERPRINT_LEN])
{
	struct nh_conn *c = conn;
	const struct nh_listener *l = c->listener;
	if (!l->verify)
		return NH_TLS_ACCEPT;
	nh_tls_verdict verdict = l->verify(l->verify_app, leaf_der, fingerprint, &c->peer_tag);
	if (verdict != NH_TLS_PENDING || !l->verify_slow)
		return verdict == NH_TLS_PENDING ? NH_TLS_REFUSE : verdict;
	struct verification *v = nh_xcalloc(1, sizeof *v);
	v->work = (struct nh_work){.run = verification_run, .done = verification_done};
	v->conn = c;
	nh_buf_put_slice(&v->der, leaf_der);
	for (size_t i = 0; i < sizeof v->fingerprint; i++)
		v->fingerprint[i] = fingerprint[i];
	c->work_open = true;
	conn_enter(c, CONN_VERIFYING, CLASS_VERIFYING);
	nh_work_queue(c->shard->server->config.pool, c->shard->loop, &v->work);
	return NH_TLS_PENDING;
}

/* What came in one piece with the end of the handshake: at most a few KiB, gathered in c->in, where any other unread rest lies too. */
static void take_ahead(struct nh_conn *c)
{
	nh_rc rc = NH_OK;
	while (rc == NH_OK && nh_tls_has_pending(c->tls)) {
		size_t got = 0;
		rc = raw_read(c, c->shard->buffer, READ_BUFFER, &got);
		nh_buf_put(&c->in, c->shard->buffer, got);
		COUNT(c->shard, bytes_in, got);
	}
	/* A goodbye behind a request does not take it back: what was asked is answered, and the next read sees the end again. */
	if (c->in.len)
		conn_resume(c);
	else if (rc != NH_OK && rc != NH_EAGAIN)
		conn_close(c);
}

static void handshake(struct nh_conn *c)
{
	struct nh_err err = NH_ERR_INIT;
	uint64_t before = c->measured ? admit_thread_ns() : 0;
	nh_rc rc = nh_tls_handshake(c->tls, &err);
	if (c->measured)
		c->handshake_ns += (uint32_t)(admit_thread_ns() - before);
	if (rc == NH_EAGAIN) {
		conn_rewatch(c);
		return;
	}
	admit_handshake_ends(c, rc == NH_OK);
	if (rc != NH_OK) {
		COUNT(c->shard, handshake_failures, 1);
		NH_LOG(NH_LOG_DEBUG, "net.handshake_failed", NH_STR("listener", c->listener->name), NH_STR("why", err.msg));
		if (rc == NH_ECLOSED)
			conn_close(c);
		else
			conn_end(c); /* the alert must arrive */
		return;
	}
	c->tls_open = true;
	COUNT(c->shard, handshakes, 1);
	conn_enter(c, CONN_HEAD, CLASS_HEAD);
	if (nh_tls_has_pending(c->tls))
		take_ahead(c);
	conn_rewatch(c);
}

const struct sockaddr_storage *conn_peer(struct nh_conn *c)
{
	socklen_t len = sizeof *c->peer;
	if (!c->peer) {
		c->peer = nh_xcalloc(1, sizeof *c->peer);
		NH_IGNORE(getpeername(c->fd, (struct sockaddr *)c->peer, &len)); /* gone already: no address, which the next read tells */
	}
	return c->peer;
}

nh_slice nh_conn_remote(const struct nh_conn *conn, struct nh_arena *arena)
{
	struct sockaddr_storage peer;
	socklen_t len = sizeof peer;
	char text[INET6_ADDRSTRLEN];
	if (getpeername(conn->fd, (struct sockaddr *)&peer, &len) != 0 || getnameinfo((struct sockaddr *)&peer, len, text, sizeof text, NULL, 0, NI_NUMERICHOST) != 0)
		return NH_SLICE_EMPTY;
	return nh_arena_copy(arena, nh_slice_str(text));
}

struct nh_conn *conn_new(struct shard *shard, const struct nh_listener *listener, int take_fd, struct nh_watch *take_watch)
{
	struct nh_conn *c = nh_xcalloc(1, sizeof *c);
	struct nh_err err = NH_ERR_INIT;
	c->shard = shard;
	c->listener = listener;
	c->fd = take_fd;
	c->watch = take_watch;
	if (listener->tls && nh_tls_session_new(listener->tls, c->fd, NULL, c, &c->tls, &err) != NH_OK) {
		NH_LOG(NH_LOG_WARN, "net.accept_failed", NH_STR("why", err.msg));
		nh_watch_close(c->watch);
		close(c->fd);
		free(c);
		return NULL;
	}
	nh_watch_hand_over(c->watch, on_event, c);
	conn_name(c);
	shard->alive++;
	COUNT(shard, connections, 1);
	list_append(c, CLASS_HEAD);
	conn_enter(c, c->tls ? CONN_HANDSHAKE : CONN_HEAD, c->tls ? CLASS_HANDSHAKE : CLASS_HEAD);
	if (c->tls)
		admit_handshake_begins(c);
	return c;
}

static void on_readable(struct nh_conn *c);

void conn_begin(struct nh_conn *c)
{
	nh_watch_set(c->watch, NH_READABLE);
	if (c->tls)
		handshake(c);
	else
		on_readable(c);
}

/* ---- the end ----------------------------------------------------------------------------------------------------------- */

static void conn_release(void *arg)
{
	struct nh_conn *c = arg;
	c->shard->alive--;
	c->shard->released++;
	nh_buf_fini(&c->in);
	conn_drop_output(c);
	nh_ws_decoder_fini(&c->decoder);
	nh_tls_free(c->tls);
	free(c->peer);
	free(c);
}

void conn_work_back(struct nh_conn *c)
{
	NH_ASSERT(c->state == CONN_CLOSED);
	c->work_open = false;
	nh_loop_defer(c->shard->loop, conn_release, c);
}

void conn_close(struct nh_conn *c)
{
	if (c->state == CONN_CLOSED)
		return;
	admit_handshake_ends(c, false);
	bool lingered = c->state == CONN_LINGER;
	c->state = CONN_CLOSED;
	list_remove(c);
	conn_unname(c);
	UNCOUNT(c->shard, connections, 1);
	if (c->tls_open && !lingered)
		nh_tls_bye(c->tls);
	nh_watch_close(c->watch);
	c->watch = NULL;
	close(c->fd);
	c->fd = -1;
	if (c->ws && !c->work_open)
		ws_gone(c);
	if (c->exchange)
		exchange_gone(c->exchange);
	/* A job that is out comes back to this memory; whoever gets it back releases it. */
	if (!c->work_open)
		nh_loop_defer(c->shard->loop, conn_release, c);
}

void conn_end(struct nh_conn *c)
{
	NH_ASSERT(!c->exchange);
	if (c->tls_open)
		nh_tls_bye(c->tls);
	conn_enter(c, CONN_LINGER, CLASS_LINGER);
	if (c->ws && !c->work_open)
		ws_gone(c);
	if (shutdown(c->fd, SHUT_WR) != 0)
		conn_close(c);
	else
		conn_rewatch(c);
}

#define LINGER_MAX ((uint32_t)16 << 20) /* bytes of a peer that does not listen */

static void linger(struct nh_conn *c)
{
	ssize_t n = recv(c->fd, c->shard->buffer, READ_BUFFER, 0);
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n > 0)
		c->lingered_bytes += (uint32_t)n;
	if (n <= 0 || c->lingered_bytes > LINGER_MAX)
		conn_close(c);
}

/* ---- events ------------------------------------------------------------------------------------------------------------ */

/* Goes on with whatever stands in front: several pipelined requests may lie in one read. */
void conn_input(struct nh_conn *c, nh_slice fresh)
{
	if (c->in.len) {
		nh_buf_put_slice(&c->in, fresh);
		fresh = NH_SLICE_EMPTY;
	}
	bool own = fresh.len == 0;
	struct nh_buf kept = own ? nh_steal_buf(&c->in) : NH_BUF_INIT;
	nh_slice rest = own ? nh_buf_slice(&kept) : fresh;
	for (;;) {
		size_t used = 0;
		if (c->state == CONN_HEAD && rest.len)
			exchange_head(c, rest, &used);
		else if (c->state == CONN_BODY)
			exchange_body(c, rest, &used);
		else if (c->state == CONN_WEBSOCKET && rest.len && !c->work_open) {
			/* The decoder unmasks in place and keeps what it must. */
			nh_slice all = rest;
			rest = NH_SLICE_EMPTY;
			ws_input(c, (uint8_t *)(uintptr_t)all.ptr, all.len);
			break;
		}
		rest = nh_slice_skip(rest, used);
		if (used == 0 || c->state == CONN_CLOSED || c->state == CONN_CLOSING || c->state == CONN_LINGER || c->broken)
			break;
	}
	if (c->state != CONN_CLOSED && c->state != CONN_CLOSING && c->state != CONN_LINGER && rest.len)
		nh_buf_put_slice(&c->in, rest);
	nh_buf_fini(&kept);
	conn_rewatch(c);
}

void conn_resume(struct nh_conn *c)
{
	if (c->state != CONN_CLOSED)
		conn_input(c, NH_SLICE_EMPTY);
}

/* A body is gathered up to the buffer's size, since each piece costs a trip to a worker; anything else is one read. */
static nh_rc fill(struct nh_conn *c, size_t *got)
{
	nh_rc rc = raw_read(c, c->shard->buffer, READ_BUFFER, got);
	while (rc == NH_OK && c->tls && c->state == CONN_BODY && *got + NH_TLS_RECORD_MAX <= READ_BUFFER) {
		size_t more = 0;
		if (raw_read(c, c->shard->buffer + *got, READ_BUFFER - *got, &more) != NH_OK)
			break; /* an end of the connection is seen again by the next read */
		*got += more;
	}
	return rc;
}

/* One read an event: asking again only to see EAGAIN costs a system call per heartbeat. What TLS holds decrypted must be taken, though. */
static void on_readable(struct nh_conn *c)
{
	do {
		size_t got = 0;
		nh_rc rc = fill(c, &got);
		if (rc == NH_EAGAIN)
			return;
		if (rc != NH_OK) {
			conn_close(c);
			return;
		}
		COUNT(c->shard, bytes_in, got);
		conn_input(c, nh_slice_of(c->shard->buffer, got));
	} while ((c->state == CONN_HEAD || c->state == CONN_BODY || (c->state == CONN_WEBSOCKET && !c->work_open)) && c->tls && nh_tls_has_pending(c->tls));
}

/* Nothing is handled before the answer that is owed, but the end of the connection is worth knowing. A record of TLS is taken whole: what it left inside would wake nobody. */
static void read_ahead(struct nh_conn *c)
{
	size_t got = 0;
	nh_rc rc = raw_read(c, c->shard->buffer, READ_BUFFER, &got);
	nh_buf_put(&c->in, c->shard->buffer, got);
	COUNT(c->shard, bytes_in, got);
	if (rc != NH_OK && rc != NH_EAGAIN)
		conn_close(c);
	else
		conn_rewatch(c);
}

static void on_writable(struct nh_conn *c)
{
	nh_rc rc = conn_flush(c);
	if (rc == NH_ECLOSED)
		return;
	if (rc == NH_OK) {
		if (c->state == CONN_RESPONDING) {
			respond_more(c);
			return;
		}
		if (c->state == CONN_CLOSING) {
			conn_end(c);
			return;
		}
		if (c->ws && c->ws->on_drained)
			c->ws->on_drained(c, c->session);
	}
	conn_rewatch(c);
}

static void on_event(void *arg, unsigned events)
{
	struct nh_conn *c = arg;
	if (c->state == CONN_HANDSHAKE) {
		handshake(c);
		return;
	}
	if (c->state == CONN_LINGER) {
		linger(c);
		return;
	}
	if (events & NH_WRITABLE && (conn_has_output(c) || c->state == CONN_RESPONDING || c->state == CONN_CLOSING))
		on_writable(c);
	if (!(events & NH_READABLE))
		return;
	if (busy(c)) {
		c->resting = true;
		conn_rewatch(c);
	} else if (c->state == CONN_LATER) {
		read_ahead(c);
	} else if (c->state == CONN_HEAD || c->state == CONN_BODY || c->state == CONN_WEBSOCKET) {
		on_readable(c);
	}
}
