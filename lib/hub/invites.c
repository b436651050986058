/*
 * Invitations, and what admins are told of members.
 *
 * source: reference/server-behaviour "9.3", "9.6"
 */
#include "hub/invites.h"

#include "crypto/digest.h"
#include "crypto/secret.h"
#include "hub/audit.h"
#include "hub/mails.h"
#include "hub/permissions.h"
#include "input_int.h"
#include "rows_int.h"
#include "store/accounts.h"
#include "store/foundation.h"
#include "tickets_int.h"

static int64_t actor_user(const struct nh_actor *actor) { return actor->kind == NH_ACTOR_USER ? actor->id : 0; }

/* ---- inviting ------------------------------------------------------------------------------------------------------------- */

static nh_rc add_member(struct nh_ctx *ctx, const struct nh_actor *actor, const struct nh_org *org, nh_slice email, nh_slice role, struct nh_member *out, json_t **errors,
                        struct nh_err *err)
{
	NH_TRY(nh_member_add(ctx, actor, org->id, email, role, out, errors, err));
	NH_TRY(nh_sql_exec(ctx->tx, &nh_q_invite_settle, NH_PARAMS(nh_p_int(org->id), nh_p_text(nh_input_lower(ctx->arena, out->email))), NULL, err));
	NH_TRY(nh_mail_queue(ctx, &(struct nh_mail){.kind = NH_MAIL_YOU_WERE_ADDED, .to = out->email, .name = out->name, .org = org->name, .who = actor->name}, err));
	return nh_mail_queue_admins(ctx, org->id, actor_user(actor), &(struct nh_mail){.kind = NH_MAIL_MEMBER_ADDED, .org = org->name, .who = actor->name, .address = out->email}, err);
}

static nh_rc insert_invite(struct nh_ctx *ctx, const struct nh_actor *actor, int64_t org_id, nh_slice email, nh_role role, char token[NH_TOKEN_TEXT_MAX], struct nh_err *err)
{
	uint8_t random[32], hash[NH_SHA512_LEN];
	int64_t id, now = nh_ctx_now(ctx);
	do {
		nh_rng_fill(ctx->rng, random, sizeof(random));
	} while (random[0] == 0);
	nh_token_format(random, token);
	nh_digest(NH_SHA512, nh_slice_of(random, sizeof(random)), hash);
	nh_wipe(random, sizeof(random));
	return nh_query_id(ctx->tx, &nh_q_invite_insert,
	                   NH_PARAMS(nh_p_int(org_id), nh_p_ref(actor_user(actor)), nh_p_text(email), nh_p_text(nh_input_lower(ctx->arena, email)), nh_p_int(role),
	                             nh_p_blob(nh_slice_of(hash, sizeof(hash))), nh_p_int(now), nh_p_int(now + NH_INVITE_S * NH_US_PER_S)),
	                   &id, err);
}

static nh_rc invite(struct nh_ctx *ctx, const struct nh_actor *actor, const struct nh_org *org, nh_slice email, nh_slice role, json_t **errors, struct nh_err *err)
{
	nh_role parsed;
	int64_t open = 0;
	char token[NH_TOKEN_TEXT_MAX];
	NH_TRY(nh_user_check(NH_LIT("Somebody"), email, errors, err));
	if (!nh_role_parse(role, &parsed))
		return nh_refuse(errors, err, NH_EINVAL, "role", "is invalid");
	if (!ctx->config->mails)
		return nh_refuse(errors, err, NH_EINVAL, NULL,
		                 "A user with that email address could not be found, and this server sends no mails: an account has to be registered first.");
	NH_TRY(nh_query_id(ctx->tx, &nh_q_invite_count, NH_PARAMS(nh_p_int(org->id), nh_p_int(nh_ctx_now(ctx))), &open, err));
	if (open >= NH_INVITES_MAX)
		return nh_refuse(errors, err, NH_EINVAL, NULL, "The organization has %d open invitations; rescind some, or wait until they end.", NH_INVITES_MAX);
	NH_TRY(insert_invite(ctx, actor, org->id, email, parsed, token, err));
	NH_TRY(nh_audit_add(ctx, actor, org->id, NH_AUDIT_ORG, org->id, err, "User %.*s invited %.*s to organization %.*s", NH_ARG(actor->name), NH_ARG(email), NH_ARG(org->name)));
	nh_slice link = nh_mail_link(ctx, "/invite/", nh_slice_str(token));
	NH_TRY(nh_mail_queue(ctx, &(struct nh_mail){.kind = NH_MAIL_INVITATION, .to = email, .org = org->name, .who = actor->name, .link = link}, err));
	return nh_mail_queue_admins(ctx, org->id, actor_user(actor), &(struct nh_mail){.kind = NH_MAIL_SOMEONE_INVITED, .org = org->name, .who = actor->name, .address = email}, err);
}

nh_rc nh_member_invite(struct nh_ctx *ctx, const struct nh_actor *actor, const struct nh_org *org, nh_slice email, nh_slice role, bool *invited, struct nh_member *out,
                       json_t **errors, struct nh_err *err)
{
	struct nh_user user;
	email = nh_arena_copy(ctx->arena, nh_slice_trim(email));
	NH_TRY(nh_may(ctx, actor, org->id, NH_MAY_MEMBER_ADD, err));
	nh_rc rc = nh_user_by_email(ctx, email, &user, err);
	*invited = rc == NH_ENOTFOUND;
	if (rc == NH_OK)
		return add_member(ctx, actor, org, email, role, out, errors, err);
	return *invited ? invite(ctx, actor, org, email, role, errors, err) : rc;
}

static void read_invite(const struct nh_rows *rows, struct nh_arena *arena, void *item)
{
	*(struct nh_invite *)item = (struct nh_invite){
		.id = nh_col_int(rows, 0),
		.org_id = nh_col_int(rows, 1),
		.org_name = nh_col_text(rows, 2, arena),
		.email = nh_col_text(rows, 3, arena),
		.role = (nh_role)nh_col_int(rows, 4),
		.inviter = nh_col_text(rows, 5, arena),
		.inserted_at_us = nh_col_int(rows, 6),
		.expires_at_us = nh_col_int(rows, 7),
	};
}

nh_rc nh_invite_list(struct nh_ctx *ctx, const struct nh_actor *actor, int64_t org_id, struct nh_invite **out, size_t *count, struct nh_err *err)
{
	struct nh_list list = NH_LIST_OF(ctx->arena, struct nh_invite);
	NH_TRY(nh_may(ctx, actor, org_id, NH_MAY_MEMBER_SEE, err));
	NH_TRY(nh_list_rows(ctx->tx, &list, &nh_q_invite_list, NH_PARAMS(nh_p_int(org_id), nh_p_int(nh_ctx_now(ctx))), read_invite, err));
	*out = list.items;
	*count = list.count;
	return NH_OK;
}

nh_rc nh_invite_rescind(struct nh_ctx *ctx, const struct nh_actor *actor, int64_t org_id, int64_t invite_id, struct nh_err *err)
{
	int64_t changed = 0;
	NH_TRY(nh_may(ctx, actor, org_id, NH_MAY_MEMBER_ADD, err));
	NH_TRY(nh_sql_exec(ctx->tx, &nh_q_invite_delete, NH_PARAMS(nh_p_int(org_id), nh_p_int(invite_id)), &changed, err));
	if (!changed)
		return NH_FAIL(err, NH_ENOTFOUND, "no such invitation");
	return nh_audit_add(ctx, actor, org_id, NH_AUDIT_ORG, org_id, err, "%.*s rescinded invitation %lld", NH_ARG(actor->name), (long long)invite_id);
}

nh_rc nh_invites_trim(struct nh_ctx *ctx, struct nh_err *err) { return nh_sql_exec(ctx->tx, &nh_q_invite_expire, NH_PARAMS(nh_p_int(nh_ctx_now(ctx))), NULL, err); }

/* ---- accepting ------------------------------------------------------------------------------------------------------------ */

nh_rc nh_invite_find(struct nh_ctx *ctx, nh_slice token, struct nh_invite *out, struct nh_err *err)
{
	uint8_t hash[NH_SHA512_LEN];
	if (nh_token_sha512(token, hash) != NH_OK)
		return NH_FAIL(err, NH_EAUTH, "token is malformed");
	nh_rc rc = nh_one_row(ctx->tx, ctx->arena, &nh_q_invite_find, NH_PARAMS(nh_p_blob(nh_slice_of(hash, sizeof(hash))), nh_p_int(nh_ctx_now(ctx))), read_invite, out,
	                      "invitation", err);
	return rc == NH_ENOTFOUND ? NH_FAIL(err, NH_EAUTH, "invitation is unknown or has ended") : rc;
}

static nh_rc join(struct nh_ctx *ctx, const struct nh_invite *invite, const struct nh_user *user, struct nh_err *err)
{
	struct nh_actor actor = nh_actor_of_user(user);
	NH_TRY(nh_sql_exec(ctx->tx, &nh_q_member_insert,
	                   NH_PARAMS(nh_p_int(invite->org_id), nh_p_int(user->id), nh_p_int(invite->role), nh_p_int(nh_ctx_now(ctx))), NULL, err));
	NH_TRY(nh_sql_exec(ctx->tx, &nh_q_invite_settle, NH_PARAMS(nh_p_int(invite->org_id), nh_p_text(nh_input_lower(ctx->arena, invite->email))), NULL, err));
	NH_TRY(nh_audit_add(ctx, &actor, invite->org_id, NH_AUDIT_ORG, invite->org_id, err, "User %.*s accepted an invitation to organization %.*s", NH_ARG(user->name),
	                    NH_ARG(invite->org_name)));
	return nh_mail_queue_admins(ctx, invite->org_id, user->id,
	                   &(struct nh_mail){.kind = NH_MAIL_MEMBER_ADDED, .org = invite->org_name, .who = invite->inviter, .address = user->email}, err);
}

nh_rc nh_invite_accept(struct nh_ctx *ctx, nh_slice token, const struct nh_new_user *input, struct nh_user *out, json_t **errors, struct nh_err *err)
{
	struct nh_invite invite;
	struct nh_new_user user = *input;
	NH_TRY(nh_invite_find(ctx, token, &invite, err));
	user.email = invite.email;
	NH_TRY(nh_user_create(ctx, &user, out, errors, err));
	return join(ctx, &invite, out, err);
}

nh_rc nh_invite_join(struct nh_ctx *ctx, nh_slice token, const struct nh_user *user, struct nh_err *err)
{
	struct nh_invite invite;
	NH_TRY(nh_invite_find(ctx, token, &invite, err));
	if (!nh_slice_ieq(invite.email, user->email))
		return NH_FAIL(err, NH_EAUTH, "the invitation went to another address");
	return join(ctx, &invite, user, err);
}

/* ---- leaving -------------------------------------------------------------------------------------------------------------- */

nh_rc nh_member_expel(struct nh_ctx *ctx, const struct nh_actor *actor, const struct nh_org *org, nh_slice email, json_t **errors, struct nh_err *err)
{
	NH_TRY(nh_member_remove(ctx, actor, org->id, email, errors, err));
	return nh_mail_queue_admins(ctx, org->id, actor_user(actor), &(struct nh_mail){.kind = NH_MAIL_MEMBER_REMOVED, .org = org->name, .who = actor->name, .address = email}, err);
}

nh_rc nh_member_leave(struct nh_ctx *ctx, const struct nh_user *user, const struct nh_org *org, json_t **errors, struct nh_err *err)
{
	static const struct nh_actor system = {.kind = NH_ACTOR_SYSTEM};
	NH_TRY(nh_member_remove(ctx, &system, org->id, user->email, errors, err));
	return nh_mail_queue_admins(ctx, org->id, user->id, &(struct nh_mail){.kind = NH_MAIL_MEMBER_LEFT, .org = org->name, .address = user->email}, err);
}
