/*
 * Private to the link: its one struct, and what its files offer each other.
 *
 *   link.c        life: open, close, the queue of worker jobs
 *   connection.c  socket: attempt, sign, open, close, backoff, heartbeat
 *   poll.c        instead of a socket: questions from time to time
 *   clock.c       a time that is certainly over, kept between starts
 *   element.c     identity in a secure element or token: its certificates, its signatures
 *   topic.c       channels: which are joined, whose message this is, when to join again
 *   route.c       the network interface that is reported
 *   extras_int.h  everything beside updates
 *   channel.c     device channel: join, events in, pushes out, validation
 *   updater.c     one update: offer, apply jobs, outcome
 *   decision.c    whether and when: asks the machine, keeps a postponed offer until it is due
 *   download.c    its bytes: request, resume, pacing
 *   cache.c       files they lie in until they are whole; parts.c: which of them have proven themselves
 *   validation.c  the deadline of a new firmware, and the reason of a revert
 */
#pragma once

#include "base/buf.h"
#include "base/clock.h"
#include "base/json.h"
#include "crypto/digest.h"
#include "link/identity.h"
#include "link/link.h"
#include "loop/pool.h"
#include "nerveskey/nerveskey.h"
#include "net/client.h"
#include "net/tls.h"
#include "phoenix/phoenix.h"

#define LINK_URL_MAX 2048
#define LINK_UUID_MAX 64
#define LINK_KEYS_MAX 32
#define LINK_MESSAGE_MAX ((size_t)1 << 20)
#define LINK_REDIRECTS_MAX 2

/* One kind of work for the pool. A link has at most one with the pool; the others queue here. */
struct link_job {
	struct nh_work work;
	struct nh_link *link;
	void (*run)(struct nh_link *link);  /* [worker] touches only what its file says the worker owns meanwhile */
	void (*done)(struct nh_link *link); /* [loop] not called once the link is closing */
	struct link_job *next;
	bool queued;
};

typedef enum link_phase {
	LINK_WAITING,    /* for the backoff */
	LINK_SIGNING,    /* what an attempt needs is being made: the secret's headers, the element's certificates, whom to trust */
	LINK_CONNECTING,
	LINK_OPEN,       /* socket open; join under way or waiting to be tried again */
	LINK_JOINED,     /* polling: the last question was answered */
	LINK_REBOOTING,  /* nothing more happens */
} link_phase;

struct link_update; /* updater.c */

typedef enum link_topic_id { LINK_DEVICE, LINK_CONSOLE, LINK_EXTENSIONS, LINK_TOPICS } link_topic_id;

struct link_topic {
	struct nh_link *link;
	link_topic_id id;
	uint64_t join_ref;      /* 0 = neither joined nor joining */
	bool joined;
	unsigned failures;      /* joins that failed one after the other */
	struct nh_timer *timer; /* the join's time-out, or until the next join */
};

struct nh_link {
	struct nh_loop *loop;
	struct nh_pool *pool;
	struct nh_link_config config; /* texts in arena */
	struct nh_arena arena;
	struct nh_clock clock;
	struct nh_rng rng;
	char *url;                    /* where to connect: configured, or where a redirect led */
	nh_slice configured_url;
	struct nh_tls *tls;           /* NULL for ws:// */
	bool trusts;                  /* tls has roots: from a prepare job to the end of the handshake */
	struct nh_proxy *proxy;       /* or NULL */
	char **keys;                  /* base64; heap, each too */
	size_t key_count;

	/* jobs */
	struct link_job *queue;
	struct link_job *running;
	struct link_job prepare_job, clock_job, handshake_job, state_job, validate_job, open_job, write_job, finish_job, abort_job;
	struct link_job consider_job, seal_job, install_job, restore_job, deadline_job, told_job;

	/* connection */
	link_phase phase;
	struct nh_ws_client *ws;
	struct nh_timer *timer;       /* backoff, or until the next question */
	struct nh_timer *heartbeat;
	unsigned attempt;             /* position in the backoff list */
	unsigned redirects;
	int64_t server_date_us;       /* Date of the last refusal and when it came */
	uint64_t server_date_mono_ms;
	struct nh_link_signature signature;
	struct nh_nerveskey *element; /* opened by the first prepare job; touched by jobs only */
	struct nh_handshake *handshake; /* waits for its job, or runs there */
	int64_t clock_saved_us;       /* what the clock file says */
	nh_rc job_rc;                 /* result of prepare, clock, state or validate job */
	struct nh_err job_err;

	/* poll */
	struct nh_http_get *poll;     /* the question under way */
	struct nh_buf poll_body;
	unsigned poll_status;         /* of its answer; 0 = none yet */
	uint64_t poll_retry_after_s;

	/* channel */
	uint64_t next_ref;
	const struct nh_phoenix_codec *codec;
	struct link_topic topics[LINK_TOPICS];
	uint64_t heartbeat_ref;       /* 0 = answered */
	struct nh_arena state_arena;  /* while joining */
	struct nh_link_state state;
	char running_uuid[LINK_UUID_MAX];
	bool validated;               /* as told to the server */
	bool join_wanted;             /* state was read for a join */
	struct nh_timer *validate_timer;

	struct link_update *update;
	struct nh_timer *reboot_timer;
	const char *reboot_why;
	uint64_t reboot_since_ms;
	json_t *next_offer;           /* came while an update was being given up */
	struct link_update *restored; /* restore_job's, until it is done */
	struct link_update *postponed; /* an offer that is taken up when it is due */
	struct nh_timer *postpone_timer;
	uint64_t postpone_due_ms;
	struct nh_clock_watch postpone_watch;
	struct nh_timer *deadline_timer;
	bool ever_joined;             /* since this process started */
	bool deadline_joined;         /* the same, as deadline_job sees it */
	char *revert_reason;          /* of the last revert, not told yet; revert_told: on its way */
	bool revert_told;
	char *pending_status;         /* outcome of an update that could not be told yet: JSON payload */

	struct nh_timer *route_timer; /* until the interface is looked for again */
	char route_found[16];         /* the interface last found; empty = none */
	bool route_told, route_muted; /* told in this channel; a server broke one over it */
	struct link_extras *extras;   /* extras_int.h; NULL = nothing is switched on */

	/* end */
	bool closing;
	void (*close_cb)(void *ctx);
	void *close_ctx;
};

/* link.c */
void link_job_submit(struct nh_link *l, struct link_job *job); /* a job already queued or running is asserted against */
bool link_job_busy(const struct nh_link *l, const struct link_job *job);
void link_close_step(struct nh_link *l); /* something that closing waits for has ended */
void link_reboot(struct nh_link *l, const char *why); /* when what was sent is out, or soon */
void link_set_text(char **heap, nh_slice text);
/* events.c */
void link_event(struct nh_link *l, const struct nh_link_event *event);
void link_event_text(struct nh_link *l, nh_link_event_kind kind, const char *text);
/* backoff.c */
uint64_t link_jitter(struct nh_link *l, uint64_t base_ms);
uint64_t link_backoff_next(struct nh_link *l, uint64_t retry_after_s); /* 0 = the server did not say */
void link_backoff_reset(struct nh_link *l); /* the connection has proven itself */
/* config.c */
nh_rc link_config_url(const struct nh_link_config *c, struct nh_arena *arena, nh_slice *out, struct nh_err *err);
const struct nh_phoenix_codec *link_config_codec(nh_slice url); /* what its vsn asks for; NULL: no wire format of ours */
bool link_config_secure(nh_slice url); /* wss or https */
bool link_key_valid(nh_slice text);
/* connection.c */
void connection_start(struct nh_link *l);
void connection_close(struct nh_link *l, const char *why); /* lost or given up: event, backoff */
struct nh_ws_client_closed;
void connection_lost(struct nh_link *l, const char *why, const struct nh_ws_client_closed *end); /* the same; end: what the server said about it, or NULL */
void connection_on_prepared(struct nh_link *l);
void connection_run_prepare(struct nh_link *l);
void connection_shaken(struct nh_link *l);                      /* the handshake is over: forgets whom to trust */
void connection_hand_over(void *link, struct nh_handshake *h);  /* a handshake that a chip signs: to the pool */
struct nh_tls_client_config connection_trust(const struct nh_link *l); /* whom to trust; no identity */
void connection_on_handshake(struct nh_link *l);
void connection_run_handshake(struct nh_link *l);
void connection_on_timer(void *arg);
void connection_on_heartbeat(void *arg);
bool connection_send(struct nh_link *l, const struct nh_phoenix_message *m);
/* element.c */
bool element_has(const struct nh_link *l);
void element_forget(struct nh_link *l); /* after an attempt that failed: the next one reads it again, as it may have been exchanged, or have new certificates */
nh_rc element_load(struct nh_link *l, struct nh_err *err); /* [worker] l->tls from what the element or token holds; it trusts nobody yet */
/* poll.c */
bool poll_is_chosen(const struct nh_link *l);
void poll_start(struct nh_link *l);    /* what it needs is prepared */
void poll_on_state(struct nh_link *l);
void poll_due(struct nh_link *l);      /* the interval is over */
void poll_stop(struct nh_link *l);
/* clock.c */
void clock_open(struct nh_link *l);
void clock_connected(struct nh_link *l); /* a server was accepted */
void clock_run(struct nh_link *l);
void clock_done(struct nh_link *l);
/* route.c */
void route_report(struct nh_link *l);
const char *route_name(const struct nh_link *l); /* NULL = not known */
void route_left(struct nh_link *l); /* the device channel is gone */
void route_close(struct nh_link *l);
/* topic.c */
void topics_init(struct nh_link *l);
void topics_close(struct nh_link *l);   /* the link is closing */
void topics_closed(struct nh_link *l);  /* the socket is gone */
void topics_message(struct nh_link *l, nh_slice frame);
void topic_start(struct nh_link *l, link_topic_id id); /* unless it is joined or about to be */
void topic_join(struct nh_link *l, link_topic_id id, const json_t *payload); /* also anew: the server drops the old channel */
void topic_rejoin_later(struct nh_link *l, link_topic_id id);
uint64_t topic_push(struct nh_link *l, link_topic_id id, const char *event, const json_t *payload, const char *text); /* its ref; 0 = not joined, nothing was sent */
uint64_t topic_push_json(struct nh_link *l, link_topic_id id, const char *event, json_t *take_payload);
/* channel.c */
void channel_rejoin(struct nh_link *l);
void channel_remember(struct nh_link *l); /* what the state says, before the server is told */
void channel_joined(struct nh_link *l, const json_t *response);
void channel_left(struct nh_link *l);
void channel_event(struct nh_link *l, nh_slice event, const json_t *payload);
void channel_on_state(struct nh_link *l);
void channel_run_state(struct nh_link *l);
void channel_on_validate(struct nh_link *l);
void channel_run_validate(struct nh_link *l);
void channel_on_validate_timer(void *arg);
bool channel_push(struct nh_link *l, const char *event, const char *payload); /* false: not joined */
bool channel_push_json(struct nh_link *l, const char *event, json_t *take_payload);
/* updater.c */
void updater_offer(struct nh_link *l, const json_t *payload);
void updater_init_jobs(struct nh_link *l);
void updater_start(struct nh_link *l);             /* the link was opened: an update that was under way goes on */
const char *updater_uuid(const struct nh_link *l); /* being installed, or NULL */
void updater_close(struct nh_link *l);             /* link is closing: lets go of everything but an open apply */
bool updater_abort_pending(struct nh_link *l);     /* an apply is open: its abort job was submitted */
void updater_free(struct nh_link *l);
void updater_fail(struct nh_link *l, const char *what, const char *text);
/* validation.c */
void validation_start(struct nh_link *l);  /* the link was opened: looks for the reason of a revert, arms the deadline */
void validation_joined(struct nh_link *l); /* the server let us in, and was told what was pending */
void validation_close(struct nh_link *l);
void validation_free(struct nh_link *l);
