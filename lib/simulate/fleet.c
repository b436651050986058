/*
 * What a release would do to a fleet (simulate/fleet.h): reads the fleet's file, builds it anew, releases, and lets time pass until all have it, or it was stopped, or the days are over. Then the same with a firmware
 * that fails more often. Nobody judges these runs; the rules are the same.
 */
#include "simulate/fleet.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "hub/rollouts.h"
#include "simulate_int.h"
#include "store/rollout.h"
#include "store/staged_rollout.h"

#define LOOK_EVERY_US SIM_MINUTE
#define TEXT_MAX 255
#define TAGS_MAX 64
#define CONNECT_WITHIN_US (2 * SIM_MINUTE)
#define MOST 95 /* percent that count as "most" */

struct run {
	int64_t half_us, most_us, all_us, stopped_us; /* after the release; -1: not within the days */
	int64_t wave_us[NH_ROLLOUT_WAVES_MAX + 1];
	int64_t peak, updated, hit, updated_at_stop, hit_at_stop; /* devices */
	uint64_t transactions;
};

struct outlook {
	const struct nh_sim_fleet_options *options;
	const json_t *group, *plan, *devices;
	size_t device_count, wave_count;
	struct sim *s;
	int64_t group_id, key_id, waved_us, released_us;
	size_t next; /* device to be made */
};

/* ---- reading ----------------------------------------------------------------------------------------------------------------- */

static nh_rc bad(struct nh_err *err, const char *what) { return NH_FAIL(err, NH_EFORMAT, "the fleet's file: %s", what); }

static bool text_ok(const json_t *object, const char *key, size_t max)
{
	nh_slice text = nh_json_text(object, key);
	return text.len > 0 && text.len <= max && nh_slice_chr(text, 0) < 0;
}

static bool tags_ok(const json_t *tags)
{
	const json_t *tag;
	size_t i;
	if (!tags || json_is_null(tags))
		return true;
	if (!json_is_array(tags) || json_array_size(tags) > TAGS_MAX)
		return false;
	json_array_foreach((json_t *)tags, i, tag)
		if (!json_is_string(tag) || json_string_length(tag) == 0 || json_string_length(tag) > TEXT_MAX)
			return false;
	return true;
}

static nh_rc check_device(const json_t *d, size_t index, struct nh_err *err)
{
	const json_t *zone = json_object_get(d, "timezone");
	const char *what = !json_is_object(d) ? "is no object" : !text_ok(d, "version", SIM_VERSION - 1) ? "has no version" : !tags_ok(json_object_get(d, "tags")) ? "has tags that are none" :
			   !json_is_boolean(json_object_get(d, "connected")) ? "does not say whether it is connected" : zone && !json_is_null(zone) && !json_is_string(zone) ? "has a timezone that is no text" : NULL;
	return what ? NH_FAIL(err, NH_EFORMAT, "the fleet's file: device %zu %s", index, what) : NH_OK;
}

static nh_rc read_fleet(struct outlook *o, struct nh_err *err)
{
	const json_t *fleet = o->options->fleet, *d;
	size_t i;
	if (!nh_slice_eq_str(nh_json_text(fleet, "format"), NH_SIM_FLEET_FORMAT))
		return bad(err, "its format is not \"" NH_SIM_FLEET_FORMAT "\"; make one with `nh rollout export`");
	if (nh_json_int(fleet, "version", 0) != NH_SIM_FLEET_VERSION)
		return NH_FAIL(err, NH_EFORMAT, "the fleet's file is of version %lld, this program knows version %d", (long long)nh_json_int(fleet, "version", 0), NH_SIM_FLEET_VERSION);
	o->group = json_object_get(fleet, "group");
	o->plan = json_object_get(fleet, "plan");
	o->devices = json_object_get(fleet, "devices");
	o->device_count = json_array_size(o->devices);
	if (!json_is_object(o->group) || !text_ok(o->group, "platform", TEXT_MAX) || !text_ok(o->group, "architecture", TEXT_MAX) || !text_ok(o->group, "version", SIM_VERSION - 1))
		return bad(err, "its group lacks platform, architecture or version");
	if (o->plan && !json_is_null(o->plan) && !json_is_object(o->plan))
		return bad(err, "its plan is no object");
	if (o->device_count == 0)
		return bad(err, "it has no devices");
	if (o->device_count > NH_SIM_FLEET_DEVICES_MAX)
		return NH_FAIL(err, NH_ETOOBIG, "the fleet has %zu devices; at most %d can be simulated", o->device_count, NH_SIM_FLEET_DEVICES_MAX);
	json_array_foreach((json_t *)o->devices, i, d)
		NH_TRY(check_device(d, i, err));
	o->wave_count = json_array_size(json_object_get(o->plan, "waves"));
	return o->wave_count <= NH_ROLLOUT_WAVES_MAX ? NH_OK : bad(err, "its plan has too many waves");
}

static nh_rc check_options(const struct nh_sim_fleet_options *o, struct nh_err *err)
{
	if (o->runs < 1 || o->runs > NH_SIM_FLEET_RUNS_MAX || o->normal_failure < 0 || o->normal_failure > 1 || o->firmware_failure < 0 || o->firmware_failure > 1 || o->offline > 1 || o->days < 1 || o->days > 366 ||
	    o->update_s < 1 || o->update_s > 86400 || o->away_s < 1 || o->away_s > UINT64_C(366) * 86400 || o->approve_s > UINT64_C(366) * 86400)
		return NH_FAIL(err, NH_EINVAL, "a number of the simulation is out of range");
	return NH_OK;
}

/* ---- building ---------------------------------------------------------------------------------------------------------------- */

/* What the group's edit takes of the file: known settings, and nothing else. */
static json_t *group_fields(const struct outlook *o, const char *firmware)
{
	static const char *const kept[] = {"concurrent_updates", "queue_management", "priority_queue_enabled", "priority_queue_concurrent_updates", "priority_queue_firmware_version_threshold",
					   "release_tags", "penalty_timeout_minutes", "device_failure_threshold", "device_failure_rate_amount", "device_failure_rate_seconds"};
	json_t *fields = json_pack("{s:s, s:s, s:s, s:{}, s:b}", "name", "simulated", "firmware", firmware, "state", "off", "conditions", "lock_device_membership", 1);
	for (size_t i = 0; i < NH_ARRAY_LEN(kept); i++) {
		json_t *value = json_object_get(o->group, kept[i]);
		if (value && !json_is_null(value))
			json_object_set(fields, kept[i], value);
	}
	return fields;
}

/* The first refusal of an {"field": ["text"]} object. */
static nh_rc refused(const json_t *errors, nh_rc rc, const char *what, struct nh_err *err)
{
	const char *key = errors ? json_object_iter_key(json_object_iter((json_t *)errors)) : NULL;
	const json_t *value = key ? json_object_get(errors, key) : NULL;
	const char *text = json_string_value(json_is_array(value) ? json_array_get(value, 0) : value);
	return rc == NH_EINVAL ? NH_FAIL(err, NH_EINVAL, "%s of the fleet's file is refused: %s %s", what, key ? key : "", text ? text : "is invalid") : rc;
}

static nh_rc group_tx(struct nh_ctx *ctx, struct sim *s, void *arg, struct nh_err *err)
{
	struct outlook *o = arg;
	struct nh_org org;
	struct nh_group group;
	NH_AUTO_JSON json_t *errors = NULL;
	const char *platform = nh_arena_str(&s->arena, nh_json_text(o->group, "platform")), *architecture = nh_arena_str(&s->arena, nh_json_text(o->group, "architecture"));
	const char *version = nh_arena_str(&s->arena, nh_json_text(o->group, "version"));
	NH_TRY(sim_user_make(ctx, s, "Ada Lovelace", "ada@example.com", &s->ada, err));
	NH_TRY(nh_org_create(ctx, &s->ada, NH_LIT("simulated"), &org, NULL, err));
	NH_TRY(sim_product_make(ctx, s, &s->ada, org.id, "simulated", &o->key_id, err));
	struct sim_product *p = &s->products[0];
	NH_TRY(sim_firmware_make(ctx, s, p, o->key_id, version, platform, architecture, err)); /* what will be released */
	NH_TRY(sim_firmware_make(ctx, s, p, o->key_id, version, platform, architecture, err)); /* what is now */
	NH_AUTO_JSON json_t *fields = group_fields(o, p->firmwares[1].uuid);
	nh_rc rc = nh_group_create(ctx, &s->ada, org.id, p->product.id, fields, &group, &errors, err);
	if (rc != NH_OK)
		return refused(errors, rc, "the group", err);
	o->group_id = group.id;
	if (json_is_object(o->plan)) {
		rc = nh_rollout_plan_set(ctx, &s->ada, &group, o->plan, false, &errors, err);
		if (rc != NH_OK)
			return refused(errors, rc, "the plan", err);
	}
	return NH_OK;
}

/* The firmware of that version; one for all beyond SIM_FIRMWARES. */
static nh_rc firmware_of(struct nh_ctx *ctx, struct outlook *o, nh_slice version, const struct sim_firmware **out, struct nh_err *err)
{
	struct sim_product *p = &o->s->products[0];
	for (size_t i = 1; i < p->firmware_count; i++)
		if (nh_slice_eq_str(version, p->firmwares[i].version) || i + 1 == SIM_FIRMWARES) {
			*out = &p->firmwares[i];
			return NH_OK;
		}
	NH_TRY(sim_firmware_make(ctx, o->s, p, o->key_id, nh_arena_str(ctx->arena, version), p->firmwares[0].platform, p->firmwares[0].architecture, err));
	*out = &p->firmwares[p->firmware_count - 1];
	return NH_OK;
}

static nh_rc make_device(struct nh_ctx *ctx, struct outlook *o, struct sim_device *v, const json_t *d, const struct nh_group *group, struct nh_err *err)
{
	struct sim *s = o->s;
	struct nh_device made;
	const struct sim_firmware *f;
	NH_AUTO_JSON json_t *errors = NULL;
	json_t *tags = json_object_get(d, "tags");
	NH_AUTO_JSON json_t *fields = json_object();
	if (json_is_array(tags))
		json_object_set(fields, "tags", tags);
	v->identifier = nh_slice_str(nh_arena_printf(&s->arena, "device-%zu", v->index));
	nh_rc rc = nh_device_create(ctx, &s->ada, &s->products[0].product, v->identifier, fields, &made, &errors, err);
	if (rc != NH_OK)
		return refused(errors, rc, "a device", err);
	v->id = made.id;
	NH_TRY(nh_group_assign(ctx, &s->ada, group->org_id, v->id, group, err));
	nh_slice zone = nh_json_text(d, "timezone");
	if (zone.len > 0 && zone.len <= TEXT_MAX)
		NH_TRY(nh_sql_exec(ctx->tx, &nh_q_device_set_timezone, NH_PARAMS(nh_p_text(zone), nh_p_int(nh_ctx_now(ctx)), nh_p_int(v->id)), NULL, err));
	if (!nh_json_bool(d, "updates_enabled", true))
		NH_TRY(nh_updates_enable(ctx, &s->ada, group->org_id, v->id, false, err));
	NH_TRY(firmware_of(ctx, o, nh_json_text(d, "version"), &f, err));
	/* What it said when it was here last. */
	NH_TRY(nh_sql_exec(ctx->tx, &nh_q_device_set_firmware,
			   NH_PARAMS(nh_p_str(f->uuid), nh_p_str(f->version), nh_p_str(f->platform), nh_p_str(f->architecture), nh_p_str("{}"), nh_p_str("validated"), nh_p_bool(false), nh_p_int(nh_ctx_now(ctx)),
				     nh_p_int(v->id)),
			   NULL, err));
	NH_TRY(nh_sql_exec(ctx->tx, &nh_q_device_provision, NH_PARAMS(nh_p_int(nh_ctx_now(ctx)), nh_p_int(v->id)), NULL, err));
	v->platform = f->platform;
	v->architecture = f->architecture;
	v->validated = true;
	snprintf(v->running, sizeof v->running, "%s", f->uuid);
	snprintf(v->version, sizeof v->version, "%s", f->version);
	return NH_OK;
}

static nh_rc devices_tx(struct nh_ctx *ctx, struct sim *s, void *arg, struct nh_err *err)
{
	struct outlook *o = arg;
	struct nh_group group;
	NH_TRY(nh_group_get_by_id(ctx, o->group_id, &group, err));
	for (size_t end = o->next + 200; o->next < o->device_count && o->next < end; o->next++)
		NH_TRY(make_device(ctx, o, &s->devices[o->next], json_array_get(o->devices, o->next), &group, err));
	return NH_OK;
}

static nh_rc release_tx(struct nh_ctx *ctx, struct sim *s, void *arg, struct nh_err *err)
{
	const struct outlook *o = arg;
	struct nh_group group, changed;
	NH_AUTO_JSON json_t *errors = NULL;
	NH_AUTO_JSON json_t *fields = json_pack("{s:s, s:s}", "firmware", s->products[0].firmwares[0].uuid, "state", "on");
	NH_TRY(nh_group_get_by_id(ctx, o->group_id, &group, err));
	return nh_group_update(ctx, &s->ada, &group, fields, &changed, &errors, err);
}

/* Those that are here connect at once, the others when they come. */
static void start_devices(struct outlook *o)
{
	struct sim *s = o->s;
	for (size_t i = 0; i < o->device_count; i++) {
		bool there = json_is_true(json_object_get(json_array_get(o->devices, i), "connected"));
		if (o->options->offline >= 0)
			there = sim_pick(s, 1000000) >= (uint64_t)(o->options->offline * 1000000);
		int64_t away = (int64_t)o->options->away_s * SIM_S;
		sim_device_start(s, &s->devices[i], s->now_us + (there ? sim_span(s, 0, CONNECT_WITHIN_US) : sim_span(s, 0, 2 * away)));
	}
}

static nh_rc build(struct outlook *o, struct nh_err *err)
{
	struct sim *s = o->s;
	s->lull = s->lean = true;
	s->update_us = (int64_t)o->options->update_s * SIM_S;
	o->next = 0;
	NH_TRY(sim_open(s, err));
	NH_TRY(sim_nodes_make(s, err));
	NH_TRY(sim_write(s, &s->nodes[0], group_tx, o, err));
	while (o->next < o->device_count)
		NH_TRY(sim_write(s, &s->nodes[0], devices_tx, o, err));
	s->lull = false;
	start_devices(o);
	NH_TRY(sim_go_until(s, s->now_us + CONNECT_WITHIN_US + SIM_MINUTE, err));
	o->released_us = s->now_us;
	return sim_write(s, &s->nodes[0], release_tx, o, err);
}

/* ---- one run ------------------------------------------------------------------------------------------------------------------- */

static nh_rc look_tx(struct nh_ctx *ctx, struct sim *s, void *arg, struct nh_err *err)
{
	const struct outlook *o = arg;
	struct nh_group group;
	NH_TRY(nh_group_get_by_id(ctx, o->group_id, &group, err));
	*(struct nh_rollout *)(void *)s->options->trace_ctx = group.rollout;
	return NH_OK;
}

static nh_rc approve_tx(struct nh_ctx *ctx, struct sim *s, void *arg, struct nh_err *err)
{
	const struct outlook *o = arg;
	struct nh_group group;
	NH_TRY(nh_group_get_by_id(ctx, o->group_id, &group, err));
	return nh_rollout_approve(ctx, &s->ada, &group, NH_LIT("simulated"), err);
}

static size_t count_updated(const struct sim *s)
{
	size_t count = 0;
	for (size_t i = 0; i < s->device_count; i++)
		count += s->devices[i].powered && strcmp(s->devices[i].running, s->products[0].firmwares[0].uuid) == 0;
	return count;
}

static bool waits_for_people(const struct outlook *o, int64_t wave)
{
	const json_t *gate = json_object_get(json_array_get(json_object_get(o->plan, "waves"), (size_t)(wave - 1)), "gate");
	return nh_slice_eq_str(nh_json_text(gate, "type"), "manual");
}

/* What is to be seen at this minute. *over: nothing more will come. */
static nh_rc look(struct outlook *o, struct run *r, bool *over, struct nh_err *err)
{
	struct sim *s = o->s;
	NH_AUTO_ARENA struct nh_arena arena = NH_ARENA_INIT;
	struct nh_effects effects = {0};
	const struct nh_rollout *now = s->options->trace_ctx;
	NH_TRY(sim_read(s, &s->nodes[0], look_tx, o, &effects, &arena, err));
	int64_t at = s->now_us - o->released_us;
	size_t updated = count_updated(s), hit = (size_t)(s->result->failed + s->result->reverted);
	if (r->half_us < 0 && updated * 2 >= o->device_count)
		r->half_us = at;
	if (r->most_us < 0 && updated * 100 >= o->device_count * MOST)
		r->most_us = at;
	if (r->all_us < 0 && updated == o->device_count)
		r->all_us = at;
	for (int64_t w = 1; now->release_id && w <= now->wave && w <= (int64_t)NH_ARRAY_LEN(r->wave_us); w++)
		if (r->wave_us[w - 1] < 0) {
			r->wave_us[w - 1] = at;
			o->waved_us = at;
		}
	if (now->release_id && now->state == NH_ROLLOUT_STOPPED && r->stopped_us < 0) {
		r->stopped_us = at;
		r->updated_at_stop = (int64_t)updated;
		r->hit_at_stop = (int64_t)hit;
	}
	r->updated = (int64_t)updated;
	r->hit = (int64_t)hit;
	*over = r->stopped_us >= 0 || r->all_us >= 0;
	if (!*over && now->release_id && now->wave >= 1 && now->wave <= (int64_t)o->wave_count && waits_for_people(o, now->wave) && at - o->waved_us >= (int64_t)o->options->approve_s * SIM_S) {
		nh_rc rc = sim_write(s, &s->nodes[0], approve_tx, o, err);
		NH_TRY(sim_answer(rc)); /* it may have passed meanwhile, or not be reached yet */
	}
	return NH_OK;
}

static nh_rc run_once(struct outlook *o, uint64_t seed, double failure, struct run *r, struct nh_err *err)
{
	struct nh_rollout seen = {0};
	struct nh_sim_scenario scenario = {.name = "fleet", .devices = (unsigned)o->device_count, .nodes = 1, .groups = 1, .firmwares = 2};
	/* What goes wrong now and then is an installation; a firmware that is bad does not come up, and the device falls back. */
	scenario.chance[NH_SIM_INSTALL] = (uint16_t)(o->options->normal_failure * 10000 + 0.5);
	scenario.chance[NH_SIM_REVERT] = (uint16_t)(failure * 10000 + 0.5);
	struct nh_sim_options options = {.scenario = &scenario, .seed = seed, .folder = o->options->folder, .faults_max = UINT64_MAX, .trace_ctx = &seen};
	struct nh_sim_result result;
	bool over = false;
	int64_t start_us = SIM_EPOCH_US;
	nh_slice exported = nh_json_text(o->options->fleet, "exported_at");
	if (exported.len && nh_time_parse_iso(exported, &start_us) != NH_OK)
		return bad(err, "exported_at is no time");
	*r = (struct run){.half_us = -1, .most_us = -1, .all_us = -1, .stopped_us = -1};
	for (size_t i = 0; i < NH_ARRAY_LEN(r->wave_us); i++)
		r->wave_us[i] = -1;
	o->waved_us = 0;
	o->s = sim_new(&options, &result, start_us);
	nh_rc rc = build(o, err);
	int64_t end_us = o->s->now_us + (int64_t)o->options->days * 24 * SIM_HOUR;
	while (rc == NH_OK && !over && o->s->now_us < end_us) {
		rc = sim_go_until(o->s, o->s->now_us + LOOK_EVERY_US, err);
		if (rc == NH_OK)
			rc = look(o, r, &over, err);
	}
	r->peak = (int64_t)o->s->in_flight_peak;
	r->transactions = result.transactions;
	sim_free(o->s);
	return rc;
}

/* ---- the answer ------------------------------------------------------------------------------------------------------------------ */

static int by_number(const void *a, const void *b)
{
	int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
	return (x > y) - (x < y);
}

/* Median and 90 % of a figure over the runs; null where it was never reached in so many. */
static json_t *spread(const struct run *runs, unsigned count, size_t offset, size_t size, int64_t divisor)
{
	int64_t *values = nh_xcalloc(count, sizeof *values);
	json_t *out = json_object();
	static const struct {
		const char *name;
		unsigned percent;
	} points[] = {{"median", 50}, {"p90", 90}};
	for (unsigned i = 0; i < count; i++) {
		const char *at = (const char *)&runs[i] + offset;
		values[i] = size == sizeof(int64_t) ? *(const int64_t *)(const void *)at : 0;
		values[i] = values[i] < 0 ? INT64_MAX : values[i] / divisor;
	}
	qsort(values, count, sizeof *values, by_number);
	for (size_t p = 0; p < NH_ARRAY_LEN(points); p++) {
		int64_t value = values[(count - 1) * points[p].percent / 100];
		json_object_set_new(out, points[p].name, value == INT64_MAX ? json_null() : json_integer(value));
	}
	free(values);
	return out;
}

#define SPREAD(member, divisor) spread(runs, count, offsetof(struct run, member), sizeof runs->member, divisor)

static json_t *answer(const struct outlook *o, const struct run *runs, unsigned count, double failure)
{
	unsigned stopped = 0;
	json_t *waves = json_array();
	for (unsigned i = 0; i < count; i++)
		stopped += runs[i].stopped_us >= 0;
	for (size_t w = 0; w < o->wave_count; w++)
		json_array_append_new(waves, json_pack("{s:i, s:o}", "wave", (int)w + 1, "begins_seconds", SPREAD(wave_us[w], SIM_S)));
	return json_pack("{s:f, s:i, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o}", "failure_rate", failure, "stopped", (int)stopped, "stopped_seconds", SPREAD(stopped_us, SIM_S), "updated_at_stop",
			 SPREAD(updated_at_stop, 1), "hit_at_stop", SPREAD(hit_at_stop, 1), "half_seconds", SPREAD(half_us, SIM_S), "most_seconds", SPREAD(most_us, SIM_S), "all_seconds", SPREAD(all_us, SIM_S),
			 "peak_in_flight", SPREAD(peak, 1), "updated", SPREAD(updated, 1), "hit", SPREAD(hit, 1), "waves", waves);
}

nh_rc nh_sim_fleet(const struct nh_sim_fleet_options *options, json_t **out, struct nh_err *err)
{
	struct outlook o = {.options = options};
	double rates[2] = {0, options->firmware_failure}; /* of the firmware's own */
	json_t *answers[2] = {NULL, NULL};
	*out = NULL;
	NH_TRY(check_options(options, err));
	NH_TRY(read_fleet(&o, err));
	struct run *runs = nh_xcalloc(options->runs, sizeof *runs);
	nh_rc rc = NH_OK;
	for (size_t k = 0; rc == NH_OK && k < 2; k++) {
		for (unsigned i = 0; rc == NH_OK && i < options->runs; i++) {
			if (options->progress)
				options->progress(options->progress_ctx, (unsigned)k * options->runs + i, 2 * options->runs);
			rc = run_once(&o, options->seed + k * NH_SIM_FLEET_RUNS_MAX + i, rates[k], &runs[i], err);
		}
		if (rc == NH_OK)
			answers[k] = answer(&o, runs, options->runs, k == 0 ? options->normal_failure : rates[k]);
	}
	free(runs);
	if (rc == NH_OK)
		*out = json_pack("{s:s, s:i, s:I, s:i, s:I, s:O, s:O}", "format", "nerveshub-outlook", "version", 1, "devices", (json_int_t)o.device_count, "runs", (int)options->runs, "seed", (json_int_t)options->seed,
				 "healthy", answers[0], "faulty", answers[1]);
	json_decref(answers[0]);
	json_decref(answers[1]);
	return rc;
}
