/*
 * Shared-secret identity: the four NH1 headers of one connection attempt. Pure; the caller gives the time.
 * source: reference/device-protocol "6".  thread: any.
 */
#pragma once

#include "base/buf.h"
#include "base/err.h"

struct nh_link_signature {
	char alg[48];    /* x-nh-alg */
	char time[24];   /* x-nh-time */
	struct nh_buf token; /* x-nh-signature; fini by the caller */
};

/* nh_link_sign - signs identifier as of time_s with the product or device secret, SHA-256, 1000 iterations, 32 bytes. NH_EINVAL: empty text, or a key
 * with control characters. */
nh_rc nh_link_sign(nh_slice key, nh_slice secret, nh_slice identifier, int64_t time_s, struct nh_link_signature *out, struct nh_err *err);
