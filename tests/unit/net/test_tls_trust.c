/*
 * Whom a client trusts and when: roots from text, files and directories, forgotten and brought back; certificates that are over or have not begun, by a clock that
 * is set and by one that is not. The floor of time only rises, so the rows about it stand in order.
 */
#include "test_base.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/arena.h"
#include "base/file.h"
#include "net/tls.h"
#include "test_pki.h"

#define DAY (INT64_C(86400) * NH_US_PER_S)

static struct test_pki pki, other;
static char dir[] = "/tmp/nh-tls-trust-XXXXXX";
static char paths[6][64];

enum { PKI_FILE, OTHER_FILE, BOTH_DIR, EMPTY_DIR, NOTHING_FILE, MISSING };

static void long_lived(struct test_pki *p)
{
	NH_AUTO_BUF struct nh_buf spki = NH_BUF_INIT, der = NH_BUF_INIT;
	struct nh_cert_profile profile = nh_cert_profile_ca(nh_now_us() - 1000 * DAY, 5000 * DAY);
	profile.common_name = NH_LIT("long CA");
	*p = (struct test_pki){0};
	assert_int_equal(nh_key_generate_p256(&p->key, NULL), NH_OK);
	assert_int_equal(nh_key_put_spki(&spki, p->key, NULL), NH_OK);
	assert_int_equal(nh_cert_issue(&der, &profile, nh_buf_slice(&spki), NULL, p->key, &nh_rng_system, NULL), NH_OK);
	assert_int_equal(nh_cert_parse_der(nh_buf_slice(&der), &p->cert, NULL), NH_OK);
	nh_cert_put_pem(&p->pem, p->cert);
}

static void put(const char *name, nh_slice text)
{
	char path[128];
	snprintf(path, sizeof path, "%s/%s", dir, name);
	assert_int_equal(nh_file_write_atomic(path, text, 0600, NULL), NH_OK);
}

static int set_up(void **state)
{
	static const char *const names[] = {"pki.pem", "other.pem", "both", "empty", "nothing.pem", "missing.pem"};
	long_lived(&pki);
	long_lived(&other);
	assert_non_null(mkdtemp(dir));
	for (size_t i = 0; i < NH_ARRAY_LEN(names); i++)
		snprintf(paths[i], sizeof paths[i], "%s/%s", dir, names[i]);
	assert_int_equal(mkdir(paths[BOTH_DIR], 0700), 0);
	assert_int_equal(mkdir(paths[EMPTY_DIR], 0700), 0);
	put("pki.pem", nh_buf_slice(&pki.pem));
	put("other.pem", nh_buf_slice(&other.pem));
	put("both/1.crt", nh_buf_slice(&other.pem));
	put("both/2.pem", nh_buf_slice(&pki.pem));
	put("both/README", NH_LIT("these vouch for the server\n"));
	put("nothing.pem", NH_LIT("no certificate\n"));
	return 0;
}

static int tear_down(void **state)
{
	static const char *const files[] = {"pki.pem", "other.pem", "both/1.crt", "both/2.pem", "both/README", "nothing.pem"};
	char path[128];
	for (size_t i = 0; i < NH_ARRAY_LEN(files); i++) {
		snprintf(path, sizeof path, "%s/%s", dir, files[i]);
		unlink(path);
	}
	rmdir(paths[BOTH_DIR]);
	rmdir(paths[EMPTY_DIR]);
	rmdir(dir);
	test_pki_fini(&pki);
	test_pki_fini(&other);
	return 0;
}

/* A handshake with a server whose certificate is good from..to; the client's side of the outcome. */
static nh_rc shake(struct nh_tls *client_tls, int64_t from_us, int64_t to_us, struct nh_err *err)
{
	NH_AUTO_KEY struct nh_key *key = NULL;
	NH_AUTO_CERT struct nh_cert *cert = NULL;
	NH_AUTO_BUF struct nh_buf spki = NH_BUF_INIT, der = NH_BUF_INIT, cert_pem = NH_BUF_INIT, key_pem = NH_BUF_INIT;
	struct nh_san san = {NH_SAN_DNS, NH_LIT("localhost")};
	struct nh_cert_profile profile = nh_cert_profile_server(nh_now_us(), DAY);
	struct nh_tls *server_tls;
	struct nh_tls_session *server, *client;
	int fds[2];
	profile.common_name = NH_LIT("server");
	profile.sans = &san;
	profile.san_count = 1;
	profile.not_before_us = from_us;
	profile.not_after_us = to_us;
	assert_int_equal(nh_key_generate_p256(&key, NULL), NH_OK);
	assert_int_equal(nh_key_put_spki(&spki, key, NULL), NH_OK);
	assert_int_equal(nh_cert_issue(&der, &profile, nh_buf_slice(&spki), pki.cert, pki.key, &nh_rng_system, NULL), NH_OK);
	assert_int_equal(nh_cert_parse_der(nh_buf_slice(&der), &cert, NULL), NH_OK);
	nh_cert_put_pem(&cert_pem, cert);
	assert_int_equal(nh_key_put_pem(&key_pem, key, NULL), NH_OK);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fds), 0);
	assert_int_equal(nh_tls_server_new(&(struct nh_tls_server_config){.cert_pem = nh_buf_slice(&cert_pem), .key_pem = nh_buf_slice(&key_pem)}, &server_tls, NULL), NH_OK);
	assert_int_equal(nh_tls_session_new(server_tls, fds[0], NULL, NULL, &server, NULL), NH_OK);
	assert_int_equal(nh_tls_session_new(client_tls, fds[1], "localhost", NULL, &client, NULL), NH_OK);
	nh_rc rc = NH_EAGAIN, server_rc = NH_EAGAIN;
	for (int turn = 0; turn < 20 && rc == NH_EAGAIN; turn++) {
		rc = nh_tls_handshake(client, err);
		if (server_rc == NH_EAGAIN)
			server_rc = nh_tls_handshake(server, NULL);
	}
	nh_tls_free(server);
	nh_tls_free(client);
	nh_tls_unref(server_tls);
	close(fds[0]);
	close(fds[1]);
	return rc;
}

static void roots(void **state)
{
	static const struct {
		bool text;       /* of `other` */
		int files[3];    /* index + 1 */
		bool system;
		nh_rc made, met; /* client_new, and the handshake with a server of `pki` */
	} rows[] = {
		{false, {PKI_FILE + 1}, false, NH_OK, NH_OK},
		{true, {0}, false, NH_OK, NH_EAUTH},
		{true, {PKI_FILE + 1}, false, NH_OK, NH_OK},
		{false, {OTHER_FILE + 1}, false, NH_OK, NH_EAUTH},
		{false, {OTHER_FILE + 1, PKI_FILE + 1}, false, NH_OK, NH_OK},
		{false, {BOTH_DIR + 1}, false, NH_OK, NH_OK},
		{false, {OTHER_FILE + 1, BOTH_DIR + 1}, false, NH_OK, NH_OK},
		{false, {PKI_FILE + 1}, true, NH_OK, NH_OK},
		{false, {0}, true, NH_OK, NH_EAUTH},
		{false, {0}, false, NH_OK, NH_EAUTH}, /* the system's */
		{false, {EMPTY_DIR + 1}, false, NH_EFORMAT, NH_OK},
		{false, {PKI_FILE + 1, NOTHING_FILE + 1}, false, NH_EFORMAT, NH_OK},
		{false, {PKI_FILE + 1, MISSING + 1}, false, NH_EFORMAT, NH_OK},
	};
	for (size_t i = 0; i < NH_ARRAY_LEN(rows); i++) {
		const char *list[3];
		struct nh_tls *t;
		struct nh_err err = NH_ERR_INIT;
		struct nh_tls_client_config c = {.ca_paths = list, .ca_system = rows[i].system};
		if (rows[i].text)
			c.ca_pem = nh_buf_slice(&other.pem);
		while (c.ca_path_count < 3 && rows[i].files[c.ca_path_count]) {
			list[c.ca_path_count] = paths[rows[i].files[c.ca_path_count] - 1];
			c.ca_path_count++;
		}
		bool needs_system = rows[i].system || (!rows[i].text && c.ca_path_count == 0);
		if (needs_system && access("/etc/ssl/certs/ca-certificates.crt", R_OK) != 0) {
			print_message("row %zu is left out: this machine has no list of roots (ca-certificates)\n", i);
			continue;
		}
		nh_rc made = nh_tls_client_new(&c, &t, &err);
		if (made != rows[i].made)
			fail_msg("row %zu: %s (%s)", i, nh_rc_name(made), err.msg);
		if (made != NH_OK) {
			assert_non_null(strstr(err.msg, list[c.ca_path_count - 1]));
			continue;
		}
		nh_rc met = shake(t, nh_now_us() - 500 * DAY, nh_now_us() + DAY, &err);
		if (met != rows[i].met)
			fail_msg("row %zu: %s (%s)", i, nh_rc_name(met), err.msg);
		nh_tls_unref(t);
	}
}

/* Credentials without roots trust nobody, until roots are brought; and again when they are taken away. */
static void brought_and_taken(void **state)
{
	const char *const list[] = {paths[PKI_FILE]}, *const broken[] = {paths[NOTHING_FILE]};
	const struct nh_tls_client_config c = {.ca_paths = list, .ca_path_count = 1, .ca_later = true}, bad = {.ca_paths = broken, .ca_path_count = 1};
	struct nh_tls *t;
	assert_int_equal(nh_tls_client_new(&c, &t, NULL), NH_OK);
	for (int i = 0; i < 2; i++) {
		assert_int_equal(shake(t, nh_now_us() - 500 * DAY, nh_now_us() + DAY, NULL), NH_EAUTH);
		assert_int_equal(nh_tls_trust(t, &c, NULL), NH_OK);
		assert_int_equal(shake(t, nh_now_us() - 500 * DAY, nh_now_us() + DAY, NULL), NH_OK);
		assert_int_equal(nh_tls_trust(t, &bad, NULL), NH_EFORMAT); /* those it had stay */
		assert_int_equal(shake(t, nh_now_us() - 500 * DAY, nh_now_us() + DAY, NULL), NH_OK);
		nh_tls_distrust(t);
	}
	nh_tls_unref(t);
}

static void time_and_its_floor(void **state)
{
	static const struct {
		int floor;     /* days from now; raised before the row unless 0 */
		int from, to;  /* days from now: the server's certificate */
		nh_rc rc;
		int known;     /* the floor afterwards */
	} rows[] = {
		{0, 10, 20, NH_EAUTH, -400},        /* the clock is believed */
		{0, -20, -10, NH_EAUTH, -400},
		{0, -30, 10, NH_OK, -30},           /* and what it accepts raises the floor */
		{0, -40, 10, NH_OK, -30},
		{0, -20, -10, NH_EAUTH, -30},
		{100, -30, 50, NH_EAUTH, 100},      /* the clock is behind the floor: over by then */
		{0, -30, 150, NH_OK, 100},
		{0, 90, 150, NH_OK, 100},           /* began before the floor */
		{0, 120, 200, NH_OK, 100},          /* says itself when the present begins, which nobody remembers */
		{0, 90, 95, NH_EAUTH, 100},
	};
	const char *const list[] = {paths[PKI_FILE]};
	int64_t now = nh_now_us() / NH_US_PER_S * NH_US_PER_S;
	struct nh_tls *t;
	assert_int_equal(nh_tls_client_new(&(struct nh_tls_client_config){.ca_paths = list, .ca_path_count = 1}, &t, NULL), NH_OK);
	nh_tls_time_floor(now - 400 * DAY);
	for (size_t i = 0; i < NH_ARRAY_LEN(rows); i++) {
		struct nh_err err = NH_ERR_INIT;
		if (rows[i].floor)
			nh_tls_time_floor(now + rows[i].floor * DAY);
		nh_rc rc = shake(t, now + rows[i].from * DAY, now + rows[i].to * DAY, &err);
		if (rc != rows[i].rc || nh_tls_time_known() != now + rows[i].known * DAY)
			fail_msg("row %zu: %s (%s), floor in %lld days", i, nh_rc_name(rc), err.msg, (long long)((nh_tls_time_known() - now) / DAY));
		if (rc != NH_OK)
			assert_non_null(strstr(err.msg, "This machine's clock says 20"));
	}
	nh_tls_time_floor(now); /* never lowered */
	assert_int_equal(nh_tls_time_known(), now + 100 * DAY);
	nh_tls_unref(t);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(roots), cmocka_unit_test(brought_and_taken), cmocka_unit_test(time_and_its_floor)};
	return cmocka_run_group_tests(tests, set_up, tear_down);
}
