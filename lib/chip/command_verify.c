/*
 * Verify: signatures by keys from outside or from slots, and the validation of stored keys by their parents.
 * source: reference/nerveskey "5.9"
 */
#include "chip_int.h"

#define VERIFY_WAY(mode) ((mode) & 7u)
#define WAY_STORED 0u
#define WAY_EXTERNAL 2u
#define WAY_VALIDATE 3u
#define WAY_INVALIDATE 7u
#define FROM_DIGEST 0x20u
#define WITH_MAC 0x80u
#define CURVE_P256 4u
#define SIGNATURE_LEN 64u
#define OTHER_VALID_AT 17u /* of the 19 bytes: the validity that the signer was told */

/* One of three answers: right, wrong, or a key that is no point. */
static uint8_t judge(const struct nh_chip *chip, const uint8_t public_key[64], const uint8_t digest[32], const uint8_t *signature)
{
	switch (nh_p256_verify(public_key, nh_slice_of(digest, 32), signature)) {
	case NH_OK:
		return NH_ATECC_SUCCESS;
	case NH_EAUTH:
		return NH_ATECC_MISCOMPARE;
	default:
		return NH_ATECC_EXECUTION_ERROR; /* every model: the vendor's tests expect it of a 508A too */
	}
}

/* Proves to the host that the verdict is the chip's. The nonce is the half of the message digest buffer that the digest did not come from. */
static void mac_put(const struct nh_chip *chip, const struct nh_atecc_packet *in, const uint8_t digest[32], struct nh_chip_reply *out)
{
	struct nh_chip_message message = {.len = 0};
	nh_chip_say(&message, nh_chip_io_key(chip), 32);
	nh_chip_say(&message, digest, 32);
	nh_chip_say(&message, chip->digest.value + ((in->param1 & FROM_DIGEST) != 0 ? 32 : 0), 32);
	nh_chip_say(&message, in->data.ptr, SIGNATURE_LEN);
	nh_chip_say_command(&message, in);
	nh_chip_hash(&message, out->bytes);
	out->len = 32;
}

/* Is there a digest, and where a MAC is wanted, a key and a nonce for it? */
static bool source_ready(const struct nh_chip *chip, uint8_t mode)
{
	bool from_digest = (mode & FROM_DIGEST) != 0;
	if ((mode & WITH_MAC) != 0 && (!nh_chip_io_key(chip) || !chip->digest.valid || chip->digest.len < (from_digest ? 64 : 32)))
		return false;
	return from_digest ? chip->digest.valid : chip->temp.valid && !chip->temp.private_key;
}

static uint8_t verify_with(struct nh_chip *chip, const struct nh_atecc_packet *in, const uint8_t public_key[64], struct nh_chip_reply *out)
{
	bool from_digest = (in->param1 & FROM_DIGEST) != 0;
	uint8_t digest[32];
	memcpy(digest, from_digest ? chip->digest.value : chip->temp.value, 32);
	uint8_t status = judge(chip, public_key, digest, in->data.ptr);
	if (status == NH_ATECC_SUCCESS && (in->param1 & WITH_MAC) != 0)
		mac_put(chip, in, digest, out);
	if (!from_digest)
		nh_chip_register_clear(&chip->temp);
	return status;
}

static uint8_t verify_external(struct nh_chip *chip, const struct nh_atecc_packet *in, struct nh_chip_reply *out)
{
	if (in->data.len != SIGNATURE_LEN + NH_P256_PUBLIC_LEN || in->param2 != CURVE_P256)
		return NH_ATECC_PARSE_ERROR;
	if (!source_ready(chip, in->param1))
		return NH_ATECC_EXECUTION_ERROR;
	return verify_with(chip, in, in->data.ptr + SIGNATURE_LEN, out);
}

/* PubInfo of a public key: it counts only once it was validated. */
static bool key_trusted(const struct nh_chip *chip, unsigned slot)
{
	return (nh_chip_key_config(chip, slot) & KEY_PUB_INFO) == 0 || (chip->state.key_validated >> slot & 1) != 0;
}

static uint8_t verify_stored(struct nh_chip *chip, const struct nh_atecc_packet *in, struct nh_chip_reply *out)
{
	uint8_t public_key[64];
	unsigned slot = in->param2;
	if (in->data.len != SIGNATURE_LEN || slot >= NH_ATECC_SLOTS)
		return NH_ATECC_PARSE_ERROR;
	if (!nh_chip_config_locked(chip) || !source_ready(chip, in->param1) || !nh_chip_is_public_slot(chip, slot) || !key_trusted(chip, slot))
		return NH_ATECC_EXECUTION_ERROR;
	if (nh_chip_key_use(chip, slot) != NH_ATECC_SUCCESS)
		return NH_ATECC_EXECUTION_ERROR;
	nh_chip_public_load(chip, slot, public_key);
	return verify_with(chip, in, public_key, out);
}

/* The message that a parent's chip has signed internally: as Sign builds it, with what is this chip's own from here. */
static void validation_digest(const struct nh_chip *chip, const struct nh_atecc_packet *in, uint8_t digest[32])
{
	struct nh_chip_message message = {.len = 0};
	const uint8_t *other = in->data.ptr + SIGNATURE_LEN;
	nh_chip_say(&message, chip->temp.value, 32);
	nh_chip_say_byte(&message, NH_ATECC_SIGN);
	nh_chip_say(&message, other, 10);
	nh_chip_say_byte(&message, chip->state.config[CFG_SERIAL_TAIL + 4]);
	nh_chip_say(&message, other + 10, 4);
	nh_chip_say(&message, chip->state.config + CFG_SERIAL_HEAD, 2);
	nh_chip_say(&message, other + 14, 5);
	nh_chip_hash(&message, digest);
}

/* TempKey has to be GenKey's digest of the very key; the parent is the slot that ReadKey names. */
static uint8_t verify_validate(struct nh_chip *chip, const struct nh_atecc_packet *in)
{
	uint8_t digest[32], public_key[64];
	unsigned slot = in->param2;
	bool invalidate = VERIFY_WAY(in->param1) == WAY_INVALIDATE;
	if (in->data.len != SIGNATURE_LEN + 19 || slot >= NH_ATECC_SLOTS || (in->param1 & (FROM_DIGEST | WITH_MAC)) != 0)
		return NH_ATECC_PARSE_ERROR;
	unsigned parent = SLOT_READ_KEY(nh_chip_slot_config(chip, slot));
	bool ready = chip->temp.valid && chip->temp.gen_key && chip->temp.key_id == slot && (in->data.ptr[SIGNATURE_LEN + OTHER_VALID_AT] & 1) == invalidate;
	if (!nh_chip_config_locked(chip) || !ready || !nh_chip_is_public_slot(chip, slot) || !nh_chip_is_public_slot(chip, parent) || !key_trusted(chip, parent))
		return NH_ATECC_EXECUTION_ERROR;
	validation_digest(chip, in, digest);
	nh_chip_public_load(chip, parent, public_key);
	nh_chip_register_clear(&chip->temp);
	uint8_t status = judge(chip, public_key, digest, in->data.ptr);
	if (status == NH_ATECC_SUCCESS) {
		uint16_t bit = (uint16_t)(1u << slot);
		chip->state.key_validated = (uint16_t)(invalidate ? chip->state.key_validated & ~bit : chip->state.key_validated | bit);
		chip->dirty = true;
	}
	return status;
}

uint8_t nh_chip_run_verify(struct nh_chip *chip, const struct nh_atecc_packet *in, struct nh_chip_reply *out)
{
	switch (VERIFY_WAY(in->param1)) {
	case WAY_STORED:
		return verify_stored(chip, in, out);
	case WAY_EXTERNAL:
		return verify_external(chip, in, out);
	case WAY_VALIDATE:
	case WAY_INVALIDATE:
		return verify_validate(chip, in);
	default:
		return NH_ATECC_PARSE_ERROR;
	}
}
