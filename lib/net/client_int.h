/*
 * Private to the clients: one outgoing byte stream (name → TCP → proxy → TLS), embedded in its owner. [loop]
 *
 * After stream_close no callback runs; the struct itself may be reused at once (redirects). The owner frees its memory with nh_loop_defer, since a
 * callback of the current batch of events may still be on the stack.
 */
#pragma once

#include <sys/socket.h>

#include "base/buf.h"
#include "loop/loop.h"
#include "net/client.h"
#include "net/tls.h"

#define STREAM_ADDRESSES_MAX 8
#define STREAM_READ_BYTES NH_TLS_RECORD_MAX

struct stream_events {
	void (*on_ready)(void *ctx);                                        /* connected, TLS done */
	void (*on_data)(void *ctx, uint8_t *bytes, size_t len);             /* may be changed in place */
	void (*on_end)(void *ctx, nh_rc rc, const struct nh_err *err);      /* once, last; the stream is closed */
	void (*on_handshake)(void *ctx, struct nh_handshake *h);            /* NULL: a key in hardware cannot be used */
};

/* While it runs, session and descriptor are the worker's. */
struct nh_handshake {
	struct stream *stream; /* NULL once that was closed [loop] */
	struct nh_tls_session *session;
	int fd;
	nh_rc rc;
	struct nh_err err;
};

/* ---- client_proxy.c: proxies, without sockets */

#define PROXY_HEAD_MAX ((size_t)8192)

struct proxy_route {
	char *host; /* NULL = direct */
	uint16_t port;
	char *authorization; /* Basic, encoded, or NULL */
};
const struct proxy_route *proxy_for(const struct nh_proxy *p, const struct nh_http_url *url); /* NULL = direct; p NULL legal */
void proxy_put_connect(struct nh_buf *out, const struct proxy_route *route, const char *host, uint16_t port);

struct proxy_answer {
	struct nh_buf head;
	struct nh_http_scan scan;
};
/* NH_OK: the tunnel is there. NH_EAGAIN: more bytes. NH_EIO: it is not; the message goes on after "the proxy HOST: ". */
nh_rc proxy_take(struct proxy_answer *a, nh_slice bytes, struct nh_err *err);

/* ---- */

enum stream_phase { STREAM_CLOSED, STREAM_RESOLVING, STREAM_CONNECTING, STREAM_PROXY, STREAM_HANDSHAKE, STREAM_READY };

/* Needed while connecting only. */
struct stream_dial {
	struct sockaddr_storage addresses[STREAM_ADDRESSES_MAX];
	unsigned lengths[STREAM_ADDRESSES_MAX];
	size_t count, next;
	int last_errno;
	struct nh_buf request;      /* CONNECT, where a proxy is in between: not sent yet */
	struct proxy_answer answer;
};

struct stream {
	struct nh_loop *loop;
	const struct stream_events *events;
	void *ctx;
	struct nh_resolve *resolve;
	struct nh_watch *watch;
	struct nh_timer *deadline; /* of connecting */
	struct nh_tls *tls;        /* reference; NULL = plain */
	struct nh_tls_session *session;
	struct nh_handshake *handshake; /* somebody else's turn; then session is NULL */
	struct stream_dial *dial;
	char *peer;                /* "host port 443", or the proxy in between: for messages */
	char *verify_name;
	struct nh_buf out;
	unsigned generation;       /* counts open and close: callbacks that reopen are noticed */
	int fd;
	enum stream_phase phase;
	bool paused;
};

struct stream_config {
	const struct nh_http_url *url;
	struct nh_tls *tls;           /* a reference is taken; NULL with a secure URL = the system's roots */
	const char *server_name;      /* instead of the URL's host */
	const struct nh_proxy *proxy; /* read during the call only */
	uint64_t timeout_ms;
};
/* Zeroed struct or closed stream. NH_EINVAL, NH_EFORMAT (no roots). */
nh_rc stream_open(struct stream *s, struct nh_loop *loop, const struct stream_config *config, const struct stream_events *events, void *ctx, struct nh_err *err);
void stream_close(struct stream *s); /* legal on a closed or zeroed one */
void stream_write(struct stream *s, nh_slice bytes); /* buffers what the socket does not take */
void stream_pause(struct stream *s, bool paused);
void stream_bye(struct stream *s); /* says goodbye on TLS, best effort */

/* Appends "METHOD path HTTP/1.1" and Host. */
void client_put_request_head(struct nh_buf *out, const struct nh_http_url *url);
nh_rc client_check_headers(const struct nh_client_header *headers, size_t count, struct nh_err *err);
void client_put_headers(struct nh_buf *out, const struct nh_client_header *headers, size_t count);
