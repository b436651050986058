/*
 * Arena: a list of zeroed blocks, newest first. Nothing is freed singly. A request beyond the cap aborts: the cap is a last line behind the
 * parsers' own limits.
 */
#include "base/arena.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/err.h"

struct nh_arena_block {
	struct nh_arena_block *next;
	size_t size, used;
	_Alignas(max_align_t) uint8_t bytes[];
};

#define FIRST_BLOCK 2048
#define DEFAULT_CAP ((size_t)64 << 20)

void nh_arena_fini(struct nh_arena *a)
{
	for (struct nh_arena_block *b = a->head, *next; b; b = next) {
		next = b->next;
		free(b);
	}
	*a = (struct nh_arena){.cap_bytes = a->cap_bytes};
}

void nh_arena_reset(struct nh_arena *a)
{
	struct nh_arena_block *keep = a->head;
	if (!keep)
		return;
	struct nh_arena rest = {.head = keep->next};
	nh_arena_fini(&rest);
	keep->next = NULL;
	memset(keep->bytes, 0, keep->used);
	keep->used = 0;
	a->used_bytes = 0;
}

void *nh_arena_alloc(struct nh_arena *a, size_t size_bytes)
{
	size_t cap = a->cap_bytes ? a->cap_bytes : DEFAULT_CAP;
	NH_ASSERT(size_bytes <= cap && a->used_bytes <= cap - size_bytes);
	size_t need = (size_bytes + sizeof(max_align_t) - 1) & ~(sizeof(max_align_t) - 1);
	struct nh_arena_block *b = a->head;
	if (!b || b->size - b->used < need) {
		size_t size = b ? b->size * 2 : FIRST_BLOCK;
		if (size > (size_t)1 << 20)
			size = (size_t)1 << 20;
		if (size < need)
			size = need;
		b = calloc(1, sizeof *b + size);
		NH_ASSERT(b != NULL);
		b->size = size;
		b->next = a->head;
		a->head = b;
	}
	void *out = b->bytes + b->used;
	b->used += need;
	a->used_bytes += need;
	return out;
}

void *nh_arena_array(struct nh_arena *a, size_t count, size_t size_bytes)
{
	size_t total = 0;
	NH_ASSERT(!__builtin_mul_overflow(count, size_bytes, &total));
	return nh_arena_alloc(a, total);
}

nh_slice nh_arena_copy(struct nh_arena *a, nh_slice s) { return (nh_slice){(uint8_t *)nh_arena_str(a, s), s.len}; }

char *nh_arena_str(struct nh_arena *a, nh_slice s)
{
	char *out = nh_arena_alloc(a, s.len + 1);
	if (s.len)
		memcpy(out, s.ptr, s.len);
	return out;
}

char *nh_arena_printf(struct nh_arena *a, const char *fmt, ...)
{
	va_list ap, again;
	va_start(ap, fmt);
	va_copy(again, ap);
	int n = vsnprintf(NULL, 0, fmt, ap);
	NH_ASSERT(n >= 0);
	char *out = nh_arena_alloc(a, (size_t)n + 1);
	vsnprintf(out, (size_t)n + 1, fmt, again);
	va_end(again);
	va_end(ap);
	return out;
}

void *nh_xcalloc(size_t count, size_t size_bytes)
{
	void *out = calloc(count ? count : 1, size_bytes ? size_bytes : 1);
	NH_ASSERT(out != NULL);
	return out;
}

char *nh_xstrdup(nh_slice s)
{
	char *out = nh_xcalloc(1, s.len + 1);
	if (s.len)
		memcpy(out, s.ptr, s.len);
	return out;
}
