/*
 * Extensions of a device as rules see them: which may be used, what a device may tell through them, what of it is kept and for how long. No sockets: the device endpoint
 * negotiates the names, sends the requests and calls one function per event in a write transaction, as it does for the device channel (hub/device_session.h). The local shell stores
 * nothing and has no function here but the permission.
 *
 * thread: the writer's, except where "read" is said. source: reference/device-protocol "12"; reference/server-behaviour "7"
 */
#pragma once

#include "hub/device_session.h"

typedef enum nh_extension {
	NH_EXT_HEALTH,
	NH_EXT_GEO,
	NH_EXT_LOGGING,
	NH_EXT_LOCAL_SHELL,
	NH_EXT_NETWORK_IDENTITY,
	NH_EXTENSIONS,
} nh_extension;

#define NH_EXT_BIT(extension) (1u << (extension))

const char *nh_extension_name(nh_extension extension); /* "health" */
/* nh_extension_find - NH_EXTENSIONS where there is none of that name. */
nh_extension nh_extension_find(nh_slice name);
/* nh_extension_version_ok - pure: a SemVer of at least 0.0.1 and below 0.1.0. Anything else, also what is no version: no. */
bool nh_extension_version_ok(nh_slice version);

/*
 * nh_extensions_allowed (read) - *mask: NH_EXT_BIT of each extension that the product has switched on and the device has not switched off. NH_ENOTFOUND, NH_EIO.
 */
nh_rc nh_extensions_allowed(struct nh_ctx *ctx, int64_t device_id, unsigned *mask, struct nh_err *err);

/* ---- what devices tell --------------------------------------------------------------------------------------------------- */

/*
 * One per extension that stores something; event without the extension's name ("report", "location:update", "send"). payload: any JSON, the device's word. What means nothing is
 * ignored with NH_OK and counted in *ignored (may be NULL). The session must be joined and the newest: else NH_ECLOSED. NH_EIO.
 *   health           "report": the report whole (at most 64 KiB as JSON; larger is ignored), its metrics as numbers (at most 200, names of at most 255 bytes once spaces are
 *                    removed; texts that hold a number count), its status with reasons
 *   geo              "location:update": into the connection's metadata as "location"
 *   logging          "send": one line, dated by "timestamp" or "meta.time", ignored where neither can be read. Of its meta the texts, as many as fit into 4096 bytes
 *   network_identity "report": up to 10 identities, by the rules of server-behaviour "7.7"
 */
nh_rc nh_extension_event(struct nh_ctx *ctx, const struct nh_session *session, nh_extension extension, nh_slice event, const json_t *payload, unsigned *ignored, struct nh_err *err);

/*
 * nh_extension_bucket_take - pure: may this device tell one thing more by this extension now? Five log lines a second; one report, place or list of identities a second; ten at once
 * of each. Zeroed = full. The connection keeps one for each extension and asks on its loop, so that excess costs no transaction and no space.
 */
struct nh_extension_bucket {
	uint64_t at_ms;
	uint32_t milli_tokens;
	bool started;
};
bool nh_extension_bucket_take(struct nh_extension_bucket *bucket, nh_extension extension, uint64_t mono_ms);

/* Where an address lies, for devices that do not say. NULL in the config: nobody knows. Read-only and any thread. */
struct nh_geo_resolver {
	void *ctx;
	/* false: unknown. source: text for the location's "source" ("geoip", "static"). accuracy_m: 0 = unknown. */
	bool (*locate)(void *ctx, nh_slice remote_address, double *latitude, double *longitude, uint32_t *accuracy_m, const char **source);
};
/* nh_geo_observe - once joined: where the resolver knows the address and the device has said nothing, the connection's metadata gets that location. NH_ECLOSED, NH_EIO. */
nh_rc nh_geo_observe(struct nh_ctx *ctx, const struct nh_session *session, const struct nh_geo_resolver *resolver, nh_slice remote_address, struct nh_err *err);

/* ---- what people see (read) ---------------------------------------------------------------------------------------------- */

struct nh_health {
	int64_t at_us;
	nh_slice status;  /* "unknown", "healthy", "warning", "unhealthy" */
	nh_slice reasons; /* JSON object text {"warning":{metric:{value,threshold}},"unhealthy":{…}}, or pointer NULL */
	nh_slice alarms;  /* JSON object text, name to description, or pointer NULL: none */
	nh_slice data;    /* the report, JSON object text */
};
/* nh_health_latest - NH_ENOTFOUND: none yet. */
nh_rc nh_health_latest(struct nh_ctx *ctx, int64_t device_id, struct nh_health *out, struct nh_err *err);
/* nh_health_list - newest first, before before_us (INT64_MAX = from the newest), at most limit (1 to 100: a report may be 64 KiB). */
#define NH_HEALTH_LIST_MAX 100
nh_rc nh_health_list(struct nh_ctx *ctx, int64_t device_id, int64_t before_us, size_t limit, struct nh_health **out, size_t *count, struct nh_err *err);

struct nh_metric {
	int64_t at_us;
	nh_slice key;
	double value;
};
/* nh_metric_list - of one key (empty = all) from from_us to to_us, oldest first, at most limit (1 to 10 000). */
#define NH_METRIC_LIST_MAX 10000
nh_rc nh_metric_list(struct nh_ctx *ctx, int64_t device_id, nh_slice key, int64_t from_us, int64_t to_us, size_t limit, struct nh_metric **out, size_t *count, struct nh_err *err);

#define NH_LOG_MESSAGE_MAX 8192 /* bytes; longer ones are cut and end in "…" */
struct nh_log_line {
	int64_t id, at_us;
	nh_slice level, message;
	nh_slice meta; /* JSON object of texts */
};
struct nh_log_filter {
	nh_slice level;    /* empty = all */
	nh_slice contains; /* text anywhere in the message, case ignored (ASCII); empty = all */
	int64_t from_us, to_us;      /* to_us 0 = now */
	int64_t before_us, before_id;/* keyset: older than this line; 0, 0 = from the newest */
};
/* nh_log_list - newest first by the device's dates, at most limit (1 to 500); looks at no more than 20 000 lines for one answer: *more says whether there may be others (continue behind the last line looked at, *next). */
#define NH_LOG_LIST_MAX 500
nh_rc nh_log_list(struct nh_ctx *ctx, int64_t device_id, const struct nh_log_filter *filter, size_t limit, struct nh_log_line **out, size_t *count, bool *more,
		  struct nh_log_line *next, struct nh_err *err);

struct nh_network_identity {
	int64_t id, device_id;
	nh_slice service, instance, identifier;
	nh_slice details; /* JSON object text */
	nh_slice source;  /* "device_reported", "operator" */
	int64_t last_reported_us, inserted_at_us, updated_at_us; /* reported 0: never */
};
/* nh_network_service_known - "iroh", "netbird", "tailscale", "wireguard". */
bool nh_network_service_known(nh_slice service);
/* nh_network_identity_list - by service and instance. NH_EIO. */
nh_rc nh_network_identity_list(struct nh_ctx *ctx, int64_t device_id, struct nh_network_identity **out, size_t *count, struct nh_err *err);

/*
 * What an operator gives a device (nh_network_identity_assign: service, identifier, instance, details) or takes from it, also what it reported itself; a device that reports it again brings it back.
 * NH_EINVAL with *errors: a field, or the device has one of that service and instance; NH_ECONFLICT with *errors: somebody on this server has the identifier. Audit entries.
 * source: reference/server-behaviour "1.9", "9.1"
 */
struct nh_device;
nh_rc nh_network_identity_assign(struct nh_ctx *ctx, const struct nh_actor *actor, const struct nh_device *device, const json_t *fields, struct nh_network_identity *out,
				 json_t **errors, struct nh_err *err);
nh_rc nh_network_identity_remove(struct nh_ctx *ctx, const struct nh_actor *actor, const struct nh_device *device, nh_slice service, nh_slice identifier, struct nh_err *err);

/*
 * Iroh endpoints: the organization's identities of that network, devices' and others, and what operators register for a member's machine or for whoever comes.
 * NH_ENOTFOUND, NH_EPERM as hub/accounts.h; roles: view to look, manage to change. source: reference/user-api-and-cli "11.8", "16.7"
 */
struct nh_iroh_endpoint {
	struct nh_network_identity identity;
	nh_slice device_identifier;     /* pointer NULL: no device's */
	nh_slice user_name, user_email; /* pointer NULL: no member's */
};
#define NH_IROH_ENDPOINT_LIST_MAX 500
/* nh_iroh_endpoint_list - newest first, at most NH_IROH_ENDPOINT_LIST_MAX. owner: empty, "device", "user", "none", else NH_EINVAL with *errors. search: start of an identifier, or
 * part of the name of its device or member; empty = all. */
nh_rc nh_iroh_endpoint_list(struct nh_ctx *ctx, const struct nh_actor *actor, int64_t org_id, nh_slice owner, nh_slice search, struct nh_iroh_endpoint **out, size_t *count,
			    json_t **errors, struct nh_err *err);
nh_rc nh_iroh_endpoint_open(struct nh_ctx *ctx, const struct nh_actor *actor, int64_t org_id, nh_slice identifier, struct nh_iroh_endpoint *out, struct nh_err *err);
/* nh_iroh_endpoint_register - fields: identifier, instance, details, user_email (a member). NH_EINVAL with *errors; NH_ECONFLICT with *errors: registered on this server already. Audit entry. */
nh_rc nh_iroh_endpoint_register(struct nh_ctx *ctx, const struct nh_actor *actor, int64_t org_id, const json_t *fields, struct nh_iroh_endpoint *out, json_t **errors, struct nh_err *err);
nh_rc nh_iroh_endpoint_delete(struct nh_ctx *ctx, const struct nh_actor *actor, int64_t org_id, nh_slice identifier, struct nh_err *err); /* audit entry */

struct nh_past_connection {
	nh_slice id;
	int64_t established_at_us, disconnected_at_us; /* disconnected 0: still open */
	nh_slice reason;
	nh_slice network_interface;
};
#define NH_CONNECTION_LIST_MAX 500
/* nh_connection_history - newest first, before before_us, at most limit (1 to 500); the open one included. */
nh_rc nh_connection_history(struct nh_ctx *ctx, int64_t device_id, int64_t before_us, size_t limit, struct nh_past_connection **out, size_t *count, struct nh_err *err);
struct nh_flapping {
	int64_t device_id;
	nh_slice identifier;
	int64_t connections; /* established within the last hour */
};
/* nh_flapping_list - devices of a product with more than ten connections within the last hour, most first, at most limit (1 to 500). */
#define NH_FLAPPING_LIST_MAX 500
nh_rc nh_flapping_list(struct nh_ctx *ctx, int64_t product_id, size_t limit, struct nh_flapping **out, size_t *count, struct nh_err *err);

/* ---- retention ----------------------------------------------------------------------------------------------------------- */

struct nh_retention {
	unsigned health_days;     /* 7: reports (the newest of each device stays) and metrics */
	unsigned log_days;        /* 3 */
	unsigned connection_days; /* 30 */
};
/* nh_telemetry_trim - deletes what is older, at most 500 rows of each kind (100 reports, each with its metrics); *trimmed of all: call again while it is not 0. NH_EIO. */
nh_rc nh_telemetry_trim(struct nh_ctx *ctx, const struct nh_retention *keep, size_t *trimmed, struct nh_err *err);
