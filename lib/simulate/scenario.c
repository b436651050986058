/*
 * The scenarios: which faults, how often, with whom. Chances are in ten thousand.
 */
#include "simulate_int.h"

const struct nh_sim_scenario nh_sim_scenarios[] = {
	{"calm", "nothing goes wrong, and people release now and then", .devices = 40, .polling_percent = 10, .nodes = 1, .groups = 2, .minutes = 240, .people_s = 900, .firmwares = 6},
	{"field", "devices misbehave in every way, people act at random", .devices = 40, .polling_percent = 15, .nodes = 1, .groups = 3, .minutes = 360, .people_s = 120, .firmwares = 8,
	 .chance = {[NH_SIM_POWER] = 300, [NH_SIM_LINK] = 500, [NH_SIM_MUTE] = 300, [NH_SIM_IGNORE] = 300, [NH_SIM_PUT_OFF] = 400, [NH_SIM_INSTALL] = 1000, [NH_SIM_REVERT] = 800, [NH_SIM_BRICK] = 100,
		    [NH_SIM_TWICE] = 200, [NH_SIM_REORDER] = 100, [NH_SIM_NO_JOIN] = 300, [NH_SIM_TWIN] = 500, [NH_SIM_REFLASH] = 200, [NH_SIM_SLOW] = 200, [NH_SIM_UNVALIDATED] = 1500, [NH_SIM_DELTA_SLOW] = 2000, [NH_SIM_DELTA_FAIL] = 2000}},
	{"crash", "the server dies between commit and effects, and before commits", .devices = 30, .polling_percent = 10, .nodes = 1, .groups = 2, .minutes = 240, .people_s = 240, .firmwares = 6,
	 .chance = {[NH_SIM_KILL] = 40, [NH_SIM_KILL_EARLY] = 30, [NH_SIM_LINK] = 200, [NH_SIM_INSTALL] = 500, [NH_SIM_TWICE] = 100, [NH_SIM_NO_JOIN] = 200, [NH_SIM_DELTA_SLOW] = 4000, [NH_SIM_DELTA_FAIL] = 2000}},
	{"clocks", "servers' clocks are set forward and back by hours and days", .devices = 30, .polling_percent = 10, .nodes = 1, .groups = 2, .minutes = 480, .people_s = 300, .firmwares = 6,
	 .chance = {[NH_SIM_CLOCK] = 400, [NH_SIM_MUTE] = 500, [NH_SIM_LINK] = 300, [NH_SIM_INSTALL] = 500, [NH_SIM_SLOW] = 300, [NH_SIM_PUT_OFF] = 300, [NH_SIM_DELTA_SLOW] = 4000}},
	{"nodes", "two servers on one database, which lose what they tell each other, and die", .devices = 40, .polling_percent = 10, .nodes = 2, .groups = 3, .minutes = 300, .people_s = 150, .firmwares = 8,
	 .chance = {[NH_SIM_KILL] = 5, [NH_SIM_KILL_EARLY] = 5, [NH_SIM_LINK] = 500, [NH_SIM_MUTE] = 100, [NH_SIM_INSTALL] = 500, [NH_SIM_REVERT] = 300, [NH_SIM_TWICE] = 200, [NH_SIM_REORDER] = 100,
		    [NH_SIM_TWIN] = 800, [NH_SIM_BUS] = 1000, [NH_SIM_WAKE_TWICE] = 5000, [NH_SIM_POWER] = 100, [NH_SIM_DELTA_SLOW] = 3000, [NH_SIM_DELTA_FAIL] = 1000}},
	{"storm", "everything at once", .devices = 50, .polling_percent = 15, .nodes = 2, .groups = 4, .minutes = 480, .people_s = 60, .firmwares = 10,
	 .chance = {[NH_SIM_KILL] = 5, [NH_SIM_KILL_EARLY] = 5, [NH_SIM_POWER] = 300, [NH_SIM_LINK] = 500, [NH_SIM_MUTE] = 300, [NH_SIM_IGNORE] = 200, [NH_SIM_PUT_OFF] = 300, [NH_SIM_INSTALL] = 800,
		    [NH_SIM_REVERT] = 800, [NH_SIM_BRICK] = 100, [NH_SIM_TWICE] = 300, [NH_SIM_REORDER] = 200, [NH_SIM_NO_JOIN] = 300, [NH_SIM_TWIN] = 500, [NH_SIM_CLOCK] = 100, [NH_SIM_BUS] = 1000,
		    [NH_SIM_WAKE_TWICE] = 5000, [NH_SIM_REFLASH] = 200, [NH_SIM_SLOW] = 200, [NH_SIM_UNVALIDATED] = 1500, [NH_SIM_DELTA_SLOW] = 2000, [NH_SIM_DELTA_FAIL] = 2000}},
	{NULL},
};

const struct nh_sim_scenario *nh_sim_scenario_find(nh_slice name)
{
	for (const struct nh_sim_scenario *s = nh_sim_scenarios; s->name; s++)
		if (nh_slice_eq_str(name, s->name))
			return s;
	return NULL;
}
