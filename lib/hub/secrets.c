/*
 * Shared secrets: making and switching off.
 *
 * source: reference/device-protocol "6.1"
 */
#include "base/encode.h"
#include "crypto/secret.h"
#include "hub/accounts.h"
#include "hub/audit.h"
#include "hub/secrets.h"
#include "input_int.h"
#include "rows_int.h"
#include "store/foundation.h"
#include "store/overview.h"

static nh_slice random_text(struct nh_ctx *ctx, const char *prefix)
{
	uint8_t bytes[32];
	NH_AUTO_BUF struct nh_buf text = NH_BUF_INIT;
	nh_rng_fill(ctx->rng, bytes, sizeof(bytes));
	nh_buf_put_str(&text, prefix);
	nh_b64_put(&text, nh_slice_of(bytes, sizeof(bytes)), NH_B64_STD_NOPAD);
	nh_slice out = nh_arena_copy(ctx->arena, nh_buf_slice(&text));
	nh_wipe(bytes, sizeof(bytes));
	nh_buf_wipe(&text);
	return out;
}

static nh_rc insert(struct nh_ctx *ctx, const struct nh_stmt *stmt, int64_t owner_id, const char *prefix, struct nh_shared_secret *out,
                    struct nh_err *err)
{
	*out = (struct nh_shared_secret){
		.key = random_text(ctx, prefix),
		.secret = random_text(ctx, ""),
		.inserted_at_us = nh_ctx_now(ctx),
	};
	return nh_query_id(ctx->tx, stmt, NH_PARAMS(nh_p_int(owner_id), nh_p_text(out->key), nh_p_text(out->secret), nh_p_int(out->inserted_at_us)),
	                   &out->id, err);
}

static nh_rc deactivate(struct nh_ctx *ctx, const struct nh_stmt *stmt, int64_t owner_id, nh_slice key, struct nh_err *err)
{
	int64_t changed = 0;
	if (nh_input_text_ok(key, NH_NAME_MAX_BYTES))
		NH_TRY(nh_sql_exec(ctx->tx, stmt, NH_PARAMS(nh_p_int(nh_ctx_now(ctx)), nh_p_int(owner_id), nh_p_text(key)), &changed, err));
	return changed ? NH_OK : NH_FAIL(err, NH_ENOTFOUND, "no such active shared secret");
}

nh_rc nh_product_secret_create(struct nh_ctx *ctx, const struct nh_actor *actor, const struct nh_product *product, struct nh_shared_secret *out,
                               struct nh_err *err)
{
	NH_TRY(nh_may(ctx, actor, product->org_id, NH_MAY_SECRET_CREATE, err));
	NH_TRY(insert(ctx, &nh_q_product_secret_insert, product->id, "nhp_", out, err));
	return nh_audit_add(ctx, actor, product->org_id, NH_AUDIT_PRODUCT, product->id, err, "%.*s made shared secret %.*s of product %.*s",
	                    NH_ARG(actor->name), NH_ARG(out->key), NH_ARG(product->name));
}

static void read_secret(const struct nh_rows *rows, struct nh_arena *arena, void *item)
{
	*(struct nh_shared_secret *)item = (struct nh_shared_secret){
		.id = nh_col_int(rows, 0),
		.key = nh_col_text(rows, 1, arena),
		.deactivated_at_us = nh_col_int(rows, 2),
		.inserted_at_us = nh_col_int(rows, 3),
	};
}

nh_rc nh_product_secret_list(struct nh_ctx *ctx, const struct nh_actor *actor, const struct nh_product *product, struct nh_shared_secret **out,
                             size_t *count, struct nh_err *err)
{
	NH_TRY(nh_may(ctx, actor, product->org_id, NH_MAY_SECRET_SEE, err));
	struct nh_list list = NH_LIST_OF(ctx->arena, struct nh_shared_secret);
	NH_TRY(nh_list_rows(ctx->tx, &list, &nh_q_product_secret_list, NH_PARAMS(nh_p_int(product->id)), read_secret, err));
	*out = list.items;
	*count = list.count;
	return NH_OK;
}

nh_rc nh_product_secret_deactivate(struct nh_ctx *ctx, const struct nh_actor *actor, const struct nh_product *product, nh_slice key,
                                   struct nh_err *err)
{
	NH_TRY(nh_may(ctx, actor, product->org_id, NH_MAY_SECRET_DEACTIVATE, err));
	NH_TRY(deactivate(ctx, &nh_q_product_secret_deactivate, product->id, key, err));
	return nh_audit_add(ctx, actor, product->org_id, NH_AUDIT_PRODUCT, product->id, err, "%.*s switched off shared secret %.*s of product %.*s",
	                    NH_ARG(actor->name), NH_ARG(key), NH_ARG(product->name));
}

nh_rc nh_device_secret_create(struct nh_ctx *ctx, const struct nh_actor *actor, const struct nh_device *device, struct nh_shared_secret *out,
                              struct nh_err *err)
{
	NH_TRY(nh_may(ctx, actor, device->org_id, NH_MAY_SECRET_CREATE, err));
	NH_TRY(insert(ctx, &nh_q_device_secret_insert, device->id, "nhd_", out, err));
	return nh_audit_add(ctx, actor, device->org_id, NH_AUDIT_DEVICE, device->id, err, "%.*s made shared secret %.*s of device %.*s",
	                    NH_ARG(actor->name), NH_ARG(out->key), NH_ARG(device->identifier));
}

nh_rc nh_device_secret_list(struct nh_ctx *ctx, const struct nh_actor *actor, const struct nh_device *device, struct nh_shared_secret **out, size_t *count, struct nh_err *err)
{
	struct nh_list list = NH_LIST_OF(ctx->arena, struct nh_shared_secret);
	NH_TRY(nh_may(ctx, actor, device->org_id, NH_MAY_SECRET_SEE, err));
	NH_TRY(nh_list_rows(ctx->tx, &list, &nh_q_device_secret_list, NH_PARAMS(nh_p_int(device->id)), read_secret, err));
	*out = list.items;
	*count = list.count;
	return NH_OK;
}

nh_rc nh_device_secret_deactivate(struct nh_ctx *ctx, const struct nh_actor *actor, const struct nh_device *device, nh_slice key,
                                  struct nh_err *err)
{
	NH_TRY(nh_may(ctx, actor, device->org_id, NH_MAY_SECRET_DEACTIVATE, err));
	NH_TRY(deactivate(ctx, &nh_q_device_secret_deactivate, device->id, key, err));
	return nh_audit_add(ctx, actor, device->org_id, NH_AUDIT_DEVICE, device->id, err, "%.*s switched off shared secret %.*s of device %.*s",
	                    NH_ARG(actor->name), NH_ARG(key), NH_ARG(device->identifier));
}
