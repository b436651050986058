/*
 * ECDH with a private key in a slot; the shared X coordinate comes back in clear.
 * source: reference/nerveskey "5.10"
 */
#include "atecc/p256.h"
#include "chip_int.h"

nh_rc nh_atecc_ecdh(struct nh_atecc *chip, unsigned slot, const uint8_t peer[64], uint8_t shared[32], struct nh_err *err)
{
	if (slot >= NH_ATECC_SLOTS)
		return nh_atecc_fail(chip, NULL, err, NH_EINVAL, "slot %u: a chip has slots 0 to %u", slot, NH_ATECC_SLOTS - 1);
	if (nh_p256_public_check(peer) != NH_OK)
		return nh_atecc_fail(chip, NULL, err, NH_EINVAL, "the peer's public key is not a point of the curve P-256");
	struct nh_atecc_command c = {.opcode = NH_ATECC_ECDH, .param2 = (uint16_t)slot, .data = nh_slice_of(peer, 64), .reply = shared, .reply_len = 32};
	return nh_atecc_repeatable(chip, &c, err);
}
