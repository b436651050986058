/*
 * UUIDs, RFC 9562. 16 bytes in network order. thread: any.
 */
#pragma once

#include "base/buf.h"

struct nh_rng;

struct nh_uuid {
	uint8_t bytes[16];
};

#define NH_UUID_TEXT_LEN 36
/* Version 4: random. Version 7: milliseconds of now_us, then random, so that they sort by time. */
void nh_uuid_v4(struct nh_uuid *out, const struct nh_rng *rng);
void nh_uuid_v7(struct nh_uuid *out, int64_t now_us, const struct nh_rng *rng);
void nh_uuid_format(const struct nh_uuid *u, char out[NH_UUID_TEXT_LEN + 1]); /* lower case, NUL-terminated */
nh_rc nh_uuid_parse(nh_slice text, struct nh_uuid *out);                     /* canonical 36 characters, either case; NH_EFORMAT */
