/*
 * Shared secrets of products and devices: making and switching off. Verifying signatures made with them: hub/device_auth.h.
 *
 * A secret is stored in clear, since both sides derive keys from it; it is shown once, when it is made, and never listed.
 * Conventions: hub/accounts.h. Roles: manage. source: reference/server-behaviour "1.3"; reference/device-protocol "6.1"
 */
#pragma once

#include "hub/devices.h"
#include "hub/hub.h"
#include "hub/products.h"

struct nh_shared_secret {
	int64_t id;
	nh_slice key;    /* "nhp_…" or "nhd_…" */
	nh_slice secret; /* only from create; else pointer NULL */
	int64_t deactivated_at_us, inserted_at_us; /* deactivated 0: active */
};

/* Makes key and secret from ctx's random source; *out is the only place that ever shows the secret. NH_ENOTFOUND, NH_EPERM: hub/hub.h. */
nh_rc nh_product_secret_create(struct nh_ctx *ctx, const struct nh_actor *actor, const struct nh_product *product, struct nh_shared_secret *out,
                               struct nh_err *err);
/* Active ones and those switched off, without their secrets. */
nh_rc nh_product_secret_list(struct nh_ctx *ctx, const struct nh_actor *actor, const struct nh_product *product, struct nh_shared_secret **out,
                             size_t *count, struct nh_err *err);
nh_rc nh_product_secret_deactivate(struct nh_ctx *ctx, const struct nh_actor *actor, const struct nh_product *product, nh_slice key,
                                   struct nh_err *err); /* NH_ENOTFOUND */
/* The same for one device ("nhd_…"). */
nh_rc nh_device_secret_create(struct nh_ctx *ctx, const struct nh_actor *actor, const struct nh_device *device, struct nh_shared_secret *out,
                              struct nh_err *err);
nh_rc nh_device_secret_list(struct nh_ctx *ctx, const struct nh_actor *actor, const struct nh_device *device, struct nh_shared_secret **out, size_t *count, struct nh_err *err);
nh_rc nh_device_secret_deactivate(struct nh_ctx *ctx, const struct nh_actor *actor, const struct nh_device *device, nh_slice key,
                                  struct nh_err *err); /* NH_ENOTFOUND */
