/*
 * WebSocket frames: the receive machine (header → payload → event), the writers, the handshake values. See the header for the rules.
 */
#include "net/ws_codec.h"

#include "base/encode.h"
#include "crypto/digest.h"

#define CONTROL_MAX 125

/* ---- UTF-8 in pieces: bits 0-7 bytes still to come, 8-15 and 16-23 the range of the next one; 0 = between characters */

static bool utf8_feed(uint32_t *state, nh_slice s)
{
	uint32_t st = *state;
	for (size_t i = 0; i < s.len; i++) {
		uint8_t c = s.ptr[i];
		if (st != 0) {
			if (c < (st >> 8 & 0xff) || c > (st >> 16 & 0xff))
				return false;
			st = (st & 0xff) > 1 ? ((st & 0xff) - 1) | 0x80u << 8 | 0xbfu << 16 : 0;
		} else if (c >= 0x80) {
			uint32_t more = c < 0xe0 ? 1 : c < 0xf0 ? 2 : 3;
			uint32_t low = c == 0xe0 ? 0xa0 : c == 0xf0 ? 0x90 : 0x80;
			uint32_t high = c == 0xed ? 0x9f : c == 0xf4 ? 0x8f : 0xbf;
			if (c < 0xc2 || c > 0xf4)
				return false;
			st = more | low << 8 | high << 16;
		}
	}
	*state = st;
	return true;
}

/* ---- decoder */

void nh_ws_decoder_init(struct nh_ws_decoder *d, nh_ws_role role, size_t max_message_bytes)
{
	NH_ASSERT(max_message_bytes > 0 && max_message_bytes <= (16u << 20));
	*d = (struct nh_ws_decoder){.role = (uint8_t)role, .max_message = (uint32_t)max_message_bytes, .head_need = 2};
	d->message.max = max_message_bytes;
	d->control.max = CONTROL_MAX;
}

void nh_ws_decoder_fini(struct nh_ws_decoder *d)
{
	nh_buf_fini(&d->message);
	nh_buf_fini(&d->control);
}

bool nh_ws_decoder_idle(const struct nh_ws_decoder *d)
{
	return d->head_len == 0 && !d->in_frame && d->message_opcode == 0;
}

static nh_rc fail(struct nh_ws_decoder *d, uint16_t code, nh_rc rc)
{
	d->failed = true;
	d->close_code = code;
	nh_ws_decoder_fini(d);
	return rc;
}

#define WS_FAIL(code, rc, ...) fail(d, (code), NH_FAIL(err, (rc), __VA_ARGS__))

/* Bytes of header as far as the first two tell. */
static uint8_t header_need(const struct nh_ws_decoder *d)
{
	uint8_t len7 = d->head[1] & 0x7f;
	return (uint8_t)(2 + (len7 == 126 ? 2 : len7 == 127 ? 8 : 0) + (d->head[1] & 0x80 ? 4 : 0));
}

static uint64_t header_length(const struct nh_ws_decoder *d)
{
	uint8_t len7 = d->head[1] & 0x7f;
	size_t wide = len7 == 126 ? 2 : len7 == 127 ? 8 : 0;
	uint64_t len = wide ? 0 : len7;
	for (size_t i = 0; i < wide; i++)
		len = len << 8 | d->head[2 + i];
	return len;
}

static const uint8_t *header_mask(const struct nh_ws_decoder *d)
{
	return d->head[1] & 0x80 ? d->head + d->head_need - 4 : NULL;
}

/* The first two bytes: what can be refused before more is waited for. */
static nh_rc check_start(struct nh_ws_decoder *d, struct nh_err *err)
{
	uint8_t opcode = d->head[0] & 0x0f, len7 = d->head[1] & 0x7f;
	bool fin = d->head[0] & 0x80, masked = d->head[1] & 0x80;
	bool control = opcode & 8;
	if (d->head[0] & 0x70)
		return WS_FAIL(NH_WS_CLOSE_PROTOCOL, NH_EFORMAT, "reserved bits set in a frame");
	if (opcode > NH_WS_PONG || (opcode > NH_WS_BINARY && opcode < NH_WS_CLOSE))
		return WS_FAIL(NH_WS_CLOSE_PROTOCOL, NH_EFORMAT, "unknown opcode %u", opcode);
	if (masked != (d->role == NH_WS_SERVER))
		return WS_FAIL(NH_WS_CLOSE_PROTOCOL, NH_EFORMAT, masked ? "masked frame from a server" : "unmasked frame from a client");
	if (control && (!fin || len7 > CONTROL_MAX))
		return WS_FAIL(NH_WS_CLOSE_PROTOCOL, NH_EFORMAT, "control frame that is fragmented or over 125 bytes");
	if (opcode == NH_WS_CONTINUATION && d->message_opcode == 0)
		return WS_FAIL(NH_WS_CLOSE_PROTOCOL, NH_EFORMAT, "continuation of no message");
	if ((opcode == NH_WS_TEXT || opcode == NH_WS_BINARY) && d->message_opcode != 0)
		return WS_FAIL(NH_WS_CLOSE_PROTOCOL, NH_EFORMAT, "new message inside a fragmented one");
	if (opcode == NH_WS_CONTINUATION && !fin && len7 == 0)
		return WS_FAIL(NH_WS_CLOSE_POLICY, NH_EFORMAT, "empty continuation that does not end the message");
	return NH_OK;
}

/* The whole header is there. */
static nh_rc begin_frame(struct nh_ws_decoder *d, struct nh_err *err)
{
	uint64_t len = header_length(d);
	uint8_t len7 = d->head[1] & 0x7f;
	if ((len7 == 126 && len < 126) || (len7 == 127 && (len < 65536 || len >> 63)))
		return WS_FAIL(NH_WS_CLOSE_PROTOCOL, NH_EFORMAT, "frame length not in its shortest form");
	d->opcode = d->head[0] & 0x0f;
	d->fin = d->head[0] & 0x80;
	if (d->opcode < NH_WS_CLOSE && len > d->max_message - d->message.len)
		return WS_FAIL(NH_WS_CLOSE_TOO_BIG, NH_ETOOBIG, "message over %u bytes", d->max_message);
	if (d->opcode == NH_WS_TEXT || d->opcode == NH_WS_BINARY) {
		d->message_opcode = d->opcode;
		d->utf8 = 0;
	}
	d->left = len;
	d->mask_at = 0;
	d->in_frame = true;
	return NH_OK;
}

static nh_rc read_header(struct nh_ws_decoder *d, struct nh_ws_input *in, struct nh_err *err)
{
	while (in->len > 0 && d->head_len < d->head_need) {
		d->head[d->head_len++] = *in->ptr++;
		in->len--;
		if (d->head_len == 2) {
			NH_TRY(check_start(d, err));
			d->head_need = header_need(d);
		}
	}
	return d->head_len == d->head_need ? begin_frame(d, err) : NH_OK;
}

static nh_rc close_event(struct nh_ws_decoder *d, nh_slice payload, struct nh_ws_event *ev, struct nh_err *err)
{
	ev->kind = NH_WS_EV_CLOSE;
	ev->code = NH_WS_CLOSE_NO_STATUS;
	if (payload.len == 1)
		return WS_FAIL(NH_WS_CLOSE_PROTOCOL, NH_EFORMAT, "close frame with half a code");
	if (payload.len >= 2) {
		ev->code = (uint16_t)(payload.ptr[0] << 8 | payload.ptr[1]);
		ev->data = nh_slice_skip(payload, 2);
		if (!nh_ws_close_code_valid(ev->code))
			return WS_FAIL(NH_WS_CLOSE_PROTOCOL, NH_EFORMAT, "close code %u", ev->code);
		if (!nh_utf8_valid(ev->data))
			return WS_FAIL(NH_WS_CLOSE_BAD_DATA, NH_EFORMAT, "close reason is not UTF-8");
	}
	d->closed = true;
	return NH_OK;
}

/* The frame is complete; payload is the message (data frames) or the control payload. */
static nh_rc end_frame(struct nh_ws_decoder *d, nh_slice payload, struct nh_ws_event *ev, struct nh_err *err)
{
	d->in_frame = false;
	d->head_len = 0;
	d->head_need = 2;
	ev->opcode = (nh_ws_opcode)d->opcode;
	ev->data = payload;
	if (d->opcode == NH_WS_CLOSE)
		return close_event(d, payload, ev, err);
	if (d->opcode >= NH_WS_PING) {
		ev->kind = d->opcode == NH_WS_PING ? NH_WS_EV_PING : NH_WS_EV_PONG;
		return NH_OK;
	}
	if (!d->fin)
		return NH_OK;
	if (d->message_opcode == NH_WS_TEXT && d->utf8 != 0)
		return WS_FAIL(NH_WS_CLOSE_BAD_DATA, NH_EFORMAT, "text message ends inside a character");
	ev->kind = NH_WS_EV_MESSAGE;
	ev->opcode = (nh_ws_opcode)d->message_opcode;
	d->message_opcode = 0;
	return NH_OK;
}

/* Payload bytes at the front of in, as many as belong to the frame. */
static nh_rc read_payload(struct nh_ws_decoder *d, struct nh_ws_input *in, struct nh_ws_event *ev, struct nh_err *err)
{
	bool control = d->opcode & 8;
	struct nh_buf *keep = control ? &d->control : &d->message;
	size_t n = d->left < in->len ? (size_t)d->left : in->len;
	nh_slice piece = nh_slice_of(in->ptr, n);
	const uint8_t *mask = header_mask(d);
	if (mask)
		nh_ws_mask(in->ptr, n, mask, d->mask_at);
	d->mask_at = (uint8_t)((d->mask_at + n) & 3);
	in->ptr += n;
	in->len -= n;
	d->left -= n;
	if (!control && d->message_opcode == NH_WS_TEXT && !utf8_feed(&d->utf8, piece))
		return WS_FAIL(NH_WS_CLOSE_BAD_DATA, NH_EFORMAT, "text message is not UTF-8");
	bool complete = d->left == 0;
	if (complete && keep->len == 0 && (control || d->fin))
		return end_frame(d, piece, ev, err); /* whole in the input: no copy */
	if (piece.len > 0)
		nh_buf_put_slice(keep, piece);
	if (!nh_buf_ok(keep))
		return WS_FAIL(NH_WS_CLOSE_TOO_BIG, NH_ETOOBIG, "message over %u bytes", d->max_message);
	if (!complete)
		return NH_OK;
	d->delivered = control || d->fin;
	return end_frame(d, nh_buf_slice(keep), ev, err);
}

nh_rc nh_ws_decode(struct nh_ws_decoder *d, struct nh_ws_input *in, struct nh_ws_event *ev, struct nh_err *err)
{
	*ev = (struct nh_ws_event){.kind = NH_WS_EV_NONE};
	if (d->delivered) {
		nh_buf_fini(&d->control);
		if (d->message_opcode == 0)
			nh_buf_fini(&d->message);
		d->delivered = false;
	}
	if (d->failed)
		return NH_FAIL(err, NH_EFORMAT, "decoder failed before");
	if (d->closed)
		return NH_ECLOSED;
	for (;;) {
		if (!d->in_frame)
			NH_TRY(read_header(d, in, err));
		if (!d->in_frame)
			return NH_OK; /* header incomplete: input used up */
		NH_TRY(read_payload(d, in, ev, err));
		if (ev->kind != NH_WS_EV_NONE || (d->in_frame && in->len == 0))
			return NH_OK;
	}
}

/* ---- encoder */

void nh_ws_mask(uint8_t *bytes, size_t len, const uint8_t mask[4], size_t offset)
{
	for (size_t i = 0; i < len; i++)
		bytes[i] ^= mask[(offset + i) & 3];
}

size_t nh_ws_put_header(uint8_t out[NH_WS_HEADER_MAX], nh_ws_opcode opcode, bool fin, uint64_t payload_len, const uint8_t mask[4])
{
	size_t wide = payload_len < 126 ? 0 : payload_len < 65536 ? 2 : 8;
	uint8_t len7 = (uint8_t)(wide == 0 ? payload_len : wide == 2 ? 126 : 127);
	out[0] = (uint8_t)((fin ? 0x80 : 0) | (unsigned)opcode);
	out[1] = (uint8_t)((mask ? 0x80 : 0) | len7);
	size_t n = 2;
	for (size_t i = 0; i < wide; i++)
		out[n++] = (uint8_t)(payload_len >> (8 * (wide - 1 - i)));
	for (size_t i = 0; mask && i < 4; i++)
		out[n++] = mask[i];
	return n;
}

void nh_ws_put_frame(struct nh_buf *out, nh_ws_opcode opcode, nh_slice payload, const uint8_t mask[4])
{
	uint8_t head[NH_WS_HEADER_MAX];
	nh_buf_put(out, head, nh_ws_put_header(head, opcode, true, payload.len, mask));
	size_t at = out->len;
	nh_buf_put_slice(out, payload);
	if (mask && nh_buf_ok(out))
		nh_ws_mask(out->ptr + at, payload.len, mask, 0);
}

void nh_ws_put_close(struct nh_buf *out, uint16_t code, nh_slice reason, const uint8_t mask[4])
{
	uint8_t payload[CONTROL_MAX];
	size_t n = 0;
	if (code != NH_WS_CLOSE_NO_STATUS) {
		size_t cut = reason.len > CONTROL_MAX - 2 ? CONTROL_MAX - 2 : reason.len;
		while (cut < reason.len && cut > 0 && (reason.ptr[cut] & 0xc0) == 0x80)
			cut--;
		payload[n++] = (uint8_t)(code >> 8);
		payload[n++] = (uint8_t)code;
		for (size_t i = 0; i < cut; i++)
			payload[n++] = reason.ptr[i];
	}
	nh_ws_put_frame(out, NH_WS_CLOSE, nh_slice_of(payload, n), mask);
}

bool nh_ws_close_code_valid(uint16_t code)
{
	return (code >= 1000 && code <= 1003) || (code >= 1007 && code <= 1014) || (code >= 3000 && code <= 4999);
}

/* ---- handshake */

void nh_ws_accept_key(nh_slice key, char out[NH_WS_ACCEPT_LEN + 1])
{
	NH_AUTO_BUF struct nh_buf text = NH_BUF_INIT;
	NH_AUTO_BUF struct nh_buf encoded = NH_BUF_INIT;
	uint8_t digest[NH_SHA1_LEN];
	nh_buf_put_slice(&text, key);
	nh_buf_put_str(&text, "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"); /* source: RFC 6455 1.3 */
	nh_digest(NH_SHA1, nh_buf_slice(&text), digest);
	nh_b64_put(&encoded, nh_slice_of(digest, sizeof digest), NH_B64_STD);
	NH_ASSERT(encoded.len == NH_WS_ACCEPT_LEN);
	for (size_t i = 0; i <= NH_WS_ACCEPT_LEN; i++)
		out[i] = nh_buf_cstr(&encoded)[i];
}

/* The name without its port; brackets of IPv6 stay. */
static nh_slice host_name(nh_slice authority)
{
	nh_slice name = authority, rest;
	if (nh_slice_starts(authority, NH_LIT("["))) {
		ptrdiff_t end = nh_slice_chr(authority, ']');
		return end < 0 ? authority : nh_slice_sub(authority, 0, (size_t)end + 1);
	}
	nh_slice_cut(authority, ':', &name, &rest);
	return name;
}

/* Browsers name the page that asks; a page of another host has no business here. Devices send no Origin. */
static bool origin_fits(const struct nh_http_request_head *head)
{
	nh_slice origin = nh_http_header_get(&head->headers, "origin"), scheme;
	size_t count = nh_http_header_count(&head->headers, "origin");
	if (count == 0)
		return true;
	if (count > 1 || !nh_slice_cut(origin, ':', &scheme, &origin) || !nh_slice_starts(origin, NH_LIT("//")))
		return false;
	return nh_slice_ieq(host_name(nh_slice_skip(origin, 2)), host_name(head->host));
}

nh_rc nh_ws_server_check(const struct nh_http_request_head *head, nh_slice *key, struct nh_err *err)
{
	NH_AUTO_BUF struct nh_buf nonce = NH_BUF_INIT;
	*key = nh_http_header_get(&head->headers, "sec-websocket-key");
	if (head->method != NH_HTTP_GET)
		return NH_FAIL(err, NH_EINVAL, "a WebSocket upgrade must be a GET request");
	if (head->minor == 0)
		return NH_FAIL(err, NH_EFORMAT, "a WebSocket upgrade needs HTTP/1.1");
	if (!nh_http_header_has_token(&head->headers, "connection", "upgrade"))
		return NH_FAIL(err, NH_EFORMAT, "'connection' header must contain 'upgrade'");
	if (!nh_http_header_has_token(&head->headers, "upgrade", "websocket"))
		return NH_FAIL(err, NH_EFORMAT, "'upgrade' header must contain 'websocket'");
	if (!nh_slice_eq_str(nh_http_header_get(&head->headers, "sec-websocket-version"), "13"))
		return NH_FAIL(err, NH_EUNSUPPORTED, "'sec-websocket-version' header must be 13");
	if (nh_http_header_count(&head->headers, "sec-websocket-key") != 1 || nh_b64_decode(*key, NH_B64_STD, &nonce) != NH_OK || nonce.len != 16)
		return NH_FAIL(err, NH_EFORMAT, "'sec-websocket-key' header must be 16 bytes in base64");
	if (head->framing != NH_HTTP_NO_BODY)
		return NH_FAIL(err, NH_EFORMAT, "a WebSocket upgrade must not have a body");
	if (!origin_fits(head))
		return NH_FAIL(err, NH_EPERM, "the page that asks is of another origin");
	return NH_OK;
}

nh_rc nh_ws_client_check(const struct nh_http_response_head *head, nh_slice key, struct nh_err *err)
{
	char accept[NH_WS_ACCEPT_LEN + 1];
	nh_ws_accept_key(key, accept);
	if (head->status != 101)
		return NH_FAIL(err, NH_EFORMAT, "the server answered %u instead of upgrading", head->status);
	if (!nh_http_header_has_token(&head->headers, "connection", "upgrade") || !nh_http_header_has_token(&head->headers, "upgrade", "websocket"))
		return NH_FAIL(err, NH_EFORMAT, "the server's 101 is not a WebSocket upgrade");
	if (!nh_slice_eq_str(nh_http_header_get(&head->headers, "sec-websocket-accept"), accept))
		return NH_FAIL(err, NH_EFORMAT, "the server's Sec-WebSocket-Accept does not fit our key");
	if (nh_http_header_count(&head->headers, "sec-websocket-extensions") || nh_http_header_count(&head->headers, "sec-websocket-protocol"))
		return NH_FAIL(err, NH_EFORMAT, "the server chose an extension or subprotocol that was not offered");
	return NH_OK;
}
