/* MessagePack messages: whatever decodes must encode, decode again, and then encode to the same bytes. */
#include <stdlib.h>

#include "phoenix/phoenix.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	NH_AUTO_ARENA struct nh_arena arena = NH_ARENA_INIT;
	NH_AUTO_BUF struct nh_buf once = NH_BUF_INIT, twice = NH_BUF_INIT, json = NH_BUF_INIT;
	struct nh_phoenix_message m, again;
	if (nh_phoenix_msgpack.decode(&arena, nh_slice_of(data, size), 65536, &m, NULL) != NH_OK)
		return 0;
	nh_phoenix_msgpack.encode(&once, &m);
	if (nh_phoenix_msgpack.decode(&arena, nh_buf_slice(&once), 1 << 20, &again, NULL) != NH_OK)
		abort();
	nh_phoenix_msgpack.encode(&twice, &again);
	if (!nh_slice_eq(nh_buf_slice(&once), nh_buf_slice(&twice)) || !json_equal(m.payload, again.payload))
		abort();
	/* A device that speaks the other format hears the same. */
	nh_phoenix_json_v2.encode(&json, &m);
	nh_phoenix_message_fini(&again);
	if (nh_phoenix_json_v2.decode(&arena, nh_buf_slice(&json), 1 << 20, &again, NULL) != NH_OK)
		abort();
	nh_phoenix_message_fini(&again);
	nh_phoenix_message_fini(&m);
	return 0;
}
