/*
 * A simulated chip without a driver in between: payloads in hexadecimal or bytes go in, the answer's payload comes out. Time stands still unless a test moves it, and commands take none.
 */
#pragma once

#include <stdio.h>
#include <stdlib.h>

#include "base/encode.h"
#include "base/json.h"
#include "chip/chip.h"
#include "test_base.h"

struct bench {
	struct nh_chip *chip;
	struct nh_rng_seeded seeded;
	struct nh_rng rng;
	uint64_t now_us;
	uint8_t reply[NH_ATECC_RESPONSE_MAX];
	size_t reply_len;
};

static inline uint64_t bench_now(void *ctx) { return ((struct bench *)ctx)->now_us; }

static inline void bench_start(struct bench *b, const struct nh_chip_state *state, uint32_t speed_percent, bool watchdog)
{
	*b = (struct bench){.now_us = 1000000};
	b->rng = nh_rng_seeded_init(&b->seeded, 7);
	struct nh_chip_config config = {.rng = &b->rng, .now_us = bench_now, .clock_ctx = b, .speed_percent = speed_percent, .watchdog = watchdog};
	nh_chip_new(&config, state, &b->chip);
	nh_chip_wake(b->chip);
}

static inline void bench_factory(struct bench *b, nh_chip_model model)
{
	static const uint8_t serial[NH_ATECC_SERIAL_LEN] = {0x01, 0x23, 0x45, 0x67, 0x89, 0xAB, 0xCD, 0xEF, 0xEE};
	struct nh_rng_seeded seeded;
	struct nh_rng rng = nh_rng_seeded_init(&seeded, 1);
	struct nh_chip_state state;
	nh_chip_state_factory(model, NH_CHIP_BLANK, serial, &rng, &state);
	bench_start(b, &state, 0, false);
}

static inline void bench_stop(struct bench *b) { nh_chip_free(b->chip); }

static inline void hex_bytes(const char *hex, struct nh_buf *out)
{
	nh_buf_clear(out);
	if (nh_hex_decode(nh_slice_str(hex), out) != NH_OK)
		fail_msg("not hexadecimal: %s", hex);
}

/* Fetches the answer as a driver does and checks its frame; false where the chip acknowledges nothing. */
static inline bool bench_fetch(struct bench *b)
{
	uint8_t bytes[NH_ATECC_RESPONSE_MAX];
	nh_slice payload;
	b->reply_len = 0;
	if (!nh_chip_read(b->chip, bytes, sizeof(bytes)))
		return false;
	assert_int_equal(nh_atecc_response_parse(nh_slice_of(bytes, sizeof(bytes)), &payload), NH_OK);
	memcpy(b->reply, payload.ptr, payload.len);
	b->reply_len = payload.len;
	return true;
}

/* One command; the status, 0 where data came back. */
static inline uint8_t bench_run(struct bench *b, uint8_t opcode, uint8_t param1, uint16_t param2, nh_slice data)
{
	NH_AUTO_BUF struct nh_buf packet = NH_BUF_INIT;
	nh_buf_put_u8(&packet, NH_ATECC_COMMAND);
	assert_int_equal(nh_atecc_packet_put(&packet, opcode, param1, param2, data), NH_OK);
	assert_true(nh_chip_write(b->chip, nh_buf_slice(&packet)));
	assert_true(bench_fetch(b));
	return b->reply_len == 1 ? b->reply[0] : 0;
}

/* The same from "opcode param1 param2 data" in hexadecimal. */
static inline uint8_t bench_hex(struct bench *b, const char *hex)
{
	NH_AUTO_BUF struct nh_buf bytes = NH_BUF_INIT;
	hex_bytes(hex, &bytes);
	assert_true(bytes.len >= 4);
	return bench_run(b, bytes.ptr[0], bytes.ptr[1], (uint16_t)(bytes.ptr[2] | bytes.ptr[3] << 8), nh_slice_skip(nh_buf_slice(&bytes), 4));
}

#define assert_status(b, want, hex)                                                                                           \
	do {                                                                                                                  \
		uint8_t got_ = bench_hex((b), (hex));                                                                         \
		if (got_ != (want))                                                                                           \
			fail_msg("%.60s: status %02x, expected %02x", (hex), got_, (unsigned)(want));                         \
	} while (0)

static inline json_t *vectors_load(void)
{
	char path[512];
	const char *root = getenv("NH_VECTORS");
	assert_non_null(root);
	snprintf(path, sizeof(path), "%s/nerveskey/vectors.json", root);
	json_t *vectors = json_load_file(path, 0, NULL);
	assert_non_null(vectors);
	return vectors;
}
