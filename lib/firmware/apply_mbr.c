/*
 * The master boot record: written from meta.conf's `mbr` sections (primary, extended and logical partitions, OSIP header), and read as far as the
 * requirement on partition offsets needs it.  source: reference/fwup-format "12.1"
 */
#include "apply_int.h"
#include "base/cursor.h"

#define PRIMARY 4u
#define NUMBERS 12u
#define COUNT_UNSET 2147483647u

static bool is_extended(const struct nh_fw_partition *p)
{
	return p->type == 0x05 || p->type == 0x0f;
}

/* Three bytes; left zero where the address is beyond what they can say, as the reference leaves them. */
static void chs_put(struct nh_buf *b, uint64_t block)
{
	uint64_t cylinder = block / 16065;
	bool fits = block <= 16434495;
	nh_buf_put_u8(b, fits ? (uint8_t)(block / 63 % 255) : 0);
	nh_buf_put_u8(b, fits ? (uint8_t)((cylinder & 0x300) >> 2 | (block % 63 + 1)) : 0);
	nh_buf_put_u8(b, fits ? (uint8_t)cylinder : 0);
}

/* address: what the entry says; the CHS fields are of the disk. */
static void entry_put(struct nh_buf *b, bool boot, int64_t type, uint64_t address, uint64_t start, uint64_t count)
{
	if (type > 0) {
		nh_buf_put_u8(b, boot ? 0x80 : 0);
		chs_put(b, start);
		nh_buf_put_u8(b, (uint8_t)type);
		chs_put(b, count ? start + count - 1 : start);
	} else {
		nh_buf_fill(b, 0, 8);
	}
	nh_wr_u32le(b, (uint32_t)address);
	nh_wr_u32le(b, (uint32_t)count);
}

static void osip_put(struct nh_buf *b, const struct nh_fw_mbr *m)
{
	NH_AUTO_BUF struct nh_buf h = NH_BUF_INIT;
	nh_buf_put_str(&h, "$OS$");
	nh_buf_put_u8(&h, 0);
	nh_buf_put_u8(&h, m->osip_minor);
	nh_buf_put_u8(&h, m->osip_major);
	nh_buf_put_u8(&h, 0); /* checksum, below */
	nh_buf_put_u8(&h, m->osip_pointers);
	nh_buf_put_u8(&h, (uint8_t)m->osii_count);
	nh_wr_u16le(&h, (uint16_t)(32 + 24 * m->osii_count));
	nh_buf_fill(&h, 0, 20);
	for (size_t i = 0; i < m->osii_count; i++) {
		const struct nh_fw_osii *o = &m->osii[i];
		nh_wr_u16le(&h, o->os_minor);
		nh_wr_u16le(&h, o->os_major);
		nh_wr_u32le(&h, o->start_block);
		nh_wr_u32le(&h, o->load_address);
		nh_wr_u32le(&h, o->entry_point);
		nh_wr_u32le(&h, o->size_blocks);
		nh_buf_put_u8(&h, o->attribute);
		nh_buf_fill(&h, 0, 3);
	}
	uint8_t sum = 0;
	for (size_t i = 0; i < h.len; i++)
		sum ^= h.ptr[i];
	h.ptr[7] = sum;
	nh_buf_put_slice(b, nh_buf_slice(&h));
	nh_buf_fill(b, 0, 440 - h.len);
}

/* Partitions by number, with their sizes as they will be written. */
struct layout {
	struct nh_fw_partition at[NUMBERS];
	bool used[NUMBERS];
	unsigned logical_end; /* one behind the last logical partition's number */
};

static nh_rc layout_of(const struct nh_fw_mbr *m, uint64_t destination_blocks, struct layout *l, struct nh_err *err)
{
	*l = (struct layout){.logical_end = PRIMARY};
	uint64_t furthest = 0;
	bool any_expands = false;
	for (size_t i = 0; i < m->partition_count; i++) {
		struct nh_fw_partition p = m->partitions[i];
		NH_ASSERT(p.number < NUMBERS);
		if (is_extended(&p) && p.block_count == COUNT_UNSET)
			p.block_count = 0; /* it follows from what it holds */
		if (p.expand && !is_extended(&p) && destination_blocks > p.block_offset + p.block_count)
			p.block_count = destination_blocks - p.block_offset;
		if (p.number >= PRIMARY) {
			l->logical_end = p.number + 1 > l->logical_end ? p.number + 1 : l->logical_end;
			furthest = p.block_offset + p.block_count > furthest ? p.block_offset + p.block_count : furthest;
		}
		any_expands = any_expands || (is_extended(&p) && p.expand);
		l->at[p.number] = p;
		l->used[p.number] = true;
	}
	struct nh_fw_partition *x = &l->at[3];
	bool extended = l->used[3] && is_extended(x);
	if (l->logical_end > PRIMARY && !extended)
		return NH_FAIL(err, NH_EFORMAT, "mbr '%.*s' has logical partitions, but partition 3 isn't extended", NH_ARG(m->name));
	if (extended) {
		if (any_expands && destination_blocks > furthest)
			furthest = destination_blocks;
		if (furthest > x->block_offset + x->block_count)
			x->block_count = furthest - x->block_offset;
	}
	for (unsigned i = 0; i < NUMBERS; i++)
		if (l->used[i] && (l->at[i].block_offset > UINT32_MAX || l->at[i].block_count > UINT32_MAX))
			l->at[i].block_count = UINT32_MAX; /* a huge destination: as much as an MBR can say */
	for (unsigned i = PRIMARY; i < l->logical_end; i++)
		if (!l->used[i] || l->at[i].block_offset <= x->block_offset + (i - PRIMARY))
			return NH_FAIL(err, NH_EFORMAT, "mbr '%.*s': partition %u is missing or not behind its boot record", NH_ARG(m->name), i);
	return NH_OK;
}

static nh_rc logical_write(struct nh_fw_cache *cache, const struct layout *l, struct nh_err *err)
{
	uint64_t base = l->at[3].block_offset;
	for (unsigned k = PRIMARY; k < l->logical_end; k++) {
		uint64_t here = base + k - PRIMARY;
		NH_AUTO_BUF struct nh_buf b = NH_BUF_INIT;
		nh_buf_fill(&b, 0, 446);
		entry_put(&b, l->at[k].boot, l->at[k].type, l->at[k].block_offset - here, l->at[k].block_offset, l->at[k].block_count);
		if (k + 1 < l->logical_end)
			entry_put(&b, false, 0x0f, k - 3, here + 1, 1);
		nh_buf_fill(&b, 0, 510 - b.len);
		nh_wr_u16le(&b, 0xaa55);
		NH_TRY(nh_fw_cache_write(cache, here * NH_FW_BLOCK, nh_buf_slice(&b), false, err));
	}
	return NH_OK;
}

nh_rc nh_fw_mbr_write(struct nh_fw_cache *cache, const struct nh_fw_mbr *m, struct nh_err *err)
{
	struct layout l;
	NH_TRY(layout_of(m, nh_fw_cache_end(cache) / NH_FW_BLOCK, &l, err));
	if (m->osii_count > 15)
		return NH_FAIL(err, NH_EFORMAT, "mbr '%.*s' has too many images", NH_ARG(m->name));
	NH_AUTO_BUF struct nh_buf b = NH_BUF_INIT;
	if (m->include_osip)
		osip_put(&b, m);
	else if (m->has_bootstrap)
		nh_buf_put(&b, m->bootstrap, sizeof m->bootstrap);
	else
		nh_buf_fill(&b, 0, 440);
	nh_wr_u32le(&b, m->signature);
	nh_wr_u16le(&b, 0);
	for (unsigned i = 0; i < PRIMARY; i++)
		entry_put(&b, l.at[i].boot, l.at[i].type, l.at[i].block_offset, l.at[i].block_offset, l.at[i].block_count);
	nh_wr_u16le(&b, 0xaa55);
	/* Logical partitions first: the record in block 0 makes them reachable. */
	NH_TRY(logical_write(cache, &l, err));
	return nh_fw_cache_write(cache, 0, nh_buf_slice(&b), false, err);
}

nh_rc nh_fw_mbr_partition_offset(struct nh_fw_cache *cache, unsigned partition, uint32_t *offset, struct nh_err *err)
{
	uint8_t block[NH_FW_BLOCK];
	NH_ASSERT(partition < PRIMARY);
	NH_TRY(nh_fw_cache_read(cache, 0, block, sizeof block, err));
	if (block[510] != 0x55 || block[511] != 0xaa)
		return NH_FAIL(err, NH_EFORMAT, "the destination has no MBR");
	struct nh_rd r = nh_rd_of(nh_slice_of(block, sizeof block));
	nh_rd_skip(&r, 446 + 16 * (size_t)partition + 8);
	*offset = nh_rd_u32le(&r);
	return NH_OK;
}
