/*
 * MAC with a key in a slot, and the volatile configuration's activation: a CheckMac with the activation key, then the latch.
 * source: reference/nerveskey "5.4", "5.12", "6.6"
 */
#include "atecc/p256.h"
#include "chip_int.h"

#define KEY_THEN_INPUT 0x05u /* slot key, TempKey, and TempKey came from outside */
#define RANDOM_WITH_SEED 0x00u
#define TEMPKEY_SECOND 0x01u
#define LATCH 4u
#define LATCH_SET 3u
#define NUM_IN_LEN 20u
#define OTHER_DATA_LEN 13u

struct mac_job {
	unsigned slot;
	const uint8_t *input;
	uint8_t *out;
};

static nh_rc mac_step(struct nh_atecc *chip, void *arg, struct nh_err *err)
{
	struct mac_job *job = arg;
	NH_TRY(nh_atecc_load_tempkey(chip, job->input, err));
	struct nh_atecc_command c = {.opcode = NH_ATECC_MAC, .param1 = KEY_THEN_INPUT, .param2 = (uint16_t)job->slot, .reply = job->out, .reply_len = 32};
	return nh_atecc_exchange(chip, &c, err);
}

nh_rc nh_atecc_mac(struct nh_atecc *chip, unsigned slot, const uint8_t input[32], uint8_t out[32], struct nh_err *err)
{
	if (slot >= NH_ATECC_SLOTS)
		return nh_atecc_fail(chip, NULL, err, NH_EINVAL, "slot %u: a chip has slots 0 to %u", slot, NH_ATECC_SLOTS - 1);
	return nh_atecc_sequence(chip, mac_step, &(struct mac_job){slot, input, out}, err);
}

struct latch_job {
	unsigned slot;
	const uint8_t *key;
	const struct nh_rng *rng;
	uint8_t config[NH_ATECC_CONFIG_LEN]; /* its first block, which has the serial number */
};

/* What the chip will compute over key and nonce. */
static void check_mac_response(const struct latch_job *job, const uint8_t nonce[32], uint8_t out[32])
{
	uint8_t serial[NH_ATECC_SERIAL_LEN], message[88] = {0};
	nh_atecc_serial_of(job->config, serial);
	memmove(message, job->key, 16); /* zeros fill the key's block */
	memmove(message + 32, nonce, 32);
	message[79] = serial[8];        /* behind OtherData[0:3], eight OTP bytes and OtherData[4:6], all zero */
	message[84] = serial[0];
	message[85] = serial[1];
	nh_p256_sha256(nh_slice_of(message, sizeof message), out);
	explicit_bzero(message, sizeof message);
}

static nh_rc latch_step(struct nh_atecc *chip, void *arg, struct nh_err *err)
{
	struct latch_job *job = arg;
	uint8_t num_in[NUM_IN_LEN], answer[4], nonce[32];
	uint8_t hashed[32 + NUM_IN_LEN + 3] = {0}; /* RandOut, NumIn, opcode, mode, 0 */
	uint8_t check[32 + 32 + OTHER_DATA_LEN] = {0};
	nh_rng_fill(job->rng, num_in, sizeof num_in);
	struct nh_atecc_command random = {
		.opcode = NH_ATECC_NONCE,
		.param1 = RANDOM_WITH_SEED,
		.data = nh_slice_of(num_in, sizeof num_in),
		.reply = hashed,
		.reply_len = 32,
	};
	NH_TRY(nh_atecc_exchange(chip, &random, err));
	memmove(hashed + 32, num_in, sizeof num_in);
	hashed[32 + NUM_IN_LEN] = NH_ATECC_NONCE;
	nh_p256_sha256(nh_slice_of(hashed, sizeof hashed), nonce);
	check_mac_response(job, nonce, check + 32);
	struct nh_atecc_command c = {.opcode = NH_ATECC_CHECK_MAC, .param1 = TEMPKEY_SECOND, .param2 = (uint16_t)job->slot, .data = nh_slice_of(check, sizeof check)};
	NH_TRY(nh_atecc_exchange(chip, &c, err));
	struct nh_atecc_command latch = {.opcode = NH_ATECC_INFO, .param1 = LATCH, .param2 = LATCH_SET, .reply = answer, .reply_len = sizeof answer};
	NH_TRY(nh_atecc_exchange(chip, &latch, err));
	return answer[0] == 1 ? NH_OK : nh_atecc_fail(chip, &latch, err, NH_EPERM, "the key is right, but the chip did not set its latch: is slot %u the one its configuration permits?", job->slot);
}

nh_rc nh_atecc_latch_unlock(struct nh_atecc *chip, unsigned slot, const uint8_t key[16], const struct nh_rng *rng, struct nh_err *err)
{
	struct latch_job job = {.slot = slot, .key = key, .rng = rng};
	bool own;
	if (slot >= NH_ATECC_SLOTS)
		return nh_atecc_fail(chip, NULL, err, NH_EINVAL, "slot %u: a chip has slots 0 to %u", slot, NH_ATECC_SLOTS - 1);
	NH_TRY(nh_atecc_transaction_open(chip, &own, err));
	struct nh_atecc_command identity = {.opcode = NH_ATECC_READ, .param1 = 0x80 | NH_ATECC_ZONE_CONFIG, .reply = job.config, .reply_len = NH_ATECC_BLOCK};
	nh_rc rc = nh_atecc_repeatable(chip, &identity, err);
	if (rc == NH_OK)
		rc = nh_atecc_sequence(chip, latch_step, &job, err);
	nh_atecc_transaction_close(chip, own);
	return rc;
}
