/*
 * Peers that are slower than anybody honest, sockets that are full, and WebSockets that may be silent for different times. Bytes must have moved in a window for a connection
 * to stay; windows are short here, and honest peers in the same test prove that it is the rate that decides.
 */
#include <malloc.h>
#include <pthread.h>
#include <semaphore.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include <cmocka.h>

#include "test_peer.h"
#include "test_serving.h"

static struct nh_listener listener;

#define FILE_SIZE (64u << 20) /* more than the kernel's buffers hold together */

static int opened, closed_sessions, aborted, drained, unsent; /* atomic */
static struct nh_conn_id ids[16];

static int get(const int *what) { return __atomic_load_n(what, __ATOMIC_SEQ_CST); }
static void add(int *what) { __atomic_add_fetch(what, 1, __ATOMIC_SEQ_CST); }

static void handle_ok(struct nh_request *req, struct nh_response *res) { nh_response_send(res, 200, "text/plain", NH_LIT("ok")); }

static void handle_file(struct nh_request *req, struct nh_response *res)
{
	FILE *file = tmpfile();
	assert_non_null(file);
	int fd = dup(fileno(file));
	fclose(file);
	assert_int_equal(ftruncate(fd, FILE_SIZE), 0);
	nh_response_file(res, fd, FILE_SIZE, "application/octet-stream", NH_SLICE_EMPTY);
}

static nh_rc sink_begin(struct nh_request *req, struct nh_response *res, void **stream) { return NH_OK; }
static nh_rc sink_data(void *worker, void *stream, nh_slice bytes) { return NH_OK; }
static void sink_abort(void *worker, void *stream) { add(&aborted); }
static const struct nh_body_sink sink = {sink_begin, sink_data, sink_abort};

static void ws_open(struct nh_conn *conn, void *session)
{
	ids[get(&opened) % 16] = nh_conn_id_of(conn);
	add(&opened);
}

static void ws_message(struct nh_conn *conn, void *session, nh_ws_opcode opcode, nh_slice data) { nh_ws_send(conn, opcode, data); }
static void ws_close(struct nh_conn *conn, void *session, uint16_t code) { add(&closed_sessions); }
static void ws_drained(struct nh_conn *conn, void *session)
{
	__atomic_store_n(&unsent, (int)nh_ws_unsent(conn), __ATOMIC_SEQ_CST);
	add(&drained);
}
static const struct nh_ws_handler patient = {.max_message_bytes = 1000, .idle_ms = 7200000, .on_open = ws_open, .on_message = ws_message, .on_drained = ws_drained,
					     .on_close = ws_close};
static const struct nh_ws_handler hasty = {.max_message_bytes = 1000, .idle_ms = 300, .on_open = ws_open, .on_message = ws_message, .on_close = ws_close};
static void handle_patient(struct nh_request *req, struct nh_response *res) { nh_response_upgrade(res, &patient, NULL); }
static void handle_hasty(struct nh_request *req, struct nh_response *res) { nh_response_upgrade(res, &hasty, NULL); }

static const struct nh_route routes[] = {
	{.method = NH_HTTP_POST, .path = "/buffer", .handle = handle_ok, .body_max = 1000000},
	{.method = NH_HTTP_POST, .path = "/stream", .handle = handle_ok, .body = NH_BODY_STREAM, .body_max = 1000000, .sink = &sink},
	{.method = NH_HTTP_GET, .path = "/file", .handle = handle_file},
	{.method = NH_HTTP_GET, .path = "/patient", .handle = handle_patient},
	{.method = NH_HTTP_GET, .path = "/hasty", .handle = handle_hasty},
	{0},
};
static const struct nh_mount mounts[] = {{.routes = routes}, {0}};

static void start(struct nh_server_config config)
{
	struct nh_err err = NH_ERR_INIT;
	opened = closed_sessions = aborted = drained = unsent = 0;
	assert_int_equal(nh_pool_new(&(struct nh_pool_config){.threads = 2}, &pool, &err), NH_OK);
	listener = (struct nh_listener){.name = "plain", .address = "127.0.0.1", .mounts = mounts};
	config.pool = pool;
	config.listeners = &listener;
	config.listener_count = 1;
	assert_int_equal(nh_server_open(&config, &server, &err), NH_OK);
	assert_int_equal(nh_server_start(server, &err), NH_OK);
}

static void socket_open(struct client *c, const char *path)
{
	NH_AUTO_BUF struct nh_buf headers = NH_BUF_INIT, body = NH_BUF_INIT, request = NH_BUF_INIT;
	int before = get(&opened);
	assert_int_equal(client_dial(c, listener.port, NULL), NH_OK);
	nh_buf_printf(&request, "GET %s HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
				"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n", path);
	client_send(c, nh_buf_slice(&request));
	assert_int_equal(client_response(c, true, &headers, &body), 101);
	WAIT_UNTIL(get(&opened) > before);
}

/* ---- minimum rates -------------------------------------------------------------------------------------------------------- */

/* One byte at a time, each of them activity, none of them enough. */
static void test_a_dripping_body_ends(void **state)
{
	static const char *const paths[] = {"/buffer", "/stream"};
	start((struct nh_server_config){.body_ms = 300, .body_rate = 100000});
	for (size_t i = 0; i < NH_ARRAY_LEN(paths); i++) {
		NH_AUTO_BUF struct nh_buf head = NH_BUF_INIT;
		struct client c;
		assert_int_equal(client_dial(&c, listener.port, NULL), NH_OK);
		nh_buf_printf(&head, "POST %s HTTP/1.1\r\nHost: x\r\nContent-Length: 900000\r\n\r\n", paths[i]);
		client_send(&c, nh_buf_slice(&head));
		struct pollfd p = {.fd = c.fd, .events = POLLIN};
		while (poll(&p, 1, 10) == 0)
			client_send(&c, NH_LIT("a"));
		assert_false(client_more(&c));
		assert_int_equal(stats().slow_ended, i + 1);
		client_close(&c);
	}
	WAIT_UNTIL(get(&aborted) == 1);
	end();
}

/* Above the rate a body may take many windows. */
static void test_a_steady_body_may_take_its_time(void **state)
{
	enum { PIECE = 2000, PIECES = 60 };
	static const uint8_t piece[PIECE];
	NH_AUTO_BUF struct nh_buf headers = NH_BUF_INIT, body = NH_BUF_INIT, head = NH_BUF_INIT;
	struct client c;
	start((struct nh_server_config){.body_ms = 1000, .body_rate = 1});
	assert_int_equal(client_dial(&c, listener.port, NULL), NH_OK);
	nh_buf_printf(&head, "POST /stream HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n", PIECE * PIECES);
	client_send(&c, nh_buf_slice(&head));
	struct pollfd p = {.fd = c.fd, .events = POLLIN};
	for (size_t i = 0; i < PIECES; i++) {
		assert_int_equal(poll(&p, 1, 40), 0);
		client_send(&c, nh_slice_of(piece, PIECE));
	}
	assert_int_equal(client_response(&c, false, &headers, &body), 200);
	assert_int_equal(stats().slow_ended, 0);
	client_close(&c);
	end();
}

/* A download that is not read, beside one that is. */
static void test_a_reader_that_does_not_read_is_ended(void **state)
{
	struct client idle, busy;
	start((struct nh_server_config){.body_ms = 300, .body_rate = 1000});
	assert_int_equal(client_dial(&idle, listener.port, NULL), NH_OK);
	assert_int_equal(client_dial(&busy, listener.port, NULL), NH_OK);
	client_send(&idle, NH_LIT("GET /file HTTP/1.1\r\nHost: x\r\n\r\n"));
	client_send(&busy, NH_LIT("GET /file HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"));
	size_t got = 0;
	while (client_more(&busy)) {
		got += busy.in.len;
		nh_buf_clear(&busy.in);
	}
	assert_true(got > FILE_SIZE);
	WAIT_UNTIL(stats().slow_ended == 1);
	WAIT_UNTIL(stats().connections == 0);
	client_close(&idle);
	client_close(&busy);
	end();
}

/* ---- one message for many ------------------------------------------------------------------------------------------------- */

/* A sanitizer has an allocator, and a count, of its own. */
extern size_t __sanitizer_get_current_allocated_bytes(void) __attribute__((weak));

static size_t heap_bytes(void)
{
	struct mallinfo2 m = mallinfo2();
	return __sanitizer_get_current_allocated_bytes ? __sanitizer_get_current_allocated_bytes() : m.uordblks + m.hblkhd;
}

struct broadcast {
	struct nh_ws_frame *frame;
	int left; /* atomic */
	int times;
};

static void send_broadcast(struct nh_conn *conn, void *arg)
{
	struct broadcast *b = arg;
	for (int i = 0; conn && i < b->times; i++)
		nh_ws_send_frame(conn, b->frame);
	__atomic_sub_fetch(&b->left, 1, __ATOMIC_SEQ_CST);
}

/*
 * Eight sockets that do not read get the same megabytes again and again: memory grows by references, not by copies. Then each reads all of it, byte for
 * byte, and what the sender let go of meanwhile is released.
 */
static void test_full_sockets_share_the_bytes(void **state)
{
	enum { SOCKETS = 8, TIMES = 12, SIZE = 2 << 20, HEADER = 10 };
	struct client c[SOCKETS];
	struct broadcast b = {.left = SOCKETS, .times = TIMES};
	uint8_t *data = malloc(SIZE);
	assert_non_null(data);
	for (size_t i = 0; i < SIZE; i++)
		data[i] = (uint8_t)(i * 2654435761u >> 13);
	start((struct nh_server_config){.output_max = 64u << 20});
	for (size_t i = 0; i < SOCKETS; i++)
		socket_open(&c[i], "/patient");
	b.frame = nh_ws_frame_new(NH_WS_BINARY, nh_slice_of(data, SIZE));
	size_t before = heap_bytes();
	for (size_t i = 0; i < SOCKETS; i++)
		assert_int_equal(nh_server_post(server, ids[i], send_broadcast, &b), NH_OK);
	WAIT_UNTIL(get(&b.left) == 0);
	size_t after = heap_bytes();
	assert_true(before > SIZE);
	assert_true(after < before + SIZE); /* copies would be more than a hundred times as much, less what the kernel took */
	nh_ws_frame_unref(b.frame);
	for (size_t i = 0; i < SOCKETS; i++) {
		for (size_t k = 0; k < TIMES; k++) {
			while (c[i].in.len < HEADER + SIZE)
				assert_true(client_more(&c[i]));
			assert_memory_equal(c[i].in.ptr + HEADER, data, SIZE);
			nh_buf_consume(&c[i].in, HEADER + SIZE);
		}
		ws_frame(&c[i], NH_WS_TEXT, NH_LIT("still here"));
		ws_expect(&c[i], NH_WS_TEXT, "still here");
		client_close(&c[i]);
	}
	free(data);
	end();
}

/* Own bytes queued between shared ones come out in order; over the cap the connection ends and everything is released (the sanitizer sees to it). */
static void mixed(struct nh_conn *conn, void *arg)
{
	struct broadcast *b = arg;
	for (int i = 0; i < b->times; i++) {
		nh_ws_send(conn, NH_WS_TEXT, NH_LIT("own"));
		nh_ws_send_frame(conn, b->frame);
	}
	__atomic_store_n(&unsent, (int)nh_ws_unsent(conn), __ATOMIC_SEQ_CST);
	__atomic_sub_fetch(&b->left, 1, __ATOMIC_SEQ_CST);
}

static void test_own_and_shared_bytes_keep_their_order(void **state)
{
	enum { TIMES = 200, SIZE = 100000, HEADER = 10 };
	static uint8_t data[SIZE];
	struct client c;
	struct broadcast b = {.left = 1, .times = TIMES};
	for (size_t i = 0; i < SIZE; i++)
		data[i] = (uint8_t)(i * 7 + i / 251);
	start((struct nh_server_config){.output_max = 64u << 20});
	socket_open(&c, "/patient");
	b.frame = nh_ws_frame_new(NH_WS_BINARY, nh_slice_of(data, SIZE));
	assert_int_equal(nh_server_post(server, ids[0], mixed, &b), NH_OK);
	WAIT_UNTIL(get(&b.left) == 0);
	nh_ws_frame_unref(b.frame);
	assert_true(get(&unsent) > SIZE);
	assert_int_equal(get(&drained), 0);
	for (size_t k = 0; k < TIMES; k++) {
		ws_expect(&c, NH_WS_TEXT, "own");
		while (c.in.len < HEADER + SIZE)
			assert_true(client_more(&c));
		assert_memory_equal(c.in.ptr + HEADER, data, SIZE);
		nh_buf_consume(&c.in, HEADER + SIZE);
	}
	WAIT_UNTIL(get(&drained) == 1);
	assert_int_equal(get(&unsent), 0);
	client_close(&c);
	end();
}

static void test_who_never_reads_is_ended_and_released(void **state)
{
	enum { SIZE = 100000 };
	static const uint8_t data[SIZE];
	struct client c, other;
	struct broadcast b = {.left = 1, .times = 1000}; /* far over the cap and the kernel's buffers */
	start((struct nh_server_config){.output_max = 1000000});
	socket_open(&c, "/patient");
	socket_open(&other, "/patient");
	b.frame = nh_ws_frame_new(NH_WS_BINARY, nh_slice_of(data, SIZE));
	assert_int_equal(nh_server_post(server, ids[0], send_broadcast, &b), NH_OK);
	WAIT_UNTIL(get(&closed_sessions) == 1);
	assert_int_equal(stats().unread_ended, 1);
	WAIT_UNTIL(get(&b.left) == 0);
	nh_ws_frame_unref(b.frame);
	ws_frame(&other, NH_WS_TEXT, NH_LIT("still here"));
	ws_expect(&other, NH_WS_TEXT, "still here");
	client_close(&c);
	client_close(&other);
	end();
}

/* ---- idle times ----------------------------------------------------------------------------------------------------------- */

/* The hasty one behind a patient one, in whichever order they came, ends in its own time. */
static void test_idle_times_do_not_mix(void **state)
{
	struct client first, hasty_one, last;
	start((struct nh_server_config){0});
	socket_open(&first, "/patient");
	socket_open(&hasty_one, "/hasty");
	socket_open(&last, "/patient");
	ws_expect(&hasty_one, NH_WS_CLOSE, "\x03\xea" "idle");
	assert_false(client_more(&hasty_one));
	client_close(&hasty_one);
	ws_frame(&first, NH_WS_TEXT, NH_LIT("here"));
	ws_expect(&first, NH_WS_TEXT, "here");
	ws_frame(&last, NH_WS_TEXT, NH_LIT("here"));
	ws_expect(&last, NH_WS_TEXT, "here");
	/* And a drain finds them all, whatever their list. */
	socket_open(&hasty_one, "/hasty");
	nh_server_drain(server, 100);
	nh_pool_free(pool);
	nh_server_free(server);
	struct client *const all[] = {&first, &last, &hasty_one};
	for (size_t i = 0; i < NH_ARRAY_LEN(all); i++) {
		ws_expect(all[i], NH_WS_CLOSE, "\x03\xf4" "restarting");
		client_close(all[i]);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_a_dripping_body_ends),
		cmocka_unit_test(test_a_steady_body_may_take_its_time),
		cmocka_unit_test(test_a_reader_that_does_not_read_is_ended),
		cmocka_unit_test(test_full_sockets_share_the_bytes),
		cmocka_unit_test(test_own_and_shared_bytes_keep_their_order),
		cmocka_unit_test(test_who_never_reads_is_ended_and_released),
		cmocka_unit_test(test_idle_times_do_not_mix),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
