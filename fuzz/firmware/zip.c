/*
 * ZIP reader: any bytes, in pieces whose size the first byte chooses; whole or in pieces, the verdict must be the same.
 */
#include <stdlib.h>

#include "firmware/zip.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static nh_rc count(void *ctx, nh_slice bytes, struct nh_err *err)
{
	size_t *left = ctx;
	/* bombs are the upper layers' matter: here they only must not take all day */
	if (bytes.len > *left)
		return NH_ETOOBIG;
	*left -= bytes.len;
	return NH_OK;
}

static nh_fw_fault run(nh_slice bytes, size_t piece, bool whole)
{
	size_t left = 1u << 20;
	struct nh_fw_zip_reader *z = nh_fw_zip_reader_new(&(struct nh_fw_zip_handler){.ctx = &left, .data = count}, whole);
	nh_rc rc = NH_OK;
	for (size_t at = 0; at < bytes.len && rc == NH_OK; at += piece)
		rc = nh_fw_zip_reader_feed(z, nh_slice_sub(bytes, at, piece), NULL);
	if (rc == NH_OK)
		rc = nh_fw_zip_reader_finish(z, NULL);
	nh_fw_fault fault = nh_fw_zip_reader_fault(z);
	if ((rc == NH_OK) != (fault == NH_FW_FAULT_NONE))
		abort();
	nh_fw_zip_reader_free(z);
	return fault;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (size < 1)
		return 0;
	nh_slice bytes = nh_slice_of(data + 1, size - 1);
	for (int whole = 0; whole < 2; whole++) {
		nh_fw_fault at_once = run(bytes, SIZE_MAX / 2, whole);
		nh_fw_fault in_pieces = run(bytes, (size_t)data[0] + 1, whole);
		if ((at_once == NH_FW_FAULT_NONE) != (in_pieces == NH_FW_FAULT_NONE))
			abort();
	}
	return 0;
}
