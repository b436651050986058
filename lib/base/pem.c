/*
 * PEM (RFC 7468): finding the next block, writing one. Headers inside blocks (encrypted keys) are not read: such a block is broken Base64 here.
 */
#include "base/encode.h"
#include "base/pem.h"

#define LABEL_MAX 64

nh_rc nh_pem_find(nh_slice text, nh_slice *label, struct nh_buf *bytes, nh_slice *rest)
{
	ptrdiff_t begin = nh_slice_find(text, NH_LIT("-----BEGIN "));
	if (begin < 0)
		return NH_ENOTFOUND;
	nh_slice after = nh_slice_skip(text, (size_t)begin + 11);
	ptrdiff_t label_end = nh_slice_find(after, NH_LIT("-----"));
	if (label_end <= 0 || label_end > LABEL_MAX)
		return NH_EFORMAT;
	*label = nh_slice_sub(after, 0, (size_t)label_end);
	nh_slice body = nh_slice_skip(after, (size_t)label_end + 5);
	ptrdiff_t end = nh_slice_find(body, NH_LIT("-----END "));
	if (end < 0)
		return NH_EFORMAT;
	nh_slice tail = nh_slice_skip(body, (size_t)end + 9);
	if (!nh_slice_starts(tail, *label) || !nh_slice_starts(nh_slice_skip(tail, label->len), NH_LIT("-----")))
		return NH_EFORMAT;
	*rest = nh_slice_skip(tail, label->len + 5);
	if ((size_t)end > 2 * NH_PEM_MAX)
		return NH_ETOOBIG;
	struct nh_buf packed = NH_BUF_INIT;
	for (size_t i = 0; i < (size_t)end; i++)
		if (body.ptr[i] != '\n' && body.ptr[i] != '\r' && body.ptr[i] != ' ' && body.ptr[i] != '\t')
			nh_buf_put_u8(&packed, body.ptr[i]);
	nh_rc rc = packed.len ? nh_b64_decode(nh_buf_slice(&packed), NH_B64_STD, bytes) : NH_EFORMAT;
	nh_buf_wipe(&packed); /* may be a key */
	return rc;
}

void nh_pem_put(struct nh_buf *out, const char *label, nh_slice bytes)
{
	struct nh_buf text = NH_BUF_INIT;
	nh_b64_put(&text, bytes, NH_B64_STD);
	nh_buf_printf(out, "-----BEGIN %s-----\n", label);
	for (size_t i = 0; i < text.len; i += 64) {
		nh_buf_put_slice(out, nh_slice_sub(nh_buf_slice(&text), i, 64));
		nh_buf_put_u8(out, '\n');
	}
	nh_buf_printf(out, "-----END %s-----\n", label);
	nh_buf_wipe(&text);
}
