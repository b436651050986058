/*
 * Updates of one device: may it be updated and why not; sending one; what its reports mean; failures and the penalty box.
 *
 * nh_update_decide is the one place that knows the rules. The orchestrator, the manual actions and the answer to "why did this device not
 * update?" all call it.
 *
 * thread: a worker's (reads; pure functions) or the writer's. source: reference/server-behaviour "3.8" to "3.11"; reference/device-protocol "8.1", "8.2", "10"
 */
#pragma once

#include "hub/deployments.h"
#include "hub/hub.h"

typedef enum nh_validation { NH_VALIDATION_UNKNOWN, NH_VALIDATION_VALIDATED, NH_VALIDATION_NOT_VALIDATED } nh_validation;

#define NH_PENALTY_DEFAULT_MINUTES 1440 /* where no group says how long */
#define NH_UPDATE_ATTEMPTS_MAX 64 /* attempts kept per device; rules never look further back */

/* What rules know about a device. Slices in the arena that loaded them. */
struct nh_device_facts {
	int64_t id, org_id, product_id, group_id;
	nh_slice identifier;
	bool deleted;
	bool updates_enabled;
	int64_t blocked_until_us; /* 0: not blocked */
	int64_t attempts[NH_UPDATE_ATTEMPTS_MAX];
	size_t attempt_count;
	nh_slice firmware_uuid;   /* empty: no metadata known */
	nh_slice firmware_version, platform, architecture;
	nh_slice firmware_metadata; /* JSON object text, or empty */
	nh_validation validation;
	bool auto_reverted;
	nh_slice *tags;
	size_t tag_count;
	bool connected;
	int64_t connected_at_us, first_seen_at_us;
	nh_slice network_interface; /* empty: none reported */
	bool inflight;
	int64_t delta_until_us;   /* its group holds it back for its delta (nh_delta_wait) until then; 0 where whoever decides did not ask, or does not wait */
	int64_t inflight_group_id;
	nh_slice last_failure;    /* why the latest update failed, for people; empty if none */
	int64_t last_failure_at_us;
	nh_slice timezone;          /* its own, an IANA name; empty: none */
	const struct nh_zone *zone; /* of timezone; NULL where it has none of its own */
	int64_t named_release_id, named_wave; /* the release for which a wave named it, and which; 0: none did */
	int64_t event_kinds;      /* bits of enum nh_event_kind: what webhooks of its organization ask for */
};

/* nh_device_facts_load - NH_ENOTFOUND: no such device (deleted ones are found and say so). */
nh_rc nh_device_facts_load(struct nh_ctx *ctx, int64_t device_id, struct nh_device_facts *out, struct nh_err *err);

typedef enum nh_update_reason {
	NH_UPDATE_NO_GROUP,
	NH_UPDATE_GROUP_INACTIVE,
	NH_UPDATE_GROUP_NOT_READY,
	NH_UPDATE_DEVICE_DELETED,
	NH_UPDATE_DISABLED,
	NH_UPDATE_BLOCKED,          /* in the penalty box */
	NH_UPDATE_NO_METADATA,
	NH_UPDATE_NOT_VALIDATED,
	NH_UPDATE_NOT_CONNECTED,
	NH_UPDATE_SAME_FIRMWARE,
	NH_UPDATE_INFLIGHT,
	NH_UPDATE_NETWORK_INTERFACE,
	NH_UPDATE_RELEASE_TAGS,
	NH_UPDATE_FAILURE_RATE,
	NH_UPDATE_FAILURE_THRESHOLD,
	NH_UPDATE_ABOVE_THRESHOLD,  /* priority queue: version above its threshold, or not a version */
	NH_UPDATE_ROLLOUT_PAUSED,   /* by a person */
	NH_UPDATE_ROLLOUT_STOPPED,  /* by itself, on evidence */
	NH_UPDATE_NOT_BEFORE,       /* the release's time has not come */
	NH_UPDATE_WAVE_NOT_BEGUN,   /* the device's wave of the rollout */
	NH_UPDATE_OUTSIDE_WINDOW,   /* of maintenance, in the device's zone: nh_windows_next(…, nh_rollout_zone(…), …) */
	NH_UPDATE_DELTA,            /* its delta is being built, and the group still waits for it */
	NH_UPDATE_REASON_COUNT,
} nh_update_reason;

typedef enum nh_update_verdict {
	NH_UPDATE_SEND,     /* send it now (a free slot provided) */
	NH_UPDATE_WAIT,     /* not now */
	NH_UPDATE_PENALIZE, /* would be sent, but failed too often: into the penalty box */
} nh_update_verdict;

struct nh_update_decision {
	nh_update_verdict verdict;
	nh_update_reason reasons[NH_UPDATE_REASON_COUNT]; /* all that speak against it, in the order above */
	size_t count;
};

/* How the question is asked. */
typedef enum nh_update_how {
	NH_UPDATE_QUEUE,    /* the orchestrator's normal queue */
	NH_UPDATE_PRIORITY, /* its priority queue: also version <= threshold */
	NH_UPDATE_BY_HAND,  /* a person asks for the group's update now: as QUEUE, ahead of waves and windows */
	NH_UPDATE_POLL,     /* a polling device asks: as QUEUE, without the connection */
} nh_update_how;

/* nh_update_decide - pure. group NULL: the device has none. */
struct nh_update_decision nh_update_decide(const struct nh_device_facts *device, const struct nh_group *group, nh_update_how how, int64_t now_us);
bool nh_update_has_reason(const struct nh_update_decision *decision, nh_update_reason reason);
const char *nh_update_reason_text(nh_update_reason reason); /* one clause for people, a literal */

/*
 * nh_update_send - inflight row, audit entry, effect DEVICE_PUSH "update" with exactly the payload of device-protocol 8.1. group NULL: manual push
 * of firmware_id. NH_ECONFLICT: the device already has an inflight update. NH_ENOTFOUND: firmware unknown. NH_EIO. The caller has decided.
 */
nh_rc nh_update_send(struct nh_ctx *ctx, const struct nh_actor *actor, const struct nh_device_facts *device, const struct nh_group *group,
                     int64_t firmware_id, bool priority, struct nh_err *err);

/*
 * nh_update_offer - the same for a device that asked: no effect, the payload is *payload (in the arena), and since nothing else will be heard of it before the device runs the new firmware,
 * the row counts as received and the attempt as made. Codes as above.
 */
nh_rc nh_update_offer(struct nh_ctx *ctx, const struct nh_device_facts *device, const struct nh_group *group, nh_slice *payload, struct nh_err *err);

/*
 * nh_update_push - a person sends a firmware of the device's product (same platform and architecture) to a device: automatic updates are switched
 * off for it, inflight row without group, audit entries, effect DEVICE_PUSH.
 * NH_ENOTFOUND: device or firmware unknown in the product. NH_EINVAL: other platform or architecture. NH_ECONFLICT: an update is in flight.
 */
nh_rc nh_update_push(struct nh_ctx *ctx, const struct nh_actor *actor, int64_t org_id, int64_t device_id, nh_slice firmware_uuid, struct nh_err *err);

/* nh_update_push_available - a person sends what the device's group has for it now. NH_ECONFLICT: not eligible (message says every reason). */
nh_rc nh_update_push_available(struct nh_ctx *ctx, const struct nh_actor *actor, int64_t org_id, int64_t device_id, struct nh_err *err);

/* Commands of a person to a device: audit entry and effect. NH_ENOTFOUND: no such live device in the organization. */
nh_rc nh_device_reboot(struct nh_ctx *ctx, const struct nh_actor *actor, int64_t org_id, int64_t device_id, struct nh_err *err);
nh_rc nh_device_identify(struct nh_ctx *ctx, const struct nh_actor *actor, int64_t org_id, int64_t device_id, struct nh_err *err);
nh_rc nh_device_reconnect(struct nh_ctx *ctx, const struct nh_actor *actor, int64_t org_id, int64_t device_id, struct nh_err *err); /* DEVICE_CLOSE */

/* nh_updates_enable - switches automatic updates of a device; on also empties its attempts and wakes its group. Audit entry. */
nh_rc nh_updates_enable(struct nh_ctx *ctx, const struct nh_actor *actor, int64_t org_id, int64_t device_id, bool on, struct nh_err *err);
/* nh_penalty_clear - out of the penalty box: not blocked, attempts empty, updates on; wakes the group. Audit entry. */
nh_rc nh_penalty_clear(struct nh_ctx *ctx, const struct nh_actor *actor, int64_t org_id, int64_t device_id, struct nh_err *err);
/* nh_penalty_box - blocks the device for its group's penalty time. attempts are emptied, else it would be blocked again for ever. Audit entry. */
nh_rc nh_penalty_box(struct nh_ctx *ctx, const struct nh_device_facts *device, const struct nh_group *group, struct nh_err *err);

/* ---- what a device reports --------------------------------------------------------------------------------------------- */

typedef enum nh_update_stage {
	NH_STAGE_NONE, /* unknown word */
	NH_STAGE_REQUESTED,
	NH_STAGE_RESCHEDULED,
	NH_STAGE_IGNORED,
	NH_STAGE_RECEIVED,
	NH_STAGE_STARTED,
	NH_STAGE_DOWNLOADING,
	NH_STAGE_UPDATING,
	NH_STAGE_COMPLETED,
	NH_STAGE_FAILED,
} nh_update_stage;

struct nh_update_report {
	nh_update_stage stage;
	int64_t progress;  /* percent, -1: none */
	nh_slice reason;   /* empty: none */
	int64_t delay_ms;  /* rescheduled */
};

/* nh_update_report - carries a report out: row status, attempts, failure (audit entry, reason on the device, penalty), effects TOPIC and GROUP_WAKE. */
nh_rc nh_update_report(struct nh_ctx *ctx, int64_t device_id, const struct nh_update_report *report, struct nh_err *err);

/* nh_update_succeeded - the device came back with another firmware than before. Row deleted, group counter, statistics, attempts and penalty cleared. *took_us: since it was sent; 0 where none was. */
nh_rc nh_update_succeeded(struct nh_ctx *ctx, const struct nh_device_facts *before, nh_slice new_uuid, nh_slice new_version, int64_t *took_us, struct nh_err *err);
/* nh_update_abandoned - the device joined without the update it was sent: row deleted; where it tells of an automatic revert, that is the reason. */
nh_rc nh_update_abandoned(struct nh_ctx *ctx, const struct nh_device_facts *device, bool reverted, struct nh_err *err);

/*
 * nh_update_unheard - *yes: a person's push is in flight of which the device has said nothing, so that it may never have arrived (read). NH_EIO.
 * A group's update needs no such care: its row is deleted at the join, and the orchestrator sends it anew.
 */
nh_rc nh_update_unheard(struct nh_ctx *ctx, const struct nh_device_facts *device, bool *yes, struct nh_err *err);
/* nh_update_send_again - the update in flight once more, as it was: effect DEVICE_PUSH only. It still expires with its row. NH_ENOTFOUND, NH_EIO. */
nh_rc nh_update_send_again(struct nh_ctx *ctx, int64_t device_id, struct nh_err *err);

/* The inflight update of a device (read). NH_ENOTFOUND: none. */
struct nh_inflight {
	int64_t group_id, firmware_id;
	nh_slice firmware_uuid;
	nh_update_stage stage;
	int64_t progress; /* -1: none */
	bool priority;
	int64_t inserted_at_us, updated_at_us;
};
nh_rc nh_inflight_get(struct nh_ctx *ctx, int64_t device_id, struct nh_inflight *out, struct nh_err *err);
const char *nh_update_stage_name(nh_update_stage stage); /* "downloading" … */
nh_update_stage nh_update_stage_parse(nh_slice name);    /* NH_STAGE_NONE where unknown */
