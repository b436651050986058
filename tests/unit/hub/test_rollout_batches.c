/*
 * Handing out very many updates at once: each batch goes on where the last one stopped, reads no more than the first one whatever is in flight by then, and between them nobody is left out, told twice or told
 * beyond the limit. What is read is what the engines say themselves: SQLite's steps, PostgreSQL's rows.
 */
#include "rollout_world.h"

#include "hub/rollouts.h"

#define DEVICES 1000
#define BATCHES (DEVICES / NH_ORCHESTRATOR_BATCH)

struct batches {
	struct nh_db *db;
	unsigned engine;
	const char *fields; /* of the group, beside the usual ones */
	const char *plan;   /* of its rollout; NULL: none */
	struct nh_group g;
	int64_t first_id;
};

static nh_rc dynamic(struct world *w, const char *text, const struct nh_param *params, size_t count, int64_t *first, struct nh_err *err)
{
	struct nh_rows *rows = NULL;
	NH_TRY(nh_sql_dynamic(w->ctx.tx, nh_slice_str(text), params, count, &rows, err));
	nh_rc rc = nh_sql_next(rows, err);
	if (rc == NH_OK && first)
		*first = nh_col_int(rows, 0);
	nh_sql_end(rows);
	return rc == NH_ENOTFOUND ? NH_OK : rc;
}

/* A group with slots for all, two firmwares to come from, and its devices, which connected one after the other. */
static nh_rc furnish(struct world *w, struct batches *b, struct nh_err *err)
{
	NH_AUTO_JSON json_t *more = NULL, *plan = NULL;
	json_t *fields;
	for (int i = 1; i <= 3; i++)
		NH_TRY(add_firmware(w, i, nh_arena_printf(&w->arena, "%d.0.0", i), err));
	fields = group_fields(w, "everyone", 1);
	OK(nh_json_parse(nh_slice_str(b->fields), 1000, &more, E(w)));
	json_object_update(fields, more);
	json_object_set_new(fields, "concurrent_updates", json_integer(5 * DEVICES));
	OK(add_group(w, fields, &b->g));
	if (b->plan) {
		OK(nh_json_parse(nh_slice_str(b->plan), 1000, &plan, E(w)));
		OK(nh_rollout_plan_set(&w->ctx, &w->as_ada, &b->g, plan, false, NO_ERRORS(w), E(w)));
	}
	NH_AUTO_JSON json_t *release = json_pack("{s:s}", "firmware", (const char *)fw_uuid(w, 3).ptr);
	OK(nh_group_update(&w->ctx, &w->as_ada, &b->g, release, &b->g, NO_ERRORS(w), E(w)));
	NH_TRY(dynamic(w,
	               "INSERT INTO devices (org_id, product_id, identifier, tags, status, first_seen_at, firmware_uuid, firmware_version, firmware_platform, firmware_architecture, "
	               "firmware_validation_status, deployment_id, connected_at, inserted_at, updated_at) WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i + 1 < 1000) "
	               "SELECT CAST($1 AS BIGINT), CAST($2 AS BIGINT), 'device-' || i, '[]', 'provisioned', CAST($3 AS BIGINT) + i / 3, CASE WHEN i % 5 = 0 THEN CAST($4 AS TEXT) ELSE CAST($5 AS TEXT) END, '1.0.0', 'rpi4', 'aarch64', 'validated', CAST($6 AS BIGINT), $3 + i / 2, $3, $3 FROM n",
	               NH_PARAMS(nh_p_int(w->acme.id), nh_p_int(w->widget.id), nh_p_int(w->now_us), nh_p_text(fw_uuid(w, 1)), nh_p_text(fw_uuid(w, 2)), nh_p_int(b->g.id)), NULL, err));
	/* As for a table that has grown: reading a small one whole would be right. */
	if (b->engine == 1)
		NH_TRY(dynamic(w, "SELECT set_config('enable_seqscan', 'off', true)", NH_NO_PARAMS, NULL, err));
	return dynamic(w, "SELECT MIN(id) FROM devices WHERE deployment_id = $1", NH_PARAMS(nh_p_int(b->g.id)), &b->first_id, err);
}

static nh_rc reads(struct world *w, struct batches *b, int64_t *out, struct nh_err *err)
{
	struct nh_db_stats stats;
	if (b->engine == 1)
		return dynamic(w, "SELECT CAST(SUM(seq_tup_read + COALESCE(idx_tup_fetch, 0)) AS BIGINT) FROM pg_stat_xact_user_tables WHERE relname IN ('devices', 'inflight_updates')", NH_NO_PARAMS, out, err);
	nh_db_stats(b->db, &stats);
	*out = (int64_t)stats.steps;
	return NH_OK;
}

static nh_rc batch(struct world *w, struct batches *b, struct nh_orchestrator_cursor *cursor, struct nh_orchestrator_result *run, int64_t *read, struct nh_err *err)
{
	int64_t before = 0, after = 0;
	NH_TRY(reads(w, b, &before, err));
	OK(nh_orchestrator_go_on(&w->ctx, b->g.id, cursor, run, E(w)));
	NH_TRY(reads(w, b, &after, err));
	*cursor = run->cursor;
	*read = after - before;
	return NH_OK;
}

static nh_rc each_told_once(struct world *w, struct batches *b, struct nh_err *err)
{
	unsigned char told[DEVICES] = {0};
	for (size_t i = 0; i < w->effects.count; i++) {
		const struct nh_effect *e = &w->effects.items[i];
		if (e->kind != NH_EFFECT_DEVICE_PUSH)
			continue;
		CHECK(e->id >= b->first_id && e->id < b->first_id + DEVICES);
		told[e->id - b->first_id]++;
	}
	for (size_t i = 0; i < DEVICES; i++)
		CHECK(told[i] == 1);
	return NH_OK;
}

static nh_rc flat(struct world *w, struct nh_err *err)
{
	struct batches *b = w->arg;
	struct nh_orchestrator_cursor cursor = {0};
	struct nh_orchestrator_result run;
	int64_t read[BATCHES + 1] = {0};
	NH_TRY(furnish(w, b, err));
	for (size_t i = 0; i < BATCHES; i++) {
		NH_TRY(batch(w, b, &cursor, &run, &read[i], err));
		CHECK(run.sent == NH_ORCHESTRATOR_BATCH && run.more && cursor.release_id == b->g.release.id && run.inflight == (i + 1) * NH_ORCHESTRATOR_BATCH);
		CHECK(run.release_id == b->g.release.id && (run.rollout_id != 0) == (b->plan != NULL));
		/* less than half as much again; without the cursor the last one reads ten times as much of the devices */
		if (i > 0 && read[i] * 2 > read[0] * 3)
			return NH_FAIL(err, NH_EINTERNAL, "batch %zu read %lld, the first one %lld", i, (long long)read[i], (long long)read[0]);
	}
	NH_TRY(each_told_once(w, b, err));
	/* it ends short, asks for a look from the beginning, and that one for nothing */
	NH_TRY(batch(w, b, &cursor, &run, &read[BATCHES], err));
	CHECK(run.sent == 0 && run.more && cursor.release_id == 0);
	NH_TRY(batch(w, b, &cursor, &run, &read[BATCHES], err));
	CHECK(run.sent == 0 && !run.more && run.inflight == DEVICES);
	return NH_OK;
}

/* What changes between two batches: slots, what others send, the order, the release. */
static nh_rc between(struct world *w, struct nh_err *err)
{
	struct batches *b = w->arg;
	struct nh_orchestrator_cursor cursor = {0}, stale;
	struct nh_orchestrator_result run;
	int64_t read;
	NH_TRY(furnish(w, b, err));
	NH_TRY(batch(w, b, &cursor, &run, &read, err));
	stale = cursor;
	/* somebody else's batch, and then the limit is near: counted anew */
	NH_TRY(dynamic(w, "UPDATE deployment_groups SET concurrent_updates = 230 WHERE id = $1 RETURNING id", NH_PARAMS(nh_p_int(b->g.id)), NULL, err));
	OK(nh_orchestrator_run(&w->ctx, b->g.id, &run, E(w)));
	CHECK(run.sent == NH_ORCHESTRATOR_BATCH && run.inflight == 200);
	NH_TRY(batch(w, b, &cursor, &run, &read, err));
	CHECK(run.sent == 30 && run.inflight == 230 && cursor.release_id == 0 && run.more);
	/* who was passed is found again from the beginning, though not by a cursor behind it */
	NH_TRY(dynamic(w, "UPDATE deployment_groups SET concurrent_updates = 231 WHERE id = $1 RETURNING id", NH_PARAMS(nh_p_int(b->g.id)), NULL, err));
	NH_TRY(dynamic(w, "DELETE FROM inflight_updates WHERE device_id = $1 RETURNING id", NH_PARAMS(nh_p_int(b->first_id)), NULL, err));
	forget_effects(w);
	OK(nh_orchestrator_go_on(&w->ctx, b->g.id, &stale, &run, E(w)));
	CHECK(run.sent == 2 && run.inflight == 231 && !pushed(w, b->first_id, "update").ptr);
	NH_TRY(dynamic(w, "UPDATE deployment_groups SET concurrent_updates = 232, queue_management = 'LIFO' WHERE id = $1 RETURNING id", NH_PARAMS(nh_p_int(b->g.id)), NULL, err));
	OK(nh_orchestrator_go_on(&w->ctx, b->g.id, &stale, &run, E(w)));
	CHECK(run.sent == 1 && pushed(w, b->first_id + DEVICES - 1, "update").ptr); /* of another order: the beginning of that one */
	return NH_OK;
}

static void on_both(nh_rc (*run)(struct world *w, struct nh_err *err), const char *fields, const char *plan)
{
	for (unsigned engine = 0; engine < TESTDB_ENGINES; engine++) {
		struct nh_db *db = testdb_open(engine);
		if (!db)
			continue;
		struct batches b = {.db = db, .engine = engine, .fields = fields, .plan = plan};
		struct world world = {.arg = &b};
		struct scenario s = {&world, run};
		struct nh_err err = NH_ERR_INIT;
		nh_rc rc = nh_db_write(db, run_scenario, &s, &err);
		json_decref(world.errors);
		nh_arena_fini(&world.arena);
		testdb_close(db);
		if (rc != NH_OK)
			fail_msg("%s, %s: %s", testdb_name(engine), fields, err.msg);
	}
}

static void test_fifo(void **state) { on_both(flat, "{}", NULL); }
static void test_lifo(void **state) { on_both(flat, "{\"queue_management\": \"LIFO\"}", NULL); }
static void test_waves(void **state) { on_both(flat, "{}", "{\"waves\": [{\"percent\": 100, \"gate\": {\"type\": \"manual\"}}]}"); }
static void test_priority(void **state)
{
	on_both(flat, "{\"priority_queue_enabled\": true, \"priority_queue_concurrent_updates\": 300, \"priority_queue_firmware_version_threshold\": \"1.0.0\"}", NULL);
}
static void test_between(void **state) { on_both(between, "{}", NULL); }

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_fifo), cmocka_unit_test(test_lifo), cmocka_unit_test(test_waves), cmocka_unit_test(test_priority), cmocka_unit_test(test_between),
	};
	return cmocka_run_group_tests_name("hub_rollout_batches", tests, NULL, NULL);
}
