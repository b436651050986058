/*
 * `nh archive`: signed files that releases send to devices beside their firmware.
 *
 * source: reference/user-api-and-cli "12.4"
 */
#include "package.h"

static const struct cli_package kind = {"archive", "archives", "fw"};

static const struct cli_shape archive_shape[] = {
	{"uuid", SHAPE_TEXT},	       {"version", SHAPE_TEXT},		 {"platform", SHAPE_TEXT},	   {"architecture", SHAPE_TEXT},
	{"size", SHAPE_INT},	       {"product", SHAPE_TEXT},		 {"author", SHAPE_TEXT, true},	   {"description", SHAPE_TEXT, true},
	{"vcs_identifier", SHAPE_TEXT, true}, {"misc", SHAPE_TEXT, true}, {"inserted_at", SHAPE_TIME}, {"updated_at", SHAPE_TIME},
	{NULL},
};
static const struct cli_cell archive_list[] = {
	{"VERSION", "version"}, {"PLATFORM", "platform"}, {"ARCHITECTURE", "architecture"}, {"SIZE", "size"}, {"UUID", "uuid"}, {NULL}};
static const struct cli_cell archive_detail[] = {
	{"UUID", "uuid"}, {"Version", "version"}, {"Platform", "platform"}, {"Architecture", "architecture"}, {"Size", "size"}, {"Author", "author"},
	{"Description", "description"}, {"Product", "product"}, {"VCS identifier", "vcs_identifier"}, {"Misc", "misc"}, {"Created", "inserted_at", cli_as_time}, {NULL}};
static const struct cli_view archive_view = {archive_shape, archive_list, archive_detail, "No archives found in :org/:product."};

static const struct cli_action archives = {"GET", CLI_PRODUCT "/archives", &archive_view};
static const struct cli_action archive = {"GET", CLI_PRODUCT "/archives/:1", &archive_view};
static const struct cli_action removal = {"DELETE", CLI_PRODUCT "/archives/:1", NULL, "Deleted archive :1", "Delete archive :1?"};

static nh_rc download(struct nh_cli *c, struct nh_err *err) { return cli_package_download(c, &kind, err); }

static nh_rc upload(struct nh_cli *c, struct nh_err *err)
{
	NH_AUTO_JSON json_t *answer = NULL;
	if (cli_on(c, "skip-signing") && cli_text(c, "key"))
		return NH_FAIL(err, NH_EINVAL, "--key and --skip-signing exclude each other");
	NH_TRY(cli_package_inspect(c, &kind, c->args[0], err));
	NH_TRY(cli_package_upload(c, &kind, c->args[0], &answer, err));
	NH_AUTO_JSON json_t *a = cli_shape_object(archive_shape, json_object_get(answer, "data"));
	if (c->format != CLI_TABLE)
		return cli_view_one(c, &archive_view, a);
	cli_out(c, "Uploaded archive %s (%s)\n", cli_get(a, "version"), cli_get(a, "uuid"));
	return NH_OK;
}

static const struct cli_flag upload_flags[] = {CLI_UPLOAD_FLAGS, {NULL}};

const struct cli_command cli_archive_commands[] = {
	{"archive list", "", 0, 0, CLI_IN_PRODUCT, NULL, cli_run_list, "list archives", &archives},
	{"archive show", "<archive>", 1, 1, CLI_IN_PRODUCT, NULL, cli_run_show, "show an archive", &archive},
	{"archive upload", "<file>", 1, 1, CLI_IN_PRODUCT, upload_flags, upload, "sign and upload an archive"},
	{"archive download", "<archive>", 1, 1, CLI_IN_PRODUCT, cli_download_flags, download, "download an archive"},
	{"archive delete", "<archive>", 1, 1, CLI_IN_PRODUCT, cli_yes_flags, cli_run_send, "delete an archive that no release uses", &removal},
	{NULL},
};
