/*
 * The User API: routes under /api for people's tools, and /status for load balancers. Handlers are thin: they read the request, call one rule of the
 * hub inside one transaction, and word the answer. Firmware uploads stream to the object store.
 *
 * Who asks is established by the API token; what that user may see and do is decided by the hub. An organization the user is no member of is 404
 * whatever the rest of the path says; a role that is too low is 401, as existing clients expect.
 *
 * thread: handlers run on workers, nh_user_api_fault on loops; open, close and sweep on any thread but a loop's.
 * source: reference/user-api-and-cli "1" to "15", "20.1"
 */
#pragma once

#include "bus/relay.h"
#include "crypto/password.h"
#include "hub/hub.h"
#include "hub/limiter.h"
#include "hub/webhooks.h"
#include "net/server.h"
#include "objects/objects.h"
#include "store/db.h"

struct nh_user_api;

/* Everything is borrowed while the app lives. */
struct nh_user_api_config {
	struct nh_db *db;
	struct nh_objects *objects;
	const struct nh_hub_config *hub;
	const struct nh_clock *clock;             /* NULL = system */
	const struct nh_rng *rng;                 /* NULL = system */
	const struct nh_password_cost *cost;      /* NULL = default */
	const char *public_url;                   /* "https://hub.example.com", without trailing slash: where browsers find the server; NULL = as asked */
	const char *platform_name;                /* NULL = "NervesHub" */
	struct nh_limiter *limiter;               /* of those who sign in, shared with the pages; NULL = its own */
	/* Carries effects out; called on a worker after the commit. OBJECT_DELETE is done by this room and not passed on. */
	void (*effects)(void *ctx, const struct nh_effects *effects);
	void *effects_ctx;
	/* Sends a webhook's request now, and calls done once, from any thread; NULL: none can be tested. As nh_webhooks_try of outbound, which is no neighbour of this room. */
	nh_rc (*webhook_try)(void *ctx, const struct nh_webhook_request *request, void (*done)(void *ctx, const struct nh_webhook_answer *answer), void *done_ctx, struct nh_err *err);
	void *webhook_try_ctx;
	struct nh_relay *relay;                   /* asks devices to run scripts; NULL: none can be asked */
};

/* config is copied, what it points to must outlive the api. Never NULL. */
struct nh_user_api *nh_user_api_new(const struct nh_user_api_config *config);
/* nh_user_api_start - main, after nh_server_open and before nh_server_start: from now on devices can be asked. */
void nh_user_api_start(struct nh_user_api *api, struct nh_server *server);
void nh_user_api_free(struct nh_user_api *api); /* NULL legal; no request may be running */

/* What a listener mounts: {.routes = nh_user_api_routes, .app = the api, .fault = nh_user_api_fault}. */
extern const struct nh_route nh_user_api_routes[];
/* The same for what has to stand behind all other mounts: a POST to a path that has none may mean another method. */
extern const struct nh_route nh_user_api_last_routes[];
/* Every route once more without "/api" in front: where the clients of old look for them, on a host of its own. For the API listener; app and fault as above. Any thread. */
const struct nh_route *nh_user_api_root_routes(void);
/* GET /health_check, POST /sign_device_csr and /sign_user_csr: what the stand-alone certificate authority of old served. For the API listener; app as above. */
extern const struct nh_route nh_user_api_service_routes[];
/* For struct nh_listener; verify_app = the api: a client certificate is taken where it signs a user in. */
nh_tls_verdict nh_user_api_verify(void *app, nh_slice der, const uint8_t fingerprint[NH_TLS_FINGERPRINT_LEN], int64_t *tag);
nh_tls_verdict nh_user_api_verify_slow(void *worker, void *app, nh_slice der, const uint8_t fingerprint[NH_TLS_FINGERPRINT_LEN], int64_t *tag);
void nh_user_api_fault(struct nh_request *req, struct nh_response *res, unsigned status, const char *text);

/* nh_user_api_recover - at start, before requests: uploads that the last run was filing are given up; the next sweep deletes their objects. NH_EIO. */
nh_rc nh_user_api_recover(struct nh_user_api *api, struct nh_err *err);

/*
 * nh_user_api_sweep - deletes all objects that no row names: of uploads that a crash cut off, of deleted firmware whose deletion failed. A program calls
 * it at start and every NH_USER_API_SWEEP_EVERY_MS; where nothing is to be done it costs one read. *deleted (NULL legal). Blocks. NH_EIO: the first
 * that failed; the others were deleted all the same.
 */
#define NH_USER_API_SWEEP_EVERY_MS 60000
nh_rc nh_user_api_sweep(struct nh_user_api *api, size_t *deleted, struct nh_err *err);
