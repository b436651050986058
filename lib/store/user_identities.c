/*
 * Texts of the identities family (see store/user_identities.h). One text serves both engines; parameters are numbered by first use.
 */
#include "store/user_identities.h"

#define STMT(id, text) const struct nh_stmt nh_q_##id = {#id, text}

STMT(user_identity_find, "SELECT u.id, u.name, u.email, u.server_admin, u.inserted_at, u.updated_at, i.id FROM user_identities i JOIN users u ON u.id = i.user_id "
                         "WHERE i.issuer = $1 AND i.subject = $2 AND u.deleted_at IS NULL");
STMT(user_identity_insert, "INSERT INTO user_identities (user_id, issuer, subject, email, inserted_at, last_used_at) VALUES ($1, $2, $3, $4, $5, $6)");
STMT(user_identity_used, "UPDATE user_identities SET email = $1, last_used_at = $2 WHERE id = $3");
STMT(user_identity_list, "SELECT id, issuer, subject, email, inserted_at, last_used_at FROM user_identities WHERE user_id = $1 ORDER BY id LIMIT 100");
STMT(user_identity_delete, "DELETE FROM user_identities WHERE user_id = $1 AND id = $2 AND "
                           "(EXISTS (SELECT 1 FROM users u WHERE u.id = $1 AND COALESCE(u.password_hash, '') <> '') "
                           "OR EXISTS (SELECT 1 FROM user_identities o WHERE o.user_id = $1 AND o.id <> $2))");
STMT(user_identity_delete_all, "DELETE FROM user_identities WHERE user_id = $1");

const struct nh_stmt *const nh_user_identities_statements[] = {
	&nh_q_user_identity_find, &nh_q_user_identity_insert, &nh_q_user_identity_used, &nh_q_user_identity_list, &nh_q_user_identity_delete, &nh_q_user_identity_delete_all,
	NULL,
};
