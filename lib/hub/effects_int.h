/* Effects inside of the hub: appended without a word to other servers, and that word. */
#pragma once

#include "hub/hub.h"

/* What nh_effect_add does first. hub.c */
void nh_effect_put(struct nh_ctx *ctx, nh_effect_kind kind, int64_t id, nh_slice name, nh_slice payload);
/* And then: another server that holds the device, or all, get a row. A failure breaks the transaction by itself. nodes.c */
nh_rc nh_effect_tell(struct nh_ctx *ctx, const struct nh_effect *effect, struct nh_err *err);
