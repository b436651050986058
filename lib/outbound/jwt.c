/*
 * Tokens: taken apart, their signature checked, then what an ID token has to say held against what was asked for. The token names its algorithm, but a key decides which ones it
 * makes; that there is none without a signature, and none with a shared secret, follows from the table of algorithms.
 */
#include "jwt_int.h"

#include "base/clock.h"
#include "base/encode.h"
#include "crypto/digest.h"

/* ---- signature --------------------------------------------------------------------------------------------------------------- */

static nh_rc part(nh_slice text, const char *what, struct nh_buf *out, struct nh_err *err)
{
	if (text.len == 0 || nh_b64_decode(text, NH_B64_URL_NOPAD, out) != NH_OK)
		return NH_FAIL(err, NH_EFORMAT, "the token's %s is not base64url", what);
	return NH_OK;
}

static nh_rc part_object(nh_slice text, const char *what, json_t **out, struct nh_err *err)
{
	NH_AUTO_BUF struct nh_buf bytes = NH_BUF_INIT;
	NH_TRY(part(text, what, &bytes, err));
	NH_TRY_CTX(nh_json_parse(nh_buf_slice(&bytes), JWT_MAX, out, err), err, "the token's %s", what);
	if (json_is_object(*out))
		return NH_OK;
	json_decref(*out);
	*out = NULL;
	return NH_FAIL(err, NH_EFORMAT, "the token's %s is no JSON object", what);
}

/* The key that the header means. Without a key id there must be but one that fits. NULL: none. */
static const struct nh_public_key *choose(const struct jwks *set, nh_slice id, nh_signature_alg alg)
{
	const struct nh_public_key *found = NULL;
	for (size_t i = 0; i < set->count; i++) {
		const struct jwk *jwk = &set->keys[i];
		if (!nh_public_key_fits(jwk->key, alg) || (jwk->bound && jwk->alg != alg) || (id.ptr && !nh_slice_eq_str(id, jwk->id)))
			continue;
		if (found)
			return NULL;
		found = jwk->key;
	}
	return found;
}

static nh_rc check_header(const json_t *header, nh_signature_alg *alg, struct nh_err *err)
{
	if (!jws_alg_parse(nh_json_text(header, "alg"), alg))
		return NH_FAIL(err, NH_EUNSUPPORTED, "the token's algorithm is '%.*s'; accepted are RS256, PS256, ES256 and EdDSA", NH_ARG(nh_slice_sub(nh_json_text(header, "alg"), 0, 20)));
	if (json_object_get(header, "crit"))
		return NH_FAIL(err, NH_EUNSUPPORTED, "the token has critical extensions, none of which is known");
	return NH_OK;
}

nh_rc jwt_verify(nh_slice token, const struct jwks *set, json_t **claims, nh_signature_alg *alg, struct nh_err *err)
{
	NH_AUTO_JSON json_t *header = NULL;
	NH_AUTO_BUF struct nh_buf signature = NH_BUF_INIT;
	nh_slice head, body, sign, rest;
	*claims = NULL;
	if (token.len > JWT_MAX)
		return NH_FAIL(err, NH_ETOOBIG, "a token of %zu bytes; at most %zu are accepted", token.len, JWT_MAX);
	if (!nh_slice_cut(token, '.', &head, &rest) || !nh_slice_cut(rest, '.', &body, &sign) || nh_slice_chr(sign, '.') >= 0)
		return NH_FAIL(err, NH_EFORMAT, "not a signed token: it does not have three parts");
	NH_TRY(part_object(head, "header", &header, err));
	NH_TRY(check_header(header, alg, err));
	NH_TRY(part(sign, "signature", &signature, err));
	const struct nh_public_key *key = choose(set, nh_json_text(header, "kid"), *alg);
	if (!key)
		return NH_FAIL(err, NH_ENOTFOUND, "the issuer has no key that the token could be signed with");
	NH_TRY(nh_public_key_verify(key, *alg, nh_slice_sub(token, 0, head.len + 1 + body.len), nh_buf_slice(&signature), err));
	return part_object(body, "body", claims, err);
}

/* ---- claims ------------------------------------------------------------------------------------------------------------------ */

/* Some issuers write whole seconds with a fraction. false: not a time, or one that no clock shows. */
static bool seconds(const json_t *claims, const char *name, int64_t *out_us)
{
	const json_t *value = json_object_get(claims, name);
	double s = json_number_value(value);
	if (!json_is_number(value) || !(s >= 0 && s < 1e11))
		return false;
	*out_us = (int64_t)(s * (double)NH_US_PER_S);
	return true;
}

static nh_rc check_times(const json_t *claims, int64_t now_us, struct nh_err *err)
{
	int64_t expires, issued, begins;
	if (!seconds(claims, "exp", &expires) || !seconds(claims, "iat", &issued))
		return NH_FAIL(err, NH_EAUTH, "the token does not say when it was issued and when it expires");
	if (now_us >= expires + ID_TOKEN_LEEWAY_US)
		return NH_FAIL(err, NH_EAUTH, "the token has expired; are the clocks right?");
	if (issued > now_us + ID_TOKEN_LEEWAY_US || (json_object_get(claims, "nbf") && (!seconds(claims, "nbf", &begins) || begins > now_us + ID_TOKEN_LEEWAY_US)))
		return NH_FAIL(err, NH_EAUTH, "the token is of the future; are the clocks right?");
	return NH_OK;
}

/* One audience as a text, or several as an array; with several, `azp` must name us. */
static nh_rc check_audience(const json_t *claims, nh_slice client_id, struct nh_err *err)
{
	const json_t *audience = json_object_get(claims, "aud"), *party = json_object_get(claims, "azp");
	bool ours = nh_slice_eq(nh_json_text(claims, "aud"), client_id);
	for (size_t i = 0; i < json_array_size(audience); i++) {
		const json_t *one = json_array_get(audience, i);
		ours = ours || (json_is_string(one) && nh_slice_eq(nh_slice_of(json_string_value(one), json_string_length(one)), client_id));
	}
	if (!ours)
		return NH_FAIL(err, NH_EAUTH, "the token is meant for somebody else (aud)");
	if ((party || json_array_size(audience) > 1) && !nh_slice_eq(nh_json_text(claims, "azp"), client_id))
		return NH_FAIL(err, NH_EAUTH, "the token was given to somebody else (azp)");
	return NH_OK;
}

/* The left half of the access token's hash; the hash is that of the signature. */
static nh_rc check_access_token(const json_t *claims, nh_signature_alg alg, nh_slice access_token, struct nh_err *err)
{
	NH_AUTO_BUF struct nh_buf text = NH_BUF_INIT;
	uint8_t digest[NH_DIGEST_MAX];
	nh_digest_alg hash = alg == NH_SIGNATURE_EDDSA ? NH_SHA512 : NH_SHA256;
	if (!json_object_get(claims, "at_hash"))
		return NH_OK;
	nh_digest(hash, access_token, digest);
	nh_b64_put(&text, nh_slice_of(digest, nh_digest_len(hash) / 2), NH_B64_URL_NOPAD);
	if (nh_slice_eq_ct(nh_buf_slice(&text), nh_json_text(claims, "at_hash")))
		return NH_OK;
	return NH_FAIL(err, NH_EAUTH, "the access token is not the one that the token came with (at_hash)");
}

nh_rc id_token_check(const json_t *claims, nh_signature_alg alg, const struct id_token_expected *expected, struct nh_err *err)
{
	if (!nh_slice_eq(nh_json_text(claims, "iss"), expected->issuer))
		return NH_FAIL(err, NH_EAUTH, "the token is of another issuer (iss)");
	NH_TRY(check_audience(claims, expected->client_id, err));
	NH_TRY(check_times(claims, expected->now_us, err));
	if (expected->nonce.len == 0 || !nh_slice_eq_ct(expected->nonce, nh_json_text(claims, "nonce")))
		return NH_FAIL(err, NH_EAUTH, "the token belongs to another attempt to sign in (nonce)");
	nh_slice subject = nh_json_text(claims, "sub");
	if (subject.len == 0 || subject.len > 255)
		return NH_FAIL(err, NH_EAUTH, "the token does not say whose it is (sub)");
	return check_access_token(claims, alg, expected->access_token, err);
}
