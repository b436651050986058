/*
 * The simulated I2C bus on a stream socket: what nerveskey-sim answers, the driver's simulator transport and the preloaded shim ask. One socket is one bus with up to 127 chips.
 *
 * Request: op(1) address(1) length(2, little-endian) and, for W, that many bytes. Answer: 1 (acknowledged) or 0 (not), for an acknowledged R followed by length bytes.
 * A request is one I2C transfer. L takes the bus for this connection until U or the connection's end; others' transfers wait meanwhile.
 *   'W' write: first byte is the word address; address 0 is the general call whose eight zero bits wake every chip (answers 0, as on the wire)
 *   'R' read length bytes      'L' lock, length = 0 (answers 1 when it is ours)      'U' unlock (1)
 *   'C' control: text command of nerveskey-sim ("power-cycle", "show", faults; nerveskey-sim(1)); answer 1/0, length(2, little-endian), that many bytes of text
 *
 * thread: any, one connection at a time. source: reference/nerveskey "15"
 */
#pragma once

#include "base/buf.h"

#define NH_ATECC_BUS_TRANSFER_MAX 4096u /* bytes of one transfer or control text */

/* nh_atecc_bus_connect - to the socket's path. NH_ENOTFOUND: no such socket; NH_EIO: nobody listens (nerveskey-sim is not running); NH_EPERM; NH_EINVAL: too long a path. *fd: close(2). Blocking. */
nh_rc nh_atecc_bus_connect(const char *path, int *fd, struct nh_err *err);
/* One transfer; blocks. NH_EAGAIN: not acknowledged. NH_EIO: the simulator is gone. NH_EINVAL: over NH_ATECC_BUS_TRANSFER_MAX. */
nh_rc nh_atecc_bus_write(int fd, uint8_t address, nh_slice bytes, struct nh_err *err);
nh_rc nh_atecc_bus_read(int fd, uint8_t address, uint8_t *out, size_t len, struct nh_err *err);
nh_rc nh_atecc_bus_lock(int fd, struct nh_err *err);
/* As nh_atecc_bus_lock; NH_ETIMEOUT: another connection holds the bus. The request then still stands and its answer may come later: the connection must be closed. */
nh_rc nh_atecc_bus_lock_within(int fd, uint32_t timeout_ms, struct nh_err *err);
nh_rc nh_atecc_bus_unlock(int fd, struct nh_err *err);
/* nh_atecc_bus_control - appends the answer's text. NH_EINVAL: refused, text says why. NH_EIO. */
nh_rc nh_atecc_bus_control(int fd, nh_slice command, struct nh_buf *answer, struct nh_err *err);
