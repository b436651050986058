/*
 * WebSocket framing for both roles, sans-IO: bytes in, messages out. No sockets, no timers, no extensions (RSV must be 0; compression is
 * declined by design).
 *
 * Invariants: an unfragmented frame that lies whole in the input is unmasked in place and handed out as a view: no allocation. Only an
 * incomplete rest (partial frame, fragments of a message) is kept, in memory that is freed as soon as it was delivered. After an error the
 * decoder stays failed; close_code says what to send.
 *
 * source: RFC 6455, reference/device-protocol "4".  thread: any, one at a time.
 */
#pragma once

#include "base/buf.h"
#include "base/err.h"
#include "net/http_parser.h"

typedef enum nh_ws_role {
	NH_WS_SERVER, /* receives masked frames, sends unmasked ones */
	NH_WS_CLIENT, /* the other way round */
} nh_ws_role;

typedef enum nh_ws_opcode {
	NH_WS_CONTINUATION = 0,
	NH_WS_TEXT = 1,
	NH_WS_BINARY = 2,
	NH_WS_CLOSE = 8,
	NH_WS_PING = 9,
	NH_WS_PONG = 10,
} nh_ws_opcode;

#define NH_WS_CLOSE_NORMAL 1000
#define NH_WS_CLOSE_GOING_AWAY 1001
#define NH_WS_CLOSE_PROTOCOL 1002
#define NH_WS_CLOSE_NO_STATUS 1005 /* never sent: the peer's close frame was empty */
#define NH_WS_CLOSE_ABNORMAL 1006  /* never sent: the connection ended without a close frame */
#define NH_WS_CLOSE_BAD_DATA 1007
#define NH_WS_CLOSE_POLICY 1008
#define NH_WS_CLOSE_TOO_BIG 1009
#define NH_WS_CLOSE_INTERNAL 1011
#define NH_WS_CLOSE_RESTART 1012

typedef enum nh_ws_event_kind {
	NH_WS_EV_NONE,    /* all input used, nothing complete: wait for more bytes */
	NH_WS_EV_MESSAGE, /* opcode TEXT (valid UTF-8) or BINARY */
	NH_WS_EV_PING,    /* answer with a pong of the same data */
	NH_WS_EV_PONG,
	NH_WS_EV_CLOSE,   /* code (1005 where none was given), data = reason, valid UTF-8; nothing is decoded after it */
} nh_ws_event_kind;

struct nh_ws_event {
	nh_ws_event_kind kind;
	nh_ws_opcode opcode;
	uint16_t code;
	nh_slice data; /* valid until the next nh_ws_decode or the end of the input bytes, whichever is first */
};

/* Zeroed by init; caller-owned. About 120 bytes plus heap only while something is incomplete. */
struct nh_ws_decoder {
	struct nh_buf message;  /* fragments and partial frames of the current message */
	struct nh_buf control;  /* partial control frame */
	uint64_t left;          /* payload bytes of the current frame still to come */
	uint32_t max_message;   /* bytes */
	uint32_t utf8;          /* state of the streaming UTF-8 check */
	uint16_t close_code;    /* after a failure: what to send in the close frame */
	uint8_t head[14];       /* header bytes collected */
	uint8_t head_len;
	uint8_t head_need;
	uint8_t opcode;         /* of the current frame */
	uint8_t message_opcode; /* TEXT or BINARY while a fragmented message is open, else 0 */
	uint8_t mask_at;        /* position in the masking key */
	uint8_t role;
	bool fin;
	bool in_frame;
	bool delivered;         /* `message` or `control` was handed out: free it on the next call */
	bool closed;
	bool failed;
};

/* max_message_bytes: cap of a reassembled message; 1 … 16 MiB. */
void nh_ws_decoder_init(struct nh_ws_decoder *d, nh_ws_role role, size_t max_message_bytes);
void nh_ws_decoder_fini(struct nh_ws_decoder *d);
/* True where nothing is kept: neither a partial header nor fragments. */
bool nh_ws_decoder_idle(const struct nh_ws_decoder *d);

/*
 * nh_ws_decode - takes bytes off the front of *in (moves ptr and len) until one event is complete or the input is used up. The bytes are
 * changed in place (unmasking). Call again until NH_WS_EV_NONE.
 *   NH_OK        *ev
 *   NH_EFORMAT   d->close_code 1002 (framing, also wrong masking, long lengths not minimal, bad close code), 1007 (UTF-8) or 1008 (empty non-final continuation)
 *   NH_ETOOBIG   d->close_code 1009
 *   NH_ECLOSED   a close frame was decoded before: the rest of the input is to be ignored
 */
struct nh_ws_input {
	uint8_t *ptr;
	size_t len;
};
nh_rc nh_ws_decode(struct nh_ws_decoder *d, struct nh_ws_input *in, struct nh_ws_event *ev, struct nh_err *err);

/* Writing. mask NULL = server role. A key must be unpredictable: 4 fresh random bytes a frame. */
#define NH_WS_HEADER_MAX 14
size_t nh_ws_put_header(uint8_t out[NH_WS_HEADER_MAX], nh_ws_opcode opcode, bool fin, uint64_t payload_len, const uint8_t mask[4]);
void nh_ws_put_frame(struct nh_buf *out, nh_ws_opcode opcode, nh_slice payload, const uint8_t mask[4]); /* final frame */
/* A close frame; code 1005 writes an empty one. The reason is cut at 123 bytes on a character border. */
void nh_ws_put_close(struct nh_buf *out, uint16_t code, nh_slice reason, const uint8_t mask[4]);
/* XORs in place; `offset` = how many bytes of this payload were masked before. */
void nh_ws_mask(uint8_t *bytes, size_t len, const uint8_t mask[4], size_t offset);
/* May this code stand in a close frame? (1000-1003, 1007-1014, 3000-4999) */
bool nh_ws_close_code_valid(uint16_t code);

/* Handshake. */
#define NH_WS_ACCEPT_LEN 28
/* Sec-WebSocket-Accept of a key, NUL-terminated. */
void nh_ws_accept_key(nh_slice key, char out[NH_WS_ACCEPT_LEN + 1]);
/*
 * nh_ws_server_check - is this request a proper upgrade? *key is a view of Sec-WebSocket-Key.
 * NH_EFORMAT: answer 400. NH_EUNSUPPORTED: other version: 426 with "Sec-WebSocket-Version: 13". NH_EINVAL: not GET (405/400). NH_EPERM: Origin names
 * another host than Host: 403. err has a text for the body. source: RFC 6455 4.2, 10.2; reference/device-protocol "2.4"
 */
nh_rc nh_ws_server_check(const struct nh_http_request_head *head, nh_slice *key, struct nh_err *err);
/* nh_ws_client_check - is this a valid 101 for the key we sent? NH_EFORMAT: headers or accept value wrong, or an extension or subprotocol nobody asked for. */
nh_rc nh_ws_client_check(const struct nh_http_response_head *head, nh_slice key, struct nh_err *err);
