/*
 * Names, header lookup, target splitting and the small header grammars (ranges, entity tags). No parsing of whole messages (http_parser.c) and
 * no URLs (http_url.c). Everything works on views; only decoded text goes into the caller's arena.
 */
#include "net/http_message.h"

#include "base/clock.h"
#include "base/encode.h"

static const struct {
	const char *name;
	nh_http_method method;
} methods[] = {
	{"GET", NH_HTTP_GET},     {"HEAD", NH_HTTP_HEAD},   {"POST", NH_HTTP_POST},       {"PUT", NH_HTTP_PUT},
	{"PATCH", NH_HTTP_PATCH}, {"DELETE", NH_HTTP_DELETE}, {"OPTIONS", NH_HTTP_OPTIONS},
};

nh_http_method nh_http_method_of(nh_slice token)
{
	for (size_t i = 0; i < NH_ARRAY_LEN(methods); i++)
		if (nh_slice_eq_str(token, methods[i].name))
			return methods[i].method;
	return NH_HTTP_OTHER;
}

const char *nh_http_method_name(nh_http_method method)
{
	for (size_t i = 0; i < NH_ARRAY_LEN(methods); i++)
		if (methods[i].method == method)
			return methods[i].name;
	return "OTHER";
}

/* source: IANA HTTP status code registry, RFC 9110 15 */
static const struct {
	unsigned status;
	const char *reason;
} reasons[] = {
	{100, "Continue"},
	{101, "Switching Protocols"},
	{200, "OK"},
	{201, "Created"},
	{202, "Accepted"},
	{204, "No Content"},
	{206, "Partial Content"},
	{301, "Moved Permanently"},
	{302, "Found"},
	{303, "See Other"},
	{304, "Not Modified"},
	{307, "Temporary Redirect"},
	{308, "Permanent Redirect"},
	{400, "Bad Request"},
	{401, "Unauthorized"},
	{403, "Forbidden"},
	{404, "Not Found"},
	{405, "Method Not Allowed"},
	{406, "Not Acceptable"},
	{408, "Request Timeout"},
	{409, "Conflict"},
	{410, "Gone"},
	{411, "Length Required"},
	{412, "Precondition Failed"},
	{413, "Content Too Large"},
	{414, "URI Too Long"},
	{415, "Unsupported Media Type"},
	{416, "Range Not Satisfiable"},
	{417, "Expectation Failed"},
	{422, "Unprocessable Content"},
	{426, "Upgrade Required"},
	{429, "Too Many Requests"},
	{431, "Request Header Fields Too Large"},
	{500, "Internal Server Error"},
	{501, "Not Implemented"},
	{502, "Bad Gateway"},
	{503, "Service Unavailable"},
	{504, "Gateway Timeout"},
	{505, "HTTP Version Not Supported"},
	{507, "Insufficient Storage"},
};

const char *nh_http_reason(unsigned status)
{
	for (size_t i = 0; i < NH_ARRAY_LEN(reasons); i++)
		if (reasons[i].status == status)
			return reasons[i].reason;
	return "";
}

nh_slice nh_http_header_get(const struct nh_http_headers *headers, const char *name)
{
	for (size_t i = 0; i < headers->count; i++)
		if (nh_slice_ieq(headers->items[i].name, nh_slice_str(name)))
			return headers->items[i].value;
	return NH_SLICE_EMPTY;
}

size_t nh_http_header_count(const struct nh_http_headers *headers, const char *name)
{
	size_t n = 0;
	for (size_t i = 0; i < headers->count; i++)
		n += nh_slice_ieq(headers->items[i].name, nh_slice_str(name));
	return n;
}

/* source: RFC 9110 5.6.2 */
bool nh_http_is_token_char(uint8_t c)
{
	if ((c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'))
		return true;
	return c != 0 && strchr("!#$%&'*+-.^_`|~", c) != NULL;
}

static bool list_has(nh_slice list, nh_slice token)
{
	while (list.len > 0) {
		nh_slice item;
		nh_slice_cut(list, ',', &item, &list);
		if (nh_slice_ieq(nh_slice_trim(item), token))
			return true;
	}
	return false;
}

bool nh_http_header_has_token(const struct nh_http_headers *headers, const char *name, const char *token)
{
	for (size_t i = 0; i < headers->count; i++)
		if (nh_slice_ieq(headers->items[i].name, nh_slice_str(name)) && list_has(headers->items[i].value, nh_slice_str(token)))
			return true;
	return false;
}

static nh_rc decode(nh_slice text, bool plus_is_space, struct nh_arena *arena, nh_slice *out)
{
	NH_AUTO_BUF struct nh_buf b = NH_BUF_INIT;
	NH_TRY(nh_uri_decode(text, plus_is_space, &b));
	*out = nh_arena_copy(arena, nh_buf_slice(&b));
	return NH_OK;
}

nh_rc nh_http_path_segments(nh_slice path, struct nh_arena *arena, nh_slice *out, size_t max, size_t *count)
{
	*count = 0;
	while (path.len > 0) {
		nh_slice raw, text;
		nh_slice_cut(path, '/', &raw, &path);
		if (raw.len == 0)
			continue;
		if (*count == max)
			return NH_ETOOBIG;
		NH_TRY(decode(raw, false, arena, &text));
		if (nh_slice_eq_str(text, ".") || nh_slice_eq_str(text, ".."))
			return NH_EFORMAT;
		for (size_t i = 0; i < text.len; i++)
			if (text.ptr[i] < 0x20 || text.ptr[i] == 0x7f)
				return NH_EFORMAT;
		out[(*count)++] = text;
	}
	return NH_OK;
}

nh_rc nh_http_query_next(nh_slice *rest, struct nh_arena *arena, nh_slice *name, nh_slice *value, bool *has)
{
	nh_slice pair = NH_SLICE_EMPTY, raw_name, raw_value;
	*has = false;
	while (pair.len == 0) {
		if (rest->len == 0)
			return NH_OK;
		nh_slice_cut(*rest, '&', &pair, rest);
	}
	*has = true;
	nh_slice_cut(pair, '=', &raw_name, &raw_value);
	NH_TRY(decode(raw_name, true, arena, name));
	return decode(raw_value, true, arena, value);
}

nh_rc nh_http_query_get(nh_slice query, const char *wanted, struct nh_arena *arena, nh_slice *value)
{
	for (;;) {
		nh_slice name;
		bool has;
		NH_TRY(nh_http_query_next(&query, arena, &name, value, &has));
		if (!has) {
			*value = NH_SLICE_EMPTY;
			return NH_ENOTFOUND;
		}
		if (nh_slice_eq_str(name, wanted))
			return NH_OK;
	}
}

static bool all_digits(nh_slice s)
{
	for (size_t i = 0; i < s.len; i++)
		if (s.ptr[i] < '0' || s.ptr[i] > '9')
			return false;
	return s.len > 0;
}

/* A number too large to hold is as good as the largest: it lies beyond every representation. */
static uint64_t digits_clamped(nh_slice s)
{
	uint64_t v;
	return nh_parse_u64(s, 0, UINT64_MAX, &v) == NH_OK ? v : UINT64_MAX;
}

nh_rc nh_http_range_parse(nh_slice value, uint64_t size, uint64_t *first, uint64_t *length)
{
	nh_slice unit, spec, from, to;
	*first = *length = 0;
	if (!nh_slice_cut(value, '=', &unit, &spec) || !nh_slice_ieq(nh_slice_trim(unit), NH_LIT("bytes")))
		return NH_ENOTFOUND;
	spec = nh_slice_trim(spec);
	if (!nh_slice_cut(spec, '-', &from, &to) || (from.len && !all_digits(from)) || (to.len && !all_digits(to)) || (!from.len && !to.len))
		return NH_ENOTFOUND; /* also several ranges: the comma is no digit */
	if (from.len == 0) {
		uint64_t suffix = digits_clamped(to);
		if (suffix == 0 || size == 0)
			return NH_EINVAL;
		*length = suffix < size ? suffix : size;
		*first = size - *length;
		return NH_OK;
	}
	uint64_t a = digits_clamped(from);
	uint64_t b = to.len ? digits_clamped(to) : UINT64_MAX;
	if (b < a)
		return NH_ENOTFOUND;
	if (a >= size)
		return NH_EINVAL;
	if (b > size - 1)
		b = size - 1;
	*first = a;
	*length = b - a + 1;
	return NH_OK;
}

nh_rc nh_http_content_range_parse(nh_slice value, struct nh_http_content_range *out)
{
	nh_slice unit, spec, range, total, from, to;
	*out = (struct nh_http_content_range){0};
	if (!nh_slice_cut(nh_slice_trim(value), ' ', &unit, &spec) || !nh_slice_ieq(unit, NH_LIT("bytes")) || !nh_slice_cut(spec, '/', &range, &total))
		return NH_EFORMAT;
	if (nh_slice_eq_str(total, "*"))
		out->total = UINT64_MAX;
	else if (nh_parse_u64(total, 0, UINT64_MAX - 1, &out->total) != NH_OK)
		return NH_EFORMAT;
	if (nh_slice_eq_str(range, "*")) {
		out->unsatisfied = true;
		return out->total == UINT64_MAX ? NH_EFORMAT : NH_OK;
	}
	if (!nh_slice_cut(range, '-', &from, &to) || nh_parse_u64(from, 0, UINT64_MAX, &out->first) != NH_OK ||
	    nh_parse_u64(to, 0, UINT64_MAX, &out->last) != NH_OK)
		return NH_EFORMAT;
	return out->last < out->first || out->last >= out->total ? NH_EFORMAT : NH_OK;
}

bool nh_http_etag_match(nh_slice list, nh_slice etag, bool weak)
{
	list = nh_slice_trim(list);
	if (nh_slice_eq_str(list, "*"))
		return true;
	bool etag_weak = nh_slice_starts(etag, NH_LIT("W/"));
	if (etag_weak)
		etag = nh_slice_skip(etag, 2);
	while (list.len > 0) {
		bool item_weak = nh_slice_starts(list, NH_LIT("W/"));
		if (item_weak)
			list = nh_slice_skip(list, 2);
		ptrdiff_t end = list.len > 1 && list.ptr[0] == '"' ? nh_slice_chr(nh_slice_skip(list, 1), '"') : -1;
		if (end < 0)
			return false;
		nh_slice item = nh_slice_sub(list, 0, (size_t)end + 2);
		if ((weak || (!item_weak && !etag_weak)) && nh_slice_eq(item, etag))
			return true;
		list = nh_slice_trim(nh_slice_skip(list, item.len));
		if (list.len == 0 || list.ptr[0] != ',')
			return false;
		list = nh_slice_trim(nh_slice_skip(list, 1));
	}
	return false;
}

uint64_t nh_http_retry_after_s(const struct nh_http_headers *headers)
{
	nh_slice text = nh_http_header_get(headers, "retry-after");
	uint64_t seconds = 0;
	int64_t at_us = 0, date_us = 0;
	if (text.len == 0 || nh_parse_u64(text, 0, UINT32_MAX, &seconds) == NH_OK)
		return seconds;
	if (nh_time_parse_http(nh_http_header_get(headers, "date"), &date_us) != NH_OK || nh_time_parse_http(text, &at_us) != NH_OK || at_us <= date_us)
		return 0;
	return (uint64_t)(at_us - date_us) / NH_US_PER_S;
}
