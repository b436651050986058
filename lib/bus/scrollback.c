/*
 * The ring of a scrollback. Bytes are kept as they came; the only thing looked at is where lines end and where characters begin.
 */
#include "scrollback_int.h"

#include <stdlib.h>

#include "base/arena.h"
#include "bus/relay.h"

static uint8_t at(const struct nh_scrollback *s, size_t i) { return s->ring[(s->start + i) & (s->cap - 1)]; }

static void drop(struct nh_scrollback *s, size_t count)
{
	s->start = (s->start + count) & (s->cap - 1);
	s->len -= count;
}

static void drop_line(struct nh_scrollback *s)
{
	size_t end = 0;
	while (at(s, end) != '\n')
		end++;
	drop(s, end + 1);
	s->lines--;
}

static bool continues(uint8_t byte) { return (byte & 0xC0) == 0x80; }

/* Room for `more` bytes: whole lines go first; then the beginning of the only one. */
static void make_room(struct nh_scrollback *s, size_t more)
{
	while (s->lines > 0 && s->len + more > s->cap)
		drop_line(s);
	if (s->len + more > s->cap)
		drop(s, s->len + more - s->cap);
}

static void append(struct nh_scrollback *s, nh_slice bytes)
{
	size_t end = (s->start + s->len) & (s->cap - 1);
	size_t first = bytes.len < s->cap - end ? bytes.len : s->cap - end;
	if (first > 0)
		memcpy(s->ring + end, bytes.ptr, first);
	if (bytes.len > first)
		memcpy(s->ring, bytes.ptr + first, bytes.len - first);
	s->len += bytes.len;
}

/* As large as is wanted, the limit and the budget allow. */
static void grow(struct nh_scrollback *s, struct nh_scrollback_budget *budget, size_t wanted)
{
	size_t cap = s->cap ? s->cap : NH_SCROLLBACK_FIRST;
	while (cap < wanted && cap < NH_RELAY_SCROLLBACK_BYTES)
		cap *= 2;
	while (cap > NH_SCROLLBACK_FIRST && cap > s->cap && budget->used + cap - s->cap > budget->max)
		cap /= 2;
	if (cap <= s->cap)
		return;
	struct nh_buf kept = NH_BUF_INIT;
	nh_scrollback_put(s, &kept);
	uint8_t *ring = nh_xcalloc(1, cap);
	if (kept.len > 0)
		memcpy(ring, kept.ptr, kept.len);
	nh_buf_fini(&kept);
	free(s->ring);
	budget->used += cap - s->cap;
	s->ring = ring;
	s->cap = cap;
	s->start = 0;
}

/* The last lines of output that are worth keeping: what lies before them would be dropped at once. */
static nh_slice tail_of(nh_slice output, size_t cap)
{
	if (output.len <= cap)
		return output;
	nh_slice tail = nh_slice_skip(output, output.len - cap);
	ptrdiff_t end = output.ptr[output.len - cap - 1] == '\n' ? -1 : nh_slice_chr(tail, '\n');
	return end < 0 || (size_t)end + 1 == tail.len ? tail : nh_slice_skip(tail, (size_t)end + 1);
}

void nh_scrollback_add(struct nh_scrollback *s, struct nh_scrollback_budget *budget, nh_slice output)
{
	if (output.len == 0)
		return;
	grow(s, budget, s->len + output.len);
	if (output.len > s->cap) {
		output = tail_of(output, s->cap);
		s->start = s->len = s->lines = 0;
	}
	make_room(s, output.len);
	append(s, output);
	for (size_t i = 0; i < output.len; i++)
		s->lines += output.ptr[i] == '\n';
	while (s->lines > NH_RELAY_SCROLLBACK_LINES)
		drop_line(s);
	while (s->len > 0 && continues(at(s, 0)))
		drop(s, 1);
}

void nh_scrollback_clear(struct nh_scrollback *s, struct nh_scrollback_budget *budget)
{
	budget->used -= s->cap;
	free(s->ring);
	*s = (struct nh_scrollback){0};
}

void nh_scrollback_put(const struct nh_scrollback *s, struct nh_buf *out)
{
	size_t first = s->len < s->cap - s->start ? s->len : s->cap - s->start;
	nh_buf_put(out, s->ring ? s->ring + s->start : NULL, first);
	nh_buf_put(out, s->ring, s->len - first);
}
