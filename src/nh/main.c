/*
 * nh: the command-line client. Everything is in lib/cli; this file hands it the process.
 */
#include <stdlib.h>
#include <unistd.h>

#include "cli/cli.h"

static const char *env(const char *name) { return getenv(name); }

int main(int argc, char **argv)
{
	struct nh_cli_io io = {.in = stdin,
			       .out = stdout,
			       .err = stderr,
			       .in_terminal = isatty(STDIN_FILENO) == 1,
			       .err_terminal = isatty(STDERR_FILENO) == 1,
			       .env = env};
	return nh_cli_run(&io, argc, argv);
}
