/* What a NervesKey keeps where: the images of the vectors, what the configuration's bytes decide, the one-time zone, default serials, and every refusal. */
#include "vectors.h"

#include "nerveskey/layout.h"

static void images(void **state)
{
	size_t i;
	const json_t *row;
	const json_t *config = vectors("config");
	json_array_foreach((json_t *)json_object_get(config, "factory_dumps"), i, row) {
		uint8_t chip[NH_ATECC_CONFIG_LEN], want[NH_ATECC_CONFIG_LEN], serial[NH_ATECC_SERIAL_LEN], crc[2];
		char text[16];
		struct nh_nerveskey_state s;
		vector_bytes(row, "hex", chip, sizeof chip);
		vector_bytes(row, "nerveskey_before_lock", want, sizeof want);
		vector_bytes(row, "nerveskey_lock_crc_le", crc, sizeof crc);
		vector_bytes(row, "serial_number", serial, sizeof serial);
		nh_nerveskey_state_of(chip, NULL, &s);
		assert_int_equal(s.kind, NH_NERVESKEY_BLANK);
		assert_int_equal(s.stage, NH_NERVESKEY_STAGE_BLANK);
		assert_int_equal(s.open_slots, 0xFFFF);
		nh_nerveskey_config_apply(chip, NH_NERVESKEY_REGULAR);
		assert_memory_equal(chip, want, sizeof want);
		assert_int_equal(nh_atecc_crc16(nh_slice_of(chip, sizeof chip)), crc[0] | crc[1] << 8);
		nh_nerveskey_default_serial(serial, text);
		assert_string_equal(text, json_string_value(json_object_get(row, "base32")));
	}
	assert_int_equal(i, 4);
	json_array_foreach((json_t *)vectors("base32"), i, row) {
		uint8_t serial[NH_ATECC_SERIAL_LEN];
		char text[16];
		vector_bytes(row, "serial_number", serial, sizeof serial);
		nh_nerveskey_default_serial(serial, text);
		assert_string_equal(text, json_string_value(json_object_get(row, "base32")));
	}
}

static void volatile_image(void **state)
{
	uint8_t chip[NH_ATECC_CONFIG_LEN], slots[32], keys[32];
	const json_t *config = vectors("config");
	vector_bytes(config, "factory_508a_dump", chip, sizeof chip);
	vector_bytes(config, "volatile_slot_config", slots, sizeof slots);
	vector_bytes(config, "volatile_key_config", keys, sizeof keys);
	nh_nerveskey_config_apply(chip, NH_NERVESKEY_VOLATILE);
	assert_memory_equal(chip + 20, slots, sizeof slots);
	assert_memory_equal(chip + 96, keys, sizeof keys);
	assert_int_equal(chip[69], 0x81);
	/* A chip that was provisioned so. */
	uint8_t locked[NH_ATECC_CONFIG_LEN];
	struct nh_nerveskey_state s;
	vector_bytes(vectors("transcript_volatile_608b"), "config", locked, sizeof locked);
	nh_nerveskey_state_of(locked, NULL, &s);
	assert_int_equal(s.kind, NH_NERVESKEY_VOLATILE);
	assert_int_equal(s.stage, NH_NERVESKEY_STAGE_DONE);
	assert_int_equal(s.differing_slots, 0x0007);
	assert_int_equal(nh_nerveskey_slots_differing(locked, NH_NERVESKEY_VOLATILE), 0);
	assert_int_equal(nh_nerveskey_slots_to_lock(NH_NERVESKEY_VOLATILE), 0x0007);
	assert_int_equal(nh_nerveskey_slots_to_lock(NH_NERVESKEY_FOREIGN), 0);
}

/* Bytes of a provisioned regular chip, one or two of them changed. */
static void states(void **state)
{
	static const struct {
		unsigned byte;
		uint8_t value;
		unsigned byte2;
		uint8_t value2;
		nh_nerveskey_kind kind;
		nh_nerveskey_stage stage;
		uint16_t differing;
	} rows[] = {
		{0, 0x01, 0, 0x01, NH_NERVESKEY_REGULAR, NH_NERVESKEY_STAGE_DONE, 0},
		{88, 0xFF, 89, 0xFF, NH_NERVESKEY_REGULAR, NH_NERVESKEY_STAGE_KEY_OPEN, 0},
		{86, 0x55, 88, 0xFF, NH_NERVESKEY_REGULAR, NH_NERVESKEY_STAGE_CONFIGURED, 0},
		{86, 0x55, 87, 0x55, NH_NERVESKEY_BLANK, NH_NERVESKEY_STAGE_BLANK, 0},
		{19, 0x01, 0, 0x01, NH_NERVESKEY_FOREIGN, NH_NERVESKEY_STAGE_FOREIGN, 0},
		{20, 0x83, 0, 0x01, NH_NERVESKEY_FOREIGN, NH_NERVESKEY_STAGE_FOREIGN, 0x0001},
		{97, 0x10, 0, 0x01, NH_NERVESKEY_FOREIGN, NH_NERVESKEY_STAGE_FOREIGN, 0x0001},
		{46, 0x8F, 0, 0x01, NH_NERVESKEY_FOREIGN, NH_NERVESKEY_STAGE_FOREIGN, 0x2000},
		{118, 0x3C, 0, 0x01, NH_NERVESKEY_FOREIGN, NH_NERVESKEY_STAGE_FOREIGN, 0x0800},
		/* what the reference does not look at makes no other thing of it */
		{22, 0x00, 0, 0x01, NH_NERVESKEY_REGULAR, NH_NERVESKEY_STAGE_DONE, 0x0002},
		{50, 0x00, 126, 0x00, NH_NERVESKEY_REGULAR, NH_NERVESKEY_STAGE_DONE, 0x8000},
		{18, 0x00, 92, 0x11, NH_NERVESKEY_REGULAR, NH_NERVESKEY_STAGE_DONE, 0},
		/* a lock byte that is neither permits nothing */
		{86, 0x54, 88, 0xFE, NH_NERVESKEY_REGULAR, NH_NERVESKEY_STAGE_DONE, 0},
		{87, 0x01, 88, 0xFE, NH_NERVESKEY_FOREIGN, NH_NERVESKEY_STAGE_FOREIGN, 0},
	};
	for (size_t i = 0; i < NH_ARRAY_LEN(rows); i++) {
		uint8_t chip[NH_ATECC_CONFIG_LEN];
		struct nh_nerveskey_state s;
		vector_bytes(vectors("transcript_508a"), "config_after", chip, sizeof chip);
		chip[rows[i].byte] = rows[i].value;
		chip[rows[i].byte2] = rows[i].value2;
		nh_nerveskey_state_of(chip, NULL, &s);
		if (s.kind != rows[i].kind || s.stage != rows[i].stage || s.differing_slots != rows[i].differing)
			fail_msg("row %zu: kind %d, stage %d, differing %04x", i, s.kind, s.stage, s.differing_slots);
	}
}

static void volatile_states(void **state)
{
	static const struct {
		unsigned byte;
		uint8_t value;
		nh_nerveskey_kind kind;
		nh_nerveskey_stage stage;
	} rows[] = {
		{0, 0x01, NH_NERVESKEY_VOLATILE, NH_NERVESKEY_STAGE_DONE},
		{69, 0x01, NH_NERVESKEY_FOREIGN, NH_NERVESKEY_STAGE_FOREIGN},
		{22, 0x91, NH_NERVESKEY_FOREIGN, NH_NERVESKEY_STAGE_FOREIGN}, /* what the reference compares with and nobody writes */
		{88, 0xF9, NH_NERVESKEY_VOLATILE, NH_NERVESKEY_STAGE_KEY_OPEN},
		{88, 0xFA, NH_NERVESKEY_VOLATILE, NH_NERVESKEY_STAGE_KEY_OPEN},
		{88, 0xFC, NH_NERVESKEY_VOLATILE, NH_NERVESKEY_STAGE_KEY_OPEN},
	};
	for (size_t i = 0; i < NH_ARRAY_LEN(rows); i++) {
		uint8_t chip[NH_ATECC_CONFIG_LEN];
		struct nh_nerveskey_state s;
		vector_bytes(vectors("transcript_volatile_608b"), "config", chip, sizeof chip);
		chip[rows[i].byte] = rows[i].value;
		nh_nerveskey_state_of(chip, NULL, &s);
		if (s.kind != rows[i].kind || s.stage != rows[i].stage)
			fail_msg("row %zu: kind %d, stage %d", i, s.kind, s.stage);
	}
}

static void trust_and_go(void **state)
{
	static const struct {
		const char *code;
		nh_nerveskey_kind kind;
	} rows[] = {{"KQp2ZkD8", NH_NERVESKEY_TRUST_AND_GO}, {"x6tjuZMy", NH_NERVESKEY_TRUST_AND_GO}, {"wdNxAjae", NH_NERVESKEY_TRUST_AND_GO}, {"Rsuy5YJh", NH_NERVESKEY_TRUST_AND_GO},
		    {"jsMu7iYO", NH_NERVESKEY_FOREIGN},      {"MKMwyhP1", NH_NERVESKEY_FOREIGN},      {"Nrvs\0\0Ne", NH_NERVESKEY_FOREIGN}};
	for (size_t i = 0; i < NH_ARRAY_LEN(rows); i++) {
		uint8_t chip[NH_ATECC_CONFIG_LEN], otp[NH_ATECC_OTP_LEN] = {0};
		struct nh_nerveskey_state s;
		vector_bytes(vectors("config"), "factory_508a_dump", chip, sizeof chip);
		chip[86] = chip[87] = 0;
		memcpy(otp, rows[i].code, 8);
		nh_nerveskey_state_of(chip, otp, &s);
		assert_int_equal(s.kind, rows[i].kind);
		assert_int_equal(s.stage, rows[i].kind == NH_NERVESKEY_FOREIGN ? NH_NERVESKEY_STAGE_FOREIGN : NH_NERVESKEY_STAGE_DONE);
	}
}

static void otp_vectors(void **state)
{
	size_t i;
	const json_t *row;
	json_array_foreach((json_t *)vectors("otp"), i, row) {
		uint8_t raw[NH_ATECC_OTP_LEN], out[NH_ATECC_OTP_LEN] = {0};
		NH_AUTO_BUF struct nh_buf user = NH_BUF_INIT;
		struct nh_nerveskey_otp otp;
		vector_bytes(row, "raw", raw, sizeof raw);
		vector_hex(row, "user", &user);
		bool zeros = true;
		for (size_t k = 0; k < user.len; k++)
			zeros = zeros && user.ptr[k] == 0;
		nh_slice board = nh_json_text(row, "board_name"), serial = nh_json_text(row, "manufacturer_sn");
		nh_rc rc = nh_nerveskey_otp_encode(serial, board, zeros ? NH_SLICE_EMPTY : nh_buf_slice(&user), out, NULL);
		if (board.len > NH_NERVESKEY_BOARD_MAX) {
			assert_int_equal(rc, NH_EINVAL); /* the reference cuts it, and nobody notices until the label is read */
			assert_int_equal(nh_nerveskey_otp_encode(serial, nh_slice_sub(board, 0, NH_NERVESKEY_BOARD_MAX), NH_SLICE_EMPTY, out, NULL), NH_OK);
		} else {
			assert_int_equal(rc, NH_OK);
		}
		assert_memory_equal(out, raw, sizeof raw);
		assert_int_equal(nh_nerveskey_otp_decode(raw, &otp), NH_OK);
		assert_slice(nh_slice_sub(board, 0, NH_NERVESKEY_BOARD_MAX), otp.board_name);
		assert_slice(serial, otp.serial);
		assert_int_equal(otp.has_user_data, json_integer_value(json_object_get(row, "flags")) == 0);
		if (otp.has_user_data)
			assert_memory_equal(otp.user_data, user.ptr, user.len);
	}
	assert_int_equal(i, 7);
}

static void otp_refusals(void **state)
{
	static const struct {
		const char *serial, *board;
		size_t user;
		const char *why; /* part of the message; NULL: accepted */
	} rows[] = {
		{"", "b", 0, "serial number is empty"},
		{"N1", "", 0, "board name is empty"},
		{"N/1", "b", 0, "'/'"},
		{"/", "b", 0, "'/'"},
		{"N1\n", "b", 0, "control character"},
		{"N1\x7f", "b", 0, "control character"},
		{"N\xc2\x9b" "31m", "b", 0, "control character"},
		{"N1\xff", "b", 0, "UTF-8"},
		{"N1\xc3", "b", 0, "UTF-8"},
		{"N1", "b\t", 0, "control character"},
		{"N1", "b\xe2\x82", 0, "UTF-8"},
		{"N1", "0123456789a", 0, "11 bytes"},
		{"N1", "0123456789", 32, NULL},
		{"N1", "b", 33, "33 bytes of user data"},
		{"0123456789abcdef", "b", 32, NULL},
		{"0123456789abcdefg", "b", 1, "16 bytes"},
		{"0123456789abcdefg", "b", 0, NULL},
		{"N\xc3\xbc", "\xe2\x82\xac", 0, NULL},
		{"0123456789abcdef0123456789abcdef0123456789abcdef", "b", 0, NULL},
		{"0123456789abcdef0123456789abcdef0123456789abcdefg", "b", 0, "49 bytes"},
	};
	for (size_t i = 0; i < NH_ARRAY_LEN(rows); i++) {
		uint8_t out[NH_ATECC_OTP_LEN], user[40] = {7};
		struct nh_err err = NH_ERR_INIT;
		struct nh_nerveskey_otp otp;
		nh_rc rc = nh_nerveskey_otp_encode(nh_slice_str(rows[i].serial), nh_slice_str(rows[i].board), nh_slice_of(user, rows[i].user), out, &err);
		if (rc != (rows[i].why ? NH_EINVAL : NH_OK) || (rows[i].why && !strstr(err.msg, rows[i].why)))
			fail_msg("row %zu: %s", i, err.msg);
		if (rc != NH_OK)
			continue;
		assert_int_equal(nh_nerveskey_otp_decode(out, &otp), NH_OK);
		assert_string_equal(otp.serial, rows[i].serial);
		assert_string_equal(otp.board_name, rows[i].board);
	}
}

static void otp_decode(void **state)
{
	uint8_t otp[NH_ATECC_OTP_LEN];
	struct nh_nerveskey_otp out;
	assert_int_equal(nh_nerveskey_otp_encode(NH_LIT("S1"), NH_LIT("board"), NH_SLICE_EMPTY, otp, NULL), NH_OK);
	otp[18] = 0x1B; /* a serial number goes to terminals: it ends at the escape */
	otp[19] = '[';
	assert_int_equal(nh_nerveskey_otp_decode(otp, &out), NH_OK);
	assert_string_equal(out.serial, "S1");
	otp[5] = 7; /* flags of another day: the short form */
	assert_int_equal(nh_nerveskey_otp_decode(otp, &out), NH_OK);
	assert_true(out.has_user_data);
	otp[4] = 1;
	otp[5] = 1; /* 0x0101 is not 1 */
	assert_int_equal(nh_nerveskey_otp_decode(otp, &out), NH_OK);
	assert_true(out.has_user_data);
	for (unsigned i = 0; i < 4; i++) {
		otp[i] ^= 1;
		assert_int_equal(nh_nerveskey_otp_decode(otp, &out), NH_ENOTFOUND);
		assert_string_equal(out.serial, "");
		otp[i] ^= 1;
	}
	for (unsigned i = 0; i < NH_ATECC_OTP_LEN; i++)
		otp[i] = i < 4 ? otp[i] : 0xFF;
	assert_int_equal(nh_nerveskey_otp_decode(otp, &out), NH_OK);
	assert_string_equal(out.serial, "");
}

static void descriptions(void **state)
{
	static const struct {
		unsigned slot;
		const char *text;
	} rows[] = {
		{0, "slot 0   SlotConfig 87 20  KeyConfig 33 00  private P-256, signs anything, signs internal messages, ECDH, GenKey, public key readable, lockable, locked\n"},
		{1, "slot 1   SlotConfig 0F 0F  KeyConfig 1C 00  holds data, readable, writable\n"},
		{10, "slot 10  SlotConfig 0F 2F  KeyConfig 3C 00  holds data, readable, never writable, lockable\n"},
		{11, "slot 11  SlotConfig 0F 2F  KeyConfig 30 00  holds P-256, readable, never writable, lockable\n"},
	};
	uint8_t chip[NH_ATECC_CONFIG_LEN];
	vector_bytes(vectors("transcript_508a"), "config_after", chip, sizeof chip);
	for (size_t i = 0; i < NH_ARRAY_LEN(rows); i++) {
		NH_AUTO_BUF struct nh_buf out = NH_BUF_INIT;
		nh_nerveskey_slot_describe(chip, rows[i].slot, &out);
		assert_slice(nh_buf_slice(&out), rows[i].text);
	}
	NH_AUTO_BUF struct nh_buf out = NH_BUF_INIT;
	vector_bytes(vectors("transcript_volatile_608b"), "config", chip, sizeof chip);
	nh_nerveskey_slot_describe(chip, 2, &out);
	assert_slice(nh_buf_slice(&out), "slot 2   SlotConfig 81 90  KeyConfig 38 10  holds AES, never readable, never writable, lockable, only with the latch set, locked\n");
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(images),      cmocka_unit_test(volatile_image), cmocka_unit_test(states),
					   cmocka_unit_test(volatile_states), cmocka_unit_test(trust_and_go),   cmocka_unit_test(otp_vectors),
					   cmocka_unit_test(otp_refusals), cmocka_unit_test(otp_decode),     cmocka_unit_test(descriptions)};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
