/*
 * Two things a new firmware cannot see to by its own verdict: the deadline by which it must have proven itself, and, after a revert, that the server learns why.
 * The verdict itself is asked for in channel.c; how a machine goes back is the platform's.
 *
 * The deadline counts from the machine's boot, by a clock that nobody sets. Unless the owner wants otherwise it waits for a server that lets us in: an outage of the
 * server must not send a whole fleet back.
 *
 * source: reference/device-protocol "9.2", "14.6"
 */
#include "link_int.h"

#include <stdlib.h>

/* ---- deadline */

static void run_deadline(struct nh_link *l)
{
	NH_AUTO_ARENA struct nh_arena arena = NH_ARENA_INIT;
	struct nh_link_state state = {0};
	const struct nh_link_platform *p = l->config.platform;
	l->job_err = NH_ERR_INIT;
	l->job_rc = p->read_state(l->config.platform_ctx, &arena, &state, &l->job_err);
	if (l->job_rc != NH_OK)
		return;
	if (state.validated) {
		l->job_rc = NH_EAGAIN;
		return;
	}
	NH_IGNORE(NH_FAIL(&l->job_err, NH_ETIMEOUT, "not validated within %llu s of the boot%s", (unsigned long long)(l->config.validate_deadline_ms / 1000),
			  l->deadline_joined ? "" : ", nor connected")); /* the reason, told below */
	if (p->revert) {
		struct nh_err err = NH_ERR_INIT;
		if (p->revert(l->config.platform_ctx, l->job_err.msg, &err) != NH_OK)
			l->job_err = err; /* the reboot may help all the same */
	}
}

static void on_deadline_job(struct nh_link *l)
{
	struct nh_err err = l->job_err;
	if (l->job_rc == NH_EAGAIN || l->phase == LINK_REBOOTING)
		return;
	if (l->job_rc != NH_OK) { /* an unreadable disk is no verdict */
		nh_timer_start(l->deadline_timer, l->config.validate_interval_ms, 0);
		return;
	}
	link_event_text(l, NH_LINK_VALIDATION_FAILED, err.msg);
	if (!l->closing)
		link_reboot(l, "validation");
}

static void on_deadline(void *arg)
{
	struct nh_link *l = arg;
	if (l->phase == LINK_REBOOTING || (l->ever_joined && l->validated))
		return;
	/* Joined within the last moment: the verdict is being asked for, and gets its chance. */
	if ((!l->ever_joined && !l->config.validate_deadline_offline) || link_job_busy(l, &l->validate_job))
		nh_timer_start(l->deadline_timer, l->config.validate_interval_ms, 0);
	else if (!link_job_busy(l, &l->deadline_job)) {
		l->deadline_joined = l->ever_joined;
		link_job_submit(l, &l->deadline_job);
	}
}

/* ---- why the last firmware went */

static void run_told(struct nh_link *l)
{
	NH_AUTO_ARENA struct nh_arena arena = NH_ARENA_INIT;
	nh_slice why = l->config.platform->revert_reason(l->config.platform_ctx, &arena, l->revert_told);
	link_set_text(&l->revert_reason, why.len ? why : NH_SLICE_EMPTY);
}

static void on_told(struct nh_link *l)
{
	if (l->revert_told || !l->revert_reason)
		return;
	link_event_text(l, NH_LINK_REVERTED, l->revert_reason);
	if (!l->closing && l->ever_joined)
		validation_joined(l);
}

void validation_joined(struct nh_link *l)
{
	l->ever_joined = true;
	/* The job has the reason while it is busy. */
	if (link_job_busy(l, &l->told_job) || !l->revert_reason || l->revert_told)
		return;
	NH_AUTO_BUF struct nh_buf text = NH_BUF_INIT, reason = NH_BUF_INIT;
	nh_buf_printf(&reason, "Update failed : %s", l->revert_reason);
	nh_buf_put_str(&text, "{\"status\":\"failed\",\"reason\":");
	nh_json_put_string(&text, nh_buf_slice(&reason));
	nh_buf_put_u8(&text, '}');
	l->revert_told = channel_push(l, "status_update", nh_buf_cstr(&text));
	if (l->revert_told)
		link_job_submit(l, &l->told_job);
}

/* ---- life */

void validation_start(struct nh_link *l)
{
	l->deadline_job = (struct link_job){.run = run_deadline, .done = on_deadline_job};
	l->told_job = (struct link_job){.run = run_told, .done = on_told};
	if (l->config.platform->revert_reason)
		link_job_submit(l, &l->told_job);
	if (l->config.validate_deadline_ms == 0)
		return;
	uint64_t now = nh_mono_ms();
	l->deadline_timer = nh_timer_new(l->loop, on_deadline, l);
	nh_timer_start(l->deadline_timer, now < l->config.validate_deadline_ms ? l->config.validate_deadline_ms - now : 0, 0);
}

void validation_close(struct nh_link *l)
{
	nh_timer_close(l->deadline_timer);
	l->deadline_timer = NULL;
}

void validation_free(struct nh_link *l) { free(l->revert_reason); }
