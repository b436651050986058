/*
 * Keys, certificates, requests: every profile is built, read back, and judged by openssl(1); certificates that openssl made are read; what is
 * broken or signed by another is refused.
 */
#include "judge.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/encode.h"
#include "base/file.h"
#include "base/pem.h"
#include "base/process.h"
#include "crypto/digest.h"
#include "crypto/pki.h"

#define YEAR_US (INT64_C(365) * 86400 * 1000000)
#define NOW_US (INT64_C(1767225600) * 1000000) /* 2026-01-01 */

static char dir[] = "/tmp/nh-test-x509-XXXXXX";

static int make_dir(void **state) { return mkdtemp(dir) && chdir(dir) == 0 ? 0 : -1; }

static int remove_dir(void **state)
{
	int status = 0;
	struct nh_process p = {.argv = (const char *const[]){"rm", "-r", dir, NULL}, .cwd = "/"};
	return nh_process_run(&p, &status, NULL, NULL, NULL) == NH_OK ? status : -1;
}

static void load(const char *name, struct nh_buf *out) { assert_int_equal(nh_file_read(name, 1 << 20, out, NULL), NH_OK); }

static struct nh_key *new_key(void)
{
	struct nh_key *k = NULL;
	assert_int_equal(nh_key_generate_p256(&k, NULL), NH_OK);
	return k;
}

static void save_pem(const char *name, const struct nh_cert *c)
{
	NH_AUTO_BUF struct nh_buf pem = NH_BUF_INIT;
	nh_cert_put_pem(&pem, c);
	save(name, nh_buf_slice(&pem));
}

static struct nh_cert *make_ca(const struct nh_key *key, const char *name)
{
	struct nh_cert_profile p = nh_cert_profile_ca(NOW_US, 31 * YEAR_US);
	p.organization = NH_LIT("acme");
	p.common_name = nh_slice_str(name);
	return issue(&p, key, NULL, key);
}

static void authority(void **state)
{
	NH_AUTO_KEY struct nh_key *key = new_key();
	NH_AUTO_CERT struct nh_cert *ca = make_ca(key, "acme CA");
	assert_slice(ca->common_name, "acme CA");
	assert_slice(ca->organization, "acme");
	assert_true(ca->is_ca && ca->path_len == 1 && ca->has_key_usage);
	assert_int_equal(ca->key_usage, NH_KU_DIGITAL_SIGNATURE | NH_KU_KEY_CERT_SIGN | NH_KU_CRL_SIGN);
	assert_int_equal(ca->ski.len, 20);
	assert_true(nh_slice_eq(ca->ski, ca->aki));
	assert_true(nh_slice_eq(ca->subject_der, ca->issuer_der));
	assert_true(ca->not_before_us == NOW_US - INT64_C(3600000000));
	assert_true(ca->not_after_us == NOW_US + 31 * YEAR_US);
	assert_false(ca->unknown_critical);
	assert_int_equal(nh_cert_signed_by(ca, ca, NULL), NH_OK);
	save_pem("ca.pem", ca);
	NH_AUTO_BUF struct nh_buf text = NH_BUF_INIT;
	shell("openssl x509 -in ca.pem -noout -text && openssl verify -check_ss_sig -x509_strict -CAfile ca.pem ca.pem", &text);
	static const char *const wanted[] = {
		"Subject: O = acme, CN = acme CA", "Not Before: Dec 31 23:00:00 2025 GMT", "Not After : Dec 24 00:00:00 2056 GMT",
		"X509v3 Basic Constraints: critical\n                CA:TRUE, pathlen:1", "X509v3 Key Usage: critical\n                Digital Signature, Certificate Sign, CRL Sign",
		"Signature Algorithm: ecdsa-with-SHA256", "ASN1 OID: prime256v1", "ca.pem: OK",
	};
	for (size_t i = 0; i < NH_ARRAY_LEN(wanted); i++)
		assert_contains(&text, wanted[i]);
	/* openssl computes the same key identifier */
	NH_AUTO_BUF struct nh_buf id = NH_BUF_INIT, hex = NH_BUF_INIT;
	shell("openssl x509 -in ca.pem -noout -pubkey | openssl asn1parse -strparse 23 -noout -out bits && sha1sum < bits", &id);
	nh_hex_put(&hex, ca->ski);
	assert_true(nh_slice_starts(nh_buf_slice(&id), nh_buf_slice(&hex)));
}

static void leaves(void **state)
{
	NH_AUTO_KEY struct nh_key *ca_key = new_key();
	NH_AUTO_KEY struct nh_key *key = new_key();
	NH_AUTO_CERT struct nh_cert *ca = make_ca(ca_key, "leaf CA");
	save_pem("lca.pem", ca);
	struct nh_san sans[] = {{NH_SAN_DNS, NH_LIT("hub.example")}, {NH_SAN_IP, nh_slice_of("\x7f\0\0\1", 4)}, {NH_SAN_URI, NH_LIT("urn:nerveshub:verify:abc")}};
	struct nh_cert_profile profiles[] = {nh_cert_profile_device(NOW_US, 31 * YEAR_US), nh_cert_profile_server(NOW_US, 5 * YEAR_US),
					     nh_cert_profile_user(NOW_US, YEAR_US), nh_cert_profile_verification(NOW_US)};
	profiles[0].organization = profiles[1].organization = profiles[2].organization = NH_LIT("acme");
	profiles[0].common_name = profiles[1].common_name = profiles[2].common_name = NH_LIT("d-1");
	profiles[1].sans = sans;
	profiles[1].san_count = 2;
	profiles[3].sans = sans + 2;
	profiles[3].san_count = 1;
	static const char *const wanted[][8] = {
		{"Subject: O = acme, CN = d-1", "X509v3 Basic Constraints: critical\n                CA:FALSE", "X509v3 Key Usage: critical\n                Digital Signature\n",
		 "TLS Web Client Authentication\n", "Authority Key Identifier", "leaf.pem: OK"},
		{"TLS Web Server Authentication, TLS Web Client Authentication", "DNS:hub.example, IP Address:127.0.0.1", "Digital Signature, Key Encipherment",
		 "Subject Key Identifier", "leaf.pem: OK"},
		{"TLS Web Client Authentication\n", "Digital Signature, Key Encipherment", "leaf.pem: OK"},
		{"Subject: CN = certificate-verification", "X509v3 Subject Alternative Name: \n                URI:urn:nerveshub:verify:abc", "leaf.pem: OK"},
	};
	static const char *const unwanted[] = {"Subject Key Identifier", "CA:TRUE", "Web Server", "Key Usage"};
	for (size_t i = 0; i < NH_ARRAY_LEN(profiles); i++) {
		NH_AUTO_CERT struct nh_cert *leaf = issue(&profiles[i], key, ca, ca_key);
		assert_int_equal(nh_cert_signed_by(leaf, ca, NULL), NH_OK);
		assert_true(nh_slice_eq(leaf->aki, ca->ski));
		assert_int_equal(leaf->san_count, profiles[i].san_count);
		for (size_t k = 0; k < leaf->san_count; k++) {
			assert_int_equal(leaf->sans[k].kind, profiles[i].sans[k].kind);
			assert_true(nh_slice_eq(leaf->sans[k].value, profiles[i].sans[k].value));
		}
		assert_int_equal(leaf->ext_key_usage, profiles[i].ext_key_usage);
		assert_int_equal(leaf->key_usage, profiles[i].key_usage);
		assert_false(leaf->is_ca || leaf->san_critical || leaf->unknown_critical);
		save_pem("leaf.pem", leaf);
		NH_AUTO_BUF struct nh_buf text = NH_BUF_INIT, facts = NH_BUF_INIT, hex = NH_BUF_INIT;
		shell("openssl x509 -in leaf.pem -noout -text && openssl verify -attime 1767225700 -x509_strict -CAfile lca.pem leaf.pem", &text);
		for (size_t k = 0; k < 8 && wanted[i][k]; k++)
			assert_contains(&text, wanted[i][k]);
		assert_false(contains(&text, unwanted[i]));
		shell("openssl x509 -in leaf.pem -noout -serial -fingerprint -sha256", &facts);
		/* openssl pads the serial to whole bytes as we do */
		nh_buf_printf(&hex, "serial=%.*s\nsha256 Fingerprint=", NH_ARG(leaf->serial_hex));
		for (size_t k = 0; k < 32; k++)
			nh_buf_printf(&hex, k ? ":%02X" : "%02X", leaf->sha256[k]);
		assert_contains(&facts, nh_buf_cstr(&hex));
	}
}

static void stranger_signed(void **state)
{
	NH_AUTO_KEY struct nh_key *key_a = new_key();
	NH_AUTO_KEY struct nh_key *key_b = new_key();
	/* same name, other key: only the signature tells them apart */
	NH_AUTO_CERT struct nh_cert *ca_a = make_ca(key_a, "twin");
	NH_AUTO_CERT struct nh_cert *ca_b = make_ca(key_b, "twin");
	NH_AUTO_CERT struct nh_cert *ca_c = make_ca(key_b, "other");
	struct nh_cert_profile p = nh_cert_profile_device(NOW_US, YEAR_US);
	p.common_name = NH_LIT("d-1");
	NH_AUTO_CERT struct nh_cert *leaf = issue(&p, key_b, ca_a, key_a);
	struct nh_err e = NH_ERR_INIT;
	assert_int_equal(nh_cert_signed_by(leaf, ca_a, &e), NH_OK);
	assert_int_equal(nh_cert_signed_by(leaf, ca_b, &e), NH_EAUTH);
	assert_string_equal(e.msg, "certificate was not signed by this CA's key");
	assert_int_equal(nh_cert_signed_by(leaf, ca_c, &e), NH_EAUTH);
	assert_string_equal(e.msg, "certificate names another issuer");
	/* a leaf is no CA even with the right name and key */
	p.common_name = NH_LIT("twin");
	p.organization = NH_LIT("acme");
	NH_AUTO_CERT struct nh_cert *no_ca = issue(&p, key_a, NULL, key_a);
	assert_true(nh_slice_eq(no_ca->subject_der, ca_a->subject_der));
	assert_int_equal(nh_cert_signed_by(leaf, no_ca, &e), NH_EAUTH);
	assert_string_equal(e.msg, "the signing certificate is not a CA");
	/* one flipped bit anywhere in the body */
	NH_AUTO_BUF struct nh_buf der = NH_BUF_INIT;
	nh_buf_put_slice(&der, leaf->der);
	ptrdiff_t at = nh_slice_find(nh_buf_slice(&der), NH_LIT("d-1"));
	assert_true(at > 0);
	der.ptr[at] = 'e';
	NH_AUTO_CERT struct nh_cert *forged = NULL;
	assert_int_equal(nh_cert_parse_der(nh_buf_slice(&der), &forged, &e), NH_OK);
	assert_int_equal(nh_cert_signed_by(forged, ca_a, &e), NH_EAUTH);
}

static void refused_issues(void **state)
{
	NH_AUTO_KEY struct nh_key *key = new_key();
	NH_AUTO_KEY struct nh_key *other = new_key();
	NH_AUTO_CERT struct nh_cert *ca = make_ca(key, "ca");
	NH_AUTO_BUF struct nh_buf spki = NH_BUF_INIT, out = NH_BUF_INIT;
	struct nh_err e = NH_ERR_INIT;
	struct nh_cert_profile p = nh_cert_profile_device(NOW_US, YEAR_US);
	assert_int_equal(nh_key_put_spki(&spki, key, &e), NH_OK);
	assert_int_equal(nh_cert_issue(&out, &p, nh_buf_slice(&spki), ca, key, &nh_rng_system, &e), NH_EINVAL); /* no subject */
	p.common_name = NH_LIT("x");
	assert_int_equal(nh_cert_issue(&out, &p, nh_buf_slice(&spki), ca, other, &nh_rng_system, &e), NH_EINVAL);
	assert_string_equal(e.msg, "the CA private key does not match the CA certificate");
	assert_int_equal(nh_cert_issue(&out, &p, nh_buf_slice(&spki), NULL, other, &nh_rng_system, &e), NH_EINVAL);
	NH_AUTO_CERT struct nh_cert *leaf = issue(&p, key, ca, key);
	assert_int_equal(nh_cert_issue(&out, &p, nh_buf_slice(&spki), leaf, key, &nh_rng_system, &e), NH_EINVAL);
	assert_int_equal(nh_cert_issue(&out, &p, NH_LIT("rubbish"), ca, key, &nh_rng_system, &e), NH_EFORMAT);
	p.not_after_us = p.not_before_us;
	assert_int_equal(nh_cert_issue(&out, &p, nh_buf_slice(&spki), ca, key, &nh_rng_system, &e), NH_EINVAL);
	assert_int_equal(out.len, 0);
}

static void serials(void **state)
{
	static const struct {
		const char *bytes_hex, *decimal, *hex;
	} rows[] = {
		{"123456789abcdef0", "1311768467463790320", "123456789ABCDEF0"},
		{"01", "1", "01"},
		{"ff", "255", "FF"},
		{"000001", "1", "01"},
		{"ffffffffffffffffffffffffffffffffffffffff", "1461501637330902918203684832716283019655932542975", "FFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFF"},
	};
	NH_AUTO_KEY struct nh_key *key = new_key();
	for (size_t i = 0; i < NH_ARRAY_LEN(rows); i++) {
		NH_AUTO_BUF struct nh_buf bytes = NH_BUF_INIT;
		assert_int_equal(nh_hex_decode(nh_slice_str(rows[i].bytes_hex), &bytes), NH_OK);
		struct nh_cert_profile p = nh_cert_profile_device(NOW_US, YEAR_US);
		p.common_name = NH_LIT("x");
		p.serial = nh_buf_slice(&bytes);
		NH_AUTO_CERT struct nh_cert *c = issue(&p, key, NULL, key);
		assert_slice(c->serial_decimal, rows[i].decimal);
		assert_slice(c->serial_hex, rows[i].hex);
	}
}

/* Two-digit years are 2000 + YY, also beyond 49, where RFC 5280 would say 19YY. */
static void two_digit_years(void **state)
{
	NH_AUTO_KEY struct nh_key *key = new_key();
	struct nh_cert_profile p = nh_cert_profile_device(NOW_US, YEAR_US);
	p.common_name = NH_LIT("x");
	NH_AUTO_CERT struct nh_cert *c = issue(&p, key, NULL, key);
	NH_AUTO_BUF struct nh_buf der = NH_BUF_INIT, iso = NH_BUF_INIT;
	nh_buf_put_slice(&der, c->der);
	ptrdiff_t at = nh_slice_find(nh_buf_slice(&der), NH_LIT("270101000000Z"));
	assert_true(at > 0);
	der.ptr[at] = '5';
	NH_AUTO_CERT struct nh_cert *d = NULL;
	assert_int_equal(nh_cert_parse_der(nh_buf_slice(&der), &d, NULL), NH_OK);
	nh_time_put_iso(&iso, d->not_after_us);
	assert_slice(nh_buf_slice(&iso), "2057-01-01T00:00:00Z");
	der.ptr[at + 2] = '9'; /* month 91 */
	struct nh_cert *e = NULL;
	assert_int_equal(nh_cert_parse_der(nh_buf_slice(&der), &e, NULL), NH_EFORMAT);
	assert_null(e);
}

static void made_by_openssl(void **state)
{
	shell("openssl req -x509 -newkey rsa:2048 -nodes -keyout rsa.key -out rsa.pem -days 30 -subj '/C=DE/O=first/O=second/CN=Ümlaut' -utf8"
	      " -addext 'subjectAltName=DNS:a.example,email:x@y.example,URI:urn:x,IP:::1' -addext '1.2.3.4=critical,ASN1:UTF8String:x'"
	      " -addext extendedKeyUsage=codeSigning,serverAuth -set_serial 0x00ABCDEF 2>&1", NULL);
	shell("openssl genpkey -algorithm ed25519 -out ed.key && openssl req -x509 -key ed.key -out ed.pem -days 30 -subj /CN=ed 2>&1", NULL);
	shell("openssl ecparam -name prime256v1 -genkey -out ec.key && openssl ec -in ec.key -outform DER -out ec.der 2>&1", NULL);
	NH_AUTO_BUF struct nh_buf pem = NH_BUF_INIT, key_pem = NH_BUF_INIT, text = NH_BUF_INIT;
	struct nh_err e = NH_ERR_INIT;
	load("rsa.pem", &pem);
	NH_AUTO_CERT struct nh_cert *c = NULL;
	assert_int_equal(nh_cert_parse_pem(nh_buf_slice(&pem), &c, &e), NH_OK);
	assert_slice(c->common_name, "Ümlaut");
	assert_slice(c->organization, "first");
	assert_slice(c->serial_decimal, "11259375");
	assert_int_equal(c->san_count, 4);
	assert_slice(c->sans[0].value, "a.example");
	assert_int_equal(c->sans[1].kind, NH_SAN_EMAIL);
	assert_int_equal(c->sans[3].value.len, 16);
	assert_int_equal(c->ext_key_usage, NH_EKU_SERVER_AUTH | NH_EKU_OTHER);
	assert_true(c->unknown_critical);
	assert_true(c->is_ca && c->path_len == -1 && !c->has_key_usage);
	assert_int_equal(nh_cert_signed_by(c, c, &e), NH_OK);
	load("rsa.key", &key_pem);
	NH_AUTO_KEY struct nh_key *rsa = NULL;
	assert_int_equal(nh_key_parse_pem(nh_buf_slice(&key_pem), &rsa, &e), NH_OK);
	assert_true(nh_key_fits_cert(rsa, c));
	nh_buf_clear(&key_pem);
	load("ed.key", &key_pem);
	NH_AUTO_KEY struct nh_key *ed = NULL;
	assert_int_equal(nh_key_parse_pem(nh_buf_slice(&key_pem), &ed, &e), NH_OK);
	assert_false(nh_key_fits_cert(ed, c));
	nh_buf_clear(&key_pem);
	load("ec.key", &key_pem); /* parameters block first */
	NH_AUTO_KEY struct nh_key *ec = NULL;
	assert_int_equal(nh_key_parse_pem(nh_buf_slice(&key_pem), &ec, &e), NH_OK);
	nh_buf_clear(&key_pem);
	load("ec.der", &key_pem);
	NH_AUTO_KEY struct nh_key *ec2 = NULL;
	assert_int_equal(nh_key_parse_der(nh_buf_slice(&key_pem), &ec2, &e), NH_OK);
	/* CAs of other kinds sign too: Ed25519 and RSA */
	nh_buf_clear(&pem);
	load("ed.pem", &pem);
	NH_AUTO_CERT struct nh_cert *ed_ca = NULL;
	assert_int_equal(nh_cert_parse_pem(nh_buf_slice(&pem), &ed_ca, &e), NH_OK);
	struct nh_cert_profile p = nh_cert_profile_device(nh_now_us(), YEAR_US);
	p.common_name = NH_LIT("under-ed");
	NH_AUTO_CERT struct nh_cert *under_ed = issue(&p, ec, ed_ca, ed);
	NH_AUTO_CERT struct nh_cert *under_rsa = issue(&p, ec, c, rsa);
	assert_int_equal(nh_cert_signed_by(under_ed, ed_ca, &e), NH_OK);
	assert_int_equal(nh_cert_signed_by(under_rsa, c, &e), NH_OK);
	save_pem("under-ed.pem", under_ed);
	shell("openssl verify -CAfile ed.pem under-ed.pem", &text);
	assert_contains(&text, "under-ed.pem: OK");
}

static void weak_signature(void **state)
{
	shell("openssl req -x509 -newkey rsa:2048 -sha1 -nodes -keyout w.key -out w.pem -days 30 -subj /CN=weak 2>&1", NULL);
	NH_AUTO_BUF struct nh_buf pem = NH_BUF_INIT;
	struct nh_err e = NH_ERR_INIT;
	load("w.pem", &pem);
	NH_AUTO_CERT struct nh_cert *c = NULL;
	assert_int_equal(nh_cert_parse_pem(nh_buf_slice(&pem), &c, &e), NH_OK);
	assert_int_equal(nh_cert_signed_by(c, c, &e), NH_EAUTH);
	assert_string_equal(e.msg, "certificate is signed with an algorithm that is unknown or too weak");
}

static void keys(void **state)
{
	NH_AUTO_KEY struct nh_key *key = new_key();
	NH_AUTO_BUF struct nh_buf sec1 = NH_BUF_INIT, pkcs8 = NH_BUF_INIT, der = NH_BUF_INIT, spki = NH_BUF_INIT, back = NH_BUF_INIT;
	assert_int_equal(nh_key_put_pem(&sec1, key, NULL), NH_OK);
	assert_int_equal(nh_key_put_pem_pkcs8(&pkcs8, key, NULL), NH_OK);
	assert_int_equal(nh_key_put_der(&der, key, NULL), NH_OK);
	assert_int_equal(nh_key_put_spki(&spki, key, NULL), NH_OK);
	assert_contains(&sec1, "-----BEGIN EC PRIVATE KEY-----");
	assert_contains(&pkcs8, "-----BEGIN PRIVATE KEY-----");
	NH_AUTO_BUF struct nh_buf text = NH_BUF_INIT;
	save("k.pem", nh_buf_slice(&sec1));
	save("k8.pem", nh_buf_slice(&pkcs8));
	save("spki.der", nh_buf_slice(&spki));
	shell("openssl pkey -in k.pem -check -noout && openssl pkey -in k.pem -pubout -outform DER | cmp - spki.der && "
	      "openssl pkey -in k8.pem -pubout -outform DER | cmp - spki.der && openssl ec -in k.pem -text -noout 2>/dev/null", &text);
	assert_contains(&text, "ASN1 OID: prime256v1");
	nh_slice forms[] = {nh_buf_slice(&sec1), nh_buf_slice(&pkcs8)};
	for (size_t i = 0; i < 2; i++) {
		NH_AUTO_KEY struct nh_key *again = NULL;
		assert_int_equal(nh_key_parse_pem(forms[i], &again, NULL), NH_OK);
		nh_buf_clear(&back);
		assert_int_equal(nh_key_put_der(&back, again, NULL), NH_OK);
		assert_true(nh_slice_eq(nh_buf_slice(&back), nh_buf_slice(&der)));
	}
	static const struct {
		const char *pem, *message;
	} bad[] = {
		{"", "no PEM data found"},
		{"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", "expected a private key PEM block, found \"CERTIFICATE\""},
		{"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n", "not a private key of a known kind (EC, RSA or Ed25519, not encrypted)"},
		{"-----BEGIN EC PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\n\nAAAA\n-----END EC PRIVATE KEY-----\n",
		 "broken or encrypted PEM block where a private key is expected"},
	};
	for (size_t i = 0; i < NH_ARRAY_LEN(bad); i++) {
		struct nh_err e = NH_ERR_INIT;
		struct nh_key *none = NULL;
		assert_int_equal(nh_key_parse_pem(nh_slice_str(bad[i].pem), &none, &e), NH_EFORMAT);
		assert_string_equal(e.msg, bad[i].message);
		assert_null(none);
	}
}

static void requests(void **state)
{
	NH_AUTO_KEY struct nh_key *key = new_key();
	NH_AUTO_BUF struct nh_buf pem = NH_BUF_INIT, text = NH_BUF_INIT, spki = NH_BUF_INIT;
	struct nh_err e = NH_ERR_INIT;
	assert_int_equal(nh_csr_build(&pem, NH_LIT("acme"), NH_LIT("d-1"), key, &e), NH_OK);
	save("r.pem", nh_buf_slice(&pem));
	shell("openssl req -in r.pem -noout -verify -text -subject 2>&1", &text);
	assert_contains(&text, "elf-signature verify OK");
	assert_contains(&text, "O = acme, CN = d-1");
	struct nh_csr *r = NULL;
	assert_int_equal(nh_csr_parse_pem(nh_buf_slice(&pem), &r, &e), NH_OK);
	assert_slice(r->common_name, "d-1");
	assert_slice(r->organization, "acme");
	assert_int_equal(nh_key_put_spki(&spki, key, &e), NH_OK);
	assert_true(nh_slice_eq(r->spki_der, nh_buf_slice(&spki)));
	nh_csr_free(r);
	/* tampered subject */
	NH_AUTO_BUF struct nh_buf der = NH_BUF_INIT, forged = NH_BUF_INIT;
	nh_slice label, rest;
	assert_int_equal(nh_pem_find(nh_buf_slice(&pem), &label, &der, &rest), NH_OK);
	der.ptr[nh_slice_find(nh_buf_slice(&der), NH_LIT("d-1"))] = 'e';
	nh_pem_put(&forged, "CERTIFICATE REQUEST", nh_buf_slice(&der));
	assert_int_equal(nh_csr_parse_pem(nh_buf_slice(&forged), &r, &e), NH_EAUTH);
	assert_int_equal(nh_csr_parse_pem(NH_LIT("rubbish"), &r, &e), NH_EFORMAT);
	assert_int_equal(nh_csr_parse_pem(NH_LIT("-----BEGIN CERTIFICATE REQUEST-----\nAAAA\n-----END CERTIFICATE REQUEST-----\n"), &r, &e), NH_EFORMAT);
	assert_int_equal(nh_csr_parse_pem(NH_LIT("-----BEGIN X-----\nAAAA\n-----END X-----\n"), &r, &e), NH_EFORMAT);
	nh_buf_clear(&der);
	nh_buf_fill(&der, 'A', NH_CERT_DER_MAX + 1);
	nh_buf_clear(&forged);
	nh_pem_put(&forged, "CERTIFICATE REQUEST", nh_buf_slice(&der));
	assert_int_equal(nh_csr_parse_pem(nh_buf_slice(&forged), &r, &e), NH_ETOOBIG);
	assert_int_equal(nh_csr_build(&pem, NH_SLICE_EMPTY, NH_SLICE_EMPTY, key, &e), NH_EINVAL);
	assert_null(r);
}

static void chains_and_pem(void **state)
{
	NH_AUTO_KEY struct nh_key *key = new_key();
	NH_AUTO_CERT struct nh_cert *a = make_ca(key, "a");
	NH_AUTO_CERT struct nh_cert *b = make_ca(key, "b");
	NH_AUTO_BUF struct nh_buf pem = NH_BUF_INIT;
	struct nh_err e = NH_ERR_INIT;
	struct nh_cert *chain[NH_CERT_CHAIN_MAX];
	size_t count = 9;
	nh_buf_put_str(&pem, "some words\r\n");
	nh_cert_put_pem(&pem, a);
	assert_int_equal(nh_key_put_pem(&pem, key, NULL), NH_OK);
	nh_cert_put_pem(&pem, b);
	assert_int_equal(nh_cert_parse_pem_chain(nh_buf_slice(&pem), chain, &count, &e), NH_OK);
	assert_int_equal(count, 2);
	assert_slice(chain[1]->common_name, "b");
	nh_cert_free(chain[0]);
	nh_cert_free(chain[1]);
	nh_buf_put_str(&pem, "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n");
	assert_int_equal(nh_cert_parse_pem_chain(nh_buf_slice(&pem), chain, &count, &e), NH_EFORMAT);
	assert_int_equal(count, 0);
	assert_int_equal(nh_cert_parse_pem_chain(NH_LIT("nothing"), chain, &count, &e), NH_EFORMAT);
	nh_buf_clear(&pem);
	for (unsigned i = 0; i <= NH_CERT_CHAIN_MAX; i++)
		nh_cert_put_pem(&pem, a);
	assert_int_equal(nh_cert_parse_pem_chain(nh_buf_slice(&pem), chain, &count, &e), NH_ETOOBIG);
	static const char *const broken[] = {
		"-----BEGIN CERTIFICATE-----\nAAAA\n", "-----BEGIN CERTIFICATE-----\nA*AA\n-----END CERTIFICATE-----\n",
		"-----BEGIN CERTIFICATE-----\nAAAA\n-----END OTHER-----\n", "-----BEGIN CERTIFICATE-----\n-----END CERTIFICATE-----\n",
		"-----BEGIN CERTIFICATE", "-----BEGIN -----\nAAAA\n-----END -----\n",
	};
	for (size_t i = 0; i < NH_ARRAY_LEN(broken); i++) {
		struct nh_cert *none = NULL;
		assert_int_equal(nh_cert_parse_pem(nh_slice_str(broken[i]), &none, &e), NH_EFORMAT);
	}
	struct nh_cert *none = NULL;
	assert_int_equal(nh_cert_parse_pem(NH_LIT("-----BEGIN EC PRIVATE KEY-----\nAAAA\n-----END EC PRIVATE KEY-----\n"), &none, &e), NH_EFORMAT);
	assert_string_equal(e.msg, "expected a CERTIFICATE PEM block, found \"EC PRIVATE KEY\"");
	/* every cut of the DER, and a byte behind it */
	for (size_t n = 0; n < a->der.len; n++) {
		assert_int_equal(nh_cert_parse_der(nh_slice_sub(a->der, 0, n), &none, &e), NH_EFORMAT);
		assert_null(none);
	}
	NH_AUTO_BUF struct nh_buf longer = NH_BUF_INIT;
	nh_buf_put_slice(&longer, a->der);
	nh_buf_put_u8(&longer, 0);
	assert_int_equal(nh_cert_parse_der(nh_buf_slice(&longer), &none, &e), NH_EFORMAT);
	nh_buf_fill(&longer, 0, NH_CERT_DER_MAX);
	assert_int_equal(nh_cert_parse_der(nh_buf_slice(&longer), &none, &e), NH_ETOOBIG);
}

/*
 * Extensions that are there and broken are never taken for absent; names are UTF-8 whatever their encoding. Whole certificates, as the integration
 * tests' certmaker writes them (signatures play no role here); in the order of the rows: BMPString, UniversalString, half a character, a surrogate
 * pair; broken extended key usage, an empty one, broken key usage, authority key identifier, basic constraints, subject key identifier.
 */
static void odd_certificates(void **state)
{
	static const struct {
		nh_rc rc;
		const char *common_name;
		const char *base64;
	} rows[] = {
		{NH_OK, "ger\xc3\xa4t",
		 "MIIBDTCBtKADAgECAgEBMAoGCCqGSM49BAMCMAwxCjAIBgNVBAMMAWMwHhcNMjYxMTIwMTMzNTUzWhcNMjYxMjIwMTMzNTUzWjAVMRMwEQYDVQQDHgoAZwBlAHIA5AB0MFkwEwYHKoZI"
		 "zj0CAQYIKoZIzj0DAQcDQgAErrUKdgJwGkt+/i9V3dZ9a2ED7QwkctBKcnrziHeQsuhYtDwTIXJUWlunD2OTMsf/oWLkcUm6Aw7YQqHF4cF4xjAKBggqhkjOPQQDAgNIADBFAiANtmJX"
		 "SBrZCEsLZjgkJQImQH43Qk2+tEpRkd1Ne3OSOAIhAPvXxMD810mtDlfFpInTz6P8BvnQZC1OAUba5paoJxlP"},
		{NH_OK, "\xf0\x9f\x99\x82",
		 "MIIBBzCBrqADAgECAgEBMAoGCCqGSM49BAMCMAwxCjAIBgNVBAMMAWMwHhcNMjYxMTIwMTMzNTUzWhcNMjYxMjIwMTMzNTUzWjAPMQ0wCwYDVQQDHAQAAfZCMFkwEwYHKoZIzj0CAQYI"
		 "KoZIzj0DAQcDQgAErrUKdgJwGkt+/i9V3dZ9a2ED7QwkctBKcnrziHeQsuhYtDwTIXJUWlunD2OTMsf/oWLkcUm6Aw7YQqHF4cF4xjAKBggqhkjOPQQDAgNIADBFAiA41bZ/ALBozQJ0"
		 "hSbwKfNwKFKvxYOOT+2x7axNMVUzdQIhAKASU2fCpqkpDUEFP9pC5QiXhZCa7z2SVF0qVk9g6T7+"},
		{NH_OK, "",
		 "MIIBBjCBraADAgECAgEBMAoGCCqGSM49BAMCMAwxCjAIBgNVBAMMAWMwHhcNMjYxMTIwMTMzNTU0WhcNMjYxMjIwMTMzNTU0WjAOMQwwCgYDVQQDHgNhYmMwWTATBgcqhkjOPQIBBggq"
		 "hkjOPQMBBwNCAASutQp2AnAaS37+L1Xd1n1rYQPtDCRy0EpyevOId5Cy6Fi0PBMhclRaW6cPY5Myx/+hYuRxSboDDthCocXhwXjGMAoGCCqGSM49BAMCA0gAMEUCIQCfMXsuShrs/mi7"
		 "oAwKZzH/vbHIt7I9d66SubS98pPPYgIgRi0cURWElPPTVMOfCHXvlcINrvFCZO7nbOo/26O9X4Y="},
		{NH_OK, "",
		 "MIIBBjCBrqADAgECAgEBMAoGCCqGSM49BAMCMAwxCjAIBgNVBAMMAWMwHhcNMjYxMTIwMTMzNTU0WhcNMjYxMjIwMTMzNTU0WjAPMQ0wCwYDVQQDHgTYANwAMFkwEwYHKoZIzj0CAQYI"
		 "KoZIzj0DAQcDQgAErrUKdgJwGkt+/i9V3dZ9a2ED7QwkctBKcnrziHeQsuhYtDwTIXJUWlunD2OTMsf/oWLkcUm6Aw7YQqHF4cF4xjAKBggqhkjOPQQDAgNHADBEAiBwtqSAxQSgQ2kX"
		 "zrjxTv2dts1YRk/+fCH7TZXDosqB2gIgIS+Ve0VoJpdbrqYN54hYTWeclkPtAf3DZzEQibD6AxM="},
		{NH_EFORMAT, "",
		 "MIIBFDCBuqADAgECAgEBMAoGCCqGSM49BAMCMAwxCjAIBgNVBAMMAWMwHhcNMjYxMTIwMTMzNTU0WhcNMjYxMjIwMTMzNTU0WjAMMQowCAYDVQQDDAFhMFkwEwYHKoZIzj0CAQYIKoZI"
		 "zj0DAQcDQgAErrUKdgJwGkt+/i9V3dZ9a2ED7QwkctBKcnrziHeQsuhYtDwTIXJUWlunD2OTMsf/oWLkcUm6Aw7YQqHF4cF4xqMNMAswCQYDVR0lBAIwgDAKBggqhkjOPQQDAgNJADBG"
		 "AiEAw7c86mP+rA3IQPXxoobkIly53WTNW6bt250EcY9bfs0CIQDNbUvMVXT2j3iAhFJCB7EJCrfJ4gbRQxCeUvWAYeWEWA=="},
		{NH_EFORMAT, "",
		 "MIIBEzCBuqADAgECAgEBMAoGCCqGSM49BAMCMAwxCjAIBgNVBAMMAWMwHhcNMjYxMTIwMTMzNTU0WhcNMjYxMjIwMTMzNTU0WjAMMQowCAYDVQQDDAFhMFkwEwYHKoZIzj0CAQYIKoZI"
		 "zj0DAQcDQgAErrUKdgJwGkt+/i9V3dZ9a2ED7QwkctBKcnrziHeQsuhYtDwTIXJUWlunD2OTMsf/oWLkcUm6Aw7YQqHF4cF4xqMNMAswCQYDVR0lBAIwADAKBggqhkjOPQQDAgNIADBF"
		 "AiBz9F9Gzn0vOUWD2m3SHrHyJox4uDuAOJEdv7f0jXXYPgIhAMJMKlmmDgDRlSm2ElZmkzOwc4yZqJDn/WNFEoT0fx9y"},
		{NH_EFORMAT, "",
		 "MIIBEzCBuqADAgECAgEBMAoGCCqGSM49BAMCMAwxCjAIBgNVBAMMAWMwHhcNMjYxMTIwMTMzNTU0WhcNMjYxMjIwMTMzNTU0WjAMMQowCAYDVQQDDAFhMFkwEwYHKoZIzj0CAQYIKoZI"
		 "zj0DAQcDQgAErrUKdgJwGkt+/i9V3dZ9a2ED7QwkctBKcnrziHeQsuhYtDwTIXJUWlunD2OTMsf/oWLkcUm6Aw7YQqHF4cF4xqMNMAswCQYDVR0PBAIwADAKBggqhkjOPQQDAgNIADBF"
		 "AiBiM8n8tMkoCLyk7yDkgeSSbdDGZwiYAzPhf6wPV1+PNAIhAM6Jw3wv1W1q9xHfFdV/4bVP7Zb5C8DtVZ82ely44h9t"},
		{NH_EFORMAT, "",
		 "MIIBFTCBvKADAgECAgEBMAoGCCqGSM49BAMCMAwxCjAIBgNVBAMMAWMwHhcNMjYxMTIwMTMzNTU0WhcNMjYxMjIwMTMzNTU0WjAMMQowCAYDVQQDDAFhMFkwEwYHKoZIzj0CAQYIKoZI"
		 "zj0DAQcDQgAErrUKdgJwGkt+/i9V3dZ9a2ED7QwkctBKcnrziHeQsuhYtDwTIXJUWlunD2OTMsf/oWLkcUm6Aw7YQqHF4cF4xqMPMA0wCwYDVR0jBAQwBYB/MAoGCCqGSM49BAMCA0gA"
		 "MEUCIAhvw/asDGfkee0/OalxL0bKFDgSTtLntC+7M9RJAnCiAiEAt6gGFGP7CwVnJzh4glLyU5JM2NIn0k2fE0mW6d2FX2Q="},
		{NH_EFORMAT, "",
		 "MIIBEzCBuqADAgECAgEBMAoGCCqGSM49BAMCMAwxCjAIBgNVBAMMAWMwHhcNMjYxMTIwMTMzNTU0WhcNMjYxMjIwMTMzNTU0WjAMMQowCAYDVQQDDAFhMFkwEwYHKoZIzj0CAQYIKoZI"
		 "zj0DAQcDQgAErrUKdgJwGkt+/i9V3dZ9a2ED7QwkctBKcnrziHeQsuhYtDwTIXJUWlunD2OTMsf/oWLkcUm6Aw7YQqHF4cF4xqMNMAswCQYDVR0TBAIEADAKBggqhkjOPQQDAgNIADBF"
		 "AiB4H6FOgZpUkKNmb0B1nziZcFESFKGVuYx142bZyfn2QQIhAM1w1PhXB1iJiRBNf2Hf7xWiMC64qQXxDTJ+0mBFN977"},
		{NH_EFORMAT, "",
		 "MIIBFDCBuqADAgECAgEBMAoGCCqGSM49BAMCMAwxCjAIBgNVBAMMAWMwHhcNMjYxMTIwMTMzNTU0WhcNMjYxMjIwMTMzNTU0WjAMMQowCAYDVQQDDAFhMFkwEwYHKoZIzj0CAQYIKoZI"
		 "zj0DAQcDQgAErrUKdgJwGkt+/i9V3dZ9a2ED7QwkctBKcnrziHeQsuhYtDwTIXJUWlunD2OTMsf/oWLkcUm6Aw7YQqHF4cF4xqMNMAswCQYDVR0OBAIwADAKBggqhkjOPQQDAgNJADBG"
		 "AiEA+17facAnOjuRwI8/Sq0HMlf4CzuPJmcgjFYMHfCN/wECIQC2xkjzddmGCJJYZrmiEQqi9pHgeG1hLdIVav7PYDHj3g=="},
	};
	for (size_t i = 0; i < NH_ARRAY_LEN(rows); i++) {
		NH_AUTO_BUF struct nh_buf der = NH_BUF_INIT;
		NH_AUTO_CERT struct nh_cert *cert = NULL;
		struct nh_err e = NH_ERR_INIT;
		assert_int_equal(nh_b64_decode(nh_slice_str(rows[i].base64), NH_B64_STD, &der), NH_OK);
		nh_rc rc = nh_cert_parse_der(nh_buf_slice(&der), &cert, &e);
		if (rc != rows[i].rc)
			fail_msg("row %zu: %s %s", i, nh_rc_name(rc), e.msg);
		if (rc == NH_OK)
			assert_slice(cert->common_name, rows[i].common_name);
		else
			assert_null(cert);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(authority),	  cmocka_unit_test(leaves), cmocka_unit_test(stranger_signed), cmocka_unit_test(refused_issues),
		cmocka_unit_test(serials),	  cmocka_unit_test(two_digit_years), cmocka_unit_test(made_by_openssl), cmocka_unit_test(weak_signature),
		cmocka_unit_test(keys),	  cmocka_unit_test(requests), cmocka_unit_test(chains_and_pem), cmocka_unit_test(odd_certificates),
	};
	return cmocka_run_group_tests(tests, make_dir, remove_dir);
}
