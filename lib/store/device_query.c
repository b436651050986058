/*
 * Compiles a device search to SQL: which devices (the fragments of device_filters.c and device_expression.c), in which order, from where on. Text of users only ever becomes a bound
 * value.
 *
 * A page is found on narrow rows first and only its devices are joined with everything else, so that what is skipped costs a step in an index and no more.
 */
#include "device_query_int.h"

/*
 * What a list can be ordered by. `unique` needs nothing behind it and is not null; the others are followed by the identifier. Inverted: "ascending" is the most recent first, on purpose
 * (reference/user-api-and-cli "11.2"). The first two follow an index, so that they take as long on a large fleet as on a small one: test_device_lists.c holds the engines to it.
 */
static const struct sort {
	const char *column, *key;
	bool text, unique, nullable, inverted;
} sorts[] = {
	{.column = "identifier", .key = "d.identifier", .text = true, .unique = true},
	{.column = "inserted_at", .key = "d.id", .unique = true}, /* the order in which they were made */
	{.column = "description", .key = "SUBSTR(d.description, 1, 100)", .text = true, .nullable = true},
	{.column = "tags", .key = "SUBSTR(d.tags, 1, 100)", .text = true, .nullable = true},
	{.column = "updated_at", .key = "d.updated_at"},
	{.column = "first_seen_at", .key = "d.first_seen_at", .nullable = true},
	{.column = "status", .key = "d.status", .text = true},
	{.column = "deployment_id", .key = "d.deployment_id", .nullable = true},
	{.column = "updates_enabled", .key = "d.updates_enabled"},
	{.column = "updates_blocked_until", .key = "d.updates_blocked_until", .nullable = true},
	{.column = "connection_established_at", .key = "c.established_at", .nullable = true, .inverted = true},
	{.column = "connection_last_seen_at", .key = "c.last_seen_at", .nullable = true, .inverted = true},
};

static const struct sort *sort_find(nh_slice column)
{
	if (column.len == 0)
		return &sorts[0];
	for (size_t i = 0; i < NH_ARRAY_LEN(sorts); i++) {
		if (nh_slice_eq_str(column, sorts[i].column))
			return &sorts[i];
	}
	return NULL;
}

bool nh_device_search_filtered(const struct nh_device_search *search)
{
	for (size_t i = 0; i < search->filter_count; i++) {
		if (search->filters[i].value.len > 0 && filter_known(search->filters[i].key))
			return true;
	}
	return search->expression != NULL;
}

static void put_where(struct query *q)
{
	const struct nh_device_search *search = q->search;
	bool only;
	put(q, "WHERE d.product_id = ");
	bind_value(q, nh_p_int(search->product_id));
	if (!filter_deleted(search, &only))
		put(q, " AND d.deleted_at IS NULL");
	for (size_t i = 0; i < search->filter_count; i++)
		filter_put(q, &search->filters[i]);
	if (search->expression) {
		put(q, " AND ");
		expression_put(q, search->expression);
	}
}

/* ---- order ------------------------------------------------------------------------------------------------------------------- */

/* A list is read in one direction: on which side null stands is a number before the key. */
struct order {
	const struct sort *sort;
	bool down;
	int null_rank;
};

static struct order order_of(const struct nh_device_search *search, const struct sort *sort)
{
	bool down = search->descending != sort->inverted;
	bool last = search->nulls == NH_NULLS_DEFAULT ? !search->descending : search->nulls == NH_NULLS_LAST;
	return (struct order){sort, down, last != down};
}

static void put_rank(struct query *q, const struct order *o)
{
	if (!o->sort->nullable)
		put(q, "0");
	else
		nh_buf_printf(&q->sql, "CASE WHEN %s IS NULL THEN %d ELSE %d END", o->sort->key, o->null_rank, !o->null_rank);
}

static void put_key(struct query *q, const struct order *o)
{
	nh_buf_printf(&q->sql, o->sort->nullable ? (o->sort->text ? "COALESCE(%s, '')" : "COALESCE(%s, 0)") : "%s", o->sort->key);
}

static void put_order(struct query *q, const struct order *o)
{
	const char *direction = o->down ? " DESC" : "";
	put(q, " ORDER BY ");
	if (o->sort->nullable) {
		put_rank(q, o);
		nh_buf_printf(&q->sql, "%s, ", direction);
	}
	put_key(q, o);
	put(q, direction);
	if (!o->sort->unique)
		nh_buf_printf(&q->sql, ", d.identifier%s", direction);
}

static nh_rc put_after(struct query *q, const struct order *o, struct nh_err *err)
{
	const struct nh_device_cursor *c = q->search->after;
	if (c->is_text != o->sort->text)
		return NH_FAIL(err, NH_EINVAL, "the cursor is of a list in another order");
	struct nh_param value = c->is_text ? nh_p_text(c->text) : nh_p_int(c->number);
	put(q, " AND (");
	if (o->sort->nullable) {
		put_rank(q, o);
		put(q, ", ");
	}
	put_key(q, o);
	put(q, o->sort->unique ? "" : ", d.identifier");
	put(q, o->down ? ") < (" : ") > (");
	if (o->sort->nullable) {
		bind_value(q, nh_p_int(c->rank));
		put(q, ", ");
	}
	bind_value(q, value);
	if (!o->sort->unique) {
		put(q, ", ");
		bind_value(q, nh_p_text(c->identifier));
	}
	put(q, ")");
	return NH_OK;
}

/* ---- pages ------------------------------------------------------------------------------------------------------------------- */

nh_rc device_query_compile(struct query *q, struct nh_err *err)
{
	const struct nh_device_search *search = q->search;
	const struct sort *sort = sort_find(search->sort);
	if (!sort)
		return NH_FAIL(err, NH_EINVAL, "devices cannot be sorted by '%.*s'", NH_ARG(search->sort));
	struct order o = order_of(search, sort);
	put(q, NH_DEVICE_SELECT ", ");
	put_rank(q, &o);
	put(q, ", ");
	put_key(q, &o);
	put(q, " FROM (SELECT d.id FROM devices d LEFT JOIN device_connections c ON c.device_id = d.id ");
	put_where(q);
	if (search->after)
		NH_TRY(put_after(q, &o, err));
	put_order(q, &o);
	put(q, " LIMIT ");
	bind_value(q, nh_p_int(search->limit));
	if (!search->after) {
		put(q, " OFFSET ");
		bind_value(q, nh_p_int(search->offset));
	}
	put(q, ") AS page JOIN devices d ON d.id = page.id " NH_DEVICE_JOINS);
	put_order(q, &o);
	return q->overflow ? NH_FAIL(err, NH_ETOOBIG, "too many filters or tags in one search") : NH_OK;
}

nh_rc nh_device_search_rows(struct nh_tx *tx, struct nh_arena *arena, const struct nh_device_search *search, struct nh_rows **out, struct nh_err *err)
{
	struct query q = {.arena = arena, .search = search, .now_us = search->now_us};
	*out = NULL;
	nh_rc rc = device_query_compile(&q, err);
	if (rc == NH_OK)
		rc = nh_sql_dynamic(tx, nh_buf_slice(&q.sql), q.params, q.count, out, err);
	nh_buf_fini(&q.sql);
	return rc;
}

void nh_device_cursor_read(const struct nh_rows *rows, struct nh_arena *arena, const struct nh_device_search *search, struct nh_device_cursor *out)
{
	const struct sort *sort = sort_find(search->sort);
	*out = (struct nh_device_cursor){.rank = nh_col_int(rows, NH_DEVICE_COLUMNS), .is_text = sort && sort->text, .identifier = nh_col_text(rows, 3, arena)};
	if (out->is_text)
		out->text = nh_col_text(rows, NH_DEVICE_COLUMNS + 1, arena);
	else
		out->number = nh_col_int(rows, NH_DEVICE_COLUMNS + 1);
}

nh_rc nh_device_search_count(struct nh_tx *tx, struct nh_arena *arena, const struct nh_device_search *search, int64_t max, int64_t *out,
                             struct nh_err *err)
{
	struct query q = {.arena = arena, .search = search, .now_us = search->now_us};
	struct nh_rows *rows = NULL;
	put(&q, "SELECT COUNT(*) FROM (SELECT d.id FROM devices d LEFT JOIN device_connections c ON c.device_id = d.id ");
	put_where(&q);
	put(&q, " LIMIT ");
	bind_value(&q, nh_p_int(max));
	put(&q, ") AS found");
	nh_rc rc = q.overflow ? NH_FAIL(err, NH_ETOOBIG, "too many filters or tags in one search")
	                      : nh_sql_dynamic(tx, nh_buf_slice(&q.sql), q.params, q.count, &rows, err);
	nh_buf_fini(&q.sql);
	if (rc == NH_OK)
		rc = nh_sql_next(rows, err);
	if (rc == NH_OK)
		*out = nh_col_int(rows, 0);
	nh_sql_end(rows);
	return rc;
}
