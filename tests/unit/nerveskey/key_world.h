/*
 * A NervesKey on a simulated chip, for the tests of this room: chips from the factory, chips as the reference left them, a clock that stands still, and a signer.
 *
 * Chips of the vectors have keys that nobody knows, so for those the bus answers GenKey itself with the public key of the vectors. Everything else is the simulated chip's.
 */
#pragma once

#include "../chip_transport.h"
#include "atecc/p256.h"
#include "nerveskey/nerveskey.h"
#include "vectors.h"

#define WORLD_NOW_S INT64_C(1795222800) /* 2026-11-21 01:00:00 UTC, when the transcripts were recorded */

struct world {
	struct chip_bus bus;
	struct nh_nerveskey *key;
	const uint8_t *public_key;  /* set: the bus answers GenKey with it */
	struct nh_buf answer;
	bool answering;
	int64_t now_us;
	struct nh_clock clock;
	struct nh_p256_key signer_key;
	struct nh_buf signer_der;
	uint32_t torn_at, torn_byte; /* power goes for good in the torn_at-th Write (1 is the first), when torn_byte bytes of it are in the array */
	uint32_t commands, sleeps;  /* that left so far */
	uint32_t dies_at;           /* power goes for good with this command (1 is the first; 0: never), */
	bool dies_after;            /* when the chip has executed it and nobody has heard the answer; else before */
	uint32_t deaf_for;          /* not for good, but for that many transfers */
	uint32_t genkeys;           /* new keys asked for, and whether the data zone was locked when the last one was */
	bool genkey_when_locked;
};

/* From the next transfer on nothing is heard of the chip. */
static inline void world_die(struct world *w)
{
	w->bus.fail_at = w->bus.transfers + 1;
	w->bus.fail_count = w->deaf_for ? w->deaf_for : UINT32_MAX;
}

/* Power is back. */
static inline void world_revive(struct world *w)
{
	w->bus.fail_at = 0;
	w->dies_at = 0;
	w->commands = 0;
	nh_chip_power_cycle(w->bus.chip);
}

static inline nh_rc world_write(void *ctx, nh_slice bytes, struct nh_err *err)
{
	struct world *w = ctx;
	bool command = bytes.len > 4 && bytes.ptr[0] == NH_ATECC_COMMAND, genkey = command && bytes.ptr[2] == NH_ATECC_GENKEY;
	bool dying = command && ++w->commands == w->dies_at;
	w->sleeps += bytes.len == 1 && bytes.ptr[0] == NH_ATECC_SLEEP;
	if (dying && !w->dies_after)
		world_die(w);
	if (genkey && bytes.ptr[3] == 0x04) {
		w->genkeys++;
		w->genkey_when_locked |= nh_chip_state_of(w->bus.chip)->config[86] == 0;
	}
	if (bytes.len > 1)
		w->answering = false;
	if (w->torn_at && command && bytes.ptr[2] == NH_ATECC_WRITE && --w->torn_at == 0) {
		nh_chip_fault_arm(w->bus.chip, NH_CHIP_FAULT_POWER_AT_BYTE, 0, 1, w->torn_byte);
		dying = true;
	}
	if (!genkey || !w->public_key) {
		nh_rc rc = chip_bus_write(&w->bus, bytes, err);
		if (dying && !w->bus.fail_at)
			world_die(w);
		return rc;
	}
	nh_buf_clear(&w->answer);
	nh_atecc_response_put(&w->answer, nh_slice_of(w->public_key, NH_P256_PUBLIC_LEN));
	w->answering = true;
	return NH_OK;
}

static inline nh_rc world_read(void *ctx, uint8_t *out, size_t len, struct nh_err *err)
{
	struct world *w = ctx;
	if (!w->answering)
		return chip_bus_read(&w->bus, out, len, err);
	for (size_t i = 0; i < len; i++)
		out[i] = i < w->answer.len ? w->answer.ptr[i] : 0xFF;
	return NH_OK;
}

static inline nh_rc world_wake(void *ctx, struct nh_err *err)
{
	struct world *w = ctx;
	w->answering = false;
	return chip_bus_wake(&w->bus, err);
}
static inline void world_delay(void *ctx, uint32_t us) { chip_bus_delay(&((struct world *)ctx)->bus, us); }
static inline nh_rc world_lock(void *ctx, uint32_t timeout_ms, struct nh_err *err) { return chip_bus_lock(&((struct world *)ctx)->bus, timeout_ms, err); }
static inline void world_unlock(void *ctx) { chip_bus_unlock(&((struct world *)ctx)->bus); }
static inline void world_close(void *ctx) { chip_bus_close(&((struct world *)ctx)->bus); }

static const struct nh_atecc_transport_ops world_ops = {world_wake, world_write, world_read, world_delay, world_lock, world_unlock, world_close};

static inline int64_t world_now(void *ctx) { return ((struct world *)ctx)->now_us; }

static inline struct nh_chip_state world_state(const struct world *w) { return *nh_chip_state_of(w->bus.chip); }

/* A key object on the chip as it is now. */
static inline void world_open(struct world *w)
{
	struct nh_atecc *chip = NULL;
	struct nh_atecc_transport t = {.ops = &world_ops, .ctx = w, .name = "simulated chip", .address = nh_chip_address(w->bus.chip)};
	nh_nerveskey_close(w->key);
	nh_atecc_new(t, &chip);
	nh_nerveskey_new(chip, &w->key);
}

static inline void world_begin(struct world *w, const struct nh_chip_state *state, uint64_t seed)
{
	struct nh_err err = NH_ERR_INIT;
	*w = (struct world){.now_us = WORLD_NOW_S * NH_US_PER_S};
	w->clock = (struct nh_clock){.now_us = world_now, .ctx = w};
	chip_bus_init_state(&w->bus, state, seed);
	nh_p256_generate(&w->bus.rng, &w->signer_key);
	if (nh_nerveskey_signer_create(&w->signer_key, 5, &w->clock, &w->bus.rng, &w->signer_der, &err) != NH_OK)
		fail_msg("%s", err.msg);
	world_open(w);
}

/* A chip from the factory. */
static inline void world_factory(struct world *w, nh_chip_model model, nh_chip_personality personality, uint64_t seed)
{
	struct nh_rng_seeded seeded;
	struct nh_rng rng = nh_rng_seeded_init(&seeded, seed + 1000);
	struct nh_chip_state state;
	nh_chip_state_factory(model, personality, NULL, &rng, &state);
	world_begin(w, &state, seed);
}

static inline void world_end(struct world *w)
{
	nh_nerveskey_close(w->key);
	chip_bus_fini(&w->bus);
	nh_buf_fini(&w->answer);
	nh_buf_fini(&w->signer_der);
	nh_p256_key_wipe(&w->signer_key);
}

static inline struct nh_nerveskey_order world_order(struct world *w)
{
	return (struct nh_nerveskey_order){.manufacturer_serial = NH_LIT("N1234"),
	                                   .board_name = NH_LIT("NervesKey"),
	                                   .signer_der = nh_buf_slice(&w->signer_der),
	                                   .signer_key = &w->signer_key,
	                                   .clock = &w->clock,
	                                   .rng = &w->bus.rng};
}

/* ---- chips as the reference left them */

/* What the Write commands of a recorded exchange put into one-time zone and slots. Configuration and locks are the caller's. */
static inline void state_apply(struct nh_chip_state *state, const json_t *exchange)
{
	size_t i;
	const json_t *row;
	json_array_foreach((json_t *)exchange, i, row) {
		NH_AUTO_BUF struct nh_buf c = NH_BUF_INIT;
		assert_int_equal(nh_hex_decode(nh_slice_str(json_string_value(json_array_get(row, 0))), &c), NH_OK);
		if (c.ptr[0] != NH_ATECC_WRITE || (c.ptr[1] & 3) == NH_ATECC_ZONE_CONFIG)
			continue;
		bool otp = (c.ptr[1] & 3) == NH_ATECC_ZONE_OTP;
		unsigned slot = c.ptr[2] >> 3, at = otp ? c.ptr[2] * 4u : c.ptr[3] * 32u + (c.ptr[2] & 7u) * 4u;
		size_t size = otp ? NH_ATECC_OTP_LEN : nh_atecc_slot_len(slot);
		uint8_t *zone = otp ? state->otp : state->slots[slot];
		for (size_t k = 4; k < c.len && at < size; k++)
			zone[at++] = c.ptr[k];
	}
}

/* A chip after a provisioning of the vectors. */
static inline void state_of_transcript(struct nh_chip_state *state, const char *name, nh_chip_model model)
{
	const json_t *t = vectors(name);
	*state = (struct nh_chip_state){.model = model, .address = NH_ATECC_ADDRESS, .key_valid = 1};
	vector_bytes(t, "config_after", state->config, sizeof state->config);
	state_apply(state, json_object_get(t, "provision"));
}
