/*
 * What an HTTP/1.1 message is made of: methods, header lists, target, ranges, entity tags. Views and small helpers, no parsing state,
 * no sockets. All views point into bytes the caller keeps alive. thread: any.
 *
 * source: RFC 9110, RFC 9112
 */
#pragma once

#include "base/arena.h"
#include "base/err.h"
#include "base/slice.h"

typedef enum nh_http_method {
	NH_HTTP_OTHER, /* a token we have no name for: 501 or 405 */
	NH_HTTP_GET,
	NH_HTTP_HEAD,
	NH_HTTP_POST,
	NH_HTTP_PUT,
	NH_HTTP_PATCH,
	NH_HTTP_DELETE,
	NH_HTTP_OPTIONS,
} nh_http_method;

nh_http_method nh_http_method_of(nh_slice token);       /* case-sensitive; NH_HTTP_OTHER */
const char *nh_http_method_name(nh_http_method method); /* "GET"; "OTHER" */
const char *nh_http_reason(unsigned status);            /* "Not Found"; "" for a number without a name */

#define NH_HTTP_HEADERS_MAX 64

struct nh_http_header {
	nh_slice name;  /* as received; compare without case */
	nh_slice value; /* blanks at both ends removed */
};

struct nh_http_headers {
	struct nh_http_header items[NH_HTTP_HEADERS_MAX];
	size_t count;
};

bool nh_http_is_token_char(uint8_t c); /* may stand in a method or a field name */
/* nh_http_header_get - value of the first header of that name (ASCII case ignored); ptr NULL where there is none. */
nh_slice nh_http_header_get(const struct nh_http_headers *headers, const char *name);
size_t nh_http_header_count(const struct nh_http_headers *headers, const char *name);
/* nh_http_header_has_token - does the comma list in all headers of that name hold the token (without case)? ("Connection: keep-alive, Upgrade") */
bool nh_http_header_has_token(const struct nh_http_headers *headers, const char *name, const char *token);

/*
 * nh_http_path_segments - splits a raw path ("/api/a%20b/") and decodes each segment into the arena. Empty segments vanish, as existing
 * clients may send doubled or trailing slashes. out[max]; *count.
 * NH_EFORMAT: broken escape, NUL, control character, or a segment "." or ".." (also when written %2e). NH_ETOOBIG: more than max segments.
 * A decoded segment may hold '/': code that makes file names of segments must check.
 */
nh_rc nh_http_path_segments(nh_slice path, struct nh_arena *arena, nh_slice *out, size_t max, size_t *count);

/*
 * nh_http_query_next - takes the next name=value pair off *rest (initially the raw query without '?'), both decoded into the arena ('+' is a
 * blank). *has = false at the end. NH_EFORMAT: broken escape or NUL; the pair is skipped and the walk may go on.
 */
nh_rc nh_http_query_next(nh_slice *rest, struct nh_arena *arena, nh_slice *name, nh_slice *value, bool *has);
/* nh_http_query_get - first value of a name; NH_ENOTFOUND where absent, NH_EFORMAT as above. */
nh_rc nh_http_query_get(nh_slice query, const char *name, struct nh_arena *arena, nh_slice *value);

/*
 * nh_http_range_parse - a Range header against a representation of `size` bytes.
 *   NH_OK         one satisfiable byte range: *first and *length (>= 1), the end clamped to the representation
 *   NH_ENOTFOUND  ignore the header and send everything: other unit, several ranges, not well-formed, or an absent header
 *   NH_EINVAL     well-formed but nothing to send: 416
 * source: RFC 9110 14.1-14.2, reference/device-protocol "13.2"
 */
nh_rc nh_http_range_parse(nh_slice value, uint64_t size, uint64_t *first, uint64_t *length);

struct nh_http_content_range {
	uint64_t first, last; /* inclusive; both 0 in the unsatisfied form */
	uint64_t total;       /* UINT64_MAX where the server wrote "*" */
	bool unsatisfied;     /* "bytes * /total" */
};
/* NH_EFORMAT: not a bytes content range, last < first, last >= total. source: RFC 9110 14.4 */
nh_rc nh_http_content_range_parse(nh_slice value, struct nh_http_content_range *out);

/* nh_http_etag_match - does an If-None-Match / If-Match list ("*" or quoted tags) match this tag? weak: W/ prefixes are ignored. */
bool nh_http_etag_match(nh_slice list, nh_slice etag, bool weak);

/* nh_http_retry_after_s - Retry-After in seconds, given so or as a date (by the sender's own Date); 0 = none, or not understood. source: RFC 9110 10.2.3 */
uint64_t nh_http_retry_after_s(const struct nh_http_headers *headers);

struct nh_http_url {
	bool tls;        /* https or wss */
	bool websocket;  /* ws or wss */
	nh_slice host;   /* without brackets for IPv6 */
	uint16_t port;   /* the scheme's default where absent */
	bool port_given;
	nh_slice path;   /* raw, starts with "/"; "/" where absent */
	nh_slice query;  /* raw, without '?'; ptr NULL where absent */
};
/*
 * nh_http_url_parse - an absolute http, https, ws or wss URL. Views into text. NH_EFORMAT: anything else, user info, fragment kept out (cut),
 * blanks or control characters, empty host, bad port.
 */
nh_rc nh_http_url_parse(nh_slice text, struct nh_http_url *out, struct nh_err *err);
/* nh_http_url_resolve - a Location header against the URL it came from, as an absolute URL in the arena. Dot segments are not collapsed. NH_EFORMAT. */
nh_rc nh_http_url_resolve(const struct nh_http_url *base, nh_slice location, struct nh_arena *arena, nh_slice *out, struct nh_err *err);
