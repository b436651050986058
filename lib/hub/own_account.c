/*
 * The own account: registration, confirmation, reset, changes, deletion.
 *
 * source: reference/server-behaviour "9.2", "9.4", "9.8"
 */
#include "hub/audit.h"
#include "hub/own_account.h"

#include "crypto/digest.h"
#include "hub/authority.h"
#include "hub/mails.h"
#include "hub/webhooks.h"
#include "input_int.h"
#include "rows_int.h"
#include "store/accounts.h"
#include "store/foundation.h"
#include "store/user_identities.h"
#include "tickets_int.h"

static const struct nh_ticket_kind confirm_kind = {NH_TOKEN_CONFIRM, NH_LINK_S, true};
static const struct nh_ticket_kind reset_kind = {NH_TOKEN_RESET, NH_LINK_S, true};
static const struct nh_ticket_kind step_kind = {NH_TOKEN_STEP, NH_STEP_S, true};

static void read_state(const struct nh_rows *rows, struct nh_arena *arena, void *item)
{
	*(struct nh_account_state *)item = (struct nh_account_state){!nh_col_null(rows, 0), nh_col_text(rows, 1, arena).len > 0, !nh_col_null(rows, 2)};
}

nh_rc nh_account_state(struct nh_ctx *ctx, int64_t user_id, struct nh_account_state *out, struct nh_err *err)
{
	return nh_one_row(ctx->tx, ctx->arena, &nh_q_account_state, NH_PARAMS(nh_p_int(user_id)), read_state, out, "user", err);
}

static nh_rc end_tickets(struct nh_ctx *ctx, int64_t user_id, const char *context, struct nh_err *err)
{
	return nh_sql_exec(ctx->tx, &nh_q_ticket_delete_all, NH_PARAMS(nh_p_int(user_id), nh_p_str(context), nh_p_int(0)), NULL, err);
}

/* ---- registration and confirmation ---------------------------------------------------------------------------------------- */

/* The ticket's note says which address the link confirms: the account's own, or the one it shall have. */
static nh_rc mail_confirmation(struct nh_ctx *ctx, const struct nh_user *user, nh_slice address, struct nh_err *err)
{
	char token[NH_TOKEN_TEXT_MAX];
	NH_TRY(nh_ticket_issue(ctx, &confirm_kind, user->id, address, NH_SLICE_EMPTY, token, err));
	nh_slice link = nh_mail_link(ctx, "/confirm/", nh_slice_str(token));
	return nh_mail_queue(ctx, &(struct nh_mail){.kind = NH_MAIL_CONFIRM, .to = address, .name = user->name, .link = link}, err);
}

nh_rc nh_account_mail_confirmation(struct nh_ctx *ctx, const struct nh_user *user, struct nh_err *err) { return mail_confirmation(ctx, user, user->email, err); }

nh_rc nh_account_register(struct nh_ctx *ctx, const struct nh_new_user *input, struct nh_user *out, json_t **errors, struct nh_err *err)
{
	NH_TRY(nh_user_create(ctx, input, out, errors, err));
	if (!ctx->config->mails)
		return NH_OK;
	NH_TRY(nh_sql_exec(ctx->tx, &nh_q_account_unconfirm, NH_PARAMS(nh_p_int(out->id)), NULL, err));
	return mail_confirmation(ctx, out, out->email, err);
}

nh_rc nh_account_confirmable(struct nh_ctx *ctx, nh_slice token, struct nh_user *out, nh_slice *address, struct nh_err *err)
{
	struct nh_ticket ticket;
	NH_TRY(nh_ticket_find(ctx, NH_TOKEN_CONFIRM, token, out, &ticket, err));
	*address = ticket.note;
	return NH_OK;
}

nh_rc nh_account_confirm(struct nh_ctx *ctx, nh_slice token, struct nh_user *out, json_t **errors, struct nh_err *err)
{
	nh_slice address;
	struct nh_account_state before;
	NH_TRY(nh_account_confirmable(ctx, token, out, &address, err));
	NH_TRY(nh_account_state(ctx, out->id, &before, err));
	nh_rc rc = nh_sql_exec(ctx->tx, &nh_q_account_confirm,
	                       NH_PARAMS(nh_p_text(address), nh_p_text(nh_input_lower(ctx->arena, address)), nh_p_int(nh_ctx_now(ctx)), nh_p_int(out->id)), NULL, err);
	if (rc == NH_ECONFLICT)
		return nh_refuse(errors, err, NH_EINVAL, "email", "has already been taken");
	NH_TRY(rc);
	out->email = address;
	/* Links to an address that is no longer the account's end with it. */
	NH_TRY(end_tickets(ctx, out->id, NH_TOKEN_CONFIRM, err));
	NH_TRY(end_tickets(ctx, out->id, NH_TOKEN_RESET, err));
	NH_TRY(nh_audit_account(ctx, out->id, err, "showed that the address %.*s is theirs", NH_ARG(address)));
	return before.confirmed ? NH_OK : nh_mail_queue(ctx, &(struct nh_mail){.kind = NH_MAIL_WELCOME, .to = address, .name = out->name}, err);
}

/* ---- passwords ------------------------------------------------------------------------------------------------------------ */

static nh_rc reset_link(struct nh_ctx *ctx, const struct nh_user *user, nh_slice *link, struct nh_err *err)
{
	char token[NH_TOKEN_TEXT_MAX];
	NH_TRY(nh_ticket_issue(ctx, &reset_kind, user->id, user->email, NH_SLICE_EMPTY, token, err));
	*link = nh_mail_link(ctx, "/password-reset/", nh_slice_str(token));
	return NH_OK;
}

nh_rc nh_account_mail_reset(struct nh_ctx *ctx, nh_slice email, struct nh_err *err)
{
	struct nh_user user;
	nh_slice link;
	nh_rc rc = nh_user_by_email(ctx, nh_slice_trim(email), &user, err);
	if (rc == NH_ENOTFOUND)
		return NH_OK;
	NH_TRY(rc);
	NH_TRY(reset_link(ctx, &user, &link, err));
	return nh_mail_queue(ctx, &(struct nh_mail){.kind = NH_MAIL_RESET, .to = user.email, .name = user.name, .link = link}, err);
}

nh_rc nh_account_resettable(struct nh_ctx *ctx, nh_slice token, struct nh_user *out, struct nh_err *err)
{
	struct nh_ticket ticket;
	NH_TRY(nh_ticket_find(ctx, NH_TOKEN_RESET, token, out, &ticket, err));
	return nh_slice_eq(ticket.note, out->email) ? NH_OK : NH_FAIL(err, NH_EAUTH, "the link went to an address that is no longer the account's");
}

nh_rc nh_account_reset(struct nh_ctx *ctx, nh_slice token, const char *password_hash, struct nh_user *out, struct nh_err *err)
{
	NH_TRY(nh_account_resettable(ctx, token, out, err));
	NH_TRY(nh_user_set_password(ctx, out->id, password_hash, err));
	/* Who opened the link reads the mails of that address. */
	NH_TRY(nh_sql_exec(ctx->tx, &nh_q_account_confirmed, NH_PARAMS(nh_p_int(nh_ctx_now(ctx)), nh_p_int(out->id)), NULL, err));
	NH_TRY(nh_audit_account(ctx, out->id, err, "set a new password by a link sent to %.*s", NH_ARG(out->email)));
	return nh_mail_queue(ctx, &(struct nh_mail){.kind = NH_MAIL_PASSWORD_RESET, .to = out->email, .name = out->name}, err);
}

nh_rc nh_account_change_password(struct nh_ctx *ctx, const struct nh_user *user, const char *password_hash, struct nh_err *err)
{
	nh_slice link;
	NH_TRY(nh_sql_exec(ctx->tx, &nh_q_user_set_password, NH_PARAMS(nh_p_str(password_hash), nh_p_int(nh_ctx_now(ctx)), nh_p_int(user->id)), NULL, err));
	NH_TRY(end_tickets(ctx, user->id, NH_TOKEN_STEP, err));
	NH_TRY(nh_audit_account(ctx, user->id, err, "changed their password"));
	NH_TRY(reset_link(ctx, user, &link, err));
	return nh_mail_queue(ctx, &(struct nh_mail){.kind = NH_MAIL_PASSWORD_CHANGED, .to = user->email, .name = user->name, .link = link}, err);
}

/* ---- name and address ----------------------------------------------------------------------------------------------------- */

static nh_rc change_address(struct nh_ctx *ctx, const struct nh_user *user, nh_slice email, struct nh_user *out, bool *pending, json_t **errors, struct nh_err *err)
{
	struct nh_user other;
	nh_rc rc = nh_user_by_email(ctx, email, &other, err);
	if (rc == NH_OK && other.id != user->id)
		return nh_refuse(errors, err, NH_EINVAL, "email", "has already been taken");
	if (rc != NH_OK && rc != NH_ENOTFOUND)
		return rc;
	NH_TRY(nh_mail_queue(ctx, &(struct nh_mail){.kind = NH_MAIL_ADDRESS_CHANGED, .to = user->email, .name = user->name, .address = email}, err));
	*pending = ctx->config->mails;
	if (*pending)
		return mail_confirmation(ctx, user, email, err);
	out->email = email;
	NH_TRY(nh_audit_account(ctx, user->id, err, "changed their address to %.*s", NH_ARG(email)));
	return nh_sql_exec(ctx->tx, &nh_q_account_confirm,
	                   NH_PARAMS(nh_p_text(email), nh_p_text(nh_input_lower(ctx->arena, email)), nh_p_int(nh_ctx_now(ctx)), nh_p_int(user->id)), NULL, err);
}

nh_rc nh_account_update(struct nh_ctx *ctx, const struct nh_user *user, nh_slice name, nh_slice email, struct nh_user *out, bool *pending, json_t **errors, struct nh_err *err)
{
	*out = *user;
	*pending = false;
	name = nh_input_name(ctx->arena, name);
	email = nh_arena_copy(ctx->arena, nh_slice_trim(email));
	NH_TRY(nh_user_check(name.len ? name : user->name, email.len ? email : user->email, errors, err));
	if (name.len > 0 && !nh_slice_eq(name, user->name)) {
		NH_TRY(nh_audit_account(ctx, user->id, err, "renamed themselves to %.*s", NH_ARG(name)));
		NH_TRY(nh_sql_exec(ctx->tx, &nh_q_account_rename, NH_PARAMS(nh_p_text(name), nh_p_int(nh_ctx_now(ctx)), nh_p_int(user->id)), NULL, err));
		out->name = name;
	}
	return email.len > 0 && !nh_slice_eq(email, user->email) ? change_address(ctx, out, email, out, pending, errors, err) : NH_OK;
}

/* ---- deletion ------------------------------------------------------------------------------------------------------------- */

struct owned_org {
	int64_t id, members, admins, products;
	nh_slice name;
	nh_role role;
};

static void read_owned_org(const struct nh_rows *rows, struct nh_arena *arena, void *item)
{
	*(struct owned_org *)item = (struct owned_org){
		.id = nh_col_int(rows, 0),
		.name = nh_col_text(rows, 1, arena),
		.members = nh_col_int(rows, 2),
		.admins = nh_col_int(rows, 3),
		.products = nh_col_int(rows, 4),
		.role = (nh_role)nh_col_int(rows, 5),
	};
}

static nh_rc may_go(const struct owned_org *org, json_t **errors, struct nh_err *err)
{
	if (org->members > 1 && org->role == NH_ROLE_ADMIN && org->admins <= 1)
		return nh_refuse(errors, err, NH_EINVAL, NULL, "You are the last admin of the organization %.*s: make another member its admin first.", NH_ARG(org->name));
	if (org->members <= 1 && org->products > 0)
		return nh_refuse(errors, err, NH_EINVAL, NULL, "The organization %.*s has products and no other member: delete them, or add an admin, first.", NH_ARG(org->name));
	return NH_OK;
}

static nh_rc bury_org(struct nh_ctx *ctx, int64_t org_id, struct nh_err *err)
{
	NH_TRY(nh_sql_exec(ctx->tx, &nh_q_org_bury_cas, NH_PARAMS(nh_p_int(org_id)), NULL, err));
	NH_TRY(nh_webhooks_end(ctx, org_id, 0, err));
	return nh_sql_exec(ctx->tx, &nh_q_org_bury, NH_PARAMS(nh_p_int(nh_ctx_now(ctx)), nh_p_int(org_id)), NULL, err);
}

nh_rc nh_account_delete(struct nh_ctx *ctx, const struct nh_user *user, json_t **errors, struct nh_err *err)
{
	static const struct nh_stmt *const forget[] = {&nh_q_account_scripts_created, &nh_q_account_scripts_edited, &nh_q_account_leave_all, &nh_q_account_unpin, &nh_q_token_delete_all,
	                                               &nh_q_recovery_delete_all, &nh_q_user_identity_delete_all};
	struct nh_list list = NH_LIST_OF(ctx->arena, struct owned_org);
	NH_TRY(nh_list_rows(ctx->tx, &list, &nh_q_account_orgs, NH_PARAMS(nh_p_int(user->id)), read_owned_org, err));
	for (size_t i = 0; i < list.count; i++)
		NH_TRY(nh_sql_exec(ctx->tx, &nh_q_org_lock, NH_PARAMS(nh_p_int(((struct owned_org *)list.items)[i].id)), NULL, err));
	/* Counted again, now that nobody else changes them. */
	list.count = 0;
	NH_TRY(nh_list_rows(ctx->tx, &list, &nh_q_account_orgs, NH_PARAMS(nh_p_int(user->id)), read_owned_org, err));
	const struct owned_org *orgs = list.items;
	for (size_t i = 0; i < list.count; i++)
		NH_TRY(may_go(&orgs[i], errors, err));
	NH_TRY(nh_audit_account(ctx, user->id, err, "deleted their account (%.*s)", NH_ARG(user->email)));
	for (size_t i = 0; i < list.count; i++) {
		if (orgs[i].members <= 1)
			NH_TRY(bury_org(ctx, orgs[i].id, err));
	}
	for (size_t i = 0; i < NH_ARRAY_LEN(forget); i++)
		NH_TRY(nh_sql_exec(ctx->tx, forget[i], NH_PARAMS(nh_p_int(user->id)), NULL, err));
	NH_TRY(nh_issued_revoke_user(ctx, user->id, err));
	NH_TRY(nh_sql_exec(ctx->tx, &nh_q_account_bury, NH_PARAMS(nh_p_int(nh_ctx_now(ctx)), nh_p_int(user->id)), NULL, err));
	return nh_mail_queue(ctx, &(struct nh_mail){.kind = NH_MAIL_ACCOUNT_DELETED, .to = user->email, .name = user->name}, err);
}

/* ---- between password and second factor ----------------------------------------------------------------------------------- */

nh_rc nh_account_step(struct nh_ctx *ctx, int64_t user_id, char out[NH_TOKEN_TEXT_MAX], struct nh_err *err)
{
	return nh_ticket_issue(ctx, &step_kind, user_id, NH_SLICE_EMPTY, NH_SLICE_EMPTY, out, err);
}

nh_rc nh_account_step_find(struct nh_ctx *ctx, nh_slice token, struct nh_user *out, struct nh_err *err) { return nh_ticket_find(ctx, NH_TOKEN_STEP, token, out, NULL, err); }

nh_rc nh_account_step_done(struct nh_ctx *ctx, nh_slice token, struct nh_err *err)
{
	uint8_t hash[NH_SHA512_LEN];
	if (nh_token_sha512(token, hash) != NH_OK)
		return NH_OK;
	return nh_sql_exec(ctx->tx, &nh_q_ticket_delete_hash, NH_PARAMS(nh_p_str(NH_TOKEN_STEP), nh_p_blob(nh_slice_of(hash, sizeof(hash)))), NULL, err);
}
