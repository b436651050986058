/*
 * The console channel: one shell for whoever looks at this device's console. It is started by the first message, ended when nothing was typed or printed for five minutes, and started anew
 * by the next message, also after it ended by itself: a shell that cannot run would otherwise be started for ever. source: reference/device-protocol "11"
 */
#include <stdio.h>

#include "extras_int.h"

#define IDLE_BANNER "\r\n****** Session timeout due to inactivity. Press any key to continue ******\r\n"
#define RESTART_BANNER "\r\n*** Restarting the shell ***\r\n"

void console_begin(struct nh_link *l)
{
	NH_AUTO_JSON json_t *payload =
		json_pack("{s:s, s:s}", "console_version", l->extras->config.files_directory ? "2.0.0" : "1.0.0", "device_api_version", l->config.device_api_version);
	topic_join(l, LINK_CONSOLE, payload);
}

void console_joined(struct nh_link *l, const json_t *response) { terminal_online(&l->extras->console); }

void console_left(struct nh_link *l)
{
	terminal_offline(&l->extras->console);
	files_forget(l);
}

void console_say(struct nh_link *l, const char *text) { topic_push_json(l, LINK_CONSOLE, "up", json_pack("{s:o}", "data", nh_json_new_text(nh_slice_str(text)))); }

static void start(struct nh_link *l)
{
	struct link_extras *x = l->extras;
	struct nh_err err = NH_ERR_INIT;
	char text[600];
	if (x->console.program)
		return;
	if (terminal_start(&x->console, &err) != NH_OK) {
		snprintf(text, sizeof text, "\r\n*** %s ***\r\n", err.msg);
		console_say(l, text);
		link_event_text(l, NH_LINK_ERROR, err.msg);
		return;
	}
	nh_timer_start(x->console_idle, x->config.console_idle_ms, 0);
	link_event_text(l, NH_LINK_CONSOLE, "console: shell started");
}

void console_ended(struct nh_link *l, const struct program_end *end)
{
	char text[160];
	nh_timer_stop(l->extras->console_idle);
	snprintf(text, sizeof text, "\r\n****** The shell ended with status %d. Press any key to start another ******\r\n", end->status);
	console_say(l, text);
	link_event_text(l, NH_LINK_CONSOLE, "console: shell ended");
}

void console_on_idle(void *arg)
{
	struct nh_link *l = arg;
	struct link_extras *x = l->extras;
	uint64_t quiet_ms = nh_loop_now_ms(l->loop) - x->console.active_ms;
	if (!x->console.program)
		return;
	if (quiet_ms < x->config.console_idle_ms) {
		nh_timer_start(x->console_idle, x->config.console_idle_ms - quiet_ms, 0);
		return;
	}
	terminal_stop(&x->console);
	console_say(l, IDLE_BANNER);
	link_event_text(l, NH_LINK_CONSOLE, "console: shell ended, nobody used it");
}

static void on_input(struct nh_link *l, const json_t *payload)
{
	start(l);
	terminal_input(&l->extras->console, nh_json_text(payload, "data"));
}

static void on_size(struct nh_link *l, const json_t *payload)
{
	terminal_size(&l->extras->console, nh_json_int(payload, "height", 0), nh_json_int(payload, "width", 0));
	start(l);
}

static void on_restart(struct nh_link *l, const json_t *payload)
{
	console_say(l, RESTART_BANNER);
	terminal_stop(&l->extras->console);
	start(l);
}

void console_event(struct nh_link *l, nh_slice event, const json_t *payload)
{
	static const struct {
		const char *event;
		void (*handle)(struct nh_link *l, const json_t *payload);
	} rows[] = {{"dn", on_input}, {"window_size", on_size}, {"restart", on_restart}};
	if (files_event(l, event, payload))
		return;
	for (size_t i = 0; i < NH_ARRAY_LEN(rows); i++)
		if (nh_slice_eq_str(event, rows[i].event))
			rows[i].handle(l, payload);
}
