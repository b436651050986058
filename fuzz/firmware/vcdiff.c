/*
 * Patches of any shape against some old data: whole, and in pieces whose size the first byte chooses, they mean the same and never more than they say.
 */
#include "base/err.h"
#include "vcdiff_int.h"

#define OLD_BYTES 4096u
#define MADE_MAX (1u << 20)

struct sink {
	struct nh_buf made;
};

static nh_rc on_source(void *ctx, uint64_t offset, uint8_t *out, size_t len, struct nh_err *err)
{
	if (offset > OLD_BYTES || len > OLD_BYTES - offset)
		return NH_FAIL(err, NH_EFORMAT, "outside");
	for (size_t i = 0; i < len; i++)
		out[i] = (uint8_t)((offset + i) * 7 >> 3);
	return NH_OK;
}

static nh_rc on_target(void *ctx, nh_slice bytes, struct nh_err *err)
{
	struct sink *s = ctx;
	if (s->made.len + bytes.len > MADE_MAX)
		return NH_FAIL(err, NH_ETOOBIG, "enough");
	nh_buf_put_slice(&s->made, bytes);
	return NH_OK;
}

static nh_rc decode(nh_slice patch, size_t step, struct sink *s)
{
	struct nh_fw_vcdiff *d = nh_fw_vcdiff_new(&(struct nh_fw_vcdiff_config){s, on_source, on_target});
	nh_rc rc = NH_OK;
	for (size_t at = 0; at < patch.len && rc == NH_OK; at += step)
		rc = nh_fw_vcdiff_feed(d, nh_slice_sub(patch, at, step), NULL);
	if (rc == NH_OK)
		rc = nh_fw_vcdiff_finish(d, NULL);
	nh_fw_vcdiff_free(d);
	return rc;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (size < 1)
		return 0;
	nh_slice patch = nh_slice_of(data + 1, size - 1);
	struct sink whole = {0}, pieces = {0};
	nh_rc one = decode(patch, patch.len + 1, &whole), two = decode(patch, data[0] % 64 + 1u, &pieces);
	NH_ASSERT((one == NH_OK) == (two == NH_OK));
	NH_ASSERT(nh_slice_eq(nh_buf_slice(&whole.made), nh_buf_slice(&pieces.made)));
	if (one == NH_OK && whole.made.len > 0)
		NH_ASSERT(nh_fw_vcdiff_begins_well(patch));
	nh_buf_fini(&whole.made);
	nh_buf_fini(&pieces.made);
	return 0;
}
