/*
 * Who may look on and talk: one table of what each kind of conversation asks for and how it is called.
 */
#include "hub/conversations.h"

#include "hub/accounts.h"
#include "hub/audit.h"
#include "hub/devices.h"

static const struct {
	nh_action action;
	const char *what; /* as audit entries call it; NULL: none are written */
} kinds[] = {
	[NH_CONVERSATION_CONSOLE] = {NH_MAY_DEVICE_CONSOLE, "console"},
	[NH_CONVERSATION_SHELL] = {NH_MAY_DEVICE_SHELL, "local shell"},
	[NH_CONVERSATION_EVENTS] = {NH_MAY_DEVICE_EVENTS, NULL},
};

bool nh_conversation_audited(nh_conversation_kind kind) { return kinds[kind].what != NULL; }

static nh_rc note(struct nh_ctx *ctx, const struct nh_actor *actor, const struct nh_conversation *c, nh_slice identifier, const char *verb, struct nh_err *err)
{
	if (!nh_conversation_audited(c->kind))
		return NH_OK;
	return nh_audit_add(ctx, actor, c->org_id, NH_AUDIT_DEVICE, c->device_id, err, "%.*s %s the %s of device %.*s", NH_ARG(actor->name), verb, kinds[c->kind].what,
			    NH_ARG(identifier));
}

nh_rc nh_conversation_open(struct nh_ctx *ctx, const struct nh_actor *actor, nh_conversation_kind kind, nh_slice identifier, struct nh_conversation *out, struct nh_err *err)
{
	struct nh_device device;
	NH_TRY(nh_device_open_anywhere(ctx, actor, identifier, kinds[kind].action, &device, err));
	*out = (struct nh_conversation){.kind = kind, .device_id = device.id, .org_id = device.org_id};
	return note(ctx, actor, out, device.identifier, "opened", err);
}

nh_rc nh_conversation_check(struct nh_ctx *ctx, const struct nh_actor *actor, const struct nh_conversation *conversation, struct nh_err *err)
{
	struct nh_device device;
	NH_TRY(nh_device_by_id(ctx, conversation->device_id, &device, err));
	if (device.deleted_at_us != 0)
		return NH_FAIL(err, NH_ENOTFOUND, "device was deleted");
	return nh_may(ctx, actor, device.org_id, kinds[conversation->kind].action, err);
}

nh_rc nh_conversation_close(struct nh_ctx *ctx, const struct nh_actor *actor, const struct nh_conversation *conversation, struct nh_err *err)
{
	struct nh_device device;
	NH_TRY(nh_device_by_id(ctx, conversation->device_id, &device, err));
	return note(ctx, actor, conversation, device.identifier, "closed", err);
}
