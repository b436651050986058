/*
 * What the database is told of who is here: beginnings and ends of connections, and signs of life, many in one transaction. Heartbeats touch memory only.
 *
 * A beginning is normally written by the join, which follows at once; only where none came for a second it is written from here, as connecting. An end is
 * written at once where nothing else is being written, else with all that gathered meanwhile, so that five thousand ends are some tens of
 * transactions and not five thousand. A connection that ended before its beginning was written is written as one that came and went. Signs of life wait for the
 * next second. What an outage keeps from being written stays here, bounded by the number of connections there were, and is tried again with growing pauses;
 * what is left when the server stops is written then, or found stale at the next start.
 *
 * Late is harmless, for two reasons. An end names its row by device and connection, and a device that came back meanwhile has another connection. A late
 * beginning could take the row from a newer connection; so the registry is asked before it is written and again afterwards, inside the transaction: whoever
 * registers after that second look can only write after our commit, since we hold the row.
 *
 * Of one connection the beginning is always written before the end: one job at a time writes both, an end waits for a beginning that is out, and takes one
 * that is not with it.
 *
 * source: design/connection-layer "Presence"; reference/server-behaviour "2.3"
 */
#include <semaphore.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/log.h"
#include "device_api_int.h"

#define BEGIN_AFTER_MS 1000 /* without a join */
#define BEGINS_MAX 250 /* in one transaction: four or five statements each */
#define ENDS_MAX 250   /* the same: three, or six with a beginning */
#define SEEN_MAX 500   /* source: hub/device_session.h */
#define SEEN_CAP 262144 /* kept during an outage; each comes again in a quarter of an hour */
#define SEEN_EVERY_MS 1000
#define RETRY_FIRST_MS 1000
#define RETRY_MAX_MS 30000

struct presence_end {
	struct presence_end *next;
	struct presence_begin *begin; /* which is not written; else NULL */
	int64_t device_id, at_us;
	char connection_id[NH_UUID_TEXT_LEN + 1];
};

enum begin_state {
	BEGIN_LOOSE,   /* not written, and nobody is about to */
	BEGIN_WAITING, /* in the list */
	BEGIN_OUT,     /* in a transaction of the job */
	BEGIN_WRITTEN,
};

/* ---- transactions ------------------------------------------------------------------------------------------------------ */

struct batch {
	struct nh_device_api *api;
	struct nh_arena arena;
	struct nh_effects effects;
	struct presence_begin *const *begins;
	struct presence_end *ends; /* ends with NULL */
	const struct nh_seen *seen;
	size_t count; /* of begins or seen */
};

/* The device is gone, or its certificate: what memory knew when it came is out of date. It learns that now, and at its next handshake. */
static void turn_out(struct nh_ctx *ctx, const struct nh_opening *o)
{
	if (o->pinned)
		nh_effect_add(ctx, NH_EFFECT_CERT_FORGET, o->device_id, NH_SLICE_EMPTY, nh_slice_of(o->fingerprint, sizeof o->fingerprint));
	nh_effect_add(ctx, NH_EFFECT_DEVICE_CLOSE, o->device_id, NH_LIT("no longer known"), NH_SLICE_EMPTY);
}

static nh_rc overtaken(struct nh_err *err) { return NH_FAIL(err, NH_ECLOSED, "a newer connection of the device came meanwhile"); }

static nh_rc put_begin(struct nh_device_api *api, struct nh_ctx *ctx, struct presence_begin *e, struct nh_err *err)
{
	e->written = false;
	if (!registry_is(&api->registry, e->opening.device_id, e->conn))
		return NH_OK;
	nh_rc rc = nh_session_connect_late(ctx, &e->opening, 0, &e->written, err);
	if (rc == NH_ENOTFOUND) {
		turn_out(ctx, &e->opening);
		return NH_OK;
	}
	NH_TRY(rc);
	return !e->written || registry_is(&api->registry, e->opening.device_id, e->conn) ? NH_OK : overtaken(err);
}

static nh_rc begins_tx(struct nh_tx *tx, void *arg, struct nh_err *err)
{
	struct batch *b = arg;
	b->effects = (struct nh_effects){0};
	struct nh_ctx ctx = device_api_ctx(b->api, tx, &b->arena, &b->effects);
	for (size_t i = 0; i < b->count; i++)
		NH_TRY(put_begin(b->api, &ctx, b->begins[i], err));
	return NH_OK;
}

static nh_rc write_begins(struct nh_device_api *api, struct presence_begin *const *begins, size_t count, struct nh_err *err)
{
	struct batch b = {.api = api, .arena = NH_ARENA_INIT, .begins = begins, .count = count};
	nh_rc rc = nh_db_write(api->config.db, begins_tx, &b, err);
	if (rc == NH_OK) {
		TALLY(api, presence_batches);
		nh_device_api_effects(api, &b.effects);
	}
	nh_arena_fini(&b.arena);
	return rc;
}

static int64_t clock_of_end(void *ctx) { return ((const struct presence_end *)ctx)->at_us; }

/* It came and went. Where the device is here again, the newer connection's row is the one to keep, and this one's end is all there is to tell. */
static nh_rc put_whole(struct nh_device_api *api, struct nh_ctx *ctx, const struct presence_end *e, struct nh_err *err)
{
	struct nh_conn_id newer;
	bool written = false;
	if (registry_get(&api->registry, e->device_id, &newer))
		return nh_session_disconnect(ctx, e->device_id, e->connection_id, NH_SLICE_EMPTY, err);
	nh_rc rc = nh_session_connect_late(ctx, &e->begin->opening, e->at_us, &written, err);
	if (rc == NH_ENOTFOUND)
		return NH_OK;
	NH_TRY(rc);
	return written && registry_get(&api->registry, e->device_id, &newer) ? overtaken(err) : NH_OK;
}

/* Each end at its own time, however late it is written. */
static nh_rc ends_tx(struct nh_tx *tx, void *arg, struct nh_err *err)
{
	struct batch *b = arg;
	b->effects = (struct nh_effects){0};
	for (struct presence_end *e = b->ends; e; e = e->next) {
		struct nh_clock clock = {.now_us = clock_of_end, .ctx = e};
		struct nh_ctx ctx = device_api_ctx(b->api, tx, &b->arena, &b->effects);
		ctx.clock = &clock;
		if (e->begin)
			NH_TRY(put_whole(b->api, &ctx, e, err));
		else
			NH_TRY(nh_session_disconnect(&ctx, e->device_id, e->connection_id, NH_SLICE_EMPTY, err));
	}
	return NH_OK;
}

static nh_rc write_ends(struct nh_device_api *api, struct presence_end *ends, struct nh_err *err)
{
	struct batch b = {.api = api, .arena = NH_ARENA_INIT, .ends = ends};
	nh_rc rc = nh_db_write(api->config.db, ends_tx, &b, err);
	if (rc == NH_OK) {
		TALLY(api, presence_batches);
		nh_device_api_effects(api, &b.effects);
	}
	nh_arena_fini(&b.arena);
	return rc;
}

static nh_rc seen_tx(struct nh_tx *tx, void *arg, struct nh_err *err)
{
	struct batch *b = arg;
	b->effects = (struct nh_effects){0};
	struct nh_ctx ctx = device_api_ctx(b->api, tx, &b->arena, &b->effects);
	return nh_session_seen(&ctx, b->seen, b->count, err);
}

static nh_rc write_seen(struct nh_device_api *api, const struct nh_seen *seen, size_t count, struct nh_err *err)
{
	struct batch b = {.api = api, .arena = NH_ARENA_INIT, .seen = seen, .count = count};
	nh_rc rc = nh_db_write(api->config.db, seen_tx, &b, err);
	if (rc == NH_OK)
		TALLY(api, presence_batches);
	nh_arena_fini(&b.arena);
	return rc;
}

/* ---- beginnings -------------------------------------------------------------------------------------------------------- */

/* All under the lock. */
static void begin_unlink(struct presence *p, struct presence_begin *e)
{
	if (e->prev)
		e->prev->next = e->next;
	else
		p->begins = e->next;
	if (e->next)
		e->next->prev = e->prev;
	else
		p->begins_last = e->prev;
	e->next = e->prev = NULL;
}

static void begin_append(struct presence *p, struct presence_begin *e)
{
	e->state = BEGIN_WAITING;
	e->due_ms = nh_mono_ms() + BEGIN_AFTER_MS;
	e->prev = p->begins_last;
	if (e->prev)
		e->prev->next = e;
	else
		p->begins = e;
	p->begins_last = e;
}

static bool begin_due(const struct presence *p, uint64_t now) { return p->begins && now >= p->begins->due_ms; }

static void end_append(struct presence *p, struct presence_end *end)
{
	end->next = NULL;
	*p->ends_tail = end;
	p->ends_tail = &end->next;
}

/* It is no longer out: whoever waits for it may go on, and where it ended meanwhile, so does its end. */
static void begin_settle(struct presence *p, struct presence_begin *e, enum begin_state state)
{
	struct presence_end *end = e->end;
	e->end = NULL;
	if (end && state == BEGIN_WRITTEN) {
		free(e);
		end_append(p, end);
	} else if (end) {
		e->state = BEGIN_LOOSE;
		end->begin = e;
		end_append(p, end);
	} else if (state == BEGIN_WAITING) {
		begin_append(p, e);
	} else {
		e->state = (uint8_t)state;
	}
}

static size_t take_begins(struct presence *p, struct presence_begin **out, size_t max)
{
	size_t count = 0;
	pthread_mutex_lock(&p->lock);
	for (uint64_t now = nh_mono_ms(); count < max && begin_due(p, now); count++) {
		out[count] = p->begins;
		begin_unlink(p, out[count]);
		out[count]->state = BEGIN_OUT;
	}
	pthread_mutex_unlock(&p->lock);
	return count;
}

/* again: the outage may be over when they are due next; else they stand as their transaction left them. */
static void settle_begins(struct presence *p, struct presence_begin *const *begins, size_t count, bool again)
{
	pthread_mutex_lock(&p->lock);
	for (size_t i = 0; i < count; i++)
		begin_settle(p, begins[i], again ? BEGIN_WAITING : begins[i]->written ? BEGIN_WRITTEN : BEGIN_LOOSE);
	pthread_cond_broadcast(&p->settled);
	pthread_mutex_unlock(&p->lock);
}

/* No outage refused them but something in one of them: each alone, so that it cannot hold up the others. */
static nh_rc write_begins_singly(struct presence *p, struct presence_begin *const *begins, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		struct nh_err err = NH_ERR_INIT;
		nh_rc rc = write_begins(p->api, &begins[i], 1, &err);
		if (nh_rc_outage(rc)) {
			settle_begins(p, &begins[i], count - i, true);
			return rc;
		}
		if (rc != NH_OK) {
			begins[i]->written = false;
			NH_LOG(NH_LOG_WARN, "device.connect_unrecorded", NH_I("device_id", begins[i]->opening.device_id), NH_STR("why", err.msg));
		}
		settle_begins(p, &begins[i], 1, false);
	}
	return NH_OK;
}

/* Those that are due. NH_OK, or the outage that kept some. */
static nh_rc flush_begins(struct presence *p)
{
	struct presence_begin *batch[BEGINS_MAX];
	for (size_t count; (count = take_begins(p, batch, BEGINS_MAX)) > 0;) {
		struct nh_err err = NH_ERR_INIT;
		nh_rc rc = write_begins(p->api, batch, count, &err);
		if (rc == NH_OK || nh_rc_outage(rc)) {
			settle_begins(p, batch, count, rc != NH_OK);
			NH_TRY(rc);
			continue;
		}
		NH_TRY(write_begins_singly(p, batch, count));
	}
	return NH_OK;
}

/* ---- ends -------------------------------------------------------------------------------------------------------------- */

static struct presence_end *take_ends(struct presence *p, size_t *count)
{
	pthread_mutex_lock(&p->lock);
	struct presence_end *first = p->ends, *last = first;
	for (*count = first ? 1 : 0; last && last->next && *count < ENDS_MAX; ++*count)
		last = last->next;
	if (last) {
		p->ends = last->next;
		last->next = NULL;
	}
	if (!p->ends)
		p->ends_tail = &p->ends;
	pthread_mutex_unlock(&p->lock);
	return first;
}

static void put_back(struct presence *p, struct presence_end *ends)
{
	struct presence_end *last = ends;
	while (last->next)
		last = last->next;
	pthread_mutex_lock(&p->lock);
	last->next = p->ends;
	if (!p->ends)
		p->ends_tail = &last->next;
	p->ends = ends;
	pthread_mutex_unlock(&p->lock);
}

static void let_go(struct presence *p, struct presence_end *ends, size_t count)
{
	for (struct presence_end *next; ends; ends = next) {
		next = ends->next;
		free(ends->begin);
		free(ends);
	}
	__atomic_fetch_sub(&p->api->stats.disconnects_pending, count, __ATOMIC_RELAXED);
}

/* No outage refused the batch but something in it: each alone, so that one row cannot hold up the others for ever. */
static nh_rc write_singly(struct presence *p, struct presence_end *ends)
{
	while (ends) {
		struct nh_err err = NH_ERR_INIT;
		struct presence_end *end = ends;
		ends = end->next;
		end->next = NULL;
		nh_rc rc = write_ends(p->api, end, &err);
		if (nh_rc_outage(rc)) {
			end->next = ends;
			put_back(p, end);
			return rc;
		}
		if (rc != NH_OK)
			NH_LOG(NH_LOG_WARN, "device.disconnect_unrecorded", NH_I("device_id", end->device_id), NH_STR("why", err.msg));
		let_go(p, end, 1);
	}
	return NH_OK;
}

/* Until none is left. NH_OK, or the outage that kept the rest. */
static nh_rc flush_ends(struct presence *p)
{
	size_t count = 0;
	for (struct presence_end *ends; (ends = take_ends(p, &count)) != NULL;) {
		struct nh_err err = NH_ERR_INIT;
		nh_rc rc = write_ends(p->api, ends, &err);
		if (rc == NH_OK) {
			let_go(p, ends, count);
			continue;
		}
		if (nh_rc_outage(rc)) {
			put_back(p, ends);
			return rc;
		}
		NH_TRY(write_singly(p, ends));
	}
	return NH_OK;
}

/* ---- signs of life ----------------------------------------------------------------------------------------------------- */

/* Under the lock. */
static bool seen_due(const struct presence *p, uint64_t now) { return p->seen_count > 0 && now >= p->seen_due_ms; }

/* Where the second is over: one transaction of the oldest; the rest waits for the next. */
static nh_rc flush_seen(struct presence *p)
{
	struct nh_seen batch[SEEN_MAX];
	struct nh_err err = NH_ERR_INIT;
	pthread_mutex_lock(&p->lock);
	size_t count = !seen_due(p, nh_mono_ms()) ? 0 : p->seen_count < SEEN_MAX ? p->seen_count : SEEN_MAX;
	for (size_t i = 0; i < count; i++)
		batch[i] = p->seen[i];
	pthread_mutex_unlock(&p->lock);
	if (count == 0)
		return NH_OK;
	nh_rc rc = write_seen(p->api, batch, count, &err);
	if (nh_rc_outage(rc))
		return rc;
	if (rc != NH_OK)
		NH_LOG(NH_LOG_WARN, "device.seen_failed", NH_I("devices", count), NH_STR("why", err.msg));
	pthread_mutex_lock(&p->lock);
	p->seen_count -= count;
	for (size_t i = 0; i < p->seen_count; i++)
		p->seen[i] = p->seen[i + count];
	p->seen_due_ms = nh_mono_ms() + SEEN_EVERY_MS;
	pthread_mutex_unlock(&p->lock);
	return NH_OK;
}

/* ---- the job ----------------------------------------------------------------------------------------------------------- */

/* Under the lock: is there something to write, and nobody who does? */
static bool begin(struct presence *p)
{
	uint64_t now = nh_mono_ms();
	if (p->out || now < p->not_before_ms || (!p->ends && !begin_due(p, now) && !seen_due(p, now)))
		return false;
	p->out = true;
	return true;
}

/* The job is over; true where it has to go on, since something came after its last look. */
static bool end_or_go_on(struct presence *p, nh_rc rc)
{
	pthread_mutex_lock(&p->lock);
	p->failures = rc == NH_OK ? 0 : p->failures + 1;
	uint64_t pause = 0;
	for (unsigned i = 0; i < p->failures; i++)
		pause = pause == 0 ? RETRY_FIRST_MS : pause < RETRY_MAX_MS ? pause * 2 : RETRY_MAX_MS;
	p->not_before_ms = pause ? nh_mono_ms() + pause / 2 + nh_rng_below(p->api->config.rng, pause / 2) : 0;
	p->out = false;
	bool more = begin(p);
	pthread_mutex_unlock(&p->lock);
	return more;
}

static void run(void *worker, struct nh_work *work)
{
	struct presence *p = (struct presence *)(void *)((char *)work - offsetof(struct presence, work));
	nh_rc rc;
	do {
		rc = flush_begins(p);
		if (rc == NH_OK)
			rc = flush_ends(p);
		if (rc == NH_OK)
			rc = flush_seen(p);
	} while (end_or_go_on(p, rc));
}

static void kick(struct presence *p)
{
	pthread_mutex_lock(&p->lock);
	bool start = begin(p);
	pthread_mutex_unlock(&p->lock);
	if (!start)
		return;
	p->work = (struct nh_work){.run = run};
	nh_work_queue(p->api->config.pool, NULL, &p->work);
}

/* ---- what sessions say ------------------------------------------------------------------------------------------------- */

static void copy_id(char *to, const char *from)
{
	for (size_t i = 0; i <= NH_UUID_TEXT_LEN; i++)
		to[i] = from[i];
}

struct presence_begin *presence_begin_new(struct presence *p, int64_t device_id, nh_slice fingerprint)
{
	struct presence_begin *begin = nh_xcalloc(1, sizeof *begin);
	nh_opening_make(&begin->opening, device_id, fingerprint, p->api->config.clock, p->api->config.rng);
	return begin;
}

void presence_begin_free(struct presence_begin *begin) { free(begin); }

void presence_began(struct presence *p, struct presence_begin *begin, struct nh_conn_id conn)
{
	pthread_mutex_lock(&p->lock);
	begin->conn = conn;
	begin_append(p, begin);
	pthread_mutex_unlock(&p->lock);
}

bool presence_take(struct presence *p, struct presence_begin *begin)
{
	pthread_mutex_lock(&p->lock);
	while (begin->state == BEGIN_OUT)
		pthread_cond_wait(&p->settled, &p->lock);
	if (begin->state == BEGIN_WAITING) {
		begin_unlink(p, begin);
		begin->state = BEGIN_LOOSE;
	}
	bool unwritten = begin->state == BEGIN_LOOSE;
	pthread_mutex_unlock(&p->lock);
	return unwritten;
}

void presence_give_back(struct presence *p, struct presence_begin *begin)
{
	pthread_mutex_lock(&p->lock);
	begin_append(p, begin);
	pthread_mutex_unlock(&p->lock);
}

void presence_ended(struct presence *p, const struct nh_session *session, struct presence_begin *take_begin)
{
	struct presence_end *end = nh_xcalloc(1, sizeof *end);
	struct presence_begin *written = NULL;
	*end = (struct presence_end){.device_id = session->device_id, .at_us = nh_clock_now(p->api->config.clock)};
	copy_id(end->connection_id, session->connection_id);
	TALLY(p->api, disconnects_pending);
	pthread_mutex_lock(&p->lock);
	if (take_begin && take_begin->state == BEGIN_OUT) {
		take_begin->end = end; /* begin_settle takes both from here */
	} else {
		if (take_begin && take_begin->state == BEGIN_WAITING)
			begin_unlink(p, take_begin);
		if (take_begin && take_begin->state == BEGIN_WRITTEN)
			written = take_begin;
		else
			end->begin = take_begin;
		end_append(p, end);
	}
	pthread_mutex_unlock(&p->lock);
	free(written);
	kick(p);
}

bool presence_seen(struct presence *p, const struct nh_session *session)
{
	struct nh_seen seen = {.device_id = session->device_id, .at_us = nh_clock_now(p->api->config.clock)};
	copy_id(seen.connection_id, session->connection_id);
	pthread_mutex_lock(&p->lock);
	bool room = p->seen_count < SEEN_CAP;
	if (room && p->seen_count == p->seen_cap) {
		p->seen_cap = p->seen_cap ? p->seen_cap * 2 : 64;
		p->seen = realloc(p->seen, p->seen_cap * sizeof *p->seen);
		NH_ASSERT(p->seen);
	}
	if (room)
		p->seen[p->seen_count++] = seen;
	pthread_mutex_unlock(&p->lock);
	return room;
}

/* ---- start and stop ---------------------------------------------------------------------------------------------------- */

/*
 * What wall-clock times tolerate here: ends and signs of life only tell people when; rows are found by connection and not by time; stale connections are looked
 * for at the start of a node only. Updates under way would all look overdue after a step forward: presence_clock_even.
 */
static void watch_clock(struct presence *p)
{
	pthread_mutex_lock(&p->lock);
	uint64_t now_ms = nh_mono_ms();
	int64_t step_us = nh_clock_look(&p->clock, nh_clock_now(p->api->config.clock), now_ms);
	pthread_mutex_unlock(&p->lock);
	if (step_us == 0)
		return;
	TALLY(p->api, clock_steps);
	__atomic_store_n(&p->stepped_ms, now_ms, __ATOMIC_RELAXED);
	NH_LOG(NH_LOG_WARN, "clock.stepped", NH_I("seconds", step_us / NH_US_PER_S));
}

/* Looks itself: a step forward makes the very jobs due that ask here, before the next tick has seen it. */
bool presence_clock_even(struct presence *p, uint64_t for_ms)
{
	watch_clock(p);
	uint64_t stepped_ms = __atomic_load_n(&p->stepped_ms, __ATOMIC_RELAXED);
	return stepped_ms == 0 || nh_mono_ms() - stepped_ms >= for_ms;
}

static void on_tick(void *arg)
{
	watch_clock(arg);
	kick(arg);
}

static void start_on_loop(void *arg)
{
	struct presence *p = arg;
	watch_clock(p); /* the first look is what the others are held against */
	p->timer = nh_timer_new(p->loop, on_tick, p);
	nh_timer_start(p->timer, SEEN_EVERY_MS, SEEN_EVERY_MS);
}

void presence_init(struct presence *p, struct nh_device_api *api)
{
	*p = (struct presence){.api = api};
	pthread_mutex_init(&p->lock, NULL);
	pthread_cond_init(&p->settled, NULL);
	p->ends_tail = &p->ends;
}

nh_rc presence_start(struct presence *p, struct nh_loop *loop, struct nh_err *err)
{
	p->loop = loop;
	nh_rc rc = nh_loop_post(loop, start_on_loop, p);
	return rc == NH_OK ? NH_OK : NH_FAIL(err, rc, "cannot start the timer of presence");
}

struct stop {
	struct presence *presence;
	sem_t done;
};

static void stop_on_loop(void *arg)
{
	struct stop *stop = arg;
	nh_timer_close(stop->presence->timer);
	stop->presence->timer = NULL;
	sem_post(&stop->done);
}

void presence_stop(struct presence *p)
{
	if (!p->loop)
		return;
	struct stop stop = {.presence = p};
	struct nh_message message = {.fn = stop_on_loop, .arg = &stop};
	sem_init(&stop.done, 0, 0);
	nh_loop_send(p->loop, &message);
	while (sem_wait(&stop.done) != 0)
		continue;
	sem_destroy(&stop.done);
}

void presence_fini(struct presence *p)
{
	size_t left = 0;
	if (flush_ends(p) != NH_OK) {
		for (struct presence_end *ends; (ends = take_ends(p, &left)) != NULL;)
			let_go(p, ends, left);
		NH_LOG(NH_LOG_WARN, "device.disconnects_unwritten", NH_STR("effect", "these devices are shown as connected until the next start"));
	}
	free(p->seen);
	pthread_cond_destroy(&p->settled);
	pthread_mutex_destroy(&p->lock);
}
