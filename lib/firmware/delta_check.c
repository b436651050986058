/*
 * Judges a delta archive before anybody gets it: applies each patch to what the source archive holds, as a device would to what lies on its disk, and compares the result with the hash that
 * the target's signed metadata states. Believes neither the builder nor xdelta3 nor the disk that the archive was written to: it reads the finished file.
 *
 * What it cannot know is whether a device's disk still holds what its firmware wrote there; a device compares the same hashes and refuses.
 * source: reference/fwup-format "14.1" to "14.4"
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/arena.h"
#include "base/file.h"
#include "crypto/digest.h"
#include "delta_int.h"
#include "firmware/reader.h"
#include "vcdiff_int.h"
#include "zip_file_int.h"

#define BLOCK 512u
#define READ_BYTES (128u * 1024)
#define SCRATCH_MAX (UINT64_C(8) << 30)

struct check {
	const struct nh_fw_delta_check *config;
	struct nh_fw_reader *reader;
	const struct nh_fw_manifest *manifest;
	bool *seen;                       /* by resource index */
	const struct nh_fw_resource *now; /* of the member being read */
	struct nh_fw_vcdiff *decoder;     /* NULL: the member is no patch */
	FILE *old;                        /* unpacked from the source */
	uint64_t old_bytes;               /* that a device can read */
	struct nh_digest_stream *hash;
	uint64_t bytes;
};

/* ---- metadata and signature are the target's ------------------------------------------------------------------------------------- */

struct metadata {
	struct nh_digest_stream *hash;
	bool inside;
};

/* They come before all resources: NH_ECLOSED stops the reader there, and is no error. */
static nh_rc metadata_begin(void *ctx, const struct nh_fw_member *m, struct nh_err *err)
{
	struct metadata *meta = ctx;
	if (nh_slice_starts(m->name, NH_LIT("data/")))
		return NH_ECLOSED;
	nh_digest_stream_update(meta->hash, m->name);
	return NH_OK;
}

static nh_rc metadata_data(void *ctx, nh_slice bytes, struct nh_err *err)
{
	nh_digest_stream_update(((struct metadata *)ctx)->hash, bytes);
	return NH_OK;
}

static nh_rc metadata_end(void *ctx, uint64_t size, uint32_t crc, struct nh_err *err)
{
	nh_digest_stream_update(((struct metadata *)ctx)->hash, nh_slice_of((const uint8_t *)&size, sizeof size));
	return NH_OK;
}

static nh_rc metadata_digest(const char *path, uint8_t out[NH_BLAKE2B_256_LEN], struct nh_err *err)
{
	struct metadata meta = {.hash = nh_digest_stream_new(NH_BLAKE2B_256)};
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	nh_rc rc = fd >= 0 ? NH_OK : NH_FAIL(err, nh_rc_from_errno(errno), "Failed to open '%s'", path);
	if (rc == NH_OK)
		rc = fw_zip_file_pass(fd, path, &(struct nh_fw_zip_handler){.ctx = &meta, .begin = metadata_begin, .data = metadata_data, .end = metadata_end}, err);
	if (fd >= 0)
		close(fd);
	nh_digest_stream_final(meta.hash, out);
	nh_digest_stream_free(meta.hash);
	return rc == NH_ECLOSED ? NH_OK : rc;
}

static nh_rc same_metadata(const struct nh_fw_delta_check *c, struct nh_err *err)
{
	uint8_t target[NH_BLAKE2B_256_LEN], delta[NH_BLAKE2B_256_LEN];
	NH_TRY(metadata_digest(c->target, target, err));
	NH_TRY(metadata_digest(c->delta, delta, err));
	return nh_slice_eq(nh_slice_of(target, sizeof target), nh_slice_of(delta, sizeof delta)) ? NH_OK :
		NH_FAIL(err, NH_EFORMAT, "metadata and signature of the delta are not the target's");
}

/* ---- old data ------------------------------------------------------------------------------------------------------------------------ */

struct unpack {
	const char *member;
	FILE *to;
	uint64_t left;
	bool inside, whole;
};

static nh_rc unpack_begin(void *ctx, const struct nh_fw_member *m, struct nh_err *err)
{
	struct unpack *u = ctx;
	u->inside = nh_slice_eq_str(m->name, u->member);
	return NH_OK;
}

static nh_rc unpack_data(void *ctx, nh_slice bytes, struct nh_err *err)
{
	struct unpack *u = ctx;
	if (!u->inside)
		return NH_OK;
	if (bytes.len > u->left)
		return NH_FAIL(err, NH_ETOOBIG, "checking a delta needs more scratch space than allowed");
	u->left -= bytes.len;
	return fwrite(bytes.ptr, 1, bytes.len, u->to) == bytes.len ? NH_OK : NH_FAIL(err, nh_rc_from_errno(errno), "unpacking '%s': %s", u->member, strerror(errno));
}

static nh_rc unpack_end(void *ctx, uint64_t size, uint32_t crc, struct nh_err *err)
{
	struct unpack *u = ctx;
	u->whole = u->inside;
	return u->whole ? NH_ECLOSED : NH_OK;
}

/* A file without a name: whatever becomes of us, nothing stays. */
static nh_rc scratch_file(const char *folder, FILE **out, struct nh_err *err)
{
	int fd = open(folder, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
	*out = fd >= 0 ? fdopen(fd, "w+b") : NULL;
	if (!*out && fd >= 0)
		close(fd);
	return *out ? NH_OK : NH_FAIL(err, nh_rc_from_errno(errno), "cannot make a file in '%s': %s", folder, strerror(errno));
}

/* The source's member of that name, into a new file. */
static nh_rc old_open(struct check *k, struct nh_err *err)
{
	NH_AUTO_ARENA struct nh_arena arena = NH_ARENA_INIT;
	const char *path = k->config->source;
	NH_TRY(scratch_file(k->config->scratch, &k->old, err));
	struct unpack u = {.member = nh_arena_printf(&arena, "data/%.*s", NH_ARG(k->now->name)), .to = k->old,
			   .left = k->config->scratch_max_bytes ? k->config->scratch_max_bytes : SCRATCH_MAX};
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return NH_FAIL(err, nh_rc_from_errno(errno), "Failed to open '%s'", path);
	nh_rc rc = fw_zip_file_pass(fd, path, &(struct nh_fw_zip_handler){&u, unpack_begin, NULL, unpack_data, unpack_end}, err);
	close(fd);
	if (rc != NH_OK && rc != NH_ECLOSED)
		return rc;
	if (!u.whole)
		return NH_FAIL(err, NH_EFORMAT, "'%.*s' is a patch, and the source has nothing to patch", NH_ARG(k->now->name));
	if (fflush(k->old) != 0)
		return NH_FAIL(err, nh_rc_from_errno(errno), "unpacking '%s': %s", path, strerror(errno));
	struct stat st;
	if (fstat(fileno(k->old), &st) != 0)
		return NH_FAIL(err, NH_EIO, "unpacking '%s': %s", path, strerror(errno));
	k->old_bytes = (uint64_t)st.st_size;
	return NH_OK;
}

/* A device reads no further than the tasks say that old data goes. */
static void old_limit(struct check *k)
{
	for (size_t i = 0; i < k->manifest->task_count; i++) {
		const struct nh_fw_task *t = &k->manifest->tasks[i];
		for (size_t n = 0; n < t->on_resource_count; n++) {
			const struct nh_fw_on_resource *o = &t->on_resources[n];
			if (o->resource == k->now && o->has_raw_source && o->raw_count < k->old_bytes / BLOCK + 1 && o->raw_count * BLOCK < k->old_bytes)
				k->old_bytes = o->raw_count * BLOCK;
		}
	}
}

static nh_rc on_source(void *ctx, uint64_t offset, uint8_t *out, size_t len, struct nh_err *err)
{
	struct check *k = ctx;
	if (offset > k->old_bytes || len > k->old_bytes - offset)
		return NH_FAIL(err, NH_EFORMAT, "the patch of '%.*s' reads %zu bytes at %llu; a device has %llu", NH_ARG(k->now->name), len, (unsigned long long)offset,
			       (unsigned long long)k->old_bytes);
	for (size_t done = 0; done < len;) {
		ssize_t n = pread(fileno(k->old), out + done, len - done, (off_t)(offset + done));
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return NH_FAIL(err, NH_EIO, "reading old data of '%.*s': %s", NH_ARG(k->now->name), strerror(errno));
		done += (size_t)n;
	}
	return NH_OK;
}

static nh_rc on_target(void *ctx, nh_slice bytes, struct nh_err *err)
{
	struct check *k = ctx;
	k->bytes += bytes.len;
	nh_digest_stream_update(k->hash, bytes);
	return NH_OK;
}

/* ---- members --------------------------------------------------------------------------------------------------------------------------- */

static void member_close(struct check *k)
{
	nh_fw_vcdiff_free(k->decoder);
	nh_digest_stream_free(k->hash);
	if (k->old)
		fclose(k->old);
	k->decoder = NULL;
	k->hash = NULL;
	k->old = NULL;
}

static nh_rc on_manifest(void *ctx, const struct nh_fw_manifest *m, struct nh_err *err)
{
	struct check *k = ctx;
	k->manifest = m;
	k->seen = nh_xcalloc(m->resource_count + 1, sizeof *k->seen);
	return NH_OK;
}

static nh_rc on_begin(void *ctx, nh_slice name, const struct nh_fw_resource *r, const struct nh_fw_member *member, struct nh_err *err)
{
	struct check *k = ctx;
	member_close(k);
	if (!r || k->seen[r->index] || !r->hash_ok)
		return NH_FAIL(err, NH_EFORMAT, "'%.*s' is unknown, comes twice or has no hash", NH_ARG(name));
	k->seen[r->index] = true;
	k->now = r;
	k->bytes = 0;
	k->hash = nh_digest_stream_new(NH_BLAKE2B_256);
	if (!(r->run_count == 1 && member->size_known && member->size != r->size_bytes))
		return NH_OK;
	NH_TRY(old_open(k, err));
	old_limit(k);
	k->decoder = nh_fw_vcdiff_new(&(struct nh_fw_vcdiff_config){k, on_source, on_target});
	return NH_OK;
}

static nh_rc on_data(void *ctx, nh_slice bytes, struct nh_err *err)
{
	struct check *k = ctx;
	return k->decoder ? nh_fw_vcdiff_feed(k->decoder, bytes, err) : on_target(k, bytes, err);
}

static nh_rc on_end(void *ctx, uint64_t size, struct nh_err *err)
{
	struct check *k = ctx;
	uint8_t hash[NH_BLAKE2B_256_LEN];
	if (k->decoder)
		NH_TRY(nh_fw_vcdiff_finish(k->decoder, err));
	nh_digest_stream_final(k->hash, hash);
	return k->bytes == k->now->stored_bytes && nh_slice_eq(nh_slice_of(hash, sizeof hash), nh_slice_of(k->now->blake2b, sizeof k->now->blake2b)) ? NH_OK :
		NH_FAIL(err, NH_EFORMAT, "'%.*s' does not become what the target's metadata says", NH_ARG(k->now->name));
}

/* What no upgrade uses may have been left out. */
static nh_rc nothing_missing(const struct check *k, struct nh_err *err)
{
	for (size_t i = 0; i < k->manifest->task_count; i++) {
		const struct nh_fw_task *t = &k->manifest->tasks[i];
		for (size_t n = 0; nh_slice_starts(t->name, NH_LIT("upgrade")) && n < t->on_resource_count; n++) {
			const struct nh_fw_resource *r = t->on_resources[n].resource;
			if (r && !k->seen[r->index])
				return NH_FAIL(err, NH_EFORMAT, "'%.*s' is missing", NH_ARG(r->name));
		}
	}
	return NH_OK;
}

static nh_rc feed_file(struct nh_fw_reader *reader, const char *path, struct nh_err *err)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return NH_FAIL(err, nh_rc_from_errno(errno), "Failed to open '%s'", path);
	uint8_t *bytes = nh_xcalloc(1, READ_BYTES);
	nh_rc rc = NH_OK;
	for (ssize_t n = 1; rc == NH_OK && n > 0;) {
		n = read(fd, bytes, READ_BYTES);
		if (n > 0)
			rc = nh_fw_reader_feed(reader, nh_slice_of(bytes, (size_t)n), err);
		else if (n < 0 && errno == EINTR)
			n = 1;
		else if (n < 0)
			rc = NH_FAIL(err, NH_EIO, "reading '%s': %s", path, strerror(errno));
	}
	free(bytes);
	close(fd);
	return rc == NH_OK ? nh_fw_reader_finish(reader, err) : rc;
}

nh_rc nh_fw_delta_check(const struct nh_fw_delta_check *config, struct nh_err *err)
{
	struct check k = {.config = config};
	NH_TRY(same_metadata(config, err));
	k.reader = nh_fw_reader_new(&(struct nh_fw_reader_config){.allow_unverified = true, .whole = true, .path = "delta",
		.handler = {.ctx = &k, .manifest = on_manifest, .begin = on_begin, .data = on_data, .end = on_end}});
	nh_rc rc = feed_file(k.reader, config->delta, err);
	if (rc == NH_OK)
		rc = nothing_missing(&k, err);
	member_close(&k);
	nh_fw_reader_free(k.reader);
	free(k.seen);
	return rc;
}
