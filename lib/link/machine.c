/*
 * The machine with one disk and a U-Boot environment: what runs, is it valid, boot, reboot. Installing is in machine_apply.c. Every answer is read from the
 * disk again, since fwup, the boot loader and other programs write there too.
 *
 * Keys of the environment: nerves_fw_active names the slot ("a"); SLOT.nerves_fw_* describe what is in it; nerves_fw_validated stands in the slot or, with
 * older images, once for the active one. nerves_fw_booted is our boot script's marker.
 *
 * source: reference/device-protocol "7.1", "14.6"
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/file.h"
#include "base/process.h"
#include "firmware/uboot_env.h"
#include "machine_int.h"

#define DEFAULT_ENV_SIZE 0x20000
#define DEFAULT_VALIDATE_MS 60000
#define REVERT_MS 120000
#define REASON_MAX ((size_t)4096)
#define EX_TEMPFAIL_STATUS 75 /* sysexits.h: ask again later */

extern char **environ;

struct env {
	struct nh_fw_env *vars;
	struct nh_fw_env_place place;
	int fd;
};

static void env_close(struct env *e)
{
	nh_fw_env_free(e->vars);
	if (e->fd >= 0)
		close(e->fd);
}

#define AUTO_ENV __attribute__((cleanup(env_close)))

static nh_rc env_open(const struct nh_machine *m, int flags, struct env *e, struct nh_err *err)
{
	const char *path = m->config.env_path ? m->config.env_path : m->config.devpath;
	e->place = (struct nh_fw_env_place){
		.offset_bytes = m->config.env_offset,
		.size_bytes = m->config.env_size ? m->config.env_size : DEFAULT_ENV_SIZE,
		.redundant = m->config.env_second_offset > 0,
		.offset_redund_bytes = m->config.env_second_offset,
	};
	e->fd = open(path, flags | O_CLOEXEC);
	if (e->fd < 0)
		return NH_FAIL(err, nh_rc_from_errno(errno), "cannot open '%s': %s", path, strerror(errno));
	e->vars = nh_fw_env_new();
	NH_TRY_CTX(nh_fw_env_load(e->vars, e->fd, &e->place, err), err, "'%s' at byte %llu", path, (unsigned long long)e->place.offset_bytes);
	return NH_OK;
}

static nh_slice env_get(const struct env *e, const char *name)
{
	nh_slice value = NH_SLICE_EMPTY;
	return nh_fw_env_get(e->vars, nh_slice_str(name), &value) ? value : NH_SLICE_EMPTY;
}

/* SLOT.NAME; ptr NULL where it is not set. */
static nh_slice slot_get(const struct env *e, char slot, const char *name)
{
	char key[128];
	snprintf(key, sizeof key, "%c.%s", slot, name);
	return env_get(e, key);
}

static char active_slot(const struct env *e)
{
	nh_slice s = env_get(e, "nerves_fw_active");
	return s.len == 1 ? (char)s.ptr[0] : 0;
}

/* The slot's own mark counts; else, for the active slot, the common one. Without any mark the machine knows no validation. */
static bool slot_validated(const struct env *e, char slot)
{
	nh_slice v = slot_get(e, slot, "nerves_fw_validated");
	if (!v.ptr && slot == active_slot(e))
		v = env_get(e, "nerves_fw_validated");
	return !v.ptr || !nh_slice_eq_str(v, "0");
}

/* The other slot: the one that has entries, or 0. */
static char other_slot(const struct env *e, char slot)
{
	for (size_t i = 0; i < nh_fw_env_count(e->vars); i++) {
		nh_slice name, value;
		nh_fw_env_at(e->vars, i, &name, &value);
		if (name.len > 2 && name.ptr[1] == '.' && (char)name.ptr[0] != slot && nh_slice_starts(nh_slice_skip(name, 2), NH_LIT("nerves_fw_")))
			return (char)name.ptr[0];
	}
	return 0;
}

/* slot 0 = the common variable */
static nh_rc set(struct env *e, char slot, const char *name, const char *value, struct nh_err *err)
{
	char key[128];
	snprintf(key, sizeof key, "%c.%s", slot, name);
	return nh_fw_env_set(e->vars, nh_slice_str(slot ? key : name), nh_slice_str(value), err);
}

/* ---- platform: what runs */

static nh_rc read_state(void *ctx, struct nh_arena *arena, struct nh_link_state *out, struct nh_err *err)
{
	const struct nh_machine *m = ctx;
	AUTO_ENV struct env e = {.fd = -1};
	NH_TRY(env_open(m, O_RDONLY, &e, err));
	char slot = active_slot(&e);
	if (!slot)
		return NH_FAIL(err, NH_EFORMAT, "the U-Boot environment names no active slot (nerves_fw_active)");
	size_t count = nh_fw_env_count(e.vars);
	struct nh_link_pair *pairs = NH_NEW_ARRAY(arena, count + 1, struct nh_link_pair);
	*out = (struct nh_link_state){.pairs = pairs, .validated = slot_validated(&e, slot)};
	for (size_t i = 0; i < count; i++) {
		nh_slice name, value;
		nh_fw_env_at(e.vars, i, &name, &value);
		if (name.len > 2 && (char)name.ptr[0] == slot && name.ptr[1] == '.')
			pairs[out->count++] = (struct nh_link_pair){nh_arena_copy(arena, nh_slice_skip(name, 2)), nh_arena_copy(arena, value)};
	}
	char other = other_slot(&e, slot);
	out->auto_reverted = other && nh_slice_eq_str(slot_get(&e, other, "nerves_fw_validated"), "0") && slot_get(&e, other, "nerves_fw_platform").len > 0 &&
			     slot_get(&e, other, "nerves_fw_architecture").len > 0;
	return NH_OK;
}

/* ---- platform: validation */

static nh_rc judge(const struct nh_machine *m, struct nh_err *err)
{
	if (m->config.validate)
		return m->config.validate(m->config.ctx, err);
	if (!m->config.validate_argv)
		return NH_OK;
	NH_AUTO_BUF struct nh_buf out = NH_BUF_INIT, errout = NH_BUF_INIT;
	struct nh_process p = {.argv = m->config.validate_argv, .timeout_ms = m->config.validate_timeout_ms ? m->config.validate_timeout_ms : DEFAULT_VALIDATE_MS};
	int status = 0;
	NH_TRY_CTX(nh_process_run(&p, &status, &out, &errout, err), err, "validation command");
	if (status == EX_TEMPFAIL_STATUS)
		return NH_EAGAIN;
	nh_slice text = nh_slice_trim(errout.len ? nh_buf_slice(&errout) : nh_buf_slice(&out));
	return status == 0 ? NH_OK : NH_FAIL(err, NH_EPERM, "validation command '%s' ended with status %d: %.*s", p.argv[0], status, NH_ARG(nh_slice_sub(text, 0, 300)));
}

/* ---- platform: going back */

static char *reason_path(const struct nh_machine *m, struct nh_arena *arena) { return m->config.state_dir ? nh_arena_printf(arena, "%s/reverted", m->config.state_dir) : NULL; }

/* Two lines: the uuid of the firmware that is given up, and why. */
static nh_rc remember(const struct nh_machine *m, const char *why, struct nh_err *err)
{
	NH_AUTO_ARENA struct nh_arena arena = NH_ARENA_INIT;
	NH_AUTO_BUF struct nh_buf text = NH_BUF_INIT;
	AUTO_ENV struct env e = {.fd = -1};
	const char *path = reason_path(m, &arena);
	if (!path)
		return NH_OK;
	NH_TRY(env_open(m, O_RDONLY, &e, err));
	NH_TRY(nh_dir_make(m->config.state_dir, 0700, err));
	char slot = active_slot(&e);
	nh_slice uuid = slot_get(&e, slot, "nerves_fw_uuid"), version = slot_get(&e, slot, "nerves_fw_version");
	nh_buf_printf(&text, "%.*s\nversion %.*s was reverted: %s\n", NH_ARG(uuid), NH_ARG(version), why);
	return nh_file_write_atomic(path, nh_buf_slice(&text), 0600, err);
}

static nh_rc revert_machine(void *ctx, const char *why, struct nh_err *err)
{
	const struct nh_machine *m = ctx;
	/* A reason that is lost is no reason to stay. */
	nh_rc kept = remember(m, why, err);
	if (!m->config.revert_argv)
		return kept;
	NH_AUTO_BUF struct nh_buf out = NH_BUF_INIT, errout = NH_BUF_INIT;
	struct nh_process p = {.argv = m->config.revert_argv, .timeout_ms = REVERT_MS};
	int status = 0;
	NH_TRY_CTX(nh_process_run(&p, &status, &out, &errout, err), err, "revert command");
	return status == 0 ? kept : NH_FAIL(err, NH_EPERM, "the revert command ended with status %d: %.*s", status, NH_ARG(nh_slice_sub(nh_slice_trim(nh_buf_slice(&errout)), 0, 300)));
}

/* Only where another firmware runs than the one that was given up: its own agent may start again before the reboot. */
static nh_slice revert_reason(void *ctx, struct nh_arena *arena, bool told)
{
	const struct nh_machine *m = ctx;
	const char *path = reason_path(m, arena);
	NH_AUTO_BUF struct nh_buf text = NH_BUF_INIT;
	AUTO_ENV struct env e = {.fd = -1};
	nh_slice uuid, why;
	if (!path || nh_file_read(path, REASON_MAX, &text, NULL) != NH_OK)
		return NH_SLICE_EMPTY;
	nh_slice_cut(nh_buf_slice(&text), '\n', &uuid, &why);
	if (env_open(m, O_RDONLY, &e, NULL) != NH_OK || nh_slice_eq(slot_get(&e, active_slot(&e), "nerves_fw_uuid"), uuid))
		return NH_SLICE_EMPTY;
	if (told)
		unlink(path);
	return nh_arena_copy(arena, nh_slice_trim(why));
}

/* ---- */

static nh_rc validate(void *ctx, struct nh_err *err)
{
	const struct nh_machine *m = ctx;
	AUTO_ENV struct env e = {.fd = -1};
	struct nh_err why = NH_ERR_INIT;
	nh_rc rc = judge(m, &why);
	if (rc != NH_OK && rc != NH_EAGAIN) {
		/* A verdict about the firmware. What goes wrong on the way back is said besides. */
		if (revert_machine(ctx, why.msg, err) != NH_OK)
			return nh_err_prefix(err, rc, "%.300s; going back", why.msg);
		if (err)
			*err = why;
	}
	if (rc != NH_OK)
		return rc;
	/* From here on a failure is the disk's: ask again rather than throw a good firmware away. */
	if (env_open(m, O_RDWR, &e, err) != NH_OK)
		return NH_EAGAIN;
	char slot = active_slot(&e);
	bool own = slot && slot_get(&e, slot, "nerves_fw_validated").ptr, common = env_get(&e, "nerves_fw_validated").ptr;
	if ((own && set(&e, slot, "nerves_fw_validated", "1", err) != NH_OK) || (common && set(&e, 0, "nerves_fw_validated", "1", err) != NH_OK))
		return NH_EAGAIN;
	nh_fw_env_unset(e.vars, NH_LIT("nerves_fw_booted"));
	return nh_fw_env_store(e.vars, e.fd, &e.place, err) == NH_OK ? NH_OK : NH_EAGAIN;
}

/* ---- platform: the rest */

/* Does not wait: the machine goes down. */
static void reboot_machine(void *ctx, const char *why)
{
	const struct nh_machine *m = ctx;
	if (m->config.reboot) {
		m->config.reboot(m->config.ctx, why);
		return;
	}
	pid_t pid;
	if (m->config.reboot_argv)
		posix_spawnp(&pid, m->config.reboot_argv[0], NULL, NULL, (char *const *)(uintptr_t)m->config.reboot_argv, environ);
}

static void identify(void *ctx)
{
	const struct nh_machine *m = ctx;
	if (m->config.identify)
		m->config.identify(m->config.ctx);
}

const struct nh_link_platform nh_machine_platform = {
	.read_state = read_state,
	.apply_open = machine_apply_open,
	.apply_write = machine_apply_write,
	.apply_finish = machine_apply_finish,
	.apply_abort = machine_apply_abort,
	.validate = validate,
	.reboot = reboot_machine,
	.identify = identify,
	.consider = machine_consider,
	.apply_file = machine_apply_file,
	.revert = revert_machine,
	.revert_reason = revert_reason,
};

/* ---- boot */

static nh_rc revert(struct env *e, char slot, char other, struct nh_err *err)
{
	char text[2] = {other, 0};
	NH_TRY(set(e, slot, "nerves_fw_validated", "0", err)); /* how the revert is seen later */
	NH_TRY(set(e, 0, "nerves_fw_active", text, err));
	if (slot_get(e, other, "nerves_fw_validated").ptr)
		NH_TRY(set(e, other, "nerves_fw_validated", "1", err));
	if (env_get(e, "nerves_fw_validated").ptr)
		NH_TRY(set(e, 0, "nerves_fw_validated", "1", err));
	nh_fw_env_unset(e->vars, NH_LIT("nerves_fw_booted"));
	return NH_OK;
}

nh_rc nh_machine_boot(struct nh_machine *m, bool *reverted, struct nh_err *err)
{
	AUTO_ENV struct env e = {.fd = -1};
	*reverted = false;
	NH_TRY(env_open(m, O_RDWR, &e, err));
	char slot = active_slot(&e), text[2] = {slot, 0};
	char other = other_slot(&e, slot);
	if (!slot)
		return NH_FAIL(err, NH_EFORMAT, "the U-Boot environment names no active slot (nerves_fw_active)");
	if (slot_validated(&e, slot)) {
		if (!nh_fw_env_unset(e.vars, NH_LIT("nerves_fw_booted")))
			return NH_OK; /* nothing to write at an ordinary boot */
	} else if (other && nh_slice_eq_str(env_get(&e, "nerves_fw_booted"), text)) {
		NH_TRY(revert(&e, slot, other, err));
		*reverted = true;
	} else {
		NH_TRY(set(&e, 0, "nerves_fw_booted", text, err));
	}
	return nh_fw_env_store(e.vars, e.fd, &e.place, err);
}

/* ---- life */

/* "fwup --version", once; NULL where it cannot be run. */
static char *fwup_version(const struct nh_machine *m)
{
	NH_AUTO_BUF struct nh_buf out = NH_BUF_INIT, errout = NH_BUF_INIT;
	const char *argv[] = {m->config.fwup ? m->config.fwup : "fwup", "--version", NULL};
	struct nh_process p = {.argv = argv, .timeout_ms = 5000};
	int status = 0;
	if (nh_process_run(&p, &status, &out, &errout, NULL) != NH_OK || status != 0)
		return NULL;
	/* One line: nh-fwup, standing in, says its own version on a second one, and servers want a version and nothing else. */
	nh_slice line, rest;
	nh_slice_cut(nh_slice_trim(nh_buf_slice(&out)), '\n', &line, &rest);
	return nh_xstrdup(nh_slice_trim(line));
}

nh_rc nh_machine_new(const struct nh_machine_config *config, struct nh_machine **out, struct nh_err *err)
{
	*out = NULL;
	if (!config->devpath || !*config->devpath)
		return NH_FAIL(err, NH_EINVAL, "no disk is configured (device path)");
	struct nh_machine *m = nh_xcalloc(1, sizeof *m);
	m->config = *config;
	m->builtin = config->installer == NH_MACHINE_BUILTIN;
	if (!m->builtin) {
		m->version = fwup_version(m);
		m->builtin = !m->version;
	}
	if (m->builtin && config->installer == NH_MACHINE_FWUP) {
		nh_machine_free(m);
		return NH_FAIL(err, NH_EINVAL, "cannot run '%s --version': install fwup, or choose the built-in installer", config->fwup ? config->fwup : "fwup");
	}
	*out = m;
	return NH_OK;
}

void nh_machine_free(struct nh_machine *m)
{
	if (!m)
		return;
	free(m->version);
	free(m);
}

/* The built-in installer does what fwup 1.0 did, and no deltas: it says so, so that servers send whole images. */
const char *nh_machine_fwup_version(struct nh_machine *m) { return m->builtin ? "1.0.0" : m->version; }
