/*
 * The upgrade of a device's connection: who is it, may it come in, which format does it speak.
 *
 * A device whose certificate the index knows is let in from memory, on the loop: the connection's row is written with its join, which asks the database
 * once more whether the device may come in (presence.c writes it where no join follows). Everybody else, and everybody while the database is known
 * to be away, goes through a worker: the database decides, and writes the row, before the upgrade is answered; an outage is a 503. So is a device that connects
 * again and again (reconnects.c): before the database is asked anything, or, where a shared secret has to prove first who it is, before anything is written.
 *
 * source: reference/device-protocol "2.3", "2.6"
 */
#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/log.h"
#include "hub/device_auth.h"
#include "socket_int.h"

/* ---- the upgrade ------------------------------------------------------------------------------------------------------- */

/* source: reference/device-protocol "2.6" */
static void refuse(struct nh_response *res, unsigned status, const char *text)
{
	if (*text)
		nh_response_header(res, "nh-connection-error-reason", nh_slice_str(text));
	nh_response_send(res, status, *text ? "text/plain; charset=utf-8" : NULL, nh_slice_str(text));
}

#define NOTHING_GIVEN "no certificate pair or shared secrets connection settings were provided"
#define RETRY_AFTER_S "5"
#define STAY_AWAY_S 30 /* at least, and up to so many seconds more */
#define STAY_AWAY_SPREAD_S 60
#define CONNECTS_TOO_OFTEN "this device connects too often"
#define NOT_REACHED "the platform could not be reached to authenticate this device"

static nh_rc authenticate_secret(struct nh_device_api *api, struct nh_request *req, int64_t *device_id, struct nh_err *err)
{
	struct nh_nh1_headers headers = {nh_request_header(req, "x-nh-alg"), nh_request_header(req, "x-nh-key"), nh_request_header(req, "x-nh-time"),
					 nh_request_header(req, "x-nh-signature")};
	struct nh_effects effects = {0};
	struct nh_auth_verdict verdict = {0};
	struct nh_auth_env env = {api->config.db, req->arena, api->config.clock, api->config.rng, api->config.hub, &effects};
	NH_TRY(nh_device_auth_secret(&env, &headers, &verdict, err));
	if (!verdict.accepted) {
		NH_LOG(NH_LOG_INFO, "device.refused", NH_S("device", verdict.identifier), NH_STR("reason", nh_auth_reason_name(verdict.reason)), NH_S("remote", req->remote));
		return NH_EAUTH;
	}
	nh_device_api_effects(api, &effects);
	*device_id = verdict.device_id;
	return NH_OK;
}

struct connect_call {
	struct nh_device_api *api;
	struct nh_arena *arena;
	struct nh_opening opening;
	struct nh_session session;
	struct nh_effects effects;
	bool too_often;
};

static nh_rc connect_tx(struct nh_tx *tx, void *arg, struct nh_err *err)
{
	struct connect_call *call = arg;
	call->effects = (struct nh_effects){0};
	struct nh_ctx ctx = device_api_ctx(call->api, tx, call->arena, &call->effects);
	return nh_session_connect(&ctx, &call->opening, &call->session, err);
}

static bool has_secret_headers(const struct nh_request *req)
{
	for (size_t i = 0; i < req->headers->count; i++)
		if (nh_slice_ieq(nh_slice_sub(req->headers->items[i].name, 0, 2), NH_LIT("x-")))
			return true;
	return false;
}

static nh_slice fingerprint_of(const struct nh_request *req)
{
	return req->fingerprint ? nh_slice_of(req->fingerprint, NH_TLS_FINGERPRINT_LEN) : NH_SLICE_EMPTY;
}

static nh_rc connect_device(struct nh_device_api *api, struct nh_request *req, struct connect_call *call, struct nh_err *err)
{
	int64_t device_id = req->peer_tag;
	/* A client certificate decides alone: shared-secret headers beside it are ignored. */
	if (!req->fingerprint)
		NH_TRY(authenticate_secret(api, req, &device_id, err));
	if (device_id == 0)
		return NH_EAUTH;
	call->too_often = !reconnects_admit(&api->reconnects, device_id, nh_mono_ms());
	if (call->too_often)
		return NH_FAIL(err, NH_EAGAIN, CONNECTS_TOO_OFTEN);
	nh_opening_make(&call->opening, device_id, fingerprint_of(req), api->config.clock, api->config.rng);
	nh_rc rc = nh_db_write(api->config.db, connect_tx, call, err);
	if (rc == NH_ENOTFOUND && req->fingerprint)
		certificates_forget(&api->certificates, req->fingerprint);
	return rc == NH_ENOTFOUND ? NH_EAUTH : rc;
}

static void refuse_for(struct nh_device_api *api, struct nh_response *res, nh_rc rc, const struct nh_err *err)
{
	if (rc == NH_EAUTH) {
		TALLY(api, refused);
		refuse(res, 401, "");
		return;
	}
	TALLY(api, unavailable);
	NH_LOG(nh_rc_outage(rc) ? NH_LOG_DEBUG : NH_LOG_ERROR, "device.connect_failed", NH_STR("why", err->msg));
	nh_response_header(res, "Retry-After", NH_LIT(RETRY_AFTER_S));
	refuse(res, 503, NOT_REACHED);
}

/* *codec NULL: a version that nobody speaks. NH_EFORMAT: the query cannot be read. */
static nh_rc codec_of(const struct nh_request *req, const struct nh_phoenix_codec **codec)
{
	nh_slice vsn = NH_SLICE_EMPTY;
	*codec = NULL;
	if (nh_http_query_get(req->query, "vsn", req->arena, &vsn) == NH_EFORMAT)
		return NH_EFORMAT;
	*codec = nh_phoenix_codec_for_vsn(vsn);
	return NH_OK;
}

static struct session *session_new(struct nh_device_api *api, const struct nh_phoenix_codec *codec)
{
	struct session *s = nh_xcalloc(1, sizeof *s);
	s->api = api;
	s->codec = codec;
	return s;
}

/* The same words as an outage: whoever connects this often is a program that repeats itself, and those understand Retry-After best. */
static void refuse_often(struct nh_device_api *api, struct nh_response *res)
{
	char seconds[16];
	TALLY(api, reconnects_refused);
	snprintf(seconds, sizeof seconds, "%llu", (unsigned long long)(STAY_AWAY_S + nh_rng_below(api->config.rng, STAY_AWAY_SPREAD_S + 1)));
	nh_response_header(res, "Retry-After", nh_slice_str(seconds));
	refuse(res, 503, CONNECTS_TOO_OFTEN);
}

/*
 * What the handshake knew still holds: the index is asked again, as the certificate may have been removed since. While the database is known to be away nobody is
 * let in only to find that it cannot join.
 */
bool socket_upgrade_at_once(struct nh_request *req, struct nh_response *res)
{
	struct nh_device_api *api = req->app;
	const struct nh_phoenix_codec *codec = NULL;
	if (!req->fingerprint || req->peer_tag == 0 || certificates_find(&api->certificates, req->fingerprint) != req->peer_tag || !nh_db_available(api->config.db))
		return false;
	if (codec_of(req, &codec) != NH_OK || !codec)
		return false;
	if (!reconnects_admit(&api->reconnects, req->peer_tag, nh_mono_ms())) {
		refuse_often(api, res);
		return true;
	}
	struct session *s = session_new(api, codec);
	s->begin = presence_begin_new(&api->presence, req->peer_tag, fingerprint_of(req));
	s->hub = nh_session_of(&s->begin->opening);
	nh_response_upgrade(res, &api->handler, s);
	return true;
}

void socket_upgrade(struct nh_request *req, struct nh_response *res)
{
	struct nh_device_api *api = req->app;
	struct nh_err err = NH_ERR_INIT;
	const struct nh_phoenix_codec *codec = NULL;
	if (codec_of(req, &codec) != NH_OK) {
		refuse(res, 403, "");
		return;
	}
	if (!req->fingerprint && !has_secret_headers(req)) {
		refuse(res, 401, NOTHING_GIVEN);
		return;
	}
	if (!codec) {
		refuse(res, 403, "");
		return;
	}
	struct connect_call call = {.api = api, .arena = req->arena};
	nh_rc rc = connect_device(api, req, &call, &err);
	if (call.too_often) {
		refuse_often(api, res);
		return;
	}
	if (rc != NH_OK) {
		refuse_for(api, res, rc, &err);
		return;
	}
	nh_device_api_effects(api, &call.effects);
	struct session *s = session_new(api, codec);
	s->hub = call.session;
	nh_response_upgrade(res, &api->handler, s);
}
