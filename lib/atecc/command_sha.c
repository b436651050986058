/*
 * SHA-256 computed by the chip: start, whole blocks of 64 bytes, the rest. The context does not survive anything, so a lost answer begins it anew.
 * source: reference/nerveskey "5.11"
 */
#include "chip_int.h"

#define START 0u
#define UPDATE 1u
#define END 2u
#define SHA_BLOCK 64u

struct sha_job {
	nh_slice bytes;
	uint8_t *out;
};

static nh_rc sha_step(struct nh_atecc *chip, void *arg, struct nh_err *err)
{
	struct sha_job *job = arg;
	nh_slice left = job->bytes;
	NH_TRY(nh_atecc_exchange(chip, &(struct nh_atecc_command){.opcode = NH_ATECC_SHA, .param1 = START}, err));
	for (; left.len >= SHA_BLOCK; left = nh_slice_skip(left, SHA_BLOCK)) {
		struct nh_atecc_command c = {.opcode = NH_ATECC_SHA, .param1 = UPDATE, .param2 = SHA_BLOCK, .data = nh_slice_sub(left, 0, SHA_BLOCK)};
		NH_TRY(nh_atecc_exchange(chip, &c, err));
	}
	struct nh_atecc_command end = {.opcode = NH_ATECC_SHA, .param1 = END, .param2 = (uint16_t)left.len, .data = left, .reply = job->out, .reply_len = 32};
	return nh_atecc_exchange(chip, &end, err);
}

nh_rc nh_atecc_sha256(struct nh_atecc *chip, nh_slice bytes, uint8_t out[32], struct nh_err *err)
{
	return nh_atecc_sequence(chip, sha_step, &(struct sha_job){bytes, out}, err);
}
