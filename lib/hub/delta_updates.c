/*
 * Updates by delta: who is sent one, what is remembered of it, and what it saved.
 *
 * source: reference/server-behaviour "3.9", "4.5"; reference/device-protocol "8.2"
 */
#include "base/semver.h"
#include "hub/deltas.h"
#include "input_int.h"
#include "rollout_int.h"
#include "rows_int.h"
#include "store/deltas.h"
#include "store/rollout.h"

#define METADATA_MAX ((size_t)64 << 10)
#define FWUP_UNKNOWN "0.2.0" /* source: "4.5" */

/* ---- choice ---------------------------------------------------------------------------------------------------------------- */

struct usable {
	struct nh_delta_file file;
	nh_slice required_version;
	bool failed_before;
};

static void read_usable(const struct nh_rows *rows, struct nh_arena *arena, void *item)
{
	*(struct usable *)item = (struct usable){
		.file = {.id = nh_col_int(rows, 0), .size_bytes = nh_col_int(rows, 1), .checksum = nh_col_text(rows, 2, arena), .partials = nh_col_text(rows, 3, arena),
			 .object_key = nh_col_text(rows, 4, arena), .full_bytes = nh_col_int(rows, 7)},
		.required_version = nh_col_text(rows, 5, arena),
		.failed_before = nh_col_bool(rows, 6),
	};
}

/* Does the fwup that the device told of at its join know such deltas? */
static bool new_enough(const struct nh_device_facts *d, nh_slice required)
{
	NH_AUTO_JSON json_t *metadata = NULL;
	struct nh_semver has, needs;
	const char *told = NULL;
	if (d->firmware_metadata.len > 0 && nh_json_parse(d->firmware_metadata, METADATA_MAX, &metadata, NULL) == NH_OK)
		told = json_string_value(json_object_get(metadata, "fwup_version"));
	if (nh_semver_parse(nh_slice_str(told ? told : FWUP_UNKNOWN), &has) != NH_OK || nh_semver_parse(required, &needs) != NH_OK)
		return false;
	return nh_semver_cmp(&has, &needs) >= 0;
}

nh_rc nh_delta_choose(struct nh_ctx *ctx, const struct nh_device_facts *d, const struct nh_group *group, int64_t firmware_id, struct nh_delta_file *out, struct nh_err *err)
{
	struct usable u;
	*out = (struct nh_delta_file){0};
	if ((group && !group->delta_updatable) || d->firmware_uuid.len == 0)
		return NH_OK;
	nh_rc rc = nh_one_row(ctx->tx, ctx->arena, &nh_q_delta_usable, NH_PARAMS(nh_p_text(d->firmware_uuid), nh_p_int(d->id), nh_p_int(firmware_id)), read_usable, &u, "delta", err);
	if (rc == NH_ENOTFOUND)
		return NH_OK;
	NH_TRY(rc);
	if (!u.failed_before && new_enough(d, u.required_version))
		*out = u.file;
	return NH_OK;
}

/* ---- what was sent --------------------------------------------------------------------------------------------------------- */

nh_rc nh_delta_sent(struct nh_ctx *ctx, int64_t device_id, const struct nh_delta_file *file, struct nh_err *err)
{
	if (file->id == 0)
		return NH_OK; /* as the row is from the beginning */
	return nh_sql_exec(ctx->tx, &nh_q_inflight_sent,
	                   NH_PARAMS(nh_p_int(file->id), nh_p_int(file->size_bytes), nh_p_int(file->full_bytes - file->size_bytes), nh_p_int(device_id)), NULL, err);
}

struct sent {
	int64_t delta_id, bytes, saved;
	bool by_delta; /* also where the delta is deleted since */
};

static void read_sent(const struct nh_rows *rows, struct nh_arena *arena, void *item)
{
	*(struct sent *)item = (struct sent){nh_col_int(rows, 0), nh_col_int(rows, 1), nh_col_int(rows, 2), !nh_col_null(rows, 1)};
}

/* Nothing in flight is nothing sent. */
static nh_rc sent_of(struct nh_ctx *ctx, int64_t device_id, struct sent *out, struct nh_err *err)
{
	*out = (struct sent){0};
	nh_rc rc = nh_one_row(ctx->tx, ctx->arena, &nh_q_inflight_delta, NH_PARAMS(nh_p_int(device_id)), read_sent, out, "update in flight", err);
	return rc == NH_ENOTFOUND ? NH_OK : rc;
}

static void read_file(const struct nh_rows *rows, struct nh_arena *arena, void *item)
{
	struct nh_delta_file *f = item;
	f->size_bytes = nh_col_int(rows, 1);
	f->checksum = nh_col_text(rows, 2, arena);
	f->partials = nh_col_text(rows, 3, arena);
	f->object_key = nh_col_text(rows, 4, arena);
	f->full_bytes = nh_col_int(rows, 5);
}

nh_rc nh_delta_sent_get(struct nh_ctx *ctx, int64_t device_id, struct nh_delta_file *out, struct nh_err *err)
{
	struct sent sent;
	*out = (struct nh_delta_file){0};
	NH_TRY(sent_of(ctx, device_id, &sent, err));
	if (sent.delta_id == 0)
		return NH_OK;
	nh_rc rc = nh_one_row(ctx->tx, ctx->arena, &nh_q_delta_file, NH_PARAMS(nh_p_int(sent.delta_id)), read_file, out, "delta", err);
	if (rc == NH_OK)
		out->id = sent.delta_id;
	return rc == NH_ENOTFOUND ? NH_OK : rc;
}

nh_rc nh_delta_blame(struct nh_ctx *ctx, int64_t device_id, struct nh_err *err)
{
	struct sent sent;
	NH_TRY(sent_of(ctx, device_id, &sent, err));
	return sent.by_delta ? nh_sql_exec(ctx->tx, &nh_q_device_delta_failed, NH_PARAMS(nh_p_bool(true), nh_p_int(device_id)), NULL, err) : NH_OK;
}

/* ---- what it took ---------------------------------------------------------------------------------------------------------- */

/* A firmware that nobody knows took nobody knows how much. */
static nh_rc full_size(struct nh_ctx *ctx, int64_t product_id, nh_slice uuid, int64_t *bytes, struct nh_err *err)
{
	*bytes = 0;
	nh_rc rc = nh_query_id(ctx->tx, &nh_q_firmware_size_by_uuid, NH_PARAMS(nh_p_int(product_id), nh_p_text(uuid)), bytes, err);
	return rc == NH_ENOTFOUND ? NH_OK : rc;
}

/* Of the device's group, where that is what the group wants. */
static nh_rc crediting_group(struct nh_ctx *ctx, const struct nh_device_facts *before, nh_slice new_uuid, int64_t *group_id, struct nh_err *err)
{
	struct nh_group group;
	*group_id = 0;
	if (!before->group_id)
		return NH_OK;
	NH_TRY(nh_group_get_by_id(ctx, before->group_id, &group, err));
	*group_id = nh_slice_eq(group.release.firmware_uuid, new_uuid) ? group.id : 0;
	return NH_OK;
}

nh_rc nh_update_counted(struct nh_ctx *ctx, const struct nh_device_facts *before, nh_slice new_uuid, struct nh_err *err)
{
	struct nh_inflight row = {0};
	struct sent sent = {0};
	int64_t group_id;
	if (before->inflight) {
		NH_TRY(nh_inflight_get(ctx, before->id, &row, err));
		NH_TRY(sent_of(ctx, before->id, &sent, err));
	}
	NH_TRY(crediting_group(ctx, before, new_uuid, &group_id, err));
	bool expected = nh_slice_eq(row.firmware_uuid, new_uuid), by_delta = expected && sent.by_delta;
	if (!by_delta) {
		sent.saved = 0;
		NH_TRY(full_size(ctx, before->product_id, new_uuid, &sent.bytes, err));
	}
	struct nh_param type = nh_p_str(by_delta ? "fwup_delta" : "fwup_full");
	NH_TRY(nh_sql_exec(ctx->tx, &nh_q_update_stat_add,
	                   NH_PARAMS(nh_p_int(before->product_id), nh_p_int(before->id), nh_p_ref(group_id), type,
	                             before->firmware_uuid.len ? nh_p_text(before->firmware_uuid) : nh_p_null(), nh_p_text(new_uuid), nh_p_int(sent.bytes), nh_p_int(sent.saved),
	                             nh_p_int(nh_ctx_now(ctx)), nh_p_ref(expected ? row.inserted_at_us : 0)),
	                   NULL, err));
	NH_TRY(nh_sql_exec(ctx->tx, &nh_q_device_delta_failed, NH_PARAMS(nh_p_bool(false), nh_p_int(before->id)), NULL, err));
	if (before->firmware_uuid.len == 0)
		return NH_OK; /* the first that is heard of it: nobody sent anything */
	return nh_sql_exec(ctx->tx, &nh_q_update_total_add, NH_PARAMS(nh_p_int(before->product_id), nh_p_int(group_id), nh_p_text(new_uuid), type, nh_p_int(sent.bytes), nh_p_int(sent.saved)),
	                   NULL, err);
}

static void read_totals(const struct nh_rows *rows, struct nh_arena *arena, void *item)
{
	*(struct nh_update_totals *)item = (struct nh_update_totals){nh_col_int(rows, 0), nh_col_int(rows, 1), nh_col_int(rows, 2), nh_col_int(rows, 3), nh_col_int(rows, 4)};
}

nh_rc nh_update_totals_read(struct nh_ctx *ctx, const struct nh_actor *actor, const struct nh_product *product, int64_t group_id, nh_slice firmware_uuid, struct nh_update_totals *out,
                            struct nh_err *err)
{
	struct nh_param id = nh_p_int(product->id);
	NH_TRY(nh_may(ctx, actor, product->org_id, NH_MAY_FIRMWARE_SEE, err));
	if (group_id)
		return nh_one_row(ctx->tx, ctx->arena, &nh_q_update_totals_group, NH_PARAMS(id, nh_p_int(group_id)), read_totals, out, "sum", err);
	if (firmware_uuid.len > 0)
		return nh_one_row(ctx->tx, ctx->arena, &nh_q_update_totals_firmware, NH_PARAMS(id, nh_p_text(firmware_uuid)), read_totals, out, "sum", err);
	return nh_one_row(ctx->tx, ctx->arena, &nh_q_update_totals_product, NH_PARAMS(id), read_totals, out, "sum", err);
}
