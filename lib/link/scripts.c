/*
 * Support scripts: text from the server, run by the owner's interpreter under limits of time and output. A script that ended by itself with status 0 is completed; another status, a limit, or
 * no interpreter is an error. What it printed comes back in any case. source: reference/device-protocol "8.5", "9.4"
 */
#include <stdio.h>

#include "extras_int.h"

#define TIMEOUT_MS 10000
#define TIMEOUT_MAX_MS 600000

/* reason NULL = completed. */
static void answer(struct nh_link *l, const char *ref, const char *reason, nh_slice output, const char *what_came_back)
{
	char text[200];
	json_t *p = json_pack("{s:s, s:s, s:o, s:s}", "ref", ref, "result", reason ? "error" : "completed", "output", nh_json_new_text(output), "return", what_came_back);
	if (reason)
		json_object_set_new(p, "reason", json_string(reason));
	channel_push_json(l, "scripts/run", p);
	snprintf(text, sizeof text, "%s: %s", ref, reason ? reason : "completed");
	link_event_text(l, NH_LINK_SCRIPT, text);
}

static void on_end(void *ctx, const struct program_end *end)
{
	struct script *s = ctx;
	struct nh_link *l = s->link;
	char status[16], failed[48];
	const char *reason = NULL;
	NH_AUTO_BUF struct nh_buf output = NH_BUF_INIT;
	snprintf(status, sizeof status, "%d", end->status);
	snprintf(failed, sizeof failed, "exit status %s", status);
	nh_buf_put_slice(&output, end->output);
	if (end->rc == NH_ETIMEOUT) {
		reason = "timeout";
		nh_buf_put_str(&output, "\nError running script: timeout exceeded");
	} else if (end->rc == NH_ETOOBIG) {
		reason = "output limit";
		nh_buf_put_str(&output, "\nError running script: too much output");
	} else if (end->status != 0) {
		reason = failed;
	}
	s->program = NULL;
	answer(l, s->ref, reason, nh_buf_slice(&output), end->rc == NH_OK ? status : "");
}

static nh_rc start(struct nh_link *l, struct script *s, nh_slice text, uint64_t timeout_ms, struct nh_err *err)
{
	const char *const *given = l->extras->config.script_argv;
	const char *argv[16] = {"/bin/sh"};
	size_t count = 1;
	for (size_t i = 0; given && given[i] && i + 2 < NH_ARRAY_LEN(argv); i++) {
		argv[i] = given[i];
		count = i + 1;
	}
	argv[count] = PROGRAM_TEXT;
	argv[count + 1] = NULL;
	struct program_config config = {.argv = argv, .text = text, .errors_too = true, .timeout_ms = timeout_ms, .on_end = on_end, .ctx = s};
	return program_start(&l->extras->programs, &config, &s->program, err);
}

static struct script *free_place(struct link_extras *x)
{
	for (size_t i = 0; i < SCRIPTS_AT_ONCE; i++)
		if (!x->scripts[i].program)
			return &x->scripts[i];
	return NULL;
}

/* Without a ref nobody could tell whose answer it is; no text is nothing to do. */
void scripts_event(struct nh_link *l, const json_t *payload)
{
	nh_slice ref = nh_json_text(payload, "ref"), text = nh_json_text(payload, "text");
	int64_t timeout_ms = nh_json_int(payload, "timeout", TIMEOUT_MS);
	struct nh_err err = NH_ERR_INIT;
	char name[SCRIPT_REF_MAX];
	if (ref.len == 0 || ref.len >= sizeof name || text.len == 0)
		return;
	snprintf(name, sizeof name, "%.*s", NH_ARG(ref));
	if (!l->extras || !l->extras->config.scripts) {
		answer(l, name, "switched off", NH_LIT("This device's owner has not allowed scripts."), "");
		return;
	}
	struct script *s = free_place(l->extras);
	if (!s) {
		answer(l, name, "busy", NH_LIT("Error running script: too many at once"), "");
		return;
	}
	s->link = l;
	memcpy(s->ref, name, sizeof name);
	if (start(l, s, text, timeout_ms < 1 || timeout_ms > TIMEOUT_MAX_MS ? TIMEOUT_MS : (uint64_t)timeout_ms, &err) != NH_OK)
		answer(l, name, "not started", nh_slice_str(err.msg), "");
}
