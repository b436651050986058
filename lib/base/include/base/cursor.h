/*
 * Bounds-checked reading and writing of binary formats with a sticky failure flag: read a whole structure, check `failed` once.
 * A failed read returns 0 or an empty slice and moves nothing. thread: any, one at a time.
 */
#pragma once

#include "base/buf.h"

struct nh_rd {
	const uint8_t *ptr;
	size_t len;   /* bytes in all */
	size_t pos;   /* bytes read */
	bool failed;
};

/* A cursor at the begin of s (borrowed); bytes not read yet, 0 after a failure; whether every read so far was within bounds. */
static inline struct nh_rd nh_rd_of(nh_slice s) { return (struct nh_rd){s.ptr, s.len, 0, false}; }
static inline size_t nh_rd_left(const struct nh_rd *r) { return r->failed ? 0 : r->len - r->pos; }
static inline bool nh_rd_ok(const struct nh_rd *r) { return !r->failed; }

/* The next integer, least (le) or most (be) significant byte first. */
uint8_t nh_rd_u8(struct nh_rd *r);
uint16_t nh_rd_u16le(struct nh_rd *r);
uint32_t nh_rd_u32le(struct nh_rd *r);
uint64_t nh_rd_u64le(struct nh_rd *r);
uint16_t nh_rd_u16be(struct nh_rd *r);
uint32_t nh_rd_u32be(struct nh_rd *r);
uint64_t nh_rd_u64be(struct nh_rd *r);
nh_slice nh_rd_bytes(struct nh_rd *r, size_t len); /* borrowed view */
void nh_rd_skip(struct nh_rd *r, size_t len);      /* as nh_rd_bytes, nothing returned */
uint8_t nh_rd_peek(struct nh_rd *r);               /* next byte, not consumed; 0 and failed at the end */

/* Writers append to a buffer (whose own max and failed flag apply). */
void nh_wr_u16le(struct nh_buf *b, uint16_t v);
void nh_wr_u32le(struct nh_buf *b, uint32_t v);
void nh_wr_u64le(struct nh_buf *b, uint64_t v);
void nh_wr_u16be(struct nh_buf *b, uint16_t v);
void nh_wr_u32be(struct nh_buf *b, uint32_t v);
void nh_wr_u64be(struct nh_buf *b, uint64_t v);
