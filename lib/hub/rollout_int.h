/*
 * What the rollout files share: lists kept as JSON text in a column, reading of groups, pushes to devices. Private to hub.
 */
#pragma once

#include "hub/deployments.h"
#include "hub/updates.h"

/* nh_text_list_read - a JSON array of strings to slices in the arena; anything else, also in it, is left out. At most 256. */
void nh_text_list_read(struct nh_arena *arena, nh_slice json, nh_slice **items, size_t *count);

/* nh_json_arena - compact text of a value, in the arena. */
nh_slice nh_json_arena(struct nh_arena *arena, const json_t *value);

#define NH_RELEASE_COLUMNS 13
void nh_release_read(const struct nh_rows *rows, int first, struct nh_arena *arena, struct nh_release *out); /* 13 columns from `first` on */
void nh_group_read(const struct nh_rows *rows, struct nh_arena *arena, void *group);

/* nh_group_actor - a deployment group as the actor of an audit entry. */
static inline struct nh_actor nh_group_actor(const struct nh_group *group) { return (struct nh_actor){NH_ACTOR_SYSTEM, group->id, group->name}; }
static inline struct nh_actor nh_device_actor(const struct nh_device_facts *d) { return (struct nh_actor){NH_ACTOR_DEVICE, d->id, d->identifier}; }

static inline void nh_wake_group(struct nh_ctx *ctx, int64_t group_id)
{
	if (group_id)
		nh_effect_add(ctx, NH_EFFECT_GROUP_WAKE, group_id, NH_SLICE_EMPTY, NH_SLICE_EMPTY);
}
static inline void nh_device_topic(struct nh_ctx *ctx, int64_t device_id)
{
	nh_effect_add(ctx, NH_EFFECT_TOPIC, device_id, NH_LIT("device"), NH_SLICE_EMPTY);
}

/* nh_group_take_turn - before anything is sent for a group: locks its row and says that what others counted holds no more. A group that is gone: NH_OK. */
nh_rc nh_group_take_turn(struct nh_ctx *ctx, int64_t group_id, struct nh_err *err);

/* nh_device_facts_read - a row of nh_q_facts and its kin; facts: struct nh_device_facts. */
void nh_device_facts_read(const struct nh_rows *rows, struct nh_arena *arena, void *facts);

/* nh_device_join_group - automatic or by hand, all bookkeeping of a changed group: row, members' counters. group_id 0: none. No audit entry. */
nh_rc nh_device_join_group(struct nh_ctx *ctx, int64_t device_id, int64_t old_group_id, int64_t group_id, struct nh_err *err);

/* nh_group_verify_device - leaves a group that no longer fits and joins the best one that does (server-behaviour 3.4, 3.3); updates facts->group_id. */
nh_rc nh_group_verify_device(struct nh_ctx *ctx, struct nh_device_facts *facts, struct nh_err *err);

/* nh_device_write - UPDATE of one device by a statement whose last two parameters are time and device id, given one value before. */
nh_rc nh_device_write(struct nh_ctx *ctx, const struct nh_stmt *stmt, struct nh_param value, int64_t device_id, struct nh_err *err);
