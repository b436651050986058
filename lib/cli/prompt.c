/*
 * Questions to the person at the terminal: on stderr, answers from stdin. Terminal modes that are touched here are always restored.
 *
 * source: reference/user-api-and-cli "18.2"
 */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <termios.h>
#include <unistd.h>

#include "cli_int.h"

#define LINE_MAX_BYTES 4096

static nh_rc read_line(struct nh_cli *c, struct nh_buf *out, struct nh_err *err)
{
	int byte;
	while ((byte = fgetc(c->io->in)) != EOF && byte != '\n') {
		if (out->len >= LINE_MAX_BYTES)
			return NH_FAIL(err, NH_ETOOBIG, "the line on standard input is longer than %d bytes", LINE_MAX_BYTES);
		nh_buf_put_u8(out, (uint8_t)byte);
	}
	if (byte == EOF && out->len == 0)
		return NH_FAIL(err, NH_EIO, "standard input ended where an answer was expected");
	if (out->len && out->ptr[out->len - 1] == '\r')
		nh_buf_truncate(out, out->len - 1);
	return NH_OK;
}

nh_rc cli_line(struct nh_cli *c, const char *prompt, struct nh_buf *out, struct nh_err *err)
{
	cli_note(c, "%s", prompt);
	return read_line(c, out, err);
}

nh_rc cli_password(struct nh_cli *c, const char *prompt, struct nh_buf *out, struct nh_err *err)
{
	struct termios before;
	int fd = fileno(c->io->in);
	bool hidden = c->io->in_terminal && tcgetattr(fd, &before) == 0;
	cli_note(c, "%s", prompt);
	if (hidden) {
		struct termios quiet = before;
		quiet.c_lflag &= ~(tcflag_t)ECHO;
		tcsetattr(fd, TCSAFLUSH, &quiet);
	}
	nh_rc rc = read_line(c, out, err);
	if (hidden) {
		tcsetattr(fd, TCSAFLUSH, &before);
		cli_note(c, "\n");
	}
	return rc;
}

nh_rc cli_confirm(struct nh_cli *c, const char *verb, bool yes, struct nh_err *err, const char *question)
{
	NH_AUTO_BUF struct nh_buf answer = NH_BUF_INIT;
	if (yes)
		return NH_OK;
	if (c->non_interactive)
		return NH_FAIL(err, NH_EINVAL, "refusing to %s without confirmation; pass --yes to proceed non-interactively", verb);
	/* End of input is a no. */
	nh_rc rc = cli_line(c, nh_arena_printf(&c->arena, "%s [y/N] ", question), &answer, NULL);
	nh_slice text = nh_slice_trim(nh_buf_slice(&answer));
	if (rc == NH_OK && (nh_slice_ieq(text, NH_LIT("y")) || nh_slice_ieq(text, NH_LIT("yes"))))
		return NH_OK;
	cli_out(c, "Aborted.\n");
	return NH_ECLOSED;
}

static volatile sig_atomic_t interrupted;
static void on_interrupt(int number) { interrupted = 1; }

bool cli_wait_cancelled(struct nh_cli *c, unsigned ms)
{
	struct sigaction catch = {.sa_handler = on_interrupt}, before;
	struct termios mode;
	int fd = fileno(c->io->in);
	bool raw = c->io->in_terminal && tcgetattr(fd, &mode) == 0;
	interrupted = 0;
	sigaction(SIGINT, &catch, &before);
	if (raw) {
		struct termios keys = mode;
		keys.c_lflag &= ~(tcflag_t)(ICANON | ECHO);
		tcsetattr(fd, TCSANOW, &keys);
	}
	struct pollfd p = {.fd = raw ? fd : -1, .events = POLLIN};
	char key = 0;
	bool cancelled = poll(&p, 1, (int)ms) > 0 && read(fd, &key, 1) == 1 && key == 27;
	if (raw)
		tcsetattr(fd, TCSANOW, &mode);
	sigaction(SIGINT, &before, NULL);
	return cancelled || interrupted;
}
