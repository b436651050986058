/*
 * Building and judging virtual firmware. The configuration is ordinary: everything that varies comes in as variables.
 */
#include "fleet/firmware.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/arena.h"
#include "base/clock.h"
#include "base/file.h"
#include "base/rng.h"
#include "firmware/create.h"
#include "firmware/uboot_env.h"

#define HEADER_MAX 512
#define MAGIC "nervesfleet 1\n"

static const char conf[] =
	"meta-product = ${PRODUCT}\nmeta-version = ${VERSION}\nmeta-platform = ${PLATFORM}\nmeta-architecture = ${ARCHITECTURE}\n"
	"meta-author = \"nerveshub-fleet\"\nmeta-description = \"virtual device\"\n"
	"file-resource rootfs.img {\n host-path = ${ROOTFS}\n}\n"
	"uboot-environment vars {\n block-offset = ${ENV_AT}\n block-count = ${ENV_LEN}\n}\n"
	"task complete {\n"
	" on-init {\n  uboot_clearenv(vars)\n }\n"
	" on-resource rootfs.img { raw_write(${SLOT_A}) }\n"
	" on-finish {\n" "${A_VARS}"
	"  uboot_setenv(vars, \"a.nerves_fw_validated\", \"1\")\n"
	"  uboot_setenv(vars, \"nerves_fw_active\", \"a\")\n }\n}\n"
	"task upgrade.a {\n require-uboot-variable(vars, \"nerves_fw_active\", \"b\")\n"
	" on-init { uboot_unsetenv(vars, \"a.nerves_fw_uuid\") }\n"
	" on-resource rootfs.img { raw_write(${SLOT_A}) }\n"
	" on-finish {\n" "${A_VARS}"
	"  uboot_setenv(vars, \"a.nerves_fw_validated\", \"0\")\n  uboot_setenv(vars, \"nerves_fw_booted\", \"0\")\n"
	"  uboot_setenv(vars, \"nerves_fw_active\", \"a\")\n }\n}\n"
	"task upgrade.b {\n require-uboot-variable(vars, \"nerves_fw_active\", \"a\")\n"
	" on-init { uboot_unsetenv(vars, \"b.nerves_fw_uuid\") }\n"
	" on-resource rootfs.img { raw_write(${SLOT_B}) }\n"
	" on-finish {\n" "${B_VARS}"
	"  uboot_setenv(vars, \"b.nerves_fw_validated\", \"0\")\n  uboot_setenv(vars, \"nerves_fw_booted\", \"0\")\n"
	"  uboot_setenv(vars, \"nerves_fw_active\", \"b\")\n }\n}\n"
	"task upgrade.none {\n on-init { error(\"no active slot on this disk\") }\n}\n";

/* What a slot says about itself, as Nerves systems do. Only the UUID is known no earlier than when the archive is applied. */
static const struct {
	const char *name, *value;
} slot_variables[] = {
	{"product", "${PRODUCT}"}, {"version", "${VERSION}"}, {"platform", "${PLATFORM}"}, {"architecture", "${ARCHITECTURE}"},
	{"author", "nerveshub-fleet"}, {"description", "virtual device"}, {"uuid", "\\${FWUP_META_UUID}"},
};

static void put_slot_variables(struct nh_buf *out, char slot)
{
	for (size_t i = 0; i < NH_ARRAY_LEN(slot_variables); i++)
		nh_buf_printf(out, "  uboot_setenv(vars, \"%c.nerves_fw_%s\", \"%s\")\n", slot, slot_variables[i].name, slot_variables[i].value);
}

/* Only the two markers of ours are replaced here; what fwup expands stays for the parser. */
static void put_conf(struct nh_buf *out)
{
	nh_slice rest = nh_slice_str(conf);
	for (;;) {
		ptrdiff_t a = nh_slice_find(rest, NH_LIT("${A_VARS}")), b = nh_slice_find(rest, NH_LIT("${B_VARS}"));
		ptrdiff_t at = a >= 0 && (b < 0 || a < b) ? a : b;
		if (at < 0)
			break;
		nh_buf_put_slice(out, nh_slice_sub(rest, 0, (size_t)at));
		put_slot_variables(out, at == a ? 'a' : 'b');
		rest = nh_slice_skip(rest, (size_t)at + strlen("${A_VARS}"));
	}
	nh_buf_put_slice(out, rest);
}

/* Filler that depends on the version only: the same firmware twice is the same firmware. */
static nh_rc write_rootfs(const struct nh_fleet_firmware *f, const char *version, const char *path, struct nh_err *err)
{
	NH_AUTO_BUF struct nh_buf image = NH_BUF_INIT;
	uint64_t size = f->size_bytes ? f->size_bytes : 262144, seed = 1469598103934665603u;
	if (size < 4096 || size > (uint64_t)NH_FLEET_SLOT_BLOCKS * NH_FLEET_BLOCK)
		return NH_FAIL(err, NH_EINVAL, "firmware size %llu is not within 4 KiB and 16 MiB", (unsigned long long)size);
	nh_buf_printf(&image, MAGIC "version=%s\nvalidate=%s\n\n", version, f->fails ? f->fails : "ok");
	if (image.len > HEADER_MAX)
		return NH_FAIL(err, NH_EINVAL, "the reason of failure is longer than %u bytes", HEADER_MAX - 100);
	for (const char *c = version; *c; c++)
		seed = (seed ^ (uint8_t)*c) * 1099511628211u;
	struct nh_rng_seeded state;
	struct nh_rng rng = nh_rng_seeded_init(&state, seed);
	size_t head = image.len;
	nh_buf_fill(&image, 0, (size_t)size - head);
	nh_rng_fill(&rng, image.ptr + head, image.len - head);
	return nh_file_write_atomic(path, nh_buf_slice(&image), 0600, err);
}

static void set(struct nh_fw_vars *vars, const char *name, const char *value) { nh_fw_vars_set(vars, nh_slice_str(name), nh_slice_str(value)); }

static void set_number(struct nh_fw_vars *vars, const char *name, unsigned value)
{
	char text[16];
	snprintf(text, sizeof text, "%u", value);
	set(vars, name, text);
}

static bool one_line(const char *text) { return !text || !strpbrk(text, "\r\n\""); }

nh_rc nh_fleet_firmware_make(const struct nh_fleet_firmware *f, const char *path, struct nh_err *err)
{
	NH_AUTO_ARENA struct nh_arena arena = NH_ARENA_INIT;
	NH_AUTO_BUF struct nh_buf text = NH_BUF_INIT;
	const char *version = f->version ? f->version : "1.0.0";
	if (!one_line(f->fails) || !one_line(f->product) || !one_line(version) || !one_line(f->platform) || !one_line(f->architecture))
		return NH_FAIL(err, NH_EINVAL, "product, version and reason may hold neither quotes nor line breaks");
	const char *rootfs = nh_arena_printf(&arena, "%s.rootfs", path);
	NH_TRY(write_rootfs(f, version, rootfs, err));
	put_conf(&text);
	struct nh_fw_vars *vars = nh_fw_vars_new(NULL, NULL);
	set(vars, "PRODUCT", f->product ? f->product : "virtual");
	set(vars, "VERSION", version);
	set(vars, "PLATFORM", f->platform ? f->platform : "virtual");
	set(vars, "ARCHITECTURE", f->architecture ? f->architecture : "generic");
	set(vars, "ROOTFS", rootfs);
	set_number(vars, "ENV_AT", NH_FLEET_ENV_BLOCK);
	set_number(vars, "ENV_LEN", NH_FLEET_ENV_BLOCKS);
	set_number(vars, "SLOT_A", NH_FLEET_SLOT_A);
	set_number(vars, "SLOT_B", NH_FLEET_SLOT_B);
	struct nh_fw_create_options options = {.text = nh_buf_slice(&text), .vars = vars, .key = f->key, .level = 1, .time_s = nh_now_us() / NH_US_PER_S};
	nh_rc rc = nh_fw_create_file(&options, path, err);
	nh_fw_vars_free(vars);
	unlink(rootfs);
	return rc;
}

/* ---- the self-test ----------------------------------------------------------------------------------------------------- */

static nh_rc active_slot(int fd, uint64_t *block, struct nh_err *err)
{
	struct nh_fw_env *env = nh_fw_env_new();
	struct nh_fw_env_place place = {.offset_bytes = NH_FLEET_ENV_BLOCK * NH_FLEET_BLOCK, .size_bytes = NH_FLEET_ENV_BLOCKS * NH_FLEET_BLOCK};
	nh_slice active = NH_SLICE_EMPTY;
	nh_rc rc = nh_fw_env_load(env, fd, &place, err);
	if (rc == NH_OK && !nh_fw_env_get(env, NH_LIT("nerves_fw_active"), &active))
		rc = NH_FAIL(err, NH_EFORMAT, "the environment names no active slot");
	if (rc == NH_OK)
		*block = nh_slice_eq_str(active, "b") ? NH_FLEET_SLOT_B : NH_FLEET_SLOT_A;
	nh_fw_env_free(env);
	return rc;
}

static nh_rc judge(int fd, struct nh_err *err)
{
	uint64_t block = 0;
	char bytes[HEADER_MAX];
	NH_TRY(active_slot(fd, &block, err));
	ssize_t n = pread(fd, bytes, sizeof bytes, (off_t)(block * NH_FLEET_BLOCK));
	nh_slice rest = nh_slice_of(bytes, n > 0 ? (size_t)n : 0), line, key, value;
	if (!nh_slice_starts(rest, NH_LIT(MAGIC)))
		return NH_FAIL(err, NH_EFORMAT, "the active slot holds no system");
	while (nh_slice_cut(rest, '\n', &line, &rest) && line.len) {
		if (nh_slice_cut(line, '=', &key, &value) && nh_slice_eq_str(key, "validate"))
			return nh_slice_eq_str(value, "ok") ? NH_OK : NH_FAIL(err, NH_EPERM, "self-test failed: %.*s", NH_ARG(value));
	}
	return NH_FAIL(err, NH_EFORMAT, "the system in the active slot has no self-test");
}

nh_rc nh_fleet_selftest(const char *disk, struct nh_err *err)
{
	int fd = open(disk, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return NH_FAIL(err, NH_EIO, "cannot open the disk %s", disk);
	nh_rc rc = judge(fd, err);
	close(fd);
	return rc;
}
