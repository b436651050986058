/*
 * This server among those of its database (hub/nodes.h): one thread that counts the beat up, takes what other servers left for this one, and ends the connections of servers that died. It waits for
 * the database, so it is no loop's; a loop of its own hears the bus and wakes it. Nothing of this exists with SQLite.
 *
 * An outage of the database closes no device's connection: nobody can take anybody for dead meanwhile, and afterwards all look anew for a whole lease. A server that alone lost its way to the database for
 * longer than that finds itself buried, and begins anew.
 */
#include "nodes.h"

#include <pthread.h>
#include <stdlib.h>
#include <time.h>

#include "base/log.h"
#include "base/rng.h"
#include "base/uuid.h"
#include "bus/bus.h"
#include "hub/nodes.h"
#include "hubd.h"

#define TOPIC "node"
#define SETTLED_BEATS 4 /* then certificates are forgotten once: no transaction that did not know this server can still be open */

struct nodes {
	struct hubd *h;
	struct nh_nodes shared; /* what the hub asks: nh_hub_config.nodes */
	char life[NH_UUID_TEXT_LEN + 1];
	struct nh_bus *bus;
	struct nh_loop *loop;
	struct nh_bus_sub *sub;
	pthread_t thread;
	bool thread_runs;
	pthread_mutex_t lock; /* of what follows */
	pthread_cond_t changed;
	bool take, look, stopping;
	/* the thread's */
	struct nh_node_watch watch;
	unsigned beats;
	bool told_conflict;
};

static struct nh_node own_row(const struct nodes *n)
{
	return (struct nh_node){.name = n->h->hub.node, .life = nh_slice_str(n->life), .url = NH_LIT(""), .certificate = NH_LIT(""), .version = NH_LIT(NH_VERSION)};
}

/* ---- transactions ------------------------------------------------------------------------------------------------------ */

struct call {
	struct nodes *nodes;
	nh_rc (*fn)(struct nh_ctx *ctx, struct call *call, struct nh_err *err);
	struct nh_arena arena;
	struct nh_effects effects;
	const struct nh_node *node;
	struct nh_node *list;
	size_t count;
};

static nh_rc call_tx(struct nh_tx *tx, void *arg, struct nh_err *err)
{
	struct call *c = arg;
	c->effects = (struct nh_effects){0};
	c->count = 0;
	struct nh_ctx ctx = {.tx = tx, .arena = &c->arena, .clock = &nh_clock_system, .rng = &nh_rng_system, .config = &c->nodes->h->hub, .effects = nh_tx_reads(tx) ? NULL : &c->effects};
	return c->fn(&ctx, c, err);
}

static nh_rc enter_fn(struct nh_ctx *ctx, struct call *c, struct nh_err *err) { return nh_node_enter(ctx, c->node, err); }
static nh_rc beat_fn(struct nh_ctx *ctx, struct call *c, struct nh_err *err) { return nh_node_beat(ctx, c->node, err); }
static nh_rc leave_fn(struct nh_ctx *ctx, struct call *c, struct nh_err *err) { return nh_node_leave(ctx, c->node, err); }
static nh_rc take_fn(struct nh_ctx *ctx, struct call *c, struct nh_err *err) { return nh_node_take(ctx, &c->count, err); }
static nh_rc bury_fn(struct nh_ctx *ctx, struct call *c, struct nh_err *err) { return nh_node_bury(ctx, c->node, &c->count, err); }
static nh_rc list_fn(struct nh_ctx *ctx, struct call *c, struct nh_err *err) { return nh_node_list(ctx, &c->list, &c->count, err); }
static nh_rc secret_fn(struct nh_ctx *ctx, struct call *c, struct nh_err *err) { return nh_node_secret_check(ctx, c->nodes->h->settings->new_secret, err); }

static nh_rc own_call(struct nodes *n, nh_rc (*fn)(struct nh_ctx *, struct call *, struct nh_err *), struct nh_err *err)
{
	struct nh_node self = own_row(n);
	struct call c = {.nodes = n, .fn = fn, .arena = NH_ARENA_INIT, .node = &self};
	nh_rc rc = nh_db_take(n->h->db, call_tx, &c, err);
	nh_arena_fini(&c.arena);
	return rc;
}

/* ---- what the thread does ------------------------------------------------------------------------------------------------- */

static bool stopping(struct nodes *n)
{
	pthread_mutex_lock(&n->lock);
	bool yes = n->stopping;
	pthread_mutex_unlock(&n->lock);
	return yes;
}

/* It was buried: what it holds is nobody's in the database. */
static void begin_anew(struct nodes *n)
{
	struct nh_err err = NH_ERR_INIT;
	if (own_call(n, enter_fn, &err) != NH_OK)
		return; /* at the next beat */
	NH_LOG(NH_LOG_WARN, "node.buried", NH_STR("effect", "this server was silent for too long; its devices connect again"));
	n->beats = 0;
	nh_device_api_begin_anew(n->h->device_api);
}

static void beat(struct nodes *n)
{
	struct nh_err err = NH_ERR_INIT;
	nh_rc rc = own_call(n, beat_fn, &err);
	if (rc == NH_ENOTFOUND)
		begin_anew(n);
	if (rc == NH_ECONFLICT && !n->told_conflict)
		NH_LOG(NH_LOG_ERROR, "node.name_taken", NH_STR("why", err.msg));
	n->told_conflict = rc == NH_ECONFLICT;
	if (rc == NH_OK && ++n->beats == SETTLED_BEATS)
		nh_device_api_forget_certificates(n->h->device_api);
}

static void take(struct nodes *n)
{
	size_t count;
	do {
		struct nh_err err = NH_ERR_INIT;
		struct call c = {.nodes = n, .fn = take_fn, .arena = NH_ARENA_INIT};
		nh_rc rc = nh_db_take(n->h->db, call_tx, &c, &err);
		count = rc == NH_OK ? c.count : 0;
		if (rc == NH_OK)
			nh_device_api_effects(n->h->device_api, &c.effects);
		else if (!nh_rc_outage(rc))
			NH_LOG(NH_LOG_WARN, "node.take_failed", NH_STR("why", err.msg));
		nh_arena_fini(&c.arena);
	} while (count >= NH_NODE_MESSAGES_MAX);
}

/* One short transaction after the other, so that nobody waits for it. */
static void bury(struct nodes *n, const struct nh_node *dead)
{
	size_t ended = 0;
	struct nh_node row = *dead;
	nh_rc rc;
	do {
		struct nh_err err = NH_ERR_INIT;
		struct call c = {.nodes = n, .fn = bury_fn, .arena = NH_ARENA_INIT, .node = &row};
		rc = nh_db_write(n->h->db, call_tx, &c, &err);
		if (rc == NH_OK)
			nh_device_api_effects(n->h->device_api, &c.effects);
		else if (rc != NH_ENOTFOUND && !nh_rc_outage(rc))
			NH_LOG(NH_LOG_WARN, "node.bury_failed", NH_S("node", row.name), NH_STR("why", err.msg));
		ended += rc == NH_OK ? c.count : 0;
		row.life = NH_LIT("");
		bool more = c.count > 0;
		nh_arena_fini(&c.arena);
		if (!more)
			break;
	} while (rc == NH_OK && !stopping(n));
	if (rc == NH_OK)
		NH_LOG(NH_LOG_WARN, "node.dead", NH_S("node", row.name), NH_I("connections", ended));
}

static void look(struct nodes *n)
{
	struct nh_err err = NH_ERR_INIT;
	struct call c = {.nodes = n, .fn = list_fn, .arena = NH_ARENA_INIT};
	bool dead[NH_NODES_MAX] = {0}, others = false;
	if (nh_db_read(n->h->db, call_tx, &c, &err) == NH_OK) {
		nh_node_look(&n->watch, n->h->hub.node, c.list, c.count, nh_mono_ms(), n->h->settings->node_lease_ms, dead);
		for (size_t i = 0; i < c.count; i++) {
			others = others || !nh_slice_eq(c.list[i].name, n->h->hub.node);
			if (dead[i])
				bury(n, &c.list[i]);
		}
		__atomic_store_n(&n->shared.others, others, __ATOMIC_RELEASE);
	}
	nh_arena_fini(&c.arena);
}

static void after(struct timespec *out, uint64_t ms)
{
	clock_gettime(CLOCK_MONOTONIC, out);
	out->tv_sec += (time_t)(ms / 1000);
	out->tv_nsec += (long)(ms % 1000) * 1000000;
	if (out->tv_nsec >= 1000000000) {
		out->tv_sec++;
		out->tv_nsec -= 1000000000;
	}
}

static void *nodes_main(void *arg)
{
	struct nodes *n = arg;
	uint64_t every_ms = n->h->settings->node_lease_ms / 4 + 1;
	for (;;) {
		struct timespec until;
		bool due = false;
		after(&until, every_ms - nh_rng_below(&nh_rng_system, every_ms / 8 + 1));
		pthread_mutex_lock(&n->lock);
		while (!n->stopping && !n->take && !n->look && !due)
			due = pthread_cond_timedwait(&n->changed, &n->lock, &until) != 0;
		bool end = n->stopping, wants_take = n->take, wants_look = n->look;
		n->take = n->look = false;
		pthread_mutex_unlock(&n->lock);
		if (end)
			return NULL;
		if (due)
			beat(n);
		if (due || wants_take)
			take(n);
		if (due || wants_look)
			look(n);
	}
}

/* ---- the bus ------------------------------------------------------------------------------------------------------------- */

/* lost: whatever it was, it lies in the database. */
static void on_bus(void *ctx, nh_slice topic, nh_slice payload, int64_t lost)
{
	struct nodes *n = ctx;
	bool all = nh_slice_eq_str(payload, "*") || lost != 0;
	pthread_mutex_lock(&n->lock);
	n->look = n->look || all;
	n->take = n->take || all || nh_slice_eq(payload, n->h->hub.node);
	pthread_cond_signal(&n->changed);
	pthread_mutex_unlock(&n->lock);
}

static bool here(void *ctx, int64_t device_id) { return nh_device_api_here(((struct nodes *)ctx)->h->device_api, device_id); }

static nh_rc tell(void *ctx, struct nh_tx *tx, nh_slice node, struct nh_err *err) { return nh_bus_publish_tx(((struct nodes *)ctx)->bus, tx, TOPIC, node, err); }

/* ---- open and close -------------------------------------------------------------------------------------------------------- */

nh_rc nodes_open(struct hubd *h, struct nh_err *err)
{
	if (!nh_db_is_postgres(h->db))
		return NH_OK;
	struct nodes *n = nh_xcalloc(1, sizeof *n);
	struct nh_uuid id;
	pthread_condattr_t monotonic;
	n->h = h;
	h->nodes = n;
	nh_uuid_v4(&id, &nh_rng_system);
	nh_uuid_format(&id, n->life);
	pthread_mutex_init(&n->lock, NULL);
	pthread_condattr_init(&monotonic);
	pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
	pthread_cond_init(&n->changed, &monotonic);
	pthread_condattr_destroy(&monotonic);
	NH_TRY(own_call(n, secret_fn, err));
	NH_TRY(nh_bus_open(&(struct nh_bus_config){.database_url = h->settings->database_url}, &n->bus, err));
	n->shared = (struct nh_nodes){.here = here, .tell = tell, .ctx = n};
	h->hub.nodes = &n->shared;
	return NH_OK;
}

nh_rc nodes_start(struct hubd *h, struct nh_err *err)
{
	struct nodes *n = h->nodes;
	if (!n)
		return NH_OK;
	NH_TRY(nh_loop_new(&(struct nh_loop_config){.name = "nodes"}, &n->loop, err));
	NH_TRY(nh_bus_subscribe(n->bus, TOPIC, n->loop, on_bus, n, &n->sub, err));
	NH_TRY(nh_loop_start(n->loop, err));
	NH_TRY(own_call(n, enter_fn, err));
	look(n);
	if (pthread_create(&n->thread, NULL, nodes_main, n) != 0)
		return NH_FAIL(err, NH_EIO, "cannot start the thread that watches other servers");
	n->thread_runs = true;
	pthread_setname_np(n->thread, "nodes");
	return NH_OK;
}

void nodes_stop(struct hubd *h)
{
	struct nodes *n = h->nodes;
	if (!n || !n->thread_runs)
		return;
	pthread_mutex_lock(&n->lock);
	n->stopping = true;
	pthread_cond_signal(&n->changed);
	pthread_mutex_unlock(&n->lock);
	pthread_join(n->thread, NULL);
	n->thread_runs = false;
}

void nodes_close(struct hubd *h)
{
	struct nodes *n = h->nodes;
	struct nh_err err = NH_ERR_INIT;
	if (!n)
		return;
	nodes_stop(h);
	/* Where that fails, another server finds it dead. */
	if (n->loop && own_call(n, leave_fn, &err) != NH_OK)
		NH_LOG(NH_LOG_INFO, "node.leave_failed", NH_STR("why", err.msg));
	if (n->loop) {
		nh_loop_stop(n->loop);
		nh_loop_join(n->loop);
	}
	nh_bus_unsubscribe(n->sub);
	nh_loop_free(n->loop);
	h->hub.nodes = NULL;
	nh_bus_close(n->bus);
	pthread_cond_destroy(&n->changed);
	pthread_mutex_destroy(&n->lock);
	free(n);
	h->nodes = NULL;
}
