/*
 * May this device be updated now, and if not, why not? Pure: device, group, question and time in, verdict and all reasons out.
 *
 * Every path that could send an update asks here, and so does whoever asks "why did this device not update?", so the answer is the code that
 * decided. source: reference/server-behaviour "3.8" Selection, "3.9", "3.10"; reference/device-protocol "10"
 */
#include "base/semver.h"
#include "hub/rollouts.h"

static bool contains(const nh_slice *list, size_t count, nh_slice wanted)
{
	for (size_t i = 0; i < count; i++) {
		if (nh_slice_eq(list[i], wanted))
			return true;
	}
	return false;
}

static bool carries_release_tags(const struct nh_device_facts *device, const struct nh_group *group)
{
	for (size_t i = 0; i < group->release_tag_count; i++) {
		if (!contains(device->tags, device->tag_count, group->release_tags[i]))
			return false;
	}
	return true;
}

static bool on_allowed_interface(const struct nh_device_facts *device, const struct nh_group *group)
{
	return group->release_interface_count == 0 ||
	       (device->network_interface.len > 0 &&
	        contains(group->release_interfaces, group->release_interface_count, device->network_interface));
}

static bool within_priority(const struct nh_device_facts *device, const struct nh_group *group)
{
	struct nh_semver running, limit;
	return group->priority_queue_enabled && group->priority_queue_threshold.len > 0 &&
	       nh_semver_parse(device->firmware_version, &running) == NH_OK &&
	       nh_semver_parse(group->priority_queue_threshold, &limit) == NH_OK && nh_semver_cmp(&running, &limit) <= 0;
}

static bool rate_met(const struct nh_device_facts *device, const struct nh_group *group, int64_t now_us)
{
	int64_t since = now_us - group->failure_rate_seconds * NH_US_PER_S;
	int64_t recent = 0;
	for (size_t i = 0; i < device->attempt_count; i++)
		recent += device->attempts[i] > since;
	return recent >= group->failure_rate_amount;
}

bool nh_rollout_begun_for(const struct nh_rollout *r, const struct nh_device_facts *device)
{
	if (r->release_id == 0 || r->waves == 0 || r->wave > r->waves)
		return true;
	if (r->named && device->named_release_id == r->release_id)
		return true;
	return nh_rollout_rank(r->release_id, device->id) < r->share;
}

const struct nh_zone *nh_rollout_zone(const struct nh_rollout *r, const struct nh_device_facts *device)
{
	return device->timezone.len > 0 ? device->zone : r->zone;
}

static void say(struct nh_update_decision *d, nh_update_reason reason, bool holds)
{
	if (holds)
		d->reasons[d->count++] = reason;
}

/* What its release's plan says. A person who updates one device goes ahead of waves and windows, but not of a stop. */
static void say_rollout(struct nh_update_decision *d, const struct nh_device_facts *device, const struct nh_rollout *r, nh_update_how how, int64_t now_us)
{
	if (r->release_id == 0)
		return;
	say(d, NH_UPDATE_ROLLOUT_PAUSED, r->state == NH_ROLLOUT_PAUSED);
	say(d, NH_UPDATE_ROLLOUT_STOPPED, r->state == NH_ROLLOUT_STOPPED);
	if (how == NH_UPDATE_BY_HAND)
		return;
	say(d, NH_UPDATE_NOT_BEFORE, now_us < r->not_before_us);
	say(d, NH_UPDATE_WAVE_NOT_BEGUN, !nh_rollout_begun_for(r, device));
	say(d, NH_UPDATE_OUTSIDE_WINDOW, !nh_windows_open(r->windows, r->window_count, nh_rollout_zone(r, device), now_us));
}

struct nh_update_decision nh_update_decide(const struct nh_device_facts *device, const struct nh_group *group, nh_update_how how, int64_t now_us)
{
	struct nh_update_decision d = {.verdict = NH_UPDATE_WAIT};

	say(&d, NH_UPDATE_NO_GROUP, group == NULL);
	say(&d, NH_UPDATE_GROUP_INACTIVE, group && !group->is_active);
	say(&d, NH_UPDATE_GROUP_NOT_READY, group && group->is_active && group->status != NH_GROUP_READY);
	say(&d, NH_UPDATE_DEVICE_DELETED, device->deleted);
	say(&d, NH_UPDATE_DISABLED, !device->updates_enabled);
	say(&d, NH_UPDATE_BLOCKED, device->blocked_until_us > now_us);
	say(&d, NH_UPDATE_NO_METADATA, device->firmware_uuid.len == 0);
	say(&d, NH_UPDATE_NOT_VALIDATED, device->validation == NH_VALIDATION_NOT_VALIDATED);
	say(&d, NH_UPDATE_NOT_CONNECTED, how != NH_UPDATE_POLL && !device->connected);
	say(&d, NH_UPDATE_SAME_FIRMWARE, group && nh_slice_eq(device->firmware_uuid, group->release.firmware_uuid));
	say(&d, NH_UPDATE_INFLIGHT, device->inflight);
	if (group) {
		say(&d, NH_UPDATE_NETWORK_INTERFACE, !on_allowed_interface(device, group));
		say(&d, NH_UPDATE_RELEASE_TAGS, !carries_release_tags(device, group));
		say(&d, NH_UPDATE_ABOVE_THRESHOLD, how == NH_UPDATE_PRIORITY && !within_priority(device, group));
		say_rollout(&d, device, &group->rollout, how, now_us);
	}
	say(&d, NH_UPDATE_DELTA, how != NH_UPDATE_BY_HAND && device->delta_until_us > now_us);
	bool eligible = d.count == 0;
	if (group) {
		say(&d, NH_UPDATE_FAILURE_RATE, rate_met(device, group, now_us));
		say(&d, NH_UPDATE_FAILURE_THRESHOLD, (int64_t)device->attempt_count >= group->failure_threshold_attempts);
	}
	if (d.count == 0)
		d.verdict = NH_UPDATE_SEND;
	else if (eligible)
		d.verdict = NH_UPDATE_PENALIZE;
	return d;
}

bool nh_update_has_reason(const struct nh_update_decision *decision, nh_update_reason reason)
{
	for (size_t i = 0; i < decision->count; i++) {
		if (decision->reasons[i] == reason)
			return true;
	}
	return false;
}

const char *nh_update_reason_text(nh_update_reason reason)
{
	static const char *const text[NH_UPDATE_REASON_COUNT] = {
		[NH_UPDATE_NO_GROUP] = "it is in no deployment group",
		[NH_UPDATE_GROUP_INACTIVE] = "its deployment group is inactive",
		[NH_UPDATE_GROUP_NOT_READY] = "its deployment group is still preparing the release",
		[NH_UPDATE_DEVICE_DELETED] = "the device is deleted",
		[NH_UPDATE_DISABLED] = "updates are disabled for the device",
		[NH_UPDATE_BLOCKED] = "the device is in the penalty box",
		[NH_UPDATE_NO_METADATA] = "it never reported which firmware it runs",
		[NH_UPDATE_NOT_VALIDATED] = "it has not validated its running firmware",
		[NH_UPDATE_NOT_CONNECTED] = "it is not connected",
		[NH_UPDATE_SAME_FIRMWARE] = "it runs the release's firmware already",
		[NH_UPDATE_INFLIGHT] = "an update is in flight",
		[NH_UPDATE_NETWORK_INTERFACE] = "it is connected over a network interface that the release excludes",
		[NH_UPDATE_RELEASE_TAGS] = "it lacks a tag that the release asks for",
		[NH_UPDATE_FAILURE_RATE] = "too many updates were attempted within a short time",
		[NH_UPDATE_FAILURE_THRESHOLD] = "too many updates were attempted without success",
		[NH_UPDATE_ABOVE_THRESHOLD] = "its version is above the priority queue's threshold",
		[NH_UPDATE_ROLLOUT_PAUSED] = "its rollout is paused",
		[NH_UPDATE_ROLLOUT_STOPPED] = "its rollout was stopped because too many devices failed",
		[NH_UPDATE_NOT_BEFORE] = "the release's time has not come",
		[NH_UPDATE_WAVE_NOT_BEGUN] = "its wave of the rollout has not begun",
		[NH_UPDATE_DELTA] = "its delta is still being built",
		[NH_UPDATE_OUTSIDE_WINDOW] = "no maintenance window is open where it stands",
	};
	NH_ASSERT((size_t)reason < NH_ARRAY_LEN(text));
	return text[reason];
}
