/*
 * One device's connection as rules see it: connect, join, what the device reports, disconnect. No sockets: the caller parses frames, calls one
 * function per event in a write transaction, answers, and carries the effects out.
 *
 * A session is a plain value that the connection keeps. Every function checks with the database that its connection is still the newest one of
 * the device; an event of a replaced connection changes nothing and returns NH_ECLOSED.
 *
 * thread: the writer's, except where "read" is said. source: reference/device-protocol "7" to "10"; reference/server-behaviour "2.3", "2.5", "3.9"
 */
#pragma once

#include "base/uuid.h"
#include "hub/hub.h"

struct nh_session {
	int64_t device_id, org_id, product_id;
	char connection_id[NH_UUID_TEXT_LEN + 1]; /* UUIDv7 of this connection */
	bool joined;
	bool api_2_0;                             /* device_api_version >= 2.0.0: understands archive */
	bool api_2_1;                             /* >= 2.1.0: runs scripts */
	bool api_2_2;                             /* >= 2.2.0: understands extensions:get */
	bool delay_in_ms;                         /* joined with update_tool: delay_for is always milliseconds */
	bool wants_fwup_keys, wants_archive_keys; /* "on_connect" at join */
};

/*
 * A connection as it is accepted: the device is known from memory, and no row says so yet. It is written with the join; where no join comes, by itself a moment
 * later, many in one transaction.
 */
struct nh_opening {
	int64_t device_id;
	int64_t at_us;                            /* when it was accepted */
	char connection_id[NH_UUID_TEXT_LEN + 1];
	bool pinned;                              /* fingerprint is set; else a shared secret let it in */
	uint8_t fingerprint[32];                  /* SHA-256 of the pinned certificate */
};

/* nh_opening_make - a new connection of the device, now. fingerprint: 32 bytes, or empty for shared secrets. Pure; any thread, loops too. */
void nh_opening_make(struct nh_opening *out, int64_t device_id, nh_slice fingerprint, const struct nh_clock *clock, const struct nh_rng *rng);

/* nh_session_of - the session of an opening as long as nothing is written: its join fills in the rest. Pure. */
struct nh_session nh_session_of(const struct nh_opening *opening);

/*
 * nh_session_connect - an authenticated device opened a socket: the device's connection row gets a new id and status connecting; a registered
 * device becomes provisioned; last_used of a pinned certificate is written. Every earlier connection of the device is thereby replaced; closing it is the
 * caller's (newest wins).
 * NH_ENOTFOUND: no such live device, or the certificate is no longer pinned to it; nothing was written. NH_EIO.
 */
nh_rc nh_session_connect(struct nh_ctx *ctx, const struct nh_opening *opening, struct nh_session *out, struct nh_err *err);

/*
 * nh_session_connect_late - the same for a connection that did not join, some time afterwards: as connecting, or, where ended_at_us is not 0, as one that came and
 * went. *written false: the row belongs to a newer connection, or to one that another node holds; nothing else was changed then either. The caller has
 * made sure that this node has no newer one. NH_ENOTFOUND, NH_EIO: as above.
 */
nh_rc nh_session_connect_late(struct nh_ctx *ctx, const struct nh_opening *opening, int64_t ended_at_us, bool *written, struct nh_err *err);

struct nh_join_result {
	bool metadata_known;   /* false: the device reported none that could be used */
	bool firmware_changed; /* it came back with another firmware: an update succeeded */
	int64_t group_id;      /* its deployment group after the join, 0 if none */
	int64_t update_us;     /* how long that update took since it was sent; 0: none was sent, or clocks went back */
};

/*
 * nh_session_join - the join of the device channel. opening: where the connection's row is not written yet, and nh_session_connect is done in one go; else NULL.
 * payload: the join parameters (object; everything in it is the device's word and may have any type). Stores firmware metadata, decides on inflight update, success, group membership; marks the row connected.
 * Effects, to be carried out after the reply: DEVICE_PUSH fwup_public_keys / archive_public_keys where asked for and any exist,
 * DEVICE_PUSH archive (>= 2.0.0, where its group's release has one), DEVICE_PUSH extensions:get (device_api_version >= 2.2.0), DEVICE_PUSH update where one that a person
 * pushed has not reached the device, then the connecting code of group and device: DEVICE_PUSH scripts/run (>= 2.1.0) or DEVICE_TYPE; GROUP_WAKE.
 * NH_EFORMAT: payload is no object. NH_ECLOSED, NH_ENOTFOUND (deleted meanwhile, or its certificate was removed), NH_EIO: answer {"error":"could not connect"}.
 */
nh_rc nh_session_join(struct nh_ctx *ctx, struct nh_session *session, const struct nh_opening *opening, const json_t *payload, struct nh_join_result *out,
		      struct nh_err *err);

/*
 * Events of the joined channel. payload: as received, any JSON. Values that mean nothing are ignored with NH_OK (a real server's channel would
 * crash on them; ours must not). NH_ECLOSED: not joined or replaced. NH_EIO.
 */
nh_rc nh_session_progress(struct nh_ctx *ctx, const struct nh_session *session, const json_t *payload, struct nh_err *err);
nh_rc nh_session_status_update(struct nh_ctx *ctx, const struct nh_session *session, const json_t *payload, struct nh_err *err);
nh_rc nh_session_firmware_validated(struct nh_ctx *ctx, const struct nh_session *session, const json_t *payload, struct nh_err *err);
nh_rc nh_session_connection_types(struct nh_ctx *ctx, const struct nh_session *session, const json_t *payload, struct nh_err *err);
nh_rc nh_session_network_interface(struct nh_ctx *ctx, const struct nh_session *session, const json_t *payload, struct nh_err *err);
/*
 * nh_session_ask_update - "is there an update for me?" of devices of API 2.0 and 2.1: as a polling device's question (hub/orchestrator.h). *update: the payload of an
 * update, in the arena, or empty. NH_ECLOSED, NH_EIO. source: reference/device-protocol "9.6"
 */
nh_rc nh_session_ask_update(struct nh_ctx *ctx, const struct nh_session *session, nh_slice *update, struct nh_err *err);

/*
 * One row per event name of the device channel; NULL handler: known and ignored (rebooting). sound: pure: does the payload mean anything to the handler? The connection asks
 * on its loop, so that nonsense costs no transaction; NULL: always. nh_session_event_find: NULL where unknown.
 */
struct nh_session_event {
	const char *name;
	bool (*sound)(const json_t *payload);
	nh_rc (*handle)(struct nh_ctx *ctx, const struct nh_session *session, const json_t *payload, struct nh_err *err);
};
const struct nh_session_event *nh_session_event_find(nh_slice name);

/* nh_session_progress_due - pure: would this event change anything worth a write now? The connection keeps *last (zeroed at join) and calls it on
 * its loop, so that a chatty device costs no transactions (progress: when the stage changes, at 100, or after 15 s; everything else: always). */
struct nh_progress_gate {
	uint64_t at_ms;
	uint8_t stage; /* 0 none */
};
bool nh_session_progress_due(struct nh_progress_gate *last, nh_slice event, const json_t *payload, uint64_t mono_ms);

/* nh_session_disconnect - the connection ended; a row that a newer connection took over is left alone. reason: empty on ordinary ends. NH_EIO. */
nh_rc nh_session_disconnect(struct nh_ctx *ctx, int64_t device_id, const char *connection_id, nh_slice reason, struct nh_err *err);

/* nh_session_seen - presence of many connections, at most 500 a call. NH_EIO. */
struct nh_seen {
	int64_t device_id;
	char connection_id[NH_UUID_TEXT_LEN + 1];
	int64_t at_us;
};
nh_rc nh_session_seen(struct nh_ctx *ctx, const struct nh_seen *items, size_t count, struct nh_err *err);

/*
 * nh_session_clean_stale - connections of other nodes (of all, where this one has no name) that were not seen since before_us become disconnected
 * ("Stale connection"), at most 500; *cleaned. NH_EIO.
 */
nh_rc nh_session_clean_stale(struct nh_ctx *ctx, int64_t before_us, size_t *cleaned, struct nh_err *err);
/* nh_session_clean_node - every connection that a run of this node left, which is over, becomes disconnected, at most 500; *cleaned. NH_EIO. */
nh_rc nh_session_clean_node(struct nh_ctx *ctx, nh_slice node, size_t *cleaned, struct nh_err *err);

/* What people see of a device's connection (read). */
struct nh_connection {
	nh_slice id;
	nh_slice status; /* "connecting", "connected", "disconnected" */
	int64_t established_at_us, last_seen_at_us, disconnected_at_us;
	nh_slice disconnected_reason;
	nh_slice network_interface; /* pointer NULL if never reported */
	nh_slice metadata;          /* JSON object text */
};
/* nh_connection_get - newest connection of a device; NH_ENOTFOUND where it never connected. */
nh_rc nh_connection_get(struct nh_ctx *ctx, int64_t device_id, struct nh_connection *out, struct nh_err *err);
