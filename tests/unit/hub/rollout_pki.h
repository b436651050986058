/*
 * Device CAs, device certificates and NH1 signatures made in a test, with real keys.
 */
#pragma once

#include "rollout_world.h"

#include "base/encode.h"
#include "base/etf.h"
#include "crypto/hmac.h"
#include "crypto/pki.h"
#include "hub/device_auth.h"

#define DAY_US (INT64_C(86400) * NH_US_PER_S)

struct pair {
	struct nh_key *key;
	struct nh_cert *cert;
};

static inline void pair_fini(struct pair *p)
{
	nh_key_free(p->key);
	nh_cert_free(p->cert);
	*p = (struct pair){0};
}
#define AUTO_PAIR __attribute__((cleanup(pair_fini))) struct pair

/* key: NULL for a new one, else borrowed and copied by value into out (out->key stays NULL then). */
static inline nh_rc issue(struct nh_cert_profile profile, const char *name, const struct pair *issuer, struct nh_key *key, struct pair *out, struct nh_err *err)
{
	NH_AUTO_BUF struct nh_buf spki = NH_BUF_INIT;
	NH_AUTO_BUF struct nh_buf der = NH_BUF_INIT;
	if (!key) {
		NH_TRY(nh_key_generate_p256(&out->key, err));
		key = out->key;
	}
	NH_TRY(nh_key_put_spki(&spki, key, err));
	profile.common_name = nh_slice_str(name);
	if (!name[0])
		profile.organization = NH_LIT("nameless");
	NH_TRY(nh_cert_issue(&der, &profile, nh_buf_slice(&spki), issuer ? issuer->cert : NULL, issuer ? issuer->key : key, &nh_rng_system, err));
	return nh_cert_parse_der(nh_buf_slice(&der), &out->cert, err);
}

static inline nh_rc make_ca(struct world *w, const char *name, struct nh_key *key, int64_t valid_us, struct pair *out, struct nh_err *err)
{
	struct nh_cert_profile profile = nh_cert_profile_ca(w->now_us - DAY_US, DAY_US + valid_us);
	profile.ski = profile.aki = true;
	return issue(profile, name, NULL, key, out, err);
}

static inline nh_rc make_device(struct world *w, const char *name, const struct pair *ca, struct nh_key *key, struct pair *out, struct nh_err *err)
{
	struct nh_cert_profile profile = nh_cert_profile_device(w->now_us, 365 * DAY_US);
	profile.aki = true;
	return issue(profile, name, ca, key, out, err);
}

static inline nh_rc register_ca(struct world *w, int64_t org_id, const struct nh_cert *c, bool jitp, int64_t *id, struct nh_err *err)
{
	NH_TRY(insert_id(w, &nh_q_ca_insert,
	                 NH_PARAMS(nh_p_int(org_id), nh_p_text(c->serial_decimal), nh_p_blob(c->aki.len ? c->aki : c->ski), nh_p_blob(c->ski),
	                           nh_p_int(c->not_before_us), nh_p_int(c->not_after_us), nh_p_blob(c->der),
	                           nh_p_blob(nh_slice_of(c->sha256, sizeof(c->sha256))), nh_p_null(), nh_p_int(w->now_us)),
	                 id, err));
	if (jitp)
		NH_TRY(nh_sql_exec(w->ctx.tx, &nh_q_jitp_insert,
		                   NH_PARAMS(nh_p_int(*id), nh_p_int(w->widget.id), nh_p_str("[\"line-7\"]"), nh_p_str("made on line 7")), NULL, err));
	return NH_OK;
}

#define PRODUCT_KEY "nhp_8IBbqBKMlyrKYv1UzoZvy7dDYMWSRF9C1qTbcjsW1yk"
#define DEVICE_KEY "nhd_8IBbqBKMlyrKYv1UzoZvy7dDYMWSRF9C1qTbcjsW1yk"
#define SECRET "Zm9vYmFyYmF6cXV4MDEyMzQ1Njc4OWFiY2RlZmdoaWo"

static inline struct nh_nh1_headers sign(struct world *w, const char *key, const char *secret, const char *identifier)
{
	const char *alg = "NH1-HMAC-sha256-1000-32", *at = nh_arena_printf(&w->arena, "%lld", (long long)(w->now_us / NH_US_PER_S));
	NH_AUTO_BUF struct nh_buf salt = NH_BUF_INIT;
	NH_AUTO_BUF struct nh_buf term = NH_BUF_INIT;
	NH_AUTO_BUF struct nh_buf token = NH_BUF_INIT;
	uint8_t derived[32], mac[32];
	nh_buf_printf(&salt, "NH1:device-socket:shared-secret:connect\n\nx-nh-alg=%s\nx-nh-key=%s\nx-nh-time=%s\n", alg, key, at);
	NH_ASSERT(nh_pbkdf2(NH_SHA256, nh_slice_str(secret), nh_buf_slice(&salt), 1000, derived, 32) == NH_OK);
	nh_etf_put_version(&term);
	nh_etf_put_tuple(&term, 3);
	nh_etf_put_binary(&term, nh_slice_str(identifier));
	nh_etf_put_int(&term, w->now_us / 1000);
	nh_etf_put_int(&term, 86400);
	nh_buf_put_str(&token, "SFMyNTY.");
	nh_b64_put(&token, nh_buf_slice(&term), NH_B64_URL_NOPAD);
	nh_hmac(NH_SHA256, nh_slice_of(derived, 32), nh_buf_slice(&token), mac);
	nh_buf_put_u8(&token, '.');
	nh_b64_put(&token, nh_slice_of(mac, 32), NH_B64_URL_NOPAD);
	return (struct nh_nh1_headers){nh_slice_str(alg), nh_slice_str(key), nh_slice_str(at), nh_arena_copy(&w->arena, nh_buf_slice(&token))};
}
