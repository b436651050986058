/*
 * Creates an archive from a configuration (fwup.conf). Bytes depend only on the configuration, the files it names, the variables and the
 * options. Reads files that the configuration names: for the author's machine, never for uploads.
 * thread: any; blocks.  source: reference/fwup-format "1.5", "1.6", "8"
 */
#pragma once

#include "firmware/keys.h"
#include "firmware/vars.h"
#include "firmware/zip.h"

struct nh_fw_create_options {
	const char *path;         /* configuration file; also the base of relative host-paths and includes. NULL: text */
	nh_slice text;            /* configuration where path is NULL; paths are relative to the current directory */
	struct nh_fw_vars *vars;  /* for ${…}, changed by define; NULL = empty */
	const struct nh_fw_private_key *key; /* NULL: unsigned */
	int level;                /* 1..9, 0 = 9 */
	int64_t time_s;           /* Unix time of meta.conf */
	int32_t utc_offset_s;     /* for the DOS fields */
};

/*
 * NH_ENOTFOUND/NH_EPERM/NH_EIO (configuration, host-path), NH_EFORMAT "FILE:LINE: …", NH_EINVAL (a check of reference "8.4"), NH_EUNSUPPORTED
 * (require-fwup-version), the sink's codes. meta_conf (may be NULL) receives the text.
 */
nh_rc nh_fw_create(const struct nh_fw_create_options *options, const struct nh_fw_sink *sink, struct nh_buf *meta_conf, struct nh_err *err);
/* Into a file: written beside it and renamed, nothing is left behind on failure. */
nh_rc nh_fw_create_file(const struct nh_fw_create_options *options, const char *out, struct nh_err *err);
