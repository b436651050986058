/*
 * PEM blocks (RFC 7468): finding the next one in a text, writing one. What is inside is not looked at. thread: any.
 */
#pragma once

#include "base/buf.h"

#define NH_PEM_MAX ((size_t)64 << 10) /* bytes of what one block holds */

/* nh_pem_find - first block; label (without BEGIN) and decoded bytes. rest = text behind it. NH_ENOTFOUND: no block, NH_EFORMAT: broken, NH_ETOOBIG. */
nh_rc nh_pem_find(nh_slice text, nh_slice *label, struct nh_buf *bytes, nh_slice *rest);
void nh_pem_put(struct nh_buf *out, const char *label, nh_slice bytes); /* 64 characters a line, LF */
