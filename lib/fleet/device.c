/*
 * One virtual device, on its loop: boot (a worker reads the disk and plays the boot loader), connect, update, reboot. Nothing is carried over a reboot but
 * the disk file; the counters kept here are for the person who watches.
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/arena.h"
#include "base/file.h"
#include "firmware/apply.h"
#include "fleet/firmware.h"
#include "fleet_int.h"

#define REBOOT_MS 300

/* ---- the view ---------------------------------------------------------------------------------------------------------- */

static void put_text(char *out, size_t size, nh_slice text) { snprintf(out, size, "%.*s", NH_ARG(text)); }

/* Marks the device as settled once; called with the lock held. */
static void settle(struct device *d, nh_fleet_outcome outcome)
{
	d->view.outcome = outcome;
	if (d->counted)
		return;
	d->counted = true;
	__atomic_add_fetch(&d->fleet->settled, 1, __ATOMIC_SEQ_CST);
}

static void set_phase(struct device *d, nh_fleet_phase phase, unsigned percent)
{
	pthread_mutex_lock(&d->lock);
	if (d->view.phase != phase)
		d->view.changes++;
	d->view.phase = phase;
	d->view.percent = percent;
	pthread_mutex_unlock(&d->lock);
}

static void set_note(struct device *d, nh_slice note)
{
	pthread_mutex_lock(&d->lock);
	put_text(d->view.note, sizeof d->view.note, note);
	d->view.changes++;
	pthread_mutex_unlock(&d->lock);
}

/* Nothing more will happen to it: whoever waits for the fleet must not wait for this one. */
static void set_faulty(struct device *d, const struct nh_err *err)
{
	set_phase(d, NH_FLEET_FAULTY, 0);
	set_note(d, nh_slice_str(err->msg));
	pthread_mutex_lock(&d->lock);
	settle(d, NH_FLEET_FAILED);
	pthread_mutex_unlock(&d->lock);
}

/* ---- the platform: nh_machine, with the script's faults in front ---------------------------------------------------------- */

static nh_rc on_read_state(void *ctx, struct nh_arena *arena, struct nh_link_state *out, struct nh_err *err)
{
	struct device *d = ctx;
	return nh_machine_platform.read_state(d->machine, arena, out, err);
}

static nh_rc on_apply_open(void *ctx, const struct nh_link_offer *offer, void **apply, struct nh_err *err)
{
	struct device *d = ctx;
	if (d->bad.fail_install && !d->failed_install) {
		d->failed_install = true;
		return NH_FAIL(err, NH_EIO, "simulated: the flash refused to write");
	}
	return nh_machine_platform.apply_open(d->machine, offer, apply, err);
}

static nh_rc on_validate(void *ctx, struct nh_err *err)
{
	struct device *d = ctx;
	return nh_machine_platform.validate(d->machine, err);
}

static void on_reboot(void *ctx, const char *why)
{
	struct device *d = ctx;
	nh_machine_platform.reboot(d->machine, why);
}

/* The machine's own hooks. [worker] the firmware judges itself; the script may judge otherwise, once. */
static nh_rc selftest(void *ctx, struct nh_err *err)
{
	struct device *d = ctx;
	if (d->bad.revert && !d->reverted_once && d->installed) {
		d->reverted_once = true;
		return NH_FAIL(err, NH_EPERM, "self-test failed: simulated");
	}
	return nh_fleet_selftest(d->disk, err);
}

static void after_close(void *ctx)
{
	struct device *d = ctx;
	d->closing = false;
	if (d->stopping)
		device_is_closed(d);
	else
		nh_timer_start(d->reboot_timer, REBOOT_MS, 0);
}

/* [loop] A reboot: the link ends, a moment passes, and a fresh device reads its disk. */
static void machine_reboot(void *ctx, const char *why)
{
	struct device *d = ctx;
	if (d->stopping || !d->link)
		return;
	set_phase(d, NH_FLEET_REBOOTING, 0);
	struct nh_link *link = d->link;
	d->link = NULL;
	d->closing = true;
	nh_link_close(link, after_close, d);
}

/* ---- events of the link --------------------------------------------------------------------------------------------------- */

static void on_joined(struct device *d)
{
	pthread_mutex_lock(&d->lock);
	d->view.phase = NH_FLEET_ONLINE;
	d->view.percent = 0;
	d->view.connects++;
	d->view.changes++;
	if (d->boot_reverted) {
		settle(d, NH_FLEET_ROLLED_BACK);
		d->boot_reverted = false;
	}
	pthread_mutex_unlock(&d->lock);
}

static void on_validated(struct device *d)
{
	pthread_mutex_lock(&d->lock);
	if (d->installed) {
		d->view.updates++;
		d->view.note[0] = 0;
		settle(d, NH_FLEET_UPDATED);
	}
	d->installed = false;
	d->view.changes++;
	pthread_mutex_unlock(&d->lock);
}

static void on_progress(struct device *d, const struct nh_link_event *ev)
{
	set_phase(d, nh_slice_eq_str(ev->text, "downloading") ? NH_FLEET_DOWNLOADING : NH_FLEET_INSTALLING, ev->percent);
	if (d->bad.drop && !d->dropped && ev->percent >= d->bad.drop_at) {
		d->dropped = true;
		nh_link_drop(d->link, true);
	}
}

static void on_failed(struct device *d, const struct nh_link_event *ev)
{
	set_phase(d, NH_FLEET_ONLINE, 0);
	set_note(d, ev->text);
	pthread_mutex_lock(&d->lock);
	settle(d, NH_FLEET_FAILED);
	pthread_mutex_unlock(&d->lock);
}

static void on_link_event(void *ctx, struct nh_link *link, const struct nh_link_event *ev)
{
	struct device *d = ctx;
	switch (ev->kind) {
	case NH_LINK_CONNECTING: set_phase(d, NH_FLEET_CONNECTING, 0); break;
	case NH_LINK_JOINED: on_joined(d); break;
	case NH_LINK_DISCONNECTED:
		if (!nh_link_updating(link))
			set_phase(d, NH_FLEET_CONNECTING, 0);
		if (ev->status || ev->text.len)
			set_note(d, ev->text);
		break;
	case NH_LINK_UPDATE_OFFERED:
		pthread_mutex_lock(&d->lock);
		put_text(d->view.target, sizeof d->view.target, ev->version);
		d->view.note[0] = 0;
		d->view.changes++;
		pthread_mutex_unlock(&d->lock);
		break;
	case NH_LINK_UPDATE_STARTED: set_phase(d, NH_FLEET_DOWNLOADING, 0); break;
	case NH_LINK_UPDATE_PROGRESS: on_progress(d, ev); break;
	case NH_LINK_UPDATE_INSTALLED:
		d->installed = true;
		set_phase(d, NH_FLEET_REBOOTING, 100);
		break;
	case NH_LINK_UPDATE_FAILED: on_failed(d, ev); break;
	case NH_LINK_VALIDATED: on_validated(d); break;
	case NH_LINK_VALIDATION_FAILED: set_note(d, ev->text); break;
	case NH_LINK_ERROR: set_note(d, ev->text); break;
	default: break;
	}
}

/* ---- connecting -------------------------------------------------------------------------------------------------------- */

static int64_t skewed_now(void *ctx)
{
	const struct device *d = ctx;
	return nh_now_us() + d->bad.skew_us;
}

static const struct nh_link_platform platform = {
	.read_state = on_read_state,
	.apply_open = on_apply_open,
	.validate = on_validate,
	.reboot = on_reboot,
};

static struct nh_link_platform full_platform(void)
{
	struct nh_link_platform p = platform;
	/* What works on the open install itself needs no detour. */
	p.apply_write = nh_machine_platform.apply_write;
	p.apply_finish = nh_machine_platform.apply_finish;
	p.apply_abort = nh_machine_platform.apply_abort;
	return p;
}

static struct nh_link_config link_config(struct device *d, const struct nh_link_platform *p)
{
	const struct nh_fleet_config *c = &d->fleet->config;
	struct nh_link_config config = {.host = c->server, .ca_pem = c->ca_pem, .public_keys = &c->public_key, .public_key_count = 1, .platform = p, .platform_ctx = d,
					.on_event = on_link_event, .event_ctx = d, .clock = &d->clock, .identifier = d->view.name, .validate_interval_ms = 1000,
					.heartbeat_ms = c->heartbeat_ms,
					.transport = d->view.polls ? NH_LINK_POLL : NH_LINK_CHANNEL,
					.poll_interval_ms = c->poll_interval_ms,
					.fwup_version = nh_machine_fwup_version(d->machine),
					.download_bytes_per_s = d->bad.slow ? c->script.slow_bytes_per_s : c->download_bytes_per_s};
	if (d->view.identity == NH_FLEET_SECRET) {
		config.secret_key = c->secret_key;
		config.secret = c->secret;
	} else if (d->view.identity == NH_FLEET_NERVESKEY) {
		config.nerveskey = d->nerveskey;
	} else {
		config.cert_pem = nh_buf_slice(&d->cert_pem);
		config.key_pem = nh_buf_slice(&d->key_pem);
	}
	return config;
}

static struct nh_link_platform the_platform; /* filled once, before any loop runs */

static void on_ghost_event(void *ctx, struct nh_link *link, const struct nh_link_event *ev)
{
	struct device *d = ctx;
	if (ev->kind == NH_LINK_JOINED && d->ghost == link) {
		d->ghost = NULL;
		nh_link_close(link, NULL, NULL);
	}
}

static void connect_device(struct device *d)
{
	struct nh_err err = NH_ERR_INIT;
	struct nh_link_config config = link_config(d, &the_platform);
	set_phase(d, NH_FLEET_CONNECTING, 0);
	if (nh_link_open(d->loop, d->fleet->config.pool, &config, &d->link, &err) != NH_OK) {
		set_faulty(d, &err);
		return;
	}
	/* A clone that asks would only take the answer that was meant for the other. */
	if (!d->bad.duplicate || d->ghost || d->view.polls)
		return;
	/* A cloned card in a second machine: the newest connection wins, then the clone disappears. */
	d->bad.duplicate = false;
	config.on_event = on_ghost_event;
	NH_IGNORE(nh_link_open(d->loop, d->fleet->config.pool, &config, &d->ghost, &err)); /* no clone, no harm */
}

/* ---- booting ----------------------------------------------------------------------------------------------------------- */

/* [worker] A new disk gets the first firmware, as in a factory. */
static nh_rc make_disk(struct device *d, struct nh_err *err)
{
	struct nh_fw_public_key key;
	struct nh_fw_apply *apply = NULL;
	uint8_t bytes[65536];
	NH_TRY(nh_fw_public_key_decode(nh_slice_str(d->fleet->config.public_key), &key, err));
	int fd = open(d->fleet->config.firmware, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return NH_FAIL(err, NH_ENOTFOUND, "cannot open the firmware %s", d->fleet->config.firmware);
	nh_rc rc = nh_fw_apply_new(&(struct nh_fw_apply_config){.path = d->disk, .fd = -1, .task = "complete", .keys = &key, .key_count = 1, .no_sync = true}, &apply, err);
	ssize_t n = 1;
	while (rc == NH_OK && !nh_fw_apply_done(apply) && (n = read(fd, bytes, sizeof bytes)) > 0)
		rc = nh_fw_apply_feed(apply, nh_slice_of(bytes, (size_t)n), err);
	if (rc == NH_OK)
		rc = nh_fw_apply_finish(apply, err);
	nh_fw_apply_free(apply);
	close(fd);
	if (rc != NH_OK)
		unlink(d->disk);
	return rc;
}

/* [worker] What a board does between power-on and the agent's start. */
static void boot_run(void *worker, struct nh_work *work)
{
	struct device *d = (struct device *)(void *)((char *)work - offsetof(struct device, boot));
	NH_AUTO_ARENA struct nh_arena arena = NH_ARENA_INIT;
	struct nh_link_state state = {0};
	bool reverted = false;
	d->boot_rc = access(d->disk, F_OK) == 0 ? NH_OK : make_disk(d, &d->boot_err);
	if (d->boot_rc == NH_OK)
		d->boot_rc = nh_machine_boot(d->machine, &reverted, &d->boot_err);
	if (d->boot_rc == NH_OK)
		d->boot_rc = nh_machine_platform.read_state(d->machine, &arena, &state, &d->boot_err);
	if (d->boot_rc != NH_OK)
		return;
	d->boot_reverted = d->boot_reverted || reverted;
	put_text(d->running, sizeof d->running, nh_link_state_get(&state, "nerves_fw_version"));
}

static void boot_done(struct nh_work *work)
{
	struct device *d = (struct device *)(void *)((char *)work - offsetof(struct device, boot));
	d->booting = false;
	if (d->stopping) {
		device_is_closed(d);
		return;
	}
	if (d->boot_rc != NH_OK) {
		set_faulty(d, &d->boot_err);
		return;
	}
	pthread_mutex_lock(&d->lock);
	put_text(d->view.version, sizeof d->view.version, nh_slice_str(d->running));
	d->view.changes++;
	pthread_mutex_unlock(&d->lock);
	if (d->boot_reverted)
		d->installed = false;
	connect_device(d);
}

static void boot(struct device *d)
{
	set_phase(d, NH_FLEET_BOOTING, 0);
	d->boot = (struct nh_work){.run = boot_run, .done = boot_done};
	d->booting = nh_work_submit(d->fleet->config.pool, d->loop, &d->boot) == NH_OK;
	if (!d->booting) /* the pool is busy with other boots: come back */
		nh_timer_start(d->reboot_timer, REBOOT_MS, 0);
}

static void on_boot_timer(void *arg)
{
	struct device *d = arg;
	if (!d->stopping)
		boot(d);
}

/* ---- life -------------------------------------------------------------------------------------------------------------- */

static void draw_misbehaviour(struct device *d, const char *name)
{
	const struct nh_fleet_config *c = &d->fleet->config;
	struct nh_rng_seeded state;
	uint64_t seed = c->seed;
	for (; *name; name++)
		seed = (seed ^ (uint8_t)*name) * 1099511628211u;
	struct nh_rng rng = nh_rng_seeded_init(&state, seed);
	/* One draw each, in this order, whatever the rates are: changing one rate changes nothing else. */
	d->bad.drop = nh_rng_below(&rng, 1000) < c->script.drop;
	d->bad.slow = nh_rng_below(&rng, 1000) < c->script.slow;
	d->bad.fail_install = nh_rng_below(&rng, 1000) < c->script.fail_install;
	d->bad.revert = nh_rng_below(&rng, 1000) < c->script.revert;
	d->bad.duplicate = nh_rng_below(&rng, 1000) < c->script.duplicate;
	bool skewed = nh_rng_below(&rng, 1000) < c->script.skew;
	bool behind = nh_rng_below(&rng, 2) == 1;
	d->bad.drop_at = 5 + (unsigned)nh_rng_below(&rng, 90);
	d->bad.skew_us = skewed ? (behind ? -1 : 1) * c->script.skew_s * NH_US_PER_S : 0;
}

void device_init(struct device *d, struct nh_fleet *fleet, struct nh_loop *loop, const char *name, nh_fleet_identity identity)
{
	d->fleet = fleet;
	d->loop = loop;
	d->clock = (struct nh_clock){skewed_now, d};
	snprintf(d->view.name, sizeof d->view.name, "%s", name);
	d->view.identity = identity;
	pthread_mutex_init(&d->lock, NULL);
	NH_AUTO_BUF struct nh_buf path = NH_BUF_INIT;
	nh_buf_printf(&path, "%s/%s.disk", fleet->config.dir, name);
	d->disk = nh_xstrdup(nh_buf_slice(&path));
	draw_misbehaviour(d, name);
	the_platform = full_platform();
}

void device_fini(struct device *d)
{
	nh_machine_free(d->machine);
	nh_buf_fini(&d->cert_pem);
	nh_buf_wipe(&d->key_pem);
	free(d->disk);
	pthread_mutex_destroy(&d->lock);
}

void device_start(void *device)
{
	struct device *d = device;
	struct nh_err err = NH_ERR_INIT;
	struct nh_machine_config config = {.devpath = d->disk, .env_offset = NH_FLEET_ENV_BLOCK * NH_FLEET_BLOCK, .env_size = NH_FLEET_ENV_BLOCKS * NH_FLEET_BLOCK,
					   .validate = selftest, .reboot = machine_reboot, .ctx = d};
	d->reboot_timer = nh_timer_new(d->loop, on_boot_timer, d);
	if (nh_machine_new(&config, &d->machine, &err) != NH_OK) {
		set_faulty(d, &err);
		return;
	}
	boot(d);
}

void device_stop(void *device)
{
	struct device *d = device;
	d->stopping = true;
	nh_timer_close(d->reboot_timer);
	d->reboot_timer = NULL;
	if (d->ghost) {
		nh_link_close(d->ghost, NULL, NULL);
		d->ghost = NULL;
	}
	if (d->link) {
		struct nh_link *link = d->link;
		d->link = NULL;
		nh_link_close(link, after_close, d);
	} else if (!d->booting && !d->closing) {
		device_is_closed(d);
	}
}
