/*
 * Info: revision, keys, TempKey, the latch. And the two commands that only answer: SelfTest, Pause.
 * source: reference/nerveskey "5.8", "6.6"
 */
#include "chip_int.h"

#define INFO_REVISION 0u
#define INFO_KEY_VALID 1u
#define INFO_STATE 2u
#define INFO_GPIO 3u
#define INFO_LATCH 4u
#define LATCH_CHANGE 0x0002u
#define LATCH_VALUE 0x0001u
#define PERMISSION_ENABLED 0x80u
#define STATE_TEMP_VALID 0x80u /* second byte of the state */
#define STATE_AUTHORIZED 0x04u

static uint8_t key_valid(const struct nh_chip *chip, unsigned slot, struct nh_chip_reply *out)
{
	if (slot >= NH_ATECC_SLOTS)
		return NH_ATECC_PARSE_ERROR;
	if (!nh_chip_is_private_slot(chip, slot) && !nh_chip_is_public_slot(chip, slot))
		return NH_ATECC_EXECUTION_ERROR;
	uint16_t bits = nh_chip_is_private_slot(chip, slot) ? chip->state.key_valid : chip->state.key_validated;
	out->bytes[0] = bits >> slot & 1;
	return NH_ATECC_SUCCESS;
}

static void registers(const struct nh_chip *chip, struct nh_chip_reply *out)
{
	unsigned second = chip->temp.valid ? STATE_TEMP_VALID : 0;
	if (chip->authorized != NO_SLOT)
		second |= STATE_AUTHORIZED | (unsigned)chip->authorized << 3;
	out->bytes[0] = nh_chip_register_flags(&chip->temp);
	out->bytes[1] = (uint8_t)second;
}

/* The latch may be opened by whoever has proved to know the permitted key since waking, where the configuration asks for that; a refusal shows in the answer, which is the latch. */
static uint8_t latch(struct nh_chip *chip, uint16_t what, struct nh_chip_reply *out)
{
	uint8_t permission = chip->state.config[CFG_VOLATILE_KEY];
	bool set = (what & LATCH_VALUE) != 0;
	if ((what & ~(LATCH_CHANGE | LATCH_VALUE)) != 0 || what == LATCH_VALUE)
		return NH_ATECC_PARSE_ERROR;
	if ((what & LATCH_CHANGE) != 0 && (!set || (permission & PERMISSION_ENABLED) == 0 || chip->authorized == (permission & 0x0F)))
		chip->latch = set;
	out->bytes[0] = chip->latch;
	return NH_ATECC_SUCCESS;
}

uint8_t nh_chip_run_info(struct nh_chip *chip, const struct nh_atecc_packet *in, struct nh_chip_reply *out)
{
	memset(out->bytes, 0, 4);
	out->len = 4;
	switch (in->param1) {
	case INFO_REVISION:
		memcpy(out->bytes, chip->state.config + CFG_REVISION, 4);
		return NH_ATECC_SUCCESS;
	case INFO_KEY_VALID:
		return key_valid(chip, in->param2, out);
	case INFO_STATE:
		registers(chip, out);
		return NH_ATECC_SUCCESS;
	case INFO_GPIO:
		return NH_ATECC_SUCCESS; /* on a two-wire part the pin is the bus */
	case INFO_LATCH:
		return nh_chip_is_608(chip) ? latch(chip, in->param2, out) : NH_ATECC_PARSE_ERROR;
	default:
		return NH_ATECC_PARSE_ERROR;
	}
}

/* One bit for each engine that fails, so nothing here ever does. */
uint8_t nh_chip_run_self_test(struct nh_chip *chip, const struct nh_atecc_packet *in, struct nh_chip_reply *out)
{
	return in->param2 == 0 ? NH_ATECC_SUCCESS : NH_ATECC_PARSE_ERROR;
}

/* Chips of one bus whose selector is another one go to rest without an answer. */
uint8_t nh_chip_run_pause(struct nh_chip *chip, const struct nh_atecc_packet *in, struct nh_chip_reply *out)
{
	if (chip->state.config[CFG_SELECTOR] != in->param1)
		nh_chip_go_idle(chip);
	return NH_ATECC_SUCCESS;
}
