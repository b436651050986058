/* Hex, Base64, percent encoding, numbers, sizes, durations. */
#include "test_base.h"

#include "base/encode.h"

static void hex(void **state)
{
	NH_AUTO_BUF struct nh_buf b = NH_BUF_INIT;
	nh_hex_put(&b, nh_slice_of("\x00\xab\xff", 3));
	nh_hex_put_upper(&b, nh_slice_of("\xab", 1));
	assert_slice(nh_buf_slice(&b), "00abffAB");
	nh_buf_clear(&b);
	assert_int_equal(nh_hex_decode(NH_LIT("00aBfF"), &b), NH_OK);
	assert_memory_equal(b.ptr, "\x00\xab\xff", 3);
	static const char *const bad[] = {"0", "0g", "zz", "0 ", "00a"};
	for (size_t i = 0; i < NH_ARRAY_LEN(bad); i++)
		assert_int_equal(nh_hex_decode(nh_slice_str(bad[i]), &b), NH_EFORMAT);
	uint8_t two[2];
	assert_int_equal(nh_hex_decode_fixed(NH_LIT("0102"), two, 2), NH_OK);
	assert_int_equal(two[1], 2);
	assert_int_equal(nh_hex_decode_fixed(NH_LIT("01"), two, 2), NH_EFORMAT);
	assert_int_equal(nh_hex_decode_fixed(NH_LIT("010203"), two, 2), NH_EFORMAT);
	assert_int_equal(nh_hex_decode_fixed(NH_LIT("01xx"), two, 2), NH_EFORMAT);
}

static void base64(void **state)
{
	/* RFC 4648 section 10, and bytes that need the last two letters */
	static const struct {
		const char *bytes, *text;
		nh_b64 form;
	} rows[] = {
		{"", "", NH_B64_STD},		   {"f", "Zg==", NH_B64_STD},	       {"fo", "Zm8=", NH_B64_STD},
		{"foo", "Zm9v", NH_B64_STD},	   {"foob", "Zm9vYg==", NH_B64_STD},   {"fooba", "Zm9vYmE=", NH_B64_STD},
		{"foobar", "Zm9vYmFy", NH_B64_STD}, {"foob", "Zm9vYg", NH_B64_STD_NOPAD}, {"\xfb\xff", "+/8=", NH_B64_STD},
		{"\xfb\xff", "-_8=", NH_B64_URL},  {"\xfb\xff", "-_8", NH_B64_URL_NOPAD},
	};
	for (size_t i = 0; i < NH_ARRAY_LEN(rows); i++) {
		NH_AUTO_BUF struct nh_buf b = NH_BUF_INIT;
		nh_b64_put(&b, nh_slice_str(rows[i].bytes), rows[i].form);
		assert_slice(nh_buf_slice(&b), rows[i].text);
		nh_buf_clear(&b);
		assert_int_equal(nh_b64_decode(nh_slice_str(rows[i].text), rows[i].form, &b), NH_OK);
		assert_slice(nh_buf_slice(&b), rows[i].bytes);
	}
	static const struct {
		const char *text;
		nh_b64 form;
	} bad[] = {
		{"Zg", NH_B64_STD},   {"Zg=", NH_B64_STD},   {"Z", NH_B64_STD_NOPAD}, {"Zg==", NH_B64_STD_NOPAD}, {"Zh==", NH_B64_STD},
		{"Zm9=", NH_B64_STD}, {"Zm9v\n", NH_B64_STD}, {"====", NH_B64_STD},    {"Zg==Zg==", NH_B64_STD},   {"+/8=", NH_B64_URL},
		{"-_8=", NH_B64_STD}, {"Z===", NH_B64_STD},
	};
	for (size_t i = 0; i < NH_ARRAY_LEN(bad); i++) {
		NH_AUTO_BUF struct nh_buf b = NH_BUF_INIT;
		nh_buf_put_str(&b, "kept");
		assert_int_equal(nh_b64_decode(nh_slice_str(bad[i].text), bad[i].form, &b), NH_EFORMAT);
		assert_slice(nh_buf_slice(&b), "kept");
	}
	struct nh_buf small = NH_BUF_MAX(2);
	assert_int_equal(nh_b64_decode(NH_LIT("Zm9v"), NH_B64_STD, &small), NH_ETOOBIG);
	nh_buf_fini(&small);
}

static void base64_all_lengths(void **state)
{
	uint8_t bytes[67];
	for (size_t i = 0; i < sizeof bytes; i++)
		bytes[i] = (uint8_t)(i * 37 + 5);
	for (size_t n = 0; n <= sizeof bytes; n++)
		for (int form = NH_B64_STD; form <= NH_B64_URL_NOPAD; form++) {
			NH_AUTO_BUF struct nh_buf text = NH_BUF_INIT, back = NH_BUF_INIT;
			nh_b64_put(&text, nh_slice_of(bytes, n), (nh_b64)form);
			assert_int_equal(nh_b64_decode(nh_buf_slice(&text), (nh_b64)form, &back), NH_OK);
			assert_true(nh_slice_eq(nh_buf_slice(&back), nh_slice_of(bytes, n)));
		}
}

static void percent(void **state)
{
	NH_AUTO_BUF struct nh_buf b = NH_BUF_INIT;
	nh_uri_put(&b, NH_LIT("a b/ä~._-+%"));
	assert_slice(nh_buf_slice(&b), "a%20b%2F%C3%A4~._-%2B%25");
	nh_buf_clear(&b);
	assert_int_equal(nh_uri_decode(NH_LIT("a%20b+c%2f"), false, &b), NH_OK);
	assert_slice(nh_buf_slice(&b), "a b+c/");
	nh_buf_clear(&b);
	assert_int_equal(nh_uri_decode(NH_LIT("a+b%2B"), true, &b), NH_OK);
	assert_slice(nh_buf_slice(&b), "a b+");
	static const char *const bad[] = {"%", "%2", "%zz", "a%00b", "%0"};
	for (size_t i = 0; i < NH_ARRAY_LEN(bad); i++)
		assert_int_equal(nh_uri_decode(nh_slice_str(bad[i]), false, &b), NH_EFORMAT);
	assert_int_equal(nh_uri_decode(nh_slice_of("a\0b", 3), false, &b), NH_EFORMAT);
	assert_slice(nh_buf_slice(&b), "a b+");
}

static void numbers(void **state)
{
	static const struct {
		const char *text;
		uint64_t min, max;
		nh_rc rc;
		uint64_t value;
	} rows[] = {
		{"0", 0, 10, NH_OK, 0},
		{"18446744073709551615", 0, UINT64_MAX, NH_OK, UINT64_MAX},
		{"18446744073709551616", 0, UINT64_MAX, NH_EINVAL, 0},
		{"007", 0, 10, NH_OK, 7},
		{"11", 0, 10, NH_EINVAL, 0},
		{"1", 2, 10, NH_EINVAL, 0},
		{"", 0, 10, NH_EFORMAT, 0},
		{"+1", 0, 10, NH_EFORMAT, 0},
		{"-1", 0, 10, NH_EFORMAT, 0},
		{" 1", 0, 10, NH_EFORMAT, 0},
		{"1x", 0, 10, NH_EFORMAT, 0},
	};
	for (size_t i = 0; i < NH_ARRAY_LEN(rows); i++) {
		uint64_t v = 0;
		assert_int_equal(nh_parse_u64(nh_slice_str(rows[i].text), rows[i].min, rows[i].max, &v), rows[i].rc);
		assert_true(v == rows[i].value);
	}
	int64_t s = 0;
	assert_int_equal(nh_parse_i64(NH_LIT("-9223372036854775808"), INT64_MIN, INT64_MAX, &s), NH_OK);
	assert_true(s == INT64_MIN);
	assert_int_equal(nh_parse_i64(NH_LIT("9223372036854775807"), INT64_MIN, INT64_MAX, &s), NH_OK);
	assert_true(s == INT64_MAX);
	assert_int_equal(nh_parse_i64(NH_LIT("9223372036854775808"), INT64_MIN, INT64_MAX, &s), NH_EINVAL);
	assert_int_equal(nh_parse_i64(NH_LIT("-"), INT64_MIN, INT64_MAX, &s), NH_EFORMAT);
	assert_int_equal(nh_parse_i64(NH_LIT("--1"), INT64_MIN, INT64_MAX, &s), NH_EFORMAT);
	assert_int_equal(nh_parse_i64(NH_LIT("-5"), -4, 4, &s), NH_EINVAL);
}

static void units(void **state)
{
	uint64_t v = 0;
	assert_int_equal(nh_parse_size(NH_LIT("12"), UINT64_MAX, &v), NH_OK);
	assert_int_equal(v, 12);
	assert_int_equal(nh_parse_size(NH_LIT("4k"), UINT64_MAX, &v), NH_OK);
	assert_int_equal(v, 4096);
	assert_int_equal(nh_parse_size(NH_LIT("1GiB"), UINT64_MAX, &v), NH_OK);
	assert_int_equal(v, 1 << 30);
	assert_int_equal(nh_parse_size(NH_LIT("2M"), 1 << 20, &v), NH_EINVAL);
	assert_int_equal(nh_parse_size(NH_LIT("99999999999T"), UINT64_MAX, &v), NH_EINVAL);
	assert_int_equal(nh_parse_size(NH_LIT("4x"), UINT64_MAX, &v), NH_EFORMAT);
	assert_int_equal(nh_parse_size(NH_LIT("k"), UINT64_MAX, &v), NH_EFORMAT);
	assert_int_equal(nh_parse_duration_ms(NH_LIT("250ms"), UINT64_MAX, &v), NH_OK);
	assert_int_equal(v, 250);
	assert_int_equal(nh_parse_duration_ms(NH_LIT("3"), UINT64_MAX, &v), NH_OK);
	assert_int_equal(v, 3000);
	assert_int_equal(nh_parse_duration_ms(NH_LIT("7d"), UINT64_MAX, &v), NH_OK);
	assert_true(v == 7 * 86400000ull);
	assert_int_equal(nh_parse_duration_ms(NH_LIT("2h"), 3600000, &v), NH_EINVAL);
	assert_int_equal(nh_parse_duration_ms(NH_LIT("2 h"), UINT64_MAX, &v), NH_EFORMAT);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(hex),	   cmocka_unit_test(base64),  cmocka_unit_test(base64_all_lengths),
		cmocka_unit_test(percent), cmocka_unit_test(numbers), cmocka_unit_test(units),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
