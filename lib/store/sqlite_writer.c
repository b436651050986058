/*
 * The one thread that writes to SQLite, with group commit: jobs that wait are run one after the other, each under a savepoint, inside one transaction that
 * ends with one fsync; then all are answered. While it syncs, the next group gathers, so throughput grows with the number of waiting threads.
 *
 * Invariants: a job is answered with NH_OK only after the commit that holds it; a job that fails leaves nothing and does not disturb the others.
 */
#include "sqlite_int.h"

/* Bounds how long the first of a group waits for the last. */
#define GROUP_MAX 128

/* Runs one job under a savepoint. *lost: SQLite has rolled the whole transaction back by itself (disk full, I/O error). */
static void run_job(struct sqlite_db *db, struct sqlite_job *job, bool *lost)
{
	struct sqlite_tx tx = {.base = {.db = &db->base}, .conn = &db->writer};
	job->rc = nh_sqlite_run(&db->writer, "SAVEPOINT job", job->err);
	if (job->rc == NH_OK) {
		job->rc = job->fn(&tx.base, job->arg, job->err);
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
		if (rc == NH_OK)
			return;
		fail_all(jobs, rc, &why);
	}
	if (sqlite3_get_autocommit(db->writer.handle) == 0)
		NH_IGNORE(nh_sqlite_run(&db->writer, "ROLLBACK", NULL)); /* nothing better can be done; BEGIN will tell */
	if (!lost)
		return;
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

/* Takes up to GROUP_MAX jobs off the queue; NULL when closing and empty. */
static struct sqlite_job *take_group(struct sqlite_db *db)
{
	pthread_mutex_lock(&db->mutex);
	while (!db->jobs && !db->closing)
		pthread_cond_wait(&db->job_ready, &db->mutex);
	struct sqlite_job *group = db->jobs, *last = group;
	for (unsigned n = 1; last && last->next && n < GROUP_MAX; n++)
		last = last->next;
	if (last) {
		db->jobs = last->next;
		last->next = NULL;
	}
	if (!db->jobs)
		db->jobs_tail = &db->jobs;
	pthread_mutex_unlock(&db->mutex);
	return group;
}

static void *writer_main(void *arg)
{
	struct sqlite_db *db = arg;
	for (struct sqlite_job *group; (group = take_group(db)) != NULL;) {
		run_group(db, group);
		for (struct sqlite_job *next; group; group = next) {
			next = group->next; /* the job is gone after the post */
			sem_post(&group->done);
		}
	}
	return NULL;
}

nh_rc nh_sqlite_write(struct nh_db *base, nh_tx_fn fn, void *arg, struct nh_err *err)
{
	struct sqlite_db *db = (struct sqlite_db *)base;
	struct sqlite_job job = {.fn = fn, .arg = arg, .err = err};
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
	if (pthread_create(&db->thread, NULL, writer_main, db) != 0)
		return NH_FAIL(err, NH_EIO, "cannot start the database's writer thread");
	pthread_setname_np(db->thread, "db-writer");
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
