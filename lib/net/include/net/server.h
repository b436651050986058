/*
 * The server: listeners, connections, routes, WebSockets, on several loops. Applications give route tables and handlers; everything that is HTTP,
 * TLS or a socket stays in here.
 *
 * Threads: a connection lives on one loop. Handlers run on a worker unless their route says loop; a handler gets a request, fills a response, and returns:
 * no callbacks. WebSocket callbacks run on the connection's loop and must not block; nh_conn_work takes what blocks to a worker, one job at a time
 * for each connection, while the connection is not read.
 *
 * A handler that must wait for somebody else takes its response away and gives the answer when it has one (nh_response_later): no worker and no loop waits meanwhile.
 *
 * source: design/connection-layer "Shape", design/architecture "3", "7"; RFC 9110, 9112, 6455
 */
#pragma once

#include "base/arena.h"
#include "base/buf.h"
#include "base/histogram.h"
#include "loop/pool.h"
#include "net/http_message.h"
#include "net/tls.h"
#include "net/ws_codec.h"

struct nh_server;
struct nh_conn;
struct nh_response;
struct nh_later;

/* ---- requests ---------------------------------------------------------------------------------------------------------- */

#define NH_PARAMS_MAX 8

#define NH_REQUEST_ID_MIN 20
#define NH_REQUEST_ID_MAX 200

struct nh_request {
	const struct nh_route *route;   /* NULL for faults before a route was found */
	nh_http_method method;          /* as sent: HEAD stays HEAD */
	nh_slice path, query;           /* raw; query without '?' */
	nh_slice host;
	const struct nh_http_headers *headers;
	nh_slice params[NH_PARAMS_MAX]; /* decoded path segments in the order of the template's ':names' and '*rest' */
	size_t param_count;
	nh_slice body;                  /* NH_BODY_BUFFER: whole */
	void *stream;                   /* NH_BODY_STREAM: what begin made; the handler takes it */
	nh_rc stream_rc;                /* NH_BODY_STREAM: NH_OK, or what data returned: then the body did not come whole */
	struct nh_arena *arena;         /* dies with the response */
	void *app;                      /* the mount's */
	void *worker;                   /* the worker's context; NULL on the loop */
	bool tls;
	const uint8_t *fingerprint;     /* SHA-256 of the client certificate, or NULL */
	int64_t peer_tag;               /* what verify left, 0 if nothing */
	nh_slice remote;                /* the peer's address as text */
	nh_slice id;                    /* names the request in logs and in the answer's X-Request-Id: what the client called it where that has NH_REQUEST_ID_MIN to _MAX bytes, else chance */
};

/* nh_request_param - by name in the template; empty where there is none. */
nh_slice nh_request_param(const struct nh_request *req, const char *name);
nh_slice nh_request_header(const struct nh_request *req, const char *name);
/*
 * nh_request_reroute - for a handler that finds that the request means another method than it was sent with: the row of the table that serves the request's path with that method becomes the
 * request's route, and its parameters those of that row. The handler then calls it. false: there is none, and nothing was changed. On the thread of the handler.
 */
bool nh_request_reroute(struct nh_request *req, const struct nh_route *routes, nh_http_method method);

/* ---- responses --------------------------------------------------------------------------------------------------------- */

/* Values with CR, LF or NUL are dropped. Content-Length, Date, Connection and the range headers are the server's. */
void nh_response_header(struct nh_response *res, const char *name, nh_slice value);
/* nh_response_send - status, type and body (copied); type NULL = no Content-Type. Calling again replaces status and body; headers stay. */
void nh_response_send(struct nh_response *res, unsigned status, const char *type, nh_slice body);
unsigned nh_response_status(const struct nh_response *res); /* 0 = nothing sent yet: answered with 500 */
/*
 * nh_response_file - a regular file, or its part. The server does HEAD, Range, If-Range, If-None-Match and closes the descriptor. take_fd is taken;
 * a failed open (-1) becomes a 500.
 * etag: unquoted, or empty. Status is 200, 206, 304 or 416. source: reference/device-protocol "13.2"
 */
void nh_response_file(struct nh_response *res, int take_fd, uint64_t size_bytes, const char *type, nh_slice etag);

/*
 * nh_response_later - the handler has no answer yet: it keeps what is returned, and returns itself. Headers that it sets on res stay. The connection is not used for anything else
 * until the answer: what the peer sends meanwhile waits (a few KiB are read ahead, so that its end is seen). A peer that ends its side of the connection before the answer counts as gone.
 * NULL: config.max_later are out on this loop; the handler answers by itself (503). Once a request; from its handler only (also from at_once).
 */
struct nh_later *nh_response_later(struct nh_response *res);
/*
 * nh_later_send - the answer: as nh_response_send; type must be a constant. Exactly once for each later, also where nobody wants it any more: a connection that has gone, or was closed
 * at the end of a drain, is no concern of the caller's. take_later is taken. Any thread, also before the handler has returned; not after nh_server_free began.
 */
void nh_later_send(struct nh_later *take_later, unsigned status, const char *type, nh_slice body);

struct nh_ws_handler {
	size_t max_message_bytes;
	uint64_t idle_ms;               /* nothing received for so long: closed with 1002; 0 = 180 000 */
	/* [loop] session is the one given to nh_response_upgrade. */
	void (*on_open)(struct nh_conn *conn, void *session);
	void (*on_message)(struct nh_conn *conn, void *session, nh_ws_opcode opcode, nh_slice data);
	void (*on_drained)(struct nh_conn *conn, void *session); /* may be NULL: what had waited for the socket (nh_ws_unsent) is sent. Also while a job is out. */
	void (*on_close)(struct nh_conn *conn, void *session, uint16_t code); /* exactly once, never while a job of the connection is out; the session is the handler's to free. No send in here. */
};
/*
 * nh_response_upgrade - becomes a WebSocket once the 101 is written. take_session is taken: on_close always runs for it, also where the peer went away
 * before on_open. A request that is no proper upgrade is answered with 400 or 426 and the session goes through on_close at once (conn NULL).
 */
void nh_response_upgrade(struct nh_response *res, const struct nh_ws_handler *handler, void *take_session);

/* ---- routes ------------------------------------------------------------------------------------------------------------ */

typedef enum nh_where { NH_ON_WORKER, NH_ON_LOOP } nh_where;
typedef enum nh_body_mode { NH_BODY_BUFFER, NH_BODY_STREAM } nh_body_mode;

/* A streamed request body: each call is a job on a worker, one in flight, and the socket is not read meanwhile. */
struct nh_body_sink {
	/* Looks at the head; NH_OK with *stream, or fills the response and returns another code: the body is not read and the connection ends. */
	nh_rc (*begin)(struct nh_request *req, struct nh_response *res, void **stream);
	nh_rc (*data)(void *worker, void *stream, nh_slice bytes); /* another code than NH_OK: no more is read; the handler runs with stream_rc */
	void (*abort)(void *worker, void *stream);                 /* the peer went away: release it */
};

#define NH_BODY_DEFAULT_MAX ((size_t)65536)

struct nh_route {
	nh_http_method method; /* GET serves HEAD too */
	const char *path;      /* "/api/orgs/:org/keys/:name", "/files/" "*rest"; NULL ends the table */
	void (*handle)(struct nh_request *req, struct nh_response *res);
	/*
	 * [loop] May be NULL. Asked before handle: true: the response is filled, from memory and without waiting; false: nothing was done, handle decides. request->remote is
	 * not known here.
	 */
	bool (*at_once)(struct nh_request *req, struct nh_response *res);
	nh_where where;
	nh_body_mode body;
	uint64_t body_max;     /* bytes; 0 = NH_BODY_DEFAULT_MAX */
	const struct nh_body_sink *sink;
	const char *summary;   /* one line for documentation */
	const void *extra;     /* the application's */
};

/* Routes of one application on a listener; tables are looked through in order. */
struct nh_mount {
	const struct nh_route *routes; /* NULL ends the list */
	void *app;
	/* How this application words a fault that the server found (404, 405, 413, …); NULL = plain text. Runs on the loop. */
	void (*fault)(struct nh_request *req, struct nh_response *res, unsigned status, const char *text);
};

/* ---- listeners and server ---------------------------------------------------------------------------------------------- */

struct nh_listener {
	const char *name;               /* for logs and metrics: "device" */
	const char *address;            /* literal address */
	uint16_t port;                  /* 0 = the kernel chooses; replaced by the real one */
	struct nh_tls *tls;             /* NULL = plain; borrowed until the server is freed. Made with nh_server_verify and the server as ctx where clients may have certificates. */
	const struct nh_mount *mounts;
	/* [loop] What a client certificate is worth, from memory. *tag ends in nh_request.peer_tag. NULL: all accepted. */
	nh_tls_verdict (*verify)(void *app, nh_slice der, const uint8_t fingerprint[NH_TLS_FINGERPRINT_LEN], int64_t *tag);
	/* [worker] Asked after PENDING; ACCEPT or REFUSE. */
	nh_tls_verdict (*verify_slow)(void *worker, void *app, nh_slice der, const uint8_t fingerprint[NH_TLS_FINGERPRINT_LEN], int64_t *tag);
	void *verify_app;
	size_t reserve;                 /* places of a loop that only this listener may take, beyond max_connections: for those who look at a server that is full. At most 32 in all. */
	uint64_t connect_rate;          /* connections a second and loop, on top of what the handshakes' cost allows; the excess is reset at once; 0 = no limit */
};

/* The verify function to put into nh_tls_server_config for a listener's credentials. */
nh_tls_verdict nh_server_verify(void *conn, struct nh_tls_session *session, nh_slice leaf_der, const uint8_t fingerprint[NH_TLS_FINGERPRINT_LEN]);

/* Zeros mean defaults. */
struct nh_server_config {
	unsigned loops;               /* 1 */
	struct nh_pool *pool;         /* needed */
	struct nh_listener *listeners;
	size_t listener_count;
	size_t max_connections;       /* a loop's, those that have not begun and open response files included; 0 = from the descriptor limit */
	unsigned max_handshakes;      /* a loop's, for which it has work; 96. Further connections wait unread, in order of arrival. */
	unsigned max_stalled;         /* a loop's handshakes that wait for their peer; 2048 of about 30 KiB each */
	size_t max_queued;            /* a loop's connections that wait for a handshake; 0 = what it can finish in 3/4 of handshake_ms, measured */
	uint64_t handshake_ms;        /* 20 000 */
	uint64_t head_ms;             /* whole request head; 20 000 */
	uint64_t body_ms;             /* a body or response that moved less than body_rate allows in such a window ends; 60 000 */
	uint64_t body_rate;           /* bytes a second, averaged over body_ms, the server's own time not counted; 1000 */
	uint64_t keep_alive_ms;       /* 60 000 */
	size_t output_max;            /* unsent bytes of a WebSocket; 4 MiB */
	uint64_t max_later;           /* a loop's answers that are still to come, those included whose peer has gone; 1024 */
};

/* nh_server_open - binds everything; nobody is served before nh_server_start. NH_ECONFLICT: port in use; NH_EPERM; NH_EINVAL: address; NH_EIO. Messages name address and port. */
nh_rc nh_server_open(const struct nh_server_config *config, struct nh_server **out, struct nh_err *err);
nh_rc nh_server_start(struct nh_server *server, struct nh_err *err); /* starts the loops. NH_EIO */
struct nh_loop *nh_server_loop(struct nh_server *server, unsigned i); /* i < loops */
/*
 * nh_server_drain - stops accepting, finishes requests (answers that come later included), closes WebSockets with 1012 spread over three quarters of drain_ms, then what is left hard.
 * Returns when no connection is left and the pool has nothing more to do; blocks, so from main. Then the pool may be freed, then the server.
 */
void nh_server_drain(struct nh_server *server, uint64_t drain_ms);
void nh_server_free(struct nh_server *server); /* after drain: stops and frees the loops. NULL legal */

/* All of one type: added up over the loops. */
typedef enum nh_request_class { NH_REQUEST_ANSWER, NH_REQUEST_TRANSFER, NH_REQUEST_CLASSES } nh_request_class; /* transfer: a file goes in or out */

struct nh_server_stats {
	uint64_t connections, handshaking, parked, websockets;       /* now; parked: wait for a handshake */
	uint64_t silent, stalled;                                    /* now: accepted without a byte; handshakes that wait for their peer */
	uint64_t later;                                              /* now: answers that handlers still owe */
	uint64_t queue_max;                                          /* now: how many may wait for a handshake, as measured */
	uint64_t accepted, refused, handshakes, handshake_failures, requests, messages_in, messages_out, bytes_in, bytes_out; /* since start */
	uint64_t refused_rate, refused_capacity, refused_full;       /* parts of refused: over connect_rate; over queue_max; no place left */
	uint64_t abandoned;                                          /* closed by their peer before anything began */
	uint64_t silent_evicted, silent_expired;                     /* never said a byte: closed for a newer one; closed after their time */
	uint64_t stalled_ended;                                      /* handshakes whose peer did not go on */
	uint64_t slow_ended;                                         /* bodies and responses below body_rate */
	uint64_t unread_ended;                                       /* WebSockets whose peer left output_max unread */
	uint64_t accept_pauses;                                      /* times accepting rested for want of descriptors */
	uint64_t responses[5];                                       /* by the first digit of their status, 1xx to 5xx; those of upgrades are no responses */
	struct nh_histogram request_us[NH_REQUEST_CLASSES];          /* from the complete head until the answer begins */
	uint64_t handshake_cost_ns;                                  /* running mean of the CPU time of a handshake; 0 = none yet */
};
void nh_server_stats(const struct nh_server *server, struct nh_server_stats *out); /* any thread */

/* ---- connections ------------------------------------------------------------------------------------------------------- */

/* Names a connection from any thread; a number is never used twice by a loop. */
struct nh_conn_id {
	uint32_t loop;
	uint32_t slot;
	uint64_t generation; /* 0 = nobody */
};

/* [loop] What other threads may keep of a connection and post to; it finds nobody once the connection has gone. */
struct nh_conn_id nh_conn_id_of(const struct nh_conn *conn);
/* nh_server_post - runs fn on the connection's loop; conn is NULL where it is gone. NH_EAGAIN: mailbox full, fn does not run. Any thread. */
nh_rc nh_server_post(struct nh_server *server, struct nh_conn_id id, void (*fn)(struct nh_conn *conn, void *arg), void *arg);

/*
 * The form of nh_server_post that cannot fail and does not allocate: for what must arrive (a push that is already written in the database). The caller
 * embeds the message in what it carries and bounds their number by what it takes to make one.
 */
struct nh_conn_message {
	void (*fn)(struct nh_conn *conn, struct nh_conn_message *message); /* [loop] exactly once; conn NULL where it is gone. May free the message, or send it again. */
	/* the server's */
	struct nh_server *server;
	struct nh_conn_id id;
	struct nh_message message;
};
/*
 * nh_server_send - message: fn is set, the rest is filled in here; it belongs to the server until fn runs. In order with nh_server_post of the same thread
 * to the same loop. id: of nh_conn_id_of; generation 0 finds nobody. Any thread, until nh_server_free: what is still under way then runs inside it, with conn NULL.
 */
void nh_server_send(struct nh_server *server, struct nh_conn_id id, struct nh_conn_message *message);

/* [loop] WebSocket only. */
void nh_ws_send(struct nh_conn *conn, nh_ws_opcode opcode, nh_slice data);
/*
 * A message framed once for many connections: each writes the same bytes, and where its socket is full it keeps a reference, not a copy. new gives one
 * reference (data is copied), ref and unref are for any thread; unref of NULL is legal.
 */
struct nh_ws_frame;
struct nh_ws_frame *nh_ws_frame_new(nh_ws_opcode opcode, nh_slice data);
struct nh_ws_frame *nh_ws_frame_ref(struct nh_ws_frame *frame);
void nh_ws_frame_unref(struct nh_ws_frame *frame);
void nh_ws_send_frame(struct nh_conn *conn, struct nh_ws_frame *frame); /* the caller keeps its reference */
size_t nh_ws_unsent(const struct nh_conn *conn); /* bytes that wait because the peer does not read; 0 most of the time */
void nh_ws_close(struct nh_conn *conn, uint16_t code, nh_slice reason);
/* [loop] nh_conn_work - run on a worker, then done on the loop; done's conn is NULL where it is gone (on_close follows). Until then nothing more is delivered. One at a time (asserted). */
void nh_conn_work(struct nh_conn *conn, void (*run)(void *worker, void *arg), void (*done)(struct nh_conn *conn, void *arg), void *arg);
/* [loop] nh_conn_rest - nothing is delivered for so long, then done runs on the loop as nh_conn_work's does: a peer that says too much waits. No job may be out, and none be given while it rests (asserted). */
void nh_conn_rest(struct nh_conn *conn, uint64_t ms, void (*done)(struct nh_conn *conn, void *arg), void *arg);
/* [loop] nh_conn_remote - the peer's address as text, in the arena; empty where it is not known. One system call. */
nh_slice nh_conn_remote(const struct nh_conn *conn, struct nh_arena *arena);
struct nh_loop *nh_conn_loop(const struct nh_conn *conn);
void *nh_conn_session(const struct nh_conn *conn); /* the one given to nh_response_upgrade, NULL where it is no WebSocket */
