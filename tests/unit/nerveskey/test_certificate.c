/* Certificates against the vectors: dates, serial numbers, signers, devices, Trust&Go, what the reference wrote into slots. Every refusal with its reason. */
#include "vectors.h"

#include "base/pem.h"
#include "certificate_int.h"

static int64_t seconds(nh_slice iso)
{
	int64_t us = 0;
	assert_int_equal(nh_time_parse_iso(iso, &us), NH_OK);
	return us / NH_US_PER_S;
}

static void validity(void **state)
{
	const json_t *rows = vectors("validity");
	size_t i;
	json_t *row;
	json_array_foreach(rows, i, row) {
		int64_t from = seconds(nh_json_text(row, "not_before")), to = seconds(nh_json_text(row, "not_after")), back_from = 0, back_to = 0;
		uint8_t want[3], got[3] = {0};
		struct nh_err err = NH_ERR_INIT;
		vector_bytes(row, "encoded", want, 3);
		assert_int_equal(nh_nerveskey_dates_decode(want, &back_from, &back_to), NH_OK);
		assert_true(back_from == seconds(nh_json_text(row, "decoded_not_before")) && back_to == seconds(nh_json_text(row, "decoded_not_after")));
		if (nh_json_bool(row, "lossless", false)) {
			assert_int_equal(nh_nerveskey_dates_encode(from, to, got, &err), NH_OK);
			assert_memory_equal(got, want, 3);
		} else {
			assert_int_equal(nh_nerveskey_dates_encode(from, to, got, &err), NH_EINVAL);
		}
	}
	assert_int_equal(i, 10);
}

static void dates_refused(void **state)
{
	static const struct {
		const char *from, *to, *says;
	} rows[] = {
		{"2032-01-01T00:00:00Z", "2033-01-01T00:00:00Z", "a year outside 2000 to 2031"}, {"1999-12-31T23:00:00Z", "2001-12-31T23:00:00Z", "a year outside"},
		{"2026-01-01T00:30:00Z", "2027-01-01T00:30:00Z", "from 00:30:00"},	       {"2026-01-01T01:00:01Z", "2027-01-01T01:00:01Z", "from 01:00:01"},
		{"2026-01-01T00:00:00Z", "2026-12-31T00:00:00Z", "1 to 31 whole years"},      {"2026-01-01T00:00:00Z", "2058-01-01T00:00:00Z", "1 to 31 whole years"},
		{"2026-01-01T00:00:00Z", "2025-01-01T00:00:00Z", "1 to 31 whole years"},      {"2026-01-01T00:00:00Z", "2027-01-02T00:00:00Z", "day and hour"},
		{"2026-01-01T00:00:00Z", "2027-01-01T01:00:00Z", "day and hour"},	       {"2026-01-01T00:00:00Z", "2027-01-01T00:00:01Z", "day and hour"},
		{"2026-03-01T00:00:00Z", "2027-02-01T00:00:00Z", "day and hour"},	       {"2026-01-01T00:00:00Z", "9999-12-31T23:59:58Z", "1 to 31 whole years"},
	};
	uint8_t out[3];
	for (size_t i = 0; i < NH_ARRAY_LEN(rows); i++) {
		struct nh_err err = NH_ERR_INIT;
		assert_int_equal(nh_nerveskey_dates_encode(seconds(nh_slice_str(rows[i].from)), seconds(nh_slice_str(rows[i].to)), out, &err), NH_EINVAL);
		assert_says(err, rows[i].says);
	}
	assert_int_equal(nh_nerveskey_dates_encode(INT64_MIN, INT64_MAX, out, NULL), NH_EINVAL);
	/* months 0 and 13, day 0, 31 June, hour 24; 29 February plus one year, plus four years */
	static const struct {
		uint8_t dates[3];
		nh_rc rc;
	} decoded[] = {{{0xD0, 0x04, 0x01}, NH_EFORMAT}, {{0xD6, 0x84, 0x01}, NH_EFORMAT}, {{0xD0, 0x80, 0x01}, NH_EFORMAT}, {{0xD3, 0x7C, 0x01}, NH_EFORMAT},
		       {{0xD0, 0x87, 0x01}, NH_EFORMAT}, {{0xC1, 0x74, 0x01}, NH_EFORMAT}, {{0xC1, 0x74, 0x04}, NH_OK}, {{0xC1, 0x74, 0x00}, NH_OK}};
	for (size_t i = 0; i < NH_ARRAY_LEN(decoded); i++) {
		int64_t from = 0, to = 0;
		assert_int_equal(nh_nerveskey_dates_decode(decoded[i].dates, &from, &to), decoded[i].rc);
		if (decoded[i].rc == NH_OK)
			assert_int_equal(nh_nerveskey_dates_encode(from, to, out, NULL), NH_OK);
	}
}

/* Every validity that exists comes back: all 2^24 would take long, so all days with one hour and years, all hours, all years. */
static void dates_back_and_forth(void **state)
{
	size_t good = 0;
	for (uint32_t bits = 0; bits < 1u << 24; bits += bits % 1024 == 0 && bits >> 10 & 1 ? 7 : 997) {
		uint8_t dates[3] = {(uint8_t)(bits >> 16), (uint8_t)(bits >> 8), (uint8_t)bits}, again[3];
		int64_t from, to;
		if (nh_nerveskey_dates_decode(dates, &from, &to) != NH_OK)
			continue;
		assert_int_equal(nh_nerveskey_dates_encode(from, to, again, NULL), NH_OK);
		assert_memory_equal(dates, again, 3);
		good++;
	}
	assert_in_range(good, 5000, 30000);
}

static void serial_numbers(void **state)
{
	const json_t *rows = vectors("certificate_serial");
	size_t i;
	json_t *row;
	json_array_foreach(rows, i, row) {
		NH_AUTO_BUF struct nh_buf input = NH_BUF_INIT;
		uint8_t dates[3], want[NH_NERVESKEY_SERIAL_LEN], got[NH_NERVESKEY_SERIAL_LEN];
		vector_hex(row, "input", &input);
		vector_bytes(row, "dates", dates, sizeof dates);
		vector_bytes(row, "serial_hex", want, sizeof want);
		nh_nerveskey_serial_of(nh_buf_slice(&input), dates, got);
		assert_memory_equal(got, want, sizeof got);
	}
	assert_int_equal(i, 2);
}

static void signers(void **state)
{
	const json_t *rows = vectors("signer_certs");
	size_t i, refused = 0;
	json_t *row;
	json_array_foreach(rows, i, row) {
		NH_AUTO_BUF struct nh_buf der = NH_BUF_INIT, want = NH_BUF_INIT, rebuilt = NH_BUF_INIT;
		struct nh_nerveskey_certificate c;
		uint8_t key[NH_P256_PUBLIC_LEN], identifier[20], serial[16], compressed[NH_NERVESKEY_COMPRESSED_LEN];
		struct nh_err err = NH_ERR_INIT;
		vector_hex(row, "der", &der);
		vector_hex(row, "compressed", &want);
		vector_bytes(row, "public_key", key, sizeof key);
		vector_bytes(row, "key_identifier", identifier, sizeof identifier);
		vector_bytes(row, "serial_hex", serial, sizeof serial);
		assert_int_equal(nh_nerveskey_certificate_parse(nh_buf_slice(&der), &c, &err), NH_OK);
		assert_memory_equal(c.public_key, key, sizeof key);
		assert_memory_equal(c.key_identifier, identifier, sizeof identifier);
		assert_bytes(c.serial, nh_slice_of(serial, sizeof serial));
		assert_slice(c.common_name, "Signer");
		assert_bytes(c.issuer, c.subject);
		assert_int_equal(nh_nerveskey_certificate_check(nh_buf_slice(&der), key, &err), NH_OK);
		if (!nh_json_bool(row, "reconstructed_equals_der", false)) {
			assert_int_equal(nh_nerveskey_signer_compress(nh_buf_slice(&der), compressed, &err), NH_EINVAL);
			assert_says(err, "1 to 31 whole years");
			refused++;
			continue;
		}
		assert_int_equal(nh_nerveskey_signer_compress(nh_buf_slice(&der), compressed, &err), NH_OK);
		assert_bytes(nh_slice_of(compressed, sizeof compressed), nh_buf_slice(&want));
		assert_int_equal(nh_nerveskey_certificate_rebuild(NH_NERVESKEY_TEMPLATE_SIGNER, compressed, &(struct nh_nerveskey_parts){.subject_key = key}, &rebuilt, &err), NH_OK);
		assert_bytes(nh_buf_slice(&rebuilt), nh_buf_slice(&der));
	}
	assert_int_equal(i, 4);
	assert_int_equal(refused, 1);
}

static void devices(void **state)
{
	const json_t *rows = vectors("device_certs");
	size_t i;
	json_t *row;
	json_array_foreach(rows, i, row) {
		NH_AUTO_BUF struct nh_buf der = NH_BUF_INIT, want = NH_BUF_INIT, rebuilt = NH_BUF_INIT, name = NH_BUF_INIT;
		struct nh_nerveskey_certificate c;
		uint8_t key[NH_P256_PUBLIC_LEN], signer[NH_P256_PUBLIC_LEN], chip[NH_ATECC_SERIAL_LEN], compressed[NH_NERVESKEY_COMPRESSED_LEN];
		vector_hex(row, "der", &der);
		vector_hex(row, "compressed", &want);
		vector_hex(row, "manufacturer_sn_hex", &name);
		vector_bytes(row, "device_public_key", key, sizeof key);
		vector_bytes(row, "signer_public_key", signer, sizeof signer);
		vector_bytes(row, "device_sn", chip, sizeof chip);
		struct nh_nerveskey_parts parts = {.subject_key = key, .signer_key = signer, .chip_serial = chip, .manufacturer_serial = nh_buf_slice(&name)};
		assert_int_equal(nh_nerveskey_certificate_parse(nh_buf_slice(&der), &c, NULL), NH_OK);
		assert_bytes(c.common_name, nh_buf_slice(&name));
		assert_int_equal(nh_nerveskey_device_compress(nh_buf_slice(&der), &parts, compressed, NULL), NH_OK);
		assert_bytes(nh_slice_of(compressed, sizeof compressed), nh_buf_slice(&want));
		assert_int_equal(nh_nerveskey_certificate_rebuild(NH_NERVESKEY_TEMPLATE_DEVICE, compressed, &parts, &rebuilt, NULL), NH_OK);
		assert_bytes(nh_buf_slice(&rebuilt), nh_buf_slice(&der));
		/* Another chip, another signer, another name: each is noticed and named. */
		struct nh_err err = NH_ERR_INIT;
		struct nh_nerveskey_parts wrong = parts;
		wrong.manufacturer_serial = NH_LIT("other");
		assert_int_equal(nh_nerveskey_device_compress(nh_buf_slice(&der), &wrong, compressed, &err), NH_EINVAL);
		assert_says(err, "must be CN=other");
		wrong = parts;
		wrong.chip_serial = (const uint8_t[NH_ATECC_SERIAL_LEN]){1};
		assert_int_equal(nh_nerveskey_device_compress(nh_buf_slice(&der), &wrong, compressed, &err), NH_EINVAL);
		assert_says(err, "serial number");
		wrong = parts;
		wrong.signer_key = key;
		assert_int_equal(nh_nerveskey_device_compress(nh_buf_slice(&der), &wrong, compressed, &err), NH_EINVAL);
		assert_says(err, "extensions must be basicConstraints (empty)");
		wrong = parts;
		wrong.subject_key = signer;
		assert_int_equal(nh_nerveskey_device_compress(nh_buf_slice(&der), &wrong, compressed, &err), NH_EINVAL);
		assert_says(err, "public key");
	}
	assert_int_equal(i, 6);
}

/* What the reference put into slots 10 to 12 for two certificates of its own tests. The device's has dates of 1970, which no chip can hold: the reference stores it, we do not. */
static void slot_data(void **state)
{
	const json_t *v = vectors("slot_data");
	NH_AUTO_BUF struct nh_buf signer = NH_BUF_INIT, device = NH_BUF_INIT;
	struct nh_nerveskey_certificate s, d;
	const json_t *slots = json_object_get(v, "slots");
	uint8_t compressed[NH_NERVESKEY_COMPRESSED_LEN], slot[72], chip[NH_ATECC_SERIAL_LEN];
	struct nh_err err = NH_ERR_INIT;
	assert_int_equal(nh_nerveskey_certificate_read(nh_json_text(v, "signer_cert_pem"), &signer, NULL), NH_OK);
	assert_int_equal(nh_nerveskey_certificate_read(nh_json_text(v, "device_cert_pem"), &device, NULL), NH_OK);
	assert_int_equal(nh_nerveskey_signer_compress(nh_buf_slice(&signer), compressed, NULL), NH_OK);
	vector_bytes(slots, "12", slot, sizeof slot);
	assert_memory_equal(compressed, slot, sizeof slot);
	assert_int_equal(nh_nerveskey_certificate_parse(nh_buf_slice(&signer), &s, NULL), NH_OK);
	vector_bytes(slots, "11", slot, sizeof slot);
	assert_memory_equal(s.public_key, slot, sizeof s.public_key);
	vector_bytes(v, "device_sn", chip, sizeof chip);
	assert_int_equal(nh_nerveskey_certificate_parse(nh_buf_slice(&device), &d, NULL), NH_OK);
	vector_bytes(slots, "10", slot, sizeof slot);
	assert_memory_equal(d.signature, slot, sizeof d.signature);
	struct nh_nerveskey_parts parts = {.signer_key = s.public_key, .chip_serial = chip, .manufacturer_serial = d.common_name};
	assert_int_equal(nh_nerveskey_device_compress(nh_buf_slice(&device), &parts, compressed, &err), NH_EINVAL);
	assert_says(err, "a year outside 2000 to 2031");
}

static void trust_and_go(void **state)
{
	const json_t *v = vectors("trust_and_go");
	NH_AUTO_BUF struct nh_buf device = NH_BUF_INIT, signer = NH_BUF_INIT, want = NH_BUF_INIT, want_signer = NH_BUF_INIT;
	uint8_t root[64], signer_key[64], key[64], chip[9], slot10[72], slot12[72];
	struct nh_err err = NH_ERR_INIT;
	vector_bytes(v, "root_public_key", root, 64);
	vector_bytes(v, "signer_public_key", signer_key, 64);
	vector_bytes(v, "genkey_public_key", key, 64);
	vector_bytes(v, "serial_number", chip, 9);
	vector_bytes(v, "slot10_device_cert", slot10, 72);
	vector_bytes(v, "slot12_signer_cert", slot12, 72);
	vector_hex(v, "device_cert_der", &want);
	vector_hex(v, "signer_cert_der", &want_signer);
	assert_memory_equal(root, nh_nerveskey_tng_root_key, 64);
	struct nh_nerveskey_parts parts = {.subject_key = key, .signer_key = signer_key, .chip_serial = chip, .mac = nh_json_text(v, "slot5_mac_ascii")};
	assert_int_equal(nh_nerveskey_certificate_rebuild(NH_NERVESKEY_TEMPLATE_TNG_DEVICE, slot10, &parts, &device, &err), NH_OK);
	assert_bytes(nh_buf_slice(&device), nh_buf_slice(&want));
	assert_int_equal(nh_nerveskey_certificate_check(nh_buf_slice(&device), signer_key, &err), NH_OK);
	assert_int_equal(nh_nerveskey_certificate_check(nh_buf_slice(&device), root, &err), NH_EAUTH);
	assert_int_equal(nh_nerveskey_certificate_rebuild(NH_NERVESKEY_TEMPLATE_TNG_SIGNER, slot12, &(struct nh_nerveskey_parts){.subject_key = signer_key}, &signer, &err), NH_OK);
	assert_bytes(nh_buf_slice(&signer), nh_buf_slice(&want_signer));
	assert_int_equal(nh_nerveskey_certificate_check(nh_buf_slice(&signer), nh_nerveskey_tng_root_key, &err), NH_OK);

	/* Without its MAC address it cannot be; the older template needs none, has no subjectAltName and another name. */
	parts.mac = NH_SLICE_EMPTY;
	assert_int_equal(nh_nerveskey_certificate_rebuild(NH_NERVESKEY_TEMPLATE_TNG_DEVICE, slot10, &parts, &device, &err), NH_EINVAL);
	assert_says(err, "MAC address");
	struct nh_nerveskey_certificate c;
	nh_buf_clear(&device);
	slot10[COMPRESSED_TEMPLATE] = 0x20;
	assert_int_equal(nh_nerveskey_certificate_rebuild(NH_NERVESKEY_TEMPLATE_TNG_DEVICE, slot10, &parts, &device, &err), NH_OK);
	assert_int_equal(nh_nerveskey_certificate_parse(nh_buf_slice(&device), &c, &err), NH_OK);
	assert_slice(c.common_name, "0123A23F29F9366A01 ATECC");
	assert_true(nh_slice_find(nh_buf_slice(&device), NH_LIT("\x55\x1d\x11")) < 0);
	assert_true(nh_slice_find(nh_buf_slice(&device), NH_LIT("Crypto Authentication Signer 2C00")) > 0);
}

/* The reference's provisioning writes 32-byte blocks: `12 82 slot<<3 block …`. */
static void assert_written(const json_t *exchange, unsigned slot, const uint8_t bytes[64])
{
	for (unsigned block = 0; block < 2; block++) {
		NH_AUTO_BUF struct nh_buf want = NH_BUF_INIT;
		bool found = false;
		size_t i;
		json_t *pair;
		nh_buf_printf(&want, "1282%02x%02x", slot << 3, block);
		nh_hex_put(&want, nh_slice_of(bytes + (size_t)32 * block, 32));
		json_array_foreach(exchange, i, pair)
			found |= nh_slice_eq_str(nh_buf_slice(&want), json_string_value(json_array_get(pair, 0)));
		assert_true(found);
	}
}

static void transcripts(void **state)
{
	static const char *const chips[] = {"transcript_508a", "transcript_608b"};
	static const struct {
		const char *device, *signer, *key, *exchange;
		unsigned device_slot, key_slot, signer_slot;
	} pairs[] = {{"device_cert_der", "signer_cert_der", "signer_key_pem", "provision", 10, 11, 12}, {"aux_device_cert_der", "aux_signer_cert_der", "aux_signer_key_pem", "provision_aux", 9, 14, 15}};
	for (size_t i = 0; i < NH_ARRAY_LEN(chips) * NH_ARRAY_LEN(pairs); i++) {
		const json_t *v = vectors(chips[i / 2]);
		NH_AUTO_BUF struct nh_buf device = NH_BUF_INIT, signer = NH_BUF_INIT;
		struct nh_nerveskey_certificate d, s;
		struct nh_p256_key key;
		uint8_t config[NH_ATECC_CONFIG_LEN], chip[NH_ATECC_SERIAL_LEN], compressed[NH_NERVESKEY_COMPRESSED_LEN];
		vector_hex(v, pairs[i % 2].device, &device);
		vector_hex(v, pairs[i % 2].signer, &signer);
		vector_bytes(v, "config_after", config, sizeof config);
		memcpy(chip, config, 4);
		memcpy(chip + 4, config + 8, 5);
		const json_t *exchange = json_object_get(v, pairs[i % 2].exchange);
		assert_int_equal(nh_nerveskey_signer_compress(nh_buf_slice(&signer), compressed, NULL), NH_OK);
		assert_written(exchange, pairs[i % 2].signer_slot, compressed);
		assert_int_equal(nh_nerveskey_certificate_parse(nh_buf_slice(&signer), &s, NULL), NH_OK);
		assert_written(exchange, pairs[i % 2].key_slot, s.public_key);
		assert_int_equal(nh_p256_key_parse_pem(nh_json_text(v, pairs[i % 2].key), &key, NULL), NH_OK);
		assert_memory_equal(key.public_key, s.public_key, sizeof s.public_key);
		nh_p256_key_wipe(&key);
		assert_int_equal(nh_nerveskey_certificate_parse(nh_buf_slice(&device), &d, NULL), NH_OK);
		struct nh_nerveskey_parts parts = {.signer_key = s.public_key, .chip_serial = chip, .manufacturer_serial = d.common_name};
		assert_int_equal(nh_nerveskey_device_compress(nh_buf_slice(&device), &parts, compressed, NULL), NH_OK);
		assert_written(exchange, pairs[i % 2].device_slot, compressed);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(validity), cmocka_unit_test(dates_refused), cmocka_unit_test(dates_back_and_forth), cmocka_unit_test(serial_numbers), cmocka_unit_test(signers),
		cmocka_unit_test(devices),  cmocka_unit_test(slot_data),     cmocka_unit_test(trust_and_go),	     cmocka_unit_test(transcripts),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
