/*
 * Functions that act on the host instead of the destination: execute, path_write, pipe_write, ubi_volume_write, and require-execute. An archive's author
 * decides what they do, so they run only where the caller said `unsafe`.
 *
 * One output at a time is open in run->host: a file, the standard input of a command, or a UBI volume.
 * source: reference/fwup-format "9", "10.2", "7.2"
 */
#include <errno.h>
#include <fcntl.h>
#include <mtd/ubi-user.h>
#include <signal.h>
#include <spawn.h>
#include <sys/ioctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "apply_int.h"

extern char **environ;

/* ---- commands ---------------------------------------------------------------------------------------------------------------- */

/* The caller's environment, and what the archive is called. The vector lives in the arena. */
static char **environment(const struct nh_fw_run *run, struct nh_arena *arena)
{
	size_t count = 0, kept = 0;
	while (environ && environ[count])
		count++;
	char **env = NH_NEW_ARRAY(arena, count + 3, char *);
	for (size_t i = 0; i < count; i++)
		if (!nh_slice_starts(nh_slice_str(environ[i]), NH_LIT("FWUP_META_UUID=")) && !nh_slice_starts(nh_slice_str(environ[i]), NH_LIT("FWUP_META_NICKNAME=")))
			env[kept++] = environ[i];
	env[kept++] = nh_arena_printf(arena, "FWUP_META_UUID=%.*s", NH_ARG(run->manifest->meta.uuid));
	env[kept++] = nh_arena_printf(arena, "FWUP_META_NICKNAME=%.*s", NH_ARG(run->manifest->meta.nickname));
	return env;
}

/* Starts the command in a shell; input: its standard input, -1 = ours. What it prints must not get between framed packets: then it goes to standard error. */
static nh_rc shell_start(const struct nh_fw_run *run, nh_slice command, int input, pid_t *out, struct nh_err *err)
{
	NH_AUTO_ARENA struct nh_arena arena = NH_ARENA_INIT;
	static char name[] = "sh", option[] = "-c";
	char *argv[] = {name, option, nh_arena_printf(&arena, "%.*s", NH_ARG(command)), NULL};
	posix_spawn_file_actions_t files;
	posix_spawnattr_t attributes;
	sigset_t none, all;
	sigemptyset(&none);
	sigfillset(&all);
	posix_spawn_file_actions_init(&files);
	posix_spawnattr_init(&attributes);
	/* Whatever this process ignores or blocks is no business of the command's. */
	posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETSIGMASK);
	posix_spawnattr_setsigdefault(&attributes, &all);
	posix_spawnattr_setsigmask(&attributes, &none);
	if (input >= 0)
		posix_spawn_file_actions_adddup2(&files, input, STDIN_FILENO);
	if (run->config->quiet_stdout)
		posix_spawn_file_actions_adddup2(&files, STDERR_FILENO, STDOUT_FILENO);
	int rc = posix_spawn(out, "/bin/sh", &files, &attributes, argv, environment(run, &arena));
	posix_spawn_file_actions_destroy(&files);
	posix_spawnattr_destroy(&attributes);
	return rc == 0 ? NH_OK : NH_FAIL(err, NH_EIO, "can't run a shell for '%.*s': %s", NH_ARG(command), strerror(rc));
}

/* The shell's status; -1 where a signal ended it. */
static int shell_wait(pid_t pid)
{
	int status;
	while (waitpid(pid, &status, 0) < 0)
		if (errno != EINTR)
			return -1;
	return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

nh_rc nh_fw_act_execute(struct nh_fw_run *run, const struct nh_fw_call *call, struct nh_err *err)
{
	pid_t pid;
	NH_TRY(shell_start(run, call->args[0], -1, &pid, err));
	int status = shell_wait(pid);
	return status == 0 ? NH_OK : NH_FAIL(err, NH_EIO, "execute '%.*s' failed with status %d", NH_ARG(call->args[0]), status);
}

bool nh_fw_host_command_succeeds(const struct nh_fw_run *run, nh_slice command)
{
	pid_t pid;
	return run->config->unsafe && command.len > 0 && shell_start(run, command, -1, &pid, NULL) == NH_OK && shell_wait(pid) == 0;
}

/* ---- outputs ----------------------------------------------------------------------------------------------------------------- */

static nh_rc output_failed(const struct nh_fw_run *run, int error, struct nh_err *err)
{
	return NH_FAIL(err, error == ENOSPC ? NH_ENOSPC : NH_EIO, "%s: writing to '%.*s' failed: %s", run->consumer ? run->consumer->name : "output",
		       NH_ARG(run->host.target), strerror(error));
}

static nh_rc output_open(struct nh_fw_run *run, const struct nh_fw_call *call, int flags, struct nh_err *err)
{
	NH_ASSERT(run->host.fd < 0);
	run->host.target = call->args[0]; /* of the manifest: followed by a NUL */
	run->host.written = 0;
	run->host.fd = open((const char *)call->args[0].ptr, flags | O_WRONLY | O_CLOEXEC, 0644);
	return run->host.fd >= 0 ? NH_OK : NH_FAIL(err, NH_EIO, "Cannot open '%.*s' for output: %s", NH_ARG(call->args[0]), strerror(errno));
}

static nh_rc output_write(struct nh_fw_run *run, nh_slice bytes, struct nh_err *err)
{
	while (bytes.len > 0) {
		ssize_t n = write(run->host.fd, bytes.ptr, bytes.len);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return output_failed(run, n < 0 ? errno : EIO, err);
		run->host.written += (uint64_t)n;
		bytes = nh_slice_skip(bytes, (size_t)n);
	}
	return NH_OK;
}

/* Where holes cannot be: zeros up to here. */
static nh_rc output_fill(struct nh_fw_run *run, uint64_t position, struct nh_err *err)
{
	static const uint8_t zeros[16384];
	while (run->host.written < position) {
		uint64_t gap = position - run->host.written;
		size_t n = gap < sizeof zeros ? (size_t)gap : sizeof zeros;
		NH_TRY(output_write(run, nh_slice_of(zeros, n), err));
		nh_fw_run_progress(run, n);
	}
	return NH_OK;
}

static nh_rc output_close(struct nh_fw_run *run, struct nh_err *err)
{
	int fd = run->host.fd;
	run->host.fd = -1;
	return close(fd) == 0 ? NH_OK : output_failed(run, errno, err);
}

/* In one row: pipes and volumes. */
nh_rc nh_fw_act_stream_data(struct nh_fw_run *run, uint64_t position, nh_slice bytes, struct nh_err *err)
{
	NH_TRY(output_fill(run, position, err));
	NH_TRY(output_write(run, bytes, err));
	nh_fw_run_progress(run, bytes.len);
	return NH_OK;
}

void nh_fw_run_host_forget(struct nh_fw_run *run)
{
	if (run->host.fd >= 0)
		close(run->host.fd);
	run->host.fd = -1;
	if (run->host.pid > 0)
		shell_wait(run->host.pid); /* its input ended: it will too */
	run->host.pid = 0;
}

/* ---- path_write --------------------------------------------------------------------------------------------------------------- */

nh_rc nh_fw_act_path_write(struct nh_fw_run *run, const struct nh_fw_call *call, struct nh_err *err)
{
	return output_open(run, call, O_CREAT | O_TRUNC, err);
}

nh_rc nh_fw_act_path_data(struct nh_fw_run *run, uint64_t position, nh_slice bytes, struct nh_err *err)
{
	size_t len = bytes.len;
	if (position != run->host.written && lseek(run->host.fd, (off_t)position, SEEK_SET) < 0)
		return output_failed(run, errno, err);
	run->host.written = position;
	NH_TRY(output_write(run, bytes, err));
	nh_fw_run_progress(run, len);
	return NH_OK;
}

nh_rc nh_fw_act_path_end(struct nh_fw_run *run, uint64_t size, struct nh_err *err)
{
	/* A hole at the end: its last byte gives the file its length. */
	if (run->host.written < size && pwrite(run->host.fd, "", 1, (off_t)size - 1) != 1)
		return output_failed(run, errno, err);
	if (!run->config->no_sync && fdatasync(run->host.fd) != 0 && errno != EINVAL && errno != EROFS)
		return output_failed(run, errno, err);
	return output_close(run, err);
}

/* ---- pipe_write --------------------------------------------------------------------------------------------------------------- */

nh_rc nh_fw_act_pipe_write(struct nh_fw_run *run, const struct nh_fw_call *call, struct nh_err *err)
{
	int ends[2];
	NH_ASSERT(run->host.fd < 0);
	if (pipe2(ends, O_CLOEXEC) != 0)
		return NH_FAIL(err, NH_EIO, "pipe_write: no pipe: %s", strerror(errno));
	run->host.target = call->args[0];
	run->host.written = 0;
	nh_rc rc = shell_start(run, call->args[0], ends[0], &run->host.pid, err);
	close(ends[0]);
	if (rc != NH_OK) {
		run->host.pid = 0;
		close(ends[1]);
		return rc;
	}
	run->host.fd = ends[1];
	return NH_OK;
}

/* A command that stops reading is an error of the run, not a signal that ends this process. */
nh_rc nh_fw_act_pipe_data(struct nh_fw_run *run, uint64_t position, nh_slice bytes, struct nh_err *err)
{
	sigset_t pipe_signal, before;
	sigemptyset(&pipe_signal);
	sigaddset(&pipe_signal, SIGPIPE);
	pthread_sigmask(SIG_BLOCK, &pipe_signal, &before);
	nh_rc rc = nh_fw_act_stream_data(run, position, bytes, err);
	while (rc != NH_OK && !sigismember(&before, SIGPIPE) && sigtimedwait(&pipe_signal, NULL, &(struct timespec){0}) < 0 && errno == EINTR)
		continue;
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	return rc;
}

nh_rc nh_fw_act_pipe_end(struct nh_fw_run *run, uint64_t size, struct nh_err *err)
{
	pid_t pid = run->host.pid;
	nh_rc rc = nh_fw_act_pipe_data(run, size, NH_SLICE_EMPTY, err);
	if (rc == NH_OK)
		rc = output_close(run, err);
	if (rc != NH_OK)
		return rc; /* the run gives up, and waits for the command */
	run->host.pid = 0;
	int status = shell_wait(pid);
	return status == 0 ? NH_OK : NH_FAIL(err, NH_EIO, "pipe_write '%.*s' failed with status %d", NH_ARG(run->host.target), status);
}

/* ---- ubi_volume_write ----------------------------------------------------------------------------------------------------------- */

nh_rc nh_fw_act_ubi_write(struct nh_fw_run *run, const struct nh_fw_call *call, struct nh_err *err)
{
	NH_TRY(output_open(run, call, 0, err));
	int64_t total = (int64_t)run->on->resource->size_bytes;
	if (ioctl(run->host.fd, UBI_IOCVOLUP, &total) != 0)
		return NH_FAIL(err, NH_EIO, "ubi_volume_write: '%.*s' takes no volume update: %s", NH_ARG(call->args[0]), strerror(errno));
	return NH_OK;
}

nh_rc nh_fw_act_ubi_end(struct nh_fw_run *run, uint64_t size, struct nh_err *err)
{
	NH_TRY(output_fill(run, size, err));
	return output_close(run, err); /* which makes the update valid */
}
