/*
 * All commands in one table, and the checks that need no state.
 * source: reference/nerveskey "3.5", "5", "15"
 */
#include "chip_int.h"

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
	{NH_ATECC_VERIFY, ON_ALL, 0x07, 0xA7, {64, 128, 83}, 72, {105, 295, 1085}, nh_chip_run_verify},
	{NH_ATECC_ECDH, ON_ALL, 0x00, 0x0F, {64}, 58, {75, 172, 531}, nh_chip_run_ecdh},
	{NH_ATECC_SHA, ON_ALL, 0x07, 0xC7, {ANY_LENGTH}, 9, {36, 42, 75}, nh_chip_run_sha},
	{NH_ATECC_MAC, ON_ALL, 0x77, 0x77, {0, 32}, 14, SAME(55), nh_chip_run_mac},
	{NH_ATECC_CHECK_MAC, ON_ALL, 0x27, 0x27, {77}, 13, SAME(40), nh_chip_run_check_mac},
	{NH_ATECC_GENDIG, ON_ALL, 0x03, 0x07, {0, 4, 32}, 11, {25, 35, 35}, nh_chip_run_gendig},
	{NH_ATECC_DERIVE_KEY, ON_ALL, 0x04, 0x04, {0, 32}, 50, SAME(50), nh_chip_run_derive_key},
	{NH_ATECC_PRIV_WRITE, ON_ALL, 0x40, 0x40, {68}, 48, SAME(50), nh_chip_run_priv_write},
	{NH_ATECC_COUNTER, ON_ALL, 0x01, 0x01, {0}, 20, SAME(25), nh_chip_run_counter},
	{NH_ATECC_UPDATE_EXTRA, ON_ALL, 0x01, 0x01, {0}, 10, SAME(10), nh_chip_run_update_extra},
	{NH_ATECC_HMAC, ON_508A, 0x76, 0, /* bit 1 has no meaning, but the vendor's tests set it */ {0}, 23, SAME(0), nh_chip_run_hmac},
	{PAUSE, ON_508A, 0xFF, 0, {0}, 3, SAME(0), nh_chip_run_pause},
	{NH_ATECC_AES, ON_608, 0, 0xC3, {16, 32}, 0, SAME(27), nh_chip_run_aes},
	{NH_ATECC_KDF, ON_608, 0, 0x7F, {ANY_LENGTH}, 0, SAME(165), nh_chip_run_kdf},
	{NH_ATECC_SECURE_BOOT, ON_608, 0, 0xC7, {32, 96}, 0, {80, 160, 480}, nh_chip_run_secure_boot},
	{NH_ATECC_SELF_TEST, ON_608, 0, 0x3F, {0}, 0, {250, 625, 2324}, nh_chip_run_self_test},
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
