/*
 * Plans of staged rollouts as people write them: one table a JSON object, every fault named at once. A member that nobody knows is a fault, too: a plan in which "alpah" means nothing
 * would protect nobody.
 *
 * What is stored and shown is written from what was understood, with all defaults in it.
 */
#include <stdio.h>

#include "hub/device_query.h"
#include "hub/devices.h"
#include "hub/rollouts.h"
#include "input_int.h"
#include "rollout_int.h"

#define MILLION 1000000
#define GATE_SECONDS 900
#define GATE_SHARE 0.8
#define ALPHA 0.01
#define TOLERATED 0.02
#define RETURN_SECONDS 900
#define SETTLE_SECONDS 900

struct reading {
	struct nh_arena *arena;
	json_t *errors;
	int64_t now_us;
	struct nh_plan *plan;
	json_t *shown; /* the plan as it will be kept */
};

static void wrong(struct reading *r, const char *where, const char *text)
{
	json_t *list = json_object_get(r->errors, where);
	if (!list) {
		list = json_array();
		json_object_set_new(r->errors, where, list);
	}
	json_array_append_new(list, json_string(text));
}

static const char *below(struct reading *r, const char *where, const char *member)
{
	return nh_arena_printf(r->arena, "%s.%s", where, member);
}

/* names: NULL at the end. */
static bool known_members(struct reading *r, const char *where, const json_t *object, const char *const *names)
{
	const char *member;
	json_t *value;
	bool ok = true;
	json_object_foreach((json_t *)object, member, value) {
		size_t i = 0;
		while (names[i] && strcmp(names[i], member) != 0)
			i++;
		if (!names[i]) {
			wrong(r, where[0] ? where : "plan", nh_arena_printf(r->arena, "has no member \"%.40s\"", member));
			ok = false;
		}
	}
	return ok;
}

static double read_number(struct reading *r, const char *where, const json_t *object, const char *member, double otherwise, double least, double most)
{
	const json_t *value = json_object_get(object, member);
	double number = json_number_value(value);
	if (!value || json_is_null(value))
		return otherwise;
	if (json_is_number(value) && number >= least && number <= most)
		return number;
	wrong(r, where[0] ? below(r, where, member) : member, nh_arena_printf(r->arena, "is a number from %g to %g", least, most));
	return otherwise;
}

static int64_t read_seconds(struct reading *r, const char *where, const json_t *object, const char *member, int64_t otherwise, int64_t least)
{
	return (int64_t)read_number(r, where, object, member, (double)otherwise, (double)least, (double)NH_ROLLOUT_PERIOD_MAX_S);
}

/* ---- waves ----------------------------------------------------------------------------------------------------------------- */

static json_t *read_gate(struct reading *r, const char *where, const json_t *gate, struct nh_plan_wave *w)
{
	static const char *const members[] = {"type", "seconds", "share", NULL};
	nh_slice type = json_is_object(gate) ? nh_json_text(gate, "type") : NH_SLICE_EMPTY;
	where = below(r, where, "gate");
	w->gate = NH_GATE_HEALTH;
	if (gate && !json_is_null(gate)) {
		w->gate = 0;
		while (w->gate < NH_GATE_COUNT && !nh_slice_eq_str(type, nh_gate_name(w->gate)))
			w->gate++;
		if (w->gate == NH_GATE_COUNT || !known_members(r, where, gate, members)) {
			wrong(r, where, "is an object with a type of none, manual, time or health");
			w->gate = NH_GATE_MANUAL;
		}
	}
	w->gate_seconds = read_seconds(r, where, gate, "seconds", GATE_SECONDS, 0);
	w->gate_share = (int64_t)(read_number(r, where, gate, "share", w->gate == NH_GATE_NONE ? 1 : GATE_SHARE, 0, 1) * MILLION + 0.5);
	return json_pack("{s:s, s:I, s:f}", "type", nh_gate_name(w->gate), "seconds", (json_int_t)w->gate_seconds, "share", (double)w->gate_share / MILLION);
}

/* All of these tags, in the words of the query language. */
static void read_tags(struct reading *r, const char *where, const json_t *given, struct nh_plan_wave *w)
{
	const char *text = NULL;
	NH_AUTO_JSON json_t *tags = nh_tags_read(given, &text);
	NH_AUTO_BUF struct nh_buf query = NH_BUF_INIT;
	if (!tags || json_array_size(tags) == 0) {
		wrong(r, below(r, where, "tags"), text ? text : "can't be blank");
		return;
	}
	for (size_t i = 0; i < json_array_size(tags); i++) {
		nh_buf_put_str(&query, i ? " and tags contains " : "tags contains ");
		nh_json_put(&query, json_array_get(tags, i));
	}
	w->query = nh_arena_copy(r->arena, nh_buf_slice(&query));
}

static void read_query(struct reading *r, const char *where, nh_slice query, struct nh_plan_wave *w)
{
	const struct nh_expression *expression = NULL;
	struct nh_query_fault fault = {0};
	nh_rc rc = query.len > NH_QUERY_MAX_BYTES ? NH_EINVAL : nh_device_query_parse(r->arena, query, r->now_us, &expression, &fault, NULL);
	if (rc != NH_OK || !expression)
		wrong(r, below(r, where, "query"), fault.text ? fault.text : "is no query of devices");
	w->query = nh_arena_copy(r->arena, query);
}

static void read_wave(struct reading *r, size_t i, const json_t *given, json_t *shown, uint64_t *largest)
{
	static const char *const members[] = {"percent", "tags", "query", "gate", NULL};
	const char *where = nh_arena_printf(r->arena, "waves[%zu]", i);
	struct nh_plan_wave *w = &r->plan->waves[i];
	const json_t *percent = json_object_get(given, "percent"), *tags = json_object_get(given, "tags");
	nh_slice query = nh_json_text(given, "query");
	json_t *wave = json_object();
	if (!json_is_object(given) || !known_members(r, where, given, members) || (percent != NULL) + (tags != NULL) + (query.len > 0) != 1) {
		wrong(r, where, "is an object with one of percent, tags and query");
	} else if (percent) {
		double number = read_number(r, where, given, "percent", 100, 0.0001, 100);
		w->share = (uint64_t)(number / 100 * (double)NH_ROLLOUT_WHOLE + 0.5);
		if (w->share <= *largest)
			wrong(r, below(r, where, "percent"), "is greater than in the waves before");
		*largest = w->share;
		json_object_set_new(wave, "percent", json_real(number));
	} else if (tags) {
		read_tags(r, where, tags, w);
		json_object_set(wave, "tags", (json_t *)tags);
	} else {
		read_query(r, where, query, w);
		json_object_set_new(wave, "query", nh_json_new_text(query));
	}
	json_object_set_new(wave, "gate", read_gate(r, where, json_object_get(given, "gate"), w));
	json_array_append_new(shown, wave);
}

static void read_waves(struct reading *r, const json_t *list)
{
	json_t *shown = json_array();
	uint64_t largest = 0;
	json_object_set_new(r->shown, "waves", shown);
	if (!list || json_is_null(list))
		return;
	if (!json_is_array(list) || json_array_size(list) > NH_ROLLOUT_WAVES_MAX) {
		wrong(r, "waves", "is a list of at most 32 waves");
		return;
	}
	for (size_t i = 0; i < json_array_size(list); i++)
		read_wave(r, i, json_array_get(list, i), shown, &largest);
	r->plan->wave_count = json_array_size(list);
}

/* ---- when ------------------------------------------------------------------------------------------------------------------ */

static void read_times(struct reading *r, const json_t *fields)
{
	const json_t *windows = json_object_get(fields, "windows"), *not_before = json_object_get(fields, "not_before"), *zone = json_object_get(fields, "zone");
	const char *fault = nh_windows_read(windows, r->plan->windows, &r->plan->window_count);
	const struct nh_zone *found;
	struct nh_err why = NH_ERR_INIT;
	if (fault)
		wrong(r, "windows", fault);
	json_object_set_new(r->shown, "windows", json_is_array(windows) ? json_deep_copy(windows) : json_array());
	r->plan->zone = json_is_string(zone) ? nh_arena_copy(r->arena, nh_json_text(fields, "zone")) : NH_LIT("UTC");
	if ((zone && !json_is_null(zone) && !json_is_string(zone)) || nh_zone_find(r->plan->zone, &found, &why) != NH_OK)
		wrong(r, "zone", why.msg[0] ? nh_arena_printf(r->arena, "%s", why.msg) : "is the name of a time zone, such as Europe/Berlin");
	json_object_set_new(r->shown, "zone", nh_json_new_text(r->plan->zone));
	if (not_before && !json_is_null(not_before) &&
	    (!json_is_string(not_before) || nh_time_parse_iso(nh_json_text(fields, "not_before"), &r->plan->not_before_us) != NH_OK || r->plan->not_before_us < 0))
		wrong(r, "not_before", "is a time such as 2027-01-15T08:00:00Z");
	json_object_set(r->shown, "not_before", not_before ? (json_t *)not_before : json_null());
}

/* ---- the automatic stop ----------------------------------------------------------------------------------------------------- */

static json_t *read_signals(struct reading *r, const json_t *list)
{
	json_t *shown = json_array();
	bool *watched = r->plan->signals;
	bool ok = !list || (json_is_array(list) && json_array_size(list) > 0);
	for (size_t i = 0; ok && i < json_array_size(list); i++) {
		const char *name = json_string_value(json_array_get(list, i));
		size_t s = 0;
		while (name && s < NH_SIGNAL_COUNT && strcmp(name, nh_signal_name((nh_signal)s)) != 0)
			s++;
		ok = name && s < NH_SIGNAL_COUNT;
		if (ok)
			watched[s] = true;
	}
	if (!ok)
		wrong(r, "stop.signals", "is a list of install, return, revert and health");
	for (size_t s = 0; s < NH_SIGNAL_COUNT; s++) {
		watched[s] = watched[s] || !list;
		if (watched[s])
			json_array_append_new(shown, json_string(nh_signal_name((nh_signal)s)));
	}
	return shown;
}

/* Absent: on, as by default; null or false: off. */
static void read_stop(struct reading *r, const json_t *stop)
{
	static const char *const members[] = {"alpha", "tolerated", "signals", "return_seconds", "settle_seconds", NULL};
	struct nh_plan *p = r->plan;
	bool off = stop && (json_is_null(stop) || json_is_false(stop));
	if (stop && !off && !json_is_true(stop) && !json_is_object(stop))
		wrong(r, "stop", "is an object, or false");
	p->stops = !off;
	if (json_is_object(stop))
		(void)known_members(r, "stop", stop, members);
	p->alpha = read_number(r, "stop", stop, "alpha", ALPHA, 0.000001, 0.5);
	p->tolerated = read_number(r, "stop", stop, "tolerated", TOLERATED, 0.0001, 0.5);
	p->return_seconds = read_seconds(r, "stop", stop, "return_seconds", RETURN_SECONDS, 1);
	p->settle_seconds = read_seconds(r, "stop", stop, "settle_seconds", SETTLE_SECONDS, 1);
	json_t *signals = read_signals(r, json_object_get(stop, "signals"));
	json_t *shown = json_pack("{s:f, s:f, s:o, s:I, s:I}", "alpha", p->alpha, "tolerated", p->tolerated, "signals", signals, "return_seconds", (json_int_t)p->return_seconds,
	                          "settle_seconds", (json_int_t)p->settle_seconds);
	if (off)
		json_decref(shown);
	json_object_set_new(r->shown, "stop", off ? json_null() : shown);
}

nh_rc nh_plan_read(struct nh_arena *arena, const json_t *fields, int64_t now_us, struct nh_plan *out, json_t *errors, struct nh_err *err)
{
	static const char *const members[] = {"waves", "windows", "zone", "not_before", "stop", NULL};
	NH_AUTO_JSON json_t *shown = json_object();
	struct reading r = {arena, errors, now_us, out, shown};
	*out = (struct nh_plan){.zone = NH_LIT("UTC")};
	if (!json_is_object(fields)) {
		wrong(&r, "plan", "is an object");
	} else {
		(void)known_members(&r, "", fields, members);
		read_waves(&r, json_object_get(fields, "waves"));
		read_times(&r, fields);
		read_stop(&r, json_object_get(fields, "stop"));
	}
	if (json_object_size(errors) > 0)
		return NH_FAIL(err, NH_EINVAL, "the plan was refused");
	out->json = nh_json_arena(arena, shown);
	return NH_OK;
}
