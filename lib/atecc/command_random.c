/*
 * Random: 32 bytes of the chip's generator.
 * source: reference/nerveskey "4.7", "5.7"
 */
#include "chip_int.h"

nh_rc nh_atecc_random(struct nh_atecc *chip, uint8_t out[32], struct nh_err *err)
{
	struct nh_atecc_command c = {.opcode = NH_ATECC_RANDOM, .reply = out, .reply_len = 32};
	NH_TRY(nh_atecc_repeatable(chip, &c, err));
	bool pattern = true; /* what a chip says before its configuration is locked */
	for (unsigned i = 0; i < 32; i++)
		pattern = pattern && out[i] == (i % 4 < 2 ? 0xFF : 0x00);
	if (!pattern)
		return NH_OK;
	memset(out, 0, 32);
	return nh_atecc_fail(chip, &c, err, NH_EPERM, "no random numbers before the configuration is locked");
}
