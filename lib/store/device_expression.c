/*
 * The query language's tree as SQL. A test is true or false and never null, so that `not` means everything else; every value is bound.
 *
 * source: reference/server-behaviour "14.2"
 */
#include "device_query_int.h"

static void put_literal(struct nh_buf *out, uint8_t c)
{
	if (c == '%' || c == '_' || c == '\\')
		nh_buf_put_u8(out, '\\');
	nh_buf_put_u8(out, c);
}

/*
 * The user's % and _ count; a backslash takes that away from the character behind it, any other backslash is one. in_json: for text that stands in JSON, each character as it is escaped there.
 */
static nh_slice like_pattern(struct query *q, nh_slice text, bool in_json)
{
	NH_AUTO_BUF struct nh_buf out = NH_BUF_INIT;
	for (size_t i = 0; i < text.len; i++) {
		uint8_t c = text.ptr[i];
		uint8_t next = i + 1 < text.len ? text.ptr[i + 1] : 0;
		if (c == '%' || c == '_') {
			nh_buf_put_u8(&out, c);
			continue;
		}
		if (c == '\\' && (next == '%' || next == '_' || next == '\\'))
			c = text.ptr[++i];
		nh_slice literal = nh_slice_of(&c, 1);
		if (in_json && (c < 0x20 || c == '"' || c == '\\'))
			literal = tag_text(q, literal);
		for (size_t j = 0; j < literal.len; j++)
			put_literal(&out, literal.ptr[j]);
	}
	return nh_arena_copy(q->arena, nh_buf_slice(&out));
}

static void like(struct query *q, const char *column, nh_slice pattern)
{
	put(q, "LOWER(");
	put(q, column);
	put(q, ") LIKE LOWER(");
	bind_value(q, nh_p_text(pattern));
	put(q, ") ESCAPE '\\'");
}

static void put_search(struct query *q, const struct nh_expression *t)
{
	static const char *const columns[] = {"d.identifier", "d.firmware_version", "d.firmware_platform"};
	nh_slice pattern = like_pattern(q, t->value, false);
	for (size_t i = 0; i < NH_ARRAY_LEN(columns); i++) {
		like(q, columns[i], pattern);
		put(q, " OR ");
	}
	like(q, TAGS_JOINED, like_pattern(q, t->value, true));
}

static void put_identifier(struct query *q, const struct nh_expression *t)
{
	like(q, "d.identifier", like_pattern(q, t->value, false));
}

/* The tag between the commas of the list: a quote inside of a tag has a backslash before it, so that ,"x" stands nowhere else. (A tag that is one comma is refused before.) */
static void put_tags(struct query *q, const struct nh_expression *t)
{
	if (t->not_set) {
		put(q, "d.tags IS NULL OR d.tags = '[]'");
		return;
	}
	NH_AUTO_BUF struct nh_buf tag = NH_BUF_INIT;
	nh_buf_printf(&tag, ",\"%.*s\"", NH_ARG(tag_text(q, t->value)));
	put(q, "REPLACE(',' || SUBSTR(d.tags, 2), ");
	bind_value(q, nh_p_text(nh_arena_copy(q->arena, nh_buf_slice(&tag))));
	put(q, ", '') <> ',' || SUBSTR(d.tags, 2)");
}

static void put_group(struct query *q, const struct nh_expression *t)
{
	if (t->not_set) {
		put(q, "d.deployment_id IS NULL");
		return;
	}
	put(q, "d.deployment_id = (SELECT x.id FROM deployment_groups x WHERE x.product_id = d.product_id AND x.name = ");
	bind_value(q, nh_p_text(t->value));
	put(q, ")");
}

static void put_last_seen(struct query *q, const struct nh_expression *t)
{
	put(q, "c.status = 'disconnected' AND c.last_seen_at ");
	nh_buf_put_slice(&q->sql, t->compare);
	put(q, " ");
	bind_value(q, nh_p_int(t->moment));
}

/* Alarms are a JSON object from names to descriptions. */
static void put_alarm(struct query *q, const struct nh_expression *t)
{
	NH_AUTO_BUF struct nh_buf name = NH_BUF_INIT;
	nh_buf_printf(&name, ",\"%.*s\":", NH_ARG(tag_text(q, t->value)));
	put(q, "REPLACE(',' || SUBSTR(" LATEST("alarms") ", 2), ");
	bind_value(q, nh_p_text(nh_arena_copy(q->arena, nh_buf_slice(&name))));
	put(q, ", '') <> ',' || SUBSTR(" LATEST("alarms") ", 2)");
}

static void put_alarm_status(struct query *q, const struct nh_expression *t)
{
	put(q, nh_slice_eq_str(t->value, "with") ? LATEST("alarms") " IS NOT NULL" : LATEST("alarms") " IS NULL");
}

static void put_updates(struct query *q, const struct nh_expression *t)
{
	if (nh_slice_eq_str(t->value, "penalty-box")) {
		put(q, "d.updates_blocked_until > ");
		bind_value(q, nh_p_int(q->now_us));
	} else {
		put(q, nh_slice_eq_str(t->value, "enabled") ? "d.updates_enabled = 1" : "d.updates_enabled = 0");
	}
}

static void put_update_status(struct query *q, const struct nh_expression *t)
{
	put(q, nh_slice_eq_str(t->value, "updating") ? "" : "NOT ");
	put(q, "EXISTS (SELECT 1 FROM inflight_updates u WHERE u.device_id = d.id)");
}

static void put_deleted(struct query *q, const struct nh_expression *t)
{
	put(q, nh_slice_eq_str(t->value, "true") ? "d.deleted_at IS NOT NULL" : "d.deleted_at IS NULL");
}

static void put_metric(struct query *q, const struct nh_expression *t)
{
	put(q, "(SELECT m.value FROM device_metrics m WHERE m.health_id = " LATEST("id") " AND m.key = ");
	bind_value(q, nh_p_text(t->key));
	put(q, ") ");
	nh_buf_put_slice(&q->sql, t->compare);
	put(q, " ");
	bind_value(q, nh_p_real(t->number));
}

/* Either SQL that is compared with the value, or a function. */
static const struct {
	const char *equal;
	void (*put)(struct query *q, const struct nh_expression *t);
} columns[NH_COLUMN_COUNT] = {
	[NH_COLUMN_IDENTIFIER] = {NULL, put_identifier},
	[NH_COLUMN_SEARCH] = {NULL, put_search},
	[NH_COLUMN_PLATFORM] = {"d.firmware_platform", NULL},
	[NH_COLUMN_ARCHITECTURE] = {"d.firmware_architecture", NULL},
	[NH_COLUMN_FIRMWARE] = {"d.firmware_uuid", NULL},
	[NH_COLUMN_GROUP] = {NULL, put_group},
	[NH_COLUMN_TAGS] = {NULL, put_tags},
	[NH_COLUMN_CONNECTION] = {"COALESCE(c.status, 'not_seen')", NULL},
	[NH_COLUMN_CONNECTION_TYPE] = {"COALESCE(c.network_interface, 'unknown')", NULL},
	[NH_COLUMN_LAST_SEEN] = {NULL, put_last_seen},
	[NH_COLUMN_HEALTH] = {"COALESCE(" LATEST("status") ", 'unknown')", NULL},
	[NH_COLUMN_ALARM_STATUS] = {NULL, put_alarm_status},
	[NH_COLUMN_ALARM] = {NULL, put_alarm},
	[NH_COLUMN_UPDATES] = {NULL, put_updates},
	[NH_COLUMN_UPDATE_STATUS] = {NULL, put_update_status},
	[NH_COLUMN_DELETED] = {NULL, put_deleted},
	[NH_COLUMN_METRIC] = {NULL, put_metric},
};

static void put_test(struct query *q, const struct nh_expression *t)
{
	put(q, t->negated ? "(NOT ((" : "((");
	if (columns[t->column].equal)
		equals(q, columns[t->column].equal, nh_p_text(t->value));
	else
		columns[t->column].put(q, t);
	put(q, t->negated ? ") IS TRUE))" : ") IS TRUE)");
}

void expression_put(struct query *q, const struct nh_expression *e)
{
	if (e->kind == NH_EXPRESSION_TEST) {
		put_test(q, e);
		return;
	}
	put(q, e->kind == NH_EXPRESSION_NOT ? "(NOT " : "(");
	expression_put(q, e->left);
	if (e->kind != NH_EXPRESSION_NOT) {
		put(q, e->kind == NH_EXPRESSION_AND ? " AND " : " OR ");
		expression_put(q, e->right);
	}
	put(q, ")");
}
