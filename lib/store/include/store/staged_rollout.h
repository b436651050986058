/*
 * Statements of staged rollouts: plans, waves, trials, signals. Tables: db/migrations/0013-rollouts.sql. The texts, with the columns in order, are in staged_rollout.c. Dates are microseconds.
 */
#pragma once

#include "store/db.h"

/* ---- plans and state ---------------------------------------------------------------------------------------------------- */
extern const struct nh_stmt nh_q_group_plan;         /* group → plan of releases to come, or null */
extern const struct nh_stmt nh_q_group_plan_set;     /* plan or null, at, group */
extern const struct nh_stmt nh_q_group_of_release;   /* release → its group, where it is the current one */
extern const struct nh_stmt nh_q_rollout_insert;     /* release, group, state, by, why, at, plan, waves, not before, windows, zone */
extern const struct nh_stmt nh_q_rollout_delete;     /* release: with waves, trials and signals */
extern const struct nh_stmt nh_q_rollout_get;        /* release → state by, why, at, evidence, plan */
extern const struct nh_stmt nh_q_rollout_set_state;  /* state, by, why, at, evidence or null, epoch, release */
extern const struct nh_stmt nh_q_rollout_set_wave;   /* wave, share, named, release */
extern const struct nh_stmt nh_q_rollback_target;    /* group, number, firmware → firmware, archive, uuid, version: of the newest earlier release with another one that was not given up */

/* ---- waves --------------------------------------------------------------------------------------------------------------- */
extern const struct nh_stmt nh_q_wave_insert;        /* release, number, share, query, gate, gate seconds, gate share */
extern const struct nh_stmt nh_q_wave_list;          /* release → number, share, query, gate, gate seconds, gate share, state, size, updated, failed, began, waiting, done, done by */
extern const struct nh_stmt nh_q_wave_get;           /* release, number → the same */
extern const struct nh_stmt nh_q_wave_begin;         /* at, release, number */
extern const struct nh_stmt nh_q_wave_wait;          /* at, release, number */
extern const struct nh_stmt nh_q_wave_done;          /* at, by, release, number */
extern const struct nh_stmt nh_q_wave_size;          /* size, release, number: once */
extern const struct nh_stmt nh_q_wave_count;         /* updated, failed: differences; release, number */
extern const struct nh_stmt nh_q_wave_of_rank;       /* release, rank → number of the first wave with that share, or null */
extern const struct nh_stmt nh_q_wave_page;          /* firmware, start, from rank, below rank, release, group, after id, limit → last id or null, members that run other firmware */
extern const struct nh_stmt nh_q_wave_name;          /* release, wave, device, group, firmware → changed 0: an earlier wave named it, it runs it, or is in another group */

/* ---- selection ---------------------------------------------------------------------------------------------------------- */
extern const struct nh_stmt nh_q_waiting_share;      /* group, uuid, now, from place, below place, limit → as nh_q_waiting_fifo, place instead of connected at */
extern const struct nh_stmt nh_q_waiting_named;      /* release, uuid, now, after connected at, after id, group, limit → as nh_q_waiting_fifo */
extern const struct nh_stmt nh_q_device_set_timezone;/* IANA name or null, at, device */
extern const struct nh_stmt nh_q_zone_next;          /* group, after zone → next distinct zone of its devices, or null */

/* ---- trials and signals ---------------------------------------------------------------------------------------------------- */
extern const struct nh_stmt nh_q_live_rollout;       /* group → release, epoch, waves, firmware id */
extern const struct nh_stmt nh_q_trial_begin;        /* release, device, epoch, wave → changed 0: it had one in this epoch */
extern const struct nh_stmt nh_q_trial_get;          /* device → its newest trial of a current release, see staged_rollout.c */
extern const struct nh_stmt nh_q_trial_set;          /* state, due or null, release, device */
extern const struct nh_stmt nh_q_trial_due;          /* now, limit → device, state */
extern const struct nh_stmt nh_q_trial_forget;       /* device, now: its due trials of releases that are not current any more */
extern const struct nh_stmt nh_q_signal_add;         /* release, epoch, signal, trials, failures: differences */
extern const struct nh_stmt nh_q_signal_list;        /* release, epoch → signal, trials, failures */
extern const struct nh_stmt nh_q_health_status;      /* device → status of the latest report */
extern const struct nh_stmt nh_q_control_device;     /* group, firmware, place → a connected device with other firmware at or behind that place, with a health report; its status */

extern const struct nh_stmt *const nh_staged_rollout_statements[];
