/*
 * Sign a digest from outside. The digest lies in TempKey and the signature takes it away, so both commands are repeated together.
 * source: reference/nerveskey "1" (trap 2), "5.5"
 */
#include "chip_int.h"

#define EXTERNAL 0x80u

struct sign_job {
	unsigned slot;
	const uint8_t *digest;
	uint8_t *signature;
};

static nh_rc sign_step(struct nh_atecc *chip, void *arg, struct nh_err *err)
{
	struct sign_job *job = arg;
	NH_TRY(nh_atecc_load_tempkey(chip, job->digest, err));
	struct nh_atecc_command c = {.opcode = NH_ATECC_SIGN, .param1 = EXTERNAL, .param2 = (uint16_t)job->slot, .reply = job->signature, .reply_len = 64};
	return nh_atecc_exchange(chip, &c, err);
}

nh_rc nh_atecc_sign(struct nh_atecc *chip, unsigned slot, const uint8_t digest[32], uint8_t signature[64], struct nh_err *err)
{
	if (slot >= NH_ATECC_SLOTS)
		return nh_atecc_fail(chip, NULL, err, NH_EINVAL, "slot %u: a chip has slots 0 to %u", slot, NH_ATECC_SLOTS - 1);
	return nh_atecc_sequence(chip, sign_step, &(struct sign_job){slot, digest, signature}, err);
}
