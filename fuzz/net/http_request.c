/*
 * Request heads: whole and byte by byte must agree; every view must lie inside the head; nothing ambiguous passes. Then target, query and ranges.
 */
#include "fuzz.h"

#include "net/http_parser.h"

static void inside(nh_slice s, const uint8_t *data, size_t len)
{
	if (s.len > 0 && (s.ptr < data || s.ptr + s.len > data + len) && !nh_slice_eq_str(s, "/"))
		abort();
}

/* What proxies and servers disagree about must not have been accepted: looked at here without the parser's help. */
static void unambiguous(const struct nh_http_request_head *h, nh_slice head)
{
	size_t lengths = nh_http_header_count(&h->headers, "content-length"), codings = nh_http_header_count(&h->headers, "transfer-encoding");
	FUZZ_CHECK(lengths <= 1 && codings <= 1 && lengths + codings <= 1, "framing that can be read in two ways");
	FUZZ_CHECK(codings == 0 || (h->minor == 1 && h->framing == NH_HTTP_CHUNKED), "a coding that is not chunked");
	FUZZ_CHECK(nh_http_header_count(&h->headers, "host") <= 1 && (h->minor == 0 || nh_http_header_count(&h->headers, "host") == 1), "host");
	for (size_t i = 0; i < head.len; i++) {
		FUZZ_CHECK(head.ptr[i] != '\n' || (i > 0 && head.ptr[i - 1] == '\r'), "a bare LF");
		FUZZ_CHECK(head.ptr[i] != '\r' || (i + 1 < head.len && head.ptr[i + 1] == '\n'), "a bare CR");
		FUZZ_CHECK(head.ptr[i] != 0, "a NUL");
	}
	FUZZ_CHECK(nh_slice_find(head, NH_LIT("\r\n ")) < 0 && nh_slice_find(head, NH_LIT("\r\n\t")) < 0, "a folded line");
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct nh_http_request_head a, b;
	struct nh_http_scan scan_a = {0}, scan_b = {0};
	nh_rc rc_a = nh_http_request_parse(NULL, nh_slice_of(data, size), &scan_a, &a, NULL), rc_b = NH_EAGAIN;
	for (size_t n = 0; n <= size && rc_b == NH_EAGAIN; n++)
		rc_b = nh_http_request_parse(NULL, nh_slice_of(data, n), &scan_b, &b, NULL);
	if (rc_a != rc_b || scan_a.status != scan_b.status)
		abort();
	if (rc_a != NH_OK)
		return 0;
	if (a.head_len != b.head_len || a.head_len > size)
		abort();
	inside(a.path, data, a.head_len);
	inside(a.query, data, a.head_len);
	inside(a.host, data, a.head_len);
	for (size_t i = 0; i < a.headers.count; i++) {
		inside(a.headers.items[i].name, data, a.head_len);
		inside(a.headers.items[i].value, data, a.head_len);
	}
	unambiguous(&a, nh_slice_of(data, a.head_len));
	NH_AUTO_ARENA struct nh_arena arena = NH_ARENA_INIT;
	nh_slice segments[8], name, value, rest = a.query;
	size_t count;
	bool has = true;
	NH_IGNORE(nh_http_path_segments(a.path, &arena, segments, 8, &count)); /* only the sanitizers judge */
	while (has)
		NH_IGNORE(nh_http_query_next(&rest, &arena, &name, &value, &has));
	uint64_t first, length;
	if (nh_http_range_parse(nh_http_header_get(&a.headers, "range"), 1000, &first, &length) == NH_OK && (length == 0 || first + length > 1000))
		abort();
	nh_http_etag_match(nh_http_header_get(&a.headers, "if-none-match"), NH_LIT("\"x\""), true);
	return 0;
}
