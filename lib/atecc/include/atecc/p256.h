/*
 * Everything on P-256 that happens on the host, and what the simulated chip computes: keys, ECDSA, ECDH, key files. nettle and hogweed behind a handful of functions; nothing here
 * may bring GnuTLS into the process, since the PKCS#11 module lives in programs with TLS libraries of their own.
 *
 * Scalars and coordinates are 32 bytes big-endian; a public key is X‖Y (64 bytes), a signature r‖s (64 bytes). thread: any.
 * source: reference/nerveskey "8.3", "9"; FIPS 186-4, SEC 1
 */
#pragma once

#include "base/buf.h"
#include "base/rng.h"

#define NH_P256_LEN 32u
#define NH_P256_PUBLIC_LEN 64u
#define NH_P256_SIGNATURE_LEN 64u
#define NH_P256_SPKI_LEN 91u

struct nh_p256_key {
	uint8_t scalar[NH_P256_LEN]; /* secret: wipe with nh_p256_key_wipe */
	uint8_t public_key[NH_P256_PUBLIC_LEN];
};
void nh_p256_key_wipe(struct nh_p256_key *key);

/* nh_p256_generate - a new key from rng's bytes. */
void nh_p256_generate(const struct nh_rng *rng, struct nh_p256_key *out);
/* nh_p256_from_scalar - NH_EINVAL: zero or not below the group's order. */
nh_rc nh_p256_from_scalar(const uint8_t scalar[NH_P256_LEN], struct nh_p256_key *out);
/* NH_OK, or NH_EINVAL where the point is not on the curve. */
nh_rc nh_p256_public_check(const uint8_t public_key[NH_P256_PUBLIC_LEN]);

/* digest: any length; the leftmost 32 bytes count, a shorter one is padded with zeros in front. source: reference/nerveskey "14.4" */
void nh_p256_sign(const struct nh_p256_key *key, nh_slice digest, const struct nh_rng *rng, uint8_t signature[NH_P256_SIGNATURE_LEN]);
/* NH_OK; NH_EAUTH: does not verify; NH_EINVAL: the key is not a point of the curve. */
nh_rc nh_p256_verify(const uint8_t public_key[NH_P256_PUBLIC_LEN], nh_slice digest, const uint8_t signature[NH_P256_SIGNATURE_LEN]);
/* The shared X coordinate. NH_EINVAL: peer not on the curve. */
nh_rc nh_p256_ecdh(const struct nh_p256_key *key, const uint8_t peer[NH_P256_PUBLIC_LEN], uint8_t shared[NH_P256_LEN]);

/* SEQUENCE of two minimal INTEGERs (trap 5), 8 to 72 bytes; and back: NH_EFORMAT for anything not minimal, over 256 bits, or followed by bytes. */
void nh_p256_signature_put_der(struct nh_buf *out, const uint8_t signature[NH_P256_SIGNATURE_LEN]);
nh_rc nh_p256_signature_parse_der(nh_slice der, uint8_t signature[NH_P256_SIGNATURE_LEN]);

/* SubjectPublicKeyInfo, uncompressed, named curve. Parse: NH_EFORMAT, NH_EUNSUPPORTED (another key type or curve), NH_EINVAL (not on the curve). */
void nh_p256_spki_put(struct nh_buf *out, const uint8_t public_key[NH_P256_PUBLIC_LEN]);
nh_rc nh_p256_spki_parse(nh_slice der, uint8_t public_key[NH_P256_PUBLIC_LEN]);

/* Key files: SEC1 "EC PRIVATE KEY" with parameters and public key is written; SEC1 and PKCS#8 are read, an "EC PARAMETERS" block in front is skipped.
 * NH_EFORMAT, NH_EUNSUPPORTED (another kind of key, encrypted), NH_EINVAL (public key in the file is not the scalar's). */
void nh_p256_key_put_pem(struct nh_buf *out, const struct nh_p256_key *key);
nh_rc nh_p256_key_parse_pem(nh_slice pem, struct nh_p256_key *out, struct nh_err *err);

/* Digests. */
void nh_p256_sha256(nh_slice bytes, uint8_t out[32]);
void nh_p256_sha1(nh_slice bytes, uint8_t out[20]);
