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
const struct endpoint ep_groups = {.run = groups, .scope = SCOPE_PRODUCT, .may = NH_MAY_GROUP_SEE, .success = 200, .tag = "Deployment Groups"};

static nh_rc group(struct call *call, struct nh_err *err)
{
	struct nh_group g;
	NH_TRY(nh_group_get(&call->ctx, call->product.id, param(call, "name"), &g, err));
	call->data = nh_group_json(&g);
	return NH_OK;
}
const struct endpoint ep_group = {.run = group, .scope = SCOPE_PRODUCT, .may = NH_MAY_GROUP_SEE, .success = 200, .tag = "Deployment Groups"};

static nh_rc group_create(struct call *call, struct nh_err *err)
{
	struct nh_group g;
	const json_t *nested = json_object_get(call->params, "deployment");
	const json_t *fields = json_is_object(nested) ? nested : call->params;
	NH_TRY(nh_group_create(&call->ctx, &call->actor, call->org.id, call->product.id, fields, &g, &call->errors, err));
	set_location(call, g.name);
	call->data = nh_group_json(&g);
	return NH_OK;
}
const struct endpoint ep_group_create = {
	.run = group_create, .scope = SCOPE_PRODUCT, .may = NH_MAY_GROUP_CREATE, .write = true, .success = 201, .tag = "Deployment Groups"};

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
const struct endpoint ep_group_update = {
	.run = group_update, .scope = SCOPE_PRODUCT, .may = NH_MAY_GROUP_UPDATE, .write = true, .success = 200, .tag = "Deployment Groups"};

static nh_rc group_delete(struct call *call, struct nh_err *err)
{
	struct nh_group g;
	NH_TRY(nh_group_get(&call->ctx, call->product.id, param(call, "name"), &g, err));
	return nh_group_delete(&call->ctx, &call->actor, &g, err);
}
const struct endpoint ep_group_delete = {
	.run = group_delete, .scope = SCOPE_PRODUCT, .may = NH_MAY_GROUP_DELETE, .write = true, .success = 204, .tag = "Deployment Groups"};
