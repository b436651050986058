/*
 * What people look after a fleet with: devices they pinned, what a product has to tell them, how many devices run what, the search box.
 *
 * Conventions of errors, threads and results: hub/accounts.h. Results are in the context's arena.
 * source: reference/server-behaviour "1.3", "1.9", "9.7", "14.4"
 */
#pragma once

#include "hub/devices.h"
#include "hub/hub.h"
#include "hub/products.h"

/* ---- pins: each person's own ----------------------------------------------------------------------------------------------- */

#define NH_PIN_LIST_MAX 500
/* nh_pin_set - pins the device for the actor, or no longer; said twice it is the same. NH_ENOTFOUND, NH_EPERM. */
nh_rc nh_pin_set(struct nh_ctx *ctx, const struct nh_actor *actor, const struct nh_device *device, bool pinned, struct nh_err *err);
/* nh_pin_list - the actor's, of organizations where it is a member, by identifier; at most NH_PIN_LIST_MAX. */
nh_rc nh_pin_list(struct nh_ctx *ctx, const struct nh_actor *actor, struct nh_device **out, size_t *count, struct nh_err *err);

/* ---- notifications: a product's, for all members alike ------------------------------------------------------------------------ */

typedef enum nh_notification_level { NH_NOTIFY_INFO, NH_NOTIFY_WARNING, NH_NOTIFY_ERROR } nh_notification_level;
const char *nh_notification_level_name(nh_notification_level level); /* "info", "warning", "error" */

struct nh_notification {
	int64_t id;
	nh_slice level, event_key, title, message;
	nh_slice metadata; /* JSON object text */
	int64_t occurrence_count, last_occurred_at_us, inserted_at_us;
};

#define NH_NOTIFICATION_LIST_MAX 100
/*
 * nh_notification_add - tells the product's people something. event_key names what it is about, in printable ASCII without blanks: the same again is counted and not told anew. metadata: a
 * JSON object (borrowed) or NULL. title and message are cut at 500 bytes; never put a secret there. Needs a write transaction. NH_EIO.
 */
nh_rc nh_notification_add(struct nh_ctx *ctx, int64_t product_id, nh_notification_level level, const char *event_key, nh_slice title, nh_slice message, const json_t *metadata,
			  struct nh_err *err);
/* nh_notification_list - newest first, at most NH_NOTIFICATION_LIST_MAX. */
nh_rc nh_notification_list(struct nh_ctx *ctx, const struct nh_actor *actor, const struct nh_product *product, struct nh_notification **out, size_t *count, struct nh_err *err);
nh_rc nh_notification_dismiss(struct nh_ctx *ctx, const struct nh_actor *actor, const struct nh_product *product, struct nh_err *err); /* all of them, for everybody */

/* ---- figures ------------------------------------------------------------------------------------------------------------------ */

struct nh_firmware_figure {
	nh_slice version, platform, architecture; /* pointer NULL: not reported yet */
	int64_t devices;
};

#define NH_FIGURES_MAX 200
struct nh_insights {
	int64_t devices, connected, not_seen; /* live ones; the rest is disconnected */
	struct nh_firmware_figure *firmware;  /* the most devices first, at most NH_FIGURES_MAX */
	size_t firmware_count;
};
/* nh_insights_read - the product's figures. Costs one walk through an index of the product's devices, and reads no row of them. */
nh_rc nh_insights_read(struct nh_ctx *ctx, const struct nh_actor *actor, const struct nh_product *product, struct nh_insights *out, struct nh_err *err);

/* ---- search box --------------------------------------------------------------------------------------------------------------- */

#define NH_FOUND_MAX 5 /* of each kind */
#define NH_SEARCH_MIN 2 /* characters */

struct nh_found {
	nh_slice org_name, product_name;
	nh_slice name; /* a device's identifier, a deployment group's name, a firmware's UUID */
	nh_slice version, platform, architecture; /* a firmware's */
};
struct nh_search_result {
	struct nh_found devices[NH_FOUND_MAX], groups[NH_FOUND_MAX], firmwares[NH_FOUND_MAX];
	size_t device_count, group_count, firmware_count;
};
/*
 * nh_search - text contained in identifiers of devices and names of deployment groups, or how a firmware's UUID begins, letter case aside. In the product where that is not NULL, else in
 * org_id where that is not 0, else wherever the actor is a member. NH_EINVAL with *errors: under NH_SEARCH_MIN characters.
 */
nh_rc nh_search(struct nh_ctx *ctx, const struct nh_actor *actor, int64_t org_id, const struct nh_product *product, nh_slice text, struct nh_search_result *out, json_t **errors,
		struct nh_err *err);

/* ---- organizations' settings ---------------------------------------------------------------------------------------------------- */

struct nh_org_settings {
	int64_t audit_log_days_to_keep; /* 0: as the server has it */
};
nh_rc nh_org_settings_read(struct nh_ctx *ctx, int64_t org_id, struct nh_org_settings *out, struct nh_err *err);
struct nh_org;
/* nh_org_update - fields: name, audit_log_days_to_keep (1 to 36500, or null). NH_EINVAL with *errors. Audit entry. Devices and firmware know the organization by id: nothing else changes. */
nh_rc nh_org_update(struct nh_ctx *ctx, const struct nh_actor *actor, const struct nh_org *org, const json_t *fields, struct nh_org *out, json_t **errors, struct nh_err *err);
/*
 * nh_org_delete - with its products; its device CAs go for good, so that another organization may register them. NH_ECONFLICT with *errors while it has devices, as nh_product_delete;
 * NH_EINVAL with *errors: somebody's personal organization, which goes with the account only. Audit entry.
 */
nh_rc nh_org_delete(struct nh_ctx *ctx, const struct nh_actor *actor, const struct nh_org *org, json_t **errors, struct nh_err *err);
