/*
 * nerveshub-fleet load: how many devices does this server carry? Connects them, keeps them alive with heartbeats for a while, and says what they saw. With
 * --steer it does what the lines on standard input say.
 */
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "base/log.h"
#include "commands.h"

#define DRAW_MS 500
#define DESCRIPTORS_KEPT 100

struct sizing {
	struct nh_load_config config;
	const char *ca, *dir, *device_ca, *device_ca_key, *json;
	uint64_t first, count, at_once, heartbeat_ms, duration_ms, connect_timeout_ms;
	bool steer, quiet, help;
	struct nh_buf ca_pem, device_ca_pem, device_ca_key_pem;
	struct nh_load_identities identities;
	struct nh_loop *loop;
	struct nh_load *load;
	struct nh_load_report online, beats; /* at the end of each part */
	bool is_online, is_done;
};

static nh_rc read_optional(const char *path, struct nh_buf *out, struct nh_err *err) { return path ? nh_file_read(path, 1u << 20, out, err) : NH_OK; }

static nh_rc prepare(struct sizing *s, struct nh_err *err)
{
	uint64_t descriptors = nh_fd_limit_raise();
	if (s->count + DESCRIPTORS_KEPT > descriptors)
		return NH_FAIL(err, NH_EINVAL, "--count %llu: this process may have %llu descriptors; use several processes with --first, or raise the limit (ulimit -n)",
			       (unsigned long long)s->count, (unsigned long long)descriptors);
	if (!s->config.secret_key && (!s->device_ca || !s->device_ca_key))
		return NH_FAIL(err, NH_EINVAL, "--device-ca and --device-ca-key say who signs the devices' certificates (or give --secret-key and --secret)");
	NH_TRY(read_optional(s->ca, &s->ca_pem, err));
	s->config.ca_pem = nh_buf_slice(&s->ca_pem);
	s->config.first = s->first;
	s->config.count = s->count;
	s->config.connect_timeout_ms = s->connect_timeout_ms;
	if (s->config.secret_key)
		return NH_OK;
	NH_TRY(nh_file_read(s->device_ca, 1u << 20, &s->device_ca_pem, err));
	NH_TRY(nh_file_read(s->device_ca_key, 1u << 20, &s->device_ca_key_pem, err));
	NH_TRY(nh_load_identities_open(s->dir, s->config.prefix, s->first, s->count, nh_buf_slice(&s->device_ca_pem), nh_buf_slice(&s->device_ca_key_pem), &s->identities, err));
	s->config.identities = &s->identities;
	return NH_OK;
}

/* ---- for a person --------------------------------------------------------------------------------------------------------------- */

static void on_stop(void *arg)
{
	struct sizing *s = arg;
	nh_loop_stop(s->loop);
}

static void on_draw(void *arg)
{
	struct sizing *s = arg;
	struct nh_load_report r;
	nh_load_report(s->load, &r);
	printf("\r%zu of %zu joined, %zu connected, %llu heartbeats, %llu failures, %llu lost ", r.joined, r.wanted, r.connected, (unsigned long long)r.heartbeats,
	       (unsigned long long)r.failures, (unsigned long long)r.lost);
	fflush(stdout);
}

static void on_done(void *ctx)
{
	struct sizing *s = ctx;
	if (!s->is_online) {
		s->is_online = true;
		nh_load_report(s->load, &s->online);
		uint64_t rate = s->count * 1000 / s->heartbeat_ms;
		nh_load_heartbeat(s->load, rate ? rate : 1, s->duration_ms);
		return;
	}
	s->is_done = true;
	nh_load_report(s->load, &s->beats);
	nh_loop_stop(s->loop);
}

static void print_latency(const char *name, const struct nh_load_latency *l)
{
	printf("%-22s %9zu %10.1f %10.1f %10.1f %10.1f\n", name, l->count, l->p50_us / 1e3, l->p90_us / 1e3, l->p99_us / 1e3, l->max_us / 1e3);
}

static void summary(const struct sizing *s)
{
	const struct nh_load_report *now = s->is_done ? &s->beats : &s->online;
	double seconds = (double)s->online.task_us / 1e6;
	printf("%s%zu of %zu devices joined in %.1f s (%.0f a second); %llu attempts failed, %llu connections were lost, %llu heartbeats stayed unanswered\n", s->quiet ? "" : "\r",
	       s->online.joined, s->online.wanted, seconds, seconds > 0 ? (double)s->online.joined / seconds : 0, (unsigned long long)now->failures,
	       (unsigned long long)now->lost, (unsigned long long)now->unanswered);
	if (now->last_error[0])
		printf("latest failure: %s\n", now->last_error);
	printf("\n%-22s %9s %10s %10s %10s %10s\n", "milliseconds", "count", "p50", "p90", "p99", "longest");
	print_latency("start to upgrade", &s->online.connect);
	print_latency("start to joined", &s->online.join);
	print_latency("heartbeat to answer", &s->beats.beat);
}

static nh_rc write_json(const struct sizing *s, struct nh_err *err)
{
	NH_AUTO_BUF struct nh_buf text = NH_BUF_INIT;
	NH_AUTO_JSON json_t *root = json_pack("{s:o, s:o}", "online", load_report_json(&s->online), "heartbeats", load_report_json(&s->beats));
	nh_json_put_pretty(&text, root);
	return nh_file_write_atomic(s->json, nh_buf_slice(&text), 0644, err);
}

static nh_rc size(struct sizing *s, struct nh_err *err)
{
	static const int numbers[] = {SIGINT, SIGTERM};
	struct nh_signal *signals[2] = {0};
	struct nh_timer *draw = NULL;
	s->config.on_done = on_done;
	s->config.ctx = s;
	NH_TRY(nh_load_new(&s->config, &s->load, err));
	nh_rc rc = NH_OK;
	for (size_t i = 0; rc == NH_OK && i < NH_ARRAY_LEN(numbers); i++)
		rc = nh_signal_open(s->loop, numbers[i], on_stop, s, &signals[i], err);
	if (rc == NH_OK) {
		draw = nh_timer_new(s->loop, on_draw, s);
		if (!s->quiet && isatty(STDOUT_FILENO))
			nh_timer_start(draw, DRAW_MS, DRAW_MS);
		nh_load_connect(s->load, s->count, s->at_once, true);
		nh_loop_run(s->loop);
		if (!s->is_online)
			nh_load_report(s->load, &s->online);
		summary(s);
	}
	if (rc == NH_OK && s->json)
		rc = write_json(s, err);
	if (rc == NH_OK && !s->is_online)
		rc = NH_FAIL(err, NH_ETIMEOUT, "stopped before all devices had joined");
	for (size_t i = 0; i < NH_ARRAY_LEN(numbers); i++)
		nh_signal_close(signals[i]);
	nh_timer_close(draw);
	nh_load_free(s->load);
	return rc;
}

/* ---- the command ---------------------------------------------------------------------------------------------------------------- */

static int run_load(struct sizing *s)
{
	struct nh_err err = NH_ERR_INIT;
	nh_rc rc = prepare(s, &err);
	if (rc == NH_OK)
		rc = nh_loop_new(&(struct nh_loop_config){.name = "load"}, &s->loop, &err);
	s->config.loop = s->loop;
	if (rc == NH_OK)
		rc = s->steer ? load_steer(s->loop, &s->config, &err) : size(s, &err);
	nh_loop_free(s->loop);
	nh_load_identities_fini(&s->identities);
	nh_buf_fini(&s->ca_pem);
	nh_buf_fini(&s->device_ca_pem);
	nh_buf_wipe(&s->device_ca_key_pem);
	return rc == NH_OK ? 0 : command_fail(&err);
}

int load_main(int argc, char **argv)
{
	struct sizing s = {.count = 100, .at_once = 64, .heartbeat_ms = 30000, .duration_ms = 60000, .dir = "fleet"};
	struct nh_err err = NH_ERR_INIT;
	int rest = 0;
	s.config.prefix = "load";
	s.config.product = "virtual";
	const struct nh_option options[] = {
		{.name = "server", .kind = NH_OPT_TEXT, .target = &s.config.server, .value = "HOST:PORT", .help = "device port of the server"},
		{.name = "ca", .kind = NH_OPT_TEXT, .target = &s.ca, .value = "FILE", .help = "PEM roots that vouch for the server (the system's)"},
		{.name = "count", .kind = NH_OPT_U64, .target = &s.count, .value = "N", .help = "devices of this process (100)", .min = 1, .max = 1000000},
		{.name = "first", .kind = NH_OPT_U64, .target = &s.first, .value = "N", .help = "number of the first one, where several processes share the work (0)", .max = 1000000000},
		{.name = "prefix", .kind = NH_OPT_TEXT, .target = &s.config.prefix, .value = "TEXT", .help = "before the number in each device's name (load)"},
		{.name = "product", .kind = NH_OPT_TEXT, .target = &s.config.product, .value = "NAME", .help = "product that the devices report (virtual)"},
		{.name = "dir", .kind = NH_OPT_TEXT, .target = &s.dir, .value = "DIR", .help = "keeps keys and certificates for the next run (fleet)"},
		{.name = "device-ca", .kind = NH_OPT_TEXT, .target = &s.device_ca, .value = "FILE", .help = "CA that signs the devices' certificates"},
		{.name = "device-ca-key", .kind = NH_OPT_TEXT, .target = &s.device_ca_key, .value = "FILE", .help = "its key"},
		{.name = "secret-key", .kind = NH_OPT_TEXT, .target = &s.config.secret_key, .value = "KEY", .help = "no certificates: key of the product's shared secret (nhp_…)"},
		{.name = "secret", .kind = NH_OPT_TEXT, .target = &s.config.secret, .value = "SECRET", .help = "the secret", .env = "NERVESHUB_FLEET_SECRET"},
		{.name = "at-once", .kind = NH_OPT_U64, .target = &s.at_once, .value = "N", .help = "connects in progress; 0 = all at once: a storm (64)", .max = 1000000},
		{.name = "connect-timeout", .kind = NH_OPT_DURATION, .target = &s.connect_timeout_ms, .value = "TIME", .help = "of one attempt (5m: in a storm the server keeps the queue)", .max = UINT64_C(86400000)},
		{.name = "heartbeat", .kind = NH_OPT_DURATION, .target = &s.heartbeat_ms, .value = "TIME", .help = "between two heartbeats of a device (30s)", .min = 1, .max = UINT64_C(86400000)},
		{.name = "duration", .kind = NH_OPT_DURATION, .target = &s.duration_ms, .value = "TIME", .help = "of the heartbeats, once all have joined (60s)", .max = UINT64_C(86400000) * 30},
		{.name = "json", .kind = NH_OPT_TEXT, .target = &s.json, .value = "FILE", .help = "write counts and latencies"},
		{.name = "steer", .kind = NH_OPT_FLAG, .target = &s.steer, .help = "do what lines on standard input say, answer each with a line of JSON"},
		{.name = "quiet", .letter = 'q', .kind = NH_OPT_FLAG, .target = &s.quiet, .help = "no progress line"},
		{.name = "help", .letter = 'h', .kind = NH_OPT_FLAG, .target = &s.help, .help = "this text"},
		{0},
	};
	if (nh_option_parse(options, argc, argv, &rest, &err) != NH_OK)
		return command_fail(&err);
	if (s.help) {
		command_help("load --server HOST:PORT (--device-ca FILE --device-ca-key FILE | --secret-key KEY --secret SECRET) [options]", options);
		return 0;
	}
	if (rest > 0) {
		NH_IGNORE(NH_FAIL(&err, NH_EINVAL, "unexpected argument '%s'", argv[1])); /* printed below */
		return command_fail(&err);
	}
	nh_log_set_level(NH_LOG_WARN);
	return run_load(&s);
}
