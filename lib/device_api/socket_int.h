/*
 * What the files of a device's socket share: the session, its channels, and jobs. Everything here runs on the connection's loop unless [worker] is said.
 *
 * upgrade.c      who may come in
 * socket.c       a connection's life: frames in and out, one job at a time, signs of life, floods
 * channels.c     which topic is whose
 * device_channel.c, console.c, extensions.c   the channels
 * scripts.c      questions of people that a device answers
 */
#pragma once

#include "base/log.h"
#include "bus/relay.h"
#include "device_api_int.h"
#include "hub/extensions.h"

/* What the peer knows of a channel it joined. */
struct channel {
	bool joined;
	nh_phoenix_ref_kind ref_kind;
	char join_ref[NH_PHOENIX_REF_MAX + 1];
};

struct console;
struct extensions;
struct question;
struct held;

struct session {
	struct nh_device_api *api;
	struct nh_conn *conn;         /* NULL before it is open and after its end */
	struct nh_session hub;
	struct presence_begin *begin; /* the connection is not written yet; NULL once it is. While a job is out it is the job's. */
	const struct nh_phoenix_codec *codec;
	struct nh_conn_id id;
	struct nh_loop *loop;
	struct nh_progress_gate gate;
	uint64_t seen_due_ms;
	uint64_t flood_us;            /* when all messages so far would have been due at the rate allowed */
	struct channel device;
	char *topic;                  /* "firmware:UUID" of a client that knows no "device"; NULL: "device" */
	struct console *console;      /* these only once they are needed */
	struct extensions *extensions;
	struct nh_relay_device *progress;
	struct nh_relay_device *scripts; /* while the device channel is joined */
	struct question *questions;      /* put to it and not answered; oldest first */
	struct held *held;            /* pushed while the device was joining; oldest first */
	bool opened, closed;
	bool job_out;                 /* or the connection rests */
	bool joining;                 /* the job is a join of the device channel: what is pushed meanwhile waits for its reply */
	uint16_t close_code;
};

/* ---- jobs --------------------------------------------------------------------------------------------------------------- */

struct job;

struct job_kind {
	const char *name; /* for the log */
	bool reads;       /* a read transaction is enough */
	bool joins;       /* writes the connection's beginning, too, where that is not written */
	nh_rc (*run)(struct nh_ctx *ctx, struct job *job, struct nh_err *err);  /* [worker] may run again where the database asks for it */
	void (*done)(struct nh_conn *conn, struct session *s, struct job *job); /* conn NULL: gone. Effects follow. NULL: nothing to do */
};

struct job {
	const struct job_kind *kind;
	struct session *session;
	struct nh_session hub;      /* the session's, changed by a join */
	struct nh_arena arena;
	struct nh_effects effects;
	struct nh_phoenix_message message; /* texts in the arena */
	nh_rc rc;
	struct nh_err err;
	uint64_t begun_us;
	/* what kinds need; results are written anew by each run */
	const struct nh_session_event *event;
	const struct nh_opening *opening;     /* a join's: to be written with it; else NULL */
	struct nh_join_result joined;
	nh_slice remote;                      /* the peer's address, where somebody wants to know */
	nh_extension extension;
	nh_slice name;                        /* of an extension's event */
	unsigned ignored;                     /* values that meant nothing */
	unsigned allowed;                     /* extensions, as bits */
	nh_slice answer;                      /* JSON text */
};

/* Takes the message and the arena that its texts live in. What else its kind needs is filled in before it starts. */
struct job *job_new(struct session *s, const struct job_kind *kind, struct nh_phoenix_message *message, struct nh_arena *arena);
void job_start(struct nh_conn *conn, struct job *take_job); /* no other may be out; nothing is delivered until it is back */
nh_log_level job_level(nh_rc rc); /* how loud a failure is: an outage is said once for all by who noticed it */

/* ---- sending ------------------------------------------------------------------------------------------------------------ */

void socket_send(struct nh_conn *conn, const struct session *s, const struct nh_buf *frame);
/* take_response NULL: {} */
void socket_reply(struct nh_conn *conn, const struct session *s, const struct nh_phoenix_message *request, struct nh_phoenix_ref join_ref, const char *status,
		  json_t *take_response);
/* A direct push of the channel: with its join_ref. payload: JSON text, empty = {}. */
void socket_say(struct nh_conn *conn, const struct session *s, const struct channel *c, nh_slice topic, nh_slice event, nh_slice payload);

/* ---- channels ----------------------------------------------------------------------------------------------------------- */

#define FIRMWARE_TOPIC "firmware:" /* and a UUID */

/* join and event take over message and arena where they start a job. A leave has been answered already. event: false where the topic is not joined. */
struct channel_kind {
	const char *topic;
	void (*join)(struct nh_conn *conn, struct session *s, struct nh_phoenix_message *m, struct nh_arena *arena);
	void (*leave)(struct nh_conn *conn, struct session *s, const struct nh_phoenix_message *m);
	bool (*event)(struct nh_conn *conn, struct session *s, struct nh_phoenix_message *m, struct nh_arena *arena);
};
extern const struct channel_kind device_channel, console_channel, extensions_channel;

void channels_message(struct nh_conn *conn, struct session *s, struct nh_phoenix_message *m, struct nh_arena *arena);
void channels_close(struct session *s); /* the connection's end: nobody talks to this device any more */

struct nh_phoenix_ref channel_ref(const struct channel *c);
void channel_enter(struct channel *c, const struct nh_phoenix_message *join); /* it has joined */
bool channel_takes(const struct channel *c, const struct nh_phoenix_message *m); /* joined, and the message is of this join and not of an earlier one */
void channel_close(struct nh_conn *conn, const struct session *s, struct channel *c, nh_slice topic); /* phx_close, where it is joined */

/* device_channel.c */
void device_say(struct session *s, nh_slice event, nh_slice payload); /* a direct push; the channel is joined */
void device_close(struct session *s);

/* console.c */
bool console_open(const struct session *s);
void console_send(struct session *s, nh_slice text); /* bytes as a person would type them; the console is open */
void console_drained(struct session *s);
void console_close(struct session *s);

/* extensions.c */
void extensions_stale(struct session *s); /* what may be used has changed; looked up as soon as no job is out */
void extensions_due(struct nh_conn *conn, struct session *s); /* what is due now: requests, or that job. No job is out */
void extensions_drained(struct session *s);
void extensions_close(struct session *s);

/* scripts.c */
void scripts_open(struct session *s); /* the device has joined */
void scripts_answer(struct session *s, const json_t *payload);
void scripts_console(struct session *s); /* the console is open: what waits for it is typed */
void scripts_output(struct session *s, nh_slice text); /* what the console printed */
void scripts_close(struct session *s);
