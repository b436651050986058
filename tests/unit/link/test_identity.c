/* NH1 headers against the reference's worked examples. source: reference/device-protocol "6.7" */
#include "test_base.h"

#include "link/identity.h"

static void examples(void **state)
{
	static const struct {
		const char *key, *secret, *identifier, *token;
		int64_t time_s;
	} rows[] = {
		{"nhp_8IBbqBKMlyrKYv1UzoZvy7dDYMWSRF9C1qTbcjsW1yk", "Zm9vYmFyYmF6cXV4MDEyMzQ1Njc4OWFiY2RlZmdoaWo", "device-1234",
		 "SFMyNTY.g2gDbQAAAAtkZXZpY2UtMTIzNG4GAABo5c-LAWIAAVGA.oB9d5VM3JzxKf3RVrat4sqWq8EtFbb7qSkuaRU1U0B8", 1700000000},
	};
	for (size_t i = 0; i < NH_ARRAY_LEN(rows); i++) {
		struct nh_link_signature s;
		assert_int_equal(nh_link_sign(nh_slice_str(rows[i].key), nh_slice_str(rows[i].secret), nh_slice_str(rows[i].identifier), rows[i].time_s, &s, NULL), NH_OK);
		assert_string_equal(s.alg, "NH1-HMAC-sha256-1000-32");
		assert_string_equal(s.time, "1700000000");
		assert_string_equal(nh_buf_cstr(&s.token), rows[i].token);
		nh_buf_wipe(&s.token);
	}
}

static void refused(void **state)
{
	static const char *const rows[][3] = {{"", "s", "i"}, {"k", "", "i"}, {"k", "s", ""}, {"k\r\nx: y", "s", "i"}, {"k k", "s", "i"}};
	for (size_t i = 0; i < NH_ARRAY_LEN(rows); i++) {
		struct nh_link_signature s;
		assert_int_equal(nh_link_sign(nh_slice_str(rows[i][0]), nh_slice_str(rows[i][1]), nh_slice_str(rows[i][2]), 1, &s, NULL), NH_EINVAL);
		assert_int_equal(s.token.len, 0);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(examples), cmocka_unit_test(refused)};
	return cmocka_run_group_tests_name("identity", tests, NULL, NULL);
}
