/*
 * Texts of the overview family (see store/overview.h). One text serves both engines; parameters are numbered by first use.
 */
#include "store/overview.h"

#include "store/device_query.h"

#define STMT(id, text) const struct nh_stmt nh_q_##id = {#id, text}

/* ---- pins -------------------------------------------------------------------------------------------------------------- */

STMT(pin_add, "INSERT INTO pinned_devices (user_id, device_id, inserted_at) VALUES ($1, $2, $3) ON CONFLICT (user_id, device_id) DO NOTHING");
STMT(pin_remove, "DELETE FROM pinned_devices WHERE user_id = $1 AND device_id = $2");
STMT(pin_list, NH_DEVICE_SELECT NH_DEVICE_FROM "JOIN pinned_devices pin ON pin.device_id = d.id AND pin.user_id = $1 "
     "JOIN org_users m ON m.org_id = d.org_id AND m.user_id = pin.user_id "
     "WHERE d.deleted_at IS NULL AND p.deleted_at IS NULL AND o.deleted_at IS NULL ORDER BY d.identifier, d.id LIMIT $2");
STMT(pin_forget, "DELETE FROM pinned_devices WHERE device_id = $1");
STMT(pin_strangers, "DELETE FROM pinned_devices WHERE device_id = $1 AND user_id NOT IN (SELECT user_id FROM org_users WHERE org_id = $2)");

/* ---- notifications ------------------------------------------------------------------------------------------------------- */

STMT(notification_add, "INSERT INTO product_notifications (product_id, level, event_key, title, message, metadata, last_occurred_at, inserted_at) "
     "VALUES ($1, $2, $3, $4, $5, $6, $7, $7) ON CONFLICT (product_id, event_key) DO UPDATE SET "
     "occurrence_count = product_notifications.occurrence_count + 1, last_occurred_at = excluded.last_occurred_at");
STMT(notification_list, "SELECT id, level, event_key, title, message, metadata, occurrence_count, last_occurred_at, inserted_at FROM product_notifications "
     "WHERE product_id = $1 ORDER BY last_occurred_at DESC, id DESC LIMIT $2");
STMT(notification_dismiss, "DELETE FROM product_notifications WHERE product_id = $1");

/* ---- figures: each reads one index and no row -------------------------------------------------------------------------------- */

STMT(figure_firmware, "SELECT firmware_version, firmware_platform, firmware_architecture, COUNT(*) AS devices FROM devices WHERE product_id = $1 AND deleted_at IS NULL "
     "GROUP BY firmware_platform, firmware_architecture, firmware_version ORDER BY devices DESC, firmware_version, firmware_platform, firmware_architecture LIMIT $2");
STMT(figure_connected, "SELECT COUNT(*) FROM devices WHERE product_id = $1 AND connected_at IS NOT NULL");
STMT(figure_unseen, "SELECT COUNT(*) FROM devices WHERE product_id = $1 AND status = 'registered' AND deleted_at IS NULL");

/* ---- the search box ------------------------------------------------------------------------------------------------------- */

STMT(search_devices, "SELECT identifier FROM devices WHERE product_id = $1 AND deleted_at IS NULL AND LOWER(identifier) LIKE $2 ESCAPE '\\' ORDER BY identifier LIMIT $3");
STMT(search_groups, "SELECT name FROM deployment_groups WHERE product_id = $1 AND LOWER(name) LIKE $2 ESCAPE '\\' ORDER BY name LIMIT $3");
STMT(search_firmwares, "SELECT uuid, version, platform, architecture FROM firmwares WHERE product_id = $1 AND LOWER(uuid) LIKE $2 ESCAPE '\\' ORDER BY uuid LIMIT $3");

/* ---- deleted devices -------------------------------------------------------------------------------------------------------- */

STMT(device_deleted, NH_DEVICE_SELECT NH_DEVICE_FROM "WHERE d.product_id = $1 AND d.identifier = $2 AND d.deleted_at IS NOT NULL ORDER BY d.deleted_at DESC, d.id DESC LIMIT 1");
STMT(device_restore, "UPDATE devices SET deleted_at = NULL, updated_at = $1 WHERE id = $2 AND deleted_at IS NOT NULL");
STMT(devices_deleted_before, NH_DEVICE_SELECT NH_DEVICE_FROM "WHERE d.deleted_at <= $1 ORDER BY d.deleted_at LIMIT $2");
STMT(device_destroy, "DELETE FROM devices WHERE id = $1 AND deleted_at IS NOT NULL");
STMT(device_secret_list, "SELECT id, key, deactivated_at, inserted_at FROM device_shared_secrets WHERE device_id = $1 ORDER BY id");

/* ---- identities that an operator gives a device ------------------------------------------------------------------------------- */

STMT(identity_assign, "INSERT INTO network_identities (org_id, device_id, service, instance, identifier, details, source, inserted_at, updated_at) "
     "VALUES ($1, $2, $3, $4, $5, $6, 'operator', $7, $7)");
STMT(identity_get, "SELECT i.id, i.device_id, i.service, i.instance, i.identifier, i.details, i.source, i.last_reported_at, i.inserted_at, i.updated_at "
     "FROM network_identities i WHERE i.device_id = $1 AND i.service = $2 AND i.identifier = $3");
STMT(identity_remove, "DELETE FROM network_identities WHERE device_id = $1 AND service = $2 AND identifier = $3");

/* ---- organizations ---------------------------------------------------------------------------------------------------------- */

STMT(org_settings, "SELECT audit_log_days_to_keep FROM orgs WHERE id = $1");
STMT(org_update, "UPDATE orgs SET name = $1, audit_log_days_to_keep = CAST($2 AS BIGINT), updated_at = $3 WHERE id = $4 AND deleted_at IS NULL");
STMT(org_devices, "SELECT COALESCE(SUM(device_count), 0) FROM products WHERE org_id = $1 AND deleted_at IS NULL");
STMT(org_delete, "UPDATE orgs SET deleted_at = $1, updated_at = $1 WHERE id = $2 AND deleted_at IS NULL");
STMT(org_delete_products, "UPDATE products SET deleted_at = $1, updated_at = $1 WHERE org_id = $2 AND deleted_at IS NULL");
STMT(org_delete_cas, "DELETE FROM ca_certificates WHERE org_id = $1");

const struct nh_stmt *const nh_overview_statements[] = {
	&nh_q_pin_add, &nh_q_pin_remove, &nh_q_pin_list, &nh_q_pin_forget, &nh_q_pin_strangers,
	&nh_q_notification_add, &nh_q_notification_list, &nh_q_notification_dismiss,
	&nh_q_figure_firmware, &nh_q_figure_connected, &nh_q_figure_unseen,
	&nh_q_search_devices, &nh_q_search_groups, &nh_q_search_firmwares,
	&nh_q_device_deleted, &nh_q_device_restore, &nh_q_devices_deleted_before, &nh_q_device_destroy, &nh_q_device_secret_list,
	&nh_q_identity_assign, &nh_q_identity_get, &nh_q_identity_remove,
	&nh_q_org_settings, &nh_q_org_update, &nh_q_org_devices, &nh_q_org_delete, &nh_q_org_delete_products, &nh_q_org_delete_cas,
	NULL,
};
