/*
 * Which slots a configuration makes, and what it is refused for.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>

#include <unistd.h>

#include "module.h"

/* "id label spec pair" of each slot, a line each. */
static void describe(const struct config *c, struct nh_buf *out)
{
	static const char *const pairs[] = {"both", "primary", "aux"};
	for (size_t i = 0; i < c->count; i++)
		nh_buf_printf(out, "%lu|%s|%s|%s\n", c->slots[i].id, c->slots[i].label, c->slots[i].spec, pairs[c->slots[i].pair]);
}

static void test_slots(void **state)
{
	static const struct {
		const char *text, *slots;
	} rows[] = {
		{"i2c-1", "1|1|i2c-1|both\n"},
		{"i2c-1@0x35", "17|17|i2c-1@0x35|both\n"},
		{"nerveskey://i2c-15?address=0x35", "31|31|nerveskey://i2c-15?address=0x35|both\n"},
		{"i2c-16", "32|32|i2c-16|both\n"}, /* numbers of their own have the first sixteen buses only */
		{"i2c-1@0x58\ni2c-1", "32|32|i2c-1@0x58|both\n1|1|i2c-1|both\n"},
		{"nerveskey+sim:///run/chip.sock", "32|32|nerveskey+sim:///run/chip.sock|both\n"},
		{"nerveskey+sim:///run/chip.sock?address=0x35 id=1 label=1", "1|1|nerveskey+sim:///run/chip.sock?address=0x35|both\n"},
		{"sim:/a ; sim:/b", "32|32|sim:/a|both\n33|33|sim:/b|both\n"},
		{"sim:/a id=33\nsim:/b\nsim:/c", "33|33|sim:/a|both\n32|32|sim:/b|both\n34|34|sim:/c|both\n"},
		{"i2c-1 label=front%20door pair=aux", "1|front door|i2c-1|aux\n"},
		{"i2c-1 pair=primary\r\n", "1|1|i2c-1|primary\n"},
		{"# all of them; really\n\n  # and this\n\ti2c-2\t# not; i2c-3\n", "2|2|i2c-2|both\n"},
		{"sim:/a#b", "32|32|sim:/a#b|both\n"},
		{"buses=3", "3|3|/dev/i2c-3@0x60|both\n19|19|/dev/i2c-3@0x35|both\n"},
		{"buses=3;sim:/a", "32|32|sim:/a|both\n3|3|/dev/i2c-3@0x60|both\n19|19|/dev/i2c-3@0x35|both\n"},
		{"buses=3;i2c-3 label=mine", "3|mine|i2c-3|both\n19|19|/dev/i2c-3@0x35|both\n"},
		{"buses=none", ""},
		{"cache=0s; i2c-0", "0|0|i2c-0|both\n"},
	};
	for (size_t i = 0; i < NH_ARRAY_LEN(rows); i++) {
		struct config c;
		struct nh_err err = NH_ERR_INIT;
		struct nh_buf got = NH_BUF_INIT;
		nh_rc rc = config_parse(nh_slice_str(rows[i].text), &c, &err);
		if (rc != NH_OK)
			fail_msg("%s: %s", rows[i].text, err.msg);
		describe(&c, &got);
		assert_string_equal(nh_buf_cstr(&got), rows[i].slots);
		nh_buf_fini(&got);
	}
}

static void test_defaults(void **state)
{
	struct config c;
	assert_int_equal(config_parse(NH_LIT("# nothing\n"), &c, NULL), NH_OK);
	assert_int_equal(c.count, 32);
	assert_int_equal(c.cache_ms, 5000);
	for (size_t i = 0; i < 32; i++) {
		char spec[32], label[4];
		snprintf(spec, sizeof spec, "/dev/i2c-%zu@0x%s", i % 16, i < 16 ? "60" : "35");
		snprintf(label, sizeof label, "%zu", i);
		assert_int_equal(c.slots[i].id, i);
		assert_int_equal(c.slots[i].bus, i % 16);
		assert_string_equal(c.slots[i].spec, spec);
		assert_string_equal(c.slots[i].label, label);
	}
}

static void test_refusals(void **state)
{
	static const struct {
		const char *text, *message;
	} rows[] = {
		{"i2c-1\ni2c-1", "slot i2c-1: another one has the id 1; give one of them another by id="},
		{"sim:/a id=4; sim:/b id=4", "slot sim:/a: another one has the id 4; give one of them another by id="},
		{"i2c-1 id=200", "slot i2c-1: id \"200\": a number from 0 to 199"},
		{"i2c-1 id=", "slot i2c-1: id \"\": a number from 0 to 199"},
		{"i2c-1 label=", "slot i2c-1: label \"\": 1 to 32 bytes are possible"},
		{"i2c-1 label=123456789012345678901234567890123", "slot i2c-1: label \"123456789012345678901234567890123\": 1 to 32 bytes are possible"},
		{"i2c-1 label=%FF", "slot i2c-1: label \"%FF\": not UTF-8 with %XX for blanks"},
		{"i2c-1 label=%0", "slot i2c-1: label \"%0\": not UTF-8 with %XX for blanks"},
		{"i2c-1 pair=second", "slot i2c-1: pair \"second\": primary, aux or both"},
		{"i2c-1 colour=red", "slot i2c-1: \"colour=\": a slot knows label=, id= and pair="},
		{"i2c-1 i2c-2", "slot i2c-1: \"i2c-2\" is none of label=, id=, pair="},
		{"label=door", "\"label=\": buses=, cache=, or a slot: i2c-1, nerveskey+sim:///path"},
		{"cache=soon", "cache \"soon\": a time such as 5s or 500ms, up to an hour"},
		{"cache=2h", "cache \"2h\": a time such as 5s or 500ms, up to an hour"},
		{"cache=5s i2c-1", "\"i2c-1\" behind cache=: one setting a line"},
		{"buses=16", "buses \"16\": numbers from 0 to 15 with commas, or none"},
		{"buses=1,,2", "buses \"1,,2\": numbers from 0 to 15 with commas, or none"},
	};
	for (size_t i = 0; i < NH_ARRAY_LEN(rows); i++) {
		struct config c;
		struct nh_err err = NH_ERR_INIT;
		assert_int_equal(config_parse(nh_slice_str(rows[i].text), &c, &err), NH_EINVAL);
		assert_string_equal(err.msg, rows[i].message);
	}
}

static void test_caps(void **state)
{
	struct config c;
	struct nh_err err = NH_ERR_INIT;
	struct nh_buf text = NH_BUF_INIT;
	for (unsigned i = 0; i < SLOTS_MAX; i++)
		nh_buf_printf(&text, "sim:/%u\n", i);
	assert_int_equal(config_parse(nh_buf_slice(&text), &c, &err), NH_OK);
	assert_int_equal(c.count, SLOTS_MAX);
	nh_buf_put_str(&text, "sim:/more");
	assert_int_equal(config_parse(nh_buf_slice(&text), &c, &err), NH_EINVAL);
	assert_string_equal(err.msg, "more than 64 slots");
	nh_buf_clear(&text);
	nh_buf_put_str(&text, "sim:/");
	nh_buf_fill(&text, 'x', 300);
	assert_int_equal(config_parse(nh_buf_slice(&text), &c, &err), NH_EINVAL);
	nh_buf_fini(&text);
}

static void test_sources(void **state)
{
	struct config c;
	struct nh_err err = NH_ERR_INIT;
	char path[] = "/tmp/nhtest-pkcs11-conf-XXXXXX", named[64];
	int fd = mkstemp(path);
	assert_int_equal(write(fd, "# one\ni2c-4\n", 12), 12);
	close(fd);
	snprintf(named, sizeof named, "@%s", path);
	setenv("NERVESKEY_PKCS11", named, 1);
	assert_int_equal(config_load(&c, &err), NH_OK);
	assert_int_equal(c.count, 1);
	assert_int_equal(c.slots[0].id, 4);
	unlink(path);
	/* a file that was named has to be there */
	assert_int_equal(config_load(&c, &err), NH_ENOTFOUND);
	setenv("NERVESKEY_PKCS11", "i2c-5", 1);
	assert_int_equal(config_load(&c, &err), NH_OK);
	assert_int_equal(c.slots[0].id, 5);
	setenv("NERVESKEY_PKCS11", "what=", 1);
	assert_int_equal(config_load(&c, &err), NH_EINVAL);
	assert_memory_equal(err.msg, "NERVESKEY_PKCS11: ", 18);
	unsetenv("NERVESKEY_PKCS11");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_slots), cmocka_unit_test(test_defaults), cmocka_unit_test(test_refusals), cmocka_unit_test(test_caps), cmocka_unit_test(test_sources),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
