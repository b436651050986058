/*
 * The store's contract on both engines: statements, values, constraints, transactions.
 */
#include <stdio.h>
#include <string.h>

#include "test_base.h"
#include "testdb.h"

#define STMT(id, text) static const struct nh_stmt q_##id = {#id, text}

STMT(insert, "INSERT INTO users (name, email, email_key, inserted_at, updated_at) VALUES ($1, $2, $2, $3, $3) RETURNING id");
STMT(rename, "UPDATE users SET name = $1 WHERE id >= $2");
STMT(names, "SELECT id, name, password_hash FROM users ORDER BY id");
STMT(count, "SELECT COUNT(*) FROM users");
STMT(sum, "SELECT SUM(inserted_at) FROM users");
STMT(missing, "SELECT id FROM users WHERE id = $1");
STMT(member, "INSERT INTO org_users (org_id, user_id, role, inserted_at, updated_at) VALUES ($1, $2, 1, 0, 0)");
STMT(nameless, "INSERT INTO users (name, email, email_key, inserted_at, updated_at) VALUES (CAST($1 AS TEXT), 'a', 'b', 0, 0)");
STMT(token, "INSERT INTO user_tokens (user_id, context, token_sha512, note, inserted_at) VALUES ($1, 'api', $2, CAST($3 AS TEXT), $4)");
STMT(tokens, "SELECT token_sha512, note, inserted_at FROM user_tokens ORDER BY id");
STMT(reals, "SELECT CAST($1 AS DOUBLE PRECISION), 'text', 1 = 1");
STMT(unlisted, "SELECT 1");

static const struct nh_stmt *const family[] = {&q_insert, &q_rename, &q_names, &q_count, &q_sum, &q_missing, &q_member, &q_nameless, &q_token, &q_tokens, &q_reals, NULL};
static const struct nh_stmt *const *const families[] = {family, NULL};

static nh_rc add_user(struct nh_tx *tx, const char *email, int64_t *id, struct nh_err *err)
{
	struct nh_rows *rows = NULL;
	NH_TRY(nh_sql_one(tx, &q_insert, NH_PARAMS(nh_p_str("name"), nh_p_str(email), nh_p_int(7)), &rows, err));
	if (id)
		*id = nh_col_int(rows, 0);
	nh_sql_end(rows);
	return NH_OK;
}

static nh_rc count_users(struct nh_tx *tx, void *arg, struct nh_err *err)
{
	struct nh_rows *rows = NULL;
	NH_TRY(nh_sql_one(tx, &q_count, NH_NO_PARAMS, &rows, err));
	*(int64_t *)arg = nh_col_int(rows, 0);
	return NH_OK; /* left open on purpose: the transaction ends it */
}

static int64_t count(struct nh_db *db)
{
	int64_t n = -1;
	struct nh_err err = NH_ERR_INIT;
	if (nh_db_read(db, count_users, &n, &err) != NH_OK)
		fail_msg("%s", err.msg);
	return n;
}

static void run(struct nh_db *db, nh_tx_fn fn, void *arg, nh_rc expected, const char *message)
{
	struct nh_err err = NH_ERR_INIT;
	nh_rc rc = nh_db_write(db, fn, arg, &err);
	if (rc != expected)
		fail_msg("%s: %s, expected %s: %s", nh_db_is_postgres(db) ? "postgres" : "sqlite", nh_rc_name(rc), nh_rc_name(expected), err.msg);
	if (message && !strstr(err.msg, message))
		fail_msg("'%s' lacks '%s'", err.msg, message);
}

/* ---- values ------------------------------------------------------------------------------------------------------------- */

static nh_rc write_values(struct nh_tx *tx, void *arg, struct nh_err *err)
{
	int64_t user;
	static const uint8_t blob[] = {0, 255, '\\', 0, '\'', 1};
	NH_TRY(add_user(tx, "a", &user, err));
	NH_TRY(nh_sql_exec(tx, &q_token, NH_PARAMS(nh_p_int(user), nh_p_blob(nh_slice_of(blob, sizeof(blob))), nh_p_null(), nh_p_int(INT64_MIN)), NULL, err));
	NH_TRY(nh_sql_exec(tx, &q_token, NH_PARAMS(nh_p_int(user), nh_p_blob(NH_SLICE_EMPTY), nh_p_text(NH_LIT("")), nh_p_int(INT64_MAX)), NULL, err));
	return nh_sql_exec(tx, &q_token, NH_PARAMS(nh_p_int(user), nh_p_blob(NH_LIT("x")), nh_p_str("\xc3\xa4 $1 '%"), nh_p_int(0)), NULL, err);
}

static nh_rc read_values(struct nh_tx *tx, void *arg, struct nh_err *err)
{
	static const uint8_t blob[] = {0, 255, '\\', 0, '\'', 1};
	NH_AUTO_ARENA struct nh_arena arena = NH_ARENA_INIT;
	struct nh_rows *rows = NULL;
	NH_TRY(nh_sql_query(tx, &q_tokens, NH_NO_PARAMS, &rows, err));
	NH_TRY(nh_sql_next(rows, err));
	assert_true(nh_slice_eq(nh_col_blob(rows, 0, &arena), nh_slice_of(blob, sizeof(blob))));
	assert_true(nh_col_null(rows, 1));
	assert_null(nh_col_text(rows, 1, &arena).ptr);
	assert_true(nh_col_int(rows, 2) == INT64_MIN);
	assert_false(nh_col_null(rows, 2));
	NH_TRY(nh_sql_next(rows, err));
	assert_non_null(nh_col_blob(rows, 0, &arena).ptr);
	assert_int_equal(nh_col_blob(rows, 0, &arena).len, 0);
	assert_non_null(nh_col_text(rows, 1, &arena).ptr);
	assert_true(nh_col_int(rows, 2) == INT64_MAX);
	NH_TRY(nh_sql_next(rows, err));
	assert_slice(nh_col_text(rows, 1, &arena), "\xc3\xa4 $1 '%");
	/* wrong kinds */
	assert_int_equal(nh_col_int(rows, 1), 0);
	assert_int_equal(nh_col_text(rows, 2, &arena).len, 0);
	assert_int_equal(nh_col_blob(rows, 1, &arena).len, 0);
	assert_int_equal(nh_sql_next(rows, err), NH_ENOTFOUND);
	assert_int_equal(nh_sql_next(rows, err), NH_ENOTFOUND);
	nh_sql_end(rows);
	NH_TRY(nh_sql_one(tx, &q_reals, NH_PARAMS(nh_p_real(0.1)), &rows, err));
	assert_true(nh_col_real(rows, 0) == 0.1);
	assert_slice(nh_col_text(rows, 1, &arena), "text");
	assert_true(nh_col_bool(rows, 2));
	nh_sql_end(rows);
	NH_TRY(nh_sql_one(tx, &q_sum, NH_NO_PARAMS, &rows, err));
	assert_int_equal(nh_col_int(rows, 0), 7); /* numeric in PostgreSQL */
	nh_sql_end(rows);
	assert_int_equal(nh_sql_one(tx, &q_missing, NH_PARAMS(nh_p_int(99)), &rows, err), NH_ENOTFOUND);
	assert_null(rows);
	return NH_OK;
}

static void test_values(void **state)
{
	FOR_EACH_ENGINE_WITH(db, families) {
		struct nh_err err = NH_ERR_INIT;
		run(db, write_values, NULL, NH_OK, NULL);
		if (nh_db_read(db, read_values, NULL, &err) != NH_OK)
			fail_msg("%s", err.msg);
	}
}

/* ---- constraints -------------------------------------------------------------------------------------------------------- */

static nh_rc break_rules(struct nh_tx *tx, void *arg, struct nh_err *err)
{
	int64_t changed = -1;
	struct nh_err inner = NH_ERR_INIT;
	NH_TRY(add_user(tx, "a", NULL, err));
	assert_int_equal(add_user(tx, "a", NULL, &inner), NH_ECONFLICT);
	assert_non_null(strstr(inner.msg, "users"));
	assert_int_equal(nh_sql_exec(tx, &q_member, NH_PARAMS(nh_p_int(1000), nh_p_int(1000)), NULL, &inner), NH_ECONFLICT);
	assert_int_equal(nh_sql_exec(tx, &q_nameless, NH_PARAMS(nh_p_null()), NULL, &inner), NH_EINVAL);
	/* still usable, and what came before is kept */
	NH_TRY(add_user(tx, "b", NULL, err));
	NH_TRY(nh_sql_exec(tx, &q_rename, NH_PARAMS(nh_p_str("new"), nh_p_int(1)), &changed, err));
	assert_int_equal(changed, 2);
	NH_TRY(nh_sql_exec(tx, &q_rename, NH_PARAMS(nh_p_str("new"), nh_p_int(5000)), &changed, err));
	assert_int_equal(changed, 0);
	return NH_OK;
}

static void test_constraints(void **state)
{
	FOR_EACH_ENGINE_WITH(db, families) {
		run(db, break_rules, NULL, NH_OK, NULL);
		assert_int_equal(count(db), 2);
	}
}

/* ---- transactions -------------------------------------------------------------------------------------------------------- */

static nh_rc add_and_fail(struct nh_tx *tx, void *arg, struct nh_err *err)
{
	NH_TRY(add_user(tx, "lost", NULL, err));
	return NH_FAIL(err, NH_EPERM, "no");
}

static nh_rc add_one(struct nh_tx *tx, void *arg, struct nh_err *err) { return add_user(tx, arg, NULL, err); }

static void test_rollback(void **state)
{
	FOR_EACH_ENGINE_WITH(db, families) {
		run(db, add_one, (void *)(uintptr_t)"kept", NH_OK, NULL);
		run(db, add_and_fail, NULL, NH_EPERM, "no");
		assert_int_equal(count(db), 1);
	}
}

static nh_rc write_in_read(struct nh_tx *tx, void *arg, struct nh_err *err) { return add_user(tx, "x", NULL, err); }

static void test_read_is_readonly(void **state)
{
	FOR_EACH_ENGINE_WITH(db, families) {
		struct nh_err err = NH_ERR_INIT;
		assert_int_equal(nh_db_read(db, write_in_read, NULL, &err), NH_EINTERNAL);
		assert_int_equal(count(db), 0);
	}
}

/* A snapshot does not see what was committed after it began. */
static nh_rc read_twice(struct nh_tx *tx, void *arg, struct nh_err *err)
{
	int64_t before = -1, after = -1;
	NH_TRY(count_users(tx, &before, err));
	NH_TRY(nh_db_write(arg, add_one, (void *)(uintptr_t)"meanwhile", err));
	NH_TRY(count_users(tx, &after, err));
	assert_int_equal(before, after);
	return NH_OK;
}

static void test_snapshot(void **state)
{
	FOR_EACH_ENGINE_WITH(db, families) {
		struct nh_err err = NH_ERR_INIT;
		if (nh_db_read(db, read_twice, db, &err) != NH_OK)
			fail_msg("%s", err.msg);
		assert_int_equal(count(db), 1);
	}
}

static nh_rc nested_rows(struct nh_tx *tx, void *arg, struct nh_err *err)
{
	struct nh_rows *outer = NULL, *inner = NULL;
	int pairs = 0;
	nh_rc rc;
	for (char name[] = "a"; name[0] < 'e'; name[0]++)
		NH_TRY(add_user(tx, name, NULL, err));
	NH_TRY(nh_sql_query(tx, &q_names, NH_NO_PARAMS, &outer, err));
	while ((rc = nh_sql_next(outer, err)) == NH_OK) {
		NH_TRY(nh_sql_query(tx, &q_names, NH_NO_PARAMS, &inner, err));
		while ((rc = nh_sql_next(inner, err)) == NH_OK)
			pairs++;
		nh_sql_end(inner);
	}
	assert_int_equal(pairs, 16);
	nh_sql_end(outer);
	nh_sql_end(NULL);
	return NH_OK;
}

static void test_nested_rows(void **state)
{
	FOR_EACH_ENGINE_WITH(db, families)
		run(db, nested_rows, NULL, NH_OK, NULL);
}

/* ---- calls that are wrong -------------------------------------------------------------------------------------------------- */

static nh_rc call_unlisted(struct nh_tx *tx, void *arg, struct nh_err *err) { return nh_sql_exec(tx, &q_unlisted, NH_NO_PARAMS, NULL, err); }
static nh_rc call_short(struct nh_tx *tx, void *arg, struct nh_err *err) { return nh_sql_exec(tx, &q_missing, NH_NO_PARAMS, NULL, err); }
static nh_rc call_nul(struct nh_tx *tx, void *arg, struct nh_err *err)
{
	return nh_sql_exec(tx, &q_rename, NH_PARAMS(nh_p_text(nh_slice_of("a\0b", 3)), nh_p_int(1)), NULL, err);
}
static nh_rc call_latin1(struct nh_tx *tx, void *arg, struct nh_err *err)
{
	return nh_sql_exec(tx, &q_rename, NH_PARAMS(nh_p_str("\xe4"), nh_p_int(1)), NULL, err);
}
static nh_rc call_notify(struct nh_tx *tx, void *arg, struct nh_err *err)
{
	static char long_text[8000];
	NH_TRY(nh_tx_notify(tx, "nh", NH_LIT("1"), err));
	return nh_tx_notify(tx, "nh", nh_slice_of(long_text, sizeof(long_text)), err);
}

static nh_rc call_dynamic(struct nh_tx *tx, void *arg, struct nh_err *err)
{
	struct nh_rows *rows = NULL;
	struct nh_err inner = NH_ERR_INIT;
	NH_TRY(nh_sql_dynamic(tx, NH_LIT("SELECT 40 + CAST($1 AS INTEGER)"), NH_PARAMS(nh_p_int(2)), &rows, err));
	NH_TRY(nh_sql_next(rows, err));
	assert_int_equal(nh_col_int(rows, 0), 42);
	assert_int_equal(nh_sql_dynamic(tx, NH_LIT("SELECT $2"), NH_PARAMS(nh_p_int(2)), &rows, &inner), NH_EINTERNAL);
	return NH_OK;
}

static void test_wrong_calls(void **state)
{
	FOR_EACH_ENGINE_WITH(db, families) {
		run(db, call_unlisted, NULL, NH_EINTERNAL, "unlisted");
		run(db, call_short, NULL, NH_EINTERNAL, "takes 1 parameters, not 0");
		run(db, call_nul, NULL, NH_EINVAL, "NUL");
		run(db, call_latin1, NULL, NH_EINVAL, "UTF-8");
		run(db, call_notify, NULL, NH_ETOOBIG, "7999");
		run(db, call_dynamic, NULL, NH_OK, NULL);
		assert_int_equal(count(db), 0);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_values), cmocka_unit_test(test_constraints), cmocka_unit_test(test_rollback), cmocka_unit_test(test_read_is_readonly),
		cmocka_unit_test(test_snapshot), cmocka_unit_test(test_nested_rows), cmocka_unit_test(test_wrong_calls),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
