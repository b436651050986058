/*
 * `nh rollout`: how far a release is, its plan of waves, gates and windows, and what people do with it.
 *
 * source: docs/guides/rollouts.md
 */
#include "base/encode.h"
#include "cli_int.h"

#define GROUP CLI_PRODUCT "/deployments/:1/rollout"
#define BAR_WIDTH 20

static const struct cli_shape firmware_shape[] = {{"version", SHAPE_TEXT}, {"uuid", SHAPE_TEXT}, {NULL}};
static const struct cli_shape rollout_shape[] = {
	{"state", SHAPE_TEXT},          {"deployment_group", SHAPE_TEXT}, {"release", SHAPE_INT},       {"firmware", SHAPE_OBJECT, false, firmware_shape},
	{"wave", SHAPE_INT},            {"waves", SHAPE_ANY},             {"by", SHAPE_TEXT, true},     {"why", SHAPE_TEXT, true},
	{"since", SHAPE_TIME, true},    {"evidence", SHAPE_ANY, true},    {"stopped_by", SHAPE_ANY, true}, {"next", SHAPE_ANY},
	{"plan", SHAPE_ANY, true},      {"default_plan", SHAPE_ANY, true}, {NULL}};
static const struct cli_view rollout_view = {rollout_shape, NULL, NULL, NULL};

/* ---- shown ------------------------------------------------------------------------------------------------------------------ */

static const char *number(struct nh_cli *c, double value)
{
	return nh_arena_printf(&c->arena, "%.4g", value);
}

/* What a wave is made of. */
static const char *who(struct nh_cli *c, const json_t *wave)
{
	const json_t *percent = json_object_get(wave, "percent"), *tags = json_object_get(wave, "tags"), *tag;
	NH_AUTO_BUF struct nh_buf b = NH_BUF_INIT;
	size_t i;
	if (json_is_number(percent))
		return nh_arena_printf(&c->arena, "%s %%", number(c, json_number_value(percent)));
	if (!json_is_array(tags))
		return json_is_string(tags) ? json_string_value(tags) : cli_get(wave, "query");
	json_array_foreach(tags, i, tag)
		nh_buf_printf(&b, "%s%s", i ? ", " : "tags ", json_string_value(tag));
	return nh_arena_str(&c->arena, nh_buf_slice(&b));
}

static const char *bar(struct nh_cli *c, const json_t *wave)
{
	int64_t size = nh_json_int(wave, "size", 0), updated = nh_json_int(wave, "updated", 0), failed = nh_json_int(wave, "failed", 0);
	char text[BAR_WIDTH + 3] = "[";
	if (size <= 0)
		return "-";
	for (int64_t i = 0; i < BAR_WIDTH; i++)
		text[1 + i] = i * size < updated * BAR_WIDTH ? '#' : i * size < (updated + failed) * BAR_WIDTH ? 'x' : '.';
	text[BAR_WIDTH + 1] = ']';
	return nh_arena_printf(&c->arena, "%s %lld/%lld", text, (long long)updated, (long long)size);
}

static const char *gate_text(struct nh_cli *c, const json_t *wave)
{
	const json_t *gate = json_object_get(wave, "gate");
	const char *type = cli_get(gate, "type");
	long long seconds = nh_json_int(gate, "seconds", 0);
	double share = json_number_value(json_object_get(gate, "share")) * 100;
	if (strcmp(type, "time") == 0)
		return nh_arena_printf(&c->arena, "%lld s after it began", seconds);
	if (strcmp(type, "health") == 0)
		return nh_arena_printf(&c->arena, "%s %% updated, then %lld s", number(c, share), seconds);
	return nh_arena_printf(&c->arena, "%s %% updated%s", number(c, share), strcmp(type, "manual") == 0 ? ", then approval" : "");
}

static void show_waves(struct nh_cli *c, const json_t *rollout)
{
	struct cli_table t = {.arena = &c->arena, .columns = 6};
	const json_t *wave, *waves = json_object_get(rollout, "waves");
	size_t i;
	if (json_array_size(waves) == 0)
		return;
	cli_table_row(&t, "WAVE", "WHO", "STATE", "UPDATED", "FAILED", "GATE BEHIND IT");
	json_array_foreach(waves, i, wave)
		cli_table_row(&t, nh_arena_printf(&c->arena, "%zu", i + 1), who(c, wave), cli_get(wave, "state"), bar(c, wave), nh_arena_printf(&c->arena, "%lld", (long long)nh_json_int(wave, "failed", 0)),
		              gate_text(c, wave));
	cli_out(c, "\n");
	cli_table_print(c, &t);
}

static void show_evidence(struct nh_cli *c, const json_t *evidence)
{
	struct cli_table t = {.arena = &c->arena, .columns = 5};
	const json_t *signal;
	size_t i;
	if (!json_is_true(json_object_get(evidence, "stops")))
		return;
	cli_table_row(&t, "SIGNAL", "DEVICES", "FAILED", "TOLERATED", "ODDS AGAINST CHANCE");
	json_array_foreach(json_object_get(evidence, "signals"), i, signal)
		cli_table_row(&t, cli_get(signal, "signal"), nh_arena_printf(&c->arena, "%lld", (long long)nh_json_int(signal, "trials", 0)),
		              nh_arena_printf(&c->arena, "%lld", (long long)nh_json_int(signal, "failures", 0)),
		              nh_arena_printf(&c->arena, "%s %%", number(c, json_number_value(json_object_get(signal, "tolerated")) * 100)), number(c, json_number_value(json_object_get(signal, "e"))));
	cli_out(c, "\n");
	cli_table_print(c, &t);
	cli_out(c, "together %s; it stops at %s\n", number(c, json_number_value(json_object_get(evidence, "e"))), number(c, json_number_value(json_object_get(evidence, "limit"))));
}

static const char *next_text(const char *what)
{
	static const struct {
		const char *what, *text;
	} texts[] = {
		{"resume", "somebody resumes it"},
		{"resume_or_rollback", "somebody resumes it or rolls it back"},
		{"activation", "the deployment group is switched on"},
		{"not_before", "the release's time comes"},
		{"window", "a maintenance window opens"},
		{"counting", "the wave's devices are counted"},
		{"updates", "more of the wave is updated"},
		{"approval", "somebody approves the next wave"},
		{"gate", "the gate's time is up"},
	};
	for (size_t i = 0; i < NH_ARRAY_LEN(texts); i++) {
		if (strcmp(what, texts[i].what) == 0)
			return texts[i].text;
	}
	return what;
}

static void show_next(struct nh_cli *c, const json_t *rollout)
{
	const json_t *item;
	size_t i;
	json_array_foreach(json_object_get(rollout, "next"), i, item) {
		const char *at = cli_time_cell(c, json_object_get(item, "at"), false);
		cli_out(c, "%sWaits until %s%s%s\n", i ? "" : "\n", cli_visible(c, next_text(cli_get(item, "what"))), *at ? ": " : "", at);
	}
}

static nh_rc show_object(struct nh_cli *c, const json_t *rollout)
{
	struct cli_table t = {.arena = &c->arena, .columns = 2};
	const json_t *firmware = json_object_get(rollout, "firmware");
	bool none = strcmp(cli_get(rollout, "state"), "none") == 0;
	if (c->format != CLI_TABLE)
		return cli_view_one(c, &rollout_view, rollout);
	cli_table_detail(&t, "Deployment group", cli_get(rollout, "deployment_group"));
	cli_table_detail(&t, "Release", nh_arena_printf(&c->arena, "#%lld (%s %s)", (long long)nh_json_int(rollout, "release", 0), cli_get(firmware, "version"), cli_get(firmware, "uuid")));
	cli_table_detail(&t, "State", none ? "no plan: everybody at once" : cli_get(rollout, "state"));
	cli_table_detail(&t, "Since", cli_time_cell(c, json_object_get(rollout, "since"), false));
	cli_table_detail(&t, "By", cli_get(rollout, "by"));
	cli_table_detail(&t, "Why", cli_get(rollout, "why"));
	cli_table_print(c, &t);
	show_waves(c, rollout);
	show_evidence(c, json_object_get(rollout, "evidence"));
	show_next(c, rollout);
	return NH_OK;
}

static nh_rc call(struct nh_cli *c, const char *method, const char *route, json_t *take_body, struct nh_err *err)
{
	NH_AUTO_JSON json_t *rollout = NULL;
	NH_TRY(cli_call(c, method, cli_fill(c, route, true), take_body, rollout_shape, false, &rollout, err));
	return show_object(c, rollout);
}

static nh_rc show(struct nh_cli *c, struct nh_err *err)
{
	return call(c, "GET", GROUP, NULL, err);
}

/* ---- plans ------------------------------------------------------------------------------------------------------------------ */

static nh_rc to_number(const char *flag, const char *text, bool percent, double *out, struct nh_err *err)
{
	nh_slice digits = nh_slice_str(text);
	NH_AUTO_JSON json_t *number = NULL;
	if (percent && nh_slice_ends(digits, NH_LIT("%")))
		digits.len--;
	if (nh_json_parse(nh_slice_trim(digits), 64, &number, NULL) != NH_OK || !json_is_number(number))
		return NH_FAIL(err, NH_EINVAL, "--%s needs a number, not '%.60s'", flag, text);
	*out = json_number_value(number);
	return NH_OK;
}

/* "10%", "tag:canary", "tag:a,b", or a query. */
static nh_rc wave_of(const char *text, json_t **out, struct nh_err *err)
{
	double percent;
	size_t len = strlen(text);
	*out = NULL;
	if (len > 1 && text[len - 1] == '%') {
		NH_TRY(to_number("wave", text, true, &percent, err));
		*out = json_pack("{s:f}", "percent", percent);
	} else if (strncmp(text, "tag:", 4) == 0) {
		*out = json_pack("{s:s}", "tags", text + 4);
	} else {
		*out = json_pack("{s:s}", "query", text);
	}
	return *out ? NH_OK : NH_FAIL(err, NH_EINVAL, "--wave is no text");
}

/* "22:00-04:00", or "mon,tue 22:00-04:00" */
static nh_rc window_of(const char *text, json_t **out, struct nh_err *err)
{
	nh_slice days = NH_SLICE_EMPTY, hours = nh_slice_str(text), from, to, day;
	json_t *window = json_object();
	if (nh_slice_chr(hours, ' ') >= 0)
		nh_slice_cut(hours, ' ', &days, &hours);
	if (!nh_slice_cut(nh_slice_trim(hours), '-', &from, &to)) {
		json_decref(window);
		return NH_FAIL(err, NH_EINVAL, "invalid --window \"%.60s\": use HH:MM-HH:MM, or mon,tue HH:MM-HH:MM", text);
	}
	if (days.len > 0) {
		json_t *list = json_array();
		for (bool more = true; more;) {
			more = nh_slice_cut(days, ',', &day, &days);
			json_array_append_new(list, nh_json_new_text(day));
		}
		json_object_set_new(window, "days", list);
	}
	json_object_set_new(window, "from", nh_json_new_text(from));
	json_object_set_new(window, "to", nh_json_new_text(to));
	*out = window;
	return NH_OK;
}

static nh_rc put_list(struct nh_cli *c, const char *flag, json_t *plan, const char *member, nh_rc (*read)(const char *text, json_t **out, struct nh_err *err), struct nh_err *err)
{
	const struct nh_option_list *given = cli_list(c, flag);
	json_t *list = json_array();
	for (size_t i = 0; i < given->count; i++) {
		json_t *item = NULL;
		nh_rc rc = read(given->items[i], &item, err);
		if (rc != NH_OK) {
			json_decref(list);
			return rc;
		}
		json_array_append_new(list, item);
	}
	json_object_set_new(plan, member, list);
	return NH_OK;
}

/* One gate behind all waves that were given as flags. */
static nh_rc put_gates(struct nh_cli *c, json_t *plan, struct nh_err *err)
{
	NH_AUTO_JSON json_t *gate = json_pack("{s:s}", "type", cli_text(c, "gate") ? cli_text(c, "gate") : "health");
	json_t *wave;
	size_t i;
	int64_t us;
	double share;
	if (json_array_size(json_object_get(plan, "waves")) == 0 && (cli_text(c, "gate") || cli_text(c, "soak") || cli_text(c, "share")))
		return NH_FAIL(err, NH_EINVAL, "--gate, --soak and --share are of waves: give them with --wave");
	if (cli_text(c, "soak")) {
		NH_TRY_CTX(cli_parse_validity(cli_text(c, "soak"), &us, err), err, "--soak");
		json_object_set_new(gate, "seconds", json_integer(us / 1000000));
	}
	if (cli_text(c, "share")) {
		NH_TRY(to_number("share", cli_text(c, "share"), true, &share, err));
		json_object_set_new(gate, "share", json_real(share / 100));
	}
	json_array_foreach(json_object_get(plan, "waves"), i, wave)
		json_object_set(wave, "gate", gate);
	return NH_OK;
}

static nh_rc put_stop(struct nh_cli *c, json_t *plan, struct nh_err *err)
{
	static const char *const rates[] = {"alpha", "tolerated"};
	json_t *stop = json_object();
	json_object_set_new(plan, "stop", cli_on(c, "no-stop") ? json_null() : json_incref(stop));
	for (size_t i = 0; i < NH_ARRAY_LEN(rates); i++) {
		double value;
		const char *text = cli_text(c, rates[i]);
		nh_rc rc = text ? to_number(rates[i], text, false, &value, err) : NH_OK;
		if (rc != NH_OK) {
			json_decref(stop);
			return rc;
		}
		if (text)
			json_object_set_new(stop, rates[i], json_real(value));
	}
	json_decref(stop);
	return NH_OK;
}

static nh_rc plan_of_flags(struct nh_cli *c, json_t **out, struct nh_err *err)
{
	static const struct {
		const char *flag, *member;
	} texts[] = {{"zone", "zone"}, {"not-before", "not_before"}};
	NH_AUTO_JSON json_t *plan = json_object();
	NH_TRY(put_list(c, "wave", plan, "waves", wave_of, err));
	NH_TRY(put_list(c, "window", plan, "windows", window_of, err));
	NH_TRY(put_gates(c, plan, err));
	NH_TRY(put_stop(c, plan, err));
	for (size_t i = 0; i < NH_ARRAY_LEN(texts); i++) {
		if (cli_text(c, texts[i].flag))
			json_object_set_new(plan, texts[i].member, json_string(cli_text(c, texts[i].flag)));
	}
	*out = json_incref(plan);
	return NH_OK;
}

static nh_rc plan_of_file(const char *path, json_t **out, struct nh_err *err)
{
	NH_AUTO_BUF struct nh_buf text = NH_BUF_INIT;
	NH_TRY(cli_file_load(path, &text, err));
	return nh_json_parse(nh_buf_slice(&text), (size_t)1 << 20, out, err);
}

static nh_rc plan_set(struct nh_cli *c, struct nh_err *err)
{
	NH_AUTO_JSON json_t *plan = NULL;
	if (cli_on(c, "none"))
		plan = json_null();
	else
		NH_TRY(cli_text(c, "file") ? plan_of_file(cli_text(c, "file"), &plan, err) : plan_of_flags(c, &plan, err));
	return call(c, "PUT", GROUP "/plan", json_pack("{s:O, s:b}", "plan", plan, "now", cli_on(c, "now")), err);
}

/* ---- done with it ------------------------------------------------------------------------------------------------------------- */

static nh_rc control(struct nh_cli *c, const char *route, struct nh_err *err)
{
	json_t *body = json_object();
	if (cli_text(c, "why"))
		json_object_set_new(body, "why", nh_json_new_text(nh_slice_str(cli_text(c, "why"))));
	return call(c, "POST", route, body, err);
}

static nh_rc pause_it(struct nh_cli *c, struct nh_err *err) { return control(c, GROUP "/pause", err); }
static nh_rc resume(struct nh_cli *c, struct nh_err *err) { return control(c, GROUP "/resume", err); }
static nh_rc approve(struct nh_cli *c, struct nh_err *err) { return control(c, GROUP "/approve", err); }
static nh_rc skip(struct nh_cli *c, struct nh_err *err) { return control(c, GROUP "/skip", err); }

static nh_rc rollback(struct nh_cli *c, struct nh_err *err)
{
	json_t *body = json_pack("{s:b}", "staged", cli_on(c, "staged"));
	if (cli_text(c, "why"))
		json_object_set_new(body, "why", nh_json_new_text(nh_slice_str(cli_text(c, "why"))));
	return call(c, "POST", GROUP "/rollback", body, err);
}

#define WHY {"why", 0, CLI_TEXT, "TEXT", "for people and the audit log"}
static const struct cli_flag why_flags[] = {WHY, {NULL}};
static const struct cli_flag rollback_flags[] = {WHY, {"staged", 0, CLI_FLAG, NULL, "by the group's plan, and not to everybody at once"}, {NULL}};
static const struct cli_flag plan_flags[] = {
	{"wave", 0, CLI_LIST, "WHO", "10%, tag:canary, or a query of the device list; repeatable, shares count those before in"},
	{"gate", 0, CLI_TEXT, "health|manual|time|none", "behind each of these waves (health)"},
	{"soak", 0, CLI_TEXT, "DURATION", "how long a gate waits, as 15m or 12h"},
	{"share", 0, CLI_TEXT, "PERCENT", "how much of a wave has to be updated (80)"},
	{"window", 0, CLI_LIST, "WINDOW", "update only then: \"22:00-04:00\" or \"mon,tue 22:00-04:00\"; repeatable"},
	{"zone", 0, CLI_TEXT, "ZONE", "time zone of the windows, as Europe/Berlin (UTC)"},
	{"not-before", 0, CLI_TEXT, "TIME", "when it may begin, as 2027-01-15T08:00:00Z"},
	{"alpha", 0, CLI_TEXT, "P", "probability of a false alarm (0.01)"},
	{"tolerated", 0, CLI_TEXT, "RATE", "failures that are fine (0.02)"},
	{"no-stop", 0, CLI_FLAG, NULL, "never stop by itself"},
	{"file", 0, CLI_TEXT, "FILE", "a plan as JSON, instead of all these"},
	{"none", 0, CLI_FLAG, NULL, "no plan: releases go to everybody at once"},
	{"now", 0, CLI_FLAG, NULL, "also for the current release, which begins anew"},
	{NULL}};

const struct cli_command cli_rollout_commands[] = {
	{"rollout show", "<deployment>", 1, 1, CLI_IN_PRODUCT, NULL, show, "show how far a release is, what speaks against it, and what it waits for"},
	{"rollout plan-set", "<deployment>", 1, 1, CLI_IN_PRODUCT, plan_flags, plan_set, "set waves, gates and windows of releases to come"},
	{"rollout pause", "<deployment>", 1, 1, CLI_IN_PRODUCT, why_flags, pause_it, "send nothing more for now"},
	{"rollout resume", "<deployment>", 1, 1, CLI_IN_PRODUCT, why_flags, resume, "go on after a pause or an automatic stop"},
	{"rollout approve", "<deployment>", 1, 1, CLI_IN_PRODUCT, why_flags, approve, "let the current wave's gate pass"},
	{"rollout skip", "<deployment>", 1, 1, CLI_IN_PRODUCT, why_flags, skip, "drop the remaining waves: everybody at once"},
	{"rollout rollback", "<deployment>", 1, 1, CLI_IN_PRODUCT, rollback_flags, rollback, "release the previous firmware again"},
	{NULL},
};
