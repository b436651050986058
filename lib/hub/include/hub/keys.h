/*
 * Signing keys of an organization: firmware is accepted only with a signature of one of them.
 *
 * Conventions: hub/accounts.h. Roles: view to look, manage to create and delete. Scheme "ed25519" only; "secure_boot_v2_rsa" is refused, since this
 * version takes no ESP-IDF images. source: reference/user-api-and-cli "8"; reference/server-behaviour "1.2"
 */
#pragma once

#include "hub/hub.h"

struct nh_org_key {
	int64_t id, org_id;
	nh_slice name, key, scheme;
	int64_t inserted_at_us;
};

/* By name. NH_ENOTFOUND: no member. One by its name: NH_ENOTFOUND also where there is none. */
nh_rc nh_org_key_list(struct nh_ctx *ctx, const struct nh_actor *actor, int64_t org_id, struct nh_org_key **out, size_t *count, struct nh_err *err);
nh_rc nh_org_key_open(struct nh_ctx *ctx, const struct nh_actor *actor, int64_t org_id, nh_slice name, struct nh_org_key *out, struct nh_err *err);
/* scheme empty: ed25519. NH_EINVAL: name or key blank, invalid or taken. */
nh_rc nh_org_key_create(struct nh_ctx *ctx, const struct nh_actor *actor, int64_t org_id, nh_slice name, nh_slice key, nh_slice scheme,
                    struct nh_org_key *out, json_t **errors, struct nh_err *err);
/* NH_ECONFLICT with *errors: firmware signed with it exists. NH_ENOTFOUND. */
nh_rc nh_org_key_delete(struct nh_ctx *ctx, const struct nh_actor *actor, int64_t org_id, nh_slice name, json_t **errors, struct nh_err *err);
