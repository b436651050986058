/*
 * A socket of one person: its channels, each a viewer of the relay. Everything happens on the connection's loop but what asks the database, which is one job at a time: a join, or
 * the question whether all of it may go on. While a job is out no message of the client is delivered; what devices say is passed on all the same.
 *
 * A person who reads slower than a device prints loses output and is told so in the terminal: what the socket has not sent yet counts as under way to the viewer.
 *
 * source: reference/user-api-and-cli "16.1" to "16.4", "16.6"
 */
#include <stdio.h>
#include <stdlib.h>

#include "base/log.h"
#include "web_int.h"

#define REPLAY_PIECE ((size_t)128 << 10) /* of a scrollback in one message: escaped it must stay under the 1 MiB that clients take; source: user-api-and-cli "16.6" */
#define UNSENT_STEP ((size_t)64 << 10)

struct channel {
	struct channel *next;
	struct session *session;
	const struct web_topic *topic;
	struct nh_conversation conversation;
	struct nh_relay_viewer *viewer;
	char *name;
	char join_ref[NH_PHOENIX_REF_MAX + 1];
	nh_phoenix_ref_kind join_ref_kind;
	bool seen;    /* the device was there once */
	bool refused; /* the person was told that what is typed does not arrive */
};

struct session {
	struct nh_web *web;
	web_socket socket;
	const struct nh_phoenix_codec *codec;
	struct nh_conn *conn; /* from on_open to on_close */
	struct nh_secret token;
	struct web_person person;
	char *name;
	struct channel *channels;
	size_t channel_count;
	uint64_t checked_ms; /* when the database last said that all this may be */
	size_t unsent;       /* what the viewers were told of */
	bool job_out;
	bool again;          /* something was said while a job was out, whose answer may be older than that */
};

/* ---- sending ----------------------------------------------------------------------------------------------------------------- */

static void send_frame(struct session *s, const struct nh_buf *frame) { nh_ws_send(s->conn, s->codec->binary ? NH_WS_BINARY : NH_WS_TEXT, nh_buf_slice(frame)); }

static void reply(struct session *s, const struct nh_phoenix_message *request, struct nh_phoenix_ref join_ref, const char *status, const char *reason)
{
	NH_AUTO_BUF struct nh_buf frame = NH_BUF_INIT;
	NH_AUTO_JSON json_t *response = reason ? json_pack("{s:s}", "reason", reason) : NULL;
	nh_phoenix_put_reply(s->codec, &frame, request, join_ref, status, response);
	send_frame(s, &frame);
}

static struct nh_phoenix_ref channel_ref(const struct channel *c) { return (struct nh_phoenix_ref){c->join_ref_kind, nh_slice_str(c->join_ref)}; }

/* payload: JSON text of an object; empty: {}. */
static void push(struct channel *c, nh_slice event, nh_slice payload)
{
	NH_AUTO_BUF struct nh_buf frame = NH_BUF_INIT;
	struct nh_phoenix_message m = {.join_ref = channel_ref(c), .ref = NH_PHOENIX_NO_REF, .topic = nh_slice_str(c->name), .event = event, .payload_text = payload};
	c->session->codec->encode(&frame, &m);
	send_frame(c->session, &frame);
}

static void push_end(struct session *s, const char *event, nh_slice topic, struct nh_phoenix_ref join_ref)
{
	NH_AUTO_BUF struct nh_buf frame = NH_BUF_INIT;
	nh_phoenix_put_channel_end(s->codec, &frame, event, topic, join_ref, NULL);
	send_frame(s, &frame);
}

static void push_output(struct channel *c, nh_slice text)
{
	NH_AUTO_BUF struct nh_buf payload = NH_BUF_INIT;
	nh_buf_put_str(&payload, "{\"data\":");
	nh_json_put_string(&payload, text);
	nh_buf_put_u8(&payload, '}');
	push(c, nh_slice_str(c->topic->output), nh_buf_slice(&payload));
}

/* A line of ours in the terminal. */
[[gnu::format(printf, 2, 3)]] static void notice(struct channel *c, const char *format, ...)
{
	char text[160];
	va_list ap;
	if (!c->topic->output)
		return;
	va_start(ap, format);
	vsnprintf(text, sizeof text, format, ap);
	va_end(ap);
	NH_AUTO_BUF struct nh_buf line = NH_BUF_INIT;
	nh_buf_printf(&line, "\r\n[%s]\r\n", text);
	push_output(c, nh_buf_slice(&line));
}

/* Tells the viewers what waits in the socket, in steps, since each telling is one for all of them. */
static void count_unsent(struct session *s)
{
	size_t unsent = nh_ws_unsent(s->conn);
	if (unsent < s->unsent + UNSENT_STEP && (unsent > 0 || s->unsent == 0))
		return;
	s->unsent = unsent;
	for (struct channel *c = s->channels; c; c = c->next)
		nh_relay_viewer_waiting(c->viewer, unsent);
}

/* ---- channels ---------------------------------------------------------------------------------------------------------------- */

static struct channel *channel_find(const struct session *s, nh_slice name)
{
	struct channel *c = s->channels;
	while (c && !nh_slice_eq_str(name, c->name))
		c = c->next;
	return c;
}

static void say_farewell(const struct channel *c)
{
	NH_AUTO_BUF struct nh_buf payload = NH_BUF_INIT;
	if (!c->topic->farewell)
		return;
	nh_buf_put_str(&payload, "{\"name\":");
	nh_json_put_string(&payload, c->session->person.name);
	nh_buf_put_str(&payload, ",\"event\":\"closed the console\"}");
	nh_relay_viewer_chat(c->viewer, NH_LIT("message"), nh_buf_slice(&payload));
}

/* Takes it out of the session; nothing is sent. */
static void channel_end(struct channel *c)
{
	struct session *s = c->session;
	struct channel **at = &s->channels;
	while (*at != c)
		at = &(*at)->next;
	*at = c->next;
	s->channel_count--;
	say_farewell(c);
	nh_relay_viewer_leave(c->viewer);
	web_access_close(s->web, &s->person, &c->conversation);
	NH_LOG(NH_LOG_INFO, "web.left", NH_I("user_id", s->person.id), NH_I("device_id", c->conversation.device_id), NH_STR("topic", c->topic->prefix));
	free(c->name);
	free(c);
}

static void channel_close(struct channel *c)
{
	push_end(c->session, "phx_close", nh_slice_str(c->name), channel_ref(c));
	channel_end(c);
}

static void on_news(void *ctx, nh_relay_news news, nh_slice event, nh_slice payload, uint64_t lost);

static void channel_new(struct session *s, const struct web_topic *topic, const struct nh_phoenix_message *join, const struct nh_conversation *conversation)
{
	struct channel *c = nh_xcalloc(1, sizeof *c);
	struct nh_phoenix_ref ref = nh_phoenix_join_ref_of(join);
	*c = (struct channel){.next = s->channels, .session = s, .topic = topic, .conversation = *conversation, .name = nh_xstrdup(join->topic), .join_ref_kind = ref.kind};
	snprintf(c->join_ref, sizeof c->join_ref, "%.*s", NH_ARG(ref.text));
	s->channels = c;
	s->channel_count++;
	c->viewer = nh_relay_viewer_join(s->web->config.relay, conversation->device_id, topic->channel, nh_conn_loop(s->conn), on_news, c);
	if (s->unsent > 0)
		nh_relay_viewer_waiting(c->viewer, s->unsent);
}

/* ---- jobs: a join, or may all this go on? -------------------------------------------------------------------------------------- */

struct job {
	struct session *session;
	struct nh_arena arena;
	struct nh_phoenix_message message; /* texts in the arena; the join, or what waits for the check (event empty: nothing does) */
	const struct web_topic *topic;     /* of a join; else NULL */
	nh_slice identifier;
	struct nh_conversation conversation;
	struct web_check *checks;          /* in the order of the channels */
	size_t check_count;
	nh_rc rc;
	struct nh_err err;
};

static void handle(struct session *s, struct nh_phoenix_message *m, struct nh_arena *arena);

static void job_run(void *worker, void *arg)
{
	struct job *job = arg;
	struct nh_web *web = job->session->web;
	nh_slice token = nh_secret_slice(&job->session->token);
	if (job->topic)
		job->rc = web_access_open(web, token, job->topic->kind, job->identifier, &job->conversation, &job->err);
	else
		job->rc = web_access_check(web, token, job->checks, job->check_count, &job->err);
}

static const struct {
	nh_rc rc;
	const char *reason;
} reasons[] = {
	{NH_EAUTH, "unauthorized"},
	{NH_ENOTFOUND, "unauthorized"},
	{NH_EPERM, "unauthorized"},
	{NH_ECONFLICT, "more than one of your organizations has a device of that identifier"},
};

/* Clients that do not look at the reply end on phx_error. source: reference/user-api-and-cli "16.6" */
static void refuse_join(struct session *s, const struct nh_phoenix_message *join, const char *reason)
{
	TALLY(s->web, join_refusals);
	reply(s, join, nh_phoenix_join_ref_of(join), "error", reason);
	push_end(s, "phx_error", join->topic, nh_phoenix_join_ref_of(join));
}

static void join_failed(struct session *s, const struct job *job)
{
	const char *reason = "unavailable";
	for (size_t i = 0; i < NH_ARRAY_LEN(reasons); i++) {
		if (reasons[i].rc == job->rc)
			reason = reasons[i].reason;
	}
	NH_LOG(NH_LOG_INFO, "web.join_refused", NH_I("user_id", s->person.id), NH_STR("topic", job->topic->prefix), NH_STR("why", job->err.msg));
	refuse_join(s, &job->message, reason);
	if (job->rc == NH_EAUTH)
		nh_ws_close(s->conn, NH_WS_CLOSE_POLICY, NH_SLICE_EMPTY);
}

static void join_done(struct nh_conn *conn, struct session *s, const struct job *job)
{
	if (!conn) {
		/* Written as opened, and nobody is there to look. */
		if (job->rc == NH_OK)
			web_access_close(s->web, &s->person, &job->conversation);
		return;
	}
	if (job->rc != NH_OK) {
		join_failed(s, job);
		return;
	}
	TALLY(s->web, joins);
	NH_LOG(NH_LOG_INFO, "web.joined", NH_I("user_id", s->person.id), NH_I("device_id", job->conversation.device_id), NH_STR("topic", job->topic->prefix));
	reply(s, &job->message, nh_phoenix_join_ref_of(&job->message), "ok", NULL);
	channel_new(s, job->topic, &job->message, &job->conversation);
}

/* While the database is away no permission can have changed by us: all goes on until it answers. */
static void check_done(struct nh_conn *conn, struct session *s, struct job *job)
{
	s->checked_ms = conn ? nh_loop_now_ms(nh_conn_loop(conn)) : 0;
	if (!conn)
		return;
	if (job->rc == NH_EAUTH) {
		TALLY(s->web, ended);
		nh_ws_close(conn, NH_WS_CLOSE_POLICY, NH_SLICE_EMPTY);
		return;
	}
	size_t i = 0;
	for (struct channel *c = s->channels, *next; c && job->rc == NH_OK; c = next, i++) {
		next = c->next;
		if (job->checks[i].rc == NH_OK)
			continue;
		TALLY(s->web, ended);
		channel_close(c);
	}
	if (job->message.event.len > 0)
		handle(s, &job->message, &job->arena);
}

static bool check_due(const struct session *s)
{
	return s->channels && !s->job_out && nh_loop_now_ms(nh_conn_loop(s->conn)) >= s->checked_ms + s->web->config.recheck_ms;
}

static void start_check(struct session *s, struct nh_phoenix_message *message, struct nh_arena *arena);

static void job_done(struct nh_conn *conn, void *arg)
{
	struct job *job = arg;
	struct session *s = job->session;
	bool again = s->again;
	s->job_out = s->again = false;
	if (job->topic)
		join_done(conn, s, job);
	else
		check_done(conn, s, job);
	if (conn && again && check_due(s))
		start_check(s, NULL, NULL);
	nh_phoenix_message_fini(&job->message);
	nh_arena_fini(&job->arena);
	free(job->checks);
	free(job);
}

/* Takes the message and the arena its texts live in; both may be NULL. */
static struct job *job_new(struct session *s, struct nh_phoenix_message *message, struct nh_arena *arena)
{
	struct job *job = nh_xcalloc(1, sizeof *job);
	job->session = s;
	if (message) {
		job->message = *message;
		job->arena = *arena;
		message->payload = NULL;
		*arena = NH_ARENA_INIT;
	}
	return job;
}

static void job_start(struct session *s, struct job *job)
{
	s->job_out = true;
	nh_conn_work(s->conn, job_run, job_done, job);
}


static void start_check(struct session *s, struct nh_phoenix_message *message, struct nh_arena *arena)
{
	struct job *job = job_new(s, message, arena);
	job->checks = nh_xcalloc(s->channel_count, sizeof *job->checks);
	for (struct channel *c = s->channels; c; c = c->next)
		job->checks[job->check_count++].conversation = c->conversation;
	job_start(s, job);
}

/* ---- what devices say ------------------------------------------------------------------------------------------------------------ */

static void replay(struct channel *c, nh_slice text)
{
	while (text.len > 0) {
		size_t len = text.len < REPLAY_PIECE ? text.len : REPLAY_PIECE;
		while (len > 1 && len < text.len && (text.ptr[len] & 0xC0) == 0x80)
			len--;
		push_output(c, nh_slice_sub(text, 0, len));
		text = nh_slice_skip(text, len);
	}
}

static void opened(struct channel *c, nh_slice about)
{
	if (c->topic->metadata && about.len > 0)
		push(c, NH_LIT("metadata"), about);
	if (c->seen)
		notice(c, "connected again");
	c->seen = true;
	c->refused = false;
}

static void on_news(void *ctx, nh_relay_news news, nh_slice event, nh_slice payload, uint64_t lost)
{
	struct channel *c = ctx;
	struct session *s = c->session;
	if (lost > 0)
		notice(c, "%llu message%s lost", (unsigned long long)lost, lost == 1 ? "" : "s");
	switch (news) {
	case NH_RELAY_MESSAGE:
		if (event.len > 0)
			push(c, event, payload);
		break;
	case NH_RELAY_OPENED: opened(c, payload); break;
	case NH_RELAY_REPLAY:
		if (c->topic->output)
			replay(c, payload);
		break;
	case NH_RELAY_CLOSED: notice(c, "disconnected"); break;
	}
	count_unsent(s);
	s->again = s->job_out;
	if (check_due(s))
		start_check(s, NULL, NULL);
}

/* ---- what people say ------------------------------------------------------------------------------------------------------------- */

static void on_join(struct session *s, struct nh_phoenix_message *m, struct nh_arena *arena)
{
	nh_slice identifier = NH_SLICE_EMPTY;
	const struct web_topic *topic = web_topic_find(s->socket, m->topic, &identifier);
	struct channel *old = channel_find(s, m->topic);
	if (old)
		channel_close(old);
	if (!topic || s->channel_count >= CHANNELS_MAX) {
		refuse_join(s, m, topic ? "too many channels" : "unmatched topic");
		return;
	}
	struct job *job = job_new(s, m, arena);
	job->topic = topic;
	job->identifier = identifier;
	job_start(s, job);
}

static void on_leave(struct session *s, const struct nh_phoenix_message *m)
{
	struct channel *c = channel_find(s, m->topic);
	reply(s, m, m->join_ref, "ok", NULL);
	if (c && nh_phoenix_join_ref_current(channel_ref(c), m))
		channel_close(c);
}

/* What does not arrive is said once, until something does again. */
static void pass_on(struct channel *c, const struct nh_phoenix_message *m)
{
	NH_AUTO_BUF struct nh_buf payload = NH_BUF_INIT;
	nh_json_put(&payload, m->payload);
	nh_rc rc = nh_relay_viewer_say(c->viewer, m->event, nh_buf_slice(&payload));
	if (rc != NH_OK && !c->refused)
		notice(c, "%s", rc == NH_EAGAIN ? "input lost: the device does not keep up" : "the device is not there");
	c->refused = rc != NH_OK;
}

static void on_event(struct session *s, const struct nh_phoenix_message *m)
{
	struct channel *c = channel_find(s, m->topic);
	const char *why = "";
	if (!c) {
		reply(s, m, NH_PHOENIX_NO_REF, "error", "unmatched topic");
		return;
	}
	if (!nh_phoenix_join_ref_current(channel_ref(c), m))
		return;
	switch (web_topic_judge(c->topic, &s->person, m->event, m->payload, &why)) {
	case WEB_IGNORE: break;
	case WEB_REFUSE: notice(c, "%s", why); break;
	case WEB_TO_DEVICE: pass_on(c, m); break;
	case WEB_TO_PEOPLE: {
		NH_AUTO_BUF struct nh_buf payload = NH_BUF_INIT;
		nh_json_put(&payload, m->payload);
		nh_relay_viewer_chat(c->viewer, m->event, nh_buf_slice(&payload));
		break;
	}
	}
}

static void handle(struct session *s, struct nh_phoenix_message *m, struct nh_arena *arena)
{
	if (nh_phoenix_is_heartbeat(m))
		reply(s, m, NH_PHOENIX_NO_REF, "ok", NULL);
	else if (nh_slice_eq_str(m->event, "phx_join"))
		on_join(s, m, arena);
	else if (nh_slice_eq_str(m->event, "phx_leave"))
		on_leave(s, m);
	else
		on_event(s, m);
	count_unsent(s);
}

static void on_message(struct nh_conn *conn, void *session, nh_ws_opcode opcode, nh_slice data)
{
	struct session *s = session;
	struct nh_err err = NH_ERR_INIT;
	NH_AUTO_ARENA struct nh_arena arena = NH_ARENA_INIT;
	struct nh_phoenix_message m = {0};
	if ((opcode == NH_WS_BINARY) != s->codec->binary || s->codec->decode(&arena, data, MESSAGE_MAX, &m, &err) != NH_OK) {
		nh_ws_close(conn, NH_WS_CLOSE_INTERNAL, NH_SLICE_EMPTY);
		return;
	}
	if (check_due(s))
		start_check(s, &m, &arena);
	else
		handle(s, &m, &arena);
	nh_phoenix_message_fini(&m);
}

/* ---- the connection ---------------------------------------------------------------------------------------------------------------- */

static void on_open(struct nh_conn *conn, void *session)
{
	struct session *s = session;
	s->conn = conn;
	s->checked_ms = nh_loop_now_ms(nh_conn_loop(conn));
	TALLY(s->web, sockets);
}

static void on_drained(struct nh_conn *conn, void *session) { count_unsent(session); }

static void on_close(struct nh_conn *conn, void *session, uint16_t code)
{
	struct session *s = session;
	if (s->conn)
		UNTALLY(s->web, sockets);
	while (s->channels)
		channel_end(s->channels);
	nh_secret_fini(&s->token);
	free(s->name);
	free(s);
}

struct nh_ws_handler web_socket_handler(uint64_t idle_ms)
{
	return (struct nh_ws_handler){.max_message_bytes = MESSAGE_MAX, .idle_ms = idle_ms, .on_open = on_open, .on_message = on_message, .on_drained = on_drained, .on_close = on_close};
}

void *web_session_new(struct nh_web *web, web_socket socket, const struct nh_phoenix_codec *codec, nh_slice token, const struct nh_user *user)
{
	struct session *s = nh_xcalloc(1, sizeof *s);
	*s = (struct session){.web = web, .socket = socket, .codec = codec, .name = nh_xstrdup(user->name)};
	s->person = (struct web_person){user->id, nh_slice_str(s->name)};
	nh_secret_init(&s->token, token);
	return s;
}
