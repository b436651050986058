/*
 * `nh script`: support scripts of a product, and running one on a device.
 *
 * source: reference/user-api-and-cli "14" "18.5" "18.7"
 */
#include "base/encode.h"
#include "cli_int.h"

#define TEXT_MAX ((size_t)1 << 20)
#define TIMEOUT_MAX_S 600
#define ANSWER_SLACK_MS 5000 /* for the way there and back */

/* The server gives this client ids and tags as texts. */
static const struct cli_shape creator_shape[] = {{"id", SHAPE_TEXT}, {"name", SHAPE_TEXT}, {"email", SHAPE_TEXT}, {NULL}};
static const struct cli_shape script_shape[] = {
	{"id", SHAPE_TEXT}, {"name", SHAPE_TEXT}, {"tags", SHAPE_TEXT}, {"text", SHAPE_TEXT, true}, {"inserted_at", SHAPE_TIME, true}, {"updated_at", SHAPE_TIME, true},
	{"created_by", SHAPE_OBJECT, true, creator_shape}, {NULL}};

static const char *creator(struct nh_cli *c, const json_t *script, const json_t *by)
{
	const char *name = cli_get(by, "name"), *email = cli_get(by, "email");
	return *name && *email ? nh_arena_printf(&c->arena, "%s <%s>", name, email) : *name ? name : email;
}

static const struct cli_cell script_list[] = {{"ID", "id"}, {"NAME", "name"}, {"TAGS", "tags"}, {NULL}};
static const struct cli_cell script_detail[] = {{"ID", "id"}, {"Name", "name"}, {"Tags", "tags"}, {"Created by", "created_by", creator},
						{"Created", "inserted_at", cli_as_time}, {"Updated", "updated_at", cli_as_time}, {NULL}};
static const struct cli_view script_view = {script_shape, script_list, script_detail, "No support scripts found in :org/:product.", "script(s)"};
static const struct cli_view device_view = {script_shape, script_list, NULL, "No scripts available for device :1."};

static const struct cli_action scripts = {"GET", CLI_PRODUCT "/scripts", &script_view};
static const struct cli_action removal = {"DELETE", CLI_PRODUCT "/scripts/:1", NULL, "Deleted support script :1", "Delete support script :1?"};
static const struct cli_action of_device = {"GET", CLI_DEVICE "/scripts", &device_view};

static nh_rc show(struct nh_cli *c, struct nh_err *err)
{
	NH_AUTO_JSON json_t *s = NULL;
	NH_TRY(cli_call(c, "GET", cli_fill(c, CLI_PRODUCT "/scripts/:1", true), NULL, script_shape, false, &s, err));
	NH_TRY(cli_view_one(c, &script_view, s));
	if (c->format == CLI_TABLE)
		cli_out(c, "\nText:\n%s\n", cli_get(s, "text"));
	return NH_OK;
}

static nh_rc read_text(struct nh_cli *c, const char *path, struct nh_buf *out, struct nh_err *err)
{
	char block[4096];
	size_t n;
	if (!nh_slice_eq_str(NH_LIT("-"), path))
		return cli_file_load(path, out, err);
	while (out->len <= TEXT_MAX && (n = fread(block, 1, sizeof block, c->io->in)) > 0)
		nh_buf_put(out, block, n);
	return out->len <= TEXT_MAX ? NH_OK : NH_FAIL(err, NH_ETOOBIG, "the script on standard input is longer than 1 MiB");
}

/* --text, or the file that --text-file names. */
static nh_rc put_text(struct nh_cli *c, json_t *body, struct nh_err *err)
{
	const char *text = cli_text(c, "text"), *file = cli_text(c, "text-file");
	NH_AUTO_BUF struct nh_buf read = NH_BUF_INIT;
	if (text && file)
		return NH_FAIL(err, NH_EINVAL, "--text and --text-file exclude each other");
	if (file)
		NH_TRY(read_text(c, file, &read, err));
	if (text || file)
		json_object_set_new(body, "text", nh_json_new_text(text ? nh_slice_str(text) : nh_buf_slice(&read)));
	return NH_OK;
}

static nh_rc send(struct nh_cli *c, const char *method, const char *pattern, const char *verb, json_t *body, struct nh_err *err)
{
	NH_AUTO_JSON json_t *s = NULL;
	NH_TRY(cli_call(c, method, cli_fill(c, pattern, true), json_incref(body), script_shape, false, &s, err));
	if (c->format != CLI_TABLE)
		return cli_view_one(c, &script_view, s);
	cli_out(c, "%s support script %s (id %s)\n", verb, cli_get(s, "name"), cli_get(s, "id"));
	return NH_OK;
}

static nh_rc create(struct nh_cli *c, struct nh_err *err)
{
	NH_AUTO_JSON json_t *body = json_object();
	NH_TRY(cli_put_body_flags(c, body, err));
	NH_TRY(put_text(c, body, err));
	if (!json_object_get(body, "name"))
		return NH_FAIL(err, NH_EINVAL, "--name is required");
	if (!json_object_get(body, "text"))
		return NH_FAIL(err, NH_EINVAL, "provide the script with --text or --text-file");
	return send(c, "POST", CLI_PRODUCT "/scripts", "Created", body, err);
}

static nh_rc update(struct nh_cli *c, struct nh_err *err)
{
	NH_AUTO_JSON json_t *body = json_object();
	NH_TRY(cli_put_body_flags(c, body, err));
	NH_TRY(put_text(c, body, err));
	if (json_object_size(body) == 0)
		return NH_FAIL(err, NH_EINVAL, "nothing to update: provide --name, --text, --text-file, or --tags");
	return send(c, "PUT", CLI_PRODUCT "/scripts/:1", "Updated", body, err);
}

static nh_rc run(struct nh_cli *c, struct nh_err *err)
{
	const char *text = cli_text(c, "timeout"), *route = cli_fill(c, CLI_DEVICE "/scripts/:2", true);
	uint64_t seconds = 0;
	if (text && nh_parse_u64(nh_slice_str(text), 1, TIMEOUT_MAX_S, &seconds) != NH_OK)
		return NH_FAIL(err, NH_EINVAL, "--timeout needs seconds from 1 to %d, not '%.60s'", TIMEOUT_MAX_S, text);
	c->timeout_ms = text ? (long)seconds * 1000 + ANSWER_SLACK_MS : 0;
	const char *query = text ? nh_arena_printf(&c->arena, "timeout=%llu", (unsigned long long)seconds * 1000) : NULL;
	NH_AUTO_BUF struct nh_buf output = NH_BUF_INIT;
	NH_TRY(cli_api_text(c, "POST", route, query, &output, err));
	fwrite(nh_buf_cstr(&output), 1, output.len, c->io->out);
	return NH_OK;
}

static const struct cli_flag list_flags[] = {CLI_PAGE_FLAGS, {NULL}};
static const struct cli_flag field_flags[] = {{"name", 0, CLI_TEXT, "NAME", "how it is called", "name"},
					      {"text", 0, CLI_TEXT, "TEXT", "the script"},
					      {"text-file", 0, CLI_TEXT, "FILE", "a file with it; - is standard input"},
					      {"tags", 0, CLI_TEXT, "A,B", "tags, with commas", "tags"},
					      {NULL}};
static const struct cli_flag run_flags[] = {{"timeout", 0, CLI_TEXT, "SECONDS", "how long to wait for its end (default 28)"}, {NULL}};

const struct cli_command cli_script_commands[] = {
	{"script list", "", 0, 0, CLI_IN_PRODUCT, list_flags, cli_run_list, "list support scripts", &scripts},
	{"script show", "<script>", 1, 1, CLI_IN_PRODUCT, NULL, show, "show a support script"},
	{"script create", "", 0, 0, CLI_IN_PRODUCT, field_flags, create, "create a support script"},
	{"script update", "<script>", 1, 1, CLI_IN_PRODUCT, field_flags, update, "change a support script"},
	{"script delete", "<script>", 1, 1, CLI_IN_PRODUCT, cli_yes_flags, cli_run_send, "delete a support script", &removal},
	{"device scripts", "<device>", 1, 1, CLI_IN_PRODUCT, NULL, cli_run_list, "list scripts that can be run on a device", &of_device},
	{"device run-script", "<device> <script-name>", 2, 2, CLI_IN_PRODUCT, run_flags, run, "run a script, by name or id, and print what it says"},
	{NULL},
};
