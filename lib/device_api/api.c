/*
 * The endpoint as a whole: what it owns, its routes, the TLS decision, and the one place that carries effects out.
 */
#include <stdlib.h>

#include "base/log.h"
#include "device_api_int.h"
#include "hub/device_auth.h"

#define IDLE_MS 180000
#define CONNECTS_PER_MINUTE 30
#define STALE_AFTER_US (INT64_C(45) * 60 * NH_US_PER_S)

struct nh_ctx device_api_ctx(struct nh_device_api *api, struct nh_tx *tx, struct nh_arena *arena, struct nh_effects *effects)
{
	return (struct nh_ctx){.tx = tx, .arena = arena, .clock = api->config.clock, .rng = api->config.rng, .config = api->config.hub, .effects = effects};
}

struct nh_device_api *nh_device_api_new(const struct nh_device_api_config *config)
{
	struct nh_device_api *api = nh_xcalloc(1, sizeof *api);
	api->config = *config;
	certificates_init(&api->certificates, config->known_certificates ? config->known_certificates : 262144);
	registry_init(&api->registry);
	reconnects_init(&api->reconnects, config->connects_per_minute ? config->connects_per_minute : CONNECTS_PER_MINUTE);
	api->handler = socket_handler(config->idle_ms ? config->idle_ms : IDLE_MS);
	presence_init(&api->presence, api);
	return api;
}

struct clean {
	struct nh_device_api *api;
	struct nh_arena *arena;
	bool own; /* what this node's last run left; else what is stale */
	int64_t before_us;
	size_t cleaned;
};

static nh_rc clean_tx(struct nh_tx *tx, void *arg, struct nh_err *err)
{
	struct clean *clean = arg;
	struct nh_effects effects = {0};
	struct nh_ctx ctx = device_api_ctx(clean->api, tx, clean->arena, &effects);
	return clean->own ? nh_session_clean_node(&ctx, nh_ctx_node(&ctx), &clean->cleaned, err) : nh_session_clean_stale(&ctx, clean->before_us, &clean->cleaned, err);
}

static nh_rc clean_all(struct clean *clean, struct nh_err *err)
{
	do {
		NH_AUTO_ARENA struct nh_arena arena = NH_ARENA_INIT;
		clean->arena = &arena;
		NH_TRY(nh_db_write(clean->api->config.db, clean_tx, clean, err));
	} while (clean->cleaned >= 500);
	return NH_OK;
}

nh_rc nh_device_api_start(struct nh_device_api *api, struct nh_server *server, struct nh_err *err)
{
	api->server = server;
	/*
	 * Nobody is connected to a node that is only starting. SQLite has one process: whoever is connected in its rows is not, whatever the clock said
	 * when that was written. With PostgreSQL other nodes hold theirs, and see to each other (hub/nodes.h); what an older version left that knew no nodes ends by its age.
	 */
	struct clean clean = {.api = api, .own = true};
	NH_TRY(clean_all(&clean, err));
	clean.own = false;
	clean.before_us = nh_db_is_postgres(api->config.db) ? nh_clock_now(api->config.clock) - STALE_AFTER_US : INT64_MAX;
	NH_TRY(clean_all(&clean, err));
	NH_TRY(presence_start(&api->presence, nh_server_loop(server, 0), err));
	return rollout_start(&api->rollout, api, nh_server_loop(server, 0), err);
}

bool nh_device_api_clock_even(struct nh_device_api *api, uint64_t for_ms) { return presence_clock_even(&api->presence, for_ms); }

void nh_device_api_stop(struct nh_device_api *api)
{
	rollout_stop(&api->rollout);
	presence_stop(&api->presence);
}

void nh_device_api_free(struct nh_device_api *api)
{
	if (!api)
		return;
	presence_fini(&api->presence);
	free(api->rollout.groups);
	certificates_fini(&api->certificates);
	registry_fini(&api->registry);
	reconnects_fini(&api->reconnects);
	free(api);
}

void nh_device_api_stats(struct nh_device_api *api, struct nh_device_api_stats *out)
{
	const uint64_t *from = (const uint64_t *)&api->stats;
	uint64_t *to = (uint64_t *)out;
	for (size_t i = 0; i < sizeof *out / sizeof *to; i++)
		to[i] = __atomic_load_n(&from[i], __ATOMIC_RELAXED);
	out->devices = registry_count(&api->registry);
	pthread_rwlock_rdlock(&api->certificates.lock);
	out->certificates_known = api->certificates.count;
	pthread_rwlock_unlock(&api->certificates.lock);
}

/* ---- TLS --------------------------------------------------------------------------------------------------------------- */

nh_tls_verdict nh_device_api_verify(void *app, nh_slice der, const uint8_t fingerprint[NH_TLS_FINGERPRINT_LEN], int64_t *tag)
{
	struct nh_device_api *api = app;
	*tag = certificates_find(&api->certificates, fingerprint);
	return *tag ? NH_TLS_ACCEPT : NH_TLS_PENDING;
}

nh_tls_verdict nh_device_api_verify_slow(void *worker, void *app, nh_slice der, const uint8_t fingerprint[NH_TLS_FINGERPRINT_LEN], int64_t *tag)
{
	struct nh_device_api *api = app;
	struct nh_effects effects = {0};
	struct nh_err err = NH_ERR_INIT;
	struct nh_auth_verdict verdict = {0};
	NH_AUTO_ARENA struct nh_arena arena = NH_ARENA_INIT;
	struct nh_auth_env env = {api->config.db, &arena, api->config.clock, api->config.rng, api->config.hub, &effects};
	nh_rc rc = nh_device_auth_certificate(&env, &der, 1, &verdict, &err);
	/* Fails closed; the device comes back, and which outage it was is in the log already. */
	if (nh_rc_outage(rc)) {
		TALLY(api, unavailable);
		return NH_TLS_REFUSE;
	}
	if (rc != NH_OK || !verdict.accepted) {
		TALLY(api, refused);
		NH_LOG(NH_LOG_INFO, "device.refused", NH_S("device", verdict.identifier), NH_STR("reason", rc == NH_OK ? nh_auth_reason_name(verdict.reason) : err.msg),
		       NH_S("detail", verdict.detail));
		return NH_TLS_REFUSE;
	}
	nh_device_api_effects(api, &effects);
	certificates_put(&api->certificates, fingerprint, verdict.device_id);
	*tag = verdict.device_id;
	return NH_TLS_ACCEPT;
}

/* ---- effects ----------------------------------------------------------------------------------------------------------- */

/* What is said, once for all devices that hear the same. */
struct said {
	unsigned refs; /* atomic */
	struct nh_buf name, payload;
	struct nh_ws_frame *frame; /* in the format that nearly all speak; NULL where only one hears it */
};

/* Never lost in a full mailbox: what it says is committed. The number under way is bounded by the transactions that made them. */
struct message {
	struct nh_conn_message base;
	struct nh_device_api *api;
	int64_t device_id;
	struct said *said;
};

static struct said *said_new(const struct nh_effect *e, bool several)
{
	struct said *said = nh_xcalloc(1, sizeof *said);
	said->refs = 1;
	nh_buf_put_slice(&said->name, e->name);
	nh_buf_put_slice(&said->payload, e->payload);
	if (several) {
		NH_AUTO_BUF struct nh_buf text = NH_BUF_INIT;
		struct nh_phoenix_message m = {.topic = NH_LIT("device"), .event = e->name, .payload_text = e->payload};
		nh_phoenix_json_v2.encode(&text, &m);
		said->frame = nh_ws_frame_new(NH_WS_TEXT, nh_buf_slice(&text));
	}
	return said;
}

static void said_unref(struct said *said)
{
	if (!said || __atomic_sub_fetch(&said->refs, 1, __ATOMIC_ACQ_REL) > 0)
		return;
	nh_buf_fini(&said->name);
	nh_buf_fini(&said->payload);
	nh_ws_frame_unref(said->frame);
	free(said);
}

static void message_free(struct message *m)
{
	said_unref(m->said);
	free(m);
}

static void push_on_loop(struct nh_conn *conn, struct nh_conn_message *base)
{
	struct message *m = (struct message *)(void *)base;
	const struct said *said = m->said;
	if (conn) {
		if (!said->frame || !socket_push_frame(conn, said->frame))
			socket_push(conn, nh_buf_slice(&said->name), nh_buf_slice(&said->payload));
	} else {
		TALLY(m->api, pushes_lost);
		NH_LOG(NH_LOG_DEBUG, "device.push_lost", NH_I("device_id", m->device_id), NH_S("event", nh_buf_slice(&said->name)));
	}
	message_free(m);
}

static void close_on_loop(struct nh_conn *conn, struct nh_conn_message *base)
{
	struct message *m = (struct message *)(void *)base;
	nh_slice only = m->said ? nh_buf_slice(&m->said->payload) : NH_SLICE_EMPTY;
	/* source: reference/device-protocol "4": 1001 for every close the server asks for */
	if (conn && (only.len == 0 || socket_is(conn, only)))
		nh_ws_close(conn, NH_WS_CLOSE_GOING_AWAY, NH_SLICE_EMPTY);
	message_free(m);
}

static void type_on_loop(struct nh_conn *conn, struct nh_conn_message *base)
{
	struct message *m = (struct message *)(void *)base;
	if (conn)
		socket_type(conn, nh_buf_slice(&m->said->payload));
	message_free(m);
}

static void settings_on_loop(struct nh_conn *conn, struct nh_conn_message *base)
{
	if (conn)
		socket_settings(conn);
	message_free((struct message *)(void *)base);
}

/* What is carried to the loop of a device's connection; the other kinds are done at once. */
static void (*const on_loop[])(struct nh_conn *, struct nh_conn_message *) = {
	[NH_EFFECT_DEVICE_PUSH] = push_on_loop,
	[NH_EFFECT_DEVICE_CLOSE] = close_on_loop,
	[NH_EFFECT_DEVICE_TYPE] = type_on_loop,
	[NH_EFFECT_DEVICE_SETTINGS] = settings_on_loop,
	[NH_EFFECT_OBJECT_DELETE] = NULL, /* the last */
};

static bool same_words(const struct nh_effect *a, const struct nh_effect *b)
{
	return a->kind == b->kind && a->name.ptr == b->name.ptr && a->name.len == b->name.len && a->payload.ptr == b->payload.ptr && a->payload.len == b->payload.len;
}

static void send(struct nh_device_api *api, nh_effect_kind kind, int64_t device_id, struct nh_conn_id id, struct said *said)
{
	struct message *m = nh_xcalloc(1, sizeof *m);
	*m = (struct message){.base = {.fn = on_loop[kind]}, .api = api, .device_id = device_id, .said = said};
	if (said)
		__atomic_add_fetch(&said->refs, 1, __ATOMIC_RELAXED);
	if (kind == NH_EFFECT_DEVICE_PUSH)
		TALLY(api, pushes);
	nh_server_send(api->server, id, &m->base);
}

static void to_device(struct nh_device_api *api, const struct nh_effect *e, struct said *said)
{
	struct nh_conn_id id;
	if (api->server && registry_get(&api->registry, e->id, &id))
		send(api, e->kind, e->id, id, said);
}

static void settings_of(void *ctx, int64_t device_id, struct nh_conn_id id) { send(ctx, NH_EFFECT_DEVICE_SETTINGS, device_id, id, NULL); }

static void close_of(void *ctx, int64_t device_id, struct nh_conn_id id) { send(ctx, NH_EFFECT_DEVICE_CLOSE, device_id, id, NULL); }

void nh_device_api_begin_anew(struct nh_device_api *api)
{
	certificates_clear(&api->certificates);
	registry_each(&api->registry, 0, close_of, api);
}

void nh_device_api_forget_certificates(struct nh_device_api *api) { certificates_clear(&api->certificates); }

bool nh_device_api_here(struct nh_device_api *api, int64_t device_id)
{
	struct nh_conn_id id;
	return registry_get(&api->registry, device_id, &id);
}

static void carry_out(struct nh_device_api *api, const struct nh_effect *e)
{
	switch (e->kind) {
	case NH_EFFECT_CERT_FORGET:
		if (e->payload.len == NH_TLS_FINGERPRINT_LEN)
			certificates_forget(&api->certificates, e->payload.ptr);
		break;
	case NH_EFFECT_CERT_KNOWN:
		if (e->payload.len == NH_TLS_FINGERPRINT_LEN)
			certificates_put(&api->certificates, e->payload.ptr, e->id);
		break;
	case NH_EFFECT_GROUP_WAKE: rollout_wake(&api->rollout, e->id); break;
	case NH_EFFECT_EVENT:
		if (api->config.wake_webhooks)
			api->config.wake_webhooks(api->config.wake_ctx);
		break;
	case NH_EFFECT_JOB:
		if (api->config.wake_scheduler)
			api->config.wake_scheduler(api->config.wake_ctx, e->name);
		break;
	case NH_EFFECT_PRODUCT_SETTINGS:
		if (api->server)
			registry_each(&api->registry, e->id, settings_of, api);
		break;
	default: break; /* objects are deleted by the room that deletes firmware, and by its sweep; to topics nobody listens on this node yet */
	}
}

void nh_device_api_effects(struct nh_device_api *api, const struct nh_effects *effects)
{
	struct said *said = NULL;
	for (size_t i = 0; i < effects->count; i++) {
		const struct nh_effect *e = &effects->items[i];
		if (!on_loop[e->kind]) {
			carry_out(api, e);
			continue;
		}
		if (said && !same_words(e, e - 1)) {
			said_unref(said);
			said = NULL;
		}
		if (!said)
			said = said_new(e, e->kind == NH_EFFECT_DEVICE_PUSH && i + 1 < effects->count && same_words(e, e + 1));
		to_device(api, e, said);
	}
	said_unref(said);
}

/* ---- routes ------------------------------------------------------------------------------------------------------------ */

static nh_rc alive_tx(struct nh_tx *tx, void *arg, struct nh_err *err) { return NH_OK; }

/* source: reference/user-api-and-cli "1" */
static void alive(struct nh_request *req, struct nh_response *res)
{
	struct nh_device_api *api = req->app;
	struct nh_err err = NH_ERR_INIT;
	bool ok = nh_db_read(api->config.db, alive_tx, NULL, &err) == NH_OK;
	nh_response_send(res, ok ? 200 : 500, "text/plain; charset=utf-8", ok ? NH_LIT("Hello, Friend!") : NH_LIT("Sorry, Friend :("));
}

#define COMMON_ROUTES                                                                                                                  \
	{.method = NH_HTTP_GET, .path = "/device-socket/websocket", .at_once = socket_upgrade_at_once, .handle = socket_upgrade, .summary = "Device channel"},            \
	{.method = NH_HTTP_GET, .path = "/firmware/*path", .handle = download_firmware, .summary = "Firmware by a signed link"},       \
	{.method = NH_HTTP_GET, .path = "/uploads/archives/*path", .handle = download_firmware, .summary = "Archives by a signed link"}, \
	{.method = NH_HTTP_GET, .path = "/status/alive", .handle = alive, .summary = "Is the server well?"},                           \
	{.method = NH_HTTP_GET, .path = "/status/_health", .handle = alive},                                                           \
	{.method = NH_HTTP_GET, .path = "/status/health", .handle = alive},                                                            \
	{.method = NH_HTTP_GET, .path = "/status/healthy", .handle = alive}, {0}

const struct nh_route nh_device_api_routes[] = {
	{.method = NH_HTTP_GET, .path = "/socket/websocket", .at_once = socket_upgrade_at_once, .handle = socket_upgrade, .summary = "Device channel"},
	{.method = NH_HTTP_GET, .path = "/device/me", .handle = poll_me, .summary = "Who is this device?"},
	{.method = NH_HTTP_GET, .path = "/device/update", .handle = poll_update, .summary = "Is there an update for this device?"},
	{.method = NH_HTTP_GET, .path = "/device/*path", .handle = poll_unknown},
	COMMON_ROUTES,
};

const struct nh_route nh_device_api_web_routes[] = {COMMON_ROUTES};
