/*
 * What the database holds sealed: secrets that the server must read again (a second factor's, the links in mails), so that a copy of the database alone is worth nothing. AES-256-GCM under
 * a key of its purpose that is made of the server's secret; bound to its row. Private to hub.
 */
#pragma once

#include "hub/hub.h"

/* purpose: a constant. id: of the row or its owner. Appends nonce, tag and ciphertext. */
nh_rc nh_seal(const struct nh_ctx *ctx, const char *purpose, int64_t id, nh_slice plain, struct nh_buf *out, struct nh_err *err);
/* Appends the plain text. NH_EAUTH: another secret, purpose or row, or bytes that are not whole. */
nh_rc nh_unseal(const struct nh_ctx *ctx, const char *purpose, int64_t id, nh_slice sealed, struct nh_buf *out, struct nh_err *err);
