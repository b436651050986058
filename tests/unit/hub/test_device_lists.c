/*
 * Lists of devices against a model: random filters and random texts of the query language, judged by an evaluator that knows nothing of SQL, on each engine; the grammar's refusals with
 * their places; orders and cursors; and how the engines go about lists that nothing filters.
 */
#include "hub_world.h"

#include "base/encode.h"
#include "device_query_int.h"
#include "hub/device_query.h"
#include "hub/devices.h"
#include "rows_int.h"

#define DEVICES 60
#define TAGS 3
#define HOUR_US (INT64_C(3600) * NH_US_PER_S)

struct model {
	char identifier[32];
	const char *description; /* NULL: none */
	const char *tags[TAGS];
	bool tags_null;
	const char *version, *platform, *architecture; /* NULL: nothing reported */
	int firmware;            /* 0: none, or the number of one */
	const char *connection;  /* NULL: never */
	const char *interface;   /* NULL: not known */
	int64_t last_seen;
	const char *health;      /* NULL: no report */
	const char *alarm;       /* its name; NULL: none */
	bool has_metric;
	double metric;
	bool enabled, updating, deleted, provisioned;
	int64_t blocked_until;
	int group;               /* 0: none */
};

struct lists {
	struct model devices[DEVICES];
	struct nh_rng_seeded seed;
	struct nh_rng rng;
	int64_t groups[3], firmwares[3], now_us;
};

static unsigned draw(struct lists *l, unsigned below)
{
	uint32_t v;
	nh_rng_fill(&l->rng, &v, sizeof(v));
	return v % below;
}
#define ANY(l, array) (array)[draw((l), NH_ARRAY_LEN(array))]

static const char *const tag_pool[] = {"alpha", "beta", "al", "q\"x", "b\\y", "100%", "under_score", "a,b", "Beta"};
static const char *const versions[] = {NULL, "1.0.0", "1.1.0", "2.0.0-rc.1"};
static const char *const platforms[] = {NULL, "rpi4", "RPi_3", "bbb"};
static const char *const architectures[] = {NULL, "arm", "aarch64"};
static const char *const connections[] = {NULL, "connected", "connecting", "disconnected"};
static const char *const interfaces[] = {NULL, "unknown", "wifi", "ethernet", "cellular"};
static const char *const healths[] = {NULL, "unknown", "healthy", "warning", "unhealthy"};
static const char *const alarms[] = {NULL, "Hot.CPU", "disk"};
static const char *const descriptions[] = {NULL, "", "one", "two"};
static const char *const uuids[] = {"", "aaaaaaaa-0000-4000-8000-000000000001", "aaaaaaaa-0000-4000-8000-000000000002"};
static const char *const group_names[] = {"", "main line", "beta"};

/* ---- the world ------------------------------------------------------------------------------------------------------------- */

static nh_rc sql(struct world *w, const char *text, const struct nh_param *params, size_t count, int64_t *id, struct nh_err *err)
{
	struct nh_rows *rows = NULL;
	NH_TRY(nh_sql_dynamic(w->ctx.tx, nh_slice_str(text), params, count, &rows, err));
	nh_rc rc = nh_sql_next(rows, err);
	if (rc == NH_OK && id)
		*id = nh_col_int(rows, 0);
	nh_sql_end(rows);
	return rc == NH_ENOTFOUND ? NH_OK : rc;
}

static nh_rc write_down(struct world *w, struct lists *l, const struct model *m, int64_t id, struct nh_err *err)
{
	static int connection;
	struct nh_param device = nh_p_int(id), now = nh_p_int(l->now_us);
	NH_TRY(sql(w, "UPDATE devices SET firmware_version = $1, firmware_platform = $2, firmware_architecture = $3, firmware_uuid = $4, updates_enabled = $5, updates_blocked_until = $6, "
	              "deployment_id = $7, deleted_at = $8, status = $9 WHERE id = $10 RETURNING id",
	           NH_PARAMS(nh_p_str(m->version), nh_p_str(m->platform), nh_p_str(m->architecture), nh_p_str(m->firmware ? uuids[m->firmware] : NULL), nh_p_bool(m->enabled),
	                     nh_p_ref(m->blocked_until), nh_p_ref(m->group ? l->groups[m->group] : 0), nh_p_ref(m->deleted ? l->now_us : 0),
	                     nh_p_str(m->provisioned ? "provisioned" : "registered"), device),
	           NULL, err));
	if (m->connection)
		NH_TRY(sql(w, "INSERT INTO device_connections (id, device_id, status, established_at, last_seen_at, network_interface) VALUES ($1, $2, $3, $4, $4, $5) RETURNING device_id",
		           NH_PARAMS(nh_p_str(nh_arena_printf(&w->arena, "c%d", connection++)), device, nh_p_str(m->connection), nh_p_int(m->last_seen), nh_p_str(m->interface)), NULL, err));
	if (m->updating)
		NH_TRY(sql(w, "INSERT INTO inflight_updates (device_id, inserted_at, updated_at) VALUES ($1, $2, $2) RETURNING id", NH_PARAMS(device, now), NULL, err));
	if (!m->health)
		return NH_OK;
	int64_t report = 0;
	const char *alarm = m->alarm ? nh_arena_printf(&w->arena, "{\"other\":\"x\",\"%s\":\"too much\"}", m->alarm) : NULL;
	NH_TRY(sql(w, "INSERT INTO device_health (device_id, inserted_at, status, alarms, data) VALUES ($1, $2, $3, $4, '{}') RETURNING id",
	           NH_PARAMS(device, now, nh_p_str(m->health), nh_p_str(alarm)), &report, err));
	if (m->has_metric)
		NH_TRY(sql(w, "INSERT INTO device_metrics (health_id, key, value) VALUES ($1, 'cpu_temp', $2) RETURNING health_id", NH_PARAMS(nh_p_int(report), nh_p_real(m->metric)), NULL, err));
	return NH_OK;
}

static void invent(struct lists *l, struct model *m, int i)
{
	static const char *const shapes[] = {"dev-", "Dev_", "100%-", "a'b\"", "x\\y-"};
	snprintf(m->identifier, sizeof(m->identifier), "%s%02d", ANY(l, shapes), i);
	m->description = ANY(l, descriptions);
	m->tags_null = draw(l, 5) == 0;
	for (size_t t = 0; t < TAGS && !m->tags_null; t++)
		m->tags[t] = draw(l, 2) ? ANY(l, tag_pool) : NULL;
	m->version = ANY(l, versions);
	m->platform = ANY(l, platforms);
	m->architecture = ANY(l, architectures);
	m->firmware = (int)draw(l, 3);
	m->connection = ANY(l, connections);
	m->interface = m->connection ? ANY(l, interfaces) : NULL;
	m->last_seen = l->now_us - (int64_t)draw(l, 30 * 24) * HOUR_US - 1;
	m->health = ANY(l, healths);
	m->alarm = m->health ? ANY(l, alarms) : NULL;
	m->has_metric = m->health && draw(l, 2);
	m->metric = (double)draw(l, 100) / 4 - 5;
	m->enabled = draw(l, 2);
	m->updating = draw(l, 4) == 0;
	m->deleted = draw(l, 6) == 0;
	m->provisioned = draw(l, 2);
	m->blocked_until = draw(l, 3) ? 0 : l->now_us + (draw(l, 2) ? HOUR_US : -HOUR_US);
	m->group = (int)draw(l, 3);
}

static nh_rc furnish_names(struct world *w, struct lists *l, struct nh_err *err)
{
	int64_t key = 0;
	struct nh_param org = nh_p_int(w->acme.id), product = nh_p_int(w->widget.id), now = nh_p_int(l->now_us);
	NH_TRY(sql(w, "INSERT INTO org_keys (org_id, name, key, inserted_at, updated_at) VALUES ($1, 'k', 'k', $2, $2) RETURNING id", NH_PARAMS(org, now), &key, err));
	for (int i = 1; i < 3; i++) {
		NH_TRY(sql(w, "INSERT INTO deployment_groups (org_id, product_id, name, platform, architecture, inserted_at, updated_at) VALUES ($1, $2, $3, 'p', 'a', $4, $4) RETURNING id",
		           NH_PARAMS(org, product, nh_p_str(group_names[i]), now), &l->groups[i], err));
		NH_TRY(sql(w, "INSERT INTO firmwares (org_id, product_id, org_key_id, uuid, version, version_key, platform, architecture, size_bytes, checksum, partials_checksums, object_key, "
		              "inserted_at, updated_at) VALUES ($1, $2, $3, $4, '1.0.0', $5, 'p', 'a', 1, '', '[]', $6, $7, $7) RETURNING id",
		           NH_PARAMS(org, product, nh_p_int(key), nh_p_str(uuids[i]), nh_p_blob(NH_LIT("1")), nh_p_str(uuids[i]), now), &l->firmwares[i], err));
	}
	return NH_OK;
}

static nh_rc furnish(struct world *w, struct lists *l, struct nh_err *err)
{
	l->rng = nh_rng_seeded_init(&l->seed, 7);
	l->now_us = w->now_us;
	NH_TRY(furnish_names(w, l, err));
	for (int i = 0; i < DEVICES; i++) {
		struct model *m = &l->devices[i];
		struct nh_device d;
		invent(l, m, i);
		NH_AUTO_JSON json_t *fields = json_pack("{s:s*}", "description", m->description), *tags = json_array();
		for (size_t t = 0; t < TAGS; t++) {
			if (m->tags[t])
				json_array_append_new(tags, json_string(m->tags[t]));
		}
		if (!m->tags_null)
			json_object_set(fields, "tags", tags);
		OK(nh_device_create(&w->ctx, &w->as_ada, &w->widget, nh_slice_str(m->identifier), fields, &d, NO_ERRORS(w), E(w)));
		NH_TRY(write_down(w, l, m, d.id, err));
	}
	return NH_OK;
}

/* ---- the judge --------------------------------------------------------------------------------------------------------------- */

static int lower(int c) { return c >= 'A' && c <= 'Z' ? c + 32 : c; }

static bool holds(const char *text, const char *part)
{
	for (; text; text++) {
		size_t i = 0;
		while (part[i] && lower(text[i]) == lower(part[i]))
			i++;
		if (!part[i])
			return true;
		if (!*text)
			break;
	}
	return false;
}

/* % and _ with the backslash as escape before %, _ and itself. */
static bool alike(const char *text, const char *pattern)
{
	if (!text)
		return false;
	if (!*pattern)
		return !*text;
	if (*pattern == '%') {
		do {
			if (alike(text, pattern + 1))
				return true;
		} while (*text++);
		return false;
	}
	if (*pattern == '_')
		return *text && alike(text + 1, pattern + 1);
	if (*pattern == '\\' && pattern[1] && strchr("%_\\", pattern[1]))
		pattern++;
	return *text && lower(*text) == lower(*pattern) && alike(text + 1, pattern + 1);
}

static void join_tags(const struct model *m, char out[128])
{
	out[0] = 0;
	for (size_t t = 0; t < TAGS; t++) {
		if (m->tags[t])
			snprintf(out + strlen(out), 128 - strlen(out), "%s%s", out[0] ? " " : "", m->tags[t]);
	}
}

static bool same(const char *a, const char *b) { return a && b && strcmp(a, b) == 0; }

static bool search_alike(const struct model *m, const char *pattern)
{
	char tags[128];
	join_tags(m, tags);
	return alike(m->identifier, pattern) || alike(m->version, pattern) || alike(m->platform, pattern) || alike(tags, pattern);
}

static bool has_tag(const struct model *m, const char *tag)
{
	bool found = false;
	for (size_t t = 0; t < TAGS; t++)
		found = found || same(m->tags[t], tag);
	return found;
}

static bool no_tags(const struct model *m) { return !m->tags[0] && !m->tags[1] && !m->tags[2]; }

/* ---- random texts of the query language, each with what it means ------------------------------------------------------------------ */

enum op { OP_NOT, OP_AND, OP_OR, OP_TEST };
struct node {
	enum op op;
	struct node *left, *right;
	nh_device_column column;
	bool negated;
	const char *sign, *value;
	double number;
	int64_t moment;
	int index;
};

static void quote(struct nh_buf *out, const char *text)
{
	nh_buf_put_u8(out, '"');
	for (; *text; text++) {
		if (*text == '"' || *text == '\\')
			nh_buf_put_u8(out, '\\');
		nh_buf_put_u8(out, (uint8_t)*text);
	}
	nh_buf_put_u8(out, '"');
}

static const char *const patterns[] = {"%1%", "dev%", "DEV-_0", "%\\%%", "%\\_%", "%\"%", "%\\\\%", "%beta%", "al%", "%", "", "100%", "%b\\\\y%", "%a b%", "%rpi_3%", "2.0.0-rc.1"};

/* Writes the column, chooses value and sign. */
static void write_test(struct lists *l, struct node *n, struct nh_buf *out, struct nh_arena *arena)
{
	static const struct {
		nh_device_column column;
		const char *name;
		const char *const *values;
		size_t count;
		const char *yes, *no;
	} columns[] = {
#define ROW(column, name, pool, yes, no) {column, name, pool, NH_ARRAY_LEN(pool), yes, no}
		ROW(NH_COLUMN_IDENTIFIER, "identifier", patterns, "like", "not like"),
		ROW(NH_COLUMN_SEARCH, "SEARCH", patterns, "LIKE", "not like"),
		ROW(NH_COLUMN_PLATFORM, "platform", platforms, "=", "!="),
		ROW(NH_COLUMN_ARCHITECTURE, "architecture", architectures, "=", "!="),
		ROW(NH_COLUMN_TAGS, "tags", tag_pool, "contains", "not_contains"),
		ROW(NH_COLUMN_CONNECTION, "connection", connections, "=", "!="),
		ROW(NH_COLUMN_CONNECTION_TYPE, "connection_type", interfaces, "=", "!="),
		ROW(NH_COLUMN_HEALTH, "health_status", healths, "=", "!="),
		ROW(NH_COLUMN_ALARM, "alarm", alarms, "contains", "not_contains"),
#undef ROW
	};
	size_t c = draw(l, NH_ARRAY_LEN(columns));
	n->column = columns[c].column;
	n->negated = draw(l, 2);
	do
		n->value = columns[c].values[draw(l, (unsigned)columns[c].count)];
	while (!n->value);
	nh_buf_printf(out, "%s %s ", columns[c].name, n->negated ? columns[c].no : columns[c].yes);
	quote(out, n->value);
}

static void write_other_test(struct lists *l, struct node *n, struct nh_buf *out, struct nh_arena *arena)
{
	static const char *const signs[] = {">", ">=", "<", "<="}, *const updates[] = {"enabled", "disabled", "penalty-box"}, *const bools[] = {"true", "FALSE"};
	n->negated = draw(l, 2);
	const char *equal = n->negated ? "!=" : "=";
	switch (draw(l, 8)) {
	case 0:
		n->column = NH_COLUMN_METRIC;
		n->negated = false;
		n->sign = ANY(l, signs);
		n->number = (double)draw(l, 100) / 4 - 5;
		nh_buf_printf(out, "metric:cpu_temp %s %g", n->sign, n->number);
		break;
	case 1:
		n->column = NH_COLUMN_LAST_SEEN;
		n->negated = false;
		n->sign = draw(l, 2) ? ">" : "<";
		n->index = 1 + (int)draw(l, 14);
		n->moment = l->now_us - n->index * 24 * HOUR_US;
		nh_buf_printf(out, "last_seen%s\"%d days ago\"", n->sign, n->index);
		break;
	case 2:
		n->column = NH_COLUMN_GROUP;
		n->index = (int)draw(l, 3);
		nh_buf_printf(out, "deployment_group %s ", equal);
		if (n->index)
			quote(out, group_names[n->index]);
		else
			nh_buf_put_str(out, ":not_set");
		break;
	case 3:
		n->column = NH_COLUMN_FIRMWARE;
		n->index = 1 + (int)draw(l, 2);
		nh_buf_printf(out, "firmware %s %s", equal, uuids[n->index]);
		break;
	case 4:
		n->column = NH_COLUMN_UPDATES;
		n->value = ANY(l, updates);
		nh_buf_printf(out, "updates %s %s", equal, n->value);
		break;
	case 5:
		n->column = NH_COLUMN_UPDATE_STATUS;
		n->value = draw(l, 2) ? "updating" : "not updating";
		nh_buf_printf(out, "update_status %s \"%s\"", n->negated ? "is not" : "is", n->value);
		break;
	case 6:
		n->column = NH_COLUMN_DELETED;
		n->value = ANY(l, bools);
		nh_buf_printf(out, "deleted %s %s", equal, n->value);
		break;
	default:
		n->column = draw(l, 2) ? NH_COLUMN_ALARM_STATUS : NH_COLUMN_TAGS;
		n->value = draw(l, 2) ? "with" : "without";
		n->index = -1;
		if (n->column == NH_COLUMN_ALARM_STATUS)
			nh_buf_printf(out, "alarm_status%s%s", equal, n->value);
		else
			nh_buf_printf(out, "tags %s :not_set", n->negated ? "not_contains" : "contains");
	}
}

static struct node *write_query(struct lists *l, unsigned depth, struct nh_buf *out, struct nh_arena *arena)
{
	static const char *const words[] = {[OP_NOT] = "not ", [OP_AND] = " and ", [OP_OR] = " Or "};
	struct node *n = NH_NEW(arena, struct node);
	n->op = depth ? (enum op)draw(l, 4) : OP_TEST;
	if (n->op == OP_TEST) {
		(draw(l, 2) ? write_test : write_other_test)(l, n, out, arena);
	} else if (n->op == OP_NOT) {
		nh_buf_put_str(out, words[OP_NOT]);
		nh_buf_put_str(out, "(");
		n->left = write_query(l, depth - 1, out, arena);
		nh_buf_put_str(out, ")");
	} else {
		nh_buf_put_str(out, "(");
		n->left = write_query(l, depth - 1, out, arena);
		nh_buf_put_str(out, words[n->op]);
		n->right = write_query(l, depth - 1, out, arena);
		nh_buf_put_str(out, ")");
	}
	return n;
}

static bool compare(double a, const char *sign, double b)
{
	return sign[0] == '>' ? a > b || (sign[1] && a == b) : a < b || (sign[1] && a == b);
}

static bool tested(const struct lists *l, const struct model *m, const struct node *n)
{
	switch (n->column) {
	case NH_COLUMN_IDENTIFIER: return alike(m->identifier, n->value);
	case NH_COLUMN_SEARCH: return search_alike(m, n->value);
	case NH_COLUMN_PLATFORM: return same(m->platform, n->value);
	case NH_COLUMN_ARCHITECTURE: return same(m->architecture, n->value);
	case NH_COLUMN_TAGS: return n->index < 0 ? no_tags(m) : has_tag(m, n->value);
	case NH_COLUMN_CONNECTION: return same(m->connection ? m->connection : "not_seen", n->value);
	case NH_COLUMN_CONNECTION_TYPE: return same(m->interface ? m->interface : "unknown", n->value);
	case NH_COLUMN_HEALTH: return same(m->health ? m->health : "unknown", n->value);
	case NH_COLUMN_ALARM: return same(m->alarm, n->value);
	case NH_COLUMN_ALARM_STATUS: return (m->alarm != NULL) == same(n->value, "with");
	case NH_COLUMN_METRIC: return m->has_metric && compare(m->metric, n->sign, n->number);
	case NH_COLUMN_LAST_SEEN: return same(m->connection, "disconnected") && compare((double)(m->last_seen - n->moment), n->sign, 0);
	case NH_COLUMN_GROUP: return m->group == n->index;
	case NH_COLUMN_FIRMWARE: return m->firmware == n->index;
	case NH_COLUMN_UPDATES: return n->value[0] == 'p' ? m->blocked_until > l->now_us : m->enabled == (n->value[0] == 'e');
	case NH_COLUMN_UPDATE_STATUS: return m->updating == same(n->value, "updating");
	case NH_COLUMN_DELETED: return m->deleted == same(n->value, "true");
	default: fail_msg("no such column"); return false;
	}
}

static bool matches(const struct lists *l, const struct model *m, const struct node *n)
{
	switch (n->op) {
	case OP_NOT: return !matches(l, m, n->left);
	case OP_AND: return matches(l, m, n->left) && matches(l, m, n->right);
	case OP_OR: return matches(l, m, n->left) || matches(l, m, n->right);
	default: return tested(l, m, n) != n->negated;
	}
}

static bool asks_deleted(const struct node *n)
{
	return n && (n->op == OP_TEST ? n->column == NH_COLUMN_DELETED : asks_deleted(n->left) || asks_deleted(n->right));
}

/* ---- random filters ---------------------------------------------------------------------------------------------------------------- */

static const struct {
	const char *key;
	const char *values[8];
} filter_pool[] = {
	{"identifier", {"dev", "%", "_", "\"", "\\", "-1", "'"}},
	{"search", {"beta", "rpi", "1.0", "q\"", "\\", "zzz"}},
	{"tags", {"beta", "al,beta", "eta al", "\"", "under_", "%", ","}},
	{"has_no_tags", {"1"}},
	{"connection", {"connected", "connecting", "disconnected", "not_seen", "not_seen_in_seven_days", "not_seen_in_fourteen_days"}},
	{"connection_type", {"wifi", "unknown", "ethernet"}},
	{"firmware_version", {"1.0.0", "1"}},
	{"platform", {"rpi4", "Unknown", "RPI4"}},
	{"updates", {"enabled", "disabled", "penalty-box", "else"}},
	{"health_status", {"unknown", "healthy"}},
	{"alarm_status", {"with", "without", "else"}},
	{"only_updating", {"true", "1"}},
	{"display_deleted", {"include", "only", "exclude"}},
	{"nothing_of_the_kind", {"x"}},
};

static bool tags_hold(const struct model *m, const char *list)
{
	char joined[128], one[64];
	join_tags(m, joined);
	while (*list) {
		size_t n = strcspn(list, ",");
		snprintf(one, sizeof(one), "%.*s", (int)n, list);
		if (n && !holds(joined, one))
			return false;
		list += n + (list[n] == ',');
	}
	return true;
}

static bool stale(const struct lists *l, const struct model *m, int days)
{
	return same(m->connection, "disconnected") && m->last_seen < l->now_us - days * 24 * HOUR_US;
}

static bool passes_connection(const struct lists *l, const struct model *m, const char *v)
{
	if (same(v, "not_seen"))
		return !m->provisioned;
	if (same(v, "not_seen_in_seven_days"))
		return stale(l, m, 7);
	return same(v, "not_seen_in_fourteen_days") ? stale(l, m, 14) : same(m->connection, v);
}

static bool passes(const struct lists *l, const struct model *m, const char *key, const char *v)
{
	char tags[128];
	join_tags(m, tags);
	if (same(key, "identifier"))
		return holds(m->identifier, v);
	if (same(key, "search"))
		return holds(m->identifier, v) || holds(m->version, v) || holds(m->platform, v) || holds(tags, v);
	if (same(key, "tags"))
		return tags_hold(m, v);
	if (same(key, "has_no_tags"))
		return no_tags(m);
	if (same(key, "connection"))
		return passes_connection(l, m, v);
	if (same(key, "connection_type"))
		return same(v, "unknown") ? !m->interface || same(m->interface, v) : same(m->interface, v);
	if (same(key, "firmware_version"))
		return same(m->version, v);
	if (same(key, "platform"))
		return same(v, "Unknown") ? !m->platform : same(m->platform, v);
	if (same(key, "updates"))
		return same(v, "else") || (v[0] == 'p' ? m->blocked_until > l->now_us : m->enabled == (v[0] == 'e'));
	if (same(key, "health_status"))
		return same(m->health ? m->health : "unknown", v);
	if (same(key, "alarm_status"))
		return same(v, "else") || (m->alarm != NULL) == same(v, "with");
	if (same(key, "only_updating"))
		return !same(v, "true") || m->updating;
	return !same(key, "display_deleted") || !same(v, "only") || m->deleted;
}

/* ---- what is listed against what should be ----------------------------------------------------------------------------------------- */

static bool shown(const struct lists *l, const struct model *m, const struct node *n, const struct nh_filter *filters, size_t count)
{
	bool deleted = asks_deleted(n), fits = !n || matches(l, m, n);
	for (size_t i = 0; i < count; i++) {
		const char *key = (const char *)filters[i].key.ptr, *value = (const char *)filters[i].value.ptr;
		deleted = deleted || (same(key, "display_deleted") && !same(value, "exclude"));
		fits = fits && passes(l, m, key, value);
	}
	return fits && (deleted || !m->deleted);
}

/* The whole list, page after page. */
static nh_rc read_all(struct world *w, struct nh_ctx *ctx, struct nh_device_query query, bool seen[DEVICES], size_t *count, const struct lists *l, struct nh_err *err)
{
	struct nh_device_page page;
	*count = 0;
	memset(seen, 0, DEVICES * sizeof(*seen));
	query.keyset = true;
	query.page_size = 17;
	do {
		OK(nh_device_list(ctx, &w->as_ada, &w->widget, &query, &page, NO_ERRORS(w), E(w)));
		for (size_t i = 0; i < page.count; i++) {
			size_t d = 0;
			while (d < DEVICES && !nh_slice_eq_str(page.items[i].identifier, l->devices[d].identifier))
				d++;
			CHECK(d < DEVICES && !seen[d]);
			seen[d] = true;
			++*count;
		}
		query.after = page.next;
	} while (page.next.len > 0);
	return NH_OK;
}

static const char *const orders[] = {"", "identifier", "inserted_at", "description", "tags", "updated_at", "first_seen_at", "status", "deployment_id", "updates_enabled",
                                     "updates_blocked_until", "connection_established_at", "connection_last_seen_at"};

static nh_rc one_round(struct world *w, struct lists *l, struct nh_err *err)
{
	NH_AUTO_ARENA struct nh_arena arena = NH_ARENA_INIT;
	NH_AUTO_BUF struct nh_buf text = NH_BUF_INIT;
	struct nh_ctx ctx = w->ctx;
	ctx.arena = &arena;
	struct nh_filter filters[3];
	size_t filter_count = draw(l, 4), count = 0, wanted = 0;
	struct node *n = filter_count && draw(l, 2) ? NULL : write_query(l, draw(l, 5), &text, &arena);
	for (size_t i = 0; i < filter_count; i++) {
		size_t f = draw(l, NH_ARRAY_LEN(filter_pool)), values = 0;
		while (values < 8 && filter_pool[f].values[values])
			values++;
		filters[i] = (struct nh_filter){nh_slice_str(filter_pool[f].key), nh_slice_str(filter_pool[f].values[draw(l, (unsigned)values)])};
	}
	struct nh_device_query query = {.filters = filters, .filter_count = filter_count, .text = nh_buf_slice(&text), .sort = nh_slice_str(ANY(l, orders)), .descending = draw(l, 2),
	                                .nulls = (nh_nulls)draw(l, 3)};
	bool seen[DEVICES];
	NH_TRY(read_all(w, &ctx, query, seen, &count, l, err));
	for (size_t d = 0; d < DEVICES; d++) {
		bool want = shown(l, &l->devices[d], n, filters, filter_count);
		wanted += want;
		if (want != seen[d])
			return NH_FAIL(err, NH_EINTERNAL, "%s is %s: query %s, %zu filters, first %s=%s, sort %.*s", l->devices[d].identifier, want ? "missing" : "listed", nh_buf_cstr(&text), filter_count,
			               filter_count ? (const char *)filters[0].key.ptr : "", filter_count ? (const char *)filters[0].value.ptr : "", NH_ARG(query.sort));
	}
	/* and by number */
	struct nh_device_page page;
	query.page_size = 10;
	query.page = 2;
	OK(nh_device_list(&ctx, &w->as_ada, &w->widget, &query, &page, NO_ERRORS(w), E(w)));
	CHECK(page.count == (wanted > 20 ? 10 : wanted > 10 ? wanted - 10 : 0));
	CHECK(page.next.len > 0 ? wanted > 20 : wanted <= 20);
	return NH_OK;
}

static nh_rc property(struct world *w, struct nh_err *err)
{
	static struct lists l; /* large */
	const int *rounds = w->arg;
	l = (struct lists){0};
	NH_TRY(furnish(w, &l, err));
	for (int i = 0; i < *rounds; i++)
		NH_TRY(one_round(w, &l, err));
	return NH_OK;
}

static void test_property(void **state)
{
	static const int rounds[] = {2000, 300}; /* PostgreSQL plans each anew */
	for (unsigned engine = 0; engine < TESTDB_ENGINES; engine++)
		on_engine(engine, property, (void *)(uintptr_t)&rounds[engine], "");
}

/* ---- orders ------------------------------------------------------------------------------------------------------------------------- */

static nh_rc order(struct world *w, struct nh_err *err)
{
	static const struct {
		const char *name, *description; /* "": null */
	} devices[] = {{"a", "x"}, {"b", ""}, {"c", "y"}, {"d", ""}, {"\xc3\x89-1", "x"}};
	static const struct {
		const char *sort;
		bool descending;
		nh_nulls nulls;
		const char *order;
	} cases[] = {
		{"", false, NH_NULLS_DEFAULT, "abcdE"},
		{"identifier", true, NH_NULLS_DEFAULT, "Edcba"},
		{"inserted_at", true, NH_NULLS_DEFAULT, "Edcba"},
		{"description", false, NH_NULLS_DEFAULT, "aEcbd"},
		{"description", true, NH_NULLS_DEFAULT, "dbcEa"},
		{"description", false, NH_NULLS_FIRST, "bdaEc"},
		{"description", true, NH_NULLS_LAST, "cEadb"},
		{"connection_last_seen_at", false, NH_NULLS_DEFAULT, "baEdc"},
		{"connection_last_seen_at", true, NH_NULLS_DEFAULT, "cdEab"},
	};
	struct nh_device d;
	for (size_t i = 0; i < NH_ARRAY_LEN(devices); i++) {
		NH_AUTO_JSON json_t *fields = json_object();
		if (devices[i].description[0])
			json_object_set_new(fields, "description", json_string(devices[i].description));
		OK(nh_device_create(&w->ctx, &w->as_ada, &w->widget, nh_slice_str(devices[i].name), fields, &d, NO_ERRORS(w), E(w)));
		if (i < 2) /* a was seen, b was seen later */
			NH_TRY(sql(w, "INSERT INTO device_connections (id, device_id, status, established_at, last_seen_at) VALUES ($1, $2, 'disconnected', $3, $3) RETURNING device_id",
			           NH_PARAMS(nh_p_str(devices[i].name), nh_p_int(d.id), nh_p_int(100 + (int64_t)i)), NULL, err));
	}
	for (size_t i = 0; i < NH_ARRAY_LEN(cases); i++) {
		char found[8] = "";
		struct nh_device_page page;
		struct nh_device_query query = {.sort = nh_slice_str(cases[i].sort), .descending = cases[i].descending, .nulls = cases[i].nulls, .page_size = 2, .keyset = true};
		do {
			OK(nh_device_list(&w->ctx, &w->as_ada, &w->widget, &query, &page, NO_ERRORS(w), E(w)));
			for (size_t k = 0; k < page.count && strlen(found) < 7; k++)
				snprintf(found + strlen(found), 2, "%c", page.items[k].identifier.ptr[0] == 0xc3 ? 'E' : page.items[k].identifier.ptr[0]);
			query.after = page.next;
		} while (page.next.len > 0);
		if (strcmp(found, cases[i].order) != 0)
			return NH_FAIL(err, NH_EINTERNAL, "%s: %s instead of %s", cases[i].sort, found, cases[i].order);
	}
	/* letters beyond ASCII are found as they are, whatever the engine's LOWER makes of them */
	struct nh_filter capital = {NH_LIT("identifier"), NH_LIT("\xc3\x89")};
	struct nh_device_page page;
	OK(nh_device_list(&w->ctx, &w->as_ada, &w->widget, &(struct nh_device_query){.filters = &capital, .filter_count = 1}, &page, NO_ERRORS(w), E(w)));
	CHECK(page.count == 1);
	return NH_OK;
}
static void test_order(void **state) { on_each_engine(order, NULL); }

/* Cursors are opaque, but a stranger may send anything. */
static nh_rc cursors(struct world *w, struct nh_err *err)
{
	static const char *const bad[] = {"x", "!!", "bnVsbA", "W10", "WzEsMiwzLDRd", "e30"};
	struct nh_device_page page;
	struct nh_device d;
	NH_AUTO_JSON json_t *none = json_object();
	for (size_t i = 0; i < NH_ARRAY_LEN(bad); i++) {
		struct nh_device_query query = {.keyset = true, .after = nh_slice_str(bad[i])};
		CHECK_RC(NH_EINVAL, nh_device_list(&w->ctx, &w->as_ada, &w->widget, &query, &page, NO_ERRORS(w), E(w)));
		CHECK(refused_with(w, "pagination", "no cursor of this list"));
	}
	for (int i = 0; i < 3; i++)
		OK(nh_device_create(&w->ctx, &w->as_ada, &w->widget, nh_slice_str(nh_arena_printf(&w->arena, "c%d", i)), none, &d, NO_ERRORS(w), E(w)));
	struct nh_device_query query = {.keyset = true, .page_size = 1};
	OK(nh_device_list(&w->ctx, &w->as_ada, &w->widget, &query, &page, NO_ERRORS(w), E(w)));
	query.after = page.next;
	query.descending = true; /* of another list */
	CHECK_RC(NH_EINVAL, nh_device_list(&w->ctx, &w->as_ada, &w->widget, &query, &page, NO_ERRORS(w), E(w)));
	/* forged, but of the right form: only ever bound values */
	struct nh_device_search search = {.product_id = w->widget.id, .sort = NH_LIT("identifier"), .limit = 5};
	struct nh_device_cursor forged = {.is_text = true, .text = NH_LIT("' OR 1=1 --"), .identifier = NH_LIT("')")};
	struct nh_rows *rows = NULL;
	search.after = &forged;
	OK(nh_device_search_rows(w->ctx.tx, &w->arena, &search, &rows, E(w)));
	nh_sql_end(rows);
	forged.is_text = false;
	CHECK_RC(NH_EINVAL, nh_device_search_rows(w->ctx.tx, &w->arena, &search, &rows, E(w)));
	return NH_OK;
}
static void test_cursors(void **state) { on_each_engine(cursors, NULL); }

/* ---- the grammar -------------------------------------------------------------------------------------------------------------------- */

static void test_grammar(void **state)
{
	static const struct {
		const char *text;
		ptrdiff_t at;    /* -1: fine */
		const char *why; /* a part; fine and non-NULL: searched for */
	} cases[] = {
		{"", -1, NULL},
		{" \t ", -1, NULL},
		{"platform=rpi4", -1, NULL},
		{"PLATFORM = \"rpi 4\" AND NOT (deleted=true OR Tags Contains x)", -1, NULL},
		{"identifier not like \"%\\\"\\\\%\"", -1, NULL},
		{"last_seen < \"4 weeks ago\"", -1, NULL},
		{"last_seen < \"2026-01-31T12:00:00Z\"", -1, NULL},
		{"metric:cpu.load-1:x >= -1.5e3", -1, NULL},
		{"update_status is not updating", -1, NULL},
		{"deployment_group != :NOT_SET", -1, NULL},
		{"hello", -1, "%hello%"},
		{"50% off_", -1, "%50\\% off\\_%"},
		{"notable", -1, "%notable%"},
		{"tagsy", -1, "%tagsy%"},
		{"platform", 8, "expected = or !="},
		{"platform =", 10, "expected a value instead of the end"},
		{"platform = a b", 13, "expected 'and', 'or' or the end instead of 'b'"},
		{"platform like a", 9, "expected = or !="},
		{"identifier = a", 11, "expected like or not like"},
		{"identifier not a", 11, "expected like or not like"},
		{"colour = red", 0, "expected a column"},
		{"connection = gone", 13, "expected one of connected, connecting"},
		{"deleted = :not_set", 10, "one of true, false"},
		{"platform = :not_set", -1, NULL},
		{"last_seen > yesterday", 12, "expected a time"},
		{"last_seen > \"3 days\"", 12, "expected a time"},
		{"last_seen >= \"3 days ago\"", 10, "expected > or <"},
		{"metric:x > warm", 11, "expected a number"},
		{"metric: > 1", 0, "expected a column"},
		{"tags contains \",\"", 14, "no device has such a tag"},
		{"(platform=a", 11, "expected 'and', 'or' or ')'"},
		{"platform=a)", 10, "expected 'and', 'or' or the end"},
		{"not", 3, "expected a column"},
		{"platform=a and", 14, "expected a column"},
		{"platform=\"a", 9, "a quotation that does not end"},
		{"platform=a;DROP", 10, "a character that means nothing"},
		{"platform ! a", 9, "a character that means nothing"},
		{"()", 1, "expected a column"},
	};
	NH_AUTO_ARENA struct nh_arena arena = NH_ARENA_INIT;
	for (size_t i = 0; i < NH_ARRAY_LEN(cases); i++) {
		const struct nh_expression *e = NULL;
		struct nh_query_fault fault = {0};
		nh_rc rc = nh_device_query_parse(&arena, nh_slice_str(cases[i].text), 0, &e, &fault, NULL);
		bool fine = cases[i].at < 0 ? rc == NH_OK && (!cases[i].why || (e->column == NH_COLUMN_SEARCH && nh_slice_eq_str(e->value, cases[i].why)))
		                            : rc == NH_EINVAL && fault.at == (size_t)cases[i].at && strstr(fault.text, cases[i].why);
		if (!fine)
			fail_msg("'%s': code %d, byte %zu, %s", cases[i].text, (int)rc, fault.at, fault.text ? fault.text : "no fault");
	}
}

/* As deep and as long as it may be, and one more. */
static void test_bounds(void **state)
{
	NH_AUTO_ARENA struct nh_arena arena = NH_ARENA_INIT;
	for (size_t n = 31; n < 35; n++) {
		NH_AUTO_BUF struct nh_buf nots = NH_BUF_INIT, brackets = NH_BUF_INIT;
		const struct nh_expression *e;
		struct nh_query_fault fault;
		for (size_t i = 0; i < n; i++)
			nh_buf_put_str(&nots, "not ");
		nh_buf_fill(&brackets, '(', n);
		nh_buf_put_str(&nots, "deleted=true");
		nh_buf_put_str(&brackets, "deleted=true");
		nh_buf_fill(&brackets, ')', n);
		assert_int_equal(nh_device_query_parse(&arena, nh_buf_slice(&nots), 0, &e, &fault, NULL), n <= NH_QUERY_DEPTH_MAX ? NH_OK : NH_EINVAL);
		assert_int_equal(nh_device_query_parse(&arena, nh_buf_slice(&brackets), 0, &e, &fault, NULL), n <= NH_QUERY_DEPTH_MAX ? NH_OK : NH_EINVAL);
	}
	for (size_t n = 39; n < 43; n++) {
		NH_AUTO_BUF struct nh_buf text = NH_BUF_INIT;
		const struct nh_expression *e;
		struct nh_query_fault fault;
		for (size_t i = 0; i < n; i++)
			nh_buf_printf(&text, "%sdeleted=true", i ? " or " : "");
		assert_int_equal(nh_device_query_parse(&arena, nh_buf_slice(&text), 0, &e, &fault, NULL), n <= NH_QUERY_TESTS_MAX ? NH_OK : NH_EINVAL);
	}
	/* long text is no query, and no search either */
	NH_AUTO_BUF struct nh_buf text = NH_BUF_INIT;
	const struct nh_expression *e;
	struct nh_query_fault fault;
	nh_buf_fill(&text, 'x', NH_QUERY_MAX_BYTES);
	assert_int_equal(nh_device_query_parse(&arena, nh_buf_slice(&text), 0, &e, &fault, NULL), NH_OK);
	nh_buf_put_u8(&text, 'x');
	assert_int_equal(nh_device_query_parse(&arena, nh_buf_slice(&text), 0, &e, &fault, NULL), NH_EINVAL);
}

static nh_rc names(struct world *w, struct nh_err *err)
{
	static struct lists l;
	struct nh_device_page page;
	l = (struct lists){.now_us = w->now_us};
	NH_TRY(furnish_names(w, &l, err));
	static const struct {
		const char *text, *why;
	} bad[] = {
		{"deleted=false and deployment_group != nope", "byte 39: the product has no such deployment group"},
		{"not firmware = aaaaaaaa-0000-4000-8000-00000000000f", "byte 16: the product has no such firmware"},
		{"deployment_group=\"main  line\"", "byte 18: the product has no such deployment group"},
	};
	for (size_t i = 0; i < NH_ARRAY_LEN(bad); i++) {
		CHECK_RC(NH_EINVAL, nh_device_list(&w->ctx, &w->as_ada, &w->widget, &(struct nh_device_query){.text = nh_slice_str(bad[i].text)}, &page, NO_ERRORS(w), E(w)));
		CHECK(refused_with(w, "query", bad[i].why));
	}
	/* more values than a statement takes */
	NH_AUTO_BUF struct nh_buf text = NH_BUF_INIT;
	for (size_t i = 0; i < NH_QUERY_TESTS_MAX; i++)
		nh_buf_printf(&text, "%ssearch like x", i ? " or " : "");
	CHECK_RC(NH_EINVAL, nh_device_list(&w->ctx, &w->as_ada, &w->widget, &(struct nh_device_query){.text = nh_buf_slice(&text)}, &page, NO_ERRORS(w), E(w)));
	CHECK(refused_with(w, "query", "too many"));
	return NH_OK;
}
static void test_names(void **state) { on_each_engine(names, NULL); }

/* ---- cost --------------------------------------------------------------------------------------------------------------------------- */

/* How the engine would run the list's query: each step's text, in one. */
static nh_rc plan_of(struct world *w, const struct nh_device_search *search, bool postgres, struct nh_buf *out, struct nh_err *err)
{
	struct query q = {.arena = &w->arena, .search = search};
	struct nh_rows *rows = NULL;
	nh_rc rc = device_query_compile(&q, err);
	NH_AUTO_BUF struct nh_buf text = NH_BUF_INIT;
	nh_buf_printf(&text, "%s %s", postgres ? "EXPLAIN" : "EXPLAIN QUERY PLAN", nh_buf_cstr(&q.sql));
	nh_buf_fini(&q.sql);
	NH_TRY(rc);
	NH_TRY(nh_sql_dynamic(w->ctx.tx, nh_buf_slice(&text), q.params, q.count, &rows, err));
	nh_buf_clear(out);
	while ((rc = nh_sql_next(rows, err)) == NH_OK)
		nh_buf_printf(out, "%.*s\n", NH_ARG(nh_col_text(rows, postgres ? 0 : 3, &w->arena)));
	nh_sql_end(rows);
	return rc == NH_ENOTFOUND ? NH_OK : rc;
}

/* PostgreSQL chooses by numbers: some thousand devices of two products. */
static nh_rc crowd(struct world *w, struct nh_err *err)
{
	NH_TRY(sql(w, "INSERT INTO products (org_id, name, inserted_at, updated_at) SELECT org_id, 'other', 0, 0 FROM products RETURNING id", NH_NO_PARAMS, NULL, err));
	NH_TRY(sql(w, "INSERT INTO devices (org_id, product_id, identifier, inserted_at, updated_at) SELECT p.org_id, p.id, p.name || n, n, n FROM products p, generate_series(1, 20000) n RETURNING id",
	           NH_NO_PARAMS, NULL, err));
	return sql(w, "ANALYZE devices", NH_NO_PARAMS, NULL, err);
}

/* Is something sorted that is not the page of a few devices, whose order is made once more at the end? */
static bool sorts_all(const char *plan, bool postgres)
{
	const char *begin = strstr(plan, postgres ? "Limit" : "devices"), *end = strstr(plan, postgres ? "devices_" : "SCAN page");
	const char *sorting = begin ? strstr(begin, postgres ? "Sort" : "USE TEMP B-TREE") : NULL;
	return sorting && (!end || sorting < end);
}

/* Lists that nothing filters walk an index in the list's order, wherever they begin; a list in another order says so here. */
static nh_rc plans(struct world *w, struct nh_err *err)
{
	static const struct {
		const char *sort, *index; /* NULL: every device of the product is looked at */
		bool text;
	} cases[] = {{"identifier", "devices_product", true}, {"inserted_at", "devices_product_age", false}, {"description", NULL, true}, {"connection_last_seen_at", NULL, false}};
	bool postgres = w->arg != NULL;
	NH_AUTO_BUF struct nh_buf plan = NH_BUF_INIT;
	struct nh_device_cursor after = {.text = NH_LIT("Thermo Widget19990"), .identifier = NH_LIT("x"), .number = 5};
	if (postgres)
		NH_TRY(crowd(w, err));
	for (size_t i = 0; i < NH_ARRAY_LEN(cases) * 4; i++) {
		const char *wanted = cases[i / 4].index;
		struct nh_device_search search = {.product_id = w->widget.id, .sort = nh_slice_str(cases[i / 4].sort), .descending = i % 2, .limit = 26, .offset = 1000};
		after.is_text = cases[i / 4].text;
		if (i % 4 >= 2)
			search.after = &after;
		NH_TRY(plan_of(w, &search, postgres, &plan, err));
		const char *text = nh_buf_cstr(&plan);
		/* PostgreSQL may take the table's own key where half of its devices are the product's */
		if (sorts_all(text, postgres) != !wanted || (wanted && !strstr(text, postgres ? "devices_p" : wanted)))
			return NH_FAIL(err, NH_EINTERNAL, "%s%s%s: %s", cases[i / 4].sort, i % 2 ? " descending" : "", search.after ? " from a cursor" : "", text);
	}
	return NH_OK;
}

static void test_plans(void **state)
{
	static const int postgres = 1;
	on_engine(0, plans, NULL, "");
	on_engine(1, plans, (void *)(uintptr_t)&postgres, "");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_property), cmocka_unit_test(test_order),  cmocka_unit_test(test_cursors), cmocka_unit_test(test_grammar),
		cmocka_unit_test(test_bounds),   cmocka_unit_test(test_names),  cmocka_unit_test(test_plans),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
