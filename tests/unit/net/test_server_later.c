/*
 * Answers that come later: a handler leaves its response with this file, which gives it back from another thread, at once, after others, after the peer has gone, at the end
 * of a drain. Every wait is for bytes, for a figure of the server, or for a handler.
 */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "test_peer.h"
#include "test_pki.h"
#include "test_serving.h"

#define LATER_MAX 3

static struct test_pki pki;
static struct nh_tls *server_tls, *client_tls;
static struct nh_listener listeners[2];

/* What handlers left here, oldest first. */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct nh_later *left[LATER_MAX];
static unsigned left_count;

static void leave(struct nh_later *later)
{
	pthread_mutex_lock(&lock);
	left[left_count++] = later;
	pthread_mutex_unlock(&lock);
}

static struct nh_later *take(void)
{
	struct nh_later *later = NULL;
	do {
		sched_yield();
		pthread_mutex_lock(&lock);
		if (left_count) {
			later = left[0];
			left[0] = left[1];
			left[1] = left[2];
			left_count--;
		}
		pthread_mutex_unlock(&lock);
	} while (!later);
	return later;
}

static void handle_later(struct nh_request *req, struct nh_response *res)
{
	struct nh_later *later = nh_response_later(res);
	if (!later) {
		nh_response_send(res, 503, "text/plain", NH_LIT("too many"));
		return;
	}
	nh_response_header(res, "X-Mine", NH_LIT("kept"));
	if (nh_slice_eq_str(req->query, "soon"))
		nh_later_send(later, 201, "text/plain", NH_LIT("before the handler was back"));
	else
		leave(later);
}

static bool later_at_once(struct nh_request *req, struct nh_response *res)
{
	handle_later(req, res);
	return true;
}

static void handle_echo(struct nh_request *req, struct nh_response *res) { nh_response_send(res, 200, "text/plain", req->query); }

static const struct nh_route routes[] = {
	{.method = NH_HTTP_POST, .path = "/worker", .handle = handle_later},
	{.method = NH_HTTP_POST, .path = "/loop", .handle = handle_later, .where = NH_ON_LOOP},
	{.method = NH_HTTP_POST, .path = "/at-once", .at_once = later_at_once, .handle = handle_echo},
	{.method = NH_HTTP_GET, .path = "/echo", .handle = handle_echo},
	{0},
};
static const struct nh_mount mounts[] = {{.routes = routes}, {0}};

static int set_up(void **state)
{
	NH_AUTO_BUF struct nh_buf cert = NH_BUF_INIT, key = NH_BUF_INIT;
	struct nh_err err = NH_ERR_INIT;
	test_pki_init(&pki);
	test_pki_issue(&pki, "localhost", "localhost", &cert, &key, NULL);
	struct nh_tls_server_config tls = {.cert_pem = nh_buf_slice(&cert), .key_pem = nh_buf_slice(&key)};
	assert_int_equal(nh_tls_server_new(&tls, &server_tls, &err), NH_OK);
	assert_int_equal(nh_tls_client_new(&(struct nh_tls_client_config){.ca_pem = nh_buf_slice(&pki.pem)}, &client_tls, &err), NH_OK);
	listeners[0] = (struct nh_listener){.name = "plain", .address = "127.0.0.1", .mounts = mounts};
	listeners[1] = (struct nh_listener){.name = "tls", .address = "127.0.0.1", .mounts = mounts, .tls = server_tls};
	assert_int_equal(nh_pool_new(&(struct nh_pool_config){.threads = 2}, &pool, &err), NH_OK);
	struct nh_server_config config = {.pool = pool, .listeners = listeners, .listener_count = 2, .loops = 1, .max_later = LATER_MAX};
	assert_int_equal(nh_server_open(&config, &server, &err), NH_OK);
	assert_int_equal(nh_server_start(server, &err), NH_OK);
	return 0;
}

static void release(void)
{
	nh_tls_unref(server_tls);
	nh_tls_unref(client_tls);
	test_pki_fini(&pki);
}

static int tear_down(void **state)
{
	end();
	release();
	return 0;
}

static void dial_kind(struct client *c, unsigned kind) { assert_int_equal(client_dial(c, listeners[kind].port, kind ? client_tls : NULL), NH_OK); }

static void post(struct client *c, const char *target)
{
	char text[128];
	snprintf(text, sizeof text, "POST %s HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}", target);
	client_send(c, nh_slice_str(text));
}

static void get(struct client *c, const char *query)
{
	char text[128];
	snprintf(text, sizeof text, "GET /echo?%s HTTP/1.1\r\nHost: x\r\n\r\n", query);
	client_send(c, nh_slice_str(text));
}

static void expect(struct client *c, unsigned status, const char *text)
{
	NH_AUTO_BUF struct nh_buf headers = NH_BUF_INIT, body = NH_BUF_INIT;
	assert_int_equal(client_response(c, false, &headers, &body), status);
	assert_string_equal(nh_buf_cstr(&body), text);
	assert_int_equal(strstr(nh_buf_cstr(&headers), "X-Mine: kept") != NULL, status == 201);
}

static void test_answers_from_anywhere(void **state)
{
	static const char *const targets[] = {"/worker", "/loop", "/at-once"};
	for (unsigned kind = 0; kind < 2; kind++) {
		struct client c;
		char soon[32];
		dial_kind(&c, kind);
		for (size_t i = 0; i < NH_ARRAY_LEN(targets); i++) {
			snprintf(soon, sizeof soon, "%s?soon", targets[i]);
			post(&c, soon);
			expect(&c, 201, "before the handler was back");
			post(&c, targets[i]);
			nh_later_send(take(), 201, "text/plain", NH_LIT("from the test's thread"));
			expect(&c, 201, "from the test's thread");
		}
		get(&c, "kept-alive");
		expect(&c, 200, "kept-alive");
		client_close(&c);
	}
	assert_int_equal(stats().later, 0);
}

/* What comes behind waits for its turn, however it is cut. */
static void test_order_is_kept(void **state)
{
	for (unsigned kind = 0; kind < 2; kind++) {
		struct client c;
		dial_kind(&c, kind);
		get(&c, "1");
		post(&c, "/worker");
		get(&c, "3");
		struct nh_later *later = take();
		get(&c, "4");
		post(&c, "/worker");
		expect(&c, 200, "1");
		assert_int_equal(c.in.len, 0);
		nh_later_send(later, 201, "text/plain", NH_LIT("2"));
		expect(&c, 201, "2");
		expect(&c, 200, "3");
		expect(&c, 200, "4");
		nh_later_send(take(), 201, "text/plain", NH_LIT("5"));
		expect(&c, 201, "5");
		client_close(&c);
	}
}

/* A flood behind a request that waits: little of it is taken, and all of it is answered afterwards. */
static void test_little_is_read_ahead(void **state)
{
	static char flood[60][8000];
	for (unsigned kind = 0; kind < 2; kind++) {
		struct client c;
		WAIT_UNTIL(stats().connections == 0);
		uint64_t before = stats().bytes_in;
		dial_kind(&c, kind);
		int large = 1 << 20;
		assert_int_equal(setsockopt(c.fd, SOL_SOCKET, SO_SNDBUF, &large, sizeof large), 0);
		post(&c, "/worker");
		struct nh_later *later = take();
		for (unsigned i = 0; i < NH_ARRAY_LEN(flood); i++) {
			memset(flood[i], 'a', sizeof flood[i]);
			int head = snprintf(flood[i], sizeof flood[i], "GET /echo?%u HTTP/1.1\r\nHost: x\r\nX: ", i);
			flood[i][head] = 'a';
			memcpy(flood[i] + sizeof flood[i] - 4, "\r\n\r\n", 4);
			client_send(&c, nh_slice_of(flood[i], sizeof flood[i]));
		}
		WAIT_UNTIL(stats().bytes_in - before > 32768);
		assert_in_range(stats().bytes_in - before, 32768, 32768 + 65536 + 200);
		nh_later_send(later, 201, "text/plain", NH_LIT("first"));
		expect(&c, 201, "first");
		for (unsigned i = 0; i < NH_ARRAY_LEN(flood); i++) {
			char text[16];
			snprintf(text, sizeof text, "%u", i);
			expect(&c, 200, text);
		}
		client_close(&c);
	}
}

/* The connection goes at once, also with requests behind the one that waits; the answer is owed all the same, and lands nowhere. */
static void test_peer_gone(void **state)
{
	static const struct {
		unsigned kind;
		bool more, half;
	} rows[] = {{0, false, false}, {0, true, false}, {0, false, true}, {1, false, false}, {1, true, false}};
	for (size_t i = 0; i < NH_ARRAY_LEN(rows); i++) {
		struct client c;
		dial_kind(&c, rows[i].kind);
		post(&c, "/worker");
		struct nh_later *later = take();
		if (rows[i].more)
			get(&c, "never");
		if (rows[i].half)
			assert_int_equal(shutdown(c.fd, SHUT_WR), 0);
		else
			client_close(&c);
		WAIT_UNTIL(stats().connections == 0);
		assert_int_equal(stats().later, 1);
		nh_later_send(later, 200, "text/plain", NH_LIT("nobody hears this"));
		WAIT_UNTIL(stats().later == 0);
		if (rows[i].half) {
			assert_false(client_more(&c));
			client_close(&c);
		}
	}
}

static void test_limit(void **state)
{
	struct client c[LATER_MAX + 1];
	struct nh_later *later[LATER_MAX];
	for (unsigned i = 0; i <= LATER_MAX; i++) {
		dial_kind(&c[i], 0);
		post(&c[i], "/worker");
		if (i < LATER_MAX)
			later[i] = take();
	}
	expect(&c[LATER_MAX], 503, "too many");
	assert_int_equal(stats().later, LATER_MAX);
	/* A peer that does not wait leaves no place for another: the answer is still being worked on. */
	client_close(&c[0]);
	WAIT_UNTIL(stats().connections == LATER_MAX);
	post(&c[LATER_MAX], "/worker");
	expect(&c[LATER_MAX], 503, "too many");
	nh_later_send(later[0], 200, "text/plain", NH_SLICE_EMPTY);
	WAIT_UNTIL(stats().later == LATER_MAX - 1);
	post(&c[LATER_MAX], "/worker?soon");
	expect(&c[LATER_MAX], 201, "before the handler was back");
	for (unsigned i = 1; i < LATER_MAX; i++) {
		nh_later_send(later[i], 201, NULL, NH_SLICE_EMPTY);
		expect(&c[i], 201, "");
	}
	for (unsigned i = 1; i <= LATER_MAX; i++)
		client_close(&c[i]);
}

static void *drain_thread(void *ms)
{
	nh_server_drain(server, *(uint64_t *)ms);
	return NULL;
}

/* A drain waits for what is owed, up to its time; what is still owed then has nobody to go to. */
static void test_drain(void **state)
{
	static uint64_t times_ms[] = {60000, 50};
	for (size_t i = 0; i < NH_ARRAY_LEN(times_ms); i++) {
		NH_AUTO_BUF struct nh_buf headers = NH_BUF_INIT, body = NH_BUF_INIT;
		pthread_t thread;
		struct client c;
		set_up(NULL);
		dial_kind(&c, 0);
		post(&c, "/worker");
		struct nh_later *later = take();
		assert_int_equal(pthread_create(&thread, NULL, drain_thread, &times_ms[i]), 0);
		/* The listener is closed first of all. */
		for (;;) {
			struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons(listeners[0].port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
			int fd = socket(AF_INET, SOCK_STREAM, 0), refused = connect(fd, (struct sockaddr *)&a, sizeof a);
			close(fd);
			if (refused)
				break;
			sched_yield();
		}
		if (i == 0) {
			nh_later_send(later, 201, "text/plain", NH_LIT("in time"));
			assert_int_equal(client_response(&c, false, &headers, &body), 201);
			assert_non_null(strstr(nh_buf_cstr(&headers), "Connection: close"));
		}
		assert_false(client_more(&c));
		client_close(&c);
		assert_int_equal(pthread_join(thread, NULL), 0);
		if (i == 1)
			nh_later_send(later, 200, "text/plain", NH_LIT("too late"));
		nh_pool_free(pool);
		nh_server_free(server);
		release();
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_answers_from_anywhere, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_order_is_kept, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_little_is_read_ahead, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_peer_gone, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_limit, set_up, tear_down),
		cmocka_unit_test(test_drain),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
