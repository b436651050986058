/* Packets, CRC, addresses, status words: all vectors of them, both ways. */
#include "test_atecc.h"

#include "atecc/packet.h"
#include "base/rng.h"

static void crc(void **state)
{
	NH_AUTO_JSON json_t *root = vectors();
	json_t *row;
	size_t i;
	json_array_foreach(json_object_get(root, "crc16"), i, row)
	{
		NH_AUTO_BUF struct nh_buf data = NH_BUF_INIT, want = NH_BUF_INIT;
		unhex_of(&data, row, "data");
		unhex_of(&want, row, "crc_le");
		uint16_t got = nh_atecc_crc16(nh_buf_slice(&data));
		assert_int_equal(got, want.ptr[0] | want.ptr[1] << 8);
		for (size_t cut = 0; cut <= data.len; cut++) /* in two pieces */
			assert_int_equal(nh_atecc_crc16_more(nh_atecc_crc16(nh_slice_sub(nh_buf_slice(&data), 0, cut)), nh_slice_skip(nh_buf_slice(&data), cut)), got);
	}
	assert_int_equal(i, 16);
}

static void packets(void **state)
{
	NH_AUTO_JSON json_t *root = vectors();
	json_t *row;
	size_t i;
	json_array_foreach(json_object_get(root, "packets"), i, row)
	{
		NH_AUTO_BUF struct nh_buf payload = NH_BUF_INIT, want = NH_BUF_INIT, got = NH_BUF_INIT;
		unhex_of(&payload, row, "payload");
		unhex_of(&want, row, "i2c_write");
		const uint8_t *p = payload.ptr;
		nh_buf_put_u8(&got, NH_ATECC_COMMAND);
		assert_int_equal(nh_atecc_packet_put(&got, p[0], p[1], (uint16_t)(p[2] | p[3] << 8), nh_slice_skip(nh_buf_slice(&payload), 4)), NH_OK);
		assert_int_equal(got.len, want.len);
		assert_bytes(got.ptr, want.ptr, want.len);
		/* The chip's side reads it back, and nothing that differs in one bit or in length. */
		struct nh_atecc_packet back;
		assert_int_equal(nh_atecc_packet_parse(nh_slice_skip(nh_buf_slice(&got), 1), &back), NH_OK);
		assert_int_equal(back.opcode, p[0]);
		assert_int_equal(back.param1, p[1]);
		assert_int_equal(back.param2, p[2] | p[3] << 8);
		assert_int_equal(back.data.len, payload.len - 4);
		for (size_t bit = 8; bit < got.len * 8; bit++) {
			got.ptr[bit / 8] ^= (uint8_t)(1 << bit % 8);
			assert_int_equal(nh_atecc_packet_parse(nh_slice_skip(nh_buf_slice(&got), 1), &back), NH_EFORMAT);
			got.ptr[bit / 8] ^= (uint8_t)(1 << bit % 8);
		}
		for (size_t cut = 0; cut + 1 < got.len; cut++)
			assert_int_equal(nh_atecc_packet_parse(nh_slice_sub(nh_buf_slice(&got), 1, cut), &back), NH_EFORMAT);
	}
	assert_int_equal(i, 15);
	NH_AUTO_BUF struct nh_buf b = NH_BUF_INIT;
	uint8_t data[NH_ATECC_DATA_MAX + 1] = {0};
	assert_int_equal(nh_atecc_packet_put(&b, 1, 2, 3, nh_slice_of(data, NH_ATECC_DATA_MAX)), NH_OK);
	assert_int_equal(b.len, 155);
	assert_int_equal(nh_atecc_packet_put(&b, 1, 2, 3, nh_slice_of(data, sizeof data)), NH_EINVAL);
}

static void responses(void **state)
{
	NH_AUTO_JSON json_t *root = vectors();
	json_t *row;
	size_t i;
	json_array_foreach(json_object_get(root, "status_responses"), i, row)
	{
		NH_AUTO_BUF struct nh_buf bytes = NH_BUF_INIT, again = NH_BUF_INIT;
		nh_slice payload;
		unhex_of(&bytes, row, "response");
		uint8_t status = (uint8_t)nh_json_int(row, "status", -1);
		assert_int_equal(nh_atecc_response_parse(nh_buf_slice(&bytes), &payload), NH_OK);
		assert_int_equal(payload.len, 1);
		assert_int_equal(payload.ptr[0], status);
		assert_string_not_equal(nh_atecc_status_text(status), nh_atecc_status_text(0x77));
		nh_atecc_response_put(&again, payload);
		assert_int_equal(again.len, 4);
		assert_bytes(again.ptr, bytes.ptr, 4);
		for (size_t cut = 0; cut < 4; cut++)
			assert_int_equal(nh_atecc_response_parse(nh_slice_of(bytes.ptr, cut), &payload), NH_EAGAIN);
		for (size_t bit = 0; bit < 32; bit++) {
			bytes.ptr[bit / 8] ^= (uint8_t)(1 << bit % 8);
			assert_int_not_equal(nh_atecc_response_parse(nh_buf_slice(&bytes), &payload), NH_OK);
			assert_int_equal(payload.len, 0);
			bytes.ptr[bit / 8] ^= (uint8_t)(1 << bit % 8);
		}
		/* What a chip sends behind its answer is filling. */
		nh_buf_fill(&bytes, 0xFF, 31);
		assert_int_equal(nh_atecc_response_parse(nh_buf_slice(&bytes), &payload), NH_OK);
		assert_int_equal(payload.len, 1);
	}
	assert_int_equal(i, 10);

	NH_AUTO_BUF struct nh_buf wake = NH_BUF_INIT;
	nh_slice payload;
	assert_int_equal(nh_atecc_response_parse(unhex_of(&wake, root, "wake_response"), &payload), NH_OK);
	assert_int_equal(payload.ptr[0], NH_ATECC_AFTER_WAKE);
}

static void impossible_responses(void **state)
{
	static const struct {
		const char *hex;
		nh_rc rc;
	} rows[] = {
		{"", NH_EAGAIN}, {"00", NH_EFORMAT}, {"01", NH_EFORMAT}, {"020000", NH_EFORMAT}, {"030000", NH_EFORMAT}, {"9c", NH_EFORMAT}, {"ffffffff", NH_EFORMAT}, {"9b", NH_EAGAIN}, {"04113344", NH_EFORMAT},
	};
	for (size_t i = 0; i < NH_ARRAY_LEN(rows); i++) {
		NH_AUTO_BUF struct nh_buf b = NH_BUF_INIT;
		nh_slice payload;
		unhex(&b, nh_slice_str(rows[i].hex));
		assert_int_equal(nh_atecc_response_parse(nh_buf_slice(&b), &payload), rows[i].rc);
	}
	/* Random bytes: one in 65536 has a right CRC; none reads beyond its end (the sanitizer sees). */
	struct nh_rng_seeded seeded;
	struct nh_rng rng = nh_rng_seeded_init(&seeded, 5);
	for (unsigned i = 0; i < 100000; i++) {
		size_t len = nh_rng_below(&rng, 160);
		uint8_t *bytes = malloc(len ? len : 1);
		nh_rng_fill(&rng, bytes, len);
		nh_slice payload;
		struct nh_atecc_packet packet;
		if (nh_atecc_response_parse(nh_slice_of(bytes, len), &payload) == NH_OK)
			assert_true(payload.len > 0 && payload.len + 3 <= len);
		if (nh_atecc_packet_parse(nh_slice_of(bytes, len), &packet) == NH_OK)
			assert_int_equal(packet.data.len + 7, len);
		free(bytes);
	}
}

static void addresses(void **state)
{
	static const struct {
		nh_atecc_zone zone;
		unsigned slot, byte;
		uint16_t param2;
	} rows[] = {
		{NH_ATECC_ZONE_CONFIG, 0, 0, 0},       {NH_ATECC_ZONE_CONFIG, 0, 32, 8},      {NH_ATECC_ZONE_CONFIG, 0, 84, 0x15}, {NH_ATECC_ZONE_CONFIG, 0, 124, 0x1F},
		{NH_ATECC_ZONE_OTP, 0, 32, 8},	       {NH_ATECC_ZONE_DATA, 10, 32, 0x0150},  {NH_ATECC_ZONE_DATA, 10, 68, 0x0251}, {NH_ATECC_ZONE_DATA, 8, 384, 0x0C40},
		{NH_ATECC_ZONE_DATA, 15, 0, 0x0078}, {NH_ATECC_ZONE_DATA, 8, 412, 0x0C47},
	};
	for (size_t i = 0; i < NH_ARRAY_LEN(rows); i++)
		assert_int_equal(nh_atecc_address(rows[i].zone, rows[i].slot, rows[i].byte), rows[i].param2);
	size_t all = 0;
	for (unsigned slot = 0; slot < 20; slot++)
		all += nh_atecc_slot_len(slot);
	assert_int_equal(all, 1208);
	assert_int_equal(nh_atecc_slot_len(16), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(crc), cmocka_unit_test(packets), cmocka_unit_test(responses), cmocka_unit_test(impossible_responses), cmocka_unit_test(addresses),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
