/*
 * Builds a delta archive: unpacks from both archives what the target's tasks can patch, lets xdelta3 compare, and copies the target with the patches that
 * came out smaller. Members that are not patched are copied as they are compressed; those that no upgrade uses are left out.
 *
 * source: reference/fwup-format "14.4"
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/arena.h"
#include "base/file.h"
#include "base/process.h"
#include "delta_int.h"
#include "file_sink_int.h"
#include "firmware/reader.h"
#include "zip_file_int.h"

#define SCRATCH_MAX (UINT64_C(8) << 30)
#define WORTH_BYTES 22u /* smaller ones cannot get smaller: a patch has that much around it */
#define SIGNATURE_NAME "meta.conf.ed25519"
#define META_NAME "meta.conf"

/* One of the two archives. */
struct side {
	const char *path, *role; /* "source", "target": part of file names */
	int fd;
	uint64_t bytes;
	const struct nh_fw_manifest *manifest;
	/* the pass that is going on */
	struct builder *builder;
	FILE *unpacking;
	size_t member; /* copying: index in the archive */
};

/* What is known of each member of the target, by index. */
struct member {
	nh_slice name;        /* of candidates */
	uint64_t size;        /* uncompressed */
	bool candidate;       /* unpacked as a target */
	bool source_unpacked; /* and there is old data for it */
	bool patched, dropped;
	uint64_t patch_bytes;
};

struct builder {
	const struct nh_fw_delta_build *config;
	struct nh_arena arena;
	const char *dir;
	struct side source, target;
	struct nh_fw_delta_scan scan; /* of the target */
	struct member *members;
	size_t member_count, member_cap;
	struct nh_fw_zip_writer *writer;
	uint64_t scratch_left;
	struct nh_fw_delta_result *result;
};

/* ---- reading manifests --------------------------------------------------------------------------------------------------------------- */

struct meta {
	struct nh_buf text;
	bool wanted, whole;
};

static nh_rc meta_begin(void *ctx, const struct nh_fw_member *m, struct nh_err *err)
{
	struct meta *meta = ctx;
	meta->wanted = meta->text.len == 0 && nh_slice_eq_str(m->name, META_NAME);
	return NH_OK;
}

static nh_rc meta_data(void *ctx, nh_slice bytes, struct nh_err *err)
{
	struct meta *meta = ctx;
	if (meta->wanted)
		nh_buf_put_slice(&meta->text, bytes);
	return nh_buf_check(&meta->text, META_NAME, err);
}

/* What follows is not looked at here: NH_ECLOSED stops the reader, and is no error. */
static nh_rc meta_end(void *ctx, uint64_t size, uint32_t crc, struct nh_err *err)
{
	struct meta *meta = ctx;
	meta->whole = meta->wanted;
	return meta->whole ? NH_ECLOSED : NH_OK;
}

static nh_rc side_open(struct builder *b, struct side *s, const char *path, const char *role, struct nh_err *err)
{
	struct stat st;
	*s = (struct side){.path = path, .role = role, .builder = b};
	s->fd = open(path, O_RDONLY | O_CLOEXEC);
	if (s->fd < 0 || fstat(s->fd, &st) != 0)
		return NH_FAIL(err, nh_rc_from_errno(errno), "Failed to open '%s'", path);
	s->bytes = (uint64_t)st.st_size;
	struct meta meta = {.text = NH_BUF_MAX(NH_FW_META_MAX)};
	struct nh_fw_manifest *m;
	nh_rc rc = fw_zip_file_pass(s->fd, path, &(struct nh_fw_zip_handler){.ctx = &meta, .begin = meta_begin, .data = meta_data, .end = meta_end}, err);
	if (meta.whole)
		rc = NH_OK;
	if (rc == NH_OK)
		rc = nh_fw_manifest_parse(nh_buf_slice(&meta.text), NULL, NH_SLICE_EMPTY, &b->arena, &m, err);
	if (rc == NH_OK)
		s->manifest = m;
	nh_buf_fini(&meta.text);
	return rc;
}

/* ---- unpacking -------------------------------------------------------------------------------------------------------------------------- */

static const char *scratch_path(struct builder *b, const char *role, size_t member)
{
	return nh_arena_printf(&b->arena, "%s/%s-%zu", b->dir, role, member);
}

/* Name of the resource of a member that may be patched; empty: it may not. source: "14.4" looks at data/ only */
static nh_slice patchable(const struct builder *b, nh_slice member)
{
	nh_slice prefix = NH_LIT("data/");
	if (!nh_slice_starts(member, prefix))
		return NH_SLICE_EMPTY;
	nh_slice name = nh_slice_skip(member, prefix.len);
	const struct nh_fw_delta_flags *f = nh_fw_delta_scan_find(&b->scan, name);
	const struct nh_fw_resource *r = nh_fw_manifest_resource(b->target.manifest, name);
	/* An applier takes only resources without holes for patches. */
	return f && r && r->run_count == 1 && (f->raw_source || f->fat_source) ? name : NH_SLICE_EMPTY;
}

static nh_rc unpack_begin(struct side *s, size_t member, struct nh_err *err)
{
	const char *path = scratch_path(s->builder, s->role, member);
	s->unpacking = fopen(path, "wbe");
	return s->unpacking ? NH_OK : NH_FAIL(err, nh_rc_from_errno(errno), "cannot create '%s': %s", path, strerror(errno));
}

static nh_rc unpack_data(void *ctx, nh_slice bytes, struct nh_err *err)
{
	struct side *s = ctx;
	struct builder *b = s->builder;
	if (!s->unpacking)
		return NH_OK;
	if (bytes.len > b->scratch_left)
		return NH_FAIL(err, NH_ETOOBIG, "making a delta needs more than %llu bytes of scratch space",
			       (unsigned long long)(b->config->scratch_max_bytes ? b->config->scratch_max_bytes : SCRATCH_MAX));
	b->scratch_left -= bytes.len;
	if (fwrite(bytes.ptr, 1, bytes.len, s->unpacking) != bytes.len)
		return NH_FAIL(err, nh_rc_from_errno(errno), "unpacking '%s' for a delta: %s", s->path, strerror(errno));
	return NH_OK;
}

static nh_rc unpack_end(struct side *s, struct nh_err *err)
{
	FILE *f = s->unpacking;
	s->unpacking = NULL;
	if (f && fclose(f) != 0)
		return NH_FAIL(err, nh_rc_from_errno(errno), "unpacking '%s' for a delta: %s", s->path, strerror(errno));
	return NH_OK;
}

static nh_rc target_begin(void *ctx, const struct nh_fw_member *m, struct nh_err *err)
{
	struct side *s = ctx;
	struct builder *b = s->builder;
	if (b->member_count == b->member_cap) {
		b->member_cap = b->member_cap ? b->member_cap * 2 : 64;
		b->members = reallocarray(b->members, b->member_cap, sizeof *b->members);
		NH_ASSERT(b->members);
	}
	struct member *is = &b->members[b->member_count++];
	*is = (struct member){0};
	nh_slice resource = nh_slice_starts(m->name, NH_LIT("data/")) ? nh_slice_skip(m->name, 5) : NH_SLICE_EMPTY;
	const struct nh_fw_delta_flags *f = nh_fw_delta_scan_find(&b->scan, resource);
	is->dropped = resource.len > 0 && !(f && f->in_upgrade);
	is->candidate = !is->dropped && patchable(b, m->name).len > 0;
	if (!is->candidate)
		return NH_OK;
	is->name = nh_arena_copy(&b->arena, m->name);
	return unpack_begin(s, b->member_count - 1, err);
}

static nh_rc target_end(void *ctx, uint64_t size, uint32_t crc, struct nh_err *err)
{
	struct side *s = ctx;
	s->builder->members[s->builder->member_count - 1].size = size;
	return unpack_end(s, err);
}

/* A device finds it where it was written, in one piece: holes would have to be in the patch's old data, too. */
static bool contiguous(const struct builder *b, nh_slice member)
{
	const struct nh_fw_resource *r = nh_fw_manifest_resource(b->source.manifest, nh_slice_skip(member, 5));
	return r && r->run_count == 1;
}

/* The target was unpacked before: a member of the source is old data for the target's member of the same name. */
static nh_rc source_begin(void *ctx, const struct nh_fw_member *m, struct nh_err *err)
{
	struct side *s = ctx;
	struct builder *b = s->builder;
	for (size_t i = 0; i < b->member_count; i++) {
		if (!b->members[i].candidate || b->members[i].source_unpacked || !nh_slice_eq(b->members[i].name, m->name))
			continue;
		if (!contiguous(b, m->name))
			return NH_OK;
		b->members[i].source_unpacked = true;
		return unpack_begin(s, i, err);
	}
	return NH_OK;
}

static nh_rc source_end(void *ctx, uint64_t size, uint32_t crc, struct nh_err *err) { return unpack_end(ctx, err); }

static nh_rc unpack_side(struct side *s, const struct nh_fw_zip_handler *handler, struct nh_err *err)
{
	nh_rc rc = fw_zip_file_pass(s->fd, s->path, handler, err);
	if (s->unpacking)
		fclose(s->unpacking);
	s->unpacking = NULL;
	return rc;
}

static nh_rc unpack(struct builder *b, struct nh_err *err)
{
	NH_TRY(unpack_side(&b->target, &(struct nh_fw_zip_handler){&b->target, target_begin, NULL, unpack_data, target_end}, err));
	return unpack_side(&b->source, &(struct nh_fw_zip_handler){&b->source, source_begin, NULL, unpack_data, source_end}, err);
}

/* ---- patches ------------------------------------------------------------------------------------------------------------------------------- */

/* -A: no application header; -S none: no secondary compression, which appliers do not know. -B: what the device's cache can hold of the old data. */
static nh_rc patch_make(struct builder *b, size_t i, struct nh_err *err)
{
	struct member *m = &b->members[i];
	const char *patch = scratch_path(b, "patch", i);
	const char *argv[12] = {"xdelta3", "-A", "-S", "none", "-f"};
	size_t n = 5;
	if (b->result->block_cache_mb > 0) {
		argv[n++] = "-B";
		argv[n++] = nh_arena_printf(&b->arena, "%llu", (unsigned long long)b->result->block_cache_mb << 20);
	}
	argv[n++] = "-s";
	argv[n++] = scratch_path(b, "source", i);
	argv[n++] = scratch_path(b, "target", i);
	argv[n++] = patch;
	argv[n] = NULL;
	int status = 0;
	NH_AUTO_BUF struct nh_buf said = NH_BUF_INIT, complaints = NH_BUF_INIT;
	NH_TRY(nh_process_run(&(struct nh_process){.argv = argv, .timeout_ms = b->config->timeout_ms, .limits = b->config->limits, .dies_with_us = true}, &status, &said, &complaints, err));
	if (status != 0)
		return NH_FAIL(err, NH_EIO, "xdelta3 ended with status %d: %.*s", status, NH_ARG(nh_slice_trim(nh_buf_slice(&complaints))));
	struct stat st;
	if (stat(patch, &st) != 0)
		return NH_FAIL(err, nh_rc_from_errno(errno), "'%s' is missing", patch);
	m->patch_bytes = (uint64_t)st.st_size;
	m->patched = m->patch_bytes < m->size;
	b->result->patches += m->patched;
	return NH_OK;
}

/* ---- the archive ---------------------------------------------------------------------------------------------------------------------------- */

static nh_rc patch_put(struct builder *b, size_t i, struct nh_err *err)
{
	const char *path = scratch_path(b, "patch", i);
	FILE *f = fopen(path, "rbe");
	uint8_t bytes[16384];
	nh_rc rc = f ? NH_OK : NH_FAIL(err, nh_rc_from_errno(errno), "cannot read '%s': %s", path, strerror(errno));
	for (size_t n; rc == NH_OK && (n = fread(bytes, 1, sizeof bytes, f)) > 0;)
		rc = nh_fw_zip_writer_data(b->writer, nh_slice_of(bytes, n), err);
	if (f)
		fclose(f);
	return rc; /* too few bytes are noticed by the writer */
}

static nh_rc copy_begin(void *ctx, const struct nh_fw_member *m, struct nh_err *err)
{
	struct builder *b = ctx;
	const struct member *is = &b->members[b->target.member];
	if (is->dropped)
		return NH_OK;
	if (!is->patched)
		return nh_fw_zip_writer_begin(b->writer, m->name, m->method, is->size, m->has_mtime ? &m->mtime_s : NULL, true, err);
	NH_TRY(nh_fw_zip_writer_begin(b->writer, m->name, NH_FW_DEFLATED, is->patch_bytes, m->has_mtime ? &m->mtime_s : NULL, false, err));
	return patch_put(b, b->target.member, err);
}

static nh_rc copy_raw(void *ctx, nh_slice bytes, struct nh_err *err)
{
	struct builder *b = ctx;
	const struct member *is = &b->members[b->target.member];
	return is->dropped || is->patched ? NH_OK : nh_fw_zip_writer_data(b->writer, bytes, err);
}

static nh_rc copy_end(void *ctx, uint64_t size, uint32_t crc, struct nh_err *err)
{
	struct builder *b = ctx;
	const struct member *is = &b->members[b->target.member++];
	return is->dropped ? NH_OK : nh_fw_zip_writer_end(b->writer, crc, err);
}

static nh_rc archive_write(struct builder *b, struct nh_err *err)
{
	struct fw_file_sink file;
	struct stat st;
	NH_TRY(fw_file_sink_open(&file, b->config->output, err));
	b->writer = nh_fw_zip_writer_new(&file.sink, 9, 0);
	b->target.member = 0;
	nh_rc rc = fw_zip_file_pass(b->target.fd, b->target.path, &(struct nh_fw_zip_handler){.ctx = b, .begin = copy_begin, .raw = copy_raw, .end = copy_end}, err);
	if (rc == NH_OK)
		rc = nh_fw_zip_writer_finish(b->writer, err);
	nh_fw_zip_writer_free(b->writer);
	if (rc == NH_OK && fstat(file.fd, &st) != 0)
		rc = NH_FAIL(err, NH_EIO, "'%s': %s", b->config->output, strerror(errno));
	if (rc != NH_OK || (uint64_t)st.st_size >= b->target.bytes) {
		fw_file_sink_abandon(&file);
		b->result->outcome = NH_FW_DELTA_LARGER;
		return rc;
	}
	b->result->outcome = NH_FW_DELTA_BUILT;
	b->result->size_bytes = (uint64_t)st.st_size;
	return fw_file_sink_commit(&file, err);
}

/* ---- the whole ----------------------------------------------------------------------------------------------------------------------------------- */

static nh_rc build(struct builder *b, struct nh_err *err)
{
	bool any = false;
	struct nh_err why = NH_ERR_INIT;
	NH_TRY(side_open(b, &b->source, b->config->source, "source", err));
	NH_TRY(side_open(b, &b->target, b->config->target, "target", err));
	b->result->source_bytes = b->source.bytes;
	b->result->target_bytes = b->target.bytes;
	if (b->config->arena)
		nh_fw_features_scan(b->target.manifest, b->config->arena, &b->result->features);
	if (nh_fw_section_get(b->target.manifest->tree, "block-cache-size-mb")->is_set)
		b->result->block_cache_mb = b->target.manifest->block_cache_size_mb;
	nh_fw_delta_scan_init(&b->scan, b->target.manifest);
	for (size_t i = 0; i < b->scan.count; i++)
		any |= b->scan.items[i].raw_source || b->scan.items[i].fat_source;
	b->result->outcome = NH_FW_DELTA_NO_SUPPORT;
	if (!any)
		return NH_OK;
	b->result->outcome = NH_FW_DELTA_INCOMPATIBLE;
	if (nh_fw_delta_compatible(b->source.manifest, b->target.manifest, &why) != NH_OK) {
		if (err)
			*err = why; /* for whoever shows it: the call itself went well */
		return NH_OK;
	}
	NH_TRY(unpack(b, err));
	for (size_t i = 0; i < b->member_count; i++)
		if (b->members[i].source_unpacked && b->members[i].size >= WORTH_BYTES)
			NH_TRY(patch_make(b, i, err));
	b->result->outcome = NH_FW_DELTA_NO_CHANGES;
	return b->result->patches > 0 ? archive_write(b, err) : NH_OK;
}

static void clean_up(struct builder *b)
{
	static const char *const roles[] = {"source", "target", "patch"};
	for (size_t i = 0; i < b->member_count; i++)
		for (size_t k = 0; k < NH_ARRAY_LEN(roles) && b->members[i].candidate; k++)
			unlink(scratch_path(b, roles[k], i));
	rmdir(b->dir);
}

nh_rc nh_fw_delta_build(const struct nh_fw_delta_build *config, struct nh_fw_delta_result *out, struct nh_err *err)
{
	*out = (struct nh_fw_delta_result){.outcome = NH_FW_DELTA_NO_SUPPORT};
	struct builder b = {.config = config, .source.fd = -1, .target.fd = -1, .result = out,
			    .scratch_left = config->scratch_max_bytes ? config->scratch_max_bytes : SCRATCH_MAX};
	char *dir = nh_arena_printf(&b.arena, "%s/delta-XXXXXX", config->scratch);
	nh_rc rc = mkdtemp(dir) ? NH_OK : NH_FAIL(err, nh_rc_from_errno(errno), "cannot make a folder in '%s': %s", config->scratch, strerror(errno));
	if (rc == NH_OK) {
		b.dir = dir;
		rc = build(&b, err);
		clean_up(&b);
	}
	if (b.source.fd >= 0)
		close(b.source.fd);
	if (b.target.fd >= 0)
		close(b.target.fd);
	nh_fw_delta_scan_fini(&b.scan);
	free(b.members);
	nh_arena_fini(&b.arena);
	return rc;
}

const char *nh_fw_delta_outcome_name(nh_fw_delta_outcome outcome)
{
	static const char *const names[] = {
		[NH_FW_DELTA_BUILT] = "built",
		[NH_FW_DELTA_NO_SUPPORT] = "no_delta_support_in_firmware",
		[NH_FW_DELTA_INCOMPATIBLE] = "incompatible_firmware",
		[NH_FW_DELTA_NO_CHANGES] = "no_changes_in_delta",
		[NH_FW_DELTA_LARGER] = "delta_larger_than_target",
	};
	return names[outcome];
}
