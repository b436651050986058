/*
 * Sends webhooks: takes what the hub says is due (hub/webhooks.h), posts it, notes what became of it. One thread of its own with many requests under way at a time, so that an endpoint that is slow,
 * or does not answer at all, keeps nobody waiting but itself: to one endpoint go NH_WEBHOOK_PARALLEL at a time, to all NH_WEBHOOKS_FLIGHTS. Several servers of one database share the work.
 *
 * A name may lead anywhere, and each time elsewhere. So each address is looked at when it is connected to: private, local, reserved ones are refused, unless the administrator has named their
 * network. No redirect is followed, no proxy asked, at most NH_WEBHOOK_ANSWER_MAX bytes of an answer read. 5 s to connect, 15 s for all of it.
 *
 * thread: new and free main's; wake and try any; nh_networks_… pure. source: Standard Webhooks 1.0; RFC 6890 and IANA's registries of special-purpose addresses
 */
#pragma once

#include <sys/socket.h>

#include "hub/hub.h"
#include "hub/webhooks.h"

#define NH_WEBHOOKS_FLIGHTS 128
#define NH_WEBHOOK_ANSWER_MAX ((size_t)64 << 10)

/* ---- addresses --------------------------------------------------------------------------------------------------------------- */

#define NH_NETWORKS_MAX 32
struct nh_networks {
	struct {
		uint8_t address[16]; /* IPv4 as ::ffff:a.b.c.d */
		unsigned bits;
	} items[NH_NETWORKS_MAX];
	size_t count;
};

/* nh_networks_parse - "10.0.0.0/8,fd00::/8,192.0.2.7"; empty: none. NH_EINVAL names what is none, or more than NH_NETWORKS_MAX. */
nh_rc nh_networks_parse(nh_slice text, struct nh_networks *out, struct nh_err *err);
/* nh_networks_allow - may a webhook go there: a public address, or one of the networks? Of IPv4 in IPv6 (mapped, NAT64) the IPv4 address counts. */
bool nh_networks_allow(const struct nh_networks *networks, const struct sockaddr *address);

/* ---- the sender --------------------------------------------------------------------------------------------------------------- */

struct nh_webhooks;

/* All borrowed while the sender lives. */
struct nh_webhooks_config {
	struct nh_db *db;
	const struct nh_hub_config *hub;
	const struct nh_clock *clock;
	const struct nh_rng *rng;
	const char *ca_file;        /* certificates (PEM) that vouch for endpoints; NULL or empty: the system's */
	uint64_t timeout_ms;        /* of one request; 0 = 15 000 */
	struct nh_networks networks; /* that may be gone to though they are private; copied */
	void (*effects)(void *ctx, const struct nh_effects *effects); /* of a commit; called by the sender's thread */
	void *effects_ctx;
};

/* nh_webhooks_new - starts the thread. NH_EIO. config is copied. */
nh_rc nh_webhooks_new(const struct nh_webhooks_config *config, struct nh_webhooks **out, struct nh_err *err);
void nh_webhooks_wake(struct nh_webhooks *sender); /* an event was written. NULL legal */
void nh_webhooks_stop(struct nh_webhooks *sender); /* main: ends the thread; what is under way is given up, and sent again once its lease is over. NULL, and twice, legal */
void nh_webhooks_free(struct nh_webhooks *sender); /* main: once nobody wakes it or tries any more. NULL legal */

/* nh_webhooks_try - sends request (copied) now and once, and notes nothing; done is called exactly once, by the sender's thread, or within nh_webhooks_stop. NH_EAGAIN: too many are being tried. */
nh_rc nh_webhooks_try(struct nh_webhooks *sender, const struct nh_webhook_request *request, void (*done)(void *ctx, const struct nh_webhook_answer *answer), void *ctx, struct nh_err *err);

struct nh_webhooks_stats {
	uint64_t delivered, failed, died, disabled; /* since start; failed: tries that are repeated */
	uint64_t waiting, dead;                     /* deliveries in the database, a while ago */
};
void nh_webhooks_stats(const struct nh_webhooks *sender, struct nh_webhooks_stats *out); /* any thread; NULL legal: zeros */
