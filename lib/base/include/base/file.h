/*
 * Whole files, small ones. Blocks. thread: any but a loop's.
 */
#pragma once

#include "base/buf.h"

nh_rc nh_file_read(const char *path, size_t max_bytes, struct nh_buf *out, struct nh_err *err); /* NH_ENOTFOUND NH_EPERM NH_ETOOBIG NH_EIO */
/* Writes beside, fsyncs, renames over: readers see the old or the new content. mode as chmod(2). NH_EPERM NH_ENOSPC NH_EIO */
nh_rc nh_file_write_atomic(const char *path, nh_slice bytes, unsigned mode, struct nh_err *err);
nh_rc nh_dir_make(const char *path, unsigned mode, struct nh_err *err); /* with parents; an existing one is fine */
nh_rc nh_rc_from_errno(int error_number);
