/* First line: a version; the rest: a requirement. Both readings must agree on what is broken, and comparison must be antisymmetric. */
#include "base/semver.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	nh_slice version, requirement;
	nh_slice_cut(nh_slice_of(data, size), '\n', &version, &requirement);
	struct nh_semver v, w;
	bool matches = false;
	nh_rc parsed = nh_semver_parse(version, &v);
	nh_rc checked = nh_semver_req_check(requirement, NULL);
	nh_rc matched = nh_semver_req_match(requirement, version, &matches);
	if (parsed == NH_OK && requirement.len)
		NH_ASSERT(checked == matched);
	NH_ASSERT(matched == NH_OK || !matches);
	if (parsed == NH_OK && nh_semver_parse(requirement, &w) == NH_OK)
		NH_ASSERT(nh_semver_cmp(&v, &w) == -nh_semver_cmp(&w, &v));
	return 0;
}
