/*
 * DER items: tag, length, content. Nothing is interpreted here.
 */
#include "base/der.h"

struct nh_der nh_der_next(struct nh_rd *r)
{
	size_t start = r->pos;
	struct nh_der d = {.tag = nh_rd_u8(r)};
	size_t len = nh_rd_u8(r);
	if (len & 0x80) {
		size_t count = len & 0x7F;
		if (count == 0 || count > 3)
			r->failed = true;
		for (len = 0; count && !r->failed; count--)
			len = len << 8 | nh_rd_u8(r);
	}
	d.content = nh_rd_bytes(r, len);
	if (r->failed)
		return (struct nh_der){0};
	d.whole = nh_slice_of(r->ptr + start, r->pos - start);
	return d;
}

struct nh_der nh_der_expect(struct nh_rd *r, uint8_t tag)
{
	struct nh_der d = nh_der_next(r);
	if (d.tag != tag)
		r->failed = true;
	return r->failed ? (struct nh_der){0} : d;
}

/* The bytes of a length field; at most one that counts and four that tell. */
static size_t length_bytes(size_t len, uint8_t out[5])
{
	size_t count = 0;
	if (len < 0x80) {
		out[0] = (uint8_t)len;
		return 1;
	}
	for (size_t rest = len; rest; rest >>= 8)
		count++;
	NH_ASSERT(count <= 4);
	out[0] = (uint8_t)(0x80 | count);
	for (size_t i = 0; i < count; i++)
		out[1 + i] = (uint8_t)(len >> 8 * (count - 1 - i));
	return 1 + count;
}

void nh_der_put(struct nh_buf *out, uint8_t tag, nh_slice content)
{
	uint8_t length[5];
	nh_buf_put_u8(out, tag);
	nh_buf_put(out, length, length_bytes(content.len, length));
	nh_buf_put_slice(out, content);
}

void nh_der_put_unsigned(struct nh_buf *out, nh_slice number)
{
	while (number.len && number.ptr[0] == 0)
		number = nh_slice_skip(number, 1);
	bool zero_first = number.len == 0 || number.ptr[0] & 0x80;
	uint8_t length[5];
	nh_buf_put_u8(out, NH_DER_INTEGER);
	nh_buf_put(out, length, length_bytes(number.len + zero_first, length));
	nh_buf_fill(out, 0, zero_first);
	nh_buf_put_slice(out, number);
}

size_t nh_der_begin(struct nh_buf *out, uint8_t tag)
{
	nh_buf_put_u8(out, tag);
	return out->len;
}

/* The length is known only now: the content makes room for it. */
void nh_der_end(struct nh_buf *out, size_t begin)
{
	if (out->failed)
		return;
	uint8_t length[5];
	size_t content = out->len - begin, count = length_bytes(content, length);
	nh_buf_fill(out, 0, count);
	if (out->failed)
		return;
	memmove(out->ptr + begin + count, out->ptr + begin, content);
	memcpy(out->ptr + begin, length, count);
}
