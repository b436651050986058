/*
 * Conversations with devices of other servers. A viewer looks on here and, through the hooks, at every other server; whoever has the device says OPENED, and from then on the viewer hears that one only. Where
 * the device moves, the newer OPENED wins; CLOSED of the one that is heard leads back to whoever else has it. What is said to a device elsewhere is bounded as to one here: so many bytes that the other server has
 * not handed to the device yet, and no more.
 */
#include <stdlib.h>

#include "base/arena.h"
#include "relay_int.h"

void nh_relay_set_hooks(struct nh_relay *relay, const struct nh_relay_hooks *hooks)
{
	pthread_mutex_lock(&relay->mutex);
	relay->hooks = hooks ? *hooks : (struct nh_relay_hooks){0};
	pthread_mutex_unlock(&relay->mutex);
}

/* ---- whom a viewer hears ------------------------------------------------------------------------------------------------------ */

bool nh_relay_hears(struct nh_relay_viewer *v, unsigned source, nh_relay_news news)
{
	if (news == NH_RELAY_OPENED) {
		if (v->source != SOURCE_NONE && v->source != source)
			nh_relay_tell_one(v, NH_RELAY_CLOSED, NH_SLICE_EMPTY, NH_SLICE_EMPTY);
		v->source = source;
		v->away = 0;
		return true;
	}
	if (v->source != source)
		return false;
	if (news == NH_RELAY_CLOSED)
		v->source = SOURCE_NONE;
	return true;
}

void nh_relay_fall_back(struct nh_relay_viewer *v)
{
	struct nh_relay *relay = v->end.relay;
	nh_relay_tell_open(v);
	if (v->source == SOURCE_NONE && v->open && relay->hooks.watch)
		relay->hooks.again(relay->hooks.ctx, v->id, (unsigned)__builtin_ctzll(v->open));
}

static nh_slice key_of(const uint64_t *number) { return nh_slice_of(number, sizeof *number); }

void nh_relay_remote_news(struct nh_relay *relay, uint64_t viewer, unsigned peer, nh_relay_news news, nh_slice event, nh_slice payload, uint64_t lost)
{
	NH_ASSERT(peer > SOURCE_HERE && peer < NH_RELAY_PEERS_END);
	pthread_mutex_lock(&relay->mutex);
	struct nh_relay_viewer *v = nh_map_get(relay->viewers, key_of(&viewer));
	if (v && news == NH_RELAY_OPENED)
		v->open |= UINT64_C(1) << peer;
	if (v && news == NH_RELAY_CLOSED)
		v->open &= ~(UINT64_C(1) << peer);
	if (v && nh_relay_hears(v, peer, news)) {
		v->lost += lost;
		nh_relay_tell_one(v, news, event, payload);
		if (news == NH_RELAY_CLOSED)
			nh_relay_fall_back(v);
	}
	pthread_mutex_unlock(&relay->mutex);
}

/* ---- people ------------------------------------------------------------------------------------------------------------------- */

void nh_relay_remote_join(struct nh_relay_viewer *v)
{
	struct nh_relay *relay = v->end.relay;
	if (!relay->hooks.watch)
		return;
	v->id = ++relay->last_viewer;
	nh_map_put(relay->viewers, key_of(&v->id), v);
	relay->hooks.watch(relay->hooks.ctx, v->id, v->end.topic->key.device_id, (nh_relay_channel)v->end.topic->key.channel);
}

void nh_relay_remote_leave(struct nh_relay_viewer *v)
{
	struct nh_relay *relay = v->end.relay;
	if (!v->id)
		return;
	nh_map_del(relay->viewers, key_of(&v->id));
	if (relay->hooks.watch)
		relay->hooks.unwatch(relay->hooks.ctx, v->id);
}

nh_rc nh_relay_remote_say(struct nh_relay_viewer *v, nh_slice event, nh_slice payload)
{
	struct nh_relay *relay = v->end.relay;
	size_t size = event.len + payload.len;
	if (!relay->hooks.watch)
		return NH_ECLOSED;
	if (v->away + size > NH_RELAY_PENDING_MAX)
		return NH_EAGAIN;
	v->away += size;
	relay->hooks.say(relay->hooks.ctx, v->id, v->source, event, payload);
	return NH_OK;
}

void nh_relay_remote_taken(struct nh_relay *relay, uint64_t viewer, unsigned peer, size_t bytes)
{
	pthread_mutex_lock(&relay->mutex);
	struct nh_relay_viewer *v = nh_map_get(relay->viewers, key_of(&viewer));
	if (v && v->source == peer)
		v->away -= bytes < v->away ? bytes : v->away;
	pthread_mutex_unlock(&relay->mutex);
}

void nh_relay_chat(struct topic *t, nh_slice event, nh_slice payload)
{
	struct packet *p = nh_relay_packet(event, payload);
	for (struct nh_relay_viewer *v = t->viewers; v; v = v->next) {
		if (!v->guest)
			nh_relay_viewer_add(v, p, NH_RELAY_MESSAGE);
	}
	nh_relay_packet_drop(p);
}

void nh_relay_remote_chat(struct nh_relay *relay, int64_t device_id, nh_relay_channel channel, nh_slice event, nh_slice payload)
{
	pthread_mutex_lock(&relay->mutex);
	struct topic *t = nh_relay_topic_find(relay, device_id, channel);
	if (t)
		nh_relay_chat(t, event, payload);
	pthread_mutex_unlock(&relay->mutex);
}

void nh_relay_guest_again(struct nh_relay_viewer *viewer)
{
	pthread_mutex_lock(&viewer->end.relay->mutex);
	nh_relay_tell_open(viewer);
	pthread_mutex_unlock(&viewer->end.relay->mutex);
}

/* ---- questions ---------------------------------------------------------------------------------------------------------------- */

bool nh_relay_remote_ask(struct question *q, int64_t device_id, nh_slice event, nh_slice payload)
{
	struct nh_relay *relay = q->relay;
	if (!relay->hooks.watch)
		return false;
	q->away = true;
	nh_map_put(relay->away, key_of(&q->number), q);
	relay->hooks.ask(relay->hooks.ctx, q->number, device_id, event, payload, q->timeout_ms);
	return true;
}

void nh_relay_remote_answer(struct nh_relay *relay, uint64_t question, nh_rc rc, nh_slice payload)
{
	pthread_mutex_lock(&relay->mutex);
	struct question *q = nh_map_get(relay->away, key_of(&question));
	if (q && payload.len > NH_RELAY_PENDING_MAX)
		nh_relay_question_settle(q, NH_ETOOBIG, NH_SLICE_EMPTY);
	else if (q)
		nh_relay_question_settle(q, rc, payload);
	pthread_mutex_unlock(&relay->mutex);
}
