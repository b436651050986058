/*
 * PostgreSQL driver: connections and transactions (postgres.c), statements and rows (postgres_query.c). Private to store.
 */
#pragma once

#include <libpq-fe.h>
#include <pthread.h>

#include "db_int.h"

/* One connection: used by one thread at a time. */
struct pg_conn {
	PGconn *handle;
	bool *prepared; /* by statement index */
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
	PGconn *migration; /* holds the advisory lock */
};

/* nh_pg_fail - code and message of a failed result (NULL: of the connection). */
nh_rc nh_pg_fail(PGconn *handle, const PGresult *res, const char *what, struct nh_err *err);
nh_rc nh_pg_run(PGconn *handle, const char *sql, struct nh_err *err); /* no rows */

nh_rc nh_pg_prepare(struct pg_conn *conn, const struct nh_stmt_info *s, struct nh_err *err);
nh_rc nh_pg_exec(struct nh_tx *tx, const struct nh_stmt_info *s, const struct nh_param *params, size_t count, int64_t *changed, struct nh_err *err);
nh_rc nh_pg_query(struct nh_tx *tx, const struct nh_stmt_info *s, const struct nh_param *params, size_t count, struct nh_rows **out, struct nh_err *err);
nh_rc nh_pg_next(struct nh_rows *rows, struct nh_err *err);
void nh_pg_end(struct nh_rows *rows);
struct nh_param nh_pg_column(const struct nh_rows *rows, int column, struct nh_arena *arena);
