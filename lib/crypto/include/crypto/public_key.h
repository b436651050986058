/*
 * Public keys that come as plain numbers (JSON Web Keys), and whether one of them made a signature. Four algorithms, each bound to its kind of key: whoever chooses
 * the algorithm (a stranger's token does) cannot make a key do another's work.
 *
 * A key is immutable once made. thread: any.
 * source: RFC 7518 "3.3" "3.4" "3.5" "6", RFC 8037 "2" "3.1"
 */
#pragma once

#include "base/err.h"
#include "base/slice.h"

struct nh_public_key;

typedef enum nh_signature_alg {
	NH_SIGNATURE_RS256, /* RSA PKCS#1 v1.5, SHA-256 */
	NH_SIGNATURE_PS256, /* RSA-PSS, SHA-256, salt of 32 bytes */
	NH_SIGNATURE_ES256, /* ECDSA on P-256, SHA-256; the signature is r and s, 32 bytes each */
	NH_SIGNATURE_EDDSA, /* Ed25519 */
} nh_signature_alg;

#define NH_RSA_MIN_BITS 2048u
#define NH_RSA_MAX_BITS 8192u

/*
 * Makes a key; numbers are big-endian. NH_EFORMAT: not a key of the kind (size, point not on the curve, even modulus or exponent). NH_EPERM: an RSA key of less than NH_RSA_MIN_BITS.
 * NH_ETOOBIG: of more than NH_RSA_MAX_BITS. *out: nh_public_key_free.
 */
nh_rc nh_public_key_new_rsa(nh_slice modulus, nh_slice exponent, struct nh_public_key **out, struct nh_err *err);
nh_rc nh_public_key_new_p256(nh_slice x, nh_slice y, struct nh_public_key **out, struct nh_err *err);     /* 32 bytes each */
nh_rc nh_public_key_new_ed25519(nh_slice point, struct nh_public_key **out, struct nh_err *err);          /* 32 bytes */
void nh_public_key_free(struct nh_public_key *key);                                                       /* NULL legal */

/* nh_public_key_fits - is alg one that this kind of key makes? */
bool nh_public_key_fits(const struct nh_public_key *key, nh_signature_alg alg);
/* nh_public_key_verify - NH_OK, or NH_EAUTH: the signature is not this key's over data, or alg is not the key's. About 0.1 ms. */
nh_rc nh_public_key_verify(const struct nh_public_key *key, nh_signature_alg alg, nh_slice data, nh_slice signature, struct nh_err *err);
