/*
 * SQLite driver: connections and statements (sqlite.c) and the writer thread (sqlite_writer.c). Private to store.
 */
#pragma once

#include <pthread.h>
#include <semaphore.h>
#include <sqlite3.h>

#include "db_int.h"

/* One connection: used by one thread at a time. */
struct sqlite_conn {
	sqlite3 *handle;
	sqlite3_stmt **stmts; /* by statement index, prepared when first used */
	size_t stmt_count;
	struct sqlite_conn *next;
};

struct sqlite_tx {
	struct nh_tx base;
	struct sqlite_conn *conn;
};

/* A write waiting for the writer thread, on its caller's stack. */
struct sqlite_job {
	struct sqlite_job *next;
	nh_tx_fn fn;
	void *arg;
	struct nh_err *err;
	nh_rc rc;
	sem_t done;
};

struct sqlite_db {
	struct nh_db base;
	char *path;
	/* readers */
	pthread_mutex_t mutex;
	pthread_cond_t reader_free, job_ready;
	struct sqlite_conn *idle;
	unsigned readers, readers_max, reading;
	/* the writer */
	struct sqlite_conn writer;
	struct sqlite_job *jobs, **jobs_tail;
	pthread_t thread;
	bool thread_runs, closing;
};

nh_rc nh_sqlite_fail(sqlite3 *handle, const char *what, struct nh_err *err);
nh_rc nh_sqlite_run(struct sqlite_conn *conn, const char *sql, struct nh_err *err);

nh_rc nh_sqlite_writer_start(struct sqlite_db *db, struct nh_err *err);
void nh_sqlite_writer_stop(struct sqlite_db *db);
nh_rc nh_sqlite_write(struct nh_db *base, nh_tx_fn fn, void *arg, struct nh_err *err);
