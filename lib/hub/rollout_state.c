/*
 * What things of a rollout are called, in rows and in answers.
 */
#include "hub/rollouts.h"

static const char *const state_names[] = {
	[NH_ROLLOUT_RUNNING] = "running",   [NH_ROLLOUT_PAUSED] = "paused",           [NH_ROLLOUT_STOPPED] = "stopped",
	[NH_ROLLOUT_FINISHED] = "finished", [NH_ROLLOUT_ROLLED_BACK] = "rolled_back",
};
static const char *const gate_names[NH_GATE_COUNT] = {[NH_GATE_NONE] = "none", [NH_GATE_MANUAL] = "manual", [NH_GATE_TIME] = "time", [NH_GATE_HEALTH] = "health"};
static const char *const signal_names[NH_SIGNAL_COUNT] = {
	[NH_SIGNAL_INSTALL] = "install", [NH_SIGNAL_RETURN] = "return", [NH_SIGNAL_REVERT] = "revert", [NH_SIGNAL_HEALTH] = "health"};

const char *nh_rollout_state_name(nh_rollout_state state)
{
	return state_names[state];
}

nh_rollout_state nh_rollout_state_parse(nh_slice name)
{
	for (size_t i = 0; i < NH_ARRAY_LEN(state_names); i++) {
		if (nh_slice_eq_str(name, state_names[i]))
			return (nh_rollout_state)i;
	}
	return NH_ROLLOUT_RUNNING;
}

const char *nh_gate_name(nh_gate gate)
{
	return gate_names[gate];
}

const char *nh_signal_name(nh_signal signal)
{
	return signal_names[signal];
}
