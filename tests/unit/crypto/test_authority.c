/*
 * What a certificate authority needs of its key: profiles, revocation lists, keys that are encrypted or stay in a token, requests whose keys are judged. openssl(1), certtool(1)
 * and SoftHSM are the others.
 */
#include "judge.h"

#include <stdlib.h>
#include <unistd.h>

#include "base/file.h"
#include "base/pem.h"
#include "base/process.h"
#include "crypto/pki.h"

#define DAY_US (INT64_C(86400) * NH_US_PER_S)
#define NOW_US (INT64_C(1767225600) * NH_US_PER_S) /* 2026-01-01 */

static char dir[] = "/tmp/nh-test-authority-XXXXXX";

/* SoftHSM reads its configuration when the library is first asked for a token. */
static int make_dir(void **state)
{
	if (!mkdtemp(dir) || chdir(dir) != 0)
		return -1;
	NH_AUTO_BUF struct nh_buf conf = NH_BUF_INIT;
	nh_buf_printf(&conf, "directories.tokendir = %s\nobjectstore.backend = file\nlog.level = ERROR\n", dir);
	setenv("SOFTHSM2_CONF", "softhsm.conf", 1);
	return nh_file_write_atomic("softhsm.conf", nh_buf_slice(&conf), 0600, NULL) == NH_OK ? 0 : -1;
}

static int remove_dir(void **state)
{
	int status = 0;
	struct nh_process p = {.argv = (const char *const[]){"rm", "-r", dir, NULL}, .cwd = "/"};
	return nh_process_run(&p, &status, NULL, NULL, NULL) == NH_OK ? status : -1;
}

static void save_pem(const char *name, const struct nh_cert *c)
{
	NH_AUTO_BUF struct nh_buf pem = NH_BUF_INIT;
	nh_cert_put_pem(&pem, c);
	save(name, nh_buf_slice(&pem));
}

static struct nh_key *new_key(void)
{
	struct nh_key *k = NULL;
	assert_int_equal(nh_key_generate_p256(&k, NULL), NH_OK);
	return k;
}

static struct nh_key *openssl_key(const char *how, const char *name)
{
	NH_AUTO_BUF struct nh_buf line = NH_BUF_INIT, pem = NH_BUF_INIT;
	struct nh_key *k = NULL;
	nh_buf_printf(&line, "openssl genpkey %s -out %s 2>&1", how, name);
	shell(nh_buf_cstr(&line), NULL);
	assert_int_equal(nh_file_read(name, 1 << 20, &pem, NULL), NH_OK);
	assert_int_equal(nh_key_parse_pem(nh_buf_slice(&pem), &k, NULL), NH_OK);
	return k;
}

static struct nh_cert *make_root(const struct nh_key *key)
{
	struct nh_cert_profile p = nh_cert_profile_root(NOW_US, 3650 * DAY_US);
	p.organization = NH_LIT("NervesHub");
	p.common_name = NH_LIT("root");
	return issue(&p, key, NULL, key);
}

/* ---- profiles ---------------------------------------------------------------------------------------------------------- */

/* root → a customer's device CA → device; and what that CA must not be able to make: a further CA, a server. */
static void hierarchy(void **state)
{
	NH_AUTO_KEY struct nh_key *root_key = new_key();
	NH_AUTO_KEY struct nh_key *ca_key = new_key();
	NH_AUTO_CERT struct nh_cert *root = make_root(root_key);
	struct nh_cert_profile p = nh_cert_profile_device_ca(NOW_US, 365 * DAY_US);
	p.organization = NH_LIT("acme");
	p.common_name = NH_LIT("acme devices");
	NH_AUTO_CERT struct nh_cert *ca = issue(&p, ca_key, root, root_key);
	assert_int_equal(root->path_len, -1);
	assert_int_equal(root->aki.len, 0);
	assert_int_equal(root->key_usage, NH_KU_KEY_CERT_SIGN | NH_KU_CRL_SIGN);
	assert_int_equal(ca->path_len, 0);
	assert_true(nh_slice_eq(ca->aki, root->ski));
	struct nh_cert_profile device = nh_cert_profile_device(NOW_US, DAY_US), server = nh_cert_profile_server(NOW_US, DAY_US), below = nh_cert_profile_ca(NOW_US, DAY_US);
	struct nh_san name = {NH_SAN_DNS, NH_LIT("hub.example")}, address = {NH_SAN_IP, nh_slice_of("\x7f\0\0\1", 4)};
	device.common_name = below.common_name = server.common_name = NH_LIT("d-1");
	server.sans = &name;
	server.san_count = 1;
	save_pem("root.pem", root);
	save_pem("ca.pem", ca);
	NH_AUTO_CERT struct nh_cert *good = issue(&device, ca_key, ca, ca_key);
	NH_AUTO_CERT struct nh_cert *by_name = issue(&server, ca_key, ca, ca_key);
	server.sans = &address;
	NH_AUTO_CERT struct nh_cert *by_address = issue(&server, ca_key, ca, ca_key);
	NH_AUTO_CERT struct nh_cert *another_ca = issue(&below, ca_key, ca, ca_key);
	save_pem("device.pem", good);
	save_pem("name.pem", by_name);
	save_pem("address.pem", by_address);
	save_pem("below.pem", another_ca);
	device.organization = NH_LIT("deeper");
	NH_AUTO_CERT struct nh_cert *grandchild = issue(&device, root_key, another_ca, ca_key);
	save_pem("grandchild.pem", grandchild);
#define VERIFY "openssl verify -attime 1767225700 -CAfile root.pem -untrusted ca.pem "
	NH_AUTO_BUF struct nh_buf text = NH_BUF_INIT;
	shell(VERIFY "-x509_strict -purpose sslclient device.pem; openssl x509 -in ca.pem -noout -text", &text);
	assert_contains(&text, "device.pem: OK");
	assert_contains(&text, "CA:TRUE, pathlen:0");
	assert_contains(&text, "TLS Web Client Authentication");
	assert_contains(&text, "X509v3 Name Constraints: critical");
	static const struct {
		const char *line, *why;
	} refused[] = {
		{VERIFY "-purpose sslserver name.pem", "unsuitable certificate purpose"},
		{VERIFY "name.pem", "excluded subtree violation"},
		{VERIFY "address.pem", "excluded subtree violation"},
		{"cat ca.pem below.pem > chain.pem && openssl verify -attime 1767225700 -CAfile root.pem -untrusted chain.pem grandchild.pem", "path length constraint exceeded"},
	};
	for (size_t i = 0; i < NH_ARRAY_LEN(refused); i++) {
		NH_AUTO_BUF struct nh_buf line = NH_BUF_INIT, said = NH_BUF_INIT;
		nh_buf_printf(&line, "%s 2>&1 && exit 1 || true", refused[i].line);
		shell(nh_buf_cstr(&line), &said);
		assert_contains(&said, refused[i].why);
	}
}

/* ---- revocation lists -------------------------------------------------------------------------------------------------- */

static void judge_list(const struct nh_key *key)
{
	NH_AUTO_CERT struct nh_cert *root = make_root(key);
	NH_AUTO_KEY struct nh_key *leaf_key = new_key();
	struct nh_cert_profile p = nh_cert_profile_user(NOW_US, 30 * DAY_US);
	p.common_name = NH_LIT("ada");
	NH_AUTO_CERT struct nh_cert *kept = issue(&p, leaf_key, root, key);
	NH_AUTO_CERT struct nh_cert *gone = issue(&p, leaf_key, root, key);
	const struct nh_crl_entry entries[] = {
		{gone->serial, NOW_US - DAY_US, NH_CRL_KEY_COMPROMISE},
		{NH_LIT("\1\2\3"), NOW_US - 2 * DAY_US, NH_CRL_UNSPECIFIED},
		{NH_LIT("\4"), INT64_C(2600000000) * NH_US_PER_S, NH_CRL_SUPERSEDED}, /* 2052: another form of date */
	};
	NH_AUTO_BUF struct nh_buf der = NH_BUF_INIT, text = NH_BUF_INIT, serial = NH_BUF_INIT;
	struct nh_err e = NH_ERR_INIT;
	if (nh_crl_issue(&der, root, key, NOW_US, NOW_US + DAY_US, entries, NH_ARRAY_LEN(entries), &e) != NH_OK)
		fail_msg("%s", e.msg);
	save_pem("root.pem", root);
	save_pem("kept.pem", kept);
	save_pem("gone.pem", gone);
	save("list.crl", nh_buf_slice(&der));
	shell("openssl crl -inform DER -in list.crl -out list.pem && openssl crl -in list.pem -noout -text -CAfile root.pem 2>&1;"
	      "certtool --crl-info --inder --infile list.crl", &text);
	nh_buf_printf(&serial, "Serial Number: %.*s", NH_ARG(gone->serial_hex));
	static const char *const wanted[] = {"verify OK", "Version 2 (0x1)", "Last Update: Jan  1 00:00:00 2026 GMT", "Next Update: Jan  2 00:00:00 2026 GMT",
					     "Revocation Date: Dec 31 00:00:00 2025 GMT", "Key Compromise", "Superseded", "Serial Number: 010203", "May 22", "X509v3 CRL Number",
					     "X509v3 Authority Key Identifier", "Revoked certificates (3):"};
	for (size_t i = 0; i < NH_ARRAY_LEN(wanted); i++)
		assert_contains(&text, wanted[i]);
	assert_contains(&text, nh_buf_cstr(&serial));
	nh_buf_clear(&text);
	shell("V='openssl verify -crl_check -attime 1767225700 -CAfile root.pem -CRLfile list.pem'; $V kept.pem; $V gone.pem 2>&1 || true", &text);
	assert_contains(&text, "kept.pem: OK");
	assert_contains(&text, "certificate revoked");
}

static void lists(void **state)
{
	NH_AUTO_KEY struct nh_key *ec = new_key();
	NH_AUTO_KEY struct nh_key *p384 = openssl_key("-algorithm EC -pkeyopt ec_paramgen_curve:P-384", "p384.key");
	NH_AUTO_KEY struct nh_key *rsa = openssl_key("-algorithm RSA -pkeyopt rsa_keygen_bits:2048", "rsa.key");
	NH_AUTO_KEY struct nh_key *ed = openssl_key("-algorithm ED25519", "ed.key");
	const struct nh_key *keys[] = {ec, p384, rsa, ed};
	for (size_t i = 0; i < NH_ARRAY_LEN(keys); i++)
		judge_list(keys[i]);
}

static void empty_and_refused_lists(void **state)
{
	NH_AUTO_KEY struct nh_key *key = new_key();
	NH_AUTO_KEY struct nh_key *other = new_key();
	NH_AUTO_CERT struct nh_cert *root = make_root(key);
	struct nh_cert_profile p = nh_cert_profile_user(NOW_US, DAY_US);
	p.common_name = NH_LIT("ada");
	NH_AUTO_CERT struct nh_cert *leaf = issue(&p, key, root, key);
	NH_AUTO_BUF struct nh_buf der = NH_BUF_INIT, text = NH_BUF_INIT;
	assert_int_equal(nh_crl_issue(&der, root, other, NOW_US, NOW_US + 1, NULL, 0, NULL), NH_EINVAL);
	assert_int_equal(nh_crl_issue(&der, leaf, key, NOW_US, NOW_US + 1, NULL, 0, NULL), NH_EINVAL);
	assert_int_equal(nh_crl_issue(&der, root, key, NOW_US, NOW_US, NULL, 0, NULL), NH_EINVAL);
	assert_int_equal(der.len, 0);
	assert_int_equal(nh_crl_issue(&der, root, key, NOW_US, NOW_US + DAY_US, NULL, 0, NULL), NH_OK);
	save_pem("root.pem", root);
	save("empty.crl", nh_buf_slice(&der));
	shell("openssl crl -inform DER -in empty.crl -noout -text -CAfile root.pem 2>&1; certtool --crl-info --inder --infile empty.crl", &text);
	assert_contains(&text, "No Revoked Certificates.");
	assert_contains(&text, "No revoked certificates");
}

/* ---- keys -------------------------------------------------------------------------------------------------------------- */

static void sealed_keys(void **state)
{
	NH_AUTO_KEY struct nh_key *key = new_key();
	NH_AUTO_KEY struct nh_key *again = NULL;
	NH_AUTO_KEY struct nh_key *theirs = NULL;
	NH_AUTO_BUF struct nh_buf pem = NH_BUF_INIT, spki = NH_BUF_INIT, back = NH_BUF_INIT;
	struct nh_err e = NH_ERR_INIT;
	assert_int_equal(nh_key_put_pem_sealed(&pem, key, "open sesame", &e), NH_OK);
	assert_contains(&pem, "-----BEGIN ENCRYPTED PRIVATE KEY-----");
	assert_int_equal(nh_key_parse_pem_sealed(nh_buf_slice(&pem), "open sesame", &again, &e), NH_OK);
	assert_int_equal(nh_key_put_spki(&spki, key, &e), NH_OK);
	assert_int_equal(nh_key_put_spki(&back, again, &e), NH_OK);
	assert_true(nh_slice_eq(nh_buf_slice(&spki), nh_buf_slice(&back)));
	save("sealed.pem", nh_buf_slice(&pem));
	save("spki.der", nh_buf_slice(&spki));
	shell("openssl pkey -in sealed.pem -passin 'pass:open sesame' -pubout -outform DER | cmp - spki.der && openssl pkcs8 -topk8 -in sealed.pem -passin 'pass:open sesame'"
	      " -passout pass:other -out theirs.pem", NULL);
	nh_buf_clear(&pem);
	assert_int_equal(nh_file_read("theirs.pem", 1 << 20, &pem, &e), NH_OK);
	assert_int_equal(nh_key_parse_pem_sealed(nh_buf_slice(&pem), "other", &theirs, &e), NH_OK);
	struct nh_key *none = NULL;
	assert_int_equal(nh_key_parse_pem_sealed(nh_buf_slice(&pem), "open sesame", &none, &e), NH_EAUTH);
	assert_null(none);
	assert_int_equal(nh_key_parse_pem_sealed(NH_LIT("-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n"), "x", &none, &e), NH_EFORMAT);
	assert_null(none);
}

/* A key that never leaves its token signs certificates, lists and requests as any other, and cannot be written. */
static void token_keys(void **state)
{
	shell("softhsm2-util --init-token --free --label authority --pin 1234 --so-pin 5678 && "
	      "pkcs11-tool --module $(find /usr/lib -name libsofthsm2.so | head -n1) --token-label authority --login --pin 1234 --keypairgen --key-type EC:prime256v1 --label ca --id 01", NULL);
	NH_AUTO_KEY struct nh_key *key = NULL;
	struct nh_key *none = NULL;
	struct nh_err e = NH_ERR_INIT;
	if (nh_key_open_url("pkcs11:token=authority;object=ca?pin-value=1234", &key, &e) != NH_OK)
		fail_msg("%s", e.msg);
	assert_int_equal(nh_key_open_url("pkcs11:token=authority;object=other?pin-value=1234", &none, &e), NH_ENOTFOUND);
	assert_int_equal(nh_key_open_url("pkcs11:token=nobody;object=ca?pin-value=1234", &none, &e), NH_ENOTFOUND);
	assert_int_equal(nh_key_open_url("pkcs11:", &none, &e), NH_ENOTFOUND);
	assert_null(none);
	judge_list(key);
	NH_AUTO_BUF struct nh_buf out = NH_BUF_INIT, text = NH_BUF_INIT;
	assert_int_equal(nh_key_put_pem(&out, key, &e), NH_EUNSUPPORTED);
	assert_int_equal(nh_key_put_pem_pkcs8(&out, key, &e), NH_EUNSUPPORTED);
	assert_int_equal(nh_key_put_der(&out, key, &e), NH_EUNSUPPORTED);
	assert_int_equal(nh_key_put_pem_sealed(&out, key, "x", &e), NH_EUNSUPPORTED);
	assert_int_equal(out.len, 0);
	assert_int_equal(nh_csr_build(&out, NH_LIT("acme"), NH_LIT("ca"), key, &e), NH_OK);
	save("token.csr", nh_buf_slice(&out));
	shell("openssl req -in token.csr -noout -verify 2>&1", &text);
	assert_contains(&text, "verify OK");
}

/* ---- requests ---------------------------------------------------------------------------------------------------------- */

static void judged_requests(void **state)
{
	static const struct {
		const char *how, *kind;
		unsigned bits;
		bool strong;
	} rows[] = {
		{"-algorithm EC -pkeyopt ec_paramgen_curve:P-256", "EC/ECDSA", 256, true},
		{"-algorithm EC -pkeyopt ec_paramgen_curve:P-384", "EC/ECDSA", 384, true},
		{"-algorithm EC -pkeyopt ec_paramgen_curve:P-521", "EC/ECDSA", 528, true},
		{"-algorithm EC -pkeyopt ec_paramgen_curve:P-224", "EC/ECDSA", 224, false},
		{"-algorithm RSA -pkeyopt rsa_keygen_bits:1024", "RSA", 1024, false},
		{"-algorithm RSA -pkeyopt rsa_keygen_bits:2048", "RSA", 2048, true},
		{"-algorithm ED25519", "EdDSA (Ed25519)", 256, true},
	};
	for (size_t i = 0; i < NH_ARRAY_LEN(rows); i++) {
		NH_AUTO_BUF struct nh_buf line = NH_BUF_INIT, pem = NH_BUF_INIT;
		struct nh_csr *csr = NULL;
		struct nh_err e = NH_ERR_INIT;
		nh_buf_printf(&line, "openssl genpkey %s -out r.key 2>/dev/null && openssl req -new -key r.key -subj /O=acme/CN=d-1 -out r.csr", rows[i].how);
		shell(nh_buf_cstr(&line), NULL);
		assert_int_equal(nh_file_read("r.csr", 1 << 20, &pem, &e), NH_OK);
		if (nh_csr_parse_pem(nh_buf_slice(&pem), &csr, &e) != NH_OK)
			fail_msg("%s: %s", rows[i].how, e.msg);
		assert_slice(csr->common_name, "d-1");
		assert_string_equal(csr->key_kind, rows[i].kind);
		assert_int_equal(csr->key_bits, rows[i].bits);
		assert_int_equal(csr->strong, rows[i].strong);
		nh_csr_free(csr);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(hierarchy),	   cmocka_unit_test(lists),	 cmocka_unit_test(empty_and_refused_lists),
		cmocka_unit_test(sealed_keys),	   cmocka_unit_test(token_keys), cmocka_unit_test(judged_requests),
	};
	return cmocka_run_group_tests(tests, make_dir, remove_dir);
}
