/*
 * P-256 on nettle and hogweed. Every secret number that passes through GMP is overwritten before its memory goes back; what GMP copies on its own while computing stays on its heap, which
 * nettle's own constant-time functions (everything with a private key here is one) keep to scratch memory.
 * source: FIPS 186-4, SEC 1
 */
#include "atecc/p256.h"

#include <nettle/bignum.h>
#include <nettle/ecc-curve.h>
#include <nettle/ecc.h>
#include <nettle/ecdsa.h>
#include <nettle/sha1.h>
#include <nettle/sha2.h>

/* Takes the 32 bytes at from into number, which the caller clears with number_wipe. */
static void number_init(mpz_t number, const uint8_t *from)
{
	nettle_mpz_init_set_str_256_u(number, NH_P256_LEN, from);
}

static void number_wipe(mpz_t number)
{
	size_t limbs = mpz_size(number);
	if (limbs)
		explicit_bzero(mpz_limbs_modify(number, (mp_size_t)limbs), limbs * sizeof(mp_limb_t));
	mpz_clear(number);
}

static void scalar_fini(struct ecc_scalar *scalar)
{
	explicit_bzero(scalar->p, NH_P256_LEN);
	ecc_scalar_clear(scalar);
}

/* false: zero or not below the order; nothing to clear then. */
static bool scalar_init(struct ecc_scalar *scalar, const uint8_t bytes[NH_P256_LEN])
{
	mpz_t number;
	number_init(number, bytes);
	ecc_scalar_init(scalar, nettle_get_secp_256r1());
	bool ok = ecc_scalar_set(scalar, number) == 1;
	number_wipe(number);
	if (!ok)
		scalar_fini(scalar);
	return ok;
}

/* false: not on the curve; nothing to clear then. */
static bool point_init(struct ecc_point *point, const uint8_t bytes[NH_P256_PUBLIC_LEN])
{
	mpz_t x, y;
	number_init(x, bytes);
	number_init(y, bytes + NH_P256_LEN);
	ecc_point_init(point, nettle_get_secp_256r1());
	bool ok = ecc_point_set(point, x, y) == 1;
	mpz_clear(x);
	mpz_clear(y);
	if (!ok)
		ecc_point_clear(point);
	return ok;
}

/* x and y (NULL: not wanted) of a point. */
static void point_get(const struct ecc_point *point, uint8_t x_out[NH_P256_LEN], uint8_t *y_out)
{
	mpz_t x, y;
	mpz_inits(x, y, NULL);
	ecc_point_get(point, x, y);
	nettle_mpz_get_str_256(NH_P256_LEN, x_out, x);
	if (y_out)
		nettle_mpz_get_str_256(NH_P256_LEN, y_out, y);
	number_wipe(x);
	number_wipe(y);
}

void nh_p256_key_wipe(struct nh_p256_key *key) { explicit_bzero(key, sizeof *key); }

nh_rc nh_p256_from_scalar(const uint8_t scalar[NH_P256_LEN], struct nh_p256_key *out)
{
	struct ecc_scalar number;
	struct ecc_point point;
	if (!scalar_init(&number, scalar)) {
		*out = (struct nh_p256_key){0};
		return NH_EINVAL;
	}
	ecc_point_init(&point, nettle_get_secp_256r1());
	ecc_point_mul_g(&point, &number);
	memmove(out->scalar, scalar, NH_P256_LEN); /* the caller may pass out's own */
	point_get(&point, out->public_key, out->public_key + NH_P256_LEN);
	ecc_point_clear(&point);
	scalar_fini(&number);
	return NH_OK;
}

void nh_p256_generate(const struct nh_rng *rng, struct nh_p256_key *out)
{
	uint8_t scalar[NH_P256_LEN];
	/* One in 2^32 candidates is not below the order. */
	do
		nh_rng_fill(rng, scalar, sizeof scalar);
	while (nh_p256_from_scalar(scalar, out) != NH_OK);
	explicit_bzero(scalar, sizeof scalar);
}

nh_rc nh_p256_public_check(const uint8_t public_key[NH_P256_PUBLIC_LEN])
{
	struct ecc_point point;
	if (!point_init(&point, public_key))
		return NH_EINVAL;
	ecc_point_clear(&point);
	return NH_OK;
}

static void random_from_rng(void *ctx, size_t len, uint8_t *out)
{
	nh_rng_fill(ctx, out, len);
}

void nh_p256_sign(const struct nh_p256_key *key, nh_slice digest, const struct nh_rng *rng, uint8_t signature[NH_P256_SIGNATURE_LEN])
{
	struct ecc_scalar scalar;
	struct dsa_signature result;
	struct nh_rng source = *rng;
	nh_slice left = nh_slice_sub(digest, 0, NH_P256_LEN);
	NH_ASSERT(scalar_init(&scalar, key->scalar)); /* every way to a key of this type has checked it */
	dsa_signature_init(&result);
	ecdsa_sign(&scalar, &source, random_from_rng, left.len, left.ptr, &result);
	nettle_mpz_get_str_256(NH_P256_LEN, signature, result.r);
	nettle_mpz_get_str_256(NH_P256_LEN, signature + NH_P256_LEN, result.s);
	dsa_signature_clear(&result);
	scalar_fini(&scalar);
}

nh_rc nh_p256_verify(const uint8_t public_key[NH_P256_PUBLIC_LEN], nh_slice digest, const uint8_t signature[NH_P256_SIGNATURE_LEN])
{
	struct ecc_point point;
	struct dsa_signature given;
	nh_slice left = nh_slice_sub(digest, 0, NH_P256_LEN);
	if (!point_init(&point, public_key))
		return NH_EINVAL;
	dsa_signature_init(&given);
	nettle_mpz_set_str_256_u(given.r, NH_P256_LEN, signature);
	nettle_mpz_set_str_256_u(given.s, NH_P256_LEN, signature + NH_P256_LEN);
	bool ok = ecdsa_verify(&point, left.len, left.ptr, &given) == 1;
	dsa_signature_clear(&given);
	ecc_point_clear(&point);
	return ok ? NH_OK : NH_EAUTH;
}

nh_rc nh_p256_ecdh(const struct nh_p256_key *key, const uint8_t peer[NH_P256_PUBLIC_LEN], uint8_t shared[NH_P256_LEN])
{
	struct ecc_scalar scalar;
	struct ecc_point point, product;
	if (!point_init(&point, peer))
		return NH_EINVAL;
	NH_ASSERT(scalar_init(&scalar, key->scalar));
	ecc_point_init(&product, nettle_get_secp_256r1());
	ecc_point_mul(&product, &scalar, &point);
	point_get(&product, shared, NULL);
	explicit_bzero(product.p, (size_t)2 * NH_P256_LEN);
	ecc_point_clear(&product);
	ecc_point_clear(&point);
	scalar_fini(&scalar);
	return NH_OK;
}

void nh_p256_sha256(nh_slice bytes, uint8_t out[32])
{
	struct sha256_ctx ctx;
	sha256_init(&ctx);
	sha256_update(&ctx, bytes.len, bytes.ptr);
	sha256_digest(&ctx, SHA256_DIGEST_SIZE, out);
	explicit_bzero(&ctx, sizeof ctx);
}

void nh_p256_sha1(nh_slice bytes, uint8_t out[20])
{
	struct sha1_ctx ctx;
	sha1_init(&ctx);
	sha1_update(&ctx, bytes.len, bytes.ptr);
	sha1_digest(&ctx, SHA1_DIGEST_SIZE, out);
	explicit_bzero(&ctx, sizeof ctx);
}
