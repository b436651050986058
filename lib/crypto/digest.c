/*
 * Digests: SHA by GnuTLS, BLAKE2b by libsodium, behind one table.
 */
#include "crypto/digest.h"

#include <gnutls/crypto.h>
#include <sodium.h>
#include <stdlib.h>

#include "base/arena.h"
#include "base/encode.h"
#include "sodium_int.h"

static const struct {
	uint8_t len;
	gnutls_digest_algorithm_t gnutls; /* GNUTLS_DIG_UNKNOWN: BLAKE2b */
} algs[] = {
	[NH_SHA1] = {20, GNUTLS_DIG_SHA1},	   [NH_SHA256] = {32, GNUTLS_DIG_SHA256},
	[NH_SHA384] = {48, GNUTLS_DIG_SHA384},	   [NH_SHA512] = {64, GNUTLS_DIG_SHA512},
	[NH_BLAKE2B_256] = {32, GNUTLS_DIG_UNKNOWN}, [NH_BLAKE2B_512] = {64, GNUTLS_DIG_UNKNOWN},
};

size_t nh_digest_len(nh_digest_alg alg)
{
	NH_ASSERT((size_t)alg < NH_ARRAY_LEN(algs));
	return algs[alg].len;
}

void nh_digest(nh_digest_alg alg, nh_slice bytes, uint8_t *out)
{
	size_t len = nh_digest_len(alg);
	const uint8_t *ptr = bytes.ptr ? bytes.ptr : (const uint8_t *)"";
	if (algs[alg].gnutls == GNUTLS_DIG_UNKNOWN) {
		nh_sodium_ready();
		NH_ASSERT(crypto_generichash(out, len, ptr, bytes.len, NULL, 0) == 0);
	} else {
		NH_ASSERT(gnutls_hash_fast(algs[alg].gnutls, ptr, bytes.len, out) == 0);
	}
}

void nh_sha256(nh_slice bytes, uint8_t out[NH_SHA256_LEN]) { nh_digest(NH_SHA256, bytes, out); }

void nh_digest_put_hex(struct nh_buf *out, nh_digest_alg alg, nh_slice bytes)
{
	uint8_t digest[NH_DIGEST_MAX];
	nh_digest(alg, bytes, digest);
	nh_hex_put(out, nh_slice_of(digest, nh_digest_len(alg)));
}

struct nh_digest_stream {
	nh_digest_alg alg;
	gnutls_hash_hd_t sha;		      /* NULL for BLAKE2b and after final */
	crypto_generichash_state *blake; /* needs 64-byte alignment, hence apart */
};

struct nh_digest_stream *nh_digest_stream_new(nh_digest_alg alg)
{
	struct nh_digest_stream *s = nh_xcalloc(1, sizeof *s);
	s->alg = alg;
	size_t len = nh_digest_len(alg);
	if (algs[alg].gnutls != GNUTLS_DIG_UNKNOWN) {
		NH_ASSERT(gnutls_hash_init(&s->sha, algs[alg].gnutls) == 0);
		return s;
	}
	nh_sodium_ready();
	size_t size = (crypto_generichash_statebytes() + 63) & ~(size_t)63;
	s->blake = aligned_alloc(64, size);
	NH_ASSERT(s->blake != NULL && crypto_generichash_init(s->blake, NULL, 0, len) == 0);
	return s;
}

void nh_digest_stream_update(struct nh_digest_stream *s, nh_slice bytes)
{
	if (bytes.len == 0)
		return;
	if (s->sha)
		NH_ASSERT(gnutls_hash(s->sha, bytes.ptr, bytes.len) == 0);
	else
		NH_ASSERT(s->blake && crypto_generichash_update(s->blake, bytes.ptr, bytes.len) == 0);
}

void nh_digest_stream_final(struct nh_digest_stream *s, uint8_t *out)
{
	if (s->sha) {
		gnutls_hash_deinit(s->sha, out);
		s->sha = NULL;
	} else {
		NH_ASSERT(s->blake && crypto_generichash_final(s->blake, out, nh_digest_len(s->alg)) == 0);
	}
}

void nh_digest_stream_free(struct nh_digest_stream *s)
{
	if (!s)
		return;
	if (s->sha)
		gnutls_hash_deinit(s->sha, NULL);
	free(s->blake);
	free(s);
}
