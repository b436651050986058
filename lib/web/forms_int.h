/*
 * Pages without scripts: what the files of forms share. A page is a handler that runs on a worker: it may open transactions (form_transact), and ends with page_send or form_redirect.
 * `form_handle` is the handle of every such route; the route's extra is a struct form_page.
 *
 * Every POST is refused before its page runs unless it carries the token that the page's form had in it (form_begin puts it there): an HMAC over a random cookie of this browser and its
 * session. Cookies are HttpOnly, SameSite=Lax, and over https Secure with the prefix __Host-, so that no neighbour can plant one. Pages load nothing but their stylesheet.
 *
 * Where a form leads to another site (a sign-in elsewhere), it has to be a link: form-action 'self' stops redirects of a POST.
 *
 * source: reference/server-behaviour "9.2" to "9.5"; reference/web-ui "8.1"
 */
#pragma once

#include "base/buf.h"
#include "hub/gate.h"
#include "hub/sessions.h"
#include "web_int.h"

struct form;

struct form_page {
	void (*run)(struct form *f);
	bool signed_in; /* others are sent to sign in first, and come back */
};

struct form {
	struct nh_request *req;
	struct nh_response *res;
	struct nh_web *web;
	struct nh_arena *arena;      /* of the request */
	bool post;
	/* who sits at the browser */
	bool signed_in;
	struct nh_user user;
	struct nh_actor actor;
	struct nh_user_session session;
	nh_slice session_token;
	nh_slice visitor;            /* random, of this browser; never empty */
	/* inside form_transact */
	struct nh_ctx ctx;
	struct nh_effects effects;
	json_t *errors;              /* what a rule refused; dropped with the form */
	struct nh_buf page;
};

/* ---- forms.c: requests and answers --------------------------------------------------------------------------------------- */

void form_handle(struct nh_request *req, struct nh_response *res);
nh_slice form_value(const struct form *f, const char *name); /* of the body; empty where absent */
bool form_checked(const struct form *f, const char *name);
nh_slice form_query(const struct form *f, const char *name);
/* Runs fn in a transaction with f->ctx, carries its effects out, drops f->errors before. May run fn more than once. */
typedef nh_rc (*form_tx)(struct form *f, void *arg, struct nh_err *err);
nh_rc form_transact(struct form *f, form_tx fn, void *arg, bool write, struct nh_err *err);
/* A path of this server, or fallback: what comes from outside never leads away. */
nh_slice form_local(nh_slice path, const char *fallback);
#define FORM_FORGERY_FIELD "_csrf_token"
nh_slice form_forgery_token(const struct form *f);
/* 303; path is local (form_local). */
void form_redirect(struct form *f, nh_slice path);
/* A new session of the user: cookie set, and on to return_to (checked here; empty: the account). The one way in, for every way of finding out who it is. */
void form_sign_in(struct form *f, int64_t user_id, bool lasting, nh_slice return_to);
/* On to the page that asks for the second factor, and from there in as form_sign_in. (forms_sign_in.c) */
void form_ask_for_code(struct form *f, int64_t user_id, bool lasting, nh_slice return_to);
void form_sign_out(struct form *f);
/* Set-Cookie. max_age_s 0: until the browser ends; < 0: now gone. value: of [A-Za-z0-9_-]. */
void form_cookie(struct form *f, const char *name, nh_slice value, int64_t max_age_s);
nh_slice form_cookie_value(const struct form *f, const char *name); /* empty where absent or sent twice */
/* An error that is nobody's input: says so, and logs it. */
void form_fail(struct form *f, nh_rc rc, const struct nh_err *err);
bool form_https(const struct form *f);
struct nh_gate form_gate(const struct form *f); /* for who comes with this request */

/* ---- forms_page.c: the text of a page ---------------------------------------------------------------------------------- */

void page_begin(struct form *f, const char *title);     /* the head and the heading */
void page_html(struct form *f, const char *constant);   /* as it is: never what came from outside */
void page_text(struct form *f, nh_slice text);          /* escaped */
[[gnu::format(printf, 2, 3)]] void page_printf(struct form *f, const char *fmt, ...); /* escaped as a whole */
void page_paragraph(struct form *f, const char *text);  /* escaped */
void page_notice(struct form *f, bool bad, const char *text); /* empty or NULL: nothing */
/* What a page that led here has to say: the text of the query's "notice", of a table that ends with NULL. */
struct form_notice {
	const char *word, *text;
};
void page_notice_of(struct form *f, const struct form_notice *notices);
void page_qr(struct form *f, nh_slice text);            /* forms_qr.c; nothing where the text is too long */
void page_send(struct form *f, unsigned status);        /* the end, with its headers */
void page_message(struct form *f, unsigned status, const char *title, const char *text); /* a whole page */

struct page_field {
	const char *label, *name, *type; /* type: text, email, password, checkbox, hidden, or a one-time code: "code" */
	const char *autocomplete;        /* NULL: none */
	nh_slice value;
	bool optional;
};
void form_begin(struct form *f, const char *action);    /* action: local path; escaped */
void form_field(struct form *f, const struct page_field *field); /* with what f->errors says of it */
void form_hidden(struct form *f, const char *name, nh_slice value);
void form_end(struct form *f, const char *button);

/* ---- the pages (routes: forms_routes.c) ---------------------------------------------------------------------------------- */

void form_stylesheet(struct nh_request *req, struct nh_response *res);
extern const struct form_page page_login, page_second_factor, page_logout, page_cli;
extern const struct form_page page_register, page_confirm, page_reset_ask, page_reset, page_invite, page_welcome;
extern const struct form_page page_root, page_account, page_password, page_tokens, page_token_delete, page_sessions, page_session_delete, page_factor, page_factor_confirm, page_factor_off,
	page_recovery, page_delete;
