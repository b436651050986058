/*
 * Accounts of people whom another issuer signed in: found, connected, or made.
 */
#include "hub/audit.h"
#include "hub/user_identities.h"

#include "hub/invites.h"
#include "hub/mails.h"
#include "hub/own_account.h"
#include "hub/second_factor.h"
#include "input_int.h"
#include "rows_int.h"
#include "store/accounts.h"
#include "store/user_identities.h"

/* ---- who may come ------------------------------------------------------------------------------------------------------ */

static nh_slice domain_of(const struct nh_identity_claim *who)
{
	nh_slice rest = who->email;
	if (who->hosted_domain.ptr)
		return who->hosted_domain;
	for (ptrdiff_t at; (at = nh_slice_chr(rest, '@')) >= 0;)
		rest = nh_slice_skip(rest, (size_t)at + 1);
	return who->email_verified && rest.len < who->email.len ? rest : NH_SLICE_EMPTY;
}

static bool domain_allowed(const struct nh_identity_policy *policy, const struct nh_identity_claim *who)
{
	nh_slice rest = nh_slice_trim(policy->domains), one, domain = domain_of(who);
	if (rest.len == 0)
		return true;
	for (size_t i = 0, begin = 0; domain.len > 0 && i <= rest.len; i++) {
		if (i < rest.len && rest.ptr[i] != ',' && rest.ptr[i] != ' ')
			continue;
		one = nh_slice_sub(rest, begin, i - begin);
		begin = i + 1;
		if (one.len > 0 && nh_slice_ieq(one, domain))
			return true;
	}
	return false;
}

static nh_rc refuse(nh_identity_refusal *why, nh_identity_refusal refusal, struct nh_err *err, const char *text)
{
	*why = refusal;
	return NH_FAIL(err, NH_EPERM, "%s", text);
}

/* ---- what is known ------------------------------------------------------------------------------------------------------ */

static nh_rc find(struct nh_ctx *ctx, const struct nh_identity_claim *who, struct nh_user *out, int64_t *identity_id, struct nh_err *err)
{
	struct nh_rows *rows = NULL;
	NH_TRY(nh_sql_one(ctx->tx, &nh_q_user_identity_find, NH_PARAMS(nh_p_text(who->issuer), nh_p_text(who->subject)), &rows, err));
	nh_user_read(rows, ctx->arena, out);
	*identity_id = nh_col_int(rows, NH_USER_COLUMNS);
	nh_sql_end(rows);
	return NH_OK;
}

static nh_rc note_use(struct nh_ctx *ctx, const struct nh_identity_claim *who, int64_t identity_id, struct nh_err *err)
{
	return nh_sql_exec(ctx->tx, &nh_q_user_identity_used, NH_PARAMS(nh_p_text(who->email), nh_p_int(nh_ctx_now(ctx)), nh_p_int(identity_id)), NULL, err);
}

static nh_rc insert(struct nh_ctx *ctx, const struct nh_identity_claim *who, int64_t user_id, bool used, struct nh_err *err)
{
	int64_t now = nh_ctx_now(ctx);
	return nh_sql_exec(ctx->tx, &nh_q_user_identity_insert,
	                   NH_PARAMS(nh_p_int(user_id), nh_p_text(who->issuer), nh_p_text(who->subject), nh_p_text(who->email), nh_p_int(now), used ? nh_p_int(now) : nh_p_null()),
	                   NULL, err);
}

/*
 * Who made an account and never showed that the address is theirs must not share it with the address's owner: the password they chose, their tokens and their second factor end here.
 * (On a server that sends no mails, addresses count as shown; the setting's description says so.)
 */
static nh_rc link_account(struct nh_ctx *ctx, const struct nh_identity_claim *who, const struct nh_user *user, struct nh_err *err)
{
	struct nh_account_state state;
	NH_TRY(nh_account_state(ctx, user->id, &state, err));
	if (!state.confirmed) {
		NH_TRY(nh_user_set_password(ctx, user->id, "", err));
		NH_TRY(nh_second_factor_disable(ctx, user, err));
		NH_TRY(nh_sql_exec(ctx->tx, &nh_q_account_confirmed, NH_PARAMS(nh_p_int(nh_ctx_now(ctx)), nh_p_int(user->id)), NULL, err));
	}
	return insert(ctx, who, user->id, true, err);
}

/* ---- a new account ------------------------------------------------------------------------------------------------------- */

/* What the issuer calls the person, or the address before its '@', as far as either is a name here. */
static nh_slice name_of(struct nh_arena *arena, const struct nh_identity_claim *who)
{
	nh_slice local, rest;
	nh_slice_cut(who->email, '@', &local, &rest);
	const nh_slice candidates[] = {nh_input_name(arena, who->name), local};
	for (size_t i = 0; i < NH_ARRAY_LEN(candidates); i++)
		if (nh_input_name_ok(candidates[i], NH_NAME_MAX_BYTES) && nh_input_characters(candidates[i]) >= 2 && nh_input_characters(candidates[i]) <= 100)
			return candidates[i];
	return NH_LIT("Newcomer");
}

/* The address is the issuer's word and still has to be one. */
static bool email_ok(nh_slice email)
{
	ptrdiff_t at = nh_slice_chr(email, '@');
	for (size_t i = 0; i < email.len; i++)
		if (email.ptr[i] <= ' ' || email.ptr[i] == 0x7f)
			return false;
	return at > 0 && (size_t)at + 1 < email.len && email.len <= 160 && nh_utf8_valid(email);
}

static nh_rc make(struct nh_ctx *ctx, const struct nh_identity_claim *who, struct nh_user *out, struct nh_err *err)
{
	struct nh_new_user input = {.name = name_of(ctx->arena, who), .email = who->email}; /* no hash: no password opens it */
	NH_TRY(nh_user_create(ctx, &input, out, NULL, err));
	NH_TRY(nh_mail_queue(ctx, &(struct nh_mail){.kind = NH_MAIL_WELCOME, .to = out->email, .name = out->name}, err));
	return insert(ctx, who, out->id, true, err);
}

/* An invitation that cannot be read is none. The caller's organization is joined by the invitation's own page, not here. */
static bool invited(struct nh_ctx *ctx, const struct nh_identity_policy *policy, const struct nh_identity_claim *who)
{
	struct nh_invite invite;
	return policy->invitation.len > 0 && nh_invite_find(ctx, policy->invitation, &invite, NULL) == NH_OK && nh_slice_ieq(invite.email, who->email);
}

nh_rc nh_user_identity_sign_in(struct nh_ctx *ctx, const struct nh_identity_policy *policy, const struct nh_identity_claim *who, struct nh_user *out, bool *created,
                               nh_identity_refusal *why, struct nh_err *err)
{
	int64_t identity_id = 0;
	*created = false;
	*why = NH_IDENTITY_NOT_REFUSED;
	if (!domain_allowed(policy, who))
		return refuse(why, NH_IDENTITY_DOMAIN, err, "not of an allowed domain");
	nh_rc rc = find(ctx, who, out, &identity_id, err);
	if (rc == NH_OK)
		return note_use(ctx, who, identity_id, err);
	if (rc != NH_ENOTFOUND)
		return rc;
	if (!who->email_verified || !email_ok(who->email))
		return refuse(why, NH_IDENTITY_NO_EMAIL, err, "the issuer has not verified an e-mail address");
	rc = nh_user_by_email(ctx, who->email, out, err);
	if (rc == NH_OK)
		return policy->link_by_email ? link_account(ctx, who, out, err) : refuse(why, NH_IDENTITY_NOT_LINKED, err, "the account with the same address is not connected");
	if (rc != NH_ENOTFOUND)
		return rc;
	if (!policy->registration && !invited(ctx, policy, who))
		return refuse(why, NH_IDENTITY_CLOSED, err, "no new accounts");
	*created = true;
	return make(ctx, who, out, err);
}

nh_rc nh_user_identity_connect(struct nh_ctx *ctx, const struct nh_identity_policy *policy, int64_t user_id, const struct nh_identity_claim *who, nh_identity_refusal *why,
                               struct nh_err *err)
{
	struct nh_user owner;
	int64_t identity_id = 0;
	*why = NH_IDENTITY_NOT_REFUSED;
	if (!domain_allowed(policy, who))
		return refuse(why, NH_IDENTITY_DOMAIN, err, "not of an allowed domain");
	nh_rc rc = find(ctx, who, &owner, &identity_id, err);
	if (rc == NH_ENOTFOUND) {
		NH_TRY(insert(ctx, who, user_id, false, err));
		return nh_audit_account(ctx, user_id, err, "connected an account of %.*s", NH_ARG(who->issuer));
	}
	if (rc == NH_OK && owner.id != user_id)
		return refuse(why, NH_IDENTITY_TAKEN, err, "the identity is another account's");
	return rc;
}

/* ---- the owner's view ---------------------------------------------------------------------------------------------------- */

static void read_identity(const struct nh_rows *rows, struct nh_arena *arena, void *item)
{
	*(struct nh_user_identity *)item = (struct nh_user_identity){
		.id = nh_col_int(rows, 0),
		.issuer = nh_col_text(rows, 1, arena),
		.subject = nh_col_text(rows, 2, arena),
		.email = nh_col_text(rows, 3, arena),
		.inserted_at_us = nh_col_int(rows, 4),
		.last_used_at_us = nh_col_int(rows, 5),
	};
}

nh_rc nh_user_identity_list(struct nh_ctx *ctx, int64_t user_id, struct nh_user_identity **out, size_t *count, struct nh_err *err)
{
	struct nh_list list = NH_LIST_OF(ctx->arena, struct nh_user_identity);
	NH_TRY(nh_list_rows(ctx->tx, &list, &nh_q_user_identity_list, NH_PARAMS(nh_p_int(user_id)), read_identity, err));
	*out = list.items;
	*count = list.count;
	return NH_OK;
}

nh_rc nh_user_identity_remove(struct nh_ctx *ctx, int64_t user_id, int64_t identity_id, struct nh_err *err)
{
	int64_t changed = 0;
	NH_TRY(nh_sql_exec(ctx->tx, &nh_q_user_identity_delete, NH_PARAMS(nh_p_int(user_id), nh_p_int(identity_id)), &changed, err));
	return changed ? nh_audit_account(ctx, user_id, err, "disconnected an account of another service") : NH_FAIL(err, NH_ENOTFOUND, "no such identity, or it is the only way into the account");
}
