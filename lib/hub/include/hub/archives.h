/*
 * Archives: a second signed file that a release may carry beside its firmware. Intake, lists, deletion, and telling devices of them.
 *
 * They come in by the steps of hub/firmware.h: intake_open, upload, nh_firmware_inspect, claim, commit, publish. A device is told of its group's archive with each join, when its own row
 * changes, and when a release with an archive comes to its group; it keeps what it has and does not answer. Members of a group are told by the orchestrator's runs, at most
 * NH_ORCHESTRATOR_BATCH of them in each, since all of them downloading at once is what one release must not cause.
 *
 * Conventions: hub/accounts.h. Roles: view to look, manage to change. source: reference/server-behaviour "5"; reference/device-protocol "8.3", "13"
 */
#pragma once

#include "hub/firmware.h"
#include "hub/permissions.h"
#include "hub/updates.h"

struct nh_archive {
	int64_t id, org_id, product_id, org_key_id;
	nh_slice uuid, version, platform, architecture;
	nh_slice product_name;       /* of the product that has it; what the file itself names is not kept */
	nh_slice author, description, misc, vcs_identifier; /* pointer NULL if none */
	int64_t size_bytes;
	nh_slice checksum;           /* SHA-256, upper-case hex */
	nh_slice object_key;
	int64_t inserted_at_us, updated_at_us;
};

/* ---- intake ------------------------------------------------------------------------------------------------------------ */

nh_rc nh_archive_intake_open(struct nh_ctx *ctx, const struct nh_actor *actor, int64_t org_id, nh_slice product_name, struct nh_firmware_intake *out,
                             struct nh_err *err); /* read. NH_ENOTFOUND, NH_EPERM (role below manage) */
nh_rc nh_archive_claim(struct nh_ctx *ctx, const struct nh_actor *actor, const struct nh_firmware_intake *intake, const struct nh_firmware_facts *facts,
                       nh_slice *object_key, json_t **errors, struct nh_err *err); /* write. Errors as publish */
/* nh_archive_publish - write. NH_EINVAL: "uuid" taken within the product, key deleted meanwhile. NH_ENOTFOUND, NH_EPERM. Audit entry, effect TOPIC "archive". */
nh_rc nh_archive_publish(struct nh_ctx *ctx, const struct nh_actor *actor, const struct nh_firmware_intake *intake, const struct nh_firmware_facts *facts,
                         nh_slice object_key, struct nh_archive *out, json_t **errors, struct nh_err *err);

/* ---- lists and deletion ------------------------------------------------------------------------------------------------ */

/* Highest version first, then newest. */
nh_rc nh_archive_list(struct nh_ctx *ctx, const struct nh_actor *actor, const struct nh_product *product, struct nh_archive **out, size_t *count,
                      struct nh_err *err);
nh_rc nh_archive_open(struct nh_ctx *ctx, const struct nh_actor *actor, const struct nh_product *product, nh_slice uuid, nh_action action, struct nh_archive *out,
                      struct nh_err *err);
/* nh_archive_find - of a product, by uuid, or by id where uuid is empty (read; no actor). NH_ENOTFOUND. */
nh_rc nh_archive_find(struct nh_ctx *ctx, int64_t product_id, nh_slice uuid, int64_t id, struct nh_archive *out, struct nh_err *err);
/* nh_archive_delete - NH_ECONFLICT with *errors: a release uses it. Its object becomes loose and due at once; audit entry, effect OBJECT_DELETE. */
nh_rc nh_archive_delete(struct nh_ctx *ctx, const struct nh_actor *actor, const struct nh_product *product, nh_slice uuid, json_t **errors, struct nh_err *err);

/* ---- telling devices --------------------------------------------------------------------------------------------------- */

/*
 * nh_archive_tell_joined - a device whose API is at least 2.0.0 has joined, and its group's release has the archive of that id: effect DEVICE_PUSH "archive" where its updates are enabled
 * and it is not in the penalty box. No audit entry. NH_EIO.
 */
nh_rc nh_archive_tell_joined(struct nh_ctx *ctx, const struct nh_device_facts *device, int64_t archive_id, struct nh_err *err);
/* nh_archive_tell_changed - the device's row or group changed: the same where it is connected, with an audit entry. NH_EIO. */
nh_rc nh_archive_tell_changed(struct nh_ctx *ctx, int64_t device_id, struct nh_err *err);
/*
 * nh_archive_tell_members - tells the next of a group's connected members whom the current release's archive has not been announced to, at most max (1 to 500), in order of their ids, with an audit
 * entry each. *more: some are left, call again later. A member that connects meanwhile was told by its join. NH_EIO.
 */
nh_rc nh_archive_tell_members(struct nh_ctx *ctx, int64_t group_id, size_t max, bool *more, struct nh_err *err);
