/*
 * Responses: what a handler may set, the head that goes out, bodies from memory or from a file, ranges, and the step to a WebSocket.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/sendfile.h>
#include <sys/uio.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "server_int.h"

void response_init(struct nh_response *res) { res->file = -1; }

void response_fini(struct nh_response *res)
{
	nh_buf_fini(&res->headers);
	nh_buf_fini(&res->body);
	nh_buf_fini(&res->etag);
	if (res->file >= 0)
		close(res->file);
	res->file = -1;
}

/* ---- what handlers call ------------------------------------------------------------------------------------------------ */

void nh_response_header(struct nh_response *res, const char *name, nh_slice value)
{
	if (nh_slice_chr(value, '\r') >= 0 || nh_slice_chr(value, '\n') >= 0 || nh_slice_chr(value, 0) >= 0)
		return;
	nh_buf_printf(&res->headers, "%s: %.*s\r\n", name, NH_ARG(value));
}

void nh_response_send(struct nh_response *res, unsigned status, const char *type, nh_slice body)
{
	res->status = status;
	res->type = type;
	nh_buf_clear(&res->body);
	nh_buf_put_slice(&res->body, body);
}

unsigned nh_response_status(const struct nh_response *res) { return res->status; }

void nh_response_file(struct nh_response *res, int take_fd, uint64_t size_bytes, const char *type, nh_slice etag)
{
	if (res->file >= 0)
		close(res->file);
	res->file = take_fd;
	res->has_file = take_fd >= 0;
	if (!res->has_file) {
		nh_response_send(res, 500, NULL, NH_SLICE_EMPTY);
		return;
	}
	res->file_size = size_bytes;
	res->status = 200;
	res->type = type;
	nh_buf_clear(&res->etag);
	if (etag.len)
		nh_buf_printf(&res->etag, "\"%.*s\"", NH_ARG(etag));
}

void nh_response_upgrade(struct nh_response *res, const struct nh_ws_handler *handler, void *take_session)
{
	NH_ASSERT(!res->upgrade);
	res->upgrade = handler;
	res->session = take_session;
}

/* ---- the head ---------------------------------------------------------------------------------------------------------- */

static const char *date(struct shard *shard)
{
	int64_t now_us = nh_now_us();
	uint64_t second = (uint64_t)(now_us / NH_US_PER_S);
	if (second != shard->date_second) {
		NH_AUTO_BUF struct nh_buf text = NH_BUF_INIT;
		nh_time_put_http(&text, now_us);
		snprintf(shard->date, sizeof shard->date, "%s", nh_buf_cstr(&text));
		shard->date_second = second;
	}
	return shard->date;
}

static bool range_applies(const struct exchange *ex)
{
	nh_slice if_range = nh_http_header_get(&ex->headers, "If-Range");
	return !if_range.ptr || nh_slice_eq(if_range, nh_buf_slice(&ex->response.etag));
}

/* Decides between 200, 206, 304 and 416 and which part of the file goes out. */
static void prepare_file(struct exchange *ex, struct nh_buf *head)
{
	struct nh_response *res = &ex->response;
	uint64_t first = 0, length = res->file_size;
	nh_buf_put_str(head, "Accept-Ranges: bytes\r\n");
	if (res->etag.len)
		nh_buf_printf(head, "ETag: %s\r\n", nh_buf_cstr(&res->etag));
	nh_slice none_match = nh_http_header_get(&ex->headers, "If-None-Match");
	if (none_match.ptr && res->etag.len && nh_http_etag_match(none_match, nh_buf_slice(&res->etag), true)) {
		res->status = 304;
		res->file_left = 0;
		return;
	}
	nh_rc rc = range_applies(ex) ? nh_http_range_parse(nh_http_header_get(&ex->headers, "Range"), res->file_size, &first, &length) : NH_ENOTFOUND;
	if (rc == NH_OK) {
		res->status = 206;
		nh_buf_printf(head, "Content-Range: bytes %llu-%llu/%llu\r\n", (unsigned long long)first, (unsigned long long)(first + length - 1),
			      (unsigned long long)res->file_size);
	} else if (rc == NH_EINVAL) {
		res->status = 416;
		nh_buf_printf(head, "Content-Range: bytes */%llu\r\n", (unsigned long long)res->file_size);
		first = length = 0;
	} else {
		first = 0;
		length = res->file_size;
	}
	res->file_at = first;
	res->file_left = length;
}

static bool body_allowed(unsigned status) { return status >= 200 && status != 204 && status != 304; }

static void write_head(struct exchange *ex, nh_slice extra, uint64_t content_length)
{
	struct nh_conn *c = ex->conn;
	struct nh_response *res = &ex->response;
	bool close = !c->keep_alive || res->close || c->shard->draining;
	NH_AUTO_BUF struct nh_buf head = NH_BUF_INIT;
	nh_buf_printf(&head, "HTTP/1.1 %u %s\r\nDate: %s\r\n", res->status, nh_http_reason(res->status), date(c->shard));
	if (res->type && body_allowed(res->status))
		nh_buf_printf(&head, "Content-Type: %s\r\n", res->type);
	if (body_allowed(res->status))
		nh_buf_printf(&head, "Content-Length: %llu\r\n", (unsigned long long)content_length);
	if (close)
		nh_buf_put_str(&head, "Connection: close\r\n");
	else if (ex->head.len && ex->parsed.minor == 0)
		nh_buf_put_str(&head, "Connection: keep-alive\r\n"); /* an old client closes unless it is told. source: RFC 9112 C.2.2 */
	if (ex->request.id.len)
		nh_buf_printf(&head, "x-request-id: %.*s\r\n", NH_ARG(ex->request.id));
	nh_buf_put_slice(&head, extra);
	nh_buf_put_slice(&head, nh_buf_slice(&res->headers));
	nh_buf_put_str(&head, "\r\n");
	/* Head and a body from memory go out together: one record, one segment. */
	bool inline_body = ex->request.method != NH_HTTP_HEAD && !res->has_file && body_allowed(res->status);
	if (inline_body)
		nh_buf_put_slice(&head, nh_buf_slice(&res->body));
	NH_IGNORE(conn_write(c, nh_buf_slice(&head))); /* a dead peer: the connection is closed, checked by the caller through its state */
}

/* ---- upgrade ----------------------------------------------------------------------------------------------------------- */

static void upgrade(struct exchange *ex)
{
	struct nh_conn *c = ex->conn;
	struct nh_response *res = &ex->response;
	struct nh_err err = NH_ERR_INIT;
	nh_slice key = NH_SLICE_EMPTY;
	nh_rc rc = nh_ws_server_check(&ex->parsed, &key, &err);
	if (rc != NH_OK) {
		const struct nh_ws_handler *handler = res->upgrade;
		res->upgrade = NULL;
		handler->on_close(NULL, res->session, NH_WS_CLOSE_ABNORMAL);
		if (rc == NH_EUNSUPPORTED)
			nh_response_header(res, "Sec-WebSocket-Version", NH_LIT("13"));
		exchange_fault(c, ex, rc == NH_EUNSUPPORTED ? 426 : rc == NH_EPERM ? 403 : 400, err.msg);
		return;
	}
	char accept[NH_WS_ACCEPT_LEN + 1];
	nh_ws_accept_key(key, accept);
	NH_AUTO_BUF struct nh_buf head = NH_BUF_INIT;
	nh_buf_printf(&head, "HTTP/1.1 101 Switching Protocols\r\nDate: %s\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: %s\r\n",
		      date(c->shard), accept);
	nh_buf_put_slice(&head, nh_buf_slice(&res->headers));
	nh_buf_put_str(&head, "\r\n");
	if (conn_write(c, nh_buf_slice(&head)) != NH_OK)
		return; /* broken: exchange_gone gives the session back */
	const struct nh_ws_handler *handler = res->upgrade;
	void *session = res->session;
	res->upgrade = NULL;
	c->exchange = NULL;
	exchange_free(ex);
	ws_start(c, handler, session);
}

/* ---- sending ----------------------------------------------------------------------------------------------------------- */

static void measure(const struct exchange *ex)
{
	const struct nh_route *route = ex->request.route;
	struct nh_server_stats *stats = &ex->conn->shard->stats;
	bool transfer = ex->response.has_file || (route && route->body == NH_BODY_STREAM);
	uint64_t took_us = ex->begun_us ? nh_mono_us() - ex->begun_us : 0;
	if (ex->response.status >= 100 && ex->response.status < 600)
		__atomic_fetch_add(&stats->responses[ex->response.status / 100 - 1], 1, __ATOMIC_RELAXED);
	nh_histogram_add(&stats->request_us[transfer ? NH_REQUEST_TRANSFER : NH_REQUEST_ANSWER], took_us);
	NH_LOG(NH_LOG_DEBUG, "http.request", NH_STR("route", route ? route->path : ""), NH_I("status", ex->response.status), NH_I("us", took_us), NH_S("request", ex->request.id));
}

void respond(struct exchange *ex)
{
	struct nh_conn *c = ex->conn;
	struct nh_response *res = &ex->response;
	if (res->upgrade) {
		upgrade(ex);
		return;
	}
	if (res->status == 0) {
		NH_LOG(NH_LOG_ERROR, "net.no_response", NH_STR("route", ex->request.route ? ex->request.route->path : "?"));
		res->status = 500;
	}
	NH_AUTO_BUF struct nh_buf extra = NH_BUF_INIT;
	uint64_t length = res->body.len;
	if (res->has_file) {
		prepare_file(ex, &extra);
		length = res->file_left;
	}
	measure(ex);
	if (res->file >= 0 && !ex->file_counted) {
		ex->file_counted = true;
		c->shard->files++;
	}
	exchange_window_begin(ex, CONN_RESPONDING);
	if (ex->request.method == NH_HTTP_HEAD || !body_allowed(res->status))
		res->file_left = 0;
	write_head(ex, nh_buf_slice(&extra), length);
	if (c->broken)
		return;
	respond_more(c);
}

/*
 * Files. What one event may send is bounded, so that many readers share the loop: half a millisecond's worth. Pieces are large, as each costs a call: measured
 * against nginx on the same page cache, reading 64 KiB and not one record at a time is worth 6 % of a TLS download; smaller turns cost, corking does not help.
 */
#define TURN_PLAIN ((uint64_t)4 << 20)
#define TURN_TLS ((uint64_t)512 << 10)
#define CHUNK ((size_t)1 << 20) /* of one sendfile, and what a worker reads ahead */

/* What is not in the page cache is fetched by a worker, which only warms the cache; the loop then reads it as any other. */
static void warm_run(struct exchange *ex)
{
	uint8_t block[NH_TLS_RECORD_MAX];
	for (size_t at = 0; at < CHUNK; at += sizeof block)
		if (pread(ex->response.file, block, sizeof block, (off_t)(ex->response.file_at + at)) <= 0)
			break;
}

static void warm_then(struct exchange *ex)
{
	ex->conn->state = CONN_RESPONDING;
	respond_more(ex->conn);
}

typedef enum progress { MORE, BLOCKED, COLD, BROKEN } progress;

/* MORE: *got > 0 bytes of what comes next, read without waiting for a disk. */
static progress read_cached(struct nh_response *res, uint8_t *out, size_t want, size_t *got)
{
	struct iovec io = {out, want};
	ssize_t n = preadv2(res->file, &io, 1, (off_t)res->file_at, RWF_NOWAIT);
	if (n < 0 && errno == EOPNOTSUPP) /* a file system without RWF_NOWAIT (tmpfs before 6.x): its pages are in memory anyway */
		n = pread(res->file, out, want, (off_t)res->file_at);
	*got = n > 0 ? (size_t)n : 0;
	if (n > 0)
		return MORE;
	return n < 0 && errno == EAGAIN ? COLD : BROKEN;
}

static void file_sent(struct nh_conn *c, struct nh_response *res, size_t put)
{
	res->file_at += put;
	res->file_left -= put;
	conn_count_out(c, put);
}

/* sendfile would wait for the disk: one byte tells whether a chunk is there at all. What of it was evicted singly is rare enough to be waited for. */
static progress send_plain(struct nh_conn *c, struct nh_response *res)
{
	uint8_t probe;
	size_t got = 0;
	progress here = read_cached(res, &probe, 1, &got);
	if (here != MORE)
		return here;
	off_t at = (off_t)res->file_at;
	size_t want = res->file_left > CHUNK ? CHUNK : (size_t)res->file_left;
	ssize_t n = sendfile(conn_fd(c), res->file, &at, want);
	if (n <= 0)
		return n < 0 && (errno == EAGAIN || errno == EINTR) ? BLOCKED : BROKEN;
	file_sent(c, res, (size_t)n);
	return (size_t)n < want ? BLOCKED : MORE; /* the socket is full: asking again would only say so */
}

static progress send_tls(struct nh_conn *c, struct nh_response *res)
{
	size_t want = res->file_left > READ_BUFFER ? READ_BUFFER : (size_t)res->file_left, got = 0, at = 0;
	progress here = read_cached(res, c->shard->buffer, want, &got);
	while (here == MORE && at < got) {
		size_t put = 0;
		nh_rc rc = conn_raw_write(c, nh_slice_sub(nh_slice_of(c->shard->buffer + at, got - at), 0, NH_TLS_RECORD_MAX), &put);
		if (rc != NH_OK)
			return rc == NH_EAGAIN ? BLOCKED : BROKEN;
		file_sent(c, res, put);
		at += put; /* may pass got: a record that was stuck before may be longer than what is cached now */
	}
	return here;
}

void respond_more(struct nh_conn *c)
{
	struct exchange *ex = c->exchange;
	struct nh_response *res = &ex->response;
	uint64_t turn = c->tls ? TURN_TLS : TURN_PLAIN;
	if (conn_has_output(c)) {
		conn_rewatch(c);
		return;
	}
	uint64_t until = res->file_left - (res->file_left < turn ? res->file_left : turn);
	while (res->file_left > until) {
		switch (c->tls ? send_tls(c, res) : send_plain(c, res)) {
		case MORE: continue;
		case BLOCKED:
			conn_rewatch(c);
			return;
		case COLD: exchange_submit(ex, warm_run, warm_then); return;
		case BROKEN: conn_close(c); return;
		}
	}
	if (res->file_left == 0) {
		exchange_finished(c);
		/* A response that was finished from an event of its own leaves pipelined requests in c->in. */
		if (c->state == CONN_HEAD && c->in.len)
			conn_resume(c);
		return;
	}
	conn_rewatch(c);
}
