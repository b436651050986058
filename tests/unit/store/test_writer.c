/*
 * Writing for real: many threads at once, neighbours that fail, a process killed right after its answer, a full disk, collisions, a lost connection.
 */
#include <libpq-fe.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "test_base.h"
#include "testdb.h"

#define STMT(id, text) static const struct nh_stmt q_##id = {#id, text}

STMT(insert, "INSERT INTO cli_sessions (token, note, confirmation_code, expires_at) VALUES ($1, CAST($2 AS TEXT), $3, 0)");
STMT(count, "SELECT COUNT(*), COALESCE(SUM(confirmation_code), 0) FROM cli_sessions");
STMT(bump, "UPDATE cli_sessions SET confirmation_code = $1 WHERE token = $2");
STMT(code, "SELECT confirmation_code FROM cli_sessions WHERE token = $1");
STMT(backend, "SELECT pg_terminate_backend(pg_backend_pid())");
static const struct nh_stmt *const family[] = {&q_insert, &q_count, &q_bump, &q_code, NULL};
static const struct nh_stmt *const *const families[] = {family, NULL};

struct totals {
	int64_t rows, sum;
};

static nh_rc read_totals(struct nh_tx *tx, void *arg, struct nh_err *err)
{
	struct totals *t = arg;
	struct nh_rows *rows = NULL;
	NH_TRY(nh_sql_one(tx, &q_count, NH_NO_PARAMS, &rows, err));
	*t = (struct totals){nh_col_int(rows, 0), nh_col_int(rows, 1)};
	return NH_OK;
}

static struct totals totals(struct nh_db *db)
{
	struct totals t = {-1, -1};
	struct nh_err err = NH_ERR_INIT;
	if (nh_db_read(db, read_totals, &t, &err) != NH_OK)
		fail_msg("%s", err.msg);
	return t;
}

static nh_rc insert(struct nh_tx *tx, const char *token, nh_slice note, int64_t code, struct nh_err *err)
{
	return nh_sql_exec(tx, &q_insert, NH_PARAMS(nh_p_str(token), nh_p_text_or_null(note), nh_p_int(code)), NULL, err);
}

/* ---- many threads, every third job fails -------------------------------------------------------------------------------------------- */

#define THREADS 8
#define JOBS 60

struct job {
	struct nh_db *db;
	unsigned thread, number;
};

static bool must_fail(unsigned number) { return number % 3 == 2; }

static nh_rc run_job(struct nh_tx *tx, void *arg, struct nh_err *err)
{
	const struct job *j = arg;
	char token[64];
	snprintf(token, sizeof(token), "%u-%u", j->thread, j->number);
	NH_TRY(insert(tx, token, NH_SLICE_EMPTY, 1, err));
	if (!must_fail(j->number))
		return NH_OK;
	if (j->number % 2)
		return NH_FAIL(err, NH_EPERM, "job %u", j->number);
	return insert(tx, token, NH_SLICE_EMPTY, 1, err); /* taken */
}

static void *worker(void *arg)
{
	struct job j = *(struct job *)arg;
	size_t wrong = 0;
	for (j.number = 0; j.number < JOBS; j.number++) {
		struct nh_err err = NH_ERR_INIT;
		nh_rc rc = nh_db_write(j.db, run_job, &j, &err);
		nh_rc expected = !must_fail(j.number) ? NH_OK : j.number % 2 ? NH_EPERM : NH_ECONFLICT;
		if (rc != expected) {
			fprintf(stderr, "job %u: %s (%s)\n", j.number, nh_rc_name(rc), err.msg);
			wrong++;
		}
	}
	return (void *)wrong;
}

static void test_threads(void **state)
{
	FOR_EACH_ENGINE_WITH(db, families) {
		pthread_t threads[THREADS];
		struct job jobs[THREADS];
		for (unsigned i = 0; i < THREADS; i++) {
			jobs[i] = (struct job){db, i, 0};
			assert_int_equal(pthread_create(&threads[i], NULL, worker, &jobs[i]), 0);
		}
		for (unsigned i = 0; i < THREADS; i++) {
			void *wrong = NULL;
			pthread_join(threads[i], &wrong);
			assert_null(wrong);
		}
		assert_int_equal(totals(db).rows, THREADS * JOBS * 2 / 3);
	}
}

/* ---- a counter read and written by all: no update may be lost ---------------------------------------------------------------------- */

static nh_rc add_counter(struct nh_tx *tx, void *arg, struct nh_err *err) { return insert(tx, "counter", NH_SLICE_EMPTY, 0, err); }

static nh_rc increment(struct nh_tx *tx, void *arg, struct nh_err *err)
{
	struct nh_rows *rows = NULL;
	NH_TRY(nh_sql_one(tx, &q_code, NH_PARAMS(nh_p_str("counter")), &rows, err));
	int64_t code = nh_col_int(rows, 0);
	nh_sql_end(rows);
	return nh_sql_exec(tx, &q_bump, NH_PARAMS(nh_p_int(code + 1), nh_p_str("counter")), NULL, err);
}

static void *incrementer(void *db)
{
	size_t wrong = 0;
	for (unsigned i = 0; i < 25; i++) {
		struct nh_err err = NH_ERR_INIT;
		if (nh_db_write(db, increment, NULL, &err) != NH_OK) {
			fprintf(stderr, "%s\n", err.msg);
			wrong++;
		}
	}
	return (void *)wrong;
}

static void test_collisions(void **state)
{
	FOR_EACH_ENGINE_WITH(db, families) {
		pthread_t threads[4];
		assert_int_equal(nh_db_write(db, add_counter, NULL, NULL), NH_OK);
		for (unsigned i = 0; i < 4; i++)
			assert_int_equal(pthread_create(&threads[i], NULL, incrementer, db), 0);
		for (unsigned i = 0; i < 4; i++) {
			void *wrong = NULL;
			pthread_join(threads[i], &wrong);
			assert_null(wrong);
		}
		assert_int_equal(totals(db).sum, 100);
	}
}

/* ---- killed right after the answer ---------------------------------------------------------------------------------------------------- */

static nh_rc insert_pid(struct nh_tx *tx, void *arg, struct nh_err *err) { return insert(tx, arg, NH_SLICE_EMPTY, 5, err); }

/* The child opens the database itself, writes, tells how many were answered, and is killed in the middle of more. */
static void child(const char *url, int out)
{
	struct nh_db *db = NULL;
	if (nh_db_open(&(struct nh_db_config){.url = url, .statements = families}, &db, NULL) != NH_OK)
		_exit(2);
	for (unsigned n = 0;; n++) {
		char token[32];
		snprintf(token, sizeof(token), "k%u", n);
		if (nh_db_write(db, insert_pid, token, NULL) != NH_OK || write(out, "+", 1) != 1)
			_exit(3);
	}
}

static void test_killed(void **state)
{
	for (unsigned engine = 0; engine < TESTDB_ENGINES; engine++) {
		const char *url = testdb_place(engine);
		int fds[2];
		if (!url)
			continue;
		assert_int_equal(pipe(fds), 0);
		pid_t pid = fork();
		if (pid == 0) {
			close(fds[0]);
			child(url, fds[1]);
		}
		close(fds[1]);
		int64_t answered = 0;
		char byte[64];
		for (ssize_t n; answered < 20 && (n = read(fds[0], byte, 1)) > 0;)
			answered += n;
		assert_int_equal(answered, 20);
		kill(pid, SIGKILL);
		for (ssize_t n; (n = read(fds[0], byte, sizeof(byte))) > 0;)
			answered += n;
		close(fds[0]);
		assert_int_equal(waitpid(pid, NULL, 0), pid);
		struct nh_db *db = NULL;
		struct nh_err err = NH_ERR_INIT;
		if (nh_db_open(&(struct nh_db_config){.url = url, .statements = families}, &db, &err) != NH_OK)
			fail_msg("%s", err.msg);
		int64_t rows = totals(db).rows;
		assert_true(rows == answered || rows == answered + 1); /* the last one may have been killed before it could tell */
		nh_db_close(db);
		testdb_drop(url);
	}
}

/* ---- disk full ------------------------------------------------------------------------------------------------------------------------- */

static nh_rc insert_big(struct nh_tx *tx, void *arg, struct nh_err *err)
{
	NH_AUTO_BUF struct nh_buf note = NH_BUF_INIT;
	nh_buf_fill(&note, 'n', 4 << 20);
	return insert(tx, "big", nh_buf_slice(&note), 1, err);
}

static void test_disk_full(void **state)
{
	struct nh_db *db = testdb_open_with(0, families);
	struct nh_err err = NH_ERR_INIT;
	struct rlimit old, small;
	assert_int_equal(nh_db_write(db, insert_pid, (void *)(uintptr_t)"before", &err), NH_OK);
	signal(SIGXFSZ, SIG_IGN);
	getrlimit(RLIMIT_FSIZE, &old);
	small = (struct rlimit){2 << 20, old.rlim_max};
	setrlimit(RLIMIT_FSIZE, &small);
	nh_rc rc = nh_db_write(db, insert_big, NULL, &err);
	nh_rc tiny = nh_db_write(db, insert_pid, (void *)(uintptr_t)"tiny", NULL);
	setrlimit(RLIMIT_FSIZE, &old);
	assert_int_equal(rc, NH_ENOSPC);
	assert_non_null(strstr(err.msg, "disk is full"));
	/* room again: everything goes on */
	assert_int_equal(nh_db_write(db, insert_big, NULL, &err), NH_OK);
	assert_int_equal(totals(db).rows, tiny == NH_OK ? 3 : 2);
	testdb_close(db);
}

/* A job too big for the disk, in the same group as small ones (the first job holds the writer until all wait): only the big one fails. */
#define SMALL 6

struct neighbour {
	struct nh_db *db;
	pthread_barrier_t *gate;
	char token[16];
	nh_rc rc;
};

static nh_rc hold_writer(struct nh_tx *tx, void *arg, struct nh_err *err)
{
	struct neighbour *n = arg;
	pthread_barrier_wait(n->gate);
	return insert(tx, n->token, NH_SLICE_EMPTY, 1, err);
}

static void *holder(void *arg)
{
	struct neighbour *n = arg;
	n->rc = nh_db_write(n->db, hold_writer, n, NULL);
	return NULL;
}

static void *neighbour(void *arg)
{
	struct neighbour *n = arg;
	bool big = strcmp(n->token, "big") == 0;
	pthread_barrier_wait(n->gate);
	n->rc = nh_db_write(n->db, big ? insert_big : insert_pid, n->token, NULL);
	return NULL;
}

static void test_disk_full_neighbours(void **state)
{
	struct nh_db *db = testdb_open_with(0, families);
	struct neighbour jobs[SMALL + 2];
	pthread_t threads[NH_ARRAY_LEN(jobs)];
	pthread_barrier_t gate;
	struct rlimit old, small;
	signal(SIGXFSZ, SIG_IGN);
	getrlimit(RLIMIT_FSIZE, &old);
	small = (struct rlimit){2 << 20, old.rlim_max};
	pthread_barrier_init(&gate, NULL, NH_ARRAY_LEN(jobs));
	setrlimit(RLIMIT_FSIZE, &small);
	for (size_t i = 0; i < NH_ARRAY_LEN(jobs); i++) {
		jobs[i] = (struct neighbour){.db = db, .gate = &gate};
		snprintf(jobs[i].token, sizeof(jobs[i].token), "%s%zu", i == SMALL / 2 ? "big" : "s", i);
		if (i == SMALL / 2)
			jobs[i].token[3] = 0;
		pthread_create(&threads[i], NULL, i == 0 ? holder : neighbour, &jobs[i]);
	}
	for (size_t i = 0; i < NH_ARRAY_LEN(jobs); i++)
		pthread_join(threads[i], NULL);
	setrlimit(RLIMIT_FSIZE, &old);
	for (size_t i = 0; i < NH_ARRAY_LEN(jobs); i++)
		assert_int_equal(jobs[i].rc, i == SMALL / 2 ? NH_ENOSPC : NH_OK);
	assert_int_equal(totals(db).rows, SMALL + 1);
	pthread_barrier_destroy(&gate);
	testdb_close(db);
}

/* ---- lost connection --------------------------------------------------------------------------------------------------------------------- */

static nh_rc write_and_lose(struct nh_tx *tx, void *arg, struct nh_err *err)
{
	struct nh_rows *rows = NULL;
	NH_TRY(insert(tx, "lost", NH_SLICE_EMPTY, 1, err));
	nh_rc rc = nh_sql_dynamic(tx, nh_slice_str(q_backend.sql), NH_NO_PARAMS, &rows, err);
	assert_int_equal(rc, NH_EIO);
	return NH_OK; /* even a function that does not look is told */
}

static void test_lost_connection(void **state)
{
	struct nh_db *db = testdb_open_with(1, families);
	struct nh_err err = NH_ERR_INIT;
	if (!db)
		return;
	assert_int_equal(nh_db_write(db, write_and_lose, NULL, &err), NH_EIO);
	assert_int_equal(nh_db_write(db, insert_pid, (void *)(uintptr_t)"after", &err), NH_OK);
	assert_int_equal(totals(db).rows, 1);
	/* all idle connections are gone: noticed before the next transaction begins */
	const char *name = strstr(testdb_url(db), "application_name=") + strlen("application_name=");
	PGconn *other = PQconnectdb(getenv("NH_TEST_PG_URL"));
	PGresult *res = PQexecParams(other, "SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity WHERE application_name = $1", 1, NULL, &name, NULL, NULL, 0);
	assert_true(PQntuples(res) > 0);
	PQclear(res);
	PQfinish(other);
	assert_int_equal(totals(db).rows, 1);
	testdb_close(db);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_killed), cmocka_unit_test(test_threads), cmocka_unit_test(test_collisions), cmocka_unit_test(test_disk_full), cmocka_unit_test(test_disk_full_neighbours),
		cmocka_unit_test(test_lost_connection),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
