/*
 * Tokens and sets of keys: the standards' own vectors, tokens of every algorithm made here, and each way in which one can be wrong.
 */
#include "base/clock.h"
#include "crypto/digest.h"
#include "crypto/hmac.h"
#include "jwt_int.h"
#include "token_key.h"

/* ---- the standards' vectors ---------------------------------------------------------------------------------------------- */

static const struct {
	const char *what, *set, *token;
	nh_rc rc; /* the payload of RFC 8037's is no JSON, so what comes after the signature says so */
} vectors[] = {
	{"RFC 7515 A.2",
	 "{\"keys\":[{\"kty\":\"RSA\",\"n\":\"ofgWCuLjybRlzo0tZWJjNiuSfb4p4fAkd_wWJcyQoTbji9k0l8W26mPddxHmfHQp-Vaw-4qPCJrcS2mJPMEzP1Pt0Bm4d4QlL-yRT-SFd2lZS-pCgNMsD1W_YpRPEwOWvG6b32690r2jZ47soMZo9wGzjb_7OMg0LOL-"
	 "bSf63kpaSHSXndS5z5rexMdbBYUsLA9e-KXBdQOS-UTo7WTBEMa2R2CapHg665xsmtdVMTBQY4uDZlxvb3qCo5ZwKh9kG4LT6_I5IhlJH7aGhyxXFvUK-DWNmoudF8NAco9_h9iaGNj8q2ethFkMLs91kzk2PAcDTW9gb54h4FRWyuXpoQ\",\"e\":\"AQAB\"}]}",
	 "eyJhbGciOiJSUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ.cC4hiUPoj9Eetdgtv3hF80EGrhuB__dzERat0XF9g2VtQgr9PJbu3XOiZj5RZmh7AAuHIm4Bh-0Qc_lF5YKt_"
	 "O8W2Fp5jujGbds9uJdbF9CUAr7t1dnZcAcQjbKBYNX4BAynRFdiuB--f_nZLgrnbyTyWzO75vRK5h6xBArLIARNPvkSjtQBMHlb1L07Qe7K0GarZRmB_eSN9383LcOLn6_dO--xi12jzDwusC-eOkHWEsqtFZESc6BfI7noOPqvhJ1phCnvWh6IeYI2w9QOYEUipUTI8np6LbgGY"
	 "9Fs98rqVt5AXLIhWkWywlVmtVrBp0igcN_IoypGlUPQGe77Rw",
	 NH_OK},
	{"RFC 7515 A.3",
	 "{\"keys\":[{\"kty\":\"EC\",\"crv\":\"P-256\",\"x\":\"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU\",\"y\":\"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0\"}]}",
	 "eyJhbGciOiJFUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ.DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q",
	 NH_OK},
	{"RFC 8037 A.4", "{\"keys\":[{\"kty\":\"OKP\",\"crv\":\"Ed25519\",\"x\":\"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo\"}]}",
	 "eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc.hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg", NH_EFORMAT},
};

static void test_vectors(void **state)
{
	for (size_t i = 0; i < NH_ARRAY_LEN(vectors); i++) {
		NH_AUTO_JSON json_t *claims = NULL;
		struct jwks *set = NULL;
		struct nh_err err = NH_ERR_INIT;
		nh_signature_alg alg;
		assert_int_equal(jwks_parse(nh_slice_str(vectors[i].set), &set, &err), NH_OK);
		assert_int_equal(set->count, 1);
		nh_rc rc = jwt_verify(nh_slice_str(vectors[i].token), set, &claims, &alg, &err);
		if (rc != vectors[i].rc)
			fail_msg("%s: %s %s", vectors[i].what, nh_rc_name(rc), err.msg);
		if (rc == NH_OK)
			assert_string_equal(json_string_value(json_object_get(claims, "iss")), "joe");
		jwks_unref(set);
	}
}

/* ---- keys ----------------------------------------------------------------------------------------------------------------- */

struct world {
	struct nh_arena arena;
	struct token_key keys[4]; /* by algorithm */
	struct token_key stranger; /* EC, with the id of ours */
	const char *text;
	struct jwks *set;
};

static int set_up(void **state)
{
	static struct world w;
	w = (struct world){0};
	static const char *const ids[] = {"r", "p", "e", "d"};
	NH_AUTO_BUF struct nh_buf text = NH_BUF_INIT;
	nh_buf_put_str(&text, "{\"keys\":[");
	for (unsigned alg = 0; alg < 4; alg++) {
		w.keys[alg] = token_key_new((nh_signature_alg)alg, 0, ids[alg]);
		const char *more = nh_arena_printf(&w.arena, ",\"use\":\"sig\",\"alg\":\"%s\"", token_algs[alg].name);
		nh_buf_printf(&text, "%s%s", alg ? "," : "", token_jwk(&w.arena, &w.keys[alg], more));
	}
	nh_buf_put_str(&text, "]}");
	w.stranger = token_key_new(NH_SIGNATURE_ES256, 0, "e");
	w.text = nh_arena_str(&w.arena, nh_buf_slice(&text));
	assert_int_equal(jwks_parse(nh_slice_str(w.text), &w.set, NULL), NH_OK);
	assert_int_equal(w.set->count, 4);
	*state = &w;
	return 0;
}

static int tear_down(void **state)
{
	struct world *w = *state;
	for (unsigned i = 0; i < 4; i++)
		gnutls_privkey_deinit(w->keys[i].key);
	gnutls_privkey_deinit(w->stranger.key);
	jwks_unref(w->set);
	nh_arena_fini(&w->arena);
	return 0;
}

#define B43 "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"

/* What is no key of ours, or none at all. */
static const struct {
	const char *what, *set;
	nh_rc rc;
	size_t count;
} sets[] = {
	{"not JSON", "{", NH_EFORMAT, 0},
	{"no object", "[]", NH_EFORMAT, 0},
	{"no keys", "{\"key\":[]}", NH_EFORMAT, 0},
	{"keys are no list", "{\"keys\":{}}", NH_EFORMAT, 0},
	{"none", "{\"keys\":[]}", NH_OK, 0},
	{"not objects", "{\"keys\":[1,null,\"x\",[]]}", NH_OK, 0},
	{"a symmetric one", "{\"keys\":[{\"kty\":\"oct\",\"k\":\"AAAA\"}]}", NH_OK, 0},
	{"another curve", "{\"keys\":[{\"kty\":\"EC\",\"crv\":\"P-384\",\"x\":\"" B43 "\",\"y\":\"" B43 "\"}]}", NH_OK, 0},
	{"a point that is not on the curve", "{\"keys\":[{\"kty\":\"EC\",\"crv\":\"P-256\",\"x\":\"" B43 "\",\"y\":\"" B43 "\"}]}", NH_OK, 0},
	{"a short coordinate", "{\"keys\":[{\"kty\":\"EC\",\"crv\":\"P-256\",\"x\":\"AAAA\",\"y\":\"" B43 "\"}]}", NH_OK, 0},
	{"a short Ed25519 point", "{\"keys\":[{\"kty\":\"OKP\",\"crv\":\"Ed25519\",\"x\":\"AAAA\"}]}", NH_OK, 0},
	{"RSA of nothing", "{\"keys\":[{\"kty\":\"RSA\",\"n\":\"\",\"e\":\"AQAB\"}]}", NH_OK, 0},
	{"RSA of 24 bits", "{\"keys\":[{\"kty\":\"RSA\",\"n\":\"AQAB\",\"e\":\"AQAB\"}]}", NH_OK, 0},
	{"padding", "{\"keys\":[{\"kty\":\"OKP\",\"crv\":\"Ed25519\",\"x\":\"" B43 "=\"}]}", NH_OK, 0},
	{"one for encryption", "{\"keys\":[{\"kty\":\"OKP\",\"crv\":\"Ed25519\",\"use\":\"enc\",\"x\":\"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo\"}]}", NH_OK, 0},
	{"bound to an algorithm of another kind", "{\"keys\":[{\"kty\":\"OKP\",\"crv\":\"Ed25519\",\"alg\":\"RS256\",\"x\":\"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo\"}]}", NH_OK, 0},
	{"bound to an unknown algorithm", "{\"keys\":[{\"kty\":\"OKP\",\"crv\":\"Ed25519\",\"alg\":\"HS256\",\"x\":\"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo\"}]}", NH_OK, 0},
	{"a good one behind a bad one", "{\"keys\":[{},{\"kty\":\"OKP\",\"crv\":\"Ed25519\",\"x\":\"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo\"}]}", NH_OK, 1},
};

static void test_sets(void **state)
{
	struct world *w = *state;
	struct jwks *set;
	for (size_t i = 0; i < NH_ARRAY_LEN(sets); i++) {
		nh_rc rc = jwks_parse(nh_slice_str(sets[i].set), &set, NULL);
		if (rc != sets[i].rc || (set ? set->count : 0) != sets[i].count)
			fail_msg("%s: %s, %zu keys", sets[i].what, nh_rc_name(rc), set ? set->count : 0);
		jwks_unref(set);
	}
	/* RSA below 2048 bits is passed over. */
	struct token_key weak = token_key_new(NH_SIGNATURE_RS256, 1024, "weak");
	assert_int_equal(jwks_parse(nh_slice_str(nh_arena_printf(&w->arena, "{\"keys\":[%s]}", token_jwk(&w->arena, &weak, ""))), &set, NULL), NH_OK);
	assert_int_equal(set->count, 0);
	jwks_unref(set);
	gnutls_privkey_deinit(weak.key);
	/* One more than there is room for. */
	NH_AUTO_BUF struct nh_buf many = NH_BUF_INIT;
	const char *one = token_jwk(&w->arena, &w->keys[NH_SIGNATURE_EDDSA], "");
	nh_buf_printf(&many, "{\"keys\":[%s", one);
	for (int i = 1; i < JWKS_KEYS_MAX; i++)
		nh_buf_printf(&many, ",%s", one);
	size_t full = many.len;
	nh_buf_put_str(&many, "]}");
	assert_int_equal(jwks_parse(nh_buf_slice(&many), &set, NULL), NH_OK);
	jwks_unref(set);
	nh_buf_truncate(&many, full);
	nh_buf_printf(&many, ",%s]}", one);
	assert_int_equal(jwks_parse(nh_buf_slice(&many), &set, NULL), NH_ETOOBIG);
	nh_buf_clear(&many);
	nh_buf_fill(&many, ' ', JWKS_MAX + 1);
	assert_int_equal(jwks_parse(nh_buf_slice(&many), &set, NULL), NH_ETOOBIG);
}

/* ---- tokens --------------------------------------------------------------------------------------------------------------- */

static nh_rc verify(struct world *w, const char *token)
{
	NH_AUTO_JSON json_t *claims = NULL;
	nh_signature_alg alg;
	nh_rc rc = jwt_verify(nh_slice_str(token), w->set, &claims, &alg, NULL);
	assert_int_equal(rc == NH_OK, claims != NULL);
	return rc;
}

static void test_signatures(void **state)
{
	struct world *w = *state;
	for (unsigned alg = 0; alg < 4; alg++) {
		char *token = (char *)(uintptr_t)token_sign(&w->arena, &w->keys[alg], NULL, "{\"sub\":\"a\"}");
		assert_int_equal(verify(w, token), NH_OK);
		/* Each byte counts: of header, body, signature. */
		char *const places[] = {strchr(token, '.') + 3, strrchr(token, '.') + 5};
		for (size_t i = 0; i < NH_ARRAY_LEN(places); i++) {
			char was = *places[i];
			*places[i] = was == 'A' ? 'B' : 'A';
			assert_int_equal(verify(w, token), NH_EAUTH);
			*places[i] = was;
		}
		assert_int_equal(verify(w, token), NH_OK);
	}
}

/* header, signed with which key (ours by algorithm; 4: a stranger's), what comes of it */
static const struct {
	const char *what, *header;
	unsigned key;
	nh_rc rc;
} headers[] = {
	{"no signature wanted", "{\"alg\":\"none\"}", NH_SIGNATURE_ES256, NH_EUNSUPPORTED},
	{"none, written otherwise", "{\"alg\":\"nOnE\",\"kid\":\"e\"}", NH_SIGNATURE_ES256, NH_EUNSUPPORTED},
	{"a shared secret", "{\"alg\":\"HS256\",\"kid\":\"r\"}", NH_SIGNATURE_ES256, NH_EUNSUPPORTED},
	{"no algorithm", "{\"kid\":\"e\"}", NH_SIGNATURE_ES256, NH_EUNSUPPORTED},
	{"an algorithm that is no text", "{\"alg\":[\"ES256\"],\"kid\":\"e\"}", NH_SIGNATURE_ES256, NH_EUNSUPPORTED},
	{"another algorithm than the key's", "{\"alg\":\"RS256\",\"kid\":\"e\"}", NH_SIGNATURE_ES256, NH_ENOTFOUND},
	{"another padding than the key is bound to", "{\"alg\":\"RS256\",\"kid\":\"p\"}", NH_SIGNATURE_PS256, NH_ENOTFOUND},
	{"another's key of the same kind", "{\"alg\":\"ES256\",\"kid\":\"e\"}", 4, NH_EAUTH},
	{"an unknown key", "{\"alg\":\"ES256\",\"kid\":\"x\"}", NH_SIGNATURE_ES256, NH_ENOTFOUND},
	{"no key id, but one that fits", "{\"alg\":\"ES256\"}", NH_SIGNATURE_ES256, NH_OK},
	{"a key that came with the token", "{\"alg\":\"ES256\",\"jwk\":{\"kty\":\"oct\",\"k\":\"AAAA\"}}", 4, NH_EAUTH},
	{"an address of keys", "{\"alg\":\"ES256\",\"jku\":\"http://evil.example.com/\"}", 4, NH_EAUTH},
	{"critical extensions", "{\"alg\":\"ES256\",\"kid\":\"e\",\"crit\":[\"b64\"],\"b64\":false}", NH_SIGNATURE_ES256, NH_EUNSUPPORTED},
	{"a header that is no object", "[\"ES256\"]", NH_SIGNATURE_ES256, NH_EFORMAT},
	{"a header that is no JSON", "ES256", NH_SIGNATURE_ES256, NH_EFORMAT},
};

static void test_headers(void **state)
{
	struct world *w = *state;
	for (size_t i = 0; i < NH_ARRAY_LEN(headers); i++) {
		const struct token_key *key = headers[i].key == 4 ? &w->stranger : &w->keys[headers[i].key];
		nh_rc rc = verify(w, token_sign(&w->arena, key, headers[i].header, "{\"sub\":\"a\"}"));
		if (rc != headers[i].rc)
			fail_msg("%s: %s instead of %s", headers[i].what, nh_rc_name(rc), nh_rc_name(headers[i].rc));
	}
}

/* The set is public: a token "signed" with its bytes as a shared secret is the oldest trick. */
static void test_public_key_as_secret(void **state)
{
	struct world *w = *state;
	uint8_t mac[NH_SHA256_LEN];
	nh_slice head = token_b64(&w->arena, NH_LIT("{\"alg\":\"RS256\",\"kid\":\"r\"}")), body = token_b64(&w->arena, NH_LIT("{\"sub\":\"a\"}"));
	char *text = nh_arena_printf(&w->arena, "%.*s.%.*s", NH_ARG(head), NH_ARG(body));
	nh_hmac(NH_SHA256, nh_slice_str(w->text), nh_slice_str(text), mac);
	assert_int_equal(verify(w, nh_arena_printf(&w->arena, "%s.%.*s", text, NH_ARG(token_b64(&w->arena, nh_slice_of(mac, sizeof mac))))), NH_EAUTH);
}

static void test_forms(void **state)
{
	struct world *w = *state;
	const char *good = token_sign(&w->arena, &w->keys[NH_SIGNATURE_EDDSA], NULL, "{\"sub\":\"a\"}");
	const char *list = token_sign(&w->arena, &w->keys[NH_SIGNATURE_EDDSA], NULL, "[1]");
	size_t body = (size_t)(strrchr(good, '.') - good);
	const struct {
		const char *what, *token;
		nh_rc rc;
	} cases[] = {
		{"empty", "", NH_EFORMAT},
		{"two dots", "..", NH_EFORMAT},
		{"one part", "abc", NH_EFORMAT},
		{"two parts", nh_arena_printf(&w->arena, "%.*s", (int)body, good), NH_EFORMAT},
		{"an empty signature", nh_arena_printf(&w->arena, "%.*s.", (int)body, good), NH_EFORMAT},
		{"four parts", nh_arena_printf(&w->arena, "%s.AAAA", good), NH_EFORMAT},
		{"padding", nh_arena_printf(&w->arena, "%s==", good), NH_EFORMAT},
		{"a blank behind it", nh_arena_printf(&w->arena, "%s ", good), NH_EFORMAT},
		{"claims that are no object", list, NH_EFORMAT},
		{"a long one", token_sign(&w->arena, &w->keys[NH_SIGNATURE_EDDSA], NULL, nh_arena_printf(&w->arena, "{\"sub\":\"%0*d\"}", (int)JWT_MAX, 0)), NH_ETOOBIG},
	};
	for (size_t i = 0; i < NH_ARRAY_LEN(cases); i++) {
		nh_rc rc = verify(w, cases[i].token);
		if (rc != cases[i].rc)
			fail_msg("%s: %s", cases[i].what, nh_rc_name(rc));
	}
	/* Two keys that fit a token without key id: neither is chosen. */
	struct jwks *set;
	NH_AUTO_JSON json_t *claims = NULL;
	nh_signature_alg alg;
	const char *two = nh_arena_printf(&w->arena, "{\"keys\":[%s,%s]}", token_jwk(&w->arena, &w->keys[NH_SIGNATURE_ES256], ""), token_jwk(&w->arena, &w->stranger, ""));
	assert_int_equal(jwks_parse(nh_slice_str(two), &set, NULL), NH_OK);
	assert_int_equal(jwt_verify(nh_slice_str(token_sign(&w->arena, &w->keys[NH_SIGNATURE_ES256], "{\"alg\":\"ES256\"}", "{}")), set, &claims, &alg, NULL), NH_ENOTFOUND);
	jwks_unref(set);
}

/* ---- what an ID token says -------------------------------------------------------------------------------------------------- */

#define NOW INT64_C(1700000000)
#define ISS "\"iss\":\"https://issuer.example\""
#define AUD ",\"aud\":\"us\""
#define TIMES ",\"iat\":1699999990,\"exp\":1700000300"
#define NONCE ",\"nonce\":\"n-1\""
#define SUB ",\"sub\":\"a\""

static const struct {
	const char *what, *claims, *why; /* NULL: accepted */
} id_tokens[] = {
	{"as it should be", "{" ISS AUD TIMES NONCE SUB "}", NULL},
	{"one audience in a list", "{" ISS ",\"aud\":[\"us\"]" TIMES NONCE SUB "}", NULL},
	{"several audiences, given to us", "{" ISS ",\"aud\":[\"them\",\"us\"],\"azp\":\"us\"" TIMES NONCE SUB "}", NULL},
	{"expired within what clocks may differ", "{" ISS AUD ",\"iat\":1699990000,\"exp\":1699999941" NONCE SUB "}", NULL},
	{"times with fractions", "{" ISS AUD ",\"iat\":1699999990.5,\"exp\":1700000300.25" NONCE SUB "}", NULL},
	{"valid by now", "{" ISS AUD TIMES ",\"nbf\":1700000059" NONCE SUB "}", NULL},
	{"another issuer", "{\"iss\":\"https://issuer.example/\"" AUD TIMES NONCE SUB "}", "(iss)"},
	{"no issuer", "{\"x\":1" AUD TIMES NONCE SUB "}", "(iss)"},
	{"an issuer in a list", "{\"iss\":[\"https://issuer.example\"]" AUD TIMES NONCE SUB "}", "(iss)"},
	{"another audience", "{" ISS ",\"aud\":\"them\"" TIMES NONCE SUB "}", "(aud)"},
	{"no audience", "{" ISS TIMES NONCE SUB "}", "(aud)"},
	{"an audience that only begins with us", "{" ISS ",\"aud\":\"us2\"" TIMES NONCE SUB "}", "(aud)"},
	{"several audiences without a party", "{" ISS ",\"aud\":[\"them\",\"us\"]" TIMES NONCE SUB "}", "(azp)"},
	{"given to another", "{" ISS AUD ",\"azp\":\"them\"" TIMES NONCE SUB "}", "(azp)"},
	{"a party that is no text", "{" ISS AUD ",\"azp\":7" TIMES NONCE SUB "}", "(azp)"},
	{"expired", "{" ISS AUD ",\"iat\":1699990000,\"exp\":1699999940" NONCE SUB "}", "expired"},
	{"without an end", "{" ISS AUD ",\"iat\":1699999990" NONCE SUB "}", "when it expires"},
	{"without a begin", "{" ISS AUD ",\"exp\":1700000300" NONCE SUB "}", "when it was issued"},
	{"an end that is a text", "{" ISS AUD ",\"iat\":1699999990,\"exp\":\"1700000300\"" NONCE SUB "}", "when it expires"},
	{"an end beyond all clocks", "{" ISS AUD ",\"iat\":1699999990,\"exp\":1e300" NONCE SUB "}", "when it expires"},
	{"an end before all clocks", "{" ISS AUD ",\"iat\":1699999990,\"exp\":-1" NONCE SUB "}", "when it expires"},
	{"issued in the future", "{" ISS AUD ",\"iat\":1700000061,\"exp\":1700000300" NONCE SUB "}", "future"},
	{"not valid yet", "{" ISS AUD TIMES ",\"nbf\":1700000061" NONCE SUB "}", "future"},
	{"valid from when nobody knows", "{" ISS AUD TIMES ",\"nbf\":\"now\"" NONCE SUB "}", "future"},
	{"another nonce", "{" ISS AUD TIMES ",\"nonce\":\"n-2\"" SUB "}", "(nonce)"},
	{"no nonce", "{" ISS AUD TIMES SUB "}", "(nonce)"},
	{"nobody's", "{" ISS AUD TIMES NONCE "}", "(sub)"},
	{"an empty subject", "{" ISS AUD TIMES NONCE ",\"sub\":\"\"}", "(sub)"},
	{"a subject that is a number", "{" ISS AUD TIMES NONCE ",\"sub\":1}", "(sub)"},
	{"another access token", "{" ISS AUD TIMES NONCE SUB ",\"at_hash\":\"AAAAAAAAAAAAAAAAAAAAAA\"}", "(at_hash)"},
	{"an access token's hash that is a number", "{" ISS AUD TIMES NONCE SUB ",\"at_hash\":1}", "(at_hash)"},
	/* OpenID Connect Core A.3 uses this pair. */
	{"the access token's hash", "{" ISS AUD TIMES NONCE SUB ",\"at_hash\":\"77QmUPtjPfzWtF2AnpK9RQ\"}", NULL},
};

static void test_id_tokens(void **state)
{
	struct id_token_expected expected = {.issuer = NH_LIT("https://issuer.example"), .client_id = NH_LIT("us"), .nonce = NH_LIT("n-1"), .access_token = NH_LIT("jHkWEdUXMU1BwAsC4vtUsZwnNvTIxEl0z9K3vx5KF0Y"),
	                                     .now_us = NOW * NH_US_PER_S};
	for (size_t i = 0; i < NH_ARRAY_LEN(id_tokens); i++) {
		NH_AUTO_JSON json_t *claims = NULL;
		struct nh_err err = NH_ERR_INIT;
		assert_int_equal(nh_json_parse(nh_slice_str(id_tokens[i].claims), JWT_MAX, &claims, NULL), NH_OK);
		nh_rc rc = id_token_check(claims, NH_SIGNATURE_RS256, &expected, &err);
		if (rc != (id_tokens[i].why ? NH_EAUTH : NH_OK) || (id_tokens[i].why && !strstr(err.msg, id_tokens[i].why)))
			fail_msg("%s: %s %s", id_tokens[i].what, nh_rc_name(rc), err.msg);
		/* Ed25519 hashes with SHA-512. */
		if (strstr(id_tokens[i].claims, "77QmUPtjPfzWtF2AnpK9RQ"))
			assert_int_equal(id_token_check(claims, NH_SIGNATURE_EDDSA, &expected, NULL), NH_EAUTH);
	}
	NH_AUTO_JSON json_t *claims = NULL;
	assert_int_equal(nh_json_parse(NH_LIT("{" ISS AUD TIMES ",\"nonce\":\"\"" SUB "}"), JWT_MAX, &claims, NULL), NH_OK);
	expected.nonce = NH_SLICE_EMPTY;
	assert_int_equal(id_token_check(claims, NH_SIGNATURE_RS256, &expected, NULL), NH_EAUTH);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_vectors),
		cmocka_unit_test(test_sets),
		cmocka_unit_test(test_signatures),
		cmocka_unit_test(test_headers),
		cmocka_unit_test(test_public_key_as_secret),
		cmocka_unit_test(test_forms),
		cmocka_unit_test(test_id_tokens),
	};
	return cmocka_run_group_tests(tests, set_up, tear_down);
}
