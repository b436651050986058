/*
 * Products.
 *
 * source: reference/user-api-and-cli "10"; reference/server-behaviour "1.3"
 */
#include "hub/accounts.h"
#include "hub/audit.h"
#include "hub/products.h"
#include "hub/webhooks.h"
#include "input_int.h"
#include "rows_int.h"
#include "store/foundation.h"
#include "telemetry_int.h"

static void read_product(const struct nh_rows *rows, struct nh_arena *arena, void *item)
{
	*(struct nh_product *)item = (struct nh_product){
		.id = nh_col_int(rows, 0),
		.org_id = nh_col_int(rows, 1),
		.name = nh_col_text(rows, 2, arena),
		.org_name = nh_col_text(rows, 3, arena),
		.require_unique_firmware_version = nh_col_bool(rows, 4),
		.allowed_update_tools = nh_col_text(rows, 5, arena),
		.allow_unsigned_esp_idf_firmware = nh_col_bool(rows, 6),
		.device_count = nh_col_int(rows, 7),
		.firmware_count = nh_col_int(rows, 8),
		.inserted_at_us = nh_col_int(rows, 9),
		.updated_at_us = nh_col_int(rows, 10),
		.extensions = nh_col_text(rows, 11, arena),
	};
}

nh_rc nh_product_open(struct nh_ctx *ctx, const struct nh_actor *actor, int64_t org_id, nh_slice name, nh_action action, struct nh_product *out,
                      struct nh_err *err)
{
	/* Whether it exists is told only to members; the product before the role, as the API answers 404 before 401. */
	NH_TRY(nh_may(ctx, actor, org_id, NH_MAY_PRODUCT_SEE, err));
	if (!nh_input_name_ok(name, NH_NAME_MAX_BYTES))
		return NH_FAIL(err, NH_ENOTFOUND, "no such product");
	NH_TRY(nh_one_row(ctx->tx, ctx->arena, &nh_q_product_by_name, NH_PARAMS(nh_p_int(org_id), nh_p_text(name)), read_product, out, "product", err));
	return nh_may(ctx, actor, org_id, action, err);
}

nh_rc nh_product_by_id(struct nh_ctx *ctx, int64_t product_id, struct nh_product *out, struct nh_err *err)
{
	return nh_one_row(ctx->tx, ctx->arena, &nh_q_product_by_id, NH_PARAMS(nh_p_int(product_id)), read_product, out, "product", err);
}

nh_rc nh_product_list(struct nh_ctx *ctx, const struct nh_actor *actor, int64_t org_id, struct nh_product **out, size_t *count, struct nh_err *err)
{
	NH_TRY(nh_may(ctx, actor, org_id, NH_MAY_PRODUCT_SEE, err));
	struct nh_list list = NH_LIST_OF(ctx->arena, struct nh_product);
	NH_TRY(nh_list_rows(ctx->tx, &list, &nh_q_product_list, NH_PARAMS(nh_p_int(org_id)), read_product, err));
	*out = list.items;
	*count = list.count;
	return NH_OK;
}

nh_rc nh_product_create(struct nh_ctx *ctx, const struct nh_actor *actor, int64_t org_id, nh_slice name, struct nh_product *out, json_t **errors,
                        struct nh_err *err)
{
	NH_TRY(nh_may(ctx, actor, org_id, NH_MAY_PRODUCT_CREATE, err));
	name = nh_input_name(ctx->arena, name);
	if (name.len == 0)
		return nh_refuse(errors, err, NH_EINVAL, "name", "can't be blank");
	if (!nh_input_name_ok(name, NH_NAME_MAX_BYTES))
		return nh_refuse(errors, err, NH_EINVAL, "name", "is invalid");
	int64_t id = 0;
	nh_rc rc = nh_query_id(ctx->tx, &nh_q_product_insert, NH_PARAMS(nh_p_int(org_id), nh_p_text(name), nh_p_int(nh_ctx_now(ctx))), &id, err);
	if (rc == NH_ECONFLICT)
		return nh_refuse(errors, err, NH_EINVAL, "name", "has already been taken");
	NH_TRY(rc);
	NH_TRY(nh_audit_add(ctx, actor, org_id, NH_AUDIT_PRODUCT, id, err, "%.*s created product %.*s", NH_ARG(actor->name), NH_ARG(name)));
	return nh_product_by_id(ctx, id, out, err);
}

/* ---- settings ---------------------------------------------------------------------------------------------------------- */

static nh_rc refuse_foreign_keys(const json_t *fields, json_t **errors, struct nh_err *err)
{
	static const char *const settings[] = {"require_unique_firmware_version", "allowed_update_tools", "allow_unsigned_esp_idf_firmware", "extensions"};
	NH_AUTO_BUF struct nh_buf names = NH_BUF_MAX(4096);
	const char *key;
	json_t *value;
	json_object_foreach((json_t *)(uintptr_t)fields, key, value) {
		bool known = false;
		for (size_t i = 0; i < NH_ARRAY_LEN(settings); i++)
			known = known || nh_slice_eq_str(nh_slice_str(key), settings[i]);
		if (!known)
			nh_buf_printf(&names, "%s\"%s\"", names.len ? ", " : "", key);
	}
	if (names.len == 0)
		return NH_OK;
	return nh_refuse(errors, err, NH_EINVAL, NULL,
	                 "These fields cannot be set on a product: %s. A product cannot be renamed; its name identifies it in every URL.",
	                 nh_buf_cstr(&names));
}

static nh_rc read_bool(const json_t *fields, const char *key, bool *out, json_t **errors, struct nh_err *err)
{
	const json_t *value = json_object_get(fields, key);
	if (!value)
		return NH_OK;
	return nh_input_bool(value, out) ? NH_OK : nh_refuse(errors, err, NH_EINVAL, key, "is invalid");
}

/* This version takes fwup archives only, so the list is ["fwup"] or []. */
static nh_rc check_tools(struct nh_ctx *ctx, const json_t *tools, nh_slice *out, json_t **errors, struct nh_err *err)
{
	static const char *const key = "allowed_update_tools";
	NH_AUTO_BUF struct nh_buf unknown = NH_BUF_MAX(1024);
	NH_AUTO_BUF struct nh_buf text = NH_BUF_INIT;
	bool esp = false;
	size_t i;
	json_t *item;
	if (!json_is_array(tools) || json_array_size(tools) > 8)
		return nh_refuse(errors, err, NH_EINVAL, key, "is invalid");
	json_array_foreach(tools, i, item) {
		const char *name = json_string_value(item);
		if (!name)
			return nh_refuse(errors, err, NH_EINVAL, key, "is invalid");
		nh_slice tool = nh_slice_str(name);
		if (nh_slice_eq_str(tool, "esp-idf"))
			esp = true;
		else if (!nh_slice_eq_str(tool, "fwup"))
			nh_buf_printf(&unknown, "%s%s", unknown.len ? ", " : "", name);
	}
	if (unknown.len > 0 || !nh_buf_ok(&unknown))
		return nh_refuse(errors, err, NH_EINVAL, key, "unknown update tool(s): %s", nh_buf_cstr(&unknown));
	if (esp)
		return nh_refuse(errors, err, NH_EINVAL, key, "not enabled on this NervesHub instance: esp-idf");
	nh_json_put(&text, tools);
	*out = nh_arena_copy(ctx->arena, nh_buf_slice(&text));
	return NH_OK;
}

nh_rc nh_product_update(struct nh_ctx *ctx, const struct nh_actor *actor, const struct nh_product *product, const json_t *fields,
                        struct nh_product *out, json_t **errors, struct nh_err *err)
{
	NH_TRY(nh_may(ctx, actor, product->org_id, NH_MAY_PRODUCT_UPDATE, err));
	if (!json_is_object(fields))
		return nh_refuse(errors, err, NH_EINVAL, NULL, "expected an object");
	NH_TRY(refuse_foreign_keys(fields, errors, err));
	struct nh_product now = *product;
	NH_TRY(read_bool(fields, "require_unique_firmware_version", &now.require_unique_firmware_version, errors, err));
	NH_TRY(read_bool(fields, "allow_unsigned_esp_idf_firmware", &now.allow_unsigned_esp_idf_firmware, errors, err));
	const json_t *tools = json_object_get(fields, "allowed_update_tools");
	if (tools)
		NH_TRY(check_tools(ctx, tools, &now.allowed_update_tools, errors, err));
	NH_TRY(nh_extensions_edit(ctx->arena, fields, now.extensions, &now.extensions, errors, err));
	int64_t changed = 0;
	NH_TRY(nh_sql_exec(ctx->tx, &nh_q_product_update,
	                   NH_PARAMS(nh_p_bool(now.require_unique_firmware_version), nh_p_text(now.allowed_update_tools),
	                             nh_p_bool(now.allow_unsigned_esp_idf_firmware), nh_p_text(now.extensions), nh_p_int(nh_ctx_now(ctx)), nh_p_int(product->id)),
	                   &changed, err));
	if (!changed)
		return NH_FAIL(err, NH_ENOTFOUND, "no such product");
	if (!nh_slice_eq(now.extensions, product->extensions))
		nh_effect_add(ctx, NH_EFFECT_PRODUCT_SETTINGS, product->id, NH_SLICE_EMPTY, NH_SLICE_EMPTY);
	NH_TRY(nh_audit_add(ctx, actor, product->org_id, NH_AUDIT_PRODUCT, product->id, err, "%.*s changed the settings of product %.*s",
	                    NH_ARG(actor->name), NH_ARG(product->name)));
	return nh_product_by_id(ctx, product->id, out, err);
}

nh_rc nh_product_delete(struct nh_ctx *ctx, const struct nh_actor *actor, const struct nh_product *product, json_t **errors, struct nh_err *err)
{
	NH_TRY(nh_may(ctx, actor, product->org_id, NH_MAY_PRODUCT_DELETE, err));
	int64_t changed = 0;
	struct nh_product now;
	NH_TRY(nh_product_by_id(ctx, product->id, &now, err));
	NH_TRY(nh_sql_exec(ctx->tx, &nh_q_product_delete, NH_PARAMS(nh_p_int(nh_ctx_now(ctx)), nh_p_int(product->id)), &changed, err));
	if (!changed)
		return nh_refuse(errors, err, NH_ECONFLICT, "devices", "The product still has devices (%lld). Delete or move them first.",
		                 (long long)now.device_count);
	NH_TRY(nh_webhooks_end(ctx, product->org_id, product->id, err));
	return nh_audit_add(ctx, actor, product->org_id, NH_AUDIT_PRODUCT, product->id, err, "%.*s deleted product %.*s", NH_ARG(actor->name),
	                    NH_ARG(product->name));
}
