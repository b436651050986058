/*
 * Conversations: who may look on at a device's console, shell or events, and talk back. Where somebody may type, beginning and end are audit entries.
 *
 * A permission is asked for at the beginning and again while the conversation lasts; what has become of it meanwhile (member removed, role lowered, device deleted or moved
 * away) ends it. It belongs to the device, not to its name: a device that is made anew under the same identifier is another one.
 *
 * Conventions: hub/accounts.h. source: reference/user-api-and-cli "16.2" to "16.4"; design/architecture "5"
 */
#pragma once

#include "hub/hub.h"

typedef enum nh_conversation_kind {
	NH_CONVERSATION_CONSOLE, /* manage */
	NH_CONVERSATION_SHELL,   /* manage */
	NH_CONVERSATION_EVENTS,  /* view; no audit entries, so that a read transaction does */
} nh_conversation_kind;

struct nh_conversation {
	nh_conversation_kind kind;
	int64_t device_id, org_id; /* the organization it had at the beginning */
};

bool nh_conversation_audited(nh_conversation_kind kind); /* open and close then need a write transaction */

/*
 * nh_conversation_open - with the device of that identifier among those of the actor's organizations. Audit entry. NH_ENOTFOUND; NH_EPERM: role too low; NH_ECONFLICT: more than one
 * of the organizations has such a device.
 */
nh_rc nh_conversation_open(struct nh_ctx *ctx, const struct nh_actor *actor, nh_conversation_kind kind, nh_slice identifier, struct nh_conversation *out, struct nh_err *err);
/* nh_conversation_check - may it go on? NH_ENOTFOUND: the device was deleted, or the actor left its organization; NH_EPERM: the role is too low now. */
nh_rc nh_conversation_check(struct nh_ctx *ctx, const struct nh_actor *actor, const struct nh_conversation *conversation, struct nh_err *err);
/* nh_conversation_close - audit entry, whatever has become of the permission. */
nh_rc nh_conversation_close(struct nh_ctx *ctx, const struct nh_actor *actor, const struct nh_conversation *conversation, struct nh_err *err);
