/*
 * AES: single blocks with a key in a slot or in TempKey, and the multiplication that GCM needs.
 */
#include <nettle/aes.h>

#include "chip_int.h"

#define AES_WAY(mode) ((mode) & 3u)
#define AES_ENCRYPT 0u
#define AES_DECRYPT 1u
#define AES_MULTIPLY 3u
#define AES_KEY_BLOCK(mode) ((mode) >> 6)
#define BLOCK 16u
#define REDUCTION 0xE1u

bool nh_chip_aes_enabled(const struct nh_chip *chip) { return (chip->state.config[CFG_AES_ENABLE] & 1) != 0; }

void nh_chip_aes_block(const uint8_t key[16], bool decrypt, const uint8_t in[16], uint8_t out[16])
{
	struct aes128_ctx aes;
	if (decrypt) {
		aes128_set_decrypt_key(&aes, key);
		aes128_decrypt(&aes, BLOCK, out, in);
	} else {
		aes128_set_encrypt_key(&aes, key);
		aes128_encrypt(&aes, BLOCK, out, in);
	}
	nh_chip_wipe(&aes, sizeof(aes));
}

/* x · y in GF(2^128), bits in GCM's order. source: SP 800-38D 6.3 */
static void multiply(const uint8_t x[BLOCK], const uint8_t y[BLOCK], uint8_t out[BLOCK])
{
	uint8_t v[BLOCK], z[BLOCK] = {0};
	memcpy(v, y, BLOCK);
	for (unsigned bit = 0; bit < 8 * BLOCK; bit++) {
		if ((x[bit / 8] >> (7 - bit % 8) & 1) != 0)
			nh_chip_xor(z, v, BLOCK);
		bool odd = (v[BLOCK - 1] & 1) != 0;
		for (unsigned i = BLOCK - 1; i > 0; i--)
			v[i] = (uint8_t)(v[i] >> 1 | v[i - 1] << 7);
		v[0] = (uint8_t)(v[0] >> 1 ^ (odd ? REDUCTION : 0));
	}
	memcpy(out, z, BLOCK);
}

/* The 16 bytes of key material that mode and param2 name, NULL where they may not be used. */
static const uint8_t *key_find(struct nh_chip *chip, const struct nh_atecc_packet *in)
{
	size_t at = AES_KEY_BLOCK(in->param1) * BLOCK;
	if (in->param2 == SLOT_TEMP_KEY) {
		bool there = chip->temp.valid && !chip->temp.private_key && at + BLOCK <= chip->temp.len;
		return there ? chip->temp.value + at : NULL;
	}
	uint16_t key = nh_chip_key_config(chip, in->param2);
	if (!nh_chip_config_locked(chip) || KEY_TYPE(key) != KEY_TYPE_AES || (key & KEY_PRIVATE) != 0 || at + BLOCK > nh_atecc_slot_len(in->param2))
		return NULL;
	if ((key & KEY_REQ_RANDOM) != 0 && (!chip->temp.valid || chip->temp.from_input))
		return NULL;
	return nh_chip_key_use(chip, in->param2) == NH_ATECC_SUCCESS ? chip->state.slots[in->param2] + at : NULL;
}

uint8_t nh_chip_run_aes(struct nh_chip *chip, const struct nh_atecc_packet *in, struct nh_chip_reply *out)
{
	unsigned way = AES_WAY(in->param1);
	if (way == 2 || in->data.len != (way == AES_MULTIPLY ? 2 * BLOCK : BLOCK))
		return NH_ATECC_PARSE_ERROR;
	if (way != AES_MULTIPLY && in->param2 >= NH_ATECC_SLOTS && in->param2 != SLOT_TEMP_KEY)
		return NH_ATECC_PARSE_ERROR;
	if (!nh_chip_aes_enabled(chip))
		return NH_ATECC_EXECUTION_ERROR;
	out->len = BLOCK;
	if (way == AES_MULTIPLY) {
		multiply(in->data.ptr, in->data.ptr + BLOCK, out->bytes);
		return NH_ATECC_SUCCESS;
	}
	const uint8_t *key = key_find(chip, in);
	if (!key)
		return NH_ATECC_EXECUTION_ERROR;
	nh_chip_aes_block(key, way == AES_DECRYPT, in->data.ptr, out->bytes);
	return NH_ATECC_SUCCESS;
}
