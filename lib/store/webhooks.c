/*
 * Texts of the webhooks family (see store/webhooks.h). One text serves both engines; parameters are numbered by first use.
 */
#include "store/webhooks.h"

#define STMT(id, text) const struct nh_stmt nh_q_##id = {#id, text}

/* ---- events ------------------------------------------------------------------------------------------------------------ */

STMT(event_kinds, "SELECT event_kinds FROM orgs WHERE id = $1 AND deleted_at IS NULL");
STMT(event_askers, "SELECT id FROM orgs WHERE id > $1 AND deleted_at IS NULL AND (event_kinds & $2) <> 0 ORDER BY id LIMIT $3");
STMT(event_add, "INSERT INTO events (org_id, product_id, device_id, deployment_id, kind, uuid, data, inserted_at) "
                "VALUES ($1, CAST($2 AS BIGINT), CAST($3 AS BIGINT), CAST($4 AS BIGINT), $5, $6, $7, $8)");
/* A device that has gone to another organization since has no name here any more. */
STMT(event_first, "SELECT e.id, e.org_id, e.product_id, e.device_id, e.deployment_id, e.kind, e.uuid, e.data, e.inserted_at, o.name, p.name, d.identifier, g.name "
                  "FROM events e JOIN orgs o ON o.id = e.org_id LEFT JOIN products p ON p.id = e.product_id LEFT JOIN devices d ON d.id = e.device_id AND d.org_id = e.org_id "
                  "LEFT JOIN deployment_groups g ON g.id = e.deployment_id ORDER BY e.id LIMIT $1");
STMT(event_delete, "DELETE FROM events WHERE id = $1");
STMT(event_kinds_set, "UPDATE orgs SET event_kinds = $1 WHERE id = $2");

/* ---- webhooks ---------------------------------------------------------------------------------------------------------- */

#define WEBHOOK                                                                                                                   \
	"SELECT w.id, w.product_id, p.name, w.description, w.url, w.kinds, w.enabled, w.disabled_reason, w.waiting, w.dead, "     \
	"w.failing_since, w.delivered_at, w.old_secret_until, w.inserted_at, w.updated_at "                                       \
	"FROM webhooks w LEFT JOIN products p ON p.id = w.product_id WHERE w.org_id = $1 "

STMT(webhook_list, WEBHOOK "ORDER BY w.id LIMIT $2");
STMT(webhook_get, WEBHOOK "AND w.id = $2");
STMT(webhook_count, "SELECT COUNT(*) FROM webhooks WHERE org_id = $1");
STMT(webhook_add, "INSERT INTO webhooks (org_id, product_id, description, url, kinds, enabled, secret, created_by_id, inserted_at, updated_at) "
                  "VALUES ($1, CAST($2 AS BIGINT), $3, $4, $5, $6, $7, CAST($8 AS BIGINT), $9, $9) RETURNING id");
STMT(webhook_update, "UPDATE webhooks SET product_id = CAST($1 AS BIGINT), description = $2, url = $3, kinds = $4, enabled = $5, updated_at = $6 WHERE id = $7");
STMT(webhook_afresh, "UPDATE webhooks SET disabled_reason = NULL, failures = 0, failing_since = NULL, "
                     "due_at = CASE WHEN waiting > 0 THEN CAST($1 AS BIGINT) ELSE NULL END WHERE id = $2");
STMT(webhook_rotate, "UPDATE webhooks SET old_secret = secret, old_secret_until = $1, secret = $2, updated_at = $3 WHERE id = $4");
STMT(webhook_disable, "UPDATE webhooks SET enabled = 0, disabled_reason = $1, updated_at = $2, due_at = NULL WHERE id = $3 AND enabled = 1");
STMT(webhook_disable_org, "UPDATE webhooks SET enabled = 0, due_at = NULL WHERE org_id = $1");
STMT(webhook_disable_product, "UPDATE webhooks SET enabled = 0, disabled_reason = $1, updated_at = $2, due_at = NULL WHERE product_id = $3 AND enabled = 1");
STMT(webhook_delete, "DELETE FROM webhooks WHERE org_id = $1 AND id = $2");
STMT(webhook_kinds, "SELECT kinds FROM webhooks WHERE org_id = $1 AND enabled = 1");
STMT(webhook_secrets, "SELECT url, secret, old_secret, old_secret_until FROM webhooks WHERE org_id = $1 AND id = $2");
STMT(webhook_figures, "SELECT CAST(COALESCE(SUM(waiting), 0) AS BIGINT), CAST(COALESCE(SUM(dead), 0) AS BIGINT) FROM webhooks");

/* ---- giving out -------------------------------------------------------------------------------------------------------- */

STMT(webhook_targets, "SELECT id, product_id, kinds, waiting FROM webhooks WHERE org_id = $1 AND enabled = 1 ORDER BY id");
/* One that fails is not looked at sooner because there is more to say. */
STMT(webhook_given, "UPDATE webhooks SET waiting = waiting + $1, lost = lost + $2, "
                    "due_at = CASE WHEN failures = 0 AND $1 > 0 THEN $3 ELSE COALESCE(due_at, $3) END WHERE id = $4");
STMT(webhook_losers, "SELECT id, lost FROM webhooks WHERE lost > 0 AND enabled = 1 AND waiting < $1 ORDER BY id LIMIT $2");
STMT(webhook_told_lost, "UPDATE webhooks SET lost = 0 WHERE id = $1 AND lost = $2");
STMT(delivery_add, "INSERT INTO webhook_deliveries (webhook_id, kind, uuid, body, inserted_at, due_at, until) VALUES ($1, $2, $3, $4, $5, $5, $6)");

/* ---- sending ----------------------------------------------------------------------------------------------------------- */

STMT(webhook_due, "SELECT id, org_id, url, secret, old_secret, old_secret_until, failures FROM webhooks "
                  "WHERE enabled = 1 AND due_at IS NOT NULL AND due_at <= $1 ORDER BY due_at, id LIMIT $2");
STMT(webhook_next, "SELECT MIN(due_at) FROM webhooks WHERE enabled = 1 AND due_at IS NOT NULL");
STMT(webhook_set_due, "UPDATE webhooks SET due_at = CAST($1 AS BIGINT) WHERE id = $2");
STMT(webhook_state, "SELECT w.org_id, w.product_id, w.url, w.enabled, w.failures, w.failing_since, o.name FROM webhooks w JOIN orgs o ON o.id = w.org_id WHERE w.id = $1");
STMT(webhook_result, "UPDATE webhooks SET waiting = waiting - $1, dead = dead + $2, failures = $3, failing_since = CAST($4 AS BIGINT), "
                     "delivered_at = COALESCE(CAST($5 AS BIGINT), delivered_at), due_at = CAST($6 AS BIGINT) WHERE id = $7");
STMT(delivery_due, "SELECT id, kind, uuid, body, attempts, inserted_at, until FROM webhook_deliveries "
                   "WHERE webhook_id = $1 AND status = 'waiting' AND due_at <= $2 ORDER BY due_at, id LIMIT $3");
STMT(delivery_next, "SELECT MIN(due_at) FROM webhook_deliveries WHERE webhook_id = $1 AND status = 'waiting'");
STMT(delivery_claim, "UPDATE webhook_deliveries SET due_at = $1, attempts = $2, tried_at = $3 WHERE id = $4 AND status = 'waiting' AND attempts = $5");
STMT(delivery_result, "UPDATE webhook_deliveries SET status = $1, answer_status = CAST($2 AS BIGINT), error = CAST($3 AS TEXT), due_at = $4, tried_at = $5 "
                      "WHERE id = $6 AND status = 'waiting'");

STMT(delivery_until, "SELECT until FROM webhook_deliveries WHERE id = $1");

/* ---- deliveries of people ------------------------------------------------------------------------------------------------ */

#define DELIVERY "SELECT id, kind, uuid, status, attempts, answer_status, error, inserted_at, due_at, tried_at, until FROM webhook_deliveries WHERE webhook_id = $1 AND status = "
#define DELIVERIES_OF(status, name) "SELECT * FROM (" DELIVERY "'" status "' AND id < $2 ORDER BY id DESC LIMIT $3) AS " name

STMT(delivery_list, DELIVERY "$2 AND id < $3 ORDER BY id DESC LIMIT $4");
/* One index walk a status, each cut at the limit, then one short sort. */
STMT(delivery_list_all, "SELECT * FROM (" DELIVERIES_OF("waiting", "a") " UNION ALL " DELIVERIES_OF("delivered", "b") " UNION ALL " DELIVERIES_OF("dead", "c") ") AS u "
                        "ORDER BY id DESC LIMIT $3");
#define RETRY "UPDATE webhook_deliveries SET status = 'waiting', attempts = 0, due_at = $1, until = $2 WHERE "
STMT(delivery_retry, RETRY "webhook_id = $3 AND id = $4 AND status = 'dead'");
STMT(delivery_retry_all, RETRY "id IN (SELECT id FROM webhook_deliveries WHERE webhook_id = $3 AND status = 'dead' ORDER BY id LIMIT $4)");
STMT(webhook_retried, "UPDATE webhooks SET waiting = waiting + $1, dead = dead - $1, due_at = $2 WHERE id = $3");
STMT(delivery_delete_all, "DELETE FROM webhook_deliveries WHERE id IN (SELECT id FROM webhook_deliveries WHERE webhook_id = $1 LIMIT $2)");

/* ---- what comes to its end ------------------------------------------------------------------------------------------------ */

STMT(delivery_expired, "SELECT id, webhook_id FROM webhook_deliveries WHERE status = 'waiting' AND until < $1 ORDER BY until LIMIT $2");
STMT(delivery_old, "SELECT id, webhook_id FROM webhook_deliveries WHERE status = $1 AND status <> 'waiting' AND inserted_at < $2 ORDER BY inserted_at LIMIT $3");
STMT(delivery_bury, "UPDATE webhook_deliveries SET status = 'dead', error = COALESCE(error, $1) WHERE id = $2 AND status = 'waiting'");
STMT(delivery_delete, "DELETE FROM webhook_deliveries WHERE id = $1");
STMT(webhook_buried, "UPDATE webhooks SET waiting = waiting - $1, dead = dead + $2 WHERE id = $3");
STMT(webhook_forget_secrets, "UPDATE webhooks SET old_secret = NULL, old_secret_until = NULL WHERE old_secret_until < $1");

const struct nh_stmt *const nh_webhooks_statements[] = {
	&nh_q_event_kinds, &nh_q_event_askers, &nh_q_event_add, &nh_q_event_first, &nh_q_event_delete, &nh_q_event_kinds_set,
	&nh_q_webhook_list, &nh_q_webhook_get, &nh_q_webhook_count, &nh_q_webhook_add, &nh_q_webhook_update, &nh_q_webhook_afresh, &nh_q_webhook_rotate, &nh_q_webhook_disable,
	&nh_q_webhook_disable_org, &nh_q_webhook_disable_product, &nh_q_webhook_delete, &nh_q_webhook_kinds, &nh_q_webhook_secrets, &nh_q_webhook_figures,
	&nh_q_webhook_targets, &nh_q_webhook_given, &nh_q_webhook_losers, &nh_q_webhook_told_lost, &nh_q_delivery_add,
	&nh_q_webhook_due, &nh_q_webhook_next, &nh_q_webhook_set_due, &nh_q_webhook_state, &nh_q_webhook_result,
	&nh_q_delivery_due, &nh_q_delivery_next, &nh_q_delivery_claim, &nh_q_delivery_result, &nh_q_delivery_until,
	&nh_q_delivery_list, &nh_q_delivery_list_all, &nh_q_delivery_retry, &nh_q_delivery_retry_all, &nh_q_webhook_retried, &nh_q_delivery_delete_all,
	&nh_q_delivery_expired, &nh_q_delivery_old, &nh_q_delivery_bury, &nh_q_delivery_delete, &nh_q_webhook_buried, &nh_q_webhook_forget_secrets,
	NULL,
};
