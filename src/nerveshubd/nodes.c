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
#include "bus/links.h"
#include "crypto/digest.h"
#include "crypto/pki.h"
#include "hub/nodes.h"
#include "hubd.h"

#define TOPIC "node"
#define VALID_US (INT64_C(20) * 365 * 86400 * NH_US_PER_S) /* of a certificate that dies with the process; clocks may differ */
#define SETTLED_BEATS 4 /* then certificates are forgotten once: no transaction that did not know this server can still be open */

struct nodes {
	struct hubd *h;
	struct nh_nodes shared; /* what the hub asks: nh_hub_config.nodes */
	char life[NH_UUID_TEXT_LEN + 1];
	struct nh_bus *bus;
	struct nh_loop *loop;
	struct nh_bus_sub *sub;
	/* links to and from other servers: with a certificate of this life */
	struct nh_links *links;
	struct nh_link_end end;
	struct nh_mount mounts[2];
	struct nh_tls *tls;
	struct nh_buf cert, key, url;
	struct nh_listener *listener;
	pthread_t thread;
	bool thread_runs;
	pthread_mutex_t lock; /* of what follows */
	pthread_cond_t changed;
	bool take, look, stopping;
	uint8_t known[NH_NODES_MAX][NH_TLS_FINGERPRINT_LEN]; /* certificates of the others */
	size_t known_count;
	/* the thread's */
	struct nh_node_watch watch;
	unsigned beats;
	bool told_conflict;
};

static struct nh_node own_row(const struct nodes *n)
{
	return (struct nh_node){.name = n->h->hub.node, .life = nh_slice_str(n->life), .url = n->url.len ? nh_buf_slice(&n->url) : NH_LIT(""),
				.certificate = n->url.len ? nh_buf_slice(&n->cert) : NH_LIT(""), .version = NH_LIT(NH_VERSION)};
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

/* Who may come over a link, and where links lead to. */
static void set_peers(struct nodes *n, const struct nh_node *list, size_t count)
{
	struct nh_link_peer peers[NH_NODES_MAX];
	uint8_t known[NH_NODES_MAX][NH_TLS_FINGERPRINT_LEN];
	size_t peer_count = 0, known_count = 0;
	for (size_t i = 0; i < count; i++) {
		NH_AUTO_CERT struct nh_cert *cert = NULL;
		if (nh_slice_eq(list[i].name, n->h->hub.node) || list[i].life.len == 0 || list[i].certificate.len == 0 || nh_cert_parse_pem(list[i].certificate, &cert, NULL) != NH_OK)
			continue;
		memcpy(known[known_count++], cert->sha256, NH_TLS_FINGERPRINT_LEN);
		peers[peer_count++] = (struct nh_link_peer){list[i].name, list[i].url, list[i].certificate};
	}
	pthread_mutex_lock(&n->lock);
	memcpy(n->known, known, known_count * sizeof known[0]);
	n->known_count = known_count;
	pthread_mutex_unlock(&n->lock);
	if (n->links)
		nh_links_set_peers(n->links, peers, peer_count);
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
		set_peers(n, c.list, c.count);
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

/* ---- links ---------------------------------------------------------------------------------------------------------------- */

static bool is_known(struct nodes *n, const uint8_t *fingerprint)
{
	bool found = false;
	pthread_mutex_lock(&n->lock);
	for (size_t i = 0; i < n->known_count && !found; i++)
		found = memcmp(n->known[i], fingerprint, NH_TLS_FINGERPRINT_LEN) == 0;
	pthread_mutex_unlock(&n->lock);
	return found;
}

static nh_tls_verdict verify(void *app, nh_slice der, const uint8_t fingerprint[NH_TLS_FINGERPRINT_LEN], int64_t *tag)
{
	*tag = 1;
	return is_known(app, fingerprint) ? NH_TLS_ACCEPT : NH_TLS_PENDING;
}

/* Maybe a server that has just entered: the database knows. */
static nh_tls_verdict verify_slow(void *worker, void *app, nh_slice der, const uint8_t fingerprint[NH_TLS_FINGERPRINT_LEN], int64_t *tag)
{
	struct nodes *n = app;
	struct nh_err err = NH_ERR_INIT;
	struct call c = {.nodes = n, .fn = list_fn, .arena = NH_ARENA_INIT};
	*tag = 1;
	if (nh_db_read(n->h->db, call_tx, &c, &err) == NH_OK)
		set_peers(n, c.list, c.count);
	nh_arena_fini(&c.arena);
	return is_known(n, fingerprint) ? NH_TLS_ACCEPT : NH_TLS_REFUSE;
}

/* A key of this life, that nobody has to be given: its certificate lies in the database. */
static nh_rc make_certificate(struct nodes *n, struct nh_err *err)
{
	NH_AUTO_KEY struct nh_key *key = NULL;
	NH_AUTO_CERT struct nh_cert *cert = NULL;
	NH_AUTO_BUF struct nh_buf spki = NH_BUF_INIT, der = NH_BUF_INIT;
	struct nh_san san = {NH_SAN_DNS, NH_LIT(NH_LINK_NAME)};
	struct nh_cert_profile profile = nh_cert_profile_server(nh_now_us() - VALID_US / 20, VALID_US);
	profile.common_name = NH_LIT(NH_LINK_NAME);
	profile.sans = &san;
	profile.san_count = 1;
	NH_TRY(nh_key_generate_p256(&key, err));
	NH_TRY(nh_key_put_spki(&spki, key, err));
	NH_TRY(nh_cert_issue(&der, &profile, nh_buf_slice(&spki), NULL, key, &nh_rng_system, err));
	NH_TRY(nh_cert_parse_der(nh_buf_slice(&der), &cert, err));
	nh_cert_put_pem(&n->cert, cert);
	return nh_key_put_pem(&n->key, key, err);
}

nh_rc nodes_listener(struct hubd *h, struct nh_listener *out, struct nh_err *err)
{
	struct nodes *n = h->nodes;
	const struct settings *s = h->settings;
	if (!n || strcmp(s->node_host, "none") == 0)
		return NH_ENOTFOUND;
	NH_TRY(make_certificate(n, err));
	NH_TRY(nh_tls_server_new(&(struct nh_tls_server_config){.cert_pem = nh_buf_slice(&n->cert), .key_pem = nh_buf_slice(&n->key), .client_auth = NH_TLS_CLIENT_REQUIRED, .verify = nh_server_verify},
	                         &n->tls, err));
	n->end.relay = h->relay;
	n->mounts[0] = (struct nh_mount){.routes = nh_link_routes, .app = &n->end};
	n->listener = out;
	*out = (struct nh_listener){.name = "node", .address = s->bind_address, .port = (uint16_t)s->node_port, .tls = n->tls, .mounts = n->mounts, .verify = verify, .verify_slow = verify_slow, .verify_app = n};
	return NH_OK;
}

/* Where others reach this server: as it was told, or by the address from which it reaches the database. */
static void set_url(struct nodes *n)
{
	NH_AUTO_BUF struct nh_buf host = NH_BUF_INIT;
	if (*n->h->settings->node_host)
		nh_buf_put_str(&host, n->h->settings->node_host);
	else
		nh_bus_put_address(n->bus, &host);
	bool bare = nh_slice_chr(nh_buf_slice(&host), ':') >= 0; /* an IPv6 address */
	nh_buf_printf(&n->url, "https://%s%s%s:%u", bare ? "[" : "", nh_buf_cstr(&host), bare ? "]" : "", n->listener->port);
}

static void open_links(struct nodes *n)
{
	if (!n->listener)
		return;
	set_url(n);
	n->links = nh_links_new(&(struct nh_links_config){.relay = n->h->relay, .loop = n->loop, .cert_pem = nh_buf_slice(&n->cert), .key_pem = nh_buf_slice(&n->key)});
}

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
	open_links(n);
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
	nh_links_close(n->links);
	if (n->loop) {
		nh_loop_stop(n->loop);
		nh_loop_join(n->loop);
	}
	nh_bus_unsubscribe(n->sub);
	nh_loop_free(n->loop);
	h->hub.nodes = NULL;
	nh_bus_close(n->bus);
	nh_tls_unref(n->tls);
	nh_buf_fini(&n->cert);
	nh_buf_wipe(&n->key);
	nh_buf_fini(&n->url);
	pthread_cond_destroy(&n->changed);
	pthread_mutex_destroy(&n->lock);
	free(n);
	h->nodes = NULL;
}
