/*
 * Iroh endpoints as operators see and register them: for a member's machine, or for whoever of the organization's devices comes with it. What devices report: network_identities.c.
 *
 * source: reference/user-api-and-cli "11.8", "16.7"; reference/server-behaviour "7.7"
 */
#include "hub/accounts.h"
#include "hub/audit.h"
#include "input_int.h"
#include "rollout_int.h"
#include "rows_int.h"
#include "telemetry_int.h"

static void read_endpoint(const struct nh_rows *rows, struct nh_arena *arena, void *item)
{
	struct nh_iroh_endpoint *e = item;
	nh_network_identity_read(rows, arena, &e->identity);
	e->device_identifier = nh_col_text(rows, NH_NETWORK_IDENTITY_COLUMNS, arena);
	e->user_name = nh_col_text(rows, NH_NETWORK_IDENTITY_COLUMNS + 1, arena);
	e->user_email = nh_col_text(rows, NH_NETWORK_IDENTITY_COLUMNS + 2, arena);
}

static bool owner_known(nh_slice owner)
{
	return owner.len == 0 || nh_slice_eq_str(owner, "device") || nh_slice_eq_str(owner, "user") || nh_slice_eq_str(owner, "none");
}

nh_rc nh_iroh_endpoint_list(struct nh_ctx *ctx, const struct nh_actor *actor, int64_t org_id, nh_slice owner, nh_slice search, struct nh_iroh_endpoint **out, size_t *count,
                            json_t **errors, struct nh_err *err)
{
	struct nh_list list = NH_LIST_OF(ctx->arena, struct nh_iroh_endpoint);
	NH_TRY(nh_may(ctx, actor, org_id, NH_MAY_IROH_SEE, err));
	search = nh_slice_trim(search);
	if (!owner_known(owner))
		return nh_refuse(errors, err, NH_EINVAL, NULL, "owner must be one of: device, user, none.");
	nh_slice start = search.len ? nh_like_pattern(ctx->arena, search, false) : NH_LIT(""), part = search.len ? nh_like_pattern(ctx->arena, search, true) : NH_LIT("");
	NH_TRY(nh_list_rows(ctx->tx, &list, &nh_q_endpoint_list,
	                    NH_PARAMS(nh_p_int(org_id), nh_p_text(owner.ptr ? owner : NH_LIT("")), nh_p_text(start), nh_p_text(part), nh_p_int(NH_IROH_ENDPOINT_LIST_MAX)),
	                    read_endpoint, err));
	*out = list.items;
	*count = list.count;
	return NH_OK;
}

nh_rc nh_iroh_endpoint_open(struct nh_ctx *ctx, const struct nh_actor *actor, int64_t org_id, nh_slice identifier, struct nh_iroh_endpoint *out, struct nh_err *err)
{
	NH_TRY(nh_may(ctx, actor, org_id, NH_MAY_IROH_SEE, err));
	if (!nh_network_name_ok(identifier))
		return NH_FAIL(err, NH_ENOTFOUND, "no such endpoint");
	return nh_one_row(ctx->tx, ctx->arena, &nh_q_endpoint_get, NH_PARAMS(nh_p_int(org_id), nh_p_text(identifier)), read_endpoint, out, "endpoint", err);
}

/* ---- registering ---------------------------------------------------------------------------------------------------------- */

struct wanted {
	nh_slice identifier, instance, details;
	int64_t member_id; /* 0: nobody's */
};

static nh_rc read_wanted(struct nh_ctx *ctx, int64_t org_id, const json_t *fields, struct wanted *out, json_t **errors, struct nh_err *err)
{
	bool given;
	nh_slice email;
	const json_t *details = json_object_get(fields, "details");
	*out = (struct wanted){.identifier = nh_slice_trim(nh_json_text(fields, "identifier")), .details = NH_LIT("{}")};
	if (out->identifier.len == 0)
		return nh_refuse(errors, err, NH_EINVAL, "identifier", "can't be blank");
	if (!nh_network_name_ok(out->identifier))
		return nh_refuse(errors, err, NH_EINVAL, "identifier", "is invalid");
	NH_TRY(nh_input_optional_text(ctx->arena, fields, "instance", NH_TEXT_MAX_BYTES, &given, &out->instance, errors, err));
	if (!out->instance.ptr)
		out->instance = NH_LIT("default");
	if (!nh_network_name_ok(out->instance))
		return nh_refuse(errors, err, NH_EINVAL, "instance", "is invalid");
	if (details && !json_is_null(details))
		out->details = nh_json_arena(ctx->arena, details);
	if ((details && !json_is_null(details) && !json_is_object(details)) || out->details.len > NH_NETWORK_DETAILS_MAX)
		return nh_refuse(errors, err, NH_EINVAL, "details", "is invalid");
	NH_TRY(nh_input_optional_text(ctx->arena, fields, "user_email", NH_TEXT_MAX_BYTES, &given, &email, errors, err));
	if (email.len == 0)
		return NH_OK;
	nh_rc rc = nh_query_id(ctx->tx, &nh_q_member_id, NH_PARAMS(nh_p_int(org_id), nh_p_text(nh_input_lower(ctx->arena, email))), &out->member_id, err);
	return rc == NH_ENOTFOUND ? nh_refuse(errors, err, NH_EINVAL, NULL, "That email address does not belong to a member of this organization.") : rc;
}

nh_rc nh_iroh_endpoint_register(struct nh_ctx *ctx, const struct nh_actor *actor, int64_t org_id, const json_t *fields, struct nh_iroh_endpoint *out, json_t **errors, struct nh_err *err)
{
	struct wanted wanted;
	int64_t holder;
	NH_TRY(nh_may(ctx, actor, org_id, NH_MAY_IROH_CREATE, err));
	NH_TRY(read_wanted(ctx, org_id, fields, &wanted, errors, err));
	nh_rc rc = nh_query_id(ctx->tx, &nh_q_identity_holder, NH_PARAMS(nh_p_str("iroh"), nh_p_text(wanted.identifier)), &holder, err);
	if (rc == NH_OK)
		return nh_refuse(errors, err, NH_ECONFLICT, NULL,
		                 "That endpoint id is already registered. If it belongs to one of your devices, it will be claimed the next time that device connects.");
	if (rc != NH_ENOTFOUND)
		return rc;
	rc = nh_sql_exec(ctx->tx, &nh_q_endpoint_add,
	                 NH_PARAMS(nh_p_int(org_id), nh_p_ref(wanted.member_id), nh_p_text(wanted.instance), nh_p_text(wanted.identifier), nh_p_text(wanted.details),
	                           nh_p_int(nh_ctx_now(ctx))),
	                 NULL, err);
	if (rc == NH_ECONFLICT) /* the member has one of that instance */
		return nh_refuse(errors, err, NH_EINVAL, "instance", "has already been taken");
	NH_TRY(rc);
	NH_TRY(nh_audit_add(ctx, actor, org_id, NH_AUDIT_ORG, org_id, err, "%.*s registered the iroh endpoint %.*s", NH_ARG(actor->name), NH_ARG(wanted.identifier)));
	return nh_iroh_endpoint_open(ctx, actor, org_id, wanted.identifier, out, err);
}

nh_rc nh_iroh_endpoint_delete(struct nh_ctx *ctx, const struct nh_actor *actor, int64_t org_id, nh_slice identifier, struct nh_err *err)
{
	struct nh_iroh_endpoint endpoint;
	NH_TRY(nh_iroh_endpoint_open(ctx, actor, org_id, identifier, &endpoint, err));
	NH_TRY(nh_may(ctx, actor, org_id, NH_MAY_IROH_DELETE, err));
	NH_TRY(nh_sql_exec(ctx->tx, &nh_q_endpoint_delete, NH_PARAMS(nh_p_int(org_id), nh_p_text(identifier)), NULL, err));
	return nh_audit_add(ctx, actor, org_id, NH_AUDIT_ORG, org_id, err, "%.*s removed the iroh endpoint %.*s", NH_ARG(actor->name), NH_ARG(identifier));
}
