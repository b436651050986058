/*
 * Deployment groups as rows: reading, showing, deleting; membership of devices. Which device belongs where is deployment_match.c's, input
 * deployment_input.c's.
 *
 * Invariant: a group's device_count is the number of its member devices; every change of devices.deployment_id goes through
 * nh_device_join_group. source: reference/server-behaviour "3.3" to "3.6"; reference/user-api-and-cli "13.1"
 */
#include "hub/audit.h"
#include "hub/permissions.h"
#include "hub/rollouts.h"
#include "rollout_int.h"
#include "rows_int.h"
#include "store/rollout.h"

#define TEXT_LIST_MAX 256
#define ROLLOUT_COLUMNS 10

/* ---- reading ------------------------------------------------------------------------------------------------------------ */

nh_slice nh_json_arena(struct nh_arena *arena, const json_t *value)
{
	NH_AUTO_BUF struct nh_buf text = NH_BUF_INIT;
	nh_json_put(&text, value);
	return nh_arena_copy(arena, nh_buf_slice(&text));
}

void nh_text_list_read(struct nh_arena *arena, nh_slice json, nh_slice **items, size_t *count)
{
	*items = NULL;
	*count = 0;
	NH_AUTO_JSON json_t *list = NULL;
	if (json.len <= 2 || nh_json_parse(json, (size_t)1 << 20, &list, NULL) != NH_OK)
		return;
	size_t size = json_array_size(list);
	if (size == 0)
		return;
	if (size > TEXT_LIST_MAX)
		size = TEXT_LIST_MAX;
	*items = NH_NEW_ARRAY(arena, size, nh_slice);
	for (size_t i = 0; i < size; i++) {
		const json_t *item = json_array_get(list, i);
		if (json_is_string(item))
			(*items)[(*count)++] = nh_arena_copy(arena, nh_slice_of(json_string_value(item), json_string_length(item)));
	}
}

void nh_release_read(const struct nh_rows *rows, int first, struct nh_arena *arena, struct nh_release *out)
{
	*out = (struct nh_release){
		.id = nh_col_int(rows, first),
		.number = nh_col_int(rows, first + 1),
		.firmware_id = nh_col_int(rows, first + 2),
		.archive_id = nh_col_int(rows, first + 3),
		.firmware_uuid = nh_col_text(rows, first + 4, arena),
		.firmware_version = nh_col_text(rows, first + 5, arena),
		.platform = nh_col_text(rows, first + 6, arena),
		.architecture = nh_col_text(rows, first + 7, arena),
		.description = nh_col_text(rows, first + 8, arena),
		.notes = nh_col_text(rows, first + 9, arena),
		.inserted_at_us = nh_col_int(rows, first + 10),
		.updated_at_us = nh_col_int(rows, first + 11),
		.archive_uuid = nh_col_text(rows, first + 12, arena),
	};
}

static nh_group_status status_of(nh_slice text)
{
	static const char *const names[] = {"ready", "preparing", "deltas_failed", "unknown_error"};
	for (size_t i = 0; i < NH_ARRAY_LEN(names); i++) {
		if (nh_slice_eq_str(text, names[i]))
			return (nh_group_status)i;
	}
	return NH_GROUP_UNKNOWN_ERROR;
}

/* What no one could have stored wrongly is not checked here; a zone that the system has lost is UTC. */
static void read_rollout(const struct nh_rows *rows, int first, struct nh_arena *arena, struct nh_rollout *out)
{
	if (nh_col_null(rows, first))
		return;
	*out = (struct nh_rollout){
		.release_id = nh_col_int(rows, first),
		.state = nh_rollout_state_parse(nh_col_text(rows, first + 1, arena)),
		.epoch = nh_col_int(rows, first + 2),
		.wave = nh_col_int(rows, first + 3),
		.waves = nh_col_int(rows, first + 4),
		.share = (uint64_t)nh_col_int(rows, first + 5),
		.named = nh_col_bool(rows, first + 6),
		.not_before_us = nh_col_int(rows, first + 7),
		.zone_name = nh_col_text(rows, first + 9, arena),
	};
	NH_AUTO_JSON json_t *windows = NULL;
	if (nh_json_parse(nh_col_text(rows, first + 8, arena), (size_t)1 << 16, &windows, NULL) == NH_OK)
		(void)nh_windows_read(windows, out->windows, &out->window_count);
	if (out->window_count > 0)
		(void)!nh_zone_find(out->zone_name, &out->zone, NULL);
}

void nh_group_read(const struct nh_rows *rows, struct nh_arena *arena, void *item)
{
	struct nh_group *g = item;
	*g = (struct nh_group){
		.id = nh_col_int(rows, 0),
		.org_id = nh_col_int(rows, 1),
		.product_id = nh_col_int(rows, 2),
		.name = nh_col_text(rows, 3, arena),
		.platform = nh_col_text(rows, 4, arena),
		.architecture = nh_col_text(rows, 5, arena),
		.condition_version = nh_col_text(rows, 6, arena),
		.tags_any = nh_slice_eq_str(nh_col_text(rows, 8, arena), "or"),
		.is_active = nh_col_bool(rows, 9),
		.delta_updatable = nh_col_bool(rows, 10),
		.lock_device_membership = nh_col_bool(rows, 11),
		.status = status_of(nh_col_text(rows, 12, arena)),
		.lifo = nh_slice_eq_str(nh_col_text(rows, 13, arena), "LIFO"),
		.concurrent_updates = nh_col_int(rows, 14),
		.priority_queue_enabled = nh_col_bool(rows, 15),
		.priority_queue_concurrent_updates = nh_col_int(rows, 16),
		.priority_queue_threshold = nh_col_text(rows, 17, arena),
		.failure_threshold_attempts = nh_col_int(rows, 20),
		.failure_rate_amount = nh_col_int(rows, 21),
		.failure_rate_seconds = nh_col_int(rows, 22),
		.group_failure_threshold = nh_col_int(rows, 23),
		.penalty_minutes = nh_col_int(rows, 24),
		.connecting_code = nh_col_text(rows, 25, arena),
		.notes = nh_col_text(rows, 26, arena),
		.updated_devices = nh_col_int(rows, 27),
		.device_count = nh_col_int(rows, 28),
		.inserted_at_us = nh_col_int(rows, 29),
		.updated_at_us = nh_col_int(rows, 30),
		.delta_wait_minutes = nh_col_int(rows, 31),
	};
	nh_text_list_read(arena, nh_col_text(rows, 7, arena), &g->condition_tags, &g->condition_tag_count);
	nh_text_list_read(arena, nh_col_text(rows, 18, arena), &g->release_interfaces, &g->release_interface_count);
	nh_text_list_read(arena, nh_col_text(rows, 19, arena), &g->release_tags, &g->release_tag_count);
	nh_release_read(rows, NH_GROUP_COLUMNS - ROLLOUT_COLUMNS - NH_RELEASE_COLUMNS, arena, &g->release);
	read_rollout(rows, NH_GROUP_COLUMNS - ROLLOUT_COLUMNS, arena, &g->rollout);
	g->release.group_id = g->id;
	g->release_count = g->release.number; /* releases are numbered from 1 and never deleted */
}

nh_rc nh_group_get(struct nh_ctx *ctx, int64_t product_id, nh_slice name, struct nh_group *out, struct nh_err *err)
{
	return nh_one_row(ctx->tx, ctx->arena, &nh_q_group_by_name, NH_PARAMS(nh_p_int(product_id), nh_p_text(name)), nh_group_read, out,
	                  "deployment group", err);
}

nh_rc nh_group_get_by_id(struct nh_ctx *ctx, int64_t group_id, struct nh_group *out, struct nh_err *err)
{
	return nh_one_row(ctx->tx, ctx->arena, &nh_q_group_by_id, NH_PARAMS(nh_p_int(group_id)), nh_group_read, out, "deployment group", err);
}

nh_rc nh_group_list(struct nh_ctx *ctx, int64_t product_id, struct nh_group **out, size_t *count, struct nh_err *err)
{
	struct nh_list list = NH_LIST_OF(ctx->arena, struct nh_group);
	NH_TRY(nh_list_rows(ctx->tx, &list, &nh_q_group_list, NH_PARAMS(nh_p_int(product_id)), nh_group_read, err));
	*out = list.items;
	*count = list.count;
	return NH_OK;
}

static void read_release(const struct nh_rows *rows, struct nh_arena *arena, void *item)
{
	struct nh_release *r = item;
	nh_release_read(rows, 0, arena, r);
	r->group_id = nh_col_int(rows, NH_RELEASE_COLUMNS);
}

nh_rc nh_release_list(struct nh_ctx *ctx, int64_t group_id, size_t limit, struct nh_release **out, size_t *count, struct nh_err *err)
{
	struct nh_list list = NH_LIST_OF(ctx->arena, struct nh_release);
	int64_t most = (int64_t)(limit < 1 ? 1 : limit > 500 ? 500 : limit);
	NH_TRY(nh_list_rows(ctx->tx, &list, &nh_q_release_list, NH_PARAMS(nh_p_int(group_id), nh_p_int(most)), read_release, err));
	*out = list.items;
	*count = list.count;
	return NH_OK;
}

/* ---- the API's object ---------------------------------------------------------------------------------------------------- */

/* "2026-01-02T03:04:05", UTC without a zone: releases are shown so. source: reference/user-api-and-cli "5" */
static json_t *zoneless(int64_t at_us)
{
	NH_AUTO_BUF struct nh_buf text = NH_BUF_INIT;
	nh_time_put_iso(&text, at_us);
	nh_slice iso = nh_buf_slice(&text);
	return nh_json_new_text(nh_slice_sub(iso, 0, iso.len ? iso.len - 1 : 0));
}

static json_t *text_array(const nh_slice *items, size_t count)
{
	json_t *list = json_array();
	for (size_t i = 0; i < count; i++)
		json_array_append_new(list, nh_json_new_text(items[i]));
	return list;
}

static json_t *release_json(const struct nh_release *r)
{
	return json_pack("{s:I, s:{s:o, s:o, s:o, s:o}, s:o, s:o}", "number", (json_int_t)r->number, "firmware", "version",
	                 nh_json_new_text(r->firmware_version), "architecture", nh_json_new_text(r->architecture), "platform",
	                 nh_json_new_text(r->platform), "uuid", nh_json_new_text(r->firmware_uuid), "inserted_at", zoneless(r->inserted_at_us),
	                 "updated_at", zoneless(r->updated_at_us));
}

json_t *nh_group_json(const struct nh_group *g)
{
	json_t *conditions = json_pack("{s:o, s:o, s:s}", "version", nh_json_new_text(g->condition_version.ptr ? g->condition_version : NH_LIT("")),
	                               "tags", text_array(g->condition_tags, g->condition_tag_count), "tag_operator", g->tags_any ? "or" : "and");
	return json_pack("{s:o, s:b, s:s, s:o, s:o, s:o, s:o, s:b, s:I, s:I, s:I, s:o}", "name", nh_json_new_text(g->name), "is_active", g->is_active, "state",
	                 g->is_active ? "on" : "off", "firmware_uuid", nh_json_new_text(g->release.firmware_uuid), "current_release",
	                 release_json(&g->release), "archive_uuid", nh_json_new_text(g->release.archive_uuid), "conditions", conditions, "delta_updatable", g->delta_updatable, "delta_wait_minutes", (json_int_t)g->delta_wait_minutes, "device_count",
	                 (json_int_t)g->device_count, "releases_count", (json_int_t)g->release_count, "notes", nh_json_new_text(g->notes));
}

/* ---- deleting ------------------------------------------------------------------------------------------------------------ */

nh_rc nh_group_delete(struct nh_ctx *ctx, const struct nh_actor *actor, const struct nh_group *group, struct nh_err *err)
{
	int64_t changed = 0;
	NH_TRY(nh_may(ctx, actor, group->org_id, NH_MAY_GROUP_DELETE, err));
	NH_TRY(nh_sql_exec(ctx->tx, &nh_q_group_delete, NH_PARAMS(nh_p_int(group->id)), &changed, err));
	if (!changed)
		return NH_FAIL(err, NH_ENOTFOUND, "no such deployment group");
	nh_effect_add(ctx, NH_EFFECT_TOPIC, group->id, NH_LIT("deployment"), NH_SLICE_EMPTY);
	return nh_audit_add(ctx, actor, group->org_id, NH_AUDIT_GROUP, group->id, err, "%.*s deleted deployment group %.*s", NH_ARG(actor->name),
	                    NH_ARG(group->name));
}

/* ---- membership ---------------------------------------------------------------------------------------------------------- */

nh_rc nh_device_join_group(struct nh_ctx *ctx, int64_t device_id, int64_t old_group_id, int64_t group_id, struct nh_err *err)
{
	if (old_group_id == group_id)
		return NH_OK;
	NH_TRY(nh_sql_exec(ctx->tx, &nh_q_device_set_group, NH_PARAMS(nh_p_ref(group_id), nh_p_int(nh_ctx_now(ctx)), nh_p_int(device_id)), NULL, err));
	if (old_group_id)
		NH_TRY(nh_sql_exec(ctx->tx, &nh_q_group_count_add, NH_PARAMS(nh_p_int(-1), nh_p_int(old_group_id)), NULL, err));
	if (group_id)
		NH_TRY(nh_sql_exec(ctx->tx, &nh_q_group_count_add, NH_PARAMS(nh_p_int(1), nh_p_int(group_id)), NULL, err));
	nh_wake_group(ctx, group_id);
	return NH_OK;
}

static struct nh_match_device match_of(const struct nh_device_facts *d)
{
	return (struct nh_match_device){d->firmware_version, d->platform, d->architecture, d->tags, d->tag_count};
}

static nh_rc leave_if_unfit(struct nh_ctx *ctx, struct nh_device_facts *d, const struct nh_match_device *device, struct nh_err *err)
{
	struct nh_group group;
	NH_TRY(nh_group_get_by_id(ctx, d->group_id, &group, err));
	nh_mismatch why = nh_group_keep(&group, device);
	if (why == NH_MATCH_OK)
		return NH_OK;
	struct nh_actor actor = nh_device_actor(d);
	NH_TRY(nh_device_join_group(ctx, d->id, d->group_id, 0, err));
	d->group_id = 0;
	return nh_audit_add(ctx, &actor, d->org_id, NH_AUDIT_GROUP, group.id, err, "Device %.*s left deployment group %.*s: %s", NH_ARG(d->identifier),
	                    NH_ARG(group.name), nh_mismatch_text(why));
}

nh_rc nh_group_verify_device(struct nh_ctx *ctx, struct nh_device_facts *d, struct nh_err *err)
{
	if (d->firmware_uuid.len == 0)
		return NH_OK;
	struct nh_match_device device = match_of(d);
	if (d->group_id)
		NH_TRY(leave_if_unfit(ctx, d, &device, err));
	if (d->group_id)
		return NH_OK;

	struct nh_list list = NH_LIST_OF(ctx->arena, struct nh_group);
	NH_TRY(nh_list_rows(ctx->tx, &list, &nh_q_group_candidates, NH_PARAMS(nh_p_int(d->product_id), nh_p_text(d->platform), nh_p_text(d->architecture)),
	                    nh_group_read, err));
	size_t matches = 0;
	const struct nh_group *groups = list.items;
	ptrdiff_t best = nh_group_choose(groups, list.count, &device, &matches);
	if (best < 0)
		return NH_OK;
	struct nh_actor actor = nh_device_actor(d);
	NH_TRY(nh_device_join_group(ctx, d->id, 0, groups[best].id, err));
	d->group_id = groups[best].id;
	return nh_audit_add(ctx, &actor, d->org_id, NH_AUDIT_DEVICE, d->id, err, "Device %.*s joined deployment group %.*s%s", NH_ARG(d->identifier),
	                    NH_ARG(groups[best].name), matches > 1 ? ", the best of several that match" : "");
}

nh_rc nh_group_assign(struct nh_ctx *ctx, const struct nh_actor *actor, int64_t org_id, int64_t device_id, const struct nh_group *group, struct nh_err *err)
{
	struct nh_device_facts d;
	NH_TRY(nh_device_facts_load(ctx, device_id, &d, err));
	if (d.deleted || d.org_id != org_id)
		return NH_FAIL(err, NH_ENOTFOUND, "no such device");
	if (group && group->product_id != d.product_id)
		return NH_FAIL(err, NH_EINVAL, "deployment group %.*s belongs to another product", NH_ARG(group->name));
	if (group && d.firmware_uuid.len > 0 &&
	    (!nh_slice_eq(group->platform, d.platform) || !nh_slice_eq(group->architecture, d.architecture)))
		return NH_FAIL(err, NH_EINVAL, "deployment group %.*s is for %.*s/%.*s, the device runs %.*s/%.*s", NH_ARG(group->name),
		               NH_ARG(group->platform), NH_ARG(group->architecture), NH_ARG(d.platform), NH_ARG(d.architecture));
	int64_t target = group ? group->id : 0;
	if (target == d.group_id)
		return NH_OK;
	NH_TRY(nh_device_join_group(ctx, device_id, d.group_id, target, err));
	nh_effect_add(ctx, NH_EFFECT_DEVICE_SETTINGS, device_id, NH_SLICE_EMPTY, NH_SLICE_EMPTY);
	if (!group)
		return nh_audit_add(ctx, actor, org_id, NH_AUDIT_DEVICE, device_id, err, "%.*s took device %.*s out of its deployment group",
		                    NH_ARG(actor->name), NH_ARG(d.identifier));
	return nh_audit_add(ctx, actor, org_id, NH_AUDIT_DEVICE, device_id, err, "%.*s put device %.*s into deployment group %.*s", NH_ARG(actor->name),
	                    NH_ARG(d.identifier), NH_ARG(group->name));
}
