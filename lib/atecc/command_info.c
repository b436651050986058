/*
 * Info: the revision, from which the model follows, and the 608's persistent latch.
 * source: reference/nerveskey "4.4", "5.8"
 */
#include "chip_int.h"

#define REVISION 0u
#define LATCH 4u
#define LATCH_READ 0u

const char *nh_atecc_model_name(nh_atecc_model model)
{
	static const char *const names[] = {
		[NH_ATECC_UNKNOWN] = "unknown",
		[NH_ATECC_508A] = "ATECC508A",
		[NH_ATECC_608A] = "ATECC608A",
		[NH_ATECC_608B] = "ATECC608B",
	};
	return (unsigned)model < NH_ARRAY_LEN(names) ? names[model] : names[NH_ATECC_UNKNOWN];
}

nh_rc nh_atecc_revision(struct nh_atecc *chip, uint8_t out[4], struct nh_err *err)
{
	struct nh_atecc_command c = {.opcode = NH_ATECC_INFO, .param1 = REVISION, .reply = out, .reply_len = 4};
	return nh_atecc_repeatable(chip, &c, err);
}

nh_atecc_model nh_atecc_model_of(const uint8_t revision[4])
{
	if (revision[0] != 0 || revision[1] != 0)
		return NH_ATECC_UNKNOWN; /* 108 and 204 */
	if (revision[2] == 0x50)
		return NH_ATECC_508A;
	if (revision[2] != 0x60)
		return NH_ATECC_UNKNOWN;
	return revision[3] < 3 ? NH_ATECC_608A : NH_ATECC_608B;
}

nh_rc nh_atecc_latch_get(struct nh_atecc *chip, bool *set, struct nh_err *err)
{
	uint8_t state[4];
	struct nh_atecc_command c = {.opcode = NH_ATECC_INFO, .param1 = LATCH, .param2 = LATCH_READ, .reply = state, .reply_len = 4};
	*set = false;
	NH_TRY(nh_atecc_repeatable(chip, &c, err));
	*set = state[0] == 1;
	return NH_OK;
}
