/*
 * A device's connection from socket to join to end, as rows. What it reports about updates afterwards: session_events.c.
 *
 * Invariant: devices.connected_at is set exactly while the device's newest connection has joined and not ended.
 * source: reference/device-protocol "7.3", "8.4"; reference/server-behaviour "2.3" to "2.5"
 */
#include "events_int.h"
#include "hub/archives.h"
#include "hub/audit.h"
#include "hub/nodes.h"
#include "hub/overview.h"
#include "hub/rollouts.h"
#include "rows_int.h"
#include "session_int.h"
#include "store/rollout.h"
#include "store/support.h"
#include "telemetry_int.h"

#define STALE_MAX 500
#define FIRMWARES_KEPT 20 /* of the history of what a device ran */

static const char *const validation_names[] = {
	[NH_VALIDATION_UNKNOWN] = "unknown",
	[NH_VALIDATION_VALIDATED] = "validated",
	[NH_VALIDATION_NOT_VALIDATED] = "not_validated",
};

/* reason: empty where nothing is known of it. */
static nh_rc go_offline(struct nh_ctx *ctx, int64_t device_id, nh_slice reason, struct nh_err *err)
{
	struct nh_rows *rows = NULL;
	nh_rc rc = nh_sql_one(ctx->tx, &nh_q_device_offline, NH_PARAMS(nh_p_int(device_id)), &rows, err);
	if (rc == NH_ENOTFOUND)
		return NH_OK;
	NH_TRY(rc);
	const struct nh_event_subject of = {.org_id = nh_col_int(rows, 0), .product_id = nh_col_int(rows, 1), .device_id = device_id, .group_id = nh_col_int(rows, 2)};
	bool wanted = nh_col_int(rows, 3) & nh_event_bit(NH_EVENT_DEVICE_OFFLINE);
	nh_sql_end(rows);
	if (!wanted)
		return NH_OK;
	NH_AUTO_JSON json_t *data = json_pack("{s:o}", "reason", reason.len ? nh_json_new_text(reason) : json_null());
	return nh_event_put(ctx, NH_EVENT_DEVICE_OFFLINE, &of, data, err);
}

/* was: it was online already, by a connection that this one takes the place of. */
static nh_rc go_online(struct nh_ctx *ctx, const struct nh_device_facts *d, bool was, struct nh_err *err)
{
	if (was || !nh_event_wanted(d, NH_EVENT_DEVICE_ONLINE))
		return NH_OK;
	json_t *data = json_pack("{s:{s:o, s:o}}", "firmware", "uuid", d->firmware_uuid.len ? nh_json_new_text(d->firmware_uuid) : json_null(), "version",
	                         d->firmware_version.len ? nh_json_new_text(d->firmware_version) : json_null());
	return nh_event_of_device(ctx, NH_EVENT_DEVICE_ONLINE, d, d->group_id, data, err);
}

/* ---- connect --------------------------------------------------------------------------------------------------------------- */

void nh_opening_make(struct nh_opening *out, int64_t device_id, nh_slice fingerprint, const struct nh_clock *clock, const struct nh_rng *rng)
{
	struct nh_uuid id;
	*out = (struct nh_opening){.device_id = device_id, .at_us = nh_clock_now(clock), .pinned = fingerprint.len == sizeof out->fingerprint};
	nh_uuid_v7(&id, out->at_us, rng);
	nh_uuid_format(&id, out->connection_id);
	for (size_t i = 0; out->pinned && i < sizeof out->fingerprint; i++)
		out->fingerprint[i] = fingerprint.ptr[i];
}

struct nh_session nh_session_of(const struct nh_opening *o)
{
	struct nh_session s = {.device_id = o->device_id};
	for (size_t i = 0; i < sizeof s.connection_id; i++)
		s.connection_id[i] = o->connection_id[i];
	return s;
}

/* May the device still come in? Whoever let it in looked into memory; here the database decides. Writes what is written of the device whenever it comes. */
static nh_rc let_in(struct nh_ctx *ctx, const struct nh_opening *o, struct nh_device_facts *d, bool *was_online, struct nh_err *err)
{
	int64_t changed = 0;
	NH_TRY(nh_device_facts_load(ctx, o->device_id, d, err));
	if (d->deleted)
		return NH_FAIL(err, NH_ENOTFOUND, "device %.*s is deleted", NH_ARG(d->identifier));
	if (o->pinned) {
		NH_TRY(nh_sql_exec(ctx->tx, &nh_q_auth_cert_used_by_sha256,
		                   NH_PARAMS(nh_p_int(o->at_us), nh_p_blob(nh_slice_of(o->fingerprint, sizeof o->fingerprint)), nh_p_int(d->id)), &changed, err));
		if (!changed)
			return NH_FAIL(err, NH_ENOTFOUND, "the certificate is no longer pinned to device %.*s", NH_ARG(d->identifier));
	}
	if (d->first_seen_at_us == 0)
		NH_TRY(nh_sql_exec(ctx->tx, &nh_q_device_provision, NH_PARAMS(nh_p_int(o->at_us), nh_p_int(d->id)), NULL, err));
	/* What an earlier connection was. */
	*was_online = d->connected;
	d->connected = false;
	d->connected_at_us = 0;
	d->network_interface = NH_SLICE_EMPTY;
	return NH_OK;
}

struct row {
	const struct nh_stmt *stmt;
	const char *status;
	int64_t seen_at_us, ended_at_us; /* ended 0: it goes on */
	nh_slice metadata;
};

static nh_rc put_row(struct nh_ctx *ctx, const struct nh_opening *o, const struct row *row, int64_t *changed, struct nh_err *err)
{
	if (row->ended_at_us == 0 && row->stmt == &nh_q_connection_open)
		NH_TRY(nh_node_replaced(ctx, o->device_id, err));
	return nh_sql_exec(ctx->tx, row->stmt,
	                   NH_PARAMS(nh_p_str(o->connection_id), nh_p_int(o->device_id), nh_p_str(row->status), nh_p_int(o->at_us), nh_p_int(row->seen_at_us),
	                             row->ended_at_us ? nh_p_int(row->ended_at_us) : nh_p_null(), nh_p_text(nh_ctx_node(ctx)), nh_p_text(row->metadata)),
	                   changed, err);
}

nh_rc nh_session_connect(struct nh_ctx *ctx, const struct nh_opening *o, struct nh_session *out, struct nh_err *err)
{
	const struct row row = {.stmt = &nh_q_connection_open, .status = "connecting", .seen_at_us = o->at_us, .metadata = NH_LIT("{}")};
	struct nh_device_facts d;
	bool was_online;
	NH_TRY(let_in(ctx, o, &d, &was_online, err));
	NH_TRY(put_row(ctx, o, &row, NULL, err));
	NH_TRY(go_offline(ctx, d.id, NH_SLICE_EMPTY, err));
	nh_device_topic(ctx, d.id);
	*out = nh_session_of(o);
	out->org_id = d.org_id;
	out->product_id = d.product_id;
	return NH_OK;
}

nh_rc nh_session_connect_late(struct nh_ctx *ctx, const struct nh_opening *o, int64_t ended_at_us, bool *written, struct nh_err *err)
{
	const struct row row = {.stmt = &nh_q_connection_open_late, .status = ended_at_us ? "disconnected" : "connecting", .seen_at_us = o->at_us,
				.ended_at_us = ended_at_us, .metadata = NH_LIT("{}")};
	struct nh_device_facts d;
	int64_t changed = 0;
	bool was_online;
	*written = false;
	NH_TRY(let_in(ctx, o, &d, &was_online, err));
	NH_TRY(put_row(ctx, o, &row, &changed, err));
	*written = changed > 0;
	if (ended_at_us)
		NH_TRY(nh_history_add(ctx, d.id, o->connection_id, ended_at_us, NH_SLICE_EMPTY, err));
	if (!*written)
		return NH_OK;
	nh_device_topic(ctx, d.id);
	return go_offline(ctx, d.id, NH_SLICE_EMPTY, err);
}

/* ---- join ------------------------------------------------------------------------------------------------------------------ */

/* The row of this very connection, or NH_ECLOSED where a newer one took its place. */
static nh_rc still_newest(struct nh_ctx *ctx, const struct nh_session *s, int64_t *established_at, struct nh_err *err)
{
	struct nh_rows *rows = NULL;
	nh_rc rc = nh_sql_one(ctx->tx, &nh_q_connection_is, NH_PARAMS(nh_p_int(s->device_id), nh_p_str(s->connection_id)), &rows, err);
	if (rc == NH_ENOTFOUND)
		return NH_FAIL(err, NH_ECLOSED, "a newer connection of the device has replaced this one");
	NH_TRY(rc);
	*established_at = nh_col_int(rows, 1);
	nh_sql_end(rows);
	return NH_OK;
}

static void read_known(const struct nh_rows *rows, struct nh_arena *arena, void *item)
{
	struct nh_reported *r = item;
	r->uuid = nh_col_text(rows, 0, arena);
	r->product = nh_col_text(rows, 1, arena);
	r->version = nh_col_text(rows, 2, arena);
	r->architecture = nh_col_text(rows, 3, arena);
	r->platform = nh_col_text(rows, 4, arena);
	r->author = nh_col_text(rows, 5, arena);
	r->description = nh_col_text(rows, 6, arena);
	r->vcs_identifier = nh_col_text(rows, 7, arena);
	r->misc = nh_col_text(rows, 8, arena);
}

/* Something required is missing: the product's firmware of that uuid fills in. *known false where that fails too. */
static nh_rc complete(struct nh_ctx *ctx, const struct nh_device_facts *d, struct nh_reported *r, bool *known, struct nh_err *err)
{
	*known = nh_reported_complete(r);
	if (*known || r->uuid.len == 0)
		return NH_OK;
	nh_rc rc = nh_one_row(ctx->tx, ctx->arena, &nh_q_firmware_metadata_by_uuid, NH_PARAMS(nh_p_int(d->product_id), nh_p_text(r->uuid)), read_known, r,
	                      "firmware", err);
	*known = rc == NH_OK;
	return rc == NH_ENOTFOUND ? NH_OK : rc;
}

static nh_rc store_validation(struct nh_ctx *ctx, const struct nh_device_facts *d, const struct nh_reported *r, struct nh_err *err)
{
	const char *validation = validation_names[r->validation];
	NH_TRY(nh_sql_exec(ctx->tx, &nh_q_device_set_validation,
	                   NH_PARAMS(nh_p_str(validation), nh_p_bool(r->reverted), nh_p_int(nh_ctx_now(ctx)), nh_p_int(d->id)), NULL, err));
	return nh_sql_exec(ctx->tx, &nh_q_device_firmware_validation, NH_PARAMS(nh_p_str(validation), nh_p_bool(r->reverted), nh_p_int(d->id)), NULL, err);
}

static nh_rc store_firmware(struct nh_ctx *ctx, const struct nh_device_facts *d, const struct nh_reported *r, struct nh_err *err)
{
	const char *validation = validation_names[r->validation];
	int64_t now = nh_ctx_now(ctx);
	nh_slice metadata = nh_reported_json(r, ctx->arena);
	struct nh_uuid id;
	char text[NH_UUID_TEXT_LEN + 1];
	nh_uuid_v7(&id, now, ctx->rng);
	nh_uuid_format(&id, text);
	NH_TRY(nh_sql_exec(ctx->tx, &nh_q_device_set_firmware,
	                   NH_PARAMS(nh_p_text(r->uuid), nh_p_text(r->version), nh_p_text(r->platform), nh_p_text(r->architecture), nh_p_text(metadata),
	                             nh_p_str(validation), nh_p_bool(r->reverted), nh_p_int(now), nh_p_int(d->id)),
	                   NULL, err));
	NH_TRY(nh_sql_exec(ctx->tx, &nh_q_device_firmware_add,
	                   NH_PARAMS(nh_p_str(text), nh_p_int(d->id), nh_p_text(r->uuid), nh_p_text(metadata), nh_p_str(validation),
	                             nh_p_bool(r->reverted), nh_p_int(now)),
	                   NULL, err));
	/* A device that says something else at each join must not fill the table. */
	return nh_sql_exec(ctx->tx, &nh_q_device_firmware_trim, NH_PARAMS(nh_p_int(d->id), nh_p_int(FIRMWARES_KEPT - 1)), NULL, err);
}

/*
 * Another firmware than before: normally the update succeeded. A device that booted the new firmware, told us, and then fell back says so: then the
 * update it had taken has failed after all (deviation: upstream counts this as another success).
 */
static nh_rc firmware_changed(struct nh_ctx *ctx, const struct nh_device_facts *d, const struct nh_reported *r, int64_t *took_us, struct nh_err *err)
{
	struct nh_actor actor = nh_device_actor(d);
	NH_TRY(store_firmware(ctx, d, r, err));
	if (!r->reverted || d->firmware_uuid.len == 0)
		return nh_update_succeeded(ctx, d, r->uuid, r->version, took_us, err);

	static const char text[] = "the new firmware did not validate and the device reverted to its previous one";
	struct nh_group group;
	bool wanted = false;
	if (d->group_id) {
		NH_TRY(nh_group_get_by_id(ctx, d->group_id, &group, err));
		wanted = nh_slice_eq(group.release.firmware_uuid, r->uuid);
	}
	if (wanted)
		return nh_update_succeeded(ctx, d, r->uuid, r->version, took_us, err);
	if (d->inflight)
		return nh_update_abandoned(ctx, d, true, err);
	NH_TRY(nh_rollout_failed(ctx, d, NH_SIGNAL_REVERT, err));
	/*
	 * The new version may have taken it out of its group (a condition such as "< 1.1.0"). Without the penalty it would match again, be sent the same
	 * firmware at once, and so for ever.
	 */
	int64_t minutes = d->group_id ? group.penalty_minutes : NH_PENALTY_DEFAULT_MINUTES;
	NH_TRY(nh_device_write(ctx, &nh_q_device_set_blocked, nh_p_int(nh_ctx_now(ctx) + minutes * 60 * NH_US_PER_S), d->id, err));
	NH_TRY(nh_sql_exec(ctx->tx, &nh_q_device_set_failure, NH_PARAMS(nh_p_str(text), nh_p_int(nh_ctx_now(ctx)), nh_p_int(d->id)), NULL, err));
	NH_TRY(nh_event_of_update(ctx, NH_EVENT_UPDATE_REVERTED, d, d->group_id, d->firmware_uuid, d->firmware_version, nh_slice_str(text), err));
	return nh_audit_add(ctx, &actor, d->org_id, NH_AUDIT_DEVICE, d->id, err, "Device %.*s reverted from firmware %.*s to %.*s (%.*s)",
	                    NH_ARG(d->identifier), NH_ARG(d->firmware_version), NH_ARG(r->version), NH_ARG(r->uuid));
}

/* It can be matched with no deployment group: somebody has to look. source: reference/server-behaviour "9.7" */
static nh_rc tell_silent(struct nh_ctx *ctx, const struct nh_device_facts *d, struct nh_err *err)
{
	struct nh_actor actor = nh_device_actor(d);
	NH_AUTO_JSON json_t *metadata = json_pack("{s:o}", "identifier", nh_json_new_text(d->identifier));
	NH_TRY(nh_notification_add(ctx, d->product_id, NH_NOTIFY_WARNING, nh_arena_printf(ctx->arena, "missing_firmware_metadata-%lld", (long long)d->id),
	                           NH_LIT("Device without firmware metadata"),
	                           nh_slice_str(nh_arena_printf(ctx->arena, "Device %.*s connected without saying which firmware it runs, and has never said it. It gets no updates until it does.",
	                                                        NH_ARG(d->identifier))),
	                           metadata, err));
	return nh_audit_add(ctx, &actor, d->org_id, NH_AUDIT_DEVICE, d->id, err, "Device %.*s did not report which firmware it runs", NH_ARG(d->identifier));
}

nh_rc nh_reported_take(struct nh_ctx *ctx, const struct nh_device_facts *d, struct nh_reported *r, struct nh_join_result *out, bool *again, struct nh_err *err)
{
	NH_TRY(complete(ctx, d, r, &out->metadata_known, err));
	out->firmware_changed = out->metadata_known && !nh_slice_eq(r->uuid, d->firmware_uuid);
	if (out->firmware_changed)
		return firmware_changed(ctx, d, r, &out->update_us, err);
	NH_TRY(store_validation(ctx, d, r, err));
	if (!r->downloading && !r->reverted)
		NH_TRY(nh_update_unheard(ctx, d, again, err));
	if (!r->downloading && !*again)
		NH_TRY(nh_update_abandoned(ctx, d, r->reverted, err));
	if (out->metadata_known || d->firmware_uuid.len > 0)
		return NH_OK;
	return tell_silent(ctx, d, err);
}

/* ---- what is pushed after the reply --------------------------------------------------------------------------------------- */

static void read_key(const struct nh_rows *rows, struct nh_arena *arena, void *item)
{
	*(nh_slice *)item = nh_col_text(rows, 0, arena);
}

/* Firmware keys first; nothing where there are none. source: reference/device-protocol "8.4" */
static nh_rc push_keys(struct nh_ctx *ctx, const struct nh_session *s, struct nh_err *err)
{
	if (!s->wants_fwup_keys && !s->wants_archive_keys)
		return NH_OK;
	struct nh_list list = NH_LIST_OF(ctx->arena, nh_slice);
	NH_TRY(nh_list_rows(ctx->tx, &list, &nh_q_org_public_keys, NH_PARAMS(nh_p_int(s->org_id)), read_key, err));
	if (list.count == 0)
		return NH_OK;
	NH_AUTO_JSON json_t *payload = json_object();
	json_t *keys = json_array();
	json_object_set_new(payload, "keys", keys);
	for (size_t i = 0; i < list.count; i++)
		json_array_append_new(keys, nh_json_new_text(((nh_slice *)list.items)[i]));
	nh_slice text = nh_json_arena(ctx->arena, payload);
	if (s->wants_fwup_keys)
		nh_effect_add(ctx, NH_EFFECT_DEVICE_PUSH, s->device_id, NH_LIT("fwup_public_keys"), text);
	if (s->wants_archive_keys)
		nh_effect_add(ctx, NH_EFFECT_DEVICE_PUSH, s->device_id, NH_LIT("archive_public_keys"), text);
	return NH_OK;
}

/* What group and device have for each join; most have nothing of it. */
struct brings {
	nh_slice group_code, device_code;
	int64_t archive_id; /* of the group's release; 0: none */
};

static nh_rc load_brings(struct nh_ctx *ctx, int64_t device_id, struct brings *out, struct nh_err *err)
{
	struct nh_rows *rows = NULL;
	NH_TRY(nh_sql_one(ctx->tx, &nh_q_join_brings, NH_PARAMS(nh_p_int(device_id)), &rows, err));
	*out = (struct brings){nh_col_text(rows, 0, ctx->arena), nh_col_text(rows, 1, ctx->arena), nh_col_int(rows, 2)};
	nh_sql_end(rows);
	return NH_OK;
}

/*
 * What the group and the device have to run at each connection, in this order. Devices that run no scripts have it typed into their console.
 * source: reference/device-protocol "8.5"; reference/server-behaviour "6"
 */
static void push_connecting_code(struct nh_ctx *ctx, const struct nh_session *s, const struct brings *brings)
{
	nh_slice group = brings->group_code, device = brings->device_code, code = group.len ? group : device;
	if (group.len && device.len)
		code = nh_slice_str(nh_arena_printf(ctx->arena, "%.*s\n%.*s", NH_ARG(group), NH_ARG(device)));
	if (code.len == 0)
		return;
	if (!s->api_2_1) {
		nh_effect_add(ctx, NH_EFFECT_DEVICE_TYPE, s->device_id, NH_SLICE_EMPTY, code);
		return;
	}
	NH_AUTO_JSON json_t *payload = json_pack("{s:o, s:s}", "text", nh_json_new_text(code), "ref", "connecting_code");
	nh_effect_add(ctx, NH_EFFECT_DEVICE_PUSH, s->device_id, NH_LIT("scripts/run"), nh_json_arena(ctx->arena, payload));
}

/* The joined connection's row: an opening's is made, others have theirs. */
static nh_rc put_joined(struct nh_ctx *ctx, const struct nh_session *s, const struct nh_opening *opening, const struct nh_reported *r, struct nh_err *err)
{
	NH_AUTO_JSON json_t *metadata = json_object();
	json_object_set_new(metadata, "device_api_version", nh_json_new_text(r->api_version));
	const struct row row = {.stmt = &nh_q_connection_open, .status = "connected", .seen_at_us = nh_ctx_now(ctx), .metadata = nh_json_arena(ctx->arena, metadata)};
	if (opening)
		return put_row(ctx, opening, &row, NULL, err);
	return nh_sql_exec(ctx->tx, &nh_q_connection_joined,
	                   NH_PARAMS(nh_p_text(row.metadata), nh_p_int(row.seen_at_us), nh_p_int(s->device_id), nh_p_str(s->connection_id)), NULL, err);
}

nh_rc nh_session_join(struct nh_ctx *ctx, struct nh_session *s, const struct nh_opening *opening, const json_t *payload, struct nh_join_result *out,
                      struct nh_err *err)
{
	struct nh_device_facts d;
	struct nh_reported reported;
	struct brings brings;
	int64_t established_at = opening ? opening->at_us : 0;
	bool was_online = false;
	*out = (struct nh_join_result){0};
	if (!json_is_object(payload))
		return NH_FAIL(err, NH_EFORMAT, "the join payload is no object");
	if (opening) {
		NH_TRY(let_in(ctx, opening, &d, &was_online, err));
	} else {
		NH_TRY(still_newest(ctx, s, &established_at, err));
		NH_TRY(nh_device_facts_load(ctx, s->device_id, &d, err));
		if (d.deleted)
			return NH_FAIL(err, NH_ENOTFOUND, "device %.*s is deleted", NH_ARG(d.identifier));
		was_online = d.connected;
	}

	nh_reported_read(payload, ctx->arena, &reported);
	bool again = false;
	NH_TRY(nh_reported_take(ctx, &d, &reported, out, &again, err));

	NH_TRY(put_joined(ctx, s, opening, &reported, err));
	NH_TRY(nh_sql_exec(ctx->tx, &nh_q_device_online, NH_PARAMS(nh_p_int(established_at), nh_p_int(d.id)), NULL, err));
	NH_TRY(nh_device_facts_load(ctx, s->device_id, &d, err));
	NH_TRY(nh_group_verify_device(ctx, &d, err));
	NH_TRY(go_online(ctx, &d, was_online, err));

	s->joined = true;
	s->org_id = d.org_id;
	s->product_id = d.product_id;
	s->api_2_0 = reported.api_2_0;
	s->api_2_1 = reported.api_2_1;
	s->api_2_2 = reported.api_2_2;
	s->delay_in_ms = reported.names_tool;
	s->wants_fwup_keys = reported.wants_fwup_keys;
	s->wants_archive_keys = reported.wants_archive_keys;
	out->group_id = d.group_id;
	NH_TRY(push_keys(ctx, s, err));
	NH_TRY(load_brings(ctx, d.id, &brings, err));
	if (s->api_2_0 && brings.archive_id)
		NH_TRY(nh_archive_tell_joined(ctx, &d, brings.archive_id, err));
	if (s->api_2_2)
		nh_effect_add(ctx, NH_EFFECT_DEVICE_PUSH, s->device_id, NH_LIT("extensions:get"), NH_LIT("{}"));
	if (again)
		NH_TRY(nh_update_send_again(ctx, d.id, err));
	push_connecting_code(ctx, s, &brings);
	nh_wake_group(ctx, d.group_id);
	nh_device_topic(ctx, d.id);
	return NH_OK;
}

/* ---- ends and presence ------------------------------------------------------------------------------------------------------ */

nh_rc nh_session_disconnect(struct nh_ctx *ctx, int64_t device_id, const char *connection_id, nh_slice reason, struct nh_err *err)
{
	int64_t changed = 0;
	NH_TRY(nh_sql_exec(ctx->tx, &nh_q_connection_close,
	                   NH_PARAMS(nh_p_int(nh_ctx_now(ctx)), reason.len ? nh_p_text(reason) : nh_p_null(), nh_p_int(device_id),
	                             nh_p_str(connection_id)),
	                   &changed, err));
	NH_TRY(nh_history_add(ctx, device_id, connection_id, nh_ctx_now(ctx), reason, err));
	if (!changed)
		return NH_OK; /* a newer connection owns the row */
	NH_TRY(go_offline(ctx, device_id, reason, err));
	nh_device_topic(ctx, device_id);
	return NH_OK;
}

nh_rc nh_session_seen(struct nh_ctx *ctx, const struct nh_seen *items, size_t count, struct nh_err *err)
{
	for (size_t i = 0; i < count; i++)
		NH_TRY(nh_sql_exec(ctx->tx, &nh_q_connection_seen,
		                   NH_PARAMS(nh_p_int(items[i].at_us), nh_p_int(items[i].device_id), nh_p_str(items[i].connection_id)), NULL, err));
	return NH_OK;
}

static void read_stale(const struct nh_rows *rows, struct nh_arena *arena, void *item)
{
	struct nh_seen *s = item;
	nh_slice id = nh_col_text(rows, 1, arena);
	s->device_id = nh_col_int(rows, 0);
	for (size_t i = 0; i < id.len && i < NH_UUID_TEXT_LEN; i++)
		s->connection_id[i] = (char)id.ptr[i];
}

static nh_rc clean(struct nh_ctx *ctx, const struct nh_list *list, size_t *cleaned, struct nh_err *err)
{
	const struct nh_seen *stale = list->items;
	for (size_t i = 0; i < list->count; i++)
		NH_TRY(nh_session_disconnect(ctx, stale[i].device_id, stale[i].connection_id, NH_LIT("Stale connection"), err));
	*cleaned = list->count;
	return NH_OK;
}

nh_rc nh_session_clean_stale(struct nh_ctx *ctx, int64_t before_us, size_t *cleaned, struct nh_err *err)
{
	struct nh_list list = NH_LIST_OF(ctx->arena, struct nh_seen);
	nh_slice own = nh_ctx_node(ctx);
	*cleaned = 0;
	/* What a server holds itself it knows better than its clock, which may have been set. Without a name there are no others. */
	NH_TRY(nh_list_rows(ctx->tx, &list, &nh_q_connection_stale,
	                    NH_PARAMS(nh_p_int(before_us), nh_p_text(own.len ? own : NH_LIT("-")), nh_p_int(STALE_MAX)), read_stale, err));
	return clean(ctx, &list, cleaned, err);
}

nh_rc nh_session_clean_node(struct nh_ctx *ctx, nh_slice node, size_t *cleaned, struct nh_err *err)
{
	struct nh_list list = NH_LIST_OF(ctx->arena, struct nh_seen);
	*cleaned = 0;
	NH_TRY(nh_list_rows(ctx->tx, &list, &nh_q_connection_of_node, NH_PARAMS(nh_p_text(node), nh_p_int(STALE_MAX)), read_stale, err));
	return clean(ctx, &list, cleaned, err);
}

static void read_connection(const struct nh_rows *rows, struct nh_arena *arena, void *item)
{
	*(struct nh_connection *)item = (struct nh_connection){
		.id = nh_col_text(rows, 0, arena),
		.status = nh_col_text(rows, 1, arena),
		.established_at_us = nh_col_int(rows, 2),
		.last_seen_at_us = nh_col_int(rows, 3),
		.disconnected_at_us = nh_col_int(rows, 4),
		.disconnected_reason = nh_col_text(rows, 5, arena),
		.network_interface = nh_col_text(rows, 6, arena),
		.metadata = nh_col_text(rows, 7, arena),
	};
}

nh_rc nh_connection_get(struct nh_ctx *ctx, int64_t device_id, struct nh_connection *out, struct nh_err *err)
{
	return nh_one_row(ctx->tx, ctx->arena, &nh_q_connection_get, NH_PARAMS(nh_p_int(device_id)), read_connection, out, "connection", err);
}
