/*
 * The files of a download in the link's own folder:
 *
 *   UUID.partial   bytes so far, in order
 *   UUID.fw        the same, whole, verified and on the disk: renamed last
 *   UUID.offer     what they are bytes of, and whether the update is under way: so that a later offer, or a later process, knows what may be continued
 *
 * There is one firmware in the folder at a time. Each full MiB is flushed before a byte is written behind it: after a power cut everything below the last begun
 * MiB is what was received, and only that is taken up again; after the mere end of the process everything is.
 *
 * A sealed file is open only while it is read from here: rauc, for one, insists on having it for itself.
 *
 * Names come from a parsed UUID, never from text of the server. source: reference/device-protocol "13.4"
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "base/encode.h"
#include "base/file.h"
#include "base/json.h"
#include "base/uuid.h"
#include "cache_int.h"

#define NOTE_MAX ((size_t)4 << 20)
#define RESTORES_MAX 10
#define BLOCK ((size_t)64 << 10)

struct link_cache {
	struct nh_arena arena;
	const struct nh_link_offer *offer;
	const char *dir, *partial, *sealed, *note;
	int fd;
	bool is_sealed;
	uint64_t size;
	struct link_parts parts;
	char *etag;
	unsigned restored; /* as in the note */
};

/* ---- names */

/* The canonical form: what a name is made of. */
static nh_rc canonical(nh_slice text, char out[NH_UUID_TEXT_LEN + 1], struct nh_err *err)
{
	struct nh_uuid uuid;
	if (nh_uuid_parse(text, &uuid) != NH_OK)
		return NH_FAIL(err, NH_EINVAL, "the firmware's uuid is none");
	nh_uuid_format(&uuid, out);
	return NH_OK;
}

static const char *path_of(struct nh_arena *arena, const char *dir, const char *uuid, const char *suffix) { return nh_arena_printf(arena, "%s/%s%s", dir, uuid, suffix); }

/* Is it one of our files, also one that an interrupted replacement left, and is it of another firmware than this one? */
static bool is_foreign(const char *name, const char *uuid)
{
	struct nh_uuid parsed;
	nh_slice text = nh_slice_str(name), suffix = nh_slice_skip(text, NH_UUID_TEXT_LEN);
	if (nh_uuid_parse(nh_slice_sub(text, 0, NH_UUID_TEXT_LEN), &parsed) != NH_OK)
		return false;
	bool whole = nh_slice_eq_str(suffix, ".partial") || nh_slice_eq_str(suffix, ".fw") || nh_slice_eq_str(suffix, ".offer");
	return whole ? !nh_slice_eq_str(nh_slice_sub(text, 0, NH_UUID_TEXT_LEN), uuid) : nh_slice_starts(suffix, NH_LIT(".offer."));
}

static void remove_others(const char *dir, const char *uuid)
{
	DIR *d = opendir(dir);
	for (struct dirent *e; d && (e = readdir(d));)
		if (is_foreign(e->d_name, uuid))
			unlinkat(dirfd(d), e->d_name, 0);
	if (d)
		closedir(d);
}

static void sync_dir(const char *dir)
{
	int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return;
	(void)fsync(fd); /* some file systems cannot; then the file is as safe as it can be */
	close(fd);
}

static nh_rc fail_errno(const struct link_cache *c, const char *verb, struct nh_err *err)
{
	int number = errno;
	return NH_FAIL(err, nh_rc_from_errno(number), "cannot %s %s: %s", verb, c->is_sealed ? c->sealed : c->partial, strerrordesc_np(number));
}

static void close_file(struct link_cache *c)
{
	if (c->fd >= 0)
		close(c->fd);
	c->fd = -1;
}

/* ---- the note */

struct note {
	struct nh_link_offer offer;
	nh_slice etag, boot;
	unsigned restored; /* how often it was taken up after a restart */
	bool open;         /* the update is under way */
};

static nh_slice boot_id(struct nh_arena *arena)
{
	NH_AUTO_BUF struct nh_buf text = NH_BUF_INIT;
	if (nh_file_read("/proc/sys/kernel/random/boot_id", 100, &text, NULL) != NH_OK)
		return NH_SLICE_EMPTY;
	return nh_arena_copy(arena, nh_slice_trim(nh_buf_slice(&text)));
}

static nh_rc note_write(const char *path, const struct note *n, struct nh_err *err)
{
	const struct nh_link_offer *o = &n->offer;
	NH_AUTO_BUF struct nh_buf text = NH_BUF_INIT;
	NH_AUTO_JSON json_t *parts = json_array();
	for (size_t i = 0; i < o->part_count; i++)
		json_array_append_new(parts, nh_json_new_text(o->parts_sha256_hex[i]));
	NH_AUTO_JSON json_t *object = json_pack("{s:o, s:o, s:o, s:o, s:o, s:o, s:I, s:o, s:O, s:o, s:o, s:i, s:b}", "uuid", nh_json_new_text(o->uuid), "url", nh_json_new_text(o->url),
		"version", nh_json_new_text(o->version), "product", nh_json_new_text(o->product), "platform", nh_json_new_text(o->platform), "architecture",
		nh_json_new_text(o->architecture), "size", (json_int_t)o->size_bytes, "checksum", nh_json_new_text(o->sha256_hex), "parts", parts, "etag", nh_json_new_text(n->etag),
		"boot", nh_json_new_text(n->boot), "restored", (int)n->restored, "open", (int)n->open);
	nh_json_put(&text, object);
	return nh_file_write_atomic(path, nh_buf_slice(&text), 0600, err); /* the URL opens the download to whoever has it */
}

static nh_rc note_read(const char *path, struct nh_arena *arena, struct note *out, struct nh_err *err)
{
	NH_AUTO_BUF struct nh_buf text = NH_BUF_INIT;
	NH_AUTO_JSON json_t *o = NULL;
	*out = (struct note){0};
	NH_TRY(nh_file_read(path, NOTE_MAX, &text, err));
	NH_TRY(nh_json_parse(nh_buf_slice(&text), NOTE_MAX, &o, err));
	const json_t *parts = json_object_get(o, "parts");
	int64_t size = nh_json_int(o, "size", 0), restored = nh_json_int(o, "restored", 0);
	nh_slice *hex = NH_NEW_ARRAY(arena, json_array_size(parts) + 1, nh_slice);
	for (size_t i = 0; i < json_array_size(parts); i++)
		hex[i] = nh_arena_copy(arena, nh_slice_str(json_string_value(json_array_get(parts, i))));
	out->offer = (struct nh_link_offer){
		.uuid = nh_arena_copy(arena, nh_json_text(o, "uuid")),
		.url = nh_arena_copy(arena, nh_json_text(o, "url")),
		.version = nh_arena_copy(arena, nh_json_text(o, "version")),
		.product = nh_arena_copy(arena, nh_json_text(o, "product")),
		.platform = nh_arena_copy(arena, nh_json_text(o, "platform")),
		.architecture = nh_arena_copy(arena, nh_json_text(o, "architecture")),
		.size_bytes = size > 0 ? (uint64_t)size : 0,
		.sha256_hex = nh_arena_copy(arena, nh_json_text(o, "checksum")),
		.parts_sha256_hex = hex,
		.part_count = json_array_size(parts),
	};
	out->etag = nh_arena_copy(arena, nh_json_text(o, "etag"));
	out->boot = nh_arena_copy(arena, nh_json_text(o, "boot"));
	out->restored = restored > 0 && restored < RESTORES_MAX ? (unsigned)restored : restored == 0 ? 0 : RESTORES_MAX;
	out->open = nh_json_bool(o, "open", false);
	return NH_OK;
}

/* Are there reasons to believe that both are the same file? A uuid alone is none: the server may send the whole image or one of many deltas to it. */
static bool same_file(const struct note *n, const struct nh_link_offer *o)
{
	if (n->offer.size_bytes != o->size_bytes)
		return false;
	if (o->sha256_hex.len > 0)
		return nh_slice_ieq(n->offer.sha256_hex, o->sha256_hex);
	return n->offer.sha256_hex.len == 0 && n->etag.len > 0;
}

static nh_rc note_save(struct link_cache *c, bool open, struct nh_err *err)
{
	struct note n = {.offer = *c->offer, .etag = nh_slice_str(c->etag), .boot = boot_id(&c->arena), .restored = open ? c->restored : 0, .open = open};
	return note_write(c->note, &n, err);
}

/* ---- opening */

static nh_rc check_room(const struct link_cache *c, struct nh_err *err)
{
	struct statvfs fs;
	uint64_t needed = c->parts.total > c->size ? c->parts.total - c->size : 0;
	if (c->is_sealed || statvfs(c->dir, &fs) != 0)
		return NH_OK; /* unknown: the writes will tell */
	uint64_t free_bytes = (uint64_t)fs.f_bavail * fs.f_frsize;
	if (needed <= free_bytes)
		return NH_OK;
	return NH_FAIL(err, NH_ENOSPC, "no room for the download in %s: %llu KiB are needed, %llu KiB are free", c->dir, (unsigned long long)(needed >> 10), (unsigned long long)(free_bytes >> 10));
}

/* Takes up the first `trusted` bytes of the file as far as the checksums agree. */
static nh_rc take_up(struct link_cache *c, uint64_t trusted, struct nh_err *err)
{
	uint8_t block[BLOCK];
	while (c->parts.at < trusted) {
		uint64_t want = trusted - c->parts.at, room = parts_room(&c->parts);
		if (want > room)
			want = room;
		if (want == 0)
			break; /* longer than the file is said to be */
		ssize_t n = pread(c->fd, block, want < sizeof block ? (size_t)want : sizeof block, (off_t)c->parts.at);
		if (n < 0)
			return fail_errno(c, "read", err);
		if (n == 0 || parts_take(&c->parts, nh_slice_of(block, (size_t)n), NULL) != NH_OK)
			break;
	}
	c->parts.tries = 0; /* what lay on the disk is nobody's attempt */
	c->size = c->parts.at;
	return ftruncate(c->fd, (off_t)c->size) == 0 ? NH_OK : fail_errno(c, "cut", err);
}

static nh_rc open_files(struct link_cache *c, const struct note *n, bool known, struct nh_err *err)
{
	struct stat st;
	if (!known) {
		unlink(c->partial);
		unlink(c->sealed);
	}
	if (stat(c->sealed, &st) == 0 && S_ISREG(st.st_mode)) {
		c->is_sealed = true;
		c->size = (uint64_t)st.st_size;
		return NH_OK;
	}
	c->fd = open(c->partial, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (c->fd < 0 || fstat(c->fd, &st) != 0)
		return fail_errno(c, "open", err);
	uint64_t there = (uint64_t)st.st_size;
	bool same_boot = known && n->boot.len > 0 && nh_slice_eq(n->boot, boot_id(&c->arena));
	return take_up(c, same_boot || there == 0 ? there : (there - 1) / PART_BYTES * PART_BYTES, err);
}

nh_rc cache_open(const char *dir, const struct nh_link_offer *offer, bool parts, struct link_cache **out, struct nh_err *err)
{
	char uuid[NH_UUID_TEXT_LEN + 1];
	struct note n;
	*out = NULL;
	NH_TRY(canonical(offer->uuid, uuid, err));
	NH_TRY(nh_dir_make(dir, 0700, err));
	remove_others(dir, uuid);
	struct link_cache *c = nh_xcalloc(1, sizeof *c);
	c->fd = -1;
	c->offer = offer;
	c->dir = nh_arena_str(&c->arena, nh_slice_str(dir));
	c->partial = path_of(&c->arena, dir, uuid, ".partial");
	c->sealed = path_of(&c->arena, dir, uuid, ".fw");
	c->note = path_of(&c->arena, dir, uuid, ".offer");
	parts_init(&c->parts, offer, parts);
	bool known = note_read(c->note, &c->arena, &n, NULL) == NH_OK && same_file(&n, offer);
	if (known && n.etag.len > 0)
		c->etag = nh_xstrdup(n.etag);
	if (known && n.open)
		c->restored = n.restored;
	nh_rc rc = open_files(c, &n, known, err);
	if (rc == NH_OK)
		rc = check_room(c, err);
	if (rc == NH_OK)
		rc = note_save(c, true, err);
	if (rc != NH_OK) {
		cache_close(c, CACHE_DROP);
		return rc;
	}
	*out = c;
	return NH_OK;
}

void cache_close(struct link_cache *c, cache_fate fate)
{
	if (!c)
		return;
	close_file(c);
	if (fate == CACHE_DROP) {
		unlink(c->note); /* first: without it the others mean nothing */
		unlink(c->partial);
		unlink(c->sealed);
	} else if (fate == CACHE_FORGET) {
		NH_IGNORE(note_save(c, false, NULL)); /* at worst the update is taken up once more after a restart */
	}
	parts_fini(&c->parts);
	free(c->etag);
	nh_arena_fini(&c->arena);
	free(c);
}

/* ---- while it is open */

uint64_t cache_size(const struct link_cache *c) { return c->size; }

bool cache_sealed(const struct link_cache *c) { return c->is_sealed; }

nh_slice cache_etag(const struct link_cache *c) { return nh_slice_str(c->etag); }

const char *cache_path(const struct link_cache *c) { return c->sealed; }

nh_rc cache_expect(struct link_cache *c, nh_slice etag, uint64_t total, struct nh_err *err)
{
	if (total && !c->parts.total) {
		c->parts.total = total;
		NH_TRY(check_room(c, err));
	}
	if (nh_slice_eq(etag, nh_slice_str(c->etag)))
		return NH_OK;
	free(c->etag);
	c->etag = etag.len ? nh_xstrdup(etag) : NULL;
	/* Where the offer has a checksum nobody needs the tag after a restart. */
	return c->offer->sha256_hex.len > 0 ? NH_OK : note_save(c, true, err);
}

nh_rc cache_rewind(struct link_cache *c, struct nh_err *err)
{
	parts_rewind(&c->parts);
	c->size = 0;
	return ftruncate(c->fd, 0) == 0 ? NH_OK : fail_errno(c, "cut", err);
}

/* After a part that was not what it should be. */
static nh_rc cut_back(struct link_cache *c, nh_rc rc, struct nh_err *err)
{
	c->size = c->parts.at;
	return ftruncate(c->fd, (off_t)c->size) == 0 ? rc : fail_errno(c, "cut", err);
}

static nh_rc write_all(struct link_cache *c, nh_slice bytes, struct nh_err *err)
{
	while (bytes.len > 0) {
		ssize_t n = pwrite(c->fd, bytes.ptr, bytes.len, (off_t)c->size);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return fail_errno(c, "write", err);
		c->size += (uint64_t)n;
		bytes = nh_slice_skip(bytes, (size_t)n);
	}
	return NH_OK;
}

nh_rc cache_append(struct link_cache *c, nh_slice bytes, struct nh_err *err)
{
	NH_ASSERT(!c->is_sealed);
	while (bytes.len > 0) {
		uint64_t most = PART_BYTES - c->size % PART_BYTES, room = parts_room(&c->parts);
		nh_slice piece = nh_slice_sub(bytes, 0, (size_t)(room < most ? room : most));
		if (piece.len == 0)
			return NH_FAIL(err, NH_EFORMAT, "the server sent more than the file's size");
		NH_TRY(write_all(c, piece, err));
		nh_rc rc = parts_take(&c->parts, piece, err);
		if (rc != NH_OK)
			return cut_back(c, rc, err);
		/* Before a byte comes behind it: what a power cut leaves below the last MiB is then never a hole. */
		if (c->size % PART_BYTES == 0 && fdatasync(c->fd) != 0)
			return fail_errno(c, "flush", err);
		bytes = nh_slice_skip(bytes, piece.len);
	}
	return NH_OK;
}

nh_rc cache_seal(struct link_cache *c, struct nh_err *err)
{
	if (c->is_sealed)
		return NH_OK;
	nh_rc rc = parts_end(&c->parts, err);
	if (rc != NH_OK)
		return cut_back(c, rc, err);
	/* On the disk first, then under the name that says so. */
	if (fsync(c->fd) != 0)
		return fail_errno(c, "flush", err);
	if (rename(c->partial, c->sealed) != 0)
		return fail_errno(c, "rename", err);
	c->is_sealed = true;
	close_file(c);
	sync_dir(c->dir);
	return NH_OK;
}

nh_rc cache_read(struct link_cache *c, uint64_t at, size_t size, struct nh_buf *out, struct nh_err *err)
{
	NH_ASSERT(c->is_sealed);
	if (at >= c->size)
		return NH_OK;
	if (c->fd < 0)
		c->fd = open(c->sealed, O_RDONLY | O_CLOEXEC);
	if (c->fd < 0)
		return fail_errno(c, "open", err);
	size_t want = c->size - at < size ? (size_t)(c->size - at) : size;
	nh_buf_reserve(out, want);
	while (want > 0) {
		uint8_t block[BLOCK];
		ssize_t n = pread(c->fd, block, want < sizeof block ? want : sizeof block, (off_t)at);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return fail_errno(c, "read", err);
		if (n == 0)
			return NH_FAIL(err, NH_EIO, "%s became shorter", c->sealed);
		nh_buf_put(out, block, (size_t)n);
		at += (uint64_t)n;
		want -= (size_t)n;
	}
	return nh_buf_check(out, c->sealed, err);
}

/* ---- between processes */

nh_rc cache_restore(const char *dir, struct nh_arena *arena, struct nh_link_offer *out, struct nh_err *err)
{
	char uuid[NH_UUID_TEXT_LEN + 1] = "";
	DIR *d = opendir(dir);
	for (struct dirent *e; d && !uuid[0] && (e = readdir(d));)
		if (nh_slice_eq_str(nh_slice_skip(nh_slice_str(e->d_name), NH_UUID_TEXT_LEN), ".offer") &&
		    canonical(nh_slice_sub(nh_slice_str(e->d_name), 0, NH_UUID_TEXT_LEN), uuid, NULL) != NH_OK)
			uuid[0] = 0;
	if (d)
		closedir(d);
	if (!uuid[0])
		return NH_FAIL(err, NH_ENOTFOUND, "no update was under way");
	const char *path = path_of(arena, dir, uuid, ".offer");
	struct note n;
	NH_TRY(note_read(path, arena, &n, err));
	if (!n.open || !nh_slice_eq_str(n.offer.uuid, uuid) || n.offer.url.len == 0)
		return NH_FAIL(err, NH_ENOTFOUND, "no update was under way");
	/* What is written here comes before the attempt: an update that takes the machine down each time must not do so for ever. */
	n.open = n.restored < RESTORES_MAX;
	n.restored++;
	NH_TRY(note_write(path, &n, err));
	if (!n.open)
		return NH_FAIL(err, NH_ENOTFOUND, "the update to %s was interrupted %d times: left to the server", uuid, RESTORES_MAX);
	*out = n.offer;
	return NH_OK;
}

void cache_forget(const char *dir, nh_slice text)
{
	static const char *const suffixes[] = {".offer", ".partial", ".fw"};
	char uuid[NH_UUID_TEXT_LEN + 1], path[4096];
	if (canonical(text, uuid, NULL) != NH_OK)
		return;
	for (size_t i = 0; i < NH_ARRAY_LEN(suffixes); i++) {
		snprintf(path, sizeof path, "%s/%s%s", dir, uuid, suffixes[i]);
		unlink(path);
	}
}
