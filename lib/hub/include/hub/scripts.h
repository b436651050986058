/*
 * Support scripts: pieces of code of a product that people run on its devices, one device at a time. Here they are rows; who carries a run to the device and back is the caller's
 * (bus/relay.h). Names need not be unique.
 *
 * Conventions: hub/accounts.h. Roles: view to look and to run, manage to change. source: reference/user-api-and-cli "14"; reference/server-behaviour "1.9", "6"
 */
#pragma once

#include "hub/devices.h"
#include "hub/hub.h"
#include "hub/permissions.h"
#include "hub/products.h"

#define NH_SCRIPTS_MAX 1000 /* of a product */
#define NH_SCRIPT_NAME_MAX 255 /* characters */
#define NH_SCRIPT_PAGE_SIZE 25
#define NH_SCRIPT_PAGE_SIZE_MAX 100

struct nh_script {
	int64_t id, product_id;
	nh_slice name;
	nh_slice tags;              /* JSON array text; pointer NULL if never set */
	nh_slice text;              /* pointer NULL in lists */
	int64_t creator_id;         /* 0: an account that is gone; name and e-mail have NULL pointers then */
	nh_slice creator_name, creator_email;
	int64_t inserted_at_us, updated_at_us;
};

/* What a list shows; filters with empty values are ignored. */
struct nh_script_query {
	nh_slice name;              /* a part of the name, in any letter case */
	nh_slice tags;              /* comma list: each is a part of the tags */
	nh_slice search;            /* a part of name or tags */
	int64_t page, page_size;    /* from 1; 0: defaults; page_size at most NH_SCRIPT_PAGE_SIZE_MAX */
};
struct nh_script_page {
	struct nh_script *items;    /* by name */
	size_t count;
	int64_t page, page_size, total;
};
nh_rc nh_script_list(struct nh_ctx *ctx, const struct nh_actor *actor, int64_t org_id, int64_t product_id, const struct nh_script_query *query,
                     struct nh_script_page *out, struct nh_err *err);
/* nh_script_all - every script of a product (at most NH_SCRIPTS_MAX), by name. */
nh_rc nh_script_all(struct nh_ctx *ctx, const struct nh_actor *actor, int64_t org_id, int64_t product_id, struct nh_script **out, size_t *count, struct nh_err *err);

/* nh_script_open - one of the product. NH_ENOTFOUND, NH_EPERM. */
nh_rc nh_script_open(struct nh_ctx *ctx, const struct nh_actor *actor, const struct nh_product *product, int64_t id, nh_action action, struct nh_script *out,
                     struct nh_err *err);
/*
 * nh_script_create, nh_script_update - fields: the API's object with name, text, tags; an update changes the given ones. Audit entry on the product.
 * NH_EINVAL with *errors: name or text blank, too long or no text, tags as in nh_tags_read, NH_SCRIPTS_MAX reached.
 */
nh_rc nh_script_create(struct nh_ctx *ctx, const struct nh_actor *actor, const struct nh_product *product, const json_t *fields, struct nh_script *out,
                       json_t **errors, struct nh_err *err);
nh_rc nh_script_update(struct nh_ctx *ctx, const struct nh_actor *actor, const struct nh_product *product, const struct nh_script *script, const json_t *fields,
                       struct nh_script *out, json_t **errors, struct nh_err *err);
nh_rc nh_script_delete(struct nh_ctx *ctx, const struct nh_actor *actor, const struct nh_product *product, const struct nh_script *script, struct nh_err *err);

/*
 * nh_script_run - somebody is about to run a script on a device: which one, by name first, then by id; audit entry on the device (write). That it reaches the device is not
 * said by that. NH_ENOTFOUND: the device's product has no such script.
 */
nh_rc nh_script_run(struct nh_ctx *ctx, const struct nh_actor *actor, const struct nh_device *device, nh_slice name_or_id, struct nh_script *out,
                    struct nh_err *err);
