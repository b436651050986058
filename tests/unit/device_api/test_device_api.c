/*
 * The device endpoint over real TLS: every kind of identity, refusals, the channel, an update from push to success, downloads, the newest connection,
 * and frames that make no sense.
 */
#include "device_server.h"

#include "hub/download.h"

#define SOCKET "/socket/websocket?vsn=2.0.0"
#define DEVICE_SOCKET "/device-socket/websocket?vsn=2.0.0"
#define JOIN_OK "[\"1\",\"1\",\"device\",\"phx_reply\",{\"status\":\"ok\",\"response\":{}}]"

struct fixture {
	struct pair ca, jitp, stranger;
	struct pair d1, d2, created, unknown, strangers;
	struct nh_nh1_headers secret, wrong_secret;
	int64_t device;
	struct nh_group group;
};

static nh_rc fill(struct world *w, struct nh_err *err)
{
	struct fixture *f = w->arg;
	int64_t id;
	NH_TRY(add_firmware(w, 1, "1.0.0", err));
	NH_TRY(add_firmware(w, 2, "1.1.0", err));
	NH_TRY(add_device(w, "d-1", NULL, &f->device, err));
	NH_TRY(add_device(w, "d-2", NULL, &id, err));
	NH_TRY(make_ca(w, "Factory", NULL, 1000 * DAY_US, &f->ca, err));
	NH_TRY(make_ca(w, "Line 7", NULL, 1000 * DAY_US, &f->jitp, err));
	NH_TRY(make_ca(w, "Factory", NULL, 1000 * DAY_US, &f->stranger, err));
	NH_TRY(register_ca(w, w->acme.id, f->ca.cert, false, &id, err));
	NH_TRY(register_ca(w, w->acme.id, f->jitp.cert, true, &id, err));
	NH_TRY(make_device(w, "d-1", &f->ca, NULL, &f->d1, err));
	NH_TRY(make_device(w, "d-2", &f->ca, NULL, &f->d2, err));
	NH_TRY(make_device(w, "created-1", &f->jitp, NULL, &f->created, err));
	NH_TRY(make_device(w, "unknown-1", &f->ca, NULL, &f->unknown, err));
	NH_TRY(make_device(w, "d-1", &f->stranger, NULL, &f->strangers, err));
	NH_TRY(insert_id(w, &nh_q_product_secret_insert, NH_PARAMS(nh_p_int(w->widget.id), nh_p_str(PRODUCT_KEY), nh_p_str(SECRET), nh_p_int(w->now_us)),
	                 &id, err));
	f->secret = sign(w, PRODUCT_KEY, SECRET, "secret-1");
	f->wrong_secret = sign(w, PRODUCT_KEY, "wrong", "secret-1");
	return NH_OK;
}

static void open_fixture(struct device_server *s, struct fixture *f, struct nh_db *db)
{
	*f = (struct fixture){0};
	device_server_open(s, db, fill, f);
}

static void close_fixture(struct device_server *s, struct fixture *f)
{
	struct pair *pairs[] = {&f->ca, &f->jitp, &f->stranger, &f->d1, &f->d2, &f->created, &f->unknown, &f->strangers};
	device_server_close(s);
	for (size_t i = 0; i < NH_ARRAY_LEN(pairs); i++)
		pair_fini(pairs[i]);
}

static void send_join(struct device_server *s, struct peer *p, int firmware, const char *version)
{
	NH_AUTO_BUF struct nh_buf frame = NH_BUF_INIT;
	NH_AUTO_JSON json_t *payload = join_payload(&s->world, firmware, version);
	nh_buf_put_str(&frame, "[\"1\",\"1\",\"device\",\"phx_join\",");
	nh_json_put(&frame, payload);
	nh_buf_put_str(&frame, "]");
	peer_send(p, nh_buf_cstr(&frame));
}

static struct peer *joined(struct device_server *s, const struct pair *device, int firmware, const char *version)
{
	struct peer *p = peer_new(s, SOCKET, device, NULL);
	assert_true(peer_open(p));
	send_join(s, p, firmware, version);
	assert_string_equal(peer_next(p), JOIN_OK);
	return p;
}

static void assert_refused(struct device_server *s, const char *path, const struct pair *device, const struct nh_nh1_headers *secret, unsigned status)
{
	struct peer *p = peer_new(s, path, device, secret);
	assert_false(peer_open(p));
	struct peer_end end = peer_end(p);
	if (end.status != status)
		fail_msg("%s: status %u instead of %u", path, end.status, status);
	assert_true(status == 0 || end.dated);
	peer_free(p);
}

/* ---- who may connect -------------------------------------------------------------------------------------------------------- */

static void test_identities(void **state)
{
	FOR_EACH_ENGINE (db) {
		struct device_server s;
		struct fixture f;
		open_fixture(&s, &f, db);
		assert_refused(&s, SOCKET, NULL, NULL, 401);
		assert_refused(&s, DEVICE_SOCKET, NULL, &f.wrong_secret, 401);
		assert_refused(&s, "/socket/websocket?vsn=9.0.0", &f.d1, NULL, 403);
		assert_refused(&s, "/socket/websocket?vsn=two", &f.d1, NULL, 403);
		assert_refused(&s, SOCKET, &f.unknown, NULL, 0);   /* not registered: the handshake ends */
		assert_refused(&s, SOCKET, &f.strangers, NULL, 0); /* a CA of the same name that nobody registered */

		struct peer *p = joined(&s, &f.d1, 1, "1.0.0"); /* first connection through the CA */
		peer_free(p);
		p = joined(&s, &f.d1, 1, "1.0.0");              /* now known */
		peer_free(p);
		p = joined(&s, &f.created, 1, "1.0.0");
		peer_free(p);
		p = peer_new(&s, DEVICE_SOCKET, NULL, &f.secret);
		assert_true(peer_open(p));
		send_join(&s, p, 1, "1.0.0");
		assert_string_equal(peer_next(p), JOIN_OK);
		peer_free(p);

		struct nh_device_api_stats stats;
		nh_device_api_stats(s.api, &stats);
		assert_true(stats.joins == 4 && stats.refused >= 3);
		close_fixture(&s, &f);
	}
}

/* ---- the channel -------------------------------------------------------------------------------------------------------------- */

static void test_channel(void **state)
{
	FOR_EACH_ENGINE (db) {
		struct device_server s;
		struct fixture f;
		open_fixture(&s, &f, db);
		struct peer *p = joined(&s, &f.d1, 1, "1.0.0");
		assert_string_equal(peer_next(p), "[null,null,\"device\",\"extensions:get\",{}]");
		static const struct {
			const char *sent, *answer;
		} table[] = {
			{"[null,\"7\",\"phoenix\",\"heartbeat\",{}]", "[null,\"7\",\"phoenix\",\"phx_reply\",{\"status\":\"ok\",\"response\":{}}]"},
			{"[null,8,\"phoenix\",\"heartbeat\",null]", "[null,8,\"phoenix\",\"phx_reply\",{\"status\":\"ok\",\"response\":{}}]"},
			{"[null,\"9\",\"nowhere\",\"x\",{}]", "[null,\"9\",\"nowhere\",\"phx_reply\",{\"status\":\"error\",\"response\":{\"reason\":\"unmatched topic\"}}]"},
			{"[\"2\",\"2\",\"device:1\",\"phx_join\",{}]", "[\"2\",\"2\",\"device:1\",\"phx_reply\",{\"status\":\"error\",\"response\":{\"reason\":\"unmatched topic\"}}]"},
			{"[\"3\",\"3\",\"extensions\",\"phx_join\",{}]", "[\"3\",\"3\",\"extensions\",\"phx_reply\",{\"status\":\"ok\",\"response\":[]}]"},
			{"[\"4\",\"4\",\"console\",\"phx_join\",{}]", "[\"4\",\"4\",\"console\",\"phx_reply\",{\"status\":\"ok\",\"response\":{}}]"},
		};
		for (size_t i = 0; i < NH_ARRAY_LEN(table); i++) {
			peer_send(p, table[i].sent);
			assert_string_equal(peer_next(p), table[i].answer);
		}
		/* Nothing that a device pushes is acknowledged: the heartbeat's answer comes next. */
		static const char *const quiet[] = {
			"[\"1\",\"10\",\"device\",\"status_update\",{\"status\":\"exploded\"}]", "[\"1\",\"11\",\"device\",\"fwup_progress\",{\"value\":\"x\"}]",
			"[\"1\",\"12\",\"device\",\"no_such_event\",{}]", "[\"1\",\"13\",\"device\",\"rebooting\",{}]", "[\"1\",\"14\",\"device\",\"status_update\",null]",
			"[\"stale\",\"15\",\"device\",\"firmware_validated\",{}]", "[null,\"16\",\"device\",\"connection_types\",{\"values\":[\"wifi\"]}]",
			"[\"4\",\"17\",\"console\",\"up\",{\"data\":\"x\"}]"};
		for (size_t i = 0; i < NH_ARRAY_LEN(quiet); i++)
			peer_send(p, quiet[i]);
		peer_send(p, table[0].sent);
		assert_string_equal(peer_next(p), table[0].answer);

		/* Leaving and joining again on the same socket; a second join closes the first channel. */
		peer_send(p, "[\"1\",\"18\",\"device\",\"phx_leave\",{}]");
		assert_string_equal(peer_next(p), "[\"1\",\"18\",\"device\",\"phx_reply\",{\"status\":\"ok\",\"response\":{}}]");
		assert_string_equal(peer_next(p), "[\"1\",\"1\",\"device\",\"phx_close\",{}]");
		send_join(&s, p, 1, "1.0.0");
		assert_string_equal(peer_until(p, "phx_"), JOIN_OK);
		send_join(&s, p, 1, "1.0.0");
		assert_string_equal(peer_until(p, "phx_"), "[\"1\",\"1\",\"device\",\"phx_close\",{}]");
		assert_string_equal(peer_until(p, "phx_"), JOIN_OK);
		/* A join payload that is no object joins nothing. */
		peer_send(p, "[\"20\",\"20\",\"device\",\"phx_join\",[]]");
		assert_string_equal(peer_until(p, "phx_close"), "[\"1\",\"1\",\"device\",\"phx_close\",{}]");
		assert_string_equal(peer_next(p), "[\"20\",\"20\",\"device\",\"phx_reply\",{\"status\":\"error\",\"response\":{\"error\":\"could not connect\"}}]");
		peer_free(p);
		close_fixture(&s, &f);
	}
}

static void test_bad_frames(void **state)
{
	FOR_EACH_ENGINE (db) {
		struct device_server s;
		struct fixture f;
		open_fixture(&s, &f, db);
		static const char *const frames[] = {"", "{", "[]", "[1,2,3]", "[null,null,5,\"x\",{}]", "{\"topic\":\"phoenix\"}", "null"};
		for (size_t i = 0; i < NH_ARRAY_LEN(frames); i++) {
			struct peer *p = joined(&s, &f.d1, 1, "1.0.0");
			peer_send(p, frames[i]);
			assert_int_equal(peer_end(p).code, 1011);
			peer_free(p);
		}
		struct peer *p = joined(&s, &f.d1, 1, "1.0.0");
		peer_send_binary(p, NH_LIT("\x00\x01"));
		assert_int_equal(peer_end(p).code, 1011);
		peer_free(p);
		NH_AUTO_BUF struct nh_buf big = NH_BUF_INIT;
		nh_buf_fill(&big, 'x', (size_t)2 << 20);
		p = joined(&s, &f.d1, 1, "1.0.0");
		peer_send(p, nh_buf_cstr(&big));
		assert_int_equal(peer_end(p).code, 1009);
		peer_free(p);
		close_fixture(&s, &f);
	}
}

/* ---- an update -------------------------------------------------------------------------------------------------------------- */

static nh_rc make_group(struct world *w, struct nh_err *err)
{
	struct fixture *f = w->arg;
	OK(add_group(w, group_fields(w, "prod", 2), &f->group));
	return NH_OK;
}

static nh_rc check_done(struct world *w, struct nh_err *err)
{
	struct fixture *f = w->arg;
	struct nh_device_facts d;
	struct nh_group g;
	OK(nh_device_facts_load(&w->ctx, f->device, &d, E(w)));
	OK(nh_group_get_by_id(&w->ctx, f->group.id, &g, E(w)));
	CHECK(!d.inflight && nh_slice_eq(d.firmware_uuid, fw_uuid(w, 2)) && g.updated_devices == 1 && g.device_count == 1);
	return NH_OK;
}

static void check_download(struct device_server *s, const char *url)
{
	struct download d = fetch(s, url, false, 0);
	assert_int_equal(d.rc, NH_OK);
	assert_int_equal(d.status, 200);
	assert_int_equal(d.body.len, 50000);
	assert_string_equal(d.content_length, "50000");
	assert_true(strlen(d.etag) > 2);
	struct download part = fetch(s, url, true, 49990);
	assert_int_equal(part.status, 206);
	assert_string_equal(part.content_range, "bytes 49990-49999/50000");
	assert_int_equal(part.body.len, 10);
	assert_memory_equal(part.body.ptr, d.body.ptr + 49990, 10);
	struct download past = fetch(s, url, true, 50000);
	assert_int_equal(past.status, 416);
	nh_buf_fini(&d.body);
	nh_buf_fini(&part.body);
	nh_buf_fini(&past.body);

	NH_AUTO_BUF struct nh_buf forged = NH_BUF_INIT;
	nh_buf_put_str(&forged, url);
	forged.ptr[forged.len - 2] = forged.ptr[forged.len - 2] == 'A' ? 'B' : 'A';
	struct download no = fetch(s, nh_buf_cstr(&forged), false, 0);
	assert_int_equal(no.status, 403);
	nh_buf_fini(&no.body);
}

static void test_update(void **state)
{
	FOR_EACH_ENGINE (db) {
		struct device_server s;
		struct fixture f;
		open_fixture(&s, &f, db);
		device_server_do(&s, make_group);
		struct peer *p = joined(&s, &f.d1, 1, "1.0.0");
		const char *frame = peer_until(p, "\"update\"");
		NH_AUTO_JSON json_t *update = NULL;
		assert_int_equal(nh_json_parse(nh_slice_str(frame), 100000, &update, NULL), NH_OK);
		assert_true(json_is_null(json_array_get(update, 0)) && json_is_null(json_array_get(update, 1)));
		const json_t *payload = json_array_get(update, 4);
		assert_true(nh_json_bool(payload, "update_available", false));
		check_download(&s, json_string_value(json_object_get(payload, "firmware_url")));

		peer_send(p, "[\"1\",\"2\",\"device\",\"status_update\",{\"status\":\"received\"}]");
		peer_send(p, "[\"1\",\"3\",\"device\",\"fwup_progress\",{\"stage\":\"downloading\",\"value\":50}]");
		peer_send(p, "[\"1\",\"4\",\"device\",\"fwup_progress\",{\"stage\":\"updating\",\"value\":100}]");
		peer_send(p, "[\"1\",\"5\",\"device\",\"status_update\",{\"status\":\"completed\"}]");
		/* "reboot": the new firmware connects while the server has not noticed the old socket's end */
		struct peer *again = joined(&s, &f.d1, 2, "1.1.0");
		assert_int_equal(peer_end(p).code, 1001);
		device_server_do(&s, check_done);
		peer_free(p);
		peer_free(again);
		close_fixture(&s, &f);
	}
}

/* ---- commands, newest connection, deletion ------------------------------------------------------------------------------------ */

static nh_rc command_reboot(struct world *w, struct nh_err *err)
{
	OK(nh_device_reboot(&w->ctx, &w->as_ada, w->acme.id, ((struct fixture *)w->arg)->device, E(w)));
	OK(nh_device_identify(&w->ctx, &w->as_ada, w->acme.id, ((struct fixture *)w->arg)->device, E(w)));
	return NH_OK;
}

static nh_rc command_reconnect(struct world *w, struct nh_err *err)
{
	OK(nh_device_reconnect(&w->ctx, &w->as_ada, w->acme.id, ((struct fixture *)w->arg)->device, E(w)));
	return NH_OK;
}

static nh_rc delete_device(struct world *w, struct nh_err *err)
{
	struct nh_device row;
	OK(nh_device_by_id(&w->ctx, ((struct fixture *)w->arg)->device, &row, E(w)));
	OK(nh_device_delete(&w->ctx, &w->as_ada, &row, E(w)));
	return NH_OK;
}

static void test_commands(void **state)
{
	FOR_EACH_ENGINE (db) {
		struct device_server s;
		struct fixture f;
		open_fixture(&s, &f, db);
		struct peer *p = joined(&s, &f.d1, 1, "1.0.0");
		struct peer *other = joined(&s, &f.d2, 1, "1.0.0");
		device_server_do(&s, command_reboot);
		assert_string_equal(peer_until(p, "reboot"), "[null,null,\"device\",\"reboot\",{}]");
		assert_string_equal(peer_until(p, "identify"), "[null,null,\"device\",\"identify\",{}]");

		struct peer *newer = joined(&s, &f.d1, 1, "1.0.0");
		assert_int_equal(peer_end(p).code, 1001);
		peer_free(p);
		device_server_do(&s, command_reconnect);
		assert_int_equal(peer_end(newer).code, 1001);
		peer_free(newer);

		p = joined(&s, &f.d1, 1, "1.0.0");
		device_server_do(&s, delete_device);
		assert_int_equal(peer_end(p).code, 1001);
		peer_free(p);
		assert_refused(&s, SOCKET, &f.d1, NULL, 0);
		/* the neighbour noticed nothing */
		peer_send(other, "[null,\"7\",\"phoenix\",\"heartbeat\",{}]");
		assert_non_null(peer_until(other, "\"7\""));
		peer_free(other);
		close_fixture(&s, &f);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_identities), cmocka_unit_test(test_channel), cmocka_unit_test(test_bad_frames),
		cmocka_unit_test(test_update),     cmocka_unit_test(test_commands),
	};
	return cmocka_run_group_tests_name("device_api", tests, NULL, NULL);
}
