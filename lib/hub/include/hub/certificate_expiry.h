/*
 * Certificates that end soon, before somebody notices by what no longer works: those that the server's authority issued to an organization, its device CAs, and certificates of its
 * devices. A certificate that ended lately is among them.
 *
 * Conventions: hub/accounts.h. source: reference/server-behaviour "1.5", "2.2"
 */
#pragma once

#include "hub/hub.h"

struct nh_expiring {
	nh_slice kind;    /* "ca": a device CA; "device"; of the authority: "user", "device_ca", "server" */
	nh_slice serial;  /* decimal */
	nh_slice subject; /* the CA's description, the issued certificate's subject; pointer NULL where there is none */
	nh_slice device, product; /* of a device's; else pointer NULL */
	int64_t not_after_us;
};

#define NH_EXPIRING_DAYS_MAX 3650

/*
 * nh_expiring_list - what ends within the next days (0..NH_EXPIRING_DAYS_MAX), or ended as many days ago, the soonest first; at most limit (1..500). The cost grows with what is
 * listed and not with the fleet. Role: view (NH_MAY_CA_SEE). NH_ENOTFOUND.
 */
nh_rc nh_expiring_list(struct nh_ctx *ctx, const struct nh_actor *actor, int64_t org_id, unsigned days, size_t limit, struct nh_expiring **out, size_t *count, struct nh_err *err);

struct nh_expiring_counts {
	int64_t issued, cas, devices;
};
/* nh_expiring_count - what ends within the next days, over all organizations: for the operator. Read. NH_EIO. */
/*
 * nh_expiring_tell - an event NH_EVENT_CERTIFICATE_EXPIRING for each organization that asks for it and has certificates that end within so many days: how many, and the first of them. A page of
 * organizations behind after_org (0: the first); *next: the last one of it, 0 = that was all. Write.
 */
nh_rc nh_expiring_tell(struct nh_ctx *ctx, unsigned days, int64_t after_org, int64_t *next, struct nh_err *err);
nh_rc nh_expiring_count(struct nh_ctx *ctx, unsigned days, struct nh_expiring_counts *out, struct nh_err *err);
