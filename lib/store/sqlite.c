/*
 * SQLite driver: one file, WAL, synchronous=FULL, foreign keys. Readers come from a pool of read-only connections, each transaction a snapshot; writes go to
 * the writer thread (sqlite_writer.c).
 *
 * source: design/architecture "5. Data"
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "sqlite_int.h"

struct sqlite_rows {
	struct nh_rows base;
	sqlite3_stmt *stmt;
	bool temporary; /* to be finalized, not reset */
	bool stepped;   /* the first row was fetched by query, which reports constraint failures */
	int step;
};

/* ---- errors ------------------------------------------------------------------------------------------------------------ */

static nh_rc code_of(sqlite3 *handle)
{
	static const struct {
		int code;
		nh_rc rc;
	} table[] = {
		{SQLITE_CONSTRAINT_UNIQUE, NH_ECONFLICT}, {SQLITE_CONSTRAINT_PRIMARYKEY, NH_ECONFLICT}, {SQLITE_CONSTRAINT_ROWID, NH_ECONFLICT},
		{SQLITE_CONSTRAINT_FOREIGNKEY, NH_ECONFLICT},
		{SQLITE_CONSTRAINT, NH_EINVAL}, {SQLITE_FULL, NH_ENOSPC}, {SQLITE_NOMEM, NH_ENOMEM}, {SQLITE_TOOBIG, NH_ETOOBIG},
		{SQLITE_ERROR, NH_EINTERNAL}, {SQLITE_MISUSE, NH_EINTERNAL}, {SQLITE_RANGE, NH_EINTERNAL}, {SQLITE_MISMATCH, NH_EINVAL},
	};
	int extended = sqlite3_extended_errcode(handle), number = sqlite3_system_errno(handle);
	if ((extended & 0xff) == SQLITE_IOERR && (number == ENOSPC || number == EDQUOT || number == EFBIG))
		return NH_ENOSPC;
	for (size_t i = 0; i < NH_ARRAY_LEN(table); i++) {
		if (table[i].code == extended || table[i].code == (extended & 0xff))
			return table[i].rc;
	}
	return NH_EIO;
}

/* Input or output failed for another reason than room: what the file holds is not known. ENOSPC from a sync is one of them: data was given up. */
static bool is_broken(sqlite3 *handle)
{
	int extended = sqlite3_extended_errcode(handle);
	bool sync = extended == SQLITE_IOERR_FSYNC || extended == SQLITE_IOERR_DIR_FSYNC;
	return (extended & 0xff) == SQLITE_IOERR && (sync || code_of(handle) != NH_ENOSPC);
}

nh_rc nh_sqlite_fail(struct sqlite_conn *conn, const char *what, struct nh_err *err)
{
	sqlite3 *handle = conn->handle;
	nh_rc rc = code_of(handle);
	int number = sqlite3_system_errno(handle);
	conn->broken = conn->broken || is_broken(handle);
	if (rc == NH_ENOSPC)
		return NH_FAIL(err, rc, "the database's disk is full: free some space (%s)", what);
	if ((sqlite3_extended_errcode(handle) & 0xff) == SQLITE_BUSY)
		return NH_FAIL(err, rc, "another program holds the database locked: stop it (%s)", what);
	if (rc == NH_EIO && number != 0)
		return NH_FAIL(err, rc, "%s: %s (%s)", what, sqlite3_errmsg(handle), strerrordesc_np(number));
	return NH_FAIL(err, rc, "%s: %s", what, sqlite3_errmsg(handle));
}

nh_rc nh_sqlite_run(struct sqlite_conn *conn, const char *sql, struct nh_err *err)
{
	return sqlite3_exec(conn->handle, sql, NULL, NULL, NULL) == SQLITE_OK ? NH_OK : nh_sqlite_fail(conn, sql, err);
}

/* ---- connections --------------------------------------------------------------------------------------------------------- */

void nh_sqlite_conn_fini(struct sqlite_conn *conn, bool checkpoint)
{
	for (size_t i = 0; i < conn->stmt_count; i++)
		sqlite3_finalize(conn->stmts[i]);
	free(conn->stmts);
	if (conn->handle && !checkpoint)
		sqlite3_db_config(conn->handle, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, (int *)NULL);
	sqlite3_close(conn->handle);
	*conn = (struct sqlite_conn){0};
}

nh_rc nh_sqlite_conn_open(struct sqlite_conn *conn, const char *path, bool readonly, struct nh_err *err)
{
	int flags = SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_READWRITE;
	if (sqlite3_open_v2(path, &conn->handle, flags, NULL) != SQLITE_OK) {
		nh_rc rc = conn->handle ? nh_sqlite_fail(conn, path, err) : NH_FAIL(err, NH_ENOMEM, "no memory to open %s", path);
		nh_sqlite_conn_fini(conn, false);
		return rc;
	}
	sqlite3_extended_result_codes(conn->handle, 1);
	sqlite3_busy_timeout(conn->handle, 10000);
	/* "x" is always a name, as in PostgreSQL */
	sqlite3_db_config(conn->handle, SQLITE_DBCONFIG_DQS_DML, 0, (int *)NULL);
	sqlite3_db_config(conn->handle, SQLITE_DBCONFIG_DQS_DDL, 0, (int *)NULL);
	nh_rc rc = nh_sqlite_run(conn, "PRAGMA trusted_schema = OFF; PRAGMA foreign_keys = ON; PRAGMA journal_size_limit = 67108864; PRAGMA synchronous = FULL", err);
	if (rc == NH_OK && !readonly)
		rc = nh_sqlite_run(conn, "PRAGMA journal_mode = WAL", err);
	if (rc == NH_OK && readonly)
		rc = nh_sqlite_run(conn, "PRAGMA query_only = ON", err);
	if (rc != NH_OK) {
		nh_sqlite_conn_fini(conn, false);
		return nh_err_prefix(err, rc, "%s: ", path);
	}
	return NH_OK;
}

static nh_rc prepare(struct sqlite_conn *conn, const struct nh_stmt_info *s, unsigned flags, sqlite3_stmt **out, struct nh_err *err)
{
	const char *tail = NULL;
	if (s->sql.len > INT32_MAX / 2)
		return NH_FAIL(err, NH_ETOOBIG, "a statement of %zu bytes", s->sql.len);
	if (sqlite3_prepare_v3(conn->handle, (const char *)s->sql.ptr, (int)s->sql.len, flags, out, &tail) != SQLITE_OK)
		return nh_sqlite_fail(conn, s->name, err);
	if (!*out || tail != (const char *)s->sql.ptr + s->sql.len) {
		sqlite3_finalize(*out);
		*out = NULL;
		return NH_FAIL(err, NH_EINTERNAL, "statement %s is not exactly one statement", s->name);
	}
	return NH_OK;
}

/* The prepared statement: the cached one, or a temporary one where that is being read by an outer loop, or for text that is not listed. */
static nh_rc acquire(struct sqlite_tx *tx, const struct nh_stmt_info *s, sqlite3_stmt **out, bool *temporary, struct nh_err *err)
{
	struct sqlite_conn *conn = tx->conn;
	*temporary = true;
	if (s->index < 0)
		return prepare(conn, s, 0, out, err);
	if (conn->stmt_count == 0 && tx->base.db->stmt_count > 0) {
		conn->stmts = nh_xcalloc(tx->base.db->stmt_count, sizeof(*conn->stmts));
		conn->stmt_count = tx->base.db->stmt_count;
	}
	sqlite3_stmt **cached = &conn->stmts[s->index];
	if (!*cached)
		NH_TRY(prepare(conn, s, SQLITE_PREPARE_PERSISTENT, cached, err));
	else if (sqlite3_stmt_busy(*cached))
		return prepare(conn, s, 0, out, err);
	*temporary = false;
	*out = *cached;
	return NH_OK;
}

static void release(struct nh_db *db, sqlite3_stmt *stmt, bool temporary)
{
	__atomic_fetch_add(&db->stats.steps, (uint64_t)(uint32_t)sqlite3_stmt_status(stmt, SQLITE_STMTSTATUS_VM_STEP, 1), __ATOMIC_RELAXED);
	if (temporary) {
		sqlite3_finalize(stmt);
	} else {
		sqlite3_reset(stmt);
		sqlite3_clear_bindings(stmt);
	}
}

/* ---- parameters and rows ----------------------------------------------------------------------------------------------------- */

/* Borrowed bytes stay valid during exec; a query is stepped once before it returns, but its values may be read again later: copied. */
static int bind_one(sqlite3_stmt *stmt, int at, const struct nh_param *p)
{
	const char *bytes = p->bytes.ptr ? (const char *)p->bytes.ptr : "";
	switch (p->kind) {
	case NH_PARAM_INT:
		return sqlite3_bind_int64(stmt, at, p->number);
	case NH_PARAM_REAL:
		return sqlite3_bind_double(stmt, at, p->real);
	case NH_PARAM_TEXT:
		return sqlite3_bind_text64(stmt, at, bytes, p->bytes.len, SQLITE_TRANSIENT, SQLITE_UTF8);
	case NH_PARAM_BLOB:
		return sqlite3_bind_blob64(stmt, at, bytes, p->bytes.len, SQLITE_TRANSIENT);
	case NH_PARAM_NULL:
		break;
	}
	return sqlite3_bind_null(stmt, at);
}

/* Prepares, binds, and steps once. */
static nh_rc start(struct sqlite_tx *tx, const struct nh_stmt_info *s, const struct nh_param *params, size_t count, sqlite3_stmt **out, bool *temporary,
		   int *step, struct nh_err *err)
{
	sqlite3_stmt *stmt = NULL;
	NH_TRY(acquire(tx, s, &stmt, temporary, err));
	nh_rc rc = NH_OK;
	if (tx->conn != &((struct sqlite_db *)tx->base.db)->writer && !sqlite3_stmt_readonly(stmt))
		rc = NH_FAIL(err, NH_EINTERNAL, "statement %s writes inside a read transaction", s->name);
	for (size_t i = 0; rc == NH_OK && i < count; i++) {
		if (bind_one(stmt, (int)i + 1, &params[i]) != SQLITE_OK)
			rc = nh_sqlite_fail(tx->conn, s->name, err);
	}
	if (rc == NH_OK) {
		*step = sqlite3_step(stmt);
		if (*step != SQLITE_ROW && *step != SQLITE_DONE)
			rc = nh_sqlite_fail(tx->conn, s->name, err);
	}
	if (rc != NH_OK) {
		release(tx->base.db, stmt, *temporary);
		return rc;
	}
	*out = stmt;
	return NH_OK;
}

static nh_rc sqlite_exec(struct nh_tx *base, const struct nh_stmt_info *s, const struct nh_param *params, size_t count, int64_t *changed, struct nh_err *err)
{
	struct sqlite_tx *tx = (struct sqlite_tx *)base;
	sqlite3_stmt *stmt = NULL;
	bool temporary;
	int step;
	NH_TRY(start(tx, s, params, count, &stmt, &temporary, &step, err));
	while (step == SQLITE_ROW)
		step = sqlite3_step(stmt);
	nh_rc rc = step == SQLITE_DONE ? NH_OK : nh_sqlite_fail(tx->conn, s->name, err);
	*changed = sqlite3_stmt_readonly(stmt) ? 0 : sqlite3_changes64(tx->conn->handle);
	release(tx->base.db, stmt, temporary);
	return rc;
}

static nh_rc sqlite_query(struct nh_tx *base, const struct nh_stmt_info *s, const struct nh_param *params, size_t count, struct nh_rows **out,
			  struct nh_err *err)
{
	struct sqlite_rows row = {0};
	NH_TRY(start((struct sqlite_tx *)base, s, params, count, &row.stmt, &row.temporary, &row.step, err));
	struct sqlite_rows *rows = nh_xcalloc(1, sizeof(*rows));
	*rows = row;
	nh_rows_link(base, &rows->base);
	*out = &rows->base;
	return NH_OK;
}

static nh_rc sqlite_next(struct nh_rows *base, struct nh_err *err)
{
	struct sqlite_rows *rows = (struct sqlite_rows *)base;
	if (rows->stepped && rows->step == SQLITE_ROW)
		rows->step = sqlite3_step(rows->stmt);
	rows->stepped = true;
	if (rows->step == SQLITE_ROW)
		return NH_OK;
	return rows->step == SQLITE_DONE ? NH_ENOTFOUND : nh_sqlite_fail(((struct sqlite_tx *)base->tx)->conn, "reading rows", err);
}

static void sqlite_end(struct nh_rows *base)
{
	struct sqlite_rows *rows = (struct sqlite_rows *)base;
	nh_rows_unlink(base);
	release(base->tx->db, rows->stmt, rows->temporary);
	free(rows);
}

static struct nh_param sqlite_column(const struct nh_rows *base, int c, struct nh_arena *arena)
{
	sqlite3_stmt *stmt = ((const struct sqlite_rows *)base)->stmt;
	struct nh_param v = {.kind = NH_PARAM_NULL};
	const void *bytes;
	switch (sqlite3_column_type(stmt, c)) {
	case SQLITE_INTEGER:
		return nh_p_int(sqlite3_column_int64(stmt, c));
	case SQLITE_FLOAT:
		return nh_p_real(sqlite3_column_double(stmt, c));
	case SQLITE_TEXT:
		v.kind = NH_PARAM_TEXT;
		bytes = sqlite3_column_text(stmt, c);
		break;
	case SQLITE_BLOB:
		v.kind = NH_PARAM_BLOB;
		bytes = sqlite3_column_blob(stmt, c);
		break;
	default:
		return v;
	}
	if (arena)
		v.bytes = nh_arena_copy(arena, nh_slice_of(bytes, (size_t)sqlite3_column_bytes(stmt, c)));
	return v;
}

static nh_rc sqlite_script(struct nh_tx *tx, const char *sql, struct nh_err *err)
{
	struct sqlite_conn *conn = ((struct sqlite_tx *)tx)->conn;
	return sqlite3_exec(conn->handle, sql, NULL, NULL, NULL) == SQLITE_OK ? NH_OK : nh_sqlite_fail(conn, "script", err);
}

static nh_rc sqlite_notify(struct nh_tx *tx, const char *channel, nh_slice payload, struct nh_err *err) { return NH_OK; }

/* ---- reading ----------------------------------------------------------------------------------------------------------------- */

static nh_rc take_reader(struct sqlite_db *db, struct sqlite_conn **out, struct nh_err *err)
{
	pthread_mutex_lock(&db->mutex);
	while (db->mending || (!db->idle && db->readers == db->readers_max))
		pthread_cond_wait(&db->reader_free, &db->mutex);
	struct sqlite_conn *conn = db->idle;
	if (conn)
		db->idle = conn->next;
	else
		db->readers++;
	db->reading++;
	pthread_mutex_unlock(&db->mutex);
	if (conn) {
		*out = conn;
		return NH_OK;
	}
	conn = nh_xcalloc(1, sizeof(*conn));
	nh_rc rc = nh_sqlite_conn_open(conn, db->path, true, err);
	if (rc == NH_OK) {
		*out = conn;
		return NH_OK;
	}
	free(conn);
	pthread_mutex_lock(&db->mutex);
	db->readers--;
	db->reading--;
	pthread_cond_broadcast(&db->reader_free);
	pthread_mutex_unlock(&db->mutex);
	return rc;
}

static void give_reader(struct sqlite_db *db, struct sqlite_conn *conn)
{
	bool broken = conn->broken;
	if (broken) {
		nh_sqlite_conn_fini(conn, false);
		free(conn);
	}
	pthread_mutex_lock(&db->mutex);
	if (broken) {
		db->readers--;
	} else {
		conn->next = db->idle;
		db->idle = conn;
	}
	db->reading--;
	pthread_cond_broadcast(&db->reader_free);
	pthread_mutex_unlock(&db->mutex);
}

static void close_idle(struct sqlite_db *db)
{
	for (struct sqlite_conn *conn = db->idle, *next; conn; conn = next) {
		next = conn->next;
		nh_sqlite_conn_fini(conn, false);
		free(conn);
		db->readers--;
	}
	db->idle = NULL;
}

void nh_sqlite_readers_halt(struct sqlite_db *db)
{
	pthread_mutex_lock(&db->mutex);
	db->mending = true;
	while (db->reading > 0)
		pthread_cond_wait(&db->reader_free, &db->mutex);
	close_idle(db);
	pthread_mutex_unlock(&db->mutex);
}

void nh_sqlite_readers_resume(struct sqlite_db *db)
{
	pthread_mutex_lock(&db->mutex);
	db->mending = false;
	pthread_cond_broadcast(&db->reader_free);
	pthread_mutex_unlock(&db->mutex);
}

static nh_rc sqlite_read(struct nh_db *base, nh_tx_fn fn, void *arg, struct nh_err *err)
{
	struct sqlite_db *db = (struct sqlite_db *)base;
	struct sqlite_tx tx = {.base = {.db = base, .reads = true}};
	NH_TRY(take_reader(db, &tx.conn, err));
	nh_rc rc = nh_sqlite_run(tx.conn, "BEGIN", err);
	if (rc == NH_OK) {
		rc = fn(&tx.base, arg, err);
		nh_tx_end_rows(&tx.base);
		if (sqlite3_get_autocommit(tx.conn->handle) == 0)
			NH_IGNORE(nh_sqlite_run(tx.conn, "ROLLBACK", NULL)); /* ends a snapshot; nothing to lose */
	}
	give_reader(db, tx.conn);
	return rc;
}

/* ---- open and close ------------------------------------------------------------------------------------------------------------ */

static void sqlite_close(struct nh_db *base)
{
	struct sqlite_db *db = (struct sqlite_db *)base;
	nh_sqlite_writer_stop(db);
	pthread_mutex_lock(&db->mutex);
	while (db->reading > 0)
		pthread_cond_wait(&db->reader_free, &db->mutex);
	close_idle(db);
	pthread_mutex_unlock(&db->mutex);
	nh_sqlite_conn_fini(&db->writer, !db->suspect); /* last, so that it folds the WAL into the file */
	pthread_cond_destroy(&db->reader_free);
	pthread_cond_destroy(&db->job_ready);
	pthread_mutex_destroy(&db->mutex);
	free(db->path);
	free(db);
}

static nh_rc prepare_each(struct nh_tx *base, void *arg, struct nh_err *err)
{
	struct sqlite_tx *tx = (struct sqlite_tx *)base;
	for (size_t i = 0; i < base->db->stmt_count; i++) {
		sqlite3_stmt *stmt = NULL;
		bool temporary;
		NH_TRY_CTX(acquire(tx, &base->db->stmts[i], &stmt, &temporary, err), err, "statement ");
		if (temporary)
			sqlite3_finalize(stmt);
	}
	return NH_OK;
}

static nh_rc sqlite_prepare_all(struct nh_db *db, struct nh_err *err) { return nh_sqlite_write(db, prepare_each, NULL, err); }
static nh_rc sqlite_migration_lock(struct nh_db *db, struct nh_err *err) { return NH_OK; } /* BEGIN IMMEDIATE is one */
static void sqlite_migration_unlock(struct nh_db *db) {}

static const struct nh_driver driver = {
	.prepare_all = sqlite_prepare_all,
	.close = sqlite_close,
	.read = sqlite_read,
	.write = nh_sqlite_write,
	.take = nh_sqlite_write,
	.migration_lock = sqlite_migration_lock,
	.migration_unlock = sqlite_migration_unlock,
	.exec = sqlite_exec,
	.query = sqlite_query,
	.script = sqlite_script,
	.notify = sqlite_notify,
	.next = sqlite_next,
	.end = sqlite_end,
	.column = sqlite_column,
};

/* The file holds secrets: made for its owner only, and SQLite gives the WAL the same mode. */
static nh_rc make_file(const char *path, struct nh_err *err)
{
	int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	if (fd < 0) {
		int number = errno;
		return NH_FAIL(err, number == ENOENT || number == ENOTDIR ? NH_EPERM : nh_rc_from_errno(number),
			       "cannot open the database %s: %s; its folder must exist and be writable", path, strerror(number));
	}
	close(fd);
	return NH_OK;
}

nh_rc nh_sqlite_open(const char *path, unsigned connections, struct nh_db **out, struct nh_err *err)
{
	NH_TRY(make_file(path, err));
	struct sqlite_db *db = nh_xcalloc(1, sizeof(*db));
	db->base.driver = &driver;
	db->path = nh_xstrdup(nh_slice_str(path));
	db->readers_max = connections;
	pthread_mutex_init(&db->mutex, NULL);
	pthread_cond_init(&db->reader_free, NULL);
	pthread_condattr_t monotonic;
	pthread_condattr_init(&monotonic);
	pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
	pthread_cond_init(&db->job_ready, &monotonic);
	pthread_condattr_destroy(&monotonic);
	nh_rc rc = nh_sqlite_conn_open(&db->writer, path, false, err);
	if (rc == NH_OK)
		rc = nh_sqlite_writer_start(db, err);
	if (rc != NH_OK) {
		sqlite_close(&db->base);
		return rc;
	}
	*out = &db->base;
	return NH_OK;
}
