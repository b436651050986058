/*
 * Organizations and their members.
 *
 * source: reference/user-api-and-cli "3", "7"; reference/server-behaviour "9.1", "9.3"
 */
#include "hub/accounts.h"
#include "hub/audit.h"
#include "hub/permissions.h"
#include "input_int.h"
#include "rows_int.h"
#include "store/accounts.h"
#include "store/foundation.h"

#define ORG_COLUMNS 5

static void read_org(const struct nh_rows *rows, struct nh_arena *arena, void *item)
{
	*(struct nh_org *)item = (struct nh_org){
		.id = nh_col_int(rows, 0),
		.name = nh_col_text(rows, 1, arena),
		.personal = !nh_col_null(rows, 2),
		.inserted_at_us = nh_col_int(rows, 3),
		.updated_at_us = nh_col_int(rows, 4),
	};
}

static void read_org_with_role(const struct nh_rows *rows, struct nh_arena *arena, void *item)
{
	read_org(rows, arena, item);
	((struct nh_org *)item)->role = (nh_role)nh_col_int(rows, ORG_COLUMNS);
}

nh_rc nh_org_open(struct nh_ctx *ctx, const struct nh_actor *actor, nh_slice name, nh_action action, struct nh_org *out, struct nh_err *err)
{
	if (!nh_input_name_ok(name, NH_NAME_MAX_BYTES))
		return NH_FAIL(err, NH_ENOTFOUND, "no such organization");
	if (actor->kind == NH_ACTOR_SYSTEM) {
		NH_TRY(nh_one_row(ctx->tx, ctx->arena, &nh_q_org_by_name, NH_PARAMS(nh_p_text(name)), read_org, out, "organization", err));
		out->role = NH_ROLE_ADMIN;
		return NH_OK;
	}
	if (actor->kind != NH_ACTOR_USER)
		return NH_FAIL(err, NH_ENOTFOUND, "no such organization");
	NH_TRY(nh_one_row(ctx->tx, ctx->arena, &nh_q_org_for_user, NH_PARAMS(nh_p_int(actor->id), nh_p_text(name)), read_org_with_role, out,
	                  "organization", err));
	return nh_role_may(out->role, action, err);
}

nh_rc nh_org_list(struct nh_ctx *ctx, const struct nh_actor *actor, struct nh_org **out, size_t *count, struct nh_err *err)
{
	struct nh_list list = NH_LIST_OF(ctx->arena, struct nh_org);
	NH_TRY(nh_list_rows(ctx->tx, &list, &nh_q_org_list, NH_PARAMS(nh_p_int(actor->kind == NH_ACTOR_USER ? actor->id : 0)), read_org_with_role, err));
	*out = list.items;
	*count = list.count;
	return NH_OK;
}

static bool org_name_ok(nh_slice name)
{
	for (size_t i = 0; i < name.len; i++) {
		uint8_t c = name.ptr[i];
		if (!((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' || c == '_'))
			return false;
	}
	return name.len > 0 && name.len <= NH_NAME_MAX_BYTES;
}

nh_rc nh_org_name_check(nh_slice name, json_t **errors, struct nh_err *err)
{
	if (name.len == 0)
		return nh_refuse(errors, err, NH_EINVAL, "name", "can't be blank");
	if (!org_name_ok(name))
		return nh_refuse(errors, err, NH_EINVAL, "name", "must be letters, digits, '-' or '_', at most %d", NH_NAME_MAX_BYTES);
	return NH_OK;
}

nh_rc nh_org_create(struct nh_ctx *ctx, const struct nh_actor *actor, nh_slice name, struct nh_org *out, json_t **errors, struct nh_err *err)
{
	if (actor->kind != NH_ACTOR_USER)
		return NH_FAIL(err, NH_EPERM, "only users create organizations");
	name = nh_slice_trim(name);
	NH_TRY(nh_org_name_check(name, errors, err));

	int64_t id = 0, now = nh_ctx_now(ctx);
	nh_rc rc = nh_query_id(ctx->tx, &nh_q_org_insert, NH_PARAMS(nh_p_text(name), nh_p_null(), nh_p_int(now)), &id, err);
	if (rc == NH_ECONFLICT)
		return nh_refuse(errors, err, NH_EINVAL, "name", "has already been taken");
	NH_TRY(rc);
	NH_TRY(nh_sql_exec(ctx->tx, &nh_q_member_insert, NH_PARAMS(nh_p_int(id), nh_p_int(actor->id), nh_p_int(NH_ROLE_ADMIN), nh_p_int(now)), NULL,
	                   err));
	NH_TRY(nh_audit_add(ctx, actor, id, NH_AUDIT_ORG, id, err, "%.*s created organization %.*s", NH_ARG(actor->name), NH_ARG(name)));
	return nh_org_open(ctx, actor, name, NH_MAY_ORG_SEE, out, err);
}

/* ---- members ----------------------------------------------------------------------------------------------------------- */

static const struct {
	const char *name;
	nh_role role;
} roles[] = {{"view", NH_ROLE_VIEW}, {"manage", NH_ROLE_MANAGE}, {"admin", NH_ROLE_ADMIN}};

const char *nh_role_name(nh_role role)
{
	for (size_t i = 0; i < NH_ARRAY_LEN(roles); i++) {
		if (roles[i].role == role)
			return roles[i].name;
	}
	return "none";
}

bool nh_role_parse(nh_slice text, nh_role *out)
{
	for (size_t i = 0; i < NH_ARRAY_LEN(roles); i++) {
		if (nh_slice_eq_str(text, roles[i].name)) {
			*out = roles[i].role;
			return true;
		}
	}
	return false;
}

static void read_member(const struct nh_rows *rows, struct nh_arena *arena, void *item)
{
	*(struct nh_member *)item = (struct nh_member){
		.user_id = nh_col_int(rows, 0),
		.name = nh_col_text(rows, 1, arena),
		.email = nh_col_text(rows, 2, arena),
		.role = (nh_role)nh_col_int(rows, 3),
	};
}

nh_rc nh_member_list(struct nh_ctx *ctx, const struct nh_actor *actor, int64_t org_id, struct nh_member **out, size_t *count, struct nh_err *err)
{
	NH_TRY(nh_may(ctx, actor, org_id, NH_MAY_MEMBER_SEE, err));
	struct nh_list list = NH_LIST_OF(ctx->arena, struct nh_member);
	NH_TRY(nh_list_rows(ctx->tx, &list, &nh_q_member_list, NH_PARAMS(nh_p_int(org_id)), read_member, err));
	*out = list.items;
	*count = list.count;
	return NH_OK;
}

nh_rc nh_member_get(struct nh_ctx *ctx, const struct nh_actor *actor, int64_t org_id, nh_slice email, struct nh_member *out, struct nh_err *err)
{
	NH_TRY(nh_may(ctx, actor, org_id, NH_MAY_MEMBER_SEE, err));
	nh_slice key = nh_input_lower(ctx->arena, email);
	if (!nh_input_text_ok(key, NH_NAME_MAX_BYTES))
		return NH_FAIL(err, NH_ENOTFOUND, "no such member");
	return nh_one_row(ctx->tx, ctx->arena, &nh_q_member_get, NH_PARAMS(nh_p_int(org_id), nh_p_text(key)), read_member, out, "member", err);
}

nh_rc nh_member_add(struct nh_ctx *ctx, const struct nh_actor *actor, int64_t org_id, nh_slice email, nh_slice role, struct nh_member *out,
                    json_t **errors, struct nh_err *err)
{
	NH_TRY(nh_may(ctx, actor, org_id, NH_MAY_MEMBER_ADD, err));
	nh_role parsed;
	if (!nh_role_parse(role, &parsed))
		return nh_refuse(errors, err, NH_EINVAL, "role", "is invalid");
	struct nh_user user;
	nh_rc rc = nh_user_by_email(ctx, nh_slice_trim(email), &user, err);
	if (rc == NH_ENOTFOUND)
		return nh_refuse(errors, err, NH_EINVAL, NULL, "A user with that email address could not be found; an account has to be registered first.");
	NH_TRY(rc);
	int64_t changed = 0;
	NH_TRY(nh_sql_exec(ctx->tx, &nh_q_member_insert,
	                   NH_PARAMS(nh_p_int(org_id), nh_p_int(user.id), nh_p_int(parsed), nh_p_int(nh_ctx_now(ctx))), &changed, err));
	if (!changed)
		return nh_refuse(errors, err, NH_EINVAL, "org_users", "is already member");
	*out = (struct nh_member){user.id, user.name, user.email, parsed};
	return nh_audit_add(ctx, actor, org_id, NH_AUDIT_USER, user.id, err, "%.*s made %.*s (%.*s) a member with the role %s", NH_ARG(actor->name), NH_ARG(user.name), NH_ARG(user.email),
	                    nh_role_name(parsed));
}

static nh_rc keep_an_admin(struct nh_ctx *ctx, int64_t org_id, const struct nh_member *member, json_t **errors, struct nh_err *err)
{
	int64_t count = 0;
	NH_TRY(nh_sql_exec(ctx->tx, &nh_q_org_lock, NH_PARAMS(nh_p_int(org_id)), NULL, err)); /* two admins could demote each other */
	NH_TRY(nh_query_id(ctx->tx, &nh_q_member_count, NH_PARAMS(nh_p_int(org_id), nh_p_int(NH_ROLE_ADMIN)), &count, err));
	if (member->role == NH_ROLE_ADMIN && count <= 1)
		return nh_refuse(errors, err, NH_EINVAL, NULL, "The last admin of an organization cannot leave it or lose that role.");
	return NH_OK;
}

nh_rc nh_member_set_role(struct nh_ctx *ctx, const struct nh_actor *actor, int64_t org_id, nh_slice email, nh_slice role, struct nh_member *out,
                         json_t **errors, struct nh_err *err)
{
	NH_TRY(nh_may(ctx, actor, org_id, NH_MAY_MEMBER_UPDATE, err));
	NH_TRY(nh_member_get(ctx, actor, org_id, email, out, err));
	nh_role parsed;
	if (!nh_role_parse(role, &parsed))
		return nh_refuse(errors, err, NH_EINVAL, "role", "is invalid");
	if (parsed != NH_ROLE_ADMIN)
		NH_TRY(keep_an_admin(ctx, org_id, out, errors, err));
	nh_role before = out->role;
	out->role = parsed;
	NH_TRY(nh_sql_exec(ctx->tx, &nh_q_member_set_role, NH_PARAMS(nh_p_int(parsed), nh_p_int(nh_ctx_now(ctx)), nh_p_int(org_id), nh_p_int(out->user_id)), NULL, err));
	return nh_audit_add(ctx, actor, org_id, NH_AUDIT_USER, out->user_id, err, "%.*s changed the role of %.*s (%.*s) from %s to %s", NH_ARG(actor->name), NH_ARG(out->name), NH_ARG(out->email),
	                    nh_role_name(before), nh_role_name(parsed));
}

nh_rc nh_member_remove(struct nh_ctx *ctx, const struct nh_actor *actor, int64_t org_id, nh_slice email, json_t **errors, struct nh_err *err)
{
	struct nh_member member;
	NH_TRY(nh_may(ctx, actor, org_id, NH_MAY_MEMBER_REMOVE, err));
	NH_TRY(nh_member_get(ctx, actor, org_id, email, &member, err));
	NH_TRY(keep_an_admin(ctx, org_id, &member, errors, err));
	NH_TRY(nh_sql_exec(ctx->tx, &nh_q_member_delete, NH_PARAMS(nh_p_int(org_id), nh_p_int(member.user_id)), NULL, err));
	if (actor->kind == NH_ACTOR_SYSTEM) { /* they go by themselves */
		struct nh_actor leaver = {NH_ACTOR_USER, member.user_id, member.name};
		return nh_audit_add(ctx, &leaver, org_id, NH_AUDIT_USER, member.user_id, err, "%.*s (%.*s) left the organization", NH_ARG(member.name), NH_ARG(member.email));
	}
	return nh_audit_add(ctx, actor, org_id, NH_AUDIT_USER, member.user_id, err, "%.*s removed %.*s (%.*s) from the organization", NH_ARG(actor->name), NH_ARG(member.name), NH_ARG(member.email));
}
