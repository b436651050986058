/* What the files of device_api share. */
#pragma once

#include <pthread.h>

#include "base/map.h"
#include "device_api/device_api.h"
#include "hub/device_session.h"
#include "phoenix/phoenix.h"

/* ---- certificates known by fingerprint: certificates.c ------------------------------------------------------------------ */

#define CERTIFICATE_WAYS 8

struct certificate {
	uint8_t fingerprint[NH_TLS_FINGERPRINT_LEN];
	int64_t device_id; /* 0 = free */
};

struct certificates {
	pthread_rwlock_t lock;
	struct certificate *entries; /* sets of CERTIFICATE_WAYS */
	size_t sets;
	size_t count;
	uint32_t victim;
};

void certificates_init(struct certificates *c, size_t capacity);
void certificates_fini(struct certificates *c);
int64_t certificates_find(struct certificates *c, const uint8_t *fingerprint); /* device id, 0 = not known */
void certificates_put(struct certificates *c, const uint8_t *fingerprint, int64_t device_id);
void certificates_forget(struct certificates *c, const uint8_t *fingerprint);

/* ---- who is connected here: registry.c ---------------------------------------------------------------------------------- */

struct registry {
	pthread_mutex_t lock;
	struct nh_map *devices; /* 8 bytes of id → struct nh_conn_id on the heap */
};

void registry_init(struct registry *r);
void registry_fini(struct registry *r);
/* Makes id the device's connection; *old is the one it replaces (generation 0: none). */
void registry_put(struct registry *r, int64_t device_id, struct nh_conn_id id, struct nh_conn_id *old);
bool registry_get(struct registry *r, int64_t device_id, struct nh_conn_id *out);
void registry_remove(struct registry *r, int64_t device_id, struct nh_conn_id id); /* only where it is still this one */
size_t registry_count(struct registry *r);

/* ---- what the database is told of who is here: presence.c ---------------------------------------------------------------- */

struct presence_end;

struct presence {
	struct nh_device_api *api;
	struct nh_loop *loop; /* of the timer */
	struct nh_timer *timer;
	struct nh_work work;
	pthread_mutex_t lock; /* of what follows */
	struct presence_end *ends, **ends_tail;
	struct nh_seen *seen;
	size_t seen_count, seen_cap;
	uint64_t seen_due_ms;
	bool out;              /* the job */
	unsigned failures;     /* in a row */
	uint64_t not_before_ms;
	struct nh_clock_watch clock; /* the loop's */
	uint64_t stepped_ms;   /* monotonic, atomic: when the wall clock was last seen to jump; 0 = never */
};

void presence_init(struct presence *p, struct nh_device_api *api);
nh_rc presence_start(struct presence *p, struct nh_loop *loop, struct nh_err *err);
void presence_ended(struct presence *p, const struct nh_session *session); /* any thread: the connection is over */
bool presence_seen(struct presence *p, const struct nh_session *session);  /* any thread; false: no room, say it again later */
/* Any thread: has the wall clock run evenly for so long? If not, what looks overdue by it may not be. */
bool presence_clock_even(const struct presence *p, uint64_t for_ms);
void presence_stop(struct presence *p); /* main; waits until the timer is closed. What comes later is written too. */
void presence_fini(struct presence *p); /* after the pool was freed: writes what is left */

/* ---- orchestrator driver: rollout.c ------------------------------------------------------------------------------------- */

struct rollout_group {
	int64_t id;
	uint64_t not_before_ms;
	bool wanted, running;
};

struct rollout {
	struct nh_device_api *api;
	struct nh_loop *loop;
	struct nh_timer *timer;
	struct rollout_group *groups; /* the loop's */
	size_t count, cap;
	uint64_t next_ms[4]; /* by kind of job */
	bool running[4];
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
	struct rollout rollout;
	struct presence presence;
	struct nh_device_api_stats stats; /* relaxed atomics */
};

#define TALLY(api, field) __atomic_fetch_add(&(api)->stats.field, 1, __ATOMIC_RELAXED)

/* A job's view of the hub: db, arena, effects. */
struct nh_ctx device_api_ctx(struct nh_device_api *api, struct nh_tx *tx, struct nh_arena *arena, struct nh_effects *effects);

/* socket.c */
struct nh_ws_handler socket_handler(uint64_t idle_ms);
void socket_upgrade(struct nh_request *req, struct nh_response *res);
void socket_push(struct nh_conn *conn, nh_slice event, nh_slice payload); /* [loop] drops it unless the device has joined or is just joining */
bool socket_push_frame(struct nh_conn *conn, struct nh_ws_frame *frame);  /* [loop] the same, framed once for many; false: nothing was sent, this device needs socket_push */

/* download.c */
void download_firmware(struct nh_request *req, struct nh_response *res);
