/*
 * The table of hub/permissions.h as data, and the one question that is asked of it.
 *
 * source: reference/user-api-and-cli "3", "6"; reference/server-behaviour "9.1"
 */
#include "hub/permissions.h"

#include "hub/accounts.h"
#include "input_int.h"
#include "store/foundation.h"

static const struct {
	const char *name;
	nh_role role;
} actions[NH_MAY_COUNT] = {
	[NH_MAY_NOTHING] = {"nothing", NH_ROLE_NONE},
#define ROW(id, name, role) [NH_MAY_##id] = {name, NH_ROLE_##role},
	NH_ACTIONS(ROW)
#undef ROW
};

const char *nh_action_name(nh_action action) { return actions[action].name; }

nh_role nh_action_role(nh_action action) { return actions[action].role; }

nh_rc nh_role_may(nh_role role, nh_action action, struct nh_err *err)
{
	nh_role need = actions[action].role;
	if (need != NH_ROLE_NONE && role >= need)
		return NH_OK;
	return NH_FAIL(err, NH_EPERM, "%s needs the role %s, has %s", actions[action].name, nh_role_name(need), nh_role_name(role));
}

nh_rc nh_may(struct nh_ctx *ctx, const struct nh_actor *actor, int64_t org_id, nh_action action, struct nh_err *err)
{
	int64_t role = NH_ROLE_NONE;
	nh_rc rc = NH_ENOTFOUND;
	if (actor->kind == NH_ACTOR_SYSTEM)
		return NH_OK;
	if (actor->kind == NH_ACTOR_USER)
		rc = nh_query_id(ctx->tx, &nh_q_org_role, NH_PARAMS(nh_p_int(actor->id), nh_p_int(org_id)), &role, err);
	if (rc == NH_ENOTFOUND)
		return NH_FAIL(err, NH_ENOTFOUND, "no such organization");
	NH_TRY(rc);
	return nh_role_may((nh_role)role, action, err);
}
