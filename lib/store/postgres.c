/*
 * PostgreSQL driver: a pool of connections, each used by one thread at a time, mended when lost. Writes run SERIALIZABLE, so that rules that hold with
 * SQLite's one writer hold here; a serialization failure or deadlock runs the function again. Reads are REPEATABLE READ, READ ONLY: a snapshot. Who only takes from a
 * table (nh_db_take) does so READ COMMITTED.
 *
 * source: design/architecture "5. Data"
 */
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/rng.h"
#include "postgres_int.h"

#define ATTEMPTS_MAX 40
#define MIGRATION_LIMIT_MS 660000
#define MIGRATION_LOCK "7381640517290311" /* any number that only this program uses */

/* ---- the pool ---------------------------------------------------------------------------------------------------------------- */

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

/*
 * COMMIT of a transaction that an error has ended answers ROLLBACK, successfully. Where the connection is lost before the answer came, nobody knows here
 * whether it was carried out, and the message says so; fn is not run again.
 */
static nh_rc commit(struct pg_tx *tx, struct nh_err *err)
{
	PGresult *res = nh_pg_command(tx->conn, "COMMIT");
	nh_rc rc = NH_OK;
	if (PQstatus(tx->conn->handle) != CONNECTION_OK) {
		NH_IGNORE(nh_pg_fail(tx->conn, res, "COMMIT", err)); /* the code is this, whatever the server's last words were */
		rc = NH_FAIL(err, NH_EIO, "the database's answer to COMMIT was lost, so that the change may have been made or not (%.300s)", err->msg);
	} else if (PQresultStatus(res) != PGRES_COMMAND_OK) {
		rc = nh_pg_fail(tx->conn, res, "COMMIT", err);
		tx->retry = rc == NH_EAGAIN;
	} else if (strcmp(PQcmdStatus(res), "COMMIT") != 0) {
		rc = NH_FAIL(err, NH_EIO, "the database rolled the transaction back");
	}
	PQclear(res);
	return rc;
}

/* One run of fn in the transaction that has begun. */
static nh_rc attempt(struct pg_db *db, struct pg_tx *tx, nh_tx_fn fn, void *arg, struct nh_err *err)
{
	struct pg_conn *conn = tx->conn;
	nh_rc rc = fn(&tx->base, arg, err);
	nh_tx_end_rows(&tx->base);
	if (rc == NH_OK && tx->broken != NH_OK)
		rc = nh_err_set(err, tx->broken, tx->why.file, tx->why.line, "%s", tx->why.msg);
	if (rc == NH_OK)
		rc = commit(tx, err);
	if (PQstatus(conn->handle) == CONNECTION_OK && PQtransactionStatus(conn->handle) != PQTRANS_IDLE && nh_pg_run(conn, "ROLLBACK", NULL) != NH_OK)
		nh_pg_lost(db, conn, tx->broken != NH_OK ? &tx->why : err);
	else if (PQstatus(conn->handle) != CONNECTION_OK)
		nh_pg_lost(db, conn, tx->broken != NH_OK ? &tx->why : err);
	return rc;
}

/* A connection that the server closed while it was idle (restart, failover) is noticed only by BEGIN: once more on a fresh one. */
static nh_rc begin(struct pg_db *db, struct pg_conn *conn, const char *sql, struct nh_err *err)
{
	for (bool again = true;; again = false) {
		bool fresh = conn->handle == NULL || conn->epoch != __atomic_load_n(&db->epoch, __ATOMIC_RELAXED);
		NH_TRY(nh_pg_ensure(db, conn, err));
		nh_rc rc = nh_pg_run(conn, sql, err);
		if (rc == NH_OK)
			return NH_OK;
		bool lost = PQstatus(conn->handle) != CONNECTION_OK, silent = conn->timed_out;
		if (lost)
			nh_pg_lost(db, conn, err);
		else
			nh_pg_disconnect(conn);
		if (fresh || !lost || silent || !again)
			return rc;
	}
}

#define READS "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"

static nh_rc transact(struct pg_db *db, struct pg_conn *conn, const char *sql, nh_tx_fn fn, void *arg, bool *retry, struct nh_err *err)
{
	NH_TRY(begin(db, conn, sql, err));
	struct pg_tx tx = {.base = {.db = &db->base, .reads = strcmp(sql, READS) == 0}, .conn = conn};
	nh_rc rc = attempt(db, &tx, fn, arg, err);
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

static nh_rc write_with(struct nh_db *base, const char *sql, nh_tx_fn fn, void *arg, struct nh_err *err)
{
	struct pg_db *db = (struct pg_db *)base;
	struct pg_conn *conn = take(db);
	bool retry = true;
	nh_rc rc = NH_EAGAIN;
	for (unsigned i = 0; retry && i < ATTEMPTS_MAX; i++) {
		if (i > 0) {
			back_off(i);
			NH_DB_TALLY(base, retries);
		}
		retry = false;
		rc = transact(db, conn, sql, fn, arg, &retry, err);
	}
	give(db, conn);
	if (rc == NH_OK)
		NH_DB_TALLY(base, commits);
	return retry ? NH_FAIL(err, NH_EAGAIN, "the transaction collided with others %d times in a row", ATTEMPTS_MAX) : rc;
}

static nh_rc pg_write(struct nh_db *base, nh_tx_fn fn, void *arg, struct nh_err *err) { return write_with(base, "BEGIN", fn, arg, err); }

static nh_rc pg_take(struct nh_db *base, nh_tx_fn fn, void *arg, struct nh_err *err) { return write_with(base, "BEGIN ISOLATION LEVEL READ COMMITTED", fn, arg, err); }

static nh_rc pg_read(struct nh_db *base, nh_tx_fn fn, void *arg, struct nh_err *err)
{
	struct pg_db *db = (struct pg_db *)base;
	struct pg_conn *conn = take(db);
	bool retry = false;
	nh_rc rc = transact(db, conn, READS, fn, arg, &retry, err);
	give(db, conn);
	return rc;
}

static nh_rc pg_script(struct nh_tx *tx, const char *sql, struct nh_err *err)
{
	struct pg_conn *conn = ((struct pg_tx *)tx)->conn;
	PGresult *res = nh_pg_command(conn, sql);
	ExecStatusType status = PQresultStatus(res);
	nh_rc rc = status == PGRES_COMMAND_OK || status == PGRES_TUPLES_OK || status == PGRES_EMPTY_QUERY ? NH_OK : nh_pg_fail(conn, res, "script", err);
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
	NH_TRY(nh_pg_connect(db, &db->migration, MIGRATION_LIMIT_MS, err));
	nh_rc rc = nh_pg_run(&db->migration, "SET statement_timeout = '10min'; SET lock_timeout = '10min'; SELECT pg_advisory_lock(" MIGRATION_LOCK ")", err);
	if (rc != NH_OK)
		nh_pg_disconnect(&db->migration);
	return rc;
}

static void pg_migration_unlock(struct nh_db *base) { nh_pg_disconnect(&((struct pg_db *)base)->migration); }

static void pg_close(struct nh_db *base)
{
	struct pg_db *db = (struct pg_db *)base;
	pthread_mutex_lock(&db->mutex);
	while (db->busy > 0)
		pthread_cond_wait(&db->conn_free, &db->mutex);
	pthread_mutex_unlock(&db->mutex);
	for (struct pg_conn *conn = db->idle, *next; conn; conn = next) {
		next = conn->next;
		nh_pg_disconnect(conn);
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
	.take = pg_take,
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

nh_rc nh_postgres_open(const char *url, unsigned connections, uint64_t timeout_ms, struct nh_db **out, struct nh_err *err)
{
	struct pg_db *db = nh_xcalloc(1, sizeof(*db));
	db->base.driver = &driver;
	db->url = nh_xstrdup(nh_slice_str(url));
	db->conns_max = connections;
	db->timeout_ms = timeout_ms;
	pthread_mutex_init(&db->mutex, NULL);
	pthread_cond_init(&db->conn_free, NULL);
	*out = &db->base;
	return NH_OK; /* the migration is the first to connect */
}
