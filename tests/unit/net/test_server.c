/*
 * The server over real sockets: a plain and a TLS listener, blocking clients written here against plain system calls (and our own TLS client), so that what is
 * seen is what any peer sees. Every wait is for bytes or for the end of a connection.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/clock.h"
#include "crypto/pki.h"
#include "net/server.h"
#include "test_peer.h"

/* ---- the application under test ---------------------------------------------------------------------------------------- */

static struct nh_pool *pool;
static struct nh_server *server;
static struct nh_tls *server_tls, *client_tls, *known_tls, *slow_tls, *bad_tls;
static struct nh_listener listeners[2];
static char file_path[] = "/tmp/nh-server-test-XXXXXX";
static uint8_t known_fingerprint[32], slow_fingerprint[32];
static int aborted, closed_sessions, closed_code; /* atomic */

#define FILE_SIZE 300000u

static void handle_echo(struct nh_request *req, struct nh_response *res)
{
	NH_AUTO_BUF struct nh_buf out = NH_BUF_INIT;
	nh_slice q = NH_SLICE_EMPTY;
	NH_IGNORE(nh_http_query_get(req->query, "q", req->arena, &q)); /* absent is empty */
	nh_buf_printf(&out, "%s name=%.*s q=%.*s body=%.*s tag=%lld cert=%d", nh_http_method_name(req->method), NH_ARG(nh_request_param(req, "name")), NH_ARG(q),
		      NH_ARG(req->body), (long long)req->peer_tag, req->fingerprint != NULL);
	nh_response_header(res, "X-Test", NH_LIT("yes"));
	nh_response_header(res, "X-Evil", NH_LIT("a\r\nSet-Cookie: b"));
	nh_response_send(res, 200, "text/plain", nh_buf_slice(&out));
}

static void handle_file(struct nh_request *req, struct nh_response *res)
{
	nh_response_file(res, open(file_path, O_RDONLY | O_CLOEXEC), FILE_SIZE, "application/octet-stream", NH_LIT("tag1"));
}

static void handle_nothing(struct nh_request *req, struct nh_response *res) {}

struct upload {
	uint64_t bytes;
	uint32_t sum;
};

static nh_rc upload_begin(struct nh_request *req, struct nh_response *res, void **stream)
{
	if (nh_request_header(req, "X-Refuse").ptr) {
		nh_response_send(res, 403, "text/plain", NH_LIT("no"));
		return NH_EPERM;
	}
	*stream = nh_xcalloc(1, sizeof(struct upload));
	return NH_OK;
}

static nh_rc upload_data(void *worker, void *stream, nh_slice bytes)
{
	struct upload *u = stream;
	for (size_t i = 0; i < bytes.len; i++) {
		if (bytes.ptr[i] == '!')
			return NH_EFORMAT;
		u->sum += bytes.ptr[i];
	}
	u->bytes += bytes.len;
	return NH_OK;
}

static void upload_abort(void *worker, void *stream)
{
	free(stream);
	__atomic_add_fetch(&aborted, 1, __ATOMIC_SEQ_CST);
}

static void handle_upload(struct nh_request *req, struct nh_response *res)
{
	struct upload *u = req->stream;
	NH_AUTO_BUF struct nh_buf out = NH_BUF_INIT;
	nh_buf_printf(&out, "%llu %u %s", (unsigned long long)u->bytes, u->sum, nh_rc_name(req->stream_rc));
	free(u);
	nh_response_send(res, req->stream_rc == NH_OK ? 200 : 422, "text/plain", nh_buf_slice(&out));
}

static const struct nh_body_sink sink = {upload_begin, upload_data, upload_abort};

/* WebSocket: text comes back; "work" comes back from a worker; "close" closes. */
static void ws_open(struct nh_conn *conn, void *session) { nh_ws_send(conn, NH_WS_TEXT, NH_LIT("hello")); }

struct job {
	struct nh_buf text;
};

static void job_run(void *worker, void *arg)
{
	struct job *job = arg;
	nh_buf_put_str(&job->text, " done");
}

static void job_done(struct nh_conn *conn, void *arg)
{
	struct job *job = arg;
	if (conn)
		nh_ws_send(conn, NH_WS_TEXT, nh_buf_slice(&job->text));
	nh_buf_fini(&job->text);
	free(job);
}

static void ws_message(struct nh_conn *conn, void *session, nh_ws_opcode opcode, nh_slice data)
{
	if (nh_slice_eq_str(data, "close")) {
		nh_ws_close(conn, 1001, NH_LIT("bye"));
	} else if (nh_slice_starts(data, NH_LIT("work"))) {
		struct job *job = nh_xcalloc(1, sizeof *job);
		nh_buf_put_slice(&job->text, data);
		nh_conn_work(conn, job_run, job_done, job);
	} else {
		nh_ws_send(conn, opcode, data);
	}
}

static void ws_close(struct nh_conn *conn, void *session, uint16_t code)
{
	free(session);
	__atomic_store_n(&closed_code, code, __ATOMIC_SEQ_CST);
	__atomic_add_fetch(&closed_sessions, 1, __ATOMIC_SEQ_CST);
}

static const struct nh_ws_handler ws_handler = {.max_message_bytes = 100000, .on_open = ws_open, .on_message = ws_message, .on_close = ws_close};

static void handle_socket(struct nh_request *req, struct nh_response *res) { nh_response_upgrade(res, &ws_handler, nh_xcalloc(1, 16)); }

static bool socket_at_once(struct nh_request *req, struct nh_response *res)
{
	handle_socket(req, res);
	return true;
}

/* From memory where the query says so; nobody has asked who the peer is by then. */
static bool maybe_at_once(struct nh_request *req, struct nh_response *res)
{
	if (!nh_slice_eq_str(req->query, "memory"))
		return false;
	nh_response_send(res, 200, "text/plain", req->worker || req->remote.len ? NH_LIT("too late") : NH_LIT("at once"));
	return true;
}

static void handle_otherwise(struct nh_request *req, struct nh_response *res) { nh_response_send(res, 200, "text/plain", req->remote); }

static const struct nh_route routes[] = {
	{.method = NH_HTTP_GET, .path = "/echo/:name", .handle = handle_echo},
	{.method = NH_HTTP_POST, .path = "/echo/:name", .handle = handle_echo, .body_max = 1000},
	{.method = NH_HTTP_GET, .path = "/loop/:name", .handle = handle_echo, .where = NH_ON_LOOP},
	{.method = NH_HTTP_GET, .path = "/file", .handle = handle_file},
	{.method = NH_HTTP_GET, .path = "/nothing", .handle = handle_nothing},
	{.method = NH_HTTP_GET, .path = "/socket", .handle = handle_socket},
	{.method = NH_HTTP_GET, .path = "/socket-loop", .handle = handle_socket, .where = NH_ON_LOOP},
	{.method = NH_HTTP_GET, .path = "/socket-at-once", .at_once = socket_at_once, .handle = handle_nothing},
	{.method = NH_HTTP_GET, .path = "/maybe", .at_once = maybe_at_once, .handle = handle_otherwise},
	{.method = NH_HTTP_GET, .path = "/maybe-loop", .at_once = maybe_at_once, .handle = handle_otherwise, .where = NH_ON_LOOP},
	{.method = NH_HTTP_POST, .path = "/upload", .handle = handle_upload, .body = NH_BODY_STREAM, .body_max = 10000000, .sink = &sink},
	{0},
};
static const struct nh_mount mounts[] = {{.routes = routes}, {0}};

static nh_tls_verdict verify(void *app, nh_slice der, const uint8_t fingerprint[32], int64_t *tag)
{
	if (memcmp(fingerprint, known_fingerprint, 32) == 0) {
		*tag = 7;
		return NH_TLS_ACCEPT;
	}
	return NH_TLS_PENDING;
}

static nh_tls_verdict verify_slow(void *worker, void *app, nh_slice der, const uint8_t fingerprint[32], int64_t *tag)
{
	*tag = 9;
	return memcmp(fingerprint, slow_fingerprint, 32) == 0 ? NH_TLS_ACCEPT : NH_TLS_REFUSE;
}

/* ---- certificates ------------------------------------------------------------------------------------------------------ */

static struct nh_key *ca_key;
static struct nh_cert *ca_cert;
static struct nh_buf ca_pem;

static void issue(const char *name, bool is_server, struct nh_buf *cert_pem, struct nh_buf *key_pem, uint8_t fingerprint[32])
{
	struct nh_err err = NH_ERR_INIT;
	NH_AUTO_KEY struct nh_key *key = NULL;
	NH_AUTO_CERT struct nh_cert *cert = NULL;
	NH_AUTO_BUF struct nh_buf spki = NH_BUF_INIT, der = NH_BUF_INIT;
	int64_t year = INT64_C(365) * 86400 * NH_US_PER_S;
	struct nh_cert_profile p = is_server ? nh_cert_profile_server(nh_now_us(), year) : nh_cert_profile_device(nh_now_us(), year);
	struct nh_san san = {NH_SAN_DNS, NH_LIT("localhost")};
	p.common_name = nh_slice_str(name);
	if (is_server) {
		p.sans = &san;
		p.san_count = 1;
	}
	assert_int_equal(nh_key_generate_p256(&key, &err), NH_OK);
	assert_int_equal(nh_key_put_spki(&spki, key, &err), NH_OK);
	assert_int_equal(nh_cert_issue(&der, &p, nh_buf_slice(&spki), ca_cert, ca_key, &nh_rng_system, &err), NH_OK);
	assert_int_equal(nh_cert_parse_der(nh_buf_slice(&der), &cert, &err), NH_OK);
	nh_cert_put_pem(cert_pem, cert);
	assert_int_equal(nh_key_put_pem(key_pem, key, &err), NH_OK);
	if (fingerprint)
		memcpy(fingerprint, cert->sha256, 32);
}

static void make_ca(void)
{
	struct nh_err err = NH_ERR_INIT;
	NH_AUTO_BUF struct nh_buf spki = NH_BUF_INIT, der = NH_BUF_INIT;
	struct nh_cert_profile p = nh_cert_profile_ca(nh_now_us(), INT64_C(86400) * 365 * NH_US_PER_S);
	p.common_name = NH_LIT("test CA");
	assert_int_equal(nh_key_generate_p256(&ca_key, &err), NH_OK);
	assert_int_equal(nh_key_put_spki(&spki, ca_key, &err), NH_OK);
	assert_int_equal(nh_cert_issue(&der, &p, nh_buf_slice(&spki), NULL, ca_key, &nh_rng_system, &err), NH_OK);
	assert_int_equal(nh_cert_parse_der(nh_buf_slice(&der), &ca_cert, &err), NH_OK);
	nh_cert_put_pem(&ca_pem, ca_cert);
}

static struct nh_tls *make_client(const char *name, uint8_t fingerprint[32])
{
	NH_AUTO_BUF struct nh_buf cert = NH_BUF_INIT, key = NH_BUF_INIT;
	struct nh_tls *tls = NULL;
	struct nh_err err = NH_ERR_INIT;
	if (name)
		issue(name, false, &cert, &key, fingerprint);
	struct nh_tls_client_config config = {.ca_pem = nh_buf_slice(&ca_pem), .cert_pem = nh_buf_slice(&cert), .key_pem = nh_buf_slice(&key)};
	assert_int_equal(nh_tls_client_new(&config, &tls, &err), NH_OK);
	return tls;
}

static uint8_t file_byte(size_t i) { return (uint8_t)(i * 7 + i / 251); }

static int set_up(void **state)
{
	struct nh_err err = NH_ERR_INIT;
	NH_AUTO_BUF struct nh_buf cert = NH_BUF_INIT, key = NH_BUF_INIT;
	int fd = mkstemp(file_path);
	FILE *f = fdopen(fd, "w");
	for (size_t i = 0; i < FILE_SIZE; i++)
		fputc(file_byte(i), f);
	fclose(f);
	make_ca();
	issue("localhost", true, &cert, &key, NULL);
	struct nh_tls_server_config tls = {.cert_pem = nh_buf_slice(&cert), .key_pem = nh_buf_slice(&key), .client_auth = NH_TLS_CLIENT_OPTIONAL, .verify = nh_server_verify};
	assert_int_equal(nh_tls_server_new(&tls, &server_tls, &err), NH_OK);
	client_tls = make_client(NULL, NULL);
	known_tls = make_client("known", known_fingerprint);
	slow_tls = make_client("slow", slow_fingerprint);
	uint8_t ignored[32];
	bad_tls = make_client("bad", ignored);
	assert_int_equal(nh_pool_new(&(struct nh_pool_config){.threads = 4}, &pool, &err), NH_OK);
	listeners[0] = (struct nh_listener){.name = "plain", .address = "127.0.0.1", .mounts = mounts};
	listeners[1] = (struct nh_listener){.name = "tls", .address = "127.0.0.1", .mounts = mounts, .tls = server_tls, .verify = verify, .verify_slow = verify_slow};
	struct nh_server_config config = {.loops = 2, .pool = pool, .listeners = listeners, .listener_count = 2, .head_ms = 500};
	assert_int_equal(nh_server_open(&config, &server, &err), NH_OK);
	assert_int_equal(nh_server_start(server, &err), NH_OK);
	return 0;
}

static int tear_down(void **state)
{
	nh_server_drain(server, 2000);
	nh_pool_free(pool);
	nh_server_free(server);
	nh_tls_unref(server_tls);
	nh_tls_unref(client_tls);
	nh_tls_unref(known_tls);
	nh_tls_unref(slow_tls);
	nh_tls_unref(bad_tls);
	nh_key_free(ca_key);
	nh_cert_free(ca_cert);
	nh_buf_fini(&ca_pem);
	unlink(file_path);
	return 0;
}

/* ---- clients ----------------------------------------------------------------------------------------------------------- */

static nh_rc client_open(struct client *c, struct nh_tls *tls) { return client_dial(c, listeners[tls ? 1 : 0].port, tls); }

static unsigned ask(struct nh_tls *tls, const char *request, struct nh_buf *headers, struct nh_buf *body)
{
	struct client c;
	assert_int_equal(client_open(&c, tls), NH_OK);
	client_send(&c, nh_slice_str(request));
	unsigned status = client_response(&c, strncmp(request, "HEAD", 4) == 0, headers, body);
	client_close(&c);
	return status;
}

/* ---- tests ------------------------------------------------------------------------------------------------------------- */

static void test_requests(void **state)
{
	static const struct {
		const char *request;
		unsigned status;
		const char *body, *header;
	} rows[] = {
		{"GET /echo/a%20b?q=1+2 HTTP/1.1\r\nHost: x\r\n\r\n", 200, "GET name=a b q=1 2 body= tag=0 cert=0", "X-Test: yes"},
		{"GET /loop/z HTTP/1.1\r\nHost: x\r\n\r\n", 200, "GET name=z q= body= tag=0 cert=0", "Date: "},
		{"HEAD /echo/a HTTP/1.1\r\nHost: x\r\n\r\n", 200, "", "Content-Length: 33"},
		{"POST /echo/p HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello", 200, "POST name=p q= body=hello tag=0 cert=0", NULL},
		{"POST /echo/p HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n", 200, "POST name=p q= body=abcde tag=0 cert=0", NULL},
		{"POST /echo/p HTTP/1.1\r\nHost: x\r\nContent-Length: 1001\r\n\r\n", 413, NULL, "Connection: close"},
		{"GET /nope HTTP/1.1\r\nHost: x\r\n\r\n", 404, "Not Found", "Date: "},
		{"DELETE /echo/a HTTP/1.1\r\nHost: x\r\n\r\n", 405, NULL, "Allow: GET, HEAD, POST"},
		{"GET /%zz HTTP/1.1\r\nHost: x\r\n\r\n", 400, NULL, NULL},
		{"GET / HTTP/2.0\r\nHost: x\r\n\r\n", 505, NULL, NULL},
		{"GET /echo/a HTTP/1.1\r\n\r\n", 400, NULL, NULL},
		{"POST /echo/a HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n", 400, NULL, "Connection: close"},
		{"GET /nothing HTTP/1.1\r\nHost: x\r\n\r\n", 500, NULL, NULL},
		{"GET /socket HTTP/1.1\r\nHost: x\r\n\r\n", 400, NULL, NULL},
		{"GET /socket-at-once HTTP/1.1\r\nHost: x\r\n\r\n", 400, NULL, NULL},
		{"GET /maybe?memory HTTP/1.1\r\nHost: x\r\n\r\n", 200, "at once", NULL},
		{"GET /maybe HTTP/1.1\r\nHost: x\r\n\r\n", 200, "127.0.0.1", NULL},
		{"GET /maybe-loop HTTP/1.1\r\nHost: x\r\n\r\n", 200, "127.0.0.1", NULL},
	};
	struct nh_tls *kinds[] = {NULL, client_tls};
	NH_AUTO_BUF struct nh_buf headers = NH_BUF_INIT, body = NH_BUF_INIT;
	for (size_t k = 0; k < 2; k++) {
		for (size_t i = 0; i < NH_ARRAY_LEN(rows); i++) {
			assert_int_equal(ask(kinds[k], rows[i].request, &headers, &body), rows[i].status);
			if (rows[i].body)
				assert_string_equal(nh_buf_cstr(&body), rows[i].body);
			if (rows[i].header)
				assert_non_null(strstr(nh_buf_cstr(&headers), rows[i].header));
			assert_null(strstr(nh_buf_cstr(&headers), "Set-Cookie"));
		}
	}
}

static void test_pipelining_and_single_bytes(void **state)
{
	static const char requests[] = "GET /echo/1 HTTP/1.1\r\nHost: x\r\n\r\nPOST /echo/2 HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc"
				       "GET /loop/3 HTTP/1.1\r\nHost: x\r\n\r\nGET /echo/4 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
	NH_AUTO_BUF struct nh_buf headers = NH_BUF_INIT, body = NH_BUF_INIT;
	for (size_t step = 1; step <= sizeof requests; step += sizeof requests - 2) {
		struct client c;
		assert_int_equal(client_open(&c, NULL), NH_OK);
		for (size_t at = 0; at < sizeof requests - 1; at += step)
			client_send(&c, nh_slice_sub(nh_slice_of(requests, sizeof requests - 1), at, step));
		for (unsigned i = 1; i <= 4; i++) {
			char expected[32];
			snprintf(expected, sizeof expected, "name=%u", i);
			assert_int_equal(client_response(&c, false, &headers, &body), 200);
			assert_non_null(strstr(nh_buf_cstr(&body), expected));
		}
		assert_false(client_more(&c));
		client_close(&c);
	}
}

static void test_slow_head_is_answered_408(void **state)
{
	NH_AUTO_BUF struct nh_buf headers = NH_BUF_INIT, body = NH_BUF_INIT;
	assert_int_equal(ask(NULL, "GET /echo/a HTTP/1.1\r\nHost", &headers, &body), 408);
}

static void check_part(const struct nh_buf *body, size_t first, size_t length)
{
	assert_int_equal(body->len, length);
	for (size_t i = 0; i < length; i++)
		assert_int_equal(body->ptr[i], file_byte(first + i));
}

static void test_files_and_ranges(void **state)
{
	static const struct {
		const char *extra;
		unsigned status;
		size_t first, length;
		const char *header;
	} rows[] = {
		{"", 200, 0, FILE_SIZE, "Accept-Ranges: bytes"},
		{"Range: bytes=0-0\r\n", 206, 0, 1, "Content-Range: bytes 0-0/300000"},
		{"Range: bytes=1000-\r\n", 206, 1000, FILE_SIZE - 1000, "Content-Range: bytes 1000-299999/300000"},
		{"Range: bytes=299999-300000\r\n", 206, FILE_SIZE - 1, 1, "Content-Range: bytes 299999-299999/300000"},
		{"Range: bytes=300000-\r\n", 416, 0, 0, "Content-Range: bytes */300000"},
		{"Range: bytes=0-1,5-6\r\n", 200, 0, FILE_SIZE, NULL},
		{"Range: bytes=5-9\r\nIf-Range: \"tag1\"\r\n", 206, 5, 5, NULL},
		{"Range: bytes=5-9\r\nIf-Range: \"other\"\r\n", 200, 0, FILE_SIZE, NULL},
		{"If-None-Match: \"tag1\"\r\n", 304, 0, 0, "ETag: \"tag1\""},
	};
	struct nh_tls *kinds[] = {NULL, client_tls};
	NH_AUTO_BUF struct nh_buf headers = NH_BUF_INIT, body = NH_BUF_INIT;
	for (size_t k = 0; k < 2; k++) {
		for (size_t i = 0; i < NH_ARRAY_LEN(rows); i++) {
			char request[256];
			snprintf(request, sizeof request, "GET /file HTTP/1.1\r\nHost: x\r\n%s\r\n", rows[i].extra);
			assert_int_equal(ask(kinds[k], request, &headers, &body), rows[i].status);
			if (rows[i].status != 416)
				check_part(&body, rows[i].first, rows[i].length);
			if (rows[i].header)
				assert_non_null(strstr(nh_buf_cstr(&headers), rows[i].header));
		}
		assert_int_equal(ask(kinds[k], "HEAD /file HTTP/1.1\r\nHost: x\r\n\r\n", &headers, &body), 200);
		assert_non_null(strstr(nh_buf_cstr(&headers), "Content-Length: 300000"));
	}
}

static void test_uploads(void **state)
{
	NH_AUTO_BUF struct nh_buf headers = NH_BUF_INIT, body = NH_BUF_INIT, request = NH_BUF_INIT;
	struct client c;
	enum { SIZE = 3000000 };
	for (unsigned chunked = 0; chunked < 2; chunked++) {
		nh_buf_clear(&request);
		nh_buf_printf(&request, "POST /upload HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\n%s\r\n\r\n", chunked ? "Transfer-Encoding: chunked" : "Content-Length: 3000000");
		assert_int_equal(client_open(&c, client_tls), NH_OK);
		client_send(&c, nh_buf_slice(&request));
		assert_int_equal(client_response(&c, true, &headers, &body), 100);
		nh_buf_clear(&request);
		if (chunked)
			nh_buf_printf(&request, "%x\r\n", SIZE);
		nh_buf_fill(&request, 'a', SIZE);
		if (chunked)
			nh_buf_put_str(&request, "\r\n0\r\n\r\n");
		client_send(&c, nh_buf_slice(&request));
		assert_int_equal(client_response(&c, false, &headers, &body), 200);
		assert_string_equal(nh_buf_cstr(&body), "3000000 291000000 OK");
		client_close(&c);
	}
	assert_int_equal(ask(NULL, "POST /upload HTTP/1.1\r\nHost: x\r\nX-Refuse: 1\r\nContent-Length: 5\r\n\r\n", &headers, &body), 403);
	assert_int_equal(ask(NULL, "POST /upload HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nab!de", &headers, &body), 422);
	assert_string_equal(nh_buf_cstr(&body), "0 195 EFORMAT");
	assert_int_equal(ask(NULL, "POST /upload HTTP/1.1\r\nHost: x\r\nContent-Length: 10000001\r\n\r\n", &headers, &body), 413);
	/* The peer goes away in the middle: the sink is told on a worker. */
	assert_int_equal(client_open(&c, NULL), NH_OK);
	client_send(&c, NH_LIT("POST /upload HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 100\r\n\r\n"));
	assert_int_equal(client_response(&c, true, &headers, &body), 100);
	client_close(&c);
	while (__atomic_load_n(&aborted, __ATOMIC_SEQ_CST) == 0)
		sched_yield();
}

static void test_client_certificates(void **state)
{
	NH_AUTO_BUF struct nh_buf headers = NH_BUF_INIT, body = NH_BUF_INIT;
	struct client c;
	assert_int_equal(ask(known_tls, "GET /echo/a HTTP/1.1\r\nHost: x\r\n\r\n", &headers, &body), 200);
	assert_non_null(strstr(nh_buf_cstr(&body), "tag=7 cert=1"));
	assert_int_equal(ask(slow_tls, "GET /echo/a HTTP/1.1\r\nHost: x\r\n\r\n", &headers, &body), 200);
	assert_non_null(strstr(nh_buf_cstr(&body), "tag=9 cert=1"));
	/* A refused TLS 1.3 client learns of it at its first read. */
	nh_rc rc = client_open(&c, bad_tls);
	if (rc == NH_OK) {
		client_send(&c, NH_LIT("GET /echo/a HTTP/1.1\r\nHost: x\r\n\r\n"));
		assert_false(client_more(&c));
	}
	client_close(&c);
}

static void put_upgrade(struct nh_buf *request, const char *path)
{
	nh_buf_printf(request, "GET %s HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
			       "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n", path);
}

static void ws_open_client(struct client *c, struct nh_tls *tls, const char *path)
{
	NH_AUTO_BUF struct nh_buf headers = NH_BUF_INIT, body = NH_BUF_INIT, request = NH_BUF_INIT;
	assert_int_equal(client_open(c, tls), NH_OK);
	put_upgrade(&request, path);
	client_send(c, nh_buf_slice(&request));
	assert_int_equal(client_response(c, true, &headers, &body), 101);
	assert_non_null(strstr(nh_buf_cstr(&headers), "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo="));
	ws_expect(c, NH_WS_TEXT, "hello");
}

static void test_websocket(void **state)
{
	static const char *const paths[] = {"/socket", "/socket-loop", "/socket-at-once"};
	struct nh_tls *kinds[] = {NULL, known_tls};
	for (size_t k = 0; k < 6; k++) {
		struct client c;
		int before = __atomic_load_n(&closed_sessions, __ATOMIC_SEQ_CST);
		ws_open_client(&c, kinds[k % 2], paths[k / 2]);
		ws_frame(&c, NH_WS_TEXT, NH_LIT("one"));
		ws_expect(&c, NH_WS_TEXT, "one");
		ws_frame(&c, NH_WS_PING, NH_LIT("p"));
		ws_expect(&c, NH_WS_PONG, "p");
		/* Order is kept although the first two go through a worker; all four in one segment. */
		ws_frame(&c, NH_WS_TEXT, NH_LIT("work 1"));
		ws_frame(&c, NH_WS_TEXT, NH_LIT("work 2"));
		ws_frame(&c, NH_WS_TEXT, NH_LIT("after"));
		ws_frame(&c, NH_WS_TEXT, NH_LIT("close"));
		ws_expect(&c, NH_WS_TEXT, "work 1 done");
		ws_expect(&c, NH_WS_TEXT, "work 2 done");
		ws_expect(&c, NH_WS_TEXT, "after");
		ws_expect(&c, NH_WS_CLOSE, "\x03\xe9" "bye");
		assert_false(client_more(&c));
		client_close(&c);
		while (__atomic_load_n(&closed_sessions, __ATOMIC_SEQ_CST) == before)
			sched_yield();
	}
}

/* Who does not wait for the answer to his upgrade is answered all the same, wherever that is made. */
static void test_frames_behind_the_upgrade(void **state)
{
	static const char *const paths[] = {"/socket", "/socket-loop", "/socket-at-once"};
	struct nh_tls *kinds[] = {NULL, known_tls};
	for (size_t k = 0; k < 6; k++) {
		struct client c;
		NH_AUTO_BUF struct nh_buf headers = NH_BUF_INIT, body = NH_BUF_INIT, all = NH_BUF_INIT;
		assert_int_equal(client_open(&c, kinds[k % 2]), NH_OK);
		put_upgrade(&all, paths[k / 2]);
		nh_buf_put(&all, "\x81\x82\0\0\0\0" "hi" "\x81\x86\0\0\0\0" "work 1", 20);
		client_send(&c, nh_buf_slice(&all));
		assert_int_equal(client_response(&c, true, &headers, &body), 101);
		ws_expect(&c, NH_WS_TEXT, "hello");
		ws_expect(&c, NH_WS_TEXT, "hi");
		ws_expect(&c, NH_WS_TEXT, "work 1 done");
		client_close(&c);
	}
}

static void test_websocket_faults(void **state)
{
	struct client c;
	ws_open_client(&c, NULL, "/socket");
	client_send(&c, NH_LIT("\x81\x02hi")); /* unmasked */
	ws_expect(&c, NH_WS_CLOSE, "\x03\xea");
	client_close(&c);
	ws_open_client(&c, NULL, "/socket");
	ws_frame(&c, NH_WS_TEXT, NH_LIT("\xff"));
	ws_expect(&c, NH_WS_CLOSE, "\x03\xef");
	client_close(&c);
	/* The peer vanishes while its job is out. */
	int before = __atomic_load_n(&closed_sessions, __ATOMIC_SEQ_CST);
	ws_open_client(&c, NULL, "/socket");
	ws_frame(&c, NH_WS_TEXT, NH_LIT("work"));
	client_close(&c);
	while (__atomic_load_n(&closed_sessions, __ATOMIC_SEQ_CST) == before)
		sched_yield();
}

static int posted_null; /* atomic */

static void on_posted(struct nh_conn *conn, void *arg) { __atomic_store_n((int *)arg, conn == NULL ? 1 : 2, __ATOMIC_SEQ_CST); }

static void test_post_to_a_connection_that_is_gone(void **state)
{
	struct nh_conn_id nobody = {.loop = 1, .slot = 12345, .generation = 99};
	assert_int_equal(nh_server_post(server, nobody, on_posted, &posted_null), NH_OK);
	while (__atomic_load_n(&posted_null, __ATOMIC_SEQ_CST) == 0)
		sched_yield();
	assert_int_equal(posted_null, 1);
}

static void test_counters(void **state)
{
	struct nh_server_stats stats;
	nh_server_stats(server, &stats);
	assert_true(stats.requests > 20);
	assert_true(stats.handshakes > 5);
	assert_true(stats.handshake_failures >= 1);
	assert_int_equal(stats.refused, 0);
}

static void test_port_in_use(void **state)
{
	struct nh_err err = NH_ERR_INIT;
	struct nh_listener l = {.name = "second", .address = "127.0.0.1", .port = listeners[0].port, .mounts = mounts};
	struct nh_server_config config = {.pool = pool, .listeners = &l, .listener_count = 1};
	struct nh_server *other = NULL;
	assert_int_equal(nh_server_open(&config, &other, &err), NH_ECONFLICT);
	assert_non_null(strstr(err.msg, "in use"));
	l.address = "nowhere";
	assert_int_equal(nh_server_open(&config, &other, &err), NH_EINVAL);
}

static void *drain_main(void *arg)
{
	nh_server_drain(arg, 1000);
	return NULL;
}

static void test_drain(void **state)
{
	struct nh_err err = NH_ERR_INIT;
	struct nh_server *other = NULL;
	struct nh_listener l = {.name = "other", .address = "127.0.0.1", .mounts = mounts};
	struct nh_server_config config = {.pool = pool, .listeners = &l, .listener_count = 1};
	uint16_t port = listeners[0].port;
	struct client c[3];
	pthread_t thread;
	assert_int_equal(nh_server_open(&config, &other, &err), NH_OK);
	assert_int_equal(nh_server_start(other, &err), NH_OK);
	listeners[0].port = l.port;
	for (size_t i = 0; i < 3; i++)
		ws_open_client(&c[i], NULL, "/socket");
	listeners[0].port = port;
	assert_int_equal(pthread_create(&thread, NULL, drain_main, other), 0);
	for (size_t i = 0; i < 3; i++) {
		ws_expect(&c[i], NH_WS_CLOSE, "\x03\xf4restarting");
		assert_false(client_more(&c[i]));
		client_close(&c[i]);
	}
	pthread_join(thread, NULL);
	nh_server_free(other);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_requests),
		cmocka_unit_test(test_pipelining_and_single_bytes),
		cmocka_unit_test(test_slow_head_is_answered_408),
		cmocka_unit_test(test_files_and_ranges),
		cmocka_unit_test(test_uploads),
		cmocka_unit_test(test_client_certificates),
		cmocka_unit_test(test_websocket),
		cmocka_unit_test(test_frames_behind_the_upgrade),
		cmocka_unit_test(test_websocket_faults),
		cmocka_unit_test(test_post_to_a_connection_that_is_gone),
		cmocka_unit_test(test_counters),
		cmocka_unit_test(test_port_in_use),
		cmocka_unit_test(test_drain),
	};
	return cmocka_run_group_tests(tests, set_up, tear_down);
}
