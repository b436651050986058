/*
 * Patches in place of resources: the decoder in front of the task's functions, and the old data behind it, read from the destination itself: a range
 * of blocks, possibly encrypted, or a file on a FAT volume. What comes out is hashed and measured like any other resource.
 *
 * source: reference/fwup-format "14.1", "14.2"
 */
#include <stdlib.h>

#include "apply_int.h"
#include "vcdiff_int.h"

/* Clusters that follow each other on the volume: a file that was written in one go is one of these. */
struct extent {
	uint64_t first_block; /* of the destination */
	uint64_t blocks;
};

struct nh_fw_delta {
	struct nh_fw_run *run;
	struct nh_fw_vcdiff *decoder;
	uint64_t size; /* bytes of old data that may be read */
	struct nh_disk_cipher *cipher;
	/* Where the old data is; a raw source is one extent. */
	struct extent *extents;
	size_t extent_count;
};

void nh_fw_delta_free(struct nh_fw_delta *d)
{
	if (!d)
		return;
	nh_fw_vcdiff_free(d->decoder);
	nh_disk_cipher_free(d->cipher);
	free(d->extents);
	free(d);
}

/* ---- old data ----------------------------------------------------------------------------------------------------------------- */

#define READ_BLOCKS 32u

/* Whole blocks of the old data; `block` counts from its beginning. */
static nh_rc blocks_read(struct nh_fw_delta *d, uint64_t block, uint8_t *out, size_t count, struct nh_err *err)
{
	uint64_t first = block;
	uint8_t *at = out;
	size_t left = count;
	for (size_t i = 0; i < d->extent_count && left > 0; i++) {
		const struct extent *e = &d->extents[i];
		if (block >= e->blocks) {
			block -= e->blocks;
			continue;
		}
		size_t n = e->blocks - block < left ? (size_t)(e->blocks - block) : left;
		NH_TRY(nh_fw_cache_read(d->run->cache, (e->first_block + block) * NH_FW_BLOCK, at, n * NH_FW_BLOCK, err));
		at += n * NH_FW_BLOCK;
		left -= n;
		block = 0;
	}
	NH_ASSERT(left == 0); /* size was checked against the extents */
	if (d->cipher)
		nh_disk_decrypt(d->cipher, first, out, count * NH_FW_BLOCK);
	return NH_OK;
}

static nh_rc on_source(void *ctx, uint64_t offset, uint8_t *out, size_t len, struct nh_err *err)
{
	struct nh_fw_delta *d = ctx;
	uint8_t blocks[READ_BLOCKS * NH_FW_BLOCK];
	if (offset > d->size || len > d->size - offset)
		return NH_FAIL(err, NH_EFORMAT, "xdelta tried to load outside of allowed byte range (%zu bytes at %llu of %llu)", len, (unsigned long long)offset,
			       (unsigned long long)d->size);
	while (len > 0) {
		size_t skip = (size_t)(offset % NH_FW_BLOCK), n = sizeof blocks - skip < len ? sizeof blocks - skip : len;
		NH_TRY(blocks_read(d, offset / NH_FW_BLOCK, blocks, (skip + n + NH_FW_BLOCK - 1) / NH_FW_BLOCK, err));
		memcpy(out, blocks + skip, n);
		out += n;
		offset += n;
		len -= n;
	}
	return NH_OK;
}

static void extent_add(struct nh_fw_delta *d, uint64_t first_block, uint64_t blocks)
{
	struct extent *last = d->extent_count ? &d->extents[d->extent_count - 1] : NULL;
	if (last && last->first_block + last->blocks == first_block) {
		last->blocks += blocks;
		return;
	}
	if ((d->extent_count & (d->extent_count - 1)) == 0) { /* full: twice as many */
		d->extents = realloc(d->extents, (d->extent_count ? d->extent_count * 2 : 1) * sizeof *d->extents);
		NH_ASSERT(d->extents);
	}
	d->extents[d->extent_count++] = (struct extent){first_block, blocks};
}

/* Walks the file's chain once; afterwards any part of it is found without the file allocation table. */
static nh_rc fat_source(struct nh_fw_delta *d, const struct nh_fw_on_resource *on, struct nh_err *err)
{
	struct nh_fw_fat *v;
	struct nh_fw_fat_file f;
	NH_TRY(nh_fw_run_volume(d->run, on->fat_offset, &v, err));
	NH_TRY(nh_fw_fat_open(v, on->fat_path, &f, err));
	d->size = f.size;
	uint64_t cluster_bytes = (uint64_t)v->cluster_blocks * NH_FW_BLOCK;
	uint32_t cluster = f.first;
	for (uint64_t at = 0; at < f.size; at += cluster_bytes) {
		if (!cluster)
			return NH_FAIL(err, NH_EFORMAT, "'%.*s' on the FAT volume is shorter than its directory says", NH_ARG(on->fat_path));
		extent_add(d, v->start + nh_fw_fat_cluster_block(v, cluster), v->cluster_blocks);
		if (at + cluster_bytes < f.size)
			NH_TRY(nh_fw_fat_next(v, cluster, &cluster, err));
	}
	return NH_OK;
}

static nh_rc source_open(struct nh_fw_delta *d, const struct nh_fw_on_resource *on, struct nh_err *err)
{
	if (!on->has_raw_source)
		return fat_source(d, on, err);
	d->size = on->raw_count * NH_FW_BLOCK;
	extent_add(d, on->raw_offset, on->raw_count);
	return nh_fw_disk_cipher_of(&on->raw_options, 1, &d->cipher, err);
}

/* ---- the resource -------------------------------------------------------------------------------------------------------------- */

static nh_rc on_target(void *ctx, nh_slice bytes, struct nh_err *err)
{
	struct nh_fw_delta *d = ctx;
	return nh_fw_resource_put(d->run, bytes, err);
}

nh_rc nh_fw_delta_new(struct nh_fw_run *run, const struct nh_fw_on_resource *on, struct nh_fw_delta **out, struct nh_err *err)
{
	struct nh_fw_delta *d = nh_xcalloc(1, sizeof *d);
	d->run = run;
	*out = NULL;
	nh_rc rc = source_open(d, on, err);
	if (rc != NH_OK) {
		nh_fw_delta_free(d);
		return rc;
	}
	d->decoder = nh_fw_vcdiff_new(&(struct nh_fw_vcdiff_config){d, on_source, on_target});
	*out = d;
	return NH_OK;
}

nh_rc nh_fw_delta_feed(struct nh_fw_delta *d, nh_slice bytes, struct nh_err *err) { return nh_fw_vcdiff_feed(d->decoder, bytes, err); }

nh_rc nh_fw_delta_finish(struct nh_fw_delta *d, struct nh_err *err) { return nh_fw_vcdiff_finish(d->decoder, err); }
