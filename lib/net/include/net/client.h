/*
 * HTTP/1.1 download client and WebSocket client on a loop. One request or one socket per object; nothing is pooled or kept alive, since a device makes
 * one download and one connection at a time. No cookies, no authentication, no compression.
 *
 * All functions and callbacks: on the loop's thread. Callbacks never run inside the function that started the object, and no callback runs after
 * the final one (on_done, on_close), in which (or after which) the object may be closed; closing earlier is legal at any time, also inside a callback, and
 * then no further callback runs. Names are resolved off the loop thread.
 */
#pragma once

#include "base/err.h"
#include "base/slice.h"
#include "net/http_parser.h"
#include "net/ws_codec.h"

struct nh_loop;
struct nh_tls; /* net/tls.h: made with nh_tls_client_new; shared by any number of connections, each of which takes a reference */

struct nh_client_header {
	const char *name;
	nh_slice value; /* CR, LF, NUL are refused: NH_EINVAL */
};

/* ---- proxies ---- */

/*
 * HTTP proxies, reached by CONNECT for everything, plain connections too: RFC 9110, 9.3.6. A proxy that refuses (407, 502, ...), says nothing in time or
 * something else than HTTP ends the connection's attempt with NH_EIO or NH_ETIMEOUT and its name in the message.
 */
struct nh_proxy;
/*
 * nh_proxy_new - address: "http://[USER:PASSWORD@]HOST[:PORT]" (port 3128, %-escapes in user and password), or "environment": what https_proxy, HTTPS_PROXY, all_proxy or ALL_PROXY
 * say for TLS, http_proxy, all_proxy or ALL_PROXY for plain connections, read now; none of them: direct. bypass: names of servers to be reached directly, a comma list
 * ("example.com" covers what is below it too, "*" everything); empty with "environment" = no_proxy or NO_PROXY. NH_EINVAL: not such an address; the message never quotes it.
 * thread: any.
 */
nh_rc nh_proxy_new(nh_slice address, nh_slice bypass, struct nh_proxy **out, struct nh_err *err);
void nh_proxy_free(struct nh_proxy *p); /* the password is overwritten. NULL legal */

/* A TLS handshake with a key in hardware, which may block: between a config's `handshake` and nh_handshake_done. */
struct nh_handshake;
/* nh_handshake_run - shakes hands until it is over, or until the client is closed or gives up. On a worker; blocks. */
void nh_handshake_run(struct nh_handshake *h);
/* nh_handshake_done - gives it back: the client goes on, or there is none any more. Needed exactly once for each, run or not; h is gone. [loop] */
void nh_handshake_done(struct nh_handshake *h);

/* ---- HTTP GET ---- */

struct nh_http_get;

struct nh_http_get_config {
	nh_slice url;                /* http or https */
	struct nh_tls *tls;          /* for https; NULL = the system's roots, no client certificate */
	const char *server_name;     /* name to verify (and send) instead of the URL's host; first hop only; NULL = the URL's */
	const struct nh_client_header *headers; /* beside Host, Accept-Encoding: identity, Connection: close */
	size_t header_count;
	const char *user_agent;      /* NULL = "nerveshub-link/VERSION" */
	uint64_t range_first;        /* with range: "Range: bytes=first-" */
	bool range;
	nh_slice if_range;           /* entity tag for If-Range; only with range */
	unsigned max_redirects;      /* 0 = 5. Never from https to http. */
	uint64_t connect_timeout_ms; /* name, TCP, TLS together, for each hop; 0 = 15 000 */
	uint64_t idle_timeout_ms;    /* no byte while not paused; 0 = 60 000 */
	uint64_t max_body_bytes;     /* 0 = no cap */
	const struct nh_proxy *proxy; /* NULL = direct; outlives the request */
	void (*handshake)(void *ctx, struct nh_handshake *h); /* events' ctx. Needed where nh_tls_signs_outside(tls): have it run on a worker */
};

struct nh_http_get_events {
	/* The final response's head (after redirects, no 1xx). Any status. Return other than NH_OK ends the request with that code. */
	nh_rc (*on_head)(void *ctx, const struct nh_http_response_head *head);
	/* A piece of the body, up to 64 KiB. */
	nh_rc (*on_body)(void *ctx, nh_slice bytes);
	/* Exactly once, last. rc NH_OK: the body came whole. NH_ECLOSED: connection lost (resume makes sense). NH_ETIMEOUT. NH_EIO: name or TCP.
	 * NH_EAUTH: the server's certificate. NH_EFORMAT: not HTTP, or a redirect that is not followed. NH_ETOOBIG. Or what a callback returned. */
	void (*on_done)(void *ctx, nh_rc rc, const struct nh_err *err);
	void *ctx;
};

/* nh_http_get_open - starts; the URL, headers and tag are copied. NH_EINVAL: URL or header not acceptable. *out must be closed. */
nh_rc nh_http_get_open(struct nh_loop *loop, const struct nh_http_get_config *config, const struct nh_http_get_events *events, struct nh_http_get **out, struct nh_err *err);
/* Stops reading (the kernel's window closes: back-pressure) and the idle clock. A piece already being delivered may still come first. */
void nh_http_get_pause(struct nh_http_get *g);
void nh_http_get_resume(struct nh_http_get *g);
/* Ends silently and releases the object (memory goes after the loop let go of it). NULL legal. */
void nh_http_get_close(struct nh_http_get *g);

/* ---- WebSocket ---- */

struct nh_ws_client;

struct nh_ws_client_config {
	nh_slice url;                /* ws or wss (http and https are taken as such) */
	struct nh_tls *tls;          /* for wss; NULL = the system's roots, no client certificate */
	const char *server_name;     /* name to verify (and send) instead of the URL's host; NULL = the URL's */
	const struct nh_client_header *headers;
	size_t header_count;
	size_t max_message_bytes;    /* 0 = 1 MiB */
	size_t max_output_bytes;     /* unsent bytes; 0 = 4 MiB */
	uint64_t connect_timeout_ms; /* name, TCP, TLS, upgrade together; 0 = 15 000 */
	uint64_t idle_timeout_ms;    /* no byte received for so long: closed with NH_ETIMEOUT; 0 = never */
	uint64_t ping_interval_ms;   /* a ping after so long without one; 0 = none */
	const struct nh_proxy *proxy; /* NULL = direct; read during open only */
	void (*handshake)(void *ctx, struct nh_handshake *h); /* events' ctx. Needed where nh_tls_signs_outside(tls): have it run on a worker */
};

struct nh_ws_client_closed {
	nh_rc rc;             /* NH_OK: close handshake. NH_EAUTH: server certificate. NH_EPERM: upgrade refused (status). NH_ECLOSED NH_ETIMEOUT NH_EIO NH_EFORMAT NH_ETOOBIG */
	uint16_t code;        /* close code received, or 1006 */
	unsigned status;      /* HTTP status of a refused upgrade, else 0 */
	int64_t date_us;      /* Date header of the response, 0 = none: clock hint for signing */
	uint64_t retry_after_s; /* Retry-After of a refusal, as seconds or as a date; 0 = none. source: RFC 9110, 10.2.3 */
	nh_slice location;    /* Location of a 3xx refusal, absolute, http(s) mapped to ws(s); else empty. Not followed here. */
	nh_slice reason;      /* close reason, or the first 512 bytes of the refusal's body */
	struct nh_err err;    /* for logs */
};

struct nh_ws_client_events {
	void (*on_open)(void *ctx, const struct nh_http_response_head *head);
	void (*on_message)(void *ctx, nh_ws_opcode opcode, nh_slice data);
	void (*on_close)(void *ctx, const struct nh_ws_client_closed *closed); /* exactly once unless nh_ws_client_close came first */
	void *ctx;
};

/* nh_ws_client_open - starts connecting. config's texts are copied; events' ctx is the caller's until close. NH_EINVAL (URL); later failures come by on_close. */
nh_rc nh_ws_client_open(struct nh_loop *loop, const struct nh_ws_client_config *config, const struct nh_ws_client_events *events, struct nh_ws_client **out, struct nh_err *err);
/* Sends one message (copied). NH_ECLOSED before on_open or while closing; NH_ETOOBIG over max_output_bytes: the socket is closed. */
nh_rc nh_ws_client_send(struct nh_ws_client *c, nh_ws_opcode opcode, nh_slice data);
/* Starts the close handshake; on_close follows at the peer's answer or after 5 s. Before on_open: as a refused connect. */
void nh_ws_client_shutdown(struct nh_ws_client *c, uint16_t code, nh_slice reason);
/* Bytes accepted by send and not yet written. */
size_t nh_ws_client_pending(const struct nh_ws_client *c);
/* Stops reading, or goes on: the peer has to wait. What was read already still comes; the idle clock does not stop. */
void nh_ws_client_pause(struct nh_ws_client *c, bool paused);
/* The connection's descriptor, borrowed, for questions to the kernel (getsockname); -1 where there is none. */
int nh_ws_client_descriptor(const struct nh_ws_client *c);
/* Drops the connection without a word and releases the object; no callback. NULL legal. */
void nh_ws_client_close(struct nh_ws_client *c);
