/*
 * Texts of the foundation family (see store/foundation.h). One text serves both engines; parameters are numbered by first use.
 */
#include "store/device_query.h"
#include "store/foundation.h"

#define STMT(id, text) const struct nh_stmt nh_q_##id = {#id, text}

/* ---- users and tokens -------------------------------------------------------------------------------------------------- */

#define USER "u.id, u.name, u.email, u.server_admin, u.inserted_at, u.updated_at"

STMT(user_any, "SELECT COUNT(*) FROM (SELECT id FROM users LIMIT 1) AS u");
STMT(user_insert, "INSERT INTO users (name, email, email_key, password_hash, confirmed_at, server_admin, inserted_at, updated_at) "
                  "VALUES ($1, $2, $3, $4, $5, $6, $7, $7) RETURNING id");
STMT(user_by_id, "SELECT " USER " FROM users u WHERE u.id = $1 AND u.deleted_at IS NULL");
STMT(user_by_email, "SELECT " USER ", u.password_hash FROM users u WHERE u.email_key = $1 AND u.deleted_at IS NULL");
STMT(user_set_password, "UPDATE users SET password_hash = $1, updated_at = $2 WHERE id = $3 AND deleted_at IS NULL");

STMT(token_insert, "INSERT INTO user_tokens (user_id, context, token_sha512, note, inserted_at) VALUES ($1, $2, $3, $4, $5) RETURNING id");
STMT(token_find, "SELECT " USER ", t.id, t.last_used_at FROM user_tokens t JOIN users u ON u.id = t.user_id "
                 "WHERE t.context = $1 AND t.token_sha512 = $2 AND u.deleted_at IS NULL");
STMT(token_touch, "UPDATE user_tokens SET last_used_at = $1 WHERE id = $2");
STMT(token_list, "SELECT id, note, last_used_at, inserted_at FROM user_tokens WHERE user_id = $1 AND context = $2 ORDER BY id LIMIT 500");
STMT(token_delete, "DELETE FROM user_tokens WHERE user_id = $1 AND id = $2");
STMT(token_delete_all, "DELETE FROM user_tokens WHERE user_id = $1");

/* ---- organizations and members ------------------------------------------------------------------------------------------ */

#define ORG "o.id, o.name, o.personal_user_id, o.inserted_at, o.updated_at"
#define ORG_OF_USER "SELECT " ORG ", m.role FROM org_users m JOIN orgs o ON o.id = m.org_id WHERE m.user_id = $1 AND o.deleted_at IS NULL "
#define MEMBER "SELECT u.id, u.name, u.email, m.role FROM org_users m JOIN users u ON u.id = m.user_id WHERE m.org_id = $1 AND u.deleted_at IS NULL "

STMT(org_insert, "INSERT INTO orgs (name, personal_user_id, inserted_at, updated_at) VALUES ($1, $2, $3, $3) RETURNING id");
STMT(org_by_name, "SELECT " ORG " FROM orgs o WHERE o.name = $1 AND o.deleted_at IS NULL");
STMT(org_for_user, ORG_OF_USER "AND o.name = $2");
STMT(org_list, ORG_OF_USER "ORDER BY o.name");
STMT(org_role, "SELECT m.role FROM org_users m JOIN orgs o ON o.id = m.org_id WHERE m.user_id = $1 AND m.org_id = $2 AND o.deleted_at IS NULL");

STMT(member_list, MEMBER "ORDER BY m.role, u.id");
STMT(member_get, MEMBER "AND u.email_key = $2");
STMT(member_insert, "INSERT INTO org_users (org_id, user_id, role, inserted_at, updated_at) VALUES ($1, $2, $3, $4, $4) "
                    "ON CONFLICT (org_id, user_id) DO NOTHING");
STMT(member_set_role, "UPDATE org_users SET role = $1, updated_at = $2 WHERE org_id = $3 AND user_id = $4");
STMT(member_delete, "DELETE FROM org_users WHERE org_id = $1 AND user_id = $2");
STMT(member_count, "SELECT COUNT(*) FROM org_users m JOIN users u ON u.id = m.user_id "
                   "WHERE m.org_id = $1 AND m.role >= $2 AND u.deleted_at IS NULL");

/* ---- command-line sessions ----------------------------------------------------------------------------------------------- */

STMT(cli_insert, "INSERT INTO cli_sessions (token, note, confirmation_code, expires_at) VALUES ($1, $2, $3, $4)");
STMT(cli_get, "SELECT note, confirmation_code, user_id FROM cli_sessions WHERE token = $1 AND expires_at > $2 AND delivered = 0");
STMT(cli_confirm, "UPDATE cli_sessions SET user_id = $1 WHERE token = $2");
STMT(cli_deliver, "UPDATE cli_sessions SET delivered = 1 WHERE token = $1 AND delivered = 0");
STMT(cli_expire, "DELETE FROM cli_sessions WHERE expires_at <= $1");

/* ---- products ------------------------------------------------------------------------------------------------------------- */

#define PRODUCT                                                                                                                   \
	"SELECT p.id, p.org_id, p.name, o.name, p.require_unique_firmware_version, p.allowed_update_tools, "                      \
	"p.allow_unsigned_esp_idf_firmware, p.device_count, p.firmware_count, p.inserted_at, p.updated_at, p.extensions "         \
	"FROM products p JOIN orgs o ON o.id = p.org_id WHERE p.deleted_at IS NULL AND o.deleted_at IS NULL "

STMT(product_insert, "INSERT INTO products (org_id, name, inserted_at, updated_at) VALUES ($1, $2, $3, $3) RETURNING id");
STMT(product_by_name, PRODUCT "AND p.org_id = $1 AND p.name = $2");
STMT(product_by_id, PRODUCT "AND p.id = $1");
STMT(product_list, PRODUCT "AND p.org_id = $1 ORDER BY p.name");
STMT(product_update, "UPDATE products SET require_unique_firmware_version = $1, allowed_update_tools = $2, "
                     "allow_unsigned_esp_idf_firmware = $3, extensions = $4, updated_at = $5 WHERE id = $6 AND deleted_at IS NULL");
STMT(product_delete, "UPDATE products SET deleted_at = $1, updated_at = $1 WHERE id = $2 AND deleted_at IS NULL AND device_count = 0");
STMT(product_count_devices, "UPDATE products SET device_count = device_count + $1 WHERE id = $2 AND deleted_at IS NULL");
STMT(product_count_firmwares, "UPDATE products SET firmware_count = firmware_count + $1 WHERE id = $2 AND deleted_at IS NULL");

/* ---- signing keys ---------------------------------------------------------------------------------------------------------- */

#define KEY "SELECT id, org_id, name, key, scheme, inserted_at FROM org_keys WHERE org_id = $1 "

STMT(key_list, KEY "ORDER BY id");
STMT(key_by_name, KEY "AND name = $2");
STMT(key_taken, "SELECT id FROM org_keys WHERE org_id = $1 AND key = $2");
STMT(key_insert, "INSERT INTO org_keys (org_id, created_by_id, name, scheme, key, inserted_at, updated_at) VALUES ($1, $2, $3, $4, $5, $6, $6) "
                 "RETURNING id");
STMT(key_delete, "DELETE FROM org_keys WHERE org_id = $1 AND id = $2");
STMT(key_exists, "SELECT 1 FROM org_keys WHERE org_id = $1 AND id = $2");

/* ---- firmware --------------------------------------------------------------------------------------------------------------- */

#define FIRMWARE                                                                                                                  \
	"SELECT f.id, f.org_id, f.product_id, f.org_key_id, f.uuid, f.version, f.platform, f.architecture, p.name, f.author, "    \
	"f.description, f.misc, f.vcs_identifier, f.size_bytes, f.checksum, f.partials_checksums, f.delta_updatable, f.tool, "    \
	"f.object_key, f.inserted_at, f.updated_at FROM firmwares f JOIN products p ON p.id = f.product_id WHERE f.product_id = $1 "

STMT(firmware_insert,
     "INSERT INTO firmwares (org_id, product_id, org_key_id, uuid, version, version_key, platform, architecture, author, description, misc, "
     "vcs_identifier, size_bytes, checksum, partials_checksums, delta_updatable, tool_full_required_version, object_key, inserted_at, updated_at) "
     "VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $19) RETURNING id");
STMT(firmware_by_uuid, FIRMWARE "AND f.uuid = $2");
STMT(firmware_list, FIRMWARE "ORDER BY f.version_key DESC, f.id DESC");
STMT(firmware_version_taken,
     "SELECT id FROM firmwares WHERE product_id = $1 AND version = $2 AND platform = $3 AND architecture = $4 LIMIT 1");
STMT(firmware_delete, "DELETE FROM firmwares WHERE product_id = $1 AND id = $2");
STMT(firmware_unused,
     "SELECT f.id, f.org_id, f.product_id, f.uuid, f.version, f.object_key, p.name FROM firmwares f JOIN products p ON p.id = f.product_id WHERE f.inserted_at < $1 "
     "AND NOT EXISTS (SELECT 1 FROM deployment_releases r WHERE r.firmware_id = f.id) "
     "AND NOT EXISTS (SELECT 1 FROM inflight_updates i WHERE i.firmware_id = f.id) "
     "AND NOT EXISTS (SELECT 1 FROM devices d WHERE d.product_id = f.product_id AND d.firmware_uuid = f.uuid AND d.deleted_at IS NULL) "
     "AND (SELECT COUNT(*) FROM firmwares n WHERE n.product_id = f.product_id AND n.platform = f.platform AND n.architecture = f.architecture "
     "AND (n.version_key > f.version_key OR (n.version_key = f.version_key AND n.id > f.id))) >= $2 ORDER BY f.id LIMIT $3");

STMT(loose_put, "INSERT INTO loose_objects (object_key, due_at, node) VALUES ($1, $2, $3) "
                "ON CONFLICT (object_key) DO UPDATE SET due_at = excluded.due_at, node = excluded.node");
STMT(loose_abandon, "UPDATE loose_objects SET due_at = $1 WHERE node = $2 AND due_at > $1");
STMT(loose_delete, "DELETE FROM loose_objects WHERE object_key = $1");
STMT(loose_settle, "DELETE FROM loose_objects WHERE object_key = $1 AND due_at > $2");
STMT(loose_due, "SELECT object_key FROM loose_objects WHERE due_at <= $1 ORDER BY due_at LIMIT $2");

/* ---- devices ----------------------------------------------------------------------------------------------------------------- */

STMT(device_insert, "INSERT INTO devices (org_id, product_id, identifier, description, tags, inserted_at, updated_at) "
                    "VALUES ($1, $2, $3, $4, $5, $6, $6) RETURNING id");
STMT(device_by_id, NH_DEVICE_SELECT NH_DEVICE_FROM "WHERE d.id = $1");
STMT(device_by_name, NH_DEVICE_SELECT NH_DEVICE_FROM "WHERE d.product_id = $1 AND d.identifier = $2 AND d.deleted_at IS NULL");
STMT(device_anywhere, NH_DEVICE_SELECT ", m.role " NH_DEVICE_FROM "JOIN org_users m ON m.org_id = d.org_id AND m.user_id = $1 "
                      "WHERE d.identifier = $2 AND d.deleted_at IS NULL AND p.deleted_at IS NULL AND o.deleted_at IS NULL LIMIT 2");
STMT(device_update, "UPDATE devices SET description = $1, tags = $2, connecting_code = $3, custom_location = $4, extensions = $5, "
                    "updated_at = $6 WHERE id = $7 AND deleted_at IS NULL");
STMT(device_delete, "UPDATE devices SET deleted_at = $1, updated_at = $1 WHERE id = $2 AND deleted_at IS NULL");
STMT(device_move, "UPDATE devices SET org_id = $1, product_id = $2, updated_at = $3 WHERE id = $4 AND deleted_at IS NULL");

/* ---- certificates -------------------------------------------------------------------------------------------------------------- */

#define CERT "SELECT id, org_id, device_id, serial, not_before, not_after, last_used_at, inserted_at, der, sha256 FROM device_certificates "
#define CA                                                                                                                        \
	"SELECT c.id, c.org_id, c.serial, c.description, c.not_before, c.not_after, c.last_used_at, c.inserted_at, "             \
	"c.check_expiration, j.product_id, p.name, j.tags, j.description FROM ca_certificates c "                                 \
	"LEFT JOIN jitp j ON j.ca_certificate_id = c.id LEFT JOIN products p ON p.id = j.product_id WHERE c.org_id = $1 "

STMT(cert_insert, "INSERT INTO device_certificates (org_id, device_id, serial, aki, ski, not_before, not_after, der, sha256, spki_sha256, "
                  "inserted_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11) RETURNING id");
STMT(cert_list, CERT "WHERE device_id = $1 ORDER BY id");
STMT(cert_by_serial, CERT "WHERE device_id = $1 AND serial = $2");
STMT(cert_by_sha256, CERT "WHERE sha256 = $1");
STMT(cert_spki_owner, "SELECT device_id FROM device_certificates WHERE spki_sha256 = $1 AND device_id <> $2 LIMIT 1");
STMT(cert_delete, "DELETE FROM device_certificates WHERE id = $1");
STMT(cert_move, "UPDATE device_certificates SET org_id = $1 WHERE device_id = $2");

STMT(ca_insert, "INSERT INTO ca_certificates (org_id, serial, aki, ski, not_before, not_after, der, sha256, description, inserted_at) "
                "VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10) RETURNING id");
STMT(ca_list, CA "ORDER BY c.id");
STMT(ca_by_serial, CA "AND c.serial = $2");
STMT(ca_taken, "SELECT id FROM ca_certificates WHERE sha256 = $1 OR (org_id = $2 AND serial = $3) LIMIT 1");
STMT(ca_orgs_by_ski, "SELECT org_id, der FROM ca_certificates WHERE ski = $1 ORDER BY id LIMIT 100");
STMT(ca_delete, "DELETE FROM ca_certificates WHERE id = $1");
STMT(jitp_insert, "INSERT INTO jitp (ca_certificate_id, product_id, tags, description) VALUES ($1, $2, $3, $4)");

/* ---- shared secrets -------------------------------------------------------------------------------------------------------------- */

STMT(product_secret_insert, "INSERT INTO product_shared_secrets (product_id, key, secret, inserted_at) VALUES ($1, $2, $3, $4) RETURNING id");
STMT(product_secret_list, "SELECT id, key, deactivated_at, inserted_at FROM product_shared_secrets WHERE product_id = $1 ORDER BY id");
STMT(product_secret_deactivate, "UPDATE product_shared_secrets SET deactivated_at = $1 "
                                "WHERE product_id = $2 AND key = $3 AND deactivated_at IS NULL");
STMT(device_secret_insert, "INSERT INTO device_shared_secrets (device_id, key, secret, inserted_at) VALUES ($1, $2, $3, $4) RETURNING id");
STMT(device_secret_deactivate, "UPDATE device_shared_secrets SET deactivated_at = $1 WHERE device_id = $2 AND key = $3 AND deactivated_at IS NULL");
STMT(device_secret_deactivate_all, "UPDATE device_shared_secrets SET deactivated_at = $1 WHERE device_id = $2 AND deactivated_at IS NULL");

const struct nh_stmt *const nh_foundation_statements[] = {
	&nh_q_user_any, &nh_q_user_insert, &nh_q_user_by_id, &nh_q_user_by_email, &nh_q_user_set_password,
	&nh_q_token_insert, &nh_q_token_find, &nh_q_token_touch, &nh_q_token_list, &nh_q_token_delete, &nh_q_token_delete_all,
	&nh_q_org_insert, &nh_q_org_by_name, &nh_q_org_for_user, &nh_q_org_list, &nh_q_org_role,
	&nh_q_member_list, &nh_q_member_get, &nh_q_member_insert, &nh_q_member_set_role, &nh_q_member_delete, &nh_q_member_count,
	&nh_q_cli_insert, &nh_q_cli_get, &nh_q_cli_confirm, &nh_q_cli_deliver, &nh_q_cli_expire,
	&nh_q_product_insert, &nh_q_product_by_name, &nh_q_product_by_id, &nh_q_product_list, &nh_q_product_update, &nh_q_product_delete,
	&nh_q_product_count_devices, &nh_q_product_count_firmwares,
	&nh_q_key_list, &nh_q_key_by_name, &nh_q_key_taken, &nh_q_key_insert, &nh_q_key_delete, &nh_q_key_exists,
	&nh_q_firmware_insert, &nh_q_firmware_by_uuid, &nh_q_firmware_list, &nh_q_firmware_version_taken, &nh_q_firmware_delete, &nh_q_firmware_unused,
	&nh_q_loose_put, &nh_q_loose_abandon, &nh_q_loose_delete, &nh_q_loose_settle, &nh_q_loose_due,
	&nh_q_device_insert, &nh_q_device_by_id, &nh_q_device_by_name, &nh_q_device_anywhere, &nh_q_device_update,
	&nh_q_device_delete, &nh_q_device_move,
	&nh_q_cert_insert, &nh_q_cert_list, &nh_q_cert_by_serial, &nh_q_cert_by_sha256, &nh_q_cert_spki_owner, &nh_q_cert_delete,
	&nh_q_cert_move,
	&nh_q_ca_insert, &nh_q_ca_list, &nh_q_ca_by_serial, &nh_q_ca_taken, &nh_q_ca_orgs_by_ski, &nh_q_ca_delete, &nh_q_jitp_insert,
	&nh_q_product_secret_insert, &nh_q_product_secret_list, &nh_q_product_secret_deactivate,
	&nh_q_device_secret_insert, &nh_q_device_secret_deactivate, &nh_q_device_secret_deactivate_all,
	NULL,
};
