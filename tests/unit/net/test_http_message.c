/* Lookups, paths, queries, ranges, entity tags, URLs. */
#include "test_base.h"

#include "net/http_message.h"

static void names(void **state)
{
	assert_int_equal(nh_http_method_of(NH_LIT("GET")), NH_HTTP_GET);
	assert_int_equal(nh_http_method_of(NH_LIT("get")), NH_HTTP_OTHER);
	assert_string_equal(nh_http_method_name(NH_HTTP_DELETE), "DELETE");
	assert_string_equal(nh_http_method_name(NH_HTTP_OTHER), "OTHER");
	assert_string_equal(nh_http_reason(416), "Range Not Satisfiable");
	assert_string_equal(nh_http_reason(299), "");
}

static void headers(void **state)
{
	struct nh_http_headers h = {.count = 3,
				    .items = {{NH_LIT("Connection"), NH_LIT("keep-alive , Upgrade")}, {NH_LIT("X"), NH_LIT("1")}, {NH_LIT("x"), NH_LIT("2")}}};
	assert_slice(nh_http_header_get(&h, "x"), "1");
	assert_null(nh_http_header_get(&h, "y").ptr);
	assert_int_equal(nh_http_header_count(&h, "X"), 2);
	assert_true(nh_http_header_has_token(&h, "connection", "upgrade"));
	assert_false(nh_http_header_has_token(&h, "connection", "keep"));
}

static void paths(void **state)
{
	static const struct {
		const char *path, *joined;
		nh_rc rc;
	} rows[] = {
		{"/", "", NH_OK},
		{"/api//orgs/a%20b/", "api|orgs|a b", NH_OK},
		{"/a%2Fb/c+d", "a/b|c+d", NH_OK},
		{"/a/../b", NULL, NH_EFORMAT},
		{"/a/%2e%2E/b", NULL, NH_EFORMAT},
		{"/a/./b", NULL, NH_EFORMAT},
		{"/a%00", NULL, NH_EFORMAT},
		{"/a%0a", NULL, NH_EFORMAT},
		{"/a%zz", NULL, NH_EFORMAT},
		{"/a%2", NULL, NH_EFORMAT},
		{"/1/2/3/4/5", NULL, NH_ETOOBIG},
	};
	for (size_t i = 0; i < NH_ARRAY_LEN(rows); i++) {
		NH_AUTO_ARENA struct nh_arena arena = NH_ARENA_INIT;
		NH_AUTO_BUF struct nh_buf joined = NH_BUF_INIT;
		nh_slice out[4];
		size_t n;
		assert_int_equal(nh_http_path_segments(nh_slice_str(rows[i].path), &arena, out, 4, &n), rows[i].rc);
		for (size_t k = 0; rows[i].rc == NH_OK && k < n; k++)
			nh_buf_printf(&joined, "%s%.*s", k ? "|" : "", NH_ARG(out[k]));
		if (rows[i].rc == NH_OK)
			assert_string_equal(nh_buf_cstr(&joined), rows[i].joined);
	}
}

static void queries(void **state)
{
	NH_AUTO_ARENA struct nh_arena arena = NH_ARENA_INIT;
	nh_slice v;
	nh_slice q = NH_LIT("vsn=2.0.0&&a+b=c%26d&flag&bad=%4");
	assert_int_equal(nh_http_query_get(q, "vsn", &arena, &v), NH_OK);
	assert_slice(v, "2.0.0");
	assert_int_equal(nh_http_query_get(q, "a b", &arena, &v), NH_OK);
	assert_slice(v, "c&d");
	assert_int_equal(nh_http_query_get(q, "flag", &arena, &v), NH_OK);
	assert_slice(v, "");
	assert_int_equal(nh_http_query_get(q, "bad", &arena, &v), NH_EFORMAT);
	assert_int_equal(nh_http_query_get(NH_LIT("a=1"), "b", &arena, &v), NH_ENOTFOUND);
	assert_int_equal(nh_http_query_get(NH_SLICE_EMPTY, "b", &arena, &v), NH_ENOTFOUND);
}

static void ranges(void **state)
{
	static const struct {
		const char *value;
		uint64_t size;
		nh_rc rc;
		uint64_t first, length;
	} rows[] = {
		{"bytes=0-0", 10, NH_OK, 0, 1},
		{"bytes=2-", 10, NH_OK, 2, 8},
		{"bytes=2-99", 10, NH_OK, 2, 8},
		{"bytes=2-10", 10, NH_OK, 2, 8}, /* one past the end: what link asks for when retrying */
		{"BYTES=2-3", 10, NH_OK, 2, 2},
		{"bytes=-3", 10, NH_OK, 7, 3},
		{"bytes=-30", 10, NH_OK, 0, 10},
		{"bytes=9-99999999999999999999999", 10, NH_OK, 9, 1},
		{"bytes=10-", 10, NH_EINVAL, 0, 0},
		{"bytes=99999999999999999999999-", 10, NH_EINVAL, 0, 0},
		{"bytes=-0", 10, NH_EINVAL, 0, 0},
		{"bytes=0-", 0, NH_EINVAL, 0, 0},
		{"bytes=-5", 0, NH_EINVAL, 0, 0},
		{"bytes=3-2", 10, NH_ENOTFOUND, 0, 0},
		{"bytes=0-1,3-4", 10, NH_ENOTFOUND, 0, 0},
		{"bytes=-", 10, NH_ENOTFOUND, 0, 0},
		{"bytes=a-b", 10, NH_ENOTFOUND, 0, 0},
		{"lines=0-1", 10, NH_ENOTFOUND, 0, 0},
		{"bytes", 10, NH_ENOTFOUND, 0, 0},
		{"", 10, NH_ENOTFOUND, 0, 0},
	};
	for (size_t i = 0; i < NH_ARRAY_LEN(rows); i++) {
		uint64_t first, length;
		assert_int_equal(nh_http_range_parse(nh_slice_str(rows[i].value), rows[i].size, &first, &length), rows[i].rc);
		assert_int_equal(first, rows[i].first);
		assert_int_equal(length, rows[i].length);
	}
}

static void content_ranges(void **state)
{
	static const struct {
		const char *value;
		nh_rc rc;
		uint64_t first, last, total;
	} rows[] = {
		{"bytes 2-9/10", NH_OK, 2, 9, 10},
		{"bytes 2-9/*", NH_OK, 2, 9, UINT64_MAX},
		{"bytes */10", NH_OK, 0, 0, 10},
		{"bytes */*", NH_EFORMAT, 0, 0, 0},
		{"bytes 9-2/10", NH_EFORMAT, 0, 0, 0},
		{"bytes 2-10/10", NH_EFORMAT, 0, 0, 0},
		{"bytes 2-9", NH_EFORMAT, 0, 0, 0},
		{"bytes=2-9/10", NH_EFORMAT, 0, 0, 0},
		{"", NH_EFORMAT, 0, 0, 0},
	};
	for (size_t i = 0; i < NH_ARRAY_LEN(rows); i++) {
		struct nh_http_content_range r;
		assert_int_equal(nh_http_content_range_parse(nh_slice_str(rows[i].value), &r), rows[i].rc);
		if (rows[i].rc != NH_OK)
			continue;
		assert_int_equal(r.first, rows[i].first);
		assert_int_equal(r.last, rows[i].last);
		assert_true(r.total == rows[i].total);
	}
}

static void etags(void **state)
{
	static const struct {
		const char *list, *tag;
		bool weak, match;
	} rows[] = {
		{"\"a\"", "\"a\"", false, true},        {"\"b\", \"a\"", "\"a\"", false, true}, {"W/\"a\"", "\"a\"", true, true},
		{"W/\"a\"", "\"a\"", false, false},     {"*", "\"a\"", false, true},            {"\"a", "\"a\"", true, false},
		{"a", "a", true, false},                {"", "\"a\"", true, false},             {"\"x,\"a\"", "\"a\"", true, false},
		{"\"x\" \"a\"", "\"a\"", true, false},
	};
	for (size_t i = 0; i < NH_ARRAY_LEN(rows); i++)
		assert_int_equal(nh_http_etag_match(nh_slice_str(rows[i].list), nh_slice_str(rows[i].tag), rows[i].weak), rows[i].match);
}

static void urls(void **state)
{
	static const struct {
		const char *url;
		nh_rc rc;
		bool tls, ws;
		const char *host;
		unsigned port;
		const char *path, *query;
	} rows[] = {
		{"https://a.example/x/y?z=1#frag", NH_OK, true, false, "a.example", 443, "/x/y", "z=1"},
		{"http://a:8080", NH_OK, false, false, "a", 8080, "/", ""},
		{"wss://[::1]:4001/socket?x", NH_OK, true, true, "::1", 4001, "/socket", "x"},
		{"WS://h?q", NH_OK, false, true, "h", 80, "/", "q"},
		{"ftp://a", NH_EFORMAT, 0, 0, 0, 0, 0, 0},
		{"http://", NH_EFORMAT, 0, 0, 0, 0, 0, 0},
		{"http://u:p@h/", NH_EFORMAT, 0, 0, 0, 0, 0, 0},
		{"http://h:0/", NH_EFORMAT, 0, 0, 0, 0, 0, 0},
		{"http://h:99999/", NH_EFORMAT, 0, 0, 0, 0, 0, 0},
		{"http://h:/", NH_EFORMAT, 0, 0, 0, 0, 0, 0},
		{"http://::1/", NH_EFORMAT, 0, 0, 0, 0, 0, 0},
		{"http://[::1/", NH_EFORMAT, 0, 0, 0, 0, 0, 0},
		{"http://[::1]x/", NH_EFORMAT, 0, 0, 0, 0, 0, 0},
		{"http://h/a b", NH_EFORMAT, 0, 0, 0, 0, 0, 0},
		{"http://h/\r\nX: y", NH_EFORMAT, 0, 0, 0, 0, 0, 0},
		{"http://h$/", NH_EFORMAT, 0, 0, 0, 0, 0, 0},
	};
	for (size_t i = 0; i < NH_ARRAY_LEN(rows); i++) {
		struct nh_http_url u;
		assert_int_equal(nh_http_url_parse(nh_slice_str(rows[i].url), &u, NULL), rows[i].rc);
		if (rows[i].rc != NH_OK)
			continue;
		assert_int_equal(u.tls, rows[i].tls);
		assert_int_equal(u.websocket, rows[i].ws);
		assert_slice(u.host, rows[i].host);
		assert_int_equal(u.port, rows[i].port);
		assert_slice(u.path, rows[i].path);
		assert_slice(u.query, rows[i].query);
	}
}

static void resolving(void **state)
{
	static const struct {
		const char *location, *out;
	} rows[] = {
		{"https://b/x", "https://b/x"},
		{"/p?q", "https://a:4000/p?q"},
		{"c.fw", "https://a:4000/dir/c.fw"},
		{"?q=2", "https://a:4000/dir/file?q=2"},
		{"//b:1/x", "https://b:1/x"},
		{"a/b:c", "https://a:4000/dir/a/b:c"},
		{"mailto:x", NULL},
		{"http://", NULL},
	};
	struct nh_http_url base;
	assert_int_equal(nh_http_url_parse(NH_LIT("https://a:4000/dir/file?q=1"), &base, NULL), NH_OK);
	for (size_t i = 0; i < NH_ARRAY_LEN(rows); i++) {
		NH_AUTO_ARENA struct nh_arena arena = NH_ARENA_INIT;
		nh_slice out;
		nh_rc rc = nh_http_url_resolve(&base, nh_slice_str(rows[i].location), &arena, &out, NULL);
		assert_int_equal(rc, rows[i].out ? NH_OK : NH_EFORMAT);
		if (rows[i].out)
			assert_slice(out, rows[i].out);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(names),  cmocka_unit_test(headers),        cmocka_unit_test(paths), cmocka_unit_test(queries),   cmocka_unit_test(ranges),
		cmocka_unit_test(content_ranges), cmocka_unit_test(etags),  cmocka_unit_test(urls),  cmocka_unit_test(resolving),
	};
	return cmocka_run_group_tests_name("http_message", tests, NULL, NULL);
}
