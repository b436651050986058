/*
 * Outgoing stream of the clients: resolves, tries the addresses in order, has a proxy connect where there is one, does the TLS handshake, then reads and writes. One
 * deadline covers everything until it is ready; later time-outs are the owner's business.
 */
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/arena.h"
#include "client_int.h"

/* Reads a callback's worth at most, so that one fast peer does not starve the loop. */
#define READS_PER_EVENT 4

static void on_events(void *arg, unsigned events);

static void drop_socket(struct stream *s)
{
	nh_tls_free(s->session);
	s->session = NULL;
	nh_watch_close(s->watch);
	s->watch = NULL;
	if (s->handshake) {
		shutdown(s->fd, SHUT_RDWR); /* wakes the worker, if there is one; nh_handshake_done does the rest */
		s->handshake->stream = NULL;
		s->handshake = NULL;
	} else if (s->fd > 0) {
		close(s->fd);
	}
	s->fd = 0;
}

static void free_dial(struct stream *s)
{
	if (!s->dial)
		return;
	nh_buf_wipe(&s->dial->request); /* may carry a password */
	nh_buf_fini(&s->dial->answer.head);
	free(s->dial);
	s->dial = NULL;
}

void stream_close(struct stream *s)
{
	if (s->phase == STREAM_CLOSED)
		return;
	s->phase = STREAM_CLOSED;
	s->generation++;
	drop_socket(s);
	nh_resolve_close(s->resolve);
	nh_timer_close(s->deadline);
	nh_tls_unref(s->tls);
	nh_buf_fini(&s->out);
	free_dial(s);
	free(s->peer);
	free(s->verify_name);
	s->resolve = NULL;
	s->deadline = NULL;
	s->tls = NULL;
	s->peer = s->verify_name = NULL;
}

static void fail(struct stream *s, nh_rc rc, const struct nh_err *err)
{
	const struct stream_events *events = s->events;
	void *ctx = s->ctx;
	struct nh_err copy = err ? *err : NH_ERR_INIT;
	stream_close(s);
	events->on_end(ctx, rc, &copy);
}

/* What the descriptor is to be watched for now. */
static void watch(struct stream *s)
{
	unsigned events = 0;
	if (s->phase == STREAM_CONNECTING)
		events = NH_WRITABLE;
	else if (s->phase == STREAM_PROXY)
		events = s->dial->request.len > 0 ? NH_WRITABLE : NH_READABLE;
	else if (s->phase == STREAM_HANDSHAKE && s->session)
		events = nh_tls_wants_write(s->session) ? NH_WRITABLE : NH_READABLE;
	else if (s->phase == STREAM_READY)
		events = (s->paused ? 0 : NH_READABLE) | (s->out.len > 0 ? NH_WRITABLE : 0);
	nh_watch_set(s->watch, events);
}

static void ready(struct stream *s)
{
	s->phase = STREAM_READY;
	nh_timer_close(s->deadline);
	s->deadline = NULL;
	free_dial(s);
	watch(s);
	s->events->on_ready(s->ctx);
}

static void handshake(struct stream *s)
{
	struct nh_err err = NH_ERR_INIT;
	nh_rc rc = nh_tls_handshake(s->session, &err);
	if (rc == NH_OK)
		ready(s);
	else if (rc == NH_EAGAIN)
		watch(s);
	else
		fail(s, rc, &err);
}

/* ---- a handshake that may block */

static void hand_over(struct stream *s)
{
	if (!s->events->on_handshake) {
		struct nh_err err = NH_ERR_INIT;
		nh_rc rc = NH_FAIL(&err, NH_EUNSUPPORTED, "%s: a key in hardware cannot be used here", s->peer);
		fail(s, rc, &err);
		return;
	}
	s->handshake = nh_xcalloc(1, sizeof *s->handshake);
	*s->handshake = (struct nh_handshake){.stream = s, .session = s->session, .fd = s->fd, .rc = NH_EAGAIN};
	s->session = NULL;
	watch(s);
	s->events->on_handshake(s->ctx, s->handshake);
}

void nh_handshake_run(struct nh_handshake *h)
{
	while ((h->rc = nh_tls_handshake(h->session, &h->err)) == NH_EAGAIN) {
		struct pollfd p = {.fd = h->fd, .events = nh_tls_wants_write(h->session) ? POLLOUT : POLLIN};
		poll(&p, 1, -1); /* the stream's deadline shuts the socket down */
	}
}

void nh_handshake_done(struct nh_handshake *h)
{
	struct stream *s = h->stream;
	nh_rc rc = h->rc;
	struct nh_err err = h->err;
	if (s) {
		s->session = h->session;
		s->handshake = NULL;
	} else {
		nh_tls_free(h->session);
		close(h->fd);
	}
	free(h);
	if (!s)
		return;
	if (rc == NH_OK)
		ready(s);
	else
		fail(s, rc, &err);
}

/* ---- */

/* The server listens: directly, or through the tunnel. */
static void reached(struct stream *s)
{
	struct nh_err err = NH_ERR_INIT;
	if (!s->tls) {
		ready(s);
		return;
	}
	s->phase = STREAM_HANDSHAKE;
	nh_rc rc = nh_tls_session_new(s->tls, s->fd, s->verify_name, s, &s->session, &err);
	if (rc != NH_OK)
		fail(s, rc, &err);
	else if (nh_tls_signs_outside(s->tls))
		hand_over(s);
	else
		handshake(s);
}

static void proxy_failed(struct stream *s, nh_rc rc, struct nh_err *err)
{
	rc = nh_err_prefix(err, rc, "%s", s->peer);
	fail(s, rc, err);
}

/* One event of the conversation with the proxy: our request out, then its answer in. */
static void proxy_step(struct stream *s)
{
	struct nh_err err = NH_ERR_INIT;
	struct stream_dial *d = s->dial;
	uint8_t bytes[PROXY_HEAD_MAX];
	bool asking = d->request.len > 0;
	ssize_t n = asking ? send(s->fd, d->request.ptr, d->request.len, MSG_NOSIGNAL) : read(s->fd, bytes, sizeof bytes);
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n <= 0) {
		nh_rc rc = NH_FAIL(&err, NH_EIO, "the connection ended before it answered");
		proxy_failed(s, rc, &err);
		return;
	}
	if (asking) {
		nh_buf_consume(&d->request, (size_t)n);
		watch(s);
		return;
	}
	nh_rc rc = proxy_take(&d->answer, nh_slice_of(bytes, (size_t)n), &err);
	if (rc == NH_OK)
		reached(s);
	else if (rc != NH_EAGAIN)
		proxy_failed(s, rc, &err);
}

static void connected(struct stream *s)
{
	int on = 1;
	setsockopt(s->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on); /* messages are small and complete; a failure only costs time */
	if (s->dial->request.len == 0) {
		reached(s);
		return;
	}
	s->phase = STREAM_PROXY;
	watch(s);
}

/* Starts on the next address; false where it failed at once. */
static bool dial_one(struct stream *s)
{
	struct stream_dial *d = s->dial;
	const struct sockaddr *address = (const struct sockaddr *)&d->addresses[d->next];
	unsigned length = d->lengths[d->next++];
	s->fd = socket(address->sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (s->fd < 0) {
		d->last_errno = errno;
		s->fd = 0;
		return false;
	}
	if (connect(s->fd, address, length) != 0 && errno != EINPROGRESS) {
		d->last_errno = errno;
		drop_socket(s);
		return false;
	}
	if (nh_watch_open(s->loop, s->fd, on_events, s, &s->watch, NULL) != NH_OK) {
		d->last_errno = EIO;
		drop_socket(s);
		return false;
	}
	watch(s);
	return true;
}

static void dial_next(struct stream *s)
{
	s->phase = STREAM_CONNECTING;
	while (s->dial->next < s->dial->count)
		if (dial_one(s))
			return;
	struct nh_err err = NH_ERR_INIT;
	nh_rc rc = NH_FAIL(&err, NH_EIO, "cannot connect to %s: %s", s->peer, strerror(s->dial->last_errno));
	fail(s, rc, &err);
}

static void on_resolved(void *arg, nh_rc rc, const struct sockaddr *const *addresses, const unsigned *lengths, size_t count, const struct nh_err *err)
{
	struct stream *s = arg;
	if (rc != NH_OK) {
		fail(s, rc, err);
		return;
	}
	for (size_t i = 0; i < count && s->dial->count < STREAM_ADDRESSES_MAX; i++) {
		if (lengths[i] > sizeof s->dial->addresses[0])
			continue;
		memcpy(&s->dial->addresses[s->dial->count], addresses[i], lengths[i]);
		s->dial->lengths[s->dial->count++] = lengths[i];
	}
	dial_next(s);
}

static void on_deadline(void *arg)
{
	struct stream *s = arg;
	struct nh_err err = NH_ERR_INIT;
	static const char *const doing[] = {"", "looking up the name", "connecting", "waiting for the proxy's answer", "negotiating TLS", ""};
	nh_rc rc = NH_FAIL(&err, NH_ETIMEOUT, "%s: time out while %s", s->peer, doing[s->phase]);
	fail(s, rc, &err);
}

static void on_connect_event(struct stream *s)
{
	int error = 0;
	socklen_t len = sizeof error;
	if (getsockopt(s->fd, SOL_SOCKET, SO_ERROR, &error, &len) != 0)
		error = errno;
	if (error == 0) {
		connected(s);
		return;
	}
	s->dial->last_errno = error;
	drop_socket(s);
	dial_next(s);
}

static nh_rc read_some(struct stream *s, uint8_t *bytes, size_t size, size_t *got)
{
	if (s->session)
		return nh_tls_read(s->session, bytes, size, got);
	ssize_t n = read(s->fd, bytes, size);
	*got = n > 0 ? (size_t)n : 0;
	if (n > 0)
		return NH_OK;
	return n < 0 && (errno == EAGAIN || errno == EINTR) ? NH_EAGAIN : NH_ECLOSED;
}

static nh_rc write_some(struct stream *s, nh_slice bytes, size_t *put)
{
	if (s->session)
		return nh_tls_write(s->session, bytes, put);
	ssize_t n = send(s->fd, bytes.ptr, bytes.len, MSG_NOSIGNAL);
	*put = n > 0 ? (size_t)n : 0;
	if (n >= 0)
		return NH_OK;
	return errno == EAGAIN || errno == EINTR ? NH_EAGAIN : NH_ECLOSED;
}

/* A peer that is gone is noticed by reading. */
static void flush(struct stream *s)
{
	while (s->out.len > 0) {
		size_t put;
		nh_rc rc = write_some(s, nh_buf_slice(&s->out), &put);
		if (rc == NH_EAGAIN)
			break;
		if (rc != NH_OK) {
			nh_buf_clear(&s->out);
			break;
		}
		nh_buf_consume(&s->out, put);
	}
	if (s->out.len == 0)
		nh_buf_fini(&s->out);
	watch(s);
}

static void on_readable(struct stream *s)
{
	uint8_t bytes[STREAM_READ_BYTES];
	unsigned generation = s->generation;
	for (int i = 0; i < READS_PER_EVENT && !s->paused; i++) {
		size_t got;
		nh_rc rc = read_some(s, bytes, sizeof bytes, &got);
		if (rc == NH_EAGAIN)
			return;
		if (rc != NH_OK) {
			struct nh_err err = NH_ERR_INIT;
			rc = NH_FAIL(&err, rc, "%s: %s", s->peer, rc == NH_ECLOSED ? "the connection ended" : "the TLS connection broke");
			fail(s, rc, &err);
			return;
		}
		s->events->on_data(s->ctx, bytes, got);
		if (s->generation != generation)
			return;
		/* A short read emptied the socket; asking again would only cost a system call. */
		if (!s->session && got < sizeof bytes)
			return;
	}
}

static void on_events(void *arg, unsigned events)
{
	struct stream *s = arg;
	unsigned generation = s->generation;
	if (s->phase == STREAM_CONNECTING) {
		on_connect_event(s);
		return;
	}
	if (s->phase == STREAM_PROXY) {
		proxy_step(s);
		return;
	}
	if (s->phase == STREAM_HANDSHAKE) {
		if (s->session)
			handshake(s);
		return;
	}
	if (events & NH_WRITABLE)
		flush(s);
	if (events & NH_READABLE && s->generation == generation && !s->paused)
		on_readable(s);
}

static void name_peer(struct stream *s, const char *host, uint16_t port, const struct proxy_route *route)
{
	NH_AUTO_BUF struct nh_buf text = NH_BUF_INIT;
	if (route)
		nh_buf_printf(&text, "proxy %s port %u for ", route->host, route->port);
	nh_buf_printf(&text, "%s port %u", host, port);
	s->peer = nh_xstrdup(nh_buf_slice(&text));
}

nh_rc stream_open(struct stream *s, struct nh_loop *loop, const struct stream_config *config, const struct stream_events *events, void *ctx, struct nh_err *err)
{
	NH_ASSERT(s->phase == STREAM_CLOSED);
	NH_AUTO_ARENA struct nh_arena arena = NH_ARENA_INIT;
	const struct nh_http_url *url = config->url;
	const char *host = nh_arena_str(&arena, url->host);
	const struct proxy_route *route = proxy_for(config->proxy, url);
	unsigned generation = s->generation;
	*s = (struct stream){.loop = loop, .events = events, .ctx = ctx, .generation = generation + 1};
	if (url->tls && config->tls)
		s->tls = nh_tls_ref(config->tls);
	else if (url->tls)
		NH_TRY(nh_tls_client_new(&(struct nh_tls_client_config){.ca_pem = NH_SLICE_EMPTY}, &s->tls, err));
	s->phase = STREAM_RESOLVING;
	name_peer(s, host, url->port, route);
	s->verify_name = nh_xstrdup(nh_slice_str(config->server_name ? config->server_name : host));
	s->dial = nh_xcalloc(1, sizeof *s->dial);
	if (route)
		proxy_put_connect(&s->dial->request, route, host, url->port);
	s->deadline = nh_timer_new(loop, on_deadline, s);
	nh_timer_start(s->deadline, config->timeout_ms, 0);
	nh_rc rc = nh_resolve_open(loop, route ? route->host : host, route ? route->port : url->port, on_resolved, s, &s->resolve, err);
	if (rc != NH_OK)
		stream_close(s);
	return rc;
}

void stream_write(struct stream *s, nh_slice bytes)
{
	if (s->phase == STREAM_CLOSED)
		return;
	nh_buf_put_slice(&s->out, bytes);
	if (s->phase == STREAM_READY)
		flush(s);
}

void stream_pause(struct stream *s, bool paused)
{
	s->paused = paused;
	if (s->phase == STREAM_READY)
		watch(s);
}

void stream_bye(struct stream *s)
{
	if (s->session && s->phase == STREAM_READY)
		nh_tls_bye(s->session);
}

void client_put_request_head(struct nh_buf *out, const struct nh_http_url *url)
{
	bool v6 = nh_slice_chr(url->host, ':') >= 0;
	nh_buf_printf(out, "GET %.*s%s%.*s HTTP/1.1\r\nHost: %s%.*s%s", NH_ARG(url->path), url->query.ptr ? "?" : "", NH_ARG(url->query), v6 ? "[" : "", NH_ARG(url->host),
		      v6 ? "]" : "");
	if (url->port != (url->tls ? 443 : 80))
		nh_buf_printf(out, ":%u", url->port);
	nh_buf_put_str(out, "\r\n");
}

nh_rc client_check_headers(const struct nh_client_header *headers, size_t count, struct nh_err *err)
{
	for (size_t i = 0; i < count; i++) {
		nh_slice name = nh_slice_str(headers[i].name), value = headers[i].value;
		for (size_t k = 0; k < name.len; k++)
			if (name.ptr[k] <= 0x20 || name.ptr[k] >= 0x7f || name.ptr[k] == ':')
				return NH_FAIL(err, NH_EINVAL, "header name '%s' has an invalid character", headers[i].name);
		for (size_t k = 0; k < value.len; k++)
			if ((value.ptr[k] < 0x20 && value.ptr[k] != '\t') || value.ptr[k] == 0x7f)
				return NH_FAIL(err, NH_EINVAL, "value of header '%s' has a control character", headers[i].name);
		if (name.len == 0)
			return NH_FAIL(err, NH_EINVAL, "header without a name");
	}
	return NH_OK;
}

void client_put_headers(struct nh_buf *out, const struct nh_client_header *headers, size_t count)
{
	for (size_t i = 0; i < count; i++)
		nh_buf_printf(out, "%s: %.*s\r\n", headers[i].name, NH_ARG(headers[i].value));
}
