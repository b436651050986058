/*
 * The audit log: who did what to which thing, for people of the organization. Rows are only ever added here and read back; the wording is
 * for people and not an interface. Entries are written in the transaction of the action they describe, so neither exists without the other.
 *
 * thread: a worker's or the writer's, with the context's transaction. source: reference/server-behaviour "8"
 */
#pragma once

#include "hub/hub.h"

typedef enum nh_audit_resource {
	NH_AUDIT_ORG,
	NH_AUDIT_USER,
	NH_AUDIT_PRODUCT,
	NH_AUDIT_DEVICE,
	NH_AUDIT_GROUP, /* deployment group */
	NH_AUDIT_FIRMWARE,
	NH_AUDIT_KEY,
	NH_AUDIT_CA,
	NH_AUDIT_RESOURCE_COUNT,
} nh_audit_resource;

/* Longest description and longest text a device may contribute to one, in bytes of UTF-8; longer ones end in "…". */
#define NH_AUDIT_DESCRIPTION_MAX 500
#define NH_AUDIT_REASON_MAX 200

/*
 * nh_audit_add - appends one entry of organization org_id about resource (kind, resource_id > 0). The description is fmt printed, cut at
 * NH_AUDIT_DESCRIPTION_MAX. actor: borrowed, its name is stored with the entry, since the actor may be deleted later. NH_EIO.
 * Needs a write transaction. Never put a secret into the text.
 */
[[gnu::format(printf, 7, 8)]] nh_rc nh_audit_add(struct nh_ctx *ctx, const struct nh_actor *actor, int64_t org_id, nh_audit_resource kind,
                                                int64_t resource_id, struct nh_err *err, const char *fmt, ...);

/*
 * nh_audit_account - what happened to an account concerns every organization that it may enter: the same entry in the log of each, about the user and by them, "NAME" and fmt printed.
 * user_id: whose account, who need not be who asked. NH_ENOTFOUND: no such user. NH_EIO.
 */
[[gnu::format(printf, 4, 5)]] nh_rc nh_audit_account(struct nh_ctx *ctx, int64_t user_id, struct nh_err *err, const char *fmt, ...);

/* nh_audit_reason - a device's own words made fit for an entry: valid UTF-8, control characters as blanks, cut at NH_AUDIT_REASON_MAX. In arena. */
nh_slice nh_audit_reason(struct nh_arena *arena, nh_slice reason);

struct nh_audit_entry {
	int64_t id;
	int64_t at_us;
	nh_actor_kind actor_kind;
	int64_t actor_id;
	nh_slice actor_name;
	nh_audit_resource kind;
	int64_t resource_id;
	nh_slice description;
};

/* What kinds are called in the log: "user", "device", "system"; "org", "device", "group", … */
const char *nh_audit_actor_name(nh_actor_kind kind);
const char *nh_audit_resource_name(nh_audit_resource kind);

/*
 * nh_audit_list - entries of one thing, newest first: those where it is the resource, for devices also those where it acted. NH_AUDIT_ORG: all of the organization, whatever resource_id is.
 * before_id: only older entries than this id (0: from the newest). limit: 1..500. *out in the context's arena. The caller has checked that the
 * reader may see org_id; entries of other organizations never appear. NH_EIO.
 */
nh_rc nh_audit_list(struct nh_ctx *ctx, int64_t org_id, nh_audit_resource kind, int64_t resource_id, int64_t before_id, size_t limit,
                    struct nh_audit_entry **out, size_t *count, struct nh_err *err);
