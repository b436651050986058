/*
 * Products, signing keys, shared secrets.
 */
#include "hub_world.h"

#include "hub/devices.h"
#include "hub/keys.h"
#include "hub/secrets.h"

#define KEY1 "9IYP+5uUmFNiL8MLdYueMcog8FSfMHWSsf3+JG2ajd0="
#define KEY2 "0K4aNsEqtlWVMNLzhLKoTTHSdKDgBbk6hgXPLkCIgsY="

static nh_rc products(struct world *w, struct nh_err *err)
{
	struct nh_product p, *list;
	size_t count = 0;
	CHECK_RC(NH_EINVAL, nh_product_create(&w->ctx, &w->as_ada, w->acme.id, NH_LIT("   "), &p, NO_ERRORS(w), E(w)));
	CHECK(refused_with(w, "name", "can't be blank"));
	CHECK_RC(NH_EINVAL, nh_product_create(&w->ctx, &w->as_ada, w->acme.id, NH_LIT("a/b"), &p, NO_ERRORS(w), E(w)));
	CHECK_RC(NH_EINVAL, nh_product_create(&w->ctx, &w->as_ada, w->acme.id, NH_LIT(" Thermo   Widget "), &p, NO_ERRORS(w), E(w)));
	CHECK(refused_with(w, "name", "has already been taken"));
	OK(nh_product_create(&w->ctx, &w->as_eve, w->other.id, NH_LIT("Thermo Widget"), &p, NULL, E(w)));
	CHECK_RC(NH_ENOTFOUND, nh_product_create(&w->ctx, &w->as_eve, w->acme.id, NH_LIT("x"), &p, NO_ERRORS(w), E(w)));
	CHECK_RC(NH_ENOTFOUND, nh_product_open(&w->ctx, &w->as_eve, w->acme.id, NH_LIT("Thermo Widget"), NH_MAY_PRODUCT_SEE, &p, E(w)));
	CHECK_RC(NH_ENOTFOUND, nh_product_list(&w->ctx, &w->as_eve, w->acme.id, &list, &count, E(w)));
	CHECK_RC(NH_ENOTFOUND, nh_product_delete(&w->ctx, &w->as_eve, &w->widget, NO_ERRORS(w), E(w)));

	NH_AUTO_JSON json_t *good = json_pack("{s:b, s:[s]}", "require_unique_firmware_version", 0, "allowed_update_tools", "fwup");
	OK(nh_product_update(&w->ctx, &w->as_ada, &w->widget, good, &p, NULL, E(w)));
	CHECK(!p.require_unique_firmware_version);
	NH_AUTO_JSON json_t *rename = json_pack("{s:s, s:i}", "name", "x", "foo", 1);
	CHECK_RC(NH_EINVAL, nh_product_update(&w->ctx, &w->as_ada, &w->widget, rename, &p, NO_ERRORS(w), E(w)));
	CHECK(refused_with(w, NULL, "These fields cannot be set on a product: \"name\", \"foo\". A product cannot be renamed"));
	NH_AUTO_JSON json_t *tools = json_pack("{s:[s, s]}", "allowed_update_tools", "x", "y");
	CHECK_RC(NH_EINVAL, nh_product_update(&w->ctx, &w->as_ada, &w->widget, tools, &p, NO_ERRORS(w), E(w)));
	CHECK(refused_with(w, "allowed_update_tools", "unknown update tool(s): x, y"));
	NH_AUTO_JSON json_t *esp = json_pack("{s:[s]}", "allowed_update_tools", "esp-idf");
	CHECK_RC(NH_EINVAL, nh_product_update(&w->ctx, &w->as_ada, &w->widget, esp, &p, NO_ERRORS(w), E(w)));
	CHECK(refused_with(w, "allowed_update_tools", "not enabled on this NervesHub instance: esp-idf"));

	/* a deleted product's name can be used again */
	struct nh_device d;
	NH_AUTO_JSON json_t *none = json_object();
	OK(nh_device_create(&w->ctx, &w->as_ada, &w->widget, NH_LIT("d"), none, &d, NULL, E(w)));
	CHECK_RC(NH_ECONFLICT, nh_product_delete(&w->ctx, &w->as_ada, &w->widget, NO_ERRORS(w), E(w)));
	CHECK(refused_with(w, "devices", "still has devices (1)"));
	OK(nh_device_delete(&w->ctx, &w->as_ada, &d, E(w)));
	OK(nh_product_delete(&w->ctx, &w->as_ada, &w->widget, NULL, E(w)));
	CHECK_RC(NH_ENOTFOUND, nh_product_delete(&w->ctx, &w->as_ada, &w->widget, NO_ERRORS(w), E(w)));
	CHECK_RC(NH_ENOTFOUND, nh_device_create(&w->ctx, &w->as_ada, &w->widget, NH_LIT("e"), none, &d, NO_ERRORS(w), E(w)));
	CHECK_RC(NH_ENOTFOUND, nh_product_by_id(&w->ctx, w->widget.id, &p, E(w)));
	OK(nh_product_create(&w->ctx, &w->as_ada, w->acme.id, NH_LIT("Thermo Widget"), &p, NULL, E(w)));
	CHECK(p.id != w->widget.id && p.device_count == 0);
	return NH_OK;
}
static void test_products(void **state) { on_each_engine(products, NULL); }

static nh_rc keys(struct world *w, struct nh_err *err)
{
	static const struct {
		const char *name, *key, *scheme, *field, *text;
	} bad[] = {
		{"", KEY1, "", "name", "can't be blank"},
		{"k", "", "", "key", "can't be blank"},
		{"k", KEY1 "\n", "", "key", "valid Ed25519"},
		{"k", "AAAA", "", "key", "valid Ed25519"},
		{"k", "9IYP+5uUmFNiL8MLdYueMcog8FSfMHWSsf3+JG2ajd0", "", "key", "valid Ed25519"},
		{"k", KEY1, "rot13", "scheme", "is invalid"},
		{"k", KEY1, "secure_boot_v2_rsa", "scheme", "not enabled"},
	};
	struct nh_org_key k, *list;
	size_t count = 0;
	for (size_t i = 0; i < NH_ARRAY_LEN(bad); i++) {
		CHECK_RC(NH_EINVAL, nh_org_key_create(&w->ctx, &w->as_ada, w->acme.id, nh_slice_str(bad[i].name), nh_slice_str(bad[i].key),
		                                      nh_slice_str(bad[i].scheme), &k, NO_ERRORS(w), E(w)));
		CHECK(refused_with(w, bad[i].field, bad[i].text));
	}
	OK(nh_org_key_create(&w->ctx, &w->as_ada, w->acme.id, NH_LIT("k1"), NH_LIT(KEY1), NH_SLICE_EMPTY, &k, NULL, E(w)));
	CHECK(nh_slice_eq_str(k.scheme, "ed25519"));
	CHECK_RC(NH_EINVAL, nh_org_key_create(&w->ctx, &w->as_ada, w->acme.id, NH_LIT("k1"), NH_LIT(KEY2), NH_SLICE_EMPTY, &k, NO_ERRORS(w), E(w)));
	CHECK(refused_with(w, "name", "has already been taken"));
	CHECK_RC(NH_EINVAL, nh_org_key_create(&w->ctx, &w->as_ada, w->acme.id, NH_LIT("k2"), NH_LIT(KEY1), NH_SLICE_EMPTY, &k, NO_ERRORS(w), E(w)));
	CHECK(refused_with(w, "key", "has already been taken"));
	OK(nh_org_key_create(&w->ctx, &w->as_eve, w->other.id, NH_LIT("k1"), NH_LIT(KEY1), NH_SLICE_EMPTY, &k, NULL, E(w)));

	CHECK_RC(NH_ENOTFOUND, nh_org_key_list(&w->ctx, &w->as_eve, w->acme.id, &list, &count, E(w)));
	CHECK_RC(NH_ENOTFOUND, nh_org_key_open(&w->ctx, &w->as_eve, w->acme.id, NH_LIT("k1"), &k, E(w)));
	CHECK_RC(NH_ENOTFOUND, nh_org_key_create(&w->ctx, &w->as_eve, w->acme.id, NH_LIT("k3"), NH_LIT(KEY2), NH_SLICE_EMPTY, &k, NO_ERRORS(w), E(w)));
	CHECK_RC(NH_ENOTFOUND, nh_org_key_delete(&w->ctx, &w->as_eve, w->acme.id, NH_LIT("k1"), NO_ERRORS(w), E(w)));
	CHECK_RC(NH_ENOTFOUND, nh_org_key_delete(&w->ctx, &w->as_ada, w->acme.id, NH_LIT("k9"), NO_ERRORS(w), E(w)));
	OK(nh_org_key_delete(&w->ctx, &w->as_ada, w->acme.id, NH_LIT("k1"), NULL, E(w)));
	OK(nh_org_key_list(&w->ctx, &w->as_ada, w->acme.id, &list, &count, E(w)));
	CHECK(count == 0);
	return NH_OK;
}
static void test_keys(void **state) { on_each_engine(keys, NULL); }

static nh_rc secrets(struct world *w, struct nh_err *err)
{
	struct nh_shared_secret a, b, *list;
	size_t count = 0;
	OK(nh_product_secret_create(&w->ctx, &w->as_ada, &w->widget, &a, E(w)));
	OK(nh_product_secret_create(&w->ctx, &w->as_ada, &w->widget, &b, E(w)));
	CHECK(nh_slice_starts(a.key, NH_LIT("nhp_")) && a.key.len == 47 && a.secret.len == 43 && !nh_slice_eq(a.key, b.key) && !nh_slice_eq(a.secret, b.secret));
	OK(nh_product_secret_list(&w->ctx, &w->as_ada, &w->widget, &list, &count, E(w)));
	CHECK(count == 2 && !list[0].secret.ptr && list[0].deactivated_at_us == 0);
	CHECK_RC(NH_ENOTFOUND, nh_product_secret_list(&w->ctx, &w->as_eve, &w->widget, &list, &count, E(w)));
	CHECK_RC(NH_ENOTFOUND, nh_product_secret_create(&w->ctx, &w->as_eve, &w->widget, &b, E(w)));
	CHECK_RC(NH_ENOTFOUND, nh_product_secret_deactivate(&w->ctx, &w->as_eve, &w->widget, a.key, E(w)));
	OK(nh_product_secret_deactivate(&w->ctx, &w->as_ada, &w->widget, a.key, E(w)));
	CHECK_RC(NH_ENOTFOUND, nh_product_secret_deactivate(&w->ctx, &w->as_ada, &w->widget, a.key, E(w)));
	OK(nh_product_secret_list(&w->ctx, &w->as_ada, &w->widget, &list, &count, E(w)));
	CHECK(list[0].deactivated_at_us == w->now_us && list[1].deactivated_at_us == 0);
	return NH_OK;
}
static void test_secrets(void **state) { on_each_engine(secrets, NULL); }

/* One device's own secret: only its members make and end it. That a connection with one is accepted and refused: test_rollout_auth. */
static nh_rc device_secrets(struct world *w, struct nh_err *err)
{
	NH_AUTO_JSON json_t *none = json_object();
	struct nh_shared_secret a;
	struct nh_device device;
	OK(nh_device_create(&w->ctx, &w->as_ada, &w->widget, NH_LIT("d-1"), none, &device, NULL, E(w)));
	OK(nh_device_secret_create(&w->ctx, &w->as_ada, &device, &a, E(w)));
	CHECK(nh_slice_starts(a.key, NH_LIT("nhd_")) && a.key.len == 47 && a.secret.len == 43);
	CHECK_RC(NH_ENOTFOUND, nh_device_secret_create(&w->ctx, &w->as_eve, &device, &a, E(w)));
	CHECK_RC(NH_ENOTFOUND, nh_device_secret_deactivate(&w->ctx, &w->as_eve, &device, a.key, E(w)));
	CHECK_RC(NH_ENOTFOUND, nh_device_secret_deactivate(&w->ctx, &w->as_ada, &device, NH_LIT("nhd_none"), E(w)));
	CHECK_RC(NH_ENOTFOUND, nh_product_secret_deactivate(&w->ctx, &w->as_ada, &w->widget, a.key, E(w)));
	OK(nh_device_secret_deactivate(&w->ctx, &w->as_ada, &device, a.key, E(w)));
	CHECK_RC(NH_ENOTFOUND, nh_device_secret_deactivate(&w->ctx, &w->as_ada, &device, a.key, E(w)));
	return NH_OK;
}
static void test_device_secrets(void **state) { on_each_engine(device_secrets, NULL); }

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_products), cmocka_unit_test(test_keys), cmocka_unit_test(test_secrets), cmocka_unit_test(test_device_secrets)};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
