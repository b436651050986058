/*
 * What a device's words about an update mean: stages, failures, success, coming back without it.
 *
 * A failure leaves three traces: an audit entry, the reason on the device's row, and (for a group's update) the penalty. A detected automatic
 * revert counts as a reported failure, since nothing else would tell people why the device is on its old version.
 * source: reference/server-behaviour "3.9", "2.5"; reference/device-protocol "10"
 */
#include "hub/audit.h"
#include "hub/rollouts.h"
#include "hub/deltas.h"
#include "events_int.h"
#include "rollout_int.h"
#include "rows_int.h"
#include "store/rollout.h"

#define PROGRESS_WRITE_US (15 * NH_US_PER_S)

static const char *const stage_names[] = {
	[NH_STAGE_NONE] = "",           [NH_STAGE_REQUESTED] = "requested",     [NH_STAGE_RESCHEDULED] = "rescheduled",
	[NH_STAGE_IGNORED] = "ignored", [NH_STAGE_RECEIVED] = "received",       [NH_STAGE_STARTED] = "started",
	[NH_STAGE_DOWNLOADING] = "downloading", [NH_STAGE_UPDATING] = "updating", [NH_STAGE_COMPLETED] = "completed",
	[NH_STAGE_FAILED] = "failed",
};

const char *nh_update_stage_name(nh_update_stage stage)
{
	return stage_names[stage];
}

nh_update_stage nh_update_stage_parse(nh_slice name)
{
	for (size_t i = 1; i < NH_ARRAY_LEN(stage_names); i++) {
		if (nh_slice_eq_str(name, stage_names[i]))
			return (nh_update_stage)i;
	}
	return NH_STAGE_NONE;
}

static void read_inflight(const struct nh_rows *rows, struct nh_arena *arena, void *item)
{
	*(struct nh_inflight *)item = (struct nh_inflight){
		.group_id = nh_col_int(rows, 0),
		.firmware_id = nh_col_int(rows, 1),
		.firmware_uuid = nh_col_text(rows, 2, arena),
		.stage = nh_update_stage_parse(nh_col_text(rows, 3, arena)),
		.progress = nh_col_null(rows, 4) ? -1 : nh_col_int(rows, 4),
		.priority = nh_col_bool(rows, 5),
		.inserted_at_us = nh_col_int(rows, 6),
		.updated_at_us = nh_col_int(rows, 7),
	};
}

nh_rc nh_inflight_get(struct nh_ctx *ctx, int64_t device_id, struct nh_inflight *out, struct nh_err *err)
{
	return nh_one_row(ctx->tx, ctx->arena, &nh_q_inflight_get, NH_PARAMS(nh_p_int(device_id)), read_inflight, out, "update in flight", err);
}

static nh_rc delete_row(struct nh_ctx *ctx, int64_t device_id, struct nh_err *err)
{
	return nh_sql_exec(ctx->tx, &nh_q_inflight_delete, NH_PARAMS(nh_p_int(device_id)), NULL, err);
}

/* ---- failure --------------------------------------------------------------------------------------------------------------- */

/* How long a group's device is blocked after a failure; 0 for updates without a group, which people repeat themselves. */
static nh_rc penalty_minutes(struct nh_ctx *ctx, int64_t group_id, struct nh_group *group, struct nh_err *err)
{
	*group = (struct nh_group){0};
	return group_id ? nh_group_get_by_id(ctx, group_id, group, err) : NH_OK;
}

static nh_rc block_for(struct nh_ctx *ctx, const struct nh_device_facts *d, int64_t duration_us, struct nh_err *err)
{
	return nh_device_write(ctx, &nh_q_device_set_blocked, nh_p_int(nh_ctx_now(ctx) + duration_us), d->id, err);
}

static nh_rc note_failure(struct nh_ctx *ctx, const struct nh_device_facts *d, nh_slice reason, struct nh_err *err)
{
	return nh_sql_exec(ctx->tx, &nh_q_device_set_failure, NH_PARAMS(nh_p_text(reason), nh_p_int(nh_ctx_now(ctx)), nh_p_int(d->id)), NULL, err);
}

/* what: "failed" or "was ignored". Row gone, reason kept, group's device blocked. */
static nh_rc fail_update(struct nh_ctx *ctx, const struct nh_device_facts *d, const struct nh_inflight *row, nh_event_kind kind, const char *what, nh_slice given, struct nh_err *err)
{
	struct nh_group group;
	int64_t group_id = row->group_id;
	nh_slice reason = nh_audit_reason(ctx->arena, given);
	if (reason.len == 0)
		reason = NH_LIT("no reason given");
	NH_TRY(penalty_minutes(ctx, group_id, &group, err));
	NH_TRY(delete_row(ctx, d->id, err));
	NH_TRY(note_failure(ctx, d, reason, err));
	NH_TRY(nh_event_of_update(ctx, kind, d, group_id, row->firmware_uuid, NH_SLICE_EMPTY, reason, err));
	nh_wake_group(ctx, group_id);
	if (!group_id) {
		struct nh_actor actor = nh_device_actor(d);
		return nh_audit_add(ctx, &actor, d->org_id, NH_AUDIT_DEVICE, d->id, err, "Update of device %.*s %s: \"%.*s\"", NH_ARG(d->identifier), what,
		                    NH_ARG(reason));
	}
	struct nh_actor actor = nh_group_actor(&group);
	NH_TRY(block_for(ctx, d, group.penalty_minutes * 60 * NH_US_PER_S, err));
	return nh_audit_add(ctx, &actor, d->org_id, NH_AUDIT_DEVICE, d->id, err,
	                    "Update of device %.*s %s: \"%.*s\"; no update is offered for %lld minutes", NH_ARG(d->identifier), what, NH_ARG(reason),
	                    (long long)group.penalty_minutes);
}

static nh_rc reschedule(struct nh_ctx *ctx, const struct nh_device_facts *d, int64_t group_id, const struct nh_update_report *report, struct nh_err *err)
{
	nh_slice reason = nh_audit_reason(ctx->arena, report->reason);
	struct nh_actor actor = nh_device_actor(d);
	NH_TRY(delete_row(ctx, d->id, err));
	nh_wake_group(ctx, group_id);
	if (group_id)
		NH_TRY(block_for(ctx, d, report->delay_ms * NH_US_PER_MS, err));
	return nh_audit_add(ctx, &actor, d->org_id, NH_AUDIT_DEVICE, d->id, err, "Device %.*s put its update off by %lld s%s: \"%.*s\"",
	                    NH_ARG(d->identifier), (long long)(report->delay_ms / 1000), group_id ? "" : "; it will not be sent again by itself",
	                    NH_ARG(reason));
}

/* ---- reports ---------------------------------------------------------------------------------------------------------------- */

static nh_rc count_attempt(struct nh_ctx *ctx, const struct nh_device_facts *d, struct nh_err *err)
{
	NH_AUTO_JSON json_t *list = json_array();
	size_t first = d->attempt_count == NH_UPDATE_ATTEMPTS_MAX ? 1 : 0;
	for (size_t i = first; i < d->attempt_count; i++)
		json_array_append_new(list, json_integer(d->attempts[i]));
	json_array_append_new(list, json_integer(nh_ctx_now(ctx)));
	return nh_device_write(ctx, &nh_q_device_set_attempts, nh_p_text(nh_json_arena(ctx->arena, list)), d->id, err);
}

static nh_rc set_stage(struct nh_ctx *ctx, const struct nh_device_facts *d, const struct nh_inflight *row, const struct nh_update_report *report,
                       struct nh_err *err)
{
	bool moving = report->stage == NH_STAGE_DOWNLOADING || report->stage == NH_STAGE_UPDATING;
	if (moving && row->stage == report->stage && report->progress < 100 && nh_ctx_now(ctx) - row->updated_at_us < PROGRESS_WRITE_US)
		return NH_OK; /* shown to whoever looks, not written each time */
	struct nh_param progress = moving && report->progress >= 0 ? nh_p_int(report->progress) : nh_p_null();
	return nh_sql_exec(ctx->tx, &nh_q_inflight_set,
	                   NH_PARAMS(nh_p_str(stage_names[report->stage]), progress, nh_p_int(nh_ctx_now(ctx)), nh_p_int(d->id)), NULL, err);
}

nh_rc nh_update_report(struct nh_ctx *ctx, int64_t device_id, const struct nh_update_report *report, struct nh_err *err)
{
	struct nh_device_facts d;
	struct nh_inflight row = {.stage = NH_STAGE_REQUESTED, .progress = -1};
	if (report->stage == NH_STAGE_NONE || report->stage == NH_STAGE_REQUESTED)
		return NH_OK;
	NH_TRY(nh_device_facts_load(ctx, device_id, &d, err));
	/*
	 * Nobody sent it an update, or not any more. Link from 2.11 on says "started" for archives, too: a row for that would keep updates away, and count as an
	 * attempt. What failed people want to know all the same. source: reference/device-protocol "17.3" 10
	 */
	if (!d.inflight)
		return report->stage == NH_STAGE_FAILED ? note_failure(ctx, &d, nh_audit_reason(ctx->arena, report->reason), err) : NH_OK;
	NH_TRY(nh_inflight_get(ctx, device_id, &row, err));
	/* A device that puts the update off, or declines it, tried nothing: three postponements are no reason for the penalty box. */
	if (row.stage == NH_STAGE_REQUESTED && report->stage != NH_STAGE_IGNORED && report->stage != NH_STAGE_RESCHEDULED) {
		NH_TRY(count_attempt(ctx, &d, err));
		NH_TRY(nh_rollout_began(ctx, &d, row.group_id, row.firmware_id, err));
	}
	nh_device_topic(ctx, device_id);

	switch (report->stage) {
	case NH_STAGE_FAILED:
		NH_TRY(nh_delta_blame(ctx, device_id, err));
		NH_TRY(fail_update(ctx, &d, &row, NH_EVENT_UPDATE_FAILED, "failed", report->reason, err));
		return nh_rollout_failed(ctx, &d, NH_SIGNAL_INSTALL, err);
	case NH_STAGE_COMPLETED:
		NH_TRY(nh_rollout_installed(ctx, &d, err));
		break;
	case NH_STAGE_IGNORED:
		return fail_update(ctx, &d, &row, NH_EVENT_UPDATE_FAILED, "was ignored", report->reason, err);
	case NH_STAGE_RESCHEDULED:
		return reschedule(ctx, &d, row.group_id, report, err);
	default:
		break;
	}
	return set_stage(ctx, &d, &row, report, err);
}

/* ---- coming back ------------------------------------------------------------------------------------------------------------ */

nh_rc nh_update_succeeded(struct nh_ctx *ctx, const struct nh_device_facts *before, nh_slice new_uuid, nh_slice new_version, int64_t *took_us, struct nh_err *err)
{
	struct nh_actor actor = nh_device_actor(before);
	*took_us = 0;
	if (before->inflight) {
		if (before->inflight_group_id)
			NH_TRY(nh_sql_exec(ctx->tx, &nh_q_group_updated_add, NH_PARAMS(nh_p_int(before->inflight_group_id)), NULL, err));
		nh_wake_group(ctx, before->inflight_group_id);
	}
	if (before->inflight) {
		struct nh_inflight row;
		NH_TRY(nh_inflight_get(ctx, before->id, &row, err));
		*took_us = nh_ctx_now(ctx) > row.inserted_at_us && nh_slice_eq(row.firmware_uuid, new_uuid) ? nh_ctx_now(ctx) - row.inserted_at_us : 0;
		NH_TRY(nh_rollout_began(ctx, before, row.group_id, row.firmware_id, err)); /* polling devices say nothing on the way */
	}
	NH_TRY(nh_rollout_returned(ctx, before, new_uuid, err));
	NH_TRY(nh_update_counted(ctx, before, new_uuid, err));
	NH_TRY(delete_row(ctx, before->id, err));
	NH_TRY(nh_device_write(ctx, &nh_q_device_set_attempts, nh_p_str("[]"), before->id, err));
	NH_TRY(nh_device_write(ctx, &nh_q_device_set_blocked, nh_p_null(), before->id, err));
	NH_TRY(nh_sql_exec(ctx->tx, &nh_q_device_set_failure, NH_PARAMS(nh_p_null(), nh_p_null(), nh_p_int(before->id)), NULL, err));
	nh_device_topic(ctx, before->id);
	if (before->firmware_uuid.len > 0) /* else it is the first that is heard of it */
		NH_TRY(nh_event_of_update(ctx, NH_EVENT_UPDATE_SUCCEEDED, before, before->inflight_group_id, new_uuid, new_version, NH_SLICE_EMPTY, err));
	return nh_audit_add(ctx, &actor, before->org_id, NH_AUDIT_DEVICE, before->id, err, "Device %.*s now runs firmware %.*s (%.*s)",
	                    NH_ARG(before->identifier), NH_ARG(new_version), NH_ARG(new_uuid));
}

nh_rc nh_update_unheard(struct nh_ctx *ctx, const struct nh_device_facts *d, bool *yes, struct nh_err *err)
{
	struct nh_inflight row;
	*yes = false;
	if (!d->inflight || d->inflight_group_id)
		return NH_OK;
	NH_TRY(nh_inflight_get(ctx, d->id, &row, err));
	*yes = row.stage == NH_STAGE_REQUESTED && row.firmware_id != 0;
	return NH_OK;
}

nh_rc nh_update_abandoned(struct nh_ctx *ctx, const struct nh_device_facts *d, bool reverted, struct nh_err *err)
{
	if (!d->inflight)
		return NH_OK;
	struct nh_inflight row;
	NH_TRY(nh_inflight_get(ctx, d->id, &row, err));
	nh_device_topic(ctx, d->id);
	if (reverted || row.stage >= NH_STAGE_STARTED)
		NH_TRY(nh_delta_blame(ctx, d->id, err));
	if (reverted || row.stage == NH_STAGE_COMPLETED)
		NH_TRY(nh_rollout_failed(ctx, d, NH_SIGNAL_REVERT, err));
	if (reverted)
		return fail_update(ctx, d, &row, NH_EVENT_UPDATE_REVERTED, "failed", NH_LIT("the new firmware did not validate and the device reverted to its previous one"), err);
	/* It did not take the update along; it may have it again, and the attempts it reported still count. source: device-protocol "10" */
	nh_wake_group(ctx, row.group_id);
	if (row.stage == NH_STAGE_COMPLETED) {
		nh_slice reason = NH_LIT("the device reported the update as installed, but came back with its previous firmware");
		NH_TRY(note_failure(ctx, d, reason, err));
		NH_TRY(nh_event_of_update(ctx, NH_EVENT_UPDATE_REVERTED, d, row.group_id, row.firmware_uuid, NH_SLICE_EMPTY, reason, err));
	}
	return delete_row(ctx, d->id, err);
}
