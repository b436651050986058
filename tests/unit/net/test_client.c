/*
 * The clients against the real server over TLS, and against a peer that says exactly what a row tells it to (bytes in pieces, then a close or
 * silence). Every wait is for a callback.
 */
#include "test_base.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "atecc/p256.h"
#include "base/arena.h"
#include "net/client.h"
#include "net/server.h"
#include "test_pki.h"

static struct test_pki pki, stranger;
static struct nh_pool *pool;
static struct nh_server *server;
static struct nh_tls *server_tls, *trusting, *known, *unknown, *distrusting;
static struct nh_listener listeners[2]; /* TLS, plain */
static char file_path[] = "/tmp/nh-client-test-XXXXXX";

#define FILE_SIZE 300000u
static uint8_t file_byte(size_t i) { return (uint8_t)(i * 7 + i / 251); }

/* ---- the server's application */

static void handle_file(struct nh_request *req, struct nh_response *res)
{
	nh_response_file(res, open(file_path, O_RDONLY | O_CLOEXEC), FILE_SIZE, "application/octet-stream", NH_LIT("tag1"));
}

static void handle_redirect(struct nh_request *req, struct nh_response *res)
{
	nh_slice to = NH_SLICE_EMPTY;
	NH_IGNORE(nh_http_query_get(req->query, "to", req->arena, &to)); /* absent is empty */
	nh_response_header(res, "Location", to);
	nh_response_send(res, 302, NULL, NH_SLICE_EMPTY);
}

static void handle_refuse(struct nh_request *req, struct nh_response *res) { nh_response_send(res, 401, "text/plain", NH_LIT("who are you?")); }

static void ws_open(struct nh_conn *conn, void *session) { nh_ws_send(conn, NH_WS_TEXT, NH_LIT("hello")); }

static void ws_message(struct nh_conn *conn, void *session, nh_ws_opcode opcode, nh_slice data)
{
	if (nh_slice_eq_str(data, "close"))
		nh_ws_close(conn, 1012, NH_LIT("restart"));
	else
		nh_ws_send(conn, opcode, data);
}

static void ws_close(struct nh_conn *conn, void *session, uint16_t code) { free(session); }

static const struct nh_ws_handler ws_handler = {.max_message_bytes = 1000000, .on_open = ws_open, .on_message = ws_message, .on_close = ws_close};
static void handle_socket(struct nh_request *req, struct nh_response *res) { nh_response_upgrade(res, &ws_handler, nh_xcalloc(1, 16)); }

static const struct nh_route routes[] = {
	{.method = NH_HTTP_GET, .path = "/file", .handle = handle_file},     {.method = NH_HTTP_GET, .path = "/redirect", .handle = handle_redirect},
	{.method = NH_HTTP_GET, .path = "/refuse", .handle = handle_refuse}, {.method = NH_HTTP_GET, .path = "/socket", .handle = handle_socket},
	{0},
};
static const struct nh_mount mounts[] = {{.routes = routes}, {0}};

static uint8_t known_fingerprint[32];
static nh_tls_verdict verify(void *app, nh_slice der, const uint8_t fingerprint[32], int64_t *tag)
{
	return memcmp(fingerprint, known_fingerprint, 32) == 0 ? NH_TLS_ACCEPT : NH_TLS_REFUSE;
}

static struct nh_tls *client_tls(struct test_pki *ca, const char *name, uint8_t *fingerprint)
{
	NH_AUTO_BUF struct nh_buf cert = NH_BUF_INIT, key = NH_BUF_INIT;
	struct nh_tls *tls;
	if (name)
		test_pki_issue(&pki, name, NULL, &cert, &key, fingerprint);
	struct nh_tls_client_config config = {.ca_pem = nh_buf_slice(&ca->pem), .cert_pem = nh_buf_slice(&cert), .key_pem = nh_buf_slice(&key)};
	assert_int_equal(nh_tls_client_new(&config, &tls, NULL), NH_OK);
	return tls;
}

static int set_up(void **state)
{
	NH_AUTO_BUF struct nh_buf cert = NH_BUF_INIT, key = NH_BUF_INIT;
	signal(SIGPIPE, SIG_IGN); /* as every program does that serves files with sendfile */
	FILE *f = fdopen(mkstemp(file_path), "w");
	for (size_t i = 0; i < FILE_SIZE; i++)
		fputc(file_byte(i), f);
	fclose(f);
	test_pki_init(&pki);
	test_pki_init(&stranger);
	test_pki_issue(&pki, "server", "localhost", &cert, &key, NULL);
	struct nh_tls_server_config tls = {.cert_pem = nh_buf_slice(&cert), .key_pem = nh_buf_slice(&key), .client_auth = NH_TLS_CLIENT_OPTIONAL, .verify = nh_server_verify};
	assert_int_equal(nh_tls_server_new(&tls, &server_tls, NULL), NH_OK);
	trusting = client_tls(&pki, NULL, NULL);
	distrusting = client_tls(&stranger, NULL, NULL);
	known = client_tls(&pki, "known", known_fingerprint);
	unknown = client_tls(&pki, "unknown", NULL);
	assert_int_equal(nh_pool_new(&(struct nh_pool_config){.threads = 2}, &pool, NULL), NH_OK);
	listeners[0] = (struct nh_listener){.name = "tls", .address = "127.0.0.1", .mounts = mounts, .tls = server_tls, .verify = verify};
	listeners[1] = (struct nh_listener){.name = "plain", .address = "127.0.0.1", .mounts = mounts};
	struct nh_server_config config = {.pool = pool, .listeners = listeners, .listener_count = 2};
	assert_int_equal(nh_server_open(&config, &server, NULL), NH_OK);
	assert_int_equal(nh_server_start(server, NULL), NH_OK);
	return 0;
}

static int tear_down(void **state)
{
	nh_server_drain(server, 1000);
	nh_pool_free(pool);
	nh_server_free(server);
	struct nh_tls *all[] = {server_tls, trusting, distrusting, known, unknown};
	for (size_t i = 0; i < NH_ARRAY_LEN(all); i++)
		nh_tls_unref(all[i]);
	test_pki_fini(&pki);
	test_pki_fini(&stranger);
	unlink(file_path);
	return 0;
}

/* ---- a peer that says what it is told */

struct peer {
	int listen_fd;
	unsigned port;
	const char *say;
	size_t step;     /* bytes a write */
	bool silent;     /* stays open after it until the client goes */
	pthread_t thread;
};

static void *peer_run(void *arg)
{
	struct peer *p = arg;
	int fd = accept(p->listen_fd, NULL, NULL);
	char request[4096];
	size_t len = 0;
	while (len < sizeof request - 1) {
		ssize_t n = read(fd, request + len, sizeof request - 1 - len);
		if (n <= 0)
			break;
		len += (size_t)n;
		request[len] = 0;
		if (strstr(request, "\r\n\r\n"))
			break;
	}
	size_t all = strlen(p->say);
	for (size_t at = 0; at < all; at += p->step)
		if (send(fd, p->say + at, all - at < p->step ? all - at : p->step, MSG_NOSIGNAL) < 0)
			break;
	while (p->silent && read(fd, request, sizeof request) > 0)
		;
	shutdown(fd, SHUT_WR);
	while (read(fd, request, sizeof request) > 0)
		;
	close(fd);
	return NULL;
}

static void peer_start(struct peer *p)
{
	struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t len = sizeof a;
	p->listen_fd = socket(AF_INET, SOCK_STREAM, 0);
	assert_int_equal(bind(p->listen_fd, (struct sockaddr *)&a, len), 0);
	assert_int_equal(listen(p->listen_fd, 1), 0);
	assert_int_equal(getsockname(p->listen_fd, (struct sockaddr *)&a, &len), 0);
	p->port = ntohs(a.sin_port);
	assert_int_equal(pthread_create(&p->thread, NULL, peer_run, p), 0);
}

static void peer_stop(struct peer *p)
{
	pthread_join(p->thread, NULL);
	close(p->listen_fd);
}

/* ---- HTTP */

struct get {
	struct nh_loop *loop;
	struct nh_http_get *get;
	struct nh_timer *resume;
	struct nh_buf body;
	unsigned status;
	char content_range[64];
	int done;
	nh_rc rc, head_answer, body_answer;
	struct nh_err err;
	bool close_in_body, pause_in_body;
	unsigned pauses;
};

static nh_rc on_head(void *ctx, const struct nh_http_response_head *head)
{
	struct get *g = ctx;
	g->status = head->status;
	snprintf(g->content_range, sizeof g->content_range, "%.*s", NH_ARG(nh_http_header_get(&head->headers, "content-range")));
	return g->head_answer;
}

static void on_resume(void *arg)
{
	struct get *g = arg;
	nh_http_get_resume(g->get);
}

static nh_rc on_body(void *ctx, nh_slice bytes)
{
	struct get *g = ctx;
	nh_buf_put_slice(&g->body, bytes);
	if (g->close_in_body) {
		nh_http_get_close(g->get);
		g->get = NULL;
		nh_loop_stop(g->loop);
	} else if (g->pause_in_body) {
		g->pauses++;
		nh_http_get_pause(g->get);
		nh_timer_start(g->resume, 0, 0);
	}
	return g->body_answer;
}

static void on_done(void *ctx, nh_rc rc, const struct nh_err *err)
{
	struct get *g = ctx;
	g->done++;
	g->rc = rc;
	g->err = *err;
	nh_loop_stop(g->loop);
}

/* Runs one request to its end; g's wishes are set before. */
static nh_rc run_get(struct get *g, const struct nh_http_get_config *config)
{
	struct nh_http_get_events events = {on_head, on_body, on_done, g};
	assert_int_equal(nh_loop_new(NULL, &g->loop, NULL), NH_OK);
	g->resume = nh_timer_new(g->loop, on_resume, g);
	nh_rc rc = nh_http_get_open(g->loop, config, &events, &g->get, &g->err);
	if (rc == NH_OK)
		nh_loop_run(g->loop);
	nh_http_get_close(g->get);
	nh_timer_close(g->resume);
	nh_loop_free(g->loop);
	return rc == NH_OK ? g->rc : rc;
}

static const char *url(char *out, size_t size, const char *scheme, unsigned port, const char *path)
{
	snprintf(out, size, "%s://localhost:%u%s", scheme, port, path);
	return out;
}

static void check_file(const struct nh_buf *body, size_t from)
{
	assert_int_equal(body->len, FILE_SIZE - from);
	for (size_t i = 0; i < body->len; i++)
		if (body->ptr[i] != file_byte(from + i))
			fail_msg("byte %zu differs", i);
}

static void downloads(void **state)
{
	char u[300], path[200];
	for (int tls = 0; tls < 2; tls++) {
		const char *scheme = tls ? "https" : "http";
		unsigned port = listeners[tls ? 0 : 1].port;
		for (int pausing = 0; pausing < 2; pausing++) {
			struct get g = {.pause_in_body = pausing};
			assert_int_equal(run_get(&g, &(struct nh_http_get_config){.url = nh_slice_str(url(u, sizeof u, scheme, port, "/file")), .tls = trusting}), NH_OK);
			assert_int_equal(g.status, 200);
			assert_int_equal(g.done, 1);
			check_file(&g.body, 0);
			assert_true(!pausing || g.pauses > 2);
			nh_buf_fini(&g.body);
		}
		for (int same = 0; same < 2; same++) {
			struct get g = {0};
			struct nh_http_get_config config = {.url = nh_slice_str(u), .tls = trusting, .range = true, .range_first = 1000, .if_range = same ? NH_LIT("\"tag1\"") : NH_LIT("\"other\"")};
			assert_int_equal(run_get(&g, &config), NH_OK);
			assert_int_equal(g.status, same ? 206 : 200);
			assert_string_equal(g.content_range, same ? "bytes 1000-299999/300000" : "");
			check_file(&g.body, same ? 1000 : 0);
			nh_buf_fini(&g.body);
		}
		struct get g = {0};
		snprintf(path, sizeof path, "/redirect?to=/redirect?to=%%2Ffile");
		assert_int_equal(run_get(&g, &(struct nh_http_get_config){.url = nh_slice_str(url(u, sizeof u, scheme, port, path)), .tls = trusting}), NH_OK);
		check_file(&g.body, 0);
		nh_buf_fini(&g.body);
		struct get missing = {0};
		assert_int_equal(run_get(&missing, &(struct nh_http_get_config){.url = nh_slice_str(url(u, sizeof u, scheme, port, "/none")), .tls = trusting}), NH_OK);
		assert_int_equal(missing.status, 404);
		nh_buf_fini(&missing.body);
	}
}

static void download_faults(void **state)
{
	char u[300], path[200];
	struct get g = {0};
	unsigned tls_port = listeners[0].port;
	/* a certificate we do not trust; a name it does not carry */
	assert_int_equal(run_get(&g, &(struct nh_http_get_config){.url = nh_slice_str(url(u, sizeof u, "https", tls_port, "/file")), .tls = distrusting}), NH_EAUTH);
	assert_non_null(strstr(g.err.msg, "not trusted"));
	assert_int_equal(run_get(&g, &(struct nh_http_get_config){.url = nh_slice_str(u), .tls = trusting, .server_name = "elsewhere"}), NH_EAUTH);
	/* from https to http */
	snprintf(path, sizeof path, "/redirect?to=http://localhost:%u/file", listeners[1].port);
	g = (struct get){0};
	assert_int_equal(run_get(&g, &(struct nh_http_get_config){.url = nh_slice_str(url(u, sizeof u, "https", tls_port, path)), .tls = trusting}), NH_EFORMAT);
	assert_int_equal(g.body.len, 0);
	/* in circles */
	assert_int_equal(run_get(&g, &(struct nh_http_get_config){.url = nh_slice_str(url(u, sizeof u, "https", tls_port, "/redirect?to=/redirect?to=/redirect?to=/file")), .tls = trusting, .max_redirects = 1}), NH_EFORMAT);
	/* nobody there: a port that was just given back */
	struct peer gone = {.say = "", .step = 1};
	peer_start(&gone);
	g = (struct get){0};
	assert_int_equal(run_get(&g, &(struct nh_http_get_config){.url = nh_slice_str(url(u, sizeof u, "http", gone.port, "/"))}), NH_ECLOSED);
	peer_stop(&gone);
	assert_int_equal(run_get(&g, &(struct nh_http_get_config){.url = nh_slice_str(u)}), NH_EIO);
	/* what callbacks answer; a cap; a close inside a callback */
	url(u, sizeof u, "http", listeners[1].port, "/file");
	g = (struct get){.head_answer = NH_EPERM};
	assert_int_equal(run_get(&g, &(struct nh_http_get_config){.url = nh_slice_str(u)}), NH_EPERM);
	g = (struct get){.body_answer = NH_ENOSPC};
	assert_int_equal(run_get(&g, &(struct nh_http_get_config){.url = nh_slice_str(u)}), NH_ENOSPC);
	nh_buf_fini(&g.body);
	g = (struct get){0};
	assert_int_equal(run_get(&g, &(struct nh_http_get_config){.url = nh_slice_str(u), .max_body_bytes = 1000}), NH_ETOOBIG);
	nh_buf_fini(&g.body);
	g = (struct get){.close_in_body = true};
	assert_int_equal(run_get(&g, &(struct nh_http_get_config){.url = nh_slice_str(u)}), NH_OK);
	assert_int_equal(g.done, 0);
	nh_buf_fini(&g.body);
	/* refused before anything is sent */
	struct nh_client_header evil = {"X", NH_LIT("a\r\nb: c")}, bad_name = {"X:", NH_LIT("a")};
	assert_int_equal(run_get(&g, &(struct nh_http_get_config){.url = nh_slice_str(u), .headers = &evil, .header_count = 1}), NH_EINVAL);
	assert_int_equal(run_get(&g, &(struct nh_http_get_config){.url = nh_slice_str(u), .headers = &bad_name, .header_count = 1}), NH_EINVAL);
	assert_int_equal(run_get(&g, &(struct nh_http_get_config){.url = NH_LIT("ws://localhost/")}), NH_EINVAL);
	assert_int_equal(run_get(&g, &(struct nh_http_get_config){.url = NH_LIT("localhost/x")}), NH_EINVAL);
}

static void strange_answers(void **state)
{
	static const struct {
		const char *say;
		bool silent;
		nh_rc rc;
		const char *body;
	} rows[] = {
		{"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", false, NH_OK, "hello"},
		{"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n", true, NH_OK, "hello"},
		{"HTTP/1.0 200 OK\r\n\r\nhello", false, NH_OK, "hello"},
		{"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nhello", false, NH_ECLOSED, "hello"},
		{"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello", false, NH_ECLOSED, "hello"},
		{"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nx", false, NH_EFORMAT, ""},
		{"HTTP/1.1 200 OK\r\n", false, NH_ECLOSED, ""},
		{"SSH-2.0-OpenSSH\r\n\r\n", false, NH_EFORMAT, ""},
		{"", false, NH_ECLOSED, ""},
		{"HTTP/1.1 302 Found\r\nLocation: ftp://x/\r\n\r\n", false, NH_EFORMAT, ""},
		{"", true, NH_ETIMEOUT, ""},
		{"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nhello", true, NH_ETIMEOUT, "hello"},
	};
	char u[100];
	for (size_t i = 0; i < NH_ARRAY_LEN(rows); i++) {
		for (size_t step = 1; step <= 1000; step += 999) {
			struct peer p = {.say = rows[i].say, .step = step, .silent = rows[i].silent};
			struct get g = {0};
			peer_start(&p);
			snprintf(u, sizeof u, "http://127.0.0.1:%u/", p.port);
			nh_rc rc = run_get(&g, &(struct nh_http_get_config){.url = nh_slice_str(u), .idle_timeout_ms = 300});
			peer_stop(&p);
			if (rc != rows[i].rc || strcmp(nh_buf_cstr(&g.body), rows[i].body) != 0)
				fail_msg("row %zu step %zu: %s '%s' %s", i, step, nh_rc_name(rc), nh_buf_cstr(&g.body), g.err.msg);
			assert_int_equal(g.done, 1);
			nh_buf_fini(&g.body);
		}
	}
}

/* ---- WebSocket */

struct ws {
	struct nh_loop *loop;
	struct nh_ws_client *client;
	struct nh_buf log;
	const char *const *say; /* one after the other, each after a message came in */
	int opened, closed;
	nh_rc rc;
	unsigned status, code;
	int64_t date_us;
	char location[200];
	char reason[200];
	struct nh_err err;
	size_t largest;
};

static void say_next(struct ws *w)
{
	const char *text = *w->say;
	if (!text)
		return;
	w->say++;
	if (strcmp(text, "shutdown") == 0) {
		nh_ws_client_shutdown(w->client, 1000, NH_LIT("done"));
	} else if (strcmp(text, "big") == 0) {
		NH_AUTO_BUF struct nh_buf big = NH_BUF_INIT;
		nh_buf_fill(&big, 'x', 200000);
		assert_int_equal(nh_ws_client_send(w->client, NH_WS_BINARY, nh_buf_slice(&big)), NH_OK);
	} else {
		assert_int_equal(nh_ws_client_send(w->client, NH_WS_TEXT, nh_slice_str(text)), NH_OK);
	}
}

static void on_open(void *ctx, const struct nh_http_response_head *head)
{
	struct ws *w = ctx;
	w->opened++;
	assert_int_equal(head->status, 101);
}

static void on_message(void *ctx, nh_ws_opcode opcode, nh_slice data)
{
	struct ws *w = ctx;
	if (data.len > w->largest)
		w->largest = data.len;
	nh_buf_printf(&w->log, "%.*s|", NH_ARG(nh_slice_sub(data, 0, 20)));
	say_next(w);
}

static void note_close(struct ws *w, const struct nh_ws_client_closed *closed)
{
	w->closed++;
	w->rc = closed->rc;
	w->status = closed->status;
	w->code = closed->code;
	w->date_us = closed->date_us;
	w->err = closed->err;
	snprintf(w->location, sizeof w->location, "%.*s", NH_ARG(closed->location));
	snprintf(w->reason, sizeof w->reason, "%.*s", NH_ARG(closed->reason));
	assert_int_equal(nh_ws_client_send(w->client, NH_WS_TEXT, NH_LIT("late")), NH_ECLOSED);
}

static void on_close(void *ctx, const struct nh_ws_client_closed *closed)
{
	struct ws *w = ctx;
	note_close(w, closed);
	nh_loop_stop(w->loop);
}

static nh_rc run_ws(struct ws *w, const struct nh_ws_client_config *config)
{
	static const char *const nothing[] = {NULL};
	struct nh_ws_client_events events = {on_open, on_message, on_close, w};
	if (!w->say)
		w->say = nothing;
	assert_int_equal(nh_loop_new(NULL, &w->loop, NULL), NH_OK);
	nh_rc rc = nh_ws_client_open(w->loop, config, &events, &w->client, &w->err);
	if (rc == NH_OK)
		nh_loop_run(w->loop);
	nh_ws_client_close(w->client);
	nh_loop_free(w->loop);
	return rc == NH_OK ? w->rc : rc;
}

static void sockets(void **state)
{
	static const char *const talk[] = {"one", "big", "shutdown", NULL}, *const closing[] = {"close", NULL};
	struct nh_tls *identities[] = {trusting, known, NULL};
	char u[200];
	for (size_t i = 0; i < 3; i++) {
		struct ws w = {.say = talk};
		url(u, sizeof u, identities[i] ? "wss" : "ws", listeners[identities[i] ? 0 : 1].port, "/socket");
		assert_int_equal(run_ws(&w, &(struct nh_ws_client_config){.url = nh_slice_str(u), .tls = identities[i], .ping_interval_ms = 5}), NH_OK);
		assert_int_equal(w.opened, 1);
		assert_int_equal(w.closed, 1);
		assert_int_equal(w.code, 1000);
		assert_string_equal(nh_buf_cstr(&w.log), "hello|one|xxxxxxxxxxxxxxxxxxxx|");
		assert_int_equal(w.largest, 200000);
		nh_buf_fini(&w.log);

		w = (struct ws){.say = closing};
		assert_int_equal(run_ws(&w, &(struct nh_ws_client_config){.url = nh_slice_str(u), .tls = identities[i]}), NH_OK);
		assert_int_equal(w.code, 1012);
		assert_string_equal(w.reason, "restart");
		nh_buf_fini(&w.log);
	}
}

static void socket_refusals(void **state)
{
	char u[300], path[200];
	struct ws w = {0};
	url(u, sizeof u, "wss", listeners[0].port, "/refuse");
	assert_int_equal(run_ws(&w, &(struct nh_ws_client_config){.url = nh_slice_str(u), .tls = trusting}), NH_EPERM);
	assert_int_equal(w.status, 401);
	assert_string_equal(w.reason, "who are you?");
	assert_true(w.date_us > nh_now_us() - 60 * NH_US_PER_S);
	assert_int_equal(w.opened, 0);

	w = (struct ws){0};
	url(u, sizeof u, "wss", listeners[0].port, "/redirect?to=/socket");
	assert_int_equal(run_ws(&w, &(struct nh_ws_client_config){.url = nh_slice_str(u), .tls = trusting}), NH_EPERM);
	assert_int_equal(w.status, 302);
	assert_string_equal(w.location, url(path, sizeof path, "wss", listeners[0].port, "/socket"));

	w = (struct ws){0};
	url(u, sizeof u, "wss", listeners[0].port, "/socket");
	assert_int_equal(run_ws(&w, &(struct nh_ws_client_config){.url = nh_slice_str(u), .tls = distrusting}), NH_EAUTH);
	w = (struct ws){0};
	nh_rc rc = run_ws(&w, &(struct nh_ws_client_config){.url = nh_slice_str(u), .tls = unknown});
	assert_true(rc == NH_ECLOSED || rc == NH_EAUTH); /* the alert may come before or after our side is done */
	assert_int_equal(w.opened, 0);
	assert_int_equal(run_ws(&w, &(struct nh_ws_client_config){.url = NH_LIT("wss:///x")}), NH_EINVAL);
}

static void socket_strangers(void **state)
{
	static const struct {
		const char *say;
		bool silent;
		nh_rc rc;
		unsigned status;
	} rows[] = {
		{"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: upgrade\r\nSec-WebSocket-Accept: wrong\r\n\r\n", true, NH_EFORMAT, 0},
		{"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 10\r\n\r\nabc", false, NH_EPERM, 503},
		{"HTTP/1.1 503 Service Unavailable\r\n\r\nabc", true, NH_EPERM, 503},
		{"SSH-2.0-OpenSSH\r\n\r\n", false, NH_EFORMAT, 0},
		{"", false, NH_ECLOSED, 0},
		{"HTTP/1.1 101", true, NH_ETIMEOUT, 0},
	};
	char u[100];
	for (size_t i = 0; i < NH_ARRAY_LEN(rows); i++) {
		struct peer p = {.say = rows[i].say, .step = 7, .silent = rows[i].silent};
		struct ws w = {0};
		peer_start(&p);
		snprintf(u, sizeof u, "ws://127.0.0.1:%u/", p.port);
		nh_rc rc = run_ws(&w, &(struct nh_ws_client_config){.url = nh_slice_str(u), .connect_timeout_ms = 300});
		peer_stop(&p);
		if (rc != rows[i].rc || w.status != rows[i].status)
			fail_msg("row %zu: %s %u %s", i, nh_rc_name(rc), w.status, w.err.msg);
		assert_int_equal(w.closed, 1);
		assert_int_equal(w.code, 1006);
	}
}

/* ---- a key that is not the TLS library's: the handshake runs on a worker */

struct elsewhere {
	struct ws w;
	struct nh_p256_key key;
	struct nh_work work;
	struct nh_handshake *handshake;
	pthread_t loop_thread;
	bool close_at_once, done;
};

static nh_rc sign_elsewhere(void *ctx, const uint8_t digest[32], uint8_t signature[64], struct nh_err *err)
{
	struct elsewhere *e = ctx;
	if (pthread_equal(pthread_self(), e->loop_thread))
		return NH_FAIL(err, NH_EINTERNAL, "signed on the loop");
	nh_p256_sign(&e->key, nh_slice_of(digest, 32), &nh_rng_system, signature);
	return NH_OK;
}

static void run_handshake(void *worker, struct nh_work *work) { nh_handshake_run(((struct elsewhere *)((char *)work - offsetof(struct elsewhere, work)))->handshake); }

static void on_handshake_run(struct nh_work *work)
{
	struct elsewhere *e = (struct elsewhere *)((char *)work - offsetof(struct elsewhere, work));
	e->done = true;
	nh_handshake_done(e->handshake);
	if (e->w.closed || e->close_at_once)
		nh_loop_stop(e->w.loop);
}

/* The loop is needed until both are over, in whatever order. */
static void on_elsewhere_closed(void *ctx, const struct nh_ws_client_closed *closed)
{
	struct elsewhere *e = (struct elsewhere *)((char *)ctx - offsetof(struct elsewhere, w));
	note_close(&e->w, closed);
	if (e->done)
		nh_loop_stop(e->w.loop);
}

static void on_handshake(void *ctx, struct nh_handshake *h)
{
	struct elsewhere *e = (struct elsewhere *)((char *)ctx - offsetof(struct elsewhere, w));
	e->handshake = h;
	e->work = (struct nh_work){.run = run_handshake, .done = on_handshake_run};
	assert_int_equal(nh_work_submit(pool, e->w.loop, &e->work), NH_OK);
	if (e->close_at_once) {
		nh_ws_client_close(e->w.client);
		e->w.client = NULL;
	}
}

static void run_elsewhere(struct elsewhere *e, const char *u, uint64_t timeout_ms)
{
	static const char *const talk[] = {"one", "shutdown", NULL};
	NH_AUTO_BUF struct nh_buf cert = NH_BUF_INIT, key = NH_BUF_INIT;
	struct nh_tls *tls;
	test_pki_issue(&pki, "known", NULL, &cert, &key, known_fingerprint);
	assert_int_equal(nh_p256_key_parse_pem(nh_buf_slice(&key), &e->key, NULL), NH_OK);
	struct nh_tls_client_config config = {.ca_pem = nh_buf_slice(&pki.pem), .cert_pem = nh_buf_slice(&cert), .sign = sign_elsewhere, .sign_ctx = e};
	assert_int_equal(nh_tls_client_new(&config, &tls, NULL), NH_OK);
	struct nh_ws_client_events events = {on_open, on_message, on_elsewhere_closed, &e->w};
	struct nh_ws_client_config socket = {.url = nh_slice_str(u), .tls = tls, .connect_timeout_ms = timeout_ms, .handshake = on_handshake};
	e->loop_thread = pthread_self();
	e->w.say = talk;
	assert_int_equal(nh_loop_new(NULL, &e->w.loop, NULL), NH_OK);
	assert_int_equal(nh_ws_client_open(e->w.loop, &socket, &events, &e->w.client, &e->w.err), NH_OK);
	nh_loop_run(e->w.loop);
	nh_ws_client_close(e->w.client);
	nh_loop_free(e->w.loop);
	nh_tls_unref(tls);
}

static void keys_elsewhere(void **state)
{
	char u[200];
	struct elsewhere e = {0};
	url(u, sizeof u, "wss", listeners[0].port, "/socket");
	run_elsewhere(&e, u, 0);
	if (e.w.rc != NH_OK)
		fail_msg("%s", e.w.err.msg);
	assert_string_equal(nh_buf_cstr(&e.w.log), "hello|one|");
	nh_buf_fini(&e.w.log);

	/* Closed while the worker shakes hands: it is woken, and what it holds goes when it is back. */
	e = (struct elsewhere){.close_at_once = true};
	run_elsewhere(&e, u, 0);
	assert_int_equal(e.w.opened + e.w.closed, 0);
	assert_true(e.done);

	/* A peer that never answers. */
	struct peer p = {.say = "", .step = 1, .silent = true};
	peer_start(&p);
	snprintf(u, sizeof u, "wss://127.0.0.1:%u/", p.port);
	e = (struct elsewhere){0};
	run_elsewhere(&e, u, 200);
	peer_stop(&p);
	assert_int_equal(e.w.rc, NH_ETIMEOUT);
	assert_true(e.done);

	/* A download has nobody who would run it elsewhere. */
	struct get g = {0};
	NH_AUTO_BUF struct nh_buf cert = NH_BUF_INIT, key = NH_BUF_INIT;
	struct nh_tls *tls;
	test_pki_issue(&pki, "known", NULL, &cert, &key, NULL);
	struct nh_tls_client_config config = {.ca_pem = nh_buf_slice(&pki.pem), .cert_pem = nh_buf_slice(&cert), .sign = sign_elsewhere, .sign_ctx = &e};
	assert_int_equal(nh_tls_client_new(&config, &tls, NULL), NH_OK);
	assert_int_equal(run_get(&g, &(struct nh_http_get_config){.url = nh_slice_str(url(u, sizeof u, "https", listeners[0].port, "/file")), .tls = tls}), NH_EUNSUPPORTED);
	nh_tls_unref(tls);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(downloads), cmocka_unit_test(download_faults),  cmocka_unit_test(strange_answers),
		cmocka_unit_test(sockets),   cmocka_unit_test(socket_refusals), cmocka_unit_test(socket_strangers),
		cmocka_unit_test(keys_elsewhere),
	};
	return cmocka_run_group_tests_name("client", tests, set_up, tear_down);
}
