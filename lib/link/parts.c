/*
 * Which bytes of a file have proven themselves: each part of 1 MiB by its own checksum, or the whole file by the one of the file. Takes bytes in order and says
 * where one has to go back to. source: reference/device-protocol "13.4"
 */
#include "cache_int.h"

#include "base/encode.h"

static bool is_sha256(nh_slice hex)
{
	uint8_t digest[NH_SHA256_LEN];
	return nh_hex_decode_fixed(hex, digest, sizeof digest) == NH_OK;
}

static bool usable(const struct nh_link_offer *o)
{
	if (o->size_bytes == 0 || o->part_count != (o->size_bytes - 1) / PART_BYTES + 1)
		return false;
	for (size_t i = 0; i < o->part_count; i++)
		if (!is_sha256(o->parts_sha256_hex[i]))
			return false;
	return true;
}

void parts_init(struct link_parts *p, const struct nh_link_offer *offer, bool wanted)
{
	*p = (struct link_parts){.total = offer->size_bytes, .whole = !wanted || !usable(offer)};
	p->hex = p->whole ? &offer->sha256_hex : offer->parts_sha256_hex;
	p->count = p->whole ? is_sha256(offer->sha256_hex) : offer->part_count;
	p->digest = nh_digest_stream_new(NH_SHA256);
}

void parts_fini(struct link_parts *p)
{
	nh_digest_stream_free(p->digest);
	p->digest = NULL;
}

static void begin(struct link_parts *p, uint64_t at)
{
	nh_digest_stream_free(p->digest);
	p->digest = nh_digest_stream_new(NH_SHA256);
	p->start = p->at = at;
}

void parts_rewind(struct link_parts *p)
{
	begin(p, 0);
	p->tries = 0;
}

uint64_t parts_room(const struct link_parts *p)
{
	uint64_t end = p->whole ? UINT64_MAX : p->start + PART_BYTES;
	if (p->total && p->total < end)
		end = p->total;
	return end == UINT64_MAX ? end : end - p->at;
}

/* The part begun is complete. */
static nh_rc check(struct link_parts *p, struct nh_err *err)
{
	uint8_t is[NH_SHA256_LEN], wanted[NH_SHA256_LEN];
	size_t index = p->whole ? 0 : (size_t)(p->start / PART_BYTES);
	nh_digest_stream_final(p->digest, is);
	bool good = index >= p->count || (nh_hex_decode_fixed(p->hex[index], wanted, sizeof wanted) == NH_OK && nh_slice_eq(nh_slice_of(is, sizeof is), nh_slice_of(wanted, sizeof wanted)));
	begin(p, good ? p->at : p->start);
	if (good) {
		p->tries = 0;
		return NH_OK;
	}
	if (++p->tries < PART_TRIES)
		return NH_FAIL(err, NH_ECONFLICT, "%s does not have the checksum that was announced", p->whole ? "the file" : "a part of the file");
	return NH_FAIL(err, NH_EFORMAT, "%s does not have the checksum that was announced (%d attempts)", p->whole ? "the file" : "a part of the file", PART_TRIES);
}

nh_rc parts_take(struct link_parts *p, nh_slice bytes, struct nh_err *err)
{
	NH_ASSERT(bytes.len <= parts_room(p));
	nh_digest_stream_update(p->digest, bytes);
	p->at += bytes.len;
	/* A whole file is judged at its end only: its size may not be known, and nothing is gained before. */
	return p->whole || parts_room(p) > 0 ? NH_OK : check(p, err);
}

nh_rc parts_end(struct link_parts *p, struct nh_err *err)
{
	if (p->total && p->at != p->total)
		return NH_FAIL(err, NH_EFORMAT, "the file does not have the size that was announced");
	return p->whole ? check(p, err) : NH_OK;
}
