/*
 * Statements of explanations and plans: what became of a device's latest update, how long updates took. What rules know of a device comes from nh_q_facts and its kin (store/rollout.h).
 * Texts: plan.c.
 */
#pragma once

#include "store/db.h"

extern const struct nh_stmt nh_q_update_stat_latest; /* device → type, source or null, target, bytes, saved, at, sent at or null: of its newest update */
extern const struct nh_stmt nh_q_update_durations;   /* product, target, limit → µs of each of the newest updates to the firmware that somebody had sent */
extern const struct nh_stmt nh_q_rollout_plan_text;  /* release → plan: as its rollout was given it */
extern const struct nh_stmt nh_q_delta_of_pair;      /* target, source's uuid → status, bytes or 0 */

extern const struct nh_stmt *const nh_plan_statements[];
