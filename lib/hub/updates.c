/*
 * Updates of one device: loading what rules know, sending an update, what people may do to it. The rules are update_decide.c's, what devices
 * report is update_report.c's.
 *
 * source: reference/device-protocol "8.1", "8.2"; reference/server-behaviour "3.9" to "3.11"
 */
#include "hub/archives.h"
#include "hub/audit.h"
#include "hub/deltas.h"
#include "hub/permissions.h"
#include "hub/download.h"
#include "events_int.h"
#include "rollout_int.h"
#include "rows_int.h"
#include "store/rollout.h"

#define METADATA_MAX ((size_t)64 << 10)
#define PARTIALS_MAX ((size_t)4 << 20)

/* ---- facts ---------------------------------------------------------------------------------------------------------------- */

static void read_attempts(nh_slice json, struct nh_device_facts *out)
{
	NH_AUTO_JSON json_t *list = NULL;
	if (json.len <= 2 || nh_json_parse(json, METADATA_MAX, &list, NULL) != NH_OK)
		return;
	size_t size = json_array_size(list);
	size_t first = size > NH_UPDATE_ATTEMPTS_MAX ? size - NH_UPDATE_ATTEMPTS_MAX : 0;
	for (size_t i = first; i < size; i++)
		out->attempts[out->attempt_count++] = json_integer_value(json_array_get(list, i));
}

static nh_validation validation_of(nh_slice text)
{
	if (nh_slice_eq_str(text, "validated"))
		return NH_VALIDATION_VALIDATED;
	return nh_slice_eq_str(text, "not_validated") ? NH_VALIDATION_NOT_VALIDATED : NH_VALIDATION_UNKNOWN;
}

void nh_device_facts_read(const struct nh_rows *rows, struct nh_arena *arena, void *item)
{
	struct nh_device_facts *d = item;
	*d = (struct nh_device_facts){
		.id = nh_col_int(rows, 0),
		.org_id = nh_col_int(rows, 1),
		.product_id = nh_col_int(rows, 2),
		.group_id = nh_col_int(rows, 3),
		.identifier = nh_col_text(rows, 4, arena),
		.deleted = !nh_col_null(rows, 5),
		.updates_enabled = nh_col_bool(rows, 6),
		.blocked_until_us = nh_col_int(rows, 7),
		.firmware_uuid = nh_col_text(rows, 9, arena),
		.firmware_version = nh_col_text(rows, 10, arena),
		.platform = nh_col_text(rows, 11, arena),
		.architecture = nh_col_text(rows, 12, arena),
		.firmware_metadata = nh_col_text(rows, 13, arena),
		.validation = validation_of(nh_col_text(rows, 14, arena)),
		.auto_reverted = nh_col_bool(rows, 15),
		.connected = !nh_col_null(rows, 17),
		.connected_at_us = nh_col_int(rows, 17),
		.first_seen_at_us = nh_col_int(rows, 18),
		.last_failure = nh_col_text(rows, 19, arena),
		.last_failure_at_us = nh_col_int(rows, 20),
		.network_interface = nh_col_text(rows, 21, arena),
		.inflight = !nh_col_null(rows, 22),
		.inflight_group_id = nh_col_int(rows, 23),
		.event_kinds = nh_col_int(rows, 24),
		.timezone = nh_col_text(rows, 25, arena),
		.named_release_id = nh_col_int(rows, 26),
		.named_wave = nh_col_int(rows, 27),
	};
	if (d->timezone.len > 0)
		(void)!nh_zone_find(d->timezone, &d->zone, NULL); /* one that the system has lost is UTC */
	read_attempts(nh_col_text(rows, 8, arena), d);
	nh_text_list_read(arena, nh_col_text(rows, 16, arena), &d->tags, &d->tag_count);
}

nh_rc nh_device_facts_load(struct nh_ctx *ctx, int64_t device_id, struct nh_device_facts *out, struct nh_err *err)
{
	return nh_one_row(ctx->tx, ctx->arena, &nh_q_facts, NH_PARAMS(nh_p_int(device_id)), nh_device_facts_read, out, "device", err);
}

/* The live device of the organization, for what people do. */
static nh_rc open_device(struct nh_ctx *ctx, const struct nh_actor *actor, nh_action action, int64_t org_id, int64_t device_id, struct nh_device_facts *out, struct nh_err *err)
{
	NH_TRY(nh_may(ctx, actor, org_id, action, err));
	NH_TRY(nh_device_facts_load(ctx, device_id, out, err));
	if (out->deleted || out->org_id != org_id)
		return NH_FAIL(err, NH_ENOTFOUND, "no such device");
	return NH_OK;
}

nh_rc nh_device_write(struct nh_ctx *ctx, const struct nh_stmt *stmt, struct nh_param value, int64_t device_id, struct nh_err *err)
{
	return nh_sql_exec(ctx->tx, stmt, NH_PARAMS(value, nh_p_int(nh_ctx_now(ctx)), nh_p_int(device_id)), NULL, err);
}

/* The device's group; *found false where it has none. */
static nh_rc load_group(struct nh_ctx *ctx, const struct nh_device_facts *d, struct nh_group *group, bool *found, struct nh_err *err)
{
	*found = d->group_id != 0;
	return *found ? nh_group_get_by_id(ctx, d->group_id, group, err) : NH_OK;
}

/* ---- sending -------------------------------------------------------------------------------------------------------------- */

struct target {
	nh_slice uuid, version, platform, architecture, product, author, description, misc, vcs_identifier, checksum, partials, object_key;
	int64_t size_bytes, org_id, product_id;
};

static void read_target(const struct nh_rows *rows, struct nh_arena *arena, void *item)
{
	*(struct target *)item = (struct target){
		.uuid = nh_col_text(rows, 0, arena),
		.version = nh_col_text(rows, 1, arena),
		.platform = nh_col_text(rows, 2, arena),
		.architecture = nh_col_text(rows, 3, arena),
		.product = nh_col_text(rows, 4, arena),
		.author = nh_col_text(rows, 5, arena),
		.description = nh_col_text(rows, 6, arena),
		.misc = nh_col_text(rows, 7, arena),
		.vcs_identifier = nh_col_text(rows, 8, arena),
		.size_bytes = nh_col_int(rows, 9),
		.checksum = nh_col_text(rows, 10, arena),
		.partials = nh_col_text(rows, 11, arena),
		.org_id = nh_col_int(rows, 12),
		.product_id = nh_col_int(rows, 13),
		.object_key = nh_col_text(rows, 14, arena),
	};
}

/* All nine keys, values text or null. source: reference/device-protocol "8.2" */
static json_t *meta_json(const struct target *t)
{
	return json_pack("{s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o}", "architecture", nh_json_new_text(t->architecture), "author",
	                 nh_json_new_text(t->author), "description", nh_json_new_text(t->description), "misc", nh_json_new_text(t->misc), "platform",
	                 nh_json_new_text(t->platform), "product", nh_json_new_text(t->product), "uuid", nh_json_new_text(t->uuid), "vcs_identifier",
	                 nh_json_new_text(t->vcs_identifier), "version", nh_json_new_text(t->version));
}

/* firmware_meta is the target's, whatever file brings it there; size and sums are the file's. source: reference/device-protocol "8.1", "8.2" */
static nh_slice payload_of(struct nh_ctx *ctx, const struct target *t, const struct nh_delta_file *delta, int64_t group_id)
{
	NH_AUTO_BUF struct nh_buf path = NH_BUF_INIT, url = NH_BUF_INIT;
	const struct nh_delta_file whole = {.size_bytes = t->size_bytes, .checksum = t->checksum, .partials = t->partials, .object_key = t->object_key};
	const struct nh_delta_file *file = delta->id ? delta : &whole;
	if (delta->id)
		nh_download_delta_path(&path, delta->id, t->uuid);
	else
		nh_download_path(&path, t->org_id, t->uuid);
	nh_download_url(ctx->config, nh_buf_slice(&path), file->object_key, nh_ctx_now(ctx), &url);
	json_t *partials = NULL;
	if (nh_json_parse(file->partials, PARTIALS_MAX, &partials, NULL) != NH_OK)
		partials = json_null();
	NH_AUTO_JSON json_t *payload =
		json_pack("{s:b, s:o, s:o, s:I, s:o, s:o, s:o}", "update_available", 1, "firmware_url", nh_json_new_text(nh_buf_slice(&url)), "firmware_meta",
	                  meta_json(t), "size", (json_int_t)file->size_bytes, "checksum", nh_json_new_text(file->checksum), "partials_checksums", partials,
	                  "deployment_id", group_id ? json_integer(group_id) : json_null());
	return nh_json_arena(ctx->arena, payload);
}

static nh_rc load_target(struct nh_ctx *ctx, int64_t firmware_id, struct target *out, struct nh_err *err)
{
	return nh_one_row(ctx->tx, ctx->arena, &nh_q_firmware_for_payload, NH_PARAMS(nh_p_int(firmware_id)), read_target, out, "firmware", err);
}

nh_rc nh_update_send_again(struct nh_ctx *ctx, int64_t device_id, struct nh_err *err)
{
	struct nh_inflight row;
	struct target target;
	struct nh_delta_file delta;
	NH_TRY(nh_inflight_get(ctx, device_id, &row, err));
	NH_TRY(load_target(ctx, row.firmware_id, &target, err));
	NH_TRY(nh_delta_sent_get(ctx, device_id, &delta, err));
	nh_effect_add(ctx, NH_EFFECT_DEVICE_PUSH, device_id, NH_LIT("update"), payload_of(ctx, &target, &delta, row.group_id));
	return NH_OK;
}

/* Row and audit entry of an update that starts; *payload is what the device is told. */
static nh_rc begin_update(struct nh_ctx *ctx, const struct nh_actor *actor, const struct nh_device_facts *d, const struct nh_group *group, int64_t firmware_id, bool priority,
                          nh_slice *payload, struct nh_err *err)
{
	struct target target;
	struct nh_delta_file delta;
	int64_t group_id = group ? group->id : 0, inserted = 0;
	NH_TRY(load_target(ctx, firmware_id, &target, err));
	if (target.product_id != d->product_id)
		return NH_FAIL(err, NH_ENOTFOUND, "no such firmware");
	NH_TRY(nh_sql_exec(ctx->tx, &nh_q_inflight_insert,
	                   NH_PARAMS(nh_p_int(d->id), nh_p_ref(group_id), nh_p_int(firmware_id), nh_p_text(target.uuid), nh_p_bool(priority),
	                             nh_p_int(nh_ctx_now(ctx))),
	                   &inserted, err));
	if (!inserted)
		return NH_FAIL(err, NH_ECONFLICT, "an update of device %.*s is in flight; wait until it has ended", NH_ARG(d->identifier));
	NH_TRY(nh_delta_choose(ctx, d, group, firmware_id, &delta, err));
	NH_TRY(nh_delta_sent(ctx, d->id, &delta, err));
	*payload = payload_of(ctx, &target, &delta, group_id);
	nh_device_topic(ctx, d->id);
	NH_TRY(nh_event_of_update(ctx, NH_EVENT_UPDATE_STARTED, d, group_id, target.uuid, target.version, NH_SLICE_EMPTY, err));
	if (actor->kind == NH_ACTOR_USER)
		return nh_audit_add(ctx, actor, d->org_id, NH_AUDIT_DEVICE, d->id, err, "%.*s pushed firmware %.*s (%.*s) to device %.*s",
		                    NH_ARG(actor->name), NH_ARG(target.version), NH_ARG(target.uuid), NH_ARG(d->identifier));
	return nh_audit_add(ctx, actor, d->org_id, NH_AUDIT_DEVICE, d->id, err, "Deployment group %.*s started the update of device %.*s to firmware %.*s (%.*s)",
	                    NH_ARG(actor->name), NH_ARG(d->identifier), NH_ARG(target.version), NH_ARG(target.uuid));
}

nh_rc nh_update_send(struct nh_ctx *ctx, const struct nh_actor *actor, const struct nh_device_facts *d, const struct nh_group *group, int64_t firmware_id,
                     bool priority, struct nh_err *err)
{
	nh_slice payload;
	NH_TRY(begin_update(ctx, actor, d, group, firmware_id, priority, &payload, err));
	nh_effect_add(ctx, NH_EFFECT_DEVICE_PUSH, d->id, NH_LIT("update"), payload);
	return NH_OK;
}

nh_rc nh_update_offer(struct nh_ctx *ctx, const struct nh_device_facts *d, const struct nh_group *group, nh_slice *payload, struct nh_err *err)
{
	static const struct nh_update_report taken = {.stage = NH_STAGE_RECEIVED, .progress = -1};
	struct nh_actor actor = nh_group_actor(group);
	NH_TRY(begin_update(ctx, &actor, d, group, group->release.firmware_id, false, payload, err));
	return nh_update_report(ctx, d->id, &taken, err);
}

struct release_firmware {
	int64_t id;
	nh_slice platform, architecture;
};

static void read_release_firmware(const struct nh_rows *rows, struct nh_arena *arena, void *item)
{
	*(struct release_firmware *)item = (struct release_firmware){nh_col_int(rows, 0), nh_col_text(rows, 3, arena), nh_col_text(rows, 4, arena)};
}

nh_rc nh_update_push(struct nh_ctx *ctx, const struct nh_actor *actor, int64_t org_id, int64_t device_id, nh_slice firmware_uuid, struct nh_err *err)
{
	struct nh_device_facts d;
	struct release_firmware firmware;
	NH_TRY(open_device(ctx, actor, NH_MAY_DEVICE_UPGRADE, org_id, device_id, &d, err));
	NH_TRY(nh_one_row(ctx->tx, ctx->arena, &nh_q_firmware_for_release, NH_PARAMS(nh_p_int(d.product_id), nh_p_text(firmware_uuid)),
	                  read_release_firmware, &firmware, "firmware", err));
	if (d.firmware_uuid.len > 0 && (!nh_slice_eq(d.platform, firmware.platform) || !nh_slice_eq(d.architecture, firmware.architecture)))
		return NH_FAIL(err, NH_EINVAL, "firmware is for %.*s/%.*s, the device runs %.*s/%.*s", NH_ARG(firmware.platform), NH_ARG(firmware.architecture),
		               NH_ARG(d.platform), NH_ARG(d.architecture));
	NH_TRY(nh_update_send(ctx, actor, &d, NULL, firmware.id, false, err));
	if (!d.updates_enabled)
		return NH_OK;
	NH_TRY(nh_device_write(ctx, &nh_q_device_set_updates, nh_p_bool(false), d.id, err));
	return nh_audit_add(ctx, actor, org_id, NH_AUDIT_DEVICE, d.id, err, "%.*s disabled updates of device %.*s by pushing a firmware", NH_ARG(actor->name),
	                    NH_ARG(d.identifier));
}

nh_rc nh_update_push_available(struct nh_ctx *ctx, const struct nh_actor *actor, int64_t org_id, int64_t device_id, struct nh_err *err)
{
	struct nh_device_facts d;
	struct nh_group group;
	bool found;
	NH_TRY(open_device(ctx, actor, NH_MAY_DEVICE_UPGRADE, org_id, device_id, &d, err));
	NH_TRY(load_group(ctx, &d, &group, &found, err));
	struct nh_update_decision decision = nh_update_decide(&d, found ? &group : NULL, NH_UPDATE_BY_HAND, nh_ctx_now(ctx));
	if (decision.verdict == NH_UPDATE_SEND) {
		NH_TRY(nh_group_take_turn(ctx, group.id, err));
		return nh_update_send(ctx, actor, &d, &group, group.release.firmware_id, false, err);
	}
	NH_AUTO_BUF struct nh_buf why = NH_BUF_INIT;
	for (size_t i = 0; i < decision.count; i++)
		nh_buf_printf(&why, "%s%s", i ? ", " : "", nh_update_reason_text(decision.reasons[i]));
	return NH_FAIL(err, NH_ECONFLICT, "device %.*s gets no update: %s", NH_ARG(d.identifier), nh_buf_cstr(&why));
}

/* ---- commands -------------------------------------------------------------------------------------------------------------- */

static nh_rc command(struct nh_ctx *ctx, const struct nh_actor *actor, nh_action action, int64_t org_id, int64_t device_id, nh_effect_kind kind, const char *name,
                     struct nh_err *err)
{
	struct nh_device_facts d;
	NH_TRY(open_device(ctx, actor, action, org_id, device_id, &d, err));
	/* The payload of a close names one connection; here whichever the device has is meant. */
	nh_effect_add(ctx, kind, device_id, nh_slice_str(name), kind == NH_EFFECT_DEVICE_PUSH ? NH_LIT("{}") : NH_SLICE_EMPTY);
	return nh_audit_add(ctx, actor, org_id, NH_AUDIT_DEVICE, device_id, err, "%.*s asked device %.*s to %s", NH_ARG(actor->name), NH_ARG(d.identifier),
	                    name);
}

nh_rc nh_device_reboot(struct nh_ctx *ctx, const struct nh_actor *actor, int64_t org_id, int64_t device_id, struct nh_err *err)
{
	return command(ctx, actor, NH_MAY_DEVICE_REBOOT, org_id, device_id, NH_EFFECT_DEVICE_PUSH, "reboot", err);
}

nh_rc nh_device_identify(struct nh_ctx *ctx, const struct nh_actor *actor, int64_t org_id, int64_t device_id, struct nh_err *err)
{
	return command(ctx, actor, NH_MAY_DEVICE_IDENTIFY, org_id, device_id, NH_EFFECT_DEVICE_PUSH, "identify", err);
}

nh_rc nh_device_reconnect(struct nh_ctx *ctx, const struct nh_actor *actor, int64_t org_id, int64_t device_id, struct nh_err *err)
{
	return command(ctx, actor, NH_MAY_DEVICE_RECONNECT, org_id, device_id, NH_EFFECT_DEVICE_CLOSE, "reconnect", err);
}

/* ---- switches and the penalty box ------------------------------------------------------------------------------------------ */

static void changed(struct nh_ctx *ctx, const struct nh_device_facts *d)
{
	nh_effect_add(ctx, NH_EFFECT_DEVICE_SETTINGS, d->id, NH_SLICE_EMPTY, NH_SLICE_EMPTY);
	nh_device_topic(ctx, d->id);
}

nh_rc nh_updates_enable(struct nh_ctx *ctx, const struct nh_actor *actor, int64_t org_id, int64_t device_id, bool on, struct nh_err *err)
{
	struct nh_device_facts d;
	NH_TRY(open_device(ctx, actor, NH_MAY_DEVICE_UPDATE, org_id, device_id, &d, err));
	NH_TRY(nh_device_write(ctx, &nh_q_device_set_updates, nh_p_bool(on), device_id, err));
	if (on) {
		NH_TRY(nh_device_write(ctx, &nh_q_device_set_attempts, nh_p_str("[]"), device_id, err));
		nh_wake_group(ctx, d.group_id);
	}
	changed(ctx, &d);
	return nh_audit_add(ctx, actor, org_id, NH_AUDIT_DEVICE, device_id, err, "%.*s %s updates of device %.*s", NH_ARG(actor->name),
	                    on ? "enabled" : "disabled", NH_ARG(d.identifier));
}

nh_rc nh_penalty_clear(struct nh_ctx *ctx, const struct nh_actor *actor, int64_t org_id, int64_t device_id, struct nh_err *err)
{
	struct nh_device_facts d;
	NH_TRY(open_device(ctx, actor, NH_MAY_DEVICE_FORGIVE, org_id, device_id, &d, err));
	NH_TRY(nh_device_write(ctx, &nh_q_device_set_blocked, nh_p_null(), device_id, err));
	NH_TRY(nh_device_write(ctx, &nh_q_device_set_attempts, nh_p_str("[]"), device_id, err));
	NH_TRY(nh_device_write(ctx, &nh_q_device_set_updates, nh_p_bool(true), device_id, err));
	nh_wake_group(ctx, d.group_id);
	changed(ctx, &d);
	NH_TRY(nh_archive_tell_changed(ctx, device_id, err));
	return nh_audit_add(ctx, actor, org_id, NH_AUDIT_DEVICE, device_id, err, "%.*s took device %.*s out of the penalty box", NH_ARG(actor->name),
	                    NH_ARG(d.identifier));
}

nh_rc nh_penalty_box(struct nh_ctx *ctx, const struct nh_device_facts *d, const struct nh_group *group, struct nh_err *err)
{
	struct nh_actor actor = nh_group_actor(group);
	int64_t until = nh_ctx_now(ctx) + group->penalty_minutes * 60 * NH_US_PER_S;
	NH_TRY(nh_device_write(ctx, &nh_q_device_set_blocked, nh_p_int(until), d->id, err));
	NH_TRY(nh_device_write(ctx, &nh_q_device_set_attempts, nh_p_str("[]"), d->id, err));
	changed(ctx, d);
	return nh_audit_add(ctx, &actor, d->org_id, NH_AUDIT_DEVICE, d->id, err,
	                    "Device %.*s was put into the penalty box for %lld minutes: too many attempts to update to firmware %.*s of deployment group %.*s",
	                    NH_ARG(d->identifier), (long long)group->penalty_minutes, NH_ARG(group->release.firmware_uuid), NH_ARG(group->name));
}
