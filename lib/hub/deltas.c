/*
 * Deltas and their states: which are asked for, how long a group waits, what builders report, what people do to them. Who is sent one: delta_updates.c.
 *
 * source: reference/server-behaviour "3.7", "4.4" to "4.6", "16.3" 10 to 14, 29
 */
#include "hub/deltas.h"

#include "base/encode.h"
#include "hub/audit.h"
#include "hub/jobs.h"
#include "input_int.h"
#include "intake_int.h"
#include "rollout_int.h"
#include "rows_int.h"
#include "store/deltas.h"
#include "store/foundation.h"

#define CLAIM_TTL_US (3600 * NH_US_PER_S)
#define ERROR_MAX_BYTES 500
#define EXPIRE_MAX 100

static const char *const status_names[] = {
	[NH_DELTA_PROCESSING] = "processing", [NH_DELTA_COMPLETED] = "completed", [NH_DELTA_FAILED] = "failed", [NH_DELTA_TIMED_OUT] = "timed_out",
};

const char *nh_delta_status_name(nh_delta_status status)
{
	NH_ASSERT((size_t)status < NH_ARRAY_LEN(status_names));
	return status_names[status];
}

static nh_delta_status status_of(nh_slice name)
{
	size_t i = 0;
	while (i + 1 < NH_ARRAY_LEN(status_names) && !nh_slice_eq_str(name, status_names[i]))
		i++;
	return (nh_delta_status)i;
}

static void read_delta(const struct nh_rows *rows, struct nh_arena *arena, void *item)
{
	*(struct nh_delta *)item = (struct nh_delta){
		.id = nh_col_int(rows, 0),
		.org_id = nh_col_int(rows, 1),
		.product_id = nh_col_int(rows, 2),
		.source_id = nh_col_int(rows, 3),
		.target_id = nh_col_int(rows, 4),
		.source_uuid = nh_col_text(rows, 5, arena),
		.source_version = nh_col_text(rows, 6, arena),
		.target_uuid = nh_col_text(rows, 7, arena),
		.target_version = nh_col_text(rows, 8, arena),
		.status = status_of(nh_col_text(rows, 9, arena)),
		.error = nh_col_text(rows, 10, arena),
		.tool = nh_col_text(rows, 11, arena),
		.tool_metadata = nh_col_text(rows, 12, arena),
		.required_version = nh_col_text(rows, 13, arena),
		.size_bytes = nh_col_int(rows, 14),
		.source_size_bytes = nh_col_int(rows, 15),
		.target_size_bytes = nh_col_int(rows, 16),
		.checksum = nh_col_text(rows, 17, arena),
		.partials_checksums = nh_col_text(rows, 18, arena),
		.object_key = nh_col_text(rows, 19, arena),
		.attempts = nh_col_int(rows, 20),
		.requested_at_us = nh_col_int(rows, 21),
		.started_at_us = nh_col_int(rows, 22),
		.finished_at_us = nh_col_int(rows, 23),
		.updated_at_us = nh_col_int(rows, 24),
		.source_key = nh_col_text(rows, 25, arena),
		.target_key = nh_col_text(rows, 26, arena),
		.source_file_bytes = nh_col_int(rows, 27),
		.target_file_bytes = nh_col_int(rows, 28),
	};
}

static nh_rc by_id(struct nh_ctx *ctx, int64_t id, struct nh_delta *out, struct nh_err *err)
{
	return nh_one_row(ctx->tx, ctx->arena, &nh_q_delta_by_id, NH_PARAMS(nh_p_int(id)), read_delta, out, "delta", err);
}

static void read_id(const struct nh_rows *rows, struct nh_arena *arena, void *item) { *(int64_t *)item = nh_col_int(rows, 0); }

/* Groups that release the target, and hold devices back for it, look again. */
static nh_rc wake_groups(struct nh_ctx *ctx, int64_t target_id, struct nh_err *err)
{
	struct nh_list list = NH_LIST_OF(ctx->arena, int64_t);
	NH_TRY(nh_list_rows(ctx->tx, &list, &nh_q_delta_groups, NH_PARAMS(nh_p_int(target_id)), read_id, err));
	for (size_t i = 0; i < list.count; i++)
		nh_wake_group(ctx, ((const int64_t *)list.items)[i]);
	return NH_OK;
}

static nh_rc add_job(struct nh_ctx *ctx, int64_t delta_id, struct nh_err *err)
{
	return nh_job_add(ctx, NH_DELTA_JOB, nh_slice_str(nh_arena_printf(ctx->arena, "%lld", (long long)delta_id)), NH_SLICE_EMPTY, 0, err);
}

/* *id 0: there is one already. */
static nh_rc insert(struct nh_ctx *ctx, int64_t org_id, int64_t product_id, int64_t source_id, int64_t target_id, int64_t *id, struct nh_err *err)
{
	*id = 0;
	nh_rc rc = nh_query_id(ctx->tx, &nh_q_delta_insert, NH_PARAMS(nh_p_int(org_id), nh_p_int(product_id), nh_p_int(source_id), nh_p_int(target_id), nh_p_int(nh_ctx_now(ctx))), id, err);
	if (rc == NH_ENOTFOUND)
		return NH_OK;
	NH_TRY(rc);
	return add_job(ctx, *id, err);
}

static nh_rc restart(struct nh_ctx *ctx, int64_t id, bool *restarted, struct nh_err *err)
{
	int64_t changed = 0;
	NH_TRY(nh_sql_exec(ctx->tx, &nh_q_delta_restart, NH_PARAMS(nh_p_int(nh_ctx_now(ctx)), nh_p_int(id)), &changed, err));
	*restarted = changed > 0;
	return changed ? add_job(ctx, id, err) : NH_OK;
}

/* ---- what people do -------------------------------------------------------------------------------------------------------- */

nh_rc nh_delta_list(struct nh_ctx *ctx, const struct nh_actor *actor, const struct nh_product *product, nh_slice target_uuid, struct nh_delta **out, size_t *count, struct nh_err *err)
{
	struct nh_firmware target;
	struct nh_list list = NH_LIST_OF(ctx->arena, struct nh_delta);
	NH_TRY(nh_firmware_open(ctx, actor, product, target_uuid, NH_MAY_DELTA_SEE, &target, err));
	NH_TRY(nh_list_rows(ctx->tx, &list, &nh_q_delta_list, NH_PARAMS(nh_p_int(target.id), nh_p_int(NH_DELTA_LIST_MAX)), read_delta, err));
	*out = list.items;
	*count = list.count;
	return NH_OK;
}

nh_rc nh_delta_open(struct nh_ctx *ctx, const struct nh_actor *actor, const struct nh_product *product, nh_slice target_uuid, nh_slice source_uuid, nh_action action, struct nh_delta *out,
                    struct nh_err *err)
{
	struct nh_firmware target;
	NH_TRY(nh_firmware_open(ctx, actor, product, target_uuid, action, &target, err));
	if (!nh_input_text_ok(source_uuid, NH_NAME_MAX_BYTES))
		return NH_FAIL(err, NH_ENOTFOUND, "no such delta");
	return nh_one_row(ctx->tx, ctx->arena, &nh_q_delta_by_pair, NH_PARAMS(nh_p_int(target.id), nh_p_text(source_uuid)), read_delta, out, "delta", err);
}

static nh_rc judge_pair(struct nh_ctx *ctx, const struct nh_actor *actor, const struct nh_product *product, const struct nh_firmware *target, nh_slice source_uuid, struct nh_firmware *source,
                        json_t **errors, struct nh_err *err)
{
	if (source_uuid.len == 0)
		return nh_refuse(errors, err, NH_EINVAL, "source", "can't be blank");
	nh_rc rc = nh_firmware_open(ctx, actor, product, source_uuid, NH_MAY_FIRMWARE_SEE, source, err);
	if (rc == NH_ENOTFOUND)
		return nh_refuse(errors, err, NH_EINVAL, "source", "is no firmware of this product");
	NH_TRY(rc);
	if (source->id == target->id)
		return nh_refuse(errors, err, NH_EINVAL, "source", "is the target itself");
	if (!nh_slice_eq(source->platform, target->platform) || !nh_slice_eq(source->architecture, target->architecture))
		return nh_refuse(errors, err, NH_EINVAL, "source", "is for another platform or architecture");
	if (!target->delta_updatable)
		return nh_refuse(errors, err, NH_EINVAL, "target", "has no task that says where old data is (delta-source-raw-offset, delta-source-fat-path)");
	return NH_OK;
}

nh_rc nh_delta_create(struct nh_ctx *ctx, const struct nh_actor *actor, const struct nh_product *product, nh_slice target_uuid, nh_slice source_uuid, struct nh_delta *out, json_t **errors,
                      struct nh_err *err)
{
	struct nh_firmware source, target;
	int64_t id = 0;
	NH_TRY(nh_firmware_open(ctx, actor, product, target_uuid, NH_MAY_DELTA_BUILD, &target, err));
	NH_TRY(judge_pair(ctx, actor, product, &target, source_uuid, &source, errors, err));
	NH_TRY(insert(ctx, product->org_id, product->id, source.id, target.id, &id, err));
	if (id == 0)
		return nh_refuse(errors, err, NH_EINVAL, "source", "has already been taken");
	NH_TRY(nh_audit_add(ctx, actor, product->org_id, NH_AUDIT_FIRMWARE, target.id, err, "%.*s asked for a delta from firmware %.*s (%.*s) to %.*s (%.*s)", NH_ARG(actor->name),
	                    NH_ARG(source.version), NH_ARG(source.uuid), NH_ARG(target.version), NH_ARG(target.uuid)));
	return by_id(ctx, id, out, err);
}

nh_rc nh_delta_retry(struct nh_ctx *ctx, const struct nh_actor *actor, const struct nh_product *product, nh_slice target_uuid, nh_slice source_uuid, struct nh_delta *out, json_t **errors,
                     struct nh_err *err)
{
	bool restarted = false;
	NH_TRY(nh_delta_open(ctx, actor, product, target_uuid, source_uuid, NH_MAY_DELTA_BUILD, out, err));
	NH_TRY(restart(ctx, out->id, &restarted, err));
	if (!restarted)
		return nh_refuse(errors, err, NH_EINVAL, "status", "is %s; only what failed can be tried again", nh_delta_status_name(out->status));
	NH_TRY(nh_audit_add(ctx, actor, product->org_id, NH_AUDIT_FIRMWARE, out->target_id, err, "%.*s asked again for the delta from firmware %.*s (%.*s) to %.*s (%.*s)",
	                    NH_ARG(actor->name), NH_ARG(out->source_version), NH_ARG(out->source_uuid), NH_ARG(out->target_version), NH_ARG(out->target_uuid)));
	return by_id(ctx, out->id, out, err);
}

static nh_rc discard(struct nh_ctx *ctx, int64_t id, nh_slice object_key, struct nh_err *err)
{
	NH_TRY(nh_sql_exec(ctx->tx, &nh_q_delta_delete, NH_PARAMS(nh_p_int(id)), NULL, err));
	return object_key.len ? nh_intake_discard(ctx, id, object_key, err) : NH_OK;
}

nh_rc nh_delta_delete(struct nh_ctx *ctx, const struct nh_actor *actor, const struct nh_product *product, nh_slice target_uuid, nh_slice source_uuid, struct nh_err *err)
{
	struct nh_delta d;
	NH_TRY(nh_delta_open(ctx, actor, product, target_uuid, source_uuid, NH_MAY_DELTA_DELETE, &d, err));
	NH_TRY(discard(ctx, d.id, d.object_key, err));
	return nh_audit_add(ctx, actor, product->org_id, NH_AUDIT_FIRMWARE, d.target_id, err, "%.*s deleted the delta from firmware %.*s (%.*s) to %.*s (%.*s)", NH_ARG(actor->name),
	                    NH_ARG(d.source_version), NH_ARG(d.source_uuid), NH_ARG(d.target_version), NH_ARG(d.target_uuid));
}

struct named_object {
	int64_t id;
	nh_slice key;
};

static void read_named(const struct nh_rows *rows, struct nh_arena *arena, void *item)
{
	*(struct named_object *)item = (struct named_object){nh_col_int(rows, 0), nh_col_text(rows, 1, arena)};
}

nh_rc nh_deltas_discard(struct nh_ctx *ctx, int64_t firmware_id, struct nh_err *err)
{
	struct nh_list list = NH_LIST_OF(ctx->arena, struct named_object);
	NH_TRY(nh_list_rows(ctx->tx, &list, &nh_q_delta_of_firmware, NH_PARAMS(nh_p_int(firmware_id)), read_named, err));
	const struct named_object *items = list.items;
	for (size_t i = 0; i < list.count; i++)
		NH_TRY(discard(ctx, items[i].id, items[i].key, err));
	return NH_OK;
}

/* ---- groups ---------------------------------------------------------------------------------------------------------------- */

/* What is known of one source of a group. */
struct wanted {
	int64_t source_id;        /* 0: not of this product */
	bool enabled;             /* for group and target */
	int64_t delta_id;         /* 0: none */
	nh_delta_status status;
	int64_t requested_at_us, wait_us;
};

static void read_wanted(const struct nh_rows *rows, struct nh_arena *arena, void *item)
{
	*(struct wanted *)item = (struct wanted){
		.source_id = nh_col_int(rows, 0),
		.enabled = nh_col_bool(rows, 1),
		.delta_id = nh_col_int(rows, 2),
		.status = status_of(nh_col_text(rows, 3, arena)),
		.requested_at_us = nh_col_int(rows, 4),
		.wait_us = nh_col_int(rows, 5) * 60 * NH_US_PER_S,
	};
}

/* Whether a delta from there is of use at all; then *w is filled in. */
static nh_rc look(struct nh_ctx *ctx, const struct nh_group *group, nh_slice source_uuid, struct wanted *w, bool *useful, struct nh_err *err)
{
	*useful = false;
	if (!group->delta_updatable || !group->release.firmware_id || source_uuid.len == 0 || nh_slice_eq(source_uuid, group->release.firmware_uuid))
		return NH_OK;
	NH_TRY(nh_one_row(ctx->tx, ctx->arena, &nh_q_delta_wanted, NH_PARAMS(nh_p_int(group->id), nh_p_text(source_uuid), nh_p_int(group->release.firmware_id)), read_wanted, w, "group", err));
	*useful = w->enabled && w->source_id;
	return NH_OK;
}

nh_rc nh_delta_wait(struct nh_ctx *ctx, const struct nh_group *group, nh_slice source_uuid, bool request, int64_t *until_us, struct nh_err *err)
{
	struct wanted w;
	bool useful;
	int64_t now = nh_ctx_now(ctx), id = 0;
	*until_us = 0;
	NH_TRY(look(ctx, group, source_uuid, &w, &useful, err));
	if (!useful || (w.delta_id && w.status != NH_DELTA_PROCESSING))
		return NH_OK;
	if (!w.delta_id) {
		w.requested_at_us = now;
		if (request)
			NH_TRY(insert(ctx, group->org_id, group->product_id, w.source_id, group->release.firmware_id, &id, err));
	}
	/* A request from the future was dated by a clock that was set back since: nobody waits for that. */
	if (w.requested_at_us <= now && w.requested_at_us + w.wait_us > now)
		*until_us = w.requested_at_us + w.wait_us;
	return NH_OK;
}

/* Another release, or the group's return to life, is a reason to try once more what failed. */
static nh_rc request_one(struct nh_ctx *ctx, const struct nh_group *group, nh_slice source_uuid, size_t *count, struct nh_err *err)
{
	struct wanted w;
	bool useful, restarted = false;
	int64_t id = 0;
	NH_TRY(look(ctx, group, source_uuid, &w, &useful, err));
	if (!useful)
		return NH_OK;
	if (!w.delta_id)
		NH_TRY(insert(ctx, group->org_id, group->product_id, w.source_id, group->release.firmware_id, &id, err));
	else if (w.status == NH_DELTA_FAILED || w.status == NH_DELTA_TIMED_OUT)
		NH_TRY(restart(ctx, w.delta_id, &restarted, err));
	*count += id != 0 || restarted;
	return NH_OK;
}

nh_rc nh_deltas_request(struct nh_ctx *ctx, const struct nh_group *group, size_t *count, struct nh_err *err)
{
	nh_slice source = NH_LIT("");
	size_t asked = 0;
	for (size_t i = 0; group->delta_updatable && group->is_active && i < NH_DELTA_SOURCES_MAX; i++) {
		struct nh_rows *rows = NULL;
		NH_TRY(nh_sql_one(ctx->tx, &nh_q_delta_source_next, NH_PARAMS(nh_p_int(group->id), nh_p_text(source)), &rows, err));
		source = nh_col_text(rows, 0, ctx->arena);
		nh_sql_end(rows);
		if (!source.ptr)
			break;
		NH_TRY(request_one(ctx, group, source, &asked, err));
	}
	if (count)
		*count = asked;
	return NH_OK;
}

/* ---- builders -------------------------------------------------------------------------------------------------------------- */

nh_rc nh_delta_begin(struct nh_ctx *ctx, int64_t delta_id, struct nh_delta *out, struct nh_err *err)
{
	int64_t changed = 0;
	NH_TRY(nh_sql_exec(ctx->tx, &nh_q_delta_start, NH_PARAMS(nh_p_int(nh_ctx_now(ctx)), nh_p_int(delta_id)), &changed, err));
	return changed ? by_id(ctx, delta_id, out, err) : NH_FAIL(err, NH_ENOTFOUND, "nobody waits for the delta any more");
}

nh_rc nh_delta_claim(struct nh_ctx *ctx, const struct nh_delta *d, nh_slice *object_key, struct nh_err *err)
{
	/* Unique per build: one that is thrown away must not take another's object along. */
	*object_key = nh_slice_str(nh_arena_printf(ctx->arena, "firmware/%lld/%lld/%.*s/%.*s-%08llx.delta.fw", (long long)d->org_id, (long long)d->product_id, NH_ARG(d->source_uuid),
	                                           NH_ARG(d->target_uuid), (unsigned long long)nh_rng_below(ctx->rng, UINT64_C(1) << 32)));
	return nh_sql_exec(ctx->tx, &nh_q_loose_put, NH_PARAMS(nh_p_text(*object_key), nh_p_int(nh_ctx_now(ctx) + CLAIM_TTL_US), nh_p_text(nh_ctx_node(ctx))), NULL, err);
}

nh_rc nh_delta_publish(struct nh_ctx *ctx, const struct nh_delta *d, const struct nh_delta_built *built, struct nh_err *err)
{
	int64_t changed = 0;
	NH_TRY(nh_sql_exec(ctx->tx, &nh_q_delta_complete,
	                   NH_PARAMS(nh_p_str("fwup"), nh_p_text(built->tool_metadata), nh_p_text(built->required_version), nh_p_text(built->object_key), nh_p_int(built->size_bytes),
	                             nh_p_int(d->source_file_bytes), nh_p_int(d->target_file_bytes), nh_p_text(built->checksum), nh_p_text(built->partials), nh_p_int(nh_ctx_now(ctx)),
	                             nh_p_int(d->id)),
	                   &changed, err));
	if (!changed)
		return NH_FAIL(err, NH_ENOTFOUND, "nobody waits for the delta any more");
	NH_TRY(nh_intake_settle(ctx, built->object_key, err));
	return wake_groups(ctx, d->target_id, err);
}

nh_rc nh_delta_give_up(struct nh_ctx *ctx, int64_t delta_id, nh_delta_status status, nh_slice why, struct nh_err *err)
{
	static const struct nh_actor builder = {NH_ACTOR_SYSTEM, 0, {(const uint8_t *)"delta builder", 13}};
	struct nh_delta d;
	int64_t changed = 0;
	nh_slice text = nh_text_cut(ctx->arena, nh_audit_reason(ctx->arena, why), ERROR_MAX_BYTES);
	NH_ASSERT(status == NH_DELTA_FAILED || status == NH_DELTA_TIMED_OUT);
	NH_TRY(nh_sql_exec(ctx->tx, &nh_q_delta_fail, NH_PARAMS(nh_p_str(status_names[status]), nh_p_text(text), nh_p_int(nh_ctx_now(ctx)), nh_p_int(delta_id)), &changed, err));
	if (!changed)
		return NH_OK;
	NH_TRY(by_id(ctx, delta_id, &d, err));
	NH_TRY(wake_groups(ctx, d.target_id, err));
	return nh_audit_add(ctx, &builder, d.org_id, NH_AUDIT_FIRMWARE, d.target_id, err, "No delta from firmware %.*s (%.*s) to %.*s (%.*s): %.*s", NH_ARG(d.source_version),
	                    NH_ARG(d.source_uuid), NH_ARG(d.target_version), NH_ARG(d.target_uuid), NH_ARG(text));
}

nh_rc nh_deltas_expire(struct nh_ctx *ctx, int64_t started_before_us, size_t *count, struct nh_err *err)
{
	struct nh_list list = NH_LIST_OF(ctx->arena, int64_t);
	NH_TRY(nh_list_rows(ctx->tx, &list, &nh_q_delta_stale, NH_PARAMS(nh_p_int(started_before_us), nh_p_int(EXPIRE_MAX)), read_id, err));
	for (size_t i = 0; i < list.count; i++)
		NH_TRY(nh_delta_give_up(ctx, ((const int64_t *)list.items)[i], NH_DELTA_TIMED_OUT, NH_LIT("its build never ended"), err));
	*count = list.count;
	return NH_OK;
}
