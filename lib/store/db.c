/*
 * The door of the store: opens a database by its URL, keeps the table of listed statements, checks calls, and forwards to the driver.
 */
#include <stdlib.h>

#include "base/clock.h"
#include "db_int.h"

/* ---- statements -------------------------------------------------------------------------------------------------------- */

static bool skip_quoted(nh_slice sql, size_t *at)
{
	uint8_t quote = sql.ptr[*at];
	if (quote != '\'' && quote != '"')
		return false;
	for (++*at; *at < sql.len && sql.ptr[*at] != quote; ++*at) {}
	++*at;
	return true;
}

nh_rc nh_sql_count_params(nh_slice sql, unsigned *out, struct nh_err *err)
{
	unsigned highest = 0;
	for (size_t i = 0; i < sql.len;) {
		if (skip_quoted(sql, &i))
			continue;
		if (sql.ptr[i++] != '$')
			continue;
		unsigned n = 0;
		for (; i < sql.len && sql.ptr[i] >= '0' && sql.ptr[i] <= '9' && n < 1000; i++)
			n = n * 10 + (unsigned)(sql.ptr[i] - '0');
		if (n == 0 || n > highest + 1)
			return NH_FAIL(err, NH_EINTERNAL, "parameter $%u comes before $%u", n, highest + 1);
		highest = n > highest ? n : highest;
	}
	*out = highest;
	return NH_OK;
}

static bool is_select(nh_slice sql)
{
	return sql.len >= 6 && nh_slice_ieq(nh_slice_sub(sql, 0, 6), NH_LIT("SELECT"));
}

static size_t slot_of(const struct nh_db *db, const struct nh_stmt *stmt)
{
	uint64_t h = (uint64_t)(uintptr_t)stmt * UINT64_C(0x9e3779b97f4a7c15);
	return (size_t)(h >> 32) & db->slot_mask;
}

static const struct nh_stmt_info *find(const struct nh_db *db, const struct nh_stmt *stmt)
{
	for (size_t i = slot_of(db, stmt); db->slots[i] != 0; i = (i + 1) & db->slot_mask) {
		const struct nh_stmt_info *s = &db->stmts[db->slots[i] - 1];
		if (s->stmt == stmt)
			return s;
	}
	return NULL;
}

static nh_rc add_statement(struct nh_db *db, const struct nh_stmt *stmt, struct nh_err *err)
{
	if (find(db, stmt))
		return NH_FAIL(err, NH_EINTERNAL, "statement %s is listed twice", stmt->name);
	size_t slot = slot_of(db, stmt);
	while (db->slots[slot] != 0)
		slot = (slot + 1) & db->slot_mask;
	struct nh_stmt_info *s = &db->stmts[db->stmt_count];
	*s = (struct nh_stmt_info){.stmt = stmt, .name = stmt->name, .sql = nh_slice_str(stmt->sql), .index = (ptrdiff_t)db->stmt_count};
	s->writes = !is_select(s->sql);
	NH_TRY_CTX(nh_sql_count_params(s->sql, &s->params, err), err, "statement %s: ", stmt->name);
	db->slots[slot] = (uint32_t)++db->stmt_count;
	return NH_OK;
}

static nh_rc list_statements(struct nh_db *db, const struct nh_stmt *const *const *families, struct nh_err *err)
{
	size_t count = 0;
	for (size_t f = 0; families && families[f]; f++) {
		for (size_t i = 0; families[f][i]; i++)
			count++;
	}
	size_t slots = 16;
	while (slots < count * 2)
		slots *= 2;
	db->stmts = nh_xcalloc(count + 1, sizeof(*db->stmts));
	db->slots = nh_xcalloc(slots, sizeof(*db->slots));
	db->slot_mask = slots - 1;
	for (size_t f = 0; families && families[f]; f++) {
		for (size_t i = 0; families[f][i]; i++)
			NH_TRY(add_statement(db, families[f][i], err));
	}
	return NH_OK;
}

/* ---- open and close ---------------------------------------------------------------------------------------------------- */

#define SQLITE_SCHEME "sqlite:"
#define STATEMENT_TIMEOUT_MS 15000

static nh_rc open_driver(const char *url, unsigned connections, uint64_t timeout_ms, struct nh_db **out, struct nh_err *err)
{
	nh_slice text = nh_slice_str(url);
	if (nh_slice_starts(text, NH_LIT(SQLITE_SCHEME)) && text.len > strlen(SQLITE_SCHEME))
		return nh_sqlite_open(url + strlen(SQLITE_SCHEME), connections, out, err);
	if (nh_slice_starts(text, NH_LIT("postgres://")) || nh_slice_starts(text, NH_LIT("postgresql://")))
		return nh_postgres_open(url, connections, timeout_ms, out, err);
	/* not repeated: it may hold a password */
	return NH_FAIL(err, NH_EINVAL, "the database URL begins neither with sqlite:PATH nor with postgres:// or postgresql://");
}

nh_rc nh_db_open(const struct nh_db_config *config, struct nh_db **out, struct nh_err *err)
{
	struct nh_db *db = NULL;
	*out = NULL;
	NH_TRY(open_driver(config->url ? config->url : "", config->connections ? config->connections : 8,
			   config->timeout_ms ? config->timeout_ms : STATEMENT_TIMEOUT_MS, &db, err));
	db->reading.event = "database.read";
	db->writing.event = "database.write";
	nh_rc rc = list_statements(db, config->statements, err);
	if (rc == NH_OK)
		rc = nh_migrate(db, err);
	if (rc == NH_OK)
		rc = db->driver->prepare_all(db, err);
	if (rc != NH_OK) {
		nh_db_close(db);
		return rc;
	}
	*out = db;
	return NH_OK;
}

void nh_db_close(struct nh_db *db)
{
	if (!db)
		return;
	struct nh_stmt_info *stmts = db->stmts;
	uint32_t *slots = db->slots;
	db->driver->close(db); /* running transactions still use them */
	free(stmts);
	free(slots);
}

bool nh_db_is_postgres(const struct nh_db *db) { return db->driver->postgres; }

/* ---- transactions ------------------------------------------------------------------------------------------------------ */

/* Notes how a call ended. A rule's refusal says that the database works as well as a success does. */
static nh_rc ended(struct nh_db *db, struct nh_episode *episode, nh_rc rc, const struct nh_err *err)
{
	if (rc == NH_EAGAIN)
		return rc;
	if (rc != NH_EIO && rc != NH_ENOSPC && rc != NH_ENOMEM) {
		nh_episode_fine(episode);
		return rc;
	}
	NH_DB_TALLY(db, errors);
	if (rc == NH_ENOSPC)
		NH_DB_TALLY(db, full);
	nh_episode_failed(episode, rc, err->msg);
	return rc;
}

nh_rc nh_db_read(struct nh_db *db, nh_tx_fn fn, void *arg, struct nh_err *err)
{
	struct nh_err own = NH_ERR_INIT;
	err = err ? err : &own;
	NH_DB_TALLY(db, reads);
	uint64_t from_us = nh_mono_us();
	nh_rc rc = db->driver->read(db, fn, arg, err);
	nh_histogram_add(&db->stats.read_us, nh_mono_us() - from_us);
	return ended(db, &db->reading, rc, err);
}

nh_rc nh_db_write(struct nh_db *db, nh_tx_fn fn, void *arg, struct nh_err *err)
{
	struct nh_err own = NH_ERR_INIT;
	err = err ? err : &own;
	NH_DB_TALLY(db, writes);
	uint64_t from_us = nh_mono_us();
	nh_rc rc = db->driver->write(db, fn, arg, err);
	nh_histogram_add(&db->stats.write_us, nh_mono_us() - from_us);
	return ended(db, &db->writing, rc, err);
}

nh_rc nh_db_take(struct nh_db *db, nh_tx_fn fn, void *arg, struct nh_err *err)
{
	NH_DB_TALLY(db, writes);
	return ended(db, &db->writing, db->driver->take(db, fn, arg, err), err);
}

bool nh_tx_reads(const struct nh_tx *tx) { return tx->reads; }

bool nh_db_available(const struct nh_db *db) { return !nh_episode_going(&db->reading) && !nh_episode_going(&db->writing); }

void nh_db_stats(const struct nh_db *db, struct nh_db_stats *out)
{
	*out = (struct nh_db_stats){
		.available = nh_db_available(db),
		.reads = __atomic_load_n(&db->stats.reads, __ATOMIC_RELAXED),
		.writes = __atomic_load_n(&db->stats.writes, __ATOMIC_RELAXED),
		.steps = __atomic_load_n(&db->stats.steps, __ATOMIC_RELAXED),
		.commits = __atomic_load_n(&db->stats.commits, __ATOMIC_RELAXED),
		.errors = __atomic_load_n(&db->stats.errors, __ATOMIC_RELAXED),
		.full = __atomic_load_n(&db->stats.full, __ATOMIC_RELAXED),
		.retries = __atomic_load_n(&db->stats.retries, __ATOMIC_RELAXED),
		.reopened = __atomic_load_n(&db->stats.reopened, __ATOMIC_RELAXED),
	};
	nh_histogram_read(&db->stats.read_us, &out->read_us);
	nh_histogram_read(&db->stats.write_us, &out->write_us);
}

nh_rc nh_tx_notify(struct nh_tx *tx, const char *channel, nh_slice payload, struct nh_err *err)
{
	if (payload.len >= 8000)
		return NH_FAIL(err, NH_ETOOBIG, "a notification of %zu bytes; at most 7999 are possible", payload.len);
	return tx->db->driver->notify(tx, channel, payload, err);
}

void nh_rows_link(struct nh_tx *tx, struct nh_rows *rows)
{
	rows->tx = tx;
	rows->next = tx->open;
	rows->self = &tx->open;
	if (rows->next)
		rows->next->self = &rows->next;
	tx->open = rows;
}

void nh_rows_unlink(struct nh_rows *rows)
{
	*rows->self = rows->next;
	if (rows->next)
		rows->next->self = rows->self;
}

void nh_tx_end_rows(struct nh_tx *tx)
{
	while (tx->open)
		nh_sql_end(tx->open);
}

/* ---- statements in a transaction ---------------------------------------------------------------------------------------- */

/* Text that PostgreSQL could not hold is refused on both engines. */
static nh_rc check_params(const struct nh_stmt_info *s, const struct nh_param *params, size_t count, struct nh_err *err)
{
	if (s->params != count)
		return NH_FAIL(err, NH_EINTERNAL, "statement %s takes %u parameters, not %zu", s->name, s->params, count);
	for (size_t i = 0; i < count; i++) {
		if (params[i].kind == NH_PARAM_TEXT && (!nh_utf8_valid(params[i].bytes) || nh_slice_chr(params[i].bytes, 0) >= 0))
			return NH_FAIL(err, NH_EINVAL, "a text is not UTF-8 or holds a NUL character (%s, parameter %zu)", s->name, i + 1);
	}
	return NH_OK;
}

static nh_rc listed(const struct nh_tx *tx, const struct nh_stmt *stmt, const struct nh_param *params, size_t count, const struct nh_stmt_info **out,
		    struct nh_err *err)
{
	*out = find(tx->db, stmt);
	if (!*out)
		return NH_FAIL(err, NH_EINTERNAL, "statement %s is not listed in lib/store/statements.c", stmt->name);
	return check_params(*out, params, count, err);
}

static nh_rc unlisted(nh_slice sql, const char *name, const struct nh_param *params, size_t count, struct nh_stmt_info *out, struct nh_err *err)
{
	*out = (struct nh_stmt_info){.name = name, .sql = sql, .index = -1, .writes = !is_select(sql)};
	NH_TRY(nh_sql_count_params(sql, &out->params, err));
	return check_params(out, params, count, err);
}

nh_rc nh_sql_exec(struct nh_tx *tx, const struct nh_stmt *stmt, const struct nh_param *params, size_t count, int64_t *changed, struct nh_err *err)
{
	const struct nh_stmt_info *s;
	NH_TRY(listed(tx, stmt, params, count, &s, err));
	int64_t ignored;
	return tx->db->driver->exec(tx, s, params, count, changed ? changed : &ignored, err);
}

nh_rc nh_sql_query(struct nh_tx *tx, const struct nh_stmt *stmt, const struct nh_param *params, size_t count, struct nh_rows **out, struct nh_err *err)
{
	const struct nh_stmt_info *s;
	*out = NULL;
	NH_TRY(listed(tx, stmt, params, count, &s, err));
	return tx->db->driver->query(tx, s, params, count, out, err);
}

nh_rc nh_sql_next(struct nh_rows *rows, struct nh_err *err) { return rows->tx->db->driver->next(rows, err); }

void nh_sql_end(struct nh_rows *rows)
{
	if (rows)
		rows->tx->db->driver->end(rows);
}

nh_rc nh_sql_one(struct nh_tx *tx, const struct nh_stmt *stmt, const struct nh_param *params, size_t count, struct nh_rows **out, struct nh_err *err)
{
	NH_TRY(nh_sql_query(tx, stmt, params, count, out, err));
	nh_rc rc = nh_sql_next(*out, err);
	if (rc != NH_OK) {
		nh_sql_end(*out);
		*out = NULL;
	}
	return rc;
}

nh_rc nh_sql_dynamic(struct nh_tx *tx, nh_slice sql, const struct nh_param *params, size_t count, struct nh_rows **out, struct nh_err *err)
{
	struct nh_stmt_info s;
	*out = NULL;
	NH_TRY(unlisted(sql, "(list filter)", params, count, &s, err));
	return tx->db->driver->query(tx, &s, params, count, out, err);
}

nh_rc nh_sql_text_exec(struct nh_tx *tx, const char *sql, const struct nh_param *params, size_t count, struct nh_err *err)
{
	struct nh_stmt_info s;
	int64_t changed;
	NH_TRY(unlisted(nh_slice_str(sql), "(schema)", params, count, &s, err));
	return tx->db->driver->exec(tx, &s, params, count, &changed, err);
}

nh_rc nh_sql_text_query(struct nh_tx *tx, const char *sql, const struct nh_param *params, size_t count, struct nh_rows **out, struct nh_err *err)
{
	struct nh_stmt_info s;
	*out = NULL;
	NH_TRY(unlisted(nh_slice_str(sql), "(schema)", params, count, &s, err));
	return tx->db->driver->query(tx, &s, params, count, out, err);
}

/* ---- columns ------------------------------------------------------------------------------------------------------------- */

static struct nh_param column(const struct nh_rows *rows, int c, struct nh_arena *arena)
{
	return rows->tx->db->driver->column(rows, c, arena);
}

bool nh_col_null(const struct nh_rows *rows, int c) { return column(rows, c, NULL).kind == NH_PARAM_NULL; }

int64_t nh_col_int(const struct nh_rows *rows, int c)
{
	struct nh_param v = column(rows, c, NULL);
	return v.kind == NH_PARAM_INT ? v.number : 0;
}

double nh_col_real(const struct nh_rows *rows, int c)
{
	struct nh_param v = column(rows, c, NULL);
	return v.kind == NH_PARAM_REAL ? v.real : v.kind == NH_PARAM_INT ? (double)v.number : 0.0;
}

/* An empty value keeps a non-NULL pointer, since NULL means SQL's NULL. */
static nh_slice bytes_of(const struct nh_rows *rows, int c, nh_param_kind kind, struct nh_arena *arena)
{
	struct nh_param v = column(rows, c, arena);
	if (v.kind == NH_PARAM_NULL)
		return NH_SLICE_EMPTY;
	return v.kind == kind ? v.bytes : NH_LIT("");
}

nh_slice nh_col_text(const struct nh_rows *rows, int c, struct nh_arena *arena) { return bytes_of(rows, c, NH_PARAM_TEXT, arena); }
nh_slice nh_col_blob(const struct nh_rows *rows, int c, struct nh_arena *arena) { return bytes_of(rows, c, NH_PARAM_BLOB, arena); }

nh_slice nh_like_pattern(struct nh_arena *arena, nh_slice text, bool anywhere)
{
	NH_AUTO_BUF struct nh_buf pattern = NH_BUF_INIT;
	nh_buf_put_str(&pattern, anywhere ? "%" : "");
	for (size_t i = 0; i < text.len; i++) {
		uint8_t c = text.ptr[i];
		if (c == '%' || c == '_' || c == '\\')
			nh_buf_put_u8(&pattern, '\\');
		nh_buf_put_u8(&pattern, c >= 'A' && c <= 'Z' ? (uint8_t)(c + 32) : c);
	}
	nh_buf_put_u8(&pattern, '%');
	return nh_arena_copy(arena, nh_buf_slice(&pattern));
}
