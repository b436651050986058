/*
 * nerveskey-sim show, power-cycle, wipe and fault: what one does to chips from outside of the bus. On a running simulator through its socket, so that it happens between two
 * transfers; show and wipe also on a file at rest.
 */
#include <stdio.h>
#include <unistd.h>

#include "atecc/bus.h"
#include "commands.h"

static nh_rc ask_running(const char *socket, const char *command, struct nh_buf *answer, struct nh_err *err)
{
	int fd = -1;
	NH_TRY(nh_atecc_bus_connect(socket, &fd, err));
	nh_rc rc = nh_atecc_bus_control(fd, nh_slice_str(command), answer, err);
	close(fd);
	return rc;
}

static nh_rc show_file(const char *path, struct nh_buf *answer, struct nh_err *err)
{
	struct nh_chip_state state;
	NH_TRY(chip_file_read(path, &state, err));
	simbus_describe(answer, &state);
	explicit_bzero(&state, sizeof state);
	return NH_OK;
}

static nh_rc wipe_file(const char *path, struct nh_buf *answer, struct nh_err *err)
{
	const struct nh_chip_config config = {.rng = &nh_rng_system};
	struct chip_file *file;
	NH_TRY(chip_file_open(path, &config, &file, err));
	nh_rc rc = chip_file_wipe(file, err);
	chip_file_close(file);
	return rc;
}

struct question {
	const char *usage;
	nh_rc (*at_rest)(const char *path, struct nh_buf *answer, struct nh_err *err); /* NULL: only a running one */
	bool spec; /* one argument beside the socket */
};

static nh_rc ask(const struct question *q, const char *name, const char *socket, const char *address, int count, char **arguments, struct nh_buf *answer, struct nh_err *err)
{
	NH_AUTO_BUF struct nh_buf command = NH_BUF_INIT;
	if (!socket) {
		if (!q->at_rest)
			return NH_FAIL(err, NH_EINVAL, "--socket says where the bus is");
		if (count != 1)
			return NH_FAIL(err, NH_EINVAL, "name a chip's file, or a running bus with --socket");
		return q->at_rest(arguments[0], answer, err);
	}
	if (count != q->spec)
		return NH_FAIL(err, NH_EINVAL, "%s", q->spec ? "one fault at a time: NAME[:SKIP[:COUNT[:ARGUMENT]]]" : "--socket names the chips; a file cannot be named beside it");
	nh_buf_printf(&command, "%s%s%s%s%s", name, q->spec ? " " : "", q->spec ? arguments[0] : "", address ? " " : "", address ? address : "");
	return ask_running(socket, nh_buf_cstr(&command), answer, err);
}

static int ask_main(const struct question *q, int argc, char **argv)
{
	const char *socket = NULL, *address = NULL;
	struct nh_err err = NH_ERR_INIT;
	bool help = false;
	int rest = 0;
	const struct nh_option options[] = {
		{.name = "socket", .kind = NH_OPT_TEXT, .target = &socket, .value = "PATH", .help = "a running bus"},
		{.name = "address", .kind = NH_OPT_TEXT, .target = &address, .value = "ADDRESS", .help = "which of its chips, where there are several"},
		{.name = "help", .letter = 'h', .kind = NH_OPT_FLAG, .target = &help, .help = "this text"},
		{0},
	};
	if (nh_option_parse(options, argc, argv, &rest, &err) != NH_OK)
		return command_fail(&err);
	if (help) {
		command_help(q->usage, options);
		return 0;
	}
	NH_AUTO_BUF struct nh_buf answer = NH_BUF_INIT;
	if (ask(q, argv[0], socket, address, rest, argv + 1, &answer, &err) != NH_OK)
		return command_fail(&err);
	fputs(nh_buf_cstr(&answer), stdout);
	return 0;
}

int fault_main(int argc, char **argv)
{
	static const struct question q = {.usage = "fault --socket PATH NAME[:SKIP[:COUNT[:ARGUMENT]]] [options]", .spec = true};
	return ask_main(&q, argc, argv);
}

int power_cycle_main(int argc, char **argv)
{
	static const struct question q = {.usage = "power-cycle --socket PATH [options]"};
	return ask_main(&q, argc, argv);
}

int show_main(int argc, char **argv)
{
	static const struct question q = {.usage = "show STATE | --socket PATH [options]", .at_rest = show_file};
	return ask_main(&q, argc, argv);
}

int wipe_main(int argc, char **argv)
{
	static const struct question q = {.usage = "wipe STATE | --socket PATH [options]", .at_rest = wipe_file};
	return ask_main(&q, argc, argv);
}
