/* Option tables and child processes. */
#include "test_base.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/option.h"
#include "base/process.h"

static struct {
	bool verbose;
	const char *name;
	uint64_t port, size, wait_ms;
	struct nh_option_list tags;
} o;

static const struct nh_option table[] = {
	{"verbose", 'v', NH_OPT_FLAG, &o.verbose, NULL, "say more", .env = "NHT_VERBOSE"},
	{"name", 'n', NH_OPT_TEXT, &o.name, "NAME", "what to call it", .env = "NHT_NAME"},
	{"port", 0, NH_OPT_U64, &o.port, "PORT", "where to listen", .max = 65535},
	{"size", 0, NH_OPT_SIZE, &o.size, "SIZE", "how much", .min = 1024},
	{"wait", 0, NH_OPT_DURATION, &o.wait_ms, "TIME", "how long"},
	{"tag", 't', NH_OPT_LIST, &o.tags, "TAG", "may be repeated"},
	{NULL},
};

static nh_rc parse(int argc, const char *const *args, char **argv, int *rest, struct nh_err *e)
{
	free(o.tags.items);
	memset(&o, 0, sizeof o);
	argv[0] = (char *)(uintptr_t)"prog";
	for (int i = 0; i < argc; i++)
		argv[i + 1] = (char *)(uintptr_t)args[i];
	return nh_option_parse(table, argc + 1, argv, rest, e);
}

#define PARSE(...) parse((int)NH_ARRAY_LEN(((const char *[]){__VA_ARGS__})), (const char *[]){__VA_ARGS__}, argv, &rest, &e)

static void options(void **state)
{
	char *argv[32];
	int rest = 0;
	struct nh_err e = NH_ERR_INIT;
	assert_int_equal(PARSE("one", "--port=80", "-v", "two", "--name", "x", "--size", "4k", "--wait=2m", "-ta", "-t", "b", "-t=c", "-", "--", "-v"), NH_OK);
	assert_int_equal(rest, 4);
	assert_string_equal(argv[1], "one");
	assert_string_equal(argv[2], "two");
	assert_string_equal(argv[3], "-");
	assert_string_equal(argv[4], "-v");
	assert_true(o.verbose && o.port == 80 && o.size == 4096 && o.wait_ms == 120000 && o.tags.count == 3);
	assert_string_equal(o.tags.items[2], "c");
	assert_int_equal(PARSE("-vnx", "--name="), NH_OK);
	assert_string_equal(o.name, "");
	static const struct {
		const char *args[2], *message;
	} bad[] = {
		{{"--prot", "1"}, "unknown option '--prot'; did you mean '--port'?"},
		{{"--verb"}, "unknown option '--verb'; did you mean '--verbose'?"},
		{{"--zzzzzz"}, "unknown option '--zzzzzz'; --help lists the options"},
		{{"-x"}, "unknown option '-x'; --help lists the options"},
		{{"--port", "x"}, "--port needs a number from 0 to 65535, not 'x'"},
		{{"--port=65536"}, "--port needs a number from 0 to 65535, not '65536'"},
		{{"--port"}, "--port needs a value: --port PORT"},
		{{"-n"}, "-n needs a value: -n NAME"},
		{{"--size=1"}, "--size needs a size such as 64k, 16M or 1GiB within its bounds, not '1'"},
		{{"--wait=soon"}, "--wait needs a duration such as 250ms, 30s or 5m within its bounds, not 'soon'"},
		{{"--verbose=1"}, "--verbose takes no value"},
	};
	for (size_t i = 0; i < NH_ARRAY_LEN(bad); i++) {
		assert_int_equal(parse(bad[i].args[1] ? 2 : 1, bad[i].args, argv, &rest, &e), NH_EINVAL);
		assert_string_equal(e.msg, bad[i].message);
	}
}

static void environment(void **state)
{
	char *argv[32];
	int rest = 0;
	struct nh_err e = NH_ERR_INIT;
	setenv("NHT_NAME", "from-env", 1);
	setenv("NHT_VERBOSE", " Yes ", 1);
	assert_int_equal(PARSE("a"), NH_OK);
	assert_string_equal(o.name, "from-env");
	assert_true(o.verbose);
	assert_int_equal(PARSE("--name", ""), NH_OK);
	assert_string_equal(o.name, ""); /* an explicitly empty flag counts */
	setenv("NHT_NAME", "", 1);
	setenv("NHT_VERBOSE", "0", 1);
	assert_int_equal(PARSE("a"), NH_OK);
	assert_null(o.name);
	assert_false(o.verbose);
	unsetenv("NHT_NAME");
	unsetenv("NHT_VERBOSE");
	free(o.tags.items);
	memset(&o, 0, sizeof o);
}

static void help(void **state)
{
	NH_AUTO_BUF struct nh_buf b = NH_BUF_INIT;
	nh_option_help(&b, table);
	assert_true(nh_slice_starts(nh_buf_slice(&b), NH_LIT("  -v, --verbose    say more [NHT_VERBOSE]\n  -n, --name NAME  what")));
	assert_true(nh_slice_find(nh_buf_slice(&b), NH_LIT("      --port PORT  where to listen\n")) > 0);
}

#define SH(script) ((const char *const[]){"sh", "-c", script, NULL})

static void processes(void **state)
{
	NH_AUTO_BUF struct nh_buf out = NH_BUF_INIT, errout = NH_BUF_INIT;
	struct nh_err e = NH_ERR_INIT;
	int status = -1;
	struct nh_process p = {.argv = SH("cat; echo no >&2; exit 3"), .stdin_bytes = NH_LIT("yes\n")};
	assert_int_equal(nh_process_run(&p, &status, &out, &errout, &e), NH_OK);
	assert_int_equal(status, 3);
	assert_slice(nh_buf_slice(&out), "yes\n");
	assert_slice(nh_buf_slice(&errout), "no\n");
	p = (struct nh_process){.argv = SH("kill -9 $$")};
	assert_int_equal(nh_process_run(&p, &status, NULL, NULL, &e), NH_OK);
	assert_int_equal(status, 137);
	p = (struct nh_process){.argv = (const char *const[]){"nh-no-such-program", NULL}};
	assert_int_equal(nh_process_run(&p, &status, NULL, NULL, &e), NH_ENOTFOUND);
	assert_string_equal(e.msg, "cannot start nh-no-such-program: No such file or directory");
	p = (struct nh_process){.argv = SH("pwd; echo $A-$HOME"), .cwd = "/", .envp = (const char *const[]){"A=b", NULL}};
	nh_buf_clear(&out);
	assert_int_equal(nh_process_run(&p, &status, &out, NULL, &e), NH_OK);
	assert_slice(nh_buf_slice(&out), "/\nb-\n");
}

static void process_limits(void **state)
{
	NH_AUTO_BUF struct nh_buf out = NH_BUF_INIT;
	struct nh_err e = NH_ERR_INIT;
	int status = -1;
	/* the grandchild holds the streams open: the whole group must go */
	struct nh_process p = {.argv = SH("sleep 1000 & sleep 1000"), .timeout_ms = 50};
	assert_int_equal(nh_process_run(&p, &status, &out, NULL, &e), NH_ETIMEOUT);
	p = (struct nh_process){.argv = SH("exec >&- 2>&-; sleep 1000"), .timeout_ms = 50};
	assert_int_equal(nh_process_run(&p, &status, &out, NULL, &e), NH_ETIMEOUT);
	p = (struct nh_process){.argv = SH("while :; do echo aaaaaaaaaaaaaaaaaaaaaaaaaaaaa; done"), .max_output_bytes = 10000};
	assert_int_equal(nh_process_run(&p, &status, &out, NULL, &e), NH_ETOOBIG);
	/* a child that does not read must not hang or kill us */
	NH_AUTO_BUF struct nh_buf big = NH_BUF_INIT;
	nh_buf_fill(&big, 'x', 1 << 20);
	p = (struct nh_process){.argv = SH("exit 0"), .stdin_bytes = nh_buf_slice(&big)};
	assert_int_equal(nh_process_run(&p, &status, &out, NULL, &e), NH_OK);
	assert_int_equal(status, 0);
	/* and one that echoes more than the pipes hold must not deadlock */
	nh_buf_clear(&out);
	p = (struct nh_process){.argv = (const char *const[]){"cat", NULL}, .stdin_bytes = nh_buf_slice(&big), .max_output_bytes = 2 << 20};
	assert_int_equal(nh_process_run(&p, &status, &out, NULL, &e), NH_OK);
	assert_int_equal(out.len, 1 << 20);
}

static void count(void *ctx, nh_slice bytes) { *(size_t *)ctx += bytes.len; }

static void cancel_now(void *ctx, nh_slice bytes) { __atomic_store_n((bool *)ctx, true, __ATOMIC_RELEASE); }

/* What a child may use, what it is given, and when it ends without having been asked. */
static void process_confined(void **state)
{
	static const struct {
		const char *script, *said;
		struct nh_process_limits limits;
		int status;
	} cases[] = {
		{"ulimit -v; ulimit -t; nice", "65536\n7\n9\n", {.memory_bytes = 64 << 20, .cpu_s = 7, .nice = 9}, 0},
		{"ulimit -v; ulimit -t", "unlimited\nunlimited\n", {0}, 0},
		{"(head -c 100000 /dev/zero >&3) 2>/dev/null; wc -c <&3 >/dev/null; stat -L -c %s /proc/self/fd/3", "4096\n", {.file_bytes = 4096}, 0},
		{"dd if=/dev/zero of=/dev/null bs=100M count=1 2>/dev/null", "", {.memory_bytes = 64 << 20}, 1},
		{"unshare -n true 2>/dev/null || unshare -rn true 2>/dev/null || { echo 0; exit 1; }; tail -n +3 /proc/net/dev | grep -vc ' lo:'", "0\n", {.no_network = true}, 1},
	};
	for (size_t i = 0; i < NH_ARRAY_LEN(cases); i++) {
		NH_AUTO_BUF struct nh_buf out = NH_BUF_INIT;
		struct nh_err e = NH_ERR_INIT;
		int status = -1, fds[2];
		FILE *file = tmpfile();
		assert_non_null(file);
		fds[0] = fds[1] = fileno(file);
		struct nh_process p = {.argv = SH(cases[i].script), .limits = &cases[i].limits, .fds = fds, .fd_count = 2};
		assert_int_equal(nh_process_run(&p, &status, &out, NULL, &e), NH_OK);
		assert_int_equal(status, cases[i].status);
		assert_string_equal(nh_buf_cstr(&out), cases[i].said);
		fclose(file);
	}
	/* Told to stop before it began, and told by what the child did. */
	bool cancel = true;
	int status = 0;
	struct nh_process p = {.argv = SH("sleep 1000"), .cancel = &cancel};
	assert_int_equal(nh_process_run(&p, &status, NULL, NULL, NULL), NH_ECLOSED);
	p = (struct nh_process){.argv = SH("echo now; exec sleep 1000"), .cancel = &cancel, .on_stdout = cancel_now, .ctx = &cancel};
	cancel = false;
	assert_int_equal(nh_process_run(&p, &status, NULL, NULL, NULL), NH_ECLOSED);
}

/* A child of a thread that ends is not left behind: what it holds open is closed. */
static void process_orphan(void **state)
{
	int ends[2];
	uint8_t byte;
	assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
	pid_t parent = fork();
	assert_true(parent >= 0);
	if (parent == 0) {
		int status;
		close(ends[0]);
		NH_IGNORE(nh_process_run(&(struct nh_process){.argv = SH("echo here >&3; exec sleep 1000"), .fds = &ends[1], .fd_count = 1, .dies_with_us = true}, &status, NULL, NULL, NULL));
		_exit(0);
	}
	close(ends[1]);
	assert_int_equal(read(ends[0], &byte, 1), 1);
	kill(parent, SIGKILL);
	waitpid(parent, NULL, 0);
	while (read(ends[0], &byte, 1) > 0)
		continue;
	close(ends[0]);
}

static void process_stream(void **state)
{
	size_t total = 0;
	int status = -1;
	struct nh_process p = {.argv = SH("head -c 3000000 /dev/zero"), .on_stdout = count, .ctx = &total};
	assert_int_equal(nh_process_run(&p, &status, NULL, NULL, NULL), NH_OK);
	assert_int_equal(total, 3000000);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(options),	 cmocka_unit_test(environment),	   cmocka_unit_test(help),
		cmocka_unit_test(processes), cmocka_unit_test(process_limits), cmocka_unit_test(process_stream),
		cmocka_unit_test(process_confined), cmocka_unit_test(process_orphan),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
