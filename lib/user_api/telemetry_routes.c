/*
 * What devices told of themselves, for people to read: health, numbers, log lines, identities in other networks, connections. Long lists go backwards in time, a page at a time; the
 * answer names what to ask with next.
 *
 * source: reference/server-behaviour "2.4", "7"; reference/user-api-and-cli "11.8"
 */
#include "api_int.h"
#include "base/encode.h"

#define PAGE 25
#define DAY_US (INT64_C(86400) * NH_US_PER_S)

/* ---- parameters ---------------------------------------------------------------------------------------------------------- */

static nh_rc refuse(struct call *call, const char *name, struct nh_err *err)
{
	json_decref(call->errors);
	call->errors = json_pack("{s:[s]}", name, "is invalid");
	return NH_FAIL(err, NH_EINVAL, "%s is invalid", name);
}

/* As ISO 8601, or microseconds since 1970. */
static nh_rc read_time(struct call *call, const char *name, int64_t fallback, int64_t *out, struct nh_err *err)
{
	nh_slice text = nh_json_text(call->params, name);
	*out = fallback;
	if (text.len == 0 || nh_time_parse_iso(text, out) == NH_OK || nh_parse_i64(text, 0, INT64_MAX, out) == NH_OK)
		return NH_OK;
	return refuse(call, name, err);
}

nh_rc read_limit(struct call *call, uint64_t max, size_t *out, struct nh_err *err)
{
	nh_slice text = nh_json_text(call->params, "limit");
	uint64_t limit = PAGE;
	*out = PAGE;
	if (text.len > 0 && nh_parse_u64(text, 1, max, &limit) != NH_OK)
		return refuse(call, "limit", err);
	*out = limit;
	return NH_OK;
}

void set_pagination(struct call *call, size_t page_size, json_t *take_next)
{
	call->extra = json_pack("{s:{s:I, s:o}}", "pagination", "page_size", (json_int_t)page_size, "next", take_next ? take_next : json_null());
}

/* ---- health ---------------------------------------------------------------------------------------------------------------- */

static nh_rc health(struct call *call, struct nh_err *err)
{
	struct nh_health h = {.status = NH_LIT("unknown")};
	nh_rc rc = nh_health_latest(&call->ctx, call->device.id, &h, err);
	if (rc != NH_OK && rc != NH_ENOTFOUND)
		return rc;
	call->data = render_health(&h);
	return NH_OK;
}
const struct endpoint ep_health = {.run = health, .scope = SCOPE_DEVICE, .may = NH_MAY_DEVICE_TELEMETRY, .success = 200, .data = &shape_health, .tag = "Device Telemetry"};

static nh_rc health_history(struct call *call, struct nh_err *err)
{
	struct nh_health *list;
	size_t limit, count = 0;
	int64_t before;
	NH_TRY(read_limit(call, NH_HEALTH_LIST_MAX, &limit, err));
	NH_TRY(read_time(call, "before", INT64_MAX, &before, err));
	NH_TRY(nh_health_list(&call->ctx, call->device.id, before, limit, &list, &count, err));
	call->data = json_array();
	for (size_t i = 0; i < count; i++)
		json_array_append_new(call->data, render_health(&list[i]));
	set_pagination(call, limit, count == limit ? render_moment(list[count - 1].at_us) : NULL);
	return NH_OK;
}
#define MOMENT_QUERY(name, about_) {(name), FIELD_TEXT, FIELD_OPTIONAL, .about = (about_ ": ISO 8601, or microseconds since 1970")}
#define LIMIT_QUERY {"limit", FIELD_INTEGER, FIELD_OPTIONAL, .about = "How many at most"}
static SHAPE(before_query, "BeforeQuery", LIMIT_QUERY, MOMENT_QUERY("before", "Only earlier ones"));
const struct endpoint ep_health_history = {.run = health_history, .scope = SCOPE_DEVICE, .may = NH_MAY_DEVICE_TELEMETRY, .success = 200, .query = &before_query, .data = &shape_health, .list = true, .beside = &shape_next, .tag = "Device Telemetry"};

/* Oldest first. Where there are more than one answer holds, the last report of it begins the next one. */
static nh_rc metrics(struct call *call, struct nh_err *err)
{
	struct nh_metric *list;
	size_t count = 0;
	int64_t from, to, now = nh_ctx_now(&call->ctx);
	NH_TRY(read_time(call, "from", now - DAY_US, &from, err));
	NH_TRY(read_time(call, "to", now, &to, err));
	NH_TRY(nh_metric_list(&call->ctx, call->device.id, nh_json_text(call->params, "key"), from, to, NH_METRIC_LIST_MAX, &list, &count, err));
	call->data = json_array();
	for (size_t i = 0; i < count; i++)
		json_array_append_new(call->data, json_pack("{s:o, s:o, s:f}", "at", render_moment(list[i].at_us), "key", nh_json_new_text(list[i].key), "value", list[i].value));
	set_pagination(call, NH_METRIC_LIST_MAX, count == NH_METRIC_LIST_MAX ? render_moment(list[count - 1].at_us) : NULL);
	return NH_OK;
}
static SHAPE(metrics_query, "MetricsQuery", {"key", FIELD_TEXT, FIELD_OPTIONAL, .about = "Of one metric only"}, MOMENT_QUERY("from", "The earliest"), MOMENT_QUERY("to", "The latest"));
static SHAPE(metric, "Metric", {"at", FIELD_TEXT, .format = "date-time"}, {"key", FIELD_TEXT}, {"value", FIELD_NUMBER});
const struct endpoint ep_metrics = {.run = metrics, .scope = SCOPE_DEVICE, .may = NH_MAY_DEVICE_TELEMETRY, .success = 200, .query = &metrics_query, .data = &metric, .list = true, .beside = &shape_next, .tag = "Device Telemetry"};

/* ---- log lines ------------------------------------------------------------------------------------------------------------- */

/* "microseconds-id", as an answer named it. */
static nh_rc read_cursor(struct call *call, struct nh_log_filter *filter, struct nh_err *err)
{
	nh_slice at, id, text = nh_json_text(call->params, "before");
	if (text.len == 0)
		return NH_OK;
	if (nh_slice_cut(text, '-', &at, &id) && nh_parse_i64(at, 0, INT64_MAX, &filter->before_us) == NH_OK && nh_parse_i64(id, 0, INT64_MAX, &filter->before_id) == NH_OK)
		return NH_OK;
	return read_time(call, "before", 0, &filter->before_us, err);
}

static nh_rc logs(struct call *call, struct nh_err *err)
{
	struct nh_log_filter filter = {.level = nh_json_text(call->params, "level"), .contains = nh_json_text(call->params, "search")};
	struct nh_log_line *list, next;
	size_t limit, count = 0;
	bool more = false;
	NH_TRY(read_limit(call, NH_LOG_LIST_MAX, &limit, err));
	NH_TRY(read_time(call, "from", 0, &filter.from_us, err));
	NH_TRY(read_time(call, "to", 0, &filter.to_us, err));
	NH_TRY(read_cursor(call, &filter, err));
	NH_TRY(nh_log_list(&call->ctx, call->device.id, &filter, limit, &list, &count, &more, &next, err));
	call->data = json_array();
	for (size_t i = 0; i < count; i++)
		json_array_append_new(call->data, render_log_line(&list[i]));
	char *cursor = nh_arena_printf(call->arena, "%lld-%lld", (long long)next.at_us, (long long)next.id);
	set_pagination(call, limit, more ? json_string(cursor) : NULL);
	return NH_OK;
}
static SHAPE(logs_query, "LogsQuery", {"level", FIELD_TEXT, FIELD_OPTIONAL}, {"search", FIELD_TEXT, FIELD_OPTIONAL, .about = "A part of the message"}, LIMIT_QUERY,
             MOMENT_QUERY("from", "The earliest"), MOMENT_QUERY("to", "The latest"),
             {"before", FIELD_TEXT, FIELD_OPTIONAL, .about = "Only earlier ones: what an answer named as next, or a time"});
const struct endpoint ep_logs = {.run = logs, .scope = SCOPE_DEVICE, .may = NH_MAY_DEVICE_TELEMETRY, .success = 200, .query = &logs_query, .data = &shape_log_line, .list = true, .beside = &shape_next, .tag = "Device Telemetry"};

/* ---- networks and connections ------------------------------------------------------------------------------------------------ */

static nh_rc network_identities(struct call *call, struct nh_err *err)
{
	struct nh_network_identity *list;
	nh_slice service = nh_json_text(call->params, "service"), instance = nh_json_text(call->params, "instance");
	size_t count = 0;
	if (service.len > 0 && !nh_network_service_known(service)) {
		call->errors = json_pack("{s:s}", "detail", "That is not a service this NervesHub knows about.");
		return NH_FAIL(err, NH_EINVAL, "unknown service");
	}
	NH_TRY(nh_network_identity_list(&call->ctx, call->device.id, &list, &count, err));
	call->data = json_array();
	for (size_t i = 0; i < count; i++) {
		bool wanted = (service.len == 0 || nh_slice_eq(service, list[i].service)) && (instance.len == 0 || nh_slice_eq(instance, list[i].instance));
		if (wanted)
			json_array_append_new(call->data, render_network_identity(&list[i]));
	}
	return NH_OK;
}
static SHAPE(identities_query, "NetworkIdentitiesQuery", {"service", FIELD_TEXT, FIELD_OPTIONAL, .about = "iroh, netbird, tailscale or wireguard"}, {"instance", FIELD_TEXT, FIELD_OPTIONAL});
const struct endpoint ep_network_identities = {.run = network_identities, .scope = SCOPE_DEVICE, .may = NH_MAY_IDENTITY_SEE, .success = 200, .query = &identities_query, .data = &shape_network_identity, .list = true, .tag = "Devices"};

static nh_rc irohs(struct call *call, struct nh_err *err)
{
	struct nh_iroh_endpoint *list;
	size_t count = 0;
	NH_TRY(nh_iroh_endpoint_list(&call->ctx, &call->actor, call->org.id, nh_json_text(call->params, "owner"), nh_json_text(call->params, "search"), &list, &count, &call->errors, err));
	call->data = json_array();
	for (size_t i = 0; i < count; i++)
		json_array_append_new(call->data, render_iroh_endpoint(&list[i]));
	return NH_OK;
}
static SHAPE(irohs_query, "IrohEndpointsQuery", {"owner", FIELD_TEXT, FIELD_OPTIONAL, .about = "device, user or none"},
             {"search", FIELD_TEXT, FIELD_OPTIONAL, .about = "How the identifier begins, or a part of the device's identifier or the user's name"});
const struct endpoint ep_irohs = {.run = irohs, .scope = SCOPE_ORG, .may = NH_MAY_IROH_SEE, .success = 200, .query = &irohs_query, .data = &shape_iroh_endpoint, .list = true, .tag = "Iroh Endpoints"};

static nh_rc iroh(struct call *call, struct nh_err *err)
{
	struct nh_iroh_endpoint e;
	NH_TRY(nh_iroh_endpoint_open(&call->ctx, &call->actor, call->org.id, param(call, "identifier"), &e, err));
	call->data = render_iroh_endpoint(&e);
	return NH_OK;
}
const struct endpoint ep_iroh = {.run = iroh, .scope = SCOPE_ORG, .may = NH_MAY_IROH_SEE, .success = 200, .data = &shape_iroh_endpoint, .tag = "Iroh Endpoints"};

static nh_rc iroh_create(struct call *call, struct nh_err *err)
{
	struct nh_iroh_endpoint e;
	NH_TRY(nh_iroh_endpoint_register(&call->ctx, &call->actor, call->org.id, call->params, &e, &call->errors, err));
	set_location(call, e.identity.identifier);
	call->data = render_iroh_endpoint(&e);
	return NH_OK;
}
static SHAPE(iroh_body, "IrohEndpointWanted", {"identifier", FIELD_TEXT}, {"instance", FIELD_TEXT, FIELD_OPTIONAL | FIELD_NULLABLE, .about = "`default` unless it is given"},
             {"user_email", FIELD_TEXT, FIELD_OPTIONAL | FIELD_NULLABLE, .about = "The member whose it is"}, {"details", FIELD_MAP, FIELD_OPTIONAL | FIELD_NULLABLE});
const struct endpoint ep_iroh_create = {.run = iroh_create, .scope = SCOPE_ORG, .may = NH_MAY_IROH_CREATE, .write = true, .success = 201, .body = &iroh_body, .data = &shape_iroh_endpoint, .tag = "Iroh Endpoints"};

static nh_rc iroh_delete(struct call *call, struct nh_err *err)
{
	return nh_iroh_endpoint_delete(&call->ctx, &call->actor, call->org.id, param(call, "identifier"), err);
}
const struct endpoint ep_iroh_delete = {.run = iroh_delete, .scope = SCOPE_ORG, .may = NH_MAY_IROH_DELETE, .write = true, .success = 204, .tag = "Iroh Endpoints"};

static nh_rc connections(struct call *call, struct nh_err *err)
{
	struct nh_past_connection *list;
	size_t limit, count = 0;
	int64_t before;
	NH_TRY(read_limit(call, NH_CONNECTION_LIST_MAX, &limit, err));
	NH_TRY(read_time(call, "before", INT64_MAX, &before, err));
	NH_TRY(nh_connection_history(&call->ctx, call->device.id, before, limit, &list, &count, err));
	call->data = json_array();
	for (size_t i = 0; i < count; i++)
		json_array_append_new(call->data, render_past_connection(&list[i]));
	set_pagination(call, limit, count == limit ? render_moment(list[count - 1].established_at_us) : NULL);
	return NH_OK;
}
const struct endpoint ep_connections = {.run = connections, .scope = SCOPE_DEVICE, .may = NH_MAY_DEVICE_TELEMETRY, .success = 200, .query = &before_query, .data = &shape_past_connection, .list = true, .beside = &shape_next, .tag = "Device Telemetry"};

static nh_rc flapping(struct call *call, struct nh_err *err)
{
	struct nh_flapping *list;
	size_t limit, count = 0;
	NH_TRY(read_limit(call, NH_FLAPPING_LIST_MAX, &limit, err));
	NH_TRY(nh_flapping_list(&call->ctx, call->product.id, limit, &list, &count, err));
	call->data = json_array();
	for (size_t i = 0; i < count; i++)
		json_array_append_new(call->data, json_pack("{s:o, s:I}", "identifier", nh_json_new_text(list[i].identifier), "connections", (json_int_t)list[i].connections));
	return NH_OK;
}
static SHAPE(flapping_query, "FlappingQuery", LIMIT_QUERY);
static SHAPE(flapping_device, "FlappingDevice", {"identifier", FIELD_TEXT}, {"connections", FIELD_INTEGER, .about = "Within the last hour"});
const struct endpoint ep_flapping = {.run = flapping, .scope = SCOPE_PRODUCT, .may = NH_MAY_DEVICE_TELEMETRY, .success = 200, .query = &flapping_query, .data = &flapping_device, .list = true, .tag = "Device Telemetry"};
