/*
 * All commands in one table, and the checks that need no state.
 * source: reference/nerveskey "3.5", "5", "15"
 */
#include "internal.h"

#define PAUSE 0x01u
#define DIVIDER_M1 5u /* bits 7:3 of ChipMode */
#define DIVIDER_M2 13u

#define SAME(ms) {ms, ms, ms}

static const struct nh_chip_command commands[] = {
	{NH_ATECC_READ, ON_ALL, 0x83, 0x83, {0}, 5, SAME(5), nh_chip_run_read},
	{NH_ATECC_WRITE, ON_ALL, 0xC3, 0xC3, {4, 32, 64}, 26, SAME(45), nh_chip_run_write},
	{NH_ATECC_LOCK, ON_ALL, 0xBF, 0xBF, {0}, 32, SAME(35), nh_chip_run_lock},
	{NH_ATECC_GENKEY, ON_ALL, 0x1C, 0x1C, {0, 3}, 115, {115, 215, 653}, nh_chip_run_genkey},
	{NH_ATECC_NONCE, ON_ALL, 0x03, 0xE3, {20, 32, 64}, 29, SAME(20), nh_chip_run_nonce},
	{NH_ATECC_RANDOM, ON_ALL, 0x01, 0x01, {0}, 23, SAME(23), nh_chip_run_random},
	{NH_ATECC_SIGN, ON_ALL, 0xC1, 0xE1, {0}, 60, {115, 220, 665}, nh_chip_run_sign},
	{NH_ATECC_INFO, ON_ALL, 0x07, 0x07, {0}, 2, SAME(5), nh_chip_run_info},
};

const struct nh_chip_command *nh_chip_command_find(const struct nh_chip *chip, uint8_t opcode)
{
	unsigned model = nh_chip_is_608(chip) ? ON_608 : ON_508A;
	for (size_t i = 0; i < NH_ARRAY_LEN(commands); i++)
		if (commands[i].opcode == opcode)
			return (commands[i].models & model) != 0 ? &commands[i] : NULL;
	return NULL;
}

bool nh_chip_command_allows(const struct nh_chip *chip, const struct nh_chip_command *command, const struct nh_atecc_packet *in)
{
	uint8_t modes = nh_chip_is_608(chip) ? command->modes_608 : command->modes_508a;
	if ((in->param1 & ~modes) != 0)
		return false;
	if (command->lengths[0] == ANY_LENGTH)
		return true;
	for (size_t i = 0; i < NH_ARRAY_LEN(command->lengths) && (i == 0 || command->lengths[i] != 0); i++)
		if (command->lengths[i] == in->data.len)
			return true;
	return false;
}

uint32_t nh_chip_command_ms(const struct nh_chip *chip, const struct nh_chip_command *command)
{
	if (!nh_chip_is_608(chip))
		return command->ms_508a;
	unsigned divider = chip->state.config[CFG_CHIP_MODE] >> 3;
	return command->ms_608[divider == DIVIDER_M2 ? 2 : divider == DIVIDER_M1 ? 1 : 0];
}
