/*
 * Download URLs: building and checking the capability. Serving the bytes is device_api's, storing them objects'.
 * source: reference/device-protocol "13.1"; design/architecture "7"
 */
#include "base/clock.h"
#include "base/encode.h"
#include "crypto/hmac.h"
#include "hub/download.h"
#include "rows_int.h"
#include "store/deltas.h"
#include "store/rollout.h"
#include "store/support.h"

#define SIGNATURE_TEXT_LEN 43 /* unpadded base64url of 32 bytes */

void nh_download_path(struct nh_buf *out, int64_t org_id, nh_slice firmware_uuid)
{
	nh_buf_printf(out, "/firmware/%lld/%.*s.fw", (long long)org_id, NH_ARG(firmware_uuid));
}

void nh_download_archive_path(struct nh_buf *out, int64_t product_id, nh_slice archive_uuid)
{
	nh_buf_printf(out, "/uploads/archives/%lld/%.*s.fw", (long long)product_id, NH_ARG(archive_uuid));
}

void nh_download_delta_path(struct nh_buf *out, int64_t delta_id, nh_slice target_uuid)
{
	nh_buf_printf(out, "/firmware/deltas/%lld/%.*s.fw", (long long)delta_id, NH_ARG(target_uuid));
}

/* The first line keeps this use of the key apart from every other one. */
static void sign(const struct nh_hub_config *config, nh_slice path, uint64_t expires_s, struct nh_buf *out)
{
	NH_AUTO_BUF struct nh_buf message = NH_BUF_INIT;
	uint8_t mac[NH_SHA256_LEN];
	nh_buf_put_str(&message, "nerveshub download\n");
	nh_buf_put_slice(&message, path); /* every byte of it: %.*s would end at a NUL */
	nh_buf_printf(&message, "\n%llu\n", (unsigned long long)expires_s);
	nh_hmac(NH_SHA256, config->secret_key, nh_buf_slice(&message), mac);
	nh_b64_put(out, nh_slice_of(mac, sizeof(mac)), NH_B64_URL_NOPAD);
}

void nh_download_url(const struct nh_hub_config *config, nh_slice path, nh_slice object_key, int64_t now_us, struct nh_buf *out)
{
	uint64_t ttl_s = config->download_ttl_s ? config->download_ttl_s : 86400;
	if (config->object_url && config->object_url(config->object_url_ctx, object_key, ttl_s, out))
		return;
	uint64_t expires_s = (uint64_t)(now_us / NH_US_PER_S) + ttl_s;
	nh_buf_put_str(out, config->download_base_url);
	nh_buf_put_slice(out, path);
	nh_buf_printf(out, "?expires=%llu&signature=", (unsigned long long)expires_s);
	sign(config, path, expires_s, out);
}

nh_rc nh_download_check(const struct nh_hub_config *config, nh_slice path, nh_slice query, int64_t now_us, struct nh_err *err)
{
	nh_slice expires = NH_SLICE_EMPTY, signature = NH_SLICE_EMPTY, rest = query;
	while (rest.len > 0) {
		nh_slice pair, key, value;
		nh_slice_cut(rest, '&', &pair, &rest);
		nh_slice_cut(pair, '=', &key, &value);
		if (nh_slice_eq_str(key, "expires"))
			expires = value;
		else if (nh_slice_eq_str(key, "signature"))
			signature = value;
	}

	uint64_t expires_s;
	if (nh_parse_u64(expires, 0, UINT64_MAX, &expires_s) != NH_OK || signature.len != SIGNATURE_TEXT_LEN)
		return NH_FAIL(err, NH_EAUTH, "download URL without expiry and signature");
	NH_AUTO_BUF struct nh_buf expected = NH_BUF_INIT;
	sign(config, path, expires_s, &expected);
	if (!nh_slice_eq_ct(nh_buf_slice(&expected), signature))
		return NH_FAIL(err, NH_EAUTH, "download URL with a wrong signature");
	if (expires_s < (uint64_t)(now_us / NH_US_PER_S))
		return NH_FAIL(err, NH_ETIMEOUT, "download URL has expired");
	return NH_OK;
}

/* ---- what a path names ------------------------------------------------------------------------------------------------------ */

static void read_target(const struct nh_rows *rows, struct nh_arena *arena, void *item)
{
	*(struct nh_download_target *)item = (struct nh_download_target){
		.id = nh_col_int(rows, 0),
		.object_key = nh_col_text(rows, 1, arena),
		.sha256_hex = nh_col_text(rows, 2, arena),
		.size_bytes = nh_col_int(rows, 3),
	};
}

/* "PREFIX<id>/<uuid>.fw", and the statement that takes id and uuid; the first that fits. */
static const struct {
	const char *prefix;
	const struct nh_stmt *stmt;
} kinds[] = {
	{"/firmware/deltas/", &nh_q_download_delta},
	{"/firmware/", &nh_q_download_firmware},
	{"/uploads/archives/", &nh_q_archive_download},
};

nh_rc nh_download_resolve(struct nh_ctx *ctx, nh_slice path, struct nh_download_target *out, struct nh_err *err)
{
	static const nh_slice suffix = {(const uint8_t *)".fw", 3};
	nh_slice owner, uuid;
	int64_t id;
	size_t kind = 0;
	while (kind < NH_ARRAY_LEN(kinds) && !nh_slice_starts(path, nh_slice_str(kinds[kind].prefix)))
		kind++;
	if (kind == NH_ARRAY_LEN(kinds) || !nh_slice_ends(path, suffix))
		return NH_FAIL(err, NH_ENOTFOUND, "no such file");
	nh_slice rest = nh_slice_skip(path, strlen(kinds[kind].prefix));
	rest = nh_slice_sub(rest, 0, rest.len - suffix.len);
	if (!nh_slice_cut(rest, '/', &owner, &uuid) || nh_parse_i64(owner, 1, INT64_MAX, &id) != NH_OK || uuid.len == 0 || uuid.len > 64 || !nh_utf8_valid(uuid) ||
	    nh_slice_chr(uuid, 0) >= 0)
		return NH_FAIL(err, NH_ENOTFOUND, "no such file");
	return nh_one_row(ctx->tx, ctx->arena, kinds[kind].stmt, NH_PARAMS(nh_p_int(id), nh_p_text(uuid)), read_target, out, "file", err);
}
