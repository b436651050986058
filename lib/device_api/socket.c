/*
 * A device's connection once it is open: frames in and out, one job at a time, signs of life, floods. Heartbeats and everything that changes nothing are
 * answered on the loop; what changes something becomes one job, a hub function inside one transaction, whose effects follow after the reply.
 *
 * A session outlives its connection only while a job is out: then the job's end tells presence of the disconnect, so that the last write about a
 * connection is always its end.
 *
 * source: reference/device-protocol "3", "4"; reference/server-behaviour "2.2", "2.3", "10"
 */
#include <stdlib.h>

#include "base/clock.h"
#include "base/log.h"
#include "socket_int.h"

#define MESSAGE_UNIT ((size_t)4 << 10) /* what counts as one message */
#define JOB_BYTES (3 * MESSAGE_UNIT)   /* and what a job is worth, beside its message */
#define MESSAGE_MAX ((size_t)1 << 20)  /* the largest that any client sends is a health report of some KiB */
#define SEEN_EVERY_MS (15 * 60 * 1000) /* source: reference/device-protocol "4" */
#define SEEN_JITTER_MS (5 * 60 * 1000)
#define MESSAGES_PER_SECOND 100
#define BURST_S 10  /* so many seconds' worth of messages may come at once */
#define REST_MS 100 /* then the device is not read for so long */

/* ---- the end ----------------------------------------------------------------------------------------------------------- */

static void disconnect(struct session *s)
{
	if (s->opened)
		registry_remove(&s->api->registry, s->hub.device_id, s->id);
	NH_LOG(NH_LOG_INFO, "device.disconnected", NH_I("device_id", s->hub.device_id), NH_I("code", s->close_code));
	if (!s->opened && s->begin)
		presence_begin_free(s->begin); /* no upgrade after all: nobody was here */
	else
		presence_ended(&s->api->presence, &s->hub, s->begin);
	free(s->topic);
	free(s);
}

static void on_close(struct nh_conn *conn, void *session, uint16_t code)
{
	struct session *s = session;
	channels_close(s);
	s->conn = NULL;
	s->closed = true;
	s->close_code = code;
	if (!s->job_out)
		disconnect(s);
}

/* ---- sending ----------------------------------------------------------------------------------------------------------- */

void socket_send(struct nh_conn *conn, const struct session *s, const struct nh_buf *frame)
{
	nh_ws_send(conn, s->codec->binary ? NH_WS_BINARY : NH_WS_TEXT, nh_buf_slice(frame));
}

void socket_reply(struct nh_conn *conn, const struct session *s, const struct nh_phoenix_message *request, struct nh_phoenix_ref join_ref, const char *status,
		  json_t *take_response)
{
	NH_AUTO_BUF struct nh_buf frame = NH_BUF_INIT;
	nh_phoenix_put_reply(s->codec, &frame, request, join_ref, status, take_response);
	json_decref(take_response);
	socket_send(conn, s, &frame);
}

void socket_say(struct nh_conn *conn, const struct session *s, const struct channel *c, nh_slice topic, nh_slice event, nh_slice payload)
{
	NH_AUTO_BUF struct nh_buf frame = NH_BUF_INIT;
	struct nh_phoenix_message m = {.join_ref = channel_ref(c), .topic = topic, .event = event, .payload_text = payload};
	s->codec->encode(&frame, &m);
	socket_send(conn, s, &frame);
}

/* A long message counts as several: a thousand of the longest at once would otherwise be a gigabyte. So does one that becomes a job, as that is a transaction. */
static uint64_t cost_us(const struct session *s, size_t bytes)
{
	unsigned rate = s->api->config.messages_per_second;
	return (1 + bytes / MESSAGE_UNIT) * 1000000 / (rate ? rate : MESSAGES_PER_SECOND);
}

/* ---- jobs -------------------------------------------------------------------------------------------------------------- */

nh_log_level job_level(nh_rc rc) { return nh_rc_outage(rc) ? NH_LOG_DEBUG : NH_LOG_WARN; }

static nh_rc job_tx(struct nh_tx *tx, void *arg, struct nh_err *err)
{
	struct job *job = arg;
	job->effects = (struct nh_effects){0};
	job->ignored = 0;
	struct nh_ctx ctx = device_api_ctx(job->session->api, tx, &job->arena, job->kind->reads ? NULL : &job->effects);
	return job->kind->run(&ctx, job, err);
}

static void job_run(void *worker, void *arg)
{
	struct job *job = arg;
	struct session *s = job->session;
	struct nh_db *db = s->api->config.db;
	struct nh_log_scope device = NH_LOG_SCOPE_I("device_id", s->hub.device_id), connection = NH_LOG_SCOPE("connection", nh_slice_str(s->hub.connection_id));
	nh_log_enter(&device);
	nh_log_enter(&connection);
	if (job->kind->joins && s->begin && presence_take(&s->api->presence, s->begin))
		job->opening = &s->begin->opening;
	job->rc = job->kind->reads ? nh_db_read(db, job_tx, job, &job->err) : nh_db_write(db, job_tx, job, &job->err);
	nh_log_leave(&connection);
	nh_log_leave(&device);
}

static void rest_if_flooding(struct nh_conn *conn, struct session *s);

/* The job is back, or the rest is over. */
static void go_on(struct nh_conn *conn, struct session *s)
{
	if (s->closed) {
		disconnect(s);
		return;
	}
	if (!conn)
		return; /* closing: on_close follows */
	extensions_due(conn, s);
	if (!s->job_out)
		rest_if_flooding(conn, s);
}

static void job_done(struct nh_conn *conn, void *arg)
{
	struct job *job = arg;
	struct session *s = job->session;
	s->job_out = false;
	for (unsigned i = 0; i < job->ignored; i++)
		TALLY(s->api, ignored);
	if (job->kind->done)
		job->kind->done(conn, s, job);
	else if (job->rc != NH_OK && job->rc != NH_ECLOSED)
		NH_LOG(job_level(job->rc), "device.event_failed", NH_I("device_id", s->hub.device_id), NH_STR("connection", s->hub.connection_id), NH_STR("event", job->kind->name), NH_STR("why", job->err.msg));
	if (job->rc == NH_OK)
		nh_device_api_effects(s->api, &job->effects);
	nh_phoenix_message_fini(&job->message);
	nh_arena_fini(&job->arena);
	free(job);
	go_on(conn, s);
}

struct job *job_new(struct session *s, const struct job_kind *kind, struct nh_phoenix_message *message, struct nh_arena *arena)
{
	struct job *job = nh_xcalloc(1, sizeof *job);
	*job = (struct job){.kind = kind, .session = s, .hub = s->hub, .arena = *arena, .message = *message};
	*arena = NH_ARENA_INIT;
	message->payload = NULL;
	return job;
}

void job_start(struct nh_conn *conn, struct job *take_job)
{
	struct session *s = take_job->session;
	s->job_out = true;
	s->flood_us += cost_us(s, JOB_BYTES);
	take_job->begun_us = nh_mono_us();
	nh_conn_work(conn, job_run, job_done, take_job);
}

/* ---- floods ------------------------------------------------------------------------------------------------------------ */

static void rested(struct nh_conn *conn, void *arg)
{
	struct session *s = arg;
	s->job_out = false;
	go_on(conn, s);
}

/* A device that says too much is heard more slowly: what it sends waits in its own socket. Nothing is thrown away, as messages may be all it has to say about a broken machine. */
static void rest_if_flooding(struct nh_conn *conn, struct session *s)
{
	if (s->flood_us <= nh_loop_now_ms(s->loop) * 1000 + BURST_S * UINT64_C(1000000))
		return;
	TALLY(s->api, floods);
	s->job_out = true;
	nh_conn_rest(conn, REST_MS, rested, s);
}

static void count_message(struct session *s, size_t bytes)
{
	uint64_t now_us = nh_loop_now_ms(s->loop) * 1000;
	TALLY(s->api, messages);
	s->flood_us = (s->flood_us > now_us ? s->flood_us : now_us) + cost_us(s, bytes);
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

/* V2 has a second kind of frame for payloads of raw bytes; no channel here takes any, but who sends them is no reason to hang up. */
static nh_rc decode(const struct session *s, nh_ws_opcode opcode, nh_slice data, struct nh_arena *arena, struct nh_phoenix_message *m, struct nh_err *err)
{
	bool binary = opcode == NH_WS_BINARY;
	if (binary && s->codec == &nh_phoenix_json_v2)
		return nh_phoenix_decode_bytes(arena, data, m, err);
	if (binary != s->codec->binary)
		return NH_FAIL(err, NH_EFORMAT, "a frame of the other kind");
	return s->codec->decode(arena, data, MESSAGE_MAX, m, err);
}

static void on_message(struct nh_conn *conn, void *session, nh_ws_opcode opcode, nh_slice data)
{
	struct session *s = session;
	struct nh_err err = NH_ERR_INIT;
	NH_AUTO_ARENA struct nh_arena arena = NH_ARENA_INIT;
	struct nh_phoenix_message m = {0};
	count_message(s, data.len);
	/* source: reference/device-protocol "4": what cannot be decoded ends the socket with 1011 */
	if (decode(s, opcode, data, &arena, &m, &err) != NH_OK) {
		nh_ws_close(conn, NH_WS_CLOSE_INTERNAL, NH_SLICE_EMPTY);
		return;
	}
	if (nh_phoenix_is_heartbeat(&m))
		socket_reply(conn, s, &m, NH_PHOENIX_NO_REF, "ok", NULL);
	else
		channels_message(conn, s, &m, &arena);
	nh_phoenix_message_fini(&m);
	seen(s);
	if (!s->job_out)
		go_on(conn, s);
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
	s->conn = conn;
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

bool socket_is(struct nh_conn *conn, nh_slice connection_id)
{
	const struct session *s = nh_conn_session(conn);
	return s && nh_slice_eq_str(connection_id, s->hub.connection_id);
}

/* The device has read what people said to it. */
static void on_drained(struct nh_conn *conn, void *session)
{
	struct session *s = session;
	console_drained(s);
	extensions_drained(s);
}

struct nh_ws_handler socket_handler(uint64_t idle_ms)
{
	return (struct nh_ws_handler){.max_message_bytes = MESSAGE_MAX, .idle_ms = idle_ms, .on_open = on_open, .on_message = on_message, .on_drained = on_drained, .on_close = on_close};
}
