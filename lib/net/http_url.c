/*
 * Absolute URLs as clients of this project use them (http, https, ws, wss), and Location headers resolved against them. No user info, no
 * normalisation: what was given is what is requested.
 *
 * source: RFC 3986, RFC 6455 3
 */
#include "base/buf.h"
#include "base/encode.h"
#include "net/http_message.h"

static const struct {
	const char *prefix;
	bool tls, websocket;
	uint16_t port;
} schemes[] = {
	{"http://", false, false, 80},
	{"https://", true, false, 443},
	{"ws://", false, true, 80},
	{"wss://", true, true, 443},
};

static bool host_valid(nh_slice host)
{
	for (size_t i = 0; i < host.len; i++) {
		uint8_t c = host.ptr[i];
		bool ok = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' || c == '-' || c == '_' || c == ':';
		if (!ok)
			return false;
	}
	return host.len > 0 && host.len <= 253;
}

static nh_rc parse_authority(nh_slice authority, struct nh_http_url *out, struct nh_err *err)
{
	nh_slice port = NH_SLICE_EMPTY;
	if (nh_slice_chr(authority, '@') >= 0)
		return NH_FAIL(err, NH_EFORMAT, "URL with user information is not accepted");
	if (authority.len > 0 && authority.ptr[0] == '[') {
		ptrdiff_t end = nh_slice_chr(authority, ']');
		nh_slice after = end < 0 ? NH_SLICE_EMPTY : nh_slice_skip(authority, (size_t)end + 1);
		if (end < 0 || (after.len > 0 && after.ptr[0] != ':'))
			return NH_FAIL(err, NH_EFORMAT, "URL with a broken IPv6 address");
		out->host = nh_slice_sub(authority, 1, (size_t)end - 1);
		out->port_given = after.len > 0;
		port = nh_slice_skip(after, 1);
	} else {
		out->port_given = nh_slice_cut(authority, ':', &out->host, &port);
		if (nh_slice_chr(port, ':') >= 0)
			return NH_FAIL(err, NH_EFORMAT, "URL with an IPv6 address that is not in brackets");
	}
	if (!host_valid(out->host))
		return NH_FAIL(err, NH_EFORMAT, "URL with an invalid host name '%.*s'", NH_ARG(nh_slice_sub(out->host, 0, 100)));
	if (out->port_given) {
		uint64_t n;
		if (nh_parse_u64(port, 1, 65535, &n) != NH_OK)
			return NH_FAIL(err, NH_EFORMAT, "URL with an invalid port '%.*s'", NH_ARG(nh_slice_sub(port, 0, 100)));
		out->port = (uint16_t)n;
	}
	return NH_OK;
}

nh_rc nh_http_url_parse(nh_slice text, struct nh_http_url *out, struct nh_err *err)
{
	*out = (struct nh_http_url){0};
	for (size_t i = 0; i < text.len; i++)
		if (text.ptr[i] <= 0x20 || text.ptr[i] >= 0x7f)
			return NH_FAIL(err, NH_EFORMAT, "URL with a blank or non-ASCII character");
	size_t s = 0;
	for (; s < NH_ARRAY_LEN(schemes); s++)
		if (nh_slice_ieq(nh_slice_sub(text, 0, strlen(schemes[s].prefix)), nh_slice_str(schemes[s].prefix)))
			break;
	if (s == NH_ARRAY_LEN(schemes))
		return NH_FAIL(err, NH_EFORMAT, "URL must start with http://, https://, ws:// or wss://");
	out->tls = schemes[s].tls;
	out->websocket = schemes[s].websocket;
	out->port = schemes[s].port;

	nh_slice rest, fragment, authority;
	nh_slice_cut(nh_slice_skip(text, strlen(schemes[s].prefix)), '#', &rest, &fragment);
	size_t end = 0;
	while (end < rest.len && rest.ptr[end] != '/' && rest.ptr[end] != '?')
		end++;
	authority = nh_slice_sub(rest, 0, end);
	NH_TRY(parse_authority(authority, out, err));
	rest = nh_slice_skip(rest, end);
	if (!nh_slice_cut(rest, '?', &out->path, &out->query))
		out->query = NH_SLICE_EMPTY;
	else if (!out->query.ptr)
		out->query = NH_LIT("");
	if (out->path.len == 0)
		out->path = NH_LIT("/");
	return NH_OK;
}

nh_rc nh_http_url_resolve(const struct nh_http_url *base, nh_slice location, struct nh_arena *arena, nh_slice *out, struct nh_err *err)
{
	struct nh_http_url parsed;
	const char *scheme = base->websocket ? (base->tls ? "wss" : "ws") : (base->tls ? "https" : "http");
	bool v6 = nh_slice_chr(base->host, ':') >= 0;
	nh_slice text = location;

	/* A scheme ends with ':' before any '/', '?' or '#'. */
	size_t i = 0;
	while (i < location.len && !strchr(":/?#", location.ptr[i]))
		i++;
	bool absolute = i < location.len && location.ptr[i] == ':';
	if (!absolute && nh_slice_starts(location, NH_LIT("//"))) {
		text = nh_slice_str(nh_arena_printf(arena, "%s:%.*s", scheme, NH_ARG(location)));
	} else if (!absolute) {
		nh_slice dir = base->path;
		while (dir.len > 0 && dir.ptr[dir.len - 1] != '/')
			dir.len--;
		if (location.len == 0 || location.ptr[0] == '?' || location.ptr[0] == '#')
			dir = base->path;
		else if (location.ptr[0] == '/')
			dir = NH_SLICE_EMPTY;
		text = nh_slice_str(nh_arena_printf(arena, "%s://%s%.*s%s:%u%.*s%.*s", scheme, v6 ? "[" : "", NH_ARG(base->host), v6 ? "]" : "",
						    (unsigned)base->port, NH_ARG(dir), NH_ARG(location)));
	}
	NH_TRY_CTX(nh_http_url_parse(text, &parsed, err), err, "Location");
	*out = nh_arena_copy(arena, text);
	return NH_OK;
}
