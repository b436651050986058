/*
 * A device's socket: identity at the upgrade, then the channels. Heartbeats and everything that changes nothing are answered on the loop; join and
 * events become one job at a time, a hub function inside one write transaction, whose effects follow after the reply.
 *
 * A device whose certificate the index knows is let in from memory, on the loop: the connection's row is written with its join, which asks the database
 * once more whether the device may come in (presence.c writes it where no join follows). Everybody else, and everybody while the database is known
 * to be away, goes through a worker: the database decides, and writes the row, before the upgrade is answered; an outage is a 503.
 *
 * A session outlives its connection only while a job is out: then the job's end tells presence of the disconnect, so that the last write about a
 * connection is always its end.
 *
 * source: reference/device-protocol "2.6", "4", "7"; reference/server-behaviour "2.2", "2.3"
 */
#include <stdlib.h>

#include "base/clock.h"
#include "base/log.h"
#include "device_api_int.h"
#include "hub/device_auth.h"

#define MESSAGE_MAX ((size_t)1 << 20)  /* device messages; console uploads and logs are a later matter */
#define SEEN_EVERY_MS (15 * 60 * 1000) /* source: reference/device-protocol "4" */
#define SEEN_JITTER_MS (5 * 60 * 1000)

#define HELD_MAX 16

struct held {
	struct held *next;
	struct nh_buf frame;
};

struct session {
	struct nh_device_api *api;
	struct nh_session hub;
	struct presence_begin *begin; /* the connection is not written yet; NULL once it is. While a job is out it is the job's. */
	const struct nh_phoenix_codec *codec;
	struct nh_conn_id id;
	struct nh_loop *loop;
	struct nh_progress_gate gate;
	uint64_t seen_due_ms;
	bool joined;             /* the device channel, as the peer knows it */
	bool opened, closed;
	bool job_out;
	bool joining;            /* the job is a join: what is pushed meanwhile waits for its reply */
	struct held *held;       /* oldest first */
	char join_ref[NH_PHOENIX_REF_MAX + 1];
	nh_phoenix_ref_kind join_ref_kind;
	uint16_t close_code;
};

/* ---- disconnect -------------------------------------------------------------------------------------------------------- */

static void disconnect(struct session *s)
{
	if (s->opened)
		registry_remove(&s->api->registry, s->hub.device_id, s->id);
	NH_LOG(NH_LOG_INFO, "device.disconnected", NH_I("device_id", s->hub.device_id), NH_I("code", s->close_code));
	if (!s->opened && s->begin)
		presence_begin_free(s->begin); /* no upgrade after all: nobody was here */
	else
		presence_ended(&s->api->presence, &s->hub, s->begin);
	free(s);
}

static void on_close(struct nh_conn *conn, void *session, uint16_t code)
{
	struct session *s = session;
	s->closed = true;
	s->close_code = code;
	if (!s->job_out)
		disconnect(s);
}

/* ---- sending ----------------------------------------------------------------------------------------------------------- */

static void send_frame(struct nh_conn *conn, const struct session *s, const struct nh_buf *frame)
{
	nh_ws_send(conn, s->codec->binary ? NH_WS_BINARY : NH_WS_TEXT, nh_buf_slice(frame));
}

static void reply(struct nh_conn *conn, const struct session *s, const struct nh_phoenix_message *request, struct nh_phoenix_ref join_ref, const char *status,
		  json_t *take_response)
{
	NH_AUTO_BUF struct nh_buf frame = NH_BUF_INIT;
	nh_phoenix_put_reply(s->codec, &frame, request, join_ref, status, take_response);
	json_decref(take_response);
	send_frame(conn, s, &frame);
}

static struct nh_phoenix_ref channel_ref(const struct session *s)
{
	return (struct nh_phoenix_ref){s->join_ref_kind, nh_slice_str(s->join_ref)};
}

/* Sends what was pushed while the device was joining, or throws it away (conn NULL). */
static void let_held_go(struct nh_conn *conn, struct session *s)
{
	for (struct held *h; (h = s->held) != NULL;) {
		s->held = h->next;
		if (conn)
			send_frame(conn, s, &h->frame);
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
	if (!s || (!s->joined && !s->joining))
		return;
	struct nh_buf frame = NH_BUF_INIT;
	struct nh_phoenix_message m = {.join_ref = NH_PHOENIX_NO_REF, .ref = NH_PHOENIX_NO_REF, .topic = NH_LIT("device"), .event = event, .payload_text = payload};
	s->codec->encode(&frame, &m);
	if (s->joining) {
		hold(s, &frame);
		return;
	}
	send_frame(conn, s, &frame);
	nh_buf_fini(&frame);
}

bool socket_push_frame(struct nh_conn *conn, struct nh_ws_frame *frame)
{
	const struct session *s = nh_conn_session(conn);
	if (!s || !s->joined || s->codec != &nh_phoenix_json_v2)
		return false;
	nh_ws_send_frame(conn, frame);
	return true;
}

/* ---- jobs: join and events --------------------------------------------------------------------------------------------- */

struct job {
	struct session *session;
	struct nh_session hub;      /* the session's, changed by a join */
	struct nh_arena arena;
	struct nh_effects effects;
	struct nh_phoenix_message message; /* texts in the arena */
	const struct nh_session_event *event; /* NULL: a join */
	const struct nh_opening *opening;     /* to be written with the join; else NULL */
	struct nh_join_result joined;
	nh_rc rc;
	struct nh_err err;
};

/*
 * Memory says which connection of a device is the newest here, and may only be asked once the row is ours: a connection that registers after that look writes after our
 * commit.
 */
static nh_rc join_tx(struct nh_ctx *ctx, struct job *job, struct nh_err *err)
{
	struct session *s = job->session;
	job->hub = s->hub;
	NH_TRY(nh_session_join(ctx, &job->hub, job->opening, job->message.payload, &job->joined, err));
	if (job->opening && !registry_is(&s->api->registry, s->hub.device_id, s->id))
		return NH_FAIL(err, NH_ECLOSED, "a newer connection of the device has replaced this one");
	return NH_OK;
}

static nh_rc job_tx(struct nh_tx *tx, void *arg, struct nh_err *err)
{
	struct job *job = arg;
	job->effects = (struct nh_effects){0};
	struct nh_ctx ctx = device_api_ctx(job->session->api, tx, &job->arena, &job->effects);
	if (job->event)
		return job->event->handle(&ctx, &job->hub, job->message.payload, err);
	return join_tx(&ctx, job, err);
}

static void job_run(void *worker, void *arg)
{
	struct job *job = arg;
	struct session *s = job->session;
	if (s->begin && presence_take(&s->api->presence, s->begin))
		job->opening = &s->begin->opening;
	job->rc = nh_db_write(s->api->config.db, job_tx, job, &job->err);
}

static void job_free(struct job *job)
{
	nh_phoenix_message_fini(&job->message);
	nh_arena_fini(&job->arena);
	free(job);
}

/* An outage is said once for all by who noticed it. */
static nh_log_level level_of(nh_rc rc) { return nh_rc_outage(rc) ? NH_LOG_DEBUG : NH_LOG_WARN; }

static void join_failed(struct nh_conn *conn, struct session *s, const struct job *job)
{
	NH_LOG(level_of(job->rc), "device.join_failed", NH_I("device_id", s->hub.device_id), NH_STR("why", job->err.msg));
	if (job->rc == NH_ENOTFOUND && job->opening && job->opening->pinned)
		certificates_forget(&s->api->certificates, job->opening->fingerprint);
	if (nh_rc_outage(job->rc))
		TALLY(s->api, unavailable);
	if (!conn)
		return;
	reply(conn, s, &job->message, nh_phoenix_join_ref_of(&job->message), "error", json_pack("{s:s}", "error", "could not connect"));
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
	if (job->rc != NH_OK) {
		join_failed(conn, s, job);
		return;
	}
	s->hub = job->hub;
	TALLY(s->api, joins);
	NH_LOG(NH_LOG_INFO, "device.joined", NH_I("device_id", s->hub.device_id), NH_I("group", job->joined.group_id));
	if (!conn)
		return;
	struct nh_phoenix_ref ref = nh_phoenix_join_ref_of(&job->message);
	size_t len = ref.text.len < NH_PHOENIX_REF_MAX ? ref.text.len : NH_PHOENIX_REF_MAX;
	for (size_t i = 0; i < len; i++)
		s->join_ref[i] = (char)ref.text.ptr[i];
	s->join_ref[len] = 0;
	s->join_ref_kind = ref.kind;
	s->joined = true;
	s->gate = (struct nh_progress_gate){0};
	/* Both refs are echoed as they came: clients recognise the join's answer by that. */
	reply(conn, s, &job->message, job->message.join_ref, "ok", NULL);
}

static void job_done(struct nh_conn *conn, void *arg)
{
	struct job *job = arg;
	struct session *s = job->session;
	s->job_out = s->joining = false;
	if (!job->event) {
		joined(conn, s, job);
		settle_begin(s, job);
		let_held_go(s->joined ? conn : NULL, s);
	}
	else if (job->rc != NH_OK && job->rc != NH_ECLOSED)
		NH_LOG(level_of(job->rc), "device.event_failed", NH_I("device_id", s->hub.device_id), NH_STR("event", job->event->name), NH_STR("why", job->err.msg));
	if (job->rc == NH_OK)
		nh_device_api_effects(s->api, &job->effects);
	job_free(job);
	if (s->closed)
		disconnect(s);
}

/* Takes the message (and the arena its texts live in). */
static void start_job(struct nh_conn *conn, struct session *s, const struct nh_session_event *event, struct nh_phoenix_message *message, struct nh_arena *arena)
{
	struct job *job = nh_xcalloc(1, sizeof *job);
	*job = (struct job){.session = s, .hub = s->hub, .arena = *arena, .message = *message, .event = event};
	*arena = NH_ARENA_INIT;
	message->payload = NULL;
	s->job_out = true;
	s->joining = event == NULL;
	nh_conn_work(conn, job_run, job_done, job);
}

/* ---- channels ---------------------------------------------------------------------------------------------------------- */

static json_t *reason(const char *text) { return json_pack("{s:s}", "reason", text); }

static void on_join(struct nh_conn *conn, struct session *s, struct nh_phoenix_message *m, struct nh_arena *arena)
{
	if (nh_slice_eq_str(m->topic, "device")) {
		if (s->joined) {
			NH_AUTO_BUF struct nh_buf frame = NH_BUF_INIT;
			nh_phoenix_put_channel_end(s->codec, &frame, "phx_close", m->topic, channel_ref(s), NULL);
			send_frame(conn, s, &frame);
			s->joined = false;
		}
		start_job(conn, s, NULL, m, arena);
	} else if (nh_slice_eq_str(m->topic, "extensions")) {
		/* No extension is wanted: an empty list; the client then stays quiet. source: reference/device-protocol "12.1" */
		reply(conn, s, m, m->join_ref, "ok", json_array());
	} else if (nh_slice_eq_str(m->topic, "console")) {
		reply(conn, s, m, m->join_ref, "ok", NULL);
	} else {
		reply(conn, s, m, m->join_ref, "error", reason("unmatched topic"));
	}
}

static void on_leave(struct nh_conn *conn, struct session *s, const struct nh_phoenix_message *m)
{
	NH_AUTO_BUF struct nh_buf frame = NH_BUF_INIT;
	reply(conn, s, m, m->join_ref, "ok", NULL);
	if (!nh_slice_eq_str(m->topic, "device") || !s->joined)
		return;
	s->joined = false;
	nh_phoenix_put_channel_end(s->codec, &frame, "phx_close", m->topic, channel_ref(s), NULL);
	send_frame(conn, s, &frame);
}

static void on_event(struct nh_conn *conn, struct session *s, struct nh_phoenix_message *m, struct nh_arena *arena)
{
	bool quiet = nh_slice_eq_str(m->topic, "console") || nh_slice_eq_str(m->topic, "extensions");
	if (quiet)
		return;
	if (!nh_slice_eq_str(m->topic, "device") || !s->joined) {
		reply(conn, s, m, NH_PHOENIX_NO_REF, "error", reason("unmatched topic"));
		return;
	}
	const struct nh_session_event *event = nh_session_event_find(m->event);
	if (!nh_phoenix_join_ref_current(channel_ref(s), m) || !event || !event->handle)
		return;
	if (nh_session_progress_due(&s->gate, m->event, m->payload, nh_loop_now_ms(s->loop)))
		start_job(conn, s, event, m, arena);
}

/* ---- presence ---------------------------------------------------------------------------------------------------------- */

/* A sign of life is worth a write only every quarter of an hour; spread, so that a fleet does not write at once. */
static uint64_t next_seen(const struct session *s, uint64_t now_ms) { return now_ms + SEEN_EVERY_MS + nh_rng_below(s->api->config.rng, SEEN_JITTER_MS); }

static void seen(struct session *s)
{
	uint64_t now_ms = nh_loop_now_ms(s->loop);
	if (now_ms >= s->seen_due_ms && presence_seen(&s->api->presence, &s->hub))
		s->seen_due_ms = next_seen(s, now_ms);
}

/* ---- the socket -------------------------------------------------------------------------------------------------------- */

static void on_message(struct nh_conn *conn, void *session, nh_ws_opcode opcode, nh_slice data)
{
	struct session *s = session;
	struct nh_err err = NH_ERR_INIT;
	NH_AUTO_ARENA struct nh_arena arena = NH_ARENA_INIT;
	struct nh_phoenix_message m = {0};
	TALLY(s->api, messages);
	/* source: reference/device-protocol "4": what cannot be decoded ends the socket with 1011 */
	if ((opcode == NH_WS_BINARY) != s->codec->binary || s->codec->decode(&arena, data, MESSAGE_MAX, &m, &err) != NH_OK) {
		nh_ws_close(conn, NH_WS_CLOSE_INTERNAL, NH_SLICE_EMPTY);
		return;
	}
	if (nh_phoenix_is_heartbeat(&m))
		reply(conn, s, &m, NH_PHOENIX_NO_REF, "ok", NULL);
	else if (nh_slice_eq_str(m.event, "phx_join"))
		on_join(conn, s, &m, &arena);
	else if (nh_slice_eq_str(m.event, "phx_leave"))
		on_leave(conn, s, &m);
	else
		on_event(conn, s, &m, &arena);
	nh_phoenix_message_fini(&m);
	seen(s);
}

static void close_replaced(struct nh_conn *conn, struct nh_conn_message *message)
{
	if (conn)
		nh_ws_close(conn, NH_WS_CLOSE_GOING_AWAY, NH_SLICE_EMPTY);
	free(message);
}

static void on_open(struct nh_conn *conn, void *session)
{
	struct session *s = session;
	struct nh_conn_id old;
	s->id = nh_conn_id_of(conn);
	s->loop = nh_conn_loop(conn);
	s->opened = true;
	s->seen_due_ms = next_seen(s, nh_loop_now_ms(s->loop));
	registry_put(&s->api->registry, s->hub.device_id, s->id, &old);
	if (s->begin)
		presence_began(&s->api->presence, s->begin, s->id);
	if (old.generation == 0)
		return;
	TALLY(s->api, replaced);
	struct nh_conn_message *message = nh_xcalloc(1, sizeof *message);
	message->fn = close_replaced;
	nh_server_send(s->api->server, old, message);
}

struct nh_ws_handler socket_handler(uint64_t idle_ms)
{
	return (struct nh_ws_handler){.max_message_bytes = MESSAGE_MAX, .idle_ms = idle_ms, .on_open = on_open, .on_message = on_message, .on_close = on_close};
}

/* ---- the upgrade ------------------------------------------------------------------------------------------------------- */

/* source: reference/device-protocol "2.6" */
static void refuse(struct nh_response *res, unsigned status, const char *text)
{
	if (*text)
		nh_response_header(res, "nh-connection-error-reason", nh_slice_str(text));
	nh_response_send(res, status, *text ? "text/plain; charset=utf-8" : NULL, nh_slice_str(text));
}

#define NOTHING_GIVEN "no certificate pair or shared secrets connection settings were provided"
#define RETRY_AFTER_S "5"
#define NOT_REACHED "the platform could not be reached to authenticate this device"

static nh_rc authenticate_secret(struct nh_device_api *api, struct nh_request *req, int64_t *device_id, struct nh_err *err)
{
	struct nh_nh1_headers headers = {nh_request_header(req, "x-nh-alg"), nh_request_header(req, "x-nh-key"), nh_request_header(req, "x-nh-time"),
					 nh_request_header(req, "x-nh-signature")};
	struct nh_effects effects = {0};
	struct nh_auth_verdict verdict = {0};
	struct nh_auth_env env = {api->config.db, req->arena, api->config.clock, api->config.rng, api->config.hub, &effects};
	NH_TRY(nh_device_auth_secret(&env, &headers, &verdict, err));
	if (!verdict.accepted) {
		NH_LOG(NH_LOG_INFO, "device.refused", NH_S("device", verdict.identifier), NH_STR("reason", nh_auth_reason_name(verdict.reason)), NH_S("remote", req->remote));
		return NH_EAUTH;
	}
	nh_device_api_effects(api, &effects);
	*device_id = verdict.device_id;
	return NH_OK;
}

struct connect_call {
	struct nh_device_api *api;
	struct nh_arena *arena;
	struct nh_opening opening;
	struct nh_session session;
	struct nh_effects effects;
};

static nh_rc connect_tx(struct nh_tx *tx, void *arg, struct nh_err *err)
{
	struct connect_call *call = arg;
	call->effects = (struct nh_effects){0};
	struct nh_ctx ctx = device_api_ctx(call->api, tx, call->arena, &call->effects);
	return nh_session_connect(&ctx, &call->opening, &call->session, err);
}

static bool has_secret_headers(const struct nh_request *req)
{
	for (size_t i = 0; i < req->headers->count; i++)
		if (nh_slice_ieq(nh_slice_sub(req->headers->items[i].name, 0, 2), NH_LIT("x-")))
			return true;
	return false;
}

static nh_slice fingerprint_of(const struct nh_request *req)
{
	return req->fingerprint ? nh_slice_of(req->fingerprint, NH_TLS_FINGERPRINT_LEN) : NH_SLICE_EMPTY;
}

static nh_rc connect_device(struct nh_device_api *api, struct nh_request *req, struct connect_call *call, struct nh_err *err)
{
	int64_t device_id = req->peer_tag;
	/* A client certificate decides alone: shared-secret headers beside it are ignored. */
	if (!req->fingerprint)
		NH_TRY(authenticate_secret(api, req, &device_id, err));
	if (device_id == 0)
		return NH_EAUTH;
	nh_opening_make(&call->opening, device_id, fingerprint_of(req), api->config.clock, api->config.rng);
	nh_rc rc = nh_db_write(api->config.db, connect_tx, call, err);
	if (rc == NH_ENOTFOUND && req->fingerprint)
		certificates_forget(&api->certificates, req->fingerprint);
	return rc == NH_ENOTFOUND ? NH_EAUTH : rc;
}

static void refuse_for(struct nh_device_api *api, struct nh_response *res, nh_rc rc, const struct nh_err *err)
{
	if (rc == NH_EAUTH) {
		TALLY(api, refused);
		refuse(res, 401, "");
		return;
	}
	TALLY(api, unavailable);
	NH_LOG(nh_rc_outage(rc) ? NH_LOG_DEBUG : NH_LOG_ERROR, "device.connect_failed", NH_STR("why", err->msg));
	nh_response_header(res, "Retry-After", NH_LIT(RETRY_AFTER_S));
	refuse(res, 503, NOT_REACHED);
}

/* *codec NULL: a version that nobody speaks. NH_EFORMAT: the query cannot be read. */
static nh_rc codec_of(const struct nh_request *req, const struct nh_phoenix_codec **codec)
{
	nh_slice vsn = NH_SLICE_EMPTY;
	*codec = NULL;
	if (nh_http_query_get(req->query, "vsn", req->arena, &vsn) == NH_EFORMAT)
		return NH_EFORMAT;
	*codec = nh_phoenix_codec_for_vsn(vsn);
	return NH_OK;
}

static struct session *session_new(struct nh_device_api *api, const struct nh_phoenix_codec *codec)
{
	struct session *s = nh_xcalloc(1, sizeof *s);
	s->api = api;
	s->codec = codec;
	return s;
}

/*
 * What the handshake knew still holds: the index is asked again, as the certificate may have been removed since. While the database is known to be away nobody is
 * let in only to find that it cannot join.
 */
bool socket_upgrade_at_once(struct nh_request *req, struct nh_response *res)
{
	struct nh_device_api *api = req->app;
	const struct nh_phoenix_codec *codec = NULL;
	if (!req->fingerprint || req->peer_tag == 0 || certificates_find(&api->certificates, req->fingerprint) != req->peer_tag || !nh_db_available(api->config.db))
		return false;
	if (codec_of(req, &codec) != NH_OK || !codec)
		return false;
	struct session *s = session_new(api, codec);
	s->begin = presence_begin_new(&api->presence, req->peer_tag, fingerprint_of(req));
	s->hub = nh_session_of(&s->begin->opening);
	nh_response_upgrade(res, &api->handler, s);
	return true;
}

void socket_upgrade(struct nh_request *req, struct nh_response *res)
{
	struct nh_device_api *api = req->app;
	struct nh_err err = NH_ERR_INIT;
	const struct nh_phoenix_codec *codec = NULL;
	if (codec_of(req, &codec) != NH_OK) {
		refuse(res, 403, "");
		return;
	}
	if (!req->fingerprint && !has_secret_headers(req)) {
		refuse(res, 401, NOTHING_GIVEN);
		return;
	}
	if (!codec) {
		refuse(res, 403, "");
		return;
	}
	struct connect_call call = {.api = api, .arena = req->arena};
	nh_rc rc = connect_device(api, req, &call, &err);
	if (rc != NH_OK) {
		refuse_for(api, res, rc, &err);
		return;
	}
	nh_device_api_effects(api, &call.effects);
	struct session *s = session_new(api, codec);
	s->hub = call.session;
	nh_response_upgrade(res, &api->handler, s);
}
