/*
 * An issuer's keys and tokens, made straight with the TLS library: the test's own hand, which can also write what no issuer would.
 */
#pragma once

#include <gnutls/abstract.h>
#include <gnutls/crypto.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/arena.h"
#include "base/encode.h"
#include "crypto/public_key.h"

struct token_key {
	gnutls_privkey_t key;
	nh_signature_alg alg;
	const char *id;
};

static const struct {
	const char *name;
	gnutls_pk_algorithm_t kind;
	unsigned bits;
	gnutls_sign_algorithm_t sign;
} token_algs[] = {
	[NH_SIGNATURE_RS256] = {"RS256", GNUTLS_PK_RSA, 2048, GNUTLS_SIGN_RSA_SHA256},
	[NH_SIGNATURE_PS256] = {"PS256", GNUTLS_PK_RSA, 2048, GNUTLS_SIGN_RSA_PSS_RSAE_SHA256},
	[NH_SIGNATURE_ES256] = {"ES256", GNUTLS_PK_ECDSA, GNUTLS_CURVE_TO_BITS(GNUTLS_ECC_CURVE_SECP256R1), GNUTLS_SIGN_ECDSA_SHA256},
	[NH_SIGNATURE_EDDSA] = {"EdDSA", GNUTLS_PK_EDDSA_ED25519, 256, GNUTLS_SIGN_EDDSA_ED25519},
};

static inline struct token_key token_key_new(nh_signature_alg alg, unsigned bits, const char *id)
{
	struct token_key k = {.alg = alg, .id = id};
	assert_int_equal(gnutls_privkey_init(&k.key), 0);
	assert_int_equal(gnutls_privkey_generate(k.key, token_algs[alg].kind, bits ? bits : token_algs[alg].bits, 0), 0);
	return k;
}

static inline nh_slice token_b64(struct nh_arena *arena, nh_slice bytes)
{
	NH_AUTO_BUF struct nh_buf out = NH_BUF_INIT;
	nh_b64_put(&out, bytes, NH_B64_URL_NOPAD);
	return nh_arena_copy(arena, nh_buf_slice(&out));
}

/* A number without the sign byte that the library may write in front, filled up to len. */
static inline nh_slice token_number(struct nh_arena *arena, const gnutls_datum_t *d, size_t len)
{
	nh_slice s = nh_slice_of(d->data, d->size);
	while (s.len > len)
		s = nh_slice_skip(s, 1);
	uint8_t *out = nh_arena_alloc(arena, len);
	memcpy(out + (len - s.len), s.ptr, s.len);
	return nh_slice_of(out, len);
}

/* The public half as a JSON Web Key; more: further members, each with a comma in front. */
static inline const char *token_jwk(struct nh_arena *arena, const struct token_key *k, const char *more)
{
	gnutls_datum_t a = {0}, b = {0};
	char *out;
	if (token_algs[k->alg].kind == GNUTLS_PK_RSA) {
		assert_int_equal(gnutls_privkey_export_rsa_raw2(k->key, &a, &b, NULL, NULL, NULL, NULL, NULL, NULL, GNUTLS_EXPORT_FLAG_NO_LZ), 0);
		nh_slice n = token_b64(arena, nh_slice_of(a.data, a.size)), e = token_b64(arena, nh_slice_of(b.data, b.size));
		out = nh_arena_printf(arena, "{\"kty\":\"RSA\",\"kid\":\"%s\",\"n\":\"%.*s\",\"e\":\"%.*s\"%s}", k->id, NH_ARG(n), NH_ARG(e), more);
	} else if (k->alg == NH_SIGNATURE_ES256) {
		assert_int_equal(gnutls_privkey_export_ecc_raw2(k->key, NULL, &a, &b, NULL, GNUTLS_EXPORT_FLAG_NO_LZ), 0);
		nh_slice x = token_b64(arena, token_number(arena, &a, 32)), y = token_b64(arena, token_number(arena, &b, 32));
		out = nh_arena_printf(arena, "{\"kty\":\"EC\",\"crv\":\"P-256\",\"kid\":\"%s\",\"x\":\"%.*s\",\"y\":\"%.*s\"%s}", k->id, NH_ARG(x), NH_ARG(y), more);
	} else {
		assert_int_equal(gnutls_privkey_export_ecc_raw2(k->key, NULL, &a, NULL, NULL, 0), 0);
		nh_slice x = token_b64(arena, nh_slice_of(a.data, a.size));
		out = nh_arena_printf(arena, "{\"kty\":\"OKP\",\"crv\":\"Ed25519\",\"kid\":\"%s\",\"x\":\"%.*s\"%s}", k->id, NH_ARG(x), more);
	}
	gnutls_free(a.data);
	gnutls_free(b.data);
	return out;
}

static inline nh_slice token_signature(struct nh_arena *arena, const struct token_key *k, nh_slice text)
{
	gnutls_datum_t data = {(unsigned char *)(uintptr_t)text.ptr, (unsigned)text.len}, s = {0}, r1 = {0}, r2 = {0};
	nh_slice out;
	assert_int_equal(gnutls_privkey_sign_data2(k->key, token_algs[k->alg].sign, 0, &data, &s), 0);
	if (k->alg == NH_SIGNATURE_ES256) {
		assert_int_equal(gnutls_decode_rs_value(&s, &r1, &r2), 0);
		nh_slice a = token_number(arena, &r1, 32), b = token_number(arena, &r2, 32);
		uint8_t *both = nh_arena_alloc(arena, 64);
		memcpy(both, a.ptr, 32);
		memcpy(both + 32, b.ptr, 32);
		out = nh_slice_of(both, 64);
		gnutls_free(r1.data);
		gnutls_free(r2.data);
	} else {
		out = nh_arena_copy(arena, nh_slice_of(s.data, s.size));
	}
	gnutls_free(s.data);
	return out;
}

/* header NULL: the usual one. */
static inline const char *token_sign(struct nh_arena *arena, const struct token_key *k, const char *header, const char *claims)
{
	if (!header)
		header = nh_arena_printf(arena, "{\"alg\":\"%s\",\"kid\":\"%s\"}", token_algs[k->alg].name, k->id);
	nh_slice head = token_b64(arena, nh_slice_str(header)), body = token_b64(arena, nh_slice_str(claims));
	char *text = nh_arena_printf(arena, "%.*s.%.*s", NH_ARG(head), NH_ARG(body));
	nh_slice sign = token_b64(arena, token_signature(arena, k, nh_slice_str(text)));
	return nh_arena_printf(arena, "%s.%.*s", text, NH_ARG(sign));
}
