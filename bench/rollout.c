/*
 * The orchestrator on a fleet of any size: makes the fleet in an empty database, then hands out updates run by run, as the server's own driver does, and says in JSON what that took. Devices
 * are rows and nothing more: nobody is connected, and an update counts as told when its push was left as an effect after the commit.
 *
 *	nh-bench-rollout URL make COUNT		an organization, a group with two firmwares, COUNT connected members that run the older one
 *	nh-bench-rollout URL steady RUNS	RUNS triggers with 100 slots each; between them (not timed) what was sent has succeeded
 *	nh-bench-rollout URL full RUNS		RUNS triggers while every slot is taken
 *	nh-bench-rollout URL tell		with slots for all: triggers until everybody was told
 */
#include "rollout_world.h"

#include "base/clock.h"
#include "base/encode.h"

#define STMT(id, text) static const struct nh_stmt id = {#id, text}

STMT(bench_devices,
     "WITH RECURSIVE count(n) AS (SELECT CAST(1 AS BIGINT) UNION ALL SELECT n + 1 FROM count WHERE n < $1) "
     "INSERT INTO devices (org_id, product_id, identifier, tags, status, first_seen_at, firmware_uuid, firmware_version, firmware_platform, firmware_architecture, "
     "firmware_validation_status, deployment_id, connected_at, inserted_at, updated_at) "
     "SELECT $2, $3, 'device-' || n, '[]', 'provisioned', $4 + n, $5, '1.0.0', 'rpi4', 'aarch64', 'validated', $6, $4 + n, $4, $4 FROM count");
STMT(bench_connections, "INSERT INTO device_connections (id, device_id, status, established_at, last_seen_at) SELECT 'c' || id, id, 'connected', connected_at, connected_at FROM devices");
STMT(bench_slots, "UPDATE deployment_groups SET concurrent_updates = $1");
STMT(bench_group, "SELECT g.id, f.uuid, (SELECT COUNT(*) FROM devices) FROM deployment_groups g JOIN deployment_releases r ON r.id = g.current_release_id JOIN firmwares f ON f.id = r.firmware_id");
STMT(bench_succeed, "UPDATE devices SET firmware_uuid = $1 WHERE id IN (SELECT device_id FROM inflight_updates)");
STMT(bench_forget, "DELETE FROM inflight_updates");

static const struct nh_stmt *const bench_statements[] = {&bench_devices, &bench_connections, &bench_slots, &bench_group, &bench_succeed, &bench_forget, NULL};

struct work {
	struct nh_db *db;
	struct nh_hub_config config;
	int64_t number;  /* of the command line */
	int64_t group_id, devices;
	char target[64]; /* UUID of the release's firmware */
	struct nh_orchestrator_cursor cursor, next;
	size_t told;
	uint64_t read; /* PostgreSQL: rows */
	bool more, counts_rows, postgres;
};

static int64_t system_now(void *ctx) { return nh_now_us(); }

static struct nh_ctx context(struct work *w, struct nh_tx *tx, struct nh_arena *arena, struct nh_effects *effects)
{
	return (struct nh_ctx){.tx = tx, .arena = arena, .clock = &nh_clock_system, .rng = &nh_rng_system, .config = &w->config, .effects = effects};
}

/* ---- the fleet -------------------------------------------------------------------------------------------------------------- */

static nh_rc make_tx(struct nh_tx *tx, void *arg, struct nh_err *err)
{
	struct work *work = arg;
	struct world world = {.clock = {system_now, NULL}, .now_us = nh_now_us()}, *w = &world;
	struct nh_group group;
	w->config = work->config;
	w->ctx = (struct nh_ctx){tx, &w->arena, &w->clock, &nh_rng_system, &w->config, &w->effects};
	NH_TRY(world_fill(w, err));
	NH_TRY(add_firmware(w, 1, "1.0.0", err));
	NH_TRY(add_firmware(w, 2, "2.0.0", err));
	NH_TRY(add_group(w, group_fields(w, "everyone", 2), &group));
	NH_TRY(nh_sql_exec(tx, &bench_devices,
	                   NH_PARAMS(nh_p_int(work->number), nh_p_int(w->acme.id), nh_p_int(w->widget.id), nh_p_int(w->now_us), nh_p_text(fw_uuid(w, 1)), nh_p_int(group.id)), NULL, err));
	NH_TRY(nh_sql_exec(tx, &bench_connections, NH_NO_PARAMS, NULL, err));
	nh_arena_fini(&w->arena);
	return NH_OK;
}

static nh_rc make(struct work *w, struct nh_err *err) { return nh_db_write(w->db, make_tx, w, err); }

/* ---- triggers --------------------------------------------------------------------------------------------------------------- */

static nh_rc find_tx(struct nh_tx *tx, void *arg, struct nh_err *err)
{
	struct work *w = arg;
	struct nh_rows *rows = NULL;
	NH_AUTO_ARENA struct nh_arena arena = NH_ARENA_INIT;
	NH_TRY(nh_sql_one(tx, &bench_group, NH_NO_PARAMS, &rows, err));
	w->group_id = nh_col_int(rows, 0);
	snprintf(w->target, sizeof w->target, "%s", nh_arena_str(&arena, nh_col_text(rows, 1, &arena)));
	w->devices = nh_col_int(rows, 2);
	nh_sql_end(rows);
	return NH_OK;
}

static nh_rc slots_tx(struct nh_tx *tx, void *arg, struct nh_err *err) { return nh_sql_exec(tx, &bench_slots, NH_PARAMS(nh_p_int(*(int64_t *)arg)), NULL, err); }

static nh_rc succeed_tx(struct nh_tx *tx, void *arg, struct nh_err *err)
{
	struct work *w = arg;
	NH_TRY(nh_sql_exec(tx, &bench_succeed, NH_PARAMS(nh_p_str(w->target)), NULL, err));
	return nh_sql_exec(tx, &bench_forget, NH_NO_PARAMS, NULL, err);
}

/* Rows that this transaction has read so far; of SQLite the steps tell. */
static nh_rc rows_read(struct work *w, struct nh_tx *tx, uint64_t *out, struct nh_err *err)
{
	static const char text[] = "SELECT CAST(COALESCE(SUM(seq_tup_read + COALESCE(idx_tup_fetch, 0)), 0) AS BIGINT) FROM pg_stat_xact_user_tables";
	struct nh_rows *rows = NULL;
	*out = 0;
	if (!w->counts_rows)
		return NH_OK;
	NH_TRY(nh_sql_dynamic(tx, nh_slice_str(text), NH_NO_PARAMS, &rows, err));
	nh_rc rc = nh_sql_next(rows, err);
	if (rc == NH_OK)
		*out = (uint64_t)nh_col_int(rows, 0);
	nh_sql_end(rows);
	return rc;
}

static nh_rc trigger_tx(struct nh_tx *tx, void *arg, struct nh_err *err)
{
	uint64_t before = 0, after = 0;
	struct work *w = arg;
	struct nh_effects effects = {0};
	struct nh_orchestrator_result result;
	NH_AUTO_ARENA struct nh_arena arena = NH_ARENA_INIT;
	struct nh_ctx ctx = context(w, tx, &arena, &effects);
	NH_TRY(rows_read(w, tx, &before, err));
	NH_TRY(nh_orchestrator_go_on(&ctx, w->group_id, &w->cursor, &result, err));
	NH_TRY(rows_read(w, tx, &after, err));
	w->read = after - before;
	w->next = result.cursor;
	w->told = 0;
	for (size_t i = 0; i < effects.count; i++)
		w->told += effects.items[i].kind == NH_EFFECT_DEVICE_PUSH;
	w->more = result.sent > 0;
	return NH_OK;
}

static int by_value(const void *left, const void *right)
{
	uint64_t a = *(const uint64_t *)left, b = *(const uint64_t *)right;
	return a < b ? -1 : a > b;
}

/* Triggers, each timed; settle: what was sent has succeeded before the next. runs 0: until nobody is told any more. */
static nh_rc trigger(struct work *w, int64_t slots, int64_t runs, bool settle, struct nh_err *err)
{
	NH_AUTO_ARENA struct nh_arena arena = NH_ARENA_INIT;
	struct nh_db_stats before, after;
	uint64_t spent_us = 0, steps = 0, told = 0;
	size_t max = (size_t)(runs ? runs : w->devices / NH_ORCHESTRATOR_BATCH + 2), count = 0;
	uint64_t *times = NH_NEW_ARRAY(&arena, max, uint64_t);
	NH_TRY(nh_db_write(w->db, slots_tx, &slots, err));
	NH_TRY(nh_db_write(w->db, trigger_tx, w, err)); /* the first warms what all use */
	told += settle || runs ? 0 : w->told;
	w->counts_rows = w->postgres && settle; /* asking takes longer than a trigger that sends nothing */
	for (w->more = true; count < max && (runs || w->more); count++) {
		if (settle)
			NH_TRY(nh_db_write(w->db, succeed_tx, w, err));
		nh_db_stats(w->db, &before);
		uint64_t from_us = nh_mono_us();
		NH_TRY(nh_db_write(w->db, trigger_tx, w, err));
		times[count] = nh_mono_us() - from_us;
		nh_db_stats(w->db, &after);
		w->cursor = settle || runs ? (struct nh_orchestrator_cursor){0} : w->next; /* as the server does while it has enough to send */
		spent_us += times[count];
		steps += after.steps - before.steps + w->read;
		told += w->told;
	}
	qsort(times, count, sizeof *times, by_value);
	printf("{\"devices\": %lld, \"runs\": %zu, \"told\": %llu, \"seconds\": %.6f, \"median_ms\": %.3f, \"steps\": %llu}\n", (long long)w->devices, count, (unsigned long long)told, (double)spent_us / 1e6,
	       (double)times[count / 2] / 1e3, (unsigned long long)steps);
	return NH_OK;
}

static nh_rc steady(struct work *w, struct nh_err *err) { return trigger(w, 100, w->number, true, err); }
static nh_rc tell(struct work *w, struct nh_err *err) { return trigger(w, w->devices + 1, 0, false, err); }

static nh_rc full(struct work *w, struct nh_err *err)
{
	int64_t slots = 100;
	NH_TRY(nh_db_write(w->db, succeed_tx, w, err));
	NH_TRY(nh_db_write(w->db, slots_tx, &slots, err));
	NH_TRY(nh_db_write(w->db, trigger_tx, w, err));
	return trigger(w, 100, w->number, false, err);
}

/* ---- the program ------------------------------------------------------------------------------------------------------------ */

static const struct {
	const char *name;
	nh_rc (*run)(struct work *w, struct nh_err *err);
} commands[] = {{"make", make}, {"steady", steady}, {"full", full}, {"tell", tell}};

static nh_rc run(int argc, char **argv, struct nh_err *err)
{
	const struct nh_stmt *const *families[64] = {0};
	struct work w = {.config = {.secret_key = NH_LIT("0123456789abcdef0123456789abcdef"), .download_base_url = "https://devices.example.com", .download_ttl_s = 86400, .max_firmware_bytes = 1 << 30}};
	uint64_t number = 0;
	size_t count = 0, command = 0;
	while (argc > 2 && command < NH_ARRAY_LEN(commands) && strcmp(argv[2], commands[command].name) != 0)
		command++;
	if (argc < 3 || command == NH_ARRAY_LEN(commands) || (argc > 3 && nh_parse_u64(nh_slice_str(argv[3]), 1, 100000000, &number) != NH_OK))
		return NH_FAIL(err, NH_EINVAL, "usage: nh-bench-rollout URL make COUNT | steady RUNS | full RUNS | tell");
	while (nh_store_statements[count] && count < NH_ARRAY_LEN(families) - 2) {
		families[count] = nh_store_statements[count];
		count++;
	}
	families[count] = bench_statements;
	w.number = (int64_t)number;
	w.postgres = strncmp(argv[1], "postgres", 8) == 0;
	NH_TRY(nh_db_open(&(struct nh_db_config){.url = argv[1], .connections = 2, .timeout_ms = 3600000, .statements = families}, &w.db, err));
	nh_rc rc = command == 0 ? NH_OK : nh_db_read(w.db, find_tx, &w, err);
	if (rc == NH_OK)
		rc = commands[command].run(&w, err);
	nh_db_close(w.db);
	return rc;
}

int main(int argc, char **argv)
{
	struct nh_err err = NH_ERR_INIT;
	if (run(argc, argv, &err) == NH_OK)
		return 0;
	fprintf(stderr, "nh-bench-rollout: %s\n", err.msg);
	return 1;
}
