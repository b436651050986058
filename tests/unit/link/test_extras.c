/* What the agent reads beside updates: the kernel's files, plug-ins' words, strangers' file names, half characters. */
#include "test_base.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "extras_int.h"

static char root[] = "/tmp/nh-link-extras-XXXXXX";

static void put(const char *path, const char *text)
{
	char full[300], *slash;
	snprintf(full, sizeof full, "%s%s", root, path);
	slash = strrchr(full, '/');
	*slash = 0;
	assert_int_equal(nh_dir_make(full, 0755, NULL), NH_OK);
	*slash = '/';
	assert_int_equal(nh_file_write_atomic(full, nh_slice_str(text), 0644, NULL), NH_OK);
}

static void facts_are(struct cpu_times *last, const char *expected)
{
	NH_AUTO_JSON json_t *metrics = json_object(), *connectivity = json_object(), *want = NULL;
	NH_AUTO_BUF struct nh_buf text = NH_BUF_INIT;
	struct nh_err err = NH_ERR_INIT;
	health_facts(root, "/nowhere", last, metrics, connectivity);
	json_object_set(metrics, "networks", connectivity);
	nh_json_put(&text, metrics);
	if (nh_json_parse(nh_slice_str(expected), 4096, &want, &err) != NH_OK)
		fail_msg("%s: %s", expected, err.msg);
	if (!json_equal(metrics, want))
		fail_msg("%s instead of %s", nh_buf_cstr(&text), expected);
}

static void facts(void **state)
{
	struct cpu_times last = {0};
	facts_are(&last, "{\"networks\":{}}"); /* a machine that says nothing */

	put("/proc/stat", "cpu  100 0 100 700 100 0 0 0 0 0\ncpu0 1 2 3\n");
	put("/proc/loadavg", "0.50 1.25 2.00 1/234 5678\n");
	put("/proc/meminfo", "MemTotal:        1048576 kB\nMemFree:          1 kB\nMemAvailable:     786432 kB\n");
	put("/sys/class/thermal/thermal_zone0/type", "battery\n");
	put("/sys/class/thermal/thermal_zone0/temp", "21000\n");
	put("/sys/class/thermal/thermal_zone1/type", "cpu-thermal\n");
	put("/sys/class/thermal/thermal_zone1/temp", "48300\n");
	put("/sys/class/net/lo/operstate", "unknown\n");
	put("/sys/class/net/eth0/operstate", "up\n");
	put("/sys/class/net/eth0/statistics/rx_bytes", "12345678901\n");
	put("/sys/class/net/eth0/statistics/tx_bytes", "7\n");
#define REST ",\"load_1min\":0.5,\"load_5min\":1.25,\"load_15min\":2.0,\"mem_size_mb\":1024,\"mem_used_mb\":256,\"mem_used_percent\":25.0," \
	     "\"eth0_bytes_received_total\":12345678901,\"eth0_bytes_sent_total\":7,\"cpu_temp\":48.3,\"networks\":{\"eth0\":{\"state\":\"up\"}}}"
	facts_are(&last, "{\"cpu_usage_percent\":20.0" REST); /* since boot */
	put("/proc/stat", "cpu  190 0 100 710 100 0 0 0 0 0\n");
	facts_are(&last, "{\"cpu_usage_percent\":90.0" REST); /* since the last time */
	put("/proc/stat", "cpu  1 0 1 7 1 0 0 0\n"); /* counters that went back */
	facts_are(&last, "{\"load_1min\":0.5" REST);

	put("/proc/stat", "cpu\n");
	put("/proc/loadavg", "often\n");
	put("/proc/meminfo", "MemTotal: 10 kB\nMemAvailable: 20 kB\n");
	put("/sys/class/thermal/thermal_zone1/temp", "99999999999\n");
	put("/sys/class/net/eth0/statistics/rx_bytes", "-1\n");
	put("/sys/class/net/eth0/statistics/tx_bytes", "many\n");
	facts_are(&last, "{\"cpu_temp\":21.0,\"networks\":{\"eth0\":{\"state\":\"up\"}}}");
}

static void plugins(void **state)
{
	char many[4096] = "";
	for (int i = 0; i < 51; i++)
		snprintf(many + strlen(many), sizeof many - strlen(many), "alarm a%d x\n", i);
	const struct {
		const char *says;
		nh_rc rc;
		const char *report; /* NULL: not looked at */
	} rows[] = {
		{"", NH_OK, "{}"},
		{"a 1\nb.c-d -2.5e3\n\n  e   7  \n", NH_OK, "{\"metrics\":{\"a\":1,\"b.c-d\":-2500.0,\"e\":7}}"},
		{"alarm Hot 93 C now\nalarm Bare\nmetadata serial  PX 1 ", NH_OK, "{\"alarms\":{\"Hot\":\"93 C now\",\"Bare\":\"\"},\"metadata\":{\"serial\":\"PX 1\"}}"},
		{"{\"metrics\":{\"m\":1},\"alarms\":{\"A\":\"x\"},\"other\":{\"o\":1},\"metadata\":7}", NH_OK, "{\"metrics\":{\"m\":1},\"alarms\":{\"A\":\"x\"}}"},
		{"a 1\nbad one\nb 2", NH_EFORMAT, "{\"metrics\":{\"a\":1}}"},
		{"a", NH_EFORMAT, "{}"},
		{"a 1 2", NH_EFORMAT, "{}"},
		{"a NaN", NH_EFORMAT, "{}"},
		{"a \"1\"", NH_EFORMAT, "{}"},
		{"\xff 1", NH_EFORMAT, "{}"},
		{"tab\tname 1", NH_EFORMAT, "{}"},
		{"alarm  \n", NH_EFORMAT, "{}"},
		{"0123456789012345678901234567890123456789012345678901234567890123 1", NH_OK, NULL},
		{"01234567890123456789012345678901234567890123456789012345678901234 1", NH_EFORMAT, "{}"},
		{"{\"metrics\":{\"m\":\"1\"}}", NH_EFORMAT, "{}"},
		{"{\"alarms\":{\"m\":1}}", NH_EFORMAT, "{}"},
		{"{\"metrics\":{\"with blank\":1}}", NH_EFORMAT, "{}"},
		{"{\"metrics\"", NH_EFORMAT, "{}"},
		{many, NH_ETOOBIG, NULL},
	};
	for (size_t i = 0; i < NH_ARRAY_LEN(rows); i++) {
		NH_AUTO_JSON json_t *report = json_pack("{s:{}, s:{}, s:{}}", "metrics", "alarms", "metadata"), *want = NULL;
		NH_AUTO_BUF struct nh_buf text = NH_BUF_INIT;
		struct nh_err err = NH_ERR_INIT;
		nh_rc rc = health_plugin_read(nh_slice_str(rows[i].says), report, &err);
		if (rc != rows[i].rc)
			fail_msg("'%s': %s %s", rows[i].says, nh_rc_name(rc), err.msg);
		if (!rows[i].report)
			continue;
		assert_int_equal(nh_json_parse(nh_slice_str(rows[i].report), 4096, &want, NULL), NH_OK);
		const char *members[] = {"metrics", "alarms", "metadata"};
		for (size_t m = 0; m < NH_ARRAY_LEN(members); m++)
			if (!json_object_get(want, members[m]))
				json_object_set_new(want, members[m], json_object());
		nh_json_put(&text, report);
		if (!json_equal(report, want))
			fail_msg("'%s': %s", rows[i].says, nh_buf_cstr(&text));
	}
}

static void plugin_directories(void **state)
{
	NH_AUTO_ARENA struct nh_arena arena = NH_ARENA_INIT;
	char path[300], **paths;
	size_t count = 7;
	for (int i = 0; i < 20; i++) {
		snprintf(path, sizeof path, "/many/%02d", 19 - i);
		put(path, "#!/bin/sh\n");
		snprintf(path, sizeof path, "%s/many/%02d", root, 19 - i);
		assert_int_equal(chmod(path, i == 3 ? 0644 : 0755), 0);
	}
	put("/few/b", "");
	put("/few/a", "");
	put("/few/.c", "");
	put("/few/d/e", "");
	put("/few/not", "");
	for (const char *const *name = (const char *const[]){"a", "b", ".c", NULL}; *name; name++) {
		snprintf(path, sizeof path, "%s/few/%s", root, *name);
		assert_int_equal(chmod(path, 0755), 0);
	}
	assert_int_equal(health_plugin_list("/nowhere", &arena, &paths, &count, NULL), NH_ENOTFOUND);
	assert_int_equal(count, 0);
	snprintf(path, sizeof path, "%s/few", root);
	assert_int_equal(health_plugin_list(path, &arena, &paths, &count, NULL), NH_OK);
	assert_int_equal(count, 2);
	assert_string_equal(strrchr(paths[0], '/'), "/a");
	assert_string_equal(strrchr(paths[1], '/'), "/b");
	snprintf(path, sizeof path, "%s/many", root);
	assert_int_equal(health_plugin_list(path, &arena, &paths, &count, NULL), NH_OK);
	assert_int_equal(count, HEALTH_PLUGINS_MAX);
}

static void file_names(void **state)
{
	char longest[202];
	memset(longest, 'n', sizeof longest);
	const struct {
		nh_slice given;
		const char *name; /* NULL: refused */
	} rows[] = {
		{NH_LIT("a.txt"), "a.txt"},
		{NH_LIT("../../etc/passwd"), "passwd"},
		{NH_LIT("/a/b\\c"), "c"},
		{NH_LIT("C:\\x\\y.bin"), "y.bin"},
		{NH_LIT("with blank"), "with blank"},
		{NH_LIT("gr\xc3\xbc\xc3\x9f"
			"e"), "gr\xc3\xbc\xc3\x9f"
			      "e"},
		{nh_slice_of(longest, 200), ""},
		{NH_LIT(""), NULL},
		{NH_LIT("."), NULL},
		{NH_LIT(".."), NULL},
		{NH_LIT("a/.."), NULL},
		{NH_LIT("a/"), NULL},
		{NH_LIT(".profile"), NULL},
		{NH_LIT("line\nfeed"), NULL},
		{NH_LIT("nul\0"), NULL},
		{NH_LIT("a\x7f"), NULL},
		{NH_LIT("\xff"), NULL},
		{nh_slice_of(longest, 201), NULL},
	};
	for (size_t i = 0; i < NH_ARRAY_LEN(rows); i++) {
		NH_AUTO_BUF struct nh_buf name = NH_BUF_INIT;
		if (files_name(rows[i].given, &name) != (rows[i].name != NULL))
			fail_msg("row %zu: %.*s", i, NH_ARG(rows[i].given));
		if (rows[i].name && rows[i].name[0])
			assert_string_equal(nh_buf_cstr(&name), rows[i].name);
	}
}

static void whole_characters(void **state)
{
	static const struct {
		const char *bytes;
		size_t whole;
	} rows[] = {
		{"", 0},
		{"abc", 3},
		{"ab\xc3", 2},
		{"ab\xc3\xa4", 4},
		{"\xe2\x82", 0},
		{"x\xe2\x82\xac", 4},
		{"x\xf0\x9f\x98", 1},
		{"x\xf0\x9f", 1},
		{"x\xf0", 1},
		{"x\xf0\x9f\x98\x80", 5},
		{"\xff", 1},             /* never becomes one: goes out, and is repaired there */
		{"\xc0", 1},
		{"\xf5", 1},
		{"\x80\x80\x80\x80", 4},
		{"\xc3\xa4\x80", 3},
	};
	for (size_t i = 0; i < NH_ARRAY_LEN(rows); i++)
		if (terminal_whole(nh_slice_str(rows[i].bytes)) != rows[i].whole)
			fail_msg("row %zu", i);
}

static int set_up(void **state)
{
	assert_non_null(mkdtemp(root));
	return 0;
}

static int tear_down(void **state)
{
	char command[100];
	snprintf(command, sizeof command, "rm -rf '%s'", root);
	return system(command);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(facts), cmocka_unit_test(plugins), cmocka_unit_test(plugin_directories), cmocka_unit_test(file_names), cmocka_unit_test(whole_characters),
	};
	return cmocka_run_group_tests_name("link_extras", tests, set_up, tear_down);
}
