/*
 * Events of the joined device channel: one function per event, one table of names. Values that mean nothing are ignored, since devices of ten years
 * send what they like and none of it may end a session.
 *
 * source: reference/device-protocol "9"
 */
#include "hub/audit.h"
#include "hub/orchestrator.h"
#include "rows_int.h"
#include "session_int.h"
#include "store/rollout.h"
#include "telemetry_int.h"

#define DELAY_MINUTES_MAX 10080             /* up to here delay_for counts minutes, beyond milliseconds. source: device-protocol "9.2" */
#define DELAY_MS_MAX (INT64_C(366) * 86400 * 1000)
#define CONNECTION_TYPES_MAX 16
#define PROGRESS_EVERY_MS 15000
#define METADATA_MAX ((size_t)64 << 10)

nh_rc nh_session_live(struct nh_ctx *ctx, const struct nh_session *s, nh_slice *metadata, struct nh_err *err)
{
	struct nh_rows *rows = NULL;
	if (!s->joined)
		return NH_FAIL(err, NH_ECLOSED, "the device has not joined");
	nh_rc rc = nh_sql_one(ctx->tx, &nh_q_connection_is, NH_PARAMS(nh_p_int(s->device_id), nh_p_str(s->connection_id)), &rows, err);
	if (rc == NH_ENOTFOUND)
		return NH_FAIL(err, NH_ECLOSED, "a newer connection of the device has replaced this one");
	NH_TRY(rc);
	if (metadata)
		*metadata = nh_col_text(rows, 0, ctx->arena);
	nh_sql_end(rows);
	return NH_OK;
}

nh_rc nh_session_note(struct nh_ctx *ctx, const struct nh_session *s, nh_slice metadata, const char *key, json_t *take_value, struct nh_err *err)
{
	NH_AUTO_JSON json_t *value = take_value;
	NH_AUTO_JSON json_t *members = NULL;
	if (nh_json_parse(metadata, METADATA_MAX, &members, NULL) != NH_OK || json_object_set(members, key, value) != 0)
		return NH_OK;
	return nh_sql_exec(ctx->tx, &nh_q_connection_metadata,
	                   NH_PARAMS(nh_p_text(nh_json_arena(ctx->arena, members)), nh_p_int(s->device_id), nh_p_str(s->connection_id)), NULL, err);
}

static int64_t percent(const json_t *payload, const char *key)
{
	const json_t *value = json_object_get(payload, key);
	if (!json_is_number(value))
		return -1;
	double number = json_number_value(value);
	return number <= 0 ? 0 : number >= 100 ? 100 : (int64_t)number;
}

/* ---- progress ---------------------------------------------------------------------------------------------------------------- */

/* source: reference/device-protocol "9.1" */
static struct nh_update_report read_progress(const json_t *payload)
{
	const json_t *stage = json_object_get(payload, "stage");
	struct nh_update_report report = {.stage = NH_STAGE_NONE, .progress = percent(payload, "value")};
	if (!stage || json_is_null(stage)) {
		if (report.progress >= 0)
			report.stage = report.progress == 100 ? NH_STAGE_COMPLETED : NH_STAGE_UPDATING;
		return report;
	}
	nh_update_stage named = nh_update_stage_parse(nh_json_text(payload, "stage"));
	if (named == NH_STAGE_DOWNLOADING || named == NH_STAGE_UPDATING)
		report.stage = named;
	return report;
}

static bool progress_sound(const json_t *payload) { return read_progress(payload).stage != NH_STAGE_NONE; }

nh_rc nh_session_progress(struct nh_ctx *ctx, const struct nh_session *s, const json_t *payload, struct nh_err *err)
{
	NH_TRY(nh_session_live(ctx, s, NULL, err));
	struct nh_update_report report = read_progress(payload);
	return nh_update_report(ctx, s->device_id, &report, err);
}

static bool is_progress(nh_slice event)
{
	return nh_slice_eq_str(event, "fwup_progress") || nh_slice_eq_str(event, "update_progress");
}

bool nh_session_progress_due(struct nh_progress_gate *last, nh_slice event, const json_t *payload, uint64_t mono_ms)
{
	if (!is_progress(event)) {
		last->stage = 0; /* whatever it says, the next progress begins anew */
		return true;
	}
	struct nh_update_report report = read_progress(payload);
	if (report.stage == NH_STAGE_NONE)
		return false;
	if (last->stage == report.stage && report.progress < 100 && mono_ms - last->at_ms < PROGRESS_EVERY_MS)
		return false;
	*last = (struct nh_progress_gate){.at_ms = mono_ms, .stage = (uint8_t)report.stage};
	return true;
}

/* ---- status_update ----------------------------------------------------------------------------------------------------------- */

static bool contains_ignoring_case(nh_slice text, nh_slice needle)
{
	for (size_t i = 0; i + needle.len <= text.len; i++) {
		if (nh_slice_ieq(nh_slice_sub(text, i, needle.len), needle))
			return true;
	}
	return false;
}

static int64_t delay_ms(const struct nh_session *s, const json_t *payload)
{
	const json_t *value = json_object_get(payload, "delay_for");
	double number = json_is_number(value) ? json_number_value(value) : 0;
	if (!(number > 0))
		return 0;
	double ms = !s->delay_in_ms && number <= DELAY_MINUTES_MAX ? number * 60000 : number;
	return ms >= (double)DELAY_MS_MAX ? DELAY_MS_MAX : (int64_t)ms;
}

static struct nh_update_report read_status(const json_t *payload)
{
	nh_slice status = nh_json_text(payload, "status");
	struct nh_update_report report = {
		.stage = nh_update_stage_parse(status),
		.progress = percent(payload, "progress"),
		.reason = nh_json_text(payload, "reason"),
	};
	if (contains_ignoring_case(status, NH_LIT("fwup error"))) {
		report.stage = NH_STAGE_FAILED;
		report.reason = status;
	} else if (nh_slice_eq_str(status, "update failed")) {
		report.stage = NH_STAGE_FAILED;
		report.reason = report.reason.len ? report.reason : status;
	}
	return report;
}

static bool status_sound(const json_t *payload) { return read_status(payload).stage != NH_STAGE_NONE; }

nh_rc nh_session_status_update(struct nh_ctx *ctx, const struct nh_session *s, const json_t *payload, struct nh_err *err)
{
	struct nh_update_report report = read_status(payload);
	report.delay_ms = delay_ms(s, payload);
	NH_TRY(nh_session_live(ctx, s, NULL, err));
	return nh_update_report(ctx, s->device_id, &report, err);
}

/* ---- the rest ---------------------------------------------------------------------------------------------------------------- */

nh_rc nh_session_firmware_validated(struct nh_ctx *ctx, const struct nh_session *s, const json_t *payload, struct nh_err *err)
{
	struct nh_device_facts d;
	NH_TRY(nh_session_live(ctx, s, NULL, err));
	NH_TRY(nh_device_facts_load(ctx, s->device_id, &d, err));
	if (d.validation == NH_VALIDATION_VALIDATED)
		return NH_OK; /* ESP32 devices say it after every join */
	struct nh_actor actor = nh_device_actor(&d);
	NH_TRY(nh_sql_exec(ctx->tx, &nh_q_device_set_validated, NH_PARAMS(nh_p_int(nh_ctx_now(ctx)), nh_p_int(d.id)), NULL, err));
	NH_TRY(nh_sql_exec(ctx->tx, &nh_q_device_firmware_validation, NH_PARAMS(nh_p_str("validated"), nh_p_bool(d.auto_reverted), nh_p_int(d.id)), NULL,
	                   err));
	nh_device_topic(ctx, d.id);
	nh_wake_group(ctx, d.group_id);
	return nh_audit_add(ctx, &actor, d.org_id, NH_AUDIT_DEVICE, d.id, err, "Device %.*s validated its firmware", NH_ARG(d.identifier));
}

static bool types_sound(const json_t *payload) { return json_is_array(json_object_get(payload, "values")); }

nh_rc nh_session_connection_types(struct nh_ctx *ctx, const struct nh_session *s, const json_t *payload, struct nh_err *err)
{
	nh_slice text = NH_SLICE_EMPTY;
	NH_TRY(nh_session_live(ctx, s, &text, err));
	const json_t *values = json_object_get(payload, "values");
	if (!json_is_array(values))
		return NH_OK;
	json_t *kept = json_array();
	for (size_t i = 0; i < json_array_size(values) && i < CONNECTION_TYPES_MAX; i++) {
		json_t *item = json_array_get(values, i);
		if (json_is_string(item) && json_string_length(item) <= 64)
			json_array_append(kept, item);
	}
	return nh_session_note(ctx, s, text, "connection_types", kept, err);
}

static bool interface_sound(const json_t *payload) { return json_is_string(json_object_get(payload, "interface")); }

nh_rc nh_session_network_interface(struct nh_ctx *ctx, const struct nh_session *s, const json_t *payload, struct nh_err *err)
{
	static const struct {
		const char *prefix, *kind;
	} kinds[] = {{"wlan", "wifi"}, {"eth", "ethernet"}, {"en", "ethernet"}, {"wwan", "cellular"}};
	NH_TRY(nh_session_live(ctx, s, NULL, err));
	if (!json_is_string(json_object_get(payload, "interface")))
		return NH_OK;
	nh_slice name = nh_json_text(payload, "interface");
	const char *kind = "unknown";
	for (size_t i = 0; i < NH_ARRAY_LEN(kinds); i++) {
		if (nh_slice_starts(name, nh_slice_str(kinds[i].prefix))) {
			kind = kinds[i].kind;
			break;
		}
	}
	struct nh_device_facts d;
	NH_TRY(nh_sql_exec(ctx->tx, &nh_q_connection_interface, NH_PARAMS(nh_p_str(kind), nh_p_int(s->device_id), nh_p_str(s->connection_id)), NULL, err));
	NH_TRY(nh_device_facts_load(ctx, s->device_id, &d, err));
	nh_wake_group(ctx, d.group_id);
	nh_device_topic(ctx, d.id);
	return NH_OK;
}

nh_rc nh_session_ask_update(struct nh_ctx *ctx, const struct nh_session *s, nh_slice *update, struct nh_err *err)
{
	struct nh_device_facts d;
	*update = NH_SLICE_EMPTY;
	NH_TRY(nh_session_live(ctx, s, NULL, err));
	NH_TRY(nh_device_facts_load(ctx, s->device_id, &d, err));
	return nh_orchestrator_ask(ctx, &d, update, err);
}

/* ---- table ------------------------------------------------------------------------------------------------------------------ */

const struct nh_session_event *nh_session_event_find(nh_slice name)
{
	static const struct nh_session_event events[] = {
		{"fwup_progress", progress_sound, nh_session_progress},
		{"update_progress", progress_sound, nh_session_progress},
		{"status_update", status_sound, nh_session_status_update},
		{"firmware_validated", NULL, nh_session_firmware_validated},
		{"connection_types", types_sound, nh_session_connection_types},
		{"report_network_interface", interface_sound, nh_session_network_interface},
		{"rebooting", NULL, NULL},
		{"network_interface_mismatch", NULL, NULL},
	};
	for (size_t i = 0; i < NH_ARRAY_LEN(events); i++) {
		if (nh_slice_eq_str(name, events[i].name))
			return &events[i];
	}
	return NULL;
}
