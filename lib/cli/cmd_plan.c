/*
 * `nh rollout plan`: what a release does, or would do, to its deployment group. `nh deployment add-matching`, `remove-unmatched`: which devices are in it.
 *
 * source: reference/server-behaviour "3.5"
 */
#include "cli_int.h"

/* ---- plan ------------------------------------------------------------------------------------------------------------------ */

static const struct cli_shape forecast_shape[] = {
	{"deployment_group", SHAPE_TEXT}, {"hypothetical", SHAPE_BOOL}, {"at", SHAPE_TIME}, {"release", SHAPE_ANY}, {"devices", SHAPE_ANY}, {"now", SHAPE_INT}, {"concurrent_updates", SHAPE_INT},
	{"blockers", SHAPE_ANY}, {"reasons", SHAPE_ANY}, {"bytes", SHAPE_ANY}, {"duration", SHAPE_ANY}, {"waves", SHAPE_ANY}, {NULL}};
static const struct cli_view forecast_view = {.shape = forecast_shape};

static const char *number(struct nh_cli *c, const json_t *object, const char *name)
{
	const json_t *value = json_object_get(object, name);
	return json_is_integer(value) ? nh_arena_printf(&c->arena, "%lld", (long long)json_integer_value(value)) : "-";
}

/* "3 d 4 h", "5 min", "12 s" */
static const char *span(struct nh_cli *c, const json_t *object, const char *name)
{
	long long s = (long long)nh_json_int(object, name, -1);
	if (s < 0)
		return "-";
	if (s >= 86400)
		return nh_arena_printf(&c->arena, "%lld d %lld h", s / 86400, s % 86400 / 3600);
	if (s >= 3600)
		return nh_arena_printf(&c->arena, "%lld h %lld min", s / 3600, s % 3600 / 60);
	return s >= 60 ? nh_arena_printf(&c->arena, "%lld min", (s + 59) / 60) : nh_arena_printf(&c->arena, "%lld s", s);
}

static const char *size(struct nh_cli *c, const json_t *object, const char *name)
{
	static const char *const units[] = {"B", "kB", "MB", "GB", "TB"};
	double bytes = (double)nh_json_int(object, name, 0);
	size_t unit = 0;
	while (bytes >= 1000 && unit + 1 < NH_ARRAY_LEN(units)) {
		bytes /= 1000;
		unit++;
	}
	return nh_arena_printf(&c->arena, unit ? "%.1f %s" : "%.0f %s", bytes, units[unit]);
}

static void show_totals(struct nh_cli *c, const json_t *f)
{
	const json_t *devices = json_object_get(f, "devices"), *bytes = json_object_get(f, "bytes"), *duration = json_object_get(f, "duration"), *release = json_object_get(f, "release");
	struct cli_table t = {.arena = &c->arena, .columns = 2};
	cli_table_detail(&t, "Release", nh_arena_printf(&c->arena, "#%s%s, firmware %s (%s)", number(c, release, "number"), json_is_true(json_object_get(f, "hypothetical")) ? " (supposed)" : "",
	                                                cli_get(release, "firmware_version"), cli_get(release, "firmware_uuid")));
	cli_table_detail(&t, "Devices", number(c, devices, "total"));
	cli_table_detail(&t, "Up to date", number(c, devices, "up_to_date"));
	cli_table_detail(&t, "Update in flight", number(c, devices, "in_flight"));
	cli_table_detail(&t, "Ready", nh_arena_printf(&c->arena, "%s, %s of them now", number(c, devices, "ready"), number(c, f, "now")));
	cli_table_detail(&t, "Waiting", number(c, devices, "waiting"));
	cli_table_detail(&t, "Held", number(c, devices, "held"));
	cli_table_detail(&t, "To send", nh_arena_printf(&c->arena, "%s, %s with the deltas there are", size(c, bytes, "full"), size(c, bytes, "with_deltas")));
	cli_table_detail(&t, "Expected time", nh_arena_printf(&c->arena, "%s for those that are ready, %s with those that wait", span(c, duration, "ready_seconds"), span(c, duration, "all_seconds")));
	cli_table_detail(&t, "Estimated by", cli_get(duration, "estimated_by"));
	cli_table_print(c, &t);
}

static void show_rows(struct nh_cli *c, const json_t *f)
{
	size_t i;
	const json_t *row, *reasons = json_object_get(f, "reasons"), *waves = json_object_get(f, "waves");
	struct cli_table why = {.arena = &c->arena, .columns = 4}, parts = {.arena = &c->arena, .columns = 6};
	json_array_foreach(json_object_get(f, "blockers"), i, row) cli_out(c, "\nNothing is sent: %s (%s).\n", cli_visible(c, cli_get(row, "text")), cli_visible(c, cli_get(row, "code")));
	cli_table_row(&why, "DEVICES", "ALONE", "CODE", "WHY NOT NOW");
	json_array_foreach(reasons, i, row) cli_table_row(&why, number(c, row, "devices"), number(c, row, "alone"), cli_get(row, "code"), cli_get(row, "text"));
	cli_table_row(&parts, "WAVE", "SHARE", "GATE", "DEVICES", "TO UPDATE", "TIME");
	json_array_foreach(waves, i, row)
	{
		const json_t *d = json_object_get(row, "devices"), *percent = json_object_get(row, "percent");
		const char *share = json_is_number(percent) ? nh_arena_printf(&c->arena, "%g %%", json_number_value(percent)) : *cli_get(row, "query") ? cli_get(row, "query") : "the rest";
		long long left = (long long)(nh_json_int(d, "ready", 0) + nh_json_int(d, "waiting", 0) + nh_json_int(d, "in_flight", 0));
		cli_table_row(&parts, number(c, row, "number"), share, cli_dash(cli_get(row, "gate")), number(c, d, "total"), d && json_is_object(d) ? nh_arena_printf(&c->arena, "%lld", left) : "-",
		              span(c, row, "seconds"));
	}
	if (json_array_size(reasons) > 0) {
		cli_out(c, "\n");
		cli_table_print(c, &why);
	}
	if (json_array_size(waves) > 0) {
		cli_out(c, "\n");
		cli_table_print(c, &parts);
	}
}

static nh_rc plan(struct nh_cli *c, struct nh_err *err)
{
	NH_AUTO_JSON json_t *fields = json_object();
	NH_AUTO_JSON json_t *f = NULL;
	NH_TRY(cli_put_body_flags(c, fields, err));
	bool supposed = json_object_size(fields) > 0;
	json_t *body = supposed ? json_pack("{s:O}", "deployment", fields) : NULL;
	NH_TRY(cli_call(c, supposed ? "POST" : "GET", cli_fill(c, CLI_PRODUCT "/deployments/:1/plan", true), body, forecast_shape, false, &f, err));
	if (c->format != CLI_TABLE)
		return cli_view_one(c, &forecast_view, f);
	show_totals(c, f);
	show_rows(c, f);
	return NH_OK;
}

static const struct cli_flag plan_flags[] = {
	{"firmware", 0, CLI_TEXT, "FIRMWARE", "suppose a release of this firmware", "firmware"},
	{"state", 0, CLI_TEXT, "on|off", "suppose that the group is switched on or off", "state"},
	{"concurrent-updates", 0, CLI_NUMBER, "N", "suppose so many at once", "concurrent_updates"},
	{"release-tag", 0, CLI_LIST, "TAG", "suppose that only devices with this tag get it; repeatable", "release_tags"},
	{NULL}};

/* ---- membership ------------------------------------------------------------------------------------------------------------ */

static const struct cli_shape preview_shape[] = {{"change", SHAPE_TEXT}, {"looked_at", SHAPE_INT}, {"changes", SHAPE_INT}, {"ignored", SHAPE_INT}, {"unknown", SHAPE_INT}, {NULL}};
static const struct cli_cell preview_detail[] = {{"Devices looked at", "looked_at"}, {"Would change", "changes"}, {"Stay as they are", "ignored"}, {"Never said what they run", "unknown"}, {NULL}};
static const struct cli_view preview_view = {preview_shape, NULL, preview_detail, NULL};

#define MEMBERSHIP CLI_PRODUCT "/deployments/:1/membership/"
static const struct {
	struct cli_action look, act;
} changes[] = {
	{{"GET", MEMBERSHIP "add_matching", &preview_view}, {"POST", MEMBERSHIP "add_matching", NULL, "Devices that match are being added to deployment group \":1\"", "Add all devices without a group that match to :1?", .refuses = "change the membership"}},
	{{"GET", MEMBERSHIP "remove_unmatched", &preview_view},
	 {"POST", MEMBERSHIP "remove_unmatched", NULL, "Devices that do not match are being removed from deployment group \":1\"", "Remove all devices from :1 that do not match it?", .refuses = "change the membership"}},
};

static nh_rc change(struct nh_cli *c, size_t which, struct nh_err *err)
{
	return cli_on(c, "preview") ? cli_show_with(c, &changes[which].look, err) : cli_send_with(c, &changes[which].act, err);
}
static nh_rc add_matching(struct nh_cli *c, struct nh_err *err) { return change(c, 0, err); }
static nh_rc remove_unmatched(struct nh_cli *c, struct nh_err *err) { return change(c, 1, err); }

static const struct cli_flag change_flags[] = {{"preview", 0, CLI_FLAG, NULL, "only count what would change"}, {"yes", 'y', CLI_FLAG, NULL, "do not ask"}, {NULL}};

const struct cli_command cli_plan_commands[] = {
	{"deployment add-matching", "<deployment>", 1, 1, CLI_IN_PRODUCT, change_flags, add_matching, "add the devices without a group that match"},
	{"deployment remove-unmatched", "<deployment>", 1, 1, CLI_IN_PRODUCT, change_flags, remove_unmatched, "remove the devices that do not match any more"},
	{"rollout plan", "<deployment>", 1, 1, CLI_IN_PRODUCT, plan_flags, plan, "count what a release does, or would do, to its group"},
	{NULL},
};
