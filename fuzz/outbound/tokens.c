/*
 * What an issuer sends: the first line is a set of keys, the second a token, the third claims. A token is never good without a key, and what was found good is an object; claims are
 * accepted for the one issuer, client and nonce only, at that time.
 */
#include "base/clock.h"
#include "base/json.h"
#include "fuzz.h"
#include "jwt_int.h"

static const char fixed[] = "{\"keys\":[{\"kty\":\"OKP\",\"crv\":\"Ed25519\",\"kid\":\"k\",\"x\":\"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo\"}]}";

static void token(nh_slice text, const struct jwks *set)
{
	NH_AUTO_JSON json_t *claims = NULL;
	nh_signature_alg alg;
	nh_rc rc = jwt_verify(text, set, &claims, &alg, NULL);
	FUZZ_CHECK((rc == NH_OK) == (claims != NULL), "%s", nh_rc_name(rc));
	FUZZ_CHECK(rc != NH_OK || (json_is_object(claims) && set->count > 0), "%zu keys", set->count);
}

static void claims(nh_slice text)
{
	NH_AUTO_JSON json_t *object = NULL;
	const struct id_token_expected expected = {.issuer = NH_LIT("https://i"), .client_id = NH_LIT("us"), .nonce = NH_LIT("n"), .access_token = NH_LIT("at"), .now_us = INT64_C(1700000000) * NH_US_PER_S};
	if (nh_json_parse(text, JWT_MAX, &object, NULL) != NH_OK)
		return;
	for (int alg = NH_SIGNATURE_RS256; alg <= NH_SIGNATURE_EDDSA; alg++) {
		nh_rc rc = id_token_check(object, (nh_signature_alg)alg, &expected, NULL);
		FUZZ_CHECK(rc == NH_OK || rc == NH_EAUTH, "%s", nh_rc_name(rc));
		FUZZ_CHECK(rc != NH_OK || (nh_slice_eq_str(nh_json_text(object, "iss"), "https://i") && nh_slice_eq_str(nh_json_text(object, "nonce"), "n") && nh_json_text(object, "sub").len > 0),
		           "accepted");
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	nh_slice all = nh_slice_of(data, size), first, second, third, rest;
	struct jwks *set = NULL, *known = NULL;
	nh_slice_cut(all, '\n', &first, &rest);
	nh_slice_cut(rest, '\n', &second, &third);
	NH_ASSERT(jwks_parse(NH_LIT("{\"keys\":[]}"), &known, NULL) == NH_OK);
	token(second, known); /* without keys nothing is good */
	jwks_unref(known);
	NH_ASSERT(jwks_parse(nh_slice_str(fixed), &known, NULL) == NH_OK && known->count == 1);
	token(second, known);
	if (jwks_parse(first, &set, NULL) == NH_OK)
		token(second, set);
	jwks_unref(set);
	jwks_unref(known);
	claims(third);
	return 0;
}
