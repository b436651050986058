/*
 * The server as a whole: bytes on a connection into the real loop, with handlers on the loop and on a worker, bodies collected and streamed, a file, a
 * WebSocket that echoes. The first byte chooses the size of the pieces (0: all at once); each is sent when the one before was read.
 *
 * Every connection ends. What comes out is responses, as many as requests went in, then perhaps frames after a 101; each keeps to the rules that the
 * codecs' own targets check. Sent in pieces, the same requests get the same statuses.
 */
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "fuzz.h"

#include "base/log.h"
#include "net/http_parser.h"
#include "net/server.h"

#define PIECES_MAX 24
#define STATUSES_MAX 256
#define FILE_SIZE 5000

/* ---- the application ------------------------------------------------------------------------------------------------------ */

static int file_fd;

static void hello(struct nh_request *req, struct nh_response *res)
{
	NH_AUTO_BUF struct nh_buf text = NH_BUF_INIT;
	nh_slice name = NH_SLICE_EMPTY, value, query = req->query;
	bool has = true;
	while (has && nh_http_query_next(&query, req->arena, &name, &value, &has) == NH_OK && has)
		nh_response_header(res, "x-pair", value);
	for (size_t i = 0; i < req->param_count; i++)
		nh_buf_put_slice(&text, req->params[i]);
	nh_response_send(res, 200, "text/plain", nh_buf_slice(&text));
}

static void echo(struct nh_request *req, struct nh_response *res) { nh_response_send(res, 200, "application/octet-stream", req->body); }
static void file(struct nh_request *req, struct nh_response *res) { nh_response_file(res, dup(file_fd), FILE_SIZE, "application/octet-stream", NH_LIT("tag")); }

static nh_rc sink_begin(struct nh_request *req, struct nh_response *res, void **stream)
{
	if (nh_slice_eq_str(req->query, "no")) {
		nh_response_send(res, 403, NULL, NH_SLICE_EMPTY);
		return NH_EPERM;
	}
	*stream = nh_xcalloc(1, sizeof(size_t));
	return NH_OK;
}

static nh_rc sink_data(void *worker, void *stream, nh_slice bytes)
{
	size_t *total = stream;
	*total += bytes.len;
	return nh_slice_find(bytes, NH_LIT("STOP")) >= 0 ? NH_EFORMAT : NH_OK;
}

static void sink_abort(void *worker, void *stream) { free(stream); }

static void streamed(struct nh_request *req, struct nh_response *res)
{
	NH_AUTO_BUF struct nh_buf text = NH_BUF_INIT;
	nh_buf_printf(&text, "%zu", *(size_t *)req->stream);
	free(req->stream);
	nh_response_send(res, req->stream_rc == NH_OK ? 200 : 400, "text/plain", nh_buf_slice(&text));
}

static int sessions; /* atomic: opened and not yet closed */

struct job {
	struct nh_buf text;
};

static void work(void *worker, void *arg) {}

static void worked(struct nh_conn *conn, void *arg)
{
	struct job *job = arg;
	if (conn)
		nh_ws_send(conn, NH_WS_BINARY, nh_buf_slice(&job->text));
	nh_buf_fini(&job->text);
	free(job);
}

static void on_message(struct nh_conn *conn, void *session, nh_ws_opcode opcode, nh_slice data)
{
	if (data.len > 0 && data.ptr[0] == 'c') {
		nh_ws_close(conn, 1000, NH_LIT("as asked"));
	} else if (data.len > 0 && data.ptr[0] == 'w') {
		struct job *job = nh_xcalloc(1, sizeof(*job));
		nh_buf_put_slice(&job->text, data);
		nh_conn_work(conn, work, worked, job);
	} else {
		nh_ws_send(conn, opcode, data);
	}
}

static void on_open(struct nh_conn *conn, void *session) {}
static void on_close(struct nh_conn *conn, void *session, uint16_t code) { __atomic_sub_fetch(&sessions, 1, __ATOMIC_SEQ_CST); }

static const struct nh_ws_handler ws = {.max_message_bytes = 4096, .on_open = on_open, .on_message = on_message, .on_close = on_close};

static void upgrade(struct nh_request *req, struct nh_response *res)
{
	__atomic_add_fetch(&sessions, 1, __ATOMIC_SEQ_CST);
	nh_response_upgrade(res, &ws, &sessions);
}

static const struct nh_body_sink sink = {sink_begin, sink_data, sink_abort};

static const struct nh_route routes[] = {
	{.method = NH_HTTP_GET, .path = "/", .handle = hello, .where = NH_ON_LOOP},
	{.method = NH_HTTP_GET, .path = "/p/:a/:b", .handle = hello},
	{.method = NH_HTTP_GET, .path = "/all/*rest", .handle = hello},
	{.method = NH_HTTP_POST, .path = "/echo", .handle = echo, .body_max = 4096},
	{.method = NH_HTTP_PUT, .path = "/echo", .handle = echo, .where = NH_ON_LOOP, .body_max = 64},
	{.method = NH_HTTP_GET, .path = "/file", .handle = file},
	{.method = NH_HTTP_POST, .path = "/stream", .handle = streamed, .body = NH_BODY_STREAM, .body_max = 100000, .sink = &sink},
	{.method = NH_HTTP_GET, .path = "/ws", .handle = upgrade, .where = NH_ON_LOOP},
	{.path = NULL},
};

/* ---- the server ----------------------------------------------------------------------------------------------------------- */

static struct nh_pool *pool;
static struct nh_server *server;
static struct nh_mount mounts[] = {{.routes = routes}, {.routes = NULL}};
static struct nh_listener listener = {.name = "fuzz", .address = "127.0.0.1", .mounts = mounts};

static void stop(void)
{
	nh_server_drain(server, 1000);
	nh_pool_free(pool);
	nh_server_free(server);
}

static void start(void)
{
	struct nh_err err = NH_ERR_INIT;
	nh_log_set_level(NH_LOG_ERROR);
	file_fd = memfd_create("file", MFD_CLOEXEC);
	FUZZ_CHECK(file_fd >= 0 && ftruncate(file_fd, FILE_SIZE) == 0, "memfd");
	nh_rc rc = nh_pool_new(&(struct nh_pool_config){.threads = 1}, &pool, &err);
	if (rc == NH_OK)
		rc = nh_server_open(&(struct nh_server_config){.pool = pool, .listeners = &listener, .listener_count = 1}, &server, &err);
	if (rc == NH_OK)
		rc = nh_server_start(server, &err);
	FUZZ_CHECK(rc == NH_OK, "%s", err.msg);
	atexit(stop);
}

/* ---- the peer ------------------------------------------------------------------------------------------------------------- */

struct peer {
	int fd;
	bool ended; /* the server has said all */
	struct nh_buf got;
};

static uint64_t taken(void)
{
	struct nh_server_stats stats;
	nh_server_stats(server, &stats);
	return stats.bytes_in;
}

static void wait_for(int fd, short events)
{
	struct pollfd p = {.fd = fd, .events = events};
	int ready;
	do
		ready = poll(&p, 1, 15000);
	while (ready < 0 && errno == EINTR); /* libFuzzer's own alarm */
	FUZZ_CHECK(ready == 1, "the connection hangs");
}

/* Reads what is there. */
static void drain(struct peer *p)
{
	uint8_t block[4096];
	ssize_t n;
	while ((n = recv(p->fd, block, sizeof(block), 0)) > 0)
		nh_buf_put(&p->got, block, (size_t)n);
	p->ended = p->ended || n == 0 || (errno != EAGAIN && errno != EINTR);
}

/* Sends a piece and waits until the server has taken it, or has ended. */
static void give(struct peer *p, nh_slice piece, uint64_t so_far)
{
	uint64_t goal = so_far + piece.len;
	while (piece.len > 0 && !p->ended) {
		ssize_t n = send(p->fd, piece.ptr, piece.len, MSG_NOSIGNAL);
		if (n < 0 && errno != EAGAIN)
			return;
		if (n < 0)
			wait_for(p->fd, POLLIN | POLLOUT);
		piece = nh_slice_skip(piece, n > 0 ? (size_t)n : 0);
		drain(p);
	}
	while (!p->ended && taken() < goal) {
		sched_yield();
		drain(p);
	}
}

static void open_peer(struct peer *p)
{
	struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(listener.port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	int on = 1;
	*p = (struct peer){.fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)};
	FUZZ_CHECK(p->fd >= 0 && connect(p->fd, (struct sockaddr *)&to, sizeof(to)) == 0, "%s", strerror(errno));
	FUZZ_CHECK(setsockopt(p->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on)) == 0, "%s", strerror(errno));
	FUZZ_CHECK(fcntl(p->fd, F_SETFL, O_NONBLOCK) == 0, "%s", strerror(errno));
}

/* Reset, so that thousands of ports do not stay taken. */
static void close_peer(struct peer *p)
{
	const struct linger now = {.l_onoff = 1, .l_linger = 0};
	FUZZ_CHECK(setsockopt(p->fd, SOL_SOCKET, SO_LINGER, &now, sizeof(now)) == 0, "%s", strerror(errno));
	close(p->fd);
}

static void talk(struct peer *p, nh_slice in, size_t step)
{
	uint64_t before = taken(), sent = 0;
	open_peer(p);
	for (unsigned n = 0; in.len > 0 && !p->ended; n++) {
		nh_slice piece = nh_slice_sub(in, 0, n < PIECES_MAX ? step : in.len);
		give(p, piece, before + sent);
		sent += piece.len;
		in = nh_slice_skip(in, piece.len);
	}
	shutdown(p->fd, SHUT_WR);
	while (!p->ended) {
		wait_for(p->fd, POLLIN);
		drain(p);
	}
	close_peer(p);
}

/* ---- what came out -------------------------------------------------------------------------------------------------------- */

struct outcome {
	unsigned statuses[STATUSES_MAX];
	size_t count;
};

/* The method of the request in front, which is skipped with its body; OTHER where there is none or it is broken. */
static nh_http_method next_method(nh_slice *in)
{
	struct nh_http_scan scan = {0};
	struct nh_http_request_head head;
	struct nh_http_body body;
	bool done = false;
	if (nh_http_request_parse(NULL, *in, &scan, &head, NULL) != NH_OK) {
		*in = NH_SLICE_EMPTY;
		return NH_HTTP_OTHER;
	}
	nh_http_method method = head.method;
	*in = nh_slice_skip(*in, head.head_len);
	nh_http_body_init(&body, head.framing, head.content_length, 0);
	while (!done && in->len > 0) {
		size_t used = 0;
		nh_slice data;
		if (nh_http_body_feed(&body, *in, &used, &data, &done, NULL) != NH_OK)
			used = in->len;
		*in = nh_slice_skip(*in, used);
		if (used == 0)
			break;
	}
	return method;
}

static void check_frames(nh_slice bytes)
{
	NH_AUTO_BUF struct nh_buf copy = NH_BUF_INIT;
	struct nh_ws_decoder d;
	struct nh_ws_event ev = {.kind = NH_WS_EV_PING};
	nh_buf_put_slice(&copy, bytes);
	struct nh_ws_input input = {copy.ptr, copy.len};
	nh_ws_decoder_init(&d, NH_WS_CLIENT, 1 << 20);
	while (ev.kind != NH_WS_EV_NONE && ev.kind != NH_WS_EV_CLOSE) {
		nh_rc rc = nh_ws_decode(&d, &input, &ev, NULL);
		FUZZ_CHECK(rc == NH_OK, "frames that are none: %s", nh_rc_name(rc));
	}
	nh_ws_decoder_fini(&d);
}

static size_t response(nh_slice out, nh_http_method method, struct outcome *o)
{
	struct nh_http_scan scan = {0};
	struct nh_http_response_head head;
	struct nh_http_body body;
	struct nh_err err = NH_ERR_INIT;
	bool done = false;
	nh_rc rc = nh_http_response_parse(NULL, out, &scan, method, &head, &err);
	FUZZ_CHECK(rc == NH_OK, "%s %s: %.*s", nh_rc_name(rc), err.msg, NH_ARG(out));
	FUZZ_CHECK(head.status != 500, "%.*s", NH_ARG(out));
	FUZZ_CHECK(head.framing != NH_HTTP_UNTIL_CLOSE || head.status == 101, "a response without a length");
	if (o->count < STATUSES_MAX)
		o->statuses[o->count++] = head.status;
	if (head.status == 101) {
		check_frames(nh_slice_skip(out, head.head_len));
		return out.len;
	}
	size_t at = head.head_len;
	nh_http_body_init(&body, head.framing, head.content_length, 0);
	while (!done) {
		size_t used = 0;
		nh_slice data;
		rc = nh_http_body_feed(&body, nh_slice_skip(out, at), &used, &data, &done, &err);
		FUZZ_CHECK(rc == NH_OK && (used > 0 || done), "a body is cut: %.*s", NH_ARG(out));
		at += used;
	}
	return at;
}

static void check_output(nh_slice in, nh_slice out, struct outcome *o)
{
	while (out.len > 0) {
		if (nh_slice_starts(out, NH_LIT("HTTP/1.1 100 "))) {
			out = nh_slice_skip(out, strlen("HTTP/1.1 100 Continue\r\n\r\n"));
			continue;
		}
		FUZZ_CHECK(in.len > 0, "more responses than requests: %.*s", NH_ARG(out));
		out = nh_slice_skip(out, response(out, next_method(&in), o));
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	nh_slice in = nh_slice_of(data, size);
	size_t steps[2] = {SIZE_MAX / 2, fuzz_byte(&in)};
	struct outcome outcomes[2] = {0};
	if (!server)
		start();
	if (in.len == 0)
		return 0;
	for (unsigned i = 0; i < (steps[1] ? 2 : 1); i++) {
		struct peer p;
		talk(&p, in, steps[i]);
		check_output(in, nh_buf_slice(&p.got), &outcomes[i]);
		nh_buf_fini(&p.got);
	}
	if (steps[1]) {
		FUZZ_CHECK(outcomes[0].count == outcomes[1].count, "%zu responses, in pieces %zu", outcomes[0].count, outcomes[1].count);
		for (size_t i = 0; i < outcomes[0].count; i++)
			FUZZ_CHECK(outcomes[0].statuses[i] == outcomes[1].statuses[i], "status %u, in pieces %u", outcomes[0].statuses[i], outcomes[1].statuses[i]);
	}
	return 0;
}
