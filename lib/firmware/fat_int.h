/*
 * FAT12/16/32 volumes inside the destination, through the write cache: format, directories with long names, files. Everything is dated 1980-01-01, and
 * clusters are handed out in the order that the reference tool uses, so that equal archives make equal images.
 *
 * Volumes may come from anywhere (a device's own partition), so every number of a boot sector, table or directory is checked before use: NH_EFORMAT.
 * Nothing is kept in memory but the allocation hint; the cache holds the blocks.  thread: one at a time.  source: reference/fwup-format "12.5"
 */
#pragma once

#include "cache_int.h"

struct nh_fw_fat {
	struct nh_fw_cache *cache;
	uint64_t start;          /* first block of the volume on the destination */
	unsigned bits;           /* 12, 16, 32 */
	uint32_t cluster_blocks;
	uint32_t fats, fat_blocks, fat_start;
	uint32_t root_start, root_entries; /* FAT12/16 */
	uint32_t root_cluster;             /* FAT32, else 0 */
	uint32_t data_start;
	uint32_t clusters_end;   /* clusters are 2 .. clusters_end - 1 */
	uint32_t last;           /* allocated last; 0 or out of range: unknown */
	uint32_t free;           /* UINT32_MAX: unknown */
	uint32_t info_block;     /* FAT32 FSInfo, 0 = none */
	bool info_dirty;
};

#define NH_FW_FAT_DATE 0x0021u /* 1980-01-01; time 0 */
enum { NH_FW_FAT_READ_ONLY = 0x01, NH_FW_FAT_HIDDEN = 0x02, NH_FW_FAT_SYSTEM = 0x04, NH_FW_FAT_LABEL = 0x08, NH_FW_FAT_DIR = 0x10, NH_FW_FAT_ARCHIVE = 0x20 };

/* fat.c: volume, blocks, clusters */
nh_rc nh_fw_fat_format(struct nh_fw_cache *cache, uint64_t start, uint64_t count, struct nh_err *err); /* NH_EINVAL: size */
nh_rc nh_fw_fat_mount(struct nh_fw_fat *v, struct nh_fw_cache *cache, uint64_t start, struct nh_err *err); /* NH_EFORMAT: no FAT volume */
nh_rc nh_fw_fat_sync(struct nh_fw_fat *v, struct nh_err *err);
nh_rc nh_fw_fat_block_read(struct nh_fw_fat *v, uint32_t block, uint8_t out[NH_FW_BLOCK], struct nh_err *err);
nh_rc nh_fw_fat_block_write(struct nh_fw_fat *v, uint32_t block, const uint8_t bytes[NH_FW_BLOCK], struct nh_err *err);
static inline uint32_t nh_fw_fat_cluster_block(const struct nh_fw_fat *v, uint32_t cluster)
{
	return v->data_start + (cluster - 2) * v->cluster_blocks;
}
/* *next: the following cluster, or 0 at the end of the chain. NH_EFORMAT: a chain that leaves the volume. */
nh_rc nh_fw_fat_next(struct nh_fw_fat *v, uint32_t cluster, uint32_t *next, struct nh_err *err);
/* Allocates one cluster behind `after` (0: a new chain). NH_ENOSPC */
nh_rc nh_fw_fat_extend(struct nh_fw_fat *v, uint32_t after, uint32_t *cluster, struct nh_err *err);
nh_rc nh_fw_fat_release(struct nh_fw_fat *v, uint32_t first, struct nh_err *err); /* a whole chain; 0 = none */

/* fat_name.c: one component of a path */
#define NH_FW_FAT_NAME_MAX 255
struct nh_fw_fat_name {
	uint16_t text[NH_FW_FAT_NAME_MAX];
	size_t len;
	uint8_t alias[11];
	uint8_t case_bits;  /* NT: 0x08 body, 0x10 extension in lower case */
	bool is_long;       /* needs VFAT entries */
	bool is_lossy;      /* the alias lost something: it needs a number, and never identifies the file */
};
nh_rc nh_fw_fat_name_parse(nh_slice component, struct nh_fw_fat_name *out, struct nh_err *err); /* NH_EINVAL */
void nh_fw_fat_name_number(const struct nh_fw_fat_name *name, unsigned number, uint8_t alias[11]);
uint8_t nh_fw_fat_alias_sum(const uint8_t alias[11]);
bool nh_fw_fat_text_eq(const uint16_t *a, size_t a_len, const uint16_t *b, size_t b_len);
nh_rc nh_fw_fat_label_parse(nh_slice text, uint8_t out[11], struct nh_err *err); /* NH_EINVAL */

/* fat_dir.c: directories. An entry is named by where its 32 bytes are. */
struct nh_fw_fat_entry {
	uint32_t dir;        /* first cluster of its directory, 0 = fixed root */
	uint32_t first_index, index; /* its VFAT entries (or itself), itself */
	uint32_t block;
	unsigned offset;
	uint8_t bytes[32];
};
static inline bool nh_fw_fat_is_dir(const struct nh_fw_fat_entry *e)
{
	return (e->bytes[11] & NH_FW_FAT_DIR) != 0;
}
uint32_t nh_fw_fat_entry_cluster(const struct nh_fw_fat *v, const struct nh_fw_fat_entry *e);
void nh_fw_fat_entry_set_cluster(struct nh_fw_fat_entry *e, uint32_t cluster);
nh_rc nh_fw_fat_entry_save(struct nh_fw_fat *v, const struct nh_fw_fat_entry *e, struct nh_err *err);
/* Walks to the last component: *dir its directory, *name it. NH_ENOTFOUND: a directory on the way is missing. NH_EINVAL: no or a bad name. */
nh_rc nh_fw_fat_walk(struct nh_fw_fat *v, nh_slice path, uint32_t *dir, struct nh_fw_fat_name *name, struct nh_err *err);
nh_rc nh_fw_fat_find(struct nh_fw_fat *v, uint32_t dir, const struct nh_fw_fat_name *name, struct nh_fw_fat_entry *out, struct nh_err *err); /* NH_ENOTFOUND */
/* Makes an entry (zero but for its name). NH_ENOSPC */
nh_rc nh_fw_fat_register(struct nh_fw_fat *v, uint32_t dir, const struct nh_fw_fat_name *name, struct nh_fw_fat_entry *out, struct nh_err *err);
nh_rc nh_fw_fat_unregister(struct nh_fw_fat *v, const struct nh_fw_fat_entry *e, struct nh_err *err);
nh_rc nh_fw_fat_dir_is_empty(struct nh_fw_fat *v, uint32_t dir, bool *empty, struct nh_err *err);
nh_rc nh_fw_fat_dir_clear(struct nh_fw_fat *v, uint32_t cluster, struct nh_err *err); /* zeroes one cluster */
nh_rc nh_fw_fat_set_label(struct nh_fw_fat *v, nh_slice label, struct nh_err *err);

/* fat_file.c: what actions do */
struct nh_fw_fat_file {
	struct nh_fw_fat *v;
	struct nh_fw_fat_entry entry;
	uint32_t first, cluster; /* 0: nothing yet */
	uint64_t size;           /* written or to read */
	uint64_t pos;
	uint8_t block[NH_FW_BLOCK];
};
nh_rc nh_fw_fat_create(struct nh_fw_fat *v, nh_slice path, struct nh_fw_fat_file *f, struct nh_err *err); /* new or emptied */
nh_rc nh_fw_fat_append(struct nh_fw_fat_file *f, nh_slice bytes, struct nh_err *err);
nh_rc nh_fw_fat_append_zeros(struct nh_fw_fat_file *f, uint64_t count, struct nh_err *err);
nh_rc nh_fw_fat_close(struct nh_fw_fat_file *f, struct nh_err *err);
nh_rc nh_fw_fat_open(struct nh_fw_fat *v, nh_slice path, struct nh_fw_fat_file *f, struct nh_err *err); /* for reading; NH_ENOTFOUND */
nh_rc nh_fw_fat_read(struct nh_fw_fat_file *f, nh_slice *out, struct nh_err *err); /* the next block's bytes, borrowed; empty at the end */
nh_rc nh_fw_fat_mkdir(struct nh_fw_fat *v, nh_slice path, struct nh_err *err);     /* an existing directory is fine */
nh_rc nh_fw_fat_touch(struct nh_fw_fat *v, nh_slice path, struct nh_err *err);
nh_rc nh_fw_fat_remove(struct nh_fw_fat *v, nh_slice path, struct nh_err *err);    /* NH_ENOTFOUND; NH_ECONFLICT: directory not empty */
nh_rc nh_fw_fat_rename(struct nh_fw_fat *v, nh_slice from, nh_slice to, struct nh_err *err); /* NH_ECONFLICT: `to` exists */
nh_rc nh_fw_fat_attrib(struct nh_fw_fat *v, nh_slice path, uint8_t attributes, struct nh_err *err);
nh_rc nh_fw_fat_copy(struct nh_fw_fat *from_volume, nh_slice from, struct nh_fw_fat *to_volume, nh_slice to, struct nh_err *err);
