/*
 * A throw-away CA and certificates for tests that speak real TLS.
 */
#pragma once

#include "base/clock.h"
#include "base/rng.h"
#include "crypto/pki.h"

struct test_pki {
	struct nh_key *key;
	struct nh_cert *cert;
	struct nh_buf pem;
};

static inline void test_pki_init(struct test_pki *pki)
{
	NH_AUTO_BUF struct nh_buf spki = NH_BUF_INIT, der = NH_BUF_INIT;
	struct nh_cert_profile p = nh_cert_profile_ca(nh_now_us(), INT64_C(86400) * 365 * NH_US_PER_S);
	p.common_name = NH_LIT("test CA");
	*pki = (struct test_pki){0};
	assert_int_equal(nh_key_generate_p256(&pki->key, NULL), NH_OK);
	assert_int_equal(nh_key_put_spki(&spki, pki->key, NULL), NH_OK);
	assert_int_equal(nh_cert_issue(&der, &p, nh_buf_slice(&spki), NULL, pki->key, &nh_rng_system, NULL), NH_OK);
	assert_int_equal(nh_cert_parse_der(nh_buf_slice(&der), &pki->cert, NULL), NH_OK);
	nh_cert_put_pem(&pki->pem, pki->cert);
}

static inline void test_pki_fini(struct test_pki *pki)
{
	nh_key_free(pki->key);
	nh_cert_free(pki->cert);
	nh_buf_fini(&pki->pem);
}

/* dns NULL: a device certificate with that common name, else a server's for that host. fingerprint (32 bytes) may be NULL. */
static inline void test_pki_issue(struct test_pki *pki, const char *common_name, const char *dns, struct nh_buf *cert_pem, struct nh_buf *key_pem, uint8_t *fingerprint)
{
	NH_AUTO_KEY struct nh_key *key = NULL;
	NH_AUTO_CERT struct nh_cert *cert = NULL;
	NH_AUTO_BUF struct nh_buf spki = NH_BUF_INIT, der = NH_BUF_INIT;
	int64_t year = INT64_C(365) * 86400 * NH_US_PER_S;
	struct nh_cert_profile p = dns ? nh_cert_profile_server(nh_now_us(), year) : nh_cert_profile_device(nh_now_us(), year);
	struct nh_san san = {NH_SAN_DNS, nh_slice_str(dns)};
	p.common_name = nh_slice_str(common_name);
	if (dns) {
		p.sans = &san;
		p.san_count = 1;
	}
	assert_int_equal(nh_key_generate_p256(&key, NULL), NH_OK);
	assert_int_equal(nh_key_put_spki(&spki, key, NULL), NH_OK);
	assert_int_equal(nh_cert_issue(&der, &p, nh_buf_slice(&spki), pki->cert, pki->key, &nh_rng_system, NULL), NH_OK);
	assert_int_equal(nh_cert_parse_der(nh_buf_slice(&der), &cert, NULL), NH_OK);
	nh_cert_put_pem(cert_pem, cert);
	assert_int_equal(nh_key_put_pem(key_pem, key, NULL), NH_OK);
	for (size_t i = 0; fingerprint && i < 32; i++)
		fingerprint[i] = cert->sha256[i];
}
