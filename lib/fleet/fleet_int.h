/* One virtual device: what fleet.c and device.c share. */
#pragma once

#include <pthread.h>

#include "base/clock.h"
#include "base/rng.h"
#include "fleet/fleet.h"
#include "link/link.h"
#include "link/machine.h"

struct nh_fleet;

/* Drawn once per device from the seed. */
struct misbehaviour {
	bool drop, slow, fail_install, revert, duplicate;
	unsigned drop_at; /* percent */
	int64_t skew_us;
};

struct device {
	struct nh_fleet *fleet;
	struct nh_loop *loop;
	struct misbehaviour bad;
	struct nh_machine *machine;
	struct nh_link *link, *ghost;
	struct nh_timer *reboot_timer;
	struct nh_clock clock;
	char *disk;
	struct nh_buf cert_pem, key_pem;
	const char *nerveskey; /* where the identity is one */
	struct nh_work boot;
	struct nh_err boot_err;
	bool boot_reverted;
	nh_rc boot_rc;
	char running[32];     /* version on the active slot, read at boot */
	bool installed;       /* an update was installed since the last settled state */
	bool dropped, failed_install, reverted_once;
	bool stopping, closed, booting, closing;
	bool counted;         /* settled, as seen by the fleet */

	pthread_mutex_t lock; /* guards view */
	struct nh_fleet_view view;
};

struct nh_fleet {
	struct nh_fleet_config config;
	struct device *devices;
	size_t count;
	size_t settled; /* atomic */
	size_t open;    /* atomic: devices that nh_fleet_stop waits for */
	pthread_mutex_t lock;
	pthread_cond_t all_closed;
};

void device_init(struct device *d, struct nh_fleet *fleet, struct nh_loop *loop, const char *name, nh_fleet_identity identity);
void device_fini(struct device *d);
void device_start(void *device); /* [loop] */
void device_stop(void *device);  /* [loop] */
void device_is_closed(struct device *d);

/* identity.c: reads or makes the device's key and certificate. */
nh_rc identity_prepare(struct nh_fleet *fleet, struct device *d, struct nh_err *err);
