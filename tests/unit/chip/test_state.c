/* The state's text and the factory: round trips, texts that are refused, factory images against dumps of real parts, Trust&Go parts against the certificates' own room. */
#include "test_chip.h"

#include "nerveskey/certificate.h"

static void factory(nh_chip_model model, nh_chip_personality personality, uint64_t seed, struct nh_chip_state *out)
{
	struct nh_rng_seeded seeded;
	struct nh_rng rng = nh_rng_seeded_init(&seeded, seed);
	nh_chip_state_factory(model, personality, NULL, &rng, out);
}

static void round_trip(void **state)
{
	for (unsigned model = NH_CHIP_508A; model <= NH_CHIP_608B; model++) {
		for (unsigned personality = NH_CHIP_BLANK; personality <= NH_CHIP_TRUST_AND_GO; personality++) {
			NH_AUTO_BUF struct nh_buf text = NH_BUF_INIT;
			struct nh_chip_state made, back;
			struct nh_err err = NH_ERR_INIT;
			factory((nh_chip_model)model, (nh_chip_personality)personality, model + 10, &made);
			made.key_validated = 0x4200;
			nh_chip_state_put(&text, &made);
			memset(&back, 0xAA, sizeof(back));
			if (nh_chip_state_parse(nh_buf_slice(&text), &back, &err) != NH_OK)
				fail_msg("%s", err.msg);
			assert_int_equal(back.model, personality == NH_CHIP_TRUST_AND_GO ? NH_CHIP_608B : model);
			assert_int_equal(back.address, personality == NH_CHIP_TRUST_AND_GO ? 0x35 : 0x60);
			assert_memory_equal(back.config, made.config, sizeof(made.config));
			assert_memory_equal(back.otp, made.otp, sizeof(made.otp));
			assert_int_equal(back.key_valid, made.key_valid);
			assert_int_equal(back.key_validated, made.key_validated);
			for (unsigned slot = 0; slot < NH_ATECC_SLOTS; slot++)
				assert_memory_equal(back.slots[slot], made.slots[slot], nh_atecc_slot_len(slot));
		}
	}
}

/* The good text with one member replaced, removed or added. */
static void refused_with(const char *member, json_t *take_value, const char *message)
{
	NH_AUTO_BUF struct nh_buf text = NH_BUF_INIT, changed = NH_BUF_INIT;
	NH_AUTO_JSON json_t *root = NULL;
	struct nh_chip_state made, back;
	struct nh_err err = NH_ERR_INIT;
	factory(NH_CHIP_608B, NH_CHIP_BLANK, 1, &made);
	nh_chip_state_put(&text, &made);
	memset(&back, 0xAA, sizeof(back));
	assert_int_equal(nh_json_parse(nh_buf_slice(&text), 1u << 20, &root, NULL), NH_OK);
	if (take_value)
		json_object_set_new(root, member, take_value);
	else
		json_object_del(root, member);
	nh_json_put(&changed, root);
	assert_int_equal(nh_chip_state_parse(nh_buf_slice(&changed), &back, &err), NH_EFORMAT);
	if (!strstr(err.msg, message))
		fail_msg("%s: '%s' does not say '%s'", member, err.msg, message);
	assert_int_equal(back.address, 0xAA); /* untouched */
}

static json_t *config_with(unsigned at, const char *hex)
{
	NH_AUTO_BUF struct nh_buf text = NH_BUF_INIT;
	struct nh_chip_state made;
	factory(NH_CHIP_608B, NH_CHIP_BLANK, 1, &made);
	nh_hex_put(&text, nh_slice_of(made.config, sizeof(made.config)));
	memcpy(text.ptr + 2 * (size_t)at, hex, 2);
	return nh_json_new_text(nh_buf_slice(&text));
}

static void refused(void **state)
{
	struct nh_chip_state back;
	static const char *const members[] = {"format", "model", "address", "config", "otp", "slots", "private_keys", "validated_keys"};
	for (size_t i = 0; i < NH_ARRAY_LEN(members); i++) {
		refused_with(members[i], NULL, members[i]);
		refused_with(members[i], json_true(), members[i]);
	}
	refused_with("more", json_string("x"), "more");
	refused_with("model", json_string("ATECC108"), "ATECC108");
	refused_with("address", json_integer(128), "address");
	refused_with("config", json_string("00"), "128 bytes");
	refused_with("config", config_with(86, "12"), "byte 86");
	refused_with("config", config_with(87, "54"), "byte 87");
	refused_with("config", config_with(86, "00"), "data zone is locked");
	refused_with("slots", json_pack("[sss]", "", "", ""), "16");
	refused_with("private_keys", json_pack("[i]", 16), "private_keys");
	refused_with("private_keys", json_pack("[s]", "0"), "private_keys");
	refused_with("validated_keys", json_pack("[s]", "0"), "validated_keys");
	refused_with("private_keys", json_pack("[i]", 0), "slot 0"); /* erased: no scalar */
	assert_int_equal(nh_chip_state_parse(NH_LIT("{"), &back, NULL), NH_EFORMAT);
	assert_int_equal(nh_chip_state_parse(NH_LIT("[]"), &back, NULL), NH_EFORMAT);
	assert_int_equal(nh_chip_state_parse(NH_SLICE_EMPTY, &back, NULL), NH_EFORMAT);
}

/* Against dumps of real parts: everything but the serial number, and the bytes in which parts of one model differ among themselves. */
static void factory_images(void **state)
{
	static const struct {
		size_t dump;
		nh_chip_model model;
	} rows[] = {{1, NH_CHIP_508A}, {2, NH_CHIP_608A}};
	NH_AUTO_JSON json_t *vectors = vectors_load();
	const json_t *dumps = json_object_get(json_object_get(vectors, "config"), "factory_dumps");
	for (size_t i = 0; i < NH_ARRAY_LEN(rows); i++) {
		uint8_t dump[NH_ATECC_CONFIG_LEN], serial[NH_ATECC_SERIAL_LEN];
		struct nh_chip_state made;
		const json_t *row = json_array_get(dumps, rows[i].dump);
		assert_int_equal(nh_hex_decode_fixed(nh_json_text(row, "hex"), dump, sizeof(dump)), NH_OK);
		assert_int_equal(nh_hex_decode_fixed(nh_json_text(row, "serial_number"), serial, sizeof(serial)), NH_OK);
		nh_chip_state_factory(rows[i].model, NH_CHIP_BLANK, serial, &nh_rng_system, &made);
		assert_memory_equal(made.config, dump, sizeof(dump));
	}
}

static void serial_numbers(void **state)
{
	struct nh_chip_state one, other;
	factory(NH_CHIP_608B, NH_CHIP_BLANK, 1, &one);
	factory(NH_CHIP_608B, NH_CHIP_BLANK, 2, &other);
	assert_int_equal(one.config[0], 0x01);
	assert_int_equal(one.config[1], 0x23);
	assert_int_equal(one.config[12], 0xEE);
	assert_memory_not_equal(one.config + 8, other.config + 8, 5);
}

/* Rebuilt by the room that reads real parts, and verified up to the simulator's root. */
static void trust_and_go(void **state)
{
	struct nh_chip_state chip;
	struct bench b;
	NH_AUTO_BUF struct nh_buf device = NH_BUF_INIT, signer = NH_BUF_INIT;
	uint8_t device_key[64], signer_key[64], root[64], serial[NH_ATECC_SERIAL_LEN];
	struct nh_err err = NH_ERR_INIT;
	factory(NH_CHIP_608B, NH_CHIP_TRUST_AND_GO, 5, &chip);
	memcpy(serial, chip.config, 4);
	memcpy(serial + 4, chip.config + 8, 5);
	memcpy(signer_key, chip.slots[11] + 4, 32);
	memcpy(signer_key + 32, chip.slots[11] + 40, 32);
	bench_start(&b, &chip, 0, false);
	assert_status(&b, 0, "40000000");
	memcpy(device_key, b.reply, 64);
	assert_status(&b, NH_ATECC_EXECUTION_ERROR, "40040000"); /* the permanent key */
	assert_status(&b, 0, "02822800"); /* the MAC is readable */
	struct nh_nerveskey_parts parts = {.subject_key = device_key, .signer_key = signer_key, .chip_serial = serial, .mac = nh_slice_of(b.reply, 12)};
	if (nh_nerveskey_certificate_rebuild(NH_NERVESKEY_TEMPLATE_TNG_DEVICE, chip.slots[10], &parts, &device, &err) != NH_OK)
		fail_msg("%s", err.msg);
	assert_int_equal(nh_nerveskey_certificate_check(nh_buf_slice(&device), signer_key, &err), NH_OK);
	parts.subject_key = signer_key;
	if (nh_nerveskey_certificate_rebuild(NH_NERVESKEY_TEMPLATE_TNG_SIGNER, chip.slots[12], &parts, &signer, &err) != NH_OK)
		fail_msg("%s", err.msg);
	nh_chip_trust_root(root);
	assert_int_equal(nh_nerveskey_certificate_check(nh_buf_slice(&signer), root, &err), NH_OK);
	assert_int_equal(nh_nerveskey_certificate_check(nh_buf_slice(&signer), nh_nerveskey_tng_root_key, &err), NH_EAUTH);
	bench_stop(&b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(round_trip),
		cmocka_unit_test(refused),
		cmocka_unit_test(factory_images),
		cmocka_unit_test(serial_numbers),
		cmocka_unit_test(trust_and_go),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
