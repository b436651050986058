/*
 * A bounds-checked reader of DER tag-length-value items, as much as is needed to find the raw parts of a certificate. Private to crypto.
 */
#pragma once

#include "base/cursor.h"

#define DER_INTEGER 0x02
#define DER_BIT_STRING 0x03
#define DER_SEQUENCE 0x30
#define DER_UTC_TIME 0x17
#define DER_UNIVERSAL_STRING 0x1c
#define DER_BMP_STRING 0x1e
#define DER_GENERALIZED_TIME 0x18
#define DER_CONTEXT_0 0xA0

struct nh_der {
	uint8_t tag;
	nh_slice whole;   /* with tag and length */
	nh_slice content;
};

/* Next item of r; a failure sticks to r and gives an empty item. Definite lengths of at most three bytes; one-byte tags. */
struct nh_der nh_der_next(struct nh_rd *r);
/* As nh_der_next, and fails unless the tag is the given one. */
struct nh_der nh_der_expect(struct nh_rd *r, uint8_t tag);
