/* nerveshub-fleet run: devices until they settled, or until a signal. */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/arena.h"
#include "base/clock.h"
#include "base/file.h"
#include "base/log.h"
#include "commands.h"

#define DRAW_MS 200
#define LOOPS_MAX 64

struct run {
	struct nh_fleet_config config;
	const char *transport;
	const char *ca, *device_ca, *device_ca_key, *public_key_file, *script, *json, *expect_version;
	struct nh_option_list nerveskeys;
	uint64_t certificates, secrets, loops, workers, timeout_ms, seed, rate;
	bool until_settled, quiet, help;
	struct nh_buf ca_pem, device_ca_pem, device_ca_key_pem, public_key;
	struct nh_loop *loop_list[LOOPS_MAX];
	struct nh_loop *main_loop;
	struct nh_timer *timer;
	struct nh_fleet *fleet;
	struct view *view;
	uint64_t end_ms;
	bool timed_out;
};

static nh_rc read_optional(const char *path, struct nh_buf *out, struct nh_err *err) { return path ? nh_file_read(path, 1u << 20, out, err) : NH_OK; }

static nh_rc load(struct run *r, struct nh_err *err)
{
	if (!r->config.server)
		return NH_FAIL(err, NH_EINVAL, "--server HOST:PORT says where the device port is");
	if (!r->config.firmware || !r->public_key_file)
		return NH_FAIL(err, NH_EINVAL, "--firmware and --public-key say what new disks get and whose signature counts");
	if (access(r->config.firmware, R_OK) < 0) /* else every device would say so, for ever */
		return NH_FAIL(err, nh_rc_from_errno(errno), "cannot read the firmware %s: %s", r->config.firmware, strerror(errno));
	if (r->transport)
		NH_TRY(nh_fleet_transport_parse(nh_slice_str(r->transport), &r->config.transport, err));
	NH_TRY(read_optional(r->ca, &r->ca_pem, err));
	NH_TRY(read_optional(r->device_ca, &r->device_ca_pem, err));
	NH_TRY(read_optional(r->device_ca_key, &r->device_ca_key_pem, err));
	NH_TRY(nh_file_read(r->public_key_file, 4096, &r->public_key, err));
	nh_buf_truncate(&r->public_key, nh_slice_trim(nh_buf_slice(&r->public_key)).len);
	if (r->script) {
		NH_AUTO_BUF struct nh_buf text = NH_BUF_INIT;
		NH_TRY(nh_file_read(r->script, 1u << 20, &text, err));
		NH_TRY_CTX(nh_fleet_script_parse(nh_buf_slice(&text), &r->config.script, err), err, "%s", r->script);
	}
	r->config.ca_pem = nh_buf_slice(&r->ca_pem);
	r->config.device_ca_pem = nh_buf_slice(&r->device_ca_pem);
	r->config.device_ca_key_pem = nh_buf_slice(&r->device_ca_key_pem);
	r->config.public_key = nh_buf_cstr(&r->public_key);
	r->config.certificates = (unsigned)r->certificates;
	r->config.secrets = (unsigned)r->secrets;
	r->config.nerveskeys = r->nerveskeys.items;
	r->config.nerveskey_count = r->nerveskeys.count;
	r->config.seed = r->seed;
	r->config.download_bytes_per_s = r->rate;
	return NH_OK;
}

static void on_stop(void *arg)
{
	struct run *r = arg;
	nh_loop_stop(r->main_loop);
}

static void on_draw(void *arg)
{
	struct run *r = arg;
	if (!r->quiet)
		view_draw(r->view);
	bool settled = r->until_settled && nh_fleet_settled(r->fleet) == nh_fleet_count(r->fleet);
	r->timed_out = !settled && r->end_ms && nh_mono_ms() > r->end_ms;
	if (settled || r->timed_out)
		nh_loop_stop(r->main_loop);
}

static nh_rc start(struct run *r, struct nh_err *err)
{
	NH_TRY(nh_pool_new(&(struct nh_pool_config){.threads = (unsigned)r->workers, .queue_max = 65536}, &r->config.pool, err));
	for (size_t i = 0; i < r->loops; i++) {
		NH_TRY(nh_loop_new(&(struct nh_loop_config){.name = "fleet", .mailbox_max = 1u << 20}, &r->loop_list[i], err));
		NH_TRY(nh_loop_start(r->loop_list[i], err));
	}
	r->config.loops = r->loop_list;
	r->config.loop_count = r->loops;
	return nh_fleet_new(&r->config, &r->fleet, err);
}

static nh_rc watch(struct run *r, struct nh_err *err)
{
	struct nh_signal *signals[2] = {0};
	static const int numbers[] = {SIGINT, SIGTERM};
	NH_TRY(nh_loop_new(NULL, &r->main_loop, err));
	for (size_t i = 0; i < 2; i++)
		NH_TRY(nh_signal_open(r->main_loop, numbers[i], on_stop, r, &signals[i], err));
	r->view = view_new(r->fleet);
	r->timer = nh_timer_new(r->main_loop, on_draw, r);
	nh_timer_start(r->timer, DRAW_MS, DRAW_MS);
	if (r->timeout_ms)
		r->end_ms = nh_mono_ms() + r->timeout_ms;
	nh_fleet_start(r->fleet);
	nh_loop_run(r->main_loop);
	if (!r->quiet)
		view_end(r->view);
	nh_rc rc = r->json ? view_write_json(r->fleet, r->json, err) : NH_OK;
	nh_fleet_stop(r->fleet);
	nh_timer_close(r->timer);
	nh_signal_close(signals[0]);
	nh_signal_close(signals[1]);
	view_free(r->view);
	return rc;
}

/* Devices that the script or their firmware made go back are elsewhere on purpose. */
static nh_rc check_versions(struct run *r, struct nh_err *err)
{
	size_t wrong = 0;
	struct nh_fleet_view d, first = {0};
	for (size_t i = 0; r->expect_version && i < nh_fleet_count(r->fleet); i++) {
		nh_fleet_view(r->fleet, i, &d);
		if (strcmp(d.version, r->expect_version) != 0 && d.outcome != NH_FLEET_ROLLED_BACK && wrong++ == 0)
			first = d;
	}
	if (wrong == 0)
		return NH_OK;
	return NH_FAIL(err, NH_ECONFLICT, "%zu of %zu devices do not run %s: %s runs %s%s%s", wrong, nh_fleet_count(r->fleet), r->expect_version, first.name,
		       first.version[0] ? first.version : "nothing", first.note[0] ? ", " : "", first.note);
}

static void finish(struct run *r)
{
	nh_pool_free(r->config.pool);
	for (size_t i = 0; i < r->loops; i++) {
		if (!r->loop_list[i])
			continue;
		nh_loop_stop(r->loop_list[i]);
		nh_loop_join(r->loop_list[i]);
		nh_loop_free(r->loop_list[i]);
	}
	nh_loop_free(r->main_loop);
	nh_fleet_free(r->fleet);
	nh_buf_fini(&r->ca_pem);
	nh_buf_fini(&r->device_ca_pem);
	nh_buf_wipe(&r->device_ca_key_pem);
	nh_buf_fini(&r->public_key);
	free(r->nerveskeys.items);
}

static int run_fleet(struct run *r)
{
	struct nh_err err = NH_ERR_INIT;
	nh_rc rc = load(r, &err);
	if (rc == NH_OK)
		rc = start(r, &err);
	if (rc == NH_OK)
		rc = watch(r, &err);
	if (rc == NH_OK && r->timed_out)
		rc = NH_FAIL(&err, NH_ETIMEOUT, "%zu of %zu devices settled before the time was over", nh_fleet_settled(r->fleet), nh_fleet_count(r->fleet));
	if (rc == NH_OK)
		rc = check_versions(r, &err);
	finish(r);
	return rc == NH_OK ? 0 : command_fail(&err);
}

int run_main(int argc, char **argv)
{
	struct run r = {.loops = 2, .workers = 4, .seed = 1};
	struct nh_err err = NH_ERR_INIT;
	int rest = 0;
	r.config.dir = "fleet";
	const struct nh_option options[] = {
		{.name = "server", .kind = NH_OPT_TEXT, .target = &r.config.server, .value = "HOST:PORT", .help = "device port of the server"},
		{.name = "ca", .kind = NH_OPT_TEXT, .target = &r.ca, .value = "FILE", .help = "PEM roots that vouch for the server (the system's)"},
		{.name = "dir", .kind = NH_OPT_TEXT, .target = &r.config.dir, .value = "DIR", .help = "disks, keys and certificates of the devices (fleet)"},
		{.name = "firmware", .kind = NH_OPT_TEXT, .target = &r.config.firmware, .value = "FILE", .help = "archive that new disks get"},
		{.name = "public-key", .kind = NH_OPT_TEXT, .target = &r.public_key_file, .value = "FILE", .help = "public key that firmware must be signed with"},
		{.name = "certificates", .kind = NH_OPT_U64, .target = &r.certificates, .value = "N", .help = "devices with certificates", .max = 1000000},
		{.name = "device-ca", .kind = NH_OPT_TEXT, .target = &r.device_ca, .value = "FILE", .help = "CA that signs their certificates"},
		{.name = "device-ca-key", .kind = NH_OPT_TEXT, .target = &r.device_ca_key, .value = "FILE", .help = "its key"},
		{.name = "secrets", .kind = NH_OPT_U64, .target = &r.secrets, .value = "N", .help = "devices with the product's shared secret", .max = 1000000},
		{.name = "secret-key", .kind = NH_OPT_TEXT, .target = &r.config.secret_key, .value = "KEY", .help = "key of the shared secret (nhp_…)"},
		{.name = "secret", .kind = NH_OPT_TEXT, .target = &r.config.secret, .value = "SECRET", .help = "the secret", .env = "NERVESHUB_FLEET_SECRET"},
		{.name = "nerveskey", .kind = NH_OPT_LIST, .target = &r.nerveskeys, .value = "URI", .help = "a device whose key is in this NervesKey (nerveskey://i2c-1, nerveskey+sim:///path); several may be given"},
		{.name = "prefix", .kind = NH_OPT_TEXT, .target = &r.config.prefix, .value = "TEXT", .help = "put before each device's name"},
		{.name = "download-rate", .kind = NH_OPT_SIZE, .target = &r.rate, .value = "BYTES", .help = "bytes per second and device; 0 = as fast as it goes", .max = UINT64_C(1) << 40},
		{.name = "heartbeat", .kind = NH_OPT_DURATION, .target = &r.config.heartbeat_ms, .value = "TIME", .help = "between two heartbeats of a device (30s)", .min = 1, .max = UINT64_C(86400000)},
		{.name = "transport", .kind = NH_OPT_TEXT, .target = &r.transport, .value = "WHICH", .help = "channel: devices stay connected; poll: they ask from time to time; mixed: every second one with a certificate polls (channel)"},
		{.name = "poll-interval", .kind = NH_OPT_DURATION, .target = &r.config.poll_interval_ms, .value = "TIME", .help = "between two questions of a device that polls, half of it more or less (15m)", .min = 1, .max = UINT64_C(604800000)},
		{.name = "script", .kind = NH_OPT_TEXT, .target = &r.script, .value = "FILE", .help = "misbehaviour: drop=50 slow=100 fail-install=20 revert=5 duplicate=10 skew=30 (of a thousand)"},
		{.name = "seed", .kind = NH_OPT_U64, .target = &r.seed, .value = "N", .help = "what the misbehaviour is drawn from (1)"},
		{.name = "loops", .kind = NH_OPT_U64, .target = &r.loops, .value = "N", .help = "I/O threads (2)", .min = 1, .max = LOOPS_MAX},
		{.name = "workers", .kind = NH_OPT_U64, .target = &r.workers, .value = "N", .help = "threads that write disks (4)", .min = 1, .max = 256},
		{.name = "until-settled", .kind = NH_OPT_FLAG, .target = &r.until_settled, .help = "end once every device was updated, rolled back or failed"},
		{.name = "timeout", .kind = NH_OPT_DURATION, .target = &r.timeout_ms, .value = "TIME", .help = "end after this time, with status 1 where devices are not settled", .max = UINT64_C(86400000)},
		{.name = "expect-version", .kind = NH_OPT_TEXT, .target = &r.expect_version, .value = "VERSION", .help = "status 1 where a device that was not rolled back runs another one at the end"},
		{.name = "json", .kind = NH_OPT_TEXT, .target = &r.json, .value = "FILE", .help = "write the final state of every device"},
		{.name = "quiet", .letter = 'q', .kind = NH_OPT_FLAG, .target = &r.quiet, .help = "show nothing while it runs"},
		{.name = "help", .letter = 'h', .kind = NH_OPT_FLAG, .target = &r.help, .help = "this text"},
		{0},
	};
	if (nh_option_parse(options, argc, argv, &rest, &err) != NH_OK)
		return command_fail(&err);
	if (r.help) {
		command_help("run --server HOST:PORT --firmware FILE --public-key FILE [options]", options);
		return 0;
	}
	nh_log_set_level(NH_LOG_WARN);
	nh_fd_limit_raise();
	return run_fleet(&r);
}
