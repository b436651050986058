/*
 * Write cache of the destination: aligned segments of 128 KiB, dirty blocks held back until evicted or flushed, written in order of last access, so that
 * what a task changes last (the slot switch) reaches the medium last.  source: reference/fwup-format "11.3", "18.4"
 */
#pragma once

#include "base/buf.h"

#define NH_FW_BLOCK 512u
#define NH_FW_SEGMENT 131072u

struct nh_fw_cache_config {
	int fd;                  /* borrowed */
	uint64_t hard_end;       /* bytes; writes beyond fail; 0 = none */
	uint64_t soft_end;       /* bytes of an existing file, may grow; 0 = none */
	unsigned segments;       /* how many to hold; at least 8 are */
	bool minimize, verify, sync;
	bool discard;            /* tell the block device of trims */
};

struct nh_fw_cache;
struct nh_fw_cache *nh_fw_cache_new(const struct nh_fw_cache_config *config);
void nh_fw_cache_free(struct nh_fw_cache *c); /* discards */
void nh_fw_cache_set_segments(struct nh_fw_cache *c, unsigned segments);

/* Offsets and lengths in bytes, whole blocks. Reading behind the end or in trimmed segments gives zeros. NH_EIO, NH_ENOSPC. */
nh_rc nh_fw_cache_read(struct nh_fw_cache *c, uint64_t offset, uint8_t *out, size_t len, struct nh_err *err);
/* streamed: will not be written again soon; a segment filled this way goes out at once. */
nh_rc nh_fw_cache_write(struct nh_fw_cache *c, uint64_t offset, nh_slice bytes, bool streamed, struct nh_err *err);
/* Segments wholly inside the range lose their contents. A device that refuses to be told of it changes nothing: it only wears more. */
void nh_fw_cache_trim(struct nh_fw_cache *c, uint64_t offset, uint64_t len);
/* Writes all, the most recently used segment after everything else is on the medium. */
nh_rc nh_fw_cache_flush(struct nh_fw_cache *c, struct nh_err *err);
void nh_fw_cache_discard(struct nh_fw_cache *c); /* forgets everything unwritten and all trims */
uint64_t nh_fw_cache_end(const struct nh_fw_cache *c); /* known size of the destination in bytes, 0 = unknown */
