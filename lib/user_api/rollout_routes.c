/*
 * The rollout of a deployment group's current release: how far it is, its plan, and what people do with it.
 */
#include "api_int.h"
#include "hub/rollouts.h"

#define TAG "Rollouts"
#define MOMENT "date-time"

static const char *const words_gates[] = {"none", "manual", "time", "health", NULL};
static const char *const words_signals[] = {"install", "return", "revert", "health", NULL};
static const char *const words_states[] = {"none", "running", "paused", "stopped", "finished", "rolled_back", NULL};
static const char *const words_waves[] = {"pending", "running", "waiting", "done", NULL};
static const char *const words_next[] = {"resume", "resume_or_rollback", "activation", "not_before", "window", "counting", "updates", "approval", "gate", NULL};
static const char *const words_days[] = {"mon", "tue", "wed", "thu", "fri", "sat", "sun", NULL};

/* ---- plans ----------------------------------------------------------------------------------------------------------------- */

static SHAPE(gate, "RolloutGate", {"type", FIELD_TEXT, .words = words_gates}, {"seconds", FIELD_INTEGER, FIELD_OPTIONAL, .about = "time: since the wave began; health: since its share is updated"},
             {"share", FIELD_NUMBER, FIELD_OPTIONAL, .about = "How much of the wave has to be updated, from 0 to 1"});
static SHAPE(plan_wave, "RolloutPlanWave", {"percent", FIELD_NUMBER, FIELD_OPTIONAL, .about = "Of the group, the waves before counted in"}, {"tags", FIELD_TAGS, FIELD_OPTIONAL, .about = "Devices with all of them"},
             {"query", FIELD_TEXT, FIELD_OPTIONAL, .about = "In the language of the device list; what it finds when the wave begins"},
             {"gate", FIELD_OBJECT, FIELD_OPTIONAL | FIELD_NULLABLE, &gate, .about = "What has to be before the next wave begins"});
static SHAPE(window, "MaintenanceWindow", {"days", FIELD_TEXT, FIELD_LIST | FIELD_OPTIONAL, .words = words_days, .about = "On which it begins; absent: every day"}, {"from", FIELD_TEXT, .about = "HH:MM"},
             {"to", FIELD_TEXT, .about = "HH:MM; where it is not later than from, on the next day"});
static SHAPE(stop_rule, "RolloutStop", {"alpha", FIELD_NUMBER, FIELD_OPTIONAL, .about = "Probability of a false alarm over the whole rollout"},
             {"tolerated", FIELD_NUMBER, FIELD_OPTIONAL, .about = "Rate of failures that a signal may have"}, {"signals", FIELD_TEXT, FIELD_LIST | FIELD_OPTIONAL, .words = words_signals},
             {"return_seconds", FIELD_INTEGER, FIELD_OPTIONAL, .about = "How long an updated device may take to come back"},
             {"settle_seconds", FIELD_INTEGER, FIELD_OPTIONAL, .about = "How long it runs before its health is compared"});
static SHAPE(plan, "RolloutPlan", {"waves", FIELD_OBJECT, FIELD_LIST | FIELD_OPTIONAL | FIELD_NULLABLE, &plan_wave}, {"windows", FIELD_OBJECT, FIELD_LIST | FIELD_OPTIONAL | FIELD_NULLABLE, &window},
             {"zone", FIELD_TEXT, FIELD_OPTIONAL | FIELD_NULLABLE, .about = "IANA name of the time zone of devices that have none of their own"},
             {"not_before", FIELD_TEXT, FIELD_OPTIONAL | FIELD_NULLABLE, .format = MOMENT},
             {"stop", FIELD_OBJECT, FIELD_OPTIONAL | FIELD_NULLABLE, &stop_rule, .about = "When it stops by itself; null: never; absent: by the defaults"});

/* ---- the state ------------------------------------------------------------------------------------------------------------- */

static SHAPE(signal_row, "RolloutSignal", {"signal", FIELD_TEXT, .words = words_signals}, {"trials", FIELD_INTEGER}, {"failures", FIELD_INTEGER}, {"tolerated", FIELD_NUMBER},
             {"e", FIELD_NUMBER, .about = "The odds against chance: how many times likelier the figures are with more failures than tolerated"});
static SHAPE(evidence, "RolloutEvidence", {"stops", FIELD_BOOLEAN}, {"alpha", FIELD_NUMBER}, {"e", FIELD_NUMBER, .about = "The mean of the signals'"}, {"limit", FIELD_NUMBER, .about = "Where it stops"},
             {"epoch", FIELD_INTEGER, .about = "Counting begins anew when a stopped rollout is resumed"}, {"signals", FIELD_OBJECT, FIELD_LIST, &signal_row});
static SHAPE(wave, "RolloutWave", {"number", FIELD_INTEGER}, {"state", FIELD_TEXT, .words = words_waves}, {"percent", FIELD_NUMBER, FIELD_NULLABLE}, {"query", FIELD_TEXT, FIELD_NULLABLE},
             {"tags", FIELD_TAGS, FIELD_NULLABLE}, {"gate", FIELD_OBJECT, 0, &gate}, {"size", FIELD_INTEGER, FIELD_NULLABLE, .about = "Devices with other firmware when it began; null: not counted yet"},
             {"updated", FIELD_INTEGER}, {"failed", FIELD_INTEGER}, {"waiting", FIELD_INTEGER, FIELD_NULLABLE}, {"began_at", FIELD_TEXT, FIELD_NULLABLE, .format = MOMENT},
             {"waiting_since", FIELD_TEXT, FIELD_NULLABLE, .format = MOMENT, .about = "Since when it waits at its gate"}, {"done_at", FIELD_TEXT, FIELD_NULLABLE, .format = MOMENT},
             {"done_by", FIELD_TEXT, FIELD_NULLABLE, .about = "Who let it pass; null: it did by itself"});
static SHAPE(next, "RolloutNext", {"what", FIELD_TEXT, .words = words_next}, {"at", FIELD_TEXT, FIELD_NULLABLE, .format = MOMENT, .about = "null: that depends"});
static SHAPE(firmware, "RolloutFirmware", {"version", FIELD_TEXT}, {"uuid", FIELD_TEXT});
static SHAPE(rollout, "Rollout", {"state", FIELD_TEXT, .words = words_states, .about = "none: the release goes to everybody at once"}, {"deployment_group", FIELD_TEXT}, {"release", FIELD_INTEGER},
             {"firmware", FIELD_OBJECT, 0, &firmware}, {"wave", FIELD_INTEGER, .about = "0: not begun; greater than the number of waves: everybody"}, {"waves", FIELD_OBJECT, FIELD_LIST, &wave},
             {"by", FIELD_TEXT, FIELD_NULLABLE, .about = "Who brought it into its state"}, {"why", FIELD_TEXT, FIELD_NULLABLE}, {"since", FIELD_TEXT, FIELD_NULLABLE, .format = MOMENT},
             {"evidence", FIELD_OBJECT, FIELD_NULLABLE, &evidence}, {"stopped_by", FIELD_OBJECT, FIELD_NULLABLE, &evidence, .about = "What was counted when it stopped"},
             {"next", FIELD_OBJECT, FIELD_LIST, &next}, {"plan", FIELD_OBJECT, FIELD_NULLABLE, &plan}, {"default_plan", FIELD_OBJECT, FIELD_NULLABLE, &plan, .about = "Of releases to come"});

/* The group as it is after what was done. */
static nh_rc answer(struct call *call, struct nh_err *err)
{
	struct nh_group g;
	NH_TRY(nh_group_get(&call->ctx, call->product.id, param(call, "name"), &g, err));
	return nh_rollout_show(&call->ctx, &g, &call->data, err);
}

const struct endpoint ep_rollout = {.run = answer, .scope = SCOPE_PRODUCT, .may = NH_MAY_GROUP_SEE, .success = 200, .data = &rollout, .tag = TAG};

/* ---- what people do ---------------------------------------------------------------------------------------------------------- */

static nh_rc set_plan(struct call *call, struct nh_err *err)
{
	struct nh_group g;
	const json_t *fields = json_object_get(call->params, "plan"), *now = json_object_get(call->params, "now");
	NH_TRY(nh_group_get(&call->ctx, call->product.id, param(call, "name"), &g, err));
	if (!fields || (now && !json_is_boolean(now)))
		return bad_request(call, err, "Invalid request");
	NH_TRY(nh_rollout_plan_set(&call->ctx, &call->actor, &g, fields, json_is_true(now), &call->errors, err));
	return answer(call, err);
}
static SHAPE(plan_body, "RolloutPlanWanted", {"plan", FIELD_OBJECT, FIELD_NULLABLE, &plan, .about = "Of releases to come; null: none"},
             {"now", FIELD_BOOLEAN, FIELD_OPTIONAL, .about = "Also of the current release, which begins anew with its first wave"});
const struct endpoint ep_rollout_plan = {.run = set_plan, .scope = SCOPE_PRODUCT, .may = NH_MAY_ROLLOUT_PLAN, .write = true, .success = 200, .body = &plan_body, .data = &rollout, .tag = TAG};

typedef nh_rc (*control_fn)(struct nh_ctx *ctx, const struct nh_actor *actor, const struct nh_group *group, nh_slice why, struct nh_err *err);

static nh_rc control(struct call *call, control_fn fn, struct nh_err *err)
{
	struct nh_group g;
	NH_TRY(nh_group_get(&call->ctx, call->product.id, param(call, "name"), &g, err));
	NH_TRY(fn(&call->ctx, &call->actor, &g, nh_json_text(call->params, "why"), err));
	return answer(call, err);
}

static nh_rc pause_it(struct call *call, struct nh_err *err) { return control(call, nh_rollout_pause, err); }
static nh_rc resume(struct call *call, struct nh_err *err) { return control(call, nh_rollout_resume, err); }
static nh_rc approve(struct call *call, struct nh_err *err) { return control(call, nh_rollout_approve, err); }
static nh_rc skip(struct call *call, struct nh_err *err) { return control(call, nh_rollout_skip, err); }

static nh_rc roll_back(struct call *call, struct nh_err *err)
{
	struct nh_group g;
	NH_TRY(nh_group_get(&call->ctx, call->product.id, param(call, "name"), &g, err));
	NH_TRY(nh_rollout_roll_back(&call->ctx, &call->actor, &g, json_is_true(json_object_get(call->params, "staged")), nh_json_text(call->params, "why"), err));
	return answer(call, err);
}

#define WHY {"why", FIELD_TEXT, FIELD_OPTIONAL | FIELD_NULLABLE, .about = "For people and the audit log"}
static SHAPE(why_body, "RolloutReason", WHY);
static SHAPE(rollback_body, "RollbackWanted", WHY, {"staged", FIELD_BOOLEAN, FIELD_OPTIONAL, .about = "By the group's plan; else to everybody at once"});

#define CONTROL(fn, shape) {.run = (fn), .scope = SCOPE_PRODUCT, .may = NH_MAY_ROLLOUT_CONTROL, .write = true, .success = 200, .body = &(shape), .data = &rollout, .tag = TAG}
const struct endpoint ep_rollout_pause = CONTROL(pause_it, why_body);
const struct endpoint ep_rollout_resume = CONTROL(resume, why_body);
const struct endpoint ep_rollout_approve = CONTROL(approve, why_body);
const struct endpoint ep_rollout_skip = CONTROL(skip, why_body);
const struct endpoint ep_rollout_rollback = CONTROL(roll_back, rollback_body);
