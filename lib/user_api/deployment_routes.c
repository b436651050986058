/*
 * Deployment groups.
 *
 * source: reference/user-api-and-cli "13", "20.1"
 */
#include "api_int.h"

static nh_rc groups(struct call *call, struct nh_err *err)
{
	struct nh_group *list;
	size_t count = 0;
	NH_TRY(nh_group_list(&call->ctx, call->product.id, &list, &count, err));
	call->data = json_array();
	for (size_t i = 0; i < count; i++)
		json_array_append_new(call->data, nh_group_json(&list[i]));
	return NH_OK;
}
const struct endpoint ep_groups = {.run = groups, .scope = SCOPE_PRODUCT, .may = NH_MAY_GROUP_SEE, .success = 200, .data = &shape_group, .list = true, .tag = "Deployment Groups"};

static nh_rc group(struct call *call, struct nh_err *err)
{
	struct nh_group g;
	NH_TRY(nh_group_get(&call->ctx, call->product.id, param(call, "name"), &g, err));
	call->data = nh_group_json(&g);
	return NH_OK;
}
const struct endpoint ep_group = {.run = group, .scope = SCOPE_PRODUCT, .may = NH_MAY_GROUP_SEE, .success = 200, .data = &shape_group, .tag = "Deployment Groups"};

static nh_rc group_create(struct call *call, struct nh_err *err)
{
	struct nh_group g;
	NH_TRY(nh_group_create(&call->ctx, &call->actor, call->org.id, call->product.id, body_members(call), &g, &call->errors, err));
	set_location(call, g.name);
	call->data = nh_group_json(&g);
	return NH_OK;
}
static const char *const words_queue[] = {"FIFO", "LIFO", NULL};
static SHAPE(conditions_change, "DeploymentConditionsChange", {"version", FIELD_TEXT, FIELD_OPTIONAL | FIELD_NULLABLE, .about = "A version requirement; empty or null: any"},
             {"tags", FIELD_TAGS, FIELD_OPTIONAL | FIELD_NULLABLE}, {"tag_operator", FIELD_TEXT, FIELD_OPTIONAL, .words = words_tag_operators});

/* clang-format off */
#define GROUP_SETTINGS \
	{"is_active", FIELD_BOOLEAN, FIELD_OPTIONAL}, {"state", FIELD_TEXT, FIELD_OPTIONAL, .about = "`on`: active; it wins over is_active"}, {"delta_updatable", FIELD_BOOLEAN, FIELD_OPTIONAL}, \
	{"lock_device_membership", FIELD_BOOLEAN, FIELD_OPTIONAL}, {"connecting_code", FIELD_TEXT, FIELD_OPTIONAL | FIELD_NULLABLE}, {"notes", FIELD_TEXT, FIELD_OPTIONAL | FIELD_NULLABLE}, \
	{"queue_management", FIELD_TEXT, FIELD_OPTIONAL, .words = words_queue}, {"concurrent_updates", FIELD_INTEGER, FIELD_OPTIONAL}, {"priority_queue_enabled", FIELD_BOOLEAN, FIELD_OPTIONAL}, \
	{"priority_queue_concurrent_updates", FIELD_INTEGER, FIELD_OPTIONAL}, {"priority_queue_firmware_version_threshold", FIELD_TEXT, FIELD_OPTIONAL | FIELD_NULLABLE}, \
	{"device_failure_threshold", FIELD_INTEGER, FIELD_OPTIONAL}, {"device_failure_rate_seconds", FIELD_INTEGER, FIELD_OPTIONAL}, {"device_failure_rate_amount", FIELD_INTEGER, FIELD_OPTIONAL}, \
	{"failure_threshold", FIELD_INTEGER, FIELD_OPTIONAL}, {"penalty_timeout_minutes", FIELD_INTEGER, FIELD_OPTIONAL}, \
	{"delta_wait_minutes", FIELD_INTEGER, FIELD_OPTIONAL, .about = "0 to 1440"}, \
	{"release_network_interfaces", FIELD_TEXT, FIELD_LIST | FIELD_OPTIONAL, .words = words_interfaces}, {"release_tags", FIELD_TAGS, FIELD_OPTIONAL | FIELD_NULLABLE}, \
	{"conditions", FIELD_OBJECT, FIELD_OPTIONAL | FIELD_NULLABLE, &conditions_change}, {"firmware_id", FIELD_INTEGER, FIELD_OPTIONAL, .about = "Instead of firmware"}, \
	{"archive", FIELD_TEXT, FIELD_OPTIONAL | FIELD_NULLABLE, .about = "Its uuid"}, {"archive_id", FIELD_INTEGER, FIELD_OPTIONAL | FIELD_NULLABLE, .about = "Instead of archive"}
/* clang-format on */

static SHAPE(group_body, "DeploymentGroupWanted", {"name", FIELD_TEXT}, {"firmware", FIELD_TEXT, FIELD_OPTIONAL, .about = "Its uuid; this or firmware_id is needed"}, GROUP_SETTINGS,
             {"platform", FIELD_TEXT, FIELD_OPTIONAL | FIELD_NULLABLE, .about = "The firmware's"}, {"architecture", FIELD_TEXT, FIELD_OPTIONAL | FIELD_NULLABLE, .about = "The firmware's"});
const struct endpoint ep_group_create = {
	.run = group_create, .scope = SCOPE_PRODUCT, .may = NH_MAY_GROUP_CREATE, .write = true, .success = 201, .body = &group_body, .nested = "deployment", .data = &shape_group, .tag = "Deployment Groups"};

static nh_rc group_update(struct call *call, struct nh_err *err)
{
	struct nh_group g, changed;
	const json_t *fields = json_object_get(call->params, "deployment");
	NH_TRY(nh_group_get(&call->ctx, call->product.id, param(call, "name"), &g, err));
	if (!json_is_object(fields))
		return bad_request(call, err, "Invalid request");
	NH_TRY(nh_group_update(&call->ctx, &call->actor, &g, fields, &changed, &call->errors, err));
	call->data = nh_group_json(&changed);
	return NH_OK;
}
static SHAPE(group_change, "DeploymentGroupChange", {"name", FIELD_TEXT, FIELD_OPTIONAL},
             {"firmware", FIELD_TEXT, FIELD_OPTIONAL, .about = "Its uuid; with it or an archive a release is made, and notes are the release's"}, GROUP_SETTINGS,
             {"description", FIELD_TEXT, FIELD_OPTIONAL | FIELD_NULLABLE, .about = "Of the release"});
SHAPE(shape_group_change, "DeploymentGroupChangeWanted", {"deployment", FIELD_OBJECT, 0, &group_change});
const struct endpoint ep_group_update = {
	.run = group_update, .scope = SCOPE_PRODUCT, .may = NH_MAY_GROUP_UPDATE, .write = true, .success = 200, .body = &shape_group_change, .data = &shape_group, .tag = "Deployment Groups"};

static nh_rc group_delete(struct call *call, struct nh_err *err)
{
	struct nh_group g;
	NH_TRY(nh_group_get(&call->ctx, call->product.id, param(call, "name"), &g, err));
	return nh_group_delete(&call->ctx, &call->actor, &g, err);
}
const struct endpoint ep_group_delete = {
	.run = group_delete, .scope = SCOPE_PRODUCT, .may = NH_MAY_GROUP_DELETE, .write = true, .success = 204, .tag = "Deployment Groups"};
