/*
 * Which devices are in a deployment group, in bulk: looking at what a change would do, and asking for it.
 *
 * source: reference/server-behaviour "3.5"
 */
#include "api_int.h"
#include "hub/membership.h"

struct membership_call {
	struct call call; /* first: run functions get it back from there */
	struct nh_membership m;
};

static nh_rc begin(struct call *call, struct nh_err *err)
{
	struct membership_call *c = (struct membership_call *)call;
	struct nh_group g;
	nh_membership_change change;
	if (!nh_membership_parse(param(call, "change"), &change))
		return NH_FAIL(err, NH_ENOTFOUND, "no such change of membership");
	NH_TRY(nh_group_get(&call->ctx, call->product.id, param(call, "name"), &g, err));
	c->m = (struct nh_membership){.group_id = g.id, .change = change};
	return NH_OK;
}

static nh_rc page(struct call *call, struct nh_err *err)
{
	struct nh_membership *m = &((struct membership_call *)call)->m, next = *m;
	NH_TRY(nh_membership_preview(&call->ctx, &next, err));
	*m = next;
	return NH_OK;
}

void handle_membership_preview(struct nh_request *req, struct nh_response *res)
{
	struct membership_call c = {0};
	struct nh_err err = NH_ERR_INIT;
	if (!call_open(&c.call, req, res, req->route->extra))
		return;
	nh_rc rc = call_transact(&c.call, begin, false, &err);
	while (rc == NH_OK && !c.m.done)
		rc = call_transact(&c.call, page, false, &err);
	if (rc == NH_OK)
		c.call.data = json_pack("{s:s, s:I, s:I, s:I, s:I}", "change", nh_membership_name(c.m.change), "looked_at", (json_int_t)c.m.looked_at, "changes", (json_int_t)c.m.changed, "ignored",
		                        (json_int_t)c.m.stays, "unknown", (json_int_t)c.m.unknown);
	call_close(&c.call, rc, &err);
}

static const char *const words_changes[] = {"add_matching", "remove_unmatched", NULL};
static SHAPE(preview, "MembershipPreview", {"change", FIELD_TEXT, .words = words_changes},
             {"looked_at", FIELD_INTEGER, .about = "Devices of the product without a group, or members of the group; the sum of the next three"}, {"changes", FIELD_INTEGER, .about = "Would join, or leave"},
             {"ignored", FIELD_INTEGER, .about = "Stay as they are"}, {"unknown", FIELD_INTEGER, .about = "Never said what they run, and stay as they are"});
const struct endpoint ep_membership_preview = {.scope = SCOPE_PRODUCT, .may = NH_MAY_GROUP_SEE, .success = 200, .data = &preview, .tag = "Deployment Groups"};

static nh_rc change(struct call *call, struct nh_err *err)
{
	struct nh_group g;
	nh_membership_change change;
	if (!nh_membership_parse(param(call, "change"), &change))
		return NH_FAIL(err, NH_ENOTFOUND, "no such change of membership");
	NH_TRY(nh_group_get(&call->ctx, call->product.id, param(call, "name"), &g, err));
	return nh_membership_request(&call->ctx, &call->actor, &g, change, err);
}
const struct endpoint ep_membership_change = {.run = change, .scope = SCOPE_PRODUCT, .may = NH_MAY_GROUP_UPDATE, .write = true, .success = 202, .tag = "Deployment Groups"};
