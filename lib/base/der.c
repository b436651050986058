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
