/*
 * nh-rollout-simulate: reads a fleet's file, tries a release on it again and again, and prints what came of it, as text or JSON. The trying is lib/simulate's.
 */
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/encode.h"
#include "base/file.h"
#include "base/log.h"
#include "base/option.h"
#include "simulate/fleet.h"

struct settings {
	const char *normal_failure, *firmware_failure, *offline, *output, *folder;
	uint64_t seed, runs, away_ms, update_ms, approve_ms, days;
	bool help, version;
};

static const char about[] = "usage: nh-rollout-simulate [options] FLEET.json\nTries a release on a copy of a fleet (nh rollout export): how long it takes, and when a bad firmware would be stopped.\n\n";

/* "5%", "0.5%", "0.05": to a part of one. */
static bool share(const char *text, double *out)
{
	nh_slice whole, part, rest = nh_slice_str(text);
	uint64_t number = 0, fraction = 0;
	double scale = 1;
	bool percent = rest.len > 0 && rest.ptr[rest.len - 1] == '%';
	bool point = nh_slice_cut(nh_slice_sub(rest, 0, rest.len - percent), '.', &whole, &part);
	if (nh_parse_u64(whole, 0, 100, &number) != NH_OK || (point && (part.len > 6 || nh_parse_u64(part, 0, 999999, &fraction) != NH_OK)))
		return false;
	for (size_t i = 0; point && i < part.len; i++)
		scale *= 10;
	*out = ((double)number + (double)fraction / scale) / (percent ? 100 : 1);
	return *out <= 1;
}

static void put_span(struct nh_buf *out, const json_t *spread, const char *which)
{
	int64_t s = nh_json_int(spread, which, -1);
	if (s < 0)
		nh_buf_put_str(out, "not at all");
	else if (s >= 2 * 86400)
		nh_buf_printf(out, "%lld d %lld h", (long long)(s / 86400), (long long)(s % 86400 / 3600));
	else if (s >= 7200)
		nh_buf_printf(out, "%lld h %lld min", (long long)(s / 3600), (long long)(s % 3600 / 60));
	else
		nh_buf_printf(out, "%lld min", (long long)((s + 59) / 60));
}

static void put_line(struct nh_buf *out, const char *label, const json_t *spread, bool span)
{
	nh_buf_printf(out, "  %-28s", label);
	if (span) {
		put_span(out, spread, "median");
		nh_buf_put_str(out, " (90 % of runs: ");
		put_span(out, spread, "p90");
		nh_buf_put_str(out, ")\n");
	} else {
		nh_buf_printf(out, "%lld (90 %% of runs: at most %lld)\n", (long long)nh_json_int(spread, "median", 0), (long long)nh_json_int(spread, "p90", 0));
	}
}

static void put_half(struct nh_buf *out, const json_t *half, long long runs, bool works)
{
	const json_t *wave, *waves = json_object_get(half, "waves");
	size_t i;
	nh_buf_printf(out, works ? "\nA firmware that works (%.2g %% of updates fail all the same):\n" : "\nA firmware that fails on %.2g %% of updates:\n", 100 * json_number_value(json_object_get(half, "failure_rate")));
	nh_buf_printf(out, "  %-28s%lld of %lld runs%s\n", "Stopped by itself", (long long)nh_json_int(half, "stopped", 0), runs, works ? " (false alarms)" : "");
	if (nh_json_int(half, "stopped", 0) > 0) {
		put_line(out, "Stopped after", json_object_get(half, "stopped_seconds"), true);
		put_line(out, "Updated by then", json_object_get(half, "updated_at_stop"), false);
		put_line(out, "Failed by then", json_object_get(half, "hit_at_stop"), false);
	}
	json_array_foreach((json_t *)waves, i, wave) {
		char label[48];
		snprintf(label, sizeof label, "Wave %zu begins after", i + 1);
		put_line(out, label, json_object_get(wave, "begins_seconds"), true);
	}
	put_line(out, "Half of the devices have it", json_object_get(half, "half_seconds"), true);
	put_line(out, "95 % have it", json_object_get(half, "most_seconds"), true);
	put_line(out, "All have it", json_object_get(half, "all_seconds"), true);
	put_line(out, "Devices that got it", json_object_get(half, "updated"), false);
	put_line(out, "Most updates at once", json_object_get(half, "peak_in_flight"), false);
}

static void print_answer(const json_t *answer, bool json)
{
	NH_AUTO_BUF struct nh_buf out = NH_BUF_INIT;
	if (json) {
		nh_json_put_pretty(&out, answer);
	} else {
		long long runs = (long long)nh_json_int(answer, "runs", 0);
		nh_buf_printf(&out, "%lld devices, %lld runs of each kind, seed %lld\n", (long long)nh_json_int(answer, "devices", 0), runs, (long long)nh_json_int(answer, "seed", 0));
		put_half(&out, json_object_get(answer, "healthy"), runs, true);
		put_half(&out, json_object_get(answer, "faulty"), runs, false);
	}
	fwrite(nh_buf_slice(&out).ptr, 1, nh_buf_slice(&out).len, stdout);
}

static void show_progress(void *ctx, unsigned run, unsigned runs) { fprintf(stderr, "\rrun %u of %u", run + 1, runs); }

static int complain(const char *text)
{
	fprintf(stderr, "nh-rollout-simulate: %s\n", text);
	return 2;
}

/* NH_OK: *fleet, a new reference. */
static nh_rc read_file(const char *path, json_t **fleet, struct nh_err *err)
{
	NH_AUTO_BUF struct nh_buf text = NH_BUF_INIT;
	NH_TRY(nh_file_read(path, NH_SIM_FLEET_BYTES_MAX, &text, err));
	NH_TRY_CTX(nh_json_parse(nh_buf_slice(&text), NH_SIM_FLEET_BYTES_MAX, fleet, err), err, "%s", path);
	return json_is_object(*fleet) ? NH_OK : NH_FAIL(err, NH_EFORMAT, "%s is no fleet's file; make one with `nh rollout export`", path);
}

static bool read_shares(const struct settings *set, struct nh_sim_fleet_options *o)
{
	o->offline = -1;
	return share(set->normal_failure, &o->normal_failure) && share(set->firmware_failure, &o->firmware_failure) && (!set->offline || share(set->offline, &o->offline));
}

static int simulate(const struct settings *set, const char *path)
{
	struct nh_sim_fleet_options o = {.folder = set->folder, .seed = set->seed, .runs = (unsigned)set->runs, .away_s = set->away_ms / 1000, .update_s = set->update_ms / 1000, .approve_s = set->approve_ms / 1000,
					 .days = set->days, .progress = isatty(STDERR_FILENO) == 1 ? show_progress : NULL};
	bool json = nh_slice_eq_str(nh_slice_str(set->output), "json");
	NH_AUTO_JSON json_t *fleet = NULL;
	NH_AUTO_JSON json_t *answer = NULL;
	struct nh_err err = NH_ERR_INIT;
	if (!json && !nh_slice_eq_str(nh_slice_str(set->output), "text"))
		return complain("--output is text or json");
	if (!read_shares(set, &o))
		return complain("shares are written as 5% or 0.05");
	if (read_file(path, &fleet, &err) != NH_OK)
		return complain(err.msg);
	o.fleet = fleet;
	nh_rc rc = nh_sim_fleet(&o, &answer, &err);
	if (o.progress)
		fprintf(stderr, "\r                    \r");
	if (rc != NH_OK)
		return complain(err.msg);
	print_answer(answer, json);
	return 0;
}

int main(int argc, char **argv)
{
	struct settings set = {.normal_failure = "0.2%", .firmware_failure = "5%", .output = "text", .seed = 1, .runs = 10, .away_ms = UINT64_C(86400000), .update_ms = 180000, .approve_ms = 3600000, .days = 14,
			       .folder = access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp"};
	const struct nh_option table[] = {
		{"runs", 0, NH_OPT_U64, &set.runs, "N", "runs of each kind (10)", 1, NH_SIM_FLEET_RUNS_MAX},
		{"seed", 0, NH_OPT_U64, &set.seed, "N", "of chance; the same seed gives the same answer (1)"},
		{"firmware-failure", 0, NH_OPT_TEXT, &set.firmware_failure, "SHARE", "of updates that fail with a bad firmware (5%)"},
		{"normal-failure", 0, NH_OPT_TEXT, &set.normal_failure, "SHARE", "of updates that fail with a good one (0.2%)"},
		{"offline", 0, NH_OPT_TEXT, &set.offline, "SHARE", "of devices that are away when it begins (those of the file)"},
		{"away", 0, NH_OPT_DURATION, &set.away_ms, "TIME", "mean time until such a device comes back (24h)", 1000, UINT64_C(366) * 86400000},
		{"update-time", 0, NH_OPT_DURATION, &set.update_ms, "TIME", "a typical update takes (180s)", 1000, 86400000},
		{"approve-after", 0, NH_OPT_DURATION, &set.approve_ms, "TIME", "people let a manual gate pass (1h)", 0, UINT64_C(366) * 86400000},
		{"days", 0, NH_OPT_U64, &set.days, "N", "after which a run ends in any case (14)", 1, 366},
		{"output", 'o', NH_OPT_TEXT, &set.output, "text|json", "how the answer is printed"},
		{"folder", 0, NH_OPT_TEXT, &set.folder, "DIR", "where databases lie while they are used"},
		{"help", 'h', NH_OPT_FLAG, &set.help, NULL, "show help"},
		{"version", 0, NH_OPT_FLAG, &set.version, NULL, "show the version"},
		{0},
	};
	struct nh_err err = NH_ERR_INIT;
	int rest = 0;
	nh_log_set_level(NH_LOG_ERROR);
	if (nh_option_parse(table, argc, argv, &rest, &err) != NH_OK)
		return complain(err.msg);
	if (set.version) {
		printf("nh-rollout-simulate %s\n", NH_VERSION);
		return 0;
	}
	if (set.help || rest != 1) {
		NH_AUTO_BUF struct nh_buf help = NH_BUF_INIT;
		nh_option_help(&help, table);
		fprintf(set.help ? stdout : stderr, "%s%s", about, nh_buf_cstr(&help));
		return set.help ? 0 : 2;
	}
	return simulate(&set, argv[1]);
}
