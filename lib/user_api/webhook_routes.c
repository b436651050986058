/*
 * Webhooks of an organization, what is owed to them, and a test of their endpoint. The answer to a test comes when the endpoint's does, and no worker waits for it.
 *
 * source: hub/webhooks.h; docs/guides/webhooks.md
 */
#include "api_int.h"
#include "base/encode.h"
#include "crypto/secret.h"

#define TESTS_PER_MINUTE 30
#define SHOWN_MAX ((size_t)1024) /* of what an endpoint answers to a test */
#define STEPS_MAX 1000           /* transactions of one request: half a million rows */
#define JSON_TYPE "application/json; charset=utf-8"
#define TAG "Webhooks"

/* ---- webhooks -------------------------------------------------------------------------------------------------------------- */

static json_t *render_events(int64_t kinds)
{
	json_t *list = json_array();
	if (kinds == NH_EVENT_ALL)
		json_array_append_new(list, json_string("*"));
	for (int kind = 0; kinds != NH_EVENT_ALL && kind < NH_EVENT_KIND_COUNT; kind++) {
		if (kinds & nh_event_bit((nh_event_kind)kind))
			json_array_append_new(list, json_string(nh_event_kind_name((nh_event_kind)kind)));
	}
	return list;
}

static json_t *render_webhook(const struct nh_webhook *w)
{
	return json_pack("{s:I, s:o, s:o, s:o, s:o, s:b, s:o, s:I, s:I, s:o, s:o, s:o, s:o, s:o}", "id", (json_int_t)w->id, "url", nh_json_new_text(w->url), "description",
	                 nh_json_new_text(w->description), "product", text_or_null(w->product), "events", render_events(w->kinds), "enabled", w->enabled, "disabled_reason",
	                 text_or_null(w->disabled_reason), "waiting", (json_int_t)w->waiting, "dead", (json_int_t)w->dead, "failing_since", render_moment(w->failing_since_us), "delivered_at",
	                 render_moment(w->delivered_at_us), "old_secret_until", render_moment(w->old_secret_until_us), "inserted_at", render_moment(w->inserted_at_us), "updated_at",
	                 render_moment(w->updated_at_us));
}

#define MOMENT(name, about_) {(name), FIELD_TEXT, FIELD_NULLABLE, .format = "date-time", .about = (about_)}
static SHAPE(shape_webhook, "Webhook", {"id", FIELD_INTEGER}, {"url", FIELD_TEXT}, {"description", FIELD_TEXT}, {"product", FIELD_TEXT, FIELD_NULLABLE, .about = "null: all of the organization"},
             {"events", FIELD_TEXT, FIELD_LIST, .about = "What it is told of; *: everything"}, {"enabled", FIELD_BOOLEAN},
             {"disabled_reason", FIELD_TEXT, FIELD_NULLABLE, .about = "Where the server switched it off"}, {"waiting", FIELD_INTEGER, .about = "Deliveries that wait"},
             {"dead", FIELD_INTEGER, .about = "Deliveries that were given up"}, MOMENT("failing_since", "Since when every try has failed"), MOMENT("delivered_at", "The latest success"),
             MOMENT("old_secret_until", "Until when the secret before this one signs, too"), {"inserted_at", FIELD_TEXT, .format = "date-time"}, {"updated_at", FIELD_TEXT, .format = "date-time"},
             {"secret", FIELD_TEXT, FIELD_OPTIONAL, .about = "Once, when it was made"});

/* NH_ENOTFOUND where the path's is no number. */
static nh_rc path_id(const struct call *call, const char *name, int64_t *out, struct nh_err *err)
{
	return nh_parse_i64(param(call, name), 1, INT64_MAX, out) == NH_OK ? NH_OK : NH_FAIL(err, NH_ENOTFOUND, "no such webhook or delivery");
}

static nh_rc webhooks(struct call *call, struct nh_err *err)
{
	struct nh_webhook *list;
	size_t count = 0;
	NH_TRY(nh_webhook_list(&call->ctx, &call->actor, call->org.id, &list, &count, err));
	call->data = json_array();
	for (size_t i = 0; i < count; i++)
		json_array_append_new(call->data, render_webhook(&list[i]));
	return NH_OK;
}
const struct endpoint ep_webhooks = {.run = webhooks, .scope = SCOPE_ORG, .may = NH_MAY_WEBHOOK_SEE, .success = 200, .data = &shape_webhook, .list = true, .tag = TAG};

static nh_rc webhook(struct call *call, struct nh_err *err)
{
	struct nh_webhook w;
	int64_t id;
	NH_TRY(path_id(call, "id", &id, err));
	NH_TRY(nh_webhook_get(&call->ctx, &call->actor, call->org.id, id, &w, err));
	call->data = render_webhook(&w);
	return NH_OK;
}
const struct endpoint ep_webhook = {.run = webhook, .scope = SCOPE_ORG, .may = NH_MAY_WEBHOOK_SEE, .success = 200, .data = &shape_webhook, .tag = TAG};

static json_t *with_secret(const struct nh_webhook *w, struct nh_webhook_secret *secret)
{
	json_t *data = render_webhook(w);
	json_object_set_new(data, "secret", json_string(secret->text));
	nh_wipe(secret, sizeof *secret);
	return data;
}

static nh_rc webhook_create(struct call *call, struct nh_err *err)
{
	struct nh_webhook w;
	struct nh_webhook_secret secret;
	NH_TRY(nh_webhook_create(&call->ctx, &call->actor, call->org.id, call->params, &w, &secret, &call->errors, err));
	call->data = with_secret(&w, &secret);
	set_location(call, nh_slice_str(nh_arena_printf(call->arena, "%lld", (long long)w.id)));
	return NH_OK;
}
#define WEBHOOK_MEMBERS                                                                                                                                                                     \
	{"description", FIELD_TEXT, FIELD_OPTIONAL | FIELD_NULLABLE}, {"product", FIELD_TEXT, FIELD_OPTIONAL | FIELD_NULLABLE, .about = "Only its events; null: all of the organization"},   \
		{"events", FIELD_TEXT, FIELD_OPTIONAL | FIELD_NULLABLE | FIELD_LIST, .about = "Names of events; *, which is also the default: everything"}, {"enabled", FIELD_BOOLEAN, FIELD_OPTIONAL}
static SHAPE(webhook_body, "WebhookWanted", {"url", FIELD_TEXT, .about = "https://…"}, WEBHOOK_MEMBERS);
const struct endpoint ep_webhook_create = {
	.run = webhook_create, .scope = SCOPE_ORG, .may = NH_MAY_WEBHOOK_CREATE, .write = true, .success = 201, .body = &webhook_body, .data = &shape_webhook, .tag = TAG};

static nh_rc webhook_update(struct call *call, struct nh_err *err)
{
	struct nh_webhook w;
	int64_t id;
	NH_TRY(path_id(call, "id", &id, err));
	NH_TRY(nh_webhook_update(&call->ctx, &call->actor, call->org.id, id, call->params, &w, &call->errors, err));
	call->data = render_webhook(&w);
	return NH_OK;
}
static SHAPE(webhook_change, "WebhookChange", {"url", FIELD_TEXT, FIELD_OPTIONAL}, WEBHOOK_MEMBERS);
const struct endpoint ep_webhook_update = {
	.run = webhook_update, .scope = SCOPE_ORG, .may = NH_MAY_WEBHOOK_UPDATE, .write = true, .success = 200, .body = &webhook_change, .data = &shape_webhook, .tag = TAG};

static nh_rc webhook_rotate(struct call *call, struct nh_err *err)
{
	struct nh_webhook w;
	struct nh_webhook_secret secret;
	int64_t id;
	NH_TRY(path_id(call, "id", &id, err));
	NH_TRY(nh_webhook_rotate(&call->ctx, &call->actor, call->org.id, id, &w, &secret, err));
	call->data = with_secret(&w, &secret);
	return NH_OK;
}
const struct endpoint ep_webhook_rotate = {.run = webhook_rotate, .scope = SCOPE_ORG, .may = NH_MAY_WEBHOOK_UPDATE, .write = true, .success = 200, .data = &shape_webhook, .tag = TAG};

/* ---- in steps ---------------------------------------------------------------------------------------------------------------- */

struct steps {
	struct call call; /* first */
	bool more;
	int64_t done, now_done;
};

/* Short transactions, one after the other, until nothing is left. What a step did counts once it is committed: PostgreSQL may have run it more than once. */
static void run_steps(struct nh_request *req, struct nh_response *res, nh_rc (*step)(struct call *call, struct nh_err *err))
{
	struct steps s = {0};
	struct nh_err err = NH_ERR_INIT;
	nh_rc rc;
	int steps = 0;
	if (!call_open(&s.call, req, res, req->route->extra))
		return;
	do {
		rc = call_transact(&s.call, step, true, &err);
		if (rc == NH_OK) {
			call_effects(&s.call);
			s.done += s.now_done;
		}
	} while (rc == NH_OK && s.more && ++steps < STEPS_MAX);
	call_close(&s.call, rc, &err);
}

static nh_rc delete_step(struct call *call, struct nh_err *err)
{
	int64_t id;
	NH_TRY(path_id(call, "id", &id, err));
	return nh_webhook_delete(&call->ctx, &call->actor, call->org.id, id, &((struct steps *)call)->more, err);
}
void handle_webhook_delete(struct nh_request *req, struct nh_response *res) { run_steps(req, res, delete_step); }
const struct endpoint ep_webhook_delete = {.scope = SCOPE_ORG, .may = NH_MAY_WEBHOOK_DELETE, .write = true, .success = 204, .tag = TAG};

static nh_rc retry_step(struct call *call, struct nh_err *err)
{
	struct steps *s = (struct steps *)call;
	int64_t id;
	NH_TRY(path_id(call, "id", &id, err));
	NH_TRY(nh_delivery_retry(&call->ctx, &call->actor, call->org.id, id, 0, &s->now_done, err));
	s->more = s->now_done > 0;
	call->data = json_pack("{s:I}", "retried", (json_int_t)(s->done + s->now_done));
	return NH_OK;
}
void handle_webhook_retry_all(struct nh_request *req, struct nh_response *res) { run_steps(req, res, retry_step); }

static SHAPE(retried, "WebhookRetried", {"retried", FIELD_INTEGER, .about = "How many deliveries wait again"});
const struct endpoint ep_delivery_retry_all = {.scope = SCOPE_ORG, .may = NH_MAY_WEBHOOK_UPDATE, .write = true, .success = 200, .data = &retried, .tag = TAG};

static nh_rc delivery_retry(struct call *call, struct nh_err *err)
{
	int64_t id, delivery, done = 0;
	NH_TRY(path_id(call, "id", &id, err));
	NH_TRY(path_id(call, "delivery_id", &delivery, err));
	NH_TRY(nh_delivery_retry(&call->ctx, &call->actor, call->org.id, id, delivery, &done, err));
	call->data = json_pack("{s:I}", "retried", (json_int_t)done);
	return NH_OK;
}
const struct endpoint ep_delivery_retry = {.run = delivery_retry, .scope = SCOPE_ORG, .may = NH_MAY_WEBHOOK_UPDATE, .write = true, .success = 200, .data = &retried, .tag = TAG};

/* ---- deliveries ---------------------------------------------------------------------------------------------------------------- */

static json_t *render_delivery(const struct nh_delivery *d)
{
	bool waits = nh_slice_eq_str(d->status, nh_delivery_status_name(NH_DELIVERY_WAITING));
	return json_pack("{s:I, s:o, s:o, s:o, s:I, s:o, s:o, s:o, s:o, s:o}", "id", (json_int_t)d->id, "event_id", nh_json_new_text(d->uuid), "type", nh_json_new_text(d->kind), "status",
	                 nh_json_new_text(d->status), "attempts", (json_int_t)d->attempts, "answer_status", d->answer_status ? json_integer(d->answer_status) : json_null(), "error",
	                 text_or_null(d->error), "inserted_at", render_moment(d->inserted_at_us), "tried_at", render_moment(d->tried_at_us), "due_at", render_moment(waits ? d->due_at_us : 0));
}

static nh_rc refuse_query(struct call *call, const char *name, struct nh_err *err)
{
	json_decref(call->errors);
	call->errors = json_pack("{s:[s]}", name, "is invalid");
	return NH_FAIL(err, NH_EINVAL, "%s is invalid", name);
}

static nh_rc deliveries(struct call *call, struct nh_err *err)
{
	struct nh_delivery *list;
	size_t limit, count = 0;
	int64_t id, before = 0;
	int status = 0;
	nh_slice wanted = nh_json_text(call->params, "status"), text = nh_json_text(call->params, "before");
	NH_TRY(path_id(call, "id", &id, err));
	NH_TRY(read_limit(call, NH_WEBHOOK_LIST_MAX, &limit, err));
	if (text.len > 0 && nh_parse_i64(text, 1, INT64_MAX, &before) != NH_OK)
		return refuse_query(call, "before", err);
	while (wanted.len > 0 && status < NH_DELIVERY_ANY && !nh_slice_eq_str(wanted, nh_delivery_status_name((nh_delivery_status)status)))
		status++;
	if (wanted.len > 0 && status == NH_DELIVERY_ANY)
		return refuse_query(call, "status", err);
	NH_TRY(nh_delivery_list(&call->ctx, &call->actor, call->org.id, id, wanted.len ? (nh_delivery_status)status : NH_DELIVERY_ANY, before, limit, &list, &count, err));
	call->data = json_array();
	for (size_t i = 0; i < count; i++)
		json_array_append_new(call->data, render_delivery(&list[i]));
	set_pagination(call, limit, count == limit ? json_sprintf("%lld", (long long)list[count - 1].id) : NULL);
	return NH_OK;
}

static const char *const words_status[] = {"waiting", "delivered", "dead", NULL};
static SHAPE(delivery, "WebhookDelivery", {"id", FIELD_INTEGER}, {"event_id", FIELD_TEXT, .format = "uuid", .about = "The same in all repetitions"}, {"type", FIELD_TEXT},
             {"status", FIELD_TEXT, .words = words_status}, {"attempts", FIELD_INTEGER}, {"answer_status", FIELD_INTEGER, FIELD_NULLABLE, .about = "Of the latest try; null: there was no answer"},
             {"error", FIELD_TEXT, FIELD_NULLABLE, .about = "Why the latest try failed"}, {"inserted_at", FIELD_TEXT, .format = "date-time"}, MOMENT("tried_at", "The latest try"),
             MOMENT("due_at", "Of one that waits: not before"));
static SHAPE(deliveries_query, "DeliveriesQuery", {"status", FIELD_TEXT, FIELD_OPTIONAL, .words = words_status}, {"limit", FIELD_INTEGER, FIELD_OPTIONAL, .about = "How many at most, up to 500"},
             {"before", FIELD_INTEGER, FIELD_OPTIONAL, .about = "Only those before the one of this number: what an answer named as next"});
const struct endpoint ep_deliveries = {
	.run = deliveries, .scope = SCOPE_ORG, .may = NH_MAY_WEBHOOK_SEE, .success = 200, .query = &deliveries_query, .data = &delivery, .list = true, .beside = &shape_next, .tag = TAG};

/* ---- a test -------------------------------------------------------------------------------------------------------------------- */

struct test_call {
	struct call call; /* first */
	struct nh_webhook_request request;
};

static nh_rc prepare_test(struct call *call, struct nh_err *err)
{
	struct test_call *t = (struct test_call *)call;
	const struct nh_user_api_config *config = &call->api->config;
	int64_t id;
	NH_TRY(path_id(call, "id", &id, err));
	NH_TRY(nh_webhook_ping(&call->ctx, &call->actor, call->org.id, id, &t->request, err));
	nh_slice key = nh_slice_str(nh_arena_printf(call->arena, "webhook test %lld", (long long)call->org.id));
	if (config->webhook_try && nh_limiter_allow(config->limiter, key, TESTS_PER_MINUTE, nh_clock_now(config->clock)))
		return NH_OK;
	call->status = 429;
	call->errors = json_pack("{s:s}", "detail", "Too many tests of webhooks: try again in a minute.");
	return NH_FAIL(err, NH_EINVAL, "too many tests");
}

/* Once, from the sender's thread. */
static void on_answer(void *ctx, const struct nh_webhook_answer *answer)
{
	NH_AUTO_BUF struct nh_buf text = NH_BUF_INIT;
	nh_slice beginning = nh_slice_sub(answer->body, 0, SHOWN_MAX);
	NH_AUTO_JSON json_t *body = json_pack("{s:{s:b, s:o, s:o, s:o, s:I}}", "data", "delivered", answer->error == NULL, "answer_status", answer->status ? json_integer(answer->status) : json_null(), "error",
	                                      answer->error ? nh_json_new_text(nh_slice_str(answer->error)) : json_null(), "answer", nh_json_new_text(beginning), "milliseconds",
	                                      (json_int_t)answer->ms);
	nh_json_put(&text, body);
	nh_later_send(ctx, 200, JSON_TYPE, nh_buf_slice(&text));
}

static SHAPE(tested, "WebhookTested", {"delivered", FIELD_BOOLEAN}, {"answer_status", FIELD_INTEGER, FIELD_NULLABLE}, {"error", FIELD_TEXT, FIELD_NULLABLE},
             {"answer", FIELD_TEXT, FIELD_NULLABLE, .about = "The beginning of what the endpoint said; null: nothing"}, {"milliseconds", FIELD_INTEGER});
static const struct answer test_refusals[] = {{429, .about = "Too many tests"}, {0}};
const struct endpoint ep_webhook_test = {.scope = SCOPE_ORG, .may = NH_MAY_WEBHOOK_UPDATE, .write = true, .success = 200, .data = &tested, .also = test_refusals, .tag = TAG};

void handle_webhook_test(struct nh_request *req, struct nh_response *res)
{
	struct test_call t = {0};
	struct nh_err err = NH_ERR_INIT;
	if (!call_open(&t.call, req, res, req->route->extra))
		return;
	const struct nh_user_api_config *config = &t.call.api->config;
	nh_rc rc = call_transact(&t.call, prepare_test, true, &err);
	if (rc == NH_OK)
		call_effects(&t.call);
	struct nh_later *later = rc == NH_OK ? nh_response_later(res) : NULL;
	if (!later) {
		call_close(&t.call, rc == NH_OK ? NH_FAIL(&err, NH_EAGAIN, "too many requests wait for others") : rc, &err);
		return;
	}
	send_common_headers(req, res);
	if (config->webhook_try(config->webhook_try_ctx, &t.request, on_answer, later, &err) != NH_OK)
		nh_later_send(later, 429, JSON_TYPE, NH_LIT("{\"errors\":{\"detail\":\"Too many tests of webhooks: try again in a minute.\"}}"));
	call_leave(&t.call);
}
