/*
 * Events: what happened to a device, an update, a rollout, for whoever wants to be told outside (hub/webhooks.h). The rule that lets something happen says so, in the same transaction, so neither
 * exists without the other; the event then waits in an outbox until it is given out, and effect NH_EFFECT_EVENT wakes who does that.
 *
 * An event that no webhook of its organization asks for is not written. What is asked for is a bit mask on the organization's row, so that a rule which has loaded the device's facts knows
 * without a further statement (nh_event_of_device), and others by one look at a row.
 *
 * thread: the writer's. source: the list of kinds is ours
 */
#pragma once

#include "hub/hub.h"

struct nh_device_facts;

/* The order is kept in the database as bits: new kinds come at the end. */
typedef enum nh_event_kind {
	NH_EVENT_DEVICE_CREATED,
	NH_EVENT_DEVICE_ONLINE,       /* from offline: it has joined */
	NH_EVENT_DEVICE_OFFLINE,      /* from online: its connection has ended, and no newer one has taken its place */
	NH_EVENT_UPDATE_STARTED,      /* it was sent */
	NH_EVENT_UPDATE_SUCCEEDED,
	NH_EVENT_UPDATE_FAILED,       /* also: ignored by the device */
	NH_EVENT_UPDATE_REVERTED,     /* the device came back with what it had run before */
	NH_EVENT_UPDATE_EXPIRED,      /* nothing was heard of it for too long */
	NH_EVENT_HEALTH_CHANGED,      /* to another status than before */
	NH_EVENT_ROLLOUT_STARTED,
	NH_EVENT_ROLLOUT_WAVE_FINISHED,
	NH_EVENT_ROLLOUT_WAITING,     /* at a gate */
	NH_EVENT_ROLLOUT_PAUSED,
	NH_EVENT_ROLLOUT_RESUMED,
	NH_EVENT_ROLLOUT_STOPPED,     /* by itself, on evidence */
	NH_EVENT_ROLLOUT_ROLLED_BACK,
	NH_EVENT_ROLLOUT_FINISHED,
	NH_EVENT_CERTIFICATE_EXPIRING,
	NH_EVENT_AUDIT_ANCHOR,
	NH_EVENT_KIND_COUNT,
} nh_event_kind;

const char *nh_event_kind_name(nh_event_kind kind);              /* "device.online" … */
bool nh_event_kind_parse(nh_slice name, nh_event_kind *out);     /* false: no such kind */
static inline int64_t nh_event_bit(nh_event_kind kind) { return INT64_C(1) << kind; }
#define NH_EVENT_ALL INT64_MAX /* kinds that are yet to come, too */

/* Whom it happened to; 0: nobody. Names are looked up when it is given out. */
struct nh_event_subject {
	int64_t org_id;     /* never 0 */
	int64_t product_id; /* 0: it concerns the organization, and goes to webhooks of all of it only */
	int64_t device_id;
	int64_t group_id;   /* deployment group */
};

/*
 * nh_event_add - writes the event if anybody of the organization asks for its kind; take_data: a JSON object with what else there is to say (NULL: nothing), never a secret.
 * Its members must not be called organization, product, device or deployment_group, which are added. More than 8 KiB of it: left out. Effect NH_EFFECT_EVENT. NH_EIO.
 */
nh_rc nh_event_add(struct nh_ctx *ctx, nh_event_kind kind, const struct nh_event_subject *of, json_t *take_data, struct nh_err *err);

/* nh_event_wanted - does anybody ask for it, as the device's facts know? Then there is a reason to make up data. Pure. */
bool nh_event_wanted(const struct nh_device_facts *device, nh_event_kind kind);
/* nh_event_of_device - as nh_event_add, of a device whose facts are loaded; group_id 0: none. No statement where nobody asks. */
nh_rc nh_event_of_device(struct nh_ctx *ctx, nh_event_kind kind, const struct nh_device_facts *device, int64_t group_id, json_t *take_data, struct nh_err *err);
