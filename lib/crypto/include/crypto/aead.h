/*
 * AES-256-GCM with 12-byte nonce and 16-byte tag (NIST SP 800-38D). thread: any.
 * A nonce must never repeat under one key: take it from nh_rng_system.  source: reference/user-api-and-cli "18.4"
 */
#pragma once

#include "base/buf.h"

#define NH_AEAD_KEY_LEN 32
#define NH_AEAD_NONCE_LEN 12
#define NH_AEAD_TAG_LEN 16

/* nh_aead_seal - appends the ciphertext (as long as plain, at most 16 MiB) to out and writes the tag. NH_ETOOBIG, NH_EINTERNAL. */
nh_rc nh_aead_seal(const uint8_t key[NH_AEAD_KEY_LEN], const uint8_t nonce[NH_AEAD_NONCE_LEN], nh_slice associated, nh_slice plain,
		   struct nh_buf *out, uint8_t tag[NH_AEAD_TAG_LEN]);
/* nh_aead_open - appends the plaintext. NH_EAUTH: key, nonce, associated data, ciphertext or tag do not fit; out is then unchanged. NH_ETOOBIG. */
nh_rc nh_aead_open(const uint8_t key[NH_AEAD_KEY_LEN], const uint8_t nonce[NH_AEAD_NONCE_LEN], nh_slice associated, nh_slice cipher,
		   const uint8_t tag[NH_AEAD_TAG_LEN], struct nh_buf *out);
