/*
 * Secrets proved by hashing: MAC, CheckMac and the 508A's HMAC.
 * source: reference/nerveskey "5.12", "6.6"
 */
#include <nettle/hmac.h>

#include "chip_int.h"

#define BLOCK2_TEMP 0x01u
#define BLOCK1_TEMP 0x02u
#define SOURCE_INPUT 0x04u /* must be TempKey's SourceFlag */
#define WITH_OTP_88 0x10u
#define WITH_OTP_64 0x20u
#define WITH_SERIAL 0x40u
#define OTHER_LEN 13u

/* OTP and serial number, or zeros in their place: the last 24 bytes of a message. */
static void say_inclusions(struct nh_chip_message *message, const struct nh_chip *chip, uint8_t mode)
{
	static const uint8_t zeros[8];
	const uint8_t *head = chip->state.config + CFG_SERIAL_HEAD, *tail = chip->state.config + CFG_SERIAL_TAIL;
	bool otp_88 = (mode & WITH_OTP_88) != 0, otp_64 = (mode & WITH_OTP_64) != 0, serial = (mode & WITH_SERIAL) != 0;
	nh_chip_say(message, otp_88 || otp_64 ? chip->state.otp : zeros, 8);
	nh_chip_say(message, otp_88 ? chip->state.otp + 8 : zeros, 3);
	nh_chip_say_byte(message, tail[4]);
	nh_chip_say(message, serial ? tail : zeros, 4);
	nh_chip_say(message, head, 2);
	nh_chip_say(message, serial ? head + 2 : zeros, 2);
}

/* Is TempKey there, and of the origin that the mode says? */
static bool temp_fits(const struct nh_chip *chip, uint8_t mode)
{
	return chip->temp.valid && !chip->temp.private_key && !chip->temp.no_mac && chip->temp.from_input == ((mode & SOURCE_INPUT) != 0);
}

/* May the secret in slot be hashed with what the mode names? ReqRandom wants a nonce in TempKey. */
static bool secret_fits(const struct nh_chip *chip, unsigned slot, uint8_t mode, bool for_mac)
{
	uint16_t key = nh_chip_key_config(chip, slot);
	bool nonce = (mode & BLOCK2_TEMP) != 0 && !chip->temp.from_input;
	if ((key & KEY_PRIVATE) != 0 || (for_mac && (nh_chip_slot_config(chip, slot) & SLOT_NO_MAC) != 0))
		return false;
	return (key & KEY_REQ_RANDOM) == 0 || nonce;
}

uint8_t nh_chip_run_mac(struct nh_chip *chip, const struct nh_atecc_packet *in, struct nh_chip_reply *out)
{
	struct nh_chip_message message = {.len = 0};
	unsigned slot = in->param2 & 0x0F;
	bool temp_first = (in->param1 & BLOCK1_TEMP) != 0, temp_second = (in->param1 & BLOCK2_TEMP) != 0;
	if (in->data.len != (temp_second ? 0u : 32u) || (!temp_first && in->param2 >= NH_ATECC_SLOTS))
		return NH_ATECC_PARSE_ERROR;
	if (!nh_chip_config_locked(chip) || ((temp_first || temp_second) && !temp_fits(chip, in->param1)))
		return NH_ATECC_EXECUTION_ERROR;
	if (!temp_first && (!secret_fits(chip, slot, in->param1, true) || nh_chip_key_use(chip, slot) != NH_ATECC_SUCCESS))
		return NH_ATECC_EXECUTION_ERROR;
	nh_chip_say(&message, temp_first ? chip->temp.value : chip->state.slots[slot], 32);
	nh_chip_say(&message, temp_second ? chip->temp.value : in->data.ptr, 32);
	nh_chip_say_command(&message, in);
	say_inclusions(&message, chip, in->param1);
	nh_chip_hash(&message, out->bytes);
	out->len = 32;
	if (temp_first || temp_second)
		nh_chip_register_clear(&chip->temp);
	return NH_ATECC_SUCCESS;
}

/* What the host claims to have hashed. The data is challenge ‖ response ‖ 13 bytes of parameters. */
static void say_claim(struct nh_chip_message *message, const struct nh_chip *chip, const struct nh_atecc_packet *in)
{
	static const uint8_t zeros[8];
	const uint8_t *other = in->data.ptr + 64;
	nh_chip_say(message, (in->param1 & BLOCK1_TEMP) != 0 ? chip->temp.value : chip->state.slots[in->param2], 32);
	nh_chip_say(message, (in->param1 & BLOCK2_TEMP) != 0 ? chip->temp.value : in->data.ptr, 32);
	nh_chip_say(message, other, 4);
	nh_chip_say(message, (in->param1 & WITH_OTP_64) != 0 ? chip->state.otp : zeros, 8);
	nh_chip_say(message, other + 4, 3);
	nh_chip_say_byte(message, chip->state.config[CFG_SERIAL_TAIL + 4]);
	nh_chip_say(message, other + 7, 4);
	nh_chip_say(message, chip->state.config + CFG_SERIAL_HEAD, 2);
	nh_chip_say(message, other + 11, 2);
}

/* A password that was right hands over the key behind it: the slot that ReadKey names goes to TempKey. */
static void copy_key(struct nh_chip *chip, unsigned slot)
{
	unsigned target = SLOT_READ_KEY(nh_chip_slot_config(chip, slot));
	if (target != 0 && (nh_chip_key_config(chip, target) & KEY_PRIVATE) == 0)
		nh_chip_register_set(&chip->temp, chip->state.slots[target], 32, true);
}

uint8_t nh_chip_run_check_mac(struct nh_chip *chip, const struct nh_atecc_packet *in, struct nh_chip_reply *out)
{
	struct nh_chip_message message = {.len = 0};
	uint8_t digest[32];
	bool temp_first = (in->param1 & BLOCK1_TEMP) != 0, temp_second = (in->param1 & BLOCK2_TEMP) != 0;
	if (in->param2 >= NH_ATECC_SLOTS)
		return NH_ATECC_PARSE_ERROR;
	if (!nh_chip_config_locked(chip) || ((temp_first || temp_second) && !temp_fits(chip, in->param1)))
		return NH_ATECC_EXECUTION_ERROR;
	if (!temp_first && (!secret_fits(chip, in->param2, in->param1, false) || nh_chip_key_use(chip, in->param2) != NH_ATECC_SUCCESS))
		return NH_ATECC_EXECUTION_ERROR;
	say_claim(&message, chip, in);
	nh_chip_hash(&message, digest);
	bool equal = nh_slice_eq_ct(nh_slice_of(digest, 32), nh_slice_sub(in->data, 32, 32));
	/* Only an answer to a nonce of this session proves anything: what was recorded before would do otherwise. */
	bool fresh = temp_second && !temp_first && (in->param1 & SOURCE_INPUT) == 0;
	chip->authorized = equal && fresh ? (uint8_t)in->param2 : NO_SLOT;
	if (temp_first || temp_second)
		nh_chip_register_clear(&chip->temp);
	if (equal && temp_second && !temp_first)
		copy_key(chip, in->param2);
	return equal ? NH_ATECC_SUCCESS : NH_ATECC_MISCOMPARE;
}

uint8_t nh_chip_run_hmac(struct nh_chip *chip, const struct nh_atecc_packet *in, struct nh_chip_reply *out)
{
	struct nh_chip_message message = {.len = 0};
	struct hmac_sha256_ctx hmac;
	if (in->param2 >= NH_ATECC_SLOTS)
		return NH_ATECC_PARSE_ERROR;
	if (!nh_chip_config_locked(chip) || !temp_fits(chip, in->param1) || !secret_fits(chip, in->param2, in->param1 | BLOCK2_TEMP, true))
		return NH_ATECC_EXECUTION_ERROR;
	if (nh_chip_key_use(chip, in->param2) != NH_ATECC_SUCCESS)
		return NH_ATECC_EXECUTION_ERROR;
	nh_chip_say_zeros(&message, 32);
	nh_chip_say(&message, chip->temp.value, 32);
	nh_chip_say_command(&message, in);
	say_inclusions(&message, chip, in->param1);
	hmac_sha256_set_key(&hmac, 32, chip->state.slots[in->param2]);
	hmac_sha256_update(&hmac, message.len, message.bytes);
	hmac_sha256_digest(&hmac, 32, out->bytes);
	out->len = 32;
	nh_chip_wipe(&hmac, sizeof(hmac));
	nh_chip_wipe(&message, sizeof(message));
	nh_chip_register_clear(&chip->temp);
	return NH_ATECC_SUCCESS;
}
