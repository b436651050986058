/*
 * Looking after a fleet: figures, notifications, pins, search, the audit log, one action on many devices, and the rarer things that can be done with an organization, a
 * product or a device.
 *
 * source: reference/server-behaviour "8.1" "9.7" "14.3" "14.4"
 */
#include "cli_int.h"

/* ---- figures and notifications --------------------------------------------------------------------------------------------- */

static const struct cli_shape connections_shape[] = {{"connected", SHAPE_INT}, {"disconnected", SHAPE_INT}, {"not_seen", SHAPE_INT}, {NULL}};
static const struct cli_shape figure_shape[] = {{"version", SHAPE_TEXT}, {"platform", SHAPE_TEXT}, {"architecture", SHAPE_TEXT}, {"devices", SHAPE_INT}, {NULL}};
static const struct cli_shape insights_shape[] = {
	{"devices", SHAPE_INT}, {"connections", SHAPE_OBJECT, false, connections_shape}, {"firmware", SHAPE_OBJECTS, false, figure_shape}, {NULL}};

static const char *firmware_figures(struct nh_cli *c, const json_t *object, const json_t *list)
{
	NH_AUTO_BUF struct nh_buf b = NH_BUF_INIT;
	size_t i;
	const json_t *f;
	json_array_foreach(list, i, f)
		nh_buf_printf(&b, "%s%lld of %s (%s)", i ? ", " : "", (long long)nh_json_int(f, "devices", 0), cli_dash(cli_get(f, "version")), cli_dash(cli_get(f, "platform")));
	return nh_arena_str(&c->arena, nh_buf_slice(&b));
}
static const struct cli_cell insights_detail[] = {{"Devices", "devices"}, {"Connected", "connections.connected"}, {"Disconnected", "connections.disconnected"},
						  {"Never seen", "connections.not_seen"}, {"Firmware", "firmware", firmware_figures}, {NULL}};
static const struct cli_view insights_view = {insights_shape, NULL, insights_detail, NULL};

static const struct cli_shape notification_shape[] = {
	{"id", SHAPE_INT}, {"level", SHAPE_TEXT}, {"event_key", SHAPE_TEXT}, {"title", SHAPE_TEXT}, {"message", SHAPE_TEXT}, {"metadata", SHAPE_ANY}, {"occurrence_count", SHAPE_INT},
	{"last_occurred_at", SHAPE_TIME}, {"inserted_at", SHAPE_TIME}, {NULL}};
static const struct cli_cell notification_list[] = {{"LAST", "last_occurred_at", cli_as_time}, {"LEVEL", "level"}, {"TIMES", "occurrence_count"}, {"TITLE", "title"},
						    {"MESSAGE", "message"}, {NULL}};
static const struct cli_view notification_view = {notification_shape, notification_list, NULL, "No notifications of :org/:product."};

/* ---- the audit log --------------------------------------------------------------------------------------------------------- */

static const struct cli_shape audit_shape[] = {{"id", SHAPE_INT}, {"at", SHAPE_TIME}, {"actor_kind", SHAPE_TEXT}, {"actor_name", SHAPE_TEXT}, {"resource_kind", SHAPE_TEXT},
					       {"resource_id", SHAPE_INT}, {"description", SHAPE_TEXT}, {NULL}};
static const struct cli_cell audit_list[] = {{"AT", "at", cli_as_time}, {"WHO", "actor_name"}, {"WHAT", "description"}, {NULL}};
static const struct cli_view audit_view = {audit_shape, audit_list, NULL, "The audit log is empty."};

static const struct cli_action org_log = {"GET", CLI_ORG "/audit_logs", &audit_view};
static const struct cli_action product_log = {"GET", CLI_PRODUCT "/audit_logs", &audit_view};
static const struct cli_action device_log = {"GET", CLI_DEVICE "/audit_logs", &audit_view};
static const struct cli_action group_log = {"GET", CLI_PRODUCT "/deployments/:1/audit_logs", &audit_view};

/* ---- search ---------------------------------------------------------------------------------------------------------------- */

static const struct cli_shape found_shape[] = {{"kind", SHAPE_TEXT}, {"name", SHAPE_TEXT}, {"version", SHAPE_TEXT, true}, {"org_name", SHAPE_TEXT}, {"product_name", SHAPE_TEXT}, {NULL}};
static const struct cli_cell found_list[] = {{"KIND", "kind"}, {"NAME", "name"}, {"VERSION", "version"}, {"ORG", "org_name"}, {"PRODUCT", "product_name"}, {NULL}};
static const struct cli_view found_view = {found_shape, found_list, NULL, "Nothing found."};

/* The answer has a list for each kind; here it is one. */
static nh_rc search(struct nh_cli *c, struct nh_err *err)
{
	static const struct {
		const char *list, *kind, *name;
	} kinds[] = {{"devices", "device", "identifier"}, {"deployments", "deployment", "name"}, {"firmwares", "firmware", "uuid"}};
	NH_AUTO_BUF struct nh_buf query = NH_BUF_INIT;
	NH_AUTO_JSON json_t *answer = NULL;
	NH_AUTO_JSON json_t *all = json_array();
	bool in_product = cli_text(c, "product") != NULL, in_org = in_product || cli_text(c, "org");
	cli_put_query(&query, "q", c->args[0]);
	NH_TRY(cli_require(c, in_product ? CLI_IN_PRODUCT : CLI_NEEDS_TOKEN, err));
	const char *route = cli_fill(c, in_product ? CLI_PRODUCT "/search" : in_org ? CLI_ORG "/search" : "search", true);
	NH_TRY(cli_api(c, &(struct cli_request){"GET", route, nh_buf_cstr(&query)}, &answer, err));
	for (size_t k = 0; k < NH_ARRAY_LEN(kinds); k++) {
		size_t i;
		const json_t *row;
		json_array_foreach(json_object_get(json_object_get(answer, "data"), kinds[k].list), i, row)
		{
			json_t *one = cli_shape_object(found_shape, row);
			json_object_set_new(one, "kind", json_string(kinds[k].kind));
			json_object_set_new(one, "name", nh_json_new_text(nh_json_text(row, kinds[k].name)));
			json_array_append_new(all, one);
		}
	}
	return cli_view_list(c, &found_view, all);
}

/* ---- many devices ---------------------------------------------------------------------------------------------------------- */

static const struct cli_shape failure_shape[] = {{"identifier", SHAPE_TEXT}, {"reason", SHAPE_TEXT}, {NULL}};
static const struct cli_shape bulk_shape[] = {{"done", SHAPE_INT}, {"failed", SHAPE_OBJECTS, false, failure_shape}, {NULL}};

static nh_rc put_devices(struct nh_cli *c, json_t *body, struct nh_err *err)
{
	const struct nh_option_list *named = cli_list(c, "device"), *filters = cli_list(c, "filter");
	if (named->count)
		json_object_set_new(body, "identifiers", cli_text_array(named));
	if (cli_on(c, "everything") && (named->count || filters->count || cli_text(c, "query")))
		return NH_FAIL(err, NH_EINVAL, "--everything and --device, --filter, --query exclude each other");
	if (cli_on(c, "everything") || filters->count)
		json_object_set_new(body, "filters", json_object());
	for (size_t i = 0; i < filters->count; i++) {
		nh_slice key, value;
		if (!nh_slice_cut(nh_slice_str(filters->items[i]), ':', &key, &value) || key.len == 0)
			return NH_FAIL(err, NH_EINVAL, "--filter needs key:value, not '%.80s'", filters->items[i]);
		json_object_set_new(json_object_get(body, "filters"), nh_arena_str(&c->arena, key), nh_json_new_text(value));
	}
	if (!named->count && !filters->count && !cli_text(c, "query") && !cli_on(c, "everything"))
		return NH_FAIL(err, NH_EINVAL, "say which devices: --device, --filter, --query, or --everything");
	return NH_OK;
}

/* One request; what was refused is listed and makes the status 1. */
static nh_rc bulk(struct nh_cli *c, struct nh_err *err)
{
	NH_AUTO_JSON json_t *body = json_object();
	NH_AUTO_JSON json_t *result = NULL;
	size_t i;
	const json_t *row;
	json_object_set_new(body, "action", nh_json_new_text(nh_slice_str(c->args[0])));
	NH_TRY(put_devices(c, body, err));
	NH_TRY(cli_put_body_flags(c, body, err));
	NH_TRY(cli_confirm(c, "change many devices", cli_on(c, "yes"), err, nh_arena_printf(&c->arena, "%s: really do that with these devices?", c->args[0])));
	NH_TRY(cli_call(c, "POST", cli_fill(c, CLI_PRODUCT "/devices/bulk", true), json_incref(body), bulk_shape, false, &result, err));
	const json_t *failed = json_object_get(result, "failed");
	if (c->format != CLI_TABLE)
		NH_TRY(cli_view_one(c, &(struct cli_view){.shape = bulk_shape}, result));
	else
		cli_out(c, "Done with %lld device(s)\n", (long long)nh_json_int(result, "done", 0));
	json_array_foreach(failed, i, row) cli_note(c, "%s: %s\n", cli_visible(c, cli_get(row, "identifier")), cli_visible(c, cli_get(row, "reason")));
	return json_array_size(failed) == 0 ? NH_OK : NH_FAIL(err, NH_EINVAL, "%zu device(s) refused", json_array_size(failed));
}

/* ---- the rest -------------------------------------------------------------------------------------------------------------- */

static const struct cli_shape pin_shape[] = {{"identifier", SHAPE_TEXT}, {"connection_status", SHAPE_TEXT}, {"version", SHAPE_TEXT}, {"org_name", SHAPE_TEXT}, {"product_name", SHAPE_TEXT}, {NULL}};
static const struct cli_cell pin_list[] = {{"IDENTIFIER", "identifier"}, {"STATUS", "connection_status"}, {"VERSION", "version"}, {"ORG", "org_name"}, {"PRODUCT", "product_name"}, {NULL}};
static const struct cli_view pin_view = {pin_shape, pin_list, NULL, "No devices are pinned."};
static const struct cli_shape secret_shape[] = {{"key", SHAPE_TEXT}, {"secret", SHAPE_TEXT, true}, {"deactivated_at", SHAPE_TIME, true}, {NULL}};
static const struct cli_cell secret_list[] = {{"KEY", "key"}, {"SWITCHED OFF", "deactivated_at", cli_as_time}, {NULL}}, secret_detail[] = {{"Key", "key"}, {"Secret", "secret"}, {NULL}};
static const struct cli_view secret_view = {secret_shape, secret_list, secret_detail, "No shared secrets of device :1."};

static const struct cli_action insights = {"GET", CLI_PRODUCT "/insights", &insights_view};
static const struct cli_action notifications = {"GET", CLI_PRODUCT "/notifications", &notification_view};
static const struct cli_action dismissal = {"DELETE", CLI_PRODUCT "/notifications", NULL, "Dismissed all notifications of :org/:product"};
static const struct cli_action product_update = {"PUT", CLI_ORG "/products/:1", NULL, "Updated product :1 in :org"};
static const struct cli_action org_update = {"PUT", "orgs/:1", NULL, "Updated organization :1"};
static const struct cli_action org_end = {"DELETE", "orgs/:1", NULL, "Deleted organization :1", "Delete organization :1 with all its products?"};
static const struct cli_action pins = {"GET", "users/me/pins", &pin_view};
static const struct cli_action pin = {"PUT", CLI_DEVICE "/pin", NULL, "Pinned device :1"};
static const struct cli_action unpin = {"DELETE", CLI_DEVICE "/pin", NULL, "Unpinned device :1"};
static const struct cli_action restore = {"POST", CLI_DEVICE "/restore", NULL, "Restored device :1 in :org/:product"};
static const struct cli_action destroy = {
	"DELETE", CLI_DEVICE "/destroy", NULL, "Destroyed device :1", "Forget the deleted device :1 of :org/:product for good?", .refuses = "destroy a device"};
static const struct cli_action secrets = {"GET", CLI_DEVICE "/shared_secrets", &secret_view};
static const struct cli_action secret_new = {"POST", CLI_DEVICE "/shared_secrets", &secret_view, "The secret is shown this once.", .details = true};
static const struct cli_action secret_end = {"DELETE", CLI_DEVICE "/shared_secrets/:2", NULL, "Switched off shared secret :2", "Switch off shared secret :2?"};
static const struct cli_action identity_new = {"POST", CLI_DEVICE "/network_identities", NULL, "Device :1 is :3 in :2", .takes = {NULL, "service", "identifier"}};
static const struct cli_action identity_end = {"DELETE", CLI_DEVICE "/network_identities/:2/:3", NULL, "Device :1 is no longer :3 in :2"};

static const struct cli_flag log_flags[] = {
	{"limit", 0, CLI_NUMBER, "N", "rows at most (default 25)", "limit"}, {"before", 0, CLI_TEXT, "N", "earlier ones, as the list before ended", "before"}, {NULL}};
static const struct cli_flag org_flags[] = {{"name", 0, CLI_TEXT, "NAME", "its new name, which is part of every address", "name"},
					    {"audit-log-days", 0, CLI_NUMBER, "N", "how long its audit log is kept", "audit_log_days_to_keep"},
					    {NULL}};
static const struct cli_flag product_flags[] = {
	{"unique-firmware-version", 0, CLI_BOOL, "BOOL", "refuse a second firmware of a version", "require_unique_firmware_version"},
	{"update-tool", 0, CLI_LIST, "fwup|esp-idf", "what firmware may be made for; repeatable", "allowed_update_tools"},
	{"unsigned-esp-idf", 0, CLI_BOOL, "BOOL", "take ESP-IDF firmware without a signature", "allow_unsigned_esp_idf_firmware"},
	{"health", 0, CLI_BOOL, "BOOL", "ask devices for health reports", "extensions.health"},
	{"geo", 0, CLI_BOOL, "BOOL", "ask devices where they are", "extensions.geo"},
	{"logging", 0, CLI_BOOL, "BOOL", "take log lines of devices", "extensions.logging"},
	{"local-shell", 0, CLI_BOOL, "BOOL", "let people use shells of devices", "extensions.local_shell"},
	{"network-identity", 0, CLI_BOOL, "BOOL", "ask devices what they are called in other networks", "extensions.network_identity"},
	{NULL}};
static const struct cli_flag bulk_flags[] = {{"device", 0, CLI_LIST, "DEVICE", "this one; repeatable, up to 1000"},
					     {"filter", 0, CLI_LIST, "KEY:VALUE", "those that `nh device list` shows with it; repeatable"},
					     {"query", 0, CLI_TEXT, "QUERY", "those of the query language", "query"},
					     {"everything", 0, CLI_FLAG, NULL, "all devices of the product"},
					     {"tag", 0, CLI_LIST, "TAG", "of set_tags; repeatable", "tags"},
					     {"deployment", 0, CLI_TEXT, "DEPLOYMENT", "of set_deployment", "deployment"},
					     {"to-org", 0, CLI_TEXT, "ORG", "of move", "new_org_name"},
					     {"to-product", 0, CLI_TEXT, "PRODUCT", "of move", "new_product_name"},
					     {"firmware", 0, CLI_TEXT, "FIRMWARE", "of upgrade", "uuid"},
					     {"yes", 'y', CLI_FLAG, NULL, "do not ask"},
					     {NULL}};
static const struct cli_flag identity_flags[] = {{"instance", 0, CLI_TEXT, "TEXT", "which of its identities there (default: default)", "instance"}, {NULL}};

static const struct cli_action savings = {"GET", CLI_PRODUCT "/savings", &cli_savings_view};

const struct cli_command cli_overview_commands[] = {
	{"org update", "<org>", 1, 1, CLI_NEEDS_TOKEN, org_flags, cli_run_send, "change or rename an organization", &org_update},
	{"org delete", "<org>", 1, 1, CLI_NEEDS_TOKEN, cli_yes_flags, cli_run_send, "delete an organization without devices", &org_end},
	{"org audit", "", 0, 0, CLI_IN_ORG, log_flags, cli_run_list, "list what was done in the organization", &org_log},
	{"product update", "<product>", 1, 1, CLI_IN_ORG, product_flags, cli_run_send, "change a product's settings", &product_update},
	{"product savings", "", 0, 0, CLI_IN_PRODUCT, NULL, cli_run_show, "show what updates took, and what deltas saved", &savings},
	{"product insights", "", 0, 0, CLI_IN_PRODUCT, NULL, cli_run_show, "count devices by connection and firmware", &insights},
	{"product notifications", "", 0, 0, CLI_IN_PRODUCT, NULL, cli_run_list, "list what the product has to tell", &notifications},
	{"product dismiss-notifications", "", 0, 0, CLI_IN_PRODUCT, NULL, cli_run_send, "dismiss them, for everybody", &dismissal},
	{"product audit", "", 0, 0, CLI_IN_PRODUCT, log_flags, cli_run_list, "list what was done with the product", &product_log},
	{"deployment audit", "<deployment>", 1, 1, CLI_IN_PRODUCT, log_flags, cli_run_list, "list what was done with a deployment group", &group_log},
	{"device audit", "<device>", 1, 1, CLI_IN_PRODUCT, log_flags, cli_run_list, "list what was done with a device, and what it did", &device_log},
	{"device bulk", "<bulk-action>", 1, 1, CLI_IN_PRODUCT, bulk_flags, bulk, "do one thing with many devices"},
	{"device pins", "", 0, 0, CLI_NEEDS_TOKEN, NULL, cli_run_list, "list the devices you pinned", &pins},
	{"device pin", "<device>", 1, 1, CLI_IN_PRODUCT, NULL, cli_run_send, "pin a device", &pin},
	{"device unpin", "<device>", 1, 1, CLI_IN_PRODUCT, NULL, cli_run_send, "pin it no longer", &unpin},
	{"device restore", "<identifier>", 1, 1, CLI_IN_PRODUCT, NULL, cli_run_send, "bring a deleted device back", &restore},
	{"device destroy", "<identifier>", 1, 1, CLI_IN_PRODUCT, cli_yes_flags, cli_run_send, "forget a deleted device for good", &destroy},
	{"device secrets list", "<device>", 1, 1, CLI_IN_PRODUCT, NULL, cli_run_list, "list a device's own shared secrets", &secrets},
	{"device secrets create", "<device>", 1, 1, CLI_IN_PRODUCT, NULL, cli_run_send, "make one", &secret_new},
	{"device secrets delete", "<device> <device-secret>", 2, 2, CLI_IN_PRODUCT, cli_yes_flags, cli_run_send, "switch one off", &secret_end},
	{"device add-identity", "<device> <service> <identifier>", 3, 3, CLI_IN_PRODUCT, identity_flags, cli_run_send, "say what a device is called in another network", &identity_new},
	{"device remove-identity", "<device> <service> <identifier>", 3, 3, CLI_IN_PRODUCT, NULL, cli_run_send, "forget that", &identity_end},
	{"search", "<text>", 1, 1, 0, NULL, search, "find devices, deployment groups and firmware; with --org or --product only there"},
	{NULL},
};
