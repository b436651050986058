/*
 * The steered load: one command a line on standard input, one JSON line on standard output when it is done, in order. Commands that come while one runs
 * wait. An unknown command is answered with an error and changes nothing.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

#include "base/arena.h"
#include "base/encode.h"
#include "commands.h"

#define LINE_MAX_BYTES ((size_t)4096)
#define WORDS_MAX 4

struct steer {
	struct nh_loop *loop;
	struct nh_load *load;
	struct nh_watch *watch;
	struct nh_buf in;
	char running[16]; /* name of the command under way */
	bool ended;
};

/* ---- answers -------------------------------------------------------------------------------------------------------------------- */

static json_t *latency_json(const struct nh_load_latency *l)
{
	return json_pack("{s:I, s:I, s:I, s:I, s:I}", "count", (json_int_t)l->count, "p50_us", (json_int_t)l->p50_us, "p90_us", (json_int_t)l->p90_us, "p99_us",
			 (json_int_t)l->p99_us, "max_us", (json_int_t)l->max_us);
}

json_t *load_report_json(const struct nh_load_report *r)
{
	const struct {
		const char *name;
		uint64_t value;
	} numbers[] = {
		{"wanted", r->wanted}, {"connected", r->connected}, {"joined", r->joined}, {"connects", r->connects}, {"joins", r->joins}, {"heartbeats", r->heartbeats},
		{"pushes", r->pushes}, {"failures", r->failures}, {"lost", r->lost}, {"unanswered", r->unanswered}, {"task_us", r->task_us}, {"ended_mono_us", r->ended_mono_us},
	};
	json_t *out = json_object();
	for (size_t i = 0; i < NH_ARRAY_LEN(numbers); i++)
		json_object_set_new(out, numbers[i].name, json_integer((json_int_t)numbers[i].value));
	json_object_set_new(out, "connect", latency_json(&r->connect));
	json_object_set_new(out, "join", latency_json(&r->join));
	json_object_set_new(out, "heartbeat", latency_json(&r->beat));
	json_object_set_new(out, "last_error", r->last_error[0] ? nh_json_new_text(nh_slice_str(r->last_error)) : json_null());
	return out;
}

static void print_line(json_t *take_value)
{
	NH_AUTO_BUF struct nh_buf line = NH_BUF_INIT;
	nh_json_put(&line, take_value);
	json_decref(take_value);
	nh_buf_put_u8(&line, '\n');
	fwrite(line.ptr, 1, line.len, stdout);
	fflush(stdout);
}

static void answer(struct steer *s)
{
	struct nh_load_report report;
	nh_load_report(s->load, &report);
	json_t *line = load_report_json(&report);
	json_object_set_new(line, "done", json_string(s->running));
	print_line(line);
}

static void complain(nh_slice command, const char *expected)
{
	print_line(json_pack("{s:o, s:s}", "error", nh_json_new_text(command), "expected", expected));
}

/* ---- commands ------------------------------------------------------------------------------------------------------------------- */

struct call {
	struct nh_load *load;
	nh_slice words[WORDS_MAX];
	size_t count;
};

static bool number(const struct call *c, size_t word, uint64_t min, uint64_t fallback, uint64_t *out)
{
	*out = fallback;
	return c->count <= word || nh_parse_u64(c->words[word], min, 1000000000, out) == NH_OK;
}

static bool do_connect(const struct call *c)
{
	uint64_t devices, at_once;
	if (c->count < 2 || !number(c, 1, 1, 0, &devices) || !number(c, 2, 0, 64, &at_once))
		return false;
	nh_load_connect(c->load, devices, at_once, false);
	return true;
}

static bool do_online(const struct call *c)
{
	uint64_t devices, at_once;
	if (c->count < 2 || !number(c, 1, 1, 0, &devices) || !number(c, 2, 0, 64, &at_once))
		return false;
	nh_load_connect(c->load, devices, at_once, true);
	return true;
}

static bool do_join(const struct call *c)
{
	nh_load_join(c->load);
	return true;
}

static bool do_heartbeat(const struct call *c)
{
	uint64_t rate, ms;
	nh_slice per = nh_slice_sub(c->words[1], 0, c->words[1].len - (nh_slice_ends(c->words[1], NH_LIT("/s")) ? 2 : 0));
	if (c->count < 3 || nh_parse_u64(per, 1, 1000000, &rate) != NH_OK || nh_parse_duration_ms(c->words[2], 86400000, &ms) != NH_OK)
		return false;
	nh_load_heartbeat(c->load, rate, ms);
	return true;
}

static bool do_receive(const struct call *c)
{
	uint64_t messages;
	if (c->count < 2 || !number(c, 1, 0, 0, &messages))
		return false;
	nh_load_receive(c->load, messages);
	return true;
}

static bool do_drop(const struct call *c)
{
	nh_load_drop(c->load);
	return true;
}

static bool do_reconnect(const struct call *c)
{
	uint64_t at_once;
	struct nh_load_report r;
	nh_load_report(c->load, &r);
	if (r.wanted == 0 || !number(c, 1, 0, 0, &at_once))
		return false;
	nh_load_drop(c->load);
	nh_load_connect(c->load, r.wanted, at_once, true);
	return true;
}

static bool do_report(const struct call *c) { return true; }

static const struct {
	const char *name, *form;
	bool (*run)(const struct call *c); /* false: not of this form */
} verbs[] = {
	{"connect", "connect DEVICES [AT-ONCE]: sockets without a join; 64 attempts at once, 0 = all", do_connect},
	{"online", "online DEVICES [AT-ONCE]: sockets, and each joins", do_online},
	{"join", "join: everybody who has a socket", do_join},
	{"heartbeat", "heartbeat RATE[/s] TIME", do_heartbeat},
	{"receive", "receive MESSAGES: wait for pushes; 0 forgets those that came", do_receive},
	{"drop", "drop: every socket at once", do_drop},
	{"reconnect", "reconnect [AT-ONCE]: drop, then online, all at once; needs devices that were online", do_reconnect},
	{"report", "report", do_report},
};

static void run_line(struct steer *s, nh_slice line)
{
	struct call c = {.load = s->load};
	nh_slice rest = nh_slice_trim(line);
	while (rest.len && c.count < WORDS_MAX) {
		nh_slice_cut(rest, ' ', &c.words[c.count++], &rest);
		rest = nh_slice_trim(rest);
	}
	if (c.count == 0)
		return;
	if (nh_slice_eq_str(c.words[0], "quit")) {
		nh_loop_stop(s->loop);
		return;
	}
	for (size_t i = 0; i < NH_ARRAY_LEN(verbs); i++) {
		if (!nh_slice_eq_str(c.words[0], verbs[i].name))
			continue;
		snprintf(s->running, sizeof s->running, "%s", verbs[i].name);
		if (rest.len || !verbs[i].run(&c))
			complain(line, verbs[i].form);
		else if (!nh_load_busy(s->load))
			answer(s);
		return;
	}
	complain(line, "connect, online, join, heartbeat, receive, drop, reconnect, report or quit");
}

static void run_lines(struct steer *s)
{
	nh_slice line, rest;
	while (!nh_load_busy(s->load) && nh_slice_cut(nh_buf_slice(&s->in), '\n', &line, &rest)) {
		NH_AUTO_ARENA struct nh_arena arena = NH_ARENA_INIT;
		line = nh_arena_copy(&arena, line);
		nh_buf_consume(&s->in, line.len + 1);
		run_line(s, line);
	}
	if (s->ended && !nh_load_busy(s->load))
		nh_loop_stop(s->loop);
}

static void on_done(void *ctx)
{
	answer(ctx);
	run_lines(ctx);
}

static void on_input(void *arg, unsigned events)
{
	struct steer *s = arg;
	char bytes[1024];
	ssize_t got = read(STDIN_FILENO, bytes, sizeof bytes);
	if (got > 0) {
		nh_buf_put(&s->in, bytes, (size_t)got);
	} else if (got == 0 || errno != EAGAIN) {
		s->ended = true;
		nh_watch_set(s->watch, 0);
	}
	if (!nh_buf_ok(&s->in)) {
		complain(NH_LIT("(line)"), "lines of at most 4096 bytes");
		nh_buf_clear(&s->in);
	}
	run_lines(s);
}

nh_rc load_steer(struct nh_loop *loop, const struct nh_load_config *config, struct nh_err *err)
{
	struct steer s = {.loop = loop, .in = NH_BUF_MAX(LINE_MAX_BYTES)};
	struct nh_load_config own = *config;
	own.on_done = on_done;
	own.ctx = &s;
	NH_TRY(nh_load_new(&own, &s.load, err));
	nh_rc rc = NH_OK;
	if (fcntl(STDIN_FILENO, F_SETFL, O_NONBLOCK) != 0)
		rc = NH_FAIL(err, NH_EIO, "standard input cannot be watched");
	if (rc == NH_OK)
		rc = nh_watch_open(loop, STDIN_FILENO, on_input, &s, &s.watch, err);
	if (rc == NH_OK) {
		print_line(json_pack("{s:I}", "ready", (json_int_t)config->count));
		nh_watch_set(s.watch, NH_READABLE);
		nh_loop_run(loop);
	}
	nh_watch_close(s.watch);
	nh_load_free(s.load);
	nh_buf_fini(&s.in);
	return rc;
}
