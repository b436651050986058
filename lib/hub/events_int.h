/*
 * What the files that let things happen share with events.c. Private to hub.
 */
#pragma once

#include "hub/events.h"

/* nh_event_put - writes it; that somebody asks for it the caller has found out. data is borrowed; NULL: nothing. */
nh_rc nh_event_put(struct nh_ctx *ctx, nh_event_kind kind, const struct nh_event_subject *of, const json_t *data, struct nh_err *err);
