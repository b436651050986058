/*
 * The device channel: the join, what the device reports, what is pushed to it, and its progress for whoever looks on.
 *
 * Clients up to link 2.9 crash on an answer to what they push, so nothing is answered but the join, and the one question that devices of API 2.0 and 2.1 ask.
 *
 * source: reference/device-protocol "3.7", "7" to "9"; reference/user-api-and-cli "16.4"
 */
#include <stdlib.h>

#include "base/log.h"
#include "hub/updates.h"
#include "socket_int.h"

#define HELD_MAX 16
#define NO_UPDATE "{\"update_available\":false}" /* without firmware_url, which the first clients take for an update whatever its value */

static nh_slice topic_of(const struct session *s) { return s->topic ? nh_slice_str(s->topic) : NH_LIT("device"); }

/* ---- pushes ------------------------------------------------------------------------------------------------------------ */

struct held {
	struct held *next;
	struct nh_buf frame;
};

/* Sends what was pushed while the device was joining, or throws it away (conn NULL). */
static void let_held_go(struct nh_conn *conn, struct session *s)
{
	for (struct held *h; (h = s->held) != NULL;) {
		s->held = h->next;
		if (conn)
			socket_send(conn, s, &h->frame);
		nh_buf_fini(&h->frame);
		free(h);
	}
}

static void hold(struct session *s, struct nh_buf *take_frame)
{
	struct held **at = &s->held;
	size_t count = 0;
	for (; *at; at = &(*at)->next)
		count++;
	if (count == HELD_MAX) {
		nh_buf_fini(take_frame);
		return;
	}
	*at = nh_xcalloc(1, sizeof **at);
	(*at)->frame = *take_frame;
}

/*
 * From the commit of its join on a device counts as connected, and the orchestrator may send it an update before the loop has heard of the join: such a
 * push waits for the reply.
 */
void socket_push(struct nh_conn *conn, nh_slice event, nh_slice payload)
{
	struct session *s = nh_conn_session(conn);
	if (!s || (!s->device.joined && !s->joining))
		return;
	struct nh_buf frame = NH_BUF_INIT;
	struct nh_phoenix_message m = {.join_ref = NH_PHOENIX_NO_REF, .ref = NH_PHOENIX_NO_REF, .topic = topic_of(s), .event = event, .payload_text = payload};
	s->codec->encode(&frame, &m);
	if (s->joining) {
		hold(s, &frame);
		return;
	}
	socket_send(conn, s, &frame);
	nh_buf_fini(&frame);
}

bool socket_push_frame(struct nh_conn *conn, struct nh_ws_frame *frame)
{
	const struct session *s = nh_conn_session(conn);
	if (!s || !s->device.joined || s->topic || s->codec != &nh_phoenix_json_v2)
		return false;
	nh_ws_send_frame(conn, frame);
	return true;
}

void socket_settings(struct nh_conn *conn)
{
	struct session *s = nh_conn_session(conn);
	if (s)
		extensions_stale(s);
}

void device_say(struct session *s, nh_slice event, nh_slice payload) { socket_say(s->conn, s, &s->device, topic_of(s), event, payload); }

/* ---- join -------------------------------------------------------------------------------------------------------------- */

/*
 * Memory says which connection of a device is the newest here, and may only be asked once the row is ours: a connection that registers after that look writes after our
 * commit.
 */
static nh_rc join_run(struct nh_ctx *ctx, struct job *job, struct nh_err *err)
{
	struct session *s = job->session;
	const struct nh_geo_resolver *geo = s->api->config.geo;
	job->hub = s->hub;
	NH_TRY(nh_session_join(ctx, &job->hub, job->opening, job->message.payload, &job->joined, err));
	if (job->opening && !registry_is(&s->api->registry, s->hub.device_id, s->id))
		return NH_FAIL(err, NH_ECLOSED, "a newer connection of the device has replaced this one");
	return geo && job->remote.len ? nh_geo_observe(ctx, &job->hub, geo, job->remote, err) : NH_OK;
}

static void join_failed(struct nh_conn *conn, struct session *s, const struct job *job)
{
	NH_LOG(job_level(job->rc), "device.join_failed", NH_I("device_id", s->hub.device_id), NH_STR("connection", s->hub.connection_id), NH_STR("why", job->err.msg));
	if (job->rc == NH_ENOTFOUND && job->opening && job->opening->pinned)
		certificates_forget(&s->api->certificates, job->opening->fingerprint);
	if (nh_rc_outage(job->rc))
		TALLY(s->api, unavailable);
	if (!conn)
		return;
	socket_reply(conn, s, &job->message, nh_phoenix_join_ref_of(&job->message), "error", json_pack("{s:s}", "error", "could not connect"));
	/* A newer connection of the device owns its row, or the device is let in no more: this one can never join, and its client would try for ever. */
	if (job->rc == NH_ECLOSED || job->rc == NH_ENOTFOUND)
		nh_ws_close(conn, NH_WS_CLOSE_GOING_AWAY, NH_SLICE_EMPTY);
}

/* The beginning after a join: written with it or before, or still to be written. */
static void settle_begin(struct session *s, const struct job *job)
{
	if (!s->begin)
		return;
	if (job->opening && job->rc != NH_OK) {
		presence_give_back(&s->api->presence, s->begin);
		return;
	}
	presence_begin_free(s->begin);
	s->begin = NULL;
}

static void joined(struct nh_conn *conn, struct session *s, struct job *job)
{
	s->hub = job->hub;
	TALLY(s->api, joins);
	nh_histogram_add(&s->api->stats.join_us, nh_mono_us() - job->begun_us);
	if (job->joined.update_us > 0)
		nh_histogram_add(&s->api->stats.update_ms, (uint64_t)job->joined.update_us / 1000);
	registry_set_product(&s->api->registry, s->hub.device_id, s->id, s->hub.product_id);
	NH_LOG(NH_LOG_INFO, "device.joined", NH_I("device_id", s->hub.device_id), NH_STR("connection", s->hub.connection_id), NH_I("group", job->joined.group_id));
	if (!conn)
		return;
	channel_enter(&s->device, &job->message);
	s->gate = (struct nh_progress_gate){0};
	/* Both refs are echoed as they came: clients recognise the join's answer by that. */
	socket_reply(conn, s, &job->message, job->message.join_ref, "ok", NULL);
	scripts_open(s);
}

static void join_done(struct nh_conn *conn, struct session *s, struct job *job)
{
	s->joining = false;
	if (job->rc == NH_OK)
		joined(conn, s, job);
	else
		join_failed(conn, s, job);
	settle_begin(s, job);
	let_held_go(s->device.joined ? conn : NULL, s);
}

/* A client that knows its channel by the firmware may leave out of the payload what the topic says. */
static void name_firmware(const struct nh_phoenix_message *m)
{
	if (nh_slice_eq_str(m->topic, "device") || !json_is_object(m->payload) || json_object_get(m->payload, "nerves_fw_uuid"))
		return;
	json_object_set_new(m->payload, "nerves_fw_uuid", nh_json_new_text(nh_slice_skip(m->topic, strlen(FIRMWARE_TOPIC))));
}

static void join(struct nh_conn *conn, struct session *s, struct nh_phoenix_message *m, struct nh_arena *arena)
{
	static const struct job_kind kind = {.name = "phx_join", .joins = true, .run = join_run, .done = join_done};
	channel_close(conn, s, &s->device, topic_of(s));
	scripts_close(s);
	name_firmware(m);
	free(s->topic); /* from now on, as what is pushed while it joins is framed before the join is through */
	s->topic = nh_slice_eq_str(m->topic, "device") ? NULL : nh_xstrdup(m->topic);
	struct job *job = job_new(s, &kind, m, arena);
	if (s->api->config.geo)
		job->remote = nh_conn_remote(conn, &job->arena);
	s->joining = true;
	job_start(conn, job);
}

static void leave(struct nh_conn *conn, struct session *s, const struct nh_phoenix_message *m)
{
	if (!nh_slice_eq(m->topic, topic_of(s)))
		return;
	scripts_close(s);
	channel_close(conn, s, &s->device, topic_of(s));
}

/* ---- events ------------------------------------------------------------------------------------------------------------ */

static nh_rc event_run(struct nh_ctx *ctx, struct job *job, struct nh_err *err) { return job->event->handle(ctx, &job->hub, job->message.payload, err); }

/* What people see who look at the device now; nothing of it is kept. */
static void show_progress(struct session *s, const json_t *payload)
{
	struct nh_relay *relay = s->api->config.relay;
	const json_t *value = json_object_get(payload, "value");
	if (!relay || !json_is_number(value) || !nh_relay_watched(relay, s->hub.device_id, NH_RELAY_EVENTS))
		return;
	double percent = json_number_value(value);
	nh_update_stage stage = nh_update_stage_parse(nh_json_text(payload, "stage"));
	bool named = stage == NH_STAGE_DOWNLOADING || stage == NH_STAGE_UPDATING;
	NH_AUTO_BUF struct nh_buf text = NH_BUF_INIT;
	nh_buf_printf(&text, "{\"percent\":%d,\"stage\":%s%s%s}", percent <= 0 ? 0 : percent >= 100 ? 100 : (int)percent, named ? "\"" : "",
		      named ? nh_update_stage_name(stage) : "null", named ? "\"" : "");
	if (!s->progress)
		s->progress = nh_relay_device_open(relay, s->hub.device_id, NH_RELAY_EVENTS, NH_SLICE_EMPTY, s->loop, NULL, NULL);
	nh_relay_device_say(s->progress, NH_LIT("firmware_update"), nh_buf_slice(&text), NH_SLICE_EMPTY);
}

static bool is_progress(nh_slice event) { return nh_slice_eq_str(event, "fwup_progress") || nh_slice_eq_str(event, "update_progress"); }

/* ---- what devices of API 2.0 and 2.1 say on this channel; source: reference/device-protocol "9.6" */

static nh_rc ask_run(struct nh_ctx *ctx, struct job *job, struct nh_err *err) { return nh_session_ask_update(ctx, &job->hub, &job->answer, err); }

/* These clients wait for the answer, as no later ones do. */
static void ask_done(struct nh_conn *conn, struct session *s, struct job *job)
{
	json_t *answer = NULL;
	if (job->rc != NH_OK)
		NH_LOG(job_level(job->rc), "device.event_failed", NH_I("device_id", s->hub.device_id), NH_STR("event", job->kind->name), NH_STR("why", job->err.msg));
	nh_slice text = job->rc == NH_OK && job->answer.len ? job->answer : NH_LIT(NO_UPDATE);
	if (conn && nh_json_parse(text, text.len, &answer, NULL) == NH_OK)
		socket_reply(conn, s, &job->message, channel_ref(&s->device), "ok", answer);
}

static nh_rc older_run(struct nh_ctx *ctx, struct job *job, struct nh_err *err)
{
	unsigned allowed = 0;
	NH_TRY(nh_extensions_allowed(ctx, job->hub.device_id, &allowed, err));
	if (!(allowed & NH_EXT_BIT(job->extension)))
		return NH_OK;
	return nh_extension_event(ctx, &job->hub, job->extension, job->name, job->message.payload, &job->ignored, err);
}

/* Events that later moved to the extensions channel. */
static const struct {
	const char *event;
	nh_extension extension;
	const char *name;
} older_events[] = {
	{"location:update", NH_EXT_GEO, "location:update"},
	{"health_check_report", NH_EXT_HEALTH, "report"},
};

static bool older_event(struct nh_conn *conn, struct session *s, struct nh_phoenix_message *m, struct nh_arena *arena)
{
	static const struct job_kind ask = {.name = "check_update_available", .run = ask_run, .done = ask_done};
	static const struct job_kind older = {.name = "extension of API 2.1", .run = older_run};
	if (nh_slice_eq_str(m->event, ask.name)) {
		if (m->ref.kind != NH_PHOENIX_REF_NULL)
			job_start(conn, job_new(s, &ask, m, arena));
		return true;
	}
	for (size_t i = 0; i < NH_ARRAY_LEN(older_events); i++) {
		if (!nh_slice_eq_str(m->event, older_events[i].event))
			continue;
		struct job *job = job_new(s, &older, m, arena);
		job->extension = older_events[i].extension;
		job->name = nh_slice_str(older_events[i].name);
		job_start(conn, job);
		return true;
	}
	return false;
}

static bool event(struct nh_conn *conn, struct session *s, struct nh_phoenix_message *m, struct nh_arena *arena)
{
	static const struct job_kind kind = {.name = "event", .run = event_run};
	if (!s->device.joined || !nh_slice_eq(m->topic, topic_of(s)))
		return false;
	if (!channel_takes(&s->device, m)) {
		TALLY(s->api, ignored);
		return true;
	}
	if (nh_slice_eq_str(m->event, "scripts/run")) {
		scripts_answer(s, m->payload);
		return true;
	}
	const struct nh_session_event *event = nh_session_event_find(m->event);
	if (!event) {
		if (!older_event(conn, s, m, arena))
			TALLY(s->api, unknown_events);
		return true;
	}
	if (event->sound && !event->sound(m->payload)) {
		TALLY(s->api, ignored);
		return true;
	}
	if (is_progress(m->event))
		show_progress(s, m->payload);
	if (event->handle && nh_session_progress_due(&s->gate, m->event, m->payload, nh_loop_now_ms(s->loop))) {
		struct job *job = job_new(s, &kind, m, arena);
		job->event = event;
		job_start(conn, job);
	}
	return true;
}

void device_close(struct session *s)
{
	let_held_go(NULL, s);
	nh_relay_device_close(s->progress);
	s->progress = NULL;
}

const struct channel_kind device_channel = {"device", join, leave, event};
