/*
 * Scripts of misbehaviour.
 */
#include <string.h>

#include "fleet/fleet.h"
#include "test_base.h"

static void test_words(void **state)
{
	struct nh_fleet_script s;
	assert_int_equal(nh_fleet_script_parse(NH_LIT("# all of it\n drop=1  slow=2 slow-rate=3k\r\nfail-install=4 revert=5 # why\nduplicate=1000\n\nskew=0 skew-by=2m"), &s, NULL), NH_OK);
	assert_int_equal(s.drop, 1);
	assert_int_equal(s.slow, 2);
	assert_int_equal(s.slow_bytes_per_s, 3072);
	assert_int_equal(s.fail_install, 4);
	assert_int_equal(s.revert, 5);
	assert_int_equal(s.duplicate, 1000);
	assert_int_equal(s.skew, 0);
	assert_int_equal(s.skew_s, 120);
}

static void test_defaults(void **state)
{
	struct nh_fleet_script s;
	assert_int_equal(nh_fleet_script_parse(NH_SLICE_EMPTY, &s, NULL), NH_OK);
	assert_int_equal(s.drop + s.slow + s.fail_install + s.revert + s.duplicate + s.skew, 0);
	assert_int_equal(s.slow_bytes_per_s, 20000);
	assert_int_equal(s.skew_s, 45);
}

static void test_refused(void **state)
{
	static const struct {
		const char *text, *message;
	} cases[] = {
		{"drop", "line 1: 'drop' is not NAME=VALUE"},
		{"\n\nexplode=1", "line 3: 'explode' is no kind of misbehaviour"},
		{"drop=1001", "line 1: drop takes devices per thousand, 0 to 1000, not '1001'"},
		{"drop=-1", "devices per thousand"},
		{"drop=", "devices per thousand"},
		{"slow-rate=fast", "slow-rate takes a size"},
		{"drop=1\nskew-by=soon", "line 2: skew-by takes a time"},
	};
	for (size_t i = 0; i < NH_ARRAY_LEN(cases); i++) {
		struct nh_fleet_script s;
		struct nh_err err = NH_ERR_INIT;
		assert_int_equal(nh_fleet_script_parse(nh_slice_str(cases[i].text), &s, &err), NH_EFORMAT);
		if (!strstr(err.msg, cases[i].message))
			fail_msg("'%s' lacks '%s'", err.msg, cases[i].message);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_words), cmocka_unit_test(test_defaults), cmocka_unit_test(test_refused)};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
