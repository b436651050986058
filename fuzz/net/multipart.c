/* Forms with the boundary "B": the first byte chooses the piece size; in pieces and whole the same parts must come out. */
#include <stdlib.h>

#include "base/buf.h"
#include "net/multipart.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static nh_rc field(void *ctx, nh_slice name, nh_slice value)
{
	nh_buf_printf(ctx, "F%zu,%zu:", name.len, value.len);
	nh_buf_put_slice(ctx, name);
	nh_buf_put_slice(ctx, value);
	return NH_OK;
}

static nh_rc file_begin(void *ctx, nh_slice name, nh_slice filename, nh_slice type)
{
	nh_buf_printf(ctx, "B%zu,%zu,%zu:", name.len, filename.len, type.len);
	return NH_OK;
}

static nh_rc file_data(void *ctx, nh_slice bytes)
{
	nh_buf_put_slice(ctx, bytes);
	return NH_OK;
}

static nh_rc file_end(void *ctx)
{
	nh_buf_put_str(ctx, "E");
	return NH_OK;
}

static nh_rc decode(nh_slice in, size_t step, struct nh_buf *log)
{
	struct nh_multipart_events events = {field, file_begin, file_data, file_end, log};
	struct nh_multipart *m;
	if (nh_multipart_new(NH_LIT("B"), NULL, &events, &m, NULL) != NH_OK)
		abort();
	nh_rc rc = NH_OK;
	for (size_t at = 0; at < in.len && rc == NH_OK; at += step)
		rc = nh_multipart_feed(m, nh_slice_sub(in, at, step), NULL);
	if (rc == NH_OK)
		rc = nh_multipart_end(m, NULL);
	nh_multipart_free(m);
	return rc;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	nh_slice boundary;
	NH_IGNORE(nh_multipart_boundary(nh_slice_of(data, size), &boundary)); /* only the sanitizers judge */
	if (size < 2)
		return 0;
	NH_AUTO_BUF struct nh_buf whole = NH_BUF_INIT;
	NH_AUTO_BUF struct nh_buf pieces = NH_BUF_INIT;
	nh_slice in = nh_slice_of(data + 1, size - 1);
	nh_rc a = decode(in, in.len, &whole), b = decode(in, (size_t)data[0] % 8 + 1, &pieces);
	if (a != b || !nh_slice_eq(nh_buf_slice(&whole), nh_buf_slice(&pieces)))
		abort();
	return 0;
}
