/*
 * A bounds-checked reader of DER tag-length-value items (X.690), as much as is needed to find the parts of a certificate or key, and a writer of the same, whose lengths are
 * minimal as DER wants them. thread: any, one reader or buffer at a time.
 */
#pragma once

#include "base/cursor.h"

#define NH_DER_BOOLEAN 0x01
#define NH_DER_INTEGER 0x02
#define NH_DER_BIT_STRING 0x03
#define NH_DER_OCTET_STRING 0x04
#define NH_DER_OID 0x06
#define NH_DER_UTF8_STRING 0x0c
#define NH_DER_PRINTABLE_STRING 0x13
#define NH_DER_SET 0x31
#define NH_DER_SEQUENCE 0x30
#define NH_DER_UTC_TIME 0x17
#define NH_DER_UNIVERSAL_STRING 0x1c
#define NH_DER_BMP_STRING 0x1e
#define NH_DER_GENERALIZED_TIME 0x18
#define NH_DER_CONTEXT_0 0xA0
#define NH_DER_CONTEXT_3 0xA3

struct nh_der {
	uint8_t tag;
	nh_slice whole;   /* with tag and length */
	nh_slice content;
};

/* Next item of r; a failure sticks to r and gives an empty item. Definite lengths of at most three bytes; one-byte tags. */
struct nh_der nh_der_next(struct nh_rd *r);
/* As nh_der_next, and fails unless the tag is the given one. */
struct nh_der nh_der_expect(struct nh_rd *r, uint8_t tag);

/* Appends one item. */
void nh_der_put(struct nh_buf *out, uint8_t tag, nh_slice content);
/* INTEGER of an unsigned number, most significant byte first: leading zeros go, one comes back where the number would be negative. Empty is 0. */
void nh_der_put_unsigned(struct nh_buf *out, nh_slice number);
/* An item whose content is appended between begin and end; they nest. end: what begin returned. A failed buffer stays failed. */
size_t nh_der_begin(struct nh_buf *out, uint8_t tag);
void nh_der_end(struct nh_buf *out, size_t begin);
