/*
 * The database fails under devices, at each statement and at the commit: connect, join, events, and the end of a connection. Each time the device gets the
 * answer that makes it come back, nothing is half done, no effect is carried out, and the next attempt succeeds.
 */
#include "device_server.h"

#include <semaphore.h>
#include <time.h>

#include "device_api_int.h"

#define SOCKET "/socket/websocket?vsn=2.0.0"

struct fixture {
	struct pair ca, d1;
	int64_t device;
};

static nh_rc fill(struct world *w, struct nh_err *err)
{
	struct fixture *f = w->arg;
	int64_t id;
	NH_TRY(add_firmware(w, 1, "1.0.0", err));
	NH_TRY(add_firmware(w, 2, "1.1.0", err));
	NH_TRY(add_device(w, "d-1", NULL, &f->device, err));
	NH_TRY(make_ca(w, "Factory", NULL, 1000 * DAY_US, &f->ca, err));
	NH_TRY(register_ca(w, w->acme.id, f->ca.cert, false, &id, err));
	return make_device(w, "d-1", &f->ca, NULL, &f->d1, err);
}

/* Outages, and a bug: all make the device come back. */
static const nh_rc codes[] = {NH_EIO, NH_ENOSPC, NH_EAGAIN, NH_EINTERNAL};

static void put_join(struct device_server *s, struct nh_buf *frame, int firmware, const char *version)
{
	NH_AUTO_JSON json_t *payload = join_payload(&s->world, firmware, version);
	json_object_set_new(payload, "fwup_public_keys", json_string("on_connect"));
	nh_buf_put_str(frame, "[\"1\",\"1\",\"device\",\"phx_join\",");
	nh_json_put(frame, payload);
	nh_buf_put_str(frame, "]");
}

/* Answered next: so nothing was pushed before it. */
static void assert_quiet(struct peer *p)
{
	peer_send(p, "[null,\"7\",\"phoenix\",\"heartbeat\",{}]");
	assert_string_equal(peer_next(p), "[null,\"7\",\"phoenix\",\"phx_reply\",{\"status\":\"ok\",\"response\":{}}]");
}

static nh_rc nothing_tx(struct nh_tx *tx, void *arg, struct nh_err *err) { return NH_OK; }

/* The server has found the database away: nobody is let in from memory now. */
static void find_away(struct device_server *s)
{
	testdb_fail(s->db, NH_EIO, TESTDB_AT_COMMIT);
	assert_int_equal(nh_db_write(s->db, nothing_tx, NULL, NULL), NH_EIO);
	testdb_heal(s->db);
	assert_false(nh_db_available(s->db));
}

/* Written, and the server knows it. */
static void wait_for_end(struct device_server *s, int64_t device)
{
	wait_for_status(s, device, "disconnected");
	wait_for_pending(s, 0);
}

/* Fails statement after statement until none is left to fail; then the device is in, and its row written. */
static struct peer *connect_through(struct device_server *s, struct fixture *f, nh_rc code)
{
	for (int64_t at = TESTDB_AT_COMMIT;; at++) {
		struct look before = look(s, f->device);
		uint64_t unavailable = device_server_stats(s).unavailable;
		find_away(s);
		testdb_fail(s->db, code, at);
		struct peer *p = peer_new(s, SOCKET, &f->d1, NULL);
		testdb_heal(s->db);
		if (!testdb_failed()) {
			assert_true(peer_open(p));
			assert_true(at > 3);
			assert_string_equal(look(s, f->device).status, "connecting");
			return p;
		}
		if (peer_open(p)) { /* a job of the server's own took the failure: once more */
			peer_free(p);
			wait_for_end(s, f->device);
			at--;
			continue;
		}
		assert_int_equal(peer_end(p).status, 503);
		assert_true(peer_end(p).dated);
		peer_free(p);
		struct look after = look(s, f->device);
		assert_string_equal(before.id, after.id);
		assert_string_equal(before.status, after.status);
		assert_int_equal(device_server_stats(s).unavailable, unavailable + 1);
	}
}

/* A refused join leaves things as they were: a row that says connecting, or none of this connection yet. */
static void join_through(struct device_server *s, struct fixture *f, struct peer *p, nh_rc code, int firmware, const char *version)
{
	NH_AUTO_BUF struct nh_buf frame = NH_BUF_INIT;
	put_join(s, &frame, firmware, version);
	for (int64_t at = TESTDB_AT_COMMIT;; at++) {
		testdb_fail(s->db, code, at);
		peer_send(p, nh_buf_cstr(&frame));
		const char *answer = peer_next(p);
		testdb_heal(s->db);
		if (strstr(answer, "\"status\":\"ok\"")) {
			assert_true(testdb_failed() || at > 5);
			return;
		}
		assert_true(testdb_failed());
		assert_non_null(strstr(answer, "could not connect"));
		assert_quiet(p);
		assert_string_not_equal(look(s, f->device).status, "connected");
	}
}

static void test_every_statement(void **state)
{
	FOR_EACH_ENGINE (db) {
		struct device_server s;
		struct fixture f = {0};
		device_server_open(&s, db, fill, &f);
		struct peer *p = peer_new(&s, SOCKET, &f.d1, NULL); /* its certificate is known from now on */
		assert_true(peer_open(p));
		peer_free(p);
		wait_for_end(&s, f.device);
		for (size_t i = 0; i < 2 * NH_ARRAY_LEN(codes); i++) {
			bool odd = i % 2;
			nh_rc code = codes[i / 2];
			/* Let in by the database, or from memory. */
			p = odd ? connect_through(&s, &f, code) : peer_new(&s, SOCKET, &f.d1, NULL);
			assert_true(peer_open(p));
			join_through(&s, &f, p, code, odd ? 2 : 1, odd ? "1.1.0" : "1.0.0"); /* another firmware each time: an update succeeded */
			assert_string_equal(look(&s, f.device).status, "connected");
			/* What it reports may be lost, the connection is not. */
			testdb_fail(s.db, code, TESTDB_AT_COMMIT);
			peer_send(p, "[\"1\",\"2\",\"device\",\"firmware_validated\",{}]");
			peer_send(p, "[null,\"8\",\"phoenix\",\"heartbeat\",{}]"); /* read only when the event's job is done */
			assert_non_null(peer_until(p, "\"phoenix\",\"phx_reply\""));
			assert_true(testdb_failed());
			testdb_heal(s.db);
			peer_free(p);
			wait_for_end(&s, f.device);
		}
		device_server_close(&s);
		pair_fini(&f.ca);
		pair_fini(&f.d1);
	}
}

/* The end of a connection waits for the database, and is written when it is back; with its beginning, where that was not written either. */
static void test_end_waits(void **state)
{
	FOR_EACH_ENGINE (db) {
		struct device_server s;
		struct fixture f = {0};
		device_server_open(&s, db, fill, &f);
		for (unsigned written = 0; written < 2; written++) {
			struct look before = look(&s, f.device);
			world_pass(&s.world, NH_US_PER_S);
			struct peer *p = peer_new(&s, SOCKET, &f.d1, NULL);
			assert_true(peer_open(p));
			assert_quiet(p);
			if (written) {
				wait_for_status(&s, f.device, "connecting");
				before = look(&s, f.device);
			}
			testdb_fail(s.db, NH_EIO, TESTDB_AT_COMMIT);
			peer_free(p);
			wait_for_pending(&s, 1);
			assert_string_equal(look(&s, f.device).status, before.status);
			testdb_heal(s.db);
			wait_for_pending(&s, 0);
			struct look after = look(&s, f.device);
			assert_string_equal(after.status, "disconnected");
			assert_true((strcmp(after.id, before.id) == 0) == written);
		}
		device_server_close(&s);
		pair_fini(&f.ca);
		pair_fini(&f.d1);
	}
}

/* ---- many ends at once -------------------------------------------------------------------------------------------------------- */

#define ENDS 5000

static nh_rc hold_tx(struct nh_tx *tx, void *arg, struct nh_err *err)
{
	sem_t *gates = arg;
	sem_post(&gates[0]);
	while (sem_wait(&gates[1]) != 0)
		continue;
	return NH_OK;
}

struct holder {
	struct nh_db *db;
	sem_t gates[2];
};

static void *hold(void *arg)
{
	struct holder *h = arg;
	return nh_db_write(h->db, hold_tx, h->gates, NULL) == NH_OK ? NULL : h;
}

/* While the database is busy with something else, five thousand connections end: some twenty transactions, not five thousand. */
static void test_mass_end(void **state)
{
	struct device_server s;
	struct fixture f = {0};
	struct holder h = {.db = testdb_open(0)};
	struct nh_session session = {.connection_id = "00000000-0000-7000-8000-000000000000"};
	pthread_t thread;
	device_server_open(&s, h.db, fill, &f);
	sem_init(&h.gates[0], 0, 0);
	sem_init(&h.gates[1], 0, 0);
	assert_int_equal(pthread_create(&thread, NULL, hold, &h), 0);
	while (sem_wait(&h.gates[0]) != 0)
		continue;
	uint64_t before = device_server_stats(&s).presence_batches;
	for (int64_t i = 1; i <= ENDS; i++) {
		session.device_id = 1000 + i;
		presence_ended(&s.api->presence, &session, NULL);
	}
	assert_int_equal(device_server_stats(&s).disconnects_pending, ENDS);
	sem_post(&h.gates[1]);
	void *failed = NULL;
	pthread_join(thread, &failed);
	assert_null(failed);
	wait_for_pending(&s, 0);
	uint64_t batches = device_server_stats(&s).presence_batches - before;
	print_message("# %d ends in %llu transactions\n", ENDS, (unsigned long long)batches);
	assert_true(batches >= ENDS / 250 && batches <= ENDS / 250 + 2);
	device_server_close(&s);
	testdb_close(h.db);
	pair_fini(&f.ca);
	pair_fini(&f.d1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_every_statement), cmocka_unit_test(test_end_waits), cmocka_unit_test(test_mass_end)};
	return cmocka_run_group_tests_name("device_api_outages", tests, NULL, NULL);
}
