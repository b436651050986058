/*
 * SecureBoot: the chip judges a firmware's digest for a processor that cannot, and may keep digest or signature so that the next start is quick.
 */
#include "chip_int.h"

#define BOOT_WAY(mode) ((mode) & 7u)
#define BOOT_FULL 5u
#define BOOT_STORE 6u /* what was kept is the judge */
#define BOOT_COPY 7u
#define BOOT_FORBID 0x40u
#define BOOT_ENCRYPTED 0x80u
#define CONFIG_MODE(config) ((config) & 3u)
#define MODE_DISABLED 0u
#define MODE_SIGNATURE 2u /* FullStore keeps the signature, */
#define MODE_DIGEST 3u    /* or the digest */
#define CONFIG_LATCH 0x0008u
#define CONFIG_NONCE 0x0010u /* only with an encrypted digest */
#define CONFIG_STORE(config) ((config) >> 8 & 0x0Fu)
#define CONFIG_KEY(config) ((config) >> 12)
#define DIGEST_LEN 32u

struct boot {
	uint16_t config;
	uint8_t digest[32];
	uint8_t session[32]; /* under which the digest came */
	const uint8_t *signature;
};

static uint16_t boot_config(const struct nh_chip *chip)
{
	return (uint16_t)(chip->state.config[CFG_SECURE_BOOT] | chip->state.config[CFG_SECURE_BOOT + 1] << 8);
}

/* The digest is encrypted with a key made of IO protection key and nonce, so that nobody between host and chip can repeat an answer. */
static bool digest_take(struct nh_chip *chip, const struct nh_atecc_packet *in, struct boot *b)
{
	struct nh_chip_message message = {.len = 0};
	memcpy(b->digest, in->data.ptr, DIGEST_LEN);
	if ((in->param1 & BOOT_ENCRYPTED) == 0)
		return (b->config & CONFIG_NONCE) == 0;
	if (!nh_chip_io_key(chip) || !chip->temp.valid || chip->temp.from_input || chip->temp.private_key)
		return false;
	nh_chip_say(&message, nh_chip_io_key(chip), 32);
	nh_chip_say(&message, chip->temp.value, 32);
	nh_chip_hash(&message, b->session);
	nh_chip_xor(b->digest, b->session, DIGEST_LEN);
	nh_chip_register_clear(&chip->temp);
	return true;
}

static uint8_t judge(const struct nh_chip *chip, const struct boot *b)
{
	uint8_t public_key[64];
	nh_chip_public_load(chip, CONFIG_KEY(b->config), public_key);
	switch (nh_p256_verify(public_key, nh_slice_of(b->digest, DIGEST_LEN), b->signature)) {
	case NH_OK:
		return NH_ATECC_SUCCESS;
	case NH_EAUTH:
		return NH_ATECC_MISCOMPARE;
	default:
		return NH_ATECC_EXECUTION_ERROR;
	}
}

/* Compares with the kept digest, or verifies with the kept signature. */
static uint8_t judge_stored(const struct nh_chip *chip, struct boot *b)
{
	const uint8_t *kept = chip->state.slots[CONFIG_STORE(b->config)];
	if (CONFIG_MODE(b->config) == MODE_DIGEST)
		return nh_slice_eq_ct(nh_slice_of(kept, DIGEST_LEN), nh_slice_of(b->digest, DIGEST_LEN)) ? NH_ATECC_SUCCESS : NH_ATECC_MISCOMPARE;
	b->signature = kept;
	return judge(chip, b);
}

static void mac_put(const struct nh_atecc_packet *in, const struct boot *b, struct nh_chip_reply *out)
{
	struct nh_chip_message message = {.len = 0};
	nh_chip_say(&message, b->session, 32);
	nh_chip_say(&message, b->digest, DIGEST_LEN);
	if (b->signature)
		nh_chip_say(&message, b->signature, 64);
	nh_chip_say_command(&message, in);
	nh_chip_hash(&message, out->bytes);
	out->len = 32;
}

/* What the good verdict leads to. */
static void accept(struct nh_chip *chip, const struct nh_atecc_packet *in, const struct boot *b, struct nh_chip_reply *out)
{
	uint8_t *kept = chip->state.slots[CONFIG_STORE(b->config)];
	if (BOOT_WAY(in->param1) == BOOT_COPY && CONFIG_MODE(b->config) == MODE_DIGEST)
		nh_chip_store(chip, kept, b->digest, DIGEST_LEN);
	else if (BOOT_WAY(in->param1) == BOOT_COPY)
		nh_chip_store(chip, kept, b->signature, 64);
	if ((b->config & CONFIG_LATCH) != 0)
		chip->latch = true;
	if ((in->param1 & BOOT_ENCRYPTED) != 0)
		mac_put(in, b, out);
}

static bool allowed(const struct nh_chip *chip, unsigned way, uint16_t config)
{
	unsigned store = CONFIG_STORE(config);
	if (!nh_chip_data_locked(chip) || chip->boot_forbidden || CONFIG_MODE(config) == MODE_DISABLED || !nh_chip_is_public_slot(chip, CONFIG_KEY(config)))
		return false;
	if (way == BOOT_FULL)
		return true;
	if (way == BOOT_COPY && nh_chip_slot_locked(chip, store))
		return false;
	/* Digest or signature have to have a place, which is no private key's. */
	return CONFIG_MODE(config) >= MODE_SIGNATURE && (nh_chip_key_config(chip, store) & KEY_PRIVATE) == 0 && nh_atecc_slot_len(store) >= (CONFIG_MODE(config) == MODE_DIGEST ? 32u : 64u);
}

uint8_t nh_chip_run_secure_boot(struct nh_chip *chip, const struct nh_atecc_packet *in, struct nh_chip_reply *out)
{
	struct boot b = {.config = boot_config(chip)};
	unsigned way = BOOT_WAY(in->param1);
	if (way < BOOT_FULL || in->param2 != 0 || in->data.len != (way == BOOT_STORE ? 32u : 96u))
		return NH_ATECC_PARSE_ERROR;
	if (!allowed(chip, way, b.config) || !digest_take(chip, in, &b))
		return NH_ATECC_EXECUTION_ERROR;
	b.signature = way == BOOT_STORE ? NULL : in->data.ptr + DIGEST_LEN;
	uint8_t status = way == BOOT_STORE ? judge_stored(chip, &b) : judge(chip, &b);
	if (status == NH_ATECC_SUCCESS)
		accept(chip, in, &b, out);
	if ((in->param1 & BOOT_FORBID) != 0)
		chip->boot_forbidden = true;
	nh_chip_wipe(&b, sizeof(b));
	return status;
}
