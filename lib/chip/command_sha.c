/*
 * SHA: SHA-256 and HMAC over as many packets as it takes. The digest can also go to TempKey or the message digest buffer, where Sign and Verify find it.
 * A context that is read out has its own format here, as nobody but the chip may look into it: state words, bytes counted, bytes held.
 * source: reference/nerveskey "5.11"
 */
#include <nettle/sha2.h>

#include "chip_int.h"

#define SHA_STEP(mode) ((mode) & 7u)
#define SHA_TARGET(mode) ((mode) >> 6)
#define TARGET_TEMP 0u
#define TARGET_DIGEST 1u
#define TARGET_REPLY 3u
#define BLOCK 64u
#define CONTEXT_HEAD 36u /* eight words and the count */

enum step { STEP_START, STEP_UPDATE, STEP_END, STEP_PUBLIC, STEP_HMAC_START, STEP_HMAC_END, STEP_READ, STEP_WRITE };

static void begin(struct nh_chip_sha *sha)
{
	struct sha256_ctx fresh;
	sha256_init(&fresh);
	*sha = (struct nh_chip_sha){.running = true};
	memcpy(sha->words, fresh.state, sizeof(sha->words));
}

/* The library's context from ours, and back: ours is made of plain numbers, so that it can leave the chip and return. */
static void load(const struct nh_chip_sha *sha, struct sha256_ctx *out)
{
	sha256_init(out);
	memcpy(out->state, sha->words, sizeof(sha->words));
	memcpy(out->block, sha->block, sha->held);
	out->count = sha->total / BLOCK;
	out->index = sha->held;
}

static void save(struct nh_chip_sha *sha, struct sha256_ctx *from)
{
	memcpy(sha->words, from->state, sizeof(sha->words));
	memcpy(sha->block, from->block, from->index);
	sha->held = (uint8_t)from->index;
	nh_chip_wipe(from, sizeof(*from));
}

static void update(struct nh_chip_sha *sha, nh_slice bytes)
{
	struct sha256_ctx ctx;
	if (bytes.len == 0)
		return;
	load(sha, &ctx);
	sha256_update(&ctx, bytes.len, bytes.ptr);
	sha->total += bytes.len;
	save(sha, &ctx);
}

static void finish(struct nh_chip_sha *sha, uint8_t digest[32])
{
	struct sha256_ctx ctx;
	load(sha, &ctx);
	sha256_digest(&ctx, 32, digest);
	if (sha->hmac) {
		sha256_init(&ctx);
		sha256_update(&ctx, BLOCK, sha->opad);
		sha256_update(&ctx, 32, digest);
		sha256_digest(&ctx, 32, digest);
	}
	nh_chip_wipe(&ctx, sizeof(ctx));
	nh_chip_wipe(sha, sizeof(*sha));
}

static uint8_t run_end(struct nh_chip *chip, const struct nh_atecc_packet *in, struct nh_chip_reply *out)
{
	/* A 508A ends an HMAC with a step of its own, a 608 with the common one. */
	bool hmac_step = SHA_STEP(in->param1) == STEP_HMAC_END;
	unsigned target = SHA_TARGET(in->param1);
	/* One known driver leaves the length 0 whatever it sends. */
	if (in->data.len > BLOCK || (in->param2 != in->data.len && in->param2 != 0) || target == 2 || (hmac_step && nh_chip_is_608(chip)))
		return NH_ATECC_PARSE_ERROR;
	if (!chip->sha.running || (!nh_chip_is_608(chip) && hmac_step != chip->sha.hmac))
		return NH_ATECC_EXECUTION_ERROR;
	update(&chip->sha, in->data);
	finish(&chip->sha, out->bytes);
	out->len = 32;
	if (target == TARGET_TEMP)
		nh_chip_register_set(&chip->temp, out->bytes, 32, true);
	else if (target == TARGET_DIGEST)
		nh_chip_register_set(&chip->digest, out->bytes, 32, true);
	return NH_ATECC_SUCCESS;
}

static uint8_t run_update(struct nh_chip *chip, const struct nh_atecc_packet *in)
{
	bool length = nh_chip_is_608(chip) ? in->data.len <= BLOCK : in->data.len == BLOCK;
	if (!length || in->param2 != in->data.len)
		return NH_ATECC_PARSE_ERROR;
	if (!chip->sha.running)
		return NH_ATECC_EXECUTION_ERROR;
	update(&chip->sha, in->data);
	return NH_ATECC_SUCCESS;
}

static uint8_t run_public(struct nh_chip *chip, const struct nh_atecc_packet *in)
{
	uint8_t public_key[64];
	if (in->data.len != 0 || in->param2 >= NH_ATECC_SLOTS)
		return NH_ATECC_PARSE_ERROR;
	if (!chip->sha.running || !nh_chip_config_locked(chip) || !nh_chip_is_public_slot(chip, in->param2))
		return NH_ATECC_EXECUTION_ERROR;
	nh_chip_public_load(chip, in->param2, public_key);
	update(&chip->sha, nh_slice_of(public_key, sizeof(public_key)));
	return NH_ATECC_SUCCESS;
}

/* The key: a slot's first 32 bytes, or TempKey on a 608. */
static uint8_t run_hmac_start(struct nh_chip *chip, const struct nh_atecc_packet *in)
{
	uint8_t pad[BLOCK];
	const uint8_t *key = chip->temp.value;
	bool from_temp = nh_chip_is_608(chip) && in->param2 == SLOT_TEMP_KEY;
	if (in->data.len != 0 || (in->param2 >= NH_ATECC_SLOTS && !from_temp))
		return NH_ATECC_PARSE_ERROR;
	if (!nh_chip_config_locked(chip) || (from_temp && (!chip->temp.valid || chip->temp.private_key)))
		return NH_ATECC_EXECUTION_ERROR;
	if (!from_temp) {
		uint16_t config = nh_chip_key_config(chip, in->param2);
		bool random_missing = (config & KEY_REQ_RANDOM) != 0 && (!chip->temp.valid || chip->temp.from_input);
		if ((config & KEY_PRIVATE) != 0 || random_missing || (nh_chip_slot_config(chip, in->param2) & SLOT_NO_MAC) != 0)
			return NH_ATECC_EXECUTION_ERROR;
		if (nh_chip_key_use(chip, in->param2) != NH_ATECC_SUCCESS)
			return NH_ATECC_EXECUTION_ERROR;
		key = chip->state.slots[in->param2];
	}
	begin(&chip->sha);
	chip->sha.hmac = true;
	for (size_t i = 0; i < BLOCK; i++) {
		uint8_t byte = i < 32 ? key[i] : 0;
		pad[i] = byte ^ 0x36;
		chip->sha.opad[i] = byte ^ 0x5C;
	}
	update(&chip->sha, nh_slice_of(pad, sizeof(pad)));
	nh_chip_wipe(pad, sizeof(pad));
	return NH_ATECC_SUCCESS;
}

static uint8_t run_read_context(struct nh_chip *chip, const struct nh_atecc_packet *in, struct nh_chip_reply *out)
{
	const struct nh_chip_sha *sha = &chip->sha;
	if (!nh_chip_is_608(chip) || in->data.len != 0)
		return NH_ATECC_PARSE_ERROR;
	if (!sha->running || sha->hmac)
		return NH_ATECC_EXECUTION_ERROR;
	for (unsigned i = 0; i < 8; i++)
		for (unsigned byte = 0; byte < 4; byte++)
			out->bytes[4 * i + byte] = (uint8_t)(sha->words[i] >> (24 - 8 * byte));
	for (unsigned byte = 0; byte < 4; byte++)
		out->bytes[32 + byte] = (uint8_t)(sha->total >> 8 * byte);
	memcpy(out->bytes + CONTEXT_HEAD, sha->block, sha->held);
	out->len = CONTEXT_HEAD + sha->held;
	return NH_ATECC_SUCCESS;
}

static uint8_t run_write_context(struct nh_chip *chip, const struct nh_atecc_packet *in)
{
	const uint8_t *at = in->data.ptr;
	if (!nh_chip_is_608(chip) || in->data.len < CONTEXT_HEAD || in->data.len >= CONTEXT_HEAD + BLOCK || in->param2 != in->data.len)
		return NH_ATECC_PARSE_ERROR;
	struct nh_chip_sha sha = {.running = true, .held = (uint8_t)(in->data.len - CONTEXT_HEAD)};
	for (unsigned i = 0; i < 32; i++)
		sha.words[i / 4] = sha.words[i / 4] << 8 | at[i];
	for (unsigned byte = 0; byte < 4; byte++)
		sha.total |= (uint64_t)at[32 + byte] << 8 * byte;
	if (sha.total % BLOCK != sha.held)
		return NH_ATECC_EXECUTION_ERROR;
	memcpy(sha.block, at + CONTEXT_HEAD, sha.held);
	chip->sha = sha;
	return NH_ATECC_SUCCESS;
}

uint8_t nh_chip_run_sha(struct nh_chip *chip, const struct nh_atecc_packet *in, struct nh_chip_reply *out)
{
	switch ((enum step)SHA_STEP(in->param1)) {
	case STEP_START:
		if (in->data.len != 0)
			return NH_ATECC_PARSE_ERROR;
		begin(&chip->sha);
		return NH_ATECC_SUCCESS;
	case STEP_UPDATE:
		return run_update(chip, in);
	case STEP_PUBLIC:
		return run_public(chip, in);
	case STEP_HMAC_START:
		return run_hmac_start(chip, in);
	case STEP_READ:
		return run_read_context(chip, in, out);
	case STEP_WRITE:
		return run_write_context(chip, in);
	case STEP_END:
	case STEP_HMAC_END:
		break;
	}
	return run_end(chip, in, out);
}
