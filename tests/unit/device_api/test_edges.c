/*
 * The edges of the device endpoint over real TLS: the words of refusals, both wire formats, pushes before the join, connections that end while a
 * job is out, and download links that are forged, expired, or name what is gone.
 */
#include "device_server.h"

#include <pthread.h>
#include <semaphore.h>
#include <time.h>

#include "../net/test_peer.h"
#include "hub/download.h"

#define OLD_TOPIC "firmware:11111111-1111-4111-8111-111111111111"

struct fixture {
	struct pair ca, d1;
	struct nh_nh1_headers wrong_secret;
	int64_t device;
};

static nh_rc fill(struct world *w, struct nh_err *err)
{
	struct fixture *f = w->arg;
	int64_t id;
	NH_TRY(add_firmware(w, 1, "1.0.0", err)); /* has a row but no object */
	NH_TRY(add_firmware(w, 2, "1.1.0", err));
	NH_TRY(add_device(w, "d-1", NULL, &f->device, err));
	NH_TRY(make_ca(w, "Factory", NULL, 1000 * DAY_US, &f->ca, err));
	NH_TRY(register_ca(w, w->acme.id, f->ca.cert, false, &id, err));
	NH_TRY(make_device(w, "d-1", &f->ca, NULL, &f->d1, err));
	NH_TRY(insert_id(w, &nh_q_product_secret_insert, NH_PARAMS(nh_p_int(w->widget.id), nh_p_str(PRODUCT_KEY), nh_p_str(SECRET), nh_p_int(w->now_us)), &id, err));
	f->wrong_secret = sign(w, PRODUCT_KEY, "wrong", "secret-1");
	return NH_OK;
}

static void open_fixture(struct device_server *s, struct fixture *f)
{
	struct nh_db *db = testdb_open(0);
	assert_non_null(db);
	*f = (struct fixture){0};
	device_server_open(s, db, fill, f);
}

static void close_fixture(struct device_server *s, struct fixture *f)
{
	device_server_close(s);
	testdb_close(s->db);
	pair_fini(&f->ca);
	pair_fini(&f->d1);
}

/* A connection without any certificate. */
static struct client anonymous(struct device_server *s)
{
	struct nh_err err = NH_ERR_INIT;
	NH_AUTO_BUF struct nh_buf ca = NH_BUF_INIT;
	struct nh_tls *tls = NULL;
	struct client c = {.fd = dial(s->listener.port)};
	nh_cert_put_pem(&ca, s->root.cert);
	assert_int_equal(nh_tls_client_new(&(struct nh_tls_client_config){.ca_pem = nh_buf_slice(&ca)}, &tls, &err), NH_OK);
	assert_int_equal(nh_tls_session_new(tls, c.fd, "127.0.0.1", NULL, &c.tls, &err), NH_OK);
	nh_tls_unref(tls); /* the session holds it */
	nh_rc rc;
	while ((rc = nh_tls_handshake(c.tls, &err)) == NH_EAGAIN)
		wait_fd(c.fd, nh_tls_wants_write(c.tls));
	assert_int_equal(rc, NH_OK);
	return c;
}

static unsigned get(struct client *c, const char *target, const char *more, struct nh_buf *headers, struct nh_buf *body)
{
	NH_AUTO_BUF struct nh_buf request = NH_BUF_INIT;
	nh_buf_printf(&request, "GET %s HTTP/1.1\r\nHost: 127.0.0.1\r\n%s\r\n", target, more);
	client_send(c, nh_buf_slice(&request));
	return client_response(c, false, headers, body);
}

static void expect(struct device_server *s, const char *target, const char *more, unsigned status, const char *header, const char *text)
{
	NH_AUTO_BUF struct nh_buf headers = NH_BUF_INIT, body = NH_BUF_INIT;
	struct client c = anonymous(s);
	unsigned got = get(&c, target, more, &headers, &body);
	client_close(&c);
	if (got != status || (header && !strstr(nh_buf_cstr(&headers), header)) || (text && strcmp(nh_buf_cstr(&body), text) != 0))
		fail_msg("%s: %u\n%s\n\n%s", target, got, nh_buf_cstr(&headers), nh_buf_cstr(&body));
}

/* ---- refusals ---------------------------------------------------------------------------------------------------------------- */

static void test_refusals(void **state)
{
	struct device_server s;
	struct fixture f;
	open_fixture(&s, &f);
	static const char upgrade[] = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
	static const char reason[] = "no certificate pair or shared secrets connection settings were provided";
	NH_AUTO_BUF struct nh_buf secret = NH_BUF_INIT, header = NH_BUF_INIT;
	nh_buf_printf(&header, "nh-connection-error-reason: %s", reason);
	nh_buf_printf(&secret, "%sx-nh-alg: %.*s\r\nx-nh-key: %.*s\r\nx-nh-time: %.*s\r\nx-nh-signature: %.*s\r\n", upgrade, NH_ARG(f.wrong_secret.alg),
	              NH_ARG(f.wrong_secret.key), NH_ARG(f.wrong_secret.time), NH_ARG(f.wrong_secret.signature));
	expect(&s, "/socket/websocket?vsn=2.0.0", upgrade, 401, nh_buf_cstr(&header), reason);
	expect(&s, "/device-socket/websocket", upgrade, 401, nh_buf_cstr(&header), reason);
	/* A secret that does not fit says nothing about why. */
	expect(&s, "/device-socket/websocket?vsn=2.0.0", nh_buf_cstr(&secret), 401, NULL, "");
	expect(&s, "/device-socket/websocket?vsn=4.0.0", nh_buf_cstr(&secret), 403, NULL, "");
	expect(&s, "/device-socket/websocket?vsn=%zz", nh_buf_cstr(&secret), 403, NULL, "");
	expect(&s, "/status/alive", "", 200, NULL, "Hello, Friend!");
	expect(&s, "/nothing", "", 404, NULL, NULL);
	close_fixture(&s, &f);
}

/* ---- the first wire format ----------------------------------------------------------------------------------------------------- */

static void test_v1(void **state)
{
	static const char *const paths[] = {"/socket/websocket", "/socket/websocket?vsn=", "/socket/websocket?vsn=1.0.0", "/device-socket/websocket?vsn=1.0.5"};
	static const struct {
		const char *sent, *answer;
	} table[] = {
		{"{\"topic\":\"phoenix\",\"event\":\"heartbeat\",\"payload\":{},\"ref\":\"7\"}",
		 "{\"topic\":\"phoenix\",\"event\":\"phx_reply\",\"ref\":\"7\",\"payload\":{\"status\":\"ok\",\"response\":{}}}"},
		{"{\"topic\":\"phoenix\",\"event\":\"heartbeat\",\"payload\":null,\"ref\":8}",
		 "{\"topic\":\"phoenix\",\"event\":\"phx_reply\",\"ref\":8,\"payload\":{\"status\":\"ok\",\"response\":{}}}"},
		{"{\"topic\":\"nowhere\",\"event\":\"x\",\"payload\":{},\"ref\":\"9\"}",
		 "{\"topic\":\"nowhere\",\"event\":\"phx_reply\",\"ref\":\"9\",\"payload\":{\"status\":\"error\",\"response\":{\"reason\":\"unmatched topic\"}}}"},
		{"{\"topic\":\"device\",\"event\":\"phx_join\",\"payload\":{},\"ref\":\"1\",\"join_ref\":\"1\"}",
		 "{\"topic\":\"device\",\"event\":\"phx_reply\",\"ref\":\"1\",\"payload\":{\"status\":\"ok\",\"response\":{}}}"},
		{"{\"topic\":\"device\",\"event\":\"phx_leave\",\"payload\":{},\"ref\":\"2\"}",
		 "{\"topic\":\"device\",\"event\":\"phx_reply\",\"ref\":\"2\",\"payload\":{\"status\":\"ok\",\"response\":{}}}"},
	};
	struct device_server s;
	struct fixture f;
	open_fixture(&s, &f);
	for (size_t k = 0; k < NH_ARRAY_LEN(paths); k++) {
		struct peer *p = peer_new(&s, paths[k], &f.d1, NULL);
		assert_true(peer_open(p));
		for (size_t i = 0; i < NH_ARRAY_LEN(table); i++) {
			NH_AUTO_JSON json_t *wanted = NULL, *got = NULL;
			peer_send(p, table[i].sent);
			assert_int_equal(nh_json_parse(nh_slice_str(table[i].answer), 4096, &wanted, NULL), NH_OK);
			assert_int_equal(nh_json_parse(nh_slice_str(peer_next(p)), 4096, &got, NULL), NH_OK);
			json_object_del(got, "join_ref"); /* may be there or not: version 1 knows none */
			if (!json_equal(wanted, got))
				fail_msg("%s: not answered with %s", table[i].sent, table[i].answer);
		}
		peer_send(p, "[null,\"7\",\"phoenix\",\"heartbeat\",{}]"); /* the other format */
		assert_int_equal(peer_end(p).code, 1011);
		peer_free(p);
	}
	close_fixture(&s, &f);
}

/* ---- pushes and jobs ------------------------------------------------------------------------------------------------------------ */

static nh_rc reboot(struct world *w, struct nh_err *err)
{
	OK(nh_device_reboot(&w->ctx, &w->as_ada, w->acme.id, ((struct fixture *)w->arg)->device, E(w)));
	return NH_OK;
}

static const char heartbeat[] = "[null,\"7\",\"phoenix\",\"heartbeat\",{}]", alive[] = "[null,\"7\",\"phoenix\",\"phx_reply\",{\"status\":\"ok\",\"response\":{}}]";
static const char join_empty[] = "[\"1\",\"1\",\"device\",\"phx_join\",{}]", join_ok[] = "[\"1\",\"1\",\"device\",\"phx_reply\",{\"status\":\"ok\",\"response\":{}}]";

static void test_push_needs_a_join(void **state)
{
	struct device_server s;
	struct fixture f;
	open_fixture(&s, &f);
	struct peer *p = peer_new(&s, "/socket/websocket?vsn=2.0.0", &f.d1, NULL);
	peer_send(p, heartbeat); /* open on both sides: the registry knows it */
	assert_string_equal(peer_next(p), alive);
	device_server_do(&s, reboot);
	peer_send(p, join_empty);
	assert_string_equal(peer_next(p), join_ok);
	device_server_do(&s, reboot);
	assert_string_equal(peer_next(p), "[null,null,\"device\",\"reboot\",{}]");
	peer_send(p, "[\"1\",\"2\",\"device\",\"phx_leave\",{}]");
	assert_non_null(peer_until(p, "phx_close"));
	device_server_do(&s, reboot); /* left: nobody to tell */
	peer_send(p, heartbeat);
	assert_string_equal(peer_next(p), alive);
	struct nh_device_api_stats stats;
	nh_device_api_stats(s.api, &stats);
	assert_int_equal(stats.devices, 1);
	assert_int_equal(stats.pushes_lost, 0);
	peer_free(p);
	close_fixture(&s, &f);
}

struct hold_up {
	struct nh_db *db;
	sem_t held, release;
};

static nh_rc hold_up_tx(struct nh_tx *tx, void *arg, struct nh_err *err)
{
	struct hold_up *h = arg;
	sem_post(&h->held);
	while (sem_wait(&h->release) != 0)
		continue;
	return NH_OK;
}

static void *hold_up(void *arg)
{
	struct nh_err err = NH_ERR_INIT;
	struct hold_up *h = arg;
	assert_int_equal(nh_db_write(h->db, hold_up_tx, h, &err), NH_OK);
	return NULL;
}

/* What is pushed while a join is being written waits for its reply, and bears the topic that is being joined. */
static void test_push_while_joining(void **state)
{
	static const struct {
		const char *join, *joined, *pushed;
	} rows[] = {
		{"[\"1\",\"1\",\"device\",\"phx_join\",{}]", "[\"1\",\"1\",\"device\",\"phx_reply\",{\"status\":\"ok\",\"response\":{}}]", "[null,null,\"device\",\"words\",{\"a\":1}]"},
		{"[null,\"1\",\"" OLD_TOPIC "\",\"phx_join\",{}]", "[null,\"1\",\"" OLD_TOPIC "\",\"phx_reply\",{\"status\":\"ok\",\"response\":{}}]", "[null,null,\"" OLD_TOPIC "\",\"words\",{\"a\":1}]"},
	};
	struct device_server s;
	struct fixture f;
	open_fixture(&s, &f);
	struct nh_effect words = {.kind = NH_EFFECT_DEVICE_PUSH, .id = f.device, .name = NH_LIT("words"), .payload = NH_LIT("{\"a\":1}")};
	for (size_t i = 0; i < NH_ARRAY_LEN(rows); i++) {
		struct peer *p = peer_new(&s, "/socket/websocket?vsn=2.0.0", &f.d1, NULL);
		struct hold_up h = {.db = s.db};
		pthread_t thread;
		peer_send(p, heartbeat);
		assert_string_equal(peer_next(p), alive);
		sem_init(&h.held, 0, 0);
		sem_init(&h.release, 0, 0);
		assert_int_equal(pthread_create(&thread, NULL, hold_up, &h), 0);
		while (sem_wait(&h.held) != 0)
			continue;
		uint64_t before = device_server_stats(&s).messages, deadline = nh_mono_ms() + DEADLINE_S * 1000;
		peer_send(p, rows[i].join);
		while (device_server_stats(&s).messages == before) {
			if (nh_mono_ms() > deadline)
				fail_msg("the join was not heard");
			nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
		}
		nh_device_api_effects(s.api, &(struct nh_effects){&words, 1, 1});
		sem_post(&h.release);
		assert_string_equal(peer_next(p), rows[i].joined);
		assert_string_equal(peer_next(p), rows[i].pushed);
		pthread_join(thread, NULL);
		sem_destroy(&h.held);
		sem_destroy(&h.release);
		peer_free(p);
	}
	close_fixture(&s, &f);
}

/* The same words to many are framed once: in the order of the effects, in each device's own format, and only where it has joined. */
static void test_many_hear_the_same(void **state)
{
	static const struct {
		const char *path, *beat, *join, *joined, *words, *other;
	} formats[] = {
		{"/socket/websocket?vsn=2.0.0", heartbeat, join_empty, "phx_reply", "[null,null,\"device\",\"words\",{\"a\":1}]", "[null,null,\"device\",\"other\",{\"a\":1}]"},
		{"/socket/websocket?vsn=1.0.0", "{\"topic\":\"phoenix\",\"event\":\"heartbeat\",\"payload\":{},\"ref\":\"7\"}", "{\"topic\":\"device\",\"event\":\"phx_join\",\"payload\":{},\"ref\":\"1\"}", "phx_reply",
		 "{\"topic\":\"device\",\"event\":\"words\",\"ref\":null,\"payload\":{\"a\":1}}", "{\"topic\":\"device\",\"event\":\"other\",\"ref\":null,\"payload\":{\"a\":1}}"},
	};
	struct device_server s;
	struct fixture f;
	open_fixture(&s, &f);
	const nh_slice words = NH_LIT("words"), other = NH_LIT("other"), payload = NH_LIT("{\"a\":1}");
	struct nh_effect items[] = {
		{.kind = NH_EFFECT_DEVICE_PUSH, .id = f.device, .name = words, .payload = payload},
		{.kind = NH_EFFECT_DEVICE_PUSH, .id = f.device + 1000, .name = words, .payload = payload}, /* not here */
		{.kind = NH_EFFECT_DEVICE_PUSH, .id = f.device, .name = words, .payload = payload},
		{.kind = NH_EFFECT_DEVICE_PUSH, .id = f.device, .name = other, .payload = payload},
		{.kind = NH_EFFECT_TOPIC, .name = words, .payload = payload},
		{.kind = NH_EFFECT_DEVICE_PUSH, .id = f.device, .name = words, .payload = payload},
	};
	const struct nh_effects effects = {.items = items, .count = NH_ARRAY_LEN(items), .cap = NH_ARRAY_LEN(items)};
	for (size_t i = 0; i < NH_ARRAY_LEN(formats); i++) {
		struct peer *p = peer_new(&s, formats[i].path, &f.d1, NULL);
		assert_true(peer_open(p));
		nh_device_api_effects(s.api, &effects); /* not joined: nothing of it is heard */
		peer_send(p, formats[i].beat);
		assert_non_null(strstr(peer_next(p), "phx_reply"));
		peer_send(p, formats[i].join);
		assert_non_null(strstr(peer_next(p), formats[i].joined));
		nh_device_api_effects(s.api, &effects);
		for (size_t k = 0; k < 4; k++) {
			NH_AUTO_JSON json_t *wanted = NULL, *got = NULL;
			assert_int_equal(nh_json_parse(nh_slice_str(k == 2 ? formats[i].other : formats[i].words), 4096, &wanted, NULL), NH_OK);
			assert_int_equal(nh_json_parse(nh_slice_str(peer_next(p)), 4096, &got, NULL), NH_OK);
			if (json_is_object(got))
				json_object_del(got, "join_ref"); /* version 1 knows none */
			if (!json_equal(wanted, got))
				fail_msg("format %zu, push %zu: not as expected", i, k);
		}
		peer_free(p);
	}
	close_fixture(&s, &f);
}

static nh_rc check_disconnected(struct nh_tx *tx, void *arg, struct nh_err *err)
{
	struct device_server *s = arg;
	NH_AUTO_ARENA struct nh_arena arena = NH_ARENA_INIT;
	struct nh_ctx ctx = {.tx = tx, .arena = &arena, .clock = &s->world.clock, .config = &s->world.config};
	struct nh_connection c;
	NH_TRY(nh_connection_get(&ctx, ((struct fixture *)s->world.arg)->device, &c, err));
	return nh_slice_eq_str(c.status, "disconnected") ? NH_OK : NH_FAIL(err, NH_EINTERNAL, "the connection is recorded as %.*s", NH_ARG(c.status));
}

/* The device vanishes while its join or its report is with a worker: the last thing written about the connection is its end. */
static void test_disconnect_while_a_job_is_out(void **state)
{
	for (size_t round = 0; round < 4; round++) {
		struct device_server s;
		struct fixture f;
		struct nh_err err = NH_ERR_INIT;
		open_fixture(&s, &f);
		for (size_t i = 0; i < 6; i++) {
			struct peer *p = peer_new(&s, "/socket/websocket?vsn=2.0.0", &f.d1, NULL);
			assert_true(peer_open(p));
			peer_send(p, join_empty);
			if ((round + i) % 2) {
				assert_string_equal(peer_next(p), join_ok);
				peer_send(p, "[\"1\",\"2\",\"device\",\"status_update\",{\"status\":\"received\"}]");
			}
			peer_free(p);
		}
		device_server_close(&s);
		if (nh_db_read(s.db, check_disconnected, &s, &err) != NH_OK)
			fail_msg("%s", err.msg);
		testdb_close(s.db);
		pair_fini(&f.ca);
		pair_fini(&f.d1);
	}
}

/* ---- download links -------------------------------------------------------------------------------------------------------------- */

/* path and query of a link to firmware number, made age_s ago */
static void link_to(struct device_server *s, struct nh_buf *out, int64_t org_id, int number, int64_t age_s)
{
	NH_AUTO_BUF struct nh_buf path = NH_BUF_INIT, url = NH_BUF_INIT;
	nh_download_path(&path, org_id, fw_uuid(&s->world, number));
	nh_download_url(&s->world.config, nh_buf_slice(&path), NH_SLICE_EMPTY, s->world.now_us - age_s * NH_US_PER_S, &url);
	nh_buf_clear(out);
	nh_buf_put_str(out, nh_buf_cstr(&url) + strlen(s->world.config.download_base_url));
}

static void test_download_links(void **state)
{
	struct device_server s;
	struct fixture f;
	NH_AUTO_BUF struct nh_buf good = NH_BUF_INIT, link = NH_BUF_INIT;
	static const char invalid[] = "this download link is not valid", expired[] = "this download link has expired";
	open_fixture(&s, &f);
	int64_t acme = s.world.acme.id, ttl_s = (int64_t)s.world.config.download_ttl_s;
	link_to(&s, &good, acme, 2, 0);
	expect(&s, nh_buf_cstr(&good), "", 200, "Content-Length: 50000", NULL);
	link_to(&s, &link, acme, 2, ttl_s - 1);
	expect(&s, nh_buf_cstr(&link), "", 200, NULL, NULL);
	link_to(&s, &link, acme, 2, ttl_s + 1);
	expect(&s, nh_buf_cstr(&link), "", 403, NULL, expired);
	link_to(&s, &link, acme, 1, 0); /* in the database, gone from the store */
	expect(&s, nh_buf_cstr(&link), "", 404, NULL, "temporarily unavailable");
	link_to(&s, &link, acme, 3, 0); /* signed, but deleted since */
	expect(&s, nh_buf_cstr(&link), "", 404, NULL, "no such file");
	link_to(&s, &link, s.world.other.id, 2, 0); /* another organization's folder */
	expect(&s, nh_buf_cstr(&link), "", 404, NULL, "no such file");

	/* Each byte of path, expiry and signature counts. */
	size_t query = (size_t)nh_slice_chr(nh_buf_slice(&good), '?');
	NH_AUTO_BUF struct nh_buf headers = NH_BUF_INIT, body = NH_BUF_INIT;
	struct client c = anonymous(&s);
	for (size_t i = 1; i < good.len; i++) {
		if (i < strlen("/firmware/") || i == query)
			continue;
		nh_buf_clear(&link);
		nh_buf_put_slice(&link, nh_buf_slice(&good));
		link.ptr[i] = link.ptr[i] == '1' ? '2' : '1';
		unsigned status = get(&c, nh_buf_cstr(&link), "", &headers, &body);
		if (status != 403)
			fail_msg("byte %zu changed: %s is answered with %u", i, nh_buf_cstr(&link), status);
	}
	client_close(&c);
	nh_buf_truncate(&good, query);
	expect(&s, nh_buf_cstr(&good), "", 403, NULL, invalid);
	expect(&s, "/firmware/../secret.key", "", 400, NULL, NULL);
	close_fixture(&s, &f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_refusals), cmocka_unit_test(test_v1), cmocka_unit_test(test_push_needs_a_join),
		cmocka_unit_test(test_push_while_joining),           cmocka_unit_test(test_many_hear_the_same),
		cmocka_unit_test(test_disconnect_while_a_job_is_out), cmocka_unit_test(test_download_links),
	};
	return cmocka_run_group_tests_name("device_api_edges", tests, NULL, NULL);
}
