/*
 * Views of bytes: a pointer and a length, never owned, never assumed NUL-terminated.
 *
 * thread: any. No function fails, never allocate. Text comparison is byte-wise and locale-free (ASCII where case matters).
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

typedef struct nh_slice {
	const uint8_t *ptr; /* may be NULL when len is 0 */
	size_t len;
} nh_slice;

#define NH_SLICE_EMPTY ((nh_slice){NULL, 0})
/* NH_LIT("text") - the slice of a string literal, without its NUL. */
#define NH_LIT(s) ((nh_slice){(const uint8_t *)("" s), sizeof(s) - 1})
/* printf("%.*s", NH_ARG(slice)) */
#define NH_ARG(s) (int)((s).len > INT32_MAX ? INT32_MAX : (s).len), (const char *)((s).ptr ? (s).ptr : (const uint8_t *)"")

/* A view of memory; of a C string without its NUL (NULL: empty); equal bytes. */
static inline nh_slice nh_slice_of(const void *ptr, size_t len) { return (nh_slice){(const uint8_t *)ptr, len}; }
static inline nh_slice nh_slice_str(const char *s) { return s ? (nh_slice){(const uint8_t *)s, strlen(s)} : NH_SLICE_EMPTY; }
static inline bool nh_slice_eq(nh_slice a, nh_slice b) { return a.len == b.len && (a.len == 0 || memcmp(a.ptr, b.ptr, a.len) == 0); }
static inline bool nh_slice_eq_str(nh_slice a, const char *s) { return nh_slice_eq(a, nh_slice_str(s)); }

bool nh_slice_ieq(nh_slice a, nh_slice b);              /* equal, ASCII letters without case */
int nh_slice_cmp(nh_slice a, nh_slice b);               /* memcmp order, shorter first */
bool nh_slice_starts(nh_slice s, nh_slice prefix);
bool nh_slice_ends(nh_slice s, nh_slice suffix);
nh_slice nh_slice_sub(nh_slice s, size_t from, size_t len); /* clamped to s */
nh_slice nh_slice_skip(nh_slice s, size_t n);           /* without its first n bytes (clamped) */
nh_slice nh_slice_trim(nh_slice s);                     /* without blanks, tabs, CR, LF at both ends */
ptrdiff_t nh_slice_find(nh_slice s, nh_slice needle);   /* offset, or -1 */
ptrdiff_t nh_slice_chr(nh_slice s, uint8_t byte);       /* offset of the first, or -1 */
/* nh_slice_cut - splits at the first sep: *head before it, *rest after it. Without sep: *head = s, *rest empty, false. */
bool nh_slice_cut(nh_slice s, uint8_t sep, nh_slice *head, nh_slice *rest);
bool nh_utf8_valid(nh_slice s);                         /* strict UTF-8: no overlong forms, no surrogates, max U+10FFFF */

/* Constant time in a.len and b.len; for secrets and signatures. */
bool nh_slice_eq_ct(nh_slice a, nh_slice b);
