/*
 * Statements and rows of the PostgreSQL driver. Results are read whole, as text; bytea is decoded when it is asked for.
 *
 * A failed statement ends a PostgreSQL transaction, but the store promises that a refused constraint leaves it usable. So every statement that writes goes out
 * together with a savepoint, in one round trip.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/encode.h"
#include "postgres_int.h"

#define PARAMS_MAX 64

struct pg_rows {
	struct nh_rows base;
	PGresult *res;
	int row, count;
};

/* ---- preparing ------------------------------------------------------------------------------------------------------------------ */

static void name_of(const struct nh_stmt_info *s, char out[32]) { snprintf(out, 32, "nh_%td", s->index); }

static PGresult *only_result(struct pg_conn *conn)
{
	PGresult *res = nh_pg_result(conn);
	for (PGresult *more; res && (more = nh_pg_result(conn)) != NULL;)
		PQclear(more);
	return res;
}

nh_rc nh_pg_prepare(struct pg_conn *conn, const struct nh_stmt_info *s, struct nh_err *err)
{
	if (conn->prepared[s->index])
		return NH_OK;
	char name[32];
	name_of(s, name);
	PGresult *res = PQsendPrepare(conn->handle, name, (const char *)s->sql.ptr, 0, NULL) == 1 ? only_result(conn) : NULL;
	nh_rc rc = PQresultStatus(res) == PGRES_COMMAND_OK ? NH_OK : nh_pg_fail(conn, res, s->name, err);
	PQclear(res);
	conn->prepared[s->index] = rc == NH_OK;
	return rc;
}

/* ---- parameters ------------------------------------------------------------------------------------------------------------------- */

/* libpq's four parallel arrays; numbers are formatted into `digits`. */
struct binding {
	const char *values[PARAMS_MAX];
	int lengths[PARAMS_MAX];
	int formats[PARAMS_MAX]; /* 0 text, 1 binary */
	char digits[PARAMS_MAX][32];
};

static nh_rc bind_all(struct binding *b, const struct nh_param *params, size_t count, struct nh_err *err)
{
	if (count > PARAMS_MAX)
		return NH_FAIL(err, NH_EINTERNAL, "%zu parameters in one statement; at most %d", count, PARAMS_MAX);
	for (size_t i = 0; i < count; i++) {
		const struct nh_param *p = &params[i];
		b->values[i] = NULL;
		b->lengths[i] = 0;
		b->formats[i] = 0;
		if (p->kind == NH_PARAM_TEXT || p->kind == NH_PARAM_BLOB) {
			if (p->bytes.len > INT32_MAX)
				return NH_FAIL(err, NH_ETOOBIG, "a value of %zu bytes", p->bytes.len);
			b->values[i] = p->bytes.ptr ? (const char *)p->bytes.ptr : "";
			b->lengths[i] = (int)p->bytes.len;
			b->formats[i] = 1; /* text's binary form is its bytes: no NUL needed */
		} else if (p->kind == NH_PARAM_INT) {
			snprintf(b->digits[i], sizeof(b->digits[i]), "%lld", (long long)p->number);
			b->values[i] = b->digits[i];
		} else if (p->kind == NH_PARAM_REAL) {
			snprintf(b->digits[i], sizeof(b->digits[i]), "%.17g", p->real);
			b->values[i] = b->digits[i];
		}
	}
	return NH_OK;
}

/* ---- running ------------------------------------------------------------------------------------------------------------------------ */

static bool send_statement(PGconn *handle, const struct nh_stmt_info *s, const char *text, const struct binding *b, size_t count)
{
	if (s->index < 0)
		return PQsendQueryParams(handle, text, (int)count, NULL, b->values, b->lengths, b->formats, 0) == 1;
	char name[32];
	name_of(s, name);
	return PQsendQueryPrepared(handle, name, (int)count, b->values, b->lengths, b->formats, 0) == 1;
}

/* Next result of the pipeline, and the NULL that ends its statement. */
static PGresult *pipeline_result(struct pg_conn *conn)
{
	PGresult *res = nh_pg_result(conn);
	if (!res || PQresultStatus(res) == PGRES_PIPELINE_SYNC)
		return res;
	for (PGresult *more; PQstatus(conn->handle) == CONNECTION_OK && (more = nh_pg_result(conn)) != NULL;)
		PQclear(more);
	return res;
}

static bool send_command(PGconn *handle, const char *sql) { return PQsendQueryParams(handle, sql, 0, NULL, NULL, NULL, NULL, 0) == 1; }

/* Savepoint and statement in one round trip; back to the savepoint where the statement fails. NULL: the connection is gone. */
static PGresult *run_guarded(struct pg_tx *tx, const struct nh_stmt_info *s, const char *text, const struct binding *b, size_t count)
{
	PGconn *handle = tx->conn->handle;
	if (PQenterPipelineMode(handle) != 1)
		return NULL;
	unsigned commands = tx->savepoint ? 2 : 1;
	PGresult *res = NULL;
	bool sent = (!tx->savepoint || send_command(handle, "RELEASE SAVEPOINT stmt")) && send_command(handle, "SAVEPOINT stmt") &&
		    send_statement(handle, s, text, b, count) && PQpipelineSync(handle) == 1;
	bool guarded = sent;
	for (unsigned i = 0; sent && i < commands; i++) {
		PGresult *done = pipeline_result(tx->conn);
		guarded = guarded && PQresultStatus(done) == PGRES_COMMAND_OK;
		PQclear(done);
	}
	if (sent)
		res = pipeline_result(tx->conn);
	PGresult *sync = sent ? pipeline_result(tx->conn) : NULL;
	PQclear(sync);
	if (PQexitPipelineMode(handle) != 1) {
		PQclear(res);
		return NULL;
	}
	tx->savepoint = guarded;
	if (guarded && PQtransactionStatus(handle) == PQTRANS_INERROR && nh_pg_run(tx->conn, "ROLLBACK TO SAVEPOINT stmt", NULL) != NH_OK)
		tx->savepoint = false;
	return res;
}

static PGresult *run_plain(struct pg_tx *tx, const struct nh_stmt_info *s, const char *text, const struct binding *b, size_t count)
{
	return send_statement(tx->conn->handle, s, text, b, count) ? only_result(tx->conn) : NULL;
}

/* What a failure means for the transaction. */
static nh_rc failed(struct pg_tx *tx, const PGresult *res, const struct nh_stmt_info *s, struct nh_err *err)
{
	struct nh_err why = NH_ERR_INIT;
	PGconn *handle = tx->conn->handle;
	nh_rc rc = nh_pg_fail(tx->conn, res, s->name, &why);
	if (rc == NH_EAGAIN)
		tx->retry = true;
	if (rc == NH_EAGAIN || PQstatus(handle) != CONNECTION_OK || PQtransactionStatus(handle) != PQTRANS_INTRANS) {
		tx->broken = PQstatus(handle) != CONNECTION_OK ? NH_EIO : rc;
		tx->why = why;
	}
	return nh_err_set(err, rc, why.file, why.line, "%s", why.msg);
}

static nh_rc run(struct nh_tx *base, const struct nh_stmt_info *s, const struct nh_param *params, size_t count, PGresult **out, struct nh_err *err)
{
	struct pg_tx *tx = (struct pg_tx *)base;
	struct binding b;
	if (tx->broken != NH_OK)
		return nh_err_set(err, tx->broken, tx->why.file, tx->why.line, "%s", tx->why.msg);
	NH_TRY(bind_all(&b, params, count, err));
	if (s->index >= 0) {
		nh_rc rc = nh_pg_prepare(tx->conn, s, err);
		if (rc != NH_OK) {
			rc = PQstatus(tx->conn->handle) != CONNECTION_OK ? NH_EIO : rc;
			tx->broken = NH_FAIL(&tx->why, rc, "statement %s could not be prepared", s->name);
			return rc;
		}
	}
	NH_AUTO_BUF struct nh_buf text = NH_BUF_INIT; /* dynamic text has no NUL */
	if (s->index < 0)
		nh_buf_put_slice(&text, s->sql);
	PGresult *res = (s->writes ? run_guarded : run_plain)(tx, s, nh_buf_cstr(&text), &b, count);
	ExecStatusType status = PQresultStatus(res);
	if (status != PGRES_COMMAND_OK && status != PGRES_TUPLES_OK) {
		nh_rc rc = failed(tx, res, s, err);
		PQclear(res);
		return rc;
	}
	*out = res;
	return NH_OK;
}

nh_rc nh_pg_exec(struct nh_tx *tx, const struct nh_stmt_info *s, const struct nh_param *params, size_t count, int64_t *changed, struct nh_err *err)
{
	PGresult *res = NULL;
	NH_TRY(run(tx, s, params, count, &res, err));
	*changed = 0;
	if (s->writes && nh_parse_i64(nh_slice_str(PQcmdTuples(res)), 0, INT64_MAX, changed) != NH_OK)
		*changed = 0;
	PQclear(res);
	return NH_OK;
}

nh_rc nh_pg_query(struct nh_tx *tx, const struct nh_stmt_info *s, const struct nh_param *params, size_t count, struct nh_rows **out, struct nh_err *err)
{
	PGresult *res = NULL;
	NH_TRY(run(tx, s, params, count, &res, err));
	struct pg_rows *rows = nh_xcalloc(1, sizeof(*rows));
	rows->res = res;
	rows->row = -1;
	rows->count = PQntuples(res);
	nh_rows_link(tx, &rows->base);
	*out = &rows->base;
	return NH_OK;
}

/* ---- rows ----------------------------------------------------------------------------------------------------------------------------- */

nh_rc nh_pg_next(struct nh_rows *base, struct nh_err *err)
{
	struct pg_rows *rows = (struct pg_rows *)base;
	if (rows->row + 1 >= rows->count)
		return NH_ENOTFOUND;
	rows->row++;
	return NH_OK;
}

void nh_pg_end(struct nh_rows *base)
{
	struct pg_rows *rows = (struct pg_rows *)base;
	nh_rows_unlink(base);
	PQclear(rows->res);
	free(rows);
}

/* Type numbers of PostgreSQL's catalogue (pg_type.dat), which never change. */
enum { OID_BOOL = 16, OID_BYTEA = 17, OID_INT8 = 20, OID_INT2 = 21, OID_INT4 = 23, OID_FLOAT4 = 700, OID_FLOAT8 = 701, OID_NUMERIC = 1700 };

static struct nh_param number_of(nh_slice text)
{
	int64_t n;
	double real = 0;
	if (nh_parse_i64(text, INT64_MIN, INT64_MAX, &n) == NH_OK)
		return nh_p_int(n);
	/* the text comes from a PGresult, hence ends in NUL */
	return sscanf((const char *)text.ptr, "%lf", &real) == 1 ? nh_p_real(real) : nh_p_int(0);
}

static struct nh_param blob_of(nh_slice hex, struct nh_arena *arena)
{
	struct nh_param v = {.kind = NH_PARAM_BLOB, .bytes = NH_LIT("")};
	nh_slice digits = nh_slice_skip(hex, 2); /* \x */
	if (!arena)
		return v;
	uint8_t *bytes = nh_arena_alloc(arena, digits.len / 2 + 1);
	if (nh_hex_decode_fixed(digits, bytes, digits.len / 2) == NH_OK)
		v.bytes = nh_slice_of(bytes, digits.len / 2);
	return v;
}

struct nh_param nh_pg_column(const struct nh_rows *base, int c, struct nh_arena *arena)
{
	const struct pg_rows *rows = (const struct pg_rows *)base;
	if (rows->row < 0 || c >= PQnfields(rows->res) || PQgetisnull(rows->res, rows->row, c))
		return nh_p_null();
	nh_slice text = nh_slice_of(PQgetvalue(rows->res, rows->row, c), (size_t)PQgetlength(rows->res, rows->row, c));
	switch (PQftype(rows->res, c)) {
	case OID_BOOL:
		return nh_p_bool(nh_slice_eq_str(text, "t"));
	case OID_INT2:
	case OID_INT4:
	case OID_INT8:
	case OID_NUMERIC:
		return number_of(text);
	case OID_FLOAT4:
	case OID_FLOAT8: {
		struct nh_param v = number_of(text);
		return v.kind == NH_PARAM_INT ? nh_p_real((double)v.number) : v;
	}
	case OID_BYTEA:
		return blob_of(text, arena);
	default:
		return nh_p_text(arena ? nh_arena_copy(arena, text) : NH_SLICE_EMPTY);
	}
}
