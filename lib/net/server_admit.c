/*
 * Admission: what happens to a connection between accept and its first handshake step or request.
 *
 *   accepted -> silent -> (TLS) queue -> handshake with a slot -> perhaps stalled -> connection
 *
 * Silent: a bare watched descriptor until its first bytes can be read. A million of them cost accept and close: where places run out, the one that has
 * been silent longest is reset for the newest; who is established is never touched. (TCP_DEFER_ACCEPT would leave them to the kernel, but there they fill
 * the queue of half-open connections, and with SYN cookies it does nothing: the healthy would wait behind them where we cannot choose.)
 *
 * Queue: their hello lies in the socket, in order of arrival. Its length is bounded by what this loop can finish while a peer is still willing to
 * wait: 3/4 of handshake_ms, divided by the measured CPU time of a handshake. Beyond that, newcomers are reset at once, before a byte of TLS: they come back
 * with backoff, while a place in a longer queue would only cost us work for peers that have left.
 *
 * Slots: max_handshakes at a time, so that in a storm finished handshakes keep flowing instead of all timing out together. A slot is for handshakes for
 * which we have work. One that waits for its peer gives its slot back when the loop would idle otherwise, at the latest after SLOT_MS, and is then stalled: it goes
 * on as soon as its peer does. max_stalled bounds their memory; where they are full, the oldest is reset, if it takes longer than peers take
 * at present (mean and deviation, as TCP estimates a round trip); else nobody begins: our peers are slower than we are.
 *
 * Everything here is O(1) an event: lists in order of age, looked at from the front.
 */
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "base/log.h"
#include "server_int.h"

#define TURN 16              /* handshakes begun before the events of others: a few ms */
#define TICK_MS 5
#define SLOT_MS 500          /* a peer that has not answered for so long keeps nobody out */
#define TICK_BATCH 32
#define PEER_MIN_MS 500      /* no handshake is given up for slowness before */
#define MEASURE_EVERY 8      /* handshakes; reading a thread's clock is a system call */
#define COST_GUESS_NS 500000 /* before the first handshake */
#define EPISODE_QUIET_MS 5000

/* ---- clocks ------------------------------------------------------------------------------------------------------------ */

static uint64_t clock_ns(clockid_t id)
{
	struct timespec t;
	clock_gettime(id, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

uint64_t admit_thread_ns(void) { return clock_ns(CLOCK_THREAD_CPUTIME_ID); }

static uint64_t cost_ns(const struct shard *shard) { return shard->admission.cost_ns ? shard->admission.cost_ns : COST_GUESS_NS; }

uint64_t admit_queue_max(const struct shard *shard)
{
	const struct nh_server_config *config = &shard->server->config;
	uint64_t patience_ns = config->handshake_ms * 1000000u / 4 * 3, places = patience_ns / cost_ns(shard);
	if (config->max_queued)
		return config->max_queued;
	return places > config->max_handshakes ? places : config->max_handshakes;
}

/* How long a handshake may take, as peers are at present. */
static uint64_t peer_patience_ms(const struct shard *shard)
{
	const struct admission *ad = &shard->admission;
	uint64_t most = shard->server->config.handshake_ms / 2, ms = ad->answer_ms + 4 * ad->answer_var_ms;
	if (ms < PEER_MIN_MS)
		ms = PEER_MIN_MS;
	return ms < most ? ms : most;
}

/* ---- episodes ---------------------------------------------------------------------------------------------------------- */

static const char *const episode_names[EPISODE_COUNT] = {
	[EPISODE_RATE] = "net.refusing_over_rate", [EPISODE_CAPACITY] = "net.refusing_over_capacity",      [EPISODE_FULL] = "net.refusing_full",
	[EPISODE_SILENT] = "net.closing_silent",   [EPISODE_STALLED] = "net.closing_stalled_handshakes", [EPISODE_DESCRIPTORS] = "net.no_descriptors",
};

void admit_episode(struct shard *shard, episode_kind kind)
{
	struct episode *e = &shard->admission.episodes[kind];
	if (e->count++ == 0)
		NH_LOG(NH_LOG_WARN, episode_names[kind], NH_I("loop", shard->index), NH_I("connections", shard->stats.connections), NH_I("silent", shard->stats.silent),
		       NH_I("waiting", shard->stats.parked), NH_I("stalled", shard->stats.stalled));
	e->last_ms = nh_loop_now_ms(shard->loop);
}

static void episodes_end(struct shard *shard, uint64_t now_ms)
{
	for (size_t i = 0; i < EPISODE_COUNT; i++) {
		struct episode *e = &shard->admission.episodes[i];
		if (e->count == 0 || now_ms - e->last_ms < EPISODE_QUIET_MS)
			continue;
		NH_LOG(NH_LOG_INFO, "net.episode_over", NH_STR("what", episode_names[i]), NH_I("loop", shard->index), NH_I("times", e->count));
		e->count = 0;
	}
}

/* ---- arrivals ---------------------------------------------------------------------------------------------------------- */

static void list_put(struct arrival_list *list, struct arrival *v)
{
	v->in = list;
	v->next = NULL;
	v->prev = list->last;
	if (v->prev)
		v->prev->next = v;
	else
		list->first = v;
	list->last = v;
	__atomic_fetch_add(list->count, 1, __ATOMIC_RELAXED);
}

static void list_take(struct arrival *v)
{
	struct arrival_list *list = v->in;
	if (v->prev)
		v->prev->next = v->next;
	else
		list->first = v->next;
	if (v->next)
		v->next->prev = v->prev;
	else
		list->last = v->prev;
	__atomic_fetch_sub(list->count, 1, __ATOMIC_RELAXED);
}

void admit_reset(int fd) { NH_IGNORE(setsockopt(fd, SOL_SOCKET, SO_LINGER, &(struct linger){.l_onoff = 1}, sizeof(struct linger))); }

static void close_hard(int fd)
{
	admit_reset(fd);
	close(fd);
}

static void arrival_close(struct arrival *v)
{
	list_take(v);
	nh_watch_close(v->watch);
	close_hard(v->fd);
	free(v);
}

static void refuse(struct acceptor *a, int fd, episode_kind why, uint64_t *counter)
{
	COUNT(a->shard, refused, 1);
	__atomic_fetch_add(counter, 1, __ATOMIC_RELAXED);
	admit_episode(a->shard, why);
	close_hard(fd);
}

bool admit_make_room(struct shard *shard)
{
	struct arrival *tls = shard->admission.silent_tls.first, *v = shard->admission.silent_plain.first;
	if (tls && (!v || tls->number < v->number))
		v = tls;
	if (!v)
		return false;
	COUNT(shard, silent_evicted, 1);
	admit_episode(shard, EPISODE_SILENT);
	arrival_close(v);
	return true;
}

static bool over_rate(struct acceptor *a)
{
	uint64_t second = nh_loop_now_ms(a->shard->loop) / 1000;
	if (a->listener->connect_rate == 0)
		return false;
	if (second != a->rate_second) {
		a->rate_second = second;
		a->rate_count = 0;
	}
	return ++a->rate_count > a->listener->connect_rate;
}

static bool full(const struct acceptor *a)
{
	const struct shard *shard = a->shard;
	return shard->stats.connections + shard->stats.silent + shard->stats.parked + shard->files >= shard->server->config.max_connections + a->listener->reserve;
}

static void on_first_bytes(void *arg, unsigned events);

/* Puts a newcomer among those who have not said anything, or sends it away. */
static void place(struct acceptor *a, int take_fd)
{
	struct shard *shard = a->shard;
	struct nh_err err = NH_ERR_INIT;
	if (over_rate(a)) {
		refuse(a, take_fd, EPISODE_RATE, &shard->stats.refused_rate);
		return;
	}
	if (a->listener->tls && shard->stats.parked >= admit_queue_max(shard)) {
		refuse(a, take_fd, EPISODE_CAPACITY, &shard->stats.refused_capacity);
		return;
	}
	if (full(a) && !admit_make_room(shard)) {
		refuse(a, take_fd, EPISODE_FULL, &shard->stats.refused_full);
		return;
	}
	struct arrival *v = nh_xcalloc(1, sizeof *v);
	*v = (struct arrival){.acceptor = a, .since_ms = nh_loop_now_ms(shard->loop), .number = shard->stats.accepted, .fd = take_fd};
	if (nh_watch_open(shard->loop, take_fd, on_first_bytes, v, &v->watch, &err) != NH_OK) {
		NH_LOG(NH_LOG_WARN, "net.accept_failed", NH_STR("why", err.msg));
		close_hard(take_fd);
		free(v);
		return;
	}
	list_put(a->listener->tls ? &shard->admission.silent_tls : &shard->admission.silent_plain, v);
	nh_watch_set(v->watch, NH_READABLE);
}

void admit(struct acceptor *a, int take_fd)
{
	place(a, take_fd);
	/* Last, and with release: who sees it counted as accepted also sees what became of it. */
	__atomic_fetch_add(&a->shard->stats.accepted, 1, __ATOMIC_RELEASE);
}

/* ---- beginning --------------------------------------------------------------------------------------------------------- */

/* first: what was read of it already, TLS only. */
static void begin(struct arrival *v, nh_slice first)
{
	struct shard *shard = v->acceptor->shard;
	bool measured = v->acceptor->listener->tls && shard->admission.begun++ % MEASURE_EVERY == 0;
	uint64_t before = measured ? admit_thread_ns() : 0;
	list_take(v);
	struct nh_conn *c = conn_new(shard, v->acceptor->listener, v->fd, v->watch);
	free(v);
	if (!c)
		return;
	c->measured = measured;
	if (measured)
		c->handshake_ns = (uint32_t)(admit_thread_ns() - before);
	if (first.len)
		nh_tls_feed(c->tls, first);
	conn_begin(c);
}

static bool slot_free(const struct shard *shard) { return shard->stats.handshaking < shard->server->config.max_handshakes; }

/* The next turn of the loop: never inside somebody else's callback, and after the events that wait already. */
static void pump_soon(struct shard *shard)
{
	if (shard->admission.pump_sent || shard->draining)
		return;
	shard->admission.pump_sent = true;
	nh_loop_send(shard->loop, &shard->admission.pump);
}

/* Peers that gave up while they waited must not cost a handshake: in a storm they are many, and have come back already further behind. */
static bool gone(const struct arrival *v)
{
	struct pollfd p = {.fd = v->fd, .events = POLLRDHUP};
	return poll(&p, 1, 0) > 0 && p.revents & (POLLRDHUP | POLLHUP | POLLERR);
}

static void tick_stop(struct shard *shard)
{
	if (shard->admission.ticking)
		nh_timer_stop(shard->admission.tick);
	shard->admission.ticking = false;
}

static void tick_start(struct shard *shard)
{
	struct admission *ad = &shard->admission;
	if (ad->ticking)
		return;
	ad->ticking = true;
	ad->tick_wall_ns = clock_ns(CLOCK_MONOTONIC);
	ad->tick_cpu_ns = admit_thread_ns();
	nh_timer_start(ad->tick, TICK_MS, TICK_MS);
}

static void pump(void *arg)
{
	struct shard *shard = arg;
	struct admission *ad = &shard->admission;
	ad->pump_sent = false;
	if (shard->draining)
		return;
	ad->turn = TURN;
	while (ad->queue.first && ad->turn && slot_free(shard)) {
		struct arrival *v = ad->queue.first;
		if (gone(v)) {
			COUNT(shard, abandoned, 1);
			arrival_close(v);
			continue;
		}
		ad->turn--;
		begin(v, NH_SLICE_EMPTY);
	}
	if (!ad->queue.first)
		tick_stop(shard);
	else if (slot_free(shard))
		pump_soon(shard);
	else
		tick_start(shard);
}

static void enqueue(struct arrival *v)
{
	struct shard *shard = v->acceptor->shard;
	nh_watch_set(v->watch, 0);
	list_take(v);
	list_put(&shard->admission.queue, v);
	pump_soon(shard);
}

static void on_first_bytes(void *arg, unsigned events)
{
	struct arrival *v = arg;
	struct shard *shard = v->acceptor->shard;
	struct admission *ad = &shard->admission;
	bool tls = v->acceptor->listener->tls != NULL, at_once = tls && !ad->queue.first && ad->turn && slot_free(shard);
	/* Whoever may begin is read, others are only looked at: their hello is safe in the kernel. */
	uint8_t first[NH_TLS_FIRST_MAX];
	ssize_t n = at_once ? recv(v->fd, first, sizeof first, 0) : recv(v->fd, first, 1, MSG_PEEK);
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n <= 0) {
		COUNT(shard, abandoned, 1);
		arrival_close(v);
		return;
	}
	if (!tls) {
		begin(v, NH_SLICE_EMPTY);
	} else if (at_once) {
		ad->turn--;
		begin(v, nh_slice_of(first, (size_t)n));
	} else if (shard->stats.parked >= admit_queue_max(shard)) {
		COUNT(shard, refused, 1);
		COUNT(shard, refused_capacity, 1);
		admit_episode(shard, EPISODE_CAPACITY);
		arrival_close(v);
	} else {
		enqueue(v);
	}
}

/* ---- slots ------------------------------------------------------------------------------------------------------------- */

void admit_handshake_begins(struct nh_conn *c)
{
	c->admitted = ADMITTED_SLOT;
	c->begun_ms = nh_loop_now_ms(c->shard->loop);
	COUNT(c->shard, handshaking, 1);
}

conn_class admit_class(const struct nh_conn *c) { return c->admitted == ADMITTED_STALLED ? CLASS_STALLED : CLASS_HANDSHAKE; }

/* As TCP estimates round trips: gains of 1/8 and 1/4. */
static void learn(struct shard *shard, const struct nh_conn *c)
{
	struct admission *ad = &shard->admission;
	int64_t took = (int64_t)(nh_loop_now_ms(shard->loop) - c->begun_ms), off = took - (int64_t)ad->answer_ms;
	ad->answer_ms = (uint64_t)((int64_t)ad->answer_ms + off / 8);
	ad->answer_var_ms = (uint64_t)((int64_t)ad->answer_var_ms + ((off < 0 ? -off : off) - (int64_t)ad->answer_var_ms) / 4);
	if (c->measured)
		ad->cost_ns = ad->cost_ns ? (ad->cost_ns * 7 + c->handshake_ns) / 8 : c->handshake_ns;
	__atomic_store_n(&shard->stats.handshake_cost_ns, ad->cost_ns, __ATOMIC_RELAXED);
}

void admit_handshake_ends(struct nh_conn *c, bool completed)
{
	struct shard *shard = c->shard;
	if (c->admitted == ADMITTED_NOT)
		return;
	if (completed)
		learn(shard, c);
	if (c->admitted == ADMITTED_SLOT)
		UNCOUNT(shard, handshaking, 1);
	else
		UNCOUNT(shard, stalled, 1);
	c->admitted = ADMITTED_NOT;
	c->session = NULL; /* was begun_ms */
	if (shard->admission.queue.first)
		pump_soon(shard);
	else
		shard->admission.turn = TURN;
}

/* True where one more may stall. */
static bool stalled_room(struct shard *shard, uint64_t now_ms)
{
	struct nh_conn *oldest = shard->lists[CLASS_STALLED].first;
	if (shard->stats.stalled < shard->server->config.max_stalled)
		return true;
	if (!oldest || now_ms - oldest->begun_ms < peer_patience_ms(shard))
		return false;
	COUNT(shard, stalled_ended, 1);
	admit_episode(shard, EPISODE_STALLED);
	admit_reset(oldest->fd);
	conn_close(oldest);
	return true;
}

/* The oldest handshake that holds a slot gives it back, if it is older than min_ms. */
static bool stall_one(struct shard *shard, uint64_t now_ms, uint64_t min_ms)
{
	struct nh_conn *c = shard->lists[CLASS_HANDSHAKE].first;
	if (!c || now_ms - c->active_ms < min_ms || !stalled_room(shard, now_ms))
		return false;
	c->admitted = ADMITTED_STALLED;
	UNCOUNT(shard, handshaking, 1);
	COUNT(shard, stalled, 1);
	conn_shift(c, CLASS_STALLED);
	return true;
}

/*
 * Runs while somebody waits for a slot. What the thread did not spend of the time since the last tick it spent waiting for the slots' holders: as many
 * handshakes as fit into that time may begin, and the oldest holders make way. A thread that shares its core seems idle; then more begin than
 * needed, up to max_stalled.
 */
static void on_tick(void *arg)
{
	struct shard *shard = arg;
	struct admission *ad = &shard->admission;
	uint64_t wall = clock_ns(CLOCK_MONOTONIC), cpu = admit_thread_ns(), now_ms = nh_loop_now_ms(shard->loop);
	uint64_t spent = cpu - ad->tick_cpu_ns, passed = wall - ad->tick_wall_ns;
	uint64_t idle = passed > spent ? passed - spent : 0, may = idle / cost_ns(shard);
	ad->tick_wall_ns = wall;
	ad->tick_cpu_ns = cpu;
	if (may > TICK_BATCH)
		may = TICK_BATCH;
	while (may > 0 && stall_one(shard, now_ms, TICK_MS))
		may--;
	while (stall_one(shard, now_ms, SLOT_MS))
		continue;
	pump_soon(shard);
}

/* ---- time and the end --------------------------------------------------------------------------------------------------- */

static void expire(struct shard *shard, struct arrival_list *list, uint64_t now_ms, uint64_t limit_ms)
{
	while (list->first && now_ms - list->first->since_ms >= limit_ms) {
		COUNT(shard, silent_expired, 1);
		arrival_close(list->first);
	}
}

void admit_sweep(struct shard *shard, uint64_t now_ms)
{
	const struct nh_server_config *config = &shard->server->config;
	expire(shard, &shard->admission.silent_tls, now_ms, config->handshake_ms);
	expire(shard, &shard->admission.silent_plain, now_ms, config->head_ms);
	while (stall_one(shard, now_ms, SLOT_MS))
		continue;
	episodes_end(shard, now_ms);
	__atomic_store_n(&shard->stats.queue_max, admit_queue_max(shard), __ATOMIC_RELAXED);
}

void admit_open(struct shard *shard)
{
	struct admission *ad = &shard->admission;
	ad->silent_tls.count = ad->silent_plain.count = &shard->stats.silent;
	ad->queue.count = &shard->stats.parked;
	ad->pump = (struct nh_message){.fn = pump, .arg = shard};
	ad->turn = TURN;
	ad->tick = nh_timer_new(shard->loop, on_tick, shard);
	shard->stats.queue_max = admit_queue_max(shard);
}

void admit_close(struct shard *shard)
{
	struct arrival_list *lists[] = {&shard->admission.silent_tls, &shard->admission.silent_plain, &shard->admission.queue};
	for (size_t i = 0; i < NH_ARRAY_LEN(lists); i++)
		while (lists[i]->first)
			arrival_close(lists[i]->first);
	nh_timer_close(shard->admission.tick);
	shard->admission.tick = NULL;
	shard->admission.ticking = false;
}
