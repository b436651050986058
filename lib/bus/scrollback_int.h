/*
 * Scrollback: the last lines of a channel's output, in a ring that grows to a limit. Private to bus.
 *
 * What does not fit goes line by line, the oldest first; a line that is longer than the limit alone loses its beginning, up to where a character
 * begins. An addition costs its own length, not that of what is kept.
 */
#pragma once

#include "base/buf.h"
#include "base/slice.h"

struct nh_scrollback {
	uint8_t *ring;
	size_t cap, start, len; /* cap: 0 or a power of two */
	size_t lines;           /* LF among what is kept */
};

/* Bytes that all scrollbacks of one owner have allocated, and may. */
struct nh_scrollback_budget {
	size_t used, max;
};

#define NH_SCROLLBACK_FIRST 256u /* bytes, of which the budget is not asked */

void nh_scrollback_add(struct nh_scrollback *s, struct nh_scrollback_budget *budget, nh_slice output);
void nh_scrollback_clear(struct nh_scrollback *s, struct nh_scrollback_budget *budget); /* gives the memory back */
void nh_scrollback_put(const struct nh_scrollback *s, struct nh_buf *out);              /* appends what is kept */
