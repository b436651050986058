/*
 * An organization's settings, its renaming and its end. Making one, and its members: orgs.c.
 *
 * source: reference/server-behaviour "1.2", "1.11", "8.1"
 */
#include "base/json.h"
#include "hub/accounts.h"
#include "hub/audit.h"
#include "hub/overview.h"
#include "hub/webhooks.h"
#include "input_int.h"
#include "rows_int.h"
#include "store/overview.h"

#define DAYS_MAX 36500

static void read_settings(const struct nh_rows *rows, struct nh_arena *arena, void *item)
{
	*(struct nh_org_settings *)item = (struct nh_org_settings){.audit_log_days_to_keep = nh_col_int(rows, 0)};
}

nh_rc nh_org_settings_read(struct nh_ctx *ctx, int64_t org_id, struct nh_org_settings *out, struct nh_err *err)
{
	return nh_one_row(ctx->tx, ctx->arena, &nh_q_org_settings, NH_PARAMS(nh_p_int(org_id)), read_settings, out, "organization", err);
}

nh_rc nh_org_update(struct nh_ctx *ctx, const struct nh_actor *actor, const struct nh_org *org, const json_t *fields, struct nh_org *out, json_t **errors, struct nh_err *err)
{
	struct nh_org_settings settings;
	nh_slice name = org->name;
	const json_t *wanted = json_object_get(fields, "name"), *days = json_object_get(fields, "audit_log_days_to_keep");
	NH_TRY(nh_may(ctx, actor, org->id, NH_MAY_ORG_UPDATE, err));
	NH_TRY(nh_org_settings_read(ctx, org->id, &settings, err));
	if (wanted) {
		name = nh_slice_trim(nh_json_text(fields, "name"));
		NH_TRY(nh_org_name_check(name, errors, err));
	}
	if (days && !json_is_null(days) && (!json_is_integer(days) || json_integer_value(days) < 1 || json_integer_value(days) > DAYS_MAX))
		return nh_refuse(errors, err, NH_EINVAL, "audit_log_days_to_keep", "must be a number of days from 1 to %d, or null", DAYS_MAX);
	if (days)
		settings.audit_log_days_to_keep = json_integer_value(days);
	int64_t changed = 0;
	nh_rc rc = nh_sql_exec(ctx->tx, &nh_q_org_update,
	                       NH_PARAMS(nh_p_text(name), nh_p_ref(settings.audit_log_days_to_keep), nh_p_int(nh_ctx_now(ctx)), nh_p_int(org->id)), &changed, err);
	if (rc == NH_ECONFLICT)
		return nh_refuse(errors, err, NH_EINVAL, "name", "has already been taken");
	NH_TRY(rc);
	if (!changed)
		return NH_FAIL(err, NH_ENOTFOUND, "no such organization");
	NH_TRY(nh_audit_add(ctx, actor, org->id, NH_AUDIT_ORG, org->id, err, "%.*s changed the settings of organization %.*s", NH_ARG(actor->name), NH_ARG(name)));
	return nh_org_open(ctx, actor, name, NH_MAY_ORG_SEE, out, err);
}

nh_rc nh_org_delete(struct nh_ctx *ctx, const struct nh_actor *actor, const struct nh_org *org, json_t **errors, struct nh_err *err)
{
	int64_t devices = 0, now = nh_ctx_now(ctx);
	NH_TRY(nh_may(ctx, actor, org->id, NH_MAY_ORG_DELETE, err));
	if (org->personal)
		return nh_refuse(errors, err, NH_EINVAL, NULL, "A personal organization ends with its account.");
	/* A device that is made meanwhile counts in its product's row: one of the two is done again and sees the other. */
	NH_TRY(nh_query_id(ctx->tx, &nh_q_org_devices, NH_PARAMS(nh_p_int(org->id)), &devices, err));
	if (devices > 0)
		return nh_refuse(errors, err, NH_ECONFLICT, "devices", "The organization still has devices (%lld). Delete or move them first.", (long long)devices);
	NH_TRY(nh_sql_exec(ctx->tx, &nh_q_org_delete_products, NH_PARAMS(nh_p_int(now), nh_p_int(org->id)), NULL, err));
	NH_TRY(nh_sql_exec(ctx->tx, &nh_q_org_delete_cas, NH_PARAMS(nh_p_int(org->id)), NULL, err));
	NH_TRY(nh_webhooks_end(ctx, org->id, 0, err));
	NH_TRY(nh_audit_add(ctx, actor, org->id, NH_AUDIT_ORG, org->id, err, "%.*s deleted organization %.*s", NH_ARG(actor->name), NH_ARG(org->name)));
	return nh_sql_exec(ctx->tx, &nh_q_org_delete, NH_PARAMS(nh_p_int(now), nh_p_int(org->id)), NULL, err);
}
