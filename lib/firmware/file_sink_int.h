/*
 * A file that appears at once or not at all: written beside its final name, renamed at the end. Private to the firmware room.
 */
#pragma once

#include "base/buf.h"
#include "firmware/zip.h"

struct fw_file_sink {
	struct nh_fw_sink sink;
	int fd;
	struct nh_buf temporary;
	const char *path; /* final name, borrowed */
};

/* NH_EPERM, NH_ENOTFOUND, NH_EIO: cannot create. On success exactly one of commit and abandon follows. */
nh_rc fw_file_sink_open(struct fw_file_sink *f, const char *path, struct nh_err *err);
nh_rc fw_file_sink_commit(struct fw_file_sink *f, struct nh_err *err); /* syncs, renames; on failure nothing is left */
void fw_file_sink_abandon(struct fw_file_sink *f);
