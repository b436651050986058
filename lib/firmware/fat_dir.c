/*
 * Directories: walking, finding, making and removing entries with their VFAT long names. A directory is named by its first cluster, 0 for the fixed
 * root of FAT12/16. Walks end after 65536 entries, the format's limit, so that a looping chain ends too.  source: reference/fwup-format "12.5"
 */
#include "base/cursor.h"
#include "fat_int.h"

#define ENTRIES_MAX 65536u
#define PER_BLOCK (NH_FW_BLOCK / 32)
#define DELETED 0xe5
#define LONG_ATTRIBUTES 0x0f
#define LONG_CHARS 13

/* A position in a directory and the block it is in. */
struct cursor {
	struct nh_fw_fat *v;
	uint32_t dir, cluster, index, block;
	uint8_t bytes[NH_FW_BLOCK];
};

static uint8_t *entry_of(struct cursor *c)
{
	return c->bytes + (c->index % PER_BLOCK) * 32;
}

static nh_rc cursor_load(struct cursor *c, struct nh_err *err)
{
	if (c->cluster == 0)
		c->block = c->v->root_start + c->index / PER_BLOCK;
	else
		c->block = nh_fw_fat_cluster_block(c->v, c->cluster) + c->index / PER_BLOCK % c->v->cluster_blocks;
	return nh_fw_fat_block_read(c->v, c->block, c->bytes, err);
}

static nh_rc cursor_begin(struct cursor *c, struct nh_fw_fat *v, uint32_t dir, struct nh_err *err)
{
	*c = (struct cursor){.v = v, .dir = dir, .cluster = dir};
	if (dir == 1 || dir >= v->clusters_end)
		return NH_FAIL(err, NH_EFORMAT, "the FAT volume at block %llu is damaged: directory cluster %u", (unsigned long long)v->start, dir);
	return cursor_load(c, err);
}

/* *more: false at the end of the directory. grow: add a cluster there. */
static nh_rc cursor_next(struct cursor *c, bool grow, bool *more, struct nh_err *err)
{
	*more = false;
	uint32_t index = c->index + 1;
	if (index >= ENTRIES_MAX || (c->cluster == 0 && index >= c->v->root_entries))
		return NH_OK;
	if (c->cluster && index % (PER_BLOCK * c->v->cluster_blocks) == 0) {
		uint32_t next;
		NH_TRY(nh_fw_fat_next(c->v, c->cluster, &next, err));
		if (!next && !grow)
			return NH_OK;
		if (!next) {
			NH_TRY(nh_fw_fat_extend(c->v, c->cluster, &next, err));
			NH_TRY(nh_fw_fat_dir_clear(c->v, next, err));
		}
		c->cluster = next;
	}
	c->index = index;
	*more = true;
	return index % PER_BLOCK == 0 ? cursor_load(c, err) : NH_OK;
}

static nh_rc cursor_save(struct cursor *c, struct nh_err *err)
{
	return nh_fw_fat_block_write(c->v, c->block, c->bytes, err);
}

static nh_rc cursor_seek(struct cursor *c, struct nh_fw_fat *v, uint32_t dir, uint32_t index, struct nh_err *err)
{
	NH_TRY(cursor_begin(c, v, dir, err));
	while (c->index < index) {
		bool more;
		NH_TRY(cursor_next(c, false, &more, err));
		if (!more)
			return NH_FAIL(err, NH_EINTERNAL, "a directory ended early");
	}
	return NH_OK;
}

nh_rc nh_fw_fat_dir_clear(struct nh_fw_fat *v, uint32_t cluster, struct nh_err *err)
{
	static const uint8_t zeros[NH_FW_BLOCK];
	for (uint32_t i = 0; i < v->cluster_blocks; i++)
		NH_TRY(nh_fw_fat_block_write(v, nh_fw_fat_cluster_block(v, cluster) + i, zeros, err));
	return NH_OK;
}

/* Where the 13 characters of a long entry are. */
static unsigned long_offset(unsigned i)
{
	return i < 5 ? 1 + 2 * i : i < 11 ? 14 + 2 * (i - 5) : 28 + 2 * (i - 11);
}

/* The long name gathered from the entries before an 8.3 entry; they come last part first. */
struct long_name {
	uint16_t text[20 * LONG_CHARS];
	size_t len;
	unsigned expect;      /* number of the next part; 0: complete, 0xff: none */
	uint8_t sum;
	uint32_t first_index;
};

static void long_part(struct long_name *l, const uint8_t *e, uint32_t index)
{
	unsigned order = e[0] & 0x3f;
	if (e[0] & 0x40) {
		*l = (struct long_name){.expect = order, .sum = e[13], .first_index = index};
		l->expect = order >= 1 && order <= 20 ? order : 0xff;
	}
	if (l->expect == 0xff || l->expect == 0 || order != l->expect || e[13] != l->sum) {
		l->expect = 0xff;
		return;
	}
	for (unsigned i = 0; i < LONG_CHARS; i++) {
		uint16_t c = (uint16_t)(e[long_offset(i)] | e[long_offset(i) + 1] << 8);
		size_t at = (order - 1) * LONG_CHARS + i;
		l->text[at] = c;
		if (e[0] & 0x40 && c != 0 && c != 0xffff)
			l->len = at + 1;
	}
	l->expect = order - 1;
}

uint32_t nh_fw_fat_entry_cluster(const struct nh_fw_fat *v, const struct nh_fw_fat_entry *e)
{
	uint32_t low = (uint32_t)(e->bytes[26] | e->bytes[27] << 8), high = (uint32_t)(e->bytes[20] | e->bytes[21] << 8);
	return v->bits == 32 ? low | high << 16 : low;
}

void nh_fw_fat_entry_set_cluster(struct nh_fw_fat_entry *e, uint32_t cluster)
{
	e->bytes[26] = (uint8_t)cluster;
	e->bytes[27] = (uint8_t)(cluster >> 8);
	e->bytes[20] = (uint8_t)(cluster >> 16);
	e->bytes[21] = (uint8_t)(cluster >> 24);
}

nh_rc nh_fw_fat_entry_save(struct nh_fw_fat *v, const struct nh_fw_fat_entry *e, struct nh_err *err)
{
	uint8_t bytes[NH_FW_BLOCK];
	NH_TRY(nh_fw_fat_block_read(v, e->block, bytes, err));
	memcpy(bytes + e->offset, e->bytes, 32);
	return nh_fw_fat_block_write(v, e->block, bytes, err);
}

static void entry_take(struct cursor *c, const struct long_name *l, bool has_long, struct nh_fw_fat_entry *out)
{
	*out = (struct nh_fw_fat_entry){.dir = c->dir, .index = c->index, .block = c->block, .offset = c->index % PER_BLOCK * 32};
	out->first_index = has_long ? l->first_index : c->index;
	memcpy(out->bytes, entry_of(c), 32);
}

nh_rc nh_fw_fat_find(struct nh_fw_fat *v, uint32_t dir, const struct nh_fw_fat_name *name, struct nh_fw_fat_entry *out, struct nh_err *err)
{
	struct long_name l = {.expect = 0xff};
	struct cursor c;
	NH_TRY(cursor_begin(&c, v, dir, err));
	for (bool more = true; more;) {
		const uint8_t *e = entry_of(&c);
		if (e[0] == 0)
			break;
		if (e[0] != DELETED && (e[11] & 0x3f) == LONG_ATTRIBUTES) {
			long_part(&l, e, c.index);
		} else {
			bool is_file = e[0] != DELETED && !(e[11] & NH_FW_FAT_LABEL);
			bool has_long = is_file && l.expect == 0 && l.sum == nh_fw_fat_alias_sum(e);
			if ((has_long && nh_fw_fat_text_eq(l.text, l.len, name->text, name->len)) ||
			    (is_file && !name->is_lossy && memcmp(e, name->alias, 11) == 0)) {
				entry_take(&c, &l, has_long, out);
				return NH_OK;
			}
			l.expect = 0xff;
		}
		NH_TRY(cursor_next(&c, false, &more, err));
	}
	return NH_FAIL(err, NH_ENOTFOUND, "there is no such file on the FAT volume at block %llu", (unsigned long long)v->start);
}

static bool is_separator(uint8_t c)
{
	return c == '/' || c == '\\';
}

nh_rc nh_fw_fat_walk(struct nh_fw_fat *v, nh_slice path, uint32_t *dir, struct nh_fw_fat_name *name, struct nh_err *err)
{
	*dir = v->root_cluster;
	for (nh_slice rest = path;;) {
		while (rest.len > 0 && is_separator(rest.ptr[0]))
			rest = nh_slice_skip(rest, 1);
		size_t n = 0;
		while (n < rest.len && !is_separator(rest.ptr[n]))
			n++;
		NH_TRY(nh_fw_fat_name_parse(nh_slice_sub(rest, 0, n), name, err));
		rest = nh_slice_skip(rest, n);
		size_t more = 0;
		while (more < rest.len && is_separator(rest.ptr[more]))
			more++;
		if (more == rest.len)
			return NH_OK;
		struct nh_fw_fat_entry e;
		NH_TRY(nh_fw_fat_find(v, *dir, name, &e, err));
		uint32_t cluster = nh_fw_fat_entry_cluster(v, &e);
		if (!nh_fw_fat_is_dir(&e) || cluster < 2)
			return NH_FAIL(err, NH_ENOTFOUND, "'%.*s' goes through something that is no directory", NH_ARG(path));
		*dir = cluster;
	}
}

/* Finds `count` free entries in a row, growing the directory where needed; *first is the first one's index. */
static nh_rc allocate(struct nh_fw_fat *v, uint32_t dir, uint32_t count, uint32_t *first, struct nh_err *err)
{
	struct cursor c;
	NH_TRY(cursor_begin(&c, v, dir, err));
	uint32_t run = 0;
	for (bool more = true; more;) {
		uint8_t mark = entry_of(&c)[0];
		run = mark == 0 || mark == DELETED ? run + 1 : 0;
		if (run == count) {
			*first = c.index + 1 - count;
			return NH_OK;
		}
		NH_TRY(cursor_next(&c, true, &more, err));
	}
	return NH_FAIL(err, NH_ENOSPC, "a directory on the FAT volume at block %llu is full", (unsigned long long)v->start);
}

static void long_entry_put(uint8_t *e, const struct nh_fw_fat_name *name, unsigned order, bool last, uint8_t sum)
{
	memset(e, 0, 32);
	e[0] = (uint8_t)(order | (last ? 0x40 : 0));
	e[11] = LONG_ATTRIBUTES;
	e[13] = sum;
	for (unsigned i = 0; i < LONG_CHARS; i++) {
		size_t at = (order - 1) * LONG_CHARS + i;
		uint16_t c = at < name->len ? name->text[at] : at == name->len ? 0 : 0xffff;
		e[long_offset(i)] = (uint8_t)c;
		e[long_offset(i) + 1] = (uint8_t)(c >> 8);
	}
}

/* An alias that no other file has. */
static nh_rc alias_choose(struct nh_fw_fat *v, uint32_t dir, const struct nh_fw_fat_name *name, uint8_t alias[11], struct nh_err *err)
{
	memcpy(alias, name->alias, 11);
	for (unsigned number = 1; name->is_lossy; number++) {
		struct nh_fw_fat_name probe = {0};
		struct nh_fw_fat_entry e;
		if (number >= 100)
			return NH_FAIL(err, NH_ENOSPC, "too many similar names on the FAT volume at block %llu", (unsigned long long)v->start);
		nh_fw_fat_name_number(name, number, probe.alias);
		nh_rc rc = nh_fw_fat_find(v, dir, &probe, &e, err);
		if (rc == NH_ENOTFOUND) {
			memcpy(alias, probe.alias, 11);
			return NH_OK;
		}
		NH_TRY(rc);
	}
	return NH_OK;
}

nh_rc nh_fw_fat_register(struct nh_fw_fat *v, uint32_t dir, const struct nh_fw_fat_name *name, struct nh_fw_fat_entry *out, struct nh_err *err)
{
	uint8_t alias[11];
	NH_TRY(alias_choose(v, dir, name, alias, err));
	uint32_t longs = name->is_long ? (uint32_t)(name->len + LONG_CHARS - 1) / LONG_CHARS : 0, first;
	NH_TRY(allocate(v, dir, longs + 1, &first, err));
	struct cursor c;
	NH_TRY(cursor_seek(&c, v, dir, first, err));
	for (uint32_t order = longs; order > 0; order--) {
		bool more;
		long_entry_put(entry_of(&c), name, order, order == longs, nh_fw_fat_alias_sum(alias));
		NH_TRY(cursor_save(&c, err));
		NH_TRY(cursor_next(&c, false, &more, err));
		NH_ASSERT(more); /* allocate just saw these entries */
	}
	uint8_t *e = entry_of(&c);
	memset(e, 0, 32);
	memcpy(e, alias, 11);
	e[12] = name->case_bits;
	NH_TRY(cursor_save(&c, err));
	entry_take(&c, &(struct long_name){.first_index = first}, true, out);
	return NH_OK;
}

nh_rc nh_fw_fat_unregister(struct nh_fw_fat *v, const struct nh_fw_fat_entry *e, struct nh_err *err)
{
	struct cursor c;
	NH_TRY(cursor_seek(&c, v, e->dir, e->first_index, err));
	for (;;) {
		bool more;
		entry_of(&c)[0] = DELETED;
		NH_TRY(cursor_save(&c, err));
		if (c.index >= e->index)
			return NH_OK;
		NH_TRY(cursor_next(&c, false, &more, err));
		if (!more)
			return NH_FAIL(err, NH_EINTERNAL, "a directory ended early");
	}
}

nh_rc nh_fw_fat_dir_is_empty(struct nh_fw_fat *v, uint32_t dir, bool *empty, struct nh_err *err)
{
	struct cursor c;
	*empty = true;
	NH_TRY(cursor_begin(&c, v, dir, err));
	for (bool more = true; more;) {
		const uint8_t *e = entry_of(&c);
		if (e[0] == 0)
			break;
		if (e[0] != DELETED && e[0] != '.' && !(e[11] & NH_FW_FAT_LABEL))
			*empty = false;
		NH_TRY(cursor_next(&c, false, &more, err));
	}
	return NH_OK;
}

nh_rc nh_fw_fat_set_label(struct nh_fw_fat *v, nh_slice label, struct nh_err *err)
{
	uint8_t name[11];
	NH_TRY(nh_fw_fat_label_parse(label, name, err));
	struct cursor c;
	NH_TRY(cursor_begin(&c, v, v->root_cluster, err));
	bool found = false;
	for (bool more = true; more && !found;) {
		const uint8_t *e = entry_of(&c);
		if (e[0] == 0)
			break;
		found = e[0] != DELETED && (e[11] & 0x3f) != LONG_ATTRIBUTES && (e[11] & NH_FW_FAT_LABEL);
		if (!found)
			NH_TRY(cursor_next(&c, false, &more, err));
	}
	if (!found) {
		uint32_t index;
		if (label.len == 0)
			return NH_OK;
		NH_TRY(allocate(v, v->root_cluster, 1, &index, err));
		NH_TRY(cursor_seek(&c, v, v->root_cluster, index, err));
		memset(entry_of(&c), 0, 32);
		entry_of(&c)[11] = NH_FW_FAT_LABEL;
	}
	uint8_t *e = entry_of(&c);
	memcpy(e, name, 11);
	if (label.len == 0)
		e[0] = DELETED;
	return cursor_save(&c, err);
}
