/*
 * The relay: conversations between a device and people. A device offers a channel of it (its console, its shell, its progress); any number of people look on and talk back; somebody
 * may ask it one question and wait for the answer (support scripts). What is said travels as events with JSON text, in order, between the loops of both
 * sides, and nothing of it is stored but the scrollback of an open channel.
 *
 * Messages cross loops by mailboxes without limit on their number, so bytes are bounded instead: what is under way to one end and not yet taken is at most NH_RELAY_PENDING_MAX; what
 * exceeds it is dropped whole and counted, and a viewer is told how many it lost. A device that prints for ever therefore costs its watchers output, never memory, and a person who pastes
 * a file is answered NH_EAGAIN: a device's end loses nothing. All scrollbacks together have a limit of their own.
 *
 * Events bear the names that people's sockets give them, as the table says; who speaks to the device puts its names to them.
 *
 *   channel   device → people                                      people → device
 *   CONSOLE   up, file-data/start, file-data, file-data/stop       dn, window_size, restart, file-data/start, file-data, file-data/stop, any other
 *   SHELL     output                                               input, window_size
 *   EVENTS    firmware_update                                      -
 *
 * A device may be connected to another server of the same database: then the same calls lead over a link between the two (bus/links.h), with the same bounds. Chats reach the people of all servers.
 *
 * thread: new and free by main; a device's and a viewer's functions on the loop given at its open; ask and count by any thread. Callbacks run on the loop given, never inside the call
 * that registered them.  source: reference/device-protocol "11.4", "12.4", "9.4"; reference/user-api-and-cli "16.2" to "16.4"
 */
#pragma once

#include "base/err.h"
#include "base/slice.h"
#include "loop/loop.h"

struct nh_relay;
struct nh_relay_device;
struct nh_relay_viewer;

#define NH_RELAY_PENDING_MAX ((size_t)1 << 20) /* bytes under way to one end */
#define NH_RELAY_SCROLLBACK_LINES 1024         /* complete lines kept of an open channel's output, and the current one; source: device-protocol "11.4" */
#define NH_RELAY_SCROLLBACK_BYTES ((size_t)256 << 10)
#define NH_RELAY_SCROLLBACK_TOTAL ((size_t)64 << 20) /* of all channels; where it is used up, a scrollback stays as large as it is, or has 256 bytes */
#define NH_RELAY_QUESTIONS_MAX 16                    /* under way to one device */

typedef enum nh_relay_channel {
	NH_RELAY_CONSOLE,  /* the console channel; scrollback */
	NH_RELAY_SHELL,    /* the local_shell extension; scrollback */
	NH_RELAY_EVENTS,   /* progress of updates, for the event stream; nothing is kept, nobody talks back */
	NH_RELAY_SCRIPTS,  /* nobody looks on: nh_relay_ask only */
	NH_RELAY_CHANNELS,
} nh_relay_channel;

struct nh_relay *nh_relay_new(void); /* an empty one; never NULL */
void nh_relay_free(struct nh_relay *relay); /* every end is closed and nobody asks; waits for loops that still have to let go of one: they run, or were freed. NULL legal */

/* ---- the device's end: device_api ---------------------------------------------------------------------------------------- */

/* Views valid during the call. question: 0, or the number to answer with. */
typedef void (*nh_relay_device_fn)(void *ctx, nh_slice event, nh_slice payload, uint64_t question);

/*
 * nh_relay_device_open - from now on this connection is the device's end of the channel; one that had it before hears no more and its close is legal still (newest wins). about: JSON object
 * text that each viewer is given as event "metadata" when it joins ({"version":…}), or empty. fn may be NULL (nobody talks back). Viewers are told CLOSED where there was an end, and OPENED.
 */
struct nh_relay_device *nh_relay_device_open(struct nh_relay *relay, int64_t device_id, nh_relay_channel channel, nh_slice about, struct nh_loop *loop, nh_relay_device_fn fn, void *ctx);
/* nh_relay_device_say - to all viewers. output: bytes that are appended to the scrollback as well (the text of "up", of "shell_output"), or empty. */
void nh_relay_device_say(struct nh_relay_device *end, nh_slice event, nh_slice payload, nh_slice output);
/* nh_relay_device_waiting - how many bytes for the device wait behind its slow socket (0 = all are gone): they count as under way to it, so that people are told to wait and its connection does not drown. */
void nh_relay_device_waiting(struct nh_relay_device *end, size_t bytes);
void nh_relay_device_clear(struct nh_relay_device *end); /* empties the scrollback */
/* nh_relay_device_answer - the answer to a question; one that nobody waits for any more, or that this end was not asked, is dropped. payload: JSON text. */
void nh_relay_device_answer(struct nh_relay_device *end, uint64_t question, nh_slice payload);
/* nh_relay_device_close - viewers are told "closed"; questions end with NH_ECLOSED. fn is not called any more. NULL legal. */
void nh_relay_device_close(struct nh_relay_device *end);
/* nh_relay_watched - does anybody look on? For what is only worth wording where somebody does. Any thread. */
bool nh_relay_watched(struct nh_relay *relay, int64_t device_id, nh_relay_channel channel);

/* ---- people: web --------------------------------------------------------------------------------------------------------- */

typedef enum nh_relay_news {
	NH_RELAY_MESSAGE, /* event and payload of the device, or of a viewer (nh_relay_viewer_chat); event empty: nothing but `lost` is told */
	NH_RELAY_OPENED,  /* the device's end is there: at join where it is, or later. event "metadata", payload = about, or empty */
	NH_RELAY_REPLAY,  /* payload = the scrollback as raw bytes, once after OPENED, where there is any; not JSON */
	NH_RELAY_CLOSED,  /* the device's end went away; it may come again */
} nh_relay_news;

/* Views valid during the call. lost: messages dropped before this one because this viewer was slow. */
typedef void (*nh_relay_viewer_fn)(void *ctx, nh_relay_news news, nh_slice event, nh_slice payload, uint64_t lost);

/* nh_relay_viewer_join - looks on from now. Always succeeds, also while the device is away: CLOSED is not said then, OPENED follows once it comes. */
struct nh_relay_viewer *nh_relay_viewer_join(struct nh_relay *relay, int64_t device_id, nh_relay_channel channel, struct nh_loop *loop, nh_relay_viewer_fn fn, void *ctx);
/* nh_relay_viewer_say - to the device. NH_ECLOSED: it is not there, or does not listen. NH_EAGAIN: too much is under way to it. Then nothing was sent. */
nh_rc nh_relay_viewer_say(struct nh_relay_viewer *viewer, nh_slice event, nh_slice payload);
/* nh_relay_viewer_chat - to all viewers, this one included; the device hears nothing. */
void nh_relay_viewer_chat(struct nh_relay_viewer *viewer, nh_slice event, nh_slice payload);
/*
 * nh_relay_viewer_waiting - what is under way counts until its callback has returned; a viewer that hands the bytes on to a slow socket says here how many of them wait there (0 = all are
 * gone). What was lost meanwhile is told once half of NH_RELAY_PENDING_MAX is free again; a viewer that missed CLOSED or OPENED is told CLOSED and, where the device is there, OPENED anew.
 */
void nh_relay_viewer_waiting(struct nh_relay_viewer *viewer, size_t bytes);
void nh_relay_viewer_leave(struct nh_relay_viewer *viewer); /* fn is not called any more. NULL legal */

/* ---- questions ----------------------------------------------------------------------------------------------------------- */

/*
 * rc: NH_OK with the answer's payload (view); NH_ECLOSED: the device is not there, or went away; NH_ETIMEOUT; NH_EAGAIN: too many questions or bytes under way to it; NH_ETOOBIG: its answer
 * is over NH_RELAY_PENDING_MAX.
 */
typedef void (*nh_relay_answer_fn)(void *ctx, nh_rc rc, nh_slice payload);
/* nh_relay_ask - event and payload to the device's end of NH_RELAY_SCRIPTS; fn runs exactly once, on loop, within timeout_ms (1 to 600 000). */
void nh_relay_ask(struct nh_relay *relay, int64_t device_id, nh_slice event, nh_slice payload, uint64_t timeout_ms, struct nh_loop *loop, nh_relay_answer_fn fn, void *ctx);

/* ---- other servers: links.c ---------------------------------------------------------------------------------------------- */

/* Peers are numbered from 2 (here is 1). Hooks run under the relay's lock, on any thread: they note what is asked for, and call nothing of the relay. Slices are valid during the call. */
#define NH_RELAY_PEERS_END 64u
struct nh_relay_hooks {
	void *ctx;
	void (*watch)(void *ctx, uint64_t viewer, int64_t device_id, nh_relay_channel channel); /* at every peer; until unwatch */
	void (*again)(void *ctx, uint64_t viewer, unsigned peer);                               /* say OPENED once more */
	void (*unwatch)(void *ctx, uint64_t viewer);
	void (*say)(void *ctx, uint64_t viewer, unsigned peer, nh_slice event, nh_slice payload); /* what the peer has handed to the device is told by remote_taken */
	void (*chat)(void *ctx, int64_t device_id, nh_relay_channel channel, nh_slice event, nh_slice payload);
	void (*ask)(void *ctx, uint64_t question, int64_t device_id, nh_slice event, nh_slice payload, uint64_t timeout_ms); /* remote_answer follows, once */
};
void nh_relay_set_hooks(struct nh_relay *relay, const struct nh_relay_hooks *hooks); /* main; before anybody joins, and NULL after the last left */

/* What peers say; any thread. An unknown viewer or question has ended meanwhile. */
void nh_relay_remote_news(struct nh_relay *relay, uint64_t viewer, unsigned peer, nh_relay_news news, nh_slice event, nh_slice payload, uint64_t lost);
void nh_relay_remote_taken(struct nh_relay *relay, uint64_t viewer, unsigned peer, size_t bytes); /* event and payload of what was said */
void nh_relay_remote_chat(struct nh_relay *relay, int64_t device_id, nh_relay_channel channel, nh_slice event, nh_slice payload);
void nh_relay_remote_answer(struct nh_relay *relay, uint64_t question, nh_rc rc, nh_slice payload);

/* A peer's viewer and question, at a device of this process: as nh_relay_viewer_join and nh_relay_ask, and never led on to others; people's chats do not reach it. again: OPENED and REPLAY once more. */
struct nh_relay_viewer *nh_relay_guest_join(struct nh_relay *relay, int64_t device_id, nh_relay_channel channel, struct nh_loop *loop, nh_relay_viewer_fn fn, void *ctx);
void nh_relay_guest_again(struct nh_relay_viewer *viewer); /* [loop] */
void nh_relay_guest_ask(struct nh_relay *relay, int64_t device_id, nh_slice event, nh_slice payload, uint64_t timeout_ms, struct nh_loop *loop, nh_relay_answer_fn fn, void *ctx);

struct nh_relay_stats {
	uint64_t devices, viewers, questions; /* open now */
	uint64_t messages, lost, scrollback_bytes; /* since start: on their way to an end, dropped; now: allocated */
};
void nh_relay_stats(struct nh_relay *relay, struct nh_relay_stats *out);
