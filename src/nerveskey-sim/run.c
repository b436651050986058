/* nerveskey-sim run: chips on a bus, until a signal. */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/file.h"
#include "commands.h"

static nh_rc serve(struct server *server, const char *socket, const char *ready_file, struct nh_err *err)
{
	NH_AUTO_BUF struct nh_buf line = NH_BUF_INIT;
	nh_buf_printf(&line, "ready %s\n", socket);
	if (ready_file)
		NH_TRY(nh_file_write_atomic(ready_file, nh_buf_slice(&line), 0644, err));
	fputs(nh_buf_cstr(&line), stdout);
	fflush(stdout);
	return server_run(server, 0, NULL, err);
}

int run_main(int argc, char **argv)
{
	struct bus_options bus_options = {0};
	struct simbus bus = {0};
	struct server *server = NULL;
	struct nh_err err = NH_ERR_INIT;
	const char *socket = NULL, *ready_file = NULL;
	bool help = false, foreground = false;
	int rest = 0;
	const struct nh_option options[] = {
		{.name = "socket", .kind = NH_OPT_TEXT, .target = &socket, .value = "PATH", .help = "where the bus listens (needed)"},
		{.name = "create", .kind = NH_OPT_FLAG, .target = &bus_options.create, .help = "make the chips whose files are missing"},
		PART_OPTIONS(bus_options.part),
		{.name = "speed", .kind = NH_OPT_U64, .target = &bus_options.speed_percent, .value = "PERCENT", .max = 1000, .help = "execution times in percent of the data sheet's maximum (0: none)"},
		{.name = "no-watchdog", .kind = NH_OPT_FLAG, .target = &bus_options.no_watchdog, .help = "chips stay awake until told otherwise"},
		{.name = "stray-wake", .kind = NH_OPT_FLAG, .target = &bus_options.stray_wake, .help = "other traffic wakes chips too, as on a bus at 100 kHz"},
		{.name = "fault", .kind = NH_OPT_LIST, .target = &bus_options.faults, .value = "SPEC", .help = "NAME[:SKIP[:COUNT[:ARGUMENT]]], armed from the beginning"},
		{.name = "ready-file", .kind = NH_OPT_TEXT, .target = &ready_file, .value = "FILE", .help = "written when the bus listens"},
		{.name = "foreground", .kind = NH_OPT_FLAG, .target = &foreground, .help = "stay in the foreground, which it always does"},
		{.name = "help", .letter = 'h', .kind = NH_OPT_FLAG, .target = &help, .help = "this text"},
		{0},
	};
	if (nh_option_parse(options, argc, argv, &rest, &err) != NH_OK)
		return command_fail(&err);
	if (help) {
		command_help("run --socket PATH STATE... [options]", options);
		free(bus_options.faults.items);
		return 0;
	}
	nh_rc rc = NH_OK;
	if (!socket)
		rc = NH_FAIL(&err, NH_EINVAL, "--socket says where the bus listens");
	else if (rest < 1)
		rc = NH_FAIL(&err, NH_EINVAL, "name the file of at least one chip");
	if (rc == NH_OK)
		rc = bus_prepare(&bus, &bus_options, argv + 1, (size_t)rest, &err);
	if (rc == NH_OK)
		rc = server_open(socket, &bus, &server, &err);
	if (rc == NH_OK)
		rc = serve(server, socket, ready_file, &err);
	server_close(server);
	simbus_fini(&bus);
	free(bus_options.faults.items);
	return rc == NH_OK ? 0 : command_fail(&err);
}
