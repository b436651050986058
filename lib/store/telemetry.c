/*
 * Texts of the telemetry family (see store/telemetry.h). One text serves both engines; parameters are numbered by first use. No read's cost grows with the fleet,
 * and no trim looks at rows that it keeps.
 */
#include "store/telemetry.h"

#define STMT(id, text) const struct nh_stmt nh_q_##id = {#id, text}

STMT(extension_settings, "SELECT p.extensions, d.extensions FROM devices d JOIN products p ON p.id = d.product_id WHERE d.id = $1 AND d.deleted_at IS NULL");

/* ---- health ------------------------------------------------------------------------------------------------------------ */

#define REPORT "SELECT inserted_at, status, status_reasons, alarms, data FROM device_health WHERE device_id = $1 "

STMT(health_supersede, "UPDATE device_health SET superseded = 1 WHERE device_id = $1 AND superseded = 0 RETURNING status");
STMT(health_add, "INSERT INTO device_health (device_id, inserted_at, status, status_reasons, alarms, data) VALUES ($1, $2, $3, $4, $5, $6) RETURNING id");
STMT(health_latest, REPORT "AND superseded = 0");
STMT(health_list, REPORT "AND inserted_at < $2 ORDER BY inserted_at DESC LIMIT $3");
STMT(health_trim, "DELETE FROM device_health WHERE id IN (SELECT id FROM device_health WHERE superseded = 1 AND inserted_at < $1 ORDER BY inserted_at LIMIT $2)");

/* A report's numbers come by the dozen; places that are left over are null. */
#define PAIR(key, value) "(CAST($" #key " AS TEXT), CAST($" #value " AS DOUBLE PRECISION))"
STMT(metrics_add, "INSERT INTO device_metrics (health_id, key, value) SELECT CAST($1 AS BIGINT), given.column1, given.column2 FROM (VALUES "
                  PAIR(2, 3) ", " PAIR(4, 5) ", " PAIR(6, 7) ", " PAIR(8, 9) ", " PAIR(10, 11) ", " PAIR(12, 13) ", "
                  PAIR(14, 15) ", " PAIR(16, 17) ", " PAIR(18, 19) ", " PAIR(20, 21) ", " PAIR(22, 23) ", " PAIR(24, 25)
                  ") AS given WHERE given.column1 IS NOT NULL");
STMT(metrics_list, "SELECT h.inserted_at, m.key, m.value FROM device_health h JOIN device_metrics m ON m.health_id = h.id "
                   "WHERE h.device_id = $1 AND h.inserted_at >= $2 AND h.inserted_at <= $3 AND ($4 = '' OR m.key = $4) "
                   "ORDER BY h.inserted_at, m.key LIMIT $5");

/* ---- log lines --------------------------------------------------------------------------------------------------------- */

STMT(log_add, "INSERT INTO device_log_lines (device_id, at, inserted_at, level, message, meta) VALUES ($1, $2, $3, $4, $5, $6)");
STMT(log_page, "SELECT id, at, level, message, meta FROM device_log_lines WHERE device_id = $1 AND at >= $2 AND (at, id) < ($3, $4) "
               "ORDER BY at DESC, id DESC LIMIT $5");
STMT(log_trim, "DELETE FROM device_log_lines WHERE id IN (SELECT id FROM device_log_lines WHERE inserted_at < $1 ORDER BY inserted_at LIMIT $2)");

/* ---- network identities ------------------------------------------------------------------------------------------------ */

STMT(identity_holder, "SELECT id, org_id, device_id, org_user_id, instance, source, details FROM network_identities WHERE service = $1 AND identifier = $2");
STMT(identity_of, "SELECT id, source FROM network_identities WHERE device_id = $1 AND service = $2 AND instance = $3");
STMT(identity_add, "INSERT INTO network_identities (org_id, device_id, service, instance, identifier, details, source, last_reported_at, inserted_at, updated_at) "
                   "VALUES ($1, $2, $3, $4, $5, $6, 'device_reported', $7, $7, $7)");
STMT(identity_replace, "UPDATE network_identities SET identifier = $1, details = $2, last_reported_at = $3, updated_at = $3 WHERE id = $4");
STMT(identity_refresh, "UPDATE network_identities SET details = $1, last_reported_at = $2, updated_at = $2 WHERE id = $3");
STMT(identity_touch, "UPDATE network_identities SET last_reported_at = $1 WHERE id = $2");
STMT(identity_take, "UPDATE network_identities SET device_id = $1, instance = $2, details = $3, source = 'device_reported', last_reported_at = $4, updated_at = $4 "
                    "WHERE id = $5");
STMT(identity_delete, "DELETE FROM network_identities WHERE id = $1");
#define IDENTITY "SELECT i.id, i.device_id, i.service, i.instance, i.identifier, i.details, i.source, i.last_reported_at, i.inserted_at, i.updated_at"
STMT(identity_list, IDENTITY " FROM network_identities i WHERE i.device_id = $1 ORDER BY i.service, i.instance");
STMT(identity_device_deleted, "DELETE FROM network_identities WHERE device_id = $1");
STMT(identity_device_moved, "UPDATE network_identities SET org_id = $1 WHERE device_id = $2");

#define ENDPOINT                                                                                                                  \
	IDENTITY ", d.identifier, u.name, u.email FROM network_identities i LEFT JOIN devices d ON d.id = i.device_id "            \
	"LEFT JOIN org_users m ON m.id = i.org_user_id LEFT JOIN users u ON u.id = m.user_id WHERE i.org_id = $1 AND i.service = 'iroh' "
STMT(endpoint_list, ENDPOINT "AND ($2 = '' OR ($2 = 'device' AND i.device_id IS NOT NULL) OR ($2 = 'user' AND i.org_user_id IS NOT NULL) "
                             "OR ($2 = 'none' AND i.device_id IS NULL AND i.org_user_id IS NULL)) "
                             "AND ($3 = '' OR LOWER(i.identifier) LIKE $3 ESCAPE '\\' OR LOWER(d.identifier) LIKE $4 ESCAPE '\\' OR LOWER(u.name) LIKE $4 ESCAPE '\\') "
                             "ORDER BY i.id DESC LIMIT $5");
STMT(endpoint_get, ENDPOINT "AND i.identifier = $2");
STMT(endpoint_add, "INSERT INTO network_identities (org_id, org_user_id, service, instance, identifier, details, source, inserted_at, updated_at) "
                   "VALUES ($1, CAST($2 AS BIGINT), 'iroh', $3, $4, $5, 'operator', $6, $6)");
STMT(endpoint_delete, "DELETE FROM network_identities WHERE org_id = $1 AND service = 'iroh' AND identifier = $2");
STMT(member_id, "SELECT m.id FROM org_users m JOIN users u ON u.id = m.user_id WHERE m.org_id = $1 AND u.email_key = $2 AND u.deleted_at IS NULL");

/* ---- connections that ended --------------------------------------------------------------------------------------------- */

/* Where the device's row still is this connection's, it knows more than the caller. */
STMT(history_add, "INSERT INTO device_connection_history (id, device_id, product_id, established_at, disconnected_at, disconnected_reason, network_interface) "
                  "SELECT CAST($1 AS TEXT), d.id, d.product_id, COALESCE(c.established_at, $2), CAST($3 AS BIGINT), CAST($4 AS TEXT), c.network_interface "
                  "FROM devices d LEFT JOIN device_connections c ON c.device_id = d.id AND c.id = $1 WHERE d.id = $5 ON CONFLICT (id) DO NOTHING");
STMT(history_list, "SELECT id, established_at, disconnected_at, disconnected_reason, network_interface FROM device_connection_history "
                   "WHERE device_id = $1 AND established_at < $2 ORDER BY established_at DESC LIMIT $3");
STMT(history_trim, "DELETE FROM device_connection_history WHERE id IN "
                   "(SELECT id FROM device_connection_history WHERE disconnected_at < $1 ORDER BY disconnected_at LIMIT $2)");
/* One walk over the product's connections of that time in an index that has all it needs; the one that goes on counts too. */
STMT(flapping, "SELECT listed.device_id, listed.identifier, listed.connections FROM (SELECT ended.device_id, d.identifier, "
               "ended.count + (CASE WHEN c.status <> 'disconnected' AND c.established_at >= $1 THEN 1 ELSE 0 END) AS connections "
               "FROM (SELECT device_id, COUNT(*) AS count FROM device_connection_history WHERE product_id = $2 AND established_at >= $1 GROUP BY device_id "
               "HAVING COUNT(*) >= $3) AS ended JOIN devices d ON d.id = ended.device_id AND d.product_id = $2 AND d.deleted_at IS NULL "
               "LEFT JOIN device_connections c ON c.device_id = ended.device_id) AS listed "
               "WHERE listed.connections > $3 ORDER BY listed.connections DESC, listed.identifier LIMIT $4");

const struct nh_stmt *const nh_telemetry_statements[] = {
	&nh_q_extension_settings,
	&nh_q_health_supersede, &nh_q_health_add, &nh_q_health_latest, &nh_q_health_list, &nh_q_health_trim, &nh_q_metrics_add, &nh_q_metrics_list,
	&nh_q_log_add, &nh_q_log_page, &nh_q_log_trim,
	&nh_q_identity_holder, &nh_q_identity_of, &nh_q_identity_add, &nh_q_identity_replace, &nh_q_identity_refresh, &nh_q_identity_touch, &nh_q_identity_take,
	&nh_q_identity_delete, &nh_q_identity_list, &nh_q_identity_device_deleted, &nh_q_identity_device_moved,
	&nh_q_endpoint_list, &nh_q_endpoint_get, &nh_q_endpoint_add, &nh_q_endpoint_delete, &nh_q_member_id,
	&nh_q_history_add, &nh_q_history_list, &nh_q_history_trim, &nh_q_flapping,
	NULL,
};
