/*
 * Topics: short messages from who knows to who wants to know, in this process, and to the other nodes where the database is PostgreSQL.
 *
 * Messages are hints (payload = ids): delivery is at most once, a subscriber that falls behind loses messages and is told how many. Between nodes
 * they travel by NOTIFY on one channel, sent inside the transaction that causes them with nh_bus_publish_tx; on SQLite that call does nothing, and the
 * effect after commit publishes in-process with nh_bus_publish.
 *
 * What must not be lost lies in the database, and a message only hurries whoever looks there (hub/nodes.h). Conversations have links of their own (bus/links.h).
 *
 * thread: open/close by main; publish any; subscribe/unsubscribe on the subscriber's loop.  source: design/architecture "6. More than one node"
 */
#pragma once

#include "base/err.h"
#include "base/slice.h"

struct nh_buf;
struct nh_bus;
struct nh_bus_sub;
struct nh_db;
struct nh_loop;
struct nh_tx;

#define NH_BUS_TOPIC_MAX 128    /* bytes; [a-z0-9:._-]+ */
#define NH_BUS_PAYLOAD_MAX 4096 /* bytes */

struct nh_bus_config {
	const char *database_url; /* "postgres…": other nodes listen too; NULL or "sqlite:…": this process only */
	size_t pending_max;       /* messages waiting per subscriber; 0 = 256 */
};

/* nh_bus_open - NH_EIO: no thread, or PostgreSQL not reachable. Later losses of the connection are mended in the background. */
nh_rc nh_bus_open(const struct nh_bus_config *config, struct nh_bus **out, struct nh_err *err);
/* Every subscription must be gone; waits for loops that still have to let go of one: they run, or were freed. NULL legal. */
void nh_bus_close(struct nh_bus *bus);

/* lost: how many messages of this topic were dropped before this one because the subscriber was slow (or, -1, unknown: the connection between nodes
 * was interrupted; topic and payload are empty then). Views valid during the call. */
typedef void (*nh_bus_fn)(void *ctx, nh_slice topic, nh_slice payload, int64_t lost);

/* nh_bus_subscribe - fn runs on loop for every message of the topic from now on. [loop] NH_EINVAL (topic). */
nh_rc nh_bus_subscribe(struct nh_bus *bus, const char *topic, struct nh_loop *loop, nh_bus_fn fn, void *ctx, struct nh_bus_sub **out, struct nh_err *err);
void nh_bus_unsubscribe(struct nh_bus_sub *sub); /* [loop] fn is not called any more; NULL legal */

/* nh_bus_publish - to this process's subscribers. NH_EINVAL (topic), NH_ETOOBIG. */
nh_rc nh_bus_publish(struct nh_bus *bus, const char *topic, nh_slice payload, struct nh_err *err);
/* nh_bus_publish_tx - to the subscribers of all other nodes once tx has committed (nothing on SQLite). NH_EINVAL, NH_ETOOBIG, NH_EIO. */
nh_rc nh_bus_publish_tx(struct nh_bus *bus, struct nh_tx *tx, const char *topic, nh_slice payload, struct nh_err *err);

/* nh_bus_put_address - this machine's address on the way to the database, as text: how other servers reach it, if they take that way too. 127.0.0.1 where there is no network between. Any thread. */
void nh_bus_put_address(const struct nh_bus *bus, struct nh_buf *out);
