/*
 * Archives, whom they are told to and when; support scripts; connecting code. As rows and effects.
 */
#include "rollout_world.h"

#include "base/encode.h"
#include "hub/archives.h"
#include "hub/download.h"
#include "hub/keys.h"
#include "hub/firmware.h"
#include "hub/scripts.h"

#define KEY1 "9IYP+5uUmFNiL8MLdYueMcog8FSfMHWSsf3+JG2ajd0="
#define ARCHIVE "aaaaaaaa-0000-4000-8000-00000000000%d"

/* ---- archives as rows ----------------------------------------------------------------------------------------------------- */

static nh_slice archive_uuid(struct world *w, int number) { return nh_slice_str(nh_arena_printf(&w->arena, ARCHIVE, number)); }

static struct nh_firmware_facts facts_of(struct world *w, int number, const char *version, int64_t key_id)
{
	return (struct nh_firmware_facts){.org_key_id = key_id, .product = NH_LIT("Any product"), .uuid = archive_uuid(w, number), .version = nh_slice_str(version),
		.platform = NH_LIT("generic"), .architecture = NH_LIT("generic"), .description = NH_LIT("data"), .size_bytes = 1234, .checksum = NH_LIT("AB"),
		.partials_checksums = NH_LIT("[]")};
}

static nh_rc key_of(struct world *w, int64_t *id, struct nh_err *err)
{
	struct nh_org_key key;
	if (nh_org_key_open(&w->ctx, &w->as_ada, w->acme.id, NH_LIT("k1"), &key, E(w)) != NH_OK)
		OK(nh_org_key_create(&w->ctx, &w->as_ada, w->acme.id, NH_LIT("k1"), NH_LIT(KEY1), NH_SLICE_EMPTY, &key, NO_ERRORS(w), E(w)));
	*id = key.id;
	return NH_OK;
}

static nh_rc add_archive(struct world *w, int number, const char *version, struct nh_archive *out, struct nh_err *err)
{
	struct nh_firmware_intake intake;
	int64_t key = 0;
	nh_slice object;
	NH_TRY(key_of(w, &key, err));
	OK(nh_archive_intake_open(&w->ctx, &w->as_ada, w->acme.id, w->widget.name, &intake, E(w)));
	struct nh_firmware_facts facts = facts_of(w, number, version, key);
	NH_TRY(nh_archive_claim(&w->ctx, &w->as_ada, &intake, &facts, &object, NO_ERRORS(w), E(w)));
	return nh_archive_publish(&w->ctx, &w->as_ada, &intake, &facts, object, out, NO_ERRORS(w), E(w));
}

static nh_rc rows(struct world *w, struct nh_err *err)
{
	struct nh_firmware_intake intake;
	struct nh_archive a, b, *list;
	struct nh_group g;
	size_t count;
	nh_slice *due;
	CHECK_RC(NH_ENOTFOUND, nh_archive_intake_open(&w->ctx, &w->as_eve, w->acme.id, w->widget.name, &intake, E(w)));
	w->config.max_archive_bytes = 77;
	OK(nh_archive_intake_open(&w->ctx, &w->as_ada, w->acme.id, w->widget.name, &intake, E(w)));
	CHECK(intake.kind == NH_INTAKE_ARCHIVE && intake.max_bytes == 77);
	w->config.max_archive_bytes = 0;
	OK(nh_archive_intake_open(&w->ctx, &w->as_ada, w->acme.id, w->widget.name, &intake, E(w)));
	CHECK(intake.max_bytes == 200000000);

	OK(add_archive(w, 1, "1.9.0", &a, err));
	OK(add_archive(w, 2, "1.10.0", &b, err));
	CHECK(nh_slice_starts(a.object_key, NH_LIT("archives/")) && !nh_slice_eq(a.object_key, b.object_key) && a.size_bytes == 1234);
	CHECK(nh_slice_eq_str(a.product_name, "Thermo Widget")); /* whatever the file says */
	CHECK_RC(NH_EINVAL, add_archive(w, 1, "2.0.0", &b, err));
	CHECK(refused_with(w, "uuid", "has already been taken"));
	OK(nh_loose_objects_due(&w->ctx, 10, &due, &count, E(w)));
	CHECK(count == 0);

	OK(nh_archive_list(&w->ctx, &w->as_ada, &w->widget, &list, &count, E(w)));
	CHECK(count == 2 && nh_slice_eq_str(list[0].version, "1.10.0"));
	CHECK_RC(NH_ENOTFOUND, nh_archive_list(&w->ctx, &w->as_eve, &w->widget, &list, &count, E(w)));
	CHECK_RC(NH_ENOTFOUND, nh_archive_open(&w->ctx, &w->as_ada, &w->widget, NH_LIT("none"), NH_MAY_ARCHIVE_SEE, &b, E(w)));
	/* the key that signed it stays as long as it does */
	CHECK_RC(NH_ECONFLICT, nh_org_key_delete(&w->ctx, &w->as_ada, w->acme.id, NH_LIT("k1"), NO_ERRORS(w), E(w)));

	/* a release that uses it keeps it, also once another release is the current one */
	NH_TRY(add_firmware(w, 1, "1.0.0", err));
	json_t *fields = group_fields(w, "all", 1);
	json_object_set_new(fields, "archive", nh_json_new_text(archive_uuid(w, 1)));
	OK(add_group(w, fields, &g));
	CHECK(g.release.archive_id == a.id && nh_slice_eq(g.release.archive_uuid, archive_uuid(w, 1)));
	fields = group_fields(w, "all", 1);
	OK(nh_group_update(&w->ctx, &w->as_ada, &g, fields, &g, NO_ERRORS(w), E(w)));
	json_decref(fields);
	CHECK(g.release.number == 2 && g.release.archive_id == 0 && !g.release.archive_uuid.ptr);
	CHECK_RC(NH_ECONFLICT, nh_archive_delete(&w->ctx, &w->as_ada, &w->widget, archive_uuid(w, 1), NO_ERRORS(w), E(w)));
	CHECK(refused_with(w, "deployment_releases", "Archive has associated deployment releases"));

	forget_effects(w);
	OK(nh_archive_delete(&w->ctx, &w->as_ada, &w->widget, archive_uuid(w, 2), NO_ERRORS(w), E(w)));
	CHECK(effects_of(w, NH_EFFECT_OBJECT_DELETE) == 1);
	OK(nh_loose_objects_due(&w->ctx, 10, &due, &count, E(w)));
	CHECK(count == 1 && nh_slice_starts(due[0], NH_LIT("archives/")));
	CHECK_RC(NH_ENOTFOUND, nh_archive_delete(&w->ctx, &w->as_ada, &w->widget, archive_uuid(w, 2), NO_ERRORS(w), E(w)));
	CHECK(audited(w, NH_AUDIT_PRODUCT, w->widget.id, "uploaded archive 1.9.0") && audited(w, NH_AUDIT_PRODUCT, w->widget.id, "deleted archive 1.10.0"));
	return NH_OK;
}
static void test_rows(void **state) { on_each_engine(rows, NULL); }

/* ---- what nobody uses any more ---------------------------------------------------------------------------------------------- */

static bool is_there(struct world *w, int firmware)
{
	struct nh_firmware f;
	return nh_firmware_open(&w->ctx, &w->as_ada, &w->widget, fw_uuid(w, firmware), NH_MAY_FIRMWARE_SEE, &f, E(w)) == NH_OK;
}

/* 1 named by an earlier release, 2 by the current one, 3 run by a device, 4 on its way to one, 5 of another platform and alone there, 6 to 9 used by nobody, 10 and 11 new. */
static nh_rc retention(struct world *w, struct nh_err *err)
{
	static const char *const versions[] = {"", "1.0.0", "1.1.0", "1.2.0", "1.3.0", "1.0.0", "1.4.0", "1.5.0", "1.6.0", "1.7.0", "0.1.0", "0.2.0"};
	static const struct {
		struct nh_file_retention keep;
		bool stays[12];
		size_t firmwares, archives;
	} table[] = {
		{{0, 0}, {0, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1}, 0, 0},
		{{31, 0}, {0, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1}, 0, 0},
		{{29, 3}, {0, 1, 1, 1, 1, 1, 0, 1, 1, 1, 1, 1}, 1, 0},
		{{29, 1}, {0, 1, 1, 1, 1, 1, 0, 0, 0, 1, 1, 1}, 2, 1},
		{{29, 0}, {0, 1, 1, 1, 1, 0, 0, 0, 0, 0, 1, 1}, 2, 1},
	};
	struct nh_archive archive;
	struct nh_group g;
	struct nh_session s;
	int64_t ids[12], device;
	size_t trimmed, count;
	nh_slice *due;
	for (int i = 1; i <= 9; i++)
		NH_TRY(add_firmware_for(w, i, versions[i], i == 5 ? "rpi0" : "rpi4", &ids[i], err));
	OK(add_archive(w, 1, "1.0.0", &archive, err));
	OK(add_archive(w, 2, "2.0.0", &archive, err));
	OK(add_group(w, group_fields(w, "all", 1), &g));
	NH_AUTO_JSON json_t *fields = group_fields(w, "all", 2);
	OK(nh_group_update(&w->ctx, &w->as_ada, &g, fields, &g, NO_ERRORS(w), E(w)));
	NH_TRY(add_device(w, "d1", "[]", &device, err));
	OK(join(w, device, 3, versions[3], &s));
	OK(nh_sql_exec(w->ctx.tx, &nh_q_inflight_insert, NH_PARAMS(nh_p_int(device), nh_p_int(g.id), nh_p_int(ids[4]), nh_p_text(fw_uuid(w, 4)), nh_p_int(0), nh_p_int(w->now_us)), NULL, err));
	w->now_us += 30 * INT64_C(86400) * NH_US_PER_S;
	NH_TRY(add_firmware(w, 10, versions[10], err));
	NH_TRY(add_firmware(w, 11, versions[11], err));
	forget_effects(w);
	for (size_t i = 0; i < NH_ARRAY_LEN(table); i++) {
		OK(nh_files_trim(&w->ctx, &table[i].keep, &trimmed, err));
		CHECK(trimmed == table[i].firmwares + table[i].archives);
		for (int f = 1; f < 12; f++)
			CHECK(is_there(w, f) == table[i].stays[f]);
	}
	CHECK(effects_of(w, NH_EFFECT_OBJECT_DELETE) == 7);
	OK(nh_loose_objects_due(&w->ctx, 20, &due, &count, E(w)));
	CHECK(count == 7);
	CHECK(audited(w, NH_AUDIT_PRODUCT, w->widget.id, "firmware 1.7.0") && audited(w, NH_AUDIT_PRODUCT, w->widget.id, "archive 2.0.0"));
	return NH_OK;
}
static void test_retention(void **state) { on_each_engine(retention, NULL); }

static nh_rc release_input(struct world *w, struct nh_err *err)
{
	static const struct {
		const char *fields, *field, *text; /* text NULL: taken, with the archive where field is set */
	} table[] = {
		{"{\"firmware\":\"00000000-0000-4000-8000-000000000001\",\"archive\":\"aaaaaaaa-0000-4000-8000-000000000001\"}", "archive", NULL},
		{"{\"firmware\":\"00000000-0000-4000-8000-000000000001\",\"archive\":null}", NULL, NULL},
		{"{\"firmware\":\"00000000-0000-4000-8000-000000000001\"}", NULL, NULL},
		{"{\"firmware\":\"00000000-0000-4000-8000-000000000001\",\"archive\":\"\"}", "archive", "does not exist"},
		{"{\"firmware\":\"00000000-0000-4000-8000-000000000001\",\"archive\":\"nothing\"}", "archive", "does not exist"},
		{"{\"firmware\":\"00000000-0000-4000-8000-000000000001\",\"archive\":7}", "archive", "does not exist"},
		{"{\"firmware\":\"00000000-0000-4000-8000-000000000001\",\"archive_id\":4711}", "archive_id", "does not exist"},
		{"{\"firmware\":\"00000000-0000-4000-8000-000000000001\",\"archive_id\":\"1\"}", "archive_id", "does not exist"},
		{"{\"archive\":\"aaaaaaaa-0000-4000-8000-000000000001\"}", "firmware", "can't be blank"},
	};
	struct nh_archive a;
	struct nh_group g;
	NH_TRY(add_firmware(w, 1, "1.0.0", err));
	OK(add_archive(w, 1, "1.0.0", &a, err));
	OK(add_group(w, group_fields(w, "all", 1), &g));
	for (size_t i = 0; i < NH_ARRAY_LEN(table); i++) {
		json_t *fields = NULL;
		OK(nh_json_parse(nh_slice_str(table[i].fields), 1000, &fields, E(w)));
		nh_rc rc = nh_group_update(&w->ctx, &w->as_ada, &g, fields, &g, NO_ERRORS(w), E(w));
		json_decref(fields);
		if (rc != (table[i].text ? NH_EINVAL : NH_OK) || (table[i].text && !refused_with(w, table[i].field, table[i].text)) ||
		    (!table[i].text && (g.release.archive_id != 0) != (table[i].field != NULL)))
			return NH_FAIL(err, NH_EINTERNAL, "%s: %s", table[i].fields, nh_rc_name(rc));
	}
	json_t *fields = json_pack("{s:s, s:I}", "firmware", "00000000-0000-4000-8000-000000000001", "archive_id", (json_int_t)a.id);
	nh_rc rc = nh_group_update(&w->ctx, &w->as_ada, &g, fields, &g, NO_ERRORS(w), E(w));
	json_decref(fields);
	CHECK(rc == NH_OK && g.release.archive_id == a.id);
	NH_AUTO_JSON json_t *shown = nh_group_json(&g);
	CHECK(nh_slice_eq(nh_json_text(shown, "archive_uuid"), archive_uuid(w, 1)));
	return NH_OK;
}
static void test_release_input(void **state) { on_each_engine(release_input, NULL); }

static nh_rc downloads(struct world *w, struct nh_err *err)
{
	struct nh_archive a;
	struct nh_download_target target;
	NH_AUTO_BUF struct nh_buf path = NH_BUF_INIT, url = NH_BUF_INIT;
	OK(add_archive(w, 1, "1.0.0", &a, err));
	nh_download_archive_path(&path, w->widget.id, a.uuid);
	OK(nh_download_resolve(&w->ctx, nh_buf_slice(&path), &target, E(w)));
	CHECK(target.id == a.id && target.size_bytes == 1234 && nh_slice_eq(target.object_key, a.object_key));
	static const char *const wrong[] = {"/uploads/archives/1/none.fw", "/uploads/archives/none.fw", "/uploads/archives/x/y.fw", "/uploads/archives/1/.fw", "/uploads/archives",
	                                    "/uploads/archives/999/aaaaaaaa-0000-4000-8000-000000000001.fw"};
	for (size_t i = 0; i < NH_ARRAY_LEN(wrong); i++)
		CHECK_RC(NH_ENOTFOUND, nh_download_resolve(&w->ctx, nh_slice_str(wrong[i]), &target, E(w)));
	/* neither of the two links opens the other's door */
	nh_download_url(&w->config, nh_buf_slice(&path), NH_SLICE_EMPTY, w->now_us, &url);
	nh_slice head, query;
	nh_slice_cut(nh_buf_slice(&url), '?', &head, &query);
	OK(nh_download_check(&w->config, nh_buf_slice(&path), query, w->now_us, E(w)));
	NH_AUTO_BUF struct nh_buf other = NH_BUF_INIT;
	nh_download_path(&other, w->acme.id, a.uuid);
	CHECK_RC(NH_EAUTH, nh_download_check(&w->config, nh_buf_slice(&other), query, w->now_us, E(w)));
	return NH_OK;
}
static void test_downloads(void **state) { on_each_engine(downloads, NULL); }

/* ---- telling devices ------------------------------------------------------------------------------------------------------ */

static json_t *join_of(struct world *w, const char *api)
{
	json_t *payload = join_payload(w, 1, "1.0.0");
	if (api)
		json_object_set_new(payload, "device_api_version", json_string(api));
	else
		json_object_del(payload, "device_api_version");
	return payload;
}

static nh_rc group_with_archive(struct world *w, struct nh_group *g, struct nh_err *err)
{
	struct nh_archive a;
	NH_TRY(add_firmware(w, 1, "1.0.0", err));
	OK(add_archive(w, 1, "1.0.0", &a, err));
	json_t *fields = group_fields(w, "all", 1);
	json_object_set_new(fields, "archive", nh_json_new_text(a.uuid));
	OK(add_group(w, fields, g));
	return NH_OK;
}

static nh_rc at_joins(struct world *w, struct nh_err *err)
{
	static const struct {
		const char *api;
		bool disabled, blocked, told;
	} table[] = {
		{"2.0.0", false, false, true},  {"2.3.0", false, false, true},  {"1.9.9", false, false, false}, {"2.0.0-rc.1", false, false, false},
		{NULL, false, false, false},    {"two", false, false, false},   {"2.0.0", true, false, false},  {"2.0.0", false, true, false},
	};
	struct nh_group g;
	NH_TRY(group_with_archive(w, &g, err));
	for (size_t i = 0; i < NH_ARRAY_LEN(table); i++) {
		struct nh_session s;
		struct nh_join_result result;
		int64_t device;
		NH_TRY(add_device(w, nh_arena_printf(&w->arena, "d-%zu", i), NULL, &device, err));
		OK(join(w, device, 1, "1.0.0", &s)); /* what is new with it is known then */
		if (table[i].disabled)
			OK(nh_updates_enable(&w->ctx, &w->as_ada, w->acme.id, device, false, E(w)));
		if (table[i].blocked)
			NH_TRY(nh_sql_exec(w->ctx.tx, &nh_q_device_set_blocked, NH_PARAMS(nh_p_int(w->now_us + 1), nh_p_int(w->now_us), nh_p_int(device)), NULL, err));
		forget_effects(w);
		OK(join_with(w, device, join_of(w, table[i].api), &s, &result));
		CHECK(result.group_id == g.id);
		if ((pushed(w, device, "archive").ptr != NULL) != table[i].told)
			return NH_FAIL(err, NH_EINTERNAL, "row %zu", i);
		CHECK(!audited(w, NH_AUDIT_DEVICE, device, "told of archive"));
	}
	return NH_OK;
}
static void test_at_joins(void **state) { on_each_engine(at_joins, NULL); }

/* What existing clients decode. source: reference/device-protocol "8.3" */
static nh_rc payload(struct world *w, struct nh_err *err)
{
	struct nh_group g;
	struct nh_session s;
	int64_t device;
	NH_TRY(group_with_archive(w, &g, err));
	NH_TRY(add_device(w, "d", NULL, &device, err));
	OK(join(w, device, 1, "1.0.0", &s));
	json_t *sent = NULL;
	OK(nh_json_parse(pushed(w, device, "archive"), 10000, &sent, E(w)));
	static const char start[] = "https://devices.example.com/uploads/archives/";
	nh_slice url = nh_slice_str(nh_arena_str(&w->arena, nh_json_text(sent, "url")));
	json_object_del(sent, "url");
	NH_AUTO_BUF struct nh_buf rest = NH_BUF_INIT;
	nh_json_put(&rest, sent);
	json_decref(sent);
	CHECK(nh_slice_starts(url, nh_slice_of(start, sizeof start - 1)) && holds(url, "/aaaaaaaa-0000-4000-8000-000000000001.fw?expires=") && holds(url, "&signature="));
	CHECK(nh_slice_eq_str(nh_buf_slice(&rest), "{\"size\":1234,\"uuid\":\"aaaaaaaa-0000-4000-8000-000000000001\",\"version\":\"1.0.0\",\"description\":\"data\",\"platform\":\"generic\","
	                            "\"architecture\":\"generic\",\"uploaded_at\":\"2027-01-15T08:00:00\"}"));
	return NH_OK;
}
static void test_payload(void **state) { on_each_engine(payload, NULL); }

/* Between joins: the device's row, its group, the end of its penalty; each with an audit entry. */
static nh_rc at_changes(struct world *w, struct nh_err *err)
{
	struct nh_group g, without;
	struct nh_session s;
	struct nh_device d;
	int64_t device, away;
	NH_TRY(group_with_archive(w, &g, err));
	OK(add_group(w, group_fields(w, "bare", 1), &without));
	NH_TRY(add_device(w, "d", NULL, &device, err));
	NH_TRY(add_device(w, "away", NULL, &away, err));
	OK(join(w, device, 1, "1.0.0", &s));
	const struct {
		json_t *fields;
		bool told;
	} table[] = {
		{json_pack("{s:s}", "description", "on the roof"), true},
		{json_pack("{s:I}", "deployment_id", (json_int_t)without.id), false},
		{json_pack("{s:I}", "deployment_id", (json_int_t)g.id), true},
		{json_pack("{s:b}", "updates_enabled", 0), false},
		{json_pack("{s:b}", "updates_enabled", 1), true},
		{json_pack("{s:n}", "deployment_id"), false},
		{json_pack("{s:I, s:b}", "deployment_id", (json_int_t)g.id, "updates_enabled", 1), true},
	};
	for (size_t i = 0; i < NH_ARRAY_LEN(table); i++) {
		forget_effects(w);
		OK(nh_device_by_id(&w->ctx, device, &d, E(w)));
		OK(nh_device_update(&w->ctx, &w->as_ada, &d, table[i].fields, &d, NO_ERRORS(w), E(w)));
		json_decref(table[i].fields);
		if (pushes(w, "archive") != table[i].told)
			return NH_FAIL(err, NH_EINTERNAL, "row %zu: %zu pushes", i, pushes(w, "archive"));
	}
	CHECK(audited(w, NH_AUDIT_DEVICE, device, "told of archive aaaaaaaa"));

	struct nh_device_facts facts;
	OK(nh_device_facts_load(&w->ctx, device, &facts, E(w)));
	forget_effects(w);
	OK(nh_penalty_box(&w->ctx, &facts, &g, E(w)));
	OK(nh_archive_tell_changed(&w->ctx, device, E(w)));
	CHECK(pushes(w, "archive") == 0);
	OK(nh_penalty_clear(&w->ctx, &w->as_ada, w->acme.id, device, E(w)));
	CHECK(pushes(w, "archive") == 1);

	/* nobody is told who is not there */
	forget_effects(w);
	OK(nh_group_assign(&w->ctx, &w->as_ada, w->acme.id, away, &g, E(w)));
	OK(nh_archive_tell_changed(&w->ctx, away, E(w)));
	OK(nh_archive_tell_changed(&w->ctx, away + 999, E(w)));
	OK(nh_session_disconnect(&w->ctx, device, s.connection_id, NH_SLICE_EMPTY, E(w)));
	OK(nh_archive_tell_changed(&w->ctx, device, E(w)));
	CHECK(pushes(w, "archive") == 0);
	return NH_OK;
}
static void test_at_changes(void **state) { on_each_engine(at_changes, NULL); }

static nh_rc release_archive(struct world *w, struct nh_group *g, int archive)
{
	json_t *fields = group_fields(w, "all", 1);
	json_object_del(fields, "state");
	json_object_set_new(fields, "archive", archive ? nh_json_new_text(archive_uuid(w, archive)) : json_null());
	nh_rc rc = nh_group_update(&w->ctx, &w->as_ada, g, fields, g, NO_ERRORS(w), E(w));
	json_decref(fields);
	return rc;
}

#define MEMBERS 205

/* A release reaches a fleet a batch at a time, each member once, and only who may hear of it; also where the group is not active. */
static nh_rc spread(struct world *w, struct nh_err *err)
{
	struct nh_orchestrator_result result;
	struct nh_archive a;
	struct nh_group g;
	struct nh_session s;
	int64_t ids[MEMBERS], old, off;
	NH_TRY(add_firmware(w, 1, "1.0.0", err));
	OK(add_archive(w, 1, "1.0.0", &a, err));
	OK(add_archive(w, 2, "2.0.0", &a, err));
	OK(add_group(w, group_fields(w, "all", 1), &g));
	for (size_t i = 0; i < MEMBERS; i++) {
		NH_TRY(add_device(w, nh_arena_printf(&w->arena, "d-%zu", i), NULL, &ids[i], err));
		OK(join(w, ids[i], 1, "1.0.0", &s));
	}
	struct nh_join_result joined;
	NH_TRY(add_device(w, "old", NULL, &old, err));
	OK(join_with(w, old, join_of(w, "1.0.0"), &s, &joined));
	NH_TRY(add_device(w, "off", NULL, &off, err));
	OK(join(w, off, 1, "1.0.0", &s));
	OK(nh_updates_enable(&w->ctx, &w->as_ada, w->acme.id, off, false, E(w)));
	NH_AUTO_JSON json_t *inactive = json_pack("{s:s}", "state", "off");
	OK(nh_group_update(&w->ctx, &w->as_ada, &g, inactive, &g, NO_ERRORS(w), E(w)));

	forget_effects(w);
	OK(release_archive(w, &g, 1));
	CHECK(pushes(w, "archive") == 0 && effects_of(w, NH_EFFECT_GROUP_WAKE) == 1);
	static const size_t batches[] = {NH_ORCHESTRATOR_BATCH, NH_ORCHESTRATOR_BATCH, MEMBERS - 2 * NH_ORCHESTRATOR_BATCH, 0};
	for (size_t i = 0; i < NH_ARRAY_LEN(batches); i++) {
		forget_effects(w);
		OK(run_group(w, g.id, &result));
		CHECK(pushes(w, "archive") == batches[i] && result.more == (i < 2) && result.sent == 0);
	}
	CHECK(!pushed(w, old, "archive").ptr && !audited(w, NH_AUDIT_DEVICE, old, "told") && !audited(w, NH_AUDIT_DEVICE, off, "told"));
	for (size_t i = 0; i < MEMBERS; i++)
		CHECK(audited(w, NH_AUDIT_DEVICE, ids[i], "told of archive aaaaaaaa-0000-4000-8000-000000000001"));

	/* a newer release in the midst of it: everybody hears of that one, from the first on */
	OK(release_archive(w, &g, 1));
	OK(run_group(w, g.id, &result));
	OK(release_archive(w, &g, 2));
	forget_effects(w);
	OK(run_group(w, g.id, &result));
	CHECK(pushes(w, "archive") == NH_ORCHESTRATOR_BATCH && result.more && holds(pushed(w, ids[0], "archive"), "000002"));
	/* and one without: nobody does */
	OK(release_archive(w, &g, 0));
	forget_effects(w);
	OK(run_group(w, g.id, &result));
	CHECK(pushes(w, "archive") == 0 && !result.more);
	return NH_OK;
}
static void test_spread(void **state) { on_each_engine(spread, NULL); }

/* ---- scripts -------------------------------------------------------------------------------------------------------------- */

static nh_rc script_with(struct world *w, const char *fields, struct nh_script *out)
{
	NH_AUTO_JSON json_t *object = NULL;
	nh_rc rc = nh_json_parse(nh_slice_str(fields), 200000, &object, E(w));
	return rc == NH_OK ? nh_script_create(&w->ctx, &w->as_ada, &w->widget, object, out, NO_ERRORS(w), E(w)) : rc;
}

static nh_rc scripts(struct world *w, struct nh_err *err)
{
	struct nh_script a, b;
	struct nh_product other;
	struct nh_actor as_viewer;
	struct nh_user viewer;
	struct nh_member member;
	OK(script_with(w, "{\"name\":\" reboot \",\"text\":\"Nerves.Runtime.reboot()\",\"tags\":\"power, ops\"}", &a));
	CHECK(nh_slice_eq_str(a.name, "reboot") && nh_slice_eq_str(a.tags, "[\"power\",\"ops\"]") && a.creator_id == w->ada.id);
	CHECK(nh_slice_eq_str(a.creator_email, "ada@example.com") && audited(w, NH_AUDIT_PRODUCT, w->widget.id, "Ada Lovelace created support script reboot"));
	OK(script_with(w, "{\"name\":\"reboot\",\"text\":\"1\"}", &b)); /* names need not be unique */
	CHECK(!b.tags.ptr);

	w->now_us += NH_US_PER_S;
	NH_AUTO_JSON json_t *edit = json_pack("{s:s, s:[s]}", "text", "2", "tags", "x");
	OK(nh_script_update(&w->ctx, &w->as_ada, &w->widget, &b, edit, &b, NO_ERRORS(w), E(w)));
	CHECK(nh_slice_eq_str(b.name, "reboot") && nh_slice_eq_str(b.text, "2") && nh_slice_eq_str(b.tags, "[\"x\"]") && b.updated_at_us == w->now_us &&
	      b.inserted_at_us < w->now_us);

	/* who may what */
	NH_TRY(world_user(w, "Vi", "vi@example.com", &viewer, err));
	OK(nh_member_add(&w->ctx, &w->as_ada, w->acme.id, NH_LIT("vi@example.com"), NH_LIT("view"), &member, NO_ERRORS(w), E(w)));
	as_viewer = nh_actor_of_user(&viewer);
	OK(nh_script_open(&w->ctx, &as_viewer, &w->widget, a.id, NH_MAY_SCRIPT_SEE, &a, E(w)));
	CHECK_RC(NH_EPERM, nh_script_update(&w->ctx, &as_viewer, &w->widget, &b, edit, &b, NO_ERRORS(w), E(w)));
	CHECK_RC(NH_EPERM, nh_script_create(&w->ctx, &as_viewer, &w->widget, edit, &b, NO_ERRORS(w), E(w)));
	CHECK_RC(NH_EPERM, nh_script_delete(&w->ctx, &as_viewer, &w->widget, &b, E(w)));
	CHECK_RC(NH_ENOTFOUND, nh_script_open(&w->ctx, &w->as_eve, &w->widget, a.id, NH_MAY_SCRIPT_SEE, &b, E(w)));
	/* another product's scripts are not this one's */
	OK(nh_product_create(&w->ctx, &w->as_ada, w->acme.id, NH_LIT("Other"), &other, NO_ERRORS(w), E(w)));
	CHECK_RC(NH_ENOTFOUND, nh_script_open(&w->ctx, &w->as_ada, &other, a.id, NH_MAY_SCRIPT_SEE, &b, E(w)));

	OK(nh_script_delete(&w->ctx, &w->as_ada, &w->widget, &b, E(w)));
	CHECK_RC(NH_ENOTFOUND, nh_script_open(&w->ctx, &w->as_ada, &w->widget, b.id, NH_MAY_SCRIPT_SEE, &b, E(w)));
	CHECK(audited(w, NH_AUDIT_PRODUCT, w->widget.id, "changed support script") && audited(w, NH_AUDIT_PRODUCT, w->widget.id, "removed support script reboot"));
	return NH_OK;
}
static void test_scripts(void **state) { on_each_engine(scripts, NULL); }

static nh_rc script_refusals(struct world *w, struct nh_err *err)
{
	static const struct {
		const char *fields, *field, *text;
	} table[] = {
		{"{}", "name", "can't be blank"},
		{"{\"name\":\"a\"}", "text", "can't be blank"},
		{"{\"name\":\"  \",\"text\":\"1\"}", "name", "can't be blank"},
		{"{\"name\":null,\"text\":\"1\"}", "name", "can't be blank"},
		{"{\"name\":7,\"text\":\"1\"}", "name", "is invalid"},
		{"{\"name\":\"a\",\"text\":\" \\n\"}", "text", "can't be blank"},
		{"{\"name\":\"a\",\"text\":[1]}", "text", "is invalid"},
		{"{\"name\":\"a\",\"text\":\"1\\u0000\"}", "text", "is invalid"},
		{"{\"name\":\"a\",\"text\":\"1\",\"tags\":\"a b\"}", "tags", "tags cannot contain spaces"},
		{"{\"name\":\"a\",\"text\":\"1\",\"tags\":{}}", "tags", "is invalid"},
	};
	struct nh_script s;
	for (size_t i = 0; i < NH_ARRAY_LEN(table); i++) {
		if (script_with(w, table[i].fields, &s) != NH_EINVAL || !refused_with(w, table[i].field, table[i].text))
			return NH_FAIL(err, NH_EINTERNAL, "%s", table[i].fields);
	}
	CHECK(json_object_size(w->errors) == 1);
	CHECK_RC(NH_EINVAL, script_with(w, "{\"text\":5}", &s));
	CHECK(json_object_size(w->errors) == 2); /* everything that is wrong at once */

	/* characters count, not bytes */
	NH_AUTO_BUF struct nh_buf text = NH_BUF_INIT;
	for (int characters = NH_SCRIPT_NAME_MAX; characters <= NH_SCRIPT_NAME_MAX + 1; characters++) {
		nh_buf_clear(&text);
		nh_buf_put_str(&text, "{\"text\":\"1\",\"name\":\"");
		for (int i = 0; i < characters; i++)
			nh_buf_put_str(&text, "\xc3\xa4");
		nh_buf_put_str(&text, "\"}");
		CHECK_RC(characters == NH_SCRIPT_NAME_MAX ? NH_OK : NH_EINVAL, script_with(w, nh_buf_cstr(&text), &s));
	}
	for (size_t size = 65536; size <= 65537; size++) {
		nh_buf_clear(&text);
		nh_buf_put_str(&text, "{\"name\":\"1\",\"text\":\"");
		for (size_t i = 0; i < size; i++)
			nh_buf_put_u8(&text, 'a');
		nh_buf_put_str(&text, "\"}");
		CHECK_RC(size == 65536 ? NH_OK : NH_EINVAL, script_with(w, nh_buf_cstr(&text), &s));
	}
	for (int i = 2; i < NH_SCRIPTS_MAX; i++)
		OK(script_with(w, "{\"name\":\"a\",\"text\":\"1\"}", &s));
	CHECK_RC(NH_EINVAL, script_with(w, "{\"name\":\"a\",\"text\":\"1\"}", &s));
	CHECK(refused_with(w, NULL, "may have 1000 support scripts"));
	return NH_OK;
}
static void test_script_refusals(void **state) { on_each_engine(script_refusals, NULL); }

static nh_rc script_lists(struct world *w, struct nh_err *err)
{
	static const char *const made[] = {"{\"name\":\"Disk usage\",\"text\":\"1\",\"tags\":[\"disk\",\"Ops\"]}", "{\"name\":\"Reboot\",\"text\":\"1\",\"tags\":[\"ops\"]}",
	                                   "{\"name\":\"Uptime\",\"text\":\"1\"}", "{\"name\":\"Reboot disk\",\"text\":\"1\",\"tags\":[]}"};
	static const struct {
		const char *name, *tags, *search;
		int64_t page, size, total;
		const char *found; /* names */
	} table[] = {
		{"", "", "", 0, 0, 4, "Disk usage,Reboot,Reboot disk,Uptime,"},
		{"rEB", "", "", 0, 0, 2, "Reboot,Reboot disk,"},
		{"", "ops", "", 0, 0, 2, "Disk usage,Reboot,"},
		{"", "ops, disk", "", 0, 0, 1, "Disk usage,"},
		{"", " , ", "", 0, 0, 4, "Disk usage,Reboot,Reboot disk,Uptime,"},
		{"", "", "DISK", 0, 0, 2, "Disk usage,Reboot disk,"},
		{"", "", "ops", 0, 0, 2, "Disk usage,Reboot,"},
		{"reboot", "ops", "", 0, 0, 1, "Reboot,"},
		{"%", "", "", 0, 0, 0, ""},
		{"", "", "", 1, 3, 4, "Disk usage,Reboot,Reboot disk,"},
		{"", "", "", 2, 3, 4, "Uptime,"},
		{"", "", "", 3, 3, 4, ""},
		{"", "ops", "", 2, 1, 2, "Reboot,"},
	};
	struct nh_script s;
	for (size_t i = 0; i < NH_ARRAY_LEN(made); i++)
		OK(script_with(w, made[i], &s));
	for (size_t i = 0; i < NH_ARRAY_LEN(table); i++) {
		const struct nh_script_query q = {nh_slice_str(table[i].name), nh_slice_str(table[i].tags), nh_slice_str(table[i].search), table[i].page, table[i].size};
		struct nh_script_page page;
		NH_AUTO_BUF struct nh_buf found = NH_BUF_INIT;
		OK(nh_script_list(&w->ctx, &w->as_ada, w->acme.id, w->widget.id, &q, &page, E(w)));
		for (size_t k = 0; k < page.count; k++) {
			CHECK(!page.items[k].text.ptr);
			nh_buf_printf(&found, "%.*s,", NH_ARG(page.items[k].name));
		}
		if (page.total != table[i].total || strcmp(nh_buf_cstr(&found), table[i].found) != 0)
			return NH_FAIL(err, NH_EINTERNAL, "row %zu: %lld: %s", i, (long long)page.total, nh_buf_cstr(&found));
	}
	struct nh_script_page page;
	OK(nh_script_list(&w->ctx, &w->as_ada, w->acme.id, w->widget.id, &(struct nh_script_query){.page_size = 5000}, &page, E(w)));
	CHECK(page.page_size == NH_SCRIPT_PAGE_SIZE_MAX);
	CHECK_RC(NH_ENOTFOUND, nh_script_list(&w->ctx, &w->as_eve, w->acme.id, w->widget.id, &(struct nh_script_query){0}, &page, E(w)));
	return NH_OK;
}
static void test_script_lists(void **state) { on_each_engine(script_lists, NULL); }

static nh_rc script_runs(struct world *w, struct nh_err *err)
{
	struct nh_script first, second, run;
	struct nh_device d;
	int64_t device;
	NH_TRY(add_device(w, "d", NULL, &device, err));
	OK(nh_device_by_id(&w->ctx, device, &d, E(w)));
	OK(script_with(w, "{\"name\":\"hello\",\"text\":\"1\"}", &first));
	/* a name that is the other one's number: the name goes first */
	NH_AUTO_JSON json_t *fields = json_pack("{s:o, s:s}", "name", json_sprintf("%lld", (long long)first.id), "text", "2");
	OK(nh_script_create(&w->ctx, &w->as_ada, &w->widget, fields, &second, NO_ERRORS(w), E(w)));
	OK(nh_script_run(&w->ctx, &w->as_ada, &d, NH_LIT("hello"), &run, E(w)));
	CHECK(run.id == first.id && nh_slice_eq_str(run.text, "1"));
	OK(nh_script_run(&w->ctx, &w->as_ada, &d, second.name, &run, E(w)));
	CHECK(run.id == second.id);
	OK(nh_script_run(&w->ctx, &w->as_ada, &d, nh_slice_str(nh_arena_printf(&w->arena, "%lld", (long long)second.id)), &run, E(w)));
	CHECK(run.id == second.id);
	static const char *const none[] = {"", "none", "0", "-1", "99999999999999999999", "\xff"};
	for (size_t i = 0; i < NH_ARRAY_LEN(none); i++)
		CHECK_RC(NH_ENOTFOUND, nh_script_run(&w->ctx, &w->as_ada, &d, nh_slice_str(none[i]), &run, E(w)));
	CHECK_RC(NH_ENOTFOUND, nh_script_run(&w->ctx, &w->as_eve, &d, NH_LIT("hello"), &run, E(w)));
	CHECK(audited(w, NH_AUDIT_DEVICE, device, "Ada Lovelace ran support script hello"));
	return NH_OK;
}
static void test_script_runs(void **state) { on_each_engine(script_runs, NULL); }

/* ---- connecting code ------------------------------------------------------------------------------------------------------ */

static nh_rc set_codes(struct world *w, struct nh_group *g, int64_t device, const char *of_group, const char *of_device, struct nh_err *err)
{
	struct nh_device d;
	NH_AUTO_JSON json_t *group = json_pack("{s:s?}", "connecting_code", of_group), *fields = json_pack("{s:s?}", "connecting_code", of_device);
	OK(nh_group_update(&w->ctx, &w->as_ada, g, group, g, NO_ERRORS(w), E(w)));
	OK(nh_device_by_id(&w->ctx, device, &d, E(w)));
	OK(nh_device_update(&w->ctx, &w->as_ada, &d, fields, &d, NO_ERRORS(w), E(w)));
	return NH_OK;
}

static nh_rc connecting_code(struct world *w, struct nh_err *err)
{
	static const struct {
		const char *group, *device, *api;
		const char *script, *typed; /* what is run, what is typed */
	} table[] = {
		{"IO.puts 1", "IO.puts \"2\"", "2.1.0", "{\"text\":\"IO.puts 1\\nIO.puts \\\"2\\\"\",\"ref\":\"connecting_code\"}", NULL},
		{"IO.puts 1", NULL, "2.3.0", "{\"text\":\"IO.puts 1\",\"ref\":\"connecting_code\"}", NULL},
		{"IO.puts 1", "", "2.3.0", "{\"text\":\"IO.puts 1\",\"ref\":\"connecting_code\"}", NULL},
		{NULL, "2", "2.1.0", "{\"text\":\"2\",\"ref\":\"connecting_code\"}", NULL},
		{"", "2", "2.0.9", NULL, "2"},
		{"1", "2", NULL, NULL, "1\n2"},
		{"1", "2", "2.1.0-rc.1", NULL, "1\n2"},
		{NULL, NULL, "2.1.0", NULL, NULL},
		{"", "", "1.0.0", NULL, NULL},
	};
	struct nh_group g;
	int64_t device;
	NH_TRY(group_with_archive(w, &g, err));
	NH_TRY(add_device(w, "d", NULL, &device, err));
	for (size_t i = 0; i < NH_ARRAY_LEN(table); i++) {
		struct nh_session s;
		struct nh_join_result result;
		NH_TRY(set_codes(w, &g, device, table[i].group, table[i].device, err));
		forget_effects(w);
		OK(join_with(w, device, join_of(w, table[i].api), &s, &result));
		nh_slice script = pushed(w, device, "scripts/run"), typed = NH_SLICE_EMPTY;
		const struct nh_effect *last = NULL; /* to the device */
		for (size_t k = 0; k < w->effects.count; k++) {
			const struct nh_effect *e = &w->effects.items[k];
			typed = e->kind == NH_EFFECT_DEVICE_TYPE ? e->payload : typed;
			last = e->kind == NH_EFFECT_DEVICE_TYPE || e->kind == NH_EFFECT_DEVICE_PUSH ? e : last;
		}
		bool right = table[i].script ? nh_slice_eq_str(script, table[i].script) : !script.ptr;
		right = right && (table[i].typed ? nh_slice_eq_str(typed, table[i].typed) : !typed.ptr);
		if (table[i].script || table[i].typed)
			right = right && last && (last->kind == NH_EFFECT_DEVICE_TYPE || nh_slice_eq_str(last->name, "scripts/run"));
		if (!right)
			return NH_FAIL(err, NH_EINTERNAL, "row %zu: '%.*s' '%.*s'", i, NH_ARG(script), NH_ARG(typed));
	}
	return NH_OK;
}
static void test_connecting_code(void **state) { on_each_engine(connecting_code, NULL); }

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_rows),
		cmocka_unit_test(test_retention), cmocka_unit_test(test_release_input), cmocka_unit_test(test_downloads), cmocka_unit_test(test_at_joins),
		cmocka_unit_test(test_payload), cmocka_unit_test(test_at_changes), cmocka_unit_test(test_spread), cmocka_unit_test(test_scripts),
		cmocka_unit_test(test_script_refusals), cmocka_unit_test(test_script_lists), cmocka_unit_test(test_script_runs), cmocka_unit_test(test_connecting_code),
	};
	return cmocka_run_group_tests_name("hub_support", tests, NULL, NULL);
}
