/*
 * Installing on the machine's disk: by an fwup process that is fed framed bytes and answers with framed packets, or by the firmware room. Both check the
 * signature before they write. Runs on a worker and blocks there.
 *
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

#include "firmware/apply.h"
#include "firmware/framing.h"
#include "machine_int.h"

#define FWUP_ARGS_MAX 64
#define FWUP_STALL_MS 300000 /* no byte taken, no packet sent for so long: it hangs */

extern char **environ;

struct apply {
	unsigned percent;
	/* built in */
	struct nh_fw_apply *builtin;
	struct nh_fw_public_key *keys;
	size_t key_count;
	/* fwup */
	pid_t pid;
	int in, out;          /* -1 when closed */
	struct nh_fw_packet_reader packets;
	bool ok, failed;
	struct nh_err fwup_err;
};

static void apply_free(struct apply *a)
{
	nh_fw_apply_free(a->builtin);
	free(a->keys);
	if (a->in >= 0)
		close(a->in);
	if (a->out >= 0)
		close(a->out);
	nh_fw_packet_reader_fini(&a->packets);
	free(a);
}

static void on_percent(void *ctx, unsigned percent) { ((struct apply *)ctx)->percent = percent; }

static nh_rc open_builtin(const struct nh_machine *m, const struct nh_link_offer *offer, struct apply *a, struct nh_err *err)
{
	a->keys = nh_xcalloc(offer->key_count, sizeof *a->keys);
	for (; a->key_count < offer->key_count; a->key_count++)
		NH_TRY(nh_fw_public_key_decode(nh_slice_str(offer->public_keys[a->key_count]), &a->keys[a->key_count], err));
	struct nh_fw_apply_config config = {
		.path = m->config.devpath,
		.fd = -1,
		.task = m->config.task ? m->config.task : "upgrade",
		.keys = a->keys,
		.key_count = a->key_count,
		.no_unmount = true,
		.handler = {.ctx = a, .progress = on_percent},
	};
	return nh_fw_apply_new(&config, &a->builtin, err);
}

/* ---- fwup */

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

/* A socket as its stdin, so that writing to an fwup that has gone is an error and not a signal. */
static nh_rc open_fwup(const struct nh_machine *m, const struct nh_link_offer *offer, struct apply *a, struct nh_err *err)
{
	const char *argv[FWUP_ARGS_MAX];
	int in[2], out[2];
	NH_TRY(fwup_args(m, offer, argv, err));
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, in) != 0)
		return NH_FAIL(err, NH_EIO, "cannot make a socket pair: %s", strerror(errno));
	a->in = in[0];
	if (pipe2(out, O_CLOEXEC) != 0) {
		close(in[1]);
		return NH_FAIL(err, NH_EIO, "cannot make a pipe: %s", strerror(errno));
	}
	a->out = out[0];
	posix_spawn_file_actions_t actions;
	posix_spawnattr_t attributes;
	sigset_t defaults;
	posix_spawn_file_actions_init(&actions);
	posix_spawn_file_actions_adddup2(&actions, in[1], STDIN_FILENO);
	posix_spawn_file_actions_adddup2(&actions, out[1], STDOUT_FILENO);
	posix_spawnattr_init(&attributes);
	sigemptyset(&defaults);
	posix_spawnattr_setsigmask(&attributes, &defaults);
	sigaddset(&defaults, SIGPIPE);
	posix_spawnattr_setsigdefault(&attributes, &defaults);
	posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETSIGMASK);
	int rc = posix_spawnp(&a->pid, argv[0], &actions, &attributes, (char *const *)(uintptr_t)argv, environ);
	posix_spawn_file_actions_destroy(&actions);
	posix_spawnattr_destroy(&attributes);
	close(in[1]);
	close(out[1]);
	if (rc != 0) {
		a->pid = 0;
		return NH_FAIL(err, NH_ENOTFOUND, "cannot run '%s': %s", argv[0], strerror(rc));
	}
	fcntl(a->in, F_SETFL, O_NONBLOCK);
	fcntl(a->out, F_SETFL, O_NONBLOCK);
	return NH_OK;
}

static void take_packet(struct apply *a, const struct nh_fw_packet *p)
{
	if (strcmp(p->type, NH_FW_PACKET_PROGRESS) == 0 && p->value <= 100) {
		a->percent = p->value;
	} else if (strcmp(p->type, NH_FW_PACKET_OK) == 0) {
		a->ok = true;
	} else if (strcmp(p->type, NH_FW_PACKET_ERROR) == 0 && !a->failed) {
		a->failed = true;
		NH_IGNORE(NH_FAIL(&a->fwup_err, NH_EPERM, "%.*s", NH_ARG(nh_slice_trim(p->text)))); /* kept for whoever asks next */
	}
}

/* Reads what fwup says; at its end closes a->out. */
static nh_rc read_packets(struct apply *a, struct nh_err *err)
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
static nh_rc talk(struct apply *a, nh_slice bytes, bool to_end, struct nh_err *err)
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
			*err = a->fwup_err;
		return NH_EPERM;
	}
	return NH_OK;
}

static nh_rc finish_fwup(struct apply *a, struct nh_err *err)
{
	NH_AUTO_BUF struct nh_buf end = NH_BUF_INIT;
	int status = 0;
	nh_fw_frame_put(&end, NH_SLICE_EMPTY);
	NH_TRY(talk(a, nh_buf_slice(&end), true, err));
	close(a->in);
	a->in = -1;
	pid_t pid = a->pid;
	a->pid = 0;
	while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
		;
	if (!a->ok || !WIFEXITED(status) || WEXITSTATUS(status) != 0)
		return NH_FAIL(err, NH_EIO, "fwup ended without success (status %d)", WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status));
	return NH_OK;
}

/* Killed in the middle is as good as a power cut: fwup switches slots last. */
static void kill_fwup(struct apply *a)
{
	if (a->pid <= 0)
		return;
	kill(a->pid, SIGKILL);
	while (waitpid(a->pid, NULL, 0) < 0 && errno == EINTR)
		;
	a->pid = 0;
}

/* ---- platform */

nh_rc machine_apply_open(void *ctx, const struct nh_link_offer *offer, void **apply, struct nh_err *err)
{
	const struct nh_machine *m = ctx;
	struct apply *a = nh_xcalloc(1, sizeof *a);
	a->in = a->out = -1;
	*apply = NULL;
	/* fwup without keys applies anything. source: reference/device-protocol "17.3" 19 */
	nh_rc rc = offer->key_count == 0 ? NH_FAIL(err, NH_EAUTH, "no public key is configured") : m->builtin ? open_builtin(m, offer, a, err) : open_fwup(m, offer, a, err);
	if (rc != NH_OK) {
		apply_free(a);
		return rc;
	}
	*apply = a;
	return NH_OK;
}

nh_rc machine_apply_write(void *apply, nh_slice bytes, unsigned *percent, struct nh_err *err)
{
	struct apply *a = apply;
	nh_rc rc;
	if (a->builtin) {
		rc = nh_fw_apply_feed(a->builtin, bytes, err);
	} else {
		NH_AUTO_BUF struct nh_buf frame = NH_BUF_INIT;
		nh_fw_frame_put(&frame, bytes);
		rc = talk(a, nh_buf_slice(&frame), false, err);
		if (rc == NH_OK && a->out < 0)
			rc = NH_FAIL(err, NH_EIO, "fwup ended before it had the whole archive");
	}
	*percent = a->percent;
	return rc;
}

nh_rc machine_apply_finish(void *apply, struct nh_err *err)
{
	struct apply *a = apply;
	nh_rc rc = a->builtin ? nh_fw_apply_finish(a->builtin, err) : finish_fwup(a, err);
	kill_fwup(a);
	apply_free(a);
	return rc;
}

void machine_apply_abort(void *apply)
{
	struct apply *a = apply;
	kill_fwup(a);
	apply_free(a);
}
