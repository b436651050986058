/*
 * Firmware rows: intake before and after inspection, lists, deletion, and the loose objects that keep store and rows in step over a crash.
 *
 * source: reference/user-api-and-cli "12"; reference/server-behaviour "1.7", "1.12", "4.1"
 */
#include "base/semver.h"
#include "hub/accounts.h"
#include "hub/audit.h"
#include "hub/deltas.h"
#include "hub/firmware.h"
#include "hub/keys.h"
#include "input_int.h"
#include "intake_int.h"
#include "rows_int.h"
#include "store/foundation.h"

#define CLAIM_TTL_US (3600 * NH_US_PER_S) /* between writing a claim down and the row: far longer than renaming a file takes */

/* A claim this near its end is left to the sweep, which may have read it already and be about to delete the object. */
#define CLAIM_MARGIN_US (60 * NH_US_PER_S)

/* ---- order of versions ------------------------------------------------------------------------------------------------- */

static void put_u64be(struct nh_buf *out, uint64_t v)
{
	for (int shift = 56; shift >= 0; shift -= 8)
		nh_buf_put_u8(out, (uint8_t)(v >> shift));
}

static bool all_digits(nh_slice s)
{
	for (size_t i = 0; i < s.len; i++) {
		if (s.ptr[i] < '0' || s.ptr[i] > '9')
			return false;
	}
	return s.len > 0;
}

nh_rc nh_version_key(nh_slice version, struct nh_buf *out)
{
	struct nh_semver v;
	NH_TRY(nh_semver_parse(version, &v));
	put_u64be(out, v.major);
	put_u64be(out, v.minor);
	put_u64be(out, v.patch);
	if (v.pre.len == 0) {
		nh_buf_put_u8(out, 0xff);
		return NH_OK;
	}
	/* Identifiers: a number is 1, its length, its digits; a word is 2, its bytes, 0. The end is 0, so that fewer identifiers come first. */
	nh_slice part, rest = v.pre;
	while (rest.len > 0) {
		nh_slice_cut(rest, '.', &part, &rest);
		if (all_digits(part)) {
			while (part.len > 1 && part.ptr[0] == '0')
				part = nh_slice_skip(part, 1);
			nh_buf_put_u8(out, 1);
			nh_buf_put_u8(out, (uint8_t)(part.len < 255 ? part.len : 255));
			nh_buf_put_slice(out, part);
		} else {
			nh_buf_put_u8(out, 2);
			nh_buf_put_slice(out, part);
			nh_buf_put_u8(out, 0);
		}
	}
	nh_buf_put_u8(out, 0);
	return NH_OK;
}

/* ---- rows -------------------------------------------------------------------------------------------------------------- */

static void read_firmware(const struct nh_rows *rows, struct nh_arena *arena, void *item)
{
	*(struct nh_firmware *)item = (struct nh_firmware){
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
		.partials_checksums = nh_col_text(rows, 15, arena),
		.delta_updatable = nh_col_bool(rows, 16),
		.tool = nh_col_text(rows, 17, arena),
		.object_key = nh_col_text(rows, 18, arena),
		.inserted_at_us = nh_col_int(rows, 19),
		.updated_at_us = nh_col_int(rows, 20),
	};
}

static nh_rc by_uuid(struct nh_ctx *ctx, int64_t product_id, nh_slice uuid, struct nh_firmware *out, struct nh_err *err)
{
	if (!nh_input_text_ok(uuid, NH_NAME_MAX_BYTES))
		return NH_FAIL(err, NH_ENOTFOUND, "no such firmware");
	return nh_one_row(ctx->tx, ctx->arena, &nh_q_firmware_by_uuid, NH_PARAMS(nh_p_int(product_id), nh_p_text(uuid)), read_firmware, out, "firmware",
	                  err);
}

/* ---- intake ------------------------------------------------------------------------------------------------------------ */

nh_rc nh_firmware_intake_open(struct nh_ctx *ctx, const struct nh_actor *actor, int64_t org_id, nh_slice product_name, struct nh_firmware_intake *out,
                              struct nh_err *err)
{
	struct nh_org_key *keys;
	*out = (struct nh_firmware_intake){.max_bytes = ctx->config->max_firmware_bytes ? ctx->config->max_firmware_bytes : UINT64_C(1) << 30};
	NH_TRY(nh_product_open(ctx, actor, org_id, product_name, NH_MAY_FIRMWARE_UPLOAD, &out->product, err));
	NH_TRY(nh_org_key_list(ctx, actor, org_id, &keys, &out->key_count, err));
	out->keys = NH_NEW_ARRAY(ctx->arena, out->key_count + 1, struct nh_intake_key);
	for (size_t i = 0; i < out->key_count; i++)
		out->keys[i] = (struct nh_intake_key){keys[i].id, keys[i].key};
	return NH_OK;
}

nh_rc nh_intake_check(struct nh_ctx *ctx, const struct nh_actor *actor, const struct nh_firmware_intake *intake, const struct nh_firmware_facts *facts,
                      struct nh_product *product, json_t **errors, struct nh_err *err)
{
	int64_t id;
	NH_TRY(nh_may(ctx, actor, intake->product.org_id, NH_MAY_FIRMWARE_UPLOAD, err));
	NH_TRY(nh_product_by_id(ctx, intake->product.id, product, err));
	nh_rc rc = nh_query_id(ctx->tx, &nh_q_key_exists, NH_PARAMS(nh_p_int(product->org_id), nh_p_int(facts->org_key_id)), &id, err);
	if (rc == NH_ENOTFOUND)
		return nh_refuse(errors, err, NH_EINVAL, NULL, "The signing key of this file was deleted meanwhile.");
	return rc;
}

nh_rc nh_intake_claim(struct nh_ctx *ctx, const struct nh_firmware_intake *intake, const struct nh_firmware_facts *facts, const char *folder, nh_slice *object_key,
                      struct nh_err *err)
{
	/* Unique per upload: of two uploads of one file, the refused one must not take the other's object away. */
	*object_key = nh_slice_str(nh_arena_printf(ctx->arena, "%s/%lld/%lld/%.*s-%08llx.fw", folder, (long long)intake->product.org_id,
	                                           (long long)intake->product.id, NH_ARG(facts->uuid),
	                                           (unsigned long long)nh_rng_below(ctx->rng, UINT64_C(1) << 32)));
	return nh_sql_exec(ctx->tx, &nh_q_loose_put, NH_PARAMS(nh_p_text(*object_key), nh_p_int(nh_ctx_now(ctx) + CLAIM_TTL_US), nh_p_text(nh_ctx_node(ctx))), NULL,
	                   err);
}

nh_rc nh_intake_settle(struct nh_ctx *ctx, nh_slice object_key, struct nh_err *err)
{
	int64_t claimed = 0;
	NH_TRY(nh_sql_exec(ctx->tx, &nh_q_loose_settle, NH_PARAMS(nh_p_text(object_key), nh_p_int(nh_ctx_now(ctx) + CLAIM_MARGIN_US)), &claimed, err));
	return claimed ? NH_OK : NH_FAIL(err, NH_ETIMEOUT, "the upload took too long to be filed; upload it again");
}

nh_rc nh_intake_discard(struct nh_ctx *ctx, int64_t id, nh_slice object_key, struct nh_err *err)
{
	NH_TRY(nh_sql_exec(ctx->tx, &nh_q_loose_put, NH_PARAMS(nh_p_text(object_key), nh_p_int(nh_ctx_now(ctx)), nh_p_text(nh_ctx_node(ctx))), NULL, err));
	nh_effect_add(ctx, NH_EFFECT_OBJECT_DELETE, id, object_key, NH_SLICE_EMPTY);
	return NH_OK;
}

/* The rules that depend on what else is there. */
static nh_rc check_place(struct nh_ctx *ctx, const struct nh_actor *actor, const struct nh_firmware_intake *intake,
                         const struct nh_firmware_facts *facts, json_t **errors, struct nh_err *err)
{
	struct nh_product product;
	struct nh_firmware same;
	int64_t id;
	NH_TRY(nh_intake_check(ctx, actor, intake, facts, &product, errors, err));
	nh_rc rc = by_uuid(ctx, product.id, facts->uuid, &same, err);
	if (rc == NH_OK)
		return nh_refuse(errors, err, NH_EINVAL, "uuid", "has already been taken");
	if (rc != NH_ENOTFOUND)
		return rc;
	if (!product.require_unique_firmware_version)
		return NH_OK;
	rc = nh_query_id(ctx->tx, &nh_q_firmware_version_taken,
	                 NH_PARAMS(nh_p_int(product.id), nh_p_text(facts->version), nh_p_text(facts->platform), nh_p_text(facts->architecture)), &id, err);
	if (rc == NH_OK)
		return nh_refuse(errors, err, NH_EINVAL, "version", "has already been taken for this product");
	return rc == NH_ENOTFOUND ? NH_OK : rc;
}

nh_rc nh_firmware_claim(struct nh_ctx *ctx, const struct nh_actor *actor, const struct nh_firmware_intake *intake, const struct nh_firmware_facts *facts,
                        nh_slice *object_key, json_t **errors, struct nh_err *err)
{
	NH_TRY(check_place(ctx, actor, intake, facts, errors, err));
	return nh_intake_claim(ctx, intake, facts, "firmware", object_key, err);
}

nh_rc nh_firmware_publish(struct nh_ctx *ctx, const struct nh_actor *actor, const struct nh_firmware_intake *intake,
                          const struct nh_firmware_facts *facts, nh_slice object_key, struct nh_firmware *out, json_t **errors, struct nh_err *err)
{
	NH_TRY(check_place(ctx, actor, intake, facts, errors, err));
	NH_AUTO_BUF struct nh_buf version_key = NH_BUF_INIT;
	NH_TRY(nh_version_key(facts->version, &version_key));
	const struct nh_product *p = &intake->product;
	int64_t id = 0;
	nh_rc rc = nh_query_id(
		ctx->tx, &nh_q_firmware_insert,
		NH_PARAMS(nh_p_int(p->org_id), nh_p_int(p->id), nh_p_int(facts->org_key_id), nh_p_text(facts->uuid), nh_p_text(facts->version),
	                  nh_p_blob(nh_buf_slice(&version_key)), nh_p_text(facts->platform), nh_p_text(facts->architecture), nh_intake_optional(facts->author),
	                  nh_intake_optional(facts->description), nh_intake_optional(facts->misc), nh_intake_optional(facts->vcs_identifier), nh_p_int((int64_t)facts->size_bytes),
	                  nh_p_text(facts->checksum), nh_p_text(facts->partials_checksums), nh_p_bool(facts->delta_updatable),
	                  nh_p_text(facts->required_fwup_version.len ? facts->required_fwup_version : NH_LIT("0.2.0")), nh_p_text(object_key),
	                  nh_p_int(nh_ctx_now(ctx))),
		&id, err);
	if (rc == NH_ECONFLICT)
		return nh_refuse(errors, err, NH_EINVAL, "uuid", "has already been taken");
	NH_TRY(rc);
	NH_TRY(nh_intake_settle(ctx, object_key, err));
	NH_TRY(nh_sql_exec(ctx->tx, &nh_q_product_count_firmwares, NH_PARAMS(nh_p_int(1), nh_p_int(p->id)), NULL, err));
	NH_TRY(nh_audit_add(ctx, actor, p->org_id, NH_AUDIT_FIRMWARE, id, err, "%.*s uploaded firmware %.*s (%.*s) of product %.*s", NH_ARG(actor->name),
	                    NH_ARG(facts->version), NH_ARG(facts->uuid), NH_ARG(p->name)));
	nh_effect_add(ctx, NH_EFFECT_TOPIC, p->id, NH_LIT("firmware"), NH_SLICE_EMPTY);
	return by_uuid(ctx, p->id, facts->uuid, out, err);
}

/* ---- lists and deletion ------------------------------------------------------------------------------------------------ */

nh_rc nh_firmware_list(struct nh_ctx *ctx, const struct nh_actor *actor, const struct nh_product *product, struct nh_firmware **out, size_t *count,
                       struct nh_err *err)
{
	NH_TRY(nh_may(ctx, actor, product->org_id, NH_MAY_FIRMWARE_SEE, err));
	struct nh_list list = NH_LIST_OF(ctx->arena, struct nh_firmware);
	NH_TRY(nh_list_rows(ctx->tx, &list, &nh_q_firmware_list, NH_PARAMS(nh_p_int(product->id)), read_firmware, err));
	*out = list.items;
	*count = list.count;
	return NH_OK;
}

nh_rc nh_firmware_open(struct nh_ctx *ctx, const struct nh_actor *actor, const struct nh_product *product, nh_slice uuid, nh_action action,
                       struct nh_firmware *out, struct nh_err *err)
{
	NH_TRY(nh_may(ctx, actor, product->org_id, NH_MAY_FIRMWARE_SEE, err));
	NH_TRY(by_uuid(ctx, product->id, uuid, out, err));
	return nh_may(ctx, actor, product->org_id, action, err);
}

nh_rc nh_firmware_delete(struct nh_ctx *ctx, const struct nh_actor *actor, const struct nh_product *product, nh_slice uuid, json_t **errors,
                         struct nh_err *err)
{
	struct nh_firmware f;
	NH_TRY(nh_firmware_open(ctx, actor, product, uuid, NH_MAY_FIRMWARE_DELETE, &f, err));
	NH_TRY(nh_deltas_discard(ctx, f.id, err));
	nh_rc rc = nh_sql_exec(ctx->tx, &nh_q_firmware_delete, NH_PARAMS(nh_p_int(product->id), nh_p_int(f.id)), NULL, err);
	if (rc == NH_ECONFLICT)
		return nh_refuse(errors, err, NH_EINVAL, "deployment_releases", "Firmware has associated deployment releases");
	NH_TRY(rc);
	NH_TRY(nh_intake_discard(ctx, f.id, f.object_key, err));
	NH_TRY(nh_sql_exec(ctx->tx, &nh_q_product_count_firmwares, NH_PARAMS(nh_p_int(-1), nh_p_int(product->id)), NULL, err));
	return nh_audit_add(ctx, actor, product->org_id, NH_AUDIT_FIRMWARE, f.id, err, "%.*s deleted firmware %.*s (%.*s) of product %.*s",
	                    NH_ARG(actor->name), NH_ARG(f.version), NH_ARG(f.uuid), NH_ARG(product->name));
}

/* ---- loose objects ----------------------------------------------------------------------------------------------------- */

static void read_key(const struct nh_rows *rows, struct nh_arena *arena, void *item)
{
	*(nh_slice *)item = nh_col_text(rows, 0, arena);
}

nh_rc nh_loose_objects_due(struct nh_ctx *ctx, size_t max, nh_slice **keys, size_t *count, struct nh_err *err)
{
	struct nh_list list = NH_LIST_OF(ctx->arena, nh_slice);
	NH_TRY(nh_list_rows(ctx->tx, &list, &nh_q_loose_due, NH_PARAMS(nh_p_int(nh_ctx_now(ctx)), nh_p_int((int64_t)max)), read_key, err));
	*keys = list.items;
	*count = list.count;
	return NH_OK;
}

nh_rc nh_loose_objects_abandon(struct nh_ctx *ctx, struct nh_err *err)
{
	return nh_sql_exec(ctx->tx, &nh_q_loose_abandon, NH_PARAMS(nh_p_int(nh_ctx_now(ctx)), nh_p_text(nh_ctx_node(ctx))), NULL, err);
}

nh_rc nh_loose_object_gone(struct nh_ctx *ctx, nh_slice key, struct nh_err *err)
{
	return nh_sql_exec(ctx->tx, &nh_q_loose_delete, NH_PARAMS(nh_p_text(key)), NULL, err);
}
