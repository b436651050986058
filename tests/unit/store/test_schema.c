/*
 * Opening: migrations from empty, the golden schemas, and every refusal. `test_store_schema --update FOLDER` writes the golden files anew.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "store/schema.h"
#include "test_base.h"
#include "testdb.h"

#define STMT(id, text) static const struct nh_stmt q_##id = {#id, text}

STMT(newer, "INSERT INTO schema_migrations (version, name, checksum, applied_at) VALUES ($1, 'from-the-future', 'x', 0)");
STMT(checksum, "UPDATE schema_migrations SET checksum = 'x' WHERE version = 1");
STMT(gap, "DELETE FROM schema_migrations WHERE version = 1");
static const struct nh_stmt *const family[] = {&q_newer, &q_checksum, &q_gap, NULL};
static const struct nh_stmt *const *const families[] = {family, NULL};

static void golden_path(char *out, size_t size, const char *folder, unsigned engine)
{
	snprintf(out, size, "%s/schema-%s.golden", folder, testdb_name(engine));
}

static void test_golden(void **state)
{
	for (unsigned engine = 0; engine < TESTDB_ENGINES; engine++) {
		struct nh_db *db = testdb_open(engine);
		if (!db)
			continue;
		struct nh_err err = NH_ERR_INIT;
		NH_AUTO_BUF struct nh_buf got = NH_BUF_INIT, want = NH_BUF_INIT;
		char path[512];
		golden_path(path, sizeof(path), getenv("NH_GOLDEN"), engine);
		if (nh_db_schema_put(db, &got, &err) != NH_OK || nh_file_read(path, 1 << 20, &want, &err) != NH_OK)
			fail_msg("%s", err.msg);
		if (!nh_slice_eq(nh_buf_slice(&got), nh_buf_slice(&want)))
			fail_msg("the %s schema is not what %s says. If the change is meant: scripts/pg-test BUILD/tests/unit/store/test_store_schema --update "
				 "tests/unit/store", testdb_name(engine), path);
		testdb_close(db);
	}
}

static int update(const char *folder)
{
	for (unsigned engine = 0; engine < TESTDB_ENGINES; engine++) {
		struct nh_db *db = testdb_open(engine);
		if (!db)
			continue;
		struct nh_err err = NH_ERR_INIT;
		NH_AUTO_BUF struct nh_buf got = NH_BUF_INIT;
		char path[512];
		golden_path(path, sizeof(path), folder, engine);
		nh_rc rc = nh_db_schema_put(db, &got, &err);
		if (rc == NH_OK)
			rc = nh_file_write_atomic(path, nh_buf_slice(&got), 0644, &err);
		testdb_close(db);
		if (rc != NH_OK) {
			fprintf(stderr, "%s\n", err.msg);
			return 1;
		}
		printf("wrote %s\n", path);
	}
	return 0;
}

/* ---- opening again ------------------------------------------------------------------------------------------------------------ */

static nh_rc exec_one(struct nh_tx *tx, void *arg, struct nh_err *err)
{
	return arg == &q_newer ? nh_sql_exec(tx, arg, NH_PARAMS(nh_p_int(9000)), NULL, err) : nh_sql_exec(tx, arg, NH_NO_PARAMS, NULL, err);
}

static nh_rc open_url(const char *url, const struct nh_stmt *const *const *list, struct nh_db **db, struct nh_err *err)
{
	return nh_db_open(&(struct nh_db_config){.url = url, .connections = 2, .statements = list}, db, err);
}

static void test_open_again(void **state)
{
	static const struct {
		const struct nh_stmt *damage;
		nh_rc rc;
		const char *message;
	} cases[] = {
		{NULL, NH_OK, ""},
		{&q_newer, NH_ECONFLICT, "schema version 9000 (from-the-future), written by a newer program; this program knows versions up to"},
		{&q_checksum, NH_ECONFLICT, "was made by another text"},
		{&q_gap, NH_ECONFLICT, "lacks version 1"},
	};
	for (unsigned engine = 0; engine < TESTDB_ENGINES; engine++) {
		for (size_t i = 0; i < NH_ARRAY_LEN(cases); i++) {
			struct nh_err err = NH_ERR_INIT;
			struct nh_db *db = NULL;
			const char *url = testdb_place(engine);
			if (!url)
				continue;
			if (open_url(url, families, &db, &err) != NH_OK)
				fail_msg("%s", err.msg);
			if (cases[i].damage)
				assert_int_equal(nh_db_write(db, exec_one, (void *)(uintptr_t)cases[i].damage, &err), NH_OK);
			nh_db_close(db);
			assert_int_equal(open_url(url, families, &db, &err), cases[i].rc);
			if (!strstr(err.msg, cases[i].message))
				fail_msg("'%s' lacks '%s'", err.msg, cases[i].message);
			nh_db_close(db);
			testdb_drop(url);
		}
	}
}

static void test_statements_that_do_not_prepare(void **state)
{
	static const struct nh_stmt typo = {"typo", "SELECT nothing FROM nowhere"}, order = {"order", "SELECT $2, $1"}, two = {"two", "SELECT 1; SELECT 2"};
	static const struct nh_stmt *const lists[][3] = {{&typo, NULL}, {&order, NULL}, {&two, NULL}, {&q_gap, &q_gap, NULL}};
	static const char *const names[] = {"typo", "order", "two", "gap is listed twice"};
	for (unsigned engine = 0; engine < TESTDB_ENGINES; engine++) {
		const char *url = testdb_place(engine);
		for (size_t i = 0; url && i < NH_ARRAY_LEN(lists); i++) {
			const struct nh_stmt *const *const list[] = {lists[i], NULL};
			struct nh_err err = NH_ERR_INIT;
			struct nh_db *db = NULL;
			assert_int_equal(open_url(url, list, &db, &err), NH_EINTERNAL);
			if (!strstr(err.msg, names[i]))
				fail_msg("'%s' lacks '%s'", err.msg, names[i]);
		}
		testdb_drop(url);
	}
}

static void test_refused_urls(void **state)
{
	static const struct {
		const char *url;
		nh_rc rc;
		const char *message;
	} cases[] = {
		{"", NH_EINVAL, "sqlite:PATH"},
		{"mysql://secret@host", NH_EINVAL, "sqlite:PATH"},
		{"sqlite:", NH_EINVAL, "sqlite:PATH"},
		{"sqlite:/nonexistent/folder/x.db", NH_EPERM, "/nonexistent/folder/x.db"},
		{"sqlite:/tmp", NH_EIO, "/tmp"},
		{"postgres://secret:hidden@127.0.0.1:1/nothing", NH_EIO, "cannot connect to PostgreSQL"},
	};
	for (size_t i = 0; i < NH_ARRAY_LEN(cases); i++) {
		struct nh_err err = NH_ERR_INIT;
		struct nh_db *db = NULL;
		assert_int_equal(open_url(cases[i].url, families, &db, &err), cases[i].rc);
		if (!strstr(err.msg, cases[i].message) || strstr(err.msg, "hidden"))
			fail_msg("%s: '%s'", cases[i].url, err.msg);
		assert_null(db);
	}
}

/* A file that is no database, and one for its owner only. */
static void test_file(void **state)
{
	const char *url = testdb_place(0), *path = url + strlen("sqlite:");
	struct nh_err err = NH_ERR_INIT;
	struct nh_db *db = NULL;
	NH_AUTO_BUF struct nh_buf junk = NH_BUF_INIT;
	nh_buf_fill(&junk, 'x', 8192);
	assert_int_equal(nh_file_write_atomic(path, nh_buf_slice(&junk), 0600, &err), NH_OK);
	assert_int_equal(open_url(url, families, &db, &err), NH_EIO);
	assert_non_null(strstr(err.msg, "not a database"));
	unlink(path);
	assert_int_equal(open_url(url, families, &db, &err), NH_OK);
	nh_db_close(db);
	testdb_drop(url);
}

int main(int argc, char **argv)
{
	if (argc == 3 && strcmp(argv[1], "--update") == 0)
		return update(argv[2]);
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_golden), cmocka_unit_test(test_open_again), cmocka_unit_test(test_statements_that_do_not_prepare),
		cmocka_unit_test(test_refused_urls), cmocka_unit_test(test_file),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
