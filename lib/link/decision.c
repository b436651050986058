/*
 * Whether an offer is taken, and when. The machine decides: at once by `decide`, or on a worker by `consider`. A postponed offer is kept, alone, and is asked about
 * again when it is due, with or without a connection; a newer offer takes its place.
 *
 * Due is a span on the monotonic clock. But the answer may have come from the wall clock (a maintenance window), so when that is set, as happens soon after the start
 * of a machine without a battery, the question is asked again.
 *
 * source: reference/device-protocol "9.2", "14.3"
 */
#include "update_int.h"

#include <stdio.h>
#include <stdlib.h>

#define RESCHEDULE_MIN_MS 300000u
#define LOOK_MS 600000u /* at the clocks, while an offer waits */

static void told_event(struct nh_link *l, nh_link_event_kind kind, const char *reason, uint64_t delay_ms)
{
	const struct nh_link_offer *o = &l->update->offer;
	link_event(l, &(struct nh_link_event){.kind = kind, .text = nh_slice_str(reason), .uuid = o->uuid, .version = o->version, .delay_ms = delay_ms});
}

static void ignore(struct nh_link *l, const char *reason)
{
	update_status(l, "ignored", reason, 0);
	told_event(l, NH_LINK_UPDATE_IGNORED, reason, 0);
	if (!l->closing)
		update_free(l);
}

/* ---- later */

static void on_postponed(void *arg)
{
	struct nh_link *l = arg;
	uint64_t now = nh_loop_now_ms(l->loop);
	bool stepped = nh_clock_look(&l->postpone_watch, nh_clock_now(&l->clock), nh_mono_ms()) != 0;
	if (now < l->postpone_due_ms && !stepped) {
		uint64_t left = l->postpone_due_ms - now;
		nh_timer_start(l->postpone_timer, left < LOOK_MS ? left : LOOK_MS, 0);
		return;
	}
	if (l->phase == LINK_REBOOTING)
		return;
	NH_ASSERT(!l->update); /* an offer that came meanwhile would have taken the place of this one */
	l->update = l->postponed;
	l->postponed = NULL;
	l->update->old = true;
	l->update->offer.public_keys = (const char *const *)l->keys;
	l->update->offer.key_count = l->key_count;
	told_event(l, NH_LINK_UPDATE_OFFERED, "", 0);
	if (!l->closing)
		decision_begin(l);
}

static void keep(struct nh_link *l, uint64_t delay_ms)
{
	l->postponed = l->update;
	l->update = NULL;
	l->postpone_due_ms = nh_loop_now_ms(l->loop) + delay_ms;
	l->postpone_watch = (struct nh_clock_watch){0};
	NH_IGNORE(nh_clock_look(&l->postpone_watch, nh_clock_now(&l->clock), nh_mono_ms())); /* the first look is the one to compare with */
	if (!l->postpone_timer)
		l->postpone_timer = nh_timer_new(l->loop, on_postponed, l);
	nh_timer_start(l->postpone_timer, delay_ms < LOOK_MS ? delay_ms : LOOK_MS, 0);
}

void decision_postpone(struct nh_link *l, uint64_t delay_ms, const char *reason)
{
	/* At least five minutes are told: it also tells milliseconds from minutes. source: reference/device-protocol "9.2" */
	uint64_t told_ms = delay_ms < RESCHEDULE_MIN_MS ? RESCHEDULE_MIN_MS : delay_ms;
	update_status(l, "rescheduled", reason[0] ? reason : NULL, told_ms);
	told_event(l, NH_LINK_UPDATE_RESCHEDULED, reason, told_ms);
	if (!l->closing)
		keep(l, delay_ms);
}

void decision_drop(struct nh_link *l)
{
	nh_arena_fini(l->postponed ? &l->postponed->arena : &(struct nh_arena){0}); /* it has nothing else yet */
	free(l->postponed);
	l->postponed = NULL;
	if (l->postpone_timer)
		nh_timer_stop(l->postpone_timer);
}

void decision_close(struct nh_link *l)
{
	decision_drop(l);
	nh_timer_close(l->postpone_timer);
	l->postpone_timer = NULL;
}

/* ---- now */

static void take(struct nh_link *l)
{
	struct link_update *u = l->update;
	char reason[sizeof u->reason];
	snprintf(reason, sizeof reason, "%s", u->reason);
	if (u->decision == NH_LINK_IGNORE)
		ignore(l, reason);
	else if (u->decision == NH_LINK_RESCHEDULE)
		decision_postpone(l, u->delay_ms, reason);
	else
		update_begin(l);
}

void decision_run(struct nh_link *l)
{
	struct link_update *u = l->update;
	u->decision = l->config.platform->consider(l->config.platform_ctx, &u->offer, &u->delay_ms, u->reason, sizeof u->reason);
}

void decision_done(struct nh_link *l)
{
	if (l->phase != LINK_REBOOTING)
		take(l);
}

void decision_begin(struct nh_link *l)
{
	const struct nh_link_platform *p = l->config.platform;
	struct link_update *u = l->update;
	u->phase = UPDATE_DECIDING;
	u->decision = NH_LINK_APPLY;
	u->reason[0] = 0;
	u->delay_ms = 0;
	u->offer.waited_ms = u->begun ? UINT64_MAX : nh_loop_now_ms(l->loop) - u->offered_ms;
	update_status(l, "received", NULL, 0);
	if (nh_slice_eq_str(u->offer.uuid, l->running_uuid)) {
		ignore(l, "already running");
		return;
	}
	if (!p->decide && p->consider) {
		link_job_submit(l, &l->consider_job);
		return;
	}
	if (p->decide)
		u->decision = p->decide(l->config.platform_ctx, &u->offer, &u->delay_ms, u->reason, sizeof u->reason);
	if (!l->closing)
		take(l);
}
