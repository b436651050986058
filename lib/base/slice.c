/*
 * Views of bytes: comparison, search, splitting, UTF-8. Allocates nothing, fails never.
 */
#include "base/slice.h"

static uint8_t lower(uint8_t c) { return c >= 'A' && c <= 'Z' ? (uint8_t)(c + 32) : c; }

bool nh_slice_ieq(nh_slice a, nh_slice b)
{
	if (a.len != b.len)
		return false;
	for (size_t i = 0; i < a.len; i++)
		if (lower(a.ptr[i]) != lower(b.ptr[i]))
			return false;
	return true;
}

int nh_slice_cmp(nh_slice a, nh_slice b)
{
	size_t n = a.len < b.len ? a.len : b.len;
	int order = n ? memcmp(a.ptr, b.ptr, n) : 0;
	return order ? order : (a.len > b.len) - (a.len < b.len);
}

nh_slice nh_slice_sub(nh_slice s, size_t from, size_t len)
{
	if (from > s.len)
		from = s.len;
	if (len > s.len - from)
		len = s.len - from;
	return (nh_slice){s.ptr ? s.ptr + from : NULL, len};
}

nh_slice nh_slice_skip(nh_slice s, size_t n) { return nh_slice_sub(s, n, s.len); }

bool nh_slice_starts(nh_slice s, nh_slice prefix) { return nh_slice_eq(nh_slice_sub(s, 0, prefix.len), prefix); }

bool nh_slice_ends(nh_slice s, nh_slice suffix) { return s.len >= suffix.len && nh_slice_eq(nh_slice_skip(s, s.len - suffix.len), suffix); }

static bool blank(uint8_t c) { return c == ' ' || c == '\t' || c == '\r' || c == '\n'; }

nh_slice nh_slice_trim(nh_slice s)
{
	while (s.len && blank(s.ptr[0]))
		s = nh_slice_skip(s, 1);
	while (s.len && blank(s.ptr[s.len - 1]))
		s.len--;
	return s;
}

ptrdiff_t nh_slice_find(nh_slice s, nh_slice needle)
{
	if (needle.len == 0)
		return 0;
	if (s.len < needle.len)
		return -1;
	const uint8_t *at = memmem(s.ptr, s.len, needle.ptr, needle.len);
	return at ? at - s.ptr : -1;
}

ptrdiff_t nh_slice_chr(nh_slice s, uint8_t byte)
{
	const uint8_t *at = s.len ? memchr(s.ptr, byte, s.len) : NULL;
	return at ? at - s.ptr : -1;
}

bool nh_slice_cut(nh_slice s, uint8_t sep, nh_slice *head, nh_slice *rest)
{
	ptrdiff_t at = nh_slice_chr(s, sep);
	*head = at < 0 ? s : nh_slice_sub(s, 0, (size_t)at);
	*rest = at < 0 ? NH_SLICE_EMPTY : nh_slice_skip(s, (size_t)at + 1);
	return at >= 0;
}

/* Length of the well-formed sequence at the start of s, 0 where there is none (RFC 3629, table of section 4). */
static size_t utf8_step(nh_slice s)
{
	uint8_t c = s.ptr[0];
	if (c < 0x80)
		return 1;
	size_t len = c >= 0xC2 && c <= 0xDF ? 2 : c >= 0xE0 && c <= 0xEF ? 3 : c >= 0xF0 && c <= 0xF4 ? 4 : 0;
	if (len == 0 || s.len < len)
		return 0;
	uint8_t low = c == 0xE0 ? 0xA0 : c == 0xF0 ? 0x90 : 0x80;
	uint8_t high = c == 0xED ? 0x9F : c == 0xF4 ? 0x8F : 0xBF;
	if (s.ptr[1] < low || s.ptr[1] > high)
		return 0;
	for (size_t i = 2; i < len; i++)
		if ((s.ptr[i] & 0xC0) != 0x80)
			return 0;
	return len;
}

bool nh_utf8_valid(nh_slice s)
{
	while (s.len) {
		size_t step = utf8_step(s);
		if (step == 0)
			return false;
		s = nh_slice_skip(s, step);
	}
	return true;
}

bool nh_slice_eq_ct(nh_slice a, nh_slice b)
{
	/* Walks all of b whatever a is, and reads a only inside its bounds. */
	volatile uint8_t diff = a.len != b.len;
	for (size_t i = 0; i < b.len; i++)
		diff |= (uint8_t)(b.ptr[i] ^ (a.len ? a.ptr[i % a.len] : 0xFF));
	return diff == 0;
}
