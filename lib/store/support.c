/*
 * Texts of the support family (see store/support.h). One text serves both engines; parameters are numbered by first use.
 */
#include "store/support.h"

#define STMT(id, text) const struct nh_stmt nh_q_##id = {#id, text}

/* ---- archives ---------------------------------------------------------------------------------------------------------- */

#define ARCHIVE                                                                                                                   \
	"SELECT a.id, a.org_id, a.product_id, a.org_key_id, a.uuid, a.version, a.platform, a.architecture, p.name, a.author, "    \
	"a.description, a.misc, a.vcs_identifier, a.size_bytes, a.checksum, a.object_key, a.inserted_at, a.updated_at "           \
	"FROM archives a JOIN products p ON p.id = a.product_id "

STMT(archive_insert,
     "INSERT INTO archives (org_id, product_id, org_key_id, uuid, version, version_key, platform, architecture, author, description, misc, "
     "vcs_identifier, size_bytes, checksum, object_key, inserted_at, updated_at) "
     "VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $16) RETURNING id");
STMT(archive_by_uuid, ARCHIVE "WHERE a.product_id = $1 AND a.uuid = $2");
STMT(archive_by_id, ARCHIVE "WHERE a.product_id = $1 AND a.id = $2");
STMT(archive_list, ARCHIVE "WHERE a.product_id = $1 ORDER BY a.version_key DESC, a.id DESC");
STMT(archive_of_group, ARCHIVE "JOIN deployment_releases r ON r.archive_id = a.id JOIN deployment_groups g ON g.current_release_id = r.id "
                               "WHERE g.id = $1");
STMT(archive_delete, "DELETE FROM archives WHERE product_id = $1 AND id = $2 "
                     "AND NOT EXISTS (SELECT 1 FROM deployment_releases r WHERE r.archive_id = archives.id)");
STMT(archive_unused,
     "SELECT a.id, a.org_id, a.product_id, a.uuid, a.version, a.object_key, p.name FROM archives a JOIN products p ON p.id = a.product_id WHERE a.inserted_at < $1 "
     "AND NOT EXISTS (SELECT 1 FROM deployment_releases r WHERE r.archive_id = a.id) "
     "AND (SELECT COUNT(*) FROM archives n WHERE n.product_id = a.product_id AND n.platform = a.platform AND n.architecture = a.architecture "
     "AND (n.version_key > a.version_key OR (n.version_key = a.version_key AND n.id > a.id))) >= $2 ORDER BY a.id LIMIT $3");
STMT(archive_download, "SELECT id, object_key, checksum, size_bytes FROM archives WHERE product_id = $1 AND uuid = $2");
STMT(archive_told, "SELECT archive_told FROM deployment_groups WHERE id = $1");
STMT(archive_told_set, "UPDATE deployment_groups SET archive_told = $1 WHERE id = $2");

#define MEMBER                                                                                                                    \
	"SELECT d.id, d.org_id, d.identifier, d.deployment_id, d.updates_enabled, d.updates_blocked_until, c.metadata "           \
	"FROM devices d JOIN device_connections c ON c.device_id = d.id "                                                         \
	"WHERE d.connected_at IS NOT NULL AND d.deleted_at IS NULL "

STMT(archive_member, MEMBER "AND d.id = $1");
STMT(archive_members, MEMBER "AND d.deployment_id = $1 AND d.id > $2 ORDER BY d.id LIMIT $3");

/* ---- scripts ----------------------------------------------------------------------------------------------------------- */

#define SCRIPT_COLUMNS "s.id, s.product_id, s.name, s.tags, s.inserted_at, s.updated_at, u.id, u.name, u.email"
#define SCRIPT_FROM "FROM scripts s LEFT JOIN users u ON u.id = s.created_by_id WHERE s.product_id = $1 "
#define SCRIPT "SELECT " SCRIPT_COLUMNS ", s.text " SCRIPT_FROM

STMT(script_insert, "INSERT INTO scripts (product_id, name, text, tags, created_by_id, last_updated_by_id, inserted_at, updated_at) "
                    "VALUES ($1, $2, $3, $4, $5, $5, $6, $6) RETURNING id");
STMT(script_by_id, SCRIPT "AND s.id = $2");
STMT(script_by_name, SCRIPT "AND s.name = $2 ORDER BY s.id LIMIT 1");
STMT(script_list, "SELECT " SCRIPT_COLUMNS " " SCRIPT_FROM "ORDER BY s.name, s.id LIMIT $2");
STMT(script_count, "SELECT COUNT(*) FROM scripts WHERE product_id = $1");
STMT(script_update, "UPDATE scripts SET name = $1, text = $2, tags = $3, last_updated_by_id = $4, updated_at = $5 "
                    "WHERE product_id = $6 AND id = $7");
STMT(script_delete, "DELETE FROM scripts WHERE product_id = $1 AND id = $2");

STMT(join_brings, "SELECT g.connecting_code, d.connecting_code, r.archive_id FROM devices d "
                  "LEFT JOIN deployment_groups g ON g.id = d.deployment_id LEFT JOIN deployment_releases r ON r.id = g.current_release_id WHERE d.id = $1");

const struct nh_stmt *const nh_support_statements[] = {
	&nh_q_archive_insert, &nh_q_archive_by_uuid, &nh_q_archive_by_id, &nh_q_archive_list, &nh_q_archive_of_group, &nh_q_archive_delete,
	&nh_q_archive_unused, &nh_q_archive_download, &nh_q_archive_told, &nh_q_archive_told_set, &nh_q_archive_member, &nh_q_archive_members,
	&nh_q_script_insert, &nh_q_script_by_id, &nh_q_script_by_name, &nh_q_script_list, &nh_q_script_count, &nh_q_script_update, &nh_q_script_delete,
	&nh_q_join_brings,
	NULL,
};
