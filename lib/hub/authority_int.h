/*
 * What the files of the certificate authority share. Private to hub.
 */
#pragma once

#include "hub/authority.h"

int64_t nh_authority_id(const struct nh_authority *a); /* of its row */
/* nh_server_admin - is the actor an administrator of the whole server? NH_EPERM. */
nh_rc nh_server_admin(struct nh_ctx *ctx, const struct nh_actor *actor, struct nh_err *err);
/* NH_ENOTFOUND. */
nh_rc nh_issued_by_sha256(struct nh_ctx *ctx, nh_slice sha256, struct nh_issued *out, struct nh_err *err);
