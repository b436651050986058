/*
 * One organization: its settings, its renaming, its end. The list of the own ones and making one: account_routes.c.
 *
 * source: reference/server-behaviour "1.2", "1.11"
 */
#include "api_int.h"
#include "hub/overview.h"

static nh_rc render_whole(struct call *call, const struct nh_org *org, struct nh_err *err)
{
	struct nh_org_settings settings;
	NH_TRY(nh_org_settings_read(&call->ctx, org->id, &settings, err));
	call->data = render_org(org);
	json_object_set_new(call->data, "role", json_string(nh_role_name(org->role)));
	json_object_set_new(call->data, "audit_log_days_to_keep", settings.audit_log_days_to_keep ? json_integer(settings.audit_log_days_to_keep) : json_null());
	return NH_OK;
}


static SHAPE(org_whole, "OrganizationWhole", {"name", FIELD_TEXT}, {"personal", FIELD_BOOLEAN}, {"inserted_at", FIELD_TEXT, .about = "UTC, without a zone"},
             {"updated_at", FIELD_TEXT, .about = "UTC, without a zone"}, {"role", FIELD_TEXT, .words = words_roles, .about = "The own one"},
             {"audit_log_days_to_keep", FIELD_INTEGER, FIELD_NULLABLE, .about = "null: as the server has it"});

static nh_rc org(struct call *call, struct nh_err *err) { return render_whole(call, &call->org, err); }
const struct endpoint ep_org = {.run = org, .scope = SCOPE_ORG, .may = NH_MAY_ORG_SEE, .success = 200, .data = &org_whole, .tag = "Organizations"};

static nh_rc org_update(struct call *call, struct nh_err *err)
{
	struct nh_org changed;
	NH_TRY(nh_org_update(&call->ctx, &call->actor, &call->org, call->params, &changed, &call->errors, err));
	return render_whole(call, &changed, err);
}
static SHAPE(org_change, "OrganizationChange", {"name", FIELD_TEXT, FIELD_OPTIONAL, .about = "It is part of every path below the organization"},
             {"audit_log_days_to_keep", FIELD_INTEGER, FIELD_OPTIONAL | FIELD_NULLABLE});
const struct endpoint ep_org_update = {
	.run = org_update, .scope = SCOPE_ORG, .may = NH_MAY_ORG_UPDATE, .write = true, .success = 200, .body = &org_change, .data = &org_whole, .tag = "Organizations"};

static nh_rc org_delete(struct call *call, struct nh_err *err)
{
	return nh_org_delete(&call->ctx, &call->actor, &call->org, &call->errors, err);
}
const struct endpoint ep_org_delete = {.run = org_delete, .scope = SCOPE_ORG, .may = NH_MAY_ORG_DELETE, .write = true, .success = 204, .tag = "Organizations"};
