/*
 * The server around its connections: binding, one shard a loop, accepting within limits, time-outs, drain, counters.
 *
 * Who may begin, and who is refused, is decided in server_admit.c.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <malloc.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "server_int.h"

#define SWEEP_MS 250
#define LINGER_MS 2000
#define IDLE_MS 180000 /* of WebSockets whose handler does not say */
#define TRIM_AFTER 1000 /* connections gone or jobs done before memory is worth giving back */
#define ACCEPTS_PER_EVENT 256 /* about a ms: faster than handshakes, so that in a storm we choose and not the kernel's full queue */
#define BACKLOG 4096
#define FD_RESERVE 200 /* for the database, files and the log */

/* ---- binding ----------------------------------------------------------------------------------------------------------- */

static socklen_t address_of(const struct nh_listener *l, struct sockaddr_storage *out)
{
	struct sockaddr_in *v4 = (struct sockaddr_in *)(void *)out;
	struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)(void *)out;
	*out = (struct sockaddr_storage){0};
	if (inet_pton(AF_INET, l->address, &v4->sin_addr) == 1) {
		v4->sin_family = AF_INET;
		v4->sin_port = htons(l->port);
		return sizeof *v4;
	}
	if (inet_pton(AF_INET6, l->address, &v6->sin6_addr) == 1) {
		v6->sin6_family = AF_INET6;
		v6->sin6_port = htons(l->port);
		return sizeof *v6;
	}
	return 0;
}

static nh_rc bind_failure(const struct nh_listener *l, int error, struct nh_err *err)
{
	if (error == EADDRINUSE)
		return NH_FAIL(err, NH_ECONFLICT, "port %u on %s is in use by another program; choose another for the %s listener", l->port, l->address, l->name);
	if (error == EACCES)
		return NH_FAIL(err, NH_EPERM, "port %u on %s needs more rights than this process has", l->port, l->address);
	return NH_FAIL(err, NH_EIO, "cannot listen on %s port %u: %s", l->address, l->port, strerror(error));
}

static nh_rc bind_socket(struct nh_listener *l, bool share, int *out, struct nh_err *err)
{
	struct sockaddr_storage address;
	socklen_t len = address_of(l, &address);
	if (len == 0)
		return NH_FAIL(err, NH_EINVAL, "'%s' is no address to listen on; expected something like 0.0.0.0, 127.0.0.1 or ::", l->address);
	int fd = socket(address.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), on = 1;
	if (fd < 0)
		return bind_failure(l, errno, err);
	NH_IGNORE(setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on));
	NH_IGNORE(setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on)); /* what it accepts inherits it */
	if (share)
		NH_IGNORE(setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &on, sizeof on));
	if (bind(fd, (struct sockaddr *)&address, len) != 0 || listen(fd, BACKLOG) != 0) {
		int error = errno;
		close(fd);
		return bind_failure(l, error, err);
	}
	len = sizeof address;
	if (getsockname(fd, (struct sockaddr *)&address, &len) == 0)
		l->port = ntohs(address.ss_family == AF_INET ? ((struct sockaddr_in *)(void *)&address)->sin_port : ((struct sockaddr_in6 *)(void *)&address)->sin6_port);
	*out = fd;
	return NH_OK;
}

/*
 * SO_REUSEPORT would let a second server of the same user take half of the connections unnoticed: a first bind without it proves that the port is free.
 */
static nh_rc prove_free(struct nh_listener *l, struct nh_err *err)
{
	int fd = -1;
	if (l->port == 0)
		return NH_OK;
	NH_TRY(bind_socket(l, false, &fd, err));
	close(fd);
	return NH_OK;
}

/* ---- accepting --------------------------------------------------------------------------------------------------------- */

/* No descriptors. The socket stays readable: without a rest the loop would spin. The next sweep looks again. */
static void rest(struct acceptor *a)
{
	COUNT(a->shard, accept_pauses, 1);
	admit_episode(a->shard, EPISODE_DESCRIPTORS);
	nh_watch_set(a->watch, 0);
	a->shard->starved = true;
}

/* The kernel looks for a descriptor first: it says EMFILE also where nobody waits. */
static bool somebody_waits(const struct acceptor *a)
{
	struct pollfd p = {.fd = a->fd, .events = POLLIN};
	return poll(&p, 1, 0) > 0;
}

static void on_acceptable(void *arg, unsigned events)
{
	struct acceptor *a = arg;
	for (unsigned i = 0; i < ACCEPTS_PER_EVENT; i++) {
		int fd = accept4(a->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
		if (fd >= 0) {
			admit(a, fd);
			continue;
		}
		bool exhausted = errno == EMFILE || errno == ENFILE || errno == ENOMEM || errno == ENOBUFS;
		bool transient = errno == ECONNABORTED || errno == EINTR;
		if (exhausted && !somebody_waits(a))
			return;
		if (transient || (exhausted && admit_make_room(a->shard)))
			continue;
		if (exhausted)
			rest(a);
		return;
	}
}

/* ---- time -------------------------------------------------------------------------------------------------------------- */

static void set_limits(struct shard *shard)
{
	const struct nh_server_config *config = &shard->server->config;
	const uint64_t limits[CLASS_WEBSOCKET] = {
		[CLASS_HANDSHAKE] = config->handshake_ms, [CLASS_STALLED] = config->handshake_ms, [CLASS_VERIFYING] = config->handshake_ms,
		[CLASS_HEAD] = config->head_ms, [CLASS_BODY] = config->body_ms, [CLASS_KEEP_ALIVE] = config->keep_alive_ms,
		[CLASS_LINGER] = LINGER_MS, [CLASS_WORKING] = UINT64_MAX};
	for (size_t class = 0; class < CLASS_WEBSOCKET; class++)
		shard->lists[class].limit_ms = limits[class];
}

conn_class shard_idle_class(struct shard *shard, uint64_t idle_ms)
{
	size_t i = 0;
	idle_ms = idle_ms ? idle_ms : IDLE_MS;
	while (i < shard->idle_times && shard->lists[CLASS_WEBSOCKET + i].limit_ms != idle_ms)
		i++;
	if (i == shard->idle_times) {
		NH_ASSERT(i < IDLE_TIMES); /* handlers are the program's, not a peer's */
		shard->lists[CLASS_WEBSOCKET + i].limit_ms = idle_ms;
		shard->idle_times++;
	}
	return (conn_class)(CLASS_WEBSOCKET + i);
}

static void timed_out(struct nh_conn *c)
{
	if (c->class == CLASS_BODY && exchange_window_over(c))
		return;
	if (c->class == CLASS_HANDSHAKE || c->class == CLASS_STALLED)
		COUNT(c->shard, stalled_ended, 1);
	if (c->state == CONN_WEBSOCKET)
		nh_ws_close(c, NH_WS_CLOSE_PROTOCOL, NH_LIT("idle")); /* source: reference/device-protocol "4" */
	else if (c->state == CONN_HEAD && c->class == CLASS_HEAD && c->in.len) {
		c->keep_alive = false;
		exchange_fault(c, NULL, 408, "Request Timeout");
	} else {
		conn_close(c);
	}
}

static void trim_run(void *worker, struct nh_work *work) { malloc_trim(0); }

static void trim_done(struct nh_work *work)
{
	struct shard *shard = (struct shard *)(void *)((char *)work - offsetof(struct shard, trim));
	shard->trimming = false;
}

/* After a mass disconnect, or a mass of joins (each leaves a few KiB in the heap), once it has calmed down. */
static void give_memory_back(struct shard *shard)
{
	bool calm = shard->released == shard->released_seen;
	shard->released_seen = shard->released;
	if (!calm || shard->released < TRIM_AFTER || shard->trimming)
		return;
	shard->trim = (struct nh_work){.run = trim_run, .done = trim_done};
	if (nh_work_submit(shard->server->config.pool, shard->loop, &shard->trim) != NH_OK)
		return; /* busy: the next sweep tries again */
	shard->trimming = true;
	shard->released = shard->released_seen = 0;
}

static void accept_again(struct shard *shard)
{
	shard->starved = false;
	for (size_t i = 0; i < shard->server->config.listener_count; i++)
		if (shard->acceptors[i].watch)
			nh_watch_set(shard->acceptors[i].watch, NH_READABLE);
}

static void on_sweep(void *arg)
{
	struct shard *shard = arg;
	uint64_t now = nh_loop_now_ms(shard->loop);
	for (size_t class = 0; class < CLASS_COUNT; class++) {
		struct conn_list *list = &shard->lists[class];
		while (list->first && now - list->first->active_ms >= list->limit_ms)
			timed_out(list->first);
	}
	if (shard->starved)
		accept_again(shard);
	admit_sweep(shard, now);
	give_memory_back(shard);
}

/* ---- drain ------------------------------------------------------------------------------------------------------------- */

struct drain {
	struct nh_server *server;
	uint64_t drain_ms;
	sem_t empty; /* posted once by each shard */
};

struct shard_drain {
	struct drain *drain;
	struct shard *shard;
};

static void close_all(struct shard *shard)
{
	for (size_t class = 0; class < CLASS_COUNT; class++)
		while (shard->lists[class].first)
			conn_close(shard->lists[class].first);
}

#define DRAIN_TICK_MS 50

static struct nh_conn *some_websocket(struct shard *shard)
{
	struct nh_conn *c = NULL;
	for (unsigned i = 0; !c && i < shard->idle_times; i++)
		c = shard->lists[CLASS_WEBSOCKET + i].first;
	return c;
}

static void on_drain_tick(void *arg)
{
	struct shard_drain *d = arg;
	struct shard *shard = d->shard;
	struct nh_conn *c;
	for (uint64_t i = 0; i < shard->drain_step && (c = some_websocket(shard)); i++)
		nh_ws_close(c, NH_WS_CLOSE_RESTART, NH_LIT("restarting"));
	while ((c = shard->lists[CLASS_KEEP_ALIVE].first))
		conn_close(c);
	if (nh_loop_now_ms(shard->loop) >= shard->drain_until_ms)
		close_all(shard);
	/* Jobs of connections that are closed already count: their sinks and sessions still need the pool. */
	if (shard->alive)
		return;
	struct drain *drain = d->drain;
	nh_timer_close(shard->drain_timer);
	shard->drain_timer = NULL;
	free(d);
	sem_post(&drain->empty);
}

static void close_acceptors(struct shard *shard)
{
	for (size_t i = 0; i < shard->server->config.listener_count; i++) {
		struct acceptor *a = &shard->acceptors[i];
		nh_watch_close(a->watch);
		a->watch = NULL;
		if (a->fd >= 0)
			close(a->fd);
		a->fd = -1;
	}
}

static void drain_shard(void *arg)
{
	struct shard_drain *d = arg;
	struct shard *shard = d->shard;
	uint64_t spread_ticks = d->drain->drain_ms * 3 / 4 / DRAIN_TICK_MS;
	shard->draining = true;
	close_acceptors(shard);
	admit_close(shard);
	shard->drain_until_ms = nh_loop_now_ms(shard->loop) + d->drain->drain_ms;
	shard->drain_step = shard->stats.websockets / (spread_ticks ? spread_ticks : 1) + 1;
	shard->drain_timer = nh_timer_new(shard->loop, on_drain_tick, d);
	nh_timer_start(shard->drain_timer, 0, DRAIN_TICK_MS);
}

/* A mailbox may be full of work for a moment; a drain has the time to wait for it. */
static void post_surely(struct nh_loop *loop, nh_loop_fn fn, void *arg)
{
	nh_rc rc;
	while ((rc = nh_loop_post(loop, fn, arg)) == NH_EAGAIN)
		usleep(1000);
	NH_ASSERT(rc == NH_OK);
}

void nh_server_drain(struct nh_server *server, uint64_t drain_ms)
{
	struct drain drain = {.server = server, .drain_ms = drain_ms};
	sem_init(&drain.empty, 0, 0);
	for (unsigned i = 0; i < server->started; i++) {
		struct shard_drain *d = nh_xcalloc(1, sizeof *d);
		*d = (struct shard_drain){&drain, &server->shards[i]};
		post_surely(server->shards[i].loop, drain_shard, d);
	}
	for (unsigned i = 0; i < server->started; i++)
		while (sem_wait(&drain.empty) != 0)
			continue;
	sem_destroy(&drain.empty);
	/* What on_close callbacks set to work. */
	nh_pool_drain(server->config.pool);
}

/* ---- open and free ----------------------------------------------------------------------------------------------------- */

static void defaults(struct nh_server_config *config)
{
	uint64_t descriptors = nh_fd_limit_raise();
	if (config->loops == 0)
		config->loops = 1;
	if (config->max_connections == 0)
		config->max_connections = descriptors > 2 * FD_RESERVE ? (size_t)(descriptors - FD_RESERVE) / config->loops : 100;
	if (config->max_handshakes == 0)
		config->max_handshakes = 96;
	if (config->max_stalled == 0)
		config->max_stalled = 2048;
	if (config->max_later == 0)
		config->max_later = 1024;
	if (config->body_rate == 0)
		config->body_rate = 1000;
	if (config->handshake_ms == 0)
		config->handshake_ms = 20000;
	if (config->head_ms == 0)
		config->head_ms = 20000;
	if (config->body_ms == 0)
		config->body_ms = 60000;
	if (config->keep_alive_ms == 0)
		config->keep_alive_ms = 60000;
}

static nh_rc shard_open(struct nh_server *server, unsigned index, struct nh_err *err)
{
	struct shard *shard = &server->shards[index];
	char name[16];
	snprintf(name, sizeof name, "loop-%u", index);
	shard->server = server;
	shard->index = index;
	shard->buffer = nh_xcalloc(1, READ_BUFFER);
	shard->acceptors = nh_xcalloc(server->config.listener_count, sizeof *shard->acceptors);
	for (size_t i = 0; i < server->config.listener_count; i++)
		shard->acceptors[i] = (struct acceptor){.shard = shard, .listener = &server->listeners[i], .fd = -1};
	NH_TRY(nh_loop_new(&(struct nh_loop_config){.name = name, .mailbox_max = 65536}, &shard->loop, err));
	set_limits(shard);
	admit_open(shard);
	for (size_t i = 0; i < server->config.listener_count; i++) {
		struct acceptor *a = &shard->acceptors[i];
		NH_TRY(bind_socket(&server->listeners[i], true, &a->fd, err));
		NH_TRY(nh_watch_open(shard->loop, a->fd, on_acceptable, a, &a->watch, err));
		nh_watch_set(a->watch, NH_READABLE);
	}
	shard->sweep = nh_timer_new(shard->loop, on_sweep, shard);
	nh_timer_start(shard->sweep, SWEEP_MS, SWEEP_MS);
	return NH_OK;
}

nh_rc nh_server_open(const struct nh_server_config *config, struct nh_server **out, struct nh_err *err)
{
	struct nh_server *server = nh_xcalloc(1, sizeof *server);
	nh_rc rc = NH_OK;
	*out = NULL;
	server->config = *config;
	defaults(&server->config);
	server->listeners = nh_xcalloc(config->listener_count, sizeof *server->listeners);
	server->shards = nh_xcalloc(server->config.loops, sizeof *server->shards);
	for (size_t i = 0; i < config->listener_count; i++)
		server->listeners[i] = config->listeners[i];
	for (size_t i = 0; rc == NH_OK && i < config->listener_count; i++)
		rc = prove_free(&server->listeners[i], err);
	for (unsigned i = 0; rc == NH_OK && i < server->config.loops; i++)
		rc = shard_open(server, i, err);
	for (size_t i = 0; i < config->listener_count; i++)
		config->listeners[i].port = server->listeners[i].port;
	if (rc != NH_OK) {
		nh_server_free(server);
		return rc;
	}
	*out = server;
	return NH_OK;
}

nh_rc nh_server_start(struct nh_server *server, struct nh_err *err)
{
	for (; server->started < server->config.loops; server->started++)
		NH_TRY(nh_loop_start(server->shards[server->started].loop, err));
	return NH_OK;
}

static void shard_free(struct shard *shard)
{
	if (!shard->loop)
		goto memory;
	shard->draining = true;
	close_acceptors(shard);
	admit_close(shard);
	nh_timer_close(shard->sweep);
	nh_loop_free(shard->loop);
memory:
	free(shard->acceptors);
	free(shard->buffer);
	free(shard->slots);
	free(shard->free_slots);
}

void nh_server_free(struct nh_server *server)
{
	if (!server)
		return;
	for (unsigned i = 0; i < server->started; i++) {
		nh_loop_stop(server->shards[i].loop);
		nh_loop_join(server->shards[i].loop);
	}
	for (unsigned i = 0; i < server->config.loops; i++)
		shard_free(&server->shards[i]);
	free(server->shards);
	free(server->listeners);
	free(server);
}

struct nh_loop *nh_server_loop(struct nh_server *server, unsigned i)
{
	NH_ASSERT(i < server->config.loops);
	return server->shards[i].loop;
}

/* ---- figures -------------------------------------------------------------------------------------------------------------- */

void nh_server_stats(const struct nh_server *server, struct nh_server_stats *out)
{
	uint64_t *sum = (uint64_t *)out, measured = 0;
	*out = (struct nh_server_stats){0};
	for (unsigned i = 0; i < server->config.loops; i++) {
		const uint64_t *part = (const uint64_t *)&server->shards[i].stats;
		for (size_t field = 0; field < sizeof *out / sizeof *sum; field++)
			sum[field] += __atomic_load_n(&part[field], __ATOMIC_ACQUIRE);
		measured += __atomic_load_n(&server->shards[i].stats.handshake_cost_ns, __ATOMIC_RELAXED) != 0;
	}
	out->handshake_cost_ns /= measured ? measured : 1; /* a mean, not a sum */
}
