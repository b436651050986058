/*
 * `nh device console` and `nh device shell`: a terminal session with a device, or a pipe into one. One thread waits for the socket, for what is typed and for room on standard
 * output; descriptors stay blocking, since they are shared with the shell, and are only touched when they are ready.
 *
 * A session ends by the escape character, by a signal, at the end of piped input once the device is quiet, or when the server or the connection ends it: that is never silent and
 * never mended here, as with ssh, since what was typed meanwhile would be lost.
 *
 * source: reference/user-api-and-cli "16.2", "16.3", "16.6"
 */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <unistd.h>

#include "base/encode.h"
#include "loop/loop.h"
#include "terminal.h"

#define TYPED_CHUNK 4096
#define OUTPUT_CHUNK 256                      /* a terminal that says it is ready takes this much at once */
#define OUTPUT_MAX ((size_t)256 << 10)        /* printed and not taken: then the server has to wait */
#define UNSENT_MAX ((size_t)64 << 10)
#define OPENING_MS 30000
#define GOODBYE_MS 500
#define QUIET_MS 1000
#define DURATION_MAX_MS ((uint64_t)7 * 24 * 3600 * 1000)
#define STATUS_LOST 255
#define NOTE_MAX 400

/* The two kinds of terminal that devices have. */
static const struct kind {
	const char *name, *prefix, *input, *output, *rows, *columns;
	bool announced; /* the server says when the device's side is open, by `metadata` */
	const char *extension; /* that must be on; NULL: none */
} console = {"console", "user:console:identifier-", "dn", "up", "height", "width", true, NULL},
  shell = {"shell", "user:local_shell:identifier-", "input", "output", "rows", "cols", false, "local_shell"};

struct session {
	struct nh_cli *c;
	const struct kind *kind;
	const char *device, *topic;
	struct nh_loop *loop;
	struct cli_socket *socket;
	struct nh_signal *signals[7];
	struct nh_timer *opening, *quiet, *limit, *goodbye;
	uint64_t quiet_ms, limit_ms;
	struct cli_escape escape;
	struct nh_buf typed, output; /* typed: bytes, perhaps not yet whole characters */
	struct cli_files files;
	size_t replaced;
	int in_fd, out_fd;
	bool joined, opened, interactive, input_over, leaving, over;
	nh_rc rc;
	struct nh_err *err;
};

/* ---- words to the person ----------------------------------------------------------------------------------------------------- */

/* Texts of others: nothing in them is obeyed by the terminal. */
static void put_plain(struct nh_buf *out, const char *text)
{
	for (; *text; text++) {
		uint8_t byte = (uint8_t)*text;
		nh_buf_put_u8(out, byte < 0x20 || byte == 0x7F ? '?' : byte);
	}
}

/* A line of ours in the middle of what the device prints. */
[[gnu::format(printf, 2, 3)]] static void note(struct session *s, const char *fmt, ...)
{
	NH_AUTO_BUF struct nh_buf text = NH_BUF_INIT, line = NH_BUF_INIT;
	va_list ap;
	va_start(ap, fmt);
	nh_buf_vprintf(&text, fmt, ap);
	va_end(ap);
	nh_buf_truncate(&text, NOTE_MAX);
	put_plain(&line, nh_buf_cstr(&text));
	cli_note(s->c, s->interactive ? "\r\n[%s]\r\n" : "[%s]\n", nh_buf_cstr(&line));
}

static void put_key(struct session *s, struct nh_buf *out)
{
	nh_buf_printf(out, s->escape.key < 0x20 ? "^%c" : "%c", s->escape.key < 0x20 ? s->escape.key + 0x40 : s->escape.key);
}

static void print_help(struct session *s)
{
	NH_AUTO_BUF struct nh_buf key = NH_BUF_INIT;
	put_key(s, &key);
	const char *k = nh_buf_cstr(&key);
	cli_note(s->c, "\r\nAt the beginning of a line:\r\n  %s.   disconnect\r\n  %s^Z  suspend nh\r\n  %s?   this list\r\n  %s%s   send %s\r\n", k, k, k, k, k, k);
}

/* ---- the end ----------------------------------------------------------------------------------------------------------------- */

static void finish(struct session *s, nh_rc rc)
{
	if (!s->over)
		s->rc = rc;
	s->over = true;
}

/* After a polite close; an answer is not waited for long, since it may be a dead connection that the person wants to leave. */
static void leave(struct session *s)
{
	if (s->leaving)
		return;
	s->leaving = true;
	cli_socket_goodbye(s->socket);
	nh_timer_start(s->goodbye, GOODBYE_MS, 0);
}

static void on_goodbye(void *ctx) { finish(ctx, NH_OK); }

static void on_limit(void *ctx)
{
	struct session *s = ctx;
	finish(s, NH_FAIL(s->err, NH_ETIMEOUT, "the %s of %.100s did not come to an end within --timeout", s->kind->name, s->device));
}

static void on_opening_late(void *ctx)
{
	struct session *s = ctx;
	if (!s->joined)
		finish(s, NH_FAIL(s->err, NH_ETIMEOUT, "the server does not answer"));
	else
		finish(s, NH_FAIL(s->err, NH_ETIMEOUT, "the console of %.100s is not open: is the device connected, and does its agent offer one (--console)?", s->device));
}

static void on_quiet(void *ctx) { leave(ctx); }

/* ---- out: what is typed --------------------------------------------------------------------------------------------------------- */

static void tell_size(struct session *s)
{
	int64_t rows = 0, columns = 0;
	if (!s->joined || s->leaving || (!cli_terminal_size(s->out_fd, &rows, &columns) && !cli_terminal_size(s->in_fd, &rows, &columns)))
		return;
	cli_socket_push(s->socket, s->topic, "window_size", json_pack("{s:I, s:I}", s->kind->rows, (json_int_t)rows, s->kind->columns, (json_int_t)columns));
}

static void send_typed(struct session *s)
{
	NH_AUTO_BUF struct nh_buf text = NH_BUF_INIT;
	s->replaced += cli_utf8_take(&s->typed, &text, s->input_over);
	if (text.len)
		cli_socket_push(s->socket, s->topic, s->kind->input, json_pack("{s:o}", "data", nh_json_new_text(nh_buf_slice(&text))));
}

static void enter_raw(struct session *s)
{
	if (s->c->io->in_terminal && !s->over)
		s->interactive = cli_raw_enter(s->in_fd);
	tell_size(s);
}

static void suspend(struct session *s)
{
	cli_raw_leave();
	s->interactive = false;
	raise(SIGSTOP);
	if (s->opened)
		enter_raw(s); /* continued */
}

static void obey(struct session *s, cli_key command)
{
	if (command == CLI_KEY_PLAIN)
		return;
	send_typed(s); /* what came before it */
	if (command == CLI_KEY_END)
		leave(s);
	else if (command == CLI_KEY_HELP)
		print_help(s);
	else
		suspend(s);
}

static void end_input(struct session *s)
{
	s->input_over = true;
	send_typed(s);
	if (s->c->io->in_terminal)
		leave(s); /* it was hung up */
	else
		nh_timer_start(s->quiet, s->quiet_ms, 0);
}

static void read_input(struct session *s)
{
	uint8_t bytes[TYPED_CHUNK];
	ssize_t n = read(s->in_fd, bytes, sizeof bytes);
	if (n < 0 && (errno == EINTR || errno == EAGAIN))
		return;
	for (ssize_t i = 0; i < n && !s->leaving; i++)
		obey(s, cli_escape_feed(&s->escape, bytes[i], &s->typed));
	if (n <= 0)
		end_input(s);
	else if (!s->leaving)
		send_typed(s);
}

/* ---- in: what the device says ---------------------------------------------------------------------------------------------------- */

static void write_output(struct session *s)
{
	size_t len = s->output.len < OUTPUT_CHUNK ? s->output.len : OUTPUT_CHUNK;
	ssize_t n = write(s->out_fd, s->output.ptr, len);
	if (n < 0 && errno != EINTR && errno != EAGAIN) {
		finish(s, errno == EPIPE ? NH_OK : NH_FAIL(s->err, NH_EIO, "cannot write to standard output"));
		return;
	}
	nh_buf_consume(&s->output, n > 0 ? (size_t)n : 0);
	if (s->output.len < OUTPUT_MAX / 2)
		cli_socket_pause(s->socket, false);
}

static void print(struct session *s, nh_slice text)
{
	nh_buf_put_slice(&s->output, text);
	if (s->output.len > OUTPUT_MAX)
		cli_socket_pause(s->socket, true);
	if (s->input_over && !s->c->io->in_terminal && !s->leaving)
		nh_timer_start(s->quiet, s->quiet_ms, 0);
}

static void begin_interaction(struct session *s)
{
	nh_timer_stop(s->opening);
	s->opened = true;
	if (s->c->io->in_terminal) {
		NH_AUTO_BUF struct nh_buf key = NH_BUF_INIT;
		put_key(s, &key);
		if (s->escape.key == CLI_ESCAPE_NONE)
			cli_note(s->c, "Connected to %s.\n", s->device);
		else
			cli_note(s->c, "Connected to %s. %s. disconnects, %s? lists what else there is.\n", s->device, nh_buf_cstr(&key), nh_buf_cstr(&key));
	}
	enter_raw(s);
}

static void pump_files(struct session *s)
{
	bool done = false;
	nh_rc rc = cli_files_pump(&s->files, &done, s->err);
	if (rc != NH_OK)
		finish(s, rc);
	else if (done)
		begin_interaction(s);
}

static void on_settled(void *ctx)
{
	struct session *s = ctx;
	if (!s->over && !s->leaving)
		pump_files(s);
}

/* The device's side is there. Files need a console that knows what they are. */
static void on_metadata(struct session *s, nh_slice version)
{
	nh_slice major, rest;
	uint64_t number = 0;
	nh_slice_cut(version, '.', &major, &rest);
	if (s->opened || s->files.from || s->files.next)
		return; /* it came again */
	nh_timer_stop(s->opening);
	if (s->files.uploads->count && (nh_parse_u64(major, 0, UINT32_MAX, &number) != NH_OK || number < 2))
		finish(s, NH_FAIL(s->err, NH_EUNSUPPORTED, "the console of %.100s (version %.*s) takes no files", s->device, (int)(version.len < 20 ? version.len : 20), (const char *)version.ptr));
	else
		pump_files(s);
}

static void on_event(void *ctx, nh_slice topic, nh_slice event, const json_t *payload)
{
	struct session *s = ctx;
	const char *text = NULL;
	if (nh_slice_eq_str(event, s->kind->output))
		print(s, nh_json_text(payload, "data"));
	else if (nh_slice_eq_str(event, "metadata") && s->kind->announced)
		on_metadata(s, nh_json_text(payload, "version"));
	else if (nh_slice_eq_str(event, "message"))
		note(s, "%s: %s", cli_get(payload, "name"), cli_get(payload, "event"));
	else if (cli_files_event(&s->files, event, payload, &text) && text)
		note(s, "%s", text);
}

/* ---- the socket ------------------------------------------------------------------------------------------------------------------ */

static void on_open(void *ctx)
{
	struct session *s = ctx;
	cli_socket_join(s->socket, s->topic);
}

static void on_join(void *ctx, nh_slice topic, const char *reason)
{
	struct session *s = ctx;
	if (reason && nh_slice_eq_str(NH_LIT("unauthorized"), reason))
		finish(s, NH_FAIL(s->err, NH_EPERM, "you may not open the %s of %.100s: it takes the role manage in its organization", s->kind->name, s->device));
	else if (reason)
		finish(s, NH_FAIL(s->err, NH_EPERM, "the server does not open the %s of %.100s: %.200s", s->kind->name, s->device, reason));
	if (reason)
		return;
	s->joined = true;
	/* People see what there is, or that there is nothing; a pipe has nobody who would see. */
	if (!s->kind->announced || (s->c->io->in_terminal && s->files.uploads->count == 0))
		begin_interaction(s);
}

static void lost(struct session *s)
{
	s->c->status = STATUS_LOST;
	finish(s, NH_EIO);
}

static void on_left(void *ctx, nh_slice topic)
{
	struct session *s = ctx;
	if (s->leaving || !s->joined)
		return; /* on_join says why */
	lost(s);
	NH_IGNORE(NH_FAIL(s->err, NH_EIO, "the server ended the session: the device was deleted, or your role was changed"));
}

static void on_end(void *ctx, const struct nh_err *why)
{
	struct session *s = ctx;
	if (s->leaving) {
		finish(s, NH_OK);
		return;
	}
	if (!s->over)
		*s->err = *why;
	if (s->joined)
		lost(s);
	finish(s, why->rc == NH_ECLOSED ? NH_EIO : why->rc);
}

/* ---- signals ---------------------------------------------------------------------------------------------------------------------- */

static void on_deadly(struct session *s, int number)
{
	s->c->status = 128 + number; /* as shells report it */
	finish(s, NH_ECLOSED);
}

static void on_int(void *ctx) { on_deadly(ctx, SIGINT); }
static void on_term(void *ctx) { on_deadly(ctx, SIGTERM); }
static void on_hup(void *ctx) { on_deadly(ctx, SIGHUP); }
static void on_quit(void *ctx) { on_deadly(ctx, SIGQUIT); }
static void on_resize(void *ctx) { tell_size(ctx); }
static void on_stop(void *ctx) { suspend(ctx); }
static void on_pipe(void *ctx) {} /* write says so */

static const struct {
	int number;
	nh_loop_fn fn;
} signals[] = {{SIGINT, on_int}, {SIGTERM, on_term}, {SIGHUP, on_hup}, {SIGQUIT, on_quit}, {SIGWINCH, on_resize}, {SIGTSTP, on_stop}, {SIGPIPE, on_pipe}};

/* ---- the session ------------------------------------------------------------------------------------------------------------------ */

static nh_rc duration(struct session *s, const char *flag, uint64_t fallback, uint64_t *out)
{
	const char *text = cli_text(s->c, flag);
	*out = fallback;
	if (text && nh_parse_duration_ms(nh_slice_str(text), DURATION_MAX_MS, out) != NH_OK)
		return NH_FAIL(s->err, NH_EINVAL, "--%s needs a duration as 500ms, 2s or 5m, not '%.40s'", flag, text);
	return NH_OK;
}

/* Why it would not work, in words that the socket has not. */
static nh_rc look_at_device(struct session *s)
{
	struct nh_cli *c = s->c;
	NH_AUTO_JSON json_t *answer = NULL;
	NH_AUTO_JSON json_t *of_product = NULL;
	NH_TRY_CTX(cli_api(c, &(struct cli_request){"GET", cli_route(c, "devices", s->device, NULL)}, &answer, s->err), s->err, "device %.100s", s->device);
	const json_t *device = json_object_get(answer, "data");
	bool on = nh_json_bool(json_object_get(device, "extensions"), s->kind->extension ? s->kind->extension : "", true);
	if (!on)
		return NH_FAIL(s->err, NH_EPERM, "the %s is switched off for device %.100s (extension %s)", s->kind->name, s->device, s->kind->extension);
	const char *org = cli_get(device, "org_name"), *product = cli_get(device, "product_name");
	if (s->kind->extension && *org && *product) {
		NH_TRY(cli_api(c, &(struct cli_request){"GET", cli_route(c, "orgs", org, "products", product, NULL)}, &of_product, s->err));
		if (!nh_json_bool(json_object_get(json_object_get(of_product, "data"), "extensions"), s->kind->extension, true))
			return NH_FAIL(s->err, NH_EPERM, "the %s is switched off for product %.100s (extension %s)", s->kind->name, product, s->kind->extension);
	}
	const char *status = cli_get(device, "connection_status");
	if (*status && !nh_slice_eq_str(NH_LIT("connected"), status) && !cli_on(c, "wait"))
		return NH_FAIL(s->err, NH_EIO, "device %.100s is not connected (last seen: %s); --wait waits for it", s->device, cli_dash(cli_get(device, "last_communication")));
	return NH_OK;
}

static nh_rc prepare(struct session *s, const struct nh_option_list *no_uploads)
{
	struct nh_cli *c = s->c;
	bool files = s->kind->announced;
	s->topic = nh_arena_printf(&c->arena, "%s%s", s->kind->prefix, s->device);
	s->files = (struct cli_files){.c = c, .topic = s->topic, .uploads = files ? cli_list(c, "upload") : no_uploads, .download_dir = files ? cli_text(c, "download") : NULL};
	NH_TRY(cli_escape_parse(cli_text(c, "escape"), &s->escape, s->err));
	if (!c->io->in_terminal)
		s->escape.key = CLI_ESCAPE_NONE;
	NH_TRY(duration(s, "quiet", QUIET_MS, &s->quiet_ms));
	NH_TRY(duration(s, "timeout", 0, &s->limit_ms));
	NH_TRY(cli_files_check(c, s->files.uploads, s->files.download_dir, s->err));
	return look_at_device(s);
}

static nh_rc open_all(struct session *s)
{
	struct cli_socket_events events = {.on_open = on_open, .on_join = on_join, .on_event = on_event, .on_left = on_left, .on_settled = on_settled, .on_end = on_end, .ctx = s};
	s->opening = nh_timer_new(s->loop, on_opening_late, s);
	s->quiet = nh_timer_new(s->loop, on_quiet, s);
	s->limit = nh_timer_new(s->loop, on_limit, s);
	s->goodbye = nh_timer_new(s->loop, on_goodbye, s);
	for (size_t i = 0; i < NH_ARRAY_LEN(signals); i++)
		NH_TRY(nh_signal_open(s->loop, signals[i].number, signals[i].fn, s, &s->signals[i], s->err));
	NH_TRY(cli_socket_open(s->c, s->loop, CLI_SOCKET_API, &events, &s->socket, s->err));
	s->files.socket = s->socket;
	if (!cli_on(s->c, "wait"))
		nh_timer_start(s->opening, OPENING_MS, 0);
	if (s->limit_ms)
		nh_timer_start(s->limit, s->limit_ms, 0);
	return NH_OK;
}

static void close_all(struct session *s)
{
	struct nh_timer *timers[] = {s->opening, s->quiet, s->limit, s->goodbye};
	cli_files_close(&s->files);
	cli_socket_close(s->socket);
	for (size_t i = 0; i < NH_ARRAY_LEN(timers); i++)
		nh_timer_close(timers[i]);
	for (size_t i = 0; i < NH_ARRAY_LEN(s->signals); i++)
		nh_signal_close(s->signals[i]);
	nh_loop_free(s->loop);
	nh_buf_fini(&s->typed);
	nh_buf_fini(&s->output);
}

/* What was printed to the end is shown, unless nobody takes it. */
static void run(struct session *s)
{
	while (!s->over) {
		bool typing = s->opened && !s->input_over && !s->leaving && cli_socket_unsent(s->socket) < UNSENT_MAX;
		struct pollfd ready[] = {{.fd = nh_loop_fd(s->loop), .events = POLLIN}, {.fd = typing ? s->in_fd : -1, .events = POLLIN}, {.fd = s->output.len ? s->out_fd : -1, .events = POLLOUT}};
		if (poll(ready, NH_ARRAY_LEN(ready), nh_loop_timeout_ms(s->loop)) < 0)
			ready[1].revents = ready[2].revents = 0; /* a signal: the loop has it */
		if (ready[2].revents)
			write_output(s);
		if (ready[1].revents && !s->over)
			read_input(s);
		nh_loop_turn(s->loop);
	}
	while (s->output.len && poll(&(struct pollfd){.fd = s->out_fd, .events = POLLOUT}, 1, GOODBYE_MS) > 0) {
		ssize_t n = write(s->out_fd, s->output.ptr, s->output.len < OUTPUT_CHUNK ? s->output.len : OUTPUT_CHUNK);
		if (n <= 0)
			break;
		nh_buf_consume(&s->output, (size_t)n);
	}
}

static nh_rc run_session(struct nh_cli *c, const struct kind *kind, struct nh_err *err)
{
	static const struct nh_option_list no_uploads;
	struct nh_err none = NH_ERR_INIT;
	struct session s = {.c = c, .kind = kind, .device = c->args[0], .in_fd = fileno(c->io->in), .out_fd = fileno(c->io->out), .err = err ? err : &none};
	NH_TRY(prepare(&s, &no_uploads));
	NH_TRY(nh_loop_new(NULL, &s.loop, err));
	nh_rc rc = open_all(&s);
	if (rc == NH_OK) {
		run(&s);
		rc = s.rc;
	}
	bool told = s.opened && c->io->in_terminal;
	cli_raw_leave();
	if (told)
		cli_note(c, "\nDisconnected from %s\n", s.device);
	if (s.replaced)
		cli_note(c, "%zu bytes of the input were no UTF-8 and were replaced: consoles carry text\n", s.replaced);
	close_all(&s);
	return rc;
}

nh_rc cli_run_console(struct nh_cli *c, struct nh_err *err) { return run_session(c, &console, err); }
nh_rc cli_run_shell(struct nh_cli *c, struct nh_err *err) { return run_session(c, &shell, err); }

#define SESSION_FLAGS                                                                                                            \
	{"escape", 0, CLI_TEXT, "CHARACTER", "escape character (default ~; ^] for Control-]), or none"},                         \
	{"wait", 0, CLI_FLAG, NULL, "wait for a device that is not connected"},                                                  \
	{"quiet", 0, CLI_TEXT, "DURATION", "after the end of piped input: over when nothing was printed for so long (default 1s)"}, \
	{"timeout", 0, CLI_TEXT, "DURATION", "give up after so long"}

const struct cli_flag cli_console_flags[] = {SESSION_FLAGS,
					     {"upload", 0, CLI_LIST, "FILE", "first send this file to the device; repeatable"},
					     {"download", 0, CLI_TEXT, "DIR", "keep files that the device sends"},
					     {NULL}};
const struct cli_flag cli_shell_flags[] = {SESSION_FLAGS, {NULL}};
