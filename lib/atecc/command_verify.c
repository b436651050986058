/*
 * Verify with a public key that comes along, computed in the chip.
 * source: reference/nerveskey "5.9"
 */
#include "atecc/p256.h"
#include "chip_int.h"

#define EXTERNAL 0x02u
#define KEY_TYPE_P256 4u

struct verify_job {
	const uint8_t *digest;
	uint8_t signature_and_key[NH_P256_SIGNATURE_LEN + NH_P256_PUBLIC_LEN];
};

static nh_rc verify_step(struct nh_atecc *chip, void *arg, struct nh_err *err)
{
	struct verify_job *job = arg;
	NH_TRY(nh_atecc_load_tempkey(chip, job->digest, err));
	struct nh_atecc_command c = {
		.opcode = NH_ATECC_VERIFY,
		.param1 = EXTERNAL,
		.param2 = KEY_TYPE_P256,
		.data = nh_slice_of(job->signature_and_key, sizeof job->signature_and_key),
	};
	return nh_atecc_exchange(chip, &c, err);
}

nh_rc nh_atecc_verify(struct nh_atecc *chip, const uint8_t public_key[64], const uint8_t digest[32], const uint8_t signature[64], struct nh_err *err)
{
	struct verify_job job = {.digest = digest};
	if (nh_p256_public_check(public_key) != NH_OK) /* chips answer this each in its own way */
		return nh_atecc_fail(chip, NULL, err, NH_EINVAL, "the public key is not a point of the curve P-256");
	memmove(job.signature_and_key, signature, NH_P256_SIGNATURE_LEN);
	memmove(job.signature_and_key + NH_P256_SIGNATURE_LEN, public_key, NH_P256_PUBLIC_LEN);
	return nh_atecc_sequence(chip, verify_step, &job, err);
}
