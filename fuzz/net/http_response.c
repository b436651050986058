/* Response heads, then Content-Range and Location as the clients read them. */
#include <stdlib.h>

#include "net/http_parser.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct nh_http_response_head a, b;
	struct nh_http_scan scan_a = {0}, scan_b = {0};
	nh_rc rc_a = nh_http_response_parse(NULL, nh_slice_of(data, size), &scan_a, NH_HTTP_GET, &a, NULL), rc_b = NH_EAGAIN;
	for (size_t n = 0; n <= size && rc_b == NH_EAGAIN; n++)
		rc_b = nh_http_response_parse(NULL, nh_slice_of(data, n), &scan_b, NH_HTTP_GET, &b, NULL);
	if (rc_a != rc_b)
		abort();
	if (rc_a != NH_OK)
		return 0;
	if (a.status < 100 || a.status > 599 || a.head_len != b.head_len)
		abort();
	NH_AUTO_ARENA struct nh_arena arena = NH_ARENA_INIT;
	struct nh_http_url base, again;
	struct nh_http_content_range range;
	nh_slice url;
	if (nh_http_content_range_parse(nh_http_header_get(&a.headers, "content-range"), &range) == NH_OK && !range.unsatisfied && range.first > range.last)
		abort();
	if (nh_http_url_parse(NH_LIT("https://h:4000/a/b?c"), &base, NULL) != NH_OK)
		abort();
	if (nh_http_url_resolve(&base, nh_http_header_get(&a.headers, "location"), &arena, &url, NULL) == NH_OK && nh_http_url_parse(url, &again, NULL) != NH_OK)
		abort();
	return 0;
}
