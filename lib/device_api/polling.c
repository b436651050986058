/*
 * The polling API of devices that hold no connection: GET /device/me and GET /device/update, by client certificate only. Headers say what the device runs; the hub answers as it would
 * have pushed. source: reference/device-protocol "15"
 */
#include "hub/polling.h"

#include "device_api_int.h"

#define JSON_TYPE "application/json; charset=utf-8"
#define NO_UPDATE "{\"update_available\":false,\"firmware_url\":null,\"firmware_meta\":null,\"deployment_id\":null}"

/* Both prefixes are in the field, the second by mistake. source: "15.2" */
static const char *const prefixes[] = {"x-nerveshub-", "x-nerveshublinkhttp-"};

static uint8_t lower(uint8_t c) { return c >= 'A' && c <= 'Z' ? (uint8_t)(c | 0x20) : c; }

static bool starts_without_case(nh_slice name, const char *prefix)
{
	size_t len = strlen(prefix);
	for (size_t i = 0; i < len; i++)
		if (i >= name.len || lower(name.ptr[i]) != (uint8_t)prefix[i])
			return false;
	return true;
}

/* "X-NervesHub-VCS-Identifier" → "nerves_fw_vcs_identifier"; fwup-version is the program's own. NULL: another header. */
static const char *key_of(struct nh_arena *arena, nh_slice name)
{
	for (size_t i = 0; i < NH_ARRAY_LEN(prefixes); i++) {
		if (!starts_without_case(name, prefixes[i]))
			continue;
		nh_slice rest = nh_slice_skip(name, strlen(prefixes[i]));
		char *key = nh_arena_printf(arena, "nerves_fw_%.*s", NH_ARG(rest));
		for (char *at = key; *at; at++)
			*at = *at == '-' ? '_' : (char)lower((uint8_t)*at);
		return strcmp(key, "nerves_fw_fwup_version") == 0 ? "fwup_version" : key;
	}
	return NULL;
}

/* The headers as join parameters. */
static json_t *payload_of(const struct nh_request *req)
{
	json_t *payload = json_object();
	for (size_t i = 0; i < req->headers->count; i++) {
		const struct nh_http_header *h = &req->headers->items[i];
		const char *key = h->value.len > 0 ? key_of(req->arena, h->name) : NULL;
		if (key)
			json_object_set_new(payload, key, nh_json_new_text(h->value));
	}
	return payload;
}

struct poll_call {
	struct nh_device_api *api;
	struct nh_request *req;
	struct nh_opening opening;
	json_t *payload; /* NULL: only who it is */
	struct nh_effects effects;
	nh_slice answer;
};

static nh_rc poll_tx(struct nh_tx *tx, void *arg, struct nh_err *err)
{
	struct poll_call *call = arg;
	call->effects = (struct nh_effects){0};
	struct nh_ctx ctx = device_api_ctx(call->api, tx, call->req->arena, &call->effects);
	return call->payload ? nh_poll(&ctx, &call->opening, call->payload, &call->answer, err) : nh_poll_identifier(&ctx, &call->opening, &call->answer, err);
}

static void refuse(struct nh_response *res, unsigned status, const char *json) { nh_response_send(res, status, JSON_TYPE, nh_slice_str(json)); }

static bool takes_json(const struct nh_request *req)
{
	nh_slice accept = nh_request_header(req, "accept");
	return accept.len == 0 || nh_slice_find(accept, NH_LIT("*/*")) >= 0 || nh_slice_find(accept, NH_LIT("application/*")) >= 0 || nh_slice_find(accept, NH_LIT("json")) >= 0;
}

/* Everything but the words of the answer. false: refused. */
static bool ask(struct poll_call *call, struct nh_response *res)
{
	struct nh_device_api *api = call->api;
	struct nh_request *req = call->req;
	struct nh_err err = NH_ERR_INIT;
	if (!takes_json(req)) {
		refuse(res, 406, "{\"errors\":{\"detail\":\"Not Acceptable\"}}");
		return false;
	}
	if (!req->fingerprint || req->peer_tag == 0) {
		refuse(res, 403, "{\"status\":\"forbidden\"}");
		return false;
	}
	nh_opening_make(&call->opening, req->peer_tag, nh_slice_of(req->fingerprint, NH_TLS_FINGERPRINT_LEN), api->config.clock, api->config.rng);
	nh_rc rc = nh_db_write(api->config.db, poll_tx, call, &err);
	if (rc == NH_OK) {
		nh_device_api_effects(api, &call->effects);
		return true;
	}
	if (rc == NH_ENOTFOUND) {
		certificates_forget(&api->certificates, req->fingerprint);
		refuse(res, 403, "{\"status\":\"forbidden\"}");
		return false;
	}
	TALLY(api, unavailable);
	nh_response_header(res, "Retry-After", NH_LIT("5"));
	refuse(res, 503, "{\"errors\":{\"detail\":\"Service Unavailable\"}}");
	return false;
}

void poll_unknown(struct nh_request *req, struct nh_response *res) { refuse(res, 404, "{\"errors\":{\"detail\":\"Not Found\"}}"); }

void poll_me(struct nh_request *req, struct nh_response *res)
{
	struct poll_call call = {.api = req->app, .req = req};
	NH_AUTO_BUF struct nh_buf body = NH_BUF_INIT;
	if (!ask(&call, res))
		return;
	nh_buf_put_str(&body, "{\"data\":{\"identifier\":");
	nh_json_put_string(&body, call.answer);
	nh_buf_put_str(&body, "}}");
	nh_response_send(res, 200, JSON_TYPE, nh_buf_slice(&body));
}

void poll_update(struct nh_request *req, struct nh_response *res)
{
	NH_AUTO_JSON json_t *payload = payload_of(req);
	struct poll_call call = {.api = req->app, .req = req, .payload = payload};
	NH_AUTO_BUF struct nh_buf body = NH_BUF_INIT;
	if (!ask(&call, res))
		return;
	nh_buf_printf(&body, "{\"data\":%.*s}", NH_ARG(call.answer.len ? call.answer : NH_LIT(NO_UPDATE)));
	nh_response_send(res, 200, JSON_TYPE, nh_buf_slice(&body));
}
