/*
 * Environment blocks, plain and redundant: what decodes must encode to something that decodes to the same. The first byte chooses the form; the
 * checksum is put right in half of the inputs, or nothing would get behind it.
 */
#include <stdlib.h>
#include <zlib.h>

#include "firmware/uboot_env.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (size < 8)
		return 0;
	bool redundant = data[0] & 1;
	size_t header = redundant ? 5 : 4;
	NH_AUTO_BUF struct nh_buf block = NH_BUF_INIT, again = NH_BUF_INIT;
	nh_buf_put(&block, data + 1, size - 1);
	if (data[0] & 2) {
		uint32_t crc = (uint32_t)crc32(crc32(0, NULL, 0), block.ptr + header, (uInt)(block.len - header));
		for (unsigned i = 0; i < 4; i++)
			block.ptr[i] = (uint8_t)(crc >> (8 * i));
	}
	struct nh_fw_env *e = nh_fw_env_new(), *f = nh_fw_env_new();
	uint8_t flags;
	if (nh_fw_env_decode(e, nh_buf_slice(&block), redundant, 0, &flags, NULL) == NH_OK) {
		if (nh_fw_env_encode(e, block.len + 64, redundant, flags, &again, NULL) != NH_OK ||
		    nh_fw_env_decode(f, nh_buf_slice(&again), redundant, 0, &flags, NULL) != NH_OK || nh_fw_env_count(e) != nh_fw_env_count(f))
			abort();
		for (size_t i = 0; i < nh_fw_env_count(e); i++) {
			nh_slice name, value, other;
			nh_fw_env_at(e, i, &name, &value);
			if (!nh_fw_env_get(f, name, &other) || !nh_slice_eq(value, other))
				abort();
		}
	}
	nh_fw_env_free(e);
	nh_fw_env_free(f);
	return 0;
}
