/*
 * Arena: memory that dies together with one request, channel message or command.
 *
 * Allocation never fails visibly: the process aborts when the kernel refuses memory. Sizes from input are capped by the parser
 * in front, and each arena has a cap (default 64 MiB) beyond which it aborts, as that is a missing cap, a bug.
 * Memory is zeroed and aligned for any type. thread: one at a time.
 */
#pragma once

#include <stdarg.h>

#include "base/slice.h"

struct nh_arena_block;
struct nh_arena {
	struct nh_arena_block *head;
	size_t used_bytes;
	size_t cap_bytes; /* 0 = default */
};

#define NH_ARENA_INIT ((struct nh_arena){0})

void nh_arena_fini(struct nh_arena *a);   /* frees all; legal on a zeroed struct */
void nh_arena_reset(struct nh_arena *a);  /* as fini, but keeps one block for reuse */
[[gnu::malloc]] void *nh_arena_alloc(struct nh_arena *a, size_t size_bytes); /* zeroed, never NULL; 0 bytes are legal */
/* checked multiplication: aborts on overflow */
[[gnu::malloc]] void *nh_arena_array(struct nh_arena *a, size_t count, size_t size_bytes);
nh_slice nh_arena_copy(struct nh_arena *a, nh_slice s); /* copy followed by a NUL that is not counted */
char *nh_arena_str(struct nh_arena *a, nh_slice s);     /* NUL-terminated copy */
[[gnu::format(printf, 2, 3)]] char *nh_arena_printf(struct nh_arena *a, const char *fmt, ...);

#define NH_NEW(arena, type) ((type *)nh_arena_alloc((arena), sizeof(type)))
#define NH_NEW_ARRAY(arena, count, type) ((type *)nh_arena_array((arena), (count), sizeof(type)))
#define NH_AUTO_ARENA __attribute__((cleanup(nh_arena_fini)))

/* Heap helpers for long-lived objects of fixed size: zeroed, abort when memory is out. Free with free(). */
[[gnu::malloc]] void *nh_xcalloc(size_t count, size_t size_bytes);
char *nh_xstrdup(nh_slice s);
