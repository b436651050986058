/*
 * Canonical JSON against the examples of RFC 8785: its numbers (appendix B), its order of names, its escapes; and what has no canonical form.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/json.h"

static void expect(const json_t *value, const char *wanted)
{
	NH_AUTO_BUF struct nh_buf text = NH_BUF_INIT;
	struct nh_err err = NH_ERR_INIT;
	assert_int_equal(nh_json_put_canonical(&text, value, &err), NH_OK);
	assert_string_equal(nh_buf_cstr(&text), wanted);
}

/* source: RFC 8785 appendix B */
static const struct {
	uint64_t bits;
	const char *text;
} numbers[] = {
	{0x0000000000000000, "0"}, {0x8000000000000000, "0"}, {0x0000000000000001, "5e-324"}, {0x8000000000000001, "-5e-324"},
	{0x7fefffffffffffff, "1.7976931348623157e+308"}, {0xffefffffffffffff, "-1.7976931348623157e+308"},
	{0x4340000000000000, "9007199254740992"}, {0xc340000000000000, "-9007199254740992"}, {0x4430000000000000, "295147905179352830000"},
	{0x44b52d02c7e14af5, "9.999999999999997e+22"}, {0x44b52d02c7e14af6, "1e+23"}, {0x44b52d02c7e14af7, "1.0000000000000001e+23"},
	{0x444b1ae4d6e2ef4e, "999999999999999700000"}, {0x444b1ae4d6e2ef4f, "999999999999999900000"}, {0x444b1ae4d6e2ef50, "1e+21"},
	{0x3eb0c6f7a0b5ed8c, "9.999999999999997e-7"}, {0x3eb0c6f7a0b5ed8d, "0.000001"},
	{0x41b3de4355555553, "333333333.3333332"}, {0x41b3de4355555554, "333333333.33333325"}, {0x41b3de4355555555, "333333333.3333333"},
	{0x41b3de4355555556, "333333333.3333334"}, {0x41b3de4355555557, "333333333.33333343"},
	{0xbecbf647612f3696, "-0.0000033333333333333333"}, {0x43143ff3c1cb0959, "1424953923781206.2"},
};

static void test_numbers(void **state)
{
	for (size_t i = 0; i < NH_ARRAY_LEN(numbers); i++) {
		double v;
		memcpy(&v, &numbers[i].bits, sizeof(v));
		NH_AUTO_JSON json_t *value = json_real(v);
		expect(value, numbers[i].text);
	}
}

static const struct {
	const char *text, *wanted;
} texts[] = {
	/* source: RFC 8785 3.2.2 */
	{"{\"numbers\":[333333333.33333329,1E30,4.50,2e-3,0.000000000000000000000000001],\"string\":\"\\u20ac$\\u000F\\u000aA'\\u0042\\u0022\\u005c\\\\\\\"\\/\",\"literals\":[null,true,false]}",
	 "{\"literals\":[null,true,false],\"numbers\":[333333333.3333333,1e+30,4.5,0.002,1e-27],\"string\":\"\u20ac$\\u000f\\nA'B\\\"\\\\\\\\\\\"/\"}"},
	/* source: RFC 8785 3.2.3: by units of UTF-16, where the surrogates of the emoji come before U+FB33 */
	{"{\"\\u20ac\":5,\"\\r\":1,\"\\ufb33\":7,\"1\":2,\"\\ud83d\\ude00\":6,\"\\u0080\":3,\"\\u00f6\":4}",
	 "{\"\\r\":1,\"1\":2,\"\xc2\x80\":3,\"\u00f6\":4,\"\u20ac\":5,\"\U0001f600\":6,\"\ufb33\":7}"},
	{"{\"b\":{\"z\":[],\"a\":{}},\"a\":[[1],{\"y\":-1,\"x\":9007199254740992}],\"\":0,\"ab\":1,\"aa\":2}", "{\"\":0,\"a\":[[1],{\"x\":9007199254740992,\"y\":-1}],\"aa\":2,\"ab\":1,\"b\":{\"a\":{},\"z\":[]}}"},
	{"\"\\b\\f\\t\\r\\u007f\\u001b\\u0000x\"", "\"\\b\\f\\t\\r\x7f\\u001b\\u0000x\""},
	{" { \"n\" : 1.0 } ", "{\"n\":1}"},
};

static void test_texts(void **state)
{
	for (size_t i = 0; i < NH_ARRAY_LEN(texts); i++) {
		NH_AUTO_JSON json_t *value = NULL;
		NH_AUTO_JSON json_t *again = NULL;
		assert_int_equal(nh_json_parse(nh_slice_str(texts[i].text), 4096, &value, NULL), NH_OK);
		expect(value, texts[i].wanted);
		assert_int_equal(nh_json_parse(nh_slice_str(texts[i].wanted), 4096, &again, NULL), NH_OK);
		expect(again, texts[i].wanted);
	}
}

/* More members than are sorted without memory of their own, in the reverse order. */
static void test_many_members(void **state)
{
	NH_AUTO_BUF struct nh_buf wanted = NH_BUF_INIT, name = NH_BUF_INIT;
	NH_AUTO_JSON json_t *value = json_object();
	for (int i = 99; i >= 0; i--) {
		nh_buf_clear(&name);
		nh_buf_printf(&name, "m%02d", i);
		json_object_set_new(value, nh_buf_cstr(&name), json_integer(i));
	}
	for (int i = 0; i < 100; i++)
		nh_buf_printf(&wanted, "%s\"m%02d\":%d", i ? "," : "{", i, i);
	nh_buf_put_str(&wanted, "}");
	expect(value, nh_buf_cstr(&wanted));
}

static void test_refused(void **state)
{
	NH_AUTO_BUF struct nh_buf text = NH_BUF_INIT;
	struct nh_err err = NH_ERR_INIT;
	NH_AUTO_JSON json_t *large = json_integer((INT64_C(1) << 53) + 1);
	NH_AUTO_JSON json_t *small = json_integer(-(INT64_C(1) << 53) - 1);
	NH_AUTO_JSON json_t *deep = json_array();
	assert_int_equal(nh_json_put_canonical(&text, large, &err), NH_EFORMAT);
	assert_non_null(strstr(err.msg, "9007199254740993"));
	assert_int_equal(nh_json_put_canonical(&text, small, &err), NH_EFORMAT);
	for (int i = 0; i < 70; i++) {
		json_t *outer = json_array();
		json_array_append_new(outer, deep);
		deep = outer;
	}
	assert_int_equal(nh_json_put_canonical(&text, deep, &err), NH_EFORMAT);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_numbers), cmocka_unit_test(test_texts), cmocka_unit_test(test_many_members), cmocka_unit_test(test_refused)};
	return cmocka_run_group_tests_name("base_canonical", tests, NULL, NULL);
}
