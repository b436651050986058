/*
 * Where TempKey and its sisters get their contents: Random, Nonce, GenDig.
 * source: reference/nerveskey "5.4", "5.7", "5.12"
 */
#include "chip_int.h"

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

/* ---- GenDig */

#define GENDIG_CONFIG 0u
#define GENDIG_OTP 1u
#define GENDIG_DATA 2u
#define GENDIG_SHARED 3u
#define GENDIG_COUNTER 4u
#define GENDIG_KEY_CONFIG 5u
#define GENDIG_LAST_508A GENDIG_SHARED
#define SHARED_TEMP_FIRST 0x8000u

/* Does the length of OtherData fit the zone, and does the zone have that key? Four bytes that replace the command in the message are legal, and ignored, for keys that do not need them. */
static bool gendig_parses(const struct nh_chip *chip, const struct nh_atecc_packet *in)
{
	uint16_t key = in->param2;
	if (in->param1 > (nh_chip_is_608(chip) ? GENDIG_KEY_CONFIG : GENDIG_LAST_508A))
		return false;
	switch (in->param1) {
	case GENDIG_CONFIG:
		return in->data.len == 0 && key < NH_ATECC_CONFIG_LEN / NH_ATECC_BLOCK;
	case GENDIG_OTP:
		return in->data.len == 0 && key < NH_ATECC_OTP_LEN / NH_ATECC_BLOCK;
	case GENDIG_DATA:
		return key < NH_ATECC_SLOTS && (in->data.len == 4 || (in->data.len == 0 && (nh_chip_slot_config(chip, key) & SLOT_NO_MAC) == 0));
	case GENDIG_SHARED:
		return in->data.len == 32;
	case GENDIG_COUNTER:
		return in->data.len == 0 && key < 2;
	default:
		return in->data.len == 0 && key < NH_ATECC_SLOTS;
	}
}

/* What the message begins with: 32 bytes of the value. */
static void gendig_value(struct nh_chip_message *message, const struct nh_chip *chip, const struct nh_atecc_packet *in)
{
	switch (in->param1) {
	case GENDIG_CONFIG:
		nh_chip_say(message, chip->state.config + NH_ATECC_BLOCK * in->param2, 32);
		break;
	case GENDIG_OTP:
		nh_chip_say(message, chip->state.otp + NH_ATECC_BLOCK * in->param2, 32);
		break;
	case GENDIG_DATA:
		nh_chip_say(message, chip->state.slots[in->param2], 32);
		break;
	case GENDIG_SHARED:
		nh_chip_say(message, (in->param2 & SHARED_TEMP_FIRST) != 0 ? chip->temp.value : in->data.ptr, 32);
		break;
	default:
		nh_chip_say_zeros(message, 32);
		break;
	}
}

/* The 25 bytes between serial number and TempKey: zeros, or what a counter or a configuration is. */
static void gendig_middle(struct nh_chip_message *message, const struct nh_chip *chip, const struct nh_atecc_packet *in)
{
	uint32_t count;
	switch (in->param1) {
	case GENDIG_COUNTER:
		count = nh_chip_counter_get(chip, in->param2);
		nh_chip_say_zeros(message, 1);
		nh_chip_say_u16(message, (uint16_t)count);
		nh_chip_say_u16(message, (uint16_t)(count >> 16));
		nh_chip_say_zeros(message, 20);
		break;
	case GENDIG_KEY_CONFIG:
		nh_chip_say_zeros(message, 1);
		nh_chip_say_u16(message, nh_chip_slot_config(chip, in->param2));
		nh_chip_say_u16(message, nh_chip_key_config(chip, in->param2));
		nh_chip_say_byte(message, nh_chip_slot_locked(chip, in->param2) ? 0 : 1);
		nh_chip_say_zeros(message, 19);
		break;
	default:
		nh_chip_say_zeros(message, 25);
		break;
	}
}

static bool gendig_allowed(struct nh_chip *chip, const struct nh_atecc_packet *in)
{
	if (!nh_chip_config_locked(chip) || !chip->temp.valid || chip->temp.private_key)
		return false;
	if (in->param1 == GENDIG_OTP)
		return nh_chip_data_locked(chip);
	if (in->param1 != GENDIG_DATA)
		return true;
	uint16_t key = nh_chip_key_config(chip, in->param2);
	if ((key & KEY_PRIVATE) != 0 || ((key & KEY_REQ_RANDOM) != 0 && chip->temp.from_input))
		return false;
	return nh_chip_key_use(chip, in->param2) == NH_ATECC_SUCCESS;
}

uint8_t nh_chip_run_gendig(struct nh_chip *chip, const struct nh_atecc_packet *in, struct nh_chip_reply *out)
{
	struct nh_chip_message message = {.len = 0};
	uint8_t digest[32];
	bool data = in->param1 == GENDIG_DATA, shared = in->param1 == GENDIG_SHARED, from_input = chip->temp.from_input;
	if (!gendig_parses(chip, in))
		return NH_ATECC_PARSE_ERROR;
	if (!gendig_allowed(chip, in))
		return NH_ATECC_EXECUTION_ERROR;
	bool no_mac = data && (nh_chip_slot_config(chip, in->param2) & SLOT_NO_MAC) != 0;
	gendig_value(&message, chip, in);
	if (no_mac) {
		nh_chip_say(&message, in->data.ptr, 4);
	} else {
		nh_chip_say_byte(&message, in->opcode);
		nh_chip_say_byte(&message, in->param1);
		nh_chip_say_u16(&message, shared ? in->param2 & 0xFF : in->param2);
	}
	nh_chip_say_serial(&message, chip);
	gendig_middle(&message, chip, in);
	nh_chip_say(&message, shared && (in->param2 & SHARED_TEMP_FIRST) != 0 ? in->data.ptr : chip->temp.value, 32);
	nh_chip_hash(&message, digest);
	nh_chip_register_set(&chip->temp, digest, 32, from_input);
	chip->temp.gen_dig = data;
	chip->temp.no_mac = no_mac;
	chip->temp.key_id = data ? (uint8_t)in->param2 : 0;
	nh_chip_wipe(digest, sizeof(digest));
	return NH_ATECC_SUCCESS;
}
