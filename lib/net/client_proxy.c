/*
 * HTTP proxies by CONNECT (RFC 9110, 9.3.6): which connection goes through one, what is said to it, what its answer means. Everything goes through a tunnel, plain
 * connections too, so that a proxy sees names and never paths. Sans-IO; client_stream.c carries the bytes.
 *
 * The password travels in clear to the proxy, as Basic credentials do; it is never part of a message or a log.
 */
#include <stdio.h>
#include <stdlib.h>

#include "base/arena.h"
#include "base/encode.h"
#include "client_int.h"
#include "crypto/secret.h"

#define ROUTE_MAX ((size_t)2048)

struct nh_proxy {
	struct proxy_route tls, plain; /* host NULL = direct */
	char *bypass;
};

static void route_fini(struct proxy_route *r)
{
	if (r->authorization)
		nh_wipe(r->authorization, strlen(r->authorization));
	free(r->authorization);
	free(r->host);
	*r = (struct proxy_route){0};
}

/* "user:pass" as it stands in a URL. */
static nh_rc put_authorization(struct proxy_route *r, nh_slice user_info, struct nh_err *err)
{
	NH_AUTO_BUF struct nh_buf clear = NH_BUF_INIT, encoded = NH_BUF_INIT;
	nh_rc rc = nh_uri_decode(user_info, false, &clear);
	if (rc == NH_OK && nh_slice_chr(user_info, ':') < 0)
		nh_buf_put_u8(&clear, ':');
	if (rc == NH_OK) {
		nh_b64_put(&encoded, nh_buf_slice(&clear), NH_B64_STD);
		r->authorization = nh_xstrdup(nh_buf_slice(&encoded));
	}
	nh_buf_wipe(&clear);
	nh_buf_wipe(&encoded);
	return rc == NH_OK ? NH_OK : NH_FAIL(err, NH_EINVAL, "proxy: broken %%-escape in the user name or password");
}

/* The whole text is never quoted: it may hold a password. */
static nh_rc parse_route(nh_slice text, struct proxy_route *out, struct nh_err *err)
{
	nh_slice rest = nh_slice_trim(text), user_info = NH_SLICE_EMPTY;
	struct nh_http_url url;
	NH_AUTO_BUF struct nh_buf clean = NH_BUF_INIT;
	if (rest.len > ROUTE_MAX)
		return NH_FAIL(err, NH_EINVAL, "proxy: longer than %zu characters", ROUTE_MAX);
	if (nh_slice_starts(rest, NH_LIT("http://")))
		rest = nh_slice_skip(rest, 7);
	else if (nh_slice_find(rest, NH_LIT("://")) >= 0)
		return NH_FAIL(err, NH_EINVAL, "proxy: http://[USER:PASSWORD@]HOST:PORT is expected; no other kind of proxy is supported");
	size_t at = rest.len; /* behind the last one: passwords are written as they come */
	while (at > 0 && rest.ptr[at - 1] != '@')
		at--;
	if (at > 0) {
		user_info = nh_slice_sub(rest, 0, at - 1);
		rest = nh_slice_skip(rest, at);
	}
	nh_buf_printf(&clean, "http://%.*s", NH_ARG(rest));
	if (nh_http_url_parse(nh_buf_slice(&clean), &url, NULL) != NH_OK || !nh_slice_eq_str(url.path, "/") || url.query.ptr)
		return NH_FAIL(err, NH_EINVAL, "proxy: http://[USER:PASSWORD@]HOST:PORT is expected");
	if (user_info.len > 0)
		NH_TRY(put_authorization(out, user_info, err));
	out->host = nh_xstrdup(url.host);
	out->port = url.port_given ? url.port : 3128;
	return NH_OK;
}

/* ---- environment */

static const char *first_of(const char *const *names)
{
	for (; *names; names++) {
		const char *value = getenv(*names);
		if (value && *value)
			return value;
	}
	return NULL;
}

static nh_rc from_environment(struct nh_proxy *p, nh_slice bypass, struct nh_err *err)
{
	/* HTTP_PROXY in capitals is left out: where a program runs for a web server, a visitor can set it. */
	static const char *const tls_names[] = {"https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY", NULL};
	static const char *const plain_names[] = {"http_proxy", "all_proxy", "ALL_PROXY", NULL};
	static const char *const bypass_names[] = {"no_proxy", "NO_PROXY", NULL};
	const char *tls = first_of(tls_names), *plain = first_of(plain_names);
	if (tls)
		NH_TRY_CTX(parse_route(nh_slice_str(tls), &p->tls, err), err, "environment");
	if (plain)
		NH_TRY_CTX(parse_route(nh_slice_str(plain), &p->plain, err), err, "environment");
	p->bypass = nh_xstrdup(bypass.len ? bypass : nh_slice_str(first_of(bypass_names)));
	return NH_OK;
}

/* ---- public */

nh_rc nh_proxy_new(nh_slice address, nh_slice bypass, struct nh_proxy **out, struct nh_err *err)
{
	struct nh_proxy *p = nh_xcalloc(1, sizeof *p);
	nh_rc rc;
	*out = NULL;
	if (nh_slice_eq_str(address, "environment")) {
		rc = from_environment(p, bypass, err);
	} else {
		p->bypass = nh_xstrdup(bypass);
		rc = parse_route(address, &p->tls, err);
		if (rc == NH_OK)
			rc = parse_route(address, &p->plain, err);
	}
	if (rc != NH_OK) {
		nh_proxy_free(p);
		return rc;
	}
	*out = p;
	return NH_OK;
}

void nh_proxy_free(struct nh_proxy *p)
{
	if (!p)
		return;
	route_fini(&p->tls);
	route_fini(&p->plain);
	free(p->bypass);
	free(p);
}

/* "example.com" and ".example.com" cover the name and what is below it; "*" covers all; an address is compared as text. */
static bool covers(nh_slice rule, nh_slice host)
{
	if (nh_slice_eq_str(rule, "*"))
		return true;
	if (nh_slice_starts(rule, NH_LIT(".")))
		rule = nh_slice_skip(rule, 1);
	if (rule.len == 0 || rule.len > host.len || !nh_slice_ieq(nh_slice_skip(host, host.len - rule.len), rule))
		return false;
	return rule.len == host.len || host.ptr[host.len - rule.len - 1] == '.';
}

const struct proxy_route *proxy_for(const struct nh_proxy *p, const struct nh_http_url *url)
{
	const struct proxy_route *route = !p ? NULL : url->tls ? &p->tls : &p->plain;
	if (!route || !route->host)
		return NULL;
	nh_slice rest = nh_slice_str(p->bypass), rule;
	while (rest.len > 0) {
		nh_slice_cut(rest, ',', &rule, &rest);
		if (covers(nh_slice_trim(rule), url->host))
			return NULL;
	}
	return route;
}

/* ---- CONNECT */

void proxy_put_connect(struct nh_buf *out, const struct proxy_route *route, const char *host, uint16_t port)
{
	bool v6 = strchr(host, ':') != NULL;
	for (int i = 0; i < 2; i++)
		nh_buf_printf(out, "%s%s%s%s:%u%s", i == 0 ? "CONNECT " : "Host: ", v6 ? "[" : "", host, v6 ? "]" : "", port, i == 0 ? " HTTP/1.1\r\n" : "\r\n");
	nh_buf_put_str(out, "User-Agent: nerveshub-link/" NH_VERSION "\r\n");
	if (route->authorization)
		nh_buf_printf(out, "Proxy-Authorization: Basic %s\r\n", route->authorization);
	nh_buf_put_str(out, "\r\n");
}

nh_rc proxy_take(struct proxy_answer *a, nh_slice bytes, struct nh_err *err)
{
	struct nh_http_response_head head;
	struct nh_err why = NH_ERR_INIT;
	a->head.max = PROXY_HEAD_MAX;
	nh_buf_put_slice(&a->head, bytes);
	nh_rc rc = nh_buf_check(&a->head, "answer", &why);
	if (rc == NH_OK)
		rc = nh_http_response_parse(&(struct nh_http_limits){.head_bytes = PROXY_HEAD_MAX}, nh_buf_slice(&a->head), &a->scan, NH_HTTP_GET, &head, &why);
	if (rc == NH_EAGAIN)
		return NH_EAGAIN;
	if (rc != NH_OK)
		return NH_FAIL(err, NH_EIO, "its answer is not HTTP: %s", why.msg);
	if (head.status == 407 || head.status == 401) /* tinyproxy says the latter of a password that is wrong */
		return NH_FAIL(err, NH_EIO, "it wants another user name or password (HTTP %u)", head.status);
	if (head.status < 200 || head.status > 299)
		return NH_FAIL(err, NH_EIO, "it refused with HTTP %u %s", head.status, nh_http_reason(head.status));
	/* Behind the tunnel we speak first: whatever follows is not the server's. Lengths that are announced mean nothing here. */
	if (a->head.len > head.head_len)
		return NH_FAIL(err, NH_EIO, "it said more than an answer");
	return NH_OK;
}
