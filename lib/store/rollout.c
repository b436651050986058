/*
 * Texts of the rollout family (see store/rollout.h). One text serves both engines; parameters are numbered by first use.
 */
#include "store/rollout.h"

#define STMT(id, text) const struct nh_stmt nh_q_##id = {#id, text}

/* ---- deployment groups ------------------------------------------------------------------------------------------------- */

#define GROUP                                                                                                                     \
	"SELECT g.id, g.org_id, g.product_id, g.name, g.platform, g.architecture, g.condition_version, g.condition_tags, "        \
	"g.tag_operator, g.is_active, g.delta_updatable, g.lock_device_membership, g.status, g.queue_management, "                \
	"g.concurrent_updates, g.priority_queue_enabled, g.priority_queue_concurrent_updates, "                                   \
	"g.priority_queue_firmware_version_threshold, g.release_network_interfaces, g.release_tags, g.device_failure_threshold, " \
	"g.device_failure_rate_amount, g.device_failure_rate_seconds, g.failure_threshold, g.penalty_timeout_minutes, "           \
	"g.connecting_code, g.notes, g.current_updated_devices, g.device_count, g.inserted_at, g.updated_at, g.delta_wait_minutes, " \
	"r.id, r.number, r.firmware_id, r.archive_id, f.uuid, f.version, f.platform, f.architecture, r.description, r.notes, "    \
	"r.inserted_at, r.updated_at, a.uuid, "                                                                                   \
	"ro.release_id, ro.state, ro.epoch, ro.wave, ro.waves, ro.share, ro.named, ro.not_before, ro.windows, ro.zone "           \
	"FROM deployment_groups g LEFT JOIN deployment_releases r ON r.id = g.current_release_id "                                \
	"LEFT JOIN firmwares f ON f.id = r.firmware_id LEFT JOIN archives a ON a.id = r.archive_id "                               \
	"LEFT JOIN rollouts ro ON ro.release_id = g.current_release_id "

STMT(group_by_id, GROUP "WHERE g.id = $1");
STMT(group_by_name, GROUP "WHERE g.product_id = $1 AND g.name = $2");
STMT(group_list, GROUP "WHERE g.product_id = $1 ORDER BY g.name");
STMT(group_candidates, GROUP "WHERE g.product_id = $1 AND g.is_active = 1 AND g.lock_device_membership = 0 AND f.platform = $2 "
                             "AND f.architecture = $3 ORDER BY g.id");
STMT(group_insert, "INSERT INTO deployment_groups (org_id, product_id, name, platform, architecture, inserted_at, updated_at) "
                   "VALUES ($1, $2, $3, $4, $5, $6, $6) RETURNING id");
STMT(group_update,
     "UPDATE deployment_groups SET name = $1, condition_version = $2, condition_tags = $3, tag_operator = $4, is_active = $5, status = $6, "
     "delta_updatable = $7, lock_device_membership = $8, queue_management = $9, concurrent_updates = $10, priority_queue_enabled = $11, "
     "priority_queue_concurrent_updates = $12, priority_queue_firmware_version_threshold = $13, release_network_interfaces = $14, "
     "release_tags = $15, device_failure_threshold = $16, device_failure_rate_amount = $17, device_failure_rate_seconds = $18, "
     "failure_threshold = $19, penalty_timeout_minutes = $20, connecting_code = $21, notes = $22, delta_wait_minutes = $23, updated_at = $24 WHERE id = $25");
STMT(group_set_release, "UPDATE deployment_groups SET current_release_id = $1, archive_told = $2, updated_at = $3 WHERE id = $4");
STMT(group_delete, "DELETE FROM deployment_groups WHERE id = $1");
/* A number that grows with each turn, and the time of the turn unless clocks went back. */
STMT(group_turn, "SELECT orchestrated_at FROM deployment_groups WHERE id = $1");
STMT(group_lock, "UPDATE deployment_groups SET orchestrated_at = $1 WHERE id = $2");
STMT(group_count_add, "UPDATE deployment_groups SET device_count = device_count + $1 WHERE id = $2");
STMT(group_updated_add, "UPDATE deployment_groups SET current_updated_devices = current_updated_devices + 1 WHERE id = $1");
STMT(group_ids_active, "SELECT id FROM deployment_groups WHERE is_active = 1 AND id > $1 ORDER BY id LIMIT $2");

#define RELEASE                                                                                                                   \
	"SELECT r.id, r.number, r.firmware_id, r.archive_id, f.uuid, f.version, f.platform, f.architecture, r.description, "      \
	"r.notes, r.inserted_at, r.updated_at, a.uuid, r.deployment_group_id FROM deployment_releases r "                         \
	"JOIN firmwares f ON f.id = r.firmware_id LEFT JOIN archives a ON a.id = r.archive_id "
#define FIRMWARE_OF_RELEASE "SELECT id, uuid, version, platform, architecture FROM firmwares WHERE product_id = $1 "

STMT(release_insert, "INSERT INTO deployment_releases (deployment_group_id, number, firmware_id, archive_id, created_by_id, description, notes, "
                     "inserted_at, updated_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $8) RETURNING id");
STMT(release_list, RELEASE "WHERE r.deployment_group_id = $1 ORDER BY r.number DESC LIMIT $2");
STMT(firmware_for_release, FIRMWARE_OF_RELEASE "AND uuid = $2");
STMT(firmware_for_release_id, FIRMWARE_OF_RELEASE "AND id = $2");

/* ---- the device's place in the rollout ---------------------------------------------------------------------------------- */

#define FACTS                                                                                                                     \
	"SELECT d.id, d.org_id, d.product_id, d.deployment_id, d.identifier, d.deleted_at, d.updates_enabled, d.updates_blocked_until, " \
	"d.update_attempts, d.firmware_uuid, d.firmware_version, d.firmware_platform, d.firmware_architecture, d.firmware_metadata, " \
	"d.firmware_validation_status, d.firmware_auto_revert_detected, d.tags, d.connected_at, d.first_seen_at, d.last_failure, " \
	"d.last_failure_at, c.network_interface, i.id, i.deployment_id, (SELECT o.event_kinds FROM orgs o WHERE o.id = d.org_id), " \
	"d.timezone, d.rollout_release_id, d.rollout_wave FROM devices d "                                                        \
	 \
	"LEFT JOIN device_connections c ON c.device_id = d.id LEFT JOIN inflight_updates i ON i.device_id = d.id "

STMT(facts, FACTS "WHERE d.id = $1");
STMT(facts_members, FACTS "WHERE d.deployment_id = $1 AND d.id > $2 AND d.deleted_at IS NULL ORDER BY d.id LIMIT $3");
STMT(facts_ungrouped, FACTS "WHERE d.product_id = $1 AND d.deployment_id IS NULL AND d.deleted_at IS NULL AND d.id > $2 ORDER BY d.id LIMIT $3");
STMT(device_set_group, "UPDATE devices SET deployment_id = $1, updated_at = $2 WHERE id = $3");
STMT(device_set_firmware, "UPDATE devices SET firmware_uuid = $1, firmware_version = $2, firmware_platform = $3, firmware_architecture = $4, "
                          "firmware_metadata = $5, firmware_validation_status = $6, firmware_auto_revert_detected = $7, updated_at = $8 "
                          "WHERE id = $9");
STMT(device_set_validation, "UPDATE devices SET firmware_validation_status = $1, firmware_auto_revert_detected = $2, updated_at = $3 "
                            "WHERE id = $4");
STMT(device_set_validated, "UPDATE devices SET firmware_validation_status = 'validated', updated_at = $1 WHERE id = $2");
STMT(device_set_attempts, "UPDATE devices SET update_attempts = $1, updated_at = $2 WHERE id = $3");
STMT(device_set_blocked, "UPDATE devices SET updates_blocked_until = $1, updated_at = $2 WHERE id = $3");
STMT(device_set_updates, "UPDATE devices SET updates_enabled = $1, updated_at = $2 WHERE id = $3");
STMT(device_set_failure, "UPDATE devices SET last_failure = $1, last_failure_at = $2 WHERE id = $3");
STMT(device_provision, "UPDATE devices SET status = 'provisioned', first_seen_at = $1 WHERE id = $2 AND first_seen_at IS NULL");
STMT(device_online, "UPDATE devices SET connected_at = $1 WHERE id = $2");
STMT(device_offline, "UPDATE devices SET connected_at = NULL WHERE id = $1 AND connected_at IS NOT NULL "
                     "RETURNING org_id, product_id, deployment_id, (SELECT o.event_kinds FROM orgs o WHERE o.id = devices.org_id)");
STMT(device_firmware_add, "INSERT INTO device_firmwares (id, device_id, firmware_uuid, metadata, validation_status, auto_revert_detected, "
                          "inserted_at) VALUES ($1, $2, $3, $4, $5, $6, $7)");
STMT(device_firmware_trim, "DELETE FROM device_firmwares WHERE device_id = $1 AND id < "
                           "(SELECT id FROM device_firmwares WHERE device_id = $1 ORDER BY id DESC LIMIT 1 OFFSET $2)");
STMT(device_firmware_validation, "UPDATE device_firmwares SET validation_status = $1, auto_revert_detected = $2 WHERE id = "
                                 "(SELECT id FROM device_firmwares WHERE device_id = $3 ORDER BY id DESC LIMIT 1)");

/* ---- selection ---------------------------------------------------------------------------------------------------------- */

/* A walk over the distinct firmwares of a group's connected devices, one index seek each. */
STMT(waiting_source, "SELECT MIN(firmware_uuid) FROM devices WHERE deployment_id = $1 AND connected_at IS NOT NULL AND firmware_uuid > $2");

/* Where a walk goes on is a row to compare with: PostgreSQL takes that for the range of the index, and reads past what lies before where the same is said with OR. */
#define WAITING(column)                                                                                                           \
	"SELECT d.id, " column ", d.firmware_version, d.tags, c.network_interface, d.timezone, d.rollout_release_id FROM devices d " \
	"LEFT JOIN device_connections c ON c.device_id = d.id WHERE d.deployment_id = $1 AND d.firmware_uuid = $2 AND d.connected_at IS NOT NULL " \
	"AND d.deleted_at IS NULL AND d.updates_enabled = 1 AND d.firmware_validation_status <> 'not_validated' "                 \
	"AND (d.updates_blocked_until IS NULL OR d.updates_blocked_until <= $3) "                                                 \
	"AND NOT EXISTS (SELECT 1 FROM inflight_updates i WHERE i.device_id = d.id) "

STMT(waiting_fifo, WAITING("d.connected_at") "AND (d.connected_at, d.id) > ($4, $5) "
                                             "ORDER BY d.connected_at, d.id LIMIT $6");
STMT(waiting_lifo, WAITING("d.first_seen_at") "AND (d.first_seen_at, d.id) < ($4, $5) "
                                              "ORDER BY d.first_seen_at DESC, d.id DESC LIMIT $6");

/* ---- updates in flight --------------------------------------------------------------------------------------------------- */

STMT(inflight_get, "SELECT deployment_id, firmware_id, firmware_uuid, status, progress, priority_queue, inserted_at, updated_at "
                   "FROM inflight_updates WHERE device_id = $1");
STMT(inflight_count, "SELECT COUNT(*) FROM inflight_updates WHERE deployment_id = $1 AND priority_queue = $2");
STMT(inflight_insert, "INSERT INTO inflight_updates (device_id, deployment_id, firmware_id, firmware_uuid, priority_queue, inserted_at, "
                      "updated_at) VALUES ($1, $2, $3, $4, $5, $6, $6) ON CONFLICT (device_id) DO NOTHING");
STMT(inflight_set, "UPDATE inflight_updates SET status = $1, progress = $2, updated_at = $3 WHERE device_id = $4");
STMT(inflight_delete, "DELETE FROM inflight_updates WHERE device_id = $1");
STMT(inflight_expired, "SELECT device_id FROM inflight_updates WHERE updated_at < $1 OR updated_at > $2 ORDER BY updated_at LIMIT $3");
STMT(inflight_unheard, "SELECT i.device_id FROM inflight_updates i JOIN devices d ON d.id = i.device_id "
                       "WHERE i.status = 'requested' AND i.updated_at > $1 AND i.updated_at <= $2 AND i.firmware_id IS NOT NULL "
                       "AND d.connected_at IS NOT NULL AND d.deleted_at IS NULL ORDER BY i.updated_at LIMIT $3");
STMT(update_stat_add, "INSERT INTO update_stats (product_id, device_id, deployment_id, type, source_firmware_uuid, target_firmware_uuid, "
                      "update_bytes, saved_bytes, inserted_at, started_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)");
STMT(firmware_for_payload, "SELECT f.uuid, f.version, f.platform, f.architecture, p.name, f.author, f.description, f.misc, f.vcs_identifier, "
                           "f.size_bytes, f.checksum, f.partials_checksums, f.org_id, f.product_id, f.object_key "
                           "FROM firmwares f JOIN products p ON p.id = f.product_id WHERE f.id = $1");
STMT(firmware_size_by_uuid, "SELECT size_bytes FROM firmwares WHERE product_id = $1 AND uuid = $2");
STMT(firmware_metadata_by_uuid, "SELECT f.uuid, p.name, f.version, f.architecture, f.platform, f.author, f.description, f.vcs_identifier, "
                                "f.misc FROM firmwares f JOIN products p ON p.id = f.product_id WHERE f.product_id = $1 AND f.uuid = $2");
STMT(org_public_keys, "SELECT key FROM org_keys WHERE org_id = $1 AND scheme = 'ed25519' ORDER BY id LIMIT 500");
STMT(download_firmware, "SELECT id, object_key, checksum, size_bytes FROM firmwares WHERE org_id = $1 AND uuid = $2 ORDER BY id LIMIT 1");

/* ---- connections --------------------------------------------------------------------------------------------------------- */

STMT(connection_get, "SELECT id, status, established_at, last_seen_at, disconnected_at, disconnected_reason, network_interface, metadata "
                     "FROM device_connections WHERE device_id = $1");
#define OPEN_ROW                                                                                                                  \
	"INSERT INTO device_connections (id, device_id, status, established_at, last_seen_at, disconnected_at, node, metadata) "  \
	"VALUES ($1, $2, $3, $4, $5, $6, $7, $8) ON CONFLICT (device_id) DO UPDATE SET id = excluded.id, node = excluded.node, "  \
	"status = excluded.status, established_at = excluded.established_at, last_seen_at = excluded.last_seen_at, "              \
	"disconnected_at = excluded.disconnected_at, disconnected_reason = NULL, network_interface = NULL, metadata = excluded.metadata "

STMT(connection_open, OPEN_ROW);
/* Written late: not over a newer one, nor over one that another node holds, whose clock may differ. */
STMT(connection_open_late, OPEN_ROW "WHERE device_connections.id = excluded.id OR (device_connections.established_at <= excluded.established_at "
                                    "AND (device_connections.node = excluded.node OR device_connections.status = 'disconnected'))");
STMT(connection_joined, "UPDATE device_connections SET status = 'connected', metadata = $1, last_seen_at = $2 WHERE device_id = $3 AND id = $4");
STMT(connection_is, "SELECT metadata, established_at FROM device_connections WHERE device_id = $1 AND id = $2 AND status <> 'disconnected'");
STMT(connection_seen, "UPDATE device_connections SET last_seen_at = $1 WHERE device_id = $2 AND id = $3 AND last_seen_at < $1");
STMT(connection_interface, "UPDATE device_connections SET network_interface = $1 WHERE device_id = $2 AND id = $3");
STMT(connection_metadata, "UPDATE device_connections SET metadata = $1 WHERE device_id = $2 AND id = $3");
STMT(connection_close, "UPDATE device_connections SET status = 'disconnected', disconnected_at = $1, disconnected_reason = $2 "
                       "WHERE device_id = $3 AND id = $4 AND status <> 'disconnected'");
/* Of servers that are entered among the nodes the others see whether they live, and compare no clocks. */
STMT(connection_stale, "SELECT device_id, id FROM device_connections WHERE status <> 'disconnected' AND last_seen_at < $1 AND node <> $2 "
                       "AND NOT EXISTS (SELECT 1 FROM nodes WHERE nodes.name = device_connections.node) ORDER BY last_seen_at LIMIT $3");
STMT(connection_of_node, "SELECT device_id, id FROM device_connections WHERE status <> 'disconnected' AND node = $1 LIMIT $2");

/* ---- device authentication ---------------------------------------------------------------------------------------------- */

#define AUTH_DEVICE "d.id, d.org_id, d.product_id, d.identifier, d.deleted_at"

STMT(auth_cert_by_sha256, "SELECT " AUTH_DEVICE ", c.id FROM device_certificates c JOIN devices d ON d.id = c.device_id WHERE c.sha256 = $1");
STMT(auth_cert_by_key, "SELECT " AUTH_DEVICE " FROM device_certificates c JOIN devices d ON d.id = c.device_id "
                       "WHERE c.spki_sha256 = $1 ORDER BY c.id LIMIT 1");
STMT(auth_cert_used, "UPDATE device_certificates SET last_used_at = $1 WHERE id = $2");
STMT(auth_cert_used_by_sha256, "UPDATE device_certificates SET last_used_at = $1 WHERE sha256 = $2 AND device_id = $3");
STMT(auth_ca_by_ski, "SELECT c.id, c.org_id, c.der, c.not_before, c.not_after, c.check_expiration, j.product_id, j.tags, j.description "
                     "FROM ca_certificates c LEFT JOIN jitp j ON j.ca_certificate_id = c.id WHERE c.ski = $1 ORDER BY c.id LIMIT 100");
STMT(auth_ca_used, "UPDATE ca_certificates SET last_used_at = $1 WHERE id = $2");
/* A live device before a deleted one of the same name. */
STMT(auth_device_find, "SELECT " AUTH_DEVICE " FROM devices d WHERE d.org_id = $1 AND d.identifier = $2 AND d.deleted_at IS NULL");
STMT(auth_device_deleted, "SELECT d.id FROM devices d WHERE d.org_id = $1 AND d.identifier = $2 AND d.deleted_at IS NOT NULL LIMIT 1");
STMT(auth_device_certs, "SELECT COUNT(*) FROM (SELECT id FROM device_certificates WHERE device_id = $1 LIMIT 1) AS c");
STMT(auth_product_secret, "SELECT s.secret, p.id, p.org_id FROM product_shared_secrets s JOIN products p ON p.id = s.product_id "
                          "WHERE s.key = $1 AND s.deactivated_at IS NULL AND p.deleted_at IS NULL");
STMT(auth_device_secret, "SELECT s.secret, d.product_id, d.org_id, d.id, d.identifier FROM device_shared_secrets s "
                         "JOIN devices d ON d.id = s.device_id WHERE s.key = $1 AND s.deactivated_at IS NULL AND d.deleted_at IS NULL");

const struct nh_stmt *const nh_rollout_statements[] = {
	&nh_q_group_by_id, &nh_q_group_by_name, &nh_q_group_list, &nh_q_group_candidates, &nh_q_group_insert, &nh_q_group_update,
	&nh_q_group_set_release, &nh_q_group_delete, &nh_q_group_turn, &nh_q_group_lock, &nh_q_group_count_add, &nh_q_group_updated_add, &nh_q_group_ids_active,
	&nh_q_release_insert, &nh_q_release_list, &nh_q_firmware_for_release, &nh_q_firmware_for_release_id,
	&nh_q_facts, &nh_q_facts_members, &nh_q_facts_ungrouped, &nh_q_device_set_group, &nh_q_device_set_firmware, &nh_q_device_set_validation,
	&nh_q_device_set_validated, &nh_q_device_set_attempts, &nh_q_device_set_blocked, &nh_q_device_set_updates, &nh_q_device_set_failure,
	&nh_q_device_provision, &nh_q_device_online, &nh_q_device_offline, &nh_q_device_firmware_add, &nh_q_device_firmware_trim, &nh_q_device_firmware_validation,
	&nh_q_waiting_source, &nh_q_waiting_fifo, &nh_q_waiting_lifo,
	&nh_q_inflight_get, &nh_q_inflight_count, &nh_q_inflight_insert, &nh_q_inflight_set, &nh_q_inflight_delete, &nh_q_inflight_expired,
	&nh_q_inflight_unheard,
	&nh_q_update_stat_add, &nh_q_firmware_for_payload, &nh_q_firmware_size_by_uuid, &nh_q_firmware_metadata_by_uuid,
	&nh_q_org_public_keys, &nh_q_download_firmware,
	&nh_q_connection_get, &nh_q_connection_open, &nh_q_connection_open_late, &nh_q_connection_joined, &nh_q_connection_is, &nh_q_connection_seen,
	&nh_q_connection_interface, &nh_q_connection_metadata, &nh_q_connection_close, &nh_q_connection_stale, &nh_q_connection_of_node,
	&nh_q_auth_cert_by_sha256, &nh_q_auth_cert_by_key, &nh_q_auth_cert_used, &nh_q_auth_cert_used_by_sha256, &nh_q_auth_ca_by_ski,
	&nh_q_auth_ca_used, &nh_q_auth_device_find, &nh_q_auth_device_deleted, &nh_q_auth_device_certs,
	&nh_q_auth_product_secret, &nh_q_auth_device_secret,
	NULL,
};
