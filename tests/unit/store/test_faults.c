/*
 * SQLite on a disk that fails: fsync and write of the WAL or of the database file return an error for a while. What was answered stays, what was refused
 * never comes back, reads go on, and writing works again by itself once the disk does. The C library's calls are replaced here, under the real SQLite.
 */
#include <dlfcn.h>
#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "test_base.h"
#include "testdb.h"

/* ---- a disk that fails ---------------------------------------------------------------------------------------------------- */

typedef enum fault { FAULT_NONE, FAULT_SYNC, FAULT_WRITE } fault;

static atomic_int failing;
static const char *_Atomic failing_suffix;
static atomic_int fault_errno = EIO;

static bool must_fail(fault kind, int fd)
{
	if (atomic_load(&failing) != (int)kind)
		return false;
	char link[64], path[256];
	snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
	ssize_t n = readlink(link, path, sizeof(path) - 1);
	const char *suffix = atomic_load(&failing_suffix);
	size_t len = strlen(suffix);
	if (n < (ssize_t)len || memcmp(path + n - len, suffix, len) != 0)
		return false;
	errno = atomic_load(&fault_errno);
	return true;
}

[[gnu::visibility("default")]] int fdatasync(int fd)
{
	static int (*real)(int);
	if (!real)
		*(void **)&real = dlsym(RTLD_NEXT, "fdatasync");
	return must_fail(FAULT_SYNC, fd) ? -1 : real(fd);
}

[[gnu::visibility("default")]] ssize_t pwrite64(int fd, const void *bytes, size_t count, off64_t offset)
{
	static ssize_t (*real)(int, const void *, size_t, off64_t);
	if (!real)
		*(void **)&real = dlsym(RTLD_NEXT, "pwrite64");
	return must_fail(FAULT_WRITE, fd) ? -1 : real(fd, bytes, count, offset);
}

static void fail_disk(fault kind, const char *suffix)
{
	atomic_store(&failing_suffix, suffix);
	atomic_store(&failing, (int)kind);
}

/* ---- statements ------------------------------------------------------------------------------------------------------------- */

#define STMT(id, text) static const struct nh_stmt q_##id = {#id, text}

STMT(insert, "INSERT INTO cli_sessions (token, note, confirmation_code, expires_at) VALUES ($1, $2, 1, 0)");
STMT(find, "SELECT COUNT(*) FROM cli_sessions WHERE token = $1");
static const struct nh_stmt *const family[] = {&q_insert, &q_find, NULL};
static const struct nh_stmt *const *const families[] = {family, NULL};

struct row {
	const char *token;
	size_t bytes;
	int64_t found;
};

static nh_rc insert_tx(struct nh_tx *tx, void *arg, struct nh_err *err)
{
	const struct row *r = arg;
	NH_AUTO_BUF struct nh_buf note = NH_BUF_INIT;
	nh_buf_fill(&note, 'n', r->bytes);
	return nh_sql_exec(tx, &q_insert, NH_PARAMS(nh_p_str(r->token), nh_p_text(nh_buf_slice(&note))), NULL, err);
}

static nh_rc insert(struct nh_db *db, const char *token, size_t bytes, struct nh_err *err)
{
	return nh_db_write(db, insert_tx, &(struct row){token, bytes, 0}, err);
}

static nh_rc find_tx(struct nh_tx *tx, void *arg, struct nh_err *err)
{
	struct row *r = arg;
	struct nh_rows *rows = NULL;
	NH_TRY(nh_sql_one(tx, &q_find, NH_PARAMS(nh_p_str(r->token)), &rows, err));
	r->found = nh_col_int(rows, 0);
	return NH_OK;
}

static bool there(struct nh_db *db, const char *token)
{
	struct nh_err err = NH_ERR_INIT;
	struct row r = {.token = token};
	if (nh_db_read(db, find_tx, &r, &err) != NH_OK)
		fail_msg("%s", err.msg);
	return r.found == 1;
}

/* Writes until the database takes it again. */
static void insert_again(struct nh_db *db, const char *token)
{
	struct nh_err err = NH_ERR_INIT;
	uint64_t deadline = nh_mono_ms() + 60000;
	while (insert(db, token, 1, &err) != NH_OK) {
		if (nh_mono_ms() > deadline)
			fail_msg("not usable again: %s", err.msg);
		nanosleep(&(struct timespec){.tv_nsec = 5000000}, NULL);
	}
}

static bool database_available(struct nh_db *db)
{
	struct nh_db_stats stats;
	nh_db_stats(db, &stats);
	return stats.available;
}

static uint64_t reopened(struct nh_db *db)
{
	struct nh_db_stats stats;
	nh_db_stats(db, &stats);
	return stats.reopened;
}

/* ---- tests --------------------------------------------------------------------------------------------------------------------- */

static void test_failed_commit(void **state)
{
	static const struct {
		const char *name;
		fault kind;
		int number;
		size_t bytes;
	} cases[] = {
		{"fsync of the WAL", FAULT_SYNC, EIO, 1},
		{"fsync of the WAL finds no room", FAULT_SYNC, ENOSPC, 1},
		{"write of the WAL", FAULT_WRITE, EIO, 1},
		{"fsync of the WAL, many pages", FAULT_SYNC, EIO, 1 << 20},
	};
	for (size_t i = 0; i < NH_ARRAY_LEN(cases); i++) {
		struct nh_db *db = testdb_open_with(0, families);
		struct nh_err err = NH_ERR_INIT;
		char url[512];
		print_message("# %s\n", cases[i].name);
		assert_int_equal(insert(db, "before", 1, &err), NH_OK);
		atomic_store(&fault_errno, cases[i].number);
		fail_disk(cases[i].kind, "-wal");
		nh_rc rc = insert(db, "refused", cases[i].bytes, &err);
		if (rc != NH_EIO && rc != NH_ENOSPC)
			fail_msg("%s: %s", nh_rc_name(rc), err.msg);
		assert_false(database_available(db));
		/* nothing is promised before the repair, and it cannot succeed yet */
		assert_int_equal(insert(db, "refused-2", 1, &err), NH_EIO);
		assert_true(there(db, "before") && !there(db, "refused"));
		fail_disk(FAULT_NONE, "");
		insert_again(db, "after");
		assert_true(database_available(db));
		assert_int_equal(reopened(db), 1);
		assert_true(there(db, "before") && there(db, "after") && !there(db, "refused") && !there(db, "refused-2"));

		/* as another process finds it */
		snprintf(url, sizeof(url), "%s", testdb_url(db));
		struct nh_db *other = NULL;
		assert_int_equal(nh_db_open(&(struct nh_db_config){.url = url, .statements = families}, &other, &err), NH_OK);
		assert_true(there(other, "before") && there(other, "after") && !there(other, "refused"));
		nh_db_close(other);
		testdb_close(db);
	}
}

/* SQLite keeps a failed checkpoint to itself; the pages it could not sync are lost unless they are copied again. */
static void test_failed_checkpoint(void **state)
{
	static const fault kinds[] = {FAULT_SYNC, FAULT_WRITE};
	for (size_t i = 0; i < NH_ARRAY_LEN(kinds); i++) {
		struct nh_db *db = testdb_open_with(0, families);
		struct nh_err err = NH_ERR_INIT;
		atomic_store(&fault_errno, EIO);
		fail_disk(kinds[i], ".db");
		assert_int_equal(insert(db, "big", 6 << 20, &err), NH_OK); /* answered: it is in the WAL */
		uint64_t deadline = nh_mono_ms() + 60000;
		while (database_available(db) && nh_mono_ms() < deadline)
			nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
		assert_int_equal(insert(db, "refused", 1, &err), NH_EIO);
		assert_true(there(db, "big"));
		fail_disk(FAULT_NONE, "");
		insert_again(db, "after");
		assert_int_equal(reopened(db), 1);
		assert_true(there(db, "big") && there(db, "after") && !there(db, "refused"));
		testdb_close(db);
	}
}

/* Closed while the disk still fails: no checkpoint that could drop the WAL, so that the next start finds everything. */
static void test_closed_meanwhile(void **state)
{
	struct nh_err err = NH_ERR_INIT;
	const char *url = testdb_place(0);
	struct nh_db *db = NULL;
	const struct nh_db_config config = {.url = url, .statements = families};
	assert_int_equal(nh_db_open(&config, &db, &err), NH_OK);
	assert_int_equal(insert(db, "before", 1, &err), NH_OK);
	atomic_store(&fault_errno, EIO);
	fail_disk(FAULT_SYNC, "-wal");
	assert_int_equal(insert(db, "doubtful", 1, &err), NH_EIO);
	nh_db_close(db);
	fail_disk(FAULT_NONE, "");
	assert_int_equal(nh_db_open(&config, &db, &err), NH_OK);
	assert_true(there(db, "before"));
	assert_int_equal(insert(db, "after", 1, &err), NH_OK);
	nh_db_close(db);
	testdb_drop(url);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_failed_commit), cmocka_unit_test(test_failed_checkpoint), cmocka_unit_test(test_closed_meanwhile)};
	return cmocka_run_group_tests_name("store_faults", tests, NULL, NULL);
}
