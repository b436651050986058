/*
 * What all extensions share: names, versions, who may use them, the table of events, retention. What an event means is in the file of its extension.
 *
 * source: reference/device-protocol "12.1"; reference/server-behaviour "7.1"
 */
#include "base/semver.h"
#include "input_int.h"
#include "rollout_int.h"
#include "rows_int.h"
#include "telemetry_int.h"

#define SETTINGS_MAX 4096
#define TRIM_ROWS 500
#define TRIM_REPORTS 100 /* each with its metrics: eleven as a rule, two hundred at worst */
#define DAY_US (INT64_C(86400) * NH_US_PER_S)

static const char *const names[NH_EXTENSIONS] = {
	[NH_EXT_HEALTH] = "health",           [NH_EXT_GEO] = "geo",
	[NH_EXT_LOGGING] = "logging",         [NH_EXT_LOCAL_SHELL] = "local_shell",
	[NH_EXT_NETWORK_IDENTITY] = "network_identity",
};

const char *nh_extension_name(nh_extension extension)
{
	NH_ASSERT(extension < NH_EXTENSIONS);
	return names[extension];
}

nh_extension nh_extension_find(nh_slice name)
{
	nh_extension found = 0;
	while (found < NH_EXTENSIONS && !nh_slice_eq_str(name, names[found]))
		found++;
	return found;
}

bool nh_extension_version_ok(nh_slice version)
{
	static const struct nh_semver least = {.patch = 1}, too_new = {.minor = 1};
	struct nh_semver v;
	return nh_semver_parse(version, &v) == NH_OK && nh_semver_cmp(&v, &least) >= 0 && nh_semver_cmp(&v, &too_new) < 0;
}

/* ---- settings ---------------------------------------------------------------------------------------------------------- */

/* The bits of names that a stored map sets to `value`. */
static unsigned set_to(nh_slice settings, bool value)
{
	NH_AUTO_JSON json_t *map = NULL;
	unsigned mask = 0;
	if (nh_json_parse(settings, SETTINGS_MAX, &map, NULL) != NH_OK)
		return 0;
	for (unsigned i = 0; i < NH_EXTENSIONS; i++) {
		const json_t *flag = json_object_get(map, names[i]);
		if (json_is_boolean(flag) && json_is_true(flag) == value)
			mask |= NH_EXT_BIT(i);
	}
	return mask;
}

nh_rc nh_extensions_allowed(struct nh_ctx *ctx, int64_t device_id, unsigned *mask, struct nh_err *err)
{
	struct nh_rows *rows = NULL;
	*mask = 0;
	nh_rc rc = nh_sql_one(ctx->tx, &nh_q_extension_settings, NH_PARAMS(nh_p_int(device_id)), &rows, err);
	if (rc == NH_ENOTFOUND)
		return NH_FAIL(err, NH_ENOTFOUND, "no such device");
	NH_TRY(rc);
	*mask = set_to(nh_col_text(rows, 0, ctx->arena), true) & ~set_to(nh_col_text(rows, 1, ctx->arena), false);
	nh_sql_end(rows);
	return NH_OK;
}

nh_rc nh_extensions_edit(struct nh_arena *arena, const json_t *fields, nh_slice current, nh_slice *out, json_t **errors, struct nh_err *err)
{
	const json_t *wanted = json_object_get(fields, "extensions");
	if (!wanted)
		return NH_OK;
	if (!json_is_object(wanted))
		return nh_refuse(errors, err, NH_EINVAL, "extensions", "is invalid");
	unsigned on = set_to(current, true), off = set_to(current, false);
	NH_AUTO_JSON json_t *kept = json_object();
	for (unsigned i = 0; i < NH_EXTENSIONS; i++) {
		const json_t *flag = json_object_get(wanted, names[i]);
		bool value;
		if (flag && !nh_input_bool(flag, &value))
			return nh_refuse(errors, err, NH_EINVAL, "extensions", "is invalid");
		if (flag)
			json_object_set_new(kept, names[i], json_boolean(value));
		else if ((on | off) & NH_EXT_BIT(i))
			json_object_set_new(kept, names[i], json_boolean(on & NH_EXT_BIT(i)));
	}
	*out = nh_json_arena(arena, kept);
	return NH_OK;
}

/* ---- events ------------------------------------------------------------------------------------------------------------ */

static const struct {
	nh_extension extension;
	const char *event;
	nh_rc (*handle)(struct nh_ctx *ctx, struct nh_told *told, struct nh_err *err);
} events[] = {
	{NH_EXT_HEALTH, "report", nh_health_report},
	{NH_EXT_GEO, "location:update", nh_geo_update},
	{NH_EXT_LOGGING, "send", nh_log_send},
	{NH_EXT_NETWORK_IDENTITY, "report", nh_network_identity_report},
};

nh_rc nh_extension_event(struct nh_ctx *ctx, const struct nh_session *session, nh_extension extension, nh_slice event, const json_t *payload, unsigned *ignored, struct nh_err *err)
{
	struct nh_told told = {.session = session, .payload = payload};
	size_t i = 0;
	while (i < NH_ARRAY_LEN(events) && (events[i].extension != extension || !nh_slice_eq_str(event, events[i].event)))
		i++;
	NH_TRY(nh_session_live(ctx, session, &told.metadata, err));
	if (i < NH_ARRAY_LEN(events))
		NH_TRY(events[i].handle(ctx, &told, err));
	else
		told.ignored = 1;
	if (ignored)
		*ignored += told.ignored;
	return NH_OK;
}

/* ---- how often ----------------------------------------------------------------------------------------------------------- */

#define BUCKET_MILLI_TOKENS 10000u

bool nh_extension_bucket_take(struct nh_extension_bucket *b, nh_extension extension, uint64_t mono_ms)
{
	uint32_t milli_tokens_a_ms = extension == NH_EXT_LOGGING ? 5 : 1;
	uint64_t passed_ms = mono_ms > b->at_ms ? mono_ms - b->at_ms : 0;
	if (!b->started || passed_ms >= BUCKET_MILLI_TOKENS / milli_tokens_a_ms)
		b->milli_tokens = BUCKET_MILLI_TOKENS;
	else
		b->milli_tokens += (uint32_t)passed_ms * milli_tokens_a_ms;
	if (b->milli_tokens > BUCKET_MILLI_TOKENS)
		b->milli_tokens = BUCKET_MILLI_TOKENS;
	b->started = true;
	b->at_ms = mono_ms;
	if (b->milli_tokens < 1000)
		return false;
	b->milli_tokens -= 1000;
	return true;
}

/* ---- retention --------------------------------------------------------------------------------------------------------- */

nh_rc nh_telemetry_trim(struct nh_ctx *ctx, const struct nh_retention *keep, size_t *trimmed, struct nh_err *err)
{
	const struct {
		const struct nh_stmt *stmt;
		unsigned days, rows;
	} kinds[] = {
		{&nh_q_health_trim, keep->health_days, TRIM_REPORTS},
		{&nh_q_log_trim, keep->log_days, TRIM_ROWS},
		{&nh_q_history_trim, keep->connection_days, TRIM_ROWS},
	};
	*trimmed = 0;
	for (size_t i = 0; i < NH_ARRAY_LEN(kinds); i++) {
		int64_t changed = 0, before = nh_ctx_now(ctx) - (int64_t)kinds[i].days * DAY_US;
		NH_TRY(nh_sql_exec(ctx->tx, kinds[i].stmt, NH_PARAMS(nh_p_int(before), nh_p_int(kinds[i].rows)), &changed, err));
		*trimmed += (size_t)changed;
	}
	return NH_OK;
}
