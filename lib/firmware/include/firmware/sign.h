/*
 * Signs an archive: writes a copy with a new signature member and refreshed time of meta.conf; contents are copied as compressed, sizes go into
 * the local headers (so deltas stay deltas). meta.conf does not change, so neither does the UUID.  thread: any; blocks.
 * source: reference/fwup-format "1.7"
 */
#pragma once

#include "firmware/keys.h"

struct nh_fw_sign_options {
	const struct nh_fw_private_key *key;
	int64_t time_s;        /* time of meta.conf, Unix */
	int32_t utc_offset_s;  /* for the DOS fields */
};

/*
 * nh_fw_sign_file - in may equal out; written beside out and renamed over it, so readers see the old or the new archive. Every member's CRC is
 * checked on the way. NH_ENOTFOUND "Failed to open 'P'", NH_EFORMAT (not an archive, truncated, no meta.conf first), NH_EPERM, NH_ENOSPC, NH_EIO.
 */
nh_rc nh_fw_sign_file(const char *in, const char *out, const struct nh_fw_sign_options *options, struct nh_err *err);
