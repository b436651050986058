/*
 * Every family of statements of this program: what nh_db_open prepares. A new family file adds its list here.
 */
#include "store/accounts.h"
#include "store/audit.h"
#include "store/authority.h"
#include "store/deltas.h"
#include "store/foundation.h"
#include "store/jobs.h"
#include "store/nodes.h"
#include "store/overview.h"
#include "store/plan.h"
#include "store/rollout.h"
#include "store/staged_rollout.h"
#include "store/support.h"
#include "store/telemetry.h"
#include "store/user_identities.h"
#include "store/webhooks.h"

const struct nh_stmt *const *const nh_store_statements[] = {
	nh_accounts_statements,
	nh_audit_statements,
	nh_authority_statements,
	nh_deltas_statements,
	nh_foundation_statements,
	nh_jobs_statements,
	nh_nodes_statements,
	nh_overview_statements,
	nh_plan_statements,
	nh_rollout_statements,
	nh_staged_rollout_statements,
	nh_support_statements,
	nh_telemetry_statements,
	nh_user_identities_statements,
	nh_webhooks_statements,
	NULL,
};
