/* What the commands of nerveskey-sim share. */
#pragma once

#include "base/option.h"
#include "server.h"

struct command {
	const char *name, *help;
	int (*run)(int argc, char **argv); /* argv[0] is the command's name; returns the exit status */
};

int create_main(int argc, char **argv);
int exec_main(int argc, char **argv);
int run_main(int argc, char **argv);
/* ask.c: a running simulator, or a state file at rest. */
int fault_main(int argc, char **argv);
int power_cycle_main(int argc, char **argv);
int show_main(int argc, char **argv);
int wipe_main(int argc, char **argv);

int command_fail(const struct nh_err *err); /* one line on standard error; returns 1 */
void command_help(const char *usage, const struct nh_option *options);

/* Options of a part to be made, for create and wherever a missing one is created. */
struct part_options {
	const char *model, *serial, *address;
	bool trust_and_go;
};
nh_rc part_options_take(const struct part_options *o, struct chip_wish *out, struct nh_err *err);

/* Options of a bus, for run and exec; bus_prepare opens the chips (creates the missing ones where wanted) and arms the faults. */
struct bus_options {
	struct part_options part;
	uint64_t speed_percent;
	bool no_watchdog, stray_wake, create;
	struct nh_option_list faults;
};
nh_rc bus_prepare(struct simbus *bus, const struct bus_options *o, char *const *states, size_t count, struct nh_err *err);

#define PART_OPTIONS(p)                                                                                                                               \
	{.name = "model", .kind = NH_OPT_TEXT, .target = &(p).model, .value = "MODEL", .help = "508a, 608a or 608b (608b)"},                          \
	{.name = "trust-and-go", .kind = NH_OPT_FLAG, .target = &(p).trust_and_go, .help = "a Trust&Go part: a 608b with keys and certificates, at 0x35"}
