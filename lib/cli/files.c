/*
 * The data directory: paths below it, files that are created once and never overwritten.
 *
 * source: reference/user-api-and-cli "18.3"
 */
#include <libgen.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "cli_int.h"

nh_rc cli_check_name(const char *name, const char *what, struct nh_err *err)
{
	nh_slice s = nh_slice_str(name);
	if (s.len == 0 || nh_slice_chr(s, '/') >= 0 || nh_slice_eq_str(s, ".") || nh_slice_eq_str(s, ".."))
		return NH_FAIL(err, NH_EINVAL, "invalid %s \"%.100s\"", what, name);
	return NH_OK;
}

char *cli_path(struct nh_cli *c, const char *folder, const char *file)
{
	return nh_arena_printf(&c->arena, "%s/%s/%s/%s", c->data_dir, folder, c->org, file);
}

nh_rc cli_file_create(const char *path, nh_slice bytes, unsigned mode, struct nh_err *err)
{
	struct stat st;
	if (lstat(path, &st) == 0)
		return NH_FAIL(err, NH_ECONFLICT, "key file already exists: %s", path);
	NH_AUTO_ARENA struct nh_arena a = NH_ARENA_INIT;
	NH_TRY(nh_dir_make(dirname(nh_arena_str(&a, nh_slice_str(path))), 0700, err));
	return nh_file_write_atomic(path, bytes, mode, err);
}

nh_rc cli_data_dir_make(const struct nh_cli *c, struct nh_err *err)
{
	static const char text[] = "# Data of nh\n\n"
				   "`settings.json` holds the server's address, organization, product and API token.\n"
				   "`keys/` holds firmware signing keys; the private halves are encrypted with their passwords.\n"
				   "`certificates/` and `ca/` hold device and CA certificates with their private keys.\n\n"
				   "Keep this folder secret and backed up: a lost signing key or CA key cannot be made again.\n";
	NH_TRY(nh_dir_make(c->data_dir, 0700, err));
	NH_AUTO_BUF struct nh_buf path = NH_BUF_INIT;
	nh_buf_printf(&path, "%s/README.md", c->data_dir);
	if (access(nh_buf_cstr(&path), F_OK) == 0)
		return NH_OK;
	return nh_file_write_atomic(nh_buf_cstr(&path), nh_slice_str(text), 0644, err);
}

nh_rc cli_file_load(const char *path, struct nh_buf *out, struct nh_err *err) { return nh_file_read(path, (size_t)1 << 20, out, err); }
