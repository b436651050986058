/* Channel messages in both JSON formats: what decodes must encode, and decode again to the same. */
#include <stdlib.h>

#include "phoenix/phoenix.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

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
