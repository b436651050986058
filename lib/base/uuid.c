/*
 * UUIDs (RFC 9562): random (4), time-ordered (7), canonical text.
 */
#include "base/uuid.h"

#include "base/encode.h"
#include "base/rng.h"

static void stamp(struct nh_uuid *u, uint8_t version)
{
	u->bytes[6] = (uint8_t)((u->bytes[6] & 0x0F) | version << 4);
	u->bytes[8] = (uint8_t)((u->bytes[8] & 0x3F) | 0x80);
}

void nh_uuid_v4(struct nh_uuid *out, const struct nh_rng *rng)
{
	nh_rng_fill(rng, out->bytes, sizeof out->bytes);
	stamp(out, 4);
}

void nh_uuid_v7(struct nh_uuid *out, int64_t now_us, const struct nh_rng *rng)
{
	nh_rng_fill(rng, out->bytes, sizeof out->bytes);
	uint64_t ms = now_us < 0 ? 0 : (uint64_t)now_us / 1000;
	for (size_t i = 0; i < 6; i++)
		out->bytes[i] = (uint8_t)(ms >> (40 - 8 * i));
	stamp(out, 7);
}

void nh_uuid_format(const struct nh_uuid *u, char out[NH_UUID_TEXT_LEN + 1])
{
	static const char digits[] = "0123456789abcdef";
	size_t at = 0;
	for (size_t i = 0; i < 16; i++) {
		if (i == 4 || i == 6 || i == 8 || i == 10)
			out[at++] = '-';
		out[at++] = digits[u->bytes[i] >> 4];
		out[at++] = digits[u->bytes[i] & 15];
	}
	out[at] = 0;
}

nh_rc nh_uuid_parse(nh_slice text, struct nh_uuid *out)
{
	if (text.len != NH_UUID_TEXT_LEN)
		return NH_EFORMAT;
	static const struct {
		uint8_t at, len, byte;
	} groups[] = {{0, 8, 0}, {9, 4, 4}, {14, 4, 6}, {19, 4, 8}, {24, 12, 10}};
	struct nh_uuid u;
	for (size_t i = 0; i < NH_ARRAY_LEN(groups); i++) {
		if (i > 0 && text.ptr[groups[i].at - 1] != '-')
			return NH_EFORMAT;
		NH_TRY(nh_hex_decode_fixed(nh_slice_sub(text, groups[i].at, groups[i].len), u.bytes + groups[i].byte, groups[i].len / 2u));
	}
	*out = u;
	return NH_OK;
}
