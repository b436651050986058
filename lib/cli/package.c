/*
 * Signed files that go up and come down, firmware and archives alike: what is said of one before it is sent, signing it into a copy, downloading.
 *
 * source: reference/user-api-and-cli "12" "18.7"
 */
#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/file.h"
#include "crypto/secret.h"
#include "firmware/reader.h"
#include "firmware/sign.h"
#include "package.h"

const struct cli_flag cli_download_flags[] = {{"file", 'f', CLI_TEXT, "FILE", "where to write; - is standard output"}, {NULL}};

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

nh_rc cli_package_download(struct nh_cli *c, const struct cli_package *kind, struct nh_err *err)
{
	const char *route = cli_fill(c, nh_arena_printf(&c->arena, CLI_PRODUCT "/%s/:1/download", kind->collection), true), *path = cli_text(c, "file");
	if (path && nh_slice_eq_str(NH_LIT("-"), path))
		return cli_download(c, route, c->io->out, "standard output", err);
	if (!path) {
		NH_TRY(cli_check_name(c->args[0], "uuid", err));
		path = nh_arena_printf(&c->arena, "%s.%s", c->args[0], kind->suffix);
	}
	NH_TRY(download_to(c, route, path, err));
	cli_out(c, "Downloaded %s to %s\n", kind->noun, path);
	return NH_OK;
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
			cli_note(c, "%-14s%s\n", nh_arena_printf(&c->arena, "%s:", rows[i].label), cli_visible(c, nh_arena_str(&c->arena, rows[i].value)));
}

nh_rc cli_package_inspect(struct nh_cli *c, const struct cli_package *kind, const char *path, struct nh_err *err)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return NH_FAIL(err, nh_rc_from_errno(errno), "cannot read %s: %s", path, strerrordesc_np(errno));
	struct nh_err why = NH_ERR_INIT;
	struct nh_fw_reader *r = nh_fw_reader_new(&(struct nh_fw_reader_config){.allow_unverified = true, .path = path});
	nh_rc rc = read_manifest(fd, r, &why);
	const struct nh_fw_manifest *m = nh_fw_reader_manifest(r);
	if (rc != NH_OK || !m) {
		cli_note(c, "Warning: could not read %s metadata (%s)\n", kind->noun, why.msg);
		rc = NH_OK;
	} else if (!nh_slice_eq(m->meta.product, nh_slice_str(c->product))) {
		rc = NH_FAIL(err, NH_EINVAL,
			     "%s is built for product \"%.*s\" but you are uploading to \"%s\"; check --product, or the :app/:name in the project's mix.exs",
			     kind->noun, NH_ARG(m->meta.product), c->product);
	} else {
		preview(c, &m->meta);
	}
	nh_fw_reader_free(r);
	close(fd);
	return rc;
}

/* From --key, or the environment. */
static nh_rc signing_key(struct nh_cli *c, const struct cli_package *kind, struct nh_fw_private_key *out, const char **shown, struct nh_err *err)
{
	const char *name = cli_text(c, "key"), *text = cli_env(c, "PRIVATE_KEY");
	*shown = name ? name : "from NERVES_HUB_PRIVATE_KEY";
	if (name)
		return cli_key_load(c, name, cli_text(c, "password"), out->bytes, err);
	if (text)
		return nh_fw_private_key_decode(nh_slice_trim(nh_slice_str(text)), out, err);
	return NH_FAIL(err, NH_EINVAL, "no signing key: pass --key <name>, set NERVES_HUB_PRIVATE_KEY, or pass --skip-signing to upload the %s as is", kind->noun);
}

nh_rc cli_package_sign(struct nh_cli *c, const struct cli_package *kind, const char *in, const char *out, struct nh_err *err)
{
	struct nh_fw_private_key key;
	const char *shown;
	nh_rc rc = signing_key(c, kind, &key, &shown, err);
	if (rc == NH_OK) {
		char *copy = nh_arena_str(&c->arena, nh_slice_str(in));
		cli_note(c, "Signing %s with key %s\n", basename(copy), shown);
		rc = nh_fw_sign_file(in, out, &(struct nh_fw_sign_options){.key = &key, .time_s = nh_now_us() / NH_US_PER_S}, err);
	}
	nh_wipe(&key, sizeof key);
	return rc;
}

/* Signs into a temporary file, so the built file stays as it is. *signed_path is empty where nothing was made. */
static nh_rc sign_temporary(struct nh_cli *c, const struct cli_package *kind, const char *path, char *signed_path, size_t size, struct nh_err *err)
{
	const char *dir = c->io->env("TMPDIR");
	snprintf(signed_path, size, "%s/nh-signed-XXXXXX.fw", dir && *dir ? dir : "/tmp");
	int fd = mkostemps(signed_path, 3, O_CLOEXEC);
	if (fd < 0) {
		signed_path[0] = 0;
		return NH_FAIL(err, nh_rc_from_errno(errno), "cannot write a temporary file: %s", strerrordesc_np(errno));
	}
	close(fd);
	return cli_package_sign(c, kind, path, signed_path, err);
}

nh_rc cli_package_upload(struct nh_cli *c, const struct cli_package *kind, const char *path, json_t **answer, struct nh_err *err)
{
	bool skip = cli_on(c, "skip-signing");
	char signed_path[512] = "";
	const char *shown_name = basename(nh_arena_str(&c->arena, nh_slice_str(path)));
	nh_rc rc = skip ? NH_OK : sign_temporary(c, kind, path, signed_path, sizeof signed_path, err);
	if (rc == NH_OK)
		rc = cli_upload(c, cli_fill(c, nh_arena_printf(&c->arena, CLI_PRODUCT "/%s", kind->collection), true), kind->noun, skip ? path : signed_path, shown_name, answer, err);
	if (signed_path[0])
		unlink(signed_path);
	return rc;
}
