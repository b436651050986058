/* Frames: the first byte chooses role and piece size; in pieces and whole the same events must come out. */
#include <stdlib.h>

#include "base/arena.h"
#include "net/ws_codec.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static nh_rc decode(nh_ws_role role, nh_slice in, size_t step, struct nh_buf *log)
{
	struct nh_ws_decoder d;
	nh_rc rc = NH_OK;
	nh_ws_decoder_init(&d, role, 4096);
	for (size_t at = 0; at < in.len && rc == NH_OK; at += step) {
		NH_AUTO_BUF struct nh_buf copy = NH_BUF_INIT;
		struct nh_ws_event ev;
		nh_buf_put_slice(&copy, nh_slice_sub(in, at, step));
		struct nh_ws_input input = {copy.ptr, copy.len};
		do {
			rc = nh_ws_decode(&d, &input, &ev, NULL);
			if (rc == NH_OK && ev.kind != NH_WS_EV_NONE) {
				if (ev.kind == NH_WS_EV_MESSAGE && ev.opcode == NH_WS_TEXT && !nh_utf8_valid(ev.data))
					abort();
				if (ev.data.len > (ev.kind == NH_WS_EV_MESSAGE ? 4096 : 125))
					abort(); /* over the cap */
				if (ev.kind == NH_WS_EV_CLOSE && ev.code != NH_WS_CLOSE_NO_STATUS && !nh_ws_close_code_valid(ev.code))
					abort();
				nh_buf_printf(log, "%d %d %u %zu:", (int)ev.kind, (int)ev.opcode, ev.code, ev.data.len);
				nh_buf_put_slice(log, ev.data);
			}
		} while (rc == NH_OK && ev.kind != NH_WS_EV_NONE);
		if (rc == NH_OK && input.len != 0)
			abort();
	}
	if (rc == NH_OK && nh_ws_decoder_idle(&d) && !d.closed && (d.message.ptr || d.control.ptr))
		abort();
	nh_ws_decoder_fini(&d);
	return rc == NH_ECLOSED ? NH_OK : rc;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (size == 0)
		return 0;
	NH_AUTO_BUF struct nh_buf whole = NH_BUF_INIT;
	NH_AUTO_BUF struct nh_buf pieces = NH_BUF_INIT;
	nh_ws_role role = data[0] & 0x80 ? NH_WS_SERVER : NH_WS_CLIENT;
	nh_slice in = nh_slice_of(data + 1, size - 1);
	if (in.len == 0)
		return 0;
	nh_rc a = decode(role, in, in.len, &whole);
	nh_rc b = decode(role, in, (size_t)data[0] % 8 + 1, &pieces);
	if (a != b || !nh_slice_eq(nh_buf_slice(&whole), nh_buf_slice(&pieces)))
		abort();
	return 0;
}
