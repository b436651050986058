/*
 * The extensions channel: which extensions a device and its product agree on, what is asked of the device once one is attached, and what it tells.
 *
 * What may be used is read when the channel is joined, and again when somebody changes the settings; then `attach` and `detach` follow the change, so that nobody has to reconnect
 * for it. There is no timer: a request that comes round (health) is looked at when the device says something, which it does every half minute.
 *
 * The answer to a message for an extension that may not be used is the only answer to a push that devices know: the client finds the extension by the ref of its
 * `attached` and stops it.
 *
 * source: reference/device-protocol "12"; reference/server-behaviour "7"
 */
#include <stdlib.h>

#include "base/log.h"
#include "socket_int.h"

#define PIECE_MAX ((size_t)64 << 10)
#define HEALTH_EVERY_MS (60 * 60 * 1000)

struct extensions {
	struct channel channel;
	unsigned offered;  /* by the device, in a version that is understood; bits */
	unsigned allowed;
	unsigned attached; /* by the device's word */
	bool stale;        /* allowed has to be read again */
	uint64_t health_due_ms;
	struct nh_extension_bucket buckets[NH_EXTENSIONS];
	struct nh_relay_device *shell; /* while it is attached */
};

/* In the order of their names, which is the order of our answer. request: what is said when one is attached. */
static const struct {
	nh_extension extension;
	const char *request;
} rows[] = {
	{NH_EXT_GEO, "geo:location:request"},
	{NH_EXT_HEALTH, "health:check"},
	{NH_EXT_LOCAL_SHELL, "local_shell:request_shell"},
	{NH_EXT_LOGGING, NULL},
	{NH_EXT_NETWORK_IDENTITY, "network_identity:request"},
};

_Static_assert(NH_ARRAY_LEN(rows) == NH_EXTENSIONS, "a row for each extension");

static void say(struct session *s, const char *event, nh_slice payload)
{
	socket_say(s->conn, s, &s->extensions->channel, NH_LIT("extensions"), nh_slice_str(event), payload);
}

static json_t *names(unsigned mask)
{
	json_t *list = json_array();
	for (size_t i = 0; i < NH_ARRAY_LEN(rows); i++)
		if (mask & NH_EXT_BIT(rows[i].extension))
			json_array_append_new(list, json_string(nh_extension_name(rows[i].extension)));
	return list;
}

/* ---- the shell ----------------------------------------------------------------------------------------------------------- */

/* What people call an event, and what devices call it. */
static const struct {
	const char *theirs, *ours;
} shell_events[] = {{"input", "local_shell:shell_input"}, {"window_size", "local_shell:window_size"}};

static void shell_input(void *ctx, nh_slice event, nh_slice payload, uint64_t question)
{
	struct session *s = ctx;
	for (size_t i = 0; i < NH_ARRAY_LEN(shell_events); i++)
		if (s->extensions->channel.joined && nh_slice_eq_str(event, shell_events[i].theirs))
			say(s, shell_events[i].ours, payload);
	nh_relay_device_waiting(s->extensions->shell, nh_ws_unsent(s->conn));
}

void extensions_drained(struct session *s)
{
	if (s->extensions && s->extensions->shell)
		nh_relay_device_waiting(s->extensions->shell, 0);
}

/* A closed end's scrollback goes with it, so that each attachment begins with an empty one. */
static void shell_close(struct extensions *x)
{
	nh_relay_device_close(x->shell);
	x->shell = NULL;
}

static void shell_open(struct session *s)
{
	struct nh_relay *relay = s->api->config.relay;
	shell_close(s->extensions);
	if (relay)
		s->extensions->shell = nh_relay_device_open(relay, s->hub.device_id, NH_RELAY_SHELL, NH_SLICE_EMPTY, s->loop, shell_input, s);
}

static bool shell_event(struct extensions *x, nh_slice name, const json_t *payload)
{
	nh_slice text = nh_json_text(payload, "data");
	if (!nh_slice_eq_str(name, "shell_output"))
		return nh_slice_eq_str(name, "request_status") || nh_slice_eq_str(name, "shell_exited");
	if (!json_is_string(json_object_get(payload, "data")) || text.len > PIECE_MAX)
		return false;
	if (!x->shell)
		return true;
	NH_AUTO_BUF struct nh_buf message = NH_BUF_INIT;
	nh_buf_put_str(&message, "{\"data\":");
	nh_json_put_string(&message, text);
	nh_buf_put_u8(&message, '}');
	nh_relay_device_say(x->shell, NH_LIT("output"), nh_buf_slice(&message), text);
	return true;
}

/* ---- attaching ----------------------------------------------------------------------------------------------------------- */

static uint64_t health_every_ms(const struct session *s) { return s->api->config.health_every_ms ? s->api->config.health_every_ms : HEALTH_EVERY_MS; }

static void attach(struct session *s, nh_extension extension)
{
	struct extensions *x = s->extensions;
	x->attached |= NH_EXT_BIT(extension);
	if (extension == NH_EXT_LOCAL_SHELL)
		shell_open(s);
	if (extension == NH_EXT_HEALTH)
		x->health_due_ms = nh_loop_now_ms(s->loop) + health_every_ms(s);
	for (size_t i = 0; i < NH_ARRAY_LEN(rows); i++)
		if (rows[i].extension == extension && rows[i].request)
			say(s, rows[i].request, NH_SLICE_EMPTY);
}

static void detach(struct extensions *x, nh_extension extension)
{
	x->attached &= ~NH_EXT_BIT(extension);
	if (extension == NH_EXT_LOCAL_SHELL)
		shell_close(x);
}

/* ---- joining and settings ------------------------------------------------------------------------------------------------ */

static nh_rc allowed_run(struct nh_ctx *ctx, struct job *job, struct nh_err *err)
{
	return nh_extensions_allowed(ctx, job->hub.device_id, &job->allowed, err);
}

static unsigned offered(const json_t *payload)
{
	unsigned mask = 0;
	for (nh_extension e = 0; e < NH_EXTENSIONS; e++)
		if (nh_extension_version_ok(nh_json_text(payload, nh_extension_name(e))))
			mask |= NH_EXT_BIT(e);
	return mask;
}

static void stop(struct extensions *x)
{
	shell_close(x);
	x->attached = 0;
}

static void failed(const struct session *s, const struct job *job)
{
	NH_LOG(job_level(job->rc), "device.extensions_failed", NH_I("device_id", s->hub.device_id), NH_STR("why", job->err.msg));
}

static void join_done(struct nh_conn *conn, struct session *s, struct job *job)
{
	struct extensions *x = s->extensions;
	if (job->rc != NH_OK)
		failed(s, job);
	if (!conn)
		return;
	if (job->rc != NH_OK) {
		socket_reply(conn, s, &job->message, nh_phoenix_join_ref_of(&job->message), "error", json_pack("{s:s}", "reason", "join crashed"));
		return;
	}
	x->offered = offered(job->message.payload);
	x->allowed = job->allowed;
	channel_enter(&x->channel, &job->message);
	socket_reply(conn, s, &job->message, job->message.join_ref, "ok", names(x->offered & x->allowed));
}

static void join(struct nh_conn *conn, struct session *s, struct nh_phoenix_message *m, struct nh_arena *arena)
{
	static const struct job_kind kind = {.name = "extensions", .reads = true, .run = allowed_run, .done = join_done};
	if (!s->extensions)
		s->extensions = nh_xcalloc(1, sizeof *s->extensions);
	channel_close(conn, s, &s->extensions->channel, m->topic);
	stop(s->extensions);
	s->extensions->stale = false;
	job_start(conn, job_new(s, &kind, m, arena));
}

static void leave(struct nh_conn *conn, struct session *s, const struct nh_phoenix_message *m)
{
	if (!s->extensions)
		return;
	channel_close(conn, s, &s->extensions->channel, m->topic);
	stop(s->extensions);
}

static void say_names(struct session *s, const char *event, unsigned mask)
{
	NH_AUTO_BUF struct nh_buf text = NH_BUF_INIT;
	NH_AUTO_JSON json_t *payload = json_object();
	if (mask == 0)
		return;
	json_object_set_new(payload, "extensions", names(mask));
	nh_json_put(&text, payload);
	say(s, event, nh_buf_slice(&text));
}

/* The device answers `attached` or `detached`; what is no longer allowed ends here without its consent. */
static void refresh_done(struct nh_conn *conn, struct session *s, struct job *job)
{
	struct extensions *x = s->extensions;
	if (job->rc != NH_OK)
		failed(s, job);
	if (!conn || job->rc != NH_OK || !x->channel.joined)
		return;
	unsigned before = x->allowed & x->offered, now = job->allowed & x->offered;
	x->allowed = job->allowed;
	for (nh_extension e = 0; e < NH_EXTENSIONS; e++)
		if (before & ~now & NH_EXT_BIT(e))
			detach(x, e);
	say_names(s, "detach", before & ~now);
	say_names(s, "attach", now & ~before);
}

void extensions_stale(struct session *s)
{
	if (!s->extensions)
		return;
	s->extensions->stale = true;
	if (!s->job_out)
		extensions_due(s->conn, s);
}

void extensions_due(struct nh_conn *conn, struct session *s)
{
	static const struct job_kind kind = {.name = "settings", .reads = true, .run = allowed_run, .done = refresh_done};
	struct extensions *x = s->extensions;
	if (!x || !x->channel.joined)
		return;
	uint64_t now_ms = nh_loop_now_ms(s->loop);
	if (x->attached & NH_EXT_BIT(NH_EXT_HEALTH) && now_ms >= x->health_due_ms) {
		x->health_due_ms = now_ms + health_every_ms(s);
		say(s, "health:check", NH_SLICE_EMPTY);
	}
	if (!x->stale)
		return;
	x->stale = false;
	struct nh_phoenix_message none = {0};
	struct nh_arena arena = NH_ARENA_INIT;
	job_start(conn, job_new(s, &kind, &none, &arena));
}

void extensions_close(struct session *s)
{
	if (!s->extensions)
		return;
	stop(s->extensions);
	free(s->extensions);
	s->extensions = NULL;
}

/* ---- what devices tell --------------------------------------------------------------------------------------------------- */

static nh_rc event_run(struct nh_ctx *ctx, struct job *job, struct nh_err *err)
{
	return nh_extension_event(ctx, &job->hub, job->extension, job->name, job->message.payload, &job->ignored, err);
}

/* False: it meant nothing. */
static bool attached_event(struct nh_conn *conn, struct session *s, nh_extension extension, nh_slice name, struct nh_phoenix_message *m, struct nh_arena *arena)
{
	static const struct job_kind kind = {.name = "extension", .run = event_run};
	struct extensions *x = s->extensions;
	if (!(x->attached & NH_EXT_BIT(extension)))
		return false;
	if (extension == NH_EXT_LOCAL_SHELL)
		return shell_event(x, name, m->payload);
	if (!nh_extension_bucket_take(&x->buckets[extension], extension, nh_loop_now_ms(s->loop))) {
		if (extension == NH_EXT_LOGGING)
			TALLY(s->api, log_lines_dropped);
		return extension == NH_EXT_LOGGING;
	}
	struct job *job = job_new(s, &kind, m, arena); /* name is text of the arena, which is the job's now */
	job->extension = extension;
	job->name = name;
	job_start(conn, job);
	return true;
}

static bool event(struct nh_conn *conn, struct session *s, struct nh_phoenix_message *m, struct nh_arena *arena)
{
	struct extensions *x = s->extensions;
	nh_slice key, name;
	if (!x || !x->channel.joined)
		return false;
	bool named = nh_slice_cut(m->event, ':', &key, &name);
	if (!named) {
		TALLY(s->api, unknown_events);
		return true;
	}
	if (!channel_takes(&x->channel, m)) {
		TALLY(s->api, ignored);
		return true;
	}
	nh_extension extension = nh_extension_find(key);
	bool ends = nh_slice_eq_str(name, "detached") || nh_slice_eq_str(name, "error");
	if (ends && extension < NH_EXTENSIONS) {
		detach(x, extension);
	} else if (extension == NH_EXTENSIONS || !(x->offered & x->allowed & NH_EXT_BIT(extension))) {
		TALLY(s->api, extensions_refused);
		if (m->ref.kind != NH_PHOENIX_REF_NULL && !ends)
			socket_reply(conn, s, m, channel_ref(&x->channel), "error", json_string("detach"));
	} else if (nh_slice_eq_str(name, "attached")) {
		attach(s, extension);
	} else if (!attached_event(conn, s, extension, name, m, arena)) {
		TALLY(s->api, ignored);
	}
	return true;
}

const struct channel_kind extensions_channel = {"extensions", join, leave, event};
