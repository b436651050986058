/*
 * The 608's IO protection key: what leaves the chip encrypted for the host that shares it, and what proves that an answer is the chip's.
 */
#include "chip_int.h"

#define OPTION_KEY_ENABLED 0x02u /* ChipOptions, low byte */
#define OUTPUT_ENCRYPTED_ONLY 1u

static bool enabled(const struct nh_chip *chip) { return (chip->state.config[CFG_CHIP_OPTIONS] & OPTION_KEY_ENABLED) != 0; }

const uint8_t *nh_chip_io_key(const struct nh_chip *chip)
{
	unsigned slot = chip->state.config[CFG_CHIP_OPTIONS + 1] >> 4;
	if (!enabled(chip) || (nh_chip_key_config(chip, slot) & KEY_PRIVATE) != 0)
		return NULL;
	return chip->state.slots[slot];
}

bool nh_chip_io_output_allowed(const struct nh_chip *chip, unsigned protection, bool encrypted)
{
	return protection == 0 || (protection == OUTPUT_ENCRYPTED_ONLY && encrypted);
}

/* Every 32 bytes get a key of their own, from half of the nonce that goes out behind them. */
void nh_chip_io_encrypt(struct nh_chip *chip, struct nh_chip_reply *out)
{
	uint8_t nonce[32], key[32];
	nh_chip_random(chip, nonce, sizeof(nonce));
	for (size_t block = 0; block < out->len / 32; block++) {
		struct nh_chip_message message = {.len = 0};
		nh_chip_say(&message, nh_chip_io_key(chip), 32);
		nh_chip_say(&message, nonce + block * 16, 16);
		nh_chip_hash(&message, key);
		nh_chip_xor(out->bytes + block * 32, key, 32);
	}
	memcpy(out->bytes + out->len, nonce, sizeof(nonce));
	out->len += sizeof(nonce);
	nh_chip_wipe(key, sizeof(key));
}
