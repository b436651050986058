/*
 * Read and Write: addresses, what a zone allows in which state of the locks, encrypted transfers of slots.
 * source: reference/nerveskey "4.2", "4.7", "5.1", "5.2"
 */
#include "chip_int.h"

#define ZONE(mode) ((mode) & 3u)
#define MODE_BLOCK 0x80u
#define MODE_ENCRYPTED 0x40u
#define MAC_LEN 32u
#define OTP_MODE_CONSUMPTION 0x55u
#define VALIDATED 0x50u /* upper half of the first byte of a public key that has to be validated */
#define INVALIDATED 0xA0u

/* WriteConfig of a slot that Write may use. source: reference/nerveskey "4.3" */
#define RULE_ALWAYS 0u
#define RULE_PUB_INVALID 1u
#define RULE_ENCRYPT 4u

struct place {
	uint8_t *at;
	size_t len;  /* 4 or 32 */
	size_t held; /* of them, what the slot's end leaves */
	unsigned byte, slot;
};

/* A word or a block of a flat zone. */
static bool place_flat(uint8_t *zone, size_t size, const struct nh_atecc_packet *in, struct place *out)
{
	unsigned word = (in->param1 & MODE_BLOCK) != 0 ? in->param2 & ~7u : in->param2;
	out->byte = word * NH_ATECC_WORD;
	out->held = out->len;
	if (out->byte + out->len > size)
		return false;
	out->at = zone + out->byte;
	return true;
}

/* The last block of a slot is partial; words are within the slot. */
static bool place_slot(struct nh_chip *chip, const struct nh_atecc_packet *in, struct place *out)
{
	unsigned block = in->param2 >> 8, word = in->param2 & 7;
	out->slot = in->param2 >> 3 & 0x1F;
	size_t size = nh_atecc_slot_len(out->slot);
	out->byte = block * NH_ATECC_BLOCK + ((in->param1 & MODE_BLOCK) != 0 ? 0 : word * NH_ATECC_WORD);
	if (out->byte >= size)
		return false;
	out->held = out->len < size - out->byte ? out->len : size - out->byte;
	out->at = chip->state.slots[out->slot] + out->byte;
	return true;
}

static bool place_find(struct nh_chip *chip, const struct nh_atecc_packet *in, struct place *out)
{
	*out = (struct place){.len = (in->param1 & MODE_BLOCK) != 0 ? NH_ATECC_BLOCK : NH_ATECC_WORD};
	switch (ZONE(in->param1)) {
	case NH_ATECC_ZONE_CONFIG:
		return place_flat(chip->state.config, NH_ATECC_CONFIG_LEN, in, out);
	case NH_ATECC_ZONE_OTP:
		return place_flat(chip->state.otp, NH_ATECC_OTP_LEN, in, out);
	case NH_ATECC_ZONE_DATA:
		return place_slot(chip, in, out);
	default:
		return false;
	}
}

/* ---- Read */

static uint8_t read_slot(struct nh_chip *chip, const struct place *place, struct nh_chip_reply *out)
{
	uint16_t slot = nh_chip_slot_config(chip, place->slot);
	bool secret = (slot & SLOT_SECRET) != 0, encrypted = (slot & SLOT_ENCRYPT_READ) != 0;
	if ((nh_chip_key_config(chip, place->slot) & KEY_PRIVATE) != 0 || secret != encrypted)
		return NH_ATECC_EXECUTION_ERROR;
	if (secret && (place->len != NH_ATECC_BLOCK || !nh_chip_session_with(chip, SLOT_READ_KEY(slot))))
		return NH_ATECC_EXECUTION_ERROR;
	memcpy(out->bytes, place->at, place->held);
	out->len = place->len;
	if (place->byte == 0 && nh_chip_is_public_slot(chip, place->slot) && (nh_chip_key_config(chip, place->slot) & KEY_PUB_INFO) != 0)
		out->bytes[0] = (uint8_t)((out->bytes[0] & 0x0F) | ((chip->state.key_validated >> place->slot & 1) != 0 ? VALIDATED : INVALIDATED));
	if (secret) {
		nh_chip_xor(out->bytes, chip->temp.value, NH_ATECC_BLOCK);
		nh_chip_register_clear(&chip->temp);
	}
	return NH_ATECC_SUCCESS;
}

uint8_t nh_chip_run_read(struct nh_chip *chip, const struct nh_atecc_packet *in, struct nh_chip_reply *out)
{
	struct place place;
	memset(out->bytes, 0, NH_ATECC_BLOCK);
	if (!place_find(chip, in, &place))
		return NH_ATECC_PARSE_ERROR;
	if (ZONE(in->param1) != NH_ATECC_ZONE_CONFIG && !nh_chip_data_locked(chip))
		return NH_ATECC_EXECUTION_ERROR;
	if (ZONE(in->param1) == NH_ATECC_ZONE_DATA)
		return read_slot(chip, &place, out);
	memcpy(out->bytes, place.at, place.len);
	out->len = place.len;
	return NH_ATECC_SUCCESS;
}

/* ---- Write */

/* Bytes 0-15 are the factory's, 84-87 belong to UpdateExtra and Lock: a block or word that has any of them is refused whole. */
static uint8_t write_config(struct nh_chip *chip, const struct nh_atecc_packet *in, const struct place *place)
{
	unsigned end = place->byte + (unsigned)place->len;
	bool protected = place->byte < CFG_ADDRESS || (place->byte < CFG_SLOT_LOCKED && end > CFG_USER_EXTRA);
	if (nh_chip_config_locked(chip) || (in->param1 & MODE_ENCRYPTED) != 0 || protected)
		return NH_ATECC_EXECUTION_ERROR;
	nh_chip_store(chip, place->at, in->data.ptr, place->len);
	return NH_ATECC_SUCCESS;
}

static uint8_t write_otp(struct nh_chip *chip, const struct nh_atecc_packet *in, const struct place *place)
{
	uint8_t left[NH_ATECC_BLOCK];
	if (!nh_chip_config_locked(chip) || (in->param1 & MODE_ENCRYPTED) != 0)
		return NH_ATECC_EXECUTION_ERROR;
	memcpy(left, in->data.ptr, place->len);
	if (!nh_chip_data_locked(chip)) {
		if (place->len != NH_ATECC_BLOCK)
			return NH_ATECC_EXECUTION_ERROR;
	} else if (nh_chip_is_608(chip) || chip->state.config[CFG_MODE_18] != OTP_MODE_CONSUMPTION) {
		return NH_ATECC_EXECUTION_ERROR;
	} else {
		for (size_t i = 0; i < place->len; i++)
			left[i] &= place->at[i];
	}
	nh_chip_store(chip, place->at, left, place->len);
	return NH_ATECC_SUCCESS;
}

/* What WriteConfig says about a clear write once the data zone is locked. */
static bool clear_write_allowed(const struct nh_chip *chip, const struct place *place)
{
	uint16_t slot = nh_chip_slot_config(chip, place->slot);
	unsigned rule = SLOT_WRITE_RULE(slot);
	bool invalid_key = nh_chip_is_public_slot(chip, place->slot) && (chip->state.key_validated >> place->slot & 1) == 0;
	if (rule != RULE_ALWAYS && !(rule == RULE_PUB_INVALID && invalid_key))
		return false;
	return place->len == NH_ATECC_BLOCK || (slot & SLOT_SECRET) == 0;
}

/* The plain bytes of an encrypted write, if its MAC is right. source: reference/nerveskey "5.2" */
static uint8_t decrypt(struct nh_chip *chip, const struct nh_atecc_packet *in, uint8_t plain[NH_ATECC_BLOCK])
{
	struct nh_chip_message message = {.len = 0};
	uint8_t mac[MAC_LEN];
	memcpy(plain, in->data.ptr, NH_ATECC_BLOCK);
	nh_chip_xor(plain, chip->temp.value, NH_ATECC_BLOCK);
	nh_chip_say(&message, chip->temp.value, NH_ATECC_BLOCK);
	nh_chip_say_command(&message, in);
	nh_chip_say_serial(&message, chip);
	nh_chip_say_zeros(&message, 25);
	nh_chip_say(&message, plain, NH_ATECC_BLOCK);
	nh_chip_hash(&message, mac);
	nh_chip_register_clear(&chip->temp);
	return nh_slice_eq_ct(nh_slice_of(mac, MAC_LEN), nh_slice_skip(in->data, NH_ATECC_BLOCK)) ? NH_ATECC_SUCCESS : NH_ATECC_MISCOMPARE;
}

static void slot_store(struct nh_chip *chip, const struct place *place, const uint8_t *bytes)
{
	uint16_t bit = (uint16_t)(1u << place->slot);
	nh_chip_store(chip, place->at, bytes, place->held);
	if ((chip->state.key_validated & bit) != 0) {
		chip->state.key_validated &= (uint16_t)~bit; /* another key, or part of one: to be validated again */
		chip->dirty = true;
	}
}

static uint8_t write_slot(struct nh_chip *chip, const struct nh_atecc_packet *in, const struct place *place)
{
	uint16_t slot = nh_chip_slot_config(chip, place->slot);
	bool encrypted = (in->param1 & MODE_ENCRYPTED) != 0;
	uint8_t plain[NH_ATECC_BLOCK] = {0};
	if (!nh_chip_config_locked(chip) || nh_chip_slot_locked(chip, place->slot) || (nh_chip_key_config(chip, place->slot) & KEY_PRIVATE) != 0)
		return NH_ATECC_EXECUTION_ERROR;
	bool open = !nh_chip_data_locked(chip); /* WriteConfig doesn't count yet: the command alone says whether it is encrypted */
	if (!encrypted) {
		if (open ? place->len != NH_ATECC_BLOCK : !clear_write_allowed(chip, place))
			return NH_ATECC_EXECUTION_ERROR;
		slot_store(chip, place, in->data.ptr);
		return NH_ATECC_SUCCESS;
	}
	if ((!open && (SLOT_WRITE_RULE(slot) & RULE_ENCRYPT) == 0) || !nh_chip_session_with(chip, SLOT_WRITE_KEY(slot)))
		return NH_ATECC_EXECUTION_ERROR;
	uint8_t status = decrypt(chip, in, plain);
	if (status == NH_ATECC_SUCCESS)
		slot_store(chip, place, plain);
	nh_chip_wipe(plain, sizeof(plain));
	return status;
}

uint8_t nh_chip_run_write(struct nh_chip *chip, const struct nh_atecc_packet *in, struct nh_chip_reply *out)
{
	struct place place;
	bool encrypted = (in->param1 & MODE_ENCRYPTED) != 0;
	if (!place_find(chip, in, &place) || in->data.len != place.len + (encrypted ? MAC_LEN : 0) || (encrypted && place.len != NH_ATECC_BLOCK))
		return NH_ATECC_PARSE_ERROR;
	switch (ZONE(in->param1)) {
	case NH_ATECC_ZONE_CONFIG:
		return write_config(chip, in, &place);
	case NH_ATECC_ZONE_OTP:
		return write_otp(chip, in, &place);
	default:
		return write_slot(chip, in, &place);
	}
}
