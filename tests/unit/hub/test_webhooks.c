/*
 * Webhooks: who is told of what, how signatures come to be, when a delivery is tried again and when it is given up, what happens to an endpoint that fails and to one that cannot keep up; each on a
 * fresh database of each engine with a clock that stands where it is put.
 */
#include "hub_world.h"

#include <string.h>

#include "base/encode.h"
#include "hub/devices.h"
#include "hub/webhooks.h"
#include "store/webhooks.h"

#define S NH_US_PER_S
#define DAY (86400 * S)
#define LEASE (20 * S)

/* ---- pure ------------------------------------------------------------------------------------------------------------------ */

/* The example of the libraries of Standard Webhooks. */
static void test_signature(void **state)
{
	NH_AUTO_BUF struct nh_buf secret = NH_BUF_INIT, out = NH_BUF_INIT;
	assert_int_equal(nh_b64_decode(NH_LIT("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"), NH_B64_STD, &secret), NH_OK);
	nh_webhook_sign(&out, nh_buf_slice(&secret), NH_LIT("msg_p5jXN8AQM9LWM0D4loKWxJek"), NH_LIT("1614265330"), NH_LIT("{\"test\": 2432232314}"));
	assert_string_equal(nh_buf_cstr(&out), "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
	nh_webhook_sign(&out, NH_LIT("another"), NH_LIT("a"), NH_LIT("1"), NH_LIT("{}"));
	assert_non_null(strstr(nh_buf_cstr(&out), "1OE= v1,"));
}

static void test_pauses(void **state)
{
	static const int64_t seconds[] = {5, 15, 45, 135, 405, 1215, 3645, 10935, 21600, 21600, 21600, 21600};
	struct nh_rng_seeded seed = {0};
	struct nh_rng rng = nh_rng_seeded_init(&seed, 7);
	bool differ = false;
	int64_t first = nh_webhook_pause_us(1, DAY, &rng);
	for (size_t i = 0; i < NH_ARRAY_LEN(seconds); i++) {
		for (int times = 0; times < 100; times++) {
			int64_t pause = nh_webhook_pause_us((int64_t)i + 1, DAY, &rng), tenth = nh_webhook_pause_us((int64_t)i + 1, DAY / 10, &rng);
			assert_in_range(pause, seconds[i] * S * 4 / 5, seconds[i] * S * 6 / 5 + 300);
			assert_in_range(tenth, seconds[i] * S * 4 / 50, seconds[i] * S * 6 / 50 + 300);
			differ = differ || (i == 0 && pause != first);
		}
	}
	assert_true(differ);
	assert_in_range(nh_webhook_pause_us(INT64_MAX, DAY, &rng), 4 * 3600 * S, 8 * 3600 * S);
}

static void test_kinds(void **state)
{
	for (int i = 0; i < NH_EVENT_KIND_COUNT; i++) {
		nh_event_kind kind;
		assert_true(nh_event_kind_parse(nh_slice_str(nh_event_kind_name((nh_event_kind)i)), &kind));
		assert_int_equal(kind, i);
	}
	nh_event_kind kind;
	assert_false(nh_event_kind_parse(NH_LIT("device"), &kind));
	assert_false(nh_event_kind_parse(NH_LIT(""), &kind));
	assert_true(nh_event_bit(NH_EVENT_KIND_COUNT) < NH_EVENT_ALL);
}

/* ---- a world with a webhook -------------------------------------------------------------------------------------------------- */

static nh_rc hook(struct world *w, const char *fields, struct nh_webhook *out)
{
	struct nh_webhook_secret secret;
	NH_AUTO_JSON json_t *object = NULL;
	if (nh_json_parse(nh_slice_str(fields), 4096, &object, E(w)) != NH_OK)
		return NH_EINTERNAL;
	return nh_webhook_create(&w->ctx, &w->as_ada, w->acme.id, object, out, &secret, NO_ERRORS(w), E(w));
}

static nh_rc happen(struct world *w, nh_event_kind kind, int64_t product_id, const char *told)
{
	const struct nh_event_subject of = {.org_id = w->acme.id, .product_id = product_id};
	return nh_event_add(&w->ctx, kind, &of, told ? json_pack("{s:s}", "told", told) : NULL, E(w));
}

static bool outbox_empty(struct world *w)
{
	struct nh_rows *rows = NULL;
	nh_rc rc = nh_sql_one(w->ctx.tx, &nh_q_event_first, NH_PARAMS(nh_p_int(1)), &rows, E(w));
	nh_sql_end(rows);
	return rc == NH_ENOTFOUND;
}

struct claimed {
	struct nh_webhook_request *items;
	size_t count;
	int64_t next_us;
	unsigned broken;
};

static nh_rc claim(struct world *w, int64_t busy_id, unsigned busy, struct claimed *out)
{
	const struct nh_webhook_busy list[] = {{busy_id, busy}};
	bool more = true;
	while (more) {
		nh_rc rc = nh_webhooks_give_out(&w->ctx, &more, E(w));
		if (rc != NH_OK)
			return rc;
	}
	return nh_webhooks_claim(&w->ctx, list, 1, 64, LEASE, &out->items, &out->count, &out->next_us, &out->broken, E(w));
}

/* status 0: no answer. */
static nh_rc end(struct world *w, const struct nh_webhook_request *r, unsigned status, nh_webhook_end *how, bool *disabled)
{
	const struct nh_webhook_result result = {.webhook_id = r->webhook_id, .delivery_id = r->delivery_id, .attempts = r->attempts, .status = status, .error = status == 200 ? NULL : "it failed"};
	return nh_webhook_note(&w->ctx, &result, how, disabled, E(w));
}

static nh_rc look(struct world *w, struct nh_webhook *h) { return nh_webhook_get(&w->ctx, &w->as_ada, w->acme.id, h->id, h, E(w)); }

/* ---- who is told -------------------------------------------------------------------------------------------------------------- */

static nh_rc asked_for(struct world *w, struct nh_err *err)
{
	struct nh_webhook some, widgets;
	struct claimed c;
	OK(happen(w, NH_EVENT_DEVICE_ONLINE, 0, NULL));
	CHECK(outbox_empty(w) && effects_of(w, NH_EFFECT_EVENT) == 0);
	OK(hook(w, "{\"url\":\"https://a.example/x?token=t\",\"events\":[\"device.online\"]}", &some));
	OK(hook(w, "{\"url\":\"https://b.example\",\"product\":\"Thermo Widget\"}", &widgets));
	CHECK(widgets.product_id == w->widget.id && some.kinds == nh_event_bit(NH_EVENT_DEVICE_ONLINE) && widgets.kinds == NH_EVENT_ALL);
	OK(happen(w, NH_EVENT_DEVICE_ONLINE, w->widget.id, "both"));
	OK(happen(w, NH_EVENT_DEVICE_OFFLINE, w->widget.id, "the product's"));
	OK(happen(w, NH_EVENT_DEVICE_ONLINE, 0, "the first"));
	OK(happen(w, NH_EVENT_AUDIT_ANCHOR, 0, "none"));
	CHECK(effects_of(w, NH_EFFECT_EVENT) == 4);
	OK(claim(w, 0, 0, &c));
	CHECK(outbox_empty(w) && c.count == 4);
	for (size_t i = 0; i < c.count; i++) {
		const struct nh_webhook_request *r = &c.items[i];
		nh_slice body = r->body;
		CHECK(nh_slice_find(body, NH_LIT("\"organization\":{\"name\":\"acme\"}")) > 0 && nh_slice_find(body, r->uuid) > 0);
		CHECK(nh_slice_starts(r->signature, NH_LIT("v1,")) && nh_slice_eq_str(r->timestamp, "1800000000") && r->attempts == 1);
		CHECK((nh_slice_find(body, NH_LIT("the product's")) > 0 ? r->webhook_id == widgets.id : true) && (nh_slice_find(body, NH_LIT("the first")) > 0 ? r->webhook_id == some.id : true));
		CHECK(nh_slice_find(body, NH_LIT("none")) < 0);
	}
	/* Another organization's events are nobody's here; its people see nothing. */
	OK(nh_event_add(&w->ctx, NH_EVENT_DEVICE_ONLINE, &(struct nh_event_subject){.org_id = w->other.id}, NULL, E(w)));
	CHECK(outbox_empty(w));
	CHECK_RC(NH_ENOTFOUND, nh_webhook_get(&w->ctx, &w->as_eve, w->acme.id, some.id, &some, E(w)));
	CHECK_RC(NH_ENOTFOUND, nh_webhook_get(&w->ctx, &w->as_eve, w->other.id, some.id, &some, E(w)));
	return NH_OK;
}

static nh_rc switched_off(struct world *w, struct nh_err *err)
{
	struct nh_webhook h;
	bool more = true;
	NH_AUTO_JSON json_t *off = json_pack("{s:b}", "enabled", 0);
	OK(hook(w, "{\"url\":\"https://a.example\"}", &h));
	OK(nh_webhook_update(&w->ctx, &w->as_ada, w->acme.id, h.id, off, &h, NO_ERRORS(w), E(w)));
	OK(happen(w, NH_EVENT_DEVICE_ONLINE, 0, NULL));
	CHECK(outbox_empty(w) && !h.enabled && !h.disabled_reason.ptr);
	OK(nh_webhook_delete(&w->ctx, &w->as_ada, w->acme.id, h.id, &more, E(w)));
	CHECK(!more);
	CHECK_RC(NH_ENOTFOUND, look(w, &h));
	for (int i = 0; i < NH_WEBHOOKS_MAX; i++)
		OK(hook(w, "{\"url\":\"https://a.example\"}", &h));
	CHECK_RC(NH_EINVAL, hook(w, "{\"url\":\"https://a.example\"}", &h));
	CHECK(refused_with(w, NULL, "50 webhooks"));
	return NH_OK;
}

/* ---- again and again ----------------------------------------------------------------------------------------------------------- */

static nh_rc success(struct world *w, struct nh_err *err)
{
	struct nh_webhook h;
	struct claimed c, none;
	nh_webhook_end how;
	bool disabled;
	OK(hook(w, "{\"url\":\"https://a.example\"}", &h));
	for (int i = 0; i < 6; i++)
		OK(happen(w, NH_EVENT_DEVICE_ONLINE, 0, NULL));
	OK(claim(w, 0, 0, &c));
	CHECK(c.count == NH_WEBHOOK_PARALLEL && c.next_us == w->now_us + LEASE);
	OK(claim(w, h.id, 4, &none));
	CHECK(none.count == 0);
	OK(end(w, &c.items[0], 200, &how, &disabled));
	CHECK(how == NH_WEBHOOK_DELIVERED && !disabled);
	OK(end(w, &c.items[0], 200, &how, &disabled)); /* another server was as fast */
	CHECK(how == NH_WEBHOOK_GONE);
	OK(claim(w, h.id, 3, &none));
	CHECK(none.count == 1);
	OK(look(w, &h));
	CHECK(h.waiting == 5 && h.dead == 0 && h.delivered_at_us == w->now_us);
	world_pass(w, LEASE); /* the sender died: what it had is due again */
	OK(claim(w, 0, 0, &c));
	CHECK(c.count == 4);
	return NH_OK;
}

static nh_rc failure(struct world *w, struct nh_err *err)
{
	struct nh_webhook h;
	struct claimed c;
	nh_webhook_end how = NH_WEBHOOK_AGAIN;
	bool disabled = false;
	int64_t retried, tries = 0, began = w->now_us;
	OK(hook(w, "{\"url\":\"https://a.example\"}", &h));
	OK(happen(w, NH_EVENT_DEVICE_ONLINE, 0, NULL));
	OK(happen(w, NH_EVENT_DEVICE_OFFLINE, 0, NULL));
	OK(claim(w, 0, 0, &c));
	CHECK(c.count == 2);
	OK(end(w, &c.items[0], 500, &how, &disabled));
	OK(end(w, &c.items[1], 0, &how, &disabled));
	CHECK(how == NH_WEBHOOK_AGAIN);
	OK(look(w, &h));
	CHECK(h.failing_since_us == w->now_us && h.waiting == 2);
	while (h.waiting > 0) {
		OK(claim(w, 0, 0, &c));
		CHECK(c.count <= 1 && c.next_us > w->now_us); /* an endpoint that fails is asked with one at a time */
		if (c.count == 1)
			OK(end(w, &c.items[0], 503, &how, &disabled));
		tries += (int64_t)c.count;
		OK(look(w, &h));
		world_pass(w, c.count ? 0 : c.next_us - w->now_us);
	}
	CHECK(how == NH_WEBHOOK_DIED && h.dead == 2 && !disabled && h.enabled && tries > 16 && tries < 30);
	CHECK(w->now_us - began > DAY / 2 && w->now_us - began <= DAY + 6 * 3600 * S);
	OK(nh_delivery_retry(&w->ctx, &w->as_ada, w->acme.id, h.id, 0, &retried, E(w)));
	CHECK(retried == 2);
	OK(claim(w, 0, 0, &c));
	CHECK(c.count == 1 && c.items[0].attempts == 1);
	OK(end(w, &c.items[0], 200, &how, &disabled));
	OK(look(w, &h));
	CHECK(h.waiting == 1 && h.dead == 0 && h.failing_since_us == 0);
	return NH_OK;
}

static nh_rc failing_for_days(struct world *w, struct nh_err *err)
{
	struct nh_webhook h;
	struct claimed c;
	nh_webhook_end how;
	bool disabled = false;
	int64_t began = w->now_us;
	OK(hook(w, "{\"url\":\"https://a.example/secret\"}", &h));
	for (int hours = 0; !disabled && hours < 200; hours++) {
		OK(happen(w, NH_EVENT_DEVICE_ONLINE, w->widget.id, NULL));
		OK(claim(w, 0, 0, &c));
		if (c.count)
			OK(end(w, &c.items[0], 500, &how, &disabled));
		world_pass(w, 3600 * S);
	}
	OK(look(w, &h));
	CHECK(disabled && !h.enabled && nh_slice_find(h.disabled_reason, NH_LIT("days")) > 0);
	CHECK(w->now_us - began > 3 * DAY && w->now_us - began < 4 * DAY);
	OK(happen(w, NH_EVENT_DEVICE_ONLINE, w->widget.id, NULL));
	CHECK(outbox_empty(w));
	OK(claim(w, 0, 0, &c));
	CHECK(c.count == 0 && c.next_us == 0);
	return NH_OK;
}

static nh_rc gone(struct world *w, struct nh_err *err)
{
	struct nh_webhook h;
	struct claimed c;
	nh_webhook_end how;
	bool disabled = false;
	OK(hook(w, "{\"url\":\"https://a.example\"}", &h));
	OK(happen(w, NH_EVENT_DEVICE_ONLINE, 0, NULL));
	OK(claim(w, 0, 0, &c));
	OK(end(w, &c.items[0], 410, &how, &disabled));
	OK(look(w, &h));
	CHECK(how == NH_WEBHOOK_DIED && disabled && !h.enabled && h.dead == 1 && h.waiting == 0);
	return NH_OK;
}

/* ---- bounds --------------------------------------------------------------------------------------------------------------------- */

static nh_rc too_many(struct world *w, struct nh_err *err)
{
	struct nh_webhook h;
	struct claimed c;
	nh_webhook_end how;
	bool disabled, told = false;
	w->config.webhooks.waiting_max = 10;
	OK(hook(w, "{\"url\":\"https://a.example\"}", &h));
	for (int i = 0; i < 15; i++)
		OK(happen(w, NH_EVENT_DEVICE_ONLINE, 0, NULL));
	for (int taken = 0; taken < 11; taken += (int)c.count) {
		OK(claim(w, 0, 0, &c));
		OK(look(w, &h));
		CHECK(h.waiting <= 10 && c.count > 0);
		for (size_t i = 0; i < c.count; i++) {
			if (nh_slice_eq_str(c.items[i].kind, "events.lost"))
				told = nh_slice_find(c.items[i].body, NH_LIT("\"count\":5")) > 0;
			OK(end(w, &c.items[i], 200, &how, &disabled));
		}
	}
	OK(look(w, &h));
	CHECK(told && h.waiting == 0);
	OK(claim(w, 0, 0, &c));
	CHECK(c.count == 0);
	return NH_OK;
}

static nh_rc ends(struct world *w, struct nh_err *err)
{
	struct nh_webhook h;
	struct claimed c;
	struct nh_webhook_secret secret;
	struct nh_delivery *list;
	nh_webhook_end how;
	bool disabled;
	size_t rows = 0, count = 0;
	OK(hook(w, "{\"url\":\"https://a.example\"}", &h));
	OK(happen(w, NH_EVENT_DEVICE_ONLINE, 0, NULL));
	OK(claim(w, 0, 0, &c));
	OK(end(w, &c.items[0], 200, &how, &disabled));
	OK(nh_webhook_rotate(&w->ctx, &w->as_ada, w->acme.id, h.id, &h, &secret, E(w)));
	OK(happen(w, NH_EVENT_DEVICE_ONLINE, 0, NULL));
	OK(claim(w, 0, 0, &c));
	CHECK(c.count == 1 && nh_slice_find(c.items[0].signature, NH_LIT(" v1,")) > 0);
	world_pass(w, DAY + S);
	OK(nh_webhooks_trim(&w->ctx, &rows, E(w)));
	OK(look(w, &h));
	CHECK(rows == 1 && h.waiting == 0 && h.dead == 1 && h.old_secret_until_us == 0);
	world_pass(w, 2 * DAY);
	OK(nh_webhooks_trim(&w->ctx, &rows, E(w)));
	OK(nh_delivery_list(&w->ctx, &w->as_ada, w->acme.id, h.id, NH_DELIVERY_ANY, 0, 100, &list, &count, E(w)));
	CHECK(count == 1 && nh_slice_eq_str(list[0].status, "dead"));
	world_pass(w, 30 * DAY);
	OK(nh_webhooks_trim(&w->ctx, &rows, E(w)));
	OK(look(w, &h));
	CHECK(rows == 1 && h.dead == 0);
	return NH_OK;
}

/* Of another server's key nothing is sent, and nobody waits for it. */
static nh_rc another_key(struct world *w, struct nh_err *err)
{
	struct nh_webhook h;
	struct nh_webhook_request ping;
	struct claimed c;
	OK(hook(w, "{\"url\":\"https://a.example\"}", &h));
	OK(happen(w, NH_EVENT_DEVICE_ONLINE, 0, NULL));
	w->config.secret_key = NH_LIT("another key that is long enough.");
	OK(claim(w, 0, 0, &c));
	OK(look(w, &h));
	CHECK(c.count == 0 && c.broken == 1 && h.dead == 1 && h.waiting == 0);
	CHECK_RC(NH_EAUTH, nh_webhook_ping(&w->ctx, &w->as_ada, w->acme.id, h.id, &ping, E(w)));
	return NH_OK;
}

#define ON_EACH_ENGINE(name) \
	static void test_##name(void **state) { on_each_engine(name, NULL); }
ON_EACH_ENGINE(asked_for)
ON_EACH_ENGINE(switched_off)
ON_EACH_ENGINE(success)
ON_EACH_ENGINE(failure)
ON_EACH_ENGINE(failing_for_days)
ON_EACH_ENGINE(gone)
ON_EACH_ENGINE(too_many)
ON_EACH_ENGINE(ends)
ON_EACH_ENGINE(another_key)

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_signature), cmocka_unit_test(test_pauses), cmocka_unit_test(test_kinds), cmocka_unit_test(test_asked_for), cmocka_unit_test(test_switched_off),
		cmocka_unit_test(test_success), cmocka_unit_test(test_failure), cmocka_unit_test(test_failing_for_days), cmocka_unit_test(test_gone), cmocka_unit_test(test_too_many),
		cmocka_unit_test(test_ends), cmocka_unit_test(test_another_key),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
