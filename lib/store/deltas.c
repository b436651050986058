/*
 * Texts of the deltas family (see store/deltas.h). One text serves both engines; parameters are numbered by first use.
 */
#include "store/deltas.h"

#define STMT(id, text) const struct nh_stmt nh_q_##id = {#id, text}

#define DELTA                                                                                                                        \
	"SELECT x.id, x.org_id, x.product_id, x.source_id, x.target_id, s.uuid, s.version, t.uuid, t.version, x.status, x.error, x.tool, x.tool_metadata, " \
	"x.tool_delta_required_version, x.size_bytes, x.source_size_bytes, x.target_size_bytes, x.checksum, x.partials_checksums, x.object_key, " \
	"x.attempts, x.requested_at, x.started_at, x.finished_at, x.updated_at, s.object_key, t.object_key, s.size_bytes, t.size_bytes "     \
	"FROM firmware_deltas x JOIN firmwares s ON s.id = x.source_id JOIN firmwares t ON t.id = x.target_id "

STMT(delta_insert, "INSERT INTO firmware_deltas (org_id, product_id, source_id, target_id, requested_at, updated_at) VALUES ($1, $2, $3, $4, $5, $5) "
                   "ON CONFLICT (source_id, target_id) DO NOTHING RETURNING id");
STMT(delta_restart, "UPDATE firmware_deltas SET status = 'processing', error = NULL, attempts = 0, requested_at = $1, started_at = NULL, finished_at = NULL, "
                    "updated_at = $1 WHERE id = $2 AND status IN ('failed', 'timed_out')");
STMT(delta_by_id, DELTA "WHERE x.id = $1");
STMT(delta_by_pair, DELTA "WHERE x.target_id = $1 AND s.uuid = $2");
STMT(delta_list, DELTA "WHERE x.target_id = $1 ORDER BY x.requested_at DESC, x.id DESC LIMIT $2");
STMT(delta_start, "UPDATE firmware_deltas SET started_at = $1, attempts = attempts + 1, updated_at = $1 WHERE id = $2 AND status = 'processing'");
STMT(delta_complete, "UPDATE firmware_deltas SET status = 'completed', error = NULL, tool = $1, tool_metadata = $2, tool_delta_required_version = $3, object_key = $4, "
                     "size_bytes = $5, source_size_bytes = $6, target_size_bytes = $7, checksum = $8, partials_checksums = $9, finished_at = $10, updated_at = $10 "
                     "WHERE id = $11 AND status = 'processing'");
STMT(delta_fail, "UPDATE firmware_deltas SET status = $1, error = $2, finished_at = $3, updated_at = $3 WHERE id = $4 AND status = 'processing'");
STMT(delta_delete, "DELETE FROM firmware_deltas WHERE id = $1");
STMT(delta_of_firmware, "SELECT id, object_key FROM firmware_deltas WHERE source_id = $1 UNION SELECT id, object_key FROM firmware_deltas WHERE target_id = $1");
STMT(delta_stale, "SELECT id FROM firmware_deltas WHERE status = 'processing' AND started_at < $1 ORDER BY started_at LIMIT $2");

STMT(delta_wanted, "SELECT s.id, g.delta_updatable * t.delta_updatable, x.id, x.status, x.requested_at, g.delta_wait_minutes FROM firmwares t "
                   "JOIN deployment_groups g ON g.id = $1 LEFT JOIN firmwares s ON s.product_id = t.product_id AND s.uuid = $2 "
                   "LEFT JOIN firmware_deltas x ON x.source_id = s.id AND x.target_id = t.id WHERE t.id = $3");
STMT(delta_usable, "SELECT x.id, x.size_bytes, x.checksum, x.partials_checksums, x.object_key, x.tool_delta_required_version, d.delta_failed, t.size_bytes "
                   "FROM firmwares t JOIN firmwares s ON s.product_id = t.product_id AND s.uuid = $1 JOIN firmware_deltas x ON x.source_id = s.id AND x.target_id = t.id "
                   "JOIN devices d ON d.id = $2 WHERE t.id = $3 AND x.status = 'completed'");
STMT(delta_file, "SELECT t.uuid, x.size_bytes, x.checksum, x.partials_checksums, x.object_key, t.size_bytes FROM firmware_deltas x "
                 "JOIN firmwares t ON t.id = x.target_id WHERE x.id = $1 AND x.status = 'completed'");
STMT(delta_groups, "SELECT g.id FROM deployment_releases r JOIN deployment_groups g ON g.id = r.deployment_group_id AND g.current_release_id = r.id "
                   "WHERE r.firmware_id = $1 AND g.is_active = 1 ORDER BY g.id LIMIT 1000");
STMT(delta_source_next, "SELECT MIN(firmware_uuid) FROM devices WHERE deployment_id = $1 AND firmware_uuid > $2");
STMT(download_delta, "SELECT x.id, x.object_key, x.checksum, x.size_bytes FROM firmware_deltas x JOIN firmwares t ON t.id = x.target_id "
                     "WHERE x.id = $1 AND t.uuid = $2 AND x.status = 'completed'");

/* ---- what was sent ------------------------------------------------------------------------------------------------------- */

STMT(inflight_sent, "UPDATE inflight_updates SET delta_id = $1, sent_bytes = $2, saved_bytes = $3 WHERE device_id = $4");
STMT(inflight_delta, "SELECT delta_id, sent_bytes, saved_bytes FROM inflight_updates WHERE device_id = $1");
STMT(device_delta_failed, "UPDATE devices SET delta_failed = $1 WHERE id = $2 AND delta_failed <> $1");

/* ---- what was saved ------------------------------------------------------------------------------------------------------ */

STMT(update_total_add, "INSERT INTO update_totals (product_id, deployment_id, target_firmware_uuid, type, updates, update_bytes, saved_bytes) "
                       "VALUES ($1, $2, $3, $4, 1, $5, $6) ON CONFLICT (product_id, deployment_id, target_firmware_uuid, type) DO UPDATE SET "
                       "updates = update_totals.updates + 1, update_bytes = update_totals.update_bytes + excluded.update_bytes, "
                       "saved_bytes = update_totals.saved_bytes + excluded.saved_bytes");
/* CAST: PostgreSQL sums integers to a decimal. */
#define TOTALS                                                                                                                       \
	"SELECT CAST(COALESCE(SUM(updates), 0) AS BIGINT), CAST(COALESCE(SUM(CASE WHEN type = 'fwup_delta' THEN updates END), 0) AS BIGINT), " \
	"CAST(COALESCE(SUM(update_bytes), 0) AS BIGINT), CAST(COALESCE(SUM(saved_bytes), 0) AS BIGINT), "                               \
	"CAST(COALESCE(SUM(CASE WHEN type = 'fwup_delta' THEN update_bytes END), 0) AS BIGINT) FROM update_totals WHERE product_id = $1 "
STMT(update_totals_product, TOTALS);
STMT(update_totals_group, TOTALS "AND deployment_id = $2");
STMT(update_totals_firmware, TOTALS "AND target_firmware_uuid = $2");

const struct nh_stmt *const nh_deltas_statements[] = {
	&nh_q_delta_insert, &nh_q_delta_restart, &nh_q_delta_by_id, &nh_q_delta_by_pair, &nh_q_delta_list, &nh_q_delta_start, &nh_q_delta_complete, &nh_q_delta_fail,
	&nh_q_delta_delete, &nh_q_delta_of_firmware, &nh_q_delta_stale, &nh_q_delta_wanted, &nh_q_delta_usable, &nh_q_delta_file, &nh_q_delta_groups,
	&nh_q_delta_source_next, &nh_q_download_delta,
	&nh_q_inflight_sent, &nh_q_inflight_delta, &nh_q_device_delta_failed,
	&nh_q_update_total_add, &nh_q_update_totals_product, &nh_q_update_totals_group, &nh_q_update_totals_firmware,
	NULL,
};
