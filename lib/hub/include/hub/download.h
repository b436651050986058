/*
 * Download URLs: a capability with an expiry and an HMAC over (path, expiry), valid without any other credential, and never a permanent public path.
 * Pure; thread: any. source: reference/device-protocol "13.1"; design/architecture "7"
 *
 *   <base>/firmware/<org id>/<uuid>.fw?expires=<unix seconds>&signature=<43 characters, unpadded base64url of HMAC-SHA256>
 *   <base>/firmware/deltas/<delta id>/<target uuid>.fw?…
 *   <base>/uploads/archives/<product id>/<uuid>.fw?… (two products may have archives of one uuid; devices keep the last segment as the file's name)
 */
#pragma once

#include "base/buf.h"
#include "hub/hub.h"

/* nh_download_path - "/firmware/<org id>/<uuid>.fw" of a firmware. */
void nh_download_path(struct nh_buf *out, int64_t org_id, nh_slice firmware_uuid);

/* nh_download_archive_path - "/uploads/archives/<product id>/<uuid>.fw" of an archive. */
void nh_download_archive_path(struct nh_buf *out, int64_t product_id, nh_slice archive_uuid);

/* nh_download_delta_path - "/firmware/deltas/<delta id>/<target uuid>.fw" of a delta: the pair alone does not name one, since two products may have it. */
void nh_download_delta_path(struct nh_buf *out, int64_t delta_id, nh_slice target_uuid);

/*
 * nh_download_url - absolute URL of the object, valid from now for config->download_ttl_s: the store's own where it has one (so that devices that resume after a redirect need not), else path
 * on this server.
 */
void nh_download_url(const struct nh_hub_config *config, nh_slice path, nh_slice object_key, int64_t now_us, struct nh_buf *out);

/* nh_download_check - may path be had with this query (text after '?', as received)? NH_EAUTH: signature missing or wrong. NH_ETIMEOUT: expired. */
nh_rc nh_download_check(const struct nh_hub_config *config, nh_slice path, nh_slice query, int64_t now_us, struct nh_err *err);

/* What a valid path names (read). NH_ENOTFOUND: path of another form, or no such firmware or archive. */
struct nh_download_target {
	int64_t id; /* of the firmware, the delta, the archive */
	nh_slice object_key;
	nh_slice sha256_hex; /* upper case; strong entity tag */
	int64_t size_bytes;
};
nh_rc nh_download_resolve(struct nh_ctx *ctx, nh_slice path, struct nh_download_target *out, struct nh_err *err);
