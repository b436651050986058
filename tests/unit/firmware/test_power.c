/*
 * What the medium sees: aligned whole segments, the switch last and alone behind a flush; and power cuts after any number of writes, which must leave
 * the old system or the complete new one. The system calls are seen through the linker (--wrap; Meson builds with 64-bit offsets, hence pwrite64).  source: reference/fwup-format "11.3", "18.4"
 */
#include <errno.h>

#include "applying.h"
#include "firmware/uboot_env.h"

ssize_t __real_pwrite64(int fd, const void *bytes, size_t len, off_t offset);
ssize_t __wrap_pwrite64(int fd, const void *bytes, size_t len, off_t offset);
int __real_fdatasync(int fd);
int __wrap_fdatasync(int fd);

static struct {
	bool watch;
	unsigned writes, syncs;
	unsigned cut_after;       /* writes that still reach the medium */
	unsigned fail_at;         /* this write (1 = the first) fails with EIO; 0 = none */
	off_t last_offset;
	unsigned syncs_at_last;   /* how many flushes had come when the last write came */
	unsigned writes_at_sync;
} medium;

ssize_t __wrap_pwrite64(int fd, const void *bytes, size_t len, off_t offset)
{
	if (!medium.watch)
		return __real_pwrite64(fd, bytes, len, offset);
	assert_int_equal((uintptr_t)bytes % 4096, 0);
	assert_int_equal(offset % 131072, 0);
	assert_int_equal(len % 512, 0);
	medium.writes++;
	medium.last_offset = offset;
	medium.syncs_at_last = medium.syncs;
	if (medium.writes == medium.fail_at) {
		errno = EIO;
		return -1;
	}
	if (medium.writes > medium.cut_after)
		return (ssize_t)len; /* nobody notices: the power is gone */
	return __real_pwrite64(fd, bytes, len, offset);
}

int __wrap_fdatasync(int fd)
{
	medium.syncs += medium.watch;
	medium.writes_at_sync = medium.writes;
	return __real_fdatasync(fd);
}

static nh_rc watched(int fd, const char *archive, const char *task, unsigned cut_after, unsigned fail_at)
{
	struct heard h;
	struct nh_err err = NH_ERR_INIT;
	NH_AUTO_BUF struct nh_buf fw = fixture(archive);
	memset(&medium, 0, sizeof medium);
	medium.cut_after = cut_after;
	medium.fail_at = fail_at;
	medium.watch = true;
	nh_rc rc = run_job(&(struct job){.task = task, .archive = nh_buf_slice(&fw), .fd = fd}, &h, &err);
	medium.watch = false;
	nh_buf_fini(&h.messages);
	return rc;
}

#define NEVER UINT32_MAX

static void test_order(void **state)
{
	int fd = image_new();
	assert_int_equal(watched(fd, "widget-1.0.0.fw", "complete", NEVER, 0), NH_OK);
	assert_int_equal(watched(fd, "widget-1.1.0.fw", "upgrade", NEVER, 0), NH_OK);
	assert_int_equal(medium.last_offset, 0); /* partition table and environment */
	assert_int_equal(medium.syncs_at_last, 1);
	assert_int_equal(medium.syncs, 2);
	assert_int_equal(medium.writes_at_sync, medium.writes);
	close(fd);
}

/* The value of a variable in the image; fails the test where the environment does not decode. */
static bool active_is(int fd, const char *slot)
{
	struct nh_fw_env *e = nh_fw_env_new();
	struct nh_err err = NH_ERR_INIT;
	nh_slice value;
	if (nh_fw_env_load(e, fd, &(struct nh_fw_env_place){.offset_bytes = 16 * 512, .size_bytes = 16 * 512}, &err) != NH_OK)
		fail_msg("%s", err.msg);
	bool is = nh_fw_env_get(e, NH_LIT("nerves_fw_active"), &value) && nh_slice_eq_str(value, slot);
	nh_fw_env_free(e);
	return is;
}

static void test_power_cut(void **state)
{
	int fd = image_new();
	assert_int_equal(watched(fd, "widget-1.0.0.fw", "complete", NEVER, 0), NH_OK);
	NH_AUTO_BUF struct nh_buf base = image_bytes(fd);
	assert_int_equal(watched(fd, "widget-1.1.0.fw", "upgrade", NEVER, 0), NH_OK);
	NH_AUTO_BUF struct nh_buf whole = image_bytes(fd);
	unsigned all = medium.writes;
	assert_true(all >= 3);
	for (unsigned n = 0; n <= all; n++) {
		image_set(fd, nh_buf_slice(&base));
		assert_int_equal(watched(fd, "widget-1.1.0.fw", "upgrade", n, 0), NH_OK);
		NH_AUTO_BUF struct nh_buf now = image_bytes(fd);
		assert_memory_equal(now.ptr + 256 * 512, base.ptr + 256 * 512, 512 * 512);   /* boot A */
		assert_memory_equal(now.ptr + 1280 * 512, base.ptr + 1280 * 512, 256 * 512); /* rootfs A */
		if (active_is(fd, "b"))
			assert_memory_equal(now.ptr, whole.ptr, whole.len);
		else
			assert_memory_equal(now.ptr, base.ptr, 131072); /* partition table, environment */
		assert_int_equal(active_is(fd, "b"), n == all);
		/* and the interrupted update can simply be done again */
		if (n < all) {
			assert_int_equal(watched(fd, "widget-1.1.0.fw", "upgrade", NEVER, 0), NH_OK);
			nh_buf_fini(&now);
			now = image_bytes(fd);
			assert_memory_equal(now.ptr, whole.ptr, whole.len);
		}
	}
	close(fd);
}

/* A write that fails ends it: no further one follows, and the error says where. */
static void test_write_errors(void **state)
{
	int fd = image_new();
	assert_int_equal(watched(fd, "widget-1.0.0.fw", "complete", NEVER, 0), NH_OK);
	NH_AUTO_BUF struct nh_buf base = image_bytes(fd);
	assert_int_equal(watched(fd, "widget-1.1.0.fw", "upgrade", NEVER, 0), NH_OK);
	unsigned all = medium.writes;
	for (unsigned n = 1; n <= all; n++) {
		image_set(fd, nh_buf_slice(&base));
		assert_int_equal(watched(fd, "widget-1.1.0.fw", "upgrade", NEVER, n), NH_EIO);
		assert_int_equal(medium.writes, n);
		assert_true(active_is(fd, "a"));
	}
	close(fd);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_order), cmocka_unit_test(test_power_cut), cmocka_unit_test(test_write_errors)};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
