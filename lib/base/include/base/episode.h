/*
 * Failures that last: a full disk or a database that is away fails every request, and a line for each would bury the cause. An episode is logged
 * when it begins, once a minute while it goes on, and when it is over; what happens between is counted. No policy: who fails decides what to answer.
 *
 * thread: any; both calls may come from many at once. Statically initialised: {.event = "database.write"}.
 */
#pragma once

#include "base/err.h"

struct nh_episode {
	const char *event; /* of the log lines; borrowed */
	/* private; atomics */
	bool going;           /* the latest report was a failure */
	uint64_t since_ms;    /* 0 = no episode */
	uint64_t latest_ms, reminded_ms;
	uint64_t failures;    /* of this episode */
	uint64_t total;       /* ever */
};

/* nh_episode_failed - one more failure: `EVENT state=failing code=… why=…` for the first, then once a minute. why: for people, no secret. */
void nh_episode_failed(struct nh_episode *e, nh_rc rc, const char *why);
/* nh_episode_fine - it worked. One load where nothing was wrong. `EVENT state=recovered failures=… lasted_ms=…` once nothing failed for a second, so that
 * an unsteady thing is one episode and not hundreds. */
void nh_episode_fine(struct nh_episode *e);
bool nh_episode_going(const struct nh_episode *e);      /* did the latest report say failure? */
uint64_t nh_episode_total(const struct nh_episode *e);  /* failures since the program began */
