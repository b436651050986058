/*
 * `nh firmware`: list, upload with signing, download, delete, sign.
 *
 * source: reference/user-api-and-cli "12" "18.7"
 */
#include <errno.h>
#include <fcntl.h>
#include <glob.h>
#include <libgen.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/file.h"
#include "cli_int.h"
#include "crypto/secret.h"
#include "firmware/reader.h"
#include "firmware/sign.h"

static const struct cli_shape firmware_shape[] = {
	{"uuid", SHAPE_TEXT},		  {"version", SHAPE_TEXT},	 {"platform", SHAPE_TEXT},     {"architecture", SHAPE_TEXT},
	{"author", SHAPE_TEXT, true},	  {"description", SHAPE_TEXT, true}, {"product", SHAPE_TEXT, true}, {"vcs_identifier", SHAPE_TEXT, true},
	{"misc", SHAPE_TEXT, true},	  {"fwup_version", SHAPE_TEXT, true}, {"inserted_at", SHAPE_TIME},	{"updated_at", SHAPE_TIME},
	{NULL},
};

static nh_rc list(struct nh_cli *c, struct nh_err *err)
{
	NH_AUTO_JSON json_t *all = NULL;
	struct cli_table t = {.arena = &c->arena, .columns = 4};
	size_t i;
	json_t *f;
	NH_TRY(cli_call(c, "GET", cli_product_route(c, "firmwares", NULL), NULL, firmware_shape, true, &all, err));
	cli_table_row(&t, "VERSION", "PLATFORM", "ARCHITECTURE", "UUID");
	json_array_foreach(all, i, f)
		cli_table_row(&t, cli_get(f, "version"), cli_dash(cli_get(f, "platform")), cli_dash(cli_get(f, "architecture")), cli_get(f, "uuid"));
	return cli_print_list(c, all, &t, "No firmware found in %s/%s.", c->org, c->product);
}

static nh_rc show(struct nh_cli *c, struct nh_err *err)
{
	static const struct {
		const char *label, *key;
	} rows[] = {{"UUID", "uuid"}, {"Version", "version"}, {"Platform", "platform"}, {"Architecture", "architecture"}, {"Author", "author"},
		    {"Description", "description"}, {"Product", "product"}, {"VCS identifier", "vcs_identifier"}, {"fwup version", "fwup_version"}, {"Misc", "misc"}};
	NH_AUTO_JSON json_t *f = NULL;
	struct cli_table t = {.arena = &c->arena, .columns = 2};
	NH_TRY(cli_call(c, "GET", cli_product_route(c, "firmwares", c->args[0], NULL), NULL, firmware_shape, false, &f, err));
	for (size_t i = 0; i < NH_ARRAY_LEN(rows); i++)
		cli_table_detail(&t, rows[i].label, cli_get(f, rows[i].key));
	cli_table_detail(&t, "Created", cli_time_cell(c, json_object_get(f, "inserted_at"), false));
	return cli_print_one(c, f, &t);
}

static nh_rc delete(struct nh_cli *c, struct nh_err *err)
{
	NH_TRY(cli_confirm(c, "delete", cli_on(c, "yes"), err, nh_arena_printf(&c->arena, "Delete firmware %s?", c->args[0])));
	NH_TRY(cli_act(c, "DELETE", cli_product_route(c, "firmwares", c->args[0], NULL), NULL, err));
	cli_out(c, "Firmware deleted successfully\n");
	return NH_OK;
}

/* Downloads beside the target and renames at the end: no half file ever has the final name. */
static nh_rc download_to(struct nh_cli *c, const char *route, const char *path, struct nh_err *err)
{
	char *copy = nh_arena_str(&c->arena, nh_slice_str(path));
	char *temporary = nh_arena_printf(&c->arena, "%s/.nh-download-XXXXXX", dirname(copy));
	int fd = mkostemp(temporary, O_CLOEXEC);
	FILE *to = fd < 0 ? NULL : fdopen(fd, "wb");
	if (!to)
		return NH_FAIL(err, nh_rc_from_errno(errno), "cannot write beside %s: %s", path, strerrordesc_np(errno));
	nh_rc rc = cli_download(c, route, to, path, err);
	if (rc == NH_OK && (fchmod(fd, 0644) != 0 || fsync(fd) != 0))
		rc = NH_FAIL(err, nh_rc_from_errno(errno), "cannot write %s: %s", path, strerrordesc_np(errno));
	if (fclose(to) != 0 && rc == NH_OK)
		rc = NH_FAIL(err, NH_EIO, "cannot write %s: %s", path, strerrordesc_np(errno));
	if (rc == NH_OK && rename(temporary, path) != 0)
		rc = NH_FAIL(err, nh_rc_from_errno(errno), "cannot write %s: %s", path, strerrordesc_np(errno));
	if (rc != NH_OK)
		unlink(temporary);
	return rc;
}

static nh_rc download(struct nh_cli *c, struct nh_err *err)
{
	const char *route = cli_product_route(c, "firmwares", c->args[0], "download", NULL), *path = cli_text(c, "file");
	if (path && nh_slice_eq_str(NH_LIT("-"), path))
		return cli_download(c, route, c->io->out, "standard output", err);
	if (!path) {
		NH_TRY(cli_check_name(c->args[0], "firmware uuid", err));
		path = nh_arena_printf(&c->arena, "%s.fw", c->args[0]);
	}
	NH_TRY(download_to(c, route, path, err));
	cli_out(c, "Downloaded firmware to %s\n", path);
	return NH_OK;
}

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

/* Reads up to the metadata, whatever the signature and whatever follows: the server judges. */
static nh_rc read_manifest(int fd, struct nh_fw_reader *r, struct nh_err *err)
{
	uint8_t block[65536];
	while (!nh_fw_reader_manifest(r)) {
		ssize_t n = read(fd, block, sizeof block);
		if (n < 0)
			return NH_FAIL(err, NH_EIO, "%s", strerrordesc_np(errno));
		if (n == 0)
			return nh_fw_reader_finish(r, err);
		nh_rc rc = nh_fw_reader_feed(r, nh_slice_of(block, (size_t)n), err);
		if (rc != NH_OK && !nh_fw_reader_manifest(r))
			return rc;
	}
	return NH_OK;
}

static void preview(struct nh_cli *c, const struct nh_fw_metadata *m)
{
	const struct {
		const char *label;
		nh_slice value;
	} rows[] = {{"Product", m->product}, {"Version", m->version}, {"Platform", m->platform}, {"Architecture", m->architecture}, {"UUID", m->uuid}};
	for (size_t i = 0; i < NH_ARRAY_LEN(rows); i++)
		if (rows[i].value.len)
			cli_note(c, "%-14s%.*s\n", nh_arena_printf(&c->arena, "%s:", rows[i].label), NH_ARG(rows[i].value));
}

static nh_rc inspect(struct nh_cli *c, const char *path, struct nh_err *err)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return NH_FAIL(err, nh_rc_from_errno(errno), "cannot read %s: %s", path, strerrordesc_np(errno));
	struct nh_err why = NH_ERR_INIT;
	struct nh_fw_reader *r = nh_fw_reader_new(&(struct nh_fw_reader_config){.allow_unverified = true, .path = path});
	nh_rc rc = read_manifest(fd, r, &why);
	const struct nh_fw_manifest *m = nh_fw_reader_manifest(r);
	if (rc != NH_OK || !m) {
		cli_note(c, "Warning: could not read firmware metadata (%s)\n", why.msg);
		rc = NH_OK;
	} else if (!nh_slice_eq(m->meta.product, nh_slice_str(c->product))) {
		rc = NH_FAIL(err, NH_EINVAL,
			     "firmware is built for product \"%.*s\" but you are uploading to \"%s\"; check --product, or the :app/:name in the project's mix.exs",
			     NH_ARG(m->meta.product), c->product);
	} else {
		preview(c, &m->meta);
	}
	nh_fw_reader_free(r);
	close(fd);
	return rc;
}

/* From --key, or the environment. */
static nh_rc signing_key(struct nh_cli *c, struct nh_fw_private_key *out, const char **shown, struct nh_err *err)
{
	const char *name = cli_text(c, "key"), *text = cli_env(c, "PRIVATE_KEY");
	*shown = name ? name : "from NERVES_HUB_PRIVATE_KEY";
	if (name)
		return cli_key_load(c, name, cli_text(c, "password"), out->bytes, err);
	if (text)
		return nh_fw_private_key_decode(nh_slice_trim(nh_slice_str(text)), out, err);
	return NH_FAIL(err, NH_EINVAL, "no signing key: pass --key <name>, set NERVES_HUB_PRIVATE_KEY, or pass --skip-signing to upload the firmware as is");
}

static nh_rc sign_to(struct nh_cli *c, const char *in, const char *out, struct nh_err *err)
{
	struct nh_fw_private_key key;
	const char *shown;
	nh_rc rc = signing_key(c, &key, &shown, err);
	if (rc == NH_OK) {
		char *copy = nh_arena_str(&c->arena, nh_slice_str(in));
		cli_note(c, "Signing %s with key %s\n", basename(copy), shown);
		rc = nh_fw_sign_file(in, out, &(struct nh_fw_sign_options){.key = &key, .time_s = nh_now_us() / NH_US_PER_S}, err);
	}
	nh_wipe(&key, sizeof key);
	return rc;
}

static nh_rc sign(struct nh_cli *c, struct nh_err *err)
{
	const char *out = cli_text(c, "file") ? cli_text(c, "file") : c->args[0];
	NH_TRY(sign_to(c, c->args[0], out, err));
	cli_out(c, "Signed %s\n", out);
	return NH_OK;
}

/* Signs into a temporary file, so the built file stays as it is. *signed_path is empty where nothing was made. */
static nh_rc sign_temporary(struct nh_cli *c, const char *path, char *signed_path, size_t size, struct nh_err *err)
{
	const char *dir = c->io->env("TMPDIR");
	snprintf(signed_path, size, "%s/nh-signed-XXXXXX.fw", dir && *dir ? dir : "/tmp");
	int fd = mkostemps(signed_path, 3, O_CLOEXEC);
	if (fd < 0) {
		signed_path[0] = 0;
		return NH_FAIL(err, nh_rc_from_errno(errno), "cannot write a temporary file: %s", strerrordesc_np(errno));
	}
	close(fd);
	return sign_to(c, path, signed_path, err);
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
		/* On stderr with JSON: what is on stdout must stay one document. */
		if (c->json)
			cli_note(c, "Updated deployment group %s to firmware %s\n", group, uuid);
		else
			cli_out(c, "Updated deployment group %s to firmware %s\n", group, uuid);
	}
	return NH_OK;
}

static nh_rc send(struct nh_cli *c, const char *path, const char *shown_name, struct nh_err *err)
{
	NH_AUTO_JSON json_t *answer = NULL;
	NH_TRY(cli_upload(c, cli_product_route(c, "firmwares", NULL), path, shown_name, &answer, err));
	NH_AUTO_JSON json_t *f = cli_shape_object(firmware_shape, json_object_get(answer, "data"));
	NH_AUTO_JSON json_t *deployed = json_array();
	if (!c->json)
		cli_out(c, "Uploaded firmware %s (%s)\n", cli_get(f, "version"), cli_get(f, "uuid"));
	NH_TRY(deploy(c, cli_get(f, "uuid"), deployed, err));
	if (!c->json)
		return NH_OK;
	if (json_array_size(deployed))
		json_object_set(f, "deployed", deployed);
	cli_out_json(c, f);
	return NH_OK;
}

static nh_rc upload(struct nh_cli *c, struct nh_err *err)
{
	const char *path = c->arg_count ? c->args[0] : NULL;
	bool skip = cli_on(c, "skip-signing"), detected = !path;
	char signed_path[512] = "";
	if (skip && cli_text(c, "key"))
		return NH_FAIL(err, NH_EINVAL, "--key and --skip-signing exclude each other");
	if (detected)
		NH_TRY(detect(c, &path, err));
	const char *shown_name = basename(nh_arena_str(&c->arena, nh_slice_str(path)));
	NH_TRY(inspect(c, path, err));
	if (detected)
		NH_TRY(cli_confirm(c, "upload", cli_on(c, "yes"), err, nh_arena_printf(&c->arena, "Upload %s to %s?", shown_name, c->product)));
	nh_rc rc = skip ? NH_OK : sign_temporary(c, path, signed_path, sizeof signed_path, err);
	if (rc == NH_OK)
		rc = send(c, skip ? path : signed_path, shown_name, err);
	if (signed_path[0])
		unlink(signed_path);
	return rc;
}

static const struct cli_flag download_flags[] = {{"file", 'f', CLI_TEXT, "PATH", "where to write; - is standard output"}, {NULL}};
static const struct cli_flag sign_flags[] = {{"key", 0, CLI_TEXT, "NAME", "signing key"},
					     {"password", 0, CLI_TEXT, "PASSWORD", "of the signing key"},
					     {"file", 'f', CLI_TEXT, "PATH", "where to write (default: in place)"},
					     {NULL}};
static const struct cli_flag upload_flags[] = {{"key", 0, CLI_TEXT, "NAME", "sign with this key"},
					       {"password", 0, CLI_TEXT, "PASSWORD", "of the signing key"},
					       {"skip-signing", 0, CLI_FLAG, NULL, "upload the file as it is"},
					       {"deploy", 0, CLI_LIST, "GROUP", "set this deployment group to the firmware; repeatable"},
					       {"yes", 'y', CLI_FLAG, NULL, "do not ask"},
					       {NULL}};

const struct cli_command cli_firmware_commands[] = {
	{"firmware list", "", 0, 0, CLI_IN_PRODUCT, NULL, list, "list firmware"},
	{"firmware show", "<uuid>", 1, 1, CLI_IN_PRODUCT, NULL, show, "show a firmware"},
	{"firmware upload", "[path]", 0, 1, CLI_IN_PRODUCT, upload_flags, upload, "sign and upload a firmware (also: publish)"},
	{"firmware download", "<uuid>", 1, 1, CLI_IN_PRODUCT, download_flags, download, "download a firmware"},
	{"firmware sign", "<path>", 1, 1, CLI_NEEDS_ORG, sign_flags, sign, "sign a firmware file with a local key"},
	{"firmware delete", "<uuid>", 1, 1, CLI_IN_PRODUCT, cli_yes_flags, delete, "delete a firmware"},
	{NULL},
};
