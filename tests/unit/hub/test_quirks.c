/*
 * Decisions about small things that other servers do otherwise, and that no other test shows. docs/guides/compatibility.md lists them all, each with the test that shows it.
 *
 * source: reference/server-behaviour "16.3"
 */
#include "rollout_world.h"

#include "hub/firmware.h"

struct fleet {
	struct nh_group group; /* releases firmware 2 */
	int64_t device;        /* runs firmware 1 */
	struct nh_session session;
};

static nh_rc set_up(struct world *w, struct fleet *f, struct nh_err *err)
{
	NH_TRY(add_firmware(w, 1, "1.0.0", err));
	NH_TRY(add_firmware(w, 2, "2.0.0", err));
	NH_TRY(add_device(w, "d-1", "[]", &f->device, err));
	OK(add_group(w, group_fields(w, "prod", 2), &f->group));
	OK(join(w, f->device, 1, "1.0.0", &f->session));
	return NH_OK;
}

static nh_rc change(struct world *w, struct fleet *f, const char *text, struct nh_err *err)
{
	NH_AUTO_JSON json_t *fields = NULL;
	OK(nh_json_parse(nh_slice_str(text), 4096, &fields, E(w)));
	return nh_group_update(&w->ctx, &w->as_ada, &f->group, fields, &f->group, NO_ERRORS(w), E(w));
}

/* A device that joins without a word about its firmware did not update: attempts stay, the update in flight is over, and nothing is counted. */
static nh_rc silent_join(struct world *w, struct nh_err *err)
{
	struct fleet f;
	struct nh_device_facts d;
	struct nh_join_result result;
	struct nh_orchestrator_result run;
	NH_TRY(set_up(w, &f, err));
	OK(run_group(w, f.group.id, &run));
	OK(status(w, &f.session, json_pack("{s:s}", "status", "received")));
	OK(join_with(w, f.device, json_pack("{s:s}", "device_api_version", "2.3.0"), &f.session, &result));
	OK(nh_device_facts_load(&w->ctx, f.device, &d, E(w)));
	CHECK(!result.firmware_changed && !d.inflight && d.attempt_count == 1 && nh_slice_eq(d.firmware_uuid, fw_uuid(w, 1)));
	OK(nh_group_get_by_id(&w->ctx, f.group.id, &f.group, E(w)));
	CHECK(f.group.updated_devices == 0);
	return NH_OK;
}
static void test_silent_join(void **state) { on_each_engine(silent_join, NULL); }

/* Who gets nothing leaves no row behind that would keep the next update away. */
static nh_rc no_update(struct world *w, struct nh_err *err)
{
	static const char *const changes[] = {"{\"release_tags\":[\"beta\"]}", "{\"release_tags\":[],\"state\":\"off\"}"};
	struct fleet f;
	NH_TRY(set_up(w, &f, err));
	for (size_t i = 0; i < NH_ARRAY_LEN(changes); i++) {
		struct nh_device_facts d;
		struct nh_orchestrator_result run;
		nh_slice payload;
		OK(change(w, &f, changes[i], err));
		OK(run_group(w, f.group.id, &run));
		OK(nh_device_facts_load(&w->ctx, f.device, &d, E(w)));
		OK(nh_orchestrator_ask(&w->ctx, &d, &payload, E(w)));
		OK(nh_device_facts_load(&w->ctx, f.device, &d, E(w)));
		CHECK(run.sent == 0 && payload.len == 0 && !d.inflight && pushes(w, "update") == 0);
	}
	return NH_OK;
}
static void test_no_update(void **state) { on_each_engine(no_update, NULL); }

/* What a device once ran can be deleted when no release names it; what it runs is shown all the same. */
static nh_rc firmware_that_was_run(struct world *w, struct nh_err *err)
{
	struct fleet f;
	struct nh_device_facts d;
	NH_TRY(set_up(w, &f, err));
	OK(nh_firmware_delete(&w->ctx, &w->as_ada, &w->widget, fw_uuid(w, 1), NO_ERRORS(w), E(w)));
	CHECK_RC(NH_EINVAL, nh_firmware_delete(&w->ctx, &w->as_ada, &w->widget, fw_uuid(w, 2), NO_ERRORS(w), E(w)));
	OK(nh_device_facts_load(&w->ctx, f.device, &d, E(w)));
	CHECK(nh_slice_eq(d.firmware_uuid, fw_uuid(w, 1)) && nh_slice_eq_str(d.firmware_version, "1.0.0"));
	OK(join(w, f.device, 1, "1.0.0", &f.session));
	return NH_OK;
}
static void test_firmware_that_was_run(void **state) { on_each_engine(firmware_that_was_run, NULL); }

/* A version that is none meets no requirement, and the join succeeds. */
static nh_rc odd_version(struct world *w, struct nh_err *err)
{
	struct fleet f;
	struct nh_session session;
	struct nh_device_facts d;
	int64_t id;
	NH_TRY(set_up(w, &f, err));
	OK(change(w, &f, "{\"conditions\":{\"version\":\">= 1.0.0\"}}", err));
	NH_TRY(add_device(w, "d-2", "[]", &id, err));
	OK(join(w, id, 3, "v1-final", &session));
	OK(nh_device_facts_load(&w->ctx, id, &d, E(w)));
	CHECK(d.group_id == 0 && nh_slice_eq_str(d.firmware_version, "v1-final"));
	return NH_OK;
}
static void test_odd_version(void **state) { on_each_engine(odd_version, NULL); }

/* Tags count when a device joins its group, not while it stays; people remove it in bulk where they mean to. */
static nh_rc tags_while_staying(struct world *w, struct nh_err *err)
{
	struct fleet f;
	struct nh_device_facts d;
	NH_TRY(set_up(w, &f, err));
	OK(change(w, &f, "{\"conditions\":{\"tags\":[\"beta\"]}}", err));
	OK(join(w, f.device, 1, "1.0.0", &f.session));
	OK(nh_device_facts_load(&w->ctx, f.device, &d, E(w)));
	CHECK(d.group_id == f.group.id);
	return NH_OK;
}
static void test_tags_while_staying(void **state) { on_each_engine(tags_while_staying, NULL); }

/* The order of the queue is the operator's to choose for groups that say nothing of it. */
static nh_rc default_queue(struct world *w, struct nh_err *err)
{
	struct nh_group g;
	json_t *fields;
	NH_TRY(add_firmware(w, 1, "1.0.0", err));
	w->config.lifo_by_default = true;
	OK(add_group(w, group_fields(w, "silent", 1), &g));
	CHECK(g.lifo);
	fields = group_fields(w, "told", 1);
	json_object_set_new(fields, "queue_management", json_string("FIFO"));
	OK(add_group(w, fields, &g));
	CHECK(!g.lifo);
	return NH_OK;
}
static void test_default_queue(void **state) { on_each_engine(default_queue, NULL); }

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_silent_join), cmocka_unit_test(test_no_update), cmocka_unit_test(test_firmware_that_was_run), cmocka_unit_test(test_odd_version),
		cmocka_unit_test(test_tags_while_staying), cmocka_unit_test(test_default_queue),
	};
	return cmocka_run_group_tests_name("hub_quirks", tests, NULL, NULL);
}
