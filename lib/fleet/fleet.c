/*
 * The fleet: names, identities, spreading over loops, starting and stopping. Starts are staggered by the pool: each boot is a job.
 */
#include <stdio.h>
#include <stdlib.h>

#include "base/arena.h"
#include "base/file.h"
#include "fleet_int.h"

static const char *const phases[] = {"off", "booting", "connecting", "online", "downloading", "installing", "rebooting", "faulty"};
static const char *const outcomes[] = {"pending", "updated", "rolled back", "failed"};

const char *nh_fleet_phase_name(nh_fleet_phase phase) { return phases[phase]; }
const char *nh_fleet_outcome_name(nh_fleet_outcome outcome) { return outcomes[outcome]; }

const char *nh_fleet_identity_name(nh_fleet_identity identity)
{
	static const char *const names[] = {"certificate", "secret", "nerveskey"};
	return names[identity];
}

nh_rc nh_fleet_transport_parse(nh_slice text, nh_fleet_transport *out, struct nh_err *err)
{
	static const char *const names[] = {"channel", "poll", "mixed"};
	for (size_t i = 0; i < NH_ARRAY_LEN(names); i++)
		if (nh_slice_eq_str(text, names[i])) {
			*out = (nh_fleet_transport)i;
			return NH_OK;
		}
	return NH_FAIL(err, NH_EINVAL, "--transport is channel, poll or mixed, not '%.*s'", NH_ARG(text));
}

static bool polls(nh_fleet_transport transport, nh_fleet_identity identity, size_t i)
{
	return transport == NH_FLEET_POLL || (transport == NH_FLEET_MIXED && identity == NH_FLEET_CERTIFICATE && i % 2 == 0);
}

static void name_of(char out[64], const struct nh_fleet_config *c, const char *kind, unsigned i, unsigned of)
{
	snprintf(out, 64, of > 99 ? "%s%s-%05u" : "%s%s-%02u", c->prefix ? c->prefix : "", kind, i + 1);
}

static nh_rc check(const struct nh_fleet_config *c, struct nh_err *err)
{
	if (c->certificates + c->secrets + c->nerveskey_count == 0)
		return NH_FAIL(err, NH_EINVAL, "a fleet needs devices: --certificates, --secrets or --nerveskey");
	if (c->certificates && (!c->device_ca_pem.len || !c->device_ca_key_pem.len))
		return NH_FAIL(err, NH_EINVAL, "devices with certificates need a device CA that signs them: --device-ca and --device-ca-key");
	if (c->secrets && (!c->secret_key || !c->secret))
		return NH_FAIL(err, NH_EINVAL, "devices with a shared secret need --secret-key and --secret");
	if (c->secrets && c->transport == NH_FLEET_POLL)
		return NH_FAIL(err, NH_EINVAL, "devices with a shared secret cannot poll: --transport is channel or mixed for them");
	return nh_dir_make(c->dir, 0700, err);
}

/* Devices of one kind, from number `first` of the fleet on. */
static void add(struct nh_fleet *fleet, size_t first, nh_fleet_identity identity, const char *kind, size_t count)
{
	const struct nh_fleet_config *c = &fleet->config;
	for (size_t i = 0; i < count; i++) {
		struct device *d = &fleet->devices[first + i];
		char name[64];
		name_of(name, c, kind, (unsigned)i, (unsigned)count);
		device_init(d, fleet, c->loops[(first + i) % c->loop_count], name, identity);
		d->view.polls = polls(c->transport, identity, i);
		if (identity == NH_FLEET_NERVESKEY)
			d->nerveskey = c->nerveskeys[i];
	}
}

nh_rc nh_fleet_new(const struct nh_fleet_config *config, struct nh_fleet **out, struct nh_err *err)
{
	*out = NULL;
	NH_TRY(check(config, err));
	struct nh_fleet *fleet = nh_xcalloc(1, sizeof *fleet);
	fleet->config = *config;
	fleet->count = config->certificates + config->secrets + config->nerveskey_count;
	fleet->devices = nh_xcalloc(fleet->count, sizeof *fleet->devices);
	pthread_mutex_init(&fleet->lock, NULL);
	pthread_cond_init(&fleet->all_closed, NULL);
	add(fleet, 0, NH_FLEET_CERTIFICATE, "cert", config->certificates);
	add(fleet, config->certificates, NH_FLEET_SECRET, "secret", config->secrets);
	add(fleet, config->certificates + config->secrets, NH_FLEET_NERVESKEY, "key", config->nerveskey_count);
	nh_rc rc = NH_OK;
	for (size_t i = 0; rc == NH_OK && i < config->certificates; i++)
		rc = identity_prepare(fleet, &fleet->devices[i], err);
	if (rc != NH_OK) {
		nh_fleet_free(fleet);
		return rc;
	}
	*out = fleet;
	return NH_OK;
}

void nh_fleet_free(struct nh_fleet *fleet)
{
	if (!fleet)
		return;
	for (size_t i = 0; i < fleet->count; i++)
		device_fini(&fleet->devices[i]);
	pthread_cond_destroy(&fleet->all_closed);
	pthread_mutex_destroy(&fleet->lock);
	free(fleet->devices);
	free(fleet);
}

/* Intrusive messages: as many as devices, so the loops' mailboxes cannot refuse them. */
struct order {
	struct nh_message message;
	struct device *device;
	nh_loop_fn fn;
};

static void run_order(void *arg)
{
	struct order *order = arg;
	nh_loop_fn fn = order->fn;
	struct device *d = order->device;
	free(order);
	fn(d);
}

static void order_all(struct nh_fleet *fleet, nh_loop_fn fn)
{
	for (size_t i = 0; i < fleet->count; i++) {
		struct order *order = nh_xcalloc(1, sizeof *order);
		*order = (struct order){.message = {.fn = run_order, .arg = order}, .device = &fleet->devices[i], .fn = fn};
		nh_loop_send(fleet->devices[i].loop, &order->message);
	}
}

void nh_fleet_start(struct nh_fleet *fleet)
{
	fleet->open = fleet->count;
	order_all(fleet, device_start);
}

void device_is_closed(struct device *d)
{
	struct nh_fleet *fleet = d->fleet;
	if (d->closed)
		return;
	d->closed = true;
	pthread_mutex_lock(&fleet->lock);
	fleet->open--;
	pthread_cond_signal(&fleet->all_closed);
	pthread_mutex_unlock(&fleet->lock);
}

void nh_fleet_stop(struct nh_fleet *fleet)
{
	order_all(fleet, device_stop);
	pthread_mutex_lock(&fleet->lock);
	while (fleet->open)
		pthread_cond_wait(&fleet->all_closed, &fleet->lock);
	pthread_mutex_unlock(&fleet->lock);
	/* The last device may have told so from within its job's done, and clones are not counted: their jobs still know devices and pool. */
	nh_pool_drain(fleet->config.pool);
}

size_t nh_fleet_count(const struct nh_fleet *fleet) { return fleet->count; }

void nh_fleet_view(struct nh_fleet *fleet, size_t i, struct nh_fleet_view *out)
{
	struct device *d = &fleet->devices[i];
	pthread_mutex_lock(&d->lock);
	*out = d->view;
	pthread_mutex_unlock(&d->lock);
}

size_t nh_fleet_settled(struct nh_fleet *fleet) { return __atomic_load_n(&fleet->settled, __ATOMIC_SEQ_CST); }
