/*
 * HTTP GET: request, redirects, head, streamed body. Resuming, retrying and checking what came are the caller's.
 */
#include <stdlib.h>

#include "base/arena.h"
#include "client_int.h"

#define HEAD_MAX 32768

struct nh_http_get {
	struct nh_loop *loop;
	struct nh_http_get_events events;
	struct stream stream;
	struct nh_timer *idle;
	struct nh_tls *tls;
	const struct nh_proxy *proxy;
	void (*handshake)(void *ctx, struct nh_handshake *h);
	struct nh_arena arena;      /* URLs: the first and those of redirects */
	struct nh_http_url url;
	char *server_name;
	struct nh_buf extra;        /* header lines, ready to send */
	struct nh_buf head;         /* bytes of the response head so far */
	struct nh_http_scan scan;
	struct nh_http_body body;
	uint64_t connect_timeout_ms, idle_timeout_ms, max_body_bytes;
	unsigned redirects, max_redirects;
	bool in_body, paused, done, closed;
};

static const struct stream_events stream_events, handing_events;

static void finish(struct nh_http_get *g, nh_rc rc, const struct nh_err *err)
{
	static const struct nh_err none = NH_ERR_INIT;
	if (g->done || g->closed)
		return;
	g->done = true;
	stream_close(&g->stream);
	nh_timer_stop(g->idle);
	g->events.on_done(g->events.ctx, rc, err ? err : &none);
}

static void on_idle(void *arg)
{
	struct nh_http_get *g = arg;
	struct nh_err err = NH_ERR_INIT;
	nh_rc rc = NH_FAIL(&err, NH_ETIMEOUT, "%.*s: no data for %llu s", NH_ARG(g->url.host), (unsigned long long)(g->idle_timeout_ms / 1000));
	finish(g, rc, &err);
}

static nh_rc start(struct nh_http_get *g, struct nh_err *err)
{
	nh_buf_fini(&g->head);
	g->head.max = HEAD_MAX;
	g->scan = (struct nh_http_scan){0};
	const struct stream_config config = {
		.url = &g->url,
		.tls = g->tls,
		.server_name = g->redirects == 0 ? g->server_name : NULL, /* the configured name belongs to the configured host: a redirect leads to another one */
		.proxy = g->proxy,
		.timeout_ms = g->connect_timeout_ms,
	};
	return stream_open(&g->stream, g->loop, &config, g->handshake ? &handing_events : &stream_events, g, err);
}

static void on_ready(void *ctx)
{
	struct nh_http_get *g = ctx;
	NH_AUTO_BUF struct nh_buf request = NH_BUF_INIT;
	client_put_request_head(&request, &g->url);
	nh_buf_put_slice(&request, nh_buf_slice(&g->extra));
	nh_buf_put_str(&request, "Accept-Encoding: identity\r\nConnection: close\r\n\r\n");
	if (g->paused)
		stream_pause(&g->stream, true);
	else
		nh_timer_start(g->idle, g->idle_timeout_ms, 0);
	stream_write(&g->stream, nh_buf_slice(&request));
}

static bool is_redirect(const struct nh_http_response_head *head)
{
	unsigned s = head->status;
	return (s == 301 || s == 302 || s == 303 || s == 307 || s == 308) && nh_http_header_get(&head->headers, "location").len > 0;
}

static nh_rc follow(struct nh_http_get *g, const struct nh_http_response_head *head, struct nh_err *err)
{
	bool was_tls = g->url.tls;
	nh_slice text;
	if (g->redirects++ >= g->max_redirects)
		return NH_FAIL(err, NH_EFORMAT, "more than %u redirects", g->max_redirects);
	NH_TRY(nh_http_url_resolve(&g->url, nh_http_header_get(&head->headers, "location"), &g->arena, &text, err));
	NH_TRY(nh_http_url_parse(text, &g->url, err));
	if (g->url.websocket || (was_tls && !g->url.tls))
		return NH_FAIL(err, NH_EFORMAT, "redirect from https to an insecure address is not followed");
	stream_close(&g->stream);
	nh_timer_stop(g->idle);
	return start(g, err);
}

/* Body bytes: hands out pieces until they are used up, the body ends, or the owner closes. */
static void take_body(struct nh_http_get *g, nh_slice in)
{
	struct nh_err err = NH_ERR_INIT;
	bool complete = false;
	do {
		size_t consumed;
		nh_slice data;
		nh_rc rc = nh_http_body_feed(&g->body, in, &consumed, &data, &complete, &err);
		if (rc == NH_OK && data.len > 0 && g->events.on_body)
			rc = g->events.on_body(g->events.ctx, data);
		if (g->closed || g->done)
			return;
		if (rc != NH_OK) {
			finish(g, rc, &err);
			return;
		}
		in = nh_slice_skip(in, consumed);
	} while (in.len > 0 && !complete);
	if (complete)
		finish(g, NH_OK, NULL);
}

/* A complete head that is not a redirect. `rest` is what follows it. */
static void take_head(struct nh_http_get *g, const struct nh_http_response_head *head, nh_slice rest)
{
	g->in_body = true;
	nh_http_body_init(&g->body, head->framing, head->content_length, g->max_body_bytes);
	nh_rc rc = g->events.on_head ? g->events.on_head(g->events.ctx, head) : NH_OK;
	if (g->closed || g->done)
		return;
	if (rc != NH_OK)
		finish(g, rc, NULL);
	else
		take_body(g, rest);
}

static void on_head_bytes(struct nh_http_get *g, nh_slice bytes)
{
	struct nh_err err = NH_ERR_INIT;
	nh_buf_put_slice(&g->head, bytes);
	nh_rc rc = nh_buf_check(&g->head, "response head", &err);
	while (rc == NH_OK) {
		struct nh_http_response_head head;
		rc = nh_http_response_parse(&(struct nh_http_limits){.head_bytes = HEAD_MAX}, nh_buf_slice(&g->head), &g->scan, NH_HTTP_GET, &head, &err);
		if (rc == NH_OK && head.status < 200) {
			nh_buf_consume(&g->head, head.head_len);
			g->scan = (struct nh_http_scan){0};
			continue;
		}
		if (rc == NH_OK && is_redirect(&head)) {
			rc = follow(g, &head, &err);
			if (rc == NH_OK)
				return;
		} else if (rc == NH_OK) {
			/* The views live in g->head, which on_body does not need any more but a callback may close g: keep it here. */
			NH_AUTO_BUF struct nh_buf keep = nh_steal_buf(&g->head);
			take_head(g, &head, nh_slice_skip(nh_buf_slice(&keep), head.head_len));
			return;
		}
	}
	if (rc != NH_EAGAIN)
		finish(g, rc == NH_EUNSUPPORTED ? NH_EFORMAT : rc, &err);
}

static void on_data(void *ctx, uint8_t *bytes, size_t len)
{
	struct nh_http_get *g = ctx;
	if (!g->paused)
		nh_timer_start(g->idle, g->idle_timeout_ms, 0);
	if (g->in_body)
		take_body(g, nh_slice_of(bytes, len));
	else
		on_head_bytes(g, nh_slice_of(bytes, len));
}

static void on_end(void *ctx, nh_rc rc, const struct nh_err *err)
{
	struct nh_http_get *g = ctx;
	if (g->in_body && rc == NH_ECLOSED && nh_http_body_eof(&g->body) == NH_OK)
		finish(g, NH_OK, NULL);
	else
		/* After the handshake a broken TLS stream is a lost connection as any other. */
		finish(g, g->in_body && rc == NH_EFORMAT ? NH_ECLOSED : rc, err);
}

static void on_handshake(void *ctx, struct nh_handshake *h)
{
	struct nh_http_get *g = ctx;
	g->handshake(g->events.ctx, h);
}

static const struct stream_events stream_events = {on_ready, on_data, on_end};
static const struct stream_events handing_events = {on_ready, on_data, on_end, on_handshake}; /* with a key in hardware */

nh_rc nh_http_get_open(struct nh_loop *loop, const struct nh_http_get_config *config, const struct nh_http_get_events *events, struct nh_http_get **out, struct nh_err *err)
{
	const struct nh_client_header if_range = {"If-Range", config->if_range}, agent = {"User-Agent", nh_slice_str(config->user_agent ? config->user_agent : "nerveshub-link/" NH_VERSION)};
	*out = NULL;
	NH_TRY(client_check_headers(config->headers, config->header_count, err));
	NH_TRY(client_check_headers(&if_range, 1, err));
	NH_TRY(client_check_headers(&agent, 1, err));
	struct nh_http_get *g = nh_xcalloc(1, sizeof *g);
	nh_rc rc = nh_http_url_parse(nh_arena_copy(&g->arena, config->url), &g->url, err);
	if (rc == NH_OK && g->url.websocket)
		rc = NH_FAIL(err, NH_EINVAL, "a download needs an http or https URL");
	g->loop = loop;
	g->events = *events;
	g->tls = config->tls ? nh_tls_ref(config->tls) : NULL;
	g->proxy = config->proxy;
	g->handshake = config->handshake;
	g->server_name = config->server_name ? nh_xstrdup(nh_slice_str(config->server_name)) : NULL;
	g->max_redirects = config->max_redirects ? config->max_redirects : 5;
	g->connect_timeout_ms = config->connect_timeout_ms ? config->connect_timeout_ms : 15000;
	g->idle_timeout_ms = config->idle_timeout_ms ? config->idle_timeout_ms : 60000;
	g->max_body_bytes = config->max_body_bytes;
	client_put_headers(&g->extra, &agent, 1);
	client_put_headers(&g->extra, config->headers, config->header_count);
	if (config->range)
		nh_buf_printf(&g->extra, "Range: bytes=%llu-\r\n", (unsigned long long)config->range_first);
	if (config->range && config->if_range.len)
		client_put_headers(&g->extra, &if_range, 1);
	g->idle = nh_timer_new(loop, on_idle, g);
	if (rc == NH_OK)
		rc = start(g, err);
	if (rc != NH_OK) {
		nh_http_get_close(g);
		return rc == NH_EFORMAT ? NH_EINVAL : rc;
	}
	*out = g;
	return NH_OK;
}

void nh_http_get_pause(struct nh_http_get *g)
{
	g->paused = true;
	stream_pause(&g->stream, true);
	nh_timer_stop(g->idle);
}

void nh_http_get_resume(struct nh_http_get *g)
{
	g->paused = false;
	stream_pause(&g->stream, false);
	if (g->stream.phase == STREAM_READY)
		nh_timer_start(g->idle, g->idle_timeout_ms, 0);
}

static void get_free(void *arg)
{
	struct nh_http_get *g = arg;
	nh_buf_fini(&g->extra);
	nh_buf_fini(&g->head);
	nh_arena_fini(&g->arena);
	nh_tls_unref(g->tls);
	free(g->server_name);
	free(g);
}

void nh_http_get_close(struct nh_http_get *g)
{
	if (!g)
		return;
	g->closed = true;
	stream_close(&g->stream);
	nh_timer_close(g->idle);
	nh_loop_defer(g->loop, get_free, g);
}
