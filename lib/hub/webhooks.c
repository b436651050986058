/*
 * People's side of webhooks: make, change, look after them; secrets and signing.
 *
 * What a url may be is checked here for its form only. Where its name leads is looked at when it is connected to, each time, since names change their mind.
 */
#include "hub/webhooks.h"

#include "base/encode.h"
#include "base/uuid.h"
#include "crypto/hmac.h"
#include "crypto/secret.h"
#include "hub/audit.h"
#include "hub/permissions.h"
#include "hub/products.h"
#include "input_int.h"
#include "rollout_int.h"
#include "rows_int.h"
#include "seal_int.h"
#include "store/webhooks.h"
#include "webhooks_int.h"

#define PURPOSE "webhook"
#define SECRET_PREFIX "whsec_"
#define SECRET_LEN 32
#define URL_MAX ((size_t)2048)
#define OLD_SECRET_US (INT64_C(86400) * NH_US_PER_S)

int64_t nh_webhook_give_up_us(const struct nh_ctx *ctx) { return ctx->config->webhooks.give_up_us ? ctx->config->webhooks.give_up_us : NH_WEBHOOK_GIVE_UP_US; }

/* ---- rows ---------------------------------------------------------------------------------------------------------------- */

static void read_webhook(const struct nh_rows *rows, struct nh_arena *arena, void *item)
{
	*(struct nh_webhook *)item = (struct nh_webhook){
		.id = nh_col_int(rows, 0),
		.product_id = nh_col_int(rows, 1),
		.product = nh_col_text(rows, 2, arena),
		.description = nh_col_text(rows, 3, arena),
		.url = nh_col_text(rows, 4, arena),
		.kinds = nh_col_int(rows, 5),
		.enabled = nh_col_bool(rows, 6),
		.disabled_reason = nh_col_text(rows, 7, arena),
		.waiting = nh_col_int(rows, 8),
		.dead = nh_col_int(rows, 9),
		.failing_since_us = nh_col_int(rows, 10),
		.delivered_at_us = nh_col_int(rows, 11),
		.old_secret_until_us = nh_col_int(rows, 12),
		.inserted_at_us = nh_col_int(rows, 13),
		.updated_at_us = nh_col_int(rows, 14),
	};
}

static nh_rc load(struct nh_ctx *ctx, int64_t org_id, int64_t id, struct nh_webhook *out, struct nh_err *err)
{
	return nh_one_row(ctx->tx, ctx->arena, &nh_q_webhook_get, NH_PARAMS(nh_p_int(org_id), nh_p_int(id)), read_webhook, out, "webhook", err);
}

nh_rc nh_webhook_list(struct nh_ctx *ctx, const struct nh_actor *actor, int64_t org_id, struct nh_webhook **out, size_t *count, struct nh_err *err)
{
	struct nh_list list = NH_LIST_OF(ctx->arena, struct nh_webhook);
	NH_TRY(nh_may(ctx, actor, org_id, NH_MAY_WEBHOOK_SEE, err));
	NH_TRY(nh_list_rows(ctx->tx, &list, &nh_q_webhook_list, NH_PARAMS(nh_p_int(org_id), nh_p_int(NH_WEBHOOKS_MAX)), read_webhook, err));
	*out = list.items;
	*count = list.count;
	return NH_OK;
}

nh_rc nh_webhook_get(struct nh_ctx *ctx, const struct nh_actor *actor, int64_t org_id, int64_t id, struct nh_webhook *out, struct nh_err *err)
{
	NH_TRY(nh_may(ctx, actor, org_id, NH_MAY_WEBHOOK_SEE, err));
	return load(ctx, org_id, id, out, err);
}

static void read_kinds(const struct nh_rows *rows, struct nh_arena *arena, void *item) { *(int64_t *)item = nh_col_int(rows, 0); }

nh_rc nh_webhook_kinds_changed(struct nh_ctx *ctx, int64_t org_id, struct nh_err *err)
{
	struct nh_list list = NH_LIST_OF(ctx->arena, int64_t);
	int64_t kinds = 0;
	NH_TRY(nh_list_rows(ctx->tx, &list, &nh_q_webhook_kinds, NH_PARAMS(nh_p_int(org_id)), read_kinds, err));
	for (size_t i = 0; i < list.count; i++)
		kinds |= ((const int64_t *)list.items)[i];
	return nh_sql_exec(ctx->tx, &nh_q_event_kinds_set, NH_PARAMS(nh_p_int(kinds), nh_p_int(org_id)), NULL, err);
}

/* ---- what people say ------------------------------------------------------------------------------------------------------- */

static bool host_ok(nh_slice host)
{
	bool brackets = host.len > 2 && host.ptr[0] == '[' && host.ptr[host.len - 1] == ']';
	if (host.len == 0 || host.len > 255)
		return false;
	for (size_t i = brackets ? 1 : 0; i < host.len - (brackets ? 1 : 0); i++) {
		uint8_t c = host.ptr[i];
		bool word = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' || c == '-';
		if (!word && !(brackets && c == ':') && !(!brackets && c == '_'))
			return false;
	}
	return true;
}

/* The authority of a url, that is what stands between "://" and the path; and the rest. */
static nh_slice authority_of(nh_slice rest)
{
	size_t end = 0;
	while (end < rest.len && rest.ptr[end] != '/' && rest.ptr[end] != '?')
		end++;
	return nh_slice_sub(rest, 0, end);
}

static nh_slice without_port(nh_slice authority, nh_slice *port)
{
	size_t at = authority.len;
	*port = NH_LIT("443");
	while (at > 0 && authority.ptr[at - 1] >= '0' && authority.ptr[at - 1] <= '9')
		at--;
	if (at == 0 || authority.ptr[at - 1] != ':')
		return authority;
	*port = nh_slice_skip(authority, at);
	return nh_slice_sub(authority, 0, at - 1);
}

/* NULL: it may be; else what is wrong with it. */
static const char *url_fault(const struct nh_ctx *ctx, nh_slice url)
{
	bool tls = nh_slice_starts(url, NH_LIT("https://")), plain = nh_slice_starts(url, NH_LIT("http://"));
	uint64_t number;
	nh_slice port;
	if (url.len == 0)
		return "can't be blank";
	if (url.len > URL_MAX)
		return "is longer than 2048 bytes";
	for (size_t i = 0; i < url.len; i++) {
		if (url.ptr[i] <= ' ' || url.ptr[i] > '~' || url.ptr[i] == '#' || url.ptr[i] == '\\')
			return "is no URL of printable ASCII without a fragment";
	}
	if (plain && !ctx->config->webhooks.http)
		return "must begin with https://: this server sends webhooks over TLS only";
	if (!tls && !plain)
		return "must begin with https://";
	nh_slice authority = authority_of(nh_slice_skip(url, tls ? 8 : 7));
	if (nh_slice_chr(authority, '@') >= 0)
		return "must not hold a user name or password";
	nh_slice host = without_port(authority, &port);
	if (!host_ok(host) || nh_parse_u64(port, 1, 65535, &number) != NH_OK)
		return "has no proper host";
	return NULL;
}

nh_slice nh_webhook_origin(nh_slice url)
{
	ptrdiff_t at = nh_slice_find(url, NH_LIT("://"));
	size_t scheme = at < 0 ? 0 : (size_t)at + 3;
	return nh_slice_sub(url, 0, scheme + authority_of(nh_slice_skip(url, scheme)).len);
}

/* "*", or a list of kinds and "*". */
static nh_rc read_events(struct nh_arena *arena, const json_t *events, int64_t *kinds, json_t **errors, struct nh_err *err)
{
	size_t i;
	json_t *item;
	nh_event_kind kind;
	if (json_is_null(events) || (json_is_string(events) && strcmp(json_string_value(events), "*") == 0)) {
		*kinds = NH_EVENT_ALL;
		return NH_OK;
	}
	if (!json_is_array(events) || json_array_size(events) == 0 || json_array_size(events) > 2 * NH_EVENT_KIND_COUNT)
		return nh_refuse(errors, err, NH_EINVAL, "events", "must be a list of event names, or [\"*\"]");
	*kinds = 0;
	json_array_foreach(events, i, item) {
		nh_slice name = nh_slice_of(json_string_value(item), json_string_length(item));
		if (nh_slice_eq_str(name, "*"))
			*kinds = NH_EVENT_ALL;
		else if (json_is_string(item) && nh_event_kind_parse(name, &kind))
			*kinds |= nh_event_bit(kind);
		else
			return nh_refuse(errors, err, NH_EINVAL, "events", "there is no event '%.*s'", NH_ARG(nh_text_cut(arena, name, 64)));
	}
	return NH_OK;
}

static nh_rc read_product(struct nh_ctx *ctx, const struct nh_actor *actor, int64_t org_id, const json_t *value, struct nh_webhook *w, json_t **errors, struct nh_err *err)
{
	struct nh_product product;
	w->product_id = 0;
	if (json_is_null(value) || (json_is_string(value) && json_string_length(value) == 0))
		return NH_OK;
	if (!json_is_string(value))
		return nh_refuse(errors, err, NH_EINVAL, "product", "is invalid");
	nh_rc rc = nh_product_open(ctx, actor, org_id, nh_slice_of(json_string_value(value), json_string_length(value)), NH_MAY_PRODUCT_SEE, &product, err);
	if (rc == NH_ENOTFOUND)
		return nh_refuse(errors, err, NH_EINVAL, "product", "does not exist");
	NH_TRY(rc);
	w->product_id = product.id;
	return NH_OK;
}

/* The members that are there, into w. */
static nh_rc read_fields(struct nh_ctx *ctx, const struct nh_actor *actor, int64_t org_id, const json_t *fields, struct nh_webhook *w, json_t **errors, struct nh_err *err)
{
	bool present = false;
	nh_slice text = NH_SLICE_EMPTY;
	const json_t *value;
	if (!json_is_object(fields))
		return nh_refuse(errors, err, NH_EINVAL, NULL, "expected an object");
	if (json_object_get(fields, "url"))
		w->url = nh_arena_copy(ctx->arena, nh_slice_trim(nh_json_text(fields, "url")));
	const char *fault = url_fault(ctx, w->url);
	if (fault)
		return nh_refuse(errors, err, NH_EINVAL, "url", "%s", fault);
	NH_TRY(nh_input_optional_text(ctx->arena, fields, "description", NH_NAME_MAX_BYTES, &present, &text, errors, err));
	if (present)
		w->description = text.ptr ? text : NH_LIT("");
	if ((value = json_object_get(fields, "events")))
		NH_TRY(read_events(ctx->arena, value, &w->kinds, errors, err));
	if ((value = json_object_get(fields, "enabled")) && !nh_input_bool(value, &w->enabled))
		return nh_refuse(errors, err, NH_EINVAL, "enabled", "is invalid");
	return (value = json_object_get(fields, "product")) ? read_product(ctx, actor, org_id, value, w, errors, err) : NH_OK;
}

/* ---- secrets --------------------------------------------------------------------------------------------------------------- */

/* Bound to the organization: a row that is copied to another's does not open. */
static nh_rc make_secret(struct nh_ctx *ctx, int64_t org_id, struct nh_buf *sealed, struct nh_webhook_secret *shown, struct nh_err *err)
{
	uint8_t bytes[SECRET_LEN];
	struct nh_buf text = NH_BUF_INIT;
	nh_rng_fill(ctx->rng, bytes, sizeof bytes);
	nh_buf_put_str(&text, SECRET_PREFIX);
	nh_b64_put(&text, nh_slice_of(bytes, sizeof bytes), NH_B64_STD);
	NH_ASSERT(text.len < sizeof shown->text);
	memcpy(shown->text, nh_buf_cstr(&text), text.len + 1);
	nh_rc rc = nh_seal(ctx, PURPOSE, org_id, nh_slice_of(bytes, sizeof bytes), sealed, err);
	nh_buf_wipe(&text);
	nh_wipe(bytes, sizeof bytes);
	return rc;
}

void nh_webhook_sign(struct nh_buf *out, nh_slice secret, nh_slice uuid, nh_slice timestamp, nh_slice body)
{
	uint8_t mac[NH_SHA256_LEN];
	NH_AUTO_BUF struct nh_buf text = NH_BUF_INIT;
	nh_buf_printf(&text, "%.*s.%.*s.", NH_ARG(uuid), NH_ARG(timestamp));
	nh_buf_put_slice(&text, body);
	nh_hmac(NH_SHA256, secret, nh_buf_slice(&text), mac);
	nh_buf_put_str(out, out->len ? " v1," : "v1,");
	nh_b64_put(out, nh_slice_of(mac, sizeof mac), NH_B64_STD);
}

static nh_rc sign_with(struct nh_ctx *ctx, int64_t org_id, nh_slice sealed, const struct nh_webhook_request *r, struct nh_buf *out, struct nh_err *err)
{
	struct nh_buf secret = NH_BUF_INIT;
	nh_rc rc = nh_unseal(ctx, PURPOSE, org_id, sealed, &secret, err);
	if (rc == NH_OK)
		nh_webhook_sign(out, nh_buf_slice(&secret), r->uuid, r->timestamp, r->body);
	nh_buf_wipe(&secret);
	return rc;
}

nh_rc nh_webhook_signature(struct nh_ctx *ctx, int64_t org_id, nh_slice sealed, nh_slice old_sealed, int64_t old_until_us, struct nh_webhook_request *request, struct nh_err *err)
{
	NH_AUTO_BUF struct nh_buf out = NH_BUF_INIT;
	request->timestamp = nh_slice_str(nh_arena_printf(ctx->arena, "%lld", (long long)(nh_ctx_now(ctx) / NH_US_PER_S)));
	NH_TRY(sign_with(ctx, org_id, sealed, request, &out, err));
	if (old_sealed.ptr && old_until_us > nh_ctx_now(ctx))
		NH_TRY(sign_with(ctx, org_id, old_sealed, request, &out, err));
	request->signature = nh_arena_copy(ctx->arena, nh_buf_slice(&out));
	return NH_OK;
}

nh_slice nh_webhook_body(struct nh_ctx *ctx, const char *kind, nh_slice uuid, int64_t at_us, const json_t *data)
{
	NH_AUTO_BUF struct nh_buf at = NH_BUF_INIT;
	nh_time_put_iso_us(&at, at_us);
	NH_AUTO_JSON json_t *body = json_pack("{s:o, s:s, s:o, s:O}", "id", nh_json_new_text(uuid), "type", kind, "timestamp", nh_json_new_text(nh_buf_slice(&at)), "data", data);
	return nh_json_arena(ctx->arena, body);
}

/* ---- make, change, end ------------------------------------------------------------------------------------------------------- */

static int64_t user_of(const struct nh_actor *actor) { return actor->kind == NH_ACTOR_USER ? actor->id : 0; }

nh_rc nh_webhook_create(struct nh_ctx *ctx, const struct nh_actor *actor, int64_t org_id, const json_t *fields, struct nh_webhook *out, struct nh_webhook_secret *secret, json_t **errors,
                        struct nh_err *err)
{
	struct nh_webhook w = {.description = NH_LIT(""), .url = NH_LIT(""), .kinds = NH_EVENT_ALL, .enabled = true};
	NH_AUTO_BUF struct nh_buf sealed = NH_BUF_INIT;
	int64_t count = 0;
	NH_TRY(nh_may(ctx, actor, org_id, NH_MAY_WEBHOOK_CREATE, err));
	NH_TRY(read_fields(ctx, actor, org_id, fields, &w, errors, err));
	NH_TRY(nh_query_id(ctx->tx, &nh_q_webhook_count, NH_PARAMS(nh_p_int(org_id)), &count, err));
	if (count >= NH_WEBHOOKS_MAX)
		return nh_refuse(errors, err, NH_EINVAL, NULL, "The organization has %d webhooks already.", NH_WEBHOOKS_MAX);
	NH_TRY(make_secret(ctx, org_id, &sealed, secret, err));
	NH_TRY(nh_query_id(ctx->tx, &nh_q_webhook_add,
	                   NH_PARAMS(nh_p_int(org_id), nh_p_ref(w.product_id), nh_p_text(w.description), nh_p_text(w.url), nh_p_int(w.kinds), nh_p_bool(w.enabled),
	                             nh_p_blob(nh_buf_slice(&sealed)), nh_p_ref(user_of(actor)), nh_p_int(nh_ctx_now(ctx))),
	                   &w.id, err));
	NH_TRY(nh_webhook_kinds_changed(ctx, org_id, err));
	NH_TRY(nh_audit_add(ctx, actor, org_id, NH_AUDIT_ORG, org_id, err, "%.*s made webhook %lld to %.*s", NH_ARG(actor->name), (long long)w.id, NH_ARG(nh_webhook_origin(w.url))));
	return load(ctx, org_id, w.id, out, err);
}

nh_rc nh_webhook_update(struct nh_ctx *ctx, const struct nh_actor *actor, int64_t org_id, int64_t id, const json_t *fields, struct nh_webhook *out, json_t **errors, struct nh_err *err)
{
	struct nh_webhook before, w;
	NH_TRY(nh_may(ctx, actor, org_id, NH_MAY_WEBHOOK_UPDATE, err));
	NH_TRY(load(ctx, org_id, id, &before, err));
	w = before;
	NH_TRY(read_fields(ctx, actor, org_id, fields, &w, errors, err));
	NH_TRY(nh_sql_exec(ctx->tx, &nh_q_webhook_update,
	                   NH_PARAMS(nh_p_ref(w.product_id), nh_p_text(w.description), nh_p_text(w.url), nh_p_int(w.kinds), nh_p_bool(w.enabled), nh_p_int(nh_ctx_now(ctx)), nh_p_int(id)), NULL,
	                   err));
	if (w.enabled && (!before.enabled || !nh_slice_eq(w.url, before.url))) {
		NH_TRY(nh_sql_exec(ctx->tx, &nh_q_webhook_afresh, NH_PARAMS(nh_p_int(nh_ctx_now(ctx)), nh_p_int(id)), NULL, err));
		nh_effect_add(ctx, NH_EFFECT_EVENT, 0, NH_SLICE_EMPTY, NH_SLICE_EMPTY);
	}
	NH_TRY(nh_webhook_kinds_changed(ctx, org_id, err));
	NH_TRY(nh_audit_add(ctx, actor, org_id, NH_AUDIT_ORG, org_id, err, "%.*s changed webhook %lld to %.*s%s", NH_ARG(actor->name), (long long)id, NH_ARG(nh_webhook_origin(w.url)),
	                    w.enabled == before.enabled ? "" : w.enabled ? " and switched it on" : " and switched it off"));
	return load(ctx, org_id, id, out, err);
}

nh_rc nh_webhook_delete(struct nh_ctx *ctx, const struct nh_actor *actor, int64_t org_id, int64_t id, bool *more, struct nh_err *err)
{
	struct nh_webhook w;
	int64_t deleted = 0, now = nh_ctx_now(ctx);
	NH_TRY(nh_may(ctx, actor, org_id, NH_MAY_WEBHOOK_DELETE, err));
	NH_TRY(load(ctx, org_id, id, &w, err));
	NH_TRY(nh_sql_exec(ctx->tx, &nh_q_webhook_disable, NH_PARAMS(nh_p_str("it is being deleted"), nh_p_int(now), nh_p_int(id)), NULL, err));
	NH_TRY(nh_webhook_kinds_changed(ctx, org_id, err));
	NH_TRY(nh_sql_exec(ctx->tx, &nh_q_delivery_delete_all, NH_PARAMS(nh_p_int(id), nh_p_int(NH_WEBHOOK_STEP)), &deleted, err));
	*more = deleted == NH_WEBHOOK_STEP;
	if (*more)
		return NH_OK;
	NH_TRY(nh_sql_exec(ctx->tx, &nh_q_webhook_delete, NH_PARAMS(nh_p_int(org_id), nh_p_int(id)), NULL, err));
	return nh_audit_add(ctx, actor, org_id, NH_AUDIT_ORG, org_id, err, "%.*s deleted webhook %lld to %.*s", NH_ARG(actor->name), (long long)id, NH_ARG(nh_webhook_origin(w.url)));
}

nh_rc nh_webhook_rotate(struct nh_ctx *ctx, const struct nh_actor *actor, int64_t org_id, int64_t id, struct nh_webhook *out, struct nh_webhook_secret *secret, struct nh_err *err)
{
	NH_AUTO_BUF struct nh_buf sealed = NH_BUF_INIT;
	int64_t now = nh_ctx_now(ctx);
	NH_TRY(nh_may(ctx, actor, org_id, NH_MAY_WEBHOOK_UPDATE, err));
	NH_TRY(load(ctx, org_id, id, out, err));
	NH_TRY(make_secret(ctx, org_id, &sealed, secret, err));
	NH_TRY(nh_sql_exec(ctx->tx, &nh_q_webhook_rotate, NH_PARAMS(nh_p_int(now + OLD_SECRET_US), nh_p_blob(nh_buf_slice(&sealed)), nh_p_int(now), nh_p_int(id)), NULL, err));
	NH_TRY(nh_audit_add(ctx, actor, org_id, NH_AUDIT_ORG, org_id, err, "%.*s gave webhook %lld to %.*s a new secret", NH_ARG(actor->name), (long long)id, NH_ARG(nh_webhook_origin(out->url))));
	return load(ctx, org_id, id, out, err);
}

nh_rc nh_webhooks_end(struct nh_ctx *ctx, int64_t org_id, int64_t product_id, struct nh_err *err)
{
	if (product_id)
		NH_TRY(nh_sql_exec(ctx->tx, &nh_q_webhook_disable_product, NH_PARAMS(nh_p_str("its product was deleted"), nh_p_int(nh_ctx_now(ctx)), nh_p_int(product_id)), NULL, err));
	else
		NH_TRY(nh_sql_exec(ctx->tx, &nh_q_webhook_disable_org, NH_PARAMS(nh_p_int(org_id)), NULL, err));
	return nh_webhook_kinds_changed(ctx, org_id, err);
}

/* ---- deliveries --------------------------------------------------------------------------------------------------------------- */

static const char *const status_names[] = {[NH_DELIVERY_WAITING] = "waiting", [NH_DELIVERY_DELIVERED] = "delivered", [NH_DELIVERY_DEAD] = "dead"};

const char *nh_delivery_status_name(nh_delivery_status status) { return status_names[status]; }

static void read_delivery(const struct nh_rows *rows, struct nh_arena *arena, void *item)
{
	*(struct nh_delivery *)item = (struct nh_delivery){
		.id = nh_col_int(rows, 0),
		.kind = nh_col_text(rows, 1, arena),
		.uuid = nh_col_text(rows, 2, arena),
		.status = nh_col_text(rows, 3, arena),
		.attempts = nh_col_int(rows, 4),
		.answer_status = nh_col_int(rows, 5),
		.error = nh_col_text(rows, 6, arena),
		.inserted_at_us = nh_col_int(rows, 7),
		.due_at_us = nh_col_int(rows, 8),
		.tried_at_us = nh_col_int(rows, 9),
		.until_us = nh_col_int(rows, 10),
	};
}

nh_rc nh_delivery_list(struct nh_ctx *ctx, const struct nh_actor *actor, int64_t org_id, int64_t webhook_id, nh_delivery_status status, int64_t before_id, size_t limit, struct nh_delivery **out,
                       size_t *count, struct nh_err *err)
{
	struct nh_webhook w;
	struct nh_list list = NH_LIST_OF(ctx->arena, struct nh_delivery);
	struct nh_param before = nh_p_int(before_id ? before_id : INT64_MAX), rows = nh_p_int((int64_t)limit);
	NH_ASSERT(limit >= 1 && limit <= NH_WEBHOOK_LIST_MAX);
	NH_TRY(nh_webhook_get(ctx, actor, org_id, webhook_id, &w, err));
	if (status == NH_DELIVERY_ANY)
		NH_TRY(nh_list_rows(ctx->tx, &list, &nh_q_delivery_list_all, NH_PARAMS(nh_p_int(w.id), before, rows), read_delivery, err));
	else
		NH_TRY(nh_list_rows(ctx->tx, &list, &nh_q_delivery_list, NH_PARAMS(nh_p_int(w.id), nh_p_str(status_names[status]), before, rows), read_delivery, err));
	*out = list.items;
	*count = list.count;
	return NH_OK;
}

nh_rc nh_delivery_retry(struct nh_ctx *ctx, const struct nh_actor *actor, int64_t org_id, int64_t webhook_id, int64_t delivery_id, int64_t *retried, struct nh_err *err)
{
	struct nh_webhook w;
	int64_t now = nh_ctx_now(ctx), until = now + nh_webhook_give_up_us(ctx);
	*retried = 0;
	NH_TRY(nh_may(ctx, actor, org_id, NH_MAY_WEBHOOK_UPDATE, err));
	NH_TRY(load(ctx, org_id, webhook_id, &w, err));
	NH_TRY(nh_sql_exec(ctx->tx, delivery_id ? &nh_q_delivery_retry : &nh_q_delivery_retry_all,
	                   NH_PARAMS(nh_p_int(now), nh_p_int(until), nh_p_int(w.id), nh_p_int(delivery_id ? delivery_id : NH_WEBHOOK_STEP)), retried, err));
	if (!*retried)
		return delivery_id ? NH_FAIL(err, NH_ENOTFOUND, "no such dead delivery") : NH_OK;
	NH_TRY(nh_sql_exec(ctx->tx, &nh_q_webhook_retried, NH_PARAMS(nh_p_int(*retried), nh_p_int(now), nh_p_int(w.id)), NULL, err));
	nh_effect_add(ctx, NH_EFFECT_EVENT, 0, NH_SLICE_EMPTY, NH_SLICE_EMPTY);
	return nh_audit_add(ctx, actor, org_id, NH_AUDIT_ORG, org_id, err, "%.*s had %lld dead deliver%s of webhook %lld sent anew", NH_ARG(actor->name), (long long)*retried,
	                    *retried == 1 ? "y" : "ies", (long long)w.id);
}

/* ---- a test -------------------------------------------------------------------------------------------------------------------- */

struct secrets {
	nh_slice url, sealed, old_sealed;
	int64_t old_until_us;
};

static void read_secrets(const struct nh_rows *rows, struct nh_arena *arena, void *item)
{
	*(struct secrets *)item = (struct secrets){nh_col_text(rows, 0, arena), nh_col_blob(rows, 1, arena), nh_col_blob(rows, 2, arena), nh_col_int(rows, 3)};
}

nh_rc nh_webhook_ping(struct nh_ctx *ctx, const struct nh_actor *actor, int64_t org_id, int64_t id, struct nh_webhook_request *out, struct nh_err *err)
{
	static const char kind[] = "webhook.test";
	struct secrets s;
	struct nh_uuid uuid;
	char text[NH_UUID_TEXT_LEN + 1];
	int64_t now = nh_ctx_now(ctx);
	NH_TRY(nh_may(ctx, actor, org_id, NH_MAY_WEBHOOK_UPDATE, err));
	NH_TRY(nh_one_row(ctx->tx, ctx->arena, &nh_q_webhook_secrets, NH_PARAMS(nh_p_int(org_id), nh_p_int(id)), read_secrets, &s, "webhook", err));
	nh_uuid_v7(&uuid, now, ctx->rng);
	nh_uuid_format(&uuid, text);
	NH_AUTO_JSON json_t *data = json_pack("{s:{s:I}}", "webhook", "id", (json_int_t)id);
	*out = (struct nh_webhook_request){.webhook_id = id, .attempts = 1, .url = s.url, .kind = NH_LIT("webhook.test"), .uuid = nh_arena_copy(ctx->arena, nh_slice_str(text))};
	out->body = nh_webhook_body(ctx, kind, out->uuid, now, data);
	NH_TRY(nh_webhook_signature(ctx, org_id, s.sealed, s.old_sealed, s.old_until_us, out, err));
	return nh_audit_add(ctx, actor, org_id, NH_AUDIT_ORG, org_id, err, "%.*s tested webhook %lld to %.*s", NH_ARG(actor->name), (long long)id, NH_ARG(nh_webhook_origin(s.url)));
}
