/*
 * A secret on the heap that is overwritten when it is freed. Not a slice on purpose: it takes an explicit nh_secret_slice() to look at it, so it
 * does not slip into a log line or an error message. thread: one at a time.
 */
#pragma once

#include "base/buf.h"

struct nh_secret {
	uint8_t *ptr;
	size_t len;
};

#define NH_SECRET_INIT ((struct nh_secret){0})
#define NH_AUTO_SECRET __attribute__((cleanup(nh_secret_fini)))

void nh_secret_init(struct nh_secret *s, nh_slice bytes);       /* copies; NUL-terminated behind the length */
void nh_secret_take(struct nh_secret *s, struct nh_buf *take);  /* copies and wipes the buffer */
void nh_secret_fini(struct nh_secret *s);                       /* wipes and frees; legal on a zeroed struct */
static inline nh_slice nh_secret_slice(const struct nh_secret *s) { return (nh_slice){s->ptr, s->len}; }
void nh_wipe(void *ptr, size_t len);                            /* overwrites; never optimized away */
