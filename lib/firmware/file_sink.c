/*
 * Output files of create and sign. A file that could not be finished is removed, so nobody ever finds half an archive under its name.
 */
#include "file_sink_int.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"

static nh_rc sink_write(void *ctx, nh_slice bytes, struct nh_err *err)
{
	struct fw_file_sink *f = ctx;
	while (bytes.len > 0) {
		ssize_t n = write(f->fd, bytes.ptr, bytes.len);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return NH_FAIL(err, nh_rc_from_errno(errno), "Error writing '%s': %s", f->path, strerror(errno));
		bytes = nh_slice_skip(bytes, (size_t)n);
	}
	return NH_OK;
}

nh_rc fw_file_sink_open(struct fw_file_sink *f, const char *path, struct nh_err *err)
{
	*f = (struct fw_file_sink){.sink = {f, sink_write}, .fd = -1, .path = path};
	/* A device or pipe can't be replaced by renaming; it is written as it is. */
	struct stat st;
	if (stat(path, &st) == 0 && !S_ISREG(st.st_mode)) {
		f->fd = open(path, O_WRONLY | O_CLOEXEC);
	} else {
		nh_buf_printf(&f->temporary, "%s.%ld.tmp", path, (long)getpid());
		f->fd = open(nh_buf_cstr(&f->temporary), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
	}
	if (f->fd >= 0)
		return NH_OK;
	int e = errno;
	nh_buf_fini(&f->temporary);
	return NH_FAIL(err, nh_rc_from_errno(e), "Can't create '%s': %s", path, strerror(e));
}

void fw_file_sink_abandon(struct fw_file_sink *f)
{
	close(f->fd);
	if (f->temporary.len)
		unlink(nh_buf_cstr(&f->temporary));
	nh_buf_fini(&f->temporary);
}

nh_rc fw_file_sink_commit(struct fw_file_sink *f, struct nh_err *err)
{
	bool regular = f->temporary.len > 0;
	if ((regular && fsync(f->fd) != 0) || (regular && rename(nh_buf_cstr(&f->temporary), f->path) != 0)) {
		nh_rc rc = NH_FAIL(err, nh_rc_from_errno(errno), "Can't write '%s': %s", f->path, strerror(errno));
		fw_file_sink_abandon(f);
		return rc;
	}
	close(f->fd);
	nh_buf_fini(&f->temporary);
	return NH_OK;
}
