/*
 * A shell that somebody far away types into. Output goes out in messages of whole characters; while much of it waits for the socket, or nobody is connected, the terminal is not read, so
 * that the shell itself has to wait and nothing grows. It outlives a short loss of the connection: whoever restarts the network from the console wants to see how it ended.
 */
#include <stdlib.h>

#include "extras_int.h"

#define PENDING_MAX ((size_t)64 << 10) /* bytes waiting for the socket */
#define FLOW_POLL_MS 20
#define SIDE_MAX 1000

/* Bytes that a character beginning with this one has. 0: none does. */
static unsigned length_of(uint8_t first) { return first < 0x80 ? 1 : first < 0xc2 ? 0 : first < 0xe0 ? 2 : first < 0xf0 ? 3 : first < 0xf5 ? 4 : 0; }

size_t terminal_whole(nh_slice bytes)
{
	for (size_t back = 1; back <= 3 && back <= bytes.len; back++) {
		uint8_t b = bytes.ptr[bytes.len - back];
		if ((b & 0xc0) == 0x80)
			continue;
		return length_of(b) > back ? bytes.len - back : bytes.len;
	}
	return bytes.len;
}

static void send_output(struct terminal *t, nh_slice text)
{
	if (text.len > 0)
		topic_push_json(t->link, t->topic, t->event, json_pack("{s:o}", "data", nh_json_new_text(text)));
}

static bool crowded(const struct terminal *t) { return t->link->ws && nh_ws_client_pending(t->link->ws) > PENDING_MAX; }

static void on_output(void *ctx, nh_slice bytes)
{
	struct terminal *t = ctx;
	t->active_ms = nh_loop_now_ms(t->link->loop);
	nh_buf_put_slice(&t->held, bytes);
	size_t whole = terminal_whole(nh_buf_slice(&t->held));
	send_output(t, nh_slice_sub(nh_buf_slice(&t->held), 0, whole));
	nh_buf_consume(&t->held, whole);
	if (t->program && crowded(t)) {
		program_read(t->program, false);
		nh_timer_start(t->flow, FLOW_POLL_MS, FLOW_POLL_MS);
	}
}

static void on_flow(void *arg)
{
	struct terminal *t = arg;
	if (crowded(t))
		return;
	nh_timer_stop(t->flow);
	if (t->program && t->link->topics[t->topic].joined)
		program_read(t->program, true);
}

static void on_linger(void *arg) { terminal_stop(arg); }

static void on_end(void *ctx, const struct program_end *end)
{
	struct terminal *t = ctx;
	send_output(t, nh_buf_slice(&t->held));
	nh_buf_fini(&t->held);
	t->program = NULL;
	t->ended(t->link, end);
}

void terminal_init(struct terminal *t, struct nh_link *l, link_topic_id topic, const char *event, void (*ended)(struct nh_link *l, const struct program_end *end))
{
	*t = (struct terminal){.link = l, .topic = topic, .event = event, .ended = ended};
	t->flow = nh_timer_new(l->loop, on_flow, t);
	t->linger = nh_timer_new(l->loop, on_linger, t);
}

void terminal_close(struct terminal *t)
{
	program_stop(t->program);
	t->program = NULL;
	nh_timer_close(t->flow);
	nh_timer_close(t->linger);
	nh_buf_fini(&t->held);
}

nh_rc terminal_start(struct terminal *t, struct nh_err *err)
{
	const struct nh_link_extensions *k = &t->link->extras->config;
	const char *shell = getenv("SHELL");
	const char *argv[] = {shell && shell[0] == '/' ? shell : "/bin/sh", NULL};
	struct program_config config = {
		.argv = k->shell_argv ? k->shell_argv : argv,
		.login = !k->shell_argv,
		.terminal = true,
		.rows = t->rows,
		.columns = t->columns,
		.on_output = on_output,
		.on_end = on_end,
		.ctx = t,
	};
	if (t->program)
		return NH_OK;
	t->active_ms = nh_loop_now_ms(t->link->loop);
	return program_start(&t->link->extras->programs, &config, &t->program, err);
}

void terminal_stop(struct terminal *t)
{
	program_stop(t->program);
	t->program = NULL;
	nh_timer_stop(t->flow);
	nh_timer_stop(t->linger);
	nh_buf_fini(&t->held);
}

void terminal_input(struct terminal *t, nh_slice text)
{
	t->active_ms = nh_loop_now_ms(t->link->loop);
	if (t->program)
		program_write(t->program, text);
}

void terminal_size(struct terminal *t, int64_t rows, int64_t columns)
{
	if (rows < 1 || rows > SIDE_MAX || columns < 1 || columns > SIDE_MAX)
		return;
	t->rows = (unsigned)rows;
	t->columns = (unsigned)columns;
	if (t->program)
		program_resize(t->program, t->rows, t->columns);
}

void terminal_offline(struct terminal *t)
{
	if (!t->program || t->link->closing)
		return;
	program_read(t->program, false);
	nh_timer_stop(t->flow);
	nh_timer_start(t->linger, t->link->extras->config.linger_ms, 0);
}

void terminal_online(struct terminal *t)
{
	nh_timer_stop(t->linger);
	if (t->program && !nh_timer_active(t->flow))
		program_read(t->program, true);
}
