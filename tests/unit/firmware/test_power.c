/*
 * What the medium sees: aligned whole segments, the switch last and alone behind a flush; and power cuts, which must leave the old system or the complete
 * new one: after any number of writes, and with any part of what was not flushed lost, down to single blocks. The system calls are seen through the linker (--wrap; Meson builds with 64-bit offsets, hence pwrite64).  source: reference/fwup-format "11.3", "18.4"
 */
#include <errno.h>

#include "applying.h"
#include "base/rng.h"
#include "firmware/create.h"
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
	struct nh_buf platter;    /* what the last flush made sure of */
	void (*cut)(int fd);      /* NULL, or called after each write and each flush: the power may go here */
} medium;

static void may_cut(int fd)
{
	bool watch = medium.watch;
	medium.watch = false;
	if (medium.cut)
		medium.cut(fd);
	medium.watch = watch;
}

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
	ssize_t n = __real_pwrite64(fd, bytes, len, offset);
	may_cut(fd);
	return n;
}

int __wrap_fdatasync(int fd)
{
	medium.syncs += medium.watch;
	medium.writes_at_sync = medium.writes;
	if (medium.watch && medium.cut) {
		nh_buf_fini(&medium.platter);
		medium.platter = image_bytes(fd);
		may_cut(fd);
	}
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

static void power_cut(const char *upgrade)
{
	int fd = image_new();
	assert_int_equal(watched(fd, "widget-1.0.0.fw", "complete", NEVER, 0), NH_OK);
	NH_AUTO_BUF struct nh_buf base = image_bytes(fd);
	assert_int_equal(watched(fd, upgrade, "upgrade", NEVER, 0), NH_OK);
	NH_AUTO_BUF struct nh_buf whole = image_bytes(fd);
	unsigned all = medium.writes;
	assert_true(all >= 3);
	for (unsigned n = 0; n <= all; n++) {
		image_set(fd, nh_buf_slice(&base));
		assert_int_equal(watched(fd, upgrade, "upgrade", n, 0), NH_OK);
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
			assert_int_equal(watched(fd, upgrade, "upgrade", NEVER, 0), NH_OK);
			nh_buf_fini(&now);
			now = image_bytes(fd);
			assert_memory_equal(now.ptr, whole.ptr, whole.len);
		}
	}
	close(fd);
}

static void test_power_cut(void **state)
{
	power_cut("widget-1.1.0.fw");
	power_cut("widget-1.0.0-to-1.1.0.delta.fw");
}

/* ---- any part of what was not flushed is lost ---------------------------------------------------------------------------------------- */

#define SLOT_A 1024u
#define SLOT_B 4096u
#define SLOT_BLOCKS 700u
#define LOSSES 12 /* tried at each point */

static struct {
	struct nh_fw_env_place env;
	struct nh_buf old, new; /* contents of the slots before and after */
	struct nh_rng rng;
	unsigned points, switched; /* looked at; found on the new system */
} cuts;

static nh_slice slot_of(const struct nh_buf *image, unsigned block) { return nh_slice_sub(nh_buf_slice(image), block * 512, SLOT_BLOCKS * 512); }

/* What the power leaves: the platter, and of each block written since either the old or the new. Must boot, one system or the other, whole. */
static void check_loss(const struct nh_buf *now)
{
	int fd = image_new();
	NH_AUTO_BUF struct nh_buf left = NH_BUF_INIT;
	nh_buf_put_slice(&left, nh_buf_slice(now));
	uint64_t keep = nh_rng_below(&cuts.rng, 5); /* of four: from nothing to everything */
	for (size_t at = 0; at < left.len; at += 512) {
		nh_slice before = nh_slice_sub(nh_buf_slice(&medium.platter), at, 512);
		if (nh_rng_below(&cuts.rng, 4) >= keep)
			for (size_t i = 0; i < 512; i++)
				left.ptr[at + i] = i < before.len ? before.ptr[i] : 0;
	}
	image_set(fd, nh_buf_slice(&left));
	struct nh_fw_env *e = nh_fw_env_new();
	struct nh_err err = NH_ERR_INIT;
	nh_slice active = NH_SLICE_EMPTY;
	if (nh_fw_env_load(e, fd, &cuts.env, &err) != NH_OK || !nh_fw_env_get(e, NH_LIT("active"), &active))
		fail_msg("after write %u no environment is left: %s", medium.writes, err.msg);
	assert_true(nh_slice_eq(slot_of(&left, SLOT_A), nh_buf_slice(&cuts.old)));
	if (nh_slice_eq_str(active, "b")) {
		cuts.switched++;
		assert_true(nh_slice_eq(slot_of(&left, SLOT_B), nh_buf_slice(&cuts.new)));
	}
	cuts.points++;
	nh_fw_env_free(e);
	close(fd);
}

static void cut_here(int fd)
{
	NH_AUTO_BUF struct nh_buf now = image_bytes(fd);
	for (unsigned i = 0; i < LOSSES; i++)
		check_loss(&now);
}

static void random_fill(struct nh_buf *b)
{
	nh_buf_fill(b, 0, SLOT_BLOCKS * 512);
	nh_rng_fill(&cuts.rng, b->ptr, b->len);
}

static void run_watched(const char *dir, const char *conf, const char *task, int fd, void (*cut)(int fd))
{
	NH_AUTO_ARENA struct nh_arena arena = NH_ARENA_INIT;
	NH_AUTO_BUF struct nh_buf fw = NH_BUF_INIT;
	struct nh_err err = NH_ERR_INIT;
	struct heard h;
	const char *path = nh_arena_printf(&arena, "%s/a.fw", dir);
	struct nh_fw_vars *vars = nh_fw_vars_new(NULL, NULL);
	if (nh_fw_create_file(&(struct nh_fw_create_options){.text = nh_slice_str(conf), .vars = vars, .time_s = 1, .level = 1}, path, &err) != NH_OK ||
	    nh_file_read(path, 16u << 20, &fw, &err) != NH_OK)
		fail_msg("%s\n%s", err.msg, conf);
	nh_fw_vars_free(vars);
	memset(&medium, 0, sizeof medium);
	medium.cut_after = NEVER;
	medium.platter = image_bytes(fd);
	medium.cut = cut;
	medium.watch = true;
	if (run_job(&(struct job){.task = task, .archive = nh_buf_slice(&fw), .fd = fd}, &h, &err) != NH_OK)
		fail_msg("%s: %s", task, err.msg);
	medium.watch = false;
	nh_buf_fini(&medium.platter);
	nh_buf_fini(&h.messages);
}

/* The copies of the environment in one segment, in two, and one behind the slots. */
static void test_lost_blocks(void **state)
{
	static const unsigned redundant_at[] = {64, 512, 6144};
	struct nh_rng_seeded seeded;
	cuts.rng = nh_rng_seeded_init(&seeded, 99);
	char *dir = make_dir();
	for (size_t i = 0; i < NH_ARRAY_LEN(redundant_at); i++) {
		NH_AUTO_ARENA struct nh_arena arena = NH_ARENA_INIT;
		int fd = image_new();
		cuts.env = (struct nh_fw_env_place){.offset_bytes = 16 * 512, .size_bytes = 8 * 512, .redundant = true, .offset_redund_bytes = redundant_at[i] * 512};
		cuts.points = cuts.switched = 0;
		nh_buf_clear(&cuts.old);
		nh_buf_clear(&cuts.new);
		random_fill(&cuts.old);
		random_fill(&cuts.new);
		const char *resource = nh_arena_printf(&arena, "%s/r", dir);
		const char *conf = nh_arena_printf(&arena, "file-resource r { host-path=\"%s\" }\nuboot-environment e { block-offset=16 block-count=8 block-offset-redund=%u }\n"
			"task complete { on-init { uboot_clearenv(e) uboot_setenv(e, active, a) } on-resource r { raw_write(%u) } }\n"
			"task upgrade { on-resource r { raw_write(%u) } on-finish { uboot_setenv(e, active, b) } }\n", resource, redundant_at[i], SLOT_A, SLOT_B);
		assert_int_equal(nh_file_write_atomic(resource, nh_buf_slice(&cuts.old), 0600, NULL), NH_OK);
		run_watched(dir, conf, "complete", fd, NULL);
		assert_int_equal(nh_file_write_atomic(resource, nh_buf_slice(&cuts.new), 0600, NULL), NH_OK);
		run_watched(dir, conf, "upgrade", fd, cut_here);
		assert_true(cuts.points > 50);
		assert_in_range(cuts.switched, LOSSES / 2, cuts.points - LOSSES); /* the end, and not much more */
		close(fd);
	}
	nh_buf_fini(&cuts.old);
	nh_buf_fini(&cuts.new);
	remove_dir(dir);
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
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_order), cmocka_unit_test(test_power_cut), cmocka_unit_test(test_lost_blocks), cmocka_unit_test(test_write_errors)};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
