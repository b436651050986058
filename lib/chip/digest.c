/*
 * Messages that the chip hashes, and its registers and randomness. A message is built in a fixed buffer from the pieces that the data sheet lists; the longest has 256 bytes.
 * source: reference/nerveskey "5"
 */
#include "chip_int.h"

void nh_chip_say(struct nh_chip_message *message, const void *bytes, size_t len)
{
	NH_ASSERT(len <= sizeof(message->bytes) - message->len);
	if (len > 0)
		memcpy(message->bytes + message->len, bytes, len);
	message->len += len;
}

void nh_chip_say_byte(struct nh_chip_message *message, uint8_t byte) { nh_chip_say(message, &byte, 1); }

void nh_chip_say_u16(struct nh_chip_message *message, uint16_t value)
{
	nh_chip_say_byte(message, (uint8_t)value);
	nh_chip_say_byte(message, (uint8_t)(value >> 8));
}

void nh_chip_say_zeros(struct nh_chip_message *message, size_t count)
{
	for (size_t i = 0; i < count; i++)
		nh_chip_say_byte(message, 0);
}

void nh_chip_say_command(struct nh_chip_message *message, const struct nh_atecc_packet *in)
{
	nh_chip_say_byte(message, in->opcode);
	nh_chip_say_byte(message, in->param1);
	nh_chip_say_u16(message, in->param2);
}

void nh_chip_say_serial(struct nh_chip_message *message, const struct nh_chip *chip)
{
	nh_chip_say_byte(message, chip->state.config[CFG_SERIAL_TAIL + 4]);
	nh_chip_say(message, chip->state.config + CFG_SERIAL_HEAD, 2);
}

void nh_chip_hash(struct nh_chip_message *message, uint8_t out[32])
{
	nh_p256_sha256(nh_slice_of(message->bytes, message->len), out);
	nh_chip_wipe(message, sizeof(*message));
}

/* Test houses compare what an unlocked chip calls random. source: reference/nerveskey "4.7" */
void nh_chip_random(struct nh_chip *chip, void *out, size_t len)
{
	static const uint8_t pattern[4] = {0xFF, 0xFF, 0x00, 0x00};
	if (nh_chip_config_locked(chip)) {
		nh_rng_fill(chip->env.rng, out, len);
		return;
	}
	for (size_t i = 0; i < len; i++)
		((uint8_t *)out)[i] = pattern[i % sizeof(pattern)];
}

void nh_chip_wipe(void *secret, size_t len) { explicit_bzero(secret, len); }

void nh_chip_xor(uint8_t *bytes, const uint8_t *with, size_t len)
{
	for (size_t i = 0; i < len; i++)
		bytes[i] ^= with[i];
}

void nh_chip_register_set(struct nh_chip_register *reg, const uint8_t *value, size_t len, bool from_input)
{
	struct nh_chip_register fresh = {.len = (uint8_t)len, .valid = true, .from_input = from_input};
	NH_ASSERT(len <= sizeof(fresh.value));
	memcpy(fresh.value, value, len);
	*reg = fresh;
}

void nh_chip_register_clear(struct nh_chip_register *reg) { nh_chip_wipe(reg, sizeof(*reg)); }

uint8_t nh_chip_register_flags(const struct nh_chip_register *reg)
{
	unsigned flags = (unsigned)reg->from_input << 4 | (unsigned)reg->gen_dig << 5 | (unsigned)reg->gen_key << 6 | (unsigned)reg->no_mac << 7;
	return (uint8_t)(reg->key_id | flags);
}
