/*
 * ECDH: a secret shared with the holder of another key. Where it goes, the bus, the next slot or TempKey, is the configuration's decision on a 508A and, within what the
 * configuration allows, the mode's on a 608.
 * source: reference/nerveskey "5.10"
 */
#include "chip_int.h"

#define FROM_TEMP 0x01u
#define ENCRYPT 0x02u
#define COPY(mode) ((mode) >> 2 & 3u)
#define COPY_AS_CONFIGURED 0u
#define COPY_SLOT 1u
#define COPY_TEMP 2u
#define COPY_REPLY 3u
#define PROTECTION(options) ((options) & 3u) /* ChipOptions, high byte */

/* Where the secret goes; false where the configuration does not want it there. */
static bool target_find(const struct nh_chip *chip, const struct nh_atecc_packet *in, unsigned *target)
{
	bool from_temp = (in->param1 & FROM_TEMP) != 0;
	bool to_slot = !from_temp && (SLOT_READ_KEY(nh_chip_slot_config(chip, in->param2)) & PRIVATE_ECDH_TO_SLOT) != 0;
	*target = COPY(in->param1);
	if (*target == COPY_AS_CONFIGURED)
		*target = to_slot ? COPY_SLOT : COPY_REPLY;
	if (*target == COPY_SLOT)
		return !from_temp && in->param2 % 2 == 0 && !nh_chip_slot_locked(chip, in->param2 | 1u) && (nh_chip_key_config(chip, in->param2 | 1u) & KEY_PRIVATE) == 0;
	if (*target == COPY_TEMP)
		return true;
	bool encrypted = (in->param1 & ENCRYPT) != 0;
	if (to_slot || (encrypted && !nh_chip_io_key(chip)))
		return false;
	return !nh_chip_is_608(chip) || nh_chip_io_output_allowed(chip, PROTECTION(chip->state.config[CFG_CHIP_OPTIONS + 1]), encrypted);
}

static bool key_find(struct nh_chip *chip, const struct nh_atecc_packet *in, struct nh_p256_key *key)
{
	if ((in->param1 & FROM_TEMP) != 0)
		return chip->temp.valid && chip->temp.private_key && nh_p256_from_scalar(chip->temp.value, key) == NH_OK;
	if (!nh_chip_is_private_slot(chip, in->param2) || (SLOT_READ_KEY(nh_chip_slot_config(chip, in->param2)) & PRIVATE_ECDH) == 0)
		return false;
	if (!nh_chip_key_usable(chip, in->param2) || !nh_chip_key_load(chip, in->param2, key))
		return false;
	return true;
}

static void deliver(struct nh_chip *chip, const struct nh_atecc_packet *in, unsigned target, const uint8_t shared[32], struct nh_chip_reply *out)
{
	if (target == COPY_SLOT) {
		nh_chip_store(chip, chip->state.slots[in->param2 | 1u], shared, 32);
	} else if (target == COPY_TEMP) {
		nh_chip_register_set(&chip->temp, shared, 32, false);
	} else {
		memcpy(out->bytes, shared, 32);
		out->len = 32;
		if ((in->param1 & ENCRYPT) != 0)
			nh_chip_io_encrypt(chip, out);
	}
}

uint8_t nh_chip_run_ecdh(struct nh_chip *chip, const struct nh_atecc_packet *in, struct nh_chip_reply *out)
{
	struct nh_p256_key key;
	uint8_t shared[32];
	unsigned target;
	bool from_temp = (in->param1 & FROM_TEMP) != 0;
	if (!from_temp && in->param2 >= NH_ATECC_SLOTS)
		return NH_ATECC_PARSE_ERROR;
	if (!nh_chip_config_locked(chip) || !target_find(chip, in, &target) || !key_find(chip, in, &key))
		return NH_ATECC_EXECUTION_ERROR;
	nh_rc rc = nh_p256_ecdh(&key, in->data.ptr, shared);
	nh_p256_key_wipe(&key);
	if (rc != NH_OK)
		return nh_chip_is_608(chip) ? NH_ATECC_EXECUTION_ERROR : NH_ATECC_ECC_FAULT;
	if (!from_temp)
		(void)nh_chip_key_use(chip, in->param2); /* it was usable: this counts */
	deliver(chip, in, target, shared, out);
	nh_chip_wipe(shared, sizeof(shared));
	return NH_ATECC_SUCCESS;
}
