/*
 * Sets of public keys as issuers publish them. What cannot check a token is passed over; how an `alg` is written stands in the table that jwt.c reads, too.
 */
#include "jwt_int.h"

#include <stdlib.h>

#include "base/encode.h"

static const char *const names[] = {
	[NH_SIGNATURE_RS256] = "RS256",
	[NH_SIGNATURE_PS256] = "PS256",
	[NH_SIGNATURE_ES256] = "ES256",
	[NH_SIGNATURE_EDDSA] = "EdDSA",
};

bool jws_alg_parse(nh_slice name, nh_signature_alg *out)
{
	for (size_t i = 0; i < NH_ARRAY_LEN(names); i++) {
		if (nh_slice_eq_str(name, names[i])) {
			*out = (nh_signature_alg)i;
			return true;
		}
	}
	return false;
}

/* ---- one key ----------------------------------------------------------------------------------------------------------------- */

#define NUMBER_MAX (NH_RSA_MAX_BITS / 8 + 1)

static nh_rc number(const json_t *jwk, const char *name, struct nh_buf *out)
{
	out->max = NUMBER_MAX;
	NH_TRY(nh_b64_decode(nh_json_text(jwk, name), NH_B64_URL_NOPAD, out));
	return nh_buf_ok(out) ? NH_OK : NH_ETOOBIG;
}

static nh_rc pair(const json_t *jwk, const char *first, const char *second, nh_rc (*make)(nh_slice, nh_slice, struct nh_public_key **, struct nh_err *), struct nh_public_key **out)
{
	NH_AUTO_BUF struct nh_buf a = NH_BUF_INIT, b = NH_BUF_INIT;
	NH_TRY(number(jwk, first, &a));
	NH_TRY(number(jwk, second, &b));
	return make(nh_buf_slice(&a), nh_buf_slice(&b), out, NULL);
}

static nh_rc make_rsa(const json_t *jwk, struct nh_public_key **out) { return pair(jwk, "n", "e", nh_public_key_new_rsa, out); }
static nh_rc make_p256(const json_t *jwk, struct nh_public_key **out) { return pair(jwk, "x", "y", nh_public_key_new_p256, out); }

static nh_rc make_ed25519(const json_t *jwk, struct nh_public_key **out)
{
	NH_AUTO_BUF struct nh_buf x = NH_BUF_INIT;
	NH_TRY(number(jwk, "x", &x));
	return nh_public_key_new_ed25519(nh_buf_slice(&x), out, NULL);
}

static const struct {
	const char *kty, *crv;
	nh_rc (*make)(const json_t *jwk, struct nh_public_key **out);
} kinds[] = {
	{"RSA", "", make_rsa},
	{"EC", "P-256", make_p256},
	{"OKP", "Ed25519", make_ed25519},
};

static nh_rc make_key(const json_t *jwk, struct nh_public_key **out)
{
	for (size_t i = 0; i < NH_ARRAY_LEN(kinds); i++)
		if (nh_slice_eq_str(nh_json_text(jwk, "kty"), kinds[i].kty) && nh_slice_eq_str(nh_json_text(jwk, "crv"), kinds[i].crv))
			return kinds[i].make(jwk, out);
	return NH_EUNSUPPORTED;
}

/* false: of no use to us. */
static bool read_key(const json_t *jwk, struct jwk *out)
{
	nh_slice use = nh_json_text(jwk, "use"), alg = nh_json_text(jwk, "alg");
	if (use.len > 0 && !nh_slice_eq_str(use, "sig"))
		return false;
	*out = (struct jwk){.bound = alg.len > 0};
	if (out->bound && !jws_alg_parse(alg, &out->alg))
		return false;
	if (make_key(jwk, &out->key) != NH_OK)
		return false;
	if (out->bound && !nh_public_key_fits(out->key, out->alg)) {
		nh_public_key_free(out->key);
		return false;
	}
	out->id = nh_xstrdup(nh_json_text(jwk, "kid"));
	return true;
}

/* ---- sets -------------------------------------------------------------------------------------------------------------------- */

nh_rc jwks_parse(nh_slice text, struct jwks **out, struct nh_err *err)
{
	NH_AUTO_JSON json_t *document = NULL;
	size_t i;
	json_t *jwk;
	*out = NULL;
	NH_TRY(nh_json_parse(text, JWKS_MAX, &document, err));
	const json_t *keys = json_object_get(document, "keys");
	if (!json_is_array(keys))
		return NH_FAIL(err, NH_EFORMAT, "not a set of keys: no array named keys");
	struct jwks *set = nh_xcalloc(1, sizeof *set);
	set->refs = 1;
	json_array_foreach(keys, i, jwk) {
		struct jwk key;
		if (!json_is_object(jwk) || !read_key(jwk, &key))
			continue;
		if (set->count == JWKS_KEYS_MAX) {
			nh_public_key_free(key.key);
			free(key.id);
			jwks_unref(set);
			return NH_FAIL(err, NH_ETOOBIG, "a set of more than %d keys", JWKS_KEYS_MAX);
		}
		set->keys[set->count++] = key;
	}
	*out = set;
	return NH_OK;
}

struct jwks *jwks_ref(struct jwks *set)
{
	__atomic_add_fetch(&set->refs, 1, __ATOMIC_RELAXED);
	return set;
}

void jwks_unref(struct jwks *set)
{
	if (!set || __atomic_sub_fetch(&set->refs, 1, __ATOMIC_ACQ_REL) > 0)
		return;
	for (size_t i = 0; i < set->count; i++) {
		nh_public_key_free(set->keys[i].key);
		free(set->keys[i].id);
	}
	free(set);
}
