/*
 * Archive rows and the event that tells devices of them. What a file must be is firmware_inspect.c's, its object's life firmware.c's.
 *
 * source: reference/server-behaviour "1.7", "1.11", "5"; reference/device-protocol "8.3"
 */
#include "base/semver.h"
#include "hub/accounts.h"
#include "hub/archives.h"
#include "hub/audit.h"
#include "hub/download.h"
#include "input_int.h"
#include "intake_int.h"
#include "rollout_int.h"
#include "rows_int.h"
#include "store/support.h"

#define ARCHIVE_MAX_BYTES INT64_C(200000000) /* as ARCHIVE_UPLOAD_MAX_SIZE has always had it */
#define METADATA_MAX ((size_t)64 << 10)

static void read_archive(const struct nh_rows *rows, struct nh_arena *arena, void *item)
{
	*(struct nh_archive *)item = (struct nh_archive){
		.id = nh_col_int(rows, 0),
		.org_id = nh_col_int(rows, 1),
		.product_id = nh_col_int(rows, 2),
		.org_key_id = nh_col_int(rows, 3),
		.uuid = nh_col_text(rows, 4, arena),
		.version = nh_col_text(rows, 5, arena),
		.platform = nh_col_text(rows, 6, arena),
		.architecture = nh_col_text(rows, 7, arena),
		.product_name = nh_col_text(rows, 8, arena),
		.author = nh_col_text(rows, 9, arena),
		.description = nh_col_text(rows, 10, arena),
		.misc = nh_col_text(rows, 11, arena),
		.vcs_identifier = nh_col_text(rows, 12, arena),
		.size_bytes = nh_col_int(rows, 13),
		.checksum = nh_col_text(rows, 14, arena),
		.object_key = nh_col_text(rows, 15, arena),
		.inserted_at_us = nh_col_int(rows, 16),
		.updated_at_us = nh_col_int(rows, 17),
	};
}

nh_rc nh_archive_find(struct nh_ctx *ctx, int64_t product_id, nh_slice uuid, int64_t id, struct nh_archive *out, struct nh_err *err)
{
	if (!nh_input_text_ok(uuid, NH_NAME_MAX_BYTES))
		return NH_FAIL(err, NH_ENOTFOUND, "no such archive");
	if (uuid.len == 0)
		return nh_one_row(ctx->tx, ctx->arena, &nh_q_archive_by_id, NH_PARAMS(nh_p_int(product_id), nh_p_int(id)), read_archive, out, "archive", err);
	return nh_one_row(ctx->tx, ctx->arena, &nh_q_archive_by_uuid, NH_PARAMS(nh_p_int(product_id), nh_p_text(uuid)), read_archive, out, "archive", err);
}

/* ---- intake ------------------------------------------------------------------------------------------------------------ */

nh_rc nh_archive_intake_open(struct nh_ctx *ctx, const struct nh_actor *actor, int64_t org_id, nh_slice product_name, struct nh_firmware_intake *out,
                             struct nh_err *err)
{
	NH_TRY(nh_firmware_intake_open(ctx, actor, org_id, product_name, out, err));
	out->kind = NH_INTAKE_ARCHIVE;
	out->max_bytes = ctx->config->max_archive_bytes ? ctx->config->max_archive_bytes : ARCHIVE_MAX_BYTES;
	return NH_OK;
}

static nh_rc check_place(struct nh_ctx *ctx, const struct nh_actor *actor, const struct nh_firmware_intake *intake, const struct nh_firmware_facts *facts,
                         json_t **errors, struct nh_err *err)
{
	struct nh_product product;
	struct nh_archive same;
	NH_TRY(nh_intake_check(ctx, actor, intake, facts, &product, errors, err));
	nh_rc rc = nh_archive_find(ctx, product.id, facts->uuid, 0, &same, err);
	if (rc == NH_OK)
		return nh_refuse(errors, err, NH_EINVAL, "uuid", "has already been taken");
	return rc == NH_ENOTFOUND ? NH_OK : rc;
}

nh_rc nh_archive_claim(struct nh_ctx *ctx, const struct nh_actor *actor, const struct nh_firmware_intake *intake, const struct nh_firmware_facts *facts,
                       nh_slice *object_key, json_t **errors, struct nh_err *err)
{
	NH_TRY(check_place(ctx, actor, intake, facts, errors, err));
	return nh_intake_claim(ctx, intake, facts, "archives", object_key, err);
}

nh_rc nh_archive_publish(struct nh_ctx *ctx, const struct nh_actor *actor, const struct nh_firmware_intake *intake, const struct nh_firmware_facts *facts,
                         nh_slice object_key, struct nh_archive *out, json_t **errors, struct nh_err *err)
{
	NH_TRY(check_place(ctx, actor, intake, facts, errors, err));
	NH_AUTO_BUF struct nh_buf version_key = NH_BUF_INIT;
	NH_TRY(nh_version_key(facts->version, &version_key));
	const struct nh_product *p = &intake->product;
	int64_t id = 0;
	nh_rc rc = nh_query_id(
		ctx->tx, &nh_q_archive_insert,
		NH_PARAMS(nh_p_int(p->org_id), nh_p_int(p->id), nh_p_int(facts->org_key_id), nh_p_text(facts->uuid), nh_p_text(facts->version),
	                  nh_p_blob(nh_buf_slice(&version_key)), nh_p_text(facts->platform), nh_p_text(facts->architecture), nh_intake_optional(facts->author),
	                  nh_intake_optional(facts->description), nh_intake_optional(facts->misc), nh_intake_optional(facts->vcs_identifier),
	                  nh_p_int((int64_t)facts->size_bytes), nh_p_text(facts->checksum), nh_p_text(object_key), nh_p_int(nh_ctx_now(ctx))),
		&id, err);
	if (rc == NH_ECONFLICT)
		return nh_refuse(errors, err, NH_EINVAL, "uuid", "has already been taken");
	NH_TRY(rc);
	NH_TRY(nh_intake_settle(ctx, object_key, err));
	NH_TRY(nh_audit_add(ctx, actor, p->org_id, NH_AUDIT_PRODUCT, p->id, err, "%.*s uploaded archive %.*s (%.*s) of product %.*s", NH_ARG(actor->name),
	                    NH_ARG(facts->version), NH_ARG(facts->uuid), NH_ARG(p->name)));
	nh_effect_add(ctx, NH_EFFECT_TOPIC, p->id, NH_LIT("archive"), NH_SLICE_EMPTY);
	return nh_archive_find(ctx, p->id, facts->uuid, 0, out, err);
}

/* ---- lists and deletion ------------------------------------------------------------------------------------------------ */

nh_rc nh_archive_list(struct nh_ctx *ctx, const struct nh_actor *actor, const struct nh_product *product, struct nh_archive **out, size_t *count,
                      struct nh_err *err)
{
	NH_TRY(nh_may(ctx, actor, product->org_id, NH_MAY_ARCHIVE_SEE, err));
	struct nh_list list = NH_LIST_OF(ctx->arena, struct nh_archive);
	NH_TRY(nh_list_rows(ctx->tx, &list, &nh_q_archive_list, NH_PARAMS(nh_p_int(product->id)), read_archive, err));
	*out = list.items;
	*count = list.count;
	return NH_OK;
}

nh_rc nh_archive_open(struct nh_ctx *ctx, const struct nh_actor *actor, const struct nh_product *product, nh_slice uuid, nh_action action, struct nh_archive *out,
                      struct nh_err *err)
{
	NH_TRY(nh_may(ctx, actor, product->org_id, NH_MAY_ARCHIVE_SEE, err));
	NH_TRY(nh_archive_find(ctx, product->id, uuid, 0, out, err));
	return nh_may(ctx, actor, product->org_id, action, err);
}

nh_rc nh_archive_delete(struct nh_ctx *ctx, const struct nh_actor *actor, const struct nh_product *product, nh_slice uuid, json_t **errors, struct nh_err *err)
{
	struct nh_archive a;
	int64_t deleted = 0;
	NH_TRY(nh_archive_open(ctx, actor, product, uuid, NH_MAY_ARCHIVE_DELETE, &a, err));
	NH_TRY(nh_sql_exec(ctx->tx, &nh_q_archive_delete, NH_PARAMS(nh_p_int(product->id), nh_p_int(a.id)), &deleted, err));
	if (!deleted)
		return nh_refuse(errors, err, NH_ECONFLICT, "deployment_releases", "Archive has associated deployment releases");
	NH_TRY(nh_intake_discard(ctx, a.id, a.object_key, err));
	return nh_audit_add(ctx, actor, product->org_id, NH_AUDIT_PRODUCT, product->id, err, "%.*s deleted archive %.*s (%.*s) of product %.*s", NH_ARG(actor->name),
	                    NH_ARG(a.version), NH_ARG(a.uuid), NH_ARG(product->name));
}

/* ---- telling devices --------------------------------------------------------------------------------------------------- */

/* What decides whether a connected device hears of its group's archive. */
struct member {
	int64_t id, org_id, group_id, blocked_until_us;
	nh_slice identifier;
	bool updates_enabled, understands; /* its API is at least 2.0.0 */
};

static bool understands(nh_slice connection_metadata)
{
	NH_AUTO_JSON json_t *metadata = NULL;
	struct nh_semver api;
	if (nh_json_parse(connection_metadata, METADATA_MAX, &metadata, NULL) != NH_OK)
		return false;
	return nh_semver_parse(nh_json_text(metadata, "device_api_version"), &api) == NH_OK && nh_semver_cmp(&api, &(struct nh_semver){.major = 2}) >= 0;
}

static void read_member(const struct nh_rows *rows, struct nh_arena *arena, void *item)
{
	*(struct member *)item = (struct member){
		.id = nh_col_int(rows, 0),
		.org_id = nh_col_int(rows, 1),
		.identifier = nh_col_text(rows, 2, arena),
		.group_id = nh_col_int(rows, 3),
		.updates_enabled = nh_col_bool(rows, 4),
		.blocked_until_us = nh_col_int(rows, 5),
		.understands = understands(nh_col_text(rows, 6, arena)),
	};
}

static bool may_hear(const struct nh_ctx *ctx, const struct member *m)
{
	return m->group_id && m->understands && m->updates_enabled && m->blocked_until_us <= nh_ctx_now(ctx);
}

/* The date is UTC and says no zone. source: reference/device-protocol "8.3" */
static nh_slice payload_of(struct nh_ctx *ctx, const struct nh_archive *a)
{
	NH_AUTO_BUF struct nh_buf path = NH_BUF_INIT, url = NH_BUF_INIT, at = NH_BUF_INIT;
	nh_download_archive_path(&path, a->product_id, a->uuid);
	nh_download_url(ctx->config, nh_buf_slice(&path), a->object_key, nh_ctx_now(ctx), &url);
	nh_time_put_iso(&at, a->inserted_at_us);
	nh_buf_truncate(&at, at.len ? at.len - 1 : 0);
	NH_AUTO_JSON json_t *payload = json_pack("{s:I, s:o, s:o, s:o, s:o, s:o, s:o, s:o}", "size", (json_int_t)a->size_bytes, "uuid", nh_json_new_text(a->uuid),
	                                         "version", nh_json_new_text(a->version), "description", nh_json_new_text(a->description), "platform",
	                                         nh_json_new_text(a->platform), "architecture", nh_json_new_text(a->architecture), "uploaded_at",
	                                         nh_json_new_text(nh_buf_slice(&at)), "url", nh_json_new_text(nh_buf_slice(&url)));
	return nh_json_arena(ctx->arena, payload);
}

static nh_rc tell(struct nh_ctx *ctx, const struct member *m, const struct nh_archive *a, nh_slice payload, bool audit, struct nh_err *err)
{
	struct nh_actor actor = {NH_ACTOR_DEVICE, m->id, m->identifier};
	nh_effect_add(ctx, NH_EFFECT_DEVICE_PUSH, m->id, NH_LIT("archive"), payload);
	if (!audit)
		return NH_OK;
	return nh_audit_add(ctx, &actor, m->org_id, NH_AUDIT_DEVICE, m->id, err, "Device %.*s was told of archive %.*s", NH_ARG(m->identifier), NH_ARG(a->uuid));
}

/* NH_ENOTFOUND: its current release has none. */
static nh_rc archive_of_group(struct nh_ctx *ctx, int64_t group_id, struct nh_archive *out, struct nh_err *err)
{
	return nh_one_row(ctx->tx, ctx->arena, &nh_q_archive_of_group, NH_PARAMS(nh_p_int(group_id)), read_archive, out, "archive", err);
}

nh_rc nh_archive_tell_joined(struct nh_ctx *ctx, const struct nh_device_facts *d, int64_t archive_id, struct nh_err *err)
{
	const struct member m = {d->id, d->org_id, d->group_id, d->blocked_until_us, d->identifier, d->updates_enabled, true};
	struct nh_archive a;
	if (!may_hear(ctx, &m))
		return NH_OK;
	nh_rc rc = nh_archive_find(ctx, d->product_id, NH_SLICE_EMPTY, archive_id, &a, err);
	if (rc != NH_OK)
		return rc == NH_ENOTFOUND ? NH_OK : rc; /* another product's: no reason to keep a device out */
	return tell(ctx, &m, &a, payload_of(ctx, &a), false, err);
}

nh_rc nh_archive_tell_changed(struct nh_ctx *ctx, int64_t device_id, struct nh_err *err)
{
	struct member m;
	struct nh_archive a;
	nh_rc rc = nh_one_row(ctx->tx, ctx->arena, &nh_q_archive_member, NH_PARAMS(nh_p_int(device_id)), read_member, &m, "connected device", err);
	if (rc == NH_OK && !may_hear(ctx, &m))
		return NH_OK;
	if (rc == NH_OK)
		rc = archive_of_group(ctx, m.group_id, &a, err);
	if (rc != NH_OK)
		return rc == NH_ENOTFOUND ? NH_OK : rc;
	return tell(ctx, &m, &a, payload_of(ctx, &a), true, err);
}

/* How far the announcement has come; *done where there is nothing to announce. */
static nh_rc told_up_to(struct nh_ctx *ctx, int64_t group_id, int64_t *device_id, bool *done, struct nh_err *err)
{
	struct nh_rows *rows = NULL;
	NH_TRY(nh_sql_one(ctx->tx, &nh_q_archive_told, NH_PARAMS(nh_p_int(group_id)), &rows, err));
	*done = nh_col_null(rows, 0);
	*device_id = nh_col_int(rows, 0);
	nh_sql_end(rows);
	return NH_OK;
}

nh_rc nh_archive_tell_members(struct nh_ctx *ctx, int64_t group_id, size_t max, bool *more, struct nh_err *err)
{
	struct nh_archive a;
	int64_t told = 0;
	bool done = false;
	*more = false;
	NH_TRY(told_up_to(ctx, group_id, &told, &done, err));
	if (done)
		return NH_OK;
	nh_rc rc = archive_of_group(ctx, group_id, &a, err);
	struct nh_list list = NH_LIST_OF(ctx->arena, struct member);
	if (rc == NH_OK)
		rc = nh_list_rows(ctx->tx, &list, &nh_q_archive_members, NH_PARAMS(nh_p_int(group_id), nh_p_int(told), nh_p_int((int64_t)max)), read_member, err);
	if (rc != NH_OK && rc != NH_ENOTFOUND)
		return rc;
	const struct member *members = list.items;
	nh_slice payload = list.count ? payload_of(ctx, &a) : NH_SLICE_EMPTY;
	for (size_t i = 0; i < list.count; i++) {
		if (may_hear(ctx, &members[i]))
			NH_TRY(tell(ctx, &members[i], &a, payload, true, err));
	}
	*more = list.count == max;
	return nh_sql_exec(ctx->tx, &nh_q_archive_told_set, NH_PARAMS(*more ? nh_p_int(members[list.count - 1].id) : nh_p_null(), nh_p_int(group_id)), NULL, err);
}
