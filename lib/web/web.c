/*
 * The room as a whole, and the upgrade: which format is spoken, whose token it is. (Pages of other hosts are refused by net, for every socket.) The token stands in the query because
 * clients put it there; nothing here or below logs a query. source: reference/user-api-and-cli "16.1"
 */
#include <stdlib.h>

#include "base/log.h"
#include "hub/limiter.h"
#include "net/http_message.h"
#include "web_int.h"

#define IDLE_MS 60000
#define RETRY_AFTER_S "5"

struct nh_web *nh_web_new(const struct nh_web_config *config)
{
	struct nh_web *web = nh_xcalloc(1, sizeof *web);
	web->config = *config;
	if (!web->config.cost)
		web->config.cost = &nh_password_cost_default;
	if (!web->config.limiter)
		web->config.limiter = web->own_limiter = nh_limiter_new();
	web->handler = web_socket_handler(config->idle_ms ? config->idle_ms : IDLE_MS);
	return web;
}

void nh_web_free(struct nh_web *web)
{
	if (!web)
		return;
	nh_limiter_free(web->own_limiter);
	free(web);
}

void nh_web_stats(const struct nh_web *web, struct nh_web_stats *out)
{
	*out = (struct nh_web_stats){
		.sockets = __atomic_load_n(&web->stats.sockets, __ATOMIC_RELAXED),
		.refused = __atomic_load_n(&web->stats.refused, __ATOMIC_RELAXED),
		.joins = __atomic_load_n(&web->stats.joins, __ATOMIC_RELAXED),
		.join_refusals = __atomic_load_n(&web->stats.join_refusals, __ATOMIC_RELAXED),
		.ended = __atomic_load_n(&web->stats.ended, __ATOMIC_RELAXED),
	};
}

/* ---- the upgrade ------------------------------------------------------------------------------------------------------------- */

static void refuse(struct nh_web *web, struct nh_response *res, unsigned status)
{
	if (status == 503)
		nh_response_header(res, "Retry-After", NH_LIT(RETRY_AFTER_S));
	else
		TALLY(web, refused);
	nh_response_send(res, status, NULL, NH_SLICE_EMPTY);
}

static void upgrade(struct nh_request *req, struct nh_response *res, web_socket socket)
{
	struct nh_web *web = req->app;
	struct nh_err err = NH_ERR_INIT;
	struct nh_user user;
	nh_slice token = NH_SLICE_EMPTY, vsn = NH_SLICE_EMPTY;
	/* What is broken in the query counts as absent. */
	NH_IGNORE(nh_http_query_get(req->query, "token", req->arena, &token));
	nh_rc rc = nh_http_query_get(req->query, "vsn", req->arena, &vsn);
	const struct nh_phoenix_codec *codec = rc == NH_EFORMAT ? NULL : nh_phoenix_codec_for_vsn(vsn);
	if (!codec || token.len == 0) {
		refuse(web, res, 403);
		return;
	}
	rc = web_access_user(web, token, req->arena, &user, &err);
	if (rc != NH_OK) {
		if (rc != NH_EAUTH)
			NH_LOG(nh_rc_outage(rc) ? NH_LOG_DEBUG : NH_LOG_ERROR, "web.connect_failed", NH_STR("why", err.msg));
		refuse(web, res, rc == NH_EAUTH ? 403 : 503);
		return;
	}
	nh_response_upgrade(res, &web->handler, web_session_new(web, socket, codec, token, &user));
}

static void upgrade_api(struct nh_request *req, struct nh_response *res) { upgrade(req, res, WEB_SOCKET_API); }
static void upgrade_events(struct nh_request *req, struct nh_response *res) { upgrade(req, res, WEB_SOCKET_EVENTS); }

const struct nh_route nh_web_routes[] = {
	{.method = NH_HTTP_GET, .path = "/api/socket/websocket", .handle = upgrade_api, .summary = "Consoles and shells of devices, WebSocket"},
	{.method = NH_HTTP_GET, .path = "/events-socket/websocket", .handle = upgrade_events, .summary = "Events of devices, WebSocket"},
	{0},
};
