/*
 * nerveskey-sim: secure elements without hardware. A table of commands; each has its options, its help and its own file.
 */
#include "commands.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"

static const struct command commands[] = {
	{"create", "make a new part: one file", create_main},
	{"exec", "run a program that sees simulated chips on its I2C bus", exec_main},
	{"fault", "let a running chip fail", fault_main},
	{"power-cycle", "take the power from running chips and give it back", power_cycle_main},
	{"run", "put chips on a simulated bus", run_main},
	{"show", "describe a chip, running or not", show_main},
	{"wipe", "make a chip factory-new again, as no real one can be", wipe_main},
};

int command_fail(const struct nh_err *err)
{
	fprintf(stderr, "nerveskey-sim: %s\n", err->msg);
	return 1;
}

void command_help(const char *usage, const struct nh_option *options)
{
	NH_AUTO_BUF struct nh_buf text = NH_BUF_INIT;
	nh_option_help(&text, options);
	printf("usage: nerveskey-sim %s\n\n%s", usage, nh_buf_cstr(&text));
}

nh_rc part_options_take(const struct part_options *o, struct chip_wish *out, struct nh_err *err)
{
	*out = (struct chip_wish){.model = NH_CHIP_608B, .personality = o->trust_and_go ? NH_CHIP_TRUST_AND_GO : NH_CHIP_BLANK};
	if (o->model)
		NH_TRY(chip_model_parse(o->model, &out->model, err));
	if (o->trust_and_go && out->model != NH_CHIP_608B)
		return NH_FAIL(err, NH_EINVAL, "Trust&Go parts are ATECC608B, not '%s'", o->model);
	if (o->address)
		NH_TRY(chip_address_parse(o->address, &out->address, err));
	if (o->trust_and_go && out->address)
		return NH_FAIL(err, NH_EINVAL, "a Trust&Go part is locked; its address is 0x35 and nothing else");
	if (!o->serial)
		return NH_OK;
	out->has_serial = true;
	NH_TRY(chip_serial_parse(o->serial, out->serial, err));
	if ((out->serial[NH_ATECC_SERIAL_LEN - 1] == 0x01) != o->trust_and_go)
		return NH_FAIL(err, NH_EINVAL, "serial numbers of Trust&Go parts end in 01 and those of others do not; this one is '%s'", o->serial);
	return NH_OK;
}

static bool exists(const char *path)
{
	struct nh_chip_state state;
	struct nh_err err = NH_ERR_INIT;
	nh_rc rc = chip_file_read(path, &state, &err);
	explicit_bzero(&state, sizeof state);
	return rc != NH_ENOTFOUND;
}

nh_rc bus_prepare(struct simbus *bus, const struct bus_options *o, char *const *states, size_t count, struct nh_err *err)
{
	struct chip_wish wish;
	simbus_init(bus, (uint32_t)o->speed_percent, !o->no_watchdog);
	bus->stray_wake = o->stray_wake;
	NH_TRY(part_options_take(&o->part, &wish, err));
	for (size_t i = 0; i < count; i++) {
		if (o->create && !exists(states[i]))
			NH_TRY(chip_file_create(states[i], &wish, err));
		NH_TRY(simbus_add(bus, states[i], err));
	}
	for (size_t i = 0; i < o->faults.count; i++) {
		NH_AUTO_BUF struct nh_buf command = NH_BUF_INIT;
		NH_AUTO_BUF struct nh_buf answer = NH_BUF_INIT;
		nh_buf_printf(&command, "fault %s", o->faults.items[i]);
		NH_TRY(simbus_control(bus, nh_buf_slice(&command), &answer, err));
	}
	return NH_OK;
}

static void help(void)
{
	puts("usage: nerveskey-sim COMMAND [options]\n\nSimulated ATECC508A, 608A and 608B chips: a file each, on an I2C bus that is a socket.\n");
	for (size_t i = 0; i < NH_ARRAY_LEN(commands); i++)
		printf("  %-16s %s\n", commands[i].name, commands[i].help);
	puts("\nnerveskey-sim COMMAND --help lists the options of a command.");
}

int main(int argc, char **argv)
{
	struct nh_err err = NH_ERR_INIT;
	signal(SIGPIPE, SIG_IGN);
	if (argc < 2 || strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0) {
		help();
		return argc < 2 ? 1 : 0;
	}
	if (strcmp(argv[1], "--version") == 0) {
		puts("nerveskey-sim " NH_VERSION);
		return 0;
	}
	for (size_t i = 0; i < NH_ARRAY_LEN(commands); i++)
		if (strcmp(argv[1], commands[i].name) == 0)
			return commands[i].run(argc - 1, argv + 1);
	NH_IGNORE(NH_FAIL(&err, NH_EINVAL, "unknown command '%s'; see nerveskey-sim --help", argv[1])); /* printed below */
	return command_fail(&err);
}
