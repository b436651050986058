/*
 * U-Boot environments: block forms against an independent maker (mkenvimage), refusals, and the rule of two copies under power cuts.
 */
#include <sys/mman.h>

#include "base/process.h"
#include "firmware/uboot_env.h"
#include "fixtures.h"

static void set(struct nh_fw_env *e, const char *name, const char *value)
{
	assert_int_equal(nh_fw_env_set(e, nh_slice_str(name), nh_slice_str(value), NULL), NH_OK);
}

static void assert_variable(const struct nh_fw_env *e, const char *name, const char *want)
{
	nh_slice value;
	assert_int_equal(nh_fw_env_get(e, nh_slice_str(name), &value), want != NULL);
	if (want) {
		assert_slice(value, want);
		assert_int_equal(value.ptr[value.len], 0);
	}
}

static void test_variables(void **state)
{
	struct nh_fw_env *e = nh_fw_env_new();
	set(e, "b", "2");
	set(e, "a", "1");
	set(e, "c", "");
	set(e, "b", "two=2");
	nh_slice name, value;
	assert_int_equal(nh_fw_env_count(e), 3);
	nh_fw_env_at(e, 1, &name, &value);
	assert_slice(name, "b");
	assert_variable(e, "b", "two=2");
	assert_variable(e, "c", "");
	assert_true(nh_fw_env_unset(e, NH_LIT("a")));
	assert_false(nh_fw_env_unset(e, NH_LIT("a")));
	assert_variable(e, "a", NULL);
	static const struct {
		nh_slice name, value;
	} bad[] = {{NH_LIT(""), NH_LIT("x")}, {NH_LIT("a=b"), NH_LIT("x")}, {NH_LIT("a\0b"), NH_LIT("x")}, {NH_LIT("a"), NH_LIT("x\0y")}};
	for (size_t i = 0; i < NH_ARRAY_LEN(bad); i++)
		assert_int_equal(nh_fw_env_set(e, bad[i].name, bad[i].value, NULL), NH_EINVAL);
	nh_fw_env_free(e);
	nh_fw_env_free(NULL);
}

static void test_block(void **state)
{
	static const bool forms[] = {false, true};
	for (size_t i = 0; i < 2; i++) {
		struct nh_fw_env *e = nh_fw_env_new();
		NH_AUTO_BUF struct nh_buf block = NH_BUF_INIT;
		uint8_t flags = 0;
		struct nh_err err = NH_ERR_INIT;
		set(e, "zeta", "1");
		set(e, "alpha", "some text");
		assert_int_equal(nh_fw_env_encode(e, 1024, forms[i], 7, &block, &err), NH_OK);
		assert_int_equal(block.len, 1024);
		assert_int_equal(block.ptr[1023], 0xff);
		size_t header = forms[i] ? 5 : 4;
		assert_memory_equal(block.ptr + header, "alpha=some text\0zeta=1\0\0\xff", 25);
		nh_fw_env_clear(e);
		assert_int_equal(nh_fw_env_decode(e, nh_buf_slice(&block), forms[i], 3, &flags, &err), NH_OK);
		assert_int_equal(flags, forms[i] ? 7 : 0);
		assert_int_equal(nh_fw_env_count(e), 2);
		assert_variable(e, "alpha", "some text");
		/* every single changed byte behind the flags is noticed */
		for (size_t at = 0; at < block.len; at += 13) {
			if (forms[i] && at == 4)
				continue;
			block.ptr[at] ^= 1;
			assert_int_equal(nh_fw_env_decode(e, nh_buf_slice(&block), forms[i], 3, NULL, &err), NH_EFORMAT);
			assert_non_null(strstr(err.msg, "U-boot environment (block 3) CRC32 mismatch (expected 0x"));
			assert_int_equal(nh_fw_env_count(e), 0);
			block.ptr[at] ^= 1;
		}
		nh_fw_env_free(e);
	}
}

static void test_refusals(void **state)
{
	struct nh_fw_env *e = nh_fw_env_new();
	struct nh_err err = NH_ERR_INIT;
	NH_AUTO_BUF struct nh_buf out = NH_BUF_INIT;
	char value[512] = {0};
	memset(value, 'x', sizeof value - 1);
	/* Room in 512 bytes: position (4) + name + 1 + value must stay below 510. */
	value[503] = 0;
	set(e, "v", value);
	assert_int_equal(nh_fw_env_encode(e, 512, false, 0, &out, &err), NH_OK);
	value[503] = 'x';
	value[504] = 0;
	set(e, "v", value);
	assert_int_equal(nh_fw_env_encode(e, 512, false, 0, &out, &err), NH_ENOSPC);
	assert_string_equal(err.msg, "Not enough room in U-boot environment");
	assert_int_equal(nh_fw_env_encode(e, 3, false, 0, &out, &err), NH_EINVAL);
	/* Blocks whose checksum is right but whose contents are not */
	static const struct {
		const char *hex; /* whole block */
		const char *why;
	} bad[] = {
		{"", "can't be one"},
		{"00000000", "can't be one"},
		{"e53e198e410000", "isn't NAME=VALUE"},
		{"00bb10ec413d4200", "has no end"},
		{"cea61b503d420000", "isn't NAME=VALUE"},
	};
	for (size_t i = 0; i < NH_ARRAY_LEN(bad); i++) {
		uint8_t bytes[16];
		size_t n = strlen(bad[i].hex) / 2;
		for (size_t k = 0; k < n; k++)
			bytes[k] = (uint8_t)strtoul((char[3]){bad[i].hex[2 * k], bad[i].hex[2 * k + 1], 0}, NULL, 16);
		assert_int_equal(nh_fw_env_decode(e, nh_slice_of(bytes, n), false, 9, NULL, &err), NH_EFORMAT);
		if (!strstr(err.msg, bad[i].why))
			fail_msg("'%s', expected '%s'", err.msg, bad[i].why);
	}
	nh_fw_env_free(e);
}

#define COPY 1024u

static void store(int fd, const struct nh_fw_env_place *p, const char *value)
{
	struct nh_fw_env *e = nh_fw_env_new();
	struct nh_err err = NH_ERR_INIT;
	NH_IGNORE(nh_fw_env_load(e, fd, p, &err)); /* the first time there is none */
	set(e, "v", value);
	if (nh_fw_env_store(e, fd, p, &err) != NH_OK)
		fail_msg("%s", err.msg);
	nh_fw_env_free(e);
}

static void assert_stored(int fd, const struct nh_fw_env_place *p, const char *want)
{
	struct nh_fw_env *e = nh_fw_env_new();
	struct nh_err err = NH_ERR_INIT;
	if (nh_fw_env_load(e, fd, p, &err) != NH_OK)
		fail_msg("%s", err.msg);
	assert_variable(e, "v", want);
	nh_fw_env_free(e);
}

static void flip(int fd, uint64_t offset)
{
	uint8_t b = 0;
	assert_int_equal(pread(fd, &b, 1, (off_t)offset), 1);
	b ^= 0xff;
	assert_int_equal(pwrite(fd, &b, 1, (off_t)offset), 1);
}

static uint8_t flags_at(int fd, uint64_t offset)
{
	uint8_t b = 0;
	assert_int_equal(pread(fd, &b, 1, (off_t)offset + 4), 1);
	return b;
}

static void test_redundant(void **state)
{
	int fd = memfd_create("env", MFD_CLOEXEC);
	const struct nh_fw_env_place p = {.offset_bytes = 512, .size_bytes = COPY, .redundant = true, .offset_redund_bytes = 4096};
	struct nh_err err = NH_ERR_INIT;
	struct nh_fw_env *e = nh_fw_env_new();
	assert_int_equal(nh_fw_env_load(e, fd, &p, &err), NH_EFORMAT);
	nh_fw_env_free(e);
	store(fd, &p, "first"); /* both copies, flags 1 */
	assert_int_equal(flags_at(fd, 512), 1);
	assert_int_equal(flags_at(fd, 4096), 1);
	store(fd, &p, "second"); /* equal flags: copy 1 counted, so copy 2 is written */
	assert_int_equal(flags_at(fd, 512), 1);
	assert_int_equal(flags_at(fd, 4096), 2);
	assert_stored(fd, &p, "second");
	flip(fd, 4096 + 100); /* the newer one breaks: the older one counts, and the broken one is rewritten */
	assert_stored(fd, &p, "first");
	store(fd, &p, "third");
	assert_int_equal(flags_at(fd, 512), 1);
	assert_int_equal(flags_at(fd, 4096), 2);
	assert_stored(fd, &p, "third");
	for (unsigned i = 0; i < 600; i++) { /* flags wrap around, newer stays newer */
		char value[16];
		snprintf(value, sizeof value, "%u", i);
		store(fd, &p, value);
		assert_stored(fd, &p, value);
	}
	flip(fd, 512 + 100);
	flip(fd, 4096 + 100);
	e = nh_fw_env_new();
	assert_int_equal(nh_fw_env_load(e, fd, &p, &err), NH_EFORMAT);
	nh_fw_env_free(e);
	close(fd);
}

static void test_places(void **state)
{
	static const struct nh_fw_env_place bad[] = {
		{.offset_bytes = 0, .size_bytes = 0},
		{.offset_bytes = 0, .size_bytes = 65535 * 512},
		{.offset_bytes = UINT64_MAX, .size_bytes = 512},
		{.offset_bytes = 0, .size_bytes = 1024, .redundant = true, .offset_redund_bytes = 512},
	};
	int fd = memfd_create("env", MFD_CLOEXEC);
	struct nh_fw_env *e = nh_fw_env_new();
	for (size_t i = 0; i < NH_ARRAY_LEN(bad); i++) {
		assert_int_equal(nh_fw_env_load(e, fd, &bad[i], NULL), NH_EINVAL);
		assert_int_equal(nh_fw_env_store(e, fd, &bad[i], NULL), NH_EINVAL);
	}
	const struct nh_fw_env_place good = {.size_bytes = 512};
	close(fd);
	assert_int_not_equal(nh_fw_env_load(e, fd, &good, NULL), NH_OK);
	assert_int_not_equal(nh_fw_env_store(e, fd, &good, NULL), NH_OK);
	nh_fw_env_free(e);
}

/* Each side reads what the other wrote. */
static void test_mkenvimage(void **state)
{
	static const char text[] = "bootcmd=run distro\nnerves_fw_active=a\na.nerves_fw_version=1.2.3\n";
	char *dir = make_dir(), in[256], out[256];
	snprintf(in, sizeof in, "%s/in.txt", dir);
	snprintf(out, sizeof out, "%s/out.bin", dir);
	assert_int_equal(nh_file_write_atomic(in, nh_slice_str(text), 0644, NULL), NH_OK);
	for (int redundant = 0; redundant < 2; redundant++) {
		const char *plain[] = {"mkenvimage", "-s", "8192", "-o", out, in, NULL};
		const char *pair[] = {"mkenvimage", "-r", "-s", "8192", "-o", out, in, NULL};
		struct nh_process p = {.argv = redundant ? pair : plain, .timeout_ms = 60000};
		int status = -1;
		struct nh_err err = NH_ERR_INIT;
		nh_rc rc = nh_process_run(&p, &status, NULL, NULL, &err);
		if (rc == NH_ENOTFOUND) {
			print_message("skipped: mkenvimage isn't installed (scripts/install-deps)\n");
			break;
		}
		assert_int_equal(status, 0);
		NH_AUTO_BUF struct nh_buf block = NH_BUF_INIT, again = NH_BUF_INIT;
		assert_int_equal(nh_file_read(out, 1u << 20, &block, &err), NH_OK);
		struct nh_fw_env *e = nh_fw_env_new();
		uint8_t flags = 0;
		if (nh_fw_env_decode(e, nh_buf_slice(&block), redundant, 0, &flags, &err) != NH_OK)
			fail_msg("%s", err.msg);
		assert_int_equal(nh_fw_env_count(e), 3);
		assert_variable(e, "bootcmd", "run distro");
		assert_variable(e, "a.nerves_fw_version", "1.2.3");
		/* mkenvimage keeps the order of its input: give it ours, and the bytes must be equal */
		assert_int_equal(nh_file_write_atomic(in, NH_LIT("a.nerves_fw_version=1.2.3\nbootcmd=run distro\nnerves_fw_active=a\n"), 0644, NULL), NH_OK);
		assert_int_equal(nh_process_run(&p, &status, NULL, NULL, &err), NH_OK);
		nh_buf_clear(&block);
		assert_int_equal(nh_file_read(out, 1u << 20, &block, &err), NH_OK);
		assert_int_equal(nh_fw_env_encode(e, 8192, redundant, flags, &again, &err), NH_OK);
		assert_int_equal(again.len, block.len);
		assert_memory_equal(again.ptr, block.ptr, block.len);
		nh_fw_env_free(e);
		assert_int_equal(nh_file_write_atomic(in, nh_slice_str(text), 0644, NULL), NH_OK);
	}
	unlink(in);
	unlink(out);
	rmdir(dir);
	free(dir);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_variables), cmocka_unit_test(test_block),	 cmocka_unit_test(test_refusals),
		cmocka_unit_test(test_redundant), cmocka_unit_test(test_places), cmocka_unit_test(test_mkenvimage),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
