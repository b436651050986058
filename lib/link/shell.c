/*
 * The local_shell extension: one shell, started when the server asks. source: reference/device-protocol "12.4"
 */
#include <signal.h>

#include "extras_int.h"

void shell_attached(struct nh_link *l) { terminal_online(&l->extras->shell); }

void shell_detached(struct nh_link *l, bool lost)
{
	if (lost)
		terminal_offline(&l->extras->shell);
	else
		terminal_stop(&l->extras->shell);
}

void shell_ended(struct nh_link *l, const struct program_end *end)
{
	extensions_push(l, "local_shell:shell_exited", json_pack("{s:i}", "exit_code", end->status));
	link_event_text(l, NH_LINK_CONSOLE, "local shell: shell ended");
}

static void on_request(struct nh_link *l, const json_t *payload)
{
	struct terminal *t = &l->extras->shell;
	struct nh_err err = NH_ERR_INIT;
	if (t->program)
		return;
	if (terminal_start(t, &err) != NH_OK) {
		extensions_push(l, "local_shell:request_status", json_pack("{s:s, s:o}", "status", "failed", "reason", nh_json_new_text(nh_slice_str(err.msg))));
		link_event_text(l, NH_LINK_ERROR, err.msg);
		return;
	}
	extensions_push(l, "local_shell:request_status", json_pack("{s:s}", "status", "started"));
	link_event_text(l, NH_LINK_CONSOLE, "local shell: shell started");
}

static void on_input(struct nh_link *l, const json_t *payload) { terminal_input(&l->extras->shell, nh_json_text(payload, "data")); }

static void on_size(struct nh_link *l, const json_t *payload) { terminal_size(&l->extras->shell, nh_json_int(payload, "rows", 0), nh_json_int(payload, "cols", 0)); }

static void on_kill(struct nh_link *l, const json_t *payload)
{
	int64_t number = nh_json_int(payload, "signal", SIGTERM);
	if (l->extras->shell.program && number >= 1 && number < NSIG)
		program_signal(l->extras->shell.program, (int)number);
}

void shell_event(struct nh_link *l, nh_slice event, const json_t *payload)
{
	static const struct {
		const char *event;
		void (*handle)(struct nh_link *l, const json_t *payload);
	} rows[] = {{"request_shell", on_request}, {"shell_input", on_input}, {"window_size", on_size}, {"kill_shell", on_kill}};
	for (size_t i = 0; i < NH_ARRAY_LEN(rows); i++)
		if (nh_slice_eq_str(event, rows[i].event))
			rows[i].handle(l, payload);
}
