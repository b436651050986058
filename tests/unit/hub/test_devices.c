/*
 * Devices: making, editing, listing, moving, deleting.
 */
#include "hub_world.h"

#include "hub/audit.h"
#include "hub/conversations.h"
#include "hub/devices.h"

static nh_rc make(struct world *w, const char *identifier, const char *json, struct nh_device *out)
{
	json_t *fields = NULL;
	nh_rc rc = nh_json_parse(nh_slice_str(json), 10000, &fields, E(w));
	if (rc == NH_OK)
		rc = nh_device_create(&w->ctx, &w->as_ada, &w->widget, identifier ? nh_slice_str(identifier) : NH_SLICE_EMPTY, fields, out, NO_ERRORS(w), E(w));
	json_decref(fields);
	return rc;
}

static nh_rc change(struct world *w, struct nh_device *device, const char *json)
{
	json_t *fields = NULL;
	struct nh_device out;
	nh_rc rc = nh_json_parse(nh_slice_str(json), 10000, &fields, E(w));
	if (rc == NH_OK)
		rc = nh_device_update(&w->ctx, &w->as_ada, device, fields, &out, NO_ERRORS(w), E(w));
	if (rc == NH_OK)
		*device = out;
	json_decref(fields);
	return rc;
}

static nh_rc create(struct world *w, struct nh_err *err)
{
	static const struct {
		const char *identifier, *json, *field, *text;
	} bad[] = {
		{NULL, "{}", "identifier", "can't be blank"},
		{NULL, "{\"identifier\":\"\"}", "identifier", "can't be blank"},
		{NULL, "{\"identifier\":\"a/b\"}", "identifier", "is invalid"},
		{NULL, "{\"identifier\":\"a\\nb\"}", "identifier", "is invalid"},
		{"d", "{\"tags\":[\"a b\"]}", "tags", "tags cannot contain spaces"},
		{"d", "{\"tags\":\"a b,c\"}", "tags", "tags cannot contain spaces"},
		{"d", "{\"tags\":7}", "tags", "is invalid"},
		{"d", "{\"tags\":[7]}", "tags", "is invalid"},
		{"d", "{\"description\":7}", "description", "is invalid"},
		{"d", "{\"updates_enabled\":\"yes\"}", "updates_enabled", "is invalid"},
		{"d", "{\"custom_location_coordinates\":[1]}", "custom_location_coordinates", "is invalid"},
		{"d", "{\"extensions\":{\"geo\":1}}", "extensions", "is invalid"},
		{"d", "{\"deployment_id\":\"x\"}", "deployment_id", "is invalid"},
		{"e", "{\"deployment_group_id\":4711}", "deployment_id", "does not exist"},
	};
	struct nh_device d;
	for (size_t i = 0; i < NH_ARRAY_LEN(bad); i++) {
		CHECK_RC(NH_EINVAL, make(w, bad[i].identifier, bad[i].json, &d));
		CHECK(refused_with(w, bad[i].field, bad[i].text));
	}
	OK(make(w, "d1", "{\"identifier\":\"ignored\",\"description\":\"x\",\"tags\":\" a , ,b\",\"org_id\":99,\"product_id\":99}", &d));
	CHECK(nh_slice_eq_str(d.identifier, "d1") && nh_slice_eq_str(d.tags, "[\"a\",\"b\"]") && d.product_id == w->widget.id && d.org_id == w->acme.id);
	CHECK(nh_slice_eq_str(d.connection_status, "not_seen") && nh_slice_eq_str(d.status, "registered") && d.updates_enabled && d.last_seen_at_us == 0);
	OK(make(w, NULL, "{\"identifier\":\"d2\",\"updates_enabled\":false}", &d));
	CHECK(!d.updates_enabled && !d.tags.ptr && !d.description.ptr);
	CHECK_RC(NH_EINVAL, make(w, "d1", "{}", &d));
	CHECK(refused_with(w, "identifier", "has already been taken"));

	/* unique within the organization: also in its other product, not in other organizations */
	struct nh_product second, foreign;
	NH_AUTO_JSON json_t *none = json_object();
	OK(nh_product_create(&w->ctx, &w->as_ada, w->acme.id, NH_LIT("second"), &second, NULL, E(w)));
	OK(nh_product_create(&w->ctx, &w->as_eve, w->other.id, NH_LIT("p"), &foreign, NULL, E(w)));
	CHECK_RC(NH_EINVAL, nh_device_create(&w->ctx, &w->as_ada, &second, NH_LIT("d1"), none, &d, NO_ERRORS(w), E(w)));
	OK(nh_device_create(&w->ctx, &w->as_eve, &foreign, NH_LIT("d1"), none, &d, NULL, E(w)));
	CHECK_RC(NH_ENOTFOUND, nh_device_create(&w->ctx, &w->as_eve, &w->widget, NH_LIT("d3"), none, &d, NO_ERRORS(w), E(w)));

	OK(nh_product_by_id(&w->ctx, w->widget.id, &w->widget, E(w)));
	/* 'e' was refused after its row was there: a refusal rolls back with its transaction, so that here it still counts */
	CHECK(w->widget.device_count == 3);
	return NH_OK;
}
static void test_create(void **state) { on_each_engine(create, NULL); }

static nh_rc provision(struct world *w, struct nh_err *err)
{
	const nh_slice tags[] = {NH_LIT("line-7")};
	struct nh_new_device input = {.identifier = NH_LIT("j1"), .description = NH_LIT("made"), .tags = tags, .tag_count = 1, .has_tags = true};
	struct nh_device d;
	int64_t id = 0;
	OK(nh_device_provision(&w->ctx, w->acme.id, w->widget.id, &input, &id, E(w)));
	OK(nh_device_by_id(&w->ctx, id, &d, E(w)));
	CHECK(nh_slice_eq_str(d.tags, "[\"line-7\"]") && nh_slice_eq_str(d.description, "made"));
	CHECK_RC(NH_ECONFLICT, nh_device_provision(&w->ctx, w->acme.id, w->widget.id, &input, &id, E(w)));
	CHECK_RC(NH_ENOTFOUND, nh_device_provision(&w->ctx, w->other.id, w->widget.id, &input, &id, E(w)));
	input.identifier = NH_LIT("");
	CHECK_RC(NH_EINVAL, nh_device_provision(&w->ctx, w->acme.id, w->widget.id, &input, &id, E(w)));
	return NH_OK;
}
static void test_provision(void **state) { on_each_engine(provision, NULL); }

static nh_rc update(struct world *w, struct nh_err *err)
{
	struct nh_device d, other;
	OK(make(w, "d1", "{\"tags\":[\"a\"],\"description\":\"x\"}", &d));
	OK(change(w, &d, "{\"description\":\"y\",\"identifier\":\"z\",\"org_id\":9,\"product_id\":9}"));
	CHECK(nh_slice_eq_str(d.description, "y") && nh_slice_eq_str(d.tags, "[\"a\"]") && nh_slice_eq_str(d.identifier, "d1"));
	CHECK(d.org_id == w->acme.id && d.product_id == w->widget.id);
	CHECK(effects_of(w, NH_EFFECT_DEVICE_SETTINGS) >= 1);
	OK(change(w, &d, "{\"description\":null,\"tags\":null,\"extensions\":{\"geo\":false,\"other\":1},\"custom_location_coordinates\":[13.4,52.5]}"));
	CHECK(!d.description.ptr && !d.tags.ptr && nh_slice_eq_str(d.extensions, "{\"geo\":false}") && d.custom_location.ptr);
	OK(change(w, &d, "{\"updates_enabled\":false}"));
	CHECK(!d.updates_enabled);
	/* as forms say it */
	OK(change(w, &d, "{\"updates_enabled\":\"1\",\"extensions\":{\"geo\":\"true\",\"health\":\"0\"}}"));
	CHECK(d.updates_enabled && nh_slice_eq_str(d.extensions, "{\"health\":false,\"geo\":true}"));
	OK(change(w, &d, "{\"updates_enabled\":\"false\"}"));
	CHECK(!d.updates_enabled);
	CHECK_RC(NH_EINVAL, change(w, &d, "{\"tags\":{}}"));
	NH_AUTO_JSON json_t *none = json_object();
	CHECK_RC(NH_ENOTFOUND, nh_device_update(&w->ctx, &w->as_eve, &d, none, &other, NO_ERRORS(w), E(w)));
	CHECK_RC(NH_ENOTFOUND, nh_device_open(&w->ctx, &w->as_eve, &w->widget, d.identifier, NH_MAY_DEVICE_SEE, &other, E(w)));
	CHECK_RC(NH_ENOTFOUND, nh_device_open(&w->ctx, &w->as_ada, &w->widget, NH_LIT("nope"), NH_MAY_DEVICE_SEE, &other, E(w)));
	CHECK_RC(NH_ENOTFOUND, nh_device_delete(&w->ctx, &w->as_eve, &d, E(w)));

	/* gone: closed, hidden, its identifier free */
	OK(nh_device_delete(&w->ctx, &w->as_ada, &d, E(w)));
	CHECK(effects_of(w, NH_EFFECT_DEVICE_CLOSE) == 1);
	CHECK_RC(NH_ENOTFOUND, nh_device_open(&w->ctx, &w->as_ada, &w->widget, d.identifier, NH_MAY_DEVICE_SEE, &other, E(w)));
	CHECK_RC(NH_ENOTFOUND, change(w, &d, "{\"description\":\"q\"}"));
	CHECK_RC(NH_ENOTFOUND, nh_device_delete(&w->ctx, &w->as_ada, &d, E(w)));
	OK(nh_product_by_id(&w->ctx, w->widget.id, &w->widget, E(w)));
	CHECK(w->widget.device_count == 0);
	OK(make(w, "d1", "{}", &other));
	CHECK(other.id != d.id);
	return NH_OK;
}
static void test_update(void **state) { on_each_engine(update, NULL); }

static nh_rc anywhere_and_move(struct world *w, struct nh_err *err)
{
	struct nh_device d, out;
	struct nh_member m;
	struct nh_product foreign;
	OK(make(w, "d1", "{}", &d));
	OK(nh_product_create(&w->ctx, &w->as_eve, w->other.id, NH_LIT("p"), &foreign, NULL, E(w)));
	OK(nh_device_open_anywhere(&w->ctx, &w->as_ada, NH_LIT("d1"), NH_MAY_DEVICE_UPDATE, &out, E(w)));
	CHECK(out.id == d.id);
	CHECK_RC(NH_ENOTFOUND, nh_device_open_anywhere(&w->ctx, &w->as_eve, NH_LIT("d1"), NH_MAY_DEVICE_SEE, &out, E(w)));

	CHECK_RC(NH_ENOTFOUND, nh_device_move(&w->ctx, &w->as_ada, &d, NH_LIT("other"), NH_LIT("p"), &out, NO_ERRORS(w), E(w)));
	OK(nh_member_add(&w->ctx, &w->as_eve, w->other.id, w->ada.email, NH_LIT("view"), &m, NULL, E(w)));
	CHECK_RC(NH_EPERM, nh_device_move(&w->ctx, &w->as_ada, &d, NH_LIT("other"), NH_LIT("p"), &out, NO_ERRORS(w), E(w)));
	OK(nh_member_set_role(&w->ctx, &w->as_eve, w->other.id, w->ada.email, NH_LIT("manage"), &m, NULL, E(w)));
	CHECK_RC(NH_ENOTFOUND, nh_device_move(&w->ctx, &w->as_ada, &d, NH_LIT("other"), NH_LIT("nothing"), &out, NO_ERRORS(w), E(w)));
	OK(nh_device_move(&w->ctx, &w->as_ada, &d, NH_LIT("other"), NH_LIT("p"), &out, NULL, E(w)));
	CHECK(out.org_id == w->other.id && out.product_id == foreign.id);

	OK(make(w, "d1", "{}", &d));
	CHECK_RC(NH_ECONFLICT, nh_device_open_anywhere(&w->ctx, &w->as_ada, NH_LIT("d1"), NH_MAY_DEVICE_SEE, &out, E(w)));
	CHECK_RC(NH_EINVAL, nh_device_move(&w->ctx, &w->as_ada, &d, NH_LIT("other"), NH_LIT("p"), &out, NO_ERRORS(w), E(w)));
	CHECK(refused_with(w, "identifier", "has already been taken"));
	return NH_OK;
}
static void test_anywhere_and_move(void **state) { on_each_engine(anywhere_and_move, NULL); }

/* ---- conversations ------------------------------------------------------------------------------------------------------ */

static bool newest_entry_is(struct world *w, const struct nh_conversation *c, const char *text)
{
	struct nh_audit_entry *entries = NULL;
	size_t count = 0;
	return nh_audit_list(&w->ctx, c->org_id, NH_AUDIT_DEVICE, c->device_id, 0, 1, &entries, &count, E(w)) == NH_OK && count == 1 &&
	       nh_slice_eq_str(entries[0].description, text);
}

static nh_rc conversations(struct world *w, struct nh_err *err)
{
	static const struct {
		nh_conversation_kind kind;
		const char *opened, *closed; /* NULL: a viewer may, and nobody writes it down */
	} rows[] = {
		{NH_CONVERSATION_CONSOLE, "Ada Lovelace opened the console of device d1", "Ada Lovelace closed the console of device d1"},
		{NH_CONVERSATION_SHELL, "Ada Lovelace opened the local shell of device d1", "Ada Lovelace closed the local shell of device d1"},
		{NH_CONVERSATION_EVENTS, NULL, NULL},
	};
	struct nh_device d, moved;
	struct nh_member member;
	struct nh_conversation c;
	OK(make(w, "d1", "{}", &d));
	OK(nh_member_add(&w->ctx, &w->as_ada, w->acme.id, NH_LIT("eve@example.com"), NH_LIT("view"), &member, NULL, E(w)));
	for (size_t i = 0; i < NH_ARRAY_LEN(rows); i++) {
		bool audited = rows[i].opened != NULL;
		CHECK(nh_conversation_audited(rows[i].kind) == audited);
		CHECK_RC(NH_ENOTFOUND, nh_conversation_open(&w->ctx, &w->as_ada, rows[i].kind, NH_LIT("d2"), &c, E(w)));
		CHECK_RC(audited ? NH_EPERM : NH_OK, nh_conversation_open(&w->ctx, &w->as_eve, rows[i].kind, NH_LIT("d1"), &c, E(w)));
		OK(nh_conversation_open(&w->ctx, &w->as_ada, rows[i].kind, NH_LIT("d1"), &c, E(w)));
		CHECK(c.device_id == d.id && c.org_id == w->acme.id);
		CHECK(!audited || newest_entry_is(w, &c, rows[i].opened));
		OK(nh_conversation_check(&w->ctx, &w->as_ada, &c, E(w)));
		CHECK_RC(audited ? NH_EPERM : NH_OK, nh_conversation_check(&w->ctx, &w->as_eve, &c, E(w)));
		OK(nh_conversation_close(&w->ctx, &w->as_ada, &c, E(w)));
		CHECK(!audited || newest_entry_is(w, &c, rows[i].closed));
	}
	/* who has left sees nothing any more; a device that moved takes its permission along; one that is gone ends it */
	OK(nh_member_remove(&w->ctx, &w->as_ada, w->acme.id, NH_LIT("eve@example.com"), NULL, E(w)));
	CHECK_RC(NH_ENOTFOUND, nh_conversation_check(&w->ctx, &w->as_eve, &c, E(w)));
	struct nh_product p;
	OK(nh_product_create(&w->ctx, &w->as_eve, w->other.id, NH_LIT("p"), &p, NULL, E(w)));
	OK(nh_member_add(&w->ctx, &w->as_eve, w->other.id, NH_LIT("ada@example.com"), NH_LIT("manage"), &member, NULL, E(w)));
	OK(nh_device_move(&w->ctx, &w->as_ada, &d, NH_LIT("other"), NH_LIT("p"), &moved, NULL, E(w)));
	OK(nh_conversation_check(&w->ctx, &w->as_eve, &c, E(w)));
	OK(nh_conversation_check(&w->ctx, &w->as_ada, &c, E(w)));
	OK(make(w, "d1", "{}", &d));
	CHECK_RC(NH_ECONFLICT, nh_conversation_open(&w->ctx, &w->as_ada, NH_CONVERSATION_CONSOLE, NH_LIT("d1"), &c, E(w)));
	OK(nh_device_delete(&w->ctx, &w->as_ada, &moved, E(w)));
	CHECK_RC(NH_ENOTFOUND, nh_conversation_check(&w->ctx, &w->as_ada, &c, E(w)));
	OK(nh_conversation_close(&w->ctx, &w->as_ada, &(struct nh_conversation){NH_CONVERSATION_CONSOLE, moved.id, w->acme.id}, E(w)));
	return NH_OK;
}
static void test_conversations(void **state) { on_each_engine(conversations, NULL); }

/* ---- lists ------------------------------------------------------------------------------------------------------------- */

static nh_rc list(struct world *w, struct nh_err *err)
{
	struct nh_device d;
	struct nh_device_page page;
	for (int i = 0; i < 25; i++) {
		char name[16], json[128];
		snprintf(name, sizeof(name), "dev-%02d", i);
		snprintf(json, sizeof(json), "{\"tags\":[\"%s\",\"t%d\"],\"description\":\"%d\",\"updates_enabled\":%s}", i % 2 ? "odd" : "even", i, 100 - i,
		         i < 5 ? "false" : "true");
		OK(make(w, name, json, &d));
	}
	OK(make(w, "Bare_100%", "{}", &d));
	OK(nh_product_by_id(&w->ctx, w->widget.id, &w->widget, E(w)));

	OK(nh_device_list(&w->ctx, &w->as_ada, &w->widget, &(struct nh_device_query){0}, &page, NULL, E(w)));
	CHECK(page.count == 10 && page.page == 1 && page.page_size == 10 && page.total == 26);
	OK(nh_device_list(&w->ctx, &w->as_ada, &w->widget, &(struct nh_device_query){.page = 3, .page_size = 10}, &page, NULL, E(w)));
	CHECK(page.count == 6);
	OK(nh_device_list(&w->ctx, &w->as_ada, &w->widget, &(struct nh_device_query){.page_size = 5000}, &page, NULL, E(w)));
	CHECK(page.page_size == NH_DEVICE_PAGE_SIZE_MAX && page.count == 26);
	OK(nh_device_list(&w->ctx, &w->as_ada, &w->widget, &(struct nh_device_query){.sort = NH_LIT("description"), .page_size = 100}, &page, NULL, E(w)));
	CHECK(page.count == 26);
	CHECK_RC(NH_EINVAL, nh_device_list(&w->ctx, &w->as_ada, &w->widget, &(struct nh_device_query){.sort = NH_LIT("id; DROP TABLE devices")}, &page,
	                                   NO_ERRORS(w), E(w)));
	CHECK_RC(NH_EINVAL, nh_device_list(&w->ctx, &w->as_ada, &w->widget, &(struct nh_device_query){.page = INT64_C(1) << 40}, &page, NO_ERRORS(w), E(w)));
	CHECK_RC(NH_ENOTFOUND, nh_device_list(&w->ctx, &w->as_eve, &w->widget, &(struct nh_device_query){0}, &page, NO_ERRORS(w), E(w)));

	static const struct {
		const char *key, *value;
		int64_t total;
	} filters[] = {
		{"identifier", "DEV-1", 10}, {"identifier", "100%", 1}, {"identifier", "%", 1}, {"identifier", "e_1", 1},
		{"identifier", "' OR 1=1 --", 0}, {"identifier", "", 26}, {"unknown", "x", 26},
		{"search", "dev-0", 10}, {"search", "t24", 1}, {"tags", "odd", 12}, {"tags", "odd, t1", 6}, {"tags", " , ", 26},
		{"has_no_tags", "1", 1}, {"connection", "not_seen", 26}, {"connection", "connected", 0}, {"connection", "not_seen_in_seven_days", 0},
		{"connection_type", "wifi", 0}, {"connection_type", "unknown", 26}, {"firmware_version", "1.0.0", 0}, {"platform", "Unknown", 26},
		{"platform", "x", 0}, {"updates", "enabled", 21}, {"updates", "disabled", 5}, {"updates", "penalty-box", 0}, {"updates", "x", 26},
		{"deployment_id", "1", 0}, {"deployment_id", "x", 26},
	};
	for (size_t i = 0; i < NH_ARRAY_LEN(filters); i++) {
		struct nh_filter f = {nh_slice_str(filters[i].key), nh_slice_str(filters[i].value)};
		OK(nh_device_list(&w->ctx, &w->as_ada, &w->widget, &(struct nh_device_query){.filters = &f, .filter_count = 1, .page_size = 100}, &page, NULL,
		                  E(w)));
		if (page.total != filters[i].total)
			return NH_FAIL(err, NH_EINTERNAL, "%s=%s finds %lld", filters[i].key, filters[i].value, (long long)page.total);
		CHECK((int64_t)page.count == page.total);
	}
	struct nh_filter two[] = {{NH_LIT("tags"), NH_LIT("odd")}, {NH_LIT("updates"), NH_LIT("disabled")}};
	OK(nh_device_list(&w->ctx, &w->as_ada, &w->widget, &(struct nh_device_query){.filters = two, .filter_count = 2}, &page, NULL, E(w)));
	CHECK(page.total == 2);
	static const char *const sorts[] = {"identifier", "description", "tags", "inserted_at", "updated_at", "status", "deployment_id", "updates_enabled",
	                                    "connection_established_at", "connection_last_seen_at"};
	for (size_t i = 0; i < NH_ARRAY_LEN(sorts) * 2; i++)
		OK(nh_device_list(&w->ctx, &w->as_ada, &w->widget, &(struct nh_device_query){.sort = nh_slice_str(sorts[i / 2]), .descending = i % 2}, &page,
		                  NULL, E(w)));
	return NH_OK;
}
static void test_list(void **state) { on_each_engine(list, NULL); }

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_create), cmocka_unit_test(test_provision),         cmocka_unit_test(test_update),
		cmocka_unit_test(test_anywhere_and_move), cmocka_unit_test(test_conversations), cmocka_unit_test(test_list),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
