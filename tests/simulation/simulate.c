/*
 * Runs simulations, many or one: `simulate [--scenario NAME] [--seed N | --seeds N | --minutes M] [--trace]`. A run that breaks a rule is printed with the command that repeats it; with
 * --shrink also with as few faults as still break it. `simulate --list FILE` runs the seeds of a file (tests/simulation/seeds.txt), and `--twice` each run twice, which must not differ by a byte.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/encode.h"
#include "base/file.h"
#include "base/log.h"
#include "base/option.h"
#include "simulate/simulate.h"

struct settings {
	const char *scenario, *list, *folder, *without;
	uint64_t seed, seeds, minutes, until, faults;
	bool trace, shrink, twice, verbose;
};

struct totals {
	uint64_t runs, broken, steps, transactions, sent, succeeded, failed, reverted, expired, kills, acts, faults;
};

static void print_line(void *ctx, nh_slice line) { printf("%.*s\n", NH_ARG(line)); }

static uint32_t without_of(const char *list)
{
	uint32_t mask = 0;
	nh_slice word, rest = nh_slice_str(list ? list : "");
	while (rest.len > 0) {
		nh_slice_cut(rest, ',', &word, &rest);
		for (nh_sim_fault f = 0; f < NH_SIM_FAULTS; f++)
			mask |= nh_slice_eq_str(word, nh_sim_fault_name(f)) ? UINT32_C(1) << f : 0;
	}
	return mask;
}

static void print_command(const struct nh_sim_options *o)
{
	bool first = true;
	printf("  simulate --scenario %s --seed %llu", o->scenario->name, (unsigned long long)o->seed);
	if (o->faults_max != UINT64_MAX)
		printf(" --faults %llu", (unsigned long long)o->faults_max);
	for (nh_sim_fault f = 0; f < NH_SIM_FAULTS; f++)
		if (o->without & (UINT32_C(1) << f)) {
			printf("%s%s", first ? " --without " : ",", nh_sim_fault_name(f));
			first = false;
		}
	printf(" --trace\n");
}

/* false: the run could not be made. */
static bool run(const struct settings *set, struct nh_sim_options *o, struct totals *t)
{
	struct nh_sim_result r, again;
	struct nh_err err = NH_ERR_INIT;
	if (nh_sim_run(o, &r, &err) != NH_OK || (set->twice && nh_sim_run(o, &again, &err) != NH_OK)) {
		fprintf(stderr, "simulate: %s\n", err.msg);
		return false;
	}
	if (set->twice && (again.trace_hash != r.trace_hash || again.steps != r.steps)) {
		r.broken = true;
		snprintf(r.message, sizeof r.message, "two runs of one seed differ");
	}
	*t = (struct totals){t->runs + 1, t->broken + r.broken, t->steps + r.steps, t->transactions + r.transactions, t->sent + r.sent, t->succeeded + r.succeeded, t->failed + r.failed,
			     t->reverted + r.reverted, t->expired + r.expired, t->kills + r.kills, t->acts + r.acts, t->faults + r.faults};
	if (set->verbose)
		printf("%s %llu: %llu steps, %llu transactions, %llu sent, %llu succeeded, hash %016llx\n", o->scenario->name, (unsigned long long)o->seed, (unsigned long long)r.steps,
		       (unsigned long long)r.transactions, (unsigned long long)r.sent, (unsigned long long)r.succeeded, (unsigned long long)r.trace_hash);
	if (!r.broken)
		return true;
	printf("BROKEN %s %llu: %s\n", o->scenario->name, (unsigned long long)o->seed, r.message);
	if (set->shrink && nh_sim_shrink(o, &r, &err) == NH_OK)
		printf("  with %llu faults: %s\n", (unsigned long long)r.faults, r.message);
	print_command(o);
	fflush(stdout);
	return true;
}

static struct nh_sim_options options_of(const struct settings *set, const struct nh_sim_scenario *scenario, uint64_t seed)
{
	return (struct nh_sim_options){.scenario = scenario, .seed = seed, .folder = set->folder, .until_step = set->until, .faults_max = set->faults ? set->faults : UINT64_MAX,
				       .without = without_of(set->without), .trace = set->trace ? print_line : NULL};
}

/* Lines "scenario seed what it was"; # begins a remark. */
static bool run_list(const struct settings *set, struct totals *t)
{
	NH_AUTO_BUF struct nh_buf text = NH_BUF_INIT;
	struct nh_err err = NH_ERR_INIT;
	if (nh_file_read(set->list, 1 << 20, &text, &err) != NH_OK) {
		fprintf(stderr, "simulate: %s\n", err.msg);
		return false;
	}
	nh_slice line, rest = nh_buf_slice(&text);
	while (rest.len > 0) {
		nh_slice name, tail, number;
		uint64_t seed = 0;
		nh_slice_cut(rest, '\n', &line, &rest);
		if (line.len == 0 || line.ptr[0] == '#')
			continue;
		nh_slice_cut(line, ' ', &name, &tail);
		nh_slice_cut(tail, ' ', &number, &tail);
		const struct nh_sim_scenario *scenario = nh_sim_scenario_find(name);
		if (!scenario || nh_parse_u64(number, 0, UINT64_MAX, &seed) != NH_OK) {
			fprintf(stderr, "simulate: %s: not understood: %.*s\n", set->list, NH_ARG(line));
			return false;
		}
		struct nh_sim_options o = options_of(set, scenario, seed);
		if (!run(set, &o, t))
			return false;
	}
	return true;
}

/* Seeds from the first on, each in every scenario, until there were enough or time is up. */
static bool run_many(const struct settings *set, struct totals *t)
{
	uint64_t until = set->minutes ? nh_mono_ms() + set->minutes * 60000 : UINT64_MAX, count = set->seeds ? set->seeds : set->minutes ? UINT64_MAX - set->seed : 1;
	for (uint64_t seed = set->seed; seed < set->seed + count; seed++)
		for (const struct nh_sim_scenario *s = nh_sim_scenarios; s->name; s++) {
			if (set->scenario && strcmp(s->name, set->scenario) != 0)
				continue;
			struct nh_sim_options o = options_of(set, s, seed);
			if (!run(set, &o, t))
				return false;
			if (nh_mono_ms() >= until)
				return true;
		}
	return true;
}

int main(int argc, char **argv)
{
	struct settings set = {.folder = access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp", .seed = 1};
	const struct nh_option table[] = {
		{"scenario", 0, NH_OPT_TEXT, &set.scenario, "NAME", "only this scenario"},
		{"seed", 0, NH_OPT_U64, &set.seed, "N", "the first seed (1)"},
		{"seeds", 0, NH_OPT_U64, &set.seeds, "N", "how many seeds (1)"},
		{"minutes", 0, NH_OPT_U64, &set.minutes, "M", "seed after seed for so long"},
		{"until", 0, NH_OPT_U64, &set.until, "STEP", "stop at this step"},
		{"faults", 0, NH_OPT_U64, &set.faults, "N", "only the first N faults"},
		{"without", 0, NH_OPT_TEXT, &set.without, "KIND,KIND", "without these kinds of faults"},
		{"list", 0, NH_OPT_TEXT, &set.list, "FILE", "the seeds of a file"},
		{"folder", 0, NH_OPT_TEXT, &set.folder, "DIR", "where databases lie while they are used"},
		{"trace", 0, NH_OPT_FLAG, &set.trace, NULL, "print every step"},
		{"shrink", 0, NH_OPT_FLAG, &set.shrink, NULL, "look for the fewest faults that still break a run"},
		{"twice", 0, NH_OPT_FLAG, &set.twice, NULL, "run everything twice and compare"},
		{"verbose", 0, NH_OPT_FLAG, &set.verbose, NULL, "a line a run"},
		{0},
	};
	struct nh_err err = NH_ERR_INIT;
	struct totals t = {0};
	int rest = 0;
	if (nh_option_parse(table, argc, argv, &rest, &err) != NH_OK || rest > 0 || (set.scenario && !nh_sim_scenario_find(nh_slice_str(set.scenario)))) {
		NH_AUTO_BUF struct nh_buf help = NH_BUF_INIT;
		nh_option_help(&help, table);
		fprintf(stderr, "simulate: %s\n%s", err.msg[0] ? err.msg : "no such scenario or argument", nh_buf_cstr(&help));
		return 2;
	}
	nh_log_set_level(NH_LOG_ERROR);
	bool made = set.list ? run_list(&set, &t) : run_many(&set, &t);
	printf("%llu runs, %llu broken: %llu steps, %llu transactions, %llu faults, %llu acts of people, %llu updates sent, %llu firmware changes, %llu failed, %llu reverted, %llu expired, %llu deaths of servers\n",
	       (unsigned long long)t.runs, (unsigned long long)t.broken, (unsigned long long)t.steps, (unsigned long long)t.transactions, (unsigned long long)t.faults, (unsigned long long)t.acts,
	       (unsigned long long)t.sent, (unsigned long long)t.succeeded, (unsigned long long)t.failed, (unsigned long long)t.reverted, (unsigned long long)t.expired, (unsigned long long)t.kills);
	return !made ? 2 : t.broken ? 1 : 0;
}
