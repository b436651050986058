/*
 * The GUID partition table: a protective MBR, the table in front and its copy behind, written from meta.conf's `gpt` sections. The copy goes first and
 * block 0 last, so that a table which can be reached is whole.  source: reference/fwup-format "12.2"; UEFI specification 2.10 "5.3"
 */
#include <zlib.h>

#include "apply_int.h"
#include "base/cursor.h"
#include "base/uuid.h"
#include "firmware/vars.h"

#define ENTRIES 128u
#define ENTRY_BYTES 128u
#define TABLE_BLOCKS (ENTRIES * ENTRY_BYTES / NH_FW_BLOCK)
#define FIRST_USABLE (2 + TABLE_BLOCKS)    /* block 0, header, entries */
#define RESERVED_BEHIND (2 + TABLE_BLOCKS) /* from the last usable block to the end of the disk */
#define NUMBERS 16u
#define NAME_UNITS 36u
#define HEADER_BYTES 92u
#define COUNT_UNSET 2147483647u

struct layout {
	struct nh_fw_partition at[NUMBERS];
	bool used[NUMBERS];
	uint64_t disk_blocks;
};

static nh_rc layout_of(const struct nh_fw_gpt *g, uint64_t destination_blocks, struct layout *l, struct nh_err *err)
{
	uint64_t furthest = 0;
	*l = (struct layout){0};
	for (size_t i = 0; i < g->partition_count; i++) {
		const struct nh_fw_partition *p = &g->partitions[i];
		NH_ASSERT(p->number < NUMBERS);
		if (p->block_count == 0 || p->block_count == COUNT_UNSET || p->block_offset < FIRST_USABLE)
			return NH_FAIL(err, NH_EFORMAT, "gpt '%.*s': partition %u needs a block-count and a block-offset of at least %u", NH_ARG(g->name), p->number,
				       FIRST_USABLE);
		l->at[p->number] = *p;
		l->used[p->number] = true;
		furthest = p->block_offset + p->block_count > furthest ? p->block_offset + p->block_count : furthest;
	}
	if (g->partition_count == 0)
		return NH_FAIL(err, NH_EFORMAT, "gpt '%.*s' needs at least one partition", NH_ARG(g->name));
	/* An image file that is too small grows; on a device too small the write of the copy fails, and that comes first. */
	l->disk_blocks = destination_blocks > furthest + RESERVED_BEHIND ? destination_blocks : furthest + RESERVED_BEHIND;
	for (unsigned i = 0; i < NUMBERS; i++) {
		struct nh_fw_partition *p = &l->at[i];
		if (l->used[i] && p->expand && l->disk_blocks > p->block_offset + p->block_count + RESERVED_BEHIND - 1)
			p->block_count = l->disk_blocks - RESERVED_BEHIND - p->block_offset;
	}
	return NH_OK;
}

/* The first three groups are numbers, stored with the low byte first; the rest is a row of bytes. */
static nh_rc guid_put(struct nh_buf *b, nh_slice text, const struct nh_fw_gpt *g, struct nh_err *err)
{
	static const uint8_t order[16] = {3, 2, 1, 0, 5, 4, 7, 6, 8, 9, 10, 11, 12, 13, 14, 15};
	struct nh_uuid guid;
	if (nh_uuid_parse(text, &guid) != NH_OK)
		return NH_FAIL(err, NH_EFORMAT, "gpt '%.*s': '%.*s' isn't a GUID", NH_ARG(g->name), NH_ARG(text));
	for (size_t i = 0; i < sizeof order; i++)
		nh_buf_put_u8(b, guid.bytes[order[i]]);
	return NH_OK;
}

static nh_rc entry_put(struct nh_buf *b, const struct nh_fw_partition *p, const struct nh_fw_gpt *g, struct nh_err *err)
{
	uint64_t flags = 0;
	if (p->flags.len > 0 && nh_fw_parse_u64(p->flags, &flags) != NH_OK)
		return NH_FAIL(err, NH_EFORMAT, "gpt '%.*s': partition %u has invalid flags", NH_ARG(g->name), p->number);
	if (p->name.len > NAME_UNITS)
		return NH_FAIL(err, NH_EFORMAT, "gpt '%.*s': name of partition %u is longer than %u bytes", NH_ARG(g->name), p->number, NAME_UNITS);
	NH_TRY(guid_put(b, p->type_text, g, err));
	NH_TRY(guid_put(b, p->guid, g, err));
	nh_wr_u64le(b, p->block_offset);
	nh_wr_u64le(b, p->block_offset + p->block_count - 1);
	nh_wr_u64le(b, flags | (p->boot ? 4 : 0));
	for (size_t i = 0; i < NAME_UNITS; i++)
		nh_wr_u16le(b, i < p->name.len ? p->name.ptr[i] : 0);
	return NH_OK;
}

static nh_rc table_put(struct nh_buf *b, const struct layout *l, const struct nh_fw_gpt *g, struct nh_err *err)
{
	for (unsigned i = 0; i < NUMBERS; i++) {
		if (l->used[i])
			NH_TRY(entry_put(b, &l->at[i], g, err));
		else
			nh_buf_fill(b, 0, ENTRY_BYTES);
	}
	nh_buf_fill(b, 0, TABLE_BLOCKS * NH_FW_BLOCK - b->len);
	return NH_OK;
}

static uint32_t crc_of(nh_slice bytes)
{
	return (uint32_t)crc32_z(0, bytes.ptr, bytes.len);
}

/* here, other: blocks of this header and of its twin; table: first block of the entries that belong to it. */
static nh_rc header_put(struct nh_buf *b, const struct layout *l, const struct nh_fw_gpt *g, uint64_t here, uint64_t other, uint64_t table, uint32_t table_crc,
			struct nh_err *err)
{
	nh_buf_put_str(b, "EFI PART");
	nh_wr_u32le(b, 0x00010000);
	nh_wr_u32le(b, HEADER_BYTES);
	nh_wr_u32le(b, 0); /* its checksum, below */
	nh_wr_u32le(b, 0);
	nh_wr_u64le(b, here);
	nh_wr_u64le(b, other);
	nh_wr_u64le(b, FIRST_USABLE);
	nh_wr_u64le(b, l->disk_blocks - RESERVED_BEHIND);
	NH_TRY(guid_put(b, g->guid, g, err));
	nh_wr_u64le(b, table);
	nh_wr_u32le(b, ENTRIES);
	nh_wr_u32le(b, ENTRY_BYTES);
	nh_wr_u32le(b, table_crc);
	uint32_t crc = crc_of(nh_buf_slice(b));
	for (unsigned i = 0; i < 4; i++)
		b->ptr[16 + i] = (uint8_t)(crc >> 8 * i);
	nh_buf_fill(b, 0, NH_FW_BLOCK - b->len);
	return NH_OK;
}

/* One entry over the whole disk, so that tools which know only MBRs keep their hands off. */
static void protective_put(struct nh_buf *b, const struct layout *l)
{
	static const uint8_t entry[] = {0, 0, 0x02, 0, 0xee, 0xff, 0xff, 0xff, 1, 0, 0, 0};
	nh_buf_fill(b, 0, 446);
	nh_buf_put(b, entry, sizeof entry);
	nh_wr_u32le(b, l->disk_blocks - 1 > UINT32_MAX ? UINT32_MAX : (uint32_t)(l->disk_blocks - 1));
	nh_buf_fill(b, 0, 510 - b->len);
	nh_wr_u16le(b, 0xaa55);
}

nh_rc nh_fw_gpt_write(struct nh_fw_cache *cache, const struct nh_fw_gpt *g, struct nh_err *err)
{
	struct layout l;
	NH_AUTO_BUF struct nh_buf table = NH_BUF_INIT, front = NH_BUF_INIT, header = NH_BUF_INIT;
	NH_TRY(layout_of(g, nh_fw_cache_end(cache) / NH_FW_BLOCK, &l, err));
	NH_TRY(table_put(&table, &l, g, err));
	uint32_t crc = crc_of(nh_buf_slice(&table));
	uint64_t last = l.disk_blocks - 1;

	NH_TRY(header_put(&header, &l, g, last, 1, last - TABLE_BLOCKS, crc, err));
	NH_TRY(nh_fw_cache_write(cache, (last - TABLE_BLOCKS) * NH_FW_BLOCK, nh_buf_slice(&table), false, err));
	NH_TRY(nh_fw_cache_write(cache, last * NH_FW_BLOCK, nh_buf_slice(&header), false, err));

	nh_buf_truncate(&header, 0);
	NH_TRY(header_put(&header, &l, g, 1, last, 2, crc, err));
	protective_put(&front, &l);
	nh_buf_put_slice(&front, nh_buf_slice(&header));
	nh_buf_put_slice(&front, nh_buf_slice(&table));
	return nh_fw_cache_write(cache, 0, nh_buf_slice(&front), false, err);
}
