/*
 * `nh watch`: a rollout, live. Counts come from lists of devices that the server is asked for, more seldom the longer nothing changes; how far each device is comes over the events
 * socket, and is left out where there is none.
 *
 * source: reference/user-api-and-cli "11.2", "13.1", "16.4"
 */
#include "base/encode.h"
#include "loop/loop.h"
#include "socket.h"
#include "watch.h"

#define INTERVAL_MS 2000
#define INTERVAL_MAX_MS 15000
#define DURATION_MAX_MS ((uint64_t)24 * 3600 * 1000)
#define REDRAW_MS 200
#define TRIES_MAX 5      /* polls in a row that may fail */
#define LISTED_MAX 100   /* devices of a list that are looked at one by one; also what one socket may join */
#define TOPIC "device:"

struct watch {
	struct nh_cli *c;
	struct nh_loop *loop;
	struct cli_socket *socket; /* NULL: none, or not any more */
	struct nh_timer *poll, *redraw;
	struct cli_watch_view view;
	struct cli_rollout now;
	const char *base;          /* query that finds the devices */
	const char *device;        /* NULL: a group is watched */
	char *failure_before;      /* of the device, when the watch began; arena. NULL: not asked yet */
	uint64_t interval_ms, wait_ms, failures_max;
	bool failures_limited, exit_when_done, connected, over;
	unsigned tries;
	nh_rc rc;
	struct nh_err *err;
};

/* ---- queries ----------------------------------------------------------------------------------------------------------------- */

static void put_quoted(struct nh_buf *out, nh_slice text)
{
	nh_buf_put_u8(out, '"');
	for (size_t i = 0; i < text.len; i++) {
		nh_buf_put_str(out, text.ptr[i] == '"' || text.ptr[i] == '\\' ? "\\" : "");
		nh_buf_put_u8(out, text.ptr[i]);
	}
	nh_buf_put_u8(out, '"');
}

static char *make_base(struct watch *w, const char *column, const char *sign, const char *value, bool pattern)
{
	NH_AUTO_BUF struct nh_buf b = NH_BUF_INIT, text = NH_BUF_INIT;
	for (const char *p = value; *p; p++) {
		nh_buf_put_str(&text, pattern && (*p == '%' || *p == '_' || *p == '\\') ? "\\" : "");
		nh_buf_put_u8(&text, (uint8_t)*p);
	}
	nh_buf_printf(&b, "%s %s ", column, sign);
	put_quoted(&b, nh_buf_slice(&text));
	return nh_arena_str(&w->c->arena, nh_buf_slice(&b));
}

/* Devices of the rollout that also match; *devices: the first of them, new reference. */
static nh_rc ask(struct watch *w, const char *also, unsigned listed, int64_t *total, json_t **devices)
{
	NH_AUTO_BUF struct nh_buf query = NH_BUF_INIT;
	NH_AUTO_JSON json_t *answer = NULL;
	struct nh_cli *c = w->c;
	cli_put_query(&query, "query", *also ? nh_arena_printf(&c->arena, "%s and %s", w->base, also) : w->base);
	cli_put_query(&query, "pagination[page_size]", nh_arena_printf(&c->arena, "%u", listed));
	NH_TRY(cli_api(c, &(struct cli_request){"GET", cli_fill(c, CLI_PRODUCT "/devices", true), nh_buf_cstr(&query)}, &answer, w->err));
	*total = nh_json_int(json_object_get(answer, "pagination"), "total_entries", 0);
	if (devices)
		*devices = json_incref(json_object_get(answer, "data"));
	return NH_OK;
}

/* ---- one look ------------------------------------------------------------------------------------------------------------------ */

/* What is rolled out: of the group, or of the group of the device. */
static nh_rc look_at_target(struct watch *w, json_t **firmware)
{
	struct nh_cli *c = w->c;
	NH_AUTO_JSON json_t *answer = NULL;
	const char *route = cli_fill(c, w->device ? CLI_PRODUCT "/devices" : CLI_PRODUCT "/deployments", true), *given = cli_text(c, "firmware"), *version = given;
	NH_AUTO_BUF struct nh_buf path = NH_BUF_INIT;
	nh_buf_printf(&path, "%s/", route);
	nh_uri_put(&path, nh_slice_str(w->now.name));
	NH_TRY(cli_api(c, &(struct cli_request){"GET", nh_buf_cstr(&path)}, &answer, w->err));
	const json_t *data = json_object_get(answer, "data"), *group = w->device ? json_object_get(data, "deployment_group") : data;
	const char *uuid = given ? given : cli_get(group, "firmware_uuid");
	if (!given)
		version = w->device ? cli_get(group, "firmware_version") : cli_get(json_object_get(json_object_get(group, "current_release"), "firmware"), "version");
	if (!*uuid)
		return NH_FAIL(w->err, NH_EINVAL, "device %.100s is in no deployment group: say which --firmware it is to have", w->device);
	*firmware = json_pack("{s:s, s:s}", "uuid", uuid, "version", version);
	return NH_OK;
}

/* Those under way, with what was heard of them before. */
static void take_devices(struct watch *w, const json_t *list)
{
	json_t *devices = json_object(), *row;
	size_t i;
	w->now.downloading = 0;
	json_array_foreach(list, i, row)
	{
		const char *identifier = cli_get(row, "identifier");
		const json_t *known = json_object_get(w->now.devices, identifier);
		if (!known && w->connected)
			cli_socket_join(w->socket, nh_arena_printf(&w->c->arena, TOPIC "%s", identifier));
		json_object_set_new(devices, identifier, known ? json_incref((json_t *)known) : json_pack("{s:n, s:n}", "stage", "percent"));
		w->now.downloading += nh_slice_eq_str(NH_LIT("downloading"), cli_get(known, "stage"));
	}
	const char *identifier;
	json_object_foreach(w->now.devices, identifier, row) if (w->connected && !json_object_get(devices, identifier))
		cli_socket_leave(w->socket, nh_arena_printf(&w->c->arena, TOPIC "%s", identifier));
	json_decref(w->now.devices);
	w->now.devices = devices;
}

static void take_failures(struct watch *w, const json_t *list)
{
	json_t *row;
	size_t i;
	json_object_clear(w->now.failures);
	json_array_foreach(list, i, row) if (*cli_get(row, "last_failure"))
		json_object_set(w->now.failures, cli_get(row, "identifier"), json_object_get(row, "last_failure"));
	w->now.failed = (int64_t)json_object_size(w->now.failures);
}

/* An update without a group has no penalty: a failure that was not there when the watch began is one. */
static nh_rc look_at_failure(struct watch *w, struct nh_arena *kept)
{
	NH_AUTO_JSON json_t *list = NULL;
	int64_t total = 0;
	NH_TRY(ask(w, "", 1, &total, &list));
	const json_t *device = json_array_get(list, 0);
	const char *at = cli_get(device, "last_failure_at");
	if (!w->failure_before)
		w->failure_before = nh_arena_printf(kept, "%s", at);
	bool failed = *at && !nh_slice_eq_str(nh_slice_str(at), w->failure_before) && json_object_size(w->now.failures) == 0;
	if (failed)
		json_object_set(w->now.failures, w->device, json_object_get(device, "last_failure"));
	w->now.failed = (int64_t)json_object_size(w->now.failures);
	return NH_OK;
}

static nh_rc look(struct watch *w, struct nh_arena *kept)
{
	struct cli_rollout *r = &w->now;
	NH_AUTO_JSON json_t *firmware = NULL;
	NH_AUTO_JSON json_t *updating = NULL;
	NH_AUTO_JSON json_t *penalty = NULL;
	NH_TRY(look_at_target(w, &firmware));
	const char *uuid = cli_get(firmware, "uuid");
	struct nh_arena *arena = &w->c->arena;
	NH_TRY(ask(w, "", 1, &r->total, NULL));
	NH_TRY(ask(w, nh_arena_printf(arena, "firmware = \"%s\"", uuid), 1, &r->done, NULL));
	NH_TRY(ask(w, nh_arena_printf(arena, "update_status is updating and firmware != \"%s\"", uuid), LISTED_MAX, &r->updating, &updating));
	NH_TRY(ask(w, nh_arena_printf(arena, "updates = penalty-box and update_status is not updating and firmware != \"%s\"", uuid), LISTED_MAX, &r->penalty_box, &penalty));
	json_decref(r->firmware);
	r->firmware = json_incref(firmware);
	take_devices(w, updating);
	take_failures(w, penalty);
	if (w->device)
		NH_TRY(look_at_failure(w, kept));
	int64_t rest = r->total - r->done - r->updating - (r->penalty_box > r->failed ? r->penalty_box : r->failed);
	r->waiting = rest > 0 ? rest : 0; /* the lists are of different moments */
	return NH_OK;
}

/* ---- from look to look ------------------------------------------------------------------------------------------------------------ */

static void finish(struct watch *w, nh_rc rc)
{
	w->rc = rc;
	w->over = true;
	nh_loop_stop(w->loop);
}

static void judge(struct watch *w)
{
	const struct cli_rollout *r = &w->now;
	bool too_many = (uint64_t)r->failed > w->failures_max, nothing_left = r->waiting == 0 && r->updating == 0 && r->done + r->failed >= r->total;
	if (!w->exit_when_done || (!nothing_left && !(too_many && w->failures_limited)))
		return;
	if (too_many)
		finish(w, NH_FAIL(w->err, NH_EIO, "%lld of %lld devices failed", (long long)r->failed, (long long)r->total));
	else
		finish(w, NH_OK);
}

/* A server that is away for a moment comes back; what it refuses it will refuse again. */
static bool may_mend(nh_rc rc) { return rc == NH_EIO || rc == NH_ETIMEOUT; }

static void on_poll(void *ctx)
{
	struct watch *w = ctx;
	struct nh_cli *c = w->c;
	struct cli_rollout before = w->now;
	/* Requests make texts in the command's arena: a watch of days has one for each look. */
	struct nh_arena kept = c->arena;
	c->arena = NH_ARENA_INIT;
	nh_rc rc = look(w, &kept);
	nh_arena_fini(&c->arena);
	c->arena = kept;
	w->tries = rc == NH_OK ? 0 : w->tries + 1;
	bool moved = before.waiting != w->now.waiting || before.updating != w->now.updating || before.done != w->now.done || before.penalty_box != w->now.penalty_box;
	w->wait_ms = moved && rc == NH_OK ? w->interval_ms : w->wait_ms + w->wait_ms / 2;
	uint64_t longest = w->interval_ms > INTERVAL_MAX_MS ? w->interval_ms : INTERVAL_MAX_MS;
	if (rc != NH_OK && (!may_mend(rc) || w->tries > TRIES_MAX)) {
		finish(w, rc);
		return;
	}
	if (rc == NH_OK) {
		cli_watch_view_show(&w->view, &w->now);
		judge(w);
	}
	if (!w->over)
		nh_timer_start(w->poll, w->wait_ms < longest ? w->wait_ms : longest, 0);
}

static void on_redraw(void *ctx)
{
	struct watch *w = ctx;
	cli_watch_view_show(&w->view, &w->now);
}

/* ---- the events socket --------------------------------------------------------------------------------------------------------------- */

static void on_open(void *ctx)
{
	struct watch *w = ctx;
	const char *identifier;
	json_t *state;
	w->connected = true;
	json_object_foreach(w->now.devices, identifier, state) cli_socket_join(w->socket, nh_arena_printf(&w->c->arena, TOPIC "%s", identifier));
}

static void on_event(void *ctx, nh_slice topic, nh_slice event, const json_t *payload)
{
	struct watch *w = ctx;
	nh_slice identifier = nh_slice_skip(topic, sizeof TOPIC - 1);
	json_t *state = json_object_getn(w->now.devices, (const char *)identifier.ptr, identifier.len);
	if (!state || !nh_slice_eq_str(event, "firmware_update"))
		return;
	bool before = nh_slice_eq_str(NH_LIT("downloading"), cli_get(state, "stage")), after = nh_slice_eq_str(NH_LIT("downloading"), cli_get(payload, "stage"));
	w->now.downloading += (after ? 1 : 0) - (before ? 1 : 0);
	json_object_set(state, "stage", json_object_get(payload, "stage"));
	json_object_set(state, "percent", json_object_get(payload, "percent"));
	if (!nh_timer_active(w->redraw))
		nh_timer_start(w->redraw, REDRAW_MS, 0);
}

static void on_join(void *ctx, nh_slice topic, const char *reason) {} /* without progress of this device, then */
static void on_left(void *ctx, nh_slice topic) {}

static void on_end(void *ctx, const struct nh_err *why)
{
	struct watch *w = ctx;
	w->connected = false;
}

/* ---- the command ----------------------------------------------------------------------------------------------------------------------- */

static nh_rc read_flags(struct watch *w)
{
	struct nh_cli *c = w->c;
	bool given = false, value = false;
	const char *interval = cli_text(c, "interval"), *failures = cli_text(c, "max-failures");
	w->device = cli_text(c, "device");
	if ((c->arg_count == 1) == (w->device != NULL))
		return NH_FAIL(w->err, NH_EINVAL, "watch a deployment group, or --device DEVICE");
	if (!w->device && cli_text(c, "firmware"))
		return NH_FAIL(w->err, NH_EINVAL, "--firmware goes with --device: a deployment group has its own");
	w->now.name = w->device ? w->device : c->args[0];
	w->base = w->device ? make_base(w, "identifier", "like", w->device, true) : make_base(w, "deployment_group", "=", w->now.name, false);
	w->interval_ms = INTERVAL_MS;
	if (interval && (nh_parse_duration_ms(nh_slice_str(interval), DURATION_MAX_MS, &w->interval_ms) != NH_OK || w->interval_ms < 10))
		return NH_FAIL(w->err, NH_EINVAL, "--interval needs a duration as 500ms, 2s or 5m, not '%.40s'", interval);
	if (failures && nh_parse_u64(nh_slice_str(failures), 0, INT64_MAX, &w->failures_max) != NH_OK)
		return NH_FAIL(w->err, NH_EINVAL, "--max-failures needs a number, not '%.40s'", failures);
	w->failures_limited = failures != NULL;
	w->wait_ms = w->interval_ms;
	NH_TRY(cli_bool(c, "exit-when-done", &given, &value, w->err));
	w->exit_when_done = !given || value;
	return NH_OK;
}

static nh_rc run(struct nh_cli *c, struct nh_err *err)
{
	struct nh_err none = NH_ERR_INIT;
	struct watch w = {.c = c, .err = err ? err : &none};
	struct cli_socket_events events = {.on_open = on_open, .on_join = on_join, .on_event = on_event, .on_left = on_left, .on_end = on_end, .ctx = &w};
	NH_TRY(read_flags(&w));
	NH_TRY(nh_loop_new(NULL, &w.loop, err));
	w.now.devices = json_object();
	w.now.failures = json_object();
	w.poll = nh_timer_new(w.loop, on_poll, &w);
	w.redraw = nh_timer_new(w.loop, on_redraw, &w);
	cli_watch_view_init(&w.view, c);
	NH_IGNORE(cli_socket_open(c, w.loop, CLI_SOCKET_EVENTS, &events, &w.socket, NULL)); /* what is wrong with the address the first look tells */
	nh_timer_start(w.poll, 0, 0);
	nh_loop_run(w.loop);
	cli_socket_close(w.socket);
	nh_timer_close(w.poll);
	nh_timer_close(w.redraw);
	nh_loop_free(w.loop);
	cli_watch_view_fini(&w.view);
	json_decref(w.now.devices);
	json_decref(w.now.failures);
	json_decref(w.now.firmware);
	return w.rc;
}

static const struct cli_flag flags[] = {
	{"device", 0, CLI_TEXT, "DEVICE", "watch one device instead"},
	{"firmware", 0, CLI_TEXT, "FIRMWARE", "with --device: what it is to have (default: its deployment group's)"},
	{"interval", 0, CLI_TEXT, "DURATION", "between looks (default 2s; longer while nothing changes)"},
	{"max-failures", 0, CLI_TEXT, "N", "devices that may fail (default 0); where given, more of them end the watch at once"},
	{"exit-when-done", 0, CLI_BOOL, "BOOL", "end when no device is left to wait for (default true)"},
	{NULL}};

const struct cli_command cli_watch_commands[] = {
	{"watch", "[deployment]", 0, 1, CLI_IN_PRODUCT, flags, run, "watch a rollout until it is complete"},
	{NULL},
};
