/*
 * Downloads of firmware and archives: the URL is the capability. Whether it is valid is a computation; what it names, one look into the database; how it is sent
 * (ranges, HEAD, Content-Length always) the server's. source: reference/device-protocol "13"
 */
#include "hub/download.h"

#include "base/log.h"
#include "device_api_int.h"

struct lookup {
	struct nh_device_api *api;
	struct nh_request *req;
	struct nh_download_target target;
};

static nh_rc lookup_tx(struct nh_tx *tx, void *arg, struct nh_err *err)
{
	struct lookup *lookup = arg;
	struct nh_ctx ctx = device_api_ctx(lookup->api, tx, lookup->req->arena, NULL);
	return nh_download_resolve(&ctx, lookup->req->path, &lookup->target, err);
}

static void refuse(struct nh_response *res, unsigned status, const char *text) { nh_response_send(res, status, "text/plain; charset=utf-8", nh_slice_str(text)); }

/* A device gives up on 404 and comes back after 503. */
static void refuse_later(struct nh_response *res, nh_rc rc, const char *missing)
{
	if (rc != NH_ENOTFOUND)
		nh_response_header(res, "Retry-After", NH_LIT("5"));
	refuse(res, rc == NH_ENOTFOUND ? 404 : 503, rc == NH_ENOTFOUND ? missing : "temporarily unavailable");
}

/* A link that was given out before the objects moved to a bucket. */
static bool elsewhere(struct nh_device_api *api, const char *key, struct nh_response *res)
{
	NH_AUTO_BUF struct nh_buf url = NH_BUF_INIT;
	if (nh_objects_url(api->config.objects, key, api->config.hub->download_ttl_s, &url, NULL) != NH_OK)
		return false;
	nh_response_header(res, "Location", nh_buf_slice(&url));
	nh_response_send(res, 302, NULL, NH_SLICE_EMPTY);
	return true;
}

void download_firmware(struct nh_request *req, struct nh_response *res)
{
	struct nh_device_api *api = req->app;
	struct nh_err err = NH_ERR_INIT;
	struct lookup lookup = {.api = api, .req = req};
	nh_rc rc = nh_download_check(api->config.hub, req->path, req->query, nh_clock_now(api->config.clock), &err);
	if (rc != NH_OK) {
		refuse(res, 403, rc == NH_ETIMEOUT ? "this download link has expired" : "this download link is not valid");
		return;
	}
	rc = nh_db_read(api->config.db, lookup_tx, &lookup, &err);
	if (rc != NH_OK) {
		refuse_later(res, rc, "no such file");
		return;
	}
	int fd = -1;
	uint64_t size = 0;
	const char *key = nh_arena_str(req->arena, lookup.target.object_key);
	if (elsewhere(api, key, res))
		return;
	rc = nh_objects_open_read(api->config.objects, key, &fd, &size, &err);
	if (rc != NH_OK) {
		if (!nh_rc_outage(rc)) /* an outage is in the log already */
			NH_LOG(NH_LOG_ERROR, "download.object_missing", NH_S("key", lookup.target.object_key), NH_STR("why", err.msg));
		refuse_later(res, rc, "temporarily unavailable");
		return;
	}
	nh_response_header(res, "Cache-Control", NH_LIT("private, max-age=0"));
	nh_response_file(res, fd, size, "application/octet-stream", lookup.target.sha256_hex);
}
