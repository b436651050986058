/*
 * Devices that were deleted: bringing one back, or forgetting it for good. Deleting: devices.c.
 *
 * source: reference/server-behaviour "1.11"
 */
#include "hub/audit.h"
#include "hub/devices.h"
#include "input_int.h"
#include "rows_int.h"
#include "store/foundation.h"
#include "store/overview.h"

nh_rc nh_device_open_deleted(struct nh_ctx *ctx, const struct nh_actor *actor, const struct nh_product *product, nh_slice identifier, nh_action action, struct nh_device *out,
			     struct nh_err *err)
{
	NH_TRY(nh_may(ctx, actor, product->org_id, action, err));
	if (!nh_input_name_ok(identifier, NH_DEVICE_IDENTIFIER_MAX))
		return NH_FAIL(err, NH_ENOTFOUND, "no such device");
	return nh_one_row(ctx->tx, ctx->arena, &nh_q_device_deleted, NH_PARAMS(nh_p_int(product->id), nh_p_text(identifier)), nh_device_read, out, "device", err);
}

nh_rc nh_device_restore(struct nh_ctx *ctx, const struct nh_actor *actor, const struct nh_product *product, nh_slice identifier, struct nh_device *out, json_t **errors,
			struct nh_err *err)
{
	struct nh_device device;
	int64_t counted = 0;
	NH_TRY(nh_device_open_deleted(ctx, actor, product, identifier, NH_MAY_DEVICE_RESTORE, &device, err));
	nh_rc rc = nh_sql_exec(ctx->tx, &nh_q_device_restore, NH_PARAMS(nh_p_int(nh_ctx_now(ctx)), nh_p_int(device.id)), NULL, err);
	if (rc == NH_ECONFLICT)
		return nh_refuse(errors, err, NH_EINVAL, "identifier", "has already been taken");
	NH_TRY(rc);
	NH_TRY(nh_sql_exec(ctx->tx, &nh_q_product_count_devices, NH_PARAMS(nh_p_int(1), nh_p_int(product->id)), &counted, err));
	if (!counted)
		return NH_FAIL(err, NH_ENOTFOUND, "no such product");
	nh_effect_add(ctx, NH_EFFECT_TOPIC, device.id, NH_LIT("device"), NH_SLICE_EMPTY);
	NH_TRY(nh_audit_add(ctx, actor, product->org_id, NH_AUDIT_DEVICE, device.id, err, "%.*s restored device %.*s", NH_ARG(actor->name), NH_ARG(identifier)));
	return nh_device_by_id(ctx, device.id, out, err);
}

nh_rc nh_device_destroy(struct nh_ctx *ctx, const struct nh_actor *actor, const struct nh_product *product, nh_slice identifier, struct nh_err *err)
{
	struct nh_device device;
	NH_TRY(nh_device_open_deleted(ctx, actor, product, identifier, NH_MAY_DEVICE_DESTROY, &device, err));
	NH_TRY(nh_sql_exec(ctx->tx, &nh_q_device_destroy, NH_PARAMS(nh_p_int(device.id)), NULL, err));
	return nh_audit_add(ctx, actor, product->org_id, NH_AUDIT_PRODUCT, product->id, err, "%.*s destroyed device %.*s of product %.*s", NH_ARG(actor->name), NH_ARG(identifier),
	                    NH_ARG(product->name));
}
