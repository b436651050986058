/*
 * One request from bytes to answer: parameters, who asks, what the path names, one transaction with one rule, effects, JSON.
 *
 * The order of checks is the reference's: token, organization, product, "somebody must be signed in", device, role.
 * source: reference/user-api-and-cli "1", "2.1", "3", "4"
 */
#include <stdio.h>
#include <stdlib.h>

#include "api_int.h"
#include "base/encode.h"
#include "base/log.h"
#include "hub/authority.h"

#define SWEEP_PAGE 100
#define NOT_FOUND_TEXT "Resource Not Found or Authorization Insufficient"

/* ---- the app ----------------------------------------------------------------------------------------------------------- */

struct nh_user_api *nh_user_api_new(const struct nh_user_api_config *config)
{
	struct nh_user_api *api = nh_xcalloc(1, sizeof(*api));
	api->config = *config;
	api->document = document_cache_new();
	if (!api->config.clock)
		api->config.clock = &nh_clock_system;
	if (!api->config.rng)
		api->config.rng = &nh_rng_system;
	if (!api->config.cost)
		api->config.cost = &nh_password_cost_default;
	if (!api->config.platform_name)
		api->config.platform_name = "NervesHub";
	if (!api->config.limiter)
		api->config.limiter = api->own_limiter = nh_limiter_new();
	return api;
}

void nh_user_api_start(struct nh_user_api *api, struct nh_server *server)
{
	api->loop = api->config.relay ? nh_server_loop(server, 0) : NULL;
}

void nh_user_api_free(struct nh_user_api *api)
{
	if (!api)
		return;
	nh_limiter_free(api->own_limiter);
	document_cache_free(api->document);
	free(api);
}

/* ---- answers ----------------------------------------------------------------------------------------------------------- */

void send_common_headers(struct nh_request *req, struct nh_response *res)
{
	nh_response_header(res, "cache-control", NH_LIT("max-age=0, private, must-revalidate"));
}

void send_json(struct nh_request *req, struct nh_response *res, unsigned status, const json_t *value)
{
	NH_AUTO_BUF struct nh_buf body = NH_BUF_INIT;
	nh_json_put(&body, value);
	send_common_headers(req, res);
	nh_response_send(res, status, "application/json; charset=utf-8", nh_buf_slice(&body));
}

void send_error(struct nh_request *req, struct nh_response *res, unsigned status, const char *detail)
{
	NH_AUTO_JSON json_t *body = json_pack("{s:{s:o}}", "errors", "detail", nh_json_new_text(nh_slice_str(detail)));
	send_json(req, res, status, body);
}

void nh_user_api_fault(struct nh_request *req, struct nh_response *res, unsigned status, const char *text)
{
	/* A known path with another method does not exist for existing clients. */
	if (status == 404 || status == 405)
		send_error(req, res, 404, NOT_FOUND_TEXT);
	else
		send_error(req, res, status, text);
}

static const struct {
	nh_rc rc;
	unsigned status;
	const char *text; /* NULL: the error's own message, which names no secret and no foreign thing */
} answers[] = {
	{NH_EINVAL, 422, NULL},
	{NH_ENOTFOUND, 404, NOT_FOUND_TEXT},
	{NH_EFORMAT, 400, "An unknown error occurred, please check the request."},
	{NH_ECONFLICT, 409, NULL},
	{NH_EPERM, 401, NOT_FOUND_TEXT},
	{NH_EAUTH, 401, NOT_FOUND_TEXT},
	{NH_ETOOBIG, 413, "Request Entity Too Large"},
	{NH_EAGAIN, 503, "The server is busy: nothing was changed. Please try again in a few seconds."},
	{NH_ETIMEOUT, 503, "The server took too long, please try again."},
	{NH_ENOMEM, 503, "The server has no memory left: nothing was changed. Please try again in a few seconds."},
	{NH_EIO, 503, "The server cannot use its database or its firmware storage at the moment. Please try again in a few seconds."},
	{NH_ENOSPC, 507, "The server's disk is full: nothing was changed. Its operator has to free some space; then try again."},
	{NH_EUNSUPPORTED, 422, NULL},
};

/* An outage in the middle of a change: most often nothing was changed, but an answer of the database may have been lost after it had done its part. */
#define PERHAPS_CHANGED                                                                                                             \
	"The server cannot use its database or its firmware storage at the moment. In rare cases the change has been made all the same: please look, and try " \
	"again in a few seconds."
#define RETRY_AFTER_S "5"

static void answer_failure(struct call *call, nh_rc rc, const struct nh_err *err)
{
	unsigned status = 500;
	const char *text = "Sorry, an unexpected error occurred. The masters of the web have been notified.";
	for (size_t i = 0; i < NH_ARRAY_LEN(answers); i++) {
		if (answers[i].rc == rc) {
			status = answers[i].status;
			text = answers[i].text ? answers[i].text : err->msg;
		}
	}
	if (rc == NH_EIO && call->endpoint->write)
		text = PERHAPS_CHANGED;
	/* An outage is logged once for its episode, where it was noticed. */
	if (status >= 500)
		NH_LOG(nh_rc_outage(rc) ? NH_LOG_DEBUG : NH_LOG_ERROR, "api.failed", NH_S("path", call->req->path), NH_STR("code", nh_rc_name(rc)), NH_STR("why", err->msg));
	if (call->status)
		status = call->status;
	if (status == 503)
		nh_response_header(call->res, "retry-after", NH_LIT(RETRY_AFTER_S));
	if (call->whole) {
		send_json(call->req, call->res, status, call->whole);
	} else if (call->errors) {
		NH_AUTO_JSON json_t *body = json_pack("{s:O}", "errors", call->errors);
		send_json(call->req, call->res, status, body);
	} else {
		send_error(call->req, call->res, status, text);
	}
}

static void answer_success(struct call *call)
{
	unsigned status = call->status ? call->status : call->endpoint->success;
	if (call->location.ptr)
		nh_response_header(call->res, "location", call->location);
	if (call->whole) {
		send_json(call->req, call->res, status, call->whole);
		return;
	}
	if (status == 204 || !call->data) {
		send_common_headers(call->req, call->res);
		nh_response_send(call->res, status, NULL, NH_SLICE_EMPTY);
		return;
	}
	NH_AUTO_JSON json_t *body = call->extra ? json_incref(call->extra) : json_object();
	json_object_set(body, "data", call->data);
	send_json(call->req, call->res, status, body);
}

nh_rc bad_request(struct call *call, struct nh_err *err, const char *text)
{
	json_decref(call->errors);
	call->errors = json_pack("{s:o}", "detail", nh_json_new_text(nh_slice_str(text)));
	call->status = 400;
	return NH_FAIL(err, NH_EINVAL, "%s", text);
}

const char *public_url(const struct nh_request *req)
{
	const struct nh_user_api *api = req->app;
	if (api->config.public_url)
		return api->config.public_url;
	return nh_arena_printf(req->arena, "%s://%.*s", req->tls ? "https" : "http", NH_ARG(req->host));
}

nh_slice param(const struct call *call, const char *name)
{
	return nh_request_param(call->req, name);
}

void set_location(struct call *call, nh_slice segment)
{
	NH_AUTO_BUF struct nh_buf text = NH_BUF_INIT;
	nh_slice path = call->req->path;
	while (path.len > 1 && path.ptr[path.len - 1] == '/')
		path.len--;
	nh_buf_put_slice(&text, path);
	if (segment.ptr) {
		nh_buf_put_u8(&text, '/');
		nh_uri_put(&text, segment);
	}
	call->location = nh_arena_copy(call->arena, nh_buf_slice(&text));
}

/* json and text are served; an Accept that allows neither is refused. */
static bool acceptable(const struct nh_request *req)
{
	static const char *const words[] = {"*/*", "application/*", "application/json", "text/*", "text/plain"};
	nh_slice accept = nh_request_header(req, "accept"), item, kind, rest;
	if (accept.len == 0)
		return true;
	while (accept.len > 0) {
		nh_slice_cut(accept, ',', &item, &accept);
		nh_slice_cut(item, ';', &kind, &rest);
		for (size_t i = 0; i < NH_ARRAY_LEN(words); i++) {
			if (nh_slice_ieq(nh_slice_trim(kind), nh_slice_str(words[i])))
				return true;
		}
	}
	return false;
}

/* ---- who asks, and for what -------------------------------------------------------------------------------------------- */

/* "<scheme> <token>"; empty where there is none that could be used. source: reference/user-api-and-cli "2.1" */
static nh_slice bearer(const struct nh_request *req)
{
	nh_slice scheme, token, rest;
	if (nh_http_header_count(req->headers, "authorization") != 1)
		return NH_SLICE_EMPTY;
	if (!nh_slice_cut(nh_request_header(req, "authorization"), ' ', &scheme, &rest))
		return NH_SLICE_EMPTY;
	nh_slice_cut(rest, ' ', &token, &rest);
	if (!nh_slice_ieq(scheme, NH_LIT("token")) && !nh_slice_ieq(scheme, NH_LIT("bearer")))
		return NH_SLICE_EMPTY;
	return token;
}

/*
 * A token where there is one, else the connection's client certificate. A browser sends its certificate along whoever's page asks, so that what comes from a page is not taken for
 * its owner's wish; programs send no Origin.
 *
 * source: reference/user-api-and-cli "2.1", "19.2"
 */
static nh_rc identify(struct call *call, struct nh_err *err)
{
	const struct nh_request *req = call->req;
	nh_slice token = bearer(req);
	call->touch = 0;
	call->by_certificate = !token.ptr && req->fingerprint;
	if (!call->by_certificate)
		return nh_token_user(&call->ctx, token, NH_TOKEN_API, &call->user, &call->touch, err);
	if (nh_http_header_count(req->headers, "origin") > 0)
		return NH_FAIL(err, NH_EAUTH, "a client certificate signs no web page in");
	return nh_user_by_certificate(&call->ctx, nh_slice_of(req->fingerprint, NH_TLS_FINGERPRINT_LEN), &call->user, &call->touch, err);
}

static nh_rc open_scope(struct call *call, struct nh_err *err)
{
	const struct endpoint *e = call->endpoint;
	struct nh_ctx *ctx = &call->ctx;
	if (e->scope == SCOPE_NONE)
		return NH_OK;
	if (e->scope == SCOPE_DEVICE_ANYWHERE)
		return nh_device_open_anywhere(ctx, &call->actor, param(call, "identifier"), e->may, &call->device, err);
	NH_TRY(nh_org_open(ctx, &call->actor, param(call, "org_name"), NH_MAY_ORG_SEE, &call->org, err));
	if (e->scope >= SCOPE_PRODUCT)
		NH_TRY(nh_product_open(ctx, &call->actor, call->org.id, param(call, "product_name"), NH_MAY_PRODUCT_SEE, &call->product, err));
	if (e->scope == SCOPE_DEVICE)
		NH_TRY(nh_device_open(ctx, &call->actor, &call->product, param(call, "identifier"), NH_MAY_DEVICE_SEE, &call->device, err));
	return nh_may(ctx, &call->actor, call->org.id, e->may, err);
}

static void forget_results(struct call *call)
{
	json_decref(call->data);
	json_decref(call->extra);
	json_decref(call->errors);
	json_decref(call->whole);
	call->data = call->extra = call->errors = call->whole = NULL;
	call->effects = (struct nh_effects){0};
	call->location = NH_SLICE_EMPTY;
	call->status = 0;
}

struct transaction {
	struct call *call;
	nh_rc (*run)(struct call *call, struct nh_err *err);
};

static nh_rc in_transaction(struct nh_tx *tx, void *arg, struct nh_err *err)
{
	struct transaction *t = arg;
	struct call *call = t->call;
	const struct nh_user_api_config *config = &call->api->config;
	forget_results(call);
	call->ctx = (struct nh_ctx){
		.tx = tx,
		.arena = call->arena,
		.clock = config->clock,
		.rng = config->rng,
		.config = config->hub,
		.effects = &call->effects,
	};
	if (!call->endpoint->anonymous) {
		NH_TRY(identify(call, err));
		call->actor = nh_actor_of_user(&call->user);
		NH_TRY(open_scope(call, err));
	}
	return t->run ? t->run(call, err) : NH_OK;
}

static nh_rc touch_token(struct nh_tx *tx, void *arg, struct nh_err *err)
{
	struct call *call = arg;
	struct nh_ctx ctx = call->ctx;
	ctx.tx = tx;
	return call->by_certificate ? nh_user_certificate_touch(&ctx, call->touch, err) : nh_token_touch(&ctx, call->touch, err);
}

nh_rc call_transact(struct call *call, nh_rc (*run)(struct call *call, struct nh_err *err), bool write, struct nh_err *err)
{
	struct transaction t = {call, run};
	struct nh_db *db = call->api->config.db;
	nh_rc rc = write ? nh_db_write(db, in_transaction, &t, err) : nh_db_read(db, in_transaction, &t, err);
	call->ctx.tx = NULL;
	/* When a token was used last is for people to look at: not being able to note it is no reason to refuse. */
	if (rc == NH_OK && call->touch)
		NH_IGNORE(nh_db_write(db, touch_token, call, NULL));
	return rc;
}

/* ---- effects ----------------------------------------------------------------------------------------------------------- */

struct gone {
	struct call *call;
	nh_slice key;
};

static nh_rc note_gone(struct nh_tx *tx, void *arg, struct nh_err *err)
{
	struct gone *g = arg;
	struct nh_ctx ctx = g->call->ctx;
	ctx.tx = tx;
	return nh_loose_object_gone(&ctx, g->key, err);
}

void call_effects(struct call *call)
{
	const struct nh_user_api_config *config = &call->api->config;
	struct nh_effects others = {.items = call->effects.items};
	for (size_t i = 0; i < call->effects.count; i++) {
		struct gone g = {call, call->effects.items[i].name};
		if (call->effects.items[i].kind != NH_EFFECT_OBJECT_DELETE) {
			others.items[others.count++] = call->effects.items[i];
			continue;
		}
		/* What fails here is done by the next sweep. */
		if (nh_objects_delete(config->objects, (const char *)g.key.ptr, NULL) == NH_OK)
			NH_IGNORE(nh_db_write(config->db, note_gone, &g, NULL));
	}
	if (others.count > 0 && config->effects)
		config->effects(config->effects_ctx, &others);
	call->effects = (struct nh_effects){0};
}

/* ---- one call ---------------------------------------------------------------------------------------------------------- */

bool call_open(struct call *call, struct nh_request *req, struct nh_response *res, const struct endpoint *endpoint)
{
	struct nh_err err = NH_ERR_INIT;
	*call = (struct call){.req = req, .res = res, .api = req->app, .endpoint = endpoint, .arena = req->arena};
	if (!acceptable(req)) {
		send_error(req, res, 406, "Not Acceptable");
		return false;
	}
	nh_rc rc = read_params(call, &err);
	if (rc == NH_OK)
		return true;
	send_error(req, res, rc == NH_ETOOBIG ? 413 : 400, rc == NH_ETOOBIG ? "Request Entity Too Large" : err.msg);
	json_decref(call->params);
	return false;
}

void call_leave(struct call *call)
{
	forget_results(call);
	json_decref(call->params);
	call->params = NULL;
}

void call_close(struct call *call, nh_rc rc, const struct nh_err *err)
{
	if (rc == NH_OK && nh_response_status(call->res) == 0)
		answer_success(call);
	else if (rc != NH_OK)
		answer_failure(call, rc, err);
	call_leave(call);
}

void api_handle(struct nh_request *req, struct nh_response *res)
{
	struct call call;
	struct nh_err err = NH_ERR_INIT;
	const struct endpoint *endpoint = req->route->extra;
	if (!call_open(&call, req, res, endpoint))
		return;
	if (change_method(&call)) {
		call_leave(&call);
		req->route->handle(req, res);
		return;
	}
	nh_rc rc = call_transact(&call, endpoint->run, endpoint->write, &err);
	if (rc == NH_OK)
		call_effects(&call);
	call_close(&call, rc, &err);
}

/* ---- client certificates ----------------------------------------------------------------------------------------------- */

struct verify {
	struct nh_user_api *api;
	const uint8_t *fingerprint;
	int64_t user_id;
};

static nh_rc verify_tx(struct nh_tx *tx, void *arg, struct nh_err *err)
{
	struct verify *v = arg;
	NH_AUTO_ARENA struct nh_arena arena = NH_ARENA_INIT;
	struct nh_ctx ctx = {.tx = tx, .arena = &arena, .clock = v->api->config.clock, .rng = v->api->config.rng, .config = v->api->config.hub};
	struct nh_user user = {0};
	NH_TRY(nh_user_by_certificate(&ctx, nh_slice_of(v->fingerprint, NH_TLS_FINGERPRINT_LEN), &user, NULL, err));
	v->user_id = user.id;
	return NH_OK;
}

nh_tls_verdict nh_user_api_verify(void *app, nh_slice der, const uint8_t fingerprint[NH_TLS_FINGERPRINT_LEN], int64_t *tag) { return NH_TLS_PENDING; }

nh_tls_verdict nh_user_api_verify_slow(void *worker, void *app, nh_slice der, const uint8_t fingerprint[NH_TLS_FINGERPRINT_LEN], int64_t *tag)
{
	struct verify v = {.api = app, .fingerprint = fingerprint};
	struct nh_err err = NH_ERR_INIT;
	nh_rc rc = nh_db_read(v.api->config.db, verify_tx, &v, &err);
	*tag = v.user_id;
	if (rc == NH_OK)
		return NH_TLS_ACCEPT;
	NH_LOG(NH_LOG_INFO, "api.certificate_refused", NH_STR("why", err.msg));
	return NH_TLS_REFUSE;
}

/* ---- sweep ------------------------------------------------------------------------------------------------------------- */

struct sweep {
	struct nh_user_api *api;
	struct nh_arena *arena;
	nh_slice *keys;
	size_t count;
	nh_slice key;
};

static struct nh_ctx sweep_ctx(struct sweep *s, struct nh_tx *tx)
{
	return (struct nh_ctx){.tx = tx, .arena = s->arena, .clock = s->api->config.clock, .rng = s->api->config.rng, .config = s->api->config.hub};
}

static nh_rc sweep_find(struct nh_tx *tx, void *arg, struct nh_err *err)
{
	struct sweep *s = arg;
	struct nh_ctx ctx = sweep_ctx(s, tx);
	return nh_loose_objects_due(&ctx, SWEEP_PAGE, &s->keys, &s->count, err);
}

static nh_rc sweep_gone(struct nh_tx *tx, void *arg, struct nh_err *err)
{
	struct sweep *s = arg;
	struct nh_ctx ctx = sweep_ctx(s, tx);
	return nh_loose_object_gone(&ctx, s->key, err);
}

static nh_rc sweep_abandon(struct nh_tx *tx, void *arg, struct nh_err *err)
{
	struct nh_ctx ctx = sweep_ctx(arg, tx);
	return nh_loose_objects_abandon(&ctx, err);
}

nh_rc nh_user_api_recover(struct nh_user_api *api, struct nh_err *err)
{
	NH_AUTO_ARENA struct nh_arena arena = NH_ARENA_INIT;
	struct sweep s = {.api = api, .arena = &arena};
	return nh_db_write(api->config.db, sweep_abandon, &s, err);
}

/* One page. An object that cannot be deleted does not keep the others; what failed first is told. */
static nh_rc sweep_page(struct sweep *s, size_t *deleted, struct nh_err *err)
{
	nh_rc first = NH_OK;
	*deleted = 0;
	NH_TRY(nh_db_read(s->api->config.db, sweep_find, s, err));
	for (size_t i = 0; i < s->count; i++) {
		s->key = s->keys[i];
		nh_rc rc = nh_objects_delete(s->api->config.objects, (const char *)s->key.ptr, first == NH_OK ? err : NULL);
		if (rc == NH_OK || rc == NH_ENOTFOUND)
			rc = nh_db_write(s->api->config.db, sweep_gone, s, first == NH_OK ? err : NULL);
		if (rc == NH_OK)
			++*deleted;
		else if (first == NH_OK)
			first = rc;
	}
	return first;
}

nh_rc nh_user_api_sweep(struct nh_user_api *api, size_t *deleted, struct nh_err *err)
{
	size_t all = 0, here = 0;
	nh_rc rc;
	do {
		NH_AUTO_ARENA struct nh_arena arena = NH_ARENA_INIT;
		struct sweep s = {.api = api, .arena = &arena};
		rc = sweep_page(&s, &here, err);
		all += here;
	} while (rc == NH_OK && here == SWEEP_PAGE);
	if (deleted)
		*deleted = all;
	return rc;
}
