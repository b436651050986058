/*
 * VCDIFF patches (RFC 3284 with xdelta3's Adler-32 and without secondary compression and own code tables): a push decoder that reads old data through a
 * function and gives new data to another. Sans-IO.
 *
 * Memory: one target window and its instructions, at most twice NH_FW_VCDIFF_WINDOW_MAX; xdelta3's own windows are 8 MiB.
 * thread: one at a time.  source: reference/fwup-format "14.3"; RFC 3284
 */
#pragma once

#include "base/buf.h"

#define NH_FW_VCDIFF_WINDOW_MAX (64u << 20)

struct nh_fw_vcdiff_config {
	void *ctx;
	/* len bytes of the old data from offset on, all or an error. */
	nh_rc (*source)(void *ctx, uint64_t offset, uint8_t *out, size_t len, struct nh_err *err);
	nh_rc (*target)(void *ctx, nh_slice bytes, struct nh_err *err); /* new data, in order */
};

struct nh_fw_vcdiff;
struct nh_fw_vcdiff *nh_fw_vcdiff_new(const struct nh_fw_vcdiff_config *config);
void nh_fw_vcdiff_free(struct nh_fw_vcdiff *d); /* NULL legal */
/* nh_fw_vcdiff_feed - takes all of bytes. NH_EFORMAT "xdelta3 error: …"; NH_ETOOBIG: a window over the cap; what source and target return. Final. */
nh_rc nh_fw_vcdiff_feed(struct nh_fw_vcdiff *d, nh_slice bytes, struct nh_err *err);
/* nh_fw_vcdiff_finish - end of input. NH_EFORMAT: inside a window or before the header was whole. */
nh_rc nh_fw_vcdiff_finish(struct nh_fw_vcdiff *d, struct nh_err *err);

/* nh_fw_vcdiff_begins_well - the header and the header of the first window, as far as a verifier without old data can look. */
bool nh_fw_vcdiff_begins_well(nh_slice head);
#define NH_FW_VCDIFF_HEAD_MAX 4096u /* what begins_well needs at most, where application data is shorter than some 3900 bytes */
