/*
 * Health reports: kept whole, their numbers once more for charts and filters, and what they amount to. The newest report of each device is marked as such, so that it is found
 * at once and outlives the retention. The device's own clock is not used.
 *
 * source: reference/device-protocol "12.2", "17.3" (13); reference/server-behaviour "7.2", "7.3"
 */
#include <math.h>

#include "events_int.h"
#include "input_int.h"
#include "rollout_int.h"
#include "rows_int.h"
#include "telemetry_int.h"

#define REPORT_MAX ((size_t)64 << 10) /* as JSON */
#define METRICS_MAX 200
#define METRIC_KEY_MAX 255
#define NUMBER_TEXT_MAX 64
#define ERLANG_PREFIX "Elixir." /* of module names; says nothing to people */

/* ---- numbers ----------------------------------------------------------------------------------------------------------- */

/* Numbers, and texts that hold one, as the byte counters of some agents do. */
static bool read_number(const json_t *value, double *out)
{
	NH_AUTO_JSON json_t *parsed = NULL;
	if (json_is_string(value)) {
		nh_slice text = nh_slice_trim(nh_slice_of(json_string_value(value), json_string_length(value)));
		if (nh_json_parse(text, NUMBER_TEXT_MAX, &parsed, NULL) != NH_OK)
			return false;
		value = parsed;
	}
	*out = json_number_value(value);
	return json_is_number(value) && isfinite(*out);
}

/* The name without its spaces; pointer NULL where nothing or too much is left. */
static const char *metric_key(struct nh_arena *arena, const char *name)
{
	char *key = nh_arena_str(arena, nh_slice_str(name)), *to = key;
	for (const char *from = name; *from; from++) {
		if (*from != ' ')
			*to++ = *from;
	}
	*to = '\0';
	return to > key && to - key <= METRIC_KEY_MAX ? key : NULL;
}

/* Names without spaces to finite numbers, at most METRICS_MAX; of two that become one name the later. */
static json_t *read_metrics(struct nh_arena *arena, const json_t *report, unsigned *ignored)
{
	json_t *metrics = json_object(), *value;
	const char *name;
	double number;
	json_object_foreach(json_object_get(report, "metrics"), name, value) {
		const char *key = metric_key(arena, name);
		if (key && json_object_size(metrics) < METRICS_MAX && read_number(value, &number))
			json_object_set_new(metrics, key, json_real(number));
		else
			++*ignored;
	}
	return metrics;
}

static nh_rc store_metrics(struct nh_ctx *ctx, int64_t report_id, json_t *metrics, struct nh_err *err)
{
	struct nh_param params[1 + 2 * NH_METRICS_A_STATEMENT];
	void *at = json_object_iter(metrics);
	while (at) {
		params[0] = nh_p_int(report_id);
		for (size_t i = 0; i < NH_METRICS_A_STATEMENT; i++) {
			params[1 + 2 * i] = at ? nh_p_str(json_object_iter_key(at)) : nh_p_null();
			params[2 + 2 * i] = at ? nh_p_real(json_real_value(json_object_iter_value(at))) : nh_p_null();
			at = at ? json_object_iter_next(metrics, at) : NULL;
		}
		NH_TRY(nh_sql_exec(ctx->tx, &nh_q_metrics_add, params, NH_ARRAY_LEN(params), NULL, err));
	}
	return NH_OK;
}

/* ---- what they amount to ------------------------------------------------------------------------------------------------ */

enum { UNKNOWN, HEALTHY, WARNING, UNHEALTHY };
static const char *const status_names[] = {"unknown", "healthy", "warning", "unhealthy"};

/* Percent; reached is enough. */
static const struct {
	const char *metric;
	double warning, unhealthy;
} thresholds[] = {
	{"cpu_usage_percent", 80, 90},
	{"mem_used_percent", 70, 80},
	{"disk_used_percentage", 80, 90},
};

/* The worst of the known metrics. *reasons: {"warning":{metric:{value,threshold}},"unhealthy":{…}}, or NULL; a new reference. */
static const char *judge(const json_t *metrics, json_t **reasons)
{
	unsigned worst = UNKNOWN;
	*reasons = NULL;
	for (size_t i = 0; i < NH_ARRAY_LEN(thresholds); i++) {
		const json_t *metric = json_object_get(metrics, thresholds[i].metric);
		if (!metric)
			continue;
		double value = json_real_value(metric);
		unsigned status = value >= thresholds[i].unhealthy ? UNHEALTHY : value >= thresholds[i].warning ? WARNING : HEALTHY;
		worst = status > worst ? status : worst;
		if (status == HEALTHY)
			continue;
		if (!*reasons)
			*reasons = json_object();
		json_t *of_status = json_object_get(*reasons, status_names[status]);
		if (!of_status)
			json_object_set_new(*reasons, status_names[status], of_status = json_object());
		json_object_set_new(of_status, thresholds[i].metric,
		                    json_pack("{s:f, s:f}", "value", value, "threshold", status == UNHEALTHY ? thresholds[i].unhealthy : thresholds[i].warning));
	}
	return status_names[worst];
}

/* Name to description; NULL where there is none. */
static json_t *read_alarms(struct nh_arena *arena, const json_t *report)
{
	json_t *alarms = json_object(), *value;
	const char *name;
	json_object_foreach(json_object_get(report, "alarms"), name, value) {
		const char *shown = nh_slice_starts(nh_slice_str(name), NH_LIT(ERLANG_PREFIX)) ? name + sizeof ERLANG_PREFIX - 1 : name;
		json_object_set_new(alarms, shown, json_is_string(value) ? json_incref(value) : nh_json_new_text(nh_json_arena(arena, value)));
	}
	if (json_object_size(alarms) > 0)
		return alarms;
	json_decref(alarms);
	return NULL;
}

static struct nh_param json_or_null(struct nh_arena *arena, const json_t *value) { return value ? nh_p_text(nh_json_arena(arena, value)) : nh_p_null(); }

/* Who is told is looked up only where something has changed. */
static nh_rc tell_change(struct nh_ctx *ctx, int64_t device_id, nh_slice before, const char *status, const json_t *reasons, struct nh_err *err)
{
	struct nh_device_facts d;
	if (nh_slice_eq_str(before, status))
		return NH_OK;
	NH_TRY(nh_device_facts_load(ctx, device_id, &d, err));
	if (!nh_event_wanted(&d, NH_EVENT_HEALTH_CHANGED))
		return NH_OK;
	json_t *data = json_pack("{s:s, s:o, s:O?}", "status", status, "previous_status", nh_json_new_text(before), "reasons", reasons);
	return nh_event_of_device(ctx, NH_EVENT_HEALTH_CHANGED, &d, d.group_id, data, err);
}

static void read_status(const struct nh_rows *rows, struct nh_arena *arena, void *item) { *(nh_slice *)item = nh_col_text(rows, 0, arena); }

nh_rc nh_health_report(struct nh_ctx *ctx, struct nh_told *told, struct nh_err *err)
{
	const json_t *report = json_object_get(told->payload, "value");
	nh_slice data = json_is_object(report) ? nh_json_arena(ctx->arena, report) : NH_SLICE_EMPTY;
	if (data.len == 0 || data.len > REPORT_MAX) {
		told->ignored++;
		return NH_OK;
	}
	NH_AUTO_JSON json_t *metrics = read_metrics(ctx->arena, report, &told->ignored);
	NH_AUTO_JSON json_t *alarms = read_alarms(ctx->arena, report);
	NH_AUTO_JSON json_t *reasons = NULL;
	const char *status = judge(metrics, &reasons);
	int64_t device_id = told->session->device_id, id = 0;
	nh_slice before = nh_slice_str(status_names[UNKNOWN]);
	nh_rc rc = nh_one_row(ctx->tx, ctx->arena, &nh_q_health_supersede, NH_PARAMS(nh_p_int(device_id)), read_status, &before, "report", err);
	if (rc != NH_OK && rc != NH_ENOTFOUND)
		return rc;
	NH_TRY(nh_query_id(ctx->tx, &nh_q_health_add,
	                   NH_PARAMS(nh_p_int(device_id), nh_p_int(nh_ctx_now(ctx)), nh_p_str(status), json_or_null(ctx->arena, reasons),
	                             json_or_null(ctx->arena, alarms), nh_p_text(data)),
	                   &id, err));
	nh_telemetry_topic(ctx, device_id, NH_LIT("health"));
	NH_TRY(tell_change(ctx, device_id, before, status, reasons, err));
	return store_metrics(ctx, id, metrics, err);
}

/* ---- what people see ---------------------------------------------------------------------------------------------------- */

static void read_report(const struct nh_rows *rows, struct nh_arena *arena, void *item)
{
	*(struct nh_health *)item = (struct nh_health){
		.at_us = nh_col_int(rows, 0),
		.status = nh_col_text(rows, 1, arena),
		.reasons = nh_col_text(rows, 2, arena),
		.alarms = nh_col_text(rows, 3, arena),
		.data = nh_col_text(rows, 4, arena),
	};
}

nh_rc nh_health_latest(struct nh_ctx *ctx, int64_t device_id, struct nh_health *out, struct nh_err *err)
{
	return nh_one_row(ctx->tx, ctx->arena, &nh_q_health_latest, NH_PARAMS(nh_p_int(device_id)), read_report, out, "health report", err);
}

nh_rc nh_health_list(struct nh_ctx *ctx, int64_t device_id, int64_t before_us, size_t limit, struct nh_health **out, size_t *count, struct nh_err *err)
{
	struct nh_list list = NH_LIST_OF(ctx->arena, struct nh_health);
	NH_ASSERT(limit >= 1 && limit <= NH_HEALTH_LIST_MAX);
	NH_TRY(nh_list_rows(ctx->tx, &list, &nh_q_health_list, NH_PARAMS(nh_p_int(device_id), nh_p_int(before_us), nh_p_int((int64_t)limit)), read_report, err));
	*out = list.items;
	*count = list.count;
	return NH_OK;
}

static void read_metric(const struct nh_rows *rows, struct nh_arena *arena, void *item)
{
	*(struct nh_metric *)item = (struct nh_metric){.at_us = nh_col_int(rows, 0), .key = nh_col_text(rows, 1, arena), .value = nh_col_real(rows, 2)};
}

nh_rc nh_metric_list(struct nh_ctx *ctx, int64_t device_id, nh_slice key, int64_t from_us, int64_t to_us, size_t limit, struct nh_metric **out, size_t *count, struct nh_err *err)
{
	struct nh_list list = NH_LIST_OF(ctx->arena, struct nh_metric);
	NH_ASSERT(limit >= 1 && limit <= NH_METRIC_LIST_MAX);
	NH_TRY(nh_list_rows(ctx->tx, &list, &nh_q_metrics_list,
	                    NH_PARAMS(nh_p_int(device_id), nh_p_int(from_us), nh_p_int(to_us), nh_p_text(key.ptr ? key : NH_LIT("")), nh_p_int((int64_t)limit)), read_metric, err));
	*out = list.items;
	*count = list.count;
	return NH_OK;
}
