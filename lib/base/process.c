/*
 * Child programs: started without a shell in a process group of their own, fed and drained through pipes by poll, killed as a group at the deadline
 * or when they say too much. The exec's own failure comes back over a close-on-exec pipe, so "no such program" is told from an exit status.
 */
#include "base/process.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/file.h"

#define DEFAULT_OUTPUT_MAX ((size_t)1 << 20)
#define BLOCK 16384
#define FDS_MAX 8
#define CANCEL_LOOK_MS 100

enum { READ_END, WRITE_END };
enum { IN, OUT, ERR, EXEC, PIPES };

struct run {
	const struct nh_process *p;
	int fds[PIPES][2];
	pid_t pid;
	nh_slice to_feed;
	struct nh_buf *out, *errout;
	size_t out_total, err_total, max;
	uint64_t deadline_ms; /* 0 = none */
	int exec_errno;
};

static void close_end(struct run *r, int which, int end)
{
	if (r->fds[which][end] >= 0)
		close(r->fds[which][end]);
	r->fds[which][end] = -1;
}

static void close_all(struct run *r)
{
	for (int i = 0; i < PIPES; i++) {
		close_end(r, i, READ_END);
		close_end(r, i, WRITE_END);
	}
}

static nh_rc open_pipes(struct run *r, struct nh_err *err)
{
	for (int i = 0; i < PIPES; i++)
		r->fds[i][READ_END] = r->fds[i][WRITE_END] = -1;
	for (int i = 0; i < PIPES; i++)
		if (pipe2(r->fds[i], O_CLOEXEC) != 0)
			return NH_FAIL(err, NH_EIO, "cannot start %s: %s", r->p->argv[0], strerrordesc_np(errno));
	/* Only our ends: the child expects ordinary blocking streams. */
	fcntl(r->fds[IN][WRITE_END], F_SETFL, O_NONBLOCK);
	fcntl(r->fds[OUT][READ_END], F_SETFL, O_NONBLOCK);
	fcntl(r->fds[ERR][READ_END], F_SETFL, O_NONBLOCK);
	return NH_OK;
}

/* In the child, as all up to child(). Limits only ever get lower. */
static const struct rlimit *lower(struct rlimit *limit, uint64_t to)
{
	if (limit->rlim_max == RLIM_INFINITY || to < limit->rlim_max)
		limit->rlim_max = to;
	limit->rlim_cur = limit->rlim_max;
	return limit;
}

/* A macro, since what is limited has another type in each C library. */
#define LIMIT(what, to) ((to) == 0 || (getrlimit(what, &limit) == 0 && setrlimit(what, lower(&limit, to)) == 0))

static bool limit_all(const struct nh_process_limits *l)
{
	struct rlimit limit;
	/* Who may not have a network of one's own may have it in a name space where one is somebody else. */
	if (l->no_network && unshare(CLONE_NEWNET) != 0)
		(void)unshare(CLONE_NEWUSER | CLONE_NEWNET);
	if (l->nice > 0 && setpriority(PRIO_PROCESS, 0, l->nice) != 0)
		return false;
	return LIMIT(RLIMIT_CPU, l->cpu_s) && LIMIT(RLIMIT_FSIZE, l->file_bytes) && LIMIT(RLIMIT_AS, l->memory_bytes);
}

/* First out of the way, since one of them may be another's place. */
static bool take_fds(const struct nh_process *p)
{
	int high[FDS_MAX];
	for (size_t i = 0; i < p->fd_count; i++)
		if ((high[i] = fcntl(p->fds[i], F_DUPFD_CLOEXEC, 3 + FDS_MAX)) < 0)
			return false;
	for (size_t i = 0; i < p->fd_count; i++)
		if (dup2(high[i], 3 + (int)i) < 0)
			return false;
	return true;
}

/* A parent that died before we asked for the signal is not noticed by it. */
static bool die_with(pid_t parent) { return prctl(PR_SET_PDEATHSIG, SIGKILL) == 0 && getppid() == parent; }

/* In the child: async-signal-safe calls only. Never returns. */
static void child(const struct run *r, pid_t parent)
{
	const struct nh_process *p = r->p;
	int tell = fcntl(r->fds[EXEC][WRITE_END], F_DUPFD_CLOEXEC, 3 + FDS_MAX); /* where no descriptor of the child's comes */
	int in = p->stdin_fd > 0 ? p->stdin_fd : r->fds[IN][READ_END];
	setpgid(0, 0);
	bool ok = tell >= 0 && dup2(in, STDIN_FILENO) >= 0 && dup2(r->fds[OUT][WRITE_END], STDOUT_FILENO) >= 0 && dup2(r->fds[ERR][WRITE_END], STDERR_FILENO) >= 0;
	ok = ok && take_fds(p) && (!p->dies_with_us || die_with(parent));
	if (ok && p->cwd)
		ok = chdir(p->cwd) == 0;
	if (ok && p->limits)
		ok = limit_all(p->limits);
	signal(SIGPIPE, SIG_DFL);
	sigset_t none;
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	if (ok && p->envp)
		execvpe(p->argv[0], (char *const *)p->argv, (char *const *)p->envp);
	else if (ok)
		execvp(p->argv[0], (char *const *)p->argv);
	int number = errno;
	ssize_t n = write(tell, &number, sizeof number);
	_exit(n < 0 ? 126 : 127);
}

static nh_rc start(struct run *r, struct nh_err *err)
{
	/* Blocked across fork, so that no handler of ours runs in the child before exec. */
	sigset_t all, mask;
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &mask);
	pid_t parent = getpid();
	r->pid = fork();
	if (r->pid == 0)
		child(r, parent);
	int number = errno;
	pthread_sigmask(SIG_SETMASK, &mask, NULL);
	if (r->pid < 0)
		return NH_FAIL(err, NH_EIO, "cannot start %s: %s", r->p->argv[0], strerrordesc_np(number));
	setpgid(r->pid, r->pid); /* also here, so that the group exists before we may have to kill it */
	close_end(r, IN, READ_END);
	close_end(r, OUT, WRITE_END);
	close_end(r, ERR, WRITE_END);
	close_end(r, EXEC, WRITE_END);
	if (r->p->stdin_fd > 0 || r->to_feed.len == 0)
		close_end(r, IN, WRITE_END);
	return NH_OK;
}

static void feed(struct run *r)
{
	ssize_t n = write(r->fds[IN][WRITE_END], r->to_feed.ptr, r->to_feed.len);
	if (n > 0)
		r->to_feed = nh_slice_skip(r->to_feed, (size_t)n);
	/* A child that does not want its input is its own business. */
	if (r->to_feed.len == 0 || (n < 0 && errno != EAGAIN && errno != EINTR))
		close_end(r, IN, WRITE_END);
}

static nh_rc drain(struct run *r, int which, struct nh_err *err)
{
	uint8_t block[BLOCK];
	ssize_t n = read(r->fds[which][READ_END], block, sizeof block);
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return NH_OK;
	if (n <= 0) {
		close_end(r, which, READ_END);
		return NH_OK;
	}
	if (which == EXEC) {
		memcpy(&r->exec_errno, block, sizeof r->exec_errno);
		return NH_OK;
	}
	size_t *total = which == OUT ? &r->out_total : &r->err_total;
	*total += (size_t)n;
	if (which == OUT && r->p->on_stdout) {
		r->p->on_stdout(r->p->ctx, nh_slice_of(block, (size_t)n));
		return NH_OK;
	}
	if (*total > r->max)
		return NH_FAIL(err, NH_ETOOBIG, "%s wrote more than %zu bytes and was stopped", r->p->argv[0], r->max);
	struct nh_buf *to = which == OUT ? r->out : r->errout;
	if (to)
		nh_buf_put(to, block, (size_t)n);
	return NH_OK;
}

static bool done(const struct run *r) { return r->fds[OUT][READ_END] < 0 && r->fds[ERR][READ_END] < 0 && r->fds[EXEC][READ_END] < 0; }

/* How long to wait for the child at most, -1: for ever. NH_ETIMEOUT, NH_ECLOSED: not any more. */
static nh_rc patience(const struct run *r, int *wait_ms, struct nh_err *err)
{
	uint64_t now = nh_mono_ms(), left = INT32_MAX;
	*wait_ms = -1;
	if (r->p->cancel && __atomic_load_n(r->p->cancel, __ATOMIC_ACQUIRE))
		return NH_FAIL(err, NH_ECLOSED, "%s was stopped", r->p->argv[0]);
	if (r->deadline_ms) {
		left = r->deadline_ms > now ? r->deadline_ms - now : 0;
		if (left == 0)
			return NH_FAIL(err, NH_ETIMEOUT, "%s did not end within %llu ms and was stopped", r->p->argv[0], (unsigned long long)r->p->timeout_ms);
	}
	if (r->p->cancel && left > CANCEL_LOOK_MS)
		left = CANCEL_LOOK_MS;
	if (r->deadline_ms || r->p->cancel)
		*wait_ms = left > INT32_MAX ? INT32_MAX : (int)left;
	return NH_OK;
}

static nh_rc talk(struct run *r, struct nh_err *err)
{
	while (!done(r)) {
		int wait_ms;
		NH_TRY(patience(r, &wait_ms, err));
		struct pollfd polls[PIPES] = {
			[IN] = {.fd = r->fds[IN][WRITE_END], .events = POLLOUT},
			[OUT] = {.fd = r->fds[OUT][READ_END], .events = POLLIN},
			[ERR] = {.fd = r->fds[ERR][READ_END], .events = POLLIN},
			[EXEC] = {.fd = r->fds[EXEC][READ_END], .events = POLLIN},
		};
		if (poll(polls, PIPES, wait_ms) < 0 && errno != EINTR)
			return NH_FAIL(err, NH_EIO, "cannot wait for %s: %s", r->p->argv[0], strerrordesc_np(errno));
		if (polls[IN].revents)
			feed(r);
		for (int i = OUT; i < PIPES; i++)
			if (polls[i].revents)
				NH_TRY(drain(r, i, err));
	}
	return NH_OK;
}

/* After the streams are closed the child may live on; the deadline still holds, watched in small steps as waitpid knows none. */
static nh_rc await(struct run *r, int *status, struct nh_err *err)
{
	for (unsigned pause_ms = 1;;) {
		int wait_ms;
		pid_t n = waitpid(r->pid, status, r->deadline_ms || r->p->cancel ? WNOHANG : 0);
		if (n == r->pid)
			return NH_OK;
		if (n < 0 && errno != EINTR)
			return NH_FAIL(err, NH_EINTERNAL, "lost track of %s: %s", r->p->argv[0], strerrordesc_np(errno));
		NH_TRY(patience(r, &wait_ms, err));
		if (n == 0)
			(void)poll(NULL, 0, (int)pause_ms);
		pause_ms = pause_ms < 32 ? pause_ms * 2 : 50;
	}
}

static nh_rc run_started(struct run *r, int *exit_status, struct nh_err *err)
{
	int status = 0;
	nh_rc rc = talk(r, err);
	if (rc == NH_OK)
		rc = await(r, &status, err);
	if (rc != NH_OK) {
		kill(-r->pid, SIGKILL);
		while (waitpid(r->pid, &status, 0) < 0 && errno == EINTR)
			;
		return rc;
	}
	if (r->exec_errno)
		return NH_FAIL(err, nh_rc_from_errno(r->exec_errno), "cannot start %s: %s", r->p->argv[0], strerrordesc_np(r->exec_errno));
	*exit_status = WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
	return NH_OK;
}

/* Writing to a child that has gone raises SIGPIPE in this thread; it is held back here and taken out of the queue, so that the program's own
 * disposition does not matter. */
static void sigpipe_hold(sigset_t *old, bool *was_pending)
{
	sigset_t pipe_set, pending;
	sigemptyset(&pipe_set);
	sigaddset(&pipe_set, SIGPIPE);
	sigpending(&pending);
	*was_pending = sigismember(&pending, SIGPIPE) == 1;
	pthread_sigmask(SIG_BLOCK, &pipe_set, old);
}

static void sigpipe_release(const sigset_t *old, bool was_pending)
{
	sigset_t pipe_set;
	sigemptyset(&pipe_set);
	sigaddset(&pipe_set, SIGPIPE);
	if (!was_pending)
		while (sigtimedwait(&pipe_set, NULL, &(struct timespec){0}) == SIGPIPE)
			;
	pthread_sigmask(SIG_SETMASK, old, NULL);
}

nh_rc nh_process_run(const struct nh_process *p, int *exit_status, struct nh_buf *out, struct nh_buf *errout, struct nh_err *err)
{
	NH_ASSERT(p->fd_count <= FDS_MAX);
	struct run r = {.p = p, .to_feed = p->stdin_bytes, .out = out, .errout = errout};
	r.max = p->max_output_bytes ? p->max_output_bytes : DEFAULT_OUTPUT_MAX;
	r.deadline_ms = p->timeout_ms ? nh_mono_ms() + p->timeout_ms : 0;
	sigset_t old;
	bool was_pending;
	sigpipe_hold(&old, &was_pending);
	nh_rc rc = open_pipes(&r, err);
	if (rc == NH_OK)
		rc = start(&r, err);
	if (rc == NH_OK)
		rc = run_started(&r, exit_status, err);
	close_all(&r);
	sigpipe_release(&old, was_pending);
	return rc;
}
