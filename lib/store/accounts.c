/*
 * Texts of the accounts family (see store/accounts.h). One text serves both engines; parameters are numbered by first use.
 */
#include "store/accounts.h"

#define STMT(id, text) const struct nh_stmt nh_q_##id = {#id, text}

/* ---- tickets: tokens that end ------------------------------------------------------------------------------------------ */

#define USER "u.id, u.name, u.email, u.server_admin, u.inserted_at, u.updated_at"
#define TICKET "t.id, t.note, t.address, t.inserted_at, t.last_used_at, t.expires_at"

STMT(ticket_insert, "INSERT INTO user_tokens (user_id, context, token_sha512, note, address, inserted_at, expires_at) "
                    "VALUES ($1, $2, $3, $4, $5, $6, $7) RETURNING id");
STMT(ticket_find, "SELECT " USER ", " TICKET " FROM user_tokens t JOIN users u ON u.id = t.user_id "
                  "WHERE t.context = $1 AND t.token_sha512 = $2 AND t.expires_at > $3 AND u.deleted_at IS NULL");
STMT(ticket_list, "SELECT " TICKET " FROM user_tokens t WHERE t.user_id = $1 AND t.context = $2 AND t.expires_at > $3 ORDER BY t.id DESC LIMIT 500");
STMT(ticket_touch, "UPDATE user_tokens SET last_used_at = $1 WHERE id = $2");
STMT(ticket_delete, "DELETE FROM user_tokens WHERE user_id = $1 AND context = $2 AND id = $3");
STMT(ticket_delete_hash, "DELETE FROM user_tokens WHERE context = $1 AND token_sha512 = $2");
STMT(ticket_delete_all, "DELETE FROM user_tokens WHERE user_id = $1 AND context = $2 AND id <> $3");
STMT(ticket_expire, "DELETE FROM user_tokens WHERE id IN (SELECT id FROM user_tokens WHERE expires_at IS NOT NULL AND expires_at <= $1 LIMIT $2)");

const struct nh_stmt *const nh_accounts_statements[] = {
	&nh_q_ticket_insert, &nh_q_ticket_find, &nh_q_ticket_list, &nh_q_ticket_touch, &nh_q_ticket_delete, &nh_q_ticket_delete_hash, &nh_q_ticket_delete_all,
	&nh_q_ticket_expire,
	NULL,
};
