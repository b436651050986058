/*
 * Keys that come from outside or from other keys: PrivWrite and DeriveKey.
 * source: reference/nerveskey "5.12"
 */
#include "chip_int.h"

#define PRIV_ENCRYPTED 0x40u
#define PRIV_LEN 36u
#define RULE_ENCRYPT 4u  /* WriteConfig for PrivWrite */
#define RULE_DERIVE 2u   /* WriteConfig for DeriveKey */
#define RULE_PARENT 1u   /* the parent is WriteKey's slot, not the target itself */
#define RULE_MAC 8u
#define DERIVE_INPUT 0x04u /* must be TempKey's SourceFlag */

/* Takes the encryption off, and says whether the MAC fits. The last four bytes are under a key made of the first one. */
static bool priv_decrypt(struct nh_chip *chip, const struct nh_atecc_packet *in, uint8_t plain[PRIV_LEN])
{
	struct nh_chip_message message = {.len = 0};
	uint8_t more[32], mac[32];
	nh_p256_sha256(nh_slice_of(chip->temp.value, 32), more);
	nh_chip_xor(plain, chip->temp.value, 32);
	nh_chip_xor(plain + 32, more, 4);
	nh_chip_say(&message, chip->temp.value, 32);
	nh_chip_say_command(&message, in);
	nh_chip_say_serial(&message, chip);
	nh_chip_say_zeros(&message, 21);
	nh_chip_say(&message, plain, PRIV_LEN);
	nh_chip_hash(&message, mac);
	nh_chip_wipe(more, sizeof(more));
	nh_chip_register_clear(&chip->temp);
	return nh_slice_eq_ct(nh_slice_of(mac, 32), nh_slice_skip(in->data, PRIV_LEN));
}

uint8_t nh_chip_run_priv_write(struct nh_chip *chip, const struct nh_atecc_packet *in, struct nh_chip_reply *out)
{
	struct nh_p256_key key;
	uint8_t plain[PRIV_LEN];
	unsigned slot = in->param2;
	bool encrypted = (in->param1 & PRIV_ENCRYPTED) != 0;
	if (slot >= NH_ATECC_SLOTS)
		return NH_ATECC_PARSE_ERROR;
	if (!nh_chip_config_locked(chip) || !nh_chip_is_private_slot(chip, slot) || nh_chip_slot_locked(chip, slot) || (!encrypted && nh_chip_data_locked(chip)))
		return NH_ATECC_EXECUTION_ERROR;
	uint16_t config = nh_chip_slot_config(chip, slot);
	if (encrypted && ((SLOT_WRITE_RULE(config) & RULE_ENCRYPT) == 0 || !nh_chip_session_with(chip, SLOT_WRITE_KEY(config))))
		return NH_ATECC_EXECUTION_ERROR;
	memcpy(plain, in->data.ptr, PRIV_LEN);
	if (encrypted && !priv_decrypt(chip, in, plain)) {
		nh_chip_wipe(plain, sizeof(plain));
		return NH_ATECC_MISCOMPARE;
	}
	nh_rc rc = nh_p256_from_scalar(plain + 4, &key);
	nh_chip_wipe(plain, sizeof(plain));
	if (rc != NH_OK)
		return NH_ATECC_EXECUTION_ERROR;
	nh_chip_key_store(chip, slot, key.scalar);
	nh_p256_key_wipe(&key);
	return NH_ATECC_SUCCESS;
}

/* The caller knows the parent: the MAC that authorizes the derivation, over the command alone. */
static bool derive_authorized(const struct nh_chip *chip, const struct nh_atecc_packet *in, unsigned parent)
{
	struct nh_chip_message message = {.len = 0};
	uint8_t mac[32];
	nh_chip_say(&message, chip->state.slots[parent], 32);
	nh_chip_say_command(&message, in);
	nh_chip_say_serial(&message, chip);
	nh_chip_hash(&message, mac);
	return nh_slice_eq_ct(nh_slice_of(mac, 32), in->data);
}

uint8_t nh_chip_run_derive_key(struct nh_chip *chip, const struct nh_atecc_packet *in, struct nh_chip_reply *out)
{
	struct nh_chip_message message = {.len = 0};
	uint8_t derived[32];
	unsigned slot = in->param2;
	if (slot >= NH_ATECC_SLOTS)
		return NH_ATECC_PARSE_ERROR;
	uint16_t config = nh_chip_slot_config(chip, slot);
	unsigned rule = SLOT_WRITE_RULE(config), parent = (rule & RULE_PARENT) != 0 ? SLOT_WRITE_KEY(config) : slot;
	if (!nh_chip_config_locked(chip) || (rule & RULE_DERIVE) == 0 || nh_chip_slot_locked(chip, slot))
		return NH_ATECC_EXECUTION_ERROR;
	if ((nh_chip_key_config(chip, slot) & KEY_PRIVATE) != 0 || (nh_chip_key_config(chip, parent) & KEY_PRIVATE) != 0)
		return NH_ATECC_EXECUTION_ERROR;
	if (!chip->temp.valid || chip->temp.private_key || chip->temp.no_mac || chip->temp.from_input != ((in->param1 & DERIVE_INPUT) != 0))
		return NH_ATECC_EXECUTION_ERROR;
	if (((nh_chip_key_config(chip, parent) & KEY_REQ_RANDOM) != 0 && chip->temp.from_input) || ((rule & RULE_MAC) != 0 && in->data.len == 0))
		return NH_ATECC_EXECUTION_ERROR;
	if ((rule & RULE_MAC) != 0 && !derive_authorized(chip, in, parent))
		return NH_ATECC_MISCOMPARE;
	if (nh_chip_key_use(chip, parent) != NH_ATECC_SUCCESS)
		return NH_ATECC_EXECUTION_ERROR;
	nh_chip_say(&message, chip->state.slots[parent], 32);
	nh_chip_say_command(&message, in);
	nh_chip_say_serial(&message, chip);
	nh_chip_say_zeros(&message, 25);
	nh_chip_say(&message, chip->temp.value, 32);
	nh_chip_hash(&message, derived);
	nh_chip_store(chip, chip->state.slots[slot], derived, sizeof(derived));
	nh_chip_wipe(derived, sizeof(derived));
	nh_chip_register_clear(&chip->temp);
	return NH_ATECC_SUCCESS;
}
