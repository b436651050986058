/*
 * Staged rollouts: plans, waves, gates, windows, what stops a rollout and what people do then. A scenario plays the devices and the clock, and carries out the jobs that the rules leave.
 */
#include <string.h>

#include "rollout_world.h"

#include "hub/events.h"
#include "hub/extensions.h"
#include "hub/jobs.h"
#include "hub/overview.h"
#include "hub/rollouts.h"
#include "store/staged_rollout.h"

#define DEVICES_MAX 64
#define MINUTE (60 * NH_US_PER_S)

struct fleet {
	struct nh_group g;
	int64_t ids[DEVICES_MAX];
	struct nh_session sessions[DEVICES_MAX];
	size_t count;
	int number; /* of the firmware that is released next, and the last that was */
};

/* ---- playing ---------------------------------------------------------------------------------------------------------------- */

static nh_rc set_plan(struct world *w, struct fleet *f, const char *json, bool now)
{
	NH_AUTO_JSON json_t *plan = NULL;
	nh_rc rc = nh_json_parse(nh_slice_str(json), 100000, &plan, E(w));
	return rc == NH_OK ? nh_rollout_plan_set(&w->ctx, &w->as_ada, &f->g, plan, now, NO_ERRORS(w), E(w)) : rc;
}

static nh_rc reload(struct world *w, struct fleet *f) { return nh_group_get_by_id(&w->ctx, f->g.id, &f->g, E(w)); }

/* A group on firmware 1 with as many devices, joined; then the plan, and firmware 2 released by it. Every tenth device is tagged "canary". */
static nh_rc begin(struct world *w, struct fleet *f, size_t devices, const char *plan, struct nh_err *err)
{
	*f = (struct fleet){.count = devices, .number = 2};
	NH_TRY(add_firmware(w, 1, "1.0.0", err));
	NH_TRY(add_firmware(w, 2, "2.0.0", err));
	json_t *fields = group_fields(w, "fleet", 1);
	json_object_set_new(fields, "concurrent_updates", json_integer(100));
	NH_TRY(add_group(w, fields, &f->g));
	for (size_t i = 0; i < devices; i++) {
		NH_TRY(add_device(w, nh_arena_printf(&w->arena, "dev-%02zu", i), i % 10 == 0 ? "[\"canary\"]" : "[]", &f->ids[i], err));
		NH_TRY(join(w, f->ids[i], 1, "1.0.0", &f->sessions[i]));
	}
	if (plan)
		OK(set_plan(w, f, plan, false));
	NH_AUTO_JSON json_t *release = json_pack("{s:s}", "firmware", (const char *)fw_uuid(w, 2).ptr);
	OK(nh_group_update(&w->ctx, &w->as_ada, &f->g, release, &f->g, NO_ERRORS(w), E(w)));
	forget_effects(w);
	return NH_OK;
}

/* What the scheduler does, for the wave that runs. */
static nh_rc prepare(struct world *w, struct fleet *f)
{
	struct nh_rollout_prepare state = {.release_id = f->g.release.id, .wave = f->g.rollout.wave};
	nh_rc rc = NH_OK;
	while (rc == NH_OK && !state.done)
		rc = nh_rollout_prepare(&w->ctx, &state, E(w));
	return rc;
}

/* Runs of the orchestrator until it rests, jobs carried out; *sent: whom. */
static nh_rc settle(struct world *w, struct fleet *f, size_t *sent)
{
	struct nh_orchestrator_result result;
	*sent = 0;
	for (int i = 0; i < 20; i++) {
		int64_t wave = f->g.rollout.wave;
		nh_rc rc = run_group(w, f->g.id, &result);
		*sent += result.sent;
		if (rc != NH_OK || (rc = reload(w, f)) != NH_OK)
			return rc;
		if (f->g.rollout.wave != wave && f->g.rollout.wave <= f->g.rollout.waves && (rc = prepare(w, f)) != NH_OK)
			return rc;
		if (f->g.rollout.wave == wave && !result.sent && !result.more)
			return NH_OK;
	}
	return NH_EINTERNAL;
}

static nh_rc report(struct world *w, int64_t id, nh_update_stage stage)
{
	const struct nh_update_report r = {.stage = stage, .progress = -1, .reason = NH_LIT("it broke")};
	return nh_update_report(&w->ctx, id, &r, E(w));
}

static bool told(const struct world *w, int64_t id) { return pushed(w, id, "update").ptr != NULL; }

enum fate { SUCCEEDS, FAILS, REVERTS, VANISHES };

/* What a device makes of its update. */
static nh_rc play(struct world *w, struct fleet *f, size_t i, enum fate fate, struct nh_err *err)
{
	struct nh_join_result result;
	OK(report(w, f->ids[i], NH_STAGE_RECEIVED));
	if (fate == FAILS)
		return report(w, f->ids[i], NH_STAGE_FAILED);
	OK(report(w, f->ids[i], NH_STAGE_COMPLETED));
	if (fate == VANISHES)
		return nh_session_disconnect(&w->ctx, f->ids[i], f->sessions[i].connection_id, NH_LIT("gone"), E(w));
	if (fate == SUCCEEDS)
		return join(w, f->ids[i], f->number, "2.0.0", &f->sessions[i]);
	json_t *payload = join_payload(w, 1, "1.0.0");
	json_object_set_new(json_object_get(payload, "meta"), "firmware_auto_revert_detected", json_true());
	return join_with(w, f->ids[i], payload, &f->sessions[i], &result);
}

/* All that were told since effects were forgotten. */
static nh_rc play_all(struct world *w, struct fleet *f, enum fate fate, struct nh_err *err)
{
	bool todo[DEVICES_MAX];
	for (size_t i = 0; i < f->count; i++)
		todo[i] = told(w, f->ids[i]);
	forget_effects(w);
	for (size_t i = 0; i < f->count; i++) {
		if (todo[i])
			NH_TRY(play(w, f, i, fate, err));
	}
	forget_effects(w);
	return NH_OK;
}

static json_t *shown(struct world *w, struct fleet *f)
{
	json_t *out = NULL;
	return reload(w, f) == NH_OK && nh_rollout_show(&w->ctx, &f->g, &out, E(w)) == NH_OK ? out : NULL;
}

static int64_t wave_number(const json_t *rollout, size_t wave, const char *member) { return nh_json_int(json_array_get(json_object_get(rollout, "waves"), wave), member, -1); }
static const char *wave_state(const json_t *rollout, size_t wave) { return json_string_value(json_object_get(json_array_get(json_object_get(rollout, "waves"), wave), "state")); }
static const char *next_is(const json_t *rollout) { return json_string_value(json_object_get(json_array_get(json_object_get(rollout, "next"), 0), "what")); }
static int64_t failures(const json_t *rollout, size_t signal) { return nh_json_int(json_array_get(json_object_get(json_object_get(rollout, "evidence"), "signals"), signal), "failures", -1); }
static int64_t trials(const json_t *rollout, size_t signal) { return nh_json_int(json_array_get(json_object_get(json_object_get(rollout, "evidence"), "signals"), signal), "trials", -1); }

/* ---- waves ------------------------------------------------------------------------------------------------------------------- */

static nh_rc waves(struct world *w, struct nh_err *err)
{
	struct fleet f;
	size_t sent;
	NH_TRY(begin(w, &f, 40,
	             "{\"waves\":[{\"tags\":[\"canary\"],\"gate\":{\"type\":\"health\",\"share\":1,\"seconds\":600}},{\"percent\":25,\"gate\":{\"type\":\"manual\"}},"
	             "{\"percent\":60,\"gate\":{\"type\":\"time\",\"seconds\":3600}}]}",
	             err));
	CHECK(f.g.rollout.release_id == f.g.release.id && f.g.rollout.waves == 3 && f.g.rollout.wave == 0);

	/* The canaries, and nobody else. */
	OK(settle(w, &f, &sent));
	CHECK(sent == 4 && f.g.rollout.wave == 1 && f.g.rollout.named);
	for (size_t i = 0; i < f.count; i++)
		CHECK(told(w, f.ids[i]) == (i % 10 == 0));
	NH_AUTO_JSON json_t *first = shown(w, &f);
	CHECK(first && wave_number(first, 0, "size") == 4 && strcmp(wave_state(first, 0), "running") == 0 && strcmp(wave_state(first, 1), "pending") == 0);
	CHECK(strcmp(next_is(first), "updates") == 0);
	NH_TRY(play_all(w, &f, SUCCEEDS, err));

	/* Its gate waits ten minutes more. */
	OK(settle(w, &f, &sent));
	CHECK(sent == 0 && f.g.rollout.wave == 1);
	NH_AUTO_JSON json_t *waiting = shown(w, &f);
	CHECK(wave_number(waiting, 0, "updated") == 4 && strcmp(wave_state(waiting, 0), "waiting") == 0 && strcmp(next_is(waiting), "gate") == 0);
	world_pass(w, 600 * NH_US_PER_S - 1);
	OK(settle(w, &f, &sent));
	CHECK(sent == 0);
	world_pass(w, 1);
	OK(settle(w, &f, &sent));

	/* A quarter: those whose rank says so, without the canaries. */
	CHECK(f.g.rollout.wave == 2 && sent > 0 && sent <= 14);
	size_t in_share = 0;
	for (size_t i = 0; i < f.count; i++) {
		bool in = nh_rollout_rank(f.g.release.id, f.ids[i]) < NH_ROLLOUT_WHOLE / 4;
		in_share += in && i % 10 != 0;
		CHECK(told(w, f.ids[i]) == (in && i % 10 != 0));
	}
	CHECK(sent == in_share);
	NH_TRY(play_all(w, &f, SUCCEEDS, err));
	world_pass(w, 100 * 3600 * NH_US_PER_S);
	OK(settle(w, &f, &sent));
	NH_AUTO_JSON json_t *manual = shown(w, &f);
	CHECK(sent == 0 && f.g.rollout.wave == 2 && strcmp(next_is(manual), "approval") == 0 && wave_number(manual, 1, "size") == (int64_t)in_share);
	CHECK(audited(w, NH_AUDIT_GROUP, f.g.id, "opened the gate") == false);
	OK(nh_rollout_approve(&w->ctx, &w->as_ada, &f.g, NH_LIT("looks good"), E(w)));
	CHECK(audited(w, NH_AUDIT_GROUP, f.g.id, "Ada Lovelace opened the gate behind wave 2 of the rollout of release 2 (2.0.0) to deployment group fleet: looks good"));

	/* 60 %, and after an hour the rest, whether these are done or not. */
	OK(reload(w, &f));
	OK(prepare(w, &f));
	OK(settle(w, &f, &sent));
	CHECK(f.g.rollout.wave == 3 && sent > 0);
	NH_TRY(play_all(w, &f, SUCCEEDS, err));
	world_pass(w, 3600 * NH_US_PER_S);
	OK(settle(w, &f, &sent));
	CHECK(f.g.rollout.wave == 4 && sent > 0 && f.g.rollout.state == NH_ROLLOUT_RUNNING);
	NH_TRY(play_all(w, &f, SUCCEEDS, err));
	OK(settle(w, &f, &sent));
	CHECK(sent == 0 && f.g.rollout.state == NH_ROLLOUT_FINISHED);
	CHECK_RC(NH_ECONFLICT, nh_rollout_approve(&w->ctx, &w->as_ada, &f.g, NH_SLICE_EMPTY, E(w)));
	CHECK_RC(NH_ECONFLICT, nh_rollout_skip(&w->ctx, &w->as_ada, &f.g, NH_SLICE_EMPTY, E(w)));

	/* Who comes later gets it all the same. */
	int64_t late;
	struct nh_session s;
	NH_TRY(add_device(w, "late", "[]", &late, err));
	OK(join(w, late, 1, "1.0.0", &s));
	OK(settle(w, &f, &sent));
	CHECK(sent == 1 && told(w, late));
	return NH_OK;
}
static void test_waves(void **state) { on_each_engine(waves, NULL); }

/* By a query of the device list; a wave without devices keeps nobody; those of a share that began are not named again. */
static nh_rc queries(struct world *w, struct nh_err *err)
{
	struct fleet f;
	size_t sent;
	NH_TRY(begin(w, &f, 30,
	             "{\"waves\":[{\"query\":\"identifier like \\\"nobody\\\"\",\"gate\":{\"type\":\"health\",\"seconds\":86400}},{\"percent\":30,\"gate\":{\"type\":\"none\"}},"
	             "{\"query\":\"identifier like \\\"dev-1%\\\" and not tags contains \\\"canary\\\"\",\"gate\":{\"type\":\"none\",\"share\":0}},{\"percent\":100}]}",
	             err));
	size_t share = 0, named = 0;
	for (size_t i = 0; i < f.count; i++) {
		bool in = nh_rollout_rank(f.g.release.id, f.ids[i]) < (uint64_t)(0.3 * (double)NH_ROLLOUT_WHOLE + 0.5);
		share += in;
		named += !in && i > 10 && i < 20;
	}
	OK(settle(w, &f, &sent));
	CHECK(f.g.rollout.wave == 2 && sent == share && share > 0);
	NH_TRY(play_all(w, &f, SUCCEEDS, err));
	OK(settle(w, &f, &sent));
	NH_AUTO_JSON json_t *rollout = shown(w, &f);
	CHECK(wave_number(rollout, 0, "size") == 0 && wave_number(rollout, 1, "size") == (int64_t)share && wave_number(rollout, 2, "size") == (int64_t)named);
	CHECK(f.g.rollout.wave == 4 && sent == f.count - share);

	/* Counting once more says the same. */
	struct nh_rollout_prepare again = {.release_id = f.g.release.id, .wave = 3};
	while (!again.done)
		OK(nh_rollout_prepare(&w->ctx, &again, E(w)));
	CHECK(again.size == (int64_t)named);
	again = (struct nh_rollout_prepare){.release_id = f.g.release.id + 100, .wave = 1};
	OK(nh_rollout_prepare(&w->ctx, &again, E(w)));
	CHECK(again.done && again.size == 0);
	return NH_OK;
}
static void test_queries(void **state) { on_each_engine(queries, NULL); }

static nh_rc shares(struct world *w, struct nh_err *err)
{
	/* Even over ids in a row, other for each release, and a share holds the smaller ones. */
	for (int64_t release = 1; release < 40; release++) {
		size_t tenth = 0, half = 0;
		for (int64_t id = 1; id <= 1000; id++) {
			uint64_t rank = nh_rollout_rank(release, id);
			tenth += rank < NH_ROLLOUT_WHOLE / 10;
			half += rank < NH_ROLLOUT_WHOLE / 2;
		}
		CHECK(tenth >= 95 && tenth <= 105 && half >= 495 && half <= 505);
	}
	CHECK(nh_rollout_rank(1, 7) != nh_rollout_rank(2, 7));
	return NH_OK;
}
static void test_shares(void **state) { on_engine(0, shares, NULL, ""); }

/* ---- the automatic stop ------------------------------------------------------------------------------------------------------- */

#define STOP_PLAN "{\"stop\":{\"alpha\":0.01,\"tolerated\":0.02,\"return_seconds\":900,\"settle_seconds\":600}}"

static nh_rc stops(struct world *w, struct nh_err *err)
{
	struct fleet f;
	size_t sent, played = 0;
	NH_TRY(begin(w, &f, 30, STOP_PLAN, err));
	NH_AUTO_JSON json_t *change = json_pack("{s:i}", "concurrent_updates", 5);
	OK(nh_group_update(&w->ctx, &w->as_ada, &f.g, change, &f.g, NO_ERRORS(w), E(w)));
	while (f.g.rollout.state == NH_ROLLOUT_RUNNING && played < f.count) {
		OK(settle(w, &f, &sent));
		played += sent;
		NH_TRY(play_all(w, &f, FAILS, err));
		OK(reload(w, &f));
	}
	CHECK(f.g.rollout.state == NH_ROLLOUT_STOPPED && played == 5);
	OK(settle(w, &f, &sent));
	CHECK(sent == 0);
	CHECK(audited(w, NH_AUDIT_GROUP, f.g.id, "Rollout of firmware 2.0.0") && audited(w, NH_AUDIT_GROUP, f.g.id, "devices could not install it"));
	NH_AUTO_JSON json_t *rollout = shown(w, &f);
	CHECK(strcmp(json_string_value(json_object_get(rollout, "state")), "stopped") == 0 && json_is_object(json_object_get(rollout, "stopped_by")));
	CHECK(strcmp(next_is(rollout), "resume_or_rollback") == 0 && trials(rollout, 0) == 5 && failures(rollout, 0) >= 2);

	struct nh_notification *notes;
	size_t count;
	OK(nh_notification_list(&w->ctx, &w->as_ada, &w->widget, &notes, &count, E(w)));
	CHECK(count == 1 && nh_slice_eq_str(notes[0].title, "Rollout stopped") && nh_slice_eq_str(notes[0].level, "error"));

	/* No device gets it in any other way: neither who asks, nor by hand. */
	struct nh_device_facts d;
	OK(nh_device_facts_load(&w->ctx, f.ids[29], &d, E(w)));
	static const nh_update_how hows[] = {NH_UPDATE_QUEUE, NH_UPDATE_PRIORITY, NH_UPDATE_BY_HAND, NH_UPDATE_POLL};
	for (size_t i = 0; i < NH_ARRAY_LEN(hows); i++) {
		struct nh_update_decision decision = nh_update_decide(&d, &f.g, hows[i], w->now_us);
		CHECK(decision.verdict == NH_UPDATE_WAIT && nh_update_has_reason(&decision, NH_UPDATE_ROLLOUT_STOPPED));
	}

	/* Resumed, it counts anew: one failure of a second epoch stops nothing. */
	OK(nh_rollout_resume(&w->ctx, &w->as_ada, &f.g, NH_SLICE_EMPTY, E(w)));
	CHECK_RC(NH_ECONFLICT, nh_rollout_resume(&w->ctx, &w->as_ada, &f.g, NH_SLICE_EMPTY, E(w)));
	OK(settle(w, &f, &sent));
	CHECK(sent == 5 && f.g.rollout.epoch == 2);
	size_t one = 0;
	while (!told(w, f.ids[one]))
		one++;
	NH_TRY(play(w, &f, one, FAILS, err));
	NH_AUTO_JSON json_t *resumed = shown(w, &f);
	CHECK(f.g.rollout.state == NH_ROLLOUT_RUNNING && trials(resumed, 0) == 1 && failures(resumed, 0) == 1 && json_is_null(json_object_get(resumed, "stopped_by")));
	return NH_OK;
}
static void test_stops(void **state) { on_each_engine(stops, NULL); }

/* The other signals: who does not come back, and who reverts, at once or later. A device counts once. */
static nh_rc signals(struct world *w, struct nh_err *err)
{
	struct fleet f;
	size_t sent, counted;
	NH_TRY(begin(w, &f, 12, "{\"stop\":{\"alpha\":0.000001,\"return_seconds\":900,\"settle_seconds\":600}}", err));
	OK(settle(w, &f, &sent));
	CHECK(sent == 12);
	forget_effects(w);
	NH_TRY(play(w, &f, 0, VANISHES, err));
	NH_TRY(play(w, &f, 1, REVERTS, err));
	for (size_t i = 2; i < 6; i++)
		NH_TRY(play(w, &f, i, SUCCEEDS, err));
	NH_AUTO_JSON json_t *early = shown(w, &f);
	CHECK(trials(early, 0) == 6 && failures(early, 0) == 0);
	CHECK(trials(early, 1) == 6 && failures(early, 1) == 0);
	CHECK(trials(early, 2) == 5 && failures(early, 2) == 1);

	/* Not yet late; then late, once. */
	world_pass(w, 600 * NH_US_PER_S);
	OK(nh_rollout_due(&w->ctx, &counted, E(w)));
	CHECK(counted == 4); /* those that have settled */
	world_pass(w, 300 * NH_US_PER_S);
	OK(nh_rollout_due(&w->ctx, &counted, E(w)));
	CHECK(counted == 1);
	OK(nh_rollout_due(&w->ctx, &counted, E(w)));
	CHECK(counted == 0);
	NH_AUTO_JSON json_t *late = shown(w, &f);
	CHECK(trials(late, 1) == 6 && failures(late, 1) == 1);

	/* One that had settled reverts. */
	json_t *payload = join_payload(w, 1, "1.0.0");
	struct nh_join_result result;
	json_object_set_new(json_object_get(payload, "meta"), "firmware_auto_revert_detected", json_true());
	OK(join_with(w, f.ids[2], payload, &f.sessions[2], &result));
	NH_AUTO_JSON json_t *reverted = shown(w, &f);
	CHECK(trials(reverted, 2) == 5 && failures(reverted, 2) == 2);

	/* The lost one comes back with the update after all; the one that reverted fails again. Neither says anything new. */
	OK(join(w, f.ids[0], 2, "2.0.0", &f.sessions[0]));
	NH_AUTO_JSON json_t *last = shown(w, &f);
	CHECK(failures(last, 0) == 0 && failures(last, 1) == 1 && failures(last, 2) == 2 && trials(last, 1) == 6);
	CHECK(f.g.rollout.state == NH_ROLLOUT_RUNNING);

	/* An update that began and of which nothing more was heard; one that never began says nothing. */
	OK(report(w, f.ids[6], NH_STAGE_DOWNLOADING));
	world_pass(w, NH_INFLIGHT_EXPIRY_S * NH_US_PER_S + 1);
	OK(nh_orchestrator_expire(&w->ctx, &counted, E(w)));
	NH_AUTO_JSON json_t *expired = shown(w, &f);
	CHECK(trials(expired, 0) == 7 && failures(expired, 0) == 1);
	return NH_OK;
}
static void test_signals(void **state) { on_each_engine(signals, NULL); }

/* Updated devices are compared with one that is not: only pairs that differ count. */
static nh_rc health(struct world *w, struct nh_err *err)
{
	struct fleet f;
	size_t sent, counted;
	NH_TRY(begin(w, &f, 20, "{\"waves\":[{\"percent\":50,\"gate\":{\"type\":\"manual\"}}],\"stop\":{\"alpha\":0.1,\"signals\":[\"health\"],\"settle_seconds\":60}}", err));
	OK(settle(w, &f, &sent));
	CHECK(sent >= 9 && sent <= 11);
	NH_TRY(play_all(w, &f, SUCCEEDS, err));
	size_t sick = 0;
	for (size_t i = 0; i < f.count; i++) {
		struct nh_device_facts d;
		OK(nh_device_facts_load(&w->ctx, f.ids[i], &d, E(w)));
		bool updated = nh_slice_eq(d.firmware_uuid, fw_uuid(w, 2));
		NH_AUTO_JSON json_t *payload = json_pack("{s:{s:{s:f}}}", "value", "metrics", "cpu_usage_percent", updated ? 99.0 : 10.0);
		OK(nh_extension_event(&w->ctx, &f.sessions[i], NH_EXT_HEALTH, NH_LIT("report"), payload, NULL, E(w)));
		sick += updated;
	}
	world_pass(w, 60 * NH_US_PER_S);
	OK(nh_rollout_due(&w->ctx, &counted, E(w)));
	CHECK(counted == sick);
	NH_AUTO_JSON json_t *rollout = shown(w, &f);
	CHECK(failures(rollout, 0) == (int64_t)sick && trials(rollout, 0) == (int64_t)sick && f.g.rollout.state == NH_ROLLOUT_STOPPED);
	CHECK(audited(w, NH_AUDIT_GROUP, f.g.id, "in worse health"));
	return NH_OK;
}
static void test_health(void **state) { on_each_engine(health, NULL); }

/* ---- when ---------------------------------------------------------------------------------------------------------------------- */

/* The world's clock begins on Friday, 2027-01-15 08:00 UTC. */
static nh_rc times(struct world *w, struct nh_err *err)
{
	struct fleet f;
	size_t sent;
	NH_TRY(begin(w, &f, 6, "{\"not_before\":\"2027-01-15T09:00:00Z\",\"windows\":[{\"days\":[\"fri\"],\"from\":\"10:00\",\"to\":\"11:00\"}]}", err));
	OK(nh_sql_exec(w->ctx.tx, &nh_q_device_set_timezone, NH_PARAMS(nh_p_str("Etc/GMT-1"), nh_p_int(w->now_us), nh_p_int(f.ids[5])), NULL, E(w)));
	struct nh_device_facts here, there;
	OK(nh_device_facts_load(&w->ctx, f.ids[0], &here, E(w)));
	OK(nh_device_facts_load(&w->ctx, f.ids[5], &there, E(w)));
	struct nh_update_decision decision = nh_update_decide(&here, &f.g, NH_UPDATE_QUEUE, w->now_us);
	CHECK(nh_update_has_reason(&decision, NH_UPDATE_NOT_BEFORE) && nh_update_has_reason(&decision, NH_UPDATE_OUTSIDE_WINDOW));
	decision = nh_update_decide(&here, &f.g, NH_UPDATE_BY_HAND, w->now_us);
	CHECK(decision.verdict == NH_UPDATE_SEND); /* a person knows better */
	OK(settle(w, &f, &sent));
	CHECK(sent == 0 && f.g.rollout.wave == 0);
	NH_AUTO_JSON json_t *early = shown(w, &f);
	CHECK(strcmp(next_is(early), "not_before") == 0);

	/* An hour east it is ten already. */
	world_pass(w, 60 * MINUTE);
	decision = nh_update_decide(&there, &f.g, NH_UPDATE_QUEUE, w->now_us);
	CHECK(decision.verdict == NH_UPDATE_SEND);
	OK(settle(w, &f, &sent));
	CHECK(sent == 1 && told(w, f.ids[5]) && f.g.rollout.state == NH_ROLLOUT_RUNNING);
	NH_AUTO_JSON json_t *closed = shown(w, &f);
	CHECK(strcmp(next_is(closed), "window") == 0);

	world_pass(w, 60 * MINUTE);
	forget_effects(w);
	OK(settle(w, &f, &sent));
	CHECK(sent == 5);
	NH_TRY(play_all(w, &f, FAILS, err));

	/* Shut: nobody, and nothing is finished because of that. */
	world_pass(w, 60 * MINUTE);
	OK(nh_rollout_plan_set(&w->ctx, &w->as_ada, &f.g, NULL, false, NO_ERRORS(w), E(w)));
	OK(settle(w, &f, &sent));
	CHECK(sent == 0 && f.g.rollout.state != NH_ROLLOUT_FINISHED);
	return NH_OK;
}
static void test_times(void **state) { on_each_engine(times, NULL); }

/* ---- what people do ------------------------------------------------------------------------------------------------------------- */

static nh_rc control(struct world *w, struct nh_err *err)
{
	struct fleet f;
	size_t sent;
	NH_TRY(begin(w, &f, 8, NULL, err));
	NH_AUTO_JSON json_t *none = shown(w, &f);
	CHECK(strcmp(json_string_value(json_object_get(none, "state")), "none") == 0 && json_is_null(json_object_get(none, "plan")));
	CHECK_RC(NH_ECONFLICT, nh_rollout_resume(&w->ctx, &w->as_ada, &f.g, NH_SLICE_EMPTY, E(w)));
	CHECK_RC(NH_ECONFLICT, nh_rollout_approve(&w->ctx, &w->as_ada, &f.g, NH_SLICE_EMPTY, E(w)));
	CHECK_RC(NH_ECONFLICT, nh_rollout_skip(&w->ctx, &w->as_ada, &f.g, NH_SLICE_EMPTY, E(w)));
	CHECK_RC(NH_ENOTFOUND, nh_rollout_pause(&w->ctx, &w->as_eve, &f.g, NH_SLICE_EMPTY, E(w)));

	/* A release without a plan can be paused. */
	OK(nh_rollout_pause(&w->ctx, &w->as_ada, &f.g, NH_LIT("wait\x01 a bit"), E(w)));
	CHECK_RC(NH_ECONFLICT, nh_rollout_pause(&w->ctx, &w->as_ada, &f.g, NH_SLICE_EMPTY, E(w)));
	OK(settle(w, &f, &sent));
	CHECK(sent == 0 && f.g.rollout.state == NH_ROLLOUT_PAUSED);
	NH_AUTO_JSON json_t *paused = shown(w, &f);
	CHECK(strcmp(json_string_value(json_object_get(paused, "why")), "wait  a bit") == 0 && strcmp(json_string_value(json_object_get(paused, "by")), "Ada Lovelace") == 0);
	OK(nh_rollout_resume(&w->ctx, &w->as_ada, &f.g, NH_SLICE_EMPTY, E(w)));
	OK(settle(w, &f, &sent));
	CHECK(sent == 8 && f.g.rollout.epoch == 1);
	for (size_t i = 0; i < 5; i++)
		NH_TRY(play(w, &f, i, SUCCEEDS, err));
	for (size_t i = 5; i < 8; i++)
		NH_TRY(play(w, &f, i, FAILS, err));
	forget_effects(w);

	/* Back: those that have the new one go back, the others are left alone. */
	f.number = 1;
	OK(nh_rollout_roll_back(&w->ctx, &w->as_ada, &f.g, false, NH_LIT("bad"), E(w)));
	CHECK(audited(w, NH_AUDIT_GROUP, f.g.id, "Ada Lovelace rolled back to 1.0.0"));
	OK(settle(w, &f, &sent));
	CHECK(sent == 5 && f.g.release.number == 3 && nh_slice_eq(f.g.release.firmware_uuid, fw_uuid(w, 1)));
	for (size_t i = 0; i < f.count; i++)
		CHECK(told(w, f.ids[i]) == (i < 5));
	/* There is nothing before it that was not given up. */
	CHECK_RC(NH_ECONFLICT, nh_rollout_roll_back(&w->ctx, &w->as_ada, &f.g, false, NH_SLICE_EMPTY, E(w)));
	return NH_OK;
}
static void test_control(void **state) { on_each_engine(control, NULL); }

/* Skipping the waves, replacing a plan under way, rolling back by the plan. */
static nh_rc replacing(struct world *w, struct nh_err *err)
{
	struct fleet f;
	size_t sent;
	NH_TRY(begin(w, &f, 10, "{\"waves\":[{\"tags\":[\"canary\"],\"gate\":{\"type\":\"manual\"}}]}", err));
	OK(settle(w, &f, &sent));
	CHECK(sent == 1);
	NH_TRY(play_all(w, &f, SUCCEEDS, err));
	OK(set_plan(w, &f, "{\"waves\":[{\"percent\":30,\"gate\":{\"type\":\"manual\"}},{\"percent\":100}]}", true));
	OK(reload(w, &f));
	CHECK(f.g.rollout.wave == 0 && f.g.rollout.waves == 2);
	OK(settle(w, &f, &sent));
	CHECK(sent >= 2 && sent <= 4 && f.g.rollout.wave == 1);
	OK(nh_rollout_skip(&w->ctx, &w->as_ada, &f.g, NH_SLICE_EMPTY, E(w)));
	size_t rest;
	OK(settle(w, &f, &rest));
	CHECK(sent + rest == 9 && f.g.rollout.wave == 3);
	NH_TRY(play_all(w, &f, SUCCEEDS, err));

	f.number = 1;
	OK(nh_rollout_roll_back(&w->ctx, &w->as_ada, &f.g, true, NH_SLICE_EMPTY, E(w)));
	OK(settle(w, &f, &sent));
	CHECK(sent >= 2 && sent <= 4 && f.g.rollout.waves == 2 && f.g.rollout.wave == 1);

	/* Without a plan everybody at once again. */
	OK(set_plan(w, &f, "null", true));
	OK(reload(w, &f));
	CHECK(f.g.rollout.release_id == 0);
	OK(settle(w, &f, &rest));
	CHECK(sent + rest == 10);
	return NH_OK;
}
static void test_replacing(void **state) { on_each_engine(replacing, NULL); }

static nh_rc refusals(struct world *w, struct nh_err *err)
{
	static const struct {
		const char *plan, *field, *text;
	} table[] = {
		{"5", "plan", "is an object"},
		{"{\"alpah\":1}", "plan", "has no member \"alpah\""},
		{"{\"waves\":5}", "waves", "is a list"},
		{"{\"waves\":[5]}", "waves[0]", "one of percent, tags and query"},
		{"{\"waves\":[{}]}", "waves[0]", "one of percent, tags and query"},
		{"{\"waves\":[{\"percent\":5,\"tags\":[\"a\"]}]}", "waves[0]", "one of percent, tags and query"},
		{"{\"waves\":[{\"percent\":5,\"who\":1}]}", "waves[0]", "has no member \"who\""},
		{"{\"waves\":[{\"percent\":0}]}", "waves[0].percent", "is a number from"},
		{"{\"waves\":[{\"percent\":100.1}]}", "waves[0].percent", "is a number from"},
		{"{\"waves\":[{\"percent\":\"5\"}]}", "waves[0].percent", "is a number from"},
		{"{\"waves\":[{\"percent\":5},{\"tags\":[\"a\"]},{\"percent\":5}]}", "waves[2].percent", "is greater"},
		{"{\"waves\":[{\"tags\":[]}]}", "waves[0].tags", ""},
		{"{\"waves\":[{\"tags\":[\"a b\"]}]}", "waves[0].tags", "spaces"},
		{"{\"waves\":[{\"query\":\"tags contains\"}]}", "waves[0].query", ""},
		{"{\"waves\":[{\"percent\":5,\"gate\":5}]}", "waves[0].gate", "is an object with a type"},
		{"{\"waves\":[{\"percent\":5,\"gate\":{\"type\":\"wait\"}}]}", "waves[0].gate", "is an object with a type"},
		{"{\"waves\":[{\"percent\":5,\"gate\":{\"type\":\"time\",\"seconds\":-1}}]}", "waves[0].gate.seconds", "is a number from"},
		{"{\"waves\":[{\"percent\":5,\"gate\":{\"type\":\"health\",\"share\":2}}]}", "waves[0].gate.share", "is a number from"},
		{"{\"waves\":[{\"percent\":5,\"gate\":{\"type\":\"health\",\"hours\":2}}]}", "waves[0].gate", "has no member"},
		{"{\"windows\":5}", "windows", "is a list"},
		{"{\"windows\":[{\"from\":\"1\",\"to\":\"2\"}]}", "windows", "HH:MM"},
		{"{\"zone\":5}", "zone", "time zone"},
		{"{\"zone\":\"../etc/passwd\"}", "zone", "time zone"},
		{"{\"zone\":\"Europe/Atlantis\"}", "zone", "no time zone"},
		{"{\"not_before\":\"tomorrow\"}", "not_before", "is a time"},
		{"{\"stop\":5}", "stop", "is an object"},
		{"{\"stop\":{\"alpha\":0}}", "stop.alpha", "is a number from"},
		{"{\"stop\":{\"tolerated\":0.9}}", "stop.tolerated", "is a number from"},
		{"{\"stop\":{\"signals\":[]}}", "stop.signals", "is a list of"},
		{"{\"stop\":{\"signals\":[\"smell\"]}}", "stop.signals", "is a list of"},
		{"{\"stop\":{\"return_seconds\":0}}", "stop.return_seconds", "is a number from"},
		{"{\"stop\":{\"beta\":1}}", "stop", "has no member"},
	};
	struct fleet f;
	NH_TRY(begin(w, &f, 0, NULL, err));
	for (size_t i = 0; i < NH_ARRAY_LEN(table); i++) {
		CHECK_RC(NH_EINVAL, set_plan(w, &f, table[i].plan, false));
		if (!refused_with(w, table[i].field, table[i].text))
			return nh_err_set(err, NH_EINTERNAL, __FILE__, __LINE__, "row %zu: %s", i, w->last.msg);
	}
	OK(set_plan(w, &f, "{\"waves\":[{\"percent\":1},{\"tags\":\"a,b\"}],\"stop\":false}", false));
	NH_AUTO_JSON json_t *rollout = shown(w, &f);
	const json_t *plan = json_object_get(rollout, "default_plan");
	CHECK(json_array_size(json_object_get(plan, "waves")) == 2 && json_is_null(json_object_get(plan, "stop")));
	return NH_OK;
}
static void test_refusals(void **state) { on_engine(0, refusals, NULL, ""); }

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_waves),   cmocka_unit_test(test_queries), cmocka_unit_test(test_shares),    cmocka_unit_test(test_stops),     cmocka_unit_test(test_signals),
		cmocka_unit_test(test_health),  cmocka_unit_test(test_times),   cmocka_unit_test(test_control),   cmocka_unit_test(test_replacing), cmocka_unit_test(test_refusals),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
