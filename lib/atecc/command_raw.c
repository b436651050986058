/*
 * Any command, for programs that know what they do. Repeated only where repeating is known to change nothing.
 */
#include "chip_int.h"

#define INFO_LATCH 4u
#define REPLY_MAX (NH_ATECC_RESPONSE_MAX - 3)

struct raw_job {
	struct nh_atecc_command command;
	size_t *reply_len;
};

static nh_rc raw_step(struct nh_atecc *chip, void *arg, struct nh_err *err)
{
	struct raw_job *job = arg;
	return nh_atecc_exchange_any(chip, &job->command, job->reply_len, err);
}

static bool changes_nothing(const struct nh_atecc_command *c)
{
	return c->opcode == NH_ATECC_READ || c->opcode == NH_ATECC_RANDOM || (c->opcode == NH_ATECC_INFO && c->param1 != INFO_LATCH);
}

nh_rc nh_atecc_raw(struct nh_atecc *chip, uint8_t opcode, uint8_t param1, uint16_t param2, nh_slice data, uint8_t *reply, size_t *reply_len, struct nh_err *err)
{
	struct raw_job job = {{opcode, param1, param2, data, reply, REPLY_MAX}, reply_len};
	*reply_len = 0;
	if (changes_nothing(&job.command))
		return nh_atecc_sequence(chip, raw_step, &job, err);
	bool own;
	NH_TRY(nh_atecc_transaction_open(chip, &own, err));
	nh_rc rc = raw_step(chip, &job, err);
	nh_atecc_transaction_close(chip, own);
	return rc == NH_EAGAIN ? chip->trouble : rc;
}
