/*
 * PostgreSQL driver: a pool of connections, each used by one thread at a time, mended when lost. Writes run SERIALIZABLE, so that rules that hold with
 * SQLite's one writer hold here; a serialization failure or deadlock runs the function again. Reads are REPEATABLE READ, READ ONLY: a snapshot.
 *
 * source: design/architecture "5. Data"
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/log.h"
#include "base/rng.h"
#include "postgres_int.h"

#define ATTEMPTS_MAX 40
#define MIGRATION_LOCK "7381640517290311" /* any number that only this program uses */

/* ---- errors ---------------------------------------------------------------------------------------------------------------- */

/* SQLSTATE, or its first characters, to code; the first that fits. source: PostgreSQL 15, Appendix A */
static const struct {
	const char *state;
	nh_rc rc;
} states[] = {
	{"23505", NH_ECONFLICT}, {"23503", NH_ECONFLICT}, {"23", NH_EINVAL}, {"22", NH_EINVAL}, {"40", NH_EAGAIN}, {"53100", NH_ENOSPC}, {"53200", NH_ENOMEM},
	{"54", NH_ETOOBIG}, {"57014", NH_ETIMEOUT}, {"28", NH_EPERM}, {"42501", NH_EPERM}, {"3D000", NH_EPERM}, {"25006", NH_EINTERNAL}, {"42", NH_EINTERNAL},
	{"08P01", NH_EINTERNAL},
};

static nh_rc code_of(const PGresult *res)
{
	const char *state = res ? PQresultErrorField(res, PG_DIAG_SQLSTATE) : NULL;
	for (size_t i = 0; state && i < NH_ARRAY_LEN(states); i++) {
		if (strncmp(state, states[i].state, strlen(states[i].state)) == 0)
			return states[i].rc;
	}
	return NH_EIO;
}

nh_rc nh_pg_fail(PGconn *handle, const PGresult *res, const char *what, struct nh_err *err)
{
	nh_rc rc = code_of(res);
	const char *text = res ? PQresultErrorField(res, PG_DIAG_MESSAGE_PRIMARY) : NULL;
	const char *table = res ? PQresultErrorField(res, PG_DIAG_TABLE_NAME) : NULL;
	nh_slice message = nh_slice_trim(nh_slice_str(text ? text : PQerrorMessage(handle)));
	if (rc == NH_ENOSPC)
		return NH_FAIL(err, rc, "the database server's disk is full: free some space there (%s)", what);
	return NH_FAIL(err, rc, "%s: %.*s%s%s", what, NH_ARG(message), table ? ", table " : "", table ? table : "");
}

nh_rc nh_pg_run(PGconn *handle, const char *sql, struct nh_err *err)
{
	PGresult *res = PQexec(handle, sql);
	ExecStatusType status = PQresultStatus(res);
	nh_rc rc = status == PGRES_COMMAND_OK || status == PGRES_TUPLES_OK ? NH_OK : nh_pg_fail(handle, res, sql, err);
	PQclear(res);
	return rc;
}

static void on_notice(void *arg, const PGresult *res)
{
	const char *text = PQresultErrorField(res, PG_DIAG_MESSAGE_PRIMARY);
	NH_LOG(NH_LOG_DEBUG, "store.notice", NH_STR("text", text ? text : ""));
}

/* ---- connections ------------------------------------------------------------------------------------------------------------- */

static const char session_settings[] =
	"SET client_encoding = 'UTF8'; SET TIME ZONE 'UTC'; SET statement_timeout = '30s'; SET idle_in_transaction_session_timeout = '60s'; "
	"SET lock_timeout = '20s'; SET extra_float_digits = 1; SET bytea_output = 'hex'; SET default_transaction_isolation = 'serializable'";

static nh_rc connect_url(const struct pg_db *db, PGconn **out, struct nh_err *err)
{
	const char *const keys[] = {"dbname", "fallback_application_name", "connect_timeout", "keepalives_idle", NULL};
	const char *const values[] = {db->url, "nerveshub", "10", "30", NULL};
	PGconn *handle = PQconnectdbParams(keys, values, 1);
	if (PQstatus(handle) != CONNECTION_OK) {
		/* libpq's text names host, port, user and database, never the password */
		nh_slice text = nh_slice_trim(nh_slice_str(PQerrorMessage(handle)));
		nh_rc rc = NH_FAIL(err, NH_EIO, "cannot connect to PostgreSQL: %.*s", NH_ARG(text));
		PQfinish(handle);
		return rc;
	}
	PQsetNoticeReceiver(handle, on_notice, NULL);
	nh_rc rc = PQserverVersion(handle) >= 150000 ? nh_pg_run(handle, session_settings, err)
						     : NH_FAIL(err, NH_EUNSUPPORTED, "PostgreSQL %d is too old: version 15 or newer is needed", PQserverVersion(handle) / 10000);
	if (rc != NH_OK)
		PQfinish(handle);
	else
		*out = handle;
	return rc;
}

static void disconnect(struct pg_conn *conn)
{
	PQfinish(conn->handle);
	conn->handle = NULL;
}

static nh_rc ensure_connected(struct pg_db *db, struct pg_conn *conn, struct nh_err *err)
{
	if (conn->handle)
		return NH_OK;
	NH_TRY(connect_url(db, &conn->handle, err));
	if (!conn->prepared)
		conn->prepared = nh_xcalloc(db->base.stmt_count + 1, sizeof(*conn->prepared));
	for (size_t i = 0; i < db->base.stmt_count; i++)
		conn->prepared[i] = false;
	return NH_OK;
}

static struct pg_conn *take(struct pg_db *db)
{
	pthread_mutex_lock(&db->mutex);
	while (!db->idle && db->conns == db->conns_max)
		pthread_cond_wait(&db->conn_free, &db->mutex);
	struct pg_conn *conn = db->idle;
	if (conn) {
		db->idle = conn->next;
	} else {
		conn = nh_xcalloc(1, sizeof(*conn));
		db->conns++;
	}
	db->busy++;
	pthread_mutex_unlock(&db->mutex);
	return conn;
}

static void give(struct pg_db *db, struct pg_conn *conn)
{
	pthread_mutex_lock(&db->mutex);
	conn->next = db->idle;
	db->idle = conn;
	db->busy--;
	pthread_cond_broadcast(&db->conn_free);
	pthread_mutex_unlock(&db->mutex);
}

/* ---- transactions -------------------------------------------------------------------------------------------------------------- */

/* COMMIT of a transaction that an error has ended answers ROLLBACK, successfully. */
static nh_rc commit(struct pg_tx *tx, struct nh_err *err)
{
	PGconn *handle = tx->conn->handle;
	PGresult *res = PQexec(handle, "COMMIT");
	nh_rc rc = NH_OK;
	if (PQresultStatus(res) != PGRES_COMMAND_OK) {
		rc = nh_pg_fail(handle, res, "COMMIT", err);
		tx->retry = rc == NH_EAGAIN;
	} else if (strcmp(PQcmdStatus(res), "COMMIT") != 0) {
		rc = NH_FAIL(err, NH_EIO, "the database rolled the transaction back");
	}
	PQclear(res);
	return rc;
}

/* One run of fn in the transaction that has begun. */
static nh_rc attempt(struct pg_tx *tx, nh_tx_fn fn, void *arg, struct nh_err *err)
{
	PGconn *handle = tx->conn->handle;
	nh_rc rc = fn(&tx->base, arg, err);
	nh_tx_end_rows(&tx->base);
	if (rc == NH_OK && tx->broken != NH_OK)
		rc = nh_err_set(err, tx->broken, tx->why.file, tx->why.line, "%s", tx->why.msg);
	if (rc == NH_OK)
		rc = commit(tx, err);
	if (PQstatus(handle) == CONNECTION_OK && PQtransactionStatus(handle) != PQTRANS_IDLE && nh_pg_run(handle, "ROLLBACK", NULL) != NH_OK)
		disconnect(tx->conn);
	else if (PQstatus(handle) != CONNECTION_OK)
		disconnect(tx->conn);
	return rc;
}

/* A connection that the server closed while it was idle (restart, failover) is noticed only by BEGIN: once more on a fresh one. */
static nh_rc begin(struct pg_db *db, struct pg_conn *conn, const char *sql, struct nh_err *err)
{
	bool fresh = conn->handle == NULL;
	NH_TRY(ensure_connected(db, conn, err));
	nh_rc rc = nh_pg_run(conn->handle, sql, err);
	if (rc == NH_OK)
		return NH_OK;
	bool lost = PQstatus(conn->handle) != CONNECTION_OK;
	disconnect(conn);
	if (fresh || !lost)
		return rc;
	NH_TRY(ensure_connected(db, conn, err));
	return nh_pg_run(conn->handle, sql, err);
}

static nh_rc transact(struct pg_db *db, struct pg_conn *conn, const char *sql, nh_tx_fn fn, void *arg, bool *retry, struct nh_err *err)
{
	NH_TRY(begin(db, conn, sql, err));
	struct pg_tx tx = {.base = {.db = &db->base}, .conn = conn};
	nh_rc rc = attempt(&tx, fn, arg, err);
	*retry = tx.retry;
	if (!tx.retry && rc != NH_OK && tx.broken == NH_EIO) /* lost in its middle: not fn's own code */
		rc = nh_err_set(err, NH_EIO, tx.why.file, tx.why.line, "%s", tx.why.msg);
	return rc;
}

static void back_off(unsigned attempt_number)
{
	unsigned shift = attempt_number < 6 ? attempt_number : 6;
	uint64_t us = 200 + nh_rng_below(&nh_rng_system, UINT64_C(500) << shift);
	nanosleep(&(struct timespec){.tv_nsec = (long)(us * 1000)}, NULL);
}

static nh_rc pg_write(struct nh_db *base, nh_tx_fn fn, void *arg, struct nh_err *err)
{
	struct pg_db *db = (struct pg_db *)base;
	struct pg_conn *conn = take(db);
	bool retry = true;
	nh_rc rc = NH_EAGAIN;
	for (unsigned i = 0; retry && i < ATTEMPTS_MAX; i++) {
		if (i > 0)
			back_off(i);
		retry = false;
		rc = transact(db, conn, "BEGIN", fn, arg, &retry, err);
	}
	give(db, conn);
	return retry ? NH_FAIL(err, NH_EIO, "the transaction collided with others %d times in a row", ATTEMPTS_MAX) : rc;
}

static nh_rc pg_read(struct nh_db *base, nh_tx_fn fn, void *arg, struct nh_err *err)
{
	struct pg_db *db = (struct pg_db *)base;
	struct pg_conn *conn = take(db);
	bool retry;
	nh_rc rc = transact(db, conn, "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY", fn, arg, &retry, err);
	give(db, conn);
	return rc;
}

static nh_rc pg_script(struct nh_tx *tx, const char *sql, struct nh_err *err)
{
	PGconn *handle = ((struct pg_tx *)tx)->conn->handle;
	PGresult *res = PQexec(handle, sql);
	ExecStatusType status = PQresultStatus(res);
	nh_rc rc = status == PGRES_COMMAND_OK || status == PGRES_TUPLES_OK || status == PGRES_EMPTY_QUERY ? NH_OK : nh_pg_fail(handle, res, "script", err);
	PQclear(res);
	return rc;
}

static nh_rc pg_notify(struct nh_tx *tx, const char *channel, nh_slice payload, struct nh_err *err)
{
	static const struct nh_stmt notify = {"pg_notify", "SELECT pg_notify($1, $2)"};
	const struct nh_stmt_info s = {.name = notify.name, .sql = nh_slice_str(notify.sql), .index = -1, .params = 2};
	int64_t ignored;
	return nh_pg_exec(tx, &s, NH_PARAMS(nh_p_str(channel), nh_p_text(payload)), &ignored, err);
}

/* ---- open and close --------------------------------------------------------------------------------------------------------------- */

static nh_rc prepare_each(struct nh_tx *tx, void *arg, struct nh_err *err)
{
	for (size_t i = 0; i < tx->db->stmt_count; i++)
		NH_TRY_CTX(nh_pg_prepare(((struct pg_tx *)tx)->conn, &tx->db->stmts[i], err), err, "statement ");
	return NH_OK;
}

static nh_rc pg_prepare_all(struct nh_db *db, struct nh_err *err)
{
	nh_rc rc = pg_read(db, prepare_each, NULL, err);
	if (rc == NH_EINVAL || rc == NH_EAGAIN)
		rc = NH_EINTERNAL;
	return rc;
}

static nh_rc pg_migration_lock(struct nh_db *base, struct nh_err *err)
{
	struct pg_db *db = (struct pg_db *)base;
	NH_TRY(connect_url(db, &db->migration, err));
	nh_rc rc = nh_pg_run(db->migration, "SET statement_timeout = '10min'; SET lock_timeout = '10min'; SELECT pg_advisory_lock(" MIGRATION_LOCK ")", err);
	if (rc != NH_OK) {
		PQfinish(db->migration);
		db->migration = NULL;
	}
	return rc;
}

static void pg_migration_unlock(struct nh_db *base)
{
	struct pg_db *db = (struct pg_db *)base;
	PQfinish(db->migration);
	db->migration = NULL;
}

static void pg_close(struct nh_db *base)
{
	struct pg_db *db = (struct pg_db *)base;
	pthread_mutex_lock(&db->mutex);
	while (db->busy > 0)
		pthread_cond_wait(&db->conn_free, &db->mutex);
	pthread_mutex_unlock(&db->mutex);
	for (struct pg_conn *conn = db->idle, *next; conn; conn = next) {
		next = conn->next;
		PQfinish(conn->handle);
		free(conn->prepared);
		free(conn);
	}
	pthread_cond_destroy(&db->conn_free);
	pthread_mutex_destroy(&db->mutex);
	memset(db->url, 0, strlen(db->url));
	free(db->url);
	free(db);
}

static const struct nh_driver driver = {
	.postgres = true,
	.prepare_all = pg_prepare_all,
	.close = pg_close,
	.read = pg_read,
	.write = pg_write,
	.migration_lock = pg_migration_lock,
	.migration_unlock = pg_migration_unlock,
	.exec = nh_pg_exec,
	.query = nh_pg_query,
	.script = pg_script,
	.notify = pg_notify,
	.next = nh_pg_next,
	.end = nh_pg_end,
	.column = nh_pg_column,
};

nh_rc nh_postgres_open(const char *url, unsigned connections, struct nh_db **out, struct nh_err *err)
{
	struct pg_db *db = nh_xcalloc(1, sizeof(*db));
	db->base.driver = &driver;
	db->url = nh_xstrdup(nh_slice_str(url));
	db->conns_max = connections;
	pthread_mutex_init(&db->mutex, NULL);
	pthread_cond_init(&db->conn_free, NULL);
	*out = &db->base;
	return NH_OK; /* the migration is the first to connect */
}
