/*
 * Texts of the family of explanations and plans (see store/plan.h).
 */
#include "store/plan.h"

#define STMT(id, text) const struct nh_stmt nh_q_##id = {#id, text}

STMT(update_stat_latest, "SELECT type, source_firmware_uuid, target_firmware_uuid, update_bytes, saved_bytes, inserted_at, started_at FROM update_stats "
                         "WHERE device_id = $1 ORDER BY id DESC LIMIT 1");
STMT(update_durations, "SELECT inserted_at - started_at FROM update_stats WHERE product_id = $1 AND target_firmware_uuid = $2 AND started_at IS NOT NULL "
                       "ORDER BY id DESC LIMIT $3");

STMT(rollout_plan_text, "SELECT plan FROM rollouts WHERE release_id = $1");
STMT(delta_of_pair, "SELECT d.status, COALESCE(d.size_bytes, 0) FROM firmware_deltas d JOIN firmwares s ON s.id = d.source_id WHERE d.target_id = $1 AND s.uuid = $2");

const struct nh_stmt *const nh_plan_statements[] = {&nh_q_update_stat_latest, &nh_q_update_durations, &nh_q_rollout_plan_text, &nh_q_delta_of_pair, NULL};
