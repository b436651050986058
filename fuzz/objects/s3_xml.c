/*
 * Answers of an S3 server: elements nest, texts and names keep their bounds, and reading for one name finds what reading all finds.
 */
#include "fuzz.h"

#include <string.h>

#include "base/arena.h"
#include "s3_int.h"

struct count {
	size_t leaves, codes;
};

static bool leaf(void *ctx, const char *parent, const char *name, nh_slice text)
{
	struct count *c = ctx;
	NH_ASSERT(strlen(parent) < 64 && strlen(name) < 64 && text.len <= (size_t)8 << 10);
	c->leaves++;
	c->codes += strcmp(name, "Code") == 0;
	return true;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct count count = {0};
	NH_AUTO_BUF struct nh_buf code = NH_BUF_INIT;
	nh_slice document = nh_slice_of(data, size);
	nh_rc whole = s3_xml_read(document, &(struct s3_xml){.leaf = leaf, .ctx = &count}, NULL);
	nh_rc one = s3_xml_text(document, "Code", &code, NULL);
	if (count.codes > 0)
		NH_ASSERT(one == NH_OK);
	else if (whole == NH_OK)
		NH_ASSERT(one == NH_ENOTFOUND);
	return 0;
}
