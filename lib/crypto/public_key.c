/*
 * Public keys from plain numbers, by GnuTLS. Which algorithm a kind of key may be asked for stands in one table; ECDSA signatures are turned from the fixed form of
 * JSON Web Signatures into the DER form that the library reads.
 */
#include "crypto/public_key.h"

#include <gnutls/crypto.h>
#include <stdlib.h>

#include "x509_int.h"

typedef enum key_kind { RSA, P256, ED25519 } key_kind;

struct nh_public_key {
	key_kind kind;
	gnutls_pubkey_t pub;
};

#define COORDINATE_LEN 32u

static const struct {
	key_kind kind;
	gnutls_sign_algorithm_t sign;
} algorithms[] = {
	[NH_SIGNATURE_RS256] = {RSA, GNUTLS_SIGN_RSA_SHA256},
	[NH_SIGNATURE_PS256] = {RSA, GNUTLS_SIGN_RSA_PSS_RSAE_SHA256},
	[NH_SIGNATURE_ES256] = {P256, GNUTLS_SIGN_ECDSA_SHA256},
	[NH_SIGNATURE_EDDSA] = {ED25519, GNUTLS_SIGN_EDDSA_ED25519},
};

static struct nh_public_key *key_new(key_kind kind)
{
	struct nh_public_key *key = nh_xcalloc(1, sizeof *key);
	key->kind = kind;
	NH_ASSERT(gnutls_pubkey_init(&key->pub) == 0);
	return key;
}

/* Hands the key over, or says that the library did not take its numbers. */
static nh_rc key_made(struct nh_public_key *key, int rc, const char *what, struct nh_public_key **out, struct nh_err *err)
{
	if (rc == 0) {
		*out = key;
		return NH_OK;
	}
	nh_public_key_free(key);
	return NH_FAIL(err, NH_EFORMAT, "not %s public key: %s", what, gnutls_strerror(rc));
}

static size_t bits_of(nh_slice number)
{
	return number.len == 0 ? 0 : number.len * 8 - (size_t)__builtin_clz(number.ptr[0]) + 24;
}

static nh_slice without_zeros(nh_slice number)
{
	while (number.len > 0 && number.ptr[0] == 0)
		number = nh_slice_skip(number, 1);
	return number;
}

nh_rc nh_public_key_new_rsa(nh_slice modulus, nh_slice exponent, struct nh_public_key **out, struct nh_err *err)
{
	*out = NULL;
	modulus = without_zeros(modulus);
	exponent = without_zeros(exponent);
	size_t bits = bits_of(modulus);
	if (bits > NH_RSA_MAX_BITS)
		return NH_FAIL(err, NH_ETOOBIG, "an RSA key of %zu bits; at most %u are accepted", bits, NH_RSA_MAX_BITS);
	/* An exponent that is large costs time, an even or small one is no key's. */
	bool odd = bits > 0 && (modulus.ptr[modulus.len - 1] & 1) && exponent.len > 0 && exponent.len <= 4 && (exponent.ptr[exponent.len - 1] & 1);
	if (!odd || (exponent.len == 1 && exponent.ptr[0] < 3))
		return NH_FAIL(err, NH_EFORMAT, "not an RSA public key");
	if (bits < NH_RSA_MIN_BITS)
		return NH_FAIL(err, NH_EPERM, "an RSA key of %zu bits; at least %u are needed", bits, NH_RSA_MIN_BITS);
	struct nh_public_key *key = key_new(RSA);
	gnutls_datum_t m = nh_datum(modulus), e = nh_datum(exponent);
	return key_made(key, gnutls_pubkey_import_rsa_raw(key->pub, &m, &e), "an RSA", out, err);
}

nh_rc nh_public_key_new_p256(nh_slice x, nh_slice y, struct nh_public_key **out, struct nh_err *err)
{
	*out = NULL;
	if (x.len != COORDINATE_LEN || y.len != COORDINATE_LEN)
		return NH_FAIL(err, NH_EFORMAT, "not a P-256 public key: coordinates of %zu and %zu bytes instead of %u", x.len, y.len, COORDINATE_LEN);
	struct nh_public_key *key = key_new(P256);
	gnutls_datum_t dx = nh_datum(x), dy = nh_datum(y);
	int rc = gnutls_pubkey_import_ecc_raw(key->pub, GNUTLS_ECC_CURVE_SECP256R1, &dx, &dy);
	/* Only this asks whether the point lies on the curve. */
	rc = rc ? rc : gnutls_pubkey_verify_params(key->pub);
	return key_made(key, rc, "a P-256", out, err);
}

nh_rc nh_public_key_new_ed25519(nh_slice point, struct nh_public_key **out, struct nh_err *err)
{
	*out = NULL;
	if (point.len != COORDINATE_LEN)
		return NH_FAIL(err, NH_EFORMAT, "not an Ed25519 public key: %zu bytes instead of %u", point.len, COORDINATE_LEN);
	struct nh_public_key *key = key_new(ED25519);
	gnutls_datum_t d = nh_datum(point);
	return key_made(key, gnutls_pubkey_import_ecc_raw(key->pub, GNUTLS_ECC_CURVE_ED25519, &d, NULL), "an Ed25519", out, err);
}

void nh_public_key_free(struct nh_public_key *key)
{
	if (!key)
		return;
	gnutls_pubkey_deinit(key->pub);
	free(key);
}

bool nh_public_key_fits(const struct nh_public_key *key, nh_signature_alg alg) { return algorithms[alg].kind == key->kind; }

static int verify_p256(const struct nh_public_key *key, gnutls_datum_t *data, nh_slice signature)
{
	gnutls_datum_t der = {0}, r = nh_datum(nh_slice_sub(signature, 0, COORDINATE_LEN)), s = nh_datum(nh_slice_skip(signature, COORDINATE_LEN));
	if (signature.len != 2 * (size_t)COORDINATE_LEN)
		return GNUTLS_E_PK_SIG_VERIFY_FAILED;
	int rc = gnutls_encode_rs_value(&der, &r, &s);
	if (rc == 0)
		rc = gnutls_pubkey_verify_data2(key->pub, algorithms[NH_SIGNATURE_ES256].sign, 0, data, &der);
	gnutls_free(der.data);
	return rc;
}

nh_rc nh_public_key_verify(const struct nh_public_key *key, nh_signature_alg alg, nh_slice data, nh_slice signature, struct nh_err *err)
{
	gnutls_datum_t d = nh_datum(data), s = nh_datum(signature);
	if (!nh_public_key_fits(key, alg) || signature.len == 0)
		return NH_FAIL(err, NH_EAUTH, "the signature's algorithm is not that of the key");
	int rc = alg == NH_SIGNATURE_ES256 ? verify_p256(key, &d, signature) : gnutls_pubkey_verify_data2(key->pub, algorithms[alg].sign, 0, &d, &s);
	return rc >= 0 ? NH_OK : NH_FAIL(err, NH_EAUTH, "the signature does not fit: %s", gnutls_strerror(rc));
}
