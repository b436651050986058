/*
 * What a driver implements, and what drivers share. Private to store.
 *
 * Drivers embed nh_db, nh_tx and nh_rows as their first member. The public functions in db.c check statements and parameters once, so a driver sees only
 * listed statements, matching counts, and text that both engines can hold.
 */
#pragma once

#include "base/episode.h"
#include "store/db.h"

/* A listed statement, or one of sql_text (index -1). */
struct nh_stmt_info {
	const struct nh_stmt *stmt; /* NULL where dynamic */
	const char *name;
	nh_slice sql;               /* NUL-terminated where listed */
	ptrdiff_t index;
	unsigned params;
	bool writes;                /* begins with another word than SELECT */
};

struct nh_driver {
	bool postgres;
	/* prepare every listed statement once, so that a typo fails at boot */
	nh_rc (*prepare_all)(struct nh_db *db, struct nh_err *err);
	void (*close)(struct nh_db *db);
	nh_rc (*read)(struct nh_db *db, nh_tx_fn fn, void *arg, struct nh_err *err);
	nh_rc (*write)(struct nh_db *db, nh_tx_fn fn, void *arg, struct nh_err *err);
	nh_rc (*take)(struct nh_db *db, nh_tx_fn fn, void *arg, struct nh_err *err); /* see nh_db_take */
	/* keeps other processes from migrating until unlock */
	nh_rc (*migration_lock)(struct nh_db *db, struct nh_err *err);
	void (*migration_unlock)(struct nh_db *db);
	nh_rc (*exec)(struct nh_tx *tx, const struct nh_stmt_info *s, const struct nh_param *params, size_t count, int64_t *changed, struct nh_err *err);
	nh_rc (*query)(struct nh_tx *tx, const struct nh_stmt_info *s, const struct nh_param *params, size_t count, struct nh_rows **out, struct nh_err *err);
	nh_rc (*script)(struct nh_tx *tx, const char *sql, struct nh_err *err); /* several statements, no parameters */
	nh_rc (*notify)(struct nh_tx *tx, const char *channel, nh_slice payload, struct nh_err *err);
	nh_rc (*next)(struct nh_rows *rows, struct nh_err *err);
	void (*end)(struct nh_rows *rows);
	/* value of the current row; bytes are copied into the arena, left out where it is NULL */
	struct nh_param (*column)(const struct nh_rows *rows, int column, struct nh_arena *arena);
};

struct nh_db {
	const struct nh_driver *driver;
	struct nh_stmt_info *stmts;
	size_t stmt_count;
	uint32_t *slots; /* hash from the statement's address to its index + 1 */
	size_t slot_mask;
	struct nh_episode reading, writing;
	struct nh_db_stats stats; /* relaxed atomics; available and errors come from the episodes */
};

#define NH_DB_TALLY(db, field) __atomic_fetch_add(&(db)->stats.field, 1, __ATOMIC_RELAXED)

struct nh_tx {
	struct nh_db *db;
	bool reads; /* of nh_db_read */
	struct nh_rows *open; /* results not yet ended */
};

struct nh_rows {
	struct nh_tx *tx;
	struct nh_rows *next, **self;
};

/* ---- for drivers ------------------------------------------------------------------------------------------------------- */

void nh_rows_link(struct nh_tx *tx, struct nh_rows *rows);
void nh_rows_unlink(struct nh_rows *rows);
void nh_tx_end_rows(struct nh_tx *tx); /* ends what the function left open */

/* sql_count_params - highest n of $n outside literals. NH_EINTERNAL where they do not ascend by first use. */
nh_rc nh_sql_count_params(nh_slice sql, unsigned *out, struct nh_err *err);

/* ---- for migrations and the schema dump, whose text is ours but not a listed statement ---------------------------------- */
nh_rc nh_sql_text_exec(struct nh_tx *tx, const char *sql, const struct nh_param *params, size_t count, struct nh_err *err);
nh_rc nh_sql_text_query(struct nh_tx *tx, const char *sql, const struct nh_param *params, size_t count, struct nh_rows **out, struct nh_err *err);

nh_rc nh_sqlite_open(const char *path, unsigned connections, struct nh_db **out, struct nh_err *err);
nh_rc nh_postgres_open(const char *url, unsigned connections, uint64_t timeout_ms, struct nh_db **out, struct nh_err *err);
nh_rc nh_migrate(struct nh_db *db, struct nh_err *err);
