/*
 * The one thread that writes to SQLite, with group commit: jobs that wait are run one after the other, each under a savepoint, inside one transaction that
 * ends with one fsync; then all are answered. While it syncs, the next group gathers, so throughput grows with the number of waiting threads.
 *
 * Invariants: a job is answered with NH_OK only after the commit that holds it; a job that fails leaves nothing and does not disturb the others. After a
 * write or fsync that failed, nothing is answered until the database is known to be whole again (mend).
 */
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "base/encode.h"
#include "base/log.h"
#include "base/thread.h"
#include "sqlite_int.h"

/* Bounds how long the first of a group waits for the last. */
#define GROUP_MAX 128
#define CHECKPOINT_PAGES 1000
#define MEND_EVERY_MS 1000

/* Runs one job under a savepoint. *lost: SQLite has rolled the whole transaction back by itself (disk full, I/O error). */
static void run_job(struct sqlite_db *db, struct sqlite_job *job, bool *lost)
{
	struct sqlite_tx tx = {.base = {.db = &db->base}, .conn = &db->writer};
	job->rc = nh_sqlite_run(&db->writer, "SAVEPOINT job", job->err);
	if (job->rc == NH_OK) {
		nh_log_adopt(job->scopes);
		job->rc = job->fn(&tx.base, job->arg, job->err);
		nh_log_adopt(NULL);
		nh_tx_end_rows(&tx.base);
	}
	*lost = sqlite3_get_autocommit(db->writer.handle) != 0;
	if (*lost)
		return;
	if (job->rc == NH_OK) {
		job->rc = nh_sqlite_run(&db->writer, "RELEASE job", job->err);
	} else if (nh_sqlite_run(&db->writer, "ROLLBACK TO job", NULL) != NH_OK || nh_sqlite_run(&db->writer, "RELEASE job", NULL) != NH_OK) {
		/* cannot be separated from its neighbours any more */
		*lost = true;
	}
}

static void fail_all(struct sqlite_job *jobs, nh_rc rc, const struct nh_err *why)
{
	for (struct sqlite_job *job = jobs; job; job = job->next) {
		if (job->rc == NH_OK)
			job->rc = nh_err_set(job->err, rc, why->file, why->line, "%s", why->msg);
	}
}

/* The group's list ends with NULL. */
static void run_group(struct sqlite_db *db, struct sqlite_job *jobs)
{
	struct nh_err why = NH_ERR_INIT;
	bool lost = false;
	if (!jobs)
		return;
	nh_rc rc = nh_sqlite_run(&db->writer, "BEGIN IMMEDIATE", &why);
	if (rc != NH_OK) {
		for (struct sqlite_job *job = jobs; job; job = job->next)
			job->rc = NH_OK;
		fail_all(jobs, rc, &why);
		return;
	}
	for (struct sqlite_job *job = jobs; job && !lost; job = job->next)
		run_job(db, job, &lost);
	if (!lost) {
		rc = nh_sqlite_run(&db->writer, "COMMIT", &why);
		if (rc == NH_OK) {
			NH_DB_TALLY(&db->base, commits);
			return;
		}
		fail_all(jobs, rc, &why);
	}
	if (sqlite3_get_autocommit(db->writer.handle) == 0)
		NH_IGNORE(nh_sqlite_run(&db->writer, "ROLLBACK", NULL)); /* nothing better can be done; BEGIN will tell */
	if (!lost)
		return;
	if (db->writer.broken) { /* by one of them, but nothing of the others may be tried before the repair */
		NH_IGNORE(NH_FAIL(&why, NH_EIO, "the database could not be written"));
		fail_all(jobs, NH_EIO, &why);
		return;
	}
	if (!jobs->next) {
		if (jobs->rc == NH_OK)
			jobs->rc = NH_FAIL(jobs->err, NH_EIO, "the database rolled the transaction back");
		return;
	}
	/* One job took the transaction down: each gets one of its own. */
	for (struct sqlite_job *job = jobs, *next; job; job = next) {
		next = job->next;
		job->next = NULL;
		run_group(db, job);
		job->next = next;
	}
}

/* ---- after a failed write or fsync --------------------------------------------------------------------------------------- */

static int read_number(void *arg, int columns, char **values, char **names)
{
	int64_t *number = arg;
	return columns == 1 && nh_parse_i64(nh_slice_str(values[0]), INT32_MIN, INT32_MAX, number) == NH_OK ? 0 : 1;
}

/*
 * The frames of what failed may lie complete in the WAL, though nobody was told so. A transaction of our own takes their place, so that no recovery finds
 * them: what was answered with an error stays undone.
 */
static nh_rc overwrite_unanswered(struct sqlite_db *db, struct nh_err *err)
{
	int64_t version = 0;
	char sql[64];
	if (sqlite3_get_autocommit(db->writer.handle) == 0)
		NH_TRY(nh_sqlite_run(&db->writer, "ROLLBACK", err));
	if (sqlite3_exec(db->writer.handle, "PRAGMA user_version", read_number, &version, NULL) != SQLITE_OK)
		return nh_sqlite_fail(&db->writer, "PRAGMA user_version", err);
	snprintf(sql, sizeof(sql), "PRAGMA user_version = %lld", (long long)version);
	return nh_sqlite_run(&db->writer, sql, err);
}

static int read_verdict(void *arg, int columns, char **values, char **names)
{
	*(bool *)arg = columns == 1 && values[0] && strcmp(values[0], "ok") == 0;
	return 0;
}

/*
 * With every connection closed the WAL's index is built anew from the WAL, so that the checkpoint copies each page again, also those that an earlier
 * checkpoint copied and the kernel then lost.
 */
static nh_rc reopen(struct sqlite_db *db, struct nh_err *err)
{
	nh_sqlite_conn_fini(&db->writer, false);
	NH_TRY(nh_sqlite_conn_open(&db->writer, db->path, false, err));
	nh_sqlite_writer_hook(db);
	if (sqlite3_wal_checkpoint_v2(db->writer.handle, NULL, SQLITE_CHECKPOINT_TRUNCATE, NULL, NULL) != SQLITE_OK)
		return nh_sqlite_fail(&db->writer, "checkpoint", err);
	return NH_OK;
}

static nh_rc check(struct sqlite_db *db, struct nh_err *err)
{
	bool whole = false;
	if (sqlite3_exec(db->writer.handle, "PRAGMA quick_check(1)", read_verdict, &whole, NULL) != SQLITE_OK)
		return nh_sqlite_fail(&db->writer, "quick_check", err);
	return whole ? NH_OK : NH_FAIL(err, NH_EIO, "%s is damaged: stop the server and restore a backup", db->path);
}

static nh_rc mend(struct sqlite_db *db, struct nh_err *err)
{
	if (db->writer.handle)
		NH_TRY(overwrite_unanswered(db, err));
	nh_sqlite_readers_halt(db);
	nh_rc rc = reopen(db, err);
	nh_sqlite_readers_resume(db);
	return rc == NH_OK ? check(db, err) : rc;
}

static void suspect(struct sqlite_db *db, const struct nh_err *why)
{
	db->suspect = true;
	db->mend_at_ms = nh_mono_ms() + MEND_EVERY_MS;
	db->suspicion = *why;
}

/* Is the writer fit to write? Tries to mend it where that is due. */
static bool fit(struct sqlite_db *db)
{
	struct nh_err err = NH_ERR_INIT;
	if (!db->suspect)
		return true;
	if (nh_mono_ms() < db->mend_at_ms)
		return false;
	if (mend(db, &err) != NH_OK) {
		suspect(db, &err);
		return false;
	}
	db->suspect = false;
	NH_DB_TALLY(&db->base, reopened);
	NH_LOG(NH_LOG_WARN, "database.reopened", NH_STR("file", db->path), NH_STR("after", db->suspicion.msg));
	return true;
}

/* ---- checkpoints ----------------------------------------------------------------------------------------------------------- */

static int on_commit(void *arg, sqlite3 *handle, const char *name, int pages)
{
	((struct sqlite_db *)arg)->wal_pages = pages;
	return SQLITE_OK;
}

/* Instead of SQLite's own hook, which checkpoints too but keeps to itself when that fails. */
void nh_sqlite_writer_hook(struct sqlite_db *db) { sqlite3_wal_hook(db->writer.handle, on_commit, db); }

/* After the answers, which need not wait for it. What a full disk prevents is tried again after the next group. */
static void checkpoint(struct sqlite_db *db)
{
	struct nh_err err = NH_ERR_INIT;
	if (db->wal_pages < CHECKPOINT_PAGES)
		return;
	db->wal_pages = 0;
	int code = sqlite3_wal_checkpoint_v2(db->writer.handle, NULL, SQLITE_CHECKPOINT_PASSIVE, NULL, NULL);
	if (code == SQLITE_OK || code == SQLITE_BUSY)
		return;
	NH_IGNORE(nh_sqlite_fail(&db->writer, "checkpoint", &err)); /* marks the connection where it matters */
	if (!db->writer.broken)
		return;
	nh_episode_failed(&db->base.writing, NH_EIO, err.msg);
	suspect(db, &err);
}

/* ---- the thread ------------------------------------------------------------------------------------------------------------ */

/* Waits for work; while the database is suspect at most until it may be mended. */
static void wait_for_job(struct sqlite_db *db)
{
	if (!db->suspect) {
		pthread_cond_wait(&db->job_ready, &db->mutex);
		return;
	}
	struct timespec until = {.tv_sec = (time_t)(db->mend_at_ms / 1000), .tv_nsec = (long)(db->mend_at_ms % 1000) * 1000000};
	pthread_cond_timedwait(&db->job_ready, &db->mutex, &until);
}

/* Takes up to GROUP_MAX jobs off the queue. False when closing and empty; *group may be NULL where it is time to mend. */
static bool take_group(struct sqlite_db *db, struct sqlite_job **group)
{
	pthread_mutex_lock(&db->mutex);
	while (!db->jobs && !db->closing && !(db->suspect && nh_mono_ms() >= db->mend_at_ms))
		wait_for_job(db);
	struct sqlite_job *last = *group = db->jobs;
	for (unsigned n = 1; last && last->next && n < GROUP_MAX; n++)
		last = last->next;
	if (last) {
		db->jobs = last->next;
		last->next = NULL;
	}
	if (!db->jobs)
		db->jobs_tail = &db->jobs;
	bool more = *group || !db->closing;
	pthread_mutex_unlock(&db->mutex);
	return more;
}

static const struct nh_err *reason(const struct sqlite_job *group)
{
	static const struct nh_err unknown = {.rc = NH_EIO, .file = __FILE__, .msg = "the database could not be read or written"};
	while (group && group->rc != NH_EIO)
		group = group->next;
	return group ? group->err : &unknown;
}

static void *writer_main(void *arg)
{
	struct sqlite_db *db = arg;
	nh_thread_background("db-writer");
	for (struct sqlite_job *group; take_group(db, &group);) {
		if (fit(db))
			run_group(db, group);
		else
			fail_all(group, NH_EIO, &db->suspicion);
		if (db->writer.broken && !db->suspect)
			suspect(db, reason(group));
		for (struct sqlite_job *next; group; group = next) {
			next = group->next; /* the job is gone after the post */
			sem_post(&group->done);
		}
		if (!db->suspect)
			checkpoint(db);
	}
	return NULL;
}

nh_rc nh_sqlite_write(struct nh_db *base, nh_tx_fn fn, void *arg, struct nh_err *err)
{
	struct sqlite_db *db = (struct sqlite_db *)base;
	struct sqlite_job job = {.fn = fn, .arg = arg, .err = err, .scopes = nh_log_here()};
	NH_ASSERT(!pthread_equal(pthread_self(), db->thread)); /* a write inside a write would wait for itself */
	sem_init(&job.done, 0, 0);
	pthread_mutex_lock(&db->mutex);
	*db->jobs_tail = &job;
	db->jobs_tail = &job.next;
	pthread_cond_signal(&db->job_ready);
	pthread_mutex_unlock(&db->mutex);
	while (sem_wait(&job.done) != 0) {}
	sem_destroy(&job.done);
	return job.rc;
}

nh_rc nh_sqlite_writer_start(struct sqlite_db *db, struct nh_err *err)
{
	db->jobs_tail = &db->jobs;
	nh_sqlite_writer_hook(db);
	if (pthread_create(&db->thread, NULL, writer_main, db) != 0)
		return NH_FAIL(err, NH_EIO, "cannot start the database's writer thread");
	db->thread_runs = true;
	return NH_OK;
}

void nh_sqlite_writer_stop(struct sqlite_db *db)
{
	if (!db->thread_runs)
		return;
	pthread_mutex_lock(&db->mutex);
	db->closing = true;
	pthread_cond_signal(&db->job_ready);
	pthread_mutex_unlock(&db->mutex);
	pthread_join(db->thread, NULL);
	db->thread_runs = false;
}
