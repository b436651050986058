/*
 * Strict HTTP/1.1 parser for both sides, sans-IO: bytes in, views out. No sockets, no allocation, no per-connection memory: the caller keeps the
 * growing head in its own buffer and a struct nh_http_scan of a few words; everything parsed are views into that buffer.
 *
 * Refused, because proxies and servers disagree about them (request smuggling): folded lines, bare CR or LF, blanks before the colon, empty or
 * invalid header names, control characters in values, more than one Content-Length or one that is not plain digits, Content-Length
 * together with Transfer-Encoding, any coding other than exactly one "chunked", Transfer-Encoding in HTTP/1.0, a missing or repeated Host.
 *
 * Use:
 *   struct nh_http_scan scan = {0};           // one per head; zero again after each head
 *   rc = nh_http_request_parse(&limits, bytes_so_far, &scan, &head);
 *   NH_EAGAIN → append more bytes and call again; NH_OK → head.head_len bytes are consumed, then feed the body decoder.
 *
 * source: RFC 9112.  thread: any.
 */
#pragma once

#include "base/err.h"
#include "net/http_message.h"

struct nh_http_limits {
	size_t line_bytes;   /* first line without CRLF; 0 = 8192 */
	size_t head_bytes;   /* whole head with its final CRLFCRLF; 0 = 32768 */
	size_t header_count; /* 0 = NH_HTTP_HEADERS_MAX, which is also the maximum */
};

/* Where the search for the end of the head stands. Zero-initialised for each head. Lets one byte at a time cost O(n) in all. */
struct nh_http_scan {
	size_t pos;        /* bytes looked at */
	size_t line_start; /* first byte of the current line */
	uint32_t lines;    /* complete lines seen */
	unsigned status;   /* after a failure of nh_http_request_parse: the status to answer with (400, 414, 431, 501, 505) */
};

typedef enum nh_http_framing {
	NH_HTTP_NO_BODY,
	NH_HTTP_LENGTH,      /* content_length bytes (> 0) */
	NH_HTTP_CHUNKED,
	NH_HTTP_UNTIL_CLOSE, /* responses only */
} nh_http_framing;

struct nh_http_request_head {
	nh_http_method method;
	nh_slice method_text;
	nh_slice target;    /* as received */
	nh_slice path;      /* raw; starts with '/' ("*" for OPTIONS *) */
	nh_slice query;     /* raw, without '?'; ptr NULL where absent */
	nh_slice host;      /* Host header, or the authority of an absolute target; empty in HTTP/1.0 without one */
	unsigned minor;     /* HTTP/1.minor: 0 or 1 */
	struct nh_http_headers headers;
	nh_http_framing framing;
	uint64_t content_length; /* LENGTH only; 0 otherwise */
	bool has_length;         /* a Content-Length header was present (may be 0) */
	bool keep_alive;
	bool expect_continue;    /* Expect: 100-continue with a body to come, HTTP/1.1 */
	bool expect_unknown;     /* Expect with anything else, HTTP/1.1: 417 */
	bool upgrade;            /* Connection: upgrade and an Upgrade header */
	size_t head_len;         /* bytes of the input that were the head */
};

/*
 * nh_http_request_parse - looks for a complete request head at the start of bytes.
 *   NH_OK          *out filled
 *   NH_EAGAIN      not complete yet
 *   NH_EFORMAT     scan->status 400
 *   NH_ETOOBIG     scan->status 414 (request line) or 431 (headers)
 *   NH_EUNSUPPORTED scan->status 501 (transfer coding) or 505 (HTTP version)
 * One empty line before the request line is skipped (RFC 9112 2.2). err: why, for logs. limits may be NULL.
 */
nh_rc nh_http_request_parse(const struct nh_http_limits *limits, nh_slice bytes, struct nh_http_scan *scan, struct nh_http_request_head *out, struct nh_err *err);

struct nh_http_response_head {
	unsigned status; /* 100-599 */
	nh_slice reason;
	unsigned minor;
	struct nh_http_headers headers;
	nh_http_framing framing;
	uint64_t content_length;
	bool has_length;
	bool keep_alive;
	size_t head_len;
};

/*
 * nh_http_response_parse - as above for a response. `method` is that of the request: HEAD has no body whatever the headers say; nor have
 * 1xx, 204 and 304. NH_OK NH_EAGAIN NH_EFORMAT NH_ETOOBIG NH_EUNSUPPORTED.
 */
nh_rc nh_http_response_parse(const struct nh_http_limits *limits, nh_slice bytes, struct nh_http_scan *scan, nh_http_method method,
			     struct nh_http_response_head *out, struct nh_err *err);

/* Body decoder: a few words, no memory of its own. */
struct nh_http_body {
	nh_http_framing framing;
	uint8_t state;
	uint8_t digits;
	uint16_t line_len;    /* bytes of the current chunk line or of all trailers */
	uint64_t left;        /* of the body (LENGTH) or of the chunk */
	uint64_t total;       /* data bytes delivered */
	uint64_t max_bytes;   /* 0 = unbounded */
};

/* max_bytes caps the decoded body whatever its framing; 0 = no cap (the receiver must stream). */
void nh_http_body_init(struct nh_http_body *b, nh_http_framing framing, uint64_t content_length, uint64_t max_bytes);
/*
 * nh_http_body_feed - takes bytes from in. Call while *consumed < in.len and not done: each call gives at most one piece of data.
 *   *consumed  bytes of in that were used (never beyond the end of the body: the rest belongs to the next message)
 *   *data      view into in, may be empty
 *   *done      the body is complete
 * NH_EFORMAT (chunk framing), NH_ETOOBIG (max_bytes, chunk line over 256 bytes, trailers over 4096 bytes). Trailers are checked and dropped.
 * A body of length 0 or NH_HTTP_NO_BODY is done at once, also with empty input.
 */
nh_rc nh_http_body_feed(struct nh_http_body *b, nh_slice in, size_t *consumed, nh_slice *data, bool *done, struct nh_err *err);
/* nh_http_body_eof - the peer closed: NH_OK where that ends the body properly, else NH_ECLOSED. */
nh_rc nh_http_body_eof(const struct nh_http_body *b);
