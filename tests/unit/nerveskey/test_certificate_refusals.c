/* What is refused, and that the message says why: signers changed in one place each, stored bytes that are no certificate, texts, clocks, creation. */
#include "vectors.h"

#include "base/der.h"
#include "base/pem.h"
#include "certificate_int.h"

static const json_t *signer_row(void) { return json_array_get(vectors("signer_certs"), 0); }

/* Replaces the n-th occurrence (0 is the first) of one byte string by another of the same length. */
static void patch(struct nh_buf *der, nh_slice from, nh_slice to, unsigned n)
{
	size_t at = 0;
	for (;; n--, at++) {
		ptrdiff_t found = nh_slice_find(nh_slice_skip(nh_buf_slice(der), at), from);
		assert_true(found >= 0);
		at += (size_t)found;
		if (n == 0)
			break;
	}
	assert_int_equal(from.len, to.len);
	memcpy(der->ptr + at, to.ptr, to.len);
}

static const struct {
	const char *what;
	nh_slice from, to;
	unsigned n;
	const char *says;
} patches[] = {
	{"issuer", {(const uint8_t *)"Signer", 6}, {(const uint8_t *)"Signet", 6}, 0, "its issuer is CN=Signet and must be CN=Signer"},
	{"subject", {(const uint8_t *)"Signer", 6}, {(const uint8_t *)"S\001gner", 6}, 1, "its subject is CN=5301676e6572 and must be CN=Signer"},
	{"another attribute", {(const uint8_t *)"\x55\x04\x03", 3}, {(const uint8_t *)"\x55\x04\x0a", 3}, 0, "its issuer is O=Signer and must be"},
	{"an attribute unknown", {(const uint8_t *)"\x55\x04\x03", 3}, {(const uint8_t *)"\x55\x04\x7f", 3}, 1, "its subject is ?=Signer and must be"},
	{"string type", {(const uint8_t *)"\x0c\x06Signer", 8}, {(const uint8_t *)"\x13\x06Signer", 8}, 0, "string type 0x13, not UTF8String"},
	{"minutes", {(const uint8_t *)"240419110000Z", 13}, {(const uint8_t *)"240419113000Z", 13}, 0, "valid from 11:30:00"},
	{"seconds", {(const uint8_t *)"240419110000Z", 13}, {(const uint8_t *)"240419110059Z", 13}, 0, "valid from 11:00:59"},
	{"another day of the year", {(const uint8_t *)"250419110000Z", 13}, {(const uint8_t *)"250420110000Z", 13}, 0, "day and hour of the year"},
	{"the last century", {(const uint8_t *)"240419110000Z", 13}, {(const uint8_t *)"990419110000Z", 13}, 0, "a year outside 2000 to 2031"},
	{"no such month", {(const uint8_t *)"240419110000Z", 13}, {(const uint8_t *)"241319110000Z", 13}, 0, "validity is not two times"},
	{"an offset", {(const uint8_t *)"240419110000Z", 13}, {(const uint8_t *)"2404191100+01", 13}, 0, "validity is not two times"},
	{"serial number", {(const uint8_t *)"\x73\x7a\x79\xd0", 4}, {(const uint8_t *)"\x73\x7a\x79\xd1", 4}, 0, "its serial number is 0210737a79d1"},
	{"version 2", {(const uint8_t *)"\xa0\x03\x02\x01\x02", 5}, {(const uint8_t *)"\xa0\x03\x02\x01\x01", 5}, 0, "its version is a003020101"},
	{"path length", {(const uint8_t *)"\x02\x01\x00", 3}, {(const uint8_t *)"\x02\x01\x01", 3}, 0, "its extensions must be basicConstraints (critical, CA"},
	{"not critical", {(const uint8_t *)"\x01\x01\xff\x04\x04", 5}, {(const uint8_t *)"\x01\x01\x00\x04\x04", 5}, 0, "its extensions must be"},
	{"key usage", {(const uint8_t *)"\x03\x02\x01\x86", 4}, {(const uint8_t *)"\x03\x02\x01\x06", 4}, 0, "its extensions must be"},
	{"key identifier as RFC 5280 has it", {(const uint8_t *)"\xdf\x69\xa8\x23", 4}, {(const uint8_t *)"\x11\x22\x33\x44", 4}, 0, "SHA-1 of the whole SubjectPublicKeyInfo"},
	{"inner algorithm", {(const uint8_t *)"\x3d\x04\x03\x02", 4}, {(const uint8_t *)"\x3d\x04\x03\x03", 4}, 0, "not signed with ecdsa-with-SHA256"},
	{"outer algorithm", {(const uint8_t *)"\x3d\x04\x03\x02", 4}, {(const uint8_t *)"\x3d\x04\x03\x03", 4}, 1, "not signed with ecdsa-with-SHA256"},
	{"another curve", {(const uint8_t *)"\x3d\x03\x01\x07", 4}, {(const uint8_t *)"\x3d\x03\x01\x06", 4}, 0, "not an EC key on P-256"},
	{"compressed point", {(const uint8_t *)"\x03\x42\x00\x04\x72", 5}, {(const uint8_t *)"\x03\x42\x00\x02\x72", 5}, 0, "not an EC key on P-256"},
	{"not on the curve", {(const uint8_t *)"\x72\x27\x0f\x1a", 4}, {(const uint8_t *)"\x72\x27\x0f\x1b", 4}, 0, "not a point of P-256"},
	{"the signature's r", {(const uint8_t *)"\x09\x0f\xd0\x3f", 4}, {(const uint8_t *)"\x09\x0f\xd0\x3e", 4}, 0, "not signed by its own key"},
	{"a negative number", {(const uint8_t *)"\x02\x20\x09\x0f\xd0\x3f", 6}, {(const uint8_t *)"\x02\x20\x89\x0f\xd0\x3f", 6}, 0, "not a well-formed ECDSA signature"},
	{"unused bits", {(const uint8_t *)"\x00\x30\x45\x02\x20", 5}, {(const uint8_t *)"\x01\x30\x45\x02\x20", 5}, 0, "not a well-formed ECDSA signature"},
};

static void changed_signers(void **state)
{
	for (size_t i = 0; i < NH_ARRAY_LEN(patches); i++) {
		NH_AUTO_BUF struct nh_buf der = NH_BUF_INIT;
		uint8_t compressed[NH_NERVESKEY_COMPRESSED_LEN];
		struct nh_err err = NH_ERR_INIT;
		vector_hex(signer_row(), "der", &der);
		patch(&der, patches[i].from, patches[i].to, patches[i].n);
		if (nh_nerveskey_signer_compress(nh_buf_slice(&der), compressed, &err) != NH_EINVAL)
			fail_msg("%s was accepted", patches[i].what);
		if (!strstr(err.msg, patches[i].says))
			fail_msg("%s: '%s' does not say '%s'", patches[i].what, err.msg, patches[i].says);
	}
}

/* A certificate cut anywhere, with a byte more, with a byte flipped anywhere: never accepted, never read beyond its end. */
static void broken_anywhere(void **state)
{
	NH_AUTO_BUF struct nh_buf der = NH_BUF_INIT;
	uint8_t compressed[NH_NERVESKEY_COMPRESSED_LEN];
	vector_hex(signer_row(), "der", &der);
	for (size_t i = 0; i < der.len; i++) {
		uint8_t *exact = malloc(i + 1); /* of exactly this size, so that a byte too far is seen */
		assert_non_null(exact);
		memcpy(exact, der.ptr, i);
		assert_int_equal(nh_nerveskey_signer_compress(nh_slice_of(exact, i), compressed, NULL), NH_EINVAL);
		free(exact);
		der.ptr[i] ^= 0x01;
		assert_int_equal(nh_nerveskey_signer_compress(nh_buf_slice(&der), compressed, NULL), NH_EINVAL);
		der.ptr[i] ^= 0x01;
	}
	assert_int_equal(nh_nerveskey_signer_compress(nh_buf_slice(&der), compressed, NULL), NH_OK);
	struct nh_err err = NH_ERR_INIT;
	nh_buf_put_u8(&der, 0);
	assert_int_equal(nh_nerveskey_signer_compress(nh_buf_slice(&der), compressed, &err), NH_EINVAL);
	assert_says(err, "bytes that do not belong to it");
	nh_buf_fill(&der, 0, CERTIFICATE_MAX);
	assert_int_equal(nh_nerveskey_signer_compress(nh_buf_slice(&der), compressed, &err), NH_EINVAL);
	assert_says(err, "is none of a NervesKey");
}

/* The same certificate with a length in a longer form than needed. */
static void longer_lengths(void **state)
{
	NH_AUTO_BUF struct nh_buf der = NH_BUF_INIT, longer = NH_BUF_INIT;
	uint8_t compressed[NH_NERVESKEY_COMPRESSED_LEN];
	struct nh_err err = NH_ERR_INIT;
	vector_hex(signer_row(), "der", &der);
	nh_buf_put(&longer, "\x30\x83\x00", 3);
	nh_buf_put_slice(&longer, nh_slice_skip(nh_buf_slice(&der), 2));
	assert_int_equal(nh_nerveskey_signer_compress(nh_buf_slice(&longer), compressed, &err), NH_EINVAL);
	assert_says(err, "not DER in its shortest form");
}

static void stored_bytes(void **state)
{
	static const struct {
		size_t at;
		uint8_t value;
		nh_nerveskey_template which;
		const char *says;
	} rows[] = {
		{COMPRESSED_SOURCE, 0xA1, NH_NERVESKEY_TEMPLATE_SIGNER, "format version 1"},
		{COMPRESSED_RESERVED, 0x40, NH_NERVESKEY_TEMPLATE_SIGNER, "reserved byte 0x40"},
		{COMPRESSED_TEMPLATE, 0x00, NH_NERVESKEY_TEMPLATE_SIGNER, "template 0, chain 0; expected template 1"},
		{COMPRESSED_TEMPLATE, 0x11, NH_NERVESKEY_TEMPLATE_SIGNER, "template 1, chain 1"},
		{COMPRESSED_SOURCE, 0xB0, NH_NERVESKEY_TEMPLATE_SIGNER, "serial number source 0xB; expected 0xA"},
		{COMPRESSED_SIGNER_ID, 0x01, NH_NERVESKEY_TEMPLATE_SIGNER, "signer id 0x0100"},
		{COMPRESSED_SIGNER_ID + 1, 0x01, NH_NERVESKEY_TEMPLATE_SIGNER, "signer id 0x0001"},
		{COMPRESSED_DATES, 0xC0, NH_NERVESKEY_TEMPLATE_SIGNER, "dates that do not exist"},
		{0, 9, NH_NERVESKEY_TEMPLATE_DEVICE, "expected template 0"},
		{0, 9, NH_NERVESKEY_TEMPLATE_TNG_DEVICE, "expected template 3"},
	};
	uint8_t key[NH_P256_PUBLIC_LEN], stored[NH_NERVESKEY_COMPRESSED_LEN];
	const struct nh_nerveskey_parts parts = {.subject_key = key};
	NH_AUTO_BUF struct nh_buf out = NH_BUF_INIT;
	struct nh_err err = NH_ERR_INIT;
	vector_bytes(signer_row(), "public_key", key, sizeof key);
	for (size_t i = 0; i < NH_ARRAY_LEN(rows); i++) {
		vector_bytes(signer_row(), "compressed", stored, sizeof stored);
		stored[rows[i].at] = rows[i].value;
		assert_int_equal(nh_nerveskey_certificate_rebuild(rows[i].which, stored, &parts, &out, &err), NH_EFORMAT);
		assert_says(err, rows[i].says);
	}
	memset(stored, 0, sizeof stored);
	assert_int_equal(nh_nerveskey_certificate_rebuild(NH_NERVESKEY_TEMPLATE_DEVICE, stored, &parts, &out, &err), NH_EFORMAT);
	assert_says(err, "no device certificate is stored");
	vector_bytes(signer_row(), "compressed", stored, sizeof stored);
	assert_int_equal(nh_nerveskey_certificate_rebuild(NH_NERVESKEY_TEMPLATE_SIGNER, stored, &(struct nh_nerveskey_parts){0}, &out, &err), NH_EINVAL);
	assert_int_equal(out.len, 0);
}

static void missing_parts(void **state)
{
	const json_t *row = json_array_get(vectors("device_certs"), 0);
	uint8_t key[NH_P256_PUBLIC_LEN], stored[NH_NERVESKEY_COMPRESSED_LEN], chip[NH_ATECC_SERIAL_LEN];
	char name[NH_NERVESKEY_SERIAL_MAX + 1];
	memset(name, 'x', sizeof name);
	vector_bytes(row, "compressed", stored, sizeof stored);
	vector_bytes(row, "device_public_key", key, sizeof key);
	vector_bytes(row, "device_sn", chip, sizeof chip);
	const struct {
		struct nh_nerveskey_parts parts;
		const char *says;
	} rows[] = {
		{{.signer_key = key, .chip_serial = chip, .manufacturer_serial = NH_LIT("x")}, "needs its public key"},
		{{.subject_key = key, .chip_serial = chip, .manufacturer_serial = NH_LIT("x")}, "the signer's"},
		{{.subject_key = key, .signer_key = key, .manufacturer_serial = NH_LIT("x")}, "chip's serial number"},
		{{.subject_key = key, .signer_key = key, .chip_serial = chip}, "1 to 48 bytes, not 0"},
		{{.subject_key = key, .signer_key = key, .chip_serial = chip, .manufacturer_serial = nh_slice_of(name, sizeof name)}, "1 to 48 bytes, not 49"},
	};
	for (size_t i = 0; i < NH_ARRAY_LEN(rows); i++) {
		NH_AUTO_BUF struct nh_buf out = NH_BUF_INIT;
		struct nh_err err = NH_ERR_INIT;
		assert_int_equal(nh_nerveskey_certificate_rebuild(NH_NERVESKEY_TEMPLATE_DEVICE, stored, &rows[i].parts, &out, &err), NH_EINVAL);
		assert_says(err, rows[i].says);
	}
}

static void texts(void **state)
{
	NH_AUTO_BUF struct nh_buf der = NH_BUF_INIT, pem = NH_BUF_INIT, out = NH_BUF_INIT;
	vector_hex(signer_row(), "der", &der);
	nh_buf_put_slice(&pem, nh_json_text(signer_row(), "private_key_pem")); /* another block before it */
	nh_pem_put(&pem, "CERTIFICATE", nh_buf_slice(&der));
	assert_int_equal(nh_nerveskey_certificate_read(nh_buf_slice(&pem), &out, NULL), NH_OK);
	assert_bytes(nh_buf_slice(&out), nh_buf_slice(&der));
	nh_buf_clear(&out);
	assert_int_equal(nh_nerveskey_certificate_read(nh_buf_slice(&der), &out, NULL), NH_OK);
	assert_bytes(nh_buf_slice(&out), nh_buf_slice(&der));
	static const char *const none[] = {"", "hello", "-----BEGIN CERTIFICATE-----\n!!\n-----END CERTIFICATE-----\n", "-----BEGIN CERTIFICATE-----\nMAA=\n"};
	for (size_t i = 0; i < NH_ARRAY_LEN(none); i++)
		assert_int_equal(nh_nerveskey_certificate_read(nh_slice_str(none[i]), &out, NULL), NH_EFORMAT);
	assert_int_equal(nh_nerveskey_certificate_read(nh_json_text(signer_row(), "private_key_pem"), &out, NULL), NH_EFORMAT);
}

static int64_t given_time(void *ctx) { return *(const int64_t *)ctx; }

struct hand {
	struct nh_rng_seeded seed;
	struct nh_rng rng;
	int64_t now_us;
	struct nh_clock clock;
	struct nh_p256_key signer, device;
};

static void hand_init(struct hand *h, const char *iso)
{
	h->rng = nh_rng_seeded_init(&h->seed, 7);
	h->clock = (struct nh_clock){given_time, &h->now_us};
	assert_int_equal(nh_time_parse_iso(nh_slice_str(iso), &h->now_us), NH_OK);
	nh_p256_generate(&h->rng, &h->signer);
	nh_p256_generate(&h->rng, &h->device);
}

static void clocks(void **state)
{
	static const struct {
		const char *now, *not_before, *says; /* says: of the clock check; NULL: good */
	} rows[] = {
		{"1970-01-01T00:00:10Z", "1970-01-01T00:00:00Z", "clock is before 2025"}, {"2024-12-31T23:59:59Z", "2024-12-31T23:00:00Z", "clock is before 2025"},
		{"2025-01-01T00:00:00Z", "2025-01-01T00:00:00Z", NULL},			   {"2028-02-29T13:14:15Z", "2028-02-28T13:00:00Z", NULL},
		{"2031-12-31T23:59:59Z", "2031-12-31T23:00:00Z", NULL},			   {"2032-01-01T00:00:00Z", "2032-01-01T00:00:00Z", "clock is after 2031"},
	};
	for (size_t i = 0; i < NH_ARRAY_LEN(rows); i++) {
		struct hand h;
		int64_t want = 0;
		struct nh_err err = NH_ERR_INIT;
		hand_init(&h, rows[i].now);
		assert_int_equal(nh_time_parse_iso(nh_slice_str(rows[i].not_before), &want), NH_OK);
		assert_true(nh_nerveskey_not_before(&h.clock) == want / NH_US_PER_S);
		assert_int_equal(nh_nerveskey_clock_check(&h.clock, &err), rows[i].says ? NH_EINVAL : NH_OK);
		if (rows[i].says)
			assert_says(err, rows[i].says);
	}
}

static void creation(void **state)
{
	struct hand h;
	struct nh_err err = NH_ERR_INIT;
	NH_AUTO_BUF struct nh_buf signer = NH_BUF_INIT, other = NH_BUF_INIT, device = NH_BUF_INIT;
	struct nh_nerveskey_certificate c;
	const uint8_t chip[NH_ATECC_SERIAL_LEN] = {1, 0x23, 4, 5, 6, 7, 8, 9, 0xEE};
	char name[NH_NERVESKEY_SERIAL_MAX + 1];
	uint8_t compressed[NH_NERVESKEY_COMPRESSED_LEN], again[NH_NERVESKEY_COMPRESSED_LEN];
	memset(name, 'x', sizeof name);
	hand_init(&h, "2026-11-21T15:30:00Z");
	assert_int_equal(nh_nerveskey_signer_create(&h.signer, 32, &h.clock, &h.rng, &signer, &err), NH_EINVAL);
	assert_says(err, "not 32");
	assert_int_equal(nh_nerveskey_signer_create(&h.signer, 0, &h.clock, &h.rng, &signer, &err), NH_OK);
	assert_int_equal(nh_nerveskey_certificate_parse(nh_buf_slice(&signer), &c, NULL), NH_OK);
	assert_true(c.not_after_s == NH_NERVESKEY_NEVER);
	assert_int_equal(nh_nerveskey_signer_create(&h.device, 1, &h.clock, &h.rng, &other, &err), NH_OK);
	const struct {
		nh_slice serial;
		const struct nh_buf *signer;
		const char *says;
	} refused[] = {
		{NH_SLICE_EMPTY, &signer, "1 to 48 bytes, not 0"},   {nh_slice_of(name, sizeof name), &signer, "1 to 48 bytes, not 49"},
		{NH_LIT("a/b"), &signer, "without '/'"},	     {NH_LIT("a\nb"), &signer, "control characters"},
		{NH_LIT("\xff"), &signer, "UTF-8"},		     {NH_LIT("x"), &other, "does not belong to the signer's certificate"},
		{NH_LIT("x"), &device, "not an X.509 certificate"},
	};
	for (size_t i = 0; i < NH_ARRAY_LEN(refused); i++) {
		assert_int_equal(nh_nerveskey_device_create(h.device.public_key, refused[i].serial, chip, nh_buf_slice(refused[i].signer), &h.signer, &h.clock, &h.rng, &device, NULL, &err), NH_EINVAL);
		assert_says(err, refused[i].says);
		assert_int_equal(device.len, 0);
	}
	uint8_t off[NH_P256_PUBLIC_LEN] = {1};
	assert_int_equal(nh_nerveskey_device_create(off, NH_LIT("x"), chip, nh_buf_slice(&signer), &h.signer, &h.clock, &h.rng, &device, NULL, &err), NH_EINVAL);
	assert_says(err, "not a point");
	nh_slice longest = nh_slice_of(name, NH_NERVESKEY_SERIAL_MAX);
	assert_int_equal(nh_nerveskey_device_create(h.device.public_key, longest, chip, nh_buf_slice(&signer), &h.signer, &h.clock, &h.rng, &device, compressed, &err), NH_OK);
	const struct nh_nerveskey_parts parts = {.signer_key = h.signer.public_key, .chip_serial = chip, .manufacturer_serial = longest};
	assert_int_equal(nh_nerveskey_device_compress(nh_buf_slice(&device), &parts, again, &err), NH_OK);
	assert_memory_equal(compressed, again, sizeof again);
	h.now_us = INT64_C(2000000000) * NH_US_PER_S; /* 2033 */
	assert_int_equal(nh_nerveskey_signer_create(&h.signer, 1, &h.clock, &h.rng, &signer, &err), NH_EINVAL);
	assert_says(err, "this machine's clock");
}

/* One signature in 128 has a leading zero byte in r or s (trap 5): enough of them that some do, and every one is minimal DER. */
static void leading_zeros(void **state)
{
	struct hand h;
	unsigned zeros = 0;
	hand_init(&h, "2026-11-21T15:30:00Z");
	for (unsigned i = 0; i < 600; i++) {
		NH_AUTO_BUF struct nh_buf der = NH_BUF_INIT, want = NH_BUF_INIT;
		struct nh_nerveskey_certificate c;
		assert_int_equal(nh_nerveskey_signer_create(&h.signer, 1, &h.clock, &h.rng, &der, NULL), NH_OK);
		assert_int_equal(nh_nerveskey_certificate_parse(nh_buf_slice(&der), &c, NULL), NH_OK);
		if (c.signature[0] && c.signature[32])
			continue;
		zeros++;
		nh_slice r = nh_slice_of(c.signature, 32), s = nh_slice_of(c.signature + 32, 32);
		size_t sequence = nh_der_begin(&want, NH_DER_SEQUENCE);
		nh_der_put_unsigned(&want, r);
		nh_der_put_unsigned(&want, s);
		nh_der_end(&want, sequence);
		assert_true(nh_slice_ends(nh_buf_slice(&der), nh_buf_slice(&want)));
	}
	assert_true(zeros > 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(changed_signers), cmocka_unit_test(broken_anywhere), cmocka_unit_test(longer_lengths), cmocka_unit_test(stored_bytes),
		cmocka_unit_test(missing_parts),   cmocka_unit_test(texts),	      cmocka_unit_test(clocks),		cmocka_unit_test(creation),
		cmocka_unit_test(leading_zeros),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
