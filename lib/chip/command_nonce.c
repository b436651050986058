/*
 * Where TempKey and its sisters get their contents: Random, Nonce, GenDig.
 * source: reference/nerveskey "5.4", "5.7", "5.12"
 */
#include "internal.h"

#define NONCE_WAY(mode) ((mode) & 3u)
#define NONCE_PASS 3u
#define NONCE_64 0x20u
#define NONCE_TARGET(mode) ((mode) >> 6)
#define TARGET_TEMP 0u
#define TARGET_DIGEST 1u
#define TARGET_ALTERNATE 2u
#define NUM_IN_LEN 20u
#define RETURN_TEMP_KEY 0x8000u

uint8_t nh_chip_run_random(struct nh_chip *chip, const struct nh_atecc_packet *in, struct nh_chip_reply *out)
{
	nh_chip_random(chip, out->bytes, 32);
	out->len = 32;
	return NH_ATECC_SUCCESS;
}

static uint8_t nonce_pass(struct nh_chip *chip, const struct nh_atecc_packet *in)
{
	bool wide = (in->param1 & NONCE_64) != 0;
	if (in->data.len != (wide ? 64u : 32u))
		return NH_ATECC_PARSE_ERROR;
	switch (NONCE_TARGET(in->param1)) {
	case TARGET_TEMP:
		nh_chip_register_set(&chip->temp, in->data.ptr, in->data.len, true);
		return NH_ATECC_SUCCESS;
	case TARGET_DIGEST:
		nh_chip_register_set(&chip->digest, in->data.ptr, in->data.len, true);
		return NH_ATECC_SUCCESS;
	case TARGET_ALTERNATE:
		if (wide)
			return NH_ATECC_PARSE_ERROR;
		nh_chip_register_set(&chip->alternate, in->data.ptr, in->data.len, true);
		return NH_ATECC_SUCCESS;
	default:
		return NH_ATECC_PARSE_ERROR;
	}
}

static uint8_t nonce_random(struct nh_chip *chip, const struct nh_atecc_packet *in, struct nh_chip_reply *out)
{
	struct nh_chip_message message = {.len = 0};
	uint8_t nonce[32];
	bool return_nonce = nh_chip_is_608(chip) && in->param2 == RETURN_TEMP_KEY;
	if (in->data.len != NUM_IN_LEN || (in->param1 & ~3u) != 0 || (in->param2 != 0 && !return_nonce))
		return NH_ATECC_PARSE_ERROR;
	nh_chip_random(chip, out->bytes, 32);
	nh_chip_say(&message, out->bytes, 32);
	nh_chip_say(&message, in->data.ptr, NUM_IN_LEN);
	nh_chip_say_byte(&message, in->opcode);
	nh_chip_say_byte(&message, in->param1);
	nh_chip_say_byte(&message, 0);
	nh_chip_hash(&message, nonce);
	nh_chip_register_set(&chip->temp, nonce, 32, false);
	if (return_nonce)
		memcpy(out->bytes, nonce, 32);
	out->len = 32;
	nh_chip_wipe(nonce, sizeof(nonce));
	return NH_ATECC_SUCCESS;
}

/* Works on a chip that is not locked too, with the fixed pattern for randomness: the vendor's own tests ask for it. */
uint8_t nh_chip_run_nonce(struct nh_chip *chip, const struct nh_atecc_packet *in, struct nh_chip_reply *out)
{
	switch (NONCE_WAY(in->param1)) {
	case NONCE_PASS:
		return nonce_pass(chip, in);
	case 2:
		return NH_ATECC_PARSE_ERROR;
	default:
		return nonce_random(chip, in, out);
	}
}
