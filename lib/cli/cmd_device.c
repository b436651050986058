/*
 * `nh device`: devices and what can be asked of them. Certificates: cmd_certificate.c.
 *
 * source: reference/user-api-and-cli "11" "18.7"
 */
#include "pki_files.h"
#include "terminal.h"

static const struct cli_shape metadata_shape[] = {
	{"uuid", SHAPE_TEXT},	{"version", SHAPE_TEXT},     {"platform", SHAPE_TEXT}, {"architecture", SHAPE_TEXT},
	{"author", SHAPE_TEXT}, {"description", SHAPE_TEXT}, {"fwup_version", SHAPE_TEXT}, {"id", SHAPE_TEXT},
	{"misc", SHAPE_TEXT},	{"product", SHAPE_TEXT},     {"vcs_identifier", SHAPE_TEXT}, {NULL},
};
static const struct cli_shape group_shape[] = {
	{"name", SHAPE_TEXT}, {"firmware_uuid", SHAPE_TEXT}, {"firmware_version", SHAPE_TEXT}, {"is_active", SHAPE_BOOL}, {NULL}};
static const struct cli_shape device_shape[] = {
	{"identifier", SHAPE_TEXT},
	{"connection_status", SHAPE_TEXT},
	{"online", SHAPE_TEXT},
	{"description", SHAPE_TEXT},
	{"tags", SHAPE_TEXTS},
	{"version", SHAPE_TEXT},
	{"org_name", SHAPE_TEXT},
	{"product_name", SHAPE_TEXT},
	{"updates_enabled", SHAPE_BOOL},
	{"updates_blocked_until", SHAPE_TIME, true},
	/* Never left out: "never" prints as the zero time. */
	{"last_communication", SHAPE_TIME},
	{"last_failure", SHAPE_TEXT, true},
	{"last_failure_at", SHAPE_TIME, true},
	{"firmware_metadata", SHAPE_OBJECT, true, metadata_shape},
	{"deployment_group", SHAPE_OBJECT, true, group_shape},
	{NULL},
};
/* ---- how it is shown ------------------------------------------------------------------------------------------------------- */

static const char *status_text(struct nh_cli *c, const json_t *d, const json_t *status)
{
	return json_string_length(status) ? json_string_value(status) : cli_dash(cli_get(d, "online"));
}
static const char *last_seen(struct nh_cli *c, const json_t *d, const json_t *at)
{
	bool never = nh_slice_starts(nh_slice_str(json_string_value(at)), NH_LIT("0001-"));
	return never ? "never" : cli_time_cell(c, at, false);
}
static const char *firmware_text(struct nh_cli *c, const json_t *d, const json_t *firmware)
{
	return firmware ? nh_arena_printf(&c->arena, "%s (%s)", cli_get(firmware, "version"), cli_get(firmware, "uuid")) : "";
}

static const struct cli_cell device_list[] = {{"IDENTIFIER", "identifier"}, {"STATUS", "connection_status", status_text}, {"VERSION", "version"}, {NULL}};
static const struct cli_cell device_detail[] = {
	{"Identifier", "identifier"},
	{"Status", "connection_status", status_text},
	{"Online", "online"},
	{"Version", "version"},
	{"Tags", "tags"},
	{"Description", "description"},
	{"Updates enabled", "updates_enabled"},
	{"Updates blocked until", "updates_blocked_until", cli_as_time},
	{"Last communication", "last_communication", last_seen},
	{"Firmware", "firmware_metadata", firmware_text},
	{"Last update failure", "last_failure"},
	{"Failed at", "last_failure_at", cli_as_time},
	{"Deployment group", "deployment_group.name"},
	{NULL},
};
static const struct cli_view device_view = {device_shape, device_list, device_detail, "No devices found in :org/:product.", "device(s)"};

/* ---- lists ----------------------------------------------------------------------------------------------------------------- */

static nh_rc put_sort(struct nh_cli *c, struct nh_buf *q, struct nh_err *err)
{
	nh_slice column, direction;
	const char *text = cli_text(c, "sort");
	if (!text)
		return NH_OK;
	bool given = nh_slice_cut(nh_slice_str(text), ':', &column, &direction);
	if (given && !nh_slice_starts(direction, NH_LIT("asc")) && !nh_slice_starts(direction, NH_LIT("desc"))) /* asc_nulls_last and the like, too */
		return NH_FAIL(err, NH_EINVAL, "--sort needs column, column:asc or column:desc");
	cli_put_query(q, "sort", nh_arena_str(&c->arena, column));
	cli_put_query(q, "sort_direction", given ? nh_arena_str(&c->arena, direction) : "asc");
	return NH_OK;
}

static nh_rc list(struct nh_cli *c, struct nh_err *err)
{
	static const struct cli_action devices = {"GET", CLI_PRODUCT "/devices", &device_view};
	NH_AUTO_BUF struct nh_buf query = NH_BUF_INIT;
	const struct nh_option_list *filters = cli_list(c, "filter");
	NH_TRY(put_sort(c, &query, err));
	for (size_t i = 0; i < filters->count; i++) {
		nh_slice key, value;
		if (!nh_slice_cut(nh_slice_str(filters->items[i]), ':', &key, &value) || key.len == 0)
			return NH_FAIL(err, NH_EINVAL, "--filter needs key:value, not '%.80s'", filters->items[i]);
		cli_put_query(&query, nh_arena_printf(&c->arena, "filters[%.*s]", NH_ARG(key)), nh_arena_str(&c->arena, value));
	}
	return cli_list_with(c, &devices, nh_buf_cstr(&query), err);
}

/* ---- actions --------------------------------------------------------------------------------------------------------------- */

static nh_rc move(struct nh_cli *c, struct nh_err *err)
{
	NH_AUTO_BUF struct nh_buf query = NH_BUF_INIT;
	NH_AUTO_JSON json_t *answer = NULL;
	const char *product = cli_text(c, "to-product"), *org = cli_text(c, "to-org") ? cli_text(c, "to-org") : c->org;
	if (!product || !*product)
		return NH_FAIL(err, NH_EINVAL, "--to-product is required");
	cli_put_query(&query, "new_org_name", org);
	cli_put_query(&query, "new_product_name", product);
	NH_TRY(cli_api(c, &(struct cli_request){"POST", cli_fill(c, CLI_DEVICE "/move", true), nh_buf_cstr(&query)}, &answer, err));
	NH_AUTO_JSON json_t *d = cli_shape_object(device_shape, json_object_get(answer, "data"));
	if (c->format != CLI_TABLE)
		return cli_view_one(c, &device_view, d);
	cli_out(c, "Moved device %s to %s/%s\n", c->args[0], org, product);
	return NH_OK;
}

/* Which device has this certificate? */
static nh_rc auth(struct nh_cli *c, struct nh_err *err)
{
	NH_AUTO_CERT struct nh_cert *cert = NULL;
	NH_TRY(cli_cert_load(c->args[0], &cert, err));
	json_t *body = json_object();
	json_object_set_new(body, "certificate", cli_pem_base64(cert));
	return cli_call_and_view(c, "POST", cli_fill(c, CLI_PRODUCT "/devices/auth", true), body, &device_view, err);
}

static const struct cli_action device = {"GET", CLI_DEVICE, &device_view};
static const struct cli_action device_new = {
	"POST", CLI_PRODUCT "/devices", &device_view, "Created device :1 in :org/:product", .takes = {"identifier"}, .details = true};
static const struct cli_action update = {"PUT", CLI_DEVICE, &device_view, "Updated device :1", .details = true};
static const struct cli_action removal = {"DELETE", CLI_DEVICE, NULL, "Deleted device :1 from :org/:product", "Delete device :1 from :org/:product?"};
static const struct cli_action upgrade = {"POST", CLI_DEVICE "/upgrade", NULL, "Upgrade to :2 requested for device :1", .takes = {NULL, "uuid"}};
static const struct cli_action upgrade_available = {"POST", CLI_DEVICE "/upgrade/available", NULL, "Sent device :1 what its deployment group has for it"};
static const struct cli_action reboot = {"POST", CLI_DEVICE "/reboot", NULL, "Reboot requested for device :1"};
static const struct cli_action reconnect = {"POST", CLI_DEVICE "/reconnect", NULL, "Reconnect requested for device :1"};
static const struct cli_action identify = {"POST", CLI_DEVICE "/identify", NULL, "Device :1 was asked to show itself"};
static const struct cli_action penalty = {"DELETE", CLI_DEVICE "/penalty", NULL, "Cleared the penalty box for device :1"};
static const struct cli_action run_code = {"POST", CLI_DEVICE "/code", NULL, "Sent code to device :1", .takes = {NULL, "code"}};

static const struct cli_flag list_flags[] = {CLI_PAGE_FLAGS,
					     {"sort", 0, CLI_TEXT, "COLUMN", "column, column:asc or column:desc"},
					     {"filter", 0, CLI_LIST, "KEY:VALUE", "for example connection:connected; repeatable"},
					     {"query", 0, CLI_TEXT, "QUERY", "those that the server's query language finds", "query"},
					     {NULL}};
static const struct cli_flag field_flags[] = {{"description", 0, CLI_TEXT, "TEXT", "free text", "description"},
					      {"tag", 0, CLI_LIST, "TAG", "repeatable; on update the new set of tags, \"\" for none", "tags"},
					      {"updates-enabled", 0, CLI_BOOL, "BOOL", "may it be updated", "updates_enabled"},
					      {"timezone", 0, CLI_TEXT, "ZONE", "its time zone for maintenance windows, as Europe/Berlin", "timezone"},
					      {"deployment-group-id", 0, CLI_NUMBER, "N", "database id of a deployment group", "deployment_id"},
					      {NULL}};
static const struct cli_flag move_flags[] = {
	{"to-product", 0, CLI_TEXT, "PRODUCT", "product to move to"}, {"to-org", 0, CLI_TEXT, "ORG", "its organization (default: the same)"}, {NULL}};

/* What a person names is theirs from then on: the server switches automatic updates off. What the group has comes ahead of its queue, and nothing else changes. */
static nh_rc send_firmware(struct nh_cli *c, struct nh_err *err) { return cli_send_with(c, c->arg_count == 2 ? &upgrade : &upgrade_available, err); }

const struct cli_command cli_device_commands[] = {
	{"device list", "", 0, 0, CLI_IN_PRODUCT, list_flags, list, "list devices"},
	{"device show", "<device>", 1, 1, CLI_IN_PRODUCT, NULL, cli_run_show, "show a device", &device},
	{"device create", "<identifier>", 1, 1, CLI_IN_PRODUCT, field_flags, cli_run_send, "create a device", &device_new},
	{"device update", "<device>", 1, 1, CLI_IN_PRODUCT, field_flags, cli_run_send, "change a device", &update},
	{"device delete", "<device>", 1, 1, CLI_IN_PRODUCT, cli_yes_flags, cli_run_send, "delete a device", &removal},
	{"device upgrade", "<device> [firmware]", 1, 2, CLI_IN_PRODUCT, NULL, send_firmware, "send a firmware to a device now (default: its deployment group's)"},
	{"device move", "<device>", 1, 1, CLI_IN_PRODUCT, move_flags, move, "move a device to another product"},
	{"device auth", "<file>", 1, 1, CLI_IN_PRODUCT, NULL, auth, "show the device that has this certificate"},
	{"device reboot", "<device>", 1, 1, CLI_IN_PRODUCT, NULL, cli_run_send, "ask a device to reboot", &reboot},
	{"device reconnect", "<device>", 1, 1, CLI_IN_PRODUCT, NULL, cli_run_send, "make a device connect anew", &reconnect},
	{"device identify", "<device>", 1, 1, CLI_IN_PRODUCT, NULL, cli_run_send, "ask a device to show itself, by a light or a sound", &identify},
	{"device clear-penalty", "<device>", 1, 1, CLI_IN_PRODUCT, NULL, cli_run_send, "let a device out of the penalty box", &penalty},
	{"device run-code", "<device> <code>", 2, 2, CLI_IN_PRODUCT, NULL, cli_run_send, "type code into the device's console", &run_code},
	{"device console", "<device>", 1, 1, CLI_NEEDS_TOKEN, cli_console_flags, cli_run_console, "open the device's console"},
	{"device shell", "<device>", 1, 1, CLI_NEEDS_TOKEN, cli_shell_flags, cli_run_shell, "open the device's local shell"},
	{NULL},
};
