/* Settings between Erlang terms and JSON: the vectors both ways, every escape form, what is refused and where, and that whatever was read comes back as it was. */
#include "vectors.h"

#include "nerveskey/settings.h"

static const struct {
	const char *hex, *json;
} both[] = {
	{"837400000000", "{}"},
	{"8374000000016d00000001616101", "{\"a\":1}"},
	{"837400000001640001616101", "{\":a\":1}"},
	{"8374000000016d0000000568656c6c6f6d00000005776f726c64", "{\"hello\":\"world\"}"},
	{"8374000000016d000000016e62ffffffff", "{\"n\":-1}"},
	{"8374000000016d000000016e61ff", "{\"n\":255}"},
	{"8374000000016d000000016e6200000100", "{\"n\":256}"},
	{"8374000000016d000000016e627fffffff", "{\"n\":2147483647}"},
	{"8374000000016d000000016e6e040000000080", "{\"n\":2147483648}"},
	{"8374000000016d000000016e6e040101000080", "{\"n\":-2147483649}"},
	{"8374000000016d0000000166463ff8000000000000", "{\"f\":1.5}"},
	{"8374000000026d0000000174640004747275656d00000001786400036e696c", "{\"t\":true,\"x\":null}"},
	{"8374000000016d000000016c6b0003010203", "{\"l\":[1,2,3]}"},
	{"8374000000016d000000016c6a", "{\"l\":[]}"},
	{"8374000000016d000000016c6c000000026d0000000161620000012c6a", "{\"l\":[\"a\",300]}"},
	{"8374000000016d00000003747570680261016400026f6b", "{\"tup\":{\"$tuple\":[1,\":ok\"]}}"},
	{"8374000000016d000000016d74000000016d000000016b6d0000000176", "{\"m\":{\"k\":\"v\"}}"},
	{"8374000000016d00000002c3bc6d00000002c3a9", "{\"\xc3\xbc\":\"\xc3\xa9\"}"},
	/* what begins like an atom or an escape and is none */
	{"8374000000016d000000023a616d000000015c", "{\"\\\\:a\":\"\\\\\\\\\"}"},
	{"8374000000016d000000016164000474727565", "{\"a\":true}"},
	{"83740000000164000474727565640005" "66616c7365", "{\":true\":false}"},
	{"8374000000016d0000000161640000", "{\"a\":\":\"}"},
	{"8374000000016d00000001617702c3a9", "{\"a\":\":\xc3\xa9\"}"},
	/* numbers */
	{"8374000000016d000000016e6e0800ffffffffffffff7f", "{\"n\":9223372036854775807}"},
	{"8374000000016d000000016e6e08010000000000000080", "{\"n\":-9223372036854775808}"},
	{"8374000000016d000000016e6e08000000000000000080", "{\"n\":{\"$integer\":\"9223372036854775808\"}}"},
	{"8374000000016d000000016e6e090100000000000000" "0001", "{\"n\":{\"$integer\":\"-18446744073709551616\"}}"},
	{"8374000000016d000000016646c000000000000000", "{\"f\":-2.0}"},
	/* what JSON has no word for */
	{"8374000000016d00000001626d00000002ff00", "{\"b\":{\"$bytes\":\"/wA=\"}}"},
	{"8374000000016d00000001626d00000000", "{\"b\":\"\"}"},
	{"8374000000016d00000001624d0000000203ffe0", "{\"b\":{\"$bits\":[\"/+A=\",3]}}"},
	{"8374000000016d000000016c6c0000000161016102", "{\"l\":{\"$list\":[1,2]}}"},
	{"837400000001610161" "02", "{\"$map\":[[1,2]]}"},
	{"8374000000016d000000022474" "6101", "{\"$map\":[[\"$t\",1]]}"},
	{"8374000000016d000000016d74000000016d00000001ff6101", "{\"m\":{\"$map\":[[{\"$bytes\":\"/w==\"},1]]}}"},
	{"837400000002610161" "01463ff0000000000000" "6102", "{\"$map\":[[1,1],[1.0,2]]}"},
	{"83740000000168006a", "{\"$map\":[[{\"$tuple\":[]},[]]]}"},
	{"8374000000016d000000016e6d00000003610062", "{\"n\":\"a\\u0000b\"}"},
	{"8374000000016d0000000361006261" "01", "{\"$map\":[[\"a\\u0000b\",1]]}"},
};

static void both_ways(void **state)
{
	for (size_t i = 0; i < NH_ARRAY_LEN(both); i++) {
		NH_AUTO_BUF struct nh_buf bytes = NH_BUF_INIT, json = NH_BUF_INIT, again = NH_BUF_INIT;
		struct nh_err err = NH_ERR_INIT;
		assert_int_equal(nh_hex_decode(nh_slice_str(both[i].hex), &bytes), NH_OK);
		size_t len = bytes.len;
		nh_buf_fill(&bytes, 0, 524 - len); /* as it stands in the chip */
		if (nh_nerveskey_settings_to_json(nh_buf_slice(&bytes), false, &json, &err) != NH_OK)
			fail_msg("row %zu: %s", i, err.msg);
		assert_slice(nh_buf_slice(&json), both[i].json);
		if (nh_nerveskey_settings_from_json(nh_buf_slice(&json), &again, &err) != NH_OK)
			fail_msg("row %zu: %s", i, err.msg);
		if (!nh_slice_eq(nh_buf_slice(&again), nh_slice_sub(nh_buf_slice(&bytes), 0, len)))
			fail_msg("row %zu comes back otherwise", i);
	}
}

static void all_vectors(void **state)
{
	size_t i, k, seen = 0;
	const json_t *row;
	json_array_foreach((json_t *)vectors("etf"), i, row) {
		for (k = 0; k < NH_ARRAY_LEN(both) && !nh_slice_eq_str(nh_json_text(row, "etf"), both[k].hex); k++)
			;
		seen += k < NH_ARRAY_LEN(both);
	}
	assert_int_equal(seen, i);
	json_array_foreach((json_t *)vectors("etf_atom_variants"), i, row) {
		NH_AUTO_BUF struct nh_buf bytes = NH_BUF_INIT, json = NH_BUF_INIT;
		vector_hex(row, "etf", &bytes);
		assert_int_equal(nh_nerveskey_settings_to_json(nh_buf_slice(&bytes), false, &json, NULL), NH_OK);
		assert_slice(nh_buf_slice(&json), "{\":a\":1}");
	}
	assert_int_equal(i, 2);
}

static void unreadable(void **state)
{
	static const struct {
		const char *hex;
		nh_rc rc;
	} rows[] = {
		{"", NH_ENOTFOUND},
		{"0000000000", NH_ENOTFOUND},
		{"0000000083", NH_EFORMAT},
		{"ffffffff", NH_EFORMAT},
		{"8374000000016d000000016e", NH_EFORMAT},
		{"8374000000", NH_EFORMAT},
		{"83740000000261016101610161" "02", NH_EFORMAT}, /* the same key twice */
		{"8350000000106161", NH_EUNSUPPORTED},
		{"837400000001610167", NH_EUNSUPPORTED}, /* a pid */
		{"836801680168016801680168016801680168016801680168016801680168016801680168016101", NH_EFORMAT}, /* too deep */
	};
	for (size_t i = 0; i < NH_ARRAY_LEN(rows); i++) {
		NH_AUTO_BUF struct nh_buf bytes = NH_BUF_INIT, json = NH_BUF_INIT;
		struct nh_err err = NH_ERR_INIT;
		assert_int_equal(nh_hex_decode(nh_slice_str(rows[i].hex), &bytes), NH_OK);
		if (nh_nerveskey_settings_to_json(nh_buf_slice(&bytes), false, &json, &err) != rows[i].rc)
			fail_msg("row %zu: %s", i, err.msg);
		assert_int_equal(json.len, 0);
		assert_true(err.msg[0] != '\0');
	}
}

static void refused(void **state)
{
	static const struct {
		const char *json;
		nh_rc rc;
		const char *why;
	} rows[] = {
		{"", NH_EFORMAT, "JSON"},
		{"{", NH_EFORMAT, "JSON"},
		{"[]", NH_EINVAL, "object"},
		{"1", NH_EINVAL, "object"},
		{"{\"$tuple\":[1]}", NH_EINVAL, "map"},
		{"{\"a\":{\"$tuple\":1}}", NH_EINVAL, "settings.a: $tuple"},
		{"{\"a\":{\"b\":[1,{\"$nothing\":1}]}}", NH_EINVAL, "settings.a.b[1]: "},
		{"{\"a\":{\"$tuple\":[],\"$list\":[]}}", NH_EINVAL, "stands alone"},
		{"{\"$a\":1}", NH_EINVAL, "$map"},
		{"{\"a\":{\"$integer\":1}}", NH_EINVAL, "$integer"},
		{"{\"a\":{\"$integer\":\"\"}}", NH_EINVAL, "$integer"},
		{"{\"a\":{\"$integer\":\"-\"}}", NH_EINVAL, "$integer"},
		{"{\"a\":{\"$integer\":\"1x\"}}", NH_EINVAL, "$integer"},
		{"{\"a\":{\"$bytes\":\"a\"}}", NH_EINVAL, "base64"},
		{"{\"a\":{\"$bytes\":7}}", NH_EINVAL, "base64"},
		{"{\"a\":{\"$bits\":[\"/w==\",9]}}", NH_EINVAL, "$bits"},
		{"{\"a\":{\"$bits\":[\"/w==\",0]}}", NH_EINVAL, "$bits"},
		{"{\"a\":{\"$bits\":[\"\",1]}}", NH_EINVAL, "$bits"},
		{"{\"a\":{\"$bits\":[\"/w==\"]}}", NH_EINVAL, "$bits"},
		{"{\"a\":{\"$bits\":\"/w==\"}}", NH_EINVAL, "$bits"},
		{"{\"a\":{\"$list\":[1]}}", NH_EINVAL, "$list"},
		{"{\"a\":{\"$list\":[1,[]]}}", NH_EINVAL, "$list"},
		{"{\"a\":{\"$map\":[[1]]}}", NH_EINVAL, "$map"},
		{"{\"a\":{\"$map\":{}}}", NH_EINVAL, "$map"},
		{"{\"a\":{\"$map\":[[1,2],[1,3]]}}", NH_EINVAL, "twice"},
		{"{\"a\":1,\"\\\\a\":2}", NH_EINVAL, "twice"},
		{"{\"a\":[[[[[[[[[[[[[[[[[[1]]]]]]]]]]]]]]]]]]}", NH_EINVAL, "deeper"},
	};
	for (size_t i = 0; i < NH_ARRAY_LEN(rows); i++) {
		NH_AUTO_BUF struct nh_buf out = NH_BUF_INIT;
		struct nh_err err = NH_ERR_INIT;
		if (nh_nerveskey_settings_from_json(nh_slice_str(rows[i].json), &out, &err) != rows[i].rc || !strstr(err.msg, rows[i].why))
			fail_msg("row %zu: %s", i, err.msg);
		assert_int_equal(out.len, 0);
	}
	/* atoms: 255 characters, not bytes */
	NH_AUTO_BUF struct nh_buf json = NH_BUF_INIT, out = NH_BUF_INIT;
	nh_buf_put_str(&json, "{\"a\":\":");
	for (int i = 0; i < 255; i++)
		nh_buf_put_str(&json, "\xc3\xa9");
	size_t len = json.len;
	nh_buf_put_str(&json, "\"}");
	assert_int_equal(nh_nerveskey_settings_from_json(nh_buf_slice(&json), &out, NULL), NH_OK);
	nh_buf_truncate(&json, len);
	nh_buf_put_str(&json, "x\"}");
	assert_int_equal(nh_nerveskey_settings_from_json(nh_buf_slice(&json), &out, NULL), NH_EINVAL);
}

/* Integers of every length between a byte and the cap: the decimal text brings the same bytes back. */
static void big_integers(void **state)
{
	for (unsigned len = 1; len <= 1024; len += len < 20 ? 1 : 251) {
		NH_AUTO_BUF struct nh_buf bytes = NH_BUF_INIT, json = NH_BUF_INIT, again = NH_BUF_INIT;
		static const uint8_t head[] = {131, 116, 0, 0, 0, 1, 109, 0, 0, 0, 1, 'n'};
		nh_buf_put(&bytes, head, sizeof head);
		if (len > 255) {
			const uint8_t large[] = {111, 0, 0, (uint8_t)(len >> 8), (uint8_t)len, 1};
			nh_buf_put(&bytes, large, sizeof large);
		} else {
			const uint8_t small[] = {110, (uint8_t)len, 1};
			nh_buf_put(&bytes, small, sizeof small);
		}
		for (unsigned i = 0; i < len; i++)
			nh_buf_put_u8(&bytes, (uint8_t)(0xF7 - i * 13 % 0xF0));
		assert_int_equal(nh_nerveskey_settings_to_json(nh_buf_slice(&bytes), false, &json, NULL), NH_OK);
		assert_int_equal(nh_nerveskey_settings_from_json(nh_buf_slice(&json), &again, NULL), NH_OK);
		if (len > 8)
			assert_true(nh_slice_eq(nh_buf_slice(&again), nh_buf_slice(&bytes)));
	}
}

/* The forms for people and for programs say the same. */
static void pretty(void **state)
{
	NH_AUTO_BUF struct nh_buf bytes = NH_BUF_INIT, json = NH_BUF_INIT, again = NH_BUF_INIT;
	assert_int_equal(nh_nerveskey_settings_from_json(NH_LIT(" { \"network\" : { \":dhcp\" : true } } "), &bytes, NULL), NH_OK);
	assert_int_equal(nh_nerveskey_settings_to_json(nh_buf_slice(&bytes), true, &json, NULL), NH_OK);
	assert_slice(nh_buf_slice(&json), "{\n  \"network\": {\n    \":dhcp\": true\n  }\n}\n");
	assert_int_equal(nh_nerveskey_settings_from_json(nh_buf_slice(&json), &again, NULL), NH_OK);
	assert_true(nh_slice_eq(nh_buf_slice(&bytes), nh_buf_slice(&again)));
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(both_ways), cmocka_unit_test(all_vectors), cmocka_unit_test(unreadable),
					   cmocka_unit_test(refused),   cmocka_unit_test(big_integers), cmocka_unit_test(pretty)};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
