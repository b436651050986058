/*
 * Devices that connect, join and report; updates sent, failed, reverted, done; what people do to them. Everything as rows and effects.
 */
#include "rollout_world.h"

static nh_rc group_of(struct world *w, const char *name, int firmware, struct nh_group *g)
{
	return add_group(w, group_fields(w, name, firmware), g);
}

static json_t *parsed(const char *text)
{
	json_t *value = NULL;
	return nh_json_parse(nh_slice_str(text), 100000, &value, NULL) == NH_OK ? value : NULL;
}

static nh_rc event(struct world *w, const struct nh_session *s, const char *name, const char *text)
{
	NH_AUTO_JSON json_t *payload = parsed(text);
	const struct nh_session_event *e = nh_session_event_find(nh_slice_str(name));
	return e && e->handle ? e->handle(&w->ctx, s, payload, E(w)) : NH_OK;
}

/* ---- connect and join ----------------------------------------------------------------------------------------------------- */

static nh_rc connections(struct world *w, struct nh_err *err)
{
	struct nh_session old, new;
	struct nh_connection c;
	struct nh_device row;
	struct nh_device_facts d;
	struct nh_join_result result;
	int64_t device;
	NH_TRY(add_device(w, "d-1", NULL, &device, err));
	NH_TRY(add_firmware(w, 1, "1.0.0", err));
	CHECK_RC(NH_ENOTFOUND, nh_connection_get(&w->ctx, device, &c, E(w)));
	CHECK_RC(NH_ENOTFOUND, open_connection(w, device + 999, &old));
	CHECK_RC(NH_ENOTFOUND, connect_pinned(w, device, nh_slice_of("0123456789abcdef0123456789abcdef", 32), &old));
	OK(open_connection(w, device, &old));
	OK(nh_connection_get(&w->ctx, device, &c, E(w)));
	CHECK(nh_slice_eq_str(c.status, "connecting") && nh_slice_eq_str(c.id, old.connection_id));
	OK(nh_device_by_id(&w->ctx, device, &row, E(w)));
	CHECK(nh_slice_eq_str(row.status, "provisioned") && row.first_seen_at_us == w->now_us);
	CHECK_RC(NH_ECLOSED, event(w, &old, "firmware_validated", "{}")); /* not joined yet */

	/* the newest connection wins, whatever the older one still says */
	w->now_us += NH_US_PER_S;
	OK(join(w, device, 1, "1.0.0", &new));
	CHECK(strcmp(old.connection_id, new.connection_id) < 0 && new.joined && new.api_2_2);
	json_t *payload = join_payload(w, 1, "1.0.0");
	nh_rc rc = nh_session_join(&w->ctx, &old, NULL, payload, &result, E(w));
	json_decref(payload);
	CHECK(rc == NH_ECLOSED && !old.joined);
	OK(nh_session_disconnect(&w->ctx, device, old.connection_id, NH_SLICE_EMPTY, E(w)));
	OK(nh_connection_get(&w->ctx, device, &c, E(w)));
	CHECK(nh_slice_eq_str(c.status, "connected") && holds(c.metadata, "\"device_api_version\":\"2.3.0\""));
	OK(nh_device_facts_load(&w->ctx, device, &d, E(w)));
	CHECK(d.connected && d.connected_at_us == w->now_us);
	CHECK(pushed(w, device, "extensions:get").ptr && !pushed(w, device, "fwup_public_keys").ptr);

	struct nh_seen seen = {.device_id = device, .at_us = w->now_us + 5};
	for (size_t i = 0; i <= NH_UUID_TEXT_LEN; i++)
		seen.connection_id[i] = new.connection_id[i];
	OK(nh_session_seen(&w->ctx, &seen, 1, E(w)));
	OK(nh_connection_get(&w->ctx, device, &c, E(w)));
	CHECK(c.last_seen_at_us == w->now_us + 5);

	size_t cleaned;
	OK(nh_session_clean_stale(&w->ctx, w->now_us, &cleaned, E(w)));
	CHECK(cleaned == 0);
	OK(nh_session_clean_stale(&w->ctx, w->now_us + 6, &cleaned, E(w)));
	OK(nh_connection_get(&w->ctx, device, &c, E(w)));
	CHECK(cleaned == 1 && nh_slice_eq_str(c.status, "disconnected") && nh_slice_eq_str(c.disconnected_reason, "Stale connection"));
	OK(nh_device_facts_load(&w->ctx, device, &d, E(w)));
	CHECK(!d.connected);
	CHECK_RC(NH_ECLOSED, event(w, &new, "firmware_validated", "{}"));

	OK(nh_device_by_id(&w->ctx, device, &row, E(w)));
	OK(nh_device_delete(&w->ctx, &w->as_ada, &row, E(w)));
	CHECK_RC(NH_ENOTFOUND, open_connection(w, device, &new));
	return NH_OK;
}
static void test_connections(void **state) { on_each_engine(connections, NULL); }

/* A connection that is written with its join. */
static nh_rc openings(struct world *w, struct nh_err *err)
{
	static const uint8_t stranger[32] = {1, 2, 3};
	struct nh_opening o, other;
	struct nh_connection c;
	struct nh_device row;
	struct nh_device_facts d;
	struct nh_join_result result;
	struct nh_session s;
	int64_t device, at = w->now_us;
	NH_AUTO_JSON json_t *payload = join_payload(w, 1, "1.0.0");
	NH_TRY(add_firmware(w, 1, "1.0.0", err));
	NH_TRY(add_device(w, "d-1", NULL, &device, err));
	nh_opening_make(&o, device, NH_SLICE_EMPTY, w->ctx.clock, w->ctx.rng);
	nh_opening_make(&other, device, nh_slice_of(stranger, sizeof stranger), w->ctx.clock, w->ctx.rng);
	CHECK(o.at_us == at && !o.pinned && other.pinned && strcmp(o.connection_id, other.connection_id) != 0);

	/* who may not come in changes nothing */
	s = nh_session_of(&other);
	CHECK_RC(NH_ENOTFOUND, nh_session_join(&w->ctx, &s, &other, payload, &result, E(w)));
	CHECK_RC(NH_ENOTFOUND, nh_connection_get(&w->ctx, device, &c, E(w)));
	OK(nh_device_by_id(&w->ctx, device, &row, E(w)));
	CHECK(nh_slice_eq_str(row.status, "registered") && !s.joined);

	/* written whole, at the times when it happened */
	w->now_us += 3 * NH_US_PER_S;
	s = nh_session_of(&o);
	OK(nh_session_join(&w->ctx, &s, &o, payload, &result, E(w)));
	CHECK(s.joined && s.org_id == w->acme.id && s.product_id == w->widget.id && result.firmware_changed);
	OK(nh_connection_get(&w->ctx, device, &c, E(w)));
	CHECK(nh_slice_eq_str(c.status, "connected") && nh_slice_eq_str(c.id, o.connection_id) && holds(c.metadata, "\"device_api_version\":\"2.3.0\""));
	CHECK(c.established_at_us == at && c.last_seen_at_us == w->now_us && c.disconnected_at_us == 0);
	OK(nh_device_by_id(&w->ctx, device, &row, E(w)));
	CHECK(nh_slice_eq_str(row.status, "provisioned") && row.first_seen_at_us == at);
	OK(nh_device_facts_load(&w->ctx, device, &d, E(w)));
	CHECK(d.connected && d.connected_at_us == at);
	OK(event(w, &s, "report_network_interface", "{\"interface\":\"wifi\"}"));

	/* the next one replaces it, with all that was known of it */
	w->now_us += NH_US_PER_S;
	nh_opening_make(&o, device, NH_SLICE_EMPTY, w->ctx.clock, w->ctx.rng);
	struct nh_session next = nh_session_of(&o);
	OK(nh_session_join(&w->ctx, &next, &o, payload, &result, E(w)));
	CHECK_RC(NH_ECLOSED, event(w, &s, "firmware_validated", "{}"));
	OK(event(w, &next, "firmware_validated", "{}"));
	OK(nh_connection_get(&w->ctx, device, &c, E(w)));
	CHECK(nh_slice_eq_str(c.id, o.connection_id) && c.network_interface.len == 0 && c.established_at_us == w->now_us);
	OK(nh_device_by_id(&w->ctx, device, &row, E(w)));
	CHECK(row.first_seen_at_us == at);

	OK(nh_device_delete(&w->ctx, &w->as_ada, &row, E(w)));
	s = nh_session_of(&o);
	CHECK_RC(NH_ENOTFOUND, nh_session_join(&w->ctx, &s, &o, payload, &result, E(w)));
	return NH_OK;
}
static void test_openings(void **state) { on_each_engine(openings, NULL); }

/* What is written late takes the row only where nobody newer has it. */
static nh_rc late_openings(struct world *w, struct nh_err *err)
{
	static const struct {
		const char *node; /* of the row that is there */
		int64_t later_s;  /* established so much after the late one */
		bool ended;       /* it is over */
		bool written;
	} table[] = {
		{"here", -5, false, true}, {"here", -5, true, true}, {"here", 5, false, false}, {"here", 5, true, false},
		{"there", -5, false, false}, {"there", -5, true, true}, {"there", 5, false, false}, {"there", 5, true, false},
	};
	int64_t device;
	struct nh_opening o;
	struct nh_connection c;
	struct nh_device_facts d;
	bool written;
	NH_TRY(add_firmware(w, 1, "1.0.0", err));
	NH_TRY(add_device(w, "d-1", NULL, &device, err));
	for (size_t i = 0; i < 2 * NH_ARRAY_LEN(table); i++) {
		size_t k = i / 2;
		int64_t gone = i % 2 ? 7 * NH_US_PER_S : 0; /* the late one: here, or came and went */
		struct nh_session s;
		w->now_us += 100 * NH_US_PER_S;
		w->config.node = NH_LIT("here");
		nh_opening_make(&o, device, NH_SLICE_EMPTY, w->ctx.clock, w->ctx.rng);
		w->now_us += table[k].later_s * NH_US_PER_S;
		w->config.node = nh_slice_str(table[k].node);
		OK(join(w, device, 1, "1.0.0", &s));
		if (table[k].ended)
			OK(nh_session_disconnect(&w->ctx, device, s.connection_id, NH_SLICE_EMPTY, E(w)));
		w->config.node = NH_LIT("here");
		for (unsigned twice = 0; twice < 2; twice++) { /* a commit whose answer was lost is tried again */
			OK(nh_session_connect_late(&w->ctx, &o, gone ? o.at_us + gone : 0, &written, E(w)));
			CHECK(written == table[k].written);
			OK(nh_connection_get(&w->ctx, device, &c, E(w)));
			OK(nh_device_facts_load(&w->ctx, device, &d, E(w)));
			CHECK(nh_slice_eq_str(c.id, written ? o.connection_id : s.connection_id));
			CHECK(d.connected == (!written && !table[k].ended));
			CHECK(!written || (nh_slice_eq_str(c.status, gone ? "disconnected" : "connecting") && c.established_at_us == o.at_us));
			CHECK(!written || c.disconnected_at_us == (gone ? o.at_us + gone : 0));
		}
	}
	o.device_id += 999;
	CHECK_RC(NH_ENOTFOUND, nh_session_connect_late(&w->ctx, &o, 0, &written, E(w)));
	CHECK(!written);
	return NH_OK;
}
static void test_late_openings(void **state) { on_each_engine(late_openings, NULL); }

/* A start ends what the node's last run left, whatever the clock said then; a server never takes its own connections for stale. */
static nh_rc restarts(struct world *w, struct nh_err *err)
{
	struct nh_session s;
	struct nh_connection c;
	struct nh_device_facts d;
	int64_t here, there;
	size_t cleaned;
	NH_TRY(add_firmware(w, 1, "1.0.0", err));
	NH_TRY(add_device(w, "d-1", NULL, &here, err));
	NH_TRY(add_device(w, "d-2", NULL, &there, err));
	w->config.node = NH_LIT("here");
	OK(join(w, here, 1, "1.0.0", &s));
	w->config.node = NH_LIT("there");
	OK(join(w, there, 1, "1.0.0", &s));
	OK(nh_session_clean_stale(&w->ctx, w->now_us, &cleaned, E(w)));
	CHECK(cleaned == 0);
	w->now_us -= 3600 * NH_US_PER_S;
	OK(nh_session_clean_node(&w->ctx, nh_ctx_node(&w->ctx), &cleaned, E(w)));
	CHECK(cleaned == 1);
	OK(nh_device_facts_load(&w->ctx, there, &d, E(w)));
	CHECK(!d.connected);
	OK(nh_device_facts_load(&w->ctx, here, &d, E(w)));
	CHECK(d.connected);
	w->now_us += 2 * 3600 * NH_US_PER_S;
	w->config.node = NH_LIT("here");
	OK(nh_session_clean_stale(&w->ctx, w->now_us, &cleaned, E(w)));
	CHECK(cleaned == 0);
	w->config.node = NH_LIT("there");
	OK(nh_session_clean_stale(&w->ctx, w->now_us, &cleaned, E(w)));
	CHECK(cleaned == 1);
	OK(nh_connection_get(&w->ctx, here, &c, E(w)));
	CHECK(nh_slice_eq_str(c.status, "disconnected"));
	return NH_OK;
}
static void test_restarts(void **state) { on_each_engine(restarts, NULL); }

/* Join payloads of all ages, some of them nonsense: none fails, each is read as the reference says. */
static nh_rc payloads(struct world *w, struct nh_err *err)
{
	static const struct {
		const char *payload;
		bool known;
		const char *uuid, *version, *platform, *architecture;
		nh_validation validation;
		bool api_2_2;
	} table[] = {
		{"{}", false, "", "", "", "", NH_VALIDATION_UNKNOWN, false},
		{"{\"nerves_fw_uuid\":5,\"nerves_fw_version\":{},\"meta\":7,\"device_api_version\":9}", false, "", "", "", "", NH_VALIDATION_UNKNOWN, false},
		{"{\"nerves_fw_uuid\":\"00000000-0000-4000-8000-000000000001\"}", true, "00000000-0000-4000-8000-000000000001", "1.0.0", "rpi4", "aarch64",
		 NH_VALIDATION_UNKNOWN, false},
		{"{\"nerves_fw_uuid\":\"u\",\"nerves_fw_product\":\"p\",\"nerves_fw_version\":\"9\",\"nerves_fw_platform\":\"x\","
		 "\"nerves_fw_architecture\":\"y\",\"meta\":{\"firmware_validated\":false},\"device_api_version\":\"2.2.0\"}",
		 true, "u", "9", "x", "y", NH_VALIDATION_NOT_VALIDATED, true},
		{"{\"nerves_fw_uuid\":\"u\",\"device_api_version\":\"2.2.0-rc.1\",\"meta\":{\"firmware_validated\":\"yes\"}}", false, "u", "9", "x", "y",
		 NH_VALIDATION_UNKNOWN, false},
		{"{\"update_tool\":\"esp-idf\",\"esp_idf_project_name\":\"esp\",\"esp_idf_version\":\"v1.2\","
		 "\"esp_idf_app_elf_sha256\":\"000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f\",\"esp_idf_ver\":\"v5.1\","
		 "\"esp_idf_chip_id\":5,\"device_api_version\":\"2.2.0\",\"meta\":{\"firmware_validated\":true}}",
		 true, "00010203-0405-0607-0809-0a0b0c0d0e0f", "1.2.0", "esp32c3", "riscv", NH_VALIDATION_VALIDATED, true},
		{"{\"esp_idf_project_name\":\"esp\",\"esp_idf_version\":\"1.2.3.4\","
		 "\"esp_idf_app_elf_sha256\":\"100102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f\",\"esp_idf_chip_id\":\"999\"}",
		 true, "10010203-0405-0607-0809-0a0b0c0d0e0f", "1.2.3+4", "esp32-999", "unknown", NH_VALIDATION_UNKNOWN, false},
	};
	struct nh_session s;
	struct nh_device_facts d;
	struct nh_join_result result;
	int64_t device;
	NH_TRY(add_firmware(w, 1, "1.0.0", err));
	NH_TRY(add_device(w, "d-1", NULL, &device, err));
	for (size_t i = 0; i < NH_ARRAY_LEN(table); i++) {
		OK(join_with(w, device, parsed(table[i].payload), &s, &result));
		OK(nh_device_facts_load(&w->ctx, device, &d, E(w)));
		if (result.metadata_known != table[i].known || !nh_slice_eq_str(d.firmware_uuid, table[i].uuid) ||
		    !nh_slice_eq_str(d.firmware_version, table[i].version) || !nh_slice_eq_str(d.platform, table[i].platform) ||
		    !nh_slice_eq_str(d.architecture, table[i].architecture) || d.validation != table[i].validation || s.api_2_2 != table[i].api_2_2)
			return NH_FAIL(err, NH_EINTERNAL, "row %zu: %.*s %.*s %.*s", i, NH_ARG(d.firmware_uuid), NH_ARG(d.firmware_version), NH_ARG(d.platform));
	}
	CHECK(audited(w, NH_AUDIT_DEVICE, device, "did not report which firmware"));
	static const char *const wrong[] = {"[]", "null", "5", "\"x\""};
	for (size_t i = 0; i < NH_ARRAY_LEN(wrong); i++)
		CHECK_RC(NH_EFORMAT, join_with(w, device, parsed(wrong[i]), &s, &result));

	/* keys on request */
	forget_effects(w);
	json_t *payload = join_payload(w, 1, "1.0.0");
	json_object_set_new(payload, "fwup_public_keys", json_string("on_connect"));
	OK(join_with(w, device, payload, &s, &result));
	nh_slice keys = pushed(w, device, "fwup_public_keys");
	CHECK(nh_slice_eq_str(keys, "{\"keys\":[\"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\"]}") && !pushed(w, device, "archive_public_keys").ptr);
	return NH_OK;
}
static void test_payloads(void **state) { on_each_engine(payloads, NULL); }

/* ---- one update from offer to success -------------------------------------------------------------------------------------- */

static nh_rc success(struct world *w, struct nh_err *err)
{
	struct nh_group g;
	struct nh_session s;
	struct nh_device_facts d;
	struct nh_inflight row;
	struct nh_orchestrator_result run;
	int64_t device;
	NH_TRY(add_firmware(w, 1, "1.0.0", err));
	NH_TRY(add_firmware(w, 2, "1.1.0", err));
	NH_TRY(add_device(w, "d-1", NULL, &device, err));
	OK(group_of(w, "g", 2, &g));
	OK(join(w, device, 1, "1.0.0", &s));
	OK(run_group(w, g.id, &run));
	CHECK(run.sent == 1 && run.inflight == 1 && !run.more);

	NH_AUTO_JSON json_t *update = NULL;
	nh_slice text = pushed(w, device, "update");
	OK(nh_json_parse(text, 10000, &update, E(w)));
	CHECK(nh_json_bool(update, "update_available", false) && nh_json_int(update, "size", 0) == 2500000);
	CHECK(nh_json_int(update, "deployment_id", 0) == g.id && nh_slice_eq_str(nh_json_text(update, "checksum"), "ABCDEF"));
	CHECK(nh_slice_starts(nh_json_text(update, "firmware_url"), NH_LIT("https://devices.example.com/firmware/")));
	CHECK(json_array_size(json_object_get(update, "partials_checksums")) == 3 && json_object_size(update) == 7);
	const json_t *meta = json_object_get(update, "firmware_meta");
	CHECK(json_object_size(meta) == 9 && nh_slice_eq_str(nh_json_text(meta, "version"), "1.1.0") && json_is_null(json_object_get(meta, "author")));
	CHECK(nh_slice_eq_str(nh_json_text(meta, "product"), "Thermo Widget") && nh_slice_eq_str(nh_json_text(meta, "description"), "the description"));

	OK(run_group(w, g.id, &run)); /* never twice */
	CHECK(run.sent == 0 && pushes(w, "update") == 1);
	OK(event(w, &s, "status_update", "{\"status\":\"received\"}"));
	OK(event(w, &s, "status_update", "{\"status\":\"started\",\"downloader_network_interface\":null}"));
	OK(event(w, &s, "fwup_progress", "{\"stage\":\"downloading\",\"value\":42}"));
	OK(nh_inflight_get(&w->ctx, device, &row, E(w)));
	CHECK(row.stage == NH_STAGE_DOWNLOADING && row.progress == 42 && row.group_id == g.id);
	OK(event(w, &s, "fwup_progress", "{\"stage\":\"downloading\",\"value\":43}")); /* too soon to be written */
	OK(nh_inflight_get(&w->ctx, device, &row, E(w)));
	CHECK(row.progress == 42);
	OK(event(w, &s, "fwup_progress", "{\"stage\":\"updating\",\"value\":100}"));
	OK(event(w, &s, "status_update", "{\"status\":\"completed\"}"));
	OK(nh_inflight_get(&w->ctx, device, &row, E(w)));
	CHECK(row.stage == NH_STAGE_COMPLETED && row.progress == -1);
	OK(nh_device_facts_load(&w->ctx, device, &d, E(w)));
	CHECK(d.attempt_count == 1);

	forget_effects(w);
	json_t *payload = join_payload(w, 2, "1.1.0");
	json_object_set_new(payload, "meta", json_pack("{s:b}", "firmware_validated", 0));
	struct nh_join_result result;
	OK(join_with(w, device, payload, &s, &result));
	CHECK(result.firmware_changed && result.group_id == g.id && effects_of(w, NH_EFFECT_GROUP_WAKE) >= 1);
	CHECK_RC(NH_ENOTFOUND, nh_inflight_get(&w->ctx, device, &row, E(w)));
	OK(nh_group_get_by_id(&w->ctx, g.id, &g, E(w)));
	OK(nh_device_facts_load(&w->ctx, device, &d, E(w)));
	CHECK(g.updated_devices == 1 && d.attempt_count == 0 && d.validation == NH_VALIDATION_NOT_VALIDATED && d.last_failure.len == 0);
	CHECK(audited(w, NH_AUDIT_DEVICE, device, "now runs firmware 1.1.0") && audited(w, NH_AUDIT_DEVICE, device, "started the update of device d-1"));
	OK(event(w, &s, "firmware_validated", "{}"));
	OK(nh_device_facts_load(&w->ctx, device, &d, E(w)));
	CHECK(d.validation == NH_VALIDATION_VALIDATED && audited(w, NH_AUDIT_DEVICE, device, "validated its firmware"));
	return NH_OK;
}
static void test_success(void **state) { on_each_engine(success, NULL); }

/* ---- a device that asks, and one that tells of an update nobody sent ------------------------------------------------------------- */

static nh_rc asking(struct world *w, struct nh_err *err)
{
	struct nh_group g;
	struct nh_session s, newer;
	struct nh_device_facts d;
	nh_slice update;
	int64_t device;
	NH_TRY(add_firmware(w, 1, "1.0.0", err));
	NH_TRY(add_firmware(w, 2, "1.1.0", err));
	NH_TRY(add_device(w, "d-1", NULL, &device, err));
	OK(join(w, device, 1, "1.0.0", &s));
	OK(nh_session_ask_update(&w->ctx, &s, &update, E(w)));
	CHECK(update.len == 0); /* no group */

	static const char *const statuses[] = {"received", "started", "downloading", "updating", "completed", "ignored", "rescheduled", "failed"};
	for (size_t i = 0; i < NH_ARRAY_LEN(statuses); i++)
		OK(event(w, &s, "status_update", nh_arena_printf(&w->arena, "{\"status\":\"%s\",\"reason\":\"disk full\",\"delay_for\":15}", statuses[i])));
	OK(nh_device_facts_load(&w->ctx, device, &d, E(w)));
	CHECK(!d.inflight && d.attempt_count == 0 && d.blocked_until_us == 0);
	CHECK(nh_slice_eq_str(d.last_failure, "disk full")); /* that much people want to know */

	OK(group_of(w, "g", 2, &g));
	OK(join(w, device, 1, "1.0.0", &newer));
	CHECK_RC(NH_ECLOSED, nh_session_ask_update(&w->ctx, &s, &update, E(w)));
	OK(nh_session_ask_update(&w->ctx, &newer, &update, E(w)));
	CHECK(nh_slice_find(update, NH_LIT("\"update_available\":true")) >= 0 && nh_slice_find(update, NH_LIT("\"version\":\"1.1.0\"")) >= 0);
	OK(nh_session_ask_update(&w->ctx, &newer, &update, E(w)));
	CHECK(update.len == 0); /* one at a time */
	return NH_OK;
}

static void test_asking(void **state) { on_each_engine(asking, NULL); }

/* ---- failures ---------------------------------------------------------------------------------------------------------------- */

struct world_update {
	struct nh_group group;
	struct nh_session session;
	int64_t device;
};

/* A device with an update in flight. */
static nh_rc offered(struct world *w, struct world_update *u, struct nh_err *err)
{
	struct nh_orchestrator_result run;
	NH_TRY(add_firmware(w, 1, "1.0.0", err));
	NH_TRY(add_firmware(w, 2, "1.1.0", err));
	NH_TRY(add_device(w, "d-1", NULL, &u->device, err));
	OK(group_of(w, "g", 2, &u->group));
	OK(join(w, u->device, 1, "1.0.0", &u->session));
	OK(run_group(w, u->group.id, &run));
	CHECK(run.sent == 1);
	return NH_OK;
}

static nh_rc failures(struct world *w, struct nh_err *err)
{
	static const struct {
		const char *payload, *reason;
	} table[] = {
		{"{\"status\":\"failed\",\"reason\":\"Update failed : disk\\u0007 full\"}", "Update failed : disk  full"},
		{"{\"status\":\"failed\"}", "no reason given"},
		{"{\"status\":\"failed\",\"reason\":17}", "no reason given"},
		{"{\"status\":\"ignored\",\"reason\":\"not now\"}", "not now"},
		{"{\"status\":\"FWUP Error: bad block\"}", "FWUP Error: bad block"},
		{"{\"status\":\"update failed\"}", "update failed"},
	};
	struct world_update u;
	struct nh_device_facts d;
	struct nh_inflight row;
	struct nh_orchestrator_result run;
	NH_TRY(offered(w, &u, err));
	for (size_t i = 0; i < NH_ARRAY_LEN(table); i++) {
		OK(event(w, &u.session, "status_update", table[i].payload));
		OK(nh_device_facts_load(&w->ctx, u.device, &d, E(w)));
		if (!nh_slice_eq_str(d.last_failure, table[i].reason))
			return NH_FAIL(err, NH_EINTERNAL, "row %zu: %.*s", i, NH_ARG(d.last_failure));
		CHECK(d.blocked_until_us == w->now_us + 1440 * 60 * NH_US_PER_S && d.last_failure_at_us == w->now_us);
		CHECK(audited(w, NH_AUDIT_DEVICE, u.device, table[i].reason));
		CHECK_RC(NH_ENOTFOUND, nh_inflight_get(&w->ctx, u.device, &row, E(w)));
		OK(run_group(w, u.group.id, &run));
		CHECK(run.sent == 0); /* in the penalty box */
		OK(nh_penalty_clear(&w->ctx, &w->as_ada, w->acme.id, u.device, E(w)));
		OK(run_group(w, u.group.id, &run));
		CHECK(run.sent == 1);
	}
	/* visible where people look */
	struct nh_device shown;
	OK(nh_device_by_id(&w->ctx, u.device, &shown, E(w)));
	CHECK(nh_slice_eq_str(shown.last_failure, "update failed"));

	/* nonsense changes nothing and ends nothing */
	static const char *const nothing[] = {"{}", "[]", "null", "{\"status\":\"expired\"}", "{\"status\":\"requested\"}", "{\"status\":5}",
		"{\"status\":\"exploded\"}"};
	for (size_t i = 0; i < NH_ARRAY_LEN(nothing); i++)
		OK(event(w, &u.session, "status_update", nothing[i]));
	OK(nh_inflight_get(&w->ctx, u.device, &row, E(w)));
	CHECK(row.stage == NH_STAGE_REQUESTED);
	return NH_OK;
}
static void test_failures(void **state) { on_each_engine(failures, NULL); }

static nh_rc reschedules(struct world *w, struct nh_err *err)
{
	static const struct {
		const char *payload;
		bool tool;
		int64_t seconds;
	} table[] = {
		{"{\"status\":\"rescheduled\",\"delay_for\":5}", false, 300}, /* minutes */
		{"{\"status\":\"rescheduled\",\"delay_for\":10080}", false, 10080 * 60},
		{"{\"status\":\"rescheduled\",\"delay_for\":300000,\"reason\":\"busy\"}", false, 300}, /* milliseconds */
		{"{\"status\":\"rescheduled\",\"delay_for\":10000}", true, 10},
		{"{\"status\":\"rescheduled\",\"delay_for\":1e300}", false, INT64_C(366) * 86400},
		{"{\"status\":\"rescheduled\",\"delay_for\":-1}", false, 0},
		{"{\"status\":\"rescheduled\"}", false, 0},
	};
	struct world_update u;
	struct nh_device_facts d;
	struct nh_orchestrator_result run;
	NH_TRY(offered(w, &u, err));
	for (size_t i = 0; i < NH_ARRAY_LEN(table); i++) {
		u.session.delay_in_ms = table[i].tool;
		OK(event(w, &u.session, "status_update", table[i].payload));
		OK(nh_device_facts_load(&w->ctx, u.device, &d, E(w)));
		if (d.blocked_until_us != w->now_us + table[i].seconds * NH_US_PER_S || d.inflight)
			return NH_FAIL(err, NH_EINTERNAL, "row %zu: %lld", i, (long long)(d.blocked_until_us - w->now_us));
		CHECK(d.attempt_count == 0); /* who puts it off tried nothing */
		w->now_us = d.blocked_until_us + 1;
		OK(run_group(w, u.group.id, &run));
		CHECK(run.sent == 1);
	}
	return NH_OK;
}
static void test_reschedules(void **state) { on_each_engine(reschedules, NULL); }

static json_t *reverted_payload(struct world *w, int firmware, const char *version)
{
	json_t *payload = join_payload(w, firmware, version);
	json_object_set_new(payload, "meta", json_pack("{s:b, s:b}", "firmware_validated", 1, "firmware_auto_revert_detected", 1));
	return payload;
}

static nh_rc reverts(struct world *w, struct nh_err *err)
{
	struct world_update u;
	struct nh_device_facts d;
	struct nh_join_result result;
	struct nh_orchestrator_result run;
	NH_TRY(offered(w, &u, err));

	/* it keeps the update while it says that it is downloading it */
	json_t *payload = join_payload(w, 1, "1.0.0");
	json_object_set_new(payload, "currently_downloading_uuid", json_string("00000000-0000-4000-8000-000000000002"));
	OK(join_with(w, u.device, payload, &u.session, &result));
	OK(nh_device_facts_load(&w->ctx, u.device, &d, E(w)));
	CHECK(d.inflight && !result.firmware_changed);

	/* it comes back on the old firmware and says why */
	OK(event(w, &u.session, "status_update", "{\"status\":\"completed\"}"));
	OK(join_with(w, u.device, reverted_payload(w, 1, "1.0.0"), &u.session, &result));
	OK(nh_device_facts_load(&w->ctx, u.device, &d, E(w)));
	CHECK(!d.inflight && holds(d.last_failure, "reverted") && d.blocked_until_us > w->now_us && d.auto_reverted);
	CHECK(audited(w, NH_AUDIT_DEVICE, u.device, "reverted to its previous one"));
	OK(run_group(w, u.group.id, &run));
	CHECK(run.sent == 0);

	/* the new firmware joins, counts as done, and is gone again at the next join */
	OK(nh_penalty_clear(&w->ctx, &w->as_ada, w->acme.id, u.device, E(w)));
	OK(run_group(w, u.group.id, &run));
	CHECK(run.sent == 1);
	OK(join(w, u.device, 2, "1.1.0", &u.session));
	OK(join_with(w, u.device, reverted_payload(w, 1, "1.0.0"), &u.session, &result));
	OK(nh_device_facts_load(&w->ctx, u.device, &d, E(w)));
	CHECK(result.firmware_changed && holds(d.last_failure, "reverted") && d.blocked_until_us > w->now_us);
	CHECK(audited(w, NH_AUDIT_DEVICE, u.device, "reverted from firmware 1.1.0 to 1.0.0"));

	/* neither word nor firmware: said to be installed, but is not; it may try again, and the attempt counts */
	OK(nh_penalty_clear(&w->ctx, &w->as_ada, w->acme.id, u.device, E(w)));
	OK(join(w, u.device, 1, "1.0.0", &u.session));
	OK(run_group(w, u.group.id, &run));
	CHECK(run.sent == 1);
	OK(event(w, &u.session, "status_update", "{\"status\":\"completed\"}"));
	OK(join(w, u.device, 1, "1.0.0", &u.session));
	OK(nh_device_facts_load(&w->ctx, u.device, &d, E(w)));
	CHECK(!d.inflight && d.attempt_count == 1 && d.blocked_until_us == 0 && holds(d.last_failure, "came back with its previous firmware"));
	return NH_OK;
}
static void test_reverts(void **state) { on_each_engine(reverts, NULL); }

static nh_rc penalties(struct world *w, struct nh_err *err)
{
	struct world_update u;
	struct nh_device_facts d;
	struct nh_orchestrator_result run;
	NH_TRY(offered(w, &u, err));
	for (int i = 0; i < 3; i++) { /* three times received, never done */
		OK(event(w, &u.session, "status_update", "{\"status\":\"received\"}"));
		OK(event(w, &u.session, "status_update", "{\"status\":\"started\"}")); /* one attempt an update */
		OK(join(w, u.device, 1, "1.0.0", &u.session));
		OK(run_group(w, u.group.id, &run));
		CHECK(run.sent == (i < 2) && run.penalized == (i == 2));
	}
	CHECK(run.more);
	OK(nh_device_facts_load(&w->ctx, u.device, &d, E(w)));
	CHECK(!d.inflight && d.blocked_until_us == w->now_us + 1440 * 60 * NH_US_PER_S && d.attempt_count == 0);
	CHECK(audited(w, NH_AUDIT_DEVICE, u.device, "penalty box for 1440 minutes"));
	struct nh_explained why;
	OK(nh_update_explain(&w->ctx, w->acme.id, u.device, &why, E(w)));
	CHECK(why.decision.verdict == NH_UPDATE_WAIT && why.decision.count == 1 && why.decision.reasons[0] == NH_UPDATE_BLOCKED);
	CHECK_RC(NH_ENOTFOUND, nh_update_explain(&w->ctx, w->other.id, u.device, &why, E(w)));
	w->now_us = d.blocked_until_us;
	OK(run_group(w, u.group.id, &run)); /* the penalty is over, it begins with a clean record */
	CHECK(run.sent == 1);

	/* expiry */
	size_t expired;
	w->now_us += NH_INFLIGHT_EXPIRY_S * NH_US_PER_S;
	OK(nh_orchestrator_expire(&w->ctx, &expired, E(w)));
	CHECK(expired == 0);
	w->now_us += 1;
	forget_effects(w);
	OK(nh_orchestrator_expire(&w->ctx, &expired, E(w)));
	OK(nh_device_facts_load(&w->ctx, u.device, &d, E(w)));
	CHECK(expired == 1 && !d.inflight && holds(d.last_failure, "30 minutes") && effects_of(w, NH_EFFECT_GROUP_WAKE) == 1);
	return NH_OK;
}
static void test_penalties(void **state) { on_each_engine(penalties, NULL); }

/* ---- pushes that were lost ---------------------------------------------------------------------------------------------------- */

static nh_rc lost_pushes(struct world *w, struct nh_err *err)
{
	static const struct {
		int64_t after_s;
		size_t reminded;
	} looks[] = {{0, 0}, {59, 0}, {2, 1}, {60, 1}, {70, 0}};
	struct world_update u;
	struct nh_device_facts d;
	size_t reminded;
	NH_TRY(offered(w, &u, err));
	for (size_t i = 0; i < NH_ARRAY_LEN(looks); i++) {
		w->now_us += looks[i].after_s * NH_US_PER_S;
		forget_effects(w);
		OK(nh_orchestrator_remind(&w->ctx, &reminded, E(w)));
		CHECK(reminded == looks[i].reminded && pushes(w, "update") == reminded);
	}

	/* who said something, or is not there, is left alone */
	OK(join(w, u.device, 1, "1.0.0", &u.session));
	OK(nh_update_push(&w->ctx, &w->as_ada, w->acme.id, u.device, fw_uuid(w, 2), E(w)));
	w->now_us += 61 * NH_US_PER_S;
	OK(nh_session_disconnect(&w->ctx, u.device, u.session.connection_id, NH_SLICE_EMPTY, E(w)));
	OK(nh_orchestrator_remind(&w->ctx, &reminded, E(w)));
	CHECK(reminded == 0);

	/* a person's push of which nothing was heard comes again with the join, and is over in half an hour all the same */
	forget_effects(w);
	OK(join(w, u.device, 1, "1.0.0", &u.session));
	CHECK(pushes(w, "update") == 1 && holds(pushed(w, u.device, "update"), "\"deployment_id\":null"));
	OK(nh_orchestrator_remind(&w->ctx, &reminded, E(w)));
	CHECK(reminded == 1);
	OK(event(w, &u.session, "status_update", "{\"status\":\"received\"}"));
	w->now_us += 61 * NH_US_PER_S;
	OK(nh_orchestrator_remind(&w->ctx, &reminded, E(w)));
	CHECK(reminded == 0);
	forget_effects(w);
	OK(join(w, u.device, 1, "1.0.0", &u.session)); /* it had it, and came back without: that one is over */
	OK(nh_device_facts_load(&w->ctx, u.device, &d, E(w)));
	CHECK(pushes(w, "update") == 0 && !d.inflight);
	return NH_OK;
}
static void test_lost_pushes(void **state) { on_each_engine(lost_pushes, NULL); }

/* ---- by hand ------------------------------------------------------------------------------------------------------------------ */

static nh_rc by_hand(struct world *w, struct nh_err *err)
{
	struct world_update u;
	struct nh_device_facts d;
	struct nh_inflight row;
	struct nh_orchestrator_result run;
	int64_t id;
	nh_slice uuid2 = fw_uuid(w, 2);
	NH_TRY(offered(w, &u, err));
	NH_TRY(add_firmware_for(w, 3, "3.0.0", "bbb", &id, err));
	CHECK_RC(NH_ECONFLICT, nh_update_push(&w->ctx, &w->as_ada, w->acme.id, u.device, uuid2, E(w)));
	CHECK_RC(NH_ECONFLICT, nh_update_push_available(&w->ctx, &w->as_ada, w->acme.id, u.device, E(w)));
	CHECK(strstr(w->last.msg, "an update is in flight"));
	OK(join(w, u.device, 1, "1.0.0", &u.session)); /* without the update */
	CHECK_RC(NH_ENOTFOUND, nh_update_push(&w->ctx, &w->as_eve, w->other.id, u.device, uuid2, E(w)));
	CHECK_RC(NH_ENOTFOUND, nh_update_push(&w->ctx, &w->as_ada, w->acme.id, u.device, NH_LIT("unknown"), E(w)));
	CHECK_RC(NH_EINVAL, nh_update_push(&w->ctx, &w->as_ada, w->acme.id, u.device, fw_uuid(w, 3), E(w)));
	OK(nh_update_push_available(&w->ctx, &w->as_ada, w->acme.id, u.device, E(w)));
	OK(nh_inflight_get(&w->ctx, u.device, &row, E(w)));
	CHECK(row.group_id == u.group.id);

	OK(join(w, u.device, 1, "1.0.0", &u.session));
	forget_effects(w);
	OK(nh_update_push(&w->ctx, &w->as_ada, w->acme.id, u.device, uuid2, E(w)));
	CHECK(holds(pushed(w, u.device, "update"), "\"deployment_id\":null"));
	OK(nh_device_facts_load(&w->ctx, u.device, &d, E(w)));
	CHECK(!d.updates_enabled && d.inflight && d.inflight_group_id == 0);
	CHECK(audited(w, NH_AUDIT_DEVICE, u.device, "Ada Lovelace pushed firmware 1.1.0"));
	/* a manual update that fails blocks nobody, but its reason is kept */
	OK(event(w, &u.session, "status_update", "{\"status\":\"failed\",\"reason\":\"no space\"}"));
	OK(nh_device_facts_load(&w->ctx, u.device, &d, E(w)));
	CHECK(d.blocked_until_us == 0 && nh_slice_eq_str(d.last_failure, "no space"));
	OK(run_group(w, u.group.id, &run));
	CHECK(run.sent == 0);
	forget_effects(w);
	OK(nh_updates_enable(&w->ctx, &w->as_ada, w->acme.id, u.device, true, E(w)));
	CHECK(effects_of(w, NH_EFFECT_GROUP_WAKE) == 1 && effects_of(w, NH_EFFECT_DEVICE_SETTINGS) == 1);
	OK(run_group(w, u.group.id, &run));
	CHECK(run.sent == 1);

	forget_effects(w);
	OK(nh_device_reboot(&w->ctx, &w->as_ada, w->acme.id, u.device, E(w)));
	OK(nh_device_identify(&w->ctx, &w->as_ada, w->acme.id, u.device, E(w)));
	OK(nh_device_reconnect(&w->ctx, &w->as_ada, w->acme.id, u.device, E(w)));
	CHECK(nh_slice_eq_str(pushed(w, u.device, "reboot"), "{}") && nh_slice_eq_str(pushed(w, u.device, "identify"), "{}"));
	CHECK(effects_of(w, NH_EFFECT_DEVICE_CLOSE) == 1 && audited(w, NH_AUDIT_DEVICE, u.device, "to reboot"));
	CHECK_RC(NH_ENOTFOUND, nh_device_reboot(&w->ctx, &w->as_eve, w->other.id, u.device, E(w)));
	CHECK_RC(NH_ENOTFOUND, nh_device_identify(&w->ctx, &w->as_eve, w->other.id, u.device, E(w)));
	CHECK_RC(NH_ENOTFOUND, nh_device_reconnect(&w->ctx, &w->as_eve, w->other.id, u.device, E(w)));
	CHECK_RC(NH_ENOTFOUND, nh_updates_enable(&w->ctx, &w->as_eve, w->other.id, u.device, true, E(w)));
	CHECK_RC(NH_ENOTFOUND, nh_penalty_clear(&w->ctx, &w->as_eve, w->other.id, u.device, E(w)));
	CHECK_RC(NH_ENOTFOUND, nh_update_push_available(&w->ctx, &w->as_eve, w->other.id, u.device, E(w)));
	return NH_OK;
}
static void test_by_hand(void **state) { on_each_engine(by_hand, NULL); }

/* ---- order, limits, filters ---------------------------------------------------------------------------------------------------- */

static nh_rc queues(struct world *w, struct nh_err *err)
{
	struct nh_group g;
	struct nh_session s[6];
	struct nh_orchestrator_result run;
	int64_t device[6];
	NH_TRY(add_firmware(w, 1, "1.0.0", err));
	NH_TRY(add_firmware(w, 2, "1.1.0", err));
	NH_TRY(add_firmware(w, 3, "0.9.0", err));
	json_t *fields = group_fields(w, "g", 2);
	json_object_set_new(fields, "concurrent_updates", json_integer(2));
	OK(add_group(w, fields, &g));
	for (int i = 0; i < 6; i++) {
		char name[16];
		snprintf(name, sizeof(name), "d-%d", i);
		NH_TRY(add_device(w, name, i == 5 ? "[\"special\"]" : NULL, &device[i], err));
		w->now_us += NH_US_PER_S;
		OK(i % 2 ? join(w, device[i], 1, "1.0.0", &s[i]) : join(w, device[i], 3, "0.9.0", &s[i]));
	}
	/* longest connected first, over both firmwares */
	OK(run_group(w, g.id, &run));
	CHECK(run.sent == 2 && pushed(w, device[0], "update").ptr && pushed(w, device[1], "update").ptr);
	OK(run_group(w, g.id, &run));
	CHECK(run.sent == 0 && run.inflight == 2);

	/* priority queue: old versions beside the limit */
	NH_AUTO_JSON json_t *priority = json_pack("{s:b, s:s, s:i}", "priority_queue_enabled", 1, "priority_queue_firmware_version_threshold", "0.9.5",
	                                          "priority_queue_concurrent_updates", 1);
	OK(nh_group_update(&w->ctx, &w->as_ada, &g, priority, &g, NO_ERRORS(w), E(w)));
	OK(run_group(w, g.id, &run));
	CHECK(run.sent == 1 && run.inflight == 3 && pushed(w, device[2], "update").ptr);

	/* newest first, release tags, interface */
	forget_effects(w);
	NH_AUTO_JSON json_t *tagged = parsed("{\"priority_queue_enabled\":false,\"queue_management\":\"LIFO\",\"release_tags\":[\"special\"],"
	                                     "\"release_network_interfaces\":[\"wifi\"],\"concurrent_updates\":3}");
	OK(nh_group_update(&w->ctx, &w->as_ada, &g, tagged, &g, NO_ERRORS(w), E(w)));
	OK(run_group(w, g.id, &run));
	CHECK(run.sent == 0);
	OK(event(w, &s[5], "report_network_interface", "{\"interface\":\"wlan0\"}"));
	OK(event(w, &s[4], "report_network_interface", "{\"interface\":\"wlan0\"}"));
	OK(run_group(w, g.id, &run));
	CHECK(run.sent == 1 && pushed(w, device[5], "update").ptr);
	NH_AUTO_JSON json_t *plain = parsed("{\"release_tags\":[],\"release_network_interfaces\":[],\"concurrent_updates\":4}");
	OK(nh_group_update(&w->ctx, &w->as_ada, &g, plain, &g, NO_ERRORS(w), E(w)));
	OK(run_group(w, g.id, &run));
	CHECK(run.sent == 1 && pushed(w, device[4], "update").ptr); /* LIFO: 4 before 3 */

	/* offline devices and inactive groups get nothing */
	OK(nh_session_disconnect(&w->ctx, device[3], s[3].connection_id, NH_SLICE_EMPTY, E(w)));
	NH_AUTO_JSON json_t *more = parsed("{\"concurrent_updates\":100}");
	OK(nh_group_update(&w->ctx, &w->as_ada, &g, more, &g, NO_ERRORS(w), E(w)));
	OK(run_group(w, g.id, &run));
	CHECK(run.sent == 0);
	OK(join(w, device[3], 1, "1.0.0", &s[3]));
	NH_AUTO_JSON json_t *off = parsed("{\"state\":\"off\"}");
	OK(nh_group_update(&w->ctx, &w->as_ada, &g, off, &g, NO_ERRORS(w), E(w)));
	OK(run_group(w, g.id, &run));
	CHECK(run.sent == 0);
	int64_t ids[4];
	size_t count;
	OK(nh_orchestrator_groups(&w->ctx, 0, ids, 4, &count, E(w)));
	CHECK(count == 0);
	OK(run_group(w, 12345, &run));
	CHECK(run.sent == 0 && run.inflight == 0);

	OK(event(w, &s[4], "connection_types", "{\"values\":[\"wifi\",5,\"cellular\"]}"));
	OK(event(w, &s[4], "connection_types", "{\"values\":\"wifi\"}"));
	OK(event(w, &s[4], "report_network_interface", "{\"interface\":7}"));
	struct nh_connection c;
	OK(nh_connection_get(&w->ctx, device[4], &c, E(w)));
	CHECK(holds(c.metadata, "[\"wifi\",\"cellular\"]") && nh_slice_eq_str(c.network_interface, "wifi"));
	return NH_OK;
}
static void test_queues(void **state) { on_each_engine(queues, NULL); }

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_connections), cmocka_unit_test(test_openings), cmocka_unit_test(test_late_openings),
		cmocka_unit_test(test_restarts), cmocka_unit_test(test_lost_pushes), cmocka_unit_test(test_payloads), cmocka_unit_test(test_success), cmocka_unit_test(test_asking),
		cmocka_unit_test(test_failures),    cmocka_unit_test(test_reschedules), cmocka_unit_test(test_reverts),
		cmocka_unit_test(test_penalties),   cmocka_unit_test(test_by_hand),  cmocka_unit_test(test_queues),
	};
	return cmocka_run_group_tests_name("hub_rollout_sessions", tests, NULL, NULL);
}
