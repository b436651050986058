/*
 * Signed tokens (JSON Web Signatures in compact form) and the sets of keys that they are checked with. Text in, facts out: nothing here opens a connection.
 * Private to outbound. source: RFC 7515, RFC 7517, RFC 7519, RFC 8725
 */
#pragma once

#include "base/json.h"
#include "crypto/public_key.h"

#define JWT_MAX ((size_t)16 << 10)   /* bytes of a token */
#define JWKS_MAX ((size_t)256 << 10) /* bytes of a set of keys */
#define JWKS_KEYS_MAX 64

/* jws_alg_parse - "RS256", "PS256", "ES256", "EdDSA" as written; false for anything else. */
bool jws_alg_parse(nh_slice name, nh_signature_alg *out);

struct jwk {
	char *id; /* "kid"; empty where there is none */
	struct nh_public_key *key;
	bool bound; /* "alg" is given: the key makes no other */
	nh_signature_alg alg;
};

/* Immutable once parsed, except for refs. */
struct jwks {
	unsigned refs; /* atomic */
	size_t count;
	struct jwk keys[JWKS_KEYS_MAX];
};

/*
 * jwks_parse - the keys of a set that can check tokens; others (encryption, unknown kinds, weak or broken ones) are passed over, as the standard asks. One reference.
 * NH_EFORMAT: no set; NH_ETOOBIG: the text, or more than JWKS_KEYS_MAX usable keys.
 */
nh_rc jwks_parse(nh_slice text, struct jwks **out, struct nh_err *err);
struct jwks *jwks_ref(struct jwks *set);
void jwks_unref(struct jwks *set); /* NULL legal */

/*
 * jwt_verify - a token's claims (a new reference, always an object) and algorithm, once its signature has been found to be that of a key in the set.
 * NH_EFORMAT: no token; NH_ETOOBIG; NH_EUNSUPPORTED: an algorithm other than the four (none and HMAC among them), or a critical extension; NH_ENOTFOUND: no key of that id and kind;
 * NH_EAUTH: the signature is wrong.
 */
nh_rc jwt_verify(nh_slice token, const struct jwks *set, json_t **claims, nh_signature_alg *alg, struct nh_err *err);

struct id_token_expected {
	nh_slice issuer, client_id, nonce;
	nh_slice access_token; /* what came with it; empty: none */
	int64_t now_us;
};
#define ID_TOKEN_LEEWAY_US (60 * NH_US_PER_S) /* clocks differ */

/* id_token_check - are the claims of a verified token those of an ID token for us, now, and for this attempt? NH_EAUTH with the reason. source: OpenID Connect Core "3.1.3.7", "3.1.3.6" */
nh_rc id_token_check(const json_t *claims, nh_signature_alg alg, const struct id_token_expected *expected, struct nh_err *err);
