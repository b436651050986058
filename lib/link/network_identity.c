/*
 * The network_identity extension: who the device is in overlay networks, as a program of the owner says. Asked when the server asks, and regularly; sent on a request, and else only where it
 * changed. What an identity must hold is the server's business; here only that it is a list of at most ten objects. source: reference/device-protocol "12.6"
 */
#include <stdlib.h>

#include "extras_int.h"

#define COMMAND_MS 30000
#define ANSWER_MAX ((size_t)48 << 10)
#define IDENTITIES_MAX 10

static void send_report(struct nh_link *l, const json_t *list)
{
	NH_AUTO_JSON json_t *report = json_object();
	json_t *kept = json_array();
	const json_t *item;
	size_t i;
	NH_AUTO_BUF struct nh_buf text = NH_BUF_INIT;
	json_array_foreach (list, i, item)
		if (json_is_object(item) && json_array_size(kept) < IDENTITIES_MAX)
			json_array_append(kept, (json_t *)(uintptr_t)item);
	json_object_set_new(report, "identities", kept);
	nh_json_put(&text, report);
	bool changed = !l->extras->identities || !nh_slice_eq_str(nh_buf_slice(&text), l->extras->identities);
	if ((changed || l->extras->identity_asked) && topic_push(l, LINK_EXTENSIONS, "network_identity:report", report, NULL)) {
		link_set_text(&l->extras->identities, nh_buf_slice(&text));
		l->extras->identity_asked = false;
	}
}

static void on_end(void *ctx, const struct program_end *end)
{
	struct nh_link *l = ctx;
	NH_AUTO_JSON json_t *answer = NULL;
	l->extras->identity_program = NULL;
	bool ok = end->rc == NH_OK && end->status == 0 && nh_json_parse(nh_slice_trim(end->output), ANSWER_MAX, &answer, NULL) == NH_OK;
	const json_t *list = json_is_array(answer) ? answer : json_object_get(answer, "identities");
	if (ok && json_is_array(list))
		send_report(l, list);
	else
		link_event_text(l, NH_LINK_ERROR, end->rc == NH_ETIMEOUT ? "network identity: the command took too long" : "network identity: the command failed, or printed no list of identities");
}

static void ask(struct nh_link *l)
{
	struct link_extras *x = l->extras;
	struct nh_err err = NH_ERR_INIT;
	struct program_config config = {.argv = x->config.identity_argv, .timeout_ms = COMMAND_MS, .output_max = ANSWER_MAX, .on_end = on_end, .ctx = l};
	if (!x->identity_program && program_start(&x->programs, &config, &x->identity_program, &err) != NH_OK)
		link_event_text(l, NH_LINK_ERROR, err.msg);
}

void identity_on_timer(void *arg) { ask(arg); }

/* A server that was restarted may know nothing: what it was told before does not count. */
void identity_attached(struct nh_link *l)
{
	link_set_text(&l->extras->identities, NH_SLICE_EMPTY);
	nh_timer_start(l->extras->identity_timer, l->extras->config.identity_interval_ms, l->extras->config.identity_interval_ms);
}

void identity_detached(struct nh_link *l, bool lost)
{
	program_stop(l->extras->identity_program);
	l->extras->identity_program = NULL;
	l->extras->identity_asked = false;
	if (!l->closing)
		nh_timer_stop(l->extras->identity_timer);
}

void identity_event(struct nh_link *l, nh_slice event, const json_t *payload)
{
	if (!nh_slice_eq_str(event, "request"))
		return;
	l->extras->identity_asked = true;
	ask(l);
}
