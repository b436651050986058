/*
 * AES-256-GCM by GnuTLS.
 */
#include "crypto/aead.h"

#include <gnutls/crypto.h>

#include "crypto/secret.h"

#define MESSAGE_MAX ((size_t)16 << 20)

static gnutls_aead_cipher_hd_t handle(const uint8_t *key)
{
	gnutls_aead_cipher_hd_t h = NULL;
	gnutls_datum_t k = {.data = (unsigned char *)(uintptr_t)key, .size = NH_AEAD_KEY_LEN};
	NH_ASSERT(gnutls_aead_cipher_init(&h, GNUTLS_CIPHER_AES_256_GCM, &k) == 0);
	return h;
}

static const uint8_t *bytes_of(nh_slice s) { return s.ptr ? s.ptr : (const uint8_t *)""; }

nh_rc nh_aead_seal(const uint8_t key[NH_AEAD_KEY_LEN], const uint8_t nonce[NH_AEAD_NONCE_LEN], nh_slice associated, nh_slice plain,
		   struct nh_buf *out, uint8_t tag[NH_AEAD_TAG_LEN])
{
	if (plain.len > MESSAGE_MAX)
		return NH_ETOOBIG;
	NH_AUTO_BUF struct nh_buf sealed = NH_BUF_INIT;
	nh_buf_fill(&sealed, 0, plain.len + NH_AEAD_TAG_LEN);
	NH_TRY(nh_buf_check(&sealed, "ciphertext", NULL));
	size_t len = sealed.len;
	gnutls_aead_cipher_hd_t h = handle(key);
	int rc = gnutls_aead_cipher_encrypt(h, nonce, NH_AEAD_NONCE_LEN, associated.ptr, associated.len, NH_AEAD_TAG_LEN, bytes_of(plain), plain.len,
					    sealed.ptr, &len);
	gnutls_aead_cipher_deinit(h);
	if (rc != 0 || len != sealed.len)
		return NH_EINTERNAL;
	nh_buf_put(out, sealed.ptr, plain.len);
	for (size_t i = 0; i < NH_AEAD_TAG_LEN; i++)
		tag[i] = sealed.ptr[plain.len + i];
	return nh_buf_check(out, "ciphertext", NULL);
}

nh_rc nh_aead_open(const uint8_t key[NH_AEAD_KEY_LEN], const uint8_t nonce[NH_AEAD_NONCE_LEN], nh_slice associated, nh_slice cipher,
		   const uint8_t tag[NH_AEAD_TAG_LEN], struct nh_buf *out)
{
	if (cipher.len > MESSAGE_MAX)
		return NH_ETOOBIG;
	NH_AUTO_BUF struct nh_buf sealed = NH_BUF_INIT;
	struct nh_buf plain = NH_BUF_INIT;
	nh_buf_put_slice(&sealed, cipher);
	nh_buf_put(&sealed, tag, NH_AEAD_TAG_LEN);
	nh_buf_fill(&plain, 0, cipher.len);
	NH_TRY(nh_buf_check(&sealed, "ciphertext", NULL));
	size_t len = cipher.len;
	gnutls_aead_cipher_hd_t h = handle(key);
	int rc = gnutls_aead_cipher_decrypt(h, nonce, NH_AEAD_NONCE_LEN, associated.ptr, associated.len, NH_AEAD_TAG_LEN, sealed.ptr, sealed.len,
					    plain.ptr, &len);
	gnutls_aead_cipher_deinit(h);
	if (rc == 0)
		nh_buf_put(out, plain.ptr, len);
	nh_buf_wipe(&plain);
	return rc == 0 ? nh_buf_check(out, "plaintext", NULL) : NH_EAUTH;
}
