/*
 * The server put together: database, objects, workers, APIs, listeners. hubd_open builds it in the order in which things depend on each other,
 * hubd_close takes it down in reverse. thread: main.
 */
#pragma once

#include "bootstrap.h"
#include "bus/relay.h"
#include "device_api/device_api.h"
#include "geo.h"
#include "hub/authority.h"
#include "hub/limiter.h"
#include "outbound/mail.h"
#include "outbound/webhook.h"
#include "scheduler.h"
#include "settings.h"
#include "store/db.h"
#include "upkeep.h"
#include "user_api/user_api.h"
#include "web/web.h"

struct hubd {
	const struct settings *settings;
	struct identity identity;
	struct nh_buf download_url;
	struct nh_buf web_url;
	struct nh_hub_config hub;
	struct nh_db *db;
	struct nh_objects *objects;
	struct nh_pool *pool;
	struct geo *geo; /* NULL: nobody knows where an address lies */
	struct nodes *nodes; /* NULL: this server is alone, with SQLite */
	struct nh_relay *relay;
	struct nh_device_api *device_api;
	struct nh_user_api *user_api;
	struct nh_oidc *issuers[2];
	size_t issuer_count;
	struct nh_web *web;
	struct nh_limiter *limiter; /* of those who sign in */
	struct nh_mailer *mailer;   /* NULL: no mail is sent */
	struct nh_webhooks *webhooks;
	struct nh_authority *authority; /* NULL: none */
	struct nh_tls *device_tls, *web_tls, *api_tls;
	struct nh_mount api_mounts[4], device_mounts[3], web_mounts[7], metrics_mounts[3];
	struct nh_listener listeners[5]; /* device, web, metrics, with an authority api, and with PostgreSQL that of other servers */
	struct nh_server *server;
	struct scheduler *scheduler; /* atomic: set when it starts */
	struct upkeep *upkeep;
	struct figures figures;
	int64_t started_us;
	bool draining;    /* atomic: the stop has begun */
	bool first_start; /* the administrator was created now */
};

/* hubd_carry_out - what a committed transaction left, whoever ran it. Any thread. */
void hubd_carry_out(struct hubd *h, const struct nh_effects *effects);

enum { LISTENER_DEVICE, LISTENER_WEB, LISTENER_METRICS, LISTENER_API, LISTENER_COUNT };

/* Errors: of every part, each with one clear line. On failure what was built is taken down. */
nh_rc hubd_open(const struct settings *s, struct hubd *out, struct nh_err *err);
/* Drains (up to the settings' time), then closes everything. */
void hubd_close(struct hubd *h);

/* metrics.c: GET /metrics, Prometheus text; the mount's app is the struct hubd. */
extern const struct nh_route metrics_routes[];
extern const struct nh_route status_routes[]; /* status.c: /status/live and /status/ready */
/* webhooks.c: the sender, into hubd. NH_EINVAL: WEBHOOK_NETWORKS; NH_EIO. webhooks_try - nh_webhooks_try of a struct hubd. */
nh_rc webhooks_start(struct hubd *h, struct nh_err *err);
nh_rc webhooks_try(void *h, const struct nh_webhook_request *request, void (*done)(void *ctx, const struct nh_webhook_answer *answer), void *ctx, struct nh_err *err);
/* issuers.c: those of the settings, into hubd. NH_EINVAL. */
nh_rc issuers_open(struct hubd *h, struct nh_err *err);
void issuers_close(struct hubd *h);
/* authority.c: the certificate authority of the settings, into hubd and its hub; none is none. After the database was opened. NH_EINVAL, NH_EFORMAT, NH_ENOTFOUND, NH_EIO: which file or token, and why. */
nh_rc authority_open(struct hubd *h, struct nh_err *err);
/* admin.c: the administrator on an empty database; password into admin-password in the data directory. */
nh_rc admin_bootstrap(struct hubd *h, struct nh_err *err);
