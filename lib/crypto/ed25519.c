/*
 * Ed25519 by libsodium, whose secret key has the same layout as fwup's: seed, then public key.
 */
#include "crypto/ed25519.h"

#include <sodium.h>

#include "crypto/secret.h"
#include "sodium_int.h"

_Static_assert(crypto_sign_SECRETKEYBYTES == NH_ED25519_SECRET_LEN, "layout");
_Static_assert(crypto_sign_PUBLICKEYBYTES == NH_ED25519_PUBLIC_LEN, "layout");
_Static_assert(crypto_sign_BYTES == NH_ED25519_SIGNATURE_LEN, "layout");
_Static_assert(crypto_sign_SEEDBYTES == NH_ED25519_SEED_LEN, "layout");

void nh_ed25519_from_seed(const uint8_t seed[NH_ED25519_SEED_LEN], uint8_t public_key[NH_ED25519_PUBLIC_LEN],
			  uint8_t secret_key[NH_ED25519_SECRET_LEN])
{
	nh_sodium_ready();
	NH_ASSERT(crypto_sign_seed_keypair(public_key, secret_key, seed) == 0);
}

void nh_ed25519_generate(const struct nh_rng *rng, uint8_t public_key[NH_ED25519_PUBLIC_LEN], uint8_t secret_key[NH_ED25519_SECRET_LEN])
{
	uint8_t seed[NH_ED25519_SEED_LEN];
	nh_rng_fill(rng, seed, sizeof seed);
	nh_ed25519_from_seed(seed, public_key, secret_key);
	nh_wipe(seed, sizeof seed);
}

bool nh_ed25519_secret_consistent(const uint8_t secret_key[NH_ED25519_SECRET_LEN])
{
	uint8_t public_key[NH_ED25519_PUBLIC_LEN], secret[NH_ED25519_SECRET_LEN];
	nh_ed25519_from_seed(secret_key, public_key, secret);
	bool same = nh_slice_eq_ct(nh_slice_of(secret, sizeof secret), nh_slice_of(secret_key, sizeof secret));
	nh_wipe(secret, sizeof secret);
	return same;
}

static const uint8_t *bytes_of(nh_slice s) { return s.ptr ? s.ptr : (const uint8_t *)""; }

void nh_ed25519_sign(const uint8_t secret_key[NH_ED25519_SECRET_LEN], nh_slice message, uint8_t signature[NH_ED25519_SIGNATURE_LEN])
{
	nh_sodium_ready();
	NH_ASSERT(crypto_sign_detached(signature, NULL, bytes_of(message), message.len, secret_key) == 0);
}

bool nh_ed25519_verify(const uint8_t public_key[NH_ED25519_PUBLIC_LEN], nh_slice message,
		       const uint8_t signature[NH_ED25519_SIGNATURE_LEN])
{
	nh_sodium_ready();
	return crypto_sign_verify_detached(signature, bytes_of(message), message.len, public_key) == 0;
}
