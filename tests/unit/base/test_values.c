/* Time, UUIDs, random numbers, log lines, JSON, files. */
#include "test_base.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/encode.h"
#include "base/file.h"
#include "base/json.h"
#include "base/histogram.h"
#include "base/log.h"
#include "base/rng.h"
#include "base/uuid.h"

static void time_texts(void **state)
{
	static const struct {
		int64_t at_us;
		const char *iso, *iso_us, *http;
	} rows[] = {
		{0, "1970-01-01T00:00:00Z", "1970-01-01T00:00:00.000000Z", "Thu, 01 Jan 1970 00:00:00 GMT"},
		{-1, "1969-12-31T23:59:59Z", "1969-12-31T23:59:59.999999Z", "Wed, 31 Dec 1969 23:59:59 GMT"},
		{INT64_C(1709210096) * 1000000 + 7, "2024-02-29T12:34:56Z", "2024-02-29T12:34:56.000007Z", "Thu, 29 Feb 2024 12:34:56 GMT"},
		{INT64_C(784111777) * 1000000, "1994-11-06T08:49:37Z", "1994-11-06T08:49:37.000000Z", "Sun, 06 Nov 1994 08:49:37 GMT"},
		{INT64_C(253402300799) * 1000000, "9999-12-31T23:59:59Z", "9999-12-31T23:59:59.000000Z", "Fri, 31 Dec 9999 23:59:59 GMT"},
	};
	for (size_t i = 0; i < NH_ARRAY_LEN(rows); i++) {
		NH_AUTO_BUF struct nh_buf b = NH_BUF_INIT;
		int64_t back = 1;
		nh_time_put_iso(&b, rows[i].at_us);
		assert_slice(nh_buf_slice(&b), rows[i].iso);
		nh_buf_clear(&b);
		nh_time_put_iso_us(&b, rows[i].at_us);
		assert_slice(nh_buf_slice(&b), rows[i].iso_us);
		assert_int_equal(nh_time_parse_iso(nh_buf_slice(&b), &back), NH_OK);
		assert_true(back == rows[i].at_us);
		nh_buf_clear(&b);
		nh_time_put_http(&b, rows[i].at_us);
		assert_slice(nh_buf_slice(&b), rows[i].http);
		if (rows[i].at_us % 1000000 == 0) {
			assert_int_equal(nh_time_parse_http(nh_buf_slice(&b), &back), NH_OK);
			assert_true(back == rows[i].at_us);
		}
	}
}

static void time_parsing(void **state)
{
	static const struct {
		const char *text;
		nh_rc rc;
		int64_t at_us;
	} rows[] = {
		{"1970-01-01T01:00:00+01:00", NH_OK, 0},
		{"1970-01-01T00:00:00.5Z", NH_OK, 500000},
		{"1970-01-01T00:00:00.123456789", NH_OK, 123456},
		{"1970-01-01 00:00:01", NH_OK, 1000000},
		{"1969-12-31T23:00:00-01:00", NH_OK, 0},
		{"2000-02-29T00:00:00Z", NH_OK, INT64_C(951782400) * 1000000},
		{"1900-02-29T00:00:00Z", NH_EFORMAT, 0},
		{"2023-02-29T00:00:00Z", NH_EFORMAT, 0},
		{"2023-13-01T00:00:00Z", NH_EFORMAT, 0},
		{"2023-00-01T00:00:00Z", NH_EFORMAT, 0},
		{"2023-01-00T00:00:00Z", NH_EFORMAT, 0},
		{"2023-01-01T24:00:00Z", NH_EFORMAT, 0},
		{"2023-01-01T00:60:00Z", NH_EFORMAT, 0},
		{"2023-01-01T00:00:00.Z", NH_EFORMAT, 0},
		{"2023-01-01T00:00:00Zx", NH_EFORMAT, 0},
		{"2023-01-01T00:00:00+1:00", NH_EFORMAT, 0},
		{"2023-01-01", NH_EFORMAT, 0},
		{"", NH_EFORMAT, 0},
	};
	for (size_t i = 0; i < NH_ARRAY_LEN(rows); i++) {
		int64_t at = 0;
		assert_int_equal(nh_time_parse_iso(nh_slice_str(rows[i].text), &at), rows[i].rc);
		assert_true(at == rows[i].at_us);
	}
	static const char *const bad[] = {"", "Sun, 06 Nov 1994 08:49:37", "Sun, 06 Nox 1994 08:49:37 GMT", "Sunday, 06-Nov-94 08:49:37 GMT",
					  "Sun, 31 Feb 1994 08:49:37 GMT", "Sun, 06 Nov 1994 08:49:37 GMT "};
	int64_t at = 0;
	for (size_t i = 0; i < NH_ARRAY_LEN(bad); i++)
		assert_int_equal(nh_time_parse_http(nh_slice_str(bad[i]), &at), NH_EFORMAT);
	/* every day of four centuries survives the round trip */
	for (int64_t day = -25567; day < 146097 - 25567; day++) {
		NH_AUTO_BUF struct nh_buf b = NH_BUF_INIT;
		nh_time_put_iso(&b, day * 86400 * 1000000);
		assert_int_equal(nh_time_parse_iso(nh_buf_slice(&b), &at), NH_OK);
		assert_true(at == day * 86400 * 1000000);
	}
	assert_true(nh_mono_us() > 0 && nh_clock_now(&nh_clock_system) > INT64_C(1600000000) * 1000000);
}

static void uuids(void **state)
{
	struct nh_rng_seeded seeded;
	struct nh_rng rng = nh_rng_seeded_init(&seeded, 1);
	struct nh_uuid a, b, c;
	char text[NH_UUID_TEXT_LEN + 1];
	nh_uuid_v4(&a, &rng);
	nh_uuid_format(&a, text);
	assert_int_equal(text[14], '4');
	assert_non_null(strchr("89ab", text[19]));
	assert_int_equal(nh_uuid_parse(nh_slice_str(text), &b), NH_OK);
	assert_memory_equal(a.bytes, b.bytes, 16);
	nh_uuid_v7(&b, INT64_C(0x017F22E279B0) * 1000, &rng); /* RFC 9562 A.6: 017F22E2-79B0-7... */
	nh_uuid_format(&b, text);
	assert_memory_equal(text, "017f22e2-79b0-7", 15);
	nh_uuid_v7(&c, INT64_C(0x017F22E279B1) * 1000, &rng);
	assert_true(memcmp(b.bytes, c.bytes, 16) < 0);
	assert_int_equal(nh_uuid_parse(NH_LIT("017F22E2-79B0-7CC3-98C4-DC0C0C07398F"), &c), NH_OK);
	static const char *const bad[] = {"", "017f22e279b07cc398c4dc0c0c07398f", "017F22E2-79B0-7CC3-98C4-DC0C0C07398", "017F22E2x79B0-7CC3-98C4-DC0C0C07398F",
					  "017F22E2-79B0-7CC3-98C4-DC0C0C07398G", "017F22E2-79B0-7CC3-98C4-DC0C0C07398FF"};
	for (size_t i = 0; i < NH_ARRAY_LEN(bad); i++)
		assert_int_equal(nh_uuid_parse(nh_slice_str(bad[i]), &c), NH_EFORMAT);
}

static void random_numbers(void **state)
{
	struct nh_rng_seeded s1, s2;
	struct nh_rng a = nh_rng_seeded_init(&s1, 42), b = nh_rng_seeded_init(&s2, 42);
	for (int i = 0; i < 100; i++)
		assert_true(nh_rng_below(&a, 1000) == nh_rng_below(&b, 1000));
	unsigned hits[3] = {0};
	for (int i = 0; i < 3000; i++)
		hits[nh_rng_below(&nh_rng_system, 3)]++;
	for (int i = 0; i < 3; i++)
		assert_in_range(hits[i], 700, 1300);
	assert_true(nh_rng_below(&a, 1) == 0);
	uint8_t odd[13] = {0};
	nh_rng_fill(&a, odd, sizeof odd);
}

static struct nh_buf logged;
static void keep(void *ctx, nh_log_level level, nh_slice line) { nh_buf_put_slice(ctx, line); }

static void log_lines(void **state)
{
	nh_log_set_sink(keep, &logged);
	NH_LOG(NH_LOG_INFO, "device.join", NH_S("device", NH_LIT("d-1")), NH_I("org_id", -5), NH_STR("why", "two words"),
	       NH_S("evil", NH_LIT("a\nlevel=error \"x\" \x1b[0m\\ ä \xc2\x9b")), NH_STR("none", NULL));
	NH_LOG(NH_LOG_DEBUG, "hidden");
	NH_LOG(NH_LOG_WARN, "bare");
	nh_slice first, rest;
	nh_slice_cut(nh_buf_slice(&logged), '\n', &first, &rest);
	assert_slice(nh_slice_skip(first, 28),
		     "info  device.join device=d-1 org_id=-5 why=\"two words\" evil=\"a\\nlevel=error \\\"x\\\" \\x1b[0m\\\\ ä \\u009b\" none=\"\"");
	assert_slice(nh_slice_skip(rest, 28), "warn  bare\n");
	nh_buf_clear(&logged);
	NH_LOG(NH_LOG_ERROR, "bytes", NH_S("raw", nh_slice_of("\xff\x00z", 3)));
	assert_true(nh_slice_find(nh_buf_slice(&logged), NH_LIT("raw=\"\\xff\\x00z\"")) > 0);
	nh_log_level level;
	assert_true(nh_log_level_parse(NH_LIT("Warning"), &level) && level == NH_LOG_WARN);
	assert_true(nh_log_level_parse(NH_LIT("debug"), &level) && level == NH_LOG_DEBUG);
	assert_false(nh_log_level_parse(NH_LIT("loud"), &level));
	nh_log_set_level(NH_LOG_ERROR);
	assert_false(nh_log_enabled(NH_LOG_WARN));
	nh_log_set_level(NH_LOG_INFO);
	nh_log_set_sink(NULL, NULL);
	nh_buf_fini(&logged);
}

/* Scopes stand behind the line's own keys, the innermost first; a key of the line wins; another thread sees them where it adopts them. */
static void log_scopes(void **state)
{
	struct nh_log_scope request = NH_LOG_SCOPE("request", NH_LIT("r 1")), device = NH_LOG_SCOPE_I("device_id", 7), empty = NH_LOG_SCOPE("nothing", NH_LIT(""));
	nh_log_set_sink(keep, &logged);
	nh_log_enter(&request);
	nh_log_enter(&device);
	nh_log_enter(&empty);
	NH_LOG(NH_LOG_INFO, "both", NH_I("n", 1));
	NH_LOG(NH_LOG_INFO, "own", NH_I("device_id", 8));
	nh_log_leave(&empty);
	nh_log_leave(&device);
	NH_LOG(NH_LOG_INFO, "one");
	const struct nh_log_scope *here = nh_log_here();
	nh_log_leave(&request);
	NH_LOG(NH_LOG_INFO, "none");
	nh_log_adopt(here);
	NH_LOG(NH_LOG_INFO, "adopted");
	nh_log_adopt(NULL);
	static const char *const lines[] = {"info  both n=1 device_id=7 request=\"r 1\"", "info  own device_id=8 request=\"r 1\"", "info  one request=\"r 1\"", "info  none", "info  adopted request=\"r 1\""};
	nh_slice rest = nh_buf_slice(&logged), line;
	for (size_t i = 0; i < NH_ARRAY_LEN(lines); i++) {
		nh_slice_cut(rest, '\n', &line, &rest);
		assert_slice(nh_slice_skip(line, 28), lines[i]);
	}
	nh_log_set_sink(NULL, NULL);
	nh_buf_fini(&logged);
}

/* Every line is one JSON object, whatever is in it. */
static void log_json(void **state)
{
	nh_log_format format;
	NH_AUTO_BUF struct nh_buf long_text = NH_BUF_INIT;
	json_t *v = NULL;
	assert_true(nh_log_format_parse(NH_LIT("JSON"), &format) && format == NH_LOG_FMT_JSON);
	assert_true(nh_log_format_parse(NH_LIT("logfmt"), &format) && format == NH_LOG_FMT_LOGFMT);
	assert_false(nh_log_format_parse(NH_LIT("xml"), &format));
	nh_log_set_sink(keep, &logged);
	nh_log_set_format(NH_LOG_FMT_JSON);
	for (size_t i = 0; i < 3000; i++)
		nh_buf_put_str(&long_text, "ä");
	NH_LOG(NH_LOG_WARN, "x.y", NH_S("evil", NH_LIT("a\n\"}\\ \x1b \x7f ä")), NH_S("raw", nh_slice_of("\xffz", 2)), NH_I("n", -5), NH_S("long", nh_buf_slice(&long_text)));
	nh_log_set_format(NH_LOG_FMT_LOGFMT);
	assert_int_equal(nh_slice_chr(nh_buf_slice(&logged), '\n'), (ptrdiff_t)logged.len - 1);
	assert_int_equal(nh_json_parse(nh_buf_slice(&logged), logged.len, &v, NULL), NH_OK);
	assert_slice(nh_json_text(v, "level"), "warn");
	assert_slice(nh_json_text(v, "event"), "x.y");
	assert_slice(nh_json_text(v, "evil"), "a\n\"}\\ \x1b \x7f ä");
	assert_slice(nh_json_text(v, "raw"), "\xef\xbf\xbdz");
	assert_int_equal(nh_json_int(v, "n", 0), -5);
	assert_int_equal(nh_json_text(v, "long").len, 2046 + 3); /* whole characters, and the sign that it was cut */
	json_decref(v);
	nh_log_set_sink(NULL, NULL);
	nh_buf_fini(&logged);
}

static void histograms(void **state)
{
	struct nh_histogram h = {0}, sum = {0};
	static const uint64_t values[] = {0, 500, 501, 10000000, 10000001};
	for (size_t i = 0; i < NH_ARRAY_LEN(values); i++)
		nh_histogram_add(&h, values[i]);
	nh_histogram_read(&h, &sum);
	nh_histogram_read(&h, &sum);
	assert_int_equal(sum.count, 10);
	assert_int_equal(sum.buckets[0], 4);
	assert_int_equal(sum.buckets[1], 2);
	assert_int_equal(sum.buckets[NH_HISTOGRAM_BUCKETS - 1], 2);
	assert_int_equal(sum.sum_us, 2 * (500 + 501 + 10000000 + 10000001));
}

static void json(void **state)
{
	struct nh_err e = NH_ERR_INIT;
	json_t *v = NULL;
	assert_int_equal(nh_json_parse(NH_LIT("{\"b\":1,\"a\":\"x\\u00e4\",\"t\":true,\"a\":\"last\"}"), 1000, &v, &e), NH_OK);
	assert_slice(nh_json_text(v, "a"), "last");
	assert_slice(nh_json_text(v, "b"), "");
	assert_int_equal(nh_json_int(v, "b", 9), 1);
	assert_int_equal(nh_json_int(v, "a", 9), 9);
	assert_true(nh_json_bool(v, "t", false));
	assert_true(nh_json_bool(NULL, "t", true));
	NH_AUTO_BUF struct nh_buf b = NH_BUF_INIT;
	nh_json_put(&b, v);
	assert_slice(nh_buf_slice(&b), "{\"b\":1,\"a\":\"last\",\"t\":true}");
	nh_buf_clear(&b);
	nh_json_put_pretty(&b, v);
	assert_slice(nh_buf_slice(&b), "{\n  \"b\": 1,\n  \"a\": \"last\",\n  \"t\": true\n}\n");
	json_decref(v);
	assert_int_equal(nh_json_parse(NH_LIT("17"), 1000, &v, &e), NH_OK);
	json_decref(v);
	assert_int_equal(nh_json_parse(NH_LIT("{\n\"a\":}"), 1000, &v, &e), NH_EFORMAT);
	assert_non_null(strstr(e.msg, "line 2, column 5"));
	assert_null(v);
	assert_int_equal(nh_json_parse(NH_LIT("[1,2,3]"), 6, &v, &e), NH_ETOOBIG);
	assert_int_equal(nh_json_parse(NH_LIT("[1] x"), 100, &v, &e), NH_EFORMAT);
	assert_int_equal(nh_json_parse(NH_SLICE_EMPTY, 100, &v, &e), NH_EFORMAT);
	assert_int_equal(nh_json_parse(NH_LIT("\"\xff\""), 100, &v, &e), NH_EFORMAT);
	nh_buf_clear(&b);
	nh_buf_fill(&b, '[', 64);
	nh_buf_fill(&b, ']', 64);
	assert_int_equal(nh_json_parse(nh_buf_slice(&b), 1000, &v, &e), NH_OK);
	json_decref(v);
	nh_buf_clear(&b);
	nh_buf_fill(&b, '[', 65);
	nh_buf_fill(&b, ']', 65);
	assert_int_equal(nh_json_parse(nh_buf_slice(&b), 1000, &v, &e), NH_EFORMAT);
	nh_buf_clear(&b);
	nh_json_put_string(&b, NH_LIT("a\"\n\xff\xe2\x82z€"));
	assert_slice(nh_buf_slice(&b), "\"a\\\"\\n\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBDz€\"");
	v = nh_json_new_text(NH_SLICE_EMPTY);
	assert_true(json_is_null(v));
	json_decref(v);
}

static void files(void **state)
{
	char dir[] = "/tmp/nh-test-file-XXXXXX", path[128];
	struct nh_err e = NH_ERR_INIT;
	NH_AUTO_BUF struct nh_buf b = NH_BUF_INIT;
	assert_non_null(mkdtemp(dir));
	snprintf(path, sizeof path, "%s/a/b//c", dir);
	assert_int_equal(nh_dir_make(path, 0700, &e), NH_OK);
	assert_int_equal(nh_dir_make(path, 0700, &e), NH_OK);
	snprintf(path, sizeof path, "%s/a/b/c/file", dir);
	assert_int_equal(nh_file_read(path, 100, &b, &e), NH_ENOTFOUND);
	assert_non_null(strstr(e.msg, path));
	assert_int_equal(nh_file_write_atomic(path, NH_LIT("hello"), 0600, &e), NH_OK);
	assert_int_equal(nh_file_write_atomic(path, NH_LIT("hello again"), 0640, &e), NH_OK);
	struct stat st;
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode & 0777, 0640);
	assert_int_equal(nh_file_read(path, 11, &b, &e), NH_OK);
	assert_slice(nh_buf_slice(&b), "hello again");
	assert_int_equal(nh_file_read(path, 10, &b, &e), NH_ETOOBIG);
	char below[160];
	snprintf(below, sizeof below, "%s/d", path);
	assert_int_equal(nh_dir_make(below, 0700, &e), NH_ENOTFOUND);
	assert_int_equal(nh_file_write_atomic(below, NH_LIT("x"), 0600, &e), NH_ENOTFOUND);
	unlink(path);
	static const char *const parts[] = {"/a/b/c", "/a/b", "/a", ""};
	for (size_t i = 0; i < NH_ARRAY_LEN(parts); i++) {
		snprintf(path, sizeof path, "%s%s", dir, parts[i]);
		assert_int_equal(rmdir(path), 0); /* no temporary file was left behind */
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(time_texts),	  cmocka_unit_test(time_parsing), cmocka_unit_test(uuids), cmocka_unit_test(random_numbers),
		cmocka_unit_test(log_lines), cmocka_unit_test(log_scopes), cmocka_unit_test(log_json), cmocka_unit_test(histograms), cmocka_unit_test(json),	      cmocka_unit_test(files),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
