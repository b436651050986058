/* Devices that ask: what they are offered, when it counts as an attempt, what a failure looks like that nobody reports, and who else holds a slot. */
#include "rollout_world.h"

#include "hub/polling.h"

/* One question. *update: empty where there is nothing. */
static nh_rc poll(struct world *w, int64_t device, int firmware, const char *version, nh_slice *update)
{
	struct nh_opening o;
	NH_AUTO_JSON json_t *payload = join_payload(w, firmware, version);
	nh_opening_make(&o, device, NH_SLICE_EMPTY, w->ctx.clock, w->ctx.rng);
	return nh_poll(&w->ctx, &o, payload, update, E(w));
}

static nh_rc questions(struct world *w, struct nh_err *err)
{
	struct nh_group group;
	struct nh_device_facts d;
	struct nh_connection c;
	struct nh_device row;
	struct nh_opening o;
	int64_t device;
	nh_slice update, name;
	size_t expired;
	NH_TRY(add_firmware(w, 1, "1.0.0", err));
	NH_TRY(add_firmware(w, 2, "2.0.0", err));
	NH_TRY(add_device(w, "asks", NULL, &device, err));
	nh_opening_make(&o, device, NH_SLICE_EMPTY, w->ctx.clock, w->ctx.rng);
	OK(nh_poll_identifier(&w->ctx, &o, &name, E(w)));
	CHECK(nh_slice_eq_str(name, "asks"));

	/* no group: nothing, but now it is known what it runs and that it was here */
	OK(poll(w, device, 1, "1.0.0", &update));
	CHECK(update.len == 0);
	OK(nh_device_facts_load(&w->ctx, device, &d, E(w)));
	CHECK(nh_slice_eq_str(d.firmware_version, "1.0.0") && !d.connected && !d.inflight);
	OK(nh_connection_get(&w->ctx, device, &c, E(w)));
	CHECK(nh_slice_eq_str(c.status, "disconnected") && c.last_seen_at_us == w->now_us);

	OK(add_group(w, group_fields(w, "all", 2), &group));
	forget_effects(w);
	OK(poll(w, device, 1, "1.0.0", &update));
	CHECK(holds(update, "\"update_available\":true") && holds(update, "\"version\":\"2.0.0\""));
	CHECK(pushes(w, "update") == 0);
	OK(nh_device_facts_load(&w->ctx, device, &d, E(w)));
	CHECK(d.inflight && d.attempt_count == 1);
	CHECK(audited(w, NH_AUDIT_DEVICE, device, "started the update"));

	/* the answer may be under way or the device installing: nothing new before the row expires */
	OK(poll(w, device, 1, "1.0.0", &update));
	CHECK(update.len == 0);
	w->now_us += (NH_INFLIGHT_EXPIRY_S + 1) * NH_US_PER_S;
	OK(nh_orchestrator_expire(&w->ctx, &expired, E(w)));
	CHECK(expired == 1);
	OK(poll(w, device, 1, "1.0.0", &update));
	CHECK(update.len > 0);
	OK(nh_device_facts_load(&w->ctx, device, &d, E(w)));
	CHECK(d.attempt_count == 2);

	/* it runs it */
	OK(poll(w, device, 2, "2.0.0", &update));
	CHECK(update.len == 0);
	OK(nh_device_facts_load(&w->ctx, device, &d, E(w)));
	CHECK(!d.inflight && d.attempt_count == 0 && nh_slice_eq_str(d.firmware_version, "2.0.0"));

	OK(nh_device_by_id(&w->ctx, device, &row, E(w)));
	OK(nh_device_delete(&w->ctx, &w->as_ada, &row, E(w)));
	CHECK_RC(NH_ENOTFOUND, poll(w, device, 2, "2.0.0", &update));
	return NH_OK;
}
static void test_questions(void **state) { on_each_engine(questions, NULL); }

/* An update that never succeeds ends in the penalty box, as it does for devices that say so. */
static nh_rc in_vain(struct world *w, struct nh_err *err)
{
	struct nh_group group;
	struct nh_device_facts d;
	int64_t device;
	nh_slice update;
	size_t expired, offers = 0;
	NH_TRY(add_firmware(w, 1, "1.0.0", err));
	NH_TRY(add_firmware(w, 2, "2.0.0", err));
	NH_TRY(add_device(w, "fails", NULL, &device, err));
	OK(add_group(w, group_fields(w, "all", 2), &group));
	for (int i = 0; i < 10; i++) {
		OK(poll(w, device, 1, "1.0.0", &update));
		offers += update.len > 0;
		w->now_us += (NH_INFLIGHT_EXPIRY_S + 1) * NH_US_PER_S;
		OK(nh_orchestrator_expire(&w->ctx, &expired, E(w)));
	}
	CHECK(offers == (size_t)group.failure_threshold_attempts);
	OK(nh_device_facts_load(&w->ctx, device, &d, E(w)));
	CHECK(d.blocked_until_us > w->now_us);
	CHECK(audited(w, NH_AUDIT_DEVICE, device, "penalty box"));
	return NH_OK;
}
static void test_in_vain(void **state) { on_each_engine(in_vain, NULL); }

/* Slots are the group's, whoever takes them; and a device that holds a connection besides keeps it. */
static nh_rc neighbours(struct world *w, struct nh_err *err)
{
	struct nh_group group;
	struct nh_session s;
	struct nh_connection c;
	struct nh_orchestrator_result result;
	int64_t asks, listens;
	nh_slice update;
	json_t *fields = group_fields(w, "all", 2);
	json_object_set_new(fields, "concurrent_updates", json_integer(1));
	NH_TRY(add_firmware(w, 1, "1.0.0", err));
	NH_TRY(add_firmware(w, 2, "2.0.0", err));
	NH_TRY(add_device(w, "asks", NULL, &asks, err));
	NH_TRY(add_device(w, "listens", NULL, &listens, err));
	OK(add_group(w, fields, &group));
	OK(join(w, listens, 1, "1.0.0", &s));
	OK(poll(w, asks, 1, "1.0.0", &update));
	CHECK(update.len > 0);
	OK(run_group(w, group.id, &result));
	CHECK(result.sent == 0 && result.inflight == 1);
	OK(poll(w, asks, 2, "2.0.0", &update));
	OK(run_group(w, group.id, &result));
	CHECK(result.sent == 1);
	OK(poll(w, listens, 1, "1.0.0", &update)); /* the connected one asks as well */
	CHECK(update.len == 0);
	OK(nh_connection_get(&w->ctx, listens, &c, E(w)));
	CHECK(nh_slice_eq_str(c.status, "connected") && nh_slice_eq_str(c.id, s.connection_id));
	return NH_OK;
}
static void test_neighbours(void **state) { on_each_engine(neighbours, NULL); }

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_questions), cmocka_unit_test(test_in_vain), cmocka_unit_test(test_neighbours)};
	return cmocka_run_group_tests_name("rollout_polling", tests, NULL, NULL);
}
