/*
 * Deployment groups and their releases: create, edit, release, delete, list; which devices belong to which group.
 *
 * A group binds devices of one product, platform and architecture to its current release (firmware). A device belongs to at most one group.
 * Input comes as a JSON object as the API has it, checked by one table of fields; refusals come back as the API's error object.
 * What a caller may do: viewing needs the role view, everything else manage (reference/server-behaviour "9.1"); that the actor has it in the
 * product's organization is checked by the caller through hub/accounts.h before, since it already holds the organization.
 *
 * thread: a worker's (get, list) or the writer's (the rest). source: reference/user-api-and-cli "13"; reference/server-behaviour "3.1" to "3.6"
 */
#pragma once

#include "hub/hub.h"
#include "hub/windows.h"

typedef enum nh_group_status { NH_GROUP_READY, NH_GROUP_PREPARING, NH_GROUP_DELTAS_FAILED, NH_GROUP_UNKNOWN_ERROR } nh_group_status;

struct nh_release {
	int64_t id, number, group_id;
	int64_t firmware_id, archive_id; /* archive 0 if none */
	nh_slice firmware_uuid, firmware_version, platform, architecture;
	nh_slice archive_uuid, description, notes; /* pointer NULL if none */
	int64_t inserted_at_us, updated_at_us;
};

typedef enum nh_rollout_state {
	NH_ROLLOUT_RUNNING,
	NH_ROLLOUT_PAUSED,      /* by a person */
	NH_ROLLOUT_STOPPED,     /* by evidence (hub/rollouts.h) */
	NH_ROLLOUT_FINISHED,    /* every device that can have it has it; who joins later still gets it */
	NH_ROLLOUT_ROLLED_BACK, /* a later release took its place on purpose */
} nh_rollout_state;

/* What deciding asks of a release's rollout (hub/rollouts.h). */
struct nh_rollout {
	int64_t release_id;       /* 0: the release has none and goes to everybody */
	nh_rollout_state state;
	int64_t epoch;            /* of its counters */
	int64_t wave, waves;      /* wave > waves: everybody */
	uint64_t share;           /* of begun waves the largest, in 2^32 of the group */
	bool named;               /* a begun wave names its devices */
	int64_t not_before_us;    /* 0: at once */
	struct nh_window windows[NH_WINDOWS_MAX];
	size_t window_count;
	const struct nh_zone *zone; /* where a device has none of its own; NULL: UTC */
	nh_slice zone_name;
};

struct nh_group {
	int64_t id, org_id, product_id;
	nh_slice name, platform, architecture;
	nh_slice condition_version;   /* "" = any */
	nh_slice *condition_tags;
	size_t condition_tag_count;
	bool tags_any;                /* tag operator "or" */
	bool is_active, delta_updatable, lock_device_membership;
	int64_t delta_wait_minutes;   /* how long a device waits for its delta at most */
	nh_group_status status;
	bool lifo;                    /* queue_management LIFO */
	int64_t concurrent_updates;
	bool priority_queue_enabled;
	int64_t priority_queue_concurrent_updates;
	nh_slice priority_queue_threshold; /* version, or pointer NULL */
	nh_slice *release_interfaces;
	size_t release_interface_count;
	nh_slice *release_tags;
	size_t release_tag_count;
	int64_t failure_threshold_attempts; /* device_failure_threshold */
	int64_t failure_rate_amount, failure_rate_seconds;
	int64_t group_failure_threshold;    /* failure_threshold: stored, read by nobody */
	int64_t penalty_minutes;
	nh_slice connecting_code, notes;    /* pointer NULL if none */
	int64_t updated_devices;            /* updates completed */
	int64_t device_count, release_count;
	struct nh_release release;          /* the current one */
	struct nh_rollout rollout;          /* of the current release */
	int64_t inserted_at_us, updated_at_us;
};

/* nh_group_get - the product's group by name. NH_ENOTFOUND, NH_EIO. */
nh_rc nh_group_get(struct nh_ctx *ctx, int64_t product_id, nh_slice name, struct nh_group *out, struct nh_err *err);
nh_rc nh_group_get_by_id(struct nh_ctx *ctx, int64_t group_id, struct nh_group *out, struct nh_err *err);
/* nh_group_list - all groups of a product, by name. *out in the arena. */
nh_rc nh_group_list(struct nh_ctx *ctx, int64_t product_id, struct nh_group **out, size_t *count, struct nh_err *err);
/* nh_group_json - the API's object of a group (reference/user-api-and-cli "13.1"), a new reference. */
json_t *nh_group_json(const struct nh_group *group);
/* nh_release_list - releases of a group, newest first, at most limit (1..500). */
nh_rc nh_release_list(struct nh_ctx *ctx, int64_t group_id, size_t limit, struct nh_release **out, size_t *count, struct nh_err *err);

/*
 * nh_group_create - group and release 1 from fields (reference/user-api-and-cli "13.2"; absent conditions count as {}; `state` / `is_active` are
 * honoured). Audit entry. Effects: GROUP_WAKE and TOPIC "deployment" where active.
 * NH_EINVAL: *errors is the new reference {"field":["text", …], "conditions":{…}} of a 422 answer. NH_EIO.
 */
nh_rc nh_group_create(struct nh_ctx *ctx, const struct nh_actor *actor, int64_t org_id, int64_t product_id, const json_t *fields,
                      struct nh_group *out, json_t **errors, struct nh_err *err);

/*
 * nh_group_update - changes the given fields; with any of firmware, firmware_id, archive, archive_id also adds a release (both together, which
 * `nh deployment update --firmware U --state on` expects). Audit entries. Effects: GROUP_WAKE, TOPIC. Errors as create.
 */
nh_rc nh_group_update(struct nh_ctx *ctx, const struct nh_actor *actor, const struct nh_group *group, const json_t *fields,
                      struct nh_group *out, json_t **errors, struct nh_err *err);

/* nh_group_delete - the group and its releases; its devices belong to no group then. Audit entry, TOPIC. NH_EIO. */
nh_rc nh_group_delete(struct nh_ctx *ctx, const struct nh_actor *actor, const struct nh_group *group, struct nh_err *err);

/* ---- matching ---------------------------------------------------------------------------------------------------------- */

struct nh_match_device {
	nh_slice version, platform, architecture;
	const nh_slice *tags;
	size_t tag_count;
};

typedef enum nh_mismatch {
	NH_MATCH_OK,
	NH_MISMATCH_INACTIVE,
	NH_MISMATCH_LOCKED,
	NH_MISMATCH_VERSION,
	NH_MISMATCH_PLATFORM,
	NH_MISMATCH_ARCHITECTURE,
	NH_MISMATCH_TAGS,
} nh_mismatch;

/* nh_group_match - pure: may this device join the group by itself? First reason that speaks against it. source: server-behaviour "3.3" */
nh_mismatch nh_group_match(const struct nh_group *group, const struct nh_match_device *device);
/* nh_group_fits - pure: the same, whether the group takes devices by itself or not: for changes by hand. source: server-behaviour "3.5" */
nh_mismatch nh_group_fits(const struct nh_group *group, const struct nh_match_device *device);
/* nh_group_keep - pure: may a member stay? Tags are not looked at; locked groups keep all that run their platform and architecture (deviation: upstream's keep those, too, and send them firmware that is not theirs). source: server-behaviour "3.4" */
nh_mismatch nh_group_keep(const struct nh_group *group, const struct nh_match_device *device);
/* nh_group_choose - pure: index of the group the device joins, or -1; *matches (NULL legal) tells how many would do. Highest release version,
 * then most matching tags, then lowest id. */
ptrdiff_t nh_group_choose(const struct nh_group *groups, size_t count, const struct nh_match_device *device, size_t *matches);
const char *nh_mismatch_text(nh_mismatch m); /* "version", "platform", … */

/*
 * nh_group_assign - puts a device into a group by hand (group NULL: out of its group). Platform and architecture must be the group's.
 * Audit entry. Effects: GROUP_WAKE, DEVICE_SETTINGS. NH_EINVAL: other product, platform or architecture. NH_ENOTFOUND: no such live device.
 */
nh_rc nh_group_assign(struct nh_ctx *ctx, const struct nh_actor *actor, int64_t org_id, int64_t device_id, const struct nh_group *group, struct nh_err *err);
