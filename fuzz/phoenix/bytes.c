/* V2 messages with a payload of bytes: what is understood must be tellable as text, and mean the same then. */
#include <stdlib.h>

#include "phoenix/phoenix.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	NH_AUTO_ARENA struct nh_arena arena = NH_ARENA_INIT;
	NH_AUTO_BUF struct nh_buf text = NH_BUF_INIT;
	struct nh_phoenix_message m, again;
	if (nh_phoenix_decode_bytes(&arena, nh_slice_of(data, size), &m, NULL) != NH_OK)
		return 0;
	nh_phoenix_json_v2.encode(&text, &m);
	if (nh_phoenix_json_v2.decode(&arena, nh_buf_slice(&text), 65536, &again, NULL) != NH_OK)
		abort();
	if (!nh_slice_eq(m.topic, again.topic) || !nh_slice_eq(m.event, again.event) || !nh_phoenix_ref_eq(m.ref, again.ref) || !nh_phoenix_ref_eq(m.join_ref, again.join_ref) ||
	    !json_is_null(again.payload))
		abort();
	nh_phoenix_message_fini(&again);
	nh_phoenix_message_fini(&m);
	return 0;
}
