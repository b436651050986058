/*
 * Topics: who hears what, on which loop, what is dropped, and two nodes on one PostgreSQL.
 */
#include <libpq-fe.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bus/bus.h"
#include "loop/loop.h"
#include "test_base.h"
#include "testdb.h"

struct ear {
	struct nh_loop *loop;
	struct nh_bus_sub *sub;
	struct nh_bus *bus;
	const char *topic;
	char heard[256];
	int64_t lost;
	unsigned count, stop_at; /* stops the loop, or posts `reached`, at this count */
	unsigned leave_at;       /* unsubscribes from within the callback */
	bool on_loop;
	sem_t reached;
};

static void hear(void *ctx, nh_slice topic, nh_slice payload, int64_t lost)
{
	struct ear *e = ctx;
	size_t used = strlen(e->heard);
	snprintf(e->heard + used, sizeof(e->heard) - used, "%.*s=%.*s ", NH_ARG(topic), NH_ARG(payload));
	e->lost += lost;
	e->on_loop = nh_loop_here(e->loop);
	e->count++;
	if (e->count == e->leave_at) {
		nh_bus_unsubscribe(e->sub);
		e->sub = NULL;
	}
	if (e->count == e->stop_at) {
		nh_loop_stop(e->loop);
		sem_post(&e->reached);
	}
}

static struct nh_bus *open_bus(const char *url, size_t pending_max)
{
	struct nh_bus *bus = NULL;
	struct nh_err err = NH_ERR_INIT;
	if (nh_bus_open(&(struct nh_bus_config){url, pending_max}, &bus, &err) != NH_OK)
		fail_msg("%s", err.msg);
	return bus;
}

static void listen_to(struct ear *e, struct nh_bus *bus, struct nh_loop *loop, const char *topic)
{
	e->loop = loop;
	assert_int_equal(nh_bus_subscribe(bus, topic, loop, hear, e, &e->sub, NULL), NH_OK);
}

static void test_topics(void **state)
{
	struct nh_bus *bus = open_bus(NULL, 0);
	struct nh_loop *loop = NULL;
	struct ear first = {.stop_at = 2}, second = {0}, other = {0};
	assert_int_equal(nh_loop_new(NULL, &loop, NULL), NH_OK);
	listen_to(&second, bus, loop, "device:1");
	listen_to(&other, bus, loop, "device:2");
	listen_to(&first, bus, loop, "device:1");
	assert_int_equal(nh_bus_publish(bus, "device:1", NH_LIT("a"), NULL), NH_OK);
	assert_int_equal(nh_bus_publish(bus, "device:3", NH_LIT("nobody"), NULL), NH_OK);
	assert_int_equal(nh_bus_publish(bus, "device:1", NH_LIT("b"), NULL), NH_OK);
	assert_string_equal(first.heard, ""); /* never inside publish */
	nh_loop_run(loop);
	assert_string_equal(first.heard, "device:1=a device:1=b ");
	assert_string_equal(second.heard, first.heard);
	assert_string_equal(other.heard, "");
	assert_true(first.on_loop);
	nh_bus_unsubscribe(first.sub);
	nh_bus_unsubscribe(second.sub);
	nh_bus_unsubscribe(other.sub);
	nh_bus_unsubscribe(NULL);
	nh_loop_free(loop);
	nh_bus_close(bus);
	nh_bus_close(NULL);
}

static void test_refused(void **state)
{
	static const char *const bad[] = {"", "A", "a b", "a/b", "\xc3\xa4"};
	static char big[NH_BUS_PAYLOAD_MAX + 1];
	struct nh_bus *bus = open_bus("sqlite:/nowhere", 0);
	struct nh_bus_sub *sub = NULL;
	struct nh_err err = NH_ERR_INIT;
	for (size_t i = 0; i < NH_ARRAY_LEN(bad); i++) {
		assert_int_equal(nh_bus_publish(bus, bad[i], NH_SLICE_EMPTY, &err), NH_EINVAL);
		assert_int_equal(nh_bus_subscribe(bus, bad[i], NULL, hear, NULL, &sub, &err), NH_EINVAL);
	}
	assert_int_equal(nh_bus_publish(bus, "a", nh_slice_of(big, sizeof(big)), &err), NH_ETOOBIG);
	nh_bus_close(bus);
	assert_int_equal(nh_bus_open(&(struct nh_bus_config){"postgres://127.0.0.1:1/x", 0}, &bus, &err), NH_EIO);
	assert_non_null(strstr(err.msg, "cannot listen"));
}

/* A slow subscriber loses messages and is told how many with the next one it gets. */
static void test_slow(void **state)
{
	struct nh_bus *bus = open_bus(NULL, 2);
	struct nh_loop *loop = NULL;
	struct ear ear = {.stop_at = 2};
	assert_int_equal(nh_loop_new(NULL, &loop, NULL), NH_OK);
	listen_to(&ear, bus, loop, "t");
	for (char text[] = "1"; text[0] <= '5'; text[0]++)
		assert_int_equal(nh_bus_publish(bus, "t", nh_slice_str(text), NULL), NH_OK);
	nh_loop_run(loop);
	assert_string_equal(ear.heard, "t=1 t=2 ");
	assert_int_equal(ear.lost, 0);
	ear.stop_at = 3;
	assert_int_equal(nh_bus_publish(bus, "t", NH_LIT("6"), NULL), NH_OK);
	nh_bus_unsubscribe(ear.sub);
	nh_loop_free(loop);
	nh_bus_close(bus);
	assert_string_equal(ear.heard, "t=1 t=2 ");

	bus = open_bus(NULL, 1);
	ear = (struct ear){.stop_at = 2};
	assert_int_equal(nh_loop_new(NULL, &loop, NULL), NH_OK);
	assert_int_equal(nh_loop_start(loop, NULL), NH_OK);
	sem_init(&ear.reached, 0, 0);
	listen_to(&ear, bus, loop, "t");
	/* whatever the interleaving, heard + lost adds up */
	unsigned sent = 0;
	while (sem_trywait(&ear.reached) != 0) {
		assert_int_equal(nh_bus_publish(bus, "t", NH_LIT("x"), NULL), NH_OK);
		sent++;
	}
	nh_loop_join(loop);
	assert_true(ear.count >= 2 && (int64_t)ear.count + ear.lost <= (int64_t)sent);
	sem_destroy(&ear.reached);
	nh_bus_unsubscribe(ear.sub);
	nh_loop_free(loop);
	nh_bus_close(bus);
}

static void test_leave_inside(void **state)
{
	struct nh_bus *bus = open_bus(NULL, 0);
	struct nh_loop *loop = NULL;
	struct ear ear = {.leave_at = 1, .stop_at = 1};
	assert_int_equal(nh_loop_new(NULL, &loop, NULL), NH_OK);
	listen_to(&ear, bus, loop, "t");
	for (unsigned i = 0; i < 3; i++)
		assert_int_equal(nh_bus_publish(bus, "t", NH_LIT("x"), NULL), NH_OK);
	nh_loop_run(loop);
	assert_string_equal(ear.heard, "t=x ");
	nh_loop_free(loop);
	nh_bus_close(bus);
}

/* ---- two nodes ------------------------------------------------------------------------------------------------------------------- */

struct said {
	struct nh_bus *bus;
	const char *text;
	bool fail;
};

static nh_rc say(struct nh_tx *tx, void *arg, struct nh_err *err)
{
	const struct said *s = arg;
	NH_TRY(nh_bus_publish_tx(s->bus, tx, "group:7", nh_slice_str(s->text), err));
	return s->fail ? NH_FAIL(err, NH_EPERM, "no") : NH_OK;
}

/* A loop that was stopped does not run again. */
static struct nh_loop *renew(struct nh_loop *old)
{
	struct nh_loop *loop = NULL;
	nh_loop_free(old);
	assert_int_equal(nh_loop_new(NULL, &loop, NULL), NH_OK);
	return loop;
}

static void test_nodes(void **state)
{
	struct nh_db *db = testdb_open(1);
	if (!db)
		return;
	struct nh_bus *here = open_bus(testdb_url(db), 0), *there = open_bus(testdb_url(db), 0);
	struct nh_loop *loop = NULL;
	struct ear near = {0}, far = {.stop_at = 2};
	assert_int_equal(nh_loop_new(NULL, &loop, NULL), NH_OK);
	listen_to(&near, here, loop, "group:7");
	listen_to(&far, there, loop, "group:7");
	struct said lost = {here, "never", true}, one = {here, "1", false}, two = {here, "2 \n", false};
	assert_int_equal(nh_db_write(db, say, &lost, NULL), NH_EPERM); /* what did not commit is not said */
	assert_int_equal(nh_db_write(db, say, &one, NULL), NH_OK);
	assert_int_equal(nh_db_write(db, say, &two, NULL), NH_OK);
	nh_loop_run(loop);
	assert_string_equal(far.heard, "group:7=1 group:7=2 \n ");
	assert_string_equal(near.heard, ""); /* a node does not hear itself this way */

	/* the server drops the listeners: they come back and say so */
	struct ear far2 = {.stop_at = 1};
	nh_bus_unsubscribe(near.sub);
	nh_bus_unsubscribe(far.sub);
	loop = renew(loop);
	listen_to(&far2, there, loop, "group:7");
	const char *name = strstr(testdb_url(db), "application_name=") + strlen("application_name=");
	PGconn *other = PQconnectdb(getenv("NH_TEST_PG_URL"));
	PGresult *res = PQexecParams(other, "SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity WHERE application_name = $1", 1, NULL, &name, NULL, NULL, 0);
	assert_true(PQntuples(res) >= 2);
	PQclear(res);
	PQfinish(other);
	nh_loop_run(loop);
	assert_int_equal(far2.lost, -1);
	nh_bus_unsubscribe(far2.sub);
	loop = renew(loop);
	struct ear far3 = {.stop_at = 1};
	listen_to(&far3, there, loop, "group:7");
	struct said three = {here, "3", false};
	assert_int_equal(nh_db_write(db, say, &three, NULL), NH_OK);
	nh_loop_run(loop);
	assert_string_equal(far3.heard, "group:7=3 ");
	nh_bus_unsubscribe(far3.sub);
	nh_loop_free(loop);
	nh_bus_close(here);
	nh_bus_close(there);
	testdb_close(db);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_topics), cmocka_unit_test(test_refused), cmocka_unit_test(test_slow), cmocka_unit_test(test_leave_inside), cmocka_unit_test(test_nodes),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
