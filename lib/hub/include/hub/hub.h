/*
 * What every hub function shares: the context it works in, who acts, and the effects it leaves for its caller.
 *
 * A hub function gets a transaction, a clock, a random source and its input; it returns a result and appends effects. Effects are plain data,
 * carried out by the caller only after nh_db_write returned NH_OK. Hub functions open no socket, write no SQL text, and look at no global.
 * Every function that reads or changes data of an organization takes the actor and the organization; what the actor may not see is NH_ENOTFOUND,
 * what it may see but not do is NH_EPERM.
 *
 * thread: a worker's (read) or the writer's (write). source: design/architecture "4. The hub decides, others act"
 */
#pragma once

#include "base/arena.h"
#include "base/clock.h"
#include "base/json.h"
#include "base/rng.h"
#include "store/db.h"

/* ---- effects ----------------------------------------------------------------------------------------------------------- */

typedef enum nh_effect_kind {
	NH_EFFECT_DEVICE_PUSH,    /* push event `name` with JSON `payload` to device `id` on channel "device" */
	NH_EFFECT_DEVICE_CLOSE,   /* close the connection of device `id` (deleted, blocked, credential revoked, replaced); name = reason; payload: the connection's id where only that one is meant, or empty */
	NH_EFFECT_DEVICE_TYPE,    /* type text `payload` and a line end into the console of device `id`, once it has joined its console (devices that run no scripts) */
	NH_EFFECT_DEVICE_SETTINGS,/* device `id`'s row changed: its session reloads what it cached */
	NH_EFFECT_PRODUCT_SETTINGS,/* product `id`'s row changed: the sessions of its devices reload what they cached */
	NH_EFFECT_CERT_FORGET,    /* certificate fingerprint `payload` (32 bytes) left the set of known ones */
	NH_EFFECT_CERT_KNOWN,     /* certificate fingerprint `payload` (32 bytes) now belongs to device `id` */
	NH_EFFECT_GROUP_WAKE,     /* run the orchestrator for deployment group `id` soon */
	NH_EFFECT_TOPIC,          /* publish on topic `name`: something about `id` changed (browser pages, event stream). Produced; nobody listens yet, so it is dropped */
	NH_EFFECT_MAIL,           /* mail `id` was queued: wake who sends them */
	NH_EFFECT_JOB,           /* a job of kind `name` was added (hub/jobs.h): wake the scheduler */
	NH_EFFECT_EVENT,          /* an event was written (hub/events.h): wake who gives events out */
	NH_EFFECT_OBJECT_DELETE,  /* delete object with key `name` now; it is written down as loose, so a sweep does what is not done here */
} nh_effect_kind;

struct nh_effect {
	nh_effect_kind kind;
	int64_t id;
	nh_slice name;    /* in the context's arena */
	nh_slice payload; /* in the context's arena */
};

struct nh_effects {
	struct nh_effect *items; /* in the context's arena */
	size_t count, cap;
	nh_slice told; /* the other server that was told last that there is something for it; in the arena */
};

struct nh_authority;
struct nh_nodes;

/* ---- context ----------------------------------------------------------------------------------------------------------- */

/* Settings that rules read; one immutable copy for the program's life. */
struct nh_hub_config {
	nh_slice secret_key;             /* >= 32 bytes: HMAC key of download URLs and session tokens */
	const char *download_base_url;   /* "https://host:port" that devices reach, without trailing slash */
	uint64_t download_ttl_s;         /* default 86400 */
	/* Where anybody may fetch an object for so long without asking this server (a bucket's URL): appends and returns true. NULL, or false: the URL leads here. Pure, any thread. */
	bool (*object_url)(void *ctx, nh_slice object_key, uint64_t ttl_s, struct nh_buf *out);
	void *object_url_ctx;
	uint64_t max_firmware_bytes;     /* default 1 GiB */
	uint64_t max_archive_bytes;      /* default 200 000 000 */
	nh_slice node;                   /* names this server among those of one database, the same at each start; empty where there is only one */
	struct nh_nodes *nodes;          /* other servers on this database (hub/nodes.h); NULL: there are none */
	struct nh_authority *authority;  /* signs certificates (hub/authority.h); NULL: this server issues none */
	bool shared_secrets_enabled;
	bool registration_open;
	bool lifo_by_default;            /* queue of new deployment groups */
	const char *web_url;             /* "https://host:port" that people reach, without trailing slash: in the links of mails. NULL: unknown */
	struct {
		bool http;               /* may urls of webhooks be http, too? */
		int64_t give_up_us;      /* how long a delivery is tried; pauses are in proportion. 0 = a day */
		int64_t waiting_max;     /* deliveries of one webhook that may wait; 0 = 100 000 */
	} webhooks;
	bool mails;                      /* can mails be sent? Without them addresses are not confirmed, and nobody can be invited who has no account */
};

struct nh_ctx {
	struct nh_tx *tx;
	struct nh_arena *arena;          /* results and effects live here */
	const struct nh_clock *clock;
	const struct nh_rng *rng;
	const struct nh_hub_config *config;
	struct nh_effects *effects;      /* NULL in read-only contexts */
};

/* The context's time, µs since 1970 UTC. */
static inline int64_t nh_ctx_now(const struct nh_ctx *ctx) { return nh_clock_now(ctx->clock); }

/* For a column that is never NULL. */
static inline nh_slice nh_ctx_node(const struct nh_ctx *ctx) { return ctx->config && ctx->config->node.len ? ctx->config->node : NH_LIT(""); }

/* nh_effect_add - appends (copies name and payload into the arena). ctx->effects must not be NULL. What concerns a device that another server holds, or all servers, is left for them in the transaction as well. */
void nh_effect_add(struct nh_ctx *ctx, nh_effect_kind kind, int64_t id, nh_slice name, nh_slice payload);

/* ---- who acts ---------------------------------------------------------------------------------------------------------- */

typedef enum nh_actor_kind { NH_ACTOR_USER, NH_ACTOR_DEVICE, NH_ACTOR_SYSTEM } nh_actor_kind;

struct nh_actor {
	nh_actor_kind kind;
	int64_t id;       /* user or device id; 0 for the system */
	nh_slice name;    /* user's name, device's identifier, or the rule's name: for audit texts */
};

typedef enum nh_role { NH_ROLE_NONE = 0, NH_ROLE_VIEW = 1, NH_ROLE_MANAGE = 2, NH_ROLE_ADMIN = 3 } nh_role;
