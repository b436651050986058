/*
 * Explanations, forecasts and changes of membership: every reason by the situation that brings it about, and the counts of small fleets that were made to have one device of each kind.
 */
#include "rollout_world.h"

#include "hub/forecast.h"
#include "hub/jobs.h"
#include "hub/membership.h"
#include "hub/overview.h"

struct scene {
	struct nh_group group; /* releases firmware 2, version 2.0.0 */
	int64_t device;        /* a member that runs firmware 1, connected */
	struct nh_session session;
};

static nh_rc set_scene(struct world *w, struct scene *s, struct nh_err *err)
{
	NH_TRY(add_firmware(w, 1, "1.0.0", err));
	NH_TRY(add_firmware(w, 2, "2.0.0", err));
	NH_TRY(add_device(w, "d-1", "[\"eu\"]", &s->device, err));
	OK(add_group(w, group_fields(w, "prod", 2), &s->group));
	OK(join(w, s->device, 1, "1.0.0", &s->session));
	return NH_OK;
}

static nh_rc change_group(struct world *w, struct scene *s, const char *text, struct nh_err *err)
{
	NH_AUTO_JSON json_t *fields = NULL;
	OK(nh_json_parse(nh_slice_str(text), 4096, &fields, E(w)));
	return nh_group_update(&w->ctx, &w->as_ada, &s->group, fields, &s->group, NO_ERRORS(w), E(w));
}

static nh_rc explain(struct world *w, int64_t device_id, json_t **out, struct nh_err *err)
{
	struct nh_device d;
	OK(nh_device_by_id(&w->ctx, device_id, &d, E(w)));
	return nh_device_explain(&w->ctx, &d, out, E(w));
}

static const json_t *reason_of(const json_t *explanation, const char *code)
{
	size_t i;
	const json_t *r;
	json_array_foreach(json_object_get(explanation, "reasons"), i, r)
	{
		if (nh_slice_eq_str(nh_json_text(r, "code"), code))
			return r;
	}
	return NULL;
}

/* ---- one situation for each reason ----------------------------------------------------------------------------------------- */

static nh_rc nothing(struct world *w, struct scene *s, struct nh_err *err) { return NH_OK; }
static nh_rc leave(struct world *w, struct scene *s, struct nh_err *err) { return nh_group_assign(&w->ctx, &w->as_ada, w->acme.id, s->device, NULL, E(w)); }
static nh_rc inactive(struct world *w, struct scene *s, struct nh_err *err) { return change_group(w, s, "{\"state\":\"off\"}", err); }
static nh_rc disabled(struct world *w, struct scene *s, struct nh_err *err) { return nh_updates_enable(&w->ctx, &w->as_ada, w->acme.id, s->device, false, E(w)); }
static nh_rc release_tags(struct world *w, struct scene *s, struct nh_err *err) { return change_group(w, s, "{\"release_tags\":[\"eu\",\"beta\"]}", err); }
static nh_rc interfaces(struct world *w, struct scene *s, struct nh_err *err) { return change_group(w, s, "{\"release_network_interfaces\":[\"wifi\"]}", err); }
static nh_rc offline(struct world *w, struct scene *s, struct nh_err *err) { return nh_sql_exec(w->ctx.tx, &nh_q_device_online, NH_PARAMS(nh_p_null(), nh_p_int(s->device)), NULL, E(w)); }
static nh_rc same(struct world *w, struct scene *s, struct nh_err *err) { return join(w, s->device, 2, "2.0.0", &s->session); }
static nh_rc paused(struct world *w, struct scene *s, struct nh_err *err) { return nh_rollout_pause(&w->ctx, &w->as_ada, &s->group, NH_LIT("a look"), E(w)); }

static nh_rc deleted(struct world *w, struct scene *s, struct nh_err *err)
{
	struct nh_device d;
	OK(nh_device_by_id(&w->ctx, s->device, &d, E(w)));
	return nh_device_delete(&w->ctx, &w->as_ada, &d, E(w));
}

static nh_rc boxed(struct world *w, struct scene *s, struct nh_err *err)
{
	return nh_sql_exec(w->ctx.tx, &nh_q_device_set_blocked, NH_PARAMS(nh_p_int(w->now_us + 90 * NH_US_PER_S), nh_p_int(w->now_us), nh_p_int(s->device)), NULL, E(w));
}

static nh_rc attempts(struct world *w, int64_t device, int count, struct nh_err *err)
{
	NH_AUTO_JSON json_t *list = json_array();
	NH_AUTO_BUF struct nh_buf text = NH_BUF_INIT;
	for (int i = 0; i < count; i++)
		json_array_append_new(list, json_integer(w->now_us - i * NH_US_PER_S));
	nh_json_put(&text, list);
	return nh_sql_exec(w->ctx.tx, &nh_q_device_set_attempts, NH_PARAMS(nh_p_text(nh_buf_slice(&text)), nh_p_int(w->now_us), nh_p_int(device)), NULL, E(w));
}
static nh_rc threshold(struct world *w, struct scene *s, struct nh_err *err) { return attempts(w, s->device, 3, err); }
static nh_rc rate(struct world *w, struct scene *s, struct nh_err *err)
{
	OK(change_group(w, s, "{\"device_failure_threshold\":100}", err));
	return attempts(w, s->device, 5, err);
}

static nh_rc unvalidated(struct world *w, struct scene *s, struct nh_err *err)
{
	return nh_sql_exec(w->ctx.tx, &nh_q_device_set_validation, NH_PARAMS(nh_p_str("not_validated"), nh_p_bool(false), nh_p_int(w->now_us), nh_p_int(s->device)), NULL, E(w));
}

static nh_rc in_flight(struct world *w, struct scene *s, struct nh_err *err)
{
	struct nh_orchestrator_result run;
	OK(run_group(w, s->group.id, &run));
	return run.sent == 1 ? NH_OK : NH_EINTERNAL;
}

/* Another member has the only slot. */
static nh_rc no_slot(struct world *w, struct scene *s, struct nh_err *err)
{
	struct nh_session other;
	int64_t id;
	OK(change_group(w, s, "{\"concurrent_updates\":1}", err));
	OK(in_flight(w, s, err));
	NH_TRY(add_device(w, "d-2", "[]", &id, E(w)));
	OK(join(w, id, 1, "1.0.0", &other));
	s->device = id;
	return NH_OK;
}

static nh_rc unheard_of(struct world *w, struct scene *s, struct nh_err *err)
{
	NH_TRY(add_device(w, "d-3", "[]", &s->device, E(w)));
	return nh_group_assign(&w->ctx, &w->as_ada, w->acme.id, s->device, &s->group, E(w));
}

/* The plan begins with the current release. */
static nh_rc staged(struct world *w, struct scene *s, const char *text, struct nh_err *err)
{
	NH_AUTO_JSON json_t *plan = NULL;
	OK(nh_json_parse(nh_slice_str(text), 4096, &plan, E(w)));
	OK(nh_rollout_plan_set(&w->ctx, &w->as_ada, &s->group, plan, true, NO_ERRORS(w), E(w)));
	return nh_group_get_by_id(&w->ctx, s->group.id, &s->group, E(w));
}
static nh_rc early(struct world *w, struct scene *s, struct nh_err *err) { return staged(w, s, "{\"not_before\":\"2030-01-01T00:00:00Z\"}", err); }
static nh_rc later_wave(struct world *w, struct scene *s, struct nh_err *err) { return staged(w, s, "{\"waves\":[{\"percent\":0.001,\"gate\":{\"type\":\"manual\"}}]}", err); }
/* It is Friday, eight o'clock in the morning. */
static nh_rc shut(struct world *w, struct scene *s, struct nh_err *err) { return staged(w, s, "{\"windows\":[{\"days\":[\"fri\"],\"from\":\"22:00\",\"to\":\"23:00\"}]}", err); }

static const struct situation {
	const char *code; /* NULL: no reason */
	nh_rc (*bring_about)(struct world *w, struct scene *s, struct nh_err *err);
	const char *verdict;
	const char *fact, *text; /* what the fact says, as JSON; NULL: not looked at */
	bool others;             /* it brings other reasons along */
} situations[] = {
	{NULL, nothing, "update", NULL, NULL},
	{"no_deployment_group", leave, "wait", NULL, NULL},
	{"deployment_group_inactive", inactive, "wait", "deployment_group", "\"prod\""},
	{"device_deleted", deleted, "wait", "deleted_at", "\"2027-01-15T08:00:00Z\"", true},
	{"updates_disabled", disabled, "wait", NULL, NULL},
	{"penalty_box", boxed, "wait", "seconds_left", "90"},
	{"firmware_unknown", unheard_of, "wait", "connection_status", "\"not_seen\"", true},
	{"firmware_not_validated", unvalidated, "wait", "firmware_version", "\"1.0.0\""},
	{"not_connected", offline, "wait", "last_seen_at", "\"2027-01-15T08:00:00Z\""},
	{"up_to_date", same, "up_to_date", "firmware_version", "\"2.0.0\""},
	{"update_in_flight", in_flight, "wait", "expires_at", "\"2027-01-15T08:30:00Z\""},
	{"network_interface", interfaces, "wait", "allowed", "[\"wifi\"]"},
	{"release_tags", release_tags, "wait", "missing", "[\"beta\"]"},
	{"failure_rate", rate, "penalize", "limit", "5"},
	{"failure_threshold", threshold, "penalize", "attempts", "3"},
	{"rollout_paused", paused, "wait", "release", "1"},
	{"not_before", early, "wait", "not_before", "\"2030-01-01T00:00:00Z\""},
	{"wave_not_begun", later_wave, "wait", "waves", "1"},
	{"outside_window", shut, "wait", "opens_at", "\"2027-01-15T22:00:00Z\""},
	{"no_free_slot", no_slot, "wait", "in_flight", "1"},
};

/* Whatever it is, people can read it and programs can do it. */
static nh_rc judge_remedies(struct world *w, const json_t *reason, struct nh_err *err)
{
	size_t i;
	const json_t *r, *remedies = json_object_get(reason, "remedies");
	CHECK(json_array_size(remedies) > 0);
	json_array_foreach(remedies, i, r)
	{
		const json_t *action = json_object_get(r, "action");
		CHECK(nh_json_text(r, "text").len > 10);
		if (!json_is_object(action))
			continue;
		nh_slice path = nh_json_text(action, "path");
		CHECK(nh_slice_starts(path, NH_LIT("/api/orgs/acme/products/Thermo%20Widget/")) && nh_slice_find(path, NH_LIT("/:")) < 0 && nh_json_text(action, "method").len > 2);
	}
	return NH_OK;
}

static nh_rc situation(struct world *w, struct nh_err *err)
{
	const struct situation *t = w->arg;
	struct nh_device_facts before, after;
	struct scene s;
	NH_AUTO_JSON json_t *x = NULL;
	NH_TRY(set_scene(w, &s, err));
	OK(t->bring_about(w, &s, err));
	OK(nh_device_facts_load(&w->ctx, s.device, &before, E(w)));
	forget_effects(w);
	OK(explain(w, s.device, &x, err));
	/* looking changes nothing */
	OK(nh_device_facts_load(&w->ctx, s.device, &after, E(w)));
	CHECK(w->effects.count == 0 && before.inflight == after.inflight && before.attempt_count == after.attempt_count && before.blocked_until_us == after.blocked_until_us);
	CHECK(nh_slice_eq_str(nh_json_text(x, "verdict"), t->verdict));
	CHECK(json_array_size(json_object_get(x, "reasons")) == (t->code ? 1u : 0u) || t->others);
	if (!t->code)
		return NH_OK;
	const json_t *reason = reason_of(x, t->code);
	CHECK(reason && nh_json_text(reason, "text").len > 5);
	OK(judge_remedies(w, reason, err));
	if (!t->fact)
		return NH_OK;
	NH_AUTO_BUF struct nh_buf said = NH_BUF_INIT;
	nh_json_put(&said, json_object_get(json_object_get(reason, "facts"), t->fact));
	CHECK(nh_slice_eq_str(nh_buf_slice(&said), t->text));
	return NH_OK;
}

static void test_situations(void **state)
{
	for (size_t i = 0; i < NH_ARRAY_LEN(situations); i++) {
		for (unsigned engine = 0; engine < TESTDB_ENGINES; engine++)
			on_engine(engine, situation, (void *)&situations[i], situations[i].code ? situations[i].code : "nothing");
	}
}

/* Each has its name, and each name one reason. */
static void test_codes(void **state)
{
	for (int i = 0; i <= NH_UPDATE_REASON_COUNT; i++) {
		const char *code = nh_update_reason_kind((nh_update_reason)i)->code;
		assert_non_null(code);
		for (int k = 0; k < i; k++)
			assert_string_not_equal(code, nh_update_reason_kind((nh_update_reason)k)->code);
	}
}

/* ---- membership and history -------------------------------------------------------------------------------------------------- */

static const json_t *candidate(const json_t *x, const char *group)
{
	size_t i;
	const json_t *g;
	json_array_foreach(json_object_get(json_object_get(x, "membership"), "groups"), i, g)
	{
		if (nh_slice_eq_str(nh_json_text(g, "deployment_group"), group))
			return g;
	}
	return NULL;
}

static nh_rc membership(struct world *w, struct nh_err *err)
{
	static const struct {
		const char *name, *fields, *result, *fact, *text;
	} groups[] = {
		{"asleep", "{\"state\":\"off\"}", "inactive", NULL, NULL},
		{"locked", "{\"lock_device_membership\":true}", "locked", NULL, NULL},
		{"old", "{\"conditions\":{\"version\":\"< 1.0.0\"}}", "version", "requirement", "\"< 1.0.0\""},
		{"tagged", "{\"conditions\":{\"tags\":[\"eu\",\"lab\",\"x y\"]}}", NULL, NULL, NULL},
		{"lab", "{\"conditions\":{\"tags\":[\"eu\",\"lab\"]}}", "tags", "missing", "[\"lab\"]"},
		{"other board", "{}", "platform", "wanted", "\"rpi5\""},
		{"fits", "{}", "matches", NULL, NULL},
	};
	struct scene s;
	NH_AUTO_JSON json_t *x = NULL;
	int64_t id;
	NH_TRY(set_scene(w, &s, err));
	NH_TRY(add_firmware_for(w, 3, "3.0.0", "rpi5", &id, err));
	for (size_t i = 0; i < NH_ARRAY_LEN(groups); i++) {
		struct scene g = {0};
		bool board = nh_slice_eq_str(nh_slice_str(groups[i].name), "other board");
		OK(add_group(w, group_fields(w, groups[i].name, board ? 3 : 1), &g.group));
		CHECK_RC(groups[i].result ? NH_OK : NH_EINVAL, change_group(w, &g, groups[i].fields, err));
	}
	OK(explain(w, s.device, &x, err));
	for (size_t i = 0; i < NH_ARRAY_LEN(groups); i++) {
		const json_t *g = candidate(x, groups[i].name);
		CHECK(g && json_is_false(json_object_get(g, "member")));
		if (!groups[i].result)
			continue;
		CHECK(nh_slice_eq_str(nh_json_text(g, "result"), groups[i].result));
		if (!groups[i].fact)
			continue;
		NH_AUTO_BUF struct nh_buf said = NH_BUF_INIT;
		nh_json_put(&said, json_object_get(json_object_get(g, "facts"), groups[i].fact));
		CHECK(nh_slice_eq_str(nh_buf_slice(&said), groups[i].text));
	}
	const json_t *mine = candidate(x, "prod"), *m = json_object_get(x, "membership");
	CHECK(json_is_true(json_object_get(mine, "member")) && json_is_true(json_object_get(mine, "chosen"))); /* the highest version */
	CHECK(json_is_null(json_object_get(m, "leaves_because")) && json_is_null(json_object_get(m, "would_join")));

	/* the rule changes, and the device has not joined since */
	json_decref(x);
	x = NULL;
	OK(change_group(w, &s, "{\"conditions\":{\"version\":\">= 1.5.0\"}}", err));
	OK(explain(w, s.device, &x, err));
	m = json_object_get(x, "membership");
	CHECK(nh_slice_eq_str(nh_json_text(m, "leaves_because"), "version") && nh_slice_eq_str(nh_json_text(m, "would_join"), "tagged"));
	return NH_OK;
}
static void test_membership(void **state) { on_each_engine(membership, NULL); }

static nh_rc history(struct world *w, struct nh_err *err)
{
	struct scene s;
	NH_AUTO_JSON json_t *x = NULL;
	NH_TRY(set_scene(w, &s, err));
	OK(in_flight(w, &s, err));
	w->now_us += 75 * NH_US_PER_S;
	OK(join(w, s.device, 2, "2.0.0", &s.session));
	OK(explain(w, s.device, &x, err));
	const json_t *h = json_object_get(x, "history"), *last = json_object_get(h, "last_update");
	CHECK(nh_json_int(last, "seconds", -1) == 75 && nh_slice_eq(nh_json_text(last, "firmware_uuid"), fw_uuid(w, 2)) && nh_slice_eq(nh_json_text(last, "from_firmware_uuid"), fw_uuid(w, 1)));
	CHECK(nh_slice_eq_str(nh_json_text(json_object_get(h, "running"), "firmware_version"), "2.0.0") && json_is_null(json_object_get(h, "in_flight")));
	/* of the other organization it is unknown */
	struct nh_explained e;
	CHECK_RC(NH_ENOTFOUND, nh_update_explain(&w->ctx, w->other.id, s.device, &e, E(w)));
	return NH_OK;
}
static void test_history(void **state) { on_each_engine(history, NULL); }

/* ---- forecasts ---------------------------------------------------------------------------------------------------------------- */

static nh_rc count_all(struct world *w, struct nh_forecast *f, json_t **out, struct nh_err *err)
{
	while (!f->done)
		OK(nh_forecast_page(&w->ctx, f, E(w)));
	return nh_forecast_json(&w->ctx, f, out, E(w));
}

static int64_t figure(const json_t *object, const char *outer, const char *inner) { return nh_json_int(json_object_get(object, outer), inner, -1); }

static const json_t *row_of(const json_t *list, const char *code)
{
	size_t i;
	const json_t *r;
	json_array_foreach(list, i, r)
	{
		if (nh_slice_eq_str(nh_json_text(r, "code"), code))
			return r;
	}
	return NULL;
}

/* Six members: one ready, one offline, one in the penalty box and offline, one switched off, one up to date, one in flight. */
static nh_rc fleet(struct world *w, struct scene *s, struct nh_err *err)
{
	struct nh_session session;
	int64_t id[5];
	NH_TRY(set_scene(w, s, E(w)));
	OK(change_group(w, s, "{\"concurrent_updates\":1}", err));
	OK(in_flight(w, s, err));
	for (int i = 0; i < 5; i++) {
		NH_TRY(add_device(w, nh_arena_printf(&w->arena, "f-%d", i), "[]", &id[i], E(w)));
		OK(join(w, id[i], i == 4 ? 2 : 1, i == 4 ? "2.0.0" : "1.0.0", &session));
	}
	OK(nh_sql_exec(w->ctx.tx, &nh_q_device_online, NH_PARAMS(nh_p_null(), nh_p_int(id[1])), NULL, E(w)));
	OK(nh_sql_exec(w->ctx.tx, &nh_q_device_online, NH_PARAMS(nh_p_null(), nh_p_int(id[2])), NULL, E(w)));
	struct scene boxed_one = {.device = id[2]};
	OK(boxed(w, &boxed_one, err));
	return nh_updates_enable(&w->ctx, &w->as_ada, w->acme.id, id[3], false, E(w));
}

static nh_rc forecast(struct world *w, struct nh_err *err)
{
	struct scene s;
	struct nh_forecast f;
	NH_AUTO_JSON json_t *x = NULL;
	NH_TRY(fleet(w, &s, err));
	OK(nh_forecast_begin(&w->ctx, &w->arena, &s.group, &f, E(w)));
	OK(count_all(w, &f, &x, err));
	CHECK(figure(x, "devices", "total") == 6 && figure(x, "devices", "up_to_date") == 1 && figure(x, "devices", "in_flight") == 1);
	CHECK(figure(x, "devices", "ready") == 1 && figure(x, "devices", "waiting") == 2 && figure(x, "devices", "held") == 1);
	CHECK(nh_json_int(x, "now", -1) == 0); /* the slot is taken */
	const json_t *reasons = json_object_get(x, "reasons"), *away = row_of(reasons, "not_connected");
	CHECK(json_array_size(reasons) == 3 && nh_json_int(away, "devices", 0) == 2 && nh_json_int(away, "alone", 0) == 1);
	CHECK(nh_json_int(row_of(reasons, "penalty_box"), "alone", -1) == 0 && nh_json_int(row_of(reasons, "updates_disabled"), "alone", -1) == 1);
	CHECK(json_array_size(json_object_get(x, "blockers")) == 0);
	/* four have yet to get 2 500 000 bytes; nothing was measured */
	CHECK(figure(x, "bytes", "full") == 10000000 && figure(x, "bytes", "with_deltas") == 10000000);
	CHECK(nh_slice_eq_str(nh_json_text(json_object_get(x, "duration"), "basis"), "assumed"));
	CHECK(figure(x, "duration", "ready_seconds") == NH_FORECAST_ASSUMED_S && figure(x, "duration", "all_seconds") == 3 * NH_FORECAST_ASSUMED_S);

	/* measured: the one in flight comes back after 40 s */
	json_decref(x);
	x = NULL;
	w->now_us += 40 * NH_US_PER_S;
	OK(join(w, s.device, 2, "2.0.0", &s.session));
	OK(nh_forecast_begin(&w->ctx, &w->arena, &s.group, &f, E(w)));
	OK(count_all(w, &f, &x, err));
	CHECK(nh_slice_eq_str(nh_json_text(json_object_get(x, "duration"), "basis"), "this_firmware") && figure(x, "duration", "measured_updates") == 1);
	CHECK(figure(x, "duration", "update_seconds") == 40 && nh_json_int(x, "now", -1) == 1);
	return NH_OK;
}
static void test_forecast(void **state) { on_each_engine(forecast, NULL); }

/* What a supposition changed is looked at from within; the test's transaction stands for the one that is given up. */
static nh_rc supposition(struct world *w, struct nh_err *err)
{
	struct scene s;
	struct nh_forecast f;
	NH_AUTO_JSON json_t *x = NULL;
	NH_AUTO_JSON json_t *fields = NULL;
	NH_TRY(fleet(w, &s, err));
	NH_TRY(add_firmware(w, 3, "3.0.0", err));
	nh_slice uuid = fw_uuid(w, 3);
	fields = json_pack("{s:s%, s:s, s:i}", "firmware", (const char *)uuid.ptr, uuid.len, "state", "off", "concurrent_updates", 2);
	CHECK_RC(NH_ECLOSED, nh_forecast_suppose(&w->ctx, &w->arena, &w->as_ada, &s.group, fields, &f, NO_ERRORS(w), E(w)));
	OK(count_all(w, &f, &x, err));
	CHECK(json_is_true(json_object_get(x, "hypothetical")) && figure(x, "release", "number") == 2 && figure(x, "devices", "up_to_date") == 0 && figure(x, "devices", "ready") == 2);
	CHECK(row_of(json_object_get(x, "blockers"), "deployment_group_inactive") && !row_of(json_object_get(x, "reasons"), "deployment_group_inactive"));
	CHECK(nh_json_int(x, "now", -1) == 0 && nh_json_int(x, "concurrent_updates", 0) == 2);

	json_t *wrong = json_pack("{s:s}", "firmware", "unknown");
	CHECK_RC(NH_EINVAL, nh_forecast_suppose(&w->ctx, &w->arena, &w->as_ada, &s.group, wrong, &f, NO_ERRORS(w), E(w)));
	json_decref(wrong);
	CHECK_RC(NH_ENOTFOUND, nh_forecast_suppose(&w->ctx, &w->arena, &w->as_eve, &s.group, fields, &f, NO_ERRORS(w), E(w)));
	return NH_OK;
}
static void test_supposition(void **state) { on_each_engine(supposition, NULL); }

/* Every member is in one wave, and the places of the waves follow their shares. */
static nh_rc waves(struct world *w, struct nh_err *err)
{
	struct scene s;
	struct nh_forecast f;
	struct nh_session session;
	NH_AUTO_JSON json_t *x = NULL;
	NH_TRY(set_scene(w, &s, err));
	for (int i = 0; i < 60; i++) {
		int64_t id;
		NH_TRY(add_device(w, nh_arena_printf(&w->arena, "w-%d", i), "[]", &id, err));
		OK(join(w, id, 1, "1.0.0", &session));
	}
	OK(staged(w, &s, "{\"waves\":[{\"percent\":20,\"gate\":{\"type\":\"manual\"}},{\"percent\":60,\"gate\":{\"type\":\"time\",\"seconds\":60}}]}", err));
	OK(nh_forecast_begin(&w->ctx, &w->arena, &s.group, &f, E(w)));
	OK(count_all(w, &f, &x, err));
	const json_t *list = json_object_get(x, "waves");
	CHECK(json_array_size(list) == 3);
	int64_t sum = 0, size[3];
	for (size_t i = 0; i < 3; i++)
		sum += size[i] = figure(json_array_get(list, i), "devices", "total");
	CHECK(sum == 61 && size[0] > 0 && size[0] < size[1] && size[2] > 0);
	/* of the first wave all are ready, of the others all wait */
	CHECK(figure(json_array_get(list, 0), "devices", "ready") == size[0] && figure(json_array_get(list, 1), "devices", "waiting") == size[1]);
	CHECK(nh_json_int(row_of(json_object_get(x, "reasons"), "wave_not_begun"), "devices", 0) == size[1] + size[2]);
	CHECK(nh_json_int(json_array_get(list, 1), "gate_seconds", 0) == 60 && json_is_null(json_object_get(json_array_get(list, 2), "number")));
	return NH_OK;
}
static void test_waves(void **state) { on_each_engine(waves, NULL); }

/* ---- changes of membership ------------------------------------------------------------------------------------------------------ */

static nh_rc all_pages(struct world *w, struct nh_membership *m, bool look_only, struct nh_err *err)
{
	while (!m->done)
		OK(look_only ? nh_membership_preview(&w->ctx, m, E(w)) : nh_membership_carry_out(&w->ctx, m, E(w)));
	return NH_OK;
}

static bool settings_sent(const struct world *w, int64_t device)
{
	for (size_t i = 0; i < w->effects.count; i++) {
		if (w->effects.items[i].kind == NH_EFFECT_DEVICE_SETTINGS && w->effects.items[i].id == device)
			return true;
	}
	return false;
}

static nh_rc bulk(struct world *w, struct nh_err *err)
{
	struct scene s;
	struct nh_session session;
	int64_t eu, us, silent, gone;
	struct nh_device_facts d;
	struct nh_device device;
	NH_TRY(set_scene(w, &s, err));
	OK(change_group(w, &s, "{\"lock_device_membership\":true}", err));
	NH_TRY(add_device(w, "eu", "[\"eu\"]", &eu, err));
	NH_TRY(add_device(w, "us", "[\"us\"]", &us, err));
	NH_TRY(add_device(w, "silent", "[\"eu\"]", &silent, err));
	NH_TRY(add_device(w, "gone", "[\"eu\"]", &gone, err));
	OK(join(w, eu, 1, "1.0.0", &session));
	OK(join(w, us, 1, "1.0.0", &session));
	OK(join(w, gone, 1, "1.0.0", &session));
	OK(nh_device_by_id(&w->ctx, gone, &device, E(w)));
	OK(nh_device_delete(&w->ctx, &w->as_ada, &device, E(w)));
	OK(change_group(w, &s, "{\"conditions\":{\"tags\":[\"eu\"]}}", err));
	forget_effects(w);

	struct nh_membership m = {.group_id = s.group.id, .change = NH_MEMBERSHIP_ADD};
	OK(all_pages(w, &m, true, err));
	CHECK(m.looked_at == 3 && m.changed == 1 && m.stays == 1 && m.unknown == 1 && w->effects.count == 0);
	m = (struct nh_membership){.group_id = s.group.id, .change = NH_MEMBERSHIP_ADD};
	OK(all_pages(w, &m, false, err));
	CHECK(m.changed == 1 && settings_sent(w, eu) && !settings_sent(w, us) && !settings_sent(w, s.device) && effects_of(w, NH_EFFECT_GROUP_WAKE) == 1);
	OK(nh_device_facts_load(&w->ctx, eu, &d, E(w)));
	CHECK(d.group_id == s.group.id);
	OK(nh_membership_finish(&w->ctx, &m, E(w)));
	CHECK(audited(w, NH_AUDIT_GROUP, s.group.id, "took in 1 devices"));
	m = (struct nh_membership){.group_id = s.group.id, .change = NH_MEMBERSHIP_ADD}; /* again: nothing is left to do */
	OK(all_pages(w, &m, false, err));
	CHECK(m.changed == 0);

	/* an empty list of tags excludes nobody, with either operator: nobody leaves */
	OK(change_group(w, &s, "{\"conditions\":{\"tags\":[],\"tag_operator\":\"or\"}}", err));
	m = (struct nh_membership){.group_id = s.group.id, .change = NH_MEMBERSHIP_REMOVE};
	OK(all_pages(w, &m, true, err));
	CHECK(m.looked_at == 2 && m.changed == 0 && m.stays == 2);

	/* who never said what it runs stays */
	OK(nh_group_assign(&w->ctx, &w->as_ada, w->acme.id, silent, &s.group, E(w)));
	OK(change_group(w, &s, "{\"conditions\":{\"tags\":[\"asia\"]}}", err));
	forget_effects(w);
	m = (struct nh_membership){.group_id = s.group.id, .change = NH_MEMBERSHIP_REMOVE};
	OK(all_pages(w, &m, false, err));
	CHECK(m.looked_at == 3 && m.changed == 2 && m.unknown == 1 && settings_sent(w, eu) && settings_sent(w, s.device) && !settings_sent(w, silent));
	OK(nh_group_get_by_id(&w->ctx, s.group.id, &s.group, E(w)));
	CHECK(s.group.device_count == 1);
	return NH_OK;
}
static void test_bulk(void **state) { on_each_engine(bulk, NULL); }

static nh_rc request(struct world *w, struct nh_err *err)
{
	static const char *const bad[] = {"", "1", "x/add_matching", "1/add", "0/add_matching", "-1/add_matching"};
	struct scene s;
	struct nh_job job;
	struct nh_membership m;
	NH_TRY(set_scene(w, &s, err));
	CHECK_RC(NH_ENOTFOUND, nh_membership_request(&w->ctx, &w->as_eve, &s.group, NH_MEMBERSHIP_ADD, E(w)));
	OK(nh_membership_request(&w->ctx, &w->as_ada, &s.group, NH_MEMBERSHIP_REMOVE, E(w)));
	CHECK(audited(w, NH_AUDIT_GROUP, s.group.id, "asked for all devices that do not match"));
	OK(nh_job_claim(&w->ctx, " membership ", NH_US_PER_S, &job, E(w)));
	OK(nh_membership_job_read(job.key, &m, E(w)));
	CHECK(m.group_id == s.group.id && m.change == NH_MEMBERSHIP_REMOVE && !m.done);
	for (size_t i = 0; i < NH_ARRAY_LEN(bad); i++)
		CHECK_RC(NH_EFORMAT, nh_membership_job_read(nh_slice_str(bad[i]), &m, E(w)));
	m = (struct nh_membership){.group_id = s.group.id + 1};
	CHECK_RC(NH_ENOTFOUND, nh_membership_preview(&w->ctx, &m, E(w)));
	return NH_OK;
}
static void test_request(void **state) { on_each_engine(request, NULL); }

/* ---- deleted devices -------------------------------------------------------------------------------------------------------------- */

static nh_rc deleted_devices(struct world *w, struct nh_err *err)
{
	struct scene s;
	struct nh_device d;
	size_t rows;
	NH_TRY(set_scene(w, &s, err));
	OK(deleted(w, &s, err));
	w->now_us += INT64_C(12) * 86400 * NH_US_PER_S - 1;
	OK(nh_deleted_devices_trim(&w->ctx, &rows, E(w)));
	CHECK(rows == 0);
	w->now_us++;
	OK(nh_deleted_devices_trim(&w->ctx, &rows, E(w)));
	CHECK(rows == 1);
	CHECK_RC(NH_ENOTFOUND, nh_device_by_id(&w->ctx, s.device, &d, E(w)));
	struct nh_notification *list;
	size_t count;
	OK(nh_notification_list(&w->ctx, &w->as_ada, &w->widget, &list, &count, E(w)));
	CHECK(count == 1 && nh_slice_starts(list[0].event_key, NH_LIT("soft_deleted_device-")) && nh_slice_eq_str(list[0].level, "info"));
	CHECK(audited(w, NH_AUDIT_PRODUCT, w->widget.id, "Device d-1 of product Thermo Widget"));
	OK(nh_deleted_devices_trim(&w->ctx, &rows, E(w)));
	CHECK(rows == 0);
	return NH_OK;
}
static void test_deleted_devices(void **state) { on_each_engine(deleted_devices, NULL); }

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_situations), cmocka_unit_test(test_codes),  cmocka_unit_test(test_membership), cmocka_unit_test(test_history), cmocka_unit_test(test_forecast), cmocka_unit_test(test_supposition),
		cmocka_unit_test(test_waves),	   cmocka_unit_test(test_bulk),   cmocka_unit_test(test_request),    cmocka_unit_test(test_deleted_devices),
	};
	return cmocka_run_group_tests_name("hub_explain", tests, NULL, NULL);
}
