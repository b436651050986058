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
	bool broken;          /* the file could not be read or written: not to be used again */
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
	const struct nh_log_scope *scopes; /* of who waits for it */
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
	bool mending; /* nobody may begin to read */
	/* the writer */
	struct sqlite_conn writer;
	struct sqlite_job *jobs, **jobs_tail;
	pthread_t thread;
	bool thread_runs, closing;
	int wal_pages;         /* in the WAL after the latest commit */
	bool suspect;          /* a write or fsync failed: nothing is answered before it is mended */
	uint64_t mend_at_ms;   /* not before */
	struct nh_err suspicion;
};

/* nh_sqlite_fail - code and message of the connection's latest failure; one of input or output marks the connection broken. */
nh_rc nh_sqlite_fail(struct sqlite_conn *conn, const char *what, struct nh_err *err);
nh_rc nh_sqlite_run(struct sqlite_conn *conn, const char *sql, struct nh_err *err);
/* For the writer. open: *conn is zeroed on failure. fini without checkpoint leaves the WAL as it is. */
nh_rc nh_sqlite_conn_open(struct sqlite_conn *conn, const char *path, bool readonly, struct nh_err *err);
void nh_sqlite_conn_fini(struct sqlite_conn *conn, bool checkpoint);
/* Waits until nobody reads, closes the readers' connections and keeps new ones out until resume. */
void nh_sqlite_readers_halt(struct sqlite_db *db);
void nh_sqlite_readers_resume(struct sqlite_db *db);

/* (Re)installs what notes the WAL's length. */
void nh_sqlite_writer_hook(struct sqlite_db *db);
nh_rc nh_sqlite_writer_start(struct sqlite_db *db, struct nh_err *err);
void nh_sqlite_writer_stop(struct sqlite_db *db);
nh_rc nh_sqlite_write(struct nh_db *base, nh_tx_fn fn, void *arg, struct nh_err *err);
