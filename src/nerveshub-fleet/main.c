/*
 * nerveshub-fleet: virtual devices from the command line. A table of commands; each has its options, its help and its own file.
 */
#include "commands.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>

static const struct command commands[] = {
	{"load", "very many devices without disks, to size a server", load_main},
	{"make-firmware", "make firmware for virtual devices", make_firmware_main},
	{"run", "run virtual devices against a server", run_main},
};

int command_fail(const struct nh_err *err)
{
	fprintf(stderr, "nerveshub-fleet: %s\n", err->msg);
	return 1;
}

void command_help(const char *usage, const struct nh_option *options)
{
	NH_AUTO_BUF struct nh_buf text = NH_BUF_INIT;
	nh_option_help(&text, options);
	printf("usage: nerveshub-fleet %s\n\n%s", usage, nh_buf_cstr(&text));
}

static void help(void)
{
	puts("usage: nerveshub-fleet COMMAND [options]\n\nVirtual devices that speak the real protocol over real TLS: for demonstrations, load tests and sizing.\n");
	for (size_t i = 0; i < NH_ARRAY_LEN(commands); i++)
		printf("  %-16s %s\n", commands[i].name, commands[i].help);
	puts("\nnerveshub-fleet COMMAND --help lists the options of a command.");
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
		puts("nerveshub-fleet " NH_VERSION);
		return 0;
	}
	for (size_t i = 0; i < NH_ARRAY_LEN(commands); i++)
		if (strcmp(argv[1], commands[i].name) == 0)
			return commands[i].run(argc - 1, argv + 1);
	NH_IGNORE(NH_FAIL(&err, NH_EINVAL, "unknown command '%s'; see nerveshub-fleet --help", argv[1])); /* printed below */
	return command_fail(&err);
}
