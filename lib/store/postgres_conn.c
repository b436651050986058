/*
 * Connections to PostgreSQL: opening them, waiting for answers with a limit, and what to do about a server that is away.
 *
 * libpq's own calls wait for ever where the other side is frozen but its kernel still acknowledges, so that everything is sent without blocking and waited for
 * here. While the server is away one thread at a time tries to connect, with growing pauses; the others are told at once, so that workers do not all stand
 * waiting for the same thing.
 */
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/rng.h"
#include "postgres_int.h"

#define CONNECT_TIMEOUT_S "5"
#define GRACE(limit_ms) ((limit_ms) / 3) /* beyond the server's own limit for a statement: for the way there and back */
#define RETRY_FIRST_MS 250
#define RETRY_MAX_MS 5000

/* ---- errors ---------------------------------------------------------------------------------------------------------------- */

/* SQLSTATE, or its first characters, to code; the first that fits. What is missing (lost connection, shutdown, wrong password, no right, statement or lock
 * time-out) is an outage: NH_EIO. source: PostgreSQL 15, Appendix A */
static const struct {
	const char *state;
	nh_rc rc;
} states[] = {
	{"23505", NH_ECONFLICT}, {"23503", NH_ECONFLICT}, {"23", NH_EINVAL}, {"22", NH_EINVAL}, {"40", NH_EAGAIN}, {"53100", NH_ENOSPC}, {"53200", NH_ENOMEM},
	{"54", NH_ETOOBIG}, {"25006", NH_EINTERNAL}, {"42501", NH_EIO}, {"42", NH_EINTERNAL}, {"08P01", NH_EINTERNAL},
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

nh_rc nh_pg_fail(struct pg_conn *conn, const PGresult *res, const char *what, struct nh_err *err)
{
	nh_rc rc = code_of(res);
	const char *text = res ? PQresultErrorField(res, PG_DIAG_MESSAGE_PRIMARY) : NULL;
	const char *table = res ? PQresultErrorField(res, PG_DIAG_TABLE_NAME) : NULL;
	nh_slice message = nh_slice_trim(nh_slice_str(text ? text : PQerrorMessage(conn->handle)));
	if (conn->timed_out)
		return NH_FAIL(err, NH_EIO, "PostgreSQL did not answer within %llu ms (%s)", (unsigned long long)conn->limit_ms, what);
	if (rc == NH_ENOSPC)
		return NH_FAIL(err, rc, "the database server's disk is full: free some space there (%s)", what);
	return NH_FAIL(err, rc, "%s: %.*s%s%s", what, NH_ARG(message), table ? ", table " : "", table ? table : "");
}

nh_rc nh_pg_run(struct pg_conn *conn, const char *sql, struct nh_err *err)
{
	PGresult *res = nh_pg_command(conn, sql);
	ExecStatusType status = PQresultStatus(res);
	nh_rc rc = status == PGRES_COMMAND_OK || status == PGRES_TUPLES_OK ? NH_OK : nh_pg_fail(conn, res, sql, err);
	PQclear(res);
	return rc;
}

/* ---- waiting ----------------------------------------------------------------------------------------------------------------- */

/* Waits until a result can be taken without blocking. Gives up by shutting the socket down: libpq then finds a lost connection, as its callers expect. */
static void wait_for_result(struct pg_conn *conn)
{
	uint64_t deadline = nh_mono_ms() + conn->limit_ms;
	for (;;) {
		int unsent = PQflush(conn->handle);
		if (unsent < 0 || (unsent == 0 && !PQisBusy(conn->handle)))
			return;
		uint64_t now = nh_mono_ms(), left = now < deadline ? deadline - now : 0;
		struct pollfd p = {.fd = PQsocket(conn->handle), .events = (short)(POLLIN | (unsent ? POLLOUT : 0))};
		int ready = p.fd < 0 ? -1 : poll(&p, 1, left > INT32_MAX ? INT32_MAX : (int)left);
		if (ready < 0 && errno == EINTR && p.fd >= 0)
			continue;
		if (ready == 0 && nh_mono_ms() >= deadline) {
			conn->timed_out = true;
			shutdown(p.fd, SHUT_RDWR);
		}
		if (ready < 0 || ((p.revents & ~POLLOUT || conn->timed_out) && PQconsumeInput(conn->handle) != 1))
			return;
	}
}

PGresult *nh_pg_result(struct pg_conn *conn)
{
	wait_for_result(conn);
	return PQgetResult(conn->handle);
}

PGresult *nh_pg_command(struct pg_conn *conn, const char *sql)
{
	PGresult *last = NULL;
	if (PQsendQuery(conn->handle, sql) != 1)
		return NULL;
	for (PGresult *res; (res = nh_pg_result(conn)) != NULL;) {
		/* what failed first tells more than what followed */
		bool keep = last && PQresultStatus(last) == PGRES_FATAL_ERROR;
		PQclear(keep ? res : last);
		last = keep ? last : res;
	}
	return last;
}

/* ---- connecting ---------------------------------------------------------------------------------------------------------------- */

static void on_notice(void *arg, const PGresult *res)
{
	const char *text = PQresultErrorField(res, PG_DIAG_MESSAGE_PRIMARY);
	NH_LOG(NH_LOG_DEBUG, "store.notice", NH_STR("text", text ? text : ""));
}

static nh_rc set_up(const struct pg_db *db, struct pg_conn *conn, struct nh_err *err)
{
	int version = PQserverVersion(conn->handle);
	char sql[512];
	unsigned long long statement = db->timeout_ms, lock = db->timeout_ms * 2 / 3, idle = db->timeout_ms * 4;
	if (version < 150000)
		return NH_FAIL(err, NH_EUNSUPPORTED, "PostgreSQL %d is too old: version 15 or newer is needed", version / 10000);
	snprintf(sql, sizeof(sql),
		 "SET client_encoding = 'UTF8'; SET TIME ZONE 'UTC'; SET statement_timeout = %llu; SET idle_in_transaction_session_timeout = %llu; "
		 "SET lock_timeout = %llu; SET extra_float_digits = 1; SET bytea_output = 'hex'; SET default_transaction_isolation = 'serializable'",
		 statement, idle, lock);
	return nh_pg_run(conn, sql, err);
}

nh_rc nh_pg_connect(const struct pg_db *db, struct pg_conn *conn, uint64_t limit_ms, struct nh_err *err)
{
	/* Unacknowledged bytes for 15 s, or 45 s of silence while waiting, end a connection whose other side vanished: before TCP would. */
	static const char *const keys[] = {"dbname", "fallback_application_name", "connect_timeout", "keepalives_idle", "keepalives_interval", "keepalives_count",
					   "tcp_user_timeout", NULL};
	const char *const values[] = {db->url, "nerveshub", CONNECT_TIMEOUT_S, "30", "5", "3", "15000", NULL};
	conn->handle = PQconnectdbParams(keys, values, 1);
	conn->limit_ms = limit_ms;
	conn->timed_out = false;
	nh_rc rc = NH_OK;
	if (PQstatus(conn->handle) != CONNECTION_OK || PQsetnonblocking(conn->handle, 1) != 0) {
		/* libpq's text names host, port, user and database, never the password */
		nh_slice text = nh_slice_trim(nh_slice_str(PQerrorMessage(conn->handle)));
		rc = NH_FAIL(err, NH_EIO, "cannot connect to PostgreSQL: %.*s", NH_ARG(text));
	} else {
		PQsetNoticeReceiver(conn->handle, on_notice, NULL);
		rc = set_up(db, conn, err);
	}
	if (rc != NH_OK)
		nh_pg_disconnect(conn);
	return rc;
}

void nh_pg_disconnect(struct pg_conn *conn)
{
	PQfinish(conn->handle);
	conn->handle = NULL;
}

/* ---- a server that is away -------------------------------------------------------------------------------------------------------- */

static uint64_t pause_ms(unsigned failures)
{
	uint64_t ms = RETRY_FIRST_MS;
	for (unsigned i = 1; i < failures && ms < RETRY_MAX_MS; i++)
		ms *= 2;
	ms = ms < RETRY_MAX_MS ? ms : RETRY_MAX_MS;
	return ms * 3 / 4 + nh_rng_below(&nh_rng_system, ms / 4 + 1);
}

void nh_pg_lost(struct pg_db *db, struct pg_conn *conn, const struct nh_err *why)
{
	bool silent = conn->timed_out;
	nh_pg_disconnect(conn);
	pthread_mutex_lock(&db->mutex);
	db->epoch++;
	if (silent && !db->down) { /* the others would wait as long: one asks first whether it is back */
		db->down = true;
		db->failures = 0;
		db->retry_at_ms = nh_mono_ms();
		db->why = *why;
	}
	pthread_mutex_unlock(&db->mutex);
}

/* May this thread try to connect now? */
static nh_rc may_connect(struct pg_db *db, struct nh_err *err)
{
	nh_rc rc = NH_OK;
	pthread_mutex_lock(&db->mutex);
	if (db->down && (db->probing || nh_mono_ms() < db->retry_at_ms))
		rc = nh_err_set(err, NH_EIO, db->why.file, db->why.line, "%s", db->why.msg);
	else
		db->probing = db->down;
	pthread_mutex_unlock(&db->mutex);
	return rc;
}

static void connected(struct pg_db *db, struct pg_conn *conn, nh_rc rc, const struct nh_err *err)
{
	pthread_mutex_lock(&db->mutex);
	db->probing = false;
	db->down = rc != NH_OK;
	db->failures = rc != NH_OK ? db->failures + 1 : 0;
	if (rc != NH_OK) {
		db->retry_at_ms = nh_mono_ms() + pause_ms(db->failures);
		db->why = *err;
	}
	conn->epoch = db->epoch;
	pthread_mutex_unlock(&db->mutex);
	if (rc == NH_OK)
		NH_DB_TALLY(&db->base, reopened);
}

nh_rc nh_pg_ensure(struct pg_db *db, struct pg_conn *conn, struct nh_err *err)
{
	pthread_mutex_lock(&db->mutex);
	bool stale = conn->handle && conn->epoch != db->epoch;
	pthread_mutex_unlock(&db->mutex);
	if (conn->handle && !stale)
		return NH_OK;
	nh_pg_disconnect(conn);
	NH_TRY(may_connect(db, err));
	struct nh_err why = NH_ERR_INIT;
	nh_rc rc = nh_pg_connect(db, conn, db->timeout_ms + GRACE(db->timeout_ms), &why);
	connected(db, conn, rc, &why);
	if (rc != NH_OK)
		return nh_err_set(err, rc, why.file, why.line, "%s", why.msg);
	if (!conn->prepared)
		conn->prepared = nh_xcalloc(db->base.stmt_count + 1, sizeof(*conn->prepared));
	for (size_t i = 0; i < db->base.stmt_count; i++)
		conn->prepared[i] = false;
	return NH_OK;
}
