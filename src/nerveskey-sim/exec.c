/*
 * nerveskey-sim exec: a private simulator around one program, which sees the chips at /dev/i2c-N. The program is the child and the simulator its parent, so that the simulator
 * is there before the program's first call and gone after its last.
 */
#include <errno.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "commands.h"

#ifndef NH_PRELOAD_INSTALLED
#define NH_PRELOAD_INSTALLED ""
#endif

/* The library: where the environment says, beside this program (a build), in ../lib (a build's bin), where it was installed. */
static nh_rc find_preload(struct nh_buf *out, struct nh_err *err)
{
	static const char *const beside[] = {"", "../lib/"};
	const char *named = getenv("NERVESKEY_SIM_PRELOAD");
	char self[PATH_MAX];
	if (named && *named) {
		nh_buf_put_str(out, named);
		return access(named, R_OK) == 0 ? NH_OK : NH_FAIL(err, NH_ENOTFOUND, "NERVESKEY_SIM_PRELOAD is %s: %s", named, strerror(errno));
	}
	ssize_t n = readlink("/proc/self/exe", self, sizeof self - 1);
	self[n > 0 ? n : 0] = 0;
	char *slash = strrchr(self, '/');
	for (size_t i = 0; slash && i < NH_ARRAY_LEN(beside); i++) {
		nh_buf_clear(out);
		nh_buf_printf(out, "%.*s%snerveskey-sim-preload.so", (int)(slash + 1 - self), self, beside[i]);
		if (access(nh_buf_cstr(out), R_OK) == 0)
			return NH_OK;
	}
	nh_buf_clear(out);
	nh_buf_put_str(out, NH_PRELOAD_INSTALLED);
	return out->len && access(nh_buf_cstr(out), R_OK) == 0 ? NH_OK
								   : NH_FAIL(err, NH_ENOTFOUND, "nerveskey-sim-preload.so is neither beside this program nor installed; NERVESKEY_SIM_PRELOAD can name it");
}

static void put_environment(const char *preload, const char *socket, uint64_t number)
{
	NH_AUTO_BUF struct nh_buf text = NH_BUF_INIT;
	const char *others = getenv("LD_PRELOAD");
	nh_buf_printf(&text, "%s%s%s", preload, others && *others ? ":" : "", others ? others : "");
	setenv("LD_PRELOAD", nh_buf_cstr(&text), 1);
	nh_buf_clear(&text);
	nh_buf_printf(&text, "%llu=%s", (unsigned long long)number, socket);
	setenv("NERVESKEY_SIM", nh_buf_cstr(&text), 1);
	setenv("NERVESKEY_SIM_SOCKET", socket, 1);
}

[[gnu::noreturn]] static void become(char **program, const char *preload, const char *socket, uint64_t number)
{
	sigset_t none;
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	signal(SIGPIPE, SIG_DFL);
	put_environment(preload, socket, number);
	execvp(program[0], program);
	int missing = errno == ENOENT;
	fprintf(stderr, "nerveskey-sim: %s: %s\n", program[0], strerror(errno));
	_exit(missing ? 127 : 126);
}

static nh_rc serve(struct server *server, char **program, const char *preload, const char *socket, uint64_t number, int *status, struct nh_err *err)
{
	pid_t child = fork();
	if (child < 0)
		return NH_FAIL(err, NH_EIO, "fork: %s", strerror(errno));
	if (child == 0)
		become(program, preload, socket, number);
	nh_rc rc = server_run(server, child, status, err);
	if (rc != NH_OK) { /* its chips are gone, but whether it can live without them is its own business */
		waitpid(child, status, 0);
	}
	return rc;
}

struct job {
	struct bus_options bus;
	uint64_t number; /* N of /dev/i2c-N */
	char *const *states;
	size_t state_count;
	char **program;
};

static nh_rc run_in(const char *dir, const struct job *job, int *status, struct nh_err *err)
{
	NH_AUTO_BUF struct nh_buf socket = NH_BUF_INIT;
	NH_AUTO_BUF struct nh_buf preload = NH_BUF_INIT;
	NH_AUTO_BUF struct nh_buf blank = NH_BUF_INIT;
	struct bus_options bus_options = job->bus;
	struct simbus bus = {0};
	struct server *server = NULL;
	nh_buf_printf(&socket, "%s/socket", dir);
	nh_buf_printf(&blank, "%s/chip", dir);
	char *only_blank[] = {(char *)blank.ptr};
	bool own = job->state_count == 0; /* a part of its own, gone afterwards */
	bus_options.create |= own;
	nh_rc rc = find_preload(&preload, err);
	if (rc == NH_OK)
		rc = bus_prepare(&bus, &bus_options, own ? only_blank : job->states, own ? 1 : job->state_count, err);
	if (rc == NH_OK)
		rc = server_open(nh_buf_cstr(&socket), &bus, &server, err);
	if (rc == NH_OK)
		rc = serve(server, job->program, nh_buf_cstr(&preload), nh_buf_cstr(&socket), job->number, status, err);
	server_close(server);
	simbus_fini(&bus);
	unlink(nh_buf_cstr(&blank));
	nh_buf_put_str(&blank, ".lock");
	unlink(nh_buf_cstr(&blank));
	return rc;
}

static nh_rc run_job(const struct job *job, int *status, struct nh_err *err)
{
	const char *base = getenv("TMPDIR");
	char dir[PATH_MAX];
	int n = snprintf(dir, sizeof dir, "%s/nerveskey-sim-XXXXXX", base && *base ? base : "/tmp");
	if (n < 0 || (size_t)n >= sizeof dir || !mkdtemp(dir))
		return NH_FAIL(err, NH_EIO, "no directory for the bus in %s: %s", base && *base ? base : "/tmp", strerror(errno));
	nh_rc rc = run_in(dir, job, status, err);
	rmdir(dir);
	return rc;
}

/* What stands behind "--" is the program's, options and all. */
static int split(int argc, char **argv, char ***program)
{
	for (int i = 1; i < argc; i++)
		if (strcmp(argv[i], "--") == 0) {
			*program = argv + i + 1;
			return i;
		}
	*program = NULL;
	return argc;
}

int exec_main(int argc, char **argv)
{
	struct job job = {.number = 1};
	struct nh_err err = NH_ERR_INIT;
	bool help = false;
	int rest = 0, status = 0;
	argc = split(argc, argv, &job.program);
	const struct nh_option options[] = {
		{.name = "bus", .kind = NH_OPT_U64, .target = &job.number, .value = "N", .max = 255, .help = "the bus is /dev/i2c-N (1)"},
		{.name = "create", .kind = NH_OPT_FLAG, .target = &job.bus.create, .help = "make the chips whose files are missing"},
		PART_OPTIONS(job.bus.part),
		{.name = "speed", .kind = NH_OPT_U64, .target = &job.bus.speed_percent, .value = "PERCENT", .max = 1000, .help = "execution times in percent of the data sheet's maximum (0: none)"},
		{.name = "no-watchdog", .kind = NH_OPT_FLAG, .target = &job.bus.no_watchdog, .help = "chips stay awake until told otherwise"},
		{.name = "stray-wake", .kind = NH_OPT_FLAG, .target = &job.bus.stray_wake, .help = "other traffic wakes chips too, as on a bus at 100 kHz"},
		{.name = "fault", .kind = NH_OPT_LIST, .target = &job.bus.faults, .value = "SPEC", .help = "NAME[:SKIP[:COUNT[:ARGUMENT]]], armed from the beginning"},
		{.name = "help", .letter = 'h', .kind = NH_OPT_FLAG, .target = &help, .help = "this text"},
		{0},
	};
	if (nh_option_parse(options, argc, argv, &rest, &err) != NH_OK)
		return command_fail(&err);
	if (help) {
		command_help("exec [STATE...] [options] -- PROGRAM [argument...]", options);
		free(job.bus.faults.items);
		return 0;
	}
	job.states = argv + 1;
	job.state_count = (size_t)rest;
	nh_rc rc = job.program && *job.program ? NH_OK : NH_FAIL(&err, NH_EINVAL, "name the program behind --");
	if (rc == NH_OK)
		rc = run_job(&job, &status, &err);
	free(job.bus.faults.items);
	if (rc != NH_OK)
		return command_fail(&err);
	return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
}
