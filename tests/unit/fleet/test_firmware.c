/*
 * The life of a virtual disk without a network: factory, update, boot, self-test, validation, and the way back when a firmware does not pass.
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "firmware/apply.h"
#include "firmware/verify.h"
#include "fleet/firmware.h"
#include "link/machine.h"
#include "scratch.h"
#include "test_base.h"

static struct nh_fw_public_key public_key;
static struct nh_fw_private_key private_key;

static int setup(void **state)
{
	snprintf(dir, sizeof(dir), "/tmp/nh-fleet-fw-XXXXXX");
	nh_fw_key_generate(&nh_rng_system, &public_key, &private_key);
	return mkdtemp(dir) ? 0 : -1;
}

static int teardown(void **state)
{
	char command[128];
	snprintf(command, sizeof(command), "rm -rf '%s'", dir);
	return system(command);
}

static void make(const char *name, const char *version, const char *fails)
{
	struct nh_err err = NH_ERR_INIT;
	struct nh_fleet_firmware f = {.version = version, .fails = fails, .key = &private_key, .size_bytes = 8192};
	if (nh_fleet_firmware_make(&f, in_dir(name), &err) != NH_OK)
		fail_msg("%s", err.msg);
}

static nh_rc apply(const char *name, const char *task, struct nh_err *err)
{
	NH_AUTO_BUF struct nh_buf bytes = NH_BUF_INIT;
	struct nh_fw_apply *a = NULL;
	NH_TRY(nh_file_read(in_dir(name), 1 << 24, &bytes, err));
	NH_TRY(nh_fw_apply_new(&(struct nh_fw_apply_config){.path = in_dir("disk"), .fd = -1, .task = task, .keys = &public_key, .key_count = 1, .no_sync = true}, &a, err));
	nh_rc rc = nh_fw_apply_feed(a, nh_buf_slice(&bytes), err);
	if (rc == NH_OK)
		rc = nh_fw_apply_finish(a, err);
	nh_fw_apply_free(a);
	return rc;
}

static void applied(const char *name, const char *task)
{
	struct nh_err err = NH_ERR_INIT;
	if (apply(name, task, &err) != NH_OK)
		fail_msg("%s", err.msg);
}

static nh_rc hook(void *ctx, struct nh_err *err) { return nh_fleet_selftest(in_dir("disk"), err); }

/* A machine that knows nothing but the disk, as after every reboot. */
static struct nh_machine *machine(void)
{
	static struct nh_machine_config config;
	struct nh_machine *m = NULL;
	config = (struct nh_machine_config){.devpath = in_dir("disk"), .env_offset = NH_FLEET_ENV_BLOCK * NH_FLEET_BLOCK,
					    .env_size = NH_FLEET_ENV_BLOCKS * NH_FLEET_BLOCK, .installer = NH_MACHINE_BUILTIN, .validate = hook};
	assert_int_equal(nh_machine_new(&config, &m, NULL), NH_OK);
	return m;
}

struct booted {
	bool reverted, validated;
	char version[32], uuid[64];
};

static struct booted boot(void)
{
	NH_AUTO_ARENA struct nh_arena arena = NH_ARENA_INIT;
	struct nh_link_state state = {0};
	struct nh_err err = NH_ERR_INIT;
	struct booted b = {0};
	struct nh_machine *m = machine();
	if (nh_machine_boot(m, &b.reverted, &err) != NH_OK || nh_machine_platform.read_state(m, &arena, &state, &err) != NH_OK)
		fail_msg("%s", err.msg);
	b.validated = state.validated;
	snprintf(b.version, sizeof(b.version), "%.*s", NH_ARG(nh_link_state_get(&state, "nerves_fw_version")));
	snprintf(b.uuid, sizeof(b.uuid), "%.*s", NH_ARG(nh_link_state_get(&state, "nerves_fw_uuid")));
	assert_slice(nh_link_state_get(&state, "nerves_fw_product"), "virtual");
	assert_slice(nh_link_state_get(&state, "nerves_fw_platform"), "virtual");
	assert_slice(nh_link_state_get(&state, "nerves_fw_architecture"), "generic");
	nh_machine_free(m);
	return b;
}

static nh_rc validate(struct nh_err *err)
{
	struct nh_machine *m = machine();
	nh_rc rc = nh_machine_platform.validate(m, err);
	nh_machine_free(m);
	return rc;
}

static void test_good_update(void **state)
{
	struct nh_err err = NH_ERR_INIT;
	make("1.fw", "1.0.0", NULL);
	make("2.fw", "1.1.0", NULL);
	applied("1.fw", "complete");
	struct booted b = boot(), again;
	assert_string_equal(b.version, "1.0.0");
	assert_true(b.validated);
	applied("2.fw", "upgrade");
	again = boot();
	assert_string_equal(again.version, "1.1.0");
	assert_string_not_equal(again.uuid, b.uuid);
	assert_false(again.validated);
	assert_false(again.reverted);
	if (validate(&err) != NH_OK)
		fail_msg("%s", err.msg);
	for (unsigned i = 0; i < 3; i++) {
		again = boot();
		assert_string_equal(again.version, "1.1.0");
		assert_true(again.validated);
		assert_false(again.reverted);
	}
	/* and back over the slots: the next one goes to A again */
	make("3.fw", "1.2.0", NULL);
	applied("3.fw", "upgrade");
	assert_string_equal(boot().version, "1.2.0");
}

static void test_bad_update(void **state)
{
	struct nh_err err = NH_ERR_INIT;
	make("1.fw", "1.0.0", NULL);
	make("2.fw", "1.2.0", "the sensor bus does not answer");
	applied("1.fw", "complete");
	assert_true(boot().validated);
	applied("2.fw", "upgrade");
	assert_string_equal(boot().version, "1.2.0");
	assert_int_equal(validate(&err), NH_EPERM);
	assert_non_null(strstr(err.msg, "the sensor bus does not answer"));
	struct booted back = boot();
	assert_string_equal(back.version, "1.0.0");
	assert_true(back.reverted);
	assert_true(back.validated);
	back = boot();
	assert_string_equal(back.version, "1.0.0");
	assert_false(back.reverted);
}

/* Power fails in the middle of an update: the disk still boots what it ran. */
static void test_interrupted(void **state)
{
	NH_AUTO_BUF struct nh_buf bytes = NH_BUF_INIT;
	struct nh_fw_apply *a = NULL;
	make("1.fw", "1.0.0", NULL);
	make("2.fw", "1.1.0", NULL);
	applied("1.fw", "complete");
	boot();
	assert_int_equal(nh_file_read(in_dir("2.fw"), 1 << 24, &bytes, NULL), NH_OK);
	assert_int_equal(nh_fw_apply_new(&(struct nh_fw_apply_config){.path = in_dir("disk"), .fd = -1, .task = "upgrade", .keys = &public_key, .key_count = 1}, &a, NULL), NH_OK);
	assert_int_equal(nh_fw_apply_feed(a, nh_slice_sub(nh_buf_slice(&bytes), 0, bytes.len / 2), NULL), NH_OK);
	nh_fw_apply_free(a);
	struct booted b = boot();
	assert_string_equal(b.version, "1.0.0");
	assert_true(b.validated);
}

static void test_refused(void **state)
{
	struct nh_err err = NH_ERR_INIT;
	struct nh_fleet_firmware small = {.size_bytes = 100}, lines = {.fails = "a\nb"}, quote = {.version = "1\"0"}, unsigned_one = {.version = "1.0.0"};
	assert_int_equal(nh_fleet_firmware_make(&small, in_dir("x.fw"), &err), NH_EINVAL);
	assert_int_equal(nh_fleet_firmware_make(&lines, in_dir("x.fw"), &err), NH_EINVAL);
	assert_int_equal(nh_fleet_firmware_make(&quote, in_dir("x.fw"), &err), NH_EINVAL);
	assert_int_equal(access(in_dir("x.fw"), F_OK), -1);
	assert_int_equal(access(in_dir("x.fw.rootfs"), F_OK), -1);

	assert_int_equal(nh_fleet_selftest(in_dir("nothing"), &err), NH_EIO);
	assert_int_equal(nh_file_write_atomic(in_dir("disk"), NH_LIT("no disk"), 0600, NULL), NH_OK);
	assert_int_equal(nh_fleet_selftest(in_dir("disk"), &err), NH_EFORMAT);
	unlink(in_dir("disk"));

	assert_int_equal(nh_fleet_firmware_make(&unsigned_one, in_dir("u.fw"), &err), NH_OK);
	assert_int_equal(apply("u.fw", "complete", &err), NH_EAUTH);
	make("1.fw", "1.0.0", NULL);
	assert_int_not_equal(apply("1.fw", "upgrade", &err), NH_OK); /* an empty disk has no active slot */
}

/* The same version always holds the same bytes, so that a run can be repeated; another version holds others. */
static void test_size(void **state)
{
	struct nh_err err = NH_ERR_INIT;
	struct nh_fleet_firmware big = {.version = "1.0.0", .key = &private_key, .size_bytes = 1 << 20}, none = {.version = "1.0.0", .key = &private_key};
	struct stat one, other;
	assert_int_equal(nh_fleet_firmware_make(&big, in_dir("big.fw"), &err), NH_OK);
	assert_int_equal(nh_fleet_firmware_make(&none, in_dir("none.fw"), &err), NH_OK);
	assert_int_equal(stat(in_dir("big.fw"), &one), 0);
	assert_int_equal(stat(in_dir("none.fw"), &other), 0);
	/* filler does not compress */
	assert_in_range(one.st_size, 1 << 20, (1 << 20) + 16384);
	assert_in_range(other.st_size, 256 << 10, (256 << 10) + 16384);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_good_update, setup, teardown), cmocka_unit_test_setup_teardown(test_bad_update, setup, teardown),
		cmocka_unit_test_setup_teardown(test_interrupted, setup, teardown), cmocka_unit_test_setup_teardown(test_refused, setup, teardown),
		cmocka_unit_test_setup_teardown(test_size, setup, teardown),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
