/*
 * What the files that let things happen share with events.c. Private to hub.
 */
#pragma once

#include "hub/events.h"

/* nh_event_of_update - of a device's update to a firmware; version and reason: empty where nothing is known of them. No statement, and nothing made up, where nobody asks. */
nh_rc nh_event_of_update(struct nh_ctx *ctx, nh_event_kind kind, const struct nh_device_facts *device, int64_t group_id, nh_slice firmware_uuid, nh_slice version, nh_slice reason, struct nh_err *err);
/* nh_event_put - writes it; that somebody asks for it the caller has found out. data is borrowed; NULL: nothing. */
nh_rc nh_event_put(struct nh_ctx *ctx, nh_event_kind kind, const struct nh_event_subject *of, const json_t *data, struct nh_err *err);
