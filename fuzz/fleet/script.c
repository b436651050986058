/* A script of misbehaviour: within its bounds, or refused with a line number. */
#include "fuzz.h"

#include "fleet/fleet.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct nh_fleet_script s;
	struct nh_err err = NH_ERR_INIT;
	if (nh_fleet_script_parse(nh_slice_of(data, size), &s, &err) != NH_OK) {
		FUZZ_CHECK(strncmp(err.msg, "line ", 5) == 0, "%s", err.msg);
		return 0;
	}
	const unsigned rates[] = {s.drop, s.slow, s.fail_install, s.revert, s.duplicate, s.skew};
	for (size_t i = 0; i < NH_ARRAY_LEN(rates); i++)
		FUZZ_CHECK(rates[i] <= 1000, "%u of thousand", rates[i]);
	FUZZ_CHECK(s.slow_bytes_per_s <= UINT64_C(1) << 40 && s.skew_s >= 0, "bounds");
	return 0;
}
