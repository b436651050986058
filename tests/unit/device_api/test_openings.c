/*
 * Connections that are let in from memory: what the database is told of them, and when; in which order it is told of several connections of one device; and that
 * memory which is out of date lets nobody stay. Looks inside presence to hold things at the moment that counts.
 */
#include "device_server.h"

#include <semaphore.h>
#include <time.h>

#include "device_api_int.h"
#include "hub/certificates.h"
#include "hub/extensions.h"

#define SOCKET "/socket/websocket?vsn=2.0.0"

struct fixture {
	struct pair ca, d1;
	int64_t device;
	int64_t many[600];
};

static nh_rc fill(struct world *w, struct nh_err *err)
{
	struct fixture *f = w->arg;
	int64_t id;
	NH_TRY(add_firmware(w, 1, "1.0.0", err));
	NH_TRY(add_device(w, "d-1", NULL, &f->device, err));
	NH_TRY(make_ca(w, "Factory", NULL, 1000 * DAY_US, &f->ca, err));
	NH_TRY(register_ca(w, w->acme.id, f->ca.cert, false, &id, err));
	return make_device(w, "d-1", &f->ca, NULL, &f->d1, err);
}

static nh_rc fill_many(struct world *w, struct nh_err *err)
{
	struct fixture *f = w->arg;
	for (size_t i = 0; i < NH_ARRAY_LEN(f->many); i++)
		NH_TRY(add_device(w, nh_arena_printf(&w->arena, "many-%zu", i), NULL, &f->many[i], err));
	return fill(w, err);
}

static void close_all(struct device_server *s, struct fixture *f)
{
	device_server_close(s);
	pair_fini(&f->ca);
	pair_fini(&f->d1);
}

static const char join_empty[] = "[\"1\",\"1\",\"device\",\"phx_join\",{}]";
static const char join_ok[] = "[\"1\",\"1\",\"device\",\"phx_reply\",{\"status\":\"ok\",\"response\":{}}]";

/* The device with its certificate known: from now on it is let in from memory. */
static struct peer *connect(struct device_server *s, struct fixture *f)
{
	struct peer *p = peer_new(s, SOCKET, &f->d1, NULL);
	assert_true(peer_open(p));
	return p;
}

static uint64_t writes(struct device_server *s)
{
	struct nh_db_stats stats;
	nh_db_stats(s->db, &stats);
	return stats.writes;
}

struct past {
	struct device_server *s;
	int64_t device;
	size_t ended;
};

static nh_rc past_tx(struct nh_tx *tx, void *arg, struct nh_err *err)
{
	struct past *p = arg;
	struct nh_past_connection *list;
	size_t count = 0;
	NH_AUTO_ARENA struct nh_arena arena = NH_ARENA_INIT;
	struct nh_ctx ctx = {.tx = tx, .arena = &arena, .clock = &p->s->world.clock};
	NH_TRY(nh_connection_history(&ctx, p->device, INT64_MAX, 100, &list, &count, err));
	for (size_t i = 0; i < count; i++)
		p->ended += list[i].disconnected_at_us != 0;
	return NH_OK;
}

/* How many connections of the device have ended, as its history tells. */
static size_t ended(struct device_server *s, int64_t device)
{
	struct past p = {s, device, 0};
	assert_int_equal(nh_db_read(s->db, past_tx, &p, NULL), NH_OK);
	return p.ended;
}

/* ---- what is written, and when ------------------------------------------------------------------------------------------------ */

static void test_one_transaction_for_connect_and_join(void **state)
{
	FOR_EACH_ENGINE (db) {
		struct device_server s;
		struct fixture f = {0};
		device_server_open(&s, db, fill, &f);
		peer_free(connect(&s, &f));
		wait_for_pending(&s, 0);
		wait_for_status(&s, f.device, "disconnected");
		struct look before = look(&s, f.device);
		uint64_t count = writes(&s);
		struct peer *p = connect(&s, &f);
		assert_int_equal(writes(&s), count);
		peer_send(p, join_empty);
		assert_string_equal(peer_next(p), join_ok);
		assert_int_equal(writes(&s), count + 1);
		struct look after = look(&s, f.device);
		assert_string_equal(after.status, "connected");
		assert_string_not_equal(after.id, before.id);
		/* A channel that is left and joined again is the same connection. */
		peer_send(p, "[\"1\",\"2\",\"device\",\"phx_leave\",{}]");
		assert_non_null(strstr(peer_next(p), "phx_reply"));
		assert_non_null(strstr(peer_next(p), "phx_close"));
		peer_send(p, join_empty);
		assert_string_equal(peer_next(p), join_ok);
		assert_string_equal(look(&s, f.device).id, after.id);
		peer_free(p);
		wait_for_status(&s, f.device, "disconnected");
		assert_string_equal(look(&s, f.device).id, after.id);
		close_all(&s, &f);
	}
}

/* A device that says nothing is seen all the same, and may join when it likes. */
static void test_without_a_join(void **state)
{
	FOR_EACH_ENGINE (db) {
		struct device_server s;
		struct fixture f = {0};
		device_server_open(&s, db, fill, &f);
		struct peer *p = connect(&s, &f);
		wait_for_status(&s, f.device, "connecting");
		struct look connecting = look(&s, f.device);
		peer_send(p, join_empty);
		assert_string_equal(peer_next(p), join_ok);
		struct look connected = look(&s, f.device);
		assert_string_equal(connected.status, "connected");
		assert_string_equal(connected.id, connecting.id);
		peer_free(p);
		wait_for_status(&s, f.device, "disconnected");
		/* Nor is one that came and went at once. */
		world_pass(&s.world, NH_US_PER_S);
		p = connect(&s, &f);
		peer_free(p);
		for (uint64_t deadline = nh_mono_ms() + DEADLINE_S * 1000; strcmp(look(&s, f.device).id, connected.id) == 0;)
			assert_true(nh_mono_ms() < deadline);
		struct look gone = look(&s, f.device);
		assert_string_equal(gone.status, "disconnected");
		assert_true(gone.established_at_us == s.world.now_us && gone.disconnected_at_us == s.world.now_us);
		close_all(&s, &f);
	}
}

/* ---- memory that is out of date ----------------------------------------------------------------------------------------------- */

static nh_rc unpin(struct world *w, struct nh_err *err)
{
	struct nh_device row;
	struct nh_device_certificate *certs = NULL;
	size_t count = 0;
	NH_TRY(nh_device_by_id(&w->ctx, ((struct fixture *)w->arg)->device, &row, err));
	NH_TRY(nh_device_certificate_list(&w->ctx, &w->as_ada, &row, &certs, &count, err));
	NH_ASSERT(count == 1);
	return nh_device_certificate_delete(&w->ctx, &w->as_ada, &row, certs[0].serial, err);
}

static nh_rc remove_device(struct world *w, struct nh_err *err)
{
	struct nh_device row;
	NH_TRY(nh_device_by_id(&w->ctx, ((struct fixture *)w->arg)->device, &row, err));
	return nh_device_delete(&w->ctx, &w->as_ada, &row, err);
}

/* As another server of the same database does it: no effect of it is heard here. */
static nh_rc unpin_elsewhere(struct world *w, struct nh_err *err)
{
	NH_TRY(unpin(w, err));
	w->effects.count = 0;
	return NH_OK;
}

static nh_rc remove_elsewhere(struct world *w, struct nh_err *err)
{
	NH_TRY(remove_device(w, err));
	w->effects.count = 0;
	return NH_OK;
}

static void test_let_in_no_more(void **state)
{
	static const struct {
		nh_rc (*rules)(struct world *w, struct nh_err *err);
		bool elsewhere, joins, comes_back; /* comes_back: its CA lets it in anew */
	} table[] = {
		{unpin, false, false, true}, {remove_device, false, false, false},
		{unpin_elsewhere, true, true, true}, {unpin_elsewhere, true, false, true},
		{remove_elsewhere, true, true, false}, {remove_elsewhere, true, false, false},
	};
	for (size_t i = 0; i < NH_ARRAY_LEN(table); i++) {
		struct device_server s;
		struct fixture f = {0};
		struct nh_db *db = testdb_open(0);
		device_server_open(&s, db, fill, &f);
		struct peer *p = connect(&s, &f);
		assert_int_equal(device_server_stats(&s).certificates_known, 1);
		device_server_do(&s, table[i].rules);
		if (table[i].joins) {
			peer_send(p, join_empty);
			assert_non_null(strstr(peer_next(p), "could not connect"));
		}
		/* At once here; from elsewhere with the join, or when the connection would have been written. */
		assert_int_equal(peer_end(p).code, NH_WS_CLOSE_GOING_AWAY);
		assert_int_equal(device_server_stats(&s).certificates_known, 0);
		peer_free(p);
		wait_for_pending(&s, 0);
		assert_string_equal(look(&s, f.device).status, "");
		p = peer_new(&s, SOCKET, &f.d1, NULL);
		assert_int_equal(peer_open(p), table[i].comes_back);
		peer_free(p);
		close_all(&s, &f);
		testdb_close(db);
	}
}

/* ---- order --------------------------------------------------------------------------------------------------------------------- */

/* Two connections of a device, each joined or not: the newer one's row stays, whatever of the older is written late. */
static void test_newest_wins(void **state)
{
	FOR_EACH_ENGINE (db) {
		struct device_server s;
		struct fixture f = {0};
		device_server_open(&s, db, fill, &f);
		for (unsigned i = 0; i < 8; i++) {
			bool clock_back = i & 4;
			struct peer *old = connect(&s, &f);
			if (i & 1) {
				peer_send(old, join_empty);
				assert_string_equal(peer_next(old), join_ok);
			}
			world_pass(&s.world, (clock_back ? -1 : 1) * 3600 * NH_US_PER_S);
			struct peer *new = connect(&s, &f);
			assert_int_equal(peer_end(old).code, NH_WS_CLOSE_GOING_AWAY);
			if (i & 2) {
				peer_send(new, join_empty);
				assert_string_equal(peer_next(new), join_ok);
			}
			struct look joined = look(&s, f.device);
			peer_free(old);
			wait_for_pending(&s, 0);
			if (i & 2) {
				assert_string_equal(joined.status, "connected");
				assert_string_equal(look(&s, f.device).id, joined.id);
				assert_string_equal(look(&s, f.device).status, "connected");
			}
			/* The newer one's events are heard: the row is its own. */
			peer_send(new, "[\"1\",\"9\",\"device\",\"phx_join\",{}]");
			assert_non_null(peer_until(new, "\"9\",\"device\",\"phx_reply\",{\"status\":\"ok\""));
			assert_string_equal(look(&s, f.device).status, "connected");
			peer_free(new);
			wait_for_pending(&s, 0);
			wait_for_status(&s, f.device, "disconnected");
			assert_int_equal(ended(&s, f.device), 2 * (i + 1)); /* the overtaken one, too, joined or not */
		}
		close_all(&s, &f);
	}
}

/* ---- many, while the database is busy ------------------------------------------------------------------------------------------ */

struct holder {
	struct nh_db *db;
	sem_t held, release;
};

static nh_rc hold_tx(struct nh_tx *tx, void *arg, struct nh_err *err)
{
	struct holder *h = arg;
	sem_post(&h->held);
	while (sem_wait(&h->release) != 0)
		continue;
	return NH_OK;
}

static void *hold(void *arg)
{
	struct holder *h = arg;
	return nh_db_write(h->db, hold_tx, h, NULL) == NH_OK ? NULL : h;
}

struct taker {
	struct presence *presence;
	struct presence_begin *begin;
	bool unwritten;
};

static void *take(void *arg)
{
	struct taker *t = arg;
	t->unwritten = presence_take(t->presence, t->begin);
	return NULL;
}

/* NULL: none. */
static const struct presence_begin *first_waiting(struct presence *p)
{
	pthread_mutex_lock(&p->lock);
	const struct presence_begin *first = p->begins;
	pthread_mutex_unlock(&p->lock);
	return first;
}

struct one {
	struct presence_begin *begin;
	struct nh_conn_id conn;
	struct nh_session session;
};

/* Names a connection that never was: the registry believes it, the server finds nobody. */
static struct one begin_one(struct device_server *s, int64_t device, uint32_t number)
{
	struct nh_conn_id old;
	struct one one = {.begin = presence_begin_new(&s->api->presence, device, NH_SLICE_EMPTY), .conn = {0, 1000000 + number, 1}};
	one.session = nh_session_of(&one.begin->opening);
	registry_put(&s->api->registry, device, one.conn, &old);
	presence_began(&s->api->presence, one.begin, one.conn);
	return one;
}

static void end_one(struct device_server *s, struct one *one)
{
	registry_remove(&s->api->registry, one->session.device_id, one->conn);
	presence_ended(&s->api->presence, &one->session, one->begin);
}

/*
 * Of three devices one stays, one ends and one is replaced: half of them while their beginnings wait, half while they are with the writer, who is busy. A batch
 * is one transaction, nobody is lost, and no end comes before its beginning.
 */
static void test_many_at_once(void **state)
{
	enum { MANY = NH_ARRAY_LEN(((struct fixture *)0)->many) };
	struct device_server s;
	static struct one ones[MANY], newer[MANY];
	static struct fixture f;
	struct holder h = {.db = testdb_open(0)};
	pthread_t holding, taking;
	f = (struct fixture){0};
	device_server_open(&s, h.db, fill_many, &f);
	sem_init(&h.held, 0, 0);
	sem_init(&h.release, 0, 0);
	uint64_t batches = device_server_stats(&s).presence_batches;
	assert_int_equal(pthread_create(&holding, NULL, hold, &h), 0);
	while (sem_wait(&h.held) != 0)
		continue;
	for (uint32_t i = 0; i < MANY; i++)
		ones[i] = begin_one(&s, f.many[i], i);
	/* Those that are due by the next tick go out, at most a batch, and wait for the writer; the first is one of them. */
	while (first_waiting(&s.api->presence) == ones[0].begin)
		nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
	for (uint32_t i = 0; i < MANY; i++) {
		if (i % 3 == 1)
			end_one(&s, &ones[i]);
		if (i % 3 != 2)
			continue;
		newer[i] = begin_one(&s, f.many[i], MANY + i);
		presence_ended(&s.api->presence, &ones[i].session, ones[i].begin); /* its place in the registry is the newer one's */
	}
	struct taker taker = {&s.api->presence, ones[0].begin, true};
	assert_int_equal(pthread_create(&taking, NULL, take, &taker), 0);
	sem_post(&h.release);
	void *failed = NULL;
	pthread_join(holding, &failed);
	pthread_join(taking, NULL);
	assert_null(failed);
	assert_false(taker.unwritten); /* it waited until its row was there */
	wait_for_pending(&s, 0);
	for (uint32_t i = 0; i < MANY; i++) {
		wait_for_status(&s, f.many[i], i % 3 == 1 ? "disconnected" : "connecting");
		const struct one *shown = i % 3 == 2 ? &newer[i] : &ones[i];
		assert_string_equal(look(&s, f.many[i]).id, shown->session.connection_id);
	}
	assert_null(first_waiting(&s.api->presence));
	batches = device_server_stats(&s).presence_batches - batches;
	print_message("# %d beginnings, %d ends in %llu transactions\n", MANY + MANY / 3, MANY * 2 / 3, (unsigned long long)batches);
	assert_true(batches < 20);
	for (uint32_t i = 0; i < MANY; i++)
		if (i % 3 != 1)
			end_one(&s, i % 3 == 2 ? &newer[i] : &ones[i]);
	wait_for_pending(&s, 0);
	for (uint32_t i = 0; i < MANY; i++) {
		assert_string_equal(look(&s, f.many[i]).status, "disconnected");
		assert_int_equal(ended(&s, f.many[i]), i % 3 == 2 ? 2 : 1);
	}
	close_all(&s, &f);
	testdb_close(h.db);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_one_transaction_for_connect_and_join), cmocka_unit_test(test_without_a_join), cmocka_unit_test(test_let_in_no_more),
		cmocka_unit_test(test_newest_wins), cmocka_unit_test(test_many_at_once),
	};
	return cmocka_run_group_tests_name("device_api_openings", tests, NULL, NULL);
}
