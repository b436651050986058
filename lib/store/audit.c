/*
 * Texts of the audit family (see store/audit.h). One text serves both engines; parameters are numbered by first use.
 */
#include "store/audit.h"

#define STMT(id, text) const struct nh_stmt nh_q_##id = {#id, text}

/* ---- entries ------------------------------------------------------------------------------------------------------------- */

#define COLUMNS "id, inserted_at, actor_kind, actor_id, actor_name, resource_kind, resource_id, description"
#define AUDIT "SELECT " COLUMNS " FROM audit_logs "

STMT(audit_add, "INSERT INTO audit_logs (org_id, actor_kind, actor_id, actor_name, resource_kind, resource_id, description, inserted_at) "
     "VALUES ($1, $2, $3, $4, $5, $6, $7, $8)");
STMT(audit_list, AUDIT "WHERE org_id = $1 AND resource_kind = $2 AND resource_id = $3 AND id < $4 ORDER BY id DESC LIMIT $5");
/* The newest of each of two indexes: neither OR nor UNION alone lets SQLite walk both. */
STMT(audit_list_device, "SELECT * FROM (SELECT * FROM (" AUDIT "WHERE org_id = $1 AND resource_kind = 'device' AND resource_id = $2 AND id < $3 "
     "ORDER BY id DESC LIMIT $4) AS r UNION SELECT * FROM (" AUDIT "WHERE org_id = $1 AND actor_kind = 'device' AND actor_id = $2 "
     "AND id < $3 ORDER BY id DESC LIMIT $4) AS a) AS u ORDER BY 1 DESC LIMIT $4");
STMT(audit_list_org, AUDIT "WHERE org_id = $1 AND id < $2 ORDER BY id DESC LIMIT $3");
STMT(audit_unsealed, AUDIT "WHERE seq IS NULL AND org_id = $1 ORDER BY id LIMIT $2");
STMT(audit_sealed, "SELECT " COLUMNS ", seq, hash FROM audit_logs WHERE seq IS NOT NULL AND org_id = $1 AND seq > $2 ORDER BY seq LIMIT $3");
STMT(audit_unsealed_org, "SELECT org_id FROM audit_logs WHERE seq IS NULL AND org_id > $1 ORDER BY org_id LIMIT 1");
STMT(audit_seal, "UPDATE audit_logs SET seq = $1, hash = $2 WHERE id = $3 AND seq IS NULL");
STMT(audit_last_seq, "SELECT COALESCE(MAX(seq), 0) FROM (SELECT MAX(seq) AS seq FROM audit_logs WHERE org_id = $1 AND seq IS NOT NULL "
     "UNION ALL SELECT MAX(seq) FROM audit_anchors WHERE org_id = $1) AS u");
STMT(audit_cut, "DELETE FROM audit_logs WHERE id IN (SELECT id FROM audit_logs WHERE seq IS NOT NULL AND org_id = $1 AND seq <= $2 ORDER BY seq LIMIT $3)");
STMT(audit_orgs_of_user, "SELECT m.org_id FROM org_users m JOIN orgs o ON o.id = m.org_id WHERE m.user_id = $1 AND o.deleted_at IS NULL ORDER BY m.org_id");

/* ---- the chain ------------------------------------------------------------------------------------------------------------ */

#define CHAIN "SELECT chain, first_seq, from_seq, seq, hash, previous, at, public_key, signature, unanchored_at FROM audit_chains "
#define ANCHOR "SELECT chain, from_seq, seq, hash, previous, at, public_key, signature FROM audit_anchors "

STMT(audit_chain_lock, "UPDATE audit_chains SET org_id = org_id WHERE org_id = $1");
STMT(audit_chain_get, CHAIN "WHERE org_id = $1");
STMT(audit_chain_insert, "INSERT INTO audit_chains (org_id, chain, first_seq, from_seq, seq, hash, previous, at, public_key, signature) "
     "VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)");
STMT(audit_chain_update, "UPDATE audit_chains SET from_seq = $1, seq = $2, hash = $3, previous = $4, at = $5, public_key = $6, signature = $7, "
     "unanchored_at = CAST($8 AS BIGINT) WHERE org_id = $9");
STMT(audit_chain_due, "SELECT org_id FROM audit_chains WHERE unanchored_at < $1 ORDER BY unanchored_at LIMIT 1");
STMT(audit_anchor_insert, "INSERT INTO audit_anchors (org_id, seq, chain, from_seq, hash, previous, at, public_key, signature) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)");
STMT(audit_anchor_list, ANCHOR "WHERE org_id = $1 AND chain = $2 AND seq > $3 ORDER BY seq LIMIT $4");
STMT(audit_anchor_newest, ANCHOR "WHERE org_id = $1 AND seq < $2 ORDER BY seq DESC LIMIT $3");
STMT(audit_anchor_get, ANCHOR "WHERE org_id = $1 AND chain = $2 AND seq = $3");
STMT(audit_cut_due, "SELECT c.org_id, MAX(a.seq) FROM audit_chains c JOIN orgs o ON o.id = c.org_id JOIN audit_anchors a ON a.org_id = c.org_id AND a.chain = c.chain "
     "AND a.seq > c.from_seq WHERE a.at <= $1 - COALESCE(o.audit_log_days_to_keep, $2) * 86400000000 AND c.org_id > $3 GROUP BY c.org_id ORDER BY c.org_id LIMIT 1");
STMT(audit_cut_left, "SELECT c.org_id, c.from_seq FROM audit_chains c WHERE EXISTS (SELECT 1 FROM audit_logs l WHERE l.seq IS NOT NULL AND l.org_id = c.org_id "
     "AND l.seq <= c.from_seq) ORDER BY c.org_id LIMIT 1");

/* ---- keys ------------------------------------------------------------------------------------------------------------------ */

STMT(audit_key_list, "SELECT number, public_key, sealed_seed, inserted_at FROM audit_keys ORDER BY number DESC");
STMT(audit_key_insert, "INSERT INTO audit_keys (number, public_key, sealed_seed, inserted_at) VALUES ($1, $2, $3, $4)");

const struct nh_stmt *const nh_audit_statements[] = {
	&nh_q_audit_add, &nh_q_audit_list, &nh_q_audit_list_device, &nh_q_audit_list_org, &nh_q_audit_unsealed, &nh_q_audit_sealed, &nh_q_audit_unsealed_org, &nh_q_audit_seal,
	&nh_q_audit_last_seq, &nh_q_audit_cut, &nh_q_audit_orgs_of_user,
	&nh_q_audit_chain_lock, &nh_q_audit_chain_get, &nh_q_audit_chain_insert, &nh_q_audit_chain_update, &nh_q_audit_chain_due,
	&nh_q_audit_anchor_insert, &nh_q_audit_anchor_list, &nh_q_audit_anchor_newest, &nh_q_audit_anchor_get, &nh_q_audit_cut_due, &nh_q_audit_cut_left,
	&nh_q_audit_key_list, &nh_q_audit_key_insert,
	NULL,
};
