/*
 * Resources while an archive is made: where their bytes come from, which of them are holes, how long they are and what their hash is.
 *
 * Files are read twice, once to hash and once to store; a file that changes in between is noticed by its length (zip_writer) only.
 * source: reference/fwup-format "7.1", "7.2", "8.3", "8.4"
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "base/encode.h"
#include "base/file.h"
#include "create_int.h"
#include "crypto/digest.h"

#define RUNS_MAX 256
#define PIECES_MAX 1024

struct map {
	uint64_t runs[RUNS_MAX]; /* data, hole, data, … */
	size_t run_count;
	struct fw_piece *pieces;
	size_t piece_count;
};

const char *fw_path_beside(const char *from, nh_slice path, struct nh_arena *arena)
{
	nh_slice base = nh_slice_str(from);
	while (base.len > 0 && base.ptr[base.len - 1] != '/')
		base.len--;
	if (base.len == 0 || nh_slice_starts(path, NH_LIT("/")))
		return nh_arena_str(arena, path);
	return nh_arena_printf(arena, "%.*s%.*s", NH_ARG(base), NH_ARG(path));
}

/* Adds a run; runs of one kind merge. map_file stops looking for holes before the table is full. */
static void add_run(struct map *m, bool hole, uint64_t length)
{
	bool last_is_hole = m->run_count % 2 == 0;
	if (hole != last_is_hole)
		m->run_count++;
	NH_ASSERT(m->run_count <= RUNS_MAX);
	m->runs[m->run_count - 1] += length;
}

static nh_rc add_piece(struct map *m, const char *path, uint64_t offset, uint64_t length, struct nh_err *err)
{
	if (length == 0)
		return NH_OK;
	if (m->piece_count == PIECES_MAX)
		return NH_FAIL(err, NH_ETOOBIG, "'%s' has too many pieces", path);
	m->pieces[m->piece_count++] = (struct fw_piece){.path = path, .offset = offset, .length = length};
	return NH_OK;
}

/* One file's data and holes. Where a hole and data behind it no longer fit, the last run of data takes all the rest. */
static nh_rc map_file(struct map *m, const char *path, int fd, uint64_t size, bool skip_holes, struct nh_err *err)
{
	uint64_t pos = 0;
	while (pos < size) {
		uint64_t data = pos, end = size;
		if (skip_holes && m->run_count < RUNS_MAX - 1) {
			off_t d = lseek(fd, (off_t)pos, SEEK_DATA);
			if (d < 0 && errno == ENXIO) {
				add_run(m, true, size - pos);
				return NH_OK;
			}
			if (d >= 0) {
				off_t h = lseek(fd, d, SEEK_HOLE);
				data = (uint64_t)d;
				end = h >= 0 && (uint64_t)h < size ? (uint64_t)h : size;
			}
		}
		if (data > pos)
			add_run(m, true, data - pos);
		add_run(m, false, end - data);
		NH_TRY(add_piece(m, path, data, end - data, err));
		pos = end;
	}
	return NH_OK;
}

static nh_rc map_path(struct map *m, const struct nh_fw_section *s, const char *path, struct nh_err *err)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	struct stat st;
	/* /dev/null is an empty file too. */
	if (fd < 0 || fstat(fd, &st) != 0 || !(S_ISREG(st.st_mode) || (S_ISCHR(st.st_mode) && st.st_rdev == makedev(1, 3)))) {
		nh_rc rc = NH_FAIL(err, fd < 0 ? nh_rc_from_errno(errno) : NH_EINVAL, "can't open path '%s' in file-resource '%.*s'", path,
				   NH_ARG(s->title));
		if (fd >= 0)
			close(fd);
		return rc;
	}
	nh_rc rc = map_file(m, path, fd, (uint64_t)st.st_size, nh_fw_section_number(s, "skip-holes") != 0, err);
	close(fd);
	return rc;
}

static nh_rc map_paths(struct map *m, const struct nh_fw_section *s, struct nh_arena *arena, struct nh_err *err)
{
	nh_slice rest = nh_fw_section_text(s, "host-path"), one;
	while (rest.len > 0) {
		nh_slice_cut(rest, ';', &one, &rest);
		if (one.len > 0)
			NH_TRY(map_path(m, s, fw_path_beside(s->path, one, arena), err));
	}
	return NH_OK;
}

static nh_rc check_size(const struct nh_fw_section *s, uint64_t size, struct nh_err *err)
{
	nh_slice path = nh_fw_section_text(s, "host-path");
	static const struct {
		const char *option, *sign;
		bool at_most;
	} rules[] = {{"assert-size-lte", "<=", true}, {"assert-size-gte", ">=", false}};
	for (size_t i = 0; i < NH_ARRAY_LEN(rules); i++) {
		int64_t blocks = nh_fw_section_number(s, rules[i].option);
		if (blocks < 0)
			continue;
		if (blocks > INT64_MAX / 512)
			return NH_FAIL(err, NH_EINVAL, "%s of file-resource '%.*s' is too large", rules[i].option, NH_ARG(s->title));
		uint64_t limit = (uint64_t)blocks * 512;
		if (rules[i].at_most ? size > limit : size < limit)
			return NH_FAIL(err, NH_EINVAL, "file size assertion failed on '%.*s'. Size is %llu bytes. It must be %s %llu bytes (%lld blocks)",
				       NH_ARG(path.len ? path : s->title), (unsigned long long)size, rules[i].sign, (unsigned long long)limit,
				       (long long)blocks);
	}
	return NH_OK;
}

static nh_rc hash_bytes(void *ctx, nh_slice bytes, struct nh_err *err)
{
	nh_digest_stream_update(ctx, bytes);
	return NH_OK;
}

nh_rc fw_payload_prepare(struct nh_fw_section *resource, struct nh_arena *arena, struct fw_payload *out, struct nh_err *err)
{
	struct map *m = NH_NEW(arena, struct map);
	m->pieces = NH_NEW_ARRAY(arena, PIECES_MAX, struct fw_piece);
	m->run_count = 1;
	*out = (struct fw_payload){.inline_contents = nh_fw_section_text(resource, "host-path").len == 0};
	if (out->inline_contents) {
		out->contents = nh_fw_section_text(resource, "contents");
		add_run(m, false, out->contents.len);
	} else {
		NH_TRY(map_paths(m, resource, arena, err));
	}
	out->pieces = m->pieces;
	out->piece_count = m->piece_count;
	uint64_t size = 0;
	for (size_t i = 0; i < m->run_count; i++) {
		nh_fw_section_add_number(resource, arena, "length", (int64_t)m->runs[i]);
		size += m->runs[i];
		if (i % 2 == 0)
			out->stored_bytes += m->runs[i];
	}
	NH_TRY(check_size(resource, size, err));

	uint8_t hash[NH_BLAKE2B_256_LEN];
	struct nh_digest_stream *s = nh_digest_stream_new(NH_BLAKE2B_256);
	nh_rc rc = fw_payload_read(out, hash_bytes, s, err);
	nh_digest_stream_final(s, hash);
	nh_digest_stream_free(s);
	NH_TRY(rc);
	NH_AUTO_BUF struct nh_buf hex = NH_BUF_INIT;
	nh_hex_put(&hex, nh_slice_of(hash, sizeof hash));
	nh_fw_section_set_text(resource, arena, "blake2b-256", nh_buf_slice(&hex));
	return NH_OK;
}

static nh_rc read_piece(const struct fw_piece *p, int fd, uint8_t *bytes, size_t size, nh_rc (*write)(void *ctx, nh_slice bytes, struct nh_err *err),
			void *ctx, struct nh_err *err)
{
	for (uint64_t done = 0; done < p->length;) {
		uint64_t left = p->length - done;
		ssize_t n = pread(fd, bytes, left < size ? (size_t)left : size, (off_t)(p->offset + done));
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return NH_FAIL(err, NH_EIO, "Error reading '%s': %s", p->path, n < 0 ? strerror(errno) : "it shrank while it was read");
		NH_TRY(write(ctx, nh_slice_of(bytes, (size_t)n), err));
		done += (uint64_t)n;
	}
	return NH_OK;
}

nh_rc fw_payload_read(const struct fw_payload *p, nh_rc (*write)(void *ctx, nh_slice bytes, struct nh_err *err), void *ctx, struct nh_err *err)
{
	static const size_t size = 128 * 1024;
	if (p->inline_contents)
		return p->contents.len ? write(ctx, p->contents, err) : NH_OK;
	uint8_t *bytes = nh_xcalloc(1, size);
	nh_rc rc = NH_OK;
	for (size_t i = 0; i < p->piece_count && rc == NH_OK; i++) {
		int fd = open(p->pieces[i].path, O_RDONLY | O_CLOEXEC);
		if (fd < 0) {
			rc = NH_FAIL(err, nh_rc_from_errno(errno), "Failed to open '%s'", p->pieces[i].path);
			break;
		}
		rc = read_piece(&p->pieces[i], fd, bytes, size, write, ctx, err);
		close(fd);
	}
	free(bytes);
	return rc;
}
