/*
 * Private keys: GenKey makes them and shows their public halves.
 * source: reference/nerveskey "5.3"
 */
#include "chip_int.h"

#define GENKEY_CREATE 0x04u
#define GENKEY_DIGEST 0x08u
#define GENKEY_STORED 0x10u
#define GENKEY_OTHER_LEN 3u
#define WRITE_CONFIG_GENKEY 0x2000u /* bit 1 of the WriteConfig nibble: GenKey may create after the data lock */

/* The digest of a public key goes into TempKey, mixed with what was there. */
static uint8_t digest_store(struct nh_chip *chip, const struct nh_atecc_packet *in, unsigned slot, const uint8_t public_key[64])
{
	struct nh_chip_message message = {.len = 0};
	bool from_input = chip->temp.from_input;
	uint8_t digest[32];
	nh_chip_say(&message, chip->temp.value, 32);
	if ((in->param1 & GENKEY_STORED) != 0) {
		nh_chip_say_byte(&message, in->opcode);
		nh_chip_say(&message, in->data.ptr, GENKEY_OTHER_LEN);
	} else {
		nh_chip_say_command(&message, in);
	}
	nh_chip_say_serial(&message, chip);
	nh_chip_say_zeros(&message, 25);
	nh_chip_say(&message, public_key, 64);
	nh_chip_hash(&message, digest);
	nh_chip_register_set(&chip->temp, digest, 32, from_input);
	chip->temp.gen_key = true;
	chip->temp.key_id = (uint8_t)slot;
	return NH_ATECC_SUCCESS;
}

/* The digest of a public key that lies in a slot. */
static uint8_t genkey_stored(struct nh_chip *chip, const struct nh_atecc_packet *in)
{
	uint8_t public_key[64];
	if (in->data.len != GENKEY_OTHER_LEN || in->param1 != GENKEY_STORED || in->param2 >= NH_ATECC_SLOTS)
		return NH_ATECC_PARSE_ERROR;
	if (!nh_chip_config_locked(chip) || !nh_chip_is_public_slot(chip, in->param2) || !chip->temp.valid)
		return NH_ATECC_EXECUTION_ERROR;
	nh_chip_public_load(chip, in->param2, public_key);
	return digest_store(chip, in, in->param2, public_key);
}

/* A key for one session: in TempKey, for ECDH. */
static uint8_t genkey_temp(struct nh_chip *chip, const struct nh_atecc_packet *in, struct nh_chip_reply *out)
{
	struct nh_p256_key key;
	if (!nh_chip_is_608(chip) || (in->param1 & GENKEY_DIGEST) != 0)
		return NH_ATECC_PARSE_ERROR;
	if (!nh_chip_config_locked(chip))
		return NH_ATECC_EXECUTION_ERROR;
	if ((in->param1 & GENKEY_CREATE) != 0) {
		nh_p256_generate(chip->env.rng, &key);
		nh_chip_register_set(&chip->temp, key.scalar, 32, false);
		chip->temp.private_key = true;
	} else if (!chip->temp.valid || !chip->temp.private_key || nh_p256_from_scalar(chip->temp.value, &key) != NH_OK) {
		return NH_ATECC_EXECUTION_ERROR;
	}
	memcpy(out->bytes, key.public_key, 64);
	out->len = 64;
	nh_p256_key_wipe(&key);
	return NH_ATECC_SUCCESS;
}

static bool create_allowed(const struct nh_chip *chip, unsigned slot)
{
	if (nh_chip_slot_locked(chip, slot))
		return false;
	return !nh_chip_data_locked(chip) || (nh_chip_slot_config(chip, slot) & WRITE_CONFIG_GENKEY) != 0;
}

/* The latch does not matter here: a NervesKey shows its public key before it is activated. */
static bool authorized(const struct nh_chip *chip, unsigned slot)
{
	uint16_t key = nh_chip_key_config(chip, slot);
	return (key & KEY_REQ_AUTH) == 0 || chip->authorized == KEY_AUTH_KEY(key);
}

uint8_t nh_chip_run_genkey(struct nh_chip *chip, const struct nh_atecc_packet *in, struct nh_chip_reply *out)
{
	struct nh_p256_key key;
	unsigned slot = in->param2;
	bool create = (in->param1 & GENKEY_CREATE) != 0, digest = (in->param1 & GENKEY_DIGEST) != 0;
	if ((in->param1 & GENKEY_STORED) != 0)
		return genkey_stored(chip, in);
	if (slot == SLOT_TEMP_KEY)
		return genkey_temp(chip, in, out);
	if (slot >= NH_ATECC_SLOTS)
		return NH_ATECC_PARSE_ERROR;
	if (!nh_chip_config_locked(chip) || !nh_chip_is_private_slot(chip, slot) || !authorized(chip, slot) || (digest && !chip->temp.valid))
		return NH_ATECC_EXECUTION_ERROR;
	if (create) {
		if (!create_allowed(chip, slot))
			return NH_ATECC_EXECUTION_ERROR;
		nh_p256_generate(chip->env.rng, &key);
		nh_chip_key_store(chip, slot, key.scalar);
	} else if ((nh_chip_key_config(chip, slot) & KEY_PUB_INFO) == 0 || !nh_chip_key_load(chip, slot, &key)) {
		return NH_ATECC_EXECUTION_ERROR;
	}
	memcpy(out->bytes, key.public_key, 64);
	out->len = 64;
	nh_p256_key_wipe(&key);
	return digest ? digest_store(chip, in, slot, out->bytes) : NH_ATECC_SUCCESS;
}
