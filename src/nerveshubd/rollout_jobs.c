/*
 * Jobs of staged rollouts: "rollout-wave" counts a wave's devices, and names those that a query finds; "rollout-due" looks which devices should have come back or have settled by now.
 */
#include "base/encode.h"
#include "base/log.h"
#include "hub/rollouts.h"
#include "hubd.h"
#include "scheduler.h"

#define EVEN_MS (35 * 60 * 1000)

static nh_rc prepare(struct nh_ctx *ctx, void *arg, struct nh_err *err)
{
	struct nh_rollout_prepare *state = arg;
	struct nh_rollout_prepare next = *state; /* a collision repeats the whole transaction */
	NH_TRY(nh_rollout_prepare(ctx, &next, err));
	*state = next;
	return NH_OK;
}

static bool read_key(nh_slice key, struct nh_rollout_prepare *state)
{
	nh_slice release, wave;
	*state = (struct nh_rollout_prepare){0};
	return nh_slice_cut(key, '/', &release, &wave) && nh_parse_i64(release, 1, INT64_MAX, &state->release_id) == NH_OK && nh_parse_i64(wave, 1, NH_ROLLOUT_WAVES_MAX, &state->wave) == NH_OK;
}

/* A server that stops leaves it to the next run, which counts from the beginning. */
nh_rc job_rollout_wave(struct hubd *h, const struct nh_job *job, struct nh_err *err)
{
	struct nh_rollout_prepare state;
	if (!read_key(job->key, &state))
		return NH_FAIL(err, NH_EFORMAT, "this is no wave of a release");
	while (!state.done && !nh_job_stopping(job))
		NH_TRY(job_write(h, prepare, &state, err));
	if (!state.done)
		return NH_FAIL(err, NH_ECLOSED, "the server stops");
	NH_LOG(NH_LOG_INFO, "rollout.wave", NH_I("release", state.release_id), NH_I("wave", state.wave), NH_I("devices", state.size));
	return NH_OK;
}

static nh_rc due(struct nh_ctx *ctx, void *arg, struct nh_err *err) { return nh_rollout_due(ctx, arg, err); }

nh_rc job_rollout_due(struct hubd *h, const struct nh_job *job, struct nh_err *err)
{
	size_t count = 0;
	/* As for updates that expire: after the clock was set forward everything looks overdue. */
	if (!nh_device_api_clock_even(h->device_api, EVEN_MS))
		return NH_OK;
	do {
		NH_TRY(job_write(h, due, &count, err));
	} while (count > 0 && !nh_job_stopping(job));
	return NH_OK;
}
