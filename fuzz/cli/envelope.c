/* Any text as an encrypted private key, and as the answer of a server that failed. */
#include "cli_int.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	uint8_t key[64];
	struct nh_err err = NH_ERR_INIT;
	NH_AUTO_BUF struct nh_buf text = NH_BUF_INIT;
	NH_IGNORE(cli_envelope_open(nh_slice_of(data, size), NH_LIT("secret"), key, &err)); /* looked at for memory errors only */
	cli_api_error_put(&text, 422, nh_slice_of(data, size));
	return 0;
}
