/*
 * Devices that were deleted: bringing one back, or forgetting it for good. Deleting: devices.c.
 *
 * source: reference/server-behaviour "1.11"
 */
#include "hub/audit.h"
#include "hub/devices.h"
#include "hub/overview.h"
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

/* ---- by age --------------------------------------------------------------------------------------------------------------- */

static nh_rc forget(struct nh_ctx *ctx, const struct nh_device *d, struct nh_err *err)
{
	struct nh_actor actor = {NH_ACTOR_SYSTEM, 0, NH_LIT("retention")};
	nh_slice message = nh_slice_str(nh_arena_printf(ctx->arena, "Device %.*s was deleted more than %d days ago and is now forgotten for good.", NH_ARG(d->identifier), NH_DELETED_DEVICES_DAYS));
	NH_TRY(nh_sql_exec(ctx->tx, &nh_q_device_destroy, NH_PARAMS(nh_p_int(d->id)), NULL, err));
	NH_TRY(nh_notification_add(ctx, d->product_id, NH_NOTIFY_INFO, nh_arena_printf(ctx->arena, "soft_deleted_device-%lld", (long long)d->id), NH_LIT("A deleted device was forgotten"), message, NULL, err));
	return nh_audit_add(ctx, &actor, d->org_id, NH_AUDIT_PRODUCT, d->product_id, err, "Device %.*s of product %.*s, deleted more than %d days ago, was destroyed", NH_ARG(d->identifier),
	                    NH_ARG(d->product_name), NH_DELETED_DEVICES_DAYS);
}

nh_rc nh_deleted_devices_trim(struct nh_ctx *ctx, size_t *rows, struct nh_err *err)
{
	struct nh_list list = NH_LIST_OF(ctx->arena, struct nh_device);
	int64_t before = nh_ctx_now(ctx) - NH_DELETED_DEVICES_DAYS * INT64_C(86400) * NH_US_PER_S;
	NH_TRY(nh_list_rows(ctx->tx, &list, &nh_q_devices_deleted_before, NH_PARAMS(nh_p_int(before), nh_p_int(NH_DELETED_DEVICES_BATCH)), nh_device_read, err));
	const struct nh_device *devices = list.items;
	for (size_t i = 0; i < list.count; i++)
		NH_TRY(forget(ctx, &devices[i], err));
	*rows = list.count;
	return NH_OK;
}
