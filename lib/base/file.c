/*
 * Small whole files: read with a cap, replaced atomically (temporary file beside, fsync, rename, fsync of the folder). Not for firmware.
 */
#include "base/file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/arena.h"

nh_rc nh_rc_from_errno(int error_number)
{
	static const struct {
		int number;
		nh_rc rc;
	} table[] = {
		{ENOENT, NH_ENOTFOUND}, {ENOTDIR, NH_ENOTFOUND}, {EACCES, NH_EPERM},  {EPERM, NH_EPERM},      {EROFS, NH_EPERM},
		{EEXIST, NH_ECONFLICT}, {ENOSPC, NH_ENOSPC},	 {EDQUOT, NH_ENOSPC}, {ENOMEM, NH_ENOMEM},    {EAGAIN, NH_EAGAIN},
		{ETIMEDOUT, NH_ETIMEOUT}, {EPIPE, NH_ECLOSED},	 {ECONNRESET, NH_ECLOSED}, {EINVAL, NH_EINVAL}, {EFBIG, NH_ETOOBIG},
	};
	for (size_t i = 0; i < NH_ARRAY_LEN(table); i++)
		if (table[i].number == error_number)
			return table[i].rc;
	return NH_EIO;
}

static nh_rc fail_errno(struct nh_err *err, const char *verb, const char *path)
{
	int number = errno;
	return NH_FAIL(err, nh_rc_from_errno(number), "cannot %s %s: %s", verb, path, strerrordesc_np(number));
}

nh_rc nh_file_read(const char *path, size_t max_bytes, struct nh_buf *out, struct nh_err *err)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return fail_errno(err, "read", path);
	size_t before = out->len;
	nh_rc rc = NH_OK;
	for (;;) {
		uint8_t block[16384];
		ssize_t n = read(fd, block, sizeof block);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			rc = fail_errno(err, "read", path);
		else if ((size_t)n > max_bytes - (out->len - before))
			rc = NH_FAIL(err, NH_ETOOBIG, "%s is larger than %zu bytes", path, max_bytes);
		if (rc != NH_OK || n == 0)
			break;
		nh_buf_put(out, block, (size_t)n);
		explicit_bzero(block, (size_t)n); /* the file may be a key */
	}
	close(fd);
	return rc != NH_OK ? rc : nh_buf_check(out, path, err);
}

static bool write_all(int fd, nh_slice bytes)
{
	while (bytes.len) {
		ssize_t n = write(fd, bytes.ptr, bytes.len);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return false;
		bytes = nh_slice_skip(bytes, (size_t)n);
	}
	return true;
}

/* Makes the rename itself durable. Some file systems cannot fsync a folder; the file's content is safe all the same. */
static void sync_parent(const char *path)
{
	const char *slash = strrchr(path, '/');
	char *dir = slash ? nh_xstrdup(nh_slice_of(path, slash == path ? 1 : (size_t)(slash - path))) : nh_xstrdup(NH_LIT("."));
	int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd >= 0) {
		(void)fsync(fd);
		close(fd);
	}
	free(dir);
}

nh_rc nh_file_write_atomic(const char *path, nh_slice bytes, unsigned mode, struct nh_err *err)
{
	NH_AUTO_BUF struct nh_buf temporary = NH_BUF_INIT;
	nh_buf_printf(&temporary, "%s.XXXXXX", path);
	char *name = (char *)temporary.ptr;
	int fd = mkostemp(name, O_CLOEXEC);
	if (fd < 0)
		return fail_errno(err, "write", path);
	bool ok = fchmod(fd, mode) == 0 && write_all(fd, bytes) && fsync(fd) == 0;
	nh_rc rc = ok ? NH_OK : fail_errno(err, "write", path);
	if (close(fd) != 0 && rc == NH_OK)
		rc = fail_errno(err, "write", path);
	if (rc == NH_OK && rename(name, path) != 0)
		rc = fail_errno(err, "write", path);
	if (rc != NH_OK)
		unlink(name);
	else
		sync_parent(path);
	return rc;
}

static nh_rc make_one(const char *path, unsigned mode, struct nh_err *err)
{
	struct stat st;
	if (mkdir(path, mode) == 0)
		return NH_OK;
	if (errno == EEXIST && stat(path, &st) == 0) {
		if (S_ISDIR(st.st_mode))
			return NH_OK;
		errno = ENOTDIR;
	}
	return fail_errno(err, "create folder", path);
}

nh_rc nh_dir_make(const char *path, unsigned mode, struct nh_err *err)
{
	struct stat st;
	if (stat(path, &st) == 0 && S_ISDIR(st.st_mode))
		return NH_OK;
	char *part = nh_xstrdup(nh_slice_str(path));
	nh_rc rc = NH_OK;
	for (char *p = part + 1; rc == NH_OK && *part && *p; p++) {
		if (*p != '/')
			continue;
		*p = 0;
		/* A parent one may not create but that exists (a read-only /home, say) is fine. */
		if (stat(part, &st) != 0 || !S_ISDIR(st.st_mode))
			rc = make_one(part, mode, err);
		*p = '/';
	}
	if (rc == NH_OK)
		rc = make_one(path, mode, err);
	free(part);
	return rc;
}
