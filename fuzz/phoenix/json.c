/* Channel messages in both JSON formats: what decodes must encode, and decode again to the same; and what we answer to it must be a message itself. */
#include <stdlib.h>

#include "phoenix/phoenix.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* The reply that a request gets keeps its refs and topic, whatever was in them. */
static void check_reply(const struct nh_phoenix_codec *codec, struct nh_arena *arena, const struct nh_phoenix_message *m)
{
	NH_AUTO_BUF struct nh_buf reply = NH_BUF_INIT;
	struct nh_phoenix_message back;
	struct nh_phoenix_ref join_ref = nh_phoenix_join_ref_of(m);
	nh_phoenix_put_reply(codec, &reply, m, join_ref, "ok", NULL);
	if (codec->decode(arena, nh_buf_slice(&reply), 1 << 20, &back, NULL) != NH_OK)
		abort();
	if (!nh_phoenix_ref_eq(back.ref, m->ref) || !nh_slice_eq(back.topic, m->topic) || !nh_slice_eq_str(back.event, "phx_reply"))
		abort();
	if (!nh_phoenix_join_ref_current(join_ref, m) || !nh_slice_eq(nh_json_text(back.payload, "status"), NH_LIT("ok")))
		abort();
	nh_phoenix_message_fini(&back);
	nh_buf_clear(&reply);
	nh_phoenix_put_push(codec, &reply, join_ref, m->topic, "update", m->payload);
	if (codec->decode(arena, nh_buf_slice(&reply), 1 << 20, &back, NULL) != NH_OK)
		abort();
	nh_phoenix_message_fini(&back);
}

static void round_trip(const struct nh_phoenix_codec *codec, nh_slice in)
{
	NH_AUTO_ARENA struct nh_arena arena = NH_ARENA_INIT;
	NH_AUTO_BUF struct nh_buf once = NH_BUF_INIT;
	NH_AUTO_BUF struct nh_buf twice = NH_BUF_INIT;
	struct nh_phoenix_message m, again;
	if (codec->decode(&arena, in, 65536, &m, NULL) != NH_OK)
		return;
	codec->encode(&once, &m);
	if (codec->decode(&arena, nh_buf_slice(&once), 1 << 20, &again, NULL) != NH_OK)
		abort();
	codec->encode(&twice, &again);
	if (!nh_slice_eq(nh_buf_slice(&once), nh_buf_slice(&twice)))
		abort();
	check_reply(codec, &arena, &m);
	nh_phoenix_message_fini(&m);
	nh_phoenix_message_fini(&again);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	round_trip(&nh_phoenix_json_v1, nh_slice_of(data, size));
	round_trip(&nh_phoenix_json_v2, nh_slice_of(data, size));
	nh_phoenix_codec_for_vsn(nh_slice_of(data, size));
	return 0;
}
