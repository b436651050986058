/*
 * What the server does when something is too many, too big, too slow or gone: each test opens a server of its own with the limit in question. Nothing is timed:
 * a test waits for the byte, the end or the callback that must come.
 */
#include <pthread.h>
#include <sched.h>
#include <semaphore.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "net/server.h"
#include "test_peer.h"
#include "test_pki.h"

static struct test_pki pki;
static struct nh_tls *server_tls, *client_tls;
static struct nh_pool *pool;
static struct nh_server *server;
static struct nh_listener listeners[2];

#define PLAIN listeners[0].port
#define TLS listeners[1].port

/* ---- the application --------------------------------------------------------------------------------------------------- */

static sem_t entered, gate;
static int aborted, opened, closed_sessions, closed_code, job_open, closed_during_job; /* atomic */
static struct nh_conn_id ids[16];

static int get(const int *what) { return __atomic_load_n(what, __ATOMIC_SEQ_CST); }
static void add(int *what) { __atomic_add_fetch(what, 1, __ATOMIC_SEQ_CST); }

static void wait_for(const int *what, int value)
{
	while (get(what) < value)
		sched_yield();
}

static void wait_sem(sem_t *s)
{
	while (sem_wait(s) != 0)
		continue;
}

static void handle_ok(struct nh_request *req, struct nh_response *res) { nh_response_send(res, 200, "text/plain", NH_LIT("ok")); }

static void handle_gated(struct nh_request *req, struct nh_response *res)
{
	sem_post(&entered);
	wait_sem(&gate);
	nh_response_send(res, 200, "text/plain", NH_LIT("late"));
}

static nh_rc sink_begin(struct nh_request *req, struct nh_response *res, void **stream) { return NH_OK; }
static nh_rc sink_data(void *worker, void *stream, nh_slice bytes) { return NH_OK; }
static void sink_abort(void *worker, void *stream) { add(&aborted); }
static const struct nh_body_sink sink = {sink_begin, sink_data, sink_abort};

static void ws_open(struct nh_conn *conn, void *session)
{
	ids[get(&opened) % 16] = nh_conn_id_of(conn);
	add(&opened);
	nh_ws_send(conn, NH_WS_TEXT, NH_LIT("hello"));
}

static void gated_job(void *worker, void *arg)
{
	add(&job_open);
	sem_post(&entered);
	wait_sem(&gate);
	__atomic_sub_fetch(&job_open, 1, __ATOMIC_SEQ_CST);
}

static void gated_done(struct nh_conn *conn, void *arg) {}

static void ws_message(struct nh_conn *conn, void *session, nh_ws_opcode opcode, nh_slice data)
{
	static const uint8_t block[60000];
	if (nh_slice_eq_str(data, "job"))
		nh_conn_work(conn, gated_job, gated_done, NULL);
	else if (nh_slice_eq_str(data, "flood"))
		for (int i = 0; i < 2000; i++) /* far more than sockets and output_max hold together */
			nh_ws_send(conn, NH_WS_BINARY, nh_slice_of(block, sizeof block));
	else
		nh_ws_send(conn, opcode, data);
}

static void ws_close(struct nh_conn *conn, void *session, uint16_t code)
{
	if (get(&job_open))
		add(&closed_during_job);
	__atomic_store_n(&closed_code, code, __ATOMIC_SEQ_CST);
	add(&closed_sessions);
}

static const struct nh_ws_handler ws_handler = {.max_message_bytes = 1000, .idle_ms = 300, .on_open = ws_open, .on_message = ws_message, .on_close = ws_close};
static const struct nh_ws_handler patient = {.max_message_bytes = 1000, .on_open = ws_open, .on_message = ws_message, .on_close = ws_close};

static void handle_idle_socket(struct nh_request *req, struct nh_response *res) { nh_response_upgrade(res, &ws_handler, NULL); }
static void handle_socket(struct nh_request *req, struct nh_response *res) { nh_response_upgrade(res, &patient, NULL); }

static const struct nh_route routes[] = {
	{.method = NH_HTTP_GET, .path = "/ok", .handle = handle_ok},
	{.method = NH_HTTP_POST, .path = "/ok", .handle = handle_ok},
	{.method = NH_HTTP_GET, .path = "/gated", .handle = handle_gated},
	{.method = NH_HTTP_GET, .path = "/idle-socket", .handle = handle_idle_socket},
	{.method = NH_HTTP_GET, .path = "/socket", .handle = handle_socket},
	{.method = NH_HTTP_POST, .path = "/upload", .handle = handle_ok, .body = NH_BODY_STREAM, .body_max = 100000000, .sink = &sink},
	{0},
};
static const struct nh_mount mounts[] = {{.routes = routes}, {0}};

/* ---- one server a test --------------------------------------------------------------------------------------------------- */

static int group_set_up(void **state)
{
	NH_AUTO_BUF struct nh_buf cert = NH_BUF_INIT, key = NH_BUF_INIT;
	test_pki_init(&pki);
	test_pki_issue(&pki, "localhost", "localhost", &cert, &key, NULL);
	assert_int_equal(nh_tls_server_new(&(struct nh_tls_server_config){.cert_pem = nh_buf_slice(&cert), .key_pem = nh_buf_slice(&key)}, &server_tls, NULL), NH_OK);
	assert_int_equal(nh_tls_client_new(&(struct nh_tls_client_config){.ca_pem = nh_buf_slice(&pki.pem)}, &client_tls, NULL), NH_OK);
	sem_init(&entered, 0, 0);
	sem_init(&gate, 0, 0);
	return 0;
}

static int group_tear_down(void **state)
{
	nh_tls_unref(server_tls);
	nh_tls_unref(client_tls);
	test_pki_fini(&pki);
	return 0;
}

struct limits {
	struct nh_server_config config;
	struct nh_pool_config pool;
	uint64_t connect_rate;
};

static void start(struct limits l)
{
	struct nh_err err = NH_ERR_INIT;
	aborted = opened = closed_sessions = closed_code = closed_during_job = 0;
	if (l.pool.threads == 0)
		l.pool.threads = 2;
	assert_int_equal(nh_pool_new(&l.pool, &pool, &err), NH_OK);
	listeners[0] = (struct nh_listener){.name = "plain", .address = "127.0.0.1", .mounts = mounts, .connect_rate = l.connect_rate};
	listeners[1] = (struct nh_listener){.name = "tls", .address = "127.0.0.1", .mounts = mounts, .tls = server_tls};
	l.config.pool = pool;
	l.config.listeners = listeners;
	l.config.listener_count = 2;
	assert_int_equal(nh_server_open(&l.config, &server, &err), NH_OK);
	assert_int_equal(nh_server_start(server, &err), NH_OK);
}

static void end(uint64_t drain_ms)
{
	nh_server_drain(server, drain_ms);
	nh_pool_free(pool);
	nh_server_free(server);
}

static void *end_main(void *arg)
{
	end(*(uint64_t *)arg);
	return NULL;
}

static struct nh_server_stats stats(void)
{
	struct nh_server_stats s;
	nh_server_stats(server, &s);
	return s;
}

static unsigned ask(struct client *c, const char *request)
{
	NH_AUTO_BUF struct nh_buf headers = NH_BUF_INIT, body = NH_BUF_INIT;
	client_send(c, nh_slice_str(request));
	return client_response(c, false, &headers, &body);
}

#define GET_OK "GET /ok HTTP/1.1\r\nHost: x\r\n\r\n"

static void socket_open(struct client *c, const char *path)
{
	NH_AUTO_BUF struct nh_buf headers = NH_BUF_INIT, body = NH_BUF_INIT, request = NH_BUF_INIT;
	assert_int_equal(client_dial(c, PLAIN, NULL), NH_OK);
	nh_buf_printf(&request, "GET %s HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
				"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n", path);
	client_send(c, nh_buf_slice(&request));
	assert_int_equal(client_response(c, true, &headers, &body), 101);
	ws_expect(c, NH_WS_TEXT, "hello");
}

/* ---- too many ---------------------------------------------------------------------------------------------------------- */

static void test_connections_over_the_cap_are_closed_at_once(void **state)
{
	struct client c[4];
	start((struct limits){.config = {.max_connections = 3}});
	for (size_t i = 0; i < 3; i++) {
		assert_int_equal(client_dial(&c[i], PLAIN, NULL), NH_OK);
		assert_int_equal(ask(&c[i], GET_OK), 200);
	}
	assert_int_equal(client_dial(&c[3], PLAIN, NULL), NH_OK);
	assert_false(client_more(&c[3]));
	assert_int_equal(stats().refused, 1);
	client_close(&c[3]);
	/* A place that becomes free is given away again. */
	client_close(&c[0]);
	while (stats().connections > 2)
		sched_yield();
	assert_int_equal(client_dial(&c[0], PLAIN, NULL), NH_OK);
	assert_int_equal(ask(&c[0], GET_OK), 200);
	for (size_t i = 0; i < 3; i++)
		client_close(&c[i]);
	end(1000);
}

static void test_connect_rate(void **state)
{
	enum { COUNT = 40 };
	struct client c[COUNT];
	size_t served = 0;
	start((struct limits){.connect_rate = 5});
	for (size_t i = 0; i < COUNT; i++)
		assert_int_equal(client_dial(&c[i], PLAIN, NULL), NH_OK);
	for (size_t i = 0; i < COUNT; i++) {
		served += ask(&c[i], GET_OK) == 200;
		client_close(&c[i]);
	}
	assert_true(served >= 5 && served < COUNT);
	assert_int_equal(stats().refused, COUNT - served);
	end(1000);
}

/* One worker, one place in the queue: requests wait for room, none is lost. */
static void test_a_full_pool_delays_but_loses_nothing(void **state)
{
	enum { COUNT = 30 };
	struct client c[COUNT], first;
	NH_AUTO_BUF struct nh_buf headers = NH_BUF_INIT, body = NH_BUF_INIT;
	start((struct limits){.pool = {.threads = 1, .queue_max = 1}});
	assert_int_equal(client_dial(&first, PLAIN, NULL), NH_OK);
	client_send(&first, NH_LIT("GET /gated HTTP/1.1\r\nHost: x\r\n\r\n"));
	wait_sem(&entered);
	for (size_t i = 0; i < COUNT; i++) {
		assert_int_equal(client_dial(&c[i], PLAIN, NULL), NH_OK);
		client_send(&c[i], NH_LIT(GET_OK));
	}
	struct nh_pool_stats work;
	do
		nh_pool_stats(pool, &work);
	while (work.refused < COUNT - 1);
	sem_post(&gate);
	assert_int_equal(client_response(&first, false, &headers, &body), 200);
	client_close(&first);
	for (size_t i = 0; i < COUNT; i++) {
		assert_int_equal(client_response(&c[i], false, &headers, &body), 200);
		client_close(&c[i]);
	}
	end(1000);
}

/* ---- too slow ------------------------------------------------------------------------------------------------------------ */

static void test_silent_peers_are_closed(void **state)
{
	static const struct {
		bool tls;
		const char *bytes; /* said before the silence; the response to be expected first */
		unsigned status;
	} rows[] = {
		{true, NULL, 0},                                                                   /* no TLS hello */
		{true, "\x16\x03\x01\x02\x00\x01", 0},                                             /* half a hello */
		{false, NULL, 0},                                                                  /* no request */
		{false, "GET /ok HTTP/1.1\r\n", 408},                                              /* half a head */
		{false, GET_OK, 200},                                                              /* idle between requests */
		{false, "POST /ok HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nab", 0},         /* half a body */
		{false, "POST /upload HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nab", 0},     /* half a streamed body */
	};
	struct client c[NH_ARRAY_LEN(rows)];
	NH_AUTO_BUF struct nh_buf headers = NH_BUF_INIT, body = NH_BUF_INIT;
	start((struct limits){.config = {.handshake_ms = 200, .head_ms = 200, .body_ms = 200, .keep_alive_ms = 200}});
	for (size_t i = 0; i < NH_ARRAY_LEN(rows); i++) {
		assert_int_equal(client_dial(&c[i], rows[i].tls ? TLS : PLAIN, NULL), NH_OK);
		if (rows[i].bytes)
			client_send(&c[i], nh_slice_of(rows[i].bytes, rows[i].tls ? 6 : strlen(rows[i].bytes)));
	}
	for (size_t i = 0; i < NH_ARRAY_LEN(rows); i++) {
		if (rows[i].status)
			assert_int_equal(client_response(&c[i], false, &headers, &body), rows[i].status);
		while (client_more(&c[i])) /* an alert may come */
			nh_buf_clear(&c[i].in);
		client_close(&c[i]);
	}
	wait_for(&aborted, 1);
	end(1000);
}

/* One byte at a time keeps nobody's head request alive: the clock runs from the first byte. */
static void test_a_dripping_head_is_answered_408(void **state)
{
	NH_AUTO_BUF struct nh_buf headers = NH_BUF_INIT, body = NH_BUF_INIT;
	struct client c;
	start((struct limits){.config = {.head_ms = 300}});
	assert_int_equal(client_dial(&c, PLAIN, NULL), NH_OK);
	client_send(&c, NH_LIT("GET /ok HTTP/1.1\r\nX: "));
	struct pollfd p = {.fd = c.fd, .events = POLLIN};
	while (poll(&p, 1, 20) == 0)
		client_send(&c, NH_LIT("a"));
	assert_int_equal(client_response(&c, false, &headers, &body), 408);
	assert_non_null(strstr(nh_buf_cstr(&headers), "Connection: close"));
	client_close(&c);
	end(1000);
}

static void test_an_idle_websocket_is_told_so(void **state)
{
	struct client c;
	start((struct limits){0});
	socket_open(&c, "/idle-socket");
	ws_expect(&c, NH_WS_CLOSE, "\x03\xea" "idle");
	assert_false(client_more(&c));
	client_close(&c);
	wait_for(&closed_sessions, 1);
	assert_int_equal(get(&closed_code), 1002);
	end(1000);
}

/* ---- too big ------------------------------------------------------------------------------------------------------------- */

/* The refusal must reach a client that is still sending: a reset would destroy it. */
static void test_a_refused_body_is_answered_while_it_is_sent(void **state)
{
	static const char *const heads[] = {
		"POST /ok HTTP/1.1\r\nHost: x\r\nContent-Length: 3000000\r\n\r\n",
		"POST /nowhere HTTP/1.1\r\nHost: x\r\nContent-Length: 3000000\r\n\r\n",
	};
	static const unsigned status[] = {413, 404};
	static const uint8_t zeros[3000000];
	NH_AUTO_BUF struct nh_buf headers = NH_BUF_INIT, body = NH_BUF_INIT;
	start((struct limits){0});
	for (size_t k = 0; k < 2; k++) {
		for (size_t i = 0; i < NH_ARRAY_LEN(heads); i++) {
			struct client c;
			assert_int_equal(client_dial(&c, k ? TLS : PLAIN, k ? client_tls : NULL), NH_OK);
			client_send(&c, nh_slice_str(heads[i]));
			client_send(&c, nh_slice_of(zeros, sizeof zeros));
			assert_int_equal(client_response(&c, false, &headers, &body), status[i]);
			assert_non_null(strstr(nh_buf_cstr(&headers), "Connection: close"));
			client_close(&c);
		}
	}
	end(1000);
}

static void test_a_peer_that_does_not_read_is_dropped(void **state)
{
	struct client c;
	start((struct limits){.config = {.output_max = 1000000}});
	socket_open(&c, "/socket");
	ws_frame(&c, NH_WS_TEXT, NH_LIT("flood"));
	wait_for(&closed_sessions, 1);
	assert_int_equal(get(&closed_code), 1006);
	client_close(&c);
	end(1000);
}

static void test_a_message_over_the_cap(void **state)
{
	static const uint8_t big[1001];
	struct client c;
	start((struct limits){0});
	socket_open(&c, "/socket");
	ws_frame(&c, NH_WS_BINARY, nh_slice_of(big, sizeof big));
	ws_expect(&c, NH_WS_CLOSE, "\x03\xf1");
	assert_false(client_more(&c));
	client_close(&c);
	end(1000);
}

/* ---- gone ---------------------------------------------------------------------------------------------------------------- */

static void test_on_close_waits_for_the_job(void **state)
{
	struct client c;
	start((struct limits){0});
	socket_open(&c, "/socket");
	ws_frame(&c, NH_WS_TEXT, NH_LIT("job"));
	wait_sem(&entered);
	client_close(&c);
	/* The drain's deadline closes the connection under the job. */
	pthread_t thread;
	sem_post(&gate);
	wait_for(&closed_sessions, 1);
	assert_int_equal(get(&closed_during_job), 0);
	socket_open(&c, "/socket");
	ws_frame(&c, NH_WS_TEXT, NH_LIT("job"));
	wait_sem(&entered);
	assert_int_equal(pthread_create(&thread, NULL, end_main, &(uint64_t){100}), 0);
	while (client_more(&c))
		continue;
	assert_int_equal(get(&closed_sessions), 1);
	sem_post(&gate);
	pthread_join(thread, NULL);
	assert_int_equal(get(&closed_sessions), 2);
	assert_int_equal(get(&closed_during_job), 0);
	client_close(&c);
}

static void test_a_drain_finishes_requests(void **state)
{
	NH_AUTO_BUF struct nh_buf headers = NH_BUF_INIT, body = NH_BUF_INIT;
	struct client c, idle;
	pthread_t thread;
	start((struct limits){.config = {.loops = 2}});
	assert_int_equal(client_dial(&idle, PLAIN, NULL), NH_OK);
	assert_int_equal(ask(&idle, GET_OK), 200);
	assert_int_equal(client_dial(&c, PLAIN, NULL), NH_OK);
	client_send(&c, NH_LIT("GET /gated HTTP/1.1\r\nHost: x\r\n\r\n"));
	wait_sem(&entered);
	assert_int_equal(pthread_create(&thread, NULL, end_main, &(uint64_t){30000}), 0);
	assert_false(client_more(&idle));
	client_close(&idle);
	sem_post(&gate);
	assert_int_equal(client_response(&c, false, &headers, &body), 200);
	assert_string_equal(nh_buf_cstr(&body), "late");
	assert_non_null(strstr(nh_buf_cstr(&headers), "Connection: close"));
	assert_false(client_more(&c));
	client_close(&c);
	pthread_join(thread, NULL);
}

/* A drain's deadline ends an upload that hangs; its sink is told before the drain returns. */
static void test_a_drain_aborts_uploads(void **state)
{
	NH_AUTO_BUF struct nh_buf headers = NH_BUF_INIT, body = NH_BUF_INIT;
	struct client c;
	start((struct limits){0});
	assert_int_equal(client_dial(&c, PLAIN, NULL), NH_OK);
	client_send(&c, NH_LIT("POST /upload HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 9\r\n\r\n"));
	assert_int_equal(client_response(&c, true, &headers, &body), 100);
	end(100);
	assert_int_equal(get(&aborted), 1);
	assert_false(client_more(&c));
	client_close(&c);
}

/* ---- one message for many -------------------------------------------------------------------------------------------------- */

struct broadcast {
	struct nh_ws_frame *frame;
	int left; /* atomic */
};

static void send_broadcast(struct nh_conn *conn, void *arg)
{
	struct broadcast *b = arg;
	if (conn)
		nh_ws_send_frame(conn, b->frame);
	__atomic_sub_fetch(&b->left, 1, __ATOMIC_SEQ_CST);
}

static void test_one_frame_for_many(void **state)
{
	enum { COUNT = 8 };
	struct client c[COUNT];
	struct broadcast b = {.left = COUNT};
	start((struct limits){0});
	for (size_t i = 0; i < COUNT; i++)
		socket_open(&c[i], "/socket");
	client_close(&c[0]);
	wait_for(&closed_sessions, 1);
	b.frame = nh_ws_frame_new(NH_WS_TEXT, NH_LIT("to all"));
	for (size_t i = 0; i < COUNT; i++)
		assert_int_equal(nh_server_post(server, ids[i], send_broadcast, &b), NH_OK);
	for (size_t i = 1; i < COUNT; i++) {
		ws_expect(&c[i], NH_WS_TEXT, "to all");
		client_close(&c[i]);
	}
	while (get(&b.left))
		sched_yield();
	nh_ws_frame_unref(b.frame);
	end(1000);
}

/* ---- a full mailbox -------------------------------------------------------------------------------------------------------- */

struct letter {
	struct nh_conn_message message;
	int number;
};

static int letters, out_of_order, lost_conns; /* atomic */

static void hold_loop(struct nh_conn *conn, void *arg)
{
	sem_post(&entered);
	wait_sem(&gate);
}

static void nothing(struct nh_conn *conn, void *arg) {}

static void read_letter(struct nh_conn *conn, struct nh_conn_message *message)
{
	struct letter *l = (struct letter *)(void *)message;
	if (l->number != get(&letters))
		add(&out_of_order);
	if (!conn)
		add(&lost_conns);
	add(&letters);
}

static void test_what_is_sent_arrives_though_the_mailbox_is_full(void **state)
{
	enum { COUNT = 100 };
	struct client c;
	struct letter list[COUNT];
	letters = out_of_order = lost_conns = 0;
	start((struct limits){0});
	socket_open(&c, "/socket");
	assert_int_equal(nh_server_post(server, ids[0], hold_loop, NULL), NH_OK);
	wait_sem(&entered);
	while (nh_server_post(server, ids[0], nothing, NULL) == NH_OK)
		continue;
	for (int i = 0; i < COUNT; i++) {
		list[i] = (struct letter){.message = {.fn = read_letter}, .number = i};
		nh_server_send(server, i == COUNT - 1 ? (struct nh_conn_id){0} : ids[0], &list[i].message);
	}
	sem_post(&gate);
	wait_for(&letters, COUNT);
	assert_int_equal(get(&out_of_order), 0);
	assert_int_equal(get(&lost_conns), 1); /* the one for nobody */
	client_close(&c);
	end(1000);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_connections_over_the_cap_are_closed_at_once),
		cmocka_unit_test(test_connect_rate),
		cmocka_unit_test(test_a_full_pool_delays_but_loses_nothing),
		cmocka_unit_test(test_silent_peers_are_closed),
		cmocka_unit_test(test_a_dripping_head_is_answered_408),
		cmocka_unit_test(test_an_idle_websocket_is_told_so),
		cmocka_unit_test(test_a_refused_body_is_answered_while_it_is_sent),
		cmocka_unit_test(test_a_peer_that_does_not_read_is_dropped),
		cmocka_unit_test(test_a_message_over_the_cap),
		cmocka_unit_test(test_on_close_waits_for_the_job),
		cmocka_unit_test(test_a_drain_finishes_requests),
		cmocka_unit_test(test_a_drain_aborts_uploads),
		cmocka_unit_test(test_one_frame_for_many),
		cmocka_unit_test(test_what_is_sent_arrives_though_the_mailbox_is_full),
	};
	return cmocka_run_group_tests(tests, group_set_up, group_tear_down);
}
