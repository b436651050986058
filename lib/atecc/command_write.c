/*
 * Write: configuration, OTP, slots, always in clear. Writing the same bytes twice is writing them once, so a write whose answer is lost is repeated.
 * source: reference/nerveskey "4.2", "5.2", "6.3"
 */
#include "chip_int.h"

static nh_rc write_piece(struct nh_atecc *chip, nh_atecc_zone zone, unsigned slot, unsigned byte, nh_slice bytes, struct nh_err *err)
{
	struct nh_atecc_command c = {
		.opcode = NH_ATECC_WRITE,
		.param1 = (uint8_t)(zone | (bytes.len == NH_ATECC_BLOCK ? 0x80u : 0)),
		.param2 = nh_atecc_address(zone, slot, byte),
		.data = bytes,
	};
	return nh_atecc_repeatable(chip, &c, err);
}

/* What a program may write before the lock, in the pieces in which the zone's protected bytes leave it whole. */
static const struct {
	uint8_t byte, len;
} config_pieces[] = {{16, 4}, {20, 4}, {24, 4}, {28, 4}, {32, 32}, {64, 4}, {68, 4}, {72, 4}, {76, 4}, {80, 4}, {92, 4}, {96, 32}};

nh_rc nh_atecc_write_config(struct nh_atecc *chip, const uint8_t config[NH_ATECC_CONFIG_LEN], struct nh_err *err)
{
	bool own;
	NH_TRY(nh_atecc_transaction_open(chip, &own, err));
	nh_rc rc = NH_OK;
	for (size_t i = 0; rc == NH_OK && i < NH_ARRAY_LEN(config_pieces); i++) {
		unsigned byte = config_pieces[i].byte;
		rc = write_piece(chip, NH_ATECC_ZONE_CONFIG, 0, byte, nh_slice_of(config + byte, config_pieces[i].len), err);
	}
	nh_atecc_transaction_close(chip, own);
	return rc;
}

/* bytes from the zone's or slot's begin. pad: blocks only, the last one filled with zeros. */
static nh_rc write_all(struct nh_atecc *chip, nh_atecc_zone zone, unsigned slot, nh_slice bytes, bool pad, struct nh_err *err)
{
	bool own;
	NH_TRY(nh_atecc_transaction_open(chip, &own, err));
	nh_rc rc = NH_OK;
	for (size_t at = 0; rc == NH_OK && at < bytes.len;) {
		uint8_t block[NH_ATECC_BLOCK] = {0};
		nh_slice piece = nh_slice_sub(bytes, at, NH_ATECC_BLOCK);
		if (piece.len < NH_ATECC_BLOCK && !pad)
			piece = nh_slice_sub(piece, 0, NH_ATECC_WORD);
		memmove(block, piece.ptr, piece.len);
		rc = write_piece(chip, zone, slot, (unsigned)at, nh_slice_of(block, pad ? NH_ATECC_BLOCK : piece.len), err);
		explicit_bzero(block, sizeof block); /* slots may hold secrets */
		at += piece.len;
	}
	nh_atecc_transaction_close(chip, own);
	return rc;
}

nh_rc nh_atecc_write_otp(struct nh_atecc *chip, const uint8_t otp[NH_ATECC_OTP_LEN], struct nh_err *err)
{
	return write_all(chip, NH_ATECC_ZONE_OTP, 0, nh_slice_of(otp, NH_ATECC_OTP_LEN), true, err);
}

nh_rc nh_atecc_write_slot(struct nh_atecc *chip, unsigned slot, nh_slice bytes, bool data_locked, struct nh_err *err)
{
	if (bytes.len == 0 || bytes.len > nh_atecc_slot_len(slot))
		return nh_atecc_fail(chip, NULL, err, NH_EINVAL, "%zu bytes for slot %u: it takes 1 to %zu", bytes.len, slot, nh_atecc_slot_len(slot));
	if (data_locked && bytes.len % NH_ATECC_WORD)
		return nh_atecc_fail(chip, NULL, err, NH_EINVAL, "%zu bytes for slot %u: expected a multiple of %u", bytes.len, slot, NH_ATECC_WORD);
	return write_all(chip, NH_ATECC_ZONE_DATA, slot, bytes, !data_locked, err);
}

nh_rc nh_atecc_write_part(struct nh_atecc *chip, unsigned slot, unsigned byte, nh_slice bytes, struct nh_err *err)
{
	bool block = bytes.len == NH_ATECC_BLOCK, word = bytes.len == NH_ATECC_WORD;
	if ((!block && !word) || byte % bytes.len || byte >= nh_atecc_slot_len(slot))
		return nh_atecc_fail(chip, NULL, err, NH_EINVAL, "%zu bytes at %u of slot %u: expected a block of %u or a word of %u in its place", bytes.len, byte, slot, NH_ATECC_BLOCK, NH_ATECC_WORD);
	return write_piece(chip, NH_ATECC_ZONE_DATA, slot, byte, bytes, err);
}
