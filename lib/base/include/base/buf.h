/*
 * Growable byte buffer, always followed by a NUL that is not counted, so `(char *)b.ptr` is a C string.
 *
 * Growth is for sizes the program chooses. Where a size comes from input, set `max` (bytes, 0 = 1 GiB) first: an append beyond it
 * sets `failed` and changes nothing more; check nh_buf_ok once at the end (same for allocation failure).
 * thread: any, one at a time.
 */
#pragma once

#include <stdarg.h>

#include "base/err.h"
#include "base/slice.h"

struct nh_buf {
	uint8_t *ptr;
	size_t len;
	size_t cap;
	size_t max;
	bool failed;
};

#define NH_BUF_INIT ((struct nh_buf){0})
#define NH_BUF_MAX(n) ((struct nh_buf){.max = (n)})

void nh_buf_fini(struct nh_buf *b);                  /* frees; legal on a zeroed struct; leaves it empty (max kept) */
void nh_buf_clear(struct nh_buf *b);                 /* len = 0, failed = false, memory kept */
void nh_buf_wipe(struct nh_buf *b);                  /* overwrites all memory, then fini: for secrets */
void nh_buf_reserve(struct nh_buf *b, size_t more);  /* room for `more` further bytes */
/* Appending; the source must not lie in the buffer itself. */
void nh_buf_put(struct nh_buf *b, const void *ptr, size_t len);
void nh_buf_put_slice(struct nh_buf *b, nh_slice s);
void nh_buf_put_str(struct nh_buf *b, const char *s);
void nh_buf_put_u8(struct nh_buf *b, uint8_t v);
void nh_buf_fill(struct nh_buf *b, uint8_t byte, size_t count);
[[gnu::format(printf, 2, 3)]] void nh_buf_printf(struct nh_buf *b, const char *fmt, ...);
[[gnu::format(printf, 2, 0)]] void nh_buf_vprintf(struct nh_buf *b, const char *fmt, va_list ap);
void nh_buf_consume(struct nh_buf *b, size_t n);     /* drops the first n bytes (clamped) */
void nh_buf_truncate(struct nh_buf *b, size_t len);  /* cuts to len (clamped) */
struct nh_buf nh_steal_buf(struct nh_buf *b);        /* moves it out; *b is empty again */
const char *nh_buf_cstr(const struct nh_buf *b);     /* borrowed, "" when empty */

/* Whether every append so far took; what is in it, borrowed until the next change. */
static inline bool nh_buf_ok(const struct nh_buf *b) { return !b->failed; }
static inline nh_slice nh_buf_slice(const struct nh_buf *b) { return (nh_slice){b->ptr, b->len}; }
/* nh_buf_check - NH_OK; NH_ETOOBIG or NH_ENOMEM where an append failed. `what` names the content in the message. */
nh_rc nh_buf_check(const struct nh_buf *b, const char *what, struct nh_err *err);

#define NH_AUTO_BUF __attribute__((cleanup(nh_buf_fini)))
