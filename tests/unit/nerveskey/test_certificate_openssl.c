/*
 * Certificates held against OpenSSL: hundreds of random signers, devices, names and dates made here must be read by `openssl` to the last field and verify as chains; signers made by
 * `openssl` must be taken exactly where they are what the chip can give back. Programs are started once for many certificates each.
 */
#include "vectors.h"

#include <stdio.h>
#include <unistd.h>

#include "base/pem.h"
#include "base/process.h"
#include "certificate_int.h"

#define SIGNERS 20u
#define DEVICES 15u /* of each signer */

static char folder[] = "/tmp/nh-certificates-XXXXXX";

static int make_folder(void **state) { return mkdtemp(folder) ? 0 : -1; }

static int remove_folder(void **state)
{
	const char *const argv[] = {"rm", "-rf", folder, NULL};
	int status = 0;
	return nh_process_run(&(struct nh_process){.argv = argv}, &status, NULL, NULL, NULL) == NH_OK ? status : -1;
}

/* Runs openssl in the folder; its standard output. */
static void openssl(const char *const *argv, struct nh_buf *out)
{
	NH_AUTO_BUF struct nh_buf errors = NH_BUF_INIT;
	struct nh_err err = NH_ERR_INIT;
	int status = 0;
	if (nh_process_run(&(struct nh_process){.argv = argv, .cwd = folder, .timeout_ms = 60000, .max_output_bytes = 8u << 20}, &status, out, &errors, &err) != NH_OK)
		fail_msg("%s %s: %s", argv[0], argv[1], err.msg);
	if (status)
		fail_msg("%s %s: %d: %s", argv[0], argv[1], status, nh_buf_cstr(&errors));
}

static void write_file(const char *name, nh_slice bytes)
{
	NH_AUTO_BUF struct nh_buf path = NH_BUF_INIT;
	nh_buf_printf(&path, "%s/%s", folder, name);
	assert_int_equal(nh_file_write_atomic(nh_buf_cstr(&path), bytes, 0600, NULL), NH_OK);
}

struct world {
	struct nh_rng_seeded seed;
	struct nh_rng rng;
	int64_t now_us;
	struct nh_clock clock;
};

static int64_t world_now(void *ctx) { return ((const struct world *)ctx)->now_us; }

/* Letters, digits, blanks, what needs escaping, letters of two and three bytes. */
static void random_name(const struct nh_rng *rng, struct nh_buf *out)
{
	static const char *const pieces[] = {"A", "b", "7", "-", "_", ".", ",", "+", "=", "\"", "\\", "<", "#", " ", "\xc3\xa4", "\xe2\x82\xac", "0", "x"};
	size_t want = 1 + (size_t)nh_rng_below(rng, NH_NERVESKEY_SERIAL_MAX);
	while (out->len < want) {
		const char *piece = pieces[nh_rng_below(rng, NH_ARRAY_LEN(pieces))];
		nh_buf_put_str(out, strlen(piece) + out->len > want ? "z" : piece);
	}
}

/* "Nov 21 15:00:00 2026 GMT" */
static void openssl_time(struct nh_buf *out, int64_t at_s)
{
	static const char months[] = "JanFebMarAprMayJunJulAugSepOctNovDec";
	NH_AUTO_BUF struct nh_buf iso = NH_BUF_INIT;
	nh_time_put_iso(&iso, at_s * NH_US_PER_S);
	const char *t = nh_buf_cstr(&iso);
	size_t month = (size_t)(t[5] - '0') * 10 + (size_t)(t[6] - '0') - 1;
	nh_buf_printf(out, "%.3s %c%c %.8s %.4s GMT", months + 3 * month, t[8] == '0' ? ' ' : t[8], t[9], t + 11, t);
}

/* Looks for want and empties it. */
static void expect(nh_slice text, struct nh_buf *want)
{
	if (nh_slice_find(text, nh_buf_slice(want)) < 0)
		fail_msg("openssl does not say\n%s\nbut\n%.*s", nh_buf_cstr(want), NH_ARG(text));
	nh_buf_clear(want);
}

/* What `openssl storeutl -text` must say of the certificate; serial number, dates, key identifiers, constraints. */
static void expect_text(nh_slice text, nh_slice der, const uint8_t authority[20], bool signer)
{
	struct nh_nerveskey_certificate c;
	NH_AUTO_BUF struct nh_buf want = NH_BUF_INIT;
	assert_int_equal(nh_nerveskey_certificate_parse(der, &c, NULL), NH_OK);
	nh_buf_put_str(&want, "Serial Number:\n            ");
	for (size_t i = 0; i < c.serial.len; i++)
		nh_buf_printf(&want, "%s%02x", i ? ":" : "", c.serial.ptr[i]);
	expect(text, &want);
	nh_buf_put_str(&want, "Signature Algorithm: ecdsa-with-SHA256\n");
	expect(text, &want);
	nh_buf_put_str(&want, "Validity\n            Not Before: ");
	openssl_time(&want, c.not_before_s);
	nh_buf_put_str(&want, "\n            Not After : ");
	openssl_time(&want, c.not_after_s);
	expect(text, &want);
	nh_buf_put_str(&want, "Authority Key Identifier: \n                ");
	for (size_t i = 0; i < 20; i++)
		nh_buf_printf(&want, "%s%02X", i ? ":" : "", authority[i]);
	expect(text, &want);
	assert_true(nh_slice_find(text, signer ? NH_LIT("Basic Constraints: critical\n                CA:TRUE, pathlen:0") : NH_LIT("Basic Constraints: \n                CA:FALSE")) > 0);
	assert_true(nh_slice_find(text, signer ? NH_LIT("Digital Signature, Certificate Sign, CRL Sign") : NH_LIT("Digital Signature, Key Encipherment")) > 0);
	assert_true(nh_slice_find(text, signer ? NH_LIT("TLS Web Server Authentication, TLS Web Client Authentication") : NH_LIT("Usage: \n                TLS Web Client Authentication\n")) > 0);
}

/* One signer with its devices: files signerN.pem and deviceN.pem with all of them. The DERs are kept for comparison. */
static void make_family(struct world *w, unsigned n, struct nh_buf ders[1 + DEVICES], uint8_t identifier[20])
{
	NH_AUTO_BUF struct nh_buf signer_pem = NH_BUF_INIT, pems = NH_BUF_INIT;
	struct nh_p256_key signer, device;
	struct nh_nerveskey_certificate c;
	char name[32];
	/* 2000 to 2031, any second */
	w->now_us = (INT64_C(946684800) + (int64_t)nh_rng_below(&w->rng, UINT64_C(1009843199))) * NH_US_PER_S;
	nh_p256_generate(&w->rng, &signer);
	assert_int_equal(nh_nerveskey_signer_create(&signer, (unsigned)nh_rng_below(&w->rng, 32), &w->clock, &w->rng, &ders[0], NULL), NH_OK);
	assert_int_equal(nh_nerveskey_certificate_parse(nh_buf_slice(&ders[0]), &c, NULL), NH_OK);
	memcpy(identifier, c.key_identifier, 20);
	nh_pem_put(&signer_pem, "CERTIFICATE", nh_buf_slice(&ders[0]));
	nh_buf_put_slice(&pems, nh_buf_slice(&signer_pem));
	for (unsigned i = 1; i <= DEVICES; i++) {
		NH_AUTO_BUF struct nh_buf serial = NH_BUF_INIT, pem = NH_BUF_INIT;
		uint8_t chip[NH_ATECC_SERIAL_LEN];
		nh_rng_fill(&w->rng, chip, sizeof chip);
		random_name(&w->rng, &serial);
		nh_p256_generate(&w->rng, &device);
		assert_int_equal(nh_nerveskey_device_create(device.public_key, nh_buf_slice(&serial), chip, nh_buf_slice(&ders[0]), &signer, &w->clock, &w->rng, &ders[i], NULL, NULL), NH_OK);
		nh_pem_put(&pem, "CERTIFICATE", nh_buf_slice(&ders[i]));
		snprintf(name, sizeof name, "device%u-%u.pem", n, i);
		write_file(name, nh_buf_slice(&pem));
		nh_buf_put_slice(&pems, nh_buf_slice(&pem));
	}
	snprintf(name, sizeof name, "signer%u.pem", n);
	write_file(name, nh_buf_slice(&signer_pem));
	snprintf(name, sizeof name, "all%u.pem", n);
	write_file(name, nh_buf_slice(&pems));
}

static void verify_family(const struct world *w, unsigned n)
{
	char names[DEVICES][32], signer[32], at[32];
	const char *argv[9 + DEVICES] = {"openssl", "verify", "-attime", at, "-purpose", "sslclient", "-CAfile", signer}; /* not -x509_strict: it would ask devices for a subject key identifier */
	NH_AUTO_BUF struct nh_buf out = NH_BUF_INIT, want = NH_BUF_INIT;
	snprintf(signer, sizeof signer, "signer%u.pem", n);
	snprintf(at, sizeof at, "%lld", (long long)(w->now_us / NH_US_PER_S));
	for (unsigned i = 0; i < DEVICES; i++) {
		snprintf(names[i], sizeof names[i], "device%u-%u.pem", n, i + 1);
		argv[8 + i] = names[i];
		nh_buf_printf(&want, "%s: OK\n", names[i]);
	}
	openssl(argv, &out);
	assert_slice(nh_buf_slice(&out), nh_buf_cstr(&want));
}

static void ours_in_openssl(void **state)
{
	struct world w = {0};
	w.rng = nh_rng_seeded_init(&w.seed, 20260101);
	w.clock = (struct nh_clock){world_now, &w};
	for (unsigned n = 0; n < SIGNERS; n++) {
		struct nh_buf ders[1 + DEVICES] = {0};
		uint8_t identifier[20];
		char all[32];
		NH_AUTO_BUF struct nh_buf text = NH_BUF_INIT;
		make_family(&w, n, ders, identifier);
		verify_family(&w, n);
		snprintf(all, sizeof all, "all%u.pem", n);
		openssl((const char *const[]){"openssl", "storeutl", "-noout", "-text", "-certs", all, NULL}, &text);
		nh_slice rest = nh_buf_slice(&text);
		for (unsigned i = 0; i <= DEVICES; i++) {
			/* "0: Certificate" … "1: Certificate" */
			char next[32];
			snprintf(next, sizeof next, "\n%u: Certificate", i + 1);
			ptrdiff_t end = nh_slice_find(rest, nh_slice_str(next));
			assert_true((end >= 0) == (i < DEVICES));
			nh_slice one = end >= 0 ? nh_slice_sub(rest, 0, (size_t)end) : rest;
			expect_text(one, nh_buf_slice(&ders[i]), identifier, i == 0);
			rest = nh_slice_skip(rest, one.len);
			nh_buf_fini(&ders[i]);
		}
	}
}

/* ---- signers made by openssl: one line of its configuration changed in each */

#define GOOD_BASIC "critical,CA:true,pathlen:0"
#define GOOD_USAGE "critical,digitalSignature,keyCertSign,cRLSign"
#define GOOD_EXTENDED "serverAuth,clientAuth"

static const struct {
	const char *basic, *usage, *extended; /* NULL: the good one */
	const char *name;                     /* common name */
	const char *from, *to;                /* of `openssl ca` */
	const char *says;                     /* NULL: must be accepted */
	bool rfc_identifiers, random_serial, swapped;
} foreign[] = {
	{.says = NULL},
	{.from = "20000101000000Z", .to = "20010101000000Z"},
	{.from = "20311231230000Z", .to = "20621231230000Z"},
	{.from = "20260601050000Z", .to = "99991231235959Z"},
	{.name = "Signer 7", .says = "its issuer is CN=Signer 7 and must be CN=Signer"},
	{.basic = "critical,CA:true", .says = "extensions must be"},
	{.basic = "CA:true,pathlen:0", .says = "extensions must be"},
	{.usage = "critical,digitalSignature,keyCertSign", .says = "extensions must be"},
	{.extended = "clientAuth", .says = "extensions must be"},
	{.rfc_identifiers = true, .says = "SHA-1 of the whole SubjectPublicKeyInfo"},
	{.swapped = true, .says = "in this order"},
	{.random_serial = true, .says = "its serial number is"},
	{.from = "20260601050100Z", .to = "20270601050100Z", .says = "whole hours"},
	{.from = "20260601050000Z", .to = "20270602050000Z", .says = "day and hour"},
	{.from = "20260601050000Z", .to = "20660601050000Z", .says = "1 to 31 whole years"},
	{.from = "20350601050000Z", .to = "20360601050000Z", .says = "a year outside"},
};

static void write_configuration(size_t i, const uint8_t identifier[20])
{
	NH_AUTO_BUF struct nh_buf conf = NH_BUF_INIT, hex = NH_BUF_INIT;
	nh_hex_put(&hex, nh_slice_of(identifier, 20));
	nh_buf_printf(&conf,
		      "[req]\nprompt=no\nutf8=yes\nstring_mask=utf8only\ndistinguished_name=dn\n[dn]\nCN=%s\n"
		      "[ca]\ndefault_ca=a\n[a]\ndatabase=index.txt\nnew_certs_dir=.\nserial=serial.txt\ndefault_md=sha256\npolicy=p\nx509_extensions=e\nemail_in_dn=no\nunique_subject=no\n"
		      "[p]\ncommonName=supplied\n[e]\n",
		      foreign[i].name ? foreign[i].name : "Signer");
	const char *basic = foreign[i].basic ? foreign[i].basic : GOOD_BASIC, *usage = foreign[i].usage ? foreign[i].usage : GOOD_USAGE;
	if (foreign[i].swapped)
		nh_buf_printf(&conf, "keyUsage=%s\nbasicConstraints=%s\n", usage, basic);
	else
		nh_buf_printf(&conf, "basicConstraints=%s\nkeyUsage=%s\n", basic, usage);
	nh_buf_printf(&conf, "extendedKeyUsage=%s\n", foreign[i].extended ? foreign[i].extended : GOOD_EXTENDED);
	if (foreign[i].rfc_identifiers)
		nh_buf_put_str(&conf, "subjectKeyIdentifier=hash\nauthorityKeyIdentifier=keyid:always\n");
	else
		nh_buf_printf(&conf, "subjectKeyIdentifier=%s\nauthorityKeyIdentifier=DER:30168014%s\n", nh_buf_cstr(&hex), nh_buf_cstr(&hex));
	write_file("ca.conf", nh_buf_slice(&conf));
	write_file("index.txt", NH_SLICE_EMPTY);
}

static int64_t compact_time(const char *t)
{
	int64_t us = 0;
	char iso[32];
	snprintf(iso, sizeof iso, "%.4s-%.2s-%.2sT%.2s:%.2s:%.2sZ", t, t + 4, t + 6, t + 8, t + 10, t + 12);
	assert_int_equal(nh_time_parse_iso(nh_slice_str(iso), &us), NH_OK);
	return us / NH_US_PER_S;
}

static void openssls_here(void **state)
{
	struct world w = {0};
	w.rng = nh_rng_seeded_init(&w.seed, 3);
	for (size_t i = 0; i < NH_ARRAY_LEN(foreign); i++) {
		NH_AUTO_BUF struct nh_buf spki = NH_BUF_INIT, pem = NH_BUF_INIT, cert = NH_BUF_INIT, der = NH_BUF_INIT, serial = NH_BUF_INIT, path = NH_BUF_INIT;
		const char *from = foreign[i].from ? foreign[i].from : "20260601050000Z", *to = foreign[i].to ? foreign[i].to : "20310601050000Z";
		struct nh_p256_key key;
		struct nh_err err = NH_ERR_INIT;
		uint8_t identifier[20], dates[3] = {0}, number[NH_NERVESKEY_SERIAL_LEN], compressed[NH_NERVESKEY_COMPRESSED_LEN];
		nh_p256_generate(&w.rng, &key);
		nh_p256_key_put_pem(&pem, &key);
		write_file("key.pem", nh_buf_slice(&pem));
		nh_p256_spki_put(&spki, key.public_key);
		nh_p256_sha1(nh_buf_slice(&spki), identifier);
		NH_IGNORE(nh_nerveskey_dates_encode(compact_time(from), compact_time(to), dates, NULL)); /* where they cannot be said, any serial number is wrong */
		nh_nerveskey_serial_of(nh_slice_of(key.public_key, sizeof key.public_key), dates, number);
		if (foreign[i].random_serial)
			nh_rng_fill(&w.rng, number + 1, sizeof number - 1);
		nh_hex_put_upper(&serial, nh_slice_of(number, sizeof number));
		write_file("serial.txt", nh_buf_slice(&serial));
		write_configuration(i, identifier);
		openssl((const char *const[]){"openssl", "req", "-new", "-config", "ca.conf", "-key", "key.pem", "-out", "request.pem", NULL}, &path);
		openssl((const char *const[]){"openssl", "ca", "-batch", "-notext", "-selfsign", "-config", "ca.conf", "-keyfile", "key.pem", "-in", "request.pem", "-startdate", from,
					      "-enddate", to, "-out", "cert.pem", NULL}, &path);
		nh_buf_clear(&path);
		nh_buf_printf(&path, "%s/cert.pem", folder);
		assert_int_equal(nh_file_read(nh_buf_cstr(&path), 1u << 16, &cert, NULL), NH_OK);
		assert_int_equal(nh_nerveskey_certificate_read(nh_buf_slice(&cert), &der, NULL), NH_OK);
		nh_rc rc = nh_nerveskey_signer_compress(nh_buf_slice(&der), compressed, &err);
		if (rc != (foreign[i].says ? NH_EINVAL : NH_OK))
			fail_msg("signer %zu: %s %s", i, nh_rc_name(rc), err.msg);
		if (foreign[i].says)
			assert_says(err, foreign[i].says);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(ours_in_openssl), cmocka_unit_test(openssls_here)};
	return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
