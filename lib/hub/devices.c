/*
 * Devices: making, editing, moving, deleting; reading them whole. Lists: device_list.c.
 *
 * source: reference/user-api-and-cli "11"; reference/server-behaviour "1.4", "1.11", "2.7"; design/architecture "5. Data"
 */
#include "hub/accounts.h"
#include "hub/archives.h"
#include "hub/audit.h"
#include "hub/certificates.h"
#include "hub/deployments.h"
#include "hub/devices.h"
#include "hub/events.h"
#include "hub/updates.h"
#include "input_int.h"
#include "rollout_int.h"
#include "rows_int.h"
#include "store/foundation.h"
#include "store/overview.h"
#include "store/rollout.h"
#include "store/staged_rollout.h"
#include "telemetry_int.h"

#define TAG_MAX_BYTES 255

void nh_device_read(const struct nh_rows *rows, struct nh_arena *arena, void *device)
{
	struct nh_device *d = device;
	*d = (struct nh_device){
		.id = nh_col_int(rows, 0),
		.org_id = nh_col_int(rows, 1),
		.product_id = nh_col_int(rows, 2),
		.identifier = nh_col_text(rows, 3, arena),
		.description = nh_col_text(rows, 4, arena),
		.tags = nh_col_text(rows, 5, arena),
		.status = nh_col_text(rows, 6, arena),
		.updates_enabled = nh_col_bool(rows, 7),
		.updates_blocked_until_us = nh_col_int(rows, 8),
		.connecting_code = nh_col_text(rows, 9, arena),
		.custom_location = nh_col_text(rows, 10, arena),
		.extensions = nh_col_text(rows, 11, arena),
		.firmware_uuid = nh_col_text(rows, 12, arena),
		.firmware_version = nh_col_text(rows, 13, arena),
		.firmware_platform = nh_col_text(rows, 14, arena),
		.firmware_architecture = nh_col_text(rows, 15, arena),
		.firmware_metadata = nh_col_text(rows, 16, arena),
		.firmware_validation_status = nh_col_text(rows, 17, arena),
		.firmware_auto_revert_detected = nh_col_bool(rows, 18),
		.first_seen_at_us = nh_col_int(rows, 19),
		.inserted_at_us = nh_col_int(rows, 20),
		.updated_at_us = nh_col_int(rows, 21),
		.deleted_at_us = nh_col_int(rows, 22),
		.org_name = nh_col_text(rows, 23, arena),
		.product_name = nh_col_text(rows, 24, arena),
		.connection_status = nh_col_text(rows, 25, arena),
		.last_seen_at_us = nh_col_int(rows, 26),
		.group_id = nh_col_int(rows, 27),
		.group_name = nh_col_text(rows, 28, arena),
		.group_active = nh_col_bool(rows, 29),
		.group_firmware_uuid = nh_col_text(rows, 30, arena),
		.group_firmware_version = nh_col_text(rows, 31, arena),
		.last_failure = nh_col_text(rows, 32, arena),
		.last_failure_at_us = nh_col_int(rows, 33),
	};
	if (!d->connection_status.ptr)
		d->connection_status = NH_LIT("not_seen");
}

/* ---- tags -------------------------------------------------------------------------------------------------------------- */

static bool add_tag(json_t *list, nh_slice tag, const char **text)
{
	if (nh_slice_chr(tag, ' ') >= 0)
		*text = "tags cannot contain spaces";
	else if (!nh_input_text_ok(tag, TAG_MAX_BYTES) || json_array_size(list) >= NH_DEVICE_TAGS_MAX)
		*text = "is invalid";
	else
		return json_array_append_new(list, nh_json_new_text(tag)) == 0;
	return false;
}

json_t *nh_tags_read(const json_t *value, const char **text)
{
	json_t *list = json_array();
	bool good = json_is_string(value) || json_is_array(value);
	*text = "is invalid";
	if (json_is_string(value)) {
		nh_slice tag, rest = nh_slice_of(json_string_value(value), json_string_length(value));
		while (good && rest.len > 0) {
			nh_slice_cut(rest, ',', &tag, &rest);
			tag = nh_slice_trim(tag);
			good = tag.len == 0 || add_tag(list, tag, text);
		}
	}
	size_t i;
	json_t *item;
	json_array_foreach(value, i, item) {
		good = good && json_is_string(item) && add_tag(list, nh_slice_of(json_string_value(item), json_string_length(item)), text);
	}
	if (good)
		return list;
	json_decref(list);
	return NULL;
}

/* ---- fields ------------------------------------------------------------------------------------------------------------ */

/* What a create or update may set; texts NULL: null. */
struct edit {
	nh_slice description, tags, connecting_code, custom_location, extensions;
	bool set_updates, updates_enabled;
	bool set_group;
	int64_t group_id;
	bool set_blocked;
	int64_t blocked_until_us; /* 0: no longer */
	bool set_timezone;
	nh_slice timezone;        /* pointer NULL: none of its own */
};

static nh_slice json_text(struct nh_arena *arena, const json_t *value)
{
	NH_AUTO_BUF struct nh_buf text = NH_BUF_INIT;
	nh_json_put(&text, value);
	return nh_arena_copy(arena, nh_buf_slice(&text));
}

static nh_rc read_tags(struct nh_arena *arena, const json_t *fields, nh_slice *out, json_t **errors, struct nh_err *err)
{
	const json_t *value = json_object_get(fields, "tags");
	const char *text;
	if (!value)
		return NH_OK;
	*out = NH_SLICE_EMPTY;
	if (json_is_null(value))
		return NH_OK;
	NH_AUTO_JSON json_t *tags = nh_tags_read(value, &text);
	if (!tags)
		return nh_refuse(errors, err, NH_EINVAL, "tags", "%s", text);
	*out = json_text(arena, tags);
	return NH_OK;
}

static nh_rc read_location(struct nh_arena *arena, const json_t *fields, nh_slice *out, json_t **errors, struct nh_err *err)
{
	static const char *const key = "custom_location_coordinates";
	const json_t *value = json_object_get(fields, key);
	if (!value)
		return NH_OK;
	*out = NH_SLICE_EMPTY;
	if (json_is_null(value))
		return NH_OK;
	if (json_array_size(value) != 2 || !json_is_number(json_array_get(value, 0)) || !json_is_number(json_array_get(value, 1)))
		return nh_refuse(errors, err, NH_EINVAL, key, "is invalid");
	*out = json_text(arena, value);
	return NH_OK;
}

static nh_rc read_text(struct nh_arena *arena, const json_t *fields, const char *key, size_t max, nh_slice *out, json_t **errors, struct nh_err *err)
{
	bool present;
	nh_slice text;
	NH_TRY(nh_input_optional_text(arena, fields, key, max, &present, &text, errors, err));
	if (present)
		*out = text;
	return NH_OK;
}

/* A time after which updates are sent again, or null. */
static nh_rc read_blocked(const json_t *fields, struct edit *e, json_t **errors, struct nh_err *err)
{
	static const char *const key = "updates_blocked_until";
	const json_t *value = json_object_get(fields, key);
	e->set_blocked = value != NULL;
	if (!value || json_is_null(value))
		return NH_OK;
	if (!json_is_string(value) || nh_time_parse_iso(nh_json_text(fields, key), &e->blocked_until_us) != NH_OK || e->blocked_until_us <= 0)
		return nh_refuse(errors, err, NH_EINVAL, key, "is invalid");
	return NH_OK;
}

/* For the maintenance windows of its rollouts. */
static nh_rc read_timezone(struct nh_arena *arena, const json_t *fields, struct edit *e, json_t **errors, struct nh_err *err)
{
	const struct nh_zone *zone;
	struct nh_err why = NH_ERR_INIT;
	e->set_timezone = json_object_get(fields, "timezone") != NULL;
	NH_TRY(read_text(arena, fields, "timezone", NH_ZONE_NAME_MAX, &e->timezone, errors, err));
	if (e->timezone.ptr && nh_zone_find(e->timezone, &zone, &why) != NH_OK)
		return nh_refuse(errors, err, NH_EINVAL, "timezone", "%s", why.msg);
	return NH_OK;
}

static nh_rc read_edit(struct nh_arena *arena, const json_t *fields, struct edit *e, json_t **errors, struct nh_err *err)
{
	NH_TRY(read_text(arena, fields, "description", NH_TEXT_MAX_BYTES, &e->description, errors, err));
	NH_TRY(read_text(arena, fields, "connecting_code", NH_TEXT_MAX_BYTES, &e->connecting_code, errors, err));
	NH_TRY(read_tags(arena, fields, &e->tags, errors, err));
	NH_TRY(read_location(arena, fields, &e->custom_location, errors, err));
	NH_TRY(nh_extensions_edit(arena, fields, e->extensions, &e->extensions, errors, err));
	NH_TRY(read_blocked(fields, e, errors, err));
	NH_TRY(read_timezone(arena, fields, e, errors, err));

	const json_t *updates = json_object_get(fields, "updates_enabled");
	if (updates && !nh_input_bool(updates, &e->updates_enabled))
		return nh_refuse(errors, err, NH_EINVAL, "updates_enabled", "is invalid");
	e->set_updates = updates != NULL;

	/* `nh` says deployment_group_id. source: reference/user-api-and-cli "11.3" */
	const json_t *group = json_object_get(fields, "deployment_id");
	if (!group)
		group = json_object_get(fields, "deployment_group_id");
	if (group && !json_is_integer(group) && !json_is_null(group))
		return nh_refuse(errors, err, NH_EINVAL, "deployment_id", "is invalid");
	e->set_group = group != NULL;
	e->group_id = json_integer_value(group);
	return NH_OK;
}

static nh_rc apply_group(struct nh_ctx *ctx, const struct nh_actor *actor, const struct nh_device *device, int64_t group_id, json_t **errors,
                         struct nh_err *err)
{
	struct nh_group group;
	if (group_id == device->group_id)
		return NH_OK;
	if (group_id == 0)
		return nh_group_assign(ctx, actor, device->org_id, device->id, NULL, err);
	nh_rc rc = nh_group_get_by_id(ctx, group_id, &group, err);
	if (rc == NH_ENOTFOUND || (rc == NH_OK && group.product_id != device->product_id))
		return nh_refuse(errors, err, NH_EINVAL, "deployment_id", "does not exist");
	NH_TRY(rc);
	rc = nh_group_assign(ctx, actor, device->org_id, device->id, &group, err);
	if (rc == NH_EINVAL)
		return nh_refuse(errors, err, NH_EINVAL, "deployment_id", "does not fit the device's platform and architecture");
	return rc;
}

static nh_rc apply_edit(struct nh_ctx *ctx, const struct nh_actor *actor, const struct nh_device *device, const struct edit *e, json_t **errors,
                        struct nh_err *err)
{
	int64_t changed = 0;
	NH_TRY(nh_sql_exec(ctx->tx, &nh_q_device_update,
	                   NH_PARAMS(nh_p_text_or_null(e->description), nh_p_text_or_null(e->tags), nh_p_text_or_null(e->connecting_code),
	                             nh_p_text_or_null(e->custom_location), nh_p_text(e->extensions.ptr ? e->extensions : NH_LIT("{}")),
	                             nh_p_int(nh_ctx_now(ctx)), nh_p_int(device->id)),
	                   &changed, err));
	if (!changed)
		return NH_FAIL(err, NH_ENOTFOUND, "no such device");
	if (e->set_updates && e->updates_enabled != device->updates_enabled)
		NH_TRY(nh_updates_enable(ctx, actor, device->org_id, device->id, e->updates_enabled, err));
	if (e->set_blocked)
		NH_TRY(nh_device_write(ctx, &nh_q_device_set_blocked, nh_p_ref(e->blocked_until_us), device->id, err));
	if (e->set_timezone) {
		NH_TRY(nh_device_write(ctx, &nh_q_device_set_timezone, nh_p_text_or_null(e->timezone), device->id, err));
		nh_wake_group(ctx, device->group_id);
	}
	if (e->set_group)
		NH_TRY(apply_group(ctx, actor, device, e->group_id, errors, err));
	return NH_OK;
}

static struct edit edit_of(const struct nh_device *d)
{
	return (struct edit){
		.description = d->description,
		.tags = d->tags,
		.connecting_code = d->connecting_code,
		.custom_location = d->custom_location,
		.extensions = d->extensions,
	};
}

/* ---- making ------------------------------------------------------------------------------------------------------------ */

static bool identifier_ok(nh_slice identifier)
{
	return identifier.len > 0 && nh_input_name_ok(identifier, NH_DEVICE_IDENTIFIER_MAX);
}

static nh_rc insert(struct nh_ctx *ctx, int64_t org_id, int64_t product_id, nh_slice identifier, nh_slice description, nh_slice tags, int64_t *id,
                    struct nh_err *err)
{
	NH_TRY(nh_query_id(ctx->tx, &nh_q_device_insert,
	                   NH_PARAMS(nh_p_int(org_id), nh_p_int(product_id), nh_p_text(identifier), nh_p_text_or_null(description),
	                             nh_p_text_or_null(tags), nh_p_int(nh_ctx_now(ctx))),
	                   id, err));
	/* Also holds the product's row, so that nobody deletes the product meanwhile. */
	int64_t counted = 0;
	NH_TRY(nh_sql_exec(ctx->tx, &nh_q_product_count_devices, NH_PARAMS(nh_p_int(1), nh_p_int(product_id)), &counted, err));
	if (!counted)
		return NH_FAIL(err, NH_ENOTFOUND, "no such product");
	nh_effect_add(ctx, NH_EFFECT_TOPIC, *id, NH_LIT("device"), NH_SLICE_EMPTY);
	return nh_event_add(ctx, NH_EVENT_DEVICE_CREATED, &(struct nh_event_subject){.org_id = org_id, .product_id = product_id, .device_id = *id}, NULL, err);
}

nh_rc nh_device_provision(struct nh_ctx *ctx, int64_t org_id, int64_t product_id, const struct nh_new_device *input, int64_t *device_id,
                          struct nh_err *err)
{
	static const struct nh_actor provisioning = {NH_ACTOR_SYSTEM, 0, {(const uint8_t *)"just-in-time provisioning", 25}};
	struct nh_product product;
	NH_TRY(nh_product_by_id(ctx, product_id, &product, err));
	if (product.org_id != org_id)
		return NH_FAIL(err, NH_ENOTFOUND, "no such product");
	if (!identifier_ok(input->identifier))
		return NH_FAIL(err, NH_EINVAL, "identifier is not acceptable");
	nh_slice tags = NH_SLICE_EMPTY;
	if (input->has_tags) {
		NH_AUTO_JSON json_t *list = json_array();
		for (size_t i = 0; i < input->tag_count; i++)
			json_array_append_new(list, nh_json_new_text(input->tags[i]));
		tags = json_text(ctx->arena, list);
	}
	NH_TRY(insert(ctx, org_id, product_id, input->identifier, input->description.len ? input->description : NH_SLICE_EMPTY, tags, device_id, err));
	return nh_audit_add(ctx, &provisioning, org_id, NH_AUDIT_DEVICE, *device_id, err, "Device %.*s was created by just-in-time provisioning",
	                    NH_ARG(input->identifier));
}

nh_rc nh_device_create(struct nh_ctx *ctx, const struct nh_actor *actor, const struct nh_product *product, nh_slice identifier, const json_t *fields,
                       struct nh_device *out, json_t **errors, struct nh_err *err)
{
	NH_TRY(nh_may(ctx, actor, product->org_id, NH_MAY_DEVICE_CREATE, err));
	if (!identifier.ptr)
		identifier = nh_json_text(fields, "identifier");
	if (identifier.len == 0)
		return nh_refuse(errors, err, NH_EINVAL, "identifier", "can't be blank");
	if (!identifier_ok(identifier))
		return nh_refuse(errors, err, NH_EINVAL, "identifier", "is invalid");
	struct edit e = {.extensions = NH_LIT("{}")};
	NH_TRY(read_edit(ctx->arena, fields, &e, errors, err));

	int64_t id = 0;
	nh_rc rc = insert(ctx, product->org_id, product->id, identifier, e.description, e.tags, &id, err);
	if (rc == NH_ECONFLICT)
		return nh_refuse(errors, err, NH_EINVAL, "identifier", "has already been taken");
	NH_TRY(rc);
	NH_TRY(nh_device_by_id(ctx, id, out, err));
	NH_TRY(apply_edit(ctx, actor, out, &e, errors, err));
	NH_TRY(nh_audit_add(ctx, actor, product->org_id, NH_AUDIT_DEVICE, id, err, "%.*s created device %.*s", NH_ARG(actor->name), NH_ARG(identifier)));
	return nh_device_by_id(ctx, id, out, err);
}

nh_rc nh_device_update(struct nh_ctx *ctx, const struct nh_actor *actor, const struct nh_device *device, const json_t *fields, struct nh_device *out,
                       json_t **errors, struct nh_err *err)
{
	NH_TRY(nh_may(ctx, actor, device->org_id, NH_MAY_DEVICE_UPDATE, err));
	struct edit e = edit_of(device);
	NH_TRY(read_edit(ctx->arena, fields, &e, errors, err));
	NH_TRY(apply_edit(ctx, actor, device, &e, errors, err));
	nh_effect_add(ctx, NH_EFFECT_DEVICE_SETTINGS, device->id, NH_SLICE_EMPTY, NH_SLICE_EMPTY);
	nh_effect_add(ctx, NH_EFFECT_TOPIC, device->id, NH_LIT("device"), NH_SLICE_EMPTY);
	NH_TRY(nh_audit_add(ctx, actor, device->org_id, NH_AUDIT_DEVICE, device->id, err, "%.*s changed the settings of device %.*s", NH_ARG(actor->name),
	                    NH_ARG(device->identifier)));
	NH_TRY(nh_archive_tell_changed(ctx, device->id, err));
	NH_TRY(nh_device_by_id(ctx, device->id, out, err));
	if (out->group_id)
		nh_effect_add(ctx, NH_EFFECT_GROUP_WAKE, out->group_id, NH_SLICE_EMPTY, NH_SLICE_EMPTY);
	return NH_OK;
}

/* Out of its group and without an update in flight: what deleting and moving have in common. */
static nh_rc detach(struct nh_ctx *ctx, const struct nh_actor *actor, const struct nh_device *device, struct nh_err *err)
{
	if (device->group_id)
		NH_TRY(nh_group_assign(ctx, actor, device->org_id, device->id, NULL, err));
	return nh_sql_exec(ctx->tx, &nh_q_inflight_delete, NH_PARAMS(nh_p_int(device->id)), NULL, err);
}

nh_rc nh_device_delete(struct nh_ctx *ctx, const struct nh_actor *actor, const struct nh_device *device, struct nh_err *err)
{
	NH_TRY(nh_may(ctx, actor, device->org_id, NH_MAY_DEVICE_DELETE, err));
	struct nh_device_certificate *certs;
	size_t count = 0;
	int64_t now = nh_ctx_now(ctx), changed = 0;
	NH_TRY(detach(ctx, actor, device, err));
	NH_TRY(nh_device_certificate_list(ctx, actor, device, &certs, &count, err));
	for (size_t i = 0; i < count; i++) {
		NH_TRY(nh_sql_exec(ctx->tx, &nh_q_cert_delete, NH_PARAMS(nh_p_int(certs[i].id)), NULL, err));
		nh_effect_add(ctx, NH_EFFECT_CERT_FORGET, device->id, NH_SLICE_EMPTY, certs[i].sha256);
	}
	NH_TRY(nh_sql_exec(ctx->tx, &nh_q_identity_device_deleted, NH_PARAMS(nh_p_int(device->id)), NULL, err));
	NH_TRY(nh_sql_exec(ctx->tx, &nh_q_pin_forget, NH_PARAMS(nh_p_int(device->id)), NULL, err));
	NH_TRY(nh_sql_exec(ctx->tx, &nh_q_device_secret_deactivate_all, NH_PARAMS(nh_p_int(now), nh_p_int(device->id)), NULL, err));
	NH_TRY(nh_sql_exec(ctx->tx, &nh_q_device_delete, NH_PARAMS(nh_p_int(now), nh_p_int(device->id)), &changed, err));
	if (!changed)
		return NH_FAIL(err, NH_ENOTFOUND, "no such device");
	NH_TRY(nh_sql_exec(ctx->tx, &nh_q_product_count_devices, NH_PARAMS(nh_p_int(-1), nh_p_int(device->product_id)), NULL, err));
	nh_effect_add(ctx, NH_EFFECT_DEVICE_CLOSE, device->id, NH_LIT("device deleted"), NH_SLICE_EMPTY);
	nh_effect_add(ctx, NH_EFFECT_TOPIC, device->id, NH_LIT("device"), NH_SLICE_EMPTY);
	return nh_audit_add(ctx, actor, device->org_id, NH_AUDIT_DEVICE, device->id, err, "%.*s deleted device %.*s", NH_ARG(actor->name),
	                    NH_ARG(device->identifier));
}

nh_rc nh_device_move(struct nh_ctx *ctx, const struct nh_actor *actor, const struct nh_device *device, nh_slice org_name, nh_slice product_name,
                     struct nh_device *out, json_t **errors, struct nh_err *err)
{
	struct nh_org org;
	struct nh_product product;
	NH_TRY(nh_may(ctx, actor, device->org_id, NH_MAY_DEVICE_MOVE, err));
	NH_TRY(nh_org_open(ctx, actor, org_name, NH_MAY_DEVICE_MOVE, &org, err));
	NH_TRY(nh_product_open(ctx, actor, org.id, product_name, NH_MAY_DEVICE_MOVE, &product, err));
	NH_TRY(detach(ctx, actor, device, err));
	nh_rc rc = nh_sql_exec(ctx->tx, &nh_q_device_move,
	                       NH_PARAMS(nh_p_int(org.id), nh_p_int(product.id), nh_p_int(nh_ctx_now(ctx)), nh_p_int(device->id)), NULL, err);
	if (rc == NH_ECONFLICT)
		return nh_refuse(errors, err, NH_EINVAL, "identifier", "has already been taken");
	NH_TRY(rc);
	NH_TRY(nh_sql_exec(ctx->tx, &nh_q_cert_move, NH_PARAMS(nh_p_int(org.id), nh_p_int(device->id)), NULL, err));
	NH_TRY(nh_sql_exec(ctx->tx, &nh_q_pin_strangers, NH_PARAMS(nh_p_int(device->id), nh_p_int(org.id)), NULL, err));
	NH_TRY(nh_sql_exec(ctx->tx, &nh_q_identity_device_moved, NH_PARAMS(nh_p_int(org.id), nh_p_int(device->id)), NULL, err));
	NH_TRY(nh_sql_exec(ctx->tx, &nh_q_product_count_devices, NH_PARAMS(nh_p_int(-1), nh_p_int(device->product_id)), NULL, err));
	int64_t counted = 0;
	NH_TRY(nh_sql_exec(ctx->tx, &nh_q_product_count_devices, NH_PARAMS(nh_p_int(1), nh_p_int(product.id)), &counted, err));
	if (!counted)
		return NH_FAIL(err, NH_ENOTFOUND, "no such product");
	nh_effect_add(ctx, NH_EFFECT_DEVICE_CLOSE, device->id, NH_LIT("device moved"), NH_SLICE_EMPTY);
	const struct {
		int64_t org_id;
		nh_audit_resource kind;
		int64_t id;
	} places[] = {{org.id, NH_AUDIT_DEVICE, device->id}, {org.id, NH_AUDIT_PRODUCT, product.id}, {device->org_id, NH_AUDIT_PRODUCT, device->product_id}};
	for (size_t i = 0; i < NH_ARRAY_LEN(places); i++)
		NH_TRY(nh_audit_add(ctx, actor, places[i].org_id, places[i].kind, places[i].id, err, "%.*s moved device %.*s from %.*s/%.*s to %.*s/%.*s",
		                    NH_ARG(actor->name), NH_ARG(device->identifier), NH_ARG(device->org_name), NH_ARG(device->product_name), NH_ARG(org.name),
		                    NH_ARG(product.name)));
	return nh_device_by_id(ctx, device->id, out, err);
}

/* ---- looking ----------------------------------------------------------------------------------------------------------- */

nh_rc nh_device_by_id(struct nh_ctx *ctx, int64_t device_id, struct nh_device *out, struct nh_err *err)
{
	return nh_one_row(ctx->tx, ctx->arena, &nh_q_device_by_id, NH_PARAMS(nh_p_int(device_id)), nh_device_read, out, "device", err);
}

nh_rc nh_device_open(struct nh_ctx *ctx, const struct nh_actor *actor, const struct nh_product *product, nh_slice identifier, nh_action action,
                     struct nh_device *out, struct nh_err *err)
{
	NH_TRY(nh_may(ctx, actor, product->org_id, NH_MAY_DEVICE_SEE, err));
	if (!identifier_ok(identifier))
		return NH_FAIL(err, NH_ENOTFOUND, "no such device");
	NH_TRY(nh_one_row(ctx->tx, ctx->arena, &nh_q_device_by_name, NH_PARAMS(nh_p_int(product->id), nh_p_text(identifier)), nh_device_read, out,
	                  "device", err));
	return nh_may(ctx, actor, product->org_id, action, err);
}

nh_rc nh_device_open_anywhere(struct nh_ctx *ctx, const struct nh_actor *actor, nh_slice identifier, nh_action action, struct nh_device *out,
                              struct nh_err *err)
{
	if (actor->kind != NH_ACTOR_USER || !identifier_ok(identifier))
		return NH_FAIL(err, NH_ENOTFOUND, "no such device");
	struct nh_list list = NH_LIST_OF(ctx->arena, struct nh_device);
	NH_TRY(nh_list_rows(ctx->tx, &list, &nh_q_device_anywhere, NH_PARAMS(nh_p_int(actor->id), nh_p_text(identifier)), nh_device_read, err));
	if (list.count == 0)
		return NH_FAIL(err, NH_ENOTFOUND, "no such device");
	if (list.count > 1)
		return NH_FAIL(err, NH_ECONFLICT, "more than one of your organizations has a device %.*s; use the path with organization and product",
		               NH_ARG(identifier));
	*out = *(struct nh_device *)list.items;
	return nh_may(ctx, actor, out->org_id, action, err);
}
