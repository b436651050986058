/*
 * How somebody gets an account, or gets it back: registration, confirmation, reset of the password, invitations, and what a new account begins with. GET never changes anything, since programs
 * that read mails open links before people do: each link leads to a page with a button.
 *
 * source: reference/server-behaviour "9.2", "9.3", "9.4"; reference/web-ui "8.1"
 */
#include <stdlib.h>

#include "base/log.h"
#include "forms_int.h"
#include "hub/invites.h"
#include "hub/products.h"
#include "hub/secrets.h"
#include "oidc_int.h"

#define PER_MINUTE 20        /* of what costs a hash or a mail, from one address */
#define MAILS_PER_MINUTE 3   /* to one address */

static void too_many(struct form *f) { page_message(f, 429, "Too many", "Too many attempts from your address. Please wait a minute."); }
static void stale(struct form *f) { page_message(f, 404, "This link has ended", "The link is unknown, was used already, or is too old. Ask for another one."); }
static nh_slice token(const struct form *f) { return nh_request_param(f->req, "token"); }
static const char *own_path(struct form *f) { return nh_arena_str(f->arena, f->req->path); }

/* Who has a second factor is asked for it also behind a link of a mail. */
static void sign_in_or_ask(struct form *f, const struct nh_user *user, bool second_factor, const char *return_to, const char *login)
{
	if (second_factor)
		form_redirect(f, nh_slice_str(login));
	else
		form_sign_in(f, user->id, false, nh_slice_str(return_to));
}

/* ---- registration ------------------------------------------------------------------------------------------------------ */

struct registration {
	struct nh_new_user input;
	struct nh_user user;
};

static nh_rc create_account(struct form *f, void *arg, struct nh_err *err)
{
	struct registration *r = arg;
	return nh_account_register(&f->ctx, &r->input, &r->user, &f->errors, err);
}

static void put_account_fields(struct form *f, bool address)
{
	form_field(f, &(struct page_field){"Name", "name", "text", "name", form_value(f, "name"), false});
	if (address)
		form_field(f, &(struct page_field){"E-mail address", "email", "email", "username", form_value(f, "email"), false});
	form_field(f, &(struct page_field){"Password, at least 12 characters", "password", "password", "new-password", NH_SLICE_EMPTY, false});
}

static void show_registration(struct form *f, unsigned status)
{
	page_begin(f, "Register");
	form_begin(f, "/register");
	put_account_fields(f, true);
	form_end(f, "Register");
	page_html(f, "<p><a href=\"/login\">I have an account</a></p>\n");
	page_send(f, status);
}

static void registration(struct form *f)
{
	struct nh_err err = NH_ERR_INIT;
	struct registration r = {0};
	const struct nh_gate gate = form_gate(f);
	if (!f->web->config.hub->registration_open) {
		form_redirect(f, NH_LIT("/login?notice=closed"));
		return;
	}
	if (!f->post) {
		show_registration(f, 200);
		return;
	}
	if (!nh_gate_knock(&gate, "register", f->req->remote, PER_MINUTE)) {
		too_many(f);
		return;
	}
	nh_rc rc = nh_user_prepare(f->arena, form_value(f, "name"), form_value(f, "email"), form_value(f, "password"), gate.cost, &r.input, &f->errors, &err);
	if (rc == NH_OK)
		rc = form_transact(f, create_account, &r, true, &err);
	nh_wipe(r.input.password_hash, sizeof(r.input.password_hash));
	if (rc == NH_EINVAL)
		show_registration(f, 422);
	else if (rc != NH_OK)
		form_fail(f, rc, &err);
	else if (f->web->config.hub->mails)
		page_message(f, 200, "Check your mail", "We have sent you a mail with a link that confirms your address. It is good for a day.");
	else
		form_sign_in(f, r.user.id, false, NH_LIT("/welcome"));
}
const struct form_page page_register = {registration, false};

/* ---- confirmation ------------------------------------------------------------------------------------------------------- */

struct confirmation {
	struct nh_user user;
	nh_slice address;
	struct nh_account_state state; /* before */
};

static nh_rc find_confirmation(struct form *f, void *arg, struct nh_err *err)
{
	struct confirmation *c = arg;
	NH_TRY(nh_account_confirmable(&f->ctx, token(f), &c->user, &c->address, err));
	return nh_account_state(&f->ctx, c->user.id, &c->state, err);
}

static nh_rc confirm_address(struct form *f, void *arg, struct nh_err *err)
{
	struct confirmation *c = arg;
	NH_TRY(find_confirmation(f, c, err));
	return nh_account_confirm(&f->ctx, token(f), &c->user, &f->errors, err);
}

static void confirmation(struct form *f)
{
	struct nh_err err = NH_ERR_INIT;
	struct confirmation c = {0};
	nh_rc rc = form_transact(f, f->post ? confirm_address : find_confirmation, &c, f->post, &err);
	if (rc == NH_EAUTH) {
		page_message(f, 404, "This link has ended", "The link is unknown, was used already, or is more than a day old. Sign in, and we send you another one.");
	} else if (rc == NH_EINVAL) {
		page_message(f, 422, "Not confirmed", "Another account has this address meanwhile.");
	} else if (rc != NH_OK) {
		form_fail(f, rc, &err);
	} else if (f->post) {
		sign_in_or_ask(f, &c.user, c.state.second_factor, c.state.confirmed ? "/account?notice=address" : "/welcome", "/login?notice=confirmed");
	} else {
		page_begin(f, "Confirm your address");
		page_html(f, "<p>The address <strong>");
		page_text(f, c.address);
		page_html(f, "</strong> shall belong to the account of <strong>");
		page_text(f, c.user.name);
		page_html(f, "</strong>. Confirm only if that is you.</p>\n");
		form_begin(f, own_path(f));
		form_end(f, "Confirm the address");
		page_send(f, 200);
	}
}
const struct form_page page_confirm = {confirmation, false};

/* ---- reset of the password ---------------------------------------------------------------------------------------------- */

/* A job of its own: the answer takes as long for an unknown address. */
struct reset_mail {
	struct nh_work work;
	struct nh_web *web;
	struct nh_arena arena;
	struct nh_effects effects;
	nh_slice email;
};

static nh_rc reset_tx(struct nh_tx *tx, void *arg, struct nh_err *err)
{
	struct reset_mail *r = arg;
	const struct nh_web_config *c = &r->web->config;
	r->effects = (struct nh_effects){0};
	struct nh_ctx ctx = {.tx = tx, .arena = &r->arena, .clock = c->clock, .rng = c->rng, .config = c->hub, .effects = &r->effects};
	return nh_account_mail_reset(&ctx, r->email, err);
}

static void reset_run(void *worker, struct nh_work *work)
{
	struct reset_mail *r = (struct reset_mail *)(void *)work;
	const struct nh_web_config *c = &r->web->config;
	struct nh_err err = NH_ERR_INIT;
	nh_rc rc = nh_db_write(c->db, reset_tx, r, &err);
	if (rc != NH_OK)
		NH_LOG(nh_rc_outage(rc) ? NH_LOG_DEBUG : NH_LOG_ERROR, "web.reset_not_mailed", NH_STR("why", err.msg));
	else if (r->effects.count > 0 && c->effects)
		c->effects(c->effects_ctx, &r->effects);
	nh_arena_fini(&r->arena);
	free(r);
}

static void begin_reset(struct form *f, nh_slice email)
{
	struct reset_mail *r = nh_xcalloc(1, sizeof(*r));
	r->work = (struct nh_work){.run = reset_run};
	r->web = f->web;
	r->email = nh_arena_copy(&r->arena, email);
	nh_work_queue(f->web->config.pool, NULL, &r->work);
}

static void ask_reset(struct form *f)
{
	const struct nh_gate gate = form_gate(f);
	nh_slice email = form_value(f, "email");
	if (!f->web->config.hub->mails) {
		page_message(f, 200, "Reset your password", "This server sends no mails. Ask its administrator.");
		return;
	}
	if (!f->post) {
		page_begin(f, "Reset your password");
		page_paragraph(f, "We send a link to the address of your account, with which you choose a new password.");
		form_begin(f, "/password-reset");
		form_field(f, &(struct page_field){"E-mail address", "email", "email", "username", NH_SLICE_EMPTY, false});
		form_end(f, "Send the link");
		page_send(f, 200);
		return;
	}
	if (!nh_gate_knock(&gate, "reset", f->req->remote, PER_MINUTE)) {
		too_many(f);
		return;
	}
	/* Beyond what one address may get nothing is sent, and the answer is the same. */
	if (email.len <= 255 && nh_gate_knock(&gate, "reset to", email, MAILS_PER_MINUTE))
		begin_reset(f, email);
	page_message(f, 200, "Check your mail", "If there is an account with this address, a mail with a link is on its way. It is good for a day.");
}
const struct form_page page_reset_ask = {ask_reset, false};

struct reset {
	struct nh_user user;
	struct nh_account_state state;
	char hash[NH_PASSWORD_HASH_MAX];
};

static nh_rc find_reset(struct form *f, void *arg, struct nh_err *err)
{
	struct reset *r = arg;
	NH_TRY(nh_account_resettable(&f->ctx, token(f), &r->user, err));
	return nh_account_state(&f->ctx, r->user.id, &r->state, err);
}

static nh_rc set_password(struct form *f, void *arg, struct nh_err *err)
{
	struct reset *r = arg;
	NH_TRY(find_reset(f, r, err));
	return nh_account_reset(&f->ctx, token(f), r->hash, &r->user, err);
}

static void show_reset(struct form *f, unsigned status, const char *wrong)
{
	page_begin(f, "Choose a new password");
	page_notice(f, true, wrong);
	page_paragraph(f, "All sessions and API tokens of the account end with the old one.");
	form_begin(f, own_path(f));
	form_field(f, &(struct page_field){"New password, at least 12 characters", "password", "password", "new-password", NH_SLICE_EMPTY, false});
	form_field(f, &(struct page_field){"The same again", "again", "password", "new-password", NH_SLICE_EMPTY, false});
	form_end(f, "Change the password");
	page_send(f, status);
}

static void reset(struct form *f)
{
	struct nh_err err = NH_ERR_INIT;
	struct reset r = {0};
	nh_rc rc = form_transact(f, find_reset, &r, false, &err);
	bool same = nh_slice_eq(form_value(f, "password"), form_value(f, "again"));
	if (rc == NH_OK && f->post && same) {
		rc = nh_account_prepare_password(form_value(f, "password"), form_gate(f).cost, r.hash, &f->errors, &err);
		if (rc == NH_OK)
			rc = form_transact(f, set_password, &r, true, &err);
	}
	nh_wipe(r.hash, sizeof(r.hash));
	if (rc == NH_EAUTH)
		stale(f);
	else if (rc == NH_EINVAL)
		show_reset(f, 422, NULL);
	else if (rc != NH_OK)
		form_fail(f, rc, &err);
	else if (!f->post)
		show_reset(f, 200, NULL);
	else if (!same)
		show_reset(f, 422, "The two passwords are not the same.");
	else
		sign_in_or_ask(f, &r.user, r.state.second_factor, "/account?notice=password", "/login?notice=reset");
}
const struct form_page page_reset = {reset, false};

/* ---- invitations -------------------------------------------------------------------------------------------------------- */

struct invitation {
	struct nh_invite invite;
	struct nh_new_user input;
	struct nh_user user;
};

static nh_rc find_invite(struct form *f, void *arg, struct nh_err *err) { return nh_invite_find(&f->ctx, token(f), &((struct invitation *)arg)->invite, err); }
static nh_rc join_org(struct form *f, void *arg, struct nh_err *err) { return nh_invite_join(&f->ctx, token(f), &f->user, err); }

static nh_rc accept_invite(struct form *f, void *arg, struct nh_err *err)
{
	struct invitation *i = arg;
	return nh_invite_accept(&f->ctx, token(f), &i->input, &i->user, &f->errors, err);
}

static void show_invite(struct form *f, unsigned status, const struct nh_invite *invite)
{
	page_begin(f, "Invitation");
	page_html(f, "<p>You are invited to the organization <strong>");
	page_text(f, invite->org_name);
	page_html(f, "</strong>.</p>\n");
	if (json_object_get(f->errors, "email"))
		page_notice(f, true, "There is an account with this address already. Sign in with it, and open the link again.");
	if (f->signed_in && !nh_slice_ieq(f->user.email, invite->email)) {
		page_notice(f, true, "You are signed in with another address than the invitation went to. Sign out first.");
		page_send(f, status);
		return;
	}
	form_begin(f, own_path(f));
	if (!f->signed_in)
		put_account_fields(f, false);
	form_end(f, f->signed_in ? "Join" : "Make an account and join");
	if (!f->signed_in)
		oidc_put_links(f, nh_slice_str(own_path(f)));
	page_send(f, status);
}

static nh_rc accept(struct form *f, struct invitation *i, struct nh_err *err)
{
	if (f->signed_in)
		return form_transact(f, join_org, NULL, true, err);
	const struct nh_gate gate = form_gate(f);
	NH_TRY(nh_user_prepare(f->arena, form_value(f, "name"), i->invite.email, form_value(f, "password"), gate.cost, &i->input, &f->errors, err));
	return form_transact(f, accept_invite, i, true, err);
}

static void invitation(struct form *f)
{
	struct nh_err err = NH_ERR_INIT;
	struct invitation i = {0};
	nh_rc rc = form_transact(f, find_invite, &i, false, &err);
	if (rc == NH_OK && f->post)
		rc = accept(f, &i, &err);
	nh_wipe(i.input.password_hash, sizeof(i.input.password_hash));
	if (rc == NH_EAUTH)
		stale(f);
	else if (rc == NH_EINVAL)
		show_invite(f, 422, &i.invite);
	else if (rc != NH_OK)
		form_fail(f, rc, &err);
	else if (!f->post)
		show_invite(f, 200, &i.invite);
	else if (f->signed_in)
		form_redirect(f, NH_LIT("/account?notice=joined"));
	else
		form_sign_in(f, i.user.id, false, NH_LIT("/account?notice=joined"));
}
const struct form_page page_invite = {invitation, false};

/* ---- what a new account begins with --------------------------------------------------------------------------------------- */

static nh_rc make_first(struct form *f, void *arg, struct nh_err *err)
{
	struct nh_org org;
	struct nh_product product;
	struct nh_shared_secret secret;
	json_t *product_errors = NULL;
	nh_rc rc = nh_org_create(&f->ctx, &f->actor, form_value(f, "org"), &org, &f->errors, err);
	if (rc == NH_OK)
		rc = nh_product_create(&f->ctx, &f->actor, org.id, form_value(f, "product"), &product, &product_errors, err);
	/* Both call their member "name"; each field shows its own. */
	json_t *org_errors = json_object_get(f->errors, "name");
	if (org_errors)
		json_object_set(f->errors, "org", org_errors);
	if (product_errors) {
		f->errors = json_object();
		json_object_set(f->errors, "product", json_object_get(product_errors, "name"));
		json_decref(product_errors);
	}
	NH_TRY(rc);
	return nh_product_secret_create(&f->ctx, &f->actor, &product, &secret, err);
}

/* "Ada Lovelace" to "ada-lovelace". */
static const char *slug(struct form *f)
{
	nh_slice name = f->user.name;
	char *out = nh_arena_alloc(f->arena, name.len + 16);
	size_t len = 0;
	for (size_t i = 0; i < name.len; i++) {
		uint8_t c = name.ptr[i];
		if (c >= 'A' && c <= 'Z')
			c = (uint8_t)(c + 32);
		if (c >= 'a' && c <= 'z')
			out[len++] = (char)c;
		else if (len > 0 && out[len - 1] != '-')
			out[len++] = '-';
	}
	while (len > 0 && out[len - 1] == '-')
		len--;
	out[len] = '\0';
	return len > 0 ? out : nh_arena_printf(f->arena, "user-%08x", (unsigned)nh_rng_below(f->web->config.rng, UINT64_C(1) << 32));
}

static void show_welcome(struct form *f, unsigned status)
{
	const char *name = slug(f);
	nh_slice org = f->post ? form_value(f, "org") : nh_slice_str(nh_arena_printf(f->arena, "%s-team", name));
	nh_slice product = f->post ? form_value(f, "product") : nh_slice_str(nh_arena_printf(f->arena, "%sifier", name));
	page_begin(f, "Welcome");
	page_paragraph(f, "Devices belong to a product, and products to an organization. Make the first ones now, or later.");
	form_begin(f, "/welcome");
	form_field(f, &(struct page_field){"Organization", "org", "text", NULL, org, false});
	form_field(f, &(struct page_field){"Product", "product", "text", NULL, product, false});
	form_end(f, "Make them");
	page_html(f, "<p><a href=\"/account\">Later</a></p>\n");
	page_send(f, status);
}

static void welcome(struct form *f)
{
	struct nh_err err = NH_ERR_INIT;
	nh_rc rc = f->post ? form_transact(f, make_first, NULL, true, &err) : NH_OK;
	if (!f->post || rc == NH_EINVAL || rc == NH_ECONFLICT)
		show_welcome(f, f->post ? 422 : 200);
	else if (rc != NH_OK)
		form_fail(f, rc, &err);
	else
		form_redirect(f, NH_LIT("/account?notice=made"));
}
const struct form_page page_welcome = {welcome, true};
