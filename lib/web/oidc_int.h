/*
 * Sign-in with an account elsewhere, as pages: what other pages show of it. Private to web.
 *
 * GET /auth/KEY begins, the issuer answers at /auth/KEY/callback; POST /auth/KEY/connect begins for somebody who is signed in, and ties the two accounts together. What an attempt needs
 * lies in a cookie of the browser that began it (outbound/oidc.h), is good for ten minutes and for one answer.
 */
#pragma once

#include "forms_int.h"

extern const struct form_page page_oidc_begin, page_oidc_callback, page_oidc_connect, page_oidc_remove;

/* oidc_put_links - a link for each issuer, for the sign-in page; nothing where there is none. return_to: where to go afterwards; may be empty. */
void oidc_put_links(struct form *f, nh_slice return_to);
/* oidc_put_identities - the account page's part: what is connected, and what can be. The caller's page has begun. Another code than NH_OK: nothing was put. */
nh_rc oidc_put_identities(struct form *f, struct nh_err *err);
