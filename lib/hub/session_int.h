/*
 * What a join payload says, in one shape for all kinds of devices. Private to hub.
 */
#pragma once

#include "hub/device_session.h"
#include "rollout_int.h"

struct nh_reported {
	nh_slice uuid, product, version, platform, architecture;                /* required; empty where absent */
	nh_slice author, description, fwup_version, vcs_identifier, misc;       /* optional; pointer NULL where absent */
	nh_validation validation;
	bool reverted;
	bool downloading; /* currently_downloading_uuid names an update in progress */
	bool names_tool;
	nh_slice api_version;
	bool api_2_0, api_2_1, api_2_2; /* at least that version of the device's side */
	bool wants_fwup_keys, wants_archive_keys;
};

/*
 * What a device reports to run becomes what it runs, with all that follows (success or failure of an update). *known false: it reported none that could be used. *again: a person's
 * push may not have reached it.
 */
nh_rc nh_reported_take(struct nh_ctx *ctx, const struct nh_device_facts *d, struct nh_reported *r, struct nh_join_result *out, bool *again, struct nh_err *err);

void nh_reported_read(const json_t *payload, struct nh_arena *arena, struct nh_reported *out); /* views into payload and arena */
bool nh_reported_complete(const struct nh_reported *r);
nh_slice nh_reported_json(const struct nh_reported *r, struct nh_arena *arena); /* as devices.firmware_metadata keeps it */
