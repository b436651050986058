/*
 * What the files of a terminal session share: keys, terminal modes, files that go either way. Private to cli.
 *
 * source: reference/user-api-and-cli "16.2", "16.3", "16.6"
 */
#pragma once

#include "cli_int.h"
#include "socket.h"

extern const struct cli_flag cli_console_flags[], cli_shell_flags[];
nh_rc cli_run_console(struct nh_cli *c, struct nh_err *err); /* `nh device console` */
nh_rc cli_run_shell(struct nh_cli *c, struct nh_err *err);   /* `nh device shell` */

/* terminal_keys.c: what is typed, byte by byte. No input or output. */
#define CLI_ESCAPE_NONE (-1)
typedef enum cli_key { CLI_KEY_PLAIN, CLI_KEY_END, CLI_KEY_HELP, CLI_KEY_SUSPEND } cli_key;

struct cli_escape {
	int key; /* the escape character, or CLI_ESCAPE_NONE */
	enum { CLI_AT_START, CLI_AFTER_KEY, CLI_IN_LINE } at;
};
/* "~", "^]" or "none". NH_EINVAL */
nh_rc cli_escape_parse(const char *text, struct cli_escape *out, struct nh_err *err);
/* Appends what is to be sent for the byte; other than PLAIN: a command was given. */
cli_key cli_escape_feed(struct cli_escape *e, uint8_t byte, struct nh_buf *out);
/*
 * Moves whole characters from the front of `in` to `out`; bytes that are no UTF-8 become U+FFFD. What may be the beginning of a character stays, unless it is the end. Returns
 * how many bytes were replaced.
 */
size_t cli_utf8_take(struct nh_buf *in, struct nh_buf *out, bool end);

/* terminal_mode.c: the modes of the terminal, one session at a time. They are put back even where the process crashes. */
bool cli_raw_enter(int fd);   /* false: not a terminal that can be asked */
void cli_raw_leave(void);     /* as it was; legal at any time */
bool cli_terminal_size(int fd, int64_t *rows, int64_t *columns);

/* terminal_files.c: files over the console. source: reference/device-protocol "11.2", "11.3" */
#define CLI_FILE_MAX ((uint64_t)10 << 20) /* what devices take */

struct cli_files {
	struct nh_cli *c;
	struct cli_socket *socket; /* borrowed while the session is connected */
	const char *topic;
	const struct nh_option_list *uploads;
	const char *download_dir;  /* NULL: what devices send is not kept */
	size_t next;               /* upload that is under way or comes next */
	FILE *from, *to;
	const char *name, *to_path;
	uint64_t sent, size, chunk, received;
	struct cli_progress progress;
};
/* Are the files there, and small enough? NH_EINVAL NH_ENOTFOUND NH_ETOOBIG NH_EIO */
nh_rc cli_files_check(struct nh_cli *c, const struct nh_option_list *uploads, const char *download_dir, struct nh_err *err);
/* Sends the next pieces and asks the socket to settle, or sets *done. To be called at first, and each time the socket has settled. */
nh_rc cli_files_pump(struct cli_files *f, bool *done, struct nh_err *err);
/* One of the device's events file-data/…; false: another event. *note: what to tell the person, or NULL. arena text. */
bool cli_files_event(struct cli_files *f, nh_slice event, const json_t *payload, const char **note);
void cli_files_close(struct cli_files *f); /* what was not received whole is removed */
