/*
 * Signing: two passes over the input. The first checks every member and learns the true sizes, which local headers need and streamed archives do
 * not state; the second copies the compressed bytes behind fresh headers. meta.conf is the only content that is looked at.
 * source: reference/fwup-format "1.7"
 */
#include "firmware/sign.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/arena.h"
#include "base/file.h"
#include "crypto/ed25519.h"
#include "file_sink_int.h"
#include "firmware/metadata.h"
#include "zip_file_int.h"

#define SIGNATURE_NAME "meta.conf.ed25519"
#define META_NAME "meta.conf"

struct signer {
	const struct nh_fw_sign_options *options;
	uint64_t *sizes;       /* of each member in order, from the first pass */
	size_t count, capacity;
	struct nh_buf meta;
	bool in_meta, in_signature, meta_seen;

	struct nh_fw_zip_writer *writer;
	size_t next;
};

static nh_rc look_begin(void *ctx, const struct nh_fw_member *m, struct nh_err *err)
{
	struct signer *s = ctx;
	s->in_signature = nh_slice_eq_str(m->name, SIGNATURE_NAME);
	s->in_meta = nh_slice_eq_str(m->name, META_NAME);
	if (s->in_meta && s->meta_seen)
		return NH_FAIL(err, NH_EFORMAT, "Invalid firmware. More than one meta.conf found");
	if (!s->in_meta && !s->in_signature && !s->meta_seen)
		return NH_FAIL(err, NH_EFORMAT, "Invalid firmware. meta.conf must be at the beginning of archive");
	s->meta_seen |= s->in_meta;
	return NH_OK;
}

static nh_rc look_data(void *ctx, nh_slice bytes, struct nh_err *err)
{
	struct signer *s = ctx;
	if (!s->in_meta)
		return NH_OK;
	nh_buf_put_slice(&s->meta, bytes);
	return nh_buf_ok(&s->meta) ? NH_OK : NH_FAIL(err, NH_EFORMAT, "Unexpected meta.conf size: over %d", NH_FW_META_MAX);
}

static nh_rc look_end(void *ctx, uint64_t size, uint32_t crc, struct nh_err *err)
{
	struct signer *s = ctx;
	if (s->count == s->capacity) {
		size_t capacity = s->capacity ? s->capacity * 2 : 64;
		uint64_t *sizes = reallocarray(s->sizes, capacity, sizeof *sizes);
		if (!sizes)
			return NH_FAIL(err, NH_ENOMEM, "no memory for the list of members");
		s->sizes = sizes;
		s->capacity = capacity;
	}
	s->sizes[s->count++] = size;
	return NH_OK;
}

static nh_rc write_signature(struct signer *s, struct nh_err *err)
{
	uint8_t signature[NH_ED25519_SIGNATURE_LEN];
	nh_ed25519_sign(s->options->key->bytes, nh_buf_slice(&s->meta), signature);
	NH_TRY(nh_fw_zip_writer_begin(s->writer, NH_LIT(SIGNATURE_NAME), NH_FW_STORED, sizeof signature, NULL, false, err));
	NH_TRY(nh_fw_zip_writer_data(s->writer, nh_slice_of(signature, sizeof signature), err));
	return nh_fw_zip_writer_end(s->writer, 0, err);
}

static nh_rc copy_begin(void *ctx, const struct nh_fw_member *m, struct nh_err *err)
{
	struct signer *s = ctx;
	if (s->next >= s->count)
		return NH_FAIL(err, NH_EFORMAT, "The archive changed while it was signed");
	uint64_t size = s->sizes[s->next++];
	s->in_signature = nh_slice_eq_str(m->name, SIGNATURE_NAME);
	if (s->in_signature)
		return NH_OK;
	bool meta = nh_slice_eq_str(m->name, META_NAME);
	if (meta)
		NH_TRY(write_signature(s, err));
	return nh_fw_zip_writer_begin(s->writer, m->name, m->method, size, meta ? &s->options->time_s : NULL, true, err);
}

static nh_rc copy_raw(void *ctx, nh_slice bytes, struct nh_err *err)
{
	struct signer *s = ctx;
	return s->in_signature ? NH_OK : nh_fw_zip_writer_data(s->writer, bytes, err);
}

static nh_rc copy_end(void *ctx, uint64_t size, uint32_t crc, struct nh_err *err)
{
	struct signer *s = ctx;
	if (s->in_signature)
		return NH_OK;
	if (size != s->sizes[s->next - 1])
		return NH_FAIL(err, NH_EFORMAT, "The archive changed while it was signed");
	return nh_fw_zip_writer_end(s->writer, crc, err);
}

static nh_rc copy(struct signer *s, int fd, const char *in, const char *out, struct nh_err *err)
{
	struct fw_file_sink file;
	NH_TRY(fw_file_sink_open(&file, out, err));
	s->writer = nh_fw_zip_writer_new(&file.sink, 9, s->options->utc_offset_s);
	nh_rc rc = fw_zip_file_pass(fd, in, &(struct nh_fw_zip_handler){.ctx = s, .begin = copy_begin, .raw = copy_raw, .end = copy_end}, err);
	if (rc == NH_OK)
		rc = nh_fw_zip_writer_finish(s->writer, err);
	nh_fw_zip_writer_free(s->writer);
	if (rc == NH_OK)
		return fw_file_sink_commit(&file, err);
	fw_file_sink_abandon(&file);
	return rc;
}

nh_rc nh_fw_sign_file(const char *in, const char *out, const struct nh_fw_sign_options *options, struct nh_err *err)
{
	int fd = open(in, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return NH_FAIL(err, nh_rc_from_errno(errno), "Failed to open '%s'", in);
	struct signer s = {.options = options, .meta = NH_BUF_MAX(NH_FW_META_MAX)};
	nh_rc rc = fw_zip_file_pass(fd, in, &(struct nh_fw_zip_handler){.ctx = &s, .begin = look_begin, .data = look_data, .end = look_end}, err);
	if (rc == NH_OK && !s.meta_seen)
		rc = NH_FAIL(err, NH_EFORMAT, "Invalid firmware. meta.conf must be at the beginning of archive");
	if (rc == NH_OK)
		rc = copy(&s, fd, in, out, err);
	close(fd);
	nh_buf_fini(&s.meta);
	free(s.sizes);
	return rc;
}
