/*
 * The two monotonic counters. An increment whose answer is lost is looked up before it is repeated.
 * source: reference/nerveskey "5.12"
 */
#include "base/cursor.h"
#include "chip_int.h"

#define COUNTER_READ 0u
#define COUNTER_INCREMENT 1u
#define COUNTERS 2u

static struct nh_atecc_command counter_command(uint8_t mode, unsigned counter, uint8_t reply[4])
{
	return (struct nh_atecc_command){.opcode = NH_ATECC_COUNTER, .param1 = mode, .param2 = (uint16_t)counter, .reply = reply, .reply_len = 4};
}

static uint32_t counter_value(const uint8_t reply[4])
{
	struct nh_rd r = nh_rd_of(nh_slice_of(reply, 4));
	return nh_rd_u32le(&r);
}

static nh_rc counter_read(struct nh_atecc *chip, unsigned counter, uint32_t *value, struct nh_err *err)
{
	uint8_t reply[4];
	struct nh_atecc_command c = counter_command(COUNTER_READ, counter, reply);
	NH_TRY(nh_atecc_repeatable(chip, &c, err));
	*value = counter_value(reply);
	return NH_OK;
}

static nh_rc counter_increment(struct nh_atecc *chip, unsigned counter, uint32_t *value, struct nh_err *err)
{
	uint32_t before;
	NH_TRY(counter_read(chip, counter, &before, err));
	for (unsigned attempt = 0; attempt < NH_ATECC_ATTEMPTS; attempt++) {
		uint8_t reply[4];
		struct nh_atecc_command c = counter_command(COUNTER_INCREMENT, counter, reply);
		nh_rc rc = nh_atecc_exchange(chip, &c, err);
		if (rc == NH_OK)
			*value = counter_value(reply);
		if (rc != NH_EAGAIN)
			return rc;
		nh_rc trouble = chip->trouble;
		if (nh_atecc_recover(chip, NULL) != NH_OK || counter_read(chip, counter, value, NULL) != NH_OK)
			return nh_atecc_fail(chip, &c, err, trouble, "the answer was lost and the chip cannot be asked: the counter stands at %u or %u", before, before + 1);
		if (*value != before)
			return NH_OK; /* the bus was ours all the time: nobody else counted */
		chip->trouble = trouble;
	}
	return chip->trouble;
}

nh_rc nh_atecc_counter(struct nh_atecc *chip, unsigned counter, bool increment, uint32_t *value, struct nh_err *err)
{
	bool own;
	*value = 0;
	if (counter >= COUNTERS)
		return nh_atecc_fail(chip, NULL, err, NH_EINVAL, "counter %u: a chip has counters 0 and 1", counter);
	NH_TRY(nh_atecc_transaction_open(chip, &own, err));
	nh_rc rc = increment ? counter_increment(chip, counter, value, err) : counter_read(chip, counter, value, err);
	nh_atecc_transaction_close(chip, own);
	return rc;
}
