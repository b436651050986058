/* What the server's files share: connections, exchanges, the per-loop shard. Private to lib/net/server*.c. */
#pragma once

#include <sys/socket.h>

#include "loop/loop.h"
#include "loop/pool.h"
#include "net/http_parser.h"
#include "net/server.h"

#define READ_BUFFER ((size_t)65536)
#define HEAD_MAX ((size_t)32768)

/* Each open connection stands in exactly one list, ordered by last activity, so a sweep looks only at what is over time. */
typedef enum conn_class { CLASS_HANDSHAKE, CLASS_HEAD, CLASS_BODY, CLASS_KEEP_ALIVE, CLASS_WEBSOCKET, CLASS_LINGER, CLASS_WORKING, CLASS_COUNT } conn_class;

typedef enum conn_state {
	CONN_HANDSHAKE,  /* TLS */
	CONN_VERIFYING,  /* TLS, a worker looks at the certificate */
	CONN_HEAD,       /* reading a request head (or idle between requests) */
	CONN_BODY,       /* reading a request body */
	CONN_WORKING,    /* a handler or sink runs; not read */
	CONN_RESPONDING, /* writing a response */
	CONN_WEBSOCKET,
	CONN_CLOSING,    /* last bytes are being written */
	CONN_LINGER,     /* all is said; what the peer still sends is thrown away, as a reset would destroy our last words on their way */
	CONN_CLOSED,
} conn_state;

struct shard;
struct exchange;

struct nh_conn {
	struct shard *shard;
	const struct nh_listener *listener;
	struct nh_conn *prev, *next; /* in its class list */
	struct nh_watch *watch;
	struct nh_tls_session *tls;
	struct exchange *exchange;   /* while a request is being handled */
	struct nh_buf in;            /* incomplete rest of what was read */
	struct nh_buf out;           /* not yet written, from out_at */
	size_t out_at;
	uint64_t active_ms;
	uint64_t generation;
	int64_t peer_tag;
	uint32_t slot;
	int fd;
	uint8_t state;
	uint8_t class;
	bool keep_alive;
	bool work_open;              /* a job of this connection is out: memory stays until it is back */
	bool in_handshake_count;
	bool tls_open;               /* the handshake is over: a goodbye makes sense */
	bool close_sent;
	bool broken;                 /* writing failed: closed at the end of the iteration */
	uint16_t close_code;         /* WebSocket: what on_close is told; 0 = nothing was said */
	uint32_t lingered_bytes;
	struct nh_http_scan scan;    /* how far the head in front was looked at */
	/* WebSocket */
	const struct nh_ws_handler *ws;
	void *session;
	struct nh_ws_decoder decoder;
	struct sockaddr_storage *peer; /* freed after the upgrade */
};

/* One listening socket of one shard. */
struct acceptor {
	struct shard *shard;
	const struct nh_listener *listener;
	struct nh_watch *watch;
	int fd;
	uint64_t rate_second;
	uint64_t rate_count;
};

struct parked {
	int fd;
	struct acceptor *acceptor;
	struct sockaddr_storage peer;
	struct parked *next;
};

struct slot {
	struct nh_conn *conn;
	uint64_t generation;
};

/* All that one loop owns. */
struct shard {
	struct nh_server *server;
	struct nh_loop *loop;
	uint32_t index;
	struct acceptor *acceptors;
	struct nh_timer *sweep;
	struct nh_timer *drain_timer;
	struct nh_conn *first[CLASS_COUNT], *last[CLASS_COUNT];
	struct slot *slots;
	uint32_t slot_count;
	uint32_t *free_slots;
	uint32_t free_count;
	uint64_t next_generation;
	struct parked *parked_head, **parked_tail;
	uint64_t date_second;
	char date[40];
	uint64_t drain_until_ms, drain_step;
	uint64_t alive;              /* connections whose memory is not released, jobs of closed ones included */
	uint64_t released;           /* connections and WebSocket jobs, since memory last went back to the kernel */
	uint64_t released_seen;
	struct nh_work trim;
	bool trimming;
	bool starved;                /* accepting rests until the next sweep: no descriptors left */
	bool draining;
	bool full_logged;
	uint8_t *buffer; /* READ_BUFFER bytes, shared by all connections of the loop */
	struct nh_server_stats stats; /* written by this loop, read by others: relaxed atomics */
};

struct nh_server {
	struct nh_server_config config;
	struct nh_listener *listeners; /* copy */
	struct shard *shards;
	unsigned started;
};

#define COUNT(shard, field, n) __atomic_fetch_add(&(shard)->stats.field, (uint64_t)(n), __ATOMIC_RELAXED)
#define UNCOUNT(shard, field, n) __atomic_fetch_sub(&(shard)->stats.field, (uint64_t)(n), __ATOMIC_RELAXED)

/* One request and its response, from the complete head until the response is written. */
struct nh_response {
	struct nh_buf headers; /* lines of the application */
	struct nh_buf body;
	unsigned status;
	const char *type;
	int file;              /* -1: none */
	uint64_t file_at, file_left;
	bool has_file;
	uint64_t file_size;
	struct nh_buf etag;
	bool close;
	const struct nh_ws_handler *upgrade;
	void *session;
};

struct exchange {
	struct nh_conn *conn;
	struct nh_request request;
	struct nh_response response;
	struct nh_arena arena;
	struct nh_http_headers headers;
	struct nh_buf head;     /* the bytes the views point into */
	struct nh_http_body body;
	struct nh_buf body_bytes;
	const struct nh_mount *mount;
	struct nh_http_request_head parsed;
	struct nh_work work;
	void (*run)(struct exchange *ex);  /* the job: on a worker */
	void (*then)(struct exchange *ex); /* afterwards, on the loop */
	struct nh_buf piece;    /* STREAM: bytes for the sink */
	bool sink_open, body_done;
	nh_rc sink_rc;
	char remote[64];
};

/* conn.c */
struct nh_conn *conn_new(struct shard *shard, const struct nh_listener *listener, int fd, const struct sockaddr_storage *peer);
void conn_enter(struct nh_conn *c, conn_state state, conn_class class); /* moves to the end of a class list; refreshes its activity */
void conn_close(struct nh_conn *c);           /* now; deferred memory */
void conn_end(struct nh_conn *c);             /* the output is written: goodbye, then linger until the peer ends too */
void conn_work_back(struct nh_conn *c);       /* a job came back to a closed connection: its memory may go */
void conn_rewatch(struct nh_conn *c);         /* sets the descriptor's events from the state */
nh_rc conn_write(struct nh_conn *c, nh_slice bytes); /* tries at once, keeps the rest; NH_ECLOSED: broken, nothing is freed before the iteration ends */
nh_rc conn_flush(struct nh_conn *c);          /* NH_OK: all written; NH_EAGAIN; NH_ECLOSED (closed) */
void conn_input(struct nh_conn *c, nh_slice fresh); /* fresh bytes behind c->in: goes on with the state */
void conn_resume(struct nh_conn *c);          /* what waits in c->in, then the socket */
static inline bool conn_has_output(const struct nh_conn *c) { return c->out.len > c->out_at; }
nh_rc conn_raw_write(struct nh_conn *c, nh_slice bytes, size_t *put);
int conn_fd(const struct nh_conn *c);
nh_rc conn_break(struct nh_conn *c); /* closed at the end of the iteration, whatever is on the stack now; NH_ECLOSED */

/* exchange.c */
void exchange_head(struct nh_conn *c, nh_slice bytes, size_t *used); /* bytes may hold a head; *used of them were consumed */
void exchange_body(struct nh_conn *c, nh_slice bytes, size_t *used);
void exchange_free(struct exchange *ex);
void exchange_gone(struct exchange *ex); /* the connection closed before the exchange ended */
void exchange_finished(struct nh_conn *c); /* the response is written: next request or close */
void exchange_fault(struct nh_conn *c, struct exchange *ex, unsigned status, const char *text);
void exchange_submit(struct exchange *ex, void (*run)(struct exchange *), void (*then)(struct exchange *));

/* respond.c */
void respond(struct exchange *ex);             /* writes the head, then body, file or upgrade */
void respond_more(struct nh_conn *c);          /* the socket takes more of a file */
void response_init(struct nh_response *res);
void response_fini(struct nh_response *res);

/* server.c */
void shard_unpark(struct shard *shard); /* a handshake ended: the next may begin */

/* ws_conn.c */
void ws_start(struct nh_conn *c, const struct nh_ws_handler *handler, void *session);
void ws_input(struct nh_conn *c, uint8_t *bytes, size_t len);
void ws_gone(struct nh_conn *c); /* on_close for a closing connection */

/* route.c: NH_OK; NH_ENOTFOUND; NH_EPERM: other methods only, *allow filled; NH_EFORMAT: path broken. */
nh_rc route_find(const struct nh_listener *listener, const struct nh_http_request_head *head, struct exchange *ex, struct nh_buf *allow);
