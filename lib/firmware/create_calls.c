/*
 * Checks of the calls an author writes: arguments that are wrong are told when the archive is made, not when a device runs it.
 *
 * One row per function; `args` has one letter per argument:
 *   . any text   u block or byte number   c count of at least 1   v byte value   p primary partition   m mbr   g gpt   e environment   a attributes
 * source: reference/fwup-format "9", "10.2"
 */
#include "create_int.h"

struct rule {
	const char *name;
	const char *args;     /* letters */
	unsigned optional;    /* how many at the end may be left out */
	bool rest;            /* any number may follow */
	bool resource_only;   /* consumes the member's data */
	bool requirement;     /* in task instead of an event */
};

static const struct rule rules[] = {
	{"raw_write", "u", 0, true, true, false},
	{"raw_memset", "ucv", 0, false, false, false},
	{"fat_mkfs", "uu", 0, false, false, false},
	{"fat_write", "u.", 1, false, true, false},
	{"fat_mv", "u..", 0, false, false, false},
	{"fat_mv!", "u..", 0, false, false, false},
	{"fat_rm", "u.", 0, false, false, false},
	{"fat_rm!", "u.", 0, false, false, false},
	{"fat_cp", "u...", 1, false, false, false},
	{"fat_mkdir", "u.", 0, false, false, false},
	{"fat_setlabel", "u.", 0, false, false, false},
	{"fat_touch", "u.", 0, false, false, false},
	{"fat_attrib", "u.a", 0, false, false, false},
	{"mbr_write", "m", 0, false, false, false},
	{"gpt_write", "g", 0, false, false, false},
	{"trim", "uc", 0, false, false, false},
	{"uboot_clearenv", "e", 0, false, false, false},
	{"uboot_setenv", "e..", 0, false, false, false},
	{"uboot_unsetenv", "e.", 0, false, false, false},
	{"uboot_recover", "e", 0, false, false, false},
	{"error", ".", 0, false, false, false},
	{"info", ".", 0, false, false, false},
	{"path_write", ".", 0, false, true, false},
	{"pipe_write", ".", 0, false, true, false},
	{"ubi_volume_write", ".", 0, false, true, false},
	{"execute", ".", 0, false, false, false},
	{"reboot_param", ".", 0, false, false, false},
	{"require-partition-offset", "pu", 0, false, false, true},
	{"require-fat-file-exists", "u.", 0, false, false, true},
	{"require-fat-file-match", "u..", 0, false, false, true},
	{"require-uboot-variable", "e..", 0, false, false, true},
	{"require-path-on-device", "..", 0, false, false, true},
	{"require-path-at-offset", ".u", 0, false, false, true},
	{"require-execute", ".", 0, false, false, true},
};

static nh_rc wants(const char *function, size_t index, const char *what, nh_slice got, struct nh_err *err)
{
	return NH_FAIL(err, NH_EFORMAT, "%s requires %s as argument %zu, not '%.*s'", function, what, index, NH_ARG(got));
}

static nh_rc check_argument(const struct nh_fw_section *root, const char *function, char kind, size_t index, nh_slice text, struct nh_err *err)
{
	static const struct {
		char kind;
		const char *section;
		const char *what;
	} named[] = {{'m', "mbr", "the name of an mbr section"}, {'g', "gpt", "the name of a gpt section"},
		     {'e', "uboot-environment", "the name of a uboot-environment section"}};
	static const struct {
		char kind;
		uint64_t min, max;
		const char *what;
	} numbers[] = {{'u', 0, UINT64_MAX, "a non-negative number"}, {'c', 1, INT64_MAX / 512, "a count of at least 1"},
		       {'v', 0, 255, "a value from 0 to 255"}, {'p', 0, 3, "a partition from 0 to 3"}};
	for (size_t i = 0; i < NH_ARRAY_LEN(named); i++)
		if (named[i].kind == kind && !nh_fw_section_find(root, named[i].section, text))
			return wants(function, index, named[i].what, text, err);
	uint64_t v;
	for (size_t i = 0; i < NH_ARRAY_LEN(numbers); i++)
		if (numbers[i].kind == kind && (nh_fw_parse_u64(text, &v) != NH_OK || v < numbers[i].min || v > numbers[i].max))
			return wants(function, index, numbers[i].what, text, err);
	for (size_t i = 0; kind == 'a' && i < text.len; i++)
		if (nh_slice_chr(NH_LIT("SHRshr"), text.ptr[i]) < 0)
			return wants(function, index, "attributes out of S, H and R", text, err);
	return NH_OK;
}

nh_rc fw_create_check_call(const struct nh_fw_section *root, const struct nh_fw_option *row, const struct nh_fw_section *in, nh_slice *strings,
			   size_t *count, struct nh_err *err)
{
	const struct rule *rule = NULL;
	for (size_t i = 0; i < NH_ARRAY_LEN(rules); i++)
		if (nh_slice_eq_str(strings[0], rules[i].name))
			rule = &rules[i];
	bool in_task = nh_slice_eq_str(nh_slice_str(row->name), "task");
	if (!rule || rule->requirement != in_task)
		return NH_FAIL(err, NH_EFORMAT, "no such option '%.*s'", NH_ARG(strings[0]));
	if (rule->resource_only && !row->titled)
		return NH_FAIL(err, NH_EFORMAT, "%s can only be used in an on-resource section", rule->name);
	if (nh_slice_eq_str(strings[0], "fat_write") && *count == 2)
		strings[(*count)++] = in->title; /* the resource's own name */
	size_t wanted = nh_slice_str(rule->args).len;
	size_t given = *count - 1;
	if (given < wanted - rule->optional || (given > wanted && !rule->rest))
		return NH_FAIL(err, NH_EFORMAT, "%s requires %s%zu argument%s, not %zu", rule->name, rule->optional || rule->rest ? "at least " : "",
			       wanted - rule->optional, wanted - rule->optional == 1 ? "" : "s", given);
	for (size_t i = 0; i < given && i < wanted; i++) {
		char kind = rule->args[i];
		/* fat_cp(offset, from, to) or fat_cp(offset, from, offset, to) */
		if (i == 2 && given == 4 && nh_slice_eq_str(strings[0], "fat_cp"))
			kind = 'u';
		NH_TRY(check_argument(root, rule->name, kind, i + 1, strings[i + 1], err));
	}
	return NH_OK;
}
