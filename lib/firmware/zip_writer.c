/*
 * ZIP writer in the exact form of the reference tool's archives: data descriptors always, uncompressed size in the local header, times only
 * where asked for, owner 0:0.
 *
 * Sizes must be known before a member begins, which is why callers look at their input twice. No member and no archive may reach 4 GiB: fwup
 * archives do not use ZIP64 below that, and above it nothing has been tested.  source: reference/fwup-format "1.5", "1.6"
 */
#include <stdlib.h>
#include <time.h>
#include <zlib.h>

#include "base/arena.h"
#include "base/cursor.h"
#include "firmware/zip.h"

#define OUT_SIZE 65536u
#define LIMIT UINT32_MAX

struct nh_fw_zip_writer {
	struct nh_fw_sink sink;
	int level;
	int32_t utc_offset_s;
	uint64_t offset;      /* bytes given to the sink */
	struct nh_buf directory;
	unsigned entries;

	bool open, raw;
	nh_fw_method method;
	struct nh_buf name, extra;
	uint32_t dos_time;
	uint64_t header_offset, expected, size, compressed;
	uint32_t crc;
	z_stream z;
	uint8_t out[OUT_SIZE];
};

struct nh_fw_zip_writer *nh_fw_zip_writer_new(const struct nh_fw_sink *sink, int level, int32_t utc_offset_s)
{
	NH_ASSERT(level >= 1 && level <= 9);
	struct nh_fw_zip_writer *w = nh_xcalloc(1, sizeof *w);
	w->sink = *sink;
	w->level = level;
	w->utc_offset_s = utc_offset_s;
	w->directory = NH_BUF_MAX(64u << 20);
	return w;
}

void nh_fw_zip_writer_free(struct nh_fw_zip_writer *w)
{
	if (!w)
		return;
	if (w->open && !w->raw && w->method == NH_FW_DEFLATED)
		deflateEnd(&w->z);
	nh_buf_fini(&w->directory);
	nh_buf_fini(&w->name);
	nh_buf_fini(&w->extra);
	free(w);
}

static nh_rc put(struct nh_fw_zip_writer *w, nh_slice bytes, struct nh_err *err)
{
	if (w->offset + bytes.len > LIMIT)
		return NH_FAIL(err, NH_ETOOBIG, "A firmware archive can't be larger than 4 GiB");
	w->offset += bytes.len;
	return bytes.len ? w->sink.write(w->sink.ctx, bytes, err) : NH_OK;
}

/* DOS date in the upper half, time in the lower; 1980-01-01 where there is none or it is out of range. */
static uint32_t dos_time_of(const int64_t *mtime_s, int32_t utc_offset_s)
{
	const uint32_t first = 0x00210000;
	if (!mtime_s)
		return first;
	time_t local = (time_t)(*mtime_s + utc_offset_s);
	struct tm tm;
	if (!gmtime_r(&local, &tm) || tm.tm_year < 80 || tm.tm_year > 207)
		return first;
	return (uint32_t)(tm.tm_year - 80) << 25 | (uint32_t)(tm.tm_mon + 1) << 21 | (uint32_t)tm.tm_mday << 16 | (uint32_t)tm.tm_hour << 11 |
	       (uint32_t)tm.tm_min << 5 | (uint32_t)tm.tm_sec / 2;
}

static void put_extra(struct nh_buf *b, const int64_t *mtime_s)
{
	nh_wr_u16le(b, 0x5455);
	nh_wr_u16le(b, mtime_s ? 5 : 1);
	nh_buf_put_u8(b, mtime_s ? 1 : 0);
	if (mtime_s)
		nh_wr_u32le(b, (uint32_t)*mtime_s);
	nh_wr_u16le(b, 0x7875); /* owner 0, group 0 */
	nh_wr_u16le(b, 11);
	nh_buf_put(b, "\1\4\0\0\0\0\4\0\0\0\0", 11);
}

nh_rc nh_fw_zip_writer_begin(struct nh_fw_zip_writer *w, nh_slice name, nh_fw_method method, uint64_t size, const int64_t *mtime_s, bool raw,
			     struct nh_err *err)
{
	NH_ASSERT(!w->open);
	if (name.len == 0 || name.len > NH_FW_NAME_MAX)
		return NH_FAIL(err, NH_EINVAL, "Member name '%.*s' is empty or longer than %u bytes", NH_ARG(name), NH_FW_NAME_MAX);
	if (size >= LIMIT)
		return NH_FAIL(err, NH_ETOOBIG, "'%.*s' has %llu bytes; a resource can't be larger than 4 GiB", NH_ARG(name),
			       (unsigned long long)size);
	w->method = method;
	w->raw = raw;
	w->expected = size;
	w->size = w->compressed = 0;
	w->crc = 0;
	w->header_offset = w->offset;
	w->dos_time = dos_time_of(mtime_s, w->utc_offset_s);
	nh_buf_clear(&w->name);
	nh_buf_put_slice(&w->name, name);
	nh_buf_clear(&w->extra);
	put_extra(&w->extra, mtime_s);
	if (!raw && method == NH_FW_DEFLATED) {
		w->z = (z_stream){0};
		if (deflateInit2(&w->z, w->level, Z_DEFLATED, -MAX_WBITS, 8, Z_DEFAULT_STRATEGY) != Z_OK)
			return NH_FAIL(err, NH_ENOMEM, "no memory to compress");
	}
	w->open = true;

	NH_AUTO_BUF struct nh_buf h = NH_BUF_INIT;
	nh_wr_u32le(&h, 0x04034b50);
	nh_wr_u16le(&h, method == NH_FW_STORED ? 10 : 20);
	nh_wr_u16le(&h, 8);
	nh_wr_u16le(&h, (uint16_t)method);
	nh_wr_u32le(&h, w->dos_time);
	nh_wr_u32le(&h, 0);
	nh_wr_u32le(&h, method == NH_FW_STORED ? (uint32_t)size : 0);
	nh_wr_u32le(&h, (uint32_t)size);
	nh_wr_u16le(&h, (uint16_t)name.len);
	nh_wr_u16le(&h, (uint16_t)w->extra.len);
	nh_buf_put_slice(&h, name);
	nh_buf_put_slice(&h, nh_buf_slice(&w->extra));
	return put(w, nh_buf_slice(&h), err);
}

static nh_rc deflate_part(struct nh_fw_zip_writer *w, nh_slice bytes, int flush, struct nh_err *err)
{
	w->z.next_in = (Bytef *)(uintptr_t)bytes.ptr;
	w->z.avail_in = (uInt)bytes.len;
	int zrc;
	do {
		w->z.next_out = w->out;
		w->z.avail_out = OUT_SIZE;
		zrc = deflate(&w->z, flush);
		NH_ASSERT(zrc == Z_OK || zrc == Z_STREAM_END || zrc == Z_BUF_ERROR);
		size_t n = OUT_SIZE - w->z.avail_out;
		w->compressed += n;
		NH_TRY(put(w, nh_slice_of(w->out, n), err));
	} while (w->z.avail_out == 0 || (flush == Z_FINISH && zrc != Z_STREAM_END));
	return NH_OK;
}

nh_rc nh_fw_zip_writer_data(struct nh_fw_zip_writer *w, nh_slice bytes, struct nh_err *err)
{
	NH_ASSERT(w->open);
	if (w->raw) {
		w->compressed += bytes.len;
		return put(w, bytes, err);
	}
	while (bytes.len > 0) {
		nh_slice part = nh_slice_sub(bytes, 0, 1u << 30);
		bytes = nh_slice_skip(bytes, part.len);
		w->crc = (uint32_t)crc32_z(w->crc, part.ptr, part.len);
		w->size += part.len;
		if (w->size > w->expected)
			break;
		if (w->method == NH_FW_DEFLATED) {
			NH_TRY(deflate_part(w, part, Z_NO_FLUSH, err));
		} else {
			w->compressed += part.len;
			NH_TRY(put(w, part, err));
		}
	}
	if (w->size > w->expected)
		return NH_FAIL(err, NH_EINVAL, "'%s' grew while it was read", nh_buf_cstr(&w->name));
	return NH_OK;
}

static void put_directory_entry(struct nh_fw_zip_writer *w)
{
	struct nh_buf *d = &w->directory;
	nh_wr_u32le(d, 0x02014b50);
	nh_wr_u16le(d, w->method == NH_FW_STORED ? 0x030a : 0x0314);
	nh_wr_u16le(d, w->method == NH_FW_STORED ? 10 : 20);
	nh_wr_u16le(d, 8);
	nh_wr_u16le(d, (uint16_t)w->method);
	nh_wr_u32le(d, w->dos_time);
	nh_wr_u32le(d, w->crc);
	nh_wr_u32le(d, (uint32_t)w->compressed);
	nh_wr_u32le(d, (uint32_t)w->expected);
	nh_wr_u16le(d, (uint16_t)w->name.len);
	nh_wr_u16le(d, (uint16_t)w->extra.len);
	nh_buf_fill(d, 0, 6); /* no comment, disk 0, no internal attributes */
	nh_wr_u32le(d, 0x81a40000);
	nh_wr_u32le(d, (uint32_t)w->header_offset);
	nh_buf_put_slice(d, nh_buf_slice(&w->name));
	nh_buf_put_slice(d, nh_buf_slice(&w->extra));
}

nh_rc nh_fw_zip_writer_end(struct nh_fw_zip_writer *w, uint32_t crc, struct nh_err *err)
{
	NH_ASSERT(w->open);
	if (w->raw) {
		w->crc = crc;
	} else if (w->method == NH_FW_DEFLATED) {
		NH_TRY(deflate_part(w, NH_SLICE_EMPTY, Z_FINISH, err));
		deflateEnd(&w->z);
	}
	w->open = false;
	if (!w->raw && w->size != w->expected)
		return NH_FAIL(err, NH_EINVAL, "'%s' shrank while it was read", nh_buf_cstr(&w->name));
	NH_AUTO_BUF struct nh_buf h = NH_BUF_INIT;
	nh_wr_u32le(&h, 0x08074b50);
	nh_wr_u32le(&h, w->crc);
	nh_wr_u32le(&h, (uint32_t)w->compressed);
	nh_wr_u32le(&h, (uint32_t)w->expected);
	NH_TRY(put(w, nh_buf_slice(&h), err));
	if (++w->entries > UINT16_MAX - 1)
		return NH_FAIL(err, NH_ETOOBIG, "A firmware archive can't have more than 65534 members");
	put_directory_entry(w);
	return NH_OK;
}

nh_rc nh_fw_zip_writer_finish(struct nh_fw_zip_writer *w, struct nh_err *err)
{
	NH_ASSERT(!w->open);
	uint64_t start = w->offset;
	NH_TRY(nh_buf_check(&w->directory, "the ZIP directory", err));
	NH_TRY(put(w, nh_buf_slice(&w->directory), err));
	NH_AUTO_BUF struct nh_buf h = NH_BUF_INIT;
	nh_wr_u32le(&h, 0x06054b50);
	nh_wr_u32le(&h, 0);
	nh_wr_u16le(&h, (uint16_t)w->entries);
	nh_wr_u16le(&h, (uint16_t)w->entries);
	nh_wr_u32le(&h, (uint32_t)w->directory.len);
	nh_wr_u32le(&h, (uint32_t)start);
	nh_wr_u16le(&h, 0);
	return put(w, nh_buf_slice(&h), err);
}
