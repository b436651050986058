/*
 * Text encodings of bytes and strict number parsing. thread: any.
 * Decoders refuse anything that the canonical encoder would not have written (bad alphabet, wrong padding, stray bits) with NH_EFORMAT.
 */
#pragma once

#include "base/buf.h"

void nh_hex_put(struct nh_buf *out, nh_slice bytes);        /* lower case */
void nh_hex_put_upper(struct nh_buf *out, nh_slice bytes);
nh_rc nh_hex_decode(nh_slice text, struct nh_buf *out);     /* either case; NH_EFORMAT */
nh_rc nh_hex_decode_fixed(nh_slice text, uint8_t *out, size_t out_len); /* 2 * out_len digits; NH_EFORMAT, out undefined */

typedef enum nh_b64 { NH_B64_STD, NH_B64_STD_NOPAD, NH_B64_URL, NH_B64_URL_NOPAD } nh_b64;
/* Appends; RFC 4648 4 (STD) or 5 (URL), with padding unless NOPAD. */
void nh_b64_put(struct nh_buf *out, nh_slice bytes, nh_b64 form);
nh_rc nh_b64_decode(nh_slice text, nh_b64 form, struct nh_buf *out); /* NOPAD forms refuse padding, others require it */

/* RFC 3986: encodes all but unreserved characters; decodes %XX ('+' untouched unless plus_is_space). */
void nh_uri_put(struct nh_buf *out, nh_slice text);
nh_rc nh_uri_decode(nh_slice text, bool plus_is_space, struct nh_buf *out); /* NH_EFORMAT: broken escape, NUL byte */

/* Decimal only, the whole slice, no sign (u64) or one leading '-' (i64), no leading '+', blanks or empty text; NH_EFORMAT, NH_EINVAL out of range. */
nh_rc nh_parse_u64(nh_slice text, uint64_t min, uint64_t max, uint64_t *out);
nh_rc nh_parse_i64(nh_slice text, int64_t min, int64_t max, int64_t *out);
/* "12", "4k", "16M", "1GiB": bytes, powers of 1024. */
nh_rc nh_parse_size(nh_slice text, uint64_t max, uint64_t *out_bytes);
/* "250ms", "30s", "5m", "12h", "7d" or plain seconds. */
nh_rc nh_parse_duration_ms(nh_slice text, uint64_t max_ms, uint64_t *out_ms);
