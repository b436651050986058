/*
 * Texts of the simulation's checks (see store/simulate.h).
 */
#include "store/simulate.h"

#define STMT(id, text) const struct nh_stmt nh_q_##id = {#id, text}

STMT(check_one_update, "SELECT device_id FROM inflight_updates GROUP BY device_id HAVING COUNT(*) > 1");
STMT(check_group_count, "SELECT g.id FROM deployment_groups g WHERE g.device_count <> (SELECT COUNT(*) FROM devices d WHERE d.deployment_id = g.id)");
STMT(check_product_count, "SELECT p.id FROM products p WHERE p.device_count <> "
			  "(SELECT COUNT(*) FROM devices d WHERE d.product_id = p.id AND d.deleted_at IS NULL)");
STMT(check_member, "SELECT d.id FROM devices d JOIN deployment_groups g ON g.id = d.deployment_id "
		   "WHERE d.product_id <> g.product_id OR d.org_id <> g.org_id OR d.deleted_at IS NOT NULL");
STMT(check_online, "SELECT d.id FROM devices d LEFT JOIN device_connections c ON c.device_id = d.id "
		   "WHERE (d.connected_at IS NOT NULL) <> (COALESCE(c.status, '') = 'connected')");
STMT(check_inflight_live, "SELECT d.id FROM inflight_updates i JOIN devices d ON d.id = i.device_id WHERE d.deleted_at IS NOT NULL");
STMT(check_inflight_own, "SELECT d.id FROM inflight_updates i JOIN devices d ON d.id = i.device_id JOIN firmwares f ON f.id = i.firmware_id "
			 "WHERE f.org_id <> d.org_id OR f.product_id <> d.product_id");
STMT(check_inflight_told, "SELECT i.device_id FROM inflight_updates i JOIN devices d ON d.id = i.device_id WHERE NOT EXISTS (SELECT 1 FROM audit_logs a "
			  "WHERE a.org_id = d.org_id AND a.resource_kind = 'device' AND a.resource_id = i.device_id AND a.inserted_at = i.inserted_at)");
STMT(check_node_clean, "SELECT device_id FROM device_connections WHERE node = $1 AND status <> 'disconnected'");
STMT(check_connection, "SELECT id, node FROM device_connections WHERE device_id = $1 AND status = 'connected'");
STMT(check_started, "SELECT 1 FROM audit_logs WHERE resource_kind = 'device' AND resource_id = $1 "
		    "AND (description LIKE '% started the update of device %(' || $2 || ')' OR description LIKE '% pushed firmware %(' || $2 || ') to device %') LIMIT 1");
STMT(check_delta_fits, "SELECT i.device_id FROM inflight_updates i JOIN devices d ON d.id = i.device_id JOIN firmware_deltas x ON x.id = i.delta_id "
		       "JOIN firmwares s ON s.id = x.source_id WHERE i.device_id = $1 AND (x.target_id <> i.firmware_id OR x.status <> 'completed' "
		       "OR s.uuid <> d.firmware_uuid OR (d.delta_failed = 1 AND i.inserted_at = $2))");
STMT(check_delta_source, "SELECT x.id FROM firmware_deltas x JOIN firmwares s ON s.id = x.source_id WHERE x.id = $1 AND s.uuid <> $2");
STMT(check_outdated, "SELECT d.id FROM devices d JOIN deployment_groups g ON g.id = d.deployment_id JOIN deployment_releases r ON r.id = g.current_release_id "
		     "JOIN firmwares f ON f.id = r.firmware_id WHERE d.connected_at IS NOT NULL AND d.firmware_uuid <> f.uuid AND g.is_active = 1 "
		     "AND NOT EXISTS (SELECT 1 FROM inflight_updates i WHERE i.device_id = d.id) ORDER BY d.id");
STMT(check_limits, "SELECT g.id, g.concurrent_updates, g.priority_queue_concurrent_updates, "
		   "(SELECT COUNT(*) FROM inflight_updates i WHERE i.deployment_id = g.id AND i.priority_queue = 0), "
		   "(SELECT COUNT(*) FROM inflight_updates i WHERE i.deployment_id = g.id AND i.priority_queue = 1) FROM deployment_groups g ORDER BY g.id");

const struct nh_stmt *const nh_simulate_statements[] = {
	&nh_q_check_one_update, &nh_q_check_group_count, &nh_q_check_product_count, &nh_q_check_member, &nh_q_check_online, &nh_q_check_inflight_live,
	&nh_q_check_inflight_own, &nh_q_check_inflight_told, &nh_q_check_node_clean, &nh_q_check_connection, &nh_q_check_started, &nh_q_check_delta_fits, &nh_q_check_delta_source, &nh_q_check_outdated, &nh_q_check_limits, NULL,
};
