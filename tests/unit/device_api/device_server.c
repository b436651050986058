#include "device_server.h"

#include <pthread.h>
#include <time.h>

#include "base/process.h"
#include "loop/loop.h"
#include "net/tls.h"

static void must(nh_rc rc, const struct nh_err *err, const char *what)
{
	if (rc != NH_OK)
		fail_msg("%s: %s %s", what, nh_rc_name(rc), err->msg);
}

/* ---- the server ----------------------------------------------------------------------------------------------------------- */

static void make_identity(struct device_server *s, struct nh_buf *cert_pem, struct nh_buf *key_pem)
{
	struct nh_err err = NH_ERR_INIT;
	static const uint8_t loopback[4] = {127, 0, 0, 1};
	struct nh_san san = {NH_SAN_IP, {loopback, 4}};
	struct nh_cert_profile ca = nh_cert_profile_ca(nh_now_us(), 10 * DAY_US), leaf = nh_cert_profile_server(nh_now_us(), 5 * DAY_US);
	ca.ski = leaf.aki = true;
	leaf.sans = &san;
	leaf.san_count = 1;
	must(issue(ca, "test root", NULL, NULL, &s->root, &err), &err, "root");
	must(issue(leaf, "server", &s->root, NULL, &s->identity, &err), &err, "server certificate");
	nh_cert_put_pem(cert_pem, s->identity.cert);
	must(nh_key_put_pem(key_pem, s->identity.key, &err), &err, "server key");
}

static void put_object(struct device_server *s, const char *key)
{
	struct nh_err err = NH_ERR_INIT;
	struct nh_object_upload *u = NULL;
	NH_AUTO_BUF struct nh_buf bytes = NH_BUF_INIT;
	for (int i = 0; i < 50000; i++)
		nh_buf_put_u8(&bytes, (uint8_t)(i * 31 + i / 256));
	must(nh_objects_upload(s->objects, &u, &err), &err, "upload");
	must(nh_object_upload_write(u, nh_buf_slice(&bytes), &err), &err, "upload");
	must(nh_object_upload_commit(u, key, &err), &err, "upload");
}

void device_server_open(struct device_server *s, struct nh_db *take_db, nh_rc (*fill)(struct world *w, struct nh_err *err), void *arg)
{
	struct nh_err err = NH_ERR_INIT;
	NH_AUTO_BUF struct nh_buf cert_pem = NH_BUF_INIT;
	NH_AUTO_BUF struct nh_buf key_pem = NH_BUF_INIT;
	*s = (struct device_server){.db = take_db, .world = {.arg = arg}, .dir = "/tmp/nh-device-api-XXXXXX"};
	struct scenario scenario = {&s->world, fill};
	must(nh_db_write(s->db, run_scenario, &scenario, &err), &err, "world");

	assert_non_null(mkdtemp(s->dir));
	must(nh_objects_open_dir(s->dir, &s->objects, &err), &err, "objects");
	put_object(s, "firmware/2.fw");
	must(nh_pool_new(&(struct nh_pool_config){.threads = 3}, &s->pool, &err), &err, "pool");
	make_identity(s, &cert_pem, &key_pem);
	must(nh_tls_server_new(&(struct nh_tls_server_config){.cert_pem = nh_buf_slice(&cert_pem), .key_pem = nh_buf_slice(&key_pem),
	                                                      .client_auth = NH_TLS_CLIENT_OPTIONAL, .verify = nh_server_verify},
	                       &s->tls, &err), &err, "tls");

	s->api = nh_device_api_new(&(struct nh_device_api_config){.db = s->db, .objects = s->objects, .pool = s->pool, .hub = &s->world.config,
	                                                          .clock = &s->world.clock, .rng = &nh_rng_system, .known_certificates = 64});
	s->mounts[0] = (struct nh_mount){.routes = nh_device_api_routes, .app = s->api};
	s->listener = (struct nh_listener){.name = "device", .address = "127.0.0.1", .tls = s->tls, .mounts = s->mounts, .verify = nh_device_api_verify,
	                                   .verify_slow = nh_device_api_verify_slow, .verify_app = s->api};
	must(nh_server_open(&(struct nh_server_config){.loops = 2, .pool = s->pool, .listeners = &s->listener, .listener_count = 1}, &s->server, &err), &err,
	     "server");
	must(nh_device_api_start(s->api, s->server, &err), &err, "device api");
	must(nh_server_start(s->server, &err), &err, "start");
	must(nh_loop_new(&(struct nh_loop_config){0}, &s->client_loop, &err), &err, "client loop");
	must(nh_loop_start(s->client_loop, &err), &err, "client loop");
}

void device_server_close(struct device_server *s)
{
	int status;
	nh_loop_stop(s->client_loop);
	nh_loop_join(s->client_loop);
	nh_loop_free(s->client_loop);
	nh_device_api_stop(s->api);
	nh_server_drain(s->server, 2000);
	nh_pool_free(s->pool);
	nh_server_free(s->server);
	nh_device_api_free(s->api);
	nh_tls_unref(s->tls);
	nh_objects_close(s->objects);
	pair_fini(&s->root);
	pair_fini(&s->identity);
	json_decref(s->world.errors);
	nh_arena_fini(&s->world.arena);
	const char *const argv[] = {"rm", "-r", s->dir, NULL};
	NH_IGNORE(nh_process_run(&(struct nh_process){.argv = argv}, &status, NULL, NULL, NULL)); /* a left-over folder in /tmp fails nothing */
}

struct rules {
	struct world *world;
	nh_rc (*run)(struct world *w, struct nh_err *err);
};

static nh_rc run_rules(struct nh_tx *tx, void *arg, struct nh_err *err)
{
	struct rules *r = arg;
	r->world->effects = (struct nh_effects){0};
	r->world->ctx.tx = tx;
	return r->run(r->world, err);
}

void device_server_do(struct device_server *s, nh_rc (*run)(struct world *w, struct nh_err *err))
{
	struct nh_err err = NH_ERR_INIT;
	struct rules r = {&s->world, run};
	must(nh_db_write(s->db, run_rules, &r, &err), &err, "rules");
	nh_device_api_effects(s->api, &s->world.effects);
}

/* ---- what its database says ------------------------------------------------------------------------------------------------ */

struct looking {
	struct device_server *s;
	int64_t device;
	struct look look;
};

static nh_rc look_tx(struct nh_tx *tx, void *arg, struct nh_err *err)
{
	struct looking *l = arg;
	NH_AUTO_ARENA struct nh_arena arena = NH_ARENA_INIT;
	struct nh_connection c = {0};
	struct nh_ctx ctx = {.tx = tx, .arena = &arena, .clock = &l->s->world.clock, .config = &l->s->world.config};
	nh_rc rc = nh_connection_get(&ctx, l->device, &c, err);
	l->look = (struct look){.established_at_us = c.established_at_us, .disconnected_at_us = c.disconnected_at_us};
	snprintf(l->look.status, sizeof(l->look.status), "%.*s", NH_ARG(c.status));
	snprintf(l->look.id, sizeof(l->look.id), "%.*s", NH_ARG(c.id));
	return rc == NH_ENOTFOUND ? NH_OK : rc;
}

struct look look(struct device_server *s, int64_t device)
{
	struct nh_err err = NH_ERR_INIT;
	struct looking l = {.s = s, .device = device};
	must(nh_db_read(s->db, look_tx, &l, &err), &err, "looking at a connection");
	return l.look;
}

struct nh_device_api_stats device_server_stats(struct device_server *s)
{
	struct nh_device_api_stats out;
	nh_device_api_stats(s->api, &out);
	return out;
}

void wait_for_pending(struct device_server *s, uint64_t count)
{
	uint64_t deadline = nh_mono_ms() + DEADLINE_S * 1000;
	while (device_server_stats(s).disconnects_pending != count) {
		if (nh_mono_ms() > deadline)
			fail_msg("%llu ends pending, not %llu", (unsigned long long)device_server_stats(s).disconnects_pending, (unsigned long long)count);
		nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
	}
}

void wait_for_status(struct device_server *s, int64_t device, const char *status)
{
	uint64_t deadline = nh_mono_ms() + DEADLINE_S * 1000;
	while (strcmp(look(s, device).status, status) != 0) {
		if (nh_mono_ms() > deadline)
			fail_msg("the device is %s and not %s", look(s, device).status, status);
		nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
	}
}

/* ---- a device ------------------------------------------------------------------------------------------------------------- */

#define FRAMES_MAX 64

struct peer {
	struct nh_loop *loop;
	struct nh_ws_client *client;
	struct nh_tls *tls;
	pthread_mutex_t lock;
	pthread_cond_t changed;
	bool open, closed, released;
	struct peer_end end;
	char *frames[FRAMES_MAX];
	size_t first, count;
	char *current;
	struct nh_buf url;
	struct nh_client_header headers[4];
	size_t header_count;
	struct nh_ws_client_config config;
};

/* Waits for a change until the deadline; the lock is held. */
static void wait_for_change(struct peer *p, const char *what)
{
	struct timespec until;
	clock_gettime(CLOCK_REALTIME, &until);
	until.tv_sec += DEADLINE_S;
	if (pthread_cond_timedwait(&p->changed, &p->lock, &until) != 0) {
		pthread_mutex_unlock(&p->lock);
		fail_msg("no %s within %d s", what, DEADLINE_S);
	}
}

static void on_open(void *ctx, const struct nh_http_response_head *head)
{
	struct peer *p = ctx;
	pthread_mutex_lock(&p->lock);
	p->open = true;
	pthread_cond_broadcast(&p->changed);
	pthread_mutex_unlock(&p->lock);
}

static void on_message(void *ctx, nh_ws_opcode opcode, nh_slice data)
{
	struct peer *p = ctx;
	pthread_mutex_lock(&p->lock);
	NH_ASSERT(p->count < FRAMES_MAX);
	p->frames[(p->first + p->count++) % FRAMES_MAX] = nh_xstrdup(data);
	pthread_cond_broadcast(&p->changed);
	pthread_mutex_unlock(&p->lock);
}

static void on_close(void *ctx, const struct nh_ws_client_closed *closed)
{
	struct peer *p = ctx;
	pthread_mutex_lock(&p->lock);
	p->end = (struct peer_end){closed->rc, closed->code, closed->status, closed->date_us != 0};
	p->closed = true;
	pthread_cond_broadcast(&p->changed);
	pthread_mutex_unlock(&p->lock);
}

struct task {
	struct peer *peer;
	nh_slice bytes;
	nh_ws_opcode opcode;
	bool done;
};

static void finish(struct task *t)
{
	pthread_mutex_lock(&t->peer->lock);
	t->done = true;
	pthread_cond_broadcast(&t->peer->changed);
	pthread_mutex_unlock(&t->peer->lock);
}

static void open_on_loop(void *arg)
{
	struct task *t = arg;
	struct nh_err err = NH_ERR_INIT;
	struct nh_ws_client_events events = {on_open, on_message, on_close, t->peer};
	if (nh_ws_client_open(t->peer->loop, &t->peer->config, &events, &t->peer->client, &err) != NH_OK)
		t->peer->closed = true;
	finish(t);
}

static void send_on_loop(void *arg)
{
	struct task *t = arg;
	NH_IGNORE(nh_ws_client_send(t->peer->client, t->opcode, t->bytes)); /* a closed socket shows in what the test waits for */
	finish(t);
}

static void close_on_loop(void *arg)
{
	struct task *t = arg;
	nh_ws_client_close(t->peer->client);
	finish(t);
}

static void on_loop(struct task *t, nh_loop_fn fn)
{
	struct nh_message message = {.fn = fn, .arg = t};
	nh_loop_send(t->peer->loop, &message);
	pthread_mutex_lock(&t->peer->lock);
	while (!t->done)
		wait_for_change(t->peer, "answer of the client's loop");
	pthread_mutex_unlock(&t->peer->lock);
}

static struct nh_tls *client_tls(struct device_server *s, const struct pair *device)
{
	struct nh_err err = NH_ERR_INIT;
	struct nh_tls *tls = NULL;
	NH_AUTO_BUF struct nh_buf ca = NH_BUF_INIT;
	NH_AUTO_BUF struct nh_buf cert = NH_BUF_INIT;
	NH_AUTO_BUF struct nh_buf key = NH_BUF_INIT;
	nh_cert_put_pem(&ca, s->root.cert);
	if (device) {
		nh_cert_put_pem(&cert, device->cert);
		must(nh_key_put_pem(&key, device->key, &err), &err, "device key");
	}
	must(nh_tls_client_new(&(struct nh_tls_client_config){.ca_pem = nh_buf_slice(&ca), .cert_pem = nh_buf_slice(&cert), .key_pem = nh_buf_slice(&key)}, &tls, &err), &err, "client tls");
	return tls;
}

struct peer *peer_new(struct device_server *s, const char *path, const struct pair *device, const struct nh_nh1_headers *secret)
{
	struct peer *p = nh_xcalloc(1, sizeof(*p));
	p->loop = s->client_loop;
	p->tls = client_tls(s, device);
	pthread_mutex_init(&p->lock, NULL);
	pthread_cond_init(&p->changed, NULL);
	nh_buf_printf(&p->url, "wss://127.0.0.1:%u%s", s->listener.port, path);
	if (secret) {
		p->headers[0] = (struct nh_client_header){"x-nh-alg", secret->alg};
		p->headers[1] = (struct nh_client_header){"x-nh-key", secret->key};
		p->headers[2] = (struct nh_client_header){"x-nh-time", secret->time};
		p->headers[3] = (struct nh_client_header){"x-nh-signature", secret->signature};
		p->header_count = 4;
	}
	p->config = (struct nh_ws_client_config){.url = nh_buf_slice(&p->url), .tls = p->tls, .headers = p->headers, .header_count = p->header_count,
	                                         .connect_timeout_ms = DEADLINE_S * 1000, .max_output_bytes = (size_t)16 << 20};
	struct task t = {.peer = p};
	on_loop(&t, open_on_loop);
	pthread_mutex_lock(&p->lock);
	while (!p->open && !p->closed)
		wait_for_change(p, "upgrade");
	pthread_mutex_unlock(&p->lock);
	return p;
}

void peer_free(struct peer *p)
{
	struct task t = {.peer = p};
	on_loop(&t, close_on_loop);
	for (size_t i = 0; i < p->count; i++)
		free(p->frames[(p->first + i) % FRAMES_MAX]);
	free(p->current);
	nh_tls_unref(p->tls);
	nh_buf_fini(&p->url);
	pthread_cond_destroy(&p->changed);
	pthread_mutex_destroy(&p->lock);
	free(p);
}

bool peer_open(struct peer *p)
{
	pthread_mutex_lock(&p->lock);
	bool open = p->open;
	pthread_mutex_unlock(&p->lock);
	return open;
}

void peer_send(struct peer *p, const char *text)
{
	struct task t = {.peer = p, .bytes = nh_slice_str(text), .opcode = NH_WS_TEXT};
	on_loop(&t, send_on_loop);
}

void peer_send_binary(struct peer *p, nh_slice bytes)
{
	struct task t = {.peer = p, .bytes = bytes, .opcode = NH_WS_BINARY};
	on_loop(&t, send_on_loop);
}

const char *peer_next(struct peer *p)
{
	pthread_mutex_lock(&p->lock);
	while (p->count == 0 && !p->closed)
		wait_for_change(p, "frame");
	if (p->count == 0) {
		pthread_mutex_unlock(&p->lock);
		fail_msg("closed with %u instead of a frame", p->end.code);
	}
	free(p->current);
	p->current = p->frames[p->first];
	p->first = (p->first + 1) % FRAMES_MAX;
	p->count--;
	pthread_mutex_unlock(&p->lock);
	return p->current;
}

const char *peer_until(struct peer *p, const char *part)
{
	const char *frame;
	do
		frame = peer_next(p);
	while (!strstr(frame, part));
	return frame;
}

struct peer_end peer_end(struct peer *p)
{
	pthread_mutex_lock(&p->lock);
	while (!p->closed)
		wait_for_change(p, "close");
	struct peer_end end = p->end;
	pthread_mutex_unlock(&p->lock);
	return end;
}

/* ---- downloads ------------------------------------------------------------------------------------------------------------- */

struct get {
	struct peer peer; /* only its lock, loop and condition */
	struct nh_http_get_config config;
	struct nh_http_get *request;
	struct download *out;
};

static void keep(const struct nh_http_headers *headers, const char *name, char *out, size_t size)
{
	snprintf(out, size, "%.*s", NH_ARG(nh_http_header_get(headers, name)));
}

static nh_rc get_head(void *ctx, const struct nh_http_response_head *head)
{
	struct get *g = ctx;
	g->out->status = head->status;
	keep(&head->headers, "content-range", g->out->content_range, sizeof(g->out->content_range));
	keep(&head->headers, "content-length", g->out->content_length, sizeof(g->out->content_length));
	keep(&head->headers, "etag", g->out->etag, sizeof(g->out->etag));
	return NH_OK;
}

static nh_rc get_body(void *ctx, nh_slice bytes)
{
	nh_buf_put_slice(&((struct get *)ctx)->out->body, bytes);
	return NH_OK;
}

static void get_done(void *ctx, nh_rc rc, const struct nh_err *err)
{
	struct get *g = ctx;
	g->out->rc = rc;
	nh_http_get_close(g->request);
	pthread_mutex_lock(&g->peer.lock);
	g->peer.closed = true;
	pthread_cond_broadcast(&g->peer.changed);
	pthread_mutex_unlock(&g->peer.lock);
}

static void get_on_loop(void *arg)
{
	struct get *g = arg;
	struct nh_http_get_events events = {get_head, get_body, get_done, g};
	NH_ASSERT(nh_http_get_open(g->peer.loop, &g->config, &events, &g->request, NULL) == NH_OK);
}

struct download fetch(struct device_server *s, const char *url, bool range, uint64_t first)
{
	struct download out = {0};
	struct get g = {.out = &out, .peer = {.loop = s->client_loop, .tls = client_tls(s, NULL)}};
	NH_AUTO_BUF struct nh_buf local = NH_BUF_INIT;
	const char *path = strchr(strstr(url, "://") + 3, '/');
	nh_buf_printf(&local, "https://127.0.0.1:%u%s", s->listener.port, path);
	g.config = (struct nh_http_get_config){.url = nh_buf_slice(&local), .tls = g.peer.tls, .range = range, .range_first = first,
	                                       .connect_timeout_ms = DEADLINE_S * 1000};
	pthread_mutex_init(&g.peer.lock, NULL);
	pthread_cond_init(&g.peer.changed, NULL);
	struct nh_message message = {.fn = get_on_loop, .arg = &g};
	nh_loop_send(s->client_loop, &message);
	pthread_mutex_lock(&g.peer.lock);
	while (!g.peer.closed)
		wait_for_change(&g.peer, "download");
	pthread_mutex_unlock(&g.peer.lock);
	pthread_cond_destroy(&g.peer.changed);
	pthread_mutex_destroy(&g.peer.lock);
	nh_tls_unref(g.peer.tls);
	return out;
}
