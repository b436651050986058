/*
 * A bounds-checked reader of DER tag-length-value items (X.690), as much as is needed to find the parts of a certificate or key. thread: any, one reader at a time.
 */
#pragma once

#include "base/cursor.h"

#define NH_DER_INTEGER 0x02
#define NH_DER_BIT_STRING 0x03
#define NH_DER_SEQUENCE 0x30
#define NH_DER_UTC_TIME 0x17
#define NH_DER_UNIVERSAL_STRING 0x1c
#define NH_DER_BMP_STRING 0x1e
#define NH_DER_GENERALIZED_TIME 0x18
#define NH_DER_CONTEXT_0 0xA0

struct nh_der {
	uint8_t tag;
	nh_slice whole;   /* with tag and length */
	nh_slice content;
};

/* Next item of r; a failure sticks to r and gives an empty item. Definite lengths of at most three bytes; one-byte tags. */
struct nh_der nh_der_next(struct nh_rd *r);
/* As nh_der_next, and fails unless the tag is the given one. */
struct nh_der nh_der_expect(struct nh_rd *r, uint8_t tag);
