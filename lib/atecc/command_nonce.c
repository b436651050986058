/*
 * Nonce in pass-through mode, the one way to bring a digest into TempKey that every model has.
 * source: reference/nerveskey "5.4"
 */
#include "chip_int.h"

#define PASS_THROUGH 0x03u

nh_rc nh_atecc_load_tempkey(struct nh_atecc *chip, const uint8_t value[32], struct nh_err *err)
{
	struct nh_atecc_command c = {.opcode = NH_ATECC_NONCE, .param1 = PASS_THROUGH, .data = nh_slice_of(value, 32)};
	return nh_atecc_exchange(chip, &c, err);
}
