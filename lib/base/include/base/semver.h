/*
 * Semantic versions and Elixir-style version requirements. thread: any.
 * source: reference/user-api-and-cli "13.5", reference/server-behaviour "3.2"
 */
#pragma once

#include "base/err.h"
#include "base/slice.h"

struct nh_semver {
	uint64_t major, minor, patch;
	nh_slice pre;   /* without '-', empty if none; view into the parsed text */
	nh_slice build; /* without '+', ignored in comparison */
};

nh_rc nh_semver_parse(nh_slice text, struct nh_semver *out); /* strict MAJOR.MINOR.PATCH[-pre][+build]; NH_EFORMAT */
int nh_semver_cmp(const struct nh_semver *a, const struct nh_semver *b);
/* nh_semver_req_check - does the requirement parse? NH_EFORMAT with a message for people. Empty text is legal and matches all. */
nh_rc nh_semver_req_check(nh_slice requirement, struct nh_err *err);
/* nh_semver_req_match - *matches; NH_EFORMAT where the requirement or the version does not parse. */
nh_rc nh_semver_req_match(nh_slice requirement, nh_slice version, bool *matches);
