/*
 * Jobs that build deltas (hub/deltas.h), each in a process of its own (delta_worker.h).
 */
#pragma once

#include "scheduler.h"

nh_rc job_delta_build(struct hubd *h, const struct nh_job *job, struct nh_err *err);  /* key: the delta's id */
nh_rc job_delta_expiry(struct hubd *h, const struct nh_job *job, struct nh_err *err); /* gives up what began long ago and never ended */

#define DELTA_ATTEMPTS 3 /* source: reference/server-behaviour "4.6" */

/* Since the start. Relaxed atomics. */
struct delta_stats {
	uint64_t built, refused, failed, timed_out, discarded; /* refused: nothing to build; discarded: built, but nobody waited for it any more */
	uint64_t busy_ms;     /* of worker processes */
	uint64_t saved_bytes; /* by which the built ones are smaller than their targets */
};
void delta_stats(struct delta_stats *out); /* any thread */
