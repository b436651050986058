/*
 * The volume: formatting, mounting, table entries and cluster chains. Directories are fat_dir.c's matter.
 *
 * The order in which clusters are given out is part of the format here: forward from the one given out last, first the direct neighbour
 * when a chain grows. source: reference/fwup-format "12.5"; the layout is Microsoft's "FAT: General Overview of On-Disk Format".
 */
#include "base/cursor.h"
#include "fat_int.h"

#define FAT12_CLUSTERS_MAX 4085u
#define FAT16_CLUSTERS_MAX 65525u
#define UNKNOWN UINT32_MAX
#define STREAMED_FROM_BLOCK 2048u /* behind the first MiB: file data, written once */

nh_rc nh_fw_fat_block_read(struct nh_fw_fat *v, uint32_t block, uint8_t out[NH_FW_BLOCK], struct nh_err *err)
{
	return nh_fw_cache_read(v->cache, (v->start + block) * NH_FW_BLOCK, out, NH_FW_BLOCK, err);
}

nh_rc nh_fw_fat_block_write(struct nh_fw_fat *v, uint32_t block, const uint8_t bytes[NH_FW_BLOCK], struct nh_err *err)
{
	return nh_fw_cache_write(v->cache, (v->start + block) * NH_FW_BLOCK, nh_slice_of(bytes, NH_FW_BLOCK), block >= STREAMED_FROM_BLOCK, err);
}

/* Geometry of a volume to format: false where no FAT fits. source: reference/fwup-format "12.5" */
static bool geometry(uint32_t blocks, struct nh_fw_fat *v)
{
	uint64_t reserved = 1, root = 32, fat, clusters;
	v->bits = blocks > FAT12_CLUSTERS_MAX ? 16 : 12;
	fat = ((v->bits == 16 ? 2 * (uint64_t)blocks + 4 : (3 * (uint64_t)blocks + 1) / 2 + 3) + 511) / 512;
	if (blocks < reserved + 2 * fat + root)
		return false;
	clusters = blocks - reserved - 2 * fat - root;
	if (v->bits == 16 && clusters > FAT16_CLUSTERS_MAX) {
		v->bits = 32;
		reserved = 32;
		root = 0;
		fat = (4 * (uint64_t)blocks + 8 + 511) / 512;
		if (blocks < reserved + 2 * fat)
			return false;
		clusters = blocks - reserved - 2 * fat;
	}
	if ((v->bits == 12 && clusters > FAT12_CLUSTERS_MAX) || (v->bits == 16 && clusters <= FAT12_CLUSTERS_MAX) ||
	    (v->bits == 32 && clusters <= FAT16_CLUSTERS_MAX) || clusters < 16)
		return false;
	v->fats = 2;
	v->cluster_blocks = 1;
	v->fat_start = (uint32_t)reserved;
	v->fat_blocks = (uint32_t)fat;
	v->root_start = (uint32_t)(reserved + 2 * fat);
	v->root_entries = (uint32_t)root * 16;
	v->root_cluster = v->bits == 32 ? 2 : 0;
	v->data_start = v->root_start + (uint32_t)root;
	v->clusters_end = (uint32_t)clusters + 2;
	return true;
}

static void boot_sector_put(struct nh_buf *b, const struct nh_fw_fat *v, uint32_t blocks)
{
	bool small = blocks < 65536, wide = v->bits == 32;
	nh_buf_put(b, "\xeb\xfe\x90MSDOS5.0", 11);
	nh_wr_u16le(b, NH_FW_BLOCK);
	nh_buf_put_u8(b, (uint8_t)v->cluster_blocks);
	nh_wr_u16le(b, (uint16_t)v->fat_start);
	nh_buf_put_u8(b, (uint8_t)v->fats);
	nh_wr_u16le(b, (uint16_t)v->root_entries);
	nh_wr_u16le(b, small ? (uint16_t)blocks : 0);
	nh_buf_put_u8(b, 0xf8);
	nh_wr_u16le(b, wide ? 0 : (uint16_t)v->fat_blocks);
	nh_wr_u16le(b, 63);
	nh_wr_u16le(b, 255);
	nh_wr_u32le(b, 0);
	nh_wr_u32le(b, small ? 0 : blocks);
	if (wide) {
		nh_wr_u32le(b, v->fat_blocks);
		nh_wr_u32le(b, 0); /* flags, version */
		nh_wr_u32le(b, v->root_cluster);
		nh_wr_u16le(b, 1); /* FSInfo */
		nh_wr_u16le(b, 6); /* backup boot sector */
		nh_buf_fill(b, 0, 12);
	}
	nh_wr_u16le(b, 0x80);
	nh_buf_put_u8(b, 0x29);
	nh_wr_u32le(b, blocks + (NH_FW_FAT_DATE << 16));
	nh_buf_put_str(b, "NO NAME    ");
	nh_buf_put_str(b, wide ? "FAT32   " : v->bits == 16 ? "FAT16   " : "FAT12   ");
	nh_buf_fill(b, 0, 510 - b->len);
	nh_wr_u16le(b, 0xaa55);
}

static void info_put(struct nh_buf *b, uint32_t free_count, uint32_t last)
{
	nh_wr_u32le(b, 0x41615252);
	nh_buf_fill(b, 0, 480);
	nh_wr_u32le(b, 0x61417272);
	nh_wr_u32le(b, free_count);
	nh_wr_u32le(b, last);
	nh_buf_fill(b, 0, 14);
	nh_wr_u16le(b, 0xaa55);
}

static nh_rc tables_clear(struct nh_fw_fat *v, struct nh_err *err)
{
	static const uint8_t zeros[NH_FW_BLOCK];
	NH_AUTO_BUF struct nh_buf first = NH_BUF_INIT;
	if (v->bits == 32) {
		nh_wr_u32le(&first, 0xfffffff8);
		nh_wr_u32le(&first, 0xffffffff);
		nh_wr_u32le(&first, 0x0fffffff); /* the root directory's only cluster */
	} else {
		nh_wr_u32le(&first, v->bits == 16 ? 0xfffffff8 : 0x00fffff8);
	}
	nh_buf_fill(&first, 0, NH_FW_BLOCK - first.len);
	uint32_t end = v->bits == 32 ? v->data_start + v->cluster_blocks : v->data_start;
	for (uint32_t block = v->fat_start; block < end; block++) {
		bool begins = block == v->fat_start || block == v->fat_start + v->fat_blocks;
		NH_TRY(nh_fw_fat_block_write(v, block, begins ? first.ptr : zeros, err));
	}
	return NH_OK;
}

nh_rc nh_fw_fat_format(struct nh_fw_cache *cache, uint64_t start, uint64_t count, struct nh_err *err)
{
	struct nh_fw_fat v = {.cache = cache, .start = start};
	if (count < 128 || count > UINT32_MAX || start > INT64_MAX / 1024 || !geometry((uint32_t)count, &v))
		return NH_FAIL(err, NH_EINVAL, "FATFS: f_mkfs() aborted due to a parameter error. Try adjusting the partition size.");
	nh_fw_cache_trim(cache, start * NH_FW_BLOCK, count * NH_FW_BLOCK);
	/* The last block: proves that the medium is large enough and gives an image file its length. */
	uint8_t ones[NH_FW_BLOCK];
	memset(ones, 0xff, sizeof ones);
	NH_TRY(nh_fw_fat_block_write(&v, (uint32_t)count - 1, ones, err));
	NH_AUTO_BUF struct nh_buf boot = NH_BUF_INIT;
	boot_sector_put(&boot, &v, (uint32_t)count);
	NH_TRY(nh_fw_fat_block_write(&v, 0, boot.ptr, err));
	if (v.bits == 32) {
		NH_AUTO_BUF struct nh_buf info = NH_BUF_INIT;
		info_put(&info, v.clusters_end - 2 - 1, 2);
		NH_TRY(nh_fw_fat_block_write(&v, 6, boot.ptr, err));
		NH_TRY(nh_fw_fat_block_write(&v, 1, info.ptr, err));
		NH_TRY(nh_fw_fat_block_write(&v, 7, info.ptr, err));
	}
	return tables_clear(&v, err);
}

static nh_rc info_read(struct nh_fw_fat *v, uint32_t block, struct nh_err *err)
{
	uint8_t bytes[NH_FW_BLOCK];
	NH_TRY(nh_fw_fat_block_read(v, block, bytes, err));
	struct nh_rd r = nh_rd_of(nh_slice_of(bytes, sizeof bytes));
	uint32_t lead = nh_rd_u32le(&r);
	nh_rd_skip(&r, 480);
	uint32_t middle = nh_rd_u32le(&r), free_count = nh_rd_u32le(&r), last = nh_rd_u32le(&r);
	nh_rd_skip(&r, 14);
	if (lead != 0x41615252 || middle != 0x61417272 || nh_rd_u16le(&r) != 0xaa55)
		return NH_OK; /* it is only a hint */
	v->info_block = block;
	v->free = free_count;
	v->last = last;
	return NH_OK;
}

nh_rc nh_fw_fat_mount(struct nh_fw_fat *v, struct nh_fw_cache *cache, uint64_t start, struct nh_err *err)
{
	*v = (struct nh_fw_fat){.cache = cache, .start = start, .free = UNKNOWN, .last = UNKNOWN};
	uint8_t bytes[NH_FW_BLOCK];
	if (start > INT64_MAX / 1024)
		return NH_FAIL(err, NH_EINVAL, "FAT volume at block %llu: out of range", (unsigned long long)start);
	NH_TRY(nh_fw_fat_block_read(v, 0, bytes, err));
	struct nh_rd r = nh_rd_of(nh_slice_of(bytes, sizeof bytes));
	nh_rd_skip(&r, 11);
	uint32_t block_size = nh_rd_u16le(&r);
	v->cluster_blocks = nh_rd_u8(&r);
	v->fat_start = nh_rd_u16le(&r);
	v->fats = nh_rd_u8(&r);
	v->root_entries = nh_rd_u16le(&r);
	uint32_t blocks = nh_rd_u16le(&r);
	nh_rd_skip(&r, 1);
	v->fat_blocks = nh_rd_u16le(&r);
	nh_rd_skip(&r, 8);
	uint32_t blocks_wide = nh_rd_u32le(&r), fat_wide = nh_rd_u32le(&r);
	nh_rd_skip(&r, 4);
	uint32_t root_cluster = nh_rd_u32le(&r);
	uint32_t info_block = nh_rd_u16le(&r);
	blocks = blocks ? blocks : blocks_wide;
	bool wide = v->fat_blocks == 0;
	v->fat_blocks = wide ? fat_wide : v->fat_blocks;
	bool power = v->cluster_blocks > 0 && (v->cluster_blocks & (v->cluster_blocks - 1)) == 0;
	uint64_t root = (uint64_t)v->fat_start + (uint64_t)v->fats * v->fat_blocks, data = root + (v->root_entries + 15) / 16;
	if (bytes[510] != 0x55 || bytes[511] != 0xaa || block_size != NH_FW_BLOCK || !power || v->fat_start == 0 || v->fats < 1 || v->fats > 2 ||
	    v->fat_blocks == 0 || (v->root_entries % 16) != 0 || data >= blocks || (blocks - data) / v->cluster_blocks == 0)
		return NH_FAIL(err, NH_EFORMAT, "there is no FAT volume at block %llu", (unsigned long long)start);
	uint32_t clusters = (uint32_t)((blocks - data) / v->cluster_blocks);
	v->bits = clusters <= FAT12_CLUSTERS_MAX ? 12 : clusters <= FAT16_CLUSTERS_MAX ? 16 : 32;
	v->root_start = (uint32_t)root;
	v->data_start = (uint32_t)data;
	v->clusters_end = clusters + 2;
	uint64_t need = v->bits == 12 ? ((uint64_t)v->clusters_end * 3 + 1) / 2 : (uint64_t)v->clusters_end * (v->bits / 8);
	bool fits = need <= (uint64_t)v->fat_blocks * NH_FW_BLOCK && clusters < 0x0ffffff0;
	if (!fits || (v->bits == 32) != (v->root_entries == 0) || (v->bits == 32 && (root_cluster < 2 || root_cluster >= v->clusters_end)))
		return NH_FAIL(err, NH_EFORMAT, "the FAT volume at block %llu is damaged", (unsigned long long)start);
	v->root_cluster = v->bits == 32 ? root_cluster : 0;
	return v->bits == 32 && info_block == 1 ? info_read(v, 1, err) : NH_OK;
}

nh_rc nh_fw_fat_sync(struct nh_fw_fat *v, struct nh_err *err)
{
	if (!v->info_block || !v->info_dirty)
		return NH_OK;
	NH_AUTO_BUF struct nh_buf info = NH_BUF_INIT;
	info_put(&info, v->free, v->last);
	v->info_dirty = false;
	return nh_fw_fat_block_write(v, v->info_block, info.ptr, err);
}

/* A table entry may straddle two blocks (FAT12), so bytes are moved one by one. write: in all tables. */
static nh_rc table_bytes(struct nh_fw_fat *v, uint64_t offset, uint8_t *bytes, size_t len, bool write, struct nh_err *err)
{
	uint8_t block[NH_FW_BLOCK];
	while (len > 0) {
		size_t at = (size_t)(offset % NH_FW_BLOCK), n = NH_FW_BLOCK - at < len ? NH_FW_BLOCK - at : len;
		uint32_t number = v->fat_start + (uint32_t)(offset / NH_FW_BLOCK);
		NH_TRY(nh_fw_fat_block_read(v, number, block, err));
		memcpy(write ? block + at : bytes, write ? bytes : block + at, n);
		for (uint32_t copy = 0; write && copy < v->fats; copy++)
			NH_TRY(nh_fw_fat_block_write(v, number + copy * v->fat_blocks, block, err));
		offset += n;
		bytes += n;
		len -= n;
	}
	return NH_OK;
}

static uint64_t table_offset(const struct nh_fw_fat *v, uint32_t cluster)
{
	return v->bits == 12 ? (uint64_t)cluster + cluster / 2 : (uint64_t)cluster * (v->bits / 8);
}

static nh_rc table_get(struct nh_fw_fat *v, uint32_t cluster, uint32_t *value, struct nh_err *err)
{
	uint8_t b[4] = {0};
	NH_TRY(table_bytes(v, table_offset(v, cluster), b, v->bits == 32 ? 4 : 2, false, err));
	uint32_t raw = b[0] | (uint32_t)b[1] << 8 | (uint32_t)b[2] << 16 | (uint32_t)b[3] << 24;
	*value = v->bits == 12 ? (cluster & 1 ? raw >> 4 : raw & 0xfff) : v->bits == 16 ? raw : raw & 0x0fffffff;
	return NH_OK;
}

static nh_rc table_put(struct nh_fw_fat *v, uint32_t cluster, uint32_t value, struct nh_err *err)
{
	uint8_t b[4] = {0};
	size_t len = v->bits == 32 ? 4 : 2;
	NH_TRY(table_bytes(v, table_offset(v, cluster), b, len, false, err));
	if (v->bits == 12) {
		if (cluster & 1) {
			b[0] = (uint8_t)((b[0] & 0x0f) | value << 4);
			b[1] = (uint8_t)(value >> 4);
		} else {
			b[0] = (uint8_t)value;
			b[1] = (uint8_t)((b[1] & 0xf0) | (value >> 8 & 0x0f));
		}
	} else {
		b[0] = (uint8_t)value;
		b[1] = (uint8_t)(value >> 8);
		b[2] = (uint8_t)(value >> 16);
		b[3] = (uint8_t)((b[3] & 0xf0) | (value >> 24 & 0x0f)); /* the top four bits are not ours */
	}
	return table_bytes(v, table_offset(v, cluster), b, len, true, err);
}

nh_rc nh_fw_fat_next(struct nh_fw_fat *v, uint32_t cluster, uint32_t *next, struct nh_err *err)
{
	NH_ASSERT(cluster >= 2 && cluster < v->clusters_end);
	NH_TRY(table_get(v, cluster, next, err));
	if (*next < 2)
		return NH_FAIL(err, NH_EFORMAT, "the FAT volume at block %llu is damaged: a cluster chain breaks off", (unsigned long long)v->start);
	if (*next >= v->clusters_end)
		*next = 0;
	return NH_OK;
}

static nh_rc find_free(struct nh_fw_fat *v, uint32_t from, uint32_t *cluster, struct nh_err *err)
{
	uint32_t c = from;
	for (uint32_t tried = 2; tried < v->clusters_end; tried++) {
		uint32_t value;
		c = c + 1 < v->clusters_end ? c + 1 : 2;
		NH_TRY(table_get(v, c, &value, err));
		if (value == 0) {
			*cluster = c;
			return NH_OK;
		}
	}
	return NH_FAIL(err, NH_ENOSPC, "the FAT volume at block %llu is full", (unsigned long long)v->start);
}

nh_rc nh_fw_fat_extend(struct nh_fw_fat *v, uint32_t after, uint32_t *cluster, struct nh_err *err)
{
	bool hint = v->last >= 2 && v->last < v->clusters_end;
	uint32_t value = 1, from = hint ? v->last : 1;
	if (after) {
		uint32_t neighbour = after + 1 < v->clusters_end ? after + 1 : 2;
		NH_TRY(table_get(v, neighbour, &value, err));
		if (value == 0)
			*cluster = neighbour;
		else if (!hint)
			from = after;
	}
	if (value != 0)
		NH_TRY(find_free(v, from, cluster, err));
	NH_TRY(table_put(v, *cluster, 0x0fffffff, err));
	if (after)
		NH_TRY(table_put(v, after, *cluster, err));
	v->last = *cluster;
	if (v->free != UNKNOWN && v->free > 0)
		v->free--;
	v->info_dirty = true;
	return NH_OK;
}

nh_rc nh_fw_fat_release(struct nh_fw_fat *v, uint32_t first, struct nh_err *err)
{
	for (uint32_t cluster = first, next; cluster; cluster = next) {
		if (cluster < 2 || cluster >= v->clusters_end)
			return NH_FAIL(err, NH_EFORMAT, "the FAT volume at block %llu is damaged: cluster %u", (unsigned long long)v->start, cluster);
		NH_TRY(nh_fw_fat_next(v, cluster, &next, err)); /* a loop meets a released cluster and ends there */
		NH_TRY(table_put(v, cluster, 0, err));
		if (v->free != UNKNOWN)
			v->free++;
		v->info_dirty = true;
	}
	return NH_OK;
}
