/*
 * Texts of the family of explanations and plans (see store/plan.h).
 */
#include "store/plan.h"

#define STMT(id, text) const struct nh_stmt nh_q_##id = {#id, text}

STMT(update_stat_latest, "SELECT type, source_firmware_uuid, target_firmware_uuid, update_bytes, saved_bytes, inserted_at, started_at FROM update_stats "
                         "WHERE device_id = $1 ORDER BY id DESC LIMIT 1");
STMT(update_durations, "SELECT inserted_at - started_at FROM update_stats WHERE product_id = $1 AND target_firmware_uuid = $2 AND started_at IS NOT NULL "
                       "ORDER BY id DESC LIMIT $3");

const struct nh_stmt *const nh_plan_statements[] = {&nh_q_update_stat_latest, &nh_q_update_durations, NULL};
