/*
 * Users: checking new accounts, making them with their personal organization, signing in.
 *
 * Passwords are hashed and compared outside transactions, as both take tens of milliseconds on purpose.
 * source: reference/server-behaviour "1.2", "9.2"; reference/user-api-and-cli "2.4"; design/architecture "7"
 */
#include <stdio.h>

#include "base/encode.h"
#include "hub/authority.h"
#include "hub/own_account.h"
#include "input_int.h"
#include "rows_int.h"
#include "store/foundation.h"

void nh_user_read(const struct nh_rows *rows, struct nh_arena *arena, void *user)
{
	*(struct nh_user *)user = (struct nh_user){
		.id = nh_col_int(rows, 0),
		.name = nh_col_text(rows, 1, arena),
		.email = nh_col_text(rows, 2, arena),
		.server_admin = nh_col_bool(rows, 3),
		.inserted_at_us = nh_col_int(rows, 4),
		.updated_at_us = nh_col_int(rows, 5),
	};
}

/* ---- new accounts ------------------------------------------------------------------------------------------------------ */

static bool looks_like_address(nh_slice name)
{
	static const char *const marks[] = {"http", "www.", ".com", ".net", ".org", ".io", ".ru", ".cn", ".xyz", ".info", ".biz",
	                                    ".top", ".shop", ".site", ".online", ".club", ".link", ".live", ".store"};
	for (size_t i = 0; i < NH_ARRAY_LEN(marks); i++) {
		if (nh_slice_find(name, nh_slice_str(marks[i])) >= 0)
			return true;
	}
	return false;
}

static void check_name(nh_slice name, json_t **errors)
{
	static const char *const foreign = "<>/\\@:;{}[]|_=+*#0123456789";
	size_t characters = nh_input_characters(name);
	if (name.len == 0) {
		NH_IGNORE(nh_refuse(errors, NULL, NH_EINVAL, "name", "can't be blank")); /* collected: the caller looks at *errors */
		return;
	}
	bool odd = !nh_input_name_ok(name, 400) || looks_like_address(name);
	for (const char *c = foreign; *c; c++)
		odd = odd || nh_slice_chr(name, (uint8_t)*c) >= 0;
	if (odd)
		NH_IGNORE(nh_refuse(errors, NULL, NH_EINVAL, "name", "has invalid characters"));
	if (characters < 2)
		NH_IGNORE(nh_refuse(errors, NULL, NH_EINVAL, "name", "should be at least 2 character(s)"));
	if (characters > 100)
		NH_IGNORE(nh_refuse(errors, NULL, NH_EINVAL, "name", "should be at most 100 character(s)"));
}

static void check_email(nh_slice email, json_t **errors)
{
	ptrdiff_t at = nh_slice_chr(email, '@');
	bool blank = false;
	for (size_t i = 0; i < email.len; i++)
		blank = blank || email.ptr[i] <= 0x20 || email.ptr[i] == 0x7f;
	if (email.len == 0)
		NH_IGNORE(nh_refuse(errors, NULL, NH_EINVAL, "email", "can't be blank"));
	else if (at <= 0 || (size_t)at + 1 == email.len || blank || !nh_utf8_valid(email))
		NH_IGNORE(nh_refuse(errors, NULL, NH_EINVAL, "email", "must have the @ sign and no spaces"));
	else if (email.len > 160)
		NH_IGNORE(nh_refuse(errors, NULL, NH_EINVAL, "email", "should be at most 160 character(s)"));
}

static void check_password(nh_slice password, json_t **errors)
{
	size_t characters = nh_input_characters(password);
	if (password.len == 0)
		NH_IGNORE(nh_refuse(errors, NULL, NH_EINVAL, "password", "can't be blank"));
	else if (characters < 12)
		NH_IGNORE(nh_refuse(errors, NULL, NH_EINVAL, "password", "should be at least 12 character(s)"));
	else if (password.len > 72)
		NH_IGNORE(nh_refuse(errors, NULL, NH_EINVAL, "password", "should be at most 72 character(s)"));
}

/* Gives what was collected to who asks, and says whether there was anything. */
static nh_rc give_errors(json_t *found, json_t **errors, struct nh_err *err)
{
	if (!found)
		return NH_OK;
	if (errors)
		*errors = found;
	else
		json_decref(found);
	return NH_FAIL(err, NH_EINVAL, "the account's name, e-mail address or password is not acceptable");
}

nh_rc nh_user_check(nh_slice name, nh_slice email, json_t **errors, struct nh_err *err)
{
	json_t *found = NULL;
	check_name(name, &found);
	check_email(email, &found);
	return give_errors(found, errors, err);
}

nh_rc nh_user_prepare(struct nh_arena *arena, nh_slice name, nh_slice email, nh_slice password, const struct nh_password_cost *cost,
                      struct nh_new_user *out, json_t **errors, struct nh_err *err)
{
	json_t *found = NULL;
	*out = (struct nh_new_user){.name = nh_input_name(arena, name), .email = nh_arena_copy(arena, nh_slice_trim(email))};
	check_name(out->name, &found);
	check_email(out->email, &found);
	check_password(password, &found);
	NH_TRY(give_errors(found, errors, err));
	return nh_password_hash(password, cost, out->password_hash, err);
}

nh_rc nh_account_prepare_password(nh_slice password, const struct nh_password_cost *cost, char out[NH_PASSWORD_HASH_MAX], json_t **errors, struct nh_err *err)
{
	json_t *found = NULL;
	check_password(password, &found);
	NH_TRY(give_errors(found, errors, err));
	return nh_password_hash(password, cost, out, err);
}

/* The part before '@' with what an organization's name may not hold replaced. */
static nh_slice personal_slug(struct nh_arena *arena, nh_slice email)
{
	nh_slice local, rest;
	nh_slice_cut(email, '@', &local, &rest);
	uint8_t *out = nh_arena_alloc(arena, local.len + 1);
	for (size_t i = 0; i < local.len; i++) {
		uint8_t c = local.ptr[i];
		bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' || c == '_';
		out[i] = plain ? c : '-';
	}
	return nh_slice_of(out, local.len);
}

static nh_rc make_personal_org(struct nh_ctx *ctx, const struct nh_user *user, struct nh_err *err)
{
	nh_slice slug = personal_slug(ctx->arena, user->email);
	int64_t org_id = 0, now = nh_ctx_now(ctx);
	nh_slice name = slug;
	for (int attempt = 0;; attempt++) {
		int64_t taken;
		nh_rc rc = nh_query_id(ctx->tx, &nh_q_org_by_name, NH_PARAMS(nh_p_text(name)), &taken, err);
		if (rc == NH_ENOTFOUND)
			break;
		NH_TRY(rc);
		if (attempt == 8)
			return NH_FAIL(err, NH_ECONFLICT, "no free name for the personal organization of %.*s", NH_ARG(user->email));
		uint64_t suffix = attempt == 0 ? (uint64_t)user->id : nh_rng_below(ctx->rng, UINT64_C(1) << 32);
		name = nh_slice_str(nh_arena_printf(ctx->arena, "%.*s-%llu", NH_ARG(slug), (unsigned long long)suffix));
	}
	NH_TRY(nh_query_id(ctx->tx, &nh_q_org_insert, NH_PARAMS(nh_p_text(name), nh_p_int(user->id), nh_p_int(now)), &org_id, err));
	return nh_sql_exec(ctx->tx, &nh_q_member_insert,
	                   NH_PARAMS(nh_p_int(org_id), nh_p_int(user->id), nh_p_int(NH_ROLE_ADMIN), nh_p_int(now)), NULL, err);
}

nh_rc nh_user_create(struct nh_ctx *ctx, const struct nh_new_user *input, struct nh_user *out, json_t **errors, struct nh_err *err)
{
	nh_slice key = nh_input_lower(ctx->arena, input->email);
	int64_t now = nh_ctx_now(ctx), id = 0;
	nh_rc rc = nh_query_id(ctx->tx, &nh_q_user_insert,
	                       NH_PARAMS(nh_p_text(input->name), nh_p_text(input->email), nh_p_text(key), nh_p_str(input->password_hash),
	                                 nh_p_int(now), nh_p_bool(input->server_admin), nh_p_int(now)),
	                       &id, err);
	if (rc == NH_ECONFLICT)
		return nh_refuse(errors, err, NH_EINVAL, "email", "has already been taken");
	NH_TRY(rc);
	*out = (struct nh_user){
		.id = id,
		.name = nh_arena_copy(ctx->arena, input->name),
		.email = nh_arena_copy(ctx->arena, input->email),
		.server_admin = input->server_admin,
		.inserted_at_us = now,
		.updated_at_us = now,
	};
	return make_personal_org(ctx, out, err);
}

nh_rc nh_users_any(struct nh_ctx *ctx, bool *any, struct nh_err *err)
{
	int64_t count = 0;
	NH_TRY(nh_query_id(ctx->tx, &nh_q_user_any, NH_NO_PARAMS, &count, err));
	*any = count > 0;
	return NH_OK;
}

nh_rc nh_user_bootstrap(struct nh_ctx *ctx, const struct nh_new_user *input, bool *created, struct nh_user *out, struct nh_err *err)
{
	bool any = false;
	*created = false;
	NH_TRY(nh_users_any(ctx, &any, err));
	if (any)
		return NH_OK;
	NH_TRY(nh_user_create(ctx, input, out, NULL, err));
	*created = true;
	return NH_OK;
}

nh_rc nh_user_get(struct nh_ctx *ctx, int64_t user_id, struct nh_user *out, struct nh_err *err)
{
	return nh_one_row(ctx->tx, ctx->arena, &nh_q_user_by_id, NH_PARAMS(nh_p_int(user_id)), nh_user_read, out, "user", err);
}

nh_rc nh_user_by_email(struct nh_ctx *ctx, nh_slice email, struct nh_user *out, struct nh_err *err)
{
	nh_slice key = nh_input_lower(ctx->arena, email);
	if (!nh_input_text_ok(key, NH_NAME_MAX_BYTES))
		return NH_FAIL(err, NH_ENOTFOUND, "no such user");
	return nh_one_row(ctx->tx, ctx->arena, &nh_q_user_by_email, NH_PARAMS(nh_p_text(key)), nh_user_read, out, "user", err);
}

nh_rc nh_user_set_password(struct nh_ctx *ctx, int64_t user_id, const char *password_hash, struct nh_err *err)
{
	int64_t changed = 0;
	NH_TRY(nh_sql_exec(ctx->tx, &nh_q_user_set_password, NH_PARAMS(nh_p_str(password_hash), nh_p_int(nh_ctx_now(ctx)), nh_p_int(user_id)),
	                   &changed, err));
	if (!changed)
		return NH_FAIL(err, NH_ENOTFOUND, "no such user");
	NH_TRY(nh_sql_exec(ctx->tx, &nh_q_token_delete_all, NH_PARAMS(nh_p_int(user_id)), NULL, err));
	return nh_issued_revoke_user(ctx, user_id, err);
}

/* ---- sign-in ----------------------------------------------------------------------------------------------------------- */

static void read_login(const struct nh_rows *rows, struct nh_arena *arena, void *item)
{
	struct nh_login *login = item;
	login->known = true;
	nh_user_read(rows, arena, &login->user);
	login->password_hash = nh_col_text(rows, NH_USER_COLUMNS, arena);
}

nh_rc nh_login_find(struct nh_ctx *ctx, nh_slice email, struct nh_login *out, struct nh_err *err)
{
	*out = (struct nh_login){0};
	nh_slice key = nh_input_lower(ctx->arena, email);
	if (!nh_input_text_ok(key, NH_NAME_MAX_BYTES))
		return NH_OK;
	nh_rc rc = nh_one_row(ctx->tx, ctx->arena, &nh_q_user_by_email, NH_PARAMS(nh_p_text(key)), read_login, out, "user", err);
	return rc == NH_ENOTFOUND ? NH_OK : rc;
}

nh_rc nh_login_verify(const struct nh_login *login, nh_slice password, const struct nh_password_cost *cost)
{
	if (login->known && login->password_hash.len > 0)
		return nh_password_verify((const char *)login->password_hash.ptr, password) == NH_OK ? NH_OK : NH_EAUTH;
	/* Hash something all the same, so that the time does not tell whether the account exists. */
	char hash[NH_PASSWORD_HASH_MAX];
	NH_IGNORE(nh_password_hash(NH_LIT("no such account"), cost, hash, NULL));
	return NH_EAUTH;
}
