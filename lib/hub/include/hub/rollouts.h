/*
 * Staged rollouts: a release that goes to its group wave by wave, through gates between them, within windows of time, and is stopped by itself where its devices fail more often than they may.
 *
 * A release without a plan has no rollout and goes to everybody at once; nothing here costs it anything. What the deciding code asks of a rollout is in its one row and comes with the group
 * (hub/deployments.h: struct nh_rollout); waves, trials and counters have tables of their own.
 *
 * A wave is a share of the group, or the devices that a query of the device list finds when it begins. Shares count the earlier ones in: 1, 10, 100 percent. Which devices belong to a share follows
 * from the ids of release and device alone: nobody lists them, and nobody moves. After the last wave's gate everybody follows who belongs to none.
 *
 * thread: the writer's, except where "read" or "pure" is said.
 */
#pragma once

#include "hub/deployments.h"
#include "hub/updates.h"

/* ---- shares -------------------------------------------------------------------------------------------------------------- */

#define NH_ROLLOUT_WHOLE (UINT64_C(1) << 32)
#define NH_ROLLOUT_WAVES_MAX 32
#define NH_ROLLOUT_PERIOD_MAX_S (INT64_C(30) * 86400)

/* nh_rollout_place - pure: the device's place in [0, 2^32); the statements of store/staged_rollout.c and an index of the migrations compute the same. */
static inline uint64_t nh_rollout_place(int64_t device_id) { return (uint64_t)device_id % 1000000007 * UINT64_C(2654435761) % NH_ROLLOUT_WHOLE; }
/* nh_rollout_start - pure: the place from which the release's shares are measured, around the end; so that not always the same devices go first. */
static inline uint64_t nh_rollout_start(int64_t release_id) { return (uint64_t)release_id * UINT64_C(2246822519) % NH_ROLLOUT_WHOLE; }
/* nh_rollout_rank - pure: the device belongs to each share greater than this. */
static inline uint64_t nh_rollout_rank(int64_t release_id, int64_t device_id)
{
	return (nh_rollout_place(device_id) + NH_ROLLOUT_WHOLE - nh_rollout_start(release_id)) % NH_ROLLOUT_WHOLE;
}
/* nh_rollout_begun_for - pure: has the wave begun that the device belongs to? */
bool nh_rollout_begun_for(const struct nh_rollout *rollout, const struct nh_device_facts *device);
/* nh_rollout_zone - pure: the device's own zone, or its rollout's; NULL: UTC. */
const struct nh_zone *nh_rollout_zone(const struct nh_rollout *rollout, const struct nh_device_facts *device);

const char *nh_rollout_state_name(nh_rollout_state state); /* "running", "paused", "stopped", "finished", "rolled_back" */
nh_rollout_state nh_rollout_state_parse(nh_slice name); /* what is none of them: running */

/* ---- plans --------------------------------------------------------------------------------------------------------------- */

typedef enum nh_gate_kind { NH_GATE_NONE, NH_GATE_MANUAL, NH_GATE_TIME, NH_GATE_HEALTH, NH_GATE_COUNT } nh_gate;
const char *nh_gate_name(nh_gate gate); /* "none", "manual", "time", "health" */

typedef enum nh_signal_kind {
	NH_SIGNAL_INSTALL, /* the device says that the update failed, or began it and said nothing more */
	NH_SIGNAL_RETURN,  /* it installed the update and did not come back in time */
	NH_SIGNAL_REVERT,  /* it came back with what it had before */
	NH_SIGNAL_HEALTH,  /* after a while it is in worse health than one that was not updated */
	NH_SIGNAL_COUNT,
} nh_signal;
const char *nh_signal_name(nh_signal signal); /* "install", "return", "revert", "health" */

struct nh_plan_wave {
	uint64_t share;       /* 0: the query's devices */
	nh_slice query;
	nh_gate gate;
	int64_t gate_seconds; /* how long it waits, TIME: since the wave began; HEALTH: since its share is updated */
	int64_t gate_share;   /* HEALTH: in millionths of the wave */
};

struct nh_plan {
	struct nh_plan_wave waves[NH_ROLLOUT_WAVES_MAX];
	size_t wave_count;
	struct nh_window windows[NH_WINDOWS_MAX];
	size_t window_count;
	nh_slice zone;                      /* "UTC" */
	int64_t not_before_us;              /* 0: at once */
	bool stops;                         /* by itself, on evidence */
	double alpha;                       /* probability of a false alarm over the whole rollout, default 0.01 */
	double tolerated;                   /* rate of failures a signal may have, default 0.02; of HEALTH always 1/2 */
	bool signals[NH_SIGNAL_COUNT];      /* which are watched */
	int64_t return_seconds, settle_seconds; /* default 900 each */
	nh_slice json;                      /* all of it, as it is kept and shown */
};

/*
 * nh_plan_read - pure: a plan as the API has it (docs/guides/rollouts.md) to *out, in the arena. Each fault goes to errors (an object: field to list of texts).
 * NH_EINVAL where there was one.
 */
nh_rc nh_plan_read(struct nh_arena *arena, const json_t *fields, int64_t now_us, struct nh_plan *out, json_t *errors, struct nh_err *err);

/*
 * nh_rollout_plan_set - the plan of releases to come; fields NULL or null: none. now: also of the current release, which begins anew with its first wave (devices that have it keep it).
 * Audit entry, GROUP_WAKE. NH_EINVAL with *errors (new reference), NH_EPERM, NH_EIO.
 */
nh_rc nh_rollout_plan_set(struct nh_ctx *ctx, const struct nh_actor *actor, const struct nh_group *group, const json_t *fields, bool now, json_t **errors, struct nh_err *err);

/* nh_rollout_begin - a new release begins: by its group's plan, or with no rollout where there is none. The release is current already. */
nh_rc nh_rollout_begin(struct nh_ctx *ctx, const struct nh_actor *actor, int64_t group_id, struct nh_err *err);

/* ---- what people do ------------------------------------------------------------------------------------------------------- */

/*
 * Each: audit entry, event, GROUP_WAKE. why: for people, may be empty; at most 500 bytes are kept. NH_ECONFLICT: not in that state (the message says which); NH_EPERM, NH_EIO.
 *   pause     nothing more is sent; updates under way go on. A release without a plan can be paused, too.
 *   resume    after a pause: as before. After an automatic stop: counting begins anew, in a new epoch.
 *   approve   lets the current wave's gate pass, whatever it waits for.
 *   skip      everybody at once: the remaining waves and gates fall away. Windows and the automatic stop stay.
 *   rollback  a new release with the firmware of the newest earlier release that was not itself rolled back; staged: by the group's plan, else to everybody at once. NH_ENOTFOUND: there is none.
 */
nh_rc nh_rollout_pause(struct nh_ctx *ctx, const struct nh_actor *actor, const struct nh_group *group, nh_slice why, struct nh_err *err);
nh_rc nh_rollout_resume(struct nh_ctx *ctx, const struct nh_actor *actor, const struct nh_group *group, nh_slice why, struct nh_err *err);
nh_rc nh_rollout_approve(struct nh_ctx *ctx, const struct nh_actor *actor, const struct nh_group *group, nh_slice why, struct nh_err *err);
nh_rc nh_rollout_skip(struct nh_ctx *ctx, const struct nh_actor *actor, const struct nh_group *group, nh_slice why, struct nh_err *err);
nh_rc nh_rollout_roll_back(struct nh_ctx *ctx, const struct nh_actor *actor, const struct nh_group *group, bool staged, nh_slice why, struct nh_err *err);

/* nh_rollout_show - the API's object of the current release's rollout (read), a new reference in *out. Costs a row a wave and a signal, whatever the fleet. */
nh_rc nh_rollout_show(struct nh_ctx *ctx, const struct nh_group *group, json_t **out, struct nh_err *err);

/* ---- what happens by itself ------------------------------------------------------------------------------------------------ */

/* nh_rollout_advance - within an orchestrator run: begins the first wave, lets gates pass, begins the next. Changes *group's rollout where it moved. */
nh_rc nh_rollout_advance(struct nh_ctx *ctx, struct nh_group *group, struct nh_err *err);

/*
 * nh_rollout_prepare - the job "rollout-wave", key "RELEASE/WAVE": a page of at most 500 devices is named members of the wave (a wave by query), or of 5000 counted. Begins with release_id and wave alone and goes on with what the last
 * call left, each time in a transaction of its own, until done; then the wave knows its size. Doing it all again does no harm.
 */
struct nh_rollout_prepare {
	int64_t release_id, wave;
	int64_t after_id, size;
	char cursor[256];    /* of a wave by query: the last identifier */
	int64_t cursor_rank;
	bool done;
};
nh_rc nh_rollout_prepare(struct nh_ctx *ctx, struct nh_rollout_prepare *state, struct nh_err *err);

/* nh_rollout_due - devices that should have come back or have settled by now, at most 200: failures and health are counted. *count tells how many. Call again while it is 200. */
nh_rc nh_rollout_due(struct nh_ctx *ctx, size_t *count, struct nh_err *err);

/* What becomes of a device's update, told by update_report.c and device_session.c. Nothing where its release has no rollout. All: NH_EIO. */
/* its first word about the update of that firmware, which the group sent */
nh_rc nh_rollout_began(struct nh_ctx *ctx, const struct nh_device_facts *device, int64_t group_id, int64_t firmware_id, struct nh_err *err);
nh_rc nh_rollout_installed(struct nh_ctx *ctx, const struct nh_device_facts *device, struct nh_err *err); /* it said "completed" */
nh_rc nh_rollout_returned(struct nh_ctx *ctx, const struct nh_device_facts *device, nh_slice firmware_uuid, struct nh_err *err); /* and runs that firmware now */
nh_rc nh_rollout_failed(struct nh_ctx *ctx, const struct nh_device_facts *device, nh_signal signal, struct nh_err *err);
