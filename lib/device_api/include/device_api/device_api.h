/*
 * The device endpoint: TLS verification of device certificates, the channel socket, firmware downloads, the registry of connected devices, and the
 * driver that wakes the orchestrator. What is decided is hub's; here is who calls it when, and what carries the effects out.
 *
 * Use: new → put routes, verify and verify_slow into listeners → open the server → start(server) → … → stop before the server drains → drain → free.
 *
 * source: reference/device-protocol "2" to "10", "13"; design/connection-layer "Who is it", "Presence"
 */
#pragma once

#include "bus/relay.h"
#include "hub/extensions.h"
#include "hub/hub.h"
#include "loop/pool.h"
#include "net/server.h"
#include "objects/objects.h"

struct nh_device_api;

/* Borrowed until free. */
struct nh_device_api_config {
	struct nh_db *db;
	struct nh_objects *objects;
	struct nh_pool *pool;
	const struct nh_hub_config *hub;
	const struct nh_clock *clock;
	const struct nh_rng *rng;
	uint64_t idle_ms;                  /* a device silent for so long is disconnected; 0 = 180 000. source: reference/device-protocol "4" */
	uint64_t health_every_ms;          /* how often devices are asked for their health; 0 = 3 600 000. source: reference/device-protocol "12.2" */
	unsigned connects_per_minute;      /* of one device; the excess is answered 503 with Retry-After; 0 = 30 */
	unsigned messages_per_second;      /* of one device, heartbeats included, each begun 4 KiB as one, ten seconds' worth at once; the excess waits unread; 0 = 100 */
	struct nh_relay *relay;            /* consoles, shells, progress and scripts; NULL: nobody looks on */
	const struct nh_geo_resolver *geo; /* NULL: nobody knows where an address lies */
	void (*wake_webhooks)(void *ctx);  /* what NH_EFFECT_EVENT asks for; any thread. NULL: nobody gives events out */
	void (*wake_scheduler)(void *ctx, nh_slice kind); /* what NH_EFFECT_JOB asks for; any thread. NULL: nobody runs jobs */
	void *wake_ctx;
	size_t known_certificates;         /* fingerprints kept in memory; 0 = 262 144 (10 MiB, touched only as used) */
};

/* Main. config is copied, what it points to must outlive the api. Never NULL; nothing runs before start. */
struct nh_device_api *nh_device_api_new(const struct nh_device_api_config *config);
/* nh_device_api_start - main, after nh_server_open: cleans connections that an earlier run left, starts the timer that runs the groups which were woken. NH_EIO. */
nh_rc nh_device_api_start(struct nh_device_api *api, struct nh_server *server, struct nh_err *err);
void nh_device_api_stop(struct nh_device_api *api); /* main: no new rollouts; before nh_server_drain */
void nh_device_api_free(struct nh_device_api *api); /* after the server was freed. NULL legal */

/* Routes with the mount's app = the api: both socket paths, /firmware downloads, health. */
extern const struct nh_route nh_device_api_routes[];
/* For listeners where shared secrets are the only identity: the same without /socket/websocket, which is the browsers' there. */
extern const struct nh_route nh_device_api_web_routes[];

/* For struct nh_listener; verify_app = the api. */
nh_tls_verdict nh_device_api_verify(void *api, nh_slice der, const uint8_t fingerprint[NH_TLS_FINGERPRINT_LEN], int64_t *tag);
nh_tls_verdict nh_device_api_verify_slow(void *worker, void *api, nh_slice der, const uint8_t fingerprint[NH_TLS_FINGERPRINT_LEN], int64_t *tag);

/* nh_device_api_effects - carries out what a committed transaction left. Does not block; any thread. Content is copied. */
void nh_device_api_effects(struct nh_device_api *api, const struct nh_effects *effects);

bool nh_device_api_here(struct nh_device_api *api, int64_t device_id); /* any thread: is the device connected to this process? */
/*
 * nh_device_api_begin_anew - another server took this one for dead and ended its connections in the database: they are closed here, too, and come back; what was known by heart is forgotten.
 * forget_certificates: only that. Any thread.
 */
void nh_device_api_begin_anew(struct nh_device_api *api);
void nh_device_api_forget_certificates(struct nh_device_api *api);

/* nh_device_api_clock_even - was the wall clock not set by more than ten seconds for so long? Asked before what is overdue is ended. Any thread. */
bool nh_device_api_clock_even(struct nh_device_api *api, uint64_t for_ms);

struct nh_device_api_stats {
	uint64_t devices;             /* connected here */
	uint64_t joins, refused, messages, replaced, pushes, pushes_lost; /* since start; lost: the connection ended first, and the next join decides anew */
	uint64_t certificates_known;
	struct nh_histogram update_ms; /* updates, from sending until the device came back with the firmware; milliseconds */
	struct nh_histogram join_us;   /* joins of the device channel, from the message until the reply */
	uint64_t unavailable;          /* devices told to come back later because the database was away or full */
	uint64_t disconnects_pending;  /* ends of connections that are not written yet, now; with their beginnings, where those are not either */
	uint64_t presence_batches;     /* transactions that wrote beginnings (without a join), ends and signs of life */
	uint64_t unknown_events;       /* messages of channels under a name that means nothing; ignored */
	uint64_t ignored;              /* messages that mean nothing under a known name, come too late or are too large */
	uint64_t unmatched_topics;     /* messages to topics that are not joined */
	uint64_t extensions_refused;   /* messages for extensions that the device may not use */
	uint64_t log_lines_dropped;    /* over five a second */
	uint64_t connecting_code_failed; /* devices told that the code they run at each connect failed */
	uint64_t floods;               /* times a device was not read for a moment because it said too much */
	uint64_t reconnects_refused;   /* connections of devices that connect too often */
	uint64_t clock_steps;          /* jumps of the wall clock by more than ten seconds */
};
void nh_device_api_stats(struct nh_device_api *api, struct nh_device_api_stats *out); /* any thread */
