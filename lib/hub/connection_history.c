/*
 * Connections that ended. A line is written with the end and never before, so that a connect costs nothing more; the connection that goes on is the device's row in device_connections. Where a
 * newer connection has taken that row, the date in the older one's id says when it began.
 *
 * source: reference/server-behaviour "2.4"
 */
#include "rows_int.h"
#include "store/rollout.h"
#include "telemetry_int.h"

#define HOUR_US (INT64_C(3600) * NH_US_PER_S)
#define FLAPPING_MORE_THAN 10

/* Milliseconds are all that a UUIDv7 tells. */
static int64_t begun_at(const char *connection_id, int64_t otherwise)
{
	struct nh_uuid id;
	if (nh_uuid_parse(nh_slice_str(connection_id), &id) != NH_OK)
		return otherwise;
	int64_t ms = 0;
	for (size_t i = 0; i < 6; i++)
		ms = ms << 8 | id.bytes[i];
	return ms * NH_US_PER_MS;
}

nh_rc nh_history_add(struct nh_ctx *ctx, int64_t device_id, const char *connection_id, int64_t ended_at_us, nh_slice reason, struct nh_err *err)
{
	return nh_sql_exec(ctx->tx, &nh_q_history_add,
	                   NH_PARAMS(nh_p_str(connection_id), nh_p_int(begun_at(connection_id, ended_at_us)), nh_p_int(ended_at_us), reason.len ? nh_p_text(reason) : nh_p_null(), nh_p_int(device_id)),
	                   NULL, err);
}

static void read_past(const struct nh_rows *rows, struct nh_arena *arena, void *item)
{
	*(struct nh_past_connection *)item = (struct nh_past_connection){
		.id = nh_col_text(rows, 0, arena),
		.established_at_us = nh_col_int(rows, 1),
		.disconnected_at_us = nh_col_int(rows, 2),
		.reason = nh_col_text(rows, 3, arena),
		.network_interface = nh_col_text(rows, 4, arena),
	};
}

/* The open one is no line of the history yet. It is the newest, whatever clocks say. */
static nh_rc add_open(struct nh_ctx *ctx, int64_t device_id, int64_t before_us, struct nh_list *list, struct nh_err *err)
{
	struct nh_connection c;
	nh_rc rc = nh_connection_get(ctx, device_id, &c, err);
	if (rc == NH_ENOTFOUND)
		return NH_OK;
	NH_TRY(rc);
	if (!nh_slice_eq_str(c.status, "disconnected") && c.established_at_us < before_us)
		*(struct nh_past_connection *)nh_list_add(list) =
			(struct nh_past_connection){.id = c.id, .established_at_us = c.established_at_us, .network_interface = c.network_interface};
	return NH_OK;
}

nh_rc nh_connection_history(struct nh_ctx *ctx, int64_t device_id, int64_t before_us, size_t limit, struct nh_past_connection **out, size_t *count, struct nh_err *err)
{
	struct nh_list list = NH_LIST_OF(ctx->arena, struct nh_past_connection);
	NH_ASSERT(limit >= 1 && limit <= NH_CONNECTION_LIST_MAX);
	NH_TRY(add_open(ctx, device_id, before_us, &list, err));
	NH_TRY(nh_list_rows(ctx->tx, &list, &nh_q_history_list, NH_PARAMS(nh_p_int(device_id), nh_p_int(before_us), nh_p_int((int64_t)(limit - list.count))), read_past, err));
	*out = list.items;
	*count = list.count;
	return NH_OK;
}

static void read_flapping(const struct nh_rows *rows, struct nh_arena *arena, void *item)
{
	*(struct nh_flapping *)item = (struct nh_flapping){.device_id = nh_col_int(rows, 0), .identifier = nh_col_text(rows, 1, arena), .connections = nh_col_int(rows, 2)};
}

nh_rc nh_flapping_list(struct nh_ctx *ctx, int64_t product_id, size_t limit, struct nh_flapping **out, size_t *count, struct nh_err *err)
{
	struct nh_list list = NH_LIST_OF(ctx->arena, struct nh_flapping);
	NH_ASSERT(limit >= 1 && limit <= NH_FLAPPING_LIST_MAX);
	NH_TRY(nh_list_rows(ctx->tx, &list, &nh_q_flapping,
	                    NH_PARAMS(nh_p_int(nh_ctx_now(ctx) - HOUR_US), nh_p_int(product_id), nh_p_int(FLAPPING_MORE_THAN), nh_p_int((int64_t)limit)), read_flapping, err));
	*out = list.items;
	*count = list.count;
	return NH_OK;
}
