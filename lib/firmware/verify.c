/*
 * Verification of a whole archive as it streams by: every member belongs to a file-resource, comes once, has the length and the BLAKE2b-256 hash
 * that the (authenticated) meta.conf states, and none is missing.
 *
 * A member whose size differs from its resource is taken for a delta patch; its result can only be checked on a device, so here only the beginning
 * of the VCDIFF data is looked at.  source: reference/fwup-format "7.3", "14.3"
 */
#include "firmware/verify.h"

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/arena.h"
#include "base/file.h"
#include "crypto/digest.h"
#include "vcdiff_int.h"

struct nh_fw_verifier {
	struct nh_fw_reader *reader;
	nh_fw_fault fault;
	bool *seen;                       /* by resource index */
	const struct nh_fw_resource *now; /* of the member being read */
	bool patch, patches;
	uint64_t bytes;
	struct nh_digest_stream *hash;
	struct nh_buf head;               /* beginning of a patch */
};

#define REFUSE(v, f, ...) ((v)->fault = (f), NH_FAIL(err, NH_EFORMAT, __VA_ARGS__))

static nh_rc on_manifest(void *ctx, const struct nh_fw_manifest *m, struct nh_err *err)
{
	struct nh_fw_verifier *v = ctx;
	v->seen = nh_xcalloc(m->resource_count + 1, sizeof *v->seen);
	return NH_OK;
}

static nh_rc on_begin(void *ctx, nh_slice name, const struct nh_fw_resource *r, const struct nh_fw_member *member, struct nh_err *err)
{
	struct nh_fw_verifier *v = ctx;
	if (!r)
		return REFUSE(v, NH_FW_FAULT_MALFORMED, "Can't find file-resource for %.*s", NH_ARG(name));
	if (v->seen[r->index])
		return REFUSE(v, NH_FW_FAULT_MALFORMED, "Processing %.*s twice. Archive is corrupt.", NH_ARG(name));
	if (!r->hash_ok)
		return REFUSE(v, NH_FW_FAULT_MALFORMED, "invalid blake2b-256 hash for '%.*s'", NH_ARG(name));
	v->seen[r->index] = true;
	v->now = r;
	v->bytes = 0;
	v->patch = r->run_count == 1 && member->size_known && member->size != r->size_bytes;
	v->patches = v->patches || v->patch;
	nh_buf_clear(&v->head);
	if (!v->patch && member->size_known && member->size != r->stored_bytes)
		return REFUSE(v, NH_FW_FAULT_TAMPERED, "ZIP local header length mismatch for %.*s", NH_ARG(name));
	nh_digest_stream_free(v->hash);
	v->hash = nh_digest_stream_new(NH_BLAKE2B_256);
	return NH_OK;
}

static nh_rc on_data(void *ctx, nh_slice bytes, struct nh_err *err)
{
	struct nh_fw_verifier *v = ctx;
	v->bytes += bytes.len;
	if (v->patch) {
		nh_buf_put_slice(&v->head, nh_slice_sub(bytes, 0, NH_FW_VCDIFF_HEAD_MAX - v->head.len));
		return NH_OK;
	}
	if (v->bytes > v->now->stored_bytes)
		return REFUSE(v, NH_FW_FAULT_TAMPERED, "ZIP data length mismatch for %.*s", NH_ARG(v->now->name));
	nh_digest_stream_update(v->hash, bytes);
	return NH_OK;
}

static nh_rc on_end(void *ctx, uint64_t size, struct nh_err *err)
{
	struct nh_fw_verifier *v = ctx;
	if (v->patch)
		return nh_fw_vcdiff_begins_well(nh_buf_slice(&v->head)) ? NH_OK :
			REFUSE(v, NH_FW_FAULT_TAMPERED,
			       "xdelta3 error: '%.*s' has %llu bytes instead of %llu and isn't a VCDIFF patch either", NH_ARG(v->now->name),
			       (unsigned long long)size, (unsigned long long)v->now->size_bytes);
	if (v->bytes != v->now->stored_bytes)
		return REFUSE(v, NH_FW_FAULT_TAMPERED, "ZIP data length mismatch for %.*s", NH_ARG(v->now->name));
	uint8_t hash[NH_BLAKE2B_256_LEN];
	nh_digest_stream_final(v->hash, hash);
	if (!nh_slice_eq(nh_slice_of(hash, sizeof hash), nh_slice_of(v->now->blake2b, sizeof v->now->blake2b)))
		return REFUSE(v, NH_FW_FAULT_TAMPERED, "Detected blake2b digest mismatch for %.*s", NH_ARG(v->now->name));
	return NH_OK;
}

struct nh_fw_verifier *nh_fw_verifier_new(const struct nh_fw_verify_config *c)
{
	struct nh_fw_verifier *v = nh_xcalloc(1, sizeof *v);
	v->reader = nh_fw_reader_new(&(struct nh_fw_reader_config){
		.keys = c->keys, .key_count = c->key_count, .allow_unverified = c->allow_unverified, .whole = c->whole,
		.local_time = c->local_time, .path = c->path, .vars = c->vars,
		.handler = {.ctx = v, .manifest = on_manifest, .begin = on_begin, .data = on_data, .end = on_end},
	});
	return v;
}

void nh_fw_verifier_free(struct nh_fw_verifier *v)
{
	if (!v)
		return;
	nh_fw_reader_free(v->reader);
	nh_digest_stream_free(v->hash);
	nh_buf_fini(&v->head);
	free(v->seen);
	free(v);
}

nh_rc nh_fw_verifier_feed(struct nh_fw_verifier *v, nh_slice bytes, struct nh_err *err)
{
	return nh_fw_reader_feed(v->reader, bytes, err);
}

bool nh_fw_verifier_done(const struct nh_fw_verifier *v)
{
	return nh_fw_reader_done(v->reader);
}

nh_rc nh_fw_verifier_finish(struct nh_fw_verifier *v, struct nh_err *err)
{
	NH_TRY(nh_fw_reader_finish(v->reader, err));
	const struct nh_fw_manifest *m = nh_fw_reader_manifest(v->reader);
	for (size_t i = 0; i < m->resource_count; i++)
		if (!v->seen[i])
			return REFUSE(v, NH_FW_FAULT_MALFORMED, "Resource %.*s not found in archive", NH_ARG(m->resources[i].name));
	return NH_OK;
}

const struct nh_fw_manifest *nh_fw_verifier_manifest(const struct nh_fw_verifier *v)
{
	return nh_fw_reader_manifest(v->reader);
}

nh_fw_signature nh_fw_verifier_signature(const struct nh_fw_verifier *v)
{
	return nh_fw_reader_signature(v->reader);
}

int nh_fw_verifier_key_index(const struct nh_fw_verifier *v)
{
	return nh_fw_reader_key_index(v->reader);
}

bool nh_fw_verifier_patches(const struct nh_fw_verifier *v)
{
	return v->patches;
}

nh_fw_fault nh_fw_verifier_fault(const struct nh_fw_verifier *v)
{
	return v->fault != NH_FW_FAULT_NONE ? v->fault : nh_fw_reader_fault(v->reader);
}

const char *nh_fw_verifier_sentence(const struct nh_fw_verifier *v)
{
	switch (nh_fw_verifier_signature(v)) {
	case NH_FW_SIGNED: return "Valid archive with a good signature";
	case NH_FW_UNVERIFIED: return "Valid archive with an unverified signature. Specify a public key to authenticate.";
	default: return "Valid archive without a signature";
	}
}

nh_rc nh_fw_verify_fd(struct nh_fw_verifier *v, int fd, struct nh_err *err)
{
	static const size_t size = 128 * 1024;
	uint8_t *bytes = nh_xcalloc(1, size);
	nh_rc rc = NH_OK;
	for (;;) {
		ssize_t n = read(fd, bytes, size);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			rc = NH_FAIL(err, NH_EIO, "Error reading the archive");
		if (n <= 0 || (rc = nh_fw_verifier_feed(v, nh_slice_of(bytes, (size_t)n), err)) != NH_OK)
			break;
	}
	free(bytes);
	NH_TRY(rc);
	return nh_fw_verifier_finish(v, err);
}
