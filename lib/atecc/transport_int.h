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

/* Sleeps, whatever signals come. The delay of every transport but a recording's. */
void nh_atecc_sleep_us(void *ctx, uint32_t us);
