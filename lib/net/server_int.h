/* What the server's files share: connections, exchanges, the per-loop shard. Private to lib/net/server*.c. */
#pragma once

#include <sys/socket.h>

#include "loop/loop.h"
#include "loop/pool.h"
#include "net/http_parser.h"
#include "net/server.h"

#define READ_BUFFER ((size_t)65536)
#define HEAD_MAX ((size_t)32768)

#define IDLE_TIMES 8 /* different idle_ms of WebSocket handlers on one server */

/* Each open connection stands in exactly one list, ordered by the time its clock began, so a sweep looks only at what is over time. */
typedef enum conn_class {
	CLASS_HANDSHAKE, /* holds a slot; ordered by begin */
	CLASS_STALLED,   /* a handshake that waits for its peer and gave its slot back; ordered by begin */
	CLASS_VERIFYING, /* a handshake that waits for us */
	CLASS_HEAD,
	CLASS_BODY,      /* ordered by the begin of the window in which bytes are counted */
	CLASS_KEEP_ALIVE,
	CLASS_LINGER,
	CLASS_WORKING,   /* never over time */
	CLASS_WEBSOCKET, /* and those behind it: one for each idle time */
	CLASS_COUNT = CLASS_WEBSOCKET + IDLE_TIMES,
} conn_class;

typedef enum conn_state {
	CONN_HANDSHAKE,  /* TLS */
	CONN_VERIFYING,  /* TLS, a worker looks at the certificate */
	CONN_HEAD,       /* reading a request head (or idle between requests) */
	CONN_BODY,       /* reading a request body */
	CONN_WORKING,    /* a handler or sink runs; not read */
	CONN_LATER,      /* a handler took the response away; read ahead, so that the peer's end is seen */
	CONN_RESPONDING, /* writing a response */
	CONN_WEBSOCKET,
	CONN_CLOSING,    /* last bytes are being written */
	CONN_LINGER,     /* all is said; what the peer still sends is thrown away, as a reset would destroy our last words on their way */
	CONN_CLOSED,
} conn_state;

struct shard;
struct exchange;
struct out_piece;

struct nh_conn {
	struct shard *shard;
	const struct nh_listener *listener;
	struct nh_conn *prev, *next; /* in its class list */
	struct nh_watch *watch;
	struct nh_tls_session *tls;
	struct exchange *exchange;   /* while a request is being handled */
	struct nh_buf in;            /* incomplete rest of what was read */
	struct out_piece *out, *out_last; /* not yet written; NULL while the socket takes everything */
	size_t out_bytes;            /* of them, and what keeping them costs */
	uint64_t active_ms;
	uint64_t generation;
	int64_t peer_tag;
	uint32_t slot;
	int fd;
	uint8_t state;
	uint8_t class;
	bool keep_alive;
	bool work_open;              /* a job of this connection is out: memory stays until it is back */
	uint8_t admitted;            /* enum admitted: what the handshake is counted as */
	bool resting;                /* a job is out and the peer said more: not watched for reading until it is back */
	bool measured;               /* its handshake's CPU time is taken */
	bool tls_open;               /* the handshake is over: a goodbye makes sense */
	bool close_sent;
	bool broken;                 /* writing failed: closed at the end of the iteration */
	uint16_t close_code;         /* WebSocket: what on_close is told; 0 = nothing was said */
	uint32_t handshake_ns;       /* CPU time of the handshake until now */
	uint32_t lingered_bytes;
	struct nh_http_scan scan;    /* how far the head in front was looked at */
	/* WebSocket */
	const struct nh_ws_handler *ws;
	union {
		void *session;       /* valid where ws is set */
		uint64_t begun_ms;   /* when the handshake began */
	};
	struct nh_ws_decoder decoder;
	struct sockaddr_storage *peer; /* see conn_peer; freed after the upgrade */
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

/* A connection before it is one: no TLS, no buffers, nothing but a watched descriptor. Admission owns it. */
struct arrival {
	struct arrival *prev, *next;
	struct arrival_list *in;
	struct acceptor *acceptor;
	struct nh_watch *watch;
	uint64_t since_ms;
	uint64_t number;              /* in order of arrival over all lists */
	int fd;
};

struct arrival_list {
	struct arrival *first, *last; /* in order of arrival */
	uint64_t *count;              /* the counter in the statistics */
};

/* Something that happens to very many at once is logged when it begins and when it is over. */
typedef enum episode_kind { EPISODE_RATE, EPISODE_CAPACITY, EPISODE_FULL, EPISODE_SILENT, EPISODE_STALLED, EPISODE_DESCRIPTORS, EPISODE_COUNT } episode_kind;

struct episode {
	uint64_t count;
	uint64_t last_ms;
};

enum admitted { ADMITTED_NOT, ADMITTED_SLOT, ADMITTED_STALLED };

struct conn_list {
	struct nh_conn *first, *last;
	uint64_t limit_ms;
};

/* Who may begin a handshake: see server_admit.c. */
struct admission {
	struct arrival_list silent_tls, silent_plain; /* have not said anything */
	struct arrival_list queue;                    /* have, and wait for a slot */
	struct nh_message pump;
	bool pump_sent;
	bool ticking;
	unsigned turn;                                /* handshakes that may begin before others get their turn */
	struct nh_timer *tick;
	uint64_t tick_wall_ns, tick_cpu_ns;
	uint64_t begun;                               /* connections with TLS that began their handshake */
	uint64_t cost_ns;                             /* running mean of the CPU time of a whole handshake */
	uint64_t answer_ms, answer_var_ms;            /* running mean and deviation of how long handshakes take */
	struct episode episodes[EPISODE_COUNT];
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
	struct conn_list lists[CLASS_COUNT];
	unsigned idle_times;         /* lists of WebSockets in use */
	struct admission admission;
	struct slot *slots;
	uint32_t slot_count;
	uint32_t *free_slots;
	uint32_t free_count;
	uint64_t next_generation;
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
	uint64_t files;              /* descriptors of files that responses hold */
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
	bool later;            /* taken away by nh_response_later */
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
	bool file_counted;      /* in the shard's files */
	uint64_t window_moved;  /* bytes of the peer in this window */
	uint64_t window_own_ms; /* time of this window that we spent */
	uint64_t window_taken;  /* of sent, what the peer had taken when the window began */
	uint64_t work_since_ms;
	uint64_t sent;          /* bytes of the response given to the kernel */
	struct nh_later *early; /* an answer that came before its handler returned; the loop's */
	nh_rc sink_rc;
	uint64_t begun_us;      /* when the head was complete */
	char remote[64];
	char request_id[33];    /* where the client gave it no name */
};

/* conn.c */
/* Takes the descriptor and its watch, also on failure. Its first bytes can be read: conn_begin does. */
struct nh_conn *conn_new(struct shard *shard, const struct nh_listener *listener, int take_fd, struct nh_watch *take_watch);
void conn_begin(struct nh_conn *c);
void conn_shift(struct nh_conn *c, conn_class class); /* to the end of another list; its clock runs on */
void conn_enter(struct nh_conn *c, conn_state state, conn_class class); /* moves to the end of a class list; refreshes its activity */
void conn_close(struct nh_conn *c);           /* now; deferred memory */
void conn_end(struct nh_conn *c);             /* the output is written: goodbye, then linger until the peer ends too */
void conn_work_back(struct nh_conn *c);       /* a job came back to a closed connection: its memory may go */
void conn_rewatch(struct nh_conn *c);         /* sets the descriptor's events from the state */
nh_rc conn_write(struct nh_conn *c, nh_slice bytes); /* tries at once, keeps the rest; NH_ECLOSED: broken, nothing is freed before the iteration ends */
nh_rc conn_flush(struct nh_conn *c);          /* NH_OK: all written; NH_EAGAIN; NH_ECLOSED (closed) */
void conn_input(struct nh_conn *c, nh_slice fresh); /* fresh bytes behind c->in: goes on with the state */
void conn_resume(struct nh_conn *c);          /* what waits in c->in, then the socket */
static inline bool conn_has_output(const struct nh_conn *c) { return c->out != NULL; }
nh_rc conn_write_frame(struct nh_conn *c, struct nh_ws_frame *frame); /* as conn_write; a full socket keeps a reference */
void conn_drop_output(struct nh_conn *c);
nh_slice ws_frame_bytes(const struct nh_ws_frame *frame);
nh_rc conn_raw_write(struct nh_conn *c, nh_slice bytes, size_t *put);
void conn_count_out(struct nh_conn *c, size_t put);
int conn_fd(const struct nh_conn *c);
const struct sockaddr_storage *conn_peer(struct nh_conn *c); /* who it is: asked once, and only where somebody wants to know */
nh_rc conn_break(struct nh_conn *c); /* closed at the end of the iteration, whatever is on the stack now; NH_ECLOSED */

/* names.c */
void conn_name(struct nh_conn *c);
void conn_unname(struct nh_conn *c); /* from now on its name finds nobody */
struct nh_conn *conn_find(const struct shard *shard, struct nh_conn_id id); /* NULL: it has gone */

/* exchange.c */
void exchange_head(struct nh_conn *c, nh_slice bytes, size_t *used); /* bytes may hold a head; *used of them were consumed */
void exchange_body(struct nh_conn *c, nh_slice bytes, size_t *used);
void exchange_free(struct exchange *ex);
void exchange_gone(struct exchange *ex); /* the connection closed before the exchange ended */
void exchange_finished(struct nh_conn *c); /* the response is written: next request or close */
void exchange_fault(struct nh_conn *c, struct exchange *ex, unsigned status, const char *text);
void exchange_window_begin(struct exchange *ex, conn_state state); /* a body is read or a response written from now on */
bool exchange_window_over(struct nh_conn *c); /* true: its peer moves enough, or it is our turn: a new window began */
void exchange_submit(struct exchange *ex, void (*run)(struct exchange *), void (*then)(struct exchange *));

/* later.c */
void later_wait(struct exchange *ex);       /* the handler is back and took the response away */
void later_free(struct nh_later *later);    /* NULL legal */

/* respond.c */
void respond(struct exchange *ex);             /* writes the head, then body, file or upgrade */
void respond_more(struct nh_conn *c);          /* the socket takes more of a file */
void response_init(struct nh_response *res);
void response_fini(struct nh_response *res);

/* admit.c */
void admit(struct acceptor *a, int take_fd);
bool admit_make_room(struct shard *shard);           /* closes who has waited longest in silence; false where there is nobody */
void admit_episode(struct shard *shard, episode_kind kind);
void admit_handshake_begins(struct nh_conn *c);
void admit_handshake_ends(struct nh_conn *c, bool completed); /* in whatever way; its slot goes to the next */
conn_class admit_class(const struct nh_conn *c);     /* of a handshake that goes on */
void admit_sweep(struct shard *shard, uint64_t now_ms);
void admit_open(struct shard *shard);
void admit_close(struct shard *shard);               /* closes everybody who has not begun */
uint64_t admit_queue_max(const struct shard *shard);
uint64_t admit_thread_ns(void);                      /* CPU time of this thread */
void admit_reset(int fd);                            /* its close will send a reset and keep nothing in the kernel */

/* server.c */
conn_class shard_idle_class(struct shard *shard, uint64_t idle_ms); /* the list of WebSockets that may be silent so long; 0 = the default */

/* ws_conn.c */
void ws_start(struct nh_conn *c, const struct nh_ws_handler *handler, void *session);
void ws_input(struct nh_conn *c, uint8_t *bytes, size_t len);
void ws_gone(struct nh_conn *c); /* on_close for a closing connection */

/* route.c: NH_OK; NH_ENOTFOUND; NH_EPERM: other methods only, *allow filled; NH_EFORMAT: path broken. */
nh_rc route_find(const struct nh_listener *listener, const struct nh_http_request_head *head, struct exchange *ex, struct nh_buf *allow);
