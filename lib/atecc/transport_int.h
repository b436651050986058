/*
 * The kinds of transport, for transport.c's table: each opens one bus and one address. out gets ops and ctx; name and address are transport.c's, and *out is whole before open runs, so that
 * messages can name it. thread: any.
 */
#pragma once

#include "atecc/transport.h"

/* path: device node, socket, or recording. Errors: nh_atecc_transport_open. */
nh_rc nh_atecc_i2c_open(const char *path, struct nh_atecc_transport *out, struct nh_err *err);
nh_rc nh_atecc_sim_open(const char *path, struct nh_atecc_transport *out, struct nh_err *err);
nh_rc nh_atecc_replay_open(const char *path, struct nh_atecc_transport *out, struct nh_err *err);
/* As replay, from memory (copied): for tests. */
nh_rc nh_atecc_replay_open_text(nh_slice text, struct nh_atecc_transport *out, struct nh_err *err);
/* inner is taken, also on error. */
nh_rc nh_atecc_record_open(const char *path, struct nh_atecc_transport take_inner, struct nh_atecc_transport *out, struct nh_err *err);

/* nh_atecc_i2c_hint - the kernel driver that has claimed the address, a clock above 100 kHz; sys: where sysfs is mounted. Appends nothing where all is well or unknown. */
void nh_atecc_i2c_hint(const char *sys, unsigned bus, uint8_t address, struct nh_buf *out);
/* nh_atecc_flock_holder - the process that holds a flock(2) on the file, from the text of /proc/locks; 0: nobody. */
uint64_t nh_atecc_flock_holder(nh_slice locks, unsigned device_major, unsigned device_minor, uint64_t inode);

/* Sleeps, whatever signals come. The delay of every transport but a recording's. */
void nh_atecc_sleep_us(void *ctx, uint32_t us);
