/*
 * Installing with fwup: a child that is fed framed bytes and answers with framed packets. It checks the signature before it writes, by the keys it is given.
 * source: reference/device-protocol "14.4"
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "firmware/framing.h"
#include "machine_int.h"

#define FWUP_ARGS_MAX 64
#define FWUP_STALL_MS 300000 /* no byte taken, no packet sent for so long: it hangs */
#define FWUP_END_MS 5000     /* to clean up after its input ended in the middle */

extern char **environ;

struct fwup {
	unsigned percent;
	pid_t pid;
	int in, out;          /* -1 when closed */
	struct nh_fw_packet_reader packets;
	bool ok, failed;
	struct nh_err err;
};

/* ---- children */

static int spawn_with(const char *const *argv, int in, int out, bool errors, pid_t *pid)
{
	posix_spawn_file_actions_t actions;
	posix_spawnattr_t attributes;
	sigset_t signals;
	posix_spawn_file_actions_init(&actions);
	if (in >= 0)
		posix_spawn_file_actions_adddup2(&actions, in, STDIN_FILENO);
	else
		posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
	posix_spawn_file_actions_adddup2(&actions, out, STDOUT_FILENO);
	if (errors)
		posix_spawn_file_actions_adddup2(&actions, out, STDERR_FILENO);
	posix_spawnattr_init(&attributes);
	sigemptyset(&signals);
	posix_spawnattr_setsigmask(&attributes, &signals);
	sigaddset(&signals, SIGPIPE);
	posix_spawnattr_setsigdefault(&attributes, &signals);
	posix_spawnattr_setpgroup(&attributes, 0);
	posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETPGROUP);
	int rc = posix_spawnp(pid, argv[0], &actions, &attributes, (char *const *)(uintptr_t)argv, environ);
	posix_spawn_file_actions_destroy(&actions);
	posix_spawnattr_destroy(&attributes);
	return rc;
}

nh_rc machine_spawn(const char *const *argv, int *in, int *out, bool errors, pid_t *pid, struct nh_err *err)
{
	int ins[2] = {-1, -1}, outs[2];
	if (in && socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ins) != 0)
		return NH_FAIL(err, NH_EIO, "cannot make a socket pair: %s", strerror(errno));
	if (in)
		*in = ins[0];
	if (pipe2(outs, O_CLOEXEC) != 0) {
		if (in)
			close(ins[1]);
		return NH_FAIL(err, NH_EIO, "cannot make a pipe: %s", strerror(errno));
	}
	*out = outs[0];
	int rc = spawn_with(argv, ins[1], outs[1], errors, pid);
	if (in)
		close(ins[1]);
	close(outs[1]);
	if (rc != 0) {
		*pid = 0;
		return NH_FAIL(err, NH_ENOTFOUND, "cannot run '%s': %s", argv[0], strerror(rc));
	}
	if (in)
		fcntl(*in, F_SETFL, O_NONBLOCK);
	fcntl(*out, F_SETFL, O_NONBLOCK);
	return NH_OK;
}

int machine_reap(pid_t pid)
{
	int status = 0;
	while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
		;
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

/* ---- talking */

static nh_rc fwup_args(const struct nh_machine *m, const struct nh_link_offer *offer, const char **argv, struct nh_err *err)
{
	size_t n = 0, extra = 0;
	while (m->config.fwup_args && m->config.fwup_args[extra])
		extra++;
	if (9 + extra + 2 * offer->key_count + 1 > FWUP_ARGS_MAX)
		return NH_FAIL(err, NH_ETOOBIG, "too many arguments for fwup");
	const char *fixed[] = {m->config.fwup ? m->config.fwup : "fwup", "--framing", "--apply", "--no-unmount", "-d", m->config.devpath, "--task",
			       m->config.task ? m->config.task : "upgrade"};
	for (size_t i = 0; i < NH_ARRAY_LEN(fixed); i++)
		argv[n++] = fixed[i];
	for (size_t i = 0; i < extra; i++)
		argv[n++] = m->config.fwup_args[i];
	for (size_t i = 0; i < offer->key_count; i++) {
		argv[n++] = "--public-key";
		argv[n++] = offer->public_keys[i];
	}
	argv[n] = NULL;
	return NH_OK;
}

static void take_packet(struct fwup *a, const struct nh_fw_packet *p)
{
	if (strcmp(p->type, NH_FW_PACKET_PROGRESS) == 0 && p->value <= 100) {
		a->percent = p->value;
	} else if (strcmp(p->type, NH_FW_PACKET_OK) == 0) {
		a->ok = true;
	} else if (strcmp(p->type, NH_FW_PACKET_ERROR) == 0 && !a->failed) {
		a->failed = true;
		NH_IGNORE(NH_FAIL(&a->err, NH_EPERM, "%.*s", NH_ARG(nh_slice_trim(p->text)))); /* kept for whoever asks next */
	}
}

/* Reads what fwup says; at its end closes a->out. */
static nh_rc read_packets(struct fwup *a, struct nh_err *err)
{
	uint8_t bytes[4096];
	for (;;) {
		ssize_t n = read(a->out, bytes, sizeof bytes);
		if (n < 0 && (errno == EAGAIN || errno == EINTR))
			return NH_OK;
		if (n <= 0) {
			close(a->out);
			a->out = -1;
			return NH_OK;
		}
		struct nh_fw_packet p;
		nh_rc rc;
		NH_TRY(nh_fw_packet_reader_feed(&a->packets, nh_slice_of(bytes, (size_t)n), err));
		while ((rc = nh_fw_packet_reader_next(&a->packets, &p, err)) == NH_OK)
			take_packet(a, &p);
		if (rc != NH_EAGAIN)
			return rc;
	}
}

/* Sends bytes while listening; with none left, and `to_end`, listens until fwup ends. */
static nh_rc talk(struct fwup *a, nh_slice bytes, bool to_end, struct nh_err *err)
{
	while (a->out >= 0 && (bytes.len > 0 || to_end) && !a->failed) {
		struct pollfd fds[2] = {{.fd = a->out, .events = POLLIN}, {.fd = bytes.len ? a->in : -1, .events = POLLOUT}};
		int n = poll(fds, 2, FWUP_STALL_MS);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return NH_FAIL(err, NH_ETIMEOUT, "fwup did nothing for %d s", FWUP_STALL_MS / 1000);
		if (fds[0].revents)
			NH_TRY(read_packets(a, err));
		if (fds[1].revents && a->out >= 0) {
			ssize_t put = send(a->in, bytes.ptr, bytes.len, MSG_NOSIGNAL);
			if (put > 0)
				bytes = nh_slice_skip(bytes, (size_t)put);
			else if (put < 0 && errno != EAGAIN && errno != EINTR)
				bytes = NH_SLICE_EMPTY; /* it has gone: its packets and status say why */
		}
	}
	if (a->failed) {
		if (err)
			*err = a->err;
		return NH_EPERM;
	}
	return NH_OK;
}

/* ---- installer */

static void close_end(int *fd)
{
	if (*fd >= 0)
		close(*fd);
	*fd = -1;
}

/* Its input ends in the middle: fwup sees that, and its on-error tasks run; one that does not end by itself is killed, which is as good as a power cut: it switches slots last. */
static void end_fwup(struct fwup *a)
{
	close_end(&a->in);
	uint64_t end_ms = nh_mono_ms() + FWUP_END_MS;
	struct pollfd fd = {.fd = a->out, .events = POLLIN};
	while (a->out >= 0 && nh_mono_ms() < end_ms && poll(&fd, 1, FWUP_END_MS) > 0)
		if (read_packets(a, NULL) != NH_OK)
			break;
	kill(-a->pid, SIGKILL);
	machine_reap(a->pid);
	a->pid = 0;
}

static void fwup_free(void *install)
{
	struct fwup *a = install;
	if (!a)
		return;
	if (a->pid > 0)
		end_fwup(a);
	close_end(&a->in);
	close_end(&a->out);
	nh_fw_packet_reader_fini(&a->packets);
	free(a);
}

static nh_rc fwup_open(const struct nh_machine *m, const struct nh_link_offer *offer, void **install, struct nh_err *err)
{
	const char *argv[FWUP_ARGS_MAX];
	struct fwup *a = nh_xcalloc(1, sizeof *a);
	a->in = a->out = -1;
	nh_rc rc = fwup_args(m, offer, argv, err);
	if (rc == NH_OK)
		rc = machine_spawn(argv, &a->in, &a->out, false, &a->pid, err);
	if (rc != NH_OK) {
		fwup_free(a);
		return rc;
	}
	*install = a;
	return NH_OK;
}

static nh_rc fwup_write(void *install, nh_slice bytes, unsigned *percent, struct nh_err *err)
{
	struct fwup *a = install;
	NH_AUTO_BUF struct nh_buf frame = NH_BUF_INIT;
	nh_fw_frame_put(&frame, bytes);
	NH_TRY(talk(a, nh_buf_slice(&frame), false, err));
	*percent = a->percent;
	return a->out >= 0 ? NH_OK : NH_FAIL(err, NH_EIO, "fwup ended before it had the whole archive");
}

static nh_rc fwup_finish(void *install, struct nh_err *err)
{
	struct fwup *a = install;
	NH_AUTO_BUF struct nh_buf end = NH_BUF_INIT;
	nh_fw_frame_put(&end, NH_SLICE_EMPTY);
	NH_TRY(talk(a, nh_buf_slice(&end), true, err));
	close_end(&a->in);
	pid_t pid = a->pid;
	a->pid = 0;
	int status = machine_reap(pid);
	return a->ok && status == 0 ? NH_OK : NH_FAIL(err, NH_EIO, "fwup ended without success (status %d)", status);
}

const struct installer installer_fwup = {.name = "fwup", .open = fwup_open, .write = fwup_write, .finish = fwup_finish, .free = fwup_free};
