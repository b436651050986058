/*
 * What tasks can do, on archives made here: order and selection of tasks, on-error, partition tables, environments, FAT volumes (judged by mtools),
 * and every refusal before the first write.
 */
#include "applying.h"
#include "base/process.h"
#include "firmware/create.h"
#include "firmware/uboot_env.h"

static nh_rc to_buf(void *ctx, nh_slice bytes, struct nh_err *err)
{
	nh_buf_put_slice(ctx, bytes);
	return NH_OK;
}

/* An archive of a configuration; `contents` is file-resource "r". */
static struct nh_buf archive_of(const char *conf)
{
	struct nh_buf out = NH_BUF_INIT;
	NH_AUTO_BUF struct nh_buf text = NH_BUF_INIT;
	struct nh_err err = NH_ERR_INIT;
	struct nh_fw_vars *vars = nh_fw_vars_new(NULL, NULL);
	nh_buf_printf(&text, "meta-product=\"T\"\nfile-resource r { contents=\"resource contents\" }\nfile-resource empty { contents=\"\" }\n%s", conf);
	if (nh_fw_create(&(struct nh_fw_create_options){.text = nh_buf_slice(&text), .vars = vars, .time_s = 1}, &(struct nh_fw_sink){&out, to_buf},
			 NULL, &err) != NH_OK)
		fail_msg("%s\n%s", err.msg, conf);
	nh_fw_vars_free(vars);
	return out;
}

struct result {
	nh_rc rc;
	struct nh_err err;
	struct heard heard;
};

static struct result apply_conf(int fd, const char *task, const char *conf)
{
	struct result r = {.err = NH_ERR_INIT};
	NH_AUTO_BUF struct nh_buf fw = archive_of(conf);
	r.rc = run_job(&(struct job){.task = task, .archive = nh_buf_slice(&fw), .fd = fd}, &r.heard, &r.err);
	return r;
}

static void expect_ok(int fd, const char *task, const char *conf)
{
	struct result r = apply_conf(fd, task, conf);
	if (r.rc != NH_OK)
		fail_msg("%s: %s", conf, r.err.msg);
	nh_buf_fini(&r.heard.messages);
}

static void expect_failure(int fd, const char *task, const char *conf, nh_rc rc, const char *text)
{
	struct result r = apply_conf(fd, task, conf);
	if (r.rc != rc || !strstr(r.err.msg, text))
		fail_msg("%s: %s '%s', expected %s '%s'", conf, nh_rc_name(r.rc), r.err.msg, nh_rc_name(rc), text);
	nh_buf_fini(&r.heard.messages);
}

#define ENV "uboot-environment e { block-offset=16 block-count=2 }\n"

static void assert_variables(int fd, const char *want)
{
	struct nh_fw_env *e = nh_fw_env_new();
	struct nh_err err = NH_ERR_INIT;
	if (nh_fw_env_load(e, fd, &(struct nh_fw_env_place){.offset_bytes = 16 * 512, .size_bytes = 1024}, &err) != NH_OK)
		fail_msg("%s", err.msg);
	NH_AUTO_BUF struct nh_buf text = NH_BUF_INIT;
	for (size_t i = 0; i < nh_fw_env_count(e); i++) {
		nh_slice name, value;
		nh_fw_env_at(e, i, &name, &value);
		nh_buf_printf(&text, "%.*s=%.*s;", NH_ARG(name), NH_ARG(value));
	}
	assert_string_equal(nh_buf_cstr(&text), want);
	nh_fw_env_free(e);
}

static void test_environment(void **state)
{
	int fd = image_new();
	expect_failure(fd, "t", ENV "task t { on-init { uboot_setenv(e, a, 1) } }", NH_EFORMAT, "CRC32 mismatch");
	expect_ok(fd, "t", ENV "task t { on-init { uboot_clearenv(e) uboot_setenv(e, b, 2) uboot_setenv(e, a, 1) uboot_unsetenv(e, zz) } }");
	assert_variables(fd, "a=1;b=2;");
	expect_ok(fd, "t", ENV "task t { on-init { uboot_recover(e) uboot_unsetenv(e, b) } }");
	assert_variables(fd, "a=1;");
	assert_int_equal(pwrite(fd, "x", 1, 16 * 512), 1);
	expect_ok(fd, "t", ENV "task t { on-init { uboot_recover(e) } }");
	assert_variables(fd, "");
	close(fd);
	/* Redundant: two changes are two stores, to alternating copies. */
	fd = image_new();
	expect_ok(fd, "t", "uboot-environment e { block-offset=16 block-count=2 block-offset-redund=64 }\n"
			   "task t { on-init { uboot_clearenv(e) uboot_setenv(e, a, 1) uboot_setenv(e, b, 2) } }");
	struct nh_fw_env *e = nh_fw_env_new();
	const struct nh_fw_env_place p = {.offset_bytes = 16 * 512, .size_bytes = 1024, .redundant = true, .offset_redund_bytes = 64 * 512};
	assert_int_equal(nh_fw_env_load(e, fd, &p, NULL), NH_OK);
	assert_int_equal(nh_fw_env_count(e), 2);
	uint8_t flags[2];
	assert_int_equal(pread(fd, &flags[0], 1, 16 * 512 + 4), 1);
	assert_int_equal(pread(fd, &flags[1], 1, 64 * 512 + 4), 1);
	assert_int_equal(flags[0], 3);
	assert_int_equal(flags[1], 2);
	nh_fw_env_free(e);
	close(fd);
}

/* The first task in file order whose requirements hold; what is unknown does not hold. */
static void test_selection(void **state)
{
	int fd = image_new();
	expect_ok(fd, "t", ENV "mbr m { partition 0 { block-offset=63 block-count=100 type=1 } partition 1 { block-offset=200 block-count=10 type=0x83 } }\n"
			   "task t { on-init { mbr_write(m) uboot_clearenv(e) uboot_setenv(e, slot, a) fat_mkfs(1024, 512) } "
			   "on-resource r { fat_write(1024, dir.txt) } }");
	static const struct {
		const char *requirement;
		bool met;
	} rows[] = {
		{"require-partition-offset(0, 63)", true},  {"require-partition-offset(1, 200)", true},
		{"require-partition-offset(1, 201)", false}, {"require-partition-offset(2, 0)", true},
		{"require-uboot-variable(e, slot, a)", true}, {"require-uboot-variable(e, slot, b)", false},
		{"require-uboot-variable(e, none, a)", false}, {"require-uboot-variable(e, none, \"\")", false},
		{"require-fat-file-exists(1024, \"DIR.TXT\")", true}, {"require-fat-file-exists(1024, \"dir.tx\")", false},
		{"require-fat-file-exists(2000, \"dir.txt\")", false},
		{"require-fat-file-match(1024, \"dir.txt\", \"contents\")", true}, {"require-fat-file-match(1024, \"dir.txt\", \"\")", true},
		{"require-fat-file-match(1024, \"dir.txt\", \"content!\")", false}, {"require-path-on-device(\"/\", \"/dev/null\")", false},
		{"require-path-at-offset(\"/nonexistent\", 0)", false}, {"require-execute(\"true\")", false},
		{"require-partition1-offset=200", true}, {"require-partition1-offset=100", false},
	};
	for (size_t i = 0; i < NH_ARRAY_LEN(rows); i++) {
		NH_AUTO_BUF struct nh_buf conf = NH_BUF_INIT;
		nh_buf_printf(&conf, ENV "task other { }\ntask up.a { %s\non-init { info(first) } }\ntask up.b { on-init { info(second) } }\n",
			      rows[i].requirement);
		struct result r = apply_conf(fd, "up", nh_buf_cstr(&conf));
		if (r.rc != NH_OK || strcmp(nh_buf_cstr(&r.heard.messages), rows[i].met ? "first\n" : "second\n") != 0)
			fail_msg("%s: %s %s", rows[i].requirement, nh_buf_cstr(&r.heard.messages), r.err.msg);
		nh_buf_fini(&r.heard.messages);
	}
	close(fd);
}

static void test_on_error(void **state)
{
	int fd = image_new();
	expect_ok(fd, "t", ENV "task t { on-init { uboot_clearenv(e) } }");
	/* What on-init wrote is dropped; what on-error writes stays; the first error is told. */
	expect_failure(fd, "t", ENV "task t { on-init { uboot_setenv(e, a, 1) error(\"no way\") } on-error { uboot_setenv(e, failed, yes) } }", NH_EPERM,
		       "no way");
	assert_variables(fd, "failed=yes;");
	expect_failure(fd, "t", ENV "task t { on-init { error(\"no way\") } on-error { uboot_setenv(e, b, 1) error(again) } }", NH_EPERM, "no way");
	assert_variables(fd, "failed=yes;");
	/* Resources come, but the last step fails. */
	expect_failure(fd, "t", ENV "task t { on-resource r { raw_write(40) } on-finish { uboot_setenv(e, a, 1) error(late) } }", NH_EPERM, "late");
	assert_variables(fd, "failed=yes;");
	close(fd);
}

/* Refused when the task is looked at: the image stays empty, on-error does not run. */
static void test_refusals(void **state)
{
	static const struct {
		const char *task; /* body of the task in meta.conf's own form, since creation would refuse most of them */
		nh_rc rc;
		const char *text;
	} rows[] = {
		{"on-init { execute(\"true\") }", NH_EPERM, "execute requires --unsafe"},
		{"on-resource r { path_write(\"/tmp/x\") }", NH_EPERM, "path_write requires --unsafe"},
		{"on-resource r { pipe_write(\"cat\") }", NH_EPERM, "pipe_write requires --unsafe"},
		{"on-resource r { raw_write(0, \"cipher=aes-cbc-plain\", \"secret=00\") }", NH_EFORMAT, "raw_write: aes-cbc-plain: the secret must be 64 hex digits"},
		{"on-resource r { raw_write(0, \"cipher=aes-cbc-plain\") }", NH_EFORMAT, "raw_write: encryption needs both"},
		{"on-resource r { raw_write(0, \"cipher=rot13,secret=00\") }", NH_EUNSUPPORTED, "raw_write: Unsupported cipher 'rot13'"},
		{"on-resource r { raw_write(0, \"key=00\") }", NH_EFORMAT, "raw_write: Unexpected parameter: key"},
		{"on-init { funlist={1,nothing} }", NH_EUNSUPPORTED, "Unknown function 'nothing'"},
		{"on-init { funlist={2,raw_memset,1} }", NH_EFORMAT, "raw_memset: argument 2 is missing"},
		{"on-init { funlist={5,raw_memset,1,1,1,1} }", NH_EFORMAT, "raw_memset: too many arguments"},
		{"on-init { funlist={4,raw_memset,x,1,1} }", NH_EFORMAT, "raw_memset: 'x' isn't acceptable as argument 1"},
		{"on-init { funlist={4,raw_memset,0,0,1} }", NH_EFORMAT, "raw_memset: '0' isn't acceptable as argument 2"},
		{"on-init { funlist={4,raw_memset,0,1,256} }", NH_EFORMAT, "raw_memset: '256' isn't acceptable as argument 3"},
		{"on-init { funlist={3,trim,99999999999999999999,1} }", NH_EFORMAT, "trim:"},
		{"on-init { funlist={2,raw_write,0} }", NH_EFORMAT, "raw_write only works in an on-resource"},
		{"on-init { funlist={2,mbr_write,m} }", NH_EFORMAT, "mbr_write: 'm'"},
		{"on-init { funlist={2,uboot_clearenv,e} }", NH_EFORMAT, "uboot_clearenv: 'e'"},
		{"on-init { funlist={4,fat_attrib,0,f,X} }", NH_EFORMAT, "fat_attrib: 'X'"},
		{"on-init { funlist={9,info} }", NH_EFORMAT, "malformed"},
		{"on-init { funlist={0} }", NH_EFORMAT, "malformed"},
	};
	for (size_t i = 0; i < NH_ARRAY_LEN(rows); i++) {
		NH_AUTO_BUF struct nh_buf conf = NH_BUF_INIT;
		int fd = image_new();
		nh_buf_printf(&conf, "task t { on-init { raw_memset(0, 1, 1) } on-error { raw_memset(0, 1, 1) } %s }", rows[i].task);
		expect_failure(fd, "t", nh_buf_cstr(&conf), rows[i].rc, rows[i].text);
		NH_AUTO_BUF struct nh_buf image = image_bytes(fd);
		assert_int_equal(image.len, 0);
		close(fd);
	}
	int fd = image_new();
	expect_failure(fd, "t", "task t { on-resource r { raw_write(0) raw_write(8) } }", NH_EFORMAT,
		       "raw_write didn't write anything and was likely called twice in an on-resource for 'r'. Try a \"cp\" function.");
	expect_ok(fd, "t", "task t { on-resource empty { raw_write(0) raw_write(8) } on-resource r { } }");
	expect_failure(fd, "t", "task t { on-init { fat_mkfs(0, 127) } }", NH_EINVAL, "f_mkfs() aborted due to a parameter error");
	expect_failure(fd, "t", "task t { on-init { fat_mkdir(500, x) } }", NH_EFORMAT, "there is no FAT volume at block 500");
	close(fd);
}

/* Entries of the partition table at a block, as text: "boot type start count;" */
static void assert_table(int fd, uint64_t block, const char *want)
{
	uint8_t b[512];
	assert_int_equal(pread(fd, b, 512, (off_t)block * 512), 512);
	assert_int_equal(b[510] << 8 | b[511], 0x55aa);
	NH_AUTO_BUF struct nh_buf text = NH_BUF_INIT;
	for (unsigned i = 0; i < 4; i++) {
		const uint8_t *e = b + 446 + 16 * i;
		unsigned start = (unsigned)(e[8] | e[9] << 8 | e[10] << 16 | e[11] << 24), count = (unsigned)(e[12] | e[13] << 8 | e[14] << 16 | e[15] << 24);
		if (e[4] || start)
			nh_buf_printf(&text, "%s%02x %u %u;", e[0] ? "*" : "", e[4], start, count);
	}
	assert_string_equal(nh_buf_cstr(&text), want);
}

static void test_partition_tables(void **state)
{
	int fd = image_new();
	expect_ok(fd, "t", "mbr m { signature=0x01020304 partition 0 { block-offset=63 block-count=1000 type=0xc boot=true } "
			   "partition 3 { block-offset=2048 block-count=4000 type=0xf } "
			   "partition 4 { block-offset=2100 block-count=500 type=0x83 } partition 5 { block-offset=3000 block-count=3500 type=0x82 } }\n"
			   "task t { on-init { mbr_write(m) } }");
	assert_table(fd, 0, "*0c 63 1000;0f 2048 4452;");
	assert_table(fd, 2048, "83 52 500;0f 1 1;");
	assert_table(fd, 2049, "82 951 3500;");
	uint8_t block[512];
	assert_int_equal(pread(fd, block, 512, 0), 512);
	assert_memory_equal(block + 440, "\x04\x03\x02\x01\0\0", 6);
	assert_memory_equal(block + 447, "\x01\x01\x00", 3); /* 63 = cylinder 0, head 1, sector 1 */
	close(fd);
	/* expand: to the end of what exists */
	fd = image_new();
	assert_int_equal(ftruncate(fd, 8000 * 512), 0);
	expect_ok(fd, "t", "mbr m { partition 0 { block-offset=100 block-count=10 type=1 } partition 1 { block-offset=200 block-count=10 type=0x83 expand=true } }\n"
			   "task t { on-init { mbr_write(m) } }");
	assert_table(fd, 0, "01 100 10;83 200 7800;");
	close(fd);
	fd = image_new();
	expect_ok(fd, "t", "mbr m { include-osip=true partition 0 { block-offset=100 block-count=10 type=1 } "
			   "osii 0 { os-major=1 start-block-offset=2048 image-size-blocks=9 } }\ntask t { on-init { mbr_write(m) } }");
	assert_int_equal(pread(fd, block, 512, 0), 512);
	assert_memory_equal(block, "$OS$", 4);
	uint8_t sum = 0;
	for (size_t i = 0; i < 56; i++)
		sum ^= block[i];
	assert_int_equal(sum, 0);
	assert_int_equal(block[10], 56);
	close(fd);
}

/* Runs a program on the image; its output. */
static bool judge(const char *const *argv, struct nh_buf *out)
{
	static const char *const env[] = {"MTOOLS_SKIP_CHECK=0", "LC_ALL=C", "TZ=UTC", "PATH=/usr/bin:/bin", NULL};
	struct nh_process p = {.argv = argv, .envp = env, .timeout_ms = 60000};
	int status = -1;
	NH_AUTO_BUF struct nh_buf errout = NH_BUF_INIT;
	struct nh_err err = NH_ERR_INIT;
	nh_rc rc = nh_process_run(&p, &status, out, &errout, &err);
	if (rc == NH_ENOTFOUND) {
		print_message("skipped: mtools isn't installed (scripts/install-deps)\n");
		return false;
	}
	if (rc != NH_OK || status != 0)
		fail_msg("%s: %s %s", argv[0], err.msg, nh_buf_cstr(&errout));
	return true;
}

static void test_fat(void **state)
{
	static const struct {
		unsigned blocks;
		const char *type;
	} sizes[] = {{512, "FAT12"}, {20000, "FAT16"}, {70000, "FAT32"}};
	char *dir = make_dir(), path[256], at[300];
	snprintf(path, sizeof path, "%s/image", dir);
	snprintf(at, sizeof at, "%s@@512", path);
	for (size_t i = 0; i < NH_ARRAY_LEN(sizes); i++) {
		int fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
		assert_true(fd >= 0);
		NH_AUTO_BUF struct nh_buf conf = NH_BUF_INIT;
		nh_buf_printf(&conf,
			      "task t { on-init { fat_mkfs(1, %u) fat_setlabel(1, \"First\") fat_setlabel(1, \"my disk\") fat_mkdir(1, sub) fat_mkdir(1, \"sub/deep\") fat_mkdir(1, sub)\n",
			      sizes[i].blocks);
		/* enough entries that a directory needs further clusters, and aliases need hashes */
		for (unsigned n = 0; n < 40; n++)
			nh_buf_printf(&conf, "fat_touch(1, \"sub/A quite long name %u.text\")\n", n);
		nh_buf_put_str(&conf, "}\non-resource r { fat_write(1, \"sub/deep/Read Me.txt\") fat_cp(1, \"sub/deep/Read Me.txt\", \"copy.txt\") "
				      "fat_cp(1, \"copy.txt\", \"gone.txt\") fat_cp(1, copy.txt, 1, MIXED.low) fat_cp(1, copy.txt, copy.txt) }\n"
				      "on-finish { fat_rm(1, gone.txt) fat_rm(1, gone.txt) fat_rm!(1, \"sub/A quite long name 7.text\") "
				      "fat_mv(1, MIXED.low, \"sub/moved.bin\") fat_cp(1, copy.txt, over.txt) fat_mv!(1, over.txt, \"sub/moved.bin\") "
				      "fat_mv(1, \"sub/deep\", \"up\") fat_attrib(1, copy.txt, \"RH\") fat_attrib(1, copy.txt, S) } }");
		expect_ok(fd, "t", nh_buf_cstr(&conf));
		expect_ok(fd, "t", "task t { require-fat-file-match(1, \"up/Read Me.txt\", \"resource contents\") }");
		expect_failure(fd, "t", "task t { on-init { fat_rm!(1, nope) } }", NH_ENOTFOUND, "'nope' isn't on the FAT volume at block 1");
		expect_failure(fd, "t", "task t { on-init { fat_rm(1, sub) } }", NH_ECONFLICT, "isn't empty");
		expect_failure(fd, "t", "task t { on-init { fat_mv(1, copy.txt, \"sub/moved.bin\") } }", NH_ECONFLICT, "exists already");
		expect_failure(fd, "t", "task t { on-init { fat_mkdir(1, \"a:b\") } }", NH_EINVAL, "can't be a name");
		expect_failure(fd, "t", "task t { on-init { fat_mkdir(1, copy.txt) } }", NH_ECONFLICT, "is no directory");
		NH_AUTO_BUF struct nh_buf image = image_bytes(fd);
		close(fd);
		assert_non_null(memmem(image.ptr + 512, 512, sizes[i].type, 5));
		NH_AUTO_BUF struct nh_buf list = NH_BUF_INIT, text = NH_BUF_INIT, info = NH_BUF_INIT, attributes = NH_BUF_INIT;
		if (!judge((const char *[]){"mdir", "-/", "-a", "-f", "-b", "-i", at, "::", NULL}, &list))
			break;
		assert_non_null(strstr(nh_buf_cstr(&list), "::/copy.txt"));
		assert_non_null(strstr(nh_buf_cstr(&list), "::/sub/moved.bin"));
		assert_non_null(strstr(nh_buf_cstr(&list), "::/up/Read Me.txt"));
		assert_non_null(strstr(nh_buf_cstr(&list), "::/sub/A quite long name 39.text"));
		assert_null(strstr(nh_buf_cstr(&list), "name 7.text"));
		assert_null(strstr(nh_buf_cstr(&list), "gone"));
		assert_true(judge((const char *[]){"mtype", "-i", at, "::/up/Read Me.txt", NULL}, &text));
		assert_string_equal(nh_buf_cstr(&text), "resource contents");
		assert_true(judge((const char *[]){"mlabel", "-s", "-i", at, "::", NULL}, &info));
		assert_non_null(strstr(nh_buf_cstr(&info), "MY DISK"));
		assert_true(judge((const char *[]){"mattrib", "-i", at, "::/copy.txt", NULL}, &attributes));
		assert_non_null(strchr(nh_buf_cstr(&attributes), 'S'));
		assert_null(strchr(nh_buf_cstr(&attributes), 'R'));
	}
	unlink(path);
	rmdir(dir);
	free(dir);
}

/* A volume that fills up fails cleanly. */
static void test_fat_full(void **state)
{
	int fd = image_new();
	NH_AUTO_BUF struct nh_buf conf = NH_BUF_INIT;
	nh_buf_put_str(&conf, "task t { on-init { fat_mkfs(0, 128) ");
	for (unsigned n = 0; n < 100; n++)
		nh_buf_printf(&conf, "fat_mkdir(0, d%u) ", n);
	nh_buf_put_str(&conf, "} }");
	expect_failure(fd, "t", nh_buf_cstr(&conf), NH_ENOSPC, "the FAT volume at block 0 is full");
	close(fd);
}

/* Larger than the cache, and to a file that exists: trimmed segments read as zero, untouched ones keep their bytes. */
static void test_cache(void **state)
{
	int fd = image_new();
	NH_AUTO_BUF struct nh_buf ones = NH_BUF_INIT;
	nh_buf_fill(&ones, 0xaa, 6u << 20);
	image_set(fd, nh_buf_slice(&ones));
	expect_ok(fd, "t", "block-cache-size-mb=1\ntask t { on-init { raw_memset(3, 1, 0x11) trim(256, 512) raw_memset(300, 1, 0x22) "
			   "raw_memset(1024, 10240, 0x33) raw_memset(11263, 1, 0x44) } on-resource r { raw_write(5) } }");
	NH_AUTO_BUF struct nh_buf now = image_bytes(fd);
	assert_int_equal(now.len, 11264 * 512 > (6u << 20) ? 11264 * 512 : (6u << 20));
	static const struct {
		size_t block;
		uint8_t byte;
	} facts[] = {{0, 0xaa}, {3, 0x11}, {4, 0xaa}, {6, 0xaa}, {257, 0}, {300, 0x22}, {301, 0}, {600, 0xaa}, {1023, 0xaa}, {1024, 0x33}, {11262, 0x33},
		     {11263, 0x44}, {11264, 0xaa}};
	for (size_t i = 0; i < NH_ARRAY_LEN(facts); i++)
		if (now.ptr[facts[i].block * 512 + 100] != facts[i].byte)
			fail_msg("block %zu holds %02x, expected %02x", facts[i].block, now.ptr[facts[i].block * 512 + 100], facts[i].byte);
	assert_memory_equal(now.ptr + 5 * 512, "resource contents\0\0", 19);
	close(fd);
	/* An odd end stays odd unless something is put there. */
	fd = image_new();
	image_set(fd, nh_slice_of(ones.ptr, 1000));
	expect_ok(fd, "t", "task t { on-init { raw_memset(0, 1, 0x11) } }");
	nh_buf_fini(&now);
	now = image_bytes(fd);
	assert_int_equal(now.len, 1000);
	expect_ok(fd, "t", "task t { on-init { raw_memset(2, 1, 0x11) } }");
	nh_buf_fini(&now);
	now = image_bytes(fd);
	assert_int_equal(now.len, 131072);
	assert_int_equal(now.ptr[999], 0xaa);
	close(fd);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_environment), cmocka_unit_test(test_selection), cmocka_unit_test(test_on_error),
		cmocka_unit_test(test_refusals),    cmocka_unit_test(test_partition_tables), cmocka_unit_test(test_fat),
		cmocka_unit_test(test_fat_full),    cmocka_unit_test(test_cache),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
