/*
 * Phoenix channel messages: decoding and encoding of the five fields, and the reference rules both sides need. Sans-IO; no sockets, no sessions, no
 * topics of our own. A codec is chosen once per socket by the `vsn` query parameter.
 *
 * Lenient where real peers differ: refs may be strings, integers or null and are echoed in the type received; join_ref may be null on every message;
 * payload may be null, and of any other type where a peer sends such; elements after the fifth are ignored.
 *
 * source: reference/device-protocol "3", "17.3".  thread: any, one at a time.
 */
#pragma once

#include "base/arena.h"
#include "base/buf.h"
#include "base/err.h"
#include "base/json.h"

typedef enum nh_phoenix_ref_kind { NH_PHOENIX_REF_NULL, NH_PHOENIX_REF_TEXT, NH_PHOENIX_REF_NUMBER } nh_phoenix_ref_kind;

struct nh_phoenix_ref {
	nh_phoenix_ref_kind kind;
	nh_slice text; /* the string, or the decimal digits of a number; empty for null */
};

#define NH_PHOENIX_NO_REF ((struct nh_phoenix_ref){NH_PHOENIX_REF_NULL, {NULL, 0}})
/* A ref as the string that a client chose; borrowed. */
static inline struct nh_phoenix_ref nh_phoenix_ref_text(nh_slice text) { return (struct nh_phoenix_ref){NH_PHOENIX_REF_TEXT, text}; }
/* Same value, a number and the string of its digits being the same; null equals null. */
bool nh_phoenix_ref_eq(struct nh_phoenix_ref a, struct nh_phoenix_ref b);

struct nh_phoenix_message {
	struct nh_phoenix_ref join_ref;
	struct nh_phoenix_ref ref;
	nh_slice topic;
	nh_slice event;
	json_t *payload;       /* decode: owned reference, never NULL (json null where the peer sent null); encode: borrowed; NULL → payload_text */
	nh_slice payload_text; /* encode only: JSON text used where payload is NULL; both empty → {} */
};

/* Drops the payload reference of a decoded message. */
void nh_phoenix_message_fini(struct nh_phoenix_message *m);

#define NH_PHOENIX_REF_MAX 64     /* bytes of a ref */
#define NH_PHOENIX_TOPIC_MAX 256  /* bytes of a topic or an event */

/* One wire format. Codecs are constants; the table in phoenix.c lists them by vsn. */
struct nh_phoenix_codec {
	const char *name; /* "json-v2" */
	bool binary;      /* frames are binary WebSocket messages; a frame of the other kind is an error */
	/* Texts live in the arena. NH_EFORMAT, NH_ETOOBIG (frame over max_bytes, ref or topic over its cap). */
	nh_rc (*decode)(struct nh_arena *arena, nh_slice frame, size_t max_bytes, struct nh_phoenix_message *out, struct nh_err *err);
	/* Appends one frame's payload. */
	void (*encode)(struct nh_buf *out, const struct nh_phoenix_message *m);
};

/*
 * nh_phoenix_codec_for_vsn - by the vsn query parameter: empty → "1.0.0"; 1.0.x JSON V1, 2.0.x JSON V2, 3.0.x MessagePack. NULL: unsupported or not a semantic version; answer 403.
 * source: reference/device-protocol "2.3"
 */
const struct nh_phoenix_codec *nh_phoenix_codec_for_vsn(nh_slice vsn);
extern const struct nh_phoenix_codec nh_phoenix_json_v1;
extern const struct nh_phoenix_codec nh_phoenix_json_v2;
extern const struct nh_phoenix_codec nh_phoenix_msgpack;

/*
 * nh_phoenix_decode_bytes - a device's V2 message with a payload of raw bytes (a binary frame): its names and refs, the latter null where they are empty; no channel of
 * ours takes such a payload, so payload is JSON null. Texts live in the arena. NH_EFORMAT; NH_ETOOBIG (ref over its cap). source: reference/device-protocol "3.4"
 */
nh_rc nh_phoenix_decode_bytes(struct nh_arena *arena, nh_slice frame, struct nh_phoenix_message *out, struct nh_err *err);

/* Server side. response: borrowed, NULL = {}. status "ok" or "error". */
void nh_phoenix_put_reply(const struct nh_phoenix_codec *codec, struct nh_buf *out, const struct nh_phoenix_message *request, struct nh_phoenix_ref join_ref,
			  const char *status, const json_t *response);
/* phx_close / phx_error of a channel: ref = join_ref = the channel's. reason NULL = {}. */
void nh_phoenix_put_channel_end(const struct nh_phoenix_codec *codec, struct nh_buf *out, const char *event, nh_slice topic, struct nh_phoenix_ref join_ref, const char *reason);
/* An event without ref. join_ref null = the broadcast shape. payload borrowed, NULL = {}. */
void nh_phoenix_put_push(const struct nh_phoenix_codec *codec, struct nh_buf *out, struct nh_phoenix_ref join_ref, nh_slice topic, const char *event, const json_t *payload);

/* What a server stores at join: join_ref, or ref where that is null (phoenix_client). The text is not copied. */
struct nh_phoenix_ref nh_phoenix_join_ref_of(const struct nh_phoenix_message *join);
/* May this message go to the channel that stored `channel`? Null or equal. */
bool nh_phoenix_join_ref_current(struct nh_phoenix_ref channel, const struct nh_phoenix_message *m);
/* heartbeat on topic "phoenix"? Answer with nh_phoenix_put_reply(codec, out, m, NH_PHOENIX_NO_REF, "ok", NULL). */
bool nh_phoenix_is_heartbeat(const struct nh_phoenix_message *m);

/* Client side: which kind of frame is this? source: reference/device-protocol "3.7" */
typedef enum nh_phoenix_kind {
	NH_PHOENIX_EVENT,      /* a push of the server */
	NH_PHOENIX_REPLY,      /* phx_reply: see nh_phoenix_reply */
	NH_PHOENIX_CLOSED,     /* phx_close */
	NH_PHOENIX_ERROR,      /* phx_error: rejoin */
} nh_phoenix_kind;
nh_phoenix_kind nh_phoenix_kind_of(const struct nh_phoenix_message *m);
/* Status and response of a phx_reply; *response is borrowed from the message, NULL where absent. False: payload is not a reply. */
bool nh_phoenix_reply(const struct nh_phoenix_message *m, bool *ok, const json_t **response);
