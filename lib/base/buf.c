/*
 * Growable buffer. Capacity doubles; one byte beyond len is always NUL once anything was stored.
 */
#include "base/buf.h"

#include <stdio.h>
#include <stdlib.h>

#define DEFAULT_MAX ((size_t)1 << 30)

void nh_buf_fini(struct nh_buf *b)
{
	free(b->ptr);
	*b = (struct nh_buf){.max = b->max};
}

void nh_buf_clear(struct nh_buf *b)
{
	b->len = 0;
	b->failed = false;
	if (b->ptr)
		b->ptr[0] = 0;
}

void nh_buf_wipe(struct nh_buf *b)
{
	if (b->ptr)
		explicit_bzero(b->ptr, b->cap);
	nh_buf_fini(b);
}

void nh_buf_reserve(struct nh_buf *b, size_t more)
{
	size_t max = b->max ? b->max : DEFAULT_MAX;
	if (b->failed || more > max || b->len > max - more) {
		b->failed = true;
		return;
	}
	size_t need = b->len + more + 1;
	if (need <= b->cap)
		return;
	size_t cap = b->cap ? b->cap : 64;
	while (cap < need)
		cap *= 2;
	uint8_t *ptr = realloc(b->ptr, cap);
	if (!ptr) {
		b->failed = true;
		return;
	}
	b->ptr = ptr;
	b->cap = cap;
	b->ptr[b->len] = 0;
}

void nh_buf_put(struct nh_buf *b, const void *ptr, size_t len)
{
	nh_buf_reserve(b, len);
	if (b->failed)
		return;
	if (len)
		memmove(b->ptr + b->len, ptr, len);
	b->len += len;
	b->ptr[b->len] = 0;
}

void nh_buf_put_slice(struct nh_buf *b, nh_slice s) { nh_buf_put(b, s.ptr, s.len); }
void nh_buf_put_str(struct nh_buf *b, const char *s) { nh_buf_put(b, s, strlen(s)); }
void nh_buf_put_u8(struct nh_buf *b, uint8_t v) { nh_buf_put(b, &v, 1); }

void nh_buf_fill(struct nh_buf *b, uint8_t byte, size_t count)
{
	nh_buf_reserve(b, count);
	if (b->failed)
		return;
	memset(b->ptr + b->len, byte, count);
	b->len += count;
	b->ptr[b->len] = 0;
}

void nh_buf_vprintf(struct nh_buf *b, const char *fmt, va_list ap)
{
	va_list again;
	va_copy(again, ap);
	int n = vsnprintf(NULL, 0, fmt, ap);
	if (n < 0)
		b->failed = true;
	else
		nh_buf_reserve(b, (size_t)n);
	if (!b->failed) {
		vsnprintf((char *)b->ptr + b->len, (size_t)n + 1, fmt, again);
		b->len += (size_t)n;
	}
	va_end(again);
}

void nh_buf_printf(struct nh_buf *b, const char *fmt, ...)
{
	va_list ap;
	va_start(ap, fmt);
	nh_buf_vprintf(b, fmt, ap);
	va_end(ap);
}

void nh_buf_consume(struct nh_buf *b, size_t n)
{
	if (n == 0 || !b->ptr)
		return;
	if (n > b->len)
		n = b->len;
	memmove(b->ptr, b->ptr + n, b->len - n);
	b->len -= n;
	b->ptr[b->len] = 0;
}

void nh_buf_truncate(struct nh_buf *b, size_t len)
{
	if (len >= b->len)
		return;
	b->len = len;
	b->ptr[len] = 0;
}

struct nh_buf nh_steal_buf(struct nh_buf *b)
{
	struct nh_buf out = *b;
	*b = (struct nh_buf){.max = b->max};
	return out;
}

const char *nh_buf_cstr(const struct nh_buf *b) { return b->ptr ? (const char *)b->ptr : ""; }

nh_rc nh_buf_check(const struct nh_buf *b, const char *what, struct nh_err *err)
{
	if (!b->failed)
		return NH_OK;
	size_t max = b->max ? b->max : DEFAULT_MAX;
	return NH_FAIL(err, NH_ETOOBIG, "%s does not fit in %zu bytes", what, max);
}
