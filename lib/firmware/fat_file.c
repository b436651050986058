/*
 * What tasks do on FAT volumes: write, copy, rename, remove and mark files, make directories. Dates are always 1980-01-01, access dates 0.
 * source: reference/fwup-format "9", "12.5"
 */
#include "fat_int.h"

static void date_put(uint8_t *at)
{
	at[0] = at[1] = 0;
	at[2] = (uint8_t)NH_FW_FAT_DATE;
	at[3] = (uint8_t)(NH_FW_FAT_DATE >> 8);
}

#define CREATED 14
#define WRITTEN 22

static void size_put(struct nh_fw_fat_entry *e, uint64_t size)
{
	for (unsigned i = 0; i < 4; i++)
		e->bytes[28 + i] = (uint8_t)(size >> (8 * i));
}

static void make_empty_file(struct nh_fw_fat_entry *e)
{
	date_put(e->bytes + CREATED);
	date_put(e->bytes + WRITTEN);
	e->bytes[11] = NH_FW_FAT_ARCHIVE;
	nh_fw_fat_entry_set_cluster(e, 0);
	size_put(e, 0);
}

static nh_rc lookup(struct nh_fw_fat *v, nh_slice path, struct nh_fw_fat_entry *e, struct nh_err *err)
{
	uint32_t dir;
	struct nh_fw_fat_name name;
	NH_TRY(nh_fw_fat_walk(v, path, &dir, &name, err));
	nh_rc rc = nh_fw_fat_find(v, dir, &name, e, err);
	if (rc == NH_ENOTFOUND)
		return NH_FAIL(err, rc, "'%.*s' isn't on the FAT volume at block %llu", NH_ARG(path), (unsigned long long)v->start);
	return rc;
}

nh_rc nh_fw_fat_create(struct nh_fw_fat *v, nh_slice path, struct nh_fw_fat_file *f, struct nh_err *err)
{
	*f = (struct nh_fw_fat_file){.v = v};
	uint32_t dir;
	struct nh_fw_fat_name name;
	NH_TRY(nh_fw_fat_walk(v, path, &dir, &name, err));
	nh_rc rc = nh_fw_fat_find(v, dir, &name, &f->entry, err);
	if (rc == NH_ENOTFOUND) {
		NH_TRY(nh_fw_fat_register(v, dir, &name, &f->entry, err));
	} else {
		NH_TRY(rc);
		if (f->entry.bytes[11] & (NH_FW_FAT_DIR | NH_FW_FAT_READ_ONLY))
			return NH_FAIL(err, NH_EPERM, "'%.*s' on the FAT volume is a directory or read-only", NH_ARG(path));
		uint32_t old = nh_fw_fat_entry_cluster(v, &f->entry);
		NH_TRY(nh_fw_fat_release(v, old, err));
		if (old)
			v->last = old - 1; /* the new contents go where the old ones were */
	}
	make_empty_file(&f->entry);
	return nh_fw_fat_entry_save(v, &f->entry, err);
}

/* Writes the block that pos is in; called when it is full or the file ends. */
static nh_rc block_put(struct nh_fw_fat_file *f, uint64_t pos, struct nh_err *err)
{
	uint32_t in_cluster = (uint32_t)(pos / NH_FW_BLOCK) % f->v->cluster_blocks;
	if (in_cluster == 0) {
		NH_TRY(nh_fw_fat_extend(f->v, f->cluster, &f->cluster, err));
		if (!f->first)
			f->first = f->cluster;
	}
	return nh_fw_fat_block_write(f->v, nh_fw_fat_cluster_block(f->v, f->cluster) + in_cluster, f->block, err);
}

nh_rc nh_fw_fat_append(struct nh_fw_fat_file *f, nh_slice bytes, struct nh_err *err)
{
	if (bytes.len > UINT32_MAX - f->size)
		return NH_FAIL(err, NH_ETOOBIG, "a file on a FAT volume can't have 4 GiB or more");
	while (bytes.len > 0) {
		size_t at = (size_t)(f->size % NH_FW_BLOCK), n = NH_FW_BLOCK - at < bytes.len ? NH_FW_BLOCK - at : bytes.len;
		memcpy(f->block + at, bytes.ptr, n);
		if (at + n == NH_FW_BLOCK) {
			NH_TRY(block_put(f, f->size - at, err));
			memset(f->block, 0, sizeof f->block);
		}
		f->size += n;
		bytes = nh_slice_skip(bytes, n);
	}
	return NH_OK;
}

nh_rc nh_fw_fat_append_zeros(struct nh_fw_fat_file *f, uint64_t count, struct nh_err *err)
{
	static const uint8_t zeros[NH_FW_BLOCK];
	while (count > 0) {
		size_t n = count < sizeof zeros ? (size_t)count : sizeof zeros;
		NH_TRY(nh_fw_fat_append(f, nh_slice_of(zeros, n), err));
		count -= n;
	}
	return NH_OK;
}

nh_rc nh_fw_fat_close(struct nh_fw_fat_file *f, struct nh_err *err)
{
	if (f->size % NH_FW_BLOCK)
		NH_TRY(block_put(f, f->size - f->size % NH_FW_BLOCK, err));
	nh_fw_fat_entry_set_cluster(&f->entry, f->first);
	size_put(&f->entry, f->size);
	NH_TRY(nh_fw_fat_entry_save(f->v, &f->entry, err));
	return nh_fw_fat_sync(f->v, err);
}

nh_rc nh_fw_fat_open(struct nh_fw_fat *v, nh_slice path, struct nh_fw_fat_file *f, struct nh_err *err)
{
	*f = (struct nh_fw_fat_file){.v = v};
	NH_TRY(lookup(v, path, &f->entry, err));
	if (nh_fw_fat_is_dir(&f->entry))
		return NH_FAIL(err, NH_ENOTFOUND, "'%.*s' is a directory", NH_ARG(path));
	for (unsigned i = 0; i < 4; i++)
		f->size |= (uint64_t)f->entry.bytes[28 + i] << (8 * i);
	f->first = nh_fw_fat_entry_cluster(v, &f->entry);
	if (f->size > 0 && (f->first < 2 || f->first >= v->clusters_end ||
			    f->size > (uint64_t)(v->clusters_end - 2) * v->cluster_blocks * NH_FW_BLOCK))
		return NH_FAIL(err, NH_EFORMAT, "'%.*s' on the FAT volume is damaged", NH_ARG(path));
	return NH_OK;
}

nh_rc nh_fw_fat_read(struct nh_fw_fat_file *f, nh_slice *out, struct nh_err *err)
{
	*out = NH_SLICE_EMPTY;
	if (f->pos >= f->size)
		return NH_OK;
	uint32_t in_cluster = (uint32_t)(f->pos / NH_FW_BLOCK) % f->v->cluster_blocks;
	if (f->pos == 0) {
		f->cluster = f->first;
	} else if (in_cluster == 0) {
		NH_TRY(nh_fw_fat_next(f->v, f->cluster, &f->cluster, err));
		if (!f->cluster)
			return NH_FAIL(err, NH_EFORMAT, "a file on the FAT volume is shorter than its directory says");
	}
	NH_TRY(nh_fw_fat_block_read(f->v, nh_fw_fat_cluster_block(f->v, f->cluster) + in_cluster, f->block, err));
	uint64_t left = f->size - f->pos;
	*out = nh_slice_of(f->block, left < NH_FW_BLOCK ? (size_t)left : NH_FW_BLOCK);
	f->pos += out->len;
	return NH_OK;
}

nh_rc nh_fw_fat_mkdir(struct nh_fw_fat *v, nh_slice path, struct nh_err *err)
{
	uint32_t dir, cluster;
	struct nh_fw_fat_name name;
	struct nh_fw_fat_entry e;
	NH_TRY(nh_fw_fat_walk(v, path, &dir, &name, err));
	nh_rc rc = nh_fw_fat_find(v, dir, &name, &e, err);
	if (rc == NH_OK)
		return nh_fw_fat_is_dir(&e) ? NH_OK : NH_FAIL(err, NH_ECONFLICT, "'%.*s' exists and is no directory", NH_ARG(path));
	if (rc != NH_ENOTFOUND)
		return rc;
	NH_TRY(nh_fw_fat_extend(v, 0, &cluster, err));
	NH_TRY(nh_fw_fat_dir_clear(v, cluster, err));
	uint8_t block[NH_FW_BLOCK] = {0};
	struct nh_fw_fat_entry dot = {.bytes = {[11] = NH_FW_FAT_DIR}};
	date_put(dot.bytes + WRITTEN);
	memset(dot.bytes, ' ', 11);
	dot.bytes[0] = '.';
	nh_fw_fat_entry_set_cluster(&dot, cluster);
	memcpy(block, dot.bytes, 32);
	dot.bytes[1] = '.';
	nh_fw_fat_entry_set_cluster(&dot, dir == v->root_cluster ? 0 : dir);
	memcpy(block + 32, dot.bytes, 32);
	NH_TRY(nh_fw_fat_block_write(v, nh_fw_fat_cluster_block(v, cluster), block, err));
	NH_TRY(nh_fw_fat_register(v, dir, &name, &e, err));
	date_put(e.bytes + WRITTEN);
	nh_fw_fat_entry_set_cluster(&e, cluster);
	e.bytes[11] = NH_FW_FAT_DIR;
	NH_TRY(nh_fw_fat_entry_save(v, &e, err));
	return nh_fw_fat_sync(v, err);
}

nh_rc nh_fw_fat_touch(struct nh_fw_fat *v, nh_slice path, struct nh_err *err)
{
	uint32_t dir;
	struct nh_fw_fat_name name;
	struct nh_fw_fat_entry e;
	NH_TRY(nh_fw_fat_walk(v, path, &dir, &name, err));
	nh_rc rc = nh_fw_fat_find(v, dir, &name, &e, err);
	if (rc != NH_ENOTFOUND)
		return rc == NH_OK && nh_fw_fat_is_dir(&e) ? NH_FAIL(err, NH_ECONFLICT, "'%.*s' is a directory", NH_ARG(path)) : rc;
	NH_TRY(nh_fw_fat_register(v, dir, &name, &e, err));
	make_empty_file(&e);
	NH_TRY(nh_fw_fat_entry_save(v, &e, err));
	return nh_fw_fat_sync(v, err);
}

nh_rc nh_fw_fat_remove(struct nh_fw_fat *v, nh_slice path, struct nh_err *err)
{
	struct nh_fw_fat_entry e;
	NH_TRY(lookup(v, path, &e, err));
	uint32_t cluster = nh_fw_fat_entry_cluster(v, &e);
	if (e.bytes[11] & NH_FW_FAT_READ_ONLY)
		return NH_FAIL(err, NH_EPERM, "'%.*s' on the FAT volume is read-only", NH_ARG(path));
	if (nh_fw_fat_is_dir(&e)) {
		bool empty;
		NH_TRY(nh_fw_fat_dir_is_empty(v, cluster, &empty, err));
		if (!empty)
			return NH_FAIL(err, NH_ECONFLICT, "the directory '%.*s' isn't empty", NH_ARG(path));
	}
	NH_TRY(nh_fw_fat_unregister(v, &e, err));
	NH_TRY(nh_fw_fat_release(v, cluster, err));
	return nh_fw_fat_sync(v, err);
}

nh_rc nh_fw_fat_rename(struct nh_fw_fat *v, nh_slice from, nh_slice to, struct nh_err *err)
{
	uint32_t dir;
	struct nh_fw_fat_name name;
	struct nh_fw_fat_entry old, new;
	NH_TRY(lookup(v, from, &old, err));
	NH_TRY(nh_fw_fat_walk(v, to, &dir, &name, err));
	nh_rc rc = nh_fw_fat_find(v, dir, &name, &new, err);
	/* Finding itself is a change of case. */
	if (rc == NH_OK && (new.block != old.block || new.offset != old.offset))
		return NH_FAIL(err, NH_ECONFLICT, "'%.*s' exists already", NH_ARG(to));
	if (rc != NH_OK && rc != NH_ENOTFOUND)
		return rc;
	NH_TRY(nh_fw_fat_register(v, dir, &name, &new, err));
	memcpy(new.bytes + 13, old.bytes + 13, 32 - 13);
	new.bytes[11] = nh_fw_fat_is_dir(&old) ? old.bytes[11] : old.bytes[11] | NH_FW_FAT_ARCHIVE;
	NH_TRY(nh_fw_fat_entry_save(v, &new, err));
	uint32_t cluster = nh_fw_fat_entry_cluster(v, &old);
	if (nh_fw_fat_is_dir(&old) && dir != old.dir && cluster >= 2 && cluster < v->clusters_end) {
		/* its ".." moves too */
		struct nh_fw_fat_entry up = {.block = nh_fw_fat_cluster_block(v, cluster), .offset = 32};
		uint8_t block[NH_FW_BLOCK];
		NH_TRY(nh_fw_fat_block_read(v, up.block, block, err));
		memcpy(up.bytes, block + 32, 32);
		nh_fw_fat_entry_set_cluster(&up, dir == v->root_cluster ? 0 : dir);
		if (up.bytes[0] == '.' && up.bytes[1] == '.')
			NH_TRY(nh_fw_fat_entry_save(v, &up, err));
	}
	NH_TRY(nh_fw_fat_unregister(v, &old, err));
	return nh_fw_fat_sync(v, err);
}

nh_rc nh_fw_fat_attrib(struct nh_fw_fat *v, nh_slice path, uint8_t attributes, struct nh_err *err)
{
	struct nh_fw_fat_entry e;
	uint8_t mask = NH_FW_FAT_READ_ONLY | NH_FW_FAT_HIDDEN | NH_FW_FAT_SYSTEM;
	NH_TRY(lookup(v, path, &e, err));
	e.bytes[11] = (uint8_t)((e.bytes[11] & ~mask) | (attributes & mask));
	return nh_fw_fat_entry_save(v, &e, err);
}

nh_rc nh_fw_fat_copy(struct nh_fw_fat *from_volume, nh_slice from, struct nh_fw_fat *to_volume, nh_slice to, struct nh_err *err)
{
	struct nh_fw_fat_file source, target;
	NH_TRY(nh_fw_fat_open(from_volume, from, &source, err));
	struct nh_fw_fat_entry same;
	/* Creating the target empties it: onto itself that would lose the file. */
	if (from_volume == to_volume && lookup(to_volume, to, &same, NULL) == NH_OK && same.block == source.entry.block &&
	    same.offset == source.entry.offset)
		return NH_OK;
	NH_TRY(nh_fw_fat_create(to_volume, to, &target, err));
	for (;;) {
		nh_slice bytes;
		NH_TRY(nh_fw_fat_read(&source, &bytes, err));
		if (bytes.len == 0)
			return nh_fw_fat_close(&target, err);
		NH_TRY(nh_fw_fat_append(&target, bytes, err));
	}
}
