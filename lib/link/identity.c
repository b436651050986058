/* NH1 signature. source: reference/device-protocol "6.2", "6.3", "6.4" */
#include "link/identity.h"

#include <stdio.h>

#include "base/encode.h"
#include "base/etf.h"
#include "crypto/hmac.h"
#include "crypto/secret.h"

#define ALG "NH1-HMAC-sha256-1000-32"
#define ITERATIONS 1000
#define TOKEN_MAX_AGE_S 86400

static bool clean(nh_slice s)
{
	for (size_t i = 0; i < s.len; i++)
		if (s.ptr[i] <= 0x20 || s.ptr[i] >= 0x7f)
			return false;
	return s.len > 0;
}

nh_rc nh_link_sign(nh_slice key, nh_slice secret, nh_slice identifier, int64_t time_s, struct nh_link_signature *out, struct nh_err *err)
{
	NH_AUTO_BUF struct nh_buf salt = NH_BUF_INIT, payload = NH_BUF_INIT;
	uint8_t signing_key[NH_SHA256_LEN], hmac[NH_SHA256_LEN];
	*out = (struct nh_link_signature){.alg = ALG};
	if (!clean(key) || secret.len == 0 || identifier.len == 0)
		return NH_FAIL(err, NH_EINVAL, "shared secret: key, secret and identifier must not be empty, nor the key have blanks");
	snprintf(out->time, sizeof out->time, "%lld", (long long)time_s);
	nh_buf_printf(&salt, "NH1:device-socket:shared-secret:connect\n\nx-nh-alg=%s\nx-nh-key=%.*s\nx-nh-time=%s\n", ALG, NH_ARG(key), out->time);
	NH_TRY(nh_pbkdf2(NH_SHA256, secret, nh_buf_slice(&salt), ITERATIONS, signing_key, sizeof signing_key));

	nh_etf_put_version(&payload);
	nh_etf_put_tuple(&payload, 3);
	nh_etf_put_binary(&payload, identifier);
	nh_etf_put_int(&payload, time_s * 1000);
	nh_etf_put_int(&payload, TOKEN_MAX_AGE_S);
	nh_buf_put_str(&out->token, "SFMyNTY.");
	nh_b64_put(&out->token, nh_buf_slice(&payload), NH_B64_URL_NOPAD);
	nh_hmac(NH_SHA256, nh_slice_of(signing_key, sizeof signing_key), nh_buf_slice(&out->token), hmac);
	nh_buf_put_u8(&out->token, '.');
	nh_b64_put(&out->token, nh_slice_of(hmac, sizeof hmac), NH_B64_URL_NOPAD);
	nh_wipe(signing_key, sizeof signing_key);
	return NH_OK;
}
