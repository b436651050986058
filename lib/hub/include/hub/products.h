/*
 * Products: what devices and firmware belong to. Deleting one keeps its rows but hides them.
 *
 * Conventions of errors, threads and results: hub/accounts.h. Roles: view to look, manage to change settings, admin to create and delete.
 * source: reference/user-api-and-cli "10"; reference/server-behaviour "1.3"
 */
#pragma once

#include "hub/hub.h"
#include "hub/permissions.h"

struct nh_product {
	int64_t id, org_id;
	nh_slice name, org_name;
	bool require_unique_firmware_version;
	nh_slice allowed_update_tools; /* JSON array text */
	bool allow_unsigned_esp_idf_firmware;
	nh_slice extensions;           /* JSON object text: name to true or false; what is not there is off */
	int64_t device_count, firmware_count; /* live devices; firmwares */
	int64_t inserted_at_us, updated_at_us;
};

nh_rc nh_product_open(struct nh_ctx *ctx, const struct nh_actor *actor, int64_t org_id, nh_slice name, nh_action action, struct nh_product *out,
                      struct nh_err *err); /* NH_ENOTFOUND, NH_EPERM */
nh_rc nh_product_by_id(struct nh_ctx *ctx, int64_t product_id, struct nh_product *out, struct nh_err *err); /* live ones; no actor: for device paths */
nh_rc nh_product_list(struct nh_ctx *ctx, const struct nh_actor *actor, int64_t org_id, struct nh_product **out, size_t *count, struct nh_err *err);
/* NH_EINVAL: "name" blank, over 255 bytes or taken. */
nh_rc nh_product_create(struct nh_ctx *ctx, const struct nh_actor *actor, int64_t org_id, nh_slice name, struct nh_product *out, json_t **errors,
                        struct nh_err *err);
/* nh_product_update - fields: object with any of the settings; another key is refused with the reference's sentence. Effect PRODUCT_SETTINGS where the extensions changed. */
nh_rc nh_product_update(struct nh_ctx *ctx, const struct nh_actor *actor, const struct nh_product *product, const json_t *fields,
                        struct nh_product *out, json_t **errors, struct nh_err *err);
/* NH_ECONFLICT with *errors while it has devices: nobody could reach them any more, yet they would keep their identifiers and their updates. */
nh_rc nh_product_delete(struct nh_ctx *ctx, const struct nh_actor *actor, const struct nh_product *product, json_t **errors, struct nh_err *err);
