/*
 * Devices that ask instead of being told: the polling API. What they run is taken from each question as from a join, and what they are offered is decided by the code that decides for
 * connected devices. They report nothing else: success is a question with the new firmware's UUID, failure is silence until the update's row expires.
 *
 * thread: the writer's. source: reference/device-protocol "15"
 */
#pragma once

#include "hub/device_session.h"

/*
 * nh_poll - one question. opening: of nh_opening_make, this request being its whole life; it is recorded as a connection that came and went, unless the device holds a real one. payload: what it runs,
 * named as at a join ("nerves_fw_uuid" …). *update: the update as it would have been pushed, JSON text in the arena; empty: none.
 * NH_ENOTFOUND: no such live device, or the certificate is no longer pinned to it. NH_EIO.
 */
nh_rc nh_poll(struct nh_ctx *ctx, const struct nh_opening *opening, const json_t *payload, nh_slice *update, struct nh_err *err);
/* nh_poll_identifier - "who am I?". Recorded in the same way; codes as above. */
nh_rc nh_poll_identifier(struct nh_ctx *ctx, const struct nh_opening *opening, nh_slice *identifier, struct nh_err *err);
