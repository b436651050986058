/*
 * Heads of requests and responses. Two steps: scan() looks for the empty line that ends the head and refuses, byte by byte, what can never be right;
 * then the complete head is cut into views and its framing decided. The body decoder is in http_body.c.
 *
 * Invariant: whatever is not clearly one message is refused; nothing is repaired, since a proxy in front may have repaired it differently.
 */
#include "net/http_parser.h"

#include "base/encode.h"

#define DEFAULT_LINE_BYTES 8192
#define DEFAULT_HEAD_BYTES 32768

static bool is_token(nh_slice s)
{
	for (size_t i = 0; i < s.len; i++)
		if (!nh_http_is_token_char(s.ptr[i]))
			return false;
	return s.len > 0;
}

static struct nh_http_limits limits_of(const struct nh_http_limits *given)
{
	struct nh_http_limits l = given ? *given : (struct nh_http_limits){0};
	if (l.line_bytes == 0)
		l.line_bytes = DEFAULT_LINE_BYTES;
	if (l.head_bytes == 0)
		l.head_bytes = DEFAULT_HEAD_BYTES;
	if (l.header_count == 0 || l.header_count > NH_HTTP_HEADERS_MAX)
		l.header_count = NH_HTTP_HEADERS_MAX;
	return l;
}

static nh_rc refuse(struct nh_http_scan *scan, unsigned status, nh_rc rc)
{
	scan->status = status;
	return rc;
}

#define REFUSE(scan, code, rc, ...) refuse((scan), (code), NH_FAIL(err, (rc), __VA_ARGS__))

/* A line ended at bytes[scan->pos] == LF. *end: it was the empty line after the headers. */
static nh_rc scan_line_end(const struct nh_http_limits *l, nh_slice bytes, struct nh_http_scan *scan, bool *end, struct nh_err *err)
{
	size_t at = scan->pos;
	*end = false;
	if (at == scan->line_start || bytes.ptr[at - 1] != '\r')
		return REFUSE(scan, 400, NH_EFORMAT, "line feed without carriage return");
	bool empty = at - 1 == scan->line_start;
	if (empty && scan->lines > 0) {
		*end = true;
		return NH_OK;
	}
	if (empty && scan->line_start > 0)
		return REFUSE(scan, 400, NH_EFORMAT, "more than one empty line before the message");
	if (!empty)
		scan->lines++;
	if (scan->lines > l->header_count + 1)
		return REFUSE(scan, 431, NH_ETOOBIG, "more than %zu headers", l->header_count);
	scan->line_start = at + 1;
	return NH_OK;
}

/* NH_OK: the head ends before scan->pos. */
static nh_rc scan_head(const struct nh_http_limits *l, nh_slice bytes, struct nh_http_scan *scan, struct nh_err *err)
{
	for (; scan->pos < bytes.len; scan->pos++) {
		size_t at = scan->pos;
		uint8_t c = bytes.ptr[at];
		if (at >= l->head_bytes)
			return REFUSE(scan, 431, NH_ETOOBIG, "message head over %zu bytes", l->head_bytes);
		if (c == '\n') {
			bool end;
			nh_rc rc = scan_line_end(l, bytes, scan, &end, err);
			if (rc != NH_OK)
				return rc;
			if (end) {
				scan->pos++;
				return NH_OK;
			}
			continue;
		}
		if (at > scan->line_start && bytes.ptr[at - 1] == '\r')
			return REFUSE(scan, 400, NH_EFORMAT, "carriage return without line feed");
		if ((c < 0x20 && c != '\r' && c != '\t') || c == 0x7f)
			return REFUSE(scan, 400, NH_EFORMAT, "control character 0x%02x in the message head", c);
		/* One byte over the cap may be the CR. */
		if (scan->lines == 0 && at - scan->line_start > l->line_bytes)
			return REFUSE(scan, 414, NH_ETOOBIG, "first line over %zu bytes", l->line_bytes);
	}
	return NH_EAGAIN;
}

/* The next line of a complete head, without its CRLF. */
static nh_slice take_line(nh_slice *head)
{
	nh_slice line;
	nh_slice_cut(*head, '\n', &line, head);
	if (line.len > 0)
		line.len--; /* the CR that scan_line_end saw */
	return line;
}

static nh_rc parse_headers(nh_slice head, struct nh_http_headers *out, struct nh_http_scan *scan, struct nh_err *err)
{
	out->count = 0;
	for (;;) {
		nh_slice line = take_line(&head), name, value;
		if (line.len == 0)
			return NH_OK;
		if (line.ptr[0] == ' ' || line.ptr[0] == '\t')
			return REFUSE(scan, 400, NH_EFORMAT, "folded header line");
		if (!nh_slice_cut(line, ':', &name, &value))
			return REFUSE(scan, 400, NH_EFORMAT, "header line without colon");
		if (!is_token(name))
			return REFUSE(scan, 400, NH_EFORMAT, "invalid header name");
		NH_ASSERT(out->count < NH_HTTP_HEADERS_MAX); /* scan_line_end counted */
		out->items[out->count++] = (struct nh_http_header){name, nh_slice_trim(value)};
	}
}

static nh_rc parse_version(nh_slice text, unsigned *minor, struct nh_http_scan *scan, struct nh_err *err)
{
	if (text.len != 8 || !nh_slice_starts(text, NH_LIT("HTTP/")) || text.ptr[6] != '.' || text.ptr[5] < '0' || text.ptr[5] > '9' ||
	    text.ptr[7] < '0' || text.ptr[7] > '9')
		return REFUSE(scan, 400, NH_EFORMAT, "not an HTTP version");
	if (text.ptr[5] != '1')
		return REFUSE(scan, 505, NH_EUNSUPPORTED, "HTTP/%c is not spoken here", text.ptr[5]);
	*minor = text.ptr[7] == '0' ? 0 : 1;
	return NH_OK;
}

struct framing {
	bool has_length;
	bool chunked;
	uint64_t length;
};

/* source: RFC 9112 6.1-6.3 */
static nh_rc parse_framing(const struct nh_http_headers *headers, unsigned minor, struct framing *out, struct nh_http_scan *scan, struct nh_err *err)
{
	size_t lengths = nh_http_header_count(headers, "content-length");
	size_t codings = nh_http_header_count(headers, "transfer-encoding");
	*out = (struct framing){0};
	if (lengths > 0 && codings > 0)
		return REFUSE(scan, 400, NH_EFORMAT, "both Content-Length and Transfer-Encoding");
	if (lengths > 1)
		return REFUSE(scan, 400, NH_EFORMAT, "more than one Content-Length");
	if (lengths == 1) {
		if (nh_parse_u64(nh_http_header_get(headers, "content-length"), 0, INT64_MAX, &out->length) != NH_OK)
			return REFUSE(scan, 400, NH_EFORMAT, "Content-Length is not a number");
		out->has_length = true;
	}
	if (codings > 0) {
		if (minor == 0)
			return REFUSE(scan, 400, NH_EFORMAT, "Transfer-Encoding in HTTP/1.0");
		if (codings > 1 || !nh_slice_ieq(nh_http_header_get(headers, "transfer-encoding"), NH_LIT("chunked")))
			return REFUSE(scan, 501, NH_EUNSUPPORTED, "a transfer coding other than chunked");
		out->chunked = true;
	}
	return NH_OK;
}

static bool keeps_alive(const struct nh_http_headers *headers, unsigned minor)
{
	if (nh_http_header_has_token(headers, "connection", "close"))
		return false;
	return minor > 0 || nh_http_header_has_token(headers, "connection", "keep-alive");
}

/* source: RFC 9112 3.2 */
static nh_rc parse_target(struct nh_http_request_head *out, struct nh_http_scan *scan, struct nh_err *err)
{
	nh_slice t = out->target;
	for (size_t i = 0; i < t.len; i++)
		if (t.ptr[i] <= 0x20 || t.ptr[i] >= 0x7f || t.ptr[i] == '#')
			return REFUSE(scan, 400, NH_EFORMAT, "character 0x%02x in the request target", t.ptr[i]);
	if (nh_slice_eq_str(t, "*") && out->method == NH_HTTP_OPTIONS) {
		out->path = t;
		return NH_OK;
	}
	if (t.len > 0 && t.ptr[0] == '/') {
		if (!nh_slice_cut(t, '?', &out->path, &out->query))
			out->query = NH_SLICE_EMPTY;
		return NH_OK;
	}
	struct nh_http_url url;
	if (nh_http_url_parse(t, &url, NULL) != NH_OK || url.websocket)
		return REFUSE(scan, 400, NH_EFORMAT, "invalid request target");
	out->path = url.path;
	out->query = url.query;
	nh_slice authority = nh_slice_skip(t, url.tls ? 8 : 7);
	size_t n = 0;
	while (n < authority.len && authority.ptr[n] != '/' && authority.ptr[n] != '?')
		n++;
	out->host = nh_slice_sub(authority, 0, n);
	return NH_OK;
}

static nh_rc parse_request_line(nh_slice line, struct nh_http_request_head *out, struct nh_http_scan *scan, struct nh_err *err)
{
	nh_slice rest, version;
	if (!nh_slice_cut(line, ' ', &out->method_text, &rest) || !nh_slice_cut(rest, ' ', &out->target, &version) || out->target.len == 0)
		return REFUSE(scan, 400, NH_EFORMAT, "not a request line");
	if (!is_token(out->method_text) || out->method_text.len > 32)
		return REFUSE(scan, 400, NH_EFORMAT, "invalid method");
	NH_TRY(parse_version(version, &out->minor, scan, err));
	out->method = nh_http_method_of(out->method_text);
	if (nh_slice_eq_str(out->method_text, "CONNECT"))
		return REFUSE(scan, 501, NH_EUNSUPPORTED, "CONNECT: this is not a proxy");
	return parse_target(out, scan, err);
}

/* uri-host [ ":" port ]; both may be empty. source: RFC 9110 7.2, RFC 3986 3.2 */
static bool host_text_valid(nh_slice host)
{
	nh_slice name = host, port = NH_SLICE_EMPTY;
	uint64_t number;
	if (host.len > 0 && host.ptr[0] == '[') {
		nh_slice after;
		if (!nh_slice_cut(nh_slice_skip(host, 1), ']', &name, &after) || (after.len > 0 && after.ptr[0] != ':'))
			return false;
		port = nh_slice_skip(after, 1);
	} else {
		nh_slice_cut(host, ':', &name, &port);
	}
	for (size_t i = 0; i < name.len; i++)
		if (name.ptr[i] <= 0x20 || name.ptr[i] >= 0x7f || strchr("/?#@\\,[]\"<>^`{|}", name.ptr[i]))
			return false;
	return port.len == 0 || nh_parse_u64(port, 0, 65535, &number) == NH_OK;
}

static nh_rc parse_host(struct nh_http_request_head *out, struct nh_http_scan *scan, struct nh_err *err)
{
	size_t hosts = nh_http_header_count(&out->headers, "host");
	if (hosts > 1 || (hosts == 0 && out->minor > 0))
		return REFUSE(scan, 400, NH_EFORMAT, hosts ? "more than one Host header" : "no Host header");
	nh_slice host = nh_http_header_get(&out->headers, "host");
	if (!host_text_valid(host))
		return REFUSE(scan, 400, NH_EFORMAT, "invalid Host header");
	if (out->host.len == 0)
		out->host = host;
	return NH_OK;
}

/* Anything beside 100-continue. source: RFC 9110 10.1.1 */
static bool expects_more(const struct nh_http_headers *headers)
{
	for (size_t i = 0; i < headers->count; i++) {
		nh_slice list = headers->items[i].value, item;
		while (nh_slice_ieq(headers->items[i].name, NH_LIT("expect")) && list.len > 0) {
			nh_slice_cut(list, ',', &item, &list);
			item = nh_slice_trim(item);
			if (item.len > 0 && !nh_slice_ieq(item, NH_LIT("100-continue")))
				return true;
		}
	}
	return false;
}

nh_rc nh_http_request_parse(const struct nh_http_limits *limits, nh_slice bytes, struct nh_http_scan *scan, struct nh_http_request_head *out, struct nh_err *err)
{
	struct nh_http_limits l = limits_of(limits);
	struct framing framing;
	NH_TRY(scan_head(&l, bytes, scan, err));

	out->head_len = scan->pos;
	out->query = out->host = NH_SLICE_EMPTY;
	nh_slice head = nh_slice_sub(bytes, 0, scan->pos);
	nh_slice line = take_line(&head);
	if (line.len == 0)
		line = take_line(&head);
	NH_TRY(parse_request_line(line, out, scan, err));
	NH_TRY(parse_headers(head, &out->headers, scan, err));
	NH_TRY(parse_host(out, scan, err));
	NH_TRY(parse_framing(&out->headers, out->minor, &framing, scan, err));

	out->has_length = framing.has_length;
	out->content_length = framing.length;
	out->framing = framing.chunked ? NH_HTTP_CHUNKED : framing.length > 0 ? NH_HTTP_LENGTH : NH_HTTP_NO_BODY;
	out->keep_alive = keeps_alive(&out->headers, out->minor);
	out->expect_continue = out->minor > 0 && out->framing != NH_HTTP_NO_BODY && nh_http_header_has_token(&out->headers, "expect", "100-continue");
	out->expect_unknown = out->minor > 0 && expects_more(&out->headers);
	out->upgrade = nh_http_header_has_token(&out->headers, "connection", "upgrade") && nh_http_header_count(&out->headers, "upgrade") > 0;
	return NH_OK;
}

static nh_rc parse_status_line(nh_slice line, struct nh_http_response_head *out, struct nh_http_scan *scan, struct nh_err *err)
{
	nh_slice version, rest, code;
	uint64_t status;
	if (!nh_slice_cut(line, ' ', &version, &rest))
		return REFUSE(scan, 400, NH_EFORMAT, "not an HTTP status line");
	NH_TRY(parse_version(version, &out->minor, scan, err));
	nh_slice_cut(rest, ' ', &code, &out->reason);
	if (code.len != 3 || nh_parse_u64(code, 100, 599, &status) != NH_OK)
		return REFUSE(scan, 400, NH_EFORMAT, "invalid status code");
	out->status = (unsigned)status;
	return NH_OK;
}

nh_rc nh_http_response_parse(const struct nh_http_limits *limits, nh_slice bytes, struct nh_http_scan *scan, nh_http_method method,
			     struct nh_http_response_head *out, struct nh_err *err)
{
	struct nh_http_limits l = limits_of(limits);
	struct framing framing;
	NH_TRY(scan_head(&l, bytes, scan, err));

	out->head_len = scan->pos;
	nh_slice head = nh_slice_sub(bytes, 0, scan->pos);
	nh_slice line = take_line(&head);
	if (line.len == 0)
		line = take_line(&head);
	NH_TRY(parse_status_line(line, out, scan, err));
	NH_TRY(parse_headers(head, &out->headers, scan, err));
	NH_TRY(parse_framing(&out->headers, out->minor, &framing, scan, err));

	bool bodyless = method == NH_HTTP_HEAD || out->status < 200 || out->status == 204 || out->status == 304;
	out->has_length = framing.has_length;
	out->content_length = framing.length;
	if (bodyless || (framing.has_length && framing.length == 0))
		out->framing = NH_HTTP_NO_BODY;
	else if (framing.chunked)
		out->framing = NH_HTTP_CHUNKED;
	else
		out->framing = framing.has_length ? NH_HTTP_LENGTH : NH_HTTP_UNTIL_CLOSE;
	out->keep_alive = out->framing != NH_HTTP_UNTIL_CLOSE && keeps_alive(&out->headers, out->minor);
	return NH_OK;
}
