/*
 * `nh rollout export`: a fleet as a file, without names and secrets. `nh rollout simulate`: tries a release on such a file; the trying is another program's, nh-rollout-simulate, since it is made of the server's
 * rules, of which this one knows nothing.
 */
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/process.h"
#include "cli_int.h"

#define PROGRAM "nh-rollout-simulate"
#define PAGES_MAX 1000
#define GROUP CLI_PRODUCT "/deployments/:1"

/* ---- export -------------------------------------------------------------------------------------------------------------------- */

/* "data" of an answer, a new reference. */
static nh_rc get(struct nh_cli *c, const char *pattern, const char *query, json_t **data, json_t **pagination, struct nh_err *err)
{
	NH_AUTO_JSON json_t *answer = NULL;
	struct cli_request request = {.method = "GET", .route = cli_fill(c, pattern, true), .query = query};
	NH_TRY(cli_api(c, &request, &answer, err));
	*data = json_incref(json_object_get(answer, "data"));
	if (pagination)
		*pagination = json_incref(json_object_get(answer, "pagination"));
	return *data ? NH_OK : NH_FAIL(err, NH_EFORMAT, "the server's answer has no data");
}

static void copy_member(json_t *to, const char *key, const json_t *from, const char *name)
{
	json_t *value = json_object_get(from, name);
	json_object_set_new(to, key, value ? json_incref(value) : json_null());
}

/* What decides, and nothing that says whose device it is. */
static json_t *device_of(const json_t *d)
{
	const json_t *firmware = json_object_get(d, "firmware_metadata");
	json_t *out = json_object();
	copy_member(out, "version", json_is_object(firmware) ? firmware : d, "version");
	copy_member(out, "tags", d, "tags");
	json_object_set_new(out, "connected", json_boolean(strcmp(cli_get(d, "connection_status"), "connected") == 0 || strcmp(cli_get(d, "online"), "connected") == 0));
	json_object_set_new(out, "updates_enabled", json_boolean(nh_json_bool(d, "updates_enabled", true)));
	if (*cli_get(d, "timezone"))
		copy_member(out, "timezone", d, "timezone");
	return out;
}

static nh_rc put_devices(struct nh_cli *c, json_t *out, size_t *unknown, struct nh_err *err)
{
	const char *after = "";
	NH_AUTO_BUF struct nh_buf quoted = NH_BUF_INIT;
	nh_json_put_string(&quoted, nh_slice_str(c->args[0]));
	for (int page = 0; page < PAGES_MAX && after; page++) {
		NH_AUTO_BUF struct nh_buf query = NH_BUF_INIT;
		NH_AUTO_JSON json_t *rows = NULL;
		NH_AUTO_JSON json_t *pagination = NULL;
		const json_t *row;
		size_t i;
		cli_put_query(&query, "query", nh_arena_printf(&c->arena, "deployment_group = %s", nh_buf_cstr(&quoted)));
		cli_put_query(&query, "pagination[page_size]", "100");
		cli_put_query(&query, "pagination[after]", after);
		NH_TRY(get(c, CLI_PRODUCT "/devices", nh_buf_cstr(&query), &rows, &pagination, err));
		json_array_foreach(rows, i, row) {
			json_t *device = device_of(row);
			const char *version = cli_get(device, "version");
			bool known = *version && strcmp(version, "unknown") != 0;
			*unknown += !known;
			if (known)
				json_array_append(out, device);
			json_decref(device);
		}
		after = *cli_get(pagination, "next") ? nh_arena_str(&c->arena, nh_json_text(pagination, "next")) : NULL;
	}
	return NH_OK;
}

static nh_rc put_group(struct nh_cli *c, json_t *fleet, struct nh_err *err)
{
	NH_AUTO_JSON json_t *group = NULL;
	NH_AUTO_JSON json_t *plan = NULL;
	NH_AUTO_JSON json_t *rollout = NULL;
	json_t *out = json_object();
	json_object_set_new(fleet, "group", out);
	NH_TRY(get(c, GROUP, NULL, &group, NULL, err));
	NH_TRY(get(c, GROUP "/plan", NULL, &plan, NULL, err));
	NH_TRY(get(c, GROUP "/rollout", NULL, &rollout, NULL, err));
	const json_t *firmware = json_object_get(json_object_get(group, "current_release"), "firmware");
	copy_member(out, "platform", firmware, "platform");
	copy_member(out, "architecture", firmware, "architecture");
	copy_member(out, "version", firmware, "version");
	copy_member(out, "concurrent_updates", plan, "concurrent_updates");
	bool own = json_is_object(json_object_get(rollout, "default_plan"));
	copy_member(fleet, "plan", rollout, own ? "default_plan" : "plan");
	return NH_OK;
}

static nh_rc export(struct nh_cli *c, struct nh_err *err)
{
	NH_AUTO_BUF struct nh_buf at = NH_BUF_INIT;
	size_t unknown = 0;
	nh_time_put_iso(&at, nh_now_us());
	NH_AUTO_JSON json_t *fleet = json_pack("{s:s, s:i, s:s}", "format", "nerveshub-fleet", "version", 1, "exported_at", nh_buf_cstr(&at));
	NH_TRY(put_group(c, fleet, err));
	json_t *devices = json_array();
	json_object_set_new(fleet, "devices", devices);
	NH_TRY(put_devices(c, devices, &unknown, err));
	if (unknown)
		cli_note(c, "%zu devices that never said what they run are left out\n", unknown);
	cli_out_json(c, fleet);
	return NH_OK;
}

/* ---- simulate --------------------------------------------------------------------------------------------------------------------- */

static void print(void *ctx, nh_slice bytes) { cli_out(ctx, "%.*s", NH_ARG(bytes)); }

/* Beside this program, or where the build leaves it, or in PATH. */
static const char *program(struct nh_cli *c)
{
	char own[4096];
	ssize_t n = readlink("/proc/self/exe", own, sizeof own);
	nh_slice folder = n > 0 && (size_t)n < sizeof own ? nh_slice_of(own, (size_t)n) : NH_SLICE_EMPTY;
	while (folder.len > 0 && folder.ptr[folder.len - 1] != '/')
		folder.len--;
	for (size_t i = 0; folder.len > 1 && i < 2; i++) {
		const char *path = i == 0 ? nh_arena_printf(&c->arena, "%.*s" PROGRAM, NH_ARG(folder)) : nh_arena_printf(&c->arena, "%.*s../" PROGRAM "/" PROGRAM, NH_ARG(folder));
		if (access(path, X_OK) == 0)
			return path;
	}
	return PROGRAM;
}

static nh_rc simulate(struct nh_cli *c, struct nh_err *err)
{
	static const char *const flags[] = {"runs", "seed", "firmware-failure", "normal-failure", "offline", "away", "update-time", "approve-after", "days"};
	const char *argv[2 * NH_ARRAY_LEN(flags) + 8];
	size_t n = 0;
	argv[n++] = program(c);
	for (size_t i = 0; i < NH_ARRAY_LEN(flags); i++)
		if (cli_text(c, flags[i]))
			argv[n++] = nh_arena_printf(&c->arena, "--%s=%s", flags[i], cli_text(c, flags[i]));
	if (c->format != CLI_TABLE)
		argv[n++] = "--output=json";
	argv[n++] = "--";
	argv[n++] = c->args[0];
	argv[n] = NULL;
	NH_AUTO_BUF struct nh_buf errout = NH_BUF_INIT;
	struct nh_process p = {.argv = argv, .max_output_bytes = 64u << 20, .on_stdout = print, .ctx = c, .dies_with_us = true};
	int status = 0;
	nh_rc rc = nh_process_run(&p, &status, NULL, &errout, err);
	if (rc == NH_ENOTFOUND)
		return NH_FAIL(err, NH_ENOTFOUND, PROGRAM " is not installed: it comes with the server's programs, and is looked for beside nh and in PATH");
	NH_TRY(rc);
	if (status == 0)
		return NH_OK;
	return NH_FAIL(err, NH_EINVAL, "%.*s", NH_ARG(nh_slice_trim(nh_buf_slice(&errout))));
}

static const struct cli_flag simulate_flags[] = {
	{"runs", 0, CLI_NUMBER, "N", "runs of each kind (10)"},
	{"seed", 0, CLI_NUMBER, "N", "of chance; the same seed gives the same answer (1)"},
	{"firmware-failure", 0, CLI_TEXT, "SHARE", "of updates that fail with a bad firmware, as 5%"},
	{"normal-failure", 0, CLI_TEXT, "SHARE", "of updates that fail with a good one (0.2%)"},
	{"offline", 0, CLI_TEXT, "SHARE", "of devices that are away when it begins"},
	{"away", 0, CLI_TEXT, "TIME", "mean time until such a device comes back (24h)"},
	{"update-time", 0, CLI_TEXT, "TIME", "a typical update takes (180s)"},
	{"approve-after", 0, CLI_TEXT, "TIME", "people let a manual gate pass (1h)"},
	{"days", 0, CLI_NUMBER, "N", "after which a run ends in any case (14)"},
	{NULL}};

const struct cli_command cli_simulate_commands[] = {
	{"rollout export", "<deployment>", 1, 1, CLI_IN_PRODUCT, NULL, export, "print a group's fleet as a file for rollout simulate, without names"},
	{"rollout simulate", "<file>", 1, 1, 0, simulate_flags, simulate, "try a release on an exported fleet: how long it takes, when a bad one is stopped"},
	{NULL},
};
