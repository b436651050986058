/*
 * Fresh, migrated databases for tests: SQLite always, PostgreSQL where NH_TEST_PG_URL is set (scripts/pg-test). Each opens its own file or schema, so that tests run
 * side by side. What a test leaves open is removed when the process exits.
 *
 *	FOR_EACH_ENGINE(db) {
 *		assert_int_equal(nh_db_write(db, fn, NULL, NULL), NH_OK);
 *	}
 */
#pragma once

#include "store/db.h"

#define TESTDB_ENGINES 2u /* 0 SQLite, 1 PostgreSQL */

const char *testdb_name(unsigned engine);
/* testdb_open - NULL, with a line that says why, where the engine cannot be tested here; fails the test when it should be there and is not. */
struct nh_db *testdb_open(unsigned engine);
struct nh_db *testdb_open_with(unsigned engine, const struct nh_stmt *const *const *families);
void testdb_close(struct nh_db *db); /* closes and removes it */

/* ---- for tests of opening itself ---- */
/* testdb_place - a fresh empty place and its URL; NULL as testdb_open. Goes with testdb_drop, or at exit. */
const char *testdb_place(unsigned engine);
void testdb_drop(const char *url);
const char *testdb_url(const struct nh_db *db); /* of a testdb_open */

/* ---- failure injection, at the store's seam to its drivers; one database at a time ---- */
#define TESTDB_AT_COMMIT 0
/* testdb_fail - statement number `at` of the write transactions from now on fails with rc, or every write transaction at its end (TESTDB_AT_COMMIT): rolled back, as a failed commit is. */
void testdb_fail(struct nh_db *db, nh_rc rc, int64_t at);
void testdb_heal(struct nh_db *db);
bool testdb_failed(void); /* has a failure been injected since testdb_fail? */

#define FOR_EACH_ENGINE(db) FOR_EACH_ENGINE_WITH(db, nh_store_statements)
#define FOR_EACH_ENGINE_WITH(db, families)                                                    \
	for (unsigned engine_ = 0; engine_ < TESTDB_ENGINES; engine_++)                       \
		for (struct nh_db *db = testdb_open_with(engine_, (families)); db; testdb_close(db), db = NULL)
