/*
 * The route table: what exists, in the order in which it is looked through (fixed words before names), with the line that documents it.
 *
 * source: reference/user-api-and-cli "6"
 */
#include <pthread.h>

#include "api_int.h"

#define JSON_MAX ((uint64_t)8000000)
#define ORG "/api/orgs/:org_name"
#define PRODUCT ORG "/products/:product_name"
#define DEVICE PRODUCT "/devices/:identifier"
#define SHORT "/api/devices/:identifier"

#define ROUTE(method_, path_, endpoint_, summary_)                                                                                \
	{.method = NH_HTTP_##method_, .path = (path_), .handle = api_handle, .body_max = JSON_MAX, .summary = (summary_), .extra = &(endpoint_)}
#define HANDLER(method_, path_, handle_, endpoint_, summary_)                                                                     \
	{.method = NH_HTTP_##method_, .path = (path_), .handle = (handle_), .body_max = JSON_MAX, .summary = (summary_), .extra = (endpoint_)}
#define UPLOAD(path_, endpoint_, summary_)                                                                                        \
	{.method = NH_HTTP_POST, .path = (path_), .handle = handle_upload, .body = NH_BODY_STREAM, .body_max = UINT64_C(1) << 40, \
	 .sink = &upload_sink, .summary = (summary_), .extra = &(endpoint_)}

const struct nh_route nh_user_api_routes[] = {
	HANDLER(GET, "/status/alive", handle_alive, &ep_alive, "Is the server able to answer?"),
	HANDLER(GET, "/status/_health", handle_alive, &ep_alive, "Is the server able to answer?"),
	HANDLER(GET, "/status/health", handle_alive, &ep_alive, "Is the server able to answer?"),
	HANDLER(GET, "/status/healthy", handle_alive, &ep_alive, "Is the server able to answer?"),
	HANDLER(GET, "/api/openapi", handle_openapi, &ep_openapi, "This document"),
	HANDLER(GET, "/api/docs", handle_docs, &ep_docs, "This document as a page"),
	HANDLER(GET, "/api/docs/style.css", handle_docs_style, &ep_docs_style, "How that page looks"),
	HANDLER(GET, "/api/swaggerui", handle_swagger, &ep_swagger, "Redirects to the page"),

	ROUTE(POST, "/api/auth/cli_session", ep_cli_create, "Start a browser-confirmed sign-in"),
	HANDLER(GET, "/api/auth/cli_session/:token", handle_cli_poll, &ep_cli_poll, "Has the sign-in been confirmed?"),
	HANDLER(POST, "/api/users/login", handle_login, &ep_login, "Sign in with e-mail address and password"),
	HANDLER(POST, "/api/users/auth", handle_login, &ep_login, "Sign in with e-mail address and password"),
	HANDLER(POST, "/api/users/register", handle_register, &ep_register, "Register an account, where the server is open for that"),
	ROUTE(GET, "/api/users/me", ep_me, "The own account"),
	HANDLER(PUT, "/api/users/me", handle_me_update, &ep_me_update, "Change the own name and address"),
	HANDLER(DELETE, "/api/users/me", handle_with_password, &ep_me_delete, "Delete the own account"),
	HANDLER(PUT, "/api/users/me/password", handle_me_password, &ep_me_password, "Change the own password"),
	ROUTE(GET, "/api/users/me/tokens", ep_tokens, "List the own API tokens"),
	HANDLER(POST, "/api/users/me/tokens", handle_with_password, &ep_token_create, "Make an API token; it is shown this once"),
	ROUTE(DELETE, "/api/users/me/tokens/:id", ep_token_delete, "Revoke an API token"),
	ROUTE(GET, "/api/users/me/sessions", ep_sessions, "List the own sessions in browsers"),
	ROUTE(DELETE, "/api/users/me/sessions", ep_sessions_delete, "End all sessions in browsers"),
	ROUTE(DELETE, "/api/users/me/sessions/:id", ep_session_delete, "End a session in a browser"),
	ROUTE(GET, "/api/users/me/second_factor", ep_factor, "Is the second factor on?"),
	HANDLER(POST, "/api/users/me/second_factor", handle_with_password, &ep_factor_begin, "Begin with a second factor"),
	ROUTE(PUT, "/api/users/me/second_factor", ep_factor_confirm, "Switch the second factor on"),
	HANDLER(DELETE, "/api/users/me/second_factor", handle_with_password, &ep_factor_off, "Switch the second factor off"),
	HANDLER(POST, "/api/users/me/recovery_codes", handle_with_password, &ep_recovery, "Make new recovery codes"),
	ROUTE(GET, "/api/users/me/pins", ep_pins, "List the devices that were pinned"),
	ROUTE(GET, "/api/search", ep_search, "Find devices, deployment groups and firmware wherever one is a member"),
	HANDLER(POST, "/api/users/sign", handle_sign, &ep_user_sign, "Have a client certificate issued, with e-mail address and password"),
	ROUTE(GET, "/api/users/me/certificates", ep_own_issueds, "List the own client certificates"),
	HANDLER(POST, "/api/users/me/certificates", handle_sign, &ep_own_sign, "Have a client certificate issued"),
	HANDLER(POST, "/api/users/me/certificates/renewal", handle_sign, &ep_own_renew, "Have a successor issued of the certificate that asks"),
	ROUTE(GET, "/api/users/me/certificates/:serial", ep_own_issued, "Show an own client certificate"),
	ROUTE(DELETE, "/api/users/me/certificates/:serial", ep_own_revoke, "Revoke an own client certificate"),

	ROUTE(GET, "/api/authority", ep_authority, "The server's certificate authority"),
	HANDLER(GET, "/api/authority/crl", handle_crl, &ep_crl, "What it revoked (RFC 5280)"),
	ROUTE(GET, "/api/authority/certificates", ep_all_issueds, "List everything it issued; for administrators of the server"),
	ROUTE(GET, "/api/authority/certificates/:serial", ep_all_issued, "Show an issued certificate; for administrators of the server"),
	ROUTE(DELETE, "/api/authority/certificates/:serial", ep_all_revoke, "Revoke an issued certificate; for administrators of the server"),

	ROUTE(GET, "/api/orgs", ep_orgs, "List the own organizations"),
	ROUTE(POST, "/api/orgs", ep_org_create, "Create an organization"),
	ROUTE(GET, ORG, ep_org, "Show an organization"),
	ROUTE(PUT, ORG, ep_org_update, "Change or rename an organization"),
	ROUTE(PATCH, ORG, ep_org_update, "Change or rename an organization"),
	ROUTE(DELETE, ORG, ep_org_delete, "Delete an organization without devices"),
	ROUTE(GET, ORG "/audit_logs", ep_org_audit, "List what was done in an organization"),
	HANDLER(GET, ORG "/audit_logs/export", handle_audit_export, &ep_org_audit_export, "What was done in an organization, as a file"),
	ROUTE(GET, ORG "/audit_logs/anchors", ep_audit_anchors, "List the signed anchors of an organization's audit log"),
	ROUTE(GET, ORG "/audit_logs/key", ep_audit_keys, "The public keys that sign audit logs"),
	ROUTE(GET, ORG "/search", ep_org_search, "Find devices, deployment groups and firmware of an organization"),
	ROUTE(GET, ORG "/users", ep_members, "List members"),
	ROUTE(POST, ORG "/users", ep_member_add, "Add a member"),
	ROUTE(POST, ORG "/users/invite", ep_member_add, "Add a member"),
	ROUTE(GET, ORG "/invites", ep_invites, "List open invitations"),
	ROUTE(DELETE, ORG "/invites/:id", ep_invite_rescind, "Rescind an invitation"),
	ROUTE(POST, ORG "/leave", ep_leave, "Leave the organization"),
	ROUTE(GET, ORG "/users/:user_email", ep_member, "Show a member"),
	ROUTE(PUT, ORG "/users/:user_email", ep_member_role, "Change a member's role"),
	ROUTE(DELETE, ORG "/users/:user_email", ep_member_remove, "Remove a member"),

	ROUTE(GET, ORG "/keys", ep_keys, "List signing keys"),
	ROUTE(POST, ORG "/keys", ep_key_create, "Register a signing key"),
	ROUTE(GET, ORG "/keys/:name", ep_key, "Show a signing key"),
	ROUTE(DELETE, ORG "/keys/:name", ep_key_delete, "Delete a signing key"),

	ROUTE(GET, ORG "/ca_certificates", ep_cas, "List device CAs"),
	ROUTE(POST, ORG "/ca_certificates", ep_ca_add, "Register a device CA"),
	ROUTE(GET, ORG "/ca_certificates/verification_token", ep_ca_token, "Token for the proof that a CA's key is held"),
	ROUTE(GET, ORG "/ca_certificates/:serial", ep_ca, "Show a device CA"),
	ROUTE(PUT, ORG "/ca_certificates/:serial", ep_ca_update, "Change a device CA's settings"),
	ROUTE(DELETE, ORG "/ca_certificates/:serial", ep_ca_delete, "Delete a device CA"),
	ROUTE(GET, ORG "/certificates/expiring", ep_expiring, "List certificates that end soon"),
	ROUTE(GET, ORG "/authority/certificates", ep_org_issueds, "List what the server's authority issued to the organization"),
	HANDLER(POST, ORG "/authority/certificates", handle_sign, &ep_org_sign, "Have a device CA or a server certified"),
	ROUTE(GET, ORG "/authority/certificates/:serial", ep_org_issued, "Show an issued certificate"),
	ROUTE(DELETE, ORG "/authority/certificates/:serial", ep_org_revoke, "Revoke an issued certificate"),

	ROUTE(GET, ORG "/iroh_endpoints", ep_irohs, "List the organization's iroh endpoints"),
	ROUTE(POST, ORG "/iroh_endpoints", ep_iroh_create, "Register an iroh endpoint"),
	ROUTE(GET, ORG "/iroh_endpoints/:identifier", ep_iroh, "Show an iroh endpoint"),
	ROUTE(DELETE, ORG "/iroh_endpoints/:identifier", ep_iroh_delete, "Delete an iroh endpoint"),

	ROUTE(GET, ORG "/webhooks", ep_webhooks, "List webhooks"),
	ROUTE(POST, ORG "/webhooks", ep_webhook_create, "Make a webhook; its secret is shown this once"),
	ROUTE(GET, ORG "/webhooks/:id", ep_webhook, "Show a webhook"),
	ROUTE(PUT, ORG "/webhooks/:id", ep_webhook_update, "Change a webhook"),
	ROUTE(PATCH, ORG "/webhooks/:id", ep_webhook_update, "Change a webhook"),
	HANDLER(DELETE, ORG "/webhooks/:id", handle_webhook_delete, &ep_webhook_delete, "Delete a webhook with all that is owed to it"),
	ROUTE(POST, ORG "/webhooks/:id/secret", ep_webhook_rotate, "Give a webhook a new secret, shown this once; the old one signs, too, for a day"),
	HANDLER(POST, ORG "/webhooks/:id/test", handle_webhook_test, &ep_webhook_test, "Send a webhook.test now and tell what came back"),
	ROUTE(GET, ORG "/webhooks/:id/deliveries", ep_deliveries, "List a webhook's deliveries"),
	HANDLER(POST, ORG "/webhooks/:id/retry_dead", handle_webhook_retry_all, &ep_delivery_retry_all, "Send all dead deliveries anew"),
	ROUTE(POST, ORG "/webhooks/:id/deliveries/:delivery_id/retry", ep_delivery_retry, "Send a dead delivery anew"),

	ROUTE(GET, ORG "/products", ep_products, "List products"),
	ROUTE(POST, ORG "/products", ep_product_create, "Create a product"),
	ROUTE(GET, PRODUCT, ep_product, "Show a product"),
	ROUTE(PUT, PRODUCT, ep_product_update, "Change a product's settings"),
	ROUTE(PATCH, PRODUCT, ep_product_update, "Change a product's settings"),
	ROUTE(DELETE, PRODUCT, ep_product_delete, "Delete a product"),
	ROUTE(GET, PRODUCT "/shared_secrets", ep_secrets, "List shared secrets"),
	ROUTE(POST, PRODUCT "/shared_secrets", ep_secret_create, "Make a shared secret; it is shown this once"),
	ROUTE(DELETE, PRODUCT "/shared_secrets/*key", ep_secret_delete, "Switch a shared secret off"),

	ROUTE(GET, PRODUCT "/savings", ep_product_savings, "What updates of a product took, and what deltas saved"),
	ROUTE(GET, PRODUCT "/insights", ep_insights, "Count a product's devices by connection and firmware"),
	ROUTE(GET, PRODUCT "/notifications", ep_notifications, "List what a product has to tell its people"),
	ROUTE(DELETE, PRODUCT "/notifications", ep_notifications_dismiss, "Dismiss all notifications, for everybody"),
	ROUTE(GET, PRODUCT "/audit_logs", ep_product_audit, "List what was done with a product"),
	HANDLER(GET, PRODUCT "/audit_logs/export", handle_audit_export, &ep_product_audit_export, "What was done with a product, as a file"),
	ROUTE(GET, PRODUCT "/search", ep_product_search, "Find devices, deployment groups and firmware of a product"),

	ROUTE(GET, PRODUCT "/firmwares", ep_firmwares, "List firmware"),
	UPLOAD(PRODUCT "/firmwares", ep_firmware_upload, "Upload firmware"),
	ROUTE(GET, PRODUCT "/firmwares/:uuid", ep_firmware, "Show a firmware"),
	HANDLER(GET, PRODUCT "/firmwares/:uuid/download", handle_download, &ep_firmware_download, "Download a firmware"),
	ROUTE(DELETE, PRODUCT "/firmwares/:uuid", ep_firmware_delete, "Delete a firmware"),
	ROUTE(GET, PRODUCT "/firmwares/:uuid/savings", ep_firmware_savings, "What updates to a firmware took, and what deltas saved"),
	ROUTE(GET, PRODUCT "/firmwares/:uuid/deltas", ep_deltas, "List the deltas to a firmware"),
	ROUTE(POST, PRODUCT "/firmwares/:uuid/deltas", ep_delta_create, "Have a delta to a firmware built"),
	ROUTE(GET, PRODUCT "/firmwares/:uuid/deltas/:source", ep_delta, "Show a delta"),
	ROUTE(POST, PRODUCT "/firmwares/:uuid/deltas/:source/retry", ep_delta_retry, "Have a delta that failed built again"),
	ROUTE(DELETE, PRODUCT "/firmwares/:uuid/deltas/:source", ep_delta_delete, "Delete a delta"),

	ROUTE(GET, PRODUCT "/archives", ep_archives, "List archives"),
	UPLOAD(PRODUCT "/archives", ep_archive_upload, "Upload an archive"),
	ROUTE(GET, PRODUCT "/archives/:uuid", ep_archive, "Show an archive"),
	HANDLER(GET, PRODUCT "/archives/:uuid/download", handle_download, &ep_archive_download, "Download an archive"),
	ROUTE(DELETE, PRODUCT "/archives/:uuid", ep_archive_delete, "Delete an archive that no release uses"),

	ROUTE(GET, PRODUCT "/deployments", ep_groups, "List deployment groups"),
	ROUTE(POST, PRODUCT "/deployments", ep_group_create, "Create a deployment group"),
	ROUTE(GET, PRODUCT "/deployments/:name", ep_group, "Show a deployment group"),
	ROUTE(GET, PRODUCT "/deployments/:name/savings", ep_group_savings, "What updates by a deployment group took, and what deltas saved"),
	ROUTE(PUT, PRODUCT "/deployments/:name", ep_group_update, "Change or release to a deployment group"),
	ROUTE(GET, PRODUCT "/deployments/:name/audit_logs", ep_group_audit, "List what was done with a deployment group"),
	HANDLER(GET, PRODUCT "/deployments/:name/audit_logs/export", handle_audit_export, &ep_group_audit_export, "What was done with a deployment group, as a file"),
	ROUTE(GET, PRODUCT "/deployments/:name/rollout", ep_rollout, "Show how far the current release is"),
	ROUTE(PUT, PRODUCT "/deployments/:name/rollout/plan", ep_rollout_plan, "Set the waves, gates and windows of releases to come, or of the current one, too"),
	ROUTE(POST, PRODUCT "/deployments/:name/rollout/pause", ep_rollout_pause, "Send nothing more of the current release for now"),
	ROUTE(POST, PRODUCT "/deployments/:name/rollout/resume", ep_rollout_resume, "Go on after a pause or an automatic stop"),
	ROUTE(POST, PRODUCT "/deployments/:name/rollout/approve", ep_rollout_approve, "Let the current wave's gate pass"),
	ROUTE(POST, PRODUCT "/deployments/:name/rollout/skip", ep_rollout_skip, "Drop the remaining waves: everybody at once"),
	ROUTE(POST, PRODUCT "/deployments/:name/rollout/rollback", ep_rollout_rollback, "Release the previous firmware again"),
	HANDLER(GET, PRODUCT "/deployments/:name/plan", handle_forecast, &ep_group_plan, "Count what the current release does to its group"),
	HANDLER(POST, PRODUCT "/deployments/:name/plan", handle_forecast, &ep_group_suppose, "Count what a release would do to its group; nothing is changed"),
	HANDLER(GET, PRODUCT "/deployments/:name/membership/:change", handle_membership_preview, &ep_membership_preview, "Count what adding matching or removing unmatched devices would do"),
	ROUTE(POST, PRODUCT "/deployments/:name/membership/:change", ep_membership_change, "Add matching or remove unmatched devices, in the background"),
	ROUTE(DELETE, PRODUCT "/deployments/:name", ep_group_delete, "Delete a deployment group"),

	ROUTE(GET, PRODUCT "/scripts", ep_scripts, "List support scripts"),
	ROUTE(POST, PRODUCT "/scripts", ep_script_create, "Create a support script"),
	ROUTE(GET, PRODUCT "/scripts/:id", ep_script, "Show a support script"),
	ROUTE(PUT, PRODUCT "/scripts/:id", ep_script_update, "Change a support script"),
	ROUTE(DELETE, PRODUCT "/scripts/:id", ep_script_delete, "Delete a support script"),

	ROUTE(GET, PRODUCT "/devices", ep_devices, "List devices"),
	HANDLER(GET, PRODUCT "/devices.csv", handle_devices_csv, &ep_devices_csv, "List devices as CSV, all of them"),
	ROUTE(POST, PRODUCT "/devices", ep_device_create, "Create a device"),
	ROUTE(GET, PRODUCT "/devices/flapping", ep_flapping, "List devices that connected more than ten times within the hour"),
	ROUTE(POST, PRODUCT "/devices/auth", ep_device_auth, "Which device has this certificate?"),
	{.method = NH_HTTP_POST, .path = PRODUCT "/devices/import", .handle = handle_import, .body = NH_BODY_STREAM, .body_max = UINT64_C(256) << 20, .sink = &import_sink,
	 .summary = "Import devices of a manifest, of receipts or of CSV", .extra = &ep_device_import},
	HANDLER(POST, PRODUCT "/devices/bulk", handle_bulk, &ep_bulk, "One action on many devices"),
	ROUTE(GET, DEVICE, ep_device, "Show a device"),
	ROUTE(POST, DEVICE, ep_device_create_named, "Create a device"),
	ROUTE(PUT, DEVICE, ep_device_update, "Change a device"),
	ROUTE(DELETE, DEVICE, ep_device_delete, "Delete a device"),
	ROUTE(POST, DEVICE "/reboot", ep_device_reboot, "Reboot a device"),
	ROUTE(POST, DEVICE "/reconnect", ep_device_reconnect, "Make a device connect anew"),
	ROUTE(POST, DEVICE "/identify", ep_device_identify, "Make a device show itself"),
	ROUTE(POST, DEVICE "/upgrade", ep_device_upgrade, "Send a firmware to a device"),
	ROUTE(POST, DEVICE "/upgrade/available", ep_device_upgrade_available, "Send a device now what its group has for it"),
	ROUTE(GET, DEVICE "/explain", ep_device_explain, "Why is a device updated or not, and what would change that?"),
	ROUTE(POST, DEVICE "/move", ep_device_move, "Move a device to another product"),
	ROUTE(DELETE, DEVICE "/penalty", ep_device_penalty, "Let a device out of the penalty box"),
	HANDLER(POST, DEVICE "/code", handle_code, &ep_device_code, "Type into a device's console"),
	ROUTE(POST, DEVICE "/restore", ep_device_restore, "Bring a deleted device back"),
	ROUTE(DELETE, DEVICE "/destroy", ep_device_destroy, "Forget a deleted device for good"),
	ROUTE(PUT, DEVICE "/pin", ep_pin, "Pin a device"),
	ROUTE(DELETE, DEVICE "/pin", ep_unpin, "Pin a device no longer"),
	ROUTE(GET, DEVICE "/audit_logs", ep_device_audit, "List what was done with a device, and what it did"),
	HANDLER(GET, DEVICE "/audit_logs/export", handle_audit_export, &ep_device_audit_export, "What was done with a device, as a file"),
	ROUTE(GET, DEVICE "/shared_secrets", ep_device_secrets, "List a device's shared secrets"),
	ROUTE(POST, DEVICE "/shared_secrets", ep_device_secret_create, "Make a shared secret of a device; it is shown this once"),
	ROUTE(DELETE, DEVICE "/shared_secrets/*key", ep_device_secret_delete, "Switch a device's shared secret off"),
	ROUTE(GET, DEVICE "/scripts", ep_device_scripts, "List support scripts for a device"),
	HANDLER(POST, DEVICE "/scripts/:name_or_id", handle_script_run, &ep_script_run, "Run a support script on a device"),
	ROUTE(GET, DEVICE "/health", ep_health, "Show a device's latest health report"),
	ROUTE(GET, DEVICE "/health/history", ep_health_history, "List a device's health reports"),
	ROUTE(GET, DEVICE "/metrics", ep_metrics, "List the numbers of a device's health reports"),
	ROUTE(GET, DEVICE "/logs", ep_logs, "List or search a device's log lines"),
	ROUTE(GET, DEVICE "/network_identities", ep_network_identities, "List what a device is called in other networks"),
	ROUTE(POST, DEVICE "/network_identities", ep_identity_create, "Say what a device is called in another network"),
	ROUTE(DELETE, DEVICE "/network_identities/:service/:network_identifier", ep_identity_delete, "Forget what a device is called in another network"),
	ROUTE(GET, DEVICE "/connections", ep_connections, "List a device's connections"),
	ROUTE(GET, DEVICE "/certificates", ep_certs, "List a device's certificates"),
	ROUTE(POST, DEVICE "/certificates", ep_cert_add, "Add a certificate to a device"),
	HANDLER(POST, DEVICE "/certificates/sign", handle_sign, &ep_device_sign, "Have a device's certificate issued"),
	ROUTE(GET, DEVICE "/certificates/:serial", ep_cert, "Show a device's certificate"),
	ROUTE(DELETE, DEVICE "/certificates/:serial", ep_cert_delete, "Delete a device's certificate"),

	ROUTE(GET, SHORT, ep_short_device, "Show a device"),
	HANDLER(POST, SHORT "/code", handle_code, &ep_short_code, "Type into a device's console"),
	ROUTE(GET, SHORT "/explain", ep_short_explain, "Why is a device updated or not, and what would change that?"),
	ROUTE(GET, SHORT "/scripts", ep_short_scripts, "List support scripts for a device"),
	HANDLER(POST, SHORT "/scripts/:name_or_id", handle_script_run, &ep_short_script_run, "Run a support script on a device"),
	ROUTE(POST, SHORT "/reboot", ep_short_reboot, "Reboot a device"),
	ROUTE(POST, SHORT "/reconnect", ep_short_reconnect, "Make a device connect anew"),
	ROUTE(POST, SHORT "/upgrade", ep_short_upgrade, "Send a firmware to a device"),
	ROUTE(POST, SHORT "/move", ep_short_move, "Move a device to another product"),
	ROUTE(DELETE, SHORT "/penalty", ep_short_penalty, "Let a device out of the penalty box"),
	{.path = NULL},
};

const struct nh_route nh_user_api_last_routes[] = {
	{.method = NH_HTTP_POST, .path = "/api/*rest", .handle = handle_other_post, .body_max = JSON_MAX},
	{.path = NULL},
};

#define API "/api"

static struct nh_route root_routes[NH_ARRAY_LEN(nh_user_api_routes)];

static void strip_routes(void)
{
	size_t count = 0;
	for (const struct nh_route *r = nh_user_api_routes; r->path; r++) {
		if (!nh_slice_starts(nh_slice_str(r->path), NH_LIT(API "/")))
			continue;
		root_routes[count] = *r;
		root_routes[count++].path = r->path + sizeof(API) - 1;
	}
}

const struct nh_route *nh_user_api_root_routes(void)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;
	pthread_once(&once, strip_routes);
	return root_routes;
}
