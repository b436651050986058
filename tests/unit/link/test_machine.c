/*
 * The machine on a file that stands for its disk: state, boot and revert, validation, and installs of the fixture archives by the built-in installer and by
 * a program that speaks fwup's framed protocol.
 */
#include "test_base.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "firmware/uboot_env.h"
#include "link/machine.h"

#define KEY "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="

static char disk[] = "/tmp/nh-machine-test-XXXXXX";
static char script[] = "/tmp/nh-machine-fwup-XXXXXX";
static const struct nh_fw_env_place place = {.offset_bytes = 0, .size_bytes = 0x2000};

/* A fresh disk with these variables: "name=value" each, up to NULL. */
static void make_disk(const char *const *vars)
{
	struct nh_fw_env *env = nh_fw_env_new();
	int fd = open(disk, O_RDWR | O_CREAT | O_TRUNC, 0600);
	for (; *vars; vars++) {
		nh_slice name, value;
		nh_slice_cut(nh_slice_str(*vars), '=', &name, &value);
		assert_int_equal(nh_fw_env_set(env, name, value, NULL), NH_OK);
	}
	assert_int_equal(nh_fw_env_store(env, fd, &place, NULL), NH_OK);
	nh_fw_env_free(env);
	close(fd);
}

static void assert_var(const char *name, const char *expected)
{
	struct nh_fw_env *env = nh_fw_env_new();
	int fd = open(disk, O_RDONLY);
	nh_slice value = NH_SLICE_EMPTY;
	assert_int_equal(nh_fw_env_load(env, fd, &place, NULL), NH_OK);
	bool has = nh_fw_env_get(env, nh_slice_str(name), &value);
	if (has != (expected != NULL) || (has && !nh_slice_eq_str(value, expected)))
		fail_msg("%s is '%.*s', expected '%s'", name, NH_ARG(value), expected ? expected : "(not set)");
	nh_fw_env_free(env);
	close(fd);
}

static struct nh_machine *machine(struct nh_machine_config config)
{
	struct nh_machine *m;
	config.devpath = disk;
	config.env_size = place.size_bytes;
	if (config.installer == NH_MACHINE_AUTO)
		config.installer = NH_MACHINE_BUILTIN;
	static struct nh_machine_config kept;
	kept = config;
	assert_int_equal(nh_machine_new(&kept, &m, NULL), NH_OK);
	return m;
}

static void states(void **state)
{
	static const struct {
		const char *vars[9];
		nh_rc rc;
		bool validated, reverted;
	} rows[] = {
		{{"nerves_fw_active=a", "nerves_fw_validated=1", "a.nerves_fw_uuid=u", "a.nerves_fw_version=1", "b.nerves_fw_version=2"}, NH_OK, true, false},
		{{"nerves_fw_active=a", "nerves_fw_validated=0", "a.nerves_fw_uuid=u", "a.nerves_fw_version=1"}, NH_OK, false, false},
		{{"nerves_fw_active=a", "a.nerves_fw_validated=0", "nerves_fw_validated=1", "a.nerves_fw_uuid=u", "a.nerves_fw_version=1"}, NH_OK, false, false},
		{{"nerves_fw_active=a", "a.nerves_fw_uuid=u", "a.nerves_fw_version=1"}, NH_OK, true, false},
		{{"nerves_fw_active=a", "a.nerves_fw_uuid=u", "a.nerves_fw_version=1", "b.nerves_fw_validated=0", "b.nerves_fw_platform=p", "b.nerves_fw_architecture=arm"}, NH_OK, true, true},
		{{"nerves_fw_active=a", "a.nerves_fw_uuid=u", "a.nerves_fw_version=1", "b.nerves_fw_validated=0"}, NH_OK, true, false},
		{{"a.nerves_fw_uuid=u"}, NH_EFORMAT, false, false},
	};
	for (size_t i = 0; i < NH_ARRAY_LEN(rows); i++) {
		NH_AUTO_ARENA struct nh_arena arena = NH_ARENA_INIT;
		struct nh_link_state s = {0};
		make_disk(rows[i].vars);
		struct nh_machine *m = machine((struct nh_machine_config){0});
		assert_int_equal(nh_machine_platform.read_state(m, &arena, &s, NULL), rows[i].rc);
		if (rows[i].rc == NH_OK) {
			assert_slice(nh_link_state_get(&s, "nerves_fw_uuid"), "u");
			assert_slice(nh_link_state_get(&s, "nerves_fw_version"), "1");
			assert_int_equal(s.validated, rows[i].validated);
			assert_int_equal(s.auto_reverted, rows[i].reverted);
		}
		nh_machine_free(m);
	}
	/* no environment; no disk */
	NH_AUTO_ARENA struct nh_arena arena = NH_ARENA_INIT;
	struct nh_link_state s = {0};
	struct nh_err err = NH_ERR_INIT;
	assert_int_equal(truncate(disk, 0), 0);
	struct nh_machine *m = machine((struct nh_machine_config){0});
	assert_int_equal(nh_machine_platform.read_state(m, &arena, &s, &err), NH_EFORMAT);
	unlink(disk);
	assert_int_equal(nh_machine_platform.read_state(m, &arena, &s, &err), NH_ENOTFOUND);
	assert_non_null(strstr(err.msg, disk));
	nh_machine_free(m);
}

static void boots(void **state)
{
	static const char *const fresh[] = {"nerves_fw_active=b", "nerves_fw_validated=0", "a.nerves_fw_version=1", "a.nerves_fw_platform=p", "a.nerves_fw_architecture=arm",
					    "b.nerves_fw_version=2", "b.nerves_fw_platform=p", "b.nerves_fw_architecture=arm", NULL};
	bool reverted;
	make_disk(fresh);
	struct nh_machine *m = machine((struct nh_machine_config){0});
	/* first boot: its chance */
	assert_int_equal(nh_machine_boot(m, &reverted, NULL), NH_OK);
	assert_false(reverted);
	assert_var("nerves_fw_booted", "b");
	assert_var("nerves_fw_active", "b");
	/* second boot without validation: back */
	assert_int_equal(nh_machine_boot(m, &reverted, NULL), NH_OK);
	assert_true(reverted);
	assert_var("nerves_fw_active", "a");
	assert_var("nerves_fw_validated", "1");
	assert_var("b.nerves_fw_validated", "0");
	assert_var("nerves_fw_booted", NULL);
	NH_AUTO_ARENA struct nh_arena arena = NH_ARENA_INIT;
	struct nh_link_state s;
	assert_int_equal(nh_machine_platform.read_state(m, &arena, &s, NULL), NH_OK);
	assert_true(s.validated && s.auto_reverted);
	/* and stays there */
	assert_int_equal(nh_machine_boot(m, &reverted, NULL), NH_OK);
	assert_false(reverted);
	assert_var("nerves_fw_active", "a");

	/* a validated one stays over boots */
	make_disk(fresh);
	assert_int_equal(nh_machine_boot(m, &reverted, NULL), NH_OK);
	assert_int_equal(nh_machine_platform.validate(m, NULL), NH_OK);
	assert_var("nerves_fw_validated", "1");
	assert_var("nerves_fw_booted", NULL);
	assert_int_equal(nh_machine_boot(m, &reverted, NULL), NH_OK);
	assert_false(reverted);
	assert_var("nerves_fw_active", "b");
	nh_machine_free(m);
}

static void validation(void **state)
{
	static const char *const vars[] = {"nerves_fw_active=a", "nerves_fw_validated=0", "a.nerves_fw_version=1", NULL};
	static const char *const good[] = {"true", NULL}, *const later[] = {"sh", "-c", "exit 75", NULL}, *const bad[] = {"sh", "-c", "echo dead >&2; exit 3", NULL},
				 *const missing[] = {"/no/such/program", NULL}, *const hangs[] = {"sleep", "100", NULL};
	static const struct {
		const char *const *argv;
		nh_rc rc;
		const char *mark, *says;
	} rows[] = {{good, NH_OK, "1", NULL}, {later, NH_EAGAIN, "0", NULL}, {bad, NH_EPERM, "0", "dead"}, {missing, NH_ENOTFOUND, "0", NULL}, {hangs, NH_ETIMEOUT, "0", NULL}};
	for (size_t i = 0; i < NH_ARRAY_LEN(rows); i++) {
		struct nh_err err = NH_ERR_INIT;
		make_disk(vars);
		struct nh_machine *m = machine((struct nh_machine_config){.validate_argv = rows[i].argv, .validate_timeout_ms = 300});
		nh_rc rc = nh_machine_platform.validate(m, &err);
		/* a slow machine may also run out of the small deadline above */
		if (rc != rows[i].rc)
			fail_msg("row %zu: %s %s", i, nh_rc_name(rc), err.msg);
		assert_var("nerves_fw_validated", rows[i].mark);
		if (rows[i].says)
			assert_non_null(strstr(err.msg, rows[i].says));
		nh_machine_free(m);
	}
}

/* ---- installs */

static nh_rc install(struct nh_machine *m, const char *archive, size_t step, const char *key, unsigned *percent, struct nh_err *err)
{
	NH_AUTO_BUF struct nh_buf bytes = NH_BUF_INIT, path = NH_BUF_INIT;
	const char *keys[] = {key};
	struct nh_link_offer offer = {.public_keys = keys, .key_count = key ? 1 : 0};
	void *apply = NULL;
	nh_buf_printf(&path, "%s/firmware/%s", getenv("NH_VECTORS"), archive);
	assert_int_equal(nh_file_read(nh_buf_cstr(&path), 1 << 24, &bytes, NULL), NH_OK);
	nh_rc rc = nh_machine_platform.apply_open(m, &offer, &apply, err);
	if (rc != NH_OK)
		return rc;
	for (size_t at = 0; at < bytes.len; at += step) {
		rc = nh_machine_platform.apply_write(apply, nh_slice_sub(nh_buf_slice(&bytes), at, step), percent, err);
		if (rc != NH_OK) {
			nh_machine_platform.apply_abort(apply);
			return rc;
		}
	}
	return nh_machine_platform.apply_finish(apply, err);
}

static void fixture_key(char out[64])
{
	NH_AUTO_BUF struct nh_buf path = NH_BUF_INIT, text = NH_BUF_INIT;
	nh_buf_printf(&path, "%s/firmware/keys/key1.pub", getenv("NH_VECTORS"));
	assert_int_equal(nh_file_read(nh_buf_cstr(&path), 1000, &text, NULL), NH_OK);
	snprintf(out, 64, "%.*s", NH_ARG(nh_slice_trim(nh_buf_slice(&text))));
}

static void builtin_installs(void **state)
{
	char key[64];
	struct nh_err err = NH_ERR_INIT;
	unsigned percent = 0;
	fixture_key(key);
	unlink(disk);
	struct nh_machine *m = machine((struct nh_machine_config){.task = "complete"});
	assert_string_equal(nh_machine_fwup_version(m), "1.0.0");
	assert_int_equal(install(m, "widget-1.0.0.fw", 1000, NULL, &percent, &err), NH_EAUTH);
	assert_int_not_equal(access(disk, F_OK), 0); /* nothing was touched */
	assert_int_equal(install(m, "widget-1.0.0.fw", 1000, key, &percent, &err), NH_OK);
	nh_machine_free(m);

	struct stat before, after;
	m = machine((struct nh_machine_config){0});
	assert_int_equal(stat(disk, &before), 0);
	static const char *const refused[] = {"minimal-unsigned.fw", "widget-1.0.0-key2.fw", "tampered-meta.fw", "tampered-signature.fw"};
	for (size_t i = 0; i < NH_ARRAY_LEN(refused); i++)
		assert_int_not_equal(install(m, refused[i], 777, key, &percent, &err), NH_OK);
	assert_int_equal(stat(disk, &after), 0);
	assert_int_equal(before.st_mtim.tv_nsec, after.st_mtim.tv_nsec);
	assert_int_equal(install(m, "widget-1.1.0.fw", 777, key, &percent, &err), NH_OK);
	nh_machine_free(m);
}

/* A stand-in for fwup: says its version, counts framed bytes, and ends as its task's name says. */
static const char fake_fwup[] =
	"#!/usr/bin/python3\n"
	"import sys, struct\n"
	"if '--version' in sys.argv: print('1.10.1'); sys.exit(0)\n"
	"def say(t, n, text=b''):\n"
	"    sys.stdout.buffer.write(struct.pack('>I2sH', 4 + len(text), t, n) + text); sys.stdout.buffer.flush()\n"
	"task = sys.argv[sys.argv.index('--task') + 1]\n"
	"assert '--public-key' in sys.argv and '--framing' in sys.argv and '--no-unmount' in sys.argv\n"
	"total = 0\n"
	"while True:\n"
	"    n, = struct.unpack('>I', sys.stdin.buffer.read(4))\n"
	"    if n == 0: break\n"
	"    total += len(sys.stdin.buffer.read(n))\n"
	"    say(b'PR', 42)\n"
	"    if task == 'bad': say(b'ER', 1, b'signature does not match'); sys.exit(1)\n"
	"    if task == 'gone': sys.exit(2)\n"
	"open(sys.argv[sys.argv.index('-d') + 1], 'w').write(str(total))\n"
	"say(b'OK', 0)\n"
	"sys.exit(1 if task == 'odd' else 0)\n";

static void fwup_installs(void **state)
{
	static const struct {
		const char *task;
		nh_rc rc;
		const char *says;
	} rows[] = {{"upgrade", NH_OK, ""}, {"bad", NH_EPERM, "signature does not match"}, {"gone", NH_EIO, "fwup ended"}, {"odd", NH_EIO, "fwup ended"}};
	if (access("/usr/bin/python3", X_OK) != 0) {
		print_message("skipped: no python3 for the stand-in\n");
		skip();
	}
	int fd = mkstemp(script);
	assert_int_equal(write(fd, fake_fwup, sizeof fake_fwup - 1), sizeof fake_fwup - 1);
	assert_int_equal(fchmod(fd, 0700), 0);
	close(fd);
	for (size_t i = 0; i < NH_ARRAY_LEN(rows); i++) {
		struct nh_err err = NH_ERR_INIT;
		NH_AUTO_BUF struct nh_buf written = NH_BUF_INIT;
		unsigned percent = 0;
		struct stat st;
		char path[4096], expected[32];
		unlink(disk);
		struct nh_machine *m = machine((struct nh_machine_config){.installer = NH_MACHINE_FWUP, .fwup = script, .task = rows[i].task});
		assert_string_equal(nh_machine_fwup_version(m), "1.10.1");
		nh_rc rc = install(m, "widget-1.0.0.fw", 1000, KEY, &percent, &err);
		if (rc != rows[i].rc || !strstr(err.msg, rows[i].says))
			fail_msg("row %zu: %s '%s'", i, nh_rc_name(rc), err.msg);
		if (rc == NH_OK) {
			snprintf(path, sizeof path, "%s/firmware/widget-1.0.0.fw", getenv("NH_VECTORS"));
			assert_int_equal(stat(path, &st), 0);
			snprintf(expected, sizeof expected, "%lld", (long long)st.st_size);
			assert_int_equal(nh_file_read(disk, 100, &written, NULL), NH_OK);
			assert_string_equal(nh_buf_cstr(&written), expected);
		}
		nh_machine_free(m);
	}
	unlink(script);
}

/* ---- archives of other formats */

static const char *const no_arguments[] = {NULL};

/* What a program that takes a file makes of it: its file's second line is what it does. */
static const char fake_tool[] = "#!/bin/sh\n"
				"[ \"$1\" = -q ] && [ \"$2\" = install ] || exit 9\n"
				"eval \"$(sed -n 2p \"$3\")\"\n";

static void other_formats(void **state)
{
	static const struct {
		const char *archive;
		bool on, file; /* switched on; by way of a file */
		nh_rc rc;
		const char *says;
	} rows[] = {
		{"hsqs\nexit 0\n", true, true, NH_OK, ""},
		{"hsqs\necho ' 37% Checking'; echo 'No room' >&2; exit 4\n", true, true, NH_EPERM, "ended with status 4: 37% Checking; No room"},
		{"hsqs\nprintf '\\033[1mbold\\303\\n'; kill -9 $$\n", true, true, NH_EPERM, "ended with status 137: [1mbold"},
		{"hsqs\nexit 0\n", false, true, NH_EPERM, "a RAUC bundle: the installer rauc is not switched on"},
		{"hsqs\nexit 0\n", false, false, NH_EPERM, "a RAUC bundle: the installer rauc is not switched on"},
		{"hsqs\nexit 0\n", true, false, NH_EUNSUPPORTED, "a RAUC bundle needs the whole file"},
		{"070702\nexit 0\n", true, true, NH_EPERM, "a SWUpdate image: the installer swupdate is not switched on"},
		{"070701\nexit 0\n", true, false, NH_EPERM, "a SWUpdate image: the installer swupdate is not switched on"},
		{"PK\3\4\nexit 0\n", true, true, NH_EAUTH, "no public key is configured"}, /* and so to an installer that wants one */
		{"hsq", true, false, NH_EAUTH, "no public key is configured"},
		{"", true, false, NH_EAUTH, "no public key is configured"},
	};
	const char *argument[] = {"-q", NULL};
	char archive[] = "/tmp/nh-machine-archive-XXXXXX", program[] = "/tmp/nh-machine-tool-XXXXXX";
	close(mkstemp(archive));
	close(mkstemp(program));
	assert_int_equal(nh_file_write_atomic(program, nh_slice_str(fake_tool), 0700, NULL), NH_OK);
	for (size_t i = 0; i < NH_ARRAY_LEN(rows); i++) {
		struct nh_err err = NH_ERR_INIT;
		void *apply = NULL;
		unsigned percent = 0;
		assert_int_equal(nh_file_write_atomic(archive, nh_slice_str(rows[i].archive), 0600, NULL), NH_OK);
		struct nh_machine *m = machine((struct nh_machine_config){.rauc = {.on = rows[i].on, .program = program, .args = argument}, .swupdate = {.args = no_arguments}});
		assert_int_equal(nh_machine_verifies(m), rows[i].on);
		/* Keys are no matter for who verifies by his own. */
		const char *keys[] = {KEY};
		struct nh_link_offer offer = {.public_keys = keys, .key_count = rows[i].on ? 0 : 1};
		assert_int_equal(nh_machine_platform.apply_open(m, &offer, &apply, &err), NH_OK);
		nh_rc rc = NH_EAGAIN;
		while (rows[i].file && rc == NH_EAGAIN)
			rc = nh_machine_platform.apply_file(apply, archive, &percent, &err);
		for (const char *at = rows[i].archive; !rows[i].file && *at && (rc == NH_OK || rc == NH_EAGAIN); at++)
			rc = nh_machine_platform.apply_write(apply, nh_slice_of(at, 1), &percent, &err);
		if (rc == NH_OK || rc == NH_EAGAIN)
			rc = nh_machine_platform.apply_finish(apply, &err);
		else
			nh_machine_platform.apply_abort(apply);
		if (rc != rows[i].rc || !strstr(err.msg, rows[i].says))
			fail_msg("row %zu: %s '%s'", i, nh_rc_name(rc), err.msg);
		nh_machine_free(m);
	}
	/* One that is still at it says how far, and is killed with all it started. */
	struct nh_machine *m = machine((struct nh_machine_config){.rauc = {.on = true, .program = program, .args = argument}});
	struct nh_err err = NH_ERR_INIT;
	void *apply = NULL;
	unsigned percent = 0;
	assert_int_equal(nh_file_write_atomic(archive, NH_LIT("hsqs\nprintf ' 12%% x\\n 42%% y\\n'; sleep 1000 & sleep 1000\n"), 0600, NULL), NH_OK);
	assert_int_equal(nh_machine_platform.apply_open(m, &(struct nh_link_offer){0}, &apply, &err), NH_OK);
	while (percent != 42)
		assert_int_equal(nh_machine_platform.apply_file(apply, archive, &percent, &err), NH_EAGAIN);
	nh_machine_platform.apply_abort(apply);
	nh_machine_free(m);
	unlink(archive);
	unlink(program);
}

/* ---- going back */

static void reverts(void **state)
{
	static const char *const new_one[] = {"nerves_fw_active=b", "b.nerves_fw_uuid=u2", "b.nerves_fw_version=2", "b.nerves_fw_validated=0", "a.nerves_fw_uuid=u1", NULL};
	static const char *const old_one[] = {"nerves_fw_active=a", "b.nerves_fw_uuid=u2", "b.nerves_fw_version=2", "b.nerves_fw_validated=0", "a.nerves_fw_uuid=u1", NULL};
	static const char *const back[] = {"sh", "-c", "echo stuck >&2; exit 5", NULL};
	char dir[] = "/tmp/nh-machine-state-XXXXXX", file[64];
	NH_AUTO_ARENA struct nh_arena arena = NH_ARENA_INIT;
	struct nh_err err = NH_ERR_INIT;
	assert_non_null(mkdtemp(dir));
	snprintf(file, sizeof file, "%s/reverted", dir);
	make_disk(new_one);
	struct nh_machine *m = machine((struct nh_machine_config){.state_dir = dir, .revert_argv = back});
	assert_int_equal(nh_machine_platform.revert_reason(m, &arena, false).len, 0);
	assert_int_equal(nh_machine_platform.revert(m, "no water", &err), NH_EPERM); /* the command failed; the reason is kept all the same */
	assert_non_null(strstr(err.msg, "status 5: stuck"));
	assert_int_equal(nh_machine_platform.revert_reason(m, &arena, true).len, 0); /* it still runs */
	make_disk(old_one);
	assert_slice(nh_machine_platform.revert_reason(m, &arena, false), "version 2 was reverted: no water");
	assert_slice(nh_machine_platform.revert_reason(m, &arena, true), "version 2 was reverted: no water");
	assert_int_equal(nh_machine_platform.revert_reason(m, &arena, false).len, 0);
	nh_machine_free(m);
	/* Nowhere to keep it. */
	m = machine((struct nh_machine_config){0});
	assert_int_equal(nh_machine_platform.revert(m, "x", &err), NH_OK);
	assert_int_equal(nh_machine_platform.revert_reason(m, &arena, false).len, 0);
	nh_machine_free(m);
	rmdir(dir);
}

static void faults(void **state)
{
	struct nh_machine *m;
	struct nh_err err = NH_ERR_INIT;
	assert_int_equal(nh_machine_new(&(struct nh_machine_config){0}, &m, &err), NH_EINVAL);
	assert_null(m);
	assert_int_equal(nh_machine_new(&(struct nh_machine_config){.devpath = "/x", .installer = NH_MACHINE_FWUP, .fwup = "/no/such/fwup"}, &m, &err), NH_EINVAL);
	assert_non_null(strstr(err.msg, "/no/such/fwup"));
	assert_int_equal(nh_machine_new(&(struct nh_machine_config){.devpath = "/x", .fwup = "/no/such/fwup"}, &m, &err), NH_OK);
	assert_string_equal(nh_machine_fwup_version(m), "1.0.0");
	nh_machine_free(m);
}

static int set_up(void **state)
{
	close(mkstemp(disk));
	return 0;
}

static int tear_down(void **state)
{
	unlink(disk);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(states),           cmocka_unit_test(boots),         cmocka_unit_test(validation),
		cmocka_unit_test(builtin_installs), cmocka_unit_test(fwup_installs), cmocka_unit_test(faults),
		cmocka_unit_test(other_formats),    cmocka_unit_test(reverts),
	};
	return cmocka_run_group_tests_name("machine", tests, set_up, tear_down);
}
