/*
 * nerveskey: the secure element on the command line. Everything it knows about chips is in the rooms atecc and nerveskey; here arguments are read and results shown.
 */
#include "command.h"

#include <signal.h>

int main(int argc, char **argv)
{
	signal(SIGPIPE, SIG_IGN); /* a reader that left is noticed by write's result */
	return command_main(argc, argv);
}
