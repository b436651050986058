/*
 * Texts of the authority family (see store/authority.h). One text serves both engines; parameters are numbered by first use.
 */
#include "store/authority.h"

#define STMT(id, text) const struct nh_stmt nh_q_##id = {#id, text}

STMT(authority_find, "SELECT id FROM authorities WHERE sha256 = $1");
STMT(authority_insert, "INSERT INTO authorities (sha256, der, not_after, inserted_at) VALUES ($1, $2, $3, $4) ON CONFLICT (sha256) DO NOTHING RETURNING id");
STMT(authority_revision, "SELECT crl_revision FROM authorities WHERE id = $1");
STMT(authority_revise, "UPDATE authorities SET crl_revision = crl_revision + 1 WHERE id = $1");
STMT(authority_revise_all, "UPDATE authorities SET crl_revision = crl_revision + 1");

/* ---- issued certificates ----------------------------------------------------------------------------------------------- */

#define ISSUED                                                                                                                    \
	"SELECT id, authority_id, kind, user_id, org_id, device_id, family_id, serial, subject, description, not_before, not_after, " \
	"der, sha256, last_used_at, revoked_at, reason, inserted_at FROM authority_certificates "

STMT(issued_insert, "INSERT INTO authority_certificates (authority_id, kind, user_id, org_id, device_id, family_id, serial, subject, description, not_before, "
                    "not_after, der, sha256, inserted_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14) RETURNING id");
STMT(issued_of_user, ISSUED "WHERE user_id = $1 AND id < $2 ORDER BY id DESC LIMIT $3");
STMT(issued_of_org, ISSUED "WHERE org_id = $1 AND id < $2 ORDER BY id DESC LIMIT $3");
STMT(issued_all, ISSUED "WHERE id < $1 ORDER BY id DESC LIMIT $2");
STMT(issued_user_serial, ISSUED "WHERE user_id = $1 AND serial = $2 ORDER BY id DESC LIMIT 1");
STMT(issued_org_serial, ISSUED "WHERE org_id = $1 AND serial = $2 ORDER BY id DESC LIMIT 1");
STMT(issued_by_serial, ISSUED "WHERE authority_id IN (SELECT id FROM authorities) AND serial = $1 ORDER BY id DESC LIMIT 1");
STMT(issued_by_sha256, ISSUED "WHERE sha256 = $1");
STMT(issued_user_count, "SELECT COUNT(*) FROM authority_certificates WHERE user_id = $1 AND not_after > $2 AND revoked_at IS NULL");
STMT(issued_revoke, "UPDATE authority_certificates SET revoked_at = $1, reason = $2 WHERE (id = $3 OR (family_id = $4 AND id > $3)) AND revoked_at IS NULL");
STMT(issued_revoke_user, "UPDATE authority_certificates SET revoked_at = $1, reason = $2 WHERE user_id = $3 AND revoked_at IS NULL");
STMT(issued_touch, "UPDATE authority_certificates SET last_used_at = $1 WHERE id = $2");
STMT(issued_revoked, "SELECT der, revoked_at, reason FROM authority_certificates WHERE authority_id = $1 AND not_after > $2 AND revoked_at IS NOT NULL ORDER BY not_after, id");
STMT(issued_login, "SELECT u.id, u.name, u.email, u.server_admin, u.inserted_at, u.updated_at, c.id, c.last_used_at "
                   "FROM authority_certificates c JOIN users u ON u.id = c.user_id "
                   "WHERE c.sha256 = $1 AND c.kind = 'user' AND c.revoked_at IS NULL AND c.not_before <= $2 AND c.not_after > $2 AND u.deleted_at IS NULL");

STMT(personal_org, "SELECT id FROM orgs WHERE personal_user_id = $1");
STMT(device_cert_unpin, "DELETE FROM device_certificates WHERE sha256 = $1 RETURNING device_id");
STMT(ca_update, "UPDATE ca_certificates SET description = $1, check_expiration = $2 WHERE id = $3");
STMT(jitp_delete, "DELETE FROM jitp WHERE ca_certificate_id = $1");
STMT(ca_unregister, "DELETE FROM ca_certificates WHERE org_id = $1 AND sha256 = $2");

/* ---- what expires soon ------------------------------------------------------------------------------------------------- */

STMT(expiring_issued, "SELECT kind, serial, subject, not_after, NULL, NULL FROM authority_certificates "
                      "WHERE org_id = $1 AND not_after BETWEEN $2 AND $3 AND revoked_at IS NULL AND kind <> 'device' ORDER BY not_after LIMIT $4");
STMT(expiring_cas, "SELECT 'ca', serial, description, not_after, NULL, NULL FROM ca_certificates "
                   "WHERE org_id = $1 AND not_after BETWEEN $2 AND $3 ORDER BY not_after LIMIT $4");
STMT(expiring_devices, "SELECT 'device', c.serial, NULL, c.not_after, d.identifier, p.name FROM device_certificates c JOIN devices d ON d.id = c.device_id "
                       "JOIN products p ON p.id = d.product_id "
                       "WHERE c.org_id = $1 AND c.not_after BETWEEN $2 AND $3 AND d.deleted_at IS NULL ORDER BY c.not_after LIMIT $4");
/* By way of the organizations, whose indexes lead to the few that expire, whatever the fleet's size. */
STMT(expiring_counts, "SELECT (SELECT COUNT(*) FROM authority_certificates WHERE not_after BETWEEN $1 AND $2 AND revoked_at IS NULL AND kind <> 'device'), "
                      "(SELECT COUNT(*) FROM orgs o JOIN ca_certificates a ON a.org_id = o.id WHERE a.not_after BETWEEN $1 AND $2), "
                      "(SELECT COUNT(*) FROM orgs o JOIN device_certificates c ON c.org_id = o.id WHERE c.not_after BETWEEN $1 AND $2)");

const struct nh_stmt *const nh_authority_statements[] = {
	&nh_q_authority_find, &nh_q_authority_insert, &nh_q_authority_revision, &nh_q_authority_revise, &nh_q_authority_revise_all,
	&nh_q_issued_insert, &nh_q_issued_of_user, &nh_q_issued_of_org, &nh_q_issued_all, &nh_q_issued_user_serial, &nh_q_issued_org_serial,
	&nh_q_issued_by_serial, &nh_q_issued_by_sha256, &nh_q_issued_user_count, &nh_q_issued_revoke, &nh_q_issued_revoke_user, &nh_q_issued_touch,
	&nh_q_issued_revoked, &nh_q_issued_login,
	&nh_q_personal_org, &nh_q_device_cert_unpin, &nh_q_ca_update, &nh_q_jitp_delete, &nh_q_ca_unregister,
	&nh_q_expiring_issued, &nh_q_expiring_cas, &nh_q_expiring_devices, &nh_q_expiring_counts,
	NULL,
};
