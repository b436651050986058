/*
 * Firmware: intake of uploads, lists, deletion.
 *
 * Intake takes these steps, in this order, so that a crash at any point leaves neither a row without its object nor an object for ever:
 *   1  read   nh_firmware_intake_open     may the actor upload here, and which keys count?
 *   2         the caller streams the upload into a temporary object
 *   3  none   nh_firmware_inspect         the whole file: container, signature, every resource's hash, metadata, check sums (slow: a worker's)
 *   4  write  nh_firmware_claim           writes down the object key that is about to exist
 *   5         the caller commits the object under that key
 *   6  write  nh_firmware_publish         the row; the claim is settled
 * After a failure in 6 the caller deletes the object. A crash after 4 leaves a claim: it falls due when this server starts again
 * (nh_loose_objects_abandon), or an hour later. Metadata is text: nothing in it is expanded or run. Archives come in by the same steps (hub/archives.h): the two
 * differ in 1, 4 and 6, and in which product the file may be built for.
 *
 * Conventions: hub/accounts.h. source: reference/user-api-and-cli "12"; reference/server-behaviour "1.7", "4.1" to "4.3", "4.9"
 */
#pragma once

#include "hub/hub.h"
#include "hub/permissions.h"
#include "hub/products.h"

struct nh_firmware {
	int64_t id, org_id, product_id, org_key_id;
	nh_slice uuid, version, platform, architecture, product_name;
	nh_slice author, description, misc, vcs_identifier; /* pointer NULL if none */
	int64_t size_bytes;
	nh_slice checksum;           /* SHA-256, upper-case hex */
	nh_slice partials_checksums; /* JSON array text, one per MiB */
	bool delta_updatable;
	nh_slice tool;
	nh_slice object_key;
	int64_t inserted_at_us, updated_at_us;
};

struct nh_intake_key {
	int64_t id;
	nh_slice key; /* base64 text */
};

typedef enum nh_intake_kind { NH_INTAKE_FIRMWARE, NH_INTAKE_ARCHIVE } nh_intake_kind;

struct nh_firmware_intake {
	nh_intake_kind kind;
	struct nh_product product;
	struct nh_intake_key *keys;
	size_t key_count;
	uint64_t max_bytes;
};

/* nh_firmware_intake_open - read. NH_ENOTFOUND, NH_EPERM (role below manage). */
nh_rc nh_firmware_intake_open(struct nh_ctx *ctx, const struct nh_actor *actor, int64_t org_id, nh_slice product_name, struct nh_firmware_intake *out,
                              struct nh_err *err);

/* What inspection found; slices in the arena. */
struct nh_firmware_facts {
	int64_t org_key_id;
	nh_slice product, uuid, version, platform, architecture, author, description, misc, vcs_identifier;
	uint64_t size_bytes;
	nh_slice checksum, partials_checksums;
	bool delta_updatable;
	nh_slice required_fwup_version;
};

/*
 * nh_firmware_inspect - reads fd from its start to its end. No transaction; a worker's; needs little memory whatever the file's size.
 * NH_EINVAL with *errors for everything that is wrong with the file: not an archive, truncated, tampered, unsigned, signed by a stranger, no key
 * registered, metadata missing, built for another product (archives may be), version not semantic. NH_EIO: could not read.
 */
nh_rc nh_firmware_inspect(struct nh_arena *arena, const struct nh_firmware_intake *intake, int fd, struct nh_firmware_facts *out, json_t **errors,
                          struct nh_err *err);

/* nh_firmware_claim - checks what publish will check, and picks the object key (unique per upload). Errors as publish. */
nh_rc nh_firmware_claim(struct nh_ctx *ctx, const struct nh_actor *actor, const struct nh_firmware_intake *intake, const struct nh_firmware_facts *facts,
                        nh_slice *object_key, json_t **errors, struct nh_err *err);
/*
 * nh_firmware_publish - the row. NH_EINVAL: "uuid" or "version" taken, key deleted meanwhile. NH_ENOTFOUND, NH_EPERM: product or role gone meanwhile.
 * Effect TOPIC "firmware".
 */
nh_rc nh_firmware_publish(struct nh_ctx *ctx, const struct nh_actor *actor, const struct nh_firmware_intake *intake,
                          const struct nh_firmware_facts *facts, nh_slice object_key, struct nh_firmware *out, json_t **errors, struct nh_err *err);

/* Highest version first, then newest. */
nh_rc nh_firmware_list(struct nh_ctx *ctx, const struct nh_actor *actor, const struct nh_product *product, struct nh_firmware **out, size_t *count,
                       struct nh_err *err);
nh_rc nh_firmware_open(struct nh_ctx *ctx, const struct nh_actor *actor, const struct nh_product *product, nh_slice uuid, nh_action action,
                       struct nh_firmware *out, struct nh_err *err);
/* nh_firmware_delete - NH_EINVAL: a release uses it. Its object becomes loose and due at once; effect OBJECT_DELETE. */
nh_rc nh_firmware_delete(struct nh_ctx *ctx, const struct nh_actor *actor, const struct nh_product *product, nh_slice uuid, json_t **errors,
                         struct nh_err *err);

struct nh_file_retention {
	unsigned days;   /* 0: files are kept until somebody deletes them */
	unsigned newest; /* versions of each product, platform and architecture that stay whatever their age */
};
/*
 * nh_files_trim - deletes firmware and archives that are older than `days`, not among the newest, named by no release (not by an earlier one either: it may be gone back to), run by no
 * device and on its way to none; at most 20 of each. *trimmed of both: call again while it is not 0. Objects as nh_firmware_delete, an audit entry each. NH_EIO.
 */
nh_rc nh_files_trim(struct nh_ctx *ctx, const struct nh_file_retention *keep, size_t *trimmed, struct nh_err *err);

/* nh_version_key - pure: bytes whose order is the precedence of semantic versions. NH_EFORMAT. source: server-behaviour "1.12" (with its faults mended) */
nh_rc nh_version_key(nh_slice version, struct nh_buf *out);

/* ---- loose objects: to be deleted unless claimed ----------------------------------------------------------------------------- */

/* nh_loose_objects_due - at most `max` keys that are due (read). The caller deletes each object, then calls nh_loose_object_gone (write). */
nh_rc nh_loose_objects_due(struct nh_ctx *ctx, size_t max, nh_slice **keys, size_t *count, struct nh_err *err);
/*
 * nh_loose_objects_abandon - at start, before anybody uploads: what the last run of this node claimed falls due now, since nobody is left who could
 * publish it (write). NH_EIO.
 */
nh_rc nh_loose_objects_abandon(struct nh_ctx *ctx, struct nh_err *err);
nh_rc nh_loose_object_gone(struct nh_ctx *ctx, nh_slice key, struct nh_err *err);
