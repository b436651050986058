/*
 * Installing with a program that takes a file: rauc and swupdate. They verify what they install by keys and settings of their own, write it and switch slots; the status says whether all went
 * well, a number in front of "%" at the start of a line how far it is, and the last lines why it failed.
 *
 * source: rauc(1) "install", swupdate(1) "-i"; SquashFS 4.0 and cpio "newc" and "crc" magic numbers
 */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/encode.h"
#include "machine_int.h"

#define ARGS_MAX 32
#define STEP_MS 500                        /* between two looks from outside */
#define SILENCE_MS ((uint64_t)1800 * 1000) /* nothing printed for so long: it hangs */
#define TAIL_MAX 400                       /* of what it printed, for the reason of a failure */
#define LINE_MAX_BYTES 200

struct tool {
	const char *argv[ARGS_MAX];
	size_t file_at;       /* where the path goes */
	pid_t pid;            /* 0: not running */
	int out;
	unsigned percent;
	uint64_t heard_ms;
	struct nh_buf line;   /* begun */
	struct nh_buf tail;
};

static void tool_free(void *install)
{
	struct tool *t = install;
	if (!t)
		return;
	if (t->pid > 0) {
		kill(-t->pid, SIGKILL);
		machine_reap(t->pid);
	}
	if (t->out >= 0)
		close(t->out);
	nh_buf_fini(&t->line);
	nh_buf_fini(&t->tail);
	free(t);
}

/* PROGRAM [ARG...] VERB FILE */
static nh_rc tool_open(const struct nh_machine_tool *config, const char *program, const char *verb, void **install, struct nh_err *err)
{
	size_t n = 0, extra = 0;
	while (config->args && config->args[extra])
		extra++;
	if (extra + 4 > ARGS_MAX)
		return NH_FAIL(err, NH_ETOOBIG, "too many arguments for %s", program);
	struct tool *t = nh_xcalloc(1, sizeof *t);
	t->out = -1;
	t->argv[n++] = config->program ? config->program : program;
	for (size_t i = 0; i < extra; i++)
		t->argv[n++] = config->args[i];
	t->argv[n++] = verb;
	t->file_at = n;
	*install = t;
	return NH_OK;
}

static nh_rc rauc_open(const struct nh_machine *m, const struct nh_link_offer *offer, void **install, struct nh_err *err)
{
	return tool_open(&m->config.rauc, "rauc", "install", install, err);
}

static nh_rc swupdate_open(const struct nh_machine *m, const struct nh_link_offer *offer, void **install, struct nh_err *err)
{
	return tool_open(&m->config.swupdate, "swupdate", "-i", install, err);
}

/* ---- what it prints */

static void take_line(struct tool *t)
{
	nh_slice line = nh_slice_trim(nh_buf_slice(&t->line)), number, rest;
	uint64_t percent;
	if (nh_slice_cut(line, '%', &number, &rest) && nh_parse_u64(number, 0, 100, &percent) == NH_OK)
		t->percent = (unsigned)percent;
	if (line.len > 0) {
		nh_buf_put_str(&t->tail, t->tail.len ? "; " : "");
		nh_buf_put_slice(&t->tail, line);
	}
	if (t->tail.len > TAIL_MAX)
		nh_buf_consume(&t->tail, t->tail.len - TAIL_MAX);
	nh_buf_clear(&t->line);
}

/* True at its end. */
static bool hear(struct tool *t)
{
	uint8_t bytes[4096];
	ssize_t n = read(t->out, bytes, sizeof bytes);
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return false;
	for (ssize_t i = 0; i < n; i++) {
		if (bytes[i] == '\n' || bytes[i] == '\r' || t->line.len >= LINE_MAX_BYTES)
			take_line(t);
		if (bytes[i] >= ' ' && bytes[i] < 0x7f) /* its text ends up in a message to the server */
			nh_buf_put_u8(&t->line, bytes[i]);
	}
	t->heard_ms = nh_mono_ms();
	return n <= 0;
}

/* ---- installer */

static nh_rc ended(struct tool *t, struct nh_err *err)
{
	take_line(t);
	int status = machine_reap(t->pid);
	t->pid = 0;
	return status == 0 ? NH_OK : NH_FAIL(err, NH_EPERM, "%s ended with status %d: %s", t->argv[0], status, nh_buf_cstr(&t->tail));
}

static nh_rc tool_take(void *install, const char *path, unsigned *percent, struct nh_err *err)
{
	struct tool *t = install;
	if (t->pid == 0) {
		t->argv[t->file_at] = path;
		t->heard_ms = nh_mono_ms();
		NH_TRY(machine_spawn(t->argv, NULL, &t->out, true, &t->pid, err));
	}
	struct pollfd fd = {.fd = t->out, .events = POLLIN};
	uint64_t begin_ms = nh_mono_ms(), now_ms = begin_ms;
	for (; now_ms - begin_ms < STEP_MS; now_ms = nh_mono_ms()) {
		if (poll(&fd, 1, (int)(STEP_MS - (now_ms - begin_ms))) > 0 && hear(t))
			return ended(t, err);
		*percent = t->percent;
	}
	if (now_ms - t->heard_ms > SILENCE_MS)
		return NH_FAIL(err, NH_ETIMEOUT, "%s said nothing for %d minutes", t->argv[0], (int)(SILENCE_MS / 60000));
	return NH_EAGAIN; /* still at it */
}

static nh_rc tool_finish(void *install, struct nh_err *err) { return NH_OK; /* its status said so */ }

const struct installer installer_rauc = {
	.name = "rauc", .archive = "a RAUC bundle", .magics = {"hsqs"}, .file = true, .open = rauc_open, .take = tool_take, .finish = tool_finish, .free = tool_free};
const struct installer installer_swupdate = {
	.name = "swupdate", .archive = "a SWUpdate image", .magics = {"070701", "070702"}, .file = true, .open = swupdate_open, .take = tool_take, .finish = tool_finish, .free = tool_free};
