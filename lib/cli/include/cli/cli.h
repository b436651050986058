/*
 * The command-line client `nh` as a library: one call runs one command. Commands, flags, environment, files and output are those of the official
 * `nh`; what it does on the wire is the User API.
 *
 * thread: main, once at a time; blocks.  source: reference/user-api-and-cli "18"
 */
#pragma once

#include <stdbool.h>
#include <stdio.h>

/* What the process gives to a command; tests pass their own. */
struct nh_cli_io {
	FILE *in, *out, *err;
	bool in_terminal, err_terminal;
	const char *(*env)(const char *name); /* getenv(3) or a test's table; NULL = unset */
};

/* nh_cli_run - runs argv (argv[0] is the program's name). Returns the exit status: 0, or 1 with one line "Error: …" on io->err. */
int nh_cli_run(const struct nh_cli_io *io, int argc, char **argv);
