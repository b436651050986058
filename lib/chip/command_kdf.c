/*
 * KDF: new secrets from old ones by TLS 1.2's PRF, HKDF-Extract or AES.
 * Data: four bytes of details (the last is the message's length), message.
 */
#include <nettle/hmac.h>

#include "chip_int.h"

#define SOURCE(mode) ((mode) & 3u)
#define SOURCE_TEMP 0u
#define SOURCE_TEMP_UPPER 1u
#define SOURCE_SLOT 2u
#define TARGET(mode) ((mode) >> 2 & 7u)
#define TARGET_TEMP 0u
#define TARGET_TEMP_UPPER 1u
#define TARGET_SLOT 2u
#define TARGET_ALTERNATE 3u
#define TARGET_REPLY 4u
#define TARGET_REPLY_ENCRYPTED 5u
#define ALGORITHM(mode) ((mode) >> 5)
#define ALGORITHM_PRF 0u
#define ALGORITHM_AES 1u
#define ALGORITHM_HKDF 2u
#define DETAILS_LEN 4u
#define MESSAGE_MAX 128u
#define PRF_64 0x0100u  /* details: 64 bytes come out */
#define PRF_SPLIT 0x0200u /* the second half of them goes to the bus */
#define HKDF_FROM(details) ((details) & 3u)
#define HKDF_FROM_SLOT 0u
#define HKDF_FROM_TEMP 1u
#define HKDF_FROM_IV 3u
#define HKDF_ZERO_KEY 0x04u
#define OPTION_AES 0x04u /* ChipOptions: AES may be used here */
#define PROTECTION(options) ((options) >> 2 & 3u)

struct kdf {
	uint16_t details;
	nh_slice message;
	uint8_t key[64];
	size_t key_len;
	uint8_t result[64];
	size_t result_len;
};

static void hmac(const struct kdf *k, nh_slice first, nh_slice second, uint8_t out[32])
{
	struct hmac_sha256_ctx ctx;
	hmac_sha256_set_key(&ctx, k->key_len, k->key);
	hmac_sha256_update(&ctx, first.len, first.ptr);
	if (second.len > 0)
		hmac_sha256_update(&ctx, second.len, second.ptr);
	hmac_sha256_digest(&ctx, 32, out);
	nh_chip_wipe(&ctx, sizeof(ctx));
}

/* P_SHA256 of RFC 5246 5: A(1) = HMAC(seed), A(2) = HMAC(A(1)); the output is HMAC(A(i) ‖ seed). */
static void prf(struct kdf *k)
{
	uint8_t a[32];
	nh_slice chain = nh_slice_of(a, sizeof(a));
	k->result_len = (k->details & PRF_64) != 0 ? 64 : 32;
	hmac(k, k->message, NH_SLICE_EMPTY, a);
	hmac(k, chain, k->message, k->result);
	if (k->result_len == 64) {
		uint8_t next[32];
		hmac(k, chain, NH_SLICE_EMPTY, next);
		hmac(k, nh_slice_of(next, 32), k->message, k->result + 32);
	}
	nh_chip_wipe(a, sizeof(a));
}

static bool parses(const struct nh_atecc_packet *in, struct kdf *k)
{
	if (in->data.len < DETAILS_LEN || in->data.len > DETAILS_LEN + MESSAGE_MAX || ALGORITHM(in->param1) > ALGORITHM_HKDF || TARGET(in->param1) > TARGET_REPLY_ENCRYPTED)
		return false;
	k->details = (uint16_t)(in->data.ptr[0] | in->data.ptr[1] << 8);
	k->message = nh_slice_skip(in->data, DETAILS_LEN);
	if (ALGORITHM(in->param1) == ALGORITHM_AES)
		return k->message.len == 16;
	bool from_slot = SOURCE(in->param1) == SOURCE_SLOT, to_slot = TARGET(in->param1) == TARGET_SLOT;
	if ((from_slot && (in->param2 & 0xFF) >= NH_ATECC_SLOTS) || (to_slot && in->param2 >> 8 >= NH_ATECC_SLOTS))
		return false;
	return k->message.len == in->data.ptr[3];
}

/* The key that is to be stretched: up to 64 bytes, as many as the algorithm takes. */
static bool key_find(struct nh_chip *chip, const struct nh_atecc_packet *in, struct kdf *k)
{
	const struct nh_chip_register *reg = SOURCE(in->param1) > SOURCE_SLOT ? &chip->alternate : &chip->temp;
	size_t skip = SOURCE(in->param1) == SOURCE_TEMP_UPPER ? 32 : 0;
	unsigned slot = in->param2 & 0x0F;
	static const uint8_t prf_lens[] = {16, 32, 48, 64};
	size_t at = ALGORITHM(in->param1) == ALGORITHM_AES ? (size_t)(k->details & 3) * 16 : 0;
	k->key_len = ALGORITHM(in->param1) == ALGORITHM_AES ? 16 : ALGORITHM(in->param1) == ALGORITHM_PRF ? prf_lens[k->details & 3] : 32;
	if (SOURCE(in->param1) == SOURCE_SLOT) {
		if ((nh_chip_key_config(chip, slot) & KEY_PRIVATE) != 0 || at + k->key_len > nh_atecc_slot_len(slot) || nh_chip_key_use(chip, slot) != NH_ATECC_SUCCESS)
			return false;
		memcpy(k->key, chip->state.slots[slot] + at, k->key_len);
		return true;
	}
	if (!reg->valid || reg->private_key || skip + at + k->key_len > reg->len)
		return false;
	memcpy(k->key, reg->value + skip + at, k->key_len);
	return true;
}

/* HKDF's message may be chosen by the chip: TempKey, a slot, or one that carries the two bytes that the configuration demands at its place. */
static bool hkdf_message(const struct nh_chip *chip, struct kdf *k)
{
	const uint8_t *config = chip->state.config;
	unsigned slot = k->details >> 8 & 0x0F;
	switch (HKDF_FROM(k->details)) {
	case HKDF_FROM_SLOT:
		if ((nh_chip_key_config(chip, slot) & KEY_PRIVATE) != 0 || k->message.len > nh_atecc_slot_len(slot))
			return false;
		k->message = nh_slice_of(chip->state.slots[slot], k->message.len);
		return true;
	case HKDF_FROM_TEMP:
		if (!chip->temp.valid || chip->temp.private_key || k->message.len > chip->temp.len)
			return false;
		k->message = nh_slice_of(chip->temp.value, k->message.len);
		return true;
	case HKDF_FROM_IV:
		return k->message.len >= config[CFG_KDF_IV_LOC] + 2u && memcmp(k->message.ptr + config[CFG_KDF_IV_LOC], config + CFG_KDF_IV_STR, 2) == 0;
	default:
		return true;
	}
}

static bool compute(const struct nh_chip *chip, const struct nh_atecc_packet *in, struct kdf *k)
{
	switch (ALGORITHM(in->param1)) {
	case ALGORITHM_PRF:
		prf(k);
		return true;
	case ALGORITHM_AES:
		if (!nh_chip_aes_enabled(chip) || (chip->state.config[CFG_CHIP_OPTIONS] & OPTION_AES) == 0)
			return false;
		k->result_len = 32;
		nh_chip_aes_block(k->key, false, k->message.ptr, k->result);
		return true;
	default:
		if (!hkdf_message(chip, k))
			return false;
		if ((k->details & HKDF_ZERO_KEY) != 0)
			memset(k->key, 0, sizeof(k->key));
		k->result_len = 32;
		hmac(k, k->message, NH_SLICE_EMPTY, k->result);
		return true;
	}
}

/* To a slot as to a write from outside: never to a private key, nor into what is locked. */
static bool slot_takes(const struct nh_chip *chip, unsigned slot, size_t len)
{
	return (nh_chip_key_config(chip, slot) & KEY_PRIVATE) == 0 && !nh_chip_slot_locked(chip, slot) && len <= nh_atecc_slot_len(slot);
}

static void reply_put(struct nh_chip *chip, const uint8_t *bytes, size_t len, bool encrypt, struct nh_chip_reply *out)
{
	memcpy(out->bytes, bytes, len);
	out->len = len;
	if (encrypt)
		nh_chip_io_encrypt(chip, out);
}

static uint8_t deliver(struct nh_chip *chip, const struct nh_atecc_packet *in, struct kdf *k, struct nh_chip_reply *out)
{
	unsigned target = TARGET(in->param1), slot = in->param2 >> 8 & 0x0F;
	bool encrypt = target == TARGET_REPLY_ENCRYPTED, split = ALGORITHM(in->param1) == ALGORITHM_PRF && (k->details & PRF_SPLIT) != 0 && k->result_len == 64;
	bool shown = target >= TARGET_REPLY || split;
	if (shown && (!nh_chip_io_output_allowed(chip, PROTECTION(chip->state.config[CFG_CHIP_OPTIONS + 1]), encrypt) || (encrypt && !nh_chip_io_key(chip))))
		return NH_ATECC_EXECUTION_ERROR;
	size_t len = split && target < TARGET_REPLY ? 32 : k->result_len;
	if ((target == TARGET_SLOT && !slot_takes(chip, slot, len)) || (target == TARGET_TEMP_UPPER && (len != 32 || !chip->temp.valid)) || (target == TARGET_ALTERNATE && len != 32))
		return NH_ATECC_EXECUTION_ERROR;
	if (target == TARGET_TEMP) {
		nh_chip_register_set(&chip->temp, k->result, len, false);
	} else if (target == TARGET_TEMP_UPPER) {
		memcpy(chip->temp.value + 32, k->result, 32);
		chip->temp.len = 64;
	} else if (target == TARGET_ALTERNATE) {
		nh_chip_register_set(&chip->alternate, k->result, len, false);
	} else if (target == TARGET_SLOT) {
		nh_chip_store(chip, chip->state.slots[slot], k->result, len);
	} else {
		reply_put(chip, k->result, len, encrypt, out);
		return NH_ATECC_SUCCESS;
	}
	if (split)
		reply_put(chip, k->result + 32, 32, false, out);
	return NH_ATECC_SUCCESS;
}

uint8_t nh_chip_run_kdf(struct nh_chip *chip, const struct nh_atecc_packet *in, struct nh_chip_reply *out)
{
	struct kdf k = {.details = 0};
	uint8_t status = NH_ATECC_EXECUTION_ERROR;
	if (!parses(in, &k))
		return NH_ATECC_PARSE_ERROR;
	if (nh_chip_config_locked(chip) && key_find(chip, in, &k) && compute(chip, in, &k))
		status = deliver(chip, in, &k, out);
	nh_chip_wipe(&k, sizeof(k));
	return status;
}
