/*
 * Framed input and output of `fwup --framing`: packets with a 4-byte big-endian length. Used by nh-fwup itself and by whoever drives an fwup
 * process. Sans-IO.  thread: one at a time.  source: reference/fwup-format "13.2"
 */
#pragma once

#include "base/buf.h"

/* Output packets: 2 letters, 2 bytes value, text. */
#define NH_FW_PACKET_OK "OK"
#define NH_FW_PACKET_ERROR "ER"
#define NH_FW_PACKET_WARNING "WN"
#define NH_FW_PACKET_PROGRESS "PR"

/* Appends one output packet; text at most 64 KiB - 4. */
void nh_fw_packet_put(struct nh_buf *out, const char type[2], uint16_t value, nh_slice text);
/* Input side: one packet of archive bytes; empty = end of input. */
void nh_fw_frame_put(struct nh_buf *out, nh_slice bytes);

/* Reads output packets from a byte stream. Zero it to begin; fini frees. */
struct nh_fw_packet_reader {
	struct nh_buf held;
	size_t used; /* bytes at its start that the last packet lent out */
};
struct nh_fw_packet {
	char type[3];    /* NUL-terminated */
	uint16_t value;
	nh_slice text;   /* borrowed until the next call */
};
void nh_fw_packet_reader_fini(struct nh_fw_packet_reader *r);
/* Appends bytes. NH_ETOOBIG: more than 64 KiB wait unread. */
nh_rc nh_fw_packet_reader_feed(struct nh_fw_packet_reader *r, nh_slice bytes, struct nh_err *err);
/* NH_OK with a packet; NH_EAGAIN: more bytes are needed; NH_EFORMAT: length under 4 or over 64 KiB (also the exit handshake's two bytes). */
nh_rc nh_fw_packet_reader_next(struct nh_fw_packet_reader *r, struct nh_fw_packet *out, struct nh_err *err);

/* Unwraps framed input: state of the header being read. Zero it to begin. */
struct nh_fw_deframer {
	uint8_t header[4];
	unsigned have;
	uint32_t left;
	bool ended;
};
/* Takes the next run of payload bytes off *in; empty: *in is used up or the end packet was seen (d->ended). */
nh_slice nh_fw_deframe(struct nh_fw_deframer *d, nh_slice *in);
