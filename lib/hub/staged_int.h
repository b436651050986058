/*
 * What the files of staged rollouts share. Private to hub.
 */
#pragma once

#include "hub/events.h"
#include "hub/rollouts.h"

struct nh_wave {
	int64_t number;
	uint64_t share;
	nh_slice query;
	nh_gate gate;
	int64_t gate_seconds, gate_share;
	nh_slice state;
	bool counted; /* size is known */
	int64_t size, updated, failed;
	int64_t began_us, waiting_us, done_us;
	nh_slice done_by;
};
void nh_wave_read(const struct nh_rows *rows, struct nh_arena *arena, void *wave);

/* nh_rollout_move - to a state: row and event. evidence: JSON text, or pointer NULL. Changes *rollout. */
nh_rc nh_rollout_move(struct nh_ctx *ctx, const struct nh_event_subject *subject, struct nh_rollout *rollout, nh_rollout_state to, nh_slice by, nh_slice why, nh_slice evidence,
                      struct nh_err *err);
/* nh_rollout_put_wave - the wave that runs, and what it opened: the row, and *rollout. */
nh_rc nh_rollout_put_wave(struct nh_ctx *ctx, struct nh_rollout *rollout, int64_t wave, uint64_t share, bool named, struct nh_err *err);
/* nh_rollout_pass - the current wave's gate passes: the wave is done, the next one begins, or everybody. */
nh_rc nh_rollout_pass(struct nh_ctx *ctx, struct nh_group *group, nh_slice by, struct nh_err *err);
static inline struct nh_event_subject nh_group_subject(const struct nh_group *g) { return (struct nh_event_subject){g->org_id, g->product_id, 0, g->id}; }

/* What the counters of an epoch amount to. */
struct nh_evidence {
	struct {
		int64_t trials, failures;
		double log_e;
	} signals[NH_SIGNAL_COUNT];
	double log_e, log_limit; /* of the watched ones together; where it stops */
	bool stop;
};
nh_rc nh_evidence_load(struct nh_ctx *ctx, int64_t release_id, int64_t epoch, const struct nh_plan *plan, struct nh_evidence *out, struct nh_err *err);
json_t *nh_evidence_json(const struct nh_evidence *evidence, const struct nh_plan *plan, int64_t epoch);
/* nh_plan_stored - a plan that was read before. NH_EINTERNAL: it is none any more. */
nh_rc nh_plan_stored(struct nh_ctx *ctx, nh_slice json, struct nh_plan *out, struct nh_err *err);

/* nh_release_add - a new release of a firmware and an archive (0: none), current from now on, by the group's plan (staged) or for everybody. deployment_input.c */
nh_rc nh_release_add(struct nh_ctx *ctx, const struct nh_actor *actor, int64_t group_id, int64_t number, int64_t firmware_id, int64_t archive_id, nh_slice description, nh_slice notes,
                     bool staged, struct nh_err *err);
