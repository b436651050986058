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

/* ---- the own account ----------------------------------------------------------------------------------------------------- */

STMT(account_state, "SELECT confirmed_at, password_hash, totp_enabled_at FROM users WHERE id = $1 AND deleted_at IS NULL");
STMT(account_unconfirm, "UPDATE users SET confirmed_at = NULL WHERE id = $1");
STMT(account_confirm, "UPDATE users SET email = $1, email_key = $2, confirmed_at = $3, updated_at = $3 WHERE id = $4 AND deleted_at IS NULL");
STMT(account_confirmed, "UPDATE users SET confirmed_at = $1 WHERE id = $2 AND confirmed_at IS NULL");
STMT(account_rename, "UPDATE users SET name = $1, updated_at = $2 WHERE id = $3 AND deleted_at IS NULL");
STMT(account_orgs, "SELECT o.id, o.name, "
                   "(SELECT COUNT(*) FROM org_users n JOIN users u ON u.id = n.user_id WHERE n.org_id = o.id AND u.deleted_at IS NULL), "
                   "(SELECT COUNT(*) FROM org_users n JOIN users u ON u.id = n.user_id WHERE n.org_id = o.id AND n.role >= 3 AND u.deleted_at IS NULL), "
                   "(SELECT COUNT(*) FROM products p WHERE p.org_id = o.id AND p.deleted_at IS NULL), m.role "
                   "FROM org_users m JOIN orgs o ON o.id = m.org_id WHERE m.user_id = $1 AND o.deleted_at IS NULL ORDER BY o.name");
STMT(account_bury, "UPDATE users SET deleted_at = $1, updated_at = $1, password_hash = NULL, totp_secret = NULL, totp_enabled_at = NULL WHERE id = $2");
STMT(account_leave_all, "DELETE FROM org_users WHERE user_id = $1");
STMT(account_scripts_created, "UPDATE scripts SET created_by_id = NULL WHERE created_by_id = $1");
STMT(account_scripts_edited, "UPDATE scripts SET last_updated_by_id = NULL WHERE last_updated_by_id = $1");
STMT(account_unpin, "DELETE FROM pinned_devices WHERE user_id = $1");
STMT(org_lock, "UPDATE orgs SET updated_at = updated_at WHERE id = $1");
STMT(org_bury, "UPDATE orgs SET deleted_at = $1, updated_at = $1 WHERE id = $2");
STMT(org_bury_cas, "DELETE FROM ca_certificates WHERE org_id = $1");

/* ---- second factors ------------------------------------------------------------------------------------------------------ */

STMT(factor_get, "SELECT totp_secret, totp_enabled_at, totp_step, totp_failures, totp_blocked_until, "
                 "(SELECT COUNT(*) FROM recovery_codes r WHERE r.user_id = users.id) FROM users WHERE id = $1 AND deleted_at IS NULL");
STMT(factor_set, "UPDATE users SET totp_secret = $1, totp_enabled_at = NULL, totp_step = 0, totp_failures = 0, totp_blocked_until = NULL WHERE id = $2");
STMT(factor_enable, "UPDATE users SET totp_enabled_at = $1, totp_step = $2 WHERE id = $3");
STMT(factor_clear, "UPDATE users SET totp_secret = NULL, totp_enabled_at = NULL, totp_step = 0, totp_failures = 0, totp_blocked_until = NULL WHERE id = $1");
STMT(factor_note, "UPDATE users SET totp_step = $1, totp_failures = $2, totp_blocked_until = $3 WHERE id = $4 AND totp_step = $5 AND totp_failures = $6");
STMT(recovery_insert, "INSERT INTO recovery_codes (user_id, code_hmac) VALUES ($1, $2)");
STMT(recovery_use, "DELETE FROM recovery_codes WHERE user_id = $1 AND code_hmac = $2");
STMT(recovery_delete_all, "DELETE FROM recovery_codes WHERE user_id = $1");

/* ---- invitations ----------------------------------------------------------------------------------------------------------- */

#define INVITE                                                                                                                    \
	"SELECT i.id, i.org_id, o.name, i.email, i.role, u.name, i.inserted_at, i.expires_at "                                    \
	"FROM invites i JOIN orgs o ON o.id = i.org_id LEFT JOIN users u ON u.id = i.invited_by_id WHERE o.deleted_at IS NULL "

STMT(invite_insert, "INSERT INTO invites (org_id, invited_by_id, email, email_key, role, token_sha512, inserted_at, expires_at) "
                    "VALUES ($1, $2, $3, $4, $5, $6, $7, $8) RETURNING id");
STMT(invite_list, INVITE "AND i.org_id = $1 AND i.expires_at > $2 ORDER BY i.id LIMIT 500");
STMT(invite_count, "SELECT COUNT(*) FROM invites WHERE org_id = $1 AND expires_at > $2");
STMT(invite_find, INVITE "AND i.token_sha512 = $1 AND i.expires_at > $2");
STMT(invite_delete, "DELETE FROM invites WHERE org_id = $1 AND id = $2");
STMT(invite_settle, "DELETE FROM invites WHERE org_id = $1 AND email_key = $2");
STMT(invite_expire, "DELETE FROM invites WHERE expires_at <= $1");
STMT(org_admins, "SELECT u.name, u.email FROM org_users m JOIN users u ON u.id = m.user_id "
                 "WHERE m.org_id = $1 AND m.role >= 3 AND u.id <> $2 AND u.deleted_at IS NULL ORDER BY u.id LIMIT 100");

/* ---- mails ------------------------------------------------------------------------------------------------------------------- */

STMT(mail_insert, "INSERT INTO mails (kind, sealed, inserted_at, due_at) VALUES ($1, $2, $3, $3) RETURNING id");
STMT(mail_first, "SELECT id, kind, sealed, attempts, inserted_at, due_at FROM mails ORDER BY due_at, id LIMIT 1");
STMT(mail_move, "UPDATE mails SET attempts = $1, due_at = $2 WHERE id = $3");
STMT(mail_claim, "UPDATE mails SET attempts = $1, due_at = $2 WHERE id = $3 AND due_at = $4");
STMT(mail_delete, "DELETE FROM mails WHERE id = $1");

const struct nh_stmt *const nh_accounts_statements[] = {
	&nh_q_ticket_insert, &nh_q_ticket_find, &nh_q_ticket_list, &nh_q_ticket_touch, &nh_q_ticket_delete, &nh_q_ticket_delete_hash, &nh_q_ticket_delete_all,
	&nh_q_ticket_expire,
	&nh_q_account_state, &nh_q_account_unconfirm, &nh_q_account_confirm, &nh_q_account_confirmed, &nh_q_account_rename, &nh_q_account_orgs, &nh_q_account_bury,
	&nh_q_account_leave_all, &nh_q_account_unpin, &nh_q_account_scripts_created, &nh_q_account_scripts_edited, &nh_q_org_lock, &nh_q_org_bury, &nh_q_org_bury_cas,
	&nh_q_factor_get, &nh_q_factor_set, &nh_q_factor_enable, &nh_q_factor_clear, &nh_q_factor_note, &nh_q_recovery_insert, &nh_q_recovery_use,
	&nh_q_recovery_delete_all,
	&nh_q_invite_insert, &nh_q_invite_list, &nh_q_invite_count, &nh_q_invite_find, &nh_q_invite_delete, &nh_q_invite_settle, &nh_q_invite_expire, &nh_q_org_admins,
	&nh_q_mail_insert, &nh_q_mail_first, &nh_q_mail_claim, &nh_q_mail_move, &nh_q_mail_delete,
	NULL,
};
