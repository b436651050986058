/*
 * Streaming multipart/form-data reader, sans-IO: fed in pieces of any size, small fields come out whole, file parts come out in pieces. It
 * keeps at most one part head, one field, or one partial delimiter in memory; never a file.
 *
 * source: RFC 7578, RFC 2046 5.1.  thread: any, one at a time.
 */
#pragma once

#include "base/err.h"
#include "base/slice.h"

struct nh_multipart;

/* Any callback may be NULL (the part is skipped) and may return a code other than NH_OK, which ends the parse with that code. Views die with the call. */
struct nh_multipart_events {
	nh_rc (*on_field)(void *ctx, nh_slice name, nh_slice value);
	nh_rc (*on_file_begin)(void *ctx, nh_slice name, nh_slice filename, nh_slice content_type); /* filename as sent: never a path to be used */
	nh_rc (*on_file_data)(void *ctx, nh_slice bytes);
	nh_rc (*on_file_end)(void *ctx);
	void *ctx;
};

struct nh_multipart_limits {
	size_t field_bytes; /* value of one field; 0 = 65536 */
	size_t head_bytes;  /* headers of one part; 0 = 4096 */
	unsigned parts;     /* 0 = 64 */
};

/* nh_multipart_boundary - boundary parameter of a Content-Type; 1-70 characters. NH_EFORMAT: other type, missing or illegal boundary. */
nh_rc nh_multipart_boundary(nh_slice content_type, nh_slice *boundary);

/* Copies boundary and events. limits may be NULL. */
nh_rc nh_multipart_new(nh_slice boundary, const struct nh_multipart_limits *limits, const struct nh_multipart_events *events, struct nh_multipart **out, struct nh_err *err);
void nh_multipart_free(struct nh_multipart *m);
/*
 * nh_multipart_feed - any number of bytes. NH_EFORMAT (part head, delimiter), NH_ETOOBIG (a limit), or what a callback returned. After a failure
 * only free is legal. Bytes after the closing delimiter are ignored.
 */
nh_rc nh_multipart_feed(struct nh_multipart *m, nh_slice bytes, struct nh_err *err);
/* nh_multipart_end - the body is over: NH_EFORMAT unless the closing delimiter was seen. */
nh_rc nh_multipart_end(struct nh_multipart *m, struct nh_err *err);
