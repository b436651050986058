/*
 * V2 messages whose payload is raw bytes: binary frames beside the text frames of the same socket. Only what a client sends is read, and the payload is left out, since
 * no channel of ours takes bytes; what matters is that such a frame is understood, and answered as any other. source: reference/device-protocol "3.4"
 */
#include "base/cursor.h"
#include "phoenix/phoenix.h"

#define KIND_PUSH 0

static struct nh_phoenix_ref ref_of(nh_slice text) { return text.len ? nh_phoenix_ref_text(text) : NH_PHOENIX_NO_REF; }

nh_rc nh_phoenix_decode_bytes(struct nh_arena *arena, nh_slice frame, struct nh_phoenix_message *out, struct nh_err *err)
{
	struct nh_rd r = nh_rd_of(frame);
	*out = (struct nh_phoenix_message){0};
	uint8_t kind = nh_rd_u8(&r), lengths[4];
	nh_slice texts[4]; /* join_ref, ref, topic, event */
	for (size_t i = 0; i < 4; i++)
		lengths[i] = nh_rd_u8(&r);
	for (size_t i = 0; i < 4; i++)
		texts[i] = nh_arena_copy(arena, nh_rd_bytes(&r, lengths[i]));
	if (!nh_rd_ok(&r) || kind != KIND_PUSH)
		return NH_FAIL(err, NH_EFORMAT, "no push with a payload of bytes");
	if (texts[0].len > NH_PHOENIX_REF_MAX || texts[1].len > NH_PHOENIX_REF_MAX)
		return NH_FAIL(err, NH_ETOOBIG, "a ref over %d bytes", NH_PHOENIX_REF_MAX);
	for (size_t i = 0; i < 4; i++)
		if (!nh_utf8_valid(texts[i]))
			return NH_FAIL(err, NH_EFORMAT, "a name or a ref is no UTF-8");
	*out = (struct nh_phoenix_message){.join_ref = ref_of(texts[0]), .ref = ref_of(texts[1]), .topic = texts[2], .event = texts[3], .payload = json_null()};
	return NH_OK;
}
