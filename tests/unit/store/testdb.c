/*
 * Fresh databases for tests (testdb.h). thread: the test's main thread.
 */
#include <libpq-fe.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

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
