/*
 * Deltas: archives that turn one firmware of a product into another, much smaller than the whole. This room says which are wanted, in what state they are, who gets one; it builds none
 * (src/nerveshubd/delta_jobs.c does, in worker processes).
 *
 * A delta that is missing, slow or failed holds nothing up for long and nobody for ever: devices of a group wait for one while it is built, at most the group's delta_wait_minutes from the
 * request on, and each source for itself; whoever cannot have one, and whoever one failed on, gets the whole firmware.
 *
 * thread: a worker's (reads) or the writer's. source: reference/server-behaviour "3.7", "3.9", "4.4" to "4.6"; reference/device-protocol "8.2"
 */
#pragma once

#include "hub/deployments.h"
#include "hub/firmware.h"
#include "hub/updates.h"

typedef enum nh_delta_status { NH_DELTA_PROCESSING, NH_DELTA_COMPLETED, NH_DELTA_FAILED, NH_DELTA_TIMED_OUT } nh_delta_status;
const char *nh_delta_status_name(nh_delta_status status); /* "processing" …; a literal */

struct nh_delta {
	int64_t id, org_id, product_id, source_id, target_id;
	nh_slice source_uuid, source_version, target_uuid, target_version;
	nh_delta_status status;
	nh_slice error;              /* for people; pointer NULL: none */
	nh_slice tool;               /* "fwup"; "pending" before it is completed */
	nh_slice tool_metadata;      /* JSON object text */
	nh_slice required_version;   /* of fwup on the device */
	/* 0 and pointer NULL before it is completed */
	int64_t size_bytes, source_size_bytes, target_size_bytes;
	nh_slice checksum, partials_checksums, object_key;
	int64_t attempts;
	int64_t requested_at_us, started_at_us, finished_at_us, updated_at_us; /* 0: not yet */
	nh_slice source_key, target_key;             /* objects that it is made from */
	int64_t source_file_bytes, target_file_bytes;
};

#define NH_DELTA_LIST_MAX 500

/* ---- what people do -------------------------------------------------------------------------------------------------------- */

/* nh_delta_list - those to the firmware, latest request first, at most NH_DELTA_LIST_MAX. NH_ENOTFOUND (firmware), NH_EPERM. */
nh_rc nh_delta_list(struct nh_ctx *ctx, const struct nh_actor *actor, const struct nh_product *product, nh_slice target_uuid, struct nh_delta **out, size_t *count, struct nh_err *err);
/* nh_delta_open - one of them, for somebody who may do that. NH_ENOTFOUND, NH_EPERM. */
nh_rc nh_delta_open(struct nh_ctx *ctx, const struct nh_actor *actor, const struct nh_product *product, nh_slice target_uuid, nh_slice source_uuid, nh_action action, struct nh_delta *out,
                    struct nh_err *err);
/*
 * nh_delta_create - asks for one by hand. Audit entry, job. NH_EINVAL with *errors: "source": no firmware of the product, the target itself, of another platform or architecture, there is one already;
 * "target": its tasks know no deltas. NH_ENOTFOUND (target), NH_EPERM.
 */
nh_rc nh_delta_create(struct nh_ctx *ctx, const struct nh_actor *actor, const struct nh_product *product, nh_slice target_uuid, nh_slice source_uuid, struct nh_delta *out, json_t **errors,
                      struct nh_err *err);
/* nh_delta_retry - a failed one, or one that took too long, from the beginning. Audit entry, job. NH_EINVAL with *errors "status": it is neither. NH_ENOTFOUND, NH_EPERM. */
nh_rc nh_delta_retry(struct nh_ctx *ctx, const struct nh_actor *actor, const struct nh_product *product, nh_slice target_uuid, nh_slice source_uuid, struct nh_delta *out, json_t **errors,
                     struct nh_err *err);
/* nh_delta_delete - in whatever state; a build under way is thrown away at its end. The object becomes loose. Audit entry. NH_ENOTFOUND, NH_EPERM. */
nh_rc nh_delta_delete(struct nh_ctx *ctx, const struct nh_actor *actor, const struct nh_product *product, nh_slice target_uuid, nh_slice source_uuid, struct nh_err *err);
/* nh_deltas_discard - all from a firmware and to it, before it is deleted itself. NH_EIO. */
nh_rc nh_deltas_discard(struct nh_ctx *ctx, int64_t firmware_id, struct nh_err *err);

/* ---- groups ---------------------------------------------------------------------------------------------------------------- */

/*
 * nh_delta_wait - until when the group's devices that run `source` wait for their delta; 0: not at all, because there is one, or there will be none, or it took too long. request: one that is missing
 * is asked for (needs a write transaction); else nothing is changed, and *until_us says what asking would. NH_EIO.
 */
nh_rc nh_delta_wait(struct nh_ctx *ctx, const struct nh_group *group, nh_slice source_uuid, bool request, int64_t *until_us, struct nh_err *err);
/*
 * nh_deltas_request - ahead of a release: from each firmware that devices of the group run (connected or not, at most NH_DELTA_SOURCES_MAX) to the current release's; failed ones are tried anew.
 * Write. *count (NULL legal) of those that were asked for. NH_EIO.
 */
#define NH_DELTA_SOURCES_MAX 200
nh_rc nh_deltas_request(struct nh_ctx *ctx, const struct nh_group *group, size_t *count, struct nh_err *err);

/* ---- devices --------------------------------------------------------------------------------------------------------------- */

/* What a device is sent in place of the whole file. */
struct nh_delta_file {
	int64_t id;                  /* 0: the whole file */
	int64_t size_bytes, full_bytes;
	nh_slice checksum, partials, object_key;
};

/*
 * nh_delta_choose - the completed delta from what the device runs to the firmware, unless group (NULL: a person's push) has deltas switched off, the device's fwup is too old or unknown, or an update by delta
 * failed on it last time. (read) NH_EIO.
 */
nh_rc nh_delta_choose(struct nh_ctx *ctx, const struct nh_device_facts *device, const struct nh_group *group, int64_t firmware_id, struct nh_delta_file *out, struct nh_err *err);
/* nh_delta_sent - notes with the device's update in flight what it was sent: file->id 0 for the whole. NH_EIO. */
nh_rc nh_delta_sent(struct nh_ctx *ctx, int64_t device_id, const struct nh_delta_file *file, struct nh_err *err);
/* nh_delta_sent_get - the file of the update in flight; id 0: the whole, or the delta is gone. NH_EIO. */
nh_rc nh_delta_sent_get(struct nh_ctx *ctx, int64_t device_id, struct nh_delta_file *out, struct nh_err *err);
/* nh_delta_blame - its update has failed: where that was a delta, the next one is whole. Before the row in flight goes. NH_EIO. */
nh_rc nh_delta_blame(struct nh_ctx *ctx, int64_t device_id, struct nh_err *err);

/* What updates took and saved. */
struct nh_update_totals {
	int64_t updates, delta_updates;
	int64_t update_bytes, saved_bytes; /* sent; what whole files would have had beyond that */
	int64_t delta_bytes;               /* sent as deltas */
};
/* nh_update_counted - at success: a row of statistics for the device, and the sums, in which the first firmware that a device tells of does not count. NH_EIO. */
nh_rc nh_update_counted(struct nh_ctx *ctx, const struct nh_device_facts *before, nh_slice new_uuid, struct nh_err *err);
/* nh_update_totals_read - of the product; group not 0: of updates by it; firmware_uuid not empty: of updates to it (one of both at most). NH_EPERM, NH_ENOTFOUND, NH_EIO. */
nh_rc nh_update_totals_read(struct nh_ctx *ctx, const struct nh_actor *actor, const struct nh_product *product, int64_t group_id, nh_slice firmware_uuid, struct nh_update_totals *out,
                            struct nh_err *err);

/* ---- builders -------------------------------------------------------------------------------------------------------------- */

#define NH_DELTA_JOB "delta-build" /* kind; the key is the delta's id */

/* nh_delta_begin - an attempt begins: *out (write). NH_ENOTFOUND: nobody waits for it any more. */
nh_rc nh_delta_begin(struct nh_ctx *ctx, int64_t delta_id, struct nh_delta *out, struct nh_err *err);
/* nh_delta_claim - the object key that is about to exist, written down as loose. */
nh_rc nh_delta_claim(struct nh_ctx *ctx, const struct nh_delta *delta, nh_slice *object_key, struct nh_err *err);

struct nh_delta_built {
	nh_slice object_key, checksum, partials, tool_metadata, required_version;
	int64_t size_bytes;
};
/*
 * nh_delta_publish - the object is there: the delta is completed, and its groups go on. NH_ENOTFOUND: it was deleted, or somebody gave it up meanwhile; the caller deletes the object. NH_ETIMEOUT: the claim has run
 * out, as for nh_firmware_publish.
 */
nh_rc nh_delta_publish(struct nh_ctx *ctx, const struct nh_delta *delta, const struct nh_delta_built *built, struct nh_err *err);
/* nh_delta_give_up - status: NH_DELTA_FAILED or NH_DELTA_TIMED_OUT, why: for people. Audit entry; its groups go on with the whole firmware. One that is not being built stays as it is. */
nh_rc nh_delta_give_up(struct nh_ctx *ctx, int64_t delta_id, nh_delta_status status, nh_slice why, struct nh_err *err);
/* nh_deltas_expire - gives up those whose attempt began before that and never ended. *count at most 100; call again where it is. */
nh_rc nh_deltas_expire(struct nh_ctx *ctx, int64_t started_before_us, size_t *count, struct nh_err *err);
