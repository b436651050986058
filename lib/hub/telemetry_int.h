/*
 * What the files on extensions share: the handlers of the events, and who may still speak. Private to hub.
 */
#pragma once

#include "hub/extensions.h"
#include "store/telemetry.h"

/*
 * nh_session_live (session_events.c) - proof that the session is joined and still the device's newest; *metadata (NULL legal): of its connection, JSON text. NH_ECLOSED.
 * nh_session_note - sets one member of that metadata, which nh_session_live has read; what is no object is left alone. Takes value.
 */
nh_rc nh_session_live(struct nh_ctx *ctx, const struct nh_session *session, nh_slice *metadata, struct nh_err *err);
nh_rc nh_session_note(struct nh_ctx *ctx, const struct nh_session *session, nh_slice metadata, const char *key, json_t *take_value, struct nh_err *err);

/* One event each, after nh_session_live; what means nothing adds to *ignored. */
struct nh_told {
	const struct nh_session *session;
	nh_slice metadata; /* of the connection */
	const json_t *payload;
	unsigned ignored;
};
nh_rc nh_health_report(struct nh_ctx *ctx, struct nh_told *told, struct nh_err *err);
nh_rc nh_geo_update(struct nh_ctx *ctx, struct nh_told *told, struct nh_err *err);
nh_rc nh_log_send(struct nh_ctx *ctx, struct nh_told *told, struct nh_err *err);
nh_rc nh_network_identity_report(struct nh_ctx *ctx, struct nh_told *told, struct nh_err *err);

/* Something of the device's telemetry changed, for whoever looks at it: "health", "logs", "network_identities". */
static inline void nh_telemetry_topic(struct nh_ctx *ctx, int64_t device_id, nh_slice what)
{
	nh_effect_add(ctx, NH_EFFECT_TOPIC, device_id, what, NH_SLICE_EMPTY);
}

/* network_identities.c, for those whom operators register: names within their limits, details within theirs, a row of ten columns. */
bool nh_network_name_ok(nh_slice name);
#define NH_NETWORK_DETAILS_MAX 4096 /* as JSON */
#define NH_NETWORK_IDENTITY_COLUMNS 10
void nh_network_identity_read(const struct nh_rows *rows, struct nh_arena *arena, void *identity);

/* nh_history_add (connection_history.c) - a connection has ended; written once, however often it is told. established_at is that of its id where the device's row is another's. */
nh_rc nh_history_add(struct nh_ctx *ctx, int64_t device_id, const char *connection_id, int64_t ended_at_us, nh_slice reason, struct nh_err *err);

/*
 * nh_extensions_edit - fields.extensions, a map of names to true or false, over the settings there are (JSON object text); unknown names are dropped. Absent: *out untouched.
 * NH_EINVAL "extensions": "is invalid".
 */
nh_rc nh_extensions_edit(struct nh_arena *arena, const json_t *fields, nh_slice current, nh_slice *out, json_t **errors, struct nh_err *err);
