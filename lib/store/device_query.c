/*
 * Compiles a device search to SQL: a table of filters, a table of sort columns, and the parameters they bind. Text of users only ever becomes a
 * bound value.
 */
#include "base/encode.h"
#include "base/json.h"
#include "store/device_query.h"

struct query {
	struct nh_arena *arena;
	const struct nh_device_search *search;
	struct nh_buf sql;
	struct nh_param params[NH_DEVICE_QUERY_PARAMS_MAX];
	size_t count;
	int64_t now_us;
	bool overflow;
};

/* Appends "$n" for a new parameter. */
static void bind(struct query *q, struct nh_param value)
{
	if (q->count == NH_DEVICE_QUERY_PARAMS_MAX) {
		q->overflow = true;
		return;
	}
	q->params[q->count++] = value;
	nh_buf_printf(&q->sql, "$%zu", q->count);
}

static void put(struct query *q, const char *fragment)
{
	nh_buf_put_str(&q->sql, fragment);
}

static void contains(struct query *q, const char *column, nh_slice text)
{
	put(q, "LOWER(");
	put(q, column);
	put(q, ") LIKE ");
	bind(q, nh_p_text(nh_like_pattern(q->arena, text, true)));
	put(q, " ESCAPE '\\'");
}

static void equals(struct query *q, const char *column, struct nh_param value)
{
	put(q, column);
	put(q, " = ");
	bind(q, value);
}

/* ---- one function a filter: appends a condition, or returns false where the value means nothing ------------------------------ */

static bool by_identifier(struct query *q, nh_slice v)
{
	contains(q, "d.identifier", v);
	return true;
}

static bool by_search(struct query *q, nh_slice v)
{
	static const char *const columns[] = {"d.identifier", "d.firmware_version", "d.firmware_platform", "d.tags"};
	put(q, "(");
	for (size_t i = 0; i < NH_ARRAY_LEN(columns); i++) {
		put(q, i ? " OR " : "");
		contains(q, columns[i], v);
	}
	put(q, ")");
	return true;
}

static bool by_tags(struct query *q, nh_slice v)
{
	nh_slice tag, rest = v;
	bool any = false;
	put(q, "(");
	while (rest.len > 0) {
		nh_slice_cut(rest, ',', &tag, &rest);
		tag = nh_slice_trim(tag);
		if (tag.len == 0)
			continue;
		put(q, any ? " AND " : "");
		contains(q, "d.tags", tag);
		any = true;
	}
	put(q, any ? ")" : "1 = 1)");
	return true;
}

static bool by_no_tags(struct query *q, nh_slice v)
{
	put(q, "(d.tags IS NULL OR d.tags = '[]')");
	return true;
}

static bool by_connection(struct query *q, nh_slice v)
{
	static const struct {
		const char *word;
		int64_t days;
	} stale[] = {{"not_seen_in_seven_days", 7}, {"not_seen_in_fourteen_days", 14}};
	for (size_t i = 0; i < NH_ARRAY_LEN(stale); i++) {
		if (nh_slice_eq_str(v, stale[i].word)) {
			put(q, "(c.status = 'disconnected' AND c.last_seen_at < ");
			bind(q, nh_p_int(q->now_us - stale[i].days * 86400 * INT64_C(1000000)));
			put(q, ")");
			return true;
		}
	}
	if (nh_slice_eq_str(v, "not_seen"))
		put(q, "d.status = 'registered'");
	else
		equals(q, "c.status", nh_p_text(v));
	return true;
}

static bool by_connection_type(struct query *q, nh_slice v)
{
	if (nh_slice_eq_str(v, "unknown"))
		put(q, "(c.network_interface IS NULL OR c.network_interface = 'unknown')");
	else
		equals(q, "c.network_interface", nh_p_text(v));
	return true;
}

static bool by_version(struct query *q, nh_slice v)
{
	equals(q, "d.firmware_version", nh_p_text(v));
	return true;
}

static bool by_platform(struct query *q, nh_slice v)
{
	if (nh_slice_eq_str(v, "Unknown"))
		put(q, "d.firmware_platform IS NULL");
	else
		equals(q, "d.firmware_platform", nh_p_text(v));
	return true;
}

static bool by_updates(struct query *q, nh_slice v)
{
	if (nh_slice_eq_str(v, "enabled")) {
		put(q, "d.updates_enabled = 1");
	} else if (nh_slice_eq_str(v, "disabled")) {
		put(q, "d.updates_enabled = 0");
	} else if (nh_slice_eq_str(v, "penalty-box")) {
		put(q, "d.updates_blocked_until > ");
		bind(q, nh_p_int(q->now_us));
	} else {
		return false;
	}
	return true;
}

static bool by_group(struct query *q, nh_slice v)
{
	int64_t id;
	if (nh_parse_i64(v, 0, INT64_MAX, &id) != NH_OK)
		return false;
	equals(q, "d.deployment_id", nh_p_int(id));
	return true;
}

/* Of the device's latest health report. */
#define LATEST(column) "(SELECT h." column " FROM device_health h WHERE h.device_id = d.id AND h.superseded = 0)"

static bool by_health(struct query *q, nh_slice v)
{
	equals(q, "COALESCE(" LATEST("status") ", 'unknown')", nh_p_text(v));
	return true;
}

static bool by_alarm_status(struct query *q, nh_slice v)
{
	bool with = nh_slice_eq_str(v, "with");
	put(q, with ? LATEST("alarms") " IS NOT NULL" : LATEST("alarms") " IS NULL");
	return with || nh_slice_eq_str(v, "without");
}

static bool by_alarm(struct query *q, nh_slice v)
{
	contains(q, LATEST("alarms"), v);
	return true;
}

static nh_slice other_filter(const struct query *q, const char *key)
{
	for (size_t i = 0; i < q->search->filter_count; i++) {
		if (nh_slice_eq_str(q->search->filters[i].key, key))
			return q->search->filters[i].value;
	}
	return NH_SLICE_EMPTY;
}

/* Three filters that mean something together only: which, compared how, with what. */
static bool by_metric(struct query *q, nh_slice v)
{
	nh_slice how = other_filter(q, "metrics_operator");
	NH_AUTO_JSON json_t *number = NULL;
	bool greater = nh_slice_eq_str(how, "gt");
	if ((!greater && !nh_slice_eq_str(how, "lt")) || nh_json_parse(other_filter(q, "metrics_value"), 64, &number, NULL) != NH_OK || !json_is_number(number))
		return false;
	put(q, "(SELECT m.value FROM device_metrics m WHERE m.health_id = " LATEST("id") " AND m.key = ");
	bind(q, nh_p_text(v));
	put(q, greater ? ") > " : ") < ");
	bind(q, nh_p_real(json_number_value(number)));
	return true;
}

static const struct {
	const char *key;
	bool (*add)(struct query *q, nh_slice value);
} filters[] = {
	{"identifier", by_identifier},
	{"search", by_search},
	{"tags", by_tags},
	{"has_no_tags", by_no_tags},
	{"connection", by_connection},
	{"connection_type", by_connection_type},
	{"firmware_version", by_version},
	{"platform", by_platform},
	{"updates", by_updates},
	{"deployment_id", by_group},
	{"health_status", by_health},
	{"alarm_status", by_alarm_status},
	{"alarm", by_alarm},
	{"metrics_key", by_metric},
};

/* Both directions spelled out, since the connection columns are inverted on purpose (reference/user-api-and-cli "11.2"). */
static const struct {
	const char *column, *ascending, *descending;
} sorts[] = {
	{"identifier", "d.identifier", "d.identifier DESC"},
	{"description", "d.description, d.identifier", "d.description DESC, d.identifier"},
	{"tags", "d.tags, d.identifier", "d.tags DESC, d.identifier"},
	{"inserted_at", "d.inserted_at, d.id", "d.inserted_at DESC, d.id DESC"},
	{"updated_at", "d.updated_at, d.id", "d.updated_at DESC, d.id DESC"},
	{"status", "d.status, d.identifier", "d.status DESC, d.identifier"},
	{"deployment_id", "d.deployment_id, d.identifier", "d.deployment_id DESC, d.identifier"},
	{"updates_enabled", "d.updates_enabled, d.identifier", "d.updates_enabled DESC, d.identifier"},
	{"connection_established_at", "COALESCE(c.established_at, 0) DESC, d.identifier", "COALESCE(c.established_at, 0), d.identifier"},
	{"connection_last_seen_at", "COALESCE(c.last_seen_at, 0) DESC, d.identifier", "COALESCE(c.last_seen_at, 0), d.identifier"},
};

static ptrdiff_t filter_find(nh_slice key)
{
	for (size_t i = 0; i < NH_ARRAY_LEN(filters); i++) {
		if (nh_slice_eq_str(key, filters[i].key))
			return (ptrdiff_t)i;
	}
	return -1;
}

bool nh_device_search_filtered(const struct nh_device_search *search)
{
	for (size_t i = 0; i < search->filter_count; i++) {
		if (search->filters[i].value.len > 0 && filter_find(search->filters[i].key) >= 0)
			return true;
	}
	return false;
}

static void put_where(struct query *q, const struct nh_device_search *search)
{
	put(q, "WHERE d.product_id = ");
	bind(q, nh_p_int(search->product_id));
	put(q, " AND d.deleted_at IS NULL");
	for (size_t i = 0; i < search->filter_count; i++) {
		ptrdiff_t f = filter_find(search->filters[i].key);
		if (f < 0 || search->filters[i].value.len == 0)
			continue;
		size_t before = q->sql.len;
		put(q, " AND ");
		if (!filters[f].add(q, search->filters[i].value))
			nh_buf_truncate(&q->sql, before);
	}
}

static nh_rc run(struct query *q, struct nh_tx *tx, struct nh_rows **out, struct nh_err *err)
{
	if (q->overflow)
		return NH_FAIL(err, NH_ETOOBIG, "too many filters or tags in one search");
	return nh_sql_dynamic(tx, nh_buf_slice(&q->sql), q->params, q->count, out, err);
}

nh_rc nh_device_search_rows(struct nh_tx *tx, struct nh_arena *arena, const struct nh_device_search *search, struct nh_rows **out, struct nh_err *err)
{
	*out = NULL;
	const char *order = NULL;
	nh_slice sort = search->sort.len > 0 ? search->sort : NH_LIT("identifier");
	for (size_t i = 0; i < NH_ARRAY_LEN(sorts); i++) {
		if (nh_slice_eq_str(sort, sorts[i].column))
			order = search->descending ? sorts[i].descending : sorts[i].ascending;
	}
	if (!order)
		return NH_FAIL(err, NH_EINVAL, "devices cannot be sorted by '%.*s'", NH_ARG(sort));

	struct query q = {.arena = arena, .search = search, .now_us = search->now_us};
	put(&q, NH_DEVICE_SELECT NH_DEVICE_FROM);
	put_where(&q, search);
	put(&q, " ORDER BY ");
	put(&q, order);
	put(&q, " LIMIT ");
	bind(&q, nh_p_int(search->limit));
	put(&q, " OFFSET ");
	bind(&q, nh_p_int(search->offset));
	nh_rc rc = run(&q, tx, out, err);
	nh_buf_fini(&q.sql);
	return rc;
}

nh_rc nh_device_search_count(struct nh_tx *tx, struct nh_arena *arena, const struct nh_device_search *search, int64_t max, int64_t *out,
                             struct nh_err *err)
{
	struct query q = {.arena = arena, .search = search, .now_us = search->now_us};
	struct nh_rows *rows = NULL;
	put(&q, "SELECT COUNT(*) FROM (SELECT d.id FROM devices d LEFT JOIN device_connections c ON c.device_id = d.id ");
	put_where(&q, search);
	put(&q, " LIMIT ");
	bind(&q, nh_p_int(max));
	put(&q, ") AS found");
	nh_rc rc = run(&q, tx, &rows, err);
	nh_buf_fini(&q.sql);
	if (rc == NH_OK)
		rc = nh_sql_next(rows, err);
	if (rc == NH_OK)
		*out = nh_col_int(rows, 0);
	nh_sql_end(rows);
	return rc;
}
