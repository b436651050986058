/*
 * Whether and when this machine takes an offer: a program of its owner says so, or a policy. The program gets the offer as JSON on its standard input and answers in one line:
 *
 *	apply                      the same as nothing
 *	ignore REASON
 *	postpone DURATION REASON
 *
 * One that fails, hangs or says something else postpones: nobody has said yes. Runs on a worker. source: reference/device-protocol "9.2", "14.3"
 */
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/encode.h"
#include "base/json.h"
#include "base/process.h"
#include "base/rng.h"
#include "machine_int.h"

#define DEFAULT_TIMEOUT_MS 60000
#define OUTPUT_MAX ((size_t)4096)
#define POSTPONE_MAX_MS ((uint64_t)30 * 24 * 3600 * 1000)
#define FAILED_MS ((uint64_t)3600 * 1000) /* until a program that failed is asked again */
#define SPREAD_MS ((uint64_t)900 * 1000)

/* ---- by policy */

static nh_link_decision by_policy(const struct nh_policy *p, uint64_t waited_ms, uint64_t *delay_ms, char *reason, size_t size)
{
	uint64_t room_ms;
	switch (p->kind) {
	case NH_POLICY_IGNORE:
		snprintf(reason, size, "updates are ignored on this device");
		return NH_LINK_IGNORE;
	case NH_POLICY_POSTPONE:
		if (waited_ms >= p->postpone_ms)
			return NH_LINK_APPLY;
		snprintf(reason, size, "updates are postponed on this device");
		*delay_ms = p->postpone_ms - waited_ms;
		return NH_LINK_RESCHEDULE;
	case NH_POLICY_WINDOW:
		*delay_ms = nh_policy_window_wait(p, nh_now_us(), &room_ms);
		if (*delay_ms == 0)
			return NH_LINK_APPLY;
		snprintf(reason, size, "outside of the maintenance window");
		if (*delay_ms == UINT64_MAX)
			*delay_ms = POSTPONE_MAX_MS;
		else /* a fleet waits for the same moment: not all of it in the first second */
			*delay_ms += nh_rng_below(&nh_rng_system, (room_ms / 4 < SPREAD_MS ? room_ms / 4 : SPREAD_MS) + 1);
		return NH_LINK_RESCHEDULE;
	default: return NH_LINK_APPLY;
	}
}

/* ---- by program */

static void put_offer(struct nh_buf *out, const struct nh_link_offer *o)
{
	/* Without the URL, which opens the download to whoever has it. */
	NH_AUTO_JSON json_t *offer = json_pack("{s:o, s:o, s:o, s:o, s:o, s:I, s:o}", "uuid", nh_json_new_text(o->uuid), "version", nh_json_new_text(o->version), "product",
					       nh_json_new_text(o->product), "platform", nh_json_new_text(o->platform), "architecture", nh_json_new_text(o->architecture), "size",
					       (json_int_t)o->size_bytes, "checksum", nh_json_new_text(o->sha256_hex));
	nh_json_put(out, offer);
	nh_buf_put_u8(out, '\n');
}

/* The answer's line. NH_EFORMAT: none of the three. */
static nh_rc read_answer(nh_slice text, nh_link_decision *decision, uint64_t *delay_ms, char *reason, size_t size)
{
	nh_slice line, word, rest, span;
	nh_slice_cut(nh_slice_trim(text), '\n', &line, &rest);
	nh_slice_cut(nh_slice_trim(line), ' ', &word, &rest);
	rest = nh_slice_trim(rest);
	if (word.len == 0 || nh_slice_eq_str(word, "apply")) {
		*decision = NH_LINK_APPLY;
		return NH_OK;
	}
	if (nh_slice_eq_str(word, "postpone")) {
		*decision = NH_LINK_RESCHEDULE;
		nh_slice_cut(rest, ' ', &span, &rest);
		if (nh_parse_duration_ms(span, POSTPONE_MAX_MS, delay_ms) != NH_OK)
			return NH_EFORMAT;
	} else if (nh_slice_eq_str(word, "ignore")) {
		*decision = NH_LINK_IGNORE;
	} else {
		return NH_EFORMAT;
	}
	snprintf(reason, size, "%.*s", NH_ARG(nh_slice_trim(rest)));
	return NH_OK;
}

static nh_link_decision by_program(const struct nh_machine *m, const struct nh_link_offer *offer, uint64_t *delay_ms, char *reason, size_t size)
{
	NH_AUTO_BUF struct nh_buf in = NH_BUF_INIT, out = NH_BUF_INIT, errout = NH_BUF_INIT;
	struct nh_err err = NH_ERR_INIT;
	nh_link_decision decision;
	int status = 0;
	put_offer(&in, offer);
	struct nh_process p = {
		.argv = m->config.consider_argv,
		.stdin_bytes = nh_buf_slice(&in),
		.timeout_ms = m->config.consider_timeout_ms ? m->config.consider_timeout_ms : DEFAULT_TIMEOUT_MS,
		.max_output_bytes = OUTPUT_MAX,
	};
	nh_rc rc = nh_process_run(&p, &status, &out, &errout, &err);
	if (rc == NH_OK && status == 0 && read_answer(nh_buf_slice(&out), &decision, delay_ms, reason, size) == NH_OK)
		return decision;
	nh_slice said = nh_slice_trim(nh_buf_slice(errout.len ? &errout : &out));
	if (rc != NH_OK)
		snprintf(reason, size, "the update command failed: %s", err.msg);
	else if (status != 0)
		snprintf(reason, size, "the update command ended with status %d: %.*s", status, NH_ARG(nh_slice_sub(said, 0, 120)));
	else
		snprintf(reason, size, "the update command said '%.*s'", NH_ARG(nh_slice_sub(said, 0, 120)));
	*delay_ms = FAILED_MS;
	return NH_LINK_RESCHEDULE;
}

nh_link_decision machine_consider(void *ctx, const struct nh_link_offer *offer, uint64_t *delay_ms, char *reason, size_t size)
{
	const struct nh_machine *m = ctx;
	return m->config.consider_argv ? by_program(m, offer, delay_ms, reason, size) : by_policy(&m->config.policy, offer->waited_ms, delay_ms, reason, size);
}
