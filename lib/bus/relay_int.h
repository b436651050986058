/*
 * What the relay's two files share: relay.c, the conversations of this process, and relay_remote.c, those with other servers. Everything here under the relay's mutex unless said otherwise.
 */
#pragma once

#include <pthread.h>

#include "base/map.h"
#include "bus/relay.h"
#include "scrollback_int.h"

/* Event and payload, shared by everybody under the mutex. */
struct packet {
	unsigned refs;
	uint32_t event_len;
	size_t payload_len;
	uint8_t bytes[];
};

struct item {
	struct item *next;
	struct packet *packet;
	uint64_t number;     /* a viewer's: lost before it; a device's: the question */
	nh_relay_news news;  /* a viewer's */
};

/* What a device's and a viewer's end have in common. */
struct end {
	struct nh_relay *relay;
	struct topic *topic; /* NULL: somebody else took the device's place */
	struct nh_loop *loop;
	void (*call)(struct end *end, const struct item *item);
	void *ctx;
	struct item *head, **tail;
	size_t pending; /* bytes queued, and in the callback that runs */
	bool posted;    /* message is on its way to the loop */
	bool gone;      /* closed by its owner */
	struct nh_message message;
};

struct nh_relay_device {
	struct end end; /* first: an end is cast to what it belongs to */
	nh_relay_device_fn fn;
	size_t waiting;
	struct question *questions;
	unsigned question_count;
};

struct nh_relay_viewer {
	struct end end; /* first */
	nh_relay_viewer_fn fn;
	struct nh_relay_viewer *prev, *next;
	size_t waiting;
	uint64_t lost;
	bool missed; /* CLOSED or OPENED could not be queued */
	bool guest;  /* of another server */
	/* whom it hears */
	unsigned source;     /* nobody, SOURCE_HERE, or a peer */
	uint64_t open;       /* peers that have the device, as bits */
	uint64_t id;         /* of those who are no guests, for other servers */
	size_t away;         /* bytes said to a peer and not yet taken by the device */
};

#define SOURCE_NONE 0u
#define SOURCE_HERE 1u

struct topic {
	struct {
		int64_t device_id;
		int64_t channel;
	} key;
	struct nh_relay_device *device;
	struct nh_relay_viewer *viewers;
	struct nh_buf about;
	struct nh_scrollback scrollback;
};

/*
 * A question. Its message goes to the loop twice: to start the timer and, once it is settled, to run fn; where it is settled before the timer was started, once. settled: no longer
 * on the device's list, and nobody but the loop touches it any more.
 */
struct question {
	struct nh_relay *relay;
	struct nh_relay_device *device;
	struct question *prev, *next;
	uint64_t number;
	uint64_t timeout_ms;
	struct nh_loop *loop;
	struct nh_timer *timer;
	nh_relay_answer_fn fn;
	void *ctx;
	nh_rc rc;
	struct nh_buf answer;
	bool settled;
	bool posted;
	bool away; /* put to other servers */
	struct nh_message message;
};

struct nh_relay {
	pthread_mutex_t mutex;
	pthread_cond_t changed;
	struct nh_map *topics;
	struct nh_scrollback_budget budget;
	size_t posted; /* ends and questions on their way to a loop */
	uint64_t last_question;
	struct nh_relay_stats stats;
	/* other servers; hooks.watch NULL: none */
	struct nh_relay_hooks hooks;
	struct nh_map *viewers, *away; /* id → viewer, number → question put to them */
	uint64_t last_viewer;
};

/* ---- relay.c for relay_remote.c ----------------------------------------------------------------------------------------------- */

struct packet *nh_relay_packet(nh_slice event, nh_slice payload); /* nobody's yet */
void nh_relay_packet_drop(struct packet *p);                      /* one that nobody got */
size_t nh_relay_size_of(const struct packet *p);
void nh_relay_viewer_add(struct nh_relay_viewer *v, struct packet *p, nh_relay_news news);
void nh_relay_tell_one(struct nh_relay_viewer *v, nh_relay_news news, nh_slice event, nh_slice payload);
void nh_relay_tell_open(struct nh_relay_viewer *v);
struct topic *nh_relay_topic_find(struct nh_relay *relay, int64_t device_id, nh_relay_channel channel);
void nh_relay_question_settle(struct question *q, nh_rc rc, nh_slice answer);

/* ---- relay_remote.c for relay.c ----------------------------------------------------------------------------------------------- */

/* Does the viewer hear this from there? It may be told CLOSED of another first. */
bool nh_relay_hears(struct nh_relay_viewer *v, unsigned source, nh_relay_news news);
void nh_relay_fall_back(struct nh_relay_viewer *v); /* after CLOSED was said: whoever else has the device is asked to say so */
void nh_relay_remote_join(struct nh_relay_viewer *v);
void nh_relay_remote_leave(struct nh_relay_viewer *v);
nh_rc nh_relay_remote_say(struct nh_relay_viewer *v, nh_slice event, nh_slice payload);
void nh_relay_chat(struct topic *t, nh_slice event, nh_slice payload); /* to all people of this process */
bool nh_relay_remote_ask(struct question *q, int64_t device_id, nh_slice event, nh_slice payload); /* false: nobody to ask */
