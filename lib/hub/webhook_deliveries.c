/*
 * The sender's side of webhooks: events become deliveries, deliveries become requests, results become what happens next.
 *
 * A webhook's row says when it is to be looked at again (due_at); nobody walks through deliveries to find out. It is moved into the future while its endpoint has as much to do as it may, or
 * rests after a failure, and back as soon as that ends. A server that dies with requests under way loses nothing: their lease ends, and so does the webhook's.
 *
 * Invariant: webhooks.waiting and webhooks.dead count the webhook's deliveries of that status.
 */
#include "base/uuid.h"
#include "hub/audit.h"
#include "hub/mails.h"
#include "hub/overview.h"
#include "input_int.h"
#include "rollout_int.h"
#include "rows_int.h"
#include "store/webhooks.h"
#include "webhooks_int.h"

#define GIVE_OUT_MAX 200
#define LOSERS_MAX 20
#define DUE_MAX 64
#define PRODUCTS_MAX 100
#define DATA_MAX ((size_t)16 << 10)
#define ERROR_MAX 200
#define PAUSES_A_DAY 17280   /* the first pause is 5 s of a day */
#define LONGEST_OF_A_DAY 4   /* the longest a quarter */
#define REST_OF_A_DAY 288    /* an endpoint that fails is tried every 5 minutes at least */
#define FAILING_DAYS 3       /* until it is switched off */
#define KEEP_DELIVERED_DAYS 3
#define KEEP_DEAD_DAYS 30
#define DAY_US (INT64_C(86400) * NH_US_PER_S)

/* ---- giving out ------------------------------------------------------------------------------------------------------------ */

struct event {
	int64_t id, org_id, product_id, device_id, group_id, at_us;
	nh_slice kind, uuid, data, org, product, device, group;
};

static void read_event(const struct nh_rows *rows, struct nh_arena *arena, void *item)
{
	*(struct event *)item = (struct event){
		.id = nh_col_int(rows, 0),
		.org_id = nh_col_int(rows, 1),
		.product_id = nh_col_int(rows, 2),
		.device_id = nh_col_int(rows, 3),
		.group_id = nh_col_int(rows, 4),
		.kind = nh_col_text(rows, 5, arena),
		.uuid = nh_col_text(rows, 6, arena),
		.data = nh_col_text(rows, 7, arena),
		.at_us = nh_col_int(rows, 8),
		.org = nh_col_text(rows, 9, arena),
		.product = nh_col_text(rows, 10, arena),
		.device = nh_col_text(rows, 11, arena),
		.group = nh_col_text(rows, 12, arena),
	};
}

/* A webhook that events of one turn are given to; counts are added to its row at the end of it. */
struct target {
	int64_t id, product_id, kinds, waiting, given, lost;
};

struct targets {
	int64_t org_id;
	struct target *items;
	size_t count;
};

static void read_target(const struct nh_rows *rows, struct nh_arena *arena, void *item)
{
	*(struct target *)item = (struct target){nh_col_int(rows, 0), nh_col_int(rows, 1), nh_col_int(rows, 2), nh_col_int(rows, 3), 0, 0};
}

static int64_t waiting_max(const struct nh_ctx *ctx) { return ctx->config->webhooks.waiting_max ? ctx->config->webhooks.waiting_max : NH_WEBHOOK_WAITING_MAX; }

static nh_rc targets_of(struct nh_ctx *ctx, struct nh_list *known, int64_t org_id, struct targets **out, struct nh_err *err)
{
	struct targets *all = known->items;
	struct nh_list list = NH_LIST_OF(ctx->arena, struct target);
	for (size_t i = 0; i < known->count; i++) {
		if (all[i].org_id == org_id) {
			*out = &all[i];
			return NH_OK;
		}
	}
	NH_TRY(nh_list_rows(ctx->tx, &list, &nh_q_webhook_targets, NH_PARAMS(nh_p_int(org_id)), read_target, err));
	*out = nh_list_add(known);
	**out = (struct targets){org_id, list.items, list.count};
	return NH_OK;
}

static json_t *named(int64_t id, const char *key, nh_slice name) { return json_pack("{s:I, s:o}", "id", (json_int_t)id, key, name.ptr ? nh_json_new_text(name) : json_null()); }

/* What the rule told, and whom it happened to. */
static nh_slice body_of(struct nh_ctx *ctx, const struct event *e)
{
	NH_AUTO_JSON json_t *told = NULL;
	NH_AUTO_JSON json_t *data = json_pack("{s:{s:o}}", "organization", "name", nh_json_new_text(e->org));
	if (e->product_id)
		json_object_set_new(data, "product", named(e->product_id, "name", e->product));
	if (e->device_id)
		json_object_set_new(data, "device", named(e->device_id, "identifier", e->device));
	if (e->group_id)
		json_object_set_new(data, "deployment_group", named(e->group_id, "name", e->group));
	if (nh_json_parse(e->data, DATA_MAX, &told, NULL) == NH_OK && json_is_object(told))
		json_object_update_missing(data, told);
	return nh_webhook_body(ctx, nh_arena_str(ctx->arena, e->kind), e->uuid, e->at_us, data);
}

static bool asks_for(const struct target *t, const struct event *e)
{
	nh_event_kind kind;
	return nh_event_kind_parse(e->kind, &kind) && (t->kinds & nh_event_bit(kind)) && (!t->product_id || t->product_id == e->product_id);
}

static nh_rc add_delivery(struct nh_ctx *ctx, int64_t webhook_id, nh_slice kind, nh_slice uuid, nh_slice body, struct nh_err *err)
{
	int64_t now = nh_ctx_now(ctx);
	return nh_sql_exec(ctx->tx, &nh_q_delivery_add,
	                   NH_PARAMS(nh_p_int(webhook_id), nh_p_text(kind), nh_p_text(uuid), nh_p_text(body), nh_p_int(now), nh_p_int(now + nh_webhook_give_up_us(ctx))), NULL, err);
}

/* *rows: grows by the deliveries. */
static nh_rc give_out_one(struct nh_ctx *ctx, const struct event *e, struct targets *to, size_t *rows, struct nh_err *err)
{
	int64_t mine = 0;
	nh_slice body = NH_SLICE_EMPTY;
	NH_TRY(nh_sql_exec(ctx->tx, &nh_q_event_delete, NH_PARAMS(nh_p_int(e->id)), &mine, err));
	for (size_t i = 0; mine && i < to->count; i++) {
		struct target *t = &to->items[i];
		if (!asks_for(t, e))
			continue;
		if (t->waiting + t->given >= waiting_max(ctx)) {
			t->lost++;
			continue;
		}
		if (!body.ptr)
			body = body_of(ctx, e);
		NH_TRY(add_delivery(ctx, t->id, e->kind, e->uuid, body, err));
		t->given++;
		++*rows;
	}
	return NH_OK;
}

static nh_rc count_given(struct nh_ctx *ctx, const struct target *t, struct nh_err *err)
{
	if (!t->given && !t->lost)
		return NH_OK;
	return nh_sql_exec(ctx->tx, &nh_q_webhook_given, NH_PARAMS(nh_p_int(t->given), nh_p_int(t->lost), nh_p_int(nh_ctx_now(ctx)), nh_p_int(t->id)), NULL, err);
}

struct loser {
	int64_t id, lost;
};

static void read_loser(const struct nh_rows *rows, struct nh_arena *arena, void *item) { *(struct loser *)item = (struct loser){nh_col_int(rows, 0), nh_col_int(rows, 1)}; }

/* Not before a tenth of the room is free again: whoever is told of each lost event hears of nothing else. */
static nh_rc tell_lost(struct nh_ctx *ctx, struct nh_err *err)
{
	struct nh_list list = NH_LIST_OF(ctx->arena, struct loser);
	int64_t changed = 0, room = waiting_max(ctx) - waiting_max(ctx) / 10;
	NH_TRY(nh_list_rows(ctx->tx, &list, &nh_q_webhook_losers, NH_PARAMS(nh_p_int(room), nh_p_int(LOSERS_MAX)), read_loser, err));
	for (size_t i = 0; i < list.count; i++) {
		const struct loser *l = (const struct loser *)list.items + i;
		const struct target one = {.id = l->id, .given = 1};
		struct nh_uuid uuid;
		char text[NH_UUID_TEXT_LEN + 1];
		nh_uuid_v7(&uuid, nh_ctx_now(ctx), ctx->rng);
		nh_uuid_format(&uuid, text);
		NH_AUTO_JSON json_t *data = json_pack("{s:I}", "count", (json_int_t)l->lost);
		NH_TRY(nh_sql_exec(ctx->tx, &nh_q_webhook_told_lost, NH_PARAMS(nh_p_int(l->id), nh_p_int(l->lost)), &changed, err));
		if (!changed)
			continue;
		NH_TRY(add_delivery(ctx, l->id, NH_LIT("events.lost"), nh_slice_str(text), nh_webhook_body(ctx, "events.lost", nh_slice_str(text), nh_ctx_now(ctx), data), err));
		NH_TRY(count_given(ctx, &one, err));
	}
	return NH_OK;
}

nh_rc nh_webhooks_give_out(struct nh_ctx *ctx, bool *more, struct nh_err *err)
{
	struct nh_list events = NH_LIST_OF(ctx->arena, struct event), known = NH_LIST_OF(ctx->arena, struct targets);
	struct targets *to;
	size_t rows = 0, done = 0;
	NH_TRY(nh_list_rows(ctx->tx, &events, &nh_q_event_first, NH_PARAMS(nh_p_int(GIVE_OUT_MAX)), read_event, err));
	for (; done < events.count && rows < NH_WEBHOOK_STEP; done++) {
		const struct event *e = (const struct event *)events.items + done;
		NH_TRY(targets_of(ctx, &known, e->org_id, &to, err));
		NH_TRY(give_out_one(ctx, e, to, &rows, err));
	}
	for (size_t i = 0; i < known.count; i++) {
		to = (struct targets *)known.items + i;
		for (size_t j = 0; j < to->count; j++)
			NH_TRY(count_given(ctx, &to->items[j], err));
	}
	*more = events.count == GIVE_OUT_MAX || done < events.count;
	return tell_lost(ctx, err);
}

/* ---- claiming -------------------------------------------------------------------------------------------------------------- */

struct due {
	int64_t id, org_id, old_until_us, failures;
	nh_slice url, sealed, old_sealed;
};

static void read_due(const struct nh_rows *rows, struct nh_arena *arena, void *item)
{
	*(struct due *)item = (struct due){
		.id = nh_col_int(rows, 0),
		.org_id = nh_col_int(rows, 1),
		.url = nh_col_text(rows, 2, arena),
		.sealed = nh_col_blob(rows, 3, arena),
		.old_sealed = nh_col_blob(rows, 4, arena),
		.old_until_us = nh_col_int(rows, 5),
		.failures = nh_col_int(rows, 6),
	};
}

struct waiting {
	int64_t id, attempts, inserted_at_us, until_us;
	nh_slice kind, uuid, body;
};

static void read_waiting(const struct nh_rows *rows, struct nh_arena *arena, void *item)
{
	*(struct waiting *)item = (struct waiting){
		.id = nh_col_int(rows, 0),
		.kind = nh_col_text(rows, 1, arena),
		.uuid = nh_col_text(rows, 2, arena),
		.body = nh_col_text(rows, 3, arena),
		.attempts = nh_col_int(rows, 4),
		.inserted_at_us = nh_col_int(rows, 5),
		.until_us = nh_col_int(rows, 6),
	};
}

/* MIN(…) of a statement: 0 where there is none. */
static nh_rc first_time(struct nh_ctx *ctx, const struct nh_stmt *stmt, const struct nh_param *params, size_t count, int64_t *out, struct nh_err *err)
{
	struct nh_rows *rows = NULL;
	NH_TRY(nh_sql_one(ctx->tx, stmt, params, count, &rows, err));
	*out = nh_col_int(rows, 0);
	nh_sql_end(rows);
	return NH_OK;
}

static unsigned busy_with(const struct nh_webhook_busy *busy, size_t count, int64_t webhook_id)
{
	for (size_t i = 0; i < count; i++) {
		if (busy[i].webhook_id == webhook_id)
			return busy[i].count;
	}
	return 0;
}

/* One that was signed with a secret of another server key will never be sendable: nobody is served by trying. */
static nh_rc bury_unreadable(struct nh_ctx *ctx, const struct due *d, const struct waiting *w, unsigned *broken, struct nh_err *err)
{
	int64_t now = nh_ctx_now(ctx), changed = 0;
	NH_TRY(nh_sql_exec(ctx->tx, &nh_q_delivery_result,
	                   NH_PARAMS(nh_p_str("dead"), nh_p_null(), nh_p_str("the webhook's secret was sealed with another server key: give it a new one"), nh_p_int(now), nh_p_int(now),
	                             nh_p_int(w->id)),
	                   &changed, err));
	++*broken;
	return changed ? nh_sql_exec(ctx->tx, &nh_q_webhook_buried, NH_PARAMS(nh_p_int(1), nh_p_int(1), nh_p_int(d->id)), NULL, err) : NH_OK;
}

static nh_rc claim_one(struct nh_ctx *ctx, const struct due *d, const struct waiting *w, int64_t lease_us, struct nh_list *out, unsigned *broken, struct nh_err *err)
{
	struct nh_webhook_request r = {.webhook_id = d->id, .delivery_id = w->id, .attempts = w->attempts + 1, .url = d->url, .kind = w->kind, .uuid = w->uuid, .body = w->body};
	int64_t changed = 0, now = nh_ctx_now(ctx);
	NH_TRY(nh_sql_exec(ctx->tx, &nh_q_delivery_claim, NH_PARAMS(nh_p_int(now + lease_us), nh_p_int(r.attempts), nh_p_int(now), nh_p_int(w->id), nh_p_int(w->attempts)), &changed, err));
	if (!changed)
		return NH_OK;
	nh_rc rc = nh_webhook_signature(ctx, d->org_id, d->sealed, d->old_sealed, d->old_until_us, &r, err);
	if (rc == NH_EAUTH)
		return bury_unreadable(ctx, d, w, broken, err);
	NH_TRY(rc);
	*(struct nh_webhook_request *)nh_list_add(out) = r;
	return NH_OK;
}

/* As many as its endpoint may have at a time; its row then says when to look again. */
static nh_rc claim_of(struct nh_ctx *ctx, const struct due *d, unsigned busy, size_t max, int64_t lease_us, struct nh_list *out, unsigned *broken, struct nh_err *err)
{
	int64_t now = nh_ctx_now(ctx), next = 0;
	size_t parallel = d->failures ? 1 : NH_WEBHOOK_PARALLEL, room = busy < parallel ? parallel - busy : 0;
	struct nh_list list = NH_LIST_OF(ctx->arena, struct waiting);
	if (room > 0)
		NH_TRY(nh_list_rows(ctx->tx, &list, &nh_q_delivery_due, NH_PARAMS(nh_p_int(d->id), nh_p_int(now), nh_p_int((int64_t)(room < max ? room : max))), read_waiting, err));
	for (size_t i = 0; i < list.count; i++)
		NH_TRY(claim_one(ctx, d, (const struct waiting *)list.items + i, lease_us, out, broken, err));
	if (list.count == room)
		next = now + lease_us; /* nh_webhook_note moves it back */
	else
		NH_TRY(first_time(ctx, &nh_q_delivery_next, NH_PARAMS(nh_p_int(d->id)), &next, err));
	return nh_sql_exec(ctx->tx, &nh_q_webhook_set_due, NH_PARAMS(nh_p_ref(next), nh_p_int(d->id)), NULL, err);
}

nh_rc nh_webhooks_claim(struct nh_ctx *ctx, const struct nh_webhook_busy *busy, size_t busy_count, size_t max, int64_t lease_us, struct nh_webhook_request **out, size_t *count, int64_t *next_due_us,
                        unsigned *broken, struct nh_err *err)
{
	struct nh_list list = NH_LIST_OF(ctx->arena, struct due), claimed = NH_LIST_OF(ctx->arena, struct nh_webhook_request);
	*broken = 0;
	if (max > 0)
		NH_TRY(nh_list_rows(ctx->tx, &list, &nh_q_webhook_due, NH_PARAMS(nh_p_int(nh_ctx_now(ctx)), nh_p_int(DUE_MAX)), read_due, err));
	for (size_t i = 0; i < list.count && claimed.count < max; i++) {
		const struct due *d = (const struct due *)list.items + i;
		NH_TRY(claim_of(ctx, d, busy_with(busy, busy_count, d->id), max - claimed.count, lease_us, &claimed, broken, err));
	}
	*out = claimed.items;
	*count = claimed.count;
	return first_time(ctx, &nh_q_webhook_next, NH_NO_PARAMS, next_due_us, err);
}

/* ---- what became of it -------------------------------------------------------------------------------------------------------- */

int64_t nh_webhook_pause_us(int64_t attempts, int64_t give_up_us, const struct nh_rng *rng)
{
	int64_t pause = give_up_us / PAUSES_A_DAY + 1, longest = give_up_us / LONGEST_OF_A_DAY + 1;
	for (int64_t i = 1; i < attempts && pause < longest; i++)
		pause *= 3;
	pause = pause < longest ? pause : longest;
	return pause - pause / 5 + (int64_t)nh_rng_below(rng, (uint64_t)(pause / 5 * 2 + 1));
}

struct state {
	int64_t org_id, product_id, failures, failing_since_us;
	nh_slice url, org;
	bool enabled;
};

static void read_state(const struct nh_rows *rows, struct nh_arena *arena, void *item)
{
	*(struct state *)item = (struct state){
		.org_id = nh_col_int(rows, 0),
		.product_id = nh_col_int(rows, 1),
		.url = nh_col_text(rows, 2, arena),
		.enabled = nh_col_bool(rows, 3),
		.failures = nh_col_int(rows, 4),
		.failing_since_us = nh_col_int(rows, 5),
		.org = nh_col_text(rows, 6, arena),
	};
}

/* For people: in each product that the webhook told of, and by mail to administrators. Urls may hold secrets in their path, so only the host is named. */
static nh_rc disable(struct nh_ctx *ctx, int64_t id, const struct state *s, const char *why, bool *disabled, struct nh_err *err)
{
	const struct nh_actor system = {NH_ACTOR_SYSTEM, 0, NH_LIT("webhooks")};
	struct nh_product *products;
	size_t count = 0;
	int64_t changed = 0;
	nh_slice origin = nh_webhook_origin(s->url);
	NH_TRY(nh_sql_exec(ctx->tx, &nh_q_webhook_disable, NH_PARAMS(nh_p_str(why), nh_p_int(nh_ctx_now(ctx)), nh_p_int(id)), &changed, err));
	if (!changed)
		return NH_OK;
	*disabled = true;
	NH_TRY(nh_webhook_kinds_changed(ctx, s->org_id, err));
	NH_TRY(nh_audit_add(ctx, &system, s->org_id, NH_AUDIT_ORG, s->org_id, err, "Webhook %lld to %.*s was switched off: %s", (long long)id, NH_ARG(origin), why));
	NH_TRY(nh_product_list(ctx, &system, s->org_id, &products, &count, err));
	const char *key = nh_arena_printf(ctx->arena, "webhook_disabled-%lld", (long long)id);
	nh_slice message = nh_slice_str(nh_arena_printf(ctx->arena, "The webhook to %.*s was switched off: %s. Nothing more is sent there until somebody switches it on again.", NH_ARG(origin), why));
	for (size_t i = 0; i < count && i < PRODUCTS_MAX; i++) {
		if (!s->product_id || s->product_id == products[i].id)
			NH_TRY(nh_notification_add(ctx, products[i].id, NH_NOTIFY_ERROR, key, NH_LIT("Webhook switched off"), message, NULL, err));
	}
	return nh_mail_queue_admins(ctx, s->org_id, 0, &(struct nh_mail){.kind = NH_MAIL_WEBHOOK_DISABLED, .org = s->org, .address = origin, .who = nh_slice_str(why)}, err);
}

/* How the delivery goes on. */
static nh_rc note_delivery(struct nh_ctx *ctx, const struct nh_webhook_result *r, int64_t until_us, nh_webhook_end *end, struct nh_err *err)
{
	int64_t now = nh_ctx_now(ctx), give_up = nh_webhook_give_up_us(ctx), changed = 0, due = now;
	const char *status = "delivered";
	if (r->error) {
		int64_t pause = nh_webhook_pause_us(r->attempts, give_up, ctx->rng), asked = r->retry_after_us < give_up / LONGEST_OF_A_DAY ? r->retry_after_us : give_up / LONGEST_OF_A_DAY;
		due = now + (asked > pause ? asked : pause);
		*end = due > until_us || r->status == 410 ? NH_WEBHOOK_DIED : NH_WEBHOOK_AGAIN;
		status = *end == NH_WEBHOOK_DIED ? "dead" : "waiting";
	} else {
		*end = NH_WEBHOOK_DELIVERED;
	}
	struct nh_param why = r->error ? nh_p_text(nh_text_cut(ctx->arena, nh_slice_str(r->error), ERROR_MAX)) : nh_p_null();
	NH_TRY(nh_sql_exec(ctx->tx, &nh_q_delivery_result, NH_PARAMS(nh_p_str(status), nh_p_ref(r->status), why, nh_p_int(due), nh_p_int(now), nh_p_int(r->delivery_id)), &changed, err));
	if (!changed)
		*end = NH_WEBHOOK_GONE;
	return NH_OK;
}

/* How the endpoint goes on: when it is looked at next. */
static nh_rc note_endpoint(struct nh_ctx *ctx, const struct nh_webhook_result *r, const struct state *s, nh_webhook_end end, struct nh_err *err)
{
	int64_t now = nh_ctx_now(ctx), give_up = nh_webhook_give_up_us(ctx), next = 0;
	int64_t failures = r->error ? s->failures + 1 : 0, since = r->error ? (s->failing_since_us ? s->failing_since_us : now) : 0;
	NH_TRY(first_time(ctx, &nh_q_delivery_next, NH_PARAMS(nh_p_int(r->webhook_id)), &next, err));
	if (r->error && next) {
		int64_t rest = nh_webhook_pause_us(failures, give_up, ctx->rng), longest = give_up / REST_OF_A_DAY + 1;
		rest = rest < longest ? rest : longest;
		rest = r->retry_after_us > rest && r->retry_after_us < give_up / LONGEST_OF_A_DAY ? r->retry_after_us : rest;
		next = next > now + rest ? next : now + rest;
	}
	return nh_sql_exec(ctx->tx, &nh_q_webhook_result,
	                   NH_PARAMS(nh_p_int(end == NH_WEBHOOK_DELIVERED || end == NH_WEBHOOK_DIED), nh_p_int(end == NH_WEBHOOK_DIED), nh_p_int(failures), nh_p_ref(since),
	                             r->error ? nh_p_null() : nh_p_int(now), s->enabled ? nh_p_ref(next) : nh_p_null(), nh_p_int(r->webhook_id)),
	                   NULL, err);
}

nh_rc nh_webhook_note(struct nh_ctx *ctx, const struct nh_webhook_result *r, nh_webhook_end *end, bool *disabled, struct nh_err *err)
{
	struct state s;
	int64_t until = 0, now = nh_ctx_now(ctx);
	*disabled = false;
	*end = NH_WEBHOOK_GONE;
	nh_rc rc = nh_one_row(ctx->tx, ctx->arena, &nh_q_webhook_state, NH_PARAMS(nh_p_int(r->webhook_id)), read_state, &s, "webhook", err);
	if (rc == NH_OK)
		rc = first_time(ctx, &nh_q_delivery_until, NH_PARAMS(nh_p_int(r->delivery_id)), &until, err);
	if (rc == NH_ENOTFOUND)
		return NH_OK;
	NH_TRY(rc);
	NH_TRY(note_delivery(ctx, r, until, end, err));
	NH_TRY(note_endpoint(ctx, r, &s, *end, err));
	if (!r->error || !s.enabled)
		return NH_OK;
	if (r->status == 410)
		return disable(ctx, r->webhook_id, &s, "its endpoint says that it is gone for good (410)", disabled, err);
	if (s.failing_since_us && now - s.failing_since_us > FAILING_DAYS * nh_webhook_give_up_us(ctx))
		return disable(ctx, r->webhook_id, &s, "its endpoint has failed for days", disabled, err);
	return NH_OK;
}

/* ---- what comes to its end ------------------------------------------------------------------------------------------------------ */

struct old {
	int64_t id, webhook_id;
};

static void read_old(const struct nh_rows *rows, struct nh_arena *arena, void *item) { *(struct old *)item = (struct old){nh_col_int(rows, 0), nh_col_int(rows, 1)}; }

/* Those of an endpoint that rests, or is switched off: nobody tries them any more. */
static nh_rc bury_expired(struct nh_ctx *ctx, size_t *rows, struct nh_err *err)
{
	struct nh_list list = NH_LIST_OF(ctx->arena, struct old);
	int64_t now = nh_ctx_now(ctx), changed = 0;
	NH_TRY(nh_list_rows(ctx->tx, &list, &nh_q_delivery_expired, NH_PARAMS(nh_p_int(now), nh_p_int(NH_WEBHOOK_STEP)), read_old, err));
	for (size_t i = 0; i < list.count; i++) {
		const struct old *o = (const struct old *)list.items + i;
		NH_TRY(nh_sql_exec(ctx->tx, &nh_q_delivery_bury, NH_PARAMS(nh_p_str("it was not delivered in time"), nh_p_int(o->id)), &changed, err));
		if (changed)
			NH_TRY(nh_sql_exec(ctx->tx, &nh_q_webhook_buried, NH_PARAMS(nh_p_int(1), nh_p_int(1), nh_p_int(o->webhook_id)), NULL, err));
	}
	*rows += list.count;
	return NH_OK;
}

static nh_rc delete_old(struct nh_ctx *ctx, nh_delivery_status status, int64_t days, size_t *rows, struct nh_err *err)
{
	struct nh_list list = NH_LIST_OF(ctx->arena, struct old);
	bool dead = status == NH_DELIVERY_DEAD;
	NH_TRY(nh_list_rows(ctx->tx, &list, &nh_q_delivery_old, NH_PARAMS(nh_p_str(nh_delivery_status_name(status)), nh_p_int(nh_ctx_now(ctx) - days * DAY_US), nh_p_int(NH_WEBHOOK_STEP)), read_old,
	                    err));
	for (size_t i = 0; i < list.count; i++) {
		const struct old *o = (const struct old *)list.items + i;
		NH_TRY(nh_sql_exec(ctx->tx, &nh_q_delivery_delete, NH_PARAMS(nh_p_int(o->id)), NULL, err));
		if (dead)
			NH_TRY(nh_sql_exec(ctx->tx, &nh_q_webhook_buried, NH_PARAMS(nh_p_int(0), nh_p_int(-1), nh_p_int(o->webhook_id)), NULL, err));
	}
	*rows += list.count;
	return NH_OK;
}

nh_rc nh_webhooks_trim(struct nh_ctx *ctx, size_t *rows, struct nh_err *err)
{
	*rows = 0;
	NH_TRY(bury_expired(ctx, rows, err));
	NH_TRY(delete_old(ctx, NH_DELIVERY_DELIVERED, KEEP_DELIVERED_DAYS, rows, err));
	NH_TRY(delete_old(ctx, NH_DELIVERY_DEAD, KEEP_DEAD_DAYS, rows, err));
	return nh_sql_exec(ctx->tx, &nh_q_webhook_forget_secrets, NH_PARAMS(nh_p_int(nh_ctx_now(ctx))), NULL, err);
}

nh_rc nh_webhook_figures(struct nh_ctx *ctx, struct nh_webhook_figures *out, struct nh_err *err)
{
	struct nh_rows *rows = NULL;
	NH_TRY(nh_sql_one(ctx->tx, &nh_q_webhook_figures, NH_NO_PARAMS, &rows, err));
	*out = (struct nh_webhook_figures){nh_col_int(rows, 0), nh_col_int(rows, 1)};
	nh_sql_end(rows);
	return NH_OK;
}
