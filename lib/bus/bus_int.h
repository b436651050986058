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

struct nh_bus_listener;
struct nh_map;

struct nh_bus {
	pthread_mutex_t mutex;
	pthread_cond_t changed;
	struct nh_map *topics; /* name → struct topic */
	size_t pending_max;
	size_t posted; /* subscriptions on their way to a loop */
	struct nh_bus_listener *listener; /* NULL: this process only */
};

/* What the listener tells, on its own thread. It knows nothing else of the bus. */
struct nh_bus_listener_events {
	void (*message)(void *ctx, nh_slice topic, nh_slice payload); /* of another node; the topic is as it came */
	void (*gap)(void *ctx);                                       /* messages of other nodes may be missing */
	void *ctx;
};

/* ---- listener.c ---- */
nh_rc nh_bus_listener_open(const char *url, const struct nh_bus_listener_events *events, struct nh_bus_listener **out, struct nh_err *err);
void nh_bus_listener_close(struct nh_bus_listener *l); /* NULL legal */
/* What goes over the channel: "NODE TOPIC PAYLOAD", the payload in base64. */
void nh_bus_listener_encode(const struct nh_bus_listener *l, nh_slice topic, nh_slice payload, struct nh_buf *out);
const char *nh_bus_listener_address(const struct nh_bus_listener *l); /* of this end of the first connection; empty: it has none */
