/*
 * Message digests, one-shot and streaming. SHA by GnuTLS (fast on uploads), BLAKE2b by libsodium (fwup's file hash). thread: any; a stream
 * belongs to one thread at a time. No function fails: an algorithm the library lacks is a broken installation and asserts.
 */
#pragma once

#include "base/buf.h"

typedef enum nh_digest_alg {
	NH_SHA1, /* names of things only (certificate fingerprints), never security */
	NH_SHA256,
	NH_SHA384,
	NH_SHA512,
	NH_BLAKE2B_256,
	NH_BLAKE2B_512,
} nh_digest_alg;

#define NH_DIGEST_MAX 64
#define NH_SHA1_LEN 20
#define NH_SHA256_LEN 32
#define NH_SHA512_LEN 64
#define NH_BLAKE2B_256_LEN 32

size_t nh_digest_len(nh_digest_alg alg); /* bytes of the result */

/* nh_digest - out has room for nh_digest_len(alg) bytes. */
void nh_digest(nh_digest_alg alg, nh_slice bytes, uint8_t *out);
void nh_sha256(nh_slice bytes, uint8_t out[NH_SHA256_LEN]);
void nh_digest_put_hex(struct nh_buf *out, nh_digest_alg alg, nh_slice bytes); /* appends the digest in lower-case hex */

struct nh_digest_stream;
/* The same piece by piece: new (never NULL), any number of updates, final once, free. */
struct nh_digest_stream *nh_digest_stream_new(nh_digest_alg alg);
void nh_digest_stream_update(struct nh_digest_stream *s, nh_slice bytes);
/* Writes nh_digest_len bytes; afterwards only free is legal. */
void nh_digest_stream_final(struct nh_digest_stream *s, uint8_t *out);
void nh_digest_stream_free(struct nh_digest_stream *s); /* NULL is legal */
