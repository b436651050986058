/*
 * Which deployment group does a device belong to? Pure rules over rows that others loaded: no database, no clock.
 *
 * A requirement or version that does not parse never matches (upstream fails the device's join on it; a fleet must not).
 * source: reference/server-behaviour "3.2" to "3.4"; reference/user-api-and-cli "13.4"
 */
#include "base/semver.h"
#include "hub/deployments.h"

static bool has_tag(const nh_slice *tags, size_t count, nh_slice wanted)
{
	for (size_t i = 0; i < count; i++) {
		if (nh_slice_eq(tags[i], wanted))
			return true;
	}
	return false;
}

static size_t common_tags(const struct nh_group *group, const struct nh_match_device *device)
{
	size_t common = 0;
	for (size_t i = 0; i < group->condition_tag_count; i++)
		common += has_tag(device->tags, device->tag_count, group->condition_tags[i]);
	return common;
}

static bool tags_fit(const struct nh_group *group, const struct nh_match_device *device)
{
	size_t wanted = group->condition_tag_count;
	if (wanted == 0)
		return true;
	size_t common = common_tags(group, device);
	return group->tags_any ? common > 0 : common == wanted;
}

static bool version_fits(const struct nh_group *group, const struct nh_match_device *device)
{
	if (group->condition_version.len == 0)
		return true;
	bool matches = false;
	return nh_semver_req_match(group->condition_version, device->version, &matches) == NH_OK && matches;
}

nh_mismatch nh_group_match(const struct nh_group *group, const struct nh_match_device *device)
{
	if (!group->is_active)
		return NH_MISMATCH_INACTIVE;
	return group->lock_device_membership ? NH_MISMATCH_LOCKED : nh_group_fits(group, device);
}

nh_mismatch nh_group_fits(const struct nh_group *group, const struct nh_match_device *device)
{
	if (!nh_slice_eq(group->release.platform, device->platform))
		return NH_MISMATCH_PLATFORM;
	if (!nh_slice_eq(group->release.architecture, device->architecture))
		return NH_MISMATCH_ARCHITECTURE;
	if (!tags_fit(group, device))
		return NH_MISMATCH_TAGS;
	if (!version_fits(group, device))
		return NH_MISMATCH_VERSION;
	return NH_MATCH_OK;
}

nh_mismatch nh_group_keep(const struct nh_group *group, const struct nh_match_device *device)
{
	if (!group->lock_device_membership && !version_fits(group, device))
		return NH_MISMATCH_VERSION;
	/* A lock keeps the one who was flashed for another platform as little as it may be sent the group's firmware. */
	if (!nh_slice_eq(group->platform, device->platform))
		return NH_MISMATCH_PLATFORM;
	if (!nh_slice_eq(group->architecture, device->architecture))
		return NH_MISMATCH_ARCHITECTURE;
	return NH_MATCH_OK;
}

/* Versions that do not parse sort below all others. */
static int version_cmp(nh_slice a, nh_slice b)
{
	struct nh_semver va, vb;
	bool a_ok = nh_semver_parse(a, &va) == NH_OK;
	bool b_ok = nh_semver_parse(b, &vb) == NH_OK;
	if (!a_ok || !b_ok)
		return (int)a_ok - (int)b_ok;
	return nh_semver_cmp(&va, &vb);
}

static bool better(const struct nh_group *a, const struct nh_group *b, const struct nh_match_device *device)
{
	int by_version = version_cmp(a->release.firmware_version, b->release.firmware_version);
	if (by_version != 0)
		return by_version > 0;
	size_t tags_a = common_tags(a, device), tags_b = common_tags(b, device);
	if (tags_a != tags_b)
		return tags_a > tags_b;
	return a->id < b->id;
}

ptrdiff_t nh_group_choose(const struct nh_group *groups, size_t count, const struct nh_match_device *device, size_t *matches)
{
	ptrdiff_t best = -1;
	size_t found = 0;
	for (size_t i = 0; i < count; i++) {
		if (nh_group_match(&groups[i], device) != NH_MATCH_OK)
			continue;
		found++;
		if (best < 0 || better(&groups[i], &groups[best], device))
			best = (ptrdiff_t)i;
	}
	if (matches)
		*matches = found;
	return best;
}

const char *nh_mismatch_text(nh_mismatch m)
{
	static const char *const text[] = {
		[NH_MATCH_OK] = "matches",
		[NH_MISMATCH_INACTIVE] = "inactive group",
		[NH_MISMATCH_LOCKED] = "locked group",
		[NH_MISMATCH_VERSION] = "mismatched version",
		[NH_MISMATCH_PLATFORM] = "mismatched platform",
		[NH_MISMATCH_ARCHITECTURE] = "mismatched architecture",
		[NH_MISMATCH_TAGS] = "mismatched tags",
	};
	return text[m];
}
