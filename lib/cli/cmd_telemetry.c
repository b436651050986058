/*
 * `nh device health`, `metrics`, `logs`, `connections`, `network-identities`: what devices told of themselves. Long lists go backwards in time.
 *
 * source: reference/user-api-and-cli "11.8" "18.7"; reference/server-behaviour "7"
 */
#include "cli_int.h"

/* ---- health ---------------------------------------------------------------------------------------------------------------- */

static const struct cli_shape health_shape[] = {
	{"at", SHAPE_TIME}, {"status", SHAPE_TEXT}, {"status_reasons", SHAPE_ANY}, {"alarms", SHAPE_ANY}, {"metrics", SHAPE_ANY}, {NULL}};

/* {"a": 1, "b": 2} as "a 1, b 2" */
static const char *pairs(struct nh_cli *c, const json_t *object, const json_t *value)
{
	NH_AUTO_BUF struct nh_buf b = NH_BUF_INIT;
	const char *key;
	json_t *item;
	json_object_foreach((json_t *)value, key, item)
	{
		nh_buf_printf(&b, "%s%s ", b.len ? ", " : "", key);
		if (json_is_string(item))
			nh_buf_put_str(&b, json_string_value(item));
		else
			nh_json_put(&b, item);
	}
	return nh_arena_str(&c->arena, nh_buf_slice(&b));
}

static const struct cli_cell health_list[] = {{"AT", "at", cli_as_time}, {"STATUS", "status"}, {"ALARMS", "alarms", pairs}, {"METRICS", "metrics", pairs}, {NULL}};
static const struct cli_cell health_detail[] = {
	{"At", "at", cli_as_time}, {"Status", "status"}, {"Reasons", "status_reasons", pairs}, {"Alarms", "alarms", pairs}, {"Metrics", "metrics", pairs}, {NULL}};
static const struct cli_view health_view = {health_shape, health_list, health_detail, "No health reports of device :1."};

/* ---- numbers, lines, connections ------------------------------------------------------------------------------------------- */

static const struct cli_shape metric_shape[] = {{"at", SHAPE_TIME}, {"key", SHAPE_TEXT}, {"value", SHAPE_ANY}, {NULL}};
static const struct cli_cell metric_list[] = {{"AT", "at", cli_as_time}, {"KEY", "key"}, {"VALUE", "value"}, {NULL}};
static const struct cli_view metric_view = {metric_shape, metric_list, NULL, "No metrics of device :1 in that time."};

static const struct cli_shape line_shape[] = {{"at", SHAPE_TIME}, {"level", SHAPE_TEXT}, {"message", SHAPE_TEXT}, {"meta", SHAPE_ANY}, {NULL}};
static const struct cli_cell line_list[] = {{"AT", "at", cli_as_time}, {"LEVEL", "level"}, {"MESSAGE", "message"}, {NULL}};
static const struct cli_view line_view = {line_shape, line_list, NULL, "No such log lines of device :1."};

static const struct cli_shape connection_shape[] = {
	{"id", SHAPE_TEXT}, {"established_at", SHAPE_TIME}, {"disconnected_at", SHAPE_TIME, true}, {"disconnected_reason", SHAPE_TEXT, true},
	{"network_interface", SHAPE_TEXT, true}, {NULL}};
static const struct cli_cell connection_list[] = {{"ESTABLISHED", "established_at", cli_as_time}, {"ENDED", "disconnected_at", cli_as_time},
						  {"REASON", "disconnected_reason"}, {"NETWORK", "network_interface"}, {NULL}};
static const struct cli_view connection_view = {connection_shape, connection_list, NULL, "Device :1 never connected."};

static const struct cli_shape flapping_shape[] = {{"identifier", SHAPE_TEXT}, {"connections", SHAPE_INT}, {NULL}};
static const struct cli_cell flapping_list[] = {{"IDENTIFIER", "identifier"}, {"CONNECTIONS", "connections"}, {NULL}};
static const struct cli_view flapping_view = {flapping_shape, flapping_list, NULL, "No device of :org/:product connects again and again."};

static const struct cli_shape identity_shape[] = {
	{"identifier", SHAPE_TEXT}, {"service", SHAPE_TEXT}, {"instance", SHAPE_TEXT}, {"source", SHAPE_TEXT}, {"details", SHAPE_ANY, true},
	{"last_reported_at", SHAPE_TIME}, {"inserted_at", SHAPE_TIME}, {"updated_at", SHAPE_TIME}, {NULL}};
static const struct cli_cell identity_list[] = {{"IDENTIFIER", "identifier"}, {"SERVICE", "service"}, {"INSTANCE", "instance"}, {"SOURCE", "source"},
						{"LAST REPORTED", "last_reported_at", cli_as_time}, {NULL}};
static const struct cli_view identity_view = {identity_shape, identity_list, NULL, "No network identities found for device :1."};

static const struct cli_action health = {"GET", CLI_DEVICE "/health", &health_view};
static const struct cli_action history = {"GET", CLI_DEVICE "/health/history", &health_view};
static const struct cli_action metrics = {"GET", CLI_DEVICE "/metrics", &metric_view};
static const struct cli_action logs = {"GET", CLI_DEVICE "/logs", &line_view};
static const struct cli_action connections = {"GET", CLI_DEVICE "/connections", &connection_view};
static const struct cli_action identities = {"GET", CLI_DEVICE "/network_identities", &identity_view};
static const struct cli_action flapping = {"GET", CLI_PRODUCT "/devices/flapping", &flapping_view};

#define LIMIT_FLAG {"limit", 0, CLI_NUMBER, "N", "rows at most (default 25)", "limit"}
#define BACK_FLAGS LIMIT_FLAG, {"before", 0, CLI_TEXT, "TIME", "older than this, as the list before ended", "before"}
#define SPAN_FLAGS {"from", 0, CLI_TEXT, "TIME", "since then, as 2026-01-31T12:00:00Z", "from"}, {"to", 0, CLI_TEXT, "TIME", "until then", "to"}

static const struct cli_flag back_flags[] = {BACK_FLAGS, {NULL}};
static const struct cli_flag limit_flags[] = {LIMIT_FLAG, {NULL}};
static const struct cli_flag metric_flags[] = {{"key", 0, CLI_TEXT, "METRIC", "this one only, as cpu_temp", "key"}, SPAN_FLAGS, {NULL}};
static const struct cli_flag log_flags[] = {{"level", 0, CLI_TEXT, "LEVEL", "of this level, as error", "level"},
					    {"search", 0, CLI_TEXT, "TEXT", "that contain it", "search"},
					    SPAN_FLAGS,
					    BACK_FLAGS,
					    {NULL}};
static const struct cli_flag identity_flags[] = {{"service", 0, CLI_TEXT, "iroh|netbird|tailscale|wireguard", "of this service", "service"},
						 {"instance", 0, CLI_TEXT, "TEXT", "of this instance", "instance"},
						 {NULL}};

const struct cli_command cli_telemetry_commands[] = {
	{"device health", "<device>", 1, 1, CLI_IN_PRODUCT, NULL, cli_run_show, "show the latest health report", &health},
	{"device health-history", "<device>", 1, 1, CLI_IN_PRODUCT, back_flags, cli_run_list, "list health reports", &history},
	{"device metrics", "<device>", 1, 1, CLI_IN_PRODUCT, metric_flags, cli_run_list, "list the numbers of health reports (default: of one day)", &metrics},
	{"device logs", "<device>", 1, 1, CLI_IN_PRODUCT, log_flags, cli_run_list, "list or search log lines", &logs},
	{"device connections", "<device>", 1, 1, CLI_IN_PRODUCT, back_flags, cli_run_list, "list connections", &connections},
	{"device network-identities", "<device>", 1, 1, CLI_IN_PRODUCT, identity_flags, cli_run_list, "list what it is called in other networks", &identities},
	{"device flapping", "", 0, 0, CLI_IN_PRODUCT, limit_flags, cli_run_list, "list devices that connected more than ten times within the hour", &flapping},
	{NULL},
};
