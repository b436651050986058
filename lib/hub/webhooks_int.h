/*
 * What the two sides of webhooks share: people's (webhooks.c) and the sender's (webhook_deliveries.c). Private to hub.
 */
#pragma once

#include "hub/webhooks.h"

#define NH_WEBHOOK_GIVE_UP_US (INT64_C(86400) * NH_US_PER_S)
#define NH_WEBHOOK_WAITING_MAX INT64_C(100000)
#define NH_WEBHOOK_STEP 500 /* rows of one transaction */

int64_t nh_webhook_give_up_us(const struct nh_ctx *ctx);

/* nh_webhook_kinds_changed - what the organization's row says its webhooks ask for. */
nh_rc nh_webhook_kinds_changed(struct nh_ctx *ctx, int64_t org_id, struct nh_err *err);

/* nh_webhook_body - the JSON that is sent. data is borrowed. In the arena. */
nh_slice nh_webhook_body(struct nh_ctx *ctx, const char *kind, nh_slice uuid, int64_t at_us, const json_t *data);

/* nh_webhook_signature - of all secrets that sign now; the sealed ones of the row, old with pointer NULL: none. NH_EAUTH: does not open. In the arena. */
nh_rc nh_webhook_signature(struct nh_ctx *ctx, int64_t org_id, nh_slice sealed, nh_slice old_sealed, int64_t old_until_us, struct nh_webhook_request *request, struct nh_err *err);

/* nh_webhook_origin - scheme, host and port of a url: what logs and mails may name. */
nh_slice nh_webhook_origin(nh_slice url);
