/*
 * One SQL interface over SQLite and PostgreSQL: open, transactions, statements, rows. No policy and no table knowledge here.
 *
 * Statements are constants (`struct nh_stmt`), listed once per family, and prepared when the database is opened, so a typo fails at
 * boot. One text serves both engines: `$1…$n` ascending by first use, nullable parameters CAST, RETURNING and ON CONFLICT are fine.
 *
 * Threads: nh_db_open/close by main. nh_db_read and nh_db_write from worker threads (never a loop's); both block.
 * With SQLite, write functions run on the one writer thread, each under a savepoint, many in one transaction (group commit);
 * nh_db_write returns after the fsync, so an answered write is durable. With PostgreSQL they run on the calling thread in a transaction
 * of their own and are repeated from the start after a serialization failure or deadlock: a write function must be safe to run twice, and
 * has no effect outside tx and its arg until nh_db_write has returned NH_OK.
 *
 * source: design/architecture "5. Data"
 */
#pragma once

#include "base/arena.h"
#include "base/buf.h"
#include "base/histogram.h"

struct nh_db;
struct nh_tx;

/* ---- statements -------------------------------------------------------------------------------------------------------- */

struct nh_stmt {
	const char *name; /* unique, [a-z0-9_]+ */
	const char *sql;
};

/* ---- open -------------------------------------------------------------------------------------------------------------- */

struct nh_db_config {
	const char *url;        /* "sqlite:/path/file.db" or "postgres://…" / "postgresql://…" */
	unsigned connections;   /* how many threads may read (or, PostgreSQL, write) at once; further ones wait. 0 = 8 */
	uint64_t timeout_ms;    /* PostgreSQL: how long one statement may take; 0 = 15 000. See "When the database fails". */
	/* NULL-terminated list of NULL-terminated families of statements; normally nh_store_statements */
	const struct nh_stmt *const *const *statements;
};

/*
 * nh_db_open - connects, migrates to this program's version, prepares every statement.
 * Errors: NH_EINVAL (url), NH_EPERM/NH_EIO (cannot open, with path or host and what to do), NH_ECONFLICT (the database was written by a
 * newer version: names both versions), NH_EINTERNAL (a statement does not prepare: names it).
 */
nh_rc nh_db_open(const struct nh_db_config *config, struct nh_db **out, struct nh_err *err);
void nh_db_close(struct nh_db *db); /* waits for running transactions; NULL legal */
bool nh_db_is_postgres(const struct nh_db *db);

/* ---- when the database fails ------------------------------------------------------------------------------------------- */

/*
 * Outages are NH_EIO (cannot be read, written or reached) and NH_ENOSPC (its disk is full): the call may succeed later, nobody has to restart anything.
 * Each is logged once for its episode ("database.read", "database.write": base/episode.h), not by callers.
 *
 * SQLite: after a failed write or fsync what the file holds is not known, since the kernel forgets pages that it could not write and a later fsync says nothing
 * of them. So the writer answers nothing until it has overwritten what was not answered, closed and reopened the database, copied the whole WAL into the file
 * again, synced and checked it; it tries that every second, and meanwhile writes fail at once with NH_EIO. Reads go on. A full disk needs none of this.
 *
 * PostgreSQL: a statement may take timeout_ms; a server that says nothing for a third of that more is given up, its connection with it. After a failed
 * connect one caller at a time tries again, after 250 ms up to 5 s; the others fail at once. A COMMIT whose answer was lost is NH_EIO with a message that
 * says so: the change may have been made. Everything else that fails has changed nothing.
 */
struct nh_db_stats {
	bool available;       /* the latest read and the latest write were no outages */
	uint64_t reads, writes; /* asked for since the start */
	struct nh_histogram read_us, write_us; /* of each, as its caller waited: for its turn, its function, and that it was durable */
	uint64_t steps;       /* SQLite: what its virtual machine did for all statements; grows with the rows that are looked at */
	uint64_t commits;     /* write transactions made durable; with SQLite one holds many writes */
	uint64_t errors;      /* reads and writes that failed by an outage */
	uint64_t full;        /* those of them that found the disk full */
	uint64_t retries;     /* PostgreSQL: runs after a collision */
	uint64_t reopened;    /* SQLite: repairs after a failed write; PostgreSQL: connections opened */
};
void nh_db_stats(const struct nh_db *db, struct nh_db_stats *out); /* any thread */
bool nh_db_available(const struct nh_db *db);                     /* that figure alone: two loads of memory. Any thread, loops too */

/* ---- transactions ------------------------------------------------------------------------------------------------------ */

typedef nh_rc (*nh_tx_fn)(struct nh_tx *tx, void *arg, struct nh_err *err);

/* nh_db_read - runs fn in a read-only snapshot; returns fn's code. Writing inside fails with NH_EINTERNAL. */
nh_rc nh_db_read(struct nh_db *db, nh_tx_fn fn, void *arg, struct nh_err *err);

/* nh_db_write - runs fn in a write transaction: NH_OK from fn commits and returns once durable, any other code rolls fn's changes back and
 * is returned. Adds NH_EIO, NH_ENOSPC where the commit fails (then nothing of fn remains, except as said above), and NH_EAGAIN where it collided with others
 * again and again (PostgreSQL). */
nh_rc nh_db_write(struct nh_db *db, nh_tx_fn fn, void *arg, struct nh_err *err);

/*
 * nh_db_take - as nh_db_write, for what many take from one table and nobody decides anything else by (a server's messages, its beat): with PostgreSQL each statement sees what is
 * committed by then (READ COMMITTED), so that takers neither collide with those who add nor make them run again. Not for rules that must hold.
 */
nh_rc nh_db_take(struct nh_db *db, nh_tx_fn fn, void *arg, struct nh_err *err);
bool nh_tx_reads(const struct nh_tx *tx); /* is it a transaction of nh_db_read? */

/* nh_tx_notify - queues a message for other nodes, sent with the commit (PostgreSQL NOTIFY; nothing on SQLite). payload < 8000 bytes, ids only. */
nh_rc nh_tx_notify(struct nh_tx *tx, const char *channel, nh_slice payload, struct nh_err *err);

/* ---- parameters and rows ----------------------------------------------------------------------------------------------- */

typedef enum nh_param_kind { NH_PARAM_NULL, NH_PARAM_INT, NH_PARAM_REAL, NH_PARAM_TEXT, NH_PARAM_BLOB } nh_param_kind;

struct nh_param {
	nh_param_kind kind;
	int64_t number;
	double real;
	nh_slice bytes; /* borrowed for the call */
};

/* Values of parameters; text and bytes are borrowed. A NULL C string is NULL, an empty slice is an empty text. */
static inline struct nh_param nh_p_int(int64_t v) { return (struct nh_param){.kind = NH_PARAM_INT, .number = v}; }
static inline struct nh_param nh_p_bool(bool v) { return (struct nh_param){.kind = NH_PARAM_INT, .number = v}; }
static inline struct nh_param nh_p_real(double v) { return (struct nh_param){.kind = NH_PARAM_REAL, .real = v}; }
static inline struct nh_param nh_p_text(nh_slice v) { return (struct nh_param){.kind = NH_PARAM_TEXT, .bytes = v}; }
static inline struct nh_param nh_p_str(const char *v) { return v ? nh_p_text(nh_slice_str(v)) : (struct nh_param){.kind = NH_PARAM_NULL}; }
static inline struct nh_param nh_p_blob(nh_slice v) { return (struct nh_param){.kind = NH_PARAM_BLOB, .bytes = v}; }
static inline struct nh_param nh_p_null(void) { return (struct nh_param){.kind = NH_PARAM_NULL}; }
/* text, or NULL where the slice's pointer is NULL */
static inline struct nh_param nh_p_text_or_null(nh_slice v) { return v.ptr ? nh_p_text(v) : nh_p_null(); }
/* number, or NULL where it is 0: for optional references, since ids start at 1 */
static inline struct nh_param nh_p_ref(int64_t id) { return id ? nh_p_int(id) : nh_p_null(); }

/* NH_PARAMS(nh_p_int(1), nh_p_text(s)) - array and count of parameters, for the two calls below. */
#define NH_PARAMS(...) (const struct nh_param[]){__VA_ARGS__}, (sizeof((const struct nh_param[]){__VA_ARGS__}) / sizeof(struct nh_param))
#define NH_NO_PARAMS NULL, 0

/* nh_sql_exec - runs a statement without rows. *changed (NULL legal): rows changed.
 * NH_ECONFLICT: a uniqueness or foreign key constraint refused it (message names the constraint or columns; the transaction stays usable). NH_EIO. */
nh_rc nh_sql_exec(struct nh_tx *tx, const struct nh_stmt *stmt, const struct nh_param *params, size_t count, int64_t *changed, struct nh_err *err);

struct nh_rows; /* a result being read; lives until nh_sql_end or the end of the transaction */

/* nh_sql_query - starts a statement with rows. Errors as exec. */
nh_rc nh_sql_query(struct nh_tx *tx, const struct nh_stmt *stmt, const struct nh_param *params, size_t count, struct nh_rows **out, struct nh_err *err);
/* nh_sql_next - moves to the next row: NH_OK, NH_ENOTFOUND after the last one, else as exec. */
nh_rc nh_sql_next(struct nh_rows *rows, struct nh_err *err);
void nh_sql_end(struct nh_rows *rows); /* NULL legal */

/* nh_sql_one - query + next, for exactly the first row: NH_ENOTFOUND without message where there is none. End with nh_sql_end when NH_OK. */
nh_rc nh_sql_one(struct nh_tx *tx, const struct nh_stmt *stmt, const struct nh_param *params, size_t count, struct nh_rows **out, struct nh_err *err);

/* nh_sql_dynamic - query whose text was joined from fixed fragments by the list-filter compiler, the only caller allowed. Every value is bound. */
nh_rc nh_sql_dynamic(struct nh_tx *tx, nh_slice sql, const struct nh_param *params, size_t count, struct nh_rows **out, struct nh_err *err);

/* Columns of the current row, from 0. Wrong kinds convert as a number 0 or empty text. Text and blobs are copied into the arena, NUL-terminated;
 * a NULL column gives a slice with a NULL pointer, 0 or false. */
bool nh_col_null(const struct nh_rows *rows, int column);
int64_t nh_col_int(const struct nh_rows *rows, int column);
double nh_col_real(const struct nh_rows *rows, int column);
nh_slice nh_col_text(const struct nh_rows *rows, int column, struct nh_arena *arena);
nh_slice nh_col_blob(const struct nh_rows *rows, int column, struct nh_arena *arena);
static inline bool nh_col_bool(const struct nh_rows *rows, int column) { return nh_col_int(rows, column) != 0; }

/* nh_like_pattern - what LIKE … ESCAPE '\' needs to find the text literally in LOWER(column), ASCII letters without case: at its start, or anywhere. In arena. */
nh_slice nh_like_pattern(struct nh_arena *arena, nh_slice text, bool anywhere);

/* nh_store_statements - every family of this program (lib/store/statements.c lists them). */
extern const struct nh_stmt *const *const nh_store_statements[];
