/*
 * What goes over a link: one frame a message, all of one form. Private to bus.
 */
#pragma once

#include "base/buf.h"
#include "base/err.h"
#include "base/slice.h"

#define LINK_PATH "/link"
#define LINK_MESSAGE_MAX ((size_t)4 << 20)

typedef enum link_kind {
	/* from people: to who may have the device */
	LINK_WATCH = 1, /* a: viewer, b: device, c: channel */
	LINK_AGAIN,     /* a: viewer */
	LINK_UNWATCH,   /* a: viewer */
	LINK_SAY,       /* a: viewer, event, payload */
	LINK_CHAT,      /* a: device, c: channel, event, payload */
	LINK_ASK,       /* a: question, b: device, d: milliseconds, event, payload */
	/* from devices */
	LINK_NEWS,      /* a: viewer, b: lost, c: nh_relay_news, event, payload */
	LINK_TAKEN,     /* a: viewer, b: bytes */
	LINK_ANSWER,    /* a: question, c: an answer's code, payload */
	LINK_KINDS,
} link_kind;

struct link_frame {
	link_kind kind;
	uint8_t c;
	uint64_t a, b;
	uint32_t d;
	nh_slice event, payload; /* views */
};

void nh_link_put(struct nh_buf *out, const struct link_frame *f);
bool nh_link_read(nh_slice bytes, struct link_frame *out); /* false: no such frame */

/* How an answer's code travels: codes of this program may change, those on a link must not. */
uint8_t nh_link_code(nh_rc rc);
nh_rc nh_link_rc(uint8_t code); /* unknown: NH_ECLOSED */
