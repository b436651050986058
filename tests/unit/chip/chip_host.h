/*
 * The host's side of what a chip hashes, from the layouts in the reference: messages are written in hexadecimal with names for the parts, and put together here. Nothing of the
 * chip's own code is used, so that both sides have to agree.
 */
#pragma once

#include "atecc/p256.h"
#include "test_chip.h"

/* A chip whose configuration is locked, with data locked or not; slot and key configurations are set before, zones filled with known bytes. */
static inline void bench_configured(struct bench *b, nh_chip_model model, bool data_locked, const uint16_t slot_config[NH_ATECC_SLOTS], const uint16_t key_config[NH_ATECC_SLOTS])
{
	static const uint8_t serial[NH_ATECC_SERIAL_LEN] = {0x01, 0x23, 0x45, 0x67, 0x89, 0xAB, 0xCD, 0xEF, 0xEE};
	struct nh_rng_seeded seeded;
	struct nh_rng rng = nh_rng_seeded_init(&seeded, 1);
	struct nh_chip_state state;
	nh_chip_state_factory(model, NH_CHIP_BLANK, serial, &rng, &state);
	for (unsigned slot = 0; slot < NH_ATECC_SLOTS; slot++) {
		state.config[20 + 2 * slot] = (uint8_t)slot_config[slot];
		state.config[21 + 2 * slot] = (uint8_t)(slot_config[slot] >> 8);
		state.config[96 + 2 * slot] = (uint8_t)key_config[slot];
		state.config[97 + 2 * slot] = (uint8_t)(key_config[slot] >> 8);
		for (size_t i = 0; i < nh_atecc_slot_len(slot); i++)
			state.slots[slot][i] = (uint8_t)(slot * 16 + i);
	}
	for (uint8_t i = 0; i < NH_ATECC_OTP_LEN; i++)
		state.otp[i] = (uint8_t)(0xA0 + i);
	state.config[87] = 0;
	state.config[86] = data_locked ? 0 : 0x55;
	bench_start(b, &state, 0, false);
}

/* SHA-256 of pieces: "hex" strings and bytes. */
static inline void say_hex(struct nh_buf *message, const char *hex)
{
	NH_AUTO_BUF struct nh_buf bytes = NH_BUF_INIT;
	hex_bytes(hex, &bytes);
	nh_buf_put_slice(message, nh_buf_slice(&bytes));
}
static inline void say_bytes(struct nh_buf *message, const void *bytes, size_t len) { nh_buf_put(message, bytes, len); }
static inline void digest_of(struct nh_buf *message, uint8_t out[32])
{
	nh_p256_sha256(nh_buf_slice(message), out);
	nh_buf_clear(message);
}

/* The chip under test has serial number 0123456789abcdefee. */
#define SN_8_0_1 "ee0123"
#define ZEROS_25 "00000000000000000000000000000000000000000000000000"
#define NUM_IN "0102030405060708090a0b0c0d0e0f1011121314"

/* A random nonce; what TempKey is then. */
static inline void host_nonce(struct bench *b, uint8_t temp_key[32])
{
	NH_AUTO_BUF struct nh_buf message = NH_BUF_INIT;
	assert_status(b, 0, "16000000" NUM_IN);
	assert_int_equal(b->reply_len, 32);
	say_bytes(&message, b->reply, 32);
	say_hex(&message, NUM_IN "160000");
	digest_of(&message, temp_key);
}

static inline void host_pass(struct bench *b, const uint8_t value[32])
{
	assert_int_equal(bench_run(b, NH_ATECC_NONCE, 0x03, 0, nh_slice_of(value, 32)), 0);
}

/* GenDig with the key in a slot; TempKey as the host computes it. */
static inline void host_gendig(struct bench *b, unsigned slot, const uint8_t key[32], uint8_t temp_key[32])
{
	NH_AUTO_BUF struct nh_buf message = NH_BUF_INIT;
	assert_int_equal(bench_run(b, NH_ATECC_GENDIG, 2, (uint16_t)slot, NH_SLICE_EMPTY), 0);
	say_bytes(&message, key, 32);
	nh_buf_put_u8(&message, 0x15);
	nh_buf_put_u8(&message, 2);
	nh_buf_put_u8(&message, (uint8_t)slot);
	nh_buf_put_u8(&message, 0);
	say_hex(&message, SN_8_0_1 ZEROS_25);
	say_bytes(&message, temp_key, 32);
	digest_of(&message, temp_key);
}

#define assert_reply(b, want, len)                                                                                            \
	do {                                                                                                                  \
		assert_int_equal((b)->reply_len, (len));                                                                      \
		assert_memory_equal((b)->reply, (want), (len));                                                               \
	} while (0)
