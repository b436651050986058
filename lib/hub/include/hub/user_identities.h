/*
 * Whose account it is when another issuer signed somebody in (OpenID Connect). An identity is the pair of issuer and subject, and nothing else: addresses and names change hands.
 *
 * Conventions: hub/accounts.h. source: OpenID Connect Core "5.7"; reference/server-behaviour "9.4"
 */
#pragma once

#include "hub/accounts.h"

struct nh_identity_policy {
	/*
	 * May an address that the issuer has verified open the account that has the same address here? Off unless the operator says so: whoever can make the issuer say an address
	 * (a lapsed domain, an employer's administrator, an issuer that verifies nothing) would own the account. Without it the owner connects the two while signed in.
	 */
	bool link_by_email;
	bool registration;   /* may a stranger get a new account? */
	nh_slice invitation; /* token of an invitation that the person came with; empty: none. It opens registration for the address that it went to */
	nh_slice domains;    /* who may come at all: domains of verified addresses, separated by commas or blanks; empty: all */
};

/* What an issuer says of a person. Texts are a stranger's. */
struct nh_identity_claim {
	nh_slice issuer, subject;
	nh_slice email;         /* empty: not said */
	bool email_verified;
	nh_slice name;
	nh_slice hosted_domain; /* of an issuer that says whose member the person is: it counts instead of the address's; ptr NULL for others */
};

typedef enum nh_identity_refusal {
	NH_IDENTITY_NOT_REFUSED,
	NH_IDENTITY_DOMAIN,     /* not of an allowed domain */
	NH_IDENTITY_NO_EMAIL,   /* a new account needs an address that the issuer has verified */
	NH_IDENTITY_NOT_LINKED, /* there is an account with that address; its owner has not connected it */
	NH_IDENTITY_CLOSED,     /* no new accounts */
	NH_IDENTITY_TAKEN,      /* the identity is another account's */
} nh_identity_refusal;

/*
 * nh_user_identity_sign_in - finds the account (write): the identity's, else the one with the same address where the policy links them, else a new one with a verified address, no
 * password and an organization of its own. *created tells of the latter. NH_EPERM with *why.
 */
nh_rc nh_user_identity_sign_in(struct nh_ctx *ctx, const struct nh_identity_policy *policy, const struct nh_identity_claim *who, struct nh_user *out, bool *created,
                               nh_identity_refusal *why, struct nh_err *err);
/* nh_user_identity_connect - from now on it signs in this user, who is signed in and asked for it. Twice is harmless. NH_EPERM with *why. */
nh_rc nh_user_identity_connect(struct nh_ctx *ctx, const struct nh_identity_policy *policy, int64_t user_id, const struct nh_identity_claim *who, nh_identity_refusal *why,
                               struct nh_err *err);

struct nh_user_identity {
	int64_t id;
	nh_slice issuer, subject, email;
	int64_t inserted_at_us, last_used_at_us; /* 0: never */
};
nh_rc nh_user_identity_list(struct nh_ctx *ctx, int64_t user_id, struct nh_user_identity **out, size_t *count, struct nh_err *err); /* at most 100 */
/* nh_user_identity_remove - NH_ENOTFOUND: no such; or it is the only way in, as there is neither a password nor another identity. */
nh_rc nh_user_identity_remove(struct nh_ctx *ctx, int64_t user_id, int64_t identity_id, struct nh_err *err);
