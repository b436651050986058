/*
 * Counts what a release would do to its group. Each member is decided about as the orchestrator would, one page at a time in an arena that goes with the page; what stays are sums.
 *
 * Reasons of the group hold for all of its members alike, so that they are told once, as what blocks the release, and members are counted as though they were gone: who plans wants to know both.
 * How long it takes is an estimate: slots times the median of what updates took, which the answer says, too.
 *
 * source: reference/server-behaviour "3.8", "3.12"
 */
#include <stdlib.h>

#include "explain_int.h"
#include "hub/forecast.h"
#include "input_int.h"
#include "rollout_int.h"
#include "rows_int.h"
#include "store/plan.h"
#include "store/rollout.h"

#define EARLIER_RELEASES 5

const char *nh_standing_name(nh_standing standing)
{
	static const char *const names[NH_STANDS_COUNT] = {
		[NH_STANDS_UP_TO_DATE] = "up_to_date", [NH_STANDS_IN_FLIGHT] = "in_flight", [NH_STANDS_READY] = "ready", [NH_STANDS_WAITING] = "waiting", [NH_STANDS_HELD] = "held"};
	return names[standing];
}

/* ---- beginning ---------------------------------------------------------------------------------------------------------------- */

static void read_text(const struct nh_rows *rows, struct nh_arena *arena, void *item) { *(nh_slice *)item = nh_col_text(rows, 0, arena); }

/* What the release was staged with. A wave that has yet to begin is looked at as though it began now. */
static nh_rc load_plan(struct nh_ctx *ctx, struct nh_forecast *f, struct nh_err *err)
{
	struct nh_rollout *r = &f->group.rollout;
	nh_slice text;
	if (r->release_id == 0)
		return NH_OK;
	nh_rc rc = nh_one_row(ctx->tx, f->arena, &nh_q_rollout_plan_text, NH_PARAMS(nh_p_int(r->release_id)), read_text, &text, "rollout", err);
	if (rc == NH_ENOTFOUND)
		return NH_OK;
	NH_TRY(rc);
	NH_AUTO_JSON json_t *fields = NULL;
	NH_AUTO_JSON json_t *faults = json_object();
	NH_TRY(nh_json_parse(text, (size_t)1 << 20, &fields, err));
	if (nh_plan_read(f->arena, fields, 0, &f->plan, faults, NULL) != NH_OK)
		f->plan.wave_count = 0; /* a pause alone, or a plan that a newer version wrote */
	if (r->wave == 0 && f->plan.wave_count > 0) {
		r->wave = 1;
		r->share = f->plan.waves[0].share;
	}
	return NH_OK;
}

/* Copies nothing: the group was loaded into the forecast's arena. */
static nh_rc begin(struct nh_ctx *ctx, struct nh_arena *arena, int64_t group_id, bool hypothetical, struct nh_forecast *out, struct nh_err *err)
{
	struct nh_ctx own = *ctx;
	own.arena = arena;
	*out = (struct nh_forecast){.arena = arena, .hypothetical = hypothetical, .now_us = nh_ctx_now(ctx)};
	NH_TRY(nh_group_get_by_id(&own, group_id, &out->group, err));
	return load_plan(&own, out, err);
}

nh_rc nh_forecast_begin(struct nh_ctx *ctx, struct nh_arena *arena, const struct nh_group *group, struct nh_forecast *out, struct nh_err *err)
{
	return begin(ctx, arena, group->id, false, out, err);
}

nh_rc nh_forecast_suppose(struct nh_ctx *ctx, struct nh_arena *arena, const struct nh_actor *actor, const struct nh_group *group, const json_t *fields, struct nh_forecast *out, json_t **errors,
                          struct nh_err *err)
{
	struct nh_group changed;
	NH_TRY(nh_group_update(ctx, actor, group, fields, &changed, errors, err));
	NH_TRY(begin(ctx, arena, group->id, true, out, err));
	return NH_FAIL(err, NH_ECLOSED, "supposed only");
}

/* ---- counting ----------------------------------------------------------------------------------------------------------------- */

static void count_source(struct nh_forecast *f, nh_slice uuid)
{
	size_t i = 0;
	while (i < f->source_count && !nh_slice_eq(f->sources[i].firmware_uuid, uuid))
		i++;
	if (i == NH_FORECAST_SOURCES_MAX) {
		f->other_sources++;
		return;
	}
	if (i == f->source_count)
		f->sources[f->source_count++] = (struct nh_forecast_source){.firmware_uuid = nh_arena_copy(f->arena, uuid)};
	f->sources[i].devices++;
}

/* The first wave that names or measures the device; the number of waves where none does. */
static size_t wave_of(const struct nh_forecast *f, const struct nh_device_facts *d)
{
	const struct nh_rollout *r = &f->group.rollout;
	for (size_t i = 0; i < f->plan.wave_count; i++) {
		const struct nh_plan_wave *w = &f->plan.waves[i];
		bool named = w->share == 0 && d->named_release_id == r->release_id && r->wave > (int64_t)i;
		if (named || (w->share > 0 && nh_rollout_rank(r->release_id, d->id) < w->share))
			return i;
	}
	return f->plan.wave_count;
}

/* What is left of the reasons without those of the whole group decides where it stands. */
static nh_standing standing_of(struct nh_forecast *f, const struct nh_update_decision *decision)
{
	nh_standing stands = NH_STANDS_READY;
	size_t own = 0, last = 0;
	if (nh_update_has_reason(decision, NH_UPDATE_SAME_FIRMWARE))
		return NH_STANDS_UP_TO_DATE;
	if (nh_update_has_reason(decision, NH_UPDATE_INFLIGHT))
		return NH_STANDS_IN_FLIGHT;
	for (size_t i = 0; i < decision->count; i++) {
		const struct nh_reason_kind *kind = nh_update_reason_kind(decision->reasons[i]);
		if (kind->of_group)
			continue;
		own++;
		last = decision->reasons[i];
		f->by_reason[last]++;
		if (!kind->ends_by_itself)
			stands = NH_STANDS_HELD;
		else if (stands == NH_STANDS_READY)
			stands = NH_STANDS_WAITING;
	}
	if (own == 1)
		f->alone[last]++;
	return stands;
}

static void count_device(struct nh_forecast *f, const struct nh_device_facts *d)
{
	struct nh_update_decision decision = nh_update_decide(d, &f->group, NH_UPDATE_QUEUE, f->now_us);
	nh_standing stands = standing_of(f, &decision);
	f->stands[stands]++;
	f->waves[wave_of(f, d)][stands]++;
	if (stands >= NH_STANDS_READY)
		count_source(f, d->firmware_uuid);
}

nh_rc nh_forecast_page(struct nh_ctx *ctx, struct nh_forecast *f, struct nh_err *err)
{
	NH_AUTO_ARENA struct nh_arena page = NH_ARENA_INIT;
	struct nh_rows *rows = NULL;
	int64_t seen = 0;
	NH_TRY(nh_sql_query(ctx->tx, &nh_q_facts_members, NH_PARAMS(nh_p_int(f->group.id), nh_p_int(f->after_id), nh_p_int(NH_FORECAST_PAGE)), &rows, err));
	nh_rc rc;
	while ((rc = nh_sql_next(rows, err)) == NH_OK) {
		struct nh_device_facts d;
		nh_device_facts_read(rows, &page, &d);
		count_device(f, &d);
		f->after_id = d.id;
		seen++;
	}
	nh_sql_end(rows);
	f->done = seen < NH_FORECAST_PAGE;
	return rc == NH_ENOTFOUND ? NH_OK : rc;
}

/* ---- how long ----------------------------------------------------------------------------------------------------------------- */

struct measured {
	int64_t us[NH_FORECAST_MEASURED_MAX];
	size_t count;
	const char *basis;
};

static nh_rc measure(struct nh_ctx *ctx, int64_t product_id, nh_slice uuid, struct measured *m, struct nh_err *err)
{
	struct nh_rows *rows = NULL;
	NH_TRY(nh_sql_query(ctx->tx, &nh_q_update_durations, NH_PARAMS(nh_p_int(product_id), nh_p_text(uuid), nh_p_int((int64_t)(NH_FORECAST_MEASURED_MAX - m->count))), &rows, err));
	nh_rc rc = NH_ENOTFOUND;
	while (m->count < NH_FORECAST_MEASURED_MAX && (rc = nh_sql_next(rows, err)) == NH_OK)
		m->us[m->count++] = nh_col_int(rows, 0);
	nh_sql_end(rows);
	return rc == NH_ENOTFOUND ? NH_OK : rc;
}

static int by_length(const void *left, const void *right)
{
	int64_t a = *(const int64_t *)left, b = *(const int64_t *)right;
	return a < b ? -1 : a > b;
}

/* Updates to this firmware, else to those of the group's earlier releases, else nothing is known. */
static nh_rc measure_updates(struct nh_ctx *ctx, const struct nh_forecast *f, struct measured *m, struct nh_err *err)
{
	*m = (struct measured){.basis = "this_firmware"};
	NH_TRY(measure(ctx, f->group.product_id, f->group.release.firmware_uuid, m, err));
	if (m->count == 0) {
		struct nh_release *releases;
		size_t count;
		m->basis = "earlier_releases";
		NH_TRY(nh_release_list(ctx, f->group.id, EARLIER_RELEASES, &releases, &count, err));
		for (size_t i = 0; i < count; i++)
			NH_TRY(measure(ctx, f->group.product_id, releases[i].firmware_uuid, m, err));
	}
	if (m->count == 0) {
		m->basis = "assumed";
		m->us[m->count++] = NH_FORECAST_ASSUMED_S * NH_US_PER_S;
	}
	qsort(m->us, m->count, sizeof(m->us[0]), by_length);
	return NH_OK;
}

static int64_t seconds_at(const struct measured *m, size_t percent)
{
	return (m->us[(m->count - 1) * percent / 100] + NH_US_PER_S - 1) / NH_US_PER_S;
}

/* Of so many devices through the group's slots. */
static int64_t seconds_for(const struct nh_forecast *f, const struct measured *m, int64_t devices)
{
	int64_t slots = f->group.concurrent_updates;
	return (devices + slots - 1) / slots * seconds_at(m, 50);
}

static json_t *duration_json(const struct nh_forecast *f, const struct measured *m)
{
	static const struct {
		const char *basis, *text;
	} texts[] = {
		{"this_firmware", "the median time of updates to this firmware so far, times the rounds that the group's concurrent updates need"},
		{"earlier_releases", "the median time of updates to the group's earlier releases, times the rounds that the group's concurrent updates need"},
		{"assumed", "five minutes an update, since none was measured yet, times the rounds that the group's concurrent updates need"},
	};
	const char *text = texts[0].text;
	for (size_t i = 0; i < NH_ARRAY_LEN(texts); i++) {
		if (nh_slice_eq_str(nh_slice_str(m->basis), texts[i].basis))
			text = texts[i].text;
	}
	bool measured = m->basis != NULL && !nh_slice_eq_str(nh_slice_str(m->basis), "assumed");
	int64_t ready = f->stands[NH_STANDS_READY], all = ready + f->stands[NH_STANDS_WAITING];
	return json_pack("{s:I, s:I, s:I, s:I, s:I, s:s, s:s}", "ready_seconds", (json_int_t)seconds_for(f, m, ready), "all_seconds", (json_int_t)seconds_for(f, m, all), "update_seconds",
	                 (json_int_t)seconds_at(m, 50), "slow_update_seconds", (json_int_t)seconds_at(m, 90), "measured_updates", (json_int_t)(measured ? m->count : 0), "basis", m->basis, "estimated_by",
	                 text);
}

/* ---- how much ----------------------------------------------------------------------------------------------------------------- */

struct delta {
	nh_slice status;
	int64_t size;
};

static void read_delta(const struct nh_rows *rows, struct nh_arena *arena, void *item)
{
	*(struct delta *)item = (struct delta){nh_col_text(rows, 0, arena), nh_col_int(rows, 1)};
}

static nh_rc source_json(struct nh_ctx *ctx, const struct nh_forecast *f, const struct nh_forecast_source *s, int64_t full, int64_t *bytes, json_t *list, struct nh_err *err)
{
	struct delta delta = {0};
	nh_rc rc = NH_ENOTFOUND;
	if (f->group.delta_updatable && s->firmware_uuid.len > 0)
		rc = nh_one_row(ctx->tx, ctx->arena, &nh_q_delta_of_pair, NH_PARAMS(nh_p_int(f->group.release.firmware_id), nh_p_text(s->firmware_uuid)), read_delta, &delta, "delta", err);
	if (rc != NH_OK && rc != NH_ENOTFOUND)
		return rc;
	bool ready = nh_slice_eq_str(delta.status, "completed");
	*bytes += s->devices * (ready ? delta.size : full);
	json_array_append_new(list, json_pack("{s:o, s:I, s:o, s:o}", "firmware_uuid", nh_json_new_text(s->firmware_uuid.len ? s->firmware_uuid : NH_SLICE_EMPTY), "devices", (json_int_t)s->devices,
	                                      "delta", nh_json_new_text(delta.status), "delta_bytes", ready ? json_integer(delta.size) : json_null()));
	return NH_OK;
}

static nh_rc bytes_json(struct nh_ctx *ctx, const struct nh_forecast *f, json_t **out, struct nh_err *err)
{
	int64_t full = 0, devices = f->other_sources;
	nh_rc rc = nh_query_id(ctx->tx, &nh_q_firmware_size_by_uuid, NH_PARAMS(nh_p_int(f->group.product_id), nh_p_text(f->group.release.firmware_uuid)), &full, err);
	if (rc != NH_OK && rc != NH_ENOTFOUND)
		return rc;
	int64_t bytes = f->other_sources * full;
	json_t *list = json_array();
	for (size_t i = 0; i < f->source_count; i++) {
		devices += f->sources[i].devices;
		rc = source_json(ctx, f, &f->sources[i], full, &bytes, list, err);
		if (rc != NH_OK) {
			json_decref(list);
			return rc;
		}
	}
	*out = json_pack("{s:I, s:I, s:I, s:o}", "firmware", (json_int_t)full, "full", (json_int_t)(devices * full), "with_deltas", (json_int_t)bytes, "sources", list);
	return NH_OK;
}

/* ---- the answer --------------------------------------------------------------------------------------------------------------- */

static json_t *stands_json(const int64_t *stands)
{
	json_t *out = json_object();
	int64_t total = 0;
	for (size_t i = 0; i < NH_STANDS_COUNT; i++) {
		json_object_set_new(out, nh_standing_name((nh_standing)i), json_integer(stands[i]));
		total += stands[i];
	}
	json_object_set_new(out, "total", json_integer(total));
	return out;
}

static json_t *kind_json(nh_update_reason reason)
{
	const struct nh_reason_kind *kind = nh_update_reason_kind(reason);
	return json_pack("{s:s, s:s, s:b}", "code", kind->code, "text", nh_update_reason_text(reason), "ends_by_itself", kind->ends_by_itself);
}

static json_t *reasons_json(const struct nh_forecast *f)
{
	json_t *list = json_array();
	for (size_t i = 0; i < NH_UPDATE_REASON_COUNT; i++) {
		if (f->by_reason[i] == 0)
			continue;
		json_t *one = kind_json((nh_update_reason)i);
		json_object_set_new(one, "devices", json_integer(f->by_reason[i]));
		json_object_set_new(one, "alone", json_integer(f->alone[i]));
		json_array_append_new(list, one);
	}
	return list;
}

/* What the group itself holds against a device that nothing else is held against. */
static json_t *blockers_json(const struct nh_forecast *f)
{
	struct nh_device_facts d = {.updates_enabled = true, .connected = true, .firmware_uuid = NH_LIT("-"), .tags = f->group.release_tags, .tag_count = f->group.release_tag_count};
	if (f->group.release_interface_count > 0)
		d.network_interface = f->group.release_interfaces[0];
	struct nh_update_decision decision = nh_update_decide(&d, &f->group, NH_UPDATE_QUEUE, f->now_us);
	json_t *list = json_array();
	for (size_t i = 0; i < decision.count; i++) {
		if (nh_update_reason_kind(decision.reasons[i])->of_group)
			json_array_append_new(list, kind_json(decision.reasons[i]));
	}
	return list;
}

/* A gate of time is waited for; how long health takes, and people, is not known. */
static json_t *waves_json(const struct nh_forecast *f, const struct measured *m)
{
	json_t *list = json_array();
	for (size_t i = 0; f->plan.wave_count > 0 && i <= f->plan.wave_count; i++) {
		bool rest = i == f->plan.wave_count;
		const struct nh_plan_wave *w = rest ? NULL : &f->plan.waves[i];
		/* Whom a query will find is only known once its wave has begun. */
		bool known = rest || w->share > 0 || f->group.rollout.wave > (int64_t)i + 1;
		int64_t left = f->waves[i][NH_STANDS_READY] + f->waves[i][NH_STANDS_WAITING] + f->waves[i][NH_STANDS_IN_FLIGHT];
		json_array_append_new(list, json_pack("{s:o, s:o, s:o, s:o, s:o, s:o, s:o}", "number", rest ? json_null() : json_integer((json_int_t)i + 1), "percent",
		                                      w && w->share ? json_real(100.0 * (double)w->share / (double)NH_ROLLOUT_WHOLE) : json_null(), "query",
		                                      w && w->query.len ? nh_json_new_text(w->query) : json_null(), "gate", w ? json_string(nh_gate_name(w->gate)) : json_null(), "gate_seconds",
		                                      w && (w->gate == NH_GATE_TIME || w->gate == NH_GATE_HEALTH) ? json_integer(w->gate_seconds) : json_null(), "devices",
		                                      known ? stands_json(f->waves[i]) : json_null(), "seconds", known ? json_integer(seconds_for(f, m, left)) : json_null()));
	}
	return list;
}

nh_rc nh_forecast_json(struct nh_ctx *ctx, const struct nh_forecast *f, json_t **out, struct nh_err *err)
{
	struct measured m;
	struct nh_slots slots = {.limit = f->group.concurrent_updates};
	json_t *bytes = NULL;
	*out = NULL;
	NH_TRY(measure_updates(ctx, f, &m, err));
	NH_TRY(nh_query_id(ctx->tx, &nh_q_inflight_count, NH_PARAMS(nh_p_int(f->group.id), nh_p_bool(false)), &slots.used, err));
	NH_TRY(bytes_json(ctx, f, &bytes, err));
	json_t *blockers = blockers_json(f);
	int64_t room = json_array_size(blockers) == 0 ? nh_slots_free(slots) : 0, ready = f->stands[NH_STANDS_READY];
	*out = json_pack("{s:o, s:b, s:o, s:{s:I, s:o, s:o}, s:o, s:I, s:I, s:o, s:o, s:o, s:o, s:o}", "deployment_group", nh_json_new_text(f->group.name), "hypothetical", f->hypothetical, "at",
	                 moment_json(f->now_us), "release", "number", (json_int_t)f->group.release.number, "firmware_uuid", nh_json_new_text(f->group.release.firmware_uuid), "firmware_version",
	                 nh_json_new_text(f->group.release.firmware_version), "devices", stands_json(f->stands), "now", (json_int_t)(ready < room ? ready : room), "concurrent_updates",
	                 (json_int_t)f->group.concurrent_updates, "blockers", blockers, "reasons", reasons_json(f), "bytes", bytes, "duration", duration_json(f, &m), "waves", waves_json(f, &m));
	return NH_OK;
}
