/*
 * Applying the reference archives to image files: the images must be the reference tool's, bit for bit, failures must leave what was there, and
 * no cut, however unlucky, may touch the running slot.  source: tests/vectors/firmware/README.md "Applying"
 */
#include "applying.h"
#include "firmware/uboot_env.h"

#define EMPTY "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
#define BASE "c06ca75408d9e8387737100c154d85b18213f974bc244738ba180500a761ae86"
#define UP_11 "83ee96e781cfb1bcdb05328905313a952efb68302c4ed8563a6d6909b61d667b"

/* start: NULL = no file, else the archive whose "complete" and then the upgrade whose result it begins with */
static const struct row {
	const char *base, *then, *archive, *task;
	unsigned key;
	nh_rc rc;
	uint64_t size;
	const char *sha256;
	const char *info, *error; /* message, beginning of the error */
} rows[] = {
	{NULL, NULL, "widget-1.0.0.fw", "complete", 1, NH_OK, 1048576, BASE, "", NULL},
	{NULL, NULL, "widget-1.1.0.fw", "complete", 1, NH_OK, 1048576, "3fd6bcccead50240a90346826e69854a9034ec66bf810004f8a2f558366c386e", "", NULL},
	{NULL, NULL, "widget-2.0.0-rc.1.fw", "complete", 0, NH_OK, 1048576, "70a441c810958e09084ffabb4723ff563b75f40b330202357e5fb853410516da", "",
	 NULL},
	{"widget-1.0.0.fw", NULL, "widget-1.1.0.fw", "upgrade", 1, NH_OK, 1048576, UP_11, "Upgrading partition B\n", NULL},
	{"widget-1.0.0.fw", "widget-1.1.0.fw", "widget-2.0.0-rc.1.fw", "upgrade", 1, NH_OK, 1048576,
	 "c76ee0ca3370cd34ac8b8e6712b35bce2e109f6076c6a325e2a8ddcf98cb97ad", "Upgrading partition A\n", NULL},
	{NULL, NULL, "widget-1.0.0.fw", "upgrade", 0, NH_EPERM, 0, EMPTY, "", "Neither slot looks active"},
	{NULL, NULL, "widget-1.0.0-to-1.1.0.delta.fw", "complete", 0, NH_EUNSUPPORTED, 0, EMPTY, "",
	 "File 'kernel.bin' isn't expected size (78 vs 6143) and xdelta3 patch support not enabled on it. (Add delta-source-raw-offset / "
	 "delta-source-raw-count or delta-source-fat-offset / delta-source-fat-path)"},
	/* The patch gives what the whole archive gives. Against other old data it fails, the running slot untouched. */
	{"widget-1.0.0.fw", NULL, "widget-1.0.0-to-1.1.0.delta.fw", "upgrade", 1, NH_OK, 1048576, UP_11, "Upgrading partition B\n", NULL},
	{"widget-2.0.0-rc.1.fw", NULL, "widget-1.0.0-to-1.1.0.delta.fw", "upgrade", 1, NH_EFORMAT, 1048576,
	 "70a441c810958e09084ffabb4723ff563b75f40b330202357e5fb853410516da", "Upgrading partition B\n", "xdelta3 error: target window checksum mismatch"},
	{"widget-1.0.0.fw", NULL, "tampered-payload.fw", "upgrade", 0, NH_EFORMAT, 1048576, BASE, "Upgrading partition B\n",
	 "raw_write detected blake2b mismatch on 'rootfs.img'"},
	{"widget-1.0.0.fw", NULL, "tampered-raw-byte.fw", "upgrade", 0, NH_EFORMAT, 1048576, BASE, "Upgrading partition B\n", ""},
	{"widget-1.0.0.fw", NULL, "truncated-in-rootfs.fw", "upgrade", 0, NH_EFORMAT, 1048576, BASE, "Upgrading partition B\n", ""},
	{"widget-1.0.0.fw", NULL, "widget-1.1.0.fw", "upgrade", 2, NH_EAUTH, 1048576, BASE, "",
	 "Firmware archive's meta.conf fails digital signature verification."},
	{"widget-1.0.0.fw", NULL, "tampered-meta.fw", "upgrade", 1, NH_EAUTH, 1048576, BASE, "",
	 "Firmware archive's meta.conf fails digital signature verification."},
	{NULL, NULL, "minimal-unsigned.fw", "complete", 1, NH_EAUTH, 0, EMPTY, "", "Expecting signed firmware archive."},
	{"widget-1.0.0.fw", NULL, "widget-1.1.0.fw", "nothing", 1, NH_ENOTFOUND, 1048576, BASE, "", "Couldn't find applicable task 'nothing'."},
	{NULL, NULL, "not-a-zip.fw", "complete", 0, NH_EFORMAT, 0, EMPTY, "", ""},
	{NULL, NULL, "minimal-signed.fw", "complete", 1, NH_OK, 131072, "ce3a59990265e0ea38bd065bf76082a93519be5115037fc0833454f3d058fd4e", "", NULL},
	{NULL, NULL, "sparse-unsigned.fw", "complete", 0, NH_OK, 131072, "30c1204d4e774f8c11540a50c2884925295cc8c90c2dde87e2cc6691447ae8b0", "", NULL},
	{NULL, NULL, "encrypted-delta-signed.fw", "complete", 1, NH_OK, 786432, "e68a99ac7afa94159f1142356eafc5fd8e4a6cee53d8266c53d78611bbc5c10e", "", NULL},
	{"encrypted-delta-signed.fw", NULL, "encrypted-delta-signed.fw", "upgrade", 1, NH_OK, 917504,
	 "3b18298eadb6d05aedf7cfa120889819c059b9e4ade82904759dfcd76e8328f7", "", NULL},
};

static void apply_ok(int fd, const char *archive, const char *task)
{
	struct heard h;
	struct nh_err err = NH_ERR_INIT;
	NH_AUTO_BUF struct nh_buf fw = fixture(archive);
	if (run_job(&(struct job){.task = task, .archive = nh_buf_slice(&fw), .fd = fd}, &h, &err) != NH_OK)
		fail_msg("%s %s: %s", archive, task, err.msg);
	nh_buf_fini(&h.messages);
}

/* The same archive whole, in odd pieces and byte by byte must behave alike. */
static void test_rows(void **state)
{
	static const size_t steps[] = {0, 1, 611};
	for (size_t i = 0; i < NH_ARRAY_LEN(rows) * NH_ARRAY_LEN(steps); i++) {
		const struct row *r = &rows[i / NH_ARRAY_LEN(steps)];
		int fd = image_new();
		if (r->base)
			apply_ok(fd, r->base, "complete");
		if (r->then)
			apply_ok(fd, r->then, "upgrade");
		struct nh_fw_public_key key;
		if (r->key)
			key = fixture_key(r->key);
		struct heard h;
		struct nh_err err = NH_ERR_INIT;
		NH_AUTO_BUF struct nh_buf fw = fixture(r->archive);
		struct job j = {.task = r->task, .archive = nh_buf_slice(&fw), .fd = fd, .step = steps[i % NH_ARRAY_LEN(steps)],
				.key = r->key ? &key : NULL, .verify = i % 2, .minimize = i % 3 == 0};
		nh_rc rc = run_job(&j, &h, &err);
		if (rc != r->rc || (r->error && strncmp(err.msg, r->error, strlen(r->error)) != 0))
			fail_msg("%s %s: %s '%s'", r->archive, r->task, nh_rc_name(rc), err.msg);
		assert_image(fd, r->size, r->sha256, r->archive);
		assert_string_equal(nh_buf_cstr(&h.messages), r->info);
		assert_false(h.fell);
		assert_false(h.early_100);
		assert_int_equal(h.last == 100, rc == NH_OK);
		nh_buf_fini(&h.messages);
		close(fd);
	}
}

/* Slot A of the widget: partition table, boot A, rootfs A. Block ranges. */
static const struct {
	size_t from, to;
} running[] = {{0, 1}, {256, 768}, {1280, 1536}};

/* Cut anywhere: never a success, and the running slot and the partition table stay. */
static void test_truncation(void **state)
{
	int fd = image_new();
	apply_ok(fd, "widget-1.0.0.fw", "complete");
	NH_AUTO_BUF struct nh_buf base = image_bytes(fd), fw = fixture("widget-1.1.0.fw");
	struct nh_fw_public_key key = fixture_key(1);
	size_t members_end = 15915; /* behind that only the central directory follows; nothing of it is needed */
	for (size_t cut = 0; cut < members_end; cut += cut < 1200 ? 37 : 149) {
		struct heard h;
		struct nh_err err = NH_ERR_INIT;
		image_set(fd, nh_buf_slice(&base));
		struct job j = {.task = "upgrade", .archive = nh_slice_sub(nh_buf_slice(&fw), 0, cut), .fd = fd, .key = &key};
		if (run_job(&j, &h, &err) == NH_OK)
			fail_msg("cut at %zu succeeded", cut);
		nh_buf_fini(&h.messages);
		NH_AUTO_BUF struct nh_buf now = image_bytes(fd);
		assert_int_equal(now.len, base.len);
		for (size_t i = 0; i < NH_ARRAY_LEN(running); i++)
			assert_memory_equal(now.ptr + running[i].from * 512, base.ptr + running[i].from * 512, (running[i].to - running[i].from) * 512);
	}
	close(fd);
}

/* Bytes wrong anywhere: either refused, or the image is the right one (the change was in something that is not covered, such as a date). */
static void test_corruption(void **state)
{
	int fd = image_new();
	apply_ok(fd, "widget-1.0.0.fw", "complete");
	NH_AUTO_BUF struct nh_buf base = image_bytes(fd), fw = fixture("widget-1.1.0.fw");
	struct nh_fw_public_key key = fixture_key(1);
	for (size_t at = 3; at < fw.len; at += 101) {
		struct heard h;
		struct nh_err err = NH_ERR_INIT;
		image_set(fd, nh_buf_slice(&base));
		fw.ptr[at] ^= 0x10;
		nh_rc rc = run_job(&(struct job){.task = "upgrade", .archive = nh_buf_slice(&fw), .fd = fd, .key = &key}, &h, &err);
		fw.ptr[at] ^= 0x10;
		nh_buf_fini(&h.messages);
		if (rc == NH_OK)
			assert_image(fd, 1048576, UP_11, "changed archive that was accepted");
		NH_AUTO_BUF struct nh_buf now = image_bytes(fd);
		for (size_t i = rc == NH_OK ? 1 : 0; i < NH_ARRAY_LEN(running); i++)
			assert_memory_equal(now.ptr + running[i].from * 512, base.ptr + running[i].from * 512, (running[i].to - running[i].from) * 512);
	}
	close(fd);
}

static void test_destination(void **state)
{
	struct nh_err err = NH_ERR_INIT;
	struct nh_fw_apply *a;
	struct nh_fw_public_key key = fixture_key(1);
	struct nh_fw_apply_config config = {.path = "/nonexistent-directory/image", .fd = -1, .task = "complete", .keys = &key, .key_count = 1};
	assert_int_equal(nh_fw_apply_new(&config, &a, &err), NH_ENOTFOUND);
	assert_non_null(strstr(err.msg, "Cannot create '/nonexistent-directory/image'."));
	assert_null(a);
	config.path = "/tmp";
	assert_int_not_equal(nh_fw_apply_new(&config, &a, &err), NH_OK);
	config.task = NULL;
	assert_int_equal(nh_fw_apply_new(&config, &a, &err), NH_EINVAL);
	config.task = "complete";

	char *dir = make_dir(), path[256];
	snprintf(path, sizeof path, "%s/image", dir);
	config.path = path;
	assert_int_equal(nh_fw_apply_new(&config, &a, &err), NH_OK);
	NH_AUTO_BUF struct nh_buf fw = fixture("minimal-signed.fw");
	assert_int_equal(nh_fw_apply_feed(a, nh_buf_slice(&fw), &err), NH_OK);
	assert_true(nh_fw_apply_done(a));
	assert_slice(nh_fw_apply_task(a), "complete");
	assert_int_equal(nh_fw_apply_signature(a), NH_FW_SIGNED);
	assert_int_equal(nh_fw_apply_finish(a, &err), NH_OK);
	assert_int_equal(nh_fw_apply_finish(a, &err), NH_OK);
	nh_fw_apply_free(a);
	struct stat st;
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_size, 131072);

	/* Write protection counts, also for root. */
	assert_int_equal(chmod(path, 0444), 0);
	assert_int_equal(nh_fw_apply_new(&config, &a, &err), NH_EPERM);
	assert_non_null(strstr(err.msg, "for output."));
	unlink(path);

	/* No key and no explicit permission: refused before anything. Giving up leaves an empty file. */
	config.keys = NULL;
	config.key_count = 0;
	assert_int_equal(nh_fw_apply_new(&config, &a, &err), NH_OK);
	assert_int_equal(nh_fw_apply_feed(a, nh_buf_slice(&fw), &err), NH_EAUTH);
	nh_fw_apply_free(a);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_size, 0);
	unlink(path);
	rmdir(dir);
	free(dir);
}

static void test_limits(void **state)
{
	struct heard h;
	struct nh_err err = NH_ERR_INIT;
	NH_AUTO_BUF struct nh_buf fw = fixture("widget-1.0.0.fw");
	int fd = image_new();
	struct job j = {.task = "complete", .archive = nh_buf_slice(&fw), .fd = fd, .max_blocks = 1000};
	assert_int_equal(run_job(&j, &h, &err), NH_ENOSPC);
	assert_non_null(strstr(err.msg, "Check media size."));
	nh_buf_fini(&h.messages);
	j.max_blocks = 2048;
	err = NH_ERR_INIT;
	assert_int_equal(ftruncate(fd, 0), 0);
	assert_int_equal(run_job(&j, &h, &err), NH_OK);
	nh_buf_fini(&h.messages);
	close(fd);
	/* A medium that refuses to be written */
	fd = open("/dev/full", O_RDWR | O_CLOEXEC);
	j.fd = fd;
	j.max_blocks = 0;
	assert_int_equal(run_job(&j, &h, &err), NH_ENOSPC);
	nh_buf_fini(&h.messages);
	close(fd);
}

/* What the device reads after the update. */
static void test_environment_of_image(void **state)
{
	static const char *const facts[][2] = {{"a.nerves_fw_platform", "fixture_board"}, {"a.nerves_fw_uuid", "63a46488-91bd-5fc3-06ea-84ebd217251f"},
					       {"a.nerves_fw_version", "1.0.0"}, {"nerves_fw_active", "a"}, {"nerves_fw_validated", "1"}};
	int fd = image_new();
	struct nh_err err = NH_ERR_INIT;
	apply_ok(fd, "widget-1.0.0.fw", "complete");
	struct nh_fw_env *e = nh_fw_env_new();
	struct nh_fw_env_place place = {.offset_bytes = 16 * 512, .size_bytes = 16 * 512};
	assert_int_equal(nh_fw_env_load(e, fd, &place, &err), NH_OK);
	assert_int_equal(nh_fw_env_count(e), NH_ARRAY_LEN(facts));
	for (size_t i = 0; i < NH_ARRAY_LEN(facts); i++) {
		nh_slice name, value;
		nh_fw_env_at(e, i, &name, &value);
		assert_slice(name, facts[i][0]);
		assert_slice(value, facts[i][1]);
	}
	nh_fw_env_free(e);
	close(fd);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_rows),
		cmocka_unit_test(test_truncation),
		cmocka_unit_test(test_corruption),
		cmocka_unit_test(test_destination),
		cmocka_unit_test(test_limits),
		cmocka_unit_test(test_environment_of_image),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
