/*
 * Pins, notifications, figures, the search box. Each reads an index of a product's devices at most.
 *
 * source: reference/server-behaviour "1.3", "1.9", "9.7", "14.4"
 */
#include "hub/overview.h"

#include "base/json.h"
#include "hub/accounts.h"
#include "hub/audit.h"
#include "input_int.h"
#include "rollout_int.h"
#include "rows_int.h"
#include "store/overview.h"

#define NOTE_MAX_BYTES 500

/* ---- pins -------------------------------------------------------------------------------------------------------------- */

nh_rc nh_pin_set(struct nh_ctx *ctx, const struct nh_actor *actor, const struct nh_device *device, bool pinned, struct nh_err *err)
{
	NH_TRY(nh_may(ctx, actor, device->org_id, NH_MAY_DEVICE_PIN, err));
	if (actor->kind != NH_ACTOR_USER)
		return NH_FAIL(err, NH_EPERM, "only people pin devices");
	if (pinned)
		return nh_sql_exec(ctx->tx, &nh_q_pin_add, NH_PARAMS(nh_p_int(actor->id), nh_p_int(device->id), nh_p_int(nh_ctx_now(ctx))), NULL, err);
	return nh_sql_exec(ctx->tx, &nh_q_pin_remove, NH_PARAMS(nh_p_int(actor->id), nh_p_int(device->id)), NULL, err);
}

nh_rc nh_pin_list(struct nh_ctx *ctx, const struct nh_actor *actor, struct nh_device **out, size_t *count, struct nh_err *err)
{
	struct nh_list list = NH_LIST_OF(ctx->arena, struct nh_device);
	int64_t user_id = actor->kind == NH_ACTOR_USER ? actor->id : 0;
	NH_TRY(nh_list_rows(ctx->tx, &list, &nh_q_pin_list, NH_PARAMS(nh_p_int(user_id), nh_p_int(NH_PIN_LIST_MAX)), nh_device_read, err));
	*out = list.items;
	*count = list.count;
	return NH_OK;
}

/* ---- notifications ------------------------------------------------------------------------------------------------------- */

const char *nh_notification_level_name(nh_notification_level level)
{
	static const char *const names[] = {[NH_NOTIFY_INFO] = "info", [NH_NOTIFY_WARNING] = "warning", [NH_NOTIFY_ERROR] = "error"};
	NH_ASSERT((size_t)level < NH_ARRAY_LEN(names));
	return names[level];
}

nh_rc nh_notification_add(struct nh_ctx *ctx, int64_t product_id, nh_notification_level level, const char *event_key, nh_slice title, nh_slice message, const json_t *metadata,
			  struct nh_err *err)
{
	nh_slice more = metadata ? nh_json_arena(ctx->arena, metadata) : NH_LIT("{}");
	return nh_sql_exec(ctx->tx, &nh_q_notification_add,
	                   NH_PARAMS(nh_p_int(product_id), nh_p_str(nh_notification_level_name(level)), nh_p_str(event_key), nh_p_text(nh_text_cut(ctx->arena, title, NOTE_MAX_BYTES)),
	                             nh_p_text(nh_text_cut(ctx->arena, message, NOTE_MAX_BYTES)), nh_p_text(more), nh_p_int(nh_ctx_now(ctx))),
	                   NULL, err);
}

static void read_notification(const struct nh_rows *rows, struct nh_arena *arena, void *item)
{
	*(struct nh_notification *)item = (struct nh_notification){
		.id = nh_col_int(rows, 0),
		.level = nh_col_text(rows, 1, arena),
		.event_key = nh_col_text(rows, 2, arena),
		.title = nh_col_text(rows, 3, arena),
		.message = nh_col_text(rows, 4, arena),
		.metadata = nh_col_text(rows, 5, arena),
		.occurrence_count = nh_col_int(rows, 6),
		.last_occurred_at_us = nh_col_int(rows, 7),
		.inserted_at_us = nh_col_int(rows, 8),
	};
}

nh_rc nh_notification_list(struct nh_ctx *ctx, const struct nh_actor *actor, const struct nh_product *product, struct nh_notification **out, size_t *count, struct nh_err *err)
{
	struct nh_list list = NH_LIST_OF(ctx->arena, struct nh_notification);
	NH_TRY(nh_may(ctx, actor, product->org_id, NH_MAY_NOTIFICATION_SEE, err));
	NH_TRY(nh_list_rows(ctx->tx, &list, &nh_q_notification_list, NH_PARAMS(nh_p_int(product->id), nh_p_int(NH_NOTIFICATION_LIST_MAX)), read_notification, err));
	*out = list.items;
	*count = list.count;
	return NH_OK;
}

nh_rc nh_notification_dismiss(struct nh_ctx *ctx, const struct nh_actor *actor, const struct nh_product *product, struct nh_err *err)
{
	NH_TRY(nh_may(ctx, actor, product->org_id, NH_MAY_NOTIFICATION_DISMISS, err));
	NH_TRY(nh_sql_exec(ctx->tx, &nh_q_notification_dismiss, NH_PARAMS(nh_p_int(product->id)), NULL, err));
	return nh_audit_add(ctx, actor, product->org_id, NH_AUDIT_PRODUCT, product->id, err, "%.*s dismissed the notifications of product %.*s", NH_ARG(actor->name), NH_ARG(product->name));
}

/* ---- figures -------------------------------------------------------------------------------------------------------------- */

static void read_figure(const struct nh_rows *rows, struct nh_arena *arena, void *item)
{
	*(struct nh_firmware_figure *)item = (struct nh_firmware_figure){
		.version = nh_col_text(rows, 0, arena),
		.platform = nh_col_text(rows, 1, arena),
		.architecture = nh_col_text(rows, 2, arena),
		.devices = nh_col_int(rows, 3),
	};
}

nh_rc nh_insights_read(struct nh_ctx *ctx, const struct nh_actor *actor, const struct nh_product *product, struct nh_insights *out, struct nh_err *err)
{
	struct nh_list list = NH_LIST_OF(ctx->arena, struct nh_firmware_figure);
	NH_TRY(nh_may(ctx, actor, product->org_id, NH_MAY_DEVICE_SEE, err));
	*out = (struct nh_insights){.devices = product->device_count};
	NH_TRY(nh_query_id(ctx->tx, &nh_q_figure_connected, NH_PARAMS(nh_p_int(product->id)), &out->connected, err));
	NH_TRY(nh_query_id(ctx->tx, &nh_q_figure_unseen, NH_PARAMS(nh_p_int(product->id)), &out->not_seen, err));
	NH_TRY(nh_list_rows(ctx->tx, &list, &nh_q_figure_firmware, NH_PARAMS(nh_p_int(product->id), nh_p_int(NH_FIGURES_MAX)), read_figure, err));
	out->firmware = list.items;
	out->firmware_count = list.count;
	return NH_OK;
}

/* ---- search box ----------------------------------------------------------------------------------------------------------- */

static void read_found(const struct nh_rows *rows, struct nh_arena *arena, void *item)
{
	((struct nh_found *)item)->name = nh_col_text(rows, 0, arena);
}

static void read_found_firmware(const struct nh_rows *rows, struct nh_arena *arena, void *item)
{
	*(struct nh_found *)item = (struct nh_found){
		.name = nh_col_text(rows, 0, arena),
		.version = nh_col_text(rows, 1, arena),
		.platform = nh_col_text(rows, 2, arena),
		.architecture = nh_col_text(rows, 3, arena),
	};
}

struct searched {
	const struct nh_stmt *stmt;
	void (*read)(const struct nh_rows *rows, struct nh_arena *arena, void *item);
	nh_slice pattern;
	struct nh_found *found;
	size_t *count;
};

/* Adds what the product has of one kind, as far as there is room. */
static nh_rc search_one(struct nh_ctx *ctx, const struct nh_product *product, const struct searched *s, struct nh_err *err)
{
	struct nh_list list = NH_LIST_OF(ctx->arena, struct nh_found);
	size_t room = NH_FOUND_MAX - *s->count;
	if (room == 0)
		return NH_OK;
	NH_TRY(nh_list_rows(ctx->tx, &list, s->stmt, NH_PARAMS(nh_p_int(product->id), nh_p_text(s->pattern), nh_p_int((int64_t)room)), s->read, err));
	for (size_t i = 0; i < list.count && i < room; i++) {
		struct nh_found *found = &s->found[(*s->count)++];
		*found = ((struct nh_found *)list.items)[i];
		found->org_name = product->org_name;
		found->product_name = product->name;
	}
	return NH_OK;
}

static nh_rc search_product(struct nh_ctx *ctx, const struct nh_product *product, nh_slice text, struct nh_search_result *out, struct nh_err *err)
{
	nh_slice part = nh_like_pattern(ctx->arena, text, true), start = nh_like_pattern(ctx->arena, text, false);
	const struct searched kinds[] = {
		{&nh_q_search_devices, read_found, part, out->devices, &out->device_count},
		{&nh_q_search_groups, read_found, part, out->groups, &out->group_count},
		{&nh_q_search_firmwares, read_found_firmware, start, out->firmwares, &out->firmware_count},
	};
	for (size_t i = 0; i < NH_ARRAY_LEN(kinds); i++)
		NH_TRY(search_one(ctx, product, &kinds[i], err));
	return NH_OK;
}

static nh_rc search_org(struct nh_ctx *ctx, const struct nh_actor *actor, int64_t org_id, nh_slice text, struct nh_search_result *out, struct nh_err *err)
{
	struct nh_product *products;
	size_t count = 0;
	NH_TRY(nh_product_list(ctx, actor, org_id, &products, &count, err));
	for (size_t i = 0; i < count; i++)
		NH_TRY(search_product(ctx, &products[i], text, out, err));
	return NH_OK;
}

nh_rc nh_search(struct nh_ctx *ctx, const struct nh_actor *actor, int64_t org_id, const struct nh_product *product, nh_slice text, struct nh_search_result *out, json_t **errors,
		struct nh_err *err)
{
	struct nh_org *orgs;
	size_t count = 0;
	*out = (struct nh_search_result){0};
	text = nh_slice_trim(text);
	if (!nh_input_text_ok(text, NH_NAME_MAX_BYTES))
		return nh_refuse(errors, err, NH_EINVAL, "q", "is invalid");
	if (nh_input_characters(text) < NH_SEARCH_MIN)
		return nh_refuse(errors, err, NH_EINVAL, "q", "should be at least %d character(s)", NH_SEARCH_MIN);
	if (product) {
		NH_TRY(nh_may(ctx, actor, product->org_id, NH_MAY_DEVICE_SEE, err));
		return search_product(ctx, product, text, out, err);
	}
	if (org_id)
		return search_org(ctx, actor, org_id, text, out, err);
	NH_TRY(nh_org_list(ctx, actor, &orgs, &count, err));
	for (size_t i = 0; i < count; i++)
		NH_TRY(search_org(ctx, actor, orgs[i].id, text, out, err));
	return NH_OK;
}
