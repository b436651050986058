/* Events to the owner. */
#include "link_int.h"

static const char *const names[NH_LINK_EVENT_KINDS] = {
	[NH_LINK_CONNECTING] = "connecting",
	[NH_LINK_CONNECTED] = "connected",
	[NH_LINK_JOINED] = "joined",
	[NH_LINK_DISCONNECTED] = "disconnected",
	[NH_LINK_UPDATE_OFFERED] = "update.offered",
	[NH_LINK_UPDATE_IGNORED] = "update.ignored",
	[NH_LINK_UPDATE_RESCHEDULED] = "update.rescheduled",
	[NH_LINK_UPDATE_STARTED] = "update.started",
	[NH_LINK_UPDATE_PROGRESS] = "update.progress",
	[NH_LINK_UPDATE_INSTALLED] = "update.installed",
	[NH_LINK_UPDATE_FAILED] = "update.failed",
	[NH_LINK_VALIDATED] = "validated",
	[NH_LINK_VALIDATION_FAILED] = "validation.failed",
	[NH_LINK_REBOOT] = "reboot",
	[NH_LINK_IDENTIFY] = "identify",
	[NH_LINK_KEYS] = "keys",
	[NH_LINK_EXTENSION] = "extension",
	[NH_LINK_CONSOLE] = "console",
	[NH_LINK_SCRIPT] = "script",
	[NH_LINK_FILE] = "file",
	[NH_LINK_ARCHIVE] = "archive",
	[NH_LINK_ERROR] = "error",
	[NH_LINK_REVERTED] = "reverted",
};

const char *nh_link_event_name(nh_link_event_kind kind) { return kind < NH_LINK_EVENT_KINDS ? names[kind] : "?"; }

void link_event(struct nh_link *l, const struct nh_link_event *event)
{
	if (!l->closing && l->config.on_event)
		l->config.on_event(l->config.event_ctx, l, event);
}

void link_event_text(struct nh_link *l, nh_link_event_kind kind, const char *text)
{
	link_event(l, &(struct nh_link_event){.kind = kind, .text = nh_slice_str(text)});
}
