/*
 * Texts of the statements of staged rollouts (see store/staged_rollout.h). One text serves both engines; parameters are numbered by first use.
 */
#include "store/staged_rollout.h"

#define STMT(id, text) const struct nh_stmt nh_q_##id = {#id, text}

/* As hub/rollouts.h has it, and as the index devices_waiting_share is built. */
#define PLACE(id) "(" id " % 1000000007 * 2654435761 % 4294967296)"

/* ---- plans and state ---------------------------------------------------------------------------------------------------- */

STMT(group_plan, "SELECT rollout_plan FROM deployment_groups WHERE id = $1");
STMT(group_plan_set, "UPDATE deployment_groups SET rollout_plan = $1, updated_at = $2 WHERE id = $3");
STMT(group_of_release, "SELECT g.id FROM deployment_releases r JOIN deployment_groups g ON g.id = r.deployment_group_id AND g.current_release_id = r.id WHERE r.id = $1");
STMT(rollout_insert, "INSERT INTO rollouts (release_id, deployment_id, state, state_by, state_why, state_at, plan, waves, not_before, windows, zone, inserted_at) "
                     "VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $6)");
STMT(rollout_delete, "DELETE FROM rollouts WHERE release_id = $1");
STMT(rollout_get, "SELECT state_by, state_why, state_at, evidence, plan FROM rollouts WHERE release_id = $1");
STMT(rollout_set_state, "UPDATE rollouts SET state = $1, state_by = $2, state_why = $3, state_at = $4, evidence = $5, epoch = $6 WHERE release_id = $7");
STMT(rollout_set_wave, "UPDATE rollouts SET wave = $1, share = $2, named = $3 WHERE release_id = $4");
STMT(rollback_target, "SELECT r.firmware_id, r.archive_id, f.uuid, f.version FROM deployment_releases r JOIN firmwares f ON f.id = r.firmware_id "
                      "LEFT JOIN rollouts ro ON ro.release_id = r.id WHERE r.deployment_group_id = $1 AND r.number < $2 AND r.firmware_id <> $3 "
                      "AND (ro.state IS NULL OR ro.state NOT IN ('stopped', 'rolled_back')) ORDER BY r.number DESC LIMIT 1");

/* ---- waves --------------------------------------------------------------------------------------------------------------- */

#define WAVE "SELECT number, share, query, gate, gate_seconds, gate_share, state, size, updated, failed, began_at, waiting_at, done_at, done_by FROM rollout_waves "

STMT(wave_insert, "INSERT INTO rollout_waves (release_id, number, share, query, gate, gate_seconds, gate_share) VALUES ($1, $2, $3, $4, $5, $6, $7)");
STMT(wave_list, WAVE "WHERE release_id = $1 ORDER BY number");
STMT(wave_get, WAVE "WHERE release_id = $1 AND number = $2");
STMT(wave_begin, "UPDATE rollout_waves SET state = 'running', began_at = $1 WHERE release_id = $2 AND number = $3");
STMT(wave_wait, "UPDATE rollout_waves SET state = 'waiting', waiting_at = $1 WHERE release_id = $2 AND number = $3");
STMT(wave_done, "UPDATE rollout_waves SET state = 'done', done_at = $1, done_by = $2 WHERE release_id = $3 AND number = $4");
STMT(wave_size, "UPDATE rollout_waves SET size = $1 WHERE release_id = $2 AND number = $3 AND size IS NULL");
STMT(wave_count, "UPDATE rollout_waves SET updated = updated + $1, failed = failed + $2 WHERE release_id = $3 AND number = $4");
STMT(wave_of_rank, "SELECT MIN(number) FROM rollout_waves WHERE release_id = $1 AND share > $2");
/* 4294967296 - start: the rank of a place, around the end. */
STMT(wave_page, "SELECT MAX(p.id), SUM(CASE WHEN p.deleted_at IS NULL AND p.firmware_uuid <> $1 AND (" PLACE("p.id") " + 4294967296 - $2) % 4294967296 >= $3 "
                "AND (" PLACE("p.id") " + 4294967296 - $2) % 4294967296 < $4 AND (p.rollout_release_id IS NULL OR p.rollout_release_id <> $5) THEN 1 ELSE 0 END) "
                "FROM (SELECT id, deleted_at, firmware_uuid, rollout_release_id FROM devices WHERE deployment_id = $6 AND id > $7 ORDER BY id LIMIT $8) p");
STMT(wave_name, "UPDATE devices SET rollout_release_id = $1, rollout_wave = $2 WHERE id = $3 AND deployment_id = $4 AND firmware_uuid <> $5 "
                "AND (rollout_release_id IS NULL OR rollout_release_id <> $1 OR rollout_wave = $2)");

/* ---- selection ---------------------------------------------------------------------------------------------------------- */

#define WAITING(key)                                                                                                              \
	"SELECT d.id, " key ", d.firmware_version, d.tags, c.network_interface, d.timezone, d.rollout_release_id FROM devices d " \
	"LEFT JOIN device_connections c ON c.device_id = d.id "
#define MAY_WAIT                                                                                                                  \
	"AND d.firmware_uuid = $2 AND d.connected_at IS NOT NULL AND d.deleted_at IS NULL AND d.updates_enabled = 1 "             \
	"AND d.firmware_validation_status <> 'not_validated' AND (d.updates_blocked_until IS NULL OR d.updates_blocked_until <= $3) " \
	"AND NOT EXISTS (SELECT 1 FROM inflight_updates i WHERE i.device_id = d.id) "

STMT(waiting_share, WAITING(PLACE("d.id")) "WHERE d.deployment_id = $1 " MAY_WAIT "AND " PLACE("d.id") " >= $4 AND " PLACE("d.id") " < $5 "
                                           "ORDER BY " PLACE("d.id") " LIMIT $6");
STMT(waiting_named, WAITING("d.connected_at") "WHERE d.rollout_release_id = $1 " MAY_WAIT "AND (d.connected_at, d.id) > ($4, $5) "
                                              "AND d.deployment_id = $6 ORDER BY d.connected_at, d.id LIMIT $7");
STMT(device_set_timezone, "UPDATE devices SET timezone = $1, updated_at = $2 WHERE id = $3");
STMT(zone_next, "SELECT MIN(timezone) FROM devices WHERE deployment_id = $1 AND timezone > $2");

/* ---- trials and signals ---------------------------------------------------------------------------------------------------- */

STMT(live_rollout, "SELECT ro.release_id, ro.epoch, ro.waves, r.firmware_id FROM deployment_groups g JOIN rollouts ro ON ro.release_id = g.current_release_id "
                   "JOIN deployment_releases r ON r.id = ro.release_id WHERE g.id = $1");
STMT(trial_begin, "INSERT INTO rollout_devices (release_id, device_id, epoch, wave, state) VALUES ($1, $2, $3, $4, 'installing') "
                  "ON CONFLICT (release_id, device_id) DO UPDATE SET epoch = excluded.epoch, state = excluded.state, due_at = NULL "
                  "WHERE rollout_devices.epoch <> excluded.epoch");
STMT(trial_get, "SELECT t.release_id, t.epoch, t.wave, t.state, ro.epoch, ro.state, ro.plan, g.id, g.org_id, g.product_id, g.name, f.uuid, f.version "
                "FROM rollout_devices t JOIN rollouts ro ON ro.release_id = t.release_id JOIN deployment_groups g ON g.current_release_id = t.release_id "
                "JOIN deployment_releases r ON r.id = t.release_id JOIN firmwares f ON f.id = r.firmware_id WHERE t.device_id = $1 ORDER BY t.release_id DESC LIMIT 1");
STMT(trial_set, "UPDATE rollout_devices SET state = $1, due_at = $2 WHERE release_id = $3 AND device_id = $4");
STMT(trial_due, "SELECT device_id, state FROM rollout_devices WHERE due_at <= $1 ORDER BY due_at LIMIT $2");
STMT(trial_forget, "UPDATE rollout_devices SET state = 'well', due_at = NULL WHERE device_id = $1 AND due_at <= $2");
STMT(signal_add, "INSERT INTO rollout_signals (release_id, epoch, signal, trials, failures) VALUES ($1, $2, $3, $4, $5) ON CONFLICT (release_id, epoch, signal) "
                 "DO UPDATE SET trials = rollout_signals.trials + excluded.trials, failures = rollout_signals.failures + excluded.failures");
STMT(signal_list, "SELECT signal, trials, failures FROM rollout_signals WHERE release_id = $1 AND epoch = $2");
STMT(health_status, "SELECT status FROM device_health WHERE device_id = $1 AND superseded = 0");
/* Of the next few only, since some fleets report no health. */
STMT(control_device, "SELECT n.id, h.status FROM (SELECT d.id FROM devices d WHERE d.deployment_id = $1 AND d.firmware_uuid = $2 AND d.connected_at IS NOT NULL "
                     "AND d.deleted_at IS NULL AND " PLACE("d.id") " >= $3 ORDER BY " PLACE("d.id") " LIMIT 20) n "
                     "JOIN device_health h ON h.device_id = n.id AND h.superseded = 0 ORDER BY " PLACE("n.id") " LIMIT 1");

const struct nh_stmt *const nh_staged_rollout_statements[] = {
	&nh_q_group_plan, &nh_q_group_plan_set, &nh_q_group_of_release, &nh_q_rollout_insert, &nh_q_rollout_delete, &nh_q_rollout_get, &nh_q_rollout_set_state, &nh_q_rollout_set_wave, &nh_q_rollback_target,
	&nh_q_wave_insert, &nh_q_wave_list, &nh_q_wave_get, &nh_q_wave_begin, &nh_q_wave_wait, &nh_q_wave_done, &nh_q_wave_size, &nh_q_wave_count, &nh_q_wave_of_rank, &nh_q_wave_page,
	&nh_q_wave_name, &nh_q_waiting_share, &nh_q_waiting_named, &nh_q_device_set_timezone, &nh_q_zone_next, &nh_q_live_rollout, &nh_q_trial_begin, &nh_q_trial_get, &nh_q_trial_set, &nh_q_trial_due,
	&nh_q_trial_forget, &nh_q_signal_add, &nh_q_signal_list, &nh_q_health_status, &nh_q_control_device,
	NULL,
};
