/*
 * Read: configuration, OTP, slots. 32 bytes at a time where they lie whole inside of what is asked for, else words.
 * source: reference/nerveskey "4.2", "5.1"
 */
#include "chip_int.h"

struct read_job {
	nh_atecc_zone zone;
	unsigned slot, offset;
	uint8_t *out;
	size_t len;
};

static nh_rc read_piece(struct nh_atecc *chip, const struct read_job *job, size_t at, size_t piece, struct nh_err *err)
{
	uint8_t bytes[NH_ATECC_BLOCK];
	unsigned byte = job->offset + (unsigned)at;
	struct nh_atecc_command c = {
		.opcode = NH_ATECC_READ,
		.param1 = (uint8_t)(job->zone | (piece == NH_ATECC_BLOCK ? 0x80u : 0)),
		.param2 = nh_atecc_address(job->zone, job->slot, byte),
		.reply = bytes,
		.reply_len = piece,
	};
	NH_TRY(nh_atecc_repeatable(chip, &c, err));
	size_t wanted = job->len - at < piece ? job->len - at : piece;
	memmove(job->out + at, bytes, wanted);
	return NH_OK;
}

static nh_rc read_all(struct nh_atecc *chip, const struct read_job *job, struct nh_err *err)
{
	bool own;
	NH_TRY(nh_atecc_transaction_open(chip, &own, err));
	nh_rc rc = NH_OK;
	for (size_t at = 0; rc == NH_OK && at < job->len;) {
		size_t piece = job->len - at >= NH_ATECC_BLOCK ? NH_ATECC_BLOCK : NH_ATECC_WORD;
		rc = read_piece(chip, job, at, piece, err);
		at += piece;
	}
	nh_atecc_transaction_close(chip, own);
	return rc;
}

nh_rc nh_atecc_read_config(struct nh_atecc *chip, uint8_t out[NH_ATECC_CONFIG_LEN], struct nh_err *err)
{
	return read_all(chip, &(struct read_job){.zone = NH_ATECC_ZONE_CONFIG, .out = out, .len = NH_ATECC_CONFIG_LEN}, err);
}

nh_rc nh_atecc_read_otp(struct nh_atecc *chip, uint8_t out[NH_ATECC_OTP_LEN], struct nh_err *err)
{
	return read_all(chip, &(struct read_job){.zone = NH_ATECC_ZONE_OTP, .out = out, .len = NH_ATECC_OTP_LEN}, err);
}

nh_rc nh_atecc_read_slot(struct nh_atecc *chip, unsigned slot, uint8_t *out, size_t len, struct nh_err *err)
{
	if (len == 0 || len > nh_atecc_slot_len(slot))
		return nh_atecc_fail(chip, NULL, err, NH_EINVAL, "%zu bytes of slot %u: it has %zu", len, slot, nh_atecc_slot_len(slot));
	return read_all(chip, &(struct read_job){.zone = NH_ATECC_ZONE_DATA, .slot = slot, .out = out, .len = len}, err);
}

nh_rc nh_atecc_read_word(struct nh_atecc *chip, unsigned config_byte, uint8_t out[4], struct nh_err *err)
{
	return read_all(chip, &(struct read_job){.zone = NH_ATECC_ZONE_CONFIG, .offset = config_byte, .out = out, .len = NH_ATECC_WORD}, err);
}

void nh_atecc_serial_of(const uint8_t config[NH_ATECC_CONFIG_LEN], uint8_t out[NH_ATECC_SERIAL_LEN])
{
	memmove(out, config, 4);
	memmove(out + 4, config + 8, 5);
}
