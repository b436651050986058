/*
 * The own account: name and address, password, API tokens, sessions, second factor, deletion. What gives power over the account (address, password, second factor, deletion, a new token) asks
 * for the password again, so that a browser left open gives away no more than it shows.
 *
 * source: reference/server-behaviour "9.4", "9.5", "9.8"; reference/web-ui "8.3"
 */
#include "base/encode.h"
#include "forms_int.h"
#include "hub/second_factor.h"
#include "oidc_int.h"

static const struct form_notice notices[] = {
	{"saved", "Saved."},
	{"address", "The address is confirmed."},
	{"pending", "We have sent a mail to the new address. It counts once you have opened the link in it."},
	{"password", "The password is changed."},
	{"token", "The API token is worth nothing any more."},
	{"session", "The session has ended."},
	{"joined", "You are a member of the organization now."},
	{"made", "The organization and the product are there. Sign the command line in with: nh user login"},
	{"factor-off", "The second factor is switched off."},
	{"connected", "The account elsewhere is connected."},
	{"disconnected", "The account elsewhere is disconnected."},
	{NULL, NULL},
};

static void put_when(struct form *f, const char *what, int64_t at_us)
{
	NH_AUTO_BUF struct nh_buf text = NH_BUF_INIT;
	if (at_us == 0)
		nh_buf_put_str(&text, "never");
	else
		nh_time_put_iso(&text, at_us);
	page_printf(f, "%s %s", what, nh_buf_cstr(&text));
}

/* Asks for the password; false: the page has been answered. shown: what to show again where it is wrong. */
static bool password_again(struct form *f, void (*shown)(struct form *f, unsigned status, const char *wrong))
{
	struct nh_err err = NH_ERR_INIT;
	nh_gate_answer answer;
	const struct nh_gate gate = form_gate(f);
	nh_rc rc = nh_gate_again(&gate, &f->user, form_value(f, "current_password"), &answer, &err);
	if (rc == NH_OK && answer == NH_GATE_OPEN)
		return true;
	if (rc != NH_OK)
		form_fail(f, rc, &err);
	else if (answer == NH_GATE_TOO_MANY)
		shown(f, 429, "Too many attempts. Please wait a minute.");
	else
		shown(f, 422, "The current password is wrong.");
	return false;
}

static void put_current_password(struct form *f)
{
	form_field(f, &(struct page_field){"Current password", "current_password", "password", "current-password", NH_SLICE_EMPTY, true});
}

static const char *detail_of(const struct form *f) { return json_string_value(json_object_get(f->errors, "detail")); }

/* ---- the page ----------------------------------------------------------------------------------------------------------- */

struct account {
	struct nh_token *tokens;
	struct nh_user_session *sessions;
	size_t token_count, session_count;
	struct nh_second_factor factor;
};

static nh_rc load_account(struct form *f, void *arg, struct nh_err *err)
{
	struct account *a = arg;
	NH_TRY(nh_token_list(&f->ctx, f->user.id, &a->tokens, &a->token_count, err));
	NH_TRY(nh_user_session_list(&f->ctx, f->user.id, &a->sessions, &a->session_count, err));
	return nh_second_factor_state(&f->ctx, f->user.id, &a->factor, err);
}

static void put_row_button(struct form *f, const char *kind, int64_t id, const char *button)
{
	form_begin(f, nh_arena_printf(f->arena, "/account/%s/%lld/delete", kind, (long long)id));
	form_end(f, button);
}

static void put_tokens(struct form *f, const struct account *a)
{
	page_html(f, "<h2>API tokens</h2>\n<ul>\n");
	for (size_t i = 0; i < a->token_count; i++) {
		page_html(f, "<li>");
		page_text(f, a->tokens[i].note.len ? a->tokens[i].note : NH_LIT("(no note)"));
		put_when(f, "; made", a->tokens[i].inserted_at_us);
		put_when(f, ", last used", a->tokens[i].last_used_at_us);
		put_row_button(f, "tokens", a->tokens[i].id, "Revoke");
		page_html(f, "</li>\n");
	}
	page_html(f, "</ul>\n");
	form_begin(f, "/account/tokens");
	form_field(f, &(struct page_field){"What the new token is for", "note", "text", NULL, NH_SLICE_EMPTY, false});
	put_current_password(f);
	form_end(f, "Make a token");
}

static void put_sessions(struct form *f, const struct account *a)
{
	page_html(f, "<h2>Sessions</h2>\n<ul>\n");
	for (size_t i = 0; i < a->session_count; i++) {
		const struct nh_user_session *s = &a->sessions[i];
		page_html(f, "<li>");
		if (s->id == f->session.id)
			page_html(f, "<strong>This browser.</strong> ");
		page_text(f, s->agent.len ? s->agent : NH_LIT("(unknown browser)"));
		page_printf(f, ", from %.*s", NH_ARG(s->address));
		put_when(f, "; signed in", s->inserted_at_us);
		put_when(f, ", last used", s->last_used_at_us);
		put_row_button(f, "sessions", s->id, "End");
		page_html(f, "</li>\n");
	}
	page_html(f, "</ul>\n");
	form_begin(f, "/account/sessions");
	form_end(f, "End all others");
}

static void put_factor(struct form *f, const struct account *a)
{
	page_html(f, "<h2>Second factor</h2>\n");
	if (a->factor.enabled) {
		page_html(f, "<p>");
		page_printf(f, "It is on. You have %lld recovery codes left.", (long long)a->factor.recovery_codes);
		page_html(f, "</p>\n<p><a href=\"/account/recovery-codes\">New recovery codes</a></p>\n<p><a href=\"/account/second-factor/off\">Switch it off</a></p>\n");
	} else {
		page_html(f, "<p>Signing in can ask for a code beside the password.</p>\n<p><a href=\"/account/second-factor\">Switch it on</a></p>\n");
	}
}

static void show_account(struct form *f, unsigned status, const char *wrong)
{
	struct nh_err err = NH_ERR_INIT;
	struct account a = {0};
	json_t *errors = f->errors; /* of the form that was sent; a transaction drops them */
	f->errors = NULL;
	nh_rc rc = form_transact(f, load_account, &a, false, &err);
	json_decref(f->errors);
	f->errors = errors;
	if (rc != NH_OK) {
		form_fail(f, rc, &err);
		return;
	}
	page_begin(f, "Account");
	page_notice(f, true, wrong ? wrong : detail_of(f));
	if (!f->post)
		page_notice_of(f, notices);
	page_html(f, "<h2>Name and address</h2>\n");
	form_begin(f, "/account");
	form_field(f, &(struct page_field){"Name", "name", "text", "name", f->user.name, false});
	form_field(f, &(struct page_field){"E-mail address", "email", "email", "email", f->user.email, false});
	page_html(f, "<p>A new address takes the current password.</p>\n");
	put_current_password(f);
	form_end(f, "Save");
	page_html(f, "<p><a href=\"/account/password\">Change the password</a></p>\n");
	put_tokens(f, &a);
	put_sessions(f, &a);
	put_factor(f, &a);
	rc = oidc_put_identities(f, &err);
	if (rc != NH_OK) {
		nh_buf_clear(&f->page);
		form_fail(f, rc, &err);
		return;
	}
	page_html(f, "<h2>End</h2>\n<p><a href=\"/account/delete\">Delete the account</a></p>\n");
	page_send(f, status);
}

struct update {
	struct nh_user user;
	bool pending;
};

static nh_rc update_account(struct form *f, void *arg, struct nh_err *err)
{
	struct update *u = arg;
	return nh_account_update(&f->ctx, &f->user, form_value(f, "name"), form_value(f, "email"), &u->user, &u->pending, &f->errors, err);
}

static void account(struct form *f)
{
	struct nh_err err = NH_ERR_INIT;
	struct update u = {0};
	if (!f->post) {
		show_account(f, 200, NULL);
		return;
	}
	if (!nh_slice_eq(nh_slice_trim(form_value(f, "email")), f->user.email) && !password_again(f, show_account))
		return;
	nh_rc rc = form_transact(f, update_account, &u, true, &err);
	if (rc == NH_EINVAL)
		show_account(f, 422, NULL);
	else if (rc != NH_OK)
		form_fail(f, rc, &err);
	else
		form_redirect(f, u.pending ? NH_LIT("/account?notice=pending") : NH_LIT("/account?notice=saved"));
}
const struct form_page page_account = {account, true};

/* ---- password ----------------------------------------------------------------------------------------------------------- */

static void show_password(struct form *f, unsigned status, const char *wrong)
{
	page_begin(f, "Change the password");
	page_notice(f, true, wrong);
	form_begin(f, "/account/password");
	put_current_password(f);
	form_field(f, &(struct page_field){"New password, at least 12 characters", "password", "password", "new-password", NH_SLICE_EMPTY, false});
	form_field(f, &(struct page_field){"The same again", "again", "password", "new-password", NH_SLICE_EMPTY, false});
	form_end(f, "Change the password");
	page_send(f, status);
}

static nh_rc change_password(struct form *f, void *hash, struct nh_err *err) { return nh_account_change_password(&f->ctx, &f->user, hash, err); }

static void password(struct form *f)
{
	struct nh_err err = NH_ERR_INIT;
	char hash[NH_PASSWORD_HASH_MAX];
	if (!f->post) {
		show_password(f, 200, NULL);
		return;
	}
	if (!nh_slice_eq(form_value(f, "password"), form_value(f, "again"))) {
		show_password(f, 422, "The two passwords are not the same.");
		return;
	}
	if (!password_again(f, show_password))
		return;
	nh_rc rc = nh_account_prepare_password(form_value(f, "password"), form_gate(f).cost, hash, &f->errors, &err);
	if (rc == NH_OK)
		rc = form_transact(f, change_password, hash, true, &err);
	nh_wipe(hash, sizeof(hash));
	if (rc == NH_EINVAL)
		show_password(f, 422, NULL);
	else if (rc != NH_OK)
		form_fail(f, rc, &err);
	else
		form_redirect(f, NH_LIT("/account?notice=password"));
}
const struct form_page page_password = {password, true};

/* ---- API tokens and sessions -------------------------------------------------------------------------------------------- */

static nh_rc make_token(struct form *f, void *out, struct nh_err *err) { return nh_token_create(&f->ctx, f->user.id, NH_TOKEN_API, form_value(f, "note"), out, err); }

static void tokens(struct form *f)
{
	struct nh_err err = NH_ERR_INIT;
	char text[NH_TOKEN_TEXT_MAX];
	if (!password_again(f, show_account))
		return;
	nh_rc rc = form_transact(f, make_token, text, true, &err);
	if (rc != NH_OK) {
		form_fail(f, rc, &err);
		return;
	}
	page_begin(f, "The new API token");
	page_paragraph(f, "It is shown this once. Whoever has it may what you may.");
	page_html(f, "<p class=\"secret\">");
	page_text(f, nh_slice_str(text));
	page_html(f, "</p>\n<p><a href=\"/account\">Back to the account</a></p>\n");
	nh_wipe(text, sizeof(text));
	page_send(f, 200);
}
const struct form_page page_tokens = {tokens, true};

static int64_t row_id(const struct form *f)
{
	int64_t id = 0;
	return nh_parse_i64(nh_request_param(f->req, "id"), 1, INT64_MAX, &id) == NH_OK ? id : 0;
}

static nh_rc revoke_token(struct form *f, void *arg, struct nh_err *err) { return nh_token_delete(&f->ctx, f->user.id, row_id(f), err); }
static nh_rc revoke_session(struct form *f, void *arg, struct nh_err *err) { return nh_user_session_revoke(&f->ctx, f->user.id, row_id(f), err); }
static nh_rc revoke_others(struct form *f, void *arg, struct nh_err *err) { return nh_user_session_revoke_others(&f->ctx, f->user.id, f->session.id, err); }

static void change(struct form *f, form_tx fn, const char *to)
{
	struct nh_err err = NH_ERR_INIT;
	nh_rc rc = form_transact(f, fn, NULL, true, &err);
	if (rc == NH_OK)
		form_redirect(f, nh_slice_str(to));
	else
		form_fail(f, rc, &err);
}

static void token_delete(struct form *f) { change(f, revoke_token, "/account?notice=token"); }
static void session_delete(struct form *f) { change(f, revoke_session, "/account?notice=session"); }
static void sessions(struct form *f) { change(f, revoke_others, "/account?notice=session"); }
const struct form_page page_token_delete = {token_delete, true}, page_session_delete = {session_delete, true}, page_sessions = {sessions, true};

/* ---- second factor ------------------------------------------------------------------------------------------------------ */

static void show_codes(struct form *f, char codes[NH_RECOVERY_CODES][NH_RECOVERY_CODE_MAX])
{
	page_begin(f, "Recovery codes");
	page_paragraph(f, "Each of them signs you in once, should you lose your authenticator. They are shown this once: keep them where the authenticator is not.");
	page_html(f, "<ul class=\"secret\">\n");
	for (size_t i = 0; i < NH_RECOVERY_CODES; i++) {
		page_html(f, "<li>");
		page_text(f, nh_slice_str(codes[i]));
		page_html(f, "</li>\n");
	}
	page_html(f, "</ul>\n<p><a href=\"/account\">Back to the account</a></p>\n");
	page_send(f, 200);
}

static void show_begin(struct form *f, unsigned status, const char *wrong)
{
	page_begin(f, "Switch on the second factor");
	page_notice(f, true, wrong);
	page_paragraph(f, "You need an authenticator: a program, mostly on a phone, that shows codes of six digits which change every half a minute.");
	form_begin(f, "/account/second-factor");
	put_current_password(f);
	form_end(f, "Begin");
	page_send(f, status);
}

struct secret {
	nh_slice text, uri;
};

static nh_rc begin_factor(struct form *f, void *arg, struct nh_err *err) { return nh_second_factor_begin(&f->ctx, f->user.id, err); }

static nh_rc get_secret(struct form *f, void *arg, struct nh_err *err)
{
	struct secret *s = arg;
	return nh_second_factor_secret(&f->ctx, &f->user, &s->text, &s->uri, err);
}

static void show_secret(struct form *f, unsigned status, const char *wrong)
{
	struct nh_err err = NH_ERR_INIT;
	struct secret s = {0};
	nh_rc rc = form_transact(f, get_secret, &s, false, &err);
	if (rc != NH_OK) {
		form_fail(f, rc, &err);
		return;
	}
	page_begin(f, "Switch on the second factor");
	page_notice(f, true, wrong);
	page_paragraph(f, "Give this to your authenticator, as a picture or as text:");
	page_qr(f, s.uri);
	page_html(f, "<p class=\"secret\">");
	page_text(f, s.text);
	page_html(f, "</p>\n<p><a href=\"");
	page_text(f, s.uri);
	page_html(f, "\">Open it in an authenticator on this device</a></p>\n");
	form_begin(f, "/account/second-factor/confirm");
	form_field(f, &(struct page_field){"The code that it shows", "code", "code", NULL, NH_SLICE_EMPTY, false});
	form_end(f, "Switch it on");
	page_send(f, status);
}

static void factor(struct form *f)
{
	struct nh_err err = NH_ERR_INIT;
	if (!f->post) {
		show_begin(f, 200, NULL);
		return;
	}
	if (!password_again(f, show_begin))
		return;
	nh_rc rc = form_transact(f, begin_factor, NULL, true, &err);
	if (rc == NH_OK)
		show_secret(f, 200, NULL);
	else if (rc == NH_ECONFLICT)
		show_begin(f, 422, err.msg);
	else
		form_fail(f, rc, &err);
}
const struct form_page page_factor = {factor, true};

struct codes {
	bool fits;
	char codes[NH_RECOVERY_CODES][NH_RECOVERY_CODE_MAX];
};

static nh_rc confirm_factor(struct form *f, void *arg, struct nh_err *err)
{
	struct codes *c = arg;
	return nh_second_factor_confirm(&f->ctx, &f->user, form_value(f, "code"), &c->fits, c->codes, err);
}

static void factor_confirm(struct form *f)
{
	struct nh_err err = NH_ERR_INIT;
	struct codes c = {0};
	nh_rc rc = form_transact(f, confirm_factor, &c, true, &err);
	if (rc != NH_OK)
		form_fail(f, rc, &err);
	else if (c.fits)
		show_codes(f, c.codes);
	else
		show_secret(f, 422, "This code does not fit. Is the clock of the authenticator right?");
	nh_wipe(&c, sizeof(c));
}
const struct form_page page_factor_confirm = {factor_confirm, true};

static void show_off(struct form *f, unsigned status, const char *wrong)
{
	page_begin(f, "Switch off the second factor");
	page_notice(f, true, wrong);
	form_begin(f, "/account/second-factor/off");
	put_current_password(f);
	form_end(f, "Switch it off");
	page_send(f, status);
}

static nh_rc disable_factor(struct form *f, void *arg, struct nh_err *err) { return nh_second_factor_disable(&f->ctx, &f->user, err); }

static void factor_off(struct form *f)
{
	if (!f->post)
		show_off(f, 200, NULL);
	else if (password_again(f, show_off))
		change(f, disable_factor, "/account?notice=factor-off");
}
const struct form_page page_factor_off = {factor_off, true};

static void show_recovery(struct form *f, unsigned status, const char *wrong)
{
	page_begin(f, "New recovery codes");
	page_notice(f, true, wrong);
	page_paragraph(f, "The codes that you have are worth nothing afterwards.");
	form_begin(f, "/account/recovery-codes");
	put_current_password(f);
	form_end(f, "Make new ones");
	page_send(f, status);
}

static nh_rc new_codes(struct form *f, void *arg, struct nh_err *err) { return nh_second_factor_recovery(&f->ctx, f->user.id, ((struct codes *)arg)->codes, err); }

static void recovery(struct form *f)
{
	struct nh_err err = NH_ERR_INIT;
	struct codes c = {0};
	if (!f->post) {
		show_recovery(f, 200, NULL);
		return;
	}
	if (!password_again(f, show_recovery))
		return;
	nh_rc rc = form_transact(f, new_codes, &c, true, &err);
	if (rc == NH_OK)
		show_codes(f, c.codes);
	else
		form_fail(f, rc, &err);
	nh_wipe(&c, sizeof(c));
}
const struct form_page page_recovery = {recovery, true};

/* ---- deletion ----------------------------------------------------------------------------------------------------------- */

static void show_delete(struct form *f, unsigned status, const char *wrong)
{
	page_begin(f, "Delete the account");
	page_notice(f, true, wrong);
	page_paragraph(f, "The account, its API tokens and its organizations without another member go. This cannot be undone. Type your e-mail address to confirm.");
	form_begin(f, "/account/delete");
	form_field(f, &(struct page_field){"E-mail address", "confirm", "email", NULL, NH_SLICE_EMPTY, false});
	put_current_password(f);
	form_end(f, "Delete the account");
	page_send(f, status);
}

static nh_rc delete_account(struct form *f, void *arg, struct nh_err *err) { return nh_account_delete(&f->ctx, &f->user, &f->errors, err); }

static void delete_page(struct form *f)
{
	struct nh_err err = NH_ERR_INIT;
	if (!f->post) {
		show_delete(f, 200, NULL);
		return;
	}
	if (!nh_slice_ieq(nh_slice_trim(form_value(f, "confirm")), f->user.email)) {
		show_delete(f, 422, "This is not the address of the account.");
		return;
	}
	if (!password_again(f, show_delete))
		return;
	nh_rc rc = form_transact(f, delete_account, NULL, true, &err);
	if (rc == NH_EINVAL)
		show_delete(f, 422, detail_of(f));
	else if (rc != NH_OK)
		form_fail(f, rc, &err);
	else
		form_redirect(f, NH_LIT("/login?notice=deleted"));
}
const struct form_page page_delete = {delete_page, true};

/* ---- the front door ----------------------------------------------------------------------------------------------------- */

static void root(struct form *f) { form_redirect(f, f->signed_in ? NH_LIT("/account") : NH_LIT("/login")); }
const struct form_page page_root = {root, false};
