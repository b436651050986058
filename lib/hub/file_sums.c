/* Check sums of a file as it passes by. */
#include "hub/file_sums.h"

#include <stdlib.h>

#include "base/encode.h"
#include "crypto/digest.h"

#define PARTIAL_BYTES ((uint64_t)1 << 20)

struct nh_file_sums {
	struct nh_digest_stream *whole, *part;
	uint64_t size, part_size;
	json_t *parts;
};

struct nh_file_sums *nh_file_sums_new(void)
{
	struct nh_file_sums *s = nh_xcalloc(1, sizeof *s);
	*s = (struct nh_file_sums){nh_digest_stream_new(NH_SHA256), nh_digest_stream_new(NH_SHA256), 0, 0, json_array()};
	return s;
}

void nh_file_sums_free(struct nh_file_sums *s)
{
	if (!s)
		return;
	nh_digest_stream_free(s->whole);
	nh_digest_stream_free(s->part);
	json_decref(s->parts);
	free(s);
}

static void put_digest(struct nh_digest_stream *of, struct nh_buf *out)
{
	uint8_t digest[NH_SHA256_LEN];
	nh_digest_stream_final(of, digest);
	nh_hex_put_upper(out, nh_slice_of(digest, sizeof(digest)));
}

static void end_part(struct nh_file_sums *s)
{
	NH_AUTO_BUF struct nh_buf text = NH_BUF_INIT;
	put_digest(s->part, &text);
	nh_digest_stream_free(s->part);
	s->part = nh_digest_stream_new(NH_SHA256);
	s->part_size = 0;
	json_array_append_new(s->parts, nh_json_new_text(nh_buf_slice(&text)));
}

void nh_file_sums_update(struct nh_file_sums *s, nh_slice bytes)
{
	nh_digest_stream_update(s->whole, bytes);
	s->size += bytes.len;
	while (bytes.len > 0) {
		size_t take = PARTIAL_BYTES - s->part_size < bytes.len ? (size_t)(PARTIAL_BYTES - s->part_size) : bytes.len;
		nh_digest_stream_update(s->part, nh_slice_sub(bytes, 0, take));
		s->part_size += take;
		bytes = nh_slice_skip(bytes, take);
		if (s->part_size == PARTIAL_BYTES)
			end_part(s);
	}
}

uint64_t nh_file_sums_size(const struct nh_file_sums *s) { return s->size; }

void nh_file_sums_end(struct nh_file_sums *s, struct nh_arena *arena, nh_slice *checksum, nh_slice *partials)
{
	NH_AUTO_BUF struct nh_buf text = NH_BUF_INIT;
	if (s->part_size > 0)
		end_part(s);
	put_digest(s->whole, &text);
	*checksum = nh_arena_copy(arena, nh_buf_slice(&text));
	nh_buf_clear(&text);
	nh_json_put(&text, s->parts);
	*partials = nh_arena_copy(arena, nh_buf_slice(&text));
}
