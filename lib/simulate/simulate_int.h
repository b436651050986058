/*
 * What the simulation's files share: one run as a value, and the few doors between its parts. Private to simulate.
 */
#pragma once

#include "base/log.h"
#include "crypto/digest.h"
#include "hub/accounts.h"
#include "hub/deployments.h"
#include "hub/device_session.h"
#include "hub/devices.h"
#include "hub/nodes.h"
#include "hub/orchestrator.h"
#include "hub/products.h"
#include "hub/updates.h"
#include "simulate/simulate.h"

#define SIM_NODES 2
#define SIM_GROUPS 6
#define SIM_PRODUCTS 3  /* two of the organization, one of a stranger's */
#define SIM_FIRMWARES 64 /* of a product */
#define SIM_VERSION 64
#define SIM_EPOCH_US (INT64_C(1800000000) * NH_US_PER_S)
#define SIM_S NH_US_PER_S
#define SIM_MINUTE (60 * NH_US_PER_S)
#define SIM_HOUR (60 * SIM_MINUTE)

struct sim;

/* ---- the queue ----------------------------------------------------------------------------------------------------------- */

/* Something that happens at a time. Where times are equal, what was planned first is first. */
struct sim_event {
	int64_t at_us;
	uint64_t order;
	nh_rc (*run)(struct sim *s, const struct sim_event *e, struct nh_err *err);
	size_t who;      /* device, connection or server */
	uint64_t serial; /* of the one who planned it: what has changed since makes the event void */
	int64_t number;
	char *text;      /* owned */
};

/* sim_at - plans an event; text is copied (NULL: none). */
void sim_at(struct sim *s, int64_t at_us, nh_rc (*run)(struct sim *s, const struct sim_event *e, struct nh_err *err), size_t who, uint64_t serial, int64_t number, nh_slice text);
static inline struct sim_event sim_no_event(void) { return (struct sim_event){0}; }

/* ---- who is there -------------------------------------------------------------------------------------------------------- */

/* Run of a group on one server. source: device_api/rollout.c */
struct sim_wanted {
	int64_t group_id, not_before_us;
	bool planned;
};

struct sim_node {
	size_t index;
	bool alive;
	uint64_t epoch;         /* counts its lives */
	int64_t skew_us;        /* its clock minus true time */
	struct nh_clock clock;
	struct sim *sim;
	struct nh_hub_config config;
	struct nh_clock_watch watch;
	int64_t stepped_us;     /* true time of the last step of its clock that it noticed; 0: none */
	size_t *registry;       /* device index → 1 + newest connection here, 0: none */
	struct sim_wanted wanted[SIM_GROUPS * 4];
	size_t wanted_count;
	struct nh_nodes nodes;
	struct nh_node_watch lives;
	char life[32];
	bool told;              /* the transaction leaves something for it */
	int64_t jobs_due_us;    /* when it looks for jobs next; 0: nothing is planned */
	int64_t builder_due_us; /* the same of its builder of deltas */
	void *builds;           /* what it builds (deltas.c), in the run's arena; NULL: nothing */
	int64_t build_row;      /* the job's */
};

/* One connection, with both of its ends. */
struct sim_conn {
	size_t index, device, node;
	uint64_t epoch;         /* the server's life that accepted it */
	bool device_end, server_end;
	bool written, joined;
	struct nh_opening opening;
	struct nh_session session;
	int64_t device_last_us, server_last_us; /* when the last message of each end arrives: the next one is later */
};

/* Since when the same has kept a device waiting. source: watch.c */
struct sim_wait {
	int64_t since_us, seen_us, group_id, release_id;
	bool delta;
};

struct sim_device {
	size_t index;
	int64_t id;
	nh_slice identifier;    /* literal or in the run's arena */
	bool polls, powered, bricked, gone; /* gone: deleted for good */
	size_t product;         /* where it was made; a move is the server's affair */
	const char *platform, *architecture;
	char running[NH_UUID_TEXT_LEN + 1], before[NH_UUID_TEXT_LEN + 1], offered[NH_UUID_TEXT_LEN + 1];
	char version[SIM_VERSION], before_version[SIM_VERSION];
	bool validated, reverted, downloading;
	size_t conn;            /* 1 + its newest connection, 0: none */
	uint64_t serial;        /* of its present life: power, update */
	uint64_t update;        /* of its present update */
	int64_t back_off_us;
	struct sim_wait wait;
};

struct sim_firmware {
	int64_t id;
	char uuid[NH_UUID_TEXT_LEN + 1], version[SIM_VERSION];
	const char *platform, *architecture;
};

struct sim_product {
	struct nh_product product; /* slices in the run's arena */
	int64_t org_id;
	struct sim_firmware firmwares[SIM_FIRMWARES];
	size_t firmware_count;
};

struct sim_counts {
	int64_t group_id, normal, priority;
};

/* How far an audit log was checked. source: chain.c */
struct sim_chain {
	bool begun;
	int64_t seq;
	uint8_t hash[NH_SHA256_LEN];
};

/* ---- one run -------------------------------------------------------------------------------------------------------------- */

struct sim {
	const struct nh_sim_options *options;
	const struct nh_sim_scenario *scenario;
	struct nh_sim_result *result;
	struct nh_arena arena;  /* of what stays for the run */
	char path[512];
	struct nh_db *db;
	int64_t now_us;
	struct nh_rng_seeded world_state, hub_state;
	struct nh_rng rng, hub_rng;
	struct sim_event *queue;
	size_t queue_count, queue_cap;
	uint64_t order;
	bool honest;            /* faults and people have ceased */
	bool lean;              /* nobody judges, and devices say only what moves a rollout: forecasts of large fleets */
	int64_t update_us;      /* lean: typical time of an update */
	size_t in_flight_peak;
	int64_t start_us;
	bool lull;              /* no fault while a run is set up */
	int64_t end_us;

	struct nh_actor ada, eve;
	struct sim_product products[SIM_PRODUCTS];
	size_t product_count;
	int64_t groups[SIM_GROUPS]; /* 0: deleted */
	unsigned groups_made;
	struct sim_node nodes[SIM_NODES];
	size_t node_count;
	struct sim_device *devices;
	size_t device_count;
	struct sim_conn **conns;
	size_t conn_count, conn_cap;

	struct sim_counts counts[SIM_GROUPS * 8]; /* in flight after the last transaction */
	size_t count_count;
	struct sim_chain chains[SIM_PRODUCTS]; /* of the organization of each */
	int64_t calm_us;        /* when a server died last, or somebody did what begins a wait anew */
	bool relays;            /* this transaction takes what another decided */
	bool by_hand;           /* this transaction is a person's, who may send beyond the limits */
};

/* ---- chance and time (engine.c) --------------------------------------------------------------------------------------------- */

uint64_t sim_pick(struct sim *s, uint64_t bound);       /* uniform in [0, bound) */
int64_t sim_span(struct sim *s, int64_t least_us, int64_t most_us);
bool sim_fault(struct sim *s, nh_sim_fault kind);       /* does it happen now? */
/* sim_note - a line of the trace, and of the run's hash. */
[[gnu::format(printf, 2, 3)]] void sim_note(struct sim *s, const char *fmt, ...);
/* sim_broken - an invariant does not hold: NH_EINTERNAL. */
#define sim_broken(err, ...) NH_FAIL(err, NH_EINTERNAL, __VA_ARGS__)

/* ---- transactions (engine.c) -------------------------------------------------------------------------------------------------- */

typedef nh_rc (*sim_tx_fn)(struct nh_ctx *ctx, struct sim *s, void *arg, struct nh_err *err);

/*
 * sim_write - one write transaction of a server, judged before it commits; then its effects are carried out, unless the server dies. NH_ECLOSED also where it died before the commit: nothing was written. Codes
 * of fn's that are answers (NH_ENOTFOUND, NH_ECONFLICT, NH_EINVAL, NH_EPERM, NH_ECLOSED, NH_EFORMAT) are returned as they are; others end the run.
 */
nh_rc sim_write(struct sim *s, struct sim_node *node, sim_tx_fn fn, void *arg, struct nh_err *err);
/* sim_read - the same without effects. */
nh_rc sim_read(struct sim *s, struct sim_node *node, sim_tx_fn fn, void *arg, struct nh_effects *effects, struct nh_arena *arena, struct nh_err *err);
/* sim_answer - NH_OK where the code is an answer and no defect. */
nh_rc sim_answer(nh_rc rc);

/* What a run is made of before anything happens, and what is left of it (engine.c). */
struct sim *sim_new(const struct nh_sim_options *options, struct nh_sim_result *result, int64_t start_us);
nh_rc sim_open(struct sim *s, struct nh_err *err);                      /* its database */
nh_rc sim_go_until(struct sim *s, int64_t end_us, struct nh_err *err);  /* NH_EAGAIN: until_step was reached */
void sim_free(struct sim *s);

/* ---- the parts ------------------------------------------------------------------------------------------------------------------ */

/* world.c: organizations, products, firmwares, groups, devices. */
nh_rc sim_world_make(struct sim *s, struct nh_err *err);
nh_rc sim_nodes_make(struct sim *s, struct nh_err *err);
nh_rc sim_user_make(struct nh_ctx *ctx, struct sim *s, const char *name, const char *email, struct nh_actor *out, struct nh_err *err);
nh_rc sim_product_make(struct nh_ctx *ctx, struct sim *s, const struct nh_actor *actor, int64_t org_id, const char *name, int64_t *key_id, struct nh_err *err); /* the next of s->products */
nh_rc sim_firmware_make(struct nh_ctx *ctx, struct sim *s, struct sim_product *p, int64_t key_id, const char *version, const char *platform, const char *architecture, struct nh_err *err);

/* judge.c: inside a transaction, after what it did. */
nh_rc sim_judge(struct sim *s, struct nh_ctx *ctx, struct nh_err *err);
nh_rc sim_judge_update(struct sim *s, struct nh_ctx *ctx, int64_t device_id, nh_slice payload, bool asked, struct nh_err *err); /* may this device have it now? */
nh_rc sim_judge_heard(struct sim *s, const struct sim_device *d, nh_slice uuid, nh_slice url, struct nh_err *err); /* what it hears was committed, and it can have it */
nh_rc sim_judge_start(struct sim *s, struct sim_node *node, struct nh_err *err);                     /* a server that starts holds nobody */
nh_rc sim_judge_end(struct sim *s, struct nh_err *err);

/* watch.c: who waits, and for how long. chain.c: the audit log. */
void sim_watch_start(struct sim *s);
nh_rc sim_chain_seal(struct nh_ctx *ctx, bool *more, struct nh_err *err);
nh_rc sim_judge_chains(struct sim *s, struct sim_node *node, bool all, struct nh_err *err); /* all: from the beginning on, with anchors */

/* server.c */
nh_rc sim_node_start(struct sim *s, struct sim_node *node, struct nh_err *err);
void sim_node_kill(struct sim *s, struct sim_node *node);
nh_rc sim_node_effects(struct sim *s, struct sim_node *node, const struct nh_effects *effects, struct nh_err *err);
void sim_node_told(struct sim *s); /* with the commit: others are told that there is something for them */
struct sim_node *sim_node_any(struct sim *s); /* a server that is alive, or NULL */
/* What a device's end does; each takes its time to arrive. */
bool sim_conn_open(struct sim *s, struct sim_device *d); /* false: no server is there */
void sim_conn_say(struct sim *s, struct sim_conn *c, nh_slice event, json_t *take_payload);
void sim_conn_close(struct sim *s, struct sim_conn *c, bool noticed);
/* What a polling device asks: *payload in arena. NH_ECLOSED: no server. */
nh_rc sim_poll(struct sim *s, struct sim_device *d, json_t *take_payload, struct nh_arena *arena, nh_slice *update, struct nh_err *err);

/* jobs.c */
nh_rc sim_jobs_start(struct sim *s, struct sim_node *node, struct nh_err *err); /* a new life: what the last one held is claimed anew */
nh_rc sim_jobs_round(struct sim *s, struct sim_node *node, struct nh_err *err); /* periodic kinds have their rows */
void sim_jobs_wake(struct sim *s, struct sim_node *node);

/* deltas.c: a new life of a server's builder; there may be something for it. */
void sim_builder_start(struct sim *s, struct sim_node *node);
void sim_builder_wake(struct sim *s, struct sim_node *node);

/* device.c */
void sim_device_start(struct sim *s, struct sim_device *d, int64_t at_us);
struct sim_device *sim_device_by_id(struct sim *s, int64_t id);
void sim_device_accepted(struct sim *s, struct sim_conn *c);   /* its socket is open */
void sim_device_cut(struct sim *s, struct sim_conn *c);        /* the other end closed the socket */
nh_rc sim_device_hear(struct sim *s, struct sim_conn *c, nh_slice event, nh_slice payload, struct nh_err *err);
void sim_device_honest(struct sim *s, struct sim_device *d);   /* from now on it behaves */
json_t *sim_device_says(struct sim *s, const struct sim_device *d); /* its join */
const struct sim_firmware *sim_firmware_find(struct sim *s, nh_slice uuid);

/* people.c */
void sim_people_start(struct sim *s);
nh_rc sim_people_settle(struct sim *s, struct nh_err *err);    /* they leave things so that the fleet can finish */
