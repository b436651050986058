/*
 * Firmware intake: what inspection says about each fixture archive, and the rules of publishing, listing and deleting.
 */
#include "hub_world.h"

#include <fcntl.h>
#include <unistd.h>

#include "base/file.h"
#include "firmware/create.h"
#include "hub/firmware.h"
#include "hub/keys.h"

#define KEY1 "9IYP+5uUmFNiL8MLdYueMcog8FSfMHWSsf3+JG2ajd0="
#define KEY2 "0K4aNsEqtlWVMNLzhLKoTTHSdKDgBbk6hgXPLkCIgsY="
#define WIDGET_UUID "63a46488-91bd-5fc3-06ea-84ebd217251f"

static int open_fixture(const char *name)
{
	char path[1024];
	const char *root = getenv("NH_VECTORS");
	snprintf(path, sizeof(path), "%s/firmware/%s", root ? root : "tests/vectors", name);
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		fail_msg("cannot open %s", path);
	return fd;
}

static struct nh_firmware_intake intake_with(const char *product, const char *const *keys, size_t count)
{
	static struct nh_intake_key list[4];
	for (size_t i = 0; i < count; i++)
		list[i] = (struct nh_intake_key){(int64_t)i + 1, nh_slice_str(keys[i])};
	return (struct nh_firmware_intake){
		.product = {.id = 1, .org_id = 1, .name = nh_slice_str(product)}, .keys = list, .key_count = count, .max_bytes = 1 << 20};
}

static const char *const both[] = {KEY2, KEY1};

/* ---- inspection -------------------------------------------------------------------------------------------------------- */

static void test_refusals(void **state)
{
	static const struct {
		const char *file, *product;
		size_t keys;
		const char *field, *text;
	} table[] = {
		{"not-a-zip.fw", "Thermo Widget", 2, "detail", "Unrecognised firmware format"},
		{"truncated-in-meta.fw", "Thermo Widget", 2, "detail", "truncated"},
		{"truncated-in-rootfs.fw", "Thermo Widget", 2, "detail", "truncated"},
		{"truncated-no-directory.fw", "Thermo Widget", 2, "detail", "truncated"},
		{"widget-1.0.0-to-1.1.0.delta.fw", "Thermo Widget", 2, "detail", "delta update and not a whole firmware"},
		{"tampered-payload.fw", "Thermo Widget", 2, "detail", "damaged, or was changed"},
		{"tampered-raw-byte.fw", "Thermo Widget", 2, "detail", "damaged, or was changed"},
		{"tampered-meta.fw", "Thermo Widget", 2, "detail", "signature does not match any"},
		{"tampered-signature.fw", "Thermo Widget", 2, "detail", "signature does not match any"},
		{"widget-1.0.0.fw", "Thermo Widget", 1, "detail", "signature does not match any"},
		{"widget-1.0.0.fw", "Thermo Widget", 0, "detail", "no firmware signing keys"},
		{"minimal-unsigned.fw", "Fixture Minimal", 2, "detail", "not signed"},
		{"no-product-signed.fw", "Thermo Widget", 2, "detail", "lacks meta-product"},
		{"minimal-signed.fw", "Thermo Widget", 2, "detail", "built for the product \"Fixture Minimal\", but was uploaded to \"Thermo Widget\""},
	};
	for (size_t i = 0; i < NH_ARRAY_LEN(table); i++) {
		NH_AUTO_ARENA struct nh_arena arena = NH_ARENA_INIT;
		NH_AUTO_JSON json_t *errors = NULL;
		struct nh_err err = NH_ERR_INIT;
		struct nh_firmware_facts facts;
		struct nh_firmware_intake intake = intake_with(table[i].product, both, table[i].keys);
		int fd = open_fixture(table[i].file);
		nh_rc rc = nh_firmware_inspect(&arena, &intake, fd, &facts, &errors, &err);
		close(fd);
		if (rc != NH_EINVAL)
			fail_msg("%s: %s %s", table[i].file, nh_rc_name(rc), err.msg);
		const char *text = json_string_value(json_object_get(errors, table[i].field));
		if (!text || !strstr(text, table[i].text))
			fail_msg("%s: says '%s'", table[i].file, text ? text : "nothing");
	}
}

static void test_empty_and_oversized(void **state)
{
	NH_AUTO_ARENA struct nh_arena arena = NH_ARENA_INIT;
	NH_AUTO_JSON json_t *errors = NULL;
	struct nh_firmware_facts facts;
	struct nh_firmware_intake intake = intake_with("Thermo Widget", both, 2);
	int fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
	assert_int_equal(nh_firmware_inspect(&arena, &intake, fd, &facts, &errors, NULL), NH_EINVAL);
	close(fd);
	assert_non_null(strstr(json_string_value(json_object_get(errors, "detail")), "Unrecognised firmware format"));
	intake.max_bytes = 1000;
	fd = open_fixture("widget-1.0.0.fw");
	assert_int_equal(nh_firmware_inspect(&arena, &intake, fd, &facts, NULL, NULL), NH_ETOOBIG);
	close(fd);
}

static void test_good(void **state)
{
	NH_AUTO_ARENA struct nh_arena arena = NH_ARENA_INIT;
	struct nh_err err = NH_ERR_INIT;
	struct nh_firmware_facts f;
	struct nh_firmware_intake intake = intake_with("Thermo Widget", both, 2);
	int fd = open_fixture("widget-1.0.0.fw");
	nh_rc rc = nh_firmware_inspect(&arena, &intake, fd, &f, NULL, &err);
	close(fd);
	if (rc != NH_OK)
		fail_msg("%s", err.msg);
	assert_int_equal(f.org_key_id, 2);
	assert_true(nh_slice_eq_str(f.uuid, WIDGET_UUID));
	assert_true(nh_slice_eq_str(f.version, "1.0.0"));
	assert_true(nh_slice_eq_str(f.platform, "fixture_board"));
	assert_true(nh_slice_eq_str(f.architecture, "aarch64"));
	assert_true(nh_slice_eq_str(f.author, "Example Devices Ltd"));
	assert_true(nh_slice_eq_str(f.vcs_identifier, "c0ffee01"));
	assert_int_equal(f.size_bytes, 16212);
	assert_true(f.delta_updatable);
	assert_int_equal(f.checksum.len, 64);
	NH_AUTO_JSON json_t *parts = NULL;
	assert_int_equal(nh_json_parse(f.partials_checksums, 1000, &parts, NULL), NH_OK);
	/* smaller than a MiB: its one piece is the file */
	assert_int_equal(json_array_size(parts), 1);
	assert_true(nh_slice_eq_str(f.checksum, json_string_value(json_array_get(parts, 0))));
}

static nh_rc append(void *ctx, nh_slice bytes, struct nh_err *err)
{
	nh_buf_put_slice(ctx, bytes);
	return NH_OK;
}

/* Creates an archive from a configuration text, signed by a fresh key whose public half comes back as base64. */
static int make_archive(const char *conf, struct nh_buf *public_text)
{
	struct nh_fw_public_key pub;
	struct nh_fw_private_key priv;
	struct nh_err err = NH_ERR_INIT;
	char path[] = "/tmp/nh-intake-XXXXXX";
	nh_fw_key_generate(&nh_rng_system, &pub, &priv);
	nh_fw_public_key_put(public_text, &pub);
	NH_AUTO_BUF struct nh_buf bytes = NH_BUF_INIT;
	const struct nh_fw_create_options options = {.text = nh_slice_str(conf), .key = &priv, .time_s = 1700000000};
	const struct nh_fw_sink sink = {.write = append, .ctx = &bytes};
	if (nh_fw_create(&options, &sink, NULL, &err) != NH_OK)
		fail_msg("%s", err.msg);
	int fd = mkstemp(path);
	unlink(path);
	assert_int_equal(write(fd, bytes.ptr, bytes.len), (ssize_t)bytes.len);
	return fd;
}

#define CONF(version, extra)                                                                                                      \
	"meta-product = \"Thermo Widget\"\nmeta-version = \"" version "\"\nmeta-platform = \"p\"\nmeta-architecture = \"a\"\n" extra    \
	"\ntask complete { on-init { info(\"x\") } }\n"

/* What an uploader writes into metadata is text: the server's environment does not show through. */
static void test_nothing_is_expanded(void **state)
{
	NH_AUTO_ARENA struct nh_arena arena = NH_ARENA_INIT;
	NH_AUTO_BUF struct nh_buf key = NH_BUF_INIT;
	struct nh_err err = NH_ERR_INIT;
	struct nh_firmware_facts f;
	setenv("DATABASE_URL", "postgres://secret", 1);
	int fd = make_archive(CONF("1.0.0", "meta-author = \"\\${DATABASE_URL}\"\nmeta-description = \"\\${PATH} and \\${HOME:-x}\""), &key);
	const char *const keys[] = {nh_buf_cstr(&key)};
	struct nh_firmware_intake intake = intake_with("Thermo Widget", keys, 1);
	nh_rc rc = nh_firmware_inspect(&arena, &intake, fd, &f, NULL, &err);
	close(fd);
	if (rc != NH_OK)
		fail_msg("%s", err.msg);
	assert_true(nh_slice_eq_str(f.author, "${DATABASE_URL}"));
	assert_true(nh_slice_starts(f.description, NH_LIT("${PATH} and ${HOME")));
}

static void test_version_must_be_semantic(void **state)
{
	NH_AUTO_ARENA struct nh_arena arena = NH_ARENA_INIT;
	NH_AUTO_BUF struct nh_buf key = NH_BUF_INIT;
	NH_AUTO_JSON json_t *errors = NULL;
	struct nh_firmware_facts f;
	int fd = make_archive(CONF("1.0", ""), &key);
	const char *const keys[] = {nh_buf_cstr(&key)};
	struct nh_firmware_intake intake = intake_with("Thermo Widget", keys, 1);
	assert_int_equal(nh_firmware_inspect(&arena, &intake, fd, &f, &errors, NULL), NH_EINVAL);
	close(fd);
	assert_string_equal(json_string_value(json_array_get(json_object_get(errors, "version"), 0)), "must be a valid semantic version");
}

/* ---- order of versions ------------------------------------------------------------------------------------------------- */

static void test_version_key(void **state)
{
	/* source: SemVer 2.0 section 11, with numbers beyond ten digits */
	static const char *const ascending[] = {"0.0.1",       "0.9.0",           "1.0.0-alpha",  "1.0.0-alpha.1", "1.0.0-alpha.beta", "1.0.0-beta",
	                                        "1.0.0-beta.2", "1.0.0-beta.11", "1.0.0-rc.1",   "1.0.0",         "1.0.1",            "1.2.0",
	                                        "1.10.0",      "2.0.0",           "12345678901.0.0"};
	for (size_t i = 0; i < NH_ARRAY_LEN(ascending); i++) {
		for (size_t j = 0; j < NH_ARRAY_LEN(ascending); j++) {
			NH_AUTO_BUF struct nh_buf a = NH_BUF_INIT;
			NH_AUTO_BUF struct nh_buf b = NH_BUF_INIT;
			assert_int_equal(nh_version_key(nh_slice_str(ascending[i]), &a), NH_OK);
			assert_int_equal(nh_version_key(nh_slice_str(ascending[j]), &b), NH_OK);
			int order = nh_slice_cmp(nh_buf_slice(&a), nh_buf_slice(&b));
			assert_int_equal((order > 0) - (order < 0), (i > j) - (i < j));
		}
	}
	NH_AUTO_BUF struct nh_buf out = NH_BUF_INIT;
	assert_int_equal(nh_version_key(NH_LIT("1.0"), &out), NH_EFORMAT);
}

/* ---- rows -------------------------------------------------------------------------------------------------------------- */

static struct nh_firmware_facts facts_of(const struct world *w, const char *uuid, const char *version)
{
	return (struct nh_firmware_facts){
		.org_key_id = *(const int64_t *)w->arg,
		.product = NH_LIT("Thermo Widget"),
		.uuid = nh_slice_str(uuid),
		.version = nh_slice_str(version),
		.platform = NH_LIT("p"),
		.architecture = NH_LIT("a"),
		.size_bytes = 4,
		.checksum = NH_LIT("AB"),
		.partials_checksums = NH_LIT("[]"),
	};
}

static nh_rc publish(struct world *w, const struct nh_firmware_intake *intake, const struct nh_firmware_facts *facts, struct nh_firmware *out)
{
	nh_slice key;
	NH_TRY(nh_firmware_claim(&w->ctx, &w->as_ada, intake, facts, &key, NO_ERRORS(w), E(w)));
	return nh_firmware_publish(&w->ctx, &w->as_ada, intake, facts, key, out, NO_ERRORS(w), E(w));
}

static nh_rc rows(struct world *w, struct nh_err *err)
{
	struct nh_org_key key;
	struct nh_firmware_intake intake;
	struct nh_firmware f, *list;
	nh_slice *loose, object;
	size_t count = 0;
	int64_t key_id;
	OK(nh_org_key_create(&w->ctx, &w->as_ada, w->acme.id, NH_LIT("k1"), NH_LIT(KEY1), NH_SLICE_EMPTY, &key, NULL, E(w)));
	key_id = key.id;
	w->arg = &key_id;
	CHECK_RC(NH_ENOTFOUND, nh_firmware_intake_open(&w->ctx, &w->as_eve, w->acme.id, NH_LIT("Thermo Widget"), &intake, E(w)));
	CHECK_RC(NH_ENOTFOUND, nh_firmware_intake_open(&w->ctx, &w->as_ada, w->acme.id, NH_LIT("Other"), &intake, E(w)));
	OK(nh_firmware_intake_open(&w->ctx, &w->as_ada, w->acme.id, NH_LIT("Thermo Widget"), &intake, E(w)));
	CHECK(intake.key_count == 1 && intake.keys[0].id == key_id && intake.max_bytes == 1 << 20);

	struct nh_firmware_facts a = facts_of(w, "aaaaaaaa-0000-0000-0000-000000000001", "1.9.0"), b = facts_of(w, "aaaaaaaa-0000-0000-0000-000000000002", "1.10.0");
	OK(publish(w, &intake, &a, &f));
	CHECK(effects_of(w, NH_EFFECT_TOPIC) == 1);
	OK(publish(w, &intake, &b, &f));
	OK(nh_firmware_list(&w->ctx, &w->as_ada, &w->widget, &list, &count, E(w)));
	CHECK(count == 2 && nh_slice_eq_str(list[0].version, "1.10.0") && nh_slice_eq_str(list[1].version, "1.9.0"));
	CHECK(nh_slice_starts(f.object_key, NH_LIT("firmware/")) && f.size_bytes == 4 && !f.author.ptr);

	/* duplicates, deleted keys, strangers */
	CHECK_RC(NH_EINVAL, publish(w, &intake, &a, &f));
	CHECK(refused_with(w, "uuid", "has already been taken"));
	struct nh_firmware_facts same_version = facts_of(w, "aaaaaaaa-0000-0000-0000-000000000003", "1.9.0");
	CHECK_RC(NH_EINVAL, publish(w, &intake, &same_version, &f));
	CHECK(refused_with(w, "version", "has already been taken for this product"));
	NH_AUTO_JSON json_t *lax = json_pack("{s:b}", "require_unique_firmware_version", 0);
	OK(nh_product_update(&w->ctx, &w->as_ada, &w->widget, lax, &w->widget, NULL, E(w)));
	OK(publish(w, &intake, &same_version, &f));
	struct nh_firmware_facts stranger = facts_of(w, "aaaaaaaa-0000-0000-0000-000000000004", "3.0.0");
	stranger.org_key_id = 4711;
	CHECK_RC(NH_EINVAL, publish(w, &intake, &stranger, &f));
	CHECK(refused_with(w, NULL, "deleted meanwhile"));
	CHECK_RC(NH_ENOTFOUND, nh_firmware_claim(&w->ctx, &w->as_eve, &intake, &b, &object, NO_ERRORS(w), E(w)));
	CHECK_RC(NH_ENOTFOUND, nh_firmware_list(&w->ctx, &w->as_eve, &w->widget, &list, &count, E(w)));
	CHECK_RC(NH_ENOTFOUND, nh_firmware_open(&w->ctx, &w->as_eve, &w->widget, a.uuid, NH_MAY_FIRMWARE_SEE, &f, E(w)));
	CHECK_RC(NH_ENOTFOUND, nh_firmware_delete(&w->ctx, &w->as_eve, &w->widget, a.uuid, NO_ERRORS(w), E(w)));

	/* a key that firmware uses stays */
	CHECK_RC(NH_ECONFLICT, nh_org_key_delete(&w->ctx, &w->as_ada, w->acme.id, NH_LIT("k1"), NO_ERRORS(w), E(w)));
	CHECK(refused_with(w, "firmwares", "Firmware exists which uses the Signing Key"));

	/* a claim without a row falls due after an hour; what a deleted row named is due at once */
	struct nh_firmware_facts lost = facts_of(w, "aaaaaaaa-0000-0000-0000-000000000005", "4.0.0");
	struct nh_firmware_facts late = facts_of(w, "aaaaaaaa-0000-0000-0000-000000000006", "5.0.0");
	OK(nh_firmware_claim(&w->ctx, &w->as_ada, &intake, &lost, &object, NULL, E(w)));
	OK(nh_loose_objects_due(&w->ctx, 10, &loose, &count, E(w)));
	CHECK(count == 0);
	OK(nh_firmware_delete(&w->ctx, &w->as_ada, &w->widget, a.uuid, NULL, E(w)));
	CHECK(effects_of(w, NH_EFFECT_OBJECT_DELETE) == 1);
	OK(nh_loose_objects_due(&w->ctx, 10, &loose, &count, E(w)));
	CHECK(count == 1);
	OK(nh_loose_object_gone(&w->ctx, loose[0], E(w)));
	w->now_us += 3601 * NH_US_PER_S;
	OK(nh_loose_objects_due(&w->ctx, 10, &loose, &count, E(w)));
	CHECK(count == 1 && nh_slice_eq(loose[0], object));
	/* the insert of a refused publish goes with its transaction; here it stays, hence two firmwares */
	CHECK_RC(NH_ETIMEOUT, nh_firmware_publish(&w->ctx, &w->as_ada, &intake, &lost, object, &f, NO_ERRORS(w), E(w)));
	OK(nh_loose_object_gone(&w->ctx, object, E(w)));

	/* what this node's last run claimed falls due at its start; another node's claim is its own */
	struct nh_firmware_facts cut = facts_of(w, "aaaaaaaa-0000-0000-0000-000000000007", "6.0.0");
	w->config.node = NH_LIT("here");
	OK(nh_firmware_claim(&w->ctx, &w->as_ada, &intake, &cut, &object, NULL, E(w)));
	w->config.node = NH_LIT("there");
	OK(nh_loose_objects_abandon(&w->ctx, E(w)));
	OK(nh_loose_objects_due(&w->ctx, 10, &loose, &count, E(w)));
	CHECK(count == 0);
	w->config.node = NH_LIT("here");
	OK(nh_loose_objects_abandon(&w->ctx, E(w)));
	OK(nh_loose_objects_due(&w->ctx, 10, &loose, &count, E(w)));
	CHECK(count == 1 && nh_slice_eq(loose[0], object));
	CHECK_RC(NH_ETIMEOUT, nh_firmware_publish(&w->ctx, &w->as_ada, &intake, &late, NH_LIT("firmware/none.fw"), &f, NO_ERRORS(w), E(w)));
	return NH_OK;
}
static void test_rows(void **state) { on_each_engine(rows, NULL); }

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_refusals),
		cmocka_unit_test(test_empty_and_oversized),
		cmocka_unit_test(test_good),
		cmocka_unit_test(test_nothing_is_expanded),
		cmocka_unit_test(test_version_must_be_semantic),
		cmocka_unit_test(test_version_key),
		cmocka_unit_test(test_rows),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
