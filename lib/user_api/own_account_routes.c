/*
 * The own account: its data, API tokens, sessions in browsers, second factor; invitations, and leaving an organization. What gives power over the account takes the current password beside the
 * token, so that a token that was found somewhere cannot make itself permanent.
 *
 * source: reference/server-behaviour "9.3" to "9.5", "9.8"; upstream has these on pages only
 */
#include "api_int.h"
#include "base/encode.h"
#include "crypto/secret.h"
#include "hub/invites.h"
#include "hub/second_factor.h"
#include "hub/sessions.h"

static nh_slice text_of(const struct call *call, const char *key) { return nh_json_text(call->params, key); }

/* NH_ENOTFOUND: no number. */
static nh_rc id_of(const struct call *call, int64_t *out, struct nh_err *err)
{
	return nh_parse_i64(param(call, "id"), 1, INT64_MAX, out) == NH_OK ? NH_OK : NH_FAIL(err, NH_ENOTFOUND, "no such id");
}

/* Who asks, the password again, and then the endpoint's own transaction. */
void handle_with_password(struct nh_request *req, struct nh_response *res)
{
	struct call call;
	struct nh_err err = NH_ERR_INIT;
	const struct endpoint *endpoint = req->route->extra;
	if (!call_open(&call, req, res, endpoint))
		return;
	nh_rc rc = call_transact(&call, NULL, false, &err);
	if (rc == NH_OK)
		rc = password_again(&call, &err);
	if (rc == NH_OK)
		rc = call_transact(&call, endpoint->run, endpoint->write, &err);
	if (rc == NH_OK)
		call_effects(&call);
	call_close(&call, rc, &err);
}

static SHAPE(password_body, "CurrentPassword", {"current_password", FIELD_TEXT, FIELD_OPTIONAL, .about = "Of an account that has a password"});

/* ---- name, address, password ------------------------------------------------------------------------------------------- */

static nh_rc me_update(struct call *call, struct nh_err *err)
{
	struct nh_user user;
	bool pending = false;
	NH_TRY(nh_account_update(&call->ctx, &call->user, text_of(call, "name"), text_of(call, "email"), &user, &pending, &call->errors, err));
	call->data = render_user(&user);
	json_object_set_new(call->data, "pending_email", pending ? nh_json_new_text(nh_slice_trim(text_of(call, "email"))) : json_null());
	return NH_OK;
}
static SHAPE(me_body, "AccountChange", {"name", FIELD_TEXT, FIELD_OPTIONAL}, {"email", FIELD_TEXT, FIELD_OPTIONAL},
             {"current_password", FIELD_TEXT, FIELD_OPTIONAL, .about = "With a new address, of an account that has a password"});
static SHAPE(me_changed, "AccountChanged", {"name", FIELD_TEXT}, {"email", FIELD_TEXT},
             {"pending_email", FIELD_TEXT, FIELD_NULLABLE, .about = "The new address, until the link that was mailed to it is opened"});
const struct endpoint ep_me_update = {.run = me_update, .write = true, .success = 200, .body = &me_body, .data = &me_changed, .also = login_refusals, .tag = "Account"};

void handle_me_update(struct nh_request *req, struct nh_response *res)
{
	struct call call;
	struct nh_err err = NH_ERR_INIT;
	if (!call_open(&call, req, res, &ep_me_update))
		return;
	nh_rc rc = call_transact(&call, NULL, false, &err);
	nh_slice email = nh_slice_trim(text_of(&call, "email"));
	if (rc == NH_OK && email.len > 0 && !nh_slice_eq(email, call.user.email))
		rc = password_again(&call, &err);
	if (rc == NH_OK)
		rc = call_transact(&call, me_update, true, &err);
	if (rc == NH_OK)
		call_effects(&call);
	call_close(&call, rc, &err);
}

struct password_call {
	struct call call; /* first */
	char hash[NH_PASSWORD_HASH_MAX];
};

static nh_rc change_password(struct call *call, struct nh_err *err) { return nh_account_change_password(&call->ctx, &call->user, ((struct password_call *)call)->hash, err); }

static SHAPE(new_password, "PasswordChange", {"password", FIELD_TEXT, .about = "12 characters to 72 bytes"},
             {"current_password", FIELD_TEXT, FIELD_OPTIONAL, .about = "Of an account that has a password"});
const struct endpoint ep_me_password = {.run = change_password, .write = true, .success = 204, .body = &new_password, .also = login_refusals, .tag = "Account"};

void handle_me_password(struct nh_request *req, struct nh_response *res)
{
	struct password_call p = {0};
	struct nh_err err = NH_ERR_INIT;
	if (!call_open(&p.call, req, res, &ep_me_password))
		return;
	nh_rc rc = call_transact(&p.call, NULL, false, &err);
	if (rc == NH_OK)
		rc = password_again(&p.call, &err);
	if (rc == NH_OK)
		rc = nh_account_prepare_password(text_of(&p.call, "password"), p.call.api->config.cost, p.hash, &p.call.errors, &err);
	if (rc == NH_OK)
		rc = call_transact(&p.call, change_password, true, &err);
	if (rc == NH_OK)
		call_effects(&p.call);
	call_close(&p.call, rc, &err);
	nh_wipe(p.hash, sizeof(p.hash));
}

static nh_rc me_delete(struct call *call, struct nh_err *err) { return nh_account_delete(&call->ctx, &call->user, &call->errors, err); }
const struct endpoint ep_me_delete = {.run = me_delete, .write = true, .success = 204, .body = &password_body, .also = login_refusals, .tag = "Account"};

/* ---- API tokens -------------------------------------------------------------------------------------------------------- */

static nh_rc tokens(struct call *call, struct nh_err *err)
{
	struct nh_token *list;
	size_t count = 0;
	NH_TRY(nh_token_list(&call->ctx, call->user.id, &list, &count, err));
	call->data = json_array();
	for (size_t i = 0; i < count; i++)
		json_array_append_new(call->data, json_pack("{s:I, s:o, s:o, s:o}", "id", (json_int_t)list[i].id, "note", text_or_null(list[i].note), "inserted_at",
		                                            render_moment(list[i].inserted_at_us), "last_used_at", render_moment(list[i].last_used_at_us)));
	return NH_OK;
}
static SHAPE(token_shape, "ApiToken", {"id", FIELD_INTEGER}, {"note", FIELD_TEXT, FIELD_NULLABLE}, {"inserted_at", FIELD_TEXT, .format = "date-time"},
             {"last_used_at", FIELD_TEXT, FIELD_NULLABLE, .format = "date-time"});
const struct endpoint ep_tokens = {.run = tokens, .success = 200, .data = &token_shape, .list = true, .tag = "Account"};

static nh_rc token_create(struct call *call, struct nh_err *err)
{
	char token[NH_TOKEN_TEXT_MAX];
	NH_TRY(nh_token_create(&call->ctx, call->user.id, NH_TOKEN_API, text_of(call, "note"), token, err));
	call->data = json_pack("{s:s}", "token", token);
	nh_wipe(token, sizeof(token));
	return NH_OK;
}
static SHAPE(token_body, "ApiTokenWanted", {"note", FIELD_TEXT, FIELD_OPTIONAL | FIELD_NULLABLE, .about = "What the token is called"},
             {"current_password", FIELD_TEXT, FIELD_OPTIONAL, .about = "Of an account that has a password"});
static SHAPE(token_made, "ApiTokenMade", {"token", FIELD_TEXT, .about = "It is shown this once"});
const struct endpoint ep_token_create = {.run = token_create, .write = true, .success = 201, .body = &token_body, .data = &token_made, .also = login_refusals, .tag = "Account"};

static nh_rc token_delete(struct call *call, struct nh_err *err)
{
	int64_t id;
	NH_TRY(id_of(call, &id, err));
	return nh_token_delete(&call->ctx, call->user.id, id, err);
}
const struct endpoint ep_token_delete = {.run = token_delete, .write = true, .success = 204, .tag = "Account"};

/* ---- sessions ---------------------------------------------------------------------------------------------------------- */

static nh_rc sessions(struct call *call, struct nh_err *err)
{
	struct nh_user_session *list;
	size_t count = 0;
	NH_TRY(nh_user_session_list(&call->ctx, call->user.id, &list, &count, err));
	call->data = json_array();
	for (size_t i = 0; i < count; i++)
		json_array_append_new(call->data, json_pack("{s:I, s:o, s:o, s:o, s:o, s:o}", "id", (json_int_t)list[i].id, "browser", text_or_null(list[i].agent), "address",
		                                            text_or_null(list[i].address), "inserted_at", render_moment(list[i].inserted_at_us), "last_used_at",
		                                            render_moment(list[i].last_used_at_us), "expires_at", render_moment(list[i].expires_at_us)));
	return NH_OK;
}
static SHAPE(session_shape, "Session", {"id", FIELD_INTEGER}, {"browser", FIELD_TEXT, FIELD_NULLABLE, .about = "As it calls itself"}, {"address", FIELD_TEXT, FIELD_NULLABLE},
             {"inserted_at", FIELD_TEXT, .format = "date-time"}, {"last_used_at", FIELD_TEXT, FIELD_NULLABLE, .format = "date-time"}, {"expires_at", FIELD_TEXT, .format = "date-time"});
const struct endpoint ep_sessions = {.run = sessions, .success = 200, .data = &session_shape, .list = true, .tag = "Account"};

static nh_rc session_delete(struct call *call, struct nh_err *err)
{
	int64_t id;
	NH_TRY(id_of(call, &id, err));
	return nh_user_session_revoke(&call->ctx, call->user.id, id, err);
}
const struct endpoint ep_session_delete = {.run = session_delete, .write = true, .success = 204, .tag = "Account"};

static nh_rc sessions_delete(struct call *call, struct nh_err *err) { return nh_user_session_revoke_others(&call->ctx, call->user.id, 0, err); }
const struct endpoint ep_sessions_delete = {.run = sessions_delete, .write = true, .success = 204, .tag = "Account"};

/* ---- second factor ------------------------------------------------------------------------------------------------------ */

static nh_rc factor(struct call *call, struct nh_err *err)
{
	struct nh_second_factor f;
	NH_TRY(nh_second_factor_state(&call->ctx, call->user.id, &f, err));
	call->data = json_pack("{s:b, s:I}", "enabled", f.enabled, "recovery_codes_left", (json_int_t)f.recovery_codes);
	return NH_OK;
}
static SHAPE(factor_shape, "SecondFactor", {"enabled", FIELD_BOOLEAN}, {"recovery_codes_left", FIELD_INTEGER});
const struct endpoint ep_factor = {.run = factor, .success = 200, .data = &factor_shape, .tag = "Account"};

static nh_rc factor_begin(struct call *call, struct nh_err *err)
{
	nh_slice secret, uri;
	NH_TRY(nh_second_factor_begin(&call->ctx, call->user.id, err));
	NH_TRY(nh_second_factor_secret(&call->ctx, &call->user, &secret, &uri, err));
	call->data = json_pack("{s:o, s:o}", "secret", nh_json_new_text(secret), "uri", nh_json_new_text(uri));
	return NH_OK;
}
static SHAPE(factor_secret, "SecondFactorSecret", {"secret", FIELD_TEXT, .about = "In base32, for an authenticator"}, {"uri", FIELD_TEXT, .about = "otpauth: the same, to be shown as a QR code"});
static const struct answer factor_answers[] = {
	{401, .about = "Not signed in"}, {409, .about = "The second factor is on already"}, {429, .about = "Too many attempts"}, {0}};
const struct endpoint ep_factor_begin = {
	.run = factor_begin, .write = true, .success = 201, .body = &password_body, .data = &factor_secret, .also = factor_answers, .tag = "Account"};

static json_t *render_codes(char codes[NH_RECOVERY_CODES][NH_RECOVERY_CODE_MAX])
{
	json_t *list = json_array();
	for (size_t i = 0; i < NH_RECOVERY_CODES; i++)
		json_array_append_new(list, json_string(codes[i]));
	nh_wipe(codes, sizeof(char[NH_RECOVERY_CODES][NH_RECOVERY_CODE_MAX]));
	return json_pack("{s:o}", "recovery_codes", list);
}
static SHAPE(codes_shape, "RecoveryCodes", {"recovery_codes", FIELD_TEXT, FIELD_LIST, .about = "Each signs in once; they are shown this once"});

static nh_rc factor_confirm(struct call *call, struct nh_err *err)
{
	char codes[NH_RECOVERY_CODES][NH_RECOVERY_CODE_MAX];
	bool fits = false;
	NH_TRY(nh_second_factor_confirm(&call->ctx, &call->user, text_of(call, "otp"), &fits, codes, err));
	if (!fits) {
		call->errors = json_pack("{s:[s]}", "otp", "is invalid");
		return NH_FAIL(err, NH_EINVAL, "the code does not fit");
	}
	call->data = render_codes(codes);
	return NH_OK;
}
static SHAPE(factor_code, "SecondFactorCode", {"otp", FIELD_TEXT, .about = "The code that the authenticator shows"});
static const struct answer confirm_answers[] = {{404, .about = "None was begun"}, {0}};
const struct endpoint ep_factor_confirm = {.run = factor_confirm, .write = true, .success = 200, .body = &factor_code, .data = &codes_shape, .also = confirm_answers, .tag = "Account"};

static nh_rc factor_off(struct call *call, struct nh_err *err) { return nh_second_factor_disable(&call->ctx, &call->user, err); }
const struct endpoint ep_factor_off = {.run = factor_off, .write = true, .success = 204, .body = &password_body, .also = login_refusals, .tag = "Account"};

static nh_rc recovery(struct call *call, struct nh_err *err)
{
	char codes[NH_RECOVERY_CODES][NH_RECOVERY_CODE_MAX];
	NH_TRY(nh_second_factor_recovery(&call->ctx, call->user.id, codes, err));
	call->data = render_codes(codes);
	return NH_OK;
}
static const struct answer recovery_answers[] = {{401, .about = "Not signed in, or the password is wrong"}, {404, .about = "The account has no second factor"}, {429, .about = "Too many attempts"}, {0}};
const struct endpoint ep_recovery = {.run = recovery, .write = true, .success = 201, .body = &password_body, .data = &codes_shape, .also = recovery_answers, .tag = "Account"};

/* ---- invitations, leaving ------------------------------------------------------------------------------------------------ */

static nh_rc invites(struct call *call, struct nh_err *err)
{
	struct nh_invite *list;
	size_t count = 0;
	NH_TRY(nh_invite_list(&call->ctx, &call->actor, call->org.id, &list, &count, err));
	call->data = json_array();
	for (size_t i = 0; i < count; i++)
		json_array_append_new(call->data, json_pack("{s:I, s:o, s:s, s:o, s:o, s:o}", "id", (json_int_t)list[i].id, "email", nh_json_new_text(list[i].email), "role",
		                                            nh_role_name(list[i].role), "invited_by", text_or_null(list[i].inviter), "inserted_at",
		                                            render_moment(list[i].inserted_at_us), "expires_at", render_moment(list[i].expires_at_us)));
	return NH_OK;
}
static SHAPE(invite_shape, "Invitation", {"id", FIELD_INTEGER}, {"email", FIELD_TEXT}, {"role", FIELD_TEXT, .words = words_roles}, {"invited_by", FIELD_TEXT, FIELD_NULLABLE},
             {"inserted_at", FIELD_TEXT, .format = "date-time"}, {"expires_at", FIELD_TEXT, .format = "date-time"});
const struct endpoint ep_invites = {.run = invites, .scope = SCOPE_ORG, .may = NH_MAY_MEMBER_SEE, .success = 200, .data = &invite_shape, .list = true, .tag = "Organization Members"};

static nh_rc invite_rescind(struct call *call, struct nh_err *err)
{
	int64_t id;
	NH_TRY(id_of(call, &id, err));
	return nh_invite_rescind(&call->ctx, &call->actor, call->org.id, id, err);
}
const struct endpoint ep_invite_rescind = {.run = invite_rescind, .scope = SCOPE_ORG, .may = NH_MAY_MEMBER_ADD, .write = true, .success = 204, .tag = "Organization Members"};

static nh_rc leave(struct call *call, struct nh_err *err) { return nh_member_leave(&call->ctx, &call->user, &call->org, &call->errors, err); }
const struct endpoint ep_leave = {.run = leave, .scope = SCOPE_ORG, .may = NH_MAY_ORG_SEE, .write = true, .success = 204, .tag = "Organization Members"};
