/*
 * Child programs on a loop. posix_spawn starts them, a pidfd tells of their end (so no signal handler is taken from the program we live in), pipes or a pseudo terminal carry the bytes.
 *
 * A terminal that nobody wants any more is hung up first, as when a line breaks, so that shells can save their history; what is left a second later is killed. Everything else is killed at
 * once. The group is killed before its leader is reaped, while its number cannot belong to anybody else.
 */
#include "program_int.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/arena.h"
#include "base/file.h"

#define PROGRAMS_MAX 64    /* of one owner, those included that are being killed: a server that asks for a new shell again and again */
#define BLOCK 8192
#define INPUT_MAX ((size_t)64 << 10)
#define OUTPUT_MAX ((size_t)64 << 10)
#define LAST_READS 16       /* blocks still taken from a program that has ended */
#define HANGUP_GRACE_MS 1000
#define LAST_WAIT_MS 5000   /* for what was killed, when its owner ends */

extern char **environ;

struct program {
	struct programs *all;
	struct program *next;
	struct program_config config;
	pid_t pid;
	int pidfd, fd;               /* fd: terminal's master, or the read end of its output; -1 = closed */
	struct nh_watch *end_watch, *watch;
	struct nh_timer *timer;      /* time limit; after stop: the grace */
	struct nh_buf output, input;
	nh_rc rc;                    /* why it was killed */
	bool stopped, reading;
};

/* ---- start */

struct start {
	int terminal, pipe[2], text; /* -1 = none */
	char slave[64];
	posix_spawn_file_actions_t actions;
	posix_spawnattr_t attributes;
};

static void start_fini(struct start *s)
{
	int fds[] = {s->terminal, s->pipe[0], s->pipe[1], s->text};
	for (size_t i = 0; i < NH_ARRAY_LEN(fds); i++)
		if (fds[i] >= 0)
			close(fds[i]);
	posix_spawn_file_actions_destroy(&s->actions);
	posix_spawnattr_destroy(&s->attributes);
}

static nh_rc open_terminal(struct start *s, const struct program_config *c, struct nh_err *err)
{
	struct winsize size = {.ws_row = (unsigned short)(c->rows ? c->rows : 24), .ws_col = (unsigned short)(c->columns ? c->columns : 80)};
	s->terminal = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC | O_NONBLOCK);
	if (s->terminal < 0 || grantpt(s->terminal) != 0 || unlockpt(s->terminal) != 0 || ptsname_r(s->terminal, s->slave, sizeof s->slave) != 0)
		return NH_FAIL(err, NH_EIO, "no pseudo terminal: %s", strerrordesc_np(errno));
	ioctl(s->terminal, TIOCSWINSZ, &size);
	/* The new session's leader gets the first terminal it opens as its controlling one. */
	posix_spawn_file_actions_addopen(&s->actions, STDIN_FILENO, s->slave, O_RDWR, 0);
	posix_spawn_file_actions_adddup2(&s->actions, STDIN_FILENO, STDOUT_FILENO);
	posix_spawn_file_actions_adddup2(&s->actions, STDIN_FILENO, STDERR_FILENO);
	return NH_OK;
}

static nh_rc open_pipe(struct start *s, const struct program_config *c, struct nh_err *err)
{
	if (pipe2(s->pipe, O_CLOEXEC) != 0)
		return NH_FAIL(err, NH_EIO, "no pipe: %s", strerrordesc_np(errno));
	fcntl(s->pipe[0], F_SETFL, O_NONBLOCK);
	posix_spawn_file_actions_addopen(&s->actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
	posix_spawn_file_actions_adddup2(&s->actions, s->pipe[1], STDOUT_FILENO);
	if (c->errors_too)
		posix_spawn_file_actions_adddup2(&s->actions, s->pipe[1], STDERR_FILENO);
	else
		posix_spawn_file_actions_addopen(&s->actions, STDERR_FILENO, "/dev/null", O_WRONLY, 0);
	return NH_OK;
}

/* A file without a name: no temporary to clean up, and no limit on its size as an argument would have. */
static nh_rc open_text(struct start *s, nh_slice text, struct nh_err *err)
{
	s->text = memfd_create("script", MFD_CLOEXEC);
	if (s->text < 0 || write(s->text, text.ptr, text.len) != (ssize_t)text.len)
		return NH_FAIL(err, NH_EIO, "no memory file: %s", strerrordesc_np(errno));
	posix_spawn_file_actions_adddup2(&s->actions, s->text, 3);
	return NH_OK;
}

static char **environment_with_term(struct nh_arena *arena)
{
	size_t count = 0;
	if (getenv("TERM"))
		return environ;
	while (environ[count])
		count++;
	char **all = nh_arena_array(arena, count + 2, sizeof *all);
	for (size_t i = 0; i < count; i++)
		all[i] = environ[i];
	all[count] = nh_arena_str(arena, NH_LIT("TERM=xterm"));
	return all;
}

static nh_rc spawn(struct start *s, const struct program_config *c, pid_t *pid, struct nh_err *err)
{
	NH_AUTO_ARENA struct nh_arena arena = NH_ARENA_INIT;
	sigset_t none, all;
	size_t count = 0;
	while (c->argv[count])
		count++;
	char **argv = nh_arena_array(&arena, count + 1, sizeof *argv);
	for (size_t i = 0; i < count; i++)
		argv[i] = (char *)(uintptr_t)c->argv[i];
	if (c->login) {
		const char *slash = strrchr(c->argv[0], '/');
		argv[0] = nh_arena_printf(&arena, "-%s", slash ? slash + 1 : c->argv[0]);
	}
	sigemptyset(&none);
	sigfillset(&all);
	posix_spawnattr_setsigmask(&s->attributes, &none);
	posix_spawnattr_setsigdefault(&s->attributes, &all);
	posix_spawnattr_setflags(&s->attributes, POSIX_SPAWN_SETSID | POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
	int number = posix_spawnp(pid, c->argv[0], &s->actions, &s->attributes, argv, c->terminal ? environment_with_term(&arena) : environ);
	if (number != 0)
		return NH_FAIL(err, nh_rc_from_errno(number), "cannot run %s: %s", c->argv[0], strerrordesc_np(number));
	return NH_OK;
}

/* ---- end */

static void close_output(struct program *p)
{
	nh_watch_close(p->watch);
	p->watch = NULL;
	if (p->fd >= 0)
		close(p->fd);
	p->fd = -1;
}

static void signal_groups(struct program *p, int number)
{
	pid_t foreground = 0;
	if (p->pid == 0)
		return; /* reaped: the number is somebody else's */
	if (p->config.terminal && p->fd >= 0 && ioctl(p->fd, TIOCGPGRP, &foreground) == 0 && foreground > 1 && foreground != p->pid)
		kill(-foreground, number);
	kill(-p->pid, number);
}

static void program_free(struct program *p)
{
	struct programs *all = p->all;
	struct program **at = &all->first;
	while (*at != p)
		at = &(*at)->next;
	*at = p->next;
	close_output(p);
	nh_watch_close(p->end_watch);
	nh_timer_close(p->timer);
	close(p->pidfd);
	nh_buf_fini(&p->output);
	nh_buf_fini(&p->input);
	free(p);
	if (!all->first && all->on_empty)
		all->on_empty(all->ctx);
}

static void kill_because(struct program *p, nh_rc rc)
{
	if (p->rc == NH_OK)
		p->rc = rc;
	signal_groups(p, SIGKILL);
}

/* ---- output */

static size_t limit(const struct program *p) { return p->config.output_max ? p->config.output_max : OUTPUT_MAX; }

static void take(struct program *p, nh_slice bytes)
{
	if (p->config.on_output) {
		p->config.on_output(p->config.ctx, bytes);
		return;
	}
	size_t room = limit(p) - p->output.len;
	nh_buf_put_slice(&p->output, nh_slice_sub(bytes, 0, room));
	if (bytes.len > room)
		kill_because(p, NH_ETOOBIG);
}

/* One block; false: there is nothing now, or never again. */
static bool read_block(struct program *p)
{
	uint8_t block[BLOCK];
	ssize_t n = read(p->fd, block, sizeof block);
	if (n > 0) {
		take(p, nh_slice_of(block, (size_t)n));
		return true;
	}
	/* A terminal without anybody at the other end says EIO. */
	if (n == 0 || (errno != EAGAIN && errno != EINTR))
		close_output(p);
	return false;
}

static unsigned wanted(const struct program *p) { return (p->reading ? NH_READABLE : 0) | (p->input.len > 0 ? NH_WRITABLE : 0); }

static void write_block(struct program *p)
{
	ssize_t n = write(p->fd, p->input.ptr, p->input.len);
	if (n > 0)
		nh_buf_consume(&p->input, (size_t)n);
	else if (n < 0 && errno != EAGAIN && errno != EINTR)
		nh_buf_clear(&p->input);
	nh_watch_set(p->watch, wanted(p));
}

static void on_watch(void *arg, unsigned events)
{
	struct program *p = arg;
	if ((events & NH_WRITABLE) && p->input.len > 0)
		write_block(p);
	if ((events & NH_READABLE) && p->reading)
		read_block(p);
}

static void on_end(void *arg, unsigned events)
{
	struct program *p = arg;
	int status = W_EXITCODE(255, 0); /* where somebody else in this process has waited for it */
	for (int i = 0; i < LAST_READS && p->fd >= 0 && !p->stopped && p->rc == NH_OK; i++)
		if (!read_block(p))
			break;
	signal_groups(p, SIGKILL);
	if (waitpid(p->pid, &status, WNOHANG) == 0)
		return; /* not yet: a thread of it is still there */
	p->pid = 0;
	struct program_end end = {.rc = p->rc, .status = WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status), .output = nh_buf_slice(&p->output)};
	if (!p->stopped)
		p->config.on_end(p->config.ctx, &end);
	program_free(p);
}

/* The limit; or a program that even a kill does not end, since the kernel waits for a disk or a server: who wants to go does not wait with it. */
static void on_timer(void *arg)
{
	struct program *p = arg;
	if (p->rc == NH_ECLOSED)
		program_free(p);
	else
		kill_because(p, NH_ETIMEOUT);
}

/* ---- what others call */

static nh_rc watch(struct program *p, const char *name, struct nh_err *err)
{
	p->pidfd = (int)syscall(SYS_pidfd_open, p->pid, 0);
	if (p->pidfd < 0)
		return NH_FAIL(err, NH_EIO, "cannot watch %s: %s", name, strerrordesc_np(errno));
	fcntl(p->pidfd, F_SETFL, O_NONBLOCK);
	NH_TRY(nh_watch_open(p->all->loop, p->pidfd, on_end, p, &p->end_watch, err));
	NH_TRY(nh_watch_open(p->all->loop, p->fd, on_watch, p, &p->watch, err));
	nh_watch_set(p->end_watch, NH_READABLE);
	nh_watch_set(p->watch, NH_READABLE);
	return NH_OK;
}

static nh_rc prepare(struct start *s, const struct programs *all, const struct program_config *c, struct nh_err *err)
{
	size_t count = 0;
	posix_spawn_file_actions_init(&s->actions);
	posix_spawnattr_init(&s->attributes);
	for (const struct program *p = all->first; p; p = p->next)
		count++;
	if (count >= PROGRAMS_MAX)
		return NH_FAIL(err, NH_EAGAIN, "cannot run %s: %d programs are running", c->argv[0], PROGRAMS_MAX);
	NH_TRY(c->terminal ? open_terminal(s, c, err) : open_pipe(s, c, err));
	if (c->text.len > 0)
		NH_TRY(open_text(s, c->text, err));
	return NH_OK;
}

nh_rc program_start(struct programs *all, const struct program_config *config, struct program **out, struct nh_err *err)
{
	struct start s = {.terminal = -1, .pipe = {-1, -1}, .text = -1};
	pid_t pid = 0;
	*out = NULL;
	nh_rc rc = prepare(&s, all, config, err);
	if (rc == NH_OK)
		rc = spawn(&s, config, &pid, err);
	if (rc != NH_OK) {
		start_fini(&s);
		return rc;
	}
	struct program *p = nh_xcalloc(1, sizeof *p);
	*p = (struct program){.all = all, .config = *config, .pid = pid, .pidfd = -1, .fd = config->terminal ? s.terminal : s.pipe[0], .reading = true};
	p->timer = nh_timer_new(all->loop, on_timer, p);
	s.terminal = s.pipe[0] = -1;
	start_fini(&s);
	p->config.argv = NULL; /* the caller's, for the call only */
	p->next = all->first;
	all->first = p;
	rc = watch(p, config->argv[0], err);
	if (rc != NH_OK) {
		signal_groups(p, SIGKILL);
		waitpid(pid, NULL, 0);
		p->pid = 0;
		void (*on_empty)(void *ctx) = all->on_empty;
		all->on_empty = NULL; /* it never was */
		program_free(p);
		all->on_empty = on_empty;
		return rc;
	}
	if (config->timeout_ms)
		nh_timer_start(p->timer, config->timeout_ms, 0);
	*out = p;
	return NH_OK;
}

void program_stop(struct program *p)
{
	if (!p || p->stopped)
		return;
	p->stopped = true;
	signal_groups(p, p->config.terminal ? SIGHUP : SIGKILL);
	close_output(p);
	nh_timer_start(p->timer, HANGUP_GRACE_MS, 0);
}

void programs_kill(struct programs *all)
{
	for (struct program *p = all->first; p; p = p->next) {
		p->stopped = true;
		p->rc = NH_ECLOSED;
		signal_groups(p, SIGKILL);
		close_output(p);
		nh_timer_start(p->timer, LAST_WAIT_MS, 0);
	}
}

void program_write(struct program *p, nh_slice bytes)
{
	if (p->fd < 0)
		return;
	nh_buf_put_slice(&p->input, nh_slice_sub(bytes, 0, INPUT_MAX - p->input.len));
	nh_watch_set(p->watch, wanted(p));
}

void program_resize(struct program *p, unsigned rows, unsigned columns)
{
	struct winsize size = {.ws_row = (unsigned short)rows, .ws_col = (unsigned short)columns};
	if (p->fd >= 0)
		ioctl(p->fd, TIOCSWINSZ, &size);
}

void program_read(struct program *p, bool on)
{
	p->reading = on;
	if (p->watch)
		nh_watch_set(p->watch, wanted(p));
}

void program_signal(struct program *p, int number) { signal_groups(p, number); }
