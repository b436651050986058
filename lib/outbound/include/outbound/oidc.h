/*
 * Signing in with somebody else's account: OpenID Connect as a relying party, authorization code flow with PKCE. One `nh_oidc` is one issuer; what it publishes (discovery document,
 * keys) is fetched when first needed and kept for a while. Whose account a person gets is not decided here: hub/identities.h.
 *
 * An attempt lives in the browser that began it: a cookie of random bytes, of which state, nonce and PKCE verifier are derived with the server's key. So an answer is worth nothing in
 * another browser, a changed cookie is worth nothing at all, and the server has nothing to remember.
 *
 * thread: a worker's (what asks the issuer blocks, for at most the time-out a call; no more than NH_OIDC_CALLS_MAX workers at a time); new and free main's; the rest any.
 * source: OpenID Connect Core 1.0 "3.1", Discovery 1.0 "4"; RFC 6749 "4.1", RFC 7636, RFC 9207, RFC 9700
 */
#pragma once

#include "base/arena.h"
#include "base/buf.h"
#include "base/clock.h"

struct nh_oidc;

#define NH_OIDC_CALLS_MAX 4

/* Strings are copied. */
struct nh_oidc_config {
	const char *key;           /* names it in URLs: "google" */
	const char *issuer;        /* as the issuer writes itself: "https://accounts.google.com". http only for a loopback host */
	const char *client_id;
	const char *client_secret; /* empty: a public client, PKCE alone */
	const char *name;          /* for people; empty: the issuer's host */
	const char *scopes;        /* separated by blanks; "openid" is added where it is missing */
	const char *ca_file;       /* PEM; empty: the system's */
	uint64_t timeout_ms;       /* of one call; 0 = 10 000 */
	const struct nh_clock *clock; /* borrowed */
};

/* nh_oidc_new - asks nobody yet. NH_EINVAL: the issuer is no such URL, or there is no client id. */
nh_rc nh_oidc_new(const struct nh_oidc_config *config, struct nh_oidc **out, struct nh_err *err);
void nh_oidc_free(struct nh_oidc *oidc);            /* NULL legal */
const char *nh_oidc_key(const struct nh_oidc *oidc);
const char *nh_oidc_name(const struct nh_oidc *oidc); /* never empty */
/* nh_oidc_hosts_domains - does the issuer say of which organization a person is (Google)? Then that counts, and not the domain of an address: anybody may have an account there with any address. */
bool nh_oidc_hosts_domains(const struct nh_oidc *oidc);

#define NH_OIDC_TEXT_MAX 44 /* 43 characters and NUL */
struct nh_oidc_attempt {
	char state[NH_OIDC_TEXT_MAX], nonce[NH_OIDC_TEXT_MAX], verifier[NH_OIDC_TEXT_MAX];
};
/* nh_oidc_attempt_of - what belongs to a cookie (at least 128 bits of chance, and whatever else is to be bound to the attempt) and this issuer. Pure. */
void nh_oidc_attempt_of(const struct nh_oidc *oidc, nh_slice secret_key, nh_slice cookie, struct nh_oidc_attempt *out);

/*
 * nh_oidc_authorize_url - appends where the browser is to be sent. redirect_uri: where the issuer sends it back to. May ask the issuer.
 * NH_EIO, NH_ETIMEOUT: it gives no answer; NH_EAGAIN: too many are asking; NH_EFORMAT: what it says of itself is not usable (another issuer, a missing address, no TLS).
 */
nh_rc nh_oidc_authorize_url(struct nh_oidc *oidc, const struct nh_oidc_attempt *attempt, nh_slice redirect_uri, struct nh_buf *url, struct nh_err *err);

/* What the browser brought back, decoded. */
struct nh_oidc_answer {
	nh_slice state, code, issuer; /* issuer: "iss", ptr NULL where absent */
	nh_slice error;               /* empty: none */
};

struct nh_oidc_person {
	nh_slice issuer, subject;  /* together: who it is, for ever */
	nh_slice email;            /* empty: the issuer does not say */
	bool email_verified;
	nh_slice name;             /* may be empty */
	nh_slice hosted_domain;    /* Google's "hd": the organization that owns the account; empty for others */
};

/*
 * nh_oidc_redeem - exchanges the code, checks the ID token, asks for the e-mail address where the token does not have it. Texts of *out live in arena.
 * NH_EPERM: the person, or the issuer, said no (error=…). NH_EAUTH: the answer does not belong to the attempt, the code is not (or no longer) good, or a token is not what it should be.
 * NH_EIO, NH_ETIMEOUT, NH_EAGAIN, NH_EFORMAT: as nh_oidc_authorize_url; NH_EPERM with err: our credentials are refused, too. Messages are for the log; they hold no token.
 */
nh_rc nh_oidc_redeem(struct nh_oidc *oidc, const struct nh_oidc_attempt *attempt, nh_slice redirect_uri, const struct nh_oidc_answer *answer, struct nh_arena *arena,
                     struct nh_oidc_person *out, struct nh_err *err);
