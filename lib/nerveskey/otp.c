/*
 * The one-time-programmable zone: whose device this is, for programs that cannot read certificates. Written once, so what goes in is judged strictly; what comes out was written by
 * anybody and goes to terminals and log files, so it is cut where it is no printable text.
 *
 * source: reference/nerveskey "7"; RFC 4648 6 (Base32)
 */
#include "base/cursor.h"
#include "nerveskey/layout.h"

#define FLAGS_SHORT 0u
#define FLAGS_LONG 1u

static const uint8_t magic[4] = {'N', 'r', 'v', 's'};

/* Bytes at the begin of text that are whole, printable UTF-8 characters: no C0 or C1 controls, no DEL. */
static size_t printable_len(nh_slice text)
{
	size_t at = 0;
	while (at < text.len) {
		uint8_t c = text.ptr[at];
		size_t step = c < 0x80 ? 1 : c < 0xE0 ? 2 : c < 0xF0 ? 3 : 4;
		bool c1 = c == 0xC2 && at + 1 < text.len && text.ptr[at + 1] < 0xA0;
		if (c < 0x20 || c == 0x7F || c1 || at + step > text.len || !nh_utf8_valid(nh_slice_sub(text, at, step)))
			break;
		at += step;
	}
	return at;
}

static nh_rc check_text(const char *what, nh_slice text, size_t max, struct nh_err *err)
{
	if (text.len == 0)
		return NH_FAIL(err, NH_EINVAL, "the %s is empty", what);
	if (text.len > max)
		return NH_FAIL(err, NH_EINVAL, "the %s has %zu bytes, a NervesKey has room for %zu", what, text.len, max);
	if (!nh_utf8_valid(text))
		return NH_FAIL(err, NH_EINVAL, "the %s is not valid UTF-8", what);
	if (printable_len(text) != text.len)
		return NH_FAIL(err, NH_EINVAL, "the %s has a control character in it", what);
	return NH_OK;
}

/* The other libraries that read and write NervesKeys refuse a slash, some only after they have locked half of the chip. */
static nh_rc check_serial(nh_slice serial, struct nh_err *err)
{
	NH_TRY(check_text("manufacturer's serial number", serial, NH_NERVESKEY_SERIAL_MAX, err));
	if (nh_slice_chr(serial, '/') >= 0)
		return NH_FAIL(err, NH_EINVAL, "the manufacturer's serial number has a '/' in it, which certificates of a NervesKey cannot carry");
	return NH_OK;
}

nh_rc nh_nerveskey_otp_encode(nh_slice serial, nh_slice board_name, nh_slice user_data, uint8_t out[NH_ATECC_OTP_LEN], struct nh_err *err)
{
	NH_TRY(check_serial(serial, err));
	NH_TRY(check_text("board name", board_name, NH_NERVESKEY_BOARD_MAX, err));
	if (user_data.len > NH_NERVESKEY_USER_DATA_MAX)
		return NH_FAIL(err, NH_EINVAL, "%zu bytes of user data, a NervesKey has room for %u", user_data.len, NH_NERVESKEY_USER_DATA_MAX);
	bool is_short = serial.len <= NH_NERVESKEY_SERIAL_SHORT;
	if (!is_short && user_data.len)
		return NH_FAIL(err, NH_EINVAL, "user data and a serial number of %zu bytes do not fit together: the serial may have %u bytes then", serial.len,
		               NH_NERVESKEY_SERIAL_SHORT);
	NH_AUTO_BUF struct nh_buf b = NH_BUF_MAX(NH_ATECC_OTP_LEN);
	nh_buf_put(&b, magic, sizeof magic);
	nh_wr_u16be(&b, (uint16_t)(is_short ? FLAGS_SHORT : FLAGS_LONG));
	nh_buf_put_slice(&b, board_name);
	nh_buf_fill(&b, 0, NH_NERVESKEY_BOARD_MAX - board_name.len);
	nh_buf_put_slice(&b, serial);
	if (is_short) {
		nh_buf_fill(&b, 0, NH_NERVESKEY_SERIAL_SHORT - serial.len);
		nh_buf_put_slice(&b, user_data);
	}
	nh_buf_fill(&b, 0, NH_ATECC_OTP_LEN - b.len);
	NH_TRY(nh_buf_check(&b, "one-time zone", err));
	for (size_t i = 0; i < NH_ATECC_OTP_LEN; i++)
		out[i] = b.ptr[i];
	return NH_OK;
}

/* out has room for field and a NUL. */
static void take_text(nh_slice field, char *out)
{
	size_t len = printable_len(field);
	for (size_t i = 0; i < len; i++)
		out[i] = (char)field.ptr[i];
	out[len] = '\0';
}

nh_rc nh_nerveskey_otp_decode(const uint8_t otp[NH_ATECC_OTP_LEN], struct nh_nerveskey_otp *out)
{
	struct nh_rd r = nh_rd_of(nh_slice_of(otp, NH_ATECC_OTP_LEN));
	*out = (struct nh_nerveskey_otp){0};
	if (!nh_slice_eq(nh_rd_bytes(&r, sizeof magic), nh_slice_of(magic, sizeof magic)))
		return NH_ENOTFOUND;
	/* Any value but 1 is the short form: later flags were to keep their serial readable. */
	bool is_short = nh_rd_u16be(&r) != FLAGS_LONG;
	take_text(nh_rd_bytes(&r, NH_NERVESKEY_BOARD_MAX), out->board_name);
	take_text(nh_rd_bytes(&r, is_short ? NH_NERVESKEY_SERIAL_SHORT : NH_NERVESKEY_SERIAL_MAX), out->serial);
	out->has_user_data = is_short;
	for (size_t i = 0; is_short && i < NH_NERVESKEY_USER_DATA_MAX; i++)
		out->user_data[i] = nh_rd_u8(&r);
	return NH_OK;
}

void nh_nerveskey_default_serial(const uint8_t chip_serial[NH_ATECC_SERIAL_LEN], char out[16])
{
	static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
	unsigned bits = 0, held = 0, at = 0;
	for (size_t i = 0; i < NH_ATECC_SERIAL_LEN; i++) {
		held = held << 8 | chip_serial[i];
		for (bits += 8; bits >= 5; bits -= 5)
			out[at++] = alphabet[held >> (bits - 5) & 31];
		held &= 0xFF;
	}
	/* 72 bits: 14 characters of five and one of the last two. */
	out[at++] = alphabet[held << (5 - bits) & 31];
	out[at] = '\0';
}
