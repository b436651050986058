/*
 * The process is killed at each of its steps on the disk (write, flush, rename, cut, removal), once before the step and, where it writes, once in the middle. An update by way of
 * the cache: whatever is left boots the old firmware or the complete new one, and the update can be done again from what is left. The marks of boot, validation
 * and revert with two copies of the environment: whatever is left can be read.
 *
 * The steps are seen through the linker (--wrap; Meson builds with 64-bit offsets, hence pwrite64). source: issue "power loss at any point leaves a bootable device"
 */
#include "test_base.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/file.h"
#include "cache_int.h"
#include "firmware/uboot_env.h"
#include "link/machine.h"

#define ENV_AT (16 * 512)
#define ENV_SIZE (16 * 512)
#define PIECE ((size_t)5000) /* as the network brings them */
#define STEPS_MAX 2000

static char dir[] = "/tmp/nh-power-test-XXXXXX";
static char disk[64], cache[64], key[64];

/* ---- death */

static struct {
	bool on;
	unsigned at;    /* dies at this step, 1 = the first; 0 = never */
	bool torn;      /* in the middle of it, if it writes */
	unsigned steps;
} death;

static bool dies(void)
{
	return death.on && ++death.steps == death.at;
}

static void die(void)
{
	kill(getpid(), SIGKILL);
	for (;;)
		pause();
}

#define WRAPPED(type, name, arguments, values)              \
	type __real_##name arguments;                       \
	type __wrap_##name arguments;                       \
	type __wrap_##name arguments                        \
	{                                                   \
		if (dies())                                 \
			die();                              \
		return __real_##name values;                \
	}
WRAPPED(int, fsync, (int fd), (fd))
WRAPPED(int, fdatasync, (int fd), (fd))
WRAPPED(int, rename, (const char *from, const char *to), (from, to))
WRAPPED(int, unlink, (const char *name), (name))
WRAPPED(int, unlinkat, (int fd, const char *name, int flags), (fd, name, flags))
WRAPPED(int, ftruncate64, (int fd, off_t length), (fd, length))

ssize_t __real_write(int fd, const void *bytes, size_t len);
ssize_t __wrap_write(int fd, const void *bytes, size_t len);
ssize_t __wrap_write(int fd, const void *bytes, size_t len)
{
	if (dies()) {
		if (death.torn)
			__real_write(fd, bytes, len / 2);
		die();
	}
	return __real_write(fd, bytes, len);
}

ssize_t __real_pwrite64(int fd, const void *bytes, size_t len, off_t offset);
ssize_t __wrap_pwrite64(int fd, const void *bytes, size_t len, off_t offset);
ssize_t __wrap_pwrite64(int fd, const void *bytes, size_t len, off_t offset)
{
	if (dies()) {
		if (death.torn)
			__real_pwrite64(fd, bytes, len / 2, offset);
		die();
	}
	return __real_pwrite64(fd, bytes, len, offset);
}

/* Runs `what` in a child that dies at a step; true where it came to its end before that. */
static bool survives(void (*what)(void), unsigned at, bool torn)
{
	fflush(stdout);
	pid_t pid = fork();
	if (pid == 0) {
		death.at = at;
		death.torn = torn;
		death.on = true;
		what();
		_exit(0);
	}
	int status;
	assert_int_equal(waitpid(pid, &status, 0), pid);
	if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
		return true;
	if (!WIFSIGNALED(status) || WTERMSIG(status) != SIGKILL)
		fail_msg("step %u: the child ended with %x", at, (unsigned)status);
	return false;
}

/* ---- the machine */

static struct nh_machine *machine(uint64_t second_copy)
{
	static struct nh_machine_config config;
	struct nh_machine *m;
	config = (struct nh_machine_config){.devpath = disk, .env_offset = ENV_AT, .env_size = ENV_SIZE, .installer = NH_MACHINE_BUILTIN, .env_second_offset = second_copy};
	assert_int_equal(nh_machine_new(&config, &m, NULL), NH_OK);
	return m;
}

static struct nh_buf bytes_of(const char *path)
{
	struct nh_buf b = NH_BUF_INIT;
	assert_int_equal(nh_file_read(path, 64 << 20, &b, NULL), NH_OK);
	return b;
}

static struct nh_buf archive(const char *name)
{
	char path[4096];
	snprintf(path, sizeof path, "%s/firmware/%s", getenv("NH_VECTORS"), name);
	return bytes_of(path);
}

static void restore(const char *path, const struct nh_buf *bytes)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
	assert_int_equal(__real_write(fd, bytes->ptr, bytes->len), (ssize_t)bytes->len);
	close(fd);
}

static void boot(struct nh_machine *m, char version[16], char uuid[64])
{
	NH_AUTO_ARENA struct nh_arena arena = NH_ARENA_INIT;
	struct nh_link_state state = {0};
	struct nh_err err = NH_ERR_INIT;
	bool reverted;
	if (nh_machine_boot(m, &reverted, &err) != NH_OK || nh_machine_platform.read_state(m, &arena, &state, &err) != NH_OK)
		fail_msg("it does not boot: %s", err.msg);
	snprintf(version, 16, "%.*s", NH_ARG(nh_link_state_get(&state, "nerves_fw_version")));
	snprintf(uuid, 64, "%.*s", NH_ARG(nh_link_state_get(&state, "nerves_fw_uuid")));
}

/* ---- the update, as the updater does it */

static struct nh_buf new_firmware;
static char new_uuid[64], new_hex[65];

static void need(nh_rc rc, const struct nh_err *err)
{
	if (rc == NH_OK)
		return;
	fprintf(stderr, "%s\n", err->msg);
	_exit(2);
}

static void install(struct nh_machine *m, const struct nh_link_offer *offer, struct link_cache *c)
{
	struct nh_err err = NH_ERR_INIT;
	const struct nh_link_platform *p = &nh_machine_platform;
	void *apply;
	unsigned percent;
	need(p->apply_open(m, offer, &apply, &err), &err);
	nh_rc by_file = p->apply_file(apply, cache_path(c), &percent, &err);
	if (by_file != NH_EUNSUPPORTED)
		need(NH_FAIL(&err, NH_EINTERNAL, "took the file"), &err);
	for (uint64_t at = 0; at < cache_size(c); at += PIECE) {
		NH_AUTO_BUF struct nh_buf piece = NH_BUF_INIT;
		need(cache_read(c, at, PIECE, &piece, &err), &err);
		need(p->apply_write(apply, nh_buf_slice(&piece), &percent, &err), &err);
	}
	need(p->apply_finish(apply, &err), &err);
}

static void update(void)
{
	const char *keys[] = {key};
	struct nh_err err = NH_ERR_INIT;
	struct nh_machine *m = machine(0);
	struct link_cache *c;
	NH_AUTO_ARENA struct nh_arena arena = NH_ARENA_INIT;
	struct nh_link_offer offer, fresh = {.url = NH_LIT("https://h/f"), .uuid = nh_slice_str(new_uuid), .size_bytes = new_firmware.len, .sha256_hex = nh_slice_str(new_hex)};
	/* What was under way goes on; otherwise the server offers it again. */
	if (cache_restore(cache, &arena, &offer, NULL) != NH_OK)
		offer = fresh;
	offer.public_keys = keys;
	offer.key_count = 1;
	need(cache_open(cache, &offer, false, &c, &err), &err);
	while (!cache_sealed(c) && cache_size(c) < new_firmware.len)
		need(cache_append(c, nh_slice_sub(nh_buf_slice(&new_firmware), (size_t)cache_size(c), PIECE), &err), &err);
	need(cache_seal(c, &err), &err);
	install(m, &offer, c);
	cache_close(c, CACHE_DROP);
	nh_machine_free(m);
}

static void check_left(struct nh_machine *m, const struct nh_buf *old, const struct nh_buf *whole, unsigned step)
{
	char version[16], uuid[64];
	NH_AUTO_BUF struct nh_buf left = bytes_of(disk);
	boot(m, version, uuid);
	bool is_new = strcmp(version, "1.1.0") == 0;
	if (!is_new && strcmp(version, "1.0.0") != 0)
		fail_msg("step %u: it runs '%s'", step, version);
	assert_int_equal(left.len, whole->len);
	if (is_new) {
		assert_memory_equal(left.ptr, whole->ptr, whole->len);
		cache_forget(cache, nh_slice_str(new_uuid));
		return;
	}
	for (size_t i = 0; i < left.len; i++)
		if (left.ptr[i] != old->ptr[i] && old->ptr[i] == whole->ptr[i])
			fail_msg("step %u: byte %zu belongs to nobody's update", step, i);
	/* And the way to the new one is open. */
	if (!survives(update, 0, false))
		fail_msg("step %u: the update cannot be done again", step);
	NH_AUTO_BUF struct nh_buf after = bytes_of(disk);
	assert_memory_equal(after.ptr, whole->ptr, whole->len);
}

static void updates(void **state)
{
	NH_AUTO_BUF struct nh_buf first = archive("widget-1.0.0.fw");
	const char *keys[] = {key};
	struct nh_link_offer offer = {.public_keys = keys, .key_count = 1};
	struct nh_err err = NH_ERR_INIT;
	char version[16];
	static struct nh_machine_config factory;
	factory = (struct nh_machine_config){.devpath = disk, .installer = NH_MACHINE_BUILTIN, .task = "complete"};
	struct nh_machine *m;
	void *apply;
	unsigned percent;
	assert_int_equal(nh_machine_new(&factory, &m, NULL), NH_OK);
	need(nh_machine_platform.apply_open(m, &offer, &apply, &err), &err);
	need(nh_machine_platform.apply_write(apply, nh_buf_slice(&first), &percent, &err), &err);
	need(nh_machine_platform.apply_finish(apply, &err), &err);
	nh_machine_free(m);
	m = machine(0);
	NH_AUTO_BUF struct nh_buf old = bytes_of(disk);
	new_firmware = archive("widget-1.1.0.fw");
	NH_AUTO_BUF struct nh_buf hex = NH_BUF_INIT;
	nh_digest_put_hex(&hex, NH_SHA256, nh_buf_slice(&new_firmware));
	snprintf(new_hex, sizeof new_hex, "%s", nh_buf_cstr(&hex));
	/* Its own uuid, for the cache to be named by: from a first, undisturbed run under another name. */
	snprintf(new_uuid, sizeof new_uuid, "22222222-2222-2222-2222-222222222222");
	assert_true(survives(update, 0, false));
	NH_AUTO_BUF struct nh_buf whole = bytes_of(disk);
	boot(m, version, new_uuid);
	assert_string_equal(version, "1.1.0");
	for (int torn = 0; torn < 2; torn++)
		for (unsigned step = 1;; step++) {
			assert_true(step < STEPS_MAX);
			restore(disk, &old);
			if (survives(update, step, torn)) {
				assert_true(step > 20); /* the steps were seen */
				break;
			}
			check_left(m, &old, &whole, step);
		}
	nh_machine_free(m);
	nh_buf_fini(&new_firmware);
}

/* ---- marks, with two copies of the environment */

#define SECOND_AT (ENV_AT + ENV_SIZE)

static void do_boot(void)
{
	struct nh_machine *m = machine(SECOND_AT);
	bool reverted;
	NH_IGNORE(nh_machine_boot(m, &reverted, NULL)); /* the parent judges what is left */
	nh_machine_free(m);
}

static void do_validate(void)
{
	struct nh_machine *m = machine(SECOND_AT);
	NH_IGNORE(nh_machine_platform.validate(m, NULL)); /* as above */
	nh_machine_free(m);
}

static void marks(void **state)
{
	static const struct {
		void (*what)(void);
		bool booted;
		const char *before, *after; /* the active slot */
	} rows[] = {{do_boot, false, "b", "b"}, {do_boot, true, "b", "a"}, {do_validate, true, "b", "b"}};
	static const char *const vars[] = {"nerves_fw_active=b", "nerves_fw_validated=0", "a.nerves_fw_version=1", "b.nerves_fw_version=2", "nerves_fw_booted=b"};
	const struct nh_fw_env_place place = {.offset_bytes = ENV_AT, .size_bytes = ENV_SIZE, .redundant = true, .offset_redund_bytes = SECOND_AT};
	for (size_t i = 0; i < NH_ARRAY_LEN(rows); i++)
		for (int torn = 0; torn < 2; torn++)
			for (unsigned step = 1, done = 0; !done; step++) {
				struct nh_fw_env *env = nh_fw_env_new();
				int fd = open(disk, O_RDWR | O_CREAT | O_TRUNC, 0600);
				for (size_t v = 0; v < NH_ARRAY_LEN(vars) - !rows[i].booted; v++) {
					nh_slice name, value;
					nh_slice_cut(nh_slice_str(vars[v]), '=', &name, &value);
					assert_int_equal(nh_fw_env_set(env, name, value, NULL), NH_OK);
				}
				assert_int_equal(nh_fw_env_store(env, fd, &place, NULL), NH_OK);
				done = survives(rows[i].what, step, torn);
				struct nh_err err = NH_ERR_INIT;
				nh_slice active = NH_SLICE_EMPTY;
				if (nh_fw_env_load(env, fd, &place, &err) != NH_OK || !nh_fw_env_get(env, NH_LIT("nerves_fw_active"), &active))
					fail_msg("row %zu, step %u: %s", i, step, err.msg);
				if (!nh_slice_eq_str(active, rows[i].after) && (done || !nh_slice_eq_str(active, rows[i].before)))
					fail_msg("row %zu, step %u: slot %.*s", i, step, NH_ARG(active));
				assert_true(!done || step > 1);
				nh_fw_env_free(env);
				close(fd);
			}
}

static int set_up(void **state)
{
	assert_non_null(mkdtemp(dir));
	snprintf(disk, sizeof disk, "%s/disk", dir);
	snprintf(cache, sizeof cache, "%s/cache", dir);
	NH_AUTO_BUF struct nh_buf text = archive("keys/key1.pub");
	snprintf(key, sizeof key, "%.*s", NH_ARG(nh_slice_trim(nh_buf_slice(&text))));
	return 0;
}

static int tear_down(void **state)
{
	unlink(disk);
	return rmdir(cache) == 0 && rmdir(dir) == 0 ? 0 : -1; /* nothing is left in the cache */
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(updates), cmocka_unit_test(marks)};
	return cmocka_run_group_tests_name("update_power", tests, set_up, tear_down);
}
