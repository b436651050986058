/*
 * Membership of deployment groups by hand and in bulk: which devices a group would take in, or let go, and doing it. Devices join and leave by themselves at each join (hub/deployments.h); this is for
 * groups that were made or changed after their devices had come.
 *
 * The same rule decides as at a join, nh_group_fits: tags count, and an empty list of tags excludes nobody. Only whether the group is active or locked does not matter to a person.
 *
 * thread: a worker's (previews) or the writer's; pure functions: any. source: reference/server-behaviour "3.5"
 */
#pragma once

#include "hub/deployments.h"

#define NH_MEMBERSHIP_PAGE 200 /* devices that one transaction looks at */

typedef enum nh_membership_change {
	NH_MEMBERSHIP_ADD,    /* devices of the product that belong to no group and fit */
	NH_MEMBERSHIP_REMOVE, /* members that do not fit. Who never said what it runs stays: nobody knows */
	NH_MEMBERSHIP_COUNT,
} nh_membership_change;
const char *nh_membership_name(nh_membership_change change);          /* "add_matching", "remove_unmatched" */
bool nh_membership_parse(nh_slice name, nh_membership_change *out);

/* What was counted, or done, so far. looked_at = changed + stays + unknown. */
struct nh_membership {
	int64_t group_id;
	nh_membership_change change;
	int64_t after_id;   /* goes on behind this device; 0 at first */
	bool done;
	int64_t looked_at;
	int64_t changed;    /* join or leave, or would */
	int64_t stays;      /* fit where they are to leave, fit not where they are to join */
	int64_t unknown;    /* never said what they run */
};

/* nh_membership_preview - looks at the next NH_MEMBERSHIP_PAGE devices and counts (read). Call until done. NH_ENOTFOUND: the group is gone. NH_EIO. */
nh_rc nh_membership_preview(struct nh_ctx *ctx, struct nh_membership *m, struct nh_err *err);
/* nh_membership_carry_out - the same, and does it: effects DEVICE_SETTINGS for each device that changed and for no other, GROUP_WAKE. Write. Errors as above. */
nh_rc nh_membership_carry_out(struct nh_ctx *ctx, struct nh_membership *m, struct nh_err *err);

/*
 * nh_membership_request - a person wants it: audit entry of the group, and the job "membership" that does it. One of a kind waits for a group; asked again while one runs, it runs again.
 * NH_EPERM, NH_EIO. Write.
 */
nh_rc nh_membership_request(struct nh_ctx *ctx, const struct nh_actor *actor, const struct nh_group *group, nh_membership_change change, struct nh_err *err);
/* nh_membership_job_read - what the job "membership" of that key is to do. NH_EFORMAT. */
nh_rc nh_membership_job_read(nh_slice key, struct nh_membership *out, struct nh_err *err);
/* nh_membership_finish - tells in the group's audit log what was done, and who had asked for it is not asked again. Nothing where nothing changed. Write. */
nh_rc nh_membership_finish(struct nh_ctx *ctx, const struct nh_membership *m, struct nh_err *err);
