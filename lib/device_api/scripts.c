/*
 * Support scripts: a person's question to the device, and its answer. Devices of API 2.1 and later run a script by event and answer by reference; older ones are
 * typed to, and what their console prints until a mark shows up is the answer, so those take one question at a time.
 *
 * The relay knows who asked and for how long: an answer that comes too late it drops. Here a question is forgotten when its time is over by what it said itself, or when too many
 * others came after it.
 *
 * source: reference/device-protocol "8.5", "9.4"; reference/server-behaviour "6"
 */
#include <stdlib.h>

#include "base/encode.h"
#include "socket_int.h"

#define QUESTIONS_MAX 16
#define FORGET_MS (10 * 60 * 1000)           /* the longest that anybody waits; source: bus/relay.h */
#define COLLECT_MAX ((size_t)1 << 20)        /* of console output for one answer */
#define ANSWER_MAX (NH_RELAY_PENDING_MAX / 2) /* what of it is told: each byte may become two in JSON */
#define MARK "[NERVESHUB:END]"
#define CONNECTING_CODE "connecting_code"

struct question {
	struct question *next;
	uint64_t number; /* the relay's */
	uint64_t until_ms;
	char ref[8];        /* by event */
	struct nh_buf text; /* to be typed; empty once it is */
	struct nh_buf output;
	bool typed;
};

static void question_drop(struct question **at)
{
	struct question *gone = *at;
	*at = gone->next;
	nh_buf_fini(&gone->text);
	nh_buf_fini(&gone->output);
	free(gone);
}

/* Makes room for one more; where it goes. */
static struct question **forget(struct session *s)
{
	struct question **at = &s->questions;
	uint64_t now_ms = nh_loop_now_ms(s->loop);
	unsigned count = 0;
	while (*at) {
		if ((*at)->until_ms <= now_ms) {
			question_drop(at);
			continue;
		}
		at = &(*at)->next;
		count++;
	}
	if (count < QUESTIONS_MAX)
		return at;
	question_drop(&s->questions);
	for (at = &s->questions; *at;)
		at = &(*at)->next;
	return at;
}

/* output + return, trimmed. */
static void answer(struct session *s, struct question **at, nh_slice output)
{
	NH_AUTO_BUF struct nh_buf payload = NH_BUF_INIT;
	nh_buf_put_str(&payload, "{\"output\":");
	nh_json_put_string(&payload, nh_slice_sub(nh_slice_trim(output), 0, ANSWER_MAX));
	nh_buf_put_u8(&payload, '}');
	nh_relay_device_answer(s->scripts, (*at)->number, nh_buf_slice(&payload));
	question_drop(at);
}

/* ---- by event ------------------------------------------------------------------------------------------------------------ */

static void send_script(struct session *s, struct question *q, nh_slice text, int64_t timeout_ms)
{
	uint8_t random[4];
	NH_AUTO_BUF struct nh_buf payload = NH_BUF_INIT;
	NH_AUTO_BUF struct nh_buf ref = NH_BUF_INIT;
	nh_rng_fill(s->api->config.rng, random, sizeof random);
	nh_b64_put(&ref, nh_slice_of(random, sizeof random), NH_B64_STD_NOPAD);
	for (size_t i = 0; i < ref.len; i++)
		q->ref[i] = nh_buf_cstr(&ref)[i];
	nh_buf_put_str(&payload, "{\"text\":");
	nh_json_put_string(&payload, text);
	nh_buf_printf(&payload, ",\"ref\":\"%s\"", q->ref);
	if (timeout_ms > 0)
		nh_buf_printf(&payload, ",\"timeout\":%lld", (long long)timeout_ms);
	nh_buf_put_u8(&payload, '}');
	device_say(s, NH_LIT("scripts/run"), nh_buf_slice(&payload));
}

void scripts_answer(struct session *s, const json_t *payload)
{
	nh_slice ref = nh_json_text(payload, "ref"), output = nh_json_text(payload, "output"), returned = nh_json_text(payload, "return");
	if (nh_slice_eq_str(ref, CONNECTING_CODE)) {
		if (nh_slice_eq_str(nh_json_text(payload, "result"), "error") || nh_slice_eq_str(returned, "nil"))
			TALLY(s->api, connecting_code_failed);
		return;
	}
	struct question **at = &s->questions;
	while (*at && !((*at)->ref[0] && nh_slice_eq_str(ref, (*at)->ref)))
		at = &(*at)->next;
	if (!*at) {
		TALLY(s->api, ignored); /* nobody waits for it any more */
		return;
	}
	NH_AUTO_BUF struct nh_buf text = NH_BUF_INIT;
	nh_buf_put_slice(&text, output);
	nh_buf_put_u8(&text, '\n');
	nh_buf_put_slice(&text, returned);
	answer(s, at, nh_buf_slice(&text));
}

/* ---- by console ---------------------------------------------------------------------------------------------------------- */

void scripts_console(struct session *s)
{
	struct question *q = s->questions;
	if (!q || !q->text.len || q->typed || !console_open(s))
		return;
	q->typed = true;
	nh_buf_put_str(&q->text, "\n# " MARK);
	console_send(s, nh_buf_slice(&q->text));
	console_send(s, NH_LIT("\r"));
	nh_buf_fini(&q->text);
}

/* Without the line that holds the mark. */
static nh_slice before_mark(nh_slice output, ptrdiff_t mark)
{
	size_t end = (size_t)mark;
	while (end > 0 && output.ptr[end - 1] != '\n')
		end--;
	return nh_slice_sub(output, 0, end);
}

void scripts_output(struct session *s, nh_slice text)
{
	struct question *q = s->questions;
	if (!q || !q->typed)
		return;
	/* The mark may have come in two pieces: look from where it can begin. */
	size_t from = q->output.len < strlen(MARK) ? 0 : q->output.len - strlen(MARK);
	nh_buf_put_slice(&q->output, nh_slice_sub(text, 0, COLLECT_MAX - q->output.len));
	nh_slice output = nh_buf_slice(&q->output);
	ptrdiff_t mark = nh_slice_find(nh_slice_skip(output, from), NH_LIT(MARK));
	if (mark < 0 && output.len < COLLECT_MAX)
		return;
	answer(s, &s->questions, mark < 0 ? output : before_mark(output, mark + (ptrdiff_t)from));
	scripts_console(s);
}

/* ---- questions ----------------------------------------------------------------------------------------------------------- */

static void on_question(void *ctx, nh_slice event, nh_slice payload, uint64_t number)
{
	struct session *s = ctx;
	NH_AUTO_JSON json_t *what = NULL;
	if (!nh_slice_eq_str(event, "scripts/run") || nh_json_parse(payload, payload.len, &what, NULL) != NH_OK || nh_json_text(what, "text").len == 0)
		return;
	struct question **at = forget(s);
	int64_t timeout_ms = nh_json_int(what, "timeout", 0);
	*at = nh_xcalloc(1, sizeof **at);
	**at = (struct question){.number = number, .until_ms = nh_loop_now_ms(s->loop) + (timeout_ms > 0 && timeout_ms < FORGET_MS ? (uint64_t)timeout_ms : FORGET_MS)};
	if (s->hub.api_2_1) {
		send_script(s, *at, nh_json_text(what, "text"), timeout_ms);
		return;
	}
	nh_buf_put_slice(&(*at)->text, nh_json_text(what, "text"));
	scripts_console(s);
}

void scripts_open(struct session *s)
{
	struct nh_relay *relay = s->api->config.relay;
	if (relay)
		s->scripts = nh_relay_device_open(relay, s->hub.device_id, NH_RELAY_SCRIPTS, NH_SLICE_EMPTY, s->loop, on_question, s);
}

void scripts_close(struct session *s)
{
	while (s->questions)
		question_drop(&s->questions);
	nh_relay_device_close(s->scripts);
	s->scripts = NULL;
}
