/*
 * A fleet of virtual devices against the rules, step by step, with a clock that the test owns and a seeded source of misbehaviour. After every step:
 * never more in flight than the limits say, nothing sent to a device that must not have it, counters true. At the end, when all behave: no update
 * was lost. The same seed gives the same run.
 */
#include "rollout_world.h"

#define DEVICES 240
#define GROUPS 3
#define FIRMWARES 6

struct virtual {
	int64_t id;
	int running;      /* firmware number */
	int offered;      /* firmware number of the update it holds, 0: none */
	bool connected, unvalidated;
	struct nh_session session;
};

struct fleet {
	struct world *w;
	struct virtual devices[DEVICES];
	struct nh_group groups[GROUPS];
	bool woken[GROUPS];
	int64_t limit[GROUPS];
	int latest;       /* newest firmware number */
	size_t sent, failed, reverted, succeeded;
	uint64_t fingerprint; /* of everything sent */
	bool honest;
};

static uint64_t pick(struct fleet *f, uint64_t bound)
{
	return nh_rng_below(&f->w->rng, bound);
}

static nh_slice version_of(struct world *w, int firmware)
{
	return nh_slice_str(nh_arena_printf(&w->arena, "1.%d.0", firmware));
}

static int firmware_number(nh_slice uuid)
{
	return uuid.len == 36 ? uuid.ptr[35] - '0' : 0;
}

static struct virtual *device_by_id(struct fleet *f, int64_t id)
{
	for (size_t i = 0; i < DEVICES; i++) {
		if (f->devices[i].id == id)
			return &f->devices[i];
	}
	return NULL;
}

/* ---- what the world does with effects --------------------------------------------------------------------------------------- */

static nh_rc deliver(struct fleet *f, struct nh_err *err)
{
	struct world *w = f->w;
	for (size_t i = 0; i < w->effects.count; i++) {
		const struct nh_effect *e = &w->effects.items[i];
		if (e->kind == NH_EFFECT_GROUP_WAKE) {
			for (size_t g = 0; g < GROUPS; g++)
				f->woken[g] = f->woken[g] || f->groups[g].id == e->id;
		}
		if (e->kind != NH_EFFECT_DEVICE_PUSH || !nh_slice_eq_str(e->name, "update"))
			continue;
		struct virtual *v = device_by_id(f, e->id);
		struct nh_device_facts d;
		OK(nh_device_facts_load(&w->ctx, e->id, &d, E(w)));
		CHECK(v && d.connected && v->connected && !v->unvalidated);   /* never to one that is away or not validated */
		CHECK(d.updates_enabled && d.blocked_until_us <= w->now_us);  /* never to one that is switched off or in the box */
		CHECK(d.inflight && d.inflight_group_id == d.group_id);       /* and always with its row */
		NH_AUTO_JSON json_t *payload = NULL;
		OK(nh_json_parse(e->payload, 10000, &payload, E(w)));
		int firmware = firmware_number(nh_json_text(json_object_get(payload, "firmware_meta"), "uuid"));
		CHECK(firmware > 0 && firmware != v->running && v->offered == 0); /* never the same again, never two at once */
		v->offered = firmware;
		f->sent++;
		f->fingerprint = f->fingerprint * 1099511628211u + (uint64_t)(e->id * 16 + firmware);
	}
	forget_effects(w);
	return NH_OK;
}

/* ---- what devices do ---------------------------------------------------------------------------------------------------------- */

static nh_rc connect_device(struct fleet *f, struct virtual *v, bool keeps_update, bool reverted, struct nh_err *err)
{
	struct world *w = f->w;
	struct nh_join_result result;
	json_t *payload = join_payload(w, v->running, (const char *)version_of(w, v->running).ptr);
	v->unvalidated = !f->honest && pick(f, 20) == 0;
	json_object_set_new(payload, "meta", json_pack("{s:b, s:b}", "firmware_validated", !v->unvalidated, "firmware_auto_revert_detected", reverted));
	if (keeps_update && v->offered)
		json_object_set_new(payload, "currently_downloading_uuid", json_string((const char *)fw_uuid(w, v->offered).ptr));
	else
		v->offered = 0;
	OK(join_with(w, v->id, payload, &v->session, &result));
	v->connected = true;
	return NH_OK;
}

static nh_rc disconnect_device(struct fleet *f, struct virtual *v, struct nh_err *err)
{
	struct world *w = f->w;
	OK(nh_session_disconnect(&w->ctx, v->id, v->session.connection_id, NH_SLICE_EMPTY, E(w)));
	v->connected = false;
	return NH_OK;
}

static nh_rc say(struct fleet *f, struct virtual *v, const char *status_name, struct nh_err *err)
{
	struct world *w = f->w;
	OK(status(w, &v->session, json_pack("{s:s, s:s, s:i}", "status", status_name, "reason", "because", "delay_for", 10)));
	return NH_OK;
}

/* The update goes on: some work, some fail in each way there is. */
static nh_rc advance_update(struct fleet *f, struct virtual *v, struct nh_err *err)
{
	struct world *w = f->w;
	uint64_t luck = f->honest ? 99 : pick(f, 100);
	if (luck < 10) {
		NH_TRY(say(f, v, "failed", err));
		f->failed++;
		v->offered = 0;
		return NH_OK;
	}
	if (luck < 14) {
		NH_TRY(say(f, v, luck < 12 ? "ignored" : "rescheduled", err));
		v->offered = 0;
		return NH_OK;
	}
	if (luck < 40) {
		json_t *payload = json_pack("{s:s, s:i}", "stage", luck < 25 ? "downloading" : "updating", "value", (int)pick(f, 101));
		nh_rc rc = nh_session_progress(&w->ctx, &v->session, payload, E(w));
		json_decref(payload);
		OK(rc);
		return NH_OK;
	}
	NH_TRY(say(f, v, "completed", err));
	bool reverts = luck < 50;
	if (!reverts)
		v->running = v->offered;
	f->reverted += reverts;
	f->succeeded += !reverts;
	v->offered = 0;
	return connect_device(f, v, false, reverts, err);
}

static nh_rc device_step(struct fleet *f, struct nh_err *err)
{
	struct virtual *v = &f->devices[pick(f, DEVICES)];
	struct world *w = f->w;
	if (!v->connected)
		return connect_device(f, v, pick(f, 2) == 0, false, err);
	if (v->unvalidated && pick(f, 2) == 0) {
		OK(nh_session_firmware_validated(&w->ctx, &v->session, NULL, E(w)));
		v->unvalidated = false;
		return NH_OK;
	}
	switch (pick(f, 12)) {
	case 0:
		return disconnect_device(f, v, err);
	case 1:
		return connect_device(f, v, pick(f, 2) == 0, false, err); /* a second connection while the first still stands */
	default:
		return v->offered ? advance_update(f, v, err) : NH_OK;
	}
}

/* ---- what people and time do ----------------------------------------------------------------------------------------------------- */

static nh_rc edit_group(struct fleet *f, size_t g, json_t *take_fields, struct nh_err *err)
{
	struct world *w = f->w;
	nh_rc rc = nh_group_update(&w->ctx, &w->as_ada, &f->groups[g], take_fields, &f->groups[g], NO_ERRORS(w), E(w));
	json_decref(take_fields);
	OK(rc);
	return NH_OK;
}

static nh_rc people_step(struct fleet *f, struct nh_err *err)
{
	struct world *w = f->w;
	int64_t device = f->devices[pick(f, DEVICES)].id;
	size_t g = pick(f, GROUPS);
	switch (pick(f, 10)) {
	case 0:
		OK(nh_updates_enable(&w->ctx, &w->as_ada, w->acme.id, device, false, E(w)));
		return NH_OK;
	case 1:
	case 2:
		OK(nh_updates_enable(&w->ctx, &w->as_ada, w->acme.id, device, true, E(w)));
		return NH_OK;
	case 3:
		OK(nh_penalty_clear(&w->ctx, &w->as_ada, w->acme.id, device, E(w)));
		return NH_OK;
	case 4:
		OK(nh_group_assign(&w->ctx, &w->as_ada, w->acme.id, device, &f->groups[g], E(w)));
		return NH_OK;
	case 5:
		return edit_group(f, g, json_pack("{s:b}", "is_active", pick(f, 4) != 0), err);
	case 6:
		return edit_group(f, g, json_pack("{s:s}", "queue_management", pick(f, 2) ? "FIFO" : "LIFO"), err);
	case 7: {
		nh_slice uuid = fw_uuid(w, 1 + (int)pick(f, FIRMWARES));
		return edit_group(f, g, json_pack("{s:s%}", "firmware", (const char *)uuid.ptr, uuid.len), err);
	}
	default:
		return NH_OK;
	}
}

static nh_rc server_step(struct fleet *f, struct nh_err *err)
{
	struct world *w = f->w;
	struct nh_orchestrator_result run;
	size_t expired;
	for (size_t g = 0; g < GROUPS; g++) {
		if (!f->woken[g])
			continue;
		f->woken[g] = false;
		OK(run_group(w, f->groups[g].id, &run));
		CHECK(run.inflight <= (size_t)f->limit[g]);
		f->woken[g] = run.more;
		NH_TRY(deliver(f, err));
	}
	if (pick(f, 50) != 0)
		return NH_OK;
	OK(nh_orchestrator_expire(&w->ctx, &expired, E(w)));
	for (size_t i = 0; expired && i < DEVICES; i++) { /* who said nothing for so long has given up, too */
		struct nh_device_facts d;
		OK(nh_device_facts_load(&w->ctx, f->devices[i].id, &d, E(w)));
		if (!d.inflight)
			f->devices[i].offered = 0;
	}
	return NH_OK;
}

/* ---- invariants -------------------------------------------------------------------------------------------------------------------- */

static nh_rc number(struct world *w, nh_slice sql, int64_t *out, struct nh_err *err)
{
	struct nh_rows *rows = NULL;
	NH_TRY(nh_sql_dynamic(w->ctx.tx, sql, NH_NO_PARAMS, &rows, err));
	NH_TRY(nh_sql_next(rows, err));
	*out = nh_col_int(rows, 0);
	nh_sql_end(rows);
	return NH_OK;
}

static nh_rc invariants(struct fleet *f, struct nh_err *err)
{
	struct world *w = f->w;
	int64_t wrong;
	NH_TRY(number(w, NH_LIT("SELECT COUNT(*) FROM deployment_groups g WHERE g.concurrent_updates < "
	                        "(SELECT COUNT(*) FROM inflight_updates i WHERE i.deployment_id = g.id)"), &wrong, err));
	CHECK(wrong == 0);
	NH_TRY(number(w, NH_LIT("SELECT COUNT(*) FROM deployment_groups g WHERE g.device_count <> "
	                        "(SELECT COUNT(*) FROM devices d WHERE d.deployment_id = g.id)"), &wrong, err));
	CHECK(wrong == 0);
	NH_TRY(number(w, NH_LIT("SELECT COUNT(*) FROM devices d JOIN device_connections c ON c.device_id = d.id "
	                        "WHERE (d.connected_at IS NOT NULL) <> (c.status = 'connected')"), &wrong, err));
	CHECK(wrong == 0);
	return NH_OK;
}

/* ---- the run ------------------------------------------------------------------------------------------------------------------------ */

static nh_rc build(struct fleet *f, struct nh_err *err)
{
	struct world *w = f->w;
	for (int i = 1; i <= FIRMWARES; i++)
		NH_TRY(add_firmware(w, i, (const char *)version_of(w, i).ptr, err));
	for (size_t g = 0; g < GROUPS; g++) {
		char name[16];
		snprintf(name, sizeof(name), "group-%zu", g);
		json_t *fields = group_fields(w, name, FIRMWARES);
		f->limit[g] = 3 + (int64_t)g * 4;
		json_object_set_new(fields, "concurrent_updates", json_integer(f->limit[g]));
		json_object_set_new(fields, "conditions", json_pack("{s:[s]}", "tags", name));
		OK(add_group(w, fields, &f->groups[g]));
	}
	for (size_t i = 0; i < DEVICES; i++) {
		char name[16], tags[24];
		snprintf(name, sizeof(name), "device-%zu", i);
		snprintf(tags, sizeof(tags), "[\"group-%zu\"]", i % GROUPS);
		f->devices[i].running = 1 + (int)pick(f, FIRMWARES - 1);
		NH_TRY(add_device(w, name, tags, &f->devices[i].id, err));
	}
	return NH_OK;
}

static nh_rc settled(struct fleet *f, bool *out, struct nh_err *err)
{
	int64_t behind, outside, inflight;
	NH_TRY(number(f->w, NH_LIT("SELECT COUNT(*) FROM devices d JOIN deployment_groups g ON g.id = d.deployment_id "
	                           "JOIN deployment_releases r ON r.id = g.current_release_id JOIN firmwares x ON x.id = r.firmware_id "
	                           "WHERE d.firmware_uuid <> x.uuid"), &behind, err));
	NH_TRY(number(f->w, NH_LIT("SELECT COUNT(*) FROM devices WHERE deployment_id IS NULL"), &outside, err));
	NH_TRY(number(f->w, NH_LIT("SELECT COUNT(*) FROM inflight_updates"), &inflight, err));
	*out = behind + outside + inflight == 0;
	return NH_OK;
}

/* Everybody behaves, every penalty is lifted: all members of a group must reach its firmware. */
static nh_rc settle(struct fleet *f, struct nh_err *err)
{
	struct world *w = f->w;
	bool done;
	f->honest = true;
	for (size_t g = 0; g < GROUPS; g++)
		NH_TRY(edit_group(f, g, json_pack("{s:b}", "is_active", 1), err));
	for (size_t i = 0; i < DEVICES; i++) {
		NH_TRY(connect_device(f, &f->devices[i], true, false, err));
		OK(nh_penalty_clear(&w->ctx, &w->as_ada, w->acme.id, f->devices[i].id, E(w)));
	}
	for (int round = 0; round < 2 * DEVICES; round++) {
		NH_TRY(deliver(f, err));
		NH_TRY(server_step(f, err));
		NH_TRY(deliver(f, err));
		for (size_t i = 0; i < DEVICES; i++) {
			if (f->devices[i].offered)
				NH_TRY(advance_update(f, &f->devices[i], err));
		}
		w->now_us += 3 * NH_US_PER_S;
		NH_TRY(invariants(f, err));
		NH_TRY(settled(f, &done, err));
		if (done)
			return NH_OK;
	}
	return NH_FAIL(err, NH_EINTERNAL, "an update was lost: the fleet did not settle");
}

struct outcome {
	uint64_t seed;
	int steps;
	uint64_t fingerprint;
	size_t sent, failed, reverted, succeeded;
};

static nh_rc simulate(struct world *w, struct nh_err *err)
{
	struct outcome *outcome = w->arg;
	struct fleet *f = nh_arena_alloc(&w->arena, sizeof(*f));
	f->w = w;
	w->rng = nh_rng_seeded_init(&w->seed, outcome->seed);
	w->arena.cap_bytes = (size_t)1 << 30; /* one arena for days of simulated life */
	NH_TRY(build(f, err));
	for (int step = 0; step < outcome->steps; step++) {
		w->now_us += (int64_t)pick(f, 20) * NH_US_PER_S;
		if (pick(f, 500) == 0)
			w->now_us += INT64_C(86400) * NH_US_PER_S;
		NH_TRY(pick(f, 25) == 0 ? people_step(f, err) : device_step(f, err));
		NH_TRY(deliver(f, err));
		NH_TRY(server_step(f, err));
		NH_TRY(deliver(f, err));
		if (step % 10 == 0)
			NH_TRY(invariants(f, err));
	}
	*outcome = (struct outcome){outcome->seed, outcome->steps, f->fingerprint, f->sent, f->failed, f->reverted, f->succeeded};
	return settle(f, err);
}

static void run(unsigned engine, struct outcome *outcome)
{
	char what[32];
	snprintf(what, sizeof(what), "seed %llu, ", (unsigned long long)outcome->seed);
	if (!on_engine(engine, simulate, outcome, what))
		return;
	print_message("# %s, seed %llu: sent %zu, failed %zu, reverted %zu, succeeded %zu\n", testdb_name(engine), (unsigned long long)outcome->seed,
	              outcome->sent, outcome->failed, outcome->reverted, outcome->succeeded);
}

static void test_simulation(void **state)
{
	struct outcome outcomes[] = {{.seed = 1, .steps = 4000}, {.seed = 2, .steps = 4000}, {.seed = 1, .steps = 4000}};
	for (size_t i = 0; i < NH_ARRAY_LEN(outcomes); i++) {
		run(0, &outcomes[i]);
		assert_true(outcomes[i].sent > 100 && outcomes[i].failed > 5 && outcomes[i].reverted > 5 && outcomes[i].succeeded > 50);
	}
	assert_true(outcomes[0].fingerprint == outcomes[2].fingerprint && outcomes[0].sent == outcomes[2].sent);
	assert_true(outcomes[0].fingerprint != outcomes[1].fingerprint);
}

/* The other engine decides the same. Shorter: one long transaction leaves PostgreSQL every version of every row to step over. */
static void test_engines_agree(void **state)
{
	struct outcome outcomes[] = {{.seed = 7, .steps = 300}, {.seed = 7, .steps = 300}};
	run(0, &outcomes[0]);
	outcomes[1] = outcomes[0];
	run(1, &outcomes[1]);
	assert_true(outcomes[0].fingerprint == outcomes[1].fingerprint && outcomes[0].sent == outcomes[1].sent);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_simulation), cmocka_unit_test(test_engines_agree)};
	return cmocka_run_group_tests_name("hub_rollout_simulation", tests, NULL, NULL);
}
