/*
 * Jobs: work that the server owes itself, written down in the transaction of what made it necessary, so that neither exists without the other. A job is run by one server at a time, under a
 * lease; who dies leaves it to others. It runs at least once: what it does must bear being done twice.
 *
 * A job is its kind and its key. Adding one that waits already moves it to the earlier time and gives it the newer payload; one that runs runs once more, since the run may have begun before;
 * one that pauses after a failure gets the payload and goes on pausing; one that was given up begins anew. Kinds, and what each does, are the rows of one table in src/nerveshubd/scheduler.c; a kind is [a-z-]+. Periodic kinds have one row with an empty key, which the scheduler keeps.
 *
 * thread: as nh_db_write. source: design/architecture "6"; reference/server-behaviour "11"
 */
#pragma once

#include "hub/hub.h"

#define NH_JOB_PAYLOAD_MAX ((size_t)64 << 10)

/*
 * nh_job_add - in any write transaction. key: unique within the kind, at most 255 bytes of text; payload: text (JSON by habit) that the run gets, at most NH_JOB_PAYLOAD_MAX; due_us: not before, 0 = now.
 * Leaves the effect NH_EFFECT_JOB. NH_ETOOBIG, NH_EIO.
 */
nh_rc nh_job_add(struct nh_ctx *ctx, const char *kind, nh_slice key, nh_slice payload, int64_t due_us, struct nh_err *err);

/* ---- the scheduler's side ------------------------------------------------------------------------------------------------ */

struct nh_job {
	int64_t id, claims;       /* together: this run's claim */
	nh_slice kind, key, payload;
	int64_t due_us;           /* when it was to run */
	int64_t attempts;         /* this one counts */
	const bool *stopping;     /* atomic; the scheduler's. NULL legal */
};

/* nh_job_stopping - the server stops, or the lease is lost: a run ends soon, at a place from where the next one goes on, with any code. Any thread. */
static inline bool nh_job_stopping(const struct nh_job *job) { return job->stopping && __atomic_load_n(job->stopping, __ATOMIC_ACQUIRE); }

/* nh_job_ensure - a periodic kind's row: due at first_us where there is none; one that would come later than latest_us (a longer period was set, a clock was wrong) comes then. */
nh_rc nh_job_ensure(struct nh_ctx *ctx, const char *kind, int64_t first_us, int64_t latest_us, struct nh_err *err);
/* nh_job_recover - at start: what the last run of this node held may be claimed at once; *count. Does nothing for a node without a name. */
nh_rc nh_job_recover(struct nh_ctx *ctx, size_t *count, struct nh_err *err);
/* nh_job_next - when one of these kinds (" kind kind … ", blanks at both ends) may be claimed, also of those that run: then their lease ends (read). NH_ENOTFOUND: there is none. */
nh_rc nh_job_next(struct nh_ctx *ctx, const char *kinds, int64_t *ready_us, struct nh_err *err);
/* nh_job_claim - of these kinds the one that could run for the longest, for lease_us; out in the arena. NH_ENOTFOUND: none may run now, or another server was faster. */
nh_rc nh_job_claim(struct nh_ctx *ctx, const char *kinds, int64_t lease_us, struct nh_job *out, struct nh_err *err);
/* nh_job_renew - lease_us from now on. NH_ENOTFOUND: the claim is lost. */
nh_rc nh_job_renew(struct nh_ctx *ctx, int64_t id, int64_t claims, int64_t lease_us, struct nh_err *err);
/*
 * nh_job_done - it went well. period_us 0: the row goes, unless it was added meanwhile; else it comes next at the first time after now that is a whole number of periods after due_us,
 * so a late run shifts nothing and missed ones are one. A claim that is lost changes nothing.
 */
nh_rc nh_job_done(struct nh_ctx *ctx, const struct nh_job *job, int64_t period_us, struct nh_err *err);

struct nh_job_retry {
	int64_t period_us;        /* of the kind, 0: on demand */
	unsigned attempts;        /* of a kind on demand: beyond it is given up; 0 = never. A periodic kind is tried until its next time comes anyway */
	int64_t pause_us;         /* after the first failure; doubled with each, up to pause_max_us; a quarter more or less by chance */
	int64_t pause_max_us;
};
/* nh_job_failed - waits for its next attempt, or *given_up: stays as it is, with why, until it is added again. A claim that is lost changes nothing. */
nh_rc nh_job_failed(struct nh_ctx *ctx, const struct nh_job *job, const struct nh_job_retry *retry, nh_slice why, bool *given_up, struct nh_err *err);
/* nh_job_release - gives it back as it was: the server stops. */
nh_rc nh_job_release(struct nh_ctx *ctx, const struct nh_job *job, struct nh_err *err);

struct nh_job_counts {
	nh_slice kind;
	int64_t waiting, running, given_up;
	int64_t late_us;          /* how long the oldest one that may run has waited; 0: none does */
};
/* nh_job_counts - of each kind that has rows (read). In the arena. */
nh_rc nh_job_counts(struct nh_ctx *ctx, struct nh_job_counts **out, size_t *count, struct nh_err *err);
