/*
 * How I2C transfers reach a chip: a table of functions per kind of bus. One level below commands, so that the same driver runs on hardware, on the simulator and on recordings.
 *
 * A transport belongs to one bus and one 7-bit address. thread: one at a time per transport; processes share a bus through lock.
 * source: reference/nerveskey "2"
 */
#pragma once

#include "base/buf.h"

struct nh_atecc_transport_ops {
	/* The wake pulse: a transfer to address 0 whose missing acknowledgement is normal. Not the wait, not the answer. */
	nh_rc (*wake)(void *ctx, struct nh_err *err);
	/* One write: bytes begin with the word address. NH_EAGAIN: not acknowledged (asleep, busy, absent). NH_EIO, NH_EPERM, NH_EUNSUPPORTED: said with errno in words. */
	nh_rc (*write)(void *ctx, nh_slice bytes, struct nh_err *err);
	/* One read of exactly len bytes. NH_EAGAIN as above. */
	nh_rc (*read)(void *ctx, uint8_t *out, size_t len, struct nh_err *err);
	void (*delay_us)(void *ctx, uint32_t us);
	/* The bus for this process alone, for a whole transaction. NH_ETIMEOUT names the holder where it is known. */
	nh_rc (*lock)(void *ctx, uint32_t timeout_ms, struct nh_err *err);
	void (*unlock)(void *ctx);
	void (*close)(void *ctx);
	/* Appends a sentence, begun by a blank, on what is unusual with this bus and may be why no chip answers, or garbled. NULL: never anything. */
	void (*hint)(void *ctx, struct nh_buf *out);
};

struct nh_atecc_transport {
	const struct nh_atecc_transport_ops *ops;
	void *ctx;
	char name[128];  /* for messages: "/dev/i2c-1 address 0x60", "simulator /run/sim.sock address 0x60" */
	uint8_t address; /* 7-bit */
};

/*
 * nh_atecc_transport_open - by name. Forms (ADDRESS 0x03 to 0x77, or an 8-bit one that can be nothing else; default 0x60):
 *   i2c-1  i2c:1[@ADDRESS]  /dev/i2c-1[@ADDRESS]  nerveskey://i2c-1[?address=0x35]       Linux I2C
 *   sim:PATH[@ADDRESS]  nerveskey+sim:///path[?address=0x35]                              nerveskey-sim's socket
 *   record:FILE,SPEC                                                                       any of these, every transfer written to FILE
 *   replay:FILE                                                                            a recording: answers as recorded; NH_EFORMAT when the driver asks otherwise
 * NH_EINVAL: not such a name; NH_ENOTFOUND: no such bus or socket (says how to enable it); NH_EPERM: permission (names the group); NH_EUNSUPPORTED: an SMBus-only adapter; NH_EIO.
 */
nh_rc nh_atecc_transport_open(const char *spec, struct nh_atecc_transport *out, struct nh_err *err);
void nh_atecc_transport_close(struct nh_atecc_transport *t); /* legal on a zeroed one */
