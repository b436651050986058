/*
 * Schema dump, from each engine's catalogue.
 */
#include "db_int.h"
#include "store/schema.h"

static const char sqlite_text[] =
	"SELECT sql || ';' FROM sqlite_schema WHERE sql IS NOT NULL AND name NOT LIKE 'sqlite_%' ORDER BY tbl_name, type DESC, name";

/* One line a column, constraint and index. */
static const char postgres_text[] =
	"SELECT line FROM ("
	"SELECT c.relname AS t, 1 AS part, a.attnum AS pos, CAST('' AS TEXT) AS n, c.relname || '.' || a.attname || ' ' || format_type(a.atttypid, a.atttypmod) || "
	"CASE WHEN a.attnotnull THEN ' NOT NULL' ELSE '' END || CASE WHEN a.attidentity <> '' THEN ' IDENTITY' ELSE '' END || "
	"COALESCE(' DEFAULT ' || pg_get_expr(d.adbin, d.adrelid), '') AS line "
	"FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum "
	"WHERE c.relkind = 'r' AND a.attnum > 0 AND NOT a.attisdropped AND c.relnamespace = (SELECT oid FROM pg_namespace WHERE nspname = current_schema()) "
	"UNION ALL "
	"SELECT c.relname, 2, 0, k.conname, c.relname || ' ' || k.conname || ': ' || pg_get_constraintdef(k.oid) "
	"FROM pg_constraint k JOIN pg_class c ON c.oid = k.conrelid WHERE c.relnamespace = (SELECT oid FROM pg_namespace WHERE nspname = current_schema()) "
	"UNION ALL "
	"SELECT i.tablename, 3, 0, i.indexname, replace(i.indexdef, ' ON ' || quote_ident(i.schemaname) || '.', ' ON ') "
	"FROM pg_indexes i WHERE i.schemaname = current_schema()"
	") AS lines ORDER BY t, part, pos, n";

static nh_rc put_lines(struct nh_tx *tx, void *arg, struct nh_err *err)
{
	NH_AUTO_ARENA struct nh_arena arena = NH_ARENA_INIT;
	struct nh_rows *rows = NULL;
	NH_TRY(nh_sql_text_query(tx, tx->db->driver->postgres ? postgres_text : sqlite_text, NH_NO_PARAMS, &rows, err));
	nh_rc rc;
	while ((rc = nh_sql_next(rows, err)) == NH_OK) {
		nh_buf_put_slice(arg, nh_col_text(rows, 0, &arena));
		nh_buf_put_u8(arg, '\n');
	}
	nh_sql_end(rows);
	return rc == NH_ENOTFOUND ? NH_OK : rc;
}

nh_rc nh_db_schema_put(struct nh_db *db, struct nh_buf *out, struct nh_err *err) { return nh_db_read(db, put_lines, out, err); }
