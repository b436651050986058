/*
 * Deployment groups as people make them: fields and refusals, releases, membership, deletion, and the audit log.
 */
#include "rollout_world.h"

/* ---- create and update -------------------------------------------------------------------------------------------------- */

static nh_rc create(struct world *w, struct nh_err *err)
{
	struct nh_group g;
	NH_TRY(add_firmware(w, 1, "1.0.0", err));
	OK(add_group(w, group_fields(w, "  prod   one ", 1), &g));
	CHECK(nh_slice_eq_str(g.name, "prod one") && g.is_active && g.release.number == 1 && g.release_count == 1);
	CHECK(g.concurrent_updates == 10 && g.penalty_minutes == 1440 && g.failure_threshold_attempts == 3 && g.delta_updatable && !g.lifo);
	CHECK(nh_slice_eq_str(g.platform, "rpi4") && nh_slice_eq_str(g.architecture, "aarch64") && g.device_count == 0);
	CHECK(effects_of(w, NH_EFFECT_GROUP_WAKE) == 1);
	CHECK(audited(w, NH_AUDIT_GROUP, g.id, "Ada Lovelace created deployment group prod one"));

	NH_AUTO_JSON json_t *shown = nh_group_json(&g);
	NH_AUTO_BUF struct nh_buf text = NH_BUF_INIT;
	nh_json_put(&text, shown);
	const char *expected =
		"{\"name\":\"prod one\",\"is_active\":true,\"state\":\"on\",\"firmware_uuid\":\"00000000-0000-4000-8000-000000000001\","
		"\"current_release\":{\"number\":1,\"firmware\":{\"version\":\"1.0.0\",\"architecture\":\"aarch64\",\"platform\":\"rpi4\","
		"\"uuid\":\"00000000-0000-4000-8000-000000000001\"},\"inserted_at\":\"2027-01-15T08:00:00\",\"updated_at\":\"2027-01-15T08:00:00\"},"
		"\"archive_uuid\":null,\"conditions\":{\"version\":\"\",\"tags\":[],\"tag_operator\":\"and\"},\"delta_updatable\":true,\"delta_wait_minutes\":10,"
		"\"device_count\":0,\"releases_count\":1,\"notes\":null}";
	CHECK(nh_slice_eq_str(nh_buf_slice(&text), expected));

	CHECK_RC(NH_EINVAL, add_group(w, group_fields(w, "prod one", 1), &g));
	CHECK(refused_with(w, "name", "has already been taken"));
	struct nh_group *list;
	size_t count;
	OK(add_group(w, group_fields(w, "another", 1), &g));
	OK(nh_group_list(&w->ctx, w->widget.id, &list, &count, E(w)));
	CHECK(count == 2 && nh_slice_eq_str(list[0].name, "another"));
	CHECK_RC(NH_ENOTFOUND, nh_group_get(&w->ctx, w->widget.id, NH_LIT("nobody"), &g, E(w)));
	CHECK_RC(NH_ENOTFOUND, nh_group_get(&w->ctx, w->widget.id + 1, NH_LIT("another"), &g, E(w)));
	return NH_OK;
}
static void test_create(void **state) { on_each_engine(create, NULL); }

static nh_rc refusals(struct world *w, struct nh_err *err)
{
	static const struct {
		const char *fields, *field, *nested, *text;
	} table[] = {
		{"{}", "name", NULL, "can't be blank"},
		{"{}", "firmware", NULL, "can't be blank"},
		{"{\"firmware\":\"unknown\"}", "firmware", NULL, "can't be blank"},
		{"{\"firmware\":5}", "firmware", NULL, "can't be blank"},
		{"{\"name\":\" \"}", "name", NULL, "can't be blank"},
		{"{\"name\":7}", "name", NULL, "can't be blank"},
		{"{\"name\":\"a/b\"}", "name", NULL, "is invalid"},
		{"{\"concurrent_updates\":0}", "concurrent_updates", NULL, "must be greater than 0"},
		{"{\"concurrent_updates\":\"many\"}", "concurrent_updates", NULL, "is invalid"},
		{"{\"concurrent_updates\":\"3 \"}", "concurrent_updates", NULL, "is invalid"},
		{"{\"concurrent_updates\":\"0\"}", "concurrent_updates", NULL, "must be greater than 0"},
		{"{\"concurrent_updates\":null}", "concurrent_updates", NULL, "can't be blank"},
		{"{\"penalty_timeout_minutes\":59}", "penalty_timeout_minutes", NULL, "must be greater than or equal to 60"},
		{"{\"device_failure_rate_seconds\":59}", "device_failure_rate_seconds", NULL, "must be greater than or equal to 60"},
		{"{\"priority_queue_firmware_version_threshold\":\"1\"}", "priority_queue_firmware_version_threshold", NULL, "must be a valid semantic version"},
		{"{\"queue_management\":\"RANDOM\"}", "queue_management", NULL, "is invalid"},
		{"{\"release_network_interfaces\":[\"pigeon\"]}", "release_network_interfaces", NULL, "is invalid"},
		{"{\"release_tags\":[\"a b\"]}", "release_tags", NULL, "tags cannot contain spaces"},
		{"{\"is_active\":\"yes\"}", "is_active", NULL, "is invalid"},
		{"{\"state\":1}", "state", NULL, "is invalid"},
		{"{\"conditions\":[]}", "conditions", NULL, "is invalid"},
		{"{\"conditions\":{\"version\":\">>> 1\"}}", "conditions", "version", "must be valid Elixir version requirement string"},
		{"{\"conditions\":{\"version\":1}}", "conditions", "version", "must be valid Elixir version requirement string"},
		{"{\"conditions\":{\"tags\":[\"a b\"]}}", "conditions", "tags", "tags cannot contain spaces"},
		{"{\"conditions\":{\"tag_operator\":\"xor\"}}", "conditions", "tag_operator", "is invalid"},
		{"{\"platform\":\"bbb\",\"firmware\":\"00000000-0000-4000-8000-000000000001\"}", "platform", NULL, "doesn't match firmwares platform"},
		{"{\"architecture\":\"x\",\"firmware\":\"00000000-0000-4000-8000-000000000001\"}", "architecture", NULL, "doesn't match firmwares platform"},
	};
	NH_TRY(add_firmware(w, 1, "1.0.0", err));
	for (size_t i = 0; i < NH_ARRAY_LEN(table); i++) {
		struct nh_group g;
		json_t *fields = NULL;
		OK(nh_json_parse(nh_slice_str(table[i].fields), 1000, &fields, E(w)));
		CHECK_RC(NH_EINVAL, add_group(w, fields, &g));
		const json_t *found = json_object_get(w->errors, table[i].field);
		if (table[i].nested)
			found = json_object_get(found, table[i].nested);
		const char *text = json_string_value(json_array_get(found, 0));
		if (!text || strcmp(text, table[i].text) != 0)
			return NH_FAIL(err, NH_EINTERNAL, "row %zu (%s): %s", i, table[i].fields, text ? text : "no such refusal");
	}
	/* notes: 1000 characters are fine, not bytes */
	NH_AUTO_BUF struct nh_buf notes = NH_BUF_INIT;
	for (int i = 0; i < 1000; i++)
		nh_buf_put_str(&notes, "ü");
	struct nh_group g;
	json_t *fields = group_fields(w, "notes", 1);
	json_object_set_new(fields, "notes", nh_json_new_text(nh_buf_slice(&notes)));
	OK(add_group(w, fields, &g));
	nh_buf_put_str(&notes, "x");
	fields = group_fields(w, "notes2", 1);
	json_object_set_new(fields, "notes", nh_json_new_text(nh_buf_slice(&notes)));
	CHECK_RC(NH_EINVAL, add_group(w, fields, &g));
	CHECK(refused_with(w, "notes", "should be at most 1000 character(s)"));
	return NH_OK;
}
static void test_refusals(void **state) { on_each_engine(refusals, NULL); }

static nh_rc update(struct world *w, const char *text, const struct nh_group *g, struct nh_group *out)
{
	NH_AUTO_JSON json_t *fields = NULL;
	nh_rc rc = nh_json_parse(nh_slice_str(text), 4000, &fields, E(w));
	return rc == NH_OK ? nh_group_update(&w->ctx, &w->as_ada, g, fields, out, NO_ERRORS(w), E(w)) : rc;
}

static nh_rc edit(struct world *w, struct nh_err *err)
{
	struct nh_group g, h;
	int64_t other;
	NH_TRY(add_firmware(w, 1, "1.0.0", err));
	NH_TRY(add_firmware(w, 2, "1.1.0", err));
	NH_TRY(add_firmware_for(w, 3, "1.2.0", "bbb", &other, err));
	OK(add_group(w, group_fields(w, "g", 1), &g));
	OK(update(w, "{\"conditions\":{\"version\":\"~> 1.0\",\"tags\":\"a, b\"},\"queue_management\":\"LIFO\",\"concurrent_updates\":3,"
	             "\"release_network_interfaces\":[\"wifi\"],\"release_tags\":[\"z\"],\"lock_device_membership\":true,\"notes\":\"n\","
	             "\"priority_queue_enabled\":true,\"priority_queue_firmware_version_threshold\":\"0.9.0\",\"state\":\"OFF\",\"is_active\":true}", &g, &h));
	CHECK(!h.is_active && h.lifo && h.concurrent_updates == 3 && h.lock_device_membership && h.priority_queue_enabled); /* state wins over is_active */
	CHECK(h.condition_tag_count == 2 && nh_slice_eq_str(h.condition_tags[1], "b") && nh_slice_eq_str(h.condition_version, "~> 1.0"));
	CHECK(h.release_interface_count == 1 && h.release_tag_count == 1 && nh_slice_eq_str(h.priority_queue_threshold, "0.9.0"));
	CHECK(audited(w, NH_AUDIT_GROUP, g.id, "marked deployment group g inactive") && audited(w, NH_AUDIT_GROUP, g.id, "Conditions of"));

	/* as forms say it */
	OK(update(w, "{\"concurrent_updates\":\"4\",\"lock_device_membership\":\"false\",\"is_active\":\"1\"}", &h, &g));
	CHECK(g.concurrent_updates == 4 && !g.lock_device_membership && g.is_active);
	OK(update(w, "{\"concurrent_updates\":3,\"lock_device_membership\":\"true\",\"is_active\":\"0\"}", &g, &h));
	CHECK(h.concurrent_updates == 3 && h.lock_device_membership && !h.is_active);

	/* conditions are merged; null resets; the threshold's "" is null */
	OK(update(w, "{\"conditions\":{\"tag_operator\":\"or\"},\"priority_queue_firmware_version_threshold\":\"\"}", &h, &g));
	CHECK(g.tags_any && g.condition_tag_count == 2 && nh_slice_eq_str(g.condition_version, "~> 1.0") && !g.priority_queue_threshold.ptr);
	OK(update(w, "{\"conditions\":{\"version\":null,\"tags\":null}}", &g, &h));
	CHECK(h.condition_version.len == 0 && h.condition_tag_count == 0 && h.tags_any);

	/* a release and fields in one request; its notes are the release's */
	forget_effects(w);
	OK(update(w, "{\"firmware\":\"00000000-0000-4000-8000-000000000002\",\"state\":\"on\",\"notes\":\"of the release\",\"description\":\"d\"}", &h, &g));
	CHECK(g.release.number == 2 && g.is_active && nh_slice_eq_str(g.release.firmware_version, "1.1.0"));
	CHECK(nh_slice_eq_str(g.notes, "n") && nh_slice_eq_str(g.release.notes, "of the release") && nh_slice_eq_str(g.release.description, "d"));
	CHECK(effects_of(w, NH_EFFECT_GROUP_WAKE) == 1 && audited(w, NH_AUDIT_GROUP, g.id, "released 1.1.0"));
	CHECK_RC(NH_EINVAL, update(w, "{\"archive\":\"x\"}", &g, &h));
	CHECK(refused_with(w, "firmware", "can't be blank"));
	CHECK_RC(NH_EINVAL, update(w, "{\"firmware\":\"00000000-0000-4000-8000-000000000003\"}", &g, &h));
	CHECK(refused_with(w, "firmware", "platform"));
	NH_AUTO_JSON json_t *by_id = json_pack("{s:I}", "firmware_id", (json_int_t)g.release.firmware_id);
	OK(nh_group_update(&w->ctx, &w->as_ada, &g, by_id, &h, NO_ERRORS(w), E(w)));
	CHECK(h.release.number == 3 && h.release_count == 3);

	struct nh_release *releases;
	size_t count;
	OK(nh_release_list(&w->ctx, g.id, 500, &releases, &count, E(w)));
	CHECK(count == 3 && releases[0].number == 3 && releases[2].number == 1 && releases[2].group_id == g.id);
	OK(add_group(w, group_fields(w, "taken", 1), &h));
	CHECK_RC(NH_EINVAL, update(w, "{\"name\":\"taken\"}", &g, &h));
	CHECK(refused_with(w, "name", "has already been taken"));
	return NH_OK;
}
static void test_edit(void **state) { on_each_engine(edit, NULL); }

/* ---- membership ---------------------------------------------------------------------------------------------------------- */

static nh_rc membership(struct world *w, struct nh_err *err)
{
	struct nh_group g, h;
	struct nh_session s;
	struct nh_device_facts d;
	int64_t device, untagged;
	NH_TRY(add_firmware(w, 1, "1.0.0", err));
	NH_TRY(add_firmware(w, 2, "2.0.0", err));
	NH_TRY(add_device(w, "d-1", "[\"blue\"]", &device, err));
	NH_TRY(add_device(w, "d-2", NULL, &untagged, err));
	json_t *fields = group_fields(w, "blue", 1);
	json_object_set_new(fields, "conditions", json_pack("{s:[s], s:s}", "tags", "blue", "version", "< 2.0.0"));
	OK(add_group(w, fields, &g));

	OK(join(w, device, 1, "1.0.0", &s));
	OK(join(w, untagged, 1, "1.0.0", &s));
	OK(nh_device_facts_load(&w->ctx, device, &d, E(w)));
	CHECK(d.group_id == g.id && audited(w, NH_AUDIT_DEVICE, device, "joined deployment group blue"));
	OK(nh_device_facts_load(&w->ctx, untagged, &d, E(w)));
	CHECK(d.group_id == 0);
	OK(nh_group_get_by_id(&w->ctx, g.id, &g, E(w)));
	CHECK(g.device_count == 1);

	/* by hand: tags and version do not matter, the platform does */
	OK(nh_group_assign(&w->ctx, &w->as_ada, w->acme.id, untagged, &g, E(w)));
	CHECK_RC(NH_ENOTFOUND, nh_group_assign(&w->ctx, &w->as_eve, w->other.id, untagged, &g, E(w)));
	h = g;
	h.platform = NH_LIT("bbb");
	CHECK_RC(NH_EINVAL, nh_group_assign(&w->ctx, &w->as_ada, w->acme.id, device, &h, E(w)));
	h = g;
	h.product_id++;
	CHECK_RC(NH_EINVAL, nh_group_assign(&w->ctx, &w->as_ada, w->acme.id, device, &h, E(w)));
	OK(nh_group_get_by_id(&w->ctx, g.id, &g, E(w)));
	CHECK(g.device_count == 2);

	/* another version: it leaves, and says why; a locked group keeps it */
	OK(join(w, device, 2, "2.0.0", &s));
	OK(nh_device_facts_load(&w->ctx, device, &d, E(w)));
	CHECK(d.group_id == 0 && audited(w, NH_AUDIT_GROUP, g.id, "mismatched version"));
	OK(update(w, "{\"lock_device_membership\":true}", &g, &h));
	OK(join(w, untagged, 2, "2.0.0", &s));
	OK(nh_device_facts_load(&w->ctx, untagged, &d, E(w)));
	CHECK(d.group_id == g.id);

	OK(nh_group_delete(&w->ctx, &w->as_ada, &g, E(w)));
	OK(nh_device_facts_load(&w->ctx, untagged, &d, E(w)));
	CHECK(d.group_id == 0);
	CHECK_RC(NH_ENOTFOUND, nh_group_delete(&w->ctx, &w->as_ada, &g, E(w)));
	return NH_OK;
}
static void test_membership(void **state) { on_each_engine(membership, NULL); }

/* ---- audit ---------------------------------------------------------------------------------------------------------------- */

static nh_rc audit(struct world *w, struct nh_err *err)
{
	struct nh_audit_entry *list;
	size_t count;
	struct nh_actor device = {NH_ACTOR_DEVICE, 77, NH_LIT("d-77")};
	for (int i = 0; i < 5; i++)
		OK(nh_audit_add(&w->ctx, &w->as_ada, w->acme.id, NH_AUDIT_DEVICE, 77, E(w), "entry %d", i));
	OK(nh_audit_add(&w->ctx, &device, w->acme.id, NH_AUDIT_GROUP, 5, E(w), "the device acted"));
	OK(nh_audit_add(&w->ctx, &w->as_eve, w->other.id, NH_AUDIT_DEVICE, 77, E(w), "of another organization"));
	OK(nh_audit_list(&w->ctx, w->acme.id, NH_AUDIT_DEVICE, 77, 0, 3, &list, &count, E(w)));
	CHECK(count == 3 && nh_slice_eq_str(list[0].description, "the device acted") && nh_slice_eq_str(list[1].description, "entry 4"));
	CHECK(list[0].actor_kind == NH_ACTOR_DEVICE && list[0].actor_id == 77 && list[0].kind == NH_AUDIT_GROUP && nh_slice_eq_str(list[0].actor_name, "d-77"));
	OK(nh_audit_list(&w->ctx, w->acme.id, NH_AUDIT_DEVICE, 77, list[2].id, 500, &list, &count, E(w)));
	CHECK(count == 3 && nh_slice_eq_str(list[2].description, "entry 0"));
	OK(nh_audit_list(&w->ctx, w->acme.id, NH_AUDIT_GROUP, 5, 0, 500, &list, &count, E(w)));
	CHECK(count == 1);

	/* cuts: 500 for an entry, 200 for a device's words, never inside a character */
	NH_AUTO_BUF struct nh_buf text = NH_BUF_INIT;
	for (int i = 0; i < 400; i++)
		nh_buf_put_str(&text, "ü");
	nh_slice reason = nh_audit_reason(&w->arena, nh_buf_slice(&text));
	CHECK(reason.len <= NH_AUDIT_REASON_MAX && nh_utf8_valid(reason) && nh_slice_ends(reason, NH_LIT("…")));
	reason = nh_audit_reason(&w->arena, nh_slice_of("a\x1b[31m\nb\xff", 9));
	CHECK(nh_utf8_valid(reason) && nh_slice_chr(reason, '\n') < 0 && nh_slice_chr(reason, 0x1b) < 0);
	OK(nh_audit_add(&w->ctx, &w->as_ada, w->acme.id, NH_AUDIT_ORG, 1, E(w), "%s", nh_buf_cstr(&text)));
	OK(nh_audit_list(&w->ctx, w->acme.id, NH_AUDIT_ORG, 1, 0, 1, &list, &count, E(w)));
	CHECK(list[0].description.len <= NH_AUDIT_DESCRIPTION_MAX && nh_utf8_valid(list[0].description));
	return NH_OK;
}
static void test_audit(void **state) { on_each_engine(audit, NULL); }

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_create), cmocka_unit_test(test_refusals),   cmocka_unit_test(test_edit),
		cmocka_unit_test(test_membership), cmocka_unit_test(test_audit),
	};
	return cmocka_run_group_tests_name("hub_rollout_groups", tests, NULL, NULL);
}
