/*
 * Events into the outbox (hub/events.h). Who is told is decided when they are given out (webhooks.c).
 */
#include "hub/events.h"

#include "base/uuid.h"
#include "events_int.h"
#include "hub/updates.h"
#include "rollout_int.h"
#include "store/webhooks.h"

#define DATA_MAX ((size_t)8 << 10)

static const char *const names[NH_EVENT_KIND_COUNT] = {
	[NH_EVENT_DEVICE_CREATED] = "device.created",
	[NH_EVENT_DEVICE_ONLINE] = "device.online",
	[NH_EVENT_DEVICE_OFFLINE] = "device.offline",
	[NH_EVENT_UPDATE_STARTED] = "update.started",
	[NH_EVENT_UPDATE_SUCCEEDED] = "update.succeeded",
	[NH_EVENT_UPDATE_FAILED] = "update.failed",
	[NH_EVENT_UPDATE_REVERTED] = "update.reverted",
	[NH_EVENT_UPDATE_EXPIRED] = "update.expired",
	[NH_EVENT_HEALTH_CHANGED] = "health.changed",
	[NH_EVENT_ROLLOUT_STARTED] = "rollout.started",
	[NH_EVENT_ROLLOUT_WAVE_FINISHED] = "rollout.wave_finished",
	[NH_EVENT_ROLLOUT_WAITING] = "rollout.waiting",
	[NH_EVENT_ROLLOUT_PAUSED] = "rollout.paused",
	[NH_EVENT_ROLLOUT_RESUMED] = "rollout.resumed",
	[NH_EVENT_ROLLOUT_STOPPED] = "rollout.stopped",
	[NH_EVENT_ROLLOUT_ROLLED_BACK] = "rollout.rolled_back",
	[NH_EVENT_ROLLOUT_FINISHED] = "rollout.finished",
	[NH_EVENT_CERTIFICATE_EXPIRING] = "certificate.expiring",
	[NH_EVENT_AUDIT_ANCHOR] = "audit.anchor",
};

const char *nh_event_kind_name(nh_event_kind kind) { return names[kind]; }

bool nh_event_kind_parse(nh_slice name, nh_event_kind *out)
{
	for (size_t i = 0; i < NH_EVENT_KIND_COUNT; i++) {
		if (nh_slice_eq_str(name, names[i])) {
			*out = (nh_event_kind)i;
			return true;
		}
	}
	return false;
}

nh_rc nh_event_put(struct nh_ctx *ctx, nh_event_kind kind, const struct nh_event_subject *of, const json_t *data, struct nh_err *err)
{
	struct nh_uuid id;
	char uuid[NH_UUID_TEXT_LEN + 1];
	int64_t now = nh_ctx_now(ctx);
	nh_slice text = data ? nh_json_arena(ctx->arena, data) : NH_LIT("{}");
	if (text.len > DATA_MAX)
		text = NH_LIT("{}");
	nh_uuid_v7(&id, now, ctx->rng);
	nh_uuid_format(&id, uuid);
	NH_TRY(nh_sql_exec(ctx->tx, &nh_q_event_add,
	                   NH_PARAMS(nh_p_int(of->org_id), nh_p_ref(of->product_id), nh_p_ref(of->device_id), nh_p_ref(of->group_id), nh_p_str(names[kind]), nh_p_str(uuid),
	                             nh_p_text(text), nh_p_int(now)),
	                   NULL, err));
	if (ctx->effects)
		nh_effect_add(ctx, NH_EFFECT_EVENT, 0, NH_SLICE_EMPTY, NH_SLICE_EMPTY);
	return NH_OK;
}

nh_rc nh_event_add(struct nh_ctx *ctx, nh_event_kind kind, const struct nh_event_subject *of, json_t *take_data, struct nh_err *err)
{
	NH_AUTO_JSON json_t *data = take_data;
	struct nh_rows *rows = NULL;
	nh_rc rc = nh_sql_one(ctx->tx, &nh_q_event_kinds, NH_PARAMS(nh_p_int(of->org_id)), &rows, err);
	if (rc == NH_ENOTFOUND)
		return NH_OK;
	NH_TRY(rc);
	int64_t wanted = nh_col_int(rows, 0);
	nh_sql_end(rows);
	return wanted & nh_event_bit(kind) ? nh_event_put(ctx, kind, of, data, err) : NH_OK;
}

bool nh_event_wanted(const struct nh_device_facts *device, nh_event_kind kind) { return (device->event_kinds & nh_event_bit(kind)) != 0; }

nh_rc nh_event_of_device(struct nh_ctx *ctx, nh_event_kind kind, const struct nh_device_facts *device, int64_t group_id, json_t *take_data, struct nh_err *err)
{
	NH_AUTO_JSON json_t *data = take_data;
	const struct nh_event_subject of = {.org_id = device->org_id, .product_id = device->product_id, .device_id = device->id, .group_id = group_id};
	return nh_event_wanted(device, kind) ? nh_event_put(ctx, kind, &of, data, err) : NH_OK;
}

nh_rc nh_event_of_update(struct nh_ctx *ctx, nh_event_kind kind, const struct nh_device_facts *device, int64_t group_id, nh_slice firmware_uuid, nh_slice version, nh_slice reason, struct nh_err *err)
{
	if (!nh_event_wanted(device, kind))
		return NH_OK;
	json_t *data = json_pack("{s:{s:o}}", "firmware", "uuid", nh_json_new_text(firmware_uuid));
	if (version.len > 0)
		json_object_set_new(json_object_get(data, "firmware"), "version", nh_json_new_text(version));
	if (device->firmware_uuid.len > 0)
		json_object_set_new(data, "previous_firmware", json_pack("{s:o, s:o}", "uuid", nh_json_new_text(device->firmware_uuid), "version", nh_json_new_text(device->firmware_version)));
	if (reason.len > 0)
		json_object_set_new(data, "reason", nh_json_new_text(reason));
	return nh_event_of_device(ctx, kind, device, group_id, data, err);
}
