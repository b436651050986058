/*
 * Fresh databases for tests (testdb.h). thread: the test's main thread.
 */
#include <libpq-fe.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "db_int.h"
#include "test_base.h"
#include "testdb.h"

struct place {
	struct nh_db *db;
	char url[512];
	char dir[64];    /* SQLite: folder of the file */
	char schema[64]; /* PostgreSQL */
};

static struct place places[16];
static pid_t owner;

const char *testdb_name(unsigned engine) { return engine == 0 ? "sqlite" : "postgres"; }

static void pg_run(const char *what, const char *schema, const char *more)
{
	char sql[256];
	snprintf(sql, sizeof(sql), "SET client_min_messages = warning; %s \"%s\" %s", what, schema, more);
	PGconn *conn = PQconnectdb(getenv("NH_TEST_PG_URL"));
	PGresult *res = PQexec(conn, sql);
	if (PQresultStatus(res) != PGRES_COMMAND_OK)
		fprintf(stderr, "%s: %s\n", sql, PQerrorMessage(conn));
	PQclear(res);
	PQfinish(conn);
}

static void drop(struct place *p)
{
	if (p->schema[0])
		pg_run("DROP SCHEMA", p->schema, "CASCADE");
	for (unsigned i = 0; p->dir[0] && i < 3; i++) {
		static const char *const files[] = {"test.db", "test.db-wal", "test.db-shm"};
		char path[128];
		snprintf(path, sizeof(path), "%s/%s", p->dir, files[i]);
		unlink(path);
	}
	if (p->dir[0])
		rmdir(p->dir);
	*p = (struct place){0};
}

static void drop_all(void)
{
	for (size_t i = 0; getpid() == owner && i < NH_ARRAY_LEN(places); i++)
		drop(&places[i]);
}

static struct place *new_place(void)
{
	if (!owner) {
		owner = getpid();
		atexit(drop_all);
	}
	for (size_t i = 0; i < NH_ARRAY_LEN(places); i++) {
		if (!places[i].url[0])
			return &places[i];
	}
	fail_msg("more than %zu test databases at once", NH_ARRAY_LEN(places));
	return NULL;
}

static bool available(unsigned engine)
{
	static bool said;
	if (engine == 0 || getenv("NH_TEST_PG_URL"))
		return true;
	if (!said)
		print_message("# PostgreSQL left out: NH_TEST_PG_URL is not set; run through scripts/pg-test\n");
	said = true;
	return false;
}

static struct place *make(unsigned engine)
{
	static unsigned counter;
	if (!available(engine))
		return NULL;
	struct place *p = new_place();
	if (engine == 0) {
		snprintf(p->dir, sizeof(p->dir), "/tmp/nh-testdb-XXXXXX");
		assert_non_null(mkdtemp(p->dir));
		snprintf(p->url, sizeof(p->url), "sqlite:%s/test.db", p->dir);
	} else {
		const char *base = getenv("NH_TEST_PG_URL");
		snprintf(p->schema, sizeof(p->schema), "t%d_%u", (int)getpid(), counter++);
		pg_run("CREATE SCHEMA", p->schema, "");
		snprintf(p->url, sizeof(p->url), "%s%coptions=-csearch_path%%3D%s&application_name=%s", base, strchr(base, '?') ? '&' : '?',
			 p->schema, p->schema);
	}
	return p;
}

const char *testdb_place(unsigned engine)
{
	struct place *p = make(engine);
	return p ? p->url : NULL;
}

void testdb_drop(const char *url)
{
	for (size_t i = 0; url && i < NH_ARRAY_LEN(places); i++) {
		if (places[i].url == url)
			drop(&places[i]);
	}
}

struct nh_db *testdb_open_with(unsigned engine, const struct nh_stmt *const *const *families)
{
	struct nh_err err = NH_ERR_INIT;
	struct place *p = make(engine);
	if (!p)
		return NULL;
	if (nh_db_open(&(struct nh_db_config){.url = p->url, .connections = 8, .statements = families}, &p->db, &err) != NH_OK) {
		drop(p);
		fail_msg("%s: %s", testdb_name(engine), err.msg);
	}
	return p->db;
}

struct nh_db *testdb_open(unsigned engine) { return testdb_open_with(engine, nh_store_statements); }

const char *testdb_url(const struct nh_db *db)
{
	for (size_t i = 0; i < NH_ARRAY_LEN(places); i++) {
		if (places[i].db == db)
			return places[i].url;
	}
	fail_msg("not a database of testdb_open");
	return NULL;
}

void testdb_close(struct nh_db *db)
{
	for (size_t i = 0; db && i < NH_ARRAY_LEN(places); i++) {
		if (places[i].db == db) {
			nh_db_close(db);
			drop(&places[i]);
			return;
		}
	}
}

/* ---- failure injection ----------------------------------------------------------------------------------------------------- */

static struct {
	const struct nh_driver *real;
	struct nh_driver driver;
	nh_rc rc;
	int64_t at;
	int64_t count; /* atomic */
	bool failed;   /* atomic */
} faults;

static __thread bool writing; /* reads do not count: the server's own come at any time */

static bool due(struct nh_err *err)
{
	if (!writing || faults.at == TESTDB_AT_COMMIT || __atomic_add_fetch(&faults.count, 1, __ATOMIC_SEQ_CST) != faults.at)
		return false;
	__atomic_store_n(&faults.failed, true, __ATOMIC_SEQ_CST);
	NH_IGNORE(NH_FAIL(err, faults.rc, "injected failure of statement %lld", (long long)faults.at)); /* the caller returns it */
	return true;
}

static nh_rc failing_exec(struct nh_tx *tx, const struct nh_stmt_info *s, const struct nh_param *params, size_t count, int64_t *changed, struct nh_err *err)
{
	return due(err) ? faults.rc : faults.real->exec(tx, s, params, count, changed, err);
}

static nh_rc failing_query(struct nh_tx *tx, const struct nh_stmt_info *s, const struct nh_param *params, size_t count, struct nh_rows **out, struct nh_err *err)
{
	return due(err) ? faults.rc : faults.real->query(tx, s, params, count, out, err);
}

struct wrapped {
	nh_tx_fn fn;
	void *arg;
};

static nh_rc run_wrapped(struct nh_tx *tx, void *arg, struct nh_err *err)
{
	const struct wrapped *w = arg;
	writing = true;
	nh_rc rc = w->fn(tx, w->arg, err);
	writing = false;
	if (rc != NH_OK || faults.at != TESTDB_AT_COMMIT)
		return rc;
	__atomic_store_n(&faults.failed, true, __ATOMIC_SEQ_CST);
	return NH_FAIL(err, faults.rc, "injected failure of the commit");
}

static nh_rc failing_write(struct nh_db *db, nh_tx_fn fn, void *arg, struct nh_err *err)
{
	struct wrapped w = {fn, arg};
	return faults.real->write(db, run_wrapped, &w, err);
}

void testdb_heal(struct nh_db *db)
{
	if (db->driver == &faults.driver)
		__atomic_store_n(&db->driver, faults.real, __ATOMIC_SEQ_CST);
}

void testdb_fail(struct nh_db *db, nh_rc rc, int64_t at)
{
	testdb_heal(db);
	faults.real = db->driver;
	faults.driver = *db->driver;
	faults.driver.exec = failing_exec;
	faults.driver.query = failing_query;
	faults.driver.write = failing_write;
	faults.rc = rc;
	faults.at = at;
	faults.count = 0;
	faults.failed = false;
	__atomic_store_n(&db->driver, &faults.driver, __ATOMIC_SEQ_CST);
}

bool testdb_failed(void) { return __atomic_load_n(&faults.failed, __ATOMIC_SEQ_CST); }
