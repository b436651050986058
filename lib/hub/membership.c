/*
 * Changes of membership in bulk (see hub/membership.h): one page of devices a transaction, in the order of their ids, so that neither a product of a million devices holds anything up nor a crash
 * loses more than a page; what is done twice is found done.
 *
 * source: reference/server-behaviour "3.5"
 */
#include "hub/membership.h"

#include "base/encode.h"
#include "hub/audit.h"
#include "hub/jobs.h"
#include "hub/permissions.h"
#include "rollout_int.h"
#include "rows_int.h"
#include "store/rollout.h"

static const char *const names[NH_MEMBERSHIP_COUNT] = {[NH_MEMBERSHIP_ADD] = "add_matching", [NH_MEMBERSHIP_REMOVE] = "remove_unmatched"};

const char *nh_membership_name(nh_membership_change change) { return names[change]; }

bool nh_membership_parse(nh_slice name, nh_membership_change *out)
{
	for (size_t i = 0; i < NH_MEMBERSHIP_COUNT; i++) {
		if (nh_slice_eq_str(name, names[i])) {
			*out = (nh_membership_change)i;
			return true;
		}
	}
	return false;
}

/* ---- one page ----------------------------------------------------------------------------------------------------------------- */

/* Counts one device; true: it joins or leaves. */
static bool judge(struct nh_membership *m, const struct nh_group *group, const struct nh_device_facts *d)
{
	const struct nh_match_device device = {d->firmware_version, d->platform, d->architecture, d->tags, d->tag_count};
	m->after_id = d->id;
	m->looked_at++;
	if (d->firmware_uuid.len == 0) {
		m->unknown++;
		return false;
	}
	bool fits = nh_group_fits(group, &device) == NH_MATCH_OK, changes = fits == (m->change == NH_MEMBERSHIP_ADD);
	m->changed += changes;
	m->stays += !changes;
	return changes;
}

/* The next page's devices that change, in *out. */
static nh_rc look(struct nh_ctx *ctx, struct nh_membership *m, struct nh_group *group, struct nh_list *out, struct nh_err *err)
{
	struct nh_list page = NH_LIST_OF(ctx->arena, struct nh_device_facts);
	NH_TRY(nh_group_get_by_id(ctx, m->group_id, group, err));
	bool add = m->change == NH_MEMBERSHIP_ADD;
	NH_TRY(nh_list_rows(ctx->tx, &page, add ? &nh_q_facts_ungrouped : &nh_q_facts_members,
	                    NH_PARAMS(nh_p_int(add ? group->product_id : group->id), nh_p_int(m->after_id), nh_p_int(NH_MEMBERSHIP_PAGE)), nh_device_facts_read, err));
	const struct nh_device_facts *devices = page.items;
	for (size_t i = 0; i < page.count; i++) {
		if (judge(m, group, &devices[i]))
			*(const struct nh_device_facts **)nh_list_add(out) = &devices[i];
	}
	m->done = page.count < NH_MEMBERSHIP_PAGE;
	return NH_OK;
}

nh_rc nh_membership_preview(struct nh_ctx *ctx, struct nh_membership *m, struct nh_err *err)
{
	NH_AUTO_ARENA struct nh_arena arena = NH_ARENA_INIT;
	struct nh_ctx own = *ctx;
	own.arena = &arena;
	struct nh_list changes = NH_LIST_OF(&arena, const struct nh_device_facts *);
	struct nh_group group;
	return look(&own, m, &group, &changes, err);
}

nh_rc nh_membership_carry_out(struct nh_ctx *ctx, struct nh_membership *m, struct nh_err *err)
{
	struct nh_list changes = NH_LIST_OF(ctx->arena, const struct nh_device_facts *);
	struct nh_group group;
	NH_TRY(look(ctx, m, &group, &changes, err));
	const struct nh_device_facts *const *devices = changes.items;
	for (size_t i = 0; i < changes.count; i++) {
		NH_TRY(nh_device_join_group(ctx, devices[i]->id, devices[i]->group_id, m->change == NH_MEMBERSHIP_ADD ? group.id : 0, err));
		nh_effect_add(ctx, NH_EFFECT_DEVICE_SETTINGS, devices[i]->id, NH_SLICE_EMPTY, NH_SLICE_EMPTY);
		nh_device_topic(ctx, devices[i]->id);
	}
	return NH_OK;
}

/* ---- the job -------------------------------------------------------------------------------------------------------------------- */

nh_rc nh_membership_request(struct nh_ctx *ctx, const struct nh_actor *actor, const struct nh_group *group, nh_membership_change change, struct nh_err *err)
{
	NH_TRY(nh_may(ctx, actor, group->org_id, NH_MAY_GROUP_UPDATE, err));
	const char *key = nh_arena_printf(ctx->arena, "%lld/%s", (long long)group->id, names[change]);
	NH_TRY(nh_job_add(ctx, "membership", nh_slice_str(key), NH_SLICE_EMPTY, 0, err));
	return nh_audit_add(ctx, actor, group->org_id, NH_AUDIT_GROUP, group->id, err,
	                    change == NH_MEMBERSHIP_ADD ? "%.*s asked for all devices that match to be added to deployment group %.*s"
	                                                : "%.*s asked for all devices that do not match to be removed from deployment group %.*s",
	                    NH_ARG(actor->name), NH_ARG(group->name));
}

nh_rc nh_membership_job_read(nh_slice key, struct nh_membership *out, struct nh_err *err)
{
	nh_slice id, name;
	uint64_t number;
	*out = (struct nh_membership){0};
	if (!nh_slice_cut(key, '/', &id, &name) || nh_parse_u64(id, 1, INT64_MAX, &number) != NH_OK || !nh_membership_parse(name, &out->change))
		return NH_FAIL(err, NH_EFORMAT, "no change of membership: %.*s", NH_ARG(key));
	out->group_id = (int64_t)number;
	return NH_OK;
}

nh_rc nh_membership_finish(struct nh_ctx *ctx, const struct nh_membership *m, struct nh_err *err)
{
	struct nh_group group;
	if (m->changed == 0)
		return NH_OK;
	nh_rc rc = nh_group_get_by_id(ctx, m->group_id, &group, err);
	if (rc == NH_ENOTFOUND)
		return NH_OK;
	NH_TRY(rc);
	struct nh_actor actor = nh_group_actor(&group);
	return nh_audit_add(ctx, &actor, group.org_id, NH_AUDIT_GROUP, group.id, err, m->change == NH_MEMBERSHIP_ADD ? "Deployment group %.*s took in %lld devices that match" : "Deployment group %.*s let %lld devices go that do not match",
	                    NH_ARG(group.name), (long long)m->changed);
}
