/*
 * Packets and their CRC. source: reference/nerveskey "3.1", "3.2", "3.3", "4.1", "4.2"
 */
#include "atecc/packet.h"

#include "base/cursor.h"

#define OVERHEAD 3u         /* count and CRC of a response */
#define COMMAND_OVERHEAD 7u /* count, opcode, param1, param2, CRC */

static const struct {
	uint8_t status;
	const char *text;
} statuses[] = {
	{NH_ATECC_SUCCESS, "success"},
	{NH_ATECC_MISCOMPARE, "miscompare: what was to be checked does not match"},
	{NH_ATECC_PARSE_ERROR, "parse error: the chip does not know this command, mode or length"},
	{NH_ATECC_ECC_FAULT, "ECC fault: the computation failed"},
	{NH_ATECC_SELF_TEST_ERROR, "the chip reports a failed self-test"},
	{NH_ATECC_HEALTH_TEST_ERROR, "the chip's random generator failed its health test"},
	{NH_ATECC_EXECUTION_ERROR, "execution error: not allowed in the chip's present state or configuration"},
	{NH_ATECC_AFTER_WAKE, "just woken: the command did not reach the chip"},
	{NH_ATECC_WATCHDOG, "the chip's watchdog is about to expire"},
	{NH_ATECC_CRC_ERROR, "the command arrived garbled"},
};

const char *nh_atecc_status_text(uint8_t status)
{
	for (size_t i = 0; i < NH_ARRAY_LEN(statuses); i++)
		if (statuses[i].status == status)
			return statuses[i].text;
	return "a status that is not in the data sheet";
}

size_t nh_atecc_slot_len(unsigned slot)
{
	if (slot >= NH_ATECC_SLOTS)
		return 0;
	return slot < 8 ? 36 : slot == 8 ? NH_ATECC_SLOT_MAX : 72;
}

uint16_t nh_atecc_address(nh_atecc_zone zone, unsigned slot, unsigned byte)
{
	if (zone != NH_ATECC_ZONE_DATA)
		return (uint16_t)(byte / NH_ATECC_WORD);
	return (uint16_t)(byte / NH_ATECC_BLOCK << 8 | slot << 3 | byte / NH_ATECC_WORD % 8);
}

uint16_t nh_atecc_crc16_more(uint16_t crc, nh_slice bytes)
{
	for (size_t i = 0; i < bytes.len; i++) {
		for (unsigned bit = 0; bit < 8; bit++) {
			bool differs = ((bytes.ptr[i] >> bit & 1) != 0) != (crc >> 15 != 0);
			crc = (uint16_t)(crc << 1 ^ (differs ? 0x8005 : 0));
		}
	}
	return crc;
}

uint16_t nh_atecc_crc16(nh_slice bytes) { return nh_atecc_crc16_more(0, bytes); }

/* The CRC over everything from begin on. */
static void crc_put(struct nh_buf *out, size_t begin)
{
	if (nh_buf_ok(out))
		nh_wr_u16le(out, nh_atecc_crc16(nh_slice_skip(nh_buf_slice(out), begin)));
}

nh_rc nh_atecc_packet_put(struct nh_buf *out, uint8_t opcode, uint8_t param1, uint16_t param2, nh_slice data)
{
	if (data.len > NH_ATECC_DATA_MAX)
		return NH_EINVAL;
	size_t begin = out->len;
	nh_buf_put_u8(out, (uint8_t)(COMMAND_OVERHEAD + data.len));
	nh_buf_put_u8(out, opcode);
	nh_buf_put_u8(out, param1);
	nh_wr_u16le(out, param2);
	nh_buf_put_slice(out, data);
	crc_put(out, begin);
	return NH_OK;
}

nh_rc nh_atecc_packet_parse(nh_slice bytes, struct nh_atecc_packet *out)
{
	struct nh_rd r = nh_rd_of(bytes);
	uint8_t count = nh_rd_u8(&r);
	*out = (struct nh_atecc_packet){0};
	if (count < COMMAND_OVERHEAD || count != bytes.len)
		return NH_EFORMAT;
	out->opcode = nh_rd_u8(&r);
	out->param1 = nh_rd_u8(&r);
	out->param2 = nh_rd_u16le(&r);
	out->data = nh_rd_bytes(&r, count - COMMAND_OVERHEAD);
	uint16_t crc = nh_rd_u16le(&r);
	return nh_rd_ok(&r) && crc == nh_atecc_crc16(nh_slice_sub(bytes, 0, count - 2u)) ? NH_OK : NH_EFORMAT;
}

nh_rc nh_atecc_response_parse(nh_slice bytes, nh_slice *payload)
{
	struct nh_rd r = nh_rd_of(bytes);
	uint8_t count = nh_rd_u8(&r);
	*payload = NH_SLICE_EMPTY;
	if (!nh_rd_ok(&r) || (count > OVERHEAD && count <= NH_ATECC_RESPONSE_MAX && bytes.len < count))
		return NH_EAGAIN;
	if (count <= OVERHEAD || count > NH_ATECC_RESPONSE_MAX)
		return NH_EFORMAT;
	nh_slice found = nh_rd_bytes(&r, count - OVERHEAD);
	if (nh_rd_u16le(&r) != nh_atecc_crc16(nh_slice_sub(bytes, 0, count - 2u)))
		return NH_EFORMAT;
	*payload = found;
	return NH_OK;
}

void nh_atecc_response_put(struct nh_buf *out, nh_slice payload)
{
	NH_ASSERT(payload.len > 0 && payload.len <= NH_ATECC_RESPONSE_MAX - OVERHEAD);
	size_t begin = out->len;
	nh_buf_put_u8(out, (uint8_t)(payload.len + OVERHEAD));
	nh_buf_put_slice(out, payload);
	crc_put(out, begin);
}
