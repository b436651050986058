/*
 * Explanations: for any device, why it is or is not updated and what would change that, out of the mouths of those that decide: nh_update_decide, nh_group_match, nh_group_keep, and the
 * orchestrator's count of slots. Here is only what their reasons are called, what is known about them, and what can be done.
 *
 * thread: a worker's, with a read transaction; pure functions: any. source: design/architecture "4. The hub decides, others act"; reference/server-behaviour "3.3", "3.4", "3.8" to "3.10"
 */
#pragma once

#include "hub/devices.h"
#include "hub/updates.h"

/*
 * What a reason is, apart from the device: its name for programs, and whose it is. A group's reasons hold for all of its devices alike; waits end by themselves, the others wait for a person
 * or for the device's owner.
 */
struct nh_reason_kind {
	const char *code;    /* "penalty_box"; never changes */
	bool of_group;
	bool ends_by_itself;
};
const struct nh_reason_kind *nh_update_reason_kind(nh_update_reason reason); /* borrowed for ever */
/* "version", "tags", … of a mismatch; NH_MATCH_OK: "matches". A literal. */
const char *nh_mismatch_code(nh_mismatch mismatch);

struct nh_slots {
	int64_t limit, used; /* used may be more than limit after the limit was lowered */
};
static inline int64_t nh_slots_free(struct nh_slots s) { return s.used < s.limit ? s.limit - s.used : 0; }

/* All that the question is decided by. Slices in the context's arena. */
struct nh_explained {
	struct nh_device_facts facts;
	bool has_group;
	struct nh_group group;             /* where has_group */
	struct nh_update_decision decision;/* of the normal queue */
	bool priority;                     /* the priority queue would take it, too */
	struct nh_slots normal, prioritized; /* of the group's two queues */
};

/* nh_update_explain - loads and decides: why does (or will) this device not update? NH_ENOTFOUND: not in this organization. NH_EIO. */
nh_rc nh_update_explain(struct nh_ctx *ctx, int64_t org_id, int64_t device_id, struct nh_explained *out, struct nh_err *err);

/*
 * nh_device_explain - the whole answer as the API gives it, a new reference in *out: verdict and summary; each reason with code, text, facts and remedies; slots; which of the product's groups it would
 * fit (at most NH_EXPLAIN_GROUPS_MAX, by name) and which it would choose; what became of its updates. device: as opened by the caller, who asked for NH_MAY_DEVICE_SEE. NH_ENOTFOUND, NH_EIO.
 */
#define NH_EXPLAIN_GROUPS_MAX 200
nh_rc nh_device_explain(struct nh_ctx *ctx, const struct nh_device *device, json_t **out, struct nh_err *err);
