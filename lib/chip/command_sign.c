/*
 * Sign, with keys that never leave.
 * source: reference/nerveskey "5.5"
 */
#include "chip_int.h"

#define SIGN_EXTERNAL 0x80u
#define SIGN_SERIAL 0x40u
#define SIGN_FROM_DIGEST 0x20u
#define SIGN_INVALIDATE 0x01u

/* What the chip vouches for: the value in TempKey, how it came there, and the configuration of the slot that it came from. */
static void internal_digest(const struct nh_chip *chip, const struct nh_atecc_packet *in, uint8_t digest[32])
{
	struct nh_chip_message message = {.len = 0};
	const uint8_t *serial_head = chip->state.config + CFG_SERIAL_HEAD, *serial_tail = chip->state.config + CFG_SERIAL_TAIL;
	static const uint8_t zeros[4];
	bool with_serial = (in->param1 & SIGN_SERIAL) != 0;
	unsigned source = chip->temp.key_id;
	nh_chip_say(&message, chip->temp.value, 32);
	nh_chip_say_command(&message, in);
	nh_chip_say_u16(&message, nh_chip_slot_config(chip, source));
	nh_chip_say_u16(&message, nh_chip_key_config(chip, source));
	nh_chip_say_byte(&message, nh_chip_register_flags(&chip->temp));
	nh_chip_say_zeros(&message, 2);
	nh_chip_say_byte(&message, serial_tail[4]);
	nh_chip_say(&message, with_serial ? serial_tail : zeros, 4);
	nh_chip_say(&message, serial_head, 2);
	nh_chip_say(&message, with_serial ? serial_head + 2 : zeros, 2);
	nh_chip_say_byte(&message, nh_chip_slot_locked(chip, source) ? 0 : 1);
	nh_chip_say_byte(&message, chip->state.key_validated >> source & 1);
	nh_chip_say_zeros(&message, 1);
	nh_chip_hash(&message, digest);
}

static bool source_ready(const struct nh_chip *chip, bool external, bool from_digest)
{
	if (external && from_digest)
		return chip->digest.valid;
	if (!chip->temp.valid || chip->temp.private_key)
		return false;
	return external || chip->temp.gen_dig || chip->temp.gen_key;
}

uint8_t nh_chip_run_sign(struct nh_chip *chip, const struct nh_atecc_packet *in, struct nh_chip_reply *out)
{
	bool external = (in->param1 & SIGN_EXTERNAL) != 0, from_digest = (in->param1 & SIGN_FROM_DIGEST) != 0;
	unsigned slot = in->param2;
	struct nh_p256_key key;
	uint8_t digest[32];
	if (slot >= NH_ATECC_SLOTS || (!external && from_digest) || (external && (in->param1 & SIGN_INVALIDATE) != 0))
		return NH_ATECC_PARSE_ERROR;
	if (!nh_chip_config_locked(chip) || !nh_chip_is_private_slot(chip, slot) || !source_ready(chip, external, from_digest))
		return NH_ATECC_EXECUTION_ERROR;
	unsigned permission = external ? PRIVATE_EXTERNAL_SIGN : PRIVATE_INTERNAL_SIGN;
	bool random_needed = (nh_chip_key_config(chip, slot) & KEY_REQ_RANDOM) != 0 && !external;
	if ((SLOT_READ_KEY(nh_chip_slot_config(chip, slot)) & permission) == 0 || (random_needed && chip->temp.from_input))
		return NH_ATECC_EXECUTION_ERROR;
	if (!nh_chip_key_load(chip, slot, &key))
		return NH_ATECC_EXECUTION_ERROR;
	uint8_t status = nh_chip_key_use(chip, slot);
	if (status == NH_ATECC_SUCCESS) {
		if (external)
			memcpy(digest, from_digest ? chip->digest.value : chip->temp.value, 32);
		else
			internal_digest(chip, in, digest);
		nh_p256_sign(&key, nh_slice_of(digest, 32), chip->env.rng, out->bytes);
		out->len = 64;
		if (!from_digest)
			nh_chip_register_clear(&chip->temp);
	}
	nh_p256_key_wipe(&key);
	return status;
}
