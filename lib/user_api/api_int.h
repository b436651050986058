/*
 * What the handlers of the User API share. Private to user_api.
 *
 * An endpoint's `run` is called inside one transaction, perhaps more than once (PostgreSQL repeats after a serialization failure): it leaves its result
 * in the call only, and everything in there is reset before a repetition.
 */
#pragma once

#include <pthread.h>

#include "bus/relay.h"
#include "hub/accounts.h"
#include "hub/archives.h"
#include "hub/certificates.h"
#include "hub/deployments.h"
#include "hub/devices.h"
#include "hub/extensions.h"
#include "hub/firmware.h"
#include "hub/gate.h"
#include "hub/keys.h"
#include "hub/permissions.h"
#include "hub/products.h"
#include "hub/scripts.h"
#include "hub/secrets.h"
#include "shapes.h"
#include "user_api/user_api.h"

struct nh_user_api {
	struct nh_user_api_config config;
	struct document_cache *document;
	struct nh_loop *loop; /* where devices' answers arrive; NULL: none can be asked */
	struct nh_limiter *own_limiter; /* where the config brings none */
	unsigned forecasts;             /* being made; atomic */
};

typedef enum scope { SCOPE_NONE, SCOPE_ORG, SCOPE_PRODUCT, SCOPE_DEVICE, SCOPE_DEVICE_ANYWHERE } scope;

struct call;

struct endpoint {
	nh_rc (*run)(struct call *call, struct nh_err *err);
	scope scope;
	nh_action may;      /* NH_MAY_NOTHING only where nothing of an organization is touched */
	bool anonymous;     /* no user needed */
	bool write;
	unsigned success;   /* status; 204 sends no body */
	/* of the OpenAPI document */
	const char *tag;
	const struct shape *query;   /* parameters of the query; NULL: none. An object is written name[member]=value */
	const struct shape *headers; /* of the request, beside what every request may have; NULL: none */
	const struct shape *body;    /* the JSON body; NULL: none is read */
	bool body_list;              /* an array of it */
	const char *const *body_media; /* a body of one of these types, NULL at the end, not described further; NULL: as `body` says */
	const char *nested;          /* the body's members may as well come inside one of this name; NULL: they may not */
	const struct shape *data;    /* what the answer holds under "data"; NULL: nothing */
	bool list;                   /* an array of it */
	const struct shape *beside;  /* members beside "data"; NULL: none */
	bool fixed;                  /* answers whatever is asked with, and so gives none of the usual refusals */
	const char *media;           /* of an answer that is not {"data":…}: "application/octet-stream", "": no body; NULL: it is */
	const struct answer *also;   /* NULL: none */
};

struct call {
	struct nh_request *req;
	struct nh_response *res;
	struct nh_user_api *api;
	const struct endpoint *endpoint;
	struct nh_arena *arena;
	json_t *params;                 /* object: see params.c */
	bool body_is_list;              /* the body was no object */
	/* reset before each run */
	struct nh_ctx ctx;
	struct nh_effects effects;
	struct nh_user user;
	struct nh_actor actor;
	int64_t touch;
	bool by_certificate;            /* who asks is known by the connection's client certificate; touch is that certificate's */
	struct nh_org org;
	struct nh_product product;
	struct nh_device device;
	json_t *data;                   /* answer: {"data":…}; taken */
	json_t *extra;                  /* further members beside data; taken */
	json_t *errors;                 /* refusal: {"errors":…}; taken */
	json_t *whole;                  /* the whole answer as it is; taken */
	nh_slice location;
	unsigned status;                /* overrides the endpoint's, also for refusals */
};

/* ---- api.c ------------------------------------------------------------------------------------------------------------- */
void api_handle(struct nh_request *req, struct nh_response *res); /* for routes whose extra is a struct endpoint */
/* For handlers that need more than one transaction: call_open parses; call_read/call_write run fn after authentication and scope; call_close answers. */
bool call_open(struct call *call, struct nh_request *req, struct nh_response *res, const struct endpoint *endpoint);
nh_rc call_transact(struct call *call, nh_rc (*run)(struct call *call, struct nh_err *err), bool write, struct nh_err *err);
void call_effects(struct call *call);
void call_close(struct call *call, nh_rc rc, const struct nh_err *err);
void call_leave(struct call *call); /* instead of call_close where nh_response_later was called */

void send_json(struct nh_request *req, struct nh_response *res, unsigned status, const json_t *value);
void send_error(struct nh_request *req, struct nh_response *res, unsigned status, const char *detail);
void send_common_headers(struct nh_request *req, struct nh_response *res);

nh_rc bad_request(struct call *call, struct nh_err *err, const char *text); /* 400 */
/* Location: the request's own path, and segment behind it (none: pointer NULL). */
void set_location(struct call *call, nh_slice segment);
nh_slice param(const struct call *call, const char *name); /* of the path */
/* Where browsers find the server: as configured, else as the request came. In the request's arena. */
const char *public_url(const struct nh_request *req);

/* ---- params.c ------------------------------------------------------------------------------------------------------------ */
nh_rc read_params(struct call *call, struct nh_err *err); /* into call->params. NH_EFORMAT, NH_ETOOBIG */
const json_t *body_members(const struct call *call);      /* borrowed; those within the endpoint's nested where the body has that, else all */
bool change_method(struct call *call); /* a POST that means another method: the request has its route and method from now on, and the call is to be left */
void handle_other_post(struct nh_request *req, struct nh_response *res);

/* ---- account_routes.c: signing in with what the body says ------------------------------------------------------------------ */
struct login_call {
	struct call call; /* first: run functions get it back from there */
	struct nh_login login;
	char token[NH_TOKEN_TEXT_MAX];
};
/* Everything that the account asks for, throttled: login.user is who asks. NH_EAUTH: the refusal is in the call. */
nh_rc login_check(struct login_call *l, struct nh_err *err);
struct nh_gate call_gate(const struct call *call);
/* The body's current_password, of who asks (call->user is known). Outside of transactions. NH_EINVAL, NH_EAUTH: the refusal is in the call. */
nh_rc password_again(struct call *call, struct nh_err *err);
extern const struct answer login_refusals[];

/* ---- telemetry_routes.c: lists that go on with what the answer names -------------------------------------------------------- */
nh_rc read_limit(struct call *call, uint64_t max, size_t *out, struct nh_err *err); /* of the query; refusals are in the call */
void set_pagination(struct call *call, size_t page_size, json_t *take_next);        /* take_next NULL where there is no more */

/* ---- device_list_routes.c: lists with numbered pages -------------------------------------------------------------------------- */
nh_rc read_list_query(struct call *call, struct nh_device_query *out, struct nh_err *err); /* pagination[…], filters[…], query, sort; refusals are in the call */
void set_page_numbers(struct call *call, int64_t page, int64_t page_size, int64_t total);  /* the answer's "pagination" */

/* ---- csv.c ---------------------------------------------------------------------------------------------------------------- */
void csv_put_cell(struct nh_buf *out, nh_slice text, bool last); /* quoted where it has to be; behind it a comma, or the line's end */

/* ---- client_quirks.c ---------------------------------------------------------------------------------------------------- */
typedef enum quirk {
	QUIRK_SCRIPT_TEXTS,    /* ids and tags of scripts are strings */
	QUIRK_SCRIPT_PATIENCE, /* a script's answer comes within 28 s unless the request says otherwise */
	QUIRK_COUNT,
} quirk;
bool has_quirk(const struct nh_request *req, quirk which); /* does who asks need it? */

/* ---- file_routes.c ------------------------------------------------------------------------------------------------------ */
struct stored_file {
	nh_slice uuid, object_key, checksum;
};

/* What firmware and archives differ in on their way in and out. */
struct file_kind {
	const char *noun; /* also the name of the file's part */
	const struct endpoint *upload, *download;
	nh_rc (*open)(struct nh_ctx *ctx, const struct nh_actor *actor, int64_t org_id, nh_slice product_name, struct nh_firmware_intake *out, struct nh_err *err);
	nh_rc (*claim)(struct nh_ctx *ctx, const struct nh_actor *actor, const struct nh_firmware_intake *intake, const struct nh_firmware_facts *facts,
	               nh_slice *object_key, json_t **errors, struct nh_err *err);
	/* leaves location and data in the call */
	nh_rc (*publish)(struct call *call, const struct nh_firmware_intake *intake, const struct nh_firmware_facts *facts, nh_slice object_key, struct nh_err *err);
	nh_rc (*find)(struct call *call, struct stored_file *out, struct nh_err *err); /* of the path's uuid, for who may download it */
};
extern const struct file_kind file_firmware, file_archive;
const struct file_kind *file_kind_of(const struct endpoint *endpoint); /* NULL: no upload and no download */

/* ---- render.c ---------------------------------------------------------------------------------------------------------- */
json_t *text_or_null(nh_slice text);
json_t *render_org(const struct nh_org *org);
json_t *render_user(const struct nh_user *user);
json_t *render_member(const struct nh_member *member);
json_t *render_product(const struct nh_product *product);
json_t *render_key(const struct nh_org_key *key);
json_t *render_secret(const struct nh_shared_secret *secret);
json_t *render_ca(const struct nh_ca_certificate *ca);
json_t *render_certificate(const struct nh_device_certificate *cert);
json_t *render_firmware(const struct nh_firmware *firmware);
json_t *render_archive(const struct nh_archive *archive);
json_t *render_script(const struct nh_script *script, bool as_texts); /* with its text where it is loaded; as_texts: QUIRK_SCRIPT_TEXTS */
json_t *render_device(const struct nh_device *device);
json_t *render_date(int64_t at_us);   /* to the second; null for 0 */
json_t *render_moment(int64_t at_us); /* to the microsecond; null for 0 */
json_t *render_health(const struct nh_health *health);
json_t *render_log_line(const struct nh_log_line *line);
json_t *render_network_identity(const struct nh_network_identity *identity);
json_t *render_iroh_endpoint(const struct nh_iroh_endpoint *endpoint);
json_t *render_past_connection(const struct nh_past_connection *connection);

/* ---- handlers ------------------------------------------------------------------------------------------------------------ */
extern const struct endpoint
	ep_me, ep_me_update, ep_me_delete, ep_me_password, ep_tokens, ep_token_create, ep_token_delete, ep_sessions, ep_session_delete, ep_sessions_delete,
	ep_factor, ep_factor_begin, ep_factor_confirm, ep_factor_off, ep_recovery, ep_invites, ep_invite_rescind, ep_leave,
	ep_orgs, ep_org_create, ep_org, ep_org_update, ep_org_delete,
	ep_members, ep_member_add, ep_member, ep_member_role, ep_member_remove,
	ep_keys, ep_key, ep_key_create, ep_key_delete,
	ep_cas, ep_ca, ep_ca_token, ep_ca_add, ep_ca_update, ep_ca_delete, ep_expiring,
	ep_authority, ep_crl, ep_own_issueds, ep_own_issued, ep_own_revoke, ep_all_issueds, ep_all_issued, ep_all_revoke, ep_org_issueds, ep_org_issued, ep_org_revoke,
	ep_own_sign, ep_own_renew, ep_user_sign, ep_org_sign, ep_device_sign,
	ep_webhooks, ep_webhook, ep_webhook_create, ep_webhook_update, ep_webhook_delete, ep_webhook_rotate, ep_webhook_test, ep_deliveries, ep_delivery_retry, ep_delivery_retry_all,
	ep_products, ep_product, ep_product_create, ep_product_update, ep_product_delete,
	ep_secrets, ep_secret_create, ep_secret_delete,
	ep_firmwares, ep_firmware, ep_firmware_delete, ep_firmware_download, ep_firmware_upload,
	ep_deltas, ep_delta, ep_delta_create, ep_delta_retry, ep_delta_delete, ep_product_savings, ep_group_savings, ep_firmware_savings,
	ep_group_plan, ep_group_suppose, ep_membership_preview, ep_membership_change, ep_device_explain, ep_short_explain, ep_device_upgrade_available,
	ep_devices, ep_devices_csv, ep_device, ep_device_create, ep_device_create_named, ep_device_update, ep_device_delete, ep_device_auth, ep_device_import,
	ep_device_reboot, ep_device_reconnect, ep_device_identify, ep_device_upgrade, ep_device_penalty, ep_device_move, ep_device_scripts,
	ep_short_device, ep_short_reboot, ep_short_reconnect, ep_short_upgrade, ep_short_penalty, ep_short_move, ep_short_scripts,
	ep_certs, ep_cert, ep_cert_add, ep_cert_delete,
	ep_device_restore, ep_device_destroy, ep_device_secrets, ep_device_secret_create, ep_device_secret_delete, ep_identity_create, ep_identity_delete, ep_device_code, ep_short_code, ep_bulk,
	ep_insights, ep_notifications, ep_notifications_dismiss, ep_pins, ep_pin, ep_unpin, ep_search, ep_org_search, ep_product_search,
	ep_audit_anchors, ep_audit_keys, ep_org_audit, ep_org_audit_export, ep_product_audit, ep_product_audit_export, ep_device_audit, ep_device_audit_export, ep_group_audit, ep_group_audit_export,
	ep_health, ep_health_history, ep_metrics, ep_logs, ep_network_identities, ep_connections, ep_flapping,
	ep_irohs, ep_iroh, ep_iroh_create, ep_iroh_delete,
	ep_archives, ep_archive, ep_archive_delete, ep_archive_download, ep_archive_upload,
	ep_scripts, ep_script, ep_script_create, ep_script_update, ep_script_delete, ep_script_run, ep_short_script_run,
	ep_groups, ep_group, ep_group_create, ep_group_update, ep_group_delete,
	ep_rollout, ep_rollout_plan, ep_rollout_pause, ep_rollout_resume, ep_rollout_approve, ep_rollout_skip, ep_rollout_rollback,
	ep_cli_create, ep_cli_poll, ep_login, ep_register,
	ep_alive, ep_openapi, ep_docs, ep_docs_style, ep_swagger;

void handle_with_password(struct nh_request *req, struct nh_response *res);
void handle_me_update(struct nh_request *req, struct nh_response *res);
void handle_me_password(struct nh_request *req, struct nh_response *res);
void handle_login(struct nh_request *req, struct nh_response *res);
void handle_register(struct nh_request *req, struct nh_response *res);
void handle_cli_poll(struct nh_request *req, struct nh_response *res);
void handle_crl(struct nh_request *req, struct nh_response *res);
void handle_sign(struct nh_request *req, struct nh_response *res);
void handle_alive(struct nh_request *req, struct nh_response *res);
struct document_cache *document_cache_new(void);
void document_cache_free(struct document_cache *cache);
void handle_openapi(struct nh_request *req, struct nh_response *res);
void handle_docs(struct nh_request *req, struct nh_response *res);
void handle_docs_style(struct nh_request *req, struct nh_response *res);
void handle_swagger(struct nh_request *req, struct nh_response *res);
void handle_import(struct nh_request *req, struct nh_response *res);
extern const struct nh_body_sink import_sink;
void handle_devices_csv(struct nh_request *req, struct nh_response *res);
void handle_upload(struct nh_request *req, struct nh_response *res);
void handle_download(struct nh_request *req, struct nh_response *res);
void handle_code(struct nh_request *req, struct nh_response *res);
void handle_bulk(struct nh_request *req, struct nh_response *res);
void handle_forecast(struct nh_request *req, struct nh_response *res);
void handle_membership_preview(struct nh_request *req, struct nh_response *res);
void handle_audit_export(struct nh_request *req, struct nh_response *res);
void handle_webhook_delete(struct nh_request *req, struct nh_response *res);
void handle_webhook_retry_all(struct nh_request *req, struct nh_response *res);
void handle_webhook_test(struct nh_request *req, struct nh_response *res);
void handle_script_run(struct nh_request *req, struct nh_response *res);
extern const struct nh_body_sink upload_sink;
