/*
 * PostgreSQL driver: transactions (postgres.c), connections and waiting (postgres_conn.c), statements and rows (postgres_query.c). Private to store.
 */
#pragma once

#include <libpq-fe.h>
#include <pthread.h>

#include "db_int.h"

/* One connection: used by one thread at a time. */
struct pg_conn {
	PGconn *handle;
	bool *prepared;     /* by statement index */
	uint64_t limit_ms;  /* how long the server may be silent */
	bool timed_out;     /* it was longer: the connection was given up */
	unsigned epoch;     /* the pool's when it was opened */
	struct pg_conn *next;
};

struct pg_tx {
	struct nh_tx base;
	struct pg_conn *conn;
	bool savepoint; /* one is set: released when the next is */
	bool retry;     /* serialization failure or deadlock: run fn again */
	nh_rc broken;   /* the transaction cannot commit any more, and why */
	struct nh_err why;
};

struct pg_db {
	struct nh_db base;
	char *url;
	pthread_mutex_t mutex;
	pthread_cond_t conn_free;
	struct pg_conn *idle;
	unsigned conns, conns_max, busy;
	uint64_t timeout_ms;
	/* whether and when to connect */
	unsigned epoch;       /* older connections are not used again */
	bool down, probing;   /* the latest attempt failed; somebody tries again */
	unsigned failures;    /* in a row */
	uint64_t retry_at_ms;
	struct nh_err why;    /* of the latest */
	struct pg_conn migration; /* holds the advisory lock */
};

/* ---- postgres_conn.c ---- */
/* nh_pg_connect - opens a connection with this session's settings, however the pool fares. limit_ms: for its statements. NH_EIO, NH_EUNSUPPORTED. */
nh_rc nh_pg_connect(const struct pg_db *db, struct pg_conn *conn, uint64_t limit_ms, struct nh_err *err);
/* nh_pg_ensure - connected after it, unless the server is known to be away and it is not yet time, or another thread's turn, to try: then NH_EIO at once. */
nh_rc nh_pg_ensure(struct pg_db *db, struct pg_conn *conn, struct nh_err *err);
void nh_pg_disconnect(struct pg_conn *conn);
/* nh_pg_lost - a transaction lost its connection, or gave up on it: all older ones are dropped before they are used. */
void nh_pg_lost(struct pg_db *db, struct pg_conn *conn, const struct nh_err *why);
/* nh_pg_result - the next result of what was sent, NULL after the last; a server that is silent too long counts as gone. */
PGresult *nh_pg_result(struct pg_conn *conn);
PGresult *nh_pg_command(struct pg_conn *conn, const char *sql); /* sends, and returns the last result */
/* nh_pg_fail - code and message of a failed result (NULL: of the connection). */
nh_rc nh_pg_fail(struct pg_conn *conn, const PGresult *res, const char *what, struct nh_err *err);
nh_rc nh_pg_run(struct pg_conn *conn, const char *sql, struct nh_err *err); /* no rows */

/* ---- postgres_query.c ---- */

nh_rc nh_pg_prepare(struct pg_conn *conn, const struct nh_stmt_info *s, struct nh_err *err);
nh_rc nh_pg_exec(struct nh_tx *tx, const struct nh_stmt_info *s, const struct nh_param *params, size_t count, int64_t *changed, struct nh_err *err);
nh_rc nh_pg_query(struct nh_tx *tx, const struct nh_stmt_info *s, const struct nh_param *params, size_t count, struct nh_rows **out, struct nh_err *err);
nh_rc nh_pg_next(struct nh_rows *rows, struct nh_err *err);
void nh_pg_end(struct nh_rows *rows);
struct nh_param nh_pg_column(const struct nh_rows *rows, int column, struct nh_arena *arena);
