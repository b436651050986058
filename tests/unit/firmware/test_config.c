/*
 * The configuration language: tokens, values, sections, what reading skips and refuses, expressions.
 */
#include "fixtures.h"

#include "firmware/metadata.h"

static nh_rc parse(const char *text, struct nh_fw_vars *vars, struct nh_arena *arena, struct nh_fw_section **out, struct nh_err *err)
{
	/* exactly sized copy for the sanitizer */
	size_t n = strlen(text);
	char *copy = malloc(n + 1);
	memcpy(copy, text, n);
	nh_rc rc = nh_fw_config_parse(nh_slice_of(copy, n), "[buf]", vars, NULL, arena, out, err);
	free(copy);
	return rc;
}

static void strings(void **state)
{
	static const struct {
		const char *text, *value;
	} rows[] = {
		{"meta-product=plain", "plain"},
		{"meta-product = \"two words\" # comment", "two words"},
		{"meta-product=/dev/null // comment", "/dev/null"},
		{"/* a\n comment */ meta-product=a/b", "a/b"},
		{"meta-product=\"\"", ""},
		{"meta-product='a\\'b\\\\c\\n'", "a'b\\c\\n"},
		{"meta-product='one\\\ntwo'", "onetwo"},
		{"meta-product=\"one\\\ntwo\"", "onetwo"},
		{"meta-product=\"a\nb\"", "a\nb"},
		{"meta-product=\"\\n\\t\\e\\x41\\101\\\"\\q\"", "\n\t\x1b" "AA\"q"},
		{"meta-product=${V}", "value"},
		{"meta-product=\"<${V}>\"", "<value>"},
		{"meta-product='${V}'", "${V}"},
		{"meta-product=\"\\${V}\"", "${V}"},
		{"meta-product=\"${NONE}\"", ""},
		{"meta-product=\"${NONE:-else}\"", "else"},
		{"meta-product=\"${EMPTY:-else}\"", ""},
		{"meta-product=\"${V\"", "${V"},
		{"meta-product=\"5$\"", "5$"},
		{"meta-product=a meta-product=b", "b"},
		{"meta-product=under-платформа", "under-платформа"},
	};
	struct nh_fw_vars *vars = nh_fw_vars_new(NULL, NULL);
	nh_fw_vars_set(vars, NH_LIT("V"), NH_LIT("value"));
	nh_fw_vars_set(vars, NH_LIT("EMPTY"), NH_LIT(""));
	for (size_t i = 0; i < NH_ARRAY_LEN(rows); i++) {
		NH_AUTO_ARENA struct nh_arena arena = NH_ARENA_INIT;
		struct nh_fw_section *tree;
		struct nh_err err = NH_ERR_INIT;
		if (parse(rows[i].text, vars, &arena, &tree, &err) != NH_OK)
			fail_msg("%s: %s", rows[i].text, err.msg);
		assert_slice(nh_fw_section_text(tree, "meta-product"), rows[i].value);
	}
	nh_fw_vars_free(vars);
}

static void refused(void **state)
{
	static const struct {
		const char *text, *message;
	} rows[] = {
		{"meta-product=\"open", "[buf]:1: a string isn't closed"},
		{"\n/* open", "[buf]:2: a comment isn't closed"},
		{"meta-product=\"\\400\"", "[buf]:1: octal escape in a string is over 255"},
		{"meta-product=\"\\8\"", "[buf]:1: bad octal escape in a string"},
		{"meta-product=\"\\1234\"", "[buf]:1: bad octal escape in a string"},
		{"meta-product=\"\\0\"", "[buf]:1: a string can't hold a NUL byte"},
		{"meta-product=abc${X}", "[buf]:1: syntax error"},
		{"meta-product", "[buf]:1: '=' was expected behind option 'meta-product'"},
		{"meta-product=", "[buf]:1: a value for option 'meta-product' was expected"},
		{"meta-product={a}", "[buf]:1: a value for option 'meta-product' was expected"},
		{"meta-product+=a", "[buf]:1: '+=' needs a list, and 'meta-product' isn't one"},
		{"block-cache-size-mb=8x", "[buf]:1: invalid integer value for option 'block-cache-size-mb'"},
		{"mbr a { include-osip=maybe }", "[buf]:1: invalid boolean value for option 'include-osip'"},
		{"task a { } task a { }", "[buf]:1: found duplicate title 'a'"},
		{"task { }", "[buf]:1: section 'task' needs a title"},
		{"task a", "[buf]:1: '{' was expected behind section 'task'"},
		{"task a {", "[buf]:1: unexpected end of the configuration, '}' is missing"},
		{"}", "[buf]:1: syntax error"},
		{"unknown", "[buf]:1: syntax error"},
		{"unknown {", "[buf]:1: unexpected end of the configuration"},
		{"file-resource a { length={1,2", "[buf]:1: ',' or '}' was expected in the list 'length'"},
		{"file-resource a { length={1 2} }", "[buf]:1: ',' or '}' was expected in the list 'length'"},
		{"include(\"/etc/passwd\")", "[buf]:1: include() isn't allowed in meta.conf"},
		{"task a { include(x) }", "[buf]:1: include() isn't allowed in meta.conf"},
		{"define(A, 1)", "[buf]:1: define() isn't allowed in meta.conf"},
		{"define-eval!(A, 1)", "[buf]:1: define-eval!() isn't allowed in meta.conf"},
	};
	for (size_t i = 0; i < NH_ARRAY_LEN(rows); i++) {
		NH_AUTO_ARENA struct nh_arena arena = NH_ARENA_INIT;
		struct nh_fw_section *tree;
		struct nh_err err = NH_ERR_INIT;
		if (parse(rows[i].text, NULL, &arena, &tree, &err) != NH_EFORMAT)
			fail_msg("accepted: %s", rows[i].text);
		assert_string_equal(err.msg, rows[i].message);
		assert_null(tree);
	}
}

static void unknown_is_skipped(void **state)
{
	NH_AUTO_ARENA struct nh_arena arena = NH_ARENA_INIT;
	struct nh_fw_section *tree;
	struct nh_err err = NH_ERR_INIT;
	static const char text[] = "new-option=1 new-list={a,b} new-list+={c} new-call(a, b)\n"
				   "new-section { x=1 y { z(1) } } new-section \"title\" { w={1} }\n"
				   "task t { other=\"x\" other-call() on-init { funlist={2,info,a} } new { } on-init { funlist+={2,info,b} } }\n"
				   "meta-product=last";
	if (parse(text, NULL, &arena, &tree, &err) != NH_OK)
		fail_msg("%s", err.msg);
	assert_slice(nh_fw_section_text(tree, "meta-product"), "last");
	const struct nh_fw_section *task = nh_fw_section_find(tree, "task", NH_LIT("t"));
	assert_int_equal(nh_fw_section_get(nh_fw_section_get(task, "on-init")->sections[0], "funlist")->count, 6);
	NH_AUTO_BUF struct nh_buf out = NH_BUF_INIT;
	nh_fw_config_write(tree, &out);
	assert_slice(nh_buf_slice(&out), "meta-product=last\ntask \"t\" {\non-init {\nfunlist={2,info,a,2,info,b}\n}\n}\n");
}

/* Deep nesting, long lists and many sections end in an error, not in exhausted memory. */
static void bounded(void **state)
{
	NH_AUTO_BUF struct nh_buf deep = NH_BUF_INIT;
	for (unsigned i = 0; i < 5000; i++)
		nh_buf_put_str(&deep, "x {");
	NH_AUTO_ARENA struct nh_arena arena = NH_ARENA_INIT;
	struct nh_fw_section *tree;
	assert_int_equal(parse(nh_buf_cstr(&deep), NULL, &arena, &tree, NULL), NH_EFORMAT);
	nh_buf_clear(&deep);
	for (unsigned i = 0; i < 5000; i++)
		nh_buf_printf(&deep, "task t%u {}", i);
	assert_int_equal(parse(nh_buf_cstr(&deep), NULL, &arena, &tree, NULL), NH_EFORMAT);
	nh_buf_clear(&deep);
	nh_buf_fill(&deep, ' ', (1u << 20) + 1);
	assert_int_equal(parse(nh_buf_cstr(&deep), NULL, &arena, &tree, NULL), NH_ETOOBIG);
	/* a large variable used often */
	struct nh_fw_vars *vars = nh_fw_vars_new(NULL, NULL);
	nh_buf_clear(&deep);
	nh_buf_fill(&deep, 'a', 1u << 19);
	nh_fw_vars_set(vars, NH_LIT("A"), nh_buf_slice(&deep));
	nh_buf_clear(&deep);
	for (unsigned i = 0; i < 100; i++)
		nh_buf_put_str(&deep, "meta-misc=\"${A}\"\n");
	assert_int_equal(parse(nh_buf_cstr(&deep), vars, &arena, &tree, NULL), NH_ETOOBIG);
	nh_fw_vars_free(vars);
}

static void manifests(void **state)
{
	static const struct {
		const char *text;
		nh_rc rc;
		const char *message;
	} rows[] = {
		{"# short", NH_EFORMAT, "Unexpected meta.conf size: 7"},
		{"require-fwup-version=2.0", NH_EUNSUPPORTED, "fwup version '2.0' required. This is fwup version '1.16.0'."},
		{"require-fwup-version=x.y", NH_EFORMAT, "'x.y' isn't a version like 1.2.3"},
		{"require-fwup-version=\"1.16\"", NH_OK, NULL},
		{"require-fwup-version=\"0\"", NH_OK, NULL},
		{"meta-uuid=something-else", NH_EFORMAT,
		 "meta.conf isn't allowed to change 'meta-uuid', 'meta-nickname', '$FWUP_META_UUID' or '$FWUP_META_NICKNAME'"},
		{"file-resource a { length=-1 }", NH_EFORMAT, "file-resource 'a': a length is negative"},
		{"file-resource a { length={9223372036854775807} }", NH_EFORMAT, "file-resource 'a' is too large"},
		{"mbr a { partition 12 { } }", NH_EFORMAT, "'a': partition '12' isn't a number from 0 to 11"},
		{"mbr a { partition 0 { block-count=1 type=1 } }", NH_EFORMAT, "'a': partition 0 has no valid block-offset"},
		{"mbr a { partition 0 { block-offset=1 block-count=1 } }", NH_EFORMAT, "'a': partition 0 has no type from 0 to 255"},
		{"mbr a { partition 0 { block-offset=4294967296 type=1 } }", NH_EFORMAT, "'a': partition 0 doesn't fit in an MBR"},
		{"mbr a { partition 0 { block-offset=1 type=1 } partition 0x0 { block-offset=1 type=1 } }", NH_EFORMAT,
		 "'a': partition 0 appears twice"},
		{"mbr a { bootstrap-code=00 }", NH_EFORMAT, "mbr 'a': bootstrap-code must be 880 hex digits"},
		{"mbr a { signature=0x1ffffffff }", NH_EFORMAT, "mbr 'a': signature '0x1ffffffff' isn't a 32-bit number"},
		{"uboot-environment a { block-offset=1 }", NH_EFORMAT, "uboot-environment 'a': block-count must be 1 to 65534"},
		{"uboot-environment a { block-count=1 }", NH_EFORMAT, "uboot-environment 'a': invalid block-offset"},
		{"uboot-environment a { block-offset=8 block-count=8 block-offset-redund=15 }", NH_EFORMAT,
		 "uboot-environment 'a': the two copies overlap"},
		{"task a { on-resource r { delta-source-raw-offset=x } }", NH_EFORMAT, "on-resource 'r': invalid delta source"},
	};
	for (size_t i = 0; i < NH_ARRAY_LEN(rows); i++) {
		NH_AUTO_ARENA struct nh_arena arena = NH_ARENA_INIT;
		struct nh_fw_manifest *m;
		struct nh_err err = NH_ERR_INIT;
		nh_rc rc = nh_fw_manifest_parse(nh_slice_str(rows[i].text), NULL, NH_SLICE_EMPTY, &arena, &m, &err);
		if (rc != rows[i].rc)
			fail_msg("%s: %s: %s", rows[i].text, nh_rc_name(rc), err.msg);
		if (rows[i].message)
			assert_string_equal(err.msg, rows[i].message);
	}
}

static void call_lists(void **state)
{
	static const struct {
		const char *list;
		size_t count;
		bool malformed;
	} rows[] = {
		{"{2,info,a}", 1, false}, {"{}", 0, false}, {"{2,info}", 0, true}, {"{0}", 0, true}, {"{x,info}", 0, true}, {"{1,a,3,b,c}", 1, true},
		{"{11,a,1,2,3,4,5,6,7,8,9,10}", 0, true}, {"{10,a,1,2,3,4,5,6,7,8,9}", 1, false},
	};
	for (size_t i = 0; i < NH_ARRAY_LEN(rows); i++) {
		NH_AUTO_ARENA struct nh_arena arena = NH_ARENA_INIT;
		NH_AUTO_BUF struct nh_buf text = NH_BUF_INIT;
		nh_buf_printf(&text, "task t { on-init { funlist=%s } }", rows[i].list);
		struct nh_fw_manifest *m;
		assert_int_equal(nh_fw_manifest_parse(nh_buf_slice(&text), NULL, NH_SLICE_EMPTY, &arena, &m, NULL), NH_OK);
		assert_int_equal(m->tasks[0].on_init.count, rows[i].count);
		assert_int_equal(m->tasks[0].on_init.malformed, rows[i].malformed);
	}
}

/* A NUL ends what is parsed, not what is hashed. */
static void nul_ends_parsing(void **state)
{
	NH_AUTO_ARENA struct nh_arena arena = NH_ARENA_INIT;
	struct nh_fw_manifest *m, *shorter;
	static const char text[] = "meta-product=a\n\0meta-product=b {{{";
	assert_int_equal(nh_fw_manifest_parse(nh_slice_of(text, sizeof text - 1), NULL, NH_SLICE_EMPTY, &arena, &m, NULL), NH_OK);
	assert_slice(m->meta.product, "a");
	assert_int_equal(nh_fw_manifest_parse(NH_LIT("meta-product=a\n"), NULL, NH_SLICE_EMPTY, &arena, &shorter, NULL), NH_OK);
	assert_false(nh_slice_eq(m->meta.uuid, shorter->meta.uuid));
}

static void expressions(void **state)
{
	static const struct {
		const char *text;
		int64_t value;
	} good[] = {
		{"1", 1}, {" 1 + 2 * 3 ", 7}, {"(1+2)*3", 9}, {"-2^2", -4}, {"2^3^2", 512}, {"7/2", 3}, {"-7/2", -3}, {"0x10", 16}, {"010", 8},
		{"10-3-2", 5}, {"1K", 1024}, {"1KK", 1048576}, {"2b", 1024}, {"1kB", 1000}, {"3MB", 3000000}, {"1M", 1048576}, {"1G", 1073741824},
		{"2w", 4}, {"5c", 5}, {"-(3)", -3}, {"--3", 3}, {"2*-3", -6}, {"2^0", 1},
	};
	for (size_t i = 0; i < NH_ARRAY_LEN(good); i++) {
		int64_t v;
		struct nh_err err = NH_ERR_INIT;
		if (nh_fw_eval(nh_slice_str(good[i].text), &v, &err) != NH_OK)
			fail_msg("%s: %s", good[i].text, err.msg);
		if (v != good[i].value)
			fail_msg("%s = %lld", good[i].text, (long long)v);
	}
	static const char *const bad[] = {"", "1/0", "(1", "1)", "1 2", "1k", "1T", "5%2", "2^64", "2^-1", "+", "a", "99999999999999999999", "1+",
					  "((((((((((((((((((1))))))))))))))))))"};
	for (size_t i = 0; i < NH_ARRAY_LEN(bad); i++) {
		int64_t v;
		if (nh_fw_eval(nh_slice_str(bad[i]), &v, NULL) != NH_EFORMAT)
			fail_msg("accepted '%s'", bad[i]);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(strings), cmocka_unit_test(refused), cmocka_unit_test(unknown_is_skipped), cmocka_unit_test(bounded),
		cmocka_unit_test(manifests), cmocka_unit_test(call_lists), cmocka_unit_test(nul_ends_parsing), cmocka_unit_test(expressions),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
