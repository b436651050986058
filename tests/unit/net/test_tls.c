/*
 * TLS sessions, both sides in one thread over a socket pair: who is accepted, what is refused and with which code, suspended decisions, back-pressure,
 * goodbyes. What other implementations make of it is in test_server_peers.c.
 */
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "atecc/p256.h"
#include "base/arena.h"
#include "net/tls.h"
#include "test_pki.h"

static struct test_pki pki, stranger;
static struct nh_buf server_cert, server_key, device_cert, device_key;
static uint8_t device_fingerprint[NH_TLS_FINGERPRINT_LEN];

static int set_up(void **state)
{
	test_pki_init(&pki);
	test_pki_init(&stranger);
	test_pki_issue(&pki, "localhost", "localhost", &server_cert, &server_key, NULL);
	test_pki_issue(&pki, "device-1", NULL, &device_cert, &device_key, device_fingerprint);
	return 0;
}

static int tear_down(void **state)
{
	test_pki_fini(&pki);
	test_pki_fini(&stranger);
	nh_buf_fini(&server_cert);
	nh_buf_fini(&server_key);
	nh_buf_fini(&device_cert);
	nh_buf_fini(&device_key);
	return 0;
}

/* ---- a pair of sessions ------------------------------------------------------------------------------------------------ */

struct decision {
	nh_tls_verdict verdict;
	int asked;
};

static nh_tls_verdict on_verify(void *ctx, struct nh_tls_session *session, nh_slice leaf_der, const uint8_t fingerprint[NH_TLS_FINGERPRINT_LEN])
{
	struct decision *d = ctx;
	d->asked++;
	assert_memory_equal(fingerprint, device_fingerprint, NH_TLS_FINGERPRINT_LEN);
	assert_int_equal(leaf_der.ptr[0], 0x30);
	return d->verdict;
}

/* A key that is not the TLS library's. */
struct outside {
	struct nh_p256_key key;
	int signs;
	bool broken;
};

static nh_rc sign_outside(void *ctx, const uint8_t digest[32], uint8_t signature[64], struct nh_err *err)
{
	struct outside *o = ctx;
	o->signs++;
	if (o->broken)
		return NH_FAIL(err, NH_EPERM, "the chip said no");
	nh_p256_sign(&o->key, nh_slice_of(digest, 32), &nh_rng_system, signature);
	return NH_OK;
}

struct pair {
	int fds[2];
	struct nh_tls *server_tls, *client_tls;
	struct nh_tls_session *server, *client;
	struct decision decision;
	struct outside outside;
	struct nh_err server_err, client_err;
	nh_rc server_rc, client_rc;
};

struct setting {
	nh_tls_client_auth auth;
	nh_tls_verdict verdict;
	bool with_cert, tls12, tickets, strange_ca;
	bool outside, broken;
	const char *name; /* NULL = localhost */
};

static void pair_open(struct pair *p, struct setting s)
{
	*p = (struct pair){.decision = {.verdict = s.verdict}};
	struct nh_tls_server_config sc = {.cert_pem = nh_buf_slice(&server_cert), .key_pem = nh_buf_slice(&server_key), .client_auth = s.auth,
					  .verify = on_verify, .tls12_only = s.tls12, .tickets = s.tickets};
	struct nh_tls_client_config cc = {.ca_pem = nh_buf_slice(s.strange_ca ? &stranger.pem : &pki.pem)};
	if (s.with_cert) {
		cc.cert_pem = nh_buf_slice(&device_cert);
		cc.key_pem = nh_buf_slice(&device_key);
	}
	if (s.outside) {
		assert_int_equal(nh_p256_key_parse_pem(nh_buf_slice(&device_key), &p->outside.key, NULL), NH_OK);
		p->outside.broken = s.broken;
		cc.key_pem = NH_SLICE_EMPTY;
		cc.sign = sign_outside;
		cc.sign_ctx = &p->outside;
	}
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, p->fds), 0);
	assert_int_equal(nh_tls_server_new(&sc, &p->server_tls, NULL), NH_OK);
	assert_int_equal(nh_tls_client_new(&cc, &p->client_tls, NULL), NH_OK);
	assert_int_equal(nh_tls_session_new(p->server_tls, p->fds[0], NULL, &p->decision, &p->server, NULL), NH_OK);
	assert_int_equal(nh_tls_session_new(p->client_tls, p->fds[1], s.name ? s.name : "localhost", NULL, &p->client, NULL), NH_OK);
	p->server_rc = p->client_rc = NH_EAGAIN;
}

static void pair_close(struct pair *p)
{
	nh_tls_free(p->server);
	nh_tls_free(p->client);
	nh_tls_unref(p->server_tls);
	nh_tls_unref(p->client_tls);
	for (size_t i = 0; i < 2; i++)
		if (p->fds[i] >= 0)
			close(p->fds[i]);
}

/* Both sides until neither can go on by itself. */
static void pair_shake(struct pair *p)
{
	for (int turn = 0; turn < 20 && (p->server_rc == NH_EAGAIN || p->client_rc == NH_EAGAIN); turn++) {
		if (p->client_rc == NH_EAGAIN)
			p->client_rc = nh_tls_handshake(p->client, &p->client_err);
		if (p->server_rc == NH_EAGAIN)
			p->server_rc = nh_tls_handshake(p->server, &p->server_err);
	}
}

/* What a client that believes itself connected learns at its first read. */
static nh_rc client_read(struct pair *p)
{
	uint8_t byte;
	size_t got;
	return nh_tls_read(p->client, &byte, 1, &got);
}

/* ---- tests ------------------------------------------------------------------------------------------------------------- */

static void test_who_is_accepted(void **state)
{
	static const struct {
		struct setting setting;
		nh_rc server, client; /* client NH_OK where the server refuses: it has proved its key first, and is told afterwards */
		int asked;
	} rows[] = {
		{{.auth = NH_TLS_CLIENT_NONE}, NH_OK, NH_OK, 0},
		{{.auth = NH_TLS_CLIENT_NONE, .with_cert = true}, NH_OK, NH_OK, 0},
		{{.auth = NH_TLS_CLIENT_NONE, .tickets = true}, NH_OK, NH_OK, 0},
		{{.auth = NH_TLS_CLIENT_OPTIONAL}, NH_OK, NH_OK, 0},
		{{.auth = NH_TLS_CLIENT_OPTIONAL, .with_cert = true, .verdict = NH_TLS_ACCEPT}, NH_OK, NH_OK, 1},
		{{.auth = NH_TLS_CLIENT_OPTIONAL, .with_cert = true, .verdict = NH_TLS_ACCEPT, .tls12 = true}, NH_OK, NH_OK, 1},
		{{.auth = NH_TLS_CLIENT_REQUIRED, .with_cert = true, .verdict = NH_TLS_ACCEPT}, NH_OK, NH_OK, 1},
		{{.auth = NH_TLS_CLIENT_OPTIONAL, .with_cert = true, .verdict = NH_TLS_REFUSE}, NH_EAUTH, NH_OK, 1},
		{{.auth = NH_TLS_CLIENT_OPTIONAL, .with_cert = true, .verdict = NH_TLS_REFUSE, .tls12 = true}, NH_EAUTH, NH_OK, 1},
		{{.auth = NH_TLS_CLIENT_REQUIRED, .with_cert = true, .outside = true, .verdict = NH_TLS_ACCEPT}, NH_OK, NH_OK, 1},
		{{.auth = NH_TLS_CLIENT_REQUIRED, .with_cert = true, .outside = true, .verdict = NH_TLS_ACCEPT, .tls12 = true}, NH_OK, NH_OK, 1},
		{{.auth = NH_TLS_CLIENT_REQUIRED}, NH_EAUTH, NH_OK, 0},
		{{.auth = NH_TLS_CLIENT_NONE, .strange_ca = true}, NH_EAUTH, NH_EAUTH, 0},
		{{.auth = NH_TLS_CLIENT_NONE, .strange_ca = true, .tls12 = true}, NH_EAUTH, NH_EAUTH, 0},
		{{.auth = NH_TLS_CLIENT_NONE, .name = "example.org"}, NH_EAUTH, NH_EAUTH, 0},
		{{.auth = NH_TLS_CLIENT_NONE, .name = "example.org", .tls12 = true}, NH_EAUTH, NH_EAUTH, 0},
		{{.auth = NH_TLS_CLIENT_NONE, .name = "127.0.0.1"}, NH_EAUTH, NH_EAUTH, 0},
	};
	for (size_t i = 0; i < NH_ARRAY_LEN(rows); i++) {
		struct pair p;
		pair_open(&p, rows[i].setting);
		pair_shake(&p);
		if (p.server_rc != rows[i].server || p.client_rc != rows[i].client)
			fail_msg("row %zu: server %s (%s), client %s (%s)", i, nh_rc_name(p.server_rc), p.server_err.msg, nh_rc_name(p.client_rc), p.client_err.msg);
		assert_int_equal(p.decision.asked, rows[i].asked);
		assert_int_equal(p.outside.signs, rows[i].setting.outside ? 1 : 0);
		assert_int_equal(nh_tls_signs_outside(p.client_tls), rows[i].setting.outside);
		bool peer = rows[i].asked != 0;
		if (peer)
			assert_memory_equal(nh_tls_peer_fingerprint(p.server), device_fingerprint, NH_TLS_FINGERPRINT_LEN);
		else
			assert_null(nh_tls_peer_fingerprint(p.server));
		if (p.server_rc != NH_OK && p.client_rc == NH_OK)
			assert_int_equal(client_read(&p), NH_EFORMAT); /* the alert */
		pair_close(&p);
	}
}

static void test_a_key_outside_that_does_not_sign(void **state)
{
	for (unsigned tls12 = 0; tls12 < 2; tls12++) {
		struct pair p;
		pair_open(&p, (struct setting){.auth = NH_TLS_CLIENT_REQUIRED, .with_cert = true, .outside = true, .broken = true, .tls12 = tls12, .verdict = NH_TLS_ACCEPT});
		pair_shake(&p);
		assert_int_equal(p.client_rc, NH_EIO);
		assert_string_equal(p.client_err.msg, "TLS: the key did not sign: the chip said no");
		assert_int_not_equal(p.server_rc, NH_OK);
		pair_close(&p);
	}
}

static void test_a_suspended_decision(void **state)
{
	static const struct {
		nh_tls_verdict verdict;
		bool tls12;
		nh_rc server;
	} rows[] = {
		{NH_TLS_ACCEPT, false, NH_OK},
		{NH_TLS_ACCEPT, true, NH_OK},
		{NH_TLS_REFUSE, false, NH_EAUTH},
		{NH_TLS_REFUSE, true, NH_EAUTH},
	};
	for (size_t i = 0; i < NH_ARRAY_LEN(rows); i++) {
		struct pair p;
		pair_open(&p, (struct setting){.auth = NH_TLS_CLIENT_OPTIONAL, .with_cert = true, .verdict = NH_TLS_PENDING, .tls12 = rows[i].tls12});
		pair_shake(&p);
		assert_int_equal(p.server_rc, NH_EAGAIN);
		assert_true(nh_tls_is_pending(p.server));
		assert_false(nh_tls_wants_write(p.server));
		/* However often it is called, the question is asked once and the answer waited for... by whoever decides. */
		nh_tls_decide(p.server, rows[i].verdict);
		assert_false(nh_tls_is_pending(p.server));
		pair_shake(&p);
		assert_int_equal(p.server_rc, rows[i].server);
		if (rows[i].server == NH_OK)
			assert_int_equal(p.client_rc, NH_OK);
		else
			assert_int_equal(client_read(&p), NH_EFORMAT);
		pair_close(&p);
	}
}

/* More than a socket holds, in both directions: a write that stuck goes on with the same bytes. */
static void test_back_pressure(void **state)
{
	enum { SIZE = 2000000 };
	for (unsigned tls12 = 0; tls12 < 2; tls12++) {
		struct pair p;
		uint8_t in[9000];
		size_t sent = 0, seen = 0, stuck = 0;
		uint8_t *bytes = nh_xcalloc(1, SIZE);
		for (size_t i = 0; i < SIZE; i++)
			bytes[i] = (uint8_t)(i * 31 + i / 977);
		pair_open(&p, (struct setting){.auth = NH_TLS_CLIENT_NONE, .tls12 = tls12});
		pair_shake(&p);
		while (seen < SIZE) {
			while (sent < SIZE) {
				size_t put;
				nh_slice rest = nh_slice_of(bytes + sent, SIZE - sent);
				nh_rc rc = nh_tls_write(p.server, nh_slice_sub(rest, 0, NH_TLS_RECORD_MAX), &put);
				sent += put;
				if (rc == NH_EAGAIN) {
					assert_int_equal(put, 0);
					assert_true(nh_tls_wants_write(p.server));
					stuck++;
					break;
				}
				assert_int_equal(rc, NH_OK);
			}
			for (;;) {
				size_t got;
				nh_rc rc = nh_tls_read(p.client, in, sizeof in, &got);
				if (rc == NH_EAGAIN)
					break;
				assert_int_equal(rc, NH_OK);
				assert_memory_equal(in, bytes + seen, got);
				seen += got;
			}
		}
		assert_true(stuck > 0);
		pair_close(&p);
		free(bytes);
	}
}

/* The server's end on a socket that keeps what each call sent apart; the test carries bytes between it and the client's. */
static void test_a_flight_is_one_piece(void **state)
{
	for (unsigned tls12 = 0; tls12 < 2; tls12++) {
		struct pair p;
		int link[2];
		uint8_t bytes[8192];
		unsigned pieces = 0;
		pair_open(&p, (struct setting){.auth = NH_TLS_CLIENT_OPTIONAL, .with_cert = true, .verdict = NH_TLS_ACCEPT, .tls12 = tls12});
		assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK, 0, link), 0);
		nh_tls_free(p.server);
		assert_int_equal(nh_tls_session_new(p.server_tls, link[0], NULL, &p.decision, &p.server, NULL), NH_OK);
		for (unsigned turn = 0; turn < 20 && (p.server_rc == NH_EAGAIN || p.client_rc == NH_EAGAIN); turn++) {
			if (p.client_rc == NH_EAGAIN)
				p.client_rc = nh_tls_handshake(p.client, &p.client_err);
			ssize_t n = recv(p.fds[0], bytes, sizeof bytes, 0);
			if (n > 0)
				assert_int_equal(send(link[1], bytes, (size_t)n, 0), n);
			if (p.server_rc == NH_EAGAIN)
				p.server_rc = nh_tls_handshake(p.server, &p.server_err);
			for (; (n = recv(link[1], bytes, sizeof bytes, 0)) > 0; pieces++)
				assert_int_equal(send(p.fds[0], bytes, (size_t)n, 0), n);
		}
		assert_int_equal(p.server_rc, NH_OK);
		assert_int_equal(p.client_rc, NH_OK);
		assert_int_equal(pieces, tls12 ? 2 : 1);
		pair_close(&p);
		close(link[0]);
		close(link[1]);
	}
}

/* A full socket: the flight waits for room, and arrives whole. */
static void test_a_flight_that_does_not_fit(void **state)
{
	for (unsigned tls12 = 0; tls12 < 2; tls12++) {
		struct pair p;
		uint8_t junk[4096] = {0};
		size_t filled = 0, emptied = 0;
		pair_open(&p, (struct setting){.auth = NH_TLS_CLIENT_OPTIONAL, .with_cert = true, .verdict = NH_TLS_ACCEPT, .tls12 = tls12});
		p.client_rc = nh_tls_handshake(p.client, &p.client_err);
		for (ssize_t n; (n = send(p.fds[0], junk, sizeof junk, 0)) > 0;)
			filled += (size_t)n;
		for (unsigned i = 0; i < 3; i++) {
			assert_int_equal(nh_tls_handshake(p.server, &p.server_err), NH_EAGAIN);
			assert_true(nh_tls_wants_write(p.server));
		}
		while (emptied < filled) {
			ssize_t n = recv(p.fds[1], junk, filled - emptied < sizeof junk ? filled - emptied : sizeof junk, 0);
			assert_true(n > 0);
			emptied += (size_t)n;
		}
		pair_shake(&p);
		assert_int_equal(p.server_rc, NH_OK);
		assert_int_equal(p.client_rc, NH_OK);
		assert_false(nh_tls_wants_write(p.server));
		pair_close(&p);
	}
}

/* Nobody takes the flight any more: that is an end, and no fault of TLS. */
static void test_a_flight_to_nobody(void **state)
{
	struct pair p;
	pair_open(&p, (struct setting){.auth = NH_TLS_CLIENT_NONE});
	p.client_rc = nh_tls_handshake(p.client, &p.client_err);
	close(p.fds[1]);
	p.fds[1] = -1;
	assert_int_equal(nh_tls_handshake(p.server, &p.server_err), NH_ECLOSED);
	pair_close(&p);
}

/* What was read before there was a session, from nothing to the whole hello. */
static void test_fed_bytes(void **state)
{
	for (unsigned tls12 = 0; tls12 < 2; tls12++) {
		for (size_t step = 0; step <= 5; step++) {
			struct pair p;
			uint8_t hello[4096];
			pair_open(&p, (struct setting){.auth = NH_TLS_CLIENT_OPTIONAL, .with_cert = true, .verdict = NH_TLS_ACCEPT, .tls12 = tls12});
			p.client_rc = nh_tls_handshake(p.client, &p.client_err);
			ssize_t len = recv(p.fds[0], hello, sizeof hello, MSG_PEEK);
			assert_true(len > 10);
			ssize_t fed = step == 5 ? len : (ssize_t)step * 3;
			assert_int_equal(recv(p.fds[0], hello, (size_t)fed, 0), fed);
			nh_tls_feed(p.server, nh_slice_of(hello, (size_t)fed));
			pair_shake(&p);
			assert_int_equal(p.server_rc, NH_OK);
			assert_int_equal(p.client_rc, NH_OK);
			pair_close(&p);
		}
	}
}

static void test_pending_bytes_are_announced(void **state)
{
	struct pair p;
	uint8_t in[4];
	size_t n;
	pair_open(&p, (struct setting){.auth = NH_TLS_CLIENT_NONE});
	pair_shake(&p);
	assert_int_equal(nh_tls_write(p.client, NH_LIT("123456"), &n), NH_OK);
	assert_int_equal(n, 6);
	assert_int_equal(nh_tls_read(p.server, in, sizeof in, &n), NH_OK);
	assert_int_equal(n, 4);
	assert_true(nh_tls_has_pending(p.server));
	assert_int_equal(nh_tls_read(p.server, in, sizeof in, &n), NH_OK);
	assert_int_equal(n, 2);
	assert_false(nh_tls_has_pending(p.server));
	assert_int_equal(nh_tls_read(p.server, in, sizeof in, &n), NH_EAGAIN);
	pair_close(&p);
}

static void test_ends(void **state)
{
	struct pair p;
	uint8_t in[16];
	size_t n;
	/* A goodbye. */
	pair_open(&p, (struct setting){.auth = NH_TLS_CLIENT_NONE});
	pair_shake(&p);
	nh_tls_bye(p.server);
	assert_int_equal(nh_tls_read(p.client, in, sizeof in, &n), NH_ECLOSED);
	pair_close(&p);
	/* None. */
	pair_open(&p, (struct setting){.auth = NH_TLS_CLIENT_NONE});
	pair_shake(&p);
	close(p.fds[0]);
	p.fds[0] = -1;
	assert_int_equal(nh_tls_read(p.client, in, sizeof in, &n), NH_ECLOSED);
	assert_int_equal(nh_tls_write(p.client, NH_LIT("x"), &n), NH_ECLOSED);
	pair_close(&p);
	/* In the middle of the handshake. */
	pair_open(&p, (struct setting){.auth = NH_TLS_CLIENT_NONE});
	p.client_rc = nh_tls_handshake(p.client, &p.client_err);
	close(p.fds[0]);
	p.fds[0] = -1;
	assert_int_equal(nh_tls_handshake(p.client, &p.client_err), NH_ECLOSED);
	pair_close(&p);
}

static void test_not_tls(void **state)
{
	static const char *const rows[] = {"GET / HTTP/1.1\r\nHost: x\r\n\r\n", "\x16\x03\x01\xff\xff\x01garbage that is no hello........................"};
	struct pair p;
	uint8_t in[64];
	size_t n;
	for (size_t i = 0; i < NH_ARRAY_LEN(rows); i++) {
		pair_open(&p, (struct setting){.auth = NH_TLS_CLIENT_NONE});
		assert_true(write(p.fds[1], rows[i], strlen(rows[i])) > 0);
		assert_int_equal(nh_tls_handshake(p.server, &p.server_err), NH_EFORMAT);
		pair_close(&p);
	}
	/* Garbage after the handshake. */
	pair_open(&p, (struct setting){.auth = NH_TLS_CLIENT_NONE});
	pair_shake(&p);
	assert_true(write(p.fds[1], "\x17\x03\x03\x00\x20" "0123456789012345678901234567890123", 37) > 0);
	assert_int_equal(nh_tls_read(p.server, in, sizeof in, &n), NH_EFORMAT);
	pair_close(&p);
}

static void test_bad_credentials(void **state)
{
	struct nh_err err = NH_ERR_INIT;
	struct nh_tls *t = NULL;
	const struct {
		nh_slice cert, key;
	} rows[] = {
		{NH_LIT("no PEM"), nh_buf_slice(&server_key)},
		{nh_buf_slice(&server_cert), NH_LIT("no PEM")},
		{nh_buf_slice(&server_cert), nh_buf_slice(&device_key)},
	};
	struct nh_tls_client_config outside = {.ca_pem = nh_buf_slice(&pki.pem), .cert_pem = NH_LIT("no PEM"), .sign = sign_outside};
	assert_int_equal(nh_tls_client_new(&outside, &t, &err), NH_EFORMAT);
	assert_null(t);
	for (size_t i = 0; i < NH_ARRAY_LEN(rows); i++) {
		struct nh_tls_server_config sc = {.cert_pem = rows[i].cert, .key_pem = rows[i].key};
		struct nh_tls_client_config cc = {.ca_pem = nh_buf_slice(&pki.pem), .cert_pem = rows[i].cert, .key_pem = rows[i].key};
		assert_int_equal(nh_tls_server_new(&sc, &t, &err), NH_EFORMAT);
		assert_null(t);
		assert_int_equal(nh_tls_client_new(&cc, &t, &err), NH_EFORMAT);
		assert_null(t);
	}
	assert_int_equal(nh_tls_client_new(&(struct nh_tls_client_config){.ca_pem = NH_LIT("no CA")}, &t, &err), NH_EFORMAT);
	assert_non_null(strstr(err.msg, "CA file"));
	nh_tls_unref(NULL);
	nh_tls_free(NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_who_is_accepted),
		cmocka_unit_test(test_a_key_outside_that_does_not_sign),
		cmocka_unit_test(test_a_suspended_decision),
		cmocka_unit_test(test_back_pressure),
		cmocka_unit_test(test_a_flight_is_one_piece),
		cmocka_unit_test(test_a_flight_that_does_not_fit),
		cmocka_unit_test(test_a_flight_to_nobody),
		cmocka_unit_test(test_fed_bytes),
		cmocka_unit_test(test_pending_bytes_are_announced),
		cmocka_unit_test(test_ends),
		cmocka_unit_test(test_not_tls),
		cmocka_unit_test(test_bad_credentials),
	};
	return cmocka_run_group_tests(tests, set_up, tear_down);
}
