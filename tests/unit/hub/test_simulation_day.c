/*
 * A day in the life of a fleet that misbehaves, on a clock that the test owns: devices that flap, never answer, poll, lie about what they run, reboot in the middle, always revert, send nonsense in
 * every event, keep using a replaced connection, never stop talking. Minute by minute, after each: never more in flight than allowed, nothing for whom it is not, every update that was answered has
 * ended and every other one ends in time, each device in one group with one connection, and no table grows faster than it may. In the end all behave, and nothing was lost.
 *
 * The same seed gives the same day. NH_SIMULATION_HOURS, NH_SIMULATION_DEVICES and NH_SIMULATION_SEED make it longer, larger or another one.
 */
#include "base/encode.h"
#include "hub/extensions.h"
#include "hub/polling.h"
#include "rollout_world.h"

#define GROUPS 4
#define FIRMWARES 6
#define UNHEARD_S (NH_INFLIGHT_EXPIRY_S + 120) /* an update that nobody reports on is gone by then: it expires once a minute here */

struct fleet;
struct virtual;

/* What a device does when it is its turn. Connected, unless it polls. */
struct character {
	const char *name;
	unsigned weight;
	nh_rc (*act)(struct fleet *f, struct virtual *v, struct nh_err *err);
};

struct virtual {
	int64_t id;
	const struct character *character;
	int running;   /* firmware number */
	int offered;   /* of the update it holds, 0: none */
	bool connected;
	struct nh_session session;
	struct nh_session replaced; /* an older one of the same device; device_id 0: none */
	struct nh_extension_bucket bucket;
};

struct fleet {
	struct world *w;
	struct virtual *devices;
	size_t count;
	int64_t groups[GROUPS], limits[GROUPS];
	bool woken[GROUPS], honest;
	uint64_t fingerprint; /* of everything sent */
	size_t joins, sent, polled, answered, expired, ignored, lines, reports, replaced;
};

static uint64_t pick(struct fleet *f, uint64_t bound) { return nh_rng_below(&f->w->rng, bound); }
static bool often(struct fleet *f, unsigned percent) { return pick(f, 100) < percent; }

static const char *version_of(struct world *w, int firmware) { return nh_arena_printf(&w->arena, "1.%d.0", firmware); }

static nh_rc number(struct world *w, const char *sql, int64_t *out, struct nh_err *err)
{
	struct nh_rows *rows = NULL;
	NH_TRY(nh_sql_dynamic(w->ctx.tx, nh_slice_str(sql), NH_NO_PARAMS, &rows, err));
	NH_TRY(nh_sql_next(rows, err));
	*out = nh_col_int(rows, 0);
	nh_sql_end(rows);
	return NH_OK;
}

/* ---- what the server sends ----------------------------------------------------------------------------------------------- */

/* An update reached the device, pushed or as the answer to its question: may it have it? */
static nh_rc receive(struct fleet *f, struct virtual *v, nh_slice text, bool pushed_to, struct nh_err *err)
{
	struct world *w = f->w;
	struct nh_device_facts d;
	NH_AUTO_JSON json_t *payload = NULL;
	OK(nh_json_parse(text, 10000, &payload, E(w)));
	nh_slice uuid = nh_json_text(json_object_get(payload, "firmware_meta"), "uuid");
	OK(nh_device_facts_load(&w->ctx, v->id, &d, E(w)));
	CHECK(!pushed_to || (d.connected && v->connected));
	CHECK(d.updates_enabled && d.blocked_until_us <= w->now_us && !d.deleted);
	CHECK(d.inflight && d.inflight_group_id == d.group_id && d.group_id != 0);
	CHECK(uuid.len == 36 && !nh_slice_eq(uuid, d.firmware_uuid)); /* never what it says it runs */
	int firmware = uuid.ptr[35] - '0';
	CHECK(v->offered == 0 || v->offered == firmware); /* again, where it said nothing; never another one meanwhile */
	v->offered = firmware;
	f->fingerprint = f->fingerprint * UINT64_C(1099511628211) + (uint64_t)(v->id * 16 + firmware);
	return NH_OK;
}

static struct virtual *device_by_id(struct fleet *f, int64_t id)
{
	for (size_t i = 0; i < f->count; i++)
		if (f->devices[i].id == id)
			return &f->devices[i];
	return NULL;
}

static nh_rc deliver(struct fleet *f, struct nh_err *err)
{
	struct world *w = f->w;
	for (size_t i = 0; i < w->effects.count; i++) {
		const struct nh_effect *e = &w->effects.items[i];
		for (size_t g = 0; e->kind == NH_EFFECT_GROUP_WAKE && g < GROUPS; g++)
			f->woken[g] = f->woken[g] || f->groups[g] == e->id;
		if (e->kind != NH_EFFECT_DEVICE_PUSH || !nh_slice_eq_str(e->name, "update"))
			continue;
		struct virtual *v = device_by_id(f, e->id);
		CHECK(v);
		NH_TRY(receive(f, v, e->payload, true, err));
		f->sent++;
	}
	w->effects = (struct nh_effects){0};
	return NH_OK;
}

/* ---- joining ------------------------------------------------------------------------------------------------------------- */

static json_t *join_as(struct fleet *f, const char *uuid, const char *version, bool reverted)
{
	json_t *payload = join_payload(f->w, 1, version);
	json_object_set_new(payload, "nerves_fw_uuid", json_string(uuid));
	json_object_set_new(payload, "meta", json_pack("{s:b, s:b}", "firmware_validated", 1, "firmware_auto_revert_detected", reverted));
	return payload;
}

static const char *uuid_text(struct fleet *f, int firmware) { return (const char *)fw_uuid(f->w, firmware).ptr; }

static nh_rc enter(struct fleet *f, struct virtual *v, json_t *take_payload, struct nh_err *err)
{
	struct world *w = f->w;
	struct nh_join_result result;
	struct nh_session before = v->session;
	bool replaces = v->connected;
	OK(join_with(w, v->id, take_payload, &v->session, &result));
	v->connected = true;
	f->joins++;
	if (replaces) {
		v->replaced = before;
		f->replaced++;
	}
	return NH_OK;
}

static nh_rc come(struct fleet *f, struct virtual *v, bool keeps_update, bool reverted, struct nh_err *err)
{
	json_t *payload = join_as(f, uuid_text(f, v->running), version_of(f->w, v->running), reverted);
	if (keeps_update && v->offered)
		json_object_set_new(payload, "currently_downloading_uuid", json_string(uuid_text(f, v->offered)));
	else
		v->offered = 0;
	return enter(f, v, payload, err);
}

static nh_rc go(struct fleet *f, struct virtual *v, struct nh_err *err)
{
	struct world *w = f->w;
	OK(nh_session_disconnect(&w->ctx, v->id, v->session.connection_id, often(f, 50) ? NH_LIT("gone") : NH_SLICE_EMPTY, E(w)));
	v->connected = false;
	return NH_OK;
}

/* ---- answering ----------------------------------------------------------------------------------------------------------- */

/* What was answered has ended: no row holds a slot for it any more. */
static nh_rc ended(struct fleet *f, struct virtual *v, struct nh_err *err)
{
	struct world *w = f->w;
	struct nh_device_facts d;
	OK(nh_device_facts_load(&w->ctx, v->id, &d, E(w)));
	CHECK(!d.inflight);
	v->offered = 0;
	f->answered++;
	return NH_OK;
}

static nh_rc refuse(struct fleet *f, struct virtual *v, struct nh_err *err)
{
	static const char *const words[] = {"failed", "ignored", "rescheduled", "update-handled", "fwup error: no space"};
	struct world *w = f->w;
	const char *word = words[pick(f, 3)];
	OK(status(w, &v->session, json_pack("{s:s, s:s, s:i}", "status", word, "reason", "because", "delay_for", 600000)));
	return ended(f, v, err);
}

static nh_rc report_progress(struct fleet *f, struct virtual *v, struct nh_err *err)
{
	struct world *w = f->w;
	json_t *payload = json_pack("{s:s, s:i}", "stage", often(f, 50) ? "downloading" : "updating", "value", (int)pick(f, 101));
	nh_rc rc = nh_session_progress(&w->ctx, &v->session, payload, E(w));
	json_decref(payload);
	OK(rc);
	return NH_OK;
}

static nh_rc install(struct fleet *f, struct virtual *v, struct nh_err *err)
{
	struct world *w = f->w;
	OK(status(w, &v->session, json_pack("{s:s}", "status", "completed")));
	v->running = v->offered;
	NH_TRY(come(f, v, false, false, err));
	return ended(f, v, err);
}

/* ---- characters ---------------------------------------------------------------------------------------------------------- */

static nh_rc act_honest(struct fleet *f, struct virtual *v, struct nh_err *err)
{
	if (!v->offered)
		return f->honest || often(f, 90) ? NH_OK : go(f, v, err);
	return f->honest || often(f, 60) ? install(f, v, err) : often(f, 80) ? report_progress(f, v, err) : refuse(f, v, err);
}

static nh_rc act_flap(struct fleet *f, struct virtual *v, struct nh_err *err)
{
	for (int i = 0; i < 3; i++) {
		if (often(f, 70))
			NH_TRY(go(f, v, err));
		NH_TRY(come(f, v, often(f, 50), false, err));
	}
	return NH_OK;
}

/* It takes updates and says nothing, ever. */
static nh_rc act_mute(struct fleet *f, struct virtual *v, struct nh_err *err) { return NH_OK; }

static nh_rc act_lie(struct fleet *f, struct virtual *v, struct nh_err *err)
{
	static const char *const lies[] = {"", "not a uuid", "FFFFFFFF-FFFF-FFFF-FFFF-FFFFFFFFFFFF", "00000000-0000-4000-8000-0000000000999", "\xc3\xa9", "null"};
	char other[37];
	uint64_t a = pick(f, UINT32_MAX), b = pick(f, UINT32_MAX);
	snprintf(other, sizeof other, "%08x-0000-4000-8000-%012llx", (unsigned)a, (unsigned long long)b);
	int claimed = 1 + (int)pick(f, FIRMWARES);
	v->offered = 0;
	if (often(f, 30))
		return enter(f, v, join_as(f, lies[pick(f, NH_ARRAY_LEN(lies))], "no version", often(f, 50)), err);
	return enter(f, v, join_as(f, often(f, 50) ? other : uuid_text(f, claimed), version_of(f->w, claimed), often(f, 20)), err);
}

static nh_rc act_poll(struct fleet *f, struct virtual *v, struct nh_err *err)
{
	struct world *w = f->w;
	struct nh_opening opening;
	nh_slice update;
	if (v->offered && (f->honest || often(f, 70))) {
		v->running = v->offered;
		v->offered = 0;
	}
	NH_AUTO_JSON json_t *payload = join_payload(w, v->running, version_of(w, v->running));
	nh_opening_make(&opening, v->id, NH_SLICE_EMPTY, w->ctx.clock, w->ctx.rng);
	OK(nh_poll(&w->ctx, &opening, payload, &update, E(w)));
	f->polled++;
	return update.len ? receive(f, v, update, false, err) : NH_OK;
}

/* Power is lost in the middle: it comes back with what it had, and knows of nothing. */
static nh_rc act_reboot(struct fleet *f, struct virtual *v, struct nh_err *err)
{
	if (v->offered && often(f, 50))
		NH_TRY(report_progress(f, v, err));
	bool had = v->offered != 0;
	NH_TRY(come(f, v, false, false, err));
	return had ? ended(f, v, err) : NH_OK;
}

static nh_rc act_revert(struct fleet *f, struct virtual *v, struct nh_err *err)
{
	int before = v->running;
	if (!v->offered)
		return NH_OK;
	NH_TRY(install(f, v, err));
	v->running = before;
	return come(f, v, false, true, err);
}

/* A second connection while the first one stands; whatever the first one says afterwards changes nothing. */
static nh_rc act_twin(struct fleet *f, struct virtual *v, struct nh_err *err)
{
	struct world *w = f->w;
	NH_TRY(come(f, v, true, false, err));
	if (!v->replaced.device_id)
		return NH_OK;
	NH_AUTO_JSON json_t *payload = json_pack("{s:s}", "status", "failed");
	CHECK(nh_session_status_update(&w->ctx, &v->replaced, payload, E(w)) == NH_ECLOSED);
	CHECK(nh_extension_event(&w->ctx, &v->replaced, NH_EXT_HEALTH, NH_LIT("report"), payload, NULL, E(w)) == NH_ECLOSED);
	OK(nh_session_disconnect(&w->ctx, v->id, v->replaced.connection_id, NH_SLICE_EMPTY, E(w)));
	struct nh_device_facts d;
	OK(nh_device_facts_load(&w->ctx, v->id, &d, E(w)));
	CHECK(d.connected);
	v->replaced = (struct nh_session){0};
	return NH_OK;
}

static nh_rc act_chatter(struct fleet *f, struct virtual *v, struct nh_err *err)
{
	struct world *w = f->w;
	NH_AUTO_JSON json_t *report = json_pack("{s:{s:{s:f, s:i, s:s}, s:{}, s:{}, s:{}}}", "value", "metrics", "cpu_temp", (double)pick(f, 90), "load", (int)pick(f, 9), "mem", "12.5", "alarms",
						"metadata", "checks");
	OK(nh_extension_event(&w->ctx, &v->session, NH_EXT_HEALTH, NH_LIT("report"), report, NULL, E(w)));
	f->reports++;
	for (int i = 0; i < 20; i++) {
		NH_AUTO_JSON json_t *line = json_pack("{s:s, s:s, s:{s:s}}", "level", "error", "message", "again and again", "meta", "time", nh_arena_printf(&w->arena, "%lld", (long long)w->now_us));
		if (!nh_extension_bucket_take(&v->bucket, NH_EXT_LOGGING, (uint64_t)(w->now_us / 1000)))
			continue;
		OK(nh_extension_event(&w->ctx, &v->session, NH_EXT_LOGGING, NH_LIT("send"), line, NULL, E(w)));
		f->lines++;
	}
	return act_honest(f, v, err);
}

/* ---- nonsense ------------------------------------------------------------------------------------------------------------ */

static json_t *odd_value(struct fleet *f, int depth)
{
	static const char *const texts[] = {"", " ", "completed", "downloading", "-1", "1e308", "\xf0\x9f\x98\x80", "00000000-0000-4000-8000-000000000001", "fwup error", "'; DROP TABLE devices; --"};
	switch (pick(f, depth > 3 ? 6 : 9)) {
	case 0: return json_null();
	case 1: return json_boolean(often(f, 50));
	case 2: return json_integer((json_int_t)(pick(f, UINT64_MAX)));
	case 3: return json_real((double)pick(f, 1000000) * (often(f, 50) ? 1e300 : -1e-300));
	case 4: return json_string(texts[pick(f, NH_ARRAY_LEN(texts))]);
	case 5: return json_sprintf("%0*d", 1 + (int)pick(f, 5000), 0);
	case 6: {
		json_t *list = json_array();
		for (uint64_t i = pick(f, 5); i > 0; i--)
			json_array_append_new(list, odd_value(f, depth + 1));
		return list;
	}
	default: break;
	}
	static const char *const keys[] = {"status", "reason", "delay_for", "stage", "value", "metrics", "alarms", "types", "interface", "message", "level", "meta", "time", "identities", "service",
					   "identifier", "latitude", "longitude", "source", "nerves_fw_uuid", "", "x"};
	json_t *object = json_object();
	for (uint64_t i = pick(f, 6); i > 0; i--)
		json_object_set_new(object, keys[pick(f, NH_ARRAY_LEN(keys))], odd_value(f, depth + 1));
	return object;
}

static nh_rc act_garble(struct fleet *f, struct virtual *v, struct nh_err *err)
{
	static const char *const events[] = {"status_update", "fwup_progress", "firmware_validated", "connection_types", "report_network_interface"};
	static const struct {
		nh_extension extension;
		nh_slice event;
	} extensions[] = {{NH_EXT_HEALTH, NH_LIT("report")}, {NH_EXT_GEO, NH_LIT("location:update")}, {NH_EXT_LOGGING, NH_LIT("send")}, {NH_EXT_NETWORK_IDENTITY, NH_LIT("report")}, {NH_EXT_LOCAL_SHELL, NH_LIT("x")},
			  {NH_EXT_HEALTH, NH_LIT("")}};
	struct world *w = f->w;
	for (size_t i = 0; i < NH_ARRAY_LEN(events); i++) {
		NH_AUTO_JSON json_t *payload = odd_value(f, 0);
		const struct nh_session_event *event = nh_session_event_find(nh_slice_str(events[i]));
		CHECK(event);
		if (event->handle)
			OK(event->handle(&w->ctx, &v->session, payload, E(w)));
	}
	for (size_t i = 0; i < NH_ARRAY_LEN(extensions); i++) {
		NH_AUTO_JSON json_t *payload = odd_value(f, 0);
		unsigned ignored = 0;
		OK(nh_extension_event(&w->ctx, &v->session, extensions[i].extension, extensions[i].event, payload, &ignored, E(w)));
		f->ignored += ignored;
	}
	struct nh_join_result result;
	json_t *payload = odd_value(f, 0);
	nh_rc expected = json_is_object(payload) ? NH_OK : NH_EFORMAT;
	CHECK_RC(expected, nh_session_join(&w->ctx, &v->session, NULL, payload, &result, E(w)));
	json_decref(payload);
	v->offered = 0;
	return come(f, v, false, false, err);
}

static const struct character characters[] = {
	{"honest", 40, act_honest}, {"flapping", 10, act_flap}, {"mute", 8, act_mute},	 {"lying", 8, act_lie},	     {"polling", 10, act_poll},
	{"rebooting", 6, act_reboot}, {"reverting", 6, act_revert}, {"garbled", 4, act_garble}, {"twin", 4, act_twin}, {"chattering", 4, act_chatter},
};

static bool polls(const struct virtual *v) { return v->character->act == act_poll; }

static nh_rc turn(struct fleet *f, struct virtual *v, struct nh_err *err)
{
	if (polls(v))
		return act_poll(f, v, err);
	if (!v->connected)
		return come(f, v, often(f, 50), false, err);
	return f->honest ? act_honest(f, v, err) : v->character->act(f, v, err);
}

/* ---- people and time ----------------------------------------------------------------------------------------------------- */

static nh_rc edit_group(struct fleet *f, size_t g, json_t *take_fields, struct nh_err *err)
{
	struct world *w = f->w;
	struct nh_group group, changed;
	OK(nh_group_get_by_id(&w->ctx, f->groups[g], &group, E(w)));
	nh_rc rc = nh_group_update(&w->ctx, &w->as_ada, &group, take_fields, &changed, NO_ERRORS(w), E(w));
	json_decref(take_fields);
	OK(rc);
	return NH_OK;
}

static nh_rc people(struct fleet *f, struct nh_err *err)
{
	struct world *w = f->w;
	struct nh_group group;
	size_t g = pick(f, GROUPS);
	int64_t device = f->devices[pick(f, f->count)].id;
	nh_slice uuid = fw_uuid(w, 1 + (int)pick(f, FIRMWARES));
	switch (pick(f, 6)) {
	case 0: OK(nh_updates_enable(&w->ctx, &w->as_ada, w->acme.id, device, often(f, 60), E(w))); return NH_OK;
	case 1: OK(nh_penalty_clear(&w->ctx, &w->as_ada, w->acme.id, device, E(w))); return NH_OK;
	case 2: return edit_group(f, g, json_pack("{s:b}", "is_active", often(f, 80)), err);
	case 3: return edit_group(f, g, json_pack("{s:s%}", "firmware", (const char *)uuid.ptr, uuid.len), err);
	case 4: return edit_group(f, g, json_pack("{s:s}", "queue_management", often(f, 50) ? "FIFO" : "LIFO"), err);
	default: break;
	}
	OK(nh_group_get_by_id(&w->ctx, f->groups[g], &group, E(w)));
	OK(nh_group_assign(&w->ctx, &w->as_ada, w->acme.id, device, &group, E(w)));
	return NH_OK;
}

/* Who said nothing for so long has given up, too; and a device that was moved or switched off is not waited for. */
static nh_rc forget_ended(struct fleet *f, struct nh_err *err)
{
	struct world *w = f->w;
	for (size_t i = 0; i < f->count; i++) {
		struct nh_inflight row;
		if (!f->devices[i].offered)
			continue;
		nh_rc rc = nh_inflight_get(&w->ctx, f->devices[i].id, &row, E(w));
		CHECK(rc == NH_OK || rc == NH_ENOTFOUND);
		if (rc == NH_ENOTFOUND)
			f->devices[i].offered = 0;
	}
	return NH_OK;
}

static nh_rc orchestrate(struct fleet *f, struct nh_err *err)
{
	struct world *w = f->w;
	struct nh_orchestrator_result run;
	for (size_t g = 0; g < GROUPS; g++) {
		if (!f->woken[g])
			continue;
		f->woken[g] = false;
		OK(run_group(w, f->groups[g], &run));
		CHECK(run.inflight <= (size_t)f->limits[g]);
		f->woken[g] = run.more;
		NH_TRY(deliver(f, err));
	}
	return NH_OK;
}

static nh_rc housekeeping(struct fleet *f, struct nh_err *err)
{
	struct world *w = f->w;
	size_t expired = 0, reminded = 0;
	OK(nh_orchestrator_expire(&w->ctx, &expired, E(w)));
	f->expired += expired;
	NH_TRY(forget_ended(f, err));
	OK(nh_orchestrator_remind(&w->ctx, &reminded, E(w)));
	return deliver(f, err);
}

/* ---- invariants ---------------------------------------------------------------------------------------------------------- */

static const struct {
	const char *what, *sql;
} forbidden[] = {
	{"more in flight than the group allows", "SELECT COUNT(*) FROM deployment_groups g WHERE g.concurrent_updates < "
						 "(SELECT COUNT(*) FROM inflight_updates i WHERE i.deployment_id = g.id AND i.priority_queue = 0)"},
	{"members and their number", "SELECT COUNT(*) FROM deployment_groups g WHERE g.device_count <> (SELECT COUNT(*) FROM devices d WHERE d.deployment_id = g.id)"},
	{"connected, and no connection that says so", "SELECT COUNT(*) FROM devices d JOIN device_connections c ON c.device_id = d.id WHERE (d.connected_at IS NOT NULL) <> (c.status = 'connected')"},
	{"two connections of a device", "SELECT COUNT(*) FROM (SELECT device_id FROM device_connections GROUP BY device_id HAVING COUNT(*) > 1) x"},
	{"two newest reports of a device", "SELECT COUNT(*) FROM (SELECT device_id FROM device_health WHERE superseded = 0 GROUP BY device_id HAVING COUNT(*) > 1) x"},
	{"an endless history of firmwares", "SELECT COUNT(*) FROM (SELECT device_id FROM device_firmwares GROUP BY device_id HAVING COUNT(*) > 20) x"},
};

static nh_rc invariants(struct fleet *f, struct nh_err *err)
{
	struct world *w = f->w;
	int64_t found;
	for (size_t i = 0; i < NH_ARRAY_LEN(forbidden); i++) {
		NH_TRY(number(w, forbidden[i].sql, &found, err));
		if (found)
			return NH_FAIL(err, NH_EINTERNAL, "%s: %lld times", forbidden[i].what, (long long)found);
	}
	NH_TRY(number(w, nh_arena_printf(&w->arena, "SELECT COUNT(*) FROM inflight_updates WHERE updated_at < %lld", (long long)(w->now_us - UNHEARD_S * NH_US_PER_S)), &found, err));
	CHECK(found == 0); /* every update ends */
	return NH_OK;
}

/* Rows come from what was accepted, and from nothing else. */
static nh_rc growth(struct fleet *f, struct nh_err *err)
{
	struct world *w = f->w;
	const struct {
		const char *sql;
		size_t most;
	} tables[] = {
		{"SELECT COUNT(*) FROM device_health", f->reports + f->ignored + f->joins},
		{"SELECT COUNT(*) FROM device_log_lines", f->lines + f->joins},
		{"SELECT COUNT(*) FROM device_connection_history", f->joins + f->polled},
		{"SELECT COUNT(*) FROM network_identities", f->count * 10},
	};
	for (size_t i = 0; i < NH_ARRAY_LEN(tables); i++) {
		int64_t rows;
		NH_TRY(number(w, tables[i].sql, &rows, err));
		CHECK((size_t)rows <= tables[i].most);
	}
	return NH_OK;
}

/* A month later: what is left is the newest report of each device. */
static nh_rc retention(struct fleet *f, struct nh_err *err)
{
	struct world *w = f->w;
	const struct nh_retention keep = {.health_days = 7, .log_days = 3, .connection_days = 30};
	size_t trimmed = 1;
	int64_t rows;
	w->now_us += INT64_C(31) * 86400 * NH_US_PER_S;
	while (trimmed > 0)
		OK(nh_telemetry_trim(&w->ctx, &keep, &trimmed, E(w)));
	NH_TRY(number(w, "SELECT COUNT(*) FROM device_health WHERE superseded = 1", &rows, err));
	CHECK(rows == 0);
	NH_TRY(number(w, "SELECT COUNT(*) FROM device_log_lines", &rows, err));
	CHECK(rows == 0);
	NH_TRY(number(w, "SELECT COUNT(*) FROM device_connection_history", &rows, err));
	CHECK(rows == 0);
	return NH_OK;
}

/* ---- the day ------------------------------------------------------------------------------------------------------------- */

static const struct character *character_for(struct fleet *f)
{
	uint64_t luck = pick(f, 100);
	const struct character *c = characters;
	while (luck >= c->weight)
		luck -= c++->weight;
	return c;
}

static nh_rc build(struct fleet *f, struct nh_err *err)
{
	struct world *w = f->w;
	for (int i = 1; i <= FIRMWARES; i++)
		NH_TRY(add_firmware(w, i, version_of(w, i), err));
	for (size_t g = 0; g < GROUPS; g++) {
		struct nh_group group;
		json_t *fields = group_fields(w, nh_arena_printf(&w->arena, "group-%zu", g), FIRMWARES);
		f->limits[g] = 5 + (int64_t)g * 10;
		json_object_set_new(fields, "concurrent_updates", json_integer(f->limits[g]));
		json_object_set_new(fields, "conditions", json_pack("{s:[s]}", "tags", nh_arena_printf(&w->arena, "group-%zu", g)));
		OK(add_group(w, fields, &group));
		f->groups[g] = group.id;
	}
	for (size_t i = 0; i < f->count; i++) {
		struct virtual *v = &f->devices[i];
		v->character = character_for(f);
		v->running = 1 + (int)pick(f, FIRMWARES - 1);
		NH_TRY(add_device(w, nh_arena_printf(&w->arena, "device-%zu", i), nh_arena_printf(&w->arena, "[\"group-%zu\"]", i % GROUPS), &v->id, err));
	}
	w->effects = (struct nh_effects){0};
	return NH_OK;
}

/* A fortieth of the fleet has its turn each minute. */
static nh_rc minute(struct fleet *f, struct nh_err *err)
{
	f->w->now_us += 60 * NH_US_PER_S;
	for (size_t i = 0; i < 1 + f->count / 40; i++) {
		NH_TRY(turn(f, &f->devices[pick(f, f->count)], err));
		NH_TRY(deliver(f, err));
	}
	NH_TRY(people(f, err));
	NH_TRY(deliver(f, err));
	NH_TRY(orchestrate(f, err));
	NH_TRY(housekeeping(f, err));
	return invariants(f, err);
}

static nh_rc settled(struct fleet *f, bool *out, struct nh_err *err)
{
	int64_t behind, inflight;
	NH_TRY(number(f->w, "SELECT COUNT(*) FROM devices d LEFT JOIN deployment_groups g ON g.id = d.deployment_id LEFT JOIN deployment_releases r ON r.id = g.current_release_id "
			    "LEFT JOIN firmwares x ON x.id = r.firmware_id WHERE x.uuid IS NULL OR d.firmware_uuid <> x.uuid", &behind, err));
	NH_TRY(number(f->w, "SELECT COUNT(*) FROM inflight_updates", &inflight, err));
	*out = behind + inflight == 0;
	return NH_OK;
}

static nh_rc begin_to_behave(struct fleet *f, struct nh_err *err)
{
	struct world *w = f->w;
	f->honest = true;
	for (size_t g = 0; g < GROUPS; g++)
		NH_TRY(edit_group(f, g, json_pack("{s:b}", "is_active", 1), err));
	for (size_t i = 0; i < f->count; i++) {
		struct virtual *v = &f->devices[i];
		OK(nh_updates_enable(&w->ctx, &w->as_ada, w->acme.id, v->id, true, E(w)));
		if (!polls(v))
			NH_TRY(come(f, v, true, false, err));
		OK(nh_penalty_clear(&w->ctx, &w->as_ada, w->acme.id, v->id, E(w)));
	}
	return deliver(f, err);
}

static nh_rc honest_minute(struct fleet *f, struct nh_err *err)
{
	f->w->now_us += 60 * NH_US_PER_S;
	for (size_t i = 0; i < f->count; i++)
		if (f->devices[i].offered || polls(&f->devices[i]))
			NH_TRY(turn(f, &f->devices[i], err));
	NH_TRY(deliver(f, err));
	for (size_t g = 0; g < GROUPS; g++)
		f->woken[g] = true;
	NH_TRY(orchestrate(f, err));
	NH_TRY(housekeeping(f, err));
	return invariants(f, err);
}

/* Memory of one step: what the functions leave in the world's arena is gone with it. */
static nh_rc step(struct fleet *f, nh_rc (*what)(struct fleet *f, struct nh_err *err), struct nh_err *err)
{
	struct nh_arena kept = f->w->arena;
	f->w->arena = (struct nh_arena){.cap_bytes = (size_t)1 << 30};
	f->w->effects = (struct nh_effects){0};
	nh_rc rc = what(f, err);
	nh_arena_fini(&f->w->arena);
	f->w->arena = kept;
	f->w->effects = (struct nh_effects){0};
	return rc;
}

struct day {
	uint64_t seed, hours, devices;
	struct fleet result; /* numbers only */
};

static nh_rc live(struct world *w, struct nh_err *err)
{
	struct day *day = w->arg;
	struct fleet f = {.w = w, .count = day->devices};
	bool done = false;
	w->rng = nh_rng_seeded_init(&w->seed, day->seed);
	f.devices = NH_NEW_ARRAY(&w->arena, f.count, struct virtual);
	NH_TRY(step(&f, build, err));
	for (uint64_t m = 0; m < day->hours * 60; m++)
		NH_TRY_CTX(step(&f, minute, err), err, "minute %llu", (unsigned long long)m);
	NH_TRY(step(&f, growth, err));
	NH_TRY(step(&f, begin_to_behave, err));
	for (size_t round = 0; !done && round < 40 + f.count / 5; round++) {
		NH_TRY_CTX(step(&f, honest_minute, err), err, "honest minute %zu", round);
		NH_TRY(settled(&f, &done, err));
	}
	day->result = f;
	if (!done)
		return NH_FAIL(err, NH_EINTERNAL, "an update was lost: the fleet did not settle");
	return step(&f, retention, err);
}

static uint64_t setting(const char *name, uint64_t otherwise)
{
	const char *text = getenv(name);
	uint64_t value = otherwise;
	if (text && nh_parse_u64(nh_slice_str(text), 1, UINT32_MAX, &value) != NH_OK)
		fail_msg("%s is no number", name);
	return value;
}

static void run_day(unsigned engine, struct day *day)
{
	char what[64];
	snprintf(what, sizeof what, "seed %llu, ", (unsigned long long)day->seed);
	if (!on_engine(engine, live, day, what))
		return;
	const struct fleet *r = &day->result;
	print_message("# seed %llu, %llu devices, %llu h: %zu joins, %zu questions, %zu updates sent, %zu answered, %zu expired, %zu replaced, %zu reports, %zu lines, %zu values ignored\n",
		      (unsigned long long)day->seed, (unsigned long long)day->devices, (unsigned long long)day->hours, r->joins, r->polled, r->sent, r->answered, r->expired, r->replaced, r->reports, r->lines,
		      r->ignored);
}

static void test_a_day(void **state)
{
	struct day day = {.seed = setting("NH_SIMULATION_SEED", 1), .hours = setting("NH_SIMULATION_HOURS", 24), .devices = setting("NH_SIMULATION_DEVICES", 250)};
	run_day(0, &day);
	const struct fleet *r = &day.result;
	if (day.hours >= 24) /* long enough for everything to have happened */
		assert_true(r->joins > day.devices && r->polled > 100 && r->sent > day.devices && r->answered > 100 && r->expired > 10 && r->replaced > 10 && r->reports > 10 && r->lines > 100 && r->ignored > 10);
}

static void test_the_same_seed(void **state)
{
	struct day days[] = {{.seed = 5, .hours = 2, .devices = 100}, {.seed = 5, .hours = 2, .devices = 100}, {.seed = 6, .hours = 2, .devices = 100}};
	for (size_t i = 0; i < NH_ARRAY_LEN(days); i++)
		run_day(0, &days[i]);
	assert_true(days[0].result.fingerprint == days[1].result.fingerprint && days[0].result.joins == days[1].result.joins);
	assert_true(days[0].result.fingerprint != days[2].result.fingerprint);
}

/* The other engine decides the same. Shorter: one long transaction leaves PostgreSQL every version of every row to step over. */
static void test_engines_agree(void **state)
{
	struct day days[] = {{.seed = 7, .hours = 1, .devices = 40}, {.seed = 7, .hours = 1, .devices = 40}};
	run_day(0, &days[0]);
	days[1] = days[0];
	run_day(1, &days[1]);
	assert_true(days[0].result.fingerprint == days[1].result.fingerprint && days[0].result.joins == days[1].result.joins && days[0].result.sent == days[1].result.sent);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_the_same_seed), cmocka_unit_test(test_engines_agree), cmocka_unit_test(test_a_day)};
	return cmocka_run_group_tests_name("hub_simulation_day", tests, NULL, NULL);
}
