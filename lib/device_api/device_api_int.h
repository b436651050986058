/* What the files of device_api share. */
#pragma once

#include <pthread.h>

#include "base/episode.h"
#include "base/map.h"
#include "device_api/device_api.h"
#include "hub/device_session.h"
#include "hub/orchestrator.h"
#include "phoenix/phoenix.h"

/* ---- certificates known by fingerprint: certificates.c ------------------------------------------------------------------ */

#define CERTIFICATE_WAYS 8

struct certificate {
	uint8_t fingerprint[NH_TLS_FINGERPRINT_LEN];
	int64_t device_id; /* of a forgotten one: the number of the next forgotten */
};

struct certificates {
	pthread_rwlock_t lock;
	uint32_t *places; /* sets of CERTIFICATE_WAYS */
	struct certificate *entries; /* as many, in order of arrival */
	uint32_t used;       /* entries that were ever taken */
	uint32_t forgotten;  /* the newest of those to be taken again */
	size_t sets;
	size_t count;
	uint32_t victim;
};

void certificates_init(struct certificates *c, size_t capacity);
void certificates_fini(struct certificates *c);
int64_t certificates_find(struct certificates *c, const uint8_t *fingerprint); /* device id, 0 = not known */
void certificates_put(struct certificates *c, const uint8_t *fingerprint, int64_t device_id);
void certificates_forget(struct certificates *c, const uint8_t *fingerprint);
void certificates_clear(struct certificates *c); /* forgets all */

/* ---- who is connected here: registry.c ---------------------------------------------------------------------------------- */

struct registry {
	pthread_mutex_t lock;
	struct nh_map *devices; /* 8 bytes of id → struct registered on the heap */
};

struct registered {
	struct nh_conn_id conn;
	int64_t product_id; /* 0 before its join */
};

void registry_init(struct registry *r);
void registry_fini(struct registry *r);
/* Makes id the device's connection; *old is the one it replaces (generation 0: none). */
void registry_put(struct registry *r, int64_t device_id, struct nh_conn_id id, struct nh_conn_id *old);
bool registry_get(struct registry *r, int64_t device_id, struct nh_conn_id *out);
bool registry_is(struct registry *r, int64_t device_id, struct nh_conn_id id); /* is it still this one? */
void registry_remove(struct registry *r, int64_t device_id, struct nh_conn_id id); /* only where it is still this one */
size_t registry_count(struct registry *r);
void registry_set_product(struct registry *r, int64_t device_id, struct nh_conn_id id, int64_t product_id); /* where it is still this one */
/* All joined connections of the product; 0: all connections. Nobody comes or goes meanwhile, so each must be quick and must not call the registry. */
void registry_each(struct registry *r, int64_t product_id, void (*each)(void *ctx, int64_t device_id, struct nh_conn_id id), void *ctx);

/* ---- who connects again and again: reconnects.c ------------------------------------------------------------------------- */

#define RECONNECT_WAYS 8
#define RECONNECT_SETS 2048

struct reconnect {
	int64_t device_id;
	uint64_t since_ms; /* monotonic: the window's begin */
	uint32_t count;    /* connects in it; 0 = free */
};

struct reconnects {
	pthread_mutex_t lock; /* of entries and refused_ms */
	struct reconnect *entries; /* sets of RECONNECT_WAYS */
	uint64_t refused_ms;
	unsigned per_minute;
	struct nh_episode episode;
};

void reconnects_init(struct reconnects *r, unsigned per_minute);
void reconnects_fini(struct reconnects *r);
bool reconnects_admit(struct reconnects *r, int64_t device_id, uint64_t now_ms); /* any thread. One connect more; may it come in? */

/* ---- what the database is told of who is here: presence.c ---------------------------------------------------------------- */

struct presence_end;

/* A connection that is accepted and not written yet. The session has it until its row is there; only presence looks inside. */
struct presence_begin {
	struct presence_begin *next, *prev; /* while it waits */
	struct nh_opening opening;
	struct nh_conn_id conn;
	uint64_t due_ms;          /* then it is written by itself */
	struct presence_end *end; /* it ended while it was being written */
	uint8_t state;            /* enum begin_state */
	bool written;             /* by the transaction it is in */
};

struct presence {
	struct nh_device_api *api;
	struct nh_loop *loop; /* of the timer */
	struct nh_timer *timer;
	struct nh_work work;
	pthread_mutex_t lock; /* of what follows */
	pthread_cond_t settled; /* beginnings that were out are written, or not */
	struct presence_begin *begins, *begins_last; /* in order of due_ms */
	struct presence_end *ends, **ends_tail;
	struct nh_seen *seen;
	size_t seen_count, seen_cap;
	uint64_t seen_due_ms;
	bool out;              /* the job */
	unsigned failures;     /* in a row */
	uint64_t not_before_ms;
	struct nh_clock_watch clock; /* under the lock */
	uint64_t stepped_ms;   /* monotonic, atomic: when the wall clock was last seen to jump; 0 = never */
};

void presence_init(struct presence *p, struct nh_device_api *api);
nh_rc presence_start(struct presence *p, struct nh_loop *loop, struct nh_err *err);
/*
 * A connection opened and nothing is written of it. The session keeps the beginning until a join has written it, or hands it over with its end.
 *   new      any thread; free only where presence_began was not called
 *   began    [loop] the connection has a name and a place in the registry
 *   take     [worker] a join is about to write: true: it has to write the beginning too, and says afterwards whether it did; false: the row is there.
 *            Waits where the beginning is just being written, which is one transaction of a running job.
 *   give_back  [loop] the join could not
 *   free     [loop] the join did, or take said false
 */
struct presence_begin *presence_begin_new(struct presence *p, int64_t device_id, nh_slice fingerprint);
void presence_began(struct presence *p, struct presence_begin *begin, struct nh_conn_id conn);
bool presence_take(struct presence *p, struct presence_begin *begin);
void presence_give_back(struct presence *p, struct presence_begin *begin);
void presence_begin_free(struct presence_begin *begin); /* NULL legal */
/* Any thread: the connection is over. take_begin: NULL where its row is written. */
void presence_ended(struct presence *p, const struct nh_session *session, struct presence_begin *take_begin);
bool presence_seen(struct presence *p, const struct nh_session *session);  /* any thread; false: no room, say it again later */
/* Any thread: has the wall clock run evenly for so long? If not, what looks overdue by it may not be. */
bool presence_clock_even(struct presence *p, uint64_t for_ms);
void presence_stop(struct presence *p); /* main; waits until the timer is closed. What comes later is written too. */
void presence_fini(struct presence *p); /* after the pool was freed: writes what is left */

/* ---- orchestrator driver: rollout.c ------------------------------------------------------------------------------------- */

struct rollout_group {
	int64_t id;
	uint64_t not_before_ms; /* for a run from the beginning */
	uint64_t begun_ms;      /* when the last one of those was begun */
	bool wanted, running;
	bool full;              /* the last run sent all that one may: the next one goes on at the cursor, at once */
	struct nh_orchestrator_cursor cursor;
};

struct rollout {
	struct nh_device_api *api;
	struct nh_loop *loop;
	struct nh_timer *timer;
	struct rollout_group *groups; /* the loop's */
	size_t count, cap;
	bool stopping; /* atomic */
};

nh_rc rollout_start(struct rollout *r, struct nh_device_api *api, struct nh_loop *loop, struct nh_err *err);
void rollout_wake(struct rollout *r, int64_t group_id); /* any thread */
void rollout_stop(struct rollout *r);                   /* main; waits until the timer is closed */

/* ---- the whole ---------------------------------------------------------------------------------------------------------- */

struct nh_device_api {
	struct nh_device_api_config config;
	struct nh_server *server; /* set by start */
	struct nh_ws_handler handler; /* of all sockets */
	struct certificates certificates;
	struct registry registry;
	struct reconnects reconnects;
	struct rollout rollout;
	struct presence presence;
	struct nh_device_api_stats stats; /* relaxed atomics */
};

#define TALLY(api, field) __atomic_fetch_add(&(api)->stats.field, 1, __ATOMIC_RELAXED)

/* A job's view of the hub: db, arena, effects. */
struct nh_ctx device_api_ctx(struct nh_device_api *api, struct nh_tx *tx, struct nh_arena *arena, struct nh_effects *effects);

/* socket.c, upgrade.c, device_channel.c, api.c */
struct nh_ws_handler socket_handler(uint64_t idle_ms);
bool socket_upgrade_at_once(struct nh_request *req, struct nh_response *res); /* [loop] */
void socket_upgrade(struct nh_request *req, struct nh_response *res);
void socket_push(struct nh_conn *conn, nh_slice event, nh_slice payload); /* [loop] drops it unless the device has joined or is just joining */
bool socket_push_frame(struct nh_conn *conn, struct nh_ws_frame *frame);  /* [loop] the same, framed once for many; false: nothing was sent, this device needs socket_push */
void socket_type(struct nh_conn *conn, nh_slice text); /* [loop] into the device's console, now or once it is joined */
bool socket_is(struct nh_conn *conn, nh_slice connection_id); /* [loop] is it this connection of its device, and no later one? */
void socket_settings(struct nh_conn *conn);            /* [loop] what the session knows of settings is out of date */

/* polling.c */
void poll_me(struct nh_request *req, struct nh_response *res);
void poll_update(struct nh_request *req, struct nh_response *res);
void poll_unknown(struct nh_request *req, struct nh_response *res);

/* download.c */
void download_firmware(struct nh_request *req, struct nh_response *res);
