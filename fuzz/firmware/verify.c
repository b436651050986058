/*
 * The verifier on any bytes, without a key (contents reach the parsers) and with one (nothing unsigned may pass).
 */
#include <stdlib.h>

#include "firmware/verify.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static nh_rc run(nh_slice bytes, const struct nh_fw_public_key *key)
{
	struct nh_fw_verifier *v = nh_fw_verifier_new(&(struct nh_fw_verify_config){
		.keys = key, .key_count = key ? 1 : 0, .allow_unverified = true, .whole = bytes.len % 2});
	struct nh_err err = NH_ERR_INIT;
	nh_rc rc = nh_fw_verifier_feed(v, bytes, &err);
	if (rc == NH_OK)
		rc = nh_fw_verifier_finish(v, &err);
	if (rc != NH_OK && (err.msg[0] == 0 || nh_fw_verifier_fault(v) == NH_FW_FAULT_NONE))
		abort();
	nh_fw_verifier_free(v);
	return rc;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	/* nobody holds its private half */
	static const struct nh_fw_public_key nobody = {{0x5a, 0x11}};
	nh_slice bytes = nh_slice_of(data, size);
	(void)run(bytes, NULL);
	if (run(bytes, &nobody) == NH_OK)
		abort();
	return 0;
}
