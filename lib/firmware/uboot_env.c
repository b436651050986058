/*
 * U-Boot environments: a sorted array of variables, one block's bytes, and the rule which of two redundant copies counts. It does not know
 * partitions or tasks. Invariant: items are sorted by name, names unique.  source: reference/fwup-format "12.3"
 */
#include <errno.h>
#include <stdlib.h>
#include <unistd.h>
#include <zlib.h>

#include "base/arena.h"
#include "base/cursor.h"
#include "base/file.h"
#include "uboot_env_int.h"

#define NAME_MAX_BYTES 65536u
#define VALUE_MAX_BYTES (16u << 20)

struct variable {
	char *text; /* name NUL value NUL */
	size_t name_len, value_len;
};

struct nh_fw_env {
	struct variable *items;
	size_t count, capacity;
	int copy;      /* 0, 1: which copy of a redundant pair was loaded or last stored; -1: none */
	uint8_t flags; /* of that copy */
};

static nh_slice name_of(const struct variable *v)
{
	return nh_slice_of(v->text, v->name_len);
}

static nh_slice value_of(const struct variable *v)
{
	return nh_slice_of(v->text + v->name_len + 1, v->value_len);
}

static struct variable variable_make(nh_slice name, nh_slice value)
{
	struct nh_buf text = {.max = NAME_MAX_BYTES + VALUE_MAX_BYTES + 64};
	nh_buf_put_slice(&text, name);
	nh_buf_put_u8(&text, 0);
	nh_buf_put_slice(&text, value); /* a buffer is always followed by a NUL */
	NH_ASSERT(nh_buf_ok(&text));
	struct variable v = {(char *)text.ptr, name.len, value.len};
	return v;
}

struct nh_fw_env *nh_fw_env_new(void)
{
	struct nh_fw_env *e = nh_xcalloc(1, sizeof *e);
	e->copy = -1;
	return e;
}

void nh_fw_env_clear(struct nh_fw_env *e)
{
	for (size_t i = 0; i < e->count; i++)
		free(e->items[i].text);
	e->count = 0;
	e->copy = -1;
	e->flags = 0;
}

void nh_fw_env_free(struct nh_fw_env *e)
{
	if (!e)
		return;
	nh_fw_env_clear(e);
	free(e->items);
	free(e);
}

/* Index of the first variable whose name is not below `name`; *found: it is that name. */
static size_t position(const struct nh_fw_env *e, nh_slice name, bool *found)
{
	size_t low = 0, high = e->count;
	*found = false;
	while (low < high) {
		size_t mid = low + (high - low) / 2;
		int order = nh_slice_cmp(name_of(&e->items[mid]), name);
		if (order == 0) {
			*found = true;
			return mid;
		}
		if (order < 0)
			low = mid + 1;
		else
			high = mid;
	}
	return low;
}

static void grow(struct nh_fw_env *e)
{
	if (e->count < e->capacity)
		return;
	e->capacity = e->capacity ? e->capacity * 2 : 32;
	e->items = realloc(e->items, e->capacity * sizeof *e->items);
	NH_ASSERT(e->items);
}

bool nh_fw_env_get(const struct nh_fw_env *e, nh_slice name, nh_slice *value)
{
	bool found;
	size_t i = position(e, name, &found);
	if (value)
		*value = found ? value_of(&e->items[i]) : NH_SLICE_EMPTY;
	return found;
}

nh_rc nh_fw_env_set(struct nh_fw_env *e, nh_slice name, nh_slice value, struct nh_err *err)
{
	if (name.len == 0 || name.len > NAME_MAX_BYTES || nh_slice_chr(name, 0) >= 0 || nh_slice_chr(name, '=') >= 0)
		return NH_FAIL(err, NH_EINVAL, "'%.*s' can't be the name of a U-boot variable", NH_ARG(name));
	if (value.len > VALUE_MAX_BYTES || nh_slice_chr(value, 0) >= 0)
		return NH_FAIL(err, NH_EINVAL, "the value for U-boot variable '%.*s' is too long or holds a NUL", NH_ARG(name));
	bool found;
	size_t i = position(e, name, &found);
	struct variable v = variable_make(name, value);
	if (found) {
		free(e->items[i].text);
	} else {
		grow(e);
		memmove(&e->items[i + 1], &e->items[i], (e->count - i) * sizeof *e->items);
		e->count++;
	}
	e->items[i] = v;
	return NH_OK;
}

bool nh_fw_env_unset(struct nh_fw_env *e, nh_slice name)
{
	bool found;
	size_t i = position(e, name, &found);
	if (!found)
		return false;
	free(e->items[i].text);
	memmove(&e->items[i], &e->items[i + 1], (e->count - i - 1) * sizeof *e->items);
	e->count--;
	return true;
}

size_t nh_fw_env_count(const struct nh_fw_env *e)
{
	return e->count;
}

void nh_fw_env_at(const struct nh_fw_env *e, size_t i, nh_slice *name, nh_slice *value)
{
	NH_ASSERT(i < e->count);
	*name = name_of(&e->items[i]);
	*value = value_of(&e->items[i]);
}

/* By name; equal names keep the order of the block, which is the order of their addresses there. */
struct raw_entry {
	nh_slice name, value;
};

static int entry_order(const void *a, const void *b)
{
	const struct raw_entry *x = a, *y = b;
	int order = nh_slice_cmp(x->name, y->name);
	return order ? order : (x->name.ptr > y->name.ptr) - (x->name.ptr < y->name.ptr);
}

static nh_rc entries_read(nh_slice data, struct raw_entry **out, size_t *count, uint64_t block_number, struct nh_err *err)
{
	size_t capacity = 0;
	while (data.len > 0 && data.ptr[0] != 0) {
		ptrdiff_t end = nh_slice_chr(data, 0);
		struct raw_entry entry;
		if (end < 0 || !nh_slice_cut(nh_slice_sub(data, 0, (size_t)end), '=', &entry.name, &entry.value) || entry.name.len == 0 ||
		    entry.name.len > NAME_MAX_BYTES || entry.value.len > VALUE_MAX_BYTES)
			return NH_FAIL(err, NH_EFORMAT, "U-boot environment (block %llu) holds an entry that isn't NAME=VALUE",
				       (unsigned long long)block_number);
		if (*count == capacity) {
			capacity = capacity ? capacity * 2 : 64;
			*out = realloc(*out, capacity * sizeof **out);
			NH_ASSERT(*out);
		}
		(*out)[(*count)++] = entry;
		data = nh_slice_skip(data, (size_t)end + 1);
	}
	return data.len > 0 ? NH_OK :
			      NH_FAIL(err, NH_EFORMAT, "U-boot environment (block %llu) has no end", (unsigned long long)block_number);
}

nh_rc nh_fw_env_decode(struct nh_fw_env *e, nh_slice block, bool redundant, uint64_t block_number, uint8_t *flags, struct nh_err *err)
{
	nh_fw_env_clear(e);
	struct nh_rd r = nh_rd_of(block);
	uint32_t want = nh_rd_u32le(&r);
	uint8_t flag = redundant ? nh_rd_u8(&r) : 0;
	nh_slice data = nh_rd_bytes(&r, nh_rd_left(&r));
	if (!nh_rd_ok(&r) || data.len == 0 || data.len > NH_FW_ENV_SIZE_MAX)
		return NH_FAIL(err, NH_EFORMAT, "U-boot environment (block %llu): %zu bytes can't be one", (unsigned long long)block_number, block.len);
	uint32_t got = (uint32_t)crc32(crc32(0, NULL, 0), data.ptr, (uInt)data.len);
	if (got != want)
		return NH_FAIL(err, NH_EFORMAT, "U-boot environment (block %llu) CRC32 mismatch (expected 0x%08x; got 0x%08x)",
			       (unsigned long long)block_number, want, got);
	struct raw_entry *entries = NULL;
	size_t count = 0;
	nh_rc rc = entries_read(data, &entries, &count, block_number, err);
	if (rc == NH_OK && count > 0) {
		qsort(entries, count, sizeof *entries, entry_order);
		for (size_t i = 0; i < count; i++) {
			if (i > 0 && nh_slice_eq(entries[i].name, entries[i - 1].name))
				continue;
			grow(e);
			e->items[e->count++] = variable_make(entries[i].name, entries[i].value);
		}
	}
	free(entries);
	if (flags)
		*flags = flag;
	return rc;
}

nh_rc nh_fw_env_encode(const struct nh_fw_env *e, size_t size_bytes, bool redundant, uint8_t flags, struct nh_buf *out, struct nh_err *err)
{
	size_t header = redundant ? 5 : 4;
	if (size_bytes < header + 2 || size_bytes > NH_FW_ENV_SIZE_MAX)
		return NH_FAIL(err, NH_EINVAL, "a U-boot environment can't have %zu bytes", size_bytes);
	NH_AUTO_BUF struct nh_buf data = NH_BUF_INIT;
	for (size_t i = 0; i < e->count; i++) {
		const struct variable *v = &e->items[i];
		if (header + data.len + v->name_len + 1 + v->value_len >= size_bytes - 2)
			return NH_FAIL(err, NH_ENOSPC, "Not enough room in U-boot environment");
		nh_buf_put_slice(&data, name_of(v));
		nh_buf_put_u8(&data, '=');
		nh_buf_put_slice(&data, value_of(v));
		nh_buf_put_u8(&data, 0);
	}
	nh_buf_put_u8(&data, 0);
	nh_buf_fill(&data, 0xff, size_bytes - header - data.len);
	nh_wr_u32le(out, (uint32_t)crc32(crc32(0, NULL, 0), data.ptr, (uInt)data.len));
	if (redundant)
		nh_buf_put_u8(out, flags);
	nh_buf_put_slice(out, nh_buf_slice(&data));
	return nh_buf_check(out, "U-boot environment", err);
}

static nh_rc place_check(const struct nh_fw_env_place *p, struct nh_err *err)
{
	uint64_t apart = p->offset_bytes > p->offset_redund_bytes ? p->offset_bytes - p->offset_redund_bytes :
								     p->offset_redund_bytes - p->offset_bytes;
	bool ok = p->size_bytes >= 512 && p->size_bytes <= NH_FW_ENV_SIZE_MAX && p->offset_bytes <= INT64_MAX / 2 &&
		  (!p->redundant || (p->offset_redund_bytes <= INT64_MAX / 2 && apart >= p->size_bytes));
	return ok ? NH_OK : NH_FAIL(err, NH_EINVAL, "a U-boot environment of %llu bytes can't be at %llu and %llu", (unsigned long long)p->size_bytes,
				    (unsigned long long)p->offset_bytes, (unsigned long long)p->offset_redund_bytes);
}

static uint64_t copy_offset(const struct nh_fw_env_place *p, int copy)
{
	return copy == 0 ? p->offset_bytes : p->offset_redund_bytes;
}

/* Reads both copies first: which is newer depends on both flags. */
static nh_rc load_redundant(struct nh_fw_env *e, const struct nh_fw_env_medium *m, const struct nh_fw_env_place *p, uint8_t *both, struct nh_err *err)
{
	uint8_t *copies[2] = {both, both + p->size_bytes};
	for (int i = 0; i < 2; i++)
		NH_TRY(m->read(m->ctx, copy_offset(p, i), copies[i], (size_t)p->size_bytes, err));
	uint8_t delta = (uint8_t)(copies[1][4] - copies[0][4]);
	int first = delta == 0 || delta >= 128 ? 0 : 1;
	nh_rc rc = NH_EFORMAT;
	for (int i = 0; i < 2 && rc != NH_OK; i++) {
		int copy = i == 0 ? first : 1 - first;
		uint8_t flags;
		rc = nh_fw_env_decode(e, nh_slice_of(copies[copy], (size_t)p->size_bytes), true, copy_offset(p, copy) / 512, &flags, err);
		if (rc == NH_OK) {
			e->copy = copy;
			e->flags = flags;
		}
	}
	return rc;
}

nh_rc nh_fw_env_load_from(struct nh_fw_env *e, const struct nh_fw_env_medium *m, const struct nh_fw_env_place *p, struct nh_err *err)
{
	nh_fw_env_clear(e);
	NH_TRY(place_check(p, err));
	uint8_t *bytes = nh_xcalloc(p->redundant ? 2 : 1, (size_t)p->size_bytes);
	nh_rc rc;
	if (p->redundant) {
		rc = load_redundant(e, m, p, bytes, err);
	} else {
		rc = m->read(m->ctx, p->offset_bytes, bytes, (size_t)p->size_bytes, err);
		if (rc == NH_OK)
			rc = nh_fw_env_decode(e, nh_slice_of(bytes, (size_t)p->size_bytes), false, p->offset_bytes / 512, NULL, err);
	}
	free(bytes);
	return rc;
}

nh_rc nh_fw_env_store_to(struct nh_fw_env *e, const struct nh_fw_env_medium *m, const struct nh_fw_env_place *p, struct nh_err *err)
{
	NH_TRY(place_check(p, err));
	bool fresh = e->copy < 0;
	int copy = p->redundant && !fresh ? 1 - e->copy : 0;
	uint8_t flags = fresh ? 1 : (uint8_t)(e->flags + 1);
	NH_AUTO_BUF struct nh_buf bytes = NH_BUF_INIT;
	NH_TRY(nh_fw_env_encode(e, (size_t)p->size_bytes, p->redundant, flags, &bytes, err));
	NH_TRY(m->write(m->ctx, copy_offset(p, copy), nh_buf_slice(&bytes), err));
	if (p->redundant && fresh)
		NH_TRY(m->write(m->ctx, copy_offset(p, 1), nh_buf_slice(&bytes), err));
	if (p->redundant) {
		e->copy = copy;
		e->flags = flags;
	}
	return NH_OK;
}

static nh_rc fd_read(void *ctx, uint64_t offset, uint8_t *out, size_t len, struct nh_err *err)
{
	int fd = *(const int *)ctx;
	size_t done = 0;
	while (done < len) {
		ssize_t n = pread(fd, out + done, len - done, (off_t)(offset + done));
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return NH_FAIL(err, nh_rc_from_errno(errno), "can't read the U-boot environment: %s", strerror(errno));
		if (n == 0)
			break;
		done += (size_t)n;
	}
	memset(out + done, 0, len - done);
	return NH_OK;
}

static nh_rc fd_write(void *ctx, uint64_t offset, nh_slice bytes, struct nh_err *err)
{
	int fd = *(const int *)ctx;
	for (size_t done = 0; done < bytes.len;) {
		ssize_t n = pwrite(fd, bytes.ptr + done, bytes.len - done, (off_t)(offset + done));
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return NH_FAIL(err, nh_rc_from_errno(n < 0 ? errno : EIO), "can't write the U-boot environment: %s", strerror(n < 0 ? errno : EIO));
		done += (size_t)n;
	}
	return NH_OK;
}

nh_rc nh_fw_env_load(struct nh_fw_env *e, int fd, const struct nh_fw_env_place *place, struct nh_err *err)
{
	return nh_fw_env_load_from(e, &(struct nh_fw_env_medium){&fd, fd_read, fd_write}, place, err);
}

nh_rc nh_fw_env_store(struct nh_fw_env *e, int fd, const struct nh_fw_env_place *place, struct nh_err *err)
{
	NH_TRY(nh_fw_env_store_to(e, &(struct nh_fw_env_medium){&fd, fd_read, fd_write}, place, err));
	/* EINVAL: a descriptor that has nothing to sync */
	if (fdatasync(fd) != 0 && errno != EINVAL)
		return NH_FAIL(err, nh_rc_from_errno(errno), "can't write the U-boot environment: %s", strerror(errno));
	return NH_OK;
}
