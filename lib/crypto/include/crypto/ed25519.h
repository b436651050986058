/*
 * Ed25519 (RFC 8032) in the raw forms that fwup and NervesHub use: public key 32 bytes, private key 64 bytes = seed || public key,
 * signature 64 bytes over the plain message. thread: any.
 */
#pragma once

#include "base/rng.h"
#include "base/slice.h"

#define NH_ED25519_SEED_LEN 32
#define NH_ED25519_PUBLIC_LEN 32
#define NH_ED25519_SECRET_LEN 64
#define NH_ED25519_SIGNATURE_LEN 64

/* nh_ed25519_from_seed - the key pair of a seed (RFC 8032 5.1.5). */
void nh_ed25519_from_seed(const uint8_t seed[NH_ED25519_SEED_LEN], uint8_t public_key[NH_ED25519_PUBLIC_LEN],
			  uint8_t secret_key[NH_ED25519_SECRET_LEN]);
/* rng must be a cryptographic one (nh_rng_system) outside tests */
void nh_ed25519_generate(const struct nh_rng *rng, uint8_t public_key[NH_ED25519_PUBLIC_LEN], uint8_t secret_key[NH_ED25519_SECRET_LEN]);
/* true where the secret's second half is the public key of its first half */
bool nh_ed25519_secret_consistent(const uint8_t secret_key[NH_ED25519_SECRET_LEN]);
void nh_ed25519_sign(const uint8_t secret_key[NH_ED25519_SECRET_LEN], nh_slice message, uint8_t signature[NH_ED25519_SIGNATURE_LEN]);
/* true where the signature is this key's over the whole message; small-order keys and non-canonical signatures are refused */
bool nh_ed25519_verify(const uint8_t public_key[NH_ED25519_PUBLIC_LEN], nh_slice message,
		       const uint8_t signature[NH_ED25519_SIGNATURE_LEN]);
