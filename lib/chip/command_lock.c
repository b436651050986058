/*
 * What only goes one way: Lock, UpdateExtra and Counter.
 * source: reference/nerveskey "4.6", "5.6", "5.12"
 */
#include "chip_int.h"

#define LOCK_ZONE(mode) ((mode) & 3u)
#define LOCK_CONFIG 0u
#define LOCK_DATA 1u
#define LOCK_SLOT 2u
#define LOCK_SLOT_OF(mode) ((mode) >> 2 & 0x0Fu)
#define LOCK_NO_CRC 0x80u

static uint8_t lock_byte(struct nh_chip *chip, unsigned at)
{
	static const uint8_t locked = 0;
	nh_chip_store(chip, chip->state.config + at, &locked, 1);
	return NH_ATECC_SUCCESS;
}

static uint8_t lock_config(struct nh_chip *chip, const struct nh_atecc_packet *in)
{
	uint16_t crc = nh_atecc_crc16(nh_slice_of(chip->state.config, NH_ATECC_CONFIG_LEN));
	if (nh_chip_config_locked(chip) || ((in->param1 & LOCK_NO_CRC) == 0 && in->param2 != crc))
		return NH_ATECC_EXECUTION_ERROR;
	return lock_byte(chip, CFG_LOCK_CONFIG);
}

/* Private keys do not count: nobody outside could know the sum. */
static uint16_t data_crc(const struct nh_chip *chip)
{
	uint16_t crc = 0;
	for (unsigned slot = 0; slot < NH_ATECC_SLOTS; slot++)
		if ((nh_chip_key_config(chip, slot) & KEY_PRIVATE) == 0)
			crc = nh_atecc_crc16_more(crc, nh_slice_of(chip->state.slots[slot], nh_atecc_slot_len(slot)));
	return nh_atecc_crc16_more(crc, nh_slice_of(chip->state.otp, NH_ATECC_OTP_LEN));
}

static uint8_t lock_data(struct nh_chip *chip, const struct nh_atecc_packet *in)
{
	if (!nh_chip_config_locked(chip) || nh_chip_data_locked(chip) || ((in->param1 & LOCK_NO_CRC) == 0 && in->param2 != data_crc(chip)))
		return NH_ATECC_EXECUTION_ERROR;
	return lock_byte(chip, CFG_LOCK_VALUE);
}

/* Allowed as soon as KeyConfig is final; whether silicon waits for the data lock is not known. */
static uint8_t lock_slot(struct nh_chip *chip, unsigned slot)
{
	unsigned at = CFG_SLOT_LOCKED + slot / 8;
	uint8_t bits = (uint8_t)(chip->state.config[at] & ~(1u << slot % 8));
	if (!nh_chip_config_locked(chip) || nh_chip_slot_locked(chip, slot) || (nh_chip_key_config(chip, slot) & KEY_LOCKABLE) == 0)
		return NH_ATECC_EXECUTION_ERROR;
	nh_chip_store(chip, chip->state.config + at, &bits, 1);
	return NH_ATECC_SUCCESS;
}

uint8_t nh_chip_run_lock(struct nh_chip *chip, const struct nh_atecc_packet *in, struct nh_chip_reply *out)
{
	unsigned slot = LOCK_SLOT_OF(in->param1);
	switch (LOCK_ZONE(in->param1)) {
	case LOCK_CONFIG:
		return slot != 0 ? NH_ATECC_PARSE_ERROR : lock_config(chip, in);
	case LOCK_DATA:
		return slot != 0 ? NH_ATECC_PARSE_ERROR : lock_data(chip, in);
	case LOCK_SLOT:
		return lock_slot(chip, slot);
	default:
		return NH_ATECC_PARSE_ERROR;
	}
}

/* ---- UpdateExtra and Counter */

#define COUNTER_INCREMENT 0x01u

/* Each of the two bytes is written once in a life. */
uint8_t nh_chip_run_update_extra(struct nh_chip *chip, const struct nh_atecc_packet *in, struct nh_chip_reply *out)
{
	unsigned at = CFG_USER_EXTRA + in->param1;
	uint8_t value = (uint8_t)in->param2;
	if (in->param2 > 0xFF)
		return NH_ATECC_PARSE_ERROR;
	if (chip->state.config[at] != 0)
		return NH_ATECC_EXECUTION_ERROR;
	nh_chip_store(chip, chip->state.config + at, &value, 1);
	return NH_ATECC_SUCCESS;
}

uint8_t nh_chip_run_counter(struct nh_chip *chip, const struct nh_atecc_packet *in, struct nh_chip_reply *out)
{
	if (in->param2 > 1)
		return NH_ATECC_PARSE_ERROR;
	uint32_t value = nh_chip_counter_get(chip, in->param2);
	if ((in->param1 & COUNTER_INCREMENT) != 0) { /* before the configuration is locked too: the vendor's tests count on blank parts */
		if (value >= COUNTER_MAX)
			return NH_ATECC_EXECUTION_ERROR;
		nh_chip_counter_set(chip, in->param2, ++value);
	}
	for (unsigned i = 0; i < 4; i++)
		out->bytes[i] = (uint8_t)(value >> 8 * i);
	out->len = 4;
	return NH_ATECC_SUCCESS;
}
