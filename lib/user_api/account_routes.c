/*
 * Signing in, the own account, command-line sessions, organizations and members.
 *
 * source: reference/user-api-and-cli "2.4", "2.5", "7"
 */
#include "api_int.h"
#include "crypto/secret.h"
#include "hub/invites.h"

#define LOGIN_REFUSED "Authentication failed, please check your username and password and try again."

static nh_slice text_of(const struct call *call, const char *key)
{
	return nh_json_text(call->params, key);
}

/* ---- sign-in ----------------------------------------------------------------------------------------------------------- */

static nh_rc make_token(struct call *call, struct nh_err *err)
{
	struct login_call *l = (struct login_call *)call;
	NH_TRY(nh_token_create(&call->ctx, l->login.user.id, NH_TOKEN_API, text_of(call, "note"), l->token, err));
	call->data = render_user(&l->login.user);
	json_object_set_new(call->data, "token", json_string(l->token));
	return NH_OK;
}

/* What a refusal at the gate says; code_needed: which member was missing. */
static const struct {
	nh_gate_answer answer;
	unsigned status; /* 0: that of NH_EAUTH */
	const char *detail, *otp;
} refusals[] = {
	{NH_GATE_WRONG, 0, LOGIN_REFUSED, NULL},
	{NH_GATE_TOO_MANY, 429, "Too many attempts to sign in, please wait a minute.", NULL},
	{NH_GATE_CODE_NEEDED, 0, "The account has a second factor: send its code, or a recovery code, as \"otp\".", "can't be blank"},
};

static nh_rc refuse_login(struct call *call, nh_gate_answer answer, struct nh_err *err)
{
	size_t i = 0;
	while (refusals[i].answer != answer)
		i++;
	call->status = refusals[i].status;
	call->errors = json_pack("{s:s}", "detail", refusals[i].detail);
	if (refusals[i].otp)
		json_object_set_new(call->errors, "otp", json_pack("[s]", refusals[i].otp));
	return NH_FAIL(err, NH_EAUTH, "signing in was refused");
}

struct nh_gate call_gate(const struct call *call)
{
	const struct nh_user_api_config *c = &call->api->config;
	return (struct nh_gate){c->db, c->hub, c->clock, c->rng, c->cost, c->limiter, call->arena, call->req->remote};
}

nh_rc login_check(struct login_call *l, struct nh_err *err)
{
	struct call *call = &l->call;
	const struct nh_gate gate = call_gate(call);
	struct nh_account_state state;
	nh_gate_answer answer;
	nh_slice code = text_of(call, "otp");
	NH_TRY(nh_gate_password(&gate, text_of(call, "email"), text_of(call, "password"), &l->login.user, &state, &answer, err));
	if (answer == NH_GATE_CODE_NEEDED && code.len > 0)
		NH_TRY(nh_gate_code(&gate, l->login.user.id, code, &answer, err));
	return answer == NH_GATE_OPEN ? NH_OK : refuse_login(call, answer, err);
}

nh_rc password_again(struct call *call, struct nh_err *err)
{
	const struct nh_gate gate = call_gate(call);
	nh_gate_answer answer;
	NH_TRY(nh_gate_again(&gate, &call->user, text_of(call, "current_password"), &answer, err));
	if (answer == NH_GATE_TOO_MANY)
		return refuse_login(call, answer, err);
	if (answer == NH_GATE_OPEN)
		return NH_OK;
	call->errors = json_pack("{s:[s]}", "current_password", "is invalid");
	return NH_FAIL(err, NH_EINVAL, "the current password is wrong");
}

static nh_rc log_in(struct login_call *l, struct nh_err *err)
{
	NH_TRY(login_check(l, err));
	return call_transact(&l->call, make_token, true, err);
}

static SHAPE(login_body, "Login", {"email", FIELD_TEXT}, {"password", FIELD_TEXT}, {"note", FIELD_TEXT, FIELD_OPTIONAL | FIELD_NULLABLE, .about = "What the token is called"},
             {"otp", FIELD_TEXT, FIELD_OPTIONAL | FIELD_NULLABLE, .about = "A code, or a recovery code, where the account has a second factor"});
static SHAPE(signed_in, "SignedIn", {"name", FIELD_TEXT}, {"email", FIELD_TEXT}, {"token", FIELD_TEXT, .about = "An API token; it is shown this once"});
const struct answer login_refusals[] = {{401, .about = "Wrong e-mail address or password; `errors.otp`: a code of the second factor is needed"}, {429, .about = "Too many attempts"}, {0}};
const struct endpoint ep_login = {.anonymous = true, .success = 200, .body = &login_body, .data = &signed_in, .also = login_refusals, .tag = "Auth"};

void handle_login(struct nh_request *req, struct nh_response *res)
{
	struct login_call l = {0};
	struct nh_err err = NH_ERR_INIT;
	if (!call_open(&l.call, req, res, &ep_login))
		return;
	nh_rc rc = log_in(&l, &err);
	call_close(&l.call, rc, &err);
	nh_wipe(l.token, sizeof(l.token));
}

struct register_call {
	struct call call;
	struct nh_new_user input;
};

static nh_rc create_user(struct call *call, struct nh_err *err)
{
	struct register_call *r = (struct register_call *)call;
	struct nh_user user;
	NH_TRY(nh_account_register(&call->ctx, &r->input, &user, &call->errors, err));
	call->data = render_user(&user);
	return NH_OK;
}

static nh_rc register_user(struct register_call *r, struct nh_err *err)
{
	struct call *call = &r->call;
	const struct nh_user_api_config *config = &call->api->config;
	if (!config->hub->registration_open) {
		call->status = 403;
		call->errors = json_pack("{s:s}", "detail", "This server is not open for registration; ask its administrator for an account.");
		return NH_FAIL(err, NH_EPERM, "registration is closed");
	}
	const struct nh_gate gate = call_gate(call);
	if (!nh_gate_knock(&gate, "register", call->req->remote, 20)) {
		call->status = 429;
		call->errors = json_pack("{s:s}", "detail", "Too many registrations, please wait a minute.");
		return NH_FAIL(err, NH_EAUTH, "too many registrations");
	}
	NH_TRY(nh_user_prepare(call->arena, text_of(call, "name"), text_of(call, "email"), text_of(call, "password"), config->cost, &r->input,
	                       &call->errors, err));
	return call_transact(call, create_user, true, err);
}

static SHAPE(register_body, "Registration", {"name", FIELD_TEXT}, {"email", FIELD_TEXT}, {"password", FIELD_TEXT});
static const struct answer register_refusals[] = {{403, .about = "The server is not open for registration"}, {429, .about = "Too many attempts"}, {0}};
const struct endpoint ep_register = {.anonymous = true, .success = 201, .body = &register_body, .data = &shape_user, .also = register_refusals, .tag = "Auth"};

void handle_register(struct nh_request *req, struct nh_response *res)
{
	struct register_call r = {0};
	struct nh_err err = NH_ERR_INIT;
	if (!call_open(&r.call, req, res, &ep_register))
		return;
	nh_rc rc = register_user(&r, &err);
	if (rc == NH_OK)
		call_effects(&r.call);
	call_close(&r.call, rc, &err);
	nh_wipe(r.input.password_hash, sizeof(r.input.password_hash));
}

static nh_rc me(struct call *call, struct nh_err *err)
{
	call->data = render_user(&call->user);
	return NH_OK;
}
const struct endpoint ep_me = {.run = me, .success = 200, .data = &shape_user, .tag = "Auth"};

/* ---- command-line sessions --------------------------------------------------------------------------------------------- */

static nh_rc cli_create(struct call *call, struct nh_err *err)
{
	struct nh_cli_session session;
	NH_TRY(nh_cli_session_create(&call->ctx, text_of(call, "note"), &session, err));
	nh_slice url = nh_slice_str(nh_arena_printf(call->arena, "%s/auth/cli/%.*s", public_url(call->req), NH_ARG(session.token)));
	call->data = json_pack("{s:o, s:o, s:I}", "token", nh_json_new_text(session.token), "url", nh_json_new_text(url), "confirmation_code",
	                       (json_int_t)session.confirmation_code);
	return NH_OK;
}
static SHAPE(cli_body, "CliSessionWanted", {"note", FIELD_TEXT, FIELD_OPTIONAL | FIELD_NULLABLE, .about = "What the token is called"});
static SHAPE(cli_session, "CliSession", {"token", FIELD_TEXT, .format = "uuid", .about = "To ask with"}, {"url", FIELD_TEXT, .about = "To open in a browser"},
             {"confirmation_code", FIELD_INTEGER, .about = "What the page shows, too"});
const struct endpoint ep_cli_create = {.run = cli_create, .anonymous = true, .write = true, .success = 200, .body = &cli_body, .data = &cli_session, .tag = "Auth"};

static nh_rc cli_poll(struct call *call, struct nh_err *err)
{
	bool ready = false;
	char token[NH_TOKEN_TEXT_MAX];
	NH_TRY(nh_cli_session_poll(&call->ctx, param(call, "token"), &ready, token, err));
	call->data = ready ? json_pack("{s:s, s:s}", "status", "ready", "user_token", token) : json_pack("{s:s}", "status", "waiting");
	nh_wipe(token, sizeof(token));
	return NH_OK;
}
static const char *const words_cli[] = {"waiting", "ready", NULL};
static SHAPE(cli_status, "CliSessionStatus", {"status", FIELD_TEXT, .words = words_cli}, {"user_token", FIELD_TEXT, FIELD_OPTIONAL, .about = "An API token, once"});
static const struct answer poll_refusals[] = {{403, "text/plain", .about = "Too many questions"}, {0}};
const struct endpoint ep_cli_poll = {.run = cli_poll, .anonymous = true, .write = true, .success = 200, .data = &cli_status, .also = poll_refusals, .tag = "Auth"};

static nh_slice poll_key(const struct nh_request *req) { return nh_slice_str(nh_arena_printf(req->arena, "poll %.*s", NH_ARG(req->remote))); }

void handle_cli_poll(struct nh_request *req, struct nh_response *res)
{
	struct nh_user_api *api = req->app;
	if (!nh_slice_eq_str(req->remote, "127.0.0.1") && !nh_limiter_allow(api->config.limiter, poll_key(req), 30, nh_clock_now(api->config.clock))) {
		nh_response_send(res, 403, "text/plain; charset=utf-8", NH_LIT("Forbidden\n"));
		return;
	}
	api_handle(req, res);
}

/* ---- organizations ----------------------------------------------------------------------------------------------------- */

static bool asks_for_products(const struct call *call)
{
	nh_slice word, rest = text_of(call, "include");
	while (rest.len > 0) {
		nh_slice_cut(rest, ',', &word, &rest);
		if (nh_slice_eq_str(nh_slice_trim(word), "products"))
			return true;
	}
	return false;
}

static json_t *render_products(const struct nh_product *products, size_t count)
{
	json_t *list = json_array();
	for (size_t i = 0; i < count; i++)
		json_array_append_new(list, render_product(&products[i]));
	return list;
}

static nh_rc orgs(struct call *call, struct nh_err *err)
{
	struct nh_org *list;
	size_t count = 0;
	NH_TRY(nh_org_list(&call->ctx, &call->actor, &list, &count, err));
	call->data = json_array();
	for (size_t i = 0; i < count; i++) {
		json_t *org = render_org(&list[i]);
		json_array_append_new(call->data, org);
		if (!asks_for_products(call))
			continue;
		struct nh_product *products;
		size_t product_count = 0;
		NH_TRY(nh_product_list(&call->ctx, &call->actor, list[i].id, &products, &product_count, err));
		json_object_set_new(org, "products", render_products(products, product_count));
	}
	return NH_OK;
}
static SHAPE(orgs_query, "OrganizationsQuery", {"include", FIELD_TEXT, FIELD_OPTIONAL, .about = "`products`: with their products"});
const struct endpoint ep_orgs = {.run = orgs, .success = 200, .query = &orgs_query, .data = &shape_org, .list = true, .tag = "Organizations"};

static nh_rc org_create(struct call *call, struct nh_err *err)
{
	struct nh_org org;
	NH_TRY(nh_org_create(&call->ctx, &call->actor, text_of(call, "name"), &org, &call->errors, err));
	set_location(call, org.name);
	call->data = render_org(&org);
	return NH_OK;
}
static SHAPE(org_body, "OrganizationWanted", {"name", FIELD_TEXT, .about = "Letters, digits, - and _"});
const struct endpoint ep_org_create = {.run = org_create, .write = true, .success = 201, .body = &org_body, .data = &shape_org, .tag = "Organizations"};

/* ---- members ----------------------------------------------------------------------------------------------------------- */

static nh_rc members(struct call *call, struct nh_err *err)
{
	struct nh_member *list;
	size_t count = 0;
	NH_TRY(nh_member_list(&call->ctx, &call->actor, call->org.id, &list, &count, err));
	call->data = json_array();
	for (size_t i = 0; i < count; i++)
		json_array_append_new(call->data, render_member(&list[i]));
	return NH_OK;
}
const struct endpoint ep_members = {.run = members, .scope = SCOPE_ORG, .may = NH_MAY_MEMBER_SEE, .success = 200, .data = &shape_member, .list = true, .tag = "Organization Members"};

static nh_rc member_add(struct call *call, struct nh_err *err)
{
	struct nh_member m;
	nh_slice email = text_of(call, "email"), role = text_of(call, "role");
	if (!email.ptr || !role.ptr)
		return bad_request(call, err, "An unknown error occurred, please check the request.");
	bool invited = false;
	NH_TRY(nh_member_invite(&call->ctx, &call->actor, &call->org, email, role, &invited, &m, &call->errors, err));
	if (invited) {
		call->status = 204;
		return NH_OK;
	}
	nh_slice at = nh_slice_str(nh_arena_printf(call->arena, "/api/orgs/%.*s/users/", NH_ARG(call->org.name)));
	NH_AUTO_BUF struct nh_buf text = NH_BUF_INIT;
	nh_buf_put_slice(&text, at);
	nh_buf_put_slice(&text, m.email);
	call->location = nh_arena_copy(call->arena, nh_buf_slice(&text));
	call->data = render_member(&m);
	return NH_OK;
}
static SHAPE(member_body, "MemberWanted", {"email", FIELD_TEXT}, {"role", FIELD_TEXT, .words = words_roles});
static const struct answer member_add_answers[] = {{204, "", .about = "Nobody has an account with this address: an invitation was mailed to it"}, {0}};
const struct endpoint ep_member_add = {
	.run = member_add, .scope = SCOPE_ORG, .may = NH_MAY_MEMBER_ADD, .write = true, .success = 201, .body = &member_body, .data = &shape_member, .also = member_add_answers, .tag = "Organization Members"};

static nh_rc member(struct call *call, struct nh_err *err)
{
	struct nh_member m;
	NH_TRY(nh_member_get(&call->ctx, &call->actor, call->org.id, param(call, "user_email"), &m, err));
	call->data = render_member(&m);
	return NH_OK;
}
const struct endpoint ep_member = {.run = member, .scope = SCOPE_ORG, .may = NH_MAY_MEMBER_SEE, .success = 200, .data = &shape_member, .tag = "Organization Members"};

static nh_rc member_role(struct call *call, struct nh_err *err)
{
	struct nh_member m;
	nh_slice role = text_of(call, "role");
	if (!role.ptr)
		return bad_request(call, err, "An unknown error occurred, please check the request.");
	NH_TRY(nh_member_set_role(&call->ctx, &call->actor, call->org.id, param(call, "user_email"), role, &m, &call->errors, err));
	call->data = render_member(&m);
	return NH_OK;
}
static SHAPE(role_body, "RoleChange", {"role", FIELD_TEXT, .words = words_roles});
const struct endpoint ep_member_role = {
	.run = member_role, .scope = SCOPE_ORG, .may = NH_MAY_MEMBER_UPDATE, .write = true, .success = 200, .body = &role_body, .data = &shape_member, .tag = "Organization Members"};

static nh_rc member_remove(struct call *call, struct nh_err *err)
{
	return nh_member_expel(&call->ctx, &call->actor, &call->org, param(call, "user_email"), &call->errors, err);
}
const struct endpoint ep_member_remove = {
	.run = member_remove, .scope = SCOPE_ORG, .may = NH_MAY_MEMBER_REMOVE, .write = true, .success = 204, .tag = "Organization Members"};
