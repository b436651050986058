/*
 * The sockets of people: who signed in with an API token joins a device's console, its local shell, or its events, and talks through the relay with what the device says.
 * What a user may do is the hub's to decide; it is asked at each join and again while the conversation lasts: before a message is passed on, or after output was, whenever the
 * last answer is older than recheck_ms. Clients send heartbeats every 30 s and are closed after idle_ms of silence, so nobody who looks on is forgotten.
 *
 * `/socket/websocket`, the socket of pages with a signed-in session, comes with the web interface.
 *
 * Use: new → put the routes into the web listener → open the server → … → drain → free.
 *
 * thread: new and free by main; routes run where the server says; stats any.  source: reference/user-api-and-cli "16.1" to "16.4", "16.6"; design/architecture "5"
 */
#pragma once

#include "bus/relay.h"
#include "crypto/password.h"
#include "hub/hub.h"
#include "hub/user_identities.h"
#include "loop/pool.h"
#include "net/server.h"

struct nh_web;
struct nh_limiter;
struct nh_oidc;

/* Borrowed until free. */
struct nh_web_config {
	struct nh_db *db;
	struct nh_pool *pool;
	struct nh_relay *relay;
	const struct nh_hub_config *hub;
	const struct nh_clock *clock;
	const struct nh_rng *rng;
	uint64_t idle_ms;    /* who is silent for so long is closed; 0 = 60 000 */
	uint64_t recheck_ms; /* how old a permission may be; 0: it is asked for at each message */
	/* of the pages */
	const struct nh_password_cost *cost; /* NULL = default */
	struct nh_limiter *limiter;          /* of those who sign in, shared with the User API; NULL = its own */
	void (*effects)(void *ctx, const struct nh_effects *effects); /* carries them out; on a worker, after the commit. NULL: nothing is done */
	void *effects_ctx;
	/* who else may say who somebody is (outbound/oidc.h) */
	struct nh_oidc *const *issuers;
	size_t issuer_count;
	struct nh_identity_policy identities;
	bool second_factor_always; /* is an account's second factor asked for after an issuer signed in, too? */
};

struct nh_web *nh_web_new(const struct nh_web_config *config); /* config is copied. Never NULL */
void nh_web_free(struct nh_web *web);                          /* after the server was freed. NULL legal */

/* Mount with app = the web: /api/socket/websocket and /events-socket/websocket. */
extern const struct nh_route nh_web_routes[];
/* Mount with app = the web: pages without scripts (sign-in, registration, invitations, the account), for who has no scripts and until there is more. */
extern const struct nh_route nh_web_form_routes[];

struct nh_web_stats {
	uint64_t sockets;                     /* now */
	uint64_t refused, joins, join_refusals; /* since start: upgrades refused; joins; joins refused */
	uint64_t ended;                       /* conversations that ended because their permission did */
};
void nh_web_stats(const struct nh_web *web, struct nh_web_stats *out); /* any thread */
