/*
 * Signing in and out: password, second factor, and the button that lets a command line in.
 *
 * source: reference/server-behaviour "9.4", "9.5"; reference/user-api-and-cli "2.5"; reference/web-ui "8.1"
 */
#include "base/encode.h"
#include "forms_int.h"
#include "oidc_int.h"

#define STEP_COOKIE "step"
#define CONFIRMATIONS_PER_MINUTE 3

/* ---- password ---------------------------------------------------------------------------------------------------------- */

static const struct form_notice login_notices[] = {
	{"out", "You are signed out."},
	{"closed", "This server is not open for registration. Ask its administrator for an account."},
	{"confirmed", "The address is confirmed. Please sign in."},
	{"reset", "The password is changed. Please sign in."},
	{"deleted", "The account is deleted."},
	{NULL, NULL},
};

static void show_login(struct form *f, unsigned status, const char *wrong)
{
	nh_slice back = f->post ? form_value(f, "return") : form_query(f, "return");
	page_begin(f, "Sign in");
	page_notice(f, true, wrong);
	if (!wrong)
		page_notice_of(f, login_notices);
	form_begin(f, "/login");
	form_hidden(f, "return", form_local(back, ""));
	form_field(f, &(struct page_field){"E-mail address", "email", "email", "username", form_value(f, "email"), false});
	form_field(f, &(struct page_field){"Password", "password", "password", "current-password", NH_SLICE_EMPTY, false});
	form_field(f, &(struct page_field){"Keep me signed in on this device", "remember", "checkbox", NULL, form_value(f, "remember"), true});
	form_end(f, "Sign in");
	oidc_put_links(f, form_local(back, ""));
	page_html(f, "<p><a href=\"/password-reset\">I forgot my password</a></p>\n");
	if (f->web->config.hub->registration_open)
		page_html(f, "<p><a href=\"/register\">Register an account</a></p>\n");
	page_send(f, status);
}

static nh_rc mail_confirmation(struct form *f, void *user, struct nh_err *err) { return nh_account_mail_confirmation(&f->ctx, user, err); }

/* Only who knows the password hears that the address is not confirmed. */
static void ask_to_confirm(struct form *f, const struct nh_gate *gate, struct nh_user *user)
{
	struct nh_err err = NH_ERR_INIT;
	nh_rc rc = NH_OK;
	if (nh_gate_knock(gate, "confirm", user->email, CONFIRMATIONS_PER_MINUTE))
		rc = form_transact(f, mail_confirmation, user, true, &err);
	if (rc == NH_OK)
		page_message(f, 403, "Confirm your address", "This account's address has to be confirmed first. We have sent you another mail with a link.");
	else
		form_fail(f, rc, &err);
}

struct step {
	int64_t user_id;
	char token[NH_TOKEN_TEXT_MAX];
};

static nh_rc make_step(struct form *f, void *arg, struct nh_err *err)
{
	struct step *step = arg;
	return nh_account_step(&f->ctx, step->user_id, step->token, err);
}

void form_ask_for_code(struct form *f, int64_t user_id, bool lasting, nh_slice return_to)
{
	struct nh_err err = NH_ERR_INIT;
	struct step step = {.user_id = user_id};
	NH_AUTO_BUF struct nh_buf path = NH_BUF_INIT;
	nh_rc rc = form_transact(f, make_step, &step, true, &err);
	if (rc != NH_OK) {
		form_fail(f, rc, &err);
		return;
	}
	form_cookie(f, STEP_COOKIE, nh_slice_str(step.token), NH_STEP_S);
	nh_wipe(step.token, sizeof(step.token));
	nh_buf_printf(&path, "/login/second-factor?remember=%s&return=", lasting ? "true" : "");
	nh_uri_put(&path, form_local(return_to, ""));
	form_redirect(f, nh_buf_slice(&path));
}

static void try_login(struct form *f)
{
	struct nh_err err = NH_ERR_INIT;
	struct nh_user user;
	struct nh_account_state state;
	nh_gate_answer answer;
	const struct nh_gate gate = form_gate(f);
	nh_rc rc = nh_gate_password(&gate, form_value(f, "email"), form_value(f, "password"), &user, &state, &answer, &err);
	if (rc != NH_OK)
		form_fail(f, rc, &err);
	else if (answer == NH_GATE_TOO_MANY)
		show_login(f, 429, "Too many attempts to sign in. Please wait a minute.");
	else if (answer == NH_GATE_WRONG)
		show_login(f, 422, "Wrong e-mail address or password.");
	else if (!state.confirmed)
		ask_to_confirm(f, &gate, &user);
	else if (answer == NH_GATE_CODE_NEEDED)
		form_ask_for_code(f, user.id, form_checked(f, "remember"), form_value(f, "return"));
	else
		form_sign_in(f, user.id, form_checked(f, "remember"), form_value(f, "return"));
}

static void login(struct form *f)
{
	if (f->post)
		try_login(f);
	else if (f->signed_in)
		form_redirect(f, form_local(form_query(f, "return"), "/account"));
	else
		show_login(f, 200, NULL);
}
const struct form_page page_login = {login, false};

/* ---- second factor ------------------------------------------------------------------------------------------------------ */

static void show_code(struct form *f, unsigned status, const char *wrong)
{
	page_begin(f, "Second factor");
	page_notice(f, true, wrong);
	page_paragraph(f, "Type the code that your authenticator shows, or one of your recovery codes.");
	form_begin(f, "/login/second-factor");
	form_hidden(f, "return", form_local(f->post ? form_value(f, "return") : form_query(f, "return"), ""));
	form_hidden(f, "remember", (f->post ? form_checked(f, "remember") : form_query(f, "remember").len > 0) ? NH_LIT("true") : NH_SLICE_EMPTY);
	form_field(f, &(struct page_field){"Code", "code", "code", NULL, NH_SLICE_EMPTY, false});
	form_end(f, "Sign in");
	page_html(f, "<p><a href=\"/login\">Begin again</a></p>\n");
	page_send(f, status);
}

static nh_rc find_step(struct form *f, void *user, struct nh_err *err) { return nh_account_step_find(&f->ctx, form_cookie_value(f, STEP_COOKIE), user, err); }
static nh_rc end_step(struct form *f, void *arg, struct nh_err *err) { return nh_account_step_done(&f->ctx, form_cookie_value(f, STEP_COOKIE), err); }

static void try_code(struct form *f, int64_t user_id)
{
	struct nh_err err = NH_ERR_INIT;
	nh_gate_answer answer;
	const struct nh_gate gate = form_gate(f);
	nh_rc rc = nh_gate_code(&gate, user_id, form_value(f, "code"), &answer, &err);
	if (rc == NH_OK && answer == NH_GATE_OPEN)
		rc = form_transact(f, end_step, NULL, true, &err);
	if (rc != NH_OK) {
		form_fail(f, rc, &err);
	} else if (answer != NH_GATE_OPEN) {
		bool many = answer == NH_GATE_TOO_MANY;
		show_code(f, many ? 429 : 422, many ? "Too many wrong codes. Please wait five minutes." : "This code does not fit, or was used already. Please try the next one.");
	} else {
		form_cookie(f, STEP_COOKIE, NH_SLICE_EMPTY, -1);
		form_sign_in(f, user_id, form_checked(f, "remember"), form_value(f, "return"));
	}
}

static void second_factor(struct form *f)
{
	struct nh_err err = NH_ERR_INIT;
	struct nh_user user;
	nh_rc rc = form_transact(f, find_step, &user, false, &err);
	if (rc == NH_EAUTH)
		form_redirect(f, NH_LIT("/login"));
	else if (rc != NH_OK)
		form_fail(f, rc, &err);
	else if (f->post)
		try_code(f, user.id);
	else
		show_code(f, 200, NULL);
}
const struct form_page page_second_factor = {second_factor, false};

/* ---- signing out -------------------------------------------------------------------------------------------------------- */

static void logout(struct form *f)
{
	if (f->post) {
		form_sign_out(f);
		return;
	}
	page_begin(f, "Sign out");
	page_paragraph(f, "This ends the session of this browser.");
	form_begin(f, "/logout");
	form_end(f, "Sign out");
	page_send(f, 200);
}
const struct form_page page_logout = {logout, true};

/* ---- a command line ----------------------------------------------------------------------------------------------------- */

static nh_rc get_cli_session(struct form *f, void *out, struct nh_err *err)
{
	return nh_cli_session_get(&f->ctx, &f->actor, nh_request_param(f->req, "token"), out, err);
}

static nh_rc confirm_cli_session(struct form *f, void *arg, struct nh_err *err)
{
	return nh_cli_session_confirm(&f->ctx, &f->actor, nh_request_param(f->req, "token"), err);
}

static void show_cli_session(struct form *f, const struct nh_cli_session *session)
{
	const char *action = nh_arena_printf(f->arena, "/auth/cli/%.*s", NH_ARG(session->token));
	page_begin(f, "CLI Login");
	if (session->confirmed) {
		page_notice(f, false, "You're all set to use the CLI");
		page_paragraph(f, "You can close this page.");
		page_send(f, 200);
		return;
	}
	page_paragraph(f, "A command line wants to be signed in with your account. Confirm only if it shows this code:");
	page_html(f, "<p class=\"code\">");
	page_printf(f, "%lld", (long long)session->confirmation_code);
	page_html(f, "</p>\n");
	if (session->note.len > 0) {
		page_html(f, "<p>It calls itself: ");
		page_text(f, session->note);
		page_html(f, "</p>\n");
	}
	form_begin(f, action);
	form_end(f, "Confirm login");
	page_send(f, 200);
}

static void cli(struct form *f)
{
	struct nh_err err = NH_ERR_INIT;
	struct nh_cli_session session;
	nh_rc rc = f->post ? form_transact(f, confirm_cli_session, NULL, true, &err) : form_transact(f, get_cli_session, &session, false, &err);
	if (rc == NH_ENOTFOUND)
		page_message(f, 404, "CLI authentication failed :(", "The command line's attempt is unknown, more than five minutes old, or was confirmed already. Start it again there.");
	else if (rc != NH_OK)
		form_fail(f, rc, &err);
	else if (f->post)
		form_redirect(f, f->req->path);
	else
		show_cli_session(f, &session);
}
const struct form_page page_cli = {cli, true};
