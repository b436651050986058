/*
 * Lock: irreversible, so never sent again before the chip was asked whether the first one took.
 * source: reference/nerveskey "4.3", "5.6"
 */
#include "chip_int.h"

#define LOCK_BYTES 84u  /* the word with LockValue (86) and LockConfig (87) */
#define SLOT_LOCKED 88u /* one bit a slot, 1 = open */

struct lock_job {
	struct nh_atecc_command command;
	const char *what;
	unsigned word, byte; /* where the configuration shows it */
	uint8_t mask;        /* bits that are 0 when locked */
};

static nh_rc lock_look(struct nh_atecc *chip, const struct lock_job *job, bool *locked, struct nh_err *err)
{
	uint8_t word[4];
	NH_TRY(nh_atecc_read_word(chip, job->word, word, err));
	*locked = (word[job->byte] & job->mask) == 0;
	return NH_OK;
}

static nh_rc lock_in_transaction(struct nh_atecc *chip, const struct lock_job *job, struct nh_err *err)
{
	for (unsigned attempt = 0; attempt < NH_ATECC_ATTEMPTS; attempt++) {
		bool locked = false;
		nh_rc rc = nh_atecc_exchange(chip, &job->command, err);
		if (rc != NH_EAGAIN)
			return rc;
		nh_rc trouble = chip->trouble;
		struct nh_err looking = NH_ERR_INIT;
		if (nh_atecc_recover(chip, &looking) != NH_OK || lock_look(chip, job, &locked, &looking) != NH_OK)
			return nh_atecc_fail(chip, &job->command, err, trouble,
					     "the answer was lost and the chip cannot be asked: whether %s is locked is not known. Read the configuration before anything else", job->what);
		if (locked)
			return NH_OK;
		chip->trouble = trouble;
	}
	return chip->trouble; /* looked each time: it is not locked, and err says why */
}

static nh_rc lock_run(struct nh_atecc *chip, const struct lock_job *job, struct nh_err *err)
{
	bool own;
	NH_TRY(nh_atecc_transaction_open(chip, &own, err));
	nh_rc rc = lock_in_transaction(chip, job, err);
	nh_atecc_transaction_close(chip, own);
	return rc;
}

nh_rc nh_atecc_lock_config(struct nh_atecc *chip, uint16_t crc, struct nh_err *err)
{
	return lock_run(chip, &(struct lock_job){{.opcode = NH_ATECC_LOCK, .param1 = 0, .param2 = crc}, "the configuration", LOCK_BYTES, 3, 0xFF}, err);
}

nh_rc nh_atecc_lock_data(struct nh_atecc *chip, uint16_t crc, struct nh_err *err)
{
	return lock_run(chip, &(struct lock_job){{.opcode = NH_ATECC_LOCK, .param1 = 1, .param2 = crc}, "the data zone", LOCK_BYTES, 2, 0xFF}, err);
}

nh_rc nh_atecc_lock_slot(struct nh_atecc *chip, unsigned slot, struct nh_err *err)
{
	if (slot >= NH_ATECC_SLOTS)
		return nh_atecc_fail(chip, NULL, err, NH_EINVAL, "slot %u: a chip has slots 0 to %u", slot, NH_ATECC_SLOTS - 1);
	struct lock_job job = {{.opcode = NH_ATECC_LOCK, .param1 = (uint8_t)(slot << 2 | 2)}, "the slot", SLOT_LOCKED, slot / 8, (uint8_t)(1 << slot % 8)};
	return lock_run(chip, &job, err);
}
