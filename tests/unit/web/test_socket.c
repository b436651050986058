/*
 * The sockets of people where things go wrong: a database that does not write, clients that vanish in the middle of a join, silence. Who can do what: tests/integration/test_console.py.
 */
#include "rollout_world.h"

#include "../net/test_peer.h"
#include "../net/test_serving.h"
#include "base/log.h"
#include "hub/audit.h"
#include "web/web.h"

#define TOPIC "user:console:identifier-d-1"
#define JOIN "[\"1\",\"1\",\"" TOPIC "\",\"phx_join\",{}]"
#define JOINED "[\"1\",\"1\",\"" TOPIC "\",\"phx_reply\",{\"status\":\"ok\",\"response\":{}}]"

static struct world world;
static char token[NH_TOKEN_TEXT_MAX];
static struct nh_db *db;
static struct nh_relay *relay;
static struct nh_web *web;
static struct nh_mount mounts[2];
static struct nh_listener listener;
static int64_t device_id;

static nh_rc furnish(struct world *w, struct nh_err *err)
{
	OK(nh_token_create(&w->ctx, w->ada.id, NH_TOKEN_API, NH_LIT("test"), token, E(w)));
	return add_device(w, "d-1", NULL, &device_id, err);
}

static void begin(uint64_t idle_ms)
{
	struct nh_err err = NH_ERR_INIT;
	struct scenario scenario = {&world, furnish};
	db = testdb_open(0);
	assert_non_null(db);
	assert_int_equal(nh_db_write(db, run_scenario, &scenario, &err), NH_OK);
	relay = nh_relay_new();
	assert_int_equal(nh_pool_new(&(struct nh_pool_config){.threads = 2}, &pool, &err), NH_OK);
	web = nh_web_new(&(struct nh_web_config){.db = db, .pool = pool, .relay = relay, .hub = &world.config, .clock = &world.clock, .rng = &nh_rng_system, .idle_ms = idle_ms});
	mounts[0] = (struct nh_mount){.routes = nh_web_routes, .app = web};
	listener = (struct nh_listener){.name = "web", .address = "127.0.0.1", .mounts = mounts};
	assert_int_equal(nh_server_open(&(struct nh_server_config){.pool = pool, .listeners = &listener, .listener_count = 1}, &server, &err), NH_OK);
	assert_int_equal(nh_server_start(server, &err), NH_OK);
}

/* The server is gone, the database is still there to be looked at. */
static void stop(void)
{
	end();
	nh_web_free(web);
	nh_relay_free(relay);
	nh_web_free(NULL);
}

static void forget(void)
{
	testdb_close(db);
	json_decref(world.errors);
	nh_arena_fini(&world.arena);
	world = (struct world){0};
}

static struct client enter(void)
{
	NH_AUTO_BUF struct nh_buf request = NH_BUF_INIT, headers = NH_BUF_INIT, body = NH_BUF_INIT;
	struct client c;
	assert_int_equal(client_dial(&c, listener.port, NULL), NH_OK);
	nh_buf_printf(&request, "GET /api/socket/websocket?token=%s&vsn=2.0.0 HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
				"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n", token);
	client_send(&c, nh_buf_slice(&request));
	assert_int_equal(client_response(&c, true, &headers, &body), 101);
	return c;
}

static struct nh_web_stats counts(void)
{
	struct nh_web_stats s;
	nh_web_stats(web, &s);
	return s;
}

/* Nobody gets in whose entry cannot be written; once it can, it works on the same socket. */
static void test_a_database_that_does_not_write(void **state)
{
	begin(0);
	struct client c = enter();
	testdb_fail(db, NH_EIO, TESTDB_AT_COMMIT);
	ws_frame(&c, NH_WS_TEXT, NH_LIT(JOIN));
	ws_expect(&c, NH_WS_TEXT, "[\"1\",\"1\",\"" TOPIC "\",\"phx_reply\",{\"status\":\"error\",\"response\":{\"reason\":\"unavailable\"}}]");
	ws_expect(&c, NH_WS_TEXT, "[\"1\",\"1\",\"" TOPIC "\",\"phx_error\",{}]");
	testdb_heal(db);
	assert_int_equal(counts().join_refusals, 1);
	ws_frame(&c, NH_WS_TEXT, NH_LIT(JOIN));
	ws_expect(&c, NH_WS_TEXT, JOINED);
	assert_int_equal(counts().joins, 1);
	assert_int_equal(counts().sockets, stats().websockets);
	client_close(&c);
	WAIT_UNTIL(counts().sockets == 0);
	stop();
	forget();
}

struct entries {
	size_t opened, closed;
};

static nh_rc count_entries(struct nh_tx *tx, void *arg, struct nh_err *err)
{
	struct entries *e = arg;
	struct nh_audit_entry *list = NULL;
	size_t count = 0;
	struct nh_ctx ctx = world.ctx;
	ctx.tx = tx;
	NH_TRY(nh_audit_list(&ctx, world.acme.id, NH_AUDIT_DEVICE, device_id, 0, 500, &list, &count, err));
	for (size_t i = 0; i < count; i++) {
		e->opened += nh_slice_find(list[i].description, NH_LIT(" opened the console ")) >= 0;
		e->closed += nh_slice_find(list[i].description, NH_LIT(" closed the console ")) >= 0;
	}
	return NH_OK;
}

/* Whatever a client had reached when it went: each beginning in the audit log has its end. */
static void test_clients_that_vanish(void **state)
{
	enum { CLIENTS = 40 };
	const struct linger now = {.l_onoff = 1, .l_linger = 0};
	struct entries entries = {0};
	begin(0);
	for (unsigned i = 0; i < CLIENTS; i++) {
		struct client c = enter();
		ws_frame(&c, NH_WS_TEXT, NH_LIT(JOIN));
		if (i % 4 == 0)
			ws_expect(&c, NH_WS_TEXT, JOINED);
		if (i % 4 == 1)
			ws_frame(&c, NH_WS_TEXT, NH_LIT(JOIN));
		if (i % 2)
			assert_int_equal(setsockopt(c.fd, SOL_SOCKET, SO_LINGER, &now, sizeof now), 0);
		client_close(&c);
	}
	stop();
	assert_int_equal(nh_db_read(db, count_entries, &entries, NULL), NH_OK);
	assert_true(entries.opened >= CLIENTS / 4);
	assert_int_equal(entries.closed, entries.opened);
	forget();
}

static void test_silence(void **state)
{
	begin(200);
	struct client c = enter();
	ws_frame(&c, NH_WS_TEXT, NH_LIT(JOIN));
	ws_expect(&c, NH_WS_TEXT, JOINED);
	ws_expect(&c, NH_WS_CLOSE, "\x03\xea" "idle");
	assert_false(client_more(&c));
	client_close(&c);
	WAIT_UNTIL(counts().sockets == 0);
	stop();
	forget();
}

int main(void)
{
	nh_log_set_level(NH_LOG_WARN);
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_a_database_that_does_not_write), cmocka_unit_test(test_clients_that_vanish), cmocka_unit_test(test_silence)};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
