/*
 * HMAC (RFC 2104) and PBKDF2-HMAC (RFC 8018) with SHA-256, SHA-384, SHA-512. thread: any.
 * Compare results with nh_slice_eq_ct.  source: reference/device-protocol "6.3" "6.4", reference/user-api-and-cli "18.4"
 */
#pragma once

#include "crypto/digest.h"

/* nh_hmac - alg one of NH_SHA256, NH_SHA384, NH_SHA512, or NH_SHA1, which one-time codes are made with (RFC 6238); out has room for nh_digest_len(alg). */
void nh_hmac(nh_digest_alg alg, nh_slice key, nh_slice message, uint8_t *out);

/* nh_digest_alg_parse - "sha256" "sha384" "sha512" in any letter case; false otherwise. */
bool nh_digest_alg_parse(nh_slice name, nh_digest_alg *out);

#define NH_PBKDF2_MAX_ITERATIONS 10000000u
#define NH_PBKDF2_MAX_LEN 1024u

/*
 * nh_pbkdf2 - derives out_len bytes. alg as nh_hmac, but not NH_SHA1. The caller bounds what a peer chooses (iterations cost CPU: run large counts on a worker).
 * NH_EINVAL: iterations 0 or over NH_PBKDF2_MAX_ITERATIONS, out_len 0 or over NH_PBKDF2_MAX_LEN, another algorithm; out is untouched.
 */
nh_rc nh_pbkdf2(nh_digest_alg alg, nh_slice password, nh_slice salt, uint32_t iterations, uint8_t *out, size_t out_len);
