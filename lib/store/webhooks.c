/*
 * Texts of the webhooks family (see store/webhooks.h). One text serves both engines; parameters are numbered by first use.
 */
#include "store/webhooks.h"

#define STMT(id, text) const struct nh_stmt nh_q_##id = {#id, text}

/* ---- events ------------------------------------------------------------------------------------------------------------ */

STMT(event_kinds, "SELECT event_kinds FROM orgs WHERE id = $1 AND deleted_at IS NULL");
STMT(event_add, "INSERT INTO events (org_id, product_id, device_id, deployment_id, kind, uuid, data, inserted_at) "
                "VALUES ($1, CAST($2 AS BIGINT), CAST($3 AS BIGINT), CAST($4 AS BIGINT), $5, $6, $7, $8)");

const struct nh_stmt *const nh_webhooks_statements[] = {
	&nh_q_event_kinds, &nh_q_event_add,
	NULL,
};
