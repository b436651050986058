/*
 * A NervesKey in use: chips that the reference provisioned are read right, to the last bit of their certificates; settings and auxiliary certificates end up as the reference writes them; signatures, secrets
 * and tokens; and what each says when the chip cannot.
 */
#include "key_world.h"

#include "nerveskey/settings.h"

static const struct {
	const char *name;
	nh_chip_model model;
	nh_atecc_model read;
} transcripts[] = {{"transcript_508a", NH_CHIP_508A, NH_ATECC_508A}, {"transcript_608b", NH_CHIP_608B, NH_ATECC_608B}};

static void assert_der(struct nh_buf *der, const json_t *vector, const char *member)
{
	NH_AUTO_BUF struct nh_buf want = NH_BUF_INIT;
	vector_hex(vector, member, &want);
	if (!nh_slice_eq(nh_buf_slice(der), nh_buf_slice(&want)))
		fail_msg("%s comes out otherwise", member);
	nh_buf_clear(der);
}

static void reference_chips(void **state)
{
	for (size_t i = 0; i < NH_ARRAY_LEN(transcripts); i++) {
		const json_t *t = vectors(transcripts[i].name);
		struct world w;
		struct nh_chip_state chip;
		struct nh_nerveskey_info info;
		uint8_t public_key[NH_P256_PUBLIC_LEN];
		NH_AUTO_BUF struct nh_buf der = NH_BUF_INIT, json = NH_BUF_INIT;
		vector_bytes(t, "device_pub", public_key, sizeof public_key);
		state_of_transcript(&chip, transcripts[i].name, transcripts[i].model);
		world_begin(&w, &chip, 1);
		w.public_key = public_key;
		bool provisioned = false;
		assert_int_equal(nh_nerveskey_provisioned(w.key, &provisioned, NULL), NH_OK);
		assert_true(provisioned);
		assert_int_equal(nh_nerveskey_info_read(w.key, &info, NULL), NH_OK);
		assert_int_equal(info.state.kind, NH_NERVESKEY_REGULAR);
		assert_int_equal(info.state.stage, NH_NERVESKEY_STAGE_DONE);
		assert_int_equal(info.model, transcripts[i].read);
		assert_string_equal(info.manufacturer_serial, "N1234");
		assert_string_equal(info.otp.board_name, "NervesKey");
		assert_true(info.has_public_key && !info.has_aux && !info.latch_known);
		assert_memory_equal(info.public_key, public_key, sizeof public_key);
		assert_int_equal(nh_nerveskey_device_certificate(w.key, NH_NERVESKEY_PRIMARY, &der, NULL), NH_OK);
		assert_der(&der, t, "device_cert_der");
		assert_int_equal(nh_nerveskey_signer_certificate(w.key, NH_NERVESKEY_PRIMARY, &der, NULL), NH_OK);
		assert_der(&der, t, "signer_cert_der");
		assert_int_equal(nh_nerveskey_device_certificate(w.key, NH_NERVESKEY_AUX, &der, NULL), NH_ENOTFOUND);
		assert_int_equal(nh_nerveskey_signer_certificate(w.key, NH_NERVESKEY_AUX, &der, NULL), NH_ENOTFOUND);
		assert_int_equal(nh_nerveskey_repair(w.key, NULL), NH_ECONFLICT);
		world_end(&w);

		state_apply(&chip, json_object_get(t, "provision_aux"));
		state_apply(&chip, json_object_get(t, "put_settings"));
		world_begin(&w, &chip, 2);
		w.public_key = public_key;
		assert_int_equal(nh_nerveskey_info_read(w.key, &info, NULL), NH_OK);
		assert_true(info.has_aux);
		assert_int_equal(nh_nerveskey_device_certificate(w.key, NH_NERVESKEY_AUX, &der, NULL), NH_OK);
		assert_der(&der, t, "aux_device_cert_der");
		assert_int_equal(nh_nerveskey_signer_certificate(w.key, NH_NERVESKEY_AUX, &der, NULL), NH_OK);
		assert_der(&der, t, "aux_signer_cert_der");
		assert_int_equal(nh_nerveskey_settings_read(w.key, &der, NULL), NH_OK);
		assert_int_equal(der.len, NH_NERVESKEY_SETTINGS_MAX);
		assert_int_equal(nh_nerveskey_settings_to_json(nh_buf_slice(&der), false, &json, NULL), NH_OK);
		assert_slice(nh_buf_slice(&json), "{\":a\":1,\"hello\":\"world\"}");
		world_end(&w);
	}
}

/* Where writing goes another way than the reference's, it ends at the same place. */
static void same_end(void **state)
{
	for (size_t i = 0; i < NH_ARRAY_LEN(transcripts); i++) {
		const json_t *t = vectors(transcripts[i].name);
		struct world w;
		struct nh_chip_state chip, want;
		struct nh_p256_key aux_key;
		uint8_t public_key[NH_P256_PUBLIC_LEN];
		NH_AUTO_BUF struct nh_buf signer = NH_BUF_INIT, term = NH_BUF_INIT;
		struct nh_err err = NH_ERR_INIT;
		vector_bytes(t, "device_pub", public_key, sizeof public_key);
		vector_hex(t, "aux_signer_cert_der", &signer);
		assert_int_equal(nh_p256_key_parse_pem(nh_json_text(t, "aux_signer_key_pem"), &aux_key, NULL), NH_OK);
		state_of_transcript(&chip, transcripts[i].name, transcripts[i].model);
		want = chip;
		state_apply(&want, json_object_get(t, "provision_aux"));
		state_apply(&want, json_object_get(t, "put_settings"));
		world_begin(&w, &chip, 3);
		w.public_key = public_key;
		struct nh_nerveskey_order order = {.signer_der = nh_buf_slice(&signer), .signer_key = &aux_key, .clock = &w.clock, .rng = &w.bus.rng};
		if (nh_nerveskey_provision_aux(w.key, &order, &err) != NH_OK)
			fail_msg("%s", err.msg);
		assert_int_equal(nh_nerveskey_settings_from_json(NH_LIT("{\":a\":1,\"hello\":\"world\"}"), &term, NULL), NH_OK);
		assert_int_equal(nh_nerveskey_settings_write(w.key, nh_buf_slice(&term), &err), NH_OK);
		struct nh_chip_state got = world_state(&w);
		for (unsigned b = 0; b < NH_P256_SIGNATURE_LEN; b++)
			got.slots[9][b] = want.slots[9][b]; /* a signature is a random thing: the test before this one verified it */
		/* The reference gave both certificates the same dates, and so the same serial number: d5d43f. Ours begins an hour earlier. */
		assert_memory_equal(want.slots[9] + 64, want.slots[10] + 64, 3);
		assert_memory_equal(got.slots[9] + 64, "\xd5\xd4\x1f", 3);
		got.slots[9][66] = want.slots[9][66];
		for (unsigned slot = 1; slot < NH_ATECC_SLOTS; slot++)
			assert_memory_equal(got.slots[slot], want.slots[slot], nh_atecc_slot_len(slot));
		assert_memory_equal(got.config, want.config, sizeof want.config);
		assert_int_equal(nh_nerveskey_clear_aux(w.key, &err), NH_OK);
		state_apply(&want, json_object_get(t, "clear_aux"));
		got = world_state(&w);
		for (unsigned slot = 1; slot < NH_ATECC_SLOTS; slot++)
			assert_memory_equal(got.slots[slot], want.slots[slot], nh_atecc_slot_len(slot));
		world_end(&w);
	}
}

/* One byte in one place is wrong: the certificate is not handed out, and the message names the place. */
static void inconsistent(void **state)
{
	static const struct {
		int slot; /* -1: one-time zone */
		unsigned byte;
		bool device, signer; /* which certificates suffer */
		nh_rc rc;
		const char *says;
	} rows[] = {
		{10, 5, true, false, NH_EAUTH, "slot 10"},
		{10, 40, true, false, NH_EAUTH, "slot 10"},
		{10, 64, true, false, NH_EAUTH, "slot 10"},
		{10, 69, true, false, NH_EFORMAT, "slot 10"},
		{10, 71, true, false, NH_EFORMAT, "slot 10"},
		{-1, 17, true, false, NH_EAUTH, "another serial number"},
		{11, 3, true, true, NH_EAUTH, "slot 11"},
		{12, 3, false, true, NH_EAUTH, "slot 12"},
		{12, 70, false, true, NH_EFORMAT, "slot 12"},
		{-1, 0, true, true, NH_EPERM, "no NervesKey"},
		{13, 0, false, false, NH_OK, ""},
	};
	const json_t *t = vectors("transcript_608b");
	uint8_t public_key[NH_P256_PUBLIC_LEN];
	vector_bytes(t, "device_pub", public_key, sizeof public_key);
	for (size_t i = 0; i < NH_ARRAY_LEN(rows); i++) {
		struct world w;
		struct nh_chip_state chip;
		struct nh_err err = NH_ERR_INIT;
		NH_AUTO_BUF struct nh_buf der = NH_BUF_INIT;
		state_of_transcript(&chip, "transcript_608b", NH_CHIP_608B);
		(rows[i].slot < 0 ? chip.otp : chip.slots[rows[i].slot])[rows[i].byte] ^= 1;
		world_begin(&w, &chip, 4);
		w.public_key = public_key;
		nh_rc rc = nh_nerveskey_device_certificate(w.key, NH_NERVESKEY_PRIMARY, &der, &err);
		if (rc != (rows[i].device ? rows[i].rc : NH_OK) || (rows[i].device && !strstr(err.msg, rows[i].says)))
			fail_msg("row %zu, device: %s", i, err.msg);
		nh_buf_clear(&der);
		rc = nh_nerveskey_signer_certificate(w.key, NH_NERVESKEY_PRIMARY, &der, &err);
		if (rc != (rows[i].signer ? rows[i].rc : NH_OK) || (rows[i].signer && !strstr(err.msg, rows[i].says)))
			fail_msg("row %zu, signer: %s", i, err.msg);
		assert_int_equal(der.len > 0, rc == NH_OK);
		world_end(&w);
	}
	/* And another key in slot 0. */
	struct world w;
	struct nh_chip_state chip;
	struct nh_err err = NH_ERR_INIT;
	NH_AUTO_BUF struct nh_buf der = NH_BUF_INIT;
	state_of_transcript(&chip, "transcript_608b", NH_CHIP_608B);
	world_begin(&w, &chip, 5);
	w.public_key = w.signer_key.public_key;
	assert_int_equal(nh_nerveskey_device_certificate(w.key, NH_NERVESKEY_PRIMARY, &der, &err), NH_EAUTH);
	assert_non_null(strstr(err.msg, "another key"));
	/* A chip that keeps its one-time zone to itself: known, and no NervesKey. */
	struct nh_nerveskey_info info;
	nh_chip_fault_arm(w.bus.chip, NH_CHIP_FAULT_STATUS, 4, 1, NH_ATECC_EXECUTION_ERROR);
	assert_int_equal(nh_nerveskey_info_read(w.key, &info, &err), NH_OK);
	assert_true(info.state.data_locked && !info.has_otp);
	world_end(&w);
}

/* The one real Trust&Go part of the vectors, on a chip whose slots can be read as there. */
static void trust_and_go_vector(void **state)
{
	const json_t *t = vectors("trust_and_go");
	struct world w;
	struct nh_chip_state chip = {.model = NH_CHIP_608B, .address = NH_ATECC_ADDRESS_TNG, .key_valid = 1};
	struct nh_nerveskey_info info;
	uint8_t public_key[NH_P256_PUBLIC_LEN], serial[NH_ATECC_SERIAL_LEN], settings[417] = {0};
	struct nh_err err = NH_ERR_INIT;
	NH_AUTO_BUF struct nh_buf der = NH_BUF_INIT;
	vector_bytes(t, "genkey_public_key", public_key, sizeof public_key);
	vector_bytes(t, "serial_number", serial, sizeof serial);
	vector_bytes(vectors("transcript_608b"), "config_after", chip.config, sizeof chip.config);
	for (unsigned i = 0; i < NH_ATECC_SERIAL_LEN; i++)
		chip.config[i < 4 ? i : i + 4] = serial[i];
	chip.config[16] = NH_ATECC_ADDRESS_TNG << 1;
	memcpy(chip.otp, "KQp2ZkD8", 8);
	memcpy(chip.slots[5], json_string_value(json_object_get(t, "slot5_mac_ascii")), 12);
	vector_bytes(t, "slot10_device_cert", chip.slots[10], 72);
	vector_bytes(t, "slot11_signer_pubkey_72", chip.slots[11], 72);
	vector_bytes(t, "slot12_signer_cert", chip.slots[12], 72);
	world_begin(&w, &chip, 6);
	w.public_key = public_key;
	assert_int_equal(nh_nerveskey_info_read(w.key, &info, NULL), NH_OK);
	assert_int_equal(info.state.kind, NH_NERVESKEY_TRUST_AND_GO);
	assert_string_equal(info.manufacturer_serial, "0123A23F29F9366A01");
	assert_string_equal(info.mac, json_string_value(json_object_get(t, "slot5_mac_ascii")));
	assert_int_equal(nh_nerveskey_device_certificate(w.key, NH_NERVESKEY_PRIMARY, &der, &err), NH_OK);
	assert_der(&der, t, "device_cert_der");
	assert_int_equal(nh_nerveskey_signer_certificate(w.key, NH_NERVESKEY_PRIMARY, &der, &err), NH_OK);
	assert_int_equal(nh_nerveskey_certificate_check(nh_buf_slice(&der), nh_nerveskey_tng_root_key, NULL), NH_OK);
	assert_der(&der, t, "signer_cert_der");
	struct nh_nerveskey_order order = world_order(&w);
	struct nh_nerveskey_plan plan;
	assert_int_equal(nh_nerveskey_device_certificate(w.key, NH_NERVESKEY_AUX, &der, NULL), NH_ENOTFOUND);
	assert_int_equal(nh_nerveskey_provision_aux(w.key, &order, NULL), NH_EUNSUPPORTED);
	assert_int_equal(nh_nerveskey_clear_aux(w.key, NULL), NH_EUNSUPPORTED);
	assert_int_equal(nh_nerveskey_plan(w.key, &order, &plan, &err), NH_ECONFLICT);
	assert_non_null(strstr(err.msg, "Trust&Go"));
	/* settings: slot 8 alone */
	assert_int_equal(nh_nerveskey_settings_write(w.key, nh_slice_of(settings, 417), NULL), NH_ETOOBIG);
	settings[0] = 131;
	assert_int_equal(nh_nerveskey_settings_write(w.key, nh_slice_of(settings, 416), NULL), NH_OK);
	assert_int_equal(nh_nerveskey_settings_read(w.key, &der, NULL), NH_OK);
	assert_true(nh_slice_eq(nh_buf_slice(&der), nh_slice_of(settings, 416)));
	world_end(&w);
}

/* The simulator's own Trust&Go part holds together. */
static void trust_and_go_simulated(void **state)
{
	struct world w;
	struct nh_nerveskey_info info;
	struct nh_nerveskey_certificate device, signer;
	struct nh_err err = NH_ERR_INIT;
	NH_AUTO_BUF struct nh_buf device_der = NH_BUF_INIT, signer_der = NH_BUF_INIT;
	uint8_t digest[32] = {1}, signature[NH_P256_SIGNATURE_LEN];
	world_factory(&w, NH_CHIP_608B, NH_CHIP_TRUST_AND_GO, 7);
	if (nh_nerveskey_info_read(w.key, &info, &err) != NH_OK || nh_nerveskey_device_certificate(w.key, NH_NERVESKEY_PRIMARY, &device_der, &err) != NH_OK ||
	    nh_nerveskey_signer_certificate(w.key, NH_NERVESKEY_PRIMARY, &signer_der, &err) != NH_OK || nh_nerveskey_sign(w.key, digest, signature, &err) != NH_OK)
		fail_msg("%s", err.msg);
	assert_int_equal(info.state.kind, NH_NERVESKEY_TRUST_AND_GO);
	assert_int_equal(strlen(info.mac), 12);
	assert_int_equal(nh_nerveskey_certificate_parse(nh_buf_slice(&device_der), &device, NULL), NH_OK);
	assert_int_equal(nh_nerveskey_certificate_parse(nh_buf_slice(&signer_der), &signer, NULL), NH_OK);
	assert_memory_equal(device.public_key, info.public_key, sizeof info.public_key);
	assert_true(nh_slice_eq(device.issuer, signer.subject));
	assert_int_equal(nh_p256_verify(info.public_key, nh_slice_of(digest, sizeof digest), signature), NH_OK);
	world_end(&w);
}

/* What does not need a provisioned chip, and what the others say of one that is not. */
static void blank_chip(void **state)
{
	struct world w;
	struct nh_nerveskey_info info;
	struct nh_err err = NH_ERR_INIT;
	bool provisioned = true;
	uint8_t bytes[64] = {0};
	NH_AUTO_BUF struct nh_buf out = NH_BUF_INIT;
	world_factory(&w, NH_CHIP_508A, NH_CHIP_BLANK, 8);
	struct nh_nerveskey_order order = world_order(&w);
	assert_int_equal(nh_nerveskey_provisioned(w.key, &provisioned, NULL), NH_OK);
	assert_false(provisioned);
	assert_int_equal(nh_nerveskey_info_read(w.key, &info, NULL), NH_OK);
	assert_int_equal(info.state.kind, NH_NERVESKEY_BLANK);
	assert_true(!info.has_otp && !info.has_public_key && !info.has_aux);
	assert_string_equal(info.manufacturer_serial, "");
	assert_int_equal(strlen(info.default_serial), 15);
	assert_int_equal(nh_nerveskey_sign(w.key, bytes, bytes, &err), NH_EPERM);
	assert_non_null(strstr(err.msg, "not provisioned"));
	assert_int_equal(nh_nerveskey_device_certificate(w.key, NH_NERVESKEY_PRIMARY, &out, NULL), NH_EPERM);
	assert_int_equal(nh_nerveskey_signer_certificate(w.key, NH_NERVESKEY_PRIMARY, &out, NULL), NH_EPERM);
	assert_int_equal(nh_nerveskey_settings_read(w.key, &out, NULL), NH_EPERM);
	assert_int_equal(nh_nerveskey_settings_write(w.key, NH_LIT("x"), NULL), NH_EPERM);
	assert_int_equal(nh_nerveskey_provision_aux(w.key, &order, NULL), NH_EPERM);
	assert_int_equal(nh_nerveskey_clear_aux(w.key, NULL), NH_EPERM);
	assert_int_equal(nh_nerveskey_repair(w.key, &err), NH_ECONFLICT);
	assert_int_equal(nh_nerveskey_random(w.key, bytes, sizeof bytes, NULL), NH_EPERM); /* it would be a pattern */
	assert_int_equal(nh_nerveskey_ecdh(w.key, bytes, bytes, NULL), NH_EINVAL);
	assert_int_equal(nh_nerveskey_ecdh(w.key, w.signer_key.public_key, bytes, NULL), NH_EPERM);
	assert_int_equal(out.len, 0);
	struct nh_nerveskey *other = w.key;
	assert_int_equal(nh_nerveskey_open("no such bus", &other, &err), NH_EINVAL);
	assert_null(other);
	assert_int_equal(nh_nerveskey_open("sim:/nowhere/at/all", &other, &err), NH_ENOTFOUND);
	assert_null(other);
	nh_nerveskey_close(NULL);
	w.bus.lock_refused = true; /* another process has the bus */
	assert_int_equal(nh_nerveskey_info_read(w.key, &info, NULL), NH_ETIMEOUT);
	world_end(&w);
}

static void provisioned_world(struct world *w, nh_chip_model model, uint64_t seed)
{
	struct nh_err err = NH_ERR_INIT;
	struct nh_nerveskey_receipt receipt;
	world_factory(w, model, NH_CHIP_BLANK, seed);
	struct nh_nerveskey_order order = world_order(w);
	if (nh_nerveskey_provision(w->key, &order, NULL, NULL, &receipt, &err) != NH_OK)
		fail_msg("%s", err.msg);
	nh_nerveskey_receipt_fini(&receipt);
}

static void uses_of_the_key(void **state)
{
	static const nh_chip_model models[] = {NH_CHIP_508A, NH_CHIP_608A, NH_CHIP_608B};
	for (size_t i = 0; i < NH_ARRAY_LEN(models); i++) {
		struct world w;
		uint8_t digest[32] = {9}, signature[NH_P256_SIGNATURE_LEN], public_key[NH_P256_PUBLIC_LEN], shared[32], ours[32], random[70] = {0};
		NH_AUTO_BUF struct nh_buf token = NH_BUF_INIT, raw = NH_BUF_INIT;
		nh_slice input, sent;
		provisioned_world(&w, models[i], 20 + i);
		assert_int_equal(nh_nerveskey_public_key(w.key, public_key, NULL), NH_OK);
		assert_int_equal(nh_nerveskey_sign(w.key, digest, signature, NULL), NH_OK);
		assert_int_equal(nh_p256_verify(public_key, nh_slice_of(digest, sizeof digest), signature), NH_OK);
		assert_int_equal(nh_nerveskey_ecdh(w.key, w.signer_key.public_key, shared, NULL), NH_OK);
		assert_int_equal(nh_p256_ecdh(&w.signer_key, public_key, ours), NH_OK);
		assert_memory_equal(shared, ours, sizeof ours);
		assert_int_equal(nh_nerveskey_random(w.key, random, sizeof random - 1, NULL), NH_OK);
		assert_int_equal(random[69], 0);
		assert_memory_not_equal(random, random + 32, 32);
		/* the vector's claims give the vector's text; its signature is its own */
		const json_t *v = vectors("jwt_es256");
		assert_int_equal(nh_nerveskey_jwt(w.key, nh_json_text(v, "payload"), &token, NULL), NH_OK);
		input = nh_json_text(v, "signing_input");
		assert_true(nh_slice_starts(nh_buf_slice(&token), input));
		sent = nh_slice_skip(nh_buf_slice(&token), input.len + 1);
		assert_int_equal(sent.len, 86);
		assert_int_equal(nh_b64_decode(sent, NH_B64_URL_NOPAD, &raw), NH_OK);
		nh_p256_sha256(input, digest);
		assert_int_equal(nh_p256_verify(public_key, nh_slice_of(digest, sizeof digest), raw.ptr), NH_OK);
		nh_buf_clear(&token);
		assert_int_equal(nh_nerveskey_jwt(w.key, NH_LIT("[]"), &token, NULL), NH_EINVAL);
		assert_int_equal(nh_nerveskey_jwt(w.key, NH_LIT("{\"a\":}"), &token, NULL), NH_EINVAL);
		assert_int_equal(token.len, 0);
		world_end(&w);
	}
}

/* Decodable bytes at any moment are the old settings or the new ones: power goes at every byte of every write. */
static void torn_settings(void **state)
{
	struct world w;
	struct nh_chip_state before;
	uint8_t old[NH_NERVESKEY_SETTINGS_MAX] = {0}, new[NH_NERVESKEY_SETTINGS_MAX] = {0};
	NH_AUTO_BUF struct nh_buf a = NH_BUF_INIT, b = NH_BUF_INIT, long_text = NH_BUF_INIT;
	nh_buf_put_str(&long_text, "{\"x\":\"");
	nh_buf_fill(&long_text, 'y', 450);
	nh_buf_put_str(&long_text, "\"}");
	assert_int_equal(nh_nerveskey_settings_from_json(nh_buf_slice(&long_text), &a, NULL), NH_OK);
	assert_int_equal(nh_nerveskey_settings_from_json(NH_LIT("{\"x\":\"a rather short text, of some forty letters\"}"), &b, NULL), NH_OK);
	memcpy(old, a.ptr, a.len);
	memcpy(new, b.ptr, b.len);
	provisioned_world(&w, NH_CHIP_608B, 30);
	assert_int_equal(nh_nerveskey_settings_write(w.key, nh_buf_slice(&a), NULL), NH_OK);
	before = world_state(&w);
	world_end(&w);
	unsigned kept = 0, replaced = 0, none = 0;
	for (uint32_t write = 1; !replaced; write++) {
		for (uint32_t byte = 0; byte <= 32; byte++) {
			NH_AUTO_BUF struct nh_buf now = NH_BUF_INIT, json = NH_BUF_INIT;
			world_begin(&w, &before, 31);
			w.torn_at = write;
			w.torn_byte = byte;
			nh_rc wrote = nh_nerveskey_settings_write(w.key, nh_buf_slice(&b), NULL);
			assert_true(w.torn_at == 0 ? wrote != NH_OK : wrote == NH_OK);
			w.bus.fail_at = 0;
			nh_chip_power_cycle(w.bus.chip);
			assert_int_equal(nh_nerveskey_settings_read(w.key, &now, NULL), NH_OK);
			bool is_old = nh_slice_eq(nh_buf_slice(&now), nh_slice_of(old, sizeof old)), is_new = nh_slice_eq(nh_buf_slice(&now), nh_slice_of(new, sizeof new));
			nh_rc rc = nh_nerveskey_settings_to_json(nh_buf_slice(&now), false, &json, NULL);
			if (rc == NH_OK && !is_old && !is_new)
				fail_msg("power lost in write %u, byte %u: %s", write, byte, nh_buf_cstr(&json));
			/* and the next attempt mends it */
			assert_int_equal(nh_nerveskey_settings_write(w.key, nh_buf_slice(&b), NULL), NH_OK);
			kept += is_old;
			none += rc != NH_OK;
			replaced += wrote == NH_OK;
			world_end(&w);
		}
		assert_true(write < 40);
	}
	assert_true(kept > 0 && none > 0);
}

/* One after the other within an hour: each has a serial number that the chip's certificates before it have not. */
static void aux_serial_numbers(void **state)
{
	struct world w;
	struct nh_err err = NH_ERR_INIT;
	uint8_t serials[5][16];
	provisioned_world(&w, NH_CHIP_508A, 41);
	struct nh_nerveskey_order order = world_order(&w);
	for (size_t i = 0; i < NH_ARRAY_LEN(serials); i++) {
		NH_AUTO_BUF struct nh_buf der = NH_BUF_INIT;
		struct nh_nerveskey_certificate cert;
		if (i > 0 && nh_nerveskey_provision_aux(w.key, &order, &err) != NH_OK)
			fail_msg("%s", err.msg);
		assert_int_equal(nh_nerveskey_device_certificate(w.key, i ? NH_NERVESKEY_AUX : NH_NERVESKEY_PRIMARY, &der, NULL), NH_OK);
		assert_int_equal(nh_nerveskey_certificate_parse(nh_buf_slice(&der), &cert, NULL), NH_OK);
		assert_int_equal(cert.serial.len, sizeof serials[i]);
		assert_true(cert.not_before_s <= WORLD_NOW_S && cert.not_before_s > WORLD_NOW_S - 3 * 3600);
		memcpy(serials[i], cert.serial.ptr, cert.serial.len);
		if (i > 0) {
			assert_memory_not_equal(serials[i], serials[0], sizeof serials[0]);
			assert_memory_not_equal(serials[i], serials[i - 1], sizeof serials[0]);
		}
	}
	world_end(&w);
}

/* Replacing an auxiliary pair, power lost in every write: there is no pair, or a broken one that says what to do, or a whole one; never a mixture. Doing it again mends it. */
static void torn_aux(void **state)
{
	static const uint32_t bytes[] = {0, 1, 4, 17, 32};
	struct world w;
	struct nh_chip_state before;
	struct nh_err err = NH_ERR_INIT;
	NH_AUTO_BUF struct nh_buf old = NH_BUF_INIT;
	provisioned_world(&w, NH_CHIP_608B, 32);
	struct nh_nerveskey_order order = world_order(&w);
	if (nh_nerveskey_provision_aux(w.key, &order, &err) != NH_OK)
		fail_msg("%s", err.msg);
	assert_int_equal(nh_nerveskey_device_certificate(w.key, NH_NERVESKEY_AUX, &old, NULL), NH_OK);
	before = world_state(&w);
	world_end(&w);
	unsigned none = 0, broken = 0, kept = 0, finished = 0;
	for (uint32_t write = 1; !finished; write++) {
		for (size_t i = 0; i < NH_ARRAY_LEN(bytes); i++) {
			NH_AUTO_BUF struct nh_buf device = NH_BUF_INIT, signer = NH_BUF_INIT;
			world_begin(&w, &before, 33); /* with another signer than the old one */
			order = world_order(&w);
			w.torn_at = write;
			w.torn_byte = bytes[i];
			nh_rc wrote = nh_nerveskey_provision_aux(w.key, &order, &err);
			w.bus.fail_at = w.torn_at = 0;
			nh_chip_power_cycle(w.bus.chip);
			nh_rc rc = nh_nerveskey_device_certificate(w.key, NH_NERVESKEY_AUX, &device, &err);
			if (rc == NH_OK) {
				assert_int_equal(nh_nerveskey_signer_certificate(w.key, NH_NERVESKEY_AUX, &signer, &err), NH_OK);
				bool is_old = nh_slice_eq(nh_buf_slice(&device), nh_buf_slice(&old)), is_new = nh_slice_eq(nh_buf_slice(&signer), nh_buf_slice(&w.signer_der));
				assert_true(is_old != is_new);
				kept += is_old;
			} else if (rc != NH_ENOTFOUND && rc != NH_EAUTH && rc != NH_EFORMAT) {
				fail_msg("power lost in write %u, byte %u: %s", write, bytes[i], err.msg);
			}
			none += rc == NH_ENOTFOUND;
			broken += rc == NH_EAUTH || rc == NH_EFORMAT;
			finished += wrote == NH_OK;
			nh_buf_clear(&device);
			assert_int_equal(nh_nerveskey_provision_aux(w.key, &order, &err), NH_OK);
			assert_int_equal(nh_nerveskey_device_certificate(w.key, NH_NERVESKEY_AUX, &device, &err), NH_OK);
			assert_int_equal(nh_nerveskey_device_certificate(w.key, NH_NERVESKEY_PRIMARY, &signer, &err), NH_OK);
			world_end(&w);
		}
		assert_true(write < 40);
	}
	assert_true(none > 0 && broken > 0 && kept > 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(reference_chips),        cmocka_unit_test(same_end),   cmocka_unit_test(inconsistent),    cmocka_unit_test(trust_and_go_vector),
					   cmocka_unit_test(trust_and_go_simulated), cmocka_unit_test(blank_chip), cmocka_unit_test(uses_of_the_key), cmocka_unit_test(torn_settings),
					   cmocka_unit_test(torn_aux),               cmocka_unit_test(aux_serial_numbers)};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
