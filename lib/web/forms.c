/*
 * One request of a page: cookies, who sits at the browser, the token against forgery, transactions, redirects.
 *
 * source: reference/server-behaviour "9.4"; RFC 6265; OWASP's advice on cross-site request forgery (a signed token bound to cookies)
 */
#include "base/encode.h"
#include "base/log.h"
#include "crypto/hmac.h"
#include "forms_int.h"
#include "net/http_message.h"

#define SESSION_COOKIE "session"
#define VISITOR_COOKIE "visitor"
#define VISITOR_LEN 43 /* 32 bytes in base64 */
#define PATH_MAX_BYTES 2048

/* ---- cookies ----------------------------------------------------------------------------------------------------------- */

bool form_https(const struct form *f)
{
	const char *url = f->web->config.hub->web_url;
	return f->req->tls || (url && nh_slice_starts(nh_slice_str(url), NH_LIT("https:")));
}

static const char *cookie_name(const struct form *f, const char *name)
{
	return nh_arena_printf(f->arena, "%snerveshub_%s", form_https(f) ? "__Host-" : "", name);
}

void form_cookie(struct form *f, const char *name, nh_slice value, int64_t max_age_s)
{
	NH_AUTO_BUF struct nh_buf text = NH_BUF_INIT;
	nh_buf_printf(&text, "%s=%.*s; Path=/; HttpOnly; SameSite=Lax", cookie_name(f, name), NH_ARG(value));
	if (max_age_s != 0)
		nh_buf_printf(&text, "; Max-Age=%lld", (long long)(max_age_s < 0 ? 0 : max_age_s));
	if (form_https(f))
		nh_buf_put_str(&text, "; Secure");
	nh_response_header(f->res, "Set-Cookie", nh_buf_slice(&text));
}

nh_slice form_cookie_value(const struct form *f, const char *name)
{
	nh_slice found = NH_SLICE_EMPTY, wanted = nh_slice_str(cookie_name(f, name));
	size_t times = 0;
	for (size_t i = 0; i < f->req->headers->count; i++) {
		if (!nh_slice_ieq(f->req->headers->items[i].name, NH_LIT("cookie")))
			continue;
		nh_slice rest = f->req->headers->items[i].value, pair, key, value;
		while (rest.len > 0) {
			nh_slice_cut(rest, ';', &pair, &rest);
			if (nh_slice_cut(nh_slice_trim(pair), '=', &key, &value) && nh_slice_eq(key, wanted)) {
				found = value;
				times++;
			}
		}
	}
	return times == 1 ? found : NH_SLICE_EMPTY;
}

/* ---- values ------------------------------------------------------------------------------------------------------------ */

static nh_slice pair_value(nh_slice pairs, const char *name, struct nh_arena *arena)
{
	nh_slice value = NH_SLICE_EMPTY;
	if (nh_http_query_get(pairs, name, arena, &value) != NH_OK || !nh_utf8_valid(value))
		return NH_SLICE_EMPTY;
	return value;
}

nh_slice form_value(const struct form *f, const char *name) { return f->post ? pair_value(f->req->body, name, f->arena) : NH_SLICE_EMPTY; }
bool form_checked(const struct form *f, const char *name) { return form_value(f, name).len > 0; }
nh_slice form_query(const struct form *f, const char *name) { return pair_value(f->req->query, name, f->arena); }

nh_slice form_local(nh_slice path, const char *fallback)
{
	bool local = path.len > 0 && path.len <= PATH_MAX_BYTES && path.ptr[0] == '/' && (path.len == 1 || path.ptr[1] != '/');
	for (size_t i = 0; local && i < path.len; i++)
		local = path.ptr[i] > 0x20 && path.ptr[i] < 0x7f && path.ptr[i] != '\\';
	return local ? path : nh_slice_str(fallback);
}

/* ---- transactions ------------------------------------------------------------------------------------------------------ */

struct transaction {
	struct form *f;
	form_tx fn;
	void *arg;
};

static nh_rc in_transaction(struct nh_tx *tx, void *arg, struct nh_err *err)
{
	struct transaction *t = arg;
	struct form *f = t->f;
	const struct nh_web_config *c = &f->web->config;
	json_decref(f->errors);
	f->errors = NULL;
	f->effects = (struct nh_effects){0};
	f->ctx = (struct nh_ctx){.tx = tx, .arena = f->arena, .clock = c->clock, .rng = c->rng, .config = c->hub, .effects = &f->effects};
	return t->fn(f, t->arg, err);
}

nh_rc form_transact(struct form *f, form_tx fn, void *arg, bool write, struct nh_err *err)
{
	struct transaction t = {f, fn, arg};
	const struct nh_web_config *c = &f->web->config;
	nh_rc rc = write ? nh_db_write(c->db, in_transaction, &t, err) : nh_db_read(c->db, in_transaction, &t, err);
	f->ctx.tx = NULL;
	if (rc == NH_OK && f->effects.count > 0 && c->effects)
		c->effects(c->effects_ctx, &f->effects);
	f->effects = (struct nh_effects){0};
	return rc;
}

void form_fail(struct form *f, nh_rc rc, const struct nh_err *err)
{
	if (rc == NH_ENOTFOUND || rc == NH_EPERM || rc == NH_EAUTH) {
		page_message(f, 404, "Not here", "There is no such page, or it is not yours.");
		return;
	}
	bool passing = nh_rc_outage(rc) || rc == NH_EAGAIN || rc == NH_ETIMEOUT || rc == NH_ENOMEM;
	/* The route, not the path: a path may hold the token of a link. */
	NH_LOG(passing ? NH_LOG_DEBUG : NH_LOG_ERROR, "web.form_failed", NH_STR("route", f->req->route->path), NH_STR("code", nh_rc_name(rc)), NH_STR("why", err->msg));
	if (passing)
		nh_response_header(f->res, "Retry-After", NH_LIT("5"));
	page_message(f, passing ? 503 : 500, "Not now", "The server could not do that at the moment. Please try again in a few seconds.");
}

struct nh_gate form_gate(const struct form *f)
{
	const struct nh_web_config *c = &f->web->config;
	return (struct nh_gate){c->db, c->hub, c->clock, c->rng, c->cost, c->limiter, f->arena, f->req->remote};
}

/* ---- who sits there ---------------------------------------------------------------------------------------------------- */

static nh_rc find_session(struct form *f, void *touch, struct nh_err *err)
{
	return nh_user_session_find(&f->ctx, f->session_token, &f->user, &f->session, touch, err);
}

static nh_rc touch_session(struct form *f, void *touch, struct nh_err *err) { return nh_user_session_touch(&f->ctx, *(int64_t *)touch, err); }

/* An unknown cookie is nobody's; another failure is the page's. */
static nh_rc find_user(struct form *f, struct nh_err *err)
{
	int64_t touch = 0;
	f->session_token = form_cookie_value(f, SESSION_COOKIE);
	if (f->session_token.len == 0)
		return NH_OK;
	nh_rc rc = form_transact(f, find_session, &touch, false, err);
	f->signed_in = rc == NH_OK;
	if (rc == NH_EAUTH)
		f->session_token = NH_SLICE_EMPTY;
	/* When it was used last is for people to look at: not being able to note it is no reason to refuse. */
	if (rc == NH_OK && touch)
		NH_IGNORE(form_transact(f, touch_session, &touch, true, NULL));
	if (f->signed_in)
		f->actor = nh_actor_of_user(&f->user);
	return rc == NH_EAUTH ? NH_OK : rc;
}

static void find_visitor(struct form *f)
{
	f->visitor = form_cookie_value(f, VISITOR_COOKIE);
	if (f->visitor.len == VISITOR_LEN)
		return;
	uint8_t random[32];
	NH_AUTO_BUF struct nh_buf text = NH_BUF_INIT;
	nh_rng_fill(f->web->config.rng, random, sizeof(random));
	nh_b64_put(&text, nh_slice_of(random, sizeof(random)), NH_B64_URL_NOPAD);
	f->visitor = nh_arena_copy(f->arena, nh_buf_slice(&text));
	form_cookie(f, VISITOR_COOKIE, f->visitor, 0);
}

nh_slice form_forgery_token(const struct form *f)
{
	NH_AUTO_BUF struct nh_buf text = NH_BUF_INIT, out = NH_BUF_INIT;
	uint8_t mac[NH_SHA256_LEN];
	nh_buf_printf(&text, "nerveshub form\n%.*s\n%.*s", NH_ARG(f->visitor), NH_ARG(f->session_token));
	nh_hmac(NH_SHA256, f->web->config.hub->secret_key, nh_buf_slice(&text), mac);
	nh_b64_put(&out, nh_slice_of(mac, sizeof(mac)), NH_B64_URL_NOPAD);
	return nh_arena_copy(f->arena, nh_buf_slice(&out));
}

static bool of_another_site(const struct form *f)
{
	nh_slice site = nh_request_header(f->req, "sec-fetch-site");
	return site.len > 0 && !nh_slice_eq_str(site, "same-origin") && !nh_slice_eq_str(site, "none");
}

/* ---- signing in and out ------------------------------------------------------------------------------------------------ */

struct newcomer {
	int64_t user_id;
	struct nh_user_session_origin origin;
	char token[NH_TOKEN_TEXT_MAX];
};

static nh_rc make_session(struct form *f, void *arg, struct nh_err *err)
{
	struct newcomer *n = arg;
	/* What this browser was before ends here: a session never outlives the sign-in that replaces it. */
	if (f->session_token.len > 0)
		NH_TRY(nh_user_session_end(&f->ctx, f->session_token, err));
	return nh_user_session_create(&f->ctx, n->user_id, &n->origin, n->token, err);
}

void form_sign_in(struct form *f, int64_t user_id, bool lasting, nh_slice return_to)
{
	struct nh_err err = NH_ERR_INIT;
	struct newcomer n = {user_id, {nh_request_header(f->req, "user-agent"), f->req->remote, lasting}, {0}};
	nh_rc rc = form_transact(f, make_session, &n, true, &err);
	if (rc == NH_OK) {
		form_cookie(f, SESSION_COOKIE, nh_slice_str(n.token), lasting ? NH_SESSION_LASTING_S : 0);
		form_cookie(f, VISITOR_COOKIE, NH_SLICE_EMPTY, -1);
		form_redirect(f, form_local(return_to, "/account"));
	} else {
		form_fail(f, rc, &err);
	}
	nh_wipe(n.token, sizeof(n.token));
}

static nh_rc end_session(struct form *f, void *arg, struct nh_err *err) { return nh_user_session_end(&f->ctx, f->session_token, err); }

void form_sign_out(struct form *f)
{
	struct nh_err err = NH_ERR_INIT;
	nh_rc rc = form_transact(f, end_session, NULL, true, &err);
	if (rc != NH_OK) {
		form_fail(f, rc, &err);
		return;
	}
	form_cookie(f, SESSION_COOKIE, NH_SLICE_EMPTY, -1);
	form_cookie(f, VISITOR_COOKIE, NH_SLICE_EMPTY, -1);
	form_redirect(f, NH_LIT("/login?notice=out"));
}

/* ---- one request ------------------------------------------------------------------------------------------------------- */

void form_redirect(struct form *f, nh_slice path)
{
	nh_response_header(f->res, "Location", form_local(path, "/"));
	nh_response_header(f->res, "Cache-Control", NH_LIT("no-store"));
	nh_response_send(f->res, 303, NULL, NH_SLICE_EMPTY);
}

static void send_to_login(struct form *f)
{
	NH_AUTO_BUF struct nh_buf path = NH_BUF_INIT;
	nh_buf_put_str(&path, "/login?return=");
	if (!f->post)
		nh_uri_put(&path, f->req->path);
	form_redirect(f, nh_buf_slice(&path));
}

static bool form_type(const struct nh_request *req)
{
	nh_slice type, rest;
	nh_slice_cut(nh_request_header(req, "content-type"), ';', &type, &rest);
	return nh_slice_ieq(nh_slice_trim(type), NH_LIT("application/x-www-form-urlencoded"));
}

static void run(struct form *f, const struct form_page *page)
{
	struct nh_err err = NH_ERR_INIT;
	nh_rc rc = find_user(f, &err);
	if (rc != NH_OK)
		form_fail(f, rc, &err);
	else if (f->post && !form_type(f->req))
		page_message(f, 415, "Not a form", "This address takes what a page's form sends.");
	else if (f->post && (of_another_site(f) || !nh_slice_eq_ct(form_value(f, FORM_FORGERY_FIELD), form_forgery_token(f))))
		page_message(f, 403, "Too old", "This page was open for too long, or somebody else's page sent this. Please go back, load the page again and repeat.");
	else if (page->signed_in && !f->signed_in)
		send_to_login(f);
	else
		page->run(f);
}

void form_handle(struct nh_request *req, struct nh_response *res)
{
	struct form f = {.req = req, .res = res, .web = req->app, .arena = req->arena, .post = req->method == NH_HTTP_POST};
	find_visitor(&f);
	run(&f, req->route->extra);
	json_decref(f.errors);
	nh_buf_wipe(&f.page); /* may show a token once */
}
