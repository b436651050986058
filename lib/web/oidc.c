/*
 * Sign-in with an account elsewhere: begin, answer, and what the account's page shows of it. The protocol is outbound's, whose account it is the hub's.
 *
 * source: OpenID Connect Core "3.1.2"; reference/server-behaviour "9.4"; RFC 9700 "4.7" (forgery), "2.1"
 */
#include "oidc_int.h"

#include "base/encode.h"
#include "base/log.h"
#include "crypto/secret.h"
#include "hub/gate.h"
#include "hub/user_identities.h"
#include "outbound/oidc.h"

#define COOKIE "oidc"
#define ATTEMPT_S 600
#define RANDOM_LEN 24
#define FIXED_LEN (RANDOM_LEN + 16)
#define RETURN_MAX 512
#define INVITATIONS "/invite/"    /* who comes from there goes back there, and joins */
#define ANSWERS_PER_MINUTE 60     /* of one address: each costs the issuer a request */

/* ---- which issuer -------------------------------------------------------------------------------------------------------- */

/* The route is /auth/KEY or /auth/KEY/…; NULL: not configured, and said so. */
static struct nh_oidc *issuer_of(struct form *f)
{
	nh_slice key, rest;
	nh_slice_cut(nh_slice_skip(nh_slice_str(f->req->route->path), strlen("/auth/")), '/', &key, &rest);
	for (size_t i = 0; i < f->web->config.issuer_count; i++)
		if (nh_slice_eq_str(key, nh_oidc_key(f->web->config.issuers[i])))
			return f->web->config.issuers[i];
	page_message(f, 404, "Not here", "This way to sign in is not set up on this server.");
	return NULL;
}

static nh_slice redirect_uri(const struct form *f, const struct nh_oidc *oidc)
{
	return nh_slice_str(nh_arena_printf(f->arena, "%s/auth/%s/callback", f->web->config.hub->web_url, nh_oidc_key(oidc)));
}

/* ---- the cookie of an attempt --------------------------------------------------------------------------------------------- */

/* Whole and unchanged as soon as the state that is derived from it has been seen again. */
struct attempt {
	int64_t begun_us;
	int64_t user_id; /* who connects; 0: a sign-in */
	nh_slice return_to;
};

static void put_i64(struct nh_buf *out, int64_t v)
{
	for (int shift = 56; shift >= 0; shift -= 8)
		nh_buf_put_u8(out, (uint8_t)((uint64_t)v >> shift));
}

static int64_t get_i64(const uint8_t *p)
{
	uint64_t v = 0;
	for (int i = 0; i < 8; i++)
		v = v << 8 | p[i];
	return (int64_t)v;
}

static nh_slice attempt_text(struct form *f, const struct attempt *a)
{
	NH_AUTO_BUF struct nh_buf bytes = NH_BUF_INIT, text = NH_BUF_INIT;
	uint8_t random[RANDOM_LEN];
	nh_rng_fill(f->web->config.rng, random, sizeof random);
	nh_buf_put(&bytes, random, sizeof random);
	put_i64(&bytes, a->begun_us);
	put_i64(&bytes, a->user_id);
	nh_buf_put_slice(&bytes, nh_slice_sub(a->return_to, 0, RETURN_MAX));
	nh_b64_put(&text, nh_buf_slice(&bytes), NH_B64_URL_NOPAD);
	return nh_arena_copy(f->arena, nh_buf_slice(&text));
}

static bool attempt_read(struct form *f, nh_slice text, struct attempt *out)
{
	NH_AUTO_BUF struct nh_buf bytes = NH_BUF_MAX(FIXED_LEN + RETURN_MAX);
	if (nh_b64_decode(text, NH_B64_URL_NOPAD, &bytes) != NH_OK || !nh_buf_ok(&bytes) || bytes.len < FIXED_LEN)
		return false;
	out->begun_us = get_i64(bytes.ptr + RANDOM_LEN);
	out->user_id = get_i64(bytes.ptr + RANDOM_LEN + 8);
	out->return_to = nh_arena_copy(f->arena, nh_slice_skip(nh_buf_slice(&bytes), FIXED_LEN));
	int64_t age = nh_clock_now(f->web->config.clock) - out->begun_us;
	return age >= 0 && age <= ATTEMPT_S * NH_US_PER_S;
}

/* ---- failures ------------------------------------------------------------------------------------------------------------- */

/* The text, with the issuer's name for its %s. */
static void put_named(struct form *f, const char *text, const struct nh_oidc *oidc)
{
	nh_slice all = nh_slice_str(text);
	ptrdiff_t at = nh_slice_find(all, NH_LIT("%s"));
	NH_ASSERT(at >= 0);
	page_text(f, nh_slice_sub(all, 0, (size_t)at));
	page_text(f, nh_slice_str(nh_oidc_name(oidc)));
	page_text(f, nh_slice_skip(all, (size_t)at + 2));
}

static void put_failure(struct form *f, unsigned status, const struct nh_oidc *oidc, const char *text)
{
	nh_buf_clear(&f->page);
	page_begin(f, "Not signed in");
	page_html(f, "<p>");
	put_named(f, text, oidc);
	page_html(f, "</p>\n<p><a href=\"/login\">Back to the sign-in page</a></p>\n");
	page_send(f, status);
}

/* What to show where the protocol failed; the rest is an outage. */
static const struct {
	nh_rc rc;
	unsigned status;
	const char *text; /* with the issuer's name */
} protocol_failures[] = {
	{NH_EPERM, 403, "%s did not sign you in."},
	{NH_EAUTH, 403, "The answer of %s cannot be accepted: it was used already, is too old, or was not meant for this browser. Please begin again."},
	{NH_EAGAIN, 503, "Too many people are signing in with %s right now. Please try again in a few seconds."},
};

static void fail_protocol(struct form *f, const struct nh_oidc *oidc, nh_rc rc, const struct nh_err *err)
{
	/* A person who says no, or comes late, is no matter for the operator. */
	NH_LOG(rc == NH_EPERM || rc == NH_EAGAIN ? NH_LOG_DEBUG : NH_LOG_WARN, "web.oidc_failed", NH_STR("issuer", nh_oidc_key(oidc)), NH_STR("code", nh_rc_name(rc)), NH_STR("why", err->msg));
	for (size_t i = 0; i < NH_ARRAY_LEN(protocol_failures); i++) {
		if (protocol_failures[i].rc == rc) {
			put_failure(f, protocol_failures[i].status, oidc, protocol_failures[i].text);
			return;
		}
	}
	nh_response_header(f->res, "Retry-After", NH_LIT("30"));
	put_failure(f, 502, oidc, "%s cannot be asked at the moment. Please try again later, or sign in another way.");
}

static const char *const refusals[] = {
	[NH_IDENTITY_DOMAIN] = "%s says that you are not of an organization that may sign in here.",
	[NH_IDENTITY_NO_EMAIL] = "%s does not vouch for an e-mail address of yours, so no account can be made for you.",
	[NH_IDENTITY_NOT_LINKED] = "There is an account with your e-mail address here, but it is not connected with %s. Sign in with your password, then connect the two on your account's page.",
	[NH_IDENTITY_CLOSED] = "There is no account here that is connected with yours at %s, and new accounts are not made. Ask your administrator.",
	[NH_IDENTITY_TAKEN] = "Your account at %s is connected with another account here.",
};

/* ---- begin ---------------------------------------------------------------------------------------------------------------- */

/* The issuer's address with a new attempt; empty: the page says why not. */
static nh_slice begin_attempt(struct form *f, struct nh_oidc *oidc, const struct attempt *a)
{
	NH_AUTO_BUF struct nh_buf url = NH_BUF_INIT;
	struct nh_err err = NH_ERR_INIT;
	struct nh_oidc_attempt attempt;
	nh_slice cookie = attempt_text(f, a);
	nh_oidc_attempt_of(oidc, f->web->config.hub->secret_key, cookie, &attempt);
	nh_rc rc = nh_oidc_authorize_url(oidc, &attempt, redirect_uri(f, oidc), &url, &err);
	nh_wipe(&attempt, sizeof attempt);
	if (rc != NH_OK) {
		fail_protocol(f, oidc, rc, &err);
		return NH_SLICE_EMPTY;
	}
	form_cookie(f, COOKIE, cookie, ATTEMPT_S);
	return nh_arena_copy(f->arena, nh_buf_slice(&url));
}

static void begin(struct form *f)
{
	struct nh_oidc *oidc = issuer_of(f);
	if (!oidc)
		return;
	nh_slice return_to = form_local(form_query(f, "return"), "");
	struct attempt a = {.begun_us = nh_clock_now(f->web->config.clock), .return_to = return_to.len <= RETURN_MAX ? return_to : NH_SLICE_EMPTY};
	nh_slice url = begin_attempt(f, oidc, &a);
	if (url.len == 0)
		return;
	nh_response_header(f->res, "Location", url);
	nh_response_header(f->res, "Cache-Control", NH_LIT("no-store"));
	nh_response_send(f->res, 303, NULL, NH_SLICE_EMPTY);
}

static nh_rc state_tx(struct form *f, void *arg, struct nh_err *err) { return nh_account_state(&f->ctx, f->user.id, arg, err); }

/*
 * Another way into the account is only for its owner: the password again, or for an account that has none a session that has just begun, since a browser that was left open must not be
 * enough. false: the page has been answered.
 */
static bool is_owner(struct form *f)
{
	struct nh_err err = NH_ERR_INIT;
	struct nh_account_state state;
	nh_gate_answer answer = NH_GATE_WRONG;
	const struct nh_gate gate = form_gate(f);
	nh_rc rc = form_transact(f, state_tx, &state, false, &err);
	if (rc == NH_OK)
		rc = nh_gate_again(&gate, &f->user, form_value(f, "current_password"), &answer, &err);
	if (rc != NH_OK)
		form_fail(f, rc, &err);
	else if (answer == NH_GATE_TOO_MANY)
		page_message(f, 429, "Too many attempts", "Too many attempts. Please wait a minute.");
	else if (answer != NH_GATE_OPEN)
		page_message(f, 422, "Not connected", "The current password is wrong. Please go back and try again.");
	else if (!state.has_password && nh_clock_now(f->web->config.clock) - f->session.inserted_at_us > ATTEMPT_S * NH_US_PER_S)
		page_message(f, 403, "Not connected", "You signed in too long ago for this. Please sign out, sign in again, and repeat.");
	else
		return true;
	return false;
}

/* A form's answer may not lead to another site, so it is a link; that the form was ours is what keeps others from connecting their account with this one. */
static void connect_accounts(struct form *f)
{
	struct nh_oidc *oidc = issuer_of(f);
	if (!oidc || !is_owner(f))
		return;
	struct attempt a = {.begun_us = nh_clock_now(f->web->config.clock), .user_id = f->user.id, .return_to = NH_LIT("/account?notice=connected")};
	nh_slice url = begin_attempt(f, oidc, &a);
	if (url.len == 0)
		return;
	page_begin(f, "Connect accounts");
	page_html(f, "<p>");
	page_printf(f, "%s is asked who you are. From then on it can sign you in to this account.", nh_oidc_name(oidc));
	page_html(f, "</p>\n<p><a href=\"");
	page_text(f, url);
	page_html(f, "\">");
	page_printf(f, "Continue to %s", nh_oidc_name(oidc));
	page_html(f, "</a></p>\n");
	page_send(f, 200);
}

/* ---- answer --------------------------------------------------------------------------------------------------------------- */

struct arrival {
	const struct nh_oidc *oidc;
	struct nh_identity_claim who;
	struct nh_user user;
	struct nh_account_state state;
	struct nh_identity_policy policy;
	bool created;
	nh_identity_refusal why;
};

static nh_rc sign_in_tx(struct form *f, void *arg, struct nh_err *err)
{
	struct arrival *a = arg;
	NH_TRY(nh_user_identity_sign_in(&f->ctx, &a->policy, &a->who, &a->user, &a->created, &a->why, err));
	return nh_account_state(&f->ctx, a->user.id, &a->state, err);
}

static nh_rc connect_tx(struct form *f, void *arg, struct nh_err *err)
{
	struct arrival *a = arg;
	return nh_user_identity_connect(&f->ctx, &a->policy, f->user.id, &a->who, &a->why, err);
}

static void arrive(struct form *f, struct arrival *a, const struct attempt *attempt)
{
	struct nh_err err = NH_ERR_INIT;
	nh_rc rc = form_transact(f, attempt->user_id ? connect_tx : sign_in_tx, a, true, &err);
	/* The same person in two tabs, or at the registration's form: the other was quicker, so look again. */
	if (rc == NH_ECONFLICT || rc == NH_EINVAL)
		rc = form_transact(f, attempt->user_id ? connect_tx : sign_in_tx, a, true, &err);
	if (rc == NH_EPERM && a->why != NH_IDENTITY_NOT_REFUSED) {
		NH_LOG(NH_LOG_INFO, "web.oidc_refused", NH_STR("issuer", nh_oidc_key(a->oidc)), NH_S("subject", a->who.subject), NH_STR("why", err.msg));
		put_failure(f, 403, a->oidc, refusals[a->why]);
	} else if (rc != NH_OK) {
		form_fail(f, rc, &err);
	} else if (attempt->user_id) {
		form_redirect(f, attempt->return_to);
	} else {
		NH_LOG(NH_LOG_INFO, "web.oidc_signed_in", NH_STR("issuer", nh_oidc_key(a->oidc)), NH_I("user_id", a->user.id), NH_STR("account", a->created ? "new" : "known"));
		nh_slice to = a->created && attempt->return_to.len == 0 ? NH_LIT("/welcome") : attempt->return_to;
		if (a->state.second_factor && f->web->config.second_factor_always)
			form_ask_for_code(f, a->user.id, false, to);
		else
			form_sign_in(f, a->user.id, false, to);
	}
}

static void callback(struct form *f)
{
	struct nh_err err = NH_ERR_INIT;
	struct nh_oidc_attempt secrets;
	struct nh_oidc_person person;
	struct attempt attempt = {0};
	nh_slice cookie = form_cookie_value(f, COOKIE);
	struct nh_oidc *oidc = issuer_of(f);
	if (!oidc)
		return;
	form_cookie(f, COOKIE, NH_SLICE_EMPTY, -1); /* good for one answer */
	if (!attempt_read(f, cookie, &attempt) || (attempt.user_id && (!f->signed_in || f->user.id != attempt.user_id))) {
		put_failure(f, 403, oidc, "This sign-in with %s was not begun in this browser, or more than ten minutes ago. Please begin again.");
		return;
	}
	const struct nh_gate gate = form_gate(f);
	if (!nh_gate_knock(&gate, "oidc", f->req->remote, ANSWERS_PER_MINUTE)) {
		put_failure(f, 429, oidc, "Too many attempts to sign in with %s come from your address. Please wait a minute.");
		return;
	}
	struct nh_oidc_answer answer = {form_query(f, "state"), form_query(f, "code"), form_query(f, "iss"), form_query(f, "error")};
	nh_oidc_attempt_of(oidc, f->web->config.hub->secret_key, cookie, &secrets);
	nh_rc rc = nh_oidc_redeem(oidc, &secrets, redirect_uri(f, oidc), &answer, f->arena, &person, &err);
	nh_wipe(&secrets, sizeof secrets);
	if (rc != NH_OK) {
		fail_protocol(f, oidc, rc, &err);
		return;
	}
	struct arrival a = {.oidc = oidc, .policy = f->web->config.identities, .who = {.issuer = person.issuer, .subject = person.subject, .email = person.email, .email_verified = person.email_verified, .name = person.name,
	                                          .hosted_domain = nh_oidc_hosts_domains(oidc) ? person.hosted_domain : NH_SLICE_EMPTY}};
	if (nh_slice_starts(attempt.return_to, NH_LIT(INVITATIONS)))
		a.policy.invitation = nh_slice_skip(attempt.return_to, strlen(INVITATIONS));
	arrive(f, &a, &attempt);
}

/* ---- the account's page --------------------------------------------------------------------------------------------------- */

void oidc_put_links(struct form *f, nh_slice return_to)
{
	NH_AUTO_BUF struct nh_buf path = NH_BUF_INIT;
	for (size_t i = 0; i < f->web->config.issuer_count; i++) {
		const struct nh_oidc *oidc = f->web->config.issuers[i];
		nh_buf_clear(&path);
		nh_buf_printf(&path, "/auth/%s", nh_oidc_key(oidc));
		if (return_to.len > 0) {
			nh_buf_put_str(&path, "?return=");
			nh_uri_put(&path, return_to);
		}
		page_html(f, "<p><a href=\"");
		page_text(f, nh_buf_slice(&path));
		page_html(f, "\">");
		page_printf(f, "Sign in with %s", nh_oidc_name(oidc));
		page_html(f, "</a></p>\n");
	}
}

struct listing {
	struct nh_user_identity *items;
	size_t count;
};

static nh_rc list_tx(struct form *f, void *arg, struct nh_err *err)
{
	struct listing *l = arg;
	return nh_user_identity_list(&f->ctx, f->user.id, &l->items, &l->count, err);
}

static void put_identity(struct form *f, const struct nh_user_identity *identity)
{
	NH_AUTO_BUF struct nh_buf used = NH_BUF_INIT;
	if (identity->last_used_at_us)
		nh_time_put_iso(&used, identity->last_used_at_us);
	page_html(f, "<li>");
	page_printf(f, "%.*s: %.*s", NH_ARG(identity->issuer), NH_ARG(identity->email.len ? identity->email : identity->subject));
	page_printf(f, ", last used: %s", used.len ? nh_buf_cstr(&used) : "never");
	form_begin(f, "/account/identities/remove");
	form_hidden(f, "id", nh_slice_str(nh_arena_printf(f->arena, "%lld", (long long)identity->id)));
	form_end(f, "Disconnect");
	page_html(f, "</li>\n");
}

nh_rc oidc_put_identities(struct form *f, struct nh_err *err)
{
	struct listing l = {0};
	NH_TRY(form_transact(f, list_tx, &l, false, err));
	if (l.count == 0 && f->web->config.issuer_count == 0)
		return NH_OK;
	page_html(f, "<h2>Accounts elsewhere</h2>\n<ul>\n");
	for (size_t i = 0; i < l.count; i++)
		put_identity(f, &l.items[i]);
	page_html(f, "</ul>\n");
	for (size_t i = 0; i < f->web->config.issuer_count; i++) {
		form_begin(f, nh_arena_printf(f->arena, "/auth/%s/connect", nh_oidc_key(f->web->config.issuers[i])));
		form_field(f, &(struct page_field){"Current password", "current_password", "password", "current-password", NH_SLICE_EMPTY, true});
		page_html(f, "<button>");
		page_printf(f, "Connect %s", nh_oidc_name(f->web->config.issuers[i]));
		page_html(f, "</button>\n</form>\n");
	}
	return NH_OK;
}

static nh_rc remove_tx(struct form *f, void *arg, struct nh_err *err) { return nh_user_identity_remove(&f->ctx, f->user.id, *(int64_t *)arg, err); }

static void remove_identity(struct form *f)
{
	struct nh_err err = NH_ERR_INIT;
	int64_t id = 0;
	nh_rc rc = nh_parse_i64(form_value(f, "id"), 1, INT64_MAX, &id);
	if (rc == NH_OK)
		rc = form_transact(f, remove_tx, &id, true, &err);
	if (rc == NH_OK)
		form_redirect(f, NH_LIT("/account?notice=disconnected"));
	else if (rc == NH_ENOTFOUND || rc == NH_EINVAL || rc == NH_EFORMAT)
		page_message(f, 409, "Still connected", "This is the only way into your account: set a password first. Or it was disconnected already.");
	else
		form_fail(f, rc, &err);
}

const struct form_page page_oidc_begin = {begin, false};
const struct form_page page_oidc_callback = {callback, false};
const struct form_page page_oidc_connect = {connect_accounts, true};
const struct form_page page_oidc_remove = {remove_identity, true};
