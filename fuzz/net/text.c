/*
 * The small languages inside of heads. The first byte chooses one: paths, queries, ranges, content ranges, entity tags, URLs and redirects, token lists.
 * What is accepted must keep to what the header promises, and what is written again must be read the same.
 */
#include "fuzz.h"

#include "base/buf.h"
#include "base/encode.h"
#include "net/http_message.h"

static void path(nh_slice text)
{
	enum { MAX = 8 };
	NH_AUTO_ARENA struct nh_arena arena = NH_ARENA_INIT;
	nh_slice segments[MAX], again[MAX];
	size_t count = 0, second = 0;
	NH_AUTO_BUF struct nh_buf written = NH_BUF_INIT;
	if (nh_http_path_segments(text, &arena, segments, MAX, &count) != NH_OK)
		return;
	for (size_t i = 0; i < count; i++) {
		FUZZ_CHECK(segments[i].len > 0 && !nh_slice_eq_str(segments[i], ".") && !nh_slice_eq_str(segments[i], ".."), "%.*s", NH_ARG(text));
		for (size_t k = 0; k < segments[i].len; k++)
			FUZZ_CHECK(segments[i].ptr[k] >= 0x20 && segments[i].ptr[k] != 0x7f, "a control character in a segment");
		nh_buf_put_u8(&written, '/');
		nh_uri_put(&written, segments[i]);
	}
	FUZZ_CHECK(nh_http_path_segments(nh_buf_slice(&written), &arena, again, MAX, &second) == NH_OK && second == count, "%s", nh_buf_cstr(&written));
	for (size_t i = 0; i < count; i++)
		FUZZ_CHECK(nh_slice_eq(segments[i], again[i]), "%s", nh_buf_cstr(&written));
}

static void query(nh_slice text)
{
	NH_AUTO_ARENA struct nh_arena arena = NH_ARENA_INIT;
	nh_slice rest = text, name, value, found;
	bool has = true;
	for (size_t n = 0; has; n++) {
		nh_rc rc = nh_http_query_next(&rest, &arena, &name, &value, &has);
		FUZZ_CHECK(n <= text.len + 1, "no progress");
		if (rc != NH_OK || !has)
			continue;
		FUZZ_CHECK(nh_slice_chr(name, 0) < 0 && nh_slice_chr(value, 0) < 0, "a NUL");
		if (nh_slice_eq_str(name, "a"))
			FUZZ_CHECK(nh_http_query_get(text, "a", &arena, &found) != NH_ENOTFOUND, "walked over, but not found");
	}
}

static void range(nh_slice text)
{
	static const uint64_t sizes[] = {0, 1, 1000, UINT64_MAX};
	for (size_t i = 0; i < NH_ARRAY_LEN(sizes); i++) {
		uint64_t first = 0, length = 0;
		nh_rc rc = nh_http_range_parse(text, sizes[i], &first, &length);
		FUZZ_CHECK(rc == NH_OK || rc == NH_ENOTFOUND || rc == NH_EINVAL, "%s", nh_rc_name(rc));
		FUZZ_CHECK(rc != NH_OK || (length > 0 && first < sizes[i] && length <= sizes[i] - first), "outside: %.*s", NH_ARG(text));
	}
}

static void content_range(nh_slice text)
{
	struct nh_http_content_range r;
	if (nh_http_content_range_parse(text, &r) == NH_OK && !r.unsatisfied)
		FUZZ_CHECK(r.first <= r.last && (r.total == UINT64_MAX || r.last < r.total), "%.*s", NH_ARG(text));
}

static void etag(nh_slice text)
{
	bool strong = nh_http_etag_match(text, NH_LIT("\"tag\""), false), weak = nh_http_etag_match(text, NH_LIT("\"tag\""), true);
	FUZZ_CHECK(!strong || weak, "strong, but not weak: %.*s", NH_ARG(text));
	FUZZ_CHECK(!weak || nh_slice_chr(text, '*') >= 0 || nh_slice_find(text, NH_LIT("\"tag\"")) >= 0, "%.*s", NH_ARG(text));
}

static void url(nh_slice text)
{
	struct nh_http_url base, u;
	NH_AUTO_ARENA struct nh_arena arena = NH_ARENA_INIT;
	nh_slice whole;
	if (nh_http_url_parse(text, &u, NULL) == NH_OK) {
		FUZZ_CHECK(u.host.len > 0 && u.port > 0 && u.path.len > 0 && u.path.ptr[0] == '/', "%.*s", NH_ARG(text));
		FUZZ_CHECK(nh_slice_chr(u.host, '@') < 0 && nh_slice_chr(u.host, ' ') < 0 && nh_slice_chr(u.path, '\n') < 0, "%.*s", NH_ARG(text));
	}
	FUZZ_CHECK(nh_http_url_parse(NH_LIT("https://h:4000/a/b?c"), &base, NULL) == NH_OK, "base");
	if (nh_http_url_resolve(&base, text, &arena, &whole, NULL) == NH_OK)
		FUZZ_CHECK(nh_http_url_parse(whole, &u, NULL) == NH_OK, "%.*s became %.*s", NH_ARG(text), NH_ARG(whole));
}

static void tokens(nh_slice text)
{
	struct nh_http_headers headers = {.items = {{NH_LIT("Connection"), text}, {NH_LIT("x"), text}}, .count = 2};
	bool has = nh_http_header_has_token(&headers, "connection", "upgrade");
	NH_AUTO_BUF struct nh_buf more = NH_BUF_INIT;
	nh_buf_put_str(&more, "a, ");
	nh_buf_put_slice(&more, text);
	headers.items[0].value = nh_buf_slice(&more);
	FUZZ_CHECK(has == nh_http_header_has_token(&headers, "CONNECTION", "Upgrade"), "%.*s", NH_ARG(text));
	FUZZ_CHECK(nh_http_header_count(&headers, "X") == 1, "count");
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static void (*const languages[])(nh_slice text) = {path, query, range, content_range, etag, url, tokens};
	nh_slice text = nh_slice_of(data, size);
	uint8_t which = fuzz_byte(&text);
	languages[which % NH_ARRAY_LEN(languages)](text);
	return 0;
}
