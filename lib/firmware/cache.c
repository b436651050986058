/*
 * The write cache. All transfers are whole segments from page-aligned memory (the destination may be open with O_DIRECT), shortened only at a known end.
 * Invariants: a dirty block is valid; a segment appears once; after a failed write nothing is written any more.
 */
#include "cache_int.h"

#include <errno.h>
#include <linux/fs.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "base/arena.h"
#include "base/file.h"

#define BLOCKS (NH_FW_SEGMENT / NH_FW_BLOCK)
#define WORDS (BLOCKS / 64)
#define BUCKETS 256u
/* Trims behind 8 TiB are not remembered: it would only cost memory, and forgetting one only costs a read. */
#define TRIM_SEGMENTS_MAX (UINT64_C(1) << 26)

struct segment {
	struct segment *next_in_bucket;
	uint64_t number;
	uint64_t used_at; /* of c->clock */
	uint8_t *bytes;
	uint64_t valid[WORDS], dirty[WORDS], streamed[WORDS];
};

struct nh_fw_cache {
	struct nh_fw_cache_config config;
	struct segment *buckets[BUCKETS];
	unsigned count;
	uint64_t clock;
	uint8_t *scratch;      /* one segment */
	uint64_t *trimmed;     /* one bit a segment */
	size_t trimmed_words;
	bool failed;
};

static bool bit_get(const uint64_t *bits, size_t i)
{
	return bits[i / 64] >> (i % 64) & 1;
}

static void bit_set(uint64_t *bits, size_t i)
{
	bits[i / 64] |= UINT64_C(1) << (i % 64);
}

static bool bits_any(const uint64_t *bits)
{
	return (bits[0] | bits[1] | bits[2] | bits[3]) != 0;
}

static bool bits_all(const uint64_t *bits)
{
	return (bits[0] & bits[1] & bits[2] & bits[3]) == UINT64_MAX;
}

_Static_assert(WORDS == 4, "bits_any and bits_all look at four words");

static uint8_t *pages_new(void)
{
	void *p = NULL;
	int failed = posix_memalign(&p, 4096, NH_FW_SEGMENT);
	NH_ASSERT(failed == 0 && p);
	memset(p, 0, NH_FW_SEGMENT);
	return p;
}

struct nh_fw_cache *nh_fw_cache_new(const struct nh_fw_cache_config *config)
{
	struct nh_fw_cache *c = nh_xcalloc(1, sizeof *c);
	c->config = *config;
	nh_fw_cache_set_segments(c, config->segments);
	c->scratch = pages_new();
	return c;
}

void nh_fw_cache_set_segments(struct nh_fw_cache *c, unsigned segments)
{
	c->config.segments = segments < 8 ? 8 : segments;
}

static void segment_free(struct nh_fw_cache *c, struct segment *s)
{
	struct segment **at = &c->buckets[s->number % BUCKETS];
	while (*at != s)
		at = &(*at)->next_in_bucket;
	*at = s->next_in_bucket;
	free(s->bytes);
	free(s);
	c->count--;
}

static void segments_drop(struct nh_fw_cache *c)
{
	for (size_t b = 0; b < BUCKETS; b++)
		while (c->buckets[b])
			segment_free(c, c->buckets[b]);
}

void nh_fw_cache_discard(struct nh_fw_cache *c)
{
	segments_drop(c);
	/* What was trimmed and not written still holds its old bytes, and whoever reads now is to see them. */
	if (c->trimmed_words)
		memset(c->trimmed, 0, c->trimmed_words * sizeof *c->trimmed);
}

void nh_fw_cache_free(struct nh_fw_cache *c)
{
	if (!c)
		return;
	segments_drop(c);
	free(c->trimmed);
	free(c->scratch);
	free(c);
}

uint64_t nh_fw_cache_end(const struct nh_fw_cache *c)
{
	return c->config.hard_end ? c->config.hard_end : c->config.soft_end;
}

/* Bytes of a segment that exist at most: all, or less at a hard end. */
static size_t segment_len(const struct nh_fw_cache *c, uint64_t number)
{
	uint64_t start = number * NH_FW_SEGMENT;
	if (!c->config.hard_end || start + NH_FW_SEGMENT <= c->config.hard_end)
		return NH_FW_SEGMENT;
	return start >= c->config.hard_end ? 0 : (size_t)(c->config.hard_end - start);
}

static bool is_trimmed(const struct nh_fw_cache *c, uint64_t number)
{
	return number / 64 < c->trimmed_words && bit_get(c->trimmed, (size_t)number);
}

/* The medium's bytes into out, zeros where it has none. */
static nh_rc medium_read(struct nh_fw_cache *c, uint64_t number, uint8_t *out, size_t len, struct nh_err *err)
{
	size_t done = 0;
	while (done < len) {
		ssize_t n = pread(c->config.fd, out + done, len - done, (off_t)(number * NH_FW_SEGMENT + done));
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return NH_FAIL(err, nh_rc_from_errno(errno), "reading %zu bytes failed at offset %llu: %s", len,
				       (unsigned long long)(number * NH_FW_SEGMENT), strerror(errno));
		if (n == 0)
			break;
		done += (size_t)n;
	}
	memset(out + done, 0, len - done);
	return NH_OK;
}

/* Makes every block of the segment valid. */
static nh_rc segment_fill(struct nh_fw_cache *c, struct segment *s, struct nh_err *err)
{
	if (bits_all(s->valid))
		return NH_OK;
	memset(c->scratch, 0, NH_FW_SEGMENT);
	if (!is_trimmed(c, s->number))
		NH_TRY(medium_read(c, s->number, c->scratch, segment_len(c, s->number), err));
	for (size_t i = 0; i < BLOCKS; i++) {
		if (bit_get(s->valid, i))
			continue;
		memcpy(s->bytes + i * NH_FW_BLOCK, c->scratch + i * NH_FW_BLOCK, NH_FW_BLOCK);
		bit_set(s->valid, i);
	}
	return NH_OK;
}

/* How much of a segment to write: an existing file keeps its length unless something was put behind its end. */
static size_t write_len(const struct nh_fw_cache *c, const struct segment *s)
{
	uint64_t start = s->number * NH_FW_SEGMENT, end = c->config.soft_end;
	if (c->config.hard_end || !end || start >= end || start + NH_FW_SEGMENT <= end)
		return segment_len(c, s->number);
	size_t keep = (size_t)(end - start + NH_FW_BLOCK - 1) / NH_FW_BLOCK;
	for (size_t i = keep; i < BLOCKS; i++)
		if (bit_get(s->dirty, i))
			return NH_FW_SEGMENT;
	/* A file whose size is no multiple of a block keeps its odd end only if that block is untouched. */
	return bit_get(s->dirty, keep - 1) ? keep * NH_FW_BLOCK : (size_t)(end - start);
}

static nh_rc medium_write(struct nh_fw_cache *c, uint64_t offset, const uint8_t *bytes, size_t len, struct nh_err *err)
{
	size_t done = 0;
	while (done < len) {
		ssize_t n = pwrite(c->config.fd, bytes + done, len - done, (off_t)(offset + done));
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0) {
			c->failed = true;
			return NH_FAIL(err, nh_rc_from_errno(n < 0 ? errno : ENOSPC), "writing %zu bytes failed at offset %llu. Check media size.", len,
				       (unsigned long long)offset);
		}
		done += (size_t)n;
	}
	return NH_OK;
}

static nh_rc segment_write(struct nh_fw_cache *c, struct segment *s, struct nh_err *err)
{
	uint64_t offset = s->number * NH_FW_SEGMENT;
	if (!bits_any(s->dirty))
		return NH_OK;
	if (c->failed)
		return NH_FAIL(err, NH_EIO, "write failed at offset %llu. Check media size.", (unsigned long long)offset);
	NH_TRY(segment_fill(c, s, err));
	size_t len = write_len(c, s);
	bool same = false;
	if (c->config.minimize) {
		NH_TRY(medium_read(c, s->number, c->scratch, len, err));
		same = memcmp(c->scratch, s->bytes, len) == 0;
	}
	if (!same) {
		NH_TRY(medium_write(c, offset, s->bytes, len, err));
		if (c->config.verify) {
			NH_TRY(medium_read(c, s->number, c->scratch, len, err));
			if (memcmp(c->scratch, s->bytes, len) != 0) {
				c->failed = true;
				return NH_FAIL(err, NH_EIO, "write verification failed at offset %llu. Check media.", (unsigned long long)offset);
			}
		}
	}
	memset(s->dirty, 0, sizeof s->dirty);
	memset(s->streamed, 0, sizeof s->streamed);
	if (is_trimmed(c, s->number))
		c->trimmed[s->number / 64] &= ~(UINT64_C(1) << (s->number % 64));
	return NH_OK;
}

static nh_rc make_room(struct nh_fw_cache *c, struct nh_err *err)
{
	while (c->count >= c->config.segments) {
		struct segment *oldest = NULL;
		for (size_t b = 0; b < BUCKETS; b++)
			for (struct segment *s = c->buckets[b]; s; s = s->next_in_bucket)
				if (!oldest || s->used_at < oldest->used_at)
					oldest = s;
		NH_TRY(segment_write(c, oldest, err));
		segment_free(c, oldest);
	}
	return NH_OK;
}

static nh_rc segment_get(struct nh_fw_cache *c, uint64_t number, struct segment **out, struct nh_err *err)
{
	struct segment **bucket = &c->buckets[number % BUCKETS];
	for (struct segment *s = *bucket; s; s = s->next_in_bucket) {
		if (s->number == number) {
			s->used_at = ++c->clock;
			*out = s;
			return NH_OK;
		}
	}
	NH_TRY(make_room(c, err));
	struct segment *s = nh_xcalloc(1, sizeof *s);
	s->bytes = pages_new();
	s->number = number;
	s->used_at = ++c->clock;
	s->next_in_bucket = *bucket;
	*bucket = s;
	c->count++;
	*out = s;
	return NH_OK;
}

/* The part of [offset, offset+len) inside the first segment it touches. */
static size_t piece_len(uint64_t offset, size_t len)
{
	size_t room = NH_FW_SEGMENT - (size_t)(offset % NH_FW_SEGMENT);
	return len < room ? len : room;
}

nh_rc nh_fw_cache_read(struct nh_fw_cache *c, uint64_t offset, uint8_t *out, size_t len, struct nh_err *err)
{
	NH_ASSERT(offset % NH_FW_BLOCK == 0 && len % NH_FW_BLOCK == 0);
	if (offset > INT64_MAX - NH_FW_SEGMENT - len)
		return NH_FAIL(err, NH_EINVAL, "offset %llu is beyond every medium", (unsigned long long)offset);
	while (len > 0) {
		size_t n = piece_len(offset, len), first = (size_t)(offset % NH_FW_SEGMENT) / NH_FW_BLOCK;
		struct segment *s;
		NH_TRY(segment_get(c, offset / NH_FW_SEGMENT, &s, err));
		bool have = true;
		for (size_t i = first; i < first + n / NH_FW_BLOCK; i++)
			have = have && bit_get(s->valid, i);
		if (!have)
			NH_TRY(segment_fill(c, s, err));
		memcpy(out, s->bytes + first * NH_FW_BLOCK, n);
		offset += n;
		out += n;
		len -= n;
	}
	return NH_OK;
}

nh_rc nh_fw_cache_write(struct nh_fw_cache *c, uint64_t offset, nh_slice bytes, bool streamed, struct nh_err *err)
{
	NH_ASSERT(offset % NH_FW_BLOCK == 0 && bytes.len % NH_FW_BLOCK == 0);
	uint64_t limit = c->config.hard_end ? c->config.hard_end : (uint64_t)INT64_MAX - NH_FW_SEGMENT;
	if (offset > limit || bytes.len > limit - offset)
		return NH_FAIL(err, NH_ENOSPC, "writing %zu bytes failed at offset %llu. Check media size.", bytes.len, (unsigned long long)offset);
	while (bytes.len > 0) {
		size_t n = piece_len(offset, bytes.len), first = (size_t)(offset % NH_FW_SEGMENT) / NH_FW_BLOCK;
		struct segment *s;
		NH_TRY(segment_get(c, offset / NH_FW_SEGMENT, &s, err));
		memcpy(s->bytes + first * NH_FW_BLOCK, bytes.ptr, n);
		for (size_t i = first; i < first + n / NH_FW_BLOCK; i++) {
			bit_set(s->valid, i);
			bit_set(s->dirty, i);
			if (streamed)
				bit_set(s->streamed, i);
			else
				s->streamed[i / 64] &= ~(UINT64_C(1) << (i % 64));
		}
		if (streamed && bits_all(s->streamed))
			NH_TRY(segment_write(c, s, err));
		offset += n;
		bytes = nh_slice_skip(bytes, n);
	}
	return NH_OK;
}

/* What lies behind the end is nobody's. */
static void discard(const struct nh_fw_cache *c, uint64_t first, uint64_t last)
{
	uint64_t from = first * NH_FW_SEGMENT, to = last * NH_FW_SEGMENT, end = c->config.hard_end - c->config.hard_end % NH_FW_BLOCK;
	uint64_t range[2] = {from, (to < end ? to : end) - from};
	if (from < end)
		ioctl(c->config.fd, BLKDISCARD, range);
}

void nh_fw_cache_trim(struct nh_fw_cache *c, uint64_t offset, uint64_t len)
{
	if (offset > INT64_MAX - NH_FW_SEGMENT)
		return;
	uint64_t end = len > INT64_MAX - offset ? INT64_MAX : offset + len;
	uint64_t first = (offset + NH_FW_SEGMENT - 1) / NH_FW_SEGMENT, last = end / NH_FW_SEGMENT; /* last: one behind */
	/* Nothing lies behind a hard end, so the bits stop there. */
	uint64_t most = c->config.hard_end ? c->config.hard_end / NH_FW_SEGMENT + 1 : TRIM_SEGMENTS_MAX;
	most = most < TRIM_SEGMENTS_MAX ? most : TRIM_SEGMENTS_MAX;
	last = last < most ? last : most;
	if (first >= last)
		return;
	size_t words = (size_t)(last / 64 + 1);
	if (words > c->trimmed_words) {
		c->trimmed = realloc(c->trimmed, words * sizeof *c->trimmed);
		NH_ASSERT(c->trimmed);
		memset(c->trimmed + c->trimmed_words, 0, (words - c->trimmed_words) * sizeof *c->trimmed);
		c->trimmed_words = words;
	}
	for (uint64_t n = first; n < last; n++)
		bit_set(c->trimmed, (size_t)n);
	if (c->config.discard)
		discard(c, first, last);
	for (size_t b = 0; b < BUCKETS; b++) {
		for (struct segment *s = c->buckets[b], *next; s; s = next) {
			next = s->next_in_bucket;
			if (s->number >= first && s->number < last)
				segment_free(c, s);
		}
	}
}

static int older_first(const void *a, const void *b)
{
	const struct segment *x = *(struct segment *const *)a, *y = *(struct segment *const *)b;
	return (x->used_at > y->used_at) - (x->used_at < y->used_at);
}

static nh_rc medium_sync(struct nh_fw_cache *c, struct nh_err *err)
{
	/* EINVAL, EROFS: /dev/null and such have nothing to sync */
	if (!c->config.sync || fdatasync(c->config.fd) == 0 || errno == EINVAL || errno == EROFS)
		return NH_OK;
	c->failed = true;
	return NH_FAIL(err, nh_rc_from_errno(errno), "flushing the destination failed: %s", strerror(errno));
}

nh_rc nh_fw_cache_flush(struct nh_fw_cache *c, struct nh_err *err)
{
	struct segment **order = nh_xcalloc(c->count + 1, sizeof *order);
	size_t n = 0;
	for (size_t b = 0; b < BUCKETS; b++)
		for (struct segment *s = c->buckets[b]; s; s = s->next_in_bucket)
			if (bits_any(s->dirty))
				order[n++] = s;
	qsort(order, n, sizeof *order, older_first);
	nh_rc rc = NH_OK;
	for (size_t i = 0; i < n && rc == NH_OK; i++) {
		/* The last one may hold the switch to what was written before it. */
		if (i + 1 == n)
			rc = medium_sync(c, err);
		if (rc == NH_OK)
			rc = segment_write(c, order[i], err);
	}
	free(order);
	return rc == NH_OK ? medium_sync(c, err) : rc;
}
