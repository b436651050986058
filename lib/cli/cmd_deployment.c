/*
 * `nh deployment`: groups that decide which devices get which firmware.
 *
 * source: reference/user-api-and-cli "13" "18.7"
 */
#include "cli_int.h"

static const struct cli_shape conditions_shape[] = {{"tags", SHAPE_TEXTS}, {"version", SHAPE_TEXT}, {NULL}};
static const struct cli_shape firmware_shape[] = {{"version", SHAPE_TEXT}, {"architecture", SHAPE_TEXT}, {"platform", SHAPE_TEXT}, {"uuid", SHAPE_TEXT}, {NULL}};
static const struct cli_shape release_shape[] = {
	{"number", SHAPE_INT}, {"firmware", SHAPE_OBJECT, false, firmware_shape}, {"inserted_at", SHAPE_TIME}, {"updated_at", SHAPE_TIME}, {NULL}};
static const struct cli_shape deployment_shape[] = {
	{"name", SHAPE_TEXT},	       {"state", SHAPE_TEXT},	       {"is_active", SHAPE_BOOL},
	{"device_count", SHAPE_INT},   {"releases_count", SHAPE_INT},  {"firmware_uuid", SHAPE_TEXT},
	{"delta_updatable", SHAPE_BOOL}, {"conditions", SHAPE_OBJECT, false, conditions_shape}, {"current_release", SHAPE_OBJECT, true, release_shape},
	{"archive_uuid", SHAPE_TEXT, true}, {"notes", SHAPE_TEXT, true},
	{NULL},
};

static const char *release_text(struct nh_cli *c, const json_t *d, const json_t *release)
{
	const json_t *firmware = json_object_get(release, "firmware");
	if (!release)
		return "";
	return nh_arena_printf(&c->arena, "#%lld (%s %s)", (long long)nh_json_int(release, "number", 0), cli_get(firmware, "version"), cli_get(firmware, "uuid"));
}

static const struct cli_cell deployment_list[] = {
	{"NAME", "name"}, {"STATE", "state"}, {"ACTIVE", "is_active"}, {"DEVICES", "device_count"}, {"VERSION", "current_release.firmware.version"},
	{"FIRMWARE", "firmware_uuid"}, {NULL}};
static const struct cli_cell deployment_detail[] = {
	{"Name", "name"}, {"State", "state"}, {"Active", "is_active"}, {"Devices", "device_count"}, {"Releases", "releases_count"},
	{"Delta updatable", "delta_updatable"}, {"Version condition", "conditions.version"}, {"Tag conditions", "conditions.tags"}, {"Firmware", "firmware_uuid"},
	{"Current release", "current_release", release_text}, {"Archive", "archive_uuid"}, {"Notes", "notes"}, {NULL}};
static const struct cli_view deployment_view = {deployment_shape, deployment_list, deployment_detail, "No deployment groups found in :org/:product."};

#define GROUP CLI_PRODUCT "/deployments/:1"
static const struct cli_action deployments = {"GET", CLI_PRODUCT "/deployments", &deployment_view};
static const struct cli_action deployment = {"GET", GROUP, &deployment_view};
static const struct cli_action update = {"PUT", GROUP, &deployment_view, "Updated deployment group \":1\" in :org/:product", .wrap = "deployment"};
static const struct cli_action removal = {"DELETE", GROUP, NULL, "Deleted deployment group \":1\" from :org/:product", "Delete deployment group :1?"};

static nh_rc create(struct nh_cli *c, struct nh_err *err)
{
	NH_AUTO_JSON json_t *body = json_object();
	NH_AUTO_JSON json_t *group = NULL;
	if (!cli_text(c, "firmware") || !*cli_text(c, "firmware"))
		return NH_FAIL(err, NH_EINVAL, "--firmware is required");
	json_object_set_new(body, "name", nh_json_new_text(nh_slice_str(c->args[0])));
	NH_TRY(cli_put_body_flags(c, body, err));
	/* Other servers insist on it. */
	if (!json_object_get(body, "conditions"))
		json_object_set_new(body, "conditions", json_object());
	NH_TRY(cli_call(c, "POST", cli_fill(c, CLI_PRODUCT "/deployments", true), json_incref(body), deployment_shape, false, &group, err));
	if (c->format != CLI_TABLE)
		return cli_view_one(c, &deployment_view, group);
	cli_out(c, "Created deployment group \"%s\" in %s/%s\n", c->args[0], c->org, c->product);
	return NH_OK;
}

#define FIELD_FLAGS                                                                                                                       \
	{"firmware", 0, CLI_TEXT, "FIRMWARE", "firmware of the (new) release", "firmware"},                                               \
	{"state", 0, CLI_TEXT, "on|off", "whether it updates devices", "state"},                                                          \
	{"version", 0, CLI_TEXT, "REQUIREMENT", "devices with such a version, as \"~> 1.2\" or \"< 2.0.0\"", "conditions.version"},       \
	{"tag", 0, CLI_LIST, "TAG", "devices with this tag; repeatable", "conditions.tags"},                                              \
	{"delta-updatable", 0, CLI_BOOL, "BOOL", "send deltas where possible", "delta_updatable"},                                        \
	{"delta-wait-minutes", 0, CLI_NUMBER, "N", "how long devices wait for their deltas at most", "delta_wait_minutes"},               \
	{"tag-operator", 0, CLI_TEXT, "and|or", "devices with all tags, or with one of them", "conditions.tag_operator"},                 \
	{"notes", 0, CLI_TEXT, "TEXT", "for people", "notes"}

static const struct cli_flag create_flags[] = {FIELD_FLAGS, {NULL}};
static const struct cli_flag update_flags[] = {
	FIELD_FLAGS,
	{"archive", 0, CLI_TEXT, "ARCHIVE", "archive of a new release; needs --firmware", "archive"},
	{"description", 0, CLI_TEXT, "TEXT", "of a new release", "description"},
	{"name", 0, CLI_TEXT, "NAME", "its new name", "name"},
	{"lock-device-membership", 0, CLI_BOOL, "BOOL", "no device joins or leaves by itself", "lock_device_membership"},
	{"connecting-code", 0, CLI_TEXT, "CODE", "run by each device that connects", "connecting_code"},
	{"queue", 0, CLI_TEXT, "FIFO|LIFO", "which waiting device is next", "queue_management"},
	{"concurrent-updates", 0, CLI_NUMBER, "N", "devices that update at once", "concurrent_updates"},
	{"priority-queue", 0, CLI_BOOL, "BOOL", "let devices with old firmware go first", "priority_queue_enabled"},
	{"priority-queue-updates", 0, CLI_NUMBER, "N", "of them at once", "priority_queue_concurrent_updates"},
	{"priority-queue-below", 0, CLI_TEXT, "VERSION", "what is old", "priority_queue_firmware_version_threshold"},
	{"device-failures", 0, CLI_NUMBER, "N", "failed updates after which a device is left alone", "device_failure_threshold"},
	{"device-failure-amount", 0, CLI_NUMBER, "N", "the same, within --device-failure-seconds", "device_failure_rate_amount"},
	{"device-failure-seconds", 0, CLI_NUMBER, "N", "from 60", "device_failure_rate_seconds"},
	{"failures", 0, CLI_NUMBER, "N", "failed devices after which the group is marked", "failure_threshold"},
	{"penalty-minutes", 0, CLI_NUMBER, "N", "how long a failing device is left alone, from 60", "penalty_timeout_minutes"},
	{"release-tag", 0, CLI_LIST, "TAG", "the release first goes to devices with this tag; repeatable", "release_tags"},
	{"release-network", 0, CLI_LIST, "wifi|ethernet|cellular|unknown", "and only through these networks; repeatable", "release_network_interfaces"},
	{NULL}};

static const struct cli_action savings = {"GET", CLI_PRODUCT "/deployments/:1/savings", &cli_savings_view};

const struct cli_command cli_deployment_commands[] = {
	{"deployment list", "", 0, 0, CLI_IN_PRODUCT, NULL, cli_run_list, "list deployment groups", &deployments},
	{"deployment show", "<deployment>", 1, 1, CLI_IN_PRODUCT, NULL, cli_run_show, "show a deployment group", &deployment},
	{"deployment create", "<name>", 1, 1, CLI_IN_PRODUCT, create_flags, create, "create a deployment group"},
	{"deployment update", "<deployment>", 1, 1, CLI_IN_PRODUCT, update_flags, cli_run_send, "change a deployment group, or release a firmware to it", &update},
	{"deployment savings", "<deployment>", 1, 1, CLI_IN_PRODUCT, NULL, cli_run_show, "show what updates took, and what deltas saved", &savings},
	{"deployment delete", "<deployment>", 1, 1, CLI_IN_PRODUCT, cli_yes_flags, cli_run_send, "delete a deployment group", &removal},
	{NULL},
};
