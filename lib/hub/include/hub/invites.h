/*
 * Invitations: how somebody becomes a member who has no account yet. Who has one joins at once; else a link is mailed that is good for two days, and whoever opens it makes the account (whose
 * address is confirmed thereby) and is a member with the role that was offered. Admins are told who was invited, added, removed, or left.
 *
 * Conventions: hub/accounts.h. source: reference/server-behaviour "9.3", "9.6"; reference/user-api-and-cli "7"
 */
#pragma once

#include "hub/accounts.h"

#define NH_INVITE_S (48 * 3600)
#define NH_INVITES_MAX 200 /* open ones of an organization: nobody mails the world through it */

struct nh_invite {
	int64_t id, org_id;
	nh_slice org_name, email, inviter; /* inviter: empty where the account is gone */
	nh_role role;
	int64_t inserted_at_us, expires_at_us;
};

/*
 * nh_member_invite - an existing account becomes a member (*invited false, *out the member), another address is invited (*invited true).
 * NH_EINVAL: email; role; "org_users": already a member; detail: too many open invitations, or the server sends no mails and nobody has that address.
 */
nh_rc nh_member_invite(struct nh_ctx *ctx, const struct nh_actor *actor, const struct nh_org *org, nh_slice email, nh_slice role, bool *invited, struct nh_member *out,
                       json_t **errors, struct nh_err *err);
nh_rc nh_invite_list(struct nh_ctx *ctx, const struct nh_actor *actor, int64_t org_id, struct nh_invite **out, size_t *count, struct nh_err *err); /* oldest first, at most 500 */
nh_rc nh_invite_rescind(struct nh_ctx *ctx, const struct nh_actor *actor, int64_t org_id, int64_t invite_id, struct nh_err *err); /* NH_ENOTFOUND */

nh_rc nh_invite_find(struct nh_ctx *ctx, nh_slice token, struct nh_invite *out, struct nh_err *err); /* read. NH_EAUTH: unknown, ended, used */
/* nh_invite_accept - input: name and password; its address is replaced by the invitation's. NH_EAUTH as above; NH_EINVAL: the address has an account meanwhile. */
nh_rc nh_invite_accept(struct nh_ctx *ctx, nh_slice token, const struct nh_new_user *input, struct nh_user *out, json_t **errors, struct nh_err *err);
/* nh_invite_join - the signed-in user, to whose address it went, becomes a member. NH_EAUTH: as above, or another address. */
nh_rc nh_invite_join(struct nh_ctx *ctx, nh_slice token, const struct nh_user *user, struct nh_err *err);
nh_rc nh_invites_trim(struct nh_ctx *ctx, struct nh_err *err); /* deletes those that have ended */

/* nh_member_leave - the actor's own way out; the last admin cannot (NH_EINVAL with detail). NH_ENOTFOUND: no member. */
nh_rc nh_member_leave(struct nh_ctx *ctx, const struct nh_user *user, const struct nh_org *org, json_t **errors, struct nh_err *err);
/* nh_member_expel - nh_member_remove, and the other admins are told. */
nh_rc nh_member_expel(struct nh_ctx *ctx, const struct nh_actor *actor, const struct nh_org *org, nh_slice email, json_t **errors, struct nh_err *err);
