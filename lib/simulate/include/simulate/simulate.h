/*
 * Deterministic simulation: the real rules (hub) on a real database (store), with virtual devices, servers and people around them, on a clock that the simulation owns. The same
 * seed gives the same run to the byte, on every machine: what happens is decided by one seeded source and one queue ordered by time, each transaction is awaited, and the
 * database's thread is only where it runs.
 *
 * After every transaction the invariants are asked of the database (judge.c); when faults have ceased and time has passed, nothing may have been lost. What breaks a rule ends the
 * run, and nh_sim_result says at which step. Faults are numbered as they happen, so that a run can be repeated with the first few of them only, or without some kinds.
 *
 * thread: one run at a time belongs to one thread; several runs may go on at once. source: design/architecture "4. The hub decides, others act"
 */
#pragma once

#include "base/buf.h"

/* What may go wrong. Kinds are numbered for masks: 1 << kind. */
typedef enum nh_sim_fault {
	NH_SIM_KILL,       /* the server dies between commit and effects */
	NH_SIM_KILL_EARLY, /* the server dies before the commit */
	NH_SIM_POWER,      /* the device loses power while it updates */
	NH_SIM_LINK,       /* the connection breaks, and the server hears of it a minute later */
	NH_SIM_MUTE,       /* the device takes an update and never says a word about it */
	NH_SIM_IGNORE,     /* it says that it ignores the update */
	NH_SIM_PUT_OFF,    /* it says that it will have it later */
	NH_SIM_INSTALL,    /* the installation fails */
	NH_SIM_REVERT,     /* the new firmware does not come up, and the device comes back with the old one */
	NH_SIM_BRICK,      /* the device does not come back until people have seen to it */
	NH_SIM_TWICE,      /* a message arrives twice */
	NH_SIM_REORDER,    /* a message is overtaken by later ones */
	NH_SIM_NO_JOIN,    /* the device connects and does not join */
	NH_SIM_TWIN,       /* the device opens a second connection while the first stands */
	NH_SIM_CLOCK,      /* a server's clock is set */
	NH_SIM_BUS,        /* what one server tells another is lost */
	NH_SIM_WAKE_TWICE, /* both servers run a group at once */
	NH_SIM_REFLASH,    /* somebody flashes the device with another platform's firmware */
	NH_SIM_SLOW,       /* the download takes hours */
	NH_SIM_UNVALIDATED,/* the new firmware validates itself late */
	NH_SIM_DELTA_SLOW, /* a delta takes long to build, or too long */
	NH_SIM_DELTA_FAIL, /* its build fails, for once or for good */
	NH_SIM_FAULTS,
} nh_sim_fault;

const char *nh_sim_fault_name(nh_sim_fault fault); /* "kill", a literal */

/* What a run is made of. Chances are in ten thousand, each time there is an occasion. */
struct nh_sim_scenario {
	const char *name, *about;
	unsigned devices, polling_percent, nodes, groups;
	unsigned minutes;      /* with faults and people */
	unsigned people_s;     /* mean time between what people do; 0: nobody does anything */
	unsigned firmwares;    /* of the main product */
	uint16_t chance[NH_SIM_FAULTS];
};

/* The scenarios there are, ended by a name that is NULL. nh_sim_scenario_find: NULL where there is none of that name. */
extern const struct nh_sim_scenario nh_sim_scenarios[];
const struct nh_sim_scenario *nh_sim_scenario_find(nh_slice name);

struct nh_sim_options {
	const struct nh_sim_scenario *scenario;
	uint64_t seed;
	const char *folder;     /* where the run's database may lie while it runs */
	uint64_t until_step;    /* 0: to the end */
	uint64_t faults_max;    /* only so many of the first faults happen; UINT64_MAX: all */
	uint32_t without;       /* kinds of faults that never happen */
	void (*trace)(void *ctx, nh_slice line); /* one line a step, without its end; NULL: nobody listens */
	void *trace_ctx;
};

struct nh_sim_result {
	uint64_t steps, transactions, faults, trace_hash;
	uint64_t sent, succeeded, failed, reverted, expired, kills, acts;
	uint64_t happened[NH_SIM_FAULTS];
	bool broken;            /* an invariant did not hold: the message says which and where */
	char message[512];
};

/*
 * nh_sim_run - one run. NH_OK: it went through, or an invariant broke (result->broken). NH_EIO: the folder or the database; NH_EINVAL: the scenario asks for more than there may be.
 */
nh_rc nh_sim_run(const struct nh_sim_options *options, struct nh_sim_result *result, struct nh_err *err);

/*
 * nh_sim_shrink - a run that breaks, with as few faults as still break it: options->without and faults_max are changed accordingly. At most some tens of runs. *result: of the last that broke. Codes as nh_sim_run.
 */
nh_rc nh_sim_shrink(struct nh_sim_options *options, struct nh_sim_result *result, struct nh_err *err);
