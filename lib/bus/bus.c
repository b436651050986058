/*
 * Topics in this process: a list of subscribers by topic, each with a bounded queue that its loop empties. Messages of other nodes come in by listener.c
 * and go the same way.
 *
 * Locking: the bus's mutex guards topics, queues and subscriptions' state. Callbacks run on loops without it. A subscription is referenced by its owner and by
 * the one message it may have on its way to the loop; it is freed when both have let go.
 */
#include <stdlib.h>

#include "base/arena.h"
#include "base/map.h"
#include "bus_int.h"

struct note {
	struct note *next;
	char *topic;
	struct nh_buf payload;
	int64_t lost;
};

struct topic {
	struct nh_bus_sub *first;
	char name[NH_BUS_TOPIC_MAX + 1];
};

struct nh_bus_sub {
	struct nh_bus *bus;
	struct topic *topic;
	struct nh_bus_sub *next;
	struct nh_loop *loop;
	nh_bus_fn fn;
	void *ctx;
	struct note *head, **tail;
	size_t pending;
	int64_t lost;
	bool posted; /* message is on its way to the loop */
	bool gone;
	struct nh_message message;
};

static bool topic_valid(nh_slice topic)
{
	for (size_t i = 0; i < topic.len; i++) {
		uint8_t c = topic.ptr[i];
		if (!((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == ':' || c == '.' || c == '_' || c == '-'))
			return false;
	}
	return topic.len > 0 && topic.len <= NH_BUS_TOPIC_MAX;
}

static nh_rc check(const char *topic, nh_slice payload, struct nh_err *err)
{
	if (!topic_valid(nh_slice_str(topic)))
		return NH_FAIL(err, NH_EINVAL, "'%.140s' is not a topic", topic);
	if (payload.len > NH_BUS_PAYLOAD_MAX)
		return NH_FAIL(err, NH_ETOOBIG, "a message of %zu bytes on topic %s; at most %d", payload.len, topic, NH_BUS_PAYLOAD_MAX);
	return NH_OK;
}

/* ---- delivering -------------------------------------------------------------------------------------------------------------- */

static void note_free(struct note *n)
{
	nh_buf_fini(&n->payload);
	free(n->topic);
	free(n);
}

static void sub_free(struct nh_bus_sub *s)
{
	for (struct note *n = s->head, *next; n; n = next) {
		next = n->next;
		note_free(n);
	}
	free(s);
}

/* On the subscriber's loop: runs what is queued, one message at a time, since fn may unsubscribe. */
static void deliver(void *arg)
{
	struct nh_bus_sub *s = arg;
	struct nh_bus *bus = s->bus;
	pthread_mutex_lock(&bus->mutex);
	while (s->head && !s->gone) {
		struct note *n = s->head;
		s->head = n->next;
		if (!s->head)
			s->tail = &s->head;
		s->pending--;
		pthread_mutex_unlock(&bus->mutex);
		s->fn(s->ctx, nh_slice_str(n->topic), nh_buf_slice(&n->payload), n->lost);
		note_free(n);
		pthread_mutex_lock(&bus->mutex);
	}
	s->posted = false;
	bool gone = s->gone;
	bus->posted--;
	pthread_cond_broadcast(&bus->changed);
	pthread_mutex_unlock(&bus->mutex);
	if (gone)
		sub_free(s);
}

/* Under the mutex. topic NULL: a gap in what other nodes said. */
static void enqueue(struct nh_bus_sub *s, const char *topic, nh_slice payload, int64_t lost)
{
	if (s->pending >= s->bus->pending_max) {
		s->lost++;
		return;
	}
	struct note *n = nh_xcalloc(1, sizeof(*n));
	n->topic = nh_xstrdup(nh_slice_str(topic));
	nh_buf_put_slice(&n->payload, payload);
	n->lost = lost < 0 ? lost : s->lost;
	if (lost >= 0)
		s->lost = 0;
	*s->tail = n;
	s->tail = &n->next;
	s->pending++;
	if (!s->posted) {
		s->posted = true;
		s->bus->posted++;
		nh_loop_send(s->loop, &s->message);
	}
}

static void deliver_to(struct nh_bus *bus, nh_slice topic, nh_slice payload)
{
	pthread_mutex_lock(&bus->mutex);
	struct topic *t = nh_map_get(bus->topics, topic);
	for (struct nh_bus_sub *s = t ? t->first : NULL; s; s = s->next)
		enqueue(s, t->name, payload, 0);
	pthread_mutex_unlock(&bus->mutex);
}

/* ---- what the listener tells */

static void on_message(void *ctx, nh_slice topic, nh_slice payload)
{
	if (topic_valid(topic))
		deliver_to(ctx, topic, payload);
}

static void on_gap(void *ctx)
{
	struct nh_bus *bus = ctx;
	size_t it = 0;
	nh_slice key;
	void *value;
	pthread_mutex_lock(&bus->mutex);
	while (nh_map_next(bus->topics, &it, &key, &value)) {
		for (struct nh_bus_sub *s = ((struct topic *)value)->first; s; s = s->next)
			enqueue(s, "", NH_SLICE_EMPTY, -1);
	}
	pthread_mutex_unlock(&bus->mutex);
}

nh_rc nh_bus_publish(struct nh_bus *bus, const char *topic, nh_slice payload, struct nh_err *err)
{
	NH_TRY(check(topic, payload, err));
	deliver_to(bus, nh_slice_str(topic), payload);
	return NH_OK;
}

nh_rc nh_bus_publish_tx(struct nh_bus *bus, struct nh_tx *tx, const char *topic, nh_slice payload, struct nh_err *err)
{
	NH_TRY(check(topic, payload, err));
	if (!bus->listener)
		return NH_OK;
	NH_AUTO_BUF struct nh_buf text = NH_BUF_INIT;
	nh_bus_listener_encode(bus->listener, nh_slice_str(topic), payload, &text);
	return nh_tx_notify(tx, NH_BUS_CHANNEL, nh_buf_slice(&text), err);
}

/* ---- subscribing --------------------------------------------------------------------------------------------------------------- */

nh_rc nh_bus_subscribe(struct nh_bus *bus, const char *topic, struct nh_loop *loop, nh_bus_fn fn, void *ctx, struct nh_bus_sub **out, struct nh_err *err)
{
	*out = NULL;
	NH_TRY(check(topic, NH_SLICE_EMPTY, err));
	struct nh_bus_sub *s = nh_xcalloc(1, sizeof(*s));
	*s = (struct nh_bus_sub){.bus = bus, .loop = loop, .fn = fn, .ctx = ctx, .message = {.fn = deliver, .arg = s}};
	s->tail = &s->head;
	nh_slice name = nh_slice_str(topic);
	pthread_mutex_lock(&bus->mutex);
	struct topic *t = nh_map_get(bus->topics, name);
	if (!t) {
		t = nh_xcalloc(1, sizeof(*t));
		memcpy(t->name, name.ptr, name.len);
		nh_map_put(bus->topics, name, t);
	}
	s->topic = t;
	s->next = t->first;
	t->first = s;
	pthread_mutex_unlock(&bus->mutex);
	*out = s;
	return NH_OK;
}

void nh_bus_unsubscribe(struct nh_bus_sub *sub)
{
	if (!sub)
		return;
	struct nh_bus *bus = sub->bus;
	struct topic *t = sub->topic;
	pthread_mutex_lock(&bus->mutex);
	struct nh_bus_sub **at = &t->first;
	while (*at != sub)
		at = &(*at)->next;
	*at = sub->next;
	if (!t->first) {
		nh_map_del(bus->topics, nh_slice_str(t->name));
		free(t);
	}
	sub->gone = true;
	bool posted = sub->posted;
	pthread_mutex_unlock(&bus->mutex);
	if (!posted)
		sub_free(sub);
}

/* ---- open and close -------------------------------------------------------------------------------------------------------------- */

nh_rc nh_bus_open(const struct nh_bus_config *config, struct nh_bus **out, struct nh_err *err)
{
	*out = NULL;
	struct nh_bus *bus = nh_xcalloc(1, sizeof(*bus));
	bus->topics = nh_map_new();
	bus->pending_max = config->pending_max ? config->pending_max : 256;
	pthread_mutex_init(&bus->mutex, NULL);
	pthread_cond_init(&bus->changed, NULL);
	nh_rc rc = NH_OK;
	if (config->database_url && nh_slice_starts(nh_slice_str(config->database_url), NH_LIT("postgres")))
		rc = nh_bus_listener_open(config->database_url, &(struct nh_bus_listener_events){on_message, on_gap, bus}, &bus->listener, err);
	if (rc != NH_OK) {
		nh_bus_close(bus);
		return rc;
	}
	*out = bus;
	return NH_OK;
}

void nh_bus_put_address(const struct nh_bus *bus, struct nh_buf *out)
{
	const char *address = bus->listener ? nh_bus_listener_address(bus->listener) : "";
	nh_buf_put_str(out, *address ? address : "127.0.0.1");
}

void nh_bus_close(struct nh_bus *bus)
{
	if (!bus)
		return;
	nh_bus_listener_close(bus->listener);
	pthread_mutex_lock(&bus->mutex);
	NH_ASSERT(nh_map_count(bus->topics) == 0);
	while (bus->posted > 0) /* unsubscribed, but still on its way to a loop */
		pthread_cond_wait(&bus->changed, &bus->mutex);
	pthread_mutex_unlock(&bus->mutex);
	nh_map_free(bus->topics);
	pthread_cond_destroy(&bus->changed);
	pthread_mutex_destroy(&bus->mutex);
	free(bus);
}
