/* Chunked bodies: the first byte chooses the piece size; in pieces and whole the same data must come out. */
#include <stdlib.h>

#include "base/buf.h"
#include "net/http_parser.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static nh_rc decode(nh_slice in, size_t step, struct nh_buf *out, size_t *used)
{
	struct nh_http_body b;
	nh_http_body_init(&b, NH_HTTP_CHUNKED, 0, 65536);
	*used = 0;
	bool done = false;
	while (*used < in.len && !done) {
		size_t n, consumed;
		nh_slice data;
		n = in.len - *used < step ? in.len - *used : step;
		nh_rc rc = nh_http_body_feed(&b, nh_slice_sub(in, *used, n), &consumed, &data, &done, NULL);
		if (rc != NH_OK)
			return rc;
		if (consumed == 0 && !done)
			abort(); /* no progress */
		nh_buf_put_slice(out, data);
		*used += consumed;
	}
	if (out->len > 65536)
		abort(); /* over the cap */
	return done ? NH_OK : NH_EAGAIN;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (size == 0)
		return 0;
	NH_AUTO_BUF struct nh_buf whole = NH_BUF_INIT;
	NH_AUTO_BUF struct nh_buf pieces = NH_BUF_INIT;
	size_t used_whole, used_pieces;
	nh_slice in = nh_slice_of(data + 1, size - 1);
	nh_rc a = decode(in, SIZE_MAX, &whole, &used_whole);
	nh_rc b = decode(in, (size_t)data[0] % 16 + 1, &pieces, &used_pieces);
	if (a != b)
		abort();
	if (a == NH_OK && (used_whole != used_pieces || !nh_slice_eq(nh_buf_slice(&whole), nh_buf_slice(&pieces))))
		abort();
	return 0;
}
