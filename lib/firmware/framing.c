/*
 * Packets of `fwup --framing`, both directions.  source: reference/fwup-format "13.2"
 */
#include "firmware/framing.h"

#include "base/cursor.h"

#define PACKET_MAX 65536u

void nh_fw_packet_put(struct nh_buf *out, const char type[2], uint16_t value, nh_slice text)
{
	nh_wr_u32be(out, (uint32_t)(text.len + 4));
	nh_buf_put(out, type, 2);
	nh_wr_u16be(out, value);
	nh_buf_put_slice(out, text);
}

void nh_fw_frame_put(struct nh_buf *out, nh_slice bytes)
{
	nh_wr_u32be(out, (uint32_t)bytes.len);
	nh_buf_put_slice(out, bytes);
}

void nh_fw_packet_reader_fini(struct nh_fw_packet_reader *r)
{
	nh_buf_fini(&r->held);
}

nh_rc nh_fw_packet_reader_feed(struct nh_fw_packet_reader *r, nh_slice bytes, struct nh_err *err)
{
	if (r->held.len + bytes.len > 2 * PACKET_MAX)
		return NH_FAIL(err, NH_ETOOBIG, "fwup sent more than %u bytes without a complete packet", PACKET_MAX);
	nh_buf_put_slice(&r->held, bytes);
	return NH_OK;
}

nh_rc nh_fw_packet_reader_next(struct nh_fw_packet_reader *r, struct nh_fw_packet *out, struct nh_err *err)
{
	/* The text of the last packet was lent out until now, so it is dropped only here. */
	nh_buf_consume(&r->held, r->used);
	r->used = 0;
	struct nh_rd rd = nh_rd_of(nh_buf_slice(&r->held));
	uint32_t length = nh_rd_u32be(&rd);
	if (!nh_rd_ok(&rd))
		return NH_EAGAIN;
	if (length < 4 || length > PACKET_MAX)
		return NH_FAIL(err, NH_EFORMAT, "fwup sent a packet of %u bytes", length);
	nh_slice type = nh_rd_bytes(&rd, 2);
	uint16_t value = nh_rd_u16be(&rd);
	nh_slice text = nh_rd_bytes(&rd, length - 4);
	if (!nh_rd_ok(&rd))
		return NH_EAGAIN;
	*out = (struct nh_fw_packet){.type = {(char)type.ptr[0], (char)type.ptr[1]}, .value = value, .text = text};
	r->used = rd.pos;
	return NH_OK;
}

nh_slice nh_fw_deframe(struct nh_fw_deframer *d, nh_slice *in)
{
	while (d->left == 0 && !d->ended && in->len > 0) {
		d->header[d->have++] = in->ptr[0];
		*in = nh_slice_skip(*in, 1);
		if (d->have < sizeof d->header)
			continue;
		struct nh_rd r = nh_rd_of(nh_slice_of(d->header, sizeof d->header));
		d->left = nh_rd_u32be(&r);
		d->have = 0;
		d->ended = d->left == 0;
	}
	if (d->left == 0)
		return NH_SLICE_EMPTY;
	nh_slice part = nh_slice_sub(*in, 0, d->left);
	*in = nh_slice_skip(*in, part.len);
	d->left -= (uint32_t)part.len;
	return part;
}
