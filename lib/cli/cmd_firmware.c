/*
 * `nh firmware`: list, upload with signing, download, delete, sign. What archives do as well is in package.c.
 *
 * source: reference/user-api-and-cli "12" "18.7"
 */
#include <glob.h>
#include <libgen.h>
#include <unistd.h>

#include "package.h"

static const struct cli_package kind = {"firmware", "firmwares", "fw"};

#define FIRMWARE_MEMBERS                                                                                                                  \
	{"uuid", SHAPE_TEXT}, {"version", SHAPE_TEXT}, {"platform", SHAPE_TEXT}, {"architecture", SHAPE_TEXT}, {"author", SHAPE_TEXT, true}, \
	{"description", SHAPE_TEXT, true}, {"product", SHAPE_TEXT, true}, {"vcs_identifier", SHAPE_TEXT, true}, {"misc", SHAPE_TEXT, true},  \
	{"fwup_version", SHAPE_TEXT, true}, {"inserted_at", SHAPE_TIME}, {"updated_at", SHAPE_TIME}
static const struct cli_shape firmware_shape[] = {FIRMWARE_MEMBERS, {NULL}};
static const struct cli_shape uploaded_shape[] = {FIRMWARE_MEMBERS, {"deployed", SHAPE_TEXTS, true}, {NULL}};
static const struct cli_cell firmware_list[] = {
	{"VERSION", "version"}, {"PLATFORM", "platform"}, {"ARCHITECTURE", "architecture"}, {"UUID", "uuid"}, {NULL}};
static const struct cli_cell firmware_detail[] = {
	{"UUID", "uuid"}, {"Version", "version"}, {"Platform", "platform"}, {"Architecture", "architecture"}, {"Author", "author"}, {"Description", "description"},
	{"Product", "product"}, {"VCS identifier", "vcs_identifier"}, {"fwup version", "fwup_version"}, {"Misc", "misc"}, {"Created", "inserted_at", cli_as_time}, {NULL}};
static const struct cli_view firmware_view = {firmware_shape, firmware_list, firmware_detail, "No firmware found in :org/:product."};

static const struct cli_action firmwares = {"GET", CLI_PRODUCT "/firmwares", &firmware_view};
static const struct cli_action firmware = {"GET", CLI_PRODUCT "/firmwares/:1", &firmware_view};
static const struct cli_action removal = {"DELETE", CLI_PRODUCT "/firmwares/:1", NULL, "Firmware deleted successfully", "Delete firmware :1?"};

static const struct cli_shape side_shape[] = {{"uuid", SHAPE_TEXT}, {"version", SHAPE_TEXT}, {NULL}};
static const struct cli_shape delta_shape[] = {
	{"source", SHAPE_OBJECT, false, side_shape}, {"target", SHAPE_OBJECT, false, side_shape}, {"status", SHAPE_TEXT}, {"error", SHAPE_TEXT, true}, {"tool", SHAPE_TEXT},
	{"tool_delta_required_version", SHAPE_TEXT, true}, {"size", SHAPE_INT, true}, {"source_size", SHAPE_INT, true}, {"target_size", SHAPE_INT, true}, {"checksum", SHAPE_TEXT, true},
	{"attempts", SHAPE_INT}, {"requested_at", SHAPE_TIME}, {"started_at", SHAPE_TIME, true}, {"finished_at", SHAPE_TIME, true}, {NULL}};
static const struct cli_cell delta_list[] = {{"FROM", "source.version"}, {"UUID", "source.uuid"}, {"STATUS", "status"}, {"SIZE", "size"}, {"OF", "target_size"}, {"ERROR", "error"}, {NULL}};
static const struct cli_cell delta_detail[] = {
	{"From", "source.version"}, {"From UUID", "source.uuid"}, {"To", "target.version"}, {"To UUID", "target.uuid"}, {"Status", "status"}, {"Error", "error"}, {"Size", "size"},
	{"Whole firmware", "target_size"}, {"Needs fwup", "tool_delta_required_version"}, {"Attempts", "attempts"}, {"Requested", "requested_at", cli_as_time},
	{"Finished", "finished_at", cli_as_time}, {NULL}};
static const struct cli_view delta_view = {delta_shape, delta_list, delta_detail, "No deltas to :1."};

#define DELTAS CLI_PRODUCT "/firmwares/:1/deltas"
static const struct cli_action deltas = {"GET", DELTAS, &delta_view};
static const struct cli_action delta = {"GET", DELTAS "/:2", &delta_view};
static const struct cli_action delta_build = {"POST", DELTAS, &delta_view, "The delta from :2 to :1 will be built", .takes = {NULL, "source"}};
static const struct cli_action delta_retry = {"POST", DELTAS "/:2/retry", &delta_view, "The delta from :2 to :1 will be built again"};
static const struct cli_action delta_removal = {"DELETE", DELTAS "/:2", NULL, "Delta deleted successfully", "Delete the delta from :2 to :1?"};

static const struct cli_shape savings_shape[] = {
	{"updates", SHAPE_INT}, {"delta_updates", SHAPE_INT}, {"update_bytes", SHAPE_INT}, {"delta_bytes", SHAPE_INT}, {"saved_bytes", SHAPE_INT}, {NULL}};
static const struct cli_cell savings_detail[] = {
	{"Updates", "updates"}, {"By delta", "delta_updates"}, {"Bytes", "update_bytes"}, {"Bytes of deltas", "delta_bytes"}, {"Bytes saved", "saved_bytes"}, {NULL}};
const struct cli_view cli_savings_view = {savings_shape, NULL, savings_detail, NULL};
static const struct cli_action savings = {"GET", CLI_PRODUCT "/firmwares/:1/savings", &cli_savings_view};

static nh_rc download(struct nh_cli *c, struct nh_err *err) { return cli_package_download(c, &kind, err); }

/* In a Mix project: the one image that was built for MIX_TARGET and MIX_ENV. */
static nh_rc detect(struct nh_cli *c, const char **path, struct nh_err *err)
{
	const char *target = c->io->env("MIX_TARGET"), *env = c->io->env("MIX_ENV");
	target = target && *target ? target : "host";
	env = env && *env ? env : "dev";
	if (access("mix.exs", R_OK) != 0)
		return NH_FAIL(err, NH_EINVAL, "firmware file path missing (and the working directory is not a Nerves project to detect one from)");
	if (nh_slice_eq_str(NH_LIT("host"), target))
		return NH_FAIL(err, NH_EINVAL, "MIX_TARGET is not set (or \"host\"): set it to the device's target, or pass the firmware's path");
	const char *pattern = nh_arena_printf(&c->arena, "_build/%s_%s/nerves/images/*.fw", target, env);
	glob_t found = {0};
	nh_rc rc = NH_OK;
	glob(pattern, 0, NULL, &found);
	if (found.gl_pathc == 1) {
		*path = nh_arena_str(&c->arena, nh_slice_str(found.gl_pathv[0]));
		cli_note(c, "Detected firmware: %s\n", found.gl_pathv[0]);
	} else {
		rc = NH_FAIL(err, NH_EINVAL, "%zu firmware files match %s: pass the path", found.gl_pathc, pattern);
	}
	globfree(&found);
	return rc;
}

static nh_rc sign(struct nh_cli *c, struct nh_err *err)
{
	const char *out = cli_text(c, "file") ? cli_text(c, "file") : c->args[0];
	NH_TRY(cli_package_sign(c, &kind, c->args[0], out, err));
	cli_out(c, "Signed %s\n", out);
	return NH_OK;
}

/* The groups of --deploy, or of the environment. */
static nh_rc deploy(struct nh_cli *c, const char *uuid, json_t *deployed, struct nh_err *err)
{
	const struct nh_option_list *list = cli_list(c, "deploy");
	const char *fallback = cli_env(c, "DEPLOYMENT_NAME");
	size_t count = list->count ? list->count : fallback ? 1 : 0;
	for (size_t i = 0; i < count; i++) {
		const char *group = list->count ? list->items[i] : fallback;
		json_t *fields = json_object(), *body = json_object();
		json_object_set_new(fields, "firmware", json_string(uuid));
		json_object_set_new(body, "deployment", fields);
		NH_TRY_CTX(cli_act(c, "PUT", cli_product_route(c, "deployments", group, NULL), body, err), err,
			   "firmware %s uploaded, but updating deployment group \"%s\" failed", uuid, group);
		json_array_append_new(deployed, nh_json_new_text(nh_slice_str(group)));
		/* Not on stdout with JSON: that must stay one document. */
		if (c->format != CLI_TABLE)
			cli_note(c, "Updated deployment group %s to firmware %s\n", group, uuid);
		else
			cli_out(c, "Updated deployment group %s to firmware %s\n", group, uuid);
	}
	return NH_OK;
}

static nh_rc send(struct nh_cli *c, const char *path, struct nh_err *err)
{
	NH_AUTO_JSON json_t *answer = NULL;
	nh_rc rc = cli_package_upload(c, &kind, path, &answer, err);
	if (rc == NH_EINVAL && nh_slice_find(nh_slice_str(err->msg), NH_LIT("\n  uuid: has already been taken")) >= 0)
		return NH_FAIL(err, rc, "%s\nThe server has this firmware already; `nh deployment update <group> --firmware <uuid>` releases it", nh_arena_str(&c->arena, nh_slice_str(err->msg)));
	NH_TRY(rc);
	NH_AUTO_JSON json_t *f = cli_shape_object(uploaded_shape, json_object_get(answer, "data"));
	NH_AUTO_JSON json_t *deployed = json_array();
	if (c->format == CLI_TABLE)
		cli_out(c, "Uploaded firmware %s (%s)\n", cli_get(f, "version"), cli_get(f, "uuid"));
	NH_TRY(deploy(c, cli_get(f, "uuid"), deployed, err));
	if (c->format == CLI_TABLE)
		return NH_OK;
	if (json_array_size(deployed))
		json_object_set(f, "deployed", deployed);
	return cli_view_one(c, &(struct cli_view){.shape = uploaded_shape}, f);
}

static nh_rc upload(struct nh_cli *c, struct nh_err *err)
{
	const char *path = c->arg_count ? c->args[0] : NULL;
	bool detected = !path;
	if (cli_on(c, "skip-signing") && cli_text(c, "key"))
		return NH_FAIL(err, NH_EINVAL, "--key and --skip-signing exclude each other");
	if (detected)
		NH_TRY(detect(c, &path, err));
	NH_TRY(cli_package_inspect(c, &kind, path, err));
	if (detected)
		NH_TRY(cli_confirm(c, "upload", cli_on(c, "yes"), err,
				   nh_arena_printf(&c->arena, "Upload %s to %s?", basename(nh_arena_str(&c->arena, nh_slice_str(path))), c->product)));
	return send(c, path, err);
}

static const struct cli_flag sign_flags[] = {CLI_SIGN_FLAGS, {"file", 'f', CLI_TEXT, "FILE", "where to write (default: in place)"}, {NULL}};
static const struct cli_flag upload_flags[] = {CLI_UPLOAD_FLAGS,
					       {"deploy", 0, CLI_LIST, "DEPLOYMENT", "set this deployment group to the firmware; repeatable"},
					       {"yes", 'y', CLI_FLAG, NULL, "do not ask"},
					       {NULL}};

const struct cli_command cli_firmware_commands[] = {
	{"firmware list", "", 0, 0, CLI_IN_PRODUCT, NULL, cli_run_list, "list firmware", &firmwares},
	{"firmware show", "<firmware>", 1, 1, CLI_IN_PRODUCT, NULL, cli_run_show, "show a firmware", &firmware},
	{"firmware upload", "[file]", 0, 1, CLI_IN_PRODUCT, upload_flags, upload, "sign and upload a firmware"},
	{"firmware download", "<firmware>", 1, 1, CLI_IN_PRODUCT, cli_download_flags, download, "download a firmware"},
	{"firmware sign", "<file>", 1, 1, CLI_NEEDS_ORG, sign_flags, sign, "sign a firmware file with a local key"},
	{"firmware delete", "<firmware>", 1, 1, CLI_IN_PRODUCT, cli_yes_flags, cli_run_send, "delete a firmware", &removal},
	{"firmware savings", "<firmware>", 1, 1, CLI_IN_PRODUCT, NULL, cli_run_show, "show what updates to a firmware took, and what deltas saved", &savings},
	{"firmware delta list", "<firmware>", 1, 1, CLI_IN_PRODUCT, NULL, cli_run_list, "list the deltas to a firmware", &deltas},
	{"firmware delta show", "<firmware> <source>", 2, 2, CLI_IN_PRODUCT, NULL, cli_run_show, "show the delta from one firmware to another", &delta},
	{"firmware delta build", "<firmware> <source>", 2, 2, CLI_IN_PRODUCT, NULL, cli_run_send, "have a delta to a firmware built", &delta_build},
	{"firmware delta retry", "<firmware> <source>", 2, 2, CLI_IN_PRODUCT, NULL, cli_run_send, "have a delta that failed built again", &delta_retry},
	{"firmware delta delete", "<firmware> <source>", 2, 2, CLI_IN_PRODUCT, cli_yes_flags, cli_run_send, "delete a delta", &delta_removal},
	{NULL},
};
