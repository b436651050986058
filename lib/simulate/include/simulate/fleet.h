/*
 * What a release would do to a fleet, tried on a copy of it: the fleet as a file (docs/guides/simulation.md), run after run with the real rules, once with a firmware that works and once with one that fails on
 * some devices. How long it takes, when waves begin, when it is stopped and how many devices were hit by then.
 *
 * thread: as simulate.h.
 */
#pragma once

#include "base/json.h"
#include "simulate/simulate.h"

#define NH_SIM_FLEET_FORMAT "nerveshub-fleet"
#define NH_SIM_FLEET_VERSION 1
#define NH_SIM_FLEET_BYTES_MAX ((size_t)64 << 20)
#define NH_SIM_FLEET_DEVICES_MAX 20000
#define NH_SIM_FLEET_RUNS_MAX 1000

struct nh_sim_fleet_options {
	const json_t *fleet;
	const char *folder;      /* where databases may lie while they are used */
	uint64_t seed;
	unsigned runs;           /* of each kind, 1 to NH_SIM_FLEET_RUNS_MAX */
	double normal_failure;   /* chance that an update fails with a firmware that works, 0 to 1 */
	double firmware_failure; /* the same with one that does not */
	double offline;          /* share of devices that are away when it begins; < 0: those that the file says */
	uint64_t away_s;         /* mean time until such a device comes back */
	uint64_t update_s;       /* typical time from being told to the restart */
	uint64_t approve_s;      /* after which people let a manual gate pass */
	uint64_t days;           /* after which a run ends in any case */
	void (*progress)(void *ctx, unsigned run, unsigned runs); /* NULL legal */
	void *progress_ctx;
};

/*
 * nh_sim_fleet - *out: the answer (docs/guides/simulation.md), a new reference. NH_EFORMAT: the file is none of a fleet, or of a later version (the message says what is wrong where); NH_ETOOBIG: too many devices;
 * NH_EINVAL: the group or its plan is refused by the rules, or an option is out of range; NH_EIO.
 */
nh_rc nh_sim_fleet(const struct nh_sim_fleet_options *options, json_t **out, struct nh_err *err);
