/*
 * The servers on one database: who runs, what one has to tell another, and which secret they share. Only where the database is PostgreSQL; with SQLite there is one server and none of this.
 *
 * A server counts its beat up every few seconds. No clock is compared with another one's: whoever looks remembers when it first saw a beat and takes the server for dead once that has
 * stood still for NH_NODE_LEASE_MS by its own monotonic clock, during which it could itself look (struct nh_node_watch). A dead server's connections are ended by whoever marks it first, or by
 * any other that finds it marked; its devices come back elsewhere by themselves.
 *
 * What a transaction leaves for a device that another server holds is a row for that server (nh_effect_add writes it), committed with what caused it, and a NOTIFY that hurries. The server takes
 * its rows when it is told to, and at each beat, so a lost notification delays and loses nothing. Who was taken for dead has lost its rows, and begins anew: it closes its devices' connections and
 * forgets what it knew by heart.
 *
 * thread: as nh_db_write. source: design/architecture "6. More than one node"; reference/server-behaviour "12"
 */
#pragma once

#include "hub/hub.h"

#define NH_NODE_BEAT_MS 5000
#define NH_NODE_LEASE_MS 20000
#define NH_NODES_MAX 64            /* that are looked at; far more than one database carries */
#define NH_NODE_MESSAGES_MAX 500   /* taken in one transaction */

/* What nh_effect_add asks and does where there are other servers: nh_hub_config.nodes. Any thread. */
struct nh_nodes {
	bool (*here)(void *ctx, int64_t device_id);                                        /* is the device connected to this server? */
	nh_rc (*tell)(void *ctx, struct nh_tx *tx, nh_slice node, struct nh_err *err);      /* with the commit: there is something for this server */
	void *ctx;
	bool others; /* atomic: another server runs, as far as is known. A newcomer is known within milliseconds, and holds no device before */
};

struct nh_node {
	nh_slice name, life; /* life: empty once it was found dead */
	int64_t beat;
	nh_slice url, certificate, version;
	int64_t started_at_us, seen_at_us; /* by its own clock */
};

/*
 * nh_node_secret_check - at start, before anything is signed or sealed: the fingerprint of config->secret_key is the one that the database was run with, or is written down, where there is none,
 * or where replace says that it is the new one. NH_EAUTH: another secret; the message says what to do.
 */
nh_rc nh_node_secret_check(struct nh_ctx *ctx, bool replace, struct nh_err *err);

/* nh_node_enter - this life is the server's from now on: what was left for an earlier one is dropped. node: name, life, url, certificate, version. All others are told to look. NH_EIO. */
nh_rc nh_node_enter(struct nh_ctx *ctx, const struct nh_node *node, struct nh_err *err);
/* nh_node_beat - NH_ENOTFOUND: it was taken for dead, and enters anew. NH_ECONFLICT: another process goes by its name. NH_EIO. */
nh_rc nh_node_beat(struct nh_ctx *ctx, const struct nh_node *node, struct nh_err *err);
/* nh_node_leave - it stops; connections were ended before. */
nh_rc nh_node_leave(struct nh_ctx *ctx, const struct nh_node *node, struct nh_err *err);
/* nh_node_list - by name, at most NH_NODES_MAX, in the arena (read). */
nh_rc nh_node_list(struct nh_ctx *ctx, struct nh_node **out, size_t *count, struct nh_err *err);
/*
 * nh_node_bury - another server that stood still with this beat, or is marked already: marks it, ends at most 500 of its connections ("Stale connection") and says how many; none was left: its row goes.
 * NH_ENOTFOUND: it lives after all, or is gone. NH_EIO.
 */
nh_rc nh_node_bury(struct nh_ctx *ctx, const struct nh_node *node, size_t *ended, struct nh_err *err);

/*
 * nh_node_take - what others had to tell this server: as effects, in the order in which they were left, at most NH_NODE_MESSAGES_MAX; *count: how many rows. They are gone with the commit: a server that dies
 * in between loses the connections that they were for, too.
 */
nh_rc nh_node_take(struct nh_ctx *ctx, size_t *count, struct nh_err *err);
/* nh_node_replaced - before a connection's row is written: the server that holds the device's older connection is told to close it. */
nh_rc nh_node_replaced(struct nh_ctx *ctx, int64_t device_id, struct nh_err *err);

/* ---- who stands still ----------------------------------------------------------------------------------------------------- */

struct nh_node_seen {
	char name[64], life[64];
	int64_t beat;
	uint64_t since_ms; /* monotonic: when this beat was first seen */
	bool listed;
};

struct nh_node_watch {
	struct nh_node_seen seen[NH_NODES_MAX];
	size_t count;
	uint64_t looked_ms; /* 0: never */
};

/*
 * nh_node_look - pure: what a list shows at mono_ms (> 0). dead[i]: nodes[i] is another server than own and stood still for lease_ms, or is marked. After a time without a look that is longer than
 * half of lease_ms nobody's standing still counts before now: the one who could not see was this server.
 */
void nh_node_look(struct nh_node_watch *watch, nh_slice own, const struct nh_node *nodes, size_t count, uint64_t mono_ms, uint64_t lease_ms, bool *dead);
