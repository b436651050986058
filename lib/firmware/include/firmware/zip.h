/*
 * ZIP container, forward only: a push reader and a writer for the profile that firmware archives use (stored and deflate, data descriptors,
 * ZIP64 sizes). Sans-IO: the reader takes bytes in pieces of any size, the writer gives bytes to a sink. Neither knows what a member means.
 * The central directory is written, but never believed: archives are read in the order of their local headers.
 *
 * Refused when reading: encrypted members, other compression methods, names over 511 bytes or with a NUL, sizes that do not fit.
 * thread: one at a time.  source: reference/fwup-format "1.3", "1.4", "1.5"
 */
#pragma once

#include "base/buf.h"
#include "firmware/fault.h"

#define NH_FW_NAME_MAX 511

typedef enum nh_fw_method { NH_FW_STORED = 0, NH_FW_DEFLATED = 8 } nh_fw_method;

struct nh_fw_member {
	nh_slice name;        /* as in the local header; valid until `end` returned */
	nh_fw_method method;
	bool size_known;      /* reference "1.3": decides whether a member can be a delta */
	uint64_t size;        /* uncompressed bytes, where size_known */
	bool has_mtime;       /* `mtime_s` from a UT extra field */
	int64_t mtime_s;
	uint16_t dos_date, dos_time;
};

/* Handlers return NH_OK, or a code that stops the reader. Any may be NULL. */
struct nh_fw_zip_handler {
	void *ctx;
	nh_rc (*begin)(void *ctx, const struct nh_fw_member *member, struct nh_err *err);
	nh_rc (*raw)(void *ctx, nh_slice bytes, struct nh_err *err);  /* as stored in the archive, before the same bytes' data() */
	nh_rc (*data)(void *ctx, nh_slice bytes, struct nh_err *err); /* uncompressed, never empty */
	/* After the last byte; length and CRC-32 agreed. */
	nh_rc (*end)(void *ctx, uint64_t size, uint32_t crc, struct nh_err *err);
};

struct nh_fw_zip_reader;
/* whole: also require a complete central directory and end record, and nothing after them (for files; a pipe may stay open after the members). */
struct nh_fw_zip_reader *nh_fw_zip_reader_new(const struct nh_fw_zip_handler *handler, bool whole);
void nh_fw_zip_reader_free(struct nh_fw_zip_reader *z);
/*
 * nh_fw_zip_reader_feed - takes all of bytes. After the end of the members further bytes are ignored (checked where `whole`).
 * NH_EFORMAT, NH_ETOOBIG, NH_EUNSUPPORTED with nh_fw_zip_reader_fault saying which kind; a handler's code. An error is final: later calls repeat it.
 */
nh_rc nh_fw_zip_reader_feed(struct nh_fw_zip_reader *z, nh_slice bytes, struct nh_err *err);
bool nh_fw_zip_reader_done(const struct nh_fw_zip_reader *z); /* all members seen (and, where `whole`, the end record) */
/* nh_fw_zip_reader_finish - end of input. NH_OK where done; else NH_EFORMAT with fault TRUNCATED (NOT_ARCHIVE for empty input). */
nh_rc nh_fw_zip_reader_finish(struct nh_fw_zip_reader *z, struct nh_err *err);
nh_fw_fault nh_fw_zip_reader_fault(const struct nh_fw_zip_reader *z);

/* Where bytes go. write takes all of them or fails. */
struct nh_fw_sink {
	void *ctx;
	nh_rc (*write)(void *ctx, nh_slice bytes, struct nh_err *err);
};

struct nh_fw_zip_writer;
/* level: 1..9. utc_offset_s: seconds east of UTC, for the DOS time fields only. */
struct nh_fw_zip_writer *nh_fw_zip_writer_new(const struct nh_fw_sink *sink, int level, int32_t utc_offset_s);
void nh_fw_zip_writer_free(struct nh_fw_zip_writer *w);
/* size: exact uncompressed bytes to come. mtime_s: NULL = none. raw: data will be passed already compressed with `method`. */
nh_rc nh_fw_zip_writer_begin(struct nh_fw_zip_writer *w, nh_slice name, nh_fw_method method, uint64_t size, const int64_t *mtime_s, bool raw,
			     struct nh_err *err);
nh_rc nh_fw_zip_writer_data(struct nh_fw_zip_writer *w, nh_slice bytes, struct nh_err *err);
/* crc: of the uncompressed bytes, used for raw members only. NH_EINVAL where the bytes were not `size` many. */
nh_rc nh_fw_zip_writer_end(struct nh_fw_zip_writer *w, uint32_t crc, struct nh_err *err);
/* Writes the central directory. Call once, last. */
nh_rc nh_fw_zip_writer_finish(struct nh_fw_zip_writer *w, struct nh_err *err);
