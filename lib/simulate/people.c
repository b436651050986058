/*
 * People: what they do to a fleet at odd moments, one table. Each is one transaction at a server of their choice; being refused is an answer like any other.
 */
#include "hub/deltas.h"
#include "hub/rollouts.h"
#include "simulate_int.h"

#define GROUPS_MAX (SIM_GROUPS * 4) /* that there ever were */

struct act {
	struct sim_device *device;
	size_t group;
};

typedef nh_rc (*act_fn)(struct nh_ctx *ctx, struct sim *s, struct act *a, struct nh_err *err);

static nh_rc on_people(struct sim *s, const struct sim_event *e, struct nh_err *err);

/* ---- groups -------------------------------------------------------------------------------------------------------------------- */

static nh_rc edit_group(struct nh_ctx *ctx, struct sim *s, const struct act *a, json_t *take_fields, struct nh_err *err)
{
	NH_AUTO_JSON json_t *fields = take_fields;
	NH_AUTO_JSON json_t *errors = NULL;
	struct nh_group group, changed;
	NH_TRY(nh_group_get_by_id(ctx, s->groups[a->group], &group, err));
	return nh_group_update(ctx, &s->ada, &group, fields, &changed, &errors, err);
}

static nh_rc release(struct nh_ctx *ctx, struct sim *s, struct act *a, struct nh_err *err)
{
	const struct sim_product *p = &s->products[0];
	return edit_group(ctx, s, a, json_pack("{s:s}", "firmware", p->firmwares[sim_pick(s, p->firmware_count)].uuid), err);
}

static nh_rc switch_group(struct nh_ctx *ctx, struct sim *s, struct act *a, struct nh_err *err) { return edit_group(ctx, s, a, json_pack("{s:b}", "is_active", sim_pick(s, 3) != 0), err); }

static nh_rc limit_group(struct nh_ctx *ctx, struct sim *s, struct act *a, struct nh_err *err)
{
	return edit_group(ctx, s, a, json_pack("{s:i, s:s}", "concurrent_updates", 1 + (int)sim_pick(s, 6), "queue_management", sim_pick(s, 2) ? "FIFO" : "LIFO"), err);
}

static nh_rc prefer(struct nh_ctx *ctx, struct sim *s, struct act *a, struct nh_err *err)
{
	return edit_group(ctx, s, a, json_pack("{s:b, s:i, s:s}", "priority_queue_enabled", sim_pick(s, 2), "priority_queue_concurrent_updates", 1 + (int)sim_pick(s, 3), "priority_queue_firmware_version_threshold",
					       nh_arena_printf(ctx->arena, "1.%d.0", (int)sim_pick(s, 6))), err);
}

static nh_rc condition(struct nh_ctx *ctx, struct sim *s, struct act *a, struct nh_err *err)
{
	static const char *const versions[] = {"", "", ">= 1.0.0", "< 1.3.0", "~> 1.2"};
	return edit_group(ctx, s, a, json_pack("{s:{s:s, s:[s]}}", "conditions", "version", versions[sim_pick(s, NH_ARRAY_LEN(versions))], "tags", nh_arena_printf(ctx->arena, "group-%d", (int)sim_pick(s, s->scenario->groups))), err);
}

static nh_rc narrow(struct nh_ctx *ctx, struct sim *s, struct act *a, struct nh_err *err)
{
	json_t *fields = sim_pick(s, 2) ? json_pack("{s:[], s:[]}", "release_tags", "release_network_interfaces") : sim_pick(s, 2) ? json_pack("{s:[s]}", "release_tags", "group-1") : json_pack("{s:[s]}", "release_network_interfaces", "wifi");
	return edit_group(ctx, s, a, fields, err);
}

static nh_rc lock(struct nh_ctx *ctx, struct sim *s, struct act *a, struct nh_err *err) { return edit_group(ctx, s, a, json_pack("{s:b}", "lock_device_membership", sim_pick(s, 3) == 0), err); }

static nh_rc set_deltas(struct nh_ctx *ctx, struct sim *s, struct act *a, struct nh_err *err)
{
	static const int waits[] = {0, 1, 10, 10, 30};
	s->calm_us = s->now_us;
	return edit_group(ctx, s, a, json_pack("{s:b, s:i}", "delta_updatable", sim_pick(s, 4) != 0, "delta_wait_minutes", waits[sim_pick(s, NH_ARRAY_LEN(waits))]), err);
}

/* One to a firmware of their choice is thrown away, or tried again. */
static nh_rc throw_delta(struct nh_ctx *ctx, struct sim *s, struct act *a, struct nh_err *err)
{
	const struct sim_product *p = &s->products[0];
	NH_AUTO_JSON json_t *errors = NULL;
	struct nh_delta *deltas, again;
	size_t count;
	nh_slice target = nh_slice_str(p->firmwares[sim_pick(s, p->firmware_count)].uuid);
	s->calm_us = s->now_us;
	NH_TRY(nh_delta_list(ctx, &s->ada, &p->product, target, &deltas, &count, err));
	if (count == 0)
		return NH_FAIL(err, NH_ENOTFOUND, "no delta");
	const struct nh_delta *d = &deltas[sim_pick(s, count)];
	return sim_pick(s, 2) ? nh_delta_delete(ctx, &s->ada, &p->product, target, d->source_uuid, err) : nh_delta_retry(ctx, &s->ada, &p->product, target, d->source_uuid, &again, &errors, err);
}

static nh_rc delete_group(struct nh_ctx *ctx, struct sim *s, struct act *a, struct nh_err *err)
{
	struct nh_group group;
	NH_TRY(nh_group_get_by_id(ctx, s->groups[a->group], &group, err));
	return nh_group_delete(ctx, &s->ada, &group, err);
}

static nh_rc make_group(struct nh_ctx *ctx, struct sim *s, struct act *a, struct nh_err *err)
{
	struct nh_group group;
	const struct sim_product *p = &s->products[0];
	NH_AUTO_JSON json_t *errors = NULL;
	if (s->groups_made >= SIM_GROUPS * 3)
		return NH_FAIL(err, NH_EINVAL, "enough groups were made");
	NH_AUTO_JSON json_t *fields = json_pack("{s:s, s:s, s:s, s:i, s:i, s:{s:[s]}}", "name", nh_arena_printf(ctx->arena, "made-%u", s->groups_made), "firmware", p->firmwares[sim_pick(s, p->firmware_count)].uuid, "state", "on",
						"concurrent_updates", 1 + (int)sim_pick(s, 4), "penalty_timeout_minutes", 60, "conditions", "tags", nh_arena_printf(ctx->arena, "group-%zu", a->group));
	NH_TRY(nh_group_create(ctx, &s->ada, p->org_id, p->product.id, fields, &group, &errors, err));
	s->groups_made++;
	s->groups[a->group] = group.id;
	return NH_OK;
}

/* ---- rollouts ------------------------------------------------------------------------------------------------------------------ */

static nh_rc plan_rollout(struct nh_ctx *ctx, struct sim *s, struct act *a, struct nh_err *err)
{
	static const char *const plans[] = {
		"{\"waves\":[{\"percent\":20,\"gate\":{\"type\":\"time\",\"seconds\":900}},{\"percent\":60,\"gate\":{\"type\":\"manual\"}},{\"percent\":100}]}",
		"{\"waves\":[{\"percent\":30,\"gate\":{\"type\":\"health\",\"seconds\":600}},{\"percent\":100}],\"stop\":{\"alpha\":0.05,\"tolerated\":0.1}}",
		"{\"waves\":[{\"tags\":[\"group-1\"],\"gate\":{\"type\":\"time\",\"seconds\":600}},{\"percent\":100}]}",
		"null",
	};
	struct nh_group group;
	NH_AUTO_JSON json_t *errors = NULL;
	NH_AUTO_JSON json_t *plan = NULL;
	const char *text = plans[sim_pick(s, NH_ARRAY_LEN(plans))];
	NH_TRY(nh_group_get_by_id(ctx, s->groups[a->group], &group, err));
	if (text[0] == '{')
		NH_TRY(nh_json_parse(nh_slice_str(text), 4096, &plan, err));
	return nh_rollout_plan_set(ctx, &s->ada, &group, plan, sim_pick(s, 2), &errors, err);
}

typedef nh_rc (*rollout_fn)(struct nh_ctx *ctx, const struct nh_actor *actor, const struct nh_group *group, nh_slice why, struct nh_err *err);

static nh_rc on_rollout(struct nh_ctx *ctx, struct sim *s, const struct act *a, rollout_fn what, struct nh_err *err)
{
	struct nh_group group;
	NH_TRY(nh_group_get_by_id(ctx, s->groups[a->group], &group, err));
	return what(ctx, &s->ada, &group, NH_LIT("because"), err);
}

static nh_rc roll_back_at_once(struct nh_ctx *ctx, const struct nh_actor *actor, const struct nh_group *group, nh_slice why, struct nh_err *err)
{
	return nh_rollout_roll_back(ctx, actor, group, false, why, err);
}

static nh_rc pause_rollout(struct nh_ctx *ctx, struct sim *s, struct act *a, struct nh_err *err) { return on_rollout(ctx, s, a, nh_rollout_pause, err); }
static nh_rc resume_rollout(struct nh_ctx *ctx, struct sim *s, struct act *a, struct nh_err *err) { return on_rollout(ctx, s, a, nh_rollout_resume, err); }
static nh_rc approve_rollout(struct nh_ctx *ctx, struct sim *s, struct act *a, struct nh_err *err) { return on_rollout(ctx, s, a, nh_rollout_approve, err); }
static nh_rc skip_rollout(struct nh_ctx *ctx, struct sim *s, struct act *a, struct nh_err *err) { return on_rollout(ctx, s, a, nh_rollout_skip, err); }
static nh_rc roll_back(struct nh_ctx *ctx, struct sim *s, struct act *a, struct nh_err *err) { return on_rollout(ctx, s, a, roll_back_at_once, err); }

/* ---- devices -------------------------------------------------------------------------------------------------------------------- */

/* Where it is now, whatever its product. */
static nh_rc open_device(struct nh_ctx *ctx, struct sim *s, const struct act *a, struct nh_device *out, struct nh_err *err)
{
	NH_TRY(nh_device_by_id(ctx, a->device->id, out, err));
	return out->deleted_at_us ? NH_FAIL(err, NH_ENOTFOUND, "no such device") : NH_OK;
}

static nh_rc switch_updates(struct nh_ctx *ctx, struct sim *s, struct act *a, struct nh_err *err)
{
	struct nh_device d;
	NH_TRY(open_device(ctx, s, a, &d, err));
	return nh_updates_enable(ctx, &s->ada, d.org_id, d.id, sim_pick(s, 3) != 0, err);
}

static nh_rc forgive(struct nh_ctx *ctx, struct sim *s, struct act *a, struct nh_err *err)
{
	struct nh_device d;
	NH_TRY(open_device(ctx, s, a, &d, err));
	return nh_penalty_clear(ctx, &s->ada, d.org_id, d.id, err);
}

static nh_rc assign(struct nh_ctx *ctx, struct sim *s, struct act *a, struct nh_err *err)
{
	struct nh_device d;
	struct nh_group group;
	NH_TRY(open_device(ctx, s, a, &d, err));
	if (sim_pick(s, 4) == 0)
		return nh_group_assign(ctx, &s->ada, d.org_id, d.id, NULL, err);
	NH_TRY(nh_group_get_by_id(ctx, s->groups[a->group], &group, err));
	return nh_group_assign(ctx, &s->ada, d.org_id, d.id, &group, err);
}

static nh_rc push(struct nh_ctx *ctx, struct sim *s, struct act *a, struct nh_err *err)
{
	struct nh_device d;
	const struct sim_product *p = &s->products[0];
	NH_TRY(open_device(ctx, s, a, &d, err));
	return nh_update_push(ctx, &s->ada, d.org_id, d.id, nh_slice_str(p->firmwares[sim_pick(s, p->firmware_count)].uuid), err);
}

static nh_rc push_available(struct nh_ctx *ctx, struct sim *s, struct act *a, struct nh_err *err)
{
	struct nh_device d;
	NH_TRY(open_device(ctx, s, a, &d, err));
	s->by_hand = true;
	return nh_update_push_available(ctx, &s->ada, d.org_id, d.id, err);
}

static nh_rc tag(struct nh_ctx *ctx, struct sim *s, struct act *a, struct nh_err *err)
{
	struct nh_device d, changed;
	NH_AUTO_JSON json_t *errors = NULL;
	NH_TRY(open_device(ctx, s, a, &d, err));
	NH_AUTO_JSON json_t *fields = json_pack("{s:[s, s]}", "tags", nh_arena_printf(ctx->arena, "group-%zu", a->group), nh_arena_printf(ctx->arena, "group-%d", (int)sim_pick(s, s->scenario->groups)));
	return nh_device_update(ctx, &s->ada, &d, fields, &changed, &errors, err);
}

static nh_rc delete_device(struct nh_ctx *ctx, struct sim *s, struct act *a, struct nh_err *err)
{
	struct nh_device d;
	NH_TRY(open_device(ctx, s, a, &d, err));
	return nh_device_delete(ctx, &s->ada, &d, err);
}

static nh_rc restore(struct nh_ctx *ctx, struct sim *s, struct act *a, struct nh_err *err)
{
	struct nh_device d, restored;
	struct nh_product product;
	NH_AUTO_JSON json_t *errors = NULL;
	NH_TRY(nh_device_by_id(ctx, a->device->id, &d, err));
	NH_TRY(nh_product_by_id(ctx, d.product_id, &product, err));
	return nh_device_restore(ctx, &s->ada, &product, d.identifier, &restored, &errors, err);
}

static nh_rc move(struct nh_ctx *ctx, struct sim *s, struct act *a, struct nh_err *err)
{
	struct nh_device d, moved;
	NH_AUTO_JSON json_t *errors = NULL;
	const struct sim_product *to = &s->products[sim_pick(s, 3) ? 0 : sim_pick(s, s->product_count)];
	NH_TRY(open_device(ctx, s, a, &d, err));
	return nh_device_move(ctx, &s->ada, &d, to->product.org_name, to->product.name, &moved, &errors, err);
}

static nh_rc reboot(struct nh_ctx *ctx, struct sim *s, struct act *a, struct nh_err *err)
{
	struct nh_device d;
	NH_TRY(open_device(ctx, s, a, &d, err));
	return nh_device_reconnect(ctx, &s->ada, d.org_id, d.id, err);
}

/* ---- the table ------------------------------------------------------------------------------------------------------------------- */

static const struct {
	const char *name;
	unsigned weight;
	act_fn run;
} acts[] = {
	{"releases", 20, release},
	{"switches a group", 6, switch_group},
	{"limits a group", 5, limit_group},
	{"sets a priority queue", 4, prefer},
	{"sets conditions", 4, condition},
	{"narrows a release", 3, narrow},
	{"locks a group", 2, lock},
	{"sets how a group has deltas", 4, set_deltas},
	{"throws a delta away, or has it tried again", 3, throw_delta},
	{"deletes a group", 1, delete_group},
	{"makes a group", 1, make_group},
	{"switches updates", 8, switch_updates},
	{"forgives", 12, forgive},
	{"assigns", 8, assign},
	{"pushes", 4, push},
	{"pushes what there is", 6, push_available},
	{"tags", 6, tag},
	{"deletes a device", 2, delete_device},
	{"restores a device", 4, restore},
	{"moves a device", 3, move},
	{"has a device reconnect", 4, reboot},
	{"plans a rollout", 6, plan_rollout},
	{"pauses a rollout", 4, pause_rollout},
	{"resumes a rollout", 6, resume_rollout},
	{"lets a gate pass", 6, approve_rollout},
	{"skips the waves", 2, skip_rollout},
	{"rolls back", 3, roll_back},
};

struct call {
	struct act act;
	act_fn run;
};

static nh_rc act_tx(struct nh_ctx *ctx, struct sim *s, void *arg, struct nh_err *err)
{
	struct call *call = arg;
	return call->run(ctx, s, &call->act, err);
}

static nh_rc act(struct sim *s, size_t index, struct nh_err *err)
{
	struct sim_node *node = sim_node_any(s);
	if (!node)
		return NH_OK;
	struct call call = {{&s->devices[sim_pick(s, s->device_count)], sim_pick(s, s->scenario->groups)}, acts[index].run};
	sim_note(s, "somebody %s: device %zu, group %zu", acts[index].name, call.act.device->index, call.act.group);
	nh_rc rc = sim_write(s, node, act_tx, &call, err);
	sim_note(s, "  %s%s%s", nh_rc_name(rc), rc == NH_OK ? "" : ": ", rc == NH_OK ? "" : err->msg);
	s->result->acts += rc == NH_OK;
	return rc;
}

static void plan(struct sim *s)
{
	int64_t mean = (int64_t)s->scenario->people_s * SIM_S;
	sim_at(s, s->now_us + sim_span(s, 0, 2 * mean), on_people, 0, 0, 0, NH_SLICE_EMPTY);
}

static nh_rc on_people(struct sim *s, const struct sim_event *e, struct nh_err *err)
{
	unsigned total = 0;
	size_t i = 0;
	if (s->honest)
		return NH_OK;
	plan(s);
	for (size_t k = 0; k < NH_ARRAY_LEN(acts); k++)
		total += acts[k].weight;
	for (uint64_t luck = sim_pick(s, total); luck >= acts[i].weight; i++)
		luck -= acts[i].weight;
	return act(s, i, err);
}

void sim_people_start(struct sim *s)
{
	if (s->scenario->people_s)
		plan(s);
}

/*
 * Groups that are left are active, and none hands its devices to another by a condition on what it makes them run, which could go on for ever. What people decided about devices stays, since it is a reason.
 */
static nh_rc activate(struct nh_ctx *ctx, struct sim *s, struct act *a, struct nh_err *err)
{
	return edit_group(ctx, s, a, json_pack("{s:b, s:{s:s, s:[s]}}", "is_active", 1, "conditions", "version", "", "tags", nh_arena_printf(ctx->arena, "group-%zu", a->group)), err);
}

static nh_rc groups_tx(struct nh_ctx *ctx, struct sim *s, void *arg, struct nh_err *err)
{
	int64_t *ids = arg;
	struct nh_group *groups;
	size_t count;
	NH_TRY(nh_group_list(ctx, s->products[0].product.id, &groups, &count, err));
	for (size_t i = 0; i < count && i < GROUPS_MAX; i++)
		ids[i] = groups[i].id;
	return NH_OK;
}

/* Also groups that a later one has taken the place of: people see all there are. */
nh_rc sim_people_settle(struct sim *s, struct nh_err *err)
{
	static const act_fn last[] = {activate, resume_rollout, skip_rollout};
	NH_AUTO_ARENA struct nh_arena arena = {.cap_bytes = (size_t)1 << 26};
	struct nh_effects effects = {0};
	int64_t ids[GROUPS_MAX] = {0};
	NH_TRY(sim_read(s, &s->nodes[0], groups_tx, ids, &effects, &arena, err));
	for (size_t i = 0; i < GROUPS_MAX && ids[i]; i++) {
		struct call call = {{&s->devices[0], i % s->scenario->groups}, NULL};
		for (size_t k = 0; k < s->scenario->groups; k++)
			if (s->groups[k] == ids[i])
				call.act.group = k;
		int64_t known = s->groups[call.act.group];
		s->groups[call.act.group] = ids[i];
		for (size_t k = 0; k < NH_ARRAY_LEN(last); k++) {
			call.run = last[k];
			NH_TRY(sim_answer(sim_write(s, &s->nodes[0], act_tx, &call, err)));
		}
		s->groups[call.act.group] = known;
	}
	return NH_OK;
}
