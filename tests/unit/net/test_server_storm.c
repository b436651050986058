/*
 * Admission under storms: silent floods, stalled handshakes, refusals, the order of eviction, what a drain does with those who have not begun. Real sockets,
 * real TLS; what is asserted is who comes in and who is closed, never how long it takes. A time-out that a test needs to pass is short, all others
 * are hours, so that only the rule in question can have acted.
 */
#include <pthread.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <semaphore.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>

#include <cmocka.h>

#include "test_peer.h"
#include "test_pki.h"
#include "test_serving.h"

#define NEVER_MS 7200000 /* longer than any test */

static struct test_pki pki;
static struct nh_tls *server_tls, *client_tls;
static struct nh_listener listeners[2];

#define PLAIN listeners[0].port
#define TLS listeners[1].port

/* ---- the application --------------------------------------------------------------------------------------------------- */

static int hold_verification; /* atomic */
static sem_t verifying, gate;

static void wait_sem(sem_t *s)
{
	while (sem_wait(s) != 0)
		continue;
}

static nh_tls_verdict verify(void *app, nh_slice der, const uint8_t fingerprint[NH_TLS_FINGERPRINT_LEN], int64_t *tag)
{
	return __atomic_load_n(&hold_verification, __ATOMIC_SEQ_CST) ? NH_TLS_PENDING : NH_TLS_ACCEPT;
}

static nh_tls_verdict verify_slow(void *worker, void *app, nh_slice der, const uint8_t fingerprint[NH_TLS_FINGERPRINT_LEN], int64_t *tag)
{
	sem_post(&verifying);
	wait_sem(&gate);
	return NH_TLS_ACCEPT;
}

static void handle_ok(struct nh_request *req, struct nh_response *res) { nh_response_send(res, 200, "text/plain", NH_LIT("ok")); }
static void ws_open(struct nh_conn *conn, void *session) { nh_ws_send(conn, NH_WS_TEXT, NH_LIT("hello")); }
static void ws_message(struct nh_conn *conn, void *session, nh_ws_opcode opcode, nh_slice data) { nh_ws_send(conn, opcode, data); }
static void ws_close(struct nh_conn *conn, void *session, uint16_t code) {}
static const struct nh_ws_handler echo = {.max_message_bytes = 1000, .on_open = ws_open, .on_message = ws_message, .on_close = ws_close};
static void handle_socket(struct nh_request *req, struct nh_response *res) { nh_response_upgrade(res, &echo, NULL); }

static const struct nh_route routes[] = {
	{.method = NH_HTTP_GET, .path = "/ok", .handle = handle_ok, .where = NH_ON_LOOP},
	{.method = NH_HTTP_GET, .path = "/socket", .handle = handle_socket, .where = NH_ON_LOOP},
	{0},
};
static const struct nh_mount mounts[] = {{.routes = routes}, {0}};

static int group_set_up(void **state)
{
	NH_AUTO_BUF struct nh_buf cert = NH_BUF_INIT, key = NH_BUF_INIT, client_cert = NH_BUF_INIT, client_key = NH_BUF_INIT;
	nh_fd_limit_raise();
	test_pki_init(&pki);
	test_pki_issue(&pki, "localhost", "localhost", &cert, &key, NULL);
	test_pki_issue(&pki, "device-1", NULL, &client_cert, &client_key, NULL);
	assert_int_equal(nh_tls_server_new(&(struct nh_tls_server_config){.cert_pem = nh_buf_slice(&cert), .key_pem = nh_buf_slice(&key), .client_auth = NH_TLS_CLIENT_OPTIONAL,
									  .verify = nh_server_verify}, &server_tls, NULL), NH_OK);
	assert_int_equal(nh_tls_client_new(&(struct nh_tls_client_config){.ca_pem = nh_buf_slice(&pki.pem), .cert_pem = nh_buf_slice(&client_cert),
									  .key_pem = nh_buf_slice(&client_key)}, &client_tls, NULL), NH_OK);
	sem_init(&verifying, 0, 0);
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

static size_t listener_reserve; /* of the plain one */

static void start(struct nh_server_config config, uint64_t connect_rate)
{
	struct nh_err err = NH_ERR_INIT;
	assert_int_equal(nh_pool_new(&(struct nh_pool_config){.threads = 2}, &pool, &err), NH_OK);
	listeners[0] = (struct nh_listener){.name = "plain", .address = "127.0.0.1", .mounts = mounts, .reserve = listener_reserve};
	listeners[1] = (struct nh_listener){.name = "tls", .address = "127.0.0.1", .mounts = mounts, .tls = server_tls, .verify = verify, .verify_slow = verify_slow,
					    .connect_rate = connect_rate};
	config.pool = pool;
	config.listeners = listeners;
	config.listener_count = 2;
	if (!config.handshake_ms)
		config.handshake_ms = NEVER_MS;
	if (!config.head_ms)
		config.head_ms = NEVER_MS;
	assert_int_equal(nh_server_open(&config, &server, &err), NH_OK);
	assert_int_equal(nh_server_start(server, &err), NH_OK);
}

/* ---- clients ------------------------------------------------------------------------------------------------------------ */

static void handshake(struct client *c, int fd)
{
	*c = (struct client){.fd = fd};
	assert_int_equal(nh_tls_session_new(client_tls, fd, "localhost", NULL, &c->tls, NULL), NH_OK);
	nh_rc rc;
	while ((rc = nh_tls_handshake(c->tls, NULL)) == NH_EAGAIN)
		wait_fd(fd, nh_tls_wants_write(c->tls));
	assert_int_equal(rc, NH_OK);
}

/* The whole way of a healthy device: handshake, upgrade, a message there and back. */
static void healthy(struct client *c)
{
	NH_AUTO_BUF struct nh_buf headers = NH_BUF_INIT, body = NH_BUF_INIT;
	handshake(c, dial(TLS));
	client_send(c, NH_LIT("GET /socket HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
			      "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"));
	assert_int_equal(client_response(c, true, &headers, &body), 101);
	ws_expect(c, NH_WS_TEXT, "hello");
	ws_frame(c, NH_WS_TEXT, NH_LIT("there"));
	ws_expect(c, NH_WS_TEXT, "there");
}

static void still_healthy(struct client *c)
{
	ws_frame(c, NH_WS_TEXT, NH_LIT("and back"));
	ws_expect(c, NH_WS_TEXT, "and back");
}

/*
 * Sends its hello and nothing after it, however fast the server answers: the session first speaks to a socket pair, whose end is then exchanged for the
 * connection.
 */
static void stall(struct client *c)
{
	int pair[2], tcp = c->fd;
	uint8_t hello[4096];
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, pair), 0);
	assert_int_equal(nh_tls_session_new(client_tls, pair[0], "localhost", NULL, &c->tls, NULL), NH_OK);
	assert_int_equal(nh_tls_handshake(c->tls, NULL), NH_EAGAIN);
	ssize_t n = recv(pair[1], hello, sizeof hello, 0);
	assert_true(n > 0);
	assert_int_equal(send(tcp, hello, (size_t)n, MSG_NOSIGNAL), n);
	assert_int_equal(dup2(tcp, pair[0]), pair[0]);
	close(tcp);
	close(pair[1]);
	c->fd = pair[0];
}

/* Goes on with a handshake that was left. */
static nh_rc go_on(struct client *c)
{
	nh_rc rc;
	while ((rc = nh_tls_handshake(c->tls, NULL)) == NH_EAGAIN)
		wait_fd(c->fd, nh_tls_wants_write(c->tls));
	return rc;
}

/* Ended by the server: a reset or an end; an alert or a flight may lie before it. */
static bool ended(int fd)
{
	struct pollfd p = {.fd = fd, .events = POLLIN};
	uint8_t bytes[4096];
	while (poll(&p, 1, 0) == 1) {
		ssize_t n = recv(fd, bytes, sizeof bytes, 0);
		if (n == 0 || (n < 0 && errno == ECONNRESET))
			return true;
	}
	return false;
}

static void wait_ended(int fd)
{
	uint8_t bytes[4096];
	ssize_t n;
	do
		wait_fd(fd, false);
	while ((n = recv(fd, bytes, sizeof bytes, 0)) > 0 || (n < 0 && errno == EAGAIN));
}

/* ---- silence ------------------------------------------------------------------------------------------------------------- */

/* Four times as many silent connections as there are places; the healthy come in among them and stay. Memory of the flood: the newest only. */
static void silent_flood(bool tls)
{
	enum { PLACES = 100, FLOOD = 400 };
	struct client first, then, last;
	int fds[FLOOD];
	start((struct nh_server_config){.max_connections = PLACES, .max_handshakes = 4}, 0);
	healthy(&first);
	for (size_t i = 0; i < FLOOD; i++) {
		fds[i] = dial(tls ? TLS : PLAIN);
		if (!tls)
			WAIT_UNTIL(stats().accepted > i + 1); /* the order of two listeners is not that of dialling */
		if (i == FLOOD / 2)
			healthy(&then);
	}
	/* Counted as accepted a moment before it has its place. */
	WAIT_UNTIL(stats().accepted == FLOOD + 2 && stats().silent == PLACES - 2);
	assert_int_equal(stats().silent_evicted, FLOOD + 2 - PLACES);
	assert_int_equal(stats().refused, 0);
	healthy(&last);
	/* In order of arrival: the newest stay. */
	for (size_t i = 0; i < FLOOD - PLACES; i++)
		wait_ended(fds[i]);
	for (size_t i = FLOOD - PLACES + 10; i < FLOOD; i++)
		assert_false(ended(fds[i]));
	still_healthy(&first);
	still_healthy(&then);
	still_healthy(&last);
	for (size_t i = 0; i < FLOOD; i++)
		close(fds[i]);
	WAIT_UNTIL(stats().silent == 0);
	assert_true(stats().abandoned > 0);
	client_close(&first);
	client_close(&then);
	client_close(&last);
	end();
}

static void test_a_silent_flood_is_closed_oldest_first(void **state)
{
	silent_flood(true);
	silent_flood(false);
}

/* No place is given up by those who are in: newcomers are refused where nobody is silent. */
static void test_the_established_are_not_touched(void **state)
{
	struct client in[3];
	start((struct nh_server_config){.max_connections = 3}, 0);
	for (size_t i = 0; i < 3; i++)
		healthy(&in[i]);
	int fd = dial(TLS);
	wait_ended(fd);
	assert_int_equal(stats().refused, 1);
	assert_int_equal(stats().refused_full, 1);
	close(fd);
	for (size_t i = 0; i < 3; i++) {
		still_healthy(&in[i]);
		client_close(&in[i]);
	}
	end();
}

/* Full of those who have begun: nobody is evicted, devices are refused, and the listener with a reserve is still there for whoever looks. */
static void test_a_full_server_can_be_looked_at(void **state)
{
	enum { PLACES = 10 };
	int fds[PLACES], more;
	struct client c;
	NH_AUTO_BUF struct nh_buf headers = NH_BUF_INIT, body = NH_BUF_INIT;
	listener_reserve = 2;
	start((struct nh_server_config){.max_connections = PLACES}, 0);
	listener_reserve = 0;
	for (size_t i = 0; i < PLACES; i++) {
		fds[i] = dial(TLS);
		assert_int_equal(send(fds[i], "\x16\x03\x01", 3, MSG_NOSIGNAL), 3); /* the beginning of a hello */
	}
	WAIT_UNTIL(stats().handshaking + stats().stalled + stats().parked == PLACES);
	more = dial(TLS);
	wait_ended(more);
	assert_int_equal(stats().refused_full, 1);
	c = (struct client){.fd = dial(PLAIN)};
	client_send(&c, NH_LIT("GET /ok HTTP/1.1\r\nHost: x\r\n\r\n"));
	assert_int_equal(client_response(&c, true, &headers, &body), 200);
	assert_int_equal(stats().refused, 1);
	client_close(&c);
	close(more);
	for (size_t i = 0; i < PLACES; i++)
		close(fds[i]);
	end();
}

static void test_silence_ends_after_its_time(void **state)
{
	start((struct nh_server_config){.handshake_ms = 100, .head_ms = 100}, 0);
	int fds[] = {dial(TLS), dial(PLAIN)};
	wait_ended(fds[0]);
	wait_ended(fds[1]);
	assert_int_equal(stats().silent_expired, 2);
	close(fds[0]);
	close(fds[1]);
	end();
}

/* The end of the handshake and what follows it in one piece: records that were read ahead are answered, each in turn, without another word from the peer. */
static void test_requests_that_come_with_the_handshake(void **state)
{
	int on = 1, off = 0;
	struct client c;
	start((struct nh_server_config){0}, 0);
	for (unsigned requests = 1; requests <= 5; requests++) {
		c = (struct client){.fd = dial(TLS)};
		assert_int_equal(nh_tls_session_new(client_tls, c.fd, "localhost", NULL, &c.tls, NULL), NH_OK);
		assert_int_equal(setsockopt(c.fd, IPPROTO_TCP, TCP_CORK, &on, sizeof on), 0); /* what lies there goes out after 200 ms, or with all that follows */
		assert_int_equal(go_on(&c), NH_OK);
		for (unsigned i = 0; i < requests; i++)
			client_send(&c, NH_LIT("GET /ok HTTP/1.1\r\nHost: x\r\n\r\n"));
		assert_int_equal(setsockopt(c.fd, IPPROTO_TCP, TCP_CORK, &off, sizeof off), 0);
		for (unsigned i = 0; i < requests; i++) {
			NH_AUTO_BUF struct nh_buf headers = NH_BUF_INIT, body = NH_BUF_INIT;
			assert_int_equal(client_response(&c, false, &headers, &body), 200);
		}
		client_close(&c);
	}
	end();
}

/* ---- stalled handshakes --------------------------------------------------------------------------------------------------- */

/* Twenty times as many stalled handshakes as slots, none of which ever times out: the healthy get in behind them, and so do the stalled ones as they wake up. */
static void test_stalled_handshakes_keep_nobody_out(void **state)
{
	enum { STALLED = 80 };
	struct client stalled[STALLED], c[3];
	start((struct nh_server_config){.max_handshakes = 4}, 0);
	for (size_t i = 0; i < STALLED; i++) {
		stalled[i] = (struct client){.fd = dial(TLS)};
		stall(&stalled[i]);
	}
	for (size_t i = 0; i < 3; i++)
		healthy(&c[i]);
	WAIT_UNTIL(stats().handshaking + stats().stalled == STALLED);
	assert_true(stats().handshaking <= 4);
	assert_int_equal(stats().parked, 0);
	assert_int_equal(stats().stalled_ended, 0);
	for (size_t i = 0; i < STALLED; i++) {
		assert_int_equal(go_on(&stalled[i]), NH_OK);
		client_close(&stalled[i]);
	}
	assert_int_equal(stats().handshake_failures, 0);
	WAIT_UNTIL(stats().handshaking + stats().stalled == 0);
	for (size_t i = 0; i < 3; i++) {
		still_healthy(&c[i]);
		client_close(&c[i]);
	}
	end();
}

/* More than the slots and the stalled places hold together: the oldest make way, the newest and the healthy come through. */
static void test_too_many_stalled_are_closed_oldest_first(void **state)
{
	enum { SLOTS = 2, PLACES = 10, STALLED = 30 };
	struct client stalled[STALLED], c;
	start((struct nh_server_config){.max_handshakes = SLOTS, .max_stalled = PLACES}, 0);
	for (size_t i = 0; i < STALLED; i++) {
		stalled[i] = (struct client){.fd = dial(TLS)};
		stall(&stalled[i]);
		WAIT_UNTIL(stats().accepted == i + 1 && stats().silent == 0);
	}
	healthy(&c);
	assert_true(stats().stalled_ended >= STALLED - SLOTS - PLACES);
	for (size_t i = 0; i < STALLED - SLOTS - PLACES; i++)
		wait_ended(stalled[i].fd);
	assert_int_equal(go_on(&stalled[STALLED - 1]), NH_OK);
	still_healthy(&c);
	client_close(&c);
	for (size_t i = 0; i < STALLED; i++)
		client_close(&stalled[i]);
	end();
}

/* Half a hello is a stalled handshake like any other; it ends with the time for handshakes. */
static void test_a_dripping_hello_ends(void **state)
{
	start((struct nh_server_config){.max_handshakes = 1, .handshake_ms = 300}, 0);
	int fd = dial(TLS);
	struct pollfd p = {.fd = fd, .events = POLLIN};
	assert_int_equal(send(fd, "\x16\x03\x01\x02\x00", 5, MSG_NOSIGNAL), 5);
	while (poll(&p, 1, 20) == 0)
		NH_IGNORE(send(fd, "\x01", 1, MSG_NOSIGNAL));
	wait_ended(fd);
	assert_int_equal(stats().handshakes, 0);
	close(fd);
	end();
}

/* ---- refusals ------------------------------------------------------------------------------------------------------------- */

/* One slot, held by a certificate that a worker looks at: not its peer's fault, so nobody takes it away. */
static void hold_the_slot(struct client *c)
{
	__atomic_store_n(&hold_verification, 1, __ATOMIC_SEQ_CST);
	*c = (struct client){.fd = dial(TLS)};
	assert_int_equal(nh_tls_session_new(client_tls, c->fd, "localhost", NULL, &c->tls, NULL), NH_OK);
	nh_rc rc;
	while ((rc = nh_tls_handshake(c->tls, NULL)) == NH_EAGAIN)
		wait_fd(c->fd, nh_tls_wants_write(c->tls));
	assert_int_equal(rc, NH_OK); /* TLS 1.3: the client is done before the server has decided */
	wait_sem(&verifying);
	__atomic_store_n(&hold_verification, 0, __ATOMIC_SEQ_CST);
}

static void test_more_than_can_be_done_is_refused(void **state)
{
	enum { QUEUE = 5, MORE = 7 };
	struct client holder, waiting[QUEUE], late;
	start((struct nh_server_config){.max_handshakes = 1, .max_queued = QUEUE}, 0);
	assert_int_equal(stats().queue_max, QUEUE);
	hold_the_slot(&holder);
	for (size_t i = 0; i < QUEUE; i++) {
		waiting[i] = (struct client){.fd = dial(TLS)};
		stall(&waiting[i]);
		WAIT_UNTIL(stats().parked == i + 1);
	}
	for (size_t i = 0; i < MORE; i++) {
		int fd = dial(TLS);
		uint8_t byte;
		wait_fd(fd, false);
		assert_int_equal(recv(fd, &byte, 1, 0), -1); /* not one byte, and nothing left in the kernel */
		assert_int_equal(errno, ECONNRESET);
		close(fd);
	}
	assert_int_equal(stats().refused_capacity, MORE);
	assert_int_equal(stats().refused, MORE);
	assert_int_equal(stats().parked, QUEUE);
	/* Plain connections do not wait for handshakes. */
	struct client plain;
	NH_AUTO_BUF struct nh_buf headers = NH_BUF_INIT, body = NH_BUF_INIT;
	assert_int_equal(client_dial(&plain, PLAIN, NULL), NH_OK);
	client_send(&plain, NH_LIT("GET /ok HTTP/1.1\r\nHost: x\r\n\r\n"));
	assert_int_equal(client_response(&plain, false, &headers, &body), 200);
	client_close(&plain);
	sem_post(&gate);
	for (size_t i = 0; i < QUEUE; i++) {
		assert_int_equal(go_on(&waiting[i]), NH_OK);
		client_close(&waiting[i]);
	}
	healthy(&late);
	client_close(&late);
	client_close(&holder);
	end();
}

/* The default: what can be finished in three quarters of the handshake's time, from the measured cost. */
static void test_the_queue_is_as_long_as_the_machine_is_fast(void **state)
{
	enum { HANDSHAKE_MS = 60000 };
	struct client c;
	start((struct nh_server_config){.handshake_ms = HANDSHAKE_MS}, 0);
	assert_true(stats().queue_max > 0);
	assert_int_equal(stats().handshake_cost_ns, 0);
	for (size_t i = 0; i < 3; i++) {
		handshake(&c, dial(TLS));
		WAIT_UNTIL(stats().handshakes == i + 1);
		client_close(&c);
	}
	uint64_t cost = stats().handshake_cost_ns;
	assert_true(cost > 1000); /* no machine signs in a microsecond */
	uint64_t places = HANDSHAKE_MS * UINT64_C(1000000) * 3 / 4 / cost;
	WAIT_UNTIL(stats().queue_max == (places > 96 ? places : 96));
	end();
}

static void test_the_operators_rate_comes_first(void **state)
{
	enum { COUNT = 60 };
	int fds[COUNT];
	size_t refused = 0;
	start((struct nh_server_config){0}, 5);
	for (size_t i = 0; i < COUNT; i++)
		fds[i] = dial(TLS);
	WAIT_UNTIL(stats().accepted == COUNT);
	for (size_t i = 0; i < COUNT; i++) {
		refused += ended(fds[i]);
		close(fds[i]);
	}
	assert_true(refused > 0 && refused <= COUNT - 5);
	assert_int_equal(stats().refused_rate, refused);
	assert_int_equal(stats().refused, refused);
	end();
}

/* Who gives up while waiting costs no handshake. */
static void test_those_who_left_the_queue_cost_nothing(void **state)
{
	enum { LEFT = 20 };
	struct client holder, c[LEFT], late;
	start((struct nh_server_config){.max_handshakes = 1}, 0);
	hold_the_slot(&holder);
	for (size_t i = 0; i < LEFT; i++) {
		c[i] = (struct client){.fd = dial(TLS)};
		stall(&c[i]);
	}
	WAIT_UNTIL(stats().parked == LEFT);
	for (size_t i = 0; i < LEFT; i++)
		client_close(&c[i]);
	sem_post(&gate);
	healthy(&late);
	assert_int_equal(stats().abandoned, LEFT);
	assert_int_equal(stats().handshakes, 2);
	assert_int_equal(stats().handshake_failures, 0);
	client_close(&late);
	client_close(&holder);
	end();
}

/* ---- order ----------------------------------------------------------------------------------------------------------------- */

/* The queue is served in order of arrival: with one slot, each handshake that completes is the next one's turn. */
static void test_the_queue_is_served_in_order(void **state)
{
	enum { COUNT = 6 };
	struct client holder, c[COUNT];
	start((struct nh_server_config){.max_handshakes = 1, .max_stalled = 1}, 0);
	hold_the_slot(&holder);
	for (size_t i = 0; i < COUNT; i++) {
		c[i] = (struct client){.fd = dial(TLS)};
		stall(&c[i]);
		WAIT_UNTIL(stats().parked == i + 1);
	}
	sem_post(&gate);
	for (size_t i = 0; i < COUNT; i++) {
		assert_int_equal(go_on(&c[i]), NH_OK);
		client_close(&c[i]);
	}
	client_close(&holder);
	end();
}

/* ---- descriptors ----------------------------------------------------------------------------------------------------------- */

static int fillers[256];
static size_t filler_count;
static struct rlimit usual;

/* From now on the process has no descriptor to give, except those that it closes. */
static void take_all_descriptors(void)
{
	int highest = 0;
	for (int fd = 0; fd < 1000; fd++)
		if (fcntl(fd, F_GETFD) >= 0)
			highest = fd;
	filler_count = 0;
	do
		fillers[filler_count] = dup(0);
	while (fillers[filler_count++] < highest);
	struct rlimit tight;
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &usual), 0);
	tight = usual;
	tight.rlim_cur = (rlim_t)fillers[filler_count - 1] + 1;
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &tight), 0);
}

static void give_descriptors_back(void)
{
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &usual), 0);
	while (filler_count)
		close(fillers[--filler_count]);
}

static void dial_with(int fd)
{
	struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons(TLS), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	assert_int_equal(connect(fd, (struct sockaddr *)&a, sizeof a), 0);
	assert_int_equal(fcntl(fd, F_SETFL, O_NONBLOCK), 0);
}

/* Newcomers come in at the cost of the silent, then of each other; who is in stays. */
static void test_without_descriptors_the_silent_make_room(void **state)
{
	enum { SILENT = 5, MORE = 7 };
	struct client in, c;
	int silent[SILENT], fds[MORE];
	start((struct nh_server_config){.max_connections = 1000}, 0);
	healthy(&in);
	for (size_t i = 0; i < SILENT; i++)
		silent[i] = dial(TLS);
	for (size_t i = 0; i < MORE; i++)
		fds[i] = socket(AF_INET, SOCK_STREAM, 0);
	WAIT_UNTIL(stats().silent == SILENT);
	take_all_descriptors();
	for (size_t i = 0; i < MORE; i++)
		dial_with(fds[i]);
	for (size_t i = 0; i < SILENT; i++)
		wait_ended(silent[i]);
	WAIT_UNTIL(stats().silent_evicted == MORE);
	handshake(&c, fds[MORE - 1]); /* the newest is among those that stayed */
	still_healthy(&in);
	give_descriptors_back();
	client_close(&c);
	client_close(&in);
	for (size_t i = 0; i < SILENT; i++)
		close(silent[i]);
	for (size_t i = 0; i + 1 < MORE; i++)
		close(fds[i]);
	end();
}

/* Where nobody is silent, accepting rests and looks again; it costs nobody the connection. */
static void test_accepting_rests_without_descriptors(void **state)
{
	struct client in, c;
	start((struct nh_server_config){.max_connections = 1000}, 0);
	healthy(&in);
	int fd = socket(AF_INET, SOCK_STREAM, 0);
	take_all_descriptors();
	dial_with(fd);
	WAIT_UNTIL(stats().accept_pauses >= 2);
	still_healthy(&in);
	assert_int_equal(stats().refused, 0);
	give_descriptors_back();
	handshake(&c, fd); /* the one that waited in the kernel */
	client_close(&c);
	client_close(&in);
	end();
}

/* ---- drain ----------------------------------------------------------------------------------------------------------------- */

/* Those who have not begun are closed at once, not at the drain's deadline: it is hours away, and one request keeps the drain from ending. */
static void *drain_main(void *arg)
{
	nh_server_drain(server, NEVER_MS);
	return NULL;
}

static void test_a_drain_closes_who_has_not_begun(void **state)
{
	struct client holder, queued[3];
	int silent[4];
	pthread_t thread;
	start((struct nh_server_config){.max_handshakes = 1}, 0);
	hold_the_slot(&holder);
	for (size_t i = 0; i < 4; i++)
		silent[i] = dial(i % 2 ? TLS : PLAIN);
	for (size_t i = 0; i < 3; i++) {
		queued[i] = (struct client){.fd = dial(TLS)};
		stall(&queued[i]);
	}
	WAIT_UNTIL(stats().parked == 3 && stats().silent == 4);
	assert_int_equal(pthread_create(&thread, NULL, drain_main, NULL), 0);
	for (size_t i = 0; i < 4; i++) {
		wait_ended(silent[i]);
		close(silent[i]);
	}
	for (size_t i = 0; i < 3; i++) {
		wait_ended(queued[i].fd);
		client_close(&queued[i]);
	}
	assert_int_equal(stats().silent + stats().parked, 0);
	sem_post(&gate);
	client_close(&holder);
	pthread_join(thread, NULL);
	nh_pool_free(pool);
	nh_server_free(server);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_a_silent_flood_is_closed_oldest_first),
		cmocka_unit_test(test_the_established_are_not_touched), cmocka_unit_test(test_a_full_server_can_be_looked_at),
		cmocka_unit_test(test_silence_ends_after_its_time),
		cmocka_unit_test(test_requests_that_come_with_the_handshake),
		cmocka_unit_test(test_stalled_handshakes_keep_nobody_out),
		cmocka_unit_test(test_too_many_stalled_are_closed_oldest_first),
		cmocka_unit_test(test_a_dripping_hello_ends),
		cmocka_unit_test(test_more_than_can_be_done_is_refused),
		cmocka_unit_test(test_the_queue_is_as_long_as_the_machine_is_fast),
		cmocka_unit_test(test_the_operators_rate_comes_first),
		cmocka_unit_test(test_those_who_left_the_queue_cost_nothing),
		cmocka_unit_test(test_the_queue_is_served_in_order),
		cmocka_unit_test(test_without_descriptors_the_silent_make_room),
		cmocka_unit_test(test_accepting_rests_without_descriptors),
		cmocka_unit_test(test_a_drain_closes_who_has_not_begun),
	};
	return cmocka_run_group_tests(tests, group_set_up, group_tear_down);
}
