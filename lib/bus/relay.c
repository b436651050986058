/*
 * The relay: who looks on at which channel of which device, and what is under way to each end. Payloads are copied once and shared by all who get them; each end has a queue that
 * its loop empties.
 *
 * Locking: the relay's mutex guards topics, queues, questions and the state of ends. Callbacks run on loops without it. An end is referenced by its owner and by the one message
 * it may have on its way to the loop; it is freed when both have let go. A question belongs to its loop, which frees it after its answer was given.
 */
#include <stdlib.h>

#include "base/arena.h"
#include "relay_int.h"

/* ---- packets and queues: under the mutex ----------------------------------------------------------------------------------- */

struct packet *nh_relay_packet(nh_slice event, nh_slice payload)
{
	struct packet *p = nh_xcalloc(1, sizeof *p + event.len + payload.len);
	p->event_len = (uint32_t)event.len;
	p->payload_len = payload.len;
	if (event.len > 0)
		memcpy(p->bytes, event.ptr, event.len);
	if (payload.len > 0)
		memcpy(p->bytes + event.len, payload.ptr, payload.len);
	return p;
}

size_t nh_relay_size_of(const struct packet *p) { return sizeof(struct item) + sizeof *p + p->event_len + p->payload_len; }
static nh_slice event_of(const struct packet *p) { return nh_slice_of(p->bytes, p->event_len); }
static nh_slice payload_of(const struct packet *p) { return nh_slice_of(p->bytes + p->event_len, p->payload_len); }

static void item_free(struct item *item)
{
	if (--item->packet->refs == 0)
		free(item->packet);
	free(item);
}

/* A packet that nobody got. */
void nh_relay_packet_drop(struct packet *p)
{
	if (p->refs == 0)
		free(p);
}

static struct item *queue_take(struct end *e)
{
	struct item *item = e->head;
	e->head = item->next;
	if (!e->head)
		e->tail = &e->head;
	return item;
}

static void queue_empty(struct end *e)
{
	while (e->head) {
		struct item *item = queue_take(e);
		e->pending -= nh_relay_size_of(item->packet);
		item_free(item);
	}
}

static void queue_add(struct end *e, struct packet *packet, nh_relay_news news, uint64_t number)
{
	struct item *item = nh_xcalloc(1, sizeof *item);
	*item = (struct item){.packet = packet, .news = news, .number = number};
	packet->refs++;
	*e->tail = item;
	e->tail = &item->next;
	e->pending += nh_relay_size_of(packet);
	e->relay->stats.messages++;
	if (!e->posted) {
		e->posted = true;
		e->relay->posted++;
		nh_loop_send(e->loop, &e->message);
	}
}

/* ---- viewers --------------------------------------------------------------------------------------------------------------- */

static struct nh_relay_viewer *viewer_of(struct end *e) { return (struct nh_relay_viewer *)e; }

static bool viewer_fits(const struct nh_relay_viewer *v, const struct packet *p)
{
	return !v->missed && v->end.pending + v->waiting + nh_relay_size_of(p) <= NH_RELAY_PENDING_MAX;
}

void nh_relay_viewer_add(struct nh_relay_viewer *v, struct packet *p, nh_relay_news news)
{
	if (viewer_fits(v, p)) {
		queue_add(&v->end, p, news, v->lost);
		v->lost = 0;
	} else if (news == NH_RELAY_MESSAGE) {
		v->lost++;
		v->end.relay->stats.lost++;
	} else {
		v->missed = true;
	}
}

static void tell(struct topic *t, nh_relay_news news, nh_slice event, nh_slice payload)
{
	if (!t->viewers)
		return;
	struct packet *p = nh_relay_packet(event, payload);
	for (struct nh_relay_viewer *v = t->viewers; v; v = v->next) {
		if (!nh_relay_hears(v, SOURCE_HERE, news))
			continue;
		nh_relay_viewer_add(v, p, news);
		if (news == NH_RELAY_CLOSED)
			nh_relay_fall_back(v);
	}
	nh_relay_packet_drop(p);
}

void nh_relay_tell_one(struct nh_relay_viewer *v, nh_relay_news news, nh_slice event, nh_slice payload)
{
	struct packet *p = nh_relay_packet(event, payload);
	nh_relay_viewer_add(v, p, news);
	nh_relay_packet_drop(p);
}

/* OPENED and what was said so far, where the device is there. */
void nh_relay_tell_open(struct nh_relay_viewer *v)
{
	struct topic *t = v->end.topic;
	if (!t->device || !nh_relay_hears(v, SOURCE_HERE, NH_RELAY_OPENED))
		return;
	nh_relay_tell_one(v, NH_RELAY_OPENED, NH_LIT("metadata"), nh_buf_slice(&t->about));
	if (t->scrollback.len > 0) {
		NH_AUTO_BUF struct nh_buf text = NH_BUF_INIT;
		nh_scrollback_put(&t->scrollback, &text);
		nh_relay_tell_one(v, NH_RELAY_REPLAY, NH_SLICE_EMPTY, nh_buf_slice(&text));
	}
}

/* A slow viewer that has caught up is told what it missed. */
static void viewer_catch_up(struct nh_relay_viewer *v)
{
	if ((!v->missed && v->lost == 0) || v->end.pending + v->waiting > NH_RELAY_PENDING_MAX / 2)
		return;
	bool missed = v->missed;
	v->missed = false;
	if (v->lost > 0)
		nh_relay_tell_one(v, NH_RELAY_MESSAGE, NH_SLICE_EMPTY, NH_SLICE_EMPTY);
	if (missed) {
		v->source = SOURCE_NONE;
		nh_relay_tell_one(v, NH_RELAY_CLOSED, NH_SLICE_EMPTY, NH_SLICE_EMPTY);
		nh_relay_fall_back(v);
	}
}

static void viewer_call(struct end *e, const struct item *item)
{
	viewer_of(e)->fn(e->ctx, item->news, event_of(item->packet), payload_of(item->packet), item->number);
}

/* ---- ends: delivering ------------------------------------------------------------------------------------------------------- */

static void device_call(struct end *e, const struct item *item)
{
	((struct nh_relay_device *)e)->fn(e->ctx, event_of(item->packet), payload_of(item->packet), item->number);
}

static void arrived(struct nh_relay *relay)
{
	relay->posted--;
	pthread_cond_broadcast(&relay->changed);
}

#define TURN 64 /* messages of one end; then the loop's others have theirs, also where somebody says more all the time */

/* On the end's loop: runs what is queued, one message at a time, since a callback may close its end. */
static void deliver(void *arg)
{
	struct end *e = arg;
	struct nh_relay *relay = e->relay;
	pthread_mutex_lock(&relay->mutex);
	for (unsigned turn = 0; e->head && !e->gone; turn++) {
		if (turn == TURN) {
			nh_loop_send(e->loop, &e->message);
			pthread_mutex_unlock(&relay->mutex);
			return;
		}
		struct item *item = queue_take(e);
		pthread_mutex_unlock(&relay->mutex);
		e->call(e, item);
		pthread_mutex_lock(&relay->mutex);
		e->pending -= nh_relay_size_of(item->packet);
		item_free(item);
		if (e->call == viewer_call && !e->gone)
			viewer_catch_up(viewer_of(e));
	}
	e->posted = false;
	bool gone = e->gone;
	arrived(relay);
	pthread_mutex_unlock(&relay->mutex);
	if (gone)
		free(e);
}

static void end_init(struct end *e, struct topic *t, struct nh_relay *relay, struct nh_loop *loop, void (*call)(struct end *, const struct item *), void *ctx)
{
	*e = (struct end){.relay = relay, .topic = t, .loop = loop, .call = call, .ctx = ctx, .message = {.fn = deliver, .arg = e}};
	e->tail = &e->head;
}

/* Its owner lets go. True: nothing is on its way, so that the caller frees it, without the mutex. */
static bool end_leave(struct end *e)
{
	queue_empty(e);
	e->gone = true;
	return !e->posted;
}

/* ---- topics: under the mutex -------------------------------------------------------------------------------------------------- */

struct topic *nh_relay_topic_find(struct nh_relay *relay, int64_t device_id, nh_relay_channel channel)
{
	int64_t key[2] = {device_id, (int64_t)channel};
	return nh_map_get(relay->topics, nh_slice_of(key, sizeof key));
}

static struct topic *topic_get(struct nh_relay *relay, int64_t device_id, nh_relay_channel channel)
{
	struct topic *t = nh_relay_topic_find(relay, device_id, channel);
	if (t)
		return t;
	t = nh_xcalloc(1, sizeof *t);
	t->key.device_id = device_id;
	t->key.channel = (int64_t)channel;
	nh_map_put(relay->topics, nh_slice_of(&t->key, sizeof t->key), t);
	return t;
}

static void topic_leave(struct nh_relay *relay, struct topic *t)
{
	if (t->device || t->viewers)
		return;
	nh_map_del(relay->topics, nh_slice_of(&t->key, sizeof t->key));
	free(t);
}

/* ---- questions ----------------------------------------------------------------------------------------------------------------- */

static void question_send(struct question *q)
{
	q->posted = true;
	q->relay->posted++;
	nh_loop_send(q->loop, &q->message);
}

/* Under the mutex. */
void nh_relay_question_settle(struct question *q, nh_rc rc, nh_slice answer)
{
	struct nh_relay_device *d = q->device;
	if (d) {
		*(q->prev ? &q->prev->next : &d->questions) = q->next;
		if (q->next)
			q->next->prev = q->prev;
		d->question_count--;
	}
	if (q->away)
		nh_map_del(q->relay->away, nh_slice_of(&q->number, sizeof q->number));
	q->away = false;
	q->device = NULL;
	q->settled = true;
	q->rc = rc;
	nh_buf_put_slice(&q->answer, answer);
	if (!q->posted)
		question_send(q);
}

static void question_end(struct question *q)
{
	nh_timer_close(q->timer);
	q->fn(q->ctx, q->rc, nh_buf_slice(&q->answer));
	pthread_mutex_lock(&q->relay->mutex);
	q->relay->stats.questions--;
	pthread_cond_broadcast(&q->relay->changed);
	pthread_mutex_unlock(&q->relay->mutex);
	nh_buf_fini(&q->answer);
	free(q);
}

static void question_late(void *arg)
{
	struct question *q = arg;
	pthread_mutex_lock(&q->relay->mutex);
	if (!q->settled)
		nh_relay_question_settle(q, NH_ETIMEOUT, NH_SLICE_EMPTY);
	pthread_mutex_unlock(&q->relay->mutex);
}

static void question_arrives(void *arg)
{
	struct question *q = arg;
	pthread_mutex_lock(&q->relay->mutex);
	q->posted = false;
	bool settled = q->settled;
	arrived(q->relay);
	pthread_mutex_unlock(&q->relay->mutex);
	if (settled) {
		question_end(q);
		return;
	}
	q->timer = nh_timer_new(q->loop, question_late, q);
	nh_timer_start(q->timer, q->timeout_ms, 0);
}

/* Under the mutex: NH_OK, or why it is answered at once. */
static nh_rc question_put(struct question *q, struct nh_relay_device *d, nh_slice event, nh_slice payload)
{
	if (!d || !d->fn)
		return NH_ECLOSED;
	struct packet *p = nh_relay_packet(event, payload);
	if (d->question_count >= NH_RELAY_QUESTIONS_MAX || d->end.pending + nh_relay_size_of(p) > NH_RELAY_PENDING_MAX) {
		nh_relay_packet_drop(p);
		return NH_EAGAIN;
	}
	q->device = d;
	q->next = d->questions;
	if (q->next)
		q->next->prev = q;
	d->questions = q;
	d->question_count++;
	queue_add(&d->end, p, NH_RELAY_MESSAGE, q->number);
	return NH_OK;
}

static void ask(struct nh_relay *relay, int64_t device_id, nh_slice event, nh_slice payload, uint64_t timeout_ms, struct nh_loop *loop, nh_relay_answer_fn fn, void *ctx, bool guest)
{
	struct question *q = nh_xcalloc(1, sizeof *q);
	*q = (struct question){.relay = relay, .timeout_ms = timeout_ms, .loop = loop, .fn = fn, .ctx = ctx, .message = {.fn = question_arrives, .arg = q}};
	pthread_mutex_lock(&relay->mutex);
	q->number = ++relay->last_question;
	relay->stats.questions++;
	struct topic *t = nh_relay_topic_find(relay, device_id, NH_RELAY_SCRIPTS);
	nh_rc rc = question_put(q, t ? t->device : NULL, event, payload);
	if (rc == NH_ECLOSED && !guest && nh_relay_remote_ask(q, device_id, event, payload))
		rc = NH_OK;
	if (rc == NH_OK)
		question_send(q);
	else
		nh_relay_question_settle(q, rc, NH_SLICE_EMPTY);
	pthread_mutex_unlock(&relay->mutex);
}

void nh_relay_ask(struct nh_relay *relay, int64_t device_id, nh_slice event, nh_slice payload, uint64_t timeout_ms, struct nh_loop *loop, nh_relay_answer_fn fn, void *ctx)
{
	ask(relay, device_id, event, payload, timeout_ms, loop, fn, ctx, false);
}

void nh_relay_guest_ask(struct nh_relay *relay, int64_t device_id, nh_slice event, nh_slice payload, uint64_t timeout_ms, struct nh_loop *loop, nh_relay_answer_fn fn, void *ctx)
{
	ask(relay, device_id, event, payload, timeout_ms, loop, fn, ctx, true);
}

void nh_relay_device_answer(struct nh_relay_device *end, uint64_t question, nh_slice payload)
{
	struct nh_relay *relay = end->end.relay;
	pthread_mutex_lock(&relay->mutex);
	struct question *q = end->questions;
	while (q && q->number != question)
		q = q->next;
	if (q && payload.len > NH_RELAY_PENDING_MAX)
		nh_relay_question_settle(q, NH_ETOOBIG, NH_SLICE_EMPTY);
	else if (q)
		nh_relay_question_settle(q, NH_OK, payload);
	pthread_mutex_unlock(&relay->mutex);
}

/* ---- the device's end ------------------------------------------------------------------------------------------------------------ */

/* Under the mutex: the topic has no device any more, and this end nobody to talk to. */
static void device_detach(struct nh_relay_device *d)
{
	struct topic *t = d->end.topic;
	queue_empty(&d->end);
	while (d->questions)
		nh_relay_question_settle(d->questions, NH_ECLOSED, NH_SLICE_EMPTY);
	d->end.topic = NULL;
	t->device = NULL;
	nh_buf_fini(&t->about);
	nh_scrollback_clear(&t->scrollback, &d->end.relay->budget);
	d->end.relay->stats.devices--;
	tell(t, NH_RELAY_CLOSED, NH_SLICE_EMPTY, NH_SLICE_EMPTY);
}

struct nh_relay_device *nh_relay_device_open(struct nh_relay *relay, int64_t device_id, nh_relay_channel channel, nh_slice about, struct nh_loop *loop, nh_relay_device_fn fn, void *ctx)
{
	struct nh_relay_device *d = nh_xcalloc(1, sizeof *d);
	pthread_mutex_lock(&relay->mutex);
	struct topic *t = topic_get(relay, device_id, channel);
	end_init(&d->end, t, relay, loop, device_call, ctx);
	d->fn = fn;
	if (t->device)
		device_detach(t->device);
	t->device = d;
	nh_buf_put_slice(&t->about, about);
	relay->stats.devices++;
	tell(t, NH_RELAY_OPENED, NH_LIT("metadata"), about);
	pthread_mutex_unlock(&relay->mutex);
	return d;
}

void nh_relay_device_say(struct nh_relay_device *end, nh_slice event, nh_slice payload, nh_slice output)
{
	struct nh_relay *relay = end->end.relay;
	pthread_mutex_lock(&relay->mutex);
	struct topic *t = end->end.topic;
	if (t) {
		nh_scrollback_add(&t->scrollback, &relay->budget, output);
		tell(t, NH_RELAY_MESSAGE, event, payload);
	}
	pthread_mutex_unlock(&relay->mutex);
}

void nh_relay_device_waiting(struct nh_relay_device *end, size_t bytes)
{
	pthread_mutex_lock(&end->end.relay->mutex);
	end->waiting = bytes;
	pthread_mutex_unlock(&end->end.relay->mutex);
}

void nh_relay_device_clear(struct nh_relay_device *end)
{
	pthread_mutex_lock(&end->end.relay->mutex);
	if (end->end.topic)
		nh_scrollback_clear(&end->end.topic->scrollback, &end->end.relay->budget);
	pthread_mutex_unlock(&end->end.relay->mutex);
}

void nh_relay_device_close(struct nh_relay_device *end)
{
	if (!end)
		return;
	struct nh_relay *relay = end->end.relay;
	pthread_mutex_lock(&relay->mutex);
	struct topic *t = end->end.topic;
	if (t) {
		device_detach(end);
		topic_leave(relay, t);
	}
	bool mine = end_leave(&end->end);
	pthread_mutex_unlock(&relay->mutex);
	if (mine)
		free(end);
}

bool nh_relay_watched(struct nh_relay *relay, int64_t device_id, nh_relay_channel channel)
{
	pthread_mutex_lock(&relay->mutex);
	struct topic *t = nh_relay_topic_find(relay, device_id, channel);
	bool watched = t && t->viewers;
	pthread_mutex_unlock(&relay->mutex);
	return watched;
}

/* ---- people ------------------------------------------------------------------------------------------------------------------------ */

static struct nh_relay_viewer *join(struct nh_relay *relay, int64_t device_id, nh_relay_channel channel, struct nh_loop *loop, nh_relay_viewer_fn fn, void *ctx, bool guest)
{
	struct nh_relay_viewer *v = nh_xcalloc(1, sizeof *v);
	pthread_mutex_lock(&relay->mutex);
	struct topic *t = topic_get(relay, device_id, channel);
	end_init(&v->end, t, relay, loop, viewer_call, ctx);
	v->fn = fn;
	v->guest = guest;
	v->next = t->viewers;
	if (v->next)
		v->next->prev = v;
	t->viewers = v;
	relay->stats.viewers++;
	nh_relay_tell_open(v);
	if (!guest)
		nh_relay_remote_join(v);
	pthread_mutex_unlock(&relay->mutex);
	return v;
}

struct nh_relay_viewer *nh_relay_viewer_join(struct nh_relay *relay, int64_t device_id, nh_relay_channel channel, struct nh_loop *loop, nh_relay_viewer_fn fn, void *ctx)
{
	return join(relay, device_id, channel, loop, fn, ctx, false);
}

struct nh_relay_viewer *nh_relay_guest_join(struct nh_relay *relay, int64_t device_id, nh_relay_channel channel, struct nh_loop *loop, nh_relay_viewer_fn fn, void *ctx)
{
	return join(relay, device_id, channel, loop, fn, ctx, true);
}

nh_rc nh_relay_viewer_say(struct nh_relay_viewer *viewer, nh_slice event, nh_slice payload)
{
	struct nh_relay *relay = viewer->end.relay;
	struct packet *p = nh_relay_packet(event, payload);
	nh_rc rc = NH_OK;
	pthread_mutex_lock(&relay->mutex);
	struct nh_relay_device *d = viewer->end.topic->device;
	if (viewer->source > SOURCE_HERE)
		rc = nh_relay_remote_say(viewer, event, payload);
	else if (!d || !d->fn)
		rc = NH_ECLOSED;
	else if (d->end.pending + d->waiting + nh_relay_size_of(p) > NH_RELAY_PENDING_MAX)
		rc = NH_EAGAIN;
	else
		queue_add(&d->end, p, NH_RELAY_MESSAGE, 0);
	nh_relay_packet_drop(p);
	pthread_mutex_unlock(&relay->mutex);
	return rc;
}

void nh_relay_viewer_chat(struct nh_relay_viewer *viewer, nh_slice event, nh_slice payload)
{
	struct nh_relay *relay = viewer->end.relay;
	struct topic *t = viewer->end.topic;
	pthread_mutex_lock(&relay->mutex);
	nh_relay_chat(t, event, payload);
	if (relay->hooks.watch)
		relay->hooks.chat(relay->hooks.ctx, t->key.device_id, (nh_relay_channel)t->key.channel, event, payload);
	pthread_mutex_unlock(&relay->mutex);
}

void nh_relay_viewer_waiting(struct nh_relay_viewer *viewer, size_t bytes)
{
	pthread_mutex_lock(&viewer->end.relay->mutex);
	viewer->waiting = bytes;
	viewer_catch_up(viewer);
	pthread_mutex_unlock(&viewer->end.relay->mutex);
}

void nh_relay_viewer_leave(struct nh_relay_viewer *viewer)
{
	if (!viewer)
		return;
	struct nh_relay *relay = viewer->end.relay;
	pthread_mutex_lock(&relay->mutex);
	struct topic *t = viewer->end.topic;
	*(viewer->prev ? &viewer->prev->next : &t->viewers) = viewer->next;
	if (viewer->next)
		viewer->next->prev = viewer->prev;
	relay->stats.viewers--;
	nh_relay_remote_leave(viewer);
	topic_leave(relay, t);
	bool mine = end_leave(&viewer->end);
	pthread_mutex_unlock(&relay->mutex);
	if (mine)
		free(viewer);
}

/* ---- the relay --------------------------------------------------------------------------------------------------------------------- */

struct nh_relay *nh_relay_new(void)
{
	struct nh_relay *relay = nh_xcalloc(1, sizeof *relay);
	relay->topics = nh_map_new();
	relay->viewers = nh_map_new();
	relay->away = nh_map_new();
	relay->budget.max = NH_RELAY_SCROLLBACK_TOTAL;
	pthread_mutex_init(&relay->mutex, NULL);
	pthread_cond_init(&relay->changed, NULL);
	return relay;
}

void nh_relay_free(struct nh_relay *relay)
{
	if (!relay)
		return;
	pthread_mutex_lock(&relay->mutex);
	NH_ASSERT(nh_map_count(relay->topics) == 0);
	while (relay->posted > 0 || relay->stats.questions > 0)
		pthread_cond_wait(&relay->changed, &relay->mutex);
	pthread_mutex_unlock(&relay->mutex);
	nh_map_free(relay->topics);
	nh_map_free(relay->viewers);
	nh_map_free(relay->away);
	pthread_cond_destroy(&relay->changed);
	pthread_mutex_destroy(&relay->mutex);
	free(relay);
}

void nh_relay_stats(struct nh_relay *relay, struct nh_relay_stats *out)
{
	pthread_mutex_lock(&relay->mutex);
	*out = relay->stats;
	out->scrollback_bytes = relay->budget.used;
	pthread_mutex_unlock(&relay->mutex);
}
