/*
 * JSON Web Tokens signed by the chip, as clouds take them in place of a password. The claims are the caller's; the signature of the chip is in the form ES256 wants already.
 *
 * source: reference/nerveskey "12"; RFC 7515, RFC 7518 3.4
 */
#include "nerveskey_int.h"

#include "base/encode.h"
#include "base/json.h"

#define PAYLOAD_MAX ((size_t)16 << 10)

nh_rc nh_nerveskey_jwt(struct nh_nerveskey *key, nh_slice payload_json, struct nh_buf *out, struct nh_err *err)
{
	NH_AUTO_JSON json_t *claims = NULL;
	NH_AUTO_BUF struct nh_buf token = NH_BUF_INIT;
	uint8_t digest[32], signature[NH_P256_SIGNATURE_LEN];
	payload_json = nh_slice_trim(payload_json);
	struct nh_err why = NH_ERR_INIT;
	if (nh_json_parse(payload_json, PAYLOAD_MAX, &claims, &why) != NH_OK)
		return NH_FAIL(err, NH_EINVAL, "claims: %s", why.msg);
	if (!json_is_object(claims))
		return NH_FAIL(err, NH_EINVAL, "claims: a token carries a JSON object");
	nh_b64_put(&token, NH_LIT("{\"alg\":\"ES256\",\"typ\":\"JWT\"}"), NH_B64_URL_NOPAD);
	nh_buf_put_u8(&token, '.');
	nh_b64_put(&token, payload_json, NH_B64_URL_NOPAD);
	nh_p256_sha256(nh_buf_slice(&token), digest);
	NH_TRY(nh_nerveskey_sign(key, digest, signature, err));
	nh_buf_put_u8(&token, '.');
	nh_b64_put(&token, nh_slice_of(signature, sizeof signature), NH_B64_URL_NOPAD);
	nh_buf_put_slice(out, nh_buf_slice(&token));
	return nh_buf_check(out, "token", err);
}
