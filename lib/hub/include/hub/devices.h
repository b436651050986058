/*
 * Devices: rows, lists with filters, edits. What a device does when it connects: hub/device_session.h; its updates: hub/updates.h.
 *
 * An identifier is unique among the live devices of an organization. Deleting a device removes its certificates; the identifier is free again.
 *
 * Conventions: hub/accounts.h. Roles: view to look, manage to change. source: reference/user-api-and-cli "11"; reference/server-behaviour "1.4";
 * design/architecture "5"
 */
#pragma once

#include "hub/hub.h"
#include "hub/permissions.h"
#include "hub/products.h"
#include "store/device_query.h"

struct nh_device {
	int64_t id, org_id, product_id;
	nh_slice identifier;
	nh_slice description;              /* pointer NULL if none */
	nh_slice tags;                     /* JSON array text; pointer NULL if never set */
	nh_slice status;                   /* "registered", "provisioned" */
	bool updates_enabled;
	int64_t updates_blocked_until_us;  /* 0: not blocked */
	nh_slice connecting_code, custom_location, extensions; /* pointer NULL if none */
	nh_slice firmware_uuid, firmware_version, firmware_platform, firmware_architecture; /* pointer NULL: nothing reported yet */
	nh_slice firmware_metadata;        /* JSON object text; pointer NULL */
	nh_slice firmware_validation_status;
	bool firmware_auto_revert_detected;
	int64_t first_seen_at_us, inserted_at_us, updated_at_us, deleted_at_us; /* 0: never */
	nh_slice org_name, product_name;
	/* from the rollout tables */
	nh_slice connection_status;        /* "connected", "connecting", "disconnected", "not_seen" */
	int64_t last_seen_at_us;           /* 0: never */
	int64_t group_id;                  /* 0: none; the next four then have NULL pointers */
	nh_slice group_name, group_firmware_uuid, group_firmware_version;
	bool group_active;
	nh_slice last_failure;             /* why its latest update failed; pointer NULL if it did not */
	int64_t last_failure_at_us;
};

#define NH_DEVICE_IDENTIFIER_MAX 255 /* bytes */
#define NH_DEVICE_TAGS_MAX 64

/* What a new device is; zero/empty = absent. */
struct nh_new_device {
	nh_slice identifier;
	nh_slice description;
	const nh_slice *tags; /* NULL with has_tags false: null */
	size_t tag_count;
	bool has_tags;
};

/*
 * nh_device_provision - a device for just-in-time provisioning: no actor, no role. NH_EINVAL: identifier not acceptable. NH_ECONFLICT: taken within the
 * organization. NH_ENOTFOUND: product deleted. Effect TOPIC.
 */
nh_rc nh_device_provision(struct nh_ctx *ctx, int64_t org_id, int64_t product_id, const struct nh_new_device *input, int64_t *device_id,
                          struct nh_err *err);

/*
 * nh_device_create - fields: the API's object; `identifier` as given here wins over fields.identifier where its pointer is not NULL. Known fields only;
 * `org_id` and `product_id` are ignored. NH_EINVAL: identifier blank, invalid or taken, tags with spaces, wrong types, group of another product.
 */
nh_rc nh_device_create(struct nh_ctx *ctx, const struct nh_actor *actor, const struct nh_product *product, nh_slice identifier, const json_t *fields,
                       struct nh_device *out, json_t **errors, struct nh_err *err);
/* nh_device_update - changes the given fields. Effects: DEVICE_SETTINGS, TOPIC, GROUP_WAKE. Audit entry. */
nh_rc nh_device_update(struct nh_ctx *ctx, const struct nh_actor *actor, const struct nh_device *device, const json_t *fields, struct nh_device *out,
                       json_t **errors, struct nh_err *err);
/* nh_device_delete - soft; certificates and secrets go, effects CERT_FORGET for each, DEVICE_CLOSE. */
nh_rc nh_device_delete(struct nh_ctx *ctx, const struct nh_actor *actor, const struct nh_device *device, struct nh_err *err);

/* The one of that identifier that was deleted last. NH_ENOTFOUND, NH_EPERM. */
nh_rc nh_device_open_deleted(struct nh_ctx *ctx, const struct nh_actor *actor, const struct nh_product *product, nh_slice identifier, nh_action action, struct nh_device *out,
			     struct nh_err *err);
/* nh_device_restore - a deleted one is live again, without certificates and secrets. NH_ENOTFOUND; NH_EINVAL with *errors: another has its identifier now. Audit entry. */
nh_rc nh_device_restore(struct nh_ctx *ctx, const struct nh_actor *actor, const struct nh_product *product, nh_slice identifier, struct nh_device *out, json_t **errors,
			struct nh_err *err);
/* nh_device_destroy - a deleted one is forgotten with all that it told; the audit log keeps what was done with it. NH_ENOTFOUND. Audit entry of the product. */
nh_rc nh_device_destroy(struct nh_ctx *ctx, const struct nh_actor *actor, const struct nh_product *product, nh_slice identifier, struct nh_err *err);

/*
 * nh_deleted_devices_trim - forgets for good at most NH_DELETED_DEVICES_BATCH devices that were deleted NH_DELETED_DEVICES_DAYS ago or earlier; *rows tells how many, so that the caller repeats. A
 * notification and an audit entry of the product for each. Write. NH_EIO. source: reference/server-behaviour "1.11"
 */
#define NH_DELETED_DEVICES_DAYS 12
#define NH_DELETED_DEVICES_BATCH 50
nh_rc nh_deleted_devices_trim(struct nh_ctx *ctx, size_t *rows, struct nh_err *err);

/* nh_device_open - the live device of the product. NH_ENOTFOUND, NH_EPERM. */
nh_rc nh_device_open(struct nh_ctx *ctx, const struct nh_actor *actor, const struct nh_product *product, nh_slice identifier, nh_action action,
                     struct nh_device *out, struct nh_err *err);
/* nh_device_open_anywhere - by identifier among the actor's organizations. NH_ECONFLICT: more than one. */
nh_rc nh_device_open_anywhere(struct nh_ctx *ctx, const struct nh_actor *actor, nh_slice identifier, nh_action action, struct nh_device *out,
                              struct nh_err *err);
nh_rc nh_device_by_id(struct nh_ctx *ctx, int64_t device_id, struct nh_device *out, struct nh_err *err); /* no actor; deleted ones too */

/* nh_device_move - to another product, also of another organization where the actor has manage too. NH_ENOTFOUND, NH_EPERM, NH_EINVAL (identifier taken there). */
nh_rc nh_device_move(struct nh_ctx *ctx, const struct nh_actor *actor, const struct nh_device *device, nh_slice org_name, nh_slice product_name,
                     struct nh_device *out, json_t **errors, struct nh_err *err);

/* ---- lists ---------------------------------------------------------------------------------------------------------------- */

#define NH_DEVICE_PAGE_SIZE 10
#define NH_DEVICE_PAGE_SIZE_MAX 100
#define NH_DEVICE_EXPORT_PAGE 1000
#define NH_DEVICE_COUNT_MAX 10000 /* filtered totals are counted up to here */
#define NH_DEVICE_FILTERS_MAX 32

struct nh_device_query {
	const struct nh_filter *filters; /* at most NH_DEVICE_FILTERS_MAX; unknown keys and empty values are ignored */
	size_t filter_count;
	nh_slice text;           /* of the query language (hub/device_query.h); empty: none */
	nh_slice sort;           /* column name, empty: identifier */
	bool descending;
	nh_nulls nulls;
	int64_t page, page_size; /* from 1; 0: defaults */
	int64_t page_size_max;   /* 0: NH_DEVICE_PAGE_SIZE_MAX */
	bool keyset;             /* pages that begin behind `after` instead of numbered ones */
	nh_slice after;          /* nh_device_page.next of the page before; empty: from the beginning */
};
struct nh_device_page {
	struct nh_device *items;
	size_t count;
	int64_t page, page_size;
	int64_t total; /* when filtered, exact up to NH_DEVICE_COUNT_MAX and on the last page; -1: filtered and keyset, then nobody counts */
	nh_slice next; /* what the next page begins behind: ASCII, opaque; empty: this is the last one */
};
/* NH_EINVAL with *errors: unknown sort column ("sort"), no such query ("query", with the place), a cursor of another list ("pagination"), too many filters ("filters"). */
nh_rc nh_device_list(struct nh_ctx *ctx, const struct nh_actor *actor, const struct nh_product *product, const struct nh_device_query *query,
                     struct nh_device_page *out, json_t **errors, struct nh_err *err);

/* nh_tags_read - pure: JSON array of strings or one comma-separated string to a JSON array; NULL and *text for people where it is neither. */
json_t *nh_tags_read(const json_t *value, const char **text);
