/*
 * The bus and its listener for other nodes. Private to bus.
 */
#pragma once

#include <pthread.h>

#include "base/buf.h"
#include "bus/bus.h"
#include "loop/loop.h"
#include "store/db.h"

#define NH_BUS_CHANNEL "nerveshub"

struct nh_listener;
struct nh_map;

struct nh_bus {
	pthread_mutex_t mutex;
	pthread_cond_t changed;
	struct nh_map *topics; /* name → struct topic */
	size_t pending_max;
	size_t posted; /* subscriptions on their way to a loop */
	struct nh_listener *listener; /* NULL: this process only */
};

bool nh_bus_topic_valid(nh_slice topic);
void nh_bus_deliver(struct nh_bus *bus, nh_slice topic, nh_slice payload);
void nh_bus_deliver_gap(struct nh_bus *bus); /* tells every subscriber that messages of other nodes may be missing */

/* ---- listener.c ---- */
nh_rc nh_listener_open(struct nh_bus *bus, const char *url, struct nh_listener **out, struct nh_err *err);
void nh_listener_close(struct nh_listener *l); /* NULL legal */
/* What goes over the channel: "NODE TOPIC PAYLOAD", the payload in base64. */
void nh_listener_encode(const struct nh_listener *l, nh_slice topic, nh_slice payload, struct nh_buf *out);
