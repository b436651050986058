/*
 * GenKey: a new private key, or the public key of the one that is there.
 * source: reference/nerveskey "5.3"
 */
#include "chip_int.h"

#define CREATE 0x04u
#define PUBLIC 0x00u
#define FAULT_RETRIES 3u

static nh_rc genkey(struct nh_atecc *chip, unsigned slot, uint8_t mode, uint8_t public_key[64], struct nh_err *err)
{
	if (slot >= NH_ATECC_SLOTS)
		return nh_atecc_fail(chip, NULL, err, NH_EINVAL, "slot %u: a chip has slots 0 to %u", slot, NH_ATECC_SLOTS - 1);
	struct nh_atecc_command c = {.opcode = NH_ATECC_GENKEY, .param1 = mode, .param2 = (uint16_t)slot, .reply = public_key, .reply_len = 64};
	return nh_atecc_repeatable(chip, &c, err);
}

nh_rc nh_atecc_genkey(struct nh_atecc *chip, unsigned slot, uint8_t public_key[64], struct nh_err *err)
{
	/* Now and then the number drawn makes no key. A lost answer is repeated as well: the caller wants a new key, and the one nobody has seen is no loss. */
	nh_rc rc;
	unsigned attempt = 0;
	do
		rc = genkey(chip, slot, CREATE, public_key, err);
	while (rc == NH_EINTERNAL && chip->last_status == NH_ATECC_ECC_FAULT && attempt++ < FAULT_RETRIES);
	return rc;
}

nh_rc nh_atecc_public_key(struct nh_atecc *chip, unsigned slot, uint8_t public_key[64], struct nh_err *err)
{
	return genkey(chip, slot, PUBLIC, public_key, err);
}
