/*
 * Cursors over binary formats: every read is checked once, here.
 */
#include "base/cursor.h"

nh_slice nh_rd_bytes(struct nh_rd *r, size_t len)
{
	if (r->failed || len > r->len - r->pos) {
		r->failed = true;
		return NH_SLICE_EMPTY;
	}
	nh_slice out = {r->ptr ? r->ptr + r->pos : NULL, len};
	r->pos += len;
	return out;
}

static uint64_t little(struct nh_rd *r, size_t len)
{
	nh_slice s = nh_rd_bytes(r, len);
	uint64_t v = 0;
	for (size_t i = s.len; i > 0; i--)
		v = v << 8 | s.ptr[i - 1];
	return v;
}

static uint64_t big(struct nh_rd *r, size_t len)
{
	nh_slice s = nh_rd_bytes(r, len);
	uint64_t v = 0;
	for (size_t i = 0; i < s.len; i++)
		v = v << 8 | s.ptr[i];
	return v;
}

uint8_t nh_rd_u8(struct nh_rd *r) { return (uint8_t)little(r, 1); }
uint16_t nh_rd_u16le(struct nh_rd *r) { return (uint16_t)little(r, 2); }
uint32_t nh_rd_u32le(struct nh_rd *r) { return (uint32_t)little(r, 4); }
uint64_t nh_rd_u64le(struct nh_rd *r) { return little(r, 8); }
uint16_t nh_rd_u16be(struct nh_rd *r) { return (uint16_t)big(r, 2); }
uint32_t nh_rd_u32be(struct nh_rd *r) { return (uint32_t)big(r, 4); }
uint64_t nh_rd_u64be(struct nh_rd *r) { return big(r, 8); }
void nh_rd_skip(struct nh_rd *r, size_t len) { (void)nh_rd_bytes(r, len); }

uint8_t nh_rd_peek(struct nh_rd *r)
{
	uint8_t v = nh_rd_u8(r);
	if (!r->failed)
		r->pos--;
	return v;
}

static void put_little(struct nh_buf *b, uint64_t v, size_t len)
{
	for (size_t i = 0; i < len; i++)
		nh_buf_put_u8(b, (uint8_t)(v >> (8 * i)));
}

static void put_big(struct nh_buf *b, uint64_t v, size_t len)
{
	for (size_t i = len; i > 0; i--)
		nh_buf_put_u8(b, (uint8_t)(v >> (8 * (i - 1))));
}

void nh_wr_u16le(struct nh_buf *b, uint16_t v) { put_little(b, v, 2); }
void nh_wr_u32le(struct nh_buf *b, uint32_t v) { put_little(b, v, 4); }
void nh_wr_u64le(struct nh_buf *b, uint64_t v) { put_little(b, v, 8); }
void nh_wr_u16be(struct nh_buf *b, uint16_t v) { put_big(b, v, 2); }
void nh_wr_u32be(struct nh_buf *b, uint32_t v) { put_big(b, v, 4); }
void nh_wr_u64be(struct nh_buf *b, uint64_t v) { put_big(b, v, 8); }
