/*
 * The filters of the device list, one function each. What a filter's value cannot mean is ignored, as existing clients expect; the query language (device_expression.c) is strict.
 *
 * source: reference/user-api-and-cli "11.2"; reference/server-behaviour "14.1"
 */
#include "base/encode.h"
#include "base/json.h"
#include "device_query_int.h"

void put(struct query *q, const char *fragment)
{
	nh_buf_put_str(&q->sql, fragment);
}

void bind_again(struct query *q, size_t number)
{
	nh_buf_printf(&q->sql, "$%zu", number);
}

size_t bind_value(struct query *q, struct nh_param value)
{
	if (q->count == NH_DEVICE_QUERY_PARAMS_MAX) {
		q->overflow = true;
		return q->count;
	}
	q->params[q->count++] = value;
	bind_again(q, q->count);
	return q->count;
}

/* Both sides through LOWER: what it makes of letters beyond ASCII is the engine's, but the same on both. */
void contains(struct query *q, const char *column, nh_slice text)
{
	put(q, "LOWER(");
	put(q, column);
	put(q, ") LIKE LOWER(");
	bind_value(q, nh_p_text(nh_like_pattern(q->arena, text, true)));
	put(q, ") ESCAPE '\\'");
}

void equals(struct query *q, const char *column, struct nh_param value)
{
	put(q, column);
	put(q, " = ");
	bind_value(q, value);
}

nh_slice tag_text(struct query *q, nh_slice tag)
{
	NH_AUTO_BUF struct nh_buf text = NH_BUF_INIT;
	nh_json_put_string(&text, tag);
	return nh_arena_copy(q->arena, nh_slice_of(text.ptr + 1, text.len - 2));
}

/* ---- one function a filter: appends a condition, or returns false where the value means nothing ------------------------------ */

static bool by_identifier(struct query *q, nh_slice v)
{
	contains(q, "d.identifier", v);
	return true;
}

static bool by_search(struct query *q, nh_slice v)
{
	static const char *const columns[] = {"d.identifier", "d.firmware_version", "d.firmware_platform"};
	put(q, "(");
	for (size_t i = 0; i < NH_ARRAY_LEN(columns); i++) {
		contains(q, columns[i], v);
		put(q, " OR ");
	}
	contains(q, TAGS_JOINED, tag_text(q, v));
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
		contains(q, TAGS_JOINED, tag_text(q, tag));
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
			bind_value(q, nh_p_int(q->now_us - stale[i].days * DAY_US));
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
		bind_value(q, nh_p_int(q->now_us));
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
	bind_value(q, nh_p_text(v));
	put(q, greater ? ") > " : ") < ");
	bind_value(q, nh_p_real(json_number_value(number)));
	return true;
}

static bool by_updating(struct query *q, nh_slice v)
{
	if (!nh_slice_eq_str(v, "true"))
		return false;
	put(q, "EXISTS (SELECT 1 FROM inflight_updates u WHERE u.device_id = d.id)");
	return true;
}

static bool by_deleted(struct query *q, nh_slice v)
{
	if (nh_slice_eq_str(v, "include"))
		put(q, "1 = 1");
	else if (nh_slice_eq_str(v, "only"))
		put(q, "d.deleted_at IS NOT NULL");
	else
		return false;
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
	{"only_updating", by_updating},
	{"display_deleted", by_deleted},
};

static ptrdiff_t filter_find(nh_slice key)
{
	for (size_t i = 0; i < NH_ARRAY_LEN(filters); i++) {
		if (nh_slice_eq_str(key, filters[i].key))
			return (ptrdiff_t)i;
	}
	return -1;
}

bool filter_known(nh_slice key)
{
	return filter_find(key) >= 0;
}

bool filter_put(struct query *q, const struct nh_filter *filter)
{
	ptrdiff_t f = filter_find(filter->key);
	if (f < 0 || filter->value.len == 0)
		return false;
	size_t length = q->sql.len, count = q->count;
	put(q, " AND ");
	if (filters[f].add(q, filter->value))
		return true;
	nh_buf_truncate(&q->sql, length);
	q->count = count;
	return false;
}

static bool mentions_deleted(const struct nh_expression *e)
{
	if (!e)
		return false;
	return e->kind == NH_EXPRESSION_TEST ? e->column == NH_COLUMN_DELETED : mentions_deleted(e->left) || mentions_deleted(e->right);
}

bool filter_deleted(const struct nh_device_search *search, bool *only)
{
	bool include = mentions_deleted(search->expression);
	*only = false;
	for (size_t i = 0; i < search->filter_count; i++) {
		if (!nh_slice_eq_str(search->filters[i].key, "display_deleted"))
			continue;
		*only = *only || nh_slice_eq_str(search->filters[i].value, "only");
		include = include || *only || nh_slice_eq_str(search->filters[i].value, "include");
	}
	return include;
}
