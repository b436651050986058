/*
 * What tests of the rollout add to the small world: firmwares and devices made by one call, devices that connect and join.
 */
#pragma once

#include "hub_world.h"

#include "hub/audit.h"
#include "hub/deployments.h"
#include "hub/device_session.h"
#include "hub/devices.h"
#include "hub/explain.h"
#include "hub/orchestrator.h"
#include "hub/updates.h"
#include "store/foundation.h"
#include "store/rollout.h"

static inline nh_rc insert_id(struct world *w, const struct nh_stmt *stmt, const struct nh_param *params, size_t count, int64_t *id, struct nh_err *err)
{
	struct nh_rows *rows = NULL;
	NH_TRY(nh_sql_one(w->ctx.tx, stmt, params, count, &rows, err));
	*id = nh_col_int(rows, 0);
	nh_sql_end(rows);
	return NH_OK;
}

/* "00000000-0000-4000-8000-0000000000NN" */
static inline nh_slice fw_uuid(struct world *w, int number)
{
	return nh_slice_str(nh_arena_printf(&w->arena, "00000000-0000-4000-8000-%012d", number));
}

/* A firmware of the widget product for aarch64; the first one also makes the organization's key. */
static inline nh_rc add_firmware_that(struct world *w, int number, const char *version, const char *platform, bool delta_updatable, int64_t *id, struct nh_err *err)
{
	int64_t key;
	nh_slice text = NH_LIT("AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=");
	nh_rc rc = insert_id(w, &nh_q_key_taken, NH_PARAMS(nh_p_int(w->acme.id), nh_p_text(text)), &key, err);
	if (rc == NH_ENOTFOUND)
		NH_TRY(insert_id(w, &nh_q_key_insert,
		                 NH_PARAMS(nh_p_int(w->acme.id), nh_p_null(), nh_p_str("key"), nh_p_str("ed25519"), nh_p_text(text), nh_p_int(w->now_us)), &key,
		                 err));
	else
		NH_TRY(rc);
	nh_slice uuid = fw_uuid(w, number);
	return insert_id(w, &nh_q_firmware_insert,
	                 NH_PARAMS(nh_p_int(w->acme.id), nh_p_int(w->widget.id), nh_p_int(key), nh_p_text(uuid), nh_p_str(version),
	                           nh_p_blob(nh_slice_str(version)), nh_p_str(platform), nh_p_str("aarch64"), nh_p_null(), nh_p_str("the description"),
	                           nh_p_null(), nh_p_null(), nh_p_int(2500000), nh_p_str("ABCDEF"), nh_p_str("[\"AA\",\"BB\",\"CC\"]"), nh_p_bool(delta_updatable),
	                           nh_p_str("0.2.0"), nh_p_str(nh_arena_printf(&w->arena, "firmware/%d.fw", number)), nh_p_int(w->now_us)),
	                 id, err);
}

static inline nh_rc add_firmware_for(struct world *w, int number, const char *version, const char *platform, int64_t *id, struct nh_err *err)
{
	return add_firmware_that(w, number, version, platform, false, id, err);
}

static inline nh_rc add_firmware(struct world *w, int number, const char *version, struct nh_err *err)
{
	int64_t id;
	return add_firmware_for(w, number, version, "rpi4", &id, err);
}

static inline nh_rc add_device(struct world *w, const char *identifier, const char *tags_json, int64_t *id, struct nh_err *err)
{
	NH_TRY(insert_id(w, &nh_q_device_insert,
	                 NH_PARAMS(nh_p_int(w->acme.id), nh_p_int(w->widget.id), nh_p_str(identifier), nh_p_null(), nh_p_str(tags_json),
	                           nh_p_int(w->now_us)),
	                 id, err));
	return nh_sql_exec(w->ctx.tx, &nh_q_product_count_devices, NH_PARAMS(nh_p_int(1), nh_p_int(w->widget.id)), NULL, err);
}

/* A new reference to the group's fields: name, firmware, active. More may be set before use. */
static inline json_t *group_fields(struct world *w, const char *name, int firmware)
{
	nh_slice uuid = fw_uuid(w, firmware);
	return json_pack("{s:s, s:s%, s:s}", "name", name, "firmware", (const char *)uuid.ptr, uuid.len, "state", "on");
}

static inline nh_rc add_group(struct world *w, json_t *take_fields, struct nh_group *out)
{
	nh_rc rc = nh_group_create(&w->ctx, &w->as_ada, w->acme.id, w->widget.id, take_fields, out, NO_ERRORS(w), E(w));
	json_decref(take_fields);
	return rc;
}

static inline json_t *join_payload(struct world *w, int firmware, const char *version)
{
	nh_slice uuid = fw_uuid(w, firmware);
	return json_pack("{s:s%, s:s, s:s, s:s, s:s, s:s, s:s, s:{s:b, s:b}}", "nerves_fw_uuid", (const char *)uuid.ptr, uuid.len, "nerves_fw_product",
	                 "Thermo Widget", "nerves_fw_version", version, "nerves_fw_platform", "rpi4", "nerves_fw_architecture", "aarch64",
	                 "device_api_version", "2.3.0", "fwup_version", "1.10.1", "meta", "firmware_validated", 1, "firmware_auto_revert_detected", 0);
}

static inline nh_rc connect_pinned(struct world *w, int64_t device_id, nh_slice fingerprint, struct nh_session *s)
{
	struct nh_opening opening;
	nh_opening_make(&opening, device_id, fingerprint, w->ctx.clock, w->ctx.rng);
	return nh_session_connect(&w->ctx, &opening, s, E(w));
}

static inline nh_rc open_connection(struct world *w, int64_t device_id, struct nh_session *s) { return connect_pinned(w, device_id, NH_SLICE_EMPTY, s); }

static inline nh_rc join_with(struct world *w, int64_t device_id, json_t *take_payload, struct nh_session *s, struct nh_join_result *result)
{
	nh_rc rc = open_connection(w, device_id, s);
	if (rc == NH_OK)
		rc = nh_session_join(&w->ctx, s, NULL, take_payload, result, E(w));
	json_decref(take_payload);
	return rc;
}

static inline nh_rc join(struct world *w, int64_t device_id, int firmware, const char *version, struct nh_session *s)
{
	struct nh_join_result result;
	return join_with(w, device_id, join_payload(w, firmware, version), s, &result);
}

/* The newest push of that name to the device; pointer NULL if there is none. */
static inline nh_slice pushed(const struct world *w, int64_t device_id, const char *name)
{
	for (size_t i = w->effects.count; i-- > 0;) {
		const struct nh_effect *e = &w->effects.items[i];
		if (e->kind == NH_EFFECT_DEVICE_PUSH && e->id == device_id && nh_slice_eq_str(e->name, name))
			return e->payload;
	}
	return NH_SLICE_EMPTY;
}

static inline size_t pushes(const struct world *w, const char *name)
{
	size_t n = 0;
	for (size_t i = 0; i < w->effects.count; i++)
		n += w->effects.items[i].kind == NH_EFFECT_DEVICE_PUSH && nh_slice_eq_str(w->effects.items[i].name, name);
	return n;
}

static inline void forget_effects(struct world *w)
{
	w->effects.count = 0;
}

static inline bool holds(nh_slice text, const char *part)
{
	return nh_slice_find(text, nh_slice_str(part)) >= 0;
}

/* Does any of the newest 50 entries about the device hold the text? */
static inline bool audited(struct world *w, nh_audit_resource kind, int64_t id, const char *part)
{
	struct nh_audit_entry *list;
	size_t count;
	if (nh_audit_list(&w->ctx, w->acme.id, kind, id, 0, 50, &list, &count, E(w)) != NH_OK)
		return false;
	for (size_t i = 0; i < count; i++) {
		if (holds(list[i].description, part))
			return true;
	}
	return false;
}

static inline nh_rc status(struct world *w, const struct nh_session *s, json_t *take_payload)
{
	nh_rc rc = nh_session_status_update(&w->ctx, s, take_payload, E(w));
	json_decref(take_payload);
	return rc;
}

static inline nh_rc run_group(struct world *w, int64_t group_id, struct nh_orchestrator_result *out)
{
	return nh_orchestrator_run(&w->ctx, group_id, out, E(w));
}
