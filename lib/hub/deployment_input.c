/*
 * Creating, editing and releasing deployment groups from the API's JSON: one table says which field is what, nothing else reads input.
 *
 * All fields are checked before anything is written, so an answer names every fault at once.
 * source: reference/user-api-and-cli "13.2", "13.3"; reference/server-behaviour "3.6"
 */
#include <stddef.h>
#include <stdio.h>

#include "base/semver.h"
#include "hub/archives.h"
#include "hub/audit.h"
#include "hub/deltas.h"
#include "hub/permissions.h"
#include "hub/devices.h"
#include "input_int.h"
#include "rollout_int.h"
#include "staged_int.h"
#include "store/rollout.h"

#define NOTES_MAX 1000
#define DESCRIPTION_MAX 100
#define COUNT_MAX INT64_C(1000000000)
#define DELTA_WAIT_MAX 1440
#define DELTA_WAIT_DEFAULT 10

/* The editable part of a group, as it will be written. */
struct form {
	nh_slice name, condition_version, condition_tags, release_tags, release_interfaces, threshold, connecting_code, notes;
	bool tags_any, is_active, delta_updatable, lock_membership, lifo, priority_enabled;
	int64_t concurrent, priority_concurrent, failure_threshold_attempts, rate_amount, rate_seconds, group_failure_threshold, penalty_minutes, delta_wait_minutes;
};

struct input {
	struct nh_arena *arena;
	const json_t *fields;
	json_t *errors; /* object, empty while all is well */
};

static void refuse(json_t *errors, const char *field, const char *text)
{
	json_t *list = json_object_get(errors, field);
	if (!list) {
		list = json_array();
		json_object_set_new(errors, field, list);
	}
	json_array_append_new(list, json_string(text));
}

/* Conditions refuse into {"conditions":{…}}. */
static json_t *nested_errors(json_t *errors)
{
	json_t *nested = json_object_get(errors, "conditions");
	if (!nested) {
		nested = json_object();
		json_object_set_new(errors, "conditions", nested);
	}
	return nested;
}

/* ---- field readers: called where the field is given; null included ------------------------------------------------------- */

static nh_slice text_of(const json_t *value)
{
	return nh_slice_of(json_string_value(value), json_string_length(value));
}

static void read_name(struct input *in, const char *key, const json_t *value, void *out)
{
	nh_slice name = json_is_string(value) ? nh_input_name(in->arena, text_of(value)) : NH_SLICE_EMPTY;
	if (name.len == 0)
		refuse(in->errors, key, "can't be blank");
	else if (!nh_input_name_ok(name, NH_NAME_MAX_BYTES))
		refuse(in->errors, key, "is invalid");
	else
		*(nh_slice *)out = name;
}

static void read_text_up_to(struct input *in, const char *key, const json_t *value, size_t characters, nh_slice *out)
{
	*out = NH_SLICE_EMPTY;
	if (json_is_null(value))
		return;
	if (!json_is_string(value) || !nh_input_text_ok(text_of(value), NH_TEXT_MAX_BYTES)) {
		refuse(in->errors, key, "is invalid");
	} else if (characters && nh_input_characters(text_of(value)) > characters) {
		char text[64];
		snprintf(text, sizeof(text), "should be at most %zu character(s)", characters);
		refuse(in->errors, key, text);
	} else {
		*out = nh_arena_copy(in->arena, text_of(value));
	}
}

static void read_notes(struct input *in, const char *key, const json_t *value, void *out)
{
	read_text_up_to(in, key, value, NOTES_MAX, out);
}

static void read_code(struct input *in, const char *key, const json_t *value, void *out)
{
	read_text_up_to(in, key, value, 0, out);
}

static void read_bool(struct input *in, const char *key, const json_t *value, void *out)
{
	if (!nh_input_bool(value, out))
		refuse(in->errors, key, json_is_null(value) ? "can't be blank" : "is invalid");
}

static void read_count(struct input *in, const char *key, const json_t *value, int64_t least, void *out)
{
	int64_t n = 0;
	if (!nh_input_integer(value, &n))
		refuse(in->errors, key, json_is_null(value) ? "can't be blank" : "is invalid");
	else if (n < least)
		refuse(in->errors, key, least == 1 ? "must be greater than 0" : "must be greater than or equal to 60");
	else if (n > COUNT_MAX)
		refuse(in->errors, key, "is invalid");
	else
		*(int64_t *)out = n;
}

static void read_positive(struct input *in, const char *key, const json_t *value, void *out)
{
	read_count(in, key, value, 1, out);
}

static void read_from_60(struct input *in, const char *key, const json_t *value, void *out)
{
	read_count(in, key, value, 60, out);
}

static void read_delta_wait(struct input *in, const char *key, const json_t *value, void *out)
{
	int64_t n = 0;
	if (!nh_input_integer(value, &n) || n < 0 || n > DELTA_WAIT_MAX)
		refuse(in->errors, key, "must be a number of minutes from 0 to 1440");
	else
		*(int64_t *)out = n;
}

static void read_queue(struct input *in, const char *key, const json_t *value, void *out)
{
	bool lifo = json_is_string(value) && nh_slice_eq_str(text_of(value), "LIFO");
	if (lifo || (json_is_string(value) && nh_slice_eq_str(text_of(value), "FIFO")))
		*(bool *)out = lifo;
	else
		refuse(in->errors, key, "is invalid");
}

static void read_threshold(struct input *in, const char *key, const json_t *value, void *out)
{
	struct nh_semver version;
	nh_slice *text = out;
	*text = NH_SLICE_EMPTY;
	if (json_is_null(value) || (json_is_string(value) && json_string_length(value) == 0))
		return;
	if (!json_is_string(value) || text_of(value).len > NH_NAME_MAX_BYTES || nh_semver_parse(text_of(value), &version) != NH_OK)
		refuse(in->errors, key, "must be a valid semantic version");
	else
		*text = nh_arena_copy(in->arena, text_of(value));
}

static void read_tags_into(struct input *in, json_t *errors, const char *key, const json_t *value, nh_slice *out)
{
	const char *text = NULL;
	if (json_is_null(value)) {
		*out = NH_LIT("[]");
		return;
	}
	NH_AUTO_JSON json_t *tags = nh_tags_read(value, &text);
	if (tags)
		*out = nh_json_arena(in->arena, tags);
	else
		refuse(errors, key, text);
}

static void read_tags(struct input *in, const char *key, const json_t *value, void *out)
{
	read_tags_into(in, in->errors, key, value, out);
}

static void read_interfaces(struct input *in, const char *key, const json_t *value, void *out)
{
	static const char *const known[] = {"wifi", "ethernet", "cellular", "unknown"};
	bool ok = json_is_array(value) && json_array_size(value) <= NH_ARRAY_LEN(known);
	for (size_t i = 0; ok && i < json_array_size(value); i++) {
		const json_t *item = json_array_get(value, i);
		bool found = false;
		for (size_t k = 0; k < NH_ARRAY_LEN(known); k++)
			found = found || (json_is_string(item) && nh_slice_eq_str(text_of(item), known[k]));
		ok = found;
	}
	if (ok)
		*(nh_slice *)out = nh_json_arena(in->arena, value);
	else
		refuse(in->errors, key, "is invalid");
}

/* "on" in any letter case is active, every other text is not. */
static void read_state(struct input *in, const char *key, const json_t *value, void *out)
{
	if (json_is_string(value))
		*(bool *)out = nh_slice_ieq(text_of(value), NH_LIT("on"));
	else
		refuse(in->errors, key, "is invalid");
}

static void read_conditions(struct input *in, const char *key, const json_t *value, void *out)
{
	struct form *form = out;
	if (!json_is_object(value)) {
		if (!json_is_null(value))
			refuse(in->errors, key, "is invalid");
		return;
	}
	const json_t *version = json_object_get(value, "version"), *tags = json_object_get(value, "tags");
	const json_t *operator = json_object_get(value, "tag_operator");
	if (version) {
		nh_slice text = json_is_string(version) ? nh_slice_trim(text_of(version)) : NH_SLICE_EMPTY;
		if (!json_is_null(version) &&
		    (!json_is_string(version) || text.len > NH_NAME_MAX_BYTES || nh_semver_req_check(text, NULL) != NH_OK))
			refuse(nested_errors(in->errors), "version", "must be valid Elixir version requirement string");
		else
			form->condition_version = text.len ? nh_arena_copy(in->arena, text) : NH_LIT("");
	}
	if (tags) {
		json_t *errors = json_object();
		read_tags_into(in, errors, "tags", tags, &form->condition_tags);
		if (json_object_size(errors) > 0)
			json_object_update(nested_errors(in->errors), errors);
		json_decref(errors);
	}
	if (operator) {
		bool any = json_is_string(operator) && nh_slice_eq_str(text_of(operator), "or");
		if (any || (json_is_string(operator) && nh_slice_eq_str(text_of(operator), "and")))
			form->tags_any = any;
		else
			refuse(nested_errors(in->errors), "tag_operator", "is invalid");
	}
}

static const struct field {
	const char *key;
	void (*read)(struct input *in, const char *key, const json_t *value, void *out);
	size_t offset;
} fields_table[] = {
	{"name", read_name, offsetof(struct form, name)},
	{"is_active", read_bool, offsetof(struct form, is_active)},
	{"state", read_state, offsetof(struct form, is_active)}, /* after is_active: it wins */
	{"delta_updatable", read_bool, offsetof(struct form, delta_updatable)},
	{"delta_wait_minutes", read_delta_wait, offsetof(struct form, delta_wait_minutes)},
	{"lock_device_membership", read_bool, offsetof(struct form, lock_membership)},
	{"connecting_code", read_code, offsetof(struct form, connecting_code)},
	{"notes", read_notes, offsetof(struct form, notes)},
	{"queue_management", read_queue, offsetof(struct form, lifo)},
	{"concurrent_updates", read_positive, offsetof(struct form, concurrent)},
	{"priority_queue_enabled", read_bool, offsetof(struct form, priority_enabled)},
	{"priority_queue_concurrent_updates", read_positive, offsetof(struct form, priority_concurrent)},
	{"priority_queue_firmware_version_threshold", read_threshold, offsetof(struct form, threshold)},
	{"device_failure_threshold", read_positive, offsetof(struct form, failure_threshold_attempts)},
	{"device_failure_rate_seconds", read_from_60, offsetof(struct form, rate_seconds)},
	{"device_failure_rate_amount", read_positive, offsetof(struct form, rate_amount)},
	{"failure_threshold", read_positive, offsetof(struct form, group_failure_threshold)},
	{"penalty_timeout_minutes", read_from_60, offsetof(struct form, penalty_minutes)},
	{"release_network_interfaces", read_interfaces, offsetof(struct form, release_interfaces)},
	{"release_tags", read_tags, offsetof(struct form, release_tags)},
	{"conditions", read_conditions, 0},
};

static bool read_fields(struct input *in, struct form *form)
{
	for (size_t i = 0; i < NH_ARRAY_LEN(fields_table); i++) {
		const struct field *f = &fields_table[i];
		const json_t *value = json_object_get(in->fields, f->key);
		if (value)
			f->read(in, f->key, value, (uint8_t *)form + f->offset);
	}
	return json_object_size(in->errors) == 0;
}

/* ---- forms and rows ------------------------------------------------------------------------------------------------------ */

static nh_slice list_text(struct nh_arena *arena, const nh_slice *items, size_t count)
{
	NH_AUTO_JSON json_t *list = json_array();
	for (size_t i = 0; i < count; i++)
		json_array_append_new(list, nh_json_new_text(items[i]));
	return nh_json_arena(arena, list);
}

static struct form form_of(struct nh_arena *arena, const struct nh_group *g)
{
	return (struct form){
		.name = g->name,
		.condition_version = g->condition_version,
		.condition_tags = list_text(arena, g->condition_tags, g->condition_tag_count),
		.release_tags = list_text(arena, g->release_tags, g->release_tag_count),
		.release_interfaces = list_text(arena, g->release_interfaces, g->release_interface_count),
		.threshold = g->priority_queue_threshold,
		.connecting_code = g->connecting_code,
		.notes = g->notes,
		.tags_any = g->tags_any,
		.is_active = g->is_active,
		.delta_updatable = g->delta_updatable,
		.lock_membership = g->lock_device_membership,
		.lifo = g->lifo,
		.priority_enabled = g->priority_queue_enabled,
		.concurrent = g->concurrent_updates,
		.priority_concurrent = g->priority_queue_concurrent_updates,
		.failure_threshold_attempts = g->failure_threshold_attempts,
		.rate_amount = g->failure_rate_amount,
		.rate_seconds = g->failure_rate_seconds,
		.group_failure_threshold = g->group_failure_threshold,
		.penalty_minutes = g->penalty_minutes,
		.delta_wait_minutes = g->delta_wait_minutes,
	};
}

static struct form form_default(const struct nh_hub_config *config)
{
	return (struct form){
		.condition_version = NH_LIT(""),
		.condition_tags = NH_LIT("[]"),
		.release_tags = NH_LIT("[]"),
		.release_interfaces = NH_LIT("[]"),
		.delta_updatable = true,
		.lifo = config && config->lifo_by_default,
		.concurrent = 10,
		.priority_concurrent = 5,
		.failure_threshold_attempts = 3,
		.rate_amount = 5,
		.rate_seconds = 180,
		.group_failure_threshold = 50,
		.penalty_minutes = NH_PENALTY_DEFAULT_MINUTES,
		.delta_wait_minutes = DELTA_WAIT_DEFAULT,
	};
}

/* Status is always ready: upstream's other ones stop the whole group while deltas are built or once one failed. Here each source waits for itself, and not for ever (hub/deltas.h). */
static nh_rc form_write(struct nh_ctx *ctx, int64_t group_id, const struct form *f, struct nh_err *err)
{
	return nh_sql_exec(
		ctx->tx, &nh_q_group_update,
		NH_PARAMS(nh_p_text(f->name), nh_p_text(f->condition_version.ptr ? f->condition_version : NH_LIT("")), nh_p_text(f->condition_tags),
	                  nh_p_str(f->tags_any ? "or" : "and"), nh_p_bool(f->is_active), nh_p_str("ready"), nh_p_bool(f->delta_updatable),
	                  nh_p_bool(f->lock_membership), nh_p_str(f->lifo ? "LIFO" : "FIFO"), nh_p_int(f->concurrent), nh_p_bool(f->priority_enabled),
	                  nh_p_int(f->priority_concurrent), nh_p_text_or_null(f->threshold), nh_p_text(f->release_interfaces), nh_p_text(f->release_tags),
	                  nh_p_int(f->failure_threshold_attempts), nh_p_int(f->rate_amount), nh_p_int(f->rate_seconds),
	                  nh_p_int(f->group_failure_threshold), nh_p_int(f->penalty_minutes), nh_p_text_or_null(f->connecting_code),
	                  nh_p_text_or_null(f->notes), nh_p_int(f->delta_wait_minutes), nh_p_int(nh_ctx_now(ctx)), nh_p_int(group_id)),
		NULL, err);
}

/* ---- releases ------------------------------------------------------------------------------------------------------------ */

struct firmware {
	int64_t id;
	nh_slice uuid, version, platform, architecture;
};

/* `firmware` is a uuid, `firmware_id` a database id. NH_ENOTFOUND: neither names one of the product. */
static nh_rc find_firmware(struct nh_ctx *ctx, int64_t product_id, const json_t *fields, struct firmware *out, struct nh_err *err)
{
	const json_t *id = json_object_get(fields, "firmware_id");
	nh_slice uuid = nh_json_text(fields, "firmware");
	struct nh_rows *rows = NULL;
	*out = (struct firmware){0};
	if (json_is_integer(id))
		NH_TRY(nh_sql_one(ctx->tx, &nh_q_firmware_for_release_id, NH_PARAMS(nh_p_int(product_id), nh_p_int(json_integer_value(id))), &rows, err));
	else if (uuid.len > 0 && nh_input_text_ok(uuid, NH_NAME_MAX_BYTES))
		NH_TRY(nh_sql_one(ctx->tx, &nh_q_firmware_for_release, NH_PARAMS(nh_p_int(product_id), nh_p_text(uuid)), &rows, err));
	else
		return NH_ENOTFOUND;
	*out = (struct firmware){
		nh_col_int(rows, 0),
		nh_col_text(rows, 1, ctx->arena),
		nh_col_text(rows, 2, ctx->arena),
		nh_col_text(rows, 3, ctx->arena),
		nh_col_text(rows, 4, ctx->arena),
	};
	nh_sql_end(rows);
	return NH_OK;
}

struct release_input {
	struct firmware firmware;
	int64_t archive_id; /* 0: none */
	nh_slice description, notes;
};

/* `archive` is a uuid, `archive_id` a database id; null and absent are none. */
static nh_rc read_archive(struct nh_ctx *ctx, struct input *in, int64_t product_id, int64_t *archive_id, struct nh_err *err)
{
	const json_t *uuid = json_object_get(in->fields, "archive"), *id = json_object_get(in->fields, "archive_id");
	bool by_uuid = uuid && !json_is_null(uuid), by_id = !by_uuid && id && !json_is_null(id);
	struct nh_archive archive;
	nh_rc rc = NH_ENOTFOUND;
	*archive_id = 0;
	if (!by_uuid && !by_id)
		return NH_OK;
	if (by_uuid && json_string_length(uuid) > 0)
		rc = nh_archive_find(ctx, product_id, text_of(uuid), 0, &archive, err);
	else if (by_id && json_is_integer(id))
		rc = nh_archive_find(ctx, product_id, NH_SLICE_EMPTY, json_integer_value(id), &archive, err);
	if (rc == NH_ENOTFOUND) {
		refuse(in->errors, by_uuid ? "archive" : "archive_id", "does not exist");
		return NH_OK;
	}
	NH_TRY(rc);
	*archive_id = archive.id;
	return NH_OK;
}

nh_rc nh_release_add(struct nh_ctx *ctx, const struct nh_actor *actor, int64_t group_id, int64_t number, int64_t firmware_id, int64_t archive_id, nh_slice description, nh_slice notes,
                     bool staged, struct nh_err *err)
{
	int64_t now = nh_ctx_now(ctx), release_id = 0;
	NH_TRY(nh_query_id(ctx->tx, &nh_q_release_insert,
	                   NH_PARAMS(nh_p_int(group_id), nh_p_int(number), nh_p_int(firmware_id), nh_p_ref(archive_id), nh_p_ref(actor->kind == NH_ACTOR_USER ? actor->id : 0),
	                             nh_p_text_or_null(description), nh_p_text_or_null(notes), nh_p_int(now)),
	                   &release_id, err));
	/* The members are told of an archive by the orchestrator, from the first one on. */
	NH_TRY(nh_sql_exec(ctx->tx, &nh_q_group_set_release, NH_PARAMS(nh_p_int(release_id), archive_id ? nh_p_int(0) : nh_p_null(), nh_p_int(now), nh_p_int(group_id)), NULL, err));
	return staged ? nh_rollout_begin(ctx, actor, group_id, err) : NH_OK;
}

static nh_rc add_release(struct nh_ctx *ctx, const struct nh_actor *actor, int64_t group_id, int64_t number, const struct release_input *r, struct nh_err *err)
{
	return nh_release_add(ctx, actor, group_id, number, r->firmware.id, r->archive_id, r->description, r->notes, true, err);
}

static void announce(struct nh_ctx *ctx, const struct nh_group *group)
{
	nh_effect_add(ctx, NH_EFFECT_TOPIC, group->id, NH_LIT("deployment"), NH_SLICE_EMPTY);
	if (group->is_active || group->release.archive_id)
		nh_wake_group(ctx, group->id);
}

static nh_rc refused(struct input *in, json_t **errors, struct nh_err *err)
{
	if (errors)
		*errors = json_incref(in->errors);
	return NH_FAIL(err, NH_EINVAL, "the deployment group was refused");
}

/* ---- create -------------------------------------------------------------------------------------------------------------- */

static void check_fit(struct input *in, const char *key, const char *text, nh_slice firmware_has)
{
	const json_t *value = json_object_get(in->fields, key);
	if (value && !json_is_null(value) && !(json_is_string(value) && nh_slice_eq(text_of(value), firmware_has)))
		refuse(in->errors, key, text);
}

nh_rc nh_group_create(struct nh_ctx *ctx, const struct nh_actor *actor, int64_t org_id, int64_t product_id, const json_t *fields, struct nh_group *out,
                      json_t **errors, struct nh_err *err)
{
	NH_AUTO_JSON json_t *refusals = json_object();
	struct input in = {ctx->arena, fields, refusals};
	struct form form = form_default(ctx->config);
	struct release_input release = {0};
	const struct firmware *firmware = &release.firmware;

	NH_TRY(nh_may(ctx, actor, org_id, NH_MAY_GROUP_CREATE, err));
	read_fields(&in, &form);
	if (!json_object_get(fields, "name"))
		refuse(refusals, "name", "can't be blank");
	nh_rc rc = find_firmware(ctx, product_id, fields, &release.firmware, err);
	if (rc == NH_ENOTFOUND) {
		refuse(refusals, "firmware", "can't be blank");
	} else {
		NH_TRY(rc);
		check_fit(&in, "platform", "doesn't match firmwares platform", firmware->platform);
		check_fit(&in, "architecture", "doesn't match firmwares platform", firmware->architecture);
	}
	NH_TRY(read_archive(ctx, &in, product_id, &release.archive_id, err));
	if (json_object_size(refusals) > 0)
		return refused(&in, errors, err);

	int64_t group_id = 0;
	rc = nh_query_id(ctx->tx, &nh_q_group_insert,
	                 NH_PARAMS(nh_p_int(org_id), nh_p_int(product_id), nh_p_text(form.name), nh_p_text(firmware->platform),
	                           nh_p_text(firmware->architecture), nh_p_int(nh_ctx_now(ctx))),
	                 &group_id, err);
	if (rc == NH_ECONFLICT) {
		refuse(refusals, "name", "has already been taken");
		return refused(&in, errors, err);
	}
	NH_TRY(rc);
	NH_TRY(form_write(ctx, group_id, &form, err));
	NH_TRY(add_release(ctx, actor, group_id, 1, &release, err));
	NH_TRY(nh_group_get_by_id(ctx, group_id, out, err));
	NH_TRY(nh_deltas_request(ctx, out, NULL, err));
	announce(ctx, out);
	return nh_audit_add(ctx, actor, org_id, NH_AUDIT_GROUP, group_id, err, "%.*s created deployment group %.*s", NH_ARG(actor->name),
	                    NH_ARG(form.name));
}

/* ---- update -------------------------------------------------------------------------------------------------------------- */

static bool asks_for_release(const json_t *fields)
{
	static const char *const keys[] = {"firmware", "firmware_id", "archive", "archive_id"};
	for (size_t i = 0; i < NH_ARRAY_LEN(keys); i++) {
		if (json_object_get(fields, keys[i]))
			return true;
	}
	return false;
}

static nh_rc read_release(struct nh_ctx *ctx, struct input *in, const struct nh_group *group, struct release_input *out, struct nh_err *err)
{
	*out = (struct release_input){0};
	const json_t *description = json_object_get(in->fields, "description"), *notes = json_object_get(in->fields, "notes");
	if (description)
		read_text_up_to(in, "description", description, DESCRIPTION_MAX, &out->description);
	if (notes)
		read_text_up_to(in, "notes", notes, NOTES_MAX, &out->notes);
	NH_TRY(read_archive(ctx, in, group->product_id, &out->archive_id, err));
	nh_rc rc = find_firmware(ctx, group->product_id, in->fields, &out->firmware, err);
	if (rc == NH_ENOTFOUND) {
		refuse(in->errors, "firmware", "can't be blank");
		return NH_OK;
	}
	NH_TRY(rc);
	/* A release for another platform would reach nobody; the screens of upstream offer none. */
	if (!nh_slice_eq(out->firmware.platform, group->platform))
		refuse(in->errors, "firmware", "doesn't match the deployment group's platform");
	else if (!nh_slice_eq(out->firmware.architecture, group->architecture))
		refuse(in->errors, "firmware", "doesn't match the deployment group's architecture");
	return NH_OK;
}

static nh_rc audit_changes(struct nh_ctx *ctx, const struct nh_actor *actor, const struct nh_group *before, const struct nh_group *after,
                           struct nh_err *err)
{
	struct nh_actor group = nh_group_actor(after);
	if (before->is_active != after->is_active)
		NH_TRY(nh_audit_add(ctx, actor, after->org_id, NH_AUDIT_GROUP, after->id, err, "%.*s marked deployment group %.*s %s", NH_ARG(actor->name),
		                    NH_ARG(after->name), after->is_active ? "active" : "inactive"));
	if (before->delta_updatable != after->delta_updatable)
		NH_TRY(nh_audit_add(ctx, &group, after->org_id, NH_AUDIT_GROUP, after->id, err, "Delta updates of deployment group %.*s were %s",
		                    NH_ARG(after->name), after->delta_updatable ? "enabled" : "disabled"));
	bool same_tags = before->condition_tag_count == after->condition_tag_count && before->tags_any == after->tags_any;
	for (size_t i = 0; same_tags && i < after->condition_tag_count; i++)
		same_tags = nh_slice_eq(before->condition_tags[i], after->condition_tags[i]);
	if (!same_tags || !nh_slice_eq(before->condition_version, after->condition_version))
		NH_TRY(nh_audit_add(ctx, &group, after->org_id, NH_AUDIT_GROUP, after->id, err, "Conditions of deployment group %.*s changed",
		                    NH_ARG(after->name)));
	return nh_audit_add(ctx, actor, after->org_id, NH_AUDIT_GROUP, after->id, err, "%.*s edited deployment group %.*s", NH_ARG(actor->name),
	                    NH_ARG(after->name));
}

/* Does the object name any field of the group itself? `notes` beside a firmware are the release's. */
static bool names_group_field(const json_t *fields, bool release)
{
	for (size_t i = 0; i < NH_ARRAY_LEN(fields_table); i++) {
		if (json_object_get(fields, fields_table[i].key) && !(release && nh_slice_eq_str(nh_slice_str(fields_table[i].key), "notes")))
			return true;
	}
	return false;
}

nh_rc nh_group_update(struct nh_ctx *ctx, const struct nh_actor *actor, const struct nh_group *group, const json_t *fields, struct nh_group *out,
                      json_t **errors, struct nh_err *err)
{
	NH_AUTO_JSON json_t *refusals = json_object();
	struct input in = {ctx->arena, fields, refusals};
	struct form form = form_of(ctx->arena, group);
	struct release_input release = {0};
	bool with_release = asks_for_release(fields), with_fields = names_group_field(fields, with_release) || !with_release;

	nh_slice group_notes = form.notes;
	NH_TRY(nh_may(ctx, actor, group->org_id, NH_MAY_GROUP_UPDATE, err));
	read_fields(&in, &form);
	if (with_release) {
		form.notes = group_notes;
		NH_TRY(read_release(ctx, &in, group, &release, err));
	}
	if (json_object_size(refusals) > 0)
		return refused(&in, errors, err);

	if (with_fields) {
		nh_rc rc = form_write(ctx, group->id, &form, err);
		if (rc == NH_ECONFLICT) {
			refuse(refusals, "name", "has already been taken");
			return refused(&in, errors, err);
		}
		NH_TRY(rc);
	}
	if (with_release) {
		NH_TRY(add_release(ctx, actor, group->id, group->release.number + 1, &release, err));
		NH_TRY(nh_audit_add(ctx, actor, group->org_id, NH_AUDIT_GROUP, group->id, err, "%.*s released %.*s (%.*s) to deployment group %.*s",
		                    NH_ARG(actor->name), NH_ARG(release.firmware.version), NH_ARG(release.firmware.uuid), NH_ARG(form.name)));
	}
	NH_TRY(nh_group_get_by_id(ctx, group->id, out, err));
	if (with_fields)
		NH_TRY(audit_changes(ctx, actor, group, out, err));
	if (with_release || !group->is_active || !group->delta_updatable)
		NH_TRY(nh_deltas_request(ctx, out, NULL, err));
	announce(ctx, out);
	return NH_OK;
}
