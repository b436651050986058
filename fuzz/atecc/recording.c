/* Any text as a recording, and a driver that asks it for what drivers ask. */
#include "atecc/chip.h"
#include "transport_int.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct nh_atecc_transport t = {0};
	struct nh_err err = NH_ERR_INIT;
	struct nh_atecc *chip;
	uint8_t bytes[NH_ATECC_CONFIG_LEN];
	if (nh_atecc_replay_open_text(nh_slice_of(data, size), &t, &err) != NH_OK) {
		NH_ASSERT(err.msg[0]);
		return 0;
	}
	nh_atecc_new(t, &chip);
	nh_rc rc = nh_atecc_revision(chip, bytes, &err);
	if (rc == NH_OK)
		rc = nh_atecc_read_config(chip, bytes, &err);
	if (rc == NH_OK)
		rc = nh_atecc_random(chip, bytes, &err);
	NH_ASSERT(rc == NH_OK || (err.rc == rc && err.msg[0]));
	nh_atecc_free(chip);
	return 0;
}
