/*
 * Deltas in the hub: which are asked for and once only, how long whom waits, who is sent one, what is remembered and counted, what becomes of builds that nobody waits for, and that nothing of one
 * organization reaches another. On both engines.
 */
#include "rollout_world.h"

#include "hub/deltas.h"
#include "hub/download.h"
#include "hub/firmware.h"
#include "store/deltas.h"

#define MINUTE_US (60 * NH_US_PER_S)

/* Firmwares of add_firmware, whose tasks know deltas. */
static nh_rc add_updatable(struct world *w, int number, const char *version, int64_t *id, struct nh_err *err)
{
	return add_firmware_that(w, number, version, "rpi4", true, id, err);
}

static size_t jobs(const struct world *w) { return effects_of(w, NH_EFFECT_JOB); }

static nh_rc delta_of(struct world *w, int source, int target, struct nh_delta *out) { return nh_delta_open(&w->ctx, &w->as_ada, &w->widget, fw_uuid(w, target), fw_uuid(w, source), NH_MAY_DELTA_SEE, out, E(w)); }

/* What a builder does, without building. */
static nh_rc build(struct world *w, int64_t id, struct nh_err *err)
{
	struct nh_delta d;
	struct nh_delta_built built = {.checksum = NH_LIT("DE17A0"), .partials = NH_LIT("[\"DD\"]"), .tool_metadata = NH_LIT("{}"), .required_version = NH_LIT("1.6.0"), .size_bytes = 1000};
	OK(nh_delta_begin(&w->ctx, id, &d, E(w)));
	OK(nh_delta_claim(&w->ctx, &d, &built.object_key, E(w)));
	OK(nh_delta_publish(&w->ctx, &d, &built, E(w)));
	return NH_OK;
}

struct fleet {
	struct nh_group group;
	int64_t device;
	struct nh_session session;
};

/* A device that runs firmware 1, in a group that releases firmware 2. */
static nh_rc found(struct world *w, struct fleet *f, struct nh_err *err)
{
	int64_t id;
	OK(add_updatable(w, 1, "1.0.0", &id, err));
	OK(add_updatable(w, 2, "2.0.0", &id, err));
	OK(add_group(w, group_fields(w, "main", 2), &f->group));
	OK(add_device(w, "one", "[]", &f->device, err));
	OK(join(w, f->device, 1, "1.0.0", &f->session));
	return NH_OK;
}

static nh_rc waits_and_goes_on(struct world *w, struct nh_err *err)
{
	struct fleet f;
	struct nh_orchestrator_result result;
	struct nh_delta d;
	int64_t until = 0;
	OK(found(w, &f, err));
	OK(nh_delta_wait(&w->ctx, &f.group, fw_uuid(w, 1), false, &until, E(w)));
	CHECK(until == w->now_us + 10 * MINUTE_US);
	CHECK_RC(NH_ENOTFOUND, delta_of(w, 1, 2, &d)); /* looking asked for nothing */

	/* The first run asks for it, once, and sends nothing. */
	forget_effects(w);
	OK(run_group(w, f.group.id, &result));
	CHECK(result.sent == 0 && jobs(w) == 1);
	OK(run_group(w, f.group.id, &result));
	CHECK(result.sent == 0 && jobs(w) == 1);
	OK(delta_of(w, 1, 2, &d));
	CHECK(d.status == NH_DELTA_PROCESSING && d.requested_at_us == w->now_us && d.attempts == 0);

	/* Once the clock was set back, nobody waits for what was asked for later. */
	w->now_us -= 60 * MINUTE_US;
	OK(nh_delta_wait(&w->ctx, &f.group, fw_uuid(w, 1), false, &until, E(w)));
	CHECK(until == 0);
	w->now_us += 60 * MINUTE_US;

	/* Completed: the group is woken, and the device gets it. */
	forget_effects(w);
	OK(build(w, d.id, err));
	CHECK(effects_of(w, NH_EFFECT_GROUP_WAKE) == 1);
	OK(run_group(w, f.group.id, &result));
	CHECK(result.sent == 1);
	nh_slice payload = pushed(w, f.device, "update");
	CHECK(holds(payload, "\"checksum\":\"DE17A0\"") && holds(payload, "\"size\":1000") && holds(payload, "\"partials_checksums\":[\"DD\"]"));
	CHECK(holds(payload, nh_arena_printf(&w->arena, "/firmware/deltas/%lld/%.*s.fw?", (long long)d.id, NH_ARG(fw_uuid(w, 2)))) && holds(payload, "\"version\":\"2.0.0\""));
	OK(delta_of(w, 1, 2, &d));
	CHECK(d.status == NH_DELTA_COMPLETED && d.attempts == 1 && d.size_bytes == 1000 && d.target_size_bytes == 2500000);

	/* Told again, it is told the same. */
	forget_effects(w);
	OK(nh_update_send_again(&w->ctx, f.device, E(w)));
	CHECK(holds(pushed(w, f.device, "update"), "DE17A0"));

	/* It comes back with it: counted as what it was. */
	struct nh_update_totals t;
	OK(join(w, f.device, 2, "2.0.0", &f.session));
	OK(nh_update_totals_read(&w->ctx, &w->as_ada, &w->widget, 0, NH_SLICE_EMPTY, &t, E(w)));
	CHECK(t.updates == 1 && t.delta_updates == 1 && t.update_bytes == 1000 && t.delta_bytes == 1000 && t.saved_bytes == 2499000);
	OK(nh_update_totals_read(&w->ctx, &w->as_ada, &w->widget, f.group.id, NH_SLICE_EMPTY, &t, E(w)));
	CHECK(t.updates == 1);
	OK(nh_update_totals_read(&w->ctx, &w->as_ada, &w->widget, 0, fw_uuid(w, 1), &t, E(w)));
	CHECK(t.updates == 0 && t.saved_bytes == 0);
	CHECK_RC(NH_ENOTFOUND, nh_update_totals_read(&w->ctx, &w->as_eve, &w->widget, 0, NH_SLICE_EMPTY, &t, E(w)));
	return NH_OK;
}

/* Neither a slow nor a failed delta keeps the whole firmware from anybody. */
static nh_rc nobody_waits_for_ever(struct world *w, struct nh_err *err)
{
	struct fleet f;
	struct nh_orchestrator_result result;
	struct nh_delta d;
	int64_t other;
	size_t count;
	OK(found(w, &f, err));
	OK(run_group(w, f.group.id, &result));
	world_pass(w, 10 * MINUTE_US - 1);
	OK(run_group(w, f.group.id, &result));
	CHECK(result.sent == 0);
	world_pass(w, 1);
	OK(run_group(w, f.group.id, &result));
	CHECK(result.sent == 1 && holds(pushed(w, f.device, "update"), "\"checksum\":\"ABCDEF\""));

	/* Another one, after the build took too long: given up, and not asked for again by runs. */
	OK(delta_of(w, 1, 2, &d));
	OK(nh_delta_begin(&w->ctx, d.id, &d, E(w)));
	OK(nh_deltas_expire(&w->ctx, w->now_us, &count, E(w)));
	CHECK(count == 0);
	forget_effects(w);
	OK(nh_deltas_expire(&w->ctx, w->now_us + 1, &count, E(w)));
	CHECK(count == 1 && effects_of(w, NH_EFFECT_GROUP_WAKE) == 1);
	OK(delta_of(w, 1, 2, &d));
	CHECK(d.status == NH_DELTA_TIMED_OUT && audited(w, NH_AUDIT_FIRMWARE, d.target_id, "No delta from firmware 1.0.0"));
	OK(add_device(w, "two", "[]", &other, err));
	OK(join(w, other, 1, "1.0.0", &f.session));
	OK(run_group(w, f.group.id, &result));
	CHECK(result.sent == 1 && jobs(w) == 0 && holds(pushed(w, other, "update"), "ABCDEF"));

	/* What ends after that is thrown away; a release asks anew. */
	struct nh_delta_built built = {.object_key = NH_LIT("late")};
	CHECK_RC(NH_ENOTFOUND, nh_delta_publish(&w->ctx, &d, &built, E(w)));
	CHECK_RC(NH_ENOTFOUND, nh_delta_begin(&w->ctx, d.id, &d, E(w)));
	OK(nh_deltas_request(&w->ctx, &f.group, &count, E(w)));
	CHECK(count == 1 && jobs(w) == 1);
	OK(nh_deltas_request(&w->ctx, &f.group, &count, E(w)));
	CHECK(count == 0 && jobs(w) == 1);
	return NH_OK;
}

/* Who takes none: by group, by fwup, by what happened before. */
static nh_rc who_is_sent_one(struct world *w, struct nh_err *err)
{
	struct fleet f;
	struct nh_delta d;
	struct nh_delta_file file;
	struct nh_device_facts facts;
	int64_t target = 0;
	OK(found(w, &f, err));
	OK(nh_delta_create(&w->ctx, &w->as_ada, &w->widget, fw_uuid(w, 2), fw_uuid(w, 1), &d, NO_ERRORS(w), E(w)));
	target = d.target_id;
	OK(nh_device_facts_load(&w->ctx, f.device, &facts, E(w)));
	OK(nh_delta_choose(&w->ctx, &facts, &f.group, target, &file, E(w)));
	CHECK(file.id == 0); /* not before it is there */
	OK(build(w, d.id, err));
	static const struct {
		const char *metadata; /* NULL: as it joined, with fwup 1.10.1 */
		bool deltas, failed, sent;
	} rows[] = {
		{NULL, true, false, true},
		{NULL, false, false, false},
		{NULL, true, true, false},
		{"{\"fwup_version\":\"1.6.0\"}", true, false, true},
		{"{\"fwup_version\":\"1.5.99\"}", true, false, false},
		{"{\"fwup_version\":\"new\"}", true, false, false},
		{"{}", true, false, false},
		{"", true, false, false},
	};
	for (size_t i = 0; i < NH_ARRAY_LEN(rows); i++) {
		struct nh_device_facts probe = facts;
		struct nh_group group = f.group;
		if (rows[i].metadata)
			probe.firmware_metadata = nh_slice_str(rows[i].metadata);
		group.delta_updatable = rows[i].deltas;
		OK(nh_sql_exec(w->ctx.tx, &nh_q_device_delta_failed, NH_PARAMS(nh_p_bool(rows[i].failed), nh_p_int(f.device)), NULL, err));
		OK(nh_delta_choose(&w->ctx, &probe, &group, target, &file, E(w)));
		CHECK((file.id != 0) == rows[i].sent);
	}
	/* A person's push takes one, whatever groups do. It fails, and the next one is whole; after a success there are deltas again. */
	OK(nh_sql_exec(w->ctx.tx, &nh_q_device_delta_failed, NH_PARAMS(nh_p_bool(false), nh_p_int(f.device)), NULL, err));
	OK(nh_update_push(&w->ctx, &w->as_ada, w->acme.id, f.device, fw_uuid(w, 2), E(w)));
	CHECK(holds(pushed(w, f.device, "update"), "DE17A0"));
	OK(status(w, &f.session, json_pack("{s:s}", "status", "fwup error")));
	forget_effects(w);
	OK(nh_update_push(&w->ctx, &w->as_ada, w->acme.id, f.device, fw_uuid(w, 2), E(w)));
	CHECK(holds(pushed(w, f.device, "update"), "ABCDEF"));
	OK(join(w, f.device, 2, "2.0.0", &f.session));
	OK(nh_device_facts_load(&w->ctx, f.device, &facts, E(w)));
	facts.firmware_uuid = fw_uuid(w, 1);
	OK(nh_delta_choose(&w->ctx, &facts, NULL, target, &file, E(w)));
	CHECK(file.id == d.id && file.full_bytes == 2500000);
	return NH_OK;
}

static nh_rc by_hand(struct world *w, struct nh_err *err)
{
	struct nh_delta d;
	struct nh_delta *list;
	size_t count;
	int64_t id;
	static const struct {
		int target, source;
		const char *field, *text;
	} refused[] = {
		{2, 2, "source", "is the target itself"},
		{2, 9, "source", "is no firmware of this product"},
		{2, 3, "source", "is for another platform"},
		{4, 1, "target", "has no task"},
	};
	OK(add_updatable(w, 1, "1.0.0", &id, err));
	OK(add_updatable(w, 2, "2.0.0", &id, err));
	OK(add_firmware_for(w, 3, "3.0.0", "x86", &id, err));
	OK(add_firmware(w, 4, "4.0.0", err));
	for (size_t i = 0; i < NH_ARRAY_LEN(refused); i++) {
		CHECK_RC(NH_EINVAL, nh_delta_create(&w->ctx, &w->as_ada, &w->widget, fw_uuid(w, refused[i].target), fw_uuid(w, refused[i].source), &d, NO_ERRORS(w), E(w)));
		CHECK(refused_with(w, refused[i].field, refused[i].text));
	}
	CHECK_RC(NH_ENOTFOUND, nh_delta_create(&w->ctx, &w->as_ada, &w->widget, fw_uuid(w, 9), fw_uuid(w, 1), &d, NO_ERRORS(w), E(w)));
	CHECK_RC(NH_ENOTFOUND, nh_delta_create(&w->ctx, &w->as_eve, &w->widget, fw_uuid(w, 2), fw_uuid(w, 1), &d, NO_ERRORS(w), E(w)));
	OK(nh_delta_create(&w->ctx, &w->as_ada, &w->widget, fw_uuid(w, 2), fw_uuid(w, 1), &d, NO_ERRORS(w), E(w)));
	CHECK_RC(NH_EINVAL, nh_delta_create(&w->ctx, &w->as_ada, &w->widget, fw_uuid(w, 2), fw_uuid(w, 1), &d, NO_ERRORS(w), E(w)));
	CHECK(refused_with(w, "source", "has already been taken"));
	CHECK_RC(NH_EINVAL, nh_delta_retry(&w->ctx, &w->as_ada, &w->widget, fw_uuid(w, 2), fw_uuid(w, 1), &d, NO_ERRORS(w), E(w)));
	OK(nh_delta_give_up(&w->ctx, d.id, NH_DELTA_FAILED, NH_LIT("no luck"), E(w)));
	OK(nh_delta_give_up(&w->ctx, d.id, NH_DELTA_TIMED_OUT, NH_LIT("again"), E(w))); /* is given up already */
	OK(delta_of(w, 1, 2, &d));
	CHECK(d.status == NH_DELTA_FAILED && nh_slice_eq_str(d.error, "no luck"));
	OK(nh_delta_retry(&w->ctx, &w->as_ada, &w->widget, fw_uuid(w, 2), fw_uuid(w, 1), &d, NO_ERRORS(w), E(w)));
	CHECK(d.status == NH_DELTA_PROCESSING && d.error.len == 0);
	OK(nh_delta_list(&w->ctx, &w->as_ada, &w->widget, fw_uuid(w, 2), &list, &count, E(w)));
	CHECK(count == 1 && list[0].id == d.id);
	CHECK_RC(NH_ENOTFOUND, nh_delta_list(&w->ctx, &w->as_eve, &w->widget, fw_uuid(w, 2), &list, &count, E(w)));
	CHECK_RC(NH_ENOTFOUND, nh_delta_delete(&w->ctx, &w->as_eve, &w->widget, fw_uuid(w, 2), fw_uuid(w, 1), E(w)));
	OK(nh_delta_delete(&w->ctx, &w->as_ada, &w->widget, fw_uuid(w, 2), fw_uuid(w, 1), E(w)));
	CHECK_RC(NH_ENOTFOUND, nh_delta_delete(&w->ctx, &w->as_ada, &w->widget, fw_uuid(w, 2), fw_uuid(w, 1), E(w)));
	return NH_OK;
}

/* Rows and objects of deltas do not outlive either firmware, and their links lead to them alone. */
static nh_rc goes_with_its_firmware(struct world *w, struct nh_err *err)
{
	int64_t id;
	struct nh_delta d;
	for (int deleted = 1; deleted <= 2; deleted++) {
		OK(add_updatable(w, 1, "1.0.0", &id, err));
		OK(add_updatable(w, 2, "2.0.0", &id, err));
		OK(nh_delta_create(&w->ctx, &w->as_ada, &w->widget, fw_uuid(w, 2), fw_uuid(w, 1), &d, NO_ERRORS(w), E(w)));
		struct nh_download_target target;
		NH_AUTO_BUF struct nh_buf path = NH_BUF_INIT, wrong = NH_BUF_INIT;
		nh_download_delta_path(&path, d.id, d.target_uuid);
		nh_download_delta_path(&wrong, d.id, d.source_uuid);
		CHECK_RC(NH_ENOTFOUND, nh_download_resolve(&w->ctx, nh_buf_slice(&path), &target, E(w)));
		OK(build(w, d.id, err));
		OK(nh_download_resolve(&w->ctx, nh_buf_slice(&path), &target, E(w)));
		CHECK(target.size_bytes == 1000 && holds(target.object_key, ".delta.fw"));
		CHECK_RC(NH_ENOTFOUND, nh_download_resolve(&w->ctx, nh_buf_slice(&wrong), &target, E(w)));
		forget_effects(w);
		OK(nh_firmware_delete(&w->ctx, &w->as_ada, &w->widget, fw_uuid(w, deleted), NO_ERRORS(w), E(w)));
		CHECK(effects_of(w, NH_EFFECT_OBJECT_DELETE) == 2);
		CHECK_RC(NH_ENOTFOUND, nh_download_resolve(&w->ctx, nh_buf_slice(&path), &target, E(w)));
		OK(nh_firmware_delete(&w->ctx, &w->as_ada, &w->widget, fw_uuid(w, 3 - deleted), NO_ERRORS(w), E(w)));
	}
	return NH_OK;
}

static void test_waits_and_goes_on(void **state) { on_each_engine(waits_and_goes_on, NULL); }
static void test_nobody_waits_for_ever(void **state) { on_each_engine(nobody_waits_for_ever, NULL); }
static void test_who_is_sent_one(void **state) { on_each_engine(who_is_sent_one, NULL); }
static void test_by_hand(void **state) { on_each_engine(by_hand, NULL); }
static void test_goes_with_its_firmware(void **state) { on_each_engine(goes_with_its_firmware, NULL); }

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_waits_and_goes_on), cmocka_unit_test(test_nobody_waits_for_ever), cmocka_unit_test(test_who_is_sent_one), cmocka_unit_test(test_by_hand),
		cmocka_unit_test(test_goes_with_its_firmware),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
