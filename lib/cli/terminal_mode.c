/*
 * The terminal in raw mode, so that every key is the device's, and back again: at the end of a session, while it is suspended, and where the process crashes, since a shell whose
 * terminal echoes nothing is worse than any message. Signals that merely end the process are the session's.
 */
#include <signal.h>
#include <sys/ioctl.h>
#include <termios.h>
#include <unistd.h>

#include "terminal.h"

static const int crashes[] = {SIGABRT, SIGSEGV, SIGBUS, SIGFPE, SIGILL};
static struct termios before;
static volatile sig_atomic_t raw_fd = -1;
static struct sigaction handlers[NH_ARRAY_LEN(crashes)];

/* Only what a handler of signals may call. The handler is gone when it runs, so that raising ends the process as it would have. */
static void on_crash(int number)
{
	if (raw_fd >= 0)
		tcsetattr(raw_fd, TCSANOW, &before);
	raise(number);
}

bool cli_raw_enter(int fd)
{
	struct sigaction catch = {.sa_handler = on_crash, .sa_flags = (int)SA_RESETHAND | SA_NODEFER};
	if (raw_fd >= 0)
		return true;
	if (tcgetattr(fd, &before) != 0)
		return false;
	struct termios raw = before;
	cfmakeraw(&raw);
	if (tcsetattr(fd, TCSADRAIN, &raw) != 0)
		return false;
	raw_fd = fd;
	for (size_t i = 0; i < NH_ARRAY_LEN(crashes); i++)
		sigaction(crashes[i], &catch, &handlers[i]);
	return true;
}

void cli_raw_leave(void)
{
	if (raw_fd < 0)
		return;
	tcsetattr(raw_fd, TCSADRAIN, &before);
	raw_fd = -1;
	for (size_t i = 0; i < NH_ARRAY_LEN(crashes); i++)
		sigaction(crashes[i], &handlers[i], NULL);
}

bool cli_terminal_size(int fd, int64_t *rows, int64_t *columns)
{
	struct winsize size;
	if (ioctl(fd, TIOCGWINSZ, &size) != 0 || size.ws_row == 0 || size.ws_col == 0)
		return false;
	*rows = size.ws_row;
	*columns = size.ws_col;
	return true;
}
