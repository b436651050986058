/*
 * Virtual devices: each a disk file, a boot loader, an identity and a link that speaks the real protocol over real TLS. What a device knows after a
 * "reboot" is what its disk says. Thousands live in one process, spread over loops; misbehaviour is drawn from a seed, so a run can be
 * repeated.
 *
 * thread: main for new, start, stop, free, snapshot; devices live on the loops they were given.
 */
#pragma once

#include "base/buf.h"
#include "loop/pool.h"

struct nh_fleet;

/* How many of a thousand devices do what. */
struct nh_fleet_script {
	unsigned drop;         /* lose the connection in the middle of a download */
	unsigned slow;         /* download at slow_bytes_per_s */
	uint64_t slow_bytes_per_s;
	unsigned fail_install; /* the first install fails */
	unsigned revert;       /* the first new firmware fails its self-test */
	unsigned duplicate;    /* a second machine shows up with the same identity, unless the device polls */
	unsigned skew;         /* the clock is skew_s ahead or behind */
	int64_t skew_s;
};
/* nh_fleet_script_parse - "drop=50 slow=100 slow-rate=20k fail-install=20 revert=5 duplicate=10 skew=30 skew-by=45s", blanks, line breaks and # comments.
 * NH_EFORMAT naming the line. */
nh_rc nh_fleet_script_parse(nh_slice text, struct nh_fleet_script *out, struct nh_err *err);

typedef enum nh_fleet_identity { NH_FLEET_CERTIFICATE, NH_FLEET_SECRET, NH_FLEET_NERVESKEY } nh_fleet_identity;
const char *nh_fleet_identity_name(nh_fleet_identity identity); /* "certificate" */

/* How devices hear of updates. A shared secret needs a channel. */
typedef enum nh_fleet_transport {
	NH_FLEET_CHANNEL,
	NH_FLEET_POLL,
	NH_FLEET_MIXED, /* of the devices with certificates the first, the third, ... poll; all others hold a channel */
} nh_fleet_transport;
/* nh_fleet_transport_parse - "channel", "poll", "mixed". NH_EINVAL. */
nh_rc nh_fleet_transport_parse(nh_slice text, nh_fleet_transport *out, struct nh_err *err);

/* Borrowed until free. */
struct nh_fleet_config {
	const char *server;         /* host:port of the device endpoint */
	nh_slice ca_pem;            /* who vouches for the server */
	const char *dir;            /* disks and identities: DIR/NAME.disk, .key, .crt */
	const char *firmware;       /* archive that new disks get */
	const char *public_key;     /* base64 of 32 bytes */
	unsigned certificates;      /* devices with a certificate of their own: cert-01 … */
	nh_slice device_ca_pem, device_ca_key_pem; /* signs them */
	unsigned secrets;           /* devices with the shared secret: secret-01 … */
	const char *secret_key, *secret;
	const char *const *nerveskeys; /* devices whose key is in a NervesKey: link.h's names, one a device: key-01 … (the server knows them by the chip's serial number) */
	size_t nerveskey_count;
	const char *prefix;         /* before each name; NULL = "" */
	uint64_t seed;
	struct nh_fleet_script script;
	uint64_t download_bytes_per_s; /* 0 = as fast as it goes */
	uint64_t heartbeat_ms;         /* 0 = the link's default */
	nh_fleet_transport transport;
	uint64_t poll_interval_ms;     /* 0 = the link's default */
	struct nh_loop **loops;     /* running */
	size_t loop_count;
	struct nh_pool *pool;
};

/* nh_fleet_new - makes identities that are missing. NH_EINVAL, NH_EIO, NH_EFORMAT with one clear line. */
nh_rc nh_fleet_new(const struct nh_fleet_config *config, struct nh_fleet **out, struct nh_err *err);
void nh_fleet_start(struct nh_fleet *fleet);
void nh_fleet_stop(struct nh_fleet *fleet); /* returns when every link is closed and the pool is idle; blocks */
void nh_fleet_free(struct nh_fleet *fleet);

typedef enum nh_fleet_phase {
	NH_FLEET_OFF, NH_FLEET_BOOTING, NH_FLEET_CONNECTING, NH_FLEET_ONLINE, NH_FLEET_DOWNLOADING, NH_FLEET_INSTALLING, NH_FLEET_REBOOTING, NH_FLEET_FAULTY,
} nh_fleet_phase;

typedef enum nh_fleet_outcome { NH_FLEET_PENDING, NH_FLEET_UPDATED, NH_FLEET_ROLLED_BACK, NH_FLEET_FAILED } nh_fleet_outcome;

struct nh_fleet_view {
	char name[64];
	nh_fleet_identity identity;
	bool polls;
	nh_fleet_phase phase;
	nh_fleet_outcome outcome;
	unsigned percent;
	char version[32];  /* running */
	char target[32];   /* of the update in progress or last tried */
	char note[160];    /* why, for people */
	unsigned connects, updates;
	uint64_t changes;  /* grows with every change of phase, outcome or note */
};
size_t nh_fleet_count(const struct nh_fleet *fleet);
void nh_fleet_view(struct nh_fleet *fleet, size_t i, struct nh_fleet_view *out); /* a consistent copy; any thread */
/* nh_fleet_settled - devices that are online and whose first update ended, one way or the other. */
size_t nh_fleet_settled(struct nh_fleet *fleet);
const char *nh_fleet_phase_name(nh_fleet_phase phase);
const char *nh_fleet_outcome_name(nh_fleet_outcome outcome);
