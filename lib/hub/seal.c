/*
 * Sealing of what the database keeps (seal_int.h).
 */
#include "seal_int.h"

#include "crypto/aead.h"
#include "crypto/hmac.h"
#include "crypto/secret.h"

static void key_of(const struct nh_ctx *ctx, const char *purpose, uint8_t key[NH_AEAD_KEY_LEN])
{
	NH_AUTO_BUF struct nh_buf text = NH_BUF_INIT;
	nh_buf_printf(&text, "nerveshub seal\n%s", purpose);
	nh_hmac(NH_SHA256, ctx->config->secret_key, nh_buf_slice(&text), key);
}

static void put_binding(struct nh_buf *out, const char *purpose, int64_t id) { nh_buf_printf(out, "%s %lld", purpose, (long long)id); }

nh_rc nh_seal(const struct nh_ctx *ctx, const char *purpose, int64_t id, nh_slice plain, struct nh_buf *out, struct nh_err *err)
{
	uint8_t key[NH_AEAD_KEY_LEN], nonce[NH_AEAD_NONCE_LEN], tag[NH_AEAD_TAG_LEN];
	NH_AUTO_BUF struct nh_buf cipher = NH_BUF_INIT, binding = NH_BUF_INIT;
	put_binding(&binding, purpose, id);
	key_of(ctx, purpose, key);
	nh_rng_fill(ctx->rng, nonce, sizeof(nonce));
	nh_rc rc = nh_aead_seal(key, nonce, nh_buf_slice(&binding), plain, &cipher, tag);
	nh_wipe(key, sizeof(key));
	if (rc != NH_OK)
		return NH_FAIL(err, rc, "cannot seal a secret for the database");
	nh_buf_put(out, nonce, sizeof(nonce));
	nh_buf_put(out, tag, sizeof(tag));
	nh_buf_put_slice(out, nh_buf_slice(&cipher));
	return NH_OK;
}

nh_rc nh_unseal(const struct nh_ctx *ctx, const char *purpose, int64_t id, nh_slice sealed, struct nh_buf *out, struct nh_err *err)
{
	uint8_t key[NH_AEAD_KEY_LEN];
	NH_AUTO_BUF struct nh_buf binding = NH_BUF_INIT;
	if (sealed.len < NH_AEAD_NONCE_LEN + NH_AEAD_TAG_LEN)
		return NH_FAIL(err, NH_EAUTH, "a sealed secret of the database is not whole");
	put_binding(&binding, purpose, id);
	key_of(ctx, purpose, key);
	nh_rc rc = nh_aead_open(key, sealed.ptr, nh_buf_slice(&binding), nh_slice_skip(sealed, NH_AEAD_NONCE_LEN + NH_AEAD_TAG_LEN), sealed.ptr + NH_AEAD_NONCE_LEN, out);
	nh_wipe(key, sizeof(key));
	return rc == NH_OK ? NH_OK : NH_FAIL(err, NH_EAUTH, "a sealed secret of the database does not open: was the server's secret key changed?");
}
