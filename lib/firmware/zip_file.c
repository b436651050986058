/* An archive in a file, member after member. */
#include "zip_file_int.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/arena.h"
#include "base/file.h"

#define PIECE ((size_t)128 * 1024)

nh_rc fw_zip_file_pass(int fd, const char *path, const struct nh_fw_zip_handler *handler, struct nh_err *err)
{
	struct nh_fw_zip_reader *z = nh_fw_zip_reader_new(handler, false);
	uint8_t *bytes = nh_xcalloc(1, PIECE);
	nh_rc rc = lseek(fd, 0, SEEK_SET) == 0 ? NH_OK : NH_FAIL(err, NH_EIO, "Error reading '%s': %s", path, strerror(errno));
	while (rc == NH_OK && !nh_fw_zip_reader_done(z)) {
		ssize_t n = read(fd, bytes, PIECE);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			rc = NH_FAIL(err, NH_EIO, "Error reading '%s': %s", path, strerror(errno));
		else if (n == 0)
			rc = nh_fw_zip_reader_finish(z, err);
		else
			rc = nh_fw_zip_reader_feed(z, nh_slice_of(bytes, (size_t)n), err);
	}
	free(bytes);
	nh_fw_zip_reader_free(z);
	return rc;
}
