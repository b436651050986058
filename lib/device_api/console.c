/*
 * The console channel: what the device prints goes to the people who look on, what they type goes to the device, both as they came. Nothing of it is kept here
 * but text that the server itself has to type before the device has opened its console.
 *
 * A person's event reaches the device under its own name, so the names that are the protocol's are refused. What a device prints is bounded by the relay; a
 * single message of it is at most 64 KiB here.
 *
 * source: reference/device-protocol "11", "8.5"
 */
#include <stdlib.h>

#include "socket_int.h"

#define PIECE_MAX ((size_t)64 << 10)   /* of output, or of a file */
#define TYPED_MAX ((size_t)64 << 10)   /* text that may wait for the console */
#define VERSION_MAX 32
#define VERSION_NONE "0.1.0"           /* who says none. source: reference/device-protocol "11.5" */

struct console {
	struct channel channel;
	struct nh_relay_device *end; /* NULL: there is no relay, or nobody joined */
	struct nh_buf typed;         /* waits for the join */
};

static struct console *console_of(struct session *s)
{
	if (!s->console)
		s->console = nh_xcalloc(1, sizeof *s->console);
	return s->console;
}

/* ---- to the device ------------------------------------------------------------------------------------------------------- */

static void from_viewer(void *ctx, nh_slice event, nh_slice payload, uint64_t question)
{
	struct session *s = ctx;
	if (!s->console->channel.joined || nh_slice_starts(event, NH_LIT("phx_")) || event.len > NH_PHOENIX_TOPIC_MAX)
		return;
	socket_say(s->conn, s, &s->console->channel, NH_LIT("console"), event, payload);
	nh_relay_device_waiting(s->console->end, nh_ws_unsent(s->conn));
}

void console_drained(struct session *s)
{
	if (s->console && s->console->end)
		nh_relay_device_waiting(s->console->end, 0);
}

bool console_open(const struct session *s) { return s->console && s->console->channel.joined; }

void console_send(struct session *s, nh_slice text)
{
	NH_AUTO_BUF struct nh_buf payload = NH_BUF_INIT;
	nh_buf_put_str(&payload, "{\"data\":");
	nh_json_put_string(&payload, text);
	nh_buf_put_u8(&payload, '}');
	socket_say(s->conn, s, &s->console->channel, NH_LIT("console"), NH_LIT("dn"), nh_buf_slice(&payload));
}

void socket_type(struct nh_conn *conn, nh_slice text)
{
	struct session *s = nh_conn_session(conn);
	struct console *c = s ? console_of(s) : NULL;
	if (!c)
		return;
	if (text.len > TYPED_MAX) {
		TALLY(s->api, connecting_code_failed);
		return;
	}
	nh_buf_clear(&c->typed); /* what the join before this one brought */
	nh_buf_put_slice(&c->typed, text);
	nh_buf_put_str(&c->typed, "\n\r");
	if (!c->channel.joined)
		return;
	console_send(s, nh_buf_slice(&c->typed));
	nh_buf_fini(&c->typed);
}

/* ---- join and leave ------------------------------------------------------------------------------------------------------ */

static void stop(struct console *c)
{
	nh_relay_device_close(c->end);
	c->end = NULL;
}

static void join(struct nh_conn *conn, struct session *s, struct nh_phoenix_message *m, struct nh_arena *arena)
{
	struct console *c = console_of(s);
	NH_AUTO_BUF struct nh_buf about = NH_BUF_INIT;
	nh_slice version = nh_json_text(m->payload, "console_version");
	channel_close(conn, s, &c->channel, m->topic);
	stop(c);
	channel_enter(&c->channel, m);
	socket_reply(conn, s, m, m->join_ref, "ok", NULL);

	nh_buf_put_str(&about, "{\"version\":");
	nh_json_put_string(&about, version.len > 0 && version.len <= VERSION_MAX ? version : NH_LIT(VERSION_NONE));
	nh_buf_put_u8(&about, '}');
	if (s->api->config.relay)
		c->end = nh_relay_device_open(s->api->config.relay, s->hub.device_id, NH_RELAY_CONSOLE, nh_buf_slice(&about), s->loop, from_viewer, s);
	if (c->typed.len > 0)
		console_send(s, nh_buf_slice(&c->typed));
	nh_buf_fini(&c->typed);
	scripts_console(s);
}

static void leave(struct nh_conn *conn, struct session *s, const struct nh_phoenix_message *m)
{
	if (!s->console)
		return;
	channel_close(conn, s, &s->console->channel, m->topic);
	stop(s->console);
}

void console_close(struct session *s)
{
	if (!s->console)
		return;
	stop(s->console);
	nh_buf_fini(&s->console->typed);
	free(s->console);
	s->console = NULL;
}

/* ---- from the device ----------------------------------------------------------------------------------------------------- */

/* False: it is none that people could be shown. */
static bool print(struct session *s, const json_t *payload)
{
	const json_t *data = json_object_get(payload, "data");
	nh_slice text = nh_json_text(payload, "data");
	NH_AUTO_BUF struct nh_buf message = NH_BUF_INIT;
	if (!json_is_string(data) || text.len > PIECE_MAX)
		return false;
	scripts_output(s, text);
	if (!s->console->end)
		return true;
	nh_buf_put_str(&message, "{\"data\":");
	nh_json_put_string(&message, text);
	nh_buf_put_u8(&message, '}');
	nh_relay_device_say(s->console->end, NH_LIT("up"), nh_buf_slice(&message), text);
	return true;
}

/* A piece of a file, verbatim: whoever takes it decides what its name may be. */
static bool file_piece(struct session *s, nh_slice event, const json_t *payload)
{
	NH_AUTO_BUF struct nh_buf message = NH_BUF_INIT;
	if (!json_is_object(payload) || nh_json_text(payload, "filename").len == 0)
		return false;
	nh_json_put(&message, payload);
	if (message.len > PIECE_MAX)
		return false;
	if (s->console->end)
		nh_relay_device_say(s->console->end, event, nh_buf_slice(&message), NH_SLICE_EMPTY);
	return true;
}

static bool event(struct nh_conn *conn, struct session *s, struct nh_phoenix_message *m, struct nh_arena *arena)
{
	static const char *const files[] = {"file-data/start", "file-data", "file-data/stop"};
	if (!console_open(s))
		return false;
	bool sound = false, known = nh_slice_eq_str(m->event, "up");
	if (!channel_takes(&s->console->channel, m)) {
		known = true; /* of an earlier join */
	} else if (known) {
		sound = print(s, m->payload);
	} else {
		for (size_t i = 0; i < NH_ARRAY_LEN(files) && !known; i++)
			known = nh_slice_eq_str(m->event, files[i]);
		sound = known && file_piece(s, m->event, m->payload);
	}
	if (!known)
		TALLY(s->api, unknown_events);
	else if (!sound)
		TALLY(s->api, ignored);
	return true;
}

const struct channel_kind console_channel = {"console", join, leave, event};
