/*
 * The engine: a queue of events in the order of their time, chance out of one seeded source, transactions that are judged before they commit, and the run from its first event to its
 * last. What the events do is the other files'.
 *
 * Nothing here looks at a clock of the machine, at an address, or at what another thread does: the database's writer thread is awaited.
 */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "simulate_int.h"
#include "store/simulate.h"

#define HASH_BASIS UINT64_C(14695981039346656037)
#define HASH_PRIME UINT64_C(1099511628211)
#define SIM_SCENARIO_FIRMWARES 12
#define LULL_US (2 * SIM_HOUR) /* with which a run ends: every penalty and every update under way is over by then */
#define PATIENCE_HOURS 12
#define OCCASIONS 10 /* for a death right before the commit that an update goes out with: few transactions are of that kind, and in these it would show */

/* ---- the queue ----------------------------------------------------------------------------------------------------------- */

static bool earlier(const struct sim_event *a, const struct sim_event *b) { return a->at_us != b->at_us ? a->at_us < b->at_us : a->order < b->order; }

static void swap(struct sim_event *a, struct sim_event *b)
{
	struct sim_event c = *a;
	*a = *b;
	*b = c;
}

void sim_at(struct sim *s, int64_t at_us, nh_rc (*run)(struct sim *s, const struct sim_event *e, struct nh_err *err), size_t who, uint64_t serial, int64_t number, nh_slice text)
{
	if (s->queue_count == s->queue_cap) {
		s->queue_cap = s->queue_cap ? s->queue_cap * 2 : 256;
		s->queue = realloc(s->queue, s->queue_cap * sizeof *s->queue);
		NH_ASSERT(s->queue);
	}
	size_t i = s->queue_count++;
	s->queue[i] = (struct sim_event){at_us, ++s->order, run, who, serial, number, text.ptr ? nh_xstrdup(text) : NULL};
	for (; i > 0 && earlier(&s->queue[i], &s->queue[(i - 1) / 2]); i = (i - 1) / 2)
		swap(&s->queue[i], &s->queue[(i - 1) / 2]);
}

static struct sim_event take(struct sim *s)
{
	struct sim_event first = s->queue[0];
	s->queue[0] = s->queue[--s->queue_count];
	for (size_t i = 0, child; (child = 2 * i + 1) < s->queue_count; i = child) {
		child += child + 1 < s->queue_count && earlier(&s->queue[child + 1], &s->queue[child]);
		if (!earlier(&s->queue[child], &s->queue[i]))
			break;
		swap(&s->queue[child], &s->queue[i]);
	}
	return first;
}

/* ---- chance, time, trace --------------------------------------------------------------------------------------------------- */

uint64_t sim_pick(struct sim *s, uint64_t bound) { return nh_rng_below(&s->rng, bound); }

int64_t sim_span(struct sim *s, int64_t least_us, int64_t most_us) { return least_us + (int64_t)sim_pick(s, (uint64_t)(most_us - least_us) + 1); }

const char *nh_sim_fault_name(nh_sim_fault fault)
{
	static const char *const names[NH_SIM_FAULTS] = {
		[NH_SIM_KILL] = "kill", [NH_SIM_KILL_EARLY] = "kill-early", [NH_SIM_POWER] = "power", [NH_SIM_LINK] = "link", [NH_SIM_MUTE] = "mute", [NH_SIM_IGNORE] = "ignore",
		[NH_SIM_PUT_OFF] = "put-off", [NH_SIM_INSTALL] = "install", [NH_SIM_REVERT] = "revert", [NH_SIM_BRICK] = "brick", [NH_SIM_TWICE] = "twice", [NH_SIM_REORDER] = "reorder",
		[NH_SIM_NO_JOIN] = "no-join", [NH_SIM_TWIN] = "twin", [NH_SIM_CLOCK] = "clock", [NH_SIM_BUS] = "bus", [NH_SIM_WAKE_TWICE] = "wake-twice", [NH_SIM_REFLASH] = "reflash",
		[NH_SIM_SLOW] = "slow", [NH_SIM_UNVALIDATED] = "unvalidated", [NH_SIM_DELTA_SLOW] = "delta-slow", [NH_SIM_DELTA_FAIL] = "delta-fail",
	};
	NH_ASSERT(fault < NH_SIM_FAULTS);
	return names[fault];
}

/* Draws in any case, so that leaving a kind out changes as little as possible of the rest. */
bool sim_fault(struct sim *s, nh_sim_fault kind)
{
	unsigned chance = s->scenario->chance[kind];
	if (chance == 0 || s->lull || s->honest)
		return false;
	bool happens = sim_pick(s, 10000) < chance && !(s->options->without & (UINT32_C(1) << kind)) && s->result->faults < s->options->faults_max;
	if (!happens)
		return false;
	s->result->faults++;
	s->result->happened[kind]++;
	sim_note(s, "  fault %llu: %s", (unsigned long long)s->result->faults, nh_sim_fault_name(kind));
	return true;
}

void sim_note(struct sim *s, const char *fmt, ...)
{
	if (s->lean)
		return;
	NH_AUTO_BUF struct nh_buf line = NH_BUF_INIT;
	va_list ap;
	nh_buf_printf(&line, "%6llu %9.3f ", (unsigned long long)s->result->steps, (double)(s->now_us - s->start_us) / (double)SIM_S);
	va_start(ap, fmt);
	nh_buf_vprintf(&line, fmt, ap);
	va_end(ap);
	nh_slice text = nh_buf_slice(&line);
	for (size_t i = 0; i < text.len; i++)
		s->result->trace_hash = (s->result->trace_hash ^ text.ptr[i]) * HASH_PRIME;
	if (s->options->trace)
		s->options->trace(s->options->trace_ctx, text);
}

/* ---- transactions ----------------------------------------------------------------------------------------------------------- */

struct call {
	struct sim *s;
	struct sim_node *node;
	sim_tx_fn fn;
	void *arg;
	struct nh_arena *arena;
	struct nh_effects *effects;
	nh_rc answer; /* of fn, where it is an answer */
	bool writes, dies;
};

nh_rc sim_answer(nh_rc rc)
{
	static const nh_rc answers[] = {NH_OK, NH_ENOTFOUND, NH_ECONFLICT, NH_EINVAL, NH_EPERM, NH_ECLOSED, NH_EFORMAT};
	for (size_t i = 0; i < NH_ARRAY_LEN(answers); i++)
		if (rc == answers[i])
			return NH_OK;
	return rc;
}

static nh_rc judge_pushes(struct call *call, struct nh_ctx *ctx, struct nh_err *err)
{
	for (size_t i = 0; i < call->effects->count; i++) {
		const struct nh_effect *e = &call->effects->items[i];
		if (e->kind != NH_EFFECT_DEVICE_PUSH || !nh_slice_eq_str(e->name, "update"))
			continue;
		NH_TRY(sim_judge_update(call->s, ctx, e->id, e->payload, false, err));
		for (int occasion = 0; call->writes && !call->dies && occasion < OCCASIONS; occasion++)
			call->dies = sim_fault(call->s, NH_SIM_KILL_EARLY);
	}
	return NH_OK;
}

static nh_rc call_tx(struct nh_tx *tx, void *arg, struct nh_err *err)
{
	struct call *call = arg;
	struct sim *s = call->s;
	*call->effects = (struct nh_effects){0};
	for (size_t i = 0; i < s->node_count; i++)
		s->nodes[i].told = false;
	struct nh_ctx ctx = {tx, call->arena, &call->node->clock, &s->hub_rng, &call->node->config, call->effects};
	call->answer = call->fn(&ctx, s, call->arg, err);
	if (call->answer != NH_OK)
		return call->answer;
	if (s->lean)
		return NH_OK;
	if (!s->relays)
		NH_TRY(judge_pushes(call, &ctx, err));
	if (call->writes)
		NH_TRY(sim_judge(s, &ctx, err));
	return call->dies ? NH_FAIL(err, NH_ECLOSED, "the server died before the commit") : NH_OK;
}

nh_rc sim_read(struct sim *s, struct sim_node *node, sim_tx_fn fn, void *arg, struct nh_effects *effects, struct nh_arena *arena, struct nh_err *err)
{
	struct call call = {.s = s, .node = node, .fn = fn, .arg = arg, .arena = arena, .effects = effects};
	return nh_db_read(s->db, call_tx, &call, err);
}

nh_rc sim_write(struct sim *s, struct sim_node *node, sim_tx_fn fn, void *arg, struct nh_err *err)
{
	NH_AUTO_ARENA struct nh_arena arena = {.cap_bytes = (size_t)1 << 28};
	struct nh_effects effects = {0};
	struct call call = {.s = s, .node = node, .fn = fn, .arg = arg, .arena = &arena, .effects = &effects, .writes = true};
	call.dies = sim_fault(s, NH_SIM_KILL_EARLY);
	s->result->transactions++;
	struct sim_counts before[NH_ARRAY_LEN(s->counts)];
	size_t count = s->count_count;
	for (size_t i = 0; i < count; i++)
		before[i] = s->counts[i];
	nh_rc rc = nh_db_write(s->db, call_tx, &call, err);
	if (rc != NH_OK) { /* nothing was */
		s->count_count = count;
		for (size_t i = 0; i < count; i++)
			s->counts[i] = before[i];
	}
	s->by_hand = s->relays = false;
	if (call.dies) {
		sim_node_kill(s, node);
		return rc == NH_EINTERNAL ? rc : NH_ECLOSED;
	}
	if (rc == NH_OK)
		sim_node_told(s);
	if (rc != NH_OK)
		return rc;
	if (sim_fault(s, NH_SIM_KILL)) {
		sim_node_kill(s, node);
		return NH_OK;
	}
	return sim_node_effects(s, node, &effects, err);
}

/* ---- the run ------------------------------------------------------------------------------------------------------------------ */

nh_rc sim_open(struct sim *s, struct nh_err *err)
{
	static const struct nh_stmt *const *families[32];
	char url[sizeof s->path + 16];
	size_t count = 0;
	while (nh_store_statements[count] && count < NH_ARRAY_LEN(families) - 2) {
		families[count] = nh_store_statements[count];
		count++;
	}
	NH_ASSERT(!nh_store_statements[count]);
	families[count] = nh_simulate_statements;
	snprintf(s->path, sizeof s->path, "%s/nh-simulate-XXXXXX", s->options->folder);
	if (!mkdtemp(s->path)) {
		s->path[0] = 0;
		return NH_FAIL(err, NH_EIO, "cannot make a folder in %s: %s", s->options->folder, strerrordesc_np(errno));
	}
	snprintf(url, sizeof url, "sqlite:%s/run.db", s->path);
	struct nh_db_config config = {.url = url, .connections = 1, .statements = families};
	return nh_db_open(&config, &s->db, err);
}

static void close_database(struct sim *s)
{
	static const char *const names[] = {"run.db", "run.db-wal", "run.db-shm"};
	char name[sizeof s->path + 16];
	nh_db_close(s->db);
	for (size_t i = 0; s->path[0] && i < NH_ARRAY_LEN(names); i++) {
		snprintf(name, sizeof name, "%s/%s", s->path, names[i]);
		unlink(name);
	}
	if (s->path[0])
		rmdir(s->path);
}

static nh_rc set_up(struct sim *s, struct nh_err *err)
{
	NH_TRY(sim_open(s, err));
	s->lull = true;
	NH_TRY(sim_world_make(s, err));
	s->lull = false;
	for (size_t i = 0; i < s->device_count; i++)
		sim_device_start(s, &s->devices[i], s->now_us + sim_span(s, 0, 10 * SIM_MINUTE));
	sim_people_start(s);
	sim_watch_start(s);
	return NH_OK;
}

nh_rc sim_go_until(struct sim *s, int64_t end_us, struct nh_err *err)
{
	while (s->queue_count > 0 && s->queue[0].at_us <= end_us) {
		struct sim_event e = take(s);
		s->now_us = e.at_us;
		s->result->steps++;
		nh_rc rc = e.run(s, &e, err);
		free(e.text);
		if (sim_answer(rc) != NH_OK)
			return rc;
		if (s->options->until_step && s->result->steps >= s->options->until_step)
			return NH_EAGAIN; /* as far as was asked for */
	}
	s->now_us = end_us;
	return NH_OK;
}

static nh_rc go(struct sim *s, struct nh_err *err)
{
	NH_TRY(set_up(s, err));
	s->end_us = s->now_us + (int64_t)s->scenario->minutes * SIM_MINUTE;
	NH_TRY(sim_go_until(s, s->end_us, err));
	s->honest = true;
	sim_note(s, "faults and people cease");
	for (size_t i = 0; i < s->node_count; i++)
		if (!s->nodes[i].alive)
			NH_TRY(sim_node_start(s, &s->nodes[i], err));
	NH_TRY(sim_people_settle(s, err));
	for (size_t i = 0; i < s->device_count; i++)
		sim_device_honest(s, &s->devices[i]);
	NH_TRY(sim_go_until(s, s->now_us + LULL_US, err));
	/* Narrow limits take longer; what is lost stays lost. */
	nh_rc rc = sim_judge_end(s, err);
	for (int hour = 0; rc == NH_EINTERNAL && hour < PATIENCE_HOURS; hour++) {
		NH_TRY(sim_go_until(s, s->now_us + SIM_HOUR, err));
		rc = sim_judge_end(s, err);
	}
	return rc == NH_OK ? sim_judge_chains(s, &s->nodes[0], true, err) : rc;
}

void sim_free(struct sim *s)
{
	close_database(s);
	for (size_t i = 0; i < s->queue_count; i++)
		free(s->queue[i].text);
	free(s->queue);
	for (size_t i = 0; i < s->conn_count; i++)
		free(s->conns[i]);
	free(s->conns);
	for (size_t i = 0; i < SIM_NODES; i++)
		free(s->nodes[i].registry);
	free(s->devices);
	nh_arena_fini(&s->arena);
	free(s);
}

struct sim *sim_new(const struct nh_sim_options *options, struct nh_sim_result *result, int64_t start_us)
{
	struct sim *s = nh_xcalloc(1, sizeof *s);
	*result = (struct nh_sim_result){.trace_hash = HASH_BASIS};
	s->options = options;
	s->scenario = options->scenario;
	s->result = result;
	s->arena.cap_bytes = (size_t)1 << 30;
	s->now_us = s->start_us = start_us;
	s->rng = nh_rng_seeded_init(&s->world_state, options->seed);
	s->hub_rng = nh_rng_seeded_init(&s->hub_state, ~options->seed);
	return s;
}

nh_rc nh_sim_run(const struct nh_sim_options *options, struct nh_sim_result *result, struct nh_err *err)
{
	const struct nh_sim_scenario *scenario = options->scenario;
	if (scenario->nodes < 1 || scenario->nodes > SIM_NODES || scenario->groups < 1 || scenario->groups > SIM_GROUPS || scenario->firmwares < 2 || scenario->firmwares > SIM_SCENARIO_FIRMWARES ||
	    scenario->devices < 1 || scenario->devices > 100000)
		return NH_FAIL(err, NH_EINVAL, "scenario %s asks for more than there may be", scenario->name);
	struct sim *s = sim_new(options, result, SIM_EPOCH_US);
	struct nh_err why = NH_ERR_INIT;
	nh_rc rc = go(s, &why);
	if (rc != NH_OK && rc != NH_EAGAIN && rc != NH_EIO) {
		result->broken = true;
		NH_IGNORE(nh_err_prefix(&why, rc, "step %llu, %.3f s", (unsigned long long)result->steps, (double)(s->now_us - s->start_us) / (double)SIM_S)); /* rc is known */
		snprintf(result->message, sizeof result->message, "%s", why.msg);
		rc = NH_OK;
	}
	sim_free(s);
	if (rc == NH_EAGAIN)
		return NH_OK;
	if (rc != NH_OK && err)
		*err = why;
	return rc;
}

nh_rc nh_sim_shrink(struct nh_sim_options *options, struct nh_sim_result *result, struct nh_err *err)
{
	struct nh_sim_result tried;
	/* Kinds that are not needed. */
	for (nh_sim_fault kind = 0; kind < NH_SIM_FAULTS; kind++) {
		uint32_t without = options->without;
		if (result->happened[kind] == 0)
			continue;
		options->without |= UINT32_C(1) << kind;
		NH_TRY(nh_sim_run(options, &tried, err));
		if (tried.broken)
			*result = tried;
		else
			options->without = without;
	}
	/* The shortest beginning of what is left. */
	uint64_t least = 0, most = result->faults;
	while (least < most) {
		options->faults_max = least + (most - least) / 2;
		NH_TRY(nh_sim_run(options, &tried, err));
		if (tried.broken) {
			most = options->faults_max;
			*result = tried;
		} else {
			least = options->faults_max + 1;
		}
	}
	options->faults_max = most;
	return NH_OK;
}
