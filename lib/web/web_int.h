/* What the files of web share. */
#pragma once

#include "bus/relay.h"
#include "crypto/secret.h"
#include "hub/accounts.h"
#include "hub/conversations.h"
#include "phoenix/phoenix.h"
#include "web/web.h"

struct nh_web {
	struct nh_web_config config;
	struct nh_ws_handler handler;
	struct nh_limiter *own_limiter; /* where the config brings none */
	struct nh_web_stats stats; /* relaxed atomics */
};

#define TALLY(web, field) __atomic_fetch_add(&(web)->stats.field, 1, __ATOMIC_RELAXED)
#define UNTALLY(web, field) __atomic_fetch_sub(&(web)->stats.field, 1, __ATOMIC_RELAXED)

#define MESSAGE_MAX ((size_t)256 << 10) /* of a client */
#define CHUNK_MAX ((size_t)64 << 10)    /* bytes of a file in one message */
#define CHANNELS_MAX 100                /* of one socket */

/* ---- topics.c: what may be joined, and what people may say there. Pure. ----------------------------------------------------- */

typedef enum web_socket { WEB_SOCKET_API = 1, WEB_SOCKET_EVENTS = 2 } web_socket; /* bits */

struct web_person {
	int64_t id;
	nh_slice name;
};

typedef enum web_verdict {
	WEB_IGNORE,    /* not an event of the topic, or without what it needs */
	WEB_TO_DEVICE,
	WEB_TO_PEOPLE,
	WEB_REFUSE,    /* the person is told why */
} web_verdict;

struct web_event {
	const char *name;           /* NULL: any other; the last row where there is one */
	web_verdict verdict;        /* where nothing is wrong with it */
	const char *text;           /* member that must be a string; NULL: none */
	const char *numbers[2];     /* members that must be integers */
	/* May be NULL. Changes the payload (an object) into what is passed on; false: refused, *why for people. */
	bool (*shape)(json_t *payload, const struct web_person *person, const char **why);
};

struct web_topic {
	const char *prefix;          /* an identifier follows */
	unsigned sockets;            /* where it may be joined */
	nh_conversation_kind kind;
	nh_relay_channel channel;
	const char *output;          /* event of terminal output, {"data":text}; NULL: there is no terminal */
	bool metadata;               /* what the device says of itself is passed on */
	bool farewell;               /* people hear of each other's leaving */
	const struct web_event *events;
};

/* Two hyphens in a topic are no mistake: the identifier is all that follows the prefix. NULL: nothing of the kind. */
const struct web_topic *web_topic_find(web_socket socket, nh_slice name, nh_slice *identifier);
/* payload: changed where it is passed on. */
web_verdict web_topic_judge(const struct web_topic *topic, const struct web_person *person, nh_slice event, json_t *payload, const char **why);

/* ---- access.c: what the database is asked. [worker] -------------------------------------------------------------------------- */

struct web_check {
	struct nh_conversation conversation;
	nh_rc rc; /* NH_OK, NH_ENOTFOUND, NH_EPERM */
};

nh_rc web_access_user(struct nh_web *web, nh_slice token, struct nh_arena *arena, struct nh_user *out, struct nh_err *err); /* NH_EAUTH */
/* NH_EAUTH: the token is no more. Else as nh_conversation_open. */
nh_rc web_access_open(struct nh_web *web, nh_slice token, nh_conversation_kind kind, nh_slice identifier, struct nh_conversation *out, struct nh_err *err);
nh_rc web_access_check(struct nh_web *web, nh_slice token, struct web_check *checks, size_t count, struct nh_err *err); /* NH_EAUTH */
/* Any thread: the audit entry of an end is written by a worker, nobody waits for it. */
void web_access_close(struct nh_web *web, const struct web_person *person, const struct nh_conversation *conversation);

/* ---- socket.c ---------------------------------------------------------------------------------------------------------------- */

struct nh_ws_handler web_socket_handler(uint64_t idle_ms);
/* A session for nh_response_upgrade. */
void *web_session_new(struct nh_web *web, web_socket socket, const struct nh_phoenix_codec *codec, nh_slice token, const struct nh_user *user);
